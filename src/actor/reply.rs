//! Oneshot replies with deadlines: the meeting point of one waiting caller and the actor.
//!
//! One atomic step decides who was first. A slot is *queued* until the actor takes its message, or until the caller's deadline
//! cancels it, never both: a cancelled message is never executed, and its caller may rely on that. A caller that gives up on
//! a message already taken learns only that the outcome is unknown; the late answer is dropped and counted.
//!
//! ```text
//! Queued ── actor takes ──▶ Taken ── actor answers ──▶ Answered
//!    │                        └── caller gives up ──▶ Abandoned
//!    └── deadline, seen by either side ──▶ Cancelled
//! ```
//!
//! Slots are reused, so that an ask allocates nothing once warm. Only a slot whose other half may still hold it is let go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::completion::Ticket;
use super::mailbox::Pool;
use super::sync::{Gate, GivenUp};
use crate::engine::message::Answer;
use crate::metrics::Metrics;
use crate::time::{Clock, Instant};

/// Slots kept for reuse; more are made when more callers wait at once, and freed afterwards.
const SLOTS_KEPT: usize = 256;

/// Why a caller got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    /// The queue, or the caller's own share of it, was full until the deadline, or the policy does not wait. Nothing was executed.
    Full,
    /// A newer message of a higher lane took its place. Nothing was executed.
    Shed,
    /// The deadline passed before the actor took the message. Nothing was and nothing will be executed.
    Expired,
    /// The deadline passed while the actor had the message, or too many wait for the same: it may have been, or may still be,
    /// executed.
    Unknown,
    /// The actor has ended. Nothing was executed, unless the actor had already taken the message.
    Stopped,
    /// Asked on the actor's own thread, which would wait for itself.
    WouldDeadlock,
    /// A batch of more operations than one may have, or than could ever find room. Nothing was sent, nothing is counted.
    TooLong,
    /// A batch with a message that must not wait in line ([`Message::Shutdown`]). Nothing was sent, nothing is counted.
    ///
    /// [`Message::Shutdown`]: crate::engine::message::Message::Shutdown
    NotBatched,
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "the queue is full",
            Self::Shed => "displaced by more important messages",
            Self::Expired => "not taken in time, and not executed",
            Self::Unknown => "no answer in time; it may have been executed",
            Self::Stopped => "the engine has stopped",
            Self::WouldDeadlock => "asked on the actor's own thread",
            Self::TooLong => "more operations than a batch may have",
            Self::NotBatched => "a message that cannot be part of a batch",
        })
    }
}

impl std::error::Error for AskError {}

/// What comes back through a slot.
#[derive(Debug)]
pub(super) enum Response {
    /// The engine's.
    Answer(Answer),
    /// The engine's, one for each message of a batch.
    Batch(Vec<Answer>),
    /// The loop's.
    Metrics(Box<Metrics>),
    /// The host's: a socket that is of no use.
    NotAdopted(io::Error),
}

pub(super) type Outcome = Result<Response, AskError>;

#[derive(Debug)]
struct Slot {
    gate: Gate,
    /// In microseconds of the callers' clock. Written before the slot is shared.
    deadline: AtomicU64,
    sender: Sender<Outcome>,
    receiver: Receiver<Outcome>,
}

/// Slots waiting to be used again.
#[derive(Debug)]
pub(super) struct Slots(Pool<Arc<Slot>>);

impl Slots {
    pub(super) fn new() -> Self {
        Self(Pool::new(SLOTS_KEPT))
    }

    /// Both halves of a fresh slot.
    pub(super) fn open(&self, deadline: Instant) -> (Waiting, Reply) {
        let slot = self.0.take().unwrap_or_else(|| {
            let (sender, receiver) = bounded(1);
            Arc::new(Slot {
                gate: Gate::new(),
                deadline: AtomicU64::new(0),
                sender,
                receiver,
            })
        });
        slot.deadline.store(deadline.as_micros(), Ordering::Relaxed);
        slot.gate.reset();
        let reply = Reply {
            to: Some(Target::Slot(Arc::clone(&slot))),
        };
        (Waiting { slot }, reply)
    }
}

/// The caller's half.
#[derive(Debug)]
pub(super) struct Waiting {
    slot: Arc<Slot>,
}

impl Waiting {
    /// Waits until the deadline, then decides what its passing means.
    pub(super) fn wait(self, clock: Clock, slots: &Slots) -> Outcome {
        let left = self.deadline().since(clock.now());
        let outcome = match self.slot.receiver.recv_timeout(left) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => match self.slot.gate.give_up() {
                GivenUp::Cancelled => return Err(AskError::Expired),
                GivenUp::Abandoned => return Err(AskError::Unknown),
                // The other side marks before it sends.
                GivenUp::Answered => self
                    .slot
                    .receiver
                    .recv()
                    .expect("both ends of a slot's channel live in the slot"),
            },
            Err(RecvTimeoutError::Disconnected) => {
                unreachable!("both ends of a slot's channel live in the slot")
            }
        };
        self.keep(slots);
        outcome
    }

    /// The same in steps: what there is now, or a promise that the waker is called when there is. The passing of the
    /// deadline wakes nobody, unless the actor meets the message after it.
    pub(super) fn poll(&self, context: &Context<'_>, clock: Clock) -> Poll<Outcome> {
        let slot = &*self.slot;
        if let Ok(outcome) = slot.receiver.try_recv() {
            return Poll::Ready(outcome);
        }
        slot.gate.watch(context.waker());
        if let Ok(outcome) = slot.receiver.try_recv() {
            return Poll::Ready(outcome);
        }
        if slot.gate.is_cancelled() {
            return Poll::Ready(Err(AskError::Expired));
        }
        if self.deadline() > clock.now() {
            return Poll::Pending;
        }
        match slot.gate.give_up() {
            GivenUp::Cancelled => Poll::Ready(Err(AskError::Expired)),
            GivenUp::Abandoned => Poll::Ready(Err(AskError::Unknown)),
            // On its way, and it wakes us.
            GivenUp::Answered => Poll::Pending,
        }
    }

    /// Nobody waits any more: the message is cancelled, or its answer will be dropped.
    pub(super) fn give_up(self) {
        self.slot.gate.give_up();
    }

    /// The slot is free again: it was answered, or its message never queued. The other half only drops its reference.
    pub(super) fn keep(self, slots: &Slots) {
        slots.0.give(self.slot);
    }

    fn deadline(&self) -> Instant {
        deadline_of(&self.slot)
    }
}

fn deadline_of(slot: &Slot) -> Instant {
    Instant::from_micros(slot.deadline.load(Ordering::Relaxed))
}

/// Where an answer goes.
#[derive(Debug)]
enum Target {
    /// To one caller, who waits or polls.
    Slot(Arc<Slot>),
    /// To a queue that the caller drains.
    Queue(Ticket),
}

/// The actor's half. Dropped without an answer, it answers [`AskError::Stopped`], so that nobody is left waiting.
#[derive(Debug)]
pub(super) struct Reply {
    to: Option<Target>,
}

impl Reply {
    /// A reply that lands in a queue.
    pub(super) fn queued(ticket: Ticket) -> Self {
        Self {
            to: Some(Target::Queue(ticket)),
        }
    }

    /// When the message is no longer to be executed. Those with a completion wait for ever.
    pub(super) fn deadline(&self) -> Instant {
        match &self.to {
            Some(Target::Slot(slot)) => deadline_of(slot),
            Some(Target::Queue(_)) | None => Instant::FAR,
        }
    }

    /// Takes the message for execution; `false` when its caller has cancelled it.
    pub(super) fn take(&self) -> bool {
        match &self.to {
            Some(Target::Slot(slot)) => slot.gate.take(),
            Some(Target::Queue(_)) => true,
            None => false,
        }
    }

    /// Cancels a message whose deadline has passed, on the caller's behalf; `false` when it was taken or cancelled before.
    pub(super) fn expire(&self) -> bool {
        match &self.to {
            Some(Target::Slot(slot)) => slot.gate.expire(),
            Some(Target::Queue(_)) | None => false,
        }
    }

    /// Answers a message that was taken; `false` when its caller has given up.
    pub(super) fn answer(mut self, outcome: Outcome) -> bool {
        self.to.take().is_some_and(|target| target.finish(outcome))
    }

    /// Lets go of a slot, or a place in a queue, whose message was never queued.
    pub(super) fn forget(mut self) {
        if let Some(Target::Queue(ticket)) = self.to.take() {
            ticket.unused();
        }
    }
}

impl Target {
    fn finish(self, outcome: Outcome) -> bool {
        match self {
            Self::Slot(slot) => {
                let ours = slot.gate.answer();
                if ours {
                    slot.sender
                        .try_send(outcome)
                        .expect("one answer a slot, and both ends live in it");
                    slot.gate.told();
                }
                ours
            }
            Self::Queue(ticket) => ticket.answer(outcome.map(|response| match response {
                Response::Answer(answer) => answer,
                Response::Batch(_) | Response::Metrics(_) | Response::NotAdopted(_) => {
                    unreachable!("only messages are sent with a completion")
                }
            })),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(target) = self.to.take() {
            if let Target::Slot(slot) = &target {
                slot.gate.take();
            }
            target.finish(Err(AskError::Stopped));
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a race needs two threads")]
mod tests {
    use super::*;
    use crate::time::Duration;
    use std::thread;

    fn done() -> Outcome {
        Ok(Response::Answer(Answer::Done))
    }

    #[test]
    fn an_answer_arrives_and_its_slot_is_used_again() {
        let (slots, clock) = (Slots::new(), Clock::start());
        for _ in 0..3 {
            let (waiting, reply) = slots.open(Instant::FAR);
            assert!(reply.take());
            assert!(reply.answer(done()));
            assert!(waiting.wait(clock, &slots).is_ok());
            assert_eq!(slots.0.idle(), 1);
        }
    }

    #[test]
    fn a_passed_deadline_is_expired_before_and_unknown_after_the_taking() {
        let (slots, clock) = (Slots::new(), Clock::start());
        let (waiting, reply) = slots.open(Instant::ZERO);
        assert_eq!(waiting.wait(clock, &slots).unwrap_err(), AskError::Expired);
        assert!(!reply.take(), "a cancelled message is never executed");

        let (waiting, reply) = slots.open(Instant::ZERO);
        assert!(reply.take());
        assert_eq!(waiting.wait(clock, &slots).unwrap_err(), AskError::Unknown);
        assert!(!reply.answer(done()), "the late answer is told apart");

        let (waiting, reply) = slots.open(Instant::ZERO);
        assert!(reply.expire());
        assert_eq!(waiting.wait(clock, &slots).unwrap_err(), AskError::Expired);
    }

    #[test]
    fn a_dropped_half_says_stopped() {
        let (slots, clock) = (Slots::new(), Clock::start());
        for taken in [false, true] {
            let (waiting, reply) = slots.open(Instant::FAR);
            assert!(!taken || reply.take());
            drop(reply);
            assert_eq!(waiting.wait(clock, &slots).unwrap_err(), AskError::Stopped);
        }
    }

    #[test]
    fn every_race_ends_in_expired_or_taken_never_both() {
        let (slots, clock) = (Arc::new(Slots::new()), Clock::start());
        let (give, take) = bounded::<Reply>(1);
        let actor = thread::spawn(move || {
            let (mut executed, mut late, mut skipped) = (0_u64, 0_u64, 0_u64);
            for reply in take {
                if reply.take() {
                    executed += 1;
                    late += u64::from(!reply.answer(done()));
                } else {
                    skipped += 1;
                }
            }
            (executed, late, skipped)
        });
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (slots, give) = (Arc::clone(&slots), give.clone());
                thread::spawn(move || {
                    let (mut answered, mut unknown, mut expired) = (0_u64, 0_u64, 0_u64);
                    for round in 0..5000_u64 {
                        let patience = Duration::from_micros((round + caller) % 4);
                        let (waiting, reply) = slots.open(clock.now() + patience);
                        give.send(reply).unwrap();
                        match waiting.wait(clock, &slots) {
                            Ok(_) => answered += 1,
                            Err(AskError::Unknown) => unknown += 1,
                            Err(AskError::Expired) => expired += 1,
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                    (answered, unknown, expired)
                })
            })
            .collect();
        drop(give);
        let sums = callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .fold((0, 0, 0), |sum, part| {
                (sum.0 + part.0, sum.1 + part.1, sum.2 + part.2)
            });
        let (executed, late, skipped) = actor.join().unwrap();
        assert_eq!(sums.0 + sums.1, executed);
        assert_eq!(sums.1, late);
        assert_eq!(sums.2, skipped);
        assert_eq!(executed + skipped, 20_000);
    }
}
