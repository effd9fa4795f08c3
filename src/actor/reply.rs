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

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::engine::message::Answer;
use crate::metrics::Metrics;
use crate::time::{Clock, Instant};

/// Slots kept for reuse; more are made when more callers wait at once, and freed afterwards.
const SLOTS_KEPT: usize = 256;

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const ANSWERED: u8 = 2;
const CANCELLED: u8 = 3;
const ABANDONED: u8 = 4;

/// Why a caller got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    /// The queue was full until the deadline, or the policy does not wait. Nothing was executed.
    Full,
    /// A newer message of a higher lane took its place. Nothing was executed.
    Shed,
    /// The deadline passed before the actor took the message. Nothing was and nothing will be executed.
    Expired,
    /// The deadline passed while the actor had the message: it may have been, or may still be, executed.
    Unknown,
    /// The actor has ended. Nothing was executed, unless the actor had already taken the message.
    Stopped,
    /// Asked on the actor's own thread, which would wait for itself.
    WouldDeadlock,
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
        })
    }
}

impl std::error::Error for AskError {}

/// What comes back through a slot.
#[derive(Debug)]
pub(super) enum Response {
    /// The engine's.
    Answer(Answer),
    /// The loop's.
    Metrics(Box<Metrics>),
}

type Outcome = Result<Response, AskError>;

#[derive(Debug)]
struct Slot {
    state: AtomicU8,
    sender: Sender<Outcome>,
    receiver: Receiver<Outcome>,
}

impl Slot {
    /// One step of the picture above; whether it was ours to take.
    fn step(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// Slots waiting to be used again.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    give: Sender<Arc<Slot>>,
    take: Receiver<Arc<Slot>>,
}

impl Slots {
    pub(super) fn new() -> Self {
        let (give, take) = bounded(SLOTS_KEPT);
        Self { give, take }
    }

    /// Both halves of a fresh slot.
    pub(super) fn open(&self) -> (Waiting, Reply) {
        let slot = self.take.try_recv().unwrap_or_else(|_| {
            let (sender, receiver) = bounded(1);
            Arc::new(Slot {
                state: AtomicU8::new(QUEUED),
                sender,
                receiver,
            })
        });
        slot.state.store(QUEUED, Ordering::Release);
        let reply = Reply {
            slot: Some(Arc::clone(&slot)),
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
    /// Waits until `deadline`, then decides what its passing means.
    pub(super) fn wait(self, clock: Clock, deadline: Instant, slots: &Slots) -> Outcome {
        let left = deadline.since(clock.now());
        let outcome = match self.slot.receiver.recv_timeout(left) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                if self.slot.step(QUEUED, CANCELLED) {
                    return Err(AskError::Expired);
                }
                if self.slot.step(TAKEN, ABANDONED) {
                    return Err(AskError::Unknown);
                }
                if self.slot.state.load(Ordering::Acquire) == CANCELLED {
                    return Err(AskError::Expired);
                }
                // The answer is on its way: the other side marks before it sends.
                self.slot
                    .receiver
                    .recv()
                    .expect("both ends of a slot's channel live in the slot")
            }
            Err(RecvTimeoutError::Disconnected) => {
                unreachable!("both ends of a slot's channel live in the slot")
            }
        };
        // Answered: the other half only drops its reference from here on.
        let _ = slots.give.try_send(self.slot);
        outcome
    }

    /// Whether the answer is there.
    pub(super) fn is_answered(&self) -> bool {
        !self.slot.receiver.is_empty()
    }

    /// The message was never queued; its other half is gone.
    pub(super) fn unused(self, slots: &Slots) {
        let _ = slots.give.try_send(self.slot);
    }
}

/// The actor's half. Dropped without an answer, it answers [`AskError::Stopped`], so that nobody is left waiting.
#[derive(Debug)]
pub(super) struct Reply {
    slot: Option<Arc<Slot>>,
}

impl Reply {
    /// Takes the message for execution; `false` when its caller has cancelled it.
    pub(super) fn take(&self) -> bool {
        self.slot
            .as_ref()
            .is_some_and(|slot| slot.step(QUEUED, TAKEN))
    }

    /// Cancels a message whose deadline has passed, on the caller's behalf; `false` when it was taken or cancelled before.
    pub(super) fn expire(&self) -> bool {
        self.slot
            .as_ref()
            .is_some_and(|slot| slot.step(QUEUED, CANCELLED))
    }

    /// Answers a message that was taken; `false` when its caller has given up.
    pub(super) fn answer(mut self, outcome: Outcome) -> bool {
        self.slot
            .take()
            .is_some_and(|slot| Self::finish(&slot, outcome))
    }

    /// Lets go of a slot whose message was never queued.
    pub(super) fn forget(mut self) {
        self.slot = None;
    }

    fn finish(slot: &Slot, outcome: Outcome) -> bool {
        let ours = slot.step(TAKEN, ANSWERED);
        if ours {
            slot.sender
                .try_send(outcome)
                .expect("one answer a slot, and both ends live in it");
        }
        ours
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.step(QUEUED, TAKEN);
            Self::finish(&slot, Err(AskError::Stopped));
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
            let (waiting, reply) = slots.open();
            assert!(reply.take());
            assert!(reply.answer(done()));
            assert!(waiting.wait(clock, Instant::FAR, &slots).is_ok());
            assert_eq!(slots.take.len(), 1);
        }
    }

    #[test]
    fn a_passed_deadline_is_expired_before_and_unknown_after_the_taking() {
        let (slots, clock) = (Slots::new(), Clock::start());
        let (waiting, reply) = slots.open();
        assert_eq!(
            waiting.wait(clock, Instant::ZERO, &slots).unwrap_err(),
            AskError::Expired
        );
        assert!(!reply.take(), "a cancelled message is never executed");

        let (waiting, reply) = slots.open();
        assert!(reply.take());
        assert_eq!(
            waiting.wait(clock, Instant::ZERO, &slots).unwrap_err(),
            AskError::Unknown
        );
        assert!(!reply.answer(done()), "the late answer is told apart");

        let (waiting, reply) = slots.open();
        assert!(reply.expire());
        assert_eq!(
            waiting.wait(clock, Instant::ZERO, &slots).unwrap_err(),
            AskError::Expired
        );
    }

    #[test]
    fn a_dropped_half_says_stopped() {
        let (slots, clock) = (Slots::new(), Clock::start());
        for taken in [false, true] {
            let (waiting, reply) = slots.open();
            assert!(!taken || reply.take());
            drop(reply);
            assert_eq!(
                waiting.wait(clock, Instant::FAR, &slots).unwrap_err(),
                AskError::Stopped
            );
        }
    }

    #[test]
    fn every_race_ends_in_expired_or_taken_never_both() {
        let (slots, clock) = (Slots::new(), Clock::start());
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
                let (slots, give) = (slots.clone(), give.clone());
                thread::spawn(move || {
                    let (mut answered, mut unknown, mut expired) = (0_u64, 0_u64, 0_u64);
                    for round in 0..5000_u64 {
                        let (waiting, reply) = slots.open();
                        give.send(reply).unwrap();
                        let patience = Duration::from_micros((round + caller) % 4);
                        match waiting.wait(clock, clock.now() + patience, &slots) {
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
