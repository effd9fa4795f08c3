//! All streams by id, those that the loop carries and those that are carried outside, and which link each hangs on.
//!
//! Of a stream that a caller carries, only what the table must know is kept: 32 bytes. What the loop carries has a record of
//! its own behind a pointer. The streams of one link form a ring, oldest first, so that adding and removing touches no list.

use crate::engine::slots::Slots;
use crate::ids::{ConnectionId, StreamId};

use super::index::{Index, Keys};
use super::link::NONE;
use super::stream::Stream;

/// Where a stream hangs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knot {
    /// Slot of its link.
    pub(super) link: u32,
    /// Slot of the link's next stream, in a ring.
    next: u32,
    /// Slot of the link's stream before.
    previous: u32,
    /// Slot of the swarm it names, or [`NONE`].
    pub(super) swarm: u32,
    /// Whether we dialled.
    pub(super) outgoing: bool,
    /// Whether it is accounted in its swarm.
    pub(super) member: bool,
    /// Whether bytes can pass both ways: outside from the start, in the loop when both handshakes are there.
    pub(super) up: bool,
}

#[derive(Debug)]
enum Entry {
    Outside {
        knot: Knot,
        connection: ConnectionId,
    },
    Carried {
        knot: Knot,
        stream: Box<Stream>,
    },
}

impl Entry {
    const fn knot(&self) -> &Knot {
        match self {
            Self::Outside { knot, .. } | Self::Carried { knot, .. } => knot,
        }
    }

    const fn knot_mut(&mut self) -> &mut Knot {
        match self {
            Self::Outside { knot, .. } | Self::Carried { knot, .. } => knot,
        }
    }
}

/// Every stream of the process.
#[derive(Debug)]
pub struct Streams {
    slots: Slots<StreamId, Entry>,
    by_connection: Index,
    keys: Keys,
}

impl Streams {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            slots: Slots::default(),
            by_connection: Index::default(),
            keys,
        }
    }

    // ---------------------------------------------------------------------------------------- those of the loop

    /// A stream that the loop carries.
    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<&Stream> {
        match self.slots.get(id)? {
            Entry::Carried { stream, .. } => Some(stream),
            Entry::Outside { .. } => None,
        }
    }

    /// A stream that the loop carries.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        match self.slots.get_mut(id)? {
            Entry::Carried { stream, .. } => Some(stream),
            Entry::Outside { .. } => None,
        }
    }

    /// All that the loop carries, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.slots.iter().filter_map(|(id, entry)| match entry {
            Entry::Carried { stream, .. } => Some((id, &**stream)),
            Entry::Outside { .. } => None,
        })
    }

    /// How many the loop carries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.outside_len()
    }

    /// Whether the loop carries none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // ------------------------------------------------------------------------------------------ those of callers

    /// How many callers carry.
    #[must_use]
    pub fn outside_len(&self) -> usize {
        self.by_connection.len()
    }

    /// The stream that a caller calls `connection`.
    #[must_use]
    pub fn outside(&self, connection: ConnectionId) -> Option<StreamId> {
        let is = |slot| {
            matches!(self.slots.at(slot), Some(Entry::Outside { connection: other, .. })
                if *other == connection)
        };
        let slot = self.by_connection.find(self.hash(connection), is)?;
        Some(self.slots.id_at(slot))
    }

    /// Whether a caller carries it: `None` when it is gone.
    #[must_use]
    pub fn is_outside(&self, id: StreamId) -> Option<bool> {
        let entry = self.slots.get(id)?;
        Some(matches!(entry, Entry::Outside { .. }))
    }

    // ------------------------------------------------------------------------------------------------- the table's

    /// All of either kind, by slot.
    pub(super) fn ids(&self) -> Vec<StreamId> {
        self.slots.ids()
    }

    pub(super) fn id_at(&self, slot: u32) -> StreamId {
        self.slots.id_at(slot)
    }

    pub(super) fn is_outside_at(&self, slot: u32) -> bool {
        matches!(self.slots.at(slot), Some(Entry::Outside { .. }))
    }

    pub(super) fn carried_at(&self, slot: u32) -> Option<&Stream> {
        match self.slots.at(slot)? {
            Entry::Carried { stream, .. } => Some(stream),
            Entry::Outside { .. } => None,
        }
    }

    pub(super) fn carried_at_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        match self.slots.at_mut(slot)? {
            Entry::Carried { stream, .. } => Some(stream),
            Entry::Outside { .. } => None,
        }
    }

    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.slots.get(id).is_some()
    }

    /// The knot of a stream that is there.
    pub(super) fn knot(&self, slot: u32) -> &Knot {
        self.slots
            .at(slot)
            .expect("a slot named by its link is filled")
            .knot()
    }

    pub(super) fn knot_mut(&mut self, slot: u32) -> &mut Knot {
        self.slots
            .at_mut(slot)
            .expect("a slot named by its link is filled")
            .knot_mut()
    }

    /// Adds a stream that a caller carries. Its connection must not be known.
    pub(super) fn add_outside(&mut self, connection: ConnectionId, outgoing: bool) -> StreamId {
        let mut knot = loose(outgoing);
        knot.up = true;
        let id = self
            .slots
            .insert_with(|_| Entry::Outside { knot, connection });
        let hash = self.hash(connection);
        let (slots, keys) = (&self.slots, &self.keys);
        let hash_of = |slot| match slots.at(slot) {
            Some(Entry::Outside { connection, .. }) => hash_connection(keys, *connection),
            _ => 0,
        };
        self.by_connection.insert(hash, id.slot32(), hash_of);
        id
    }

    /// Adds a stream that the loop carries.
    pub(super) fn add_carried(
        &mut self,
        outgoing: bool,
        make: impl FnOnce(StreamId) -> Stream,
    ) -> StreamId {
        self.slots.insert_with(|id| Entry::Carried {
            knot: loose(outgoing),
            stream: Box::new(make(id)),
        })
    }

    /// Takes a stream out whose knot is loose; gives back what the loop carried.
    pub(super) fn remove(&mut self, id: StreamId) -> Option<Box<Stream>> {
        match self.slots.remove(id)? {
            Entry::Carried { stream, .. } => Some(stream),
            Entry::Outside { connection, .. } => {
                let hash = self.hash(connection);
                self.by_connection.remove(hash, id.slot32());
                None
            }
        }
    }

    /// Hangs a stream on the ring that begins with `first`, as its youngest; gives back where the ring begins.
    pub(super) fn tie_to(&mut self, first: u32, slot: u32) -> u32 {
        if first == NONE {
            let knot = self.knot_mut(slot);
            (knot.next, knot.previous) = (slot, slot);
            return slot;
        }
        let last = self.knot(first).previous;
        self.knot_mut(last).next = slot;
        self.knot_mut(first).previous = slot;
        let knot = self.knot_mut(slot);
        (knot.next, knot.previous) = (first, last);
        first
    }

    /// Takes a stream off the ring that begins with `first`; gives back where the ring begins then.
    pub(super) fn loosen(&mut self, first: u32, slot: u32) -> u32 {
        let Knot { next, previous, .. } = *self.knot(slot);
        if next == slot {
            return NONE;
        }
        self.knot_mut(previous).next = next;
        self.knot_mut(next).previous = previous;
        if first == slot { next } else { first }
    }

    /// The ring that begins with `first`, oldest first.
    pub(super) fn ring(&self, first: u32) -> impl Iterator<Item = (u32, &Knot)> {
        let mut at = first;
        std::iter::from_fn(move || {
            if at == NONE {
                return None;
            }
            let (slot, knot) = (at, self.knot(at));
            at = if knot.next == first { NONE } else { knot.next };
            Some((slot, knot))
        })
    }

    /// Panics when the index and the slots do not agree.
    pub(super) fn check(&self) {
        let mut outside = 0;
        for (id, entry) in self.slots.iter() {
            match entry {
                Entry::Outside { connection, .. } => {
                    outside += 1;
                    assert_eq!(self.outside(*connection), Some(id), "{connection}");
                }
                Entry::Carried { stream, knot } => {
                    assert_eq!(stream.id, id);
                    assert_eq!(stream.outgoing, knot.outgoing);
                    assert_eq!(stream.peer().is_some(), knot.up, "stream {id}");
                }
            }
        }
        assert_eq!(outside, self.by_connection.len());
    }

    fn hash(&self, connection: ConnectionId) -> u64 {
        hash_connection(&self.keys, connection)
    }
}

fn hash_connection(keys: &Keys, connection: ConnectionId) -> u64 {
    keys.hash([connection.0, 0, 0])
}

const fn loose(outgoing: bool) -> Knot {
    Knot {
        link: NONE,
        next: NONE,
        previous: NONE,
        swarm: NONE,
        outgoing,
        member: false,
        up: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_carries_costs_thirty_two_bytes() {
        assert_eq!(size_of::<Entry>(), 32);
    }
}
