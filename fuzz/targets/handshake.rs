//! Any bytes as a handshake: refused at once or waited for, and read as it was written.

use linnet::codec::wire::{HANDSHAKE_BYTES, Handshake};

/// One case.
pub fn run(bytes: &[u8]) {
    let hash = Handshake::info_hash_of(bytes);
    match Handshake::decode(bytes) {
        Ok(Some(handshake)) => {
            assert_eq!(hash, Some(handshake.info_hash));
            let again = handshake.encode();
            assert_eq!(Handshake::decode(&again), Ok(Some(handshake)));
            // Reserved bits that we do not know are not kept.
            assert_eq!(again[..20], bytes[..20]);
            assert_eq!(again[28..], bytes[28..HANDSHAKE_BYTES]);
        }
        Ok(None) => {
            assert!(bytes.len() < HANDSHAKE_BYTES);
            assert_eq!(hash.is_some(), bytes.len() >= 48);
        }
        Err(_) => assert_eq!(hash, None),
    }
}
