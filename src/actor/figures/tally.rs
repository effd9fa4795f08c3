//! What becomes of messages that are never executed, by type. Callers count here, from any thread, and the actor reads.
//!
//! Only the ends that nobody hopes for are counted here, so that sending a message that is executed touches none of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::mailbox::Body;
use super::kinds::{TYPES, Type};
use crate::engine::message::Message;

/// How a message ended without being executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fate {
    /// Given back: the queue was full.
    Rejected,
    /// Evicted by a newer one of a higher lane.
    Shed,
    /// Its deadline passed before it was taken.
    Expired,
    /// Left over at the end.
    Cancelled,
}

const FATES: usize = 4;

/// The counts, by type and fate.
#[derive(Debug)]
pub(in super::super) struct Tally {
    cells: [[AtomicU64; FATES]; TYPES.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            cells: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }
}

impl Tally {
    /// Counts `count` messages of one type.
    pub(in super::super) fn note(&self, kind: Type, fate: Fate, count: u64) {
        self.cells[kind.index()][fate as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Counts each operation of `body` by its type.
    pub(in super::super) fn note_body(&self, body: &Body, fate: Fate) {
        Type::each(body, |kind| self.note(kind, fate, 1));
    }

    /// Counts each of `messages` by its type.
    pub(in super::super) fn note_messages(&self, messages: &[Message], fate: Fate) {
        for message in messages {
            self.note(Type::of_message(message), fate, 1);
        }
    }

    /// Messages of this type that ended so.
    pub(super) fn count(&self, kind: usize, fate: Fate) -> u64 {
        self.cells[kind][fate as usize].load(Ordering::Relaxed)
    }
}
