//! UDP announces: what decodes, in either direction and family, reads what it writes and keeps its bounds.

use linnet::codec::address;
use linnet::codec::announce::udp::{self, UdpBody};
use linnet::codec::announce::{PEERS_MAX, TEXT_CHARS_MAX};

/// `bytes` as an answer over either family, and as a request.
pub fn run(bytes: &[u8]) {
    for v6 in [false, true] {
        let Ok(answer) = udp::decode_answer(bytes, v6) else {
            continue;
        };
        assert_eq!(udp::transaction_of(bytes), Some(answer.transaction));
        match &answer.body {
            UdpBody::Connect { .. } => {}
            UdpBody::Announce(body) => {
                assert!(body.peers.len() <= PEERS_MAX);
                assert!(body.peers.iter().all(|&peer| address::dialable(peer)));
            }
            UdpBody::Error(text) => assert!(text.chars().count() <= TEXT_CHARS_MAX),
        }
        let again = udp::encode_answer(&answer, v6);
        assert_eq!(udp::decode_answer(&again, v6), Ok(answer));
    }
    if let Ok(request) = udp::decode_request(bytes) {
        let again = match &request.announce {
            None => udp::encode_connect(request.transaction),
            Some((connection, announce)) => {
                udp::encode_announce(*connection, request.transaction, announce, "/announce?key")
            }
        };
        assert_eq!(udp::decode_request(&again), Ok(request));
    }
}
