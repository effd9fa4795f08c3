//! Buffers and slots that are used again, so that a message allocates nothing once warm.

use crossbeam_channel::{Receiver, Sender, bounded};

/// A bounded number of idle things. What is given back beyond the bound is freed.
#[derive(Debug)]
pub(in crate::actor) struct Pool<T> {
    give: Sender<T>,
    take: Receiver<T>,
}

impl<T> Pool<T> {
    pub(in crate::actor) fn new(kept_max: usize) -> Self {
        let (give, take) = bounded(kept_max);
        Self { give, take }
    }

    /// An idle one, if there is any.
    pub(in crate::actor) fn take(&self) -> Option<T> {
        self.take.try_recv().ok()
    }

    /// Keeps `thing` for later.
    pub(in crate::actor) fn give(&self, thing: T) {
        let _ = self.give.try_send(thing);
    }

    /// How many are idle.
    #[cfg(test)]
    pub(in crate::actor) fn idle(&self) -> usize {
        self.take.len()
    }
}

impl<T> Pool<Vec<T>> {
    /// Keeps an empty `buffer` for later, unless it has grown beyond `length_max` or holds no room at all.
    pub(in crate::actor) fn give_buffer(&self, mut buffer: Vec<T>, length_max: usize) {
        buffer.clear();
        if (1..=length_max).contains(&buffer.capacity()) {
            self.give(buffer);
        }
    }
}
