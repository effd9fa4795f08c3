//! One coalesced wake: however many ring, the actor is woken once, and only when it sleeps.

use std::fmt;

use super::sync::Armed;

/// Something that ends the actor's wait, from any thread: a waker of the poller, or nothing in a simulation.
pub trait Wake: Send + Sync {
    /// Ends the current wait, or the next one.
    fn wake(&self);
}

impl<F: Fn() + Send + Sync> Wake for F {
    fn wake(&self) {
        self();
    }
}

/// What callers, workers, store and gateway ring when they have queued something for the actor.
pub struct Doorbell {
    armed: Armed,
    wake: Box<dyn Wake>,
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell")
            .field("armed", &self.armed)
            .finish_non_exhaustive()
    }
}

impl Doorbell {
    /// A doorbell that ends the wait by `wake`.
    #[must_use]
    pub fn new(wake: Box<dyn Wake>) -> Self {
        Self {
            armed: Armed::new(),
            wake,
        }
    }

    /// Wakes the actor when it sleeps or is about to. Ring after queueing.
    pub fn ring(&self) {
        if self.armed.ring() {
            self.wake.wake();
        }
    }

    /// The same for a caller that has passed a sequentially consistent fence since it queued.
    pub(super) fn ring_after_fence(&self) {
        if self.armed.ring_after_fence() {
            self.wake.wake();
        }
    }

    /// From now on somebody who rings is heard. Look at the queues once more before sleeping.
    pub fn arm(&self) {
        self.armed.arm();
    }

    /// The actor is awake: ringing costs nothing.
    pub fn disarm(&self) {
        self.armed.disarm();
    }
}
