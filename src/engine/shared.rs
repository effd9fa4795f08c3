//! What all sessions use and none owns: time, chance, the outputs, the piece buffers, the timers, the numbering of jobs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::buffer::Pool;
use crate::events::Event;
use crate::ids::{JobId, ReplyId, SessionId, StreamId, SwarmId, UtpId};
use crate::metrics::EngineCounters;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

use super::library::queue::Queue;
use super::limits::Limiter;
use super::message::{
    Answer, Fetch, FetchTask, Frame, Job, Output, Storage, StoreJob, StoreTask, Work,
};
use super::session::trackers::AskId;
use super::settings::Settings;
use super::table::stream::Stream;
use super::timers::Timers;
use super::utp::{self, Utp};

/// Of what the blocks may take, uTP may have as much again divided by this for packets on their way and out of order.
const UTP_SHARE: usize = 4;

/// What a timer is for; one deadline each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKey {
    /// Whatever is next on this stream: handshake, keep-alive, snub, stale.
    Stream(StreamId),
    /// A packet of this connection may be lost, or its way has to be kept open.
    Utp(UtpId),
    /// Finished pieces have waited long enough.
    Commit(SessionId),
    /// The choker's round.
    Choke(SessionId),
    /// More peers may be dialled.
    Connect(SwarmId),
    /// A tracker is due.
    Trackers(SessionId),
    /// An announce has been silent for long, or others wait to be refused.
    Pace,
    /// Progress is due to be saved.
    Save(SessionId),
    /// Rates are due to be told.
    Stats(SessionId),
    /// The disk may be better now.
    DiskRetry(SessionId),
    /// It has rested for a while, or a goal may be reached while it rests.
    Park(SessionId),
    /// Peers that have just come are told of others.
    Pex(SessionId),
    /// Metadata may be asked for again.
    Metadata(SessionId),
    /// Streams that wait for a rate limit may go on.
    Limits,
    /// Something is due in the DHT.
    Dht,
    /// Encryption handshakes wait for their turn.
    Exchange,
    /// Our network is told of torrents.
    Lsd,
    /// A ban is over.
    Bans,
    /// The trackers' part of the shutdown's budget is spent.
    Farewell,
    /// The budget of the shutdown is spent.
    Shutdown,
}

/// What an answer of the gateway is for.
#[derive(Clone, Copy, Debug)]
pub enum FetchFor {
    /// A tracker of this session.
    Tracker(SessionId, AskId),
    /// A peer that a person named.
    Peer(SessionId),
    /// A node of the DHT to begin with.
    Router,
}

/// The shared resources.
#[derive(Debug)]
pub struct Shared {
    /// The time of the input at hand.
    pub now: Instant,
    /// Chance.
    pub rng: Rng,
    /// What is asked for and not yet taken.
    pub outputs: VecDeque<Output>,
    /// All blocks.
    pub pool: Pool,
    /// All deadlines.
    pub timers: Timers<TimerKey>,
    /// The numbers.
    pub settings: Settings,
    /// Which torrents trade.
    pub queue: Queue,
    /// Counted for the metrics.
    pub counters: EngineCounters,
    /// Who may pass how fast.
    pub limits: Limiter,
    /// Streams over datagrams.
    pub utp: Utp,
    /// Where we listen.
    pub listening: Vec<SocketAddr>,
    /// Streams that have requests and found no block to send them with, in the order they came.
    pub send_waiting: VecDeque<StreamId>,
    /// Sessions that could have asked for more, had there been room.
    pub starved: BTreeSet<SessionId>,
    /// Room in the pool when they last looked, or the least since.
    pub starved_room: usize,
    /// What the gateway was asked, until it answers.
    pub fetches: BTreeMap<JobId, FetchFor>,
    jobs: u64,
}

impl Shared {
    /// Nothing in flight.
    #[must_use]
    pub fn new(settings: Settings, rng: Rng) -> Self {
        let settings_cache = settings.cache_bytes;
        Self {
            now: Instant::ZERO,
            rng,
            outputs: VecDeque::with_capacity(1024),
            pool: Pool::new(settings.cache_bytes),
            timers: Timers::default(),
            queue: Queue::new(&settings.config.queue),
            settings,
            counters: EngineCounters::default(),
            limits: Limiter::default(),
            utp: Utp::new(settings_cache / UTP_SHARE),
            listening: Vec::new(),
            send_waiting: VecDeque::new(),
            starved: BTreeSet::new(),
            starved_room: 0,
            fetches: BTreeMap::new(),
            jobs: 0,
        }
    }

    /// Asks for `output`: of the loop, or of uTP when it is about a stream that goes over it.
    pub fn push(&mut self, output: Output) {
        let (utp, mut world) = self.utp();
        if let Some(output) = utp.divert(&mut world, output) {
            self.outputs.push_back(output);
        }
    }

    /// uTP, and what it needs of the rest.
    pub fn utp(&mut self) -> (&mut Utp, utp::World<'_>) {
        let world = utp::World {
            now: self.now,
            rng: &mut self.rng,
            timers: &mut self.timers,
            outputs: &mut self.outputs,
            pool: &mut self.pool,
        };
        (&mut self.utp, world)
    }

    /// Tells subscribers.
    pub fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// Answers a caller that waits.
    pub fn reply(&mut self, reply: Option<ReplyId>, answer: Answer) {
        self.counters.messages_refused += u64::from(matches!(answer, Answer::Refused(_)));
        if let Some(reply) = reply {
            self.push(Output::Reply { reply, answer });
        }
    }

    /// Queues `frame` on `stream`, encrypted if that is agreed.
    pub fn send(&mut self, stream: &mut Stream, mut frame: Frame) {
        stream.queued(&frame, self.now);
        stream.cover.hide(&mut frame);
        let stream = stream.id;
        self.push(Output::Send { stream, frame });
    }

    /// Gives a job to the workers.
    pub fn work(&mut self, session: SessionId, storage: &Arc<Storage>, job: Job) -> JobId {
        let id = self.next_job();
        let storage = Arc::clone(storage);
        self.push(Output::Work(Work {
            id,
            session,
            storage,
            job,
        }));
        id
    }

    /// Gives a job to the store.
    pub fn store(&mut self, session: SessionId, task: StoreTask) -> JobId {
        let id = self.next_job();
        self.push(Output::Store(StoreJob { id, session, task }));
        id
    }

    /// Gives a job to the gateway.
    pub fn fetch(&mut self, purpose: FetchFor, task: FetchTask) {
        let id = self.next_job();
        self.fetches.insert(id, purpose);
        self.push(Output::Fetch(Fetch { id, task }));
    }

    /// Arms `key` in `span` from now.
    pub fn arm(&mut self, key: TimerKey, span: Duration) {
        self.timers.set(key, self.now + span);
    }

    /// The port that others reach us at, 0 when we listen nowhere.
    #[must_use]
    pub fn listen_port(&self) -> u16 {
        self.listening.first().map_or(0, SocketAddr::port)
    }

    fn next_job(&mut self) -> JobId {
        self.jobs += 1;
        JobId(self.jobs)
    }
}
