//! What happens often: the swarms are taken shared, and exclusively only what changes.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use crate::codec::address;
use crate::engine::message::{Accounting, Answer, Direction, Refusal};
use crate::ids::{ConnectionId, LinkId, SwarmId};
use crate::time::Instant;

use crate::engine::settings::{LINK_STREAMS_MAX, LINKS_MAX, OUTSIDE_STREAMS_MAX};
use crate::engine::table::link::PINNED_RETRY_FIRST;

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
        if !links.contains_key(&address) && links.len() >= LINKS_MAX {
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
        let named = swarm.map(|id| swarms.by_id.get(&id).ok_or(Refusal::UnknownSwarm));
        let mut guard = match named {
            Some(Ok(swarm)) => Some(write(swarm)),
            Some(Err(refusal)) => return Err(self.unless_unknown(address, direction, refusal)),
            None => None,
        };
        let swarm = guard.as_deref_mut();
        if swarm.as_ref().is_some_and(|swarm| !swarm.on) {
            return Err(self.unless_unknown(address, direction, Refusal::WrongState));
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
        if !links.contains_key(&address) && links.len() >= LINKS_MAX {
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

    /// That the link is not there comes before what is wrong with the swarm.
    fn unless_unknown(
        &self,
        address: SocketAddr,
        direction: Direction,
        refusal: Refusal,
    ) -> Refusal {
        let is_known = || read(&self.links).contains_key(&address);
        match direction {
            Direction::Outgoing if !is_known() => Refusal::UnknownLink,
            _ => refusal,
        }
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
            if streams.len() >= OUTSIDE_STREAMS_MAX {
                return Err(Refusal::Full);
            }
            if link.streams.len() >= LINK_STREAMS_MAX {
                return Err(Refusal::Full);
            }
            streams.insert(held.connection, (link.address, held.swarm));
        }
        match swarm {
            Some(swarm) => swarm.change(link, |link| link.streams.push(held)),
            None => link.streams.push(held),
        }
        Ok(Answer::Stream(stream_of(held.connection)))
    }

    pub(super) fn stream_delete(&self, connection: ConnectionId) {
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
            let gone = |link: &mut Link| link.drop_stream(connection);
            match swarm.as_deref_mut() {
                Some(swarm) => swarm.change(&mut link, gone),
                None => gone(&mut link),
            }
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
        if verdict == Accounting::Member {
            self.admit(&mut swarm, &mut link);
            return;
        }
        self.expel(&mut swarm, &mut link, verdict, &now);
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
        let Some(Held { connection, .. }) = link.unaccounted(id) else {
            return;
        };
        swarm.change(link, |link| {
            if let Some(held) = link.stream_mut(connection) {
                held.member = true;
                held.swarm = Some(id);
            }
        });
        if let Some((_, named)) = write(&self.streams).get_mut(&connection) {
            *named = Some(id);
        }
    }

    /// It leaves the swarm, or could not enter it: it is no candidate any more unless a person named it, and its stream is over.
    fn expel(
        &self,
        swarm: &mut Swarm,
        link: &mut Link,
        verdict: Accounting,
        now: &impl Fn() -> Instant,
    ) {
        let id = swarm.id;
        if !link.is_tied(id) {
            return;
        }
        let is_pinned = link.ties.get(&id).is_some_and(|tie| tie.pinned);
        let (why, usual) = match verdict {
            Accounting::Failed => ("failed", Some(self.times.ignore)),
            Accounting::Leaves | Accounting::Member => ("left", None),
        };
        let pause = if is_pinned {
            Some(PINNED_RETRY_FIRST)
        } else {
            usual
        };
        if let Some(pause) = pause {
            swarm.ignore(link.address, now() + pause, why);
        }
        let stream = link.member(id).or_else(|| link.unaccounted(id));
        swarm.change(link, |link| {
            if !is_pinned {
                link.ties.remove(&id);
            }
            if let Some(Held { connection, .. }) = stream {
                link.drop_stream(connection);
                write(&self.streams).remove(&connection);
            }
        });
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
