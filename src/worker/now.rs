//! Reads that cost no thread hop: bytes that are already in memory.

use std::io::IoSliceMut;

use rustix::io::{Errno, ReadWriteFlags, preadv, preadv2, retry_on_intr};

use crate::codec::layout::{FileIndex, FileKind, Layout};
use crate::engine::message::{ReadPart, ReadRun};
use crate::time::Instant;

use super::handles::{AtOnce, Handle, OpenFile};

/// What came of a read that may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// Every part is filled.
    Done,
    /// Not all bytes are at hand, or something is wrong: a worker shall read all of it, and report.
    Miss,
}

/// Parts of one call of the system; they live on the stack.
const PARTS_AT_ONCE: usize = 64;

/// Fills a run from open handles without waiting for any device, at `now`; nothing is allocated.
///
/// `handle` gives the open handle of a file, `None` when it has none. The parts of a miss hold anything.
pub fn read_now(
    layout: &Layout,
    mut handle: impl FnMut(FileIndex) -> Option<Handle>,
    run: &mut ReadRun,
    now: Instant,
) -> Now {
    let length: usize = run.parts.iter().map(|part| part.length as usize).sum();
    let mut done = 0;
    for range in layout.ranges(run.offset, length as u64) {
        let end = done + usize::try_from(range.length).expect("at most the run");
        if layout.files[range.file].kind == FileKind::Pad {
            while done < end {
                let (mut parts, count, bytes) = window(&mut run.parts, done, end - done);
                parts[..count].iter_mut().for_each(|part| part.fill(0));
                done += bytes;
            }
            continue;
        }
        let Some(file) = handle(range.file) else {
            return Now::Miss;
        };
        let mut at = range.offset;
        while done < end {
            let (mut parts, count, bytes) = window(&mut run.parts, done, end - done);
            if !read_all(&file, &mut parts[..count], at, bytes) {
                return Now::Miss;
            }
            done += bytes;
            at += bytes as u64;
        }
        // After the read, as a worker does it; its own look will say what is wrong.
        let mut expected = run.expected.iter();
        if let Some(expected) = expected.find(|expected| expected.file == range.file)
            && !file.is_as(expected.stamp, now)
        {
            return Now::Miss;
        }
    }
    if done == length { Now::Done } else { Now::Miss }
}

/// Whether all `bytes` were there.
fn read_all(file: &OpenFile, parts: &mut [IoSliceMut<'_>], at: u64, bytes: usize) -> bool {
    let read = match file.at_once() {
        AtOnce::Never => return false,
        AtOnce::Always => retry_on_intr(|| preadv(&**file, parts, at)),
        AtOnce::Ask => preadv2(&**file, parts, at, ReadWriteFlags::NOWAIT),
    };
    match read {
        Ok(read) => read == bytes,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            file.never_at_once();
            false
        }
        Err(_) => false,
    }
}

/// The parts that hold the bytes `skip .. skip + length` of the run, as far as one call goes: the parts, how many, their bytes
/// (at least one when there are any).
fn window(
    parts: &mut [ReadPart],
    mut skip: usize,
    length: usize,
) -> ([IoSliceMut<'_>; PARTS_AT_ONCE], usize, usize) {
    let mut window = std::array::from_fn(|_| IoSliceMut::new(&mut []));
    let (mut count, mut bytes) = (0, 0);
    for part in parts {
        if count == PARTS_AT_ONCE || bytes == length {
            break;
        }
        let size = part.length as usize;
        if skip >= size {
            skip -= size;
            continue;
        }
        let take = (size - skip).min(length - bytes);
        window[count] = IoSliceMut::new(&mut part.block[skip..][..take]);
        count += 1;
        bytes += take;
        skip = 0;
    }
    (window, count, bytes)
}
