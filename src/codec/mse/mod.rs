//! Message stream encryption, also called protocol encryption: the handshake before the handshake, without I/O.
//!
//! No BEP describes it; all clients speak it alike. It hides the protocol, and if both want it the payload, from those who
//! look on between two peers. `S` is the shared secret, `SKEY` the info-hash, `H` SHA-1:
//!
//! ```text
//! dialler  → <public key: 96> <pad: 0..512>
//! answerer → <public key: 96> <pad: 0..512>
//! dialler  → H("req1" S)  H("req2" SKEY) xor H("req3" S)
//!            RC4( <0: 8> <methods offered: u32> <length: u16> <pad> <length: u16> <first words> )
//! answerer → RC4( <0: 8> <method chosen: u32> <length: u16> <pad> )
//! both     → the stream, by the method chosen; the first words are encrypted in any case
//! ```
//!
//! Keys are `H("keyA" S SKEY)` for what the dialler says, `keyB` for the answerer. All numbers are big-endian. Neither side
//! knows how long the other's first pad is: each looks for what must follow it, within 512 bytes.

mod exchange;
mod keys;
mod rc4;

use std::fmt;

use crate::hash::{self, Digest};
use crate::ids::InfoHash;

pub use exchange::{Agreed, Exchange, Next};
pub use keys::KEY_BYTES;
pub use rc4::Rc4;

/// The longest pad.
pub const PAD_MAX: usize = 512;

/// A set of ways to go on after the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(u32);

impl Methods {
    /// The stream goes on as it is: only its beginning was hidden.
    pub const PLAIN: Self = Self(1);
    /// Everything is encrypted.
    pub const RC4: Self = Self(2);
    /// Either.
    pub const BOTH: Self = Self(3);

    /// What both sets have.
    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The one way that both sets have; where both have both, the one that costs nothing.
    const fn choose(self, offered: Self) -> Option<Self> {
        let common = self.and(offered);
        if common.has(Self::PLAIN) {
            Some(Self::PLAIN)
        } else if common.has(Self::RC4) {
            Some(Self::RC4)
        } else {
            None
        }
    }
}

/// Why an exchange came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What must follow the pad did not come within its longest length, or more came than can before our key is there.
    NoMark,
    /// The dialler wants a torrent that we do not have.
    UnknownTorrent,
    /// Eight zero bytes were something else: the info-hashes differ, or bytes were changed on the way.
    Garbled,
    /// A pad longer than the longest.
    LongPad,
    /// No method in common, or one was chosen that we did not offer.
    NoMethod,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMark => "no encryption handshake",
            Self::UnknownTorrent => "an encryption handshake for a torrent we do not have",
            Self::Garbled => "a garbled encryption handshake",
            Self::LongPad => "an encryption handshake with too long a pad",
            Self::NoMethod => "no encryption method in common",
        })
    }
}

impl std::error::Error for Failure {}

/// What an answerer finds a torrent by: the hash that stands for its info-hash in an exchange.
#[must_use]
pub fn torrent_mark(info_hash: InfoHash) -> Digest {
    hash::sha1_parts(&[b"req2", &info_hash.0])
}

/// What becomes of the bytes of a stream after its exchange.
#[derive(Clone, Debug)]
pub struct Ciphers {
    is_encrypted: bool,
    read: Option<Reading>,
    write: Option<Rc4>,
}

#[derive(Clone, Debug)]
struct Reading {
    cipher: Rc4,
    /// Bytes that are still encrypted; `None` is all of them.
    left: Option<usize>,
}

impl Ciphers {
    /// Decrypts, in place, the next bytes that came.
    pub fn decrypt(&mut self, bytes: &mut [u8]) {
        let Some(reading) = &mut self.read else {
            return;
        };
        let Some(left) = &mut reading.left else {
            return reading.cipher.apply(bytes);
        };
        let count = bytes.len().min(*left);
        reading.cipher.apply(&mut bytes[..count]);
        *left -= count;
        if *left == 0 {
            self.read = None;
        }
    }

    /// Encrypts, in place, the next bytes that go.
    pub fn encrypt(&mut self, bytes: &mut [u8]) {
        if let Some(cipher) = &mut self.write {
            cipher.apply(bytes);
        }
    }

    /// Whether payload is encrypted, and not only the first words.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether nothing is left to do: the stream goes on as it is.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.read.is_none() && self.write.is_none()
    }
}

#[cfg(test)]
mod tests;
