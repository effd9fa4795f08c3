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
pub mod cover;
mod ignored;
mod index;
pub mod link;
mod links;
mod members;
pub mod peer;
mod show;
mod state;
pub mod stream;
pub mod streams;
pub mod swarm;
mod ties;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::codec::mse;
use crate::hash::Digest;
use crate::ids::{ConnectionId, InfoHash, LinkId, PeerId, SessionId, StreamId, SwarmId};
use crate::rng::Rng;
use crate::time::Instant;

use super::blocks::Blocks;
use super::message::Direction;
use super::settings::LINK_STREAMS_MAX;
use super::slots::Slots;
use index::{Index, Keys};
use link::{Link, LinkState, key_of};
use stream::{Stage, Stream};
use streams::Streams;
use swarm::Swarm;

pub use ignored::IGNORED_MAX;

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
    /// Swarms by what stands for their info-hash in an encryption handshake.
    by_mark: Index,
    keys: Keys,
    by_state: [u32; 4],
    opening: usize,
    /// No link that is only kept to be left alone is over before this.
    old_from: Instant,
    banned_ids: BTreeSet<(IpAddr, PeerId)>,
    banned_ips: BTreeSet<IpAddr>,
    /// Whom a list or a person blocks.
    pub blocks: Blocks,
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
    /// A node of the DHT.
    Dht,
    /// Another peer (BEP 11).
    Pex,
    /// A peer of our network, by multicast (BEP 14).
    Local,
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
            by_mark: Index::default(),
            keys,
            by_state: [0; 4],
            opening: 0,
            old_from: Instant::FAR,
            banned_ids: BTreeSet::new(),
            banned_ips: BTreeSet::new(),
            blocks: Blocks::default(),
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
        let mark = self.swarm_at(id.slot32()).mark;
        let swarms = &self.swarms;
        self.by_mark.insert(mark, id.slot32(), |slot| {
            swarms.at(slot).map_or(0, |swarm| swarm.mark)
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
        self.by_mark.remove(swarm.mark, id.slot32());
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

    /// The swarm that `mark` stands for in an encryption handshake ([`mse::torrent_mark`]).
    #[must_use]
    pub fn swarm_marked(&self, mark: &Digest) -> Option<&Swarm> {
        let is = |slot| {
            let swarm = self.swarms.at(slot);
            swarm.is_some_and(|swarm| mse::torrent_mark(swarm.info_hash) == *mark)
        };
        let slot = self.by_mark.find(swarm::first_word(mark), is)?;
        self.swarms.at(slot)
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

    fn hash_of(&self, info_hash: InfoHash) -> u64 {
        hash_of(&self.keys, info_hash)
    }
}

fn hash_of(keys: &Keys, info_hash: InfoHash) -> u64 {
    let word = |at: usize| {
        let bytes = info_hash.0[at..].iter().take(8);
        bytes.fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    keys.hash([word(0), word(8), word(16)])
}
