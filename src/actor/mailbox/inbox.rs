//! The actor's side: what is taken, what is counted, and when it may sleep.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;

use super::accounts::ACCOUNTS_MAX;
use super::{Envelope, Lane, Mailbox};
use crate::actor::bus::Subscribe;
use crate::actor::figures::Tally;
use crate::engine::message::{Answer, Message};
use crate::metrics::LaneFigures;
use crate::time::Duration;

/// Room is given back to waiting senders after so many operations, not only at the end of a turn's messages: each time costs a
/// few cache lines, and senders that wait for room should wait for less than a turn.
const RELEASE_EVERY: u64 = 32;

/// Looks into the lanes before a sleep that follows a message: 1 to 2 µs in all. In a burst the next message comes sooner
/// than that, and a look costs far less than a sleep, for the actor, and than a wake, for the sender.
const LINGER_LOOKS: u32 = 40;

/// The actor's side. Dropped, it closes the mailbox and answers everybody.
#[derive(Debug)]
pub(in crate::actor) struct Inbox {
    mailbox: Arc<Mailbox>,
    subscribes_seen: u64,
    processed: [u64; 4],
    expired: [u64; 4],
    peak: usize,
    /// Operations of each account that were taken and not yet given back, and the accounts that have any.
    owed: [u64; ACCOUNTS_MAX],
    owing: Vec<u16>,
    owed_sum: u64,
    /// Whether a message was taken since the last sleep was thought of.
    lively: bool,
}

impl Inbox {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self {
            mailbox,
            subscribes_seen: 0,
            processed: [0; 4],
            expired: [0; 4],
            peak: 0,
            owed: [0; ACCOUNTS_MAX],
            owing: Vec::with_capacity(ACCOUNTS_MAX),
            owed_sum: 0,
            lively: false,
        }
    }

    /// From now on the calling thread is the actor's own.
    pub(in crate::actor) fn adopt_thread(&self) {
        let _ = self.mailbox.actor.set(thread::current().id());
    }

    /// Notes how full the lanes are. At the beginning of a turn they are at their fullest.
    pub(in crate::actor) fn note_peak(&mut self) {
        // What is out bounds what is queued: as a rule that is enough to know.
        if self.mailbox.room.out() > self.peak as u64 {
            self.peak = self.peak.max(self.mailbox.queued());
        }
    }

    /// How many operations wait, when that is more than three quarters of what may.
    pub(in crate::actor) fn nearly_full(&self) -> Option<usize> {
        let much = self.mailbox.options.capacity - self.mailbox.options.capacity / 4;
        // As in `note_peak`.
        let out = usize::try_from(self.mailbox.room.out()).unwrap_or(usize::MAX);
        let queued = |_| self.mailbox.queued();
        (out > much)
            .then_some(())
            .map(queued)
            .filter(|&queued| queued > much)
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

    /// The next message of `lane`. Its room is free again after [`Self::release`].
    pub(in crate::actor) fn pop(&mut self, lane: Lane) -> Option<Envelope> {
        let envelope = self.mailbox.lanes[lane as usize].take.try_recv().ok()?;
        self.lively = true;
        if lane != Lane::Critical {
            let count = envelope.body.operations();
            let owed = &mut self.owed[usize::from(envelope.account)];
            if *owed == 0 {
                self.owing.push(envelope.account);
            }
            *owed += count;
            self.owed_sum += count;
            if self.owed_sum >= RELEASE_EVERY {
                self.release();
            }
        }
        Some(envelope)
    }

    /// Whether something waits in `lane`.
    pub(in crate::actor) fn has(&self, lane: Lane) -> bool {
        !self.mailbox.lanes[lane as usize].take.is_empty()
    }

    /// Gives back the room of what was taken: that of each caller, then that of all.
    pub(in crate::actor) fn release(&mut self) {
        for account in self.owing.drain(..) {
            let owed = mem::take(&mut self.owed[usize::from(account)]);
            self.mailbox.accounts.get(account).quota.give(owed);
        }
        self.mailbox.room.give(mem::take(&mut self.owed_sum));
    }

    /// Room for a batch's answers.
    pub(in crate::actor) fn answers_buffer(&self) -> Vec<Answer> {
        self.mailbox.answers.take().unwrap_or_default()
    }

    /// A batch's messages are all executed; their buffer is used again.
    pub(in crate::actor) fn keep_buffer(&self, buffer: Vec<Message>) {
        self.mailbox.keep_buffer(buffer);
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

    /// Counts operations that were taken as executed or as expired.
    pub(in crate::actor) fn count(&mut self, lane: Lane, operations: u64, executed: bool) {
        let counters = if executed {
            &mut self.processed
        } else {
            &mut self.expired
        };
        counters[lane as usize] += operations;
    }

    /// Waits very shortly for one more message, when there was one since the last time; whether it came.
    pub(in crate::actor) fn lingers(&mut self) -> bool {
        if !mem::take(&mut self.lively) {
            return false;
        }
        let lanes = &self.mailbox.lanes;
        (0..LINGER_LOOKS).any(|_| {
            std::hint::spin_loop();
            lanes.iter().any(|channel| !channel.take.is_empty())
        })
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
            sent: self.mailbox.accounts.sent(lane),
            processed: self.processed[at],
            rejected: channel.rejected.load(Ordering::Relaxed),
            shed: channel.shed.load(Ordering::Relaxed),
            expired: self.expired[at] + channel.expired.load(Ordering::Relaxed),
            cancelled: channel.cancelled.load(Ordering::Relaxed),
        }
    }

    /// What was not executed, by type.
    pub(in crate::actor) fn tally(&self) -> &Tally {
        &self.mailbox.tally
    }

    /// Most messages ever found waiting.
    pub(in crate::actor) fn peak(&self) -> usize {
        self.peak
    }

    /// Messages waiting now, and the bound.
    pub(in crate::actor) fn fill(&self) -> (usize, usize) {
        (self.mailbox.queued(), self.mailbox.options.capacity)
    }

    /// Senders that wait for room.
    #[cfg(test)]
    pub(in crate::actor) fn waiting_senders(&self) -> usize {
        self.mailbox.room.waiters()
    }

    /// Refuses what comes from now on and answers whoever waits.
    pub(in crate::actor) fn close(&mut self) {
        // Before anything is given back: what is queued now is taken by us or by its sender.
        self.release();
        self.mailbox.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.mailbox.drain();
        self.mailbox.shutdown.store(u64::MAX, Ordering::SeqCst);
        // Senders that wait for room look again and find the mailbox closed.
        self.mailbox.room.wake_all();
        for account in self.mailbox.accounts.all() {
            account.quota.wake_all();
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.close();
    }
}
