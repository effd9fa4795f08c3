//! The two sides that a load is put on: the actor, and the table behind locks.

use std::sync::Arc;

use crate::actor::handle::{Handle, SendError};
use crate::actor::reply::AskError;
use crate::engine::message::{Answer, Message};
use crate::metrics::Metrics;
use crate::time::{Clock, Duration, Instant};

use super::locked::Locked;

/// How long a load waits for one answer. Far beyond anything but a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Something that carries out operations on a link table.
pub trait Side: Sync {
    /// What one producer holds.
    type Caller: Caller;
    /// As in reports.
    const NAME: &'static str;

    /// One more producer.
    fn caller(&self) -> Self::Caller;
    /// Waits until everything sent is carried out; the figures then, where there are any.
    ///
    /// # Errors
    /// It does not come to rest.
    fn settle(&self) -> Result<Option<Box<Metrics>>, AskError>;
}

/// Why a fire-and-forget message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The queue was full.
    Full,
    /// The actor has ended.
    Stopped,
}

/// One producer's way.
pub trait Caller: Send {
    /// Carried out sometime; no answer.
    ///
    /// # Errors
    /// When it was not taken.
    fn tell(&mut self, message: Message) -> Result<(), NotTaken>;
    /// The same for many at once; how many left the vector, from its front.
    ///
    /// # Errors
    /// When it has ended.
    fn tell_batch(&mut self, messages: &mut Vec<Message>) -> Result<usize, NotTaken>;
    /// Waits for the answer.
    ///
    /// # Errors
    /// When there is none in time.
    fn ask(&mut self, message: Message, timeout: Duration) -> Result<Answer, AskError>;
    /// Waits for the answers of many, in order.
    ///
    /// # Errors
    /// When there are none in time.
    fn ask_batch(
        &mut self,
        messages: Vec<Message>,
        timeout: Duration,
    ) -> Result<Vec<Answer>, AskError>;
}

/// The actor.
#[derive(Clone, Debug)]
pub struct Actor(pub Handle);

impl Side for Actor {
    type Caller = Handle;
    const NAME: &'static str = "actor";

    fn caller(&self) -> Handle {
        self.0.clone()
    }

    fn settle(&self) -> Result<Option<Box<Metrics>>, AskError> {
        // Lanes are taken side by side, so an answer from the low one does not say that the others are empty.
        let deadline = self.0.clock().now() + PATIENCE;
        loop {
            let metrics = self.0.metrics(PATIENCE)?;
            if metrics.messages.messages_queued_current == 0 {
                return Ok(Some(metrics));
            }
            if self.0.clock().now() > deadline {
                return Err(AskError::Unknown);
            }
        }
    }
}

impl Caller for Handle {
    fn tell(&mut self, message: Message) -> Result<(), NotTaken> {
        Self::tell(self, message).map_err(|error| match error {
            SendError::Full(_) => NotTaken::Full,
            SendError::Stopped(_) => NotTaken::Stopped,
        })
    }

    fn tell_batch(&mut self, messages: &mut Vec<Message>) -> Result<usize, NotTaken> {
        Self::tell_batch(self, messages).map_err(|_| NotTaken::Stopped)
    }

    fn ask(&mut self, message: Message, timeout: Duration) -> Result<Answer, AskError> {
        Self::ask(self, message, timeout)
    }

    fn ask_batch(
        &mut self,
        messages: Vec<Message>,
        timeout: Duration,
    ) -> Result<Vec<Answer>, AskError> {
        messages
            .into_iter()
            .map(|message| Self::ask(self, message, timeout))
            .collect()
    }
}

/// The table behind locks, and its clock.
#[derive(Clone, Debug)]
pub struct Twin {
    table: Arc<Locked>,
    clock: Clock,
}

impl Twin {
    /// Around a table.
    #[must_use]
    pub fn new(table: Locked) -> Self {
        Self {
            table: Arc::new(table),
            clock: Clock::start(),
        }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Locked {
        &self.table
    }

    fn apply(&self, message: &Message) -> Answer {
        self.table.apply(message, || self.now())
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Side for Twin {
    type Caller = Self;
    const NAME: &'static str = "locked";

    fn caller(&self) -> Self {
        self.clone()
    }

    fn settle(&self) -> Result<Option<Box<Metrics>>, AskError> {
        // Whoever has returned has done its work.
        Ok(None)
    }
}

impl Caller for Twin {
    fn tell(&mut self, message: Message) -> Result<(), NotTaken> {
        self.apply(&message);
        Ok(())
    }

    fn tell_batch(&mut self, messages: &mut Vec<Message>) -> Result<usize, NotTaken> {
        let count = messages.len();
        for message in messages.drain(..) {
            self.apply(&message);
        }
        Ok(count)
    }

    fn ask(&mut self, message: Message, _timeout: Duration) -> Result<Answer, AskError> {
        Ok(self.apply(&message))
    }

    fn ask_batch(
        &mut self,
        messages: Vec<Message>,
        _timeout: Duration,
    ) -> Result<Vec<Answer>, AskError> {
        Ok(messages.iter().map(|message| self.apply(message)).collect())
    }
}
