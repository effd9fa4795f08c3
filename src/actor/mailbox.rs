//! The way in: four bounded lanes, one count of room for all of them, one coalesced wake.
//!
//! Invariants:
//! - Messages waiting in the lanes never exceed the capacity; the critical lane has room of its own and is never refused.
//! - Within a lane, messages of one producer are taken in the order they were sent.
//! - `sent = processed + rejected + shed + expired + cancelled + queued`, for each lane, at any quiet moment.
//! - The actor never sleeps while a message waits: it arms the doorbell first and looks into the lanes afterwards, a sender
//!   queues first and looks at the doorbell afterwards.
//! - Nobody is left waiting: a message that the end of the actor leaves behind answers its caller.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::bus::Subscribe;
use super::figures::{Fate, Tally, Type, is_sample};
use super::reply::{AskError, Reply, Slots};
use crate::config::Backpressure;
use crate::engine::message::Message;
use crate::metrics::LaneFigures;
use crate::time::{Clock, Duration, Instant};

/// Callers that may wait for a critical message's answer at the same time; the message of one more is executed, but not answered.
const CRITICAL_ASKS_MAX: usize = 64;

/// Subscriptions that may wait to be entered; one more is refused.
const SUBSCRIBES_WAITING_MAX: usize = 64;

/// Where a message queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The end, and faults: all of them each turn.
    Critical,
    /// Changes to sessions, peers and streams.
    High,
    /// Queries of one thing.
    Normal,
    /// Statistics and listings.
    Low,
}

impl Lane {
    /// All, most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// As in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// The lane of a message.
#[must_use]
pub const fn lane_of(message: &Message) -> Lane {
    match message {
        Message::Shutdown { .. } => Lane::Critical,
        Message::SessionAdd(_)
        | Message::SessionRemove { .. }
        | Message::SessionPause { .. }
        | Message::SessionResume { .. }
        | Message::PeerAdd { .. }
        | Message::PeerAddNamed { .. }
        | Message::LinkDelete { .. }
        | Message::StreamAdd { .. }
        | Message::StreamDelete { .. }
        | Message::StreamReplace { .. }
        | Message::Account { .. } => Lane::High,
        Message::LinkCreate { .. }
        | Message::LinkUpdate { .. }
        | Message::LinkFind { .. }
        | Message::SwarmAdd { .. }
        | Message::SwarmRemove { .. }
        | Message::SwarmSwitch { .. }
        | Message::SwarmFind { .. }
        | Message::SwarmCondition { .. }
        | Message::LinksCount { .. }
        | Message::Pin { .. }
        | Message::Unpin { .. }
        | Message::LimitsSet(_)
        | Message::SessionShow { .. } => Lane::Normal,
        Message::LinksShow { .. } | Message::IgnoredShow { .. } | Message::EngineShow => Lane::Low,
    }
}

/// Something that ends the actor's wait, from any thread: a waker of the poller, or nothing in a simulation.
pub trait Wake: Send + Sync {
    /// Ends the current wait, or the next one.
    fn wake(&self);
}

impl<F: Fn() + Send + Sync> Wake for F {
    fn wake(&self) {
        self();
    }
}

/// One coalesced wake: however many ring, the actor is woken once, and only when it sleeps.
pub struct Doorbell {
    armed: Padded<AtomicBool>,
    wake: Box<dyn Wake>,
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell")
            .field("armed", &self.armed.0)
            .finish_non_exhaustive()
    }
}

impl Doorbell {
    /// A doorbell that ends the wait by `wake`.
    #[must_use]
    pub fn new(wake: Box<dyn Wake>) -> Self {
        Self {
            armed: Padded(AtomicBool::new(false)),
            wake,
        }
    }

    /// Wakes the actor when it sleeps or is about to. Ring after queueing.
    pub fn ring(&self) {
        // Orders what was queued before the look at the flag; its twin is in `arm`.
        fence(Ordering::SeqCst);
        if self.armed.0.load(Ordering::Relaxed) && self.armed.0.swap(false, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    /// From now on somebody who rings is heard. Look at the queues once more before sleeping.
    pub fn arm(&self) {
        self.armed.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The actor is awake: ringing costs nothing.
    pub fn disarm(&self) {
        self.armed.0.store(false, Ordering::Relaxed);
    }
}

/// Keeps what many threads write off the cache lines of what others read.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Padded<T>(T);

/// What a message asks of.
#[derive(Debug)]
pub(super) enum Body {
    /// The engine.
    Message(Message),
    /// The loop itself: its figures.
    Metrics,
}

impl Body {
    const fn lane(&self) -> Lane {
        match self {
            Self::Message(message) => lane_of(message),
            Self::Metrics => Lane::Low,
        }
    }
}

/// A message with all that is not plain data.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) body: Body,
    pub(super) reply: Option<Reply>,
    /// Not executed later than this.
    pub(super) deadline: Instant,
    /// When it was sent; `None` for most.
    pub(super) sent: Option<Instant>,
}

/// A message that was not queued, and why. Nothing was executed.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) body: Body,
    pub(super) reply: Option<Reply>,
    pub(super) why: AskError,
}

/// How a mailbox behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Messages in all lanes together, at least 1.
    pub capacity: usize,
    /// What happens when they are full.
    pub policy: Backpressure,
    /// How long a fire-and-forget message may wait for room.
    pub patience: Duration,
    /// The callers' clock: that of the actor's host.
    pub clock: Clock,
    /// Whether messages carry times at all; a simulation says no, so that its figures do not depend on the real clock.
    pub stamped: bool,
}

/// One lane's channel and the counters that senders move.
#[derive(Debug)]
struct Channel {
    give: Sender<Envelope>,
    take: Receiver<Envelope>,
    sent: Padded<AtomicU64>,
    rejected: AtomicU64,
    shed: AtomicU64,
    /// Found cancelled by a sender that shed it; the actor counts its own.
    expired: AtomicU64,
    cancelled: AtomicU64,
}

impl Channel {
    fn new(capacity: usize) -> Self {
        let (give, take) = bounded(capacity);
        Self {
            give,
            take,
            sent: Padded::default(),
            rejected: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
        }
    }
}

/// What both sides share.
#[derive(Debug)]
pub(super) struct Mailbox {
    lanes: [Channel; 4],
    /// Room left in the lanes but the critical one.
    room: Padded<AtomicUsize>,
    /// Senders that wait for room, and the tokens that wake them: one for each message taken while somebody waits.
    waiters: AtomicUsize,
    tokens: (Sender<()>, Receiver<()>),
    /// The shortest budget of a fire-and-forget shutdown not yet taken, in microseconds; `u64::MAX` when there is none.
    /// The one critical kind coalesces here to one pending entry: it needs no room, so it is never refused.
    shutdown: AtomicU64,
    /// How many messages that entry stands for.
    shutdowns: AtomicU64,
    subscribes: (Sender<Subscribe>, Receiver<Subscribe>),
    /// How many subscriptions were ever asked for: a cheap look before each message.
    subscribes_sent: AtomicU64,
    closed: AtomicBool,
    /// What was not executed, by type: the same as the lanes' own counters, told apart further.
    tally: Tally,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) slots: Slots,
    pub(super) options: Options,
    actor: OnceLock<ThreadId>,
}

/// Makes both sides of a mailbox.
pub(super) fn open(mut options: Options, doorbell: Arc<Doorbell>) -> (Arc<Mailbox>, Inbox) {
    options.capacity = options.capacity.max(1);
    let capacity = options.capacity;
    let mailbox = Arc::new(Mailbox {
        lanes: [CRITICAL_ASKS_MAX, capacity, capacity, capacity].map(Channel::new),
        room: Padded(AtomicUsize::new(capacity)),
        waiters: AtomicUsize::new(0),
        tokens: bounded(capacity),
        shutdown: AtomicU64::new(u64::MAX),
        shutdowns: AtomicU64::new(0),
        subscribes: bounded(SUBSCRIBES_WAITING_MAX),
        subscribes_sent: AtomicU64::new(0),
        closed: AtomicBool::new(false),
        tally: Tally::default(),
        doorbell,
        slots: Slots::new(),
        options,
        actor: OnceLock::new(),
    });
    let inbox = Inbox {
        mailbox: Arc::clone(&mailbox),
        subscribes_seen: 0,
        processed: [0; 4],
        expired: [0; 4],
        peak: 0,
    };
    (mailbox, inbox)
}

impl Mailbox {
    /// Whether this is the actor's own thread.
    pub(super) fn is_own_thread(&self) -> bool {
        self.actor.get() == Some(&thread::current().id())
    }

    /// Queues one message, waiting for room until `deadline` when the policy is to wait.
    pub(super) fn send(
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
            self.tally.note(Type::of(&body), Fate::Cancelled, 1);
            let why = AskError::Stopped;
            return Err(Refused { body, reply, why });
        }
        if lane == Lane::Critical {
            return self.send_critical(body, reply, deadline);
        }
        if !self.take_room(1) && !self.make_room(lane, deadline, policy) {
            // Who waited for room may have been woken by the end instead.
            let (counter, fate, why) = if self.closed.load(Ordering::SeqCst) {
                (&channel.cancelled, Fate::Cancelled, AskError::Stopped)
            } else {
                (&channel.rejected, Fate::Rejected, AskError::Full)
            };
            counter.fetch_add(1, Ordering::Relaxed);
            self.tally.note(Type::of(&body), fate, 1);
            return Err(Refused { body, reply, why });
        }
        let sent = self.stamp(sequence);
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
    pub(super) fn send_batch(&self, messages: &mut Vec<Message>) -> Result<usize, AskError> {
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
            let sequence = channel.sent.0.fetch_add(1, Ordering::Relaxed);
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
                    sent: self.stamp(sequence),
                },
            );
        }
        self.give_room(unused);
        self.doorbell.ring();
        Ok(sent)
    }

    /// Enters a subscription; `false` when too many wait or the actor has ended.
    pub(super) fn subscribe(&self, subscribe: Subscribe) -> bool {
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
    pub(super) fn queued(&self) -> usize {
        self.options.capacity - self.room.0.load(Ordering::Relaxed)
    }

    /// The time, when the message with this number in its lane is a sample.
    fn stamp(&self, sequence: u64) -> Option<Instant> {
        (self.options.stamped && is_sample(sequence)).then(|| self.time())
    }

    /// Apart, so that the messages without a time do not carry the reading of the clock along.
    #[cold]
    fn time(&self) -> Instant {
        self.options.clock.now()
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

    fn give_room(&self, count: usize) {
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
            let kind = Type::of(&envelope.body);
            match envelope.reply {
                Some(reply) if !reply.take() => {
                    channel.expired.fetch_add(1, Ordering::Relaxed);
                    self.tally.note(kind, Fate::Expired, 1);
                }
                reply => {
                    channel.shed.fetch_add(1, Ordering::Relaxed);
                    self.tally.note(kind, Fate::Shed, 1);
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
    fn drain(&self) {
        for (lane, channel) in Lane::ALL.into_iter().zip(&self.lanes) {
            let mut count = 0;
            while let Ok(envelope) = channel.take.try_recv() {
                count += usize::from(lane != Lane::Critical);
                let expired = envelope.reply.as_ref().is_some_and(|reply| !reply.take());
                let fate = if expired {
                    channel.expired.fetch_add(1, Ordering::Relaxed);
                    Fate::Expired
                } else {
                    channel.cancelled.fetch_add(1, Ordering::Relaxed);
                    Fate::Cancelled
                };
                self.tally.note(Type::of(&envelope.body), fate, 1);
                // Dropping the envelope answers `Stopped`.
            }
            self.give_room(count);
        }
        let coalesced = self.shutdowns.swap(0, Ordering::SeqCst);
        self.lanes[Lane::Critical as usize]
            .cancelled
            .fetch_add(coalesced, Ordering::Relaxed);
        (self.tally).note(Type::SHUTDOWN, Fate::Cancelled, coalesced);
        while self.subscribes.1.try_recv().is_ok() {}
    }
}

/// The actor's side. Dropped, it closes the mailbox and answers everybody.
#[derive(Debug)]
pub(super) struct Inbox {
    mailbox: Arc<Mailbox>,
    subscribes_seen: u64,
    processed: [u64; 4],
    expired: [u64; 4],
    peak: usize,
}

impl Inbox {
    /// From now on the calling thread is the actor's own.
    pub(super) fn adopt_thread(&self) {
        let _ = self.mailbox.actor.set(thread::current().id());
    }

    /// Notes how full the lanes are. At the beginning of a turn they are at their fullest.
    pub(super) fn note_peak(&mut self) {
        self.peak = self.peak.max(self.mailbox.queued());
    }

    /// The pending shutdown that nobody waits for, with the shortest budget asked for.
    pub(super) fn take_shutdown(&mut self) -> Option<Duration> {
        if self.mailbox.shutdown.load(Ordering::Relaxed) == u64::MAX {
            return None;
        }
        let budget = self.mailbox.shutdown.swap(u64::MAX, Ordering::SeqCst);
        let count = self.mailbox.shutdowns.swap(0, Ordering::SeqCst);
        self.processed[Lane::Critical as usize] += count;
        (budget != u64::MAX).then(|| Duration::from_micros(budget))
    }

    /// The next message of `lane`. Its room is given back by [`Self::release`].
    pub(super) fn pop(&mut self, lane: Lane) -> Option<Envelope> {
        self.mailbox.lanes[lane as usize].take.try_recv().ok()
    }

    /// Gives back the room of `count` messages that were taken.
    pub(super) fn release(&mut self, count: usize) {
        self.mailbox.give_room(count);
    }

    /// The next subscription to enter. To be asked after each [`Self::pop`], before the message is executed: whoever
    /// subscribed before it sent a message sees that message's events.
    pub(super) fn next_subscribe(&mut self) -> Option<Subscribe> {
        if self.mailbox.subscribes_sent.load(Ordering::Acquire) == self.subscribes_seen {
            return None;
        }
        let subscribe = self.mailbox.subscribes.1.try_recv().ok()?;
        self.subscribes_seen += 1;
        Some(subscribe)
    }

    /// Counts one taken message as executed or as expired.
    pub(super) fn count(&mut self, lane: Lane, executed: bool) {
        let counters = if executed {
            &mut self.processed
        } else {
            &mut self.expired
        };
        counters[lane as usize] += 1;
    }

    /// Arms the doorbell and tells whether the actor may sleep. When not, the doorbell is quiet again.
    pub(super) fn may_sleep(&mut self) -> bool {
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
    pub(super) fn awake(&mut self) {
        self.mailbox.doorbell.disarm();
    }

    /// The counters of `lane`.
    pub(super) fn figures(&self, lane: Lane) -> LaneFigures {
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

    /// What was not executed, by type.
    pub(super) fn tally(&self) -> &Tally {
        &self.mailbox.tally
    }

    /// Most messages ever found waiting.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// Messages waiting now, and the bound.
    pub(super) fn fill(&self) -> (usize, usize) {
        (self.mailbox.queued(), self.mailbox.options.capacity)
    }

    /// Refuses what comes from now on and answers whoever waits.
    pub(super) fn close(&mut self) {
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

#[cfg(test)]
mod tests;
