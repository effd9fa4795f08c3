//! Where a torrent's run of bytes lies on disk: a root directory and the files under it.

use std::path::{Path, PathBuf};

use super::geometry::Geometry;

/// 0-based place of a file in its torrent.
pub type FileIndex = usize;

/// What a file of a torrent is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Bytes in a file of its own; `executable` asks for the x bit (BEP 47).
    Regular {
        /// Attribute `x` of BEP 47.
        executable: bool,
    },
    /// Zeros that exist only in the hashes (BEP 47): read as zeros, never written.
    Pad,
    /// A symbolic link into the same torrent, made safe (BEP 47).
    Symlink {
        /// What it points at, relative to the root, without `..`: the torrent's own directory or a place below it, be it a
        /// file, a directory, another link, or nothing.
        target: PathBuf,
    },
}

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative to the root, made safe: no `..`, not absolute, unique in its torrent.
    pub path: PathBuf,
    /// Bytes.
    pub length: u64,
    /// Where its first byte lies in the torrent's run of bytes.
    pub offset: u64,
    /// What it is on disk.
    pub kind: FileKind,
}

impl FileEntry {
    /// Whether it has bytes on disk.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        matches!(self.kind, FileKind::Regular { .. })
    }
}

/// A part of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// Which file.
    pub file: FileIndex,
    /// Where in the file.
    pub offset: u64,
    /// Bytes, at least one.
    pub length: u64,
}

/// A torrent's place on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The directory that nothing is written outside of.
    pub root: PathBuf,
    /// All files in the torrent's order, padding included.
    pub files: Vec<FileEntry>,
    /// The cut.
    pub geometry: Geometry,
}

impl Layout {
    /// The parts of files that hold the bytes `offset .. offset + length`, in order; files without bytes are passed over.
    pub fn ranges(&self, offset: u64, length: u64) -> impl Iterator<Item = FileRange> + '_ {
        let end = offset.saturating_add(length).min(self.geometry.total());
        let first = self
            .files
            .partition_point(|file| file.offset + file.length <= offset);
        self.files[first..]
            .iter()
            .enumerate()
            .take_while(move |(_, file)| file.offset < end)
            .filter_map(move |(index, file)| {
                let from = offset.max(file.offset);
                let to = end.min(file.offset + file.length);
                (from < to).then(|| FileRange {
                    file: first + index,
                    offset: from - file.offset,
                    length: to - from,
                })
            })
    }

    /// The full path of `file`.
    #[must_use]
    pub fn path(&self, file: FileIndex) -> PathBuf {
        self.root.join(&self.files[file].path)
    }

    /// The same files under another root.
    #[must_use]
    pub fn at(&self, root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            ..self.clone()
        }
    }
}
