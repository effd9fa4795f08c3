//! Messages: a budget of each lane a turn, and whom the answers go to.

use super::figures::{Sample, Stamp, Type};
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
        if let Some(queued) = self.inbox.nearly_full() {
            self.figures.note_full(queued, self.now);
        }
        while let Some(subscribe) = self.inbox.next_subscribe() {
            self.bus.add(subscribe);
        }
        if let Some(budget) = self.inbox.take_shutdown() {
            self.execute(Message::Shutdown { budget }, None, Stamp::OWN);
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
        self.figures.mark_messages(taken, &mut self.host);
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
                self.figures.note_expired(&body);
                return operations;
            }
        }
        self.inbox.count(lane, operations, true);
        let asked = reply.is_some();
        self.figures.note_taken(operations, asked);
        let stamp = Stamp { lane, sent, asked };
        match body {
            Body::Message(message) => self.execute(message, reply, stamp),
            Body::Batch(messages) => self.execute_batch(messages, reply, stamp),
            Body::Adopt(adoption) => self.adopt(*adoption, reply, stamp),
            Body::Metrics => {
                let sample = self.begin(Type::METRICS, None, stamp);
                let metrics = Box::new(self.metrics());
                if let Some(reply) = reply {
                    self.answer(Type::METRICS, reply, Ok(Response::Metrics(metrics)));
                }
                self.end_if(sample);
            }
        }
        operations
    }

    fn execute(&mut self, message: Message, reply: Option<Reply>, stamp: Stamp) {
        let kind = Type::of_message(&message);
        let reply = reply.map(|reply| self.askers.insert(kind, reply));
        self.pass_on(kind, message, reply, stamp);
    }

    fn execute_batch(&mut self, mut messages: Vec<Message>, reply: Option<Reply>, stamp: Stamp) {
        match reply {
            None => {
                for message in messages.drain(..) {
                    self.pass_on(Type::of_message(&message), message, None, stamp);
                }
            }
            Some(reply) => {
                let answers = self.inbox.answers_buffer();
                let batch = self.askers.begin_batch(reply, answers, messages.len());
                for (index, message) in messages.drain(..).enumerate() {
                    let kind = Type::of_message(&message);
                    let reply = self.askers.insert_item(kind, batch, index);
                    self.pass_on(kind, message, Some(reply), stamp);
                }
            }
        }
        self.inbox.keep_buffer(messages);
    }

    fn pass_on(&mut self, kind: Type, message: Message, reply: Option<ReplyId>, stamp: Stamp) {
        let sample = self.begin(kind, reply, stamp);
        self.give(Input::Message { message, reply });
        self.end_if(sample);
    }

    /// Counts a message that is executed, and begins to time it if it is a sample.
    #[inline]
    fn begin(&mut self, kind: Type, reply: Option<ReplyId>, stamp: Stamp) -> Option<Sample> {
        self.figures.note_message(kind);
        (stamp.sent != Instant::FAR).then(|| self.begin_sample(kind, reply, stamp))
    }

    #[inline]
    fn end_if(&mut self, sample: Option<Sample>) {
        if let Some(sample) = sample {
            self.end_sample(&sample);
        }
    }

    // Apart and out of line, so that a message that is no sample does not carry them along.

    #[cold]
    fn begin_sample(&mut self, kind: Type, reply: Option<ReplyId>, stamp: Stamp) -> Sample {
        let nanos = self.host.nanos();
        self.figures.begin_sample(kind, stamp, reply, nanos)
    }

    #[cold]
    fn end_sample(&mut self, sample: &Sample) {
        let nanos = self.host.nanos();
        let inbox = &self.inbox;
        (self.figures).end_sample(sample, nanos, || inbox.fill().0);
    }

    /// Gives a caller's socket to the host, and offers it to the core.
    fn adopt(&mut self, adoption: Adoption, reply: Option<Reply>, stamp: Stamp) {
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
                self.execute(message, reply, stamp);
                // By now it is accepted, or nobody wants it.
                self.host.refuse(socket);
            }
            Err(error) => {
                let sample = self.begin(Type::STREAM_ADD, None, stamp);
                if let Some(reply) = reply {
                    self.answer(Type::STREAM_ADD, reply, Ok(Response::NotAdopted(error)));
                }
                self.end_if(sample);
            }
        }
    }

    /// Answers a message of type `kind`; a batch is one, of the type that was answered last.
    pub(super) fn answer(&mut self, kind: Type, reply: Reply, outcome: Result<Response, AskError>) {
        if !reply.answer(outcome) {
            self.figures.note_late(kind);
        }
    }

    /// All figures, as they stand.
    pub fn metrics(&mut self) -> Metrics {
        let (events, missed, subscribers) = self.bus.figures();
        self.figures.turns.events = events;
        self.figures.turns.events_missed = missed;
        self.figures.turns.subscribers = subscribers;
        self.figures.turns.streams_open = self.streams.open();
        let time = self.host.unix_millis();
        self.figures
            .metrics(time, &self.inbox, self.core.counters(), self.host.figures())
    }
}
