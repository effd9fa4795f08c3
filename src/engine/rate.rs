//! How fast bytes come or go: a sliding window of five seconds, in integers.

use crate::time::{Duration, Instant};

/// Length of one slot.
const SLOT_MICROS: u64 = 500_000;
/// Slots in the window.
const SLOTS: usize = 10;
/// A rate is never reckoned over less than this, so that a first burst does not look like a fast peer.
const SPAN_MIN: Duration = Duration::from_secs(1);

/// Bytes over time: a total, and a rate over the last five seconds. 72 bytes, however much passes through.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    /// Bytes of each slot; slot number `n` lives at `n % SLOTS`. Saturates at 4 GiB in half a second.
    slots: [u32; SLOTS],
    /// Number of the newest slot, counted from the origin of time.
    newest: u64,
    /// When the first byte after a quiet window came: a young stream is divided by its age.
    since: Instant,
    total: u64,
}

impl Rate {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing lately, and `total` bytes before.
    #[must_use]
    pub fn after(total: u64) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    /// Counts `bytes` that passed at `now`. Time does not go back between calls.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        let number = slot_number(now);
        if self.window(number) == 0 {
            self.since = now;
        }
        for passed in (self.newest + 1..=number).take(SLOTS) {
            self.slots[place(passed)] = 0;
        }
        self.newest = self.newest.max(number);
        let slot = &mut self.slots[place(self.newest)];
        *slot = slot.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.total = self.total.saturating_add(bytes);
    }

    /// Bytes per second over the last five seconds, or over the time since the first byte when that is shorter.
    #[must_use]
    pub fn per_second(&self, now: Instant) -> u64 {
        let number = slot_number(now);
        let bytes = self.window(number);
        let oldest = Instant::from_micros((number + 1).saturating_sub(SLOTS as u64) * SLOT_MICROS);
        let span = now.since(oldest.max(self.since)).max(SPAN_MIN);
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        bytes.saturating_mul(1_000_000) / micros
    }

    /// All bytes, ever.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Bytes in the window that ends with slot `number`.
    fn window(&self, number: u64) -> u64 {
        let first = (number + 1).saturating_sub(SLOTS as u64);
        let kept = (self.newest + 1).saturating_sub(SLOTS as u64);
        (first.max(kept)..=self.newest)
            .map(|slot| u64::from(self.slots[place(slot)]))
            .sum()
    }
}

/// Which slot, counted from the origin of time.
const fn slot_number(now: Instant) -> u64 {
    now.as_micros() / SLOT_MICROS
}

/// Where a slot lives.
fn place(number: u64) -> usize {
    usize::try_from(number % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn a_steady_stream_shows_its_rate_and_silence_shows_none() {
        let mut rate = Rate::new();
        assert_eq!(rate.per_second(at(0)), 0);
        for tick in 0..200 {
            rate.add(at(1000 + tick * 100), 10_000);
            if tick >= 10 {
                let shown = rate.per_second(at(1000 + tick * 100 + 99));
                assert!((95_000..=105_000).contains(&shown), "tick {tick}: {shown}");
            }
        }
        assert_eq!(rate.total(), 2_000_000);
        let mut last = u64::MAX;
        for quiet in 0..12 {
            let shown = rate.per_second(at(21_000 + quiet * 500));
            assert!(shown <= last, "only falls");
            last = shown;
        }
        assert_eq!(last, 0);
        rate.add(at(100_000), 5000);
        assert_eq!(rate.per_second(at(100_000)), 5000, "a window begins anew");
        assert_eq!(rate.total(), 2_005_000);
    }

    #[test]
    fn a_burst_counts_for_a_second_at_least() {
        let mut rate = Rate::new();
        rate.add(at(77), 1_000_000);
        assert_eq!(rate.per_second(at(78)), 1_000_000);
        assert_eq!(rate.per_second(at(2077)), 500_000);
    }

    /// Against all bytes kept one by one.
    #[test]
    fn the_window_holds_what_a_list_holds() {
        for seed in 0..20 {
            let mut rng = crate::rng::Rng::new(seed);
            let (mut rate, mut all, mut now) = (Rate::new(), Vec::new(), 0);
            for _ in 0..500 {
                let pause = if rng.chance(1, 20) { 20_000 } else { 700 };
                now += rng.below(pause);
                let bytes = rng.below(100_000);
                rate.add(at(now), bytes);
                all.push((now, bytes));
                let first = (now / 500 + 1).saturating_sub(10) * 500;
                let want: u64 = all.iter().filter(|e| e.0 >= first).map(|e| e.1).sum();
                assert_eq!(
                    rate.window(slot_number(at(now))),
                    want,
                    "seed {seed} at {now}"
                );
            }
        }
    }
}
