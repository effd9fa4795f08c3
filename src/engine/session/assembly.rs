//! Pieces being put together from blocks.
//!
//! A piece is opened only when there is room for all of it in the pool, or *in place*: then its blocks are written unverified
//! as they come, and hashed from disk when all are there. Room is counted cell by cell, so whatever ends a request (a block,
//! a choke, a lost peer) ends its claim too, and the pool cannot lock up.
//!
//! Invariants: every buffer owns its room, wherever it is; a missing block has room of its own set aside while its piece is
//! kept in memory or it is asked for, unless a buffer for it is being filled; a block is free when it is missing and nobody
//! owes it. A claim or a buffer from before a piece was last opened changes nothing in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::buffer::{Block, Pool, Share};
use crate::codec::geometry::{BlockRef, Geometry, PieceIndex};
use crate::ids::{LinkId, StreamId};
use crate::time::Instant;

/// Who sent a block: for blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// Its link.
    pub link: LinkId,
    /// Its address, should the link be gone by then.
    pub address: SocketAddr,
    /// What it called itself.
    pub peer_id: crate::ids::PeerId,
}

/// Where an open piece keeps its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In the pool, until it is whole and hashed.
    Memory,
    /// On disk, unverified.
    InPlace,
}

/// One block of an open piece.
#[derive(Debug, Default)]
struct Cell {
    /// How many streams were asked for it and still owe it.
    asked: u16,
    /// Whether room in the pool is set aside for it that no buffer uses yet.
    reserved: bool,
    /// What is there.
    content: Content,
    /// Who sent it.
    sender: Option<Sender>,
}

impl Cell {
    fn is_missing(&self) -> bool {
        matches!(self.content, Content::Missing)
    }

    /// Its buffer, and the room that goes with it, on the way to disk.
    fn take_held(&mut self) -> Option<Block> {
        match std::mem::replace(&mut self.content, Content::Writing) {
            Content::Held(buffer) => Some(buffer),
            other => {
                self.content = other;
                None
            }
        }
    }

    /// Whether somebody should be asked for it. Bytes that are coming in unasked do not count: they may never end.
    fn is_free(&self) -> bool {
        self.asked == 0 && self.is_missing()
    }
}

/// A request for a block, as of one opening of its piece: a piece that is closed and opened again knows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which block.
    pub block: BlockRef,
    opening: u64,
}

/// A block that is coming in, with the buffer that it fills. The buffer's room belongs to it until it is stored or aborted.
#[derive(Debug)]
pub struct Arrival {
    claim: Claim,
    /// Where its bytes go.
    pub buffer: Block,
}

#[derive(Debug, Default)]
enum Content {
    #[default]
    Missing,
    Held(Block),
    Writing,
    Written,
}

/// A piece some of whose blocks are asked for or there.
#[derive(Debug)]
pub struct OpenPiece {
    /// Which.
    pub piece: PieceIndex,
    /// Where its blocks are kept.
    pub keep: Keep,
    /// The one stream that is to send all of it, and until when: its last copy was wrong, and this way the culprit shows.
    only: Option<(StreamId, Instant)>,
    /// When its last block came, or it was opened.
    pub moved: Instant,
    /// Which opening of any piece this is.
    opening: u64,
    /// How many streams take it block by block now.
    takers: u32,
    cells: Vec<Cell>,
    /// Cells neither asked for nor there.
    free: u32,
    /// No cell before this one is free.
    first_free: u32,
    /// Cells without content.
    missing: u32,
    /// Cells on their way to disk.
    writing: u32,
}

/// What became of a block that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was needed. Streams asked for it in vain are as many as this says.
    Needed {
        /// How many others were asked for it too.
        duplicates: u16,
        /// Whether its piece has all its blocks now.
        complete: bool,
    },
    /// It was there already.
    Unneeded,
}

/// Every open piece of one session.
#[derive(Debug, Default)]
pub struct Assembly {
    open: BTreeMap<PieceIndex, OpenPiece>,
    /// Free cells of all open pieces.
    free: usize,
    /// How many pieces were opened so far.
    openings: u64,
}

impl Assembly {
    /// Opens `piece`. `false`, and nothing done, when it is to be kept in memory and there is no room for all of it.
    #[must_use]
    pub fn open(
        &mut self,
        geometry: &Geometry,
        piece: PieceIndex,
        keep: Keep,
        pool: &mut Pool,
        now: Instant,
    ) -> bool {
        let count = geometry.block_count(piece);
        if keep == Keep::Memory && !pool.reserve(Share::Receive, count as usize) {
            return false;
        }
        let cell = || Cell {
            reserved: keep == Keep::Memory,
            ..Cell::default()
        };
        let cells = (0..count).map(|_| cell()).collect();
        self.insert(piece, keep, cells, now);
        true
    }

    /// Opens `piece` in place with some of its blocks on disk already, from an earlier run.
    pub fn reopen(
        &mut self,
        geometry: &Geometry,
        piece: PieceIndex,
        there: impl Fn(u32) -> bool,
        now: Instant,
    ) {
        let mut cells: Vec<Cell> = (0..geometry.block_count(piece))
            .map(|_| Cell::default())
            .collect();
        for (index, cell) in (0..).zip(&mut cells) {
            if there(index) {
                cell.content = Content::Written;
            }
        }
        self.insert(piece, Keep::InPlace, cells, now);
    }

    fn insert(&mut self, piece: PieceIndex, keep: Keep, cells: Vec<Cell>, now: Instant) {
        let missing = cells.iter().filter(|cell| cell.is_missing()).count();
        let count = u32::try_from(missing).expect("at most all cells");
        self.openings += 1;
        let open = OpenPiece {
            piece,
            keep,
            only: None,
            moved: now,
            opening: self.openings,
            takers: 0,
            cells,
            free: count,
            first_free: 0,
            missing: count,
            writing: 0,
        };
        let before = self.open.insert(piece, open);
        assert!(before.is_none(), "a piece is opened once");
        self.free += missing;
    }

    /// The open piece.
    #[must_use]
    pub fn get(&self, piece: PieceIndex) -> Option<&OpenPiece> {
        self.open.get(&piece)
    }

    /// The open piece.
    pub fn get_mut(&mut self, piece: PieceIndex) -> Option<&mut OpenPiece> {
        self.open.get_mut(&piece)
    }

    /// All open pieces, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &OpenPiece> {
        self.open.values()
    }

    /// How many pieces are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Blocks of open pieces that nobody was asked for and that are not there.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free
    }

    /// A stream takes `piece` from now on, block by block, and leaves what it took before.
    pub fn join(&mut self, current: &mut Option<PieceIndex>, piece: PieceIndex) {
        self.leave(current);
        if let Some(open) = self.open.get_mut(&piece) {
            open.takers += 1;
            *current = Some(piece);
        }
    }

    /// A stream takes no piece any more.
    pub fn leave(&mut self, current: &mut Option<PieceIndex>) {
        let left = current.take().and_then(|piece| self.open.get_mut(&piece));
        if let Some(open) = left {
            open.takers = open.takers.saturating_sub(1);
        }
    }

    /// Nothing is kept for `stream` alone any more: it is gone, or does not send it. `true` when something was.
    pub fn release(&mut self, stream: StreamId) -> bool {
        let mut was_kept = false;
        for open in self.open.values_mut() {
            if open.only.is_some_and(|(only, _)| only == stream) {
                open.only = None;
                was_kept = true;
            }
        }
        was_kept
    }

    /// Nothing is kept for one stream alone beyond its time.
    pub fn release_old(&mut self, now: Instant) {
        for open in self.open.values_mut() {
            open.only = open.only.filter(|(_, until)| *until > now);
        }
    }

    /// The next free block of `piece`, now asked for. `None` when none is free, or there is no room for it.
    pub fn ask(&mut self, piece: PieceIndex, pool: &mut Pool) -> Option<Claim> {
        let open = self.open.get_mut(&piece)?;
        if open.free == 0 {
            return None;
        }
        let from = open.first_free as usize;
        let index = from + open.cells[from..].iter().position(Cell::is_free)?;
        let cell = &mut open.cells[index];
        if !cell.reserved {
            if !pool.reserve(Share::Receive, 1) {
                return None;
            }
            cell.reserved = true;
        }
        cell.asked = 1;
        open.free -= 1;
        self.free -= 1;
        open.first_free = u32::try_from(index).expect("fewer than 2^32 blocks");
        Some(Claim {
            block: BlockRef {
                piece,
                block: open.first_free,
            },
            opening: open.opening,
        })
    }

    /// Asks one more stream for a block that others owe (the endgame). `None` when it is there already.
    pub fn ask_again(&mut self, block: BlockRef) -> Option<Claim> {
        let open = self.open.get_mut(&block.piece)?;
        let opening = open.opening;
        let cell = &mut open.cells[block.block as usize];
        let owed = cell.asked > 0 && cell.is_missing();
        owed.then(|| {
            cell.asked += 1;
            Claim { block, opening }
        })
    }

    /// The blocks of `piece` that are owed, with by how many.
    pub fn owed(&self, piece: PieceIndex) -> impl Iterator<Item = (BlockRef, u16)> + '_ {
        let cells = self.open.get(&piece).map_or(&[][..], |open| &open.cells);
        (0..)
            .zip(cells)
            .filter(|(_, cell)| cell.asked > 0 && cell.is_missing())
            .map(move |(block, cell)| (BlockRef { piece, block }, cell.asked))
    }

    /// A stream does not owe what it was asked for any more: it choked, refused, was lost, was relieved of it, or has sent it.
    pub fn unask(&mut self, claim: Claim, pool: &mut Pool) {
        let Some(open) = self.opened(claim) else {
            return;
        };
        let cell = &mut open.cells[claim.block.block as usize];
        assert!(cell.asked > 0, "a claim ends once");
        cell.asked -= 1;
        if !cell.is_free() {
            return;
        }
        if open.keep == Keep::InPlace && std::mem::take(&mut cell.reserved) {
            pool.unreserve(Share::Receive, 1);
        }
        open.free += 1;
        open.first_free = open.first_free.min(claim.block.block);
        self.free += 1;
    }

    /// The first byte of `block` is coming from `stream`, which was `asked` for it or not: where to put it. `None`: throw it away.
    ///
    /// What nobody asked for is taken too, if it is missing (late blocks are of use), but never into a piece that another
    /// stream is to send alone: a liar could spoil each copy of it.
    pub fn begin(
        &mut self,
        block: BlockRef,
        stream: StreamId,
        asked: bool,
        pool: &mut Pool,
    ) -> Option<Arrival> {
        let open = self.open.get_mut(&block.piece)?;
        let cell = &mut open.cells[block.block as usize];
        if !cell.is_missing() || open.only.is_some_and(|(only, _)| only != stream) {
            return None;
        }
        // The room set aside for it goes with the buffer of a stream that was asked for it. A second one needs room of its own.
        let has_room = asked && std::mem::take(&mut cell.reserved);
        if !has_room && !pool.reserve(Share::Receive, 1) {
            return None;
        }
        let opening = open.opening;
        Some(Arrival {
            claim: Claim { block, opening },
            buffer: pool.take(Share::Receive),
        })
    }

    /// The stream ended, or was given up, in the middle of a block. Its request is still to be taken back.
    pub fn abort(&mut self, arrival: Arrival, pool: &mut Pool) {
        let keeps_room = self.opened(arrival.claim).is_some_and(|open| {
            let cell = &mut open.cells[arrival.claim.block.block as usize];
            let needed = open.keep == Keep::Memory || cell.asked > 0;
            cell.is_missing() && needed && !std::mem::replace(&mut cell.reserved, true)
        });
        if keeps_room {
            pool.put_reserved(Share::Receive, arrival.buffer);
        } else {
            pool.put(Share::Receive, arrival.buffer);
        }
    }

    /// All of a block is there. The sender's own request for it, if there was one, is over too.
    pub fn store(
        &mut self,
        arrival: Arrival,
        asked: Option<Claim>,
        sender: Sender,
        pool: &mut Pool,
        now: Instant,
    ) -> Stored {
        let claim = arrival.claim;
        let stored = self.keep(arrival, sender, pool, now);
        if let Some(asked) = asked {
            self.unask(asked, pool);
        }
        match self.opened(claim) {
            Some(open) if stored => Stored::Needed {
                duplicates: open.cells[claim.block.block as usize].asked,
                complete: open.missing == 0,
            },
            _ => Stored::Unneeded,
        }
    }

    /// Puts a whole block into its cell. `false`, and its buffer is back in the pool, when it is there already, or its piece is
    /// not open any more as it was.
    fn keep(&mut self, arrival: Arrival, sender: Sender, pool: &mut Pool, now: Instant) -> bool {
        let place = arrival.claim.block.block as usize;
        let Some(open) = self
            .opened(arrival.claim)
            .filter(|open| open.cells[place].is_missing())
        else {
            pool.put(Share::Receive, arrival.buffer);
            return false;
        };
        let cell = &mut open.cells[place];
        let was_free = cell.is_free();
        if std::mem::take(&mut cell.reserved) {
            // Another stream's buffer for it came back meanwhile, with its room.
            pool.unreserve(Share::Receive, 1);
        }
        cell.content = Content::Held(arrival.buffer);
        cell.sender = Some(sender);
        open.missing -= 1;
        open.moved = now;
        if was_free {
            open.free -= 1;
            self.free -= 1;
        }
        true
    }

    /// Takes a whole piece that was kept in memory: its blocks in order and who sent them.
    pub fn take_whole(&mut self, piece: PieceIndex) -> Option<(Vec<Block>, Vec<Option<Sender>>)> {
        let open = self.open.get(&piece)?;
        if open.missing > 0 || open.keep != Keep::Memory {
            return None;
        }
        let open = self.open.remove(&piece)?;
        let mut blocks = Vec::with_capacity(open.cells.len());
        let mut senders = Vec::with_capacity(open.cells.len());
        for cell in open.cells {
            match cell.content {
                Content::Held(block) => blocks.push(block),
                Content::Missing | Content::Writing | Content::Written => {
                    unreachable!("a whole piece in memory holds all its blocks")
                }
            }
            senders.push(cell.sender);
        }
        Some((blocks, senders))
    }

    /// From now on `piece` is kept in place: what it holds must be written, and it gives up the room of what it does not.
    pub fn spill(&mut self, piece: PieceIndex, pool: &mut Pool) {
        let Some(open) = self.open.get_mut(&piece) else {
            return;
        };
        open.keep = Keep::InPlace;
        for cell in &mut open.cells {
            if cell.is_free() && std::mem::take(&mut cell.reserved) {
                pool.unreserve(Share::Receive, 1);
            }
        }
    }

    /// The blocks of `piece` that are held and must be written in place.
    pub fn take_held(&mut self, piece: PieceIndex) -> Vec<(BlockRef, Block)> {
        let Some(open) = self.open.get_mut(&piece) else {
            return Vec::new();
        };
        let mut held = Vec::new();
        for (block, cell) in (0..).zip(&mut open.cells) {
            if let Some(buffer) = cell.take_held() {
                open.writing += 1;
                held.push((BlockRef { piece, block }, buffer));
            }
        }
        held
    }

    /// One block that is held and must be written in place.
    pub fn take_block(&mut self, block: BlockRef) -> Option<(BlockRef, Block)> {
        let open = self.open.get_mut(&block.piece)?;
        let buffer = open.cells[block.block as usize].take_held()?;
        open.writing += 1;
        Some((block, buffer))
    }

    /// Blocks given to a write job are on disk, or must be fetched again. `true` when the piece is whole on disk now.
    pub fn written(&mut self, block: BlockRef, good: bool) -> bool {
        let Some(open) = self.open.get_mut(&block.piece) else {
            return false;
        };
        let cell = &mut open.cells[block.block as usize];
        if !matches!(cell.content, Content::Writing) {
            return false;
        }
        open.writing -= 1;
        if good {
            cell.content = Content::Written;
        } else {
            cell.content = Content::Missing;
            cell.sender = None;
            open.missing += 1;
            if cell.is_free() {
                open.free += 1;
                self.free += 1;
                open.first_free = open.first_free.min(block.block);
            }
        }
        open.missing == 0 && open.writing == 0
    }

    /// The senders of a piece in place, and the piece is closed: its hash was checked.
    pub fn close(&mut self, piece: PieceIndex, pool: &mut Pool) -> Vec<Option<Sender>> {
        let Some(open) = self.open.remove(&piece) else {
            return Vec::new();
        };
        self.free -= open.free as usize;
        let mut senders = Vec::with_capacity(open.cells.len());
        for cell in open.cells {
            match cell.content {
                Content::Held(block) => pool.put(Share::Receive, block),
                // Buffers that are being filled come back through `abort` or `store`, which find no piece.
                Content::Missing if cell.reserved => pool.unreserve(Share::Receive, 1),
                Content::Missing | Content::Writing | Content::Written => {}
            }
            senders.push(cell.sender);
        }
        senders
    }

    /// A bit for each block of `piece` that is on disk.
    #[must_use]
    pub fn on_disk(&self, piece: PieceIndex) -> Option<Vec<bool>> {
        let open = self.open.get(&piece)?;
        Some(
            open.cells
                .iter()
                .map(|cell| matches!(cell.content, Content::Written))
                .collect(),
        )
    }

    /// The piece, if it is still open as it was for `claim`.
    fn opened(&mut self, claim: Claim) -> Option<&mut OpenPiece> {
        self.open
            .get_mut(&claim.block.piece)
            .filter(|open| open.opening == claim.opening)
    }
}

impl OpenPiece {
    /// Whether nobody was asked for some of its blocks, and `stream` may be.
    #[must_use]
    pub fn is_free_for(&self, stream: StreamId) -> bool {
        self.free > 0 && self.only.is_none_or(|(only, _)| only == stream)
    }

    /// Keeps it for `stream` alone until then.
    pub const fn keep_for(&mut self, stream: StreamId, until: Instant) {
        self.only = Some((stream, until));
    }

    /// Whether it is kept for one stream alone.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.only.is_some()
    }

    /// Whether nobody takes it now.
    #[must_use]
    pub const fn is_left(&self) -> bool {
        self.takers == 0
    }

    /// Whether all its blocks are there, in memory or on disk.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.missing == 0 && self.writing == 0
    }
}

#[cfg(test)]
mod tests;
