//! Types of messages and kinds of jobs, as metrics and logs name them.

use super::super::mailbox::{Body, Lane};
use crate::engine::message::{
    FetchOutcome, FetchTask, Job, Message, Outcome, StoreOutcome, Verdict,
};

/// What a type of message is about, for the totals of requirement 1.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// One link or stream.
    Stream,
    /// A swarm or session.
    Net,
    /// The process.
    Whole,
}

/// A type of message: an index into [`TYPES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Type(u8);

impl Type {
    pub(in super::super) const SHUTDOWN: Self = Self(8);
    pub(in super::super) const STREAM_ADD: Self = Self(13);
    pub(in super::super) const METRICS: Self = Self(42);

    /// Calls `note` with the type of each operation in an envelope.
    pub(in super::super) fn each(body: &Body, mut note: impl FnMut(Self)) {
        match body {
            Body::Message(message) => note(Self::of_message(message)),
            Body::Batch(messages) => messages.iter().map(Self::of_message).for_each(note),
            Body::Adopt(_) => note(Self::STREAM_ADD),
            Body::Metrics => note(Self::METRICS),
        }
    }

    /// Of a message to the engine.
    #[inline]
    pub(in super::super) const fn of_message(message: &Message) -> Self {
        Self(match message {
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
            Message::MagnetAdd(_) => 32,
            Message::Survey(_) => 33,
            Message::SettingsChange(_) => 34,
            Message::SettingsShow => 35,
            Message::SpeedSet { .. } => 36,
            Message::SpeedShow => 37,
            Message::GroupSet(_) => 38,
            Message::SessionLimits { .. } => 39,
            Message::MetadataShow { .. } => 40,
            Message::Blocks(_) => 41,
        })
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    pub(in super::super) const fn name(self) -> &'static str {
        TYPES[self.index()].0
    }
}

/// Name, lane and subject of each type, in the order of [`Type::of_message`].
#[rustfmt::skip]
pub(super) const TYPES: [(&str, Lane, About); 43] = [
    ("session_add",     Lane::High,     About::Net),
    ("session_remove",  Lane::High,     About::Net),
    ("session_pause",   Lane::High,     About::Net),
    ("session_resume",  Lane::High,     About::Net),
    ("peer_add",        Lane::High,     About::Stream),
    ("peer_add_named",  Lane::High,     About::Stream),
    ("session_show",    Lane::Normal,   About::Net),
    ("engine_show",     Lane::Low,      About::Whole),
    ("shutdown",        Lane::Critical, About::Whole),
    ("link_create",     Lane::Normal,   About::Stream),
    ("link_update",     Lane::Normal,   About::Stream),
    ("link_delete",     Lane::High,     About::Stream),
    ("link_find",       Lane::Normal,   About::Stream),
    ("stream_add",      Lane::High,     About::Stream),
    ("stream_delete",   Lane::High,     About::Stream),
    ("stream_replace",  Lane::High,     About::Stream),
    ("swarm_add",       Lane::Normal,   About::Net),
    ("swarm_remove",    Lane::Normal,   About::Net),
    ("swarm_switch",    Lane::Normal,   About::Net),
    ("swarm_find",      Lane::Normal,   About::Net),
    ("links_count",     Lane::Normal,   About::Net),
    ("links_show",      Lane::Low,      About::Net),
    ("swarm_condition", Lane::Normal,   About::Net),
    ("ignored_show",    Lane::Low,      About::Net),
    ("account",         Lane::High,     About::Stream),
    ("pin",             Lane::Normal,   About::Stream),
    ("unpin",           Lane::Normal,   About::Stream),
    ("limits_set",      Lane::Normal,   About::Whole),
    ("library_load",    Lane::High,     About::Net),
    ("torrent_add",     Lane::High,     About::Net),
    ("torrents_change", Lane::High,     About::Net),
    ("torrents_show",   Lane::Low,      About::Net),
    ("magnet_add",      Lane::High,     About::Net),
    ("survey",          Lane::Low,      About::Whole),
    ("settings_change", Lane::High,     About::Whole),
    ("settings_show",   Lane::Low,      About::Whole),
    ("speed_set",       Lane::Normal,   About::Whole),
    ("speed_show",      Lane::Normal,   About::Whole),
    ("group_set",       Lane::Normal,   About::Whole),
    ("session_limits",  Lane::Normal,   About::Net),
    ("metadata_show",   Lane::Normal,   About::Net),
    ("blocks",          Lane::Normal,   About::Whole),
    ("metrics",         Lane::Low,      About::Whole),
];

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Well.
    Completed,
    /// With a fault.
    Failed,
    /// Dropped or broken off, because nobody wanted it any more.
    Cancelled,
}

impl End {
    const fn of(well: bool) -> Self {
        if well { Self::Completed } else { Self::Failed }
    }
}

/// A kind of job: an index into [`KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct JobKind(usize);

/// Names of the kinds of jobs, the workers' first.
pub(super) const KINDS: [&str; WORKERS + 3] = {
    let mut kinds = [""; WORKERS + 3];
    let mut at = 0;
    while at < WORKERS {
        kinds[at] = Job::KINDS[at];
        at += 1;
    }
    kinds[WORKERS] = "store";
    kinds[WORKERS + 1] = "http";
    kinds[WORKERS + 2] = "resolve";
    kinds
};

/// How many kinds of jobs the workers have.
const WORKERS: usize = Job::KINDS.len();

impl JobKind {
    pub(super) const STORE: Self = Self(WORKERS);
    const HTTP: Self = Self(WORKERS + 1);
    const RESOLVE: Self = Self(WORKERS + 2);

    pub(super) const fn of(job: &Job) -> Self {
        Self(job.index())
    }

    pub(super) const fn of_fetch(task: &FetchTask) -> Self {
        match task {
            FetchTask::Http { .. } => Self::HTTP,
            FetchTask::Resolve { .. } => Self::RESOLVE,
        }
    }

    /// Which kind of job ended so, and how.
    pub(super) fn of_outcome(outcome: &Outcome) -> (Self, End) {
        let failed = |verdict: &Verdict| matches!(verdict, Verdict::Failed(_));
        let (kind, well) = match outcome {
            Outcome::Prepared(result) => (0, result.is_ok()),
            Outcome::Checked(pieces) => (1, !pieces.iter().any(|piece| failed(&piece.verdict))),
            Outcome::Committed(pieces) => (2, !pieces.iter().any(|piece| failed(&piece.verdict))),
            Outcome::Written { result, .. } => (3, result.is_ok()),
            Outcome::Read(_, result) => (4, result.is_ok()),
            Outcome::Synced(result) => (5, result.is_ok()),
            Outcome::Closed => (6, true),
            Outcome::Deleted(result) => (7, result.is_ok()),
            Outcome::Relocated(_, result) => (8, result.is_ok()),
            Outcome::Surveyed(result) => (9, result.is_ok()),
            Outcome::Blocks(result) => (10, result.is_ok()),
            Outcome::Cancelled(job) => return (Self::of(job), End::Cancelled),
        };
        (Self(kind), End::of(well))
    }

    pub(super) fn of_stored(outcome: &StoreOutcome) -> (Self, End) {
        let well = match outcome {
            StoreOutcome::Loaded(result) => result.is_ok(),
            StoreOutcome::Listed(result) => result.is_ok(),
            StoreOutcome::Recalled(result) => result.is_ok(),
            StoreOutcome::Groups(result) => result.is_ok(),
            StoreOutcome::Nodes(result) => result.is_ok(),
            StoreOutcome::Saved(result) | StoreOutcome::Kept(result) => result.is_ok(),
            StoreOutcome::Read(read) => read.iter().all(Result::is_ok),
            StoreOutcome::Released => true,
        };
        (Self::STORE, End::of(well))
    }

    pub(super) const fn of_fetched(outcome: &FetchOutcome) -> (Self, End) {
        match outcome {
            FetchOutcome::Http(result) => (Self::HTTP, End::of(result.is_ok())),
            FetchOutcome::Resolved(result) => (Self::RESOLVE, End::of(result.is_ok())),
        }
    }

    pub(super) const fn index(self) -> usize {
        self.0
    }

    pub(super) const fn name(self) -> &'static str {
        KINDS[self.index()]
    }
}
