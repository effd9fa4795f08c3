//! The library: which torrents are remembered between runs, and what of each.
//!
//! Off until [`Message::LibraryLoad`](super::message::Message::LibraryLoad); one-shot commands never ask for it. A change that
//! a caller made is answered when its row is on disk: `Pending` holds the answer until the store has spoken for each row that
//! it touched. Numbers count up and are never given twice in a run.

pub mod brief;
pub mod entry;
pub mod parked;

mod change;
pub mod goals;
pub mod queue;
pub(super) mod relocate;
mod rename;
mod show;
mod speed;
#[cfg(test)]
mod tests;
pub mod trackers;
mod tuned;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::config::Config;
use crate::ids::{InfoHash, JobId, ReplyId, SessionId, SwarmId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::limits::{Group, Limits as Speed};
use super::message::{
    Answer, Refusal, SessionAdd, StoreFault, StoreOutcome, StoreTask, Stored, Times,
};
use super::session::Session;
use super::session::picker::Priority;
use super::session::trackers::Trackers;

pub use brief::{Brief, Standing};
pub use change::{Change, FileMark, Move, TorrentsChange};
pub use entry::{Destination, Entry, Kept, Rename, Whereabouts};
pub use goals::{Goals, Mode};
pub use parked::MagnetAdd;
use parked::{Parked, Stage, Wish};
pub use queue::Waits;
pub use show::{
    DETAIL_MAX, Selection, TorrentDetail, TorrentKey, TorrentSnapshot, TorrentsShow,
    TorrentsSnapshot, Trouble,
};
pub use trackers::TrackersChange;

pub use tuned::{OFF, Remembered, SettingRow, SettingsChange, SettingsSnapshot, Totals, Tuned};

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
    /// The directory its files are moved to when all that is wanted is there.
    pub then: Option<std::path::PathBuf>,
    /// How soon each file is wanted; empty means that all are alike.
    pub priorities: Vec<Priority>,
}

/// All that is remembered.
#[derive(Debug)]
pub struct Library {
    /// Whether it is on.
    on: bool,
    /// Milliseconds since 1970 at the origin of our time.
    epoch_millis: u64,
    /// The last number that was given.
    last_number: u32,
    numbers: BTreeMap<u32, SessionId>,
    /// Behind the last place in the queue that was given.
    positions: u32,
    hashes: BTreeMap<InfoHash, SessionId>,
    /// Numbers of removed torrents, oldest first.
    removed: VecDeque<(Instant, u32)>,
    /// What the store was asked for, until it answers: the place in `pending`, if a caller waits.
    jobs: BTreeMap<JobId, Option<u64>>,
    pending: BTreeMap<u64, Pending>,
    next_pending: u64,
    /// What is shown when the torrent files that it needs were read.
    shows: BTreeMap<JobId, show::Later>,
    tuned: Tuned,
    /// Changes of settings that are on their way to the disk.
    changing: BTreeMap<JobId, SettingsChange>,
    /// Rate limits that are.
    speeds: BTreeMap<JobId, Speed>,
    /// What the configuration says of them since it was read again.
    speed_configured: Option<Speed>,
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
    /// Off, with these settings.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            on: false,
            epoch_millis: 0,
            last_number: 0,
            numbers: BTreeMap::new(),
            positions: 0,
            hashes: BTreeMap::new(),
            removed: VecDeque::new(),
            jobs: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_pending: 0,
            shows: BTreeMap::new(),
            tuned: Tuned::new(config),
            changing: BTreeMap::new(),
            speeds: BTreeMap::new(),
            speed_configured: None,
        }
    }

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

    /// The place behind all others. Removals leave gaps, so a count would not do.
    const fn next_position(&mut self) -> u32 {
        self.positions = self.positions.saturating_add(1);
        self.positions - 1
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
        // The settings and groups first: what is listed then goes by them.
        self.library_store(StoreTask::Recall, Some(pending));
        self.library_store(StoreTask::ListGroups, Some(pending));
        self.library_store(StoreTask::List, Some(pending));
    }

    /// Takes on a torrent; answered when its row is on disk.
    pub(super) fn torrent_add(&mut self, add: TorrentAdd, reply: Option<ReplyId>) {
        if !self.library.on {
            let refused = Answer::Refused(Refusal::NotRemembered);
            return self.shared.reply(reply, refused);
        }
        let info_hash = add.session.metainfo.info_hash;
        let there = self
            .table
            .swarm_of(info_hash)
            .and_then(|swarm| swarm.session);
        if let Some(id) = there
            && self
                .sessions
                .parked(id)
                .is_some_and(|parked| parked.brief.magnet.is_some())
        {
            // It came by a link before, and this is what the link was for.
            let answer = Answer::Refused(Refusal::Duplicate(id));
            let pending = self.library.wait(reply, answer, None);
            self.metadata_known(id, &add.session.metainfo, add.bytes, Some(pending));
            return self.settle(pending);
        }
        let wanted: Arc<[bool]> = add.session.wanted.as_slice().into();
        let priorities: Arc<[Priority]> = add.priorities.into();
        let id = match self.session_add(add.session) {
            Ok(id) => id,
            Err(refusal) => return self.shared.reply(reply, Answer::Refused(refusal)),
        };
        let now = self.shared.now;
        let number = self.library.last_number + 1;
        let position = self.library.next_position();
        let added = self.library.unix(now);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.paused = add.paused;
        session.entry = Entry {
            number,
            position,
            labels: entry::tidy_labels(add.labels.iter().map(String::as_str)),
            whereabouts: relocate::bound_for(add.then),
            wanted,
            priorities,
            stopped: add.paused,
            added,
            started: if add.paused { 0 } else { added },
            since: now,
            touched: now,
            ..Entry::default()
        };
        session.mark_files();
        let info_hash = session.info_hash();
        self.library.enter(number, info_hash, id);
        self.library.tuned.added += 1;
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

    /// Writes the row of a torrent, for a caller or by itself.
    pub(super) fn keep(&mut self, id: SessionId, bytes: Option<Arc<[u8]>>, pending: Option<u64>) {
        let now = self.shared.now;
        let (state, brief, standing, paused) =
            match (self.sessions.get(id), self.sessions.parked(id)) {
                (Some(session), _) => (
                    session.state(),
                    Arc::clone(&session.brief),
                    session.standing(),
                    session.paused,
                ),
                (None, Some(parked)) => (
                    parked.state(),
                    Arc::clone(&parked.brief),
                    parked.standing,
                    parked.paused,
                ),
                (None, None) => return,
            };
        let Some(entry) = self.entry_mut(id).filter(|entry| entry.is_visible()) else {
            return;
        };
        let (downloading, seeding) = entry.times(state, now);
        entry.changed = false;
        entry.kept = standing;
        entry.touched = now;
        let row = row_of(
            entry,
            (brief, standing, paused),
            bytes,
            (downloading, seeding),
        );
        self.library_store(StoreTask::Keep(Box::new(row)), pending);
    }

    /// The row of a session, as it is to be kept.
    pub(super) fn row_of_session(&self, session: &Session) -> Kept {
        let parts = (
            Arc::clone(&session.brief),
            session.standing(),
            session.paused,
        );
        let times = session.entry.times(session.state(), self.shared.now);
        row_of(&session.entry, parts, None, times)
    }

    /// The row of a torrent whose times, date or standing have changed, without anybody waiting for it.
    pub(super) fn keep_changed(&mut self, id: SessionId) {
        let session = self.sessions.get(id);
        let moved = session.is_some_and(|session| session.standing() != session.entry.kept);
        if moved || self.entry(id).is_some_and(|entry| entry.changed) {
            self.keep(id, None, None);
        }
    }

    /// The row of a torrent that has become whole, or is not any more: what is whole need not be looked at when we start.
    pub(super) fn keep_whole(&mut self, id: SessionId) {
        let is_news = self.sessions.get(id).is_some_and(|session| {
            session.progress.judged && Standing::of(session).whole != session.entry.kept.whole
        });
        if is_news {
            self.keep(id, None, None);
        }
    }

    /// How long everything that rests has seeded, for the next start.
    pub(super) fn keep_times(&mut self) {
        let now = self.shared.now;
        let times: Vec<Times> = self
            .sessions
            .iter_parked()
            .filter(|(_, parked)| parked.entry.is_visible() && !parked.paused)
            .map(|(_, parked)| {
                let (downloading, seeding) = parked.entry.times(parked.state(), now);
                Times {
                    info_hash: parked.brief.info_hash,
                    downloading: downloading.as_secs(),
                    seeding: seeding.as_secs(),
                }
            })
            .collect();
        if !times.is_empty() {
            let _ = self.library_store(StoreTask::Times(times), None);
        }
    }

    /// The second since 1970 at `at`.
    pub(super) fn library_second(&self, at: Instant) -> u64 {
        self.library.unix(at)
    }

    /// Keeps something beyond this run, if anything is kept; nobody waits for it.
    pub(super) fn library_keep(&mut self, task: StoreTask) {
        if self.library.on {
            self.library_store(task, None);
        }
    }

    pub(in crate::engine) fn library_store(
        &mut self,
        task: StoreTask,
        pending: Option<u64>,
    ) -> JobId {
        let job = self.shared.store(NOBODY, task);
        self.library.jobs.insert(job, pending);
        if let Some(pending) = pending.and_then(|at| self.library.pending.get_mut(&at)) {
            pending.rows += 1;
        }
        job
    }

    /// The store has answered. Gives back what was not for the library.
    pub(super) fn on_library_stored(&mut self, stored: Stored) -> Option<Stored> {
        let Some(pending) = self.library.jobs.remove(&stored.id) else {
            return Some(stored);
        };
        let changing = self.library.changing.remove(&stored.id);
        let speed = self.library.speeds.remove(&stored.id);
        let failed = match stored.outcome {
            StoreOutcome::Read(read) => {
                self.shown_at_last(stored.id, read);
                None
            }
            StoreOutcome::Listed(Ok(rows)) => {
                self.library_listed(rows);
                None
            }
            StoreOutcome::Recalled(Ok(mut remembered)) => {
                self.speed_remembered(&mut remembered);
                self.settings_remembered(*remembered);
                None
            }
            StoreOutcome::Groups(Ok(groups)) => {
                self.groups_listed(groups);
                None
            }
            StoreOutcome::Nodes(nodes) => {
                self.dht_recalled(nodes.unwrap_or_default());
                None
            }
            StoreOutcome::Groups(Err(fault))
            | StoreOutcome::Listed(Err(fault))
            | StoreOutcome::Recalled(Err(fault))
            | StoreOutcome::Kept(Err(fault)) => Some(fault),
            _ => {
                if let Some(change) = changing {
                    self.settings_changed(&change);
                }
                if let Some(limits) = speed {
                    self.speed_set(limits);
                }
                None
            }
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

    /// Whoever waits at `at` waits for one thing more.
    pub(super) fn hold(&mut self, at: u64) {
        if let Some(pending) = self.library.pending.get_mut(&at) {
            pending.rows += 1;
        }
    }

    /// That thing is done.
    pub(super) fn unhold(&mut self, at: u64) {
        if let Some(pending) = self.library.pending.get_mut(&at) {
            pending.rows -= 1;
        }
        self.settle(at);
    }

    /// What the caller at `at` waits for cannot be done.
    pub(super) fn fail_pending(&mut self, at: u64, refusal: Refusal) {
        if let Some(pending) = self.library.pending.get_mut(&at) {
            pending.answer = Answer::Refused(refusal);
        }
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

    /// Takes on what the store has. Everything rests at first; what has something to do wakes at once.
    fn library_listed(&mut self, rows: Vec<Kept>) {
        let now = self.shared.now;
        let unix = self.library.unix(now);
        let links_min = u32::try_from(self.shared.settings.swarm_links_min).unwrap_or(u32::MAX);
        self.library.positions = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        for (position, row) in (0..).zip(rows) {
            let shared = &mut self.shared;
            let tiers = match &row.trackers {
                Some(list) => trackers::tiers(list).into(),
                None => Arc::clone(&row.brief.trackers),
            };
            let trackers =
                (shared.settings.trackers).then(|| Trackers::new(&tiers, &mut shared.rng));
            let (number, info_hash) = (row.number, row.brief.info_hash);
            let (sessions, mut row) = (&mut self.sessions, Some(row));
            let taken = self.table.swarm_take(info_hash, links_min, |swarm| {
                sessions.park_with(|id| {
                    let row = row.take().expect("made once");
                    parked_of(row, id, swarm, trackers, (position, now, unix))
                })
            });
            let Ok((_, id)) = taken else {
                log::error!("torrent {info_hash} cannot be taken on: it is there already");
                continue;
            };
            self.library.enter(number, info_hash, id);
            if self
                .sessions
                .parked(id)
                .is_some_and(|parked| parked.brief.magnet.is_some())
            {
                self.metadata_begin(id);
                continue;
            }
            let at_work = |parked: &&mut Parked| !parked.paused && parked.brief.magnet.is_none();
            let Some(parked) = self.sessions.parked_mut(id).filter(at_work) else {
                continue;
            };
            if !parked.standing.whole || parked.is_bound() {
                self.wake(id, Wish::default());
                continue;
            }
            if let Some(trackers) = &mut parked.trackers {
                trackers.start(now);
            }
            self.dht_enter(id);
            self.announce(id);
            self.await_parked_goal(id);
        }
        self.lsd_all();
    }

    /// Lets go of a session, for callers at once; its row goes with it.
    pub(super) fn forget(&mut self, id: SessionId, delete: bool) -> Option<InfoHash> {
        let now = self.shared.now;
        let entry = self.entry_mut(id).filter(|entry| entry.is_visible())?;
        entry.removed = true;
        entry.delete = delete;
        let (number, position) = (entry.number, entry.position);
        if position + 1 == self.library.positions {
            self.library.positions = position;
        }
        if let Some(session) = self.sessions.get_mut(id) {
            // What is forgotten is not to be saved again on its way out.
            session.progress.store_works = false;
        }
        self.release(id, false);
        let swarm = self.swarm_of_session(id)?;
        let info_hash = self.table.swarms.get(swarm)?.info_hash;
        self.library.leave(number, info_hash, now);
        self.session_stop(id, None);
        Some(info_hash)
    }
}

/// A torrent that rests, as its row says. `place` is its place in the queue, now, and now in seconds since 1970.
fn parked_of(
    row: Kept,
    id: SessionId,
    swarm: SwarmId,
    trackers: Option<Trackers>,
    (position, now, unix): (u32, Instant, u64),
) -> Parked {
    Parked {
        id,
        swarm,
        brief: row.brief,
        standing: row.standing,
        entry: Entry {
            number: row.number,
            position,
            goals: row.goals,
            limits: row.limits,
            finished: row.finished,
            stopped: row.stopped,
            peer_limit: row.peer_limit,
            labels: row.labels,
            wanted: row.wanted,
            priorities: row.priorities,
            move_ready: relocate::is_moving(&row.whereabouts),
            move_resumed: relocate::is_moving(&row.whereabouts),
            whereabouts: row.whereabouts,
            trackers: row.trackers,
            added: row.added,
            done: row.done,
            started: if row.paused { 0 } else { unix },
            downloading: Duration::from_secs(row.downloading),
            seeding: Duration::from_secs(row.seeding),
            since: now,
            touched: now,
            kept: row.standing,
            ..Entry::default()
        },
        paused: row.paused,
        trackers,
        sent: 0,
        received: 0,
        stage: Stage::Resting,
        fetch: None,
        hold: false,
    }
}

/// The row of a torrent, for the store: what it is, how much of it is there, and whether a person has stopped it; how long it
/// has downloaded and seeded.
fn row_of(
    entry: &Entry,
    (brief, standing, paused): (Arc<Brief>, Standing, bool),
    bytes: Option<Arc<[u8]>>,
    (downloading, seeding): (Duration, Duration),
) -> Kept {
    Kept {
        brief,
        standing,
        number: entry.number,
        position: entry.position,
        paused,
        goals: entry.goals,
        limits: entry.limits.clone(),
        finished: entry.finished,
        stopped: entry.stopped,
        peer_limit: entry.peer_limit,
        labels: Arc::clone(&entry.labels),
        wanted: Arc::clone(&entry.wanted),
        priorities: Arc::clone(&entry.priorities),
        whereabouts: entry.whereabouts.clone(),
        trackers: entry.trackers.clone(),
        added: entry.added,
        done: entry.done,
        downloading: downloading.as_secs(),
        seeding: seeding.as_secs(),
        bytes,
    }
}
