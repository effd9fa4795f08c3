//! What the loop counts as it turns, and the snapshot made of it.
//!
//! A message that is not a sample costs counters only: one by its type, and one or two by its envelope. What senders count
//! is in [`Tally`].

mod jobs;
mod kinds;
mod logs;
mod samples;
mod snapshot;
mod tally;
mod trackers;
mod turn;

use super::mailbox::Body;
use crate::engine::message::Answer;
use crate::events::Event;
use crate::ids::{ReplyId, StreamId};
use crate::metrics::{Coarse, JobFigures, LoopFigures, Micros};
use crate::time::{Duration, Instant};

use self::kinds::{JobKind, KINDS, TYPES};
use self::logs::{Logs, Verdict};
use self::samples::Spans;
use self::trackers::Trackers;
use self::turn::SOURCES;

pub(super) use self::kinds::Type;
pub(super) use self::samples::{Sample, Stamp, is_sample};
pub(super) use self::tally::{Fate, Tally};
pub(super) use self::turn::Source;

/// What is known of one type beside its count. Senders count the rest, in [`Tally`].
#[derive(Debug, Default)]
struct OfType {
    expired: u64,
    late: u64,
    refused: u64,
    spans: Spans,
}

/// All counts.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) turns: LoopFigures,
    lengths: Micros,
    sources: [Coarse; SOURCES.len()],
    /// Messages executed, by type: beside the counters of the loop, for they are all that most messages touch.
    counts: [u64; TYPES.len()],
    types: Vec<OfType>,
    lanes: [Spans; 4],
    waited_micros: u64,
    waited: u64,
    batched: u64,
    batched_micros: u64,
    asked: u64,
    jobs: [JobFigures; KINDS.len()],
    trackers: Trackers,
    logs: Logs,
    /// When each stream was dialled, by its slot; the engine bounds the slots.
    dialled: Vec<Instant>,
    /// The reply of the sample that is executed now, and what became of it.
    current: Option<ReplyId>,
    verdict: Verdict,
    /// Where the current part of the turn began, and how many inputs there had been.
    marked: Instant,
    marked_inputs: u64,
    /// Whether a part of this turn was slow, so that the turn itself is no news.
    slow_part: bool,
    /// The job whose end was taken last, and when the engine was done with the one before.
    ended: JobKind,
    stepped: Instant,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            turns: LoopFigures::default(),
            lengths: Micros::new(),
            sources: std::array::from_fn(|_| Coarse::new()),
            counts: [0; TYPES.len()],
            types: TYPES.iter().map(|_| OfType::default()).collect(),
            lanes: Default::default(),
            waited_micros: 0,
            waited: 0,
            batched: 0,
            batched_micros: 0,
            asked: 0,
            jobs: Default::default(),
            trackers: Trackers::default(),
            logs: Logs::default(),
            dialled: Vec::new(),
            current: None,
            verdict: Verdict::default(),
            marked: Instant::ZERO,
            marked_inputs: 0,
            slow_part: false,
            ended: JobKind::STORE,
            stepped: Instant::ZERO,
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Figures {
    // -------------------------------------------------------------------------------------------------- messages

    /// An envelope with as many operations is taken, to be executed.
    #[inline]
    pub(super) fn note_taken(&mut self, operations: u64, asked: bool) {
        self.asked += if asked { operations } else { 0 };
    }

    /// A message is executed.
    #[inline]
    pub(super) fn note_message(&mut self, kind: Type) {
        self.counts[kind.index()] += 1;
    }

    /// At the beginning of a turn nearly as many operations wait as may.
    pub(super) fn note_full(&mut self, queued: usize, now: Instant) {
        self.logs.full(queued, now);
    }

    /// Messages were found dead when they were taken.
    pub(super) fn note_expired(&mut self, body: &Body) {
        Type::each(body, |kind| {
            self.types[kind.index()].expired += 1;
            self.logs.failed(kind.name(), &format_args!("expired"));
        });
    }

    /// An answer goes out to a message of type `kind`.
    pub(super) fn note_answer(&mut self, kind: Type, reply: ReplyId, answer: &Answer) {
        if self.current == Some(reply) {
            self.verdict = Verdict::of(answer);
        }
        if let Answer::Refused(refusal) = answer {
            self.types[kind.index()].refused += 1;
            self.logs.failed(kind.name(), refusal);
        }
    }

    /// Nobody waited any more.
    pub(super) fn note_late(&mut self, kind: Type) {
        self.types[kind.index()].late += 1;
        self.logs.failed(kind.name(), &format_args!("late"));
    }

    // -------------------------------------------------------------------------------------------------- streams

    pub(super) fn note_dial(&mut self, stream: StreamId, now: Instant) {
        self.turns.streams_dialled += 1;
        if self.dialled.len() <= stream.slot() {
            self.dialled.resize(stream.slot() + 1, now);
        }
        self.dialled[stream.slot()] = now;
    }

    pub(super) fn note_connected(&mut self, stream: StreamId, now: Instant) {
        let took = now.since(self.dialled[stream.slot()]);
        self.turns.streams_connected += 1;
        self.turns.streams_connected_us += micros(took);
    }

    pub(super) fn note_write(&mut self, bytes: usize, offered: usize) {
        self.turns.writes += 1;
        self.turns.writes_partial += u64::from(bytes < offered);
        self.turns.tcp_sent_bytes += bytes as u64;
    }

    /// Something subscribers may hear of.
    pub(super) fn note_event(&mut self, event: &Event, time: impl FnOnce() -> u64) {
        self.trackers.on_event(event, time);
    }

    /// Memory of all counts and distributions; rows of trackers come on top.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let of_types = self
            .types
            .iter()
            .map(|of| size_of::<OfType>() + of.spans.heap_bytes());
        size_of::<Self>()
            + size_of::<Tally>()
            + of_types.sum::<usize>()
            + self.lanes.iter().map(Spans::heap_bytes).sum::<usize>()
            + self.sources.iter().map(Coarse::heap_bytes).sum::<usize>()
            + self.lengths.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
