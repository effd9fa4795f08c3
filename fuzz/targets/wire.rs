//! Any bytes as a run of peer messages: what is decoded encodes to the same bytes, and a cut message is waited for.

use linnet::codec::wire::{self, Message};

/// As in use: a block and its head, or a bitfield of a million pieces.
const LIMIT: u32 = 128 * 1024;

/// One case.
pub fn run(mut bytes: &[u8]) {
    loop {
        let head = wire::piece_head(bytes, LIMIT);
        let (message, used) = match wire::decode(bytes, LIMIT) {
            Ok(Some(found)) => found,
            Ok(None) => {
                assert!(head.is_ok(), "both judge alike");
                return;
            }
            Err(violation) => {
                assert!(
                    head == Ok(None) || head == Err(violation),
                    "both judge alike"
                );
                return;
            }
        };
        match (head, message) {
            (
                Ok(Some(head)),
                Message::Piece {
                    index,
                    begin,
                    block,
                },
            ) => {
                assert_eq!((head.index, head.begin), (index, begin));
                assert_eq!(head.length as usize, block.len());
                let encoded = wire::encode_piece_head(index, begin, head.length);
                assert_eq!(encoded, bytes[..wire::PIECE_HEAD_BYTES]);
            }
            (Ok(None), message) => assert!(!matches!(message, Message::Piece { .. })),
            (head, message) => panic!("{head:?} of {message:?}"),
        }
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(
            wire::decode(&again, LIMIT),
            Ok(Some((message, again.len())))
        );
        if !matches!(message, Message::Unknown(_)) {
            assert_eq!(again, bytes[..used]);
        }
        for cut in 0..used.min(32) {
            assert_eq!(wire::decode(&bytes[..cut], LIMIT), Ok(None), "cut at {cut}");
        }
        bytes = &bytes[used..];
    }
}
