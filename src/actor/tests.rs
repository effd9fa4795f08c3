mod callers;

use std::collections::BTreeMap;
use std::io::IoSlice;

use super::bus::{Filter, NoEvent};
use super::figures::Type;
use super::mailbox::Wake;
use super::reply::AskError;
use super::*;
use crate::config::Backpressure;
use crate::engine::message::{
    Answer, Done, Fetch, Frame, Job, Message, Outcome, Refusal, Storage, StoreJob,
};
use crate::events::{Event, Torrent};
use crate::ids::{InfoHash, JobId, ReplyId, SessionId, SocketId};
use crate::rng::Rng;
use crate::time::Clock;

/// One end of a stream in memory.
#[derive(Debug, Default)]
struct Pipe {
    /// What can be read.
    inward: VecDeque<u8>,
    ended: bool,
    /// A read gives at most so many bytes, when not 0.
    step: usize,
    endless: bool,
    outward: Vec<u8>,
    /// How many more bytes can be written.
    window: usize,
    /// A write takes at most so many bytes, when not 0.
    gulp: usize,
    closed: Option<bool>,
    reads: usize,
    writes: usize,
}

/// A world in memory.
#[derive(Debug, Default)]
struct World {
    now: Instant,
    found: Vec<Ready>,
    timeouts: Vec<Option<Duration>>,
    pipes: BTreeMap<StreamId, Pipe>,
    dials_fail: bool,
    incoming: u64,
    datagrams: u64,
    finished: VecDeque<Finished>,
    works: usize,
}

impl World {
    fn pipe(&mut self, stream: StreamId) -> &mut Pipe {
        self.pipes.entry(stream).or_default()
    }

    fn feed(&mut self, stream: StreamId, bytes: &[u8]) {
        self.pipe(stream).inward.extend(bytes);
        self.found.push(Ready::Readable(stream));
    }

    fn open_window(&mut self, stream: StreamId, bytes: usize) {
        self.pipe(stream).window += bytes;
        self.found.push(Ready::Writable(stream));
    }
}

impl Host for World {
    fn now(&mut self) -> Instant {
        self.now
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) {
        self.timeouts.push(timeout);
        ready.append(&mut self.found);
    }

    fn next_incoming(&mut self) -> Option<(SocketId, SocketAddr)> {
        self.incoming = self.incoming.checked_sub(1)?;
        Some((SocketId(self.incoming), address()))
    }

    fn accept(&mut self, _socket: SocketId, stream: StreamId) {
        self.pipe(stream).window = usize::MAX;
    }

    fn refuse(&mut self, _socket: SocketId) {}

    fn dial(&mut self, stream: StreamId, _to: SocketAddr) -> io::Result<()> {
        if self.dials_fail {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        self.pipe(stream);
        self.found.push(Ready::Connected(stream));
        Ok(())
    }

    fn read(&mut self, stream: StreamId, bytes: &mut [u8]) -> io::Result<usize> {
        let pipe = self.pipe(stream);
        pipe.reads += 1;
        if pipe.endless {
            return Ok(bytes.len());
        }
        if pipe.inward.is_empty() {
            return if pipe.ended {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let step = if pipe.step == 0 {
            usize::MAX
        } else {
            pipe.step
        };
        let length = pipe.inward.len().min(bytes.len()).min(step);
        for (to, from) in bytes.iter_mut().zip(pipe.inward.drain(..length)) {
            *to = from;
        }
        Ok(length)
    }

    fn write(&mut self, stream: StreamId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let pipe = self.pipe(stream);
        pipe.writes += 1;
        let mut room = pipe.window;
        if pipe.gulp > 0 {
            room = room.min(pipe.gulp);
        }
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken = 0;
        for slice in slices {
            let part = slice.len().min(room - taken);
            pipe.outward.extend_from_slice(&slice[..part]);
            taken += part;
        }
        pipe.window -= taken;
        Ok(taken)
    }

    fn close(&mut self, stream: StreamId, clean: bool) {
        self.pipe(stream).closed = Some(clean);
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize)> {
        self.datagrams = self.datagrams.checked_sub(1)?;
        bytes[0] = 1;
        Some((address(), 1))
    }

    fn send_to(&mut self, _to: SocketAddr, _bytes: &[u8]) {}

    fn work(&mut self, work: Work) -> Option<Done> {
        self.works += 1;
        Some(Done {
            id: work.id,
            session: work.session,
            outcome: Outcome::Closed,
        })
    }

    fn store(&mut self, _job: StoreJob) {}

    fn fetch(&mut self, _fetch: Fetch) {}

    fn finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }
}

/// A host that sleeps for real, until rung.
struct Asleep {
    clock: Clock,
    rung: crossbeam_channel::Receiver<()>,
    inner: World,
}

impl Host for Asleep {
    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    fn poll(&mut self, timeout: Option<Duration>, _ready: &mut Vec<Ready>) {
        let _ = self
            .rung
            .recv_timeout(timeout.unwrap_or(Duration::from_secs(60)));
    }

    fn next_incoming(&mut self) -> Option<(SocketId, SocketAddr)> {
        None
    }

    fn accept(&mut self, socket: SocketId, stream: StreamId) {
        self.inner.accept(socket, stream);
    }

    fn refuse(&mut self, _socket: SocketId) {}
    fn dial(&mut self, stream: StreamId, to: SocketAddr) -> io::Result<()> {
        self.inner.dial(stream, to)
    }

    fn read(&mut self, stream: StreamId, bytes: &mut [u8]) -> io::Result<usize> {
        self.inner.read(stream, bytes)
    }

    fn write(&mut self, stream: StreamId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.write(stream, slices)
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

/// A core that echoes frames, keeps a diary, and asks for what a test tells it to.
#[derive(Debug, Default)]
struct Echo {
    outputs: VecDeque<Output>,
    deadline: Option<Instant>,
    counters: EngineCounters,
    /// Unfinished frame of each stream: a length byte, then so many bytes.
    tails: BTreeMap<StreamId, Vec<u8>>,
    frames: Vec<Vec<u8>>,
    received: BTreeMap<StreamId, usize>,
    sent: BTreeMap<StreamId, usize>,
    blocks: Vec<u8>,
    lost: Vec<(StreamId, LostReason)>,
    connected: Vec<StreamId>,
    messages: Vec<&'static str>,
    waiting: Vec<ReplyId>,
    dones: usize,
    ticks: usize,
    datagrams: usize,
    incoming: u32,
    listening: Vec<SocketAddr>,
    echo: bool,
    /// Every finished job asks for another.
    restless: bool,
}

impl Core for Echo {
    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        match input {
            Input::Tick => {
                self.ticks += 1;
                self.deadline = None;
            }
            Input::Message { message, reply } => self.on_message(message, reply),
            Input::Listening { addresses } => self.listening = addresses,
            Input::Incoming { socket, .. } => {
                let stream = StreamId::new(1000 + self.incoming, 0);
                self.incoming += 1;
                self.outputs.push_back(Output::Accept { socket, stream });
            }
            Input::Connected { stream } => self.connected.push(stream),
            Input::Received { stream, bytes } => self.on_bytes(stream, bytes),
            Input::Sent {
                stream,
                bytes,
                blocks,
            } => {
                *self.sent.entry(stream).or_default() += bytes;
                self.blocks.extend(blocks.drain(..).map(|block| block[0]));
            }
            Input::Lost { stream, why } => self.lost.push((stream, why)),
            Input::Datagram { .. } | Input::Datagrams { .. } => self.datagrams += 1,
            Input::Done(_) => {
                self.dones += 1;
                if self.restless {
                    self.outputs.push_back(read_job());
                }
            }
            Input::Stored(_) | Input::Fetched(_) => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn counters(&self) -> EngineCounters {
        self.counters
    }
}

impl Echo {
    fn on_message(&mut self, message: Message, reply: Option<ReplyId>) {
        let (name, answer) = match message {
            Message::EngineShow => ("engine", Some(Answer::Engine(Box::default()))),
            Message::SessionShow { .. } => ("show", Some(Answer::Refused(Refusal::UnknownSession))),
            // Answered when the test says so.
            Message::SessionRemove { .. } => ("remove", None),
            Message::SessionPause { .. } => {
                self.outputs
                    .push_back(Output::Event(Event::TorrentAdded(Torrent {
                        info_hash: InfoHash([0; 20]),
                        name: String::new(),
                    })));
                ("pause", Some(Answer::Done))
            }
            Message::Shutdown { .. } => {
                self.outputs
                    .push_back(Output::Stopped(ShutdownReport::default()));
                ("shutdown", Some(Answer::Done))
            }
            _ => ("other", Some(Answer::Done)),
        };
        self.messages.push(name);
        match (reply, answer) {
            (Some(reply), Some(answer)) => self.outputs.push_front(Output::Reply { reply, answer }),
            (Some(reply), None) => self.waiting.push(reply),
            (None, _) => {}
        }
    }

    fn on_bytes(&mut self, stream: StreamId, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        *self.received.entry(stream).or_default() += bytes.len();
        if !self.echo {
            return;
        }
        let tail = self.tails.entry(stream).or_default();
        tail.extend_from_slice(bytes);
        while let Some(&length) = tail.first() {
            let end = 1 + usize::from(length);
            if tail.len() < end {
                return;
            }
            let frame: Vec<u8> = tail.drain(..end).collect();
            self.frames.push(frame.clone());
            let frame = Frame::Bytes(frame);
            self.outputs.push_back(Output::Send { stream, frame });
        }
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 6881))
}

fn read_job() -> Output {
    use crate::codec::geometry::Geometry;
    use crate::codec::layout::Layout;
    use crate::engine::message::ReadRun;
    let stream = StreamId::new(0, 0);
    Output::Work(Work {
        id: JobId(1),
        session: SessionId::new(0, 0),
        storage: Arc::new(Storage {
            info_hash: InfoHash([0; 20]),
            layout: Layout {
                root: std::path::PathBuf::new(),
                files: Vec::new(),
                geometry: Geometry::new(1, 1).expect("one piece of one byte"),
            },
            piece_hashes: Arc::new([]),
        }),
        job: Job::Read(ReadRun {
            stream,
            offset: 0,
            parts: Vec::new(),
            expected: Vec::new(),
        }),
    })
}

fn block(mark: u8, length: u32) -> Frame {
    let mut block = Block::new();
    block[..length as usize].fill(mark);
    Frame::Block {
        head: [mark; 13],
        block,
        length,
    }
}

fn build() -> (Loop<World, Echo>, Handle) {
    build_with(Options {
        capacity: 4096,
        policy: Backpressure::Reject,
        patience: Duration::ZERO,
        clock: Clock::start(),
        stamped: false,
    })
}

fn build_with(options: Options) -> (Loop<World, Echo>, Handle) {
    let wake: Box<dyn Wake> = Box::new(|| {});
    let doorbell = Arc::new(Doorbell::new(wake));
    let echo = Echo {
        echo: true,
        ..Echo::default()
    };
    Loop::new(World::default(), echo, vec![address()], options, doorbell)
}

/// A loop with `count` streams that are up and can be written.
fn connected(count: u32) -> (Loop<World, Echo>, Handle, Vec<StreamId>) {
    let (mut turns, handle) = build();
    let streams: Vec<_> = (0..count).map(|slot| StreamId::new(slot, 1)).collect();
    for &stream in &streams {
        let to = address();
        turns.core.outputs.push_back(Output::Dial { stream, to });
    }
    turns.turn();
    turns.turn();
    assert_eq!(turns.core.connected, streams);
    for &stream in &streams {
        turns.host.open_window(stream, usize::MAX / 2);
    }
    settle(&mut turns);
    (turns, handle, streams)
}

fn settle(turns: &mut Loop<World, Echo>) {
    for _ in 0..10_000 {
        turns.turn();
        if turns.host.found.is_empty() && turns.wanted() != Wanted::Now {
            return;
        }
    }
    panic!("the loop does not come to rest");
}

fn show() -> Message {
    Message::SessionShow {
        session: SessionId::new(0, 0),
    }
}

#[test]
fn frames_cut_at_any_byte_arrive_and_leave_whole() {
    let frames: [&[u8]; 4] = [&[0], &[3, 1, 2, 3], &[1, 9], &[5, 5, 4, 3, 2, 1]];
    let bytes = frames.concat();
    for cut in 1..bytes.len() {
        for (step, gulp) in [(0, 0), (1, 0), (0, 1), (3, 2)] {
            let (mut turns, _handle, streams) = connected(1);
            let stream = streams[0];
            turns.host.pipe(stream).step = step;
            turns.host.pipe(stream).gulp = gulp;
            turns.host.feed(stream, &bytes[..cut]);
            settle(&mut turns);
            turns.host.feed(stream, &bytes[cut..]);
            settle(&mut turns);
            assert_eq!(turns.core.frames, frames, "cut at {cut}");
            assert_eq!(turns.host.pipe(stream).outward, bytes, "cut at {cut}");
            assert_eq!(turns.core.sent[&stream], bytes.len());
        }
    }
}

#[test]
fn any_mix_of_frames_and_partial_writes_keeps_order_and_returns_every_block_once() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let (mut turns, _handle, streams) = connected(1);
        let stream = streams[0];
        turns.host.pipe(stream).window = 0;
        let mut want = Vec::new();
        let mut marks = Vec::new();
        for round in 0..60_u8 {
            for part in 0..rng.below(4) {
                let mark = round
                    .wrapping_mul(4)
                    .wrapping_add(u8::try_from(part).unwrap());
                let frame = match rng.below(4) {
                    0 => Frame::Small {
                        length: 5,
                        bytes: [mark; 68],
                    },
                    1 => Frame::Bytes(vec![mark; rng.index(2000)]),
                    _ => {
                        marks.push(mark);
                        let length = 1 + u32::try_from(rng.below(16_384)).unwrap();
                        block(mark, length)
                    }
                };
                want.resize(want.len() + frame.len(), mark);
                turns.core.outputs.push_back(Output::Send { stream, frame });
            }
            turns.host.pipe(stream).gulp = rng.index(3) * rng.index(40_000);
            let window = rng.index(60_000);
            if window > 0 {
                turns.host.open_window(stream, window);
            }
            settle(&mut turns);
        }
        turns.host.open_window(stream, usize::MAX / 2);
        settle(&mut turns);
        assert_eq!(turns.host.pipe(stream).outward, want, "seed {seed}");
        assert_eq!(turns.core.sent[&stream], want.len(), "seed {seed}");
        assert_eq!(turns.core.blocks, marks, "seed {seed}");
    }
}

#[test]
fn many_small_frames_and_blocks_leave_in_one_write() {
    let (mut turns, _handle, streams) = connected(1);
    let stream = streams[0];
    let before = turns.host.pipe(stream).writes;
    for mark in 0..30 {
        let frame = Frame::Small {
            length: 9,
            bytes: [mark; 68],
        };
        turns.core.outputs.push_back(Output::Send { stream, frame });
        let frame = block(mark, 16_384);
        turns.core.outputs.push_back(Output::Send { stream, frame });
    }
    settle(&mut turns);
    assert_eq!(turns.host.pipe(stream).writes - before, 1);
    assert_eq!(turns.core.blocks.len(), 30);
    assert!(turns.streams.remove(stream, &mut Vec::new()).unwrap());
}

#[test]
fn a_turn_writes_so_much_and_the_streams_take_turns() {
    let (mut turns, _handle, streams) = connected(40);
    let rounds = 3;
    for &stream in &streams {
        for mark in 0..30 * rounds {
            let frame = block(mark, 16_384);
            turns.core.outputs.push_back(Output::Send { stream, frame });
        }
    }
    let frames = |turns: &mut Loop<World, Echo>| -> Vec<usize> {
        let written = |stream: &StreamId| turns.host.pipe(*stream).outward.len() / (13 + 16_384);
        streams.iter().map(written).collect()
    };
    let one = 64 * (13 + 16_384);
    for _ in 0..1000 {
        let before: usize = frames(&mut turns).iter().sum();
        turns.turn();
        let now = frames(&mut turns);
        let (least, most) = (now.iter().min().unwrap(), now.iter().max().unwrap());
        assert!(most - least <= 64, "none is two writes ahead: {now:?}");
        let written = (now.iter().sum::<usize>() - before) * (13 + 16_384);
        assert!(written <= WRITE_BYTES_MAX + one, "{written}");
        if *least == 30 * usize::from(rounds) {
            settle(&mut turns);
            assert_eq!(turns.core.blocks.len(), 40 * 30 * usize::from(rounds));
            return;
        }
        assert_eq!(turns.wanted(), Wanted::Now, "what waits is not forgotten");
    }
    panic!("it is never all written");
}

#[test]
fn a_closed_stream_is_written_once_more_and_gives_its_blocks_back() {
    for window in [0, 1, 20_000, usize::MAX / 2] {
        let (mut turns, _handle, streams) = connected(1);
        let stream = streams[0];
        turns.host.pipe(stream).window = window;
        for mark in [1, 2, 3] {
            let frame = block(mark, 16_384);
            turns.core.outputs.push_back(Output::Send { stream, frame });
        }
        turns.core.outputs.push_back(Output::Close { stream });
        // A frame too late is harmless, and its block comes back too.
        let frame = block(4, 1);
        turns.core.outputs.push_back(Output::Send { stream, frame });
        settle(&mut turns);
        let written = window.min(3 * (13 + 16_384));
        let mut blocks = turns.core.blocks.clone();
        blocks.sort_unstable();
        assert_eq!(blocks, [1, 2, 3, 4], "window {window}");
        assert_eq!(turns.core.sent.get(&stream), Some(&written));
        let clean = written == 3 * (13 + 16_384);
        assert_eq!(turns.host.pipe(stream).closed, Some(clean));
        assert!(turns.core.lost.is_empty(), "never after a close");
        assert_eq!(turns.streams.open(), 0);
    }
}

#[test]
fn a_hang_up_is_told_once_and_gives_the_blocks_back() {
    let (mut turns, _handle, streams) = connected(1);
    let stream = streams[0];
    turns.host.pipe(stream).window = 0;
    let frame = block(7, 16_384);
    turns.core.outputs.push_back(Output::Send { stream, frame });
    settle(&mut turns);
    turns.host.pipe(stream).ended = true;
    turns.host.found.push(Ready::Readable(stream));
    turns.host.found.push(Ready::Writable(stream));
    turns
        .host
        .found
        .push(Ready::Failed(stream, LostReason::Reset));
    turns.core.outputs.push_back(Output::Close {
        stream: StreamId::new(0, 9),
    });
    settle(&mut turns);
    assert_eq!(turns.core.lost.len(), 1);
    assert_eq!(turns.core.blocks, [7]);
}

#[test]
fn a_dial_that_fails_at_once_is_told_like_any_other() {
    let (mut turns, _handle) = build();
    turns.host.dials_fail = true;
    let stream = StreamId::new(0, 0);
    let to = address();
    turns.core.outputs.push_back(Output::Dial { stream, to });
    settle(&mut turns);
    assert_eq!(turns.core.lost, [(stream, LostReason::Unreachable)]);
    assert_eq!(turns.core.listening, [address()]);
}

#[test]
fn a_held_stream_is_not_read_until_it_may_go_on() {
    let (mut turns, _handle, streams) = connected(2);
    let hold = |hold| Output::Hold {
        stream: streams[0],
        hold,
    };
    turns.core.outputs.push_back(hold(true));
    settle(&mut turns);
    for &stream in &streams {
        turns.host.feed(stream, &[1, 1]);
    }
    settle(&mut turns);
    assert_eq!(turns.core.received.get(&streams[0]), None);
    assert_eq!(turns.core.received[&streams[1]], 2);
    turns.core.outputs.push_back(hold(false));
    settle(&mut turns);
    assert_eq!(turns.core.received[&streams[0]], 2);
}

#[test]
fn a_flood_of_one_source_does_not_starve_the_others() {
    let (mut turns, handle, streams) = connected(4);
    turns.core.echo = false;
    turns.core.restless = true;
    turns.core.outputs.push_back(read_job());
    let flooder = streams[0];
    turns.host.pipe(flooder).endless = true;
    turns.host.found.push(Ready::Readable(flooder));
    for turn in 1..=20_usize {
        // Everything at once: messages in every lane, sockets, datagrams, finished jobs, jobs done on the spot.
        while handle.tell(show()).is_ok() {}
        turns.host.incoming = 10_000;
        turns.host.datagrams = 10_000;
        turns.host.found.extend([Ready::Incoming, Ready::Datagrams]);
        for _ in 0..1000 {
            turns.host.finished.push_back(Finished::Done(Done {
                id: JobId(0),
                session: SessionId::new(0, 0),
                outcome: Outcome::Closed,
            }));
        }
        for &stream in &streams[1..] {
            turns.host.feed(stream, &[1, 1]);
        }
        turns.core.deadline = Some(turns.host.now);
        turns.turn();
        assert_eq!(turns.core.ticks, turn, "timers fire each turn");
        assert!(turns.core.messages.len() >= turn * 256);
        assert!(turns.core.datagrams >= turn * DATAGRAMS_MAX);
        assert!(turns.core.incoming as usize >= turn * ACCEPTS_MAX);
        assert!(turns.core.dones >= turn * FINISHED_MAX);
        for &stream in &streams[1..] {
            assert_eq!(turns.core.received[&stream], turn * 2, "{stream}");
        }
        assert_eq!(turns.core.received[&flooder], turn * SCRATCH_BYTES);
        assert_eq!(turns.wanted(), Wanted::Now);
    }
}

#[test]
fn low_messages_are_served_while_higher_lanes_overflow() {
    let (mut turns, handle) = build();
    let _ = handle.tell(Message::EngineShow);
    for _ in 0..3 {
        let session = SessionId::new(0, 0);
        while handle.tell(Message::SessionResume { session }).is_ok() {}
        turns.turn();
    }
    assert!(turns.core.messages.contains(&"engine"));
}

#[test]
fn a_turn_with_nothing_to_do_waits_for_the_next_timer() {
    let (mut turns, handle, _streams) = connected(1);
    turns.core.deadline = Some(Instant::from_micros(5000));
    assert_eq!(turns.wanted(), Wanted::At(Instant::from_micros(5000)));
    turns.host.timeouts.clear();
    turns.host.now = Instant::from_micros(2000);
    turns.turn();
    turns.turn();
    let span = Duration::from_micros(3000);
    assert_eq!(turns.host.timeouts[1], Some(span));
    turns.core.deadline = None;
    turns.turn();
    assert_eq!(turns.host.timeouts[2], None, "for ever");
    handle.tell(show()).unwrap();
    assert_eq!(turns.wanted(), Wanted::Now);
    turns.turn();
    assert_eq!(turns.host.timeouts[3], Some(Duration::ZERO));
}

#[test]
fn a_subscriber_sees_the_events_of_what_it_sent_afterwards() {
    let (mut turns, handle) = build();
    let session = SessionId::new(0, 0);
    handle.tell(Message::SessionPause { session }).unwrap();
    settle(&mut turns);
    let events = handle.subscribe(Filter::ALL);
    handle.tell(Message::SessionPause { session }).unwrap();
    settle(&mut turns);
    assert_eq!(events.try_next().unwrap().seq, 2);
    assert_eq!(events.try_next(), Err(NoEvent::Empty));
    drop(turns);
    assert_eq!(events.try_next(), Err(NoEvent::Ended));
    assert_eq!(
        handle.subscribe(Filter::ALL).try_next(),
        Err(NoEvent::Ended)
    );
}

#[test]
#[allow(clippy::disallowed_methods, reason = "callers are other threads")]
fn callers_get_answers_late_ones_are_counted_and_the_end_strands_nobody() {
    let clock = Clock::start();
    let options = Options {
        capacity: 64,
        policy: Backpressure::Block,
        patience: Duration::from_secs(10),
        clock,
        stamped: true,
    };
    let (ring, rung) = crossbeam_channel::bounded(1);
    let wake: Box<dyn Wake> = Box::new(move || {
        let _ = ring.try_send(());
    });
    let host = Asleep {
        clock,
        rung,
        inner: World::default(),
    };
    let doorbell = Arc::new(Doorbell::new(wake));
    let (turns, handle) = Loop::new(host, Echo::default(), Vec::new(), options, doorbell);
    let actor = std::thread::spawn(move || turns.run().0);

    let patience = Duration::from_secs(30);
    for _ in 0..100 {
        let answer = handle.ask(show(), patience).unwrap();
        assert!(matches!(answer, Answer::Refused(Refusal::UnknownSession)));
    }
    // Never answered by this core: taken, then given up.
    let session = SessionId::new(0, 0);
    let unanswered = handle.ask(
        Message::SessionRemove { session },
        Duration::from_millis(50),
    );
    assert_eq!(unanswered.unwrap_err(), AskError::Unknown);
    let stranded = {
        let handle = handle.clone();
        std::thread::spawn(move || handle.ask(Message::SessionRemove { session }, patience))
    };
    loop {
        let metrics = handle.metrics(patience).unwrap();
        let removes = metrics.types.iter().find(|t| t.name == "session_remove");
        if removes.unwrap().figures.count == 2 {
            assert_eq!(metrics.messages.error_count, 100);
            assert!(metrics.messages.sync_operations >= 103);
            break;
        }
    }
    let shutdown = Message::Shutdown { budget: patience };
    assert!(matches!(handle.ask(shutdown, patience), Ok(Answer::Done)));
    assert_eq!(actor.join().unwrap(), ShutdownReport::default());
    assert_eq!(stranded.join().unwrap().unwrap_err(), AskError::Stopped);
    assert_eq!(handle.ask(show(), patience).unwrap_err(), AskError::Stopped);
    assert!(matches!(
        handle.tell(show()),
        Err(handle::SendError::Stopped(_))
    ));
}

#[test]
fn a_loop_does_not_wait_for_itself() {
    let (turns, handle) = build();
    turns.inbox.adopt_thread();
    assert_eq!(
        handle.ask(show(), Duration::from_secs(9)).unwrap_err(),
        AskError::WouldDeadlock
    );
}

#[test]
fn a_reply_id_is_good_for_one_answer() {
    let (mut turns, _handle) = build();
    let slots = reply::Slots::new();
    let (first, reply) = slots.open(Instant::FAR);
    let id = turns.askers.insert(Type::METRICS, reply);
    assert!(turns.askers.answer(id, Answer::Done).is_some());
    let (second, reply) = slots.open(Instant::FAR);
    let newer = turns.askers.insert(Type::METRICS, reply);
    assert_ne!(id, newer);
    assert!(
        turns.askers.answer(id, Answer::Done).is_none(),
        "a late answer finds nothing"
    );
    assert!(turns.askers.answer(newer, Answer::Done).is_some());
    drop((first, second));
}
