//! Rates: how much we ask, and how much we answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::codec::address;
use crate::time::{Duration, Instant};

/// So many of something a second, in bursts of at most so many.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    per_second: u64,
    burst: u64,
    /// Thousandths of one.
    left: u64,
    at: Instant,
}

impl Allowance {
    /// Full at the start.
    #[must_use]
    pub const fn new(per_second: u64, burst: u64) -> Self {
        Self {
            per_second,
            burst,
            left: burst * 1000,
            at: Instant::ZERO,
        }
    }

    fn refill(&mut self, now: Instant) {
        let micros = now.as_micros().saturating_sub(self.at.as_micros());
        let more = micros.saturating_mul(self.per_second) / 1000;
        // What is too little for a thousandth is kept for the next time.
        if more > 0 {
            self.left = self.left.saturating_add(more).min(self.burst * 1000);
            self.at = now;
        }
    }

    /// Takes one, unless fewer than `reserve` would be left.
    pub fn take(&mut self, now: Instant, reserve: u64) -> bool {
        self.refill(now);
        let is_there = self.left >= (reserve + 1) * 1000;
        if is_there {
            self.left -= 1000;
        }
        is_there
    }

    /// When [`Self::take`] will say yes.
    #[must_use]
    pub fn next(&self, reserve: u64) -> Instant {
        let missing = ((reserve + 1) * 1000).saturating_sub(self.left);
        self.at + Duration::from_micros((missing * 1000).div_ceil(self.per_second) + 1)
    }
}

/// How long a count of one source's questions lasts.
const WINDOW: Duration = Duration::from_secs(5);
/// Questions of one source in a window; more are not answered.
const SOURCE_QUESTIONS: u16 = 100;
/// Sources that are counted; the questions of others are answered as far as all together may be.
const SOURCES_MAX: usize = 4096;

/// Who asked how much lately. An IPv6 source is a network of 64 bits; this host is not counted.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    counts: BTreeMap<IpAddr, u16>,
    until: Instant,
}

impl Sources {
    /// Whether one more question of `ip` is answered.
    pub fn admit(&mut self, ip: IpAddr, now: Instant) -> bool {
        if address::is_loopback(ip) {
            return true;
        }
        if now >= self.until {
            self.counts.clear();
            self.until = now + WINDOW;
        }
        let key = match ip {
            IpAddr::V4(_) => ip,
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        };
        if self.counts.len() >= SOURCES_MAX && !self.counts.contains_key(&key) {
            return true;
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
        *count <= SOURCE_QUESTIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn an_allowance_is_a_burst_and_a_rate() {
        let mut allowance = Allowance::new(10, 5);
        let taken =
            |allowance: &mut Allowance, now| (0..100).filter(|_| allowance.take(now, 0)).count();
        assert_eq!(taken(&mut allowance, at(0)), 5, "the burst");
        let next = allowance.next(0);
        assert!(next > at(99) && next <= at(101));
        assert_eq!(taken(&mut allowance, at(99)), 0);
        assert_eq!(taken(&mut allowance, next), 1);
        assert_eq!(
            taken(&mut allowance, at(60_000)),
            5,
            "no more than the burst"
        );
        // However often it is asked, the rate is the same.
        let many = (60_000..70_000)
            .filter(|&millis| allowance.take(at(millis), 0))
            .count();
        assert!((95..=101).contains(&many), "{many}");
        let mut reserve = Allowance::new(10, 5);
        assert_eq!((0..9).filter(|_| reserve.take(at(0), 2)).count(), 3);
    }

    #[test]
    fn one_source_does_not_get_all() {
        let mut sources = Sources::default();
        let (a, b): (IpAddr, IpAddr) = ("1.1.1.1".parse().unwrap(), "2.2.2.2".parse().unwrap());
        let answered =
            |sources: &mut Sources, ip, now| (0..500).filter(|_| sources.admit(ip, now)).count();
        assert_eq!(
            answered(&mut sources, a, at(1)),
            usize::from(SOURCE_QUESTIONS)
        );
        assert_eq!(
            answered(&mut sources, b, at(1)),
            usize::from(SOURCE_QUESTIONS)
        );
        assert_eq!(
            answered(&mut sources, a, at(6000)),
            usize::from(SOURCE_QUESTIONS)
        );
        let same: [IpAddr; 2] = [
            "2001:470::1".parse().unwrap(),
            "2001:470::ffff".parse().unwrap(),
        ];
        assert_eq!(
            answered(&mut sources, same[0], at(6000)),
            usize::from(SOURCE_QUESTIONS)
        );
        assert_eq!(answered(&mut sources, same[1], at(6000)), 0, "one network");
        for n in 0..2 * u32::try_from(SOURCES_MAX).unwrap() {
            sources.admit(IpAddr::V4(n.into()), at(6000));
        }
        assert!(sources.counts.len() <= SOURCES_MAX);
    }
}
