//! Messages: a budget of each lane a turn, and whom the answers go to.

use std::mem;

use super::host::Host;
use super::mailbox::{Body, Envelope, Lane};
use super::reply::{AskError, Reply, Response};
use super::{Core, Loop};
use crate::engine::message::{Input, Message};
use crate::ids::ReplyId;
use crate::metrics::Metrics;

/// Messages of the high, normal and low lane that one turn takes: 8 to 4 to 1, so that none starves. Critical ones are all taken.
const MESSAGES: [(Lane, usize); 3] = [(Lane::High, 512), (Lane::Normal, 256), (Lane::Low, 64)];

/// Room is given back to waiting senders after so many messages, not only at the end of a lane's budget.
const RELEASE_EVERY: usize = 32;

/// Where an answer goes.
#[derive(Debug)]
struct Asker {
    generation: u32,
    reply: Option<Reply>,
}

/// Who waits for an answer. Bounded by the callers: one entry each, until the engine has answered.
#[derive(Debug, Default)]
pub(super) struct Askers {
    slots: Vec<Asker>,
    free: Vec<u32>,
}

impl Askers {
    pub(super) fn insert(&mut self, reply: Reply) -> ReplyId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Asker {
                generation: 0,
                reply: None,
            });
            u32::try_from(self.slots.len() - 1).expect("fewer callers than 2^32")
        });
        let asker = &mut self.slots[slot as usize];
        asker.generation = asker.generation.wrapping_add(1);
        asker.reply = Some(reply);
        ReplyId(u64::from(asker.generation) << 32 | u64::from(slot))
    }

    pub(super) fn remove(&mut self, id: ReplyId) -> Option<Reply> {
        let slot = u32::try_from(id.0 & u64::from(u32::MAX)).ok()?;
        let asker = self.slots.get_mut(slot as usize)?;
        if u64::from(asker.generation) != id.0 >> 32 {
            return None;
        }
        let reply = asker.reply.take()?;
        self.free.push(slot);
        Some(reply)
    }
}

impl<H: Host, C: Core> Loop<H, C> {
    pub(super) fn take_messages(&mut self) {
        self.inbox.note_peak();
        while let Some(subscribe) = self.inbox.next_subscribe() {
            self.bus.add(subscribe);
        }
        if let Some(budget) = self.inbox.take_shutdown() {
            self.execute(Message::Shutdown { budget }, None);
        }
        while let Some(envelope) = self.inbox.pop(Lane::Critical) {
            self.deliver(Lane::Critical, envelope);
        }
        let mut taken = 0;
        for (lane, budget) in MESSAGES {
            let mut held = 0;
            for _ in 0..budget {
                let Some(envelope) = self.inbox.pop(lane) else {
                    break;
                };
                self.deliver(lane, envelope);
                taken += 1;
                held += 1;
                if held == RELEASE_EVERY {
                    self.inbox.release(mem::take(&mut held));
                }
            }
            self.inbox.release(held);
        }
        if taken > 0 {
            // Microseconds are coarse for one message, but over many the rounding evens out.
            let spent = self.host.now().since(self.now);
            self.figures.note_batch(taken, spent);
        }
    }

    fn deliver(&mut self, lane: Lane, envelope: Envelope) {
        while let Some(subscribe) = self.inbox.next_subscribe() {
            self.bus.add(subscribe);
        }
        let Envelope {
            body,
            reply,
            deadline,
            sent,
        } = envelope;
        if let Some(reply) = &reply {
            let dead = if deadline <= self.now {
                // Whoever marks it first: it is not executed either way.
                reply.expire();
                true
            } else {
                !reply.take()
            };
            if dead {
                self.inbox.count(lane, false);
                return;
            }
        }
        self.inbox.count(lane, true);
        if let Some(sent) = sent {
            self.figures.note_wait(lane, self.now.since(sent));
        }
        self.figures.note_call(reply.is_some());
        match body {
            Body::Message(message) => self.execute(message, reply),
            Body::Metrics => {
                let metrics = Box::new(self.metrics());
                if let Some(reply) = reply {
                    self.answer(reply, Ok(Response::Metrics(metrics)));
                }
            }
        }
    }

    fn execute(&mut self, message: Message, reply: Option<Reply>) {
        self.figures.note_message(&message);
        let reply = reply.map(|reply| self.askers.insert(reply));
        self.give(Input::Message { message, reply });
    }

    pub(super) fn answer(&mut self, reply: Reply, outcome: Result<Response, AskError>) {
        self.figures.late += u64::from(!reply.answer(outcome));
    }

    fn metrics(&mut self) -> Metrics {
        let (events, missed, subscribers) = self.bus.figures();
        self.figures.turns.events = events;
        self.figures.turns.events_missed = missed;
        self.figures.turns.subscribers = subscribers;
        self.figures.turns.streams_open = self.streams.open();
        let time = self.host.unix_millis();
        self.figures
            .metrics(time, &self.inbox, self.core.counters())
    }
}
