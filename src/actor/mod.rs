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

mod atomic;
pub mod bus;
pub mod completion;
mod doorbell;
mod figures;
pub mod future;
pub mod handle;
pub mod host;
pub mod mailbox;
mod messages;
mod outputs;
mod ready;
pub mod reply;
mod streams;
mod sync;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use self::bus::Bus;
use self::figures::{Figures, Source};
use self::handle::Handle;
use self::host::{Finished, Host, Ready, reason_of};
use self::mailbox::{Doorbell, Inbox, Options};
use self::messages::Askers;
use self::outputs::Followup;
use self::ready::ReadyQueue;
use self::streams::{Streams, Written};
use crate::aligned::Aligned;
use crate::buffer::Block;
use crate::engine::Engine;
use crate::engine::message::{Input, LostReason, Output, ShutdownReport, Work};
use crate::ids::StreamId;
use crate::metrics::{EngineCounters, Metrics};
use crate::time::{Duration, Instant};

/// Finished jobs that one turn takes.
const FINISHED_MAX: usize = 256;

/// Read jobs that one turn tries at once, up to 16 blocks each, so 4 MiB at most; those beyond wait for the next turn.
const IMMEDIATE_MAX: usize = 16;

/// Inputs that one turn makes of outputs (jobs done at once, dials failed at once, blocks of closed streams); those beyond wait.
const FOLLOWUPS_MAX: usize = 4096;

/// Sockets that one turn accepts.
const ACCEPTS_MAX: usize = 64;

/// Datagrams that one turn receives, those that the system had together counted as one; beyond it, or beyond
/// [`READ_BYTES_MAX`], they wait for the next turn.
const DATAGRAMS_MAX: usize = 256;

/// Streams that one turn reads, once each.
const READS_MAX: usize = 512;

/// Bytes after which a turn reads no further stream: 1 to 2 ms at memory speed.
const READ_BYTES_MAX: usize = 4 << 20;

/// Bytes after which a turn writes no further stream: what waits goes first in the next one. On loopback a write does the
/// receiver's work too, so this is 1 to 2 ms as well.
const WRITE_BYTES_MAX: usize = 4 << 20;

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

/// The one thread's loop, over any host and any core.
#[derive(Debug)]
pub struct Loop<H, C> {
    host: H,
    core: C,
    inbox: Inbox,
    askers: Askers,
    /// What is left of each lane's budget; below zero after a long batch.
    budgets: [i64; 3],
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
    scratch: Aligned,
    blocks: Vec<Block>,
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
            budgets: [0; 3],
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
            scratch: Aligned::new(SCRATCH_BYTES),
            blocks: Vec::new(),
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

    /// Refuses what comes from now on, answers whoever still waits, and says how everything was counted: the end of a loop that
    /// was turned by hand.
    #[must_use]
    pub fn end(mut self) -> Metrics {
        self.inbox.close();
        self.metrics()
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

    /// Refuses what comes from now on and answers whoever waits. For those who turn the loop themselves and want its figures
    /// after the end; [`Self::run`] does it by itself.
    pub fn close_inbox(&mut self) {
        self.inbox.close();
    }

    /// Ends the loop; the host comes back, for its threads to be joined.
    #[must_use]
    pub fn into_host(self) -> H {
        self.host
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
            || self.streams.dirty() > 0
            || !self.followups.is_empty()
            || !self.deferred.is_empty()
    }

    fn wait(&mut self, found: &mut Vec<Ready>) {
        let timeout = if self.is_busy() || self.inbox.lingers() || !self.inbox.may_sleep() {
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
        let mut bytes_left = READ_BYTES_MAX;
        for _ in 0..DATAGRAMS_MAX {
            let Some((from, length, segment)) = self.host.receive_many(&mut self.scratch) else {
                self.ready.datagrams = false;
                return;
            };
            self.figures.turns.udp_received_bytes += length as u64;
            self.figures.turns.inputs += 1;
            let bytes = &mut self.scratch[..length];
            let input = if length > segment {
                let segment = segment.max(1);
                Input::Datagrams {
                    from,
                    segment,
                    bytes,
                }
            } else {
                Input::Datagram { from, bytes }
            };
            self.core.handle(self.now, input);
            self.settle();
            bytes_left = bytes_left.saturating_sub(length);
            if bytes_left == 0 {
                return;
            }
        }
    }

    /// Reads `stream` once and hands over what came; how many bytes that was.
    fn read(&mut self, stream: StreamId) -> usize {
        let Some(reading) = self.streams.reading(stream) else {
            return 0;
        };
        if !ReadyQueue::begin(reading) {
            return 0;
        }
        let most = reading.most(self.scratch.len());
        self.figures.turns.reads += 1;
        let (length, more) = match self.host.read(stream, &mut self.scratch[..most]) {
            Ok(0) => {
                self.lose(stream, LostReason::HungUp);
                return 0;
            }
            Ok(length) => {
                let more = length == most || self.host.read_more(stream);
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
            self.ready.finish(stream, reading, length, more);
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
        let mut bytes_left = WRITE_BYTES_MAX;
        // Those that are marked meanwhile wait for the next turn.
        for _ in 0..self.streams.dirty() {
            let Some(stream) = self.streams.next_dirty() else {
                return;
            };
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
                    bytes_left = bytes_left.saturating_sub(bytes);
                    if bytes_left == 0 {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
