//! The senders' side: what a message meets on its way into a lane.

use std::sync::atomic::{Ordering, fence};
use std::thread;

use super::{Body, Envelope, Lane, Mailbox, Refused, STAMP_EVERY, lane_of};
use crate::actor::bus::Subscribe;
use crate::actor::reply::{AskError, Reply};
use crate::config::Backpressure;
use crate::engine::message::Message;
use crate::time::{Duration, Instant};

impl Mailbox {
    /// Whether this is the actor's own thread.
    pub(in crate::actor) fn is_own_thread(&self) -> bool {
        self.actor.get() == Some(&thread::current().id())
    }

    /// Queues one message, waiting for room until `deadline` when the policy is to wait.
    pub(in crate::actor) fn send(
        &self,
        body: Body,
        reply: Option<Reply>,
        deadline: Instant,
        policy: Backpressure,
    ) -> Result<(), Refused> {
        let lane = body.lane();
        let channel = &self.lanes[lane as usize];
        let sequence = channel.sent.0.fetch_add(1, Ordering::Relaxed);
        if self.closed.load(Ordering::SeqCst) {
            channel.cancelled.fetch_add(1, Ordering::Relaxed);
            let why = AskError::Stopped;
            return Err(Refused { body, reply, why });
        }
        if lane == Lane::Critical {
            return self.send_critical(body, reply, deadline);
        }
        if !self.take_room(1) && !self.make_room(lane, deadline, policy) {
            // Who waited for room may have been woken by the end instead.
            let (counter, why) = if self.closed.load(Ordering::SeqCst) {
                (&channel.cancelled, AskError::Stopped)
            } else {
                (&channel.rejected, AskError::Full)
            };
            counter.fetch_add(1, Ordering::Relaxed);
            return Err(Refused { body, reply, why });
        }
        let sent = (self.options.stamped && sequence.is_multiple_of(STAMP_EVERY))
            .then(|| self.options.clock.now());
        // A fire-and-forget message waits for room only; once queued it has no deadline.
        let deadline = if reply.is_some() {
            deadline
        } else {
            Instant::FAR
        };
        self.push(
            lane,
            Envelope {
                body,
                reply,
                deadline,
                sent,
            },
        );
        self.doorbell.ring();
        Ok(())
    }

    /// Queues as many of `messages` as there is room for, in order, with one look at the room and one wake; the rest stays.
    pub(in crate::actor) fn send_batch(
        &self,
        messages: &mut Vec<Message>,
    ) -> Result<usize, AskError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(AskError::Stopped);
        }
        let mut room = messages.len();
        while room > 0 && !self.take_room(room) {
            room = room.min(self.room.0.load(Ordering::Relaxed));
        }
        let mut sent = 0;
        let mut unused = room;
        for message in messages.drain(..room) {
            let lane = lane_of(&message);
            let channel = &self.lanes[lane as usize];
            channel.sent.0.fetch_add(1, Ordering::Relaxed);
            sent += 1;
            let body = Body::Message(message);
            if lane == Lane::Critical {
                // It has room of its own; without a reply it is never refused.
                let _ = self.send_critical(body, None, Instant::FAR);
                continue;
            }
            unused -= 1;
            self.push(
                lane,
                Envelope {
                    body,
                    reply: None,
                    deadline: Instant::FAR,
                    sent: None,
                },
            );
        }
        self.give_room(unused);
        self.doorbell.ring();
        Ok(sent)
    }

    /// Enters a subscription; `false` when too many wait or the actor has ended.
    pub(in crate::actor) fn subscribe(&self, subscribe: Subscribe) -> bool {
        if self.closed.load(Ordering::SeqCst) || self.subscribes.0.try_send(subscribe).is_err() {
            return false;
        }
        // Counted before the caller sends what it wants to see the events of.
        self.subscribes_sent.fetch_add(1, Ordering::Release);
        if self.closed.load(Ordering::SeqCst) {
            self.drain();
        }
        self.doorbell.ring();
        true
    }

    /// Messages waiting in the lanes with a common bound.
    pub(in crate::actor) fn queued(&self) -> usize {
        self.options.capacity - self.room.0.load(Ordering::Relaxed)
    }

    fn send_critical(
        &self,
        body: Body,
        reply: Option<Reply>,
        deadline: Instant,
    ) -> Result<(), Refused> {
        let Body::Message(Message::Shutdown { budget }) = body else {
            unreachable!("the one critical kind");
        };
        let envelope = match reply {
            Some(reply) => Envelope {
                body,
                reply: Some(reply),
                deadline,
                sent: None,
            },
            None => {
                self.coalesce(budget);
                return Ok(());
            }
        };
        let result = self.lanes[Lane::Critical as usize].give.try_send(envelope);
        if self.closed.load(Ordering::SeqCst) {
            self.drain();
        }
        self.doorbell.ring();
        result.map_err(|error| {
            let Envelope { body, reply, .. } = error.into_inner();
            self.coalesce(budget);
            let why = AskError::Unknown;
            Refused { body, reply, why }
        })
    }

    /// Merges a shutdown nobody waits for with the pending one: the shorter budget holds.
    fn coalesce(&self, budget: Duration) {
        let micros = u64::try_from(budget.as_micros()).unwrap_or(u64::MAX - 1);
        self.shutdowns.fetch_add(1, Ordering::SeqCst);
        self.shutdown
            .fetch_min(micros.min(u64::MAX - 1), Ordering::SeqCst);
        self.doorbell.ring();
    }

    fn push(&self, lane: Lane, envelope: Envelope) {
        self.lanes[lane as usize]
            .give
            .try_send(envelope)
            .expect("every lane holds as much as all lanes together may");
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            // The actor may have looked for the last time: either it or we find the message.
            self.drain();
        }
    }

    /// Takes room for `count` messages, all or none.
    fn take_room(&self, count: usize) -> bool {
        self.room
            .0
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |room| {
                room.checked_sub(count)
            })
            .is_ok()
    }

    pub(super) fn give_room(&self, count: usize) {
        if count == 0 {
            return;
        }
        self.room.0.fetch_add(count, Ordering::SeqCst);
        let waiting = self.waiters.load(Ordering::SeqCst);
        for _ in 0..count.min(waiting) {
            // Full means that as many tokens as there are messages are on their way already.
            if self.tokens.0.try_send(()).is_err() {
                break;
            }
        }
    }

    /// There was no room: does what the policy says, and tells whether there is now, taken for the caller.
    #[cold]
    fn make_room(&self, lane: Lane, deadline: Instant, policy: Backpressure) -> bool {
        match policy {
            Backpressure::Reject => false,
            Backpressure::Shed => self.shed_below(lane),
            // The actor would wait for itself.
            Backpressure::Block if self.is_own_thread() => false,
            Backpressure::Block => {
                self.waiters.fetch_add(1, Ordering::SeqCst);
                let took = self.wait_for_room(deadline);
                self.waiters.fetch_sub(1, Ordering::SeqCst);
                took
            }
        }
    }

    fn wait_for_room(&self, deadline: Instant) -> bool {
        loop {
            if self.take_room(1) {
                return true;
            }
            let left = deadline.since(self.options.clock.now());
            if left.is_zero() || self.closed.load(Ordering::SeqCst) {
                return false;
            }
            // A token says that room was given; somebody else may have taken it, then we wait on.
            let _ = self.tokens.1.recv_timeout(left);
        }
    }

    /// Evicts the oldest message of the lowest lane below `lane`; its room is the caller's then.
    fn shed_below(&self, lane: Lane) -> bool {
        for lower in Lane::ALL.into_iter().rev().take_while(|&l| l > lane) {
            let channel = &self.lanes[lower as usize];
            let Ok(envelope) = channel.take.try_recv() else {
                continue;
            };
            match envelope.reply {
                Some(reply) if !reply.take() => {
                    channel.expired.fetch_add(1, Ordering::Relaxed);
                }
                reply => {
                    channel.shed.fetch_add(1, Ordering::Relaxed);
                    if let Some(reply) = reply {
                        reply.answer(Err(AskError::Shed));
                    }
                }
            }
            return true;
        }
        // The actor may have made room meanwhile.
        self.take_room(1)
    }

    /// Empties a closed mailbox: whoever waits is told.
    pub(super) fn drain(&self) {
        for (lane, channel) in Lane::ALL.into_iter().zip(&self.lanes) {
            let mut count = 0;
            while let Ok(envelope) = channel.take.try_recv() {
                count += usize::from(lane != Lane::Critical);
                let expired = envelope.reply.as_ref().is_some_and(|reply| !reply.take());
                if expired {
                    channel.expired.fetch_add(1, Ordering::Relaxed);
                } else {
                    channel.cancelled.fetch_add(1, Ordering::Relaxed);
                }
                // Dropping the envelope answers `Stopped`.
            }
            self.give_room(count);
        }
        let coalesced = self.shutdowns.swap(0, Ordering::SeqCst);
        self.lanes[Lane::Critical as usize]
            .cancelled
            .fetch_add(coalesced, Ordering::Relaxed);
        while self.subscribes.1.try_recv().is_ok() {}
    }
}
