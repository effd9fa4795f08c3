//! All that concerns the links of one info-hash.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::codec::mse;
use crate::engine::message::{IgnoredAddress, LinkSummary, LinksCount};
use crate::hash::Digest;
use crate::ids::{InfoHash, SessionId, StreamId, SwarmId};
use crate::time::Instant;

use super::ignored::Ignored;

/// One info-hash.
#[derive(Debug)]
pub struct Swarm {
    /// Its name.
    pub id: SwarmId,
    /// Which torrent.
    pub info_hash: InfoHash,
    /// The first word of what stands for it in an encryption handshake: nobody can choose those that collide but by choosing
    /// info-hashes, which only those can who add torrents.
    pub(super) mark: u64,
    /// Who trades in it; without one it is *bare*: it dials nobody, and its streams come from outside.
    pub session: Option<SessionId>,
    /// Whether a caller made it: then it outlives its sessions.
    pub kept: bool,
    /// A caller's switch.
    pub on: bool,
    /// Whether its session, if it has one, trades.
    pub active: bool,
    /// Uplinks it should have.
    pub links_min: u32,
    /// Streams that the loop carries whose handshake named this info-hash.
    pub streams: Vec<StreamId>,
    /// Streams of ours that are being opened for it.
    pub opening: Vec<StreamId>,
    /// Slots of the links that have a tie to it.
    pub(super) links: Vec<u32>,
    /// How many of those belong to it; the others only have a stream that names it.
    pub(super) belonging: u32,
    /// Members that we dialled.
    pub(super) uplinks: u32,
    /// Members that dialled us.
    pub(super) downlinks: u32,
    /// Moves with every change that a caller could see in [`Self::shown`] or [`Self::ignored_shown`].
    pub(super) version: u64,
    /// What was last shown: of all links, and of members only.
    pub(super) shown: [Option<(u64, Arc<[LinkSummary]>)>; 2],
    /// What was last shown of those left alone, and until when it is true.
    pub(super) ignored_shown: Option<(u64, Instant, Arc<[IgnoredAddress]>)>,
    /// Addresses that had nothing to give here, or failed the handshake for this info-hash.
    pub(super) ignored: Ignored,
}

impl Swarm {
    /// On, bare and empty.
    #[must_use]
    pub fn new(id: SwarmId, info_hash: InfoHash, links_min: u32) -> Self {
        Self {
            id,
            info_hash,
            mark: first_word(&mse::torrent_mark(info_hash)),
            session: None,
            kept: false,
            on: true,
            active: true,
            links_min,
            streams: Vec::new(),
            opening: Vec::new(),
            links: Vec::new(),
            belonging: 0,
            uplinks: 0,
            downlinks: 0,
            version: 0,
            shown: [None, None],
            ignored_shown: None,
            ignored: Ignored::default(),
        }
    }

    /// Whether it may have streams: a caller and its session must both say so.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.on && self.active
    }

    /// How many links it has and needs. Only uplinks count for what it needs: who dialled us may be anybody.
    #[must_use]
    pub const fn count(&self) -> LinksCount {
        let needed = if self.is_on() {
            self.links_min.saturating_sub(self.uplinks)
        } else {
            0
        };
        LinksCount {
            links: self.belonging,
            uplinks: self.uplinks,
            downlinks: self.downlinks,
            required: self.links_min,
            needed,
        }
    }

    /// Leaves `address` alone here until `until`, because of `why`; again renews.
    pub fn ignore(&mut self, address: SocketAddr, until: Instant, why: &'static str) {
        self.ignored.insert(address, until, why);
        self.version += 1;
    }

    /// Until when `address` is left alone here, if it is.
    #[must_use]
    pub fn ignored_until(&self, address: SocketAddr, now: Instant) -> Option<Instant> {
        self.ignored.until(address, now)
    }

    /// Leaves nobody alone any more: there is something to trade again.
    pub fn forgive(&mut self) {
        self.ignored.clear();
        self.version += 1;
    }
}

/// The first 64 bits of `digest`.
pub(super) fn first_word(digest: &Digest) -> u64 {
    let bytes = digest.first_chunk().copied();
    bytes.map_or(0, u64::from_be_bytes)
}
