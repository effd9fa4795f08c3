//! A slab whose slots remember how often they were filled, so that a stale id finds nothing.

use std::marker::PhantomData;

use slab::Slab;

use crate::ids::{LinkId, SessionId, StreamId, SwarmId, UtpId};

/// An id made of a slot and a generation.
pub trait SlotId: Copy + Eq {
    /// The id of what lives in `slot` for the `generation`th time.
    fn new(slot: u32, generation: u32) -> Self;
    /// Where in its slab.
    fn slot(self) -> usize;
    /// Which tenant of the slot.
    fn generation(self) -> u32;
}

macro_rules! slot_ids {
    ($($name:ident)*) => {
        $(impl SlotId for $name {
            fn new(slot: u32, generation: u32) -> Self {
                Self::new(slot, generation)
            }

            fn slot(self) -> usize {
                self.slot()
            }

            fn generation(self) -> u32 {
                self.generation()
            }
        })*
    };
}

slot_ids!(SessionId SwarmId LinkId StreamId UtpId);

/// Things by id. Costs four bytes a slot beyond the slab itself.
///
/// Where a thing is known to be there (its neighbours name each other), its slot alone finds it: four bytes where an id
/// takes eight.
#[derive(Debug)]
pub struct Slots<I, T> {
    entries: Slab<T>,
    /// How often each slot was filled. Wraps after 2^32 tenants; nothing stale lives that long.
    generations: Vec<u32>,
    ids: PhantomData<I>,
}

impl<I: SlotId, T> Default for Slots<I, T> {
    fn default() -> Self {
        Self {
            entries: Slab::new(),
            generations: Vec::new(),
            ids: PhantomData,
        }
    }
}

impl<I: SlotId, T> Slots<I, T> {
    /// Puts in what `make` returns for the id it will have.
    pub fn insert_with(&mut self, make: impl FnOnce(I) -> T) -> I {
        let entry = self.entries.vacant_entry();
        let slot = entry.key();
        if slot == self.generations.len() {
            self.generations.push(0);
        }
        let generation = &mut self.generations[slot];
        *generation = generation.wrapping_add(1);
        let id = I::new(
            u32::try_from(slot).expect("fewer than 2^32 things"),
            *generation,
        );
        entry.insert(make(id));
        id
    }

    /// Takes out what `id` names, if it is still there.
    pub fn remove(&mut self, id: I) -> Option<T> {
        self.is_current(id)
            .then(|| self.entries.try_remove(id.slot()))
            .flatten()
    }

    /// What `id` names, if it is still there.
    #[must_use]
    pub fn get(&self, id: I) -> Option<&T> {
        self.is_current(id)
            .then(|| self.entries.get(id.slot()))
            .flatten()
    }

    /// What `id` names, if it is still there.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.is_current(id)
            .then(|| self.entries.get_mut(id.slot()))
            .flatten()
    }

    /// What lives in `slot` now.
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)
    }

    /// What lives in `slot` now.
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)
    }

    /// The id of what lives in `slot` now, or of who lived there last.
    #[must_use]
    pub fn id_at(&self, slot: u32) -> I {
        let generation = self.generations.get(slot as usize).copied();
        I::new(slot, generation.unwrap_or(0))
    }

    /// Everything, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.entries
            .iter()
            .map(|(slot, thing)| (self.id_of(slot), thing))
    }

    /// All ids, by slot, as a list of their own: for loops that change what they walk.
    #[must_use]
    pub fn ids(&self) -> Vec<I> {
        self.iter().map(|(id, _)| id).collect()
    }

    /// How many things.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `id` names the slot's last tenant. It may be gone: its slot is empty then.
    fn is_current(&self, id: I) -> bool {
        self.generations.get(id.slot()) == Some(&id.generation())
    }

    fn id_of(&self, slot: usize) -> I {
        self.id_at(u32::try_from(slot).expect("fewer than 2^32 things"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slots: Slots<StreamId, &str> = Slots::default();
        let first = slots.insert_with(|_| "first");
        assert_eq!(slots.remove(first), Some("first"));
        assert_eq!(slots.get(first), None, "its slot is empty");
        assert_eq!(slots.remove(first), None);
        let second = slots.insert_with(|_| "second");
        assert_eq!(second.slot(), first.slot(), "the slot is used again");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.id_at(0), second);
        assert_eq!(slots.get(StreamId::new(9, 1)), None, "never filled");
    }
}
