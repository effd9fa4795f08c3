//! The link and peer table: links by address, swarms by info-hash, streams by id.
//!
//! ```text
//!             create             dial / accept            stream up + handshake ok
//!  (unknown) ───────▶ Disconnected ───────▶ Connecting ───────────────▶ Established
//!                      ▲    ▲  attempt failed: attempts+1, wait        │ last stream gone
//!                      │    └────────────────┘◀────────────────────────┘
//!                      │ attempts spent, or misbehaved
//!                      └──── Ignored(until, why) ◀──────────────────── any
//! ```
//!
//! What a link learns serves every swarm: failed dials and bans are the address's, not the torrent's. A link and a swarm are
//! joined by a *tie*, which both know: the link by swarm, the swarm by a place in its list, so that either side finds and
//! drops it without a search. Everything a caller counts is counted as it changes.
//!
//! Invariants, which [`Table::check`] looks at: a tie is on both sides or on none; a member's stream names its swarm, and is
//! the only one of its link that is accounted there; links by state, uplinks, downlinks and belonging links are what a
//! recount gives; an index finds exactly what is there.

mod check;
mod ignored;
mod index;
pub mod link;
mod members;
pub mod peer;
mod show;
pub mod stream;
pub mod streams;
pub mod swarm;
mod ties;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::codec::address;
use crate::ids::{ConnectionId, InfoHash, LinkId, PeerId, SessionId, StreamId, SwarmId};
use crate::rng::Rng;
use crate::time::Instant;

use super::message::{Direction, Refusal};
use super::settings::{CANDIDATES_MAX, LINK_STREAMS_MAX, LINKS_MAX, Settings};
use super::slots::Slots;
use index::{Index, Keys};
use link::{IgnoreReason, Link, LinkState, Told, ignored_until, key_of};
use stream::{Stage, Stream};
use streams::Streams;
use swarm::Swarm;
use ties::Mark;

pub use ignored::IGNORED_MAX;

/// Peer-ids and addresses banned for proven bad data that are remembered; beyond it no more are, the links still are.
const BANNED_MAX: usize = 10_000;

/// Every link, swarm and stream of the process.
#[derive(Debug)]
pub struct Table {
    /// Our records of remote addresses.
    pub links: Slots<LinkId, Link>,
    /// What concerns the links of each info-hash.
    pub swarms: Slots<SwarmId, Swarm>,
    /// Established and hoped-for byte streams.
    pub streams: Streams,
    /// What became of links and was not told yet, in order. Whoever handles an input drains it.
    pub news: Vec<News>,
    by_address: Index,
    by_hash: Index,
    keys: Keys,
    by_state: [u32; 4],
    opening: usize,
    /// No link that is only kept to be left alone is over before this.
    old_from: Instant,
    banned_ids: BTreeSet<(IpAddr, PeerId)>,
    banned_ips: BTreeSet<IpAddr>,
}

/// What became of a link, for subscribers: each fact once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Which.
    pub address: SocketAddr,
    /// Who dialled last.
    pub direction: Direction,
    /// Where it stands now.
    pub state: LinkState,
    /// Failed attempts in a row.
    pub attempts: u32,
}

/// Who named an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A person: never dropped for failures.
    Person,
    /// A program that uses the library: trusted to know its own bounds, so only the process's hold.
    Caller,
    /// A tracker.
    Tracker,
    /// The peer itself, by its extended handshake (BEP 10 `p`).
    Peer,
}

impl Table {
    /// An empty one; chance keeps strangers from choosing addresses that collide.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        let keys = Keys::new(rng);
        Self {
            links: Slots::default(),
            swarms: Slots::default(),
            streams: Streams::new(keys.clone()),
            news: Vec::new(),
            by_address: Index::default(),
            by_hash: Index::default(),
            keys,
            by_state: [0; 4],
            opening: 0,
            old_from: Instant::FAR,
            banned_ids: BTreeSet::new(),
            banned_ips: BTreeSet::new(),
        }
    }

    // ------------------------------------------------------------------------------------------------------ swarms

    /// A bare swarm for `info_hash`, on from the start.
    ///
    /// # Errors
    /// The swarm that is there already.
    pub fn swarm_add(
        &mut self,
        info_hash: InfoHash,
        links_min: u32,
    ) -> Result<&mut Swarm, SwarmId> {
        let hash = self.hash_of(info_hash);
        if let Some(swarm) = self.swarm_of(info_hash) {
            return Err(swarm.id);
        }
        let id = self
            .swarms
            .insert_with(|id| Swarm::new(id, info_hash, links_min));
        let (swarms, keys) = (&self.swarms, &self.keys);
        self.by_hash.insert(hash, id.slot32(), |slot| {
            swarms
                .at(slot)
                .map_or(0, |swarm| hash_of(keys, swarm.info_hash))
        });
        Ok(self.swarms.get_mut(id).expect("just made"))
    }

    /// `session` takes the swarm of `info_hash`: the one that is there when nobody trades in it, with its links, else a new one.
    ///
    /// # Errors
    /// The session that has it already.
    pub fn swarm_take(
        &mut self,
        info_hash: InfoHash,
        links_min: u32,
        session: impl FnOnce(SwarmId) -> SessionId,
    ) -> Result<(SwarmId, SessionId), SessionId> {
        let id = match self.swarm_of(info_hash) {
            Some(Swarm {
                session: Some(session),
                ..
            }) => return Err(*session),
            Some(swarm) => swarm.id,
            None => {
                self.swarm_add(info_hash, links_min)
                    .map_err(|_| ())
                    .expect("it is not there")
                    .id
            }
        };
        let session = session(id);
        let swarm = self.swarms.get_mut(id).expect("found or made");
        swarm.session = Some(session);
        swarm.active = false;
        Ok((id, session))
    }

    /// Its session is over: what a caller made stays as a bare swarm, what the session made goes. What the loop carried for it
    /// must be closed before.
    pub fn swarm_leave(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(id) else {
            return;
        };
        swarm.session = None;
        swarm.active = true;
        if !swarm.kept {
            self.swarm_remove(id);
        }
    }

    /// Forgets a swarm (requirement L14); its links stay only for others, or while they must not be dialled. What the loop
    /// carries for it must be closed before; what is carried outside is forgotten.
    pub fn swarm_remove(&mut self, id: SwarmId) {
        self.swarm_clear(id, false);
        let Some(swarm) = self.swarms.remove(id) else {
            return;
        };
        let hash = self.hash_of(swarm.info_hash);
        self.by_hash.remove(hash, id.slot32());
    }

    /// Its links go: none is a member or a candidate any more, but for pinned ones if those are kept.
    pub fn swarm_clear(&mut self, id: SwarmId, keep_pinned: bool) {
        let Some(swarm) = self.swarms.get_mut(id) else {
            return;
        };
        assert!(
            swarm.streams.is_empty() && swarm.opening.is_empty(),
            "a swarm is cleared after its streams are closed"
        );
        // From behind: what goes leaves its place to the last, which stays.
        for place in (0..swarm.links.len()).rev() {
            let at = self.swarm_at(id.slot32()).links[place];
            self.leave(at, id.slot32(), keep_pinned);
        }
    }

    /// The swarm of `info_hash`.
    #[must_use]
    pub fn swarm_of(&self, info_hash: InfoHash) -> Option<&Swarm> {
        let is = |slot| {
            self.swarms
                .at(slot)
                .is_some_and(|swarm| swarm.info_hash == info_hash)
        };
        let slot = self.by_hash.find(self.hash_of(info_hash), is)?;
        self.swarms.at(slot)
    }

    // ------------------------------------------------------------------------------------------------------- links

    /// The link of `address`.
    #[must_use]
    pub fn link_at(&self, address: SocketAddr) -> Option<LinkId> {
        let slot = self.find(address::canonical(address))?;
        Some(self.links.id_at(slot))
    }

    /// Makes `address` a candidate of `swarm` (requirement L1). The link, and whether that is news.
    ///
    /// # Errors
    /// When nobody can be dialled there, when it is ourselves, or when a bound is reached.
    pub fn link_create(
        &mut self,
        address: SocketAddr,
        swarm: SwarmId,
        source: Source,
        listening: &[SocketAddr],
        now: Instant,
    ) -> Result<(LinkId, bool), Refusal> {
        let address = dial_to(address, listening)?;
        let Some(record) = self.swarms.get(swarm) else {
            return Err(Refusal::UnknownSwarm);
        };
        let known = self.find(address);
        let pinned = source == Source::Person;
        let associated = known
            .and_then(|at| self.link(at).tie(swarm.slot32()))
            .is_some_and(|tie| tie.is(Mark::Candidate));
        let bounded = matches!(source, Source::Tracker | Source::Peer);
        if bounded
            && !associated
            && record.belonging as usize >= CANDIDATES_MAX
            && !self.drop_worst(swarm)
        {
            return Err(Refusal::Full);
        }
        // The one that was dropped may have been all there was of this address.
        let at = match known.filter(|&at| self.links.at(at).is_some()) {
            Some(at) => at,
            None => self.insert(address, now).ok_or(Refusal::Full)?,
        };
        self.link_mut(at).set_dialable();
        self.tie(at, swarm.slot32());
        self.mark(at, swarm.slot32(), Mark::Candidate, true);
        if pinned {
            self.mark(at, swarm.slot32(), Mark::Pinned, true);
        }
        Ok((self.links.id_at(at), !associated))
    }

    /// The record of an address that dialled us (requirement L3): its port is ephemeral, so it is a record of its own.
    pub fn link_incoming(&mut self, address: SocketAddr) -> LinkId {
        let address = address::canonical(address);
        let at = self
            .find(address)
            .unwrap_or_else(|| self.insert_new(address));
        self.links.id_at(at)
    }

    /// Whether a link may be made for one more address.
    pub fn has_room(&mut self, now: Instant) -> bool {
        self.links.len() < LINKS_MAX || self.forget_old(now)
    }

    /// A link is to be dialled elsewhere from now on (requirement L5).
    ///
    /// # Errors
    /// As in [`super::message::Message::LinkUpdate`].
    pub fn link_update(
        &mut self,
        address: SocketAddr,
        to: SocketAddr,
        listening: &[SocketAddr],
    ) -> Result<LinkId, Refusal> {
        let at = self
            .find(address::canonical(address))
            .ok_or(Refusal::UnknownLink)?;
        let link = self.link(at);
        let rests = matches!(link.state(), LinkState::Disconnected { .. });
        if !link.is_dialable() || !link.is_idle() || !rests {
            return Err(Refusal::WrongState);
        }
        let to = dial_to(to, listening)?;
        match self.find(to) {
            Some(other) if other != at => return Err(Refusal::AlreadyAssociated),
            Some(_) => return Ok(self.links.id_at(at)),
            None => {}
        }
        let hash = self.keys.hash(self.link(at).key());
        self.by_address.remove(hash, at);
        self.link_mut(at).set_address(to);
        self.index(at);
        // What was learnt of the old place says nothing of the new one.
        self.set_state(
            at,
            LinkState::Disconnected {
                not_before: Instant::ZERO,
            },
        );
        self.touch(at);
        Ok(self.links.id_at(at))
    }

    /// Forgets a link, whatever it is; its streams must be closed before.
    pub fn link_delete(&mut self, id: LinkId) {
        if self.links.get(id).is_none() {
            return;
        }
        let at = id.slot32();
        while let Some(tie) = self.link(at).ties.as_slice().first().copied() {
            for mark in [Mark::Candidate, Mark::Pinned, Mark::Member] {
                self.mark(at, tie.swarm, mark, false);
            }
            self.untie(at, tie.swarm);
        }
        self.forget(at);
    }

    /// A person named it for `swarm` no longer. `false` when nobody had.
    pub fn unpin(&mut self, address: SocketAddr, swarm: SwarmId) -> bool {
        let Some(at) = self.find(address::canonical(address)) else {
            return false;
        };
        let pinned = self.link(at).tie(swarm.slot32());
        if !pinned.is_some_and(|tie| tie.is(Mark::Pinned)) || self.swarms.get(swarm).is_none() {
            return false;
        }
        self.mark(at, swarm.slot32(), Mark::Pinned, false);
        true
    }

    /// Whether a person named `link` for `swarm`.
    #[must_use]
    pub fn is_pinned(&self, link: LinkId, swarm: SwarmId) -> bool {
        let tie = self
            .links
            .get(link)
            .and_then(|link| link.tie(swarm.slot32()));
        tie.is_some_and(|tie| tie.is(Mark::Pinned))
    }

    /// A handshake on `link` was completed (requirement L7): failures are forgotten.
    pub fn link_established(&mut self, link: LinkId) {
        if let Some(record) = self.links.get_mut(link) {
            record.worked();
            self.set_state(link.slot32(), LinkState::Established);
        }
    }

    /// An attempt failed (requirement L8, X14).
    pub fn link_failed(&mut self, link: LinkId, now: Instant, jitter: u64, settings: &Settings) {
        let Some(record) = self.links.get_mut(link) else {
            return;
        };
        if record.is_idle() && !matches!(record.state(), LinkState::Ignored { .. }) {
            let state = record.failed(now, jitter, settings);
            self.set_state(link.slot32(), state);
        }
        self.forget_if_unused(link.slot32());
    }

    /// The last stream of a link that worked is gone: it may be tried again after the first pause.
    pub fn link_lost(
        &mut self,
        link: LinkId,
        now: Instant,
        lived_short: bool,
        settings: &Settings,
    ) {
        let Some(record) = self.links.get_mut(link) else {
            return;
        };
        if record.is_idle() && !matches!(record.state(), LinkState::Ignored { .. }) {
            let state = record.lost(now, lived_short, settings);
            self.set_state(link.slot32(), state);
        }
        self.forget_if_unused(link.slot32());
    }

    /// A stream of a link is gone, for a reason that says nothing of the address.
    pub fn link_idle(&mut self, link: LinkId) {
        self.link_rests(link, Instant::ZERO);
    }

    /// The same, and it is not to be dialled before `not_before`.
    pub fn link_rests(&mut self, link: LinkId, not_before: Instant) {
        let Some(record) = self.links.get_mut(link) else {
            return;
        };
        if record.is_idle() && !matches!(record.state(), LinkState::Ignored { .. }) {
            self.set_state(link.slot32(), LinkState::Disconnected { not_before });
        }
        self.forget_if_unused(link.slot32());
    }

    /// Leaves a link alone for the usual time.
    pub fn link_ignore(
        &mut self,
        link: LinkId,
        now: Instant,
        why: IgnoreReason,
        settings: &Settings,
    ) {
        let Some(record) = self.links.get(link) else {
            return;
        };
        if !record.state().is_final() || why == IgnoreReason::BadData {
            let until = ignored_until(now, why, settings);
            self.set_state(link.slot32(), LinkState::Ignored { until, why });
        }
    }

    /// Nobody is dialled at, or accepted from, this address again: it sent bad data, proven.
    ///
    /// `link` may be forgotten by now. A peer-id alone bans nobody: anyone can copy it.
    pub fn ban(&mut self, link: LinkId, address: SocketAddr, peer_id: Option<PeerId>) {
        if self.links.get(link).is_some() {
            let (until, why) = (Instant::FAR, IgnoreReason::BadData);
            self.set_state(link.slot32(), LinkState::Ignored { until, why });
        }
        let ip = address.ip();
        // Many peers share a loopback or private address (tests, a NAT of one's own): there the peer-id and the port stand in.
        if address::is_global(ip)
            && self.banned_ips.len() < BANNED_MAX
            && self.banned_ips.insert(ip)
        {
            // Other ports of it may be anybody's candidates.
            for id in self.swarms.ids() {
                self.swarm_at_mut(id.slot32()).version += 1;
            }
        }
        if let Some(id) = peer_id
            && self.banned_ids.len() < BANNED_MAX
        {
            self.banned_ids.insert((ip, id));
        }
    }

    /// Whether a stranger from `address` was banned.
    #[must_use]
    pub fn is_banned(&self, address: SocketAddr) -> bool {
        self.is_banned_ip(address.ip())
            || self.find(address::canonical(address)).is_some_and(|at| {
                matches!(
                    self.link(at).state(),
                    LinkState::Ignored {
                        why: IgnoreReason::BadData,
                        ..
                    }
                )
            })
    }

    /// Whether every port of a host was banned.
    fn is_banned_ip(&self, ip: IpAddr) -> bool {
        !self.banned_ips.is_empty() && self.banned_ips.contains(&ip)
    }

    /// Whether a stranger from the host of `address` that calls itself `id` was banned.
    #[must_use]
    pub fn is_banned_id(&self, address: SocketAddr, id: PeerId) -> bool {
        self.banned_ids.contains(&(address.ip(), id))
    }

    /// Links that are disconnected, connecting, established, ignored.
    #[must_use]
    pub const fn links_by_state(&self) -> [u32; 4] {
        self.by_state
    }

    // ----------------------------------------------------------------------------------------------------- streams

    /// A stream on `link` that the loop carries, in `stage`.
    pub fn stream_carry(
        &mut self,
        link: LinkId,
        outgoing: bool,
        swarm: Option<SwarmId>,
        stage: Stage,
        now: Instant,
    ) -> StreamId {
        let address = self.link(link.slot32()).address();
        let id = self.streams.add_carried(outgoing, |id| {
            Stream::new(id, link, address, outgoing, stage, now)
        });
        self.hang(link.slot32(), id.slot32());
        if let Some(swarm) = swarm {
            self.name_swarm(id.slot32(), swarm.slot32());
        }
        self.set_up(link.slot32());
        id
    }

    /// A stream on `link` that a caller carries: it is up. `None` when the link has as many as it may.
    pub fn stream_outside(
        &mut self,
        link: LinkId,
        connection: ConnectionId,
        outgoing: bool,
        swarm: Option<SwarmId>,
    ) -> Option<StreamId> {
        let record = self.links.get_mut(link)?;
        if usize::from(record.up) >= LINK_STREAMS_MAX {
            return None;
        }
        record.up += 1;
        record.worked();
        let id = self.streams.add_outside(connection, outgoing);
        self.hang(link.slot32(), id.slot32());
        if let Some(swarm) = swarm {
            self.name_swarm(id.slot32(), swarm.slot32());
        }
        self.set_up(link.slot32());
        Some(id)
    }

    /// Takes a stream out of its swarm and its link; gives back what the loop carried. What becomes of the link is the caller's
    /// to say, by the `link_*` verdicts.
    pub fn stream_remove(&mut self, id: StreamId) -> Option<Box<Stream>> {
        if !self.streams.contains(id) {
            return None;
        }
        self.unaccount(id);
        let slot = id.slot32();
        self.close_opening(slot);
        let knot = *self.streams.knot(slot);
        let first = self.streams.loosen(self.link(knot.link).first, slot);
        let link = self.link_mut(knot.link);
        link.first = first;
        if knot.up {
            link.up -= 1;
        }
        let still_connecting = link.up == 0 && first != link::NONE;
        if still_connecting && link.state() == LinkState::Established {
            self.set_state(knot.link, LinkState::Connecting);
        }
        self.streams.knot_mut(slot).swarm = link::NONE;
        if knot.swarm != link::NONE {
            self.untie(knot.link, knot.swarm);
        }
        self.streams.remove(id)
    }

    /// The link a stream hangs on.
    #[must_use]
    pub fn link_of(&self, id: StreamId) -> Option<LinkId> {
        self.streams
            .contains(id)
            .then(|| self.links.id_at(self.streams.knot(id.slot32()).link))
    }

    /// The streams of a link, oldest first, as a list of their own.
    #[must_use]
    pub fn streams_of(&self, id: LinkId) -> Vec<StreamId> {
        let Some(link) = self.links.get(id) else {
            return Vec::new();
        };
        self.streams
            .ring(link.first)
            .map(|(slot, _)| self.streams.id_at(slot))
            .collect()
    }

    /// Streams of the loop that are being opened, in all swarms.
    #[must_use]
    pub const fn opening(&self) -> usize {
        self.opening
    }

    /// Everything goes (requirement L16). What the loop carries must be closed before.
    pub fn clear(&mut self) {
        for id in self.streams.ids() {
            self.stream_remove(id);
        }
        for id in self.links.ids() {
            self.link_delete(id);
        }
        for id in self.swarms.ids() {
            self.swarm_remove(id);
        }
    }

    // ----------------------------------------------------------------------------------------------------- private

    fn link(&self, at: u32) -> &Link {
        self.links.at(at).expect("a slot named by a tie is filled")
    }

    fn link_mut(&mut self, at: u32) -> &mut Link {
        self.links
            .at_mut(at)
            .expect("a slot named by a tie is filled")
    }

    fn swarm_at(&self, at: u32) -> &Swarm {
        self.swarms.at(at).expect("a slot named by a tie is filled")
    }

    fn swarm_at_mut(&mut self, at: u32) -> &mut Swarm {
        self.swarms
            .at_mut(at)
            .expect("a slot named by a tie is filled")
    }

    /// The slot of a canonical address.
    fn find(&self, address: SocketAddr) -> Option<u32> {
        let key = key_of(address);
        let is = |at| self.links.at(at).is_some_and(|link| link.key() == key);
        self.by_address.find(self.keys.hash(key), is)
    }

    fn insert(&mut self, address: SocketAddr, now: Instant) -> Option<u32> {
        self.has_room(now).then(|| self.insert_new(address))
    }

    fn insert_new(&mut self, address: SocketAddr) -> u32 {
        let at = self.links.insert_with(|_| Link::new(address)).slot32();
        self.by_state[self.link(at).state().ordinal()] += 1;
        self.index(at);
        at
    }

    fn index(&mut self, at: u32) {
        let (links, keys) = (&self.links, &self.keys);
        let hash_of = |at| links.at(at).map_or(0, |link| keys.hash(link.key()));
        self.by_address.insert(hash_of(at), at, hash_of);
    }

    fn hash_of(&self, info_hash: InfoHash) -> u64 {
        hash_of(&self.keys, info_hash)
    }

    /// A stream of the link is being opened, or is up.
    fn set_up(&mut self, at: u32) {
        let state = if self.link(at).up > 0 {
            LinkState::Established
        } else {
            LinkState::Connecting
        };
        self.set_state(at, state);
    }

    /// The one place where a link changes its state: counted, told, and never but as [`LinkState::may_become`] says.
    fn set_state(&mut self, at: u32, state: LinkState) {
        let link = self.links.at_mut(at).expect("a link that is there");
        let before = link.state();
        if before == state {
            return;
        }
        if !before.may_become(state) {
            debug_assert!(false, "{}: {before:?} to {state:?}", link.address());
            log::error!(
                "link {}: {} cannot become {}; a bug",
                link.address(),
                before.name(),
                state.name()
            );
            return;
        }
        link.put_state(state);
        self.by_state[before.ordinal()] -= 1;
        self.by_state[state.ordinal()] += 1;
        let told = match (state, link.told()) {
            (LinkState::Established, Told::Down | Told::Ignored) => Told::Up,
            (LinkState::Ignored { .. }, _) => Told::Ignored,
            (LinkState::Disconnected { .. }, Told::Up | Told::Ignored)
            | (LinkState::Connecting, Told::Up) => Told::Down,
            // A dial is told when it comes to something.
            (LinkState::Connecting, Told::Down | Told::Ignored)
            | (LinkState::Disconnected { .. }, Told::Down)
            | (LinkState::Established, Told::Up) => {
                self.touch(at);
                return;
            }
        };
        link.set_told(told);
        self.tell(at);
        self.touch(at);
    }

    fn tell(&mut self, at: u32) {
        let link = self.links.at(at).expect("a link that is there");
        self.news.push(News {
            address: link.address(),
            direction: Direction::of(link.was_outgoing()),
            state: link.state(),
            attempts: link.attempts(),
        });
    }

    /// What callers see of the link has changed, in all its swarms.
    fn touch(&mut self, at: u32) {
        let link = self.links.at(at).expect("a link that is there");
        for tie in link.ties.as_slice() {
            if let Some(swarm) = self.swarms.at_mut(tie.swarm) {
                swarm.version += 1;
            }
        }
    }

    /// Drops the candidate of `swarm` that failed most. `false` when none did, so that newcomers cannot drive out what works.
    fn drop_worst(&mut self, swarm: SwarmId) -> bool {
        let Some(record) = self.swarms.get(swarm) else {
            return false;
        };
        let worst = record
            .links
            .iter()
            .map(|&at| (at, self.link(at)))
            .filter(|(_, link)| link.is_idle() && !link.is_pinned())
            .filter(|(_, link)| {
                link.attempts() > 0 || matches!(link.state(), LinkState::Ignored { .. })
            })
            .max_by_key(|(_, link)| link.attempts())
            .map(|(at, _)| at);
        let Some(at) = worst else {
            return false;
        };
        self.leave(at, swarm.slot32(), false);
        true
    }

    /// Forgets the links that are only kept because they are left alone, but for bans. `true` when there were any.
    fn forget_old(&mut self, now: Instant) -> bool {
        if now < self.old_from {
            return false;
        }
        let mut old = Vec::new();
        self.old_from = Instant::FAR;
        for (id, link) in self.links.iter() {
            if let LinkState::Ignored { until, .. } = link.state()
                && link.ties.as_slice().is_empty()
                && link.is_idle()
            {
                if until <= now {
                    old.push(id.slot32());
                } else {
                    self.old_from = self.old_from.min(until);
                }
            }
        }
        for &at in &old {
            self.forget(at);
        }
        !old.is_empty()
    }

    /// A link that no swarm names, that carries no stream and need not be avoided is nothing worth keeping.
    fn forget_if_unused(&mut self, at: u32) {
        let link = self.link(at);
        if !link.ties.as_slice().is_empty() || !link.is_idle() {
            return;
        }
        match link.state() {
            LinkState::Ignored { until, .. } => self.old_from = self.old_from.min(until),
            LinkState::Disconnected { .. } | LinkState::Connecting | LinkState::Established => {
                self.forget(at);
            }
        }
    }

    /// Takes a link out that has neither tie nor stream.
    fn forget(&mut self, at: u32) {
        let link = self.link(at);
        debug_assert!(link.is_idle() && link.ties.as_slice().is_empty());
        let (told, state) = (link.told(), link.state());
        let hash = self.keys.hash(link.key());
        if told != Told::Down {
            self.tell(at);
            if let Some(news) = self.news.last_mut() {
                let not_before = Instant::ZERO;
                news.state = LinkState::Disconnected { not_before };
            }
        }
        self.by_state[state.ordinal()] -= 1;
        self.by_address.remove(hash, at);
        self.links.remove(self.links.id_at(at));
    }
}

fn hash_of(keys: &Keys, info_hash: InfoHash) -> u64 {
    let word = |at: usize| {
        let bytes = info_hash.0[at..].iter().take(8);
        bytes.fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    keys.hash([word(0), word(8), word(16)])
}

/// The canonical form of an address that can be dialled and is not our own.
fn dial_to(address: SocketAddr, listening: &[SocketAddr]) -> Result<SocketAddr, Refusal> {
    let address = address::canonical(address);
    if !address::dialable(address) {
        return Err(Refusal::BadAddress);
    }
    if is_own(address, listening) {
        return Err(Refusal::OwnAddress);
    }
    Ok(address)
}

/// Whether dialling `address` would reach ourselves, as far as can be seen without dialling.
fn is_own(address: SocketAddr, listening: &[SocketAddr]) -> bool {
    listening.iter().any(|own| {
        own.port() == address.port()
            && own.is_ipv4() == address.is_ipv4()
            && (own.ip() == address.ip()
                || (own.ip().is_unspecified() && address.ip().is_loopback()))
    })
}
