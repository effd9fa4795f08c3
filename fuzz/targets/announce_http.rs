//! HTTP announces: an answer that decodes reads what it writes and keeps its bounds; any announce survives its URL; and
//! masking a URL twice changes nothing.

use linnet::codec::address;
use linnet::codec::announce::{
    self, Announce, AnnounceError, AnnounceEvent, PEERS_MAX, TEXT_CHARS_MAX, http,
};
use linnet::ids::{InfoHash, PeerId};

/// `bytes` as an answer, as a request, and as a URL.
pub fn run(bytes: &[u8]) {
    answer(bytes);
    request(bytes);
    url(bytes);
}

fn answer(bytes: &[u8]) {
    let mut decoded = http::decode_http(bytes);
    match &mut decoded {
        Ok(answer) => {
            assert!(answer.interval >= announce::INTERVAL_MIN);
            assert!(answer.interval <= announce::INTERVAL_MAX);
            assert!(answer.min_interval.is_none_or(|min| min <= answer.interval));
            assert!(answer.peers.len() <= PEERS_MAX);
            assert!(answer.peers.iter().all(|&peer| address::dialable(peer)));
            // Compact answers keep the families apart.
            answer.peers.sort_by_key(|peer| peer.is_ipv6());
        }
        Err(AnnounceError::Failure { reason, .. }) => {
            assert!(reason.chars().count() <= TEXT_CHARS_MAX);
        }
        Err(AnnounceError::Malformed(_)) => return,
    }
    assert_eq!(http::decode_http(&http::encode_http(&decoded)), decoded);
}

fn request(bytes: &[u8]) {
    let take = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| take(at + i)));
    let announce = Announce {
        info_hash: InfoHash(std::array::from_fn(take)),
        peer_id: PeerId(std::array::from_fn(|i| take(20 + i))),
        port: u16::from_le_bytes([take(40), take(41)]),
        uploaded: number(42),
        downloaded: number(50),
        left: number(58),
        event: match take(66) % 4 {
            0 => AnnounceEvent::None,
            1 => AnnounceEvent::Started,
            2 => AnnounceEvent::Completed,
            _ => AnnounceEvent::Stopped,
        },
        want: u32::from(take(67)),
        key: u32::from(take(68)) << 24,
        tracker_id: bytes.get(69..).map(<[u8]>::to_vec),
    };
    for tracker in [
        "http://t.example/announce",
        "http://t.example/?left=7&port=x",
    ] {
        let url = http::http_url(tracker, &announce);
        assert!(url.is_ascii());
        assert_eq!(http::decode_http_request(&url), Some(announce.clone()));
    }
}

fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = http::decode_http_request(text);
    assert!(announce::mask(text).chars().count() <= TEXT_CHARS_MAX);
    assert!(announce::mask_in(text, text).chars().count() <= TEXT_CHARS_MAX);
    // A key of our own in front of whatever comes behind it is never shown.
    let url = format!("http://t.example/0123456789abcdef/announce?key=fedcba98&{text}");
    for shown in [announce::mask(&url), announce::mask_in(&url, &url)] {
        assert!(!shown.contains("0123456789abcdef") && !shown.contains("fedcba98"));
    }
}
