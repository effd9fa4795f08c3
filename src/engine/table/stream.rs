//! One byte stream that the loop carries, from the dial or the accept to its end.

use std::fmt;
use std::net::SocketAddr;

use crate::codec::mse;
use crate::codec::wire::Violation;
use crate::engine::limits::Purse;
use crate::engine::message::{Frame, LostReason, PeerSnapshot, Transport};
use crate::events;
use crate::ids::{LinkId, SessionId, StreamId, SwarmId};
use crate::time::Instant;

use super::cover::Cover;
use super::peer::{Legacy, Peer};

/// One established, or hoped-for, byte stream. Carries one swarm.
#[derive(Debug)]
pub struct Stream {
    /// Its name.
    pub id: StreamId,
    /// Whose.
    pub link: LinkId,
    /// The other end.
    pub address: SocketAddr,
    /// Whether we dialled.
    pub outgoing: bool,
    /// What its bytes travel on. Of one that is being dialled, what it will be if nothing else is quicker.
    pub transport: Transport,
    /// Of a stream being dialled: what was tried.
    pub race: Race,
    /// Which info-hash; of an incoming stream only known once it said. The table sets it.
    pub swarm: Option<SwarmId>,
    /// Its place among the swarm's open streams, or among those being opened for it. The table's.
    pub(super) place: u32,
    /// Where it stands.
    pub stage: Stage,
    /// The unfinished message at the end of what was received; never payload.
    pub tail: Vec<u8>,
    /// When bytes last came.
    pub heard: Instant,
    /// When we last queued bytes.
    pub spoke: Instant,
    /// Bytes queued and not yet with the operating system.
    pub unsent: usize,
    /// When some of them last went there, or the first was queued.
    pub wrote: Instant,
    /// Whether it is held: not read.
    pub held: bool,
    /// What it has paid for, where it is limited.
    pub purse: Purse,
    /// What is between the bytes that pass and what they mean.
    pub cover: Cover,
    /// Whether its dial was made as the policy has it second.
    pub second_choice: bool,
    /// Of a stream being opened: what is not yet told of an earlier one to the same peer.
    pub farewell: Option<Box<Farewell>>,
}

/// What a dial has tried: both transports, one a little after the other, until one of them is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Race {
    /// How far TCP is.
    pub tcp: Attempt,
    /// How far uTP is.
    pub utp: Attempt,
    /// When the one that waits begins.
    pub next: Option<Instant>,
}

/// One way to dial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attempt {
    /// Not tried, or not yet.
    #[default]
    Idle,
    /// Nothing has come of it yet.
    Running,
    /// It came to nothing.
    Failed,
}

/// A stream is gone, and another to the same peer is about to open: nobody need hear of it unless that fails.
#[derive(Debug)]
pub struct Farewell {
    /// What is told when it does.
    pub event: events::Peer,
    /// What the next stream takes over when it does not.
    pub legacy: Legacy,
}

/// Where one stream stands in the peer protocol (BEP 3, BEP 10).
///
/// ```text
/// Dialing ── stream up ──▶ Handshaking ── 68 bytes ──▶ Open
///    └──────── violation, deadline, hang-up: from any stage the stream is removed
/// ```
#[derive(Debug)]
pub enum Stage {
    /// Until the transport is up.
    Dialing {
        /// Then it has failed.
        deadline: Instant,
    },
    /// Where an accepted stream starts.
    Handshaking {
        /// Then it has failed.
        deadline: Instant,
    },
    /// Both handshakes are there.
    Open {
        /// The session it trades for.
        session: SessionId,
        /// What we know of the other side.
        peer: Box<Peer>,
    },
}

impl Stream {
    /// A stream that begins at `now`.
    pub(super) fn new(
        id: StreamId,
        link: LinkId,
        address: SocketAddr,
        outgoing: bool,
        stage: Stage,
        now: Instant,
    ) -> Self {
        Self {
            id,
            link,
            address,
            outgoing,
            transport: Transport::Tcp,
            race: Race::default(),
            swarm: None,
            place: 0,
            stage,
            tail: Vec::new(),
            heard: now,
            spoke: now,
            unsent: 0,
            wrote: now,
            held: false,
            purse: Purse::default(),
            cover: Cover::None,
            second_choice: false,
            farewell: None,
        }
    }

    /// The peer, once both handshakes are there.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        match &self.stage {
            Stage::Open { peer, .. } => Some(peer),
            Stage::Dialing { .. } | Stage::Handshaking { .. } => None,
        }
    }

    /// The peer, once both handshakes are there.
    pub fn peer_mut(&mut self) -> Option<&mut Peer> {
        match &mut self.stage {
            Stage::Open { peer, .. } => Some(peer),
            Stage::Dialing { .. } | Stage::Handshaking { .. } => None,
        }
    }

    /// How the peer stands, of a torrent of so many pieces; nothing before both handshakes are there.
    #[must_use]
    pub fn show(&self, pieces: u32, now: Instant) -> Option<PeerSnapshot> {
        let peer = self.peer()?;
        Some(PeerSnapshot {
            address: self.address,
            client: peer.client.clone(),
            outgoing: self.outgoing,
            transport: self.transport,
            pieces_have: peer.has.count(pieces),
            download_rate: peer.down.per_second(now),
            upload_rate: peer.up.per_second(now),
            downloaded: peer.down.total(),
            uploaded: peer.up.total(),
            choking_us: peer.choking_us,
            interested_in_us: peer.interested,
            choked: peer.choked,
            interesting: peer.interesting,
            snubbed: peer.snubbed,
            encrypted: self.cover.is_encrypted(),
        })
    }

    /// The session it trades for.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match &self.stage {
            Stage::Open { session, .. } => Some(*session),
            Stage::Dialing { .. } | Stage::Handshaking { .. } => None,
        }
    }

    /// Accounts for a frame that is about to be queued.
    pub fn queued(&mut self, frame: &Frame, now: Instant) {
        if self.unsent == 0 {
            self.wrote = now;
        }
        self.unsent += frame.len();
        self.spoke = now;
    }
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// By the bytes alone.
    Bytes(Violation),
    /// It named a piece that this torrent does not have.
    NoSuchPiece,
    /// A bitfield of another length, or with spare bits set (BEP 3).
    WrongBitfield,
    /// It asked for bytes that do not exist, or for more than a block.
    BadRequest,
    /// It sent metadata of another size than it had said.
    BadMetadata,
}

impl From<Violation> for Breach {
    fn from(violation: Violation) -> Self {
        Self::Bytes(violation)
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(violation) => violation.fmt(f),
            Self::NoSuchPiece => f.write_str("named a piece that does not exist"),
            Self::WrongBitfield => f.write_str("sent a bitfield of the wrong size"),
            Self::BadRequest => f.write_str("asked for bytes that do not exist"),
            Self::BadMetadata => f.write_str("sent metadata that is not what it had said"),
        }
    }
}

/// Why we let a stream go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It ended from outside.
    Lost(LostReason),
    /// The transport, the handshake or the first word took too long.
    TimedOut,
    /// Not a word for too long, or it does not take ours.
    Stale,
    /// It broke the protocol.
    Broke(Breach),
    /// Nothing came of its encryption handshake.
    NotAgreed(mse::Failure),
    /// It is not encrypted, and has to be.
    NotEncrypted,
    /// Its info-hash is not ours, or not any more.
    UnknownTorrent,
    /// It is ourselves.
    Ourselves,
    /// The same peer has another stream in this swarm.
    Duplicate,
    /// It sent bad data, proven.
    BadData,
    /// Too much that nobody asked for.
    Unasked,
    /// Both have everything.
    NothingToTrade,
    /// A bound of ours is reached.
    Full,
    /// Its address is on the block list, or banned by a person.
    Blocked,
    /// The session ends, or pauses, or its swarm is switched off.
    SessionOver,
    /// A caller said so.
    Caller,
}

impl CloseReason {
    /// For events and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost(LostReason::Refused) => "refused",
            Self::Lost(LostReason::Unreachable) => "unreachable",
            Self::Lost(LostReason::TimedOut) | Self::TimedOut => "timed out",
            Self::Lost(LostReason::HungUp) => "hung up",
            Self::Lost(LostReason::Reset) => "reset",
            Self::Lost(LostReason::NoResources) => "no resources",
            Self::Lost(LostReason::Other) => "failed",
            Self::Stale => "stale",
            Self::Broke(_) => "broke the protocol",
            Self::NotAgreed(_) => "no encryption agreed",
            Self::NotEncrypted => "not encrypted",
            Self::UnknownTorrent => "unknown torrent",
            Self::Ourselves => "ourselves",
            Self::Duplicate => "duplicate",
            Self::BadData => "bad data",
            Self::Unasked => "unasked data",
            Self::NothingToTrade => "nothing to trade",
            Self::Full => "full",
            Self::Blocked => "blocked",
            Self::SessionOver => "session over",
            Self::Caller => "closed by a caller",
        }
    }
}
