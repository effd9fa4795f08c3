//! Sixteen messages at once in AVX-512 registers.
//!
//! Thirty-two registers hold the schedule, the sums and the state without spilling; rotations are one instruction
//! (`vprold`), and so is each round function (`vpternlogd`).

#![allow(unsafe_code, reason = "vector intrinsics, and raw reads of blocks")]

use std::arch::x86_64::*;

use super::rounds::{self, SWAP_BYTES, Vector};
use super::transpose::{Shuffle, transpose};
use super::{Block, State};

/// How many messages share a register.
pub(super) const LANES: usize = 16;

// The operands of `vpternlogd` are truth tables: bit `4b + 2c + d` is the result for the bits b, c and d. They and the
// group numbers of `vshufi32x4` have names so that the tests' emulation runs the very same ones.
pub(super) const CHOOSE: i32 = 0b1100_1010;
pub(super) const PARITY: i32 = 0b1001_0110;
pub(super) const MAJORITY: i32 = 0b1110_1000;
pub(super) const EVEN_GROUPS: i32 = 0b10_00_10_00;
pub(super) const ODD_GROUPS: i32 = 0b11_01_11_01;

/// Advances up to [`LANES`] messages by their strips.
///
/// # Safety
/// The CPU has AVX-512 F and BW.
///
/// # Panics
/// As [`rounds::compress`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn compress(states: &mut [State], strips: &[&[Block]]) {
    // SAFETY: the caller vouches for F and BW, which are all that `Lanes` uses.
    unsafe { rounds::compress::<Lanes, LANES>(states, strips) }
}

/// A value is made only where AVX-512 is at hand, so having one is leave to use the instructions.
#[derive(Clone, Copy)]
struct Lanes(__m512i);

/// Wraps one expression of intrinsics over existing [`Lanes`].
macro_rules! with_avx512 {
    ($expression:expr) => {
        // SAFETY: the operands exist, so the CPU has AVX-512 F and BW. No memory is touched.
        Self(unsafe { $expression })
    };
}

impl Shuffle for Lanes {
    #[inline(always)]
    fn low_words(a: Self, b: Self) -> Self {
        with_avx512!(_mm512_unpacklo_epi32(a.0, b.0))
    }

    #[inline(always)]
    fn high_words(a: Self, b: Self) -> Self {
        with_avx512!(_mm512_unpackhi_epi32(a.0, b.0))
    }

    #[inline(always)]
    fn low_pairs(a: Self, b: Self) -> Self {
        with_avx512!(_mm512_unpacklo_epi64(a.0, b.0))
    }

    #[inline(always)]
    fn high_pairs(a: Self, b: Self) -> Self {
        with_avx512!(_mm512_unpackhi_epi64(a.0, b.0))
    }

    #[inline(always)]
    fn even_groups(a: Self, b: Self) -> Self {
        with_avx512!(_mm512_shuffle_i32x4::<EVEN_GROUPS>(a.0, b.0))
    }

    #[inline(always)]
    fn odd_groups(a: Self, b: Self) -> Self {
        with_avx512!(_mm512_shuffle_i32x4::<ODD_GROUPS>(a.0, b.0))
    }
}

impl Vector<LANES> for Lanes {
    #[inline(always)]
    unsafe fn from_words(words: [u32; LANES]) -> Self {
        // SAFETY: the caller vouches for AVX-512; the array is 64 bytes, of any alignment.
        Self(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn to_words(self) -> [u32; LANES] {
        let mut words = [0; LANES];
        // SAFETY: `self` exists, so the CPU has AVX-512; the array is 64 bytes, of any alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), self.0) };
        words
    }

    #[inline(always)]
    unsafe fn from_blocks(lanes: &[*const Block; LANES], index: usize) -> [Self; 16] {
        // SAFETY: the caller vouches for AVX-512 and for `index` naming a block of 64 readable bytes in every lane; no
        // alignment is asked for.
        unsafe {
            let swap = _mm512_broadcast_i32x4(_mm_loadu_si128(SWAP_BYTES.as_ptr().cast()));
            let mut rows = [Self(swap); LANES];
            for lane in 0..LANES {
                let row = _mm512_loadu_si512(lanes[lane].add(index).cast());
                rows[lane] = Self(_mm512_shuffle_epi8(row, swap));
            }
            transpose(rows)
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        with_avx512!(_mm512_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        with_avx512!(_mm512_xor_si512(self.0, other.0))
    }

    #[inline(always)]
    fn rotate_left_1(self) -> Self {
        with_avx512!(_mm512_rol_epi32::<1>(self.0))
    }

    #[inline(always)]
    fn rotate_left_5(self) -> Self {
        with_avx512!(_mm512_rol_epi32::<5>(self.0))
    }

    #[inline(always)]
    fn rotate_left_30(self) -> Self {
        with_avx512!(_mm512_rol_epi32::<30>(self.0))
    }

    #[inline(always)]
    fn choose(b: Self, c: Self, d: Self) -> Self {
        with_avx512!(_mm512_ternarylogic_epi32::<CHOOSE>(b.0, c.0, d.0))
    }

    #[inline(always)]
    fn parity(b: Self, c: Self, d: Self) -> Self {
        with_avx512!(_mm512_ternarylogic_epi32::<PARITY>(b.0, c.0, d.0))
    }

    #[inline(always)]
    fn majority(b: Self, c: Self, d: Self) -> Self {
        with_avx512!(_mm512_ternarylogic_epi32::<MAJORITY>(b.0, c.0, d.0))
    }
}
