//! Any bytes as a message of `ut_metadata`: bounded, and what is written again is read the same.

use linnet::codec::metadata::{MetadataMessage, PIECE_BYTES, piece_range};

/// One case.
pub fn run(bytes: &[u8]) {
    let Some(message) = MetadataMessage::decode(bytes) else {
        return;
    };
    if let MetadataMessage::Data {
        piece,
        total,
        bytes,
    } = message
    {
        assert!(bytes.len() <= PIECE_BYTES);
        if let Some(range) = piece_range(total as usize, piece) {
            assert!(range.end <= total as usize && range.len() <= PIECE_BYTES);
        }
    }
    let again = message.encode();
    assert_eq!(MetadataMessage::decode(&again), Some(message));
}
