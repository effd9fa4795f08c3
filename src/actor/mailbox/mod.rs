//! The way in: four bounded lanes, one count of room for all of them, one coalesced wake.
//!
//! Everything is counted in operations: a message is one, a batch as many as it has messages.
//!
//! Invariants:
//! - Operations waiting in the lanes never exceed the capacity, nor those of one handle its quota; the critical lane has room
//!   of its own and is never refused.
//! - Within a lane, messages of one producer are taken in the order they were sent.
//! - `sent = processed + rejected + shed + expired + cancelled + queued`, for each lane, at any quiet moment.
//! - The actor never sleeps while a message waits: it arms the doorbell first and looks into the lanes afterwards, a sender
//!   queues first and looks at the doorbell afterwards.
//! - Nobody is left waiting: a message that the end of the actor leaves behind answers its caller.
//!
//! What a single message costs its sender: an exchange on a cache line of its own (its purse), and the lane's queue. While there
//! is plenty of room a handle takes some in advance; what it holds and does not use is brought home as soon as anybody is
//! short of room.

mod accounts;
mod credits;
mod inbox;
mod pool;
mod send;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;

use crossbeam_channel::{Receiver, Sender, bounded};

use self::accounts::Accounts;
pub(super) use self::accounts::Seat;
use self::credits::Credits;
pub(super) use self::inbox::Inbox;
pub(super) use self::pool::Pool;
use super::bus::Subscribe;
pub use super::doorbell::{Doorbell, Wake};
use super::figures::Tally;
use super::reply::{AskError, Reply, Slots};
use crate::config::Backpressure;
use crate::engine::message::{Answer, Direction, Message};
use crate::ids::SwarmId;
use crate::time::{Clock, Duration, Instant};

/// Callers that may wait for a critical message's answer at the same time; the message of one more is executed, but not answered.
const CRITICAL_ASKS_MAX: usize = 64;

/// Subscriptions that may wait to be entered; one more is refused.
const SUBSCRIBES_WAITING_MAX: usize = 64;

/// Messages of one batch. It is applied in one turn, so this is also by how much a lane may exceed its budget in a turn; the
/// excess is taken from its next budgets.
pub const BATCH_MAX: usize = 256;

/// Buffers of batches kept for reuse; those beyond are freed.
const BUFFERS_KEPT: usize = 256;

/// The longest of them. A vector that was pushed to may have room for twice as much as it holds.
const BUFFER_LENGTH_MAX: usize = 2 * BATCH_MAX;

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
        | Message::MagnetAdd(_)
        | Message::TorrentsChange(_)
        | Message::SettingsChange(_) => Lane::High,
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
        | Message::SpeedSet { .. }
        | Message::SpeedShow
        | Message::SessionLimits { .. }
        | Message::GroupSet(_)
        | Message::MetadataShow { .. }
        | Message::Blocks(_)
        | Message::SessionShow { .. } => Lane::Normal,
        Message::LinksShow { .. }
        | Message::IgnoredShow { .. }
        | Message::EngineShow
        | Message::Survey(_)
        | Message::TorrentsShow(_)
        | Message::SettingsShow => Lane::Low,
    }
}

/// What a message asks of.
#[derive(Debug)]
pub(super) enum Body {
    /// The engine.
    Message(Message),
    /// The engine, many times: 1 to [`BATCH_MAX`] messages, none of them critical.
    Batch(Vec<Message>),
    /// The host, and then the engine.
    Adopt(Box<Adoption>),
    /// The loop itself: its figures.
    Metrics,
}

/// A socket on its way to the host, to become a stream. Dropped anywhere on that way, it is closed.
#[derive(Debug)]
pub(super) struct Adoption {
    pub(super) socket: OwnedFd,
    pub(super) address: SocketAddr,
    pub(super) direction: Direction,
    pub(super) swarm: Option<SwarmId>,
}

impl Body {
    /// Where it queues: a batch with its least urgent message, so that nothing rides in front of its like.
    fn lane(&self) -> Lane {
        match self {
            Self::Message(message) => lane_of(message),
            Self::Batch(messages) => messages.iter().map(lane_of).max().unwrap_or(Lane::Low),
            Self::Adopt(_) => Lane::High,
            Self::Metrics => Lane::Low,
        }
    }

    /// How many operations it is.
    pub(super) fn operations(&self) -> u64 {
        match self {
            Self::Batch(messages) => messages.len() as u64,
            Self::Message(_) | Self::Adopt(_) | Self::Metrics => 1,
        }
    }
}

/// A message with all that is not plain data.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) body: Body,
    pub(super) reply: Option<Reply>,
    /// When it was sent; [`Instant::FAR`] for most, which are no samples.
    pub(super) sent: Instant,
    /// Whose quota it is on.
    account: u16,
}

const _: () = assert!(
    size_of::<Envelope>() <= 104,
    "an envelope is a message and little else: every lane has room for all of them"
);

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
    /// Operations in all lanes together, at least 1. A handle may have half of them in flight, unless it says otherwise.
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

/// One lane's channel and the counters of what did not come to its end there.
#[derive(Debug)]
struct Channel {
    give: Sender<Envelope>,
    take: Receiver<Envelope>,
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
    /// Room in the lanes but the critical one.
    room: Credits,
    accounts: Accounts,
    /// Room that a handle takes in advance.
    advance: u64,
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
    /// Empty buffers for the messages, and for the answers, of batches.
    pub(super) buffers: Pool<Vec<Message>>,
    pub(super) answers: Pool<Vec<Answer>>,
    pub(super) options: Options,
    actor: OnceLock<ThreadId>,
}

/// Makes both sides of a mailbox.
pub(super) fn open(mut options: Options, doorbell: Arc<Doorbell>) -> (Arc<Mailbox>, Inbox) {
    options.capacity = options.capacity.max(1);
    let capacity = options.capacity;
    let mailbox = Arc::new(Mailbox {
        lanes: [CRITICAL_ASKS_MAX, capacity, capacity, capacity].map(Channel::new),
        room: Credits::new(),
        accounts: Accounts::new(),
        advance: accounts::advance_of(capacity),
        shutdown: AtomicU64::new(u64::MAX),
        shutdowns: AtomicU64::new(0),
        subscribes: bounded(SUBSCRIBES_WAITING_MAX),
        subscribes_sent: AtomicU64::new(0),
        closed: AtomicBool::new(false),
        tally: Tally::default(),
        doorbell,
        slots: Slots::new(),
        buffers: Pool::new(BUFFERS_KEPT),
        answers: Pool::new(BUFFERS_KEPT),
        options,
        actor: OnceLock::new(),
    });
    let inbox = Inbox::new(Arc::clone(&mailbox));
    (mailbox, inbox)
}

impl Mailbox {
    /// Keeps a buffer of messages for the next batch.
    pub(super) fn keep_buffer(&self, buffer: Vec<Message>) {
        self.buffers.give_buffer(buffer, BUFFER_LENGTH_MAX);
    }

    /// Keeps a buffer of answers for the next batch.
    pub(super) fn keep_answers(&self, buffer: Vec<Answer>) {
        self.answers.give_buffer(buffer, BUFFER_LENGTH_MAX);
    }
}
