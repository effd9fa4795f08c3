//! Handshake and peer messages (BEP 3, 5, 6, 10): bytes ⇄ values, without state.
//!
//! Owns what can be judged from the bytes alone: shapes and lengths. Whether a message is legal now, and whether what it
//! names exists, is for `engine/table/` and [`super::geometry`].
//!
//! ```text
//! handshake  <19> "BitTorrent protocol" <reserved: 8> <info-hash: 20> <peer id: 20>
//! message    <length: u32 BE> <id: u8> <payload: length - 1>
//! ```

use std::fmt;

use crate::ids::{InfoHash, PeerId};

/// Bytes of a handshake.
pub const HANDSHAKE_BYTES: usize = 68;

/// Bytes before the payload of a `piece` message: `<length><id><index><begin>`.
pub const PIECE_HEAD_BYTES: usize = 13;

/// Bytes of the longest message whose length is fixed: `request`, `cancel`, `reject`.
pub const FIXED_BYTES_MAX: usize = 17;

/// How a handshake begins.
pub const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
const INFO_HASH_AT: usize = 28;
const PEER_ID_AT: usize = 48;

/// How a peer broke the protocol, as far as the bytes alone show it: the stream is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The first bytes are not those of a BitTorrent handshake.
    NotBitTorrent,
    /// A message announces more bytes than we take.
    Oversized {
        /// As announced.
        length: u32,
        /// The most we take.
        limit: u32,
    },
    /// A message has a length that its kind cannot have.
    WrongLength {
        /// Its kind.
        id: u8,
        /// As announced, the id included.
        length: u32,
    },
    /// An extended handshake is not a bencoded dictionary (BEP 10).
    ExtendedHandshake,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBitTorrent => write!(f, "not a BitTorrent handshake"),
            Self::Oversized { length, limit } => {
                write!(f, "a message of {length} bytes, at most {limit} are taken")
            }
            Self::WrongLength { id, length } => {
                write!(f, "message {id} cannot be {length} bytes long")
            }
            Self::ExtendedHandshake => write!(f, "a malformed extended handshake"),
        }
    }
}

impl std::error::Error for Violation {}

/// What a side says it can do, in the reserved bytes of its handshake. Bits we do not know are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The fast extension (BEP 6): byte 7, bit 2.
    pub fast: bool,
    /// The extension protocol (BEP 10): byte 5, bit 4.
    pub extended: bool,
    /// The DHT (BEP 5): byte 7, bit 0.
    pub dht: bool,
}

impl Features {
    const FAST: u8 = 0x04;
    const EXTENDED: u8 = 0x10;
    const DHT: u8 = 0x01;

    /// What `reserved` says.
    #[must_use]
    pub const fn from_reserved(reserved: [u8; 8]) -> Self {
        Self {
            fast: reserved[7] & Self::FAST != 0,
            extended: reserved[5] & Self::EXTENDED != 0,
            dht: reserved[7] & Self::DHT != 0,
        }
    }

    /// The inverse of [`Self::from_reserved`].
    #[must_use]
    pub const fn to_reserved(self) -> [u8; 8] {
        let mut reserved = [0; 8];
        if self.extended {
            reserved[5] |= Self::EXTENDED;
        }
        if self.fast {
            reserved[7] |= Self::FAST;
        }
        if self.dht {
            reserved[7] |= Self::DHT;
        }
        reserved
    }

    /// What both sides can do.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self {
            fast: self.fast && other.fast,
            extended: self.extended && other.extended,
            dht: self.dht && other.dht,
        }
    }
}

/// The first thing each side says (BEP 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// What the side can do.
    pub features: Features,
    /// Which torrent the stream is for.
    pub info_hash: InfoHash,
    /// What the side calls itself.
    pub peer_id: PeerId,
}

impl Handshake {
    /// As on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HANDSHAKE_BYTES] {
        let mut bytes = [0; HANDSHAKE_BYTES];
        bytes[..20].copy_from_slice(PROTOCOL);
        bytes[20..INFO_HASH_AT].copy_from_slice(&self.features.to_reserved());
        bytes[INFO_HASH_AT..PEER_ID_AT].copy_from_slice(&self.info_hash.0);
        bytes[PEER_ID_AT..].copy_from_slice(&self.peer_id.0);
        bytes
    }

    /// Decodes a handshake from the front of `bytes`; `None` means more bytes are needed. It is [`HANDSHAKE_BYTES`] long.
    ///
    /// # Errors
    /// [`Violation::NotBitTorrent`] with the first wrong byte, so that a stranger who speaks something else is not waited for.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        if !starts_as_bittorrent(bytes) {
            return Err(Violation::NotBitTorrent);
        }
        if bytes.len() < HANDSHAKE_BYTES {
            return Ok(None);
        }
        Ok(Some(Self {
            features: Features::from_reserved(array(bytes, PROTOCOL.len())),
            info_hash: InfoHash(array(bytes, INFO_HASH_AT)),
            peer_id: PeerId(array(bytes, PEER_ID_AT)),
        }))
    }

    /// The info-hash as soon as it is there: 48 bytes, so that who accepts can answer before the peer id arrives (BEP 3).
    #[must_use]
    pub fn info_hash_of(bytes: &[u8]) -> Option<InfoHash> {
        (bytes.len() >= PEER_ID_AT && starts_as_bittorrent(bytes))
            .then(|| InfoHash(array(bytes, INFO_HASH_AT)))
    }
}

/// Whether all bytes that are there are those of the protocol's name.
fn starts_as_bittorrent(bytes: &[u8]) -> bool {
    bytes.iter().zip(PROTOCOL).all(|(have, want)| have == want)
}

/// `N` bytes from `at` on; the caller has seen that they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("a slice of N bytes is an array of N bytes")
}

/// The bytes that `request`, `cancel` and `reject` name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Piece.
    pub index: u32,
    /// Where in the piece.
    pub begin: u32,
    /// Bytes.
    pub length: u32,
}

/// What peers say to each other. Nothing in it has been checked against a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Nothing: the stream is alive.
    KeepAlive,
    /// The sender serves no requests.
    Choke,
    /// The sender serves requests.
    Unchoke,
    /// The sender would ask if it were unchoked.
    Interested,
    /// The sender would not.
    NotInterested,
    /// The sender has this piece.
    Have(u32),
    /// The pieces the sender has, a bit each, first piece highest; the length is not checked.
    Bitfield(&'a [u8]),
    /// The sender asks for a block.
    Request(Request),
    /// A block: BEP 3 calls the message `piece`.
    Piece {
        /// Piece.
        index: u32,
        /// Where in the piece.
        begin: u32,
        /// The payload.
        block: &'a [u8],
    },
    /// The sender no longer wants what it asked for.
    Cancel(Request),
    /// The UDP port of the sender's DHT node (BEP 5).
    Port(u16),
    /// The sender would like to be asked for this piece (BEP 6).
    Suggest(u32),
    /// The sender has everything (BEP 6).
    HaveAll,
    /// The sender has nothing (BEP 6).
    HaveNone,
    /// The sender will not serve this request (BEP 6).
    Reject(Request),
    /// The sender serves this piece even to a choked peer (BEP 6).
    AllowedFast(u32),
    /// A message of an extension (BEP 10); `id` 0 is the extended handshake.
    Extended {
        /// As the receiver named the extension.
        id: u8,
        /// The extension's own.
        payload: &'a [u8],
    },
    /// A kind we do not know; passed over, its payload too.
    Unknown(u8),
}

const CHOKE: u8 = 0;
const UNCHOKE: u8 = 1;
const INTERESTED: u8 = 2;
const NOT_INTERESTED: u8 = 3;
const HAVE: u8 = 4;
const BITFIELD: u8 = 5;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;
const CANCEL: u8 = 8;
const PORT: u8 = 9;
const SUGGEST: u8 = 13;
const HAVE_ALL: u8 = 14;
const HAVE_NONE: u8 = 15;
const REJECT: u8 = 16;
const ALLOWED_FAST: u8 = 17;
const EXTENDED: u8 = 20;

/// Bytes of a `piece` message that its length counts before the block: id, index, begin.
const PIECE_OVERHEAD: u32 = 9;

/// Whether a message of kind `id` can be `length` bytes long, the id included.
const fn length_fits(id: u8, length: u32) -> bool {
    match id {
        CHOKE | UNCHOKE | INTERESTED | NOT_INTERESTED | HAVE_ALL | HAVE_NONE => length == 1,
        PORT => length == 3,
        HAVE | SUGGEST | ALLOWED_FAST => length == 5,
        REQUEST | CANCEL | REJECT => length == 13,
        PIECE => length >= PIECE_OVERHEAD,
        EXTENDED => length >= 2,
        _ => true,
    }
}

/// Decodes one message from the front of `bytes`; `None` means more bytes are needed.
///
/// Shape: `<length: u32 BE> <id: u8> <payload>`, length 0 being a keep-alive (BEP 3).
/// Returns the message and the bytes consumed. Never looks past `length`, never allocates.
///
/// # Errors
/// [`Violation::Oversized`] as soon as the prefix is read, before its payload arrives: `limit` is the largest `length`.
/// [`Violation::WrongLength`] as soon as the id is read.
pub fn decode(bytes: &[u8], limit: u32) -> Result<Option<(Message<'_>, usize)>, Violation> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*prefix);
    if length > limit {
        return Err(Violation::Oversized { length, limit });
    }
    if length == 0 {
        return Ok(Some((Message::KeepAlive, 4)));
    }
    let Some((&id, rest)) = rest.split_first() else {
        return Ok(None);
    };
    if !length_fits(id, length) {
        return Err(Violation::WrongLength { id, length });
    }
    let Some(payload) = rest.get(..length as usize - 1) else {
        return Ok(None);
    };
    let word = |at| u32::from_be_bytes(array(payload, at));
    let request = || Request {
        index: word(0),
        begin: word(4),
        length: word(8),
    };
    let message = match id {
        CHOKE => Message::Choke,
        UNCHOKE => Message::Unchoke,
        INTERESTED => Message::Interested,
        NOT_INTERESTED => Message::NotInterested,
        HAVE => Message::Have(word(0)),
        BITFIELD => Message::Bitfield(payload),
        REQUEST => Message::Request(request()),
        PIECE => Message::Piece {
            index: word(0),
            begin: word(4),
            block: &payload[8..],
        },
        CANCEL => Message::Cancel(request()),
        PORT => Message::Port(u16::from_be_bytes(array(payload, 0))),
        SUGGEST => Message::Suggest(word(0)),
        HAVE_ALL => Message::HaveAll,
        HAVE_NONE => Message::HaveNone,
        REJECT => Message::Reject(request()),
        ALLOWED_FAST => Message::AllowedFast(word(0)),
        EXTENDED => Message::Extended {
            id: payload[0],
            payload: &payload[1..],
        },
        _ => Message::Unknown(id),
    };
    Ok(Some((message, 4 + length as usize)))
}

/// What a `piece` message says before its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceHead {
    /// Piece.
    pub index: u32,
    /// Where in the piece.
    pub begin: u32,
    /// Bytes of the block that follow the head.
    pub length: u32,
}

/// The head of a `piece` message, [`PIECE_HEAD_BYTES`] long, so that its block can go into its buffer as it arrives.
/// `None` when `bytes` begin with anything else, or with less than a whole head: [`decode`] then has the say.
///
/// # Errors
/// As [`decode`].
pub fn piece_head(bytes: &[u8], limit: u32) -> Result<Option<PieceHead>, Violation> {
    if bytes.len() < PIECE_HEAD_BYTES || bytes[4] != PIECE {
        return Ok(None);
    }
    let word = |at| u32::from_be_bytes(array(bytes, at));
    let length = word(0);
    if length == 0 {
        return Ok(None); // A keep-alive: the byte behind it belongs to the next message.
    }
    if length > limit {
        return Err(Violation::Oversized { length, limit });
    }
    if !length_fits(PIECE, length) {
        return Err(Violation::WrongLength { id: PIECE, length });
    }
    Ok(Some(PieceHead {
        index: word(5),
        begin: word(9),
        length: length - PIECE_OVERHEAD,
    }))
}

/// The head of a `piece` message whose block is `length` bytes long.
#[must_use]
pub fn encode_piece_head(index: u32, begin: u32, length: u32) -> [u8; PIECE_HEAD_BYTES] {
    let length = length
        .checked_add(PIECE_OVERHEAD)
        .expect("a block is far shorter than 4 GiB");
    let mut head = [0; PIECE_HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4] = PIECE;
    head[5..9].copy_from_slice(&index.to_be_bytes());
    head[9..].copy_from_slice(&begin.to_be_bytes());
    head
}

impl Message<'_> {
    /// Appends the message to `out`. An unknown one goes without payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Some((bytes, length)) = self.encode_small() {
            out.extend_from_slice(&bytes[..usize::from(length)]);
            return;
        }
        let mut head = |id: u8, payload: usize| {
            let length = u32::try_from(payload + 1).expect("a payload is far shorter than 4 GiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.push(id);
        };
        match *self {
            Self::Bitfield(bits) => {
                head(BITFIELD, bits.len());
                out.extend_from_slice(bits);
            }
            Self::Piece {
                index,
                begin,
                block,
            } => {
                head(PIECE, 8 + block.len());
                out.extend_from_slice(&index.to_be_bytes());
                out.extend_from_slice(&begin.to_be_bytes());
                out.extend_from_slice(block);
            }
            Self::Extended { id, payload } => {
                head(EXTENDED, 1 + payload.len());
                out.push(id);
                out.extend_from_slice(payload);
            }
            _ => unreachable!("every other message has a fixed length"),
        }
    }

    /// The message and its length, when it is of a kind whose length is fixed; at most [`FIXED_BYTES_MAX`] bytes, in the
    /// shape that a frame of the engine has. `None` for `bitfield`, `piece` and extensions.
    #[must_use]
    pub fn encode_small(&self) -> Option<([u8; HANDSHAKE_BYTES], u8)> {
        let (id, words, count): (u8, [u32; 3], usize) = match *self {
            Self::KeepAlive => return Some(([0; HANDSHAKE_BYTES], 4)),
            Self::Choke => (CHOKE, [0; 3], 0),
            Self::Unchoke => (UNCHOKE, [0; 3], 0),
            Self::Interested => (INTERESTED, [0; 3], 0),
            Self::NotInterested => (NOT_INTERESTED, [0; 3], 0),
            Self::HaveAll => (HAVE_ALL, [0; 3], 0),
            Self::HaveNone => (HAVE_NONE, [0; 3], 0),
            Self::Unknown(id) => (id, [0; 3], 0),
            Self::Have(index) => (HAVE, [index, 0, 0], 1),
            Self::Suggest(index) => (SUGGEST, [index, 0, 0], 1),
            Self::AllowedFast(index) => (ALLOWED_FAST, [index, 0, 0], 1),
            Self::Request(r) => (REQUEST, [r.index, r.begin, r.length], 3),
            Self::Cancel(r) => (CANCEL, [r.index, r.begin, r.length], 3),
            Self::Reject(r) => (REJECT, [r.index, r.begin, r.length], 3),
            Self::Port(port) => {
                let mut bytes = [0; HANDSHAKE_BYTES];
                bytes[3] = 3;
                bytes[4] = PORT;
                bytes[5..7].copy_from_slice(&port.to_be_bytes());
                return Some((bytes, 7));
            }
            Self::Bitfield(_) | Self::Piece { .. } | Self::Extended { .. } => return None,
        };
        let mut bytes = [0; HANDSHAKE_BYTES];
        bytes[4] = id;
        for (word, place) in words[..count].iter().zip(bytes[5..].chunks_exact_mut(4)) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let length = 1 + 4 * u8::try_from(count).expect("at most 3 words");
        bytes[3] = length;
        Some((bytes, 4 + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const LIMIT: u32 = 1 << 17;

    fn request(index: u32, begin: u32, length: u32) -> Request {
        Request {
            index,
            begin,
            length,
        }
    }

    #[test]
    #[rustfmt::skip]
    fn messages_decode_whole_and_wait_when_cut_anywhere() {
        let table: &[(&str, &[u8], Message<'_>)] = &[
            ("keep-alive",     &[0, 0, 0, 0],                               Message::KeepAlive),
            ("choke",          &[0, 0, 0, 1, 0],                            Message::Choke),
            ("unchoke",        &[0, 0, 0, 1, 1],                            Message::Unchoke),
            ("interested",     &[0, 0, 0, 1, 2],                            Message::Interested),
            ("not interested", &[0, 0, 0, 1, 3],                            Message::NotInterested),
            ("have 7",         &[0, 0, 0, 5, 4, 0, 0, 0, 7],                Message::Have(7)),
            ("bitfield",       &[0, 0, 0, 3, 5, 0xff, 0x80],                Message::Bitfield(&[0xff, 0x80])),
            ("empty bitfield", &[0, 0, 0, 1, 5],                            Message::Bitfield(&[])),
            ("request",        &[0, 0, 0, 13, 6, 0, 0, 0, 1, 0, 0, 0x40, 0, 0, 0, 0x20, 0], Message::Request(request(1, 16384, 8192))),
            ("piece",          &[0, 0, 0, 11, 7, 0, 0, 0, 2, 0, 0, 0, 3, 8, 9], Message::Piece { index: 2, begin: 3, block: &[8, 9] }),
            ("empty piece",    &[0, 0, 0, 9, 7, 0, 0, 0, 2, 0, 0, 0, 3],    Message::Piece { index: 2, begin: 3, block: &[] }),
            ("cancel",         &[0, 0, 0, 13, 8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], Message::Cancel(request(1, 2, 3))),
            ("port",           &[0, 0, 0, 3, 9, 0x1a, 0xe1],                Message::Port(6881)),
            ("suggest",        &[0, 0, 0, 5, 13, 0xff, 0xff, 0xff, 0xff],   Message::Suggest(u32::MAX)),
            ("have all",       &[0, 0, 0, 1, 14],                           Message::HaveAll),
            ("have none",      &[0, 0, 0, 1, 15],                           Message::HaveNone),
            ("reject",         &[0, 0, 0, 13, 16, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], Message::Reject(request(1, 2, 3))),
            ("allowed fast",   &[0, 0, 0, 5, 17, 0, 0, 1, 0],               Message::AllowedFast(256)),
            ("extended",       &[0, 0, 0, 4, 20, 0, b'd', b'e'],            Message::Extended { id: 0, payload: b"de" }),
            ("extended alone", &[0, 0, 0, 2, 20, 3],                        Message::Extended { id: 3, payload: &[] }),
            ("unknown",        &[0, 0, 0, 1, 99],                           Message::Unknown(99)),
        ];
        for (name, bytes, want) in table {
            assert_eq!(decode(bytes, LIMIT), Ok(Some((*want, bytes.len()))), "{name}");
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut], LIMIT), Ok(None), "{name} cut at {cut}");
            }
            let mut longer = bytes.to_vec();
            longer.extend_from_slice(&[1, 2, 3]);
            assert_eq!(decode(&longer, LIMIT), Ok(Some((*want, bytes.len()))), "{name} and more");
            let mut out = Vec::new();
            want.encode(&mut out);
            assert_eq!(&out, bytes, "{name} encoded");
            if let Some((small, length)) = want.encode_small() {
                assert_eq!(&&small[..usize::from(length)], bytes, "{name} encoded small");
                assert!(bytes.len() <= FIXED_BYTES_MAX, "{name}");
            }
        }
    }

    #[test]
    fn an_unknown_message_is_passed_over_with_its_payload() {
        let bytes = [0, 0, 0, 4, 77, 1, 2, 3, 0, 0, 0, 0];
        assert_eq!(decode(&bytes, LIMIT), Ok(Some((Message::Unknown(77), 8))));
        assert_eq!(decode(&bytes[..7], LIMIT), Ok(None));
    }

    #[test]
    fn lengths_are_judged_before_the_payload_arrives() {
        let oversized = Violation::Oversized {
            length: LIMIT + 1,
            limit: LIMIT,
        };
        let prefix = (LIMIT + 1).to_be_bytes();
        assert_eq!(decode(&prefix, LIMIT), Err(oversized));
        assert_eq!(decode(&LIMIT.to_be_bytes(), LIMIT), Ok(None));
        #[rustfmt::skip]
        let table: &[(u8, &[u32])] = &[
            (CHOKE, &[2, 5]), (UNCHOKE, &[2]), (INTERESTED, &[2]), (NOT_INTERESTED, &[2]),
            (HAVE, &[1, 4, 6]), (REQUEST, &[1, 12, 14]), (PIECE, &[1, 8]), (CANCEL, &[12, 14]),
            (PORT, &[1, 2, 4]), (SUGGEST, &[1, 4, 6]), (HAVE_ALL, &[2]), (HAVE_NONE, &[2]),
            (REJECT, &[12, 14]), (ALLOWED_FAST, &[4, 6]), (EXTENDED, &[1]),
        ];
        for &(id, lengths) in table {
            for &length in lengths {
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.push(id);
                let want = Violation::WrongLength { id, length };
                assert_eq!(decode(&bytes, LIMIT), Err(want), "{id} of {length}");
            }
        }
    }

    #[test]
    fn a_piece_head_is_seen_before_its_block() {
        let head = encode_piece_head(5, 16_384, 16_384);
        let want = PieceHead {
            index: 5,
            begin: 16_384,
            length: 16_384,
        };
        assert_eq!(piece_head(&head, LIMIT), Ok(Some(want)));
        for cut in 0..PIECE_HEAD_BYTES {
            assert_eq!(piece_head(&head[..cut], LIMIT), Ok(None), "cut at {cut}");
        }
        assert!(matches!(
            piece_head(&head, 16_392),
            Err(Violation::Oversized { .. })
        ));
        let mut short = head;
        short[..4].copy_from_slice(&8_u32.to_be_bytes());
        assert!(matches!(
            piece_head(&short, LIMIT),
            Err(Violation::WrongLength { id: 7, length: 8 })
        ));
        let keep_alive_then = [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(piece_head(&keep_alive_then, LIMIT), Ok(None));
        let other = [0, 0, 0, 13, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(piece_head(&other, LIMIT), Ok(None));
    }

    #[test]
    fn a_handshake_is_refused_with_its_first_wrong_byte() {
        let handshake = Handshake {
            features: Features {
                fast: true,
                extended: true,
                dht: false,
            },
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId(*b"-LN0100-abcdefghijkl"),
        };
        let bytes = handshake.encode();
        assert_eq!(&bytes[20..28], &[0, 0, 0, 0, 0, 0x10, 0, 0x04]);
        assert_eq!(Handshake::decode(&bytes), Ok(Some(handshake)));
        for cut in 0..HANDSHAKE_BYTES {
            assert_eq!(Handshake::decode(&bytes[..cut]), Ok(None), "cut at {cut}");
            let early = (cut >= 48).then_some(handshake.info_hash);
            assert_eq!(Handshake::info_hash_of(&bytes[..cut]), early, "{cut}");
        }
        for wrong in 0..20 {
            let mut bytes = bytes;
            bytes[wrong] ^= 0x20;
            let refused = Err(Violation::NotBitTorrent);
            assert_eq!(Handshake::decode(&bytes[..=wrong]), refused, "{wrong}");
            assert_eq!(Handshake::info_hash_of(&bytes), None, "{wrong}");
        }
    }

    #[test]
    fn features_survive_the_reserved_bytes() {
        for bits in 0..8_u8 {
            let features = Features {
                fast: bits & 1 != 0,
                extended: bits & 2 != 0,
                dht: bits & 4 != 0,
            };
            assert_eq!(Features::from_reserved(features.to_reserved()), features);
        }
        let all = Features::from_reserved([0xff; 8]);
        assert!(all.fast && all.extended && all.dht);
        assert_eq!(all.both(Features::default()), Features::default());
    }

    #[test]
    fn what_is_encoded_is_decoded_whatever_the_bytes() {
        let seed = 0x7769_7265;
        let mut rng = Rng::new(seed);
        let mut payload = [0; 300];
        for round in 0..5000 {
            rng.fill(&mut payload);
            let mut bytes = payload[..rng.index(300)].to_vec();
            if bytes.len() >= 5 && rng.chance(9, 10) {
                bytes[..4].fill(0);
                bytes[3] = u8::try_from(rng.below(40)).unwrap();
                bytes[4] %= 24;
            }
            let Ok(Some((message, used))) = decode(&bytes, LIMIT) else {
                continue;
            };
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(
                decode(&again, LIMIT),
                Ok(Some((message, again.len()))),
                "seed {seed}, round {round}"
            );
            if !matches!(message, Message::Unknown(_)) {
                assert_eq!(again, &bytes[..used], "seed {seed}, round {round}");
            }
        }
    }
}
