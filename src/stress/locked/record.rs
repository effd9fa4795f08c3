//! What the locks guard: links, swarms, and where connections are.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use crate::engine::message::{Direction, LinkSummary, LinksCount};
use crate::engine::table::IGNORED_MAX;
use crate::engine::table::link::LinkState;
use crate::ids::{ConnectionId, InfoHash, LinkId, SwarmId};
use crate::time::Instant;

/// How a link belongs to a swarm, but for its streams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tie {
    pub(super) candidate: bool,
    pub(super) pinned: bool,
}

/// A stream on a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) connection: ConnectionId,
    pub(super) outgoing: bool,
    pub(super) swarm: Option<SwarmId>,
    pub(super) member: bool,
}

/// One remote address.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) address: SocketAddr,
    pub(super) dialable: bool,
    pub(super) ties: BTreeMap<SwarmId, Tie>,
    /// Oldest first.
    pub(super) streams: Vec<Held>,
}

impl Link {
    pub(super) const fn new(id: LinkId, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            dialable: false,
            ties: BTreeMap::new(),
            streams: Vec::new(),
        }
    }

    /// Whether nothing holds it: no swarm, no stream.
    pub(super) fn is_unused(&self) -> bool {
        self.ties.is_empty() && self.streams.is_empty()
    }

    /// Disconnected, or established. Nobody is dialled here and no address is found out, so it is never anything else.
    pub(super) const fn state(&self) -> LinkState {
        if self.streams.is_empty() {
            let not_before = Instant::ZERO;
            LinkState::Disconnected { not_before }
        } else {
            LinkState::Established
        }
    }

    pub(super) fn stream(&self, connection: ConnectionId) -> Option<Held> {
        let mut streams = self.streams.iter();
        streams.find(|held| held.connection == connection).copied()
    }

    /// The stream by which it is a member of `swarm`.
    pub(super) fn member(&self, swarm: SwarmId) -> Option<Held> {
        let mut streams = self.streams.iter();
        let is = |held: &&Held| held.member && held.swarm == Some(swarm);
        streams.find(is).copied()
    }

    /// Whether it belongs to `swarm`: more than a stream that only names it.
    pub(super) fn belongs(&self, swarm: SwarmId) -> bool {
        self.ties.contains_key(&swarm) || self.member(swarm).is_some()
    }

    /// Whether anything joins it to `swarm`.
    pub(super) fn is_tied(&self, swarm: SwarmId) -> bool {
        let names = |held: &Held| held.swarm == Some(swarm);
        self.ties.contains_key(&swarm) || self.streams.iter().any(names)
    }

    /// How it stands in `swarm`, which it belongs to.
    pub(super) fn summary(&self, swarm: SwarmId) -> LinkSummary {
        let member = self.member(swarm);
        let outgoing = member.map_or(self.dialable, |held| held.outgoing);
        LinkSummary {
            link: self.id,
            address: self.address,
            direction: if outgoing {
                Direction::Outgoing
            } else {
                Direction::Incoming
            },
            state: self.state().name(),
            member: member.is_some(),
            pinned: self.ties.get(&swarm).is_some_and(|tie| tie.pinned),
            attempts: 0,
        }
    }

    /// Its oldest stream that is in no swarm yet and may be in this one.
    pub(super) fn unaccounted(&self, swarm: SwarmId) -> Option<Held> {
        let mut streams = self.streams.iter();
        let is_free = |held: &&Held| !held.member && held.swarm.is_none_or(|named| named == swarm);
        streams.find(is_free).copied()
    }

    pub(super) fn stream_mut(&mut self, connection: ConnectionId) -> Option<&mut Held> {
        let mut streams = self.streams.iter_mut();
        streams.find(|held| held.connection == connection)
    }

    pub(super) fn drop_stream(&mut self, connection: ConnectionId) {
        self.streams.retain(|held| held.connection != connection);
    }
}

/// One info-hash.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) id: SwarmId,
    pub(super) info_hash: InfoHash,
    pub(super) on: bool,
    pub(super) links_min: u32,
    /// Addresses of the links that anything joins to it.
    pub(super) links: HashSet<SocketAddr>,
    /// How many of those belong to it.
    pub(super) belonging: u32,
    pub(super) uplinks: u32,
    pub(super) downlinks: u32,
    pub(super) ignored: BTreeMap<SocketAddr, (Instant, &'static str)>,
}

impl Swarm {
    pub(super) fn new(id: SwarmId, info_hash: InfoHash, links_min: u32) -> Self {
        Self {
            id,
            info_hash,
            on: true,
            links_min,
            links: HashSet::new(),
            belonging: 0,
            uplinks: 0,
            downlinks: 0,
            ignored: BTreeMap::new(),
        }
    }

    pub(super) const fn count(&self) -> LinksCount {
        LinksCount {
            links: self.belonging,
            uplinks: self.uplinks,
            downlinks: self.downlinks,
            required: self.links_min,
            needed: if self.on {
                self.links_min.saturating_sub(self.uplinks)
            } else {
                0
            },
        }
    }

    /// Takes over what `change` makes of `link`, whatever it is.
    pub(super) fn change<T>(&mut self, link: &mut Link, change: impl FnOnce(&mut Link) -> T) -> T {
        let before = self.seen(link);
        let result = change(link);
        let after = self.seen(link);
        self.belonging = self.belonging + u32::from(after.belongs) - u32::from(before.belongs);
        self.uplinks = self.uplinks + u32::from(after.up) - u32::from(before.up);
        self.downlinks = self.downlinks + u32::from(after.down) - u32::from(before.down);
        match (before.tied, after.tied) {
            (false, true) => {
                self.links.insert(link.address);
            }
            (true, false) => {
                self.links.remove(&link.address);
            }
            _ => {}
        }
        result
    }

    fn seen(&self, link: &Link) -> Seen {
        let member = link.member(self.id);
        Seen {
            tied: link.is_tied(self.id),
            belongs: member.is_some() || link.ties.contains_key(&self.id),
            up: member.is_some_and(|held| held.outgoing),
            down: member.is_some_and(|held| !held.outgoing),
        }
    }

    /// Leaves `address` alone until `until`; again renews. Beyond the bound the one that ends first is forgotten.
    pub(super) fn ignore(&mut self, address: SocketAddr, until: Instant, why: &'static str) {
        if self.ignored.len() >= IGNORED_MAX && !self.ignored.contains_key(&address) {
            let all = self
                .ignored
                .iter()
                .map(|(address, (until, _))| (*until, *address));
            if let Some((_, first)) = all.min() {
                self.ignored.remove(&first);
            }
        }
        self.ignored.insert(address, (until, why));
    }
}

/// What a swarm counts of a link.
struct Seen {
    tied: bool,
    belongs: bool,
    up: bool,
    down: bool,
}
