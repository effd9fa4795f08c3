//! Jobs for the store: what is remembered between runs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::metainfo::Metainfo;
use crate::ids::{InfoHash, JobId, SessionId};

use super::{FileStamp, Kept, Remembered, SettingRow, Totals};

/// A job for the store thread.
#[derive(Debug)]
pub struct StoreJob {
    /// Answered with it.
    pub id: JobId,
    /// Whose.
    pub session: SessionId,
    /// What to do.
    pub task: StoreTask,
}

/// What the store can do. A row is named by info-hash and real directory, and held by one process at a time.
#[derive(Debug)]
pub enum StoreTask {
    /// Take hold of a row and read it.
    Load {
        /// Of which torrent.
        info_hash: InfoHash,
        /// Where its files are.
        root: PathBuf,
    },
    /// Write a row, durably.
    Save(Box<Progress>),
    /// Let go of a row.
    Release {
        /// Of which torrent.
        info_hash: InfoHash,
        /// Where its files are.
        root: PathBuf,
    },
    /// Read all remembered torrents, in the order of the queue.
    List,
    /// Read the torrent files of these, up to [`READ_MAX`], and which pieces are there.
    Read(Vec<InfoHash>),
    /// Note how long these have downloaded and seeded, durably.
    Times(Vec<Times>),
    /// Remember a torrent, durably; with its torrent file the first time.
    Keep(Box<Kept>),
    /// Read all bandwidth groups.
    ListGroups,
    /// Remember a bandwidth group, durably.
    KeepGroup(Box<crate::engine::limits::Group>),
    /// Forget a torrent and its progress, durably.
    Forget {
        /// Which.
        info_hash: InfoHash,
    },
    /// Read settings and totals.
    Recall,
    /// Remember settings, or forget them, durably.
    KeepSettings(Vec<SettingRow>),
    /// Remember the totals.
    KeepTotals(Totals),
    /// Read what is remembered of the DHT.
    RecallNodes,
    /// Remember nodes of the DHT, instead of those before.
    KeepNodes(Vec<Nodes>),
}

/// Torrent files that are read for one task.
pub const READ_MAX: usize = 64;

/// How long a torrent has been at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Which.
    pub info_hash: InfoHash,
    /// Seconds it has downloaded.
    pub downloading: u64,
    /// Seconds it has seeded.
    pub seeding: u64,
}

/// What the store knows of a torrent that rests.
#[derive(Clone, Debug)]
pub struct Known {
    /// What it is.
    pub metainfo: Arc<Metainfo>,
    /// A bit for each piece that was recorded, as in [`Progress::have`]; empty when nothing was.
    pub have: Vec<u8>,
}

/// What is remembered of a torrent between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of which torrent.
    pub info_hash: Option<InfoHash>,
    /// Where its files are.
    pub root: PathBuf,
    /// A bit for each piece that is ours and flushed; most significant first, as in BEP 3.
    pub have: Vec<u8>,
    /// Pieces written in part and in place: piece, and a bit for each block that is there.
    pub partial: Vec<(u32, Vec<u8>)>,
    /// Stamp of each file of the layout after the flush.
    pub stamps: Vec<Option<FileStamp>>,
    /// Payload bytes sent to peers, ever.
    pub uploaded: u64,
    /// Payload bytes received from peers, ever.
    pub downloaded: u64,
    /// Whether `completed` was announced.
    pub completed: bool,
}

/// The nodes of the DHT that are remembered of one address family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Which family.
    pub v6: bool,
    /// Our name, and who has answered.
    pub remembered: crate::engine::dht::Remembered,
}

/// The store's answer.
#[derive(Debug)]
pub struct Stored {
    /// As given out.
    pub id: JobId,
    /// Whose.
    pub session: SessionId,
    /// How it went.
    pub outcome: StoreOutcome,
}

/// How a job of the store went.
#[derive(Debug)]
pub enum StoreOutcome {
    /// Of [`StoreTask::Load`].
    Loaded(Result<Option<Box<Progress>>, StoreFault>),
    /// Of [`StoreTask::Save`]: on disk, synced.
    Saved(Result<(), StoreFault>),
    /// Of [`StoreTask::Release`].
    Released,
    /// Of [`StoreTask::List`].
    Listed(Result<Vec<Kept>, StoreFault>),
    /// Of [`StoreTask::Read`]: an answer for each, in the same order.
    Read(Vec<Result<Known, StoreFault>>),
    /// Of [`StoreTask::Recall`].
    Recalled(Result<Box<Remembered>, StoreFault>),
    /// Of [`StoreTask::ListGroups`].
    Groups(Result<Vec<crate::engine::limits::Group>, StoreFault>),
    /// Of [`StoreTask::RecallNodes`].
    Nodes(Result<Vec<Nodes>, StoreFault>),
    /// Of [`StoreTask::KeepNodes`], [`StoreTask::Keep`], [`StoreTask::Forget`], [`StoreTask::Times`], [`StoreTask::KeepGroup`],
    /// [`StoreTask::KeepSettings`] and [`StoreTask::KeepTotals`]: on disk, synced.
    Kept(Result<(), StoreFault>),
}

/// Why the store could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// Another process holds the row.
    Busy {
        /// Which.
        pid: u32,
    },
    /// The database failed.
    Failed(String),
}
