//! One deadline a key, over the `priority-queue` crate: re-arming is a change of priority.
//!
//! The crate gives keys of equal priority back in no order at all, so a sequence number is a part of the priority: of two
//! deadlines at the same instant, the one set first is due first. Nothing here depends on how keys hash.
//!
//! A deadline that moves with every packet is kept lazy by its owner: let the timer fire, look at the real deadline, and set
//! it again.

use std::cmp::Reverse;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};

use priority_queue::PriorityQueue;

use crate::time::Instant;

/// A fixed hasher: keys are our own ids, which no stranger chooses.
type FixedState = BuildHasherDefault<DefaultHasher>;

/// Deadlines by key. Holds at most one entry a key; the owner's keys are its bound.
#[derive(Clone, Debug)]
pub struct Timers<K: Ord + Copy + Hash> {
    queue: PriorityQueue<K, Reverse<(Instant, u64)>, FixedState>,
    next_sequence: u64,
}

impl<K: Ord + Copy + Hash> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Copy + Hash> Timers<K> {
    /// No deadlines.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queue: PriorityQueue::with_default_hasher(),
            next_sequence: 0,
        }
    }

    /// Arms `key`, or moves its deadline. Setting the deadline it already has changes nothing, its turn among equals included.
    pub fn set(&mut self, key: K, at: Instant) {
        if self.deadline(key) == Some(at) {
            return;
        }
        self.queue.push(key, Reverse((at, self.next_sequence)));
        self.next_sequence += 1;
    }

    /// Arms `key`, unless it is already armed for an earlier time.
    pub fn set_no_later(&mut self, key: K, at: Instant) {
        if self.deadline(key).is_none_or(|armed| at < armed) {
            self.set(key, at);
        }
    }

    /// Disarms `key`; says whether it was armed.
    pub fn cancel(&mut self, key: K) -> bool {
        self.queue.remove(&key).is_some()
    }

    /// Takes the earliest key whose deadline is not after `now`. Call until `None`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        (self.next_deadline()? <= now).then(|| {
            let (key, _) = self.queue.pop().expect("it was just looked at");
            key
        })
    }

    /// When the next key is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.peek().map(|(_, Reverse((at, _)))| *at)
    }

    /// When `key` is due.
    #[must_use]
    pub fn deadline(&self, key: K) -> Option<Instant> {
        self.queue.get_priority(&key).map(|Reverse((at, _))| *at)
    }

    /// How many keys are armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn equal_deadlines_are_due_in_the_order_they_were_set() {
        let mut timers = Timers::new();
        for key in 0..8 {
            timers.set(key, at(5));
        }
        timers.set(3, at(5));
        assert_eq!(timers.pop_due(at(4)), None);
        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(at(5))).collect();
        assert_eq!(due, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(timers.is_empty());
    }

    #[test]
    fn no_later_only_brings_forward() {
        let mut timers = Timers::new();
        timers.set_no_later('a', at(5));
        timers.set_no_later('a', at(9));
        assert_eq!(timers.deadline('a'), Some(at(5)));
        timers.set_no_later('a', at(2));
        assert_eq!(timers.next_deadline(), Some(at(2)));
        assert!(timers.cancel('a') && !timers.cancel('a'));
    }

    /// Against a list sorted by deadline, then by the order of setting.
    #[test]
    fn behaves_like_a_sorted_list() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut timers = Timers::new();
            let mut model: Vec<(Instant, u64, u32)> = Vec::new();
            let mut now = Instant::ZERO;
            for step in 0..2000 {
                let key = rng.next_u32() % 40;
                let armed = model.iter().position(|entry| entry.2 == key);
                match rng.below(5) {
                    0..=2 => {
                        let deadline = at(now.as_micros() + rng.below(30));
                        timers.set(key, deadline);
                        if armed.is_none_or(|place| model[place].0 != deadline) {
                            armed.map(|place| model.remove(place));
                            model.push((deadline, step, key));
                        }
                    }
                    3 => {
                        assert_eq!(timers.cancel(key), armed.is_some(), "seed {seed}");
                        armed.map(|place| model.remove(place));
                    }
                    _ => {
                        now = at(now.as_micros() + rng.below(20));
                        model.sort_unstable();
                        let due = model.partition_point(|entry| entry.0 <= now);
                        let want: Vec<_> = model.drain(..due).map(|entry| entry.2).collect();
                        let got: Vec<_> = std::iter::from_fn(|| timers.pop_due(now)).collect();
                        assert_eq!(got, want, "seed {seed} step {step}");
                    }
                }
                assert_eq!(
                    timers.next_deadline(),
                    model.iter().map(|e| e.0).min(),
                    "seed {seed}"
                );
                assert_eq!(timers.len(), model.len(), "seed {seed}");
            }
        }
    }
}
