//! What happens often: the swarms are taken shared, and exclusively only what changes.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use crate::codec::address;
use crate::engine::message::{Accounting, Answer, Direction, Refusal};
use crate::ids::{ConnectionId, LinkId, SwarmId};
use crate::time::Instant;

use super::record::{Held, Link, Swarm, Tie};
use super::{Locked, read, stream_of, write};

impl Locked {
    pub(super) fn link_create(
        &self,
        address: SocketAddr,
        swarm: SwarmId,
        pinned: bool,
    ) -> Result<Answer, Refusal> {
        let address = address::canonical(address);
        if !address::dialable(address) {
            return Err(Refusal::BadAddress);
        }
        let swarms = read(&self.swarms);
        let swarm = swarms.by_id.get(&swarm).ok_or(Refusal::UnknownSwarm)?;
        let mut swarm = write(swarm);
        {
            let links = read(&self.links);
            if let Some(link) = links.get(&address) {
                return associate(&mut swarm, &mut write(link), pinned);
            }
        }
        let mut links = write(&self.links);
        // Somebody else may have been faster.
        if !links.contains_key(&address) && links.len() >= self.bounds.links_max {
            return Err(Refusal::Full);
        }
        let link = links.entry(address).or_insert_with(|| self.link(address));
        associate(&mut swarm, &mut write(link), pinned)
    }

    pub(super) fn unpin(&self, address: SocketAddr, swarm: SwarmId) -> Result<Answer, Refusal> {
        let swarms = read(&self.swarms);
        let swarm = swarms.by_id.get(&swarm).ok_or(Refusal::UnknownSwarm)?;
        let swarm = write(swarm);
        let links = read(&self.links);
        let link = links.get(&address::canonical(address));
        let mut link = write(link.ok_or(Refusal::UnknownLink)?);
        match link.ties.get_mut(&swarm.id) {
            // It stays a candidate.
            Some(tie) if tie.pinned => tie.pinned = false,
            _ => return Err(Refusal::UnknownLink),
        }
        Ok(Answer::Done)
    }

    pub(super) fn stream_add(
        &self,
        address: SocketAddr,
        direction: Direction,
        swarm: Option<SwarmId>,
        connection: ConnectionId,
    ) -> Result<Answer, Refusal> {
        let address = address::canonical(address);
        let swarms = read(&self.swarms);
        let swarm = match swarm {
            Some(id) => Some(swarms.by_id.get(&id).ok_or(Refusal::UnknownSwarm)?),
            None => None,
        };
        let mut swarm = swarm.map(|swarm| write(swarm));
        let swarm = swarm.as_deref_mut();
        if swarm.as_ref().is_some_and(|swarm| !swarm.on) {
            return Err(Refusal::WrongState);
        }
        let held = Held {
            connection,
            outgoing: direction == Direction::Outgoing,
            swarm: swarm.as_ref().map(|swarm| swarm.id),
            member: false,
        };
        let swarm = {
            let links = read(&self.links);
            match links.get(&address) {
                Some(link) => return self.hang(swarm, &mut write(link), held),
                None => swarm,
            }
        };
        if held.outgoing {
            return Err(Refusal::UnknownLink);
        }
        let mut links = write(&self.links);
        if !links.contains_key(&address) && links.len() >= self.bounds.links_max {
            return Err(Refusal::Full);
        }
        let link = links.entry(address).or_insert_with(|| self.link(address));
        let mut guard = write(link);
        let result = self.hang(swarm, &mut guard, held);
        let is_unused = guard.is_unused();
        drop(guard);
        if is_unused {
            links.remove(&address);
        }
        result
    }

    /// Hangs a stream on its link.
    fn hang(
        &self,
        swarm: Option<&mut Swarm>,
        link: &mut Link,
        held: Held,
    ) -> Result<Answer, Refusal> {
        let is_member = |swarm: &&mut Swarm| link.member(swarm.id).is_some();
        if swarm.as_ref().is_some_and(is_member) {
            return Err(Refusal::AlreadyConnected);
        }
        {
            let mut streams = write(&self.streams);
            if streams.contains_key(&held.connection) {
                return Err(Refusal::AlreadyConnected);
            }
            if streams.len() >= self.bounds.streams_max {
                return Err(Refusal::Full);
            }
            streams.insert(held.connection, (link.address, held.swarm));
        }
        link.worked();
        match swarm {
            Some(swarm) => swarm.change(link, |link| link.streams.push(held)),
            None => link.streams.push(held),
        }
        Ok(Answer::Stream(stream_of(held.connection)))
    }

    pub(super) fn stream_delete(&self, connection: ConnectionId, now: impl Fn() -> Instant) {
        let swarms = read(&self.swarms);
        loop {
            let known = read(&self.streams).get(&connection).copied();
            let Some((address, named)) = known else {
                return;
            };
            let swarm = named.and_then(|id| swarms.by_id.get(&id));
            let mut swarm = swarm.map(|swarm| write(swarm));
            let links = read(&self.links);
            let Some(link) = links.get(&address) else {
                return;
            };
            let mut link = write(link);
            match link.stream(connection) {
                // A verdict has named its swarm meanwhile: once more, with that one.
                Some(held) if held.swarm != named => continue,
                Some(_) => {}
                None => return,
            }
            write(&self.streams).remove(&connection);
            let gone = |link: &mut Link| link.streams.retain(|held| held.connection != connection);
            match swarm.as_deref_mut() {
                Some(swarm) => swarm.change(&mut link, gone),
                None => gone(&mut link),
            }
            self.rest(&mut link, &now);
            let is_unused = link.is_unused();
            drop(link);
            drop(links);
            if is_unused {
                self.forget(address);
            }
            return;
        }
    }

    pub(super) fn account(
        &self,
        address: SocketAddr,
        swarm: SwarmId,
        verdict: Accounting,
        now: impl Fn() -> Instant,
    ) {
        let address = address::canonical(address);
        let swarms = read(&self.swarms);
        let Some(swarm) = swarms.by_id.get(&swarm) else {
            return;
        };
        let mut swarm = write(swarm);
        let links = read(&self.links);
        let Some(link) = links.get(&address) else {
            return;
        };
        let mut link = write(link);
        match verdict {
            Accounting::Member => {
                self.admit(&mut swarm, &mut link);
                return;
            }
            Accounting::Leaves | Accounting::Failed => {
                self.expel(&mut swarm, &mut link, verdict, &now);
            }
        }
        let is_unused = link.is_unused();
        drop(link);
        drop(links);
        if is_unused {
            self.forget(address);
        }
    }

    /// The oldest stream that may be in the swarm is, unless another is already.
    fn admit(&self, swarm: &mut Swarm, link: &mut Link) {
        if !swarm.on || link.member(swarm.id).is_some() {
            return;
        }
        let id = swarm.id;
        let free = |held: &Held| !held.member && held.swarm.is_none_or(|named| named == id);
        let Some(place) = link.streams.iter().position(free) else {
            return;
        };
        let connection = link.streams[place].connection;
        swarm.change(link, |link| {
            let held = &mut link.streams[place];
            held.member = true;
            held.swarm = Some(id);
        });
        if let Some((_, named)) = write(&self.streams).get_mut(&connection) {
            *named = Some(id);
        }
    }

    /// It is a member no longer.
    fn expel(
        &self,
        swarm: &mut Swarm,
        link: &mut Link,
        verdict: Accounting,
        now: &impl Fn() -> Instant,
    ) {
        let id = swarm.id;
        swarm.change(link, |link| {
            let is = |held: &&mut Held| held.member && held.swarm == Some(id);
            if let Some(held) = link.streams.iter_mut().find(is) {
                held.member = false;
            }
        });
        if verdict == Accounting::Failed {
            swarm.ignore(link.address, now() + self.bounds.ignore, "failures");
        }
    }

    /// What becomes of a link when a stream of it is gone.
    pub(super) fn rest(&self, link: &mut Link, now: &impl Fn() -> Instant) {
        if link.streams.is_empty() {
            link.rests(now() + self.bounds.retry_first);
        }
    }

    /// Forgets the link of `address` if it is still unused.
    pub(super) fn forget(&self, address: SocketAddr) {
        let mut links = write(&self.links);
        if links
            .get(&address)
            .is_some_and(|link| read(link).is_unused())
        {
            links.remove(&address);
        }
    }

    pub(super) fn link(&self, address: SocketAddr) -> Arc<RwLock<Link>> {
        let id = LinkId::new(self.number(), 0);
        Arc::new(RwLock::new(Link::new(id, address)))
    }
}

/// The link may be dialled for the swarm.
fn associate(swarm: &mut Swarm, link: &mut Link, pinned: bool) -> Result<Answer, Refusal> {
    let id = swarm.id;
    let is_candidate = link.ties.get(&id).is_some_and(|tie| tie.candidate);
    if is_candidate && !pinned {
        return Err(Refusal::AlreadyAssociated);
    }
    link.dialable = true;
    swarm.change(link, |link| {
        let tie = link.ties.entry(id).or_default();
        *tie = Tie {
            candidate: true,
            pinned: tie.pinned || pinned,
        };
    });
    Ok(Answer::Link(link.id))
}
