//! Torrents that move: to another directory, or to other names.
//!
//! The store knows where a torrent is going before the first file goes, and that it has come there in the same transaction in
//! which its progress gets the new directory. So whatever happens in between, the next start finds the intent and carries on.
//!
//! ```text
//!  asked ── row with the intent ──▶ waiting ── nothing in flight, all saved ──▶ look ──▶ carry ──▶ row with the new place
//!                                                                                │         │ in the way      │
//!                                                                                ▼         ▼                 ▼
//!                                                                  as it was, and says why ◀── back    looked at, trades
//! ```
//!
//! What is known of the files goes along: a rename keeps their size and time, a copy is given them, so nothing is hashed again
//! that was not touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::geometry::Geometry;
use crate::codec::layout::{FileEntry, Layout};
use crate::codec::metainfo::Metainfo;
use crate::engine::Engine;
use crate::engine::message::{
    Answer, Fault, Job, Progress, Refusal, RelocateTask, Relocation, Storage, StoreTask,
};
use crate::engine::session::{Phase, Session, Then, download, progress, start};
use crate::engine::settings::DISK_RETRY;
use crate::engine::shared::{Shared, TimerKey};
use crate::events::Event;
use crate::ids::SessionId;

use super::brief::Brief;
use super::change::Change;
use super::entry::{Destination, Rename, Whereabouts};
use super::parked::Parked;
use super::rename::{all_renamed, renamed};

/// New names that one torrent remembers; beyond them a rename is refused.
const RENAMES_MAX: usize = 1024;

/// How far a move is.
#[derive(Debug, Default)]
pub struct Moving {
    /// Something of the session is still in flight.
    waiting: bool,
    /// What is known of the files.
    known: Option<Box<Progress>>,
    /// Whether some file was changed by another program, so that nothing known is worth anything.
    doubtful: bool,
    /// Bytes of all files, and of those that are there.
    total: u64,
    there: u64,
    /// What was in the way, when the files are on their way back.
    fault: Option<Fault>,
    /// What could not be brought back, and is tried again.
    stuck: Option<Box<Relocation>>,
}

impl Moving {
    /// How far it is, in pieces: there, and all.
    #[must_use]
    pub fn pieces(&self, geometry: &Geometry) -> (usize, usize) {
        let all = geometry.piece_count() as usize;
        let part = u128::from(self.there) * all as u128 / u128::from(self.total.max(1));
        (usize::try_from(part).unwrap_or(all).min(all), all)
    }

    /// Nothing that is known of the files is to be trusted.
    pub fn doubt(&mut self) {
        self.doubtful = true;
    }
}

/// Whether files are to be moved.
#[must_use]
pub(in crate::engine) fn is_moving(whereabouts: &Option<Arc<Whereabouts>>) -> bool {
    whereabouts
        .as_ref()
        .is_some_and(|whereabouts| whereabouts.moving.is_some())
}

/// Of a torrent that is moved to `then` when it is complete.
#[must_use]
pub(in crate::engine) fn bound_for(then: Option<PathBuf>) -> Option<Arc<Whereabouts>> {
    then.map(|then| {
        Arc::new(Whereabouts {
            then: Some(then),
            ..Whereabouts::default()
        })
    })
}

/// A session that the store remembers: its files have the names that it says.
pub(in crate::engine) fn take_on(session: &mut Session) {
    let renames = renames(session);
    if renames.is_empty() {
        return;
    }
    match all_renamed(&session.metainfo.files, &renames) {
        Ok(files) => {
            let layout = Layout {
                files,
                ..session.storage.layout.clone()
            };
            session.storage = storage_of(session, layout);
        }
        Err(_) => log::error!(
            "torrent {}: its new names make no sense",
            session.info_hash()
        ),
    }
}

/// The files of a torrent that rests, as they are called now.
pub(super) fn storage_at_rest(parked: &Parked, metainfo: &Metainfo) -> Arc<Storage> {
    let whereabouts = parked.entry.whereabouts.as_deref();
    let renames = whereabouts.map_or(&[][..], |whereabouts| &whereabouts.renames);
    let files = all_renamed(&metainfo.files, renames).unwrap_or_else(|_| metainfo.files.clone());
    Arc::new(Storage {
        info_hash: metainfo.info_hash,
        layout: Layout {
            root: parked.brief.root.clone(),
            files,
            geometry: metainfo.geometry,
        },
        piece_hashes: Arc::clone(&metainfo.piece_hashes),
    })
}

/// Moves the files, and looks at them then.
pub(in crate::engine) fn begin(
    shared: &mut Shared,
    session: &mut Session,
    known: Option<Box<Progress>>,
) {
    let Some((to, carry)) = target(session) else {
        session.entry.move_ready = false;
        return start::prepare(shared, session, known);
    };
    let stamps = known.as_ref().map(|known| known.stamps.clone());
    let files = session.storage.layout.files.iter();
    let total = files
        .filter(|file| file.is_regular())
        .map(|file| file.length);
    let moving = Moving {
        total: total.sum(),
        known,
        ..Moving::default()
    };
    let relocation = Relocation {
        to,
        stamps: stamps.unwrap_or_default().into(),
        task: if carry {
            RelocateTask::Look
        } else {
            RelocateTask::Leave
        },
        resumed: session.entry.move_resumed,
        next: 0,
        copied: 0,
        bytes: 0,
        carried: Vec::new(),
    };
    go(shared, session, Box::new(relocation));
    session.enter(shared, Phase::Moving(Box::new(moving)), "user");
}

/// Tries again to bring the files back.
pub(in crate::engine) fn go_back(
    shared: &mut Shared,
    session: &mut Session,
    mut moving: Box<Moving>,
) {
    if let Some(relocation) = moving.stuck.take() {
        go(shared, session, relocation);
    }
    session.enter(shared, Phase::Moving(moving), "error");
}

fn go(shared: &mut Shared, session: &mut Session, relocation: Box<Relocation>) {
    session.jobs += 1;
    shared.work(session.id, &session.storage, Job::Relocate(relocation));
}

impl Engine {
    /// Whether a change can be made; told before anything changes.
    pub(super) fn may_change(&self, id: SessionId, change: &Change) -> Result<(), Refusal> {
        if let Change::Trackers(change) = change {
            return self.changed_trackers(id, change).map(|_| ());
        }
        let is_out = |count: usize| {
            let Change::Files(marks) = change else {
                return false;
            };
            marks
                .iter()
                .any(|(files, _)| files.iter().any(|file| *file >= count))
        };
        let is_magnet = |parked: &Parked| parked.brief.magnet.is_some();
        let Some(session) = self.sessions.get(id) else {
            // Of one that rests everything else is looked at when it is awake.
            let parked = self.sessions.parked(id);
            return match change {
                Change::Rename(_) | Change::Location { .. } if parked.is_some_and(is_magnet) => {
                    Err(Refusal::NotKnown)
                }
                // Of any other that rests the count is not known here; what is out of range there is passed over.
                Change::Files(_) if parked.is_some_and(is_magnet) && is_out(0) => {
                    Err(Refusal::UnknownFile)
                }
                _ => Ok(()),
            };
        };
        match change {
            Change::Files(_) if is_out(session.metainfo.files.len()) => Err(Refusal::UnknownFile),
            Change::Location { .. } if is_moving(&session.entry.whereabouts) => {
                Err(Refusal::Moving)
            }
            Change::Rename(_) if is_moving(&session.entry.whereabouts) => Err(Refusal::Moving),
            Change::Rename(_) if renames(session).len() >= RENAMES_MAX => Err(Refusal::Full),
            Change::Rename(rename) => renamed(&session.storage.layout.files, rename).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Another directory. The caller's answer comes with the row that says so.
    pub(super) fn locate(&mut self, id: SessionId, root: &Path, carry: bool, pending: u64) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let to = Destination {
            root: root.to_owned(),
            renames: renames(session),
            carry,
        };
        if carry && session.storage.layout.root == root {
            change_whereabouts(session, |whereabouts| whereabouts.then = None);
            return self.keep(id, None, Some(pending));
        }
        self.intend(id, to, Some(pending), false);
    }

    /// Another name. The caller's answer comes when the file has it.
    pub(super) fn rename(&mut self, id: SessionId, rename: &Rename, pending: u64) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if rename
            .path
            .file_name()
            .is_some_and(|name| *name == *rename.name)
        {
            return;
        }
        let mut renames = renames(session);
        renames.push(rename.clone());
        let to = Destination {
            root: session.storage.layout.root.clone(),
            renames,
            carry: true,
        };
        self.intend(id, to, Some(pending), true);
    }

    /// All that is wanted is there: it goes where it is to be then. Where it could not, a person starts it again.
    pub(super) fn move_complete(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        if !session.entry.move_failed.is_empty() || !session.has_all_wanted() {
            return;
        }
        let whereabouts = session.entry.whereabouts.as_deref();
        let Some(root) = whereabouts.and_then(|whereabouts| whereabouts.then.clone()) else {
            return;
        };
        if whereabouts.is_some_and(|whereabouts| whereabouts.moving.is_none()) {
            let to = Destination {
                root,
                renames: renames(session),
                carry: true,
            };
            self.intend(id, to, None, false);
        }
    }

    /// Writes down where the files are going. They go when that is on disk, and nothing of the session in flight.
    fn intend(&mut self, id: SessionId, to: Destination, pending: Option<u64>, hold: bool) {
        let Some(session) = (self.sessions.get_mut(id)).filter(|one| one.entry.is_visible()) else {
            return;
        };
        let renaming = to.root == session.storage.layout.root;
        change_whereabouts(session, |whereabouts| {
            // A person's word stands for it; otherwise it holds until they are there.
            if !renaming && whereabouts.then.as_ref() != Some(&to.root) {
                whereabouts.then = None;
            }
            whereabouts.moving = Some(to);
        });
        session.entry.move_failed = Arc::default();
        session.entry.move_ready = false;
        session.entry.move_resumed = false;
        session.jobs += 1;
        let Some(row) = self
            .sessions
            .get(id)
            .map(|session| self.row_of_session(session))
        else {
            return;
        };
        self.shared.store(id, StoreTask::Keep(Box::new(row)));
        if hold && let Some(at) = pending {
            self.hold(at);
            if let Some(session) = self.sessions.get_mut(id) {
                session.entry.move_reply = pending;
            }
        }
        if pending.is_some() {
            self.keep(id, None, pending);
        }
    }

    /// The store has the intent, or has failed.
    pub(in crate::engine) fn on_move_kept(&mut self, id: SessionId, kept: bool) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if !kept {
            change_whereabouts(session, |whereabouts| whereabouts.moving = None);
            return self.release(id, false);
        }
        session.entry.move_ready = is_moving(&session.entry.whereabouts);
        match &session.phase {
            Phase::Trading | Phase::Paused => {
                self.move_now(id);
            }
            // What stopped it may have been the very place it leaves.
            Phase::Failed { .. } => self.go_on(id),
            // It goes when it is known what there is.
            _ => {}
        }
    }

    /// Stops trading and moves, if it is to move.
    pub(in crate::engine) fn move_now(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        if !session.entry.move_ready {
            return false;
        }
        if session.is_trading() {
            download::flush(&mut self.shared, session);
        }
        // What was to be hashed was hashed.
        session.recheck = false;
        let moving = Moving {
            waiting: true,
            ..Moving::default()
        };
        session.enter(&mut self.shared, Phase::Moving(Box::new(moving)), "user");
        let swarm = session.swarm;
        self.quiet(id, swarm);
        self.begin_move(id);
        true
    }

    /// Begins the move that was waiting, once nothing is in flight and what there is was saved.
    pub(in crate::engine) fn begin_move(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Phase::Moving(moving) = &session.phase else {
            return;
        };
        if !moving.waiting || session.jobs > 0 {
            return;
        }
        let doubtful = moving.doubtful;
        // A store that fails is no reason to stay: the next start hashes what it does not know.
        let saves = session.progress.complaint.is_empty();
        if saves && progress::advance(&mut self.shared, session) {
            return;
        }
        let mut known = progress::record(session, Vec::new());
        // What this run has moved is counted beside.
        known.uploaded = session.progress.uploaded_before;
        known.downloaded = session.progress.downloaded_before;
        known.completed = session.progress.completed_before;
        if doubtful {
            known.stamps.clear();
        }
        session.progress.judged = false;
        begin(&mut self.shared, session, Some(Box::new(known)));
    }

    /// A part of a move is over.
    pub(in crate::engine) fn on_relocated(
        &mut self,
        id: SessionId,
        mut relocation: Box<Relocation>,
        result: Result<bool, Fault>,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.is_stopping() {
            if session.entry.removed {
                session.entry.leftover = leftover(session, &relocation);
            }
            return;
        }
        let Phase::Moving(moving) = &mut session.phase else {
            return;
        };
        moving.there = relocation.bytes + relocation.copied;
        match (relocation.task, result) {
            (RelocateTask::Look, Ok(_)) => relocation.task = RelocateTask::Carry,
            (RelocateTask::Carry | RelocateTask::Back, Ok(false)) => {}
            (RelocateTask::Leave | RelocateTask::Carry, Ok(_)) => {
                return self.moved(id, relocation.to);
            }
            (RelocateTask::Back, Ok(true)) => {
                let fault = moving.fault.take();
                return self.give_up(id, fault);
            }
            (RelocateTask::Back, Err(fault)) => {
                // They are in two places, and each is whole: tried until they are in one.
                let mut moving = std::mem::take(moving);
                moving.stuck = Some(relocation);
                let then = Then::Move(moving);
                log::warn!("torrent {}: {}", session.info_hash(), fault.message);
                session.enter(&mut self.shared, Phase::Failed { fault, then }, "error");
                return self.shared.arm(TimerKey::DiskRetry(id), DISK_RETRY);
            }
            (_, Err(fault)) => {
                moving.fault = Some(fault);
                relocation.task = RelocateTask::Back;
                relocation.copied = 0;
            }
        }
        go(&mut self.shared, session, relocation);
    }

    /// The files are there.
    fn moved(&mut self, id: SessionId, to: Arc<Storage>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Phase::Moving(moving) = &mut session.phase else {
            return;
        };
        let mut known = moving.known.take();
        let carried = target(session).is_none_or(|(_, carry)| carry);
        if !carried {
            // Of other files than those that it knows of.
            if let Some(known) = &mut known {
                (known.have, known.stamps) = (Vec::new(), Vec::new());
                known.partial.clear();
                let mut row = known.clone();
                row.uploaded += session.up.total();
                row.downloaded += session.down.total();
                session.jobs += 1;
                self.shared.store(id, StoreTask::Save(row));
            }
        }
        if let Some(known) = &mut known {
            known.root.clone_from(&to.layout.root);
        }
        session.storage = to;
        session.brief = Arc::new(brief_of(session));
        change_whereabouts(session, |whereabouts| {
            if let Some(to) = whereabouts.moving.take() {
                whereabouts.then.take_if(|then| *then == to.root);
                whereabouts.renames = to.renames;
            }
        });
        let place = session.storage.layout.root.display();
        log::info!("torrent {}: its files are in {place}", session.info_hash());
        self.settle_move(id, known);
        self.release(id, true);
    }

    /// The files are where they were.
    fn give_up(&mut self, id: SessionId, fault: Option<Fault>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let known = match &mut session.phase {
            Phase::Moving(moving) => moving.known.take(),
            _ => None,
        };
        change_whereabouts(session, |whereabouts| whereabouts.moving = None);
        if let Some(fault) = fault {
            log::warn!(
                "torrent {}: not moved: {}",
                session.info_hash(),
                fault.message
            );
            session.entry.move_failed = format!("not moved: {}", fault.message).into();
            let mut event = session.event(session.state(), "error");
            event.message = fault.message;
            event.file = fault.path.display().to_string();
            self.shared.event(Event::StorageError(event));
        }
        self.settle_move(id, known);
        self.release(id, false);
    }

    /// Remembers how it went, and looks at the files.
    fn settle_move(&mut self, id: SessionId, known: Option<Box<Progress>>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.entry.move_ready = false;
            session.entry.move_resumed = false;
        }
        self.keep(id, None, None);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.completed = false;
        for piece in session.geometry().pieces() {
            if session.picker.have().get(piece.index()) {
                session.picker.lost(piece);
                session.progress.lost(piece);
            }
        }
        start::prepare(&mut self.shared, session, known);
    }

    /// Answers whoever waits for the move itself.
    pub(super) fn release(&mut self, id: SessionId, well: bool) {
        let session = self.sessions.get_mut(id);
        let Some(at) = session.and_then(|session| session.entry.move_reply.take()) else {
            return;
        };
        if let Some(pending) = self.library.pending.get_mut(&at) {
            pending.rows -= 1;
            if !well {
                pending.answer = Answer::Refused(Refusal::NotMoved);
            }
        }
        self.settle(at);
    }
}

/// What a list shows of a session, whose files may have other names than their torrent file says.
pub(in crate::engine) fn brief_of(session: &Session) -> Brief {
    let layout = &session.storage.layout;
    let first = layout.files.first();
    let name = first.and_then(|file| file.path.components().next());
    let name = name.map(|name| name.as_os_str().to_string_lossy());
    Brief {
        root: layout.root.clone(),
        name: name.map_or_else(|| session.brief.name.clone(), |name| name.as_ref().into()),
        ..Brief::clone(&session.brief)
    }
}

/// The new names of a session's files.
fn renames(session: &Session) -> Vec<Rename> {
    let whereabouts = session.entry.whereabouts.as_deref();
    whereabouts.map_or_else(Vec::new, |whereabouts| whereabouts.renames.clone())
}

fn change_whereabouts(session: &mut Session, change: impl FnOnce(&mut Whereabouts)) {
    let mut whereabouts = session
        .entry
        .whereabouts
        .as_deref()
        .cloned()
        .unwrap_or_default();
    change(&mut whereabouts);
    let is_plain = whereabouts == Whereabouts::default();
    session.entry.whereabouts = (!is_plain).then(|| Arc::new(whereabouts));
    session.entry.changed = true;
}

/// Where a session's files are to go, and whether they are carried there.
fn target(session: &Session) -> Option<(Arc<Storage>, bool)> {
    let whereabouts = session.entry.whereabouts.as_deref();
    let to = whereabouts.and_then(|whereabouts| whereabouts.moving.as_ref())?;
    let files = all_renamed(&session.metainfo.files, &to.renames).ok()?;
    let layout = Layout {
        root: to.root.clone(),
        files,
        geometry: session.storage.layout.geometry,
    };
    Some((storage_of(session, layout), to.carry))
}

fn storage_of(session: &Session, layout: Layout) -> Arc<Storage> {
    Arc::new(Storage {
        info_hash: session.info_hash(),
        layout,
        piece_hashes: Arc::clone(&session.storage.piece_hashes),
    })
}

/// What goes from the other place when the torrent does: what was being copied, and with its files all that is there.
fn leftover(session: &Session, relocation: &Relocation) -> Option<Arc<Storage>> {
    let to = &relocation.to.layout;
    let all = |file: &usize| to.files.get(*file).cloned();
    let mut files: Vec<FileEntry> = match session.entry.delete {
        true => relocation.carried.iter().filter_map(all).collect(),
        false => Vec::new(),
    };
    if let Some(mut part) = to.files.get(relocation.next).cloned() {
        part.path = Relocation::part_of(&part.path, session.info_hash(), relocation.next);
        files.push(part);
    }
    let layout = Layout {
        files,
        ..to.clone()
    };
    Some(storage_of(session, layout))
}
