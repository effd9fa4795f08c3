//! The pieces of one priority that can be picked, ordered by how many peers have them, with the bounds of each availability
//! beside them: a piece moves over one bound by one swap.
//!
//! Invariants: the row and `place` (which belongs to the picker, since a piece stands in one row at most) are inverse; the
//! bounds ascend and the last one is the row's length.

use crate::rng::Rng;

/// Where a piece stands that is in no row.
pub(super) const NOWHERE: u32 = u32::MAX;

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Rarest first.
    pub(super) pieces: Vec<u32>,
    /// `bounds[a]` is where the pieces that `a` peers have end. As long as the largest availability ever seen, never empty.
    pub(super) bounds: Vec<u32>,
}

impl Default for Row {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

/// How a search went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// This piece.
    Found(usize),
    /// None of the row.
    Nothing,
    /// None of as many as were to be tried; there are more.
    GivenUp,
}

impl Row {
    /// These, which nobody has.
    pub(super) fn of(pieces: Vec<u32>) -> Self {
        let end = u32::try_from(pieces.len()).expect("as many as pieces at most");
        Self {
            pieces,
            bounds: vec![end],
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The first piece that `has` says yes to, among at most `tries` that `rarest` peers or more have. Each run of equals is
    /// entered at a random place and gone round once; `by_chance` takes all for equals.
    pub(super) fn seek(
        &self,
        rarest: usize,
        by_chance: bool,
        has: impl Fn(usize) -> bool,
        tries: usize,
        rng: &mut Rng,
    ) -> Sought {
        let last = self.bounds.len() - 1;
        let ends = if by_chance {
            &self.bounds[last..]
        } else {
            &self.bounds[rarest.min(last)..]
        };
        let mut tries = tries;
        let mut from = match rarest.min(self.bounds.len()).checked_sub(1) {
            None => 0,
            Some(below) => self.bounds[below] as usize,
        };
        for &end in ends {
            let equals = &self.pieces[from.min(end as usize)..end as usize];
            from = end as usize;
            if equals.is_empty() {
                continue;
            }
            let (before, after) = equals.split_at(rng.index(equals.len()));
            for &piece in after.iter().chain(before) {
                if has(piece as usize) {
                    return Sought::Found(piece as usize);
                }
                tries -= 1;
                if tries == 0 {
                    return Sought::GivenUp;
                }
            }
        }
        Sought::Nothing
    }

    /// Appends, then swaps downwards over one bound at a time.
    pub(super) fn enter(&mut self, index: usize, holders: u32, place: &mut [u32]) {
        let mut at = self.pieces.len();
        self.pieces
            .push(u32::try_from(index).expect("below the piece count"));
        self.note(at, place);
        let holders = holders as usize;
        self.reach(holders);
        for above in (holders + 1..self.bounds.len()).rev() {
            self.bounds[above] += 1;
            let first = self.bounds[above - 1] as usize;
            self.swap(at, first, place);
            at = first;
        }
        self.bounds[holders] += 1;
    }

    /// Swaps upwards over one bound at a time, then drops off the end.
    pub(super) fn leave(&mut self, index: usize, holders: u32, place: &mut [u32]) {
        let mut at = place[index] as usize;
        for bound in holders as usize..self.bounds.len() {
            self.bounds[bound] -= 1;
            let last = self.bounds[bound] as usize;
            self.swap(at, last, place);
            at = last;
        }
        self.pieces.pop();
        place[index] = NOWHERE;
    }

    /// One more than `holders` peers have it: its run gives it to the next.
    pub(super) fn gain(&mut self, index: usize, holders: u32, place: &mut [u32]) {
        let before = holders as usize;
        self.reach(before + 1);
        self.bounds[before] -= 1;
        self.swap(place[index] as usize, self.bounds[before] as usize, place);
    }

    /// `holders` peers have it, one less than before.
    pub(super) fn lose(&mut self, index: usize, holders: u32, place: &mut [u32]) {
        let after = holders as usize;
        self.swap(place[index] as usize, self.bounds[after] as usize, place);
        self.bounds[after] += 1;
    }

    /// Makes sure that there is a bound for this availability. Bounded by the peers of one swarm.
    fn reach(&mut self, holders: usize) {
        let end = self.bounds[self.bounds.len() - 1];
        if self.bounds.len() <= holders {
            self.bounds.resize(holders + 1, end);
        }
    }

    fn swap(&mut self, a: usize, b: usize, place: &mut [u32]) {
        self.pieces.swap(a, b);
        self.note(a, place);
        self.note(b, place);
    }

    fn note(&self, at: usize, place: &mut [u32]) {
        place[self.pieces[at] as usize] = u32::try_from(at).expect("below the piece count");
    }
}
