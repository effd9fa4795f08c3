//! SHA-1 of many messages at once.

/// A SHA-1 hash.
pub type Digest = [u8; 20];
