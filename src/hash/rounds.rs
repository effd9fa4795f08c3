//! The 80 rounds of SHA-1 (RFC 3174, section 6.1) over vectors: lane `i` of every vector belongs to message `i`.
//!
//! One algorithm for every vector width. A width brings a [`Vector`]: a dozen word operations and the transposed load. All
//! of it must be inlined into an entry function that carries `#[target_feature]`, or the compiler would split each vector
//! into narrower ones: hence `inline(always)` and no closures on the way.

#![allow(
    unsafe_code,
    reason = "raw reads of blocks whose lengths the entry function has checked"
)]

use super::{Block, State};

/// For a byte shuffle: turns the bytes of each of four words around, as SHA-1 reads them big-endian.
pub(super) const SWAP_BYTES: [u8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];

/// `N` words side by side, one of each message.
///
/// Only [`Self::from_words`] and [`Self::from_blocks`] make values, and both demand the instructions that the other
/// operations use. So whoever holds a value may call these.
pub(super) trait Vector<const N: usize>: Copy {
    /// # Safety
    /// The CPU has the instructions of this vector.
    unsafe fn from_words(words: [u32; N]) -> Self;

    /// The words again, in the order of the lanes.
    fn to_words(self) -> [u32; N];

    /// Word `t` of block `index` of each lane, for `t` in 0 to 15: read big-endian and transposed.
    ///
    /// # Safety
    /// The CPU has the instructions of this vector, and each pointer leads to more than `index` readable blocks.
    unsafe fn from_blocks(lanes: &[*const Block; N], index: usize) -> [Self; 16];

    fn add(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn rotate_left_1(self) -> Self;
    fn rotate_left_5(self) -> Self;
    fn rotate_left_30(self) -> Self;

    /// RFC 3174's `f` of rounds 0 to 19: `b` chooses from `c` and `d`.
    fn choose(b: Self, c: Self, d: Self) -> Self;
    /// `f` of rounds 20 to 39 and 60 to 79.
    fn parity(b: Self, c: Self, d: Self) -> Self;
    /// `f` of rounds 40 to 59.
    fn majority(b: Self, c: Self, d: Self) -> Self;
}

/// Advances up to `N` messages by their strips. Lanes without a message repeat the first one's work.
///
/// # Safety
/// The CPU has the instructions of `V`.
///
/// # Panics
/// When there are no messages, more than `N`, not one strip for each state, or strips of unequal length.
#[inline(always)]
pub(super) unsafe fn compress<V: Vector<N>, const N: usize>(
    states: &mut [State],
    strips: &[&[Block]],
) {
    let count = states.len();
    assert!(
        0 < count && count <= N && strips.len() == count,
        "a strip for each lane"
    );
    let blocks = strips[0].len();
    let mut lanes = [strips[0].as_ptr(); N];
    let mut words = [[0_u32; N]; 5];
    for lane in 0..count {
        assert!(strips[lane].len() == blocks, "strips are of one length");
        lanes[lane] = strips[lane].as_ptr();
        for word in 0..5 {
            words[word][lane] = states[lane][word];
        }
    }
    // SAFETY: the caller vouches for the instructions.
    let mut sums: [V; 5] = unsafe {
        [
            V::from_words(words[0]),
            V::from_words(words[1]),
            V::from_words(words[2]),
            V::from_words(words[3]),
            V::from_words(words[4]),
        ]
    };
    for index in 0..blocks {
        // SAFETY: the caller vouches for the instructions; every lane leads to `blocks` blocks, as asserted above.
        let schedule = unsafe { V::from_blocks(&lanes, index) };
        // SAFETY: the caller vouches for the instructions.
        unsafe { one_block(&mut sums, schedule) };
    }
    for word in 0..5 {
        words[word] = sums[word].to_words();
    }
    for lane in 0..count {
        for word in 0..5 {
            states[lane][word] = words[word][lane];
        }
    }
}

/// One round: what RFC 3174 calls A to E stay where they are, and their names move instead.
macro_rules! round {
    ($w:ident, $k:ident, $f:ident, $t:expr, $a:ident $b:ident $c:ident $d:ident $e:ident) => {
        if $t >= 16 {
            let mixed = V::parity($w[($t + 13) % 16], $w[($t + 8) % 16], $w[($t + 2) % 16]);
            $w[$t % 16] = $w[$t % 16].xor(mixed).rotate_left_1();
        }
        // What does not wait for the round before comes first: the chain is one rotation and two additions long.
        $e = $e.add($k.add($w[$t % 16])).add(V::$f($b, $c, $d));
        $e = $e.add($a.rotate_left_5());
        $b = $b.rotate_left_30();
    };
}

/// Twenty rounds of one function and one constant, starting at round `$t`.
macro_rules! twenty {
    ($w:ident, $k:expr, $f:ident, $t:expr, $a:ident $b:ident $c:ident $d:ident $e:ident) => {
        // SAFETY: the caller vouches for the instructions.
        let k = unsafe { V::from_words([$k; N]) };
        twenty!(five $w, k, $f, $t, $a $b $c $d $e);
        twenty!(five $w, k, $f, $t + 5, $a $b $c $d $e);
        twenty!(five $w, k, $f, $t + 10, $a $b $c $d $e);
        twenty!(five $w, k, $f, $t + 15, $a $b $c $d $e);
    };
    (five $w:ident, $k:ident, $f:ident, $t:expr, $a:ident $b:ident $c:ident $d:ident $e:ident) => {
        round!($w, $k, $f, $t, $a $b $c $d $e);
        round!($w, $k, $f, $t + 1, $e $a $b $c $d);
        round!($w, $k, $f, $t + 2, $d $e $a $b $c);
        round!($w, $k, $f, $t + 3, $c $d $e $a $b);
        round!($w, $k, $f, $t + 4, $b $c $d $e $a);
    };
}

/// Adds one block of each message to `sums`.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn one_block<V: Vector<N>, const N: usize>(sums: &mut [V; 5], mut w: [V; 16]) {
    let [mut a, mut b, mut c, mut d, mut e] = *sums;
    twenty!(w, 0x5a82_7999, choose, 0, a b c d e);
    twenty!(w, 0x6ed9_eba1, parity, 20, a b c d e);
    twenty!(w, 0x8f1b_bcdc, majority, 40, a b c d e);
    twenty!(w, 0xca62_c1d6, parity, 60, a b c d e);
    *sums = [
        sums[0].add(a),
        sums[1].add(b),
        sums[2].add(c),
        sums[3].add(d),
        sums[4].add(e),
    ];
}
