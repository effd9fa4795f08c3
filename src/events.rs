//! Every event, its fields and its name: the contract's list, one schema for the library, helpers and streams.

use std::net::SocketAddr;

use serde::Serialize;

use crate::ids::{InfoHash, PeerId};

/// A fact, reported once.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event")]
pub enum Event {
    /// A torrent was taken on.
    #[serde(rename = "torrent.added")]
    TorrentAdded(Torrent),
    /// What a torrent holds is known now.
    #[serde(rename = "torrent.metadata")]
    TorrentMetadata(Torrent),
    /// A torrent was let go.
    #[serde(rename = "torrent.removed")]
    TorrentRemoved(Torrent),
    /// A session began to check or trade.
    #[serde(rename = "session.started")]
    SessionStarted(Session),
    /// A session was paused.
    #[serde(rename = "session.paused")]
    SessionPaused(Session),
    /// A session goes on.
    #[serde(rename = "session.resumed")]
    SessionResumed(Session),
    /// A session has every wanted piece; what it has is written.
    #[serde(rename = "session.completed")]
    SessionCompleted(Session),
    /// A session ended.
    #[serde(rename = "session.stopped")]
    SessionStopped(Session),
    /// A session cannot go on by itself, or waits for the disk.
    #[serde(rename = "session.error")]
    SessionError(Session),
    /// A piece was verified and written.
    #[serde(rename = "piece.completed")]
    PieceCompleted(Piece),
    /// A piece was wrong.
    #[serde(rename = "piece.hash_failed")]
    PieceHashFailed(Piece),
    /// A handshake was completed.
    #[serde(rename = "peer.connected")]
    PeerConnected(Peer),
    /// A peer is gone.
    #[serde(rename = "peer.disconnected")]
    PeerDisconnected(Peer),
    /// A tracker answered.
    #[serde(rename = "tracker.success")]
    TrackerSuccess(Tracker),
    /// A tracker failed.
    #[serde(rename = "tracker.failed")]
    TrackerFailed(Tracker),
    /// A link is up.
    #[serde(rename = "link.established")]
    LinkEstablished(Link),
    /// A link is down.
    #[serde(rename = "link.lost")]
    LinkLost(Link),
    /// A link is left alone for a while.
    #[serde(rename = "link.ignored")]
    LinkIgnored(Link),
    /// The disk failed a torrent.
    #[serde(rename = "storage.error")]
    StorageError(Session),
    /// Rates and totals, once a second while something changes.
    #[serde(rename = "stats.update")]
    StatsUpdate(Stats),
}

/// The names of all types of events, in the order of [`Event::kind`].
pub const NAMES: [&str; 20] = [
    "torrent.added",
    "torrent.removed",
    "session.started",
    "session.paused",
    "session.resumed",
    "session.completed",
    "session.stopped",
    "session.error",
    "piece.completed",
    "piece.hash_failed",
    "peer.connected",
    "peer.disconnected",
    "tracker.success",
    "tracker.failed",
    "link.established",
    "link.lost",
    "link.ignored",
    "storage.error",
    "stats.update",
    "torrent.metadata",
];

impl Event {
    /// Which type it is: its place in [`NAMES`].
    #[must_use]
    pub const fn kind(&self) -> usize {
        match self {
            Self::TorrentAdded(_) => 0,
            Self::TorrentRemoved(_) => 1,
            Self::SessionStarted(_) => 2,
            Self::SessionPaused(_) => 3,
            Self::SessionResumed(_) => 4,
            Self::SessionCompleted(_) => 5,
            Self::SessionStopped(_) => 6,
            Self::SessionError(_) => 7,
            Self::PieceCompleted(_) => 8,
            Self::PieceHashFailed(_) => 9,
            Self::PeerConnected(_) => 10,
            Self::PeerDisconnected(_) => 11,
            Self::TrackerSuccess(_) => 12,
            Self::TrackerFailed(_) => 13,
            Self::LinkEstablished(_) => 14,
            Self::LinkLost(_) => 15,
            Self::LinkIgnored(_) => 16,
            Self::StorageError(_) => 17,
            Self::StatsUpdate(_) => 18,
            Self::TorrentMetadata(_) => 19,
        }
    }

    /// Its name, as in the contract.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        NAMES[self.kind()]
    }
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Fields of `torrent.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Torrent {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub info_hash: InfoHash,
    /// Its name.
    pub name: String,
}

/// Fields of `session.*` and `storage.error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub info_hash: InfoHash,
    /// The state it is in now.
    pub state: &'static str,
    /// The state it was in before.
    pub previous_state: &'static str,
    /// user, queue, ratio, shutdown or error.
    pub cause: &'static str,
    /// For a person.
    pub message: String,
    /// Short word for a program; empty where there is no error.
    pub error_code: &'static str,
    /// The file concerned; empty where there is none.
    pub file: String,
}

/// Fields of `piece.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Of which torrent.
    #[serde(serialize_with = "as_text")]
    pub info_hash: InfoHash,
    /// 0-based.
    pub piece_index: u32,
    /// Bytes.
    pub piece_size: u32,
    /// Pieces we have now.
    pub pieces_complete: u32,
    /// Pieces of the torrent.
    pub total_pieces: u32,
    /// Who sent a failed one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contributors: Vec<SocketAddr>,
}

/// Fields of `peer.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Of which torrent.
    #[serde(serialize_with = "as_text")]
    pub info_hash: InfoHash,
    /// Where it is.
    pub address: SocketAddr,
    /// What it calls itself.
    #[serde(serialize_with = "as_text")]
    pub peer_id: PeerId,
    /// The program it says it is; a stranger's text, made printable.
    pub client: String,
    /// `outgoing` or `incoming`.
    pub direction: &'static str,
    /// `tcp` or `utp`.
    pub transport: &'static str,
    /// Whether the stream is encrypted.
    pub encrypted: bool,
    /// Why it ended; empty when it did not.
    pub reason: &'static str,
    /// Payload bytes both ways.
    pub bytes: u64,
    /// How long it was there.
    pub seconds: u64,
}

/// Fields of `tracker.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tracker {
    /// Of which torrent.
    #[serde(serialize_with = "as_text")]
    pub info_hash: InfoHash,
    /// Secrets masked.
    pub url: String,
    /// 0-based tier (BEP 12).
    pub tier: u32,
    /// Peers in the answer.
    pub peer_count: u32,
    /// As the tracker says.
    pub seeders: Option<u32>,
    /// As the tracker says.
    pub leechers: Option<u32>,
    /// Seconds until the next announce.
    pub next_announce: u64,
    /// Empty on success.
    pub error: String,
}

/// Fields of `link.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Where it is.
    pub address: SocketAddr,
    /// `outgoing` or `incoming`.
    pub direction: &'static str,
    /// `disconnected`, `connecting`, `established` or `ignored`.
    pub state: &'static str,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// Seconds until it may be tried again.
    pub until: u64,
}

/// Fields of `stats.update`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Of which torrent.
    #[serde(serialize_with = "as_text")]
    pub info_hash: InfoHash,
    /// Payload bytes received.
    pub downloaded: u64,
    /// Payload bytes sent.
    pub uploaded: u64,
    /// Bytes per second.
    pub download_rate: u64,
    /// Bytes per second.
    pub upload_rate: u64,
    /// Handshakes that stand.
    pub connected_peers: u32,
    /// 0 to 1.
    pub progress: f64,
    /// Wanted bytes still missing.
    pub left: u64,
    /// Seconds; none when nothing moves.
    pub eta: Option<u64>,
}
