//! The nodes we know: a bucket for each length of the prefix they share with us, the last one for all that share more. Only
//! the last bucket, ours, is ever split (BEP 5).
//!
//! A node enters when it has answered us, never because somebody names it. Against those who would fill the table with
//! their own nodes: an IP address has one place in the whole table, a network ([`network_of`]) one in a bucket and
//! [`NETWORK_NODES`] in all, and a node with a lawful name ([`super::id`]) goes before one without. Addresses that are not
//! global (a network of our own) are exempt.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::codec::address;
use crate::codec::krpc::NodeId;
use crate::codec::krpc::compact::Node;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

use super::id;

/// Nodes of a bucket, and of most answers (BEP 5 calls it k).
pub const BUCKET_NODES: usize = 8;
/// Nodes that wait for a place in a bucket. When there are more, the one that was heard longest ago goes.
pub const SPARE_NODES: usize = 8;
/// Nodes of one network in the whole table; more are not taken.
pub const NETWORK_NODES: usize = 3;
/// A node that was silent for so long is asked whether it is there, and a bucket in which nothing changed is searched.
pub const FRESH: Duration = Duration::from_secs(15 * 60);
/// Questions in a row without an answer after which another takes the node's place.
const FAILURES_BAD: u8 = 2;
/// After so many it goes, even if nobody takes its place.
const FAILURES_MAX: u8 = 6;
/// A silent node is asked again no sooner.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A node that has answered.
#[derive(Clone, Copy, Debug)]
struct Entry {
    node: Node,
    /// When it last answered, or asked.
    heard: Instant,
    /// When upkeep last asked it.
    asked: Instant,
    failures: u8,
    lawful: bool,
}

impl Entry {
    const fn is_bad(&self) -> bool {
        self.failures >= FAILURES_BAD
    }
}

#[derive(Clone, Debug)]
struct Bucket {
    nodes: Vec<Entry>,
    /// Have answered too, in the order of hearing.
    spare: Vec<Entry>,
    /// When a node last entered, or it was last searched.
    changed: Instant,
}

impl Bucket {
    const fn new(now: Instant) -> Self {
        Self {
            nodes: Vec::new(),
            spare: Vec::new(),
            changed: now,
        }
    }
}

/// The routing table of one family.
#[derive(Clone, Debug)]
pub struct Routing {
    own: NodeId,
    buckets: Vec<Bucket>,
}

impl Routing {
    /// Nobody known to the node `own`.
    #[must_use]
    pub fn new(own: NodeId, now: Instant) -> Self {
        Self {
            own,
            buckets: vec![Bucket::new(now)],
        }
    }

    /// The node has another name from now on: all are sorted anew.
    pub fn rename(&mut self, own: NodeId, now: Instant) {
        let old = std::mem::replace(self, Self::new(own, now));
        for bucket in old.buckets {
            for entry in bucket.nodes.into_iter().chain(bucket.spare) {
                self.enter(entry, now);
            }
        }
    }

    /// How many nodes there are, those that wait for a place not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.nodes.len()).sum()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All nodes, by bucket.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        self.entries().map(|entry| entry.node)
    }

    /// Nodes that do not owe us an answer.
    #[must_use]
    pub fn good_len(&self) -> usize {
        self.entries().filter(|entry| entry.failures == 0).count()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> + '_ {
        self.buckets.iter().flat_map(|bucket| &bucket.nodes)
    }

    fn bucket_of(&self, id: &NodeId) -> usize {
        self.own.shared_bits(id).min(self.buckets.len() - 1)
    }

    /// `node` has answered us. Says whether it is in the table now.
    pub fn heard(&mut self, node: Node, now: Instant) -> bool {
        self.enter(
            Entry {
                node,
                heard: now,
                asked: now,
                failures: 0,
                lawful: id::is_lawful(&node.id, node.address.ip()),
            },
            now,
        )
    }

    /// `node` has asked us something: if it has answered before, it is known to be there (BEP 5).
    pub fn asked_us(&mut self, node: Node, now: Instant) {
        let at = self.bucket_of(&node.id);
        let entry = self.buckets[at]
            .nodes
            .iter_mut()
            .find(|entry| entry.node == node);
        if let Some(entry) = entry.filter(|entry| entry.failures == 0) {
            entry.heard = now;
        }
    }

    /// Whether there would be a place for `node` if it answered: then it is worth a question.
    #[must_use]
    pub fn wants(&self, node: Node) -> bool {
        if node.id == self.own || self.is_known(node) || !self.fits(node, None) {
            return false;
        }
        let at = self.bucket_of(&node.id);
        let bucket = &self.buckets[at];
        let is_ours = at + 1 == self.buckets.len();
        let lawful = id::is_lawful(&node.id, node.address.ip());
        bucket.nodes.len() < BUCKET_NODES
            || is_ours
            || (bucket.nodes.iter()).any(|entry| entry.is_bad() || (lawful && !entry.lawful))
    }

    fn is_known(&self, node: Node) -> bool {
        let bucket = &self.buckets[self.bucket_of(&node.id)];
        bucket.nodes.iter().any(|entry| entry.node.id == node.id)
    }

    /// Whether the address has a place left, in bucket `at` when it is known. Other entries of the same name do not count.
    fn fits(&self, node: Node, at: Option<usize>) -> bool {
        let ip = node.address.ip();
        if !address::is_global(ip) {
            return self
                .entries()
                .all(|entry| entry.node.address != node.address || entry.node.id == node.id);
        }
        let at = at.unwrap_or_else(|| self.bucket_of(&node.id));
        let network = network_of(ip);
        let mut of_network = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            for entry in &bucket.nodes {
                let other = entry.node.address.ip();
                if entry.node.id == node.id || network_of(other) != network {
                    continue;
                }
                of_network += 1;
                if other == ip || index == at || of_network >= NETWORK_NODES {
                    return false;
                }
            }
        }
        true
    }

    fn enter(&mut self, entry: Entry, now: Instant) -> bool {
        let node = entry.node;
        if node.id == self.own {
            return false;
        }
        loop {
            let at = self.bucket_of(&node.id);
            let (is_ours, may_split) = (at + 1 == self.buckets.len(), self.buckets.len() < 160);
            let bucket = &mut self.buckets[at];
            if let Some(known) = (bucket.nodes.iter_mut()).find(|known| known.node.id == node.id) {
                // Another address must not take over the name of a node that is there.
                if known.node.address == node.address || known.is_bad() {
                    *known = entry;
                    return true;
                }
                return false;
            }
            if !self.fits(node, Some(at)) {
                return false;
            }
            let bucket = &mut self.buckets[at];
            bucket.spare.retain(|spare| spare.node.id != node.id);
            if bucket.nodes.len() < BUCKET_NODES {
                bucket.nodes.push(entry);
                bucket.changed = now;
                return true;
            }
            let replaceable = bucket
                .nodes
                .iter()
                .position(|old| old.is_bad())
                .or_else(|| (bucket.nodes.iter()).position(|old| entry.lawful && !old.lawful));
            if let Some(old) = replaceable {
                bucket.nodes[old] = entry;
                bucket.changed = now;
                return true;
            }
            if is_ours && may_split {
                self.split(now);
                continue;
            }
            if bucket.spare.len() == SPARE_NODES {
                bucket.spare.remove(0);
            }
            bucket.spare.push(entry);
            return false;
        }
    }

    /// Our bucket becomes two.
    fn split(&mut self, now: Instant) {
        let bits = self.buckets.len() - 1;
        let ours = self.buckets.last_mut().expect("there is always one");
        let mut nearer = Bucket::new(now);
        let own = self.own;
        let is_nearer = |entry: &mut Entry| own.shared_bits(&entry.node.id) > bits;
        nearer.nodes = ours.nodes.extract_if(.., is_nearer).collect();
        nearer.spare = ours.spare.extract_if(.., is_nearer).collect();
        self.buckets.push(nearer);
    }

    /// `node` did not answer.
    pub fn failed(&mut self, node: Node) {
        let at = self.bucket_of(&node.id);
        let bucket = &mut self.buckets[at];
        bucket.spare.retain(|entry| entry.node != node);
        let Some(index) = bucket.nodes.iter().position(|entry| entry.node == node) else {
            return;
        };
        let entry = &mut bucket.nodes[index];
        entry.failures = entry.failures.saturating_add(1);
        let (is_bad, is_over) = (entry.is_bad(), entry.failures >= FAILURES_MAX);
        if !is_bad {
            return;
        }
        let gone = bucket.nodes.remove(index);
        while let Some(spare) = self.buckets[at].spare.pop() {
            if self.fits(spare.node, Some(at)) {
                self.buckets[at].nodes.push(spare);
                return;
            }
        }
        if !is_over {
            self.buckets[at].nodes.insert(index, gone);
        }
    }

    /// The nodes nearest to `target`, nearest first, without those that are gone as far as we know.
    #[must_use]
    pub fn closest(&self, target: &NodeId, count: usize) -> Vec<Node> {
        let good = self.entries().filter(|entry| !entry.is_bad());
        let mut nodes: Vec<_> = good
            .map(|entry| (target.distance(&entry.node.id), entry.node))
            .collect();
        if nodes.len() > count {
            nodes.select_nth_unstable(count);
            nodes.truncate(count);
        }
        nodes.sort_unstable();
        nodes.into_iter().map(|(_, node)| node).collect()
    }

    /// The node that was silent longest, if it was for too long; it is marked as asked.
    pub fn stale(&mut self, now: Instant) -> Option<Node> {
        let is_stale = |entry: &&mut Entry| {
            let silent = entry.failures > 0 || now.since(entry.heard) >= FRESH;
            silent && now.since(entry.asked) >= ASK_AGAIN
        };
        let entries = self.buckets.iter_mut().flat_map(|bucket| &mut bucket.nodes);
        let entry = entries.filter(is_stale).min_by_key(|entry| entry.asked)?;
        entry.asked = now;
        Some(entry.node)
    }

    /// A place in a bucket that did not change for long; the bucket is marked as searched.
    pub fn search_due(&mut self, now: Instant, rng: &mut Rng) -> Option<NodeId> {
        let all = self.buckets.len();
        let (at, bucket) = (self.buckets.iter_mut().enumerate())
            .filter(|(_, bucket)| now.since(bucket.changed) >= FRESH)
            .min_by_key(|(_, bucket)| bucket.changed)?;
        bucket.changed = now;
        Some(self.place_in(at, at + 1 == all, rng))
    }

    /// Buckets that have room, to be searched once after a start.
    #[must_use]
    pub fn thin(&self, rng: &mut Rng) -> Vec<NodeId> {
        let all = self.buckets.len();
        (0..all)
            .filter(|&at| self.buckets[at].nodes.len() < BUCKET_NODES)
            .map(|at| self.place_in(at, at + 1 == all, rng))
            .collect()
    }

    fn place_in(&self, at: usize, is_ours: bool, rng: &mut Rng) -> NodeId {
        let mut place = NodeId::default();
        rng.fill(&mut place.0);
        for bit in 0..=at.min(159) {
            let mask = 0x80 >> (bit % 8);
            let own = self.own.0[bit / 8] & mask;
            // All but the last bucket differ from us in their next bit.
            let want = if bit == at && !is_ours {
                own ^ mask
            } else {
                own
            };
            place.0[bit / 8] = place.0[bit / 8] & !mask | want;
        }
        place
    }

    /// Panics where the table is not what its doc says.
    pub fn check(&self) {
        assert!(self.buckets.len() <= 160);
        for (at, bucket) in self.buckets.iter().enumerate() {
            assert!(bucket.nodes.len() <= BUCKET_NODES && bucket.spare.len() <= SPARE_NODES);
            for entry in &bucket.nodes {
                assert_eq!(
                    self.bucket_of(&entry.node.id),
                    at,
                    "a node is in its bucket"
                );
            }
        }
        let mut ips: Vec<_> = self.nodes().map(|node| node.address.ip()).collect();
        ips.retain(|ip| address::is_global(*ip));
        ips.sort_unstable();
        assert!(
            ips.windows(2).all(|pair| pair[0] != pair[1]),
            "an address has one place"
        );
    }
}

/// The network of an address, in the hands of one owner more often than not: 24 bits of IPv4, 48 of IPv6.
#[must_use]
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

/// Whether a datagram may be sent to `address` because `by` named it: global addresses always, others only when the one
/// who names them is not global either. Else a stranger could aim us at our own network.
#[must_use]
pub fn may_name(address: SocketAddr, by: SocketAddr) -> bool {
    address::dialable(address) && (address::is_global(address.ip()) || !address::is_global(by.ip()))
}

#[cfg(test)]
mod tests;
