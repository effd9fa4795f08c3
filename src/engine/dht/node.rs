//! The engine's node: when it takes part, which torrents it searches for, and what becomes of what it finds.
//!
//! Private torrents never get here, each by its own flag: not into the plan, not into an answer taken, not into a `port`
//! message. Others do not notice.

use std::net::SocketAddr;

use super::plan::Plan;
use super::{Counters, Dht, Remembered, Search, Step};
use crate::codec::address;
use crate::codec::wire::Message;
use crate::config::Discovery;
use crate::engine::Engine;
use crate::engine::message::{FetchTask, Nodes, Output, StoreTask};
use crate::engine::outside::{Outside, Voter};
use crate::engine::session::Session;
use crate::engine::session::receive::{Heard, send};
use crate::engine::shared::{FetchFor, TimerKey};
use crate::engine::table::Source;
use crate::ids::{InfoHash, SessionId, StreamId};
use crate::metrics::EngineCounters;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Names of nodes to begin with are looked up after so long, when the nodes of an earlier run do not answer.
const ROUTERS_AFTER: Duration = Duration::from_secs(3);
/// They are looked up again after so long, twice as long each time, up to the longest, while hardly anybody is known.
const ROUTERS_AGAIN: Duration = Duration::from_secs(20);
const ROUTERS_LONGEST: Duration = Duration::from_secs(20 * 60);
/// For a name to be found.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Nodes are remembered for the next run so long after the start, and then so often.
const KEEP_FIRST: Duration = Duration::from_secs(60);
const KEEP_EVERY: Duration = Duration::from_secs(15 * 60);
/// What is learnt in one turn before others have theirs; the rest is heard at once after it.
const STEPS_MAX: usize = 256;

/// Our node, and what it is used for.
#[derive(Debug)]
pub(in crate::engine) struct DhtNode {
    dht: Dht,
    plan: Plan,
    pub(in crate::engine) outside: Outside,
    /// Whether the ports that others see are not ours, IPv4 and IPv6: a NAT changes them.
    ports_change: [bool; 2],
    routers: Vec<(String, u16)>,
    routers_at: Instant,
    routers_wait: Duration,
    /// What the store had; `None` until it has answered.
    remembered: Option<Vec<Nodes>>,
    is_recalling: bool,
    keep_at: Instant,
}

impl DhtNode {
    /// Off. Its chance does not disturb that of others.
    pub(in crate::engine) fn new(config: &Discovery, rng: &Rng) -> Self {
        const OWN: u64 = 0x0d47_0d47_0d47_0d47;
        let rng = Rng::new(rng.clone().draw() ^ OWN);
        let routers = config.dht_bootstrap.iter();
        let routers = routers.filter_map(|text| crate::config::host_and_port(text));
        Self {
            dht: Dht::new(config.dht_read_only, rng),
            plan: Plan::default(),
            outside: Outside::default(),
            ports_change: [false; 2],
            routers: routers
                .map(|(host, port)| (host.to_owned(), port))
                .collect(),
            routers_at: Instant::ZERO,
            routers_wait: ROUTERS_AGAIN,
            remembered: None,
            is_recalling: false,
            keep_at: Instant::FAR,
        }
    }
}

/// What the plan needs to know of a torrent.
enum Wanted {
    /// Search for it now.
    Now(Search),
    /// Not now.
    Later,
    /// It is gone, or nobody's business.
    Never,
}

impl Engine {
    /// Takes part, or not, as the settings and the sockets say.
    pub(in crate::engine) fn dht_hold(&mut self) {
        let now = self.shared.now;
        if !self.shared.settings.dht() || self.is_ending() {
            if self.dht.dht.is_on() {
                log::info!("dht: off");
                self.dht_keep();
                self.dht.dht.leave();
                self.dht.plan.clear();
                self.shared.timers.cancel(TimerKey::Dht);
            }
            return;
        }
        if self.shared.listening.is_empty() {
            return;
        }
        let Some(remembered) = &self.dht.remembered else {
            if !std::mem::replace(&mut self.dht.is_recalling, true) {
                self.library_store(StoreTask::RecallNodes, None);
            }
            return;
        };
        let was_on = self.dht.dht.is_on();
        let mut has_nodes = false;
        for v6 in [false, true] {
            if (self.shared.listening.iter()).any(|address| address.is_ipv6() == v6) {
                let known = remembered.iter().find(|nodes| nodes.v6 == v6);
                let known: Option<&Remembered> = known.map(|nodes| &nodes.remembered);
                has_nodes |= known.is_some_and(|known| !known.nodes.is_empty());
                let outside = self.dht.outside.settled(v6);
                self.dht.dht.join(now, v6, known, outside);
            }
        }
        if !was_on {
            let wait = if has_nodes {
                ROUTERS_AFTER
            } else {
                Duration::ZERO
            };
            self.dht.routers_at = now + wait;
            self.dht.routers_wait = ROUTERS_AGAIN;
            self.dht.keep_at = now + KEEP_FIRST;
            for id in self.sessions.ids() {
                self.dht_enter(id);
            }
            for id in self.sessions.parked_ids() {
                self.dht_enter(id);
            }
        }
        self.shared.timers.set_no_later(TimerKey::Dht, now);
    }

    /// What the store remembers of earlier runs.
    pub(in crate::engine) fn dht_recalled(&mut self, nodes: Vec<Nodes>) {
        self.dht.is_recalling = false;
        self.dht.remembered.get_or_insert(nodes);
        self.dht_hold();
    }

    /// The engine ends: what is known is remembered, nothing more is asked or answered.
    pub(in crate::engine) fn dht_end(&mut self) {
        self.dht_keep();
        self.dht.dht.leave();
        self.dht.plan.clear();
        self.shared.timers.cancel(TimerKey::Dht);
    }

    /// Remembers who is known; not a table that holds hardly anybody, which would replace a better one.
    fn dht_keep(&mut self) {
        let families = [false, true].into_iter().filter_map(|v6| {
            let remembered = self.dht.dht.remember(v6)?;
            (!remembered.nodes.is_empty()).then_some(Nodes { v6, remembered })
        });
        let families: Vec<_> = families.collect();
        if !families.is_empty() {
            self.dht.remembered = Some(families.clone());
            self.library_store(StoreTask::KeepNodes(families), None);
        }
    }

    /// A torrent is at work, or rests.
    pub(in crate::engine) fn dht_enter(&mut self, id: SessionId) {
        if !self.dht.dht.is_on() {
            return;
        }
        let now = self.shared.now;
        let live = self.sessions.get(id).is_some() || self.is_fetching(id);
        match self.dht_wanted(id) {
            Wanted::Now(_) => {}
            Wanted::Later => return,
            // A link may turn out to lead to a private torrent: nothing more is said of it.
            Wanted::Never => {
                self.dht.plan.leave(id);
                let hash = self.sessions.get(id).map(Session::info_hash);
                hash.inspect(|hash| self.dht.dht.give_up(*hash));
                return;
            }
        }
        let rng = &mut self.shared.rng;
        self.dht.plan.enter(id, live, now, rng);
        if live {
            self.shared.timers.set_no_later(TimerKey::Dht, now);
        }
    }

    /// A torrent is stopped, goes, or is private: nothing more is said of it, also by a search that runs.
    pub(in crate::engine) fn dht_leave(&mut self, id: SessionId) {
        self.dht.plan.leave(id);
        let swarm = self.swarm_of_session(id);
        let swarm = swarm.and_then(|swarm| self.table.swarms.get(swarm));
        if let Some(info_hash) = swarm.map(|swarm| swarm.info_hash) {
            self.dht.dht.give_up(info_hash);
        }
    }

    /// A torrent lacks peers.
    pub(in crate::engine) fn dht_need(&mut self, id: SessionId) {
        if self.dht.dht.is_on() {
            self.dht.plan.need(id, self.shared.now);
            if let Some(at) = self.dht.plan.next_deadline(true) {
                self.shared.timers.set_no_later(TimerKey::Dht, at);
            }
        }
    }

    /// Whether the DHT may know of a torrent.
    pub(in crate::engine) fn dht_knows(&self, info_hash: InfoHash) -> bool {
        let swarm = self.table.swarm_of(info_hash);
        let session = swarm.and_then(|swarm| self.sessions.get(swarm.session?));
        self.dht.dht.is_on() && session.is_some_and(|session| !session.brief.private)
    }

    fn dht_wanted(&self, id: SessionId) -> Wanted {
        let port = Some(self.shared.listen_port()).filter(|port| *port != 0);
        let search = |info_hash, seed, urgent| Search {
            info_hash,
            port,
            implied_port: self.dht.ports_change.contains(&true),
            seed,
            urgent,
        };
        match (self.sessions.get(id), self.sessions.parked(id)) {
            (Some(session), _) if session.brief.private => Wanted::Never,
            (Some(session), _) if session.is_trading() => {
                let seed = session.has_everything();
                Wanted::Now(search(session.info_hash(), seed, !seed))
            }
            (None, Some(parked)) if parked.brief.private => Wanted::Never,
            (None, Some(parked)) if parked.fetch.is_some() => {
                Wanted::Now(search(parked.brief.info_hash, false, true))
            }
            (None, Some(parked)) if parked.is_open() && parked.standing.whole => {
                Wanted::Now(search(parked.brief.info_hash, true, false))
            }
            (None, None) => Wanted::Never,
            _ => Wanted::Later,
        }
    }

    /// A datagram that begins as a message of the DHT.
    pub(in crate::engine) fn on_dht_datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        // Who is blocked is neither heard nor answered.
        if self.dht.dht.is_on() && !self.table.is_blocked(from.ip()) {
            self.dht.dht.on_datagram(self.shared.now, from, bytes);
            self.dht_turn();
        }
    }

    /// Does what is due, and hears what was learnt.
    pub(in crate::engine) fn dht_turn(&mut self) {
        let now = self.shared.now;
        if !self.dht.dht.is_on() {
            return;
        }
        self.ask_routers();
        if now >= self.dht.keep_at {
            self.dht.keep_at = now + KEEP_EVERY;
            self.dht_keep();
        }
        self.begin_searches();
        self.dht.dht.on_time(now);
        for _ in 0..STEPS_MAX {
            let Some(step) = self.dht.dht.poll() else {
                self.dht_rest();
                return;
            };
            self.on_dht_step(step);
        }
        self.shared.timers.set(TimerKey::Dht, now);
    }

    /// Comes back when something is due.
    fn dht_rest(&mut self) {
        let node = &self.dht;
        let mut at = node.dht.next_deadline().unwrap_or(Instant::FAR);
        at = at.min(node.keep_at);
        if node.dht.is_thin() && !node.routers.is_empty() {
            at = at.min(node.routers_at);
        }
        for live in [false, true] {
            if node.dht.is_ready() && node.dht.has_room(live) {
                at = at.min(node.plan.next_deadline(live).unwrap_or(Instant::FAR));
            }
        }
        self.shared.timers.set(TimerKey::Dht, at);
    }

    fn begin_searches(&mut self) {
        let now = self.shared.now;
        for live in [true, false] {
            while self.dht.dht.is_ready() && self.dht.dht.has_room(live) {
                let Some(id) = self.dht.plan.next(live, now) else {
                    break;
                };
                match self.dht_wanted(id) {
                    Wanted::Now(search) => {
                        if self.dht.dht.search(now, search) > 0 {
                            self.dht.plan.asked(id, now);
                        } else {
                            self.dht.plan.put_off(id, now);
                        }
                    }
                    Wanted::Later => self.dht.plan.skip(id, now),
                    Wanted::Never => self.dht.plan.leave(id),
                }
            }
        }
    }

    fn on_dht_step(&mut self, step: Step) {
        match step {
            // A question that is not put is one that is not answered.
            Step::Send { to, .. } if self.table.is_blocked(to.ip()) => {}
            Step::Send { to, bytes } => {
                self.shared.counters.datagrams_sent += 1;
                self.shared.push(Output::Datagram { to, bytes });
            }
            Step::Found { info_hash, peers } => self.on_dht_peers(info_hash, &peers),
            Step::Over {
                info_hash, found, ..
            } => {
                let swarm = self.table.swarm_of(info_hash);
                let Some(id) = swarm.and_then(|swarm| swarm.session) else {
                    return;
                };
                self.dht.plan.over(id, found);
                let lacks = |session: &Session| session.is_trading() && session.is_downloading();
                let lacks = self.sessions.get(id).is_some_and(lacks) || self.is_fetching(id);
                if found == 0 && lacks {
                    self.dht_need(id);
                }
            }
            Step::Seen { by, at } => {
                let v6 = at.is_ipv6();
                if self.dht.outside.settled(v6) == Some(at.ip()) {
                    self.dht.ports_change[usize::from(v6)] = at.port() != self.shared.listen_port();
                }
                self.seen_at(Voter::at(by), at.ip());
            }
        }
    }

    /// Somebody says where we are.
    pub(in crate::engine) fn seen_at(&mut self, voter: Voter, ip: std::net::IpAddr) {
        if let Some(ip) = self.dht.outside.vote(voter, ip) {
            log::info!("others see us at {ip}");
            self.dht.dht.live_at(self.shared.now, ip);
        }
    }

    /// Peers of a torrent, as nodes say.
    fn on_dht_peers(&mut self, info_hash: InfoHash, peers: &[SocketAddr]) {
        let Some(swarm) = self.table.swarm_of(info_hash) else {
            return;
        };
        let swarm_id = swarm.id;
        let Some(id) = swarm.session else {
            return;
        };
        let wants = |session: &Session| !session.brief.private && session.is_trading();
        if !self.sessions.get(id).is_some_and(wants) && !self.is_fetching(id) {
            return;
        }
        let port = self.shared.listen_port();
        for &peer in peers {
            if self.dht.outside.settled(peer.is_ipv6()) == Some(peer.ip()) && peer.port() == port {
                continue;
            }
            let made = self.table.link_create(
                peer,
                swarm_id,
                Source::Dht,
                &self.shared.listening,
                self.shared.now,
            );
            self.note_offer(peer, swarm_id, made.ok().map(|(link, _)| link));
        }
        self.connect_more(swarm_id);
    }

    /// What a peer says of us, and of its node.
    pub(in crate::engine) fn on_peer_hint(
        &mut self,
        stream: StreamId,
        session: SessionId,
        heard: &Heard,
    ) {
        let Some(address) = self.table.streams.get(stream).map(|stream| stream.address) else {
            return;
        };
        if let Some(ip) = heard.seen_at {
            self.seen_at(Voter::at(address.ip()), ip);
        }
        let is_private = |session: &Session| session.brief.private;
        if let Some(port) = heard.dht_port
            && self.dht.dht.is_on()
            && !self.sessions.get(session).is_none_or(is_private)
        {
            self.dht.dht.suggest(SocketAddr::new(address.ip(), port));
            self.shared
                .timers
                .set_no_later(TimerKey::Dht, self.shared.now);
        }
    }

    /// Tells a peer that has a node too where ours is (BEP 5).
    pub(in crate::engine) fn tell_dht_port(&mut self, stream: StreamId) {
        let port = self.shared.listen_port();
        if let Some(stream) = self.table.streams.get_mut(stream)
            && stream.peer().is_some_and(|peer| peer.features.dht)
            && port != 0
        {
            send(&mut self.shared, stream, &Message::Port(port));
        }
    }

    /// Asks for the addresses of the nodes to begin with, while hardly anybody is known.
    fn ask_routers(&mut self) {
        let now = self.shared.now;
        if !self.dht.dht.is_thin() || now < self.dht.routers_at {
            return;
        }
        self.dht.routers_at = now + self.dht.routers_wait;
        self.dht.routers_wait = (2 * self.dht.routers_wait).min(ROUTERS_LONGEST);
        for (host, port) in self.dht.routers.clone() {
            if let Ok(ip) = host.parse() {
                let address = address::canonical(SocketAddr::new(ip, port));
                self.dht.dht.routers_are(now, &[address]);
                continue;
            }
            self.shared.fetch(
                FetchFor::Router,
                FetchTask::Resolve {
                    host,
                    port,
                    timeout: RESOLVE_TIMEOUT,
                },
            );
        }
    }

    /// The name of a node to begin with was looked up.
    pub(in crate::engine) fn on_router_resolved(
        &mut self,
        result: Result<Vec<SocketAddr>, String>,
    ) {
        match result {
            Ok(addresses) => {
                let addresses = addresses.into_iter().map(address::canonical);
                let usable = addresses.filter(|address| address::dialable(*address));
                let usable: Vec<_> = usable.collect();
                self.dht.dht.routers_are(self.shared.now, &usable);
                self.dht_turn();
            }
            Err(why) => log::debug!("dht: {why}"),
        }
    }

    /// What was counted, with how many there are now.
    pub(in crate::engine) fn dht_counters(&self) -> EngineCounters {
        let Counters {
            queries_sent,
            queries_answered,
            queries_lost,
            queries_received,
            queries_ignored,
            searches,
            announces,
            peers_found,
        } = self.dht.dht.counters();
        let [dht_nodes_v4, dht_nodes_v6] = self.dht.dht.nodes_len().map(|nodes| nodes as u64);
        let (torrents, values) = self.dht.dht.kept_len();
        EngineCounters {
            dht_nodes_v4,
            dht_nodes_v6,
            dht_queries_sent: queries_sent,
            dht_queries_answered: queries_answered,
            dht_queries_lost: queries_lost,
            dht_queries_received: queries_received,
            dht_queries_ignored: queries_ignored,
            dht_searches: searches,
            dht_announces: announces,
            dht_peers_found: peers_found,
            dht_torrents_kept: torrents as u64,
            dht_values_kept: values as u64,
            ..self.shared.counters
        }
    }

    /// Where others see us, as far as they agree: at most one address of each family.
    pub(in crate::engine) fn outside(&self) -> Vec<std::net::IpAddr> {
        let families = [false, true].into_iter();
        families
            .filter_map(|v6| self.dht.outside.settled(v6))
            .collect()
    }
}
