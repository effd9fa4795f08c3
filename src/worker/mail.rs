//! The way back to the actor: a channel with room reserved for every job given out, and one wake a burst.
//!
//! A sender arms the flag and wakes only if nobody had armed it. The receiver clears the flag when it finds the channel empty
//! and then looks once more: whatever is sent after that look finds the flag clear, and wakes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Wakes whoever polls for finished jobs; called from any thread, must not block.
pub(super) type Waker = Arc<dyn Fn() + Send + Sync>;

/// Where a thread puts what it has finished.
pub(super) struct Outbox<T> {
    sender: Sender<T>,
    armed: Arc<AtomicBool>,
    waker: Waker,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            armed: Arc::clone(&self.armed),
            waker: Arc::clone(&self.waker),
        }
    }
}

/// Where the actor takes it.
pub(super) struct Inbox<T> {
    receiver: Receiver<T>,
    armed: Arc<AtomicBool>,
}

/// Both ends of a channel with room for `capacity`, which must cover all that is given out.
pub(super) fn mail<T>(capacity: usize, waker: Waker) -> (Outbox<T>, Inbox<T>) {
    let (sender, receiver) = bounded(capacity);
    let armed = Arc::new(AtomicBool::new(false));
    let outbox = Outbox {
        sender,
        armed: Arc::clone(&armed),
        waker,
    };
    (outbox, Inbox { receiver, armed })
}

impl<T> Outbox<T> {
    /// Delivers `item`; lost only when nobody will ever look again.
    pub(super) fn send(&self, item: T) {
        match self.sender.try_send(item) {
            Ok(()) => {}
            Err(error) if error.is_disconnected() => return,
            Err(_) => unreachable!("room was reserved when the job was given out"),
        }
        if !self.armed.swap(true, Ordering::SeqCst) {
            (self.waker)();
        }
    }
}

impl<T> Inbox<T> {
    /// What came first; `None` when there is nothing, and then the next delivery wakes.
    pub(super) fn take(&self) -> Option<T> {
        if let Ok(item) = self.receiver.try_recv() {
            return Some(item);
        }
        self.armed.store(false, Ordering::SeqCst);
        self.receiver.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_burst_wakes_once() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        let waker = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let (outbox, inbox) = mail(100, waker);
        for burst in 1..=3 {
            (0..20).for_each(|n| outbox.send(n));
            assert_eq!(wakes.load(Ordering::SeqCst), burst);
            assert_eq!(std::iter::from_fn(|| inbox.take()).count(), 20);
        }
        outbox.send(0);
        assert_eq!(inbox.take(), Some(0));
        outbox.send(1);
        assert_eq!(
            wakes.load(Ordering::SeqCst),
            4,
            "the channel was not yet seen empty: the receiver is still at it"
        );
        assert_eq!((inbox.take(), inbox.take()), (Some(1), None));
    }
}
