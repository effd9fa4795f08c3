//! Local service discovery (BEP 14): our network is told which torrents we have, and tells us.
//!
//! Every torrent that trades or rests is named once in [`INTERVAL`], many in one datagram and the datagrams spread; one that
//! begins is named at once. Private torrents never are, and nobody is heard about them. What comes in is a stranger's word, from
//! a network that we share: it makes a candidate, within a rate and the bounds of the table.
//!
//! A peer that begins while we have just been silent would wait for our next turn. So a search that names a torrent of ours
//! which rests is answered: it is named again, unless that was a minute ago.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::codec::lsd::{HASHES_MAX, Search, group};
use crate::ids::{InfoHash, SessionId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::library::parked::Parked;
use super::message::Output;
use super::session::Session;
use super::shared::TimerKey;
use super::table::Source;

/// Each torrent is named so often (BEP 14: no more than once in five minutes).
const INTERVAL: Duration = Duration::from_secs(300);
/// Between two datagrams while there are more torrents than one holds. With more than 3600 a round takes longer than [`INTERVAL`].
const STEP: Duration = Duration::from_secs(2);
/// How soon one that begins is named: those that begin together are named together.
const SOON: Duration = Duration::from_millis(200);
/// A torrent that was named so lately is not named again because somebody asks.
const ANSWER_PAUSE: Duration = Duration::from_secs(60);
/// Torrents that wait to be named out of turn; further ones wait for their turn.
const SOON_MAX: usize = 256;
/// Searches that are heard in a second; further ones are dropped.
const SEARCHES_PER_SECOND: u32 = 50;

/// What is told to our network, and when.
#[derive(Debug, Default)]
pub(super) struct Lsd {
    on: bool,
    /// Tells our own datagrams from others'; empty until the first.
    cookie: String,
    /// Out of turn.
    soon: VecDeque<SessionId>,
    /// The rest of this round.
    line: VecDeque<SessionId>,
    /// When the next round may begin.
    round: Instant,
    /// When each was named last; of those that are gone until the next round.
    told: BTreeMap<SessionId, Instant>,
    /// The second at hand, and what was heard in it.
    heard: (Instant, u32),
}

impl Engine {
    /// Whether our network is told, from now on.
    pub(super) fn lsd_enable(&mut self, on: bool) {
        if self.lsd.on == on {
            return;
        }
        self.lsd.on = on;
        self.lsd.soon.clear();
        self.lsd.line.clear();
        self.lsd.round = Instant::ZERO;
        self.shared.timers.cancel(TimerKey::Lsd);
        self.lsd_all();
    }

    /// Many torrents begin: everybody has a turn.
    pub(super) fn lsd_all(&mut self) {
        if self.lsd.on && !self.sessions.is_empty() {
            self.lsd.round = Instant::ZERO;
            self.shared.arm(TimerKey::Lsd, SOON);
        }
    }

    /// A torrent begins: whoever is near hears of it at once.
    pub(super) fn lsd_soon(&mut self, id: SessionId) {
        let lsd = &mut self.lsd;
        if lsd.on && lsd.soon.len() < SOON_MAX && !lsd.soon.contains(&id) {
            lsd.soon.push_back(id);
            let at = self.shared.now + SOON;
            self.shared.timers.set_no_later(TimerKey::Lsd, at);
        }
    }

    /// Names what is due.
    pub(super) fn on_lsd_timer(&mut self) {
        if !self.lsd.on || self.is_ending() {
            return;
        }
        let now = self.shared.now;
        if self.lsd.line.is_empty() && self.lsd.round <= now {
            self.lsd_round();
        }
        let mut hashes = Vec::new();
        while hashes.len() < HASHES_MAX {
            let next = self.lsd.soon.pop_front();
            let is_soon = next.is_some();
            let Some(id) = next.or_else(|| self.lsd.line.pop_front()) else {
                break;
            };
            // What began within this round was named already.
            let told = self.lsd.told.get(&id);
            if !is_soon && told.is_some_and(|at| now.since(*at) < INTERVAL / 2) {
                continue;
            }
            if let Some(hash) = self.lsd_hash(id) {
                self.lsd.told.insert(id, now);
                hashes.push(hash);
            }
        }
        self.lsd_tell(hashes);
        let lsd = &self.lsd;
        let next = if !lsd.soon.is_empty() || !lsd.line.is_empty() {
            now + STEP
        } else {
            lsd.round.max(now + STEP)
        };
        if !self.sessions.is_empty() {
            self.shared.timers.set(TimerKey::Lsd, next);
        }
    }

    /// Everybody has a turn again.
    fn lsd_round(&mut self) {
        let live = self.sessions.iter().map(|(id, _)| id);
        let parked = self.sessions.iter_parked().map(|(id, _)| id);
        self.lsd.line = live.chain(parked).collect();
        self.lsd.round = self.shared.now + INTERVAL;
        let sessions = &self.sessions;
        let is_there = |id: SessionId| sessions.get(id).is_some() || sessions.parked(id).is_some();
        self.lsd.told.retain(|&id, _| is_there(id));
    }

    /// The info-hash of a torrent that may be named.
    fn lsd_hash(&self, id: SessionId) -> Option<InfoHash> {
        let live = self.sessions.get(id).filter(|one| one.is_trading());
        let is_open = |one: &&Parked| one.is_open() || one.fetch.is_some();
        let parked = self.sessions.parked(id).filter(is_open);
        let brief = live
            .map(|one| &one.brief)
            .or(parked.map(|one| &one.brief))?;
        (!brief.private).then_some(brief.info_hash)
    }

    fn lsd_tell(&mut self, hashes: Vec<InfoHash>) {
        let port = self.shared.listen_port();
        if hashes.is_empty() || port == 0 {
            return;
        }
        if self.lsd.cookie.is_empty() {
            self.lsd.cookie = format!("{:x}", self.shared.rng.next_u32());
        }
        let search = Search {
            port,
            hashes,
            cookie: self.lsd.cookie.clone(),
        };
        for v6 in [false, true] {
            // Nobody could dial us back over a family that we do not listen on.
            if self.shared.listening.iter().any(|one| one.is_ipv6() == v6) {
                self.shared.counters.lsd_sent += 1;
                self.shared.push(Output::Datagram {
                    to: group(v6),
                    bytes: search.encode(v6),
                });
            }
        }
    }

    /// Somebody of our network has said what it has.
    pub(super) fn on_search(&mut self, from: SocketAddr, bytes: &[u8]) {
        let now = self.shared.now;
        if !self.lsd.on || self.is_ending() || !self.lsd_may_hear(now) {
            return;
        }
        // Who is far away is not of our network, and may aim us at anybody.
        if crate::codec::address::is_global(from.ip()) {
            return;
        }
        let Some(search) = Search::decode(bytes) else {
            return;
        };
        if search.cookie == self.lsd.cookie && !search.cookie.is_empty() {
            return;
        }
        self.shared.counters.lsd_received += 1;
        let mut peer = from;
        peer.set_port(search.port);
        for hash in search.hashes {
            let swarm = self.table.swarm_of(hash);
            let found = swarm.and_then(|swarm| Some((swarm.id, swarm.session?)));
            let Some((swarm, session)) = found else {
                continue;
            };
            if self.lsd_hash(session).is_none() {
                continue;
            }
            let trades = self.sessions.get(session).is_some_and(Session::is_trading);
            if trades || self.is_fetching(session) {
                let source = Source::Local;
                let (listening, now) = (&self.shared.listening, self.shared.now);
                let made = self.table.link_create(peer, swarm, source, listening, now);
                self.note_offer(peer, swarm, made.ok().map(|(link, _)| link));
                self.connect_more(swarm);
            } else if self.sessions.parked(session).is_some_and(Parked::is_open) {
                // It has everything: whoever wants some of it dials us when it hears of us.
                let told = self.lsd.told.get(&session);
                if told.is_none_or(|at| now.since(*at) >= ANSWER_PAUSE) {
                    self.lsd_soon(session);
                }
            }
        }
    }

    fn lsd_may_hear(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.lsd.heard;
        if now.since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= SEARCHES_PER_SECOND
    }
}
