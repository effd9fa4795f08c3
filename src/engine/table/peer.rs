//! What we know of the other side of an open stream: what it has, who chokes whom, and the pipelines both ways.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::codec::bitfield::Bitfield;
use crate::codec::extension::ExtendedHandshake;
use crate::codec::geometry::{BlockRef, PieceIndex};
use crate::codec::wire::{Features, Request};
use crate::engine::extended::Theirs;
use crate::engine::pex::PexPeer;
use crate::engine::rate::Rate;
use crate::engine::session::assembly::{Arrival, Claim};
use crate::engine::session::picker;
use crate::engine::settings::{REQUESTS_OUT_DEFAULT, REQUESTS_OUT_FIRST, REQUESTS_OUT_MAX, SNUB};
use crate::ids::PeerId;
use crate::time::{Duration, Instant};

/// How much of its rate a peer is asked for ahead, beyond the round trip: it must never run dry between two of our turns.
const AHEAD: Duration = Duration::from_millis(1500);

/// Pieces a peer has.
#[derive(Debug)]
pub enum PeerHas {
    /// Nothing was said, or nothing is there.
    Nothing,
    /// Some.
    Some(Bitfield),
    /// Everything; holds no bitfield.
    All,
}

impl PeerHas {
    /// Whether it has `piece`.
    #[must_use]
    pub fn has(&self, piece: PieceIndex) -> bool {
        match self {
            Self::Nothing => false,
            Self::Some(bits) => bits.get(piece.index()),
            Self::All => true,
        }
    }

    /// The picker's view: `None` for a peer that has nothing.
    #[must_use]
    pub const fn for_picker(&self) -> Option<picker::PeerHas<'_>> {
        match self {
            Self::Nothing => None,
            Self::Some(bits) => Some(picker::PeerHas::Some(bits)),
            Self::All => Some(picker::PeerHas::All),
        }
    }

    /// How many of `total`.
    #[must_use]
    pub fn count(&self, total: u32) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Some(bits) => u32::try_from(bits.count()).unwrap_or(u32::MAX),
            Self::All => total,
        }
    }
}

/// A block we asked for and do not have yet.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Which.
    pub claim: Claim,
    /// When.
    pub at: Instant,
}

/// A block of which the head has come, and perhaps a part.
#[derive(Debug)]
pub struct Arriving {
    /// Which; `None` when it is none of this torrent's.
    pub block: Option<BlockRef>,
    /// Where its bytes go; `None` where they are thrown away.
    pub arrival: Option<Arrival>,
    /// Bytes that have come.
    pub filled: usize,
    /// Bytes it has.
    pub length: usize,
}

/// The other side.
#[derive(Debug)]
pub struct Peer {
    /// What it calls itself.
    pub id: PeerId,
    /// The program it says it is; printable.
    pub client: String,
    /// Where it listens, as it says (BEP 10 `p`).
    pub listens: Option<SocketAddr>,
    /// What both sides speak.
    pub features: Features,
    /// Since when.
    pub since: Instant,
    /// What it has.
    pub has: PeerHas,

    /// Whether it lets us ask.
    pub choking_us: bool,
    /// Whether we said that we want something.
    pub interesting: bool,
    /// Our requests that it owes us, oldest first.
    pub asked: VecDeque<Asked>,
    /// How many requests it takes at once, as it says.
    pub asked_max: usize,
    /// How many it is to be given now.
    pub asked_target: usize,
    /// The piece we take from it block by block.
    pub current: Option<PieceIndex>,
    /// The block that is coming in.
    pub arriving: Option<Arriving>,
    /// When it last sent a block, or was first asked after owing nothing.
    pub block_at: Instant,
    /// Whether it owes us for too long.
    pub snubbed: bool,
    /// Payload from it.
    pub down: Rate,
    /// Payload from it that nobody had asked for.
    pub unasked: u64,
    /// Shortest time from a request to its block: the round trip, at least.
    pub round_trip: Duration,

    /// Whether we let it ask.
    pub choked: bool,
    /// Whether it wants what we have.
    pub interested: bool,
    /// When we last let it ask.
    pub unchoked_at: Instant,
    /// Its requests that we have not begun to serve, oldest first.
    pub requests: VecDeque<Request>,
    /// Bytes being read for it.
    pub reading: usize,
    /// Whether it stands in the queue for blocks to send with.
    pub waits_for_room: bool,
    /// Payload to it.
    pub up: Rate,

    /// Which extensions it takes.
    pub theirs: Theirs,
    /// How it stands with the exchange of peers.
    pub pex: PexPeer,
    /// What it has said of pieces, as it came, while nobody knew how many there are; `None` once the session has heard it.
    pub said: Option<Vec<u8>>,
    /// Pieces of the info dictionary that it was sent.
    pub metadata_served: u32,
    /// Requests for such pieces that were refused.
    pub metadata_refused: u32,
}

/// What outlives one stream when another to the same peer takes its place.
#[derive(Debug)]
pub struct Legacy {
    /// What the peer calls itself.
    pub id: PeerId,
    since: Instant,
    down: Rate,
    up: Rate,
    unasked: u64,
}

impl Peer {
    /// Takes out what the peer's next stream goes on with.
    pub fn bequeath(&mut self) -> Legacy {
        Legacy {
            id: self.id,
            since: self.since,
            down: std::mem::take(&mut self.down),
            up: std::mem::take(&mut self.up),
            unasked: self.unasked,
        }
    }

    /// Goes on where the peer's last stream ended.
    pub fn inherit(&mut self, legacy: Legacy) {
        self.since = legacy.since;
        self.down = legacy.down;
        self.up = legacy.up;
        self.unasked = legacy.unasked;
    }

    /// As every stream begins: choked and not interested, both ways (BEP 3).
    #[must_use]
    pub fn new(id: PeerId, features: Features, now: Instant) -> Self {
        Self {
            id,
            client: client_of(id),
            listens: None,
            features,
            since: now,
            has: PeerHas::Nothing,
            choking_us: true,
            interesting: false,
            asked: VecDeque::new(),
            asked_max: REQUESTS_OUT_DEFAULT,
            asked_target: REQUESTS_OUT_FIRST,
            current: None,
            arriving: None,
            block_at: now,
            snubbed: false,
            down: Rate::default(),
            unasked: 0,
            round_trip: Duration::from_secs(1),
            choked: true,
            interested: false,
            unchoked_at: Instant::ZERO,
            requests: VecDeque::new(),
            reading: 0,
            waits_for_room: false,
            up: Rate::default(),
            theirs: Theirs::default(),
            pex: PexPeer::default(),
            said: None,
            metadata_served: 0,
            metadata_refused: 0,
        }
    }

    /// Takes in an extended handshake; it may come more than once.
    pub fn hear(&mut self, told: &ExtendedHandshake) {
        self.theirs.hear(told);
        if let Some(client) = &told.client {
            self.client.clone_from(client);
        }
        if let Some(most) = told.requests_max {
            self.asked_max = (most as usize).max(1);
        }
    }

    /// A block came `waited` after it was asked for: moves the target.
    ///
    /// The target is rate × (round trip + `AHEAD`). A young stream has no rate yet: each block that comes lets one more be
    /// asked for, which doubles the target every round trip, until the rate says otherwise.
    pub fn block_came(&mut self, now: Instant, bytes: usize, waited: Duration) {
        self.block_at = now;
        self.snubbed = false;
        self.round_trip = self.round_trip.min(waited);
        self.down.add(now, bytes as u64);
        let span = u64::try_from((self.round_trip + AHEAD).as_millis()).unwrap_or(u64::MAX);
        let by_rate = self.down.per_second(now).saturating_mul(span)
            / 1000
            / crate::buffer::BLOCK_BYTES as u64;
        let by_rate = usize::try_from(by_rate).unwrap_or(usize::MAX);
        let target =
            if by_rate > self.asked_target || now.since(self.since) < Duration::from_secs(10) {
                self.asked_target + 1
            } else {
                by_rate.max(self.asked_target - self.asked_target / 64)
            };
        self.asked_target = target.clamp(2, REQUESTS_OUT_MAX);
    }

    /// How many more requests it may be given now. A snubbed peer keeps one, so that it can show that it is back.
    #[must_use]
    pub fn asks_left(&self) -> usize {
        let target = if self.snubbed { 1 } else { self.asked_target };
        // It may say that it takes very few, at any time.
        target.min(self.asked_max).saturating_sub(self.asked.len())
    }

    /// When it will be snubbed unless a block comes.
    #[must_use]
    pub fn snub_at(&self) -> Option<Instant> {
        (!self.asked.is_empty() && !self.snubbed).then(|| self.block_at + SNUB)
    }

    /// Whether nothing moves for it either way, nor will by itself.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.requests.is_empty() && self.reading == 0
    }
}

/// The program that a peer-id of the usual form names (BEP 20).
fn client_of(id: PeerId) -> String {
    let text = id.to_string();
    let parts = text.get(1..3).zip(text.get(3..7));
    match (text.starts_with('-'), parts) {
        (true, Some((code, version))) => {
            let name = match code {
                "LN" => "Linnet",
                "LT" | "lt" => "libtorrent",
                "TR" => "Transmission",
                "qB" => "qBittorrent",
                "DE" => "Deluge",
                "UT" => "µTorrent",
                "A2" => "aria2",
                "rQ" | "RQ" => "rqbit",
                other => other,
            };
            format!("{name} {version}")
        }
        _ => text.chars().take(8).collect(),
    }
}
