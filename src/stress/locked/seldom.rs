//! What happens seldom and reaches far: the swarms are taken exclusively, so nobody else is anywhere in the table.
//!
//! The other locks are still taken, in their order; they are never waited for.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use crate::codec::address;
use crate::engine::message::{Answer, Direction, Refusal};
use crate::ids::{ConnectionId, InfoHash, SwarmId};
use crate::time::{Duration, Instant};

use super::record::{Link, Swarm};
use super::{Links, Locked, Swarms, read, write};

/// An address whose peer is connected by another is left alone for so long.
const DUPLICATE_PAUSE: Duration = Duration::from_secs(120);

impl Locked {
    pub(super) fn swarm_add(&self, info_hash: InfoHash, links_min: u32) -> Result<Answer, Refusal> {
        let mut swarms = write(&self.swarms);
        if let Some(&id) = swarms.by_hash.get(&info_hash) {
            return Err(Refusal::SwarmExists(id));
        }
        let id = SwarmId::new(self.number(), 0);
        let swarm = Swarm::new(id, info_hash, links_min);
        swarms.by_id.insert(id, Arc::new(RwLock::new(swarm)));
        swarms.by_hash.insert(info_hash, id);
        Ok(Answer::Swarm(id))
    }

    pub(super) fn swarm_remove(&self, id: SwarmId) -> Result<Answer, Refusal> {
        let mut swarms = write(&self.swarms);
        self.clear(&swarms, id, false)?;
        if let Some(swarm) = swarms.by_id.remove(&id) {
            swarms.by_hash.remove(&read(&swarm).info_hash);
        }
        Ok(Answer::Done)
    }

    pub(super) fn swarm_switch(&self, id: SwarmId, on: bool) -> Result<Answer, Refusal> {
        let swarms = write(&self.swarms);
        let swarm = swarms.by_id.get(&id).ok_or(Refusal::UnknownSwarm)?;
        let was = std::mem::replace(&mut write(swarm).on, on);
        if was && !on {
            self.clear(&swarms, id, true)?;
        }
        Ok(Answer::Condition(was))
    }

    /// A swarm's links leave it: their streams for it are forgotten, and none is a candidate any more, but for pinned ones if
    /// those are kept.
    fn clear(&self, swarms: &Swarms, id: SwarmId, keep_pinned: bool) -> Result<(), Refusal> {
        let swarm = swarms.by_id.get(&id).ok_or(Refusal::UnknownSwarm)?;
        let mut swarm = write(swarm);
        let mut links = write(&self.links);
        let mut streams = write(&self.streams);
        let addresses: Vec<SocketAddr> = swarm.links.iter().copied().collect();
        for address in addresses {
            let Some(link) = links.get(&address) else {
                continue;
            };
            let mut link = write(link);
            swarm.change(&mut link, |link| {
                link.streams.retain(|held| {
                    if held.swarm == Some(id) {
                        streams.remove(&held.connection);
                    }
                    held.swarm != Some(id)
                });
                if !(keep_pinned && link.ties.get(&id).is_some_and(|tie| tie.pinned)) {
                    link.ties.remove(&id);
                }
            });
            let is_unused = link.is_unused();
            drop(link);
            if is_unused {
                links.remove(&address);
            }
        }
        Ok(())
    }

    pub(super) fn link_update(
        &self,
        address: SocketAddr,
        to: SocketAddr,
    ) -> Result<Answer, Refusal> {
        let swarms = write(&self.swarms);
        let mut links = write(&self.links);
        let address = address::canonical(address);
        let entry = links.get(&address).ok_or(Refusal::UnknownLink)?;
        let entry = Arc::clone(entry);
        let mut link = write(&entry);
        if !link.dialable || !link.streams.is_empty() {
            return Err(Refusal::WrongState);
        }
        let to = address::canonical(to);
        if !address::dialable(to) {
            return Err(Refusal::BadAddress);
        }
        if to == address {
            return Ok(Answer::Done);
        }
        if links.contains_key(&to) {
            return Err(Refusal::AlreadyAssociated);
        }
        links.remove(&address);
        link.address = to;
        for id in link.ties.keys() {
            if let Some(swarm) = swarms.by_id.get(id) {
                let mut swarm = write(swarm);
                swarm.links.remove(&address);
                swarm.links.insert(to);
            }
        }
        drop(link);
        links.insert(to, entry);
        Ok(Answer::Done)
    }

    pub(super) fn link_delete(&self, address: SocketAddr, force: bool, preserve: bool) {
        let swarms = write(&self.swarms);
        let mut links = write(&self.links);
        let address = address::canonical(address);
        let Some(entry) = links.get(&address).map(Arc::clone) else {
            return;
        };
        let mut link = write(&entry);
        let is_pinned = link.ties.values().any(|tie| tie.pinned);
        self.drop_streams(&swarms, &mut link);
        if force || !(is_pinned || preserve) {
            let ties: Vec<SwarmId> = link.ties.keys().copied().collect();
            for id in ties {
                if let Some(swarm) = swarms.by_id.get(&id) {
                    write(swarm).change(&mut link, |link| link.ties.remove(&id));
                }
            }
            drop(link);
            links.remove(&address);
            return;
        }
        let is_unused = link.is_unused();
        drop(link);
        if is_unused {
            links.remove(&address);
        }
    }

    /// Takes all streams off a link.
    fn drop_streams(&self, swarms: &Swarms, link: &mut Link) {
        let mut streams = write(&self.streams);
        while let Some(held) = link.streams.first().copied() {
            streams.remove(&held.connection);
            let gone = |link: &mut Link| {
                link.streams.remove(0);
            };
            match held.swarm.and_then(|id| swarms.by_id.get(&id)) {
                Some(swarm) => write(swarm).change(link, gone),
                None => gone(link),
            }
        }
    }

    pub(super) fn stream_replace(
        &self,
        old: ConnectionId,
        new: ConnectionId,
        direction: Direction,
        now: impl Fn() -> Instant,
    ) -> Result<Answer, Refusal> {
        let swarms = write(&self.swarms);
        let mut links = write(&self.links);
        let place = |connection| read(&self.streams).get(&connection).copied();
        let Some((from, named)) = place(old) else {
            // What is gone leaves nothing to take over.
            return Ok(Answer::Done);
        };
        let swarm = named.and_then(|id| swarms.by_id.get(&id));
        let mut swarm = swarm.map(|swarm| write(swarm));
        let Some((to, other)) = place(new) else {
            self.take_off(swarm.as_deref_mut(), &mut links, from, old);
            return Ok(Answer::Done);
        };
        if old != new && other.is_some() && other != named {
            return Err(Refusal::WrongState);
        }
        let outgoing = direction == Direction::Outgoing;
        let turn = |link: &mut Link| {
            if let Some(held) = link.stream_mut(new) {
                held.outgoing = outgoing;
            }
        };
        {
            // It names the swarm of the old one, or none: of that one nothing is counted.
            let entry = Arc::clone(links.get(&to).ok_or(Refusal::UnknownLink)?);
            let mut link = write(&entry);
            match swarm.as_deref_mut() {
                Some(swarm) => swarm.change(&mut link, turn),
                None => turn(&mut link),
            }
        }
        if old == new {
            return Ok(Answer::Done);
        }
        let was_member = links
            .get(&from)
            .and_then(|link| read(link).stream(old))
            .is_some_and(|held| held.member);
        self.take_off_keeping(swarm.as_deref_mut(), &links, from, old);
        if let Some(swarm) = swarm.as_deref_mut() {
            let entry = Arc::clone(links.get(&to).ok_or(Refusal::UnknownLink)?);
            let mut link = write(&entry);
            let may = !was_member || link.member(swarm.id).is_none();
            let is_unnamed = other.is_none();
            if may {
                let id = swarm.id;
                swarm.change(&mut link, |link| {
                    if let Some(held) = link.stream_mut(new)
                        && (was_member || is_unnamed)
                    {
                        held.swarm = Some(id);
                        held.member |= was_member;
                    }
                });
                if let Some((_, named)) = write(&self.streams).get_mut(&new) {
                    *named = Some(id);
                }
            }
        }
        if from != to {
            let is_dialable = links.get(&from).is_some_and(|link| read(link).dialable);
            if let Some(swarm) = swarm.as_deref_mut().filter(|_| is_dialable) {
                // The peer is connected by its other address: no need to dial it at this one.
                swarm.ignore(from, now() + DUPLICATE_PAUSE, "duplicate");
            }
            if links.get(&from).is_some_and(|link| read(link).is_unused()) {
                links.remove(&from);
            }
        }
        Ok(Answer::Done)
    }

    /// Takes a stream off its link, and forgets the link when it was all there was of it.
    fn take_off(
        &self,
        swarm: Option<&mut Swarm>,
        links: &mut Links,
        address: SocketAddr,
        connection: ConnectionId,
    ) {
        self.take_off_keeping(swarm, links, address, connection);
        if links
            .get(&address)
            .is_some_and(|link| read(link).is_unused())
        {
            links.remove(&address);
        }
    }

    fn take_off_keeping(
        &self,
        swarm: Option<&mut Swarm>,
        links: &Links,
        address: SocketAddr,
        connection: ConnectionId,
    ) {
        write(&self.streams).remove(&connection);
        let Some(link) = links.get(&address) else {
            return;
        };
        let mut link = write(link);
        let gone = |link: &mut Link| link.drop_stream(connection);
        match swarm {
            Some(swarm) => swarm.change(&mut link, gone),
            None => gone(&mut link),
        }
    }
}
