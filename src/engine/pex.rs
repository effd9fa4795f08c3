//! Peer exchange (BEP 11): a swarm keeps itself together without asking anybody outside.
//!
//! Each session keeps a log of who came and who went, moved on when the choker makes its round; a peer is told what happened
//! since it was last told, once a minute, and soon after it comes a part of who is there. So a peer costs us a place in the log, however
//! many others there are. It goes on while seeding.
//!
//! What we hear are candidates like those of a tracker, within more bounds, since any stranger may say anything: a message a
//! [`HEAR_EVERY`] after the first few, [`NAMES_MAX`] addresses of one stream, half of the room for candidates and never the
//! place of another, no address in a private network but from a peer in one. Beyond a bound it is ignored. Private torrents
//! neither say nor hear (BEP 27).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::codec::address;
use crate::codec::pex::{PEX_PEERS_MAX, Pex, PexFlags};
use crate::codec::wire::Message;
use crate::ids::{SessionId, StreamId, SwarmId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

use super::Engine;
use super::extended::Extension;
use super::session::receive::send;
use super::settings::CANDIDATES_MAX;
use super::table::Source;
use super::table::peer::{Peer, PeerHas};
use super::table::stream::Stream;

/// A peer is told so often at most.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Who has just come is told of others after so long: by then those who came with it are known too.
pub const FIRST_TOLD_AFTER: Duration = Duration::from_secs(1);
/// Changes that a session remembers: whoever was told less than that ago hears all of them, others miss the oldest.
const LOG_MAX: usize = 1024;
/// A peer is heard so often at most, ...
const HEAR_EVERY: Duration = Duration::from_secs(30);
/// ... but for so many messages in a row: some send what they have in parts at first.
const HEAR_BURST: u32 = 3;
/// Addresses that one stream may name. A peer that stays for hours has named those that matter long before.
const NAMES_MAX: u16 = 1000;
/// Addresses of a swarm beyond which no more come from peers: trackers know better.
const BELONGING_MAX: usize = CANDIDATES_MAX / 2;

/// Who came to a session and who went.
#[derive(Debug, Default)]
pub struct PexLog {
    /// Who is there, as others may know.
    there: BTreeMap<SocketAddr, PexFlags>,
    changes: VecDeque<(SocketAddr, Option<PexFlags>)>,
    /// The number of the first change that is remembered.
    first: u64,
}

impl PexLog {
    /// These are there now.
    fn note(&mut self, now_there: BTreeMap<SocketAddr, PexFlags>) {
        let gone = self
            .there
            .keys()
            .filter(|peer| !now_there.contains_key(peer));
        let gone = gone.map(|peer| (*peer, None));
        let came = now_there
            .iter()
            .filter(|(peer, _)| !self.there.contains_key(peer));
        let came = came.map(|(peer, flags)| (*peer, Some(*flags)));
        self.changes.extend(gone.chain(came));
        while self.changes.len() > LOG_MAX {
            self.changes.pop_front();
            self.first += 1;
        }
        self.there = now_there;
    }

    fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// What whoever was told up to `told` (`None` when nothing yet) is told next, of those that `may` know, and up to where.
    fn news(
        &self,
        told: Option<u64>,
        may: impl Fn(SocketAddr) -> bool,
        rng: &mut Rng,
    ) -> (Pex, u64) {
        let Some(told) = told else {
            // Not the same to everybody, so that the swarm does not crowd around a few.
            let all = self.there.iter().filter(|(peer, _)| may(**peer));
            let all: Vec<_> = all.map(|(peer, flags)| (*peer, *flags)).collect();
            let skip = if all.len() > PEX_PEERS_MAX {
                rng.index(all.len())
            } else {
                0
            };
            let some = all
                .iter()
                .cycle()
                .skip(skip)
                .take(all.len().min(PEX_PEERS_MAX));
            let pex = Pex {
                added: some.copied().collect(),
                dropped: Vec::new(),
            };
            return (pex, self.end());
        };
        let from = told.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        // The last word counts; who came and went meanwhile is named as gone, which harms nobody.
        let mut net: BTreeMap<SocketAddr, Option<PexFlags>> = BTreeMap::new();
        let (mut added, mut dropped, mut next) = (0, 0, from);
        for (peer, change) in self.changes.iter().skip(skip) {
            if may(*peer) {
                let before = net.insert(*peer, *change);
                match before {
                    Some(Some(_)) => added -= 1,
                    Some(None) => dropped -= 1,
                    None => {}
                }
                match change {
                    Some(_) => added += 1,
                    None => dropped += 1,
                }
            }
            next += 1;
            if added == PEX_PEERS_MAX || dropped == PEX_PEERS_MAX {
                break;
            }
        }
        let mut pex = Pex::default();
        for (peer, change) in net {
            match change {
                Some(flags) => pex.added.push((peer, flags)),
                None => pex.dropped.push(peer),
            }
        }
        (pex, next)
    }
}

/// How a peer stands with the exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct PexPeer {
    /// Up to which change it was told; `None` when nothing yet.
    told: Option<u64>,
    /// It may be told again from then on.
    tell_at: Instant,
    /// By then all that it has said would have been said in the measure that we hear.
    heard_until: Instant,
    /// Addresses that it has named.
    named: u16,
}

impl PexPeer {
    /// What a message of the peer names that is worth a look: nothing when it says too much.
    pub fn hear(&mut self, payload: &[u8], now: Instant) -> Vec<(SocketAddr, PexFlags)> {
        if self.heard_until > now + HEAR_EVERY * (HEAR_BURST - 1) {
            return Vec::new();
        }
        self.heard_until = self.heard_until.max(now) + HEAR_EVERY;
        let mut added = Pex::decode(payload).unwrap_or_default().added;
        added.truncate(usize::from(NAMES_MAX - self.named));
        self.named += u16::try_from(added.len()).unwrap_or(0);
        added
    }
}

/// Where others reach the peer, if that is known.
fn reached_at(stream: &Stream, peer: &Peer) -> Option<SocketAddr> {
    if stream.outgoing {
        Some(stream.address)
    } else {
        peer.listens
    }
}

fn flags_of(stream: &Stream, peer: &Peer) -> PexFlags {
    let mut flags = PexFlags::default();
    if matches!(peer.has, PeerHas::All) || peer.theirs.upload_only {
        flags = flags.and(PexFlags::SEED);
    }
    if stream.outgoing {
        flags = flags.and(PexFlags::REACHABLE);
    }
    flags
}

impl Engine {
    /// Whether a torrent's peers are exchanged.
    pub(super) fn is_exchanged(&self, private: bool) -> bool {
        self.shared.settings.config.discovery.pex && !private
    }

    /// Tells the peers of a session whom else we have met, each in its turn.
    pub(super) fn pex_round(&mut self, id: SessionId) {
        let now = self.shared.now;
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let Some(swarm) = self.table.swarms.get(session.swarm) else {
            return;
        };
        let takes = |id: &&StreamId| {
            let peer = self.table.streams.get(**id).and_then(Stream::peer);
            peer.is_some_and(|peer| peer.theirs.id_of(Extension::Pex).is_some())
        };
        let due = |id: &&StreamId| {
            let peer = self.table.streams.get(**id).and_then(Stream::peer);
            takes(id) && peer.is_some_and(|peer| peer.pex.tell_at <= now)
        };
        if !self.is_exchanged(session.brief.private) || !swarm.streams.iter().any(|id| takes(&id)) {
            return;
        }
        let due: Vec<StreamId> = swarm.streams.iter().filter(due).copied().collect();
        let there = swarm.streams.iter().filter_map(|id| {
            let stream = self.table.streams.get(*id)?;
            let peer = stream.peer()?;
            Some((reached_at(stream, peer)?, flags_of(stream, peer)))
        });
        let there = there.collect();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.pex.note(there);
        for id in due {
            let Some(stream) = self.table.streams.get_mut(id) else {
                continue;
            };
            let Some(peer) = stream.peer() else {
                continue;
            };
            let own = reached_at(stream, peer);
            let is_global = address::is_global(stream.address.ip());
            let may = |other: SocketAddr| {
                // Who is far away has no use for addresses of our own network.
                Some(other) != own && (!is_global || address::is_global(other.ip()))
            };
            let (pex, next) = session.pex.news(peer.pex.told, may, &mut self.shared.rng);
            let is_news = !pex.added.is_empty() || !pex.dropped.is_empty();
            let Some(name) = peer.theirs.id_of(Extension::Pex) else {
                continue;
            };
            if let Some(peer) = stream.peer_mut() {
                peer.pex.told = Some(next);
                if is_news {
                    peer.pex.tell_at = now + TELL_EVERY;
                }
            }
            if is_news {
                self.shared.counters.pex_sent += 1;
                let payload = &pex.encode();
                let message = Message::Extended { id: name, payload };
                send(&mut self.shared, stream, &message);
            }
        }
    }

    /// A peer has named others.
    pub(super) fn pex_heard(
        &mut self,
        id: StreamId,
        swarm: SwarmId,
        named: Vec<(SocketAddr, PexFlags)>,
    ) {
        let now = self.shared.now;
        let Some(session) = self.table.swarms.get(swarm).and_then(|swarm| swarm.session) else {
            return;
        };
        let private = match (self.sessions.get(session), self.sessions.parked(session)) {
            (Some(session), _) => session.brief.private,
            (None, Some(parked)) => parked.brief.private,
            (None, None) => return,
        };
        let Some(stream) = self.table.streams.get(id) else {
            return;
        };
        if named.is_empty() || !self.is_exchanged(private) || self.is_ending() {
            return;
        }
        let from_near = !address::is_global(stream.address.ip());
        // Two that have everything have nothing to say to each other.
        let has_all = self
            .sessions
            .get(session)
            .is_some_and(|one| one.has_everything());
        self.shared.counters.pex_received += 1;
        for (peer, flags) in named {
            let full = self.table.swarms.get(swarm);
            let full = full.is_none_or(|swarm| swarm.count().links as usize >= BELONGING_MAX);
            let fits = from_near || address::is_global(peer.ip());
            if full || !fits || (has_all && flags.has(PexFlags::SEED)) {
                continue;
            }
            let listening = &self.shared.listening;
            let made = (self.table).link_create(peer, swarm, Source::Pex, listening, now);
            self.note_offer(peer, swarm, made.ok().map(|(link, _)| link));
            self.shared.counters.pex_peers += u64::from(matches!(made, Ok((_, true))));
        }
        self.connect_more(swarm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u16) -> SocketAddr {
        SocketAddr::from(([1, 2, 3, 4], n))
    }

    fn there(ports: std::ops::Range<u16>) -> BTreeMap<SocketAddr, PexFlags> {
        ports.map(|n| (at(n), PexFlags::default())).collect()
    }

    #[test]
    fn a_peer_hears_who_is_there_and_then_what_changes() {
        let mut log = PexLog::default();
        let rng = &mut Rng::new(1);
        log.note(there(1..4));
        let (first, told) = log.news(None, |peer| peer != at(2), rng);
        let added: Vec<_> = first.added.iter().map(|(peer, _)| *peer).collect();
        assert_eq!((added, first.dropped), (vec![at(1), at(3)], vec![]));
        assert_eq!(log.news(Some(told), |_| true, rng).0, Pex::default());
        log.note(there(3..5));
        let (news, told) = log.news(Some(told), |_| true, rng);
        assert_eq!(news.added, [(at(4), PexFlags::default())]);
        assert_eq!(news.dropped, [at(1), at(2)]);
        // Gone and back again is no news of going.
        log.note(there(4..5));
        log.note(there(3..5));
        let (news, _) = log.news(Some(told), |_| true, rng);
        assert_eq!((news.added.len(), news.dropped.len()), (1, 0));
    }

    #[test]
    fn no_message_is_too_long_and_nothing_is_left_out() {
        let mut log = PexLog::default();
        let rng = &mut Rng::new(2);
        let (_, mut told) = log.news(None, |_| true, rng);
        log.note(there(0..180));
        let mut heard = BTreeMap::new();
        for _ in 0..4 {
            let (news, next) = log.news(Some(told), |_| true, rng);
            assert!(news.added.len() <= PEX_PEERS_MAX);
            heard.extend(news.added);
            told = next;
        }
        assert_eq!(heard.len(), 180);
        let (first, _) = log.news(None, |_| true, rng);
        assert_eq!(first.added.len(), PEX_PEERS_MAX);
        // The log does not grow, and whoever was told long ago misses some.
        for n in 0..2000 {
            log.note(there(n..n + 100));
        }
        assert_eq!(log.changes.len(), LOG_MAX);
        let (news, next) = log.news(Some(told), |_| true, rng);
        assert!(next <= log.end() && news.dropped.len() <= PEX_PEERS_MAX);
    }

    #[test]
    fn a_flood_is_not_heard() {
        let pex = Pex {
            added: (0..50).map(|n| (at(n + 1), PexFlags::default())).collect(),
            dropped: Vec::new(),
        };
        let payload = pex.encode();
        let mut peer = PexPeer::default();
        let at_second = |second| Instant::ZERO + Duration::from_secs(second);
        let mut heard = |second: u64| peer.hear(&payload, at_second(second)).len();
        assert_eq!([heard(0), heard(0), heard(0), heard(0)], [50, 50, 50, 0]);
        assert_eq!(heard(1), 0);
        let later = (60..600).map(&mut heard).filter(|count| *count > 0).count();
        assert!((10..=20).contains(&later), "{later}");
        let all: usize = (600..7200).map(&mut heard).sum();
        assert!(all <= usize::from(NAMES_MAX), "{all}");
        assert_eq!(heard(100_000), 0, "it has named its share");
    }
}
