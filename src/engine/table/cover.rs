//! What is between the bytes of a stream and what they mean: nothing, an encryption handshake, or ciphers.

use crate::codec::mse::{Ciphers, Exchange};
use crate::engine::message::Frame;

/// See [`crate::codec::mse`].
///
/// ```text
/// None ── we dial encrypted, or a stranger's first bytes are no handshake ──▶ Agreeing ── agreed ──▶ Ciphers
///   ▲                                                                                                  │
///   └────────────────────────── only the beginning was hidden, and has passed ─────────────────────────┘
/// ```
#[derive(Debug)]
pub enum Cover {
    /// The stream is what it says.
    None,
    /// Keys are being agreed; nothing of ours may be said before.
    Agreeing(Box<Exchange>),
    /// All of it is encrypted, or the next bytes that come.
    Ciphers(Box<Ciphers>),
}

impl Cover {
    /// Encrypts what is about to be queued, where it lies: a block on its way to a peer is nobody else's.
    pub fn hide(&mut self, frame: &mut Frame) {
        let ciphers = match self {
            Self::None => return,
            Self::Agreeing(_) => {
                debug_assert!(false, "nothing is said before keys are agreed");
                return;
            }
            Self::Ciphers(ciphers) => ciphers,
        };
        match frame {
            Frame::Small { length, bytes } => {
                ciphers.encrypt(&mut bytes[..usize::from(*length)]);
            }
            Frame::Bytes(bytes) => ciphers.encrypt(bytes),
            Frame::Block {
                head,
                block,
                length,
            } => {
                ciphers.encrypt(head);
                ciphers.encrypt(&mut block[..*length as usize]);
            }
        }
    }

    /// Decrypts what has come, and goes when it has nothing to do any more.
    pub fn lift(&mut self, bytes: &mut [u8]) {
        if let Self::Ciphers(ciphers) = self {
            ciphers.decrypt(bytes);
            if ciphers.is_over() {
                *self = Self::None;
            }
        }
    }

    /// Whether payload is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Ciphers(ciphers) if ciphers.is_encrypted())
    }
}
