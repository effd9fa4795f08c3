//! The three places where threads meet: the flag of a doorbell, a count of room, and the gate of a reply.
//!
//! Each is one thought with one proof: `tests/loom` compiles this very file over loom's atomics and tries every order in
//! which two or three threads can pass through it. What surrounds them (queues, tokens, time) is elsewhere.
//!
//! Where two threads each write one thing and then look at the other's, a fence stands between the writing and the looking
//! on both sides: at least one of them sees what the other wrote. Each such pair names its twin.

use std::task::Waker;

use super::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, AtomicWaker, Ordering, fence};

/// Keeps what many threads write off the cache lines of what others read.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct Padded<T>(pub(super) T);

// ------------------------------------------------------------------------------------------------------ the doorbell

/// Whether the actor sleeps, or is about to.
#[derive(Debug)]
pub(super) struct Armed(Padded<AtomicBool>);

impl Armed {
    pub(super) fn new() -> Self {
        Self(Padded(AtomicBool::new(false)))
    }

    /// Whether the actor must be woken, and by us: of all who ring, one hears yes. Ring after queueing.
    pub(super) fn ring(&self) -> bool {
        // Its twin is in `arm`: what was queued is seen before the sleep, or the flag is seen here.
        fence(Ordering::SeqCst);
        self.ring_after_fence()
    }

    /// The same for a caller that has passed a fence since it queued.
    pub(super) fn ring_after_fence(&self) -> bool {
        let flag = &self.0.0;
        flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::AcqRel)
    }

    /// From now on somebody who rings is heard. Look at the queues once more before sleeping.
    pub(super) fn arm(&self) {
        self.0.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The actor is awake: ringing costs nothing.
    pub(super) fn disarm(&self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

// ---------------------------------------------------------------------------------------------------- a count of room

/// Room taken by many and given back by one, as two sums that only grow, each on a cache line of its own: who takes looks at
/// the other line only when the room it remembers is used up.
#[derive(Debug)]
pub(super) struct Count {
    takers: Padded<Taken>,
    giver: Padded<Given>,
}

#[derive(Debug)]
struct Taken {
    taken: AtomicU64,
    /// What `given` was at least, when somebody last looked.
    seen: AtomicU64,
}

#[derive(Debug)]
struct Given {
    given: AtomicU64,
    /// Takers that wait until somebody wakes them.
    waiters: AtomicUsize,
}

impl Count {
    pub(super) fn new() -> Self {
        Self {
            takers: Padded(Taken {
                taken: AtomicU64::new(0),
                seen: AtomicU64::new(0),
            }),
            giver: Padded(Given {
                given: AtomicU64::new(0),
                waiters: AtomicUsize::new(0),
            }),
        }
    }

    /// Takes as much as there is of `most`, but nothing when that is less than `least`: how much was taken. Never more than
    /// `limit` is out at a time.
    pub(super) fn take(&self, limit: u64, least: u64, most: u64) -> u64 {
        let takers = &self.takers.0;
        // Acquire: what was done with the room before it was given back is over for whoever takes it, also by hearsay.
        let mut given = takers.seen.load(Ordering::Acquire);
        let mut taken = takers.taken.load(Ordering::Relaxed);
        loop {
            let mut free = (given + limit).saturating_sub(taken);
            if free < most {
                given = self.giver.0.given.load(Ordering::Acquire);
                takers.seen.store(given, Ordering::Release);
                free = (given + limit).saturating_sub(taken);
            }
            let count = free.min(most);
            if count < least || count == 0 {
                return 0;
            }
            // A stale `taken` makes `free` too large, and this fail.
            match takers.taken.compare_exchange_weak(
                taken,
                taken + count,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return count,
                Err(now) => taken = now,
            }
        }
    }

    /// Gives back `count`; how many waiters are to be woken for it.
    pub(super) fn give(&self, count: u64) -> usize {
        let giver = &self.giver.0;
        giver.given.fetch_add(count, Ordering::Release);
        // Its twin is in `begin_wait`: the waiter is seen here, or it sees the room.
        fence(Ordering::SeqCst);
        let waiters = giver.waiters.load(Ordering::Acquire);
        waiters.min(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// From now on whoever gives knows of one more that waits. Try to take once more before waiting.
    pub(super) fn begin_wait(&self) {
        self.giver.0.waiters.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// One waits no longer; whether others do.
    pub(super) fn end_wait(&self) -> bool {
        self.giver.0.waiters.fetch_sub(1, Ordering::Relaxed) > 1
    }

    /// How many wait now.
    pub(super) fn waiters(&self) -> usize {
        self.giver.0.waiters.load(Ordering::Acquire)
    }

    /// How much is out now.
    pub(super) fn out(&self) -> u64 {
        // In this order the difference is never negative.
        let given = self.giver.0.given.load(Ordering::Acquire);
        self.takers
            .0
            .taken
            .load(Ordering::Relaxed)
            .saturating_sub(given)
    }
}

// ------------------------------------------------------------------------------------------------- the gate of a reply

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const ANSWERED: u8 = 2;
const CANCELLED: u8 = 3;
const ABANDONED: u8 = 4;

/// Who was first, the caller or the actor: the picture is in [`super::reply`].
#[derive(Debug)]
pub(super) struct Gate {
    state: AtomicU8,
    waker: AtomicWaker,
}

/// What a caller learns that gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// The message was not taken, and never will be.
    Cancelled,
    /// It was taken; its answer will be dropped.
    Abandoned,
    /// Too late for that: the answer is there, or on its way.
    Answered,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(QUEUED),
            waker: AtomicWaker::new(),
        }
    }

    /// Makes a gate that nobody else holds as good as new.
    pub(super) fn reset(&self) {
        self.state.store(QUEUED, Ordering::Release);
    }

    /// The actor takes the message for execution; `false` when it was cancelled.
    pub(super) fn take(&self) -> bool {
        self.step(QUEUED, TAKEN)
    }

    /// The actor cancels the message on the caller's behalf, who is told; `false` when it was taken or cancelled before.
    pub(super) fn expire(&self) -> bool {
        let ours = self.step(QUEUED, CANCELLED);
        if ours {
            self.waker.wake();
        }
        ours
    }

    /// The actor has an answer for a message it took; `false` when its caller has given up. Put the answer where the caller
    /// looks, then say [`Self::told`].
    pub(super) fn answer(&self) -> bool {
        self.step(TAKEN, ANSWERED)
    }

    /// The answer is where the caller looks.
    pub(super) fn told(&self) {
        self.waker.wake();
    }

    /// Whoever watches is woken by [`Self::expire`] and [`Self::told`]. Look for the answer, and at
    /// [`Self::is_cancelled`], once more before waiting.
    pub(super) fn watch(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Whether the message will never be executed.
    pub(super) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// The caller waits no longer.
    pub(super) fn give_up(&self) -> GivenUp {
        if self.step(QUEUED, CANCELLED) {
            GivenUp::Cancelled
        } else if self.step(TAKEN, ABANDONED) {
            GivenUp::Abandoned
        } else if self.is_cancelled() {
            GivenUp::Cancelled
        } else {
            GivenUp::Answered
        }
    }

    /// One step of the picture; whether it was ours to take.
    fn step(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
