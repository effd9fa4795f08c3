//! Whole engines against each other over a plain in-memory world: one disk, one clock, streams without delay.
//!
//! The simulator does this with faults and latency; here a few nodes meet in a perfect world, so that a failure points at the
//! engine alone.

#![allow(
    clippy::cast_possible_truncation,
    reason = "torrents of a few megabytes"
)]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::Engine;
use super::message::{
    Answer, Checked, Committed, Done, Fault, FaultKind, FileStamp, Frame, Input, Job, LostReason,
    Message, Outcome, Output, Prepared, Progress, Refusal, SessionAdd, SessionState, Space,
    StoreOutcome, StoreTask, Stored, Verdict,
};
use super::settings::Settings;
use crate::codec::geometry::{BLOCK_LENGTH, Geometry, PieceIndex};
use crate::codec::layout::{FileEntry, FileKind};
use crate::codec::metainfo::Metainfo;
use crate::codec::wire::{self, Features, Handshake, Message as Wire, Request};
use crate::config::Config;
use crate::events::Event;
use crate::hash::sha1;
use crate::ids::{InfoHash, PeerId, ReplyId, SessionId, SocketId, StreamId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

mod blocked;
mod changed;
mod counts;
mod cycle;
mod desk;
mod ignore_list;
mod life;
mod model;
mod near;
mod refusals;
mod shared_links;
mod strangers;
mod transport;

/// The other end of a stream that no node of the world holds: a test speaks for it.
const OUTSIDE: usize = usize::MAX;

/// As usual, but that nobody says anything to the network unasked.
fn quiet() -> Config {
    let mut config = Config::default();
    config.discovery.lsd = false;
    config
}

/// One file, `total` bytes from `seed`.
fn torrent(total: usize, piece_length: u32, seed: u64) -> (Arc<Metainfo>, Vec<u8>) {
    let mut data = vec![0; total];
    Rng::new(seed).fill(&mut data);
    let geometry = Geometry::new(total as u64, piece_length).expect("valid");
    let piece_hashes: Vec<_> = data.chunks(piece_length as usize).map(sha1).collect();
    let file = FileEntry {
        path: PathBuf::from("file"),
        length: total as u64,
        offset: 0,
        kind: FileKind::Regular { executable: false },
    };
    let metainfo = Metainfo {
        info_hash: InfoHash(sha1(&seed.to_le_bytes())),
        name: "file".to_owned(),
        files: vec![file],
        geometry,
        piece_hashes: piece_hashes.into(),
        trackers: Vec::new(),
        web_seeds: Vec::new(),
        private: false,
        comment: None,
        creation_date: None,
        created_by: None,
        source: None,
        info: Arc::default(),
    };
    (Arc::new(metainfo), data)
}

struct Node {
    engine: Engine,
    address: SocketAddr,
    disk: Vec<u8>,
    there: bool,
    /// The time of its file: it moves with every write.
    modified: i64,
    row: Option<Progress>,
    events: Vec<Event>,
    replies: Vec<(ReplyId, Answer)>,
    streams: BTreeMap<StreamId, (usize, StreamId)>,
    held: BTreeMap<StreamId, VecDeque<Vec<u8>>>,
    stopped: bool,
    /// Wrong bytes are served from here on.
    lies: bool,
    bytes_out: usize,
    /// Jobs are kept here instead of being done.
    stuck: Option<Vec<super::message::Work>>,
    /// What was said to the outside, and which of its streams were closed.
    said: BTreeMap<StreamId, Vec<u8>>,
    closed: Vec<StreamId>,
    /// Frames to the outside are never taken by the system: their blocks wait here.
    deaf: Option<Vec<crate::buffer::Block>>,
    /// All that was saved, in order.
    rows: Vec<Progress>,
    dialled: Vec<SocketAddr>,
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// What the file system says of itself.
    space: Option<Space>,
    /// What a subscriber who only hears link events thinks of each link: `established` or `ignored`; down where nothing stands.
    heard: BTreeMap<SocketAddr, &'static str>,
}

impl Node {
    /// Takes in an event. A link that is up does not come up again, and one that is down is not lost (requirement D31).
    fn hear(&mut self, event: &Event) {
        match event {
            Event::LinkEstablished(link) => {
                let before = self.heard.insert(link.address, "established");
                assert_ne!(before, Some("established"), "{}", link.address);
            }
            Event::LinkIgnored(link) => {
                self.heard.insert(link.address, "ignored");
            }
            Event::LinkLost(link) => {
                let before = self.heard.remove(&link.address);
                assert_ne!(before, None, "{} was not up", link.address);
            }
            _ => {}
        }
    }

    /// Whoever heard all events knows how every link stands (requirement E7).
    fn compare(&self) {
        let links = &self.engine.table.links;
        for (_, link) in links.iter() {
            let heard = self.heard.get(&link.address()).copied();
            let state = link.state().name();
            match state {
                "disconnected" => assert_eq!(heard, None, "{}", link.address()),
                // A dial is told when it comes to something.
                "connecting" => assert_ne!(heard, Some("established"), "{}", link.address()),
                _ => assert_eq!(heard, Some(state), "{}", link.address()),
            }
        }
        for address in self.heard.keys() {
            assert!(self.engine.table.link_at(*address).is_some(), "{address}");
        }
    }
}

#[derive(Debug)]
enum Pending {
    Accept {
        from: usize,
        stream: StreamId,
        remote: SocketAddr,
    },
    Bytes {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    Connected(StreamId),
    Lost(StreamId, LostReason),
    Done(Done),
    Stored(Stored),
    Sent {
        stream: StreamId,
        bytes: usize,
        blocks: Vec<crate::buffer::Block>,
    },
}

struct World {
    now: Instant,
    nodes: Vec<Node>,
    queue: VecDeque<(usize, Pending)>,
    sockets: BTreeMap<SocketId, (usize, StreamId)>,
    metainfo: Arc<Metainfo>,
    data: Vec<u8>,
}

impl World {
    fn new(total: usize, piece_length: u32) -> Self {
        let (metainfo, data) = torrent(total, piece_length, 7);
        Self {
            now: Instant::ZERO,
            nodes: Vec::new(),
            queue: VecDeque::new(),
            sockets: BTreeMap::new(),
            metainfo,
            data,
        }
    }

    fn node(&mut self, whole: bool) -> usize {
        let index = self.nodes.len();
        self.node_with(whole, index as u64, &quiet())
    }

    fn node_with(&mut self, whole: bool, seed: u64, config: &Config) -> usize {
        let index = self.nodes.len();
        let mut rng = Rng::new(1000 + seed);
        let settings = Settings::new(config, 4, 2, &mut rng);
        let mut engine = Engine::new(settings, rng);
        let address = SocketAddr::from(([10, 0, 0, u8::try_from(index + 1).expect("few")], 6881));
        engine.handle(
            self.now,
            Input::Listening {
                addresses: vec![address],
            },
        );
        let disk = if whole {
            self.data.clone()
        } else {
            vec![0; self.data.len()]
        };
        self.nodes.push(Node {
            engine,
            address,
            disk,
            there: whole,
            modified: 1,
            row: None,
            events: Vec::new(),
            replies: Vec::new(),
            streams: BTreeMap::new(),
            held: BTreeMap::new(),
            stopped: false,
            lies: false,
            bytes_out: 0,
            stuck: None,
            said: BTreeMap::new(),
            closed: Vec::new(),
            deaf: None,
            rows: Vec::new(),
            dialled: Vec::new(),
            datagrams: Vec::new(),
            space: None,
            heard: BTreeMap::new(),
        });
        let add = SessionAdd {
            metainfo: Arc::clone(&self.metainfo),
            root: PathBuf::from("/r"),
            download: !whole,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        };
        self.tell(index, Message::SessionAdd(Box::new(add)));
        index
    }

    fn session(&self, node: usize) -> SessionId {
        self.nodes[node].engine.sessions.ids()[0]
    }

    fn tell(&mut self, node: usize, message: Message) {
        let reply = Some(ReplyId(self.nodes[node].replies.len() as u64));
        self.input(node, Input::Message { message, reply });
    }

    fn meet(&mut self, from: usize, to: usize) {
        let address = self.nodes[to].address;
        let session = self.session(from);
        self.tell(from, Message::PeerAdd { session, address });
    }

    /// Somebody from outside dials `node` and says its handshake and `first`.
    fn guest(&mut self, node: usize, last: u8, first: &[Wire<'_>]) -> StreamId {
        let socket = SocketId(u64::MAX - u64::from(last) - self.now.as_micros() * 256);
        self.sockets
            .insert(socket, (OUTSIDE, StreamId::new(u32::MAX, 0)));
        let before: Vec<StreamId> = self.nodes[node].said.keys().copied().collect();
        let remote = SocketAddr::from(([90, 0, 0, last], 50_000));
        self.input(node, Input::Incoming { socket, remote });
        let is_new = |id: &&StreamId| !before.contains(id);
        let stream = *self.nodes[node].said.keys().find(is_new).expect("accepted");
        let handshake = Handshake {
            features: Features {
                fast: true,
                extended: true,
                dht: false,
            },
            info_hash: self.metainfo.info_hash,
            peer_id: PeerId([last; 20]),
        };
        let mut bytes = handshake.encode().to_vec();
        self.hear(node, stream, &mut bytes);
        self.say(node, stream, first);
        stream
    }

    fn say(&mut self, node: usize, stream: StreamId, messages: &[Wire<'_>]) {
        for message in messages {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            self.hear(node, stream, &mut bytes);
        }
    }

    fn hear(&mut self, node: usize, stream: StreamId, bytes: &mut [u8]) {
        self.input(node, Input::Received { stream, bytes });
    }

    /// What `node` has said to a guest since the last call, its handshake and its extended messages aside, one short name each.
    fn heard(&mut self, node: usize, stream: StreamId) -> Vec<(&'static str, Request)> {
        let said = self.nodes[node].said.get_mut(&stream).expect("a guest");
        let bytes = std::mem::take(said);
        let mut rest = &bytes[..];
        if rest.starts_with(b"\x13Bit") {
            rest = &rest[68..];
        }
        let mut heard = Vec::new();
        while let Some((message, used)) = wire::decode(rest, 1 << 20).expect("well formed") {
            rest = &rest[used..];
            let none = Request {
                index: 0,
                begin: 0,
                length: 0,
            };
            heard.push(match message {
                Wire::Request(request) => ("request", request),
                Wire::Reject(request) => ("reject", request),
                Wire::Cancel(request) => ("cancel", request),
                Wire::Interested => ("interested", none),
                Wire::NotInterested => ("not interested", none),
                _ => continue,
            });
        }
        heard
    }

    /// The blocks that `node` has asked a guest for and not cancelled since the last call.
    fn asked(&mut self, node: usize, stream: StreamId) -> Vec<Request> {
        let heard = self.heard(node, stream);
        let asked = heard.into_iter().filter(|(what, _)| *what == "request");
        asked.map(|(_, request)| request).collect()
    }

    /// A guest sends the block it was asked for, wrong if `lie`.
    fn give(&mut self, node: usize, stream: StreamId, request: Request, lie: bool) {
        let from = request.index as usize * self.metainfo.geometry.piece_length() as usize
            + request.begin as usize;
        let mut block = self.data[from..from + request.length as usize].to_vec();
        if lie {
            block[7] ^= 1;
        }
        let piece = Wire::Piece {
            index: request.index,
            begin: request.begin,
            block: &block,
        };
        self.say(node, stream, &[piece]);
    }

    /// Lets `span` pass for `node`, with all its timers on the way, and nothing else than what is pending.
    fn pass(&mut self, node: usize, span: Duration) {
        let end = self.now + span;
        loop {
            while self.step() {}
            let next = self.nodes[node].engine.next_deadline();
            let next = next.filter(|&at| at <= end);
            self.now = next.unwrap_or(end).max(self.now);
            self.input(node, Input::Tick);
            if next.is_none() {
                return;
            }
        }
    }

    /// The jobs that were kept are done, and from now on all are done at once.
    fn unstick(&mut self, node: usize) {
        for work in self.nodes[node].stuck.take().unwrap_or_default() {
            let outcome = self.run(node, work.job);
            let done = Done {
                id: work.id,
                session: work.session,
                outcome,
            };
            self.queue.push_back((node, Pending::Done(done)));
        }
        while self.step() {}
    }

    fn input(&mut self, node: usize, input: Input<'_>) {
        self.nodes[node].engine.handle(self.now, input);
        self.nodes[node].engine.check();
        self.drain(node);
        self.nodes[node].compare();
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].engine.poll_output() {
            let node = &mut self.nodes[at];
            match output {
                Output::Dial { stream, to } => {
                    let remote = node.address;
                    node.dialled.push(to);
                    match self
                        .nodes
                        .iter()
                        .position(|node| node.address == to && !node.stopped)
                    {
                        Some(other) => self.queue.push_back((
                            other,
                            Pending::Accept {
                                from: at,
                                stream,
                                remote,
                            },
                        )),
                        None => self
                            .queue
                            .push_back((at, Pending::Lost(stream, LostReason::Refused))),
                    }
                }
                Output::Accept { socket, stream } => {
                    let (other, theirs) = self.sockets.remove(&socket).expect("offered");
                    if other == OUTSIDE {
                        self.nodes[at].said.insert(stream, Vec::new());
                        continue;
                    }
                    self.nodes[at].streams.insert(stream, (other, theirs));
                    self.nodes[other].streams.insert(theirs, (at, stream));
                    self.queue.push_back((other, Pending::Connected(theirs)));
                }
                Output::Refuse { socket } => {
                    let (other, theirs) = self.sockets.remove(&socket).expect("offered");
                    if other == OUTSIDE {
                        continue;
                    }
                    self.queue
                        .push_back((other, Pending::Lost(theirs, LostReason::Reset)));
                }
                Output::Send { stream, frame } => {
                    let length = frame.len();
                    let mut blocks = Vec::new();
                    let bytes = match frame {
                        Frame::Small { length, bytes } => bytes[..usize::from(length)].to_vec(),
                        Frame::Bytes(bytes) => bytes,
                        Frame::Block {
                            head,
                            block,
                            length,
                        } => {
                            let mut bytes = head.to_vec();
                            bytes.extend_from_slice(&block[..length as usize]);
                            if node.lies {
                                bytes[20] ^= 0xff;
                            }
                            node.bytes_out += length as usize;
                            blocks.push(block);
                            bytes
                        }
                    };
                    if let Some(said) = node.said.get_mut(&stream) {
                        said.extend_from_slice(&bytes);
                        if let Some(kept) = &mut node.deaf {
                            kept.extend(blocks);
                            continue;
                        }
                    }
                    let to = node.streams.get(&stream).copied();
                    self.queue.push_back((
                        at,
                        Pending::Sent {
                            stream,
                            bytes: length,
                            blocks,
                        },
                    ));
                    if let Some((other, theirs)) = to {
                        self.queue.push_back((
                            other,
                            Pending::Bytes {
                                stream: theirs,
                                bytes,
                            },
                        ));
                    }
                }
                // Scenes of the simulator have limits.
                Output::Meter { .. } => {}
                Output::Hold { stream, hold: true } => {
                    node.held.entry(stream).or_default();
                }
                Output::Hold {
                    stream,
                    hold: false,
                } => {
                    for bytes in node.held.remove(&stream).unwrap_or_default() {
                        self.queue.push_back((at, Pending::Bytes { stream, bytes }));
                    }
                }
                Output::Close { stream } => {
                    node.closed.push(stream);
                    if let Some((other, theirs)) = node.streams.remove(&stream) {
                        self.nodes[other].streams.remove(&theirs);
                        self.queue
                            .push_back((other, Pending::Lost(theirs, LostReason::HungUp)));
                    }
                }
                Output::Work(work) if node.stuck.is_some() => {
                    node.stuck.get_or_insert_default().push(work);
                }
                Output::Work(work) => {
                    let outcome = self.run(at, work.job);
                    let done = Done {
                        id: work.id,
                        session: work.session,
                        outcome,
                    };
                    self.queue.push_back((at, Pending::Done(done)));
                }
                Output::Cancel { session } => {
                    let is_its = |work: &super::message::Work| {
                        work.session == session && work.job.is_cancellable()
                    };
                    let Some(stuck) = &mut node.stuck else {
                        continue;
                    };
                    let (gone, kept) = stuck.drain(..).partition::<Vec<_>, _>(is_its);
                    *stuck = kept;
                    for work in gone {
                        self.queue.push_back((at, Pending::Done(work.cancelled())));
                    }
                }
                Output::Store(job) => {
                    let outcome = match job.task {
                        StoreTask::Load { .. } => {
                            StoreOutcome::Loaded(Ok(node.row.clone().map(Box::new)))
                        }
                        StoreTask::Save(row) => {
                            node.rows.push((*row).clone());
                            node.row = Some(*row);
                            StoreOutcome::Saved(Ok(()))
                        }
                        StoreTask::Release { .. } => StoreOutcome::Released,
                        StoreTask::List => StoreOutcome::Listed(Ok(Vec::new())),
                        StoreTask::Recall => StoreOutcome::Recalled(Ok(Box::default())),
                        StoreTask::RecallNodes => StoreOutcome::Nodes(Ok(Vec::new())),
                        StoreTask::ListGroups => StoreOutcome::Groups(Ok(Vec::new())),
                        StoreTask::Read(_) => StoreOutcome::Read(Vec::new()),
                        StoreTask::Keep(_)
                        | StoreTask::Times(_)
                        | StoreTask::Forget { .. }
                        | StoreTask::KeepGroup(_)
                        | StoreTask::KeepSettings(_)
                        | StoreTask::KeepTotals(_)
                        | StoreTask::KeepNodes(_) => StoreOutcome::Kept(Ok(())),
                    };
                    let stored = Stored {
                        id: job.id,
                        session: job.session,
                        outcome,
                    };
                    self.queue.push_back((at, Pending::Stored(stored)));
                }
                Output::Reply { reply, answer } => node.replies.push((reply, answer)),
                Output::Event(event) => {
                    node.hear(&event);
                    node.events.push(event);
                }
                Output::Stopped(_) => node.stopped = true,
                Output::Datagram { to, bytes } | Output::Datagrams { to, bytes, .. } => {
                    node.datagrams.push((to, bytes));
                }
                Output::Fetch(_) => {}
            }
        }
    }

    fn run(&mut self, at: usize, job: Job) -> Outcome {
        let geometry = self.metainfo.geometry;
        let hashes = Arc::clone(&self.metainfo.piece_hashes);
        let range = |piece: PieceIndex| {
            let from = geometry.piece_offset(piece) as usize;
            from..from + geometry.piece_size(piece) as usize
        };
        let digests_of = |bytes: &[u8]| {
            bytes
                .chunks(BLOCK_LENGTH as usize)
                .map(sha1)
                .collect::<Vec<_>>()
        };
        let node = &mut self.nodes[at];
        let stamp = FileStamp {
            length: node.disk.len() as u64,
            modified_nanos: node.modified,
        };
        match job {
            Job::Prepare { .. } => Outcome::Prepared(Ok(Prepared {
                stamps: vec![node.there.then_some(stamp)],
                space: node.space,
            })),
            Job::Check { pieces, digests } => Outcome::Checked(
                pieces
                    .into_iter()
                    .map(|piece| {
                        let bytes = &node.disk[range(piece)];
                        let verdict = if sha1(bytes) == hashes[piece.index()] {
                            Verdict::Good
                        } else {
                            Verdict::Bad
                        };
                        let digests = if digests {
                            digests_of(bytes)
                        } else {
                            Vec::new()
                        };
                        Checked {
                            piece,
                            verdict,
                            digests,
                        }
                    })
                    .collect(),
            ),
            Job::Commit { pieces } => Outcome::Committed(
                pieces
                    .into_iter()
                    .map(|commit| {
                        let mut bytes: Vec<u8> = commit
                            .blocks
                            .iter()
                            .flat_map(|block| block.to_vec())
                            .collect();
                        bytes.truncate(geometry.piece_size(commit.piece) as usize);
                        let good = sha1(&bytes) == hashes[commit.piece.index()];
                        if good {
                            node.there = true;
                            node.modified += 1;
                            node.disk[range(commit.piece)].copy_from_slice(&bytes);
                        }
                        Committed {
                            piece: commit.piece,
                            blocks: commit.blocks,
                            verdict: if good { Verdict::Good } else { Verdict::Bad },
                            digests: if !good || commit.digests {
                                digests_of(&bytes)
                            } else {
                                Vec::new()
                            },
                        }
                    })
                    .collect(),
            ),
            Job::Write { blocks } => {
                node.there = true;
                node.modified += 1;
                let mut refs = Vec::new();
                let mut buffers = Vec::new();
                for (block, buffer) in blocks {
                    let from = geometry.block_offset(block) as usize;
                    let length = geometry.block_size(block) as usize;
                    node.disk[from..from + length].copy_from_slice(&buffer[..length]);
                    refs.push(block);
                    buffers.push(buffer);
                }
                Outcome::Written {
                    blocks: buffers,
                    refs,
                    result: Ok(()),
                }
            }
            Job::Read(mut run) => {
                let mut from = run.offset as usize;
                for part in &mut run.parts {
                    let length = part.length as usize;
                    part.block[..length].copy_from_slice(&node.disk[from..from + length]);
                    from += length;
                }
                let mut result = Ok(());
                for expected in &mut run.expected {
                    if expected.stamp != stamp {
                        expected.found = Some(stamp);
                        result = Err(Fault {
                            kind: FaultKind::Changed,
                            path: PathBuf::from("/r/file"),
                            message: "changed".to_owned(),
                        });
                    }
                }
                Outcome::Read(run, result)
            }
            Job::Sync { files } => {
                Outcome::Synced(Ok(files.into_iter().map(|file| (file, stamp)).collect()))
            }
            Job::Close => Outcome::Closed,
            Job::Delete => Outcome::Deleted(Ok(())),
            Job::Relocate(relocation) => Outcome::Relocated(relocation, Ok(true)),
            Job::Survey(survey) => panic!("nobody asked for {survey:?}"),
            Job::Blocks(load) => panic!("nobody asked for {load:?}"),
        }
    }

    /// Delivers what is pending; `false` when nothing was.
    fn step(&mut self) -> bool {
        let Some((at, pending)) = self.queue.pop_front() else {
            return false;
        };
        match pending {
            Pending::Accept {
                from,
                stream,
                remote,
            } => {
                let socket = SocketId(
                    self.sockets.len() as u64 + self.now.as_micros() * 1000 + stream.to_word(),
                );
                self.sockets.insert(socket, (from, stream));
                // Ports of diallers are ephemeral.
                let remote = SocketAddr::new(
                    remote.ip(),
                    40_000 + u16::try_from(stream.slot()).expect("few"),
                );
                self.input(at, Input::Incoming { socket, remote });
            }
            Pending::Bytes { stream, mut bytes } => match self.nodes[at].held.get_mut(&stream) {
                Some(held) => held.push_back(bytes),
                None => self.input(
                    at,
                    Input::Received {
                        stream,
                        bytes: &mut bytes,
                    },
                ),
            },
            Pending::Connected(stream) => self.input(at, Input::Connected { stream }),
            Pending::Lost(stream, why) => self.input(at, Input::Lost { stream, why }),
            Pending::Done(done) => self.input(at, Input::Done(done)),
            Pending::Stored(stored) => self.input(at, Input::Stored(stored)),
            Pending::Sent {
                stream,
                bytes,
                mut blocks,
            } => {
                self.input(
                    at,
                    Input::Sent {
                        stream,
                        bytes,
                        blocks: &mut blocks,
                    },
                );
            }
        }
        true
    }

    /// Runs until `done`, moving the clock whenever nothing is pending.
    fn until(&mut self, what: &str, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            if self.step() {
                continue;
            }
            let next = self
                .nodes
                .iter()
                .filter_map(|node| node.engine.next_deadline())
                .min();
            let next = next.unwrap_or(Instant::FAR);
            assert!(
                next <= end,
                "{what}: not within {limit:?}; {:#?}",
                self.show()
            );
            self.now = self.now.max(next);
            for at in 0..self.nodes.len() {
                self.input(at, Input::Tick);
            }
        }
    }

    fn state(&self, at: usize) -> Option<SessionState> {
        self.nodes[at]
            .engine
            .sessions
            .iter()
            .next()
            .map(|(_, session)| session.state())
    }

    fn has_all(&self, at: usize) -> bool {
        self.state(at) == Some(SessionState::Seeding) && self.nodes[at].disk == self.data
    }

    fn show(&self) -> Vec<String> {
        let engines = self.nodes.iter().map(|node| &node.engine);
        engines
            .flat_map(|engine| {
                engine
                    .sessions
                    .iter()
                    .map(move |(_, session)| (engine, session))
            })
            .map(|(engine, session)| {
                let peers: Vec<_> = engine
                    .table
                    .streams
                    .iter()
                    .map(|(_, stream)| stream)
                    .collect();
                format!(
                    "{:?} missing {} open {} free {} peers {peers:?} pool {:?}",
                    session.state(),
                    session.picker.missing(),
                    session.assembly.len(),
                    session.assembly.free(),
                    engine.shared.pool.room(crate::buffer::Share::Receive),
                )
            })
            .collect()
    }

    /// What must hold whenever nothing is pending.
    fn check(&self) {
        for node in &self.nodes {
            node.engine.check();
            let pool = &node.engine.shared.pool;
            if node
                .engine
                .sessions
                .iter()
                .all(|(_, session)| session.assembly.is_empty())
            {
                assert_eq!(pool.taken(), 0, "every block has come back");
                for share in [crate::buffer::Share::Receive, crate::buffer::Share::Send] {
                    assert_eq!(
                        pool.room(share),
                        pool.capacity(share),
                        "every claim has ended: {share:?}"
                    );
                }
            }
        }
    }

    fn settle(&mut self) {
        while self.step() {}
        self.check();
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_seeder_and_a_leecher_trade_a_whole_torrent() {
    for (total, piece_length) in [
        (1, 16_384),
        (16_384, 16_384),
        (1_000_000, 16_384),
        (3_000_000, 262_144),
        (70_000, 20_000),
    ] {
        let mut world = World::new(total, piece_length);
        let (seeder, leecher) = (world.node(true), world.node(false));
        world.meet(leecher, seeder);
        world.until("a download", MINUTE, |world| world.has_all(leecher));
        world.settle();
        assert_eq!(
            world.nodes[seeder].bytes_out, total,
            "each byte is sent once ({total}, {piece_length})"
        );
        let completed = world.nodes[leecher]
            .events
            .iter()
            .filter(|event| matches!(event, Event::SessionCompleted(_)));
        assert_eq!(completed.count(), 1);
    }
}

#[test]
fn ten_leechers_share_what_one_seeder_has() {
    let mut world = World::new(4_000_000, 65_536);
    let seeder = world.node(true);
    let leechers: Vec<usize> = (0..10).map(|_| world.node(false)).collect();
    for &leecher in &leechers {
        world.meet(leecher, seeder);
        world.meet(leecher, leechers[(leecher + 3) % leechers.len()]);
    }
    world.until("all downloads", 20 * MINUTE, |world| {
        leechers.iter().all(|&at| world.has_all(at))
    });
    world.settle();
}

#[test]
fn pieces_beyond_a_quarter_of_the_pool_are_kept_in_place() {
    let mut config = Config::default();
    config.workers.cache_mib = 16;
    let mut world = World::new(40 << 20, 8 << 20);
    let seeder = world.node(true);
    let leecher = world.node_with(false, 9, &config);
    world.meet(leecher, seeder);
    world.until("a download", 10 * MINUTE, |world| world.has_all(leecher));
    world.settle();
}

#[test]
fn many_peers_on_many_pieces_do_not_lock_up_a_small_pool() {
    let mut config = Config::default();
    config.workers.cache_mib = 16;
    let mut world = World::new(24 << 20, 1 << 20);
    let seeders: Vec<usize> = (0..64).map(|_| world.node(true)).collect();
    let leecher = world.node_with(false, 99, &config);
    for seeder in seeders {
        world.meet(leecher, seeder);
    }
    world.until("a download", 10 * MINUTE, |world| world.has_all(leecher));
    world.settle();
}

#[test]
fn one_liar_among_honest_peers_is_banned_alone() {
    for seed in 0..10 {
        let mut world = World::new(4_000_000, 262_144);
        let honest: Vec<usize> = (0..3).map(|_| world.node(true)).collect();
        let liar = world.node(true);
        world.nodes[liar].lies = true;
        let leecher = world.node_with(false, 50 + seed, &Config::default());
        world.meet(leecher, liar);
        for &at in &honest {
            world.meet(leecher, at);
        }
        world.until("a download", 10 * MINUTE, |world| world.has_all(leecher));
        world.settle();
        let banned: Vec<SocketAddr> = world.nodes[leecher]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::LinkIgnored(link) => Some(link.address),
                _ => None,
            })
            .collect();
        assert_eq!(banned, [world.nodes[liar].address], "seed {seed}");
    }
}

#[test]
fn both_ends_agree_on_one_of_two_simultaneous_streams() {
    for seed in 0..1000 {
        let mut world = World::new(100_000, 16_384);
        let a = world.node_with(true, 2 * seed, &Config::default());
        let b = world.node_with(false, 2 * seed + 1, &Config::default());
        while world.step() {}
        world.meet(a, b);
        world.meet(b, a);
        // The order in which the world delivers decides who sees which stream first.
        let mut chance = Rng::new(seed);
        while !world.queue.is_empty() {
            let turn = chance.index(world.queue.len());
            let (at, _) = world.queue[turn];
            let first = world
                .queue
                .iter()
                .position(|(other, _)| *other == at)
                .expect("it is there");
            let pending = world.queue.remove(first).expect("it is there");
            world.queue.push_front(pending);
            world.step();
            let open = |at: usize| world.nodes[at].streams.len();
            assert!(open(a) <= 2 && open(b) <= 2);
            // Whichever goes, each end is connected to the other all the time (requirement L13).
            if !world.has_all(b) {
                for at in [a, b] {
                    let count = |is: fn(&Event) -> bool| {
                        let events = world.nodes[at].events.iter();
                        events.filter(|event| is(event)).count()
                    };
                    assert_eq!(
                        count(|event| matches!(event, Event::PeerDisconnected(_))),
                        0,
                        "seed {seed}"
                    );
                    assert!(count(|event| matches!(event, Event::PeerConnected(_))) <= 1);
                }
            }
        }
        if world.has_all(b) {
            continue; // done already, and two seeds part
        }
        assert_eq!(
            (world.nodes[a].streams.len(), world.nodes[b].streams.len()),
            (1, 1),
            "seed {seed}"
        );
    }
}

#[test]
fn a_silent_peer_is_snubbed_and_others_send_its_blocks() {
    let mut world = World::new(2_000_000, 262_144);
    let (good, silent, leecher) = (world.node(true), world.node(true), world.node(false));
    world.meet(leecher, silent);
    while world.step() {
        // It takes requests and never answers one: whatever it reads for others goes nowhere.
        let blocks = |(_, pending): &(usize, Pending)| matches!(pending, Pending::Bytes { bytes, .. } if bytes.len() > 5000);
        world.queue.retain(|entry| !blocks(entry));
    }
    world.meet(leecher, good);
    let start = world.now;
    let end = start + 5 * MINUTE;
    while !world.has_all(leecher) {
        let from_silent: Vec<StreamId> = world.nodes[leecher]
            .streams
            .iter()
            .filter(|(_, (node, _))| *node == silent)
            .map(|(&stream, _)| stream)
            .collect();
        world.queue.retain(|(at, pending)| {
            !matches!(pending, Pending::Bytes { stream, bytes } if *at == leecher && from_silent.contains(stream) && bytes.len() > 5000)
        });
        if !world.step() {
            let next = world
                .nodes
                .iter()
                .filter_map(|node| node.engine.next_deadline())
                .min()
                .expect("timers");
            assert!(
                next < end,
                "it completes without the silent peer: {:#?}",
                world.show()
            );
            world.now = next;
            for at in 0..world.nodes.len() {
                world.input(at, Input::Tick);
            }
        }
    }
    assert!(
        world.nodes[leecher].engine.counters().snubs > 0
            || world.now.since(start) < Duration::from_secs(31)
    );
}

#[test]
fn a_stopped_node_goes_on_where_it_was() {
    let mut world = World::new(8_000_000, 262_144);
    let (seeder, leecher) = (world.node(true), world.node(false));
    world.meet(leecher, seeder);
    world.until("half", MINUTE, |world| {
        world.nodes[leecher]
            .engine
            .sessions
            .iter()
            .any(|(_, session)| session.picker.have().count() >= 10)
    });
    world.tell(
        leecher,
        Message::Shutdown {
            budget: Duration::from_secs(2),
        },
    );
    world.until("the end", MINUTE, |world| world.nodes[leecher].stopped);
    let row = world.nodes[leecher].row.clone().expect("saved");
    let saved: u32 = row.have.iter().map(|byte| byte.count_ones()).sum();
    assert!(saved >= 10, "{saved} pieces are remembered");
    let disk = world.nodes[leecher].disk.clone();
    let sent_before = world.nodes[seeder].bytes_out;
    let again = world.node(false);
    world.nodes[again].disk = disk;
    world.nodes[again].there = true;
    world.nodes[again].row = Some(row);
    world.meet(again, seeder);
    world.until("the rest", MINUTE, |world| world.has_all(again));
    let refetched = world.nodes[seeder].bytes_out - sent_before;
    assert!(
        refetched <= world.data.len() - saved as usize * 262_144 + 262_144,
        "only what was missing: {refetched}"
    );
}

#[test]
fn a_torrent_is_taken_on_once() {
    let mut world = World::new(1, 16_384);
    let node = world.node(true);
    let session = world.session(node);
    let add = SessionAdd {
        metainfo: Arc::clone(&world.metainfo),
        root: PathBuf::from("/r"),
        download: true,
        seed: true,
        recheck: false,
        wanted: Vec::new(),
    };
    world.tell(node, Message::SessionAdd(Box::new(add)));
    let (_, answer) = world.nodes[node].replies.last().expect("answered");
    assert!(
        matches!(answer, Answer::Refused(Refusal::Duplicate(known)) if *known == session),
        "{answer:?}"
    );
}

#[test]
fn a_dead_address_is_tried_as_the_table_says() {
    let mut world = World::new(100_000, 16_384);
    let leecher = world.node(false);
    while world.step() {}
    let session = world.session(leecher);
    let swarm = world.nodes[leecher]
        .engine
        .sessions
        .get(session)
        .expect("there")
        .swarm;
    let dead: SocketAddr = "10.9.9.9:1".parse().expect("an address");
    let engine = &mut world.nodes[leecher].engine;
    engine
        .table
        .link_create(dead, swarm, super::table::Source::Tracker, &[], world.now)
        .expect("new");
    engine.connect_more(swarm);
    world.drain(leecher);
    let mut dials = vec![world.now];
    let mut count = 1;
    while dials.len() < 6 {
        while world.step() {}
        world.now = world.nodes[leecher]
            .engine
            .next_deadline()
            .expect("it tries again");
        world.input(leecher, Input::Tick);
        let now = world.nodes[leecher].engine.counters().dials;
        if now > count {
            count = now;
            dials.push(world.now);
        }
    }
    let pauses: Vec<u64> = dials
        .windows(2)
        .map(|pair| pair[1].since(pair[0]).as_secs())
        .collect();
    // 20 s, 40 s, then ignored for 900 s with one attempt a cycle; and each takes 3 s, since uTP is tried when TCP is refused.
    let expected = [(21, 26), (39, 48), (903, 904), (903, 904), (903, 904)];
    for (pause, (low, high)) in pauses.iter().zip(expected) {
        assert!((low..=high).contains(pause), "{pauses:?}");
    }
}
