//! What others ask us.

use std::net::SocketAddr;

use crate::codec::address;
use crate::codec::krpc::compact::{self, Node};
use crate::codec::krpc::{self, Answer, ErrorCode, Method, NodeId, Samples, Want};
use crate::rng::Rng;
use crate::time::Instant;

use super::Dht;
use super::half::Half;
use super::routing::BUCKET_NODES;

/// What goes into answers for which something must outlive the call that made it.
#[derive(Default)]
struct Parts {
    nodes: Vec<u8>,
    nodes6: Vec<u8>,
    token: Vec<u8>,
}

impl Dht {
    /// Answers a question that reached us over the family of `from`, as far as it may be answered.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        from: SocketAddr,
        transaction: &[u8],
        sender: NodeId,
        read_only: bool,
        method: &Method<'_>,
    ) {
        self.counters.queries_received += 1;
        if !self.sources.admit(from.ip(), now) || !self.served.take(now, 0) {
            self.counters.queries_ignored += 1;
            return;
        }
        if let Method::Put(put) = method
            && put.signed.is_some()
            && !self.signatures.take(now, 0)
        {
            self.counters.queries_ignored += 1;
            return;
        }
        let bytes = match self.answer(now, from, method, transaction) {
            Ok(bytes) => bytes,
            Err(why) => krpc::encode_error(transaction, why),
        };
        self.reply(from, bytes);
        if read_only {
            return;
        }
        let Some(half) = self.half_mut(from) else {
            return;
        };
        let node = Node {
            id: sender,
            address: from,
        };
        half.routing.asked_us(node, now);
        half.suggest(from, Some(sender));
    }

    fn answer(
        &mut self,
        now: Instant,
        from: SocketAddr,
        method: &Method<'_>,
        transaction: &[u8],
    ) -> Result<Vec<u8>, ErrorCode> {
        let near = match *method {
            Method::FindNode { target, want }
            | Method::Get { target, want, .. }
            | Method::SampleInfohashes { target, want } => Some((target, want)),
            Method::GetPeers {
                info_hash, want, ..
            } => Some((NodeId(info_hash.0), want)),
            Method::Ping | Method::AnnouncePeer(_) | Method::Put(_) => None,
        };
        let mut parts = near.map_or_else(Parts::default, |(target, want)| {
            self.nodes_near(from, &target, want)
        });
        let rng = &mut self.rng;
        let half = self.halves[usize::from(from.is_ipv6())]
            .as_mut()
            .ok_or(ErrorCode::Protocol)?;
        if matches!(method, Method::GetPeers { .. } | Method::Get { .. }) {
            parts.token = half.tokens.give(from.ip(), now, rng).to_vec();
        }
        let answer = Answer {
            id: half.id,
            nodes: &parts.nodes,
            nodes6: &parts.nodes6,
            token: &parts.token,
            ..Answer::default()
        };
        let answer = fill(half, rng, now, from, method, answer)?;
        Ok(krpc::encode_answer(transaction, from, &answer))
    }

    /// The nodes nearest to `target` of the families that are wanted: without a wish, of that of `from` (BEP 32).
    fn nodes_near(&self, from: SocketAddr, target: &NodeId, want: Want) -> Parts {
        let none = !want.v4 && !want.v6;
        let wanted = [
            want.v4 || (none && from.is_ipv4()),
            want.v6 || (none && from.is_ipv6()),
        ];
        let [nodes, nodes6] = [0, 1].map(|at| {
            let half = self.halves[at].as_ref().filter(|_| wanted[at]);
            half.map_or_else(Vec::new, |half| {
                let mut nodes = half.routing.closest(target, BUCKET_NODES + 1);
                // Who asks knows itself; and hosts of our own network are nobody else's business.
                nodes.retain(|node| {
                    node.address != from
                        && (address::is_global(node.address.ip()) || !address::is_global(from.ip()))
                });
                nodes.truncate(BUCKET_NODES);
                compact::encode_nodes(&nodes)
            })
        });
        Parts {
            nodes,
            nodes6,
            ..Parts::default()
        }
    }
}

/// What each method adds to an answer.
fn fill<'a>(
    half: &'a mut Half,
    rng: &mut Rng,
    now: Instant,
    from: SocketAddr,
    method: &Method<'_>,
    mut answer: Answer<'a>,
) -> Result<Answer<'a>, ErrorCode> {
    match method {
        Method::Ping | Method::FindNode { .. } => {}
        Method::GetPeers {
            info_hash,
            scrape,
            noseed,
            ..
        } => {
            let torrent = NodeId(info_hash.0);
            answer.values = half.peers.some(torrent, *noseed, now, rng);
            if !address::is_global(from.ip()) {
                // Of one network.
            } else {
                answer.values.retain(|peer| address::is_global(peer.ip()));
            }
            if *scrape {
                answer.filters = Some(half.peers.filters(torrent, now));
            }
        }
        Method::AnnouncePeer(announce) => {
            if !half.tokens.is_known(announce.token, from.ip(), now, rng) {
                return Err(ErrorCode::Protocol);
            }
            let port = if announce.implied_port {
                from.port()
            } else {
                announce.port
            };
            let peer = SocketAddr::new(from.ip(), port);
            let torrent = NodeId(announce.info_hash.0);
            half.peers.announce(torrent, peer, announce.seed, now);
        }
        Method::Get { target, seq, .. } => answer.stored = half.items.get(target, *seq, now),
        Method::Put(put) => {
            if !half.tokens.is_known(put.token, from.ip(), now, rng) {
                return Err(ErrorCode::Protocol);
            }
            half.items.put(put, now)?;
        }
        Method::SampleInfohashes { .. } => {
            let count = u32::try_from(half.peers.len()).unwrap_or(u32::MAX);
            let (hashes, until) = half.peers.sample(now, rng);
            answer.samples = Some(Samples {
                hashes,
                count,
                interval: u32::try_from(until.since(now).as_secs()).unwrap_or(u32::MAX),
            });
        }
    }
    Ok(answer)
}
