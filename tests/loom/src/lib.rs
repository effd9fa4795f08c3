//! The places where threads meet in the actor's mailbox, in every order that the memory model allows.
//!
//! `src/actor/sync.rs` is compiled here as it is, over loom's atomics. What surrounds it in production is modelled: lanes and
//! answers are a list behind loom's lock, and tokens, wakes and unparkings are a notification of loom's. crossbeam-channel
//! itself has no such build.

#![cfg(test)]

#[path = "../../../src/actor/sync.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "production uses more than each model does"
)]
mod sync;

/// In the place of `src/actor/atomic.rs`.
mod atomic {
    use std::task::Waker;

    pub(super) use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// The same interface over loom's.
    #[derive(Debug)]
    pub(super) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(super) fn new() -> Self {
            Self(loom::future::AtomicWaker::new())
        }

        pub(super) fn register(&self, waker: &Waker) {
            self.0.register_by_ref(waker);
        }

        pub(super) fn wake(&self) {
            self.0.wake();
        }
    }
}

mod models;
