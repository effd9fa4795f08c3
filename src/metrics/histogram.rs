//! Distributions of fixed size: what is recorded costs no memory, and a summary of a few numbers is what leaves.
//!
//! Two kinds, by how many of them there are. [`Micros`] is precise and takes 22 KiB: there is one, of turns. [`Coarse`] takes
//! 2 KiB: there are two for each type of message. Both only grow.

use hdrhistogram::Histogram;
use serde::Serialize;

/// A distribution in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// All samples added up.
    pub sum: u64,
    /// Half are at most this.
    pub p50: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// 999 of 1000 are at most this.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

/// A histogram of microseconds, of fixed size: from 1 µs to a minute within one part in a hundred, what is longer counts as a minute.
#[derive(Clone, Debug)]
pub struct Micros {
    counts: Histogram<u64>,
    sum: u64,
}

impl Micros {
    const LONGEST: u64 = 60_000_000;

    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: Histogram::new_with_bounds(1, Self::LONGEST, 2)
                .expect("the bounds are in order and two digits are allowed"),
            sum: 0,
        }
    }

    /// Adds one sample.
    pub fn record(&mut self, micros: u64) {
        self.counts.saturating_record(micros.min(Self::LONGEST));
        self.sum = self.sum.saturating_add(micros);
    }

    /// Memory that one takes, beside itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.counts.distinct_values() * size_of::<u64>()
    }

    /// What was recorded so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.counts.len(),
            sum: self.sum,
            p50: self.counts.value_at_quantile(0.5),
            p99: self.counts.value_at_quantile(0.99),
            p999: self.counts.value_at_quantile(0.999),
            max: self.counts.max(),
        }
    }
}

impl Default for Micros {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram of any unit, of fixed and small size: from 1 to 2^36 (69 seconds in nanoseconds) within one part in sixteen;
/// what is more counts as 2^36. A value that came 2^32 times is not counted further.
#[derive(Clone, Debug)]
pub struct Coarse {
    counts: Histogram<u32>,
    sum: u64,
    max: u64,
}

impl Coarse {
    const MOST: u64 = 1 << 36;

    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: Histogram::new_with_bounds(1, Self::MOST, 1)
                .expect("the bounds are in order and one digit is allowed"),
            sum: 0,
            max: 0,
        }
    }

    /// Adds one sample.
    pub fn record(&mut self, value: u64) {
        self.counts.saturating_record(value.min(Self::MOST));
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// What was recorded so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        if self.counts.is_empty() {
            return Summary::default();
        }
        // A value stands for all of its class; none of them was above the largest.
        let at = |quantile| self.counts.value_at_quantile(quantile).min(self.max);
        Summary {
            count: self.counts.len(),
            sum: self.sum,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.max,
        }
    }

    /// Memory that one takes, beside itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.counts.distinct_values() * size_of::<u32>()
    }
}

impl Default for Coarse {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn microseconds_keep_a_hundredth_and_cap_at_a_minute() {
        let mut micros = Micros::new();
        for sample in 1..=1000 {
            micros.record(sample);
        }
        micros.record(u64::MAX);
        let summary = micros.summary();
        assert_eq!(summary.count, 1001);
        assert!((495..=510).contains(&summary.p50), "{summary:?}");
        assert!(
            summary.max >= 60_000_000 && summary.max < 61_000_000,
            "{summary:?}"
        );
    }

    #[test]
    fn a_coarse_one_agrees_with_a_sorted_list_to_a_sixteenth() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut coarse = Coarse::new();
            let mut sorted = Vec::new();
            for _ in 0..2000 {
                let bits = rng.below(36);
                let value = rng.below((1 << bits) + 1);
                coarse.record(value);
                sorted.push(value);
            }
            sorted.sort_unstable();
            let summary = coarse.summary();
            assert_eq!(summary.count, 2000);
            assert_eq!(summary.sum, sorted.iter().sum::<u64>());
            assert_eq!(Some(&summary.max), sorted.last());
            for (rank, got) in [
                (1000, summary.p50),
                (1980, summary.p99),
                (1998, summary.p999),
            ] {
                let want = sorted[rank - 1];
                assert!(
                    got >= want && got <= want + want / 16 + 1,
                    "seed {seed}, rank {rank}: {got} for {want}"
                );
            }
        }
    }

    #[test]
    fn what_is_beyond_the_bounds_is_counted_and_nothing_is_nothing() {
        let mut coarse = Coarse::new();
        assert_eq!(coarse.summary(), Summary::default());
        coarse.record(0);
        coarse.record(u64::MAX);
        let summary = coarse.summary();
        assert_eq!((summary.count, summary.max), (2, u64::MAX));
        assert_eq!(summary.p50, 0);
        let bytes = coarse.heap_bytes() + size_of::<Coarse>();
        assert!(bytes <= 2400, "{bytes}");
    }
}
