//! The DHT: one node for all torrents, in the network of each address family (BEP 5, 32).
//!
//! [`Dht`] knows no engine: datagrams and time go in, [`Step`]s come out, so that a thousand of them make a simulated
//! network. `node` lets the engine use it, `plan` says which torrent is looked for when.
//!
//! What strangers can make it do is bounded everywhere: the table ([`routing`]), the peers and values kept for others
//! ([`peers`], [`items`]), the answers each source and all together get ([`gate`]), the questions it asks in a second.

pub mod gate;
pub mod half;
pub mod id;
pub mod items;
pub mod lookup;
mod node;
pub mod peers;
pub mod plan;
pub mod questions;
pub mod routing;
mod serve;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::codec::address;
use crate::codec::krpc::compact::Node;
use crate::codec::krpc::{self, Body, Malformed, NodeId};
use crate::ids::InfoHash;
use crate::rng::Rng;
use crate::time::Instant;

use gate::{Allowance, Sources};
use half::{Half, Shared};
pub use lookup::Search;
pub(in crate::engine) use node::DhtNode;
use questions::Purpose;

/// Questions we ask in a second, and in a burst. A torrent takes some thirty in a round, so that 6000 torrents at rest have
/// their turn every half hour; with more of them it takes longer.
const QUERIES_PER_SECOND: u64 = 100;
const QUERIES_BURST: u64 = 100;
/// Questions we answer in a second, and in a burst; more are ignored.
const ANSWERS_PER_SECOND: u64 = 4000;
const ANSWERS_BURST: u64 = 2000;
/// Signatures we look at in a second: each takes as long as some twenty answers.
const SIGNATURES_PER_SECOND: u64 = 50;
const SIGNATURES_BURST: u64 = 100;
/// Nodes of a family that are remembered between runs.
pub const REMEMBERED_MAX: usize = 256;

/// What is to be done, or was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a datagram.
    Send {
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Somebody says who trades in a torrent.
    Found {
        /// Which.
        info_hash: InfoHash,
        /// Who, at least one; of addresses that the one who says it may name.
        peers: Vec<SocketAddr>,
    },
    /// A search in the network of one family is over.
    Over {
        /// For which torrent.
        info_hash: InfoHash,
        /// Peers found, some of them perhaps twice.
        found: usize,
        /// Nodes that are told about us.
        told: usize,
    },
    /// Somebody says where we are (BEP 42).
    Seen {
        /// Who.
        by: IpAddr,
        /// Our address.
        at: SocketAddr,
    },
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions asked.
    pub queries_sent: u64,
    /// Of them answered.
    pub queries_answered: u64,
    /// Of them not answered in time.
    pub queries_lost: u64,
    /// Questions of others.
    pub queries_received: u64,
    /// Of them not answered, to keep within the rates.
    pub queries_ignored: u64,
    /// Searches for peers begun, each family counted.
    pub searches: u64,
    /// Nodes told about us.
    pub announces: u64,
    /// Peers that others named.
    pub peers_found: u64,
}

/// What is remembered of a family between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Our name.
    pub id: NodeId,
    /// Nodes that answered.
    pub nodes: Vec<Node>,
}

/// Our node.
#[derive(Clone, Debug)]
pub struct Dht {
    /// IPv4, IPv6.
    halves: [Option<Half>; 2],
    /// Whether we only ask (BEP 43).
    read_only: bool,
    rng: Rng,
    out: VecDeque<Step>,
    pace: Allowance,
    served: Allowance,
    signatures: Allowance,
    sources: Sources,
    counters: Counters,
}

impl Dht {
    /// Off in both families. With `read_only` it answers nobody, and says so: for those that are gone soon.
    #[must_use]
    pub fn new(read_only: bool, rng: Rng) -> Self {
        Self {
            halves: [None, None],
            read_only,
            rng,
            out: VecDeque::new(),
            pace: Allowance::new(QUERIES_PER_SECOND, QUERIES_BURST),
            served: Allowance::new(ANSWERS_PER_SECOND, ANSWERS_BURST),
            signatures: Allowance::new(SIGNATURES_PER_SECOND, SIGNATURES_BURST),
            sources: Sources::default(),
            counters: Counters::default(),
        }
    }

    fn half(&self, family: SocketAddr) -> Option<&Half> {
        self.halves[usize::from(family.is_ipv6())].as_ref()
    }

    fn half_mut(&mut self, family: SocketAddr) -> Option<&mut Half> {
        self.halves[usize::from(family.is_ipv6())].as_mut()
    }

    /// Takes part in a family's network, as `remembered` and seen at `outside` if that is known. Nothing if it does already.
    pub fn join(
        &mut self,
        now: Instant,
        v6: bool,
        remembered: Option<&Remembered>,
        outside: Option<IpAddr>,
    ) {
        if self.halves[usize::from(v6)].is_some() {
            return;
        }
        let known = remembered.map(|remembered| remembered.id);
        let fits = |id: &NodeId| outside.is_none_or(|ip| id::is_lawful(id, ip));
        let id = known
            .filter(fits)
            .unwrap_or_else(|| id::draw(outside, &mut self.rng));
        let mut half = Half::new(v6, id, now, &mut self.rng);
        for node in remembered
            .into_iter()
            .flat_map(|remembered| &remembered.nodes)
        {
            half.suggest(node.address, Some(node.id));
        }
        self.halves[usize::from(v6)] = Some(half);
    }

    /// Leaves both networks; everything is forgotten.
    pub fn leave(&mut self) {
        self.halves = [None, None];
        self.out.clear();
    }

    /// Whether it takes part in any network.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.halves.iter().any(Option::is_some)
    }

    /// Whether a family it takes part in knows hardly anybody.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        self.halves.iter().flatten().any(Half::is_thin)
    }

    /// Whether there is anybody to ask.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.halves.iter().flatten().any(Half::is_ready)
    }

    /// Nodes to be asked while nobody is known.
    pub fn routers_are(&mut self, now: Instant, routers: &[SocketAddr]) {
        for half in self.halves.iter_mut().flatten() {
            half.routers_are(routers, now);
        }
    }

    /// There may be a node at `address`: a peer or a torrent says so.
    pub fn suggest(&mut self, address: SocketAddr) {
        let address = address::canonical(address);
        if address::dialable(address)
            && let Some(half) = self.half_mut(address)
        {
            half.suggest(address, None);
        }
    }

    /// We are seen at `ip`.
    pub fn live_at(&mut self, now: Instant, ip: IpAddr) {
        let half = self.halves[usize::from(ip.is_ipv6())].as_mut();
        if let Some(half) = half {
            half.live_at(ip, now, &mut self.rng);
        }
    }

    /// Searches for the peers of a torrent in all networks; [`Step::Over`] comes once for each that began.
    /// How many did.
    pub fn search(&mut self, now: Instant, search: Search) -> usize {
        let mut begun = 0;
        let torrent = NodeId(search.info_hash.0);
        for half in self.halves.iter_mut().flatten() {
            begun += usize::from(half.search(search, now));
            // We may be among those nearest to it, and nobody asks himself.
            let peers = half.peers.some(torrent, search.seed, now, &mut self.rng);
            if !peers.is_empty() {
                self.out.push_back(Step::Found {
                    info_hash: search.info_hash,
                    peers,
                });
            }
        }
        self.counters.searches += begun as u64;
        begun
    }

    /// Whether one more search may begin.
    #[must_use]
    pub fn has_room(&self, urgent: bool) -> bool {
        self.halves.iter().flatten().any(|half| {
            half.lookups_len() < half::LOOKUPS_MAX
                && (urgent || half.patient_len() < half::PATIENT_LOOKUPS_MAX)
        })
    }

    /// The torrent is nobody's business any more.
    pub fn give_up(&mut self, info_hash: InfoHash) {
        for half in self.halves.iter_mut().flatten() {
            half.give_up(&NodeId(info_hash.0));
        }
    }

    /// A datagram that begins with `d` has come.
    pub fn on_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let from = address::canonical(from);
        if self.half(from).is_none() || !address::dialable(from) {
            return;
        }
        let message = match krpc::decode(bytes) {
            Ok(message) => message,
            Err(Malformed::Question { transaction, why }) => {
                self.counters.queries_received += 1;
                if self.read_only
                    || !self.sources.admit(from.ip(), now)
                    || !self.served.take(now, 0)
                {
                    self.counters.queries_ignored += 1;
                    return;
                }
                return self.reply(from, krpc::encode_error(transaction, why));
            }
            Err(Malformed::Noise) => return,
        };
        match message.body {
            Body::Query {
                sender,
                read_only,
                method,
            } => {
                if !self.read_only {
                    self.serve(now, from, message.transaction, sender, read_only, &method);
                }
            }
            Body::Answer { ip, answer } => {
                let Some(question) =
                    (self.half_mut(from)).and_then(|half| half.question(message.transaction, from))
                else {
                    return;
                };
                self.counters.queries_answered += 1;
                if let Some(at) = ip {
                    self.out.push_back(Step::Seen { by: from.ip(), at });
                }
                let others = self.with(now, from, |half, cx| half.on_answer(cx, question, &answer));
                self.suggest_others(from, &others.unwrap_or_default());
            }
            Body::Error { .. } => {
                let half = self.half_mut(from);
                let Some(half) = half else { return };
                if let Some(question) = half.question(message.transaction, from) {
                    half.on_refusal(&question, now);
                    self.counters.queries_answered += u64::from(question.purpose != Purpose::Check);
                }
            }
        }
        self.on_time(now);
    }

    /// Nodes of the other family that somebody named: of use while few are known there.
    fn suggest_others(&mut self, from: SocketAddr, nodes: &[Node]) {
        let other = self.halves[usize::from(from.is_ipv4())].as_mut();
        if let Some(half) = other.filter(|half| half.is_thin()) {
            for node in nodes {
                half.suggest(node.address, Some(node.id));
            }
        }
    }

    /// Time has passed, or something is to be asked.
    pub fn on_time(&mut self, now: Instant) {
        for family in [0, 1] {
            if let Some(mut half) = self.halves[family].take() {
                half.drive(&mut self.shared(now));
                self.halves[family] = Some(half);
            }
        }
    }

    /// When [`Self::on_time`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let halves = self.halves.iter().flatten();
        halves.map(|half| half.next_deadline(&self.pace)).min()
    }

    /// What is to be done, and what was learnt; `None` when that is all.
    pub fn poll(&mut self) -> Option<Step> {
        self.out.pop_front()
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Nodes in the tables: IPv4, IPv6.
    #[must_use]
    pub fn nodes_len(&self) -> [usize; 2] {
        let len = |half: &Option<Half>| half.as_ref().map_or(0, |half| half.routing.len());
        [len(&self.halves[0]), len(&self.halves[1])]
    }

    /// Torrents whose peers, and values, that are kept for others.
    #[must_use]
    pub fn kept_len(&self) -> (usize, usize) {
        let halves = self.halves.iter().flatten();
        halves.fold((0, 0), |(peers, items), half| {
            (peers + half.peers.len(), items + half.items.len())
        })
    }

    /// Our name in a family.
    #[must_use]
    pub fn id(&self, v6: bool) -> Option<NodeId> {
        self.halves[usize::from(v6)].as_ref().map(|half| half.id)
    }

    /// What is to be remembered of a family; nodes nearest to us first.
    #[must_use]
    pub fn remember(&self, v6: bool) -> Option<Remembered> {
        let half = self.halves[usize::from(v6)].as_ref()?;
        Some(Remembered {
            id: half.id,
            nodes: half.routing.closest(&half.id, REMEMBERED_MAX),
        })
    }

    /// Panics where a table is not what its doc says.
    pub fn check(&self) {
        for half in self.halves.iter().flatten() {
            half.routing.check();
        }
    }

    fn reply(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.out.push_back(Step::Send { to, bytes });
    }

    fn shared(&mut self, now: Instant) -> Shared<'_> {
        Shared {
            now,
            rng: &mut self.rng,
            out: &mut self.out,
            pace: &mut self.pace,
            counters: &mut self.counters,
            read_only: self.read_only,
        }
    }

    /// Lets the half of a family do something with what both share.
    fn with<T>(
        &mut self,
        now: Instant,
        family: SocketAddr,
        f: impl FnOnce(&mut Half, &mut Shared<'_>) -> T,
    ) -> Option<T> {
        let at = usize::from(family.is_ipv6());
        let mut half = self.halves[at].take()?;
        let result = f(&mut half, &mut self.shared(now));
        self.halves[at] = Some(half);
        Some(result)
    }
}
