//! Announces to trackers and their answers: over HTTP in [`http`], over UDP in [`udp`] (BEP 3, 7, 15, 23, 24, 31).
//!
//! What both have in common is here. Answers come from strangers: times are clamped, lists are cut, texts are made
//! printable, before anyone else sees them. [`mask()`] keeps the secrets that trackers put into URLs out of texts.

use std::net::{IpAddr, SocketAddr};

use crate::ids::{InfoHash, PeerId};
use crate::time::Duration;

use super::address;

pub mod http;
pub mod mask;
pub mod udp;

pub use http::{decode_http, http_url};
pub use mask::{mask, mask_in};

/// Peers kept of one answer; the rest is dropped. More than any swarm connects to at once.
pub const PEERS_MAX: usize = 1000;
/// Characters kept of a text that a tracker sent; the rest is cut off.
pub const TEXT_CHARS_MAX: usize = 300;
/// Bytes of a tracker id. A longer one is not sent back, which costs the tracker a statistic.
pub const TRACKER_ID_BYTES_MAX: usize = 256;

/// The interval where a tracker names none, or none above zero.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(1800);
/// A shorter interval is taken for this one: nobody is asked more than once a minute.
pub const INTERVAL_MIN: Duration = Duration::from_secs(60);
/// A longer interval is taken for this one, so that one answer cannot silence a torrent for good.
pub const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why we announce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnnounceEvent {
    /// It is time, or peers are needed.
    #[default]
    None,
    /// The first announce to a tracker.
    Started,
    /// The last piece has arrived; never sent for a torrent that was complete from the start (BEP 3).
    Completed,
    /// The last announce to a tracker.
    Stopped,
}

/// What a tracker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// What we call ourselves.
    pub peer_id: PeerId,
    /// Where we listen; 0 where we do not.
    pub port: u16,
    /// Payload bytes sent in this run.
    pub uploaded: u64,
    /// Payload bytes received in this run.
    pub downloaded: u64,
    /// Wanted bytes still missing.
    pub left: u64,
    /// Why.
    pub event: AnnounceEvent,
    /// How many peers to send; 0 asks for none.
    pub want: u32,
    /// Ours, random, and the same for the whole run: tells the tracker who we are when our address changes (BEP 15).
    pub key: u32,
    /// As the tracker sent it before (HTTP only).
    pub tracker_id: Option<Vec<u8>>,
}

/// What a tracker says, made safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceAnswer {
    /// Time until the next regular announce, clamped to [`INTERVAL_MIN`] and [`INTERVAL_MAX`].
    pub interval: Duration,
    /// No announce before this, clamped to [`INTERVAL_MIN`] and `interval`.
    pub min_interval: Option<Duration>,
    /// Peers that have everything, as the tracker counts.
    pub seeders: Option<u32>,
    /// Peers that have not.
    pub leechers: Option<u32>,
    /// Dialable, canonical, at most [`PEERS_MAX`], in the tracker's order.
    pub peers: Vec<SocketAddr>,
    /// To be sent back in later announces; at most [`TRACKER_ID_BYTES_MAX`].
    pub tracker_id: Option<Vec<u8>>,
    /// For a person.
    pub warning: Option<String>,
    /// Our address, as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
}

impl Default for AnnounceAnswer {
    fn default() -> Self {
        Self {
            interval: INTERVAL_DEFAULT,
            min_interval: None,
            seeders: None,
            leechers: None,
            peers: Vec::new(),
            tracker_id: None,
            warning: None,
            external_ip: None,
        }
    }
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnounceError {
    /// The tracker refuses.
    Failure {
        /// For a person; printable and at most [`TEXT_CHARS_MAX`] characters.
        reason: String,
        /// When to try again, if the tracker says so.
        retry_in: Option<Retry>,
    },
    /// Not what a tracker sends; says what is wrong with it.
    Malformed(&'static str),
}

/// When a tracker that refuses wants to be asked again (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After so long; whole minutes, clamped to [`INTERVAL_MIN`] and [`INTERVAL_MAX`].
    After(Duration),
    /// Not again.
    Never,
}

/// The interval that `seconds` stands for.
fn interval(seconds: i64) -> Duration {
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Duration::from_secs(seconds).clamp(INTERVAL_MIN, INTERVAL_MAX),
        _ => INTERVAL_DEFAULT,
    }
}

/// Keeps what can be dialled, up to [`PEERS_MAX`] in all.
fn keep_peers(peers: &mut Vec<SocketAddr>, found: impl Iterator<Item = SocketAddr>) {
    let room = PEERS_MAX.saturating_sub(peers.len());
    peers.extend(
        found
            .map(address::canonical)
            .filter(|&peer| address::dialable(peer))
            .take(room),
    );
}

/// A stranger's text, fit for a terminal and a log: one line, nothing invisible, at most [`TEXT_CHARS_MAX`] characters.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    // A character has at most four bytes, so the rest cannot count; cut first, so that a megabyte is not decoded.
    let bytes = &bytes[..bytes.len().min(4 * TEXT_CHARS_MAX)];
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if is_invisible(c) { ' ' } else { c })
        .take(TEXT_CHARS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Control characters, and those that turn the direction of a line or take no room, by which a text could forge another.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_clamped() {
        #[rustfmt::skip]
        let table = [
            (-1, 1800), (0, 1800), (1, 60), (59, 60), (60, 60), (900, 900),
            (i64::from(u32::MAX), 86_400), (i64::MAX, 86_400), (i64::MIN, 1800),
        ];
        for (said, kept) in table {
            assert_eq!(interval(said), Duration::from_secs(kept), "{said}");
        }
    }

    #[test]
    fn texts_are_printable_and_bounded() {
        #[rustfmt::skip]
        let table: &[(&[u8], &str)] = &[
            (b"", ""),
            (b" unregistered torrent\r\n", "unregistered torrent"),
            (b"\x1b[31mred", "[31mred"),
            (b"a\x00b", "a b"),
            ("right\u{202e}left".as_bytes(), "right left"),
            (b"\xff!", "\u{fffd}!"),
        ];
        for (bytes, text) in table {
            assert_eq!(printable(bytes), *text);
        }
        assert_eq!(printable(&[b'x'; 5000]).len(), TEXT_CHARS_MAX);
        assert_eq!(
            printable("é".repeat(5000).as_bytes()).chars().count(),
            TEXT_CHARS_MAX
        );
    }
}
