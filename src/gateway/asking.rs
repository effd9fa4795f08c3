//! Messages to the actor from tasks that must never block the gateway's thread.

use std::future::Future;
use std::time::Duration;

use crate::actor::handle::Handle;
use crate::actor::reply::AskError;
use crate::engine::message::{Answer, Message};
use crate::metrics::Metrics;

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

    /// Asks, without waiting for room in the queue.
    ///
    /// # Errors
    /// Those of [`AskError`].
    pub async fn ask(&self, message: Message) -> Result<Answer, AskError> {
        self.wait(self.handle.ask_future(message, self.timeout))
            .await
    }

    /// All figures.
    ///
    /// # Errors
    /// Those of [`AskError`].
    pub async fn metrics(&self) -> Result<Box<Metrics>, AskError> {
        self.wait(self.handle.metrics_future(self.timeout)).await
    }

    /// The deadline is the message's own: this only sees to it that somebody looks when it has passed.
    async fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, AskError> {
        tokio::pin!(answer);
        match tokio::time::timeout(self.timeout, &mut answer).await {
            Ok(outcome) => outcome,
            Err(_) => answer.await,
        }
    }
}
