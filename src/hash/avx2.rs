//! Eight messages at once in AVX2 registers.

#![allow(unsafe_code, reason = "vector intrinsics, and raw reads of blocks")]

use std::arch::x86_64::*;

use super::rounds::{self, SWAP_BYTES, Vector};
use super::{Block, State};

/// How many messages share a register.
pub(super) const LANES: usize = 8;

/// Advances up to [`LANES`] messages by their strips.
///
/// # Safety
/// The CPU has AVX2.
///
/// # Panics
/// As [`rounds::compress`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn compress(states: &mut [State], strips: &[&[Block]]) {
    // SAFETY: the caller vouches for AVX2, which is all that `Lanes` uses.
    unsafe { rounds::compress::<Lanes, LANES>(states, strips) }
}

/// A value is made only where AVX2 is at hand, so having one is leave to use the instructions.
#[derive(Clone, Copy)]
struct Lanes(__m256i);

/// Wraps one expression of intrinsics over existing [`Lanes`].
macro_rules! with_avx2 {
    ($expression:expr) => {
        // SAFETY: the operands exist, so the CPU has AVX2. No memory is touched.
        Self(unsafe { $expression })
    };
}

impl Vector<LANES> for Lanes {
    #[inline(always)]
    unsafe fn from_words(words: [u32; LANES]) -> Self {
        // SAFETY: the caller vouches for AVX2; the array is 32 bytes, of any alignment.
        Self(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn to_words(self) -> [u32; LANES] {
        let mut words = [0; LANES];
        // SAFETY: `self` exists, so the CPU has AVX2; the array is 32 bytes, of any alignment.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), self.0) };
        words
    }

    /// Each quarter of a block is an array of 4 by 8 words. Loading message `i + 4` into the upper half beside message `i`
    /// leaves two 4 by 4 transpositions, which the shuffles do within the halves at once.
    #[inline(always)]
    unsafe fn from_blocks(lanes: &[*const Block; LANES], index: usize) -> [Self; 16] {
        // SAFETY: the caller vouches for AVX2 and for `index` naming a block of 64 readable bytes in every lane, of which
        // each quarter is 16 bytes; no alignment is asked for.
        unsafe {
            let swap = _mm256_broadcastsi128_si256(_mm_loadu_si128(SWAP_BYTES.as_ptr().cast()));
            let mut words = [Self(swap); 16];
            for quarter in 0..4 {
                let mut rows = [swap; 4];
                for row in 0..4 {
                    let low = lanes[row].add(index).cast::<__m128i>().add(quarter);
                    let high = lanes[row + 4].add(index).cast::<__m128i>().add(quarter);
                    let both = _mm256_inserti128_si256::<1>(
                        _mm256_castsi128_si256(_mm_loadu_si128(low)),
                        _mm_loadu_si128(high),
                    );
                    rows[row] = _mm256_shuffle_epi8(both, swap);
                }
                let low01 = _mm256_unpacklo_epi32(rows[0], rows[1]);
                let high01 = _mm256_unpackhi_epi32(rows[0], rows[1]);
                let low23 = _mm256_unpacklo_epi32(rows[2], rows[3]);
                let high23 = _mm256_unpackhi_epi32(rows[2], rows[3]);
                words[quarter * 4] = Self(_mm256_unpacklo_epi64(low01, low23));
                words[quarter * 4 + 1] = Self(_mm256_unpackhi_epi64(low01, low23));
                words[quarter * 4 + 2] = Self(_mm256_unpacklo_epi64(high01, high23));
                words[quarter * 4 + 3] = Self(_mm256_unpackhi_epi64(high01, high23));
            }
            words
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        with_avx2!(_mm256_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        with_avx2!(_mm256_xor_si256(self.0, other.0))
    }

    /// Doubling is an addition, for which there are more execution units than for shifts.
    #[inline(always)]
    fn rotate_left_1(self) -> Self {
        with_avx2!(_mm256_or_si256(
            _mm256_add_epi32(self.0, self.0),
            _mm256_srli_epi32::<31>(self.0)
        ))
    }

    #[inline(always)]
    fn rotate_left_5(self) -> Self {
        with_avx2!(_mm256_or_si256(
            _mm256_slli_epi32::<5>(self.0),
            _mm256_srli_epi32::<27>(self.0)
        ))
    }

    #[inline(always)]
    fn rotate_left_30(self) -> Self {
        with_avx2!(_mm256_or_si256(
            _mm256_slli_epi32::<30>(self.0),
            _mm256_srli_epi32::<2>(self.0)
        ))
    }

    #[inline(always)]
    fn choose(b: Self, c: Self, d: Self) -> Self {
        with_avx2!(_mm256_xor_si256(
            _mm256_and_si256(_mm256_xor_si256(c.0, d.0), b.0),
            d.0
        ))
    }

    #[inline(always)]
    fn parity(b: Self, c: Self, d: Self) -> Self {
        with_avx2!(_mm256_xor_si256(_mm256_xor_si256(c.0, d.0), b.0))
    }

    #[inline(always)]
    fn majority(b: Self, c: Self, d: Self) -> Self {
        with_avx2!(_mm256_or_si256(
            _mm256_and_si256(c.0, d.0),
            _mm256_and_si256(_mm256_or_si256(c.0, d.0), b.0)
        ))
    }
}
