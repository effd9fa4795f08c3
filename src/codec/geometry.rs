//! How a torrent's bytes are cut: pieces (the hashed unit), blocks (the 16 KiB request unit) and file ranges.
//!
//! A torrent is one run of bytes, all its files one behind the other (BEP 3). Every index a stranger names becomes a
//! [`PieceIndex`] or a [`BlockRef`] here, once, or is refused; nothing behind this border checks it again.

use crate::buffer::BLOCK_BYTES;

/// The request unit of BEP 3, in bytes.
#[allow(clippy::cast_possible_truncation, reason = "16 KiB")]
pub const BLOCK_LENGTH: u32 = BLOCK_BYTES as u32;

/// Longest piece we handle: 256 MiB, beyond what any client makes. A longer one is refused with the torrent.
pub const PIECE_LENGTH_MAX: u32 = 256 * 1024 * 1024;

/// Index of a piece that exists in its torrent. Only [`Geometry`] makes one, so no one checks it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// As on the wire.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// As a subscript.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A block that exists in its torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// The piece it lies in.
    pub piece: PieceIndex,
    /// Its 0-based place in the piece.
    pub block: u32,
}

impl BlockRef {
    /// Where in its piece it begins, in bytes: `begin` of BEP 3.
    #[must_use]
    pub const fn begin(self) -> u32 {
        self.block * BLOCK_LENGTH
    }
}

/// The cut of one torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    total: u64,
    piece_length: u32,
    piece_count: u32,
}

impl Geometry {
    /// `None` for a piece length of 0 or above [`PIECE_LENGTH_MAX`], or a piece count beyond 2^32 - 1.
    #[must_use]
    pub fn new(total: u64, piece_length: u32) -> Option<Self> {
        if piece_length == 0 || piece_length > PIECE_LENGTH_MAX {
            return None;
        }
        let piece_count = u32::try_from(total.div_ceil(u64::from(piece_length))).ok()?;
        Some(Self {
            total,
            piece_length,
            piece_count,
        })
    }

    /// All bytes, padding included.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of every piece but the last.
    #[must_use]
    pub const fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// How many pieces; 0 for a torrent without bytes.
    #[must_use]
    pub const fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// `None` when a peer names a piece this torrent does not have.
    #[must_use]
    pub fn piece(&self, index: u32) -> Option<PieceIndex> {
        (index < self.piece_count).then_some(PieceIndex(index))
    }

    /// All pieces, in order.
    pub fn pieces(
        &self,
    ) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator + use<> {
        (0..self.piece_count).map(PieceIndex)
    }

    /// Where `piece` begins in the torrent's run of bytes.
    #[must_use]
    pub const fn piece_offset(&self, piece: PieceIndex) -> u64 {
        piece.0 as u64 * self.piece_length as u64
    }

    /// Bytes of `piece`: shorter only for the last.
    #[must_use]
    pub fn piece_size(&self, piece: PieceIndex) -> u32 {
        let rest = self.total - self.piece_offset(piece);
        u32::try_from(rest)
            .unwrap_or(u32::MAX)
            .min(self.piece_length)
    }

    /// Blocks of `piece`.
    #[must_use]
    pub fn block_count(&self, piece: PieceIndex) -> u32 {
        self.piece_size(piece).div_ceil(BLOCK_LENGTH)
    }

    /// Blocks of a piece that is not the last: the most any piece has.
    #[must_use]
    pub const fn block_count_max(&self) -> u32 {
        self.piece_length.div_ceil(BLOCK_LENGTH)
    }

    /// Bytes of `block`: shorter only for the last of its piece.
    #[must_use]
    pub fn block_size(&self, block: BlockRef) -> u32 {
        (self.piece_size(block.piece) - block.begin()).min(BLOCK_LENGTH)
    }

    /// Where `block` begins in the torrent's run of bytes.
    #[must_use]
    pub const fn block_offset(&self, block: BlockRef) -> u64 {
        self.piece_offset(block.piece) + block.begin() as u64
    }

    /// The blocks of `piece`, in order.
    pub fn blocks(&self, piece: PieceIndex) -> impl Iterator<Item = BlockRef> + use<> {
        (0..self.block_count(piece)).map(move |block| BlockRef { piece, block })
    }

    /// The block that a `piece` message carries: `None` unless `index`, `begin` and `length` name a whole block of ours.
    #[must_use]
    pub fn whole_block(&self, index: u32, begin: u32, length: u32) -> Option<BlockRef> {
        let block = self.block_at(index, begin)?;
        (self.block_size(block) == length).then_some(block)
    }

    /// The block that begins at `begin` of piece `index`: `None` where none begins.
    #[must_use]
    pub fn block_at(&self, index: u32, begin: u32) -> Option<BlockRef> {
        let piece = self.piece(index)?;
        let aligned = begin.is_multiple_of(BLOCK_LENGTH) && begin < self.piece_size(piece);
        aligned.then_some(BlockRef {
            piece,
            block: begin / BLOCK_LENGTH,
        })
    }

    /// The piece that a `request` names, when all its bytes exist: any `begin`, 1 to 16 KiB bytes (BEP 3; what is larger is
    /// refused by every client in the field).
    #[must_use]
    pub fn requested(&self, index: u32, begin: u32, length: u32) -> Option<PieceIndex> {
        let piece = self.piece(index)?;
        let end = begin.checked_add(length)?;
        (0 < length && length <= BLOCK_LENGTH && end <= self.piece_size(piece)).then_some(piece)
    }

    /// The pieces that hold any of the bytes `offset .. offset + length`.
    pub fn pieces_of(
        &self,
        offset: u64,
        length: u64,
    ) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        let end = offset.saturating_add(length).min(self.total);
        let piece_length = u64::from(self.piece_length);
        let (first, last) = if offset < end {
            (offset / piece_length, (end - 1) / piece_length + 1)
        } else {
            (0, 0)
        };
        let narrow = |n| u32::try_from(n).expect("below the piece count");
        (narrow(first)..narrow(last)).map(PieceIndex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(total: u64, piece_length: u32) -> Geometry {
        Geometry::new(total, piece_length).expect("valid")
    }

    #[test]
    fn the_last_piece_and_the_last_block_are_shorter() {
        let g = geometry(100_000, 32_768);
        assert_eq!(g.piece_count(), 4);
        let last = g.piece(3).expect("exists");
        assert_eq!(g.piece_size(last), 100_000 - 3 * 32_768);
        assert_eq!(g.piece(4), None);
        let blocks: Vec<_> = g
            .pieces()
            .flat_map(|piece| g.blocks(piece))
            .map(|block| g.block_size(block))
            .collect();
        assert_eq!(
            blocks.iter().map(|&size| u64::from(size)).sum::<u64>(),
            100_000
        );
        assert_eq!(g.block_count(last), 1);
    }

    #[test]
    fn odd_cuts() {
        assert_eq!(Geometry::new(1, 0), None);
        assert_eq!(Geometry::new(u64::MAX, 1), None);
        assert_eq!(Geometry::new(1, PIECE_LENGTH_MAX + 1), None);
        assert_eq!(geometry(0, 16_384).piece_count(), 0);
        let g = geometry(70_000, 20_000);
        assert_eq!(
            g.block_count(g.piece(0).expect("exists")),
            2,
            "a piece need not be a multiple of a block"
        );
        assert_eq!(
            g.pieces_of(19_999, 2)
                .map(PieceIndex::get)
                .collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(
            g.pieces_of(60_000, 999_999)
                .map(PieceIndex::get)
                .collect::<Vec<_>>(),
            [3]
        );
        assert_eq!(g.pieces_of(70_000, 1).count(), 0);
    }

    #[test]
    #[allow(clippy::type_complexity, reason = "a table")]
    fn what_strangers_name_is_checked_once() {
        let g = geometry(70_000, 32_768);
        #[rustfmt::skip]
        let table: &[(&str, (u32, u32, u32), bool, bool)] = &[
            ("a whole block",            (0, 16_384, 16_384),        true,  true),
            ("the short last one",       (2, 0, 70_000 - 65_536),    true,  true),
            ("part of a block",          (0, 1, 100),                false, true),
            ("across two blocks",        (0, 8_192, 16_384),         false, true),
            ("nothing",                  (0, 0, 0),                  false, false),
            ("too long",                 (0, 0, 16_385),             false, false),
            ("beyond the piece",         (0, 32_768, 1),             false, false),
            ("beyond the last piece",    (2, 0, 16_384),             false, false),
            ("no such piece",            (3, 0, 1),                  false, false),
            ("wraps",                    (0, u32::MAX, 2),           false, false),
        ];
        for &(name, (index, begin, length), whole, requested) in table {
            assert_eq!(
                g.whole_block(index, begin, length).is_some(),
                whole,
                "{name}"
            );
            assert_eq!(
                g.requested(index, begin, length).is_some(),
                requested,
                "{name}"
            );
        }
    }
}
