//! An ask as a future, for callers that have an executor of their own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::mailbox::Mailbox;
use super::reply::{AskError, Response, Waiting};
use crate::engine::message::Answer;
use crate::metrics::Metrics;

/// The answer to come of [`Handle::ask_future`].
///
/// The message is queued already, so that messages keep the order of the calls; polling only asks for the answer. The
/// actor wakes the task when it has answered, and when it meets the message after its deadline. Nothing else watches the
/// deadline: it is decided by the first poll after it. A caller that must not wait longer than that for an actor that hangs,
/// or for a message that is answered only after a job, lets its executor's own timer poll or drop this.
///
/// Dropped before the actor takes the message, it cancels it: the message is never executed, and counted as expired.
/// Dropped later, the answer is dropped too, and counted as late.
///
/// [`Handle::ask_future`]: super::handle::Handle::ask_future
#[derive(Debug)]
#[must_use = "dropping it cancels the message"]
pub struct Asking {
    mailbox: Arc<Mailbox>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The message was not queued.
    Refused(AskError),
    Waiting(Waiting),
    Over,
}

impl Asking {
    pub(super) fn new(mailbox: Arc<Mailbox>, queued: Result<Waiting, AskError>) -> Self {
        let state = match queued {
            Ok(waiting) => State::Waiting(waiting),
            Err(why) => State::Refused(why),
        };
        Self { mailbox, state }
    }
}

impl Asking {
    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<Response, AskError>> {
        let outcome = match &self.state {
            State::Refused(why) => Err(*why),
            State::Waiting(waiting) => match waiting.poll(context, self.mailbox.options.clock) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(outcome) => outcome,
            },
            State::Over => panic!("polled after it was ready"),
        };
        if let State::Waiting(waiting) = std::mem::replace(&mut self.state, State::Over)
            && !matches!(outcome, Err(AskError::Expired | AskError::Unknown))
        {
            waiting.keep(&self.mailbox.slots);
        }
        Poll::Ready(outcome)
    }
}

impl Future for Asking {
    type Output = Result<Answer, AskError>;

    /// # Panics
    /// When it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = |response| match response {
            Response::Answer(answer) => answer,
            Response::Batch(_) | Response::Metrics(_) | Response::NotAdopted(_) => {
                unreachable!("a message is answered by an answer")
            }
        };
        self.poll_response(context)
            .map(|outcome| outcome.map(answer))
    }
}

/// The figures to come of [`Handle::metrics_future`], with the rules of [`Asking`].
///
/// [`Handle::metrics_future`]: super::handle::Handle::metrics_future
#[derive(Debug)]
#[must_use = "dropping it cancels the message"]
pub struct AskingMetrics(pub(super) Asking);

impl Future for AskingMetrics {
    type Output = Result<Box<Metrics>, AskError>;

    /// # Panics
    /// When it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let metrics = |response| match response {
            Response::Metrics(metrics) => metrics,
            Response::Answer(_) | Response::Batch(_) | Response::NotAdopted(_) => {
                unreachable!("figures are answered by figures")
            }
        };
        self.0
            .poll_response(context)
            .map(|outcome| outcome.map(metrics))
    }
}

/// The answers to come of [`Handle::ask_batch_future`], with the rules of [`Asking`].
///
/// [`Handle::ask_batch_future`]: super::handle::Handle::ask_batch_future
#[derive(Debug)]
#[must_use = "dropping it cancels the messages"]
pub struct AskingBatch(pub(super) Asking);

impl Future for AskingBatch {
    type Output = Result<Vec<Answer>, AskError>;

    /// # Panics
    /// When it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answers = |response| match response {
            Response::Batch(answers) => answers,
            Response::Answer(_) | Response::Metrics(_) | Response::NotAdopted(_) => {
                unreachable!("a batch is answered by a batch")
            }
        };
        self.0
            .poll_response(context)
            .map(|outcome| outcome.map(answers))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let State::Waiting(waiting) = std::mem::replace(&mut self.state, State::Over) {
            waiting.give_up();
        }
    }
}
