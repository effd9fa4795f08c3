//! The block list and the bans, as callers and workers speak of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::blocklist::{Ranges, Tally};
use crate::time::Duration;

/// What a caller asks about blocked addresses.
#[derive(Debug)]
pub enum BlocksAsk {
    /// Read the lists again, on a worker. [`Answer::Blocks`](super::Answer::Blocks) when the new one holds, or why the old one stays.
    Load(BlocksLoad),
    /// How many are blocked, and who is banned. [`Answer::Blocks`](super::Answer::Blocks).
    Show,
    /// Nobody talks to a host. [`Answer::Done`](super::Answer::Done).
    Ban {
        /// Which.
        ip: IpAddr,
        /// For how long; none is for good.
        span: Option<Duration>,
    },
    /// It may be talked to again, also when it was banned for bad data. [`Answer::Done`](super::Answer::Done), or refused as
    /// [`Refusal::NotBanned`](super::Refusal::NotBanned).
    Unban {
        /// Which.
        ip: IpAddr,
    },
}

/// Lists to be read. What is `None` is as it was said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlocksLoad {
    /// Files; all of them must be readable.
    pub files: Option<Vec<PathBuf>>,
    /// The file that keeps what was fetched; read too where it is.
    pub kept: Option<PathBuf>,
    /// What was fetched now: takes the place of `kept`, on disk too, when it is a list.
    pub fetched: Option<Vec<u8>>,
    /// Ranges that are never blocked, as [`Range::parse`](crate::codec::blocklist::Range::parse) reads them.
    pub allow: Option<Vec<String>>,
}

/// What a worker has read.
#[derive(Debug)]
pub struct BlocksRead {
    /// All ranges of all files.
    pub list: Arc<Ranges>,
    /// Those that are never blocked.
    pub allowed: Arc<Ranges>,
    /// What was in each file.
    pub files: Vec<(PathBuf, Tally)>,
}

/// Why a list could not be read: one line for a person, naming the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlocksFault(pub String);

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlocksSnapshot {
    /// Whether the list holds.
    pub enabled: bool,
    /// Lines of the files that named a range.
    pub rules: u64,
    /// Ranges, after those that overlap or touch were joined.
    pub ranges: u64,
    /// Those that a person made, by address, then those for bad data.
    pub bans: Vec<Ban>,
}

/// A host that nobody talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Which.
    pub ip: IpAddr,
    /// For how long still; none is for good.
    pub left: Option<Duration>,
    /// Why, for a person.
    pub why: &'static str,
}
