//! The way in: four bounded lanes, one count of room for all of them, one coalesced wake.
//!
//! Invariants:
//! - Messages waiting in the lanes never exceed the capacity; the critical lane has room of its own and is never refused.
//! - Within a lane, messages of one producer are taken in the order they were sent.
//! - `sent = processed + rejected + shed + expired + cancelled + queued`, for each lane, at any quiet moment.
//! - The actor never sleeps while a message waits: it arms the doorbell first and looks into the lanes afterwards, a sender
//!   queues first and looks at the doorbell afterwards.
//! - Nobody is left waiting: a message that the end of the actor leaves behind answers its caller.

mod inbox;
mod send;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;

use crossbeam_channel::{Receiver, Sender, bounded};

pub(super) use self::inbox::Inbox;

use super::bus::Subscribe;
use super::reply::{AskError, Reply, Slots};
use crate::config::Backpressure;
use crate::engine::message::Message;
use crate::time::{Clock, Duration, Instant};

/// Callers that may wait for a critical message's answer at the same time; the message of one more is executed, but not answered.
const CRITICAL_ASKS_MAX: usize = 64;

/// Subscriptions that may wait to be entered; one more is refused.
const SUBSCRIBES_WAITING_MAX: usize = 64;

/// One message in this many carries the time it was sent: reading the clock costs as much as sending.
const STAMP_EVERY: u64 = 16;

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
        | Message::Account { .. }
        | Message::LibraryLoad { .. }
        | Message::TorrentAdd(_)
        | Message::TorrentsChange(_) => Lane::High,
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
        Message::LinksShow { .. }
        | Message::IgnoredShow { .. }
        | Message::EngineShow
        | Message::TorrentsShow(_) => Lane::Low,
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
        doorbell,
        slots: Slots::new(),
        options,
        actor: OnceLock::new(),
    });
    let inbox = Inbox::new(Arc::clone(&mailbox));
    (mailbox, inbox)
}
