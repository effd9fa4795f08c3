//! What callers see: owned, consistent copies of how things stand, with their time.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use super::message::Direction;
use super::metadata::MetadataProgress;
use crate::ids::{InfoHash, LinkId, SessionId};
use crate::time::Instant;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Looking at its files, or hashing them.
    Checking,
    /// Fetching what is missing.
    Downloading,
    /// Nobody has told yet what it holds.
    Metadata,
    /// Has what it wants and serves it.
    Seeding,
    /// The same, and nobody has asked for a while: it wakes when somebody does.
    Parked,
    /// Not trading, since a person has stopped it.
    Stopped,
    /// Not trading, since a helper or a goal has stopped it, or all were stopped at once.
    Paused,
    /// Not trading until its turn comes.
    Queued,
    /// On its way out.
    Leaving,
    /// Waits for the disk, or for a person.
    Error,
}

impl SessionState {
    /// As the contract spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Downloading => "downloading",
            Self::Metadata => "metadata",
            Self::Seeding => "seeding",
            Self::Parked => "parked",
            Self::Paused => "paused",
            Self::Queued => "queued",
            Self::Stopped | Self::Leaving => "stopped",
            Self::Error => "error",
        }
    }
}

/// How one torrent stands.
#[derive(Clone, Debug)]
pub struct SessionSnapshot {
    /// When this was so.
    pub time: Instant,
    /// Which.
    pub session: SessionId,
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Its name; shared, since it never changes.
    pub name: Arc<str>,
    /// Where it stands.
    pub state: SessionState,
    /// What is wrong, for a person; empty when nothing is.
    pub error: String,
    /// Whether it will not go away by itself: no permission, or something in the way.
    pub error_lasts: bool,
    /// Pieces we have, verified.
    pub pieces_have: u32,
    /// Pieces of the torrent.
    pub pieces_total: u32,
    /// Pieces hashed so far by the running check.
    pub pieces_checked: u32,
    /// Pieces the running check will hash.
    pub pieces_to_check: u32,
    /// Wanted bytes, padding included.
    pub bytes_wanted: u64,
    /// Of those, verified and written.
    pub bytes_have: u64,
    /// Payload bytes received from peers in this run.
    pub downloaded: u64,
    /// Payload bytes sent to peers in this run.
    pub uploaded: u64,
    /// Payload bytes received that were wrong or not needed.
    pub wasted: u64,
    /// Bytes per second.
    pub download_rate: u64,
    /// Bytes per second.
    pub upload_rate: u64,
    /// Handshakes that stand.
    pub peers: Vec<PeerSnapshot>,
    /// Addresses known and not connected.
    pub candidates: u32,
    /// How far the fetch of its metadata is, while that is fetched.
    pub metadata: Option<MetadataProgress>,
    /// What a person should know and that stops nothing: a tracker that fails, a store that does not work.
    pub notices: Vec<String>,
}

/// What the bytes of a stream travel on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A socket of the loop.
    #[default]
    Tcp,
    /// Datagrams (BEP 29).
    Utp,
}

impl Transport {
    /// As the contract spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Utp => "utp",
        }
    }
}

/// How one peer stands.
#[derive(Clone, Debug)]
pub struct PeerSnapshot {
    /// What its bytes travel on.
    pub transport: Transport,
    /// Where it is.
    pub address: SocketAddr,
    /// The program it says it is.
    pub client: String,
    /// Whether we dialled.
    pub outgoing: bool,
    /// Pieces it has.
    pub pieces_have: u32,
    /// Bytes per second from it.
    pub download_rate: u64,
    /// Bytes per second to it.
    pub upload_rate: u64,
    /// Payload bytes from it.
    pub downloaded: u64,
    /// Payload bytes to it.
    pub uploaded: u64,
    /// Whether it lets us ask.
    pub choking_us: bool,
    /// Whether it wants what we have.
    pub interested_in_us: bool,
    /// Whether we let it ask.
    pub choked: bool,
    /// Whether we want what it has.
    pub interesting: bool,
    /// Whether it owes us blocks for too long.
    pub snubbed: bool,
    /// Whether what passes is encrypted, payload too.
    pub encrypted: bool,
}

/// How everything stands.
#[derive(Clone, Debug, Default)]
pub struct EngineSnapshot {
    /// When this was so.
    pub time: Instant,
    /// Sessions.
    pub sessions: Vec<(SessionId, InfoHash)>,
    /// Links that are disconnected, connecting, established, ignored.
    pub links: [u32; 4],
    /// Blocks of the pool in use.
    pub blocks_taken: u32,
    /// Jobs by kind that are given out and not yet done.
    pub jobs_running: u32,
}

/// How one link stands in a swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSummary {
    /// Which.
    pub link: LinkId,
    /// Where it is.
    pub address: SocketAddr,
    /// Uplink or downlink: who dialled the stream that carries this swarm; without one, whether it can be dialled.
    pub direction: Direction,
    /// As the contract spells it: `disconnected`, `connecting`, `established` or `ignored`.
    pub state: &'static str,
    /// Whether a stream of it is accounted in the swarm.
    pub member: bool,
    /// Whether a person named it for the swarm.
    pub pinned: bool,
    /// Failed attempts in a row.
    pub attempts: u32,
}

/// How many links a swarm has, and how many more it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinksCount {
    /// Links that belong to it, in any state, and members that only dialled us.
    pub links: u32,
    /// Of those, members now that we dialled.
    pub uplinks: u32,
    /// Members now that dialled us.
    pub downlinks: u32,
    /// Uplinks it should have.
    pub required: u32,
    /// `required` less `uplinks`, at least 0; 0 while the swarm is off.
    pub needed: u32,
}

/// An address that is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgnoredAddress {
    /// Which.
    pub address: SocketAddr,
    /// Until when; [`Instant::FAR`] for a ban.
    pub until: Instant,
    /// Why, for a person.
    pub why: &'static str,
}
