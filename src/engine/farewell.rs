//! Torrents that are gone, but whose trackers are still being told so: nobody waits for that, and the torrent may be added
//! again meanwhile.
//!
//! Invariant: whoever is here has a tracker that was not told yet. A shutdown ends when nobody is here any more, or when the
//! trackers have had their time.

use std::collections::BTreeMap;

use crate::ids::{InfoHash, SessionId};

use super::Engine;
use super::session::trackers::{Facts, Trackers};
use super::shared::TimerKey;

/// Torrents whose trackers are being told at once. Of one more than that, the one that waits longest is not waited for: its
/// tracker finds out by itself.
const FAREWELLS_MAX: usize = 131_072;

/// Those that are gone, by the ids they had, which nobody gets again.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    gone: BTreeMap<SessionId, Box<Gone>>,
    by_hash: BTreeMap<InfoHash, SessionId>,
}

#[derive(Debug)]
struct Gone {
    trackers: Trackers,
    facts: Facts,
}

impl Farewells {
    /// The trackers of a torrent that is gone.
    pub(super) fn trackers(&self, id: SessionId) -> Option<&Trackers> {
        Some(&self.gone.get(&id)?.trackers)
    }

    /// The same.
    pub(super) fn trackers_mut(&mut self, id: SessionId) -> Option<&mut Trackers> {
        Some(&mut self.gone.get_mut(&id)?.trackers)
    }

    /// What they are told.
    pub(super) fn facts(&self, id: SessionId) -> Option<&Facts> {
        Some(&self.gone.get(&id)?.facts)
    }

    /// Whether nobody is here.
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty()
    }

    /// How many trackers have not answered.
    pub(super) fn unanswered(&self) -> usize {
        let all = self.gone.values();
        all.map(|gone| gone.trackers.unanswered()).sum()
    }

    fn remove(&mut self, id: SessionId) -> Option<Box<Gone>> {
        let gone = self.gone.remove(&id)?;
        let info_hash = gone.facts.info_hash;
        if self.by_hash.get(&info_hash) == Some(&id) {
            self.by_hash.remove(&info_hash);
        }
        Some(gone)
    }
}

impl Engine {
    /// A torrent is gone, and `trackers` may have to be told. `facts` is what they knew of it.
    pub(super) fn depart(
        &mut self,
        id: SessionId,
        trackers: Option<Trackers>,
        facts: Option<Facts>,
    ) {
        let waits = trackers.as_ref().is_some_and(|one| !one.is_stopped());
        match (trackers, facts) {
            (Some(trackers), Some(facts)) if waits && !self.farewells_are_over() => {
                let farewells = &mut self.farewells;
                farewells.by_hash.insert(facts.info_hash, id);
                let gone = Box::new(Gone { trackers, facts });
                farewells.gone.insert(id, gone);
                let first = farewells.gone.first_key_value().map(|(id, _)| *id);
                if let Some(first) = first.filter(|_| farewells.gone.len() > FAREWELLS_MAX) {
                    self.farewell_over(first);
                }
            }
            (trackers, _) => {
                self.forget_turns(id);
                self.shared.timers.cancel(TimerKey::Trackers(id));
                self.ended_one(trackers.as_ref().map_or(0, Trackers::unanswered));
            }
        }
    }

    /// Takes note when the trackers of one that is gone have all been told.
    pub(super) fn advance_farewell(&mut self, id: SessionId) {
        let trackers = self.farewells.trackers(id);
        if trackers.is_some_and(Trackers::is_stopped) {
            self.farewell_over(id);
        }
    }

    /// Nobody else is told.
    pub(super) fn farewells_over(&mut self) {
        let all: Vec<SessionId> = self.farewells.gone.keys().copied().collect();
        for id in all {
            self.farewell_over(id);
        }
    }

    /// The torrent is there again: a `stopped` that was not sent yet would only undo its `started`.
    pub(super) fn recall_farewell(&mut self, info_hash: InfoHash) {
        if let Some(&id) = self.farewells.by_hash.get(&info_hash) {
            self.farewell_over(id);
        }
    }

    fn farewell_over(&mut self, id: SessionId) {
        let Some(gone) = self.farewells.remove(id) else {
            return;
        };
        self.forget_turns(id);
        self.shared.timers.cancel(TimerKey::Trackers(id));
        self.ended_one(gone.trackers.unanswered());
    }
}
