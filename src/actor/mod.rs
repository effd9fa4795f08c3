//! The loop: messages, finished jobs, sockets, timers, effects, each within its budget, in one thread.
//!
//! One turn waits until something is there (or does not wait when anything is left), reads the clock once, and then:
//!
//! ```text
//! messages ─▶ finished jobs ─▶ ready sockets ─▶ due timers ─▶ one write for each dirty stream
//!     └──────────── after each input, the engine's outputs are carried out ────────────┘
//! ```
//!
//! Invariants:
//! - Nothing here blocks but [`Host::poll`]; it returns at once while anything is left to do.
//! - No source starves another: each has a budget a turn, and what is beyond it waits for the next one, in line.
//! - The loop decides nothing about BitTorrent: it moves bytes and plain data between its [`Host`] and its [`Core`].
//! - Nothing is allocated for a frame, a read or a write.

pub mod bus;
mod figures;
pub mod handle;
pub mod host;
pub mod mailbox;
mod ready;
pub mod reply;
mod streams;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use self::bus::Bus;
use self::figures::{Figures, Sample, Source, Type};
use self::handle::Handle;
use self::host::{Finished, Host, Ready, reason_of};
use self::mailbox::{Body, Doorbell, Envelope, Inbox, Lane, Options};
use self::ready::ReadyQueue;
use self::reply::{AskError, Reply, Response};
use self::streams::{Streams, Written};
use crate::buffer::Block;
use crate::engine::Engine;
use crate::engine::message::{Done, Input, Job, LostReason, Message, Output, ShutdownReport, Work};
use crate::ids::{ReplyId, StreamId};
use crate::metrics::{EngineCounters, Metrics};
use crate::time::{Duration, Instant};

/// Messages of the high, normal and low lane that one turn takes: 8 to 4 to 1, so that none starves. Critical ones are all taken.
const MESSAGES: [(Lane, usize); 3] = [(Lane::High, 512), (Lane::Normal, 256), (Lane::Low, 64)];

/// Room is given back to waiting senders after so many messages, not only at the end of a lane's budget.
const RELEASE_EVERY: usize = 32;

/// Finished jobs that one turn takes.
const FINISHED_MAX: usize = 256;

/// Read jobs that one turn tries at once, up to 16 blocks each; those beyond wait for the next turn.
const IMMEDIATE_MAX: usize = 64;

/// Inputs that one turn makes of outputs (jobs done at once, dials failed at once, blocks of closed streams); those beyond wait.
const FOLLOWUPS_MAX: usize = 4096;

/// Sockets that one turn accepts.
const ACCEPTS_MAX: usize = 64;

/// Datagrams that one turn receives.
const DATAGRAMS_MAX: usize = 256;

/// Streams that one turn reads, once each.
const READS_MAX: usize = 512;

/// Bytes after which a turn reads no further stream: 1 to 2 ms at memory speed.
const READ_BYTES_MAX: usize = 4 << 20;

/// The one buffer that everything is read into. Smaller ones cost more system calls, larger ones fall out of the cache.
const SCRATCH_BYTES: usize = 256 << 10;

/// What the loop drives: a state machine without clock, sockets or threads.
pub trait Core {
    /// Takes one input.
    fn handle(&mut self, now: Instant, input: Input<'_>);
    /// The next thing it asks for, until `None`.
    fn poll_output(&mut self) -> Option<Output>;
    /// When it wants [`Input::Tick`] at the latest.
    fn next_deadline(&self) -> Option<Instant>;
    /// Its figures, as they stand.
    fn counters(&self) -> EngineCounters;
}

impl Core for Engine {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn counters(&self) -> EngineCounters {
        self.counters()
    }
}

/// When the loop wants its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// At once: something is left to do.
    Now,
    /// At this time, or when something happens.
    At(Instant),
    /// When something happens.
    Later,
}

/// An input that an output has made.
#[derive(Debug)]
enum Followup {
    Done(Done),
    Lost(StreamId, LostReason),
    /// Bytes that were written, and blocks that come back.
    Unsent(StreamId, usize, Vec<Block>),
}

/// Where an answer goes.
#[derive(Debug)]
struct Asker {
    generation: u32,
    reply: Option<Reply>,
}

/// Who waits for an answer. Bounded by the callers: one entry each, until the engine has answered.
#[derive(Debug, Default)]
struct Askers {
    slots: Vec<Asker>,
    free: Vec<u32>,
}

impl Askers {
    fn insert(&mut self, reply: Reply) -> ReplyId {
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

    fn remove(&mut self, id: ReplyId) -> Option<Reply> {
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

/// The one thread's loop, over any host and any core.
#[derive(Debug)]
pub struct Loop<H, C> {
    host: H,
    core: C,
    inbox: Inbox,
    askers: Askers,
    bus: Bus,
    ready: ReadyQueue,
    streams: Streams,
    /// Told to the core in the first turn.
    listening: Option<Vec<SocketAddr>>,
    now: Instant,
    /// When the last turn was over.
    rested: Instant,
    followups: VecDeque<Followup>,
    followups_left: usize,
    /// Read jobs beyond the budget of a turn.
    deferred: VecDeque<Work>,
    immediate_left: usize,
    /// Whether the host may have more finished jobs than the last turn took.
    finished_left: bool,
    stopped: Option<ShutdownReport>,
    figures: Figures,
    // Kept from turn to turn so that nothing is allocated.
    found: Vec<Ready>,
    scratch: Box<[u8]>,
    blocks: Vec<Block>,
    dirty: Vec<StreamId>,
}

impl<H: Host, C: Core> Loop<H, C> {
    /// A loop at rest, and the way to it. `listening` are the addresses the host listens on.
    #[must_use]
    pub fn new(
        host: H,
        core: C,
        listening: Vec<SocketAddr>,
        options: Options,
        doorbell: Arc<Doorbell>,
    ) -> (Self, Handle) {
        let (mailbox, inbox) = mailbox::open(options, doorbell);
        let turns = Self {
            host,
            core,
            inbox,
            askers: Askers::default(),
            bus: Bus::default(),
            ready: ReadyQueue::default(),
            streams: Streams::default(),
            listening: Some(listening),
            now: Instant::ZERO,
            rested: Instant::ZERO,
            followups: VecDeque::new(),
            followups_left: FOLLOWUPS_MAX,
            deferred: VecDeque::new(),
            immediate_left: IMMEDIATE_MAX,
            finished_left: false,
            stopped: None,
            figures: Figures::default(),
            found: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            blocks: Vec::new(),
            dirty: Vec::new(),
        };
        (turns, Handle::new(mailbox))
    }

    /// Turns until the core has stopped. The calling thread becomes the actor's own. Whoever still waits is answered; the
    /// host comes back, for its threads to be joined.
    pub fn run(mut self) -> (ShutdownReport, H) {
        self.inbox.adopt_thread();
        loop {
            self.turn();
            if let Some(report) = self.stopped.take() {
                return (report, self.host);
            }
        }
    }

    /// One turn.
    pub fn turn(&mut self) {
        let mut found = mem::take(&mut self.found);
        self.wait(&mut found);
        self.now = self.host.now();
        self.figures.begin_turn(self.now);
        self.followups_left = FOLLOWUPS_MAX;
        self.immediate_left = IMMEDIATE_MAX;
        let inputs = self.figures.turns.inputs;
        // What the last turn put off.
        self.settle();
        if let Some(addresses) = self.listening.take() {
            self.give(Input::Listening { addresses });
        }
        for ready in found.drain(..) {
            self.note(ready);
        }
        self.found = found;
        self.figures.mark(Source::Sockets, &mut self.host);
        self.take_messages();
        self.take_finished();
        self.figures.mark(Source::Jobs, &mut self.host);
        self.serve_sockets();
        self.figures.mark(Source::Sockets, &mut self.host);
        self.fire_timers();
        self.figures.mark(Source::Timers, &mut self.host);
        self.write_streams();
        self.figures.mark(Source::Writes, &mut self.host);
        self.rested = self.host.now();
        let idle = self.figures.turns.inputs == inputs;
        let length = self.rested.since(self.now);
        self.figures.end_turn(length, idle, self.rested);
    }

    /// When the next turn is wanted. A simulation asks this between turns; messages waiting in the lanes count as something to do.
    #[must_use]
    pub fn wanted(&mut self) -> Wanted {
        if self.is_busy() || !self.inbox.may_sleep() {
            return Wanted::Now;
        }
        self.inbox.awake();
        match self.core.next_deadline() {
            Some(deadline) if deadline <= self.rested => Wanted::Now,
            Some(deadline) => Wanted::At(deadline),
            None => Wanted::Later,
        }
    }

    /// How the end went, once the core has stopped.
    #[must_use]
    pub fn stopped(&self) -> Option<&ShutdownReport> {
        self.stopped.as_ref()
    }

    /// What is driven, for checks between turns.
    #[must_use]
    pub fn core(&self) -> &C {
        &self.core
    }

    /// The outside, for a simulation to act on between turns.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    // ------------------------------------------------------------------------------------------------------ waiting

    fn is_busy(&self) -> bool {
        self.listening.is_some()
            || self.finished_left
            || self.ready.any()
            || self.streams.any_dirty()
            || !self.followups.is_empty()
            || !self.deferred.is_empty()
    }

    fn wait(&mut self, found: &mut Vec<Ready>) {
        let timeout = if self.is_busy() || !self.inbox.may_sleep() {
            Some(Duration::ZERO)
        } else {
            self.core
                .next_deadline()
                .map(|deadline| deadline.since(self.rested))
        };
        self.host.poll(timeout, found);
        self.inbox.awake();
    }

    fn note(&mut self, ready: Ready) {
        match ready {
            Ready::Connected(stream) => {
                if self.streams.connected(stream) {
                    self.figures.note_connected(stream, self.now);
                    self.give(Input::Connected { stream });
                    self.readable(stream);
                }
            }
            Ready::Failed(stream, why) => {
                if self.streams.contains(stream) {
                    self.lose(stream, why);
                }
            }
            Ready::Readable(stream) => self.readable(stream),
            Ready::Writable(stream) => self.streams.writable(stream),
            Ready::Incoming => self.ready.incoming = true,
            Ready::Datagrams => self.ready.datagrams = true,
        }
    }

    fn readable(&mut self, stream: StreamId) {
        if let Some(reading) = self.streams.reading(stream) {
            self.ready.readable(stream, reading);
        }
    }

    // ----------------------------------------------------------------------------------------------------- messages

    fn take_messages(&mut self) {
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
        self.figures.mark_messages(taken, &mut self.host);
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
        let kind = Type::of(&body);
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
                self.figures.note_expired(kind);
                return;
            }
        }
        self.inbox.count(lane, true);
        self.figures.note_message(kind, reply.is_some());
        // All that follows stays in this function: moving a message once more costs as much as all of its counters.
        let sample = sent.map(|sent| self.begin_sample(kind, sent, reply.is_some()));
        match body {
            Body::Message(message) => self.execute(message, reply),
            Body::Metrics => {
                let metrics = Box::new(self.metrics());
                if let Some(reply) = reply {
                    self.answer(kind, reply, Ok(Response::Metrics(metrics)));
                }
            }
        }
        if let Some(sample) = sample {
            self.end_sample(&sample);
        }
    }

    #[cold]
    fn begin_sample(&mut self, kind: Type, sent: Instant, asked: bool) -> Sample {
        let nanos = self.host.nanos();
        self.figures.begin_sample(kind, sent, asked, nanos)
    }

    #[cold]
    fn end_sample(&mut self, sample: &Sample) {
        let nanos = self.host.nanos();
        let (queue, _) = self.inbox.fill();
        self.figures.end_sample(sample, nanos, queue);
    }

    fn execute(&mut self, message: Message, reply: Option<Reply>) {
        let kind = Type::of_message(&message);
        let reply = reply.map(|reply| self.askers.insert(reply));
        if let Some(reply) = reply {
            self.figures.note_asked(kind, reply);
        }
        self.give(Input::Message { message, reply });
    }

    fn answer(&mut self, kind: Type, reply: Reply, outcome: Result<Response, AskError>) {
        if !reply.answer(outcome) {
            self.figures.note_late(kind);
        }
    }

    fn metrics(&mut self) -> Metrics {
        let (events, missed, subscribers) = self.bus.figures();
        self.figures.turns.events = events;
        self.figures.turns.events_missed = missed;
        self.figures.turns.subscribers = subscribers;
        self.figures.turns.streams_open = self.streams.open();
        let time = self.host.unix_millis();
        self.figures
            .metrics(time, &self.inbox, self.core.counters(), self.host.figures())
    }

    // ------------------------------------------------------------------------------------------------ finished jobs

    fn take_finished(&mut self) {
        for _ in 0..IMMEDIATE_MAX.min(self.deferred.len()) {
            if let Some(work) = self.deferred.pop_front() {
                self.start(work);
            }
        }
        self.settle();
        self.finished_left = false;
        for _ in 0..FINISHED_MAX {
            let Some(finished) = self.host.finished() else {
                return;
            };
            match finished {
                Finished::Done(done) => {
                    self.figures.note_done(&done.outcome);
                    self.give(Input::Done(done));
                }
                Finished::Stored(stored) => {
                    self.figures.note_stored(&stored.outcome);
                    self.give(Input::Stored(stored));
                }
                Finished::Fetched(fetched) => {
                    (self.figures).note_fetched(fetched.id, &fetched.outcome, self.now);
                    self.give(Input::Fetched(fetched));
                }
            }
            self.figures.end_job(self.host.now());
        }
        self.finished_left = true;
    }

    // ------------------------------------------------------------------------------------------------------ sockets

    fn serve_sockets(&mut self) {
        if self.ready.incoming {
            self.take_incoming();
        }
        if self.ready.datagrams {
            self.take_datagrams();
        }
        let mut bytes_left = READ_BYTES_MAX;
        for _ in 0..self.ready.len().min(READS_MAX) {
            if let Some(stream) = self.ready.next() {
                bytes_left = bytes_left.saturating_sub(self.read(stream));
            }
            if bytes_left == 0 {
                break;
            }
        }
    }

    fn take_incoming(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let Some((socket, remote)) = self.host.next_incoming() else {
                self.ready.incoming = false;
                return;
            };
            self.give(Input::Incoming { socket, remote });
        }
    }

    fn take_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_MAX {
            let Some((from, length)) = self.host.receive(&mut self.scratch) else {
                self.ready.datagrams = false;
                return;
            };
            self.figures.turns.udp_received_bytes += length as u64;
            self.figures.turns.inputs += 1;
            let bytes = &mut self.scratch[..length];
            self.core.handle(self.now, Input::Datagram { from, bytes });
            self.settle();
        }
    }

    /// Reads `stream` once and hands over what came; how many bytes that was.
    fn read(&mut self, stream: StreamId) -> usize {
        if !self.streams.reading(stream).is_some_and(ReadyQueue::begin) {
            return 0;
        }
        self.figures.turns.reads += 1;
        let (length, more) = match self.host.read(stream, &mut self.scratch) {
            Ok(0) => {
                self.lose(stream, LostReason::HungUp);
                return 0;
            }
            Ok(length) => {
                let more = length == self.scratch.len() || self.host.read_more(stream);
                (length, more)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (0, true),
            Err(error) => {
                self.lose(stream, reason_of(&error));
                return 0;
            }
        };
        if let Some(reading) = self.streams.reading(stream) {
            self.ready.finish(stream, reading, more);
        }
        if length == 0 {
            self.figures.turns.reads_empty += 1;
            return 0;
        }
        self.figures.turns.tcp_received_bytes += length as u64;
        self.figures.turns.inputs += 1;
        let bytes = &mut self.scratch[..length];
        self.core
            .handle(self.now, Input::Received { stream, bytes });
        self.settle();
        length
    }

    /// The stream is broken: the core hears of it, and gets back what was not written.
    fn lose(&mut self, stream: StreamId, why: LostReason) {
        let mut blocks = Vec::new();
        self.streams.remove(stream, &mut blocks);
        self.host.close(stream, false);
        self.figures.turns.streams_lost += 1;
        self.give(Input::Lost { stream, why });
        self.give_back(stream, 0, blocks);
    }

    fn fire_timers(&mut self) {
        if self
            .core
            .next_deadline()
            .is_some_and(|deadline| deadline <= self.now)
        {
            self.give(Input::Tick);
        }
    }

    fn write_streams(&mut self) {
        let mut dirty = mem::take(&mut self.dirty);
        self.streams.take_dirty(&mut dirty);
        for stream in dirty.drain(..) {
            match self.streams.write(&mut self.host, stream, &mut self.blocks) {
                Written::Nothing => {}
                Written::Failed(error) => self.lose(stream, reason_of(&error)),
                Written::Bytes(bytes, offered) => {
                    self.figures.note_write(bytes, offered);
                    self.figures.turns.inputs += 1;
                    let blocks = &mut self.blocks;
                    self.core.handle(
                        self.now,
                        Input::Sent {
                            stream,
                            bytes,
                            blocks,
                        },
                    );
                    assert!(self.blocks.is_empty(), "the core takes its blocks back");
                    self.settle();
                }
            }
        }
        self.dirty = dirty;
    }

    // -------------------------------------------------------------------------------------- inputs and their outputs

    fn give(&mut self, input: Input<'_>) {
        self.figures.turns.inputs += 1;
        self.core.handle(self.now, input);
        self.settle();
    }

    fn give_back(&mut self, stream: StreamId, bytes: usize, mut blocks: Vec<Block>) {
        if bytes == 0 && blocks.is_empty() {
            return;
        }
        let blocks = &mut blocks;
        self.give(Input::Sent {
            stream,
            bytes,
            blocks,
        });
    }

    /// Carries out all outputs, and feeds back what they gave at once.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.core.poll_output() {
                self.figures.turns.outputs += 1;
                self.carry_out(output);
            }
            if self.followups_left == 0 {
                return;
            }
            let Some(followup) = self.followups.pop_front() else {
                return;
            };
            self.followups_left -= 1;
            self.figures.turns.inputs += 1;
            match followup {
                Followup::Done(done) => self.core.handle(self.now, Input::Done(done)),
                Followup::Lost(stream, why) => {
                    self.core.handle(self.now, Input::Lost { stream, why });
                }
                Followup::Unsent(stream, bytes, mut blocks) => {
                    let blocks = &mut blocks;
                    self.core.handle(
                        self.now,
                        Input::Sent {
                            stream,
                            bytes,
                            blocks,
                        },
                    );
                }
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { stream, frame } => {
                if let Some(block) = self.streams.push(stream, frame) {
                    self.followups
                        .push_back(Followup::Unsent(stream, 0, vec![block]));
                }
            }
            Output::Dial { stream, to } => {
                self.figures.note_dial(stream, self.now);
                match self.host.dial(stream, to) {
                    Ok(()) => self.streams.insert(stream, false),
                    Err(error) => self
                        .followups
                        .push_back(Followup::Lost(stream, reason_of(&error))),
                }
            }
            Output::Accept { socket, stream } => {
                self.figures.turns.streams_accepted += 1;
                self.host.accept(socket, stream);
                self.streams.insert(stream, true);
                // What came before the socket had a name may not be reported again.
                self.readable(stream);
            }
            Output::Refuse { socket } => {
                self.figures.turns.streams_refused += 1;
                self.host.refuse(socket);
            }
            Output::Hold { stream, hold } => {
                if let Some(reading) = self.streams.reading(stream) {
                    self.ready.hold(stream, reading, hold);
                }
            }
            Output::Close { stream } => self.close(stream),
            Output::Datagram { to, bytes } => {
                self.figures.turns.udp_sent_bytes += bytes.len() as u64;
                self.host.send_to(to, &bytes);
            }
            Output::Work(work) => {
                self.figures.note_work(&work.job);
                self.start(work);
            }
            Output::Store(job) => {
                self.figures.note_store();
                self.host.store(job);
            }
            Output::Fetch(fetch) => {
                self.figures.note_fetch(&fetch, self.now);
                self.host.fetch(fetch);
            }
            Output::Reply { reply, answer } => {
                let kind = self.figures.note_answer(reply, &answer);
                if let Some(reply) = self.askers.remove(reply) {
                    self.answer(kind, reply, Ok(Response::Answer(answer)));
                }
            }
            Output::Event(event) => {
                let host = &mut self.host;
                (self.figures).note_event(&event, || host.unix_millis());
                self.bus.publish(event, || host.unix_millis());
            }
            Output::Stopped(report) => self.stopped = Some(report),
        }
    }

    /// Hands a job to the host. Reads may be done on the spot, so a turn tries a bounded number of them.
    fn start(&mut self, work: Work) {
        if matches!(work.job, Job::Read(_)) {
            if self.immediate_left == 0 {
                self.deferred.push_back(work);
                return;
            }
            self.immediate_left -= 1;
        }
        if let Some(done) = self.host.work(work) {
            self.figures.note_done(&done.outcome);
            self.figures.turns.jobs_immediate += 1;
            self.followups.push_back(Followup::Done(done));
        }
    }

    /// Tries to write what is queued once more, then closes: in order when all of it went out.
    fn close(&mut self, stream: StreamId) {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        if let Written::Bytes(written, offered) =
            self.streams.write(&mut self.host, stream, &mut blocks)
        {
            self.figures.note_write(written, offered);
            bytes = written;
        }
        let Some(clean) = self.streams.remove(stream, &mut blocks) else {
            return;
        };
        self.host.close(stream, clean);
        if bytes > 0 || !blocks.is_empty() {
            self.followups
                .push_back(Followup::Unsent(stream, bytes, blocks));
        }
    }
}

#[cfg(test)]
mod tests;
