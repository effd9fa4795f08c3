//! A full-rate transfer between two engines over loopback, for a load to run beside.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::actor::bus::{Filter, Subscription};
use crate::actor::handle::Handle;
use crate::codec::geometry::Geometry;
use crate::codec::layout::{FileEntry, FileKind};
use crate::codec::metainfo::Metainfo;
use crate::config::{Backpressure, Config};
use crate::engine::message::{Answer, Message, SessionAdd, SessionState};
use crate::events::Event;
use crate::hash;
use crate::ids::{InfoHash, SessionId};
use crate::rng::Rng;
use crate::runtime::Runtime;
use crate::time::Duration;

use super::Options;
use super::rig::{self, Queue};
use super::side::PATIENCE;

/// Bytes of a piece: those of a torrent of its size.
const PIECE_BYTES: u32 = 1 << 20;

/// Nobody loads the seeder.
const SEEDERS_QUEUE: Queue = Queue {
    capacity: 4096,
    policy: Backpressure::Block,
};

/// How long a whole transfer may take.
const TRANSFER_MAX: Duration = Duration::from_secs(120);

/// One file with random content, in a directory of its own, and who has it.
#[derive(Debug)]
pub struct Transfer {
    directory: PathBuf,
    metainfo: Arc<Metainfo>,
    seeder: Runtime,
}

impl Transfer {
    /// Makes a file of `bytes` below `directory`, which must not be there, and an engine on loopback that has it.
    ///
    /// # Errors
    /// For a person: what could not be made.
    pub fn prepare(directory: &Path, bytes: u64, seed: u64) -> Result<Self, String> {
        Self::make(directory.to_owned(), bytes, seed).inspect_err(|_| {
            let _ = fs::remove_dir_all(directory);
        })
    }

    fn make(directory: PathBuf, bytes: u64, seed: u64) -> Result<Self, String> {
        let root = directory.join("seeder");
        let told = |error: io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&root).map_err(told)?;
        for who in ["alone", "beside"] {
            fs::create_dir_all(directory.join(who)).map_err(told)?;
        }
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        Rng::new(seed).fill(&mut content);
        let metainfo = Arc::new(describe(&content, seed));
        fs::write(root.join("content"), &content).map_err(told)?;
        // Another chance than that of the leechers: two with one peer-id take each other for themselves.
        let seeder = start(&directory, "seeder", SEEDERS_QUEUE, !seed)?;
        let this = Self {
            directory,
            metainfo,
            seeder,
        };
        let events = listen(this.seeder.handle());
        let session = this.add(this.seeder.handle(), "seeder", false)?;
        loop {
            let show = Message::SessionShow { session };
            match this.seeder.handle().ask(show, PATIENCE) {
                Ok(Answer::Snapshot(snapshot)) if snapshot.state == SessionState::Seeding => {
                    return Ok(this);
                }
                Ok(Answer::Snapshot(snapshot)) if snapshot.error.is_empty() => {}
                other => return Err(format!("the seeder cannot seed: {other:?}")),
            }
            let _ = events.next_within(Duration::from_millis(100));
        }
    }

    /// An engine that wants the file in the directory of `who`. Its actor is the one to load.
    ///
    /// # Errors
    /// For a person: what could not be started.
    pub fn leecher(&self, who: &str, options: &Options) -> Result<Runtime, String> {
        start(&self.directory, who, options.queue, options.seed)
    }

    /// Begins to fetch the whole file as `who`, by the engine behind `leecher`.
    ///
    /// # Errors
    /// For a person: what went wrong.
    pub fn begin(&self, who: &str, leecher: &Handle) -> Result<Fetching, String> {
        let events = listen(leecher);
        let session = self.add(leecher, who, true)?;
        let address = *self
            .seeder
            .listening()
            .first()
            .ok_or("the seeder listens nowhere")?;
        let began = Instant::now();
        let answer = leecher.ask(Message::PeerAdd { session, address }, PATIENCE);
        if !matches!(answer, Ok(Answer::Done)) {
            return Err(format!("the peer was not taken: {answer:?}"));
        }
        Ok(Fetching { events, began })
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.metainfo.total_size()
    }

    /// Ends the seeder, and takes the files away.
    pub fn end(self) {
        self.seeder.shutdown(Duration::from_secs(2));
        let _ = self.seeder.join(PATIENCE);
        // What cannot be removed is in the temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }

    fn add(&self, handle: &Handle, who: &str, download: bool) -> Result<SessionId, String> {
        let add = SessionAdd {
            metainfo: Arc::clone(&self.metainfo),
            root: self.directory.join(who),
            download,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        };
        match handle.ask(Message::SessionAdd(Box::new(add)), PATIENCE) {
            Ok(Answer::Session(session)) => Ok(session),
            other => Err(format!("the {who} did not take the torrent: {other:?}")),
        }
    }
}

/// A transfer on its way.
#[derive(Debug)]
pub struct Fetching {
    events: Subscription,
    began: Instant,
}

impl Fetching {
    /// Waits until the whole file is there and verified; how many seconds it took since the peer was named. Sends nothing to
    /// the actor: its counts are those of the load.
    ///
    /// # Errors
    /// For a person: what went wrong.
    pub fn end(&self) -> Result<f64, String> {
        loop {
            let record = self.events.next_within(TRANSFER_MAX);
            match record.map(|record| record.event.clone()) {
                Ok(Event::SessionCompleted(_)) => return Ok(self.began.elapsed().as_secs_f64()),
                Ok(Event::SessionError(error)) => {
                    return Err(format!("the transfer failed: {error:?}"));
                }
                Ok(_) => {}
                Err(_) => return Err("the transfer does not end".to_owned()),
            }
        }
    }
}

/// Sessions have few events, so none is lost.
fn listen(handle: &Handle) -> Subscription {
    let filter = Filter::of(["session.*"]).expect("sessions have events");
    handle.subscribe(filter)
}

fn start(directory: &Path, who: &str, queue: Queue, seed: u64) -> Result<Runtime, String> {
    let mut config = rig::config(queue);
    let usual = Config::default();
    config.workers = usual.workers;
    config.peer.listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    config.paths.state = directory.join(who).join(".state");
    Runtime::start(&config, seed).map_err(|error| error.to_string())
}

fn describe(content: &[u8], seed: u64) -> Metainfo {
    let total = content.len() as u64;
    let geometry = Geometry::new(total, PIECE_BYTES).expect("the cut of a file in memory is valid");
    let file = FileEntry {
        path: PathBuf::from("content"),
        length: total,
        offset: 0,
        kind: FileKind::Regular { executable: false },
    };
    Metainfo {
        info_hash: InfoHash(hash::sha1(&seed.to_le_bytes())),
        name: "content".to_owned(),
        files: vec![file],
        geometry,
        piece_hashes: content
            .chunks(PIECE_BYTES as usize)
            .map(hash::sha1)
            .collect(),
        trackers: Vec::new(),
        web_seeds: Vec::new(),
        private: true,
        comment: None,
        creation_date: None,
        created_by: None,
        source: None,
        info: Arc::default(),
    }
}
