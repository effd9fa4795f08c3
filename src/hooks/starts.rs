//! When a helper may start again: with growing pauses, and so many times in any minute, then not at all.

use std::collections::VecDeque;
use std::time::Duration;

/// Starts of one helper in any [`WINDOW`]; the next one is given up until a person reads the configuration again.
pub(super) const STARTS_MAX: usize = 5;

/// The time that counts. It slides: no minute has more starts, wherever it begins.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// The pause before the second start in a window; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start now or after a pause.
    After(Duration),
    /// Give up.
    Never,
}

/// The starts of one helper. Times are counted from any one moment.
#[derive(Debug, Default)]
pub(super) struct Starts {
    times: VecDeque<Duration>,
}

impl Starts {
    /// Whether it may start, asked when it is to be started.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        while self
            .times
            .front()
            .is_some_and(|first| now.saturating_sub(*first) >= WINDOW)
        {
            self.times.pop_front();
        }
        match self.times.len() {
            0 => Next::After(Duration::ZERO),
            STARTS_MAX.. => Next::Never,
            count => {
                let doublings = u32::try_from(count - 1).unwrap_or(u32::MAX);
                Next::After(PAUSE_FIRST.saturating_mul(1 << doublings.min(16)))
            }
        }
    }

    /// It was started.
    pub(super) fn note(&mut self, now: Duration) {
        self.times.push_back(now);
    }

    /// A person wants it again.
    pub(super) fn forget(&mut self) {
        self.times.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seconds_each: f64) -> Vec<f64> {
        let mut starts = Starts::default();
        let mut now = Duration::ZERO;
        let mut times = Vec::new();
        while times.len() < 50 {
            match starts.next(now) {
                Next::After(pause) => now += pause,
                Next::Never => break,
            }
            starts.note(now);
            times.push(now.as_secs_f64());
            now += Duration::from_secs_f64(seconds_each);
        }
        times
    }

    #[test]
    fn one_that_fails_at_once_is_given_up_after_five() {
        let times = run(0.0);
        assert_eq!(times.len(), STARTS_MAX);
        let pauses: Vec<f64> = times.windows(2).map(|two| two[1] - two[0]).collect();
        for (pause, want) in pauses.iter().zip([0.1, 0.2, 0.4, 0.8]) {
            assert!((pause - want).abs() < 1e-9, "{pauses:?}");
        }
    }

    #[test]
    fn no_minute_has_more_than_five_wherever_it_begins() {
        for each in [0.0, 1.0, 5.0, 11.0, 11.9, 12.1, 13.0, 30.0, 70.0] {
            let times = run(each);
            for first in &times {
                let within = times.iter().filter(|t| (0.0..60.0).contains(&(*t - first)));
                assert!(within.count() <= STARTS_MAX, "every {each} s: {times:?}");
            }
            let is_slow = each > 13.0;
            assert_eq!(
                times.len() == 50,
                is_slow || times.len() > STARTS_MAX,
                "{each}"
            );
        }
    }

    #[test]
    fn a_person_may_begin_again() {
        let mut starts = Starts::default();
        for _ in 0..STARTS_MAX {
            starts.note(Duration::ZERO);
        }
        assert_eq!(starts.next(Duration::ZERO), Next::Never);
        starts.forget();
        assert_eq!(starts.next(Duration::ZERO), Next::After(Duration::ZERO));
    }
}
