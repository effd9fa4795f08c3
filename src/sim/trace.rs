//! A running hash over everything that crosses a node's border, so that two runs can be compared by one number.

use std::fmt;

/// A running FNV-1a hash over words and bytes, with a count of what went in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    hash: u64,
    entries: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Trace {
    /// Nothing has happened.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            entries: 0,
        }
    }

    /// Something happened: `what` names its kind, `words` its ids, sizes and times.
    pub fn note(&mut self, what: &str, words: &[u64]) {
        self.entries += 1;
        self.bytes(what.as_bytes());
        for word in words {
            self.step(*word);
        }
    }

    /// The same for what stands beside what happens: it is part of the hash, and no entry of its own.
    pub fn note_quietly(&mut self, words: &[u64]) {
        for word in words {
            self.step(*word);
        }
    }

    /// Bytes that passed.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.step(u64::from_le_bytes(word));
        }
        self.step(bytes.len() as u64);
    }

    /// The hash of all that was noted.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many things were noted.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    fn step(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash = mixed ^ (mixed >> 29);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_kind_and_content_all_count() {
        let hash = |notes: &[(&str, &[u64])]| {
            let mut trace = Trace::new();
            notes
                .iter()
                .for_each(|(what, words)| trace.note(what, words));
            trace.hash()
        };
        let all = [
            hash(&[]),
            hash(&[("a", &[1, 2])]),
            hash(&[("a", &[2, 1])]),
            hash(&[("b", &[1, 2])]),
            hash(&[("a", &[1]), ("a", &[2])]),
            hash(&[("a", &[2]), ("a", &[1])]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
    }
}
