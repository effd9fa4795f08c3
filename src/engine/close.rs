//! The end of a stream: what it owed is taken back, and what it says of its address is remembered.

use std::net::SocketAddr;

use crate::events::{self, Event};
use crate::ids::{LinkId, PeerId, SessionId, StreamId, SwarmId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::message::{LostReason, Output};
use super::session::receive;
use super::shared::TimerKey;
use super::table::link::{IgnoreReason, PINNED_RETRY_FIRST, SHORT_LIFE};
use super::table::peer::PeerHas;
use super::table::stream::{CloseReason, Stage, Stream};

/// An address at which a peer listens that is connected to us the other way round is left alone for so long.
const DUPLICATE_PAUSE: Duration = Duration::from_secs(120);
/// An address that took the dial and gave no handshake is left alone by that swarm for so long.
const HANDSHAKE_PAUSE: Duration = Duration::from_secs(120);

impl Engine {
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

    pub(super) fn peer_event(&self, id: StreamId, reason: &'static str) -> Option<events::Peer> {
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
