//! What all machines of a world share: time, the network, the tracker, and the work that takes a while.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::actor::host::Finished;
use crate::engine::message::{
    Answer, Fetch, FetchOutcome, FetchTask, Fetched, Message, StoreJob, StoreOutcome, Stored, Work,
};
use crate::ids::{JobId, SessionId, StreamId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::worker::disk::{self, Scratch};

use super::disk::Disk;
use super::faults::Faults;
use super::net::{Net, NodeIndex};
use super::store::Store;
use super::torrent::Torrent;
use super::trace::Trace;
use super::tracker::Tracker;

/// Where the tracker answers, under the name `tracker.sim` too.
pub const TRACKER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)), 6969);
/// Worker threads of a machine.
const WORKERS: usize = 2;

/// One simulated machine, but for its process.
#[derive(Debug)]
pub struct Node {
    /// Which process of this machine: work of an earlier one is lost.
    pub incarnation: u32,
    /// Its disk.
    pub disk: Disk,
    /// Its store.
    pub store: Store,
    /// Work done and not yet taken.
    pub finished: VecDeque<Finished>,
    /// Messages for its engine: number and text. Answered in `answers`.
    pub asks: VecDeque<(u64, Message)>,
    /// Answers by number.
    pub answers: BTreeMap<u64, Answer>,
    /// Jobs given out and not yet answered.
    pub outstanding: BTreeSet<JobId>,
    /// Those among them that look up a name somebody typed: the end does not wait for them.
    pub names: BTreeSet<JobId>,
    /// Streams that are there and on which nothing was said yet.
    pub silent: BTreeSet<StreamId>,
    /// Streams that began with an encryption handshake: what is said there may mean nothing to who looks on.
    pub covered: BTreeSet<StreamId>,
    next_ask: u64,
    workers: [Instant; WORKERS],
    scratch: Scratch,
}

impl Node {
    /// A machine that is off.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self {
            incarnation: 0,
            disk,
            store: Store::default(),
            finished: VecDeque::new(),
            asks: VecDeque::new(),
            answers: BTreeMap::new(),
            outstanding: BTreeSet::new(),
            names: BTreeSet::new(),
            silent: BTreeSet::new(),
            covered: BTreeSet::new(),
            next_ask: 0,
            workers: [Instant::ZERO; WORKERS],
            scratch: Scratch::default(),
        }
    }

    /// Asks the engine; the number finds the answer.
    pub fn ask(&mut self, message: Message) -> u64 {
        self.next_ask += 1;
        self.asks.push_back((self.next_ask, message));
        self.next_ask
    }

    /// The process is gone: nobody waits for anything any more.
    pub fn end_process(&mut self) {
        self.incarnation += 1;
        self.finished.clear();
        self.asks.clear();
        self.answers.clear();
        self.outstanding.clear();
        self.names.clear();
        self.silent.clear();
        self.covered.clear();
        self.store.let_go_of_all();
        self.workers = [Instant::ZERO; WORKERS];
    }
}

/// Something that takes a while.
#[derive(Debug)]
enum Task {
    Work(Work),
    Store(StoreJob),
    Stored(Stored),
    Fetch(Fetch),
}

/// What all machines share.
#[derive(Debug)]
pub struct Common {
    /// The one clock.
    pub now: Instant,
    /// The network.
    pub net: Net,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The tracker.
    pub tracker: Tracker,
    /// Hash over everything that crosses a border.
    pub trace: Trace,
    /// What is traded.
    pub torrent: Arc<Torrent>,
    /// What goes wrong now.
    pub faults: Faults,
    /// The first thing that broke.
    pub failure: Option<String>,
    rng: Rng,
    tasks: BTreeMap<(Instant, u64), (NodeIndex, u32, Task)>,
    next_task: u64,
}

impl Common {
    /// A world without machines.
    #[must_use]
    pub fn new(net: Net, torrent: Arc<Torrent>, faults: Faults, rng: Rng) -> Self {
        Self {
            now: Instant::ZERO,
            net,
            nodes: Vec::new(),
            tracker: Tracker::default(),
            trace: Trace::new(),
            torrent,
            faults,
            failure: None,
            rng,
            tasks: BTreeMap::new(),
            next_task: 0,
        }
    }

    /// Notes the first thing that broke.
    pub fn fail(&mut self, node: NodeIndex, what: &str) {
        if self.failure.is_none() {
            let seconds = self.now.as_micros() / 1_000_000;
            let micros = self.now.as_micros() % 1_000_000;
            self.failure = Some(format!("node {node} at {seconds}.{micros:06} s: {what}"));
        }
    }

    /// When something is done or arrives next.
    #[must_use]
    pub fn next_event(&self) -> Option<Instant> {
        let task = self.tasks.first_key_value().map(|(key, _)| key.0);
        task.into_iter().chain(self.net.next_event()).min()
    }

    /// Lets time reach `now`: bytes arrive, work gets done.
    pub fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.net.advance(self.now);
        for (from, to, bytes) in self.net.take_strays() {
            let refused = self.tracker_fails();
            if to == TRACKER
                && !refused
                && let Some(answer) = self.tracker.udp(from, &bytes, &mut self.rng)
            {
                self.net.send_to(self.now, TRACKER, from, &answer);
            }
        }
        while let Some(entry) = self.tasks.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (node, incarnation, task) = entry.remove();
            if self.nodes[node].incarnation == incarnation {
                self.do_task(node, task);
            }
        }
    }

    /// Takes a job for the workers. A read is sometimes done on the spot, as with a warm page cache.
    pub fn work(&mut self, node: NodeIndex, work: Work) -> Option<crate::engine::message::Done> {
        if matches!(work.job, crate::engine::message::Job::Read(_)) && self.rng.chance(1, 2) {
            return Some(self.run_work(node, work));
        }
        let micros = 50 + self.rng.below(self.faults.disk.delay_micros_max.max(1));
        let slow = self.rng.below(1000) < self.faults.disk.slow_per_mille;
        let delay = Duration::from_micros(if slow { micros * 100 } else { micros });
        let worker = self.rng.index(WORKERS);
        let free = &mut self.nodes[node].workers[worker];
        *free = self.now.max(*free) + delay;
        let at = *free;
        self.later(node, at, Task::Work(work));
        None
    }

    /// Drops jobs of a session that have not begun: some of them, for a real worker may have taken any of them just before.
    pub fn cancel(&mut self, node: NodeIndex, session: SessionId) {
        let is_its = |(owner, _, task): &(NodeIndex, u32, Task)| match task {
            Task::Work(work) => {
                *owner == node && work.session == session && work.job.is_cancellable()
            }
            Task::Store(_) | Task::Stored(_) | Task::Fetch(_) => false,
        };
        let keys: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| is_its(task))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if self.rng.chance(1, 2)
                && let Some((_, incarnation, Task::Work(work))) = self.tasks.remove(&key)
                && incarnation == self.nodes[node].incarnation
            {
                let done = Finished::Done(work.cancelled());
                self.nodes[node].finished.push_back(done);
            }
        }
    }

    /// Takes a job for the store.
    pub fn store(&mut self, node: NodeIndex, job: StoreJob) {
        let delay =
            Duration::from_micros(100 + self.rng.below(self.faults.disk.delay_micros_max.max(1)));
        // The store does its jobs in order: none overtakes the one before.
        let last = self
            .tasks
            .iter()
            .rev()
            .find_map(|((at, _), (owner, _, task))| {
                (*owner == node && matches!(task, Task::Store(_))).then_some(*at)
            });
        let at = (self.now + delay).max(last.unwrap_or_default());
        self.later(node, at, Task::Store(job));
    }

    /// Takes a job for the gateway.
    pub fn fetch(&mut self, node: NodeIndex, fetch: Fetch) {
        let at = self.now + Duration::from_millis(5 + self.rng.below(200));
        self.later(node, at, Task::Fetch(fetch));
    }

    fn later(&mut self, node: NodeIndex, at: Instant, task: Task) {
        let incarnation = self.nodes[node].incarnation;
        self.tasks
            .insert((at, self.next_task), (node, incarnation, task));
        self.next_task += 1;
    }

    fn tracker_fails(&mut self) -> bool {
        self.rng.below(1000) < self.faults.node.tracker_error_per_mille
    }

    fn run_work(&mut self, node: NodeIndex, work: Work) -> crate::engine::message::Done {
        let now = self.now;
        let node = &mut self.nodes[node];
        node.disk.set_now(now);
        disk::run(&mut node.disk, &mut node.scratch, work)
    }

    fn do_task(&mut self, index: NodeIndex, task: Task) {
        let finished = match task {
            Task::Work(work) => Finished::Done(self.run_work(index, work)),
            Task::Store(job) => {
                let broken = self.rng.below(100_000) < self.faults.disk.error_per_100k;
                let StoreJob { id, session, task } = job;
                let outcome = self.nodes[index].store.run(task, broken);
                // A save may be durable and its answer still lost: power goes in between.
                let saved = matches!(outcome, StoreOutcome::Saved(_));
                let stored = Stored {
                    id,
                    session,
                    outcome,
                };
                if saved {
                    let at = self.now + Duration::from_micros(1 + self.rng.below(500));
                    self.later(index, at, Task::Stored(stored));
                    return;
                }
                Finished::Stored(stored)
            }
            Task::Stored(stored) => Finished::Stored(stored),
            Task::Fetch(fetch) => Finished::Fetched(self.do_fetch(index, fetch)),
        };
        self.nodes[index].finished.push_back(finished);
    }

    fn do_fetch(&mut self, index: NodeIndex, fetch: Fetch) -> Fetched {
        let failed = self.tracker_fails();
        let outcome = match fetch.task {
            FetchTask::Http { url, .. } => {
                let ip = self.net.address(index).ip();
                let body = self.tracker.http(ip, &url, &mut self.rng);
                FetchOutcome::Http(match body {
                    Some(body) if !failed => Ok(body),
                    Some(_) => Err("503 simulated".to_owned()),
                    None => Err("400".to_owned()),
                })
            }
            FetchTask::Resolve { host, port, .. } => {
                let ip = if host == "tracker.sim" {
                    Some(TRACKER.ip())
                } else {
                    let node = host
                        .strip_prefix("node-")
                        .and_then(|n| n.parse::<usize>().ok());
                    node.filter(|n| *n < self.nodes.len())
                        .map(|n| self.net.address(n).ip())
                };
                FetchOutcome::Resolved(match ip {
                    Some(ip) if !failed => Ok(vec![SocketAddr::new(ip, port)]),
                    _ => Err("no such name".to_owned()),
                })
            }
        };
        Fetched {
            id: fetch.id,
            outcome,
        }
    }
}
