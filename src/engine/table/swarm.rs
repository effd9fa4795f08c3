//! All that concerns the links of one info-hash.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::ids::{InfoHash, LinkId, SessionId, StreamId, SwarmId};
use crate::time::Instant;

/// Addresses a swarm ignores for its own reasons; beyond it the one that ends first is forgotten.
const IGNORED_MAX: usize = 1000;

/// One info-hash.
#[derive(Debug)]
pub struct Swarm {
    /// Its name.
    pub id: SwarmId,
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Who trades in it.
    pub session: SessionId,
    /// Whether it may have streams: off, it accepts and dials nobody.
    pub active: bool,
    /// Links that may be dialled for it.
    pub candidates: Vec<LinkId>,
    /// Streams whose handshake named this info-hash.
    pub streams: Vec<StreamId>,
    /// Streams being opened for it.
    pub dials: usize,
    /// Addresses that had nothing to give here, or failed the handshake for this info-hash.
    ignored: BTreeMap<SocketAddr, Instant>,
}

impl Swarm {
    /// On, and empty.
    #[must_use]
    pub const fn new(id: SwarmId, info_hash: InfoHash, session: SessionId) -> Self {
        Self {
            id,
            info_hash,
            session,
            active: true,
            candidates: Vec::new(),
            streams: Vec::new(),
            dials: 0,
            ignored: BTreeMap::new(),
        }
    }

    /// Leaves `address` alone here until `until`; again renews.
    pub fn ignore(&mut self, address: SocketAddr, until: Instant) {
        if self.ignored.len() >= IGNORED_MAX && !self.ignored.contains_key(&address) {
            let first = self
                .ignored
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(&address, _)| address);
            first.map(|address| self.ignored.remove(&address));
        }
        self.ignored.insert(address, until);
    }

    /// Until when `address` is left alone here, if it is.
    #[must_use]
    pub fn ignored_until(&self, address: &SocketAddr, now: Instant) -> Option<Instant> {
        self.ignored
            .get(address)
            .copied()
            .filter(|&until| until > now)
    }

    /// Leaves nobody alone any more: there is something to trade again.
    pub fn forgive(&mut self) {
        self.ignored.clear();
    }
}
