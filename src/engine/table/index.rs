//! Where things are by what they are: slots found by address, by connection, by info-hash.
//!
//! The keys live in the things themselves; an index holds four bytes of slot and one of tag for each. It is never walked, so
//! nothing depends on its order. Strangers choose addresses, so the hash has secret keys, drawn from the engine's chance:
//! who does not know them cannot choose addresses that collide, whatever he sends.

use hashbrown::HashTable;

use crate::rng::Rng;

/// The secret of the hashes: one for the process.
#[derive(Clone, Debug)]
pub(super) struct Keys([u64; 4]);

impl Keys {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self(std::array::from_fn(|_| rng.draw()))
    }

    /// Hashes three words: each is mixed with a secret before it is multiplied.
    pub(super) fn hash(&self, [a, b, c]: [u64; 3]) -> u64 {
        let [k0, k1, k2, k3] = self.0;
        let first = fold(a ^ k0, b ^ k1);
        fold(first ^ k2, c ^ k3)
    }
}

/// Both halves of the product: every bit of either factor reaches every bit of the result.
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a product")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

/// Slots by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(HashTable<u32>);

impl Index {
    /// The slot under `hash` that `is` the one.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.0.find(hash, |&slot| is(slot)).copied()
    }

    /// Adds a slot whose key is not there; `hash_of` hashes the keys of those that are, should the table grow.
    pub(super) fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        self.0.insert_unique(hash, slot, |&slot| hash_of(slot));
    }

    /// Takes `slot` out.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        if let Ok(entry) = self.0.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let keys = Keys::new(&mut Rng::new(3));
        let hash = |slot: u32| keys.hash([u64::from(slot), 7, 0]);
        let mut index = Index::default();
        for slot in 0..10_000 {
            index.insert(hash(slot), slot, hash);
        }
        for slot in (0..10_000).step_by(2) {
            index.remove(hash(slot), slot);
        }
        index.remove(hash(4), 4);
        assert_eq!(index.len(), 5_000);
        for slot in 0..10_000 {
            let found = index.find(hash(slot), |other| other == slot);
            assert_eq!(found, (slot % 2 == 1).then_some(slot));
        }
    }

    #[test]
    fn hashes_follow_the_keys_and_spread() {
        let (one, other) = (Keys::new(&mut Rng::new(1)), Keys::new(&mut Rng::new(2)));
        assert_ne!(one.hash([1, 2, 3]), other.hash([1, 2, 3]));
        // The top seven bits are the tag, the low ones the place: both must vary with a counter in any word.
        for word in 0..3 {
            let mut tags = [0_u32; 128];
            let mut places = [0_u32; 128];
            for n in 0..12_800 {
                let mut key = [5, 6, 7];
                key[word] = n;
                let hash = one.hash(key);
                tags[usize::try_from(hash >> 57).expect("small")] += 1;
                places[usize::try_from(hash & 127).expect("small")] += 1;
            }
            for counts in [tags, places] {
                assert!(counts.iter().all(|n| (50..200).contains(n)), "{counts:?}");
            }
        }
    }
}
