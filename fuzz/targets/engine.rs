//! A stranger's bytes against a whole engine: after an honest handshake, each case is a list of moves of one peer.
//!
//! Shape: `<whole: u8> (<kind: u8> <length: u8> <payload: length>)*`. The moves are framed, so that they reach the handlers.
//! Whatever happens, the engine gives every buffer back and ends in order when it is told to.

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
    Checked, Committed, Done, FileStamp, Frame, Input, Job, LostReason, Message, Outcome, Output,
    Prepared, SessionAdd, StoreOutcome, StoreTask, Stored, Verdict,
};
use linnet::engine::settings::Settings;
use linnet::ids::{InfoHash, PeerId, SocketId, StreamId};
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
            _ => {
                let length = u32::try_from(payload.len() + 1).expect("at most 256");
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.push(kind - 4);
                bytes.extend_from_slice(payload);
                self.receive(&mut bytes);
            }
        }
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
            Output::Close { stream } if self.stream == Some(stream) => self.stream = None,
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
        }
    }
}
