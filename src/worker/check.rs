//! Hashing pieces from disk, many at once: each vector lane follows one piece, strip by strip.
//!
//! A piece of nothing but zeros that should be something else is missing, not bad: nobody has written it. Holes are known to
//! be zeros without reading them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::aligned::Aligned;
use crate::buffer::BLOCK_BYTES;
use crate::codec::geometry::PieceIndex;
use crate::codec::layout::Layout;
use crate::engine::message::{Checked, Fault, FaultKind, Storage, Verdict};
use crate::hash::{self, Digest};
use crate::ids::SessionId;

use super::files::{Access, Files, Place};
use super::span;

/// Bytes a lane advances by: whole blocks, so that their digests can be taken on the way.
const STRIP_BYTES: usize = 64 * 1024;

/// The most pieces at once, whatever the machine could do: with it the scratch is bounded.
const LANES_MAX: usize = 16;

const _: () = assert!(
    STRIP_BYTES.is_multiple_of(BLOCK_BYTES),
    "a block lies in one strip"
);
const _: () = assert!(
    STRIP_BYTES * LANES_MAX <= 1024 * 1024,
    "a worker's scratch is at most 1 MiB"
);

/// A worker's own memory, kept between jobs.
#[derive(Debug, Default)]
pub struct Scratch {
    strips: Aligned,
    /// The last size whose zeros were hashed, with their hash.
    zeros: Option<(u32, Digest)>,
    stop: Arc<AtomicBool>,
}

/// What can be said of a piece without reading it.
enum Look {
    /// It must be read.
    There,
    /// All of it lies in holes or padding: zeros.
    Hole,
    /// It cannot be right, or must not be read.
    Verdict(Verdict),
}

/// Does a [`Job::Check`](crate::engine::message::Job::Check). `None` when it was told to stop; it looks between any two strips.
pub(super) fn check<F: Files>(
    files: &mut F,
    scratch: &mut Scratch,
    session: SessionId,
    storage: &Storage,
    pieces: &[PieceIndex],
    digests: bool,
) -> Option<Vec<Checked>> {
    let geometry = &storage.layout.geometry;
    let mut results: Vec<Checked> = Vec::with_capacity(pieces.len());
    // Places in `results`, by whether the piece has the full length: lanes advance in step.
    let (mut full, mut short) = (Vec::new(), Vec::new());
    for &piece in pieces {
        if scratch.is_stopped() {
            return None;
        }
        let verdict = match look(files, session, &storage.layout, piece) {
            Look::Verdict(verdict) => verdict,
            // A file may be sparse and right; only then are zeros what the hash says.
            Look::Hole if !digests => {
                let zeros = scratch.zeros(geometry.piece_size(piece));
                if zeros == storage.piece_hashes[piece.index()] {
                    Verdict::Good
                } else {
                    Verdict::Missing
                }
            }
            Look::Hole | Look::There => {
                let is_full = geometry.piece_size(piece) == geometry.piece_length();
                let list = if is_full { &mut full } else { &mut short };
                list.push(results.len());
                Verdict::Missing
            }
        };
        results.push(Checked {
            piece,
            verdict,
            digests: Vec::new(),
        });
    }
    let lanes = hash::lanes().clamp(1, LANES_MAX);
    for group in full.chunks(lanes).chain(short.chunks(1)) {
        hash_together(
            files,
            scratch,
            session,
            storage,
            &mut results,
            group,
            digests,
        )?;
    }
    Some(results)
}

/// Hashes the pieces of `results` that `group` names, which have one length. `None` when it was told to stop.
fn hash_together<F: Files>(
    files: &mut F,
    scratch: &mut Scratch,
    session: SessionId,
    storage: &Storage,
    results: &mut [Checked],
    group: &[usize],
    digests: bool,
) -> Option<()> {
    let layout = &storage.layout;
    let Some(&first) = group.first() else {
        return Some(());
    };
    let size = layout.geometry.piece_size(results[first].piece);
    let length = size as usize;
    let mut failed: [Option<Fault>; LANES_MAX] = std::array::from_fn(|_| None);
    let mut lanes = hash::Group::new(group.len());
    if scratch.strips.is_empty() {
        scratch.strips = Aligned::new(STRIP_BYTES * LANES_MAX);
    }
    for begin in (0..length).step_by(STRIP_BYTES) {
        if scratch.is_stopped() {
            return None;
        }
        let length = STRIP_BYTES.min(length - begin);
        let strips = scratch.strips.chunks_exact_mut(STRIP_BYTES);
        for ((strip, &place), failed) in strips.zip(group).zip(&mut failed) {
            if failed.is_some() {
                continue;
            }
            let result = &mut results[place];
            let strip = &mut strip[..length];
            let offset = layout.geometry.piece_offset(result.piece) + begin as u64;
            let buffers = std::iter::once(&mut *strip);
            match span::read(files, session, layout, offset, length as u64, buffers) {
                Err(fault) => *failed = Some(fault),
                Ok(()) if digests => {
                    let blocks = strip.chunks(BLOCK_BYTES).map(hash::sha1);
                    result.digests.extend(blocks);
                }
                Ok(()) => {}
            }
        }
        let strips: [&[u8]; LANES_MAX] =
            std::array::from_fn(|lane| &scratch.strips[lane * STRIP_BYTES..][..length]);
        lanes.update(&strips[..group.len()]);
    }
    let hashes = lanes.finish();
    for ((&place, digest), failed) in group.iter().zip(hashes).zip(&mut failed) {
        let result = &mut results[place];
        result.verdict = match failed.take() {
            Some(fault) => {
                result.digests.clear();
                unreadable(fault)
            }
            None if digest == storage.piece_hashes[result.piece.index()] => Verdict::Good,
            // Where nothing was written yet, but the file was allocated, or a neighbour shares the page at its edge.
            None if !digests && digest == scratch.zeros(size) => Verdict::Missing,
            None => Verdict::Bad,
        };
    }
    Some(())
}

/// Looks at the files of a piece: whether they are there and long enough, and whether anything was ever written there.
fn look<F: Files>(files: &mut F, session: SessionId, layout: &Layout, piece: PieceIndex) -> Look {
    let geometry = &layout.geometry;
    let (offset, size) = (geometry.piece_offset(piece), geometry.piece_size(piece));
    let mut data = false;
    for range in layout.ranges(offset, u64::from(size)) {
        if span::is_padding(layout, range) {
            continue;
        }
        let place = Place {
            session,
            layout,
            file: range.file,
        };
        let end = range.offset + range.length;
        let looked = files.open(place, Access::Read).and_then(|handle| {
            if files.stamp(&handle)?.length < end {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Ok(data
                || files
                    .next_data(&handle, range.offset)?
                    .is_some_and(|at| at < end))
        });
        match looked {
            Ok(found) => data = found,
            Err(error) => return Look::Verdict(unreadable(place.fault("read", &error))),
        }
    }
    if data { Look::There } else { Look::Hole }
}

/// What is gone or too short is missing; anything else is the disk's fault.
fn unreadable(fault: Fault) -> Verdict {
    match fault.kind {
        FaultKind::Gone => Verdict::Missing,
        _ => Verdict::Failed(fault),
    }
}

impl Scratch {
    /// For jobs that break off when somebody sets `stop`.
    #[must_use]
    pub fn with(stop: Arc<AtomicBool>) -> Self {
        Self {
            stop,
            ..Self::default()
        }
    }

    /// Whether the job at hand is to break off.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The hash of `size` zeros.
    fn zeros(&mut self, size: u32) -> Digest {
        match self.zeros {
            Some((of, digest)) if of == size => digest,
            _ => {
                let digest = hash_zeros(size as usize);
                self.zeros = Some((size, digest));
                digest
            }
        }
    }
}

fn hash_zeros(size: usize) -> Digest {
    static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let mut parts = vec![&ZEROS[..]; size / BLOCK_BYTES];
    parts.push(&ZEROS[..size % BLOCK_BYTES]);
    hash::sha1_parts(&parts)
}
