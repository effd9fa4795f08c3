//! The senders' side: what a message meets on its way into a lane.

use std::mem;
use std::sync::atomic::{Ordering, fence};
use std::thread;

use super::accounts::{Account, Seat};
use super::credits::{Credits, Want};
use super::{BATCH_MAX, Body, Envelope, Lane, Mailbox, Refused, lane_of};
use crate::actor::bus::Subscribe;
use crate::actor::figures::{Fate, Tally, Type, is_sample};
use crate::actor::reply::{AskError, Reply};
use crate::config::Backpressure;
use crate::engine::message::Message;
use crate::time::{Duration, Instant};

impl Mailbox {
    /// Whether this is the actor's own thread.
    pub(in crate::actor) fn is_own_thread(&self) -> bool {
        self.actor.get() == Some(&thread::current().id())
    }

    /// Operations that wait in the lanes with a common bound, or are on their way there.
    pub(in crate::actor) fn queued(&self) -> usize {
        let queued = self.room.out().saturating_sub(self.accounts.held());
        // Sums that are read one after the other may show more than there ever was.
        usize::try_from(queued).map_or(self.options.capacity, |q| q.min(self.options.capacity))
    }

    /// Brings home what one caller holds and has not used.
    pub(super) fn gather(&self, account: &Account) {
        let held = account.purse.empty();
        account.quota.give(held);
        self.room.give(held);
    }

    /// The same of all callers.
    #[cold]
    fn gather_all(&self) {
        if self.advance > 0 {
            for account in self.accounts.all() {
                self.gather(account);
            }
        }
    }

    /// Enters a subscription; `false` when too many wait or the actor has ended.
    pub(in crate::actor) fn subscribe(&self, subscribe: Subscribe) -> bool {
        if self.closed.load(Ordering::SeqCst) || self.subscribes.0.try_send(subscribe).is_err() {
            return false;
        }
        // Counted before the caller sends what it wants to see the events of.
        self.subscribes_sent.fetch_add(1, Ordering::Release);
        self.pushed();
        true
    }

    /// Something was queued: the actor is woken, or has ended and is not there to find it.
    fn pushed(&self) {
        // Its twins are in `Inbox::close` and `Armed::arm`: either they find what was queued, or we see that they were there.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            self.drain();
        }
        self.doorbell.ring_after_fence();
    }

    /// Empties a closed mailbox: whoever waits is told.
    pub(super) fn drain(&self) {
        for (lane, channel) in Lane::ALL.into_iter().zip(&self.lanes) {
            while let Ok(envelope) = channel.take.try_recv() {
                let count = envelope.body.operations();
                let expired = envelope.reply.as_ref().is_some_and(|reply| !reply.take());
                let (counter, fate) = if expired {
                    (&channel.expired, Fate::Expired)
                } else {
                    (&channel.cancelled, Fate::Cancelled)
                };
                counter.fetch_add(count, Ordering::Relaxed);
                self.tally.note_body(&envelope.body, fate);
                if lane != Lane::Critical {
                    self.accounts.get(envelope.account).quota.give(count);
                    self.room.give(count);
                }
                // Dropping the envelope answers `Stopped`.
            }
        }
        let coalesced = self.shutdowns.swap(0, Ordering::SeqCst);
        self.lanes[Lane::Critical as usize]
            .cancelled
            .fetch_add(coalesced, Ordering::Relaxed);
        (self.tally).note(Type::SHUTDOWN, Fate::Cancelled, coalesced);
        while self.subscribes.1.try_recv().is_ok() {}
    }

    fn push(&self, lane: Lane, envelope: Envelope) {
        self.lanes[lane as usize]
            .give
            .try_send(envelope)
            .expect("every lane holds as much as all lanes together may");
        self.pushed();
    }

    /// Counts `count` operations as not taken; `note` counts them by their types.
    #[cold]
    fn count_refused(&self, lane: Lane, count: u64, note: impl FnOnce(&Tally, Fate)) -> AskError {
        let channel = &self.lanes[lane as usize];
        // Who waited for room may have been woken by the end instead.
        let (counter, fate, why) = if self.closed.load(Ordering::SeqCst) {
            (&channel.cancelled, Fate::Cancelled, AskError::Stopped)
        } else {
            (&channel.rejected, Fate::Rejected, AskError::Full)
        };
        counter.fetch_add(count, Ordering::Relaxed);
        note(&self.tally, fate);
        why
    }

    /// Counts what is not taken, and gives it back.
    #[cold]
    fn refuse(&self, lane: Lane, body: Body, reply: Option<Reply>) -> Refused {
        let note = |tally: &Tally, fate| tally.note_body(&body, fate);
        let why = self.count_refused(lane, body.operations(), note);
        Refused { body, reply, why }
    }

    /// When a message or batch with this number among its caller's is sent, if it is a sample.
    fn stamp(&self, sequence: u64) -> Instant {
        if self.options.stamped && is_sample(sequence) {
            self.time()
        } else {
            Instant::FAR
        }
    }

    /// Apart, so that the messages without a time do not carry the reading of the clock along.
    #[cold]
    fn time(&self) -> Instant {
        self.options.clock.now()
    }

    fn send_critical(&self, body: Body, reply: Option<Reply>, account: u16) {
        let Body::Message(Message::Shutdown { budget }) = body else {
            unreachable!("the one critical kind");
        };
        let Some(reply) = reply else {
            self.coalesce(budget);
            return;
        };
        let envelope = Envelope {
            body,
            reply: Some(reply),
            sent: Instant::FAR,
            account,
        };
        let sent = self.lanes[Lane::Critical as usize].give.try_send(envelope);
        if let Err(error) = sent {
            // It is executed all the same, but more callers wait for that than are kept in mind.
            if let Some(reply) = error.into_inner().reply {
                reply.take();
                reply.answer(Err(AskError::Unknown));
            }
            self.coalesce(budget);
        }
        self.pushed();
    }

    /// Merges a shutdown nobody waits for with the pending one: the shorter budget holds.
    fn coalesce(&self, budget: Duration) {
        let micros = u64::try_from(budget.as_micros()).unwrap_or(u64::MAX - 1);
        self.shutdowns.fetch_add(1, Ordering::SeqCst);
        self.shutdown
            .fetch_min(micros.min(u64::MAX - 1), Ordering::SeqCst);
        self.pushed();
    }

    /// Takes room in `credits`, or waits for it. `gather` brings home what is held and not used.
    fn take(&self, credits: &Credits, want: Want, patience: Patience, gather: impl Fn()) -> u64 {
        let least = want.most;
        let all = credits.take(Want { least, ..want });
        if all > 0 {
            return all;
        }
        gather();
        let deadline = match patience {
            Patience::None => return credits.take(want),
            // The actor would wait for itself.
            _ if self.is_own_thread() => return credits.take(want),
            Patience::Usual => self.options.clock.now() + self.options.patience,
            Patience::Until(deadline) => deadline,
        };
        let over = || self.closed.load(Ordering::SeqCst);
        let taken = credits.wait(want, self.options.clock, deadline, over, gather);
        if taken > 0 && over() {
            // What the end has emptied is no room to queue in.
            credits.give(taken);
            return 0;
        }
        taken
    }

    /// Evicts messages below `lane`, lowest lane and oldest message first, until `count` operations have gone; how many have,
    /// whose room is the caller's then.
    #[cold]
    fn shed_below(&self, lane: Lane, count: u64) -> u64 {
        let mut gone = 0;
        for lower in Lane::ALL.into_iter().rev().take_while(|&l| l > lane) {
            let channel = &self.lanes[lower as usize];
            while gone < count {
                let Ok(envelope) = channel.take.try_recv() else {
                    break;
                };
                let operations = envelope.body.operations();
                gone += operations;
                self.accounts.get(envelope.account).quota.give(operations);
                match envelope.reply {
                    Some(reply) if !reply.take() => {
                        channel.expired.fetch_add(operations, Ordering::Relaxed);
                        self.tally.note_body(&envelope.body, Fate::Expired);
                    }
                    reply => {
                        channel.shed.fetch_add(operations, Ordering::Relaxed);
                        self.tally.note_body(&envelope.body, Fate::Shed);
                        if let Some(reply) = reply {
                            reply.answer(Err(AskError::Shed));
                        }
                    }
                }
            }
        }
        gone
    }

    /// At least how many operations wait below `lane`.
    fn waiting_below(&self, lane: Lane) -> u64 {
        Lane::ALL
            .into_iter()
            .filter(|&lower| lower > lane)
            .map(|lower| self.lanes[lower as usize].take.len() as u64)
            .sum()
    }
}

/// How long a sender waits for room.
#[derive(Clone, Copy, Debug)]
pub(in crate::actor) enum Patience {
    /// Not at all.
    None,
    /// As long as the options say. The clock is read only when it comes to waiting.
    Usual,
    /// Until then.
    Until(Instant),
}

impl Seat {
    /// Queues one message, or one batch, with all of its operations or with none.
    pub(in crate::actor) fn send(
        &self,
        body: Body,
        reply: Option<Reply>,
        policy: Backpressure,
    ) -> Result<(), Refused> {
        let mailbox = &*self.mailbox;
        let lane = body.lane();
        let count = body.operations();
        if lane == Lane::Critical || mailbox.closed.load(Ordering::Relaxed) {
            return self.send_without_room(lane, body, reply);
        }
        let sequence = match self.account().spend(lane, count) {
            Some(sequence) => sequence,
            None => {
                let until = reply.as_ref().map(Reply::deadline);
                let sequence = self.account().note_sent(lane, count);
                if !self.advance(count) && self.reserve(lane, count, count, until, policy) == 0 {
                    return Err(mailbox.refuse(lane, body, reply));
                }
                sequence
            }
        };
        let sent = mailbox.stamp(sequence);
        let account = self.account;
        mailbox.push(
            lane,
            Envelope {
                body,
                reply,
                sent,
                account,
            },
        );
        Ok(())
    }

    #[cold]
    fn send_without_room(
        &self,
        lane: Lane,
        body: Body,
        reply: Option<Reply>,
    ) -> Result<(), Refused> {
        let count = body.operations();
        self.account().note_sent(lane, count);
        if self.mailbox.closed.load(Ordering::SeqCst) {
            return Err(self.mailbox.refuse(lane, body, reply));
        }
        self.mailbox.send_critical(body, reply, self.account);
        Ok(())
    }

    /// While there is room in plenty, takes it for `count` operations and for some to come; whether it did.
    fn advance(&self, count: u64) -> bool {
        let mailbox = &*self.mailbox;
        let (capacity, advance) = (mailbox.options.capacity as u64, mailbox.advance);
        if advance == 0 || count > advance || mailbox.room.out() > capacity / 2 {
            return false;
        }
        let account = self.account();
        account.collect_sent();
        let all = |limit| Want {
            limit,
            least: count + advance,
            most: count + advance,
        };
        if account.quota.take(all(self.quota)) == 0 {
            return false;
        }
        if mailbox.room.take(all(capacity)) == 0 {
            account.quota.give(count + advance);
            return false;
        }
        if !account.purse.fill(advance) {
            account.quota.give(advance);
            mailbox.room.give(advance);
        } else if mailbox.room.waiters() > 0 || account.quota.waiters() > 0 {
            // Whoever waits may have looked into the purse just before.
            mailbox.gather(account);
        }
        true
    }

    /// Whether `messages` can be one batch of this caller's.
    pub(in crate::actor) fn check_batch(&self, messages: &[Message]) -> Result<(), AskError> {
        let capacity = self.mailbox.options.capacity as u64;
        let length = messages.len() as u64;
        if messages.len() > BATCH_MAX || length > capacity.min(self.quota) {
            return Err(AskError::TooLong);
        }
        let critical = |message: &Message| lane_of(message) == Lane::Critical;
        if messages.iter().any(critical) {
            return Err(AskError::NotBatched);
        }
        Ok(())
    }

    /// Queues as many of `messages`, which can be a batch, as there is room for; the rest stays, and counts as rejected.
    pub(in crate::actor) fn send_batch(
        &self,
        messages: &mut Vec<Message>,
        policy: Backpressure,
    ) -> Result<usize, AskError> {
        let mailbox = &*self.mailbox;
        let count = messages.len() as u64;
        let Some(lane) = messages.iter().map(lane_of).max() else {
            return Ok(0);
        };
        let sequence = self.account().note_sent(lane, count);
        let refuse = |left: &[Message]| {
            let count = left.len() as u64;
            mailbox.count_refused(lane, count, |tally, fate| tally.note_messages(left, fate))
        };
        if mailbox.closed.load(Ordering::Relaxed) {
            return Err(refuse(messages));
        }
        let taken = self.reserve(lane, 1, count, None, policy);
        let length = usize::try_from(taken).unwrap_or(usize::MAX);
        if taken < count {
            let why = refuse(&messages[length..]);
            if taken == 0 {
                return if why == AskError::Full {
                    Ok(0)
                } else {
                    Err(why)
                };
            }
        }
        let mut buffer = mailbox.buffers.take().unwrap_or_default();
        if taken == count {
            mem::swap(&mut buffer, messages);
        } else {
            buffer.extend(messages.drain(..length));
        }
        let (body, account) = (Body::Batch(buffer), self.account);
        let sent = mailbox.stamp(sequence);
        let envelope = Envelope {
            body,
            reply: None,
            sent,
            account,
        };
        mailbox.push(lane, envelope);
        Ok(length)
    }

    /// Takes room for `most` operations, or for what there is of them, but not for less than `least`: first on the
    /// caller's own account, then in the lanes.
    fn reserve(
        &self,
        lane: Lane,
        least: u64,
        most: u64,
        until: Option<Instant>,
        policy: Backpressure,
    ) -> u64 {
        let mailbox = &*self.mailbox;
        let patience = match (policy, until) {
            (Backpressure::Reject | Backpressure::Shed, _) => Patience::None,
            (Backpressure::Block, None) => Patience::Usual,
            (Backpressure::Block, Some(deadline)) => Patience::Until(deadline),
        };
        let own = &self.account().quota;
        let limit = self.quota;
        let own_purse = || mailbox.gather(self.account());
        let quota = mailbox.take(own, Want { limit, least, most }, patience, own_purse);
        if quota == 0 {
            return 0;
        }
        let want = Want {
            limit: mailbox.options.capacity as u64,
            least,
            most: quota,
        };
        let room = match policy {
            Backpressure::Shed => self.take_or_shed(lane, want),
            Backpressure::Block | Backpressure::Reject => {
                mailbox.take(&mailbox.room, want, patience, || mailbox.gather_all())
            }
        };
        own.give(quota - room);
        room
    }

    fn take_or_shed(&self, lane: Lane, want: Want) -> u64 {
        let mailbox = &*self.mailbox;
        let least = want.most;
        let all = mailbox.room.take(Want { least, ..want });
        if all > 0 {
            return all;
        }
        mailbox.gather_all();
        let mut room = mailbox.room.take(Want { least: 1, ..want });
        // Nothing is shed in vain: what waits below must be enough.
        if room < want.most && room + mailbox.waiting_below(lane) >= want.least {
            room += mailbox.shed_below(lane, want.most - room);
            // The actor may have made room meanwhile.
            if room < want.least {
                let limit = want.limit;
                let most = want.least - room;
                room += mailbox.room.take(Want {
                    limit,
                    least: most,
                    most,
                });
            }
        }
        let used = if room < want.least {
            0
        } else {
            room.min(want.most)
        };
        mailbox.room.give(room - used);
        used
    }
}
