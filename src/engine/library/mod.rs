//! The library: which torrents are remembered between runs, and what of each.
//!
//! Off until [`Message::LibraryLoad`](super::message::Message::LibraryLoad); one-shot commands never ask for it. A change that
//! a caller made is answered when its row is on disk: `Pending` holds the answer until the store has spoken for each row that
//! it touched. Numbers count up and are never given twice in a run.

pub mod entry;

mod change;
pub mod goals;
mod show;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::ids::{InfoHash, JobId, ReplyId, SessionId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::limits::{Group, TorrentLimitsChange};
use super::message::{Answer, Refusal, SessionAdd, StoreFault, StoreOutcome, StoreTask, Stored};

pub use change::{Change, Move, TorrentsChange};
pub use entry::{Entry, Kept};
pub use goals::{Goals, Mode};
pub use show::{
    Selection, TorrentDetail, TorrentKey, TorrentSnapshot, TorrentsShow, TorrentsSnapshot, Trouble,
};

/// How long a removed or changed torrent counts as recent.
pub const RECENT: Duration = Duration::from_secs(60);

/// Removed torrents whose numbers are remembered for that long; the oldest goes first.
const REMOVED_MAX: usize = 10_000;

/// What the store is asked for on behalf of no session of its own.
const NOBODY: SessionId = SessionId::new(u32::MAX, 0);

/// A torrent to take on and to remember.
#[derive(Debug)]
pub struct TorrentAdd {
    /// What, where, how.
    pub session: SessionAdd,
    /// The torrent file, as it came.
    pub bytes: Arc<[u8]>,
    /// Whether it begins stopped.
    pub paused: bool,
    /// As a person gave them.
    pub labels: Vec<String>,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Library {
    /// Whether it is on.
    on: bool,
    /// Milliseconds since 1970 at the origin of our time.
    epoch_millis: u64,
    /// The last number that was given.
    last_number: u32,
    numbers: BTreeMap<u32, SessionId>,
    hashes: BTreeMap<InfoHash, SessionId>,
    /// Numbers of removed torrents, oldest first.
    removed: VecDeque<(Instant, u32)>,
    /// What the store was asked for, until it answers: the place in `pending`, if a caller waits.
    jobs: BTreeMap<JobId, Option<u64>>,
    pending: BTreeMap<u64, Pending>,
    next_pending: u64,
}

/// A caller that waits for rows to be on disk.
#[derive(Debug)]
struct Pending {
    reply: Option<ReplyId>,
    answer: Answer,
    rows: usize,
    failed: bool,
    /// A session that goes again when its row could not be written.
    new: Option<SessionId>,
}

impl Library {
    /// Seconds since 1970.
    #[must_use]
    pub fn unix(&self, now: Instant) -> u64 {
        (self.epoch_millis + now.as_micros() / 1000) / 1000
    }

    fn enter(&mut self, number: u32, info_hash: InfoHash, session: SessionId) {
        self.last_number = self.last_number.max(number);
        self.numbers.insert(number, session);
        self.hashes.insert(info_hash, session);
    }

    fn leave(&mut self, number: u32, info_hash: InfoHash, now: Instant) {
        self.numbers.remove(&number);
        self.hashes.remove(&info_hash);
        if self.removed.len() == REMOVED_MAX {
            self.removed.pop_front();
        }
        self.removed.push_back((now, number));
    }

    /// Who waits for the rows that are written from now on; `None` when nobody does.
    fn wait(&mut self, reply: Option<ReplyId>, answer: Answer, new: Option<SessionId>) -> u64 {
        self.next_pending += 1;
        self.pending.insert(
            self.next_pending,
            Pending {
                reply,
                answer,
                rows: 0,
                failed: false,
                new,
            },
        );
        self.next_pending
    }
}

impl Engine {
    /// Reads what is remembered; the answer comes with it.
    pub(super) fn library_load(&mut self, epoch_millis: u64, reply: Option<ReplyId>) {
        self.library.on = true;
        self.library.epoch_millis = epoch_millis;
        let pending = self.library.wait(reply, Answer::Done, None);
        // Groups first: torrents come into them.
        self.library_store(StoreTask::ListGroups, Some(pending));
        self.library_store(StoreTask::List, Some(pending));
    }

    /// Takes on a torrent; answered when its row is on disk.
    pub(super) fn torrent_add(&mut self, add: TorrentAdd, reply: Option<ReplyId>) {
        if !self.library.on {
            let refused = Answer::Refused(Refusal::NotRemembered);
            return self.shared.reply(reply, refused);
        }
        let wanted: Arc<[bool]> = add.session.wanted.as_slice().into();
        let id = match self.session_add(add.session) {
            Ok(id) => id,
            Err(refusal) => return self.shared.reply(reply, Answer::Refused(refusal)),
        };
        let now = self.shared.now;
        let number = self.library.last_number + 1;
        let position = u32::try_from(self.library.numbers.len()).unwrap_or(u32::MAX);
        let added = self.library.unix(now);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.paused = add.paused;
        session.entry = Entry {
            number,
            position,
            labels: entry::tidy_labels(add.labels.iter().map(String::as_str)),
            wanted,
            added,
            started: if add.paused { 0 } else { added },
            since: now,
            touched: now,
            ..Entry::default()
        };
        let info_hash = session.info_hash();
        self.library.enter(number, info_hash, id);
        let pending = self.library.wait(reply, Answer::Session(id), Some(id));
        self.keep(id, Some(add.bytes), Some(pending));
        self.settle(pending);
    }

    /// Makes or changes a bandwidth group; answered when it is on disk.
    pub(super) fn group_change(&mut self, group: Group, reply: Option<ReplyId>) {
        if let Err(refusal) = self.group_set(group.clone()) {
            return self.shared.reply(reply, Answer::Refused(refusal));
        }
        let pending = self.library.wait(reply, Answer::Done, None);
        if self.library.on {
            self.library_store(StoreTask::KeepGroup(Box::new(group)), Some(pending));
        }
        self.settle(pending);
    }

    /// The answer to a change of one session, when its row is on disk; at once when it is not remembered.
    pub(super) fn reply_kept(&mut self, id: SessionId, reply: Option<ReplyId>, answer: Answer) {
        let remembered = self
            .sessions
            .get(id)
            .is_some_and(|session| session.entry.is_visible());
        if !remembered || !matches!(answer, Answer::Done) {
            return self.shared.reply(reply, answer);
        }
        let pending = self.library.wait(reply, answer, None);
        self.keep(id, None, Some(pending));
        self.settle(pending);
    }

    /// Writes the row of a session, for a caller or by itself.
    pub(super) fn keep(&mut self, id: SessionId, bytes: Option<Arc<[u8]>>, pending: Option<u64>) {
        let now = self.shared.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if !session.entry.is_visible() {
            return;
        }
        let (downloading, seeding) = session.entry.times(session.state(), now);
        session.entry.changed = false;
        session.entry.touched = now;
        let entry = &session.entry;
        let row = Kept {
            info_hash: session.info_hash(),
            root: session.storage.layout.root.clone(),
            number: entry.number,
            position: entry.position,
            paused: session.paused,
            goals: entry.goals,
            limits: entry.limits.clone(),
            finished: entry.finished,
            labels: Arc::clone(&entry.labels),
            wanted: Arc::clone(&entry.wanted),
            added: entry.added,
            done: entry.done,
            downloading: downloading.as_secs(),
            seeding: seeding.as_secs(),
            bytes,
            metainfo: None,
        };
        self.library_store(StoreTask::Keep(Box::new(row)), pending);
    }

    /// The row of a session whose times or date have changed, without anybody waiting for it.
    pub(super) fn keep_changed(&mut self, id: SessionId) {
        if self
            .sessions
            .get(id)
            .is_some_and(|session| session.entry.changed)
        {
            self.keep(id, None, None);
        }
    }

    fn library_store(&mut self, task: StoreTask, pending: Option<u64>) {
        let job = self.shared.store(NOBODY, task);
        self.library.jobs.insert(job, pending);
        if let Some(pending) = pending.and_then(|at| self.library.pending.get_mut(&at)) {
            pending.rows += 1;
        }
    }

    /// The store has answered. Gives back what was not for the library.
    pub(super) fn on_library_stored(&mut self, stored: Stored) -> Option<Stored> {
        let Some(pending) = self.library.jobs.remove(&stored.id) else {
            return Some(stored);
        };
        let failed = match stored.outcome {
            StoreOutcome::Listed(Ok(rows)) => {
                self.library_listed(rows);
                None
            }
            StoreOutcome::Groups(Ok(groups)) => {
                self.groups_listed(groups);
                None
            }
            StoreOutcome::Groups(Err(fault))
            | StoreOutcome::Listed(Err(fault))
            | StoreOutcome::Kept(Err(fault)) => Some(fault),
            _ => None,
        };
        if let Some(StoreFault::Failed(why)) = &failed {
            log::error!("what was changed is not remembered: {why}");
        }
        if let Some(at) = pending {
            if let Some(pending) = self.library.pending.get_mut(&at) {
                pending.rows -= 1;
                pending.failed |= failed.is_some();
            }
            self.settle(at);
        }
        None
    }

    /// Answers whoever waits at `at`, when nothing is left to wait for.
    fn settle(&mut self, at: u64) {
        if self
            .library
            .pending
            .get(&at)
            .is_none_or(|pending| pending.rows > 0)
        {
            return;
        }
        let Some(pending) = self.library.pending.remove(&at) else {
            return;
        };
        let answer = if pending.failed {
            if let Some(id) = pending.new {
                self.forget(id, false);
            }
            Answer::Refused(Refusal::NotRemembered)
        } else {
            pending.answer
        };
        self.shared.reply(pending.reply, answer);
    }

    /// Takes on what the store has.
    fn library_listed(&mut self, rows: Vec<Kept>) {
        let now = self.shared.now;
        let unix = self.library.unix(now);
        for (position, row) in (0..).zip(rows) {
            let Some(metainfo) = row.metainfo else {
                continue;
            };
            let add = SessionAdd {
                metainfo,
                root: row.root,
                download: true,
                seed: true,
                recheck: false,
                wanted: row.wanted.to_vec(),
            };
            let id = match self.session_add(add) {
                Ok(id) => id,
                Err(refusal) => {
                    log::error!("torrent {} cannot be taken on: {refusal}", row.info_hash);
                    continue;
                }
            };
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            session.paused = row.paused;
            session.entry = Entry {
                number: row.number,
                position,
                goals: row.goals,
                limits: row.limits,
                finished: row.finished,
                labels: row.labels,
                wanted: row.wanted,
                added: row.added,
                done: row.done,
                started: if row.paused { 0 } else { unix },
                downloading: Duration::from_secs(row.downloading),
                seeding: Duration::from_secs(row.seeding),
                since: now,
                touched: now,
                ..Entry::default()
            };
            self.library.enter(row.number, row.info_hash, id);
            self.torrent_limits(id, &TorrentLimitsChange::default());
        }
    }

    /// Lets go of a session, for callers at once; its row goes with it.
    pub(super) fn forget(&mut self, id: SessionId, delete: bool) -> Option<InfoHash> {
        let now = self.shared.now;
        let session = self.sessions.get_mut(id)?;
        if !session.entry.is_visible() {
            return None;
        }
        session.entry.removed = true;
        session.entry.delete = delete;
        // What is forgotten is not to be saved again on its way out.
        session.progress.store_works = false;
        let info_hash = session.info_hash();
        let number = session.entry.number;
        self.library.leave(number, info_hash, now);
        self.session_stop(id, None);
        Some(info_hash)
    }
}
