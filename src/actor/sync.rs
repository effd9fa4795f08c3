//! The places where threads meet: the flag of a doorbell, a count of room, a caller's purse of it, and the gate of a reply.
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

/// Whether the actor sleeps, or is about to. It is only ever changed by exchanges, never by plain writes, so that its changes
/// are one chain: who rang last stands before or after the next arming, and no one can take it for both.
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
        flag.load(Ordering::Relaxed)
            && flag
                .compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// From now on somebody who rings is heard. Look at the queues once more before sleeping.
    pub(super) fn arm(&self) {
        self.0.0.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// The actor is awake: ringing costs nothing.
    pub(super) fn disarm(&self) {
        self.0.0.swap(false, Ordering::AcqRel);
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

// ------------------------------------------------------------------------------------------------- a caller's purse

/// Room that a caller has taken in advance, and how much it has sent in each of three lanes since somebody last wrote that
/// down: all in one word, on a cache line of its own, so that a message costs its sender one exchange there.
///
/// ```text
/// <sent: u16> <sent: u16> <sent: u16> <held: u16>
/// ```
#[derive(Debug)]
pub(super) struct Purse(Padded<AtomicU64>);

impl Purse {
    const BITS: u32 = 16;
    const MASK: u64 = (1 << Self::BITS) - 1;

    pub(super) fn new() -> Self {
        Self(Padded(AtomicU64::new(0)))
    }

    /// Spends `count` of what is held on lane `lane` (0 to 2): how much was sent there since it was last written down, or
    /// `None` when not enough is held, or the sum is to be written down first.
    pub(super) fn spend(&self, lane: u32, count: u64) -> Option<u64> {
        let shift = Self::BITS * (1 + lane);
        let mut word = self.0.0.load(Ordering::Relaxed);
        loop {
            let sent = (word >> shift & Self::MASK) + count;
            if word & Self::MASK < count || sent > Self::MASK {
                return None;
            }
            let next = word - count + (count << shift);
            match self.exchange(word, next) {
                Ok(()) => return Some(sent),
                Err(now) => word = now,
            }
        }
    }

    /// Holds `count` more; `false` when that is more than a purse can hold. Then look for waiters: one of them may have
    /// looked into the purse before.
    pub(super) fn fill(&self, count: u64) -> bool {
        let mut word = self.0.0.load(Ordering::Relaxed);
        loop {
            if (word & Self::MASK) + count > Self::MASK {
                return false;
            }
            match self.exchange(word, word + count) {
                Ok(()) => break,
                Err(now) => word = now,
            }
        }
        // Its twin is in `Count::begin_wait`: the waiter is seen here, or it sees what is held.
        fence(Ordering::SeqCst);
        true
    }

    /// Takes out all that is held.
    pub(super) fn empty(&self) -> u64 {
        if self.held() == 0 {
            return 0;
        }
        self.0.0.fetch_and(!Self::MASK, Ordering::AcqRel) & Self::MASK
    }

    /// What was sent in each lane since the last time, for somebody to write down.
    pub(super) fn collect(&self) -> [u64; 3] {
        Self::sent_of(self.0.0.fetch_and(Self::MASK, Ordering::AcqRel))
    }

    /// The same, without taking it away.
    pub(super) fn sent(&self) -> [u64; 3] {
        Self::sent_of(self.0.0.load(Ordering::Acquire))
    }

    pub(super) fn held(&self) -> u64 {
        self.0.0.load(Ordering::Acquire) & Self::MASK
    }

    fn sent_of(word: u64) -> [u64; 3] {
        [1, 2, 3].map(|at| word >> (Self::BITS * at) & Self::MASK)
    }

    fn exchange(&self, word: u64, next: u64) -> Result<(), u64> {
        self.0
            .0
            .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed)
            .map(|_| ())
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
