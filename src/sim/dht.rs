//! A network of DHT nodes alone, a thousand of them: no engine around them, no streams, no files. Nodes come and go, datagrams
//! are late or lost, and liars answer what they like.
//!
//! Every node is the real [`Dht`]. All chance follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use crate::codec::krpc::compact::{self, Node};
use crate::codec::krpc::{self, Answer, Body, NodeId};
use crate::engine::dht::{Dht, Remembered, Search, Step};
use crate::ids::InfoHash;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Longest way of a datagram.
const LATENCY_MICROS_MAX: u64 = 80_000;

/// Who is at an address.
#[derive(Debug)]
enum Resident {
    /// A node as it should be.
    Honest(Box<Dht>),
    /// One that was switched off.
    Gone,
    /// One that stands right beside a place, whatever its address, and names nobody but its kind.
    Liar(NodeId),
}

/// What somebody has found.
#[derive(Clone, Debug, Default)]
pub struct Finds {
    /// Peers, each once.
    pub peers: BTreeSet<SocketAddr>,
    /// Searches that are over.
    pub over: usize,
    /// Nodes that were told.
    pub told: usize,
}

/// All nodes, and the datagrams between them.
#[derive(Debug)]
pub struct Network {
    now: Instant,
    rng: Rng,
    residents: Vec<Resident>,
    addresses: Vec<SocketAddr>,
    at: BTreeMap<SocketAddr, usize>,
    deadlines: BTreeSet<(Instant, usize)>,
    deadline_of: Vec<Instant>,
    under_way: BTreeMap<(Instant, u64), (SocketAddr, usize, Vec<u8>)>,
    sent: u64,
    /// One datagram in so many is lost; 0 is none.
    pub loss: u64,
    finds: BTreeMap<(usize, InfoHash), Finds>,
    liars: Vec<Node>,
    /// What liars say who trades in anything.
    pub lie: SocketAddr,
    /// Announces that liars were sent.
    pub lied_to: usize,
}

impl Network {
    /// Nobody there.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant::ZERO,
            rng: Rng::new(seed),
            residents: Vec::new(),
            addresses: Vec::new(),
            at: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            deadline_of: Vec::new(),
            under_way: BTreeMap::new(),
            sent: 0,
            loss: 0,
            finds: BTreeMap::new(),
            liars: Vec::new(),
            lie: SocketAddr::new(Ipv4Addr::new(66, 6, 6, 6).into(), 6),
            lied_to: 0,
        }
    }

    fn settle(&mut self, address: SocketAddr, resident: Resident) -> usize {
        let index = self.residents.len();
        self.residents.push(resident);
        self.addresses.push(address);
        self.at.insert(address, index);
        self.deadline_of.push(Instant::FAR);
        index
    }

    /// A node with a network and a lawful name of its own, that begins with the node `router`.
    pub fn join(&mut self, router: Option<usize>) -> usize {
        let number = u32::try_from(self.residents.len()).expect("a network is small");
        let [_, a, b, c] = number.to_be_bytes();
        let address = SocketAddr::new(Ipv4Addr::new(20 + a, b, c, 1).into(), 6881);
        let mut dht = Dht::new(false, self.rng.fork());
        dht.join(self.now, false, None, Some(address.ip()));
        if let Some(router) = router {
            dht.routers_are(self.now, &[self.addresses[router]]);
        }
        let index = self.settle(address, Resident::Honest(Box::new(dht)));
        self.turn(index);
        index
    }

    /// So many liars in so many networks, all beside `place`.
    pub fn surround(&mut self, place: NodeId, count: u32, networks: u32) {
        for n in 0..count {
            let [.., b, c] = (n % networks).to_be_bytes();
            let host = u8::try_from(n / networks + 1).expect("few a network");
            let address = SocketAddr::new(Ipv4Addr::new(90, b, c, host).into(), 6881);
            let mut id = place;
            id.0[16..].copy_from_slice(&self.rng.next_u32().to_be_bytes());
            self.liars.push(Node { id, address });
            self.settle(address, Resident::Liar(id));
        }
    }

    /// The node is switched off.
    pub fn leave(&mut self, index: usize) {
        self.residents[index] = Resident::Gone;
        self.deadlines.remove(&(self.deadline_of[index], index));
    }

    /// What a node would remember; nothing of one that is gone.
    #[must_use]
    pub fn remember(&self, index: usize) -> Option<Remembered> {
        match &self.residents[index] {
            Resident::Honest(dht) => dht.remember(false),
            Resident::Gone | Resident::Liar(_) => None,
        }
    }

    /// How many nodes a node knows, and whether its table is what it should be.
    #[must_use]
    pub fn known(&self, index: usize) -> usize {
        match &self.residents[index] {
            Resident::Honest(dht) => {
                dht.check();
                dht.nodes_len()[0]
            }
            Resident::Gone | Resident::Liar(_) => 0,
        }
    }

    /// Of those how many are liars.
    #[must_use]
    pub fn liars_known(&self, index: usize) -> usize {
        let remembered = self.remember(index).unwrap_or_default();
        let is_liar = |node: &&Node| self.liars.contains(node);
        remembered.nodes.iter().filter(is_liar).count()
    }

    /// Whether a node is there.
    #[must_use]
    pub fn is_on(&self, index: usize) -> bool {
        matches!(self.residents[index], Resident::Honest(_))
    }

    /// A node searches for a torrent, and says that it trades in it too when it has a `port`.
    pub fn search(&mut self, index: usize, info_hash: InfoHash, port: Option<u16>) {
        let now = self.now;
        if let Resident::Honest(dht) = &mut self.residents[index] {
            let search = Search {
                info_hash,
                port,
                implied_port: false,
                seed: false,
                urgent: true,
            };
            dht.search(now, search);
        }
        self.turn(index);
    }

    /// What a node has found of a torrent.
    #[must_use]
    pub fn found(&self, index: usize, info_hash: InfoHash) -> Finds {
        self.finds
            .get(&(index, info_hash))
            .cloned()
            .unwrap_or_default()
    }

    /// Where a node is.
    #[must_use]
    pub fn address(&self, index: usize) -> SocketAddr {
        self.addresses[index]
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let arrival = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.deadlines.first().map(|(at, _)| *at);
            let arrival = arrival.unwrap_or(Instant::FAR);
            let deadline = deadline.unwrap_or(Instant::FAR);
            let next = arrival.min(deadline);
            if next > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(next);
            if arrival <= deadline {
                if let Some((_, (from, to, bytes))) = self.under_way.pop_first() {
                    self.deliver(from, to, &bytes);
                }
            } else if let Some((_, index)) = self.deadlines.first().copied() {
                self.turn(index);
            }
        }
    }

    fn deliver(&mut self, from: SocketAddr, to: usize, bytes: &[u8]) {
        match &mut self.residents[to] {
            Resident::Honest(dht) => {
                dht.on_datagram(self.now, from, bytes);
                self.turn(to);
            }
            Resident::Gone => {}
            Resident::Liar(id) => {
                let id = *id;
                self.answer_falsely(id, from, to, bytes);
            }
        }
    }

    fn answer_falsely(&mut self, id: NodeId, from: SocketAddr, to: usize, bytes: &[u8]) {
        let Ok(message) = krpc::decode(bytes) else {
            return;
        };
        let Body::Query { method, .. } = &message.body else {
            return;
        };
        self.lied_to += usize::from(matches!(method, krpc::Method::AnnouncePeer(_)));
        let start = self.rng.index(self.liars.len().saturating_sub(8));
        let nodes = compact::encode_nodes(&self.liars[start..self.liars.len().min(start + 8)]);
        let answer = Answer {
            id,
            nodes: &nodes,
            values: vec![self.lie; 50],
            token: b"trust me",
            ..Answer::default()
        };
        // It also says that the asker is where the lie is.
        let answer = krpc::encode_answer(message.transaction, self.lie, &answer);
        self.send(to, from, answer);
        // And forges an answer of somebody else's, with a guess at the transaction.
        let victim = self.rng.index(self.addresses.len());
        let forged = krpc::encode_answer(
            &[0, 0, 0, 1],
            from,
            &Answer {
                id,
                ..Answer::default()
            },
        );
        self.send(victim, from, forged);
    }

    /// A node does what is due; what it sends is on its way.
    fn turn(&mut self, index: usize) {
        let now = self.now;
        let Resident::Honest(dht) = &mut self.residents[index] else {
            return;
        };
        dht.on_time(now);
        let steps: Vec<_> = std::iter::from_fn(|| dht.poll()).collect();
        let deadline = dht.next_deadline().unwrap_or(Instant::FAR);
        // A deadline that is over already would stop the clock.
        let deadline = deadline.max(now + Duration::from_micros(100));
        self.deadlines.remove(&(self.deadline_of[index], index));
        self.deadlines.insert((deadline, index));
        self.deadline_of[index] = deadline;
        for step in steps {
            match step {
                Step::Send { to, bytes } => self.send(index, to, bytes),
                Step::Found { info_hash, peers } => {
                    let finds = self.finds.entry((index, info_hash)).or_default();
                    finds.peers.extend(peers);
                }
                Step::Over {
                    info_hash, told, ..
                } => {
                    let finds = self.finds.entry((index, info_hash)).or_default();
                    finds.over += 1;
                    finds.told += told;
                }
                Step::Seen { .. } => {}
            }
        }
    }

    fn send(&mut self, from: usize, to: SocketAddr, bytes: Vec<u8>) {
        let Some(&to) = self.at.get(&to) else {
            return;
        };
        if self.loss > 0 && self.rng.chance(1, self.loss) {
            return;
        }
        let delay = Duration::from_micros(1000 + self.rng.below(LATENCY_MICROS_MAX));
        self.sent += 1;
        let key = (self.now + delay, self.sent);
        self.under_way
            .insert(key, (self.addresses[from], to, bytes));
    }

    /// Datagrams sent so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }
}

#[cfg(test)]
mod tests;
