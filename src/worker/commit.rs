//! Pieces from memory to disk: hashed together, then written where they are right, in as few writes as possible.

use crate::buffer::Block;
use crate::codec::geometry::{BlockRef, Geometry, PieceIndex};
use crate::engine::message::{CommitPiece, Committed, Fault, Storage, Verdict};
use crate::hash::{self, Digest};
use crate::ids::SessionId;

use super::files::Files;
use super::span::{self, Broken};

/// Does a [`Job::Commit`](crate::engine::message::Job::Commit).
pub(super) fn commit<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    pieces: Vec<CommitPiece>,
) -> Vec<Committed> {
    let geometry = &storage.layout.geometry;
    let bytes: Vec<Vec<&[u8]>> = pieces
        .iter()
        .map(|piece| filled(geometry, piece.piece, &piece.blocks))
        .collect();
    let messages: Vec<&[&[u8]]> = bytes.iter().map(Vec::as_slice).collect();
    let hashes = hash::sha1_many(&messages);

    let mut verdicts: Vec<Verdict> = pieces
        .iter()
        .zip(hashes)
        .map(|(piece, hash)| {
            if hash == storage.piece_hashes[piece.piece.index()] {
                Verdict::Good
            } else {
                Verdict::Bad
            }
        })
        .collect();
    let digests: Vec<Vec<Digest>> = pieces
        .iter()
        .zip(&bytes)
        .zip(&verdicts)
        .map(|((piece, bytes), verdict)| {
            if piece.digests || *verdict == Verdict::Bad {
                block_digests(bytes)
            } else {
                Vec::new()
            }
        })
        .collect();

    let mut good: Vec<usize> = (0..pieces.len())
        .filter(|&at| verdicts[at] == Verdict::Good)
        .collect();
    good.sort_by_key(|&at| pieces[at].piece);
    let next_to = |&a: &usize, &b: &usize| {
        pieces[a].piece.get().checked_add(1) == Some(pieces[b].piece.get())
    };
    for run in good.chunk_by(next_to) {
        write_run(files, session, storage, &pieces, &bytes, run, &mut verdicts);
    }

    drop(bytes);
    pieces
        .into_iter()
        .zip(verdicts)
        .zip(digests)
        .map(|((piece, verdict), digests)| Committed {
            piece: piece.piece,
            blocks: piece.blocks,
            verdict,
            digests,
        })
        .collect()
}

/// Writes pieces that lie one behind the other. A piece that cannot be written fails; those behind it are tried again without
/// it, for they may lie in another file.
fn write_run<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    pieces: &[CommitPiece],
    bytes: &[Vec<&[u8]>],
    mut run: &[usize],
    verdicts: &mut [Verdict],
) {
    let layout = &storage.layout;
    let size = |at: usize| u64::from(layout.geometry.piece_size(pieces[at].piece));
    while let Some(&first) = run.first() {
        let offset = layout.geometry.piece_offset(pieces[first].piece);
        let length = run.iter().map(|&at| size(at)).sum();
        let buffers = run.iter().flat_map(|&at| bytes[at].iter().copied());
        let Err(Broken { written, fault }) =
            span::write(files, session, layout, offset, length, buffers)
        else {
            return;
        };
        let mut end = 0;
        let failed = run
            .iter()
            .position(|&at| {
                end += size(at);
                end > written
            })
            .unwrap_or(run.len() - 1);
        verdicts[run[failed]] = Verdict::Failed(fault);
        run = &run[failed + 1..];
    }
}

/// Does a [`Job::Write`](crate::engine::message::Job::Write): blocks that lie one behind the other go in one write.
///
/// # Errors
/// At the first fault; what was written before it stays.
pub(super) fn write<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    blocks: &[(BlockRef, Block)],
) -> Result<(), Fault> {
    let layout = &storage.layout;
    let geometry = &layout.geometry;
    let size = |block: BlockRef| u64::from(geometry.block_size(block));
    let mut order: Vec<&(BlockRef, Block)> = blocks.iter().collect();
    order.sort_by_key(|(block, _)| *block);
    let next_to = |(a, _): &&(BlockRef, Block), (b, _): &&(BlockRef, Block)| {
        geometry.block_offset(*a) + size(*a) == geometry.block_offset(*b)
    };
    for run in order.chunk_by(next_to) {
        let offset = geometry.block_offset(run[0].0);
        let length = run.iter().map(|(block, _)| size(*block)).sum();
        let buffers = run
            .iter()
            .map(|(block, bytes)| &bytes[..geometry.block_size(*block) as usize]);
        span::write(files, session, layout, offset, length, buffers)
            .map_err(|broken| broken.fault)?;
    }
    Ok(())
}

/// The bytes of a piece: its blocks as far as they are filled.
fn filled<'a>(geometry: &Geometry, piece: PieceIndex, blocks: &'a [Block]) -> Vec<&'a [u8]> {
    geometry
        .blocks(piece)
        .zip(blocks)
        .map(|(block, bytes)| &bytes[..geometry.block_size(block) as usize])
        .collect()
}

/// The hash of each block.
fn block_digests(blocks: &[&[u8]]) -> Vec<Digest> {
    let messages: Vec<&[&[u8]]> = blocks.iter().map(std::slice::from_ref).collect();
    hash::sha1_many(&messages)
}
