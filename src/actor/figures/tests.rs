#![allow(clippy::disallowed_methods, reason = "callers are other threads")]

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::handle::Handle;
use super::super::host::{Finished, Host, Ready};
use super::super::mailbox::{Doorbell, Lane, Options, Wake, lane_of};
use super::super::{Core, Loop};
use super::kinds::About;
use super::*;
use crate::codec::magnet::Magnet;
use crate::config::Backpressure;
use crate::engine::library::{
    Brief, Change, MagnetAdd, Selection, TorrentAdd, TorrentsChange, TorrentsShow,
};
use crate::engine::limits::Group;
use crate::engine::message::{
    Accounting, Carrier, Direction, Done, Fetch, Input, Job, Limits, Message, Outcome, Output,
    Refusal, SessionAdd, ShutdownReport, StoreJob, StreamName, Work,
};
use crate::ids::{ConnectionId, InfoHash, SessionId, SocketId, StreamId, SwarmId};
use crate::metrics::{
    EngineCounters, HostFigures, LaneFigures, LaneMetrics, MessageFigures, Metrics, TypeFigures,
};
use crate::rng::Rng;
use crate::time::Clock;

/// A world in which nothing happens but callers.
struct Quiet {
    clock: Clock,
    rung: crossbeam_channel::Receiver<()>,
}

impl Host for Quiet {
    fn now(&mut self) -> Instant {
        self.clock.now()
    }
    fn nanos(&mut self) -> u64 {
        self.clock.nanos()
    }
    fn poll(&mut self, timeout: Option<Duration>, _ready: &mut Vec<Ready>) {
        let most = Duration::from_millis(1);
        let _ = self.rung.recv_timeout(timeout.unwrap_or(most).min(most));
    }
    fn next_incoming(&mut self) -> Option<(SocketId, SocketAddr)> {
        None
    }
    fn accept(&mut self, _socket: SocketId, _stream: StreamId) {}
    fn refuse(&mut self, _socket: SocketId) {}
    fn dial(&mut self, _stream: StreamId, _to: SocketAddr) -> io::Result<()> {
        Ok(())
    }
    fn read(&mut self, _stream: StreamId, _bytes: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn write(&mut self, _stream: StreamId, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn close(&mut self, _stream: StreamId, _clean: bool) {}
    fn receive(&mut self, _bytes: &mut [u8]) -> Option<(SocketAddr, usize)> {
        None
    }
    fn send_to(&mut self, _to: SocketAddr, _bytes: &[u8]) {}
    fn work(&mut self, _work: Work) -> Option<Done> {
        None
    }
    fn store(&mut self, _job: StoreJob) {}
    fn fetch(&mut self, _fetch: Fetch) {}
    fn finished(&mut self) -> Option<Finished> {
        None
    }
}

/// A core that does, refuses, or answers later, in turn.
#[derive(Debug, Default)]
struct Fickle {
    outputs: VecDeque<Output>,
    waiting: VecDeque<ReplyId>,
    executed: u64,
    refused: u64,
}

impl Core for Fickle {
    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        let Input::Message { message, reply } = input else {
            return;
        };
        self.executed += 1;
        if let Message::Shutdown { .. } = message {
            let report = ShutdownReport::default();
            self.outputs.push_back(Output::Stopped(report));
        }
        let Some(reply) = reply else { return };
        match self.executed % 3 {
            0 => self.waiting.push_back(reply),
            1 => {
                self.refused += 1;
                let answer = Answer::Refused(Refusal::UnknownLink);
                self.outputs.push_back(Output::Reply { reply, answer });
            }
            _ => self.outputs.push_back(Output::Reply {
                reply,
                answer: Answer::Done,
            }),
        }
        if self.waiting.len() > 3
            && let Some(reply) = self.waiting.pop_front()
        {
            let answer = Answer::Done;
            self.outputs.push_back(Output::Reply { reply, answer });
        }
    }
    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
    fn counters(&self) -> EngineCounters {
        EngineCounters::default()
    }
}

fn build(capacity: usize, policy: Backpressure) -> (Loop<Quiet, Fickle>, Handle) {
    let clock = Clock::start();
    let (ring, rung) = crossbeam_channel::bounded(1);
    let wake: Box<dyn Wake> = Box::new(move || {
        let _ = ring.try_send(());
    });
    let options = Options {
        capacity,
        policy,
        patience: Duration::from_millis(1),
        clock,
        stamped: true,
    };
    let host = Quiet { clock, rung };
    let doorbell = Arc::new(Doorbell::new(wake));
    Loop::new(host, Fickle::default(), Vec::new(), options, doorbell)
}

const MESSAGES: usize = TYPES.len() - 1;

/// A message of the type with this index; [`Type::METRICS`] has none.
fn message(kind: usize) -> Message {
    let (session, swarm) = (SessionId::new(0, 0), SwarmId::new(0, 0));
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let stream = StreamName::Outside(ConnectionId(1));
    let info_hash = InfoHash([0; 20]);
    match kind {
        0 => Message::SessionAdd(Box::new(session_add())),
        1 => Message::SessionRemove { session },
        2 => Message::SessionPause { session },
        3 => Message::SessionResume { session },
        4 => Message::PeerAdd { session, address },
        5 => Message::PeerAddNamed {
            session,
            host: "localhost".into(),
            port: 1,
        },
        6 => Message::SessionShow { session },
        7 => Message::EngineShow,
        8 => Message::Shutdown {
            budget: Duration::ZERO,
        },
        9 => Message::LinkCreate { address, swarm },
        10 => Message::LinkUpdate {
            address,
            ip: address.ip(),
            port: 1,
        },
        11 => Message::LinkDelete {
            address,
            force: false,
            preserve: false,
        },
        12 => Message::LinkFind { address, swarm },
        13 => Message::StreamAdd {
            address,
            direction: Direction::Incoming,
            swarm: None,
            carrier: Carrier::Outside(ConnectionId(1)),
        },
        14 => Message::StreamDelete { stream },
        15 => Message::StreamReplace {
            old: stream,
            new: stream,
            direction: Direction::Incoming,
        },
        16 => Message::SwarmAdd {
            info_hash,
            links_min: 1,
        },
        17 => Message::SwarmRemove { swarm },
        18 => Message::SwarmSwitch { swarm, on: true },
        19 => Message::SwarmFind { info_hash },
        20 => Message::LinksCount { swarm },
        21 => Message::LinksShow {
            swarm,
            established_only: false,
        },
        22 => Message::SwarmCondition { swarm },
        23 => Message::IgnoredShow { swarm },
        24 => Message::Account {
            address,
            swarm,
            verdict: Accounting::Member,
        },
        25 => Message::Pin { address, swarm },
        26 => Message::Unpin { address, swarm },
        27 => Message::LimitsSet(Limits::default()),
        28 => Message::LibraryLoad { epoch_millis: 0 },
        29 => Message::TorrentAdd(Box::new(TorrentAdd {
            session: session_add(),
            bytes: Arc::new([]),
            paused: false,
            labels: Vec::new(),
            then: None,
            priorities: Vec::new(),
        })),
        30 => Message::TorrentsChange(Box::new(TorrentsChange {
            which: Selection::All,
            changes: vec![Change::Stop],
        })),
        33 => Message::Survey(Box::new(crate::engine::message::Survey {
            path: "/d".into(),
            make: false,
            file: None,
        })),
        41 => Message::Blocks(Box::new(crate::engine::message::BlocksAsk::Show)),
        36 => Message::SpeedSet {
            limits: Box::default(),
            is_configured: false,
        },
        37 => Message::SpeedShow,
        38 => Message::GroupSet(Box::new(Group::new("group".into()))),
        39 => Message::SessionLimits {
            session,
            change: Box::default(),
        },
        31 => Message::TorrentsShow(Box::new(TorrentsShow {
            which: Selection::All,
            detail: false,
        })),
        32 => {
            let magnet = Magnet::of(InfoHash([1; 20]));
            Message::MagnetAdd(Box::new(MagnetAdd {
                brief: Brief::of_magnet(&magnet, "", std::path::PathBuf::new()),
                paused: true,
                labels: Vec::new(),
                then: None,
                hold: false,
            }))
        }
        40 => Message::MetadataShow { session },
        34 => Message::SettingsChange(Box::default()),
        _ => Message::SettingsShow,
    }
}

fn session_add() -> SessionAdd {
    let bytes =
        b"d4:infod6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
    SessionAdd {
        metainfo: Arc::new(crate::codec::metainfo::Metainfo::decode(bytes).unwrap()),
        root: std::path::PathBuf::new(),
        download: true,
        seed: false,
        recheck: false,
        wanted: Vec::new(),
    }
}

#[test]
fn the_table_of_types_agrees_with_the_lanes() {
    for (at, (name, lane, _)) in TYPES.iter().enumerate().take(MESSAGES) {
        let message = message(at);
        assert_eq!(Type::of_message(&message).index(), at, "{name}");
        assert_eq!(lane_of(&message), *lane, "{name}");
    }
    assert_eq!(Type::SHUTDOWN.name(), "shutdown");
    assert_eq!(Type::METRICS.name(), "metrics");
    let critical = TYPES.iter().filter(|(_, lane, _)| *lane == Lane::Critical);
    assert_eq!(critical.count(), 1, "the mailbox counts them by their lane");
}

/// All counters of a snapshot, by their place in the JSON.
fn counters(metrics: &Metrics) -> Vec<(String, u64)> {
    let text = serde_json::to_string(metrics).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).expect("it parses");
    let mut all = Vec::new();
    let groups = [
        ("/types", TypeFigures::DECLARED),
        ("/lanes", LaneFigures::DECLARED),
        ("/jobs", JobFigures::DECLARED),
    ];
    let growing =
        |figure: &&crate::metrics::Declaration| figure.kind == crate::metrics::Kind::Counter;
    for (place, declared) in groups {
        for (at, row) in json
            .pointer(place)
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
        {
            for figure in declared.iter().filter(growing) {
                let value = row[figure.name].as_u64().unwrap();
                all.push((format!("{place}/{at}/{}", figure.name), value));
            }
            if place != "/jobs" {
                for distribution in ["wait_us", "service_ns"] {
                    let count = row[distribution]["count"].as_u64().unwrap();
                    all.push((format!("{place}/{at}/{distribution}"), count));
                }
            }
        }
    }
    for figure in MessageFigures::DECLARED.iter().filter(growing) {
        all.push((figure.name.to_owned(), json[figure.name].as_u64().unwrap()));
    }
    all
}

/// What lanes and types both count: executed, rejected, shed, expired, cancelled, late, samples.
type Sums = [u64; 7];

fn of_lane(row: &LaneMetrics) -> Sums {
    let of = &row.figures;
    assert_eq!(row.wait_us.count, row.service_ns.count, "{}", row.lane);
    let samples = row.wait_us.count;
    let (rejected, late) = (of.rejected, row.late);
    let (shed, expired, cancelled) = (of.shed, of.expired, of.cancelled);
    let processed = of.processed;
    [processed, rejected, shed, expired, cancelled, late, samples]
}

fn of_type(row: &crate::metrics::TypeMetrics) -> Sums {
    let of = &row.figures;
    assert_eq!(row.wait_us.count, row.service_ns.count, "{}", row.name);
    let samples = row.wait_us.count;
    let (rejected, late) = (of.rejected, of.late);
    let (shed, expired, cancelled) = (of.shed, of.expired, of.cancelled);
    [of.count, rejected, shed, expired, cancelled, late, samples]
}

fn add(rows: impl Iterator<Item = Sums>) -> Sums {
    rows.fold(Sums::default(), |sum, row| {
        std::array::from_fn(|at| sum[at] + row[at])
    })
}

/// What must hold of every snapshot taken while nobody sends; `mixed` when there were batches of several lanes.
fn assert_sums(metrics: &Metrics, mixed: bool) {
    let of_lanes = add(metrics.lanes.iter().map(of_lane));
    assert_eq!(of_lanes, add(metrics.types.iter().map(of_type)));
    for lane in metrics.lanes.iter().filter(|_| !mixed) {
        let types = metrics.types.iter().filter(|row| row.lane == lane.lane);
        assert_eq!(of_lane(lane), add(types.map(of_type)), "{}", lane.lane);
    }
    let sum = |figure: fn(&LaneMetrics) -> u64| metrics.lanes.iter().map(figure).sum::<u64>();
    let messages = &metrics.messages;
    assert_eq!(
        sum(|lane| lane.figures.sent),
        sum(|lane| {
            let own = &lane.figures;
            own.processed + own.rejected + own.shed + own.expired + own.cancelled
        }) + messages.messages_queued_current,
    );
    let processed = sum(|lane| lane.figures.processed);
    assert_eq!(messages.messages_processed_total, processed);
    assert_eq!(
        messages.sync_operations + messages.async_operations,
        processed
    );
    assert_eq!(messages.timeout_count, sum(|lane| lane.figures.expired));
    let about = |about| -> u64 {
        (metrics.types.iter().zip(&TYPES))
            .filter(|(_, (_, _, of))| *of == about)
            .map(|(row, _)| row.figures.count)
            .sum()
    };
    assert_eq!(messages.stream_operations, about(About::Stream));
    assert_eq!(messages.net_operations, about(About::Net));
}

#[test]
fn sums_agree_and_nothing_goes_back_under_any_load() {
    let policies = [
        Backpressure::Block,
        Backpressure::Reject,
        Backpressure::Shed,
    ];
    for (round, policy) in policies.into_iter().chain(policies).enumerate() {
        let mixed = round >= policies.len();
        let (mut turns, handle) = build(48, policy);
        // Whatever the scheduler does: a deadline that passes in the queue, and no room.
        assert!(handle.ask(message(6), Duration::ZERO).is_err());
        while handle.tell(message(7)).is_ok() {}
        let stop = AtomicBool::new(false);
        let mut last: Vec<(String, u64)> = Vec::new();
        thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|caller| {
                    let handle = handle.clone();
                    scope.spawn(move || call(&handle, mixed, Rng::new(caller + 10 * round as u64)))
                })
                .collect();
            scope.spawn(|| {
                for caller in callers {
                    caller.join().unwrap();
                }
                // At the latest the third is refused.
                let long = Duration::from_millis(20);
                while !matches!(handle.ask(message(6), long), Ok(Answer::Refused(_))) {}
                stop.store(true, Ordering::SeqCst);
            });
            let mut turn = 0;
            while !stop.load(Ordering::SeqCst) || handle.queued() > 0 {
                turns.turn();
                turn += 1;
                if turn % 16 == 0 {
                    let now = counters(&turns.metrics());
                    for (before, after) in last.iter().zip(&now) {
                        assert_eq!(before.0, after.0);
                        assert!(before.1 <= after.1, "{} went back", before.0);
                    }
                    last = now;
                    // Long enough for the queue to fill and for deadlines to pass.
                    let _ = crossbeam_channel::after(Duration::from_millis(2)).recv();
                }
            }
        });
        turns.turn();
        let metrics = turns.metrics();
        assert_sums(&metrics, mixed);
        assert_eq!(metrics.messages.error_count, turns.core().refused);
        assert!(metrics.messages.error_count > 0);
        assert!(metrics.messages.backpressure_drops > 0, "{policy:?}");
        assert!(metrics.messages.timeout_count > 0, "{policy:?}");
        let samples: u64 = metrics.lanes.iter().map(|lane| lane.wait_us.count).sum();
        let sent: u64 = metrics.lanes.iter().map(|lane| lane.figures.sent).sum();
        assert!(samples > 0 && samples < sent / 8, "{samples} of {sent}");

        // What the end leaves unexecuted is told apart by type as well.
        for kind in (0..MESSAGES)
            .filter(|&kind| kind != Type::SHUTDOWN.index())
            .take(40)
        {
            let _ = handle.tell(message(kind));
        }
        let left = handle.queued() as u64;
        turns.inbox.close();
        assert!(handle.tell(message(8)).is_err());
        let metrics = turns.metrics();
        assert_sums(&metrics, mixed);
        assert_eq!(metrics.messages.messages_cancelled, left + 1);
    }
}

/// One caller's load: every type, told, batched and asked, some with deadlines that cannot be kept. `mixed` when the messages of
/// a batch may be of several lanes.
fn call(handle: &Handle, mixed: bool, mut rng: Rng) {
    let any = |rng: &mut Rng| loop {
        let kind = rng.index(MESSAGES);
        if kind != Type::SHUTDOWN.index() {
            return message(kind);
        }
    };
    let batch = |rng: &mut Rng| {
        let first = any(rng);
        let lane = lane_of(&first);
        let length = rng.below(30);
        let more = (0..length).map(|_| any(rng));
        let mut batch: Vec<_> = more
            .filter(|message| mixed || lane_of(message) == lane)
            .collect();
        batch.push(first);
        batch
    };
    let mut answers = Vec::new();
    for _ in 0..400 {
        match rng.below(10) {
            0 => {
                let patience = Duration::from_micros(rng.below(400));
                let _ = handle.ask(any(&mut rng), patience);
            }
            1 => {
                let _ = handle.tell_batch(&mut batch(&mut rng));
            }
            8 => {
                let patience = Duration::from_micros(rng.below(400));
                let _ = handle.ask_batch(&mut batch(&mut rng), &mut answers, patience);
            }
            9 => {
                let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                let address = SocketAddr::from(([127, 0, 0, 1], 1));
                let patience = Duration::from_micros(rng.below(400));
                let direction = Direction::Incoming;
                let _ = handle.stream_add(ours.into(), address, direction, None, patience);
            }
            2 => {
                let _ = handle.metrics(Duration::from_micros(rng.below(4000)));
            }
            _ => {
                let _ = handle.tell(any(&mut rng));
            }
        }
    }
}

#[test]
fn a_socket_that_is_handed_over_is_a_stream_that_is_added() {
    let (mut turns, handle) = build(16, Backpressure::Block);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            let (direction, patience) = (Direction::Incoming, Duration::from_secs(60));
            let added = handle.stream_add(ours.into(), address, direction, None, patience);
            assert!(added.is_err(), "this host has no sockets");
        });
        while !caller.is_finished() {
            turns.turn();
        }
    });
    let metrics = turns.metrics();
    assert_eq!(metrics.types[Type::STREAM_ADD.index()].figures.count, 1);
    assert_sums(&metrics, false);
}

#[test]
fn coalesced_shutdowns_are_all_counted() {
    let (mut turns, handle) = build(16, Backpressure::Reject);
    for _ in 0..5 {
        handle.tell(message(Type::SHUTDOWN.index())).unwrap();
    }
    turns.turn();
    let metrics = turns.metrics();
    assert_eq!(metrics.types[Type::SHUTDOWN.index()].figures.count, 5);
    assert_sums(&metrics, false);
}

#[test]
fn samples_are_spread_whatever_the_rhythm() {
    for step in [1, 2, 16, 31, 32, 33, 64, 100] {
        let samples = (0..64_000).filter(|at| is_sample(at * step)).count();
        assert!((900..1100).contains(&samples), "each {step}th: {samples}");
    }
    assert!(is_sample(0), "the first of an account is always one");
}

#[test]
fn jobs_add_up_whatever_the_host_says() {
    let mut figures = Figures::default();
    for _ in 0..5 {
        figures.note_work(&Job::Close);
        figures.note_store();
    }
    figures.note_done(&Outcome::Closed);
    figures.note_done(&Outcome::Cancelled(Job::Close));
    let close = |running| HostFigures {
        jobs: vec![crate::metrics::JobsAtWork {
            kind: "close",
            running,
        }],
        devices: Vec::new(),
    };
    for host in [close(0), close(2), close(9), HostFigures::default()] {
        for row in figures.job_rows(&host) {
            let of = row.figures;
            assert_eq!(
                of.submitted,
                of.completed + of.failed + of.cancelled + of.queued + of.running,
                "{host:?}"
            );
        }
    }
    let rows = figures.job_rows(&close(2));
    let row = rows.iter().find(|row| row.kind == "close").unwrap();
    assert_eq!((row.figures.completed, row.figures.cancelled), (1, 1));
    assert_eq!((row.figures.running, row.figures.queued), (2, 1));
    let store = rows.iter().find(|row| row.kind == "store").unwrap();
    assert_eq!((store.figures.running, store.figures.queued), (5, 0));
}

#[test]
fn all_of_it_fits_a_quarter_of_a_mebibyte() {
    let bytes = Figures::default().bytes();
    assert!(bytes <= 256 << 10, "{bytes}");
    println!("metrics take {bytes} bytes");
}
