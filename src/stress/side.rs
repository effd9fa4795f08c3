//! The two sides that a load is put on: the actor, and the table behind locks.

use std::sync::Arc;

use crate::actor::completion::{Completion, CompletionQueue};
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
    /// Waits until everything sent is carried out; the figures then, where there are any. Nobody else may send meanwhile.
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

/// An answer that was not waited for: what was given with the question, and how it went.
pub type Later = (usize, Result<Answer, AskError>);

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
    /// Asks, and goes on; the answer comes with [`Self::collect`] under `tag`.
    ///
    /// # Errors
    /// When it was not taken.
    fn tell_with(&mut self, message: Message, tag: usize) -> Result<(), NotTaken>;
    /// The answers that came since; with `all`, those still to come too.
    fn collect(&mut self, all: bool, answers: &mut Vec<Later>);
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
        messages: &mut Vec<Message>,
        answers: &mut Vec<Answer>,
        timeout: Duration,
    ) -> Result<(), AskError>;
}

/// The actor.
#[derive(Clone, Debug)]
pub struct Actor(pub Handle);

impl Side for Actor {
    type Caller = ActorCaller;
    const NAME: &'static str = "actor";

    fn caller(&self) -> ActorCaller {
        ActorCaller {
            handle: self.0.clone(),
            queue: CompletionQueue::new(ANSWERS_MAX),
        }
    }

    fn settle(&self) -> Result<Option<Box<Metrics>>, AskError> {
        // Lanes are taken side by side, so an answer from the low one does not say that the others are empty.
        let deadline = self.0.clock().now() + PATIENCE;
        loop {
            let metrics = self.0.metrics(PATIENCE)?;
            // The question itself is being answered, so it waits no more, but its room may not have been given back.
            let lanes = metrics.lanes.iter().map(|lane| lane.figures);
            let is_quiet = lanes.into_iter().all(|lane| {
                let done = lane.processed + lane.rejected + lane.shed + lane.expired;
                lane.sent == done + lane.cancelled
            });
            if is_quiet {
                return Ok(Some(metrics));
            }
            if self.0.clock().now() > deadline {
                return Err(AskError::Unknown);
            }
        }
    }
}

/// Answers that one producer may have outstanding.
pub const ANSWERS_MAX: usize = 1024;

/// One producer's handle, and where its answers land.
#[derive(Debug)]
pub struct ActorCaller {
    handle: Handle,
    queue: CompletionQueue,
}

impl Caller for ActorCaller {
    fn tell(&mut self, message: Message) -> Result<(), NotTaken> {
        self.handle.tell(message).map_err(not_taken)
    }

    fn tell_batch(&mut self, messages: &mut Vec<Message>) -> Result<usize, NotTaken> {
        match self.handle.tell_batch(messages) {
            Ok(taken) => Ok(taken),
            Err(AskError::Stopped) => Err(NotTaken::Stopped),
            Err(_) => Err(NotTaken::Full),
        }
    }

    fn tell_with(&mut self, message: Message, tag: usize) -> Result<(), NotTaken> {
        self.handle
            .tell_with(message, &self.queue, tag as u64)
            .map_err(not_taken)
    }

    fn collect(&mut self, all: bool, answers: &mut Vec<Later>) {
        loop {
            let next = if all {
                self.queue.next(PATIENCE)
            } else {
                self.queue.try_next()
            };
            let Some(Completion { tag, outcome }) = next else {
                return;
            };
            answers.push((usize::try_from(tag).unwrap_or(usize::MAX), outcome));
        }
    }

    fn ask(&mut self, message: Message, timeout: Duration) -> Result<Answer, AskError> {
        self.handle.ask(message, timeout)
    }

    fn ask_batch(
        &mut self,
        messages: &mut Vec<Message>,
        answers: &mut Vec<Answer>,
        timeout: Duration,
    ) -> Result<(), AskError> {
        self.handle.ask_batch(messages, answers, timeout)
    }
}

/// Producers collect before their places are used up, so there is always one.
fn not_taken(error: SendError) -> NotTaken {
    match error {
        SendError::Full(_) | SendError::NoPlace(_) => NotTaken::Full,
        SendError::Stopped(_) => NotTaken::Stopped,
    }
}

/// The table behind locks, and its clock.
#[derive(Clone, Debug)]
pub struct Twin {
    table: Arc<Locked>,
    clock: Clock,
}

/// One producer's way to it.
#[derive(Debug)]
pub struct TwinCaller {
    twin: Twin,
    answers: Vec<Later>,
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
    type Caller = TwinCaller;
    const NAME: &'static str = "locked";

    fn caller(&self) -> TwinCaller {
        TwinCaller {
            twin: self.clone(),
            answers: Vec::new(),
        }
    }

    fn settle(&self) -> Result<Option<Box<Metrics>>, AskError> {
        // Whoever has returned has done its work.
        Ok(None)
    }
}

impl Caller for TwinCaller {
    fn tell(&mut self, message: Message) -> Result<(), NotTaken> {
        self.twin.apply(&message);
        Ok(())
    }

    fn tell_batch(&mut self, messages: &mut Vec<Message>) -> Result<usize, NotTaken> {
        let count = messages.len();
        for message in messages.drain(..) {
            self.twin.apply(&message);
        }
        Ok(count)
    }

    fn tell_with(&mut self, message: Message, tag: usize) -> Result<(), NotTaken> {
        // Nobody has to wait for an answer that is there.
        self.answers.push((tag, Ok(self.twin.apply(&message))));
        Ok(())
    }

    fn collect(&mut self, _all: bool, answers: &mut Vec<Later>) {
        answers.append(&mut self.answers);
    }

    fn ask(&mut self, message: Message, _timeout: Duration) -> Result<Answer, AskError> {
        Ok(self.twin.apply(&message))
    }

    fn ask_batch(
        &mut self,
        messages: &mut Vec<Message>,
        answers: &mut Vec<Answer>,
        _timeout: Duration,
    ) -> Result<(), AskError> {
        answers.clear();
        answers.extend(messages.drain(..).map(|message| self.twin.apply(&message)));
        Ok(())
    }
}
