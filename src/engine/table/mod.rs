//! The link and peer table: links by address, swarms by info-hash, streams by id.
//!
//! ```text
//!             create             dial / accept            stream up + handshake ok
//!  (unknown) ───────▶ Disconnected ───────▶ Connecting ───────────────▶ Established
//!                      ▲    ▲  attempt failed: attempts+1, wait        │ last stream gone
//!                      │    └────────────────┘◀────────────────────────┘
//!                      │ attempts spent, or misbehaved
//!                      └──── Ignored(until, why) ◀──────────────────── any
//! ```
//!
//! What a link learns serves every swarm: failed dials and bans are the address's, not the torrent's.

pub mod link;
pub mod peer;
pub mod stream;
pub mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::codec::address;
use crate::ids::{InfoHash, LinkId, PeerId, SessionId, StreamId, SwarmId};
use crate::time::Instant;

use super::message::Refusal;
use super::settings::{CANDIDATES_MAX, LINKS_MAX, Settings};
use super::slots::Slots;
use link::{IgnoreReason, Link, LinkState};
use stream::Stream;
use swarm::Swarm;

/// Peer-ids and addresses banned for proven bad data that are remembered; beyond it no more are, the links still are.
const BANNED_MAX: usize = 10_000;

/// Every link, swarm and stream of the process.
#[derive(Debug, Default)]
pub struct Table {
    /// Our records of remote addresses.
    pub links: Slots<LinkId, Link>,
    /// What concerns the links of each info-hash.
    pub swarms: Slots<SwarmId, Swarm>,
    /// Established and hoped-for byte streams.
    pub streams: Slots<StreamId, Stream>,
    by_address: BTreeMap<SocketAddr, LinkId>,
    by_hash: BTreeMap<InfoHash, SwarmId>,
    banned_ids: BTreeSet<(IpAddr, PeerId)>,
    banned_ips: BTreeSet<IpAddr>,
}

/// Who named an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A person: never dropped for failures.
    Person,
    /// A tracker.
    Tracker,
    /// The peer itself, by its extended handshake (BEP 10 `p`).
    Peer,
}

impl Table {
    /// A swarm for `info_hash`, on from the start.
    ///
    /// # Errors
    /// The session that has it already.
    pub fn swarm_add(
        &mut self,
        info_hash: InfoHash,
        session: SessionId,
    ) -> Result<SwarmId, SessionId> {
        if let Some(swarm) = self.swarm_of(info_hash) {
            return Err(swarm.session);
        }
        let id = self
            .swarms
            .insert_with(|id| Swarm::new(id, info_hash, session));
        self.by_hash.insert(info_hash, id);
        Ok(id)
    }

    /// Forgets a swarm; its links stay only for others, or while they must not be dialled. Its streams must be closed before.
    pub fn swarm_remove(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.remove(id) else {
            return;
        };
        assert!(
            swarm.streams.is_empty() && swarm.dials == 0,
            "a swarm is removed after its streams"
        );
        self.by_hash.remove(&swarm.info_hash);
        for link in swarm.candidates {
            if let Some(record) = self.links.get_mut(link) {
                record.swarms.remove(&id);
                record.pinned_by.remove(&id);
            }
            self.forget_if_unused(link);
        }
    }

    /// The swarm of `info_hash`.
    #[must_use]
    pub fn swarm_of(&self, info_hash: InfoHash) -> Option<&Swarm> {
        self.swarms.get(*self.by_hash.get(&info_hash)?)
    }

    /// The link of `address`.
    #[must_use]
    pub fn link_at(&self, address: SocketAddr) -> Option<LinkId> {
        self.by_address.get(&address).copied()
    }

    /// Makes `address` a candidate of `swarm` (requirement L1). `true` when that is news.
    ///
    /// # Errors
    /// When nobody can be dialled there, when it is ourselves, or when a bound is reached.
    pub fn link_create(
        &mut self,
        address: SocketAddr,
        swarm: SwarmId,
        source: Source,
        listening: &[SocketAddr],
        now: Instant,
    ) -> Result<bool, Refusal> {
        let address = address::canonical(address);
        if !address::dialable(address) {
            return Err(Refusal::BadAddress);
        }
        if is_own(address, listening) {
            return Err(Refusal::OwnAddress);
        }
        let Some(record) = self.swarms.get(swarm) else {
            return Err(Refusal::UnknownSession);
        };
        let known = self.by_address.get(&address).copied();
        let pinned = source == Source::Person;
        let associated = known.is_some_and(|link| record.candidates.contains(&link));
        let full = record.candidates.len() >= CANDIDATES_MAX;
        if !associated && !pinned && full && !self.drop_worst(swarm) {
            return Err(Refusal::Full);
        }
        let link = match known {
            Some(link) => link,
            None if self.links.len() >= LINKS_MAX && !self.forget_old(now) => {
                return Err(Refusal::Full);
            }
            None => {
                let link = self.links.insert_with(|_| Link::new(address));
                self.by_address.insert(address, link);
                link
            }
        };
        if let Some(record) = self.swarms.get_mut(swarm).filter(|_| !associated) {
            record.candidates.push(link);
        }
        let entry = self.links.get_mut(link).expect("just found or made");
        entry.dialable = true;
        entry.swarms.insert(swarm);
        if pinned {
            entry.pinned_by.insert(swarm);
        }
        Ok(!associated)
    }

    /// The record of an address that dialled us (requirement L3): its port is ephemeral, so it is a record of its own.
    pub fn link_incoming(&mut self, address: SocketAddr) -> LinkId {
        if let Some(link) = self.link_at(address) {
            return link;
        }
        let link = self.links.insert_with(|_| Link::new(address));
        self.by_address.insert(address, link);
        link
    }

    /// A stream on `link`, made by `make`.
    pub fn stream_add(&mut self, link: LinkId, make: impl FnOnce(StreamId) -> Stream) -> StreamId {
        let id = self.streams.insert_with(make);
        let record = self
            .links
            .get_mut(link)
            .expect("a stream is added to a link that is there");
        record.streams.push(id);
        record.state = match record.state {
            LinkState::Established => LinkState::Established,
            _ => LinkState::Connecting,
        };
        id
    }

    /// Takes a stream out of its link. What becomes of the link is the caller's to say, by the `link_*` verdicts.
    pub fn stream_remove(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.remove(id)?;
        if let Some(link) = self.links.get_mut(stream.link) {
            link.streams.retain(|&other| other != id);
        }
        Some(stream)
    }

    /// A handshake on `link` was completed (requirement L7): failures are forgotten.
    pub fn link_established(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(link) {
            link.state = LinkState::Established;
            link.attempts = 0;
        }
    }

    /// An attempt failed (requirement L8, X14). `true` when the address is now ignored.
    pub fn link_failed(
        &mut self,
        link: LinkId,
        now: Instant,
        jitter: u64,
        settings: &Settings,
    ) -> bool {
        let Some(record) = self.links.get_mut(link) else {
            return false;
        };
        let ignored = record.failed(now, jitter, settings);
        self.forget_if_unused(link);
        ignored
    }

    /// The last stream of a link that worked is gone: it may be tried again after the first pause.
    pub fn link_lost(
        &mut self,
        link: LinkId,
        now: Instant,
        lived_short: bool,
        settings: &Settings,
    ) {
        let Some(record) = self.links.get_mut(link) else {
            return;
        };
        if record.streams.is_empty() {
            record.lost(now, lived_short, settings);
        }
        self.forget_if_unused(link);
    }

    /// A stream of a link is gone, for a reason that says nothing of the address.
    pub fn link_idle(&mut self, link: LinkId) {
        let Some(record) = self.links.get_mut(link) else {
            return;
        };
        if record.streams.is_empty() {
            record.idle();
        }
        self.forget_if_unused(link);
    }

    /// Nobody is dialled at, or accepted from, this address again: it sent bad data, proven.
    ///
    /// `link` may be forgotten by now. A peer-id alone bans nobody: anyone can copy it.
    pub fn ban(&mut self, link: LinkId, address: SocketAddr, peer_id: Option<PeerId>) {
        if let Some(record) = self.links.get_mut(link) {
            record.state = LinkState::Ignored {
                until: Instant::FAR,
                why: IgnoreReason::BadData,
            };
        }
        let ip = address.ip();
        // Many peers share a loopback or private address (tests, a NAT of one's own): there the peer-id and the port stand in.
        if address::is_global(ip) && self.banned_ips.len() < BANNED_MAX {
            self.banned_ips.insert(ip);
        }
        if let Some(id) = peer_id
            && self.banned_ids.len() < BANNED_MAX
        {
            self.banned_ids.insert((ip, id));
        }
    }

    /// Whether a stranger from `address` was banned.
    #[must_use]
    pub fn is_banned(&self, address: SocketAddr) -> bool {
        self.banned_ips.contains(&address.ip())
            || self
                .link_at(address)
                .and_then(|link| self.links.get(link))
                .is_some_and(|link| {
                    matches!(
                        link.state,
                        LinkState::Ignored {
                            why: IgnoreReason::BadData,
                            ..
                        }
                    )
                })
    }

    /// Whether a stranger from the host of `address` that calls itself `id` was banned.
    #[must_use]
    pub fn is_banned_id(&self, address: SocketAddr, id: PeerId) -> bool {
        self.banned_ids.contains(&(address.ip(), id))
    }

    /// Links that are disconnected, connecting, established, ignored.
    #[must_use]
    pub fn links_by_state(&self) -> [u32; 4] {
        let mut counts = [0; 4];
        for (_, link) in self.links.iter() {
            counts[link.state.ordinal()] += 1;
        }
        counts
    }

    /// Drops the candidate of `swarm` that failed most. `false` when none did, so that newcomers cannot drive out what works.
    fn drop_worst(&mut self, swarm: SwarmId) -> bool {
        let Some(record) = self.swarms.get_mut(swarm) else {
            return false;
        };
        let links = &self.links;
        let worst = (0..)
            .zip(&record.candidates)
            .filter_map(|(place, &id)| Some((links.get(id)?, place)))
            .filter(|(link, _)| link.streams.is_empty() && link.pinned_by.is_empty())
            .filter(|(link, _)| {
                link.attempts > 0 || matches!(link.state, LinkState::Ignored { .. })
            })
            .max_by_key(|(link, _)| link.attempts)
            .map(|(_, place): (_, usize)| place);
        let Some(place) = worst else {
            return false;
        };
        let id = record.candidates.swap_remove(place);
        if let Some(link) = self.links.get_mut(id) {
            link.swarms.remove(&swarm);
        }
        self.forget_if_unused(id);
        true
    }

    /// Forgets the links that are only kept because they are left alone, but for bans. `true` when there were any.
    fn forget_old(&mut self, now: Instant) -> bool {
        let is_old = |link: &Link| {
            let over = matches!(link.state, LinkState::Ignored { until, .. } if until <= now);
            over && link.swarms.is_empty() && link.streams.is_empty()
        };
        let old: Vec<(LinkId, SocketAddr)> = self
            .links
            .iter()
            .filter(|(_, link)| is_old(link))
            .map(|(id, link)| (id, link.address))
            .collect();
        for (id, address) in &old {
            self.by_address.remove(address);
            self.links.remove(*id);
        }
        !old.is_empty()
    }

    /// A link that no swarm names, that carries no stream and need not be avoided is nothing worth keeping.
    fn forget_if_unused(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        if link.swarms.is_empty()
            && link.streams.is_empty()
            && !matches!(link.state, LinkState::Ignored { .. })
        {
            self.by_address.remove(&link.address);
            self.links.remove(id);
        }
    }
}

/// Whether dialling `address` would reach ourselves, as far as can be seen without dialling.
fn is_own(address: SocketAddr, listening: &[SocketAddr]) -> bool {
    listening.iter().any(|own| {
        own.port() == address.port()
            && own.is_ipv4() == address.is_ipv4()
            && (own.ip() == address.ip()
                || (own.ip().is_unspecified() && address.ip().is_loopback()))
    })
}
