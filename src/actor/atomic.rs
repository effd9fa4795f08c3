//! The atomics that [`super::sync`] is made of. `tests/loom` puts loom's in their place and runs the same code over every
//! order in which threads can meet.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

pub(super) use atomic_waker::AtomicWaker;
