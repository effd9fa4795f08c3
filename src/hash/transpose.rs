//! Sixteen rows of sixteen words become sixteen columns, by shuffles alone.
//!
//! Whole rows of 64 bytes come in, so each cache line is read once: pieces lie a power of two apart, their lines share one
//! set of the first cache, and sixteen of them would push each other out between partial reads.
//!
//! Written over the three shuffles it needs, so that the same sequence runs in AVX-512 registers and, in the tests, on
//! plain arrays: that is how it is checked where no CPU with AVX-512 is at hand.

/// A register of sixteen words, seen as four groups of four.
pub(super) trait Shuffle: Copy {
    /// In each group: `a0 b0 a1 b1` (`vpunpckldq`).
    fn low_words(a: Self, b: Self) -> Self;
    /// In each group: `a2 b2 a3 b3` (`vpunpckhdq`).
    fn high_words(a: Self, b: Self) -> Self;
    /// In each group: `a0 a1 b0 b1` (`vpunpcklqdq`).
    fn low_pairs(a: Self, b: Self) -> Self;
    /// In each group: `a2 a3 b2 b3` (`vpunpckhqdq`).
    fn high_pairs(a: Self, b: Self) -> Self;
    /// Whole groups 0 and 2 of `a`, then of `b` (`vshufi32x4`).
    fn even_groups(a: Self, b: Self) -> Self;
    /// Whole groups 1 and 3 of `a`, then of `b` (`vshufi32x4`).
    fn odd_groups(a: Self, b: Self) -> Self;
}

/// `result[i]` holds word `i` of each row, in the order of the rows.
#[inline(always)]
pub(super) fn transpose<R: Shuffle>(rows: [R; 16]) -> [R; 16] {
    // Within the groups, four rows at a time: register 4m + j then holds, in its group g, word 4g + j of rows 4m to 4m + 3.
    let mut quads = rows;
    for m in 0..4 {
        let [a, b, c, d] = [
            rows[4 * m],
            rows[4 * m + 1],
            rows[4 * m + 2],
            rows[4 * m + 3],
        ];
        let (ab_low, ab_high) = (R::low_words(a, b), R::high_words(a, b));
        let (cd_low, cd_high) = (R::low_words(c, d), R::high_words(c, d));
        quads[4 * m] = R::low_pairs(ab_low, cd_low);
        quads[4 * m + 1] = R::high_pairs(ab_low, cd_low);
        quads[4 * m + 2] = R::low_pairs(ab_high, cd_high);
        quads[4 * m + 3] = R::high_pairs(ab_high, cd_high);
    }
    // Then whole groups: word 4g + j gathers group g of registers j, 4 + j, 8 + j and 12 + j.
    let mut columns = rows;
    for j in 0..4 {
        let [a, b, c, d] = [quads[j], quads[4 + j], quads[8 + j], quads[12 + j]];
        let (ab_even, ab_odd) = (R::even_groups(a, b), R::odd_groups(a, b));
        let (cd_even, cd_odd) = (R::even_groups(c, d), R::odd_groups(c, d));
        columns[j] = R::even_groups(ab_even, cd_even);
        columns[4 + j] = R::even_groups(ab_odd, cd_odd);
        columns[8 + j] = R::odd_groups(ab_even, cd_even);
        columns[12 + j] = R::odd_groups(ab_odd, cd_odd);
    }
    columns
}
