//! The end of a stream: what it owed is taken back, and what it says of its address is remembered.

use crate::codec::mse::Failure;
use crate::events::{self, Event};
use crate::ids::{PeerId, SessionId, StreamId, SwarmId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::limits;
use super::message::{Direction, LostReason, Output, Transport};
use super::mse;
use super::session::receive;
use super::shared::TimerKey;
use super::table::link::{IgnoreReason, LinkState, PINNED_RETRY_FIRST, SHORT_LIFE};
use super::table::peer::PeerHas;
use super::table::stream::{CloseReason, Farewell, Stage, Stream};

/// An address at which a peer listens that is connected to us the other way round is left alone for so long.
pub(super) const DUPLICATE_PAUSE: Duration = Duration::from_secs(120);
/// An address that took the dial and gave no handshake is left alone by that swarm for so long.
const HANDSHAKE_PAUSE: Duration = Duration::from_secs(120);

impl Engine {
    /// Ends a stream that the loop carries, takes back what it owed, lets its link know, and dials somebody else.
    pub(super) fn close(&mut self, id: StreamId, reason: CloseReason) {
        if let Some(swarm) = self.end_stream(id, reason) {
            self.connect_more(swarm);
        }
    }

    /// The same without dialling; gives back the swarm that has room now.
    pub(super) fn end_stream(&mut self, id: StreamId, reason: CloseReason) -> Option<SwarmId> {
        // A member that has left was replaced: its peer is connected all the same.
        let replaced = !self.table.is_accounted(id);
        let event = self.peer_event(id, reason.name()).filter(|_| !replaced);
        let heir = self.heir(id, reason);
        let mut stream = self.table.stream_remove(id)?;
        self.shared.timers.cancel(TimerKey::Stream(id));
        match reason {
            CloseReason::Broke(_) | CloseReason::Unasked => self.shared.counters.violations += 1,
            CloseReason::NotAgreed(Failure::UnknownTorrent) => {
                self.shared.counters.unknown_torrents += 1
            }
            CloseReason::Duplicate => self.shared.counters.duplicates += 1,
            _ => {}
        }
        if !matches!(reason, CloseReason::Lost(_)) {
            self.shared.push(Output::Close { stream: id });
        }
        // Dials that fail are many, and told where they are counted.
        if !matches!(stream.stage, Stage::Dialing { .. }) {
            log::debug!("stream {id} {}: closed, {}", stream.address, reason.name());
        }
        if let Some(session) = stream.session() {
            limits::leave(&mut self.shared, session, &mut stream);
        }
        let mut freed = None;
        let mut fetching = None;
        let mut legacy = None;
        let opened = match &mut stream.stage {
            Stage::Open { session, peer } => {
                if let Some(session) = self.sessions.get_mut(*session) {
                    let owed = !peer.asked.is_empty() || peer.current.is_some();
                    receive::forget_peer(&mut self.shared, session, id, peer);
                    freed = owed.then_some(session.id);
                } else {
                    fetching = Some(*session);
                }
                let opened = (peer.since, peer.id);
                legacy = Some(peer.bequeath());
                Some(opened)
            }
            Stage::Dialing { .. } | Stage::Handshaking { .. } => None,
        };
        let connected = !matches!(stream.stage, Stage::Dialing { .. });
        self.verdict(&stream, opened, connected, reason);
        let heir = heir.and_then(|heir| self.table.streams.get_mut(heir));
        match (event, heir, legacy) {
            (Some(event), Some(heir), Some(legacy)) => {
                heir.farewell = Some(Box::new(Farewell { event, legacy }));
            }
            (Some(event), _, _) => self.shared.event(Event::PeerDisconnected(event)),
            (None, _, _) => {}
        }
        if let Some(farewell) = stream.farewell.take() {
            self.shared.event(Event::PeerDisconnected(farewell.event));
        }
        self.tell_links();
        if let Some(session) = freed {
            self.ask_all(session);
        }
        if let Some(session) = fetching {
            self.metadata_forget(session, id);
        }
        stream.swarm
    }

    /// The dial of ours that is about to take the place of a stream they broke off: both sides dialled, and they saw first that
    /// ours stays (requirement L13). What is lost meanwhile is told only if that dial comes to nothing.
    fn heir(&self, id: StreamId, reason: CloseReason) -> Option<StreamId> {
        let stream = self.table.streams.get(id)?;
        if !matches!(reason, CloseReason::Lost(_)) || stream.outgoing || stream.peer().is_none() {
            return None;
        }
        let record = self.table.swarms.get(stream.swarm?)?;
        let is_heir = |id: &&StreamId| {
            self.table.streams.get(**id).is_some_and(|dialled| {
                matches!(dialled.stage, Stage::Handshaking { .. })
                    && dialled.address.ip() == stream.address.ip()
                    && dialled.farewell.is_none()
            })
        };
        record.opening.iter().find(is_heir).copied()
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
            // Whoever dialled us under a banned name is known already, and will not come from that port again.
            CloseReason::BadData if opened.is_none() && !outgoing => self.table.link_idle(link),
            CloseReason::BadData => self.table.ban(link, address, opened.map(|(_, id)| id)),
            CloseReason::Broke(_) | CloseReason::Unasked | CloseReason::Ourselves => {
                let why = match reason {
                    CloseReason::Ourselves => IgnoreReason::Ourselves,
                    _ => IgnoreReason::Misbehaved,
                };
                // Whoever dialled us from an ephemeral port will not come from it again: nothing to remember.
                if outgoing {
                    self.table.link_ignore(link, now, why, &settings);
                }
                self.table.link_lost(link, now, false, &settings);
            }
            // The address is fine, and there is nothing to trade here: left alone for this swarm, not for others.
            CloseReason::NothingToTrade | CloseReason::UnknownTorrent => {
                if let Some(record) = record.filter(|_| outgoing) {
                    record.ignore(address, now + settings.ignore, reason.name());
                }
                self.table.link_idle(link);
            }
            // We are connected the other way round. Not for long: that stream may end, and the peer may not say where it listens.
            CloseReason::Duplicate => {
                if let Some(record) = record.filter(|_| outgoing) {
                    record.ignore(address, now + DUPLICATE_PAUSE, reason.name());
                }
                self.table.link_idle(link);
            }
            CloseReason::SessionOver | CloseReason::Full | CloseReason::Blocked => {
                self.table.link_idle(link)
            }
            CloseReason::Caller => self.table.link_lost(link, now, false, &settings),
            // We have no descriptor left: that says nothing of the address.
            CloseReason::Lost(LostReason::NoResources) if opened.is_none() => {
                if let Some(record) = record.filter(|_| outgoing) {
                    record.ignore(address, now + settings.retry_first, reason.name());
                }
                self.table.link_idle(link);
            }
            _ if opened.is_some() => {
                let lived_short = opened.is_some_and(|(since, _)| now.since(since) < SHORT_LIFE);
                self.table.link_lost(link, now, lived_short, &settings);
            }
            // It may take another kind of handshake better; that is tried at once.
            _ if connected && mse::has_other_choice(&settings, stream) => {
                if let Some(record) = self.table.links.get_mut(link) {
                    record.set_second_choice(true);
                }
                self.shared.counters.handshakes_failed += 1;
                self.table.link_idle(link);
            }
            // It answered, but not with a handshake: most often it does not have the torrent, or not yet. That is no fault of the
            // address; other swarms may find it fine.
            _ if outgoing && connected => {
                self.shared.counters.handshakes_failed += 1;
                // Some take a connection only to end it, since they do not want that transport: the other one begins next time.
                if let Some(record) = self.table.links.get_mut(link) {
                    record.set_speaks_utp(stream.transport == Transport::Tcp);
                    record.set_second_choice(false);
                }
                let pinned = swarm.is_some_and(|swarm| self.table.is_pinned(link, swarm));
                let pause = if pinned {
                    PINNED_RETRY_FIRST
                } else {
                    HANDSHAKE_PAUSE
                };
                if let Some(record) = swarm.and_then(|swarm| self.table.swarms.get_mut(swarm)) {
                    record.ignore(address, now + pause, "no handshake");
                }
                self.table.link_idle(link);
            }
            _ if outgoing => {
                self.shared.counters.dials_failed += 1;
                if let Some(attempt) = self.table.link_failed(link, now, jitter, &settings) {
                    let code = reason.name();
                    log::debug!(
                        target: "linnet::error",
                        "op=dial address={address} attempt={attempt} code={code:?}"
                    );
                }
            }
            _ => self.table.link_idle(link),
        }
    }

    /// Tells subscribers what became of links, in order.
    pub(super) fn tell_links(&mut self) {
        for news in self.table.news.drain(..) {
            let now = self.shared.now;
            let until = match news.state {
                LinkState::Disconnected { not_before } => not_before.since(now).as_secs(),
                LinkState::Ignored { until, .. } if until != Instant::FAR => {
                    until.since(now).as_secs()
                }
                LinkState::Ignored { .. } => u64::from(u32::MAX),
                LinkState::Connecting | LinkState::Established => 0,
            };
            let link = events::Link {
                address: news.address,
                direction: news.direction.name(),
                state: news.state.name(),
                attempts: news.attempts,
                until,
            };
            self.shared.event(match news.state {
                LinkState::Ignored { .. } => Event::LinkIgnored(link),
                LinkState::Established => Event::LinkEstablished(link),
                LinkState::Disconnected { .. } | LinkState::Connecting => Event::LinkLost(link),
            });
        }
    }

    pub(super) fn peer_event(&self, id: StreamId, reason: &'static str) -> Option<events::Peer> {
        let stream = self.table.streams.get(id)?;
        let peer = stream.peer()?;
        let swarm = self.table.swarms.get(stream.swarm?)?;
        Some(events::Peer {
            info_hash: swarm.info_hash,
            address: stream.address,
            peer_id: peer.id,
            client: peer.client.clone(),
            direction: Direction::of(stream.outgoing).name(),
            transport: stream.transport.name(),
            encrypted: stream.cover.is_encrypted(),
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

    /// Closes every stream of `swarm` that the loop carries, those still being opened included.
    pub(super) fn close_swarm(&mut self, swarm: SwarmId) {
        for id in self.table.carried_for(swarm) {
            self.close(id, CloseReason::SessionOver);
        }
    }
}
