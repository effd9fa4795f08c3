//! The callers' side: tell, ask, listen.
//!
//! A [`Handle`] is cheap to clone and may be used from any thread but the actor's own, where only [`Handle::tell`] works.

use std::sync::Arc;

use super::bus::{Filter, Subscription, subscription};
use super::mailbox::{Body, Mailbox};
use super::reply::{AskError, Response, Waiting};
use crate::config::Backpressure;
use crate::engine::message::{Answer, Message};
use crate::metrics::Metrics;
use crate::time::{Clock, Duration, Instant};

/// A way to the actor.
#[derive(Clone, Debug)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
    policy: Backpressure,
}

/// An answer to come, for a caller that looks for it when it likes.
#[derive(Debug)]
pub struct Later {
    handle: Handle,
    waiting: Waiting,
    deadline: Instant,
}

/// What came of it.
#[derive(Debug)]
pub enum Came {
    /// The engine's answer.
    Answer(Answer),
    /// The figures.
    Metrics(Box<Metrics>),
}

impl Later {
    /// The answer, or itself when there is none yet and the deadline has not passed.
    ///
    /// # Errors
    /// Itself.
    pub fn try_take(self) -> Result<Result<Came, AskError>, Self> {
        let now = self.handle.clock().now();
        if !self.waiting.is_answered() && now < self.deadline {
            return Err(self);
        }
        // Answered, or past its deadline: this does not wait.
        let outcome = self
            .waiting
            .wait(self.handle.clock(), now, &self.handle.mailbox.slots);
        Ok(outcome.map(|response| match response {
            Response::Answer(answer) => Came::Answer(answer),
            Response::Metrics(metrics) => Came::Metrics(metrics),
        }))
    }
}

/// A message that was not queued, given back.
#[derive(Debug)]
pub enum SendError {
    /// The queue is full, and was until the policy's patience ended.
    Full(Message),
    /// The actor has ended.
    Stopped(Message),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Stopped(_) => "the engine has stopped",
        })
    }
}

impl std::error::Error for SendError {}

impl Handle {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        let policy = mailbox.options.policy;
        Self { mailbox, policy }
    }

    /// The same way for callers that must not wait for room: where the policy is to block, this one rejects.
    #[must_use]
    pub fn without_waiting(&self) -> Self {
        let policy = match self.policy {
            Backpressure::Block => Backpressure::Reject,
            other => other,
        };
        Self {
            mailbox: Arc::clone(&self.mailbox),
            policy,
        }
    }

    /// Queues a message and does not wait for an answer. Allocates nothing.
    ///
    /// # Errors
    /// The message comes back when there is no room (after waiting, if the policy says so) or when the actor has ended.
    pub fn tell(&self, message: Message) -> Result<(), SendError> {
        let deadline = match self.policy {
            Backpressure::Block => self.clock().now() + self.mailbox.options.patience,
            Backpressure::Reject | Backpressure::Shed => crate::time::Instant::ZERO,
        };
        self.mailbox
            .send(Body::Message(message), None, deadline, self.policy)
            .map_err(|refused| match refused.body {
                Body::Message(message) if refused.why == AskError::Stopped => {
                    SendError::Stopped(message)
                }
                Body::Message(message) => SendError::Full(message),
                Body::Metrics => unreachable!("what is refused is what was sent"),
            })
    }

    /// Queues the first of `messages`, as many as there is room for, in order, and wakes the actor once. They leave the
    /// vector; what is left found no room. Never waits.
    ///
    /// # Errors
    /// [`AskError::Stopped`] when the actor has ended; all messages stay.
    pub fn tell_batch(&self, messages: &mut Vec<Message>) -> Result<usize, AskError> {
        self.mailbox.send_batch(messages)
    }

    /// Queues a message and waits for its answer, all within `timeout`.
    ///
    /// # Errors
    /// Every error but [`AskError::Unknown`] (and [`AskError::Stopped`] in the middle of a job) promises that nothing was executed.
    pub fn ask(&self, message: Message, timeout: Duration) -> Result<Answer, AskError> {
        match self.request(Body::Message(message), timeout)? {
            Response::Answer(answer) => Ok(answer),
            Response::Metrics(_) => unreachable!("a message is answered by an answer"),
        }
    }

    /// Queues a message without waiting for room, and fetches its answer later: for callers that must never wait.
    ///
    /// # Errors
    /// As [`Self::ask`] where nothing was queued.
    pub fn ask_later(&self, message: Message, timeout: Duration) -> Result<Later, AskError> {
        self.request_later(Body::Message(message), timeout)
    }

    /// The same for the figures.
    ///
    /// # Errors
    /// As [`Self::ask_later`].
    pub fn metrics_later(&self, timeout: Duration) -> Result<Later, AskError> {
        self.request_later(Body::Metrics, timeout)
    }

    /// All figures, as the actor sees them now.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn metrics(&self, timeout: Duration) -> Result<Box<Metrics>, AskError> {
        match self.request(Body::Metrics, timeout)? {
            Response::Metrics(metrics) => Ok(metrics),
            Response::Answer(_) => unreachable!("figures are answered by figures"),
        }
    }

    /// Listens to events from now on: those of messages sent after this call are all among them. A subscription that finds
    /// no room has already ended.
    #[must_use]
    pub fn subscribe(&self, filter: Filter) -> Subscription {
        let (subscribe, subscription) = subscription(filter);
        // Refused, the other end is dropped, which ends it.
        let _ = self.mailbox.subscribe(subscribe);
        subscription
    }

    /// The same; `wake` is called, on the actor's thread, when an event comes and none was waiting. It must not block.
    #[must_use]
    pub fn subscribe_waking(
        &self,
        filter: Filter,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Subscription {
        let (subscribe, subscription) = subscription(filter);
        let _ = self.mailbox.subscribe(subscribe.waking(Box::new(wake)));
        subscription
    }

    /// The clock that deadlines are reckoned with.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.mailbox.options.clock
    }

    /// Messages waiting now.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.mailbox.queued()
    }

    fn request_later(&self, body: Body, timeout: Duration) -> Result<Later, AskError> {
        let deadline = self.clock().now() + timeout;
        let (waiting, reply) = self.mailbox.slots.open();
        let policy = self.without_waiting().policy;
        match self.mailbox.send(body, Some(reply), deadline, policy) {
            Ok(()) => Ok(Later {
                handle: self.clone(),
                waiting,
                deadline,
            }),
            Err(refused) => {
                if let Some(reply) = refused.reply {
                    reply.forget();
                }
                waiting.unused(&self.mailbox.slots);
                Err(refused.why)
            }
        }
    }

    fn request(&self, body: Body, timeout: Duration) -> Result<Response, AskError> {
        if self.mailbox.is_own_thread() {
            return Err(AskError::WouldDeadlock);
        }
        let deadline = self.clock().now() + timeout;
        let slots = &self.mailbox.slots;
        let (waiting, reply) = slots.open();
        match self.mailbox.send(body, Some(reply), deadline, self.policy) {
            Ok(()) => waiting.wait(self.clock(), deadline, slots),
            Err(refused) => {
                if let Some(reply) = refused.reply {
                    reply.forget();
                }
                waiting.unused(slots);
                Err(refused.why)
            }
        }
    }
}
