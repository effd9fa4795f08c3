//! Messages to the actor from tasks that must never block the gateway's thread.

use std::future::Future;
use std::time::Duration;

use crate::actor::handle::Handle;
use crate::actor::reply::AskError;
use crate::engine::message::{Answer, Message};
use crate::metrics::Metrics;

/// What a change that is written to disk is waited for at least.
const DISK_TIME_MIN: Duration = Duration::from_secs(10);

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
        let answer = self.handle.ask_future(message, self.timeout);
        Self::wait(answer, self.timeout).await
    }

    /// The same for what is answered when it is on disk: a slow one may take a few flushes.
    ///
    /// # Errors
    /// Those of [`AskError`].
    pub async fn ask_patiently(&self, message: Message) -> Result<Answer, AskError> {
        let timeout = self.timeout.max(DISK_TIME_MIN);
        let answer = self.handle.ask_future(message, timeout);
        Self::wait(answer, timeout).await
    }

    /// Several messages in one turn of the actor, with an answer for each; as patient as [`Self::ask_patiently`].
    ///
    /// # Errors
    /// Those of [`AskError`]; then none of them was done, unless it is [`AskError::Unknown`].
    pub async fn ask_batch(&self, messages: Vec<Message>) -> Result<Vec<Answer>, AskError> {
        let timeout = self.timeout.max(DISK_TIME_MIN);
        let answers = self.handle.ask_batch_future(messages, timeout);
        Self::wait(answers, timeout).await
    }

    /// The way to the actor itself.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// All figures.
    ///
    /// # Errors
    /// Those of [`AskError`].
    pub async fn metrics(&self) -> Result<Box<Metrics>, AskError> {
        let figures = self.handle.metrics_future(self.timeout);
        Self::wait(figures, self.timeout).await
    }

    /// The deadline is the message's own: this only sees to it that somebody looks when it has passed.
    async fn wait<T>(
        answer: impl Future<Output = Result<T, AskError>>,
        timeout: Duration,
    ) -> Result<T, AskError> {
        tokio::pin!(answer);
        match tokio::time::timeout(timeout, &mut answer).await {
            Ok(outcome) => outcome,
            Err(_) => answer.await,
        }
    }
}
