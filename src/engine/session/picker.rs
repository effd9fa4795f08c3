//! Which piece is fetched next: of those of the highest priority the rarest that we want, lack and have not opened; among
//! equals, chance decides.
//!
//! The pieces that can be picked stand in a row for each priority, ordered by how many peers have them, with the bounds of
//! each availability beside it ([`row`]). A `have` moves a piece over one bound by one swap, so it costs the same in a
//! torrent of ten pieces and of a hundred thousand. Peers that have everything are only counted: they make no piece rarer
//! than another.
//!
//! Invariants: a piece stands in the row of its priority exactly when it is wanted and neither had nor open; `lacking` is
//! what is wanted and not had.

mod row;

use crate::codec::bitfield::Bitfield;
use crate::codec::geometry::{Geometry, PieceIndex};
use crate::rng::Rng;

use row::{NOWHERE, Row, Sought};

/// Until so many pieces are ours they are picked by chance: a whole piece to trade with soon is worth more than a rare one,
/// which few can send.
const FIRST_PIECES: usize = 4;
/// Pieces tried in a row, rarest first, before the peer's bitfield is compared as a whole.
const TRIES: usize = 64;

/// How soon a file is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// When nothing else can be had.
    Low,
    /// As any.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// As clients say it: -1, 0 or 1.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Low => -1,
            Self::Normal => 0,
            Self::High => 1,
        }
    }

    /// Which row its pieces stand in; the first is picked from first.
    const fn row(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

/// What a peer has.
#[derive(Clone, Copy, Debug)]
pub enum PeerHas<'a> {
    /// Everything (it was counted by [`Picker::seed_joined`]).
    All,
    /// These (counted by [`Picker::peer_joined`] and [`Picker::peer_has`]).
    Some(&'a Bitfield),
}

impl PeerHas<'_> {
    /// Whether it has `piece`.
    #[must_use]
    pub fn has(&self, piece: PieceIndex) -> bool {
        match self {
            Self::All => true,
            Self::Some(bits) => bits.get(piece.index()),
        }
    }
}

/// The picker of one torrent.
#[derive(Clone, Debug)]
pub struct Picker {
    geometry: Geometry,
    /// Pieces that can be picked, by [`Priority::row`].
    rows: [Row; 3],
    /// Where each piece stands in its row, or [`NOWHERE`].
    place: Vec<u32>,
    /// The priority of each piece; empty while all are alike.
    priorities: Vec<Priority>,
    /// How many peers have each piece, those that have everything not counted.
    holders: Vec<u32>,
    /// Peers that have everything.
    seeds: u32,
    have: Bitfield,
    wanted: Bitfield,
    open: Bitfield,
    /// The pieces of the rows, as a set.
    pickable: Bitfield,
    /// The pieces that are wanted and not had, open ones included.
    lacking: Bitfield,
}

impl Picker {
    /// Everything wanted, nothing had, nobody there. `rng` draws the order among equals.
    #[must_use]
    pub fn new(geometry: Geometry, rng: &mut Rng) -> Self {
        let count = geometry.piece_count() as usize;
        let mut row: Vec<u32> = (0..geometry.piece_count()).collect();
        rng.shuffle(&mut row);
        let mut place = vec![NOWHERE; count];
        for (at, &piece) in (0..).zip(&row) {
            place[piece as usize] = at;
        }
        Self {
            geometry,
            rows: [Row::default(), Row::of(row), Row::default()],
            place,
            priorities: Vec::new(),
            holders: vec![0; count],
            seeds: 0,
            have: Bitfield::new(count),
            wanted: Bitfield::full(count),
            open: Bitfield::new(count),
            pickable: Bitfield::full(count),
            lacking: Bitfield::full(count),
        }
    }

    // What we have and want.

    /// Whether `piece` is to be fetched. An open piece stays open: its owner decides.
    pub fn set_wanted(&mut self, piece: PieceIndex, wanted: bool) {
        let index = piece.index();
        if wanted {
            self.wanted.set(index);
        } else {
            self.wanted.clear(index);
        }
        self.settle(index);
    }

    /// How soon `piece` is to be fetched.
    pub fn set_priority(&mut self, piece: PieceIndex, priority: Priority) {
        let index = piece.index();
        if self.priority(index) == priority {
            return;
        }
        let stands = self.pickable.get(index);
        if stands {
            self.leave(index);
        }
        if self.priorities.is_empty() {
            self.priorities = vec![Priority::default(); self.holders.len()];
        }
        self.priorities[index] = priority;
        if stands {
            self.enter(index);
        }
    }

    /// `piece` is ours: verified and written. It is no longer open.
    pub fn set_have(&mut self, piece: PieceIndex) {
        let index = piece.index();
        self.open.clear(index);
        self.have.set(index);
        self.settle(index);
    }

    /// `piece` is ours no longer: it will be fetched again if it is wanted.
    pub fn lost(&mut self, piece: PieceIndex) {
        let index = piece.index();
        self.open.clear(index);
        self.have.clear(index);
        self.settle(index);
    }

    /// Marks `piece` as being fetched without picking it: it was begun in an earlier run. `false` when it cannot be picked.
    pub fn open(&mut self, piece: PieceIndex) -> bool {
        let pickable = self.pickable.get(piece.index());
        if pickable {
            self.open.set(piece.index());
            self.settle(piece.index());
        }
        pickable
    }

    /// Gives an open piece back: it can be picked again.
    pub fn close(&mut self, piece: PieceIndex) {
        self.open.clear(piece.index());
        self.settle(piece.index());
    }

    // What peers have.

    /// A peer that does not have everything came, with these.
    pub fn peer_joined(&mut self, bits: &Bitfield) {
        bits.iter_ones().for_each(|index| self.gain(index));
    }

    /// A peer that does not have everything went; `bits` are all it ever had.
    pub fn peer_gone(&mut self, bits: &Bitfield) {
        bits.iter_ones().for_each(|index| self.lose(index));
    }

    /// A peer got `piece`, which it did not have before.
    pub fn peer_has(&mut self, piece: PieceIndex) {
        self.gain(piece.index());
    }

    /// A peer that has everything came. One that has just got its last piece is first `peer_gone`, then this.
    pub const fn seed_joined(&mut self) {
        self.seeds += 1;
    }

    /// A peer that has everything went.
    pub const fn seed_gone(&mut self) {
        assert!(self.seeds > 0, "who goes has come");
        self.seeds -= 1;
    }

    // Decisions.

    /// Picks the rarest piece that can be picked and that the peer has, of the highest priority among these, and marks it open.
    /// `None`: nothing for this peer.
    ///
    /// Takes a few steps for a peer that has much of what we lack; at most half as many as pieces are missing for any other.
    pub fn pick(&mut self, peer: PeerHas<'_>, rng: &mut Rng) -> Option<PieceIndex> {
        let index = match peer {
            _ if self.pickable.count() == 0 => return None,
            PeerHas::All => self.pick_of_rows(0, |_| true, usize::MAX, rng),
            PeerHas::Some(bits) => {
                let common = bits.count_common(&self.pickable);
                if common == 0 {
                    return None;
                }
                // A peer with more than half of what can be picked is found in it soon enough, however unlucky the order.
                let tries = if common > self.pickable.count() / 2 {
                    usize::MAX
                } else {
                    TRIES
                };
                self.pick_of_rows(1, |index| bits.get(index), tries, rng)
                    .or_else(|| self.rarest(bits.iter_common(&self.pickable), rng))
            }
        }?;
        self.open_index(index)
    }

    /// Whether the peer has something that we want and lack, open pieces included.
    #[must_use]
    pub fn is_interesting(&self, peer: PeerHas<'_>) -> bool {
        match peer {
            PeerHas::All => self.lacking.count() > 0,
            PeerHas::Some(bits) => bits.intersects(&self.lacking),
        }
    }

    /// Whether we want `piece` and lack it.
    #[must_use]
    pub fn wants(&self, piece: PieceIndex) -> bool {
        self.lacking.get(piece.index())
    }

    // Counts.

    /// The pieces that are ours.
    #[must_use]
    pub const fn have(&self) -> &Bitfield {
        &self.have
    }

    /// The pieces that are wanted, had or not.
    #[must_use]
    pub const fn wanted(&self) -> &Bitfield {
        &self.wanted
    }

    /// Whether `piece` is being fetched.
    #[must_use]
    pub fn is_open(&self, piece: PieceIndex) -> bool {
        self.open.get(piece.index())
    }

    /// How many pieces are being fetched.
    #[must_use]
    pub const fn open_count(&self) -> usize {
        self.open.count()
    }

    /// How many are wanted and not ours.
    #[must_use]
    pub const fn missing(&self) -> usize {
        self.lacking.count()
    }

    /// How many can be picked. None, and some missing: the end game.
    #[must_use]
    pub const fn pickable(&self) -> usize {
        self.pickable.count()
    }

    /// How many peers have `piece`.
    #[must_use]
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        self.holders[piece.index()] + self.seeds
    }

    /// How many peers have everything.
    #[must_use]
    pub const fn seeds(&self) -> u32 {
        self.seeds
    }

    // The rows.

    /// The first piece of the rows that `has` says yes to, among at most `tries` of each that `rarest` peers or more have.
    /// `None` also when a row was given up: what comes behind in it goes before all other rows.
    fn pick_of_rows(
        &self,
        rarest: usize,
        has: impl Fn(usize) -> bool,
        tries: usize,
        rng: &mut Rng,
    ) -> Option<usize> {
        let by_chance = self.have.count() < FIRST_PIECES;
        for row in self.rows.iter().filter(|row| !row.is_empty()) {
            match row.seek(rarest, by_chance, &has, tries, rng) {
                Sought::Found(index) => return Some(index),
                Sought::GivenUp => return None,
                Sought::Nothing => {}
            }
        }
        None
    }

    /// The rarest of `candidates`, all of which can be picked, of the highest priority among them; any of these while we have
    /// few pieces.
    fn rarest(&self, candidates: impl Iterator<Item = usize>, rng: &mut Rng) -> Option<usize> {
        let by_chance = self.have.count() < FIRST_PIECES;
        let mut best = None;
        let mut equals = 0;
        for index in candidates {
            let holders = if by_chance { 0 } else { self.holders[index] };
            let rank = (self.priority(index).row(), holders);
            match best {
                Some((least, _)) if rank > least => continue,
                Some((least, _)) if rank == least => equals += 1,
                _ => equals = 1,
            }
            // Each of the equals seen so far stays with the same chance.
            if rng.chance(1, equals) {
                best = Some((rank, index));
            }
        }
        best.map(|(_, index)| index)
    }

    fn priority(&self, index: usize) -> Priority {
        self.priorities.get(index).copied().unwrap_or_default()
    }

    fn open_index(&mut self, index: usize) -> Option<PieceIndex> {
        self.open.set(index);
        self.settle(index);
        self.geometry.piece(u32::try_from(index).ok()?)
    }

    /// Puts a piece into its row or takes it out, as its state asks.
    fn settle(&mut self, index: usize) {
        let lacking = self.wanted.get(index) && !self.have.get(index);
        if lacking {
            self.lacking.set(index);
        } else {
            self.lacking.clear(index);
        }
        let can = lacking && !self.open.get(index);
        if can && self.pickable.set(index) {
            self.enter(index);
        } else if !can && self.pickable.clear(index) {
            self.leave(index);
        }
    }

    fn enter(&mut self, index: usize) {
        let row = &mut self.rows[self.priority(index).row()];
        row.enter(index, self.holders[index], &mut self.place);
    }

    fn leave(&mut self, index: usize) {
        let row = &mut self.rows[self.priority(index).row()];
        row.leave(index, self.holders[index], &mut self.place);
    }

    /// One more peer has it.
    fn gain(&mut self, index: usize) {
        if self.pickable.get(index) {
            let row = &mut self.rows[self.priority(index).row()];
            row.gain(index, self.holders[index], &mut self.place);
        }
        self.holders[index] += 1;
    }

    /// One peer less has it.
    fn lose(&mut self, index: usize) {
        assert!(self.holders[index] > 0, "who goes has come");
        self.holders[index] -= 1;
        if self.pickable.get(index) {
            let row = &mut self.rows[self.priority(index).row()];
            row.lose(index, self.holders[index], &mut self.place);
        }
    }
}

#[cfg(test)]
mod tests;
