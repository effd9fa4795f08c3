//! Round trips, and how long to wait for an answer (BEP 29, RFC 6298).

use crate::time::Duration;

/// No shorter, whatever the round trip: BEP 29.
pub const WAIT_MIN: Duration = Duration::from_millis(500);
/// Before anything is known.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// No longer, however often nothing came.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What is known of the round trip, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    smooth: u32,
    spread: u32,
    least: u32,
    /// How often in a row nothing came: each time it is waited twice as long.
    doublings: u32,
}

impl RoundTrip {
    /// A packet that was sent once was acknowledged after `span`.
    pub fn add(&mut self, span: Duration) {
        let sample = u32::try_from(span.as_micros()).unwrap_or(u32::MAX).max(1);
        if self.smooth == 0 {
            (self.smooth, self.spread, self.least) = (sample, sample / 2, sample);
        } else {
            let apart = self.smooth.abs_diff(sample);
            self.spread = self.spread - self.spread / 4 + apart / 4;
            self.smooth = self.smooth - self.smooth / 8 + sample / 8;
            self.least = self.least.min(sample);
        }
        self.doublings = 0;
    }

    /// Nothing came in time.
    pub const fn back_off(&mut self) {
        if self.doublings < 8 {
            self.doublings += 1;
        }
    }

    /// Something came.
    pub const fn answered(&mut self) {
        self.doublings = 0;
    }

    /// The round trip; a guess until it is known.
    #[must_use]
    pub fn smooth(&self) -> Duration {
        match self.smooth {
            0 => Duration::from_millis(100),
            smooth => Duration::from_micros(u64::from(smooth)),
        }
    }

    /// The shortest so far; nothing until one is known.
    #[must_use]
    pub fn least(&self) -> Duration {
        Duration::from_micros(u64::from(self.least))
    }

    /// How long to wait for an answer.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let once = match self.smooth {
            0 => WAIT_FIRST,
            smooth => {
                let micros = u64::from(smooth) + 4 * u64::from(self.spread);
                Duration::from_micros(micros).max(WAIT_MIN)
            }
        };
        once.saturating_mul(1 << self.doublings).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_the_round_trip_and_doubles_in_silence() {
        let millis = Duration::from_millis;
        let mut trip = RoundTrip::default();
        assert_eq!(trip.wait(), millis(1000));
        trip.back_off();
        trip.back_off();
        assert_eq!(trip.wait(), millis(4000));
        trip.add(millis(400));
        assert_eq!((trip.smooth(), trip.wait()), (millis(400), millis(1200)));
        for _ in 0..100 {
            trip.add(millis(20));
        }
        assert_eq!(trip.wait(), WAIT_MIN);
        assert_eq!(trip.least(), millis(20));
        for _ in 0..40 {
            trip.back_off();
        }
        assert_eq!(trip.wait(), WAIT_MAX);
    }
}
