//! Structured lines of the log, one target each, to be switched on one by one (`log.level = "warn,linnet::perf=debug"`):
//!
//! | target | level | a line | for |
//! | --- | --- | --- | --- |
//! | `linnet::perf` | debug | `op=link_create wait_us=31 ns=640 result=done queue=12` | each sampled message |
//! | `linnet::perf` | warn | `slow op=commit us=63120 left_out=4` | a step of more than 50 ms, at most one a minute |
//! | `linnet::perf` | warn | `saturated queue=4000 left_out=0` | a queue more than three quarters full, or a sample that waited for more than a second, at most one a minute |
//! | `linnet::error` | debug | `op=link_create code=OwnAddress` | each message refused, expired or answered too late, each job that failed |
//! | `linnet::trace` | trace | `op=link_create lane=normal created_us=812345 asked=true` | each message taken |
//!
//! `op` is a type of message, a kind of job or a part of the turn. Whether anybody listens is looked up once a turn, so a line
//! that nobody wants costs neither a clock nor a format. While `linnet::trace` is on every message carries the time it was
//! sent, and so every message is a sample.

use log::Level;

use crate::engine::message::Answer;
use crate::time::{Duration, Instant};

const PERF: &str = "linnet::perf";
const ERROR: &str = "linnet::error";
const TRACE: &str = "linnet::trace";

/// A step longer than this is slow.
pub(super) const SLOW: Duration = Duration::from_millis(50);

/// A sample that waited longer says that the loop has too much to do.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A warning within this time after one of its kind that was told is only counted.
const QUIET: Duration = Duration::from_secs(60);

/// Whether every message is to carry its time. One load for most: the level of the whole log is below.
#[inline]
pub(in super::super) fn traced() -> bool {
    log::log_enabled!(target: TRACE, Level::Trace)
}

/// What became of a message, as far as its sample sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody waits for it.
    Told,
    /// The answer comes later.
    #[default]
    Pending,
    /// It was answered.
    Done,
    /// It was refused.
    Refused,
}

impl Verdict {
    pub(super) const fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Refused(_) => Self::Refused,
            _ => Self::Done,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// Which lines somebody wants, and when what is told rarely was last told.
#[derive(Debug, Default)]
pub(super) struct Logs {
    perf: bool,
    error: bool,
    trace: bool,
    slow: Rarely,
    saturated: Rarely,
}

/// A kind of warning that is told at most once in [`QUIET`].
#[derive(Debug, Default)]
struct Rarely {
    told: Option<Instant>,
    left_out: u64,
}

impl Rarely {
    /// Whether it is told now, and how many were not told since the last.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.since(told) < QUIET) {
            self.left_out += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Logs {
    /// Looks up who listens: once a turn.
    pub(super) fn refresh(&mut self) {
        self.perf = log::log_enabled!(target: PERF, Level::Debug);
        self.error = log::log_enabled!(target: ERROR, Level::Debug);
        self.trace = log::log_enabled!(target: TRACE, Level::Trace);
    }

    /// A message was taken.
    pub(super) fn taken(&self, op: &str, lane: &str, created: Instant, asked: bool) {
        if self.trace {
            let created_us = created.as_micros();
            log::trace!(
                target: TRACE,
                "op={op} lane={lane} created_us={created_us} asked={asked}"
            );
        }
    }

    /// A sampled message is over.
    pub(super) fn sampled(
        &self,
        op: &str,
        wait_us: u64,
        nanos: u64,
        verdict: Verdict,
        queue: impl FnOnce() -> usize,
    ) {
        if self.perf {
            let queue = queue();
            log::debug!(
                target: PERF,
                "op={op} wait_us={wait_us} ns={nanos} result={} queue={queue}",
                verdict.name()
            );
        }
    }

    /// Something went wrong with `op`.
    pub(super) fn failed(&self, op: &str, code: &dyn std::fmt::Debug) {
        if self.error {
            log::debug!(target: ERROR, "op={op} code={code:?}");
        }
    }

    /// A step took long.
    pub(super) fn slow(&mut self, op: &str, took: Duration, now: Instant) {
        if let Some(left_out) = self.slow.pass(now) {
            let micros = took.as_micros();
            log::warn!(target: PERF, "slow op={op} us={micros} left_out={left_out}");
        }
    }

    /// The queue is nearly full.
    pub(super) fn full(&mut self, queued: usize, now: Instant) {
        if let Some(left_out) = self.saturated.pass(now) {
            log::warn!(target: PERF, "saturated queue={queued} left_out={left_out}");
        }
    }

    /// A sample has waited so long.
    pub(super) fn waited(&mut self, wait: Duration, now: Instant) {
        if wait > WAIT_MAX
            && let Some(left_out) = self.saturated.pass(now)
        {
            let micros = wait.as_micros();
            log::warn!(target: PERF, "saturated wait_us={micros} left_out={left_out}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_a_minute_is_told_with_the_count_of_the_others() {
        let mut rarely = Rarely::default();
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let told: Vec<_> = [0, 1, 59, 60, 61, 500, 559]
            .map(|seconds| rarely.pass(at(seconds)))
            .to_vec();
        let want = [Some(0), None, None, Some(2), None, Some(1), None];
        assert_eq!(told, want);
    }
}
