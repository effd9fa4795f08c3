//! AVX-512's instructions on plain arrays, as the manual defines them, under the same shared code.
//!
//! Sixteen lanes of this run the rounds, the transposition and the operands of `avx512.rs`; only the mapping from
//! operation to intrinsic is left for the eye (or for a CPU that has it).

#![allow(
    unsafe_code,
    reason = "implements and calls a trait whose functions are unsafe"
)]

use super::super::avx512::{CHOOSE, EVEN_GROUPS, MAJORITY, ODD_GROUPS, PARITY};
use super::super::rounds::{self, SWAP_BYTES, Vector};
use super::super::transpose::{Shuffle, transpose};
use super::*;

/// A 512-bit register as doublewords, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Register([u32; 16]);

/// `VPTERNLOGD`: each result bit is the operand's bit that the three source bits number.
fn ternary_logic<const TABLE: i32>(a: Register, b: Register, c: Register) -> Register {
    Register(std::array::from_fn(|lane| {
        (0..32).fold(0, |word, bit| {
            let of = |register: Register| register.0[lane] >> bit & 1;
            let row = of(a) << 2 | of(b) << 1 | of(c);
            word | (TABLE as u32 >> row & 1) << bit
        })
    }))
}

/// `VPUNPCKLDQ` and `VPUNPCKHDQ`, `VPUNPCKLQDQ` and `VPUNPCKHQDQ`: in each 128-bit lane, these doublewords of both.
fn unpack(a: Register, b: Register, order: [(bool, usize); 4]) -> Register {
    Register(std::array::from_fn(|i| {
        let (from_b, offset) = order[i % 4];
        let source = if from_b { b } else { a };
        source.0[i / 4 * 4 + offset]
    }))
}

/// `VSHUFI32X4`: two 128-bit lanes of each source, each numbered by two bits of the operand.
fn shuffle_lanes<const ORDER: i32>(a: Register, b: Register) -> Register {
    Register(std::array::from_fn(|i| {
        let lane = i / 4;
        let source = if lane < 2 { a } else { b };
        source.0[(ORDER as usize >> (2 * lane) & 3) * 4 + i % 4]
    }))
}

/// `VPSHUFB`: in each 128-bit lane, the bytes that the mask numbers (none of ours asks for zero by its top bit).
fn shuffle_bytes(bytes: &Block, mask: [u8; 16]) -> Block {
    std::array::from_fn(|i| bytes[i / 16 * 16 + usize::from(mask[i % 16] & 15)])
}

/// A memory operand: little-endian doublewords.
fn load(bytes: &Block) -> Register {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    Register(words)
}

impl Shuffle for Register {
    fn low_words(a: Self, b: Self) -> Self {
        unpack(a, b, [(false, 0), (true, 0), (false, 1), (true, 1)])
    }

    fn high_words(a: Self, b: Self) -> Self {
        unpack(a, b, [(false, 2), (true, 2), (false, 3), (true, 3)])
    }

    fn low_pairs(a: Self, b: Self) -> Self {
        unpack(a, b, [(false, 0), (false, 1), (true, 0), (true, 1)])
    }

    fn high_pairs(a: Self, b: Self) -> Self {
        unpack(a, b, [(false, 2), (false, 3), (true, 2), (true, 3)])
    }

    fn even_groups(a: Self, b: Self) -> Self {
        shuffle_lanes::<EVEN_GROUPS>(a, b)
    }

    fn odd_groups(a: Self, b: Self) -> Self {
        shuffle_lanes::<ODD_GROUPS>(a, b)
    }
}

impl Register {
    fn map(self, f: impl Fn(u32) -> u32) -> Self {
        Self(self.0.map(f))
    }
}

impl Vector<16> for Register {
    unsafe fn from_words(words: [u32; 16]) -> Self {
        Self(words)
    }

    fn to_words(self) -> [u32; 16] {
        self.0
    }

    unsafe fn from_blocks(lanes: &[*const Block; 16], index: usize) -> [Self; 16] {
        // SAFETY: the caller vouches for block `index` of every lane.
        transpose(lanes.map(|lane| load(&shuffle_bytes(unsafe { &*lane.add(index) }, SWAP_BYTES))))
    }

    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].wrapping_add(other.0[i])))
    }

    fn xor(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }

    fn rotate_left_1(self) -> Self {
        self.map(|word| word.rotate_left(1))
    }

    fn rotate_left_5(self) -> Self {
        self.map(|word| word.rotate_left(5))
    }

    fn rotate_left_30(self) -> Self {
        self.map(|word| word.rotate_left(30))
    }

    fn choose(b: Self, c: Self, d: Self) -> Self {
        ternary_logic::<CHOOSE>(b, c, d)
    }

    fn parity(b: Self, c: Self, d: Self) -> Self {
        ternary_logic::<PARITY>(b, c, d)
    }

    fn majority(b: Self, c: Self, d: Self) -> Self {
        ternary_logic::<MAJORITY>(b, c, d)
    }
}

#[test]
fn sixteen_rows_become_sixteen_columns() {
    let word = |row: usize, column: usize| u32::try_from(row * 16 + column).expect("small");
    let rows = std::array::from_fn(|row| Register(std::array::from_fn(|column| word(row, column))));
    for (column, got) in transpose(rows).into_iter().enumerate() {
        assert_eq!(
            got,
            Register(std::array::from_fn(|row| word(row, column))),
            "column {column}"
        );
    }
}

#[test]
fn the_truth_tables_are_the_functions_of_the_rfc() {
    let mut rng = Rng::new(3174);
    let mut draw = || Register(std::array::from_fn(|_| rng.next_u32()));
    let (b, c, d) = (draw(), draw(), draw());
    for i in 0..16 {
        let (x, y, z) = (b.0[i], c.0[i], d.0[i]);
        assert_eq!(Register::choose(b, c, d).0[i], x & y | !x & z);
        assert_eq!(Register::parity(b, c, d).0[i], x ^ y ^ z);
        assert_eq!(Register::majority(b, c, d).0[i], x & y | x & z | y & z);
    }
}

#[test]
fn sixteen_emulated_lanes_agree_with_the_crate() {
    for (count, blocks) in [(1, 1), (5, 3), (16, 0), (16, 1), (16, 9)] {
        let messages = messages(count, blocks * BLOCK_BYTES);
        let strips: Vec<&[Block]> = messages
            .iter()
            .map(|message| message.as_chunks().0)
            .collect();
        let start: Vec<State> = (0_u32..).take(count).map(|i| [i, 2, 3, 4, !5]).collect();
        let (mut got, mut want) = (start.clone(), start);
        // SAFETY: plain arrays need no instructions of their own.
        unsafe { rounds::compress::<Register, 16>(&mut got, &strips) };
        for (state, strip) in want.iter_mut().zip(&strips) {
            sha1::block_api::compress(state, strip);
        }
        assert_eq!(got, want, "{count} messages of {blocks} blocks");
    }
}
