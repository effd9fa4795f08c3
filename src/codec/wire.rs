//! Handshake and peer messages (BEP 3, 6, 10).

/// Bytes before the payload of a `piece` message.
pub const PIECE_HEAD_BYTES: usize = 13;
