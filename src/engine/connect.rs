//! The life of a stream: whom to dial, whom to accept, the handshake, which of two streams stays, and why one ends.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::codec::extension::ExtendedHandshake;
use crate::codec::wire::{self, Features, HANDSHAKE_BYTES, Handshake, Message};
use crate::events::{self, Event};
use crate::ids::{LinkId, PeerId, SessionId, SocketId, StreamId, SwarmId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::message::{Frame, LostReason, Output};
use super::session::receive::{self, Heard, send};
use super::session::{Session, download, upload};
use super::settings::{
    CLIENT_NAME, CONNECT_TICK, CONNECT_TIMEOUT, CONNECT_WAIT, CONNECTS_PER_TICK, DIALS_MAX,
    HANDSHAKE_TIMEOUT, KEEPALIVE, REQUESTS_IN_MAX, SNUB, STALE, WRITE_STALL,
};
use super::shared::TimerKey;
use super::table::Source;
use super::table::link::{IgnoreReason, PINNED_RETRY_FIRST, SHORT_LIFE};
use super::table::peer::{Peer, PeerHas};
use super::table::stream::{CloseReason, Stage, Stream};

/// An address at which a peer listens that is connected to us the other way round is left alone for so long.
const DUPLICATE_PAUSE: Duration = Duration::from_secs(120);
/// An address that took the dial and gave no handshake is left alone by that swarm for so long.
const HANDSHAKE_PAUSE: Duration = Duration::from_secs(120);

/// What we speak, beyond BEP 3.
const FEATURES: Features = Features {
    fast: true,
    extended: true,
    dht: false,
};

impl Engine {
    // ------------------------------------------------------------------------------------------------- dialling

    /// Dials candidates of `swarm` as far as every bound allows, and comes back when more may be dialled.
    pub(super) fn connect_more(&mut self, swarm: SwarmId) {
        let now = self.shared.now;
        let key = TimerKey::Connect(swarm);
        let Some(record) = self.table.swarms.get(swarm) else {
            self.shared.timers.cancel(key);
            return;
        };
        let connected = record.streams.len() + record.dials;
        let session = self.sessions.get(record.session);
        if !record.active || !session.is_some_and(Session::is_trading) {
            self.shared.timers.cancel(key);
            return;
        }
        let (mut due, next) = self.dialable(swarm, now);
        let (in_swarm, in_process) = self.dial_room(swarm);
        let wanted = in_swarm.min(in_process).min(CONNECTS_PER_TICK);
        // Room in the swarm is told by its own streams; room in the process may come from any other swarm.
        let waits = in_swarm > 0 && in_process == 0 && !due.is_empty();
        if connected + due.len() < self.shared.settings.swarm_links_min {
            self.need_peers(swarm);
        }
        due.truncate(wanted);
        let dialled = due.len();
        for (_, _, _, link) in due {
            self.dial(swarm, link);
        }
        let again = if waits {
            Some(now + CONNECT_WAIT)
        } else if dialled > 0 && dialled == wanted {
            Some(now + CONNECT_TICK)
        } else {
            next
        };
        match again {
            Some(at) => self.shared.timers.set(key, at.max(now + CONNECT_TICK)),
            None => {
                self.shared.timers.cancel(key);
            }
        }
    }

    /// The links that may be dialled for `swarm` now, best first (pinned, then those that failed least), and when the next may be.
    #[allow(clippy::type_complexity, reason = "the tuple is the order of dialling")]
    fn dialable(
        &mut self,
        swarm: SwarmId,
        now: Instant,
    ) -> (Vec<(bool, u32, u32, LinkId)>, Option<Instant>) {
        let Some(record) = self.table.swarms.get(swarm) else {
            return (Vec::new(), None);
        };
        let streams = &self.table.streams;
        let taken: BTreeSet<SocketAddr> = record
            .streams
            .iter()
            .filter_map(|&id| streams.get(id))
            .flat_map(|stream| {
                [
                    Some(stream.address),
                    stream.peer().and_then(|peer| peer.listens),
                ]
            })
            .flatten()
            .collect();
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for &id in &record.candidates {
            let Some(link) = self.table.links.get(id) else {
                continue;
            };
            let here = |stream: &StreamId| {
                streams
                    .get(*stream)
                    .is_some_and(|stream| stream.swarm == Some(swarm))
            };
            if link.streams.iter().any(here)
                || taken.contains(&link.address)
                || self.table.is_banned(link.address)
            {
                continue;
            }
            let Some(at) = link.dial_at() else { continue };
            let at = at.max(record.ignored_until(&link.address, now).unwrap_or(at));
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            let pinned = link.pinned_by.contains(&swarm);
            due.push((!pinned, link.attempts, self.shared.rng.next_u32(), id));
        }
        due.sort_unstable();
        (due, next)
    }

    /// How many more streams may be dialled now: as far as `swarm` goes, and as far as the process goes.
    fn dial_room(&self, swarm: SwarmId) -> (usize, usize) {
        let settings = &self.shared.settings;
        let Some(record) = self.table.swarms.get(swarm) else {
            return (0, 0);
        };
        let in_swarm = settings
            .swarm_streams_max
            .saturating_sub(record.streams.len() + record.dials);
        let in_process = settings
            .streams_max
            .saturating_sub(self.table.streams.len());
        let dials: usize = self.table.swarms.iter().map(|(_, swarm)| swarm.dials).sum();
        (in_swarm, in_process.min(DIALS_MAX.saturating_sub(dials)))
    }

    fn dial(&mut self, swarm: SwarmId, link: LinkId) {
        let now = self.shared.now;
        let Some(address) = self.table.links.get(link).map(|link| link.address) else {
            return;
        };
        let stage = Stage::Dialing {
            deadline: now + CONNECT_TIMEOUT,
        };
        let stream = self.table.stream_add(link, |id| {
            new_stream(id, link, address, true, Some(swarm), stage, now)
        });
        if let Some(record) = self.table.swarms.get_mut(swarm) {
            record.dials += 1;
        }
        self.shared.counters.dials += 1;
        self.shared
            .timers
            .set(TimerKey::Stream(stream), now + CONNECT_TIMEOUT);
        self.shared.push(Output::Dial {
            stream,
            to: address,
        });
    }

    // ------------------------------------------------------------------------------------------------ accepting

    pub(super) fn on_incoming(&mut self, socket: SocketId, remote: SocketAddr) {
        let remote = crate::codec::address::canonical(remote);
        let full = self.table.streams.len() >= self.shared.settings.streams_max;
        if full || self.is_ending() || self.table.is_banned(remote) {
            self.shared.counters.incoming_refused += 1;
            self.shared.push(Output::Refuse { socket });
            return;
        }
        let now = self.shared.now;
        let link = self.table.link_incoming(remote);
        let stage = Stage::Handshaking {
            deadline: now + HANDSHAKE_TIMEOUT,
        };
        let stream = self.table.stream_add(link, |id| {
            new_stream(id, link, remote, false, None, stage, now)
        });
        self.shared.counters.incoming += 1;
        self.shared
            .timers
            .set(TimerKey::Stream(stream), now + HANDSHAKE_TIMEOUT);
        self.shared.push(Output::Accept { socket, stream });
    }

    // ------------------------------------------------------------------------------------------------ handshake

    pub(super) fn on_connected(&mut self, id: StreamId) {
        let now = self.shared.now;
        let peer_id = self.shared.settings.peer_id;
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let Some(swarm) = stream.swarm.and_then(|swarm| self.table.swarms.get(swarm)) else {
            return;
        };
        if !matches!(stream.stage, Stage::Dialing { .. }) {
            return;
        }
        stream.stage = Stage::Handshaking {
            deadline: now + HANDSHAKE_TIMEOUT,
        };
        stream.heard = now;
        self.shared
            .timers
            .set(TimerKey::Stream(id), now + HANDSHAKE_TIMEOUT);
        let bytes = Handshake {
            features: FEATURES,
            info_hash: swarm.info_hash,
            peer_id,
        }
        .encode();
        let frame = Frame::Small {
            length: HANDSHAKE_LENGTH,
            bytes,
        };
        stream.queued(&frame, now);
        self.shared.send(id, frame);
    }

    pub(super) fn on_received(&mut self, id: StreamId, bytes: &mut [u8]) {
        let now = self.shared.now;
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        stream.heard = now;
        match stream.stage {
            Stage::Open { session, .. } => self.read_messages(id, session, bytes),
            Stage::Handshaking { .. } => {
                let needed = HANDSHAKE_BYTES - stream.tail.len();
                let (now, later) = bytes.split_at_mut(needed.min(bytes.len()));
                stream.tail.extend_from_slice(now);
                if let Some(reason) = self.read_handshake(id) {
                    self.close(id, reason);
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
            let swarm = self.table.swarm_of(info_hash).filter(|swarm| swarm.active);
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
            .map(|swarm| (swarm.id, swarm.session));
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
        match self.rival(id, swarm, handshake.peer_id) {
            Some((rival, true)) => self.close(rival, CloseReason::Duplicate),
            Some((_, false)) => return Some(CloseReason::Duplicate),
            None => {}
        }
        let record = self.table.swarms.get_mut(swarm)?;
        let stream = self.table.streams.get_mut(id)?;
        if stream.outgoing {
            record.dials -= 1;
        } else if record.streams.len() >= self.shared.settings.swarm_streams_max {
            return Some(CloseReason::Full);
        }
        record.streams.push(id);
        stream.tail = Vec::new();
        stream.swarm = Some(swarm);
        let features = handshake.features.both(FEATURES);
        let peer = Box::new(Peer::new(handshake.peer_id, features, now));
        stream.stage = Stage::Open { session, peer };
        let (link, address, outgoing) = (stream.link, stream.address, stream.outgoing);
        if !outgoing {
            let peer_id = self.shared.settings.peer_id;
            let bytes = Handshake {
                features: FEATURES,
                info_hash: handshake.info_hash,
                peer_id,
            }
            .encode();
            let frame = Frame::Small {
                length: HANDSHAKE_LENGTH,
                bytes,
            };
            stream.queued(&frame, now);
            self.shared.send(id, frame);
        }
        self.greet(id, session);
        self.table.link_established(link);
        self.shared.counters.handshakes += 1;
        self.shared.timers.set(TimerKey::Stream(id), now + SNUB);
        let direction = if outgoing { "outgoing" } else { "incoming" };
        self.shared.event(Event::LinkEstablished(events::Link {
            address,
            direction,
            state: "established",
            attempts: 0,
            until: 0,
        }));
        if let Some(event) = self.peer_event(id, "") {
            self.shared.event(Event::PeerConnected(event));
        }
        None
    }

    /// Says what we have and who we are: after the other side's handshake, since some clients take bytes right behind ours
    /// for an attack (requirement P21).
    fn greet(&mut self, id: StreamId, session: SessionId) {
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let Some(features) = stream.peer().map(|peer| peer.features) else {
            return;
        };
        let have = session.picker.have();
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
        if features.extended {
            let port = Some(self.shared.listen_port()).filter(|&port| port != 0);
            let told = ExtendedHandshake {
                client: Some(CLIENT_NAME.to_owned()),
                requests_max: u32::try_from(REQUESTS_IN_MAX / 2).ok(),
                port,
                your_ip: Some(stream.address.ip()),
                ..ExtendedHandshake::default()
            };
            let payload = told.encode();
            send(
                &mut self.shared,
                stream,
                &Message::Extended {
                    id: 0,
                    payload: &payload,
                },
            );
        }
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

    // ------------------------------------------------------------------------------------------------- messages

    fn read_messages(&mut self, id: StreamId, session: SessionId, bytes: &mut [u8]) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let result = receive::receive(&mut self.shared, session, stream, bytes);
        let (session, swarm) = (session.id, session.swarm);
        self.relieve(session);
        match result {
            Ok(heard) if heard.unasked => self.close(id, CloseReason::Unasked),
            Ok(heard) => self.act_on(id, session, swarm, heard),
            Err(breach) => {
                log::debug!("stream {id}: {breach}");
                self.close(id, CloseReason::Broke(breach));
            }
        }
    }

    fn act_on(&mut self, id: StreamId, session_id: SessionId, swarm: SwarmId, heard: Heard) {
        let now = self.shared.now;
        // Only the first word counts: a stranger must not fill our candidates with ports of its own.
        let unsaid =
            |stream: &&mut Stream| stream.peer().is_some_and(|peer| peer.listens.is_none());
        if let (Some(port), Some(stream)) =
            (heard.listens, self.table.streams.get_mut(id).filter(unsaid))
        {
            let listens = SocketAddr::new(stream.address.ip(), port);
            let incoming = !stream.outgoing;
            if let Some(peer) = stream.peer_mut() {
                peer.listens = Some(listens);
            }
            if incoming && !self.is_ending() {
                // Should this stream end, we know where to dial.
                let _ = self.table.link_create(
                    listens,
                    swarm,
                    Source::Peer,
                    &self.shared.listening,
                    now,
                );
            }
        }
        let Some(session) = self.sessions.get_mut(session_id) else {
            return;
        };
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        if heard.has_all && session.has_everything() {
            self.close(id, CloseReason::NothingToTrade);
            return;
        }
        if heard.ask && !heard.refused {
            download::ask(&mut self.shared, session, stream);
        }
        if heard.interest {
            self.on_interest(id, session_id);
        }
        let Some(session) = self.sessions.get_mut(session_id) else {
            return;
        };
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        if heard.serve {
            upload::serve(&mut self.shared, session, stream);
        }
        if heard.freed && session.assembly.free() > 0 {
            self.ask_all_but(session_id, heard.refused.then_some(id));
        }
    }

    /// Streams that owe blocks which others have sent by now are told so.
    fn relieve(&mut self, session: SessionId) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        if session.relieved.is_empty() {
            return;
        }
        let relieved = std::mem::take(&mut session.relieved);
        let Some(swarm) = self.table.swarms.get(session.swarm) else {
            return;
        };
        for (block, by) in relieved {
            for &id in swarm.streams.iter().filter(|&&id| id != by) {
                let Some(stream) = self.table.streams.get_mut(id) else {
                    continue;
                };
                let Some(peer) = stream.peer_mut() else {
                    continue;
                };
                let arriving = peer
                    .arriving
                    .as_ref()
                    .is_some_and(|arriving| arriving.block == Some(block));
                let place = peer
                    .asked
                    .iter()
                    .position(|asked| asked.claim.block == block)
                    .filter(|_| !arriving);
                let Some(asked) = place.and_then(|place| peer.asked.remove(place)) else {
                    continue;
                };
                session.assembly.unask(asked.claim, &mut self.shared.pool);
                let length = session.metainfo.geometry.block_size(block);
                let request = wire::Request {
                    index: block.piece.get(),
                    begin: block.begin(),
                    length,
                };
                send(&mut self.shared, stream, &Message::Cancel(request));
                download::ask(&mut self.shared, session, stream);
            }
        }
    }

    /// Every peer of the session that may be asked for more is.
    pub(super) fn ask_all(&mut self, session: SessionId) {
        self.ask_all_but(session, None);
    }

    fn ask_all_but(&mut self, session: SessionId, but: Option<StreamId>) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(swarm) = self.table.swarms.get(session.swarm) else {
            return;
        };
        for &id in swarm.streams.iter().filter(|&&id| Some(id) != but) {
            if let Some(stream) = self.table.streams.get_mut(id) {
                download::ask(&mut self.shared, session, stream);
            }
        }
    }

    pub(super) fn on_sent(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        stream.unsent = stream.unsent.saturating_sub(bytes);
        if bytes > 0 {
            stream.wrote = self.shared.now;
            if stream.held {
                // It cannot be heard, and it is alive.
                stream.heard = self.shared.now;
            }
        }
        let Some(session) = stream
            .session()
            .and_then(|session| self.sessions.get_mut(session))
        else {
            return;
        };
        upload::serve(&mut self.shared, session, stream);
    }

    /// Every peer of the session that waits for blocks is served.
    pub(super) fn serve_all(&mut self, session: SessionId) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(swarm) = self.table.swarms.get(session.swarm) else {
            return;
        };
        for &id in &swarm.streams {
            if let Some(stream) = self.table.streams.get_mut(id) {
                upload::serve(&mut self.shared, session, stream);
            }
        }
    }

    /// Blocks to send with have come back: those that wait for them are served, in the order they came.
    pub(super) fn serve_waiting(&mut self) {
        let mut waiting = self.shared.send_waiting.len();
        while waiting > 0 && self.shared.pool.room(crate::buffer::Share::Send) > 0 {
            waiting -= 1;
            let Some(id) = self.shared.send_waiting.pop_front() else {
                return;
            };
            let Some(stream) = self.table.streams.get_mut(id) else {
                continue;
            };
            let Some(session) = stream
                .session()
                .and_then(|session| self.sessions.get_mut(session))
            else {
                continue;
            };
            if let Some(peer) = stream.peer_mut() {
                peer.waits_for_room = false;
            }
            upload::serve(&mut self.shared, session, stream);
        }
    }

    // --------------------------------------------------------------------------------------------------- timers

    /// Deadlines of a stream move with every packet, so the timer is lazy: it looks at the real ones and is armed again.
    pub(super) fn on_stream_timer(&mut self, id: StreamId) {
        let now = self.shared.now;
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let next = match &mut stream.stage {
            Stage::Dialing { deadline } | Stage::Handshaking { deadline } if *deadline <= now => {
                self.close(id, CloseReason::TimedOut);
                return;
            }
            Stage::Dialing { deadline } | Stage::Handshaking { deadline } => *deadline,
            Stage::Open { .. }
                if stream.heard + STALE <= now
                    || (stream.unsent > 0 && stream.wrote + WRITE_STALL <= now) =>
            {
                self.close(id, CloseReason::Stale);
                return;
            }
            Stage::Open { session, peer } => {
                let session = *session;
                let snub = peer.snub_at().is_some_and(|at| at <= now);
                if stream.spoke + KEEPALIVE <= now {
                    send(&mut self.shared, stream, &Message::KeepAlive);
                }
                if snub {
                    self.snub(id, session);
                }
                let Some(stream) = self.table.streams.get(id) else {
                    return;
                };
                let snub_at = stream
                    .peer()
                    .and_then(Peer::snub_at)
                    .unwrap_or(Instant::FAR);
                // A peer that owes nothing now may owe something soon: it is looked at as often as a snub takes.
                let look = now + SNUB;
                (stream.heard + STALE)
                    .min(stream.spoke + KEEPALIVE)
                    .min(snub_at)
                    .min(look)
            }
        };
        self.shared.timers.set(TimerKey::Stream(id), next);
    }

    /// The peer owes us for too long: its requests go elsewhere, and it keeps one to show that it is back.
    fn snub(&mut self, id: StreamId, session: SessionId) {
        let Some(held) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let Stage::Open { peer, .. } = &mut stream.stage else {
            return;
        };
        log::debug!("stream {id}: snubbed, owes {} blocks", peer.asked.len());
        peer.snubbed = true;
        self.shared.counters.snubs += 1;
        let owed: Vec<_> = peer.asked.iter().map(|asked| asked.claim.block).collect();
        receive::forget_asked(&mut self.shared, held, peer);
        // It may stop in the middle of a block and never end it.
        receive::forget_arriving(&mut self.shared, held, peer);
        held.assembly.leave(&mut peer.current);
        held.assembly.release(id);
        for block in owed {
            let length = held.metainfo.geometry.block_size(block);
            let request = wire::Request {
                index: block.piece.get(),
                begin: block.begin(),
                length,
            };
            send(&mut self.shared, stream, &Message::Cancel(request));
        }
        self.ask_all(session);
    }

    // ------------------------------------------------------------------------------------------------------ end

    pub(super) fn on_lost(&mut self, id: StreamId, why: LostReason) {
        self.close(id, CloseReason::Lost(why));
    }

    /// Ends a stream, takes back what it owed, and lets its link know.
    pub(super) fn close(&mut self, id: StreamId, reason: CloseReason) {
        let event = self.peer_event(id, reason.name());
        let Some(mut stream) = self.table.stream_remove(id) else {
            return;
        };
        self.shared.timers.cancel(TimerKey::Stream(id));
        match reason {
            CloseReason::Broke(_) | CloseReason::Unasked => self.shared.counters.violations += 1,
            CloseReason::Duplicate => self.shared.counters.duplicates += 1,
            _ => {}
        }
        if !matches!(reason, CloseReason::Lost(_)) {
            self.shared.push(Output::Close { stream: id });
        }
        log::debug!("stream {id} {}: closed, {}", stream.address, reason.name());
        let (address, link, swarm) = (stream.address, stream.link, stream.swarm);
        let record = swarm.and_then(|swarm| self.table.swarms.get_mut(swarm));
        let mut freed = None;
        let opened = match &mut stream.stage {
            Stage::Open { session, peer } => {
                if let Some(record) = record {
                    record.streams.retain(|&other| other != id);
                }
                if let Some(session) = self.sessions.get_mut(*session) {
                    let owed = !peer.asked.is_empty() || peer.current.is_some();
                    receive::forget_peer(&mut self.shared, session, id, peer);
                    freed = owed.then_some(session.id);
                }
                Some((peer.since, peer.id))
            }
            Stage::Dialing { .. } | Stage::Handshaking { .. } => {
                if let (Some(record), true) = (record, stream.outgoing) {
                    record.dials -= 1;
                }
                None
            }
        };
        let connected = !matches!(stream.stage, Stage::Dialing { .. });
        self.verdict(&stream, opened, connected, reason);
        if let Some(event) = event {
            self.shared.event(Event::PeerDisconnected(event));
        }
        if opened.is_some() {
            let direction = if stream.outgoing {
                "outgoing"
            } else {
                "incoming"
            };
            self.link_event(link, address, direction);
        }
        if let Some(session) = freed {
            self.ask_all(session);
        }
        if let Some(swarm) = swarm {
            self.connect_more(swarm);
        }
    }

    /// What the end of a stream says about its address.
    fn verdict(
        &mut self,
        stream: &Stream,
        opened: Option<(Instant, PeerId)>,
        connected: bool,
        reason: CloseReason,
    ) {
        let (link, address, swarm, outgoing) =
            (stream.link, stream.address, stream.swarm, stream.outgoing);
        let now = self.shared.now;
        let jitter = self.shared.rng.draw();
        let settings = self.shared.settings.clone();
        let record = swarm.and_then(|swarm| self.table.swarms.get_mut(swarm));
        match reason {
            CloseReason::BadData => self.table.ban(link, address, opened.map(|(_, id)| id)),
            CloseReason::Broke(_) | CloseReason::Unasked | CloseReason::Ourselves => {
                let why = match reason {
                    CloseReason::Ourselves => IgnoreReason::Ourselves,
                    _ => IgnoreReason::Misbehaved,
                };
                // Whoever dialled us from an ephemeral port will not come from it again: nothing to remember.
                if let Some(link) = self.table.links.get_mut(link).filter(|_| outgoing) {
                    link.ignore(now, why, &settings);
                }
                self.table.link_lost(link, now, false, &settings);
            }
            // The address is fine, and there is nothing to trade here: left alone for this swarm, not for others.
            CloseReason::NothingToTrade | CloseReason::UnknownTorrent => {
                if let Some(record) = record.filter(|_| outgoing) {
                    record.ignore(address, now + settings.ignore);
                }
                self.table.link_idle(link);
            }
            // We are connected the other way round. Not for long: that stream may end, and the peer may not say where it listens.
            CloseReason::Duplicate => {
                if let Some(record) = record.filter(|_| outgoing) {
                    record.ignore(address, now + DUPLICATE_PAUSE);
                }
                self.table.link_idle(link);
            }
            CloseReason::SessionOver | CloseReason::Full => self.table.link_idle(link),
            // We have no descriptor left: that says nothing of the address.
            CloseReason::Lost(LostReason::NoResources) if opened.is_none() => {
                if let Some(record) = record.filter(|_| outgoing) {
                    record.ignore(address, now + settings.retry_first);
                }
                self.table.link_idle(link);
            }
            _ if opened.is_some() => {
                let lived_short = opened.is_some_and(|(since, _)| now.since(since) < SHORT_LIFE);
                self.table.link_lost(link, now, lived_short, &settings);
            }
            // It answered, but not with a handshake: most often it does not have the torrent, or not yet. That is no fault of the
            // address; other swarms may find it fine.
            _ if outgoing && connected => {
                self.shared.counters.handshakes_failed += 1;
                if let Some(record) = record {
                    let pinned = self
                        .table
                        .links
                        .get(link)
                        .is_some_and(|link| link.pinned_by.contains(&record.id));
                    record.ignore(
                        address,
                        now + if pinned {
                            PINNED_RETRY_FIRST
                        } else {
                            HANDSHAKE_PAUSE
                        },
                    );
                }
                self.table.link_idle(link);
            }
            _ if outgoing => {
                self.shared.counters.dials_failed += 1;
                if self.table.link_failed(link, now, jitter, &settings) {
                    self.link_event(link, address, "outgoing");
                }
            }
            _ => self.table.link_idle(link),
        }
    }

    fn link_event(&mut self, link: LinkId, address: SocketAddr, direction: &'static str) {
        use super::table::link::LinkState;
        let now = self.shared.now;
        let (state, attempts) = match self.table.links.get(link) {
            Some(link) => (link.state, link.attempts),
            None => (LinkState::Disconnected { not_before: now }, 0),
        };
        let until = match state {
            LinkState::Disconnected { not_before } => not_before.since(now).as_secs(),
            LinkState::Ignored { until, .. } if until != Instant::FAR => until.since(now).as_secs(),
            LinkState::Ignored { .. } => u64::from(u32::MAX),
            LinkState::Connecting | LinkState::Established => 0,
        };
        let event = events::Link {
            address,
            direction,
            state: state.name(),
            attempts,
            until,
        };
        match state {
            LinkState::Ignored { .. } => self.shared.event(Event::LinkIgnored(event)),
            LinkState::Established => {}
            _ => self.shared.event(Event::LinkLost(event)),
        }
    }

    fn peer_event(&self, id: StreamId, reason: &'static str) -> Option<events::Peer> {
        let stream = self.table.streams.get(id)?;
        let peer = stream.peer()?;
        let session = self.sessions.get(stream.session()?)?;
        Some(events::Peer {
            info_hash: session.info_hash(),
            address: stream.address,
            peer_id: peer.id,
            client: peer.client.clone(),
            direction: if stream.outgoing {
                "outgoing"
            } else {
                "incoming"
            },
            transport: "tcp",
            encrypted: false,
            reason,
            bytes: peer.down.total() + peer.up.total(),
            seconds: self.shared.now.since(peer.since).as_secs(),
        })
    }

    /// Closes the streams of `session` that have nothing to trade with us any more: both have everything.
    pub(super) fn close_seeds(&mut self, session: SessionId) {
        let Some(swarm) = self
            .sessions
            .get(session)
            .and_then(|session| self.table.swarms.get(session.swarm))
        else {
            return;
        };
        let is_seed = |id: &&StreamId| {
            let peer = self.table.streams.get(**id).and_then(Stream::peer);
            peer.is_some_and(|peer| matches!(peer.has, PeerHas::All))
        };
        let seeds: Vec<StreamId> = swarm.streams.iter().filter(is_seed).copied().collect();
        for id in seeds {
            self.close(id, CloseReason::NothingToTrade);
        }
    }

    /// Closes every stream of `swarm`, those still being opened included.
    pub(super) fn close_swarm(&mut self, swarm: SwarmId) {
        let of_swarm =
            |(id, stream): (StreamId, &Stream)| (stream.swarm == Some(swarm)).then_some(id);
        let all: Vec<StreamId> = self.table.streams.iter().filter_map(of_swarm).collect();
        for id in all {
            self.close(id, CloseReason::SessionOver);
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "68")]
const HANDSHAKE_LENGTH: u8 = HANDSHAKE_BYTES as u8;

fn new_stream(
    id: StreamId,
    link: LinkId,
    address: SocketAddr,
    outgoing: bool,
    swarm: Option<SwarmId>,
    stage: Stage,
    now: Instant,
) -> Stream {
    Stream {
        id,
        link,
        address,
        outgoing,
        swarm,
        stage,
        tail: Vec::new(),
        heard: now,
        spoke: now,
        unsent: 0,
        wrote: now,
        held: false,
    }
}
