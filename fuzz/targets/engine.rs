//! A stranger's bytes against a whole engine: after an honest handshake, each case is a list of moves of one peer, and of a
//! caller who says anything about links, streams and swarms in between.
//!
//! Shape: `<whole: u8> (<kind: u8> <length: u8> <payload: length>)*`. The moves are framed, so that they reach the handlers:
//! 0 bytes, 1 time, 2 another stream, 3 a block, 198 and 199 the end of a dial, from 200 a message, else a wire message.
//! Whatever happens, the tables stay what their docs say, every message is answered once, every buffer comes back, and the
//! engine ends in order when it is told to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use linnet::buffer::Block;
use linnet::codec::geometry::Geometry;
use linnet::codec::layout::{FileEntry, FileKind};
use linnet::codec::metainfo::Metainfo;
use linnet::codec::wire::{Features, Handshake, Message as Wire};
use linnet::config::Config;
use linnet::engine::Engine;
use linnet::engine::message::{
    Accounting, Carrier, Checked, Committed, Direction, Done, FileStamp, Frame, Input, Job, Limits,
    LostReason, Message, Outcome, Output, Prepared, SessionAdd, StoreOutcome, StoreTask, Stored,
    StreamName, Verdict,
};
use linnet::engine::settings::Settings;
use linnet::ids::{
    ConnectionId, InfoHash, PeerId, ReplyId, SessionId, SocketId, StreamId, SwarmId,
};
use linnet::rng::Rng;
use linnet::time::{Duration, Instant};

const PIECE_LENGTH: u32 = 40_000;
const TOTAL: u64 = 170_000;
const INFO_HASH: InfoHash = InfoHash([5; 20]);

struct World {
    engine: Engine,
    now: Instant,
    whole: bool,
    stream: Option<StreamId>,
    dialled: Option<StreamId>,
    /// Answers still to come, and how many were asked for.
    owed: BTreeSet<u64>,
    asked: u64,
    stopped: bool,
}

/// One case.
pub fn run(bytes: &[u8]) {
    let Some((&options, mut moves)) = bytes.split_first() else {
        return;
    };
    let mut world = World::new(options & 1 == 1);
    world.connect();
    while let [kind, length, rest @ ..] = moves {
        let (payload, later) = rest.split_at(usize::from(*length).min(rest.len()));
        moves = later;
        world.play(*kind, payload);
        if world.stopped {
            break;
        }
    }
    world.end();
}

impl World {
    fn new(whole: bool) -> Self {
        let mut rng = Rng::new(1);
        let settings = Settings::new(&Config::default(), 4, 2, &mut rng);
        let engine = Engine::new(settings, rng);
        let mut world = Self {
            engine,
            now: Instant::ZERO,
            whole,
            stream: None,
            dialled: None,
            owed: BTreeSet::new(),
            asked: 0,
            stopped: false,
        };
        let geometry = Geometry::new(TOTAL, PIECE_LENGTH).expect("valid");
        let file = FileEntry {
            path: PathBuf::from("f"),
            length: TOTAL,
            offset: 0,
            kind: FileKind::Regular { executable: false },
        };
        let metainfo = Metainfo {
            info_hash: INFO_HASH,
            name: "f".to_owned(),
            files: vec![file],
            geometry,
            piece_hashes: vec![[0; 20]; geometry.piece_count() as usize].into(),
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            private: false,
            comment: None,
            creation_date: None,
            created_by: None,
            source: None,
            info: Arc::default(),
        };
        let add = SessionAdd {
            metainfo: Arc::new(metainfo),
            root: PathBuf::from("/r"),
            download: true,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        };
        world.input(Input::Message {
            message: Message::SessionAdd(Box::new(add)),
            reply: None,
        });
        world
    }

    fn connect(&mut self) {
        let remote = "192.0.2.1:6881".parse().expect("an address");
        self.input(Input::Incoming {
            socket: SocketId(1),
            remote,
        });
        let features = Features {
            fast: true,
            extended: true,
            dht: false,
        };
        let handshake = Handshake {
            features,
            info_hash: INFO_HASH,
            peer_id: PeerId([7; 20]),
        };
        self.receive(&mut handshake.encode());
    }

    fn play(&mut self, kind: u8, payload: &[u8]) {
        match kind {
            0 => self.receive(&mut payload.to_vec()),
            1 => {
                self.now += Duration::from_secs(payload.first().copied().unwrap_or(1).into());
                self.input(Input::Tick);
            }
            2 => {
                if let Some(stream) = self.stream.take() {
                    self.input(Input::Lost {
                        stream,
                        why: LostReason::HungUp,
                    });
                }
                self.connect();
            }
            3 => {
                // A block that may have been asked for: index and begin are small.
                let field = |at: usize| u32::from(payload.get(at).copied().unwrap_or(0));
                let mut bytes = Vec::new();
                let block = vec![0; 16_384.min((PIECE_LENGTH - (field(1) % 3) * 16_384) as usize)];
                Wire::Piece {
                    index: field(0),
                    begin: field(1) % 3 * 16_384,
                    block: &block,
                }
                .encode(&mut bytes);
                self.receive(&mut bytes);
            }
            198 => {
                if let Some(stream) = self.dialled.take() {
                    self.stream = Some(stream);
                    self.input(Input::Connected { stream });
                }
            }
            199 => {
                if let Some(stream) = self.dialled.take() {
                    let why = LostReason::Refused;
                    self.input(Input::Lost { stream, why });
                }
            }
            200.. => self.ask(message(kind - 200, payload)),
            _ => {
                let length = u32::try_from(payload.len() + 1).expect("at most 256");
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.push(kind - 4);
                bytes.extend_from_slice(payload);
                self.receive(&mut bytes);
            }
        }
    }

    fn ask(&mut self, message: Message) {
        self.asked += 1;
        self.owed.insert(self.asked);
        let reply = Some(ReplyId(self.asked));
        self.input(Input::Message { message, reply });
        self.engine.check();
    }

    fn receive(&mut self, bytes: &mut [u8]) {
        if let (Some(stream), false) = (self.stream, bytes.is_empty()) {
            self.input(Input::Received { stream, bytes });
        }
    }

    fn end(&mut self) {
        self.input(Input::Message {
            message: Message::Shutdown {
                budget: Duration::from_secs(2),
            },
            reply: None,
        });
        self.now += Duration::from_secs(3);
        self.input(Input::Tick);
        assert!(self.stopped, "an engine that is told to end ends");
        assert!(self.owed.is_empty(), "every message is answered");
        assert_eq!(
            self.engine.counters().blocks_taken,
            0,
            "every block comes back"
        );
    }

    fn input(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        while let Some(output) = self.engine.poll_output() {
            self.obey(output);
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Accept { stream, .. } => self.stream = Some(stream),
            Output::Dial { stream, .. } => self.dialled = Some(stream),
            Output::Close { stream } => {
                self.stream = self.stream.filter(|&open| open != stream);
                self.dialled = self.dialled.filter(|&dialled| dialled != stream);
            }
            Output::Reply { reply, .. } => {
                assert!(self.owed.remove(&reply.0), "and once");
            }
            Output::Send { stream, frame } => {
                let bytes = frame.len();
                let mut blocks: Vec<Block> = Vec::new();
                if let Frame::Block { block, .. } = frame {
                    blocks.push(block);
                }
                self.engine.handle(
                    self.now,
                    Input::Sent {
                        stream,
                        bytes,
                        blocks: &mut blocks,
                    },
                );
            }
            Output::Work(work) => {
                let outcome = self.work(work.job);
                self.engine.handle(
                    self.now,
                    Input::Done(Done {
                        id: work.id,
                        session: work.session,
                        outcome,
                    }),
                );
            }
            Output::Store(job) => {
                let outcome = match job.task {
                    StoreTask::Load { .. } => StoreOutcome::Loaded(Ok(None)),
                    StoreTask::Save(_) => StoreOutcome::Saved(Ok(())),
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
                self.engine.handle(
                    self.now,
                    Input::Stored(Stored {
                        id: job.id,
                        session: job.session,
                        outcome,
                    }),
                );
            }
            Output::Stopped(_) => self.stopped = true,
            _ => {}
        }
    }

    fn work(&self, job: Job) -> Outcome {
        let verdict = || {
            if self.whole {
                Verdict::Good
            } else {
                Verdict::Bad
            }
        };
        match job {
            Job::Prepare { .. } => Outcome::Prepared(Ok(Prepared {
                stamps: vec![self.whole.then_some(FileStamp {
                    length: TOTAL,
                    modified_nanos: 1,
                })],
                space: None,
            })),
            Job::Check { pieces, .. } => Outcome::Checked(
                pieces
                    .into_iter()
                    .map(|piece| Checked {
                        piece,
                        verdict: verdict(),
                        digests: Vec::new(),
                    })
                    .collect(),
            ),
            Job::Commit { pieces } => Outcome::Committed(
                pieces
                    .into_iter()
                    .map(|commit| Committed {
                        piece: commit.piece,
                        digests: vec![[0; 20]; commit.blocks.len()],
                        blocks: commit.blocks,
                        verdict: Verdict::Bad,
                    })
                    .collect(),
            ),
            Job::Write { blocks } => {
                let (refs, blocks) = blocks.into_iter().unzip();
                Outcome::Written {
                    blocks,
                    refs,
                    result: Ok(()),
                }
            }
            Job::Read(run) => Outcome::Read(run, Ok(())),
            Job::Sync { .. } => Outcome::Synced(Ok(Vec::new())),
            Job::Close => Outcome::Closed,
            Job::Delete => Outcome::Deleted(Ok(())),
            Job::Relocate(relocation) => Outcome::Relocated(relocation, Ok(true)),
            Job::Survey(_) | Job::Blocks(_) => unreachable!("no message asks for it"),
        }
    }
}

/// A caller's message: `kind` says which, `payload` what it names, of few things so that they meet.
fn message(kind: u8, payload: &[u8]) -> Message {
    let field = |at: usize| payload.get(at).copied().unwrap_or(0);
    let flag = |at: usize| field(at) & 1 == 1;
    let address = |at: usize| {
        let host = Ipv4Addr::new(192, 0, 2, field(at) % 6);
        let port = 6881 * u16::from(field(at) % 16 != 15);
        SocketAddr::new(IpAddr::V4(host), port)
    };
    let swarm = SwarmId::new(u32::from(field(1) % 4), u32::from(field(1) / 4 % 2));
    let session = SessionId::new(0, u32::from(field(1) % 2));
    let connection = ConnectionId(u64::from(field(2) % 8));
    let stream = |at: usize| match field(at) {
        outside @ 0..8 => StreamName::Outside(ConnectionId(u64::from(outside))),
        other => StreamName::Stream(StreamId::new(
            u32::from(other % 8),
            u32::from(other / 8 % 4),
        )),
    };
    let info_hash = match field(1) % 4 {
        0 => INFO_HASH,
        other => InfoHash([other; 20]),
    };
    let (address, other) = (address(0), address(2));
    let direction = Direction::of(flag(3));
    match kind % 24 {
        0 => Message::LinkCreate { address, swarm },
        1 => Message::LinkUpdate {
            address,
            ip: other.ip(),
            port: other.port(),
        },
        2 => Message::LinkDelete {
            address,
            force: flag(1),
            preserve: flag(2),
        },
        3 => Message::LinkFind { address, swarm },
        4 | 5 => Message::StreamAdd {
            address,
            direction,
            swarm: flag(4).then_some(swarm),
            carrier: match kind % 24 {
                4 => Carrier::Outside(connection),
                _ => Carrier::Socket(SocketId(2 + u64::from(field(2)))),
            },
        },
        6 => Message::StreamDelete { stream: stream(2) },
        7 => Message::StreamReplace {
            old: stream(1),
            new: stream(2),
            direction,
        },
        8 => Message::SwarmAdd {
            info_hash,
            links_min: u32::from(field(2)),
        },
        9 => Message::SwarmRemove { swarm },
        10 => Message::SwarmSwitch { swarm, on: flag(2) },
        11 => Message::SwarmFind { info_hash },
        12 => Message::LinksCount { swarm },
        13 => Message::LinksShow {
            swarm,
            established_only: flag(2),
        },
        14 => Message::SwarmCondition { swarm },
        15 => Message::IgnoredShow { swarm },
        16 => Message::Account {
            address,
            swarm,
            verdict: match field(2) % 3 {
                0 => Accounting::Member,
                1 => Accounting::Leaves,
                _ => Accounting::Failed,
            },
        },
        17 => Message::Pin { address, swarm },
        18 => Message::Unpin { address, swarm },
        19 => Message::LimitsSet(Limits {
            links_max: flag(0).then_some(u32::from(field(3))),
            swarm_links_max: flag(1).then_some(u32::from(field(4))),
            upload_slots: flag(2).then_some(u32::from(field(5))),
        }),
        20 => Message::SessionPause { session },
        21 => Message::SessionResume { session },
        22 if flag(2) => Message::SessionRemove { session },
        22 => Message::SessionShow { session },
        _ => Message::EngineShow,
    }
}
