//! Any bytes as an extended handshake: bounded, and what is written again is read the same.

use linnet::codec::extension::{CLIENT_CHARS_MAX, EXTENSIONS_MAX, ExtendedHandshake};

/// One case.
pub fn run(bytes: &[u8]) {
    let Ok(handshake) = ExtendedHandshake::decode(bytes) else {
        return;
    };
    assert!(handshake.extensions.len() <= EXTENSIONS_MAX);
    if let Some(client) = &handshake.client {
        assert!(client.chars().count() <= CLIENT_CHARS_MAX);
        assert!(!client.contains(char::is_control));
    }
    let again = ExtendedHandshake::decode(&handshake.encode());
    assert_eq!(again, Ok(handshake));
}
