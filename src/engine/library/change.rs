//! Changes of remembered torrents, all of one message in one turn.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::{ReplyId, SessionId};

use super::entry::{Rename, tidy_labels};
use super::goals::Mode;
use super::parked::Wish;
use super::show::Selection;
use super::trackers::TrackersChange;
use crate::engine::Engine;
use crate::engine::limits::TorrentLimitsChange;
use crate::engine::message::{Answer, StoreTask};
use crate::engine::session::picker::Priority;
use crate::engine::session::start::{self, Check};
use crate::engine::session::{Phase, Then, download};
use crate::engine::snapshot::SessionState;

/// A change and the torrents it is for.
#[derive(Debug)]
pub struct TorrentsChange {
    /// Those that are meant; names of none are passed over.
    pub which: Selection,
    /// What changes, in this order. When one of them cannot be, none is.
    pub changes: Vec<Change>,
}

/// What can be said of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMark {
    /// Whether it is fetched.
    Wanted(bool),
    /// How soon: before others, or after.
    Priority(Priority),
}

/// What can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Trade, when its turn comes.
    Start,
    /// Trade at once, whatever the queue says.
    StartNow,
    /// Do not trade: a person wants it so.
    Stop,
    /// The same by a helper, or of all torrents at once: shown as paused.
    Pause,
    /// Hash everything that is on disk, then go on.
    Recheck,
    /// Ask the trackers for more peers, as early as they allow.
    Reannounce,
    /// Forget; with `delete` the files go too.
    Remove {
        /// Whether the files go.
        delete: bool,
    },
    /// Have these labels and no others.
    Labels(Vec<String>),
    /// Marks of files, in this order and all at once; indices into the layout. None named means all.
    Files(Vec<(Vec<usize>, FileMark)>),
    /// What to reach as a seed; `None` leaves a part as it is.
    Goals {
        /// Which ratio.
        ratio_mode: Option<Mode>,
        /// In thousandths.
        ratio_mille: Option<u32>,
        /// Which idle time.
        idle_mode: Option<Mode>,
        /// In minutes.
        idle_minutes: Option<u32>,
    },
    /// How many streams it may have; 0 is as many as any.
    PeerLimit(u32),
    /// How fast its bytes may pass.
    Limits(Box<TorrentLimitsChange>),
    /// Another place in the queue.
    Queue(Move),
    /// Another directory.
    Location {
        /// Which: real, absolute.
        root: PathBuf,
        /// Whether its files are moved there; else they are looked for there, and hashed.
        carry: bool,
    },
    /// Another name for a file or a directory, of one torrent. Answered when it has it.
    Rename(Rename),
    /// Other trackers.
    Trackers(TrackersChange),
}

/// Where to in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// In front of all.
    Top,
    /// One place to the front.
    Up,
    /// One place to the back.
    Down,
    /// Behind all.
    Bottom,
    /// To this place, from 0.
    To(u32),
}

impl Engine {
    /// Applies a change; answered when every row it touched is on disk.
    pub(in crate::engine) fn torrents_change(
        &mut self,
        order: &TorrentsChange,
        reply: Option<ReplyId>,
    ) {
        let ids = self.selected(&order.which);
        // Checked for all before anything changes.
        let each =
            || (order.changes.iter()).flat_map(|change| ids.iter().map(move |id| (*id, change)));
        let may = each().try_for_each(|(id, change)| self.may_change(id, change));
        if let Err(refusal) = may {
            return self.shared.reply(reply, Answer::Refused(refusal));
        }
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let pending = self.library.wait(reply, Answer::Changed(count), None);
        // Held until all of them were begun: what one of them has no more to wait for is not the answer yet.
        self.hold(pending);
        for change in &order.changes {
            if let Change::Queue(to) = change {
                self.queue_move(&ids, *to, pending);
                continue;
            }
            for id in &ids {
                self.torrent_change(*id, change, pending);
            }
        }
        self.unhold(pending);
    }

    pub(super) fn torrent_change(&mut self, id: SessionId, change: &Change, pending: u64) {
        // What needs more than the record that is kept of it wakes it first.
        let needs_it_awake = match change {
            Change::Files(_) | Change::Location { .. } | Change::Rename(_) => true,
            // Of what is not known to have any, no files are to be found.
            Change::Remove { delete } => {
                let parked = self.sessions.parked(id);
                *delete && parked.is_some_and(|parked| parked.brief.magnet.is_none())
            }
            _ => false,
        };
        if needs_it_awake && self.sessions.parked(id).is_some() {
            self.hold(pending);
            let changes = vec![(change.clone(), pending)];
            return self.wake(
                id,
                Wish {
                    recheck: false,
                    changes,
                },
            );
        }
        match change {
            Change::Start | Change::StartNow => {
                let unix = self.library.unix(self.shared.now);
                let session = self.sessions.get(id).is_some_and(|session| session.paused);
                let parked = self.sessions.parked(id).is_some_and(|parked| parked.paused);
                if let Some(entry) = self.entry_mut(id) {
                    if session || parked {
                        entry.started = unix;
                        entry.finished = false;
                    }
                    entry.forced |= *change == Change::StartNow;
                    entry.move_failed = Arc::default();
                }
                if let Some(session) = self.sessions.get_mut(id) {
                    self.shared.queue.note(session);
                }
                self.session_resume(id);
                self.keep(id, None, Some(pending));
                self.move_complete(id);
            }
            Change::Stop | Change::Pause => {
                self.session_pause(id, *change == Change::Stop);
                self.keep(id, None, Some(pending));
            }
            Change::Recheck => self.recheck(id),
            Change::Reannounce => {
                let now = self.shared.now;
                if let Some(trackers) = self.sessions.trackers_mut(id) {
                    trackers.need_peers(now);
                }
                self.announce(id);
            }
            Change::Remove { delete } => {
                if let Some(info_hash) = self.forget(id, *delete) {
                    self.library_store(StoreTask::Forget { info_hash }, Some(pending));
                }
            }
            Change::Labels(labels) => {
                if let Some(entry) = self.entry_mut(id) {
                    entry.labels = tidy_labels(labels.iter().map(String::as_str));
                }
                self.keep(id, None, Some(pending));
            }
            Change::Files(marks) => {
                self.mark_files(id, marks);
                self.keep(id, None, Some(pending));
            }
            Change::Goals {
                ratio_mode,
                ratio_mille,
                idle_mode,
                idle_minutes,
            } => {
                if let Some(entry) = self.entry_mut(id) {
                    let goals = &mut entry.goals;
                    goals.ratio_mode = ratio_mode.unwrap_or(goals.ratio_mode);
                    goals.ratio_mille = ratio_mille.unwrap_or(goals.ratio_mille);
                    goals.idle_mode = idle_mode.unwrap_or(goals.idle_mode);
                    goals.idle_minutes = idle_minutes.unwrap_or(goals.idle_minutes);
                }
                self.await_parked_goal(id);
                self.keep(id, None, Some(pending));
            }
            Change::Location { root, carry } => self.locate(id, root, *carry, pending),
            Change::Rename(rename) => self.rename(id, rename, pending),
            Change::Trackers(change) => self.change_trackers(id, change, pending),
            Change::PeerLimit(limit) => {
                if let Some(entry) = self.entry_mut(id) {
                    entry.peer_limit = *limit;
                }
                if let Some(swarm) = self.swarm_of_session(id) {
                    self.connect_soon(swarm);
                }
                self.keep(id, None, Some(pending));
            }
            Change::Limits(change) => {
                self.torrent_limits(id, change);
                self.keep(id, None, Some(pending));
            }
            Change::Queue(_) => {}
        }
    }

    /// All at once: between two marks nothing may look complete that is not.
    fn mark_files(&mut self, id: SessionId, marks: &[(Vec<usize>, FileMark)]) {
        let now = self.shared.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let count = session.metainfo.files.len();
        let before = session.state();
        let mut wanted = session.entry.wanted.to_vec();
        let mut priorities = session.entry.priorities.to_vec();
        for (files, mark) in marks {
            match mark {
                FileMark::Wanted(_) => wanted.resize(count, true),
                FileMark::Priority(_) => priorities.resize(count, Priority::default()),
            }
            for file in (0..count).filter(|file| files.is_empty() || files.contains(file)) {
                match mark {
                    FileMark::Wanted(mark) => wanted[file] = *mark,
                    FileMark::Priority(mark) => priorities[file] = *mark,
                }
            }
        }
        session.entry.wanted = Arc::from(wanted);
        session.entry.priorities = Arc::from(priorities);
        session.mark_files();
        if session.state() != before {
            session.entry.leave(before, now);
        }
        self.shared.queue.note(session);
        // Before it was looked at nothing is known of what is missing.
        if !session.has_all_wanted() && session.progress.judged {
            session.completed = false;
            session.entry.done = 0;
        }
        // A peer that has what is wanted now is asked; one that has nothing any more learns it with the next message.
        self.complete_if_whole(id);
        self.ask_all(id);
        self.announce(id);
    }

    fn queue_move(&mut self, ids: &[SessionId], to: Move, pending: u64) {
        let mut row: Vec<(u32, SessionId)> = self
            .library
            .numbers
            .values()
            .filter_map(|id| Some((self.entry(*id)?.position, *id)))
            .collect();
        row.sort_unstable();
        let row: Vec<SessionId> = row.into_iter().map(|(_, id)| id).collect();
        self.library.positions = u32::try_from(row.len()).unwrap_or(u32::MAX);
        for (position, id) in (0..).zip(moved(row, ids, to)) {
            if let Some(entry) = self.entry_mut(id)
                && entry.position != position
            {
                entry.position = position;
                if let Some(session) = self.sessions.get_mut(id) {
                    self.shared.queue.note(session);
                }
                self.keep(id, None, Some(pending));
            }
        }
    }

    /// Stops trading and hashes everything, as soon as no job is out.
    fn recheck(&mut self, id: SessionId) {
        if self.sessions.parked(id).is_some() {
            let changes = Vec::new();
            return self.wake(
                id,
                Wish {
                    recheck: true,
                    changes,
                },
            );
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match session.phase {
            // It looks at everything anyway, or will.
            Phase::Loading | Phase::Preparing { .. } => session.recheck = true,
            // What it does now ends first.
            Phase::Checking(_) => session.entry.recheck = true,
            Phase::Stopping { .. } => {}
            // Hashed where they are then.
            Phase::Moving(_)
            | Phase::Failed {
                then: Then::Move(_),
                ..
            } => session.recheck = true,
            Phase::Trading | Phase::Paused | Phase::Failed { .. } => {
                session.entry.recheck = true;
                session.progress.judged = false;
                if session.is_trading() {
                    download::flush(&mut self.shared, session);
                }
                session.enter(&mut self.shared, Phase::Checking(Check::default()), "user");
                let swarm = session.swarm;
                self.quiet(id, swarm);
                self.begin_recheck(id);
            }
        }
    }

    /// Begins the check that was asked for, once nothing is in flight: a late answer would be taken for one of the check.
    pub(in crate::engine) fn begin_recheck(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if !session.entry.recheck || session.jobs > 0 || session.is_stopping() {
            return;
        }
        session.entry.recheck = false;
        session.recheck = true;
        session.completed = false;
        for piece in session.geometry().pieces() {
            if session.picker.have().get(piece.index()) {
                session.picker.lost(piece);
                session.progress.lost(piece);
            }
        }
        start::prepare(&mut self.shared, session, None);
    }

    /// The last wanted piece has come.
    pub(in crate::engine) fn entry_completed(&mut self, id: SessionId) {
        let now = self.shared.now;
        let unix = self.library.unix(now);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        // A no-op when it was no download: its state has changed just now.
        session.entry.leave(SessionState::Downloading, now);
        if session.entry.is_visible() && session.entry.done == 0 {
            session.entry.done = unix;
            self.keep(id, None, None);
        }
        self.move_complete(id);
    }
}

/// The queue `row` with `ids` moved; those keep their order among each other.
fn moved(row: Vec<SessionId>, ids: &[SessionId], to: Move) -> Vec<SessionId> {
    let ids: BTreeSet<SessionId> = ids.iter().copied().collect();
    let is_meant = |id: &SessionId| ids.contains(id);
    let put = |at: usize| {
        let (meant, mut rest): (Vec<_>, Vec<_>) = row.iter().copied().partition(is_meant);
        let at = at.min(rest.len());
        rest.splice(at..at, meant);
        rest
    };
    match to {
        Move::Top => put(0),
        Move::Bottom => put(usize::MAX),
        Move::To(place) => put(place as usize),
        Move::Up => {
            let mut row = row;
            for at in 1..row.len() {
                if is_meant(&row[at]) && !is_meant(&row[at - 1]) {
                    row.swap(at, at - 1);
                }
            }
            row
        }
        Move::Down => {
            let mut row = row;
            for at in (1..row.len()).rev() {
                if is_meant(&row[at - 1]) && !is_meant(&row[at]) {
                    row.swap(at, at - 1);
                }
            }
            row
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_keeps_everybody_and_the_order_of_the_moved() {
        let ids = |digits: &str| -> Vec<SessionId> {
            let digits = digits.chars().filter_map(|c| c.to_digit(10));
            digits.map(|digit| SessionId::new(digit, 0)).collect()
        };
        #[rustfmt::skip]
        let table = [
            ("01234", "3",  Move::Top,    "30124"), ("01234", "42", Move::Top,    "24013"),
            ("01234", "1",  Move::Bottom, "02341"), ("01234", "12", Move::Up,     "12034"),
            ("01234", "01", Move::Up,     "01234"), ("01234", "12", Move::Down,   "03124"),
            ("01234", "34", Move::Down,   "01234"), ("01234", "0",  Move::To(2),  "12034"),
            ("01234", "0",  Move::To(99), "12340"), ("01234", "",   Move::Top,    "01234"),
        ];
        for (row, which, to, want) in table {
            assert_eq!(
                moved(ids(row), &ids(which), to),
                ids(want),
                "{row} {which} {to:?}"
            );
        }
    }
}
