//! Answers that the caller fetches when it likes.
//!
//! The actor never waits for a caller and never loses an answer: the place of an answer is reserved when its message is sent,
//! and is free again when the answer is fetched. Nothing of the caller's ever runs on the actor's thread, so a slow caller
//! slows nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::reply::AskError;
use crate::engine::message::Answer;
use crate::time::Duration;

/// One message is over.
#[derive(Debug)]
pub struct Completion {
    /// As given with the message.
    pub tag: u64,
    /// How it went. Never [`AskError::Expired`] or [`AskError::Unknown`]: such a message has no deadline.
    pub outcome: Result<Answer, AskError>,
}

/// Where answers wait for their caller; see [`Handle::tell_with`]. Dropped, the answers still to come are dropped too, and
/// counted as late.
///
/// [`Handle::tell_with`]: super::handle::Handle::tell_with
#[derive(Debug)]
pub struct CompletionQueue {
    shared: Arc<Shared>,
    take: Receiver<Completion>,
    capacity: usize,
}

#[derive(Debug)]
struct Shared {
    give: Sender<Completion>,
    /// Places neither reserved nor filled.
    free: AtomicUsize,
}

/// One reserved place.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    tag: u64,
}

impl CompletionQueue {
    /// A queue for `capacity` answers (at least one), those still to come among them; a message beyond that is refused when
    /// it is sent.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let (give, take) = bounded(capacity);
        let free = AtomicUsize::new(capacity);
        Self {
            shared: Arc::new(Shared { give, free }),
            take,
            capacity,
        }
    }

    /// The next answer that is there.
    #[must_use]
    pub fn try_next(&self) -> Option<Completion> {
        let completion = self.take.try_recv().ok()?;
        self.shared.free.fetch_add(1, Ordering::Release);
        Some(completion)
    }

    /// The next answer, waiting for it for at most `timeout`. Returns at once when none is to come.
    #[must_use]
    pub fn next(&self, timeout: Duration) -> Option<Completion> {
        if self.outstanding() == 0 {
            return None;
        }
        let completion = self.take.recv_timeout(timeout).ok()?;
        self.shared.free.fetch_add(1, Ordering::Release);
        Some(completion)
    }

    /// Answers not yet fetched: those that are there and those still to come.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.capacity - self.shared.free.load(Ordering::Acquire)
    }

    /// Reserves a place.
    pub(super) fn reserve(&self, tag: u64) -> Option<Ticket> {
        // Acquire: the place was emptied before it was free.
        self.shared
            .free
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |free| {
                free.checked_sub(1)
            })
            .ok()?;
        Some(Ticket {
            shared: Arc::clone(&self.shared),
            tag,
        })
    }
}

impl Ticket {
    /// Fills the place; `false` when the queue is gone.
    pub(super) fn answer(self, outcome: Result<Answer, AskError>) -> bool {
        let Self { shared, tag } = self;
        match shared.give.try_send(Completion { tag, outcome }) {
            Ok(()) => true,
            Err(error) => {
                assert!(error.is_disconnected(), "a place is reserved for each");
                false
            }
        }
    }

    /// The message was never queued.
    pub(super) fn unused(self) {
        self.shared.free.fetch_add(1, Ordering::Release);
    }
}
