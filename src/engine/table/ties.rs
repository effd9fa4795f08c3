//! How one link stands in each of its swarms.
//!
//! Most links belong to one swarm: that tie lies in the link itself. Those of several keep a sorted list beside it.

/// One link in one swarm: eight bytes. There is one while the link may be dialled for the swarm, or a stream of it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tie {
    /// Slot of the swarm.
    pub(super) swarm: u32,
    /// Place in the swarm's list in the low bits, what it is in the high ones.
    word: u32,
}

/// What a link is in a swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Mark {
    /// It may be dialled for it.
    Candidate = 1 << 31,
    /// A person named it for it.
    Pinned = 1 << 30,
    /// A stream of it is accounted in it.
    Member = 1 << 29,
    /// We dialled that stream. Only of members.
    Uplink = 1 << 28,
}

/// Places are below this; links are fewer (see `LINKS_MAX` and the bounds of streams).
const PLACE_BITS: u32 = 28;
const PLACE: u32 = (1 << PLACE_BITS) - 1;

impl Tie {
    pub(super) const fn new(swarm: u32, place: u32) -> Self {
        Self {
            swarm,
            word: place & PLACE,
        }
    }

    pub(super) const fn place(self) -> u32 {
        self.word & PLACE
    }

    pub(super) const fn set_place(&mut self, place: u32) {
        self.word = self.word & !PLACE | place & PLACE;
    }

    pub(super) const fn is(self, mark: Mark) -> bool {
        self.word & mark as u32 != 0
    }

    pub(super) const fn mark(&mut self, mark: Mark, on: bool) {
        if on {
            self.word |= mark as u32;
        } else {
            self.word &= !(mark as u32);
        }
    }

    /// Whether the link belongs to the swarm: more than a stream that only names it.
    pub(super) const fn belongs(self) -> bool {
        self.word & !PLACE != 0
    }
}

/// A link's ties, by swarm.
#[derive(Clone, Debug, Default)]
pub(super) enum Ties {
    /// It is in no swarm.
    #[default]
    None,
    /// In one.
    One(Tie),
    /// In several, by swarm. As narrow as a pointer, since few links need it.
    #[allow(
        clippy::box_collection,
        reason = "a vector is three words wide, in every link"
    )]
    Many(Box<Vec<Tie>>),
}

impl Ties {
    pub(super) fn as_slice(&self) -> &[Tie] {
        match self {
            Self::None => &[],
            Self::One(tie) => std::slice::from_ref(tie),
            Self::Many(ties) => ties,
        }
    }

    pub(super) fn get(&self, swarm: u32) -> Option<Tie> {
        match self {
            Self::None => None,
            Self::One(tie) => (tie.swarm == swarm).then_some(*tie),
            Self::Many(ties) => find(ties, swarm).ok().map(|at| ties[at]),
        }
    }

    pub(super) fn get_mut(&mut self, swarm: u32) -> Option<&mut Tie> {
        match self {
            Self::None => None,
            Self::One(tie) => (tie.swarm == swarm).then_some(tie),
            Self::Many(ties) => find(ties, swarm).ok().map(|at| &mut ties[at]),
        }
    }

    /// Adds a tie to a swarm that has none.
    pub(super) fn insert(&mut self, tie: Tie) {
        match self {
            Self::None => *self = Self::One(tie),
            Self::One(other) => {
                let mut ties = vec![*other, tie];
                ties.sort_unstable_by_key(|tie| tie.swarm);
                *self = Self::Many(Box::new(ties));
            }
            Self::Many(ties) => {
                if let Err(at) = find(ties, tie.swarm) {
                    ties.insert(at, tie);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, swarm: u32) -> Option<Tie> {
        let tie = self.get(swarm)?;
        match self {
            Self::None => {}
            Self::One(_) => *self = Self::None,
            Self::Many(ties) => {
                ties.retain(|tie| tie.swarm != swarm);
                if let &[last] = ties.as_slice() {
                    *self = Self::One(last);
                }
            }
        }
        Some(tie)
    }
}

fn find(ties: &[Tie], swarm: u32) -> Result<usize, usize> {
    ties.binary_search_by_key(&swarm, |tie| tie.swarm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::BTreeMap;

    #[test]
    fn a_set_of_ties_is_a_map_by_swarm() {
        let mut rng = Rng::new(5);
        let mut ties = Ties::default();
        let mut model: BTreeMap<u32, Tie> = BTreeMap::new();
        for step in 0..20_000 {
            let swarm = rng.next_u32() % 6;
            let place = rng.next_u32() & PLACE;
            match rng.below(3) {
                0 if !model.contains_key(&swarm) => {
                    ties.insert(Tie::new(swarm, place));
                    model.insert(swarm, Tie::new(swarm, place));
                }
                1 => {
                    let on = rng.chance(1, 2);
                    for tie in [ties.get_mut(swarm), model.get_mut(&swarm)] {
                        let Some(tie) = tie else { continue };
                        tie.mark(Mark::Member, on);
                        tie.set_place(place);
                        assert_eq!((tie.place(), tie.is(Mark::Member)), (place, on));
                        assert_eq!(tie.belongs(), on);
                    }
                }
                2 => assert_eq!(ties.remove(swarm), model.remove(&swarm), "step {step}"),
                _ => {}
            }
            let want: Vec<Tie> = model.values().copied().collect();
            assert_eq!(ties.as_slice(), want, "step {step}");
            assert_eq!(ties.get(swarm), model.get(&swarm).copied());
        }
        assert_eq!(size_of::<Ties>(), 16);
    }
}
