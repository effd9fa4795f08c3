//! Jobs for the workers: hashing and the torrents' files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::buffer::Block;
use crate::codec::geometry::{BlockRef, PieceIndex};
use crate::codec::layout::{FileIndex, Layout};
use crate::hash::Digest;
use crate::ids::{InfoHash, JobId, SessionId, StreamId};

/// What a worker needs to know of a torrent, shared, not copied.
#[derive(Debug)]
pub struct Storage {
    /// For the log.
    pub info_hash: InfoHash,
    /// Where its bytes lie.
    pub layout: Layout,
    /// SHA-1 of each piece, in order.
    pub piece_hashes: Arc<[Digest]>,
}

/// A job for the fixed pool of workers.
#[derive(Debug)]
pub struct Work {
    /// Answered with it.
    pub id: JobId,
    /// Whose; jobs are taken round robin between sessions.
    pub session: SessionId,
    /// Of which torrent.
    pub storage: Arc<Storage>,
    /// What to do.
    pub job: Job,
}

impl Work {
    /// The answer to a job that was not done.
    #[must_use]
    pub fn cancelled(self) -> Done {
        Done {
            id: self.id,
            session: self.session,
            outcome: Outcome::Cancelled(self.job),
        }
    }
}

/// What a worker can do.
#[derive(Debug)]
pub enum Job {
    /// Look at every file; with `create`, also make directories, files without bytes, links and the x bit.
    Prepare {
        /// Whether anything may be made.
        create: bool,
        /// A mark for each file of the layout: for those without, nothing is made. Empty: for all.
        wanted: Arc<[bool]>,
    },
    /// Hash these pieces from disk. What cannot be read counts as missing, unless the disk itself failed.
    Check {
        /// Ascending; a bounded run, so that rechecks are fair and can be paused.
        pieces: Vec<PieceIndex>,
        /// Digest the blocks of pieces too (for blame).
        digests: bool,
    },
    /// Hash these pieces together, then write those that are right.
    Commit {
        /// Whole pieces.
        pieces: Vec<CommitPiece>,
    },
    /// Write blocks in place, unverified: of pieces too large to hold.
    Write {
        /// Whole blocks.
        blocks: Vec<(BlockRef, Block)>,
    },
    /// Read a contiguous run for a peer.
    Read(ReadRun),
    /// Flush what was written to these files.
    Sync {
        /// Ascending.
        files: Vec<FileIndex>,
    },
    /// Close the torrent's files.
    Close,
    /// Bring the torrent's files to where another layout has them, a bounded part at a time. Nothing that is there is
    /// overwritten.
    Relocate(Box<Relocation>),
    /// Look at a directory, which is no torrent's.
    Survey(Survey),
    /// Read block lists, which are no torrent's.
    Blocks(Box<super::BlocksLoad>),
    /// Close the torrent's files and delete them, and directories of it that are empty then. What is not the torrent's stays.
    Delete,
}

impl Job {
    /// Whether [`Output::Cancel`] is for it: it changes no byte of a file.
    #[must_use]
    pub const fn is_cancellable(&self) -> bool {
        match self {
            Self::Prepare { .. } | Self::Check { .. } | Self::Read(_) => true,
            Self::Commit { .. }
            | Self::Write { .. }
            | Self::Sync { .. }
            | Self::Close
            | Self::Relocate(_)
            | Self::Survey(_)
            | Self::Blocks(_)
            | Self::Delete => false,
        }
    }

    /// The names of all kinds, for metrics and logs, in the order of [`Job::index`].
    pub const KINDS: [&'static str; 11] = [
        "prepare", "check", "commit", "write", "read", "sync", "close", "delete", "relocate",
        "survey", "blocks",
    ];

    /// Its kind's place in [`Job::KINDS`].
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Prepare { .. } => 0,
            Self::Check { .. } => 1,
            Self::Commit { .. } => 2,
            Self::Write { .. } => 3,
            Self::Read(_) => 4,
            Self::Sync { .. } => 5,
            Self::Close => 6,
            Self::Delete => 7,
            Self::Relocate(_) => 8,
            Self::Survey(_) => 9,
            Self::Blocks(_) => 10,
        }
    }

    /// Its kind's name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        Self::KINDS[self.index()]
    }
}

/// A torrent's files on their way to another layout.
#[derive(Clone, Debug)]
pub struct Relocation {
    /// The same files under another root or other names.
    pub to: Arc<Storage>,
    /// How each file looked when its pieces were last known to be right: tells ours from strangers'.
    pub stamps: Arc<[Option<FileStamp>]>,
    /// What is to be done.
    pub task: RelocateTask,
    /// Whether an earlier run began it: a file that is in both places was just being taken over.
    pub resumed: bool,
    /// Files before it are there.
    pub next: FileIndex,
    /// Bytes of the file at hand that were copied.
    pub copied: u64,
    /// Bytes of the files that are there.
    pub bytes: u64,
    /// Files that are there and were ours, in the order in which they went.
    pub carried: Vec<FileIndex>,
}

impl Relocation {
    /// The name that a copy of the file at `path` has until it is whole: no other torrent's, nor another file's.
    #[must_use]
    pub fn part_of(path: &Path, info_hash: InfoHash, file: FileIndex) -> PathBuf {
        path.with_file_name(format!(".linnet-{info_hash}-{file}.part"))
    }
}

/// What a [`Job::Relocate`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocateTask {
    /// See whether it can be done: nothing is in the way, and there is room.
    Look,
    /// Take the next files there.
    Carry,
    /// Bring back those that were carried.
    Back,
    /// Leave them where they are: others are looked for there.
    Leave,
}

/// What is asked of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Absolute.
    pub path: PathBuf,
    /// Make it, and what leads to it, when it is missing.
    pub make: bool,
    /// A file beneath it that may be there.
    pub file: Option<PathBuf>,
}

/// How a directory was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its real path.
    pub path: PathBuf,
    /// Bytes that we may still take on its file system.
    pub free: u64,
    /// Bytes that its file system has.
    pub total: u64,
    /// Whether the file is there.
    pub found: bool,
}

/// A piece in memory, to be hashed and written.
#[derive(Debug)]
pub struct CommitPiece {
    /// Which.
    pub piece: PieceIndex,
    /// Its blocks, in order; the last may be filled in part.
    pub blocks: Vec<Block>,
    /// Digest its blocks even when it is right: an earlier copy was wrong, and the comparison names who lied.
    pub digests: bool,
}

/// A run of bytes that one stream asked for.
#[derive(Debug)]
pub struct ReadRun {
    /// For whom.
    pub stream: StreamId,
    /// Where it begins in the torrent's run of bytes.
    pub offset: u64,
    /// One part a request, one behind the other.
    pub parts: Vec<ReadPart>,
    /// Files among these bytes that nobody may have changed: what was read counts only if they look so after the read.
    /// Others of its files are not looked at.
    pub expected: Vec<Expected>,
}

/// How a file must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Which.
    pub file: FileIndex,
    /// As it was when its pieces were last known to be right.
    pub stamp: FileStamp,
    /// How it looked instead, when that failed the read with [`FaultKind::Changed`].
    pub found: Option<FileStamp>,
}

/// One request's part of a run.
#[derive(Debug)]
pub struct ReadPart {
    /// As requested.
    pub index: u32,
    /// As requested.
    pub begin: u32,
    /// As requested; at most a block.
    pub length: u32,
    /// Receives the bytes.
    pub block: Block,
}

/// A finished job.
#[derive(Debug)]
pub struct Done {
    /// As given out.
    pub id: JobId,
    /// Whose.
    pub session: SessionId,
    /// How it went.
    pub outcome: Outcome,
}

/// How a job went. Every buffer that went into the job comes back here, whatever happened.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Job::Prepare`].
    Prepared(Result<Prepared, Fault>),
    /// Of [`Job::Check`]: one for each piece, in order.
    Checked(Vec<Checked>),
    /// Of [`Job::Commit`]: one for each piece, in order.
    Committed(Vec<Committed>),
    /// Of [`Job::Write`].
    Written {
        /// The buffers.
        blocks: Vec<Block>,
        /// Which blocks they were.
        refs: Vec<BlockRef>,
        /// All or nothing, as far as we say.
        result: Result<(), Fault>,
    },
    /// Of [`Job::Read`]: all of it, or an error.
    Read(ReadRun, Result<(), Fault>),
    /// Of [`Job::Sync`]: the files as they are after the flush.
    Synced(Result<Vec<(FileIndex, FileStamp)>, Fault>),
    /// Of [`Job::Close`].
    Closed,
    /// Of a job that was not done, or not to its end, because of [`Output::Cancel`]: as it was given out.
    Cancelled(Job),
    /// Of [`Job::Relocate`]: how far it is, and whether its task is over. What had been copied of a file in part when it failed
    /// is gone.
    Relocated(Box<Relocation>, Result<bool, Fault>),
    /// Of [`Job::Survey`].
    Surveyed(Result<Surveyed, Fault>),
    /// Of [`Job::Blocks`].
    Blocks(Box<Result<super::BlocksRead, super::BlocksFault>>),
    /// Of [`Job::Delete`]: what could not be deleted stays, and the first fault is told.
    Deleted(Result<(), Fault>),
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// Which piece.
    pub piece: PieceIndex,
    /// Right, wrong, missing, or unreadable.
    pub verdict: Verdict,
    /// SHA-1 of each block, when asked for.
    pub digests: Vec<Digest>,
}

/// What became of a piece in memory.
#[derive(Debug)]
pub struct Committed {
    /// Which piece.
    pub piece: PieceIndex,
    /// The buffers.
    pub blocks: Vec<Block>,
    /// [`Verdict::Good`] only when it is also written.
    pub verdict: Verdict,
    /// SHA-1 of each block, when the piece is wrong or it was asked for.
    pub digests: Vec<Digest>,
}

/// Whether a piece is what its hash says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its hash is right.
    Good,
    /// Its hash is wrong.
    Bad,
    /// Its bytes are not there (checks only).
    Missing,
    /// The disk failed.
    Failed(Fault),
}

/// What a look at a torrent's files has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// One for each file of the layout, `None` where none is there (or it has no bytes of its own).
    pub stamps: Vec<Option<FileStamp>>,
    /// How much room there is, where the file system says.
    pub space: Option<Space>,
}

/// Room on the file system that holds a torrent's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Which file system.
    pub device: u64,
    /// Bytes that we may still take.
    pub free: u64,
    /// Bytes of the torrent's files that no room was taken for yet.
    pub unallocated: u64,
}

/// What identifies a file's content without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp {
    /// Bytes.
    pub length: u64,
    /// Last change, in nanoseconds since 1970.
    pub modified_nanos: i64,
}

/// The disk's fault, with what a person needs to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind, for deciding.
    pub kind: FaultKind,
    /// The file or directory.
    pub path: PathBuf,
    /// What was tried and what the system said.
    pub message: String,
}

/// What a fault means for the torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No room (ENOSPC, EDQUOT): wait for room.
    Full,
    /// Read-only file system, or no permission.
    Denied,
    /// Something is in the way: a directory where a file should be, a link that leads outside.
    InTheWay,
    /// A file is shorter than it should be, or gone.
    Gone,
    /// Another program has written to a file.
    Changed,
    /// Too many open files on our side.
    NoResources,
    /// The device failed, or anything else.
    Failed,
}
