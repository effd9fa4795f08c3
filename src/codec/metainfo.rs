//! Torrent files (BEP 3, 12, 27, 47).

use std::sync::Arc;

use crate::hash::Digest;
use crate::ids::InfoHash;

use super::geometry::Geometry;
use super::layout::FileEntry;

/// What a torrent file says, made safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// SHA-1 of the original bytes of `info`.
    pub info_hash: InfoHash,
    /// The torrent's name, made safe for one path component.
    pub name: String,
    /// All files in order, padding included; their paths are relative to the download directory and begin with `name`.
    pub files: Vec<FileEntry>,
    /// The cut.
    pub geometry: Geometry,
    /// SHA-1 of each piece, in order.
    pub piece_hashes: Arc<[Digest]>,
    /// Tracker URLs by tier (BEP 12), in the file's order; `announce` is the only tier where there is no list.
    pub trackers: Vec<Vec<String>>,
    /// Web seeds (BEP 19 `url-list`).
    pub web_seeds: Vec<String>,
    /// Whether peers may come from its trackers alone (BEP 27).
    pub private: bool,
    /// Free text.
    pub comment: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// The program that made it.
    pub created_by: Option<String>,
    /// Free text inside `info`.
    pub source: Option<String>,
}

impl Metainfo {
    /// Bytes of the real files, without padding.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.files
            .iter()
            .filter(|file| file.is_regular())
            .map(|file| file.length)
            .sum()
    }
}
