//! Names of things: content hashes, and slab slots with generations.
//!
//! A slot id is stale as soon as its thing is gone: the slot may be filled again, but under another generation, so a late
//! job, a late readiness or a late message finds nothing instead of the wrong thing.

use std::fmt;
use std::str::FromStr;

/// SHA-1 of the `info` dictionary's original bytes (BEP 3): which torrent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// The 20 bytes a client names itself by in the handshake (BEP 3, BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnInfoHash;

impl FromStr for InfoHash {
    type Err = NotAnInfoHash;

    fn from_str(text: &str) -> Result<Self, NotAnInfoHash> {
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return Err(NotAnInfoHash);
        }
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            b'A'..=b'F' => Ok(digit - b'A' + 10),
            _ => Err(NotAnInfoHash),
        };
        let mut hash = [0; 20];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for PeerId {
    /// Printable bytes as they are, others as `.`: a stranger chose them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| {
            let shown = if byte.is_ascii_graphic() {
                char::from(byte)
            } else {
                '.'
            };
            write!(f, "{shown}")
        })
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! slot_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            slot: u32,
            generation: u32,
        }

        impl $name {
            /// The id of what lives in `slot` for the `generation`th time.
            #[must_use]
            pub const fn new(slot: u32, generation: u32) -> Self {
                Self { slot, generation }
            }

            /// Where in its slab.
            #[must_use]
            pub const fn slot(self) -> usize {
                self.slot as usize
            }

            /// The same, as it is stored: tables of many name their neighbours by slot alone.
            #[must_use]
            pub const fn slot32(self) -> u32 {
                self.slot
            }

            /// Which tenant of the slot.
            #[must_use]
            pub const fn generation(self) -> u32 {
                self.generation
            }

            /// Both halves in one word, for a poller's token or a log.
            #[must_use]
            pub const fn to_word(self) -> u64 {
                (self.generation as u64) << 32 | self.slot as u64
            }

            /// The inverse of [`Self::to_word`].
            #[must_use]
            #[allow(clippy::cast_possible_truncation, reason = "the halves of a word")]
            pub const fn from_word(word: u64) -> Self {
                Self { slot: word as u32, generation: (word >> 32) as u32 }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.slot, self.generation)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

slot_id!(
    /// One torrent at work.
    SessionId
);
slot_id!(
    /// All that concerns the links of one info-hash.
    SwarmId
);
slot_id!(
    /// Our record of one remote address.
    LinkId
);
slot_id!(
    /// One established, or hoped-for, byte stream on a link.
    StreamId
);
slot_id!(
    /// One uTP connection (BEP 29): it carries a stream, or ends one that is gone.
    UtpId
);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id!(
    /// One piece of work given out: answered exactly once. Never reused.
    JobId
);
number_id!(
    /// Whom an answer goes to. Only the loop knows the slot behind it.
    ReplyId
);
number_id!(
    /// A socket that was accepted or adopted and has no stream yet.
    SocketId
);
number_id!(
    /// A byte stream that a caller carries itself; the caller chose the number and keeps it unique.
    ConnectionId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_info_hash_reads_what_it_prints() {
        let hash = InfoHash(std::array::from_fn(|i| u8::try_from(i * 13).unwrap_or(255)));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        for bad in [
            "",
            "00",
            &"g".repeat(40),
            &"0".repeat(41),
            "é".repeat(20).as_str(),
        ] {
            assert_eq!(bad.parse::<InfoHash>(), Err(NotAnInfoHash), "{bad}");
        }
    }

    #[test]
    fn a_word_holds_both_halves() {
        let id = StreamId::new(7, u32::MAX);
        assert_eq!(StreamId::from_word(id.to_word()), id);
        assert_eq!(id.to_string(), "7.4294967295");
    }
}
