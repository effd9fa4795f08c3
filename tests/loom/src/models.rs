use std::future::poll_fn;
use std::task::Poll;

use loom::future::block_on;
use loom::model;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::sync::{Armed, Count, Gate, GivenUp, Purse};

/// Runs `check` with a bound on involuntary switches: three find what more threads or switches would, and more takes hours.
fn with_three_threads(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

/// What sleeps on a channel of tokens, or on a poller, in production: a token that comes before the wait ends it at once.
struct Tokens {
    count: Mutex<usize>,
    more: Condvar,
}

impl Tokens {
    fn new() -> Self {
        Self {
            count: Mutex::new(0),
            more: Condvar::new(),
        }
    }

    fn give(&self) {
        *self.count.lock().unwrap() += 1;
        self.more.notify_one();
    }

    fn wait(&self) {
        let mut count = self.count.lock().unwrap();
        while *count == 0 {
            count = self.more.wait(count).unwrap();
        }
        *count -= 1;
    }
}

// ------------------------------------------------------------------------------------------------------ the doorbell

/// A queue with a doorbell in front of an actor that sleeps. The queue promises no more than a lock-free one does: what is taken
/// was put in before. Whether it is seen to be there is up to the doorbell.
struct Bell {
    armed: Armed,
    queued: AtomicUsize,
    sleeping: Tokens,
    wakes: AtomicUsize,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            armed: Armed::new(),
            queued: AtomicUsize::new(0),
            sleeping: Tokens::new(),
            wakes: AtomicUsize::new(0),
        })
    }

    fn send(&self) {
        self.queued.fetch_add(1, Ordering::Release);
        if self.armed.ring() {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.sleeping.give();
        }
    }

    /// Takes `count`, sleeping when there are none; a wake that is lost is a deadlock, which loom reports.
    fn take(&self, count: usize) {
        let mut taken = 0;
        while taken < count {
            self.armed.arm();
            if self.queued.load(Ordering::Acquire) == 0 {
                self.sleeping.wait();
            }
            self.armed.disarm();
            taken += self.queued.swap(0, Ordering::AcqRel);
        }
        assert_eq!(taken, count);
    }
}

fn sender(bell: &Arc<Bell>, count: usize) -> thread::JoinHandle<()> {
    let bell = Arc::clone(bell);
    thread::spawn(move || (0..count).for_each(|_| bell.send()))
}

#[test]
fn no_wake_is_lost_between_the_last_look_and_the_sleep() {
    model(|| {
        let bell = Bell::new();
        let sender = sender(&bell, 2);
        bell.take(2);
        sender.join().unwrap();
    });
}

#[test]
fn of_two_who_ring_a_sleeper_one_wakes_it() {
    with_three_threads(|| {
        let bell = Bell::new();
        bell.armed.arm();
        let senders = [sender(&bell, 1), sender(&bell, 1)];
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(bell.wakes.load(Ordering::Relaxed), 1);
        assert_eq!(bell.queued.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn two_senders_and_a_sleeper_lose_nothing() {
    with_three_threads(|| {
        let bell = Bell::new();
        let senders = [sender(&bell, 1), sender(&bell, 1)];
        bell.take(2);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

// ---------------------------------------------------------------------------------------------------- a count of room

/// Room for `limit`, and what its waiters sleep on: the same steps as in `src/actor/mailbox/credits.rs`.
struct Room {
    count: Count,
    limit: u64,
    tokens: Tokens,
    /// As the queue's own room would have it.
    inside: AtomicUsize,
}

impl Room {
    fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            count: Count::new(),
            limit,
            tokens: Tokens::new(),
            inside: AtomicUsize::new(0),
        })
    }

    fn enter(&self, least: u64, most: u64) -> u64 {
        let taken = self.count.take(self.limit, least, most);
        let amount = usize::try_from(taken).unwrap();
        let before = self.inside.fetch_add(amount, Ordering::Relaxed);
        assert!(
            before as u64 + taken <= self.limit,
            "never more than the limit is out"
        );
        taken
    }

    fn leave(&self, count: u64) {
        let amount = usize::try_from(count).unwrap();
        self.inside.fetch_sub(amount, Ordering::Relaxed);
        if self.count.give(count) > 0 {
            self.tokens.give();
        }
    }

    /// Waits as long as it takes; a token that is lost is a deadlock, which loom reports.
    fn enter_waiting(&self) {
        if self.enter(1, 1) == 1 {
            return;
        }
        self.count.begin_wait();
        while self.enter(1, 1) == 0 {
            self.tokens.wait();
        }
        self.count.end_wait();
    }
}

#[test]
fn room_is_never_given_twice() {
    with_three_threads(|| {
        let room = Room::new(2);
        let takers = [1, 2].map(|most| {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                let taken = room.enter(1, most);
                if taken > 0 {
                    room.leave(taken);
                }
            })
        });
        let taken = room.enter(2, 2);
        room.leave(taken);
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(room.count.out(), 0);
        assert_eq!(room.enter(2, 2), 2, "all of it is back");
        assert_eq!(room.enter(1, 1), 0);
        room.leave(2);
    });
}

#[test]
fn whoever_waits_for_room_is_woken_when_it_comes() {
    model(|| {
        let room = Room::new(1);
        assert_eq!(room.enter(1, 1), 1);
        let waiter = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                room.enter_waiting();
                room.leave(1);
            })
        };
        room.leave(1);
        waiter.join().unwrap();
        assert_eq!(room.count.out(), 0);
        assert_eq!(room.count.waiters(), 0);
    });
}

#[test]
fn a_waiter_is_woken_also_when_somebody_else_takes_the_room_first() {
    with_three_threads(|| {
        let room = Room::new(1);
        assert_eq!(room.enter(1, 1), 1);
        let waiter = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                room.enter_waiting();
                room.leave(1);
            })
        };
        let barger = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                if room.enter(1, 1) == 1 {
                    room.leave(1);
                }
            })
        };
        room.leave(1);
        waiter.join().unwrap();
        barger.join().unwrap();
        assert_eq!(room.count.out(), 0);
    });
}

// ------------------------------------------------------------------------------------------------- a caller's purse

#[test]
fn what_is_in_a_purse_is_spent_or_brought_home_once() {
    with_three_threads(|| {
        let purse = Arc::new(Purse::new());
        assert!(purse.fill(2));
        let spender = {
            let purse = Arc::clone(&purse);
            thread::spawn(move || (0..2).filter(|_| purse.spend(1, 1).is_some()).count())
        };
        let gatherer = {
            let purse = Arc::clone(&purse);
            thread::spawn(move || purse.empty())
        };
        let collected = purse.collect()[1];
        let spent = spender.join().unwrap() as u64;
        let gathered = gatherer.join().unwrap();
        assert_eq!(spent + gathered + purse.held(), 2);
        assert_eq!(collected + purse.sent()[1], spent, "all is written down");
    });
}

/// A sender takes room for one and for one more; another waits for that one more, as in `Seat::advance` and `Credits::wait`.
#[test]
fn a_waiter_gets_what_another_holds() {
    model(|| {
        let room = Room::new(2);
        let purse = Arc::new(Purse::new());
        let holder = {
            let (room, purse) = (Arc::clone(&room), Arc::clone(&purse));
            thread::spawn(move || {
                if room.enter(2, 2) == 2 {
                    assert!(purse.fill(1));
                    if room.count.waiters() > 0 {
                        gather(&room, &purse);
                    }
                }
                // What it used stays used: the waiter must do with what was held.
            })
        };
        if room.enter(1, 1) == 0 {
            room.count.begin_wait();
            loop {
                gather(&room, &purse);
                if room.enter(1, 1) == 1 {
                    break;
                }
                room.tokens.wait();
            }
            room.count.end_wait();
        }
        holder.join().unwrap();
    });
}

fn gather(room: &Room, purse: &Purse) {
    let held = purse.empty();
    if held > 0 {
        room.leave(held);
    }
}

// ------------------------------------------------------------------------------------------------- the gate of a reply

/// A reply slot: the gate, and the place of the answer.
struct Slot {
    gate: Gate,
    answer: Mutex<Option<u32>>,
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            answer: Mutex::new(None),
        })
    }

    /// What the actor does with the message; whether it executed it, and whether its answer was wanted.
    fn serve(&self) -> (bool, bool) {
        if !self.gate.take() {
            return (false, false);
        }
        let wanted = self.gate.answer();
        if wanted {
            *self.answer.lock().unwrap() = Some(7);
            self.gate.told();
        }
        (true, wanted)
    }

    fn answer(&self) -> Option<u32> {
        self.answer.lock().unwrap().take()
    }
}

#[test]
fn a_caller_that_gives_up_and_the_actor_agree_on_what_happened() {
    model(|| {
        let slot = Slot::new();
        let actor = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.serve())
        };
        let given_up = slot.gate.give_up();
        let (executed, wanted) = actor.join().unwrap();
        match given_up {
            GivenUp::Cancelled => assert_eq!((executed, wanted), (false, false)),
            GivenUp::Abandoned => assert_eq!((executed, wanted), (true, false)),
            GivenUp::Answered => {
                assert_eq!((executed, wanted), (true, true));
                assert_eq!(slot.answer(), Some(7));
            }
        }
    });
}

#[test]
fn a_deadline_that_both_sides_see_cancels_once() {
    model(|| {
        let slot = Slot::new();
        let actor = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.gate.expire())
        };
        assert_eq!(slot.gate.give_up(), GivenUp::Cancelled);
        actor.join().unwrap();
        assert!(!slot.gate.take(), "never executed");
    });
}

/// What a future's poll does, as in `src/actor/reply.rs`; `None` when it was cancelled.
async fn asked(slot: &Slot) -> Option<u32> {
    poll_fn(|context| {
        if let Some(answer) = slot.answer() {
            return Poll::Ready(Some(answer));
        }
        slot.gate.watch(context.waker());
        if let Some(answer) = slot.answer() {
            return Poll::Ready(Some(answer));
        }
        if slot.gate.is_cancelled() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

#[test]
fn a_future_is_woken_by_its_answer() {
    model(|| {
        let slot = Slot::new();
        let actor = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.serve())
        };
        assert_eq!(block_on(asked(&slot)), Some(7));
        actor.join().unwrap();
    });
}

#[test]
fn a_future_is_woken_when_the_actor_meets_its_message_too_late() {
    model(|| {
        let slot = Slot::new();
        let actor = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.gate.expire())
        };
        assert_eq!(block_on(asked(&slot)), None);
        assert!(actor.join().unwrap());
    });
}
