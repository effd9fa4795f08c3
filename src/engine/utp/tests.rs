//! Connections over a network in a few lines: delay, loss, doubles, reordering, and a line with a rate and a queue.

mod line;
mod strangers;
mod transfer;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::connection::Connection;
use super::{Got, News, Utp, World};
use crate::buffer::Pool;
use crate::engine::message::{Frame, LostReason, Output};
use crate::engine::shared::TimerKey;
use crate::engine::timers::Timers;
use crate::ids::StreamId;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// What happens to datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// One way.
    delay: Duration,
    /// Up to so much later, each for itself: they overtake each other.
    jitter: Duration,
    loss_per_mille: u64,
    double_per_mille: u64,
    /// Longer ones are lost.
    datagram_max: usize,
}

impl Path {
    const fn new(delay_millis: u64) -> Self {
        Self {
            delay: Duration::from_millis(delay_millis),
            jitter: Duration::ZERO,
            loss_per_mille: 0,
            double_per_mille: 0,
            datagram_max: 1472,
        }
    }
}

/// A line that all datagrams to one side share.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Bytes a second.
    rate: u64,
    /// Bytes that wait at most; more are dropped.
    queue: u64,
    free_at: Instant,
    /// The longest wait since it was last asked.
    longest: Duration,
}

impl Line {
    fn new(rate: u64, queue: u64) -> Self {
        Self {
            rate,
            queue,
            free_at: Instant::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// When a datagram has passed, unless it is dropped.
    fn pass(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let waits = self.free_at.since(now);
        let micros = u64::try_from(waits.as_micros()).unwrap();
        if micros * self.rate / 1_000_000 > self.queue {
            return None;
        }
        self.longest = self.longest.max(waits);
        let takes = Duration::from_micros((length as u64 + 28) * 1_000_000 / self.rate);
        self.free_at = self.free_at.max(now) + takes;
        Some(self.free_at)
    }
}

/// One host.
pub(super) struct Side {
    address: SocketAddr,
    utp: Utp,
    timers: Timers<TimerKey>,
    outputs: VecDeque<Output>,
    pool: Pool,
    rng: Rng,
    /// How far its clock is ahead.
    skew: Duration,
    next_stream: u32,
    /// What came, by stream.
    got: BTreeMap<StreamId, Vec<u8>>,
    /// How much came, of those that are only counted.
    counted: BTreeMap<StreamId, u64>,
    counts_only: bool,
    connected: Vec<StreamId>,
    accepted: Vec<StreamId>,
    lost: Vec<(StreamId, LostReason)>,
    datagrams_sent: u64,
    closed_to_new: bool,
}

impl Side {
    fn stream(&mut self) -> StreamId {
        self.next_stream += 1;
        StreamId::new(self.next_stream, 1)
    }

    fn world(&mut self, now: Instant) -> (&mut Utp, World<'_>) {
        let world = World {
            now: now + self.skew,
            rng: &mut self.rng,
            timers: &mut self.timers,
            outputs: &mut self.outputs,
            pool: &mut self.pool,
        };
        (&mut self.utp, world)
    }

    fn of(&self, stream: StreamId) -> &Connection {
        self.utp.of(stream).expect("it is there")
    }
}

/// All hosts, and what is between them.
pub(super) struct Net {
    now: Instant,
    rng: Rng,
    path: Path,
    lines: BTreeMap<usize, Line>,
    sides: Vec<Side>,
    under_way: BTreeMap<(Instant, u64), (SocketAddr, usize, Vec<u8>)>,
    sequence: u64,
    /// Whether nothing passes at all.
    cut: bool,
}

impl Net {
    fn new(seed: u64, path: Path, sides: usize) -> Self {
        let mut rng = Rng::new(seed);
        let side = |at: usize| Side {
            address: SocketAddr::from(([10, 0, 0, u8::try_from(at).unwrap()], 6881)),
            utp: Utp::new(64 << 20),
            timers: Timers::new(),
            outputs: VecDeque::new(),
            pool: Pool::new(0),
            rng: rng.fork(),
            skew: Duration::from_secs(4000 * at as u64),
            next_stream: 0,
            got: BTreeMap::new(),
            counted: BTreeMap::new(),
            counts_only: false,
            connected: Vec::new(),
            accepted: Vec::new(),
            lost: Vec::new(),
            datagrams_sent: 0,
            closed_to_new: false,
        };
        let sides = (0..sides).map(side).collect();
        Self {
            now: Instant::from_micros(1_000_000),
            rng,
            path,
            lines: BTreeMap::new(),
            sides,
            under_way: BTreeMap::new(),
            sequence: 0,
            cut: false,
        }
    }

    fn dial(&mut self, from: usize, to: usize) -> StreamId {
        let (now, to) = (self.now, self.sides[to].address);
        let stream = self.sides[from].stream();
        let (utp, mut world) = self.sides[from].world(now);
        utp.dial(&mut world, stream, to);
        self.collect(from);
        stream
    }

    fn send(&mut self, from: usize, stream: StreamId, bytes: Vec<u8>) {
        let frame = Frame::Bytes(bytes);
        self.tell(from, Output::Send { stream, frame });
    }

    fn tell(&mut self, at: usize, output: Output) {
        let now = self.now;
        let (utp, mut world) = self.sides[at].world(now);
        assert!(utp.divert(&mut world, output).is_none(), "a stream of uTP");
        self.after(at);
    }

    /// Both ends of a connection that is up.
    fn connect(&mut self, from: usize, to: usize) -> (StreamId, StreamId) {
        let ours = self.dial(from, to);
        let before = self.sides[to].accepted.len();
        self.until(Duration::from_secs(30), |net| {
            net.sides[from].connected.contains(&ours)
        });
        self.send(from, ours, b"!".to_vec());
        self.until(Duration::from_secs(30), |net| {
            net.sides[to].accepted.len() > before
        });
        let theirs = self.sides[to].accepted[before];
        self.until(Duration::from_secs(30), |net| {
            let side = &net.sides[to];
            side.counts_only || side.got.contains_key(&theirs)
        });
        self.sides[to].got.remove(&theirs);
        self.sides[to].counted.remove(&theirs);
        (ours, theirs)
    }

    fn until(&mut self, span: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + span;
        while !done(self) {
            assert!(self.step(end), "not within {span:?}");
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
    }

    /// The next thing that happens before `end`.
    fn step(&mut self, end: Instant) -> bool {
        let arrival = self.under_way.first_key_value().map(|(key, _)| key.0);
        let timers = (self.sides.iter())
            .enumerate()
            .filter_map(|(at, side)| Some((side.timers.next_deadline()? - side.skew, at)))
            .min();
        let next = match (arrival, timers) {
            (None, None) => Instant::FAR,
            (Some(at), None) => at,
            (None, Some((at, _))) => at,
            (Some(a), Some((b, _))) => a.min(b),
        };
        if next > end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let (_, (from, to, bytes)) = self.under_way.pop_first().unwrap();
            self.arrive(to, from, &bytes);
            // What arrives in the same moment is one turn.
            let same = |key: &(Instant, u64)| key.0 == next;
            if self
                .under_way
                .first_key_value()
                .is_some_and(|(key, one)| same(key) && one.1 == to)
            {
                return true;
            }
            self.after(to);
        } else if let Some((_, at)) = timers {
            let now = self.now + self.sides[at].skew;
            while let Some(key) = self.sides[at].timers.pop_due(now) {
                let TimerKey::Utp(id) = key else {
                    panic!("only uTP has timers here");
                };
                let (utp, mut world) = self.sides[at].world(next);
                utp.on_timer(&mut world, id);
            }
            self.after(at);
        }
        true
    }

    fn arrive(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        let side = &mut self.sides[to];
        let open = !side.closed_to_new;
        let (utp, mut world) = side.world(now);
        let mut got = utp.on_datagram(&mut world, from, bytes, open);
        if let Got::Offer(offer) = got {
            let stream = side.stream();
            side.accepted.push(stream);
            let (utp, mut world) = side.world(now);
            utp.accept(&mut world, &offer, stream);
            got = utp.on_datagram(&mut world, from, bytes, open);
        }
        if let Got::Payload(stream, at) = got {
            side.hand_on(stream, &bytes[at..]);
        }
        self.hear(to);
    }

    fn hear(&mut self, at: usize) {
        let now = self.now;
        while let Some(news) = self.sides[at].utp.next_news() {
            let side = &mut self.sides[at];
            match news {
                News::Connected(stream) => side.connected.push(stream),
                News::Lost(stream, why) => side.lost.push((stream, why)),
                News::Readable(stream) => {
                    let mut bytes = Vec::new();
                    loop {
                        side.utp.take(stream, &mut bytes);
                        if bytes.is_empty() {
                            break;
                        }
                        side.hand_on(stream, &bytes);
                        bytes.clear();
                    }
                    if side.utp.is_over(stream) {
                        side.lost.push((stream, LostReason::HungUp));
                        let (utp, mut world) = side.world(now);
                        utp.end(&mut world, stream);
                    }
                }
            }
        }
    }

    /// The end of a turn.
    fn after(&mut self, at: usize) {
        let now = self.now;
        self.hear(at);
        let mut turns = 0;
        while self.sides[at].utp.is_marked() {
            let (utp, mut world) = self.sides[at].world(now);
            utp.flush(&mut world);
            while utp.next_sent().is_some() {}
            turns += 1;
            assert!(turns < 1000, "it never comes to an end");
        }
        self.sides[at].utp.check();
        self.collect(at);
    }

    /// Takes what is to be sent.
    fn collect(&mut self, at: usize) {
        while let Some(output) = self.sides[at].outputs.pop_front() {
            match output {
                Output::Datagram { to, bytes } => self.put(at, to, &bytes),
                Output::Datagrams { to, segment, bytes } => {
                    for one in bytes.chunks(segment) {
                        self.put(at, to, one);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn put(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) {
        let side = &mut self.sides[from];
        side.datagrams_sent += 1;
        let from = side.address;
        let Some(to) = self.sides.iter().position(|side| side.address == to) else {
            return;
        };
        if self.cut || bytes.len() > self.path.datagram_max {
            return;
        }
        let copies = match self.rng.below(1000) {
            lot if lot < self.path.loss_per_mille => 0,
            lot if lot < self.path.loss_per_mille + self.path.double_per_mille => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let passed = match self.lines.get_mut(&to) {
                Some(line) => line.pass(self.now, bytes.len()),
                None => Some(self.now),
            };
            let Some(passed) = passed else {
                return;
            };
            let jitter = u64::try_from(self.path.jitter.as_micros()).unwrap();
            let late = Duration::from_micros(self.rng.below(jitter + 1));
            self.sequence += 1;
            let key = (passed + self.path.delay + late, self.sequence);
            self.under_way.insert(key, (from, to, bytes.to_vec()));
        }
    }
}

impl Side {
    fn hand_on(&mut self, stream: StreamId, bytes: &[u8]) {
        if self.counts_only {
            *self.counted.entry(stream).or_default() += bytes.len() as u64;
        } else {
            self.got.entry(stream).or_default().extend_from_slice(bytes);
        }
    }
}

/// Bytes that tell where they are.
pub(super) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Rng::new(seed).fill(&mut bytes);
    bytes
}
