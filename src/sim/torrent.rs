//! The one torrent of a simulated world, and what is true of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::bencode::Item;
use crate::codec::geometry::{BLOCK_LENGTH, Geometry, PieceIndex};
use crate::codec::layout::{FileEntry, FileKind, Layout};
use crate::codec::metainfo::Metainfo;
use crate::hash;
use crate::ids::InfoHash;
use crate::rng::Rng;

use super::disk::Disk;

/// A torrent and its content.
#[derive(Debug)]
pub struct Torrent {
    /// As a torrent file would say it.
    pub metainfo: Arc<Metainfo>,
    /// Its bytes, padding included.
    pub content: Vec<u8>,
    /// Where its files lie, on every machine.
    pub layout: Layout,
}

impl Torrent {
    /// One of about `bytes`, in one to five files of odd lengths, some behind padding (BEP 47), some empty.
    #[must_use]
    pub fn draw(bytes: u64, trackers: Vec<Vec<String>>, rng: &mut Rng) -> Self {
        // The longest do not fit into a quarter of the simulated pool: they are written in place.
        let piece_length = BLOCK_LENGTH << rng.below(6);
        let mut files = Vec::new();
        let mut offset = 0;
        let regular = FileKind::Regular { executable: false };
        let count = 1 + rng.below(5);
        for at in 0..count {
            let length = match rng.below(8) {
                0 if count > 1 => 0,
                1 => rng.below(100),
                _ => 1 + rng.below(2 * bytes / count),
            };
            let path = PathBuf::from(format!("torrent/{at}.bin"));
            files.push(FileEntry {
                path,
                length,
                offset,
                kind: regular.clone(),
            });
            offset += length;
            let rest = offset % u64::from(piece_length);
            if rest != 0 && at + 1 < count && rng.chance(1, 3) {
                let length = u64::from(piece_length) - rest;
                let path = PathBuf::from(format!("torrent/.pad/{at}"));
                files.push(FileEntry {
                    path,
                    length,
                    offset,
                    kind: FileKind::Pad,
                });
                offset += length;
            }
        }
        let path = PathBuf::from("torrent/last.bin");
        let length = 1 + rng.below(bytes);
        files.push(FileEntry {
            path,
            length,
            offset,
            kind: regular,
        });
        offset += length;

        let mut content = vec![0; usize::try_from(offset).expect("a simulated torrent is small")];
        for file in files.iter().filter(|file| file.is_regular()) {
            rng.fill(&mut content[span(file.offset, file.length)]);
        }
        let geometry = Geometry::new(offset, piece_length).expect("a valid cut");
        let piece_hashes = content
            .chunks(piece_length as usize)
            .map(hash::sha1)
            .collect();
        let mut info_hash = [0; 20];
        rng.fill(&mut info_hash);
        let metainfo = Metainfo {
            info_hash: InfoHash(info_hash),
            name: "torrent".to_owned(),
            files: files.clone(),
            geometry,
            piece_hashes,
            trackers,
            web_seeds: Vec::new(),
            private: false,
            comment: None,
            creation_date: None,
            created_by: None,
            source: None,
            info: Arc::default(),
        };
        let layout = Layout {
            root: PathBuf::from("/data"),
            files,
            geometry,
        };
        Self {
            metainfo: Arc::new(metainfo),
            content,
            layout,
        }
    }

    /// The same with an info dictionary, so that peers can be told of it.
    #[must_use]
    pub fn with_info(mut self) -> Self {
        let file = |file: &FileEntry| {
            let path = file.path.iter().skip(1);
            let path = path.map(|part| Item::from(part.as_encoded_bytes().to_vec()));
            let length = i64::try_from(file.length).expect("a simulated torrent is small");
            let mut dict = Item::dict([
                ("length", Item::Integer(length)),
                ("path", Item::List(path.collect())),
            ]);
            if file.kind == FileKind::Pad {
                dict.insert("attr", Item::from("p"));
            }
            dict
        };
        let metainfo = &self.metainfo;
        let info = Item::dict([
            (
                "files",
                Item::List(metainfo.files.iter().map(file).collect()),
            ),
            ("name", Item::from("torrent")),
            (
                "piece length",
                Item::Integer(metainfo.geometry.piece_length().into()),
            ),
            ("pieces", Item::from(metainfo.piece_hashes.concat())),
            // Some torrents have much to say of themselves.
            ("source", Item::from("x".repeat(40_000).into_bytes())),
        ]);
        let info = info.encode();
        self.metainfo = Arc::new(Metainfo {
            info_hash: InfoHash(hash::sha1(&info)),
            info: info.into(),
            ..Metainfo::clone(metainfo)
        });
        self
    }

    /// Puts all files on a disk.
    pub fn put_on(&self, disk: &mut Disk) {
        for (index, file) in self.layout.files.iter().enumerate() {
            if file.is_regular() {
                disk.put(
                    self.layout.path(index),
                    &self.content[span(file.offset, file.length)],
                );
            }
        }
    }

    /// Bytes that a disk needs to hold it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.metainfo.total_size()
    }

    /// The true bytes of a request; `None` when they do not exist.
    #[must_use]
    pub fn bytes(&self, index: u32, begin: u32, length: u32) -> Option<&[u8]> {
        let geometry = &self.layout.geometry;
        let piece = geometry.requested(index, begin, length)?;
        let offset = geometry.piece_offset(piece) + u64::from(begin);
        Some(&self.content[span(offset, u64::from(length))])
    }

    /// Whether `read` (a file's content by its path) has this piece right.
    pub fn has_piece<'a>(
        &self,
        piece: PieceIndex,
        mut read: impl FnMut(&Path) -> Option<&'a [u8]>,
    ) -> bool {
        let geometry = &self.layout.geometry;
        let offset = geometry.piece_offset(piece);
        let size = u64::from(geometry.piece_size(piece));
        let mut at = offset;
        self.layout.ranges(offset, size).all(|range| {
            let truth = &self.content[span(at, range.length)];
            at += range.length;
            self.layout.files[range.file].kind == FileKind::Pad
                || read(&self.layout.path(range.file))
                    .and_then(|bytes| bytes.get(span(range.offset, range.length)))
                    == Some(truth)
        })
    }
}

fn span(offset: u64, length: u64) -> std::ops::Range<usize> {
    let narrow = |n| usize::try_from(n).expect("a simulated torrent is small");
    narrow(offset)..narrow(offset + length)
}
