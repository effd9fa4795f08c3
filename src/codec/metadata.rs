//! `ut_metadata` (BEP 9): the info dictionary of a torrent, asked for in pieces of 16 KiB.
//!
//! ```text
//! request  d8:msg_typei0e5:piecei<n>ee
//! data     d8:msg_typei1e5:piecei<n>e10:total_sizei<bytes>ee <bytes of the piece>
//! reject   d8:msg_typei2e5:piecei<n>ee
//! ```
//!
//! Judged from the bytes alone; whether a piece was asked for, and whether it is right, is for `engine/metadata/`.

use super::bencode::{self, Item};

/// The name of the extension in `m` (BEP 10).
pub const NAME: &str = "ut_metadata";

/// Bytes of each piece but the last.
pub const PIECE_BYTES: usize = PIECE_LENGTH as usize;

/// The same as peers count it.
const PIECE_LENGTH: u32 = 16 * 1024;

/// Largest info dictionary that is fetched: some 800 000 pieces of a torrent. Whoever claims a larger one is not asked.
pub const METADATA_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Longest dictionary in front of the bytes; a longer one is no message of this extension.
const HEAD_BYTES_MAX: usize = 1024;

/// What peers say of the info dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMessage<'a> {
    /// Send me this piece.
    Request {
        /// Which, from 0.
        piece: u32,
    },
    /// A piece.
    Data {
        /// Which, from 0.
        piece: u32,
        /// Bytes of the whole dictionary, as the sender says; 0 when it does not.
        total: u32,
        /// Its bytes, not more than a piece has.
        bytes: &'a [u8],
    },
    /// The sender does not give this piece.
    Reject {
        /// Which, from 0.
        piece: u32,
    },
}

impl<'a> MetadataMessage<'a> {
    /// Reads the payload of a message. `None` for one of a kind that is not known (BEP 9: to be ignored), and for what is none.
    #[must_use]
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let head = &payload[..payload.len().min(HEAD_BYTES_MAX)];
        let (value, used) = bencode::decode_prefix(head).ok()?;
        let dict = value.as_dict()?;
        let number = |key: &[u8]| u32::try_from(dict.integer(key)?).ok();
        let piece = number(b"piece")?;
        match dict.integer(b"msg_type")? {
            0 => Some(Self::Request { piece }),
            1 => {
                let bytes = payload.get(used..).filter(|b| b.len() <= PIECE_BYTES)?;
                let total = number(b"total_size").unwrap_or(0);
                Some(Self::Data {
                    piece,
                    total,
                    bytes,
                })
            }
            2 => Some(Self::Reject { piece }),
            _ => None,
        }
    }

    /// The payload of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, piece) = match self {
            Self::Request { piece } => (0, piece),
            Self::Data { piece, .. } => (1, piece),
            Self::Reject { piece } => (2, piece),
        };
        let mut dict = Item::dict([
            ("msg_type", Item::Integer(kind)),
            ("piece", Item::Integer((*piece).into())),
        ]);
        if let Self::Data { total, .. } = self {
            dict.insert("total_size", Item::Integer((*total).into()));
        }
        let mut payload = dict.encode();
        if let Self::Data { bytes, .. } = self {
            payload.extend_from_slice(bytes);
        }
        payload
    }
}

/// How many pieces a dictionary of `size` bytes has.
#[must_use]
pub const fn piece_count(size: u32) -> u32 {
    size.div_ceil(PIECE_LENGTH)
}

/// Where `piece` of a dictionary of `size` bytes lies in it; `None` when it does not.
#[must_use]
pub fn piece_range(size: usize, piece: u32) -> Option<std::ops::Range<usize>> {
    let begin = (piece as usize).checked_mul(PIECE_BYTES)?;
    (begin < size).then(|| begin..size.min(begin + PIECE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_decode_whole_and_never_when_cut() {
        #[rustfmt::skip]
        let table: &[(&str, &[u8], MetadataMessage<'_>)] = &[
            // The examples of BEP 9.
            ("request", b"d8:msg_typei0e5:piecei0ee", MetadataMessage::Request { piece: 0 }),
            ("data",    b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxxxxxx",
                        MetadataMessage::Data { piece: 0, total: 34256, bytes: b"xxxxxxxx" }),
            ("reject",  b"d8:msg_typei2e5:piecei0ee", MetadataMessage::Reject { piece: 0 }),
        ];
        for (name, bytes, want) in table {
            assert_eq!(MetadataMessage::decode(bytes), Some(*want), "{name}");
            assert_eq!(want.encode(), *bytes, "{name}");
            let head = bytes.len() - bytes.iter().rev().take_while(|b| **b == b'x').count();
            for cut in 0..head {
                let cut_short = MetadataMessage::decode(&bytes[..cut]);
                assert_eq!(cut_short, None, "{name} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_none_is_passed_over() {
        let long = [
            b"d8:msg_typei1e5:piecei0ee".as_slice(),
            &[0; PIECE_BYTES + 1],
        ]
        .concat();
        let stuffed = format!("d1:a2000:{}8:msg_typei0e5:piecei0ee", "x".repeat(2000));
        #[rustfmt::skip]
        let table: &[(&str, &[u8])] = &[
            ("an unknown kind",  b"d8:msg_typei3e5:piecei0ee"),
            ("no kind",          b"d5:piecei0ee"),
            ("no piece",         b"d8:msg_typei0ee"),
            ("piece below zero", b"d8:msg_typei0e5:piecei-1ee"),
            ("piece too large",  b"d8:msg_typei0e5:piecei4294967296ee"),
            ("a list",           b"le"),
            ("too long a piece", &long),
            ("too long a head",  stuffed.as_bytes()),
        ];
        for (name, bytes) in table {
            assert_eq!(MetadataMessage::decode(bytes), None, "{name}");
        }
        // Some say how long the whole is where it is not asked for, or not at all.
        assert_eq!(
            MetadataMessage::decode(b"d8:msg_typei1e5:piecei7eeab"),
            Some(MetadataMessage::Data {
                piece: 7,
                total: 0,
                bytes: b"ab"
            })
        );
    }

    #[test]
    fn pieces_cover_the_whole_and_nothing_else() {
        for size in [0_u32, 1, 16_383, 16_384, 16_385, 40_000] {
            let ranges: Vec<_> = (0..piece_count(size) + 2)
                .filter_map(|piece| piece_range(size as usize, piece))
                .collect();
            assert_eq!(ranges.len(), piece_count(size) as usize);
            let mut at = 0;
            for range in ranges {
                assert_eq!(range.start, at);
                at = range.end;
            }
            assert_eq!(at, size as usize);
        }
        assert_eq!(
            piece_range(usize::MAX, u32::MAX).map(|r| r.len()),
            Some(PIECE_BYTES)
        );
    }
}
