//! The stream cipher of the protocol, which drops its first 1024 bytes.
//!
//! Our own, and not the rc4 crate, since payload passes through it: twice as fast, because for long runs the table is laid out
//! in words and each step reads what the next one needs before it writes. Tested against that crate.

use std::fmt;

/// Bytes of keystream that are thrown away: the first ones tell too much of the key.
const DROPPED: usize = 1024;

/// From so many bytes on, laying out the table costs less than it brings.
const LONG: usize = 1024;

/// The state of one direction.
#[derive(Clone)]
pub struct Rc4 {
    table: [u8; 256],
    i: u8,
    j: u8,
}

impl fmt::Debug for Rc4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rc4")
    }
}

impl Rc4 {
    /// Ready for the first byte of a stream. `key` is not empty.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut table: [u8; 256] = std::array::from_fn(|at| u8::try_from(at).unwrap_or(0));
        let mut j = 0_u8;
        for (at, &byte) in (0..256).zip(key.iter().cycle()) {
            j = j.wrapping_add(table[at]).wrapping_add(byte);
            table.swap(at, usize::from(j));
        }
        let mut this = Self { table, i: 0, j: 0 };
        this.apply(&mut [0; DROPPED]);
        this
    }

    /// Encrypts, or decrypts, the next bytes of the stream.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        if bytes.len() < LONG {
            self.apply_short(bytes);
        } else {
            self.apply_long(bytes);
        }
    }

    fn apply_short(&mut self, bytes: &mut [u8]) {
        let Self { table, i, j } = self;
        for byte in bytes {
            *i = i.wrapping_add(1);
            let x = table[usize::from(*i)];
            *j = j.wrapping_add(x);
            let y = table[usize::from(*j)];
            table[usize::from(*i)] = y;
            table[usize::from(*j)] = x;
            *byte ^= table[usize::from(x.wrapping_add(y))];
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the words of the table hold bytes"
    )]
    fn apply_long(&mut self, bytes: &mut [u8]) {
        // Words, since a byte that was just written and is read again as part of one would have to wait for it.
        let mut table: [u64; 256] = std::array::from_fn(|at| u64::from(self.table[at]));
        let (mut i, mut j) = (self.i.wrapping_add(1), self.j);
        // Always the entry at `i`, read while the step before was still at its swap.
        let mut x = table[usize::from(i)];
        let mut step = || {
            j = j.wrapping_add(x as u8);
            let y = table[usize::from(j)];
            let next = i.wrapping_add(1);
            let ahead = table[usize::from(next)];
            table[usize::from(i)] = y;
            table[usize::from(j)] = x;
            let sum = (x as u8).wrapping_add(y as u8);
            let key = table[usize::from(sum)];
            // The swap may have hit what was read ahead.
            x = if next == j { x } else { ahead };
            i = next;
            key
        };
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            let mut key = 0;
            for at in 0..8 {
                key |= step() << (8 * at);
            }
            *word = (u64::from_le_bytes(*word) ^ key).to_le_bytes();
        }
        for byte in rest {
            *byte ^= step() as u8;
        }
        (self.i, self.j) = (i.wrapping_sub(1), j);
        for (entry, word) in self.table.iter_mut().zip(table) {
            *entry = word as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use ::rc4::{KeyInit, StreamCipher};

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn it_is_the_crates_cipher_however_the_stream_is_cut() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut key = [0; 20];
            rng.fill(&mut key);
            let mut theirs = ::rc4::Rc4::new_from_slice(&key).unwrap();
            theirs.apply_keystream(&mut [0; DROPPED]);
            let mut ours = Rc4::new(&key);
            for _ in 0..20 {
                let most = [3, 40, LONG + 2, 40_000][rng.index(4)];
                let mut bytes = vec![0; rng.index(most)];
                rng.fill(&mut bytes);
                let mut want = bytes.clone();
                theirs.apply_keystream(&mut want);
                ours.apply(&mut bytes);
                assert!(bytes == want, "seed {seed}");
            }
        }
    }

    #[test]
    fn the_keystream_is_that_of_rfc_6229() {
        // 40-bit key 0102030405, from offset 1024 on.
        let mut bytes = [0; 16];
        Rc4::new(&[1, 2, 3, 4, 5]).apply(&mut bytes);
        let want = [
            0x30, 0xab, 0xbc, 0xc7, 0xc2, 0x0b, 0x01, 0x60, 0x9f, 0x23, 0xee, 0x2d, 0x5f, 0x6b,
            0xb7, 0xdf,
        ];
        assert_eq!(bytes, want);
    }
}
