//! The turn and its parts: how long they take, and which were slow.

use super::super::host::Host;
use super::logs::SLOW;
use super::{Figures, micros};
use crate::time::{Duration, Instant};

/// The parts of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Source {
    /// Callers.
    Messages,
    /// Workers, store and gateway.
    Jobs,
    /// What came in, and streams that came up or were lost.
    Sockets,
    /// The engine's own.
    Timers,
    /// What goes out.
    Writes,
}

pub(super) const SOURCES: [&str; 5] = ["messages", "jobs", "sockets", "timers", "writes"];

impl Figures {
    pub(in super::super) fn begin_turn(&mut self, now: Instant) {
        self.logs.refresh();
        self.marked = now;
        self.stepped = now;
        self.marked_inputs = self.turns.inputs;
        self.slow_part = false;
    }

    /// A part of the turn is over. Reads the clock only when there was anything in it.
    pub(in super::super) fn mark(&mut self, source: Source, host: &mut impl Host) {
        if self.turns.inputs != self.marked_inputs {
            self.end_part(source, host.now());
        }
    }

    /// Of the operations taken in this turn: `count`, if any.
    pub(in super::super) fn mark_messages(&mut self, count: u64, host: &mut impl Host) {
        if count > 0 {
            // Microseconds are coarse for one message, but over many the rounding evens out.
            self.batched += count;
            self.batched_micros += micros(self.end_part(Source::Messages, host.now()));
        }
    }

    fn end_part(&mut self, source: Source, now: Instant) -> Duration {
        let took = now.since(self.marked);
        self.sources[source as usize].record(micros(took));
        if took > SLOW {
            self.slow_part = true;
            self.logs.slow(SOURCES[source as usize], took, now);
        }
        self.marked = now;
        self.stepped = now;
        self.marked_inputs = self.turns.inputs;
        took
    }

    pub(in super::super) fn end_turn(&mut self, length: Duration, idle: bool, now: Instant) {
        self.turns.turns += 1;
        self.turns.turns_idle += u64::from(idle);
        self.lengths.record(micros(length));
        if length > SLOW {
            self.turns.turns_slow += 1;
            if !self.slow_part {
                self.logs.slow("turn", length, now);
            }
        }
    }
}
