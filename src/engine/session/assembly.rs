//! Pieces being put together from blocks.
//!
//! A piece is opened only when there is room for all of it in the pool, or *in place*: then its blocks are written unverified
//! as they come, and hashed from disk when all are there. Room is counted cell by cell, so whatever ends a request (a block,
//! a choke, a lost peer) ends its claim too, and the pool cannot lock up.

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
    /// Whether room in the pool is set aside for it.
    reserved: bool,
    /// Whether its bytes are coming in.
    arriving: bool,
    /// What is there.
    content: Content,
    /// Who sent it.
    sender: Option<Sender>,
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
    /// The one stream that is to send all of it: its last copy was wrong, and this way the culprit shows.
    pub only: Option<StreamId>,
    /// When its last block came, or it was opened.
    pub moved: Instant,
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
        let open = OpenPiece {
            piece,
            keep,
            only: None,
            moved: now,
            takers: 0,
            cells: (0..count).map(|_| cell()).collect(),
            free: count,
            first_free: 0,
            missing: count,
            writing: 0,
        };
        let before = self.open.insert(piece, open);
        assert!(before.is_none(), "a piece is opened once");
        self.free += count as usize;
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
        let missing = cells
            .iter()
            .filter(|cell| matches!(cell.content, Content::Missing))
            .count();
        let missing = u32::try_from(missing).expect("at most all cells");
        let open = OpenPiece {
            piece,
            keep: Keep::InPlace,
            only: None,
            moved: now,
            takers: 0,
            cells,
            free: missing,
            first_free: 0,
            missing,
            writing: 0,
        };
        self.free += missing as usize;
        self.open.insert(piece, open);
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

    /// Nothing is kept for `stream` alone any more: it is gone.
    pub fn release(&mut self, stream: StreamId) {
        for open in self
            .open
            .values_mut()
            .filter(|open| open.only == Some(stream))
        {
            open.only = None;
        }
    }

    /// The next free block of `piece`, now asked for. `None` when none is free, or there is no room for it.
    pub fn ask(&mut self, piece: PieceIndex, pool: &mut Pool) -> Option<BlockRef> {
        let open = self.open.get_mut(&piece)?;
        if open.free == 0 {
            return None;
        }
        let is_free = |cell: &Cell| {
            cell.asked == 0 && matches!(cell.content, Content::Missing) && !cell.arriving
        };
        let from = open.first_free as usize;
        let index = from + open.cells[from..].iter().position(is_free)?;
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
        Some(BlockRef {
            piece,
            block: open.first_free,
        })
    }

    /// Asks one more stream for a block that others owe (the endgame). `false` when it is there already.
    pub fn ask_again(&mut self, block: BlockRef) -> bool {
        let Some(cell) = self.cell(block) else {
            return false;
        };
        let owed = cell.asked > 0 && matches!(cell.content, Content::Missing);
        if owed {
            cell.asked += 1;
        }
        owed
    }

    /// The blocks of `piece` that are owed, with by how many.
    pub fn owed(&self, piece: PieceIndex) -> impl Iterator<Item = (BlockRef, u16)> + '_ {
        let cells = self.open.get(&piece).map_or(&[][..], |open| &open.cells);
        (0..)
            .zip(cells)
            .filter(|(_, cell)| cell.asked > 0 && matches!(cell.content, Content::Missing))
            .map(move |(block, cell)| (BlockRef { piece, block }, cell.asked))
    }

    /// A stream does not owe `block` any more: it choked, refused, was lost, or was relieved of it.
    pub fn unask(&mut self, block: BlockRef, pool: &mut Pool) {
        // A request older than the piece's last opening owes nothing to this one.
        let Some(cell) = self.cell(block).filter(|cell| cell.asked > 0) else {
            return;
        };
        cell.asked -= 1;
        self.settle(block, pool);
    }

    /// The first byte of `block` is coming: where to put it, and whether its room is beyond the piece's own. `None`: throw it away.
    pub fn begin(&mut self, block: BlockRef, pool: &mut Pool) -> Option<(Block, bool)> {
        let open = self.open.get_mut(&block.piece)?;
        let cell = &mut open.cells[block.block as usize];
        if !matches!(cell.content, Content::Missing) {
            return None;
        }
        if cell.arriving {
            return pool
                .reserve(Share::Receive, 1)
                .then(|| (pool.take(Share::Receive), true));
        }
        if !cell.reserved {
            if !pool.reserve(Share::Receive, 1) {
                return None;
            }
            cell.reserved = true;
        }
        if cell.asked == 0 {
            open.free -= 1;
            self.free -= 1;
        }
        cell.arriving = true;
        Some((pool.take(Share::Receive), false))
    }

    /// The stream ended in the middle of `block`: its buffer comes back. Its request is still to be taken back.
    pub fn abort(&mut self, block: BlockRef, buffer: Block, extra: bool, pool: &mut Pool) {
        let cell = if extra {
            None
        } else {
            self.cell(block).filter(|cell| cell.arriving)
        };
        match cell {
            Some(cell) if matches!(cell.content, Content::Missing) => {
                cell.arriving = false;
                pool.put_reserved(Share::Receive, buffer);
                // Counted as busy while it was arriving; `settle` frees it only when nobody owes it.
                self.settle(block, pool);
            }
            _ => pool.put(Share::Receive, buffer),
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "each is a fact of its own, and there is one caller"
    )]
    /// All of `block` is there. The sender's own request for it is over too, if it was `asked`.
    pub fn store(
        &mut self,
        block: BlockRef,
        buffer: Block,
        extra: bool,
        asked: bool,
        sender: Sender,
        pool: &mut Pool,
        now: Instant,
    ) -> Stored {
        let Some(open) = self.open.get_mut(&block.piece) else {
            pool.put(Share::Receive, buffer);
            return Stored::Unneeded;
        };
        let cell = &mut open.cells[block.block as usize];
        let was_free =
            cell.asked == 0 && !cell.arriving && matches!(cell.content, Content::Missing);
        if asked {
            cell.asked = cell.asked.saturating_sub(1);
        }
        let was_arriving = cell.arriving;
        cell.arriving = was_arriving && extra;
        // A buffer that was begun before the piece was last opened has no claim on this one.
        let stale = !extra && !was_arriving;
        if stale || !matches!(cell.content, Content::Missing) {
            pool.put(Share::Receive, buffer);
            if !was_free {
                // Its request may have been the last that the block was waited for by.
                self.settle(block, pool);
            }
            return Stored::Unneeded;
        }
        // Of two buffers for one block, whichever is whole first stays; the other goes back with the claim it came with.
        if extra && !was_arriving && std::mem::replace(&mut cell.reserved, true) {
            pool.unreserve(Share::Receive, 1);
        }
        if was_free {
            open.free -= 1;
            self.free -= 1;
        }
        cell.content = Content::Held(buffer);
        cell.sender = Some(sender);
        open.missing -= 1;
        open.moved = now;
        Stored::Needed {
            duplicates: cell.asked,
            complete: open.missing == 0,
        }
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
            if cell.reserved
                && cell.asked == 0
                && !cell.arriving
                && matches!(cell.content, Content::Missing)
            {
                cell.reserved = false;
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
            if matches!(cell.content, Content::Held(_))
                && let Content::Held(buffer) =
                    std::mem::replace(&mut cell.content, Content::Writing)
            {
                // The claim goes with the buffer, which the pool gets back after the write.
                cell.reserved = false;
                open.writing += 1;
                held.push((BlockRef { piece, block }, buffer));
            }
        }
        held
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
            if cell.asked == 0 && !cell.arriving {
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
                // While it is arriving its buffer is taken: it comes back through `abort` or `store`, which find no piece.
                Content::Missing if cell.reserved && !cell.arriving => {
                    pool.unreserve(Share::Receive, 1)
                }
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

    fn cell(&mut self, block: BlockRef) -> Option<&mut Cell> {
        self.open
            .get_mut(&block.piece)?
            .cells
            .get_mut(block.block as usize)
    }

    /// Makes a block free again when nobody owes it.
    fn settle(&mut self, block: BlockRef, pool: &mut Pool) {
        let Some(open) = self.open.get_mut(&block.piece) else {
            return;
        };
        let cell = &mut open.cells[block.block as usize];
        if cell.asked > 0 || cell.arriving || !matches!(cell.content, Content::Missing) {
            return;
        }
        if open.keep == Keep::InPlace && cell.reserved {
            cell.reserved = false;
            pool.unreserve(Share::Receive, 1);
        }
        open.free += 1;
        self.free += 1;
        open.first_free = open.first_free.min(block.block);
    }
}

impl OpenPiece {
    /// Whether nobody was asked for some of its blocks, and `stream` may be.
    #[must_use]
    pub fn is_free_for(&self, stream: StreamId) -> bool {
        self.free > 0 && self.only.is_none_or(|only| only == stream)
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
