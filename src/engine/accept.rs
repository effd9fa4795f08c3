//! The first words of a stream: whom to accept, the handshake, and which of two streams to the same peer stays.

use std::net::SocketAddr;

use crate::codec::extension::{ExtendedHandshake, HANDSHAKE_ID};
use crate::codec::wire::{Features, HANDSHAKE_BYTES, Handshake, Message};
use crate::events::Event;
use crate::ids::{InfoHash, PeerId, SessionId, SocketId, StreamId, SwarmId};

use super::Engine;
use super::extended::Extension;
use super::message::{Frame, Output};
use super::mse;
use super::session::receive::send;
use super::settings::{
    CLIENT_NAME, FIRST_HANDSHAKE_TIMEOUT, HANDSHAKE_TIMEOUT, REQUESTS_IN_MAX, SNUB,
    WAITING_BYTES_MAX,
};
use super::shared::TimerKey;
use super::table::cover::Cover;
use super::table::link::Link;
use super::table::peer::{Legacy, Peer};
use super::table::stream::{CloseReason, Stage, Stream};

/// What we speak, beyond BEP 3.
const FEATURES: Features = Features {
    fast: true,
    extended: true,
    dht: false,
};

/// Of all streams, at most one in so many may be accepted and not yet have said whose peer it is. Beyond it the oldest of
/// them goes: an honest peer says it within a round trip, so those that wait longest are the least likely to be one, whereas
/// refusing newcomers would let a few silent ones keep everybody out until they time out.
const NEWCOMERS_SHARE: usize = 4;

impl Engine {
    pub(super) fn on_incoming(&mut self, socket: SocketId, remote: SocketAddr) {
        let stream = Some(remote).filter(|_| self.shared.settings.tcp);
        match stream.and_then(|remote| self.admit(remote)) {
            Some(stream) => self.shared.push(Output::Accept { socket, stream }),
            None => self.shared.push(Output::Refuse { socket }),
        }
    }

    /// Somebody dials us, over whatever transport: the stream it gets, if it may have one.
    pub(super) fn admit(&mut self, remote: SocketAddr) -> Option<StreamId> {
        let remote = crate::codec::address::canonical(remote);
        let full = self.table.streams.len() >= self.shared.settings.streams_max;
        if full || self.is_ending() || self.table.is_banned(remote) {
            self.shared.counters.incoming_refused += 1;
            return None;
        }
        self.make_way();
        let now = self.shared.now;
        let link = self.table.link_incoming(remote);
        let stage = Stage::Handshaking {
            deadline: now + HANDSHAKE_TIMEOUT,
        };
        let stream = self.table.stream_carry(link, false, None, stage, now);
        self.shared.counters.incoming += 1;
        self.shared
            .timers
            .set(TimerKey::Stream(stream), now + HANDSHAKE_TIMEOUT);
        self.newcomers.push_back(stream);
        Some(stream)
    }

    /// Makes sure that one more may be accepted without having said anything.
    fn make_way(&mut self) {
        let most = (self.shared.settings.streams_max / NEWCOMERS_SHARE).max(1);
        if self.newcomers.len() < most {
            return;
        }
        // Most have said it long ago, or are gone.
        let streams = &self.table.streams;
        self.newcomers.retain(|id| {
            let stream = streams.get(*id);
            stream.is_some_and(|stream| matches!(stream.stage, Stage::Handshaking { .. }))
        });
        if self.newcomers.len() >= most
            && let Some(oldest) = self.newcomers.pop_front()
        {
            self.close(oldest, CloseReason::Full);
        }
    }

    pub(super) fn on_connected(&mut self, id: StreamId) {
        let now = self.shared.now;
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        if !matches!(stream.stage, Stage::Dialing { .. }) {
            return;
        }
        let second = self.table.links.get(stream.link);
        stream.second_choice = second.is_some_and(Link::is_second_choice);
        // Where another kind of handshake may do better it is not waited for so long.
        let may_redial = mse::has_other_choice(&self.shared.settings, stream);
        let patience = if may_redial {
            FIRST_HANDSHAKE_TIMEOUT
        } else {
            HANDSHAKE_TIMEOUT
        };
        let deadline = now + patience;
        stream.stage = Stage::Handshaking { deadline };
        stream.heard = now;
        self.shared.timers.set(TimerKey::Stream(id), deadline);
        self.speak_first(id);
    }

    /// Says the first words on a stream that we dialled, or that a caller says we did.
    pub(super) fn speak_first(&mut self, id: StreamId) {
        let swarm = self.table.swarm_named(id);
        let swarm = swarm.and_then(|swarm| self.table.swarms.get(swarm));
        let Some(info_hash) = swarm.map(|swarm| swarm.info_hash) else {
            return;
        };
        let Some(stream) = self.table.streams.get(id) else {
            return;
        };
        if mse::is_encrypted_choice(&self.shared.settings, stream) {
            let first = self.handshake(info_hash).to_vec();
            self.begin_exchange(id, info_hash, first);
        } else {
            self.send_handshake(id, info_hash);
        }
    }

    /// What we speak about a torrent: of a private one the DHT is not told.
    fn features(&self, info_hash: InfoHash) -> Features {
        Features {
            dht: self.dht_knows(info_hash),
            ..FEATURES
        }
    }

    /// Our own.
    fn handshake(&self, info_hash: InfoHash) -> [u8; HANDSHAKE_BYTES] {
        let handshake = Handshake {
            features: self.features(info_hash),
            info_hash,
            peer_id: self.shared.settings.peer_id,
        };
        handshake.encode()
    }

    fn send_handshake(&mut self, id: StreamId, info_hash: InfoHash) {
        let bytes = self.handshake(info_hash);
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let frame = Frame::Small {
            length: HANDSHAKE_LENGTH,
            bytes,
        };
        self.shared.send(stream, frame);
    }

    pub(super) fn on_received(&mut self, id: StreamId, bytes: &mut [u8]) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        stream.heard = self.shared.now;
        match &stream.cover {
            Cover::None if mse::is_undecided(stream) => self.hear_stranger(id, bytes),
            Cover::None => self.hear(id, bytes),
            Cover::Agreeing(_) => self.hear_exchange(id, bytes),
            Cover::Ciphers(_) => {
                stream.cover.lift(bytes);
                self.hear(id, bytes);
            }
        }
    }

    /// Takes what was said on a stream, in the clear.
    pub(super) fn hear(&mut self, id: StreamId, bytes: &mut [u8]) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        match stream.stage {
            Stage::Open { session, .. } => self.read_messages(id, session, bytes),
            Stage::Handshaking { .. } => {
                let needed = HANDSHAKE_BYTES.saturating_sub(stream.tail.len());
                if needed == 0 {
                    // Its torrent wakes: what else it says is heard then.
                    if stream.tail.len() + bytes.len() > WAITING_BYTES_MAX {
                        return self.close(id, CloseReason::Full);
                    }
                    return stream.tail.extend_from_slice(bytes);
                }
                let (now, later) = bytes.split_at_mut(needed.min(bytes.len()));
                stream.tail.extend_from_slice(now);
                if let Some(reason) = self.read_handshake(id) {
                    self.close(id, reason);
                    return;
                }
                if let Some(stream) = self.table.streams.get_mut(id)
                    && stream.tail.len() == HANDSHAKE_BYTES
                {
                    stream.tail.extend_from_slice(later);
                    return;
                }
                let open = self.table.streams.get(id).and_then(Stream::session);
                if let (Some(session), false) = (open, later.is_empty()) {
                    self.read_messages(id, session, later);
                }
            }
            // Bytes before the transport is up cannot be.
            Stage::Dialing { .. } => {}
        }
    }

    /// Looks at what there is of a handshake; says why the stream must be closed.
    fn read_handshake(&mut self, id: StreamId) -> Option<CloseReason> {
        let stream = self.table.streams.get(id)?;
        let decoded = Handshake::decode(&stream.tail);
        // The torrent is refused at the 48th byte, before the rest has come (requirement E11).
        if let Some(info_hash) = Handshake::info_hash_of(&stream.tail) {
            let is_whole = matches!(decoded, Ok(Some(_)));
            if let Some(session) = self.wakes_for(info_hash) {
                let full = is_whole && !self.wait_for(session, id);
                return full.then_some(CloseReason::Full);
            }
            let stream = self.table.streams.get(id)?;
            let swarm = self
                .table
                .swarm_of(info_hash)
                .filter(|swarm| swarm.is_on() && swarm.session.is_some());
            let expected = stream
                .swarm
                .is_none_or(|own| swarm.is_some_and(|swarm| swarm.id == own));
            if swarm.is_none() || !expected {
                self.shared.counters.unknown_torrents += 1;
                return Some(CloseReason::UnknownTorrent);
            }
        }
        match decoded {
            Ok(None) => None,
            Ok(Some(handshake)) => self.on_handshake(id, &handshake),
            Err(violation) => Some(CloseReason::Broke(violation.into())),
        }
    }

    fn on_handshake(&mut self, id: StreamId, handshake: &Handshake) -> Option<CloseReason> {
        let now = self.shared.now;
        let swarm = self
            .table
            .swarm_of(handshake.info_hash)
            .and_then(|swarm| Some((swarm.id, swarm.session?)));
        let Some((swarm, session)) = swarm else {
            return Some(CloseReason::UnknownTorrent);
        };
        if handshake.peer_id == self.shared.settings.peer_id {
            return Some(CloseReason::Ourselves);
        }
        let remote = self.table.streams.get(id)?.address;
        if self.table.is_banned_id(remote, handshake.peer_id) {
            return Some(CloseReason::BadData);
        }
        let rival = match self.rival(id, swarm, handshake.peer_id) {
            Some((_, false)) => return Some(CloseReason::Duplicate),
            Some((rival, true)) => Some(rival),
            None => None,
        };
        let record = self.table.swarms.get(swarm)?;
        let stream = self.table.streams.get(id)?;
        let open = record.streams.len() - usize::from(rival.is_some());
        if !stream.outgoing && open >= self.swarm_streams_max(swarm) {
            return Some(CloseReason::Full);
        }
        // Another peer at the same address, or a caller, may have the link's place in this swarm.
        let placed = self.table.member(stream.link, swarm);
        if placed.is_some() && placed != rival {
            return Some(CloseReason::Duplicate);
        }
        // The rival leaves before the other enters, since both may be of one link; it is closed when nobody misses it.
        let legacy = rival.and_then(|rival| {
            self.table.unaccount(rival);
            let peer = self.table.streams.get_mut(rival)?.peer_mut()?;
            Some(peer.bequeath())
        });
        let mut legacy = legacy.or_else(|| self.met_again(swarm, id, handshake.peer_id));
        let accounted = self.table.account(id, swarm);
        debug_assert!(accounted, "the place was looked at");
        let stream = self.table.streams.get_mut(id)?;
        stream.tail = Vec::new();
        if let Some(farewell) = stream.farewell.take() {
            if farewell.legacy.id == handshake.peer_id {
                legacy = legacy.or(Some(farewell.legacy));
            } else {
                self.shared.event(Event::PeerDisconnected(farewell.event));
            }
        }
        let features = handshake.features.both(self.features(handshake.info_hash));
        let stream = self.table.streams.get_mut(id)?;
        let mut peer = Box::new(Peer::new(handshake.peer_id, features, now));
        let is_news = legacy.is_none();
        if let Some(legacy) = legacy {
            peer.inherit(legacy);
        }
        stream.stage = Stage::Open { session, peer };
        let (link, outgoing) = (stream.link, stream.outgoing);
        if outgoing && let Some(record) = self.table.links.get_mut(link) {
            record.set_second_choice(stream.second_choice);
        }
        self.limit_stream(id, session);
        if !outgoing {
            self.send_handshake(id, handshake.info_hash);
        }
        self.greet(id, session);
        self.tell_dht_port(id);
        self.table.link_established(link);
        self.tell_links();
        self.shared.counters.handshakes += 1;
        self.shared.timers.set(TimerKey::Stream(id), now + SNUB);
        if is_news && let Some(event) = self.peer_event(id, "") {
            self.shared.event(Event::PeerConnected(event));
        }
        if let Some(rival) = rival {
            self.close(rival, CloseReason::Duplicate);
        }
        None
    }

    /// What is left of a peer that was lost and was to be met again on a dial of ours: it has come by itself first.
    fn met_again(&mut self, swarm: SwarmId, id: StreamId, peer_id: PeerId) -> Option<Legacy> {
        let opening = &self.table.swarms.get(swarm)?.opening;
        let waits = |other: &&StreamId| {
            let stream = self.table.streams.get(**other).filter(|_| **other != id);
            let farewell = stream.and_then(|stream| stream.farewell.as_ref());
            farewell.is_some_and(|farewell| farewell.legacy.id == peer_id)
        };
        let other = opening.iter().find(waits).copied()?;
        let farewell = self.table.streams.get_mut(other)?.farewell.take()?;
        Some(farewell.legacy)
    }

    /// Says what we have and who we are: after the other side's handshake, since some clients take bytes right behind ours
    /// for an attack (requirement P21).
    fn greet(&mut self, id: StreamId, session: SessionId) {
        if self.is_fetching(session) {
            self.metadata_greet(id);
            return self.tell_extended(id, session);
        }
        let Some(trading) = self.sessions.get(session) else {
            return;
        };
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let Some(features) = stream.peer().map(|peer| peer.features) else {
            return;
        };
        let have = trading.picker.have();
        match features.fast {
            true if have.is_full() => send(&mut self.shared, stream, &Message::HaveAll),
            true if have.count() == 0 => send(&mut self.shared, stream, &Message::HaveNone),
            false if have.count() == 0 => {}
            _ => send(
                &mut self.shared,
                stream,
                &Message::Bitfield(&have.to_wire()),
            ),
        }
        self.tell_extended(id, session);
    }

    /// Says what we can do beyond the basic protocol (BEP 10): once, and again when there is more to say.
    pub(super) fn tell_extended(&mut self, id: StreamId, session: SessionId) {
        let session = self.sessions.get(session);
        // Of a torrent of which nobody knows what it is nobody knows that it is private.
        let exchanged = self.is_exchanged(session.is_some_and(|session| session.brief.private));
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        if !stream.peer().is_some_and(|peer| peer.features.extended) {
            return;
        }
        let spoken = Extension::ALL.into_iter();
        let spoken = spoken.filter(|one| *one != Extension::Pex || exchanged);
        let info = session.map_or(0, |session| session.metainfo.info.len());
        let told = ExtendedHandshake {
            extensions: Extension::named(spoken),
            client: Some(CLIENT_NAME.to_owned()),
            requests_max: u32::try_from(REQUESTS_IN_MAX / 2).ok(),
            port: Some(self.shared.listen_port()).filter(|&port| port != 0),
            your_ip: Some(stream.address.ip()),
            metadata_size: u32::try_from(info).ok().filter(|&size| size > 0),
            upload_only: session.filter(|one| !one.is_downloading()).map(|_| true),
        };
        let payload = told.encode();
        send(
            &mut self.shared,
            stream,
            &Message::Extended {
                id: HANDSHAKE_ID,
                payload: &payload,
            },
        );
    }

    /// Another stream of the same peer in the same swarm, and whether that one has to go.
    ///
    /// Dialled from the same side, the older stays. Dialled from both sides with matching addresses, the one stays that the
    /// higher peer-id dialled, so both ends agree. A copied peer-id from another address never evicts a live stream.
    fn rival(&self, id: StreamId, swarm: SwarmId, peer_id: PeerId) -> Option<(StreamId, bool)> {
        let new = self.table.streams.get(id)?;
        let record = self.table.swarms.get(swarm)?;
        let same = |stream: &&Stream| stream.peer().is_some_and(|peer| peer.id == peer_id);
        let rival = record
            .streams
            .iter()
            .filter_map(|&id| self.table.streams.get(id))
            .find(same)?;
        let both_sides = rival.outgoing != new.outgoing && rival.address.ip() == new.address.ip();
        let ours_stays = self.shared.settings.peer_id > peer_id;
        Some((rival.id, both_sides && new.outgoing == ours_stays))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "68")]
const HANDSHAKE_LENGTH: u8 = HANDSHAKE_BYTES as u8;
