//! A few messages at once through the SHA extensions.
//!
//! One message leaves the unit idle most of the time: each group of four rounds waits for the one before. Others fill the
//! gaps. Beyond [`LANES_MAX`] there are no gaps left to fill, only registers to spill.

#![allow(unsafe_code, reason = "vector intrinsics, and raw reads of blocks")]

use std::arch::x86_64::*;

use super::{Block, State};

/// The most messages worth interleaving.
pub(super) const LANES_MAX: usize = 4;

/// Four rounds of each message: `$old` holds A to D before the last four rounds, `$new` after them. They swap roles.
macro_rules! four {
    ($w:ident, $new:ident, $old:ident, $group:expr) => {
        for lane in 0..K {
            let words = if $group < 4 {
                $w[lane][$group]
            } else {
                let [x0, x1, x2, x3] = [
                    $w[lane][$group % 4],
                    $w[lane][($group + 1) % 4],
                    $w[lane][($group + 2) % 4],
                    $w[lane][($group + 3) % 4],
                ];
                let mixed = _mm_xor_si128(_mm_sha1msg1_epu32(x0, x1), x2);
                _mm_sha1msg2_epu32(mixed, x3)
            };
            $w[lane][$group % 4] = words;
            let e = if $group == 0 {
                _mm_add_epi32($old[lane], words)
            } else {
                _mm_sha1nexte_epu32($old[lane], words)
            };
            $old[lane] = _mm_sha1rnds4_epu32::<{ $group / 5 }>($new[lane], e);
        }
    };
}

/// Advances `K` messages by their strips.
///
/// # Panics
/// Without exactly `K` states and strips, or when the strips are of unequal length.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn compress<const K: usize>(states: &mut [State], strips: &[&[Block]]) {
    assert!(
        states.len() == K && strips.len() == K,
        "a strip for each state"
    );
    let blocks = strips[0].len();
    let big_endian = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let mut abcd = [_mm_setzero_si128(); K];
    let mut e = [_mm_setzero_si128(); K];
    for lane in 0..K {
        assert!(strips[lane].len() == blocks, "strips are of one length");
        let [s0, s1, s2, s3, s4] = states[lane].map(u32::cast_signed);
        abcd[lane] = _mm_set_epi32(s0, s1, s2, s3);
        e[lane] = _mm_set_epi32(s4, 0, 0, 0);
    }
    for index in 0..blocks {
        let mut w = [[_mm_setzero_si128(); 4]; K];
        for (words, strip) in w.iter_mut().zip(strips) {
            for (quarter, word) in words.iter_mut().enumerate() {
                // SAFETY: every strip has `blocks` blocks, as asserted above, and a quarter of one is 16 bytes; no
                // alignment is asked for.
                let bytes = unsafe {
                    let block = strip.as_ptr().add(index);
                    _mm_loadu_si128(block.cast::<__m128i>().add(quarter))
                };
                *word = _mm_shuffle_epi8(bytes, big_endian);
            }
        }
        let mut new = abcd;
        let mut old = e;
        four!(w, new, old, 0);
        four!(w, old, new, 1);
        four!(w, new, old, 2);
        four!(w, old, new, 3);
        four!(w, new, old, 4);
        four!(w, old, new, 5);
        four!(w, new, old, 6);
        four!(w, old, new, 7);
        four!(w, new, old, 8);
        four!(w, old, new, 9);
        four!(w, new, old, 10);
        four!(w, old, new, 11);
        four!(w, new, old, 12);
        four!(w, old, new, 13);
        four!(w, new, old, 14);
        four!(w, old, new, 15);
        four!(w, new, old, 16);
        four!(w, old, new, 17);
        four!(w, new, old, 18);
        four!(w, old, new, 19);
        for lane in 0..K {
            e[lane] = _mm_sha1nexte_epu32(old[lane], e[lane]);
            abcd[lane] = _mm_add_epi32(abcd[lane], new[lane]);
        }
    }
    for lane in 0..K {
        states[lane] = [
            _mm_extract_epi32::<3>(abcd[lane]),
            _mm_extract_epi32::<2>(abcd[lane]),
            _mm_extract_epi32::<1>(abcd[lane]),
            _mm_extract_epi32::<0>(abcd[lane]),
            _mm_extract_epi32::<3>(e[lane]),
        ]
        .map(i32::cast_unsigned);
    }
}
