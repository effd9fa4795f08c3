//! When a torrent is searched for and announced in the DHT: those at work often, and at once when they lack peers; those
//! that rest seldom, and one by one, so that ten thousand of them are no burst.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::SessionId;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// A torrent at work is announced so often.
pub const LIVE_EVERY: Duration = Duration::from_secs(15 * 60);
/// A torrent that rests is announced so often: an announce is good for half an hour at the nodes that got it.
pub const RESTING_EVERY: Duration = Duration::from_secs(28 * 60);
/// A search that found nobody is repeated after so long, twice as long each time, up to [`LIVE_EVERY`].
const AGAIN_FIRST: Duration = Duration::from_secs(5);
/// A search that found peers is not repeated sooner, however many more are wanted.
const AGAIN_FOUND: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Turn {
    live: bool,
    due: Instant,
    asked: Option<Instant>,
    /// After the last search there is none for so long.
    wait: Duration,
}

/// The turns of all torrents that the DHT may know of; one each, so the torrents are the bound.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    turns: BTreeMap<SessionId, Turn>,
    /// Resting, live.
    due: [BTreeSet<(Instant, SessionId)>; 2],
}

impl Plan {
    /// A torrent is at work, or rests. Its search is due at once, or within a round by chance.
    pub fn enter(&mut self, id: SessionId, live: bool, now: Instant, rng: &mut Rng) {
        let old = self.remove(id);
        let asked = old.and_then(|turn| turn.asked);
        let due = match (live, asked) {
            (true, None) => now,
            // It was asked for lately; what was told of it holds.
            (true, Some(at)) => at + AGAIN_FOUND,
            (false, Some(at)) => at + RESTING_EVERY,
            (false, None) => {
                let span = u64::try_from(RESTING_EVERY.as_micros()).unwrap_or(u64::MAX);
                now + Duration::from_micros(rng.below(span))
            }
        };
        self.set(
            id,
            Turn {
                live,
                due,
                asked,
                wait: AGAIN_FIRST,
            },
        );
    }

    /// A torrent is gone, stopped, or private.
    pub fn leave(&mut self, id: SessionId) {
        self.remove(id);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A torrent lacks peers: its search is brought forward as far as may be.
    pub fn need(&mut self, id: SessionId, now: Instant) {
        if let Some(mut turn) = self.remove(id) {
            let soonest = turn.asked.map_or(now, |at| at + turn.wait);
            turn.due = turn.due.min(soonest.max(now));
            self.set(id, turn);
        }
    }

    /// A torrent whose search is due. It is searched for now, or [`Self::leave`]s.
    pub fn next(&mut self, live: bool, now: Instant) -> Option<SessionId> {
        let (due, id) = *self.due[usize::from(live)].first()?;
        (due <= now).then_some(id)
    }

    /// A search has begun.
    pub fn asked(&mut self, id: SessionId, now: Instant) {
        if let Some(mut turn) = self.remove(id) {
            turn.asked = Some(now);
            turn.due = now + if turn.live { LIVE_EVERY } else { RESTING_EVERY };
            self.set(id, turn);
        }
    }

    /// No search could begin now, since there are too many: it is its turn again soon.
    pub fn put_off(&mut self, id: SessionId, now: Instant) {
        if let Some(mut turn) = self.remove(id) {
            turn.due = now + AGAIN_FIRST;
            self.set(id, turn);
        }
    }

    /// It may not be searched for now, but perhaps later.
    pub fn skip(&mut self, id: SessionId, now: Instant) {
        if let Some(mut turn) = self.remove(id) {
            turn.due = now + RESTING_EVERY;
            self.set(id, turn);
        }
    }

    /// A search is over. Whether peers are lacking, [`Self::need`] says.
    pub fn over(&mut self, id: SessionId, found: usize) {
        if let Some(turn) = self.turns.get_mut(&id) {
            turn.wait = if found > 0 {
                AGAIN_FOUND
            } else {
                (2 * turn.wait).clamp(AGAIN_FIRST, LIVE_EVERY)
            };
        }
    }

    /// When a search is due.
    #[must_use]
    pub fn next_deadline(&self, live: bool) -> Option<Instant> {
        self.due[usize::from(live)].first().map(|(due, _)| *due)
    }

    fn remove(&mut self, id: SessionId) -> Option<Turn> {
        let turn = self.turns.remove(&id)?;
        self.due[usize::from(turn.live)].remove(&(turn.due, id));
        Some(turn)
    }

    fn set(&mut self, id: SessionId, turn: Turn) {
        self.due[usize::from(turn.live)].insert((turn.due, id));
        self.turns.insert(id, turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_at_work_come_at_once_and_those_at_rest_one_by_one() {
        let mut rng = Rng::new(4);
        let mut plan = Plan::default();
        let start = Instant::ZERO;
        let ids: Vec<_> = (0..10_000).map(|slot| SessionId::new(slot, 0)).collect();
        for &id in &ids[1..] {
            plan.enter(id, false, start, &mut rng);
        }
        plan.enter(ids[0], true, start, &mut rng);
        assert_eq!(plan.next(true, start), Some(ids[0]));
        plan.asked(ids[0], start);
        assert_eq!(plan.next_deadline(true), Some(start + LIVE_EVERY));
        // Any minute of a round has its share, and no more.
        let minute = Duration::from_secs(60);
        let mut all = 0;
        for n in 1..=28 {
            let now = start + n * minute;
            let mut count = 0;
            while let Some(id) = plan.next(false, now) {
                plan.asked(id, now);
                count += 1;
            }
            assert!((200..520).contains(&count), "minute {n}: {count}");
            all += count;
        }
        assert_eq!(all, ids.len() - 1);
    }

    #[test]
    fn who_lacks_peers_is_searched_for_more_and_more_seldom() {
        let mut rng = Rng::new(4);
        let mut plan = Plan::default();
        let id = SessionId::new(0, 0);
        plan.enter(id, true, Instant::ZERO, &mut rng);
        let mut now = Instant::ZERO;
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert_eq!(plan.next(true, now), Some(id));
            plan.asked(id, now);
            plan.over(id, 0);
            plan.need(id, now);
            let due = plan.next_deadline(true).unwrap();
            waits.push(due.since(now).as_secs());
            now = due;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 900, 900, 900]);
        plan.asked(id, now);
        plan.over(id, 3);
        plan.need(id, now + Duration::from_secs(1));
        assert_eq!(plan.next_deadline(true), Some(now + AGAIN_FOUND));
        plan.leave(id);
        plan.need(id, now);
        assert_eq!(plan.next_deadline(true), None);
    }
}
