//! Torrents for the tests of this folder.

#![allow(clippy::cast_possible_truncation, reason = "tests on 64 bits")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::buffer::{BLOCK_BYTES, Block};
use crate::codec::geometry::{Geometry, PieceIndex};
use crate::codec::layout::{FileEntry, FileKind, Layout};
use crate::engine::message::{CommitPiece, Done, Job, ReadPart, ReadRun, Storage, Work};
use crate::hash;
use crate::ids::{InfoHash, JobId, SessionId, StreamId};
use crate::rng::Rng;

pub(super) const SESSION: SessionId = SessionId::new(3, 1);

pub(super) const PLAIN: FileKind = FileKind::Regular { executable: false };

/// A torrent and what its bytes should be.
#[derive(Clone, Debug)]
pub(super) struct Fixture {
    pub(super) storage: Arc<Storage>,
    pub(super) content: Vec<u8>,
}

impl Fixture {
    /// Random bytes in these files; padding is zeros.
    pub(super) fn new(root: &Path, piece_length: u32, files: &[(&str, u64, FileKind)]) -> Self {
        let mut rng = Rng::new(files.len() as u64);
        let total: u64 = files.iter().map(|file| file.1).sum();
        let mut content = vec![0; total as usize];
        rng.fill(&mut content);
        Self::of(root, piece_length, files, content)
    }

    /// These bytes in these files.
    pub(super) fn of(
        root: &Path,
        piece_length: u32,
        files: &[(&str, u64, FileKind)],
        mut content: Vec<u8>,
    ) -> Self {
        let mut offset = 0;
        let mut entries = Vec::new();
        for (path, length, kind) in files {
            let end = offset + length;
            if *kind == FileKind::Pad {
                content[offset as usize..end as usize].fill(0);
            }
            entries.push(FileEntry {
                path: PathBuf::from(path),
                length: *length,
                offset,
                kind: kind.clone(),
            });
            offset = end;
        }
        let hashes = content.chunks(piece_length as usize).map(hash::sha1);
        let storage = Storage {
            info_hash: InfoHash([1; 20]),
            piece_hashes: hashes.collect(),
            layout: Layout {
                root: root.to_owned(),
                files: entries,
                geometry: Geometry::new(offset, piece_length).unwrap(),
            },
        };
        Self {
            storage: Arc::new(storage),
            content,
        }
    }

    /// Files of odd sizes, empty ones, padding, and many in one piece.
    pub(super) fn random(root: &Path, rng: &mut Rng) -> Self {
        let lengths = [
            1, 1000, 4096, 16_384, 20_000, 32_768, 65_536, 100_001, 196_608,
        ];
        let piece_length = lengths[rng.index(lengths.len())];
        let mut files = Vec::new();
        let mut left = match piece_length {
            1 => 40,
            1000 => 50_000,
            _ => 1_500_000,
        };
        for index in 0..1 + rng.index(40) {
            let length = match rng.below(5) {
                0 => 0,
                1 => 1 + rng.below(10),
                2 => rng.below(u64::from(piece_length) * 2),
                3 => u64::from(piece_length),
                _ => rng.below(300_000),
            };
            let length = length.min(left);
            left -= length;
            let kind = match rng.below(6) {
                0 => FileKind::Pad,
                1 => FileKind::Regular { executable: true },
                _ => PLAIN,
            };
            files.push((format!("name/{}/file-{index}", index % 3), length, kind));
        }
        let files: Vec<(&str, u64, FileKind)> = files
            .iter()
            .map(|(path, length, kind)| (path.as_str(), *length, kind.clone()))
            .collect();
        Self::new(root, piece_length, &files)
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.storage.layout
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.storage.layout.geometry
    }

    pub(super) fn pieces(&self) -> Vec<PieceIndex> {
        self.geometry().pieces().collect()
    }

    pub(super) fn piece(&self, index: u32) -> PieceIndex {
        self.geometry().piece(index).unwrap()
    }

    /// The bytes of a piece.
    pub(super) fn bytes(&self, piece: PieceIndex) -> &[u8] {
        let offset = self.geometry().piece_offset(piece) as usize;
        &self.content[offset..][..self.geometry().piece_size(piece) as usize]
    }

    /// The right bytes of a file.
    pub(super) fn file(&self, file: usize) -> &[u8] {
        let entry = &self.layout().files[file];
        &self.content[entry.offset as usize..][..entry.length as usize]
    }

    /// A piece in memory.
    pub(super) fn commit(&self, piece: PieceIndex) -> CommitPiece {
        CommitPiece {
            piece,
            blocks: self.bytes(piece).chunks(BLOCK_BYTES).map(block).collect(),
            digests: false,
        }
    }

    /// A run in parts of at most `part` bytes.
    pub(super) fn run(&self, offset: u64, length: u64, part: u32) -> ReadRun {
        let mut parts = Vec::new();
        let mut left = length;
        while left > 0 {
            let length = u32::try_from(left).unwrap().min(part);
            parts.push(ReadPart {
                index: 0,
                begin: 0,
                length,
                block: block(&[0xaa; BLOCK_BYTES]),
            });
            left -= u64::from(length);
        }
        ReadRun {
            stream: StreamId::new(0, 0),
            offset,
            parts,
            expected: Vec::new(),
        }
    }

    pub(super) fn work(&self, job: Job) -> Work {
        Work {
            id: JobId(1),
            session: SESSION,
            storage: Arc::clone(&self.storage),
            job,
        }
    }

    pub(super) fn do_job<F: super::files::Files>(&self, files: &mut F, job: Job) -> Done {
        let mut scratch = super::Scratch::default();
        super::disk::run(files, &mut scratch, self.work(job))
    }
}

/// A block that begins with these bytes.
pub(super) fn block(bytes: &[u8]) -> Block {
    let mut block = Block::new();
    block[..bytes.len()].copy_from_slice(bytes);
    block
}

/// What a run has read.
pub(super) fn bytes_of(run: &ReadRun) -> Vec<u8> {
    run.parts
        .iter()
        .flat_map(|part| part.block[..part.length as usize].iter().copied())
        .collect()
}
