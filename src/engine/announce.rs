//! Trackers: what the sessions want to know is asked of the gateway or by datagram, and the answers become candidates.
//! Every announce waits for its turn first (see [`super::pace`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::codec::address;
use crate::codec::announce::udp::transaction_of;
use crate::events::{self, Event};
use crate::ids::{InfoHash, LinkId, SessionId, SwarmId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::library::parked::{Parked, Wish};
use super::message::{FetchOutcome, FetchTask, Fetched, Output};
use super::outside::Voter;
use super::pace::{Asker, Turn};
use super::session::Session;
use super::session::trackers::{Facts, Report, Step, Trackers};
use super::shared::{FetchFor, TimerKey};
use super::table::Source;
use super::table::link::LinkState;

/// Peers asked of a tracker at a time.
const WANT: u32 = 100;

/// What trackers are told is left of a torrent of which only a link is known: a block.
const LEFT_UNKNOWN: u64 = 16 * 1024;

/// Refused in one turn because their host is shut; the others have theirs in the next.
const REFUSALS_MAX: usize = 256;

/// Connection numbers of UDP trackers that are remembered. Without room for another, each torrent gets its own.
const CONNECTIONS_MAX: usize = 1024;

/// The connection numbers that UDP trackers have given, and the ends of their lives: good for all torrents (BEP 15).
pub(super) type Connections = BTreeMap<SocketAddr, (u64, Instant)>;

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
            let Some(trackers) =
                (self.sessions.trackers_mut(id)).or_else(|| self.farewells.trackers_mut(id))
            else {
                return;
            };
            match trackers.poll(now, &facts, &mut self.shared.rng) {
                Some(Step::Turn {
                    tracker,
                    host,
                    kind,
                    class,
                }) => {
                    let asker = Asker {
                        session: id,
                        tracker,
                    };
                    self.pace.ask(asker, &host, kind, class);
                }
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
        self.settle_turns(id);
        match self.trackers_of(id).and_then(Trackers::next_deadline) {
            Some(at) => self.shared.timers.set(TimerKey::Trackers(id), at),
            None => {
                self.shared.timers.cancel(TimerKey::Trackers(id));
            }
        }
        self.advance_farewell(id);
    }

    /// The trackers of a torrent: at work, at rest, or gone.
    fn trackers_of(&self, id: SessionId) -> Option<&Trackers> {
        (self.sessions.trackers(id)).or_else(|| self.farewells.trackers(id))
    }

    fn trackers_of_mut(&mut self, id: SessionId) -> Option<&mut Trackers> {
        (self.sessions.trackers_mut(id)).or_else(|| self.farewells.trackers_mut(id))
    }

    /// Lets those announce whose turn it is.
    pub(super) fn pace_announces(&mut self) {
        let now = self.shared.now;
        let is_early = |at: Instant| now < at;
        if self.pace.is_quiet() && self.pace.next_deadline().is_none_or(is_early) {
            return;
        }
        let mut refusals = 0;
        while let Some(turn) = self.pace.next(now) {
            let (Turn::Ask(asker) | Turn::Refused(asker, _)) = turn;
            let id = asker.session;
            let trackers =
                (self.sessions.trackers_mut(id)).or_else(|| self.farewells.trackers_mut(id));
            let Some(trackers) = trackers else {
                self.pace.cancel(asker);
                continue;
            };
            match turn {
                Turn::Ask(_) => {
                    trackers.grant(now, asker.tracker);
                    trackers.lend(&|to| known(&self.connections, to, now));
                }
                Turn::Refused(_, wait) => {
                    trackers.refuse(now, asker.tracker, wait, &mut self.shared.rng);
                    refusals += 1;
                }
            }
            self.announce(id);
            if refusals == REFUSALS_MAX {
                self.shared.timers.set(TimerKey::Pace, now);
                return;
            }
        }
        if let Some(at) = self.pace.next_deadline() {
            self.shared.timers.set_no_later(TimerKey::Pace, at);
        }
    }

    /// The oldest announce that is under way may have been silent for too long; if not, another will be.
    pub(super) fn on_pace_timer(&mut self) {
        if let Some(at) = self.pace.next_deadline()
            && at > self.shared.now
        {
            self.shared.timers.set(TimerKey::Pace, at);
        }
    }

    /// Gives back the turns of what is over, or is not wanted any more.
    fn settle_turns(&mut self, id: SessionId) {
        let now = self.shared.now;
        let askers: Vec<Asker> = self.pace.askers_of(id).collect();
        for asker in askers {
            let turn = (self.trackers_of_mut(id))
                .map_or(Some(None), |trackers| trackers.turn_of(asker.tracker));
            match turn {
                None => {}
                Some(None) => self.pace.cancel(asker),
                Some(Some(heard)) => {
                    self.pace.over(now, asker, heard);
                    if heard {
                        self.farewell_heard();
                    }
                }
            }
        }
    }

    /// Nobody waits for a turn of this torrent any more.
    pub(super) fn forget_turns(&mut self, id: SessionId) {
        let askers: Vec<Asker> = self.pace.askers_of(id).collect();
        for asker in askers {
            self.pace.cancel(asker);
        }
    }

    /// What the trackers of a torrent are told of it.
    pub(super) fn facts(&self, id: SessionId) -> Option<Facts> {
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
                    private: session.brief.private,
                    ..self.facts_of(session.info_hash())
                }
            }
            (None, Some(parked)) => {
                let standing = &parked.standing;
                let fetches = parked.fetch.is_some();
                // Who has no more than a link lacks something, nobody knows how much: nothing would make it a seed.
                let unknown = if parked.brief.magnet.is_some() {
                    LEFT_UNKNOWN
                } else {
                    0
                };
                Facts {
                    uploaded: parked.sent,
                    downloaded: parked.received,
                    left: unknown + standing.bytes_wanted - standing.bytes_have,
                    want: if parked.is_open() || fetches { WANT } else { 0 },
                    private: parked.brief.private,
                    ..self.facts_of(parked.brief.info_hash)
                }
            }
            (None, None) => return self.farewells.facts(id).cloned(),
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
            private: false,
            key: self.shared.settings.key,
        }
    }

    pub(super) fn on_fetched(&mut self, fetched: Fetched) {
        let now = self.shared.now;
        match (self.shared.fetches.remove(&fetched.id), fetched.outcome) {
            (Some(FetchFor::Tracker(id, ask)), outcome) => {
                let Some(trackers) =
                    (self.sessions.trackers_mut(id)).or_else(|| self.farewells.trackers_mut(id))
                else {
                    return;
                };
                match outcome {
                    FetchOutcome::Http(result) => {
                        trackers.on_http(now, ask, result, &mut self.shared.rng)
                    }
                    FetchOutcome::Resolved(result) => {
                        trackers.on_resolved(now, ask, result, &mut self.shared.rng);
                        trackers.lend(&|to| known(&self.connections, to, now));
                    }
                }
                self.announce(id);
            }
            (Some(FetchFor::Peer(id)), FetchOutcome::Resolved(result)) => {
                self.on_peer_resolved(id, result)
            }
            (Some(FetchFor::Router), FetchOutcome::Resolved(result)) => {
                self.on_router_resolved(result)
            }
            (Some(FetchFor::Peer(_) | FetchFor::Router), FetchOutcome::Http(_)) | (None, _) => {}
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

    /// The answer of a tracker, if it is one that somebody waits for.
    pub(super) fn on_tracker_datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let Some(transaction) = transaction_of(bytes) else {
            return;
        };
        let now = self.shared.now;
        let Some(&id) = self.transactions.sessions.get(&transaction) else {
            return;
        };
        let Some(trackers) =
            (self.sessions.trackers_mut(id)).or_else(|| self.farewells.trackers_mut(id))
        else {
            return;
        };
        if trackers.on_datagram(now, from, bytes, &mut self.shared.rng) {
            let connection = trackers.connection(from);
            self.note_connection(address::canonical(from), connection);
            self.announce(id);
        }
    }

    /// Remembers a connection number for all torrents.
    fn note_connection(&mut self, from: SocketAddr, connection: Option<(u64, Instant)>) {
        let now = self.shared.now;
        let Some(connection) = connection else {
            self.connections.remove(&from);
            return;
        };
        if self.connections.len() >= CONNECTIONS_MAX && !self.connections.contains_key(&from) {
            self.connections.retain(|_, (_, until)| now < *until);
        }
        if self.connections.len() < CONNECTIONS_MAX || self.connections.contains_key(&from) {
            self.connections.insert(from, connection);
        }
    }

    /// Remembers whose answer has this number.
    fn note_transaction(&mut self, id: SessionId, transaction: u32) {
        let known = &mut self.transactions;
        known.sessions.insert(transaction, id);
        if known.sessions.len() < known.sweep_at {
            return;
        }
        let (sessions, farewells) = (&self.sessions, &self.farewells);
        known.sessions.retain(|&transaction, id| {
            let trackers = sessions.trackers(*id);
            let trackers = trackers.or_else(|| farewells.trackers(*id));
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
        let downloads = |session: &Session| session.is_downloading();
        if !self.sessions.get(id).is_some_and(downloads) && !self.is_fetching(id) {
            return;
        }
        self.dht_need(id);
        if let Some(trackers) = self.sessions.trackers_mut(id) {
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
                external_ip,
                tracker_is_local,
            } => {
                if let Some(ip) = external_ip.filter(|_| !tracker_is_local) {
                    self.seen_at(Voter::tracker(&url), ip);
                }
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
                asked: false,
                error,
                ..
            } => log::debug!("torrent {info_hash}: tracker {url}: {error}"),
            Report::Failed {
                url,
                tier,
                error,
                next_announce,
                asked: true,
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

/// The number that a UDP tracker has given, while it is good.
fn known(connections: &Connections, to: SocketAddr, now: Instant) -> Option<(u64, Instant)> {
    let known = connections.get(&to).copied();
    known.filter(|(_, until)| now < *until)
}

fn left(session: &Session) -> u64 {
    let (wanted, have) = session.bytes();
    wanted - have
}
