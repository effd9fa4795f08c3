//! Streams that callers add, delete and replace: sockets they hand over, and streams they carry themselves.

use std::net::SocketAddr;

use crate::codec::address;
use crate::config::Encryption;
use crate::engine::Engine;
use crate::engine::close::DUPLICATE_PAUSE;
use crate::engine::message::{Carrier, Direction, Output, Refusal, StreamName};
use crate::engine::settings::{HANDSHAKE_TIMEOUT, OUTSIDE_STREAMS_MAX};
use crate::engine::shared::TimerKey;
use crate::engine::table::stream::{CloseReason, Stage};
use crate::ids::{LinkId, SocketId, StreamId, SwarmId};

impl Engine {
    pub(super) fn stream_add(
        &mut self,
        address: SocketAddr,
        direction: Direction,
        swarm: Option<SwarmId>,
        carrier: Carrier,
    ) -> Result<StreamId, Refusal> {
        let address = address::canonical(address);
        let checked = self.stream_check(address, direction, swarm);
        let added = checked.and_then(|link| {
            let outgoing = direction == Direction::Outgoing;
            match carrier {
                Carrier::Outside(connection) => {
                    if self.table.streams.outside(connection).is_some() {
                        return Err(Refusal::AlreadyConnected);
                    }
                    if self.table.streams.outside_len() >= OUTSIDE_STREAMS_MAX {
                        return Err(Refusal::Full);
                    }
                    let link = self.link_for(link, address)?;
                    let added = self.table.stream_outside(link, connection, outgoing, swarm);
                    added.ok_or(Refusal::Full)
                }
                Carrier::Socket(socket) => {
                    self.stream_adopt(socket, link, address, outgoing, swarm)
                }
            }
        });
        if let (Err(_), Carrier::Socket(socket)) = (&added, carrier) {
            self.shared.push(Output::Refuse { socket });
        }
        added
    }

    /// What is asked of a stream whoever carries it; gives back its link, if there is one.
    fn stream_check(
        &self,
        address: SocketAddr,
        direction: Direction,
        swarm: Option<SwarmId>,
    ) -> Result<Option<LinkId>, Refusal> {
        let link = self.table.link_at(address);
        if link.is_none() && direction == Direction::Outgoing {
            return Err(Refusal::UnknownLink);
        }
        if let Some(swarm) = swarm {
            let record = self.table.swarms.get(swarm).ok_or(Refusal::UnknownSwarm)?;
            if !record.is_on() {
                return Err(Refusal::WrongState);
            }
            if link.is_some_and(|link| self.table.member(link, swarm).is_some()) {
                return Err(Refusal::AlreadyConnected);
            }
        }
        let for_good = link
            .and_then(|link| self.table.links.get(link))
            .is_some_and(|link| link.state().is_final());
        if for_good || self.table.is_banned_ip(address.ip()) {
            return Err(Refusal::WrongState);
        }
        Ok(link)
    }

    /// The link of `address`, made if it is not there.
    fn link_for(&mut self, link: Option<LinkId>, address: SocketAddr) -> Result<LinkId, Refusal> {
        match link {
            Some(link) => Ok(link),
            None if self.table.has_room(self.shared.now) => Ok(self.table.link_incoming(address)),
            None => Err(Refusal::Full),
        }
    }

    /// A connected socket that a caller hands over: from now on a stream like any other.
    fn stream_adopt(
        &mut self,
        socket: SocketId,
        link: Option<LinkId>,
        address: SocketAddr,
        outgoing: bool,
        swarm: Option<SwarmId>,
    ) -> Result<StreamId, Refusal> {
        let settings = &self.shared.settings;
        if self.table.streams.len() >= settings.streams_max {
            return Err(Refusal::Full);
        }
        let of_swarm = swarm.map_or(usize::MAX, |swarm| self.swarm_streams_max(swarm));
        match swarm.and_then(|swarm| self.table.swarms.get(swarm)) {
            // Who dialled speaks first, and must know of what.
            None if outgoing => return Err(Refusal::UnknownSwarm),
            None => {}
            // Nobody trades there: whatever it said, nobody would answer.
            Some(record) if record.session.is_none() => return Err(Refusal::WrongState),
            Some(record) if record.streams.len() + record.opening.len() >= of_swarm => {
                return Err(Refusal::Full);
            }
            Some(_) => {}
        }
        let link = self.link_for(link, address)?;
        let now = self.shared.now;
        let deadline = now + HANDSHAKE_TIMEOUT;
        let stage = Stage::Handshaking { deadline };
        let stream = self.table.stream_carry(link, outgoing, swarm, stage, now);
        self.shared.timers.set(TimerKey::Stream(stream), deadline);
        self.shared.push(Output::Accept { socket, stream });
        if outgoing {
            if let Some(stream) = self.table.streams.get_mut(stream) {
                // Nobody could dial it once more, so it begins as everybody understands.
                stream.second_choice = self.shared.settings.encryption == Encryption::Prefer;
            }
            self.speak_first(stream);
        }
        Ok(stream)
    }

    fn stream_named(&self, name: StreamName) -> Option<StreamId> {
        match name {
            StreamName::Stream(id) => Some(id),
            StreamName::Outside(connection) => self.table.streams.outside(connection),
        }
    }

    pub(super) fn stream_delete(&mut self, name: StreamName) {
        let Some(id) = self.stream_named(name) else {
            return;
        };
        match self.table.streams.is_outside(id) {
            None => {}
            Some(false) => self.close(id, CloseReason::Caller),
            Some(true) => self.forget_outside(id),
        }
    }

    /// A stream that a caller carried is over: its link may be tried again after the first pause (requirement L12).
    fn forget_outside(&mut self, id: StreamId) {
        let Some(link) = self.table.link_of(id) else {
            return;
        };
        let swarm = self.table.swarm_named(id);
        self.table.stream_remove(id);
        // Only what the loop carries has a birthday; how long this lived is the caller's to judge.
        let settings = &self.shared.settings;
        self.table.link_lost(link, self.shared.now, false, settings);
        if let Some(swarm) = swarm {
            self.connect_soon(swarm);
        }
    }

    pub(super) fn stream_replace(
        &mut self,
        old: StreamName,
        new: StreamName,
        direction: Direction,
    ) -> Result<(), Refusal> {
        let Some(old) = self
            .stream_named(old)
            .filter(|&id| self.table.link_of(id).is_some())
        else {
            // What is gone leaves nothing to take over.
            return Ok(());
        };
        let Some(new) = self
            .stream_named(new)
            .filter(|&id| self.table.link_of(id).is_some())
        else {
            self.stream_delete(StreamName::Stream(old));
            return Ok(());
        };
        let (from, to) = (self.table.link_of(old), self.table.link_of(new));
        let swarm = self.table.swarm_named(old);
        if !self
            .table
            .replace(old, new, direction == Direction::Outgoing)
        {
            return Err(Refusal::WrongState);
        }
        let Some(from) = from.filter(|_| from != to) else {
            return Ok(());
        };
        // The peer is connected by its other address: no need to dial it at this one.
        if let (Some(link), Some(record)) = (
            self.table.links.get(from),
            swarm.and_then(|swarm| self.table.swarms.get_mut(swarm)),
        ) && link.is_dialable()
        {
            record.ignore(
                link.address(),
                self.shared.now + DUPLICATE_PAUSE,
                CloseReason::Duplicate.name(),
            );
        }
        self.table.link_idle(from);
        Ok(())
    }
}
