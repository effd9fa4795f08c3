//! What is remembered of one torrent, beside its progress.

use std::path::PathBuf;
use std::sync::Arc;

use super::brief::{Brief, Standing};
use super::goals::Goals;
use super::trackers::TrackerUrl;
use crate::engine::limits::TorrentLimits;
use crate::engine::session::picker::Priority;
use crate::engine::snapshot::SessionState;
use crate::time::{Duration, Instant};

/// Labels of one torrent; those beyond are dropped.
pub const LABELS_MAX: usize = 64;

/// Bytes of one label; a longer one is dropped.
pub const LABEL_BYTES_MAX: usize = 256;

/// What a session carries for the library. Of a session that is not remembered (`get`, `seed`) it stays as it began.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The torrent's number, for people and RPC clients; 0 when it is not remembered.
    pub number: u32,
    /// Its place in the queue, from 0.
    pub position: u32,
    /// As a person gave them.
    pub labels: Arc<[Box<str>]>,
    /// A mark for each file of the layout; empty means that all are wanted.
    pub wanted: Arc<[bool]>,
    /// How soon each file of the layout is wanted; empty means that all are alike.
    pub priorities: Arc<[Priority]>,
    /// Seconds since 1970; 0 where it has not happened.
    pub added: u64,
    /// When the last wanted piece came.
    pub done: u64,
    /// When it was last started in this run.
    pub started: u64,
    /// How long it has downloaded, up to `since`.
    pub downloading: Duration,
    /// How long it has seeded, up to `since`.
    pub seeding: Duration,
    /// When its state last changed.
    pub since: Instant,
    /// When something of it last changed that a listing shows.
    pub touched: Instant,
    /// When a byte of it was last sent, as far as was looked.
    pub active: Instant,
    /// Bytes that had been sent by then.
    pub sent: u64,
    /// What it has to reach as a seed.
    pub goals: Goals,
    /// How fast its bytes may pass.
    pub limits: TorrentLimits,
    /// Whether it was stopped for having reached that.
    pub finished: bool,
    /// At rest: whether a person has stopped it, rather than a helper, a goal, or whoever stopped all at once.
    pub stopped: bool,
    /// What is remembered of where its files are, where that is not where the torrent has them.
    pub whereabouts: Option<Arc<Whereabouts>>,
    /// Its trackers by tier, where they are not those of the torrent file.
    pub trackers: Option<Arc<[TrackerUrl]>>,
    /// Whether the store has it that its files are to be moved.
    pub move_ready: bool,
    /// Whether an earlier run has begun to move them.
    pub move_resumed: bool,
    /// Who waits for the move.
    pub move_reply: Option<u64>,
    /// Why its files could not be moved; empty when nothing went wrong.
    pub move_failed: Arc<str>,
    /// What a move that was broken off by the removal has left in the other place.
    pub leftover: Option<Arc<crate::engine::message::Storage>>,
    /// Whether its row differs from what the store has.
    pub changed: bool,
    /// How it stands in the store's row.
    pub kept: Standing,
    /// Whether it is being removed: nobody sees it any more.
    pub removed: bool,
    /// Whether its files go with it.
    pub delete: bool,
    /// Whether all of it is to be hashed as soon as no job is out.
    pub recheck: bool,
    /// Streams that it may have; 0 is as many as any.
    pub peer_limit: u32,
    /// Where it stands in the queue; kept by [`Queue::note`](super::queue::Queue::note).
    pub place: Option<super::queue::Place>,
    /// Whether a person has started it now, whatever the queue says.
    pub forced: bool,
    /// Whether it has carried no payload for long.
    pub stalled: bool,
    /// Payload carried in this run, both ways, when it was last looked at.
    pub carried: u64,
    /// When that last grew.
    pub moved: Instant,
}

impl Entry {
    /// Whether callers see it.
    #[must_use]
    pub const fn is_visible(&self) -> bool {
        self.number != 0 && !self.removed
    }

    /// The session leaves `state` at `now`: its times are reckoned up to here.
    pub fn leave(&mut self, state: SessionState, now: Instant) {
        let span = now.since(self.since);
        match state {
            SessionState::Downloading => self.downloading += span,
            SessionState::Seeding | SessionState::Parked => self.seeding += span,
            _ => {}
        }
        self.changed |= !span.is_zero()
            && matches!(
                state,
                SessionState::Downloading | SessionState::Seeding | SessionState::Parked
            );
        self.since = now;
        self.touched = now;
    }

    /// How long it has downloaded and seeded by `now`, being in `state`.
    #[must_use]
    pub fn times(&self, state: SessionState, now: Instant) -> (Duration, Duration) {
        let span = now.since(self.since);
        match state {
            SessionState::Downloading => (self.downloading + span, self.seeding),
            SessionState::Seeding | SessionState::Parked => (self.downloading, self.seeding + span),
            _ => (self.downloading, self.seeding),
        }
    }
}

/// Where a torrent's files are, or are going.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// New names, in the order in which they were given.
    pub renames: Vec<Rename>,
    /// Where its files are being moved.
    pub moving: Option<Destination>,
    /// The directory they are moved to when all that is wanted is there.
    pub then: Option<PathBuf>,
}

/// A file or a directory has another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Relative to the root, as it was.
    pub path: PathBuf,
    /// Its last component now.
    pub name: String,
}

/// Where files are being moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The directory.
    pub root: PathBuf,
    /// All new names.
    pub renames: Vec<Rename>,
    /// Whether the files are taken along; else those that are there are looked at.
    pub carry: bool,
}

/// A torrent's row in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it is, and where.
    pub brief: Arc<Brief>,
    /// How much of it is there.
    pub standing: Standing,
    /// Its number.
    pub number: u32,
    /// Its place in the queue.
    pub position: u32,
    /// Whether it is at rest, whoever has stopped it.
    pub paused: bool,
    /// As in [`Entry::stopped`].
    pub stopped: bool,
    /// What it has to reach as a seed.
    pub goals: Goals,
    /// How fast its bytes may pass.
    pub limits: TorrentLimits,
    /// Whether it was stopped for having reached that.
    pub finished: bool,
    /// Streams that it may have; 0 is as many as any.
    pub peer_limit: u32,
    /// As a person gave them.
    pub labels: Arc<[Box<str>]>,
    /// As in [`Entry::whereabouts`].
    pub whereabouts: Option<Arc<Whereabouts>>,
    /// As in [`Entry::trackers`].
    pub trackers: Option<Arc<[TrackerUrl]>>,
    /// As in [`Entry::wanted`].
    pub wanted: Arc<[bool]>,
    /// As in [`Entry::priorities`].
    pub priorities: Arc<[Priority]>,
    /// Seconds since 1970.
    pub added: u64,
    /// Seconds since 1970; 0 when it is not complete.
    pub done: u64,
    /// Seconds.
    pub downloading: u64,
    /// Seconds.
    pub seeding: u64,
    /// The torrent file as it was added: written with the first row, read when the torrent wakes.
    pub bytes: Option<Arc<[u8]>>,
}

/// Labels as they are kept: each once, without blank ones, commas and control characters, within the bounds above.
#[must_use]
pub fn tidy_labels<'a>(labels: impl IntoIterator<Item = &'a str>) -> Arc<[Box<str>]> {
    let mut kept: Vec<Box<str>> = Vec::new();
    for label in labels {
        let label = label.trim();
        let fine = !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.contains(|c: char| c == ',' || c.is_control());
        if fine && kept.len() < LABELS_MAX && !kept.iter().any(|have| **have == *label) {
            kept.push(label.into());
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_kept_once_and_tame() {
        let long = "x".repeat(LABEL_BYTES_MAX + 1);
        let labels = tidy_labels([" tv ", "", "a,b", "tv", "größe", "a\nb", &long]);
        assert_eq!(*labels, ["tv".into(), "größe".into()]);
    }

    #[test]
    fn times_count_while_it_downloads_or_seeds() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut entry = Entry::default();
        entry.leave(SessionState::Checking, at(5));
        assert!(!entry.changed);
        entry.leave(SessionState::Downloading, at(15));
        entry.leave(SessionState::Paused, at(20));
        let seconds = |(a, b): (Duration, Duration)| (a.as_secs(), b.as_secs());
        assert_eq!(seconds(entry.times(SessionState::Seeding, at(27))), (10, 7));
        assert_eq!(seconds(entry.times(SessionState::Paused, at(27))), (10, 0));
        assert!(entry.changed);
    }
}
