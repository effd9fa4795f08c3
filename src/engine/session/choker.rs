//! Who may ask us for blocks: a pure decision, taken every ten seconds (BEP 3, "choking and optimistic unchoking").
//!
//! *While downloading*: tit for tat. All slots but one go to the interested peers that send us most; the last one is
//! optimistic, given by chance for thirty seconds, to a new peer three times as likely as to another. A snubbed peer (it owes
//! us blocks) comes behind all others. So a peer that gives nothing, or owes us, gets a share of the optimistic slot, and
//! more only where a slot would stay empty.
//!
//! *While seeding*: turns. Nobody gives us anything, so a peer keeps its slot for [`TURN`] and then goes behind everyone who
//! waits, the longest wait first. Where nobody waits, those that take fastest stay. So nobody starves, however many ask: `n`
//! interested peers and `s` slots make a wait of at most `n / s` turns.

use std::cmp::Reverse;

use crate::ids::StreamId;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// How often [`Choker::rechoke`] is to be called.
pub const RECHOKE_EVERY: Duration = Duration::from_secs(10);
/// How long a peer holds the optimistic slot.
pub const OPTIMISTIC_EVERY: Duration = Duration::from_secs(30);
/// How long a peer holds its slot while we seed, if others wait.
pub const TURN: Duration = Duration::from_secs(60);
/// How many times as likely a new peer gets the optimistic slot.
const NEW_PEER_WEIGHT: u64 = 3;

/// What the decision looks at in a peer.
#[derive(Clone, Copy, Debug)]
pub struct ChokerPeer {
    /// Which.
    pub id: StreamId,
    /// Whether it wants what we have. Only such peers are unchoked.
    pub interested: bool,
    /// Whether it may ask now.
    pub unchoked: bool,
    /// Since when it may, or may not.
    pub since: Instant,
    /// Whether it owes us blocks for too long.
    pub snubbed: bool,
    /// Whether it came within the last minute: it has little to give yet.
    pub is_new: bool,
    /// Bytes per second from it.
    pub rate_from: u64,
    /// Bytes per second to it.
    pub rate_to: u64,
}

/// The slots of one torrent.
#[derive(Clone, Debug)]
pub struct Choker {
    slots: usize,
    optimistic: Option<(StreamId, Instant)>,
}

impl Choker {
    /// `slots` peers may ask at the same time; 0 is no limit.
    #[must_use]
    pub const fn new(slots: u32) -> Self {
        Self {
            slots: slots as usize,
            optimistic: None,
        }
    }

    /// Changes the number of slots; takes effect with the next decision.
    pub const fn set_slots(&mut self, slots: u32) {
        self.slots = slots as usize;
    }

    /// Whether a peer that has just become interested may be unchoked at once, when `unchoked` others are.
    #[must_use]
    pub const fn has_room(&self, unchoked: usize) -> bool {
        self.slots == 0 || unchoked < self.slots
    }

    /// Decides: whether each of `peers`, in their order, may ask from now on. At most `slots` of them may.
    pub fn rechoke(
        &mut self,
        now: Instant,
        peers: &[ChokerPeer],
        seeding: bool,
        rng: &mut Rng,
    ) -> Vec<bool> {
        let interested = |peer: &ChokerPeer| peer.interested;
        if self.has_room(
            peers
                .iter()
                .filter(|peer| interested(peer))
                .count()
                .saturating_sub(1),
        ) {
            // Enough for all. The optimistic slot is drawn anew when they become scarce.
            self.optimistic = None;
            return peers.iter().map(interested).collect();
        }
        let mut may = vec![false; peers.len()];
        if seeding {
            self.optimistic = None;
            for place in by_turns(now, peers, rng).into_iter().take(self.slots) {
                may[place] = true;
            }
            return may;
        }
        for place in by_gift(now, peers, rng).into_iter().take(self.slots - 1) {
            may[place] = true;
        }
        if let Some(place) = self.draw_optimistic(now, peers, &may, rng) {
            may[place] = true;
        }
        may
    }

    /// The holder of the optimistic slot: the same until its time is over, it has earned a slot, or it wants nothing more.
    fn draw_optimistic(
        &mut self,
        now: Instant,
        peers: &[ChokerPeer],
        taken: &[bool],
        rng: &mut Rng,
    ) -> Option<usize> {
        let free = |place: usize| peers[place].interested && !taken[place];
        if let Some((holder, since)) = self.optimistic {
            let place = peers.iter().position(|peer| peer.id == holder);
            if let Some(place) = place.filter(|&place| free(place))
                && now.since(since) < OPTIMISTIC_EVERY
            {
                return Some(place);
            }
        }
        // Whoever has just had it stands back, unless nobody else is there.
        let last = self.optimistic.take().map(|(holder, _)| holder);
        let weight = |place: usize| match &peers[place] {
            _ if !free(place) => 0,
            peer if Some(peer.id) == last => 0,
            peer if peer.is_new => NEW_PEER_WEIGHT,
            _ => 1,
        };
        let total = (0..peers.len()).map(weight).sum();
        let mut drawn = rng.below(total);
        let place = (0..peers.len())
            .find(|&place| {
                let here = weight(place);
                let found = drawn < here;
                drawn = drawn.saturating_sub(here);
                found
            })
            .or_else(|| (0..peers.len()).find(|&place| free(place)))?;
        self.optimistic = Some((peers[place].id, now));
        Some(place)
    }
}

/// Who has earned a slot, best first.
///
/// Peers that give equally, above all those that give nothing yet, are ranked by chance, but one that was unchoked within
/// the last [`OPTIMISTIC_EVERY`] goes first: it needs a moment to give something back. Snubbed ones are last: they get what
/// nobody else takes, so that two peers that snub each other do not do so for ever.
fn by_gift(now: Instant, peers: &[ChokerPeer], rng: &mut Rng) -> Vec<usize> {
    ranked(peers, |peer| {
        let settling = peer.unchoked && now.since(peer.since) < OPTIMISTIC_EVERY;
        let key = (peer.snubbed, Reverse(peer.rate_from), !settling, rng.draw());
        peer.interested.then_some(key)
    })
}

/// Who is to be served while we seed: turns not yet over, then those that wait, longest first, then those that had theirs.
fn by_turns(now: Instant, peers: &[ChokerPeer], rng: &mut Rng) -> Vec<usize> {
    ranked(peers, |peer| {
        let key = match (peer.unchoked, now.since(peer.since) < TURN) {
            (true, true) => (0, peer.since.as_micros(), rng.draw()),
            (false, _) => (1, peer.since.as_micros(), rng.draw()),
            (true, false) => (2, u64::MAX - peer.rate_to, rng.draw()),
        };
        peer.interested.then_some(key)
    })
}

/// The places of the peers that have a key, smallest first.
fn ranked<K: Ord>(
    peers: &[ChokerPeer],
    mut key: impl FnMut(&ChokerPeer) -> Option<K>,
) -> Vec<usize> {
    let mut places: Vec<_> = (peers.iter().enumerate())
        .filter_map(|(place, peer)| key(peer).map(|key| (key, place)))
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests;
