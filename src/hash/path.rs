//! Which instructions do the work, chosen once from what the CPU has.
//!
//! Measured on one core of an AMD EPYC (Zen 3) with `cargo bench --bench hash` in messages of 1 MiB and of 16 KiB, GB/s (the
//! plain figure with `--cfg sha1_backend="soft"`, the AVX-512 figure from another EPYC, where the crate makes 2.2):
//!
//! | path | messages at once | GB/s |
//! | --- | --- | --- |
//! | the sha1 crate: plain, SHA-NI | 1 | 0.7, 1.7 |
//! | SHA-NI interleaved | 2, 3, 4 | 3.0, 3.6, 4.1 |
//! | AVX2 | 8 | 3.2 |
//! | AVX-512 | 16 | 10.7 |
//!
//! One SHA-NI stream is bound by the latency of its instructions; four fill the unit (six or eight gain nothing), and
//! beat AVX2. So AVX2 serves only CPUs without SHA-NI.

#![allow(
    unsafe_code,
    reason = "calls functions whose instructions it has looked for"
)]

use std::sync::OnceLock;

use super::{Block, State};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, sha_ni};

/// The most messages that any path takes at once.
pub(super) const LANES_MAX: usize = 16;

/// AVX-512 takes 16 messages in the time in which interleaved SHA-NI takes about 8: with fewer, its empty lanes cost more
/// than they save. Reckoned, not measured: 10.7 GB/s against 2.2 GB/s for one stream, times 2.5 for four.
#[cfg(target_arch = "x86_64")]
const AVX512_FILL_MIN_BESIDE_SHA_NI: usize = 9;

/// Without SHA-NI the crate makes 0.7 GB/s, so eight AVX2 lanes take less time than two messages one after the other.
#[cfg(target_arch = "x86_64")]
const FILL_MIN: usize = 2;

/// A way to hash several messages of one length at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// 16 messages in the lanes of AVX-512 registers; a few left over go to SHA-NI.
    Avx512,
    /// Up to 4 messages interleaved through the SHA extensions.
    ShaNi,
    /// 8 messages in the lanes of AVX2 registers; one left over goes to the sha1 crate.
    Avx2,
    /// One after another, by the sha1 crate.
    Single,
}

impl Path {
    /// Every path, the fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::ShaNi, Self::Avx2, Self::Single];

    /// The fastest that this CPU has.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Path> = OnceLock::new();
        *BEST.get_or_init(|| {
            let available = Self::ALL.into_iter().find(|path| path.is_available());
            available.expect("the last path is available everywhere")
        })
    }

    /// Whether this CPU has the instructions.
    #[must_use]
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
            }
            Self::ShaNi => {
                is_x86_feature_detected!("sha")
                    && is_x86_feature_detected!("ssse3")
                    && is_x86_feature_detected!("sse4.1")
            }
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Single => true,
        }
        #[cfg(not(target_arch = "x86_64"))]
        matches!(self, Self::Single)
    }

    /// How many messages it takes at once: fewer run slower, more run in turns.
    #[must_use]
    pub const fn lanes(self) -> usize {
        match self {
            Self::Avx512 => 16,
            Self::Avx2 => 8,
            Self::ShaNi => 4,
            Self::Single => 1,
        }
    }

    /// Of `waiting` messages, at least one: how many go next, and by which path.
    pub(super) fn next(self, waiting: usize) -> (Self, usize) {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Avx512 => {
                let (rest, fill_min) = if Self::ShaNi.is_available() {
                    (Self::ShaNi, AVX512_FILL_MIN_BESIDE_SHA_NI)
                } else {
                    (Self::Single, FILL_MIN)
                };
                if waiting >= fill_min {
                    return (self, waiting.min(avx512::LANES));
                }
                return rest.next(waiting);
            }
            Self::Avx2 if waiting >= FILL_MIN => return (self, waiting.min(avx2::LANES)),
            Self::ShaNi if waiting >= 2 => {
                // Evenly: five as three and two take less time than four and one.
                let turns = waiting.div_ceil(sha_ni::LANES_MAX);
                return (self, waiting.div_ceil(turns));
            }
            Self::Avx2 | Self::ShaNi | Self::Single => {}
        }
        let _ = waiting;
        (Self::Single, 1)
    }

    /// Advances each state by its strip, all of one length, with this path's instructions alone.
    ///
    /// # Panics
    /// When the CPU has not the instructions; when there are no messages, or more than [`Self::lanes`], or the strips
    /// are not one of equal length for each state.
    pub(super) fn compress(self, states: &mut [State], strips: &[&[Block]]) {
        assert!(self.is_available(), "{self:?} needs another CPU");
        assert_eq!(states.len(), strips.len(), "a strip for each state");
        #[cfg(target_arch = "x86_64")]
        match (self, states.len()) {
            // SAFETY: `is_available` has found AVX-512 F and BW.
            (Self::Avx512, _) => return unsafe { avx512::compress(states, strips) },
            // SAFETY: `is_available` has found AVX2.
            (Self::Avx2, _) => return unsafe { avx2::compress(states, strips) },
            // SAFETY: `is_available` has found SHA, SSSE3 and SSE 4.1; so for the next two.
            (Self::ShaNi, 2) => return unsafe { sha_ni::compress::<2>(states, strips) },
            // SAFETY: as above.
            (Self::ShaNi, 3) => return unsafe { sha_ni::compress::<3>(states, strips) },
            // SAFETY: as above.
            (Self::ShaNi, 4) => return unsafe { sha_ni::compress::<4>(states, strips) },
            (Self::ShaNi | Self::Single, _) => {}
        }
        let ([state], [strip]) = (states, strips) else {
            panic!("one message at a time");
        };
        sha1::block_api::compress(state, strip);
    }
}
