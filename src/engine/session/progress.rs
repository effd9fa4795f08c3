//! What is remembered of a torrent: flushed first, recorded then.
//!
//! A piece is recorded as ours only after its bytes were flushed. So progress moves in rounds: the files written since the last
//! round are flushed, then the pieces that were complete before the flush are saved, with the sizes and times of the files after it.

use std::collections::BTreeSet;

use crate::codec::bitfield::Bitfield;
use crate::codec::geometry::{BlockRef, PieceIndex};
use crate::codec::layout::{FileIndex, Layout};
use crate::engine::message::{self, Expected, FileStamp, Job, StoreTask};
use crate::engine::settings::SAVE_INTERVAL;
use crate::engine::shared::{Shared, TimerKey};

use super::trackers::Trackers;
use super::writes::Writes;
use super::{Phase, Session, download};

/// What is flushed, saved, and due.
#[derive(Debug)]
pub struct Progress {
    /// Pieces whose bytes are flushed.
    flushed: Bitfield,
    /// Pieces that are ours since the last flush began.
    fresh: Vec<PieceIndex>,
    /// Pieces that the running flush is for, and its files.
    flushing: Option<(Vec<PieceIndex>, Vec<FileIndex>)>,
    /// Files of which a flush failed. Linux forgets what it could not write, and a later flush says nothing about it: so
    /// nothing of such a file is recorded in this run, and the next start hashes all of it.
    doubtful: BTreeSet<FileIndex>,
    /// Files written since the last flush began.
    dirty: BTreeSet<FileIndex>,
    /// Files that we write to: of all others `stamps` tells how they look.
    pub writes: Writes,
    /// Each file as it was after its last flush, or when its pieces were last hashed from disk.
    pub stamps: Vec<Option<FileStamp>>,
    /// Whether the start's check is over. Until then what is known is a part, which a record would pass off as all there is.
    pub judged: bool,
    /// Whether there is something to save.
    pub changed: bool,
    /// Whether a save is on its way.
    saving: bool,
    /// What the store last said when it could not, for a person.
    pub complaint: String,
    /// Whether the store takes what we save.
    pub store_works: bool,
    /// Whether a tracker was told `completed` in an earlier run.
    pub completed_before: bool,
    /// Payload sent in earlier runs.
    pub uploaded_before: u64,
    /// Payload received in earlier runs.
    pub downloaded_before: u64,
    /// Payload sent and received, ever, as it was last saved.
    pub saved: (u64, u64),
}

/// What a session on its way out waits for. Every step waits until no job is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStep {
    /// Writes and checks in flight.
    Jobs,
    /// The last flush.
    Flush,
    /// The last save.
    Save,
    /// The files are closed, the row is let go.
    Release,
}

impl Progress {
    /// Nothing known, nothing due.
    #[must_use]
    pub fn new(piece_count: u32) -> Self {
        Self {
            flushed: Bitfield::new(piece_count as usize),
            fresh: Vec::new(),
            flushing: None,
            doubtful: BTreeSet::new(),
            dirty: BTreeSet::new(),
            writes: Writes::default(),
            stamps: Vec::new(),
            judged: false,
            changed: false,
            saving: false,
            complaint: String::new(),
            store_works: true,
            completed_before: false,
            uploaded_before: 0,
            downloaded_before: 0,
            saved: (0, 0),
        }
    }

    /// `piece` was recorded in an earlier run, and is trusted.
    pub fn known(&mut self, piece: PieceIndex) {
        self.flushed.set(piece.index());
    }

    /// `piece` is ours now, and not flushed.
    pub fn gained(&mut self, layout: &Layout, piece: PieceIndex) {
        self.fresh.push(piece);
        let geometry = &layout.geometry;
        self.touch(
            layout,
            geometry.piece_offset(piece),
            u64::from(geometry.piece_size(piece)),
        );
    }

    /// `block` is being written in place.
    pub fn touched(&mut self, layout: &Layout, block: BlockRef) {
        let geometry = &layout.geometry;
        self.touch(
            layout,
            geometry.block_offset(block),
            u64::from(geometry.block_size(block)),
        );
    }

    /// `piece` is ours no longer.
    pub fn lost(&mut self, piece: PieceIndex) {
        self.flushed.clear(piece.index());
        self.fresh.retain(|fresh| *fresh != piece);
        if let Some((pieces, _)) = &mut self.flushing {
            pieces.retain(|flushing| *flushing != piece);
        }
        self.changed = true;
    }

    /// The pieces that lie in files of which a flush failed, ascending.
    #[must_use]
    pub fn doubtful_pieces(&self, layout: &Layout) -> Vec<PieceIndex> {
        let mut pieces = BTreeSet::new();
        for &file in &self.doubtful {
            let file = &layout.files[file];
            pieces.extend(layout.geometry.pieces_of(file.offset, file.length));
        }
        pieces.into_iter().collect()
    }

    fn touch(&mut self, layout: &Layout, offset: u64, length: u64) {
        for range in layout.ranges(offset, length) {
            if layout.files[range.file].is_regular() {
                self.dirty.insert(range.file);
            }
        }
    }

    /// How the files that hold these bytes must look for the bytes to be ours; nothing of those we write to.
    #[must_use]
    pub fn expected(&self, layout: &Layout, offset: u64, length: u64) -> Vec<Expected> {
        let known = |file: FileIndex| {
            let stamp = self.stamps.get(file).copied().flatten()?;
            let expected = Expected {
                file,
                stamp,
                found: None,
            };
            self.writes.is_quiet(file).then_some(expected)
        };
        layout
            .ranges(offset, length)
            .filter_map(|range| known(range.file))
            .collect()
    }

    /// Whether something can be saved now.
    const fn can_save(&self) -> bool {
        self.changed && self.judged && self.store_works
    }

    /// Whether every byte that is ours is on disk.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.dirty.is_empty()
            && self.fresh.is_empty()
            && self.flushing.is_none()
            && self.doubtful.is_empty()
    }

    /// Whether nothing is being flushed or saved, and nothing waits for it.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.is_flushed() && !self.saving && !self.changed && self.complaint.is_empty()
    }

    /// Whether something waits to be flushed or saved.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.dirty.is_empty() || !self.fresh.is_empty() || self.changed
    }
}

/// Makes sure that what was gained is saved before long.
pub fn arm(shared: &mut Shared, session: &Session) {
    let key = TimerKey::Save(session.id);
    if session.progress.is_due() && shared.timers.deadline(key).is_none() {
        shared.arm(key, SAVE_INTERVAL);
    }
}

/// The next step of a round: a flush, or a save. `false` when there is none to take now.
pub fn advance(shared: &mut Shared, session: &mut Session) -> bool {
    let progress = &mut session.progress;
    if progress.flushing.is_some() || progress.saving {
        return true;
    }
    if !progress.dirty.is_empty() || !progress.fresh.is_empty() {
        let files: Vec<FileIndex> = std::mem::take(&mut progress.dirty).into_iter().collect();
        progress.writes.flush_begun(&files);
        progress.flushing = Some((std::mem::take(&mut progress.fresh), files.clone()));
        session.jobs += 1;
        shared.work(session.id, &session.storage, Job::Sync { files });
        return true;
    }
    if progress.can_save() {
        save(shared, session, Vec::new());
        return true;
    }
    false
}

/// Saves what is flushed, before anything that can hang.
pub fn save_early(shared: &mut Shared, session: &mut Session) {
    if session.progress.can_save() && !session.progress.saving {
        save(shared, session, Vec::new());
    }
}

fn save(shared: &mut Shared, session: &mut Session, partial: Vec<(u32, Vec<u8>)>) {
    session.progress.changed = false;
    session.progress.saving = true;
    let row = record(session, partial);
    session.progress.saved = (row.uploaded, row.downloaded);
    session.jobs += 1;
    shared.store(session.id, StoreTask::Save(Box::new(row)));
}

/// What is flushed, as it is remembered.
#[must_use]
pub fn record(session: &Session, partial: Vec<(u32, Vec<u8>)>) -> message::Progress {
    let progress = &session.progress;
    let layout = &session.storage.layout;
    let (mut have, mut stamps) = (progress.flushed.clone(), progress.stamps.clone());
    for &file in &progress.doubtful {
        stamps[file] = None;
    }
    for piece in progress.doubtful_pieces(layout) {
        have.clear(piece.index());
    }
    message::Progress {
        info_hash: Some(session.metainfo.info_hash),
        root: session.storage.layout.root.clone(),
        have: have.to_wire(),
        partial,
        stamps,
        uploaded: progress.uploaded_before + session.up.total(),
        downloaded: progress.downloaded_before + session.down.total(),
        completed: progress.completed_before
            || session
                .trackers
                .as_ref()
                .is_some_and(Trackers::completed_told),
    }
}

/// What follows from a flush.
#[derive(Debug, Default)]
pub struct Flushed {
    /// What the disk said, if it failed.
    pub fault: Option<message::Fault>,
    /// Files that are not as they were when they were hashed, and that we have not written to: how they look now.
    pub changed: Vec<(FileIndex, FileStamp)>,
}

/// A flush is over: what it was for can be recorded.
pub fn flushed(
    shared: &mut Shared,
    session: &mut Session,
    result: Result<Vec<(FileIndex, FileStamp)>, message::Fault>,
) -> Flushed {
    let progress = &mut session.progress;
    let mut after = Flushed::default();
    let (pieces, files) = progress.flushing.take().unwrap_or_default();
    match result {
        Ok(stamps) => {
            for piece in pieces {
                progress.flushed.set(piece.index());
            }
            for (file, stamp) in stamps {
                let ours = progress.writes.flushed(file);
                let Some(held) = progress.stamps.get_mut(file) else {
                    continue;
                };
                match *held {
                    Some(before) if !ours && before != stamp => after.changed.push((file, stamp)),
                    _ => *held = Some(stamp),
                }
            }
            progress.changed = true;
            if !after.changed.is_empty() {
                // Saved when the caller has doubted what is in them.
                return after;
            }
            // Saved at once, whatever came since: a download that never pauses would otherwise flush for ever and save nothing.
            if !session.is_stopping() {
                save_early(shared, session);
            }
        }
        // Flushed again with the next round: were they left out, the stamps of that round would say that nothing else is there.
        Err(fault) => {
            progress.writes.flush_failed(&files);
            progress.doubtful.extend(files);
            progress.changed = true;
            for piece in pieces {
                progress.gained(&session.storage.layout, piece);
            }
            after.fault = Some(fault);
        }
    }
    after
}

/// A save is over.
pub fn saved(session: &mut Session, result: Result<(), message::StoreFault>) {
    session.progress.saving = false;
    session.progress.complaint.clear();
    if let Err(message::StoreFault::Failed(why)) = result {
        // Tried again with the next round: a store that is full or busy once need not stay so.
        session.progress.changed = true;
        session.progress.complaint = format!("progress is not remembered: {why}");
    }
}

/// Takes the next step out, once nothing is in flight. `true` when the session is gone.
pub fn advance_stop(shared: &mut Shared, session: &mut Session) -> bool {
    loop {
        let Phase::Stopping { step, .. } = &session.phase else {
            return false;
        };
        if session.jobs > 0 {
            return false;
        }
        let next = match step {
            StopStep::Jobs => {
                if !session.progress.dirty.is_empty() || !session.progress.fresh.is_empty() {
                    advance(shared, session);
                }
                StopStep::Flush
            }
            StopStep::Flush => {
                let partial = download::close_in_place(shared, session);
                session.progress.changed |= !partial.is_empty();
                if session.progress.can_save() {
                    save(shared, session, partial);
                }
                StopStep::Save
            }
            StopStep::Save => {
                session.jobs += 2;
                let job = if session.entry.delete {
                    Job::Delete
                } else {
                    Job::Close
                };
                shared.work(session.id, &session.storage, job);
                if let Some(leftover) = session.entry.leftover.take() {
                    session.jobs += 1;
                    shared.work(session.id, &leftover, Job::Delete);
                }
                let root = session.storage.layout.root.clone();
                shared.store(
                    session.id,
                    StoreTask::Release {
                        info_hash: session.info_hash(),
                        root,
                    },
                );
                StopStep::Release
            }
            StopStep::Release => return true,
        };
        if let Phase::Stopping { step, .. } = &mut session.phase {
            *step = next;
        }
    }
}

/// What the session did last, for a report of what was abandoned.
#[must_use]
pub const fn step_name(step: StopStep) -> &'static str {
    match step {
        StopStep::Jobs => "writing",
        StopStep::Flush => "flushing",
        StopStep::Save => "saving progress",
        StopStep::Release => "closing files",
    }
}
