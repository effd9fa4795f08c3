//! What the loop counts as it turns, and the snapshot made of it.

use super::mailbox::{Inbox, Lane};
use crate::engine::message::{
    Answer, FetchOutcome, FetchTask, Job, Message, Outcome, StoreOutcome, Verdict,
};
use crate::metrics::{
    EngineCounters, JobFigures, JobMetrics, LaneMetrics, LoopFigures, MessageFigures, Metrics,
    Micros, ProcessFigures, TypeMetrics,
};
use crate::time::Duration;

/// A turn longer than this is counted as slow.
const SLOW: Duration = Duration::from_millis(50);

/// Names of the types of messages, in the order of [`type_of`].
const TYPES: [&str; 33] = [
    "session_add",
    "session_remove",
    "session_pause",
    "session_resume",
    "peer_add",
    "peer_add_named",
    "session_show",
    "engine_show",
    "shutdown",
    "link_create",
    "link_update",
    "link_delete",
    "link_find",
    "stream_add",
    "stream_delete",
    "stream_replace",
    "swarm_add",
    "swarm_remove",
    "swarm_switch",
    "swarm_find",
    "links_count",
    "links_show",
    "swarm_condition",
    "ignored_show",
    "account",
    "pin",
    "unpin",
    "limits_set",
    "library_load",
    "torrent_add",
    "torrents_change",
    "torrents_show",
    "metrics",
];

const fn type_of(message: &Message) -> usize {
    match message {
        Message::SessionAdd(_) => 0,
        Message::SessionRemove { .. } => 1,
        Message::SessionPause { .. } => 2,
        Message::SessionResume { .. } => 3,
        Message::PeerAdd { .. } => 4,
        Message::PeerAddNamed { .. } => 5,
        Message::SessionShow { .. } => 6,
        Message::EngineShow => 7,
        Message::Shutdown { .. } => 8,
        Message::LinkCreate { .. } => 9,
        Message::LinkUpdate { .. } => 10,
        Message::LinkDelete { .. } => 11,
        Message::LinkFind { .. } => 12,
        Message::StreamAdd { .. } => 13,
        Message::StreamDelete { .. } => 14,
        Message::StreamReplace { .. } => 15,
        Message::SwarmAdd { .. } => 16,
        Message::SwarmRemove { .. } => 17,
        Message::SwarmSwitch { .. } => 18,
        Message::SwarmFind { .. } => 19,
        Message::LinksCount { .. } => 20,
        Message::LinksShow { .. } => 21,
        Message::SwarmCondition { .. } => 22,
        Message::IgnoredShow { .. } => 23,
        Message::Account { .. } => 24,
        Message::Pin { .. } => 25,
        Message::Unpin { .. } => 26,
        Message::LimitsSet(_) => 27,
        Message::LibraryLoad { .. } => 28,
        Message::TorrentAdd(_) => 29,
        Message::TorrentsChange(_) => 30,
        Message::TorrentsShow(_) => 31,
    }
}

/// Names of the kinds of jobs; those of workers in the order of [`kind_of`].
const KINDS: [&str; 11] = [
    "prepare", "check", "commit", "write", "read", "sync", "close", "delete", "store", "http",
    "resolve",
];
const STORE: usize = 8;
const HTTP: usize = 9;
const RESOLVE: usize = 10;

const fn kind_of(job: &Job) -> usize {
    match job {
        Job::Prepare { .. } => 0,
        Job::Check { .. } => 1,
        Job::Commit { .. } => 2,
        Job::Write { .. } => 3,
        Job::Read(_) => 4,
        Job::Sync { .. } => 5,
        Job::Close => 6,
        Job::Delete => 7,
    }
}

/// Which kind of job ended so, and whether it went well.
fn outcome_of(outcome: &Outcome) -> (usize, bool) {
    let failed = |verdict: &Verdict| matches!(verdict, Verdict::Failed(_));
    match outcome {
        Outcome::Prepared(result) => (0, result.is_ok()),
        Outcome::Checked(pieces) => (1, !pieces.iter().any(|piece| failed(&piece.verdict))),
        Outcome::Committed(pieces) => (2, !pieces.iter().any(|piece| failed(&piece.verdict))),
        Outcome::Written { result, .. } => (3, result.is_ok()),
        Outcome::Read(_, result) => (4, result.is_ok()),
        Outcome::Synced(result) => (5, result.is_ok()),
        Outcome::Closed => (6, true),
        Outcome::Cancelled(job) => (kind_of(job), true),
        Outcome::Deleted(result) => (7, result.is_ok()),
    }
}

/// Messages of each type. Arrays beyond 32 have no default of their own.
#[derive(Debug)]
struct Types([u64; TYPES.len()]);

impl Default for Types {
    fn default() -> Self {
        Self([0; TYPES.len()])
    }
}

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) turns: LoopFigures,
    /// Answers whose caller had given up.
    pub(super) late: u64,
    lengths: Micros,
    waits: [Micros; 4],
    waited_micros: u64,
    waited: u64,
    batched: u64,
    batched_micros: u64,
    types: Types,
    asked: u64,
    told: u64,
    refused: u64,
    jobs: [JobFigures; KINDS.len()],
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Figures {
    pub(super) fn note_turn(&mut self, length: Duration, idle: bool) {
        self.turns.turns += 1;
        self.turns.turns_idle += u64::from(idle);
        self.turns.turns_slow += u64::from(length > SLOW);
        self.lengths.record(micros(length));
    }

    pub(super) fn note_wait(&mut self, lane: Lane, wait: Duration) {
        self.waits[lane as usize].record(micros(wait));
        self.waited += 1;
        self.waited_micros += micros(wait);
    }

    pub(super) fn note_batch(&mut self, count: u64, spent: Duration) {
        self.batched += count;
        self.batched_micros += micros(spent);
    }

    pub(super) fn note_call(&mut self, asked: bool) {
        if asked {
            self.asked += 1;
        } else {
            self.told += 1;
        }
    }

    pub(super) fn note_message(&mut self, message: &Message) {
        self.types.0[type_of(message)] += 1;
    }

    pub(super) fn note_answer(&mut self, answer: &Answer) {
        self.refused += u64::from(matches!(answer, Answer::Refused(_)));
    }

    pub(super) fn note_write(&mut self, bytes: usize, offered: usize) {
        self.turns.writes += 1;
        self.turns.writes_partial += u64::from(bytes < offered);
        self.turns.tcp_sent_bytes += bytes as u64;
    }

    pub(super) fn note_work(&mut self, job: &Job) {
        self.jobs[kind_of(job)].submitted += 1;
    }

    pub(super) fn note_store(&mut self) {
        self.jobs[STORE].submitted += 1;
    }

    pub(super) fn note_fetch(&mut self, task: &FetchTask) {
        let kind = match task {
            FetchTask::Http { .. } => HTTP,
            FetchTask::Resolve { .. } => RESOLVE,
        };
        self.jobs[kind].submitted += 1;
    }

    pub(super) fn note_done(&mut self, outcome: &Outcome) {
        let (kind, well) = outcome_of(outcome);
        if matches!(outcome, Outcome::Cancelled(_)) {
            self.jobs[kind].cancelled += 1;
        } else {
            self.note_end(kind, well);
        }
    }

    pub(super) fn note_stored(&mut self, outcome: &StoreOutcome) {
        let well = match outcome {
            StoreOutcome::Loaded(result) => result.is_ok(),
            StoreOutcome::Saved(result) => result.is_ok(),
            StoreOutcome::Released => true,
            StoreOutcome::Listed(result) => result.is_ok(),
            StoreOutcome::Kept(result) => result.is_ok(),
        };
        self.note_end(STORE, well);
    }

    pub(super) fn note_fetched(&mut self, outcome: &FetchOutcome) {
        match outcome {
            FetchOutcome::Http(result) => self.note_end(HTTP, result.is_ok()),
            FetchOutcome::Resolved(result) => self.note_end(RESOLVE, result.is_ok()),
        }
    }

    fn note_end(&mut self, kind: usize, well: bool) {
        if well {
            self.jobs[kind].completed += 1;
        } else {
            self.jobs[kind].failed += 1;
        }
    }

    /// Everything as it stands. The caller adds what the operating system knows of the process.
    pub(super) fn metrics(&self, time: u64, inbox: &Inbox, engine: EngineCounters) -> Metrics {
        let lanes: Vec<LaneMetrics> = Lane::ALL
            .into_iter()
            .map(|lane| LaneMetrics {
                lane: lane.name(),
                figures: inbox.figures(lane),
                wait_us: self.waits[lane as usize].summary(),
            })
            .collect();
        let sum = |figure: fn(&LaneMetrics) -> u64| lanes.iter().map(figure).sum::<u64>();
        let (queued, capacity) = inbox.fill();
        let mean = |micros: u64, count: u64| (micros * 1000).checked_div(count).unwrap_or(0);
        let messages = MessageFigures {
            messages_processed_total: sum(|lane| lane.figures.processed),
            messages_queued_current: queued as u64,
            avg_processing_time_ns: mean(self.batched_micros, self.batched),
            avg_queue_wait_time_ns: mean(self.waited_micros, self.waited),
            stream_operations: self.types.0[4] + self.types.0[5],
            net_operations: self.types.0[..4].iter().sum::<u64>() + self.types.0[6],
            sync_operations: self.asked,
            async_operations: self.told,
            timeout_count: sum(|lane| lane.figures.expired),
            error_count: self.refused,
            backpressure_drops: sum(|lane| lane.figures.rejected + lane.figures.shed),
            memory_usage_bytes: 0,
            peak_queue_size: inbox.peak() as u64,
            messages_cancelled: sum(|lane| lane.figures.cancelled),
            replies_late: self.late,
        };
        let types = TYPES.into_iter().zip(self.types.0);
        let jobs = KINDS.into_iter().zip(self.jobs);
        #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
        let pool_utilization = queued as f64 / capacity as f64;
        Metrics {
            time,
            messages,
            pool_utilization,
            lanes,
            types: types
                .map(|(name, count)| TypeMetrics { name, count })
                .collect(),
            turns: self.turns,
            turn_us: self.lengths.summary(),
            jobs: jobs
                .map(|(kind, figures)| JobMetrics {
                    kind,
                    figures,
                    running: figures.submitted
                        - figures.completed
                        - figures.failed
                        - figures.cancelled,
                })
                .collect(),
            engine,
            process: ProcessFigures::default(),
        }
    }
}
