//! The actor's side: what is taken, what is counted, and when it may sleep.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;

use super::{Envelope, Lane, Mailbox};
use crate::actor::bus::Subscribe;
use crate::metrics::LaneFigures;
use crate::time::Duration;

/// The actor's side. Dropped, it closes the mailbox and answers everybody.
#[derive(Debug)]
pub(in crate::actor) struct Inbox {
    mailbox: Arc<Mailbox>,
    subscribes_seen: u64,
    processed: [u64; 4],
    expired: [u64; 4],
    peak: usize,
}

impl Inbox {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self {
            mailbox,
            subscribes_seen: 0,
            processed: [0; 4],
            expired: [0; 4],
            peak: 0,
        }
    }

    /// From now on the calling thread is the actor's own.
    pub(in crate::actor) fn adopt_thread(&self) {
        let _ = self.mailbox.actor.set(thread::current().id());
    }

    /// Notes how full the lanes are. At the beginning of a turn they are at their fullest.
    pub(in crate::actor) fn note_peak(&mut self) {
        self.peak = self.peak.max(self.mailbox.queued());
    }

    /// The pending shutdown that nobody waits for, with the shortest budget asked for.
    pub(in crate::actor) fn take_shutdown(&mut self) -> Option<Duration> {
        if self.mailbox.shutdown.load(Ordering::Relaxed) == u64::MAX {
            return None;
        }
        let budget = self.mailbox.shutdown.swap(u64::MAX, Ordering::SeqCst);
        let count = self.mailbox.shutdowns.swap(0, Ordering::SeqCst);
        self.processed[Lane::Critical as usize] += count;
        (budget != u64::MAX).then(|| Duration::from_micros(budget))
    }

    /// The next message of `lane`. Its room is given back by [`Self::release`].
    pub(in crate::actor) fn pop(&mut self, lane: Lane) -> Option<Envelope> {
        self.mailbox.lanes[lane as usize].take.try_recv().ok()
    }

    /// Gives back the room of `count` messages that were taken.
    pub(in crate::actor) fn release(&mut self, count: usize) {
        self.mailbox.give_room(count);
    }

    /// The next subscription to enter. To be asked after each [`Self::pop`], before the message is executed: whoever
    /// subscribed before it sent a message sees that message's events.
    pub(in crate::actor) fn next_subscribe(&mut self) -> Option<Subscribe> {
        if self.mailbox.subscribes_sent.load(Ordering::Acquire) == self.subscribes_seen {
            return None;
        }
        let subscribe = self.mailbox.subscribes.1.try_recv().ok()?;
        self.subscribes_seen += 1;
        Some(subscribe)
    }

    /// Counts one taken message as executed or as expired.
    pub(in crate::actor) fn count(&mut self, lane: Lane, executed: bool) {
        let counters = if executed {
            &mut self.processed
        } else {
            &mut self.expired
        };
        counters[lane as usize] += 1;
    }

    /// Arms the doorbell and tells whether the actor may sleep. When not, the doorbell is quiet again.
    pub(in crate::actor) fn may_sleep(&mut self) -> bool {
        self.mailbox.doorbell.arm();
        let mailbox = &*self.mailbox;
        let empty = mailbox.lanes.iter().all(|channel| channel.take.is_empty())
            && mailbox.shutdown.load(Ordering::Relaxed) == u64::MAX
            && mailbox.subscribes.1.is_empty();
        if !empty {
            mailbox.doorbell.disarm();
        }
        empty
    }

    /// The actor is awake again.
    pub(in crate::actor) fn awake(&mut self) {
        self.mailbox.doorbell.disarm();
    }

    /// The counters of `lane`.
    pub(in crate::actor) fn figures(&self, lane: Lane) -> LaneFigures {
        let at = lane as usize;
        let channel = &self.mailbox.lanes[at];
        LaneFigures {
            sent: channel.sent.0.load(Ordering::Relaxed),
            processed: self.processed[at],
            rejected: channel.rejected.load(Ordering::Relaxed),
            shed: channel.shed.load(Ordering::Relaxed),
            expired: self.expired[at] + channel.expired.load(Ordering::Relaxed),
            cancelled: channel.cancelled.load(Ordering::Relaxed),
        }
    }

    /// Most messages ever found waiting.
    pub(in crate::actor) fn peak(&self) -> usize {
        self.peak
    }

    /// Messages waiting now, and the bound.
    pub(in crate::actor) fn fill(&self) -> (usize, usize) {
        (self.mailbox.queued(), self.mailbox.options.capacity)
    }

    /// Refuses what comes from now on and answers whoever waits.
    pub(in crate::actor) fn close(&mut self) {
        self.mailbox.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.mailbox.drain();
        self.mailbox.shutdown.store(u64::MAX, Ordering::SeqCst);
        // Senders that wait for room look again and find the mailbox closed.
        self.mailbox.give_room(0);
        for _ in 0..self.mailbox.waiters.load(Ordering::SeqCst) {
            let _ = self.mailbox.tokens.0.try_send(());
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.close();
    }
}
