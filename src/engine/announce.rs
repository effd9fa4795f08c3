//! Trackers: what the sessions want to know is asked of the gateway or by datagram, and the answers become candidates.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::codec::address;
use crate::codec::announce::udp::transaction_of;
use crate::events::{self, Event};
use crate::ids::{InfoHash, LinkId, SessionId, SwarmId};
use crate::time::Duration;

use super::Engine;
use super::library::parked::{Parked, Wish};
use super::message::{FetchOutcome, FetchTask, Fetched, Output};
use super::session::Session;
use super::session::trackers::{Facts, Report, Step};
use super::shared::{FetchFor, TimerKey};
use super::table::Source;
use super::table::link::LinkState;

/// Peers asked of a tracker at a time.
const WANT: u32 = 100;

/// The fewest numbers of which those that nobody waits for any more are swept out.
const SWEEP_MIN: usize = 64;

/// The sessions that wait for datagrams of trackers, by the number that the answer will carry: found without asking every
/// session, however many there are.
///
/// Numbers whose answers never came stay until there are twice as many as at the last sweep, so the map is bounded by twice
/// the questions that are open: two for each UDP tracker of each session.
#[derive(Debug)]
pub(super) struct Transactions {
    sessions: BTreeMap<u32, SessionId>,
    sweep_at: usize,
}

impl Transactions {
    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }
}

impl Default for Transactions {
    fn default() -> Self {
        Self {
            sessions: BTreeMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }
}

impl Engine {
    /// Asks what is due to be asked, hears what was learnt, and comes back when the next is due.
    pub(super) fn announce(&mut self, id: SessionId) {
        loop {
            let now = self.shared.now;
            let Some(facts) = self.facts(id) else {
                return;
            };
            let Some(trackers) = self.sessions.trackers_mut(id) else {
                return;
            };
            match trackers.poll(now, &facts, &mut self.shared.rng) {
                Some(Step::Http {
                    ask,
                    url,
                    bytes_max,
                    timeout,
                }) => {
                    self.shared.counters.announces += 1;
                    self.shared.fetch(
                        FetchFor::Tracker(id, ask),
                        FetchTask::Http {
                            url,
                            bytes_max,
                            timeout,
                        },
                    );
                }
                Some(Step::Resolve {
                    ask,
                    host,
                    port,
                    timeout,
                }) => {
                    self.shared.fetch(
                        FetchFor::Tracker(id, ask),
                        FetchTask::Resolve {
                            host,
                            port,
                            timeout,
                        },
                    );
                }
                Some(Step::Datagram {
                    to,
                    transaction,
                    bytes,
                }) => {
                    self.shared.counters.datagrams_sent += 1;
                    self.note_transaction(id, transaction);
                    self.shared.push(Output::Datagram { to, bytes });
                }
                Some(Step::Report(report)) => self.on_report(id, report),
                None => break,
            }
        }
        let trackers = self.sessions.trackers(id);
        match trackers.and_then(super::session::trackers::Trackers::next_deadline) {
            Some(at) => self.shared.timers.set(TimerKey::Trackers(id), at),
            None => {
                self.shared.timers.cancel(TimerKey::Trackers(id));
            }
        }
        self.advance_stop(id);
        self.advance_leaving(id);
    }

    /// What the trackers of a torrent are told of it.
    fn facts(&self, id: SessionId) -> Option<Facts> {
        let facts = match (self.sessions.get(id), self.sessions.parked(id)) {
            (Some(session), _) => {
                let swarm = self.table.swarms.get(session.swarm);
                let peers = swarm.map_or(0, |swarm| swarm.streams.len());
                Facts {
                    uploaded: session.up.total(),
                    downloaded: session.down.total(),
                    left: left(session),
                    want: if session.is_trading() { WANT } else { 0 },
                    peers: u32::try_from(peers).unwrap_or(u32::MAX),
                    ..self.facts_of(session.info_hash())
                }
            }
            (None, Some(parked)) => {
                let standing = &parked.standing;
                Facts {
                    uploaded: parked.sent,
                    downloaded: parked.received,
                    left: standing.bytes_wanted - standing.bytes_have,
                    want: if parked.is_open() { WANT } else { 0 },
                    ..self.facts_of(parked.brief.info_hash)
                }
            }
            (None, None) => return None,
        };
        Some(facts)
    }

    fn facts_of(&self, info_hash: InfoHash) -> Facts {
        Facts {
            info_hash,
            peer_id: self.shared.settings.peer_id,
            port: self.shared.listen_port(),
            uploaded: 0,
            downloaded: 0,
            left: 0,
            want: 0,
            peers: 0,
            key: self.shared.settings.key,
        }
    }

    pub(super) fn on_fetched(&mut self, fetched: Fetched) {
        let now = self.shared.now;
        match (self.shared.fetches.remove(&fetched.id), fetched.outcome) {
            (Some(FetchFor::Tracker(id, ask)), outcome) => {
                let Some(trackers) = self.sessions.trackers_mut(id) else {
                    return;
                };
                match outcome {
                    FetchOutcome::Http(result) => {
                        trackers.on_http(now, ask, result, &mut self.shared.rng)
                    }
                    FetchOutcome::Resolved(result) => {
                        trackers.on_resolved(now, ask, result, &mut self.shared.rng)
                    }
                }
                self.announce(id);
            }
            (Some(FetchFor::Peer(id)), FetchOutcome::Resolved(result)) => {
                self.on_peer_resolved(id, result)
            }
            (Some(FetchFor::Peer(_)), FetchOutcome::Http(_)) | (None, _) => {}
        }
    }

    /// A name that a person gave a peer by: every address it has is one.
    fn on_peer_resolved(&mut self, id: SessionId, result: Result<Vec<SocketAddr>, String>) {
        let Some(swarm) = self.swarm_of_session(id) else {
            return;
        };
        match result {
            Ok(addresses) => {
                for address in addresses {
                    let _ = self.table.link_create(
                        address,
                        swarm,
                        Source::Person,
                        &self.shared.listening,
                        self.shared.now,
                    );
                }
                self.wake(id, Wish::default());
                self.connect_more(swarm);
            }
            Err(why) => {
                let info_hash = self.table.swarms.get(swarm).map(|swarm| swarm.info_hash);
                log::warn!("torrent {}: {why}", info_hash.unwrap_or(InfoHash([0; 20])));
                if let Some(session) = self.sessions.get_mut(id) {
                    session.notice = why;
                }
            }
        }
    }

    pub(super) fn on_datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.shared.counters.datagrams_received += 1;
        let Some(transaction) = transaction_of(bytes) else {
            return;
        };
        let now = self.shared.now;
        let Some(&id) = self.transactions.sessions.get(&transaction) else {
            return;
        };
        let Some(trackers) = self.sessions.trackers_mut(id) else {
            return;
        };
        if trackers.on_datagram(now, from, bytes, &mut self.shared.rng) {
            self.announce(id);
        }
    }

    /// Remembers whose answer has this number.
    fn note_transaction(&mut self, id: SessionId, transaction: u32) {
        let known = &mut self.transactions;
        known.sessions.insert(transaction, id);
        if known.sessions.len() < known.sweep_at {
            return;
        }
        let sessions = &self.sessions;
        known.sessions.retain(|&transaction, id| {
            let trackers = sessions.trackers(*id);
            trackers.is_some_and(|trackers| trackers.owns(transaction))
        });
        known.sweep_at = SWEEP_MIN.max(2 * known.sessions.len());
    }

    /// A swarm would like more candidates than it has.
    pub(super) fn need_peers(&mut self, swarm: SwarmId) {
        let now = self.shared.now;
        let Some(id) = self.table.swarms.get(swarm).and_then(|swarm| swarm.session) else {
            return;
        };
        let Some(session) = self
            .sessions
            .get_mut(id)
            .filter(|session| session.is_downloading())
        else {
            return;
        };
        if let Some(trackers) = &mut session.trackers {
            trackers.need_peers(now);
            if let Some(at) = trackers.next_deadline() {
                self.shared.timers.set(TimerKey::Trackers(id), at);
            }
        }
    }

    fn on_report(&mut self, id: SessionId, report: Report) {
        let Some(swarm) = self.swarm_of_session(id) else {
            return;
        };
        let Some(info_hash) = self.table.swarms.get(swarm).map(|swarm| swarm.info_hash) else {
            return;
        };
        match report {
            Report::Success {
                url,
                tier,
                peers,
                seeders,
                leechers,
                next_announce,
                warning,
                tracker_is_local,
            } => {
                self.notice(id, warning.unwrap_or_default());
                // Seeds have nothing to ask of one that rests, so it sleeps on where there are no others.
                if !peers.is_empty() && leechers != Some(0) {
                    self.wake_for_peers(id);
                }
                let peer_count = u32::try_from(peers.len()).unwrap_or(u32::MAX);
                for peer in peers {
                    // A tracker far away has no business naming hosts in our own network.
                    if tracker_is_local || address::is_global(peer.ip()) {
                        let made = self.table.link_create(
                            peer,
                            swarm,
                            Source::Tracker,
                            &self.shared.listening,
                            self.shared.now,
                        );
                        self.note_offer(peer, swarm, made.ok().map(|(link, _)| link));
                    }
                }
                self.shared.event(Event::TrackerSuccess(events::Tracker {
                    info_hash,
                    url,
                    tier,
                    peer_count,
                    seeders,
                    leechers,
                    next_announce: next_announce.as_secs(),
                    error: String::new(),
                }));
                self.connect_more(swarm);
            }
            Report::Failed {
                url,
                tier,
                error,
                next_announce,
            } => {
                log::warn!("torrent {info_hash}: tracker {url}: {error}");
                self.shared.counters.announces_failed += 1;
                self.notice(id, format!("tracker {url}: {error}"));
                self.shared.event(Event::TrackerFailed(events::Tracker {
                    info_hash,
                    url,
                    tier,
                    peer_count: 0,
                    seeders: None,
                    leechers: None,
                    next_announce: next_announce.as_secs(),
                    error,
                }));
            }
        }
    }

    /// What a person should know of a torrent at work.
    fn notice(&mut self, id: SessionId, notice: String) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.notice = notice;
        }
    }

    fn wake_for_peers(&mut self, id: SessionId) {
        if self.sessions.parked(id).is_some_and(Parked::is_open) {
            self.wake(id, Wish::default());
        }
    }

    /// An address was offered for `swarm`, and has become `link` unless it was refused. Counts whether it is left alone now, for this swarm or altogether.
    pub(super) fn note_offer(&mut self, address: SocketAddr, swarm: SwarmId, link: Option<LinkId>) {
        let now = self.shared.now;
        let address = address::canonical(address);
        let link = link.and_then(|link| self.table.links.get(link));
        let swarm = self.table.swarms.get(swarm);
        let is_left_alone = link
            .is_some_and(|link| matches!(link.state(), LinkState::Ignored { .. }))
            || self.table.is_banned_ip(address.ip())
            || swarm.is_some_and(|swarm| swarm.ignored_until(address, now).is_some());
        self.shared.counters.dials_saved += u64::from(is_left_alone);
    }

    /// Resolves the name of a peer that a person gave.
    pub(super) fn resolve_peer(&mut self, id: SessionId, host: String, port: u16) {
        const TIMEOUT: Duration = Duration::from_secs(10);
        self.shared.fetch(
            FetchFor::Peer(id),
            FetchTask::Resolve {
                host,
                port,
                timeout: TIMEOUT,
            },
        );
    }
}

fn left(session: &Session) -> u64 {
    let (wanted, have) = session.bytes();
    wanted - have
}
