//! Which blocks a peer is asked for, and what becomes of whole pieces.

use crate::buffer::Share;
use crate::codec::bitfield::Bitfield;
use crate::codec::geometry::{BlockRef, Geometry, PieceIndex};
use crate::codec::wire::{Message, Request};
use crate::engine::message::{CommitPiece, Committed, Fault, Job, Verdict};
use crate::engine::settings::{COMMIT_WAIT, RUN_BLOCKS_MAX};
use crate::engine::shared::{Shared, TimerKey};
use crate::engine::table::peer::{Asked, Peer};
use crate::engine::table::stream::{Stage, Stream};
use crate::events::Event;
use crate::ids::{JobId, StreamId};
use crate::time::Duration;

use super::assembly::{Claim, Keep, Sender};
use super::receive::send;
use super::{Committing, Session, WholePiece};

/// An open piece that has not moved for so long gives up its room to one that may.
const SPILL_AFTER: Duration = Duration::from_secs(5);
/// Streams that may owe the same block in the end game.
const OWED_BY_MAX: u16 = 3;
/// Blocks that a peer is asked for although others owe them, at a time.
const AGAIN_MAX: usize = 4;
/// A piece whose last copy was wrong is kept for one stream for so long; a slow one must not hold it up for good.
const ALONE: Duration = Duration::from_secs(120);

/// Gives the peer as many requests as it should have, and tells it whether we want anything.
pub fn ask(shared: &mut Shared, session: &mut Session, stream: &mut Stream) {
    if session.is_downloading() {
        ask_for_more(shared, session, stream);
    }
    let Stage::Open { peer, .. } = &mut stream.stage else {
        return;
    };
    // Also once everything is there: else it keeps a slot for us that we do not need.
    if peer.interesting && peer.asked.is_empty() && session.is_trading() {
        let wants = |has| session.download && session.picker.is_interesting(has);
        if !peer.has.for_picker().is_some_and(wants) {
            peer.interesting = false;
            send(shared, stream, &Message::NotInterested);
        }
    }
}

fn ask_for_more(shared: &mut Shared, session: &mut Session, stream: &mut Stream) {
    let (id, now) = (stream.id, shared.now);
    let Stage::Open { peer, .. } = &mut stream.stage else {
        return;
    };
    let Some(has) = peer.has.for_picker() else {
        return;
    };
    if !peer.interesting && session.picker.is_interesting(has) {
        peer.interesting = true;
        send(shared, stream, &Message::Interested);
    }
    let mut left = match stream.peer() {
        Some(peer) if !peer.choking_us => peer.asks_left(),
        _ => 0,
    };
    while left > 0 {
        left -= 1;
        let Stage::Open { peer, .. } = &mut stream.stage else {
            return;
        };
        let Some(claim) = next_block(shared, session, id, peer) else {
            break;
        };
        let block = claim.block;
        if peer.asked.is_empty() {
            peer.block_at = now;
        }
        peer.asked.push_back(Asked { claim, at: now });
        let length = session.geometry().block_size(block);
        let request = Request {
            index: block.piece.get(),
            begin: block.begin(),
            length,
        };
        shared.counters.requests_sent += 1;
        send(shared, stream, &Message::Request(request));
    }
}

/// The block that this peer is best asked for next.
///
/// Each peer takes a piece of its own as long as there is room: that makes few pieces large writes and blame plain. Pieces
/// that others left come first, then new ones, then those that others are taking, and at the very end blocks that others owe.
fn next_block(
    shared: &mut Shared,
    session: &mut Session,
    id: StreamId,
    peer: &mut Peer,
) -> Option<Claim> {
    let pool = &mut shared.pool;
    if let Some(piece) = peer.current {
        let mine = session
            .assembly
            .get(piece)
            .is_some_and(|open| open.is_free_for(id));
        if let Some(block) = mine.then(|| session.assembly.ask(piece, pool)).flatten() {
            return Some(block);
        }
        session.assembly.leave(&mut peer.current);
    }
    let joinable = |session: &Session, peer: &Peer, left: bool| {
        let fits = |open: &&super::assembly::OpenPiece| {
            open.is_free_for(id) && (!left || open.is_left()) && peer.has.has(open.piece)
        };
        session.assembly.iter().find(fits).map(|open| open.piece)
    };
    if session.assembly.free() > 0
        && let Some(piece) = joinable(session, peer, true)
        && let Some(block) = session.assembly.ask(piece, pool)
    {
        session.assembly.join(&mut peer.current, piece);
        return Some(block);
    }
    if let Some(piece) = open_piece(shared, session, id, peer) {
        session.assembly.join(&mut peer.current, piece);
        return session.assembly.ask(piece, &mut shared.pool);
    }
    if session.assembly.free() > 0
        && let Some(piece) = joinable(session, peer, false)
        && let Some(block) = session.assembly.ask(piece, &mut shared.pool)
    {
        session.assembly.join(&mut peer.current, piece);
        return Some(block);
    }
    if session.assembly.free() > 0 && shared.pool.room(Share::Receive) == 0 {
        shared.starved.insert(session.id);
    }
    if session.picker.pickable() == 0 && peer.asked.len() < AGAIN_MAX {
        return owed_block(session, peer);
    }
    None
}

/// Opens the rarest piece that this peer has, when there is room for it.
fn open_piece(
    shared: &mut Shared,
    session: &mut Session,
    id: StreamId,
    peer: &Peer,
) -> Option<PieceIndex> {
    if session.picker.pickable() == 0 {
        return None;
    }
    let geometry = *session.geometry();
    let blocks = geometry.block_count_max() as usize;
    // A piece beyond a quarter of the pool would crowd everything else out.
    let keep = if blocks > shared.pool.capacity(Share::Send) {
        Keep::InPlace
    } else {
        Keep::Memory
    };
    let needed = if keep == Keep::Memory { blocks } else { 1 };
    if shared.pool.room(Share::Receive) < needed {
        spill_one(shared, session);
        if shared.pool.room(Share::Receive) < needed {
            shared.starved.insert(session.id);
            return None;
        }
    }
    let piece = session
        .picker
        .pick(peer.has.for_picker()?, &mut shared.rng)?;
    if !session
        .assembly
        .open(&geometry, piece, keep, &mut shared.pool, shared.now)
    {
        session.picker.close(piece);
        return None;
    }
    // A peer that owes us already would only hold it up.
    if session.blame.is_suspect(piece)
        && !peer.snubbed
        && let Some(open) = session.assembly.get_mut(piece)
    {
        open.keep_for(id, shared.now + ALONE);
    }
    Some(piece)
}

/// Makes room for other sessions, when one lacks it: this one may hold pieces that nobody sends it any more.
pub fn make_room(shared: &mut Shared, session: &mut Session) {
    if !shared.starved.is_empty() {
        spill_one(shared, session);
    }
}

/// Makes room: of the pieces that have not moved for a while, the one that waits longest goes to disk as it is.
fn spill_one(shared: &mut Shared, session: &mut Session) {
    let now = shared.now;
    let waits = |open: &&super::assembly::OpenPiece| {
        open.keep == Keep::Memory && now.since(open.moved) >= SPILL_AFTER && !open.is_whole()
    };
    let slowest = session
        .assembly
        .iter()
        .filter(waits)
        .min_by_key(|open| open.moved)
        .map(|open| open.piece);
    if let Some(piece) = slowest {
        session.assembly.spill(piece, &mut shared.pool);
        session.loose.extend(session.assembly.take_held(piece));
        flush_loose(shared, session);
    }
}

/// A block that others owe, and this peer was not asked for: the one owed by the fewest.
fn owed_block(session: &mut Session, peer: &Peer) -> Option<Claim> {
    let mut best: Option<(u16, BlockRef)> = None;
    for open in session
        .assembly
        .iter()
        .filter(|open| !open.is_kept() && peer.has.has(open.piece))
    {
        for (block, owed_by) in session.assembly.owed(open.piece) {
            let better = best.is_none_or(|(fewest, _)| owed_by < fewest);
            if better
                && owed_by < OWED_BY_MAX
                && !peer.asked.iter().any(|asked| asked.claim.block == block)
            {
                best = Some((owed_by, block));
            }
        }
    }
    let (_, block) = best?;
    session.assembly.ask_again(block)
}

/// A block was stored: hands on what can be written or hashed.
pub fn block_stored(shared: &mut Shared, session: &mut Session, block: BlockRef, complete: bool) {
    let keep = session.assembly.get(block.piece).map(|open| open.keep);
    if keep == Some(Keep::InPlace) {
        session.loose.extend(session.assembly.take_block(block));
        if session.loose.len() >= RUN_BLOCKS_MAX {
            flush_loose(shared, session);
        } else {
            arm_commit(shared, session);
        }
        return;
    }
    if !complete {
        return;
    }
    if let Some((blocks, senders)) = session.assembly.take_whole(block.piece) {
        session.whole.push(WholePiece {
            piece: block.piece,
            blocks,
            senders,
        });
        let held: usize = session.whole.iter().map(|whole| whole.blocks.len()).sum();
        let enough = session.whole.len() >= shared.settings.hash_lanes
            || held >= shared.pool.capacity(Share::Send);
        if enough {
            flush_whole(shared, session);
        } else {
            arm_commit(shared, session);
        }
    }
}

fn arm_commit(shared: &mut Shared, session: &Session) {
    let key = TimerKey::Commit(session.id);
    if shared.timers.deadline(key).is_none() {
        shared.arm(key, COMMIT_WAIT);
    }
}

/// Hands on everything that waits for company.
pub fn flush(shared: &mut Shared, session: &mut Session) {
    flush_whole(shared, session);
    flush_loose(shared, session);
}

/// Gives all whole pieces to one worker.
fn flush_whole(shared: &mut Shared, session: &mut Session) {
    if session.whole.is_empty() {
        return;
    }
    if session.loose.is_empty() {
        shared.timers.cancel(TimerKey::Commit(session.id));
    }
    let mut pieces = Vec::with_capacity(session.whole.len());
    let mut committing = Vec::with_capacity(session.whole.len());
    let layout = &session.storage.layout;
    for whole in session.whole.drain(..) {
        let (offset, length) = span(&layout.geometry, whole.piece);
        session.progress.writes.begin(layout, offset, length);
        let digests = session.blame.is_suspect(whole.piece);
        pieces.push(CommitPiece {
            piece: whole.piece,
            blocks: whole.blocks,
            digests,
        });
        committing.push(Committing {
            piece: whole.piece,
            senders: whole.senders,
        });
    }
    session.jobs += 1;
    let job = shared.work(session.id, &session.storage, Job::Commit { pieces });
    session.committing.insert(job, committing);
}

/// Gives all loose blocks to one worker.
fn flush_loose(shared: &mut Shared, session: &mut Session) {
    if session.loose.is_empty() {
        return;
    }
    let mut blocks = std::mem::take(&mut session.loose);
    blocks.sort_unstable_by_key(|(block, _)| *block);
    let layout = &session.storage.layout;
    for (block, _) in &blocks {
        let offset = layout.geometry.block_offset(*block);
        let length = layout.geometry.block_size(*block);
        let writes = &mut session.progress.writes;
        writes.begin(layout, offset, u64::from(length));
        session.progress.touched(layout, *block);
    }
    session.jobs += 1;
    shared.work(session.id, &session.storage, Job::Write { blocks });
}

/// Where the bytes of a piece begin, and how many there are.
fn span(geometry: &Geometry, piece: PieceIndex) -> (u64, u64) {
    let length = u64::from(geometry.piece_size(piece));
    (geometry.piece_offset(piece), length)
}

/// What the engine has to do after pieces were proven or found wrong.
#[derive(Debug, Default)]
pub struct Proven {
    /// Pieces that are ours now.
    pub good: Vec<PieceIndex>,
    /// Who sent bad data, proven.
    pub guilty: Vec<Sender>,
    /// What the disk said, if it failed.
    pub fault: Option<Fault>,
}

/// Pieces were hashed and written.
pub fn committed(
    shared: &mut Shared,
    session: &mut Session,
    job: JobId,
    pieces: Vec<Committed>,
) -> Proven {
    let mut senders = session.committing.remove(&job).unwrap_or_default();
    let mut proven = Proven::default();
    for committed in pieces {
        for block in committed.blocks {
            shared.pool.put(Share::Receive, block);
        }
        let place = senders.iter().position(|of| of.piece == committed.piece);
        let from = place
            .map(|place| senders.swap_remove(place).senders)
            .unwrap_or_default();
        let (piece, verdict) = (committed.piece, committed.verdict);
        let layout = &session.storage.layout;
        let (offset, length) = span(&layout.geometry, piece);
        let wrote = !matches!(verdict, Verdict::Bad);
        let writes = &mut session.progress.writes;
        writes.end(layout, offset, length, wrote);
        judge(
            shared,
            session,
            piece,
            verdict,
            &from,
            &committed.digests,
            &mut proven,
        );
    }
    proven
}

/// Blocks were written in place. The piece that became whole by it is hashed from disk.
pub fn written(
    shared: &mut Shared,
    session: &mut Session,
    blocks: Vec<crate::buffer::Block>,
    refs: &[BlockRef],
    result: Result<(), Fault>,
) -> Option<Fault> {
    for block in blocks {
        shared.pool.put(Share::Receive, block);
    }
    for &block in refs {
        let layout = &session.storage.layout;
        let offset = layout.geometry.block_offset(block);
        let length = u64::from(layout.geometry.block_size(block));
        let writes = &mut session.progress.writes;
        writes.end(layout, offset, length, true);
        if session.assembly.written(block, result.is_ok()) {
            prove(shared, session, block.piece);
        }
    }
    result.err()
}

/// Has a piece that is whole in place hashed from disk.
pub fn prove(shared: &mut Shared, session: &mut Session, piece: PieceIndex) {
    let job = Job::Check {
        pieces: vec![piece],
        digests: true,
    };
    session.jobs += 1;
    let id = shared.work(session.id, &session.storage, job);
    session.proving.insert(id, piece);
}

/// A piece in place was hashed from disk.
pub fn proven_in_place(
    shared: &mut Shared,
    session: &mut Session,
    piece: PieceIndex,
    verdict: Verdict,
    digests: &[crate::hash::Digest],
) -> Proven {
    let mut proven = Proven::default();
    if let Verdict::Failed(fault) = verdict {
        // Neither right nor wrong: it stays as it is, and is hashed again when the disk is better.
        proven.fault = Some(fault);
        return proven;
    }
    let senders = session.assembly.close(piece, &mut shared.pool);
    // What cannot be read back is as good as wrong, but nobody's fault.
    let (verdict, senders) = match verdict {
        Verdict::Missing => (Verdict::Bad, Vec::new()),
        other => (other, senders),
    };
    judge(
        shared,
        session,
        piece,
        verdict,
        &senders,
        digests,
        &mut proven,
    );
    proven
}

/// What a verdict means for us and for those who sent the piece.
fn judge(
    shared: &mut Shared,
    session: &mut Session,
    piece: PieceIndex,
    verdict: Verdict,
    senders: &[Option<Sender>],
    digests: &[crate::hash::Digest],
    proven: &mut Proven,
) {
    match verdict {
        Verdict::Good => {
            session.picker.set_have(piece);
            session.fetched = true;
            session.progress.gained(&session.storage.layout, piece);
            proven.guilty.extend(session.blame.right(piece, digests));
            proven.good.push(piece);
            shared.counters.pieces_completed += 1;
            shared.event(Event::PieceCompleted(
                session.piece_event(piece, Vec::new()),
            ));
        }
        Verdict::Bad | Verdict::Missing => {
            session.picker.close(piece);
            session.wasted += u64::from(session.geometry().piece_size(piece));
            shared.counters.pieces_failed += 1;
            let mut contributors: Vec<_> = senders
                .iter()
                .flatten()
                .map(|sender| sender.address)
                .collect();
            contributors.sort_unstable();
            contributors.dedup();
            shared.event(Event::PieceHashFailed(
                session.piece_event(piece, contributors),
            ));
            proven
                .guilty
                .extend(session.blame.wrong(piece, senders, digests));
        }
        Verdict::Failed(fault) => {
            session.picker.close(piece);
            proven.fault = Some(fault);
        }
    }
}

/// Gives back the pieces that are held in memory and not whole: the session pauses or ends, its streams are gone, and what is
/// missing of them will not come. Pieces in place stay as they are.
pub fn drop_unfinished(shared: &mut Shared, session: &mut Session) {
    let in_memory = |open: &&super::assembly::OpenPiece| open.keep == Keep::Memory;
    let open: Vec<PieceIndex> = session
        .assembly
        .iter()
        .filter(in_memory)
        .map(|open| open.piece)
        .collect();
    for piece in open {
        session.assembly.close(piece, &mut shared.pool);
        session.picker.close(piece);
    }
}

/// Closes the pieces in place: for each a bit for every block that is on disk.
pub fn close_in_place(shared: &mut Shared, session: &mut Session) -> Vec<(u32, Vec<u8>)> {
    let open: Vec<PieceIndex> = session.assembly.iter().map(|open| open.piece).collect();
    let mut partial = Vec::new();
    for piece in open {
        let there = session.assembly.on_disk(piece).unwrap_or_default();
        if there.contains(&true) {
            let mut bits = Bitfield::new(there.len());
            there
                .iter()
                .enumerate()
                .filter(|(_, there)| **there)
                .for_each(|(block, _)| {
                    bits.set(block);
                });
            partial.push((piece.get(), bits.to_wire()));
        }
        session.assembly.close(piece, &mut shared.pool);
        session.picker.close(piece);
    }
    partial
}
