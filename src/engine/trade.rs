//! An open stream at work: its messages, its backpressure both ways, and its timer.

use std::net::SocketAddr;

use crate::codec::wire::{self, Message};
use crate::ids::{SessionId, StreamId, SwarmId};
use crate::time::Instant;

use super::Engine;
use super::limits;
use super::session::receive::{self, Heard, send};
use super::session::{download, upload};
use super::settings::{KEEPALIVE, SNUB, STALE, WRITE_STALL};
use super::shared::TimerKey;
use super::table::Source;
use super::table::peer::Peer;
use super::table::stream::{CloseReason, Stage, Stream};

impl Engine {
    pub(super) fn read_messages(&mut self, id: StreamId, session: SessionId, bytes: &mut [u8]) {
        if self.is_said_for_later(id) {
            return self.metadata_received(id, session, bytes);
        }
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        if self.shared.limits.is_on() {
            limits::received(&mut self.shared, session.id, stream, bytes.len());
        }
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
        if let Some(port) = heard.listens {
            self.note_listens(id, swarm, port);
        }
        if heard.seen_at.is_some() || heard.dht_port.is_some() {
            self.on_peer_hint(id, session_id, &heard);
        }
        if !heard.named.is_empty() {
            self.pex_heard(id, swarm, heard.named);
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

    /// Whether what the peer says is kept until its session trades.
    fn is_said_for_later(&self, id: StreamId) -> bool {
        let peer = self.table.streams.get(id).and_then(Stream::peer);
        peer.is_some_and(|peer| peer.said.is_some())
    }

    /// The peer says where it listens.
    pub(super) fn note_listens(&mut self, id: StreamId, swarm: SwarmId, port: u16) {
        let now = self.shared.now;
        // Only the first word counts: a stranger must not fill our candidates with ports of its own.
        let unsaid =
            |stream: &&mut Stream| stream.peer().is_some_and(|peer| peer.listens.is_none());
        let Some(stream) = self.table.streams.get_mut(id).filter(unsaid) else {
            return;
        };
        let listens = SocketAddr::new(stream.address.ip(), port);
        let incoming = !stream.outgoing;
        if let Some(peer) = stream.peer_mut() {
            peer.listens = Some(listens);
        }
        if incoming && !self.is_ending() {
            // Should this stream end, we know where to dial.
            let listening = &self.shared.listening;
            let _ = (self.table).link_create(listens, swarm, Source::Peer, listening, now);
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
        if self.shared.limits.is_on() {
            limits::sent(&mut self.shared, session.id, stream, bytes);
        }
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

    /// Deadlines of a stream move with every packet, so the timer is lazy: it looks at the real ones and is armed again.
    pub(super) fn on_stream_timer(&mut self, id: StreamId) {
        let now = self.shared.now;
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        if stream.purse.is_unheard() {
            // We do not listen to it.
            stream.heard = now;
            if let Some(peer) = stream.peer_mut() {
                peer.block_at = now;
            }
        }
        let next = match &mut stream.stage {
            Stage::Dialing { deadline }
                if *deadline > now && stream.race.next.is_some_and(|at| at <= now) =>
            {
                let deadline = *deadline;
                self.run_second(id);
                deadline
            }
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
}
