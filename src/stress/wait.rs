//! How long callers wait, measured so that the clock is not what is measured.
//!
//! A pair of clock readings costs about as much as a fire-and-forget message. So one call in [`SAMPLE_EVERY`] is timed, and
//! what an empty pair costs, its median calibrated at the start, is taken off.

use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;

/// One single fire-and-forget operation in so many is timed. Whole batches and questions are all timed.
pub const SAMPLE_EVERY: usize = 16;

/// Longest wait told apart, in nanoseconds.
const MAX: u64 = 60_000_000_000;

/// A clock that knows its own cost.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    cost_ns: u64,
}

impl Stopwatch {
    /// Measures what an empty pair of readings costs.
    #[must_use]
    pub fn calibrate() -> Self {
        let mut costs: Vec<u64> = (0..4001).map(|_| nanos(Instant::now())).collect();
        costs.sort_unstable();
        Self {
            cost_ns: costs[costs.len() / 2],
        }
    }

    /// What is taken off.
    #[must_use]
    pub fn cost_ns(self) -> u64 {
        self.cost_ns
    }

    /// Times one call: what it gave, and nanoseconds.
    pub fn time<T>(self, call: impl FnOnce() -> T) -> (T, u64) {
        let began = Instant::now();
        let result = call();
        let spent = nanos(began);
        (result, spent.saturating_sub(self.cost_ns))
    }
}

fn nanos(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Waits of one kind.
#[derive(Clone, Debug)]
pub struct Waits(Histogram<u64>);

impl Default for Waits {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MAX, 2).expect("two digits up to a minute fit"))
    }
}

impl Waits {
    /// Counts one wait of `nanos` nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    /// Adds what another thread has seen.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// In nanoseconds.
    #[must_use]
    pub fn summary(&self) -> WaitSummary {
        let at = |quantile| self.0.value_at_quantile(quantile);
        WaitSummary {
            samples: self.0.len(),
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: self.0.max(),
        }
    }
}

/// A summary of waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WaitSummary {
    /// How many were timed.
    pub samples: u64,
    /// Half were shorter.
    pub p50_ns: u64,
    /// 99 % were shorter.
    pub p99_ns: u64,
    /// 99.9 % were shorter.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_of_several_threads_add_up_and_the_longest_is_capped() {
        let (mut one, mut other) = (Waits::default(), Waits::default());
        (1..=100).for_each(|nanos| one.record(nanos));
        (101..=200).for_each(|nanos| other.record(nanos));
        other.record(0);
        other.record(u64::MAX);
        one.add(&other);
        let summary = one.summary();
        assert_eq!(summary.samples, 202);
        assert!((99..=103).contains(&summary.p50_ns), "{summary:?}");
        assert!(
            summary.max_ns >= MAX && summary.max_ns < 2 * MAX,
            "{summary:?}"
        );
    }

    #[test]
    fn an_empty_call_costs_about_nothing() {
        let watch = Stopwatch::calibrate();
        let mut waits = Waits::default();
        for _ in 0..1000 {
            waits.record(watch.time(|| ()).1);
        }
        assert_eq!(waits.summary().samples, 1000);
        assert!(watch.cost_ns() > 0);
    }
}
