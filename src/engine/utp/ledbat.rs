//! How much may be under way: LEDBAT (RFC 6817, BEP 29).
//!
//! The window grows while packets wait less than [`TARGET`] in queues and shrinks when they wait longer, so that everything
//! else on the line is served first. It begins with a slow start, which ends at the first loss or when half of the target
//! is reached.

use crate::time::{Duration, Instant};

/// How long packets may wait in queues because of us, in microseconds.
pub const TARGET: u32 = 100_000;
/// Bytes by which the window may grow in a round trip.
const GAIN: u64 = 3000;
/// The window is never smaller than so many packets while all goes well: with one, every acknowledgement would be waited for.
const PACKETS_MIN: u64 = 2;
/// The first window, in packets (RFC 6928 has as many for TCP).
const PACKETS_FIRST: u64 = 10;
/// The window is never larger, in bytes: what a line of 200 Mbit/s holds in 100 ms, and as much again in its queue.
pub const WINDOW_MAX: u64 = 4 << 20;

/// The window.
#[derive(Clone, Debug)]
pub struct Ledbat {
    /// In bytes, in 1/65536: it grows by less than a byte at a time.
    window: u64,
    /// Below it, slow start.
    threshold: u64,
    /// When a loss last made it smaller.
    reduced_at: Option<Instant>,
}

impl Ledbat {
    /// The first window, for packets of so many bytes.
    #[must_use]
    pub const fn new(packet: u64) -> Self {
        Self {
            window: (PACKETS_FIRST * packet) << 16,
            threshold: u64::MAX,
            reduced_at: None,
        }
    }

    /// Bytes that may be under way.
    #[must_use]
    pub const fn window(&self) -> u64 {
        self.window >> 16
    }

    /// Whether it is still looking for the line's rate.
    #[must_use]
    pub const fn is_starting(&self) -> bool {
        self.window() < self.threshold
    }

    /// `acked` bytes have arrived, which waited for `queueing` microseconds; `limited` when the window is what kept us from
    /// sending more: only then it says anything that nothing was lost.
    pub fn on_ack(&mut self, acked: u64, queueing: u32, limited: bool, packet: u64) {
        if acked == 0 {
            return;
        }
        let queueing = u64::from(queueing.min(4 * TARGET));
        let target = u64::from(TARGET);
        if self.is_starting() && queueing > target / 2 {
            self.threshold = self.window();
        }
        if queueing > target {
            let over = queueing - target;
            // As much down as it goes up at the other end, but no more than halved in a round trip.
            let most = (acked << 16) / 2;
            let step = self.step(acked, over);
            self.window = self.window.saturating_sub(step.min(most));
        } else if limited && self.is_starting() {
            self.window += acked << 16;
        } else if limited {
            let under = target - queueing;
            self.window += self.step(acked, under);
        }
        self.bound(packet);
    }

    /// By how much the window changes for `acked` bytes that were `off` microseconds from the target.
    fn step(&self, acked: u64, off: u64) -> u64 {
        let full = u128::from(GAIN * acked * off) << 16;
        let step = full / u128::from(u64::from(TARGET) * self.window().max(1));
        u64::try_from(step).unwrap_or(u64::MAX >> 8)
    }

    /// Something is lost. Halves once in a round trip, whatever else of it is lost; whether it did.
    pub fn on_loss(&mut self, now: Instant, round_trip: Duration, packet: u64) -> bool {
        if self.reduced_at.is_some_and(|at| now.since(at) < round_trip) {
            return false;
        }
        self.reduced_at = Some(now);
        self.window /= 2;
        self.bound(packet);
        self.threshold = self.window();
        true
    }

    /// Nothing came back for long: from the beginning, one packet at a time.
    pub fn on_timeout(&mut self, packet: u64) {
        self.threshold = (self.window() / 2).max(PACKETS_MIN * packet);
        self.window = packet << 16;
    }

    fn bound(&mut self, packet: u64) {
        let (least, most) = ((PACKETS_MIN * packet) << 16, WINDOW_MAX << 16);
        self.window = self.window.clamp(least, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1400;
    const RTT: Duration = Duration::from_millis(100);

    /// One round trip, all of its window acknowledged packet by packet.
    fn round(ledbat: &mut Ledbat, queueing: u32) -> i64 {
        let before = ledbat.window();
        let mut left = before;
        while left > 0 {
            let acked = left.min(PACKET);
            ledbat.on_ack(acked, queueing, true, PACKET);
            left -= acked;
        }
        ledbat.window().cast_signed() - before.cast_signed()
    }

    fn steady(window: u64) -> Ledbat {
        Ledbat {
            window: window << 16,
            threshold: 0,
            reduced_at: None,
        }
    }

    #[test]
    fn it_grows_as_far_as_it_is_from_the_target() {
        #[rustfmt::skip]
        let table: &[(u32, i64)] = &[
            (0, 3000), (25_000, 2250), (50_000, 1500), (99_000, 30), (100_000, 0),
            (150_000, -1500), (200_000, -3000), (300_000, -6000),
        ];
        for &(queueing, want) in table {
            let grown = round(&mut steady(200_000), queueing);
            assert!(
                (grown - want).abs() <= 110,
                "{queueing}: {grown}, not {want}"
            );
        }
    }

    #[test]
    fn the_start_doubles_until_half_the_target() {
        let mut ledbat = Ledbat::new(PACKET);
        assert_eq!(ledbat.window(), 10 * PACKET);
        assert_eq!(round(&mut ledbat, 10_000), 10 * PACKET.cast_signed());
        assert!(ledbat.is_starting());
        round(&mut ledbat, 51_000);
        assert!(!ledbat.is_starting());
        assert!(round(&mut ledbat, 0) <= 3000);
    }

    #[test]
    fn a_window_that_is_not_filled_does_not_grow() {
        let mut ledbat = steady(100_000);
        ledbat.on_ack(50_000, 0, false, PACKET);
        assert_eq!(ledbat.window(), 100_000);
    }

    #[test]
    fn losses_of_one_round_trip_halve_it_once() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut ledbat = steady(100_000);
        assert!(ledbat.on_loss(at(1000), RTT, PACKET));
        assert!(!ledbat.on_loss(at(1099), RTT, PACKET));
        assert_eq!(ledbat.window(), 50_000);
        assert!(ledbat.on_loss(at(1100), RTT, PACKET));
        assert_eq!(ledbat.window(), 25_000);
        for round in 12..30 {
            ledbat.on_loss(at(round * 100), RTT, PACKET);
        }
        assert_eq!(ledbat.window(), 2 * PACKET);
        ledbat.on_timeout(PACKET);
        assert_eq!(ledbat.window(), PACKET);
        assert!(ledbat.is_starting());
    }

    #[test]
    fn it_never_leaves_its_bounds() {
        let mut ledbat = Ledbat::new(PACKET);
        for _ in 0..40 {
            round(&mut ledbat, 0);
        }
        assert_eq!(ledbat.window(), WINDOW_MAX);
        for _ in 0..20_000 {
            ledbat.on_ack(WINDOW_MAX, u32::MAX, true, PACKET);
        }
        assert_eq!(ledbat.window(), 2 * PACKET);
    }
}
