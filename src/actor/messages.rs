//! Messages: a budget of each lane a turn, and whom the answers go to.

use super::host::Host;
use super::mailbox::{Adoption, Body, Envelope, Lane};
use super::reply::{AskError, Reply, Response};
use super::{Core, Loop};
use crate::engine::message::{Carrier, Input, Message};
use crate::ids::ReplyId;
use crate::metrics::Metrics;
use crate::time::Instant;

mod askers;

pub(super) use self::askers::Askers;

/// Operations of the high, normal and low lane that one turn takes: 8 to 4 to 1, so that none starves. Critical ones are all
/// taken. A batch is never cut: what it takes beyond the budget, its lane lacks in the next turns.
const BUDGETS: [(Lane, i64); 3] = [(Lane::High, 512), (Lane::Normal, 256), (Lane::Low, 64)];

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
        for (at, (lane, budget)) in BUDGETS.into_iter().enumerate() {
            let mut left = (self.budgets[at] + budget).min(budget);
            while left > 0 {
                let Some(envelope) = self.inbox.pop(lane) else {
                    break;
                };
                let operations = self.deliver(lane, envelope);
                taken += operations;
                left = left.saturating_sub_unsigned(operations);
            }
            self.budgets[at] = left.min(0);
            if lane == Lane::High && left <= 0 && self.inbox.has(lane) {
                self.figures.turns.turns_high_left += 1;
            }
        }
        self.inbox.release();
        if taken > 0 {
            // Microseconds are coarse for one message, but over many the rounding evens out.
            let spent = self.host.now().since(self.now);
            self.figures.note_batch(taken, spent);
        }
    }

    /// Executes one message, unless its caller waits no longer; how many operations it was.
    fn deliver(&mut self, lane: Lane, envelope: Envelope) -> u64 {
        while let Some(subscribe) = self.inbox.next_subscribe() {
            self.bus.add(subscribe);
        }
        let operations = envelope.body.operations();
        let Envelope {
            body, reply, sent, ..
        } = envelope;
        if let Some(reply) = &reply {
            let dead = if reply.deadline() <= self.now {
                // Whoever marks it first: it is not executed either way.
                reply.expire();
                true
            } else {
                !reply.take()
            };
            if dead {
                self.inbox.count(lane, operations, false);
                return operations;
            }
        }
        self.inbox.count(lane, operations, true);
        if sent != Instant::FAR {
            self.figures.note_wait(lane, self.now.since(sent));
        }
        for _ in 0..operations {
            self.figures.note_call(reply.is_some());
        }
        match body {
            Body::Message(message) => self.execute(message, reply),
            Body::Batch(messages) => self.execute_batch(messages, reply),
            Body::Adopt(adoption) => self.adopt(*adoption, reply),
            Body::Metrics => {
                let metrics = Box::new(self.metrics());
                if let Some(reply) = reply {
                    self.answer(reply, Ok(Response::Metrics(metrics)));
                }
            }
        }
        operations
    }

    fn execute(&mut self, message: Message, reply: Option<Reply>) {
        let reply = reply.map(|reply| self.askers.insert(reply));
        self.pass_on(message, reply);
    }

    fn execute_batch(&mut self, mut messages: Vec<Message>, reply: Option<Reply>) {
        match reply {
            None => {
                for message in messages.drain(..) {
                    self.pass_on(message, None);
                }
            }
            Some(reply) => {
                let answers = self.inbox.answers_buffer();
                let batch = self.askers.begin_batch(reply, answers, messages.len());
                for (index, message) in messages.drain(..).enumerate() {
                    let reply = self.askers.insert_item(batch, index);
                    self.pass_on(message, Some(reply));
                }
            }
        }
        self.inbox.keep_buffer(messages);
    }

    fn pass_on(&mut self, message: Message, reply: Option<ReplyId>) {
        self.figures.note_message(&message);
        self.give(Input::Message { message, reply });
    }

    /// Gives a caller's socket to the host, and offers it to the core.
    fn adopt(&mut self, adoption: Adoption, reply: Option<Reply>) {
        let Adoption {
            socket,
            address,
            direction,
            swarm,
        } = adoption;
        match self.host.adopt(socket) {
            Ok(socket) => {
                let message = Message::StreamAdd {
                    address,
                    direction,
                    swarm,
                    carrier: Carrier::Socket(socket),
                };
                self.execute(message, reply);
                // By now it is accepted, or nobody wants it.
                self.host.refuse(socket);
            }
            Err(error) => {
                if let Some(reply) = reply {
                    self.answer(reply, Ok(Response::NotAdopted(error)));
                }
            }
        }
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
