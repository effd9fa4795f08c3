//! How long packets wait on the way: differences of two clocks that know nothing of each other.
//!
//! A single difference means nothing; how far it is above the smallest one of the last minutes is what packets wait in
//! queues (BEP 29, RFC 6817). Clocks that run apart move the smallest one: a history forgets it minute by minute, and what
//! the other direction shows of the drift is taken out.

use crate::time::{Duration, Instant};

/// Minutes that are remembered.
const MINUTES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Samples of which the smallest is believed: a single late packet is no queue.
const RECENT: usize = 3;
/// A base that falls by more was not drift, but a route that changed.
const DRIFT_MAX: u32 = 10_000;

/// The delays of one direction, in microseconds of the difference of both clocks.
#[derive(Clone, Debug)]
pub struct Delays {
    /// The smallest difference of each minute, newest first.
    minutes: [u32; MINUTES],
    /// How many of them are filled.
    filled: usize,
    /// The smallest of all of them.
    base: u32,
    /// When the newest minute began.
    since: Instant,
    recent: [u32; RECENT],
    at: usize,
}

impl Delays {
    /// Nothing is known.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            minutes: [0; MINUTES],
            filled: 0,
            base: 0,
            since: now,
            recent: [0; RECENT],
            at: 0,
        }
    }

    /// A difference of both clocks, as it was measured. Gives back by how much the base fell, if that is drift.
    pub fn add(&mut self, now: Instant, difference: u32) -> u32 {
        if self.filled == 0 {
            self.minutes[0] = difference;
            (self.filled, self.base, self.since) = (1, difference, now);
            self.recent = [0; RECENT];
            return 0;
        }
        if now.since(self.since) >= MINUTE {
            self.since = now;
            self.minutes.copy_within(..MINUTES - 1, 1);
            self.minutes[0] = difference;
            self.filled = (self.filled + 1).min(MINUTES);
            self.find_base();
        }
        if below(difference, self.minutes[0]) {
            self.minutes[0] = difference;
        }
        let before = self.base;
        if below(difference, before) {
            self.base = difference;
        }
        self.recent[self.at] = difference.wrapping_sub(self.base);
        self.at = (self.at + 1) % RECENT;
        let fell = before.wrapping_sub(self.base);
        if fell <= DRIFT_MAX { fell } else { 0 }
    }

    /// The clocks run apart by so much: what seemed to be the smallest difference is larger by now.
    pub fn drift(&mut self, by: u32) {
        for minute in &mut self.minutes {
            *minute = minute.wrapping_add(by);
        }
        self.base = self.base.wrapping_add(by);
        for recent in &mut self.recent {
            *recent = recent.saturating_sub(by);
        }
    }

    /// What packets wait in queues, in microseconds.
    #[must_use]
    pub fn queueing(&self) -> u32 {
        self.recent.iter().copied().min().unwrap_or(0)
    }

    fn find_base(&mut self) {
        let mut base = self.minutes[0];
        for &minute in &self.minutes[1..self.filled] {
            if below(minute, base) {
                base = minute;
            }
        }
        self.base = base;
    }
}

/// Whether `a` is below `b`, of numbers that wrap.
const fn below(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn only_what_is_above_the_smallest_counts_whatever_the_clocks_say() {
        for skew in [0, 5, u32::MAX - 10_000, u32::MAX / 2] {
            let mut delays = Delays::new(at(0));
            for wait in [3000, 1000, 50_000, 40_000, 60_000] {
                delays.add(at(1), skew.wrapping_add(wait));
            }
            assert_eq!(delays.queueing(), 39_000, "skew {skew}");
            delays.add(at(1), 1000_u32.wrapping_add(skew));
            assert_eq!(delays.queueing(), 0, "skew {skew}");
        }
    }

    #[test]
    fn an_old_base_is_forgotten() {
        let mut delays = Delays::new(at(0));
        delays.add(at(0), 1000);
        for minute in 1..=9 {
            delays.add(at(60 * minute), 21_000);
        }
        delays.add(at(600), 21_000);
        for _ in 0..3 {
            delays.add(at(601), 21_000);
        }
        assert_eq!(delays.queueing(), 0, "the path has become longer");
    }

    #[test]
    fn drift_is_taken_out_and_a_new_route_is_none() {
        let mut ours = Delays::new(at(0));
        let mut theirs = Delays::new(at(0));
        theirs.add(at(0), 100_000);
        for _ in 0..3 {
            ours.add(at(0), 100_000);
        }
        let drift = theirs.add(at(1), 99_900);
        assert_eq!(drift, 100);
        ours.drift(drift);
        for _ in 0..3 {
            ours.add(at(1), 100_100);
        }
        assert_eq!(ours.queueing(), 0);
        assert_eq!(theirs.add(at(2), 50_000), 0);
    }
}
