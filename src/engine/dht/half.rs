//! The node in the DHT of one address family (BEP 32 makes them two networks): its name, its table, what it asks and what
//! it keeps for others. [`super::Dht`] holds both and lends them what they share.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::codec::address;
use crate::codec::krpc::compact::{self, Node};
use crate::codec::krpc::{self, Announce, Answer, Method, NodeId, Want};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

use super::gate::Allowance;
use super::id;
use super::items::Items;
use super::lookup::{Goal, Lookup, Search, Token};
use super::peers::Peers;
use super::questions::{Purpose, Question, Questions, Silence};
use super::routing::{BUCKET_NODES, Routing, may_name};
use super::tokens::Tokens;
use super::{Counters, Step};

/// Lookups at a time; further ones are refused, and tried again by who wants them.
pub const LOOKUPS_MAX: usize = 32;
/// Of them so many that nobody waits for.
pub const PATIENT_LOOKUPS_MAX: usize = 8;
/// Nodes to be asked whether they are there; further ones are forgotten, others will be named.
const CHECKS_MAX: usize = 256;
/// Announces that wait to be sent; further ones are dropped, the next round has its own.
const ANNOUNCES_MAX: usize = 512;
/// Nodes taken from one answer; more are ignored.
const NAMED_MAX: usize = 16;
/// Peers taken from one answer, and from all answers of a lookup; more are ignored.
const VALUES_MAX: usize = 128;
const FOUND_MAX: usize = 1000;
/// The table is looked after so often.
const UPKEEP: Duration = Duration::from_secs(5);
/// A node that found nobody tries again after so long, twice as long each time, up to the longest.
const BOOTSTRAP_FIRST: Duration = Duration::from_secs(5);
const BOOTSTRAP_LONGEST: Duration = Duration::from_secs(300);
/// Searches all over the network after a start.
const SPREAD_MAX: usize = 8;
/// Questions that patient lookups leave for others.
const RESERVE: u64 = 20;
/// With nobody heard for so long, silence says more about us than about those that we asked.
const DEAF: Duration = Duration::from_secs(30);

/// What both halves share, lent for a call.
pub(super) struct Shared<'a> {
    pub now: Instant,
    pub rng: &'a mut Rng,
    pub out: &'a mut VecDeque<Step>,
    pub pace: &'a mut Allowance,
    pub counters: &'a mut Counters,
    pub read_only: bool,
}

/// An announce on its way.
#[derive(Clone, Copy, Debug)]
struct Telling {
    node: Node,
    token: Token,
    search: Search,
}

/// The node of one family.
#[derive(Clone, Debug)]
pub struct Half {
    v6: bool,
    pub(super) id: NodeId,
    pub(super) routing: Routing,
    questions: Questions,
    lookups: Vec<Lookup>,
    lookups_begun: u64,
    /// To be asked whether they are there, each once.
    checks: VecDeque<Node>,
    checked: BTreeSet<SocketAddr>,
    announces: VecDeque<Telling>,
    pub(super) tokens: Tokens,
    pub(super) peers: Peers,
    pub(super) items: Items,
    /// Who is asked when nobody is known. Those of them that are global do not enter the table: all the world asks them.
    routers: Vec<SocketAddr>,
    bootstrap_at: Instant,
    bootstrap_wait: Duration,
    /// Searches that fill the table after a start, once somebody is known.
    spread: VecDeque<NodeId>,
    is_spread: bool,
    upkeep_at: Instant,
    heard: Instant,
}

impl Half {
    pub(super) fn new(v6: bool, id: NodeId, now: Instant, rng: &mut Rng) -> Self {
        Self {
            v6,
            id,
            routing: Routing::new(id, now),
            questions: Questions::default(),
            lookups: Vec::new(),
            lookups_begun: 0,
            checks: VecDeque::new(),
            checked: BTreeSet::new(),
            announces: VecDeque::new(),
            tokens: Tokens::new(rng),
            peers: Peers::new(id),
            items: Items::new(id),
            routers: Vec::new(),
            bootstrap_at: now,
            bootstrap_wait: BOOTSTRAP_FIRST,
            spread: VecDeque::new(),
            is_spread: false,
            upkeep_at: now + UPKEEP,
            heard: now,
        }
    }

    /// Our address is `ip`, as others see it: the name is drawn anew if it does not fit (BEP 42).
    pub(super) fn live_at(&mut self, ip: IpAddr, now: Instant, rng: &mut Rng) {
        if id::is_lawful(&self.id, ip) {
            return;
        }
        self.id = id::draw(Some(ip), rng);
        log::info!("dht: we are seen at {ip} and are called {} now", self.id);
        self.routing.rename(self.id, now);
        self.peers.rename(self.id);
        self.items.rename(self.id);
        self.bootstrap_at = now;
        self.is_spread = false;
    }

    /// Nodes to be asked when nobody is known.
    pub(super) fn routers_are(&mut self, routers: &[SocketAddr], now: Instant) {
        for router in routers.iter().filter(|router| router.is_ipv6() == self.v6) {
            if !self.routers.contains(router) && self.routers.len() < NAMED_MAX {
                self.routers.push(*router);
            }
        }
        if self.routing.len() < BUCKET_NODES {
            self.bootstrap_at = now;
        }
    }

    /// Whether hardly anybody is known.
    pub(super) fn is_thin(&self) -> bool {
        self.routing.len() < BUCKET_NODES
    }

    /// Whether there is anybody to ask.
    pub(super) fn is_ready(&self) -> bool {
        !self.routing.is_empty() || !self.routers.is_empty()
    }

    pub(super) const fn lookups_len(&self) -> usize {
        self.lookups.len()
    }

    pub(super) fn patient_len(&self) -> usize {
        self.lookups.iter().filter(|one| !one.is_urgent()).count()
    }

    // ------------------------------------------------------------------------------------------------------ lookups

    /// Searches for the peers of a torrent. `false` when there is nobody to ask, or no room.
    pub(super) fn search(&mut self, search: Search, now: Instant) -> bool {
        let target = NodeId(search.info_hash.0);
        let same = |one: &Lookup| one.target == target && matches!(one.goal, Goal::Peers(_));
        if !self.is_ready()
            || self.lookups.len() >= LOOKUPS_MAX
            || (!search.urgent && self.patient_len() >= PATIENT_LOOKUPS_MAX)
            || self.lookups.iter().any(same)
        {
            return false;
        }
        self.begin(target, Goal::Peers(search), now);
        true
    }

    fn begin(&mut self, target: NodeId, goal: Goal, now: Instant) {
        self.lookups_begun += 1;
        let mut lookup = Lookup::new(self.lookups_begun, target, goal, now);
        let nodes = self.routing.closest(&target, 2 * BUCKET_NODES);
        let is_thin = nodes.len() < BUCKET_NODES;
        for node in nodes {
            lookup.add(node, true);
        }
        if is_thin {
            for &router in &self.routers {
                lookup.add(
                    Node {
                        id: NodeId::default(),
                        address: router,
                    },
                    false,
                );
            }
        }
        self.lookups.push(lookup);
    }

    /// Nobody wants to know any more who trades in the torrent.
    pub(super) fn give_up(&mut self, target: &NodeId) {
        let is_it = |one: &Lookup| one.target == *target && matches!(one.goal, Goal::Peers(_));
        self.lookups.retain(|lookup| !is_it(lookup));
        self.announces
            .retain(|telling| telling.search.info_hash.0 != target.0);
    }

    /// Ends lookups of which nothing more will come: who was found nearest is told about us.
    fn end_lookups(&mut self, cx: &mut Shared<'_>) {
        let now = cx.now;
        let over: Vec<_> = self
            .lookups
            .extract_if(.., |lookup| lookup.is_over(now))
            .collect();
        for lookup in over {
            let Goal::Peers(search) = lookup.goal else {
                continue;
            };
            let mut told = 0;
            if search.port.is_some() {
                for (node, token) in lookup.keepers() {
                    if self.announces.len() < ANNOUNCES_MAX {
                        self.announces.push_back(Telling {
                            node,
                            token,
                            search,
                        });
                        told += 1;
                    }
                }
            }
            log::debug!(
                "dht: {} peers of torrent {}, {} nodes asked, {told} told",
                lookup.found,
                search.info_hash,
                lookup.asked()
            );
            cx.out.push_back(Step::Over {
                info_hash: search.info_hash,
                found: lookup.found,
                told,
            });
        }
    }

    // ------------------------------------------------------------------------------------------------------ asking

    /// Asks what may be asked now.
    pub(super) fn drive(&mut self, cx: &mut Shared<'_>) {
        self.look_after(cx);
        loop {
            self.end_lookups(cx);
            if self.questions.is_full() || !self.ask_one(cx) {
                return;
            }
        }
    }

    /// Asks one question, of the most urgent kind that there is.
    fn ask_one(&mut self, cx: &mut Shared<'_>) -> bool {
        let now = cx.now;
        for (urgent, reserve) in [(true, 0), (false, RESERVE)] {
            let waits =
                (self.lookups.iter()).position(|one| one.is_urgent() == urgent && one.has_next());
            if let Some(at) = waits {
                if !cx.pace.take(now, reserve) {
                    return false;
                }
                // The next question is another lookup's.
                let mut lookup = self.lookups.remove(at);
                if let Some((node, named)) = lookup.ask_next() {
                    let method = self.method_of(&lookup);
                    let id = named.then_some(node.id);
                    self.ask(cx, node.address, id, Purpose::Lookup(lookup.id), &method);
                }
                self.lookups.push(lookup);
                return true;
            }
            if urgent && !self.announces.is_empty() {
                if !cx.pace.take(now, reserve) {
                    return false;
                }
                let telling = self.announces.pop_front();
                telling.inspect(|telling| self.tell(cx, telling));
                return true;
            }
        }
        if self.checks.is_empty() || !cx.pace.take(now, RESERVE) {
            return false;
        }
        if let Some(node) = self.checks.pop_front() {
            self.checked.remove(&node.address);
            let id = (node.id != NodeId::default()).then_some(node.id);
            self.ask(cx, node.address, id, Purpose::Check, &Method::Ping);
        }
        true
    }

    /// When something can be asked that could not be now.
    fn asks_at(&self, pace: &Allowance) -> Option<Instant> {
        if self.questions.is_full() {
            return None;
        }
        let has =
            |urgent| (self.lookups.iter()).any(|one| one.is_urgent() == urgent && one.has_next());
        if has(true) || !self.announces.is_empty() {
            return Some(pace.next(0));
        }
        (has(false) || !self.checks.is_empty()).then(|| pace.next(RESERVE))
    }

    fn method_of(&self, lookup: &Lookup) -> Method<'static> {
        // Both families only where the other may lack nodes: at a start.
        let want = Want {
            v4: !self.is_spread,
            v6: !self.is_spread,
        };
        match lookup.goal {
            Goal::Nodes => Method::FindNode {
                target: lookup.target,
                want,
            },
            Goal::Peers(search) => Method::GetPeers {
                info_hash: search.info_hash,
                want: Want::default(),
                scrape: false,
                noseed: search.seed,
            },
        }
    }

    fn tell(&mut self, cx: &mut Shared<'_>, telling: &Telling) {
        let search = telling.search;
        let announce = Announce {
            info_hash: search.info_hash,
            port: search.port.unwrap_or(0),
            implied_port: search.implied_port,
            token: telling.token.bytes(),
            seed: search.seed,
        };
        let (to, id) = (telling.node.address, Some(telling.node.id));
        cx.counters.announces += 1;
        self.ask(
            cx,
            to,
            id,
            Purpose::Announce,
            &Method::AnnouncePeer(announce),
        );
    }

    fn ask(
        &mut self,
        cx: &mut Shared<'_>,
        to: SocketAddr,
        id: Option<NodeId>,
        purpose: Purpose,
        method: &Method<'_>,
    ) {
        let transaction = self.questions.ask(to, id, purpose, cx.now, cx.rng);
        let bytes = krpc::encode_query(&transaction, &self.id, cx.read_only, method);
        cx.counters.queries_sent += 1;
        cx.out.push_back(Step::Send { to, bytes });
    }

    /// Somebody may be a node of use: asked whether it is there, if there would be a place for it. Without a name, it is
    /// asked in any case while few are known.
    pub(super) fn suggest(&mut self, address: SocketAddr, id: Option<NodeId>) {
        let node = Node {
            id: id.unwrap_or_default(),
            address,
        };
        let is_wanted = match id {
            Some(_) => self.routing.wants(node),
            None => self.is_thin(),
        };
        if is_wanted
            && address.is_ipv6() == self.v6
            && self.checks.len() < CHECKS_MAX
            && self.checked.insert(address)
        {
            self.checks.push_back(node);
        }
    }

    // ------------------------------------------------------------------------------------------------------ hearing

    /// The question that an answer or a refusal from `from` is to, if we have asked one.
    pub(super) fn question(&mut self, transaction: &[u8], from: SocketAddr) -> Option<Question> {
        self.questions.answered(transaction, from)
    }

    /// A question was answered. The nodes of the other family that were named are given back.
    pub(super) fn on_answer(
        &mut self,
        cx: &mut Shared<'_>,
        question: Question,
        answer: &Answer<'_>,
    ) -> Vec<Node> {
        let from = question.to;
        let node = Node {
            id: answer.id,
            address: from,
        };
        if question.id.is_some_and(|id| id != answer.id) {
            // Not who we were told it is.
            if let Some(id) = question.id {
                self.routing.failed(Node { id, address: from });
            }
        }
        if answer.id == self.id {
            // Ourselves, or who says so: whoever waits for it goes on.
            self.forget(&question);
            return Vec::new();
        }
        let is_router = address::is_global(from.ip()) && self.routers.contains(&from);
        self.heard = cx.now;
        if !is_router {
            self.routing.heard(node, cx.now);
        }
        let is_of_use = |node: &Node| may_name(node.address, from) && node.id != self.id;
        let v4 = compact::nodes(answer.nodes)
            .filter(is_of_use)
            .take(NAMED_MAX);
        let v6 = compact::nodes6(answer.nodes6)
            .filter(is_of_use)
            .take(NAMED_MAX);
        let (named, others): (Vec<_>, Vec<_>) = if self.v6 {
            (v6.collect(), v4.collect())
        } else {
            (v4.collect(), v6.collect())
        };
        let Purpose::Lookup(number) = question.purpose else {
            return others;
        };
        let Some(lookup) = self.lookups.iter_mut().find(|one| one.id == number) else {
            return others;
        };
        lookup.answered(node, answer.token);
        for node in named {
            lookup.add(node, true);
        }
        if let Goal::Peers(search) = lookup.goal {
            let room = FOUND_MAX.saturating_sub(lookup.found).min(VALUES_MAX);
            let peers: Vec<_> = (answer.values.iter().copied())
                .filter(|peer| peer.is_ipv6() == self.v6 && may_name(*peer, from))
                .take(room)
                .collect();
            lookup.found += peers.len();
            if !peers.is_empty() {
                cx.counters.peers_found += peers.len() as u64;
                cx.out.push_back(Step::Found {
                    info_hash: search.info_hash,
                    peers,
                });
            }
        }
        others
    }

    /// A question was refused. Somebody is there, but of no use for this.
    pub(super) fn on_refusal(&mut self, question: &Question, now: Instant) {
        self.heard = now;
        self.forget(question);
    }

    /// Nothing will come of a question.
    fn forget(&mut self, question: &Question) {
        if let Purpose::Lookup(number) = question.purpose
            && let Some(lookup) = self.lookups.iter_mut().find(|one| one.id == number)
        {
            lookup.silent(&node_of(question), true);
        }
    }

    fn on_silence(&mut self, cx: &mut Shared<'_>, silence: Silence) {
        match silence {
            Silence::Late(question) => {
                if let Purpose::Lookup(number) = question.purpose
                    && let Some(lookup) = self.lookups.iter_mut().find(|one| one.id == number)
                {
                    lookup.silent(&node_of(&question), false);
                }
            }
            Silence::Lost(question) => {
                cx.counters.queries_lost += 1;
                self.forget(&question);
                if cx.now.since(self.heard) < DEAF {
                    self.routing.failed(node_of(&question));
                }
            }
        }
    }

    // ------------------------------------------------------------------------------------------------------- upkeep

    /// When [`Self::drive`] is due.
    pub(super) fn next_deadline(&self, pace: &Allowance) -> Instant {
        let asks = self.asks_at(pace).unwrap_or(Instant::FAR);
        let silent = self.questions.next_deadline().unwrap_or(Instant::FAR);
        let bootstrap = if self.is_thin() && self.is_ready() {
            self.bootstrap_at
        } else {
            Instant::FAR
        };
        asks.min(silent).min(bootstrap).min(self.upkeep_at)
    }

    fn look_after(&mut self, cx: &mut Shared<'_>) {
        let now = cx.now;
        while let Some(silence) = self.questions.silent(now) {
            self.on_silence(cx, silence);
        }
        if now >= self.bootstrap_at && self.is_ready() && (self.is_thin() || !self.is_spread) {
            self.bootstrap_at = now + self.bootstrap_wait;
            self.bootstrap_wait = (2 * self.bootstrap_wait).min(BOOTSTRAP_LONGEST);
            let is_own = |one: &Lookup| one.goal == Goal::Nodes && one.target == self.id;
            if !self.lookups.iter().any(is_own) && self.lookups.len() < LOOKUPS_MAX {
                self.begin(self.id, Goal::Nodes, now);
            }
        }
        if now < self.upkeep_at {
            return;
        }
        self.upkeep_at = now + UPKEEP;
        self.peers.sweep(now);
        if self.routing.is_empty() {
            return;
        }
        if !self.is_spread && !self.is_thin() {
            // The neighbours are known; now the rest of the world.
            self.is_spread = true;
            self.bootstrap_wait = BOOTSTRAP_FIRST;
            self.spread = self.routing.thin(cx.rng).into();
            self.spread.truncate(SPREAD_MAX);
        }
        let search = (self.spread.pop_front()).or_else(|| self.routing.search_due(now, cx.rng));
        if let Some(target) = search
            && self.lookups.len() < LOOKUPS_MAX
        {
            self.begin(target, Goal::Nodes, now);
        }
        if let Some(node) = self.routing.stale(now)
            && self.checks.len() < CHECKS_MAX
            && self.checked.insert(node.address)
        {
            self.checks.push_back(node);
        }
    }
}

fn node_of(question: &Question) -> Node {
    Node {
        id: question.id.unwrap_or_default(),
        address: question.to,
    }
}
