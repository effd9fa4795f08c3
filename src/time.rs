//! Our own time: microseconds since the program (or the simulated world) began.
//!
//! The engine never asks what time it is, it is told. Only `main`, `gateway`, `host` and a caller's `Handle` name [`Clock`].

use std::cell::Cell;
use std::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

/// A point in time, in microseconds since an origin that is the same for the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than everything.
    pub const FAR: Self = Self(u64::MAX);

    /// `micros` after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier`; zero when it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR`].
    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::ZERO`].
    fn sub(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// The operating system's monotonic clock, seen from one origin, or that of a simulated world. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    System(std::time::Instant),
    Simulated,
}

thread_local! {
    /// The time of the world that this thread simulates.
    static SIMULATED: Cell<Instant> = const { Cell::new(Instant::ZERO) };
}

impl Clock {
    /// A clock that reads zero now.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where the clock is read"
    )]
    pub fn start() -> Self {
        Self {
            source: Source::System(std::time::Instant::now()),
        }
    }

    /// The clock of the world that the calling thread simulates, one at a time: it stands where it was set last.
    #[must_use]
    pub const fn simulated() -> Self {
        Self {
            source: Source::Simulated,
        }
    }

    /// Sets the clock of the world that this thread simulates.
    pub fn set_simulated(now: Instant) {
        SIMULATED.set(now);
    }

    /// Reads the clock.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where the clock is read"
    )]
    pub fn now(&self) -> Instant {
        match self.source {
            Source::System(origin) => {
                let elapsed = origin.elapsed();
                Instant(elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros()))
            }
            Source::Simulated => SIMULATED.get(),
        }
    }

    /// Nanoseconds since the same origin; one more reading of the clock.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where the clock is read"
    )]
    pub fn nanos(&self) -> u64 {
        match self.source {
            Source::System(origin) => {
                let elapsed = origin.elapsed();
                elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
            }
            Source::Simulated => SIMULATED.get().as_micros().saturating_mul(1000),
        }
    }
}

/// Milliseconds since 1970, for what people and other programs read.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "the one place where the calendar is read"
)]
pub fn unix_millis() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let hour = Duration::from_secs(3600);
        assert_eq!(Instant::FAR + hour, Instant::FAR);
        assert_eq!(Instant::ZERO - hour, Instant::ZERO);
        assert_eq!((Instant::ZERO + hour).since(Instant::ZERO), hour);
        assert_eq!(Instant::ZERO.since(Instant::FAR), Duration::ZERO);
    }
}
