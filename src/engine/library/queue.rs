//! Which torrents trade, and which wait for their turn.
//!
//! A torrent of the library that a person has started holds a place while it trades, and waits (`queued`) where the places are
//! taken. Places are given by the position in the queue. What takes none: being looked at or hashed, being stopped or in error,
//! and a torrent that has *stalled*, without a byte of payload either way for `queue.stalled_minutes`: it goes on, and
//! when it moves again it may be one too many. A person who starts one *now* gets it: it counts, and is never made to wait.
//!
//! Who trades is not made to wait for one that comes later, unless the order or the rules were changed, it has turned from a
//! download into a seed, or the one in front of it was only being checked.
//!
//! Kept up by [`Queue::note`] as sessions change, in O(log n); what follows is decided once a turn, over those that hold places
//! and as many of those that wait as there are places.

use std::collections::{BTreeMap, BTreeSet};

use crate::config;
use crate::ids::SessionId;
use crate::time::Duration;

use crate::engine::Engine;
use crate::engine::session::{Phase, Session};

/// What a torrent is in the queue for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something wanted is missing.
    Download,
    /// Nothing is.
    Seed,
}

const KINDS: [Kind; 2] = [Kind::Download, Kind::Seed];

/// Where a torrent stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    kind: Kind,
    position: u32,
    hold: Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// It waits for a place.
    Waits,
    /// It has one.
    Has,
    /// It has one that nobody takes away.
    Forced,
}

/// Why a torrent waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Which rule is reached, as a key of the configuration.
    pub key: &'static str,
    /// What is counted by it.
    pub what: &'static str,
    /// How many there are.
    pub active: u32,
    /// How many there may be.
    pub most: u32,
}

/// The places, who has one, and who waits. The numbers are positions.
#[derive(Debug, Default)]
pub struct Queue {
    /// Places for each kind, and for both together; 0 is no limit.
    places: [usize; 2],
    places_all: usize,
    stalled: Option<Duration>,
    holds: [BTreeMap<(u32, SessionId), bool>; 2],
    forced: [usize; 2],
    waits: [BTreeSet<(u32, SessionId)>; 2],
    /// Whether somebody may get a place.
    is_due: bool,
    /// Whether somebody may lose one.
    is_reordered: bool,
}

impl Queue {
    /// By the rules of the configuration.
    #[must_use]
    pub fn new(rules: &config::Queue) -> Self {
        let mut queue = Self::default();
        queue.set_rules(rules);
        queue.is_reordered = false;
        queue
    }

    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: &config::Queue) {
        let places = [rules.max_active_downloads, rules.max_active_seeds];
        self.places = places.map(|places| places as usize);
        self.places_all = rules.max_active as usize;
        let minutes = u64::from(rules.stalled_minutes);
        self.stalled = (minutes > 0).then(|| Duration::from_secs(minutes * 60));
        self.reorder();
    }

    /// The order may have changed.
    fn reorder(&mut self) {
        self.is_due = true;
        self.is_reordered = true;
    }

    /// A session may stand elsewhere than when it was last looked at.
    pub fn note(&mut self, session: &mut Session) {
        let (before, after) = (session.entry.place, place(session));
        if before == after {
            return;
        }
        self.leave(session);
        session.entry.place = after;
        self.is_due = true;
        if let Some(place) = after {
            let at = (place.position, session.id);
            let kind = place.kind as usize;
            match place.hold {
                Hold::Waits => {
                    self.waits[kind].insert(at);
                }
                Hold::Has | Hold::Forced => {
                    let forced = place.hold == Hold::Forced;
                    self.holds[kind].insert(at, forced);
                    self.forced[kind] += usize::from(forced);
                }
            }
        }
        if let Some((before, after)) = before.zip(after) {
            // Another place in the order, or a seed now.
            self.is_reordered |= (before.kind, before.position) != (after.kind, after.position);
        }
    }

    /// A session is no business of the queue any more: when it is dropped without having been on its way out.
    pub fn leave(&mut self, session: &mut Session) {
        let Some(place) = session.entry.place.take() else {
            return;
        };
        self.is_due = true;
        let at = (place.position, session.id);
        let kind = place.kind as usize;
        match place.hold {
            Hold::Waits => {
                self.waits[kind].remove(&at);
            }
            Hold::Has | Hold::Forced => {
                self.holds[kind].remove(&at);
                self.forced[kind] -= usize::from(place.hold == Hold::Forced);
            }
        }
    }

    /// Panics where it is not what the sessions say: for tests and simulations.
    pub fn check<'a>(&self, sessions: impl Iterator<Item = &'a Session>) {
        let mut count = 0;
        for session in sessions {
            assert_eq!(session.entry.place, place(session), "{}", session.name);
            count += usize::from(session.entry.place.is_some());
        }
        let holds: usize = self.holds.iter().map(BTreeMap::len).sum();
        let waits: usize = self.waits.iter().map(BTreeSet::len).sum();
        assert_eq!(holds + waits, count, "nobody is left over in the queue");
        assert!(!self.is_due, "places are given out in the turn");
    }

    /// Whether there is a place for one more of a kind.
    fn has_room(&self, kind: Kind) -> bool {
        let of = |kind: Kind| self.holds[kind as usize].len();
        let places = self.places[kind as usize];
        (places == 0 || of(kind) < places)
            && (self.places_all == 0 || of(Kind::Download) + of(Kind::Seed) < self.places_all)
    }

    /// Why a session waits; `None` when it does not.
    #[must_use]
    pub fn why(&self, session: &Session) -> Option<Waits> {
        let place = session.entry.place?;
        if place.hold != Hold::Waits {
            return None;
        }
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let places = self.places[place.kind as usize];
        let active = self.holds[place.kind as usize].len();
        let (key, what) = match place.kind {
            Kind::Download => ("queue.max_active_downloads", "downloads"),
            Kind::Seed => ("queue.max_active_seeds", "seeds"),
        };
        Some(if places > 0 && active >= places {
            Waits {
                key,
                what,
                active: number(active),
                most: number(places),
            }
        } else {
            Waits {
                key: "queue.max_active",
                what: "torrents",
                active: number(self.holds.iter().map(BTreeMap::len).sum()),
                most: number(self.places_all),
            }
        })
    }

    /// Who loses a place, and who gets one.
    fn decide(&mut self) -> (Vec<SessionId>, Vec<SessionId>) {
        self.is_due = false;
        let is_reordered = std::mem::take(&mut self.is_reordered);
        let (mut lose, mut get) = (Vec::new(), Vec::new());
        let mut left = [usize::MAX; 2];
        let mut left_all = usize::MAX;
        if self.places_all > 0 {
            left_all = self.places_all;
        }
        // By position: who it is, of which kind, and whether it has a place.
        let mut row: Vec<((u32, SessionId), Kind, bool)> = Vec::new();
        for kind in KINDS {
            let at = kind as usize;
            let is_bound = self.places[at] > 0 || self.places_all > 0;
            let contested = is_reordered && is_bound;
            let fixed = if contested {
                self.forced[at]
            } else {
                self.holds[at].len()
            };
            if self.places[at] > 0 {
                left[at] = self.places[at].saturating_sub(fixed);
            }
            if self.places_all > 0 {
                left_all = left_all.saturating_sub(fixed);
            }
            if contested {
                let held = self.holds[at].iter().filter(|(_, forced)| !**forced);
                row.extend(held.map(|(key, _)| (*key, kind, true)));
            }
            let most = left[at].min(left_all);
            row.extend(
                self.waits[at]
                    .iter()
                    .take(most)
                    .map(|key| (*key, kind, false)),
            );
        }
        row.sort_unstable();
        for ((_, id), kind, has) in row {
            let of_kind = &mut left[kind as usize];
            if *of_kind > 0 && left_all > 0 {
                *of_kind = of_kind.saturating_sub(1);
                left_all = left_all.saturating_sub(1);
                if !has {
                    get.push(id);
                }
            } else if has {
                lose.push(id);
            }
        }
        (lose, get)
    }
}

/// Where a session stands in the queue; `None` when nothing of it is the queue's business.
fn place(session: &Session) -> Option<Place> {
    let entry = &session.entry;
    if !entry.is_visible() {
        return None;
    }
    let hold = match session.phase {
        Phase::Trading if entry.forced => Hold::Forced,
        Phase::Trading if !entry.stalled => Hold::Has,
        Phase::Paused if !session.paused => Hold::Waits,
        _ => return None,
    };
    let kind = if session.download && !session.has_all_wanted() {
        Kind::Download
    } else {
        Kind::Seed
    };
    Some(Place {
        kind,
        position: entry.position,
        hold,
    })
}

impl Engine {
    /// Whether a session that could trade has to wait for its turn. It is of the kind that it would be when it traded.
    pub(in crate::engine) fn must_wait(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(id) else {
            return false;
        };
        if !session.entry.is_visible() || session.entry.forced {
            return false;
        }
        let kind = if session.download && !session.has_all_wanted() {
            Kind::Download
        } else {
            Kind::Seed
        };
        if self.shared.queue.has_room(kind) {
            return false;
        }
        // Those behind it may have places that were free while it was being checked.
        if !matches!(session.phase, Phase::Paused) {
            self.shared.queue.reorder();
        }
        true
    }

    /// Gives out places, once a turn.
    pub(in crate::engine) fn run_queue(&mut self) {
        // Whoever starts may turn out to be complete, and so make room; nobody is made to wait twice without a reason.
        while self.shared.queue.is_due && !self.is_ending() {
            let (lose, get) = self.shared.queue.decide();
            for id in lose {
                self.rest(id, "queue");
            }
            for id in get {
                self.begin_trading(id, "queue");
            }
        }
    }

    /// Once a second for each session that trades: whether it has stalled, or moves again.
    pub(in crate::engine) fn look_at_stall(&mut self, id: SessionId) {
        let now = self.shared.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let carried = session.down.total() + session.up.total();
        let entry = &mut session.entry;
        if carried != entry.carried {
            entry.carried = carried;
            entry.moved = now;
        }
        let quiet = now.since(entry.since.max(entry.moved));
        let stalled = self.shared.queue.stalled.is_some_and(|most| quiet >= most);
        if stalled != entry.stalled {
            entry.stalled = stalled;
            self.shared.queue.note(session);
        }
    }
}
