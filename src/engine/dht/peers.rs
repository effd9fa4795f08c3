//! The peers that others have announced to us: bounded in all and for each torrent, and forgotten when they are old.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::codec::address;
use crate::codec::krpc::NodeId;
use crate::codec::krpc::bloom::Bloom;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// An announce is good for so long: twice the usual pause between two.
pub const EXPIRE: Duration = Duration::from_secs(30 * 60);
/// Torrents of which peers are known; for one more, the one farthest from our name goes. Honest announces come to the nodes
/// nearest to their torrent, so what is far from us is missed least.
pub const TORRENTS_MAX: usize = 4096;
/// Peers of one torrent; for one more, the oldest goes.
pub const PEERS_MAX: usize = 200;
/// Peers of one torrent at one global address; more are not taken.
const SAME_IP_MAX: usize = 4;
/// Peers in an answer, so that it fits a datagram: 8 bytes each of IPv4, 21 of IPv6.
const VALUES_V4: usize = 64;
const VALUES_V6: usize = 32;
/// Torrents in a sample (BEP 51): so many fit an answer, with nodes.
const SAMPLES: usize = 20;
/// A sample stays the same for so long, so that nobody learns more by asking more.
pub const SAMPLE_SPAN: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
struct Peer {
    address: SocketAddr,
    seed: bool,
    at: Instant,
}

/// The peers of many torrents, by the torrent's distance from our name.
#[derive(Clone, Debug)]
pub struct Peers {
    own: NodeId,
    torrents: BTreeMap<NodeId, Vec<Peer>>,
    sample: Vec<u8>,
    sample_until: Instant,
    sweep_at: Instant,
}

impl Peers {
    /// None.
    #[must_use]
    pub const fn new(own: NodeId) -> Self {
        Self {
            own,
            torrents: BTreeMap::new(),
            sample: Vec::new(),
            sample_until: Instant::ZERO,
            sweep_at: Instant::ZERO,
        }
    }

    /// We have another name.
    pub fn rename(&mut self, own: NodeId) {
        let torrents = std::mem::take(&mut self.torrents);
        let place = |key: NodeId| key.distance(&self.own).distance(&own);
        self.torrents = (torrents.into_iter())
            .map(|(key, peers)| (place(key), peers))
            .collect();
        self.own = own;
    }

    /// Torrents of which there are peers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.torrents.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.torrents.is_empty()
    }

    /// Somebody trades in `torrent` at `address`. Says whether that was taken down.
    pub fn announce(
        &mut self,
        torrent: NodeId,
        address: SocketAddr,
        seed: bool,
        now: Instant,
    ) -> bool {
        self.sweep(now);
        let key = torrent.distance(&self.own);
        if !self.torrents.contains_key(&key) && self.torrents.len() >= TORRENTS_MAX {
            let farthest = self.torrents.last_key_value().map(|(key, _)| *key);
            let Some(farthest) = farthest.filter(|farthest| key < *farthest) else {
                return false;
            };
            self.torrents.remove(&farthest);
        }
        let peers = self.torrents.entry(key).or_default();
        let peer = Peer {
            address,
            seed,
            at: now,
        };
        peers.retain(|other| other.address != address);
        let same = peers
            .iter()
            .filter(|other| other.address.ip() == address.ip());
        if address::is_global(address.ip()) && same.count() >= SAME_IP_MAX {
            return false;
        }
        if peers.len() >= PEERS_MAX {
            peers.remove(0);
        }
        peers.push(peer);
        true
    }

    /// Some peers of `torrent`, others each time.
    #[must_use]
    pub fn some(
        &self,
        torrent: NodeId,
        noseed: bool,
        now: Instant,
        rng: &mut Rng,
    ) -> Vec<SocketAddr> {
        let Some(peers) = self.torrents.get(&torrent.distance(&self.own)) else {
            return Vec::new();
        };
        let from = rng.index(peers.len());
        let (behind, before) = peers.split_at(from);
        let most = match peers.first() {
            Some(peer) if peer.address.is_ipv6() => VALUES_V6,
            _ => VALUES_V4,
        };
        (before.iter().chain(behind))
            .filter(|peer| now.since(peer.at) < EXPIRE && !(noseed && peer.seed))
            .take(most)
            .map(|peer| peer.address)
            .collect()
    }

    /// Filters of the seeds and of the others (BEP 33).
    #[must_use]
    pub fn filters(&self, torrent: NodeId, now: Instant) -> (Bloom, Bloom) {
        let mut filters = (Bloom::default(), Bloom::default());
        for peer in self
            .torrents
            .get(&torrent.distance(&self.own))
            .into_iter()
            .flatten()
        {
            if now.since(peer.at) < EXPIRE {
                let filter = if peer.seed {
                    &mut filters.0
                } else {
                    &mut filters.1
                };
                filter.insert(peer.address.ip());
            }
        }
        filters
    }

    /// Some torrents, 20 bytes each, and when there are others (BEP 51).
    pub fn sample(&mut self, now: Instant, rng: &mut Rng) -> (&[u8], Instant) {
        if now >= self.sample_until {
            self.sweep(now);
            let step = (self.torrents.len() / SAMPLES).max(1);
            let own = self.own;
            let keys = self.torrents.keys().skip(rng.index(step)).step_by(step);
            let hashes = keys.take(SAMPLES).map(|key| key.distance(&own).0);
            self.sample = hashes.flatten().collect();
            self.sample_until = now + SAMPLE_SPAN;
        }
        (&self.sample, self.sample_until)
    }

    /// Forgets who is old, now and then.
    pub fn sweep(&mut self, now: Instant) {
        const EVERY: Duration = Duration::from_secs(60);
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + EVERY;
        self.torrents.retain(|_, peers| {
            peers.retain(|peer| now.since(peer.at) < EXPIRE);
            !peers.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::from(0x0800_0000 + n).into(), 6881)
    }

    fn torrent(n: u32) -> NodeId {
        let mut id = NodeId::default();
        id.0[..4].copy_from_slice(&n.to_be_bytes());
        id
    }

    #[test]
    fn peers_are_told_until_they_are_old() {
        let mut rng = Rng::new(1);
        let mut peers = Peers::new(torrent(9));
        let now = Instant::ZERO;
        assert!(peers.announce(torrent(1), at(1), false, now));
        assert!(peers.announce(torrent(1), at(2), true, now));
        assert!(
            peers.announce(torrent(1), at(1), false, now),
            "again, not twice"
        );
        let count = |peers: &Peers, noseed, now| {
            let mut rng = Rng::new(2);
            peers.some(torrent(1), noseed, now, &mut rng).len()
        };
        assert_eq!(count(&peers, false, now), 2);
        assert_eq!(count(&peers, true, now), 1);
        let (seeds, others) = peers.filters(torrent(1), now);
        assert_eq!((seeds.ones(), others.ones()), (2, 2));
        peers.rename(torrent(77));
        assert_eq!(count(&peers, false, now), 2, "under another name");
        assert_eq!(peers.sample(now, &mut rng).0, torrent(1).0);
        assert_eq!(count(&peers, false, now + EXPIRE), 0);
        peers.sweep(now + EXPIRE);
        assert!(peers.is_empty());
    }

    #[test]
    fn everything_is_bounded() {
        let mut rng = Rng::new(1);
        let mut peers = Peers::new(NodeId::default());
        let now = Instant::ZERO;
        for n in 0..1000 {
            peers.announce(torrent(3), at(n), false, now);
        }
        let told = peers.some(torrent(3), false, now, &mut rng);
        assert_eq!(told.len(), VALUES_V4);
        assert_eq!(
            peers.torrents.values().map(Vec::len).sum::<usize>(),
            PEERS_MAX
        );
        for port in 1..100 {
            peers.announce(torrent(4), SocketAddr::new(at(1).ip(), port), false, now);
        }
        assert_eq!(
            peers.some(torrent(4), false, now, &mut rng).len(),
            SAME_IP_MAX
        );
        // Far ones make way for near ones, not the other way round.
        let many = u32::try_from(TORRENTS_MAX).unwrap();
        for n in (100..2 * many).rev() {
            peers.announce(torrent(n), at(1), false, now);
        }
        assert_eq!(peers.len(), TORRENTS_MAX);
        assert!(!peers.announce(torrent(u32::MAX), at(1), false, now));
        assert_eq!(peers.some(torrent(100), false, now, &mut rng).len(), 1);
        assert_eq!(peers.sample(now, &mut rng).0.len(), 20 * SAMPLES);
    }
}
