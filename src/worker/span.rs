//! Bytes of a torrent's run, read and written across its files: one call of the system for as much as it takes at once.

use std::io::{self, IoSlice, IoSliceMut};

use crate::codec::layout::{FileKind, FileRange, Layout};
use crate::engine::message::Fault;
use crate::ids::SessionId;

use super::files::{Access, Files, IOV_MAX, Place, fault};

/// A write that failed.
#[derive(Debug)]
pub(super) struct Broken {
    /// Bytes of the run that are written, padding included.
    pub(super) written: u64,
    /// Why not more.
    pub(super) fault: Fault,
}

/// Fills `buffers`, one behind the other, from `offset` of the torrent's run; padding reads as zeros.
///
/// # Errors
/// `Gone` when a file is missing or too short, else what the disk says.
pub(super) fn read<'a, F: Files>(
    files: &mut F,
    session: SessionId,
    layout: &Layout,
    offset: u64,
    length: u64,
    buffers: impl Iterator<Item = &'a mut [u8]>,
) -> Result<(), Fault> {
    if !exists(layout, offset, length) {
        let end = io::ErrorKind::UnexpectedEof.into();
        return Err(fault(&layout.root, "read beyond the end of", &end));
    }
    let mut rest = CutMut {
        current: &mut [],
        buffers,
    };
    for range in layout.ranges(offset, length) {
        let mut parts = rest.take(range.length);
        let place = Place {
            session,
            layout,
            file: range.file,
        };
        if is_padding(layout, range) {
            parts.iter_mut().for_each(|part| part.fill(0));
        } else {
            read_range(files, place, range, &mut parts)
                .map_err(|error| place.fault("read", &error))?;
        }
    }
    Ok(())
}

/// Writes `buffers`, one behind the other, to `offset` of the torrent's run; padding is passed over.
///
/// # Errors
/// At the first fault.
pub(super) fn write<'a, F: Files>(
    files: &mut F,
    session: SessionId,
    layout: &Layout,
    offset: u64,
    length: u64,
    buffers: impl Iterator<Item = &'a [u8]>,
) -> Result<(), Broken> {
    if !exists(layout, offset, length) {
        let end = io::ErrorKind::UnexpectedEof.into();
        return Err(Broken {
            written: 0,
            fault: fault(&layout.root, "write beyond the end of", &end),
        });
    }
    let mut rest = Cut {
        current: &[],
        buffers,
    };
    let mut written = 0;
    for range in layout.ranges(offset, length) {
        let mut parts = rest.take(range.length);
        let place = Place {
            session,
            layout,
            file: range.file,
        };
        if is_padding(layout, range) {
            written += range.length;
        } else {
            write_range(files, place, range, &mut parts, &mut written).map_err(|error| Broken {
                written,
                fault: place.fault("write", &error),
            })?;
        }
    }
    Ok(())
}

/// Whether the torrent has these bytes.
fn exists(layout: &Layout, offset: u64, length: u64) -> bool {
    offset
        .checked_add(length)
        .is_some_and(|end| end <= layout.geometry.total())
}

/// Whether nothing of a range is on disk.
pub(super) fn is_padding(layout: &Layout, range: FileRange) -> bool {
    layout.files[range.file].kind == FileKind::Pad
}

fn read_range<F: Files>(
    files: &mut F,
    place: Place<'_>,
    range: FileRange,
    mut parts: &mut [IoSliceMut<'_>],
) -> io::Result<()> {
    let handle = files.open(place, Access::Read)?;
    let mut at = range.offset;
    while !parts.is_empty() {
        let count = parts.len().min(IOV_MAX);
        let read = files.read_at(&handle, &mut parts[..count], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += read as u64;
        IoSliceMut::advance_slices(&mut parts, read);
    }
    Ok(())
}

fn write_range<F: Files>(
    files: &mut F,
    place: Place<'_>,
    range: FileRange,
    mut parts: &mut [IoSlice<'_>],
    written: &mut u64,
) -> io::Result<()> {
    let handle = files.open(place, Access::Write)?;
    let mut at = range.offset;
    while !parts.is_empty() {
        let count = parts.len().min(IOV_MAX);
        let wrote = files.write_at(&handle, &parts[..count], at)?;
        if wrote == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        at += wrote as u64;
        *written += wrote as u64;
        IoSlice::advance_slices(&mut parts, wrote);
    }
    Ok(())
}

/// Buffers that are used up from the front.
struct Cut<'a, I> {
    current: &'a [u8],
    buffers: I,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Cut<'a, I> {
    /// The next `length` bytes, no empty part among them; fewer when the buffers end.
    fn take(&mut self, length: u64) -> Vec<IoSlice<'a>> {
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        let mut parts = Vec::new();
        while left > 0 {
            if self.current.is_empty() {
                match self.buffers.next() {
                    Some(next) => self.current = next,
                    None => break,
                }
            }
            let (head, tail) = self.current.split_at(left.min(self.current.len()));
            self.current = tail;
            if !head.is_empty() {
                left -= head.len();
                parts.push(IoSlice::new(head));
            }
        }
        parts
    }
}

/// The same for buffers to be filled.
struct CutMut<'a, I> {
    current: &'a mut [u8],
    buffers: I,
}

impl<'a, I: Iterator<Item = &'a mut [u8]>> CutMut<'a, I> {
    fn take(&mut self, length: u64) -> Vec<IoSliceMut<'a>> {
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        let mut parts = Vec::new();
        while left > 0 {
            if self.current.is_empty() {
                match self.buffers.next() {
                    Some(next) => self.current = next,
                    None => break,
                }
            }
            let current = std::mem::take(&mut self.current);
            let (head, tail) = current.split_at_mut(left.min(current.len()));
            self.current = tail;
            if !head.is_empty() {
                left -= head.len();
                parts.push(IoSliceMut::new(head));
            }
        }
        parts
    }
}
