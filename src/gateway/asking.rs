//! Messages to the actor from tasks that must never block the gateway's thread.

use std::time::Duration;

use crate::actor::handle::{Came, Handle, Later};
use crate::actor::reply::AskError;
use crate::engine::message::{Answer, Message};
use crate::metrics::Metrics;

/// How soon an answer is looked for first. The actor answers in microseconds; each further look is twice as far away.
const LOOK_FIRST: Duration = Duration::from_micros(100);

/// How far away a look is at most.
const LOOK_MAX: Duration = Duration::from_millis(8);

/// The way to the actor, for tasks.
#[derive(Clone, Debug)]
pub struct Asking {
    handle: Handle,
    timeout: Duration,
}

impl Asking {
    /// Every answer is waited for at most `timeout`.
    #[must_use]
    pub const fn new(handle: Handle, timeout: Duration) -> Self {
        Self { handle, timeout }
    }

    /// The handle itself.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Asks, without waiting for room in the queue.
    ///
    /// # Errors
    /// Those of [`AskError`].
    pub async fn ask(&self, message: Message) -> Result<Answer, AskError> {
        match wait(self.handle.ask_later(message, self.timeout)?).await? {
            Came::Answer(answer) => Ok(answer),
            Came::Metrics(_) => unreachable!("a message is answered by an answer"),
        }
    }

    /// All figures.
    ///
    /// # Errors
    /// Those of [`AskError`].
    pub async fn metrics(&self) -> Result<Box<Metrics>, AskError> {
        match wait(self.handle.metrics_later(self.timeout)?).await? {
            Came::Metrics(metrics) => Ok(metrics),
            Came::Answer(_) => unreachable!("figures are answered by figures"),
        }
    }
}

async fn wait(mut later: Later) -> Result<Came, AskError> {
    let mut pause = LOOK_FIRST;
    loop {
        match later.try_take() {
            Ok(outcome) => return outcome,
            Err(still) => later = still,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
}
