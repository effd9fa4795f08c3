//! Which pieces somebody has: one bit a piece, the first piece in the most significant bit (BEP 3).
//!
//! Kept in 64-bit words, so that two bitfields of 100 000 pieces are compared in some 1600 steps. The spare bits behind the
//! last piece are always clear: [`Bitfield::from_wire`] refuses a peer that sets one, and nothing else can.

use std::fmt;

const WORD_BITS: usize = 64;

/// A set of piece indices below a fixed length. Its count is kept, not computed.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    words: Vec<u64>,
    len: usize,
    ones: usize,
}

impl Bitfield {
    /// `len` clear bits.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(WORD_BITS)],
            len,
            ones: 0,
        }
    }

    /// `len` set bits.
    #[must_use]
    pub fn full(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(WORD_BITS)];
        let spare = words.len() * WORD_BITS - len;
        if let Some(last) = words.last_mut() {
            *last <<= spare;
        }
        Self {
            words,
            len,
            ones: len,
        }
    }

    /// The payload of a `bitfield` message for `len` pieces.
    ///
    /// `None` for any other length than `len` asks for, and for a set spare bit: BEP 3 closes the stream on either.
    /// Allocates only for a payload of the right length, which the torrent decides and not the peer.
    #[must_use]
    pub fn from_wire(bytes: &[u8], len: usize) -> Option<Self> {
        if bytes.len() != len.div_ceil(8) {
            return None;
        }
        let spare = bytes.len() * 8 - len;
        if bytes
            .last()
            .is_some_and(|last| last.trailing_zeros() < u32::try_from(spare).unwrap_or(8))
        {
            return None;
        }
        let words: Vec<u64> = bytes
            .chunks(8)
            .map(|part| {
                let mut word = [0; 8];
                word[..part.len()].copy_from_slice(part);
                u64::from_be_bytes(word)
            })
            .collect();
        let ones = words.iter().map(|word| word.count_ones() as usize).sum();
        Some(Self { words, len, ones })
    }

    /// The payload of a `bitfield` message: `len / 8` bytes, rounded up.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|w| w.to_be_bytes()).collect();
        bytes.truncate(self.len.div_ceil(8));
        bytes
    }

    /// How many bits there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bits at all: a torrent without bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many are set.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.ones
    }

    /// Whether all are set.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Whether bit `index` is set; `false` beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> bool {
        self.words
            .get(index / WORD_BITS)
            .is_some_and(|word| word & mask(index) != 0)
    }

    /// Sets bit `index`; says whether it was clear. An index beyond the end is a bug.
    pub fn set(&mut self, index: usize) -> bool {
        assert!(index < self.len, "a piece of this torrent");
        let word = &mut self.words[index / WORD_BITS];
        let was_clear = *word & mask(index) == 0;
        *word |= mask(index);
        self.ones += usize::from(was_clear);
        was_clear
    }

    /// Clears bit `index`; says whether it was set. An index beyond the end is a bug.
    pub fn clear(&mut self, index: usize) -> bool {
        assert!(index < self.len, "a piece of this torrent");
        let word = &mut self.words[index / WORD_BITS];
        let was_set = *word & mask(index) != 0;
        *word &= !mask(index);
        self.ones -= usize::from(was_set);
        was_set
    }

    /// The set bits, ascending.
    pub fn iter_ones(&self) -> impl Iterator<Item = usize> + '_ {
        ones_of(self.words.iter().copied())
    }

    /// Whether some bit is set in both. Both are of one torrent.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        debug_assert_eq!(self.len, other.len, "bitfields of one torrent");
        self.words
            .iter()
            .zip(&other.words)
            .any(|(mine, theirs)| mine & theirs != 0)
    }

    /// Whether some bit is set here and clear in `ours`: does this peer have something that we lack?
    #[must_use]
    pub fn has_any_missing_in(&self, ours: &Self) -> bool {
        debug_assert_eq!(self.len, ours.len, "bitfields of one torrent");
        self.words
            .iter()
            .zip(&ours.words)
            .any(|(theirs, mine)| theirs & !mine != 0)
    }

    /// How many bits are set in both.
    #[must_use]
    pub fn count_common(&self, other: &Self) -> usize {
        debug_assert_eq!(self.len, other.len, "bitfields of one torrent");
        self.words
            .iter()
            .zip(&other.words)
            .map(|(mine, theirs)| (mine & theirs).count_ones() as usize)
            .sum()
    }

    /// The bits that are set in both, ascending.
    pub fn iter_common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> + 'a {
        debug_assert_eq!(self.len, other.len, "bitfields of one torrent");
        ones_of(self.words.iter().zip(&other.words).map(|(a, b)| a & b))
    }
}

/// Where bit `index` lies in its word.
const fn mask(index: usize) -> u64 {
    (1 << (WORD_BITS - 1)) >> (index % WORD_BITS)
}

/// The places of the set bits in a row of words.
fn ones_of<'a>(words: impl Iterator<Item = u64> + 'a) -> impl Iterator<Item = usize> + 'a {
    words
        .enumerate()
        .filter(|&(_, word)| word != 0)
        .flat_map(|(place, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.leading_zeros() as usize;
                (bit < WORD_BITS).then(|| {
                    word &= !mask(bit);
                    place * WORD_BITS + bit
                })
            })
        })
}

impl fmt::Debug for Bitfield {
    /// The counts: the bits of 100 000 pieces help nobody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({}/{})", self.ones, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_wire_is_checked_at_the_border() {
        type Case = (&'static str, &'static [u8], usize, Option<&'static [usize]>);
        #[rustfmt::skip]
        let table: &[Case] = &[
            ("no pieces",            &[],              0,  Some(&[])),
            ("first and last",       &[0x80, 0x40],    10, Some(&[0, 9])),
            ("all of a byte",        &[0xff],          8,  Some(&[0, 1, 2, 3, 4, 5, 6, 7])),
            ("too short",            &[0x80],          10, None),
            ("too long",             &[0x80, 0, 0],    10, None),
            ("empty, but should not", &[],             1,  None),
            ("something for nothing", &[0],            0,  None),
            ("a spare bit",          &[0x80, 0x20],    10, None),
            ("the last spare bit",   &[0x80, 0x01],    10, None),
        ];
        for &(name, bytes, len, want) in table {
            let got = Bitfield::from_wire(bytes, len);
            let ones = got
                .as_ref()
                .map(|bits| bits.iter_ones().collect::<Vec<_>>());
            assert_eq!(ones.as_deref(), want, "{name}");
            if let Some(bits) = got {
                assert_eq!(bits.to_wire(), bytes, "{name}");
            }
        }
    }

    #[test]
    fn a_full_one_has_no_spare_bits() {
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 128, 1000] {
            let full = Bitfield::full(len);
            assert!(full.is_full(), "{len}");
            assert_eq!(full.iter_ones().count(), len, "{len}");
            assert_eq!(
                Bitfield::from_wire(&full.to_wire(), len),
                Some(full),
                "{len}"
            );
            assert_eq!(Bitfield::new(len).is_full(), len == 0, "{len}");
        }
    }

    #[test]
    fn behaves_like_a_row_of_bools() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let len = rng.index(300) + 1;
            let (mut bits, mut model) = (Bitfield::new(len), vec![false; len]);
            let (mut other, mut second) = (Bitfield::new(len), vec![false; len]);
            for _ in 0..500 {
                let index = rng.index(len);
                match rng.below(3) {
                    0 => assert_eq!(bits.set(index), !std::mem::replace(&mut model[index], true)),
                    1 => assert_eq!(bits.clear(index), std::mem::take(&mut model[index])),
                    _ => assert_eq!(
                        other.set(index),
                        !std::mem::replace(&mut second[index], true)
                    ),
                }
            }
            let places =
                |of: &dyn Fn(usize) -> bool| (0..len).filter(|&i| of(i)).collect::<Vec<_>>();
            assert_eq!(
                bits.iter_ones().collect::<Vec<_>>(),
                places(&|i| model[i]),
                "seed {seed}"
            );
            assert_eq!(bits.count(), places(&|i| model[i]).len(), "seed {seed}");
            let common = places(&|i| model[i] && second[i]);
            assert_eq!(
                bits.iter_common(&other).collect::<Vec<_>>(),
                common,
                "seed {seed}"
            );
            assert_eq!(bits.count_common(&other), common.len(), "seed {seed}");
            assert_eq!(bits.intersects(&other), !common.is_empty(), "seed {seed}");
            let lacking = places(&|i| model[i] && !second[i]);
            assert_eq!(
                bits.has_any_missing_in(&other),
                !lacking.is_empty(),
                "seed {seed}"
            );
            assert_eq!(
                Bitfield::from_wire(&bits.to_wire(), len),
                Some(bits),
                "seed {seed}"
            );
        }
    }
}
