//! One torrent at work: what it has, what it fetches, whom it serves, and what it remembers.
//!
//! ```text
//! Loading ─▶ Preparing ─▶ Checking ─▶ Trading (downloading, then seeding) ◀─▶ Paused
//!                │            │            │  ▲
//!                └────────────┴──── disk ──▼  │ the disk is better
//!                                        Failed
//!            any ── removed, or the engine ends ──▶ Stopping ─▶ gone
//! ```

pub mod assembly;
pub mod blame;
pub mod choker;
pub mod counts;
pub mod download;
pub mod picker;
pub mod progress;
pub mod receive;
pub mod start;
pub mod trackers;
pub mod upload;
pub mod writes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::buffer::Block;
use crate::codec::bitfield::Bitfield;
use crate::codec::geometry::{BlockRef, Geometry, PieceIndex};
use crate::codec::metainfo::Metainfo;
use crate::events::{self, Event};
use crate::ids::{InfoHash, JobId, ReplyId, SessionId, StreamId, SwarmId};
use crate::time::Instant;

use super::library::relocate::Moving;
use super::library::{Brief, Entry};
use super::message::{Fault, Job, SessionState, Storage};
use super::pex::PexLog;
use super::rate::Rate;
use super::shared::Shared;
use assembly::{Assembly, Sender};
use blame::Blame;
use choker::Choker;
use picker::{Picker, Priority};
use progress::Progress;
use start::Check;
use trackers::Trackers;

/// One torrent at work.
#[derive(Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The swarm it trades in.
    pub swarm: SwarmId,
    /// What it is.
    pub metainfo: Arc<Metainfo>,
    /// Where it is, as workers see it.
    pub storage: Arc<Storage>,
    /// Where it stands.
    pub phase: Phase,
    /// Whether what is missing is fetched.
    pub download: bool,
    /// Its name, as callers see it.
    pub name: Arc<str>,
    /// Whether a person wants it to rest; before it trades, that takes effect when it would.
    pub paused: bool,
    /// Hash everything, whatever the store says.
    pub recheck: bool,
    /// What is had, wanted and being fetched.
    pub picker: Picker,
    /// Pieces being put together.
    pub assembly: Assembly,
    /// Whole pieces that wait to be hashed together.
    pub whole: Vec<WholePiece>,
    /// Pieces being hashed and written, with who sent them.
    pub committing: BTreeMap<JobId, Vec<Committing>>,
    /// Blocks of pieces in place that wait to be written together.
    pub loose: Vec<(BlockRef, Block)>,
    /// Pieces in place whose hash is being checked.
    pub proving: BTreeMap<JobId, PieceIndex>,
    /// Who sent what in pieces that were wrong.
    pub blame: Blame,
    /// Whom we let ask.
    pub choker: Choker,
    /// Who tells us of peers.
    pub trackers: Option<Trackers>,
    /// What is flushed, saved, and due.
    pub progress: Progress,
    /// Jobs of workers and store that are not back.
    pub jobs: usize,
    /// Blocks just stored that other streams owe too: they are relieved of them.
    pub relieved: Vec<(BlockRef, StreamId)>,
    /// Payload received.
    pub down: Rate,
    /// Payload sent.
    pub up: Rate,
    /// Payload received that was wrong or not needed.
    pub wasted: u64,
    /// Whether what follows from everything being there was done.
    pub completed: bool,
    /// Whether `session.completed` was told, in this run or an earlier one.
    pub completed_told: bool,
    /// Whether a piece was fetched since: completing once more is news then.
    pub fetched: bool,
    /// The file system that holds its directory, once it was looked at.
    pub device: Option<u64>,
    /// What a person should know, until it is better.
    pub notice: String,
    /// Totals when rates were last told.
    pub told: (u64, u64, u32, u32),
    /// What is remembered of it beside its progress.
    pub entry: Entry,
    /// What a list shows of it.
    pub brief: Arc<Brief>,
    /// Who came to its swarm and who went, for its peers.
    pub pex: PexLog,
    /// Whether it was parked and has not found anything amiss: it is shown as it was.
    pub waking: bool,
    /// Whether its files are being closed, to park it.
    pub parking: bool,
}

/// Where a session stands; the picture is in the module's doc.
#[derive(Debug)]
pub enum Phase {
    /// The store is asked what is known.
    Loading,
    /// The files are looked at.
    Preparing {
        /// What the store knew.
        known: Option<Box<super::message::Progress>>,
    },
    /// Pieces are hashed from disk.
    Checking(Check),
    /// Fetches what is missing, or serves what is there.
    Trading,
    /// Its files are on their way to another place.
    Moving(Box<Moving>),
    /// At rest: by a person's will (`paused`), or until its turn comes.
    Paused,
    /// The disk, the store or a file is in the way; tried again by itself where that can help.
    Failed {
        /// What to do about it.
        fault: Fault,
        /// How it goes on when that is done.
        then: Then,
    },
    /// On its way out.
    Stopping {
        /// Who waits for it.
        reply: Option<ReplyId>,
        /// What is being waited for.
        step: progress::StopStep,
    },
}

/// Where a session goes on that the disk, the store or a file had stopped.
#[derive(Debug)]
pub enum Then {
    /// It asks the store.
    Load,
    /// It looks at the files.
    Prepare(Option<Box<super::message::Progress>>),
    /// It hashes what is left.
    Check(Check),
    /// It brings its files back to where they were.
    Move(Box<Moving>),
    /// It trades.
    Trade,
}

/// A piece whose blocks are all there, in memory.
#[derive(Debug)]
pub struct WholePiece {
    /// Which.
    pub piece: PieceIndex,
    /// Its blocks, in order.
    pub blocks: Vec<Block>,
    /// Who sent each.
    pub senders: Vec<Option<Sender>>,
}

/// A piece that a worker hashes and writes.
#[derive(Debug)]
pub struct Committing {
    /// Which.
    pub piece: PieceIndex,
    /// Who sent each block.
    pub senders: Vec<Option<Sender>>,
}

impl Session {
    /// The cut.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.metainfo.geometry
    }

    /// Which torrent.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        self.metainfo.info_hash
    }

    /// Whether it may have peers.
    #[must_use]
    pub const fn is_trading(&self) -> bool {
        matches!(self.phase, Phase::Trading)
    }

    /// Whether it is on its way out.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// Whether it fetches: it trades, and something wanted is missing.
    #[must_use]
    pub fn is_downloading(&self) -> bool {
        self.is_trading() && self.download && !self.has_all_wanted()
    }

    /// Whether everything wanted is there, verified and written.
    #[must_use]
    pub fn has_all_wanted(&self) -> bool {
        self.picker.missing() == 0
    }

    /// Whether every piece is there.
    #[must_use]
    pub fn has_everything(&self) -> bool {
        self.picker.have().is_full()
    }

    /// Gives the pieces the marks of their files: only pieces that hold bytes of wanted files are wanted, and a piece of
    /// several is wanted as soon as the first of them. No mark means that all are wanted, all alike.
    pub fn mark_files(&mut self) {
        let Entry {
            wanted, priorities, ..
        } = &self.entry;
        let geometry = self.metainfo.geometry;
        let picker = &mut self.picker;
        let files = || self.metainfo.files.iter().enumerate();
        let is_wanted = |file: usize| wanted.get(file).copied().unwrap_or(true);
        if !wanted.is_empty() {
            let mut marks = Bitfield::new(geometry.piece_count() as usize);
            for (_, file) in files().filter(|(index, _)| is_wanted(*index)) {
                for piece in geometry.pieces_of(file.offset, file.length) {
                    marks.set(piece.index());
                }
            }
            for piece in geometry.pieces() {
                picker.set_wanted(piece, marks.get(piece.index()));
            }
        }
        if !priorities.is_empty() {
            let mut soonest: Vec<Option<Priority>> = vec![None; geometry.piece_count() as usize];
            for (index, file) in files().filter(|(index, _)| is_wanted(*index)) {
                let priority = priorities.get(index).copied().unwrap_or_default();
                for piece in geometry.pieces_of(file.offset, file.length) {
                    let soonest = &mut soonest[piece.index()];
                    *soonest = (*soonest).max(Some(priority));
                }
            }
            for (piece, priority) in geometry.pieces().zip(soonest) {
                picker.set_priority(piece, priority.unwrap_or_default());
            }
        }
    }

    /// As callers see it.
    #[must_use]
    pub fn state(&self) -> SessionState {
        match self.phase {
            Phase::Loading | Phase::Preparing { .. } if self.waking => SessionState::Parked,
            Phase::Checking(ref check) if self.waking && check.pieces.is_empty() => {
                SessionState::Parked
            }
            Phase::Loading | Phase::Preparing { .. } | Phase::Checking(_) | Phase::Moving(_) => {
                SessionState::Checking
            }
            Phase::Trading if self.is_downloading() => SessionState::Downloading,
            Phase::Trading => SessionState::Seeding,
            // Nobody wants it to rest, so it waits for its turn.
            Phase::Paused if !self.paused => SessionState::Queued,
            Phase::Paused if self.entry.stopped => SessionState::Stopped,
            Phase::Paused => SessionState::Paused,
            Phase::Failed { .. } => SessionState::Error,
            Phase::Stopping { .. } => SessionState::Leaving,
        }
    }

    /// A job of a session on its way out was not done: its buffers are free again.
    pub fn cancelled(&mut self, shared: &mut Shared, id: JobId, job: Job) {
        match job {
            Job::Check { .. } => {
                // A piece in place stays as it is, to be hashed at the next start.
                self.proving.remove(&id);
            }
            Job::Read(run) => upload::give_back(shared, run),
            Job::Prepare { .. }
            | Job::Commit { .. }
            | Job::Write { .. }
            | Job::Sync { .. }
            | Job::Close
            | Job::Relocate(_)
            | Job::Survey(_)
            | Job::Blocks(_)
            | Job::Delete => debug_assert!(
                matches!(job, Job::Prepare { .. }),
                "a job that writes is always done"
            ),
        }
    }

    /// Wanted bytes, and how many of them are there.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let geometry = self.geometry();
        let full = u64::from(geometry.piece_length());
        let short = geometry
            .pieces()
            .next_back()
            .map_or(0, |last| full - u64::from(geometry.piece_size(last)));
        let last = (geometry.piece_count() as usize).wrapping_sub(1);
        let (have, wanted) = (self.picker.have(), self.picker.wanted());
        let bytes =
            |count: usize, with_last: bool| count as u64 * full - if with_last { short } else { 0 };
        let is_in = |bits: &Bitfield| last < bits.len() && bits.get(last);
        let there = wanted.count() - self.picker.missing();
        (
            bytes(wanted.count(), is_in(wanted)),
            bytes(there, is_in(wanted) && is_in(have)),
        )
    }

    /// Moves it to another phase and tells what changed.
    pub fn enter(&mut self, shared: &mut Shared, phase: Phase, cause: &'static str) {
        let previous = self.state();
        let was_failed = matches!(self.phase, Phase::Failed { .. });
        self.phase = phase;
        if self.state() != previous {
            self.entry.leave(previous, shared.now);
        }
        if self.is_trading() {
            self.entry.stalled = false;
        }
        shared.queue.note(self);
        let mut event = self.event(previous, cause);
        match &self.phase {
            Phase::Loading | Phase::Preparing { .. } | Phase::Checking(_) | Phase::Moving(_)
                if !self.waking && previous != SessionState::Checking =>
            {
                shared.event(Event::SessionStarted(event));
            }
            Phase::Trading
                if was_failed
                    || matches!(
                        previous,
                        SessionState::Paused | SessionState::Stopped | SessionState::Queued
                    ) =>
            {
                shared.event(Event::SessionResumed(event));
            }
            Phase::Paused if self.state() == SessionState::Stopped => {
                shared.event(Event::SessionStopped(event));
            }
            Phase::Paused => shared.event(Event::SessionPaused(event)),
            Phase::Failed { fault, .. } => {
                event.message = fault.message.clone();
                event.error_code = code_of(fault.kind);
                event.file = fault.path.display().to_string();
                shared.event(Event::StorageError(event.clone()));
                shared.event(Event::SessionError(event));
            }
            // That a person had stopped it was told.
            Phase::Stopping { .. }
                if !matches!(previous, SessionState::Leaving | SessionState::Stopped) =>
            {
                shared.event(Event::SessionStopped(event));
            }
            _ => {}
        }
    }

    /// At rest all along, it has turned from stopped into queued, or back.
    pub fn waited(&mut self, shared: &mut Shared, previous: SessionState, cause: &'static str) {
        self.entry.leave(previous, shared.now);
        shared.queue.note(self);
        let event = self.event(previous, cause);
        shared.event(match self.state() {
            SessionState::Stopped => Event::SessionStopped(event),
            _ => Event::SessionPaused(event),
        });
    }

    /// A `session.*` event of how it stands now.
    #[must_use]
    pub fn event(&self, previous: SessionState, cause: &'static str) -> events::Session {
        events::Session {
            info_hash: self.info_hash(),
            state: self.state().name(),
            previous_state: previous.name(),
            cause,
            message: String::new(),
            error_code: "",
            file: String::new(),
        }
    }

    /// A `piece.*` event.
    #[must_use]
    pub fn piece_event(&self, piece: PieceIndex, contributors: Vec<SocketAddr>) -> events::Piece {
        events::Piece {
            info_hash: self.info_hash(),
            piece_index: piece.get(),
            piece_size: self.geometry().piece_size(piece),
            pieces_complete: u32::try_from(self.picker.have().count()).unwrap_or(u32::MAX),
            total_pieces: self.geometry().piece_count(),
            contributors,
        }
    }

    /// Payload rates now: from peers, to peers.
    #[must_use]
    pub fn rates(&self, now: Instant) -> (u64, u64) {
        (self.down.per_second(now), self.up.per_second(now))
    }
}

/// The short word of a fault.
const fn code_of(kind: super::message::FaultKind) -> &'static str {
    use super::message::FaultKind;
    match kind {
        FaultKind::Full => "disk_full",
        FaultKind::Denied => "denied",
        FaultKind::InTheWay => "in_the_way",
        FaultKind::Gone => "gone",
        FaultKind::Changed => "changed",
        FaultKind::NoResources => "no_resources",
        FaultKind::Failed => "disk_failed",
    }
}
