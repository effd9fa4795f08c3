//! A tracker that speaks HTTP and UDP (BEP 3, 15, 23), as far as clients notice.

use std::net::{IpAddr, SocketAddr};

use crate::rng::Rng;

/// Peers in one answer.
const PEERS_MAX: usize = 50;

/// The swarm it knows: one torrent is enough here.
#[derive(Debug)]
pub struct Tracker {
    peers: Vec<SocketAddr>,
    /// Seconds until it wants to hear again.
    pub interval: u32,
    /// Answers so far.
    pub announces: u64,
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            interval: 30,
            announces: 0,
        }
    }
}

impl Tracker {
    /// A peer that never announces itself.
    pub fn add(&mut self, peer: SocketAddr) {
        if !self.peers.contains(&peer) {
            self.peers.push(peer);
        }
    }

    /// The body of an answer to `url`, asked from `ip`. `None`: 400.
    pub fn http(&mut self, ip: IpAddr, url: &str, rng: &mut Rng) -> Option<Vec<u8>> {
        let (_, query) = url.split_once('?')?;
        let value = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let port = value("port")?.parse().ok()?;
        let stopped = value("event") == Some("stopped");
        let peers = self.announce(SocketAddr::new(ip, port), stopped, rng);
        let mut body =
            format!("d8:intervali{}e5:peers{}:", self.interval, peers.len()).into_bytes();
        body.extend(peers);
        body.push(b'e');
        Some(body)
    }

    /// The answer to a datagram, if there is one.
    pub fn udp(&mut self, from: SocketAddr, bytes: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        match word(8)? {
            0 => {
                let mut answer = vec![0; 4];
                answer.extend(&bytes[12..16]);
                answer.extend(0x5eed_u64.to_be_bytes());
                Some(answer)
            }
            1 if bytes.len() >= 98 => {
                let port = u16::from_be_bytes([bytes[96], bytes[97]]);
                let peer = SocketAddr::new(from.ip(), port);
                let peers = self.announce(peer, word(80)? == 3, rng);
                let mut answer = 1_u32.to_be_bytes().to_vec();
                answer.extend(&bytes[12..16]);
                for number in [self.interval, 1, 1] {
                    answer.extend(number.to_be_bytes());
                }
                answer.extend(peers);
                Some(answer)
            }
            _ => None,
        }
    }

    /// Notes who asks and answers with others, in the compact form.
    fn announce(&mut self, peer: SocketAddr, stopped: bool, rng: &mut Rng) -> Vec<u8> {
        self.announces += 1;
        self.peers.retain(|other| *other != peer);
        let mut others = self.peers.clone();
        if !stopped {
            self.peers.push(peer);
        }
        rng.shuffle(&mut others);
        others.truncate(PEERS_MAX);
        let mut compact = Vec::new();
        for other in others {
            if let IpAddr::V4(ip) = other.ip() {
                compact.extend(ip.octets());
                compact.extend(other.port().to_be_bytes());
            }
        }
        compact
    }
}
