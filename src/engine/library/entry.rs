//! What is remembered of one torrent, beside its progress.

use std::path::PathBuf;
use std::sync::Arc;

use super::goals::Goals;
use crate::codec::metainfo::Metainfo;
use crate::engine::limits::TorrentLimits;
use crate::engine::snapshot::SessionState;
use crate::ids::InfoHash;
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
    /// Whether its row differs from what the store has.
    pub changed: bool,
    /// Whether it is being removed: nobody sees it any more.
    pub removed: bool,
    /// Whether its files go with it.
    pub delete: bool,
    /// Whether all of it is to be hashed as soon as no job is out.
    pub recheck: bool,
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
            SessionState::Seeding => self.seeding += span,
            _ => {}
        }
        self.changed |= matches!(state, SessionState::Downloading | SessionState::Seeding);
        self.since = now;
        self.touched = now;
    }

    /// How long it has downloaded and seeded by `now`, being in `state`.
    #[must_use]
    pub fn times(&self, state: SessionState, now: Instant) -> (Duration, Duration) {
        let span = now.since(self.since);
        match state {
            SessionState::Downloading => (self.downloading + span, self.seeding),
            SessionState::Seeding => (self.downloading, self.seeding + span),
            _ => (self.downloading, self.seeding),
        }
    }
}

/// A torrent's row in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub info_hash: InfoHash,
    /// Where its files are.
    pub root: PathBuf,
    /// Its number.
    pub number: u32,
    /// Its place in the queue.
    pub position: u32,
    /// Whether a person has stopped it, or a goal.
    pub paused: bool,
    /// What it has to reach as a seed.
    pub goals: Goals,
    /// How fast its bytes may pass.
    pub limits: TorrentLimits,
    /// Whether it was stopped for having reached that.
    pub finished: bool,
    /// As a person gave them.
    pub labels: Arc<[Box<str>]>,
    /// As in [`Entry::wanted`].
    pub wanted: Arc<[bool]>,
    /// Seconds since 1970.
    pub added: u64,
    /// Seconds since 1970; 0 when it is not complete.
    pub done: u64,
    /// Seconds.
    pub downloading: u64,
    /// Seconds.
    pub seeding: u64,
    /// The torrent file as it was added: written once, read never but by the store.
    pub bytes: Option<Arc<[u8]>>,
    /// What it says: of a row that was read.
    pub metainfo: Option<Arc<Metainfo>>,
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
