//! Links by address: made, changed, judged, banned, forgotten.

use std::net::{IpAddr, SocketAddr};

use crate::codec::address;
use crate::engine::message::Refusal;
use crate::engine::settings::{CANDIDATES_MAX, LINKS_MAX, Settings};
use crate::ids::{LinkId, PeerId, SwarmId};
use crate::time::Instant;

use super::link::{IgnoreReason, Link, LinkState, ignored_until};
use super::ties::Mark;
use super::{Source, Table};

/// Peer-ids and addresses banned for proven bad data that are remembered; beyond it no more are, the links still are.
const BANNED_MAX: usize = 10_000;

impl Table {
    /// The link of `address`.
    #[must_use]
    pub fn link_at(&self, address: SocketAddr) -> Option<LinkId> {
        let slot = self.find(address::canonical(address))?;
        Some(self.links.id_at(slot))
    }

    /// Makes `address` a candidate of `swarm` (requirement L1). The link, and whether that is news.
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
    ) -> Result<(LinkId, bool), Refusal> {
        let address = dial_to(address, listening)?;
        if self.is_blocked(address.ip()) {
            return Err(Refusal::Blocked);
        }
        let Some(record) = self.swarms.get(swarm) else {
            return Err(Refusal::UnknownSwarm);
        };
        let known = self.find(address);
        let pinned = source == Source::Person;
        let associated = known
            .and_then(|at| self.link(at).tie(swarm.slot32()))
            .is_some_and(|tie| tie.is(Mark::Candidate));
        let bounded = matches!(
            source,
            Source::Tracker | Source::Dht | Source::Pex | Source::Local | Source::Peer
        );
        if bounded
            && !associated
            && record.belonging as usize >= CANDIDATES_MAX
            && !self.drop_worst(swarm)
        {
            return Err(Refusal::Full);
        }
        // The one that was dropped may have been all there was of this address.
        let at = match known.filter(|&at| self.links.at(at).is_some()) {
            Some(at) => at,
            None => self.insert(address, now).ok_or(Refusal::Full)?,
        };
        self.link_mut(at).set_dialable();
        self.tie(at, swarm.slot32());
        self.mark(at, swarm.slot32(), Mark::Candidate, true);
        if pinned {
            self.mark(at, swarm.slot32(), Mark::Pinned, true);
        }
        Ok((self.links.id_at(at), !associated))
    }

    /// The record of an address that dialled us (requirement L3): its port is ephemeral, so it is a record of its own.
    pub fn link_incoming(&mut self, address: SocketAddr) -> LinkId {
        let address = address::canonical(address);
        let at = self
            .find(address)
            .unwrap_or_else(|| self.insert_new(address));
        self.links.id_at(at)
    }

    /// Whether a link may be made for one more address.
    pub fn has_room(&mut self, now: Instant) -> bool {
        self.links.len() < LINKS_MAX || self.forget_old(now)
    }

    /// A link is to be dialled elsewhere from now on (requirement L5).
    ///
    /// # Errors
    /// As in [`Message::LinkUpdate`](crate::engine::message::Message::LinkUpdate).
    pub fn link_update(
        &mut self,
        address: SocketAddr,
        to: SocketAddr,
        listening: &[SocketAddr],
    ) -> Result<LinkId, Refusal> {
        let at = self
            .find(address::canonical(address))
            .ok_or(Refusal::UnknownLink)?;
        let link = self.link(at);
        let rests = matches!(link.state(), LinkState::Disconnected { .. });
        if !link.is_dialable() || !link.is_idle() || !rests {
            return Err(Refusal::WrongState);
        }
        let to = dial_to(to, listening)?;
        match self.find(to) {
            Some(other) if other != at => return Err(Refusal::AlreadyAssociated),
            Some(_) => return Ok(self.links.id_at(at)),
            None => {}
        }
        let hash = self.keys.hash(self.link(at).key());
        self.by_address.remove(hash, at);
        self.link_mut(at).set_address(to);
        self.index(at);
        // What was learnt of the old place says nothing of the new one.
        self.set_state(
            at,
            LinkState::Disconnected {
                not_before: Instant::ZERO,
            },
        );
        self.touch(at);
        Ok(self.links.id_at(at))
    }

    /// Forgets a link, whatever it is; its streams must be closed before.
    pub fn link_delete(&mut self, id: LinkId) {
        if self.links.get(id).is_none() {
            return;
        }
        let at = id.slot32();
        while let Some(tie) = self.link(at).ties.as_slice().first().copied() {
            for mark in [Mark::Candidate, Mark::Pinned] {
                self.mark(at, tie.swarm, mark, false);
            }
            self.untie(at, tie.swarm);
        }
        self.forget(at);
    }

    /// A person named it for `swarm` no longer. `false` when nobody had.
    pub fn unpin(&mut self, address: SocketAddr, swarm: SwarmId) -> bool {
        let Some(at) = self.find(address::canonical(address)) else {
            return false;
        };
        let pinned = self.link(at).tie(swarm.slot32());
        if !pinned.is_some_and(|tie| tie.is(Mark::Pinned)) || self.swarms.get(swarm).is_none() {
            return false;
        }
        self.mark(at, swarm.slot32(), Mark::Pinned, false);
        true
    }

    /// Whether a person named `link` for `swarm`.
    #[must_use]
    pub fn is_pinned(&self, link: LinkId, swarm: SwarmId) -> bool {
        let tie = self
            .links
            .get(link)
            .and_then(|link| link.tie(swarm.slot32()));
        tie.is_some_and(|tie| tie.is(Mark::Pinned))
    }

    /// A handshake on `link` was completed (requirement L7): failures are forgotten.
    pub fn link_established(&mut self, link: LinkId) {
        if let Some(record) = self.links.get_mut(link) {
            record.worked();
            self.set_state(link.slot32(), LinkState::Established);
        }
    }

    /// An attempt failed (requirement L8, X14). Which in a row it was, when that is worth telling.
    pub fn link_failed(
        &mut self,
        link: LinkId,
        now: Instant,
        jitter: u64,
        settings: &Settings,
    ) -> Option<u32> {
        let record = self.links.get_mut(link)?;
        let mut told = None;
        if record.is_idle() && !matches!(record.state(), LinkState::Ignored { .. }) {
            let state = record.failed(now, jitter, settings);
            told = record
                .is_failure_told(settings)
                .then_some(record.attempts());
            self.set_state(link.slot32(), state);
        }
        self.forget_if_unused(link.slot32());
        told
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
        if record.is_idle() && !matches!(record.state(), LinkState::Ignored { .. }) {
            let state = record.lost(now, lived_short, settings);
            self.set_state(link.slot32(), state);
        }
        self.forget_if_unused(link.slot32());
    }

    /// A stream of a link is gone, for a reason that says nothing of the address.
    pub fn link_idle(&mut self, link: LinkId) {
        self.link_rests(link, Instant::ZERO);
    }

    /// The same, and it is not to be dialled before `not_before`.
    pub fn link_rests(&mut self, link: LinkId, not_before: Instant) {
        let Some(record) = self.links.get_mut(link) else {
            return;
        };
        if record.is_idle() && !matches!(record.state(), LinkState::Ignored { .. }) {
            self.set_state(link.slot32(), LinkState::Disconnected { not_before });
        }
        self.forget_if_unused(link.slot32());
    }

    /// Leaves a link alone for the usual time.
    pub fn link_ignore(
        &mut self,
        link: LinkId,
        now: Instant,
        why: IgnoreReason,
        settings: &Settings,
    ) {
        let Some(record) = self.links.get(link) else {
            return;
        };
        if !record.state().is_final() || why == IgnoreReason::BadData {
            let until = ignored_until(now, why, settings);
            self.set_state(link.slot32(), LinkState::Ignored { until, why });
        }
    }

    /// Nobody is dialled at, or accepted from, this address again: it sent bad data, proven.
    ///
    /// `link` may be forgotten by now. A peer-id alone bans nobody: anyone can copy it.
    pub fn ban(&mut self, link: LinkId, address: SocketAddr, peer_id: Option<PeerId>) {
        if self.links.get(link).is_some() {
            let (until, why) = (Instant::FAR, IgnoreReason::BadData);
            self.set_state(link.slot32(), LinkState::Ignored { until, why });
        }
        let ip = address.ip();
        // Many peers share a loopback or private address (tests, a NAT of one's own): there the peer-id and the port stand in.
        if address::is_global(ip)
            && self.banned_ips.len() < BANNED_MAX
            && self.banned_ips.insert(ip)
        {
            // Other ports of it may be anybody's candidates.
            self.versions_up();
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
        self.is_banned_ip(address.ip())
            || self.find(address::canonical(address)).is_some_and(|at| {
                matches!(
                    self.link(at).state(),
                    LinkState::Ignored {
                        why: IgnoreReason::BadData,
                        ..
                    }
                )
            })
    }

    /// Whether nobody talks to a host, whatever its port: banned, or blocked.
    #[must_use]
    pub fn is_banned_ip(&self, ip: IpAddr) -> bool {
        let for_data = !self.banned_ips.is_empty() && self.banned_ips.contains(&ip);
        for_data || self.is_blocked(ip)
    }

    /// Whether a list or a person blocks a host.
    #[must_use]
    pub fn is_blocked(&self, ip: IpAddr) -> bool {
        self.blocks.is_banned(ip) || self.blocks.is_listed(ip)
    }

    /// Hosts that were banned for bad data.
    pub fn banned(&self) -> impl Iterator<Item = IpAddr> {
        self.banned_ips.iter().copied()
    }

    /// Nothing that was proven against a host counts any more; `false` when nothing was. Its links are forgotten.
    pub fn unban(&mut self, ip: IpAddr) -> bool {
        let is_banned = |link: &Link| {
            let why = IgnoreReason::BadData;
            link.address().ip() == ip
                && matches!(link.state(), LinkState::Ignored { why: found, .. } if found == why)
        };
        let links = self.links.iter();
        let links: Vec<LinkId> = links
            .filter(|(_, link)| link.is_idle() && is_banned(link))
            .map(|(id, _)| id)
            .collect();
        for id in &links {
            self.link_delete(*id);
        }
        let ids = self.banned_ids.len();
        self.banned_ids.retain(|(banned, _)| *banned != ip);
        let was_there = self.banned_ips.remove(&ip);
        was_there || !links.is_empty() || ids != self.banned_ids.len()
    }

    /// What was shown of every swarm is old.
    pub fn versions_up(&mut self) {
        for id in self.swarms.ids() {
            self.swarm_at_mut(id.slot32()).version += 1;
        }
    }

    /// Whether a stranger from the host of `address` that calls itself `id` was banned.
    #[must_use]
    pub fn is_banned_id(&self, address: SocketAddr, id: PeerId) -> bool {
        self.banned_ids.contains(&(address.ip(), id))
    }

    /// Links that are disconnected, connecting, established, ignored.
    #[must_use]
    pub const fn links_by_state(&self) -> [u32; 4] {
        self.by_state
    }

    // ----------------------------------------------------------------------------------------------------- private

    pub(super) fn insert(&mut self, address: SocketAddr, now: Instant) -> Option<u32> {
        self.has_room(now).then(|| self.insert_new(address))
    }

    pub(super) fn insert_new(&mut self, address: SocketAddr) -> u32 {
        let at = self.links.insert_with(|_| Link::new(address)).slot32();
        self.by_state[self.link(at).state().ordinal()] += 1;
        self.index(at);
        at
    }

    pub(super) fn index(&mut self, at: u32) {
        let (links, keys) = (&self.links, &self.keys);
        let hash_of = |at| links.at(at).map_or(0, |link| keys.hash(link.key()));
        self.by_address.insert(hash_of(at), at, hash_of);
    }

    /// Drops the candidate of `swarm` that failed most. `false` when none did, so that newcomers cannot drive out what works.
    fn drop_worst(&mut self, swarm: SwarmId) -> bool {
        let Some(record) = self.swarms.get(swarm) else {
            return false;
        };
        let worst = record
            .links
            .iter()
            .map(|&at| (at, self.link(at)))
            .filter(|(_, link)| link.is_idle() && !link.is_pinned())
            .filter(|(_, link)| {
                link.attempts() > 0 || matches!(link.state(), LinkState::Ignored { .. })
            })
            .max_by_key(|(_, link)| link.attempts())
            .map(|(at, _)| at);
        let Some(at) = worst else {
            return false;
        };
        self.leave(at, swarm.slot32(), false);
        true
    }

    /// Forgets the links that are only kept because they are left alone, but for bans. `true` when there were any.
    fn forget_old(&mut self, now: Instant) -> bool {
        if now < self.old_from {
            return false;
        }
        let mut old = Vec::new();
        self.old_from = Instant::FAR;
        for (id, link) in self.links.iter() {
            if let LinkState::Ignored { until, .. } = link.state()
                && link.ties.as_slice().is_empty()
                && link.is_idle()
            {
                if until <= now {
                    old.push(id.slot32());
                } else {
                    self.old_from = self.old_from.min(until);
                }
            }
        }
        for &at in &old {
            self.forget(at);
        }
        !old.is_empty()
    }
}

/// The canonical form of an address that can be dialled and is not our own.
fn dial_to(address: SocketAddr, listening: &[SocketAddr]) -> Result<SocketAddr, Refusal> {
    let address = address::canonical(address);
    if !address::dialable(address) {
        return Err(Refusal::BadAddress);
    }
    if is_own(address, listening) {
        return Err(Refusal::OwnAddress);
    }
    Ok(address)
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
