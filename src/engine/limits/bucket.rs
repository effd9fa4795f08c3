//! A token bucket: so many bytes a second, in integers.

use crate::time::{Duration, Instant};

/// Fastest rate that is one, in bytes a second: a limit above it is as good as none, and set to it.
pub const RATE_MAX: u64 = 100_000_000_000;

/// What a bucket holds at most is what comes into it in this part of a second: the bound on how much more than rate × time
/// passes in any span, and on how late its owner may look without losing any.
const BURST_PART: i64 = 4;

/// Parts of a byte that are counted: a microsecond of a rate of 1.
const PARTS: i64 = 1_000_000;

/// Fills by its rate, is drawn from by bytes. It may be overdrawn, and then nothing more passes until that is made up for.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: i64,
    /// Millionths of a byte.
    level: i64,
    at: Instant,
}

impl Bucket {
    /// An empty one of `rate` bytes a second. A rate of 0 lets nothing pass.
    #[must_use]
    pub fn new(rate: u64, now: Instant) -> Self {
        Self {
            rate: i64::try_from(rate.min(RATE_MAX)).unwrap_or(i64::MAX),
            level: 0,
            at: now,
        }
    }

    /// Bytes a second.
    #[must_use]
    pub const fn rate(&self) -> u64 {
        self.rate.unsigned_abs()
    }

    /// From now on another rate; what is overdrawn stays so.
    pub fn set_rate(&mut self, rate: u64, now: Instant) {
        self.fill(now);
        let level = self.level.min(0);
        *self = Self {
            level,
            ..Self::new(rate, now)
        };
    }

    /// Whether anything may pass at `now`.
    pub fn has_any(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level > 0
    }

    /// `bytes` pass.
    pub fn take(&mut self, bytes: u64) {
        let parts = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.level = self.level.saturating_sub(parts.saturating_mul(PARTS));
    }

    /// `bytes` that were taken did not pass after all.
    pub fn put_back(&mut self, bytes: u64) {
        let parts = i64::try_from(bytes).unwrap_or(i64::MAX);
        let level = self.level.saturating_add(parts.saturating_mul(PARTS));
        self.level = level.min(self.full());
    }

    /// How long after the last look something may pass again; `None` when it never will.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        let missing = (1 - self.level).max(0).unsigned_abs();
        let rate = self.rate.unsigned_abs();
        (rate > 0).then(|| Duration::from_micros(missing.div_ceil(rate)))
    }

    fn fill(&mut self, now: Instant) {
        let micros = i64::try_from(now.since(self.at).as_micros()).unwrap_or(i64::MAX);
        self.at = now;
        let level = self.level.saturating_add(self.rate.saturating_mul(micros));
        self.level = level.min(self.full());
    }

    const fn full(&self) -> i64 {
        self.rate * (PARTS / BURST_PART)
    }
}

const _: () = assert!(
    RATE_MAX < (i64::MAX / PARTS).unsigned_abs(),
    "a full bucket can be counted"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    /// Whatever is drawn and however irregularly it is looked at, no span lets pass more than its rate, a burst and one draw;
    /// and nothing is lost while it is looked at at least four times a second.
    #[test]
    fn no_span_passes_more_and_a_busy_one_no_less() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let rate = 1 + rng.below(2_000_000);
            let lump = 1 + rng.below(40_000);
            let mut bucket = Bucket::new(rate, at(0));
            let (mut now, mut passed) = (0, Vec::<(u64, u64)>::new());
            while now < 20_000_000 {
                now += rng.below(240_000);
                while bucket.has_any(at(now)) {
                    let bytes = 1 + rng.below(lump);
                    bucket.take(bytes);
                    passed.push((now, bytes));
                }
            }
            for begin in [0, 3_000_000, 9_123_456] {
                let span = passed
                    .iter()
                    .filter(|(at, _)| (begin..begin + 10_000_000).contains(at));
                let bytes: u64 = span.map(|(_, bytes)| bytes).sum();
                let most = rate * 10 + rate / 4 + lump;
                assert!(bytes <= most, "seed {seed}: {bytes} of {most}");
                let least = (rate * 10).saturating_sub(rate / 4 + lump);
                assert!(bytes >= least, "seed {seed}: {bytes} of {least}");
            }
        }
    }

    #[test]
    fn what_is_overdrawn_is_made_up_for() {
        let mut bucket = Bucket::new(1000, at(0));
        assert!(!bucket.has_any(at(0)), "begins empty");
        assert!(bucket.has_any(at(1000)));
        bucket.take(501);
        assert_eq!(bucket.wait(), Some(Duration::from_micros(500_001)));
        assert!(!bucket.has_any(at(501_000)));
        assert!(bucket.has_any(at(501_001)));
        bucket.take(1000);
        bucket.set_rate(2000, at(501_001));
        assert!(
            !bucket.has_any(at(1_000_000)),
            "a new rate forgives nothing"
        );
        assert!(bucket.has_any(at(1_001_002)));
    }

    #[test]
    fn a_rate_of_nothing_lets_nothing_pass_and_a_vast_one_does_not_overflow() {
        let mut none = Bucket::new(0, at(0));
        assert!(!none.has_any(at(u64::MAX / 2)));
        assert_eq!(none.wait(), None);
        let mut vast = Bucket::new(u64::MAX, at(0));
        assert!(vast.has_any(at(u64::MAX / 2)));
        vast.take(u64::MAX);
        assert!(!vast.has_any(at(u64::MAX / 2)));
        vast.put_back(u64::MAX);
        vast.put_back(u64::MAX);
        assert_eq!(vast.rate(), RATE_MAX);
    }
}
