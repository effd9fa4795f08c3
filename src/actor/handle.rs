//! The callers' side: tell, ask, listen.
//!
//! A [`Handle`] may be used from any thread but the actor's own, where only what does not wait works. What there is:
//!
//! | how | returns | the outcome |
//! | --- | --- | --- |
//! | [`Handle::tell`], [`Handle::tell_batch`] | when it is queued | nobody asks for it |
//! | [`Handle::ask`], [`Handle::ask_batch`] | with the answer, or at the deadline | is returned |
//! | [`Handle::ask_future`] | at once | when the future is polled |
//! | [`Handle::tell_with`] | when it is queued | in a queue that the caller drains |
//!
//! No way to call runs code of the caller's on the actor's thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::bus::{Filter, Subscription, subscription};
use super::completion::CompletionQueue;
use super::future::{Asking, AskingBatch, AskingMetrics};
use super::mailbox::{Adoption, Body, Mailbox, Refused, Seat};
use super::reply::{AskError, Reply, Response, Waiting};
use crate::config::Backpressure;
use crate::engine::message::{Answer, Direction, Message, Refusal};
use crate::ids::{StreamId, SwarmId};
use crate::metrics::Metrics;
use crate::time::{Clock, Duration};

/// A way to the actor, with a quota: it may have so many operations in flight (half of the queue's room, unless
/// [`Self::with_quota`] says otherwise), so that one busy caller leaves room for the others. Beyond it, the queue is full
/// for this caller.
///
/// Each clone is another caller with a quota and counts of its own: give each thread one. Threads that share one by
/// reference share its quota. 127 handles can have that; those beyond share what they have with each other.
#[derive(Clone, Debug)]
pub struct Handle {
    seat: Seat,
    policy: Backpressure,
}

/// A message that was not queued, given back.
#[derive(Debug)]
pub enum SendError {
    /// The queue, or the caller's own share of it, is full, and was until the policy's patience ended.
    Full(Message),
    /// The actor has ended.
    Stopped(Message),
    /// The queue for its completion has no place left. Nothing was sent, nothing is counted.
    NoPlace(Message),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Stopped(_) => "the engine has stopped",
            Self::NoPlace(_) => "no place for its completion",
        })
    }
}

impl std::error::Error for SendError {}

/// Why a socket did not become a stream. It is closed.
#[derive(Debug)]
pub enum AdoptError {
    /// The message was not executed, or not answered.
    Ask(AskError),
    /// It is not a connected stream socket, or the host can do nothing with it.
    Unusable(io::Error),
    /// The engine does not want it.
    Refused(Refusal),
}

impl std::fmt::Display for AdoptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ask(why) => why.fmt(f),
            Self::Unusable(error) => write!(f, "the socket is of no use: {error}"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for AdoptError {}

impl Handle {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        let policy = mailbox.options.policy;
        let seat = Seat::new(mailbox);
        Self { seat, policy }
    }

    /// Another caller that must not wait for room: where the policy is to block, this one rejects.
    #[must_use]
    pub fn without_waiting(&self) -> Self {
        Self {
            seat: self.seat.clone(),
            policy: self.never_waiting(),
        }
    }

    /// Another caller, which may have so many operations in flight: at least 1, at most all that the queue has room for.
    #[must_use]
    pub fn with_quota(&self, operations: usize) -> Self {
        Self {
            seat: self.seat.another(operations),
            policy: self.policy,
        }
    }

    // ------------------------------------------------------------------------------------------------------ telling

    /// Queues a message and does not wait for an answer. Allocates nothing.
    ///
    /// # Errors
    /// The message comes back when there is no room (after waiting, if the policy says so) or when the actor has ended.
    pub fn tell(&self, message: Message) -> Result<(), SendError> {
        let body = Body::Message(message);
        self.seat
            .send(body, None, self.policy)
            .map_err(|refused| given_back(refused).1)
    }

    /// Queues the first of `messages`, as many as there is room for, as one batch: applied in order, in one turn, with no
    /// other message in between. They leave the vector; what is left found no room, and counts as rejected. At most
    /// [`BATCH_MAX`] messages, none of them critical.
    ///
    /// A batch queues in the lane of its least urgent message. Where the policy is to block, it waits for room for all, and
    /// takes what there is in the end. Allocates nothing once warm: the vector is exchanged for an empty one that another
    /// batch has left.
    ///
    /// # Errors
    /// [`AskError::Stopped`] when the actor has ended, [`AskError::TooLong`], [`AskError::NotBatched`]; all messages stay.
    ///
    /// [`BATCH_MAX`]: super::mailbox::BATCH_MAX
    pub fn tell_batch(&self, messages: &mut Vec<Message>) -> Result<usize, AskError> {
        self.seat.check_batch(messages)?;
        self.seat.send_batch(messages, self.policy)
    }

    /// Queues a message whose answer lands in `queue` under `tag`. Its place there is reserved now. Allocates nothing.
    ///
    /// # Errors
    /// As [`Self::tell`]; [`SendError::NoPlace`] when too many answers are to come or wait to be fetched.
    pub fn tell_with(
        &self,
        message: Message,
        queue: &CompletionQueue,
        tag: u64,
    ) -> Result<(), SendError> {
        let Some(ticket) = queue.reserve(tag) else {
            return Err(SendError::NoPlace(message));
        };
        let reply = Some(Reply::queued(ticket));
        self.seat
            .send(Body::Message(message), reply, self.policy)
            .map_err(|refused| {
                let (reply, error) = given_back(refused);
                if let Some(reply) = reply {
                    reply.forget();
                }
                error
            })
    }

    // ------------------------------------------------------------------------------------------------------- asking

    /// Queues a message and waits for its answer, all within `timeout`.
    ///
    /// # Errors
    /// Every error but [`AskError::Unknown`] (and [`AskError::Stopped`] in the middle of a job) promises that nothing was executed.
    pub fn ask(&self, message: Message, timeout: Duration) -> Result<Answer, AskError> {
        match self.request(Body::Message(message), timeout)? {
            Response::Answer(answer) => Ok(answer),
            Response::Batch(_) | Response::Metrics(_) | Response::NotAdopted(_) => {
                unreachable!("a message is answered by an answer")
            }
        }
    }

    /// Queues all of `messages`, or none, as one batch (see [`Self::tell_batch`]), and waits for the answers, all within
    /// `timeout`. `messages` is then empty and `answers` holds one for each, in order; what was in it is gone.
    ///
    /// The answers come together: one that comes only after a job ([`Message::SessionRemove`]) holds up the others.
    ///
    /// # Errors
    /// As [`Self::ask`], for all of them at once, and as [`Self::tell_batch`]. The messages stay when they were not queued.
    pub fn ask_batch(
        &self,
        messages: &mut Vec<Message>,
        answers: &mut Vec<Answer>,
        timeout: Duration,
    ) -> Result<(), AskError> {
        answers.clear();
        if messages.is_empty() {
            return Ok(());
        }
        self.not_own_thread()?;
        self.seat.check_batch(messages)?;
        let mailbox = &*self.seat.mailbox;
        let mut buffer = mailbox.buffers.take().unwrap_or_default();
        std::mem::swap(&mut buffer, messages);
        let queued = self.queue(Body::Batch(buffer), timeout, self.policy);
        let waiting = queued.map_err(|(body, why)| {
            if let Body::Batch(mut buffer) = body {
                std::mem::swap(&mut buffer, messages);
                mailbox.keep_buffer(buffer);
            }
            why
        })?;
        match waiting.wait(self.clock(), &mailbox.slots)? {
            Response::Batch(mut theirs) => {
                std::mem::swap(&mut theirs, answers);
                mailbox.keep_answers(theirs);
                Ok(())
            }
            Response::Answer(_) | Response::Metrics(_) | Response::NotAdopted(_) => {
                unreachable!("a batch is answered by a batch")
            }
        }
    }

    /// Queues a message now; the future brings its answer. Never waits for room: where the policy is to block, it rejects.
    pub fn ask_future(&self, message: Message, timeout: Duration) -> Asking {
        let body = Body::Message(message);
        let queued = self
            .queue(body, timeout, self.never_waiting())
            .map_err(|(_, why)| why);
        Asking::new(Arc::clone(&self.seat.mailbox), queued)
    }

    /// Queues all of `messages`, or none, as one batch (see [`Self::tell_batch`]); the future brings an answer for each. As
    /// [`Self::ask_future`] it never waits for room.
    pub fn ask_batch_future(&self, messages: Vec<Message>, timeout: Duration) -> AskingBatch {
        let queued = self.seat.check_batch(&messages).and_then(|()| {
            self.queue(Body::Batch(messages), timeout, self.never_waiting())
                .map_err(|(_, why)| why)
        });
        AskingBatch(Asking::new(Arc::clone(&self.seat.mailbox), queued))
    }

    /// Hands over a connected stream socket (TCP or Unix) to `address`, which becomes a stream like any other; see
    /// [`Message::StreamAdd`]. The name of the stream comes back, within `timeout`.
    ///
    /// # Errors
    /// The socket is closed then, unless the error is [`AskError::Unknown`]: then it may be a stream now.
    pub fn stream_add(
        &self,
        socket: OwnedFd,
        address: SocketAddr,
        direction: Direction,
        swarm: Option<SwarmId>,
        timeout: Duration,
    ) -> Result<StreamId, AdoptError> {
        let adoption = Adoption {
            socket,
            address,
            direction,
            swarm,
        };
        match self.request(Body::Adopt(Box::new(adoption)), timeout) {
            Ok(Response::Answer(Answer::Stream(stream))) => Ok(stream),
            Ok(Response::Answer(Answer::Refused(refusal))) => Err(AdoptError::Refused(refusal)),
            Ok(Response::NotAdopted(error)) => Err(AdoptError::Unusable(error)),
            Ok(Response::Answer(_) | Response::Batch(_) | Response::Metrics(_)) => {
                unreachable!("a socket becomes a stream, or is refused")
            }
            Err(why) => Err(AdoptError::Ask(why)),
        }
    }

    /// All figures, as the actor sees them now.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn metrics(&self, timeout: Duration) -> Result<Box<Metrics>, AskError> {
        match self.request(Body::Metrics, timeout)? {
            Response::Metrics(metrics) => Ok(metrics),
            Response::Answer(_) | Response::Batch(_) | Response::NotAdopted(_) => {
                unreachable!("figures are answered by figures")
            }
        }
    }

    /// The same as a future, with the rules of [`Self::ask_future`].
    pub fn metrics_future(&self, timeout: Duration) -> AskingMetrics {
        let queued = self
            .queue(Body::Metrics, timeout, self.never_waiting())
            .map_err(|(_, why)| why);
        AskingMetrics(Asking::new(Arc::clone(&self.seat.mailbox), queued))
    }

    // ---------------------------------------------------------------------------------------------------- listening

    /// Listens to events from now on: those of messages sent after this call are all among them. A subscription that finds
    /// no room has already ended.
    #[must_use]
    pub fn subscribe(&self, filter: Filter) -> Subscription {
        let (subscribe, subscription) = subscription(filter);
        // Refused, the other end is dropped, which ends it.
        let _ = self.seat.mailbox.subscribe(subscribe);
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
        let _ = self
            .seat
            .mailbox
            .subscribe(subscribe.waking(Box::new(wake)));
        subscription
    }

    /// The clock that deadlines are reckoned with.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.seat.mailbox.options.clock
    }

    /// Operations waiting now, of all callers.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.seat.mailbox.queued()
    }

    const fn never_waiting(&self) -> Backpressure {
        match self.policy {
            Backpressure::Block => Backpressure::Reject,
            other => other,
        }
    }

    fn not_own_thread(&self) -> Result<(), AskError> {
        if self.seat.mailbox.is_own_thread() {
            return Err(AskError::WouldDeadlock);
        }
        Ok(())
    }

    fn request(&self, body: Body, timeout: Duration) -> Result<Response, AskError> {
        self.not_own_thread()?;
        let waiting = self
            .queue(body, timeout, self.policy)
            .map_err(|(_, why)| why)?;
        waiting.wait(self.clock(), &self.seat.mailbox.slots)
    }

    /// Queues what has an answer.
    fn queue(
        &self,
        body: Body,
        timeout: Duration,
        policy: Backpressure,
    ) -> Result<Waiting, (Body, AskError)> {
        let slots = &self.seat.mailbox.slots;
        let (waiting, reply) = slots.open(self.clock().now() + timeout);
        match self.seat.send(body, Some(reply), policy) {
            Ok(()) => Ok(waiting),
            Err(refused) => {
                if let Some(reply) = refused.reply {
                    reply.forget();
                }
                waiting.keep(slots);
                Err((refused.body, refused.why))
            }
        }
    }
}

/// A refused message, and its reply.
fn given_back(refused: Refused) -> (Option<Reply>, SendError) {
    let error = match refused.body {
        Body::Message(message) if refused.why == AskError::Stopped => SendError::Stopped(message),
        Body::Message(message) => SendError::Full(message),
        Body::Batch(_) | Body::Adopt(_) | Body::Metrics => {
            unreachable!("what is refused is what was sent")
        }
    };
    (refused.reply, error)
}
