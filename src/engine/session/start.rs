//! From a torrent file to a session that trades: what the store knows, what the files look like, what must be hashed.
//!
//! A recorded piece is trusted only while every file it lies in has the size and time that were recorded with it. Pieces of a
//! changed file are hashed again, recorded or not; pieces of a missing file are gone. Without a record, whatever is on disk is
//! hashed. So a file that was changed or deleted meanwhile is never served, and nothing that is there is fetched again.

use std::sync::Arc;

use crate::codec::bitfield::Bitfield;
use crate::codec::geometry::PieceIndex;
use crate::codec::layout::FileEntry;
use crate::codec::shown::shown;
use crate::engine::library::relocate;
use crate::engine::message::{
    Checked, Fault, FaultKind, FileStamp, Job, Prepared, Progress, Space, StoreFault, StoreTask,
    Verdict,
};
use crate::engine::settings::CHECK_JOB_BYTES;
use crate::engine::shared::Shared;

use super::{Phase, Session, Then};

/// Pieces being hashed from disk.
#[derive(Debug, Default)]
pub struct Check {
    /// All that are to be hashed, ascending, and then those that could not be read at first.
    pub pieces: Vec<PieceIndex>,
    /// How many of them were given out.
    next: usize,
    /// Jobs that are not back.
    running: usize,
    /// How many pieces were judged.
    pub done: usize,
}

impl Check {
    /// None of these is judged yet.
    #[must_use]
    pub fn of(pieces: Vec<PieceIndex>) -> Self {
        Self {
            pieces,
            ..Self::default()
        }
    }
}

/// Asks the store what is known.
pub fn load(shared: &mut Shared, session: &mut Session) {
    session.jobs += 1;
    let root = session.storage.layout.root.clone();
    shared.store(
        session.id,
        StoreTask::Load {
            info_hash: session.info_hash(),
            root,
        },
    );
    session.enter(shared, Phase::Loading, "user");
}

/// The store has answered: looks at the files next. A fault means that the session cannot begin.
pub fn loaded(
    shared: &mut Shared,
    session: &mut Session,
    result: Result<Option<Box<Progress>>, StoreFault>,
) -> Result<(), Fault> {
    let known = match result {
        Ok(known) => known,
        Err(StoreFault::Busy { pid }) => {
            let root = &session.storage.layout.root;
            let message = format!(
                "another linnet (pid {pid}) has this torrent in {}; stop it or choose another directory",
                root.display()
            );
            return Err(Fault {
                kind: FaultKind::InTheWay,
                path: root.clone(),
                message,
            });
        }
        Err(StoreFault::Failed(why)) => {
            // Trading works without a record; only the next start will have to hash what is there.
            session.progress.complaint = format!("progress will not be remembered: {why}");
            session.progress.store_works = false;
            None
        }
    };
    prepare(shared, session, known);
    Ok(())
}

/// Looks at the files, making what is to be made.
///
/// Where they are to be moved, and the store has that, they are moved first.
pub fn prepare(shared: &mut Shared, session: &mut Session, known: Option<Box<Progress>>) {
    if session.entry.move_ready {
        return relocate::begin(shared, session, known);
    }
    session.jobs += 1;
    // Of a torrent that is remembered more may be wanted later, without its files being looked at anew.
    let wanted = if session.entry.is_visible() {
        Arc::default()
    } else {
        Arc::clone(&session.entry.wanted)
    };
    shared.work(
        session.id,
        &session.storage,
        Job::Prepare {
            create: session.download,
            wanted,
        },
    );
    session.enter(shared, Phase::Preparing { known }, "user");
}

/// The files were looked at: decides what is trusted, what is hashed, and begins. `promised` bytes of what is free are for
/// other sessions.
///
/// # Errors
/// There is no room for what is missing; to be prepared once more when there may be. As long as something is to be hashed,
/// nobody knows how much is missing, and a disk that is too small is found out by writing.
pub fn prepared(
    shared: &mut Shared,
    session: &mut Session,
    prepared: Prepared,
    promised: u64,
) -> Result<(), Fault> {
    let Phase::Preparing { known } = &mut session.phase else {
        return Ok(());
    };
    let known = known.take();
    let Prepared { stamps, space } = prepared;
    let plan = plan(session, known.as_deref(), &stamps);
    session.device = space.map(|space| space.device);
    if session.download
        && plan.to_check.is_empty()
        && let Some(space) = space
        && let Some(fault) = no_room(session, &plan, space, promised)
    {
        session.phase = Phase::Preparing { known };
        return Err(fault);
    }
    if let Some(known) = known {
        session.completed_told |= was_whole(session, &known);
        // A session that was parked in this run goes on counting where it was.
        session.progress.uploaded_before = known.uploaded.saturating_sub(session.up.total());
        session.progress.downloaded_before = known.downloaded.saturating_sub(session.down.total());
        session.progress.saved = (known.uploaded, known.downloaded);
        session.progress.completed_before = known.completed;
    }
    session.progress.stamps = stamps;
    for &piece in &plan.trusted {
        session.picker.set_have(piece);
        session.progress.known(piece);
    }
    for (piece, bits) in plan.partial {
        if session.picker.open(piece) {
            session.assembly.reopen(
                &session.metainfo.geometry,
                piece,
                |block| bits.get(block as usize),
                shared.now,
            );
        }
    }
    session.progress.changed = true;
    session.enter(shared, Phase::Checking(Check::of(plan.to_check)), "user");
    give_out(shared, session);
    Ok(())
}

/// What is wrong when what is missing does not fit.
fn no_room(session: &Session, plan: &Plan, space: Space, promised: u64) -> Option<Fault> {
    const MIB: u64 = 1 << 20;
    let geometry = session.geometry();
    let trusted = |piece: &PieceIndex| plan.trusted.binary_search(piece).is_ok();
    let missing: u64 = geometry
        .pieces()
        .filter(|piece| session.picker.wants(*piece) && !trusted(piece))
        .map(|piece| u64::from(geometry.piece_size(piece)))
        .sum();
    // Files that somebody else has allocated take no more room.
    let needed = missing.min(space.unallocated);
    let free = space.free.saturating_sub(promised);
    (needed > free).then(|| {
        let root = &session.storage.layout.root;
        let others = match promised {
            0 => "",
            _ => " and not promised to other torrents",
        };
        let message = format!(
            "not enough space in {}: {} MiB are needed, {} MiB are free{others}",
            shown(root),
            needed.div_ceil(MIB),
            free / MIB
        );
        Fault {
            kind: FaultKind::Full,
            path: root.clone(),
            message,
        }
    })
}

/// Whether an earlier run had all that is wanted, and so has told it.
fn was_whole(session: &Session, known: &Progress) -> bool {
    let count = session.metainfo.geometry.piece_count() as usize;
    let have = Bitfield::from_wire(&known.have, count);
    have.is_some_and(|have| {
        let mut wanted = session.picker.wanted().iter_ones();
        wanted.all(|piece| have.get(piece))
    })
}

/// What is to be done with each piece at the start.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    trusted: Vec<PieceIndex>,
    to_check: Vec<PieceIndex>,
    partial: Vec<(PieceIndex, Bitfield)>,
}

fn plan(session: &Session, known: Option<&Progress>, stamps: &[Option<FileStamp>]) -> Plan {
    let layout = &session.storage.layout;
    let geometry = &layout.geometry;
    let count = geometry.piece_count() as usize;
    let recorded = known.and_then(|known| Bitfield::from_wire(&known.have, count));
    let known = known.filter(|known| known.stamps.len() == layout.files.len() && !session.recheck);
    let mut there = Bitfield::new(count);
    let mut doubtful = Bitfield::new(count);
    let mut gone = Bitfield::new(count);
    let mark = |bits: &mut Bitfield, file: &FileEntry, length: u64| {
        for piece in geometry.pieces_of(file.offset, length) {
            bits.set(piece.index());
        }
    };
    for (index, file) in layout
        .files
        .iter()
        .enumerate()
        .filter(|(_, file)| file.is_regular() && file.length > 0)
    {
        let stamp = stamps.get(index).copied().flatten();
        let before = known.and_then(|known| known.stamps[index]);
        match stamp {
            Some(stamp) if stamp.length > 0 => {
                mark(&mut there, file, file.length.min(stamp.length));
                if before != Some(stamp) {
                    mark(&mut doubtful, file, file.length);
                }
            }
            _ => mark(&mut gone, file, file.length),
        }
    }
    let mut plan = Plan::default();
    for piece in geometry.pieces() {
        let index = piece.index();
        if gone.get(index) {
            continue;
        }
        match (known.is_some(), doubtful.get(index)) {
            (true, false) if recorded.as_ref().is_some_and(|bits| bits.get(index)) => {
                plan.trusted.push(piece);
            }
            (true, false) => {}
            _ if there.get(index) => plan.to_check.push(piece),
            _ => {}
        }
    }
    for (index, bits) in known.map_or(&[][..], |known| &known.partial) {
        let Some(piece) = geometry.piece(*index) else {
            continue;
        };
        let intact = !gone.get(piece.index()) && !doubtful.get(piece.index());
        let bits = Bitfield::from_wire(bits, geometry.block_count(piece) as usize);
        if let (true, Some(bits)) = (intact, bits) {
            plan.partial.push((piece, bits));
        }
    }
    plan
}

/// Hashes again what we have of the files of which a flush failed: what could not be written may be gone from memory too.
/// `false` when there is nothing to hash.
pub fn check_doubtful(shared: &mut Shared, session: &mut Session) -> bool {
    let layout = &session.storage.layout;
    let mut pieces = session.progress.doubtful_pieces(layout);
    pieces.retain(|piece| session.picker.have().get(piece.index()));
    if pieces.is_empty() {
        return false;
    }
    for &piece in &pieces {
        session.picker.lost(piece);
        session.progress.lost(piece);
    }
    session.completed = false;
    session.enter(shared, Phase::Checking(Check::of(pieces)), "error");
    true
}

/// Keeps every worker hashing; when all is judged, the check is over and this says `true`.
pub fn give_out(shared: &mut Shared, session: &mut Session) -> bool {
    let geometry = session.metainfo.geometry;
    let lanes = shared.settings.hash_lanes;
    let Phase::Checking(check) = &mut session.phase else {
        return false;
    };
    let by_bytes = CHECK_JOB_BYTES / u64::from(geometry.piece_length());
    let per_job = usize::try_from(by_bytes).unwrap_or(usize::MAX).max(lanes);
    // With few pieces every worker still gets some, as long as that fills the lanes.
    let share = check
        .pieces
        .len()
        .div_ceil(shared.settings.check_jobs_max.max(1))
        .next_multiple_of(lanes);
    let per_job = per_job.min(share).max(1);
    while check.running < shared.settings.check_jobs_max && check.next < check.pieces.len() {
        let end = (check.next + per_job).min(check.pieces.len());
        let pieces = check.pieces[check.next..end].to_vec();
        check.next = end;
        check.running += 1;
        session.jobs += 1;
        shared.work(
            session.id,
            &session.storage,
            Job::Check {
                pieces,
                digests: false,
            },
        );
    }
    check.running == 0 && check.next == check.pieces.len()
}

/// A run of pieces was hashed. `Ok(true)` when the check is over.
pub fn checked(
    shared: &mut Shared,
    session: &mut Session,
    pieces: Vec<Checked>,
) -> Result<bool, Fault> {
    let check = match &mut session.phase {
        Phase::Checking(check)
        | Phase::Failed {
            then: Then::Check(check),
            ..
        } => check,
        _ => return Ok(false),
    };
    // A recheck that was asked for has begun a check of its own meanwhile.
    check.running = check.running.saturating_sub(1);
    check.done += pieces.len();
    let mut failed = None;
    for checked in pieces {
        match checked.verdict {
            Verdict::Good => {
                session.picker.set_have(checked.piece);
                // It may have been written just before a crash: flushed before it is recorded.
                session
                    .progress
                    .gained(&session.storage.layout, checked.piece);
            }
            Verdict::Bad | Verdict::Missing => {}
            Verdict::Failed(fault) => {
                // Once more behind all others, when the disk is better.
                check.pieces.push(checked.piece);
                check.done -= 1;
                failed = Some(fault);
            }
        }
    }
    match failed {
        Some(fault) => Err(fault),
        None => Ok(give_out(shared, session)),
    }
}
