//! What the loop counts as it turns, and the snapshot made of it.
//!
//! A message that is not a sample costs counters only. A sample carries the time it was sent; its wait and its service are
//! recorded under its type, and the distributions of a lane are those of its types added up. One message in
//! [`SAMPLE_EVERY`] is a sample, spread so that no rhythm of callers hides a type.

mod kinds;
mod logs;
mod tally;
mod trackers;

use super::host::Host;
use super::mailbox::{Inbox, Lane};
use crate::engine::message::{Answer, Fetch, FetchOutcome, Job, Outcome, StoreOutcome};
use crate::events::Event;
use crate::ids::{JobId, ReplyId, StreamId};
use crate::metrics::{
    Coarse, EngineCounters, HostFigures, JobFigures, JobMetrics, LaneMetrics, LoopFigures,
    MessageFigures, Metrics, Micros, ProcessFigures, SourceMetrics, Summary, TypeFigures,
    TypeMetrics,
};
use crate::time::{Duration, Instant};

use self::kinds::{About, JobKind, KINDS, TYPES};
use self::logs::{Logs, SLOW, Verdict};
use self::trackers::Trackers;

pub(super) use self::kinds::Type;
pub(super) use self::tally::{Fate, Tally};

/// Samples are this rare: two readings of the clock cost as much as a small message.
const SAMPLE_EVERY: u64 = 1 << SAMPLE_BITS;
const SAMPLE_BITS: u32 = 6;

const _: () = assert!(SAMPLE_EVERY == 64, "the documentation says so");

/// Whether the message with this number in its lane carries the time it was sent.
///
/// The fraction of the number times the golden ratio is spread evenly, whatever the step of the numbers; with each 64th
/// number, a caller that sends batches of 32 would be seen by its first message alone.
#[inline]
pub(super) fn is_sample(sequence: u64) -> bool {
    let sampled = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SAMPLE_BITS) == 0;
    sampled || logs::traced()
}

/// The parts of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
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

const SOURCES: [&str; 5] = ["messages", "jobs", "sockets", "timers", "writes"];

/// What is known of one type beside its count. Senders count the rest, in [`Tally`].
#[derive(Debug, Default)]
struct OfType {
    expired: u64,
    late: u64,
    refused: u64,
    waits: Coarse,
    services: Coarse,
}

/// A sample under way.
#[derive(Debug)]
pub(super) struct Sample {
    kind: Type,
    wait_us: u64,
    began_nanos: u64,
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
    /// The type behind each reply that is waited for, by the slot of its [`ReplyId`].
    repliers: Vec<Type>,
    /// The reply of the message that is executed now, and what became of it.
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
            waited_micros: 0,
            waited: 0,
            batched: 0,
            batched_micros: 0,
            asked: 0,
            jobs: Default::default(),
            trackers: Trackers::default(),
            logs: Logs::default(),
            dialled: Vec::new(),
            repliers: Vec::new(),
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

/// The lower half of a reply's name: reused, so there are never more than callers that waited at once.
fn slot_of(reply: ReplyId) -> usize {
    usize::try_from(reply.0 & u64::from(u32::MAX))
        .expect("four billion callers do not fit anywhere")
}

impl Figures {
    // -------------------------------------------------------------------------------------------------- the turn

    pub(super) fn begin_turn(&mut self, now: Instant) {
        self.logs.refresh();
        self.marked = now;
        self.stepped = now;
        self.marked_inputs = self.turns.inputs;
        self.slow_part = false;
    }

    /// A part of the turn is over. Reads the clock only when there was anything in it.
    pub(super) fn mark(&mut self, source: Source, host: &mut impl Host) {
        if self.turns.inputs != self.marked_inputs {
            self.end_part(source, host.now());
        }
    }

    /// Of the messages taken in this turn: `count`, if any.
    pub(super) fn mark_messages(&mut self, count: u64, host: &mut impl Host) {
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

    pub(super) fn end_turn(&mut self, length: Duration, idle: bool, now: Instant) {
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

    // -------------------------------------------------------------------------------------------------- messages

    /// A message is executed.
    #[inline]
    pub(super) fn note_message(&mut self, kind: Type, asked: bool) {
        self.counts[kind.index()] += 1;
        self.asked += u64::from(asked);
    }

    /// A message was found dead when it was taken.
    pub(super) fn note_expired(&mut self, kind: Type) {
        self.types[kind.index()].expired += 1;
        self.logs.failed(kind.name(), &format_args!("expired"));
    }

    /// Begins to time a message that carries when it was sent.
    pub(super) fn begin_sample(
        &mut self,
        kind: Type,
        sent: Instant,
        asked: bool,
        nanos: u64,
    ) -> Sample {
        self.logs
            .taken(kind.name(), kind.lane().name(), sent, asked);
        self.current = None;
        self.verdict = if asked {
            Verdict::Pending
        } else {
            Verdict::Told
        };
        let wait_us = micros(Instant::from_micros(nanos / 1000).since(sent));
        self.types[kind.index()].waits.record(wait_us);
        self.waited += 1;
        self.waited_micros += wait_us;
        Sample {
            kind,
            wait_us,
            began_nanos: nanos,
        }
    }

    /// The message is executed, and `queue` others wait.
    pub(super) fn end_sample(&mut self, sample: &Sample, nanos: u64, queue: usize) {
        let took = nanos.saturating_sub(sample.began_nanos);
        self.types[sample.kind.index()].services.record(took);
        let op = sample.kind.name();
        self.logs
            .sampled(op, sample.wait_us, took, self.verdict, queue);
        let took = Duration::from_nanos(took);
        if took > SLOW {
            let now = Instant::from_micros(nanos / 1000);
            self.logs.slow(op, took, now);
        }
    }

    /// Somebody waits for the answer to a message of this type.
    pub(super) fn note_asked(&mut self, kind: Type, reply: ReplyId) {
        let slot = slot_of(reply);
        if self.repliers.len() <= slot {
            self.repliers.resize(slot + 1, kind);
        }
        self.repliers[slot] = kind;
        self.current = Some(reply);
    }

    /// An answer goes out; to what type of message.
    pub(super) fn note_answer(&mut self, reply: ReplyId, answer: &Answer) -> Type {
        let kind = self.repliers[slot_of(reply)];
        if self.current == Some(reply) {
            self.verdict = Verdict::of(answer);
        }
        if let Answer::Refused(refusal) = answer {
            self.types[kind.index()].refused += 1;
            self.logs.failed(kind.name(), refusal);
        }
        kind
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

    // ------------------------------------------------------------------------------------------------------ jobs

    pub(super) fn note_write(&mut self, bytes: usize, offered: usize) {
        self.turns.writes += 1;
        self.turns.writes_partial += u64::from(bytes < offered);
        self.turns.tcp_sent_bytes += bytes as u64;
    }

    pub(super) fn note_work(&mut self, job: &Job) {
        self.jobs[JobKind::of(job).index()].submitted += 1;
    }

    pub(super) fn note_store(&mut self) {
        self.jobs[JobKind::STORE.index()].submitted += 1;
    }

    pub(super) fn note_fetch(&mut self, fetch: &Fetch, now: Instant) {
        self.jobs[JobKind::of_fetch(&fetch.task).index()].submitted += 1;
        self.trackers.on_fetch(fetch, now);
    }

    pub(super) fn note_done(&mut self, outcome: &Outcome) {
        self.note_end(JobKind::of_outcome(outcome));
    }

    pub(super) fn note_stored(&mut self, outcome: &StoreOutcome) {
        self.note_end(JobKind::of_stored(outcome));
    }

    pub(super) fn note_fetched(&mut self, id: JobId, outcome: &FetchOutcome, now: Instant) {
        self.trackers.on_fetched(id, now);
        self.note_end(JobKind::of_fetched(outcome));
    }

    fn note_end(&mut self, (kind, well): (JobKind, bool)) {
        self.ended = kind;
        let figures = &mut self.jobs[kind.index()];
        if well {
            figures.completed += 1;
        } else {
            figures.failed += 1;
            self.logs.failed(kind.name(), &format_args!("fault"));
        }
    }

    /// The engine is done with the end of one job. A job costs far more than this reading of the clock.
    pub(super) fn end_job(&mut self, now: Instant) {
        let took = now.since(self.stepped);
        self.stepped = now;
        if took > SLOW {
            self.slow_part = true;
            self.logs.slow(self.ended.name(), took, now);
        }
    }

    /// Something subscribers may hear of.
    pub(super) fn note_event(&mut self, event: &Event, time: impl FnOnce() -> u64) {
        self.trackers.on_event(event, time);
    }

    // -------------------------------------------------------------------------------------------------- snapshot

    /// Everything as it stands. The caller adds what the operating system knows of the process.
    pub(super) fn metrics(
        &self,
        time: u64,
        inbox: &Inbox,
        engine: EngineCounters,
        host: HostFigures,
    ) -> Metrics {
        let types = self.types(inbox);
        let lanes: Vec<_> = Lane::ALL
            .into_iter()
            .map(|lane| self.lane(lane, inbox, &types))
            .collect();
        let sum = |figure: fn(&LaneMetrics) -> u64| lanes.iter().map(figure).sum::<u64>();
        let about = |about| {
            (TYPES.iter().zip(&self.counts))
                .filter(|((_, _, of), _)| *of == about)
                .map(|(_, count)| count)
                .sum()
        };
        let (queued, capacity) = inbox.fill();
        let mean = |micros: u64, count: u64| (micros * 1000).checked_div(count).unwrap_or(0);
        let messages = MessageFigures {
            messages_processed_total: sum(|lane| lane.figures.processed),
            messages_queued_current: queued as u64,
            avg_processing_time_ns: mean(self.batched_micros, self.batched),
            avg_queue_wait_time_ns: mean(self.waited_micros, self.waited),
            stream_operations: about(About::Stream),
            net_operations: about(About::Net),
            sync_operations: self.asked,
            async_operations: sum(|lane| lane.figures.processed) - self.asked,
            timeout_count: sum(|lane| lane.figures.expired),
            error_count: types.iter().map(|row| row.figures.refused).sum(),
            backpressure_drops: sum(|lane| lane.figures.rejected + lane.figures.shed),
            memory_usage_bytes: 0,
            peak_queue_size: inbox.peak() as u64,
            messages_cancelled: sum(|lane| lane.figures.cancelled),
            replies_late: sum(|lane| lane.late),
        };
        #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
        let pool_utilization = queued as f64 / capacity as f64;
        let sources = SOURCES.into_iter().zip(&self.sources);
        Metrics {
            time,
            messages,
            pool_utilization,
            lanes,
            types,
            turns: self.turns,
            turn_us: self.lengths.summary(),
            sources: sources
                .map(|(source, spans)| SourceMetrics {
                    source,
                    us: spans.summary(),
                })
                .collect(),
            jobs: self.jobs(&host),
            trackers: self.trackers.metrics(),
            devices: host.devices,
            engine,
            process: ProcessFigures::default(),
        }
    }

    fn types(&self, inbox: &Inbox) -> Vec<TypeMetrics> {
        let tally = inbox.tally();
        (TYPES.iter().zip(&self.types).enumerate())
            .map(|(at, ((name, lane, _), of))| TypeMetrics {
                name,
                lane: lane.name(),
                figures: TypeFigures {
                    // Shutdowns nobody waits for coalesce in the mailbox, which alone knows how many there were.
                    count: match at == Type::SHUTDOWN.index() {
                        true => inbox.figures(*lane).processed,
                        false => self.counts[at],
                    },
                    rejected: tally.count(at, Fate::Rejected),
                    shed: tally.count(at, Fate::Shed),
                    expired: of.expired + tally.count(at, Fate::Expired),
                    cancelled: tally.count(at, Fate::Cancelled),
                    late: of.late,
                    refused: of.refused,
                },
                wait_us: of.waits.summary(),
                service_ns: of.services.summary(),
            })
            .collect()
    }

    fn lane(&self, lane: Lane, inbox: &Inbox, types: &[TypeMetrics]) -> LaneMetrics {
        let own = |at: &usize| TYPES[*at].1 == lane;
        let merged = |histogram: fn(&OfType) -> &Coarse| -> Summary {
            let mut all = Coarse::new();
            for at in (0..TYPES.len()).filter(own) {
                all.merge(histogram(&self.types[at]));
            }
            all.summary()
        };
        LaneMetrics {
            lane: lane.name(),
            figures: inbox.figures(lane),
            late: (0..TYPES.len())
                .filter(own)
                .map(|at| types[at].figures.late)
                .sum(),
            wait_us: merged(|of| &of.waits),
            service_ns: merged(|of| &of.services),
        }
    }

    fn jobs(&self, host: &HostFigures) -> Vec<JobMetrics> {
        (KINDS.into_iter().zip(self.jobs))
            .map(|(kind, mut figures)| {
                let out = figures.submitted - figures.completed - figures.failed;
                let at_work = host.jobs.iter().find(|jobs| jobs.kind == kind);
                // What a worker has finished and the loop has not yet taken is neither running nor over: it waits.
                figures.cancelled = at_work.map_or(0, |jobs| jobs.cancelled.min(out));
                let left = out - figures.cancelled;
                figures.running = at_work.map_or(left, |jobs| jobs.running.min(left));
                figures.queued = left - figures.running;
                JobMetrics { kind, figures }
            })
            .collect()
    }

    /// Memory of all counts and distributions; rows of trackers come on top.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let of_types = self
            .types
            .iter()
            .map(|of| size_of::<OfType>() + of.waits.heap_bytes() + of.services.heap_bytes());
        size_of::<Self>()
            + size_of::<Tally>()
            + of_types.sum::<usize>()
            + self.sources.iter().map(Coarse::heap_bytes).sum::<usize>()
            + self.lengths.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
