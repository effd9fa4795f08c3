//! What each stream still has to write, and how it goes out: all of a stream's frames in one vectored write.
//!
//! Small frames and the heads of blocks are copied into one run of bytes, so that a write needs few slices; blocks and large
//! frames go out from where they are. Every block that was queued comes back exactly once, written or not.
//! A stream with nothing to write holds no buffer: outboxes are pooled.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;

use super::host::Host;
use super::ready::Reading;
use crate::buffer::Block;
use crate::engine::message::Frame;
use crate::ids::StreamId;

/// Slices of one vectored write: about 32 blocks with their heads.
const SLICES_MAX: usize = 64;

/// Frames without payload up to this length are copied; longer ones cost less as a slice of their own.
const COPIED_MAX: usize = 512;

/// Outboxes kept for reuse.
const OUTBOXES_KEPT: usize = 64;

/// An outbox whose run of bytes has grown beyond this is not kept.
const RUN_KEPT_BYTES: usize = 64 * 1024;

/// A contiguous part of what is to be written.
#[derive(Debug)]
enum Segment {
    /// The next so many bytes of the run.
    Run(usize),
    /// A long frame.
    Bytes(Vec<u8>),
    /// The first so many bytes of a block.
    Block(Block, usize),
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Self::Run(length) | Self::Block(_, length) => *length,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Frames that wait, in order.
#[derive(Debug, Default)]
struct Outbox {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that are written already.
    written: usize,
    /// Bytes of all [`Segment::Run`]s, one behind the other.
    run: Vec<u8>,
    /// Where the first of them begins.
    run_start: usize,
}

impl Outbox {
    fn push(&mut self, frame: Frame) {
        match frame {
            Frame::Small { length, bytes } => self.copy(&bytes[..usize::from(length)]),
            Frame::Bytes(bytes) if bytes.len() <= COPIED_MAX => self.copy(&bytes),
            Frame::Bytes(bytes) => self.segments.push_back(Segment::Bytes(bytes)),
            Frame::Block {
                head,
                block,
                length,
            } => {
                self.copy(&head);
                self.segments
                    .push_back(Segment::Block(block, length as usize));
            }
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.run.extend_from_slice(bytes);
        match self.segments.back_mut() {
            Some(Segment::Run(length)) => *length += bytes.len(),
            _ => self.segments.push_back(Segment::Run(bytes.len())),
        }
    }

    /// Fills `slices` from the front; how many were filled, and how many bytes they hold.
    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> (usize, usize) {
        let mut run = self.run_start;
        let mut skip = self.written;
        let (mut filled, mut bytes) = (0, 0);
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            let whole = match segment {
                Segment::Run(length) => {
                    let part = &self.run[run..run + length];
                    run += length;
                    part
                }
                Segment::Bytes(bytes) => bytes,
                Segment::Block(block, length) => &block[..*length],
            };
            let rest = &whole[mem::take(&mut skip)..];
            *slice = IoSlice::new(rest);
            bytes += rest.len();
            filled += 1;
        }
        (filled, bytes)
    }

    /// Drops the first `count` bytes; blocks that are done with go to `blocks`.
    fn advance(&mut self, count: usize, blocks: &mut Vec<Block>) {
        self.written += count;
        while let Some(first) = self.segments.front() {
            let length = first.len();
            if self.written < length {
                break;
            }
            self.written -= length;
            match self.segments.pop_front() {
                Some(Segment::Run(length)) => self.run_start += length,
                Some(Segment::Block(block, _)) => blocks.push(block),
                Some(Segment::Bytes(_)) | None => {}
            }
        }
        if self.run_start == self.run.len() {
            self.run.clear();
            self.run_start = 0;
        } else if self.run_start > self.run.len() / 2 {
            // Amortised: as many bytes were written as are moved now.
            self.run.drain(..self.run_start);
            self.run_start = 0;
        }
    }

    /// Gives back the blocks that were not written.
    fn abandon(&mut self, blocks: &mut Vec<Block>) {
        for segment in self.segments.drain(..) {
            if let Segment::Block(block, _) = segment {
                blocks.push(block);
            }
        }
        self.written = 0;
        self.run.clear();
        self.run_start = 0;
    }

    fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// One stream.
#[derive(Debug)]
struct Stream {
    generation: u32,
    /// Whether it is connected.
    up: bool,
    reading: Reading,
    /// Until a write says otherwise.
    writable: bool,
    /// Whether it stands in the list of those to write.
    dirty: bool,
    outbox: Option<Box<Outbox>>,
}

/// How a write went.
#[derive(Debug)]
pub(super) enum Written {
    /// So many bytes of so many offered.
    Bytes(usize, usize),
    /// Nothing to write, nobody there, or nothing fits.
    Nothing,
    /// The stream is broken.
    Failed(io::Error),
}

/// All streams, by slot. The engine allots the slots and bounds them.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Option<Stream>>,
    open: u64,
    dirty: VecDeque<StreamId>,
    #[allow(
        clippy::vec_box,
        reason = "they move between here and the streams, which hold a word each"
    )]
    spare: Vec<Box<Outbox>>,
}

impl Streams {
    /// Enters a stream; `up` when it is connected already.
    pub(super) fn insert(&mut self, id: StreamId, up: bool) {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || None);
        }
        let slot = &mut self.slots[id.slot()];
        assert!(
            slot.is_none(),
            "a slot is given out again only when its stream is gone"
        );
        *slot = Some(Stream {
            generation: id.generation(),
            up,
            reading: Reading::default(),
            writable: true,
            dirty: false,
            outbox: None,
        });
        self.open += 1;
    }

    /// How many there are.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// Whether the stream is there at all.
    pub(super) fn contains(&self, id: StreamId) -> bool {
        matches!(self.slots.get(id.slot()), Some(Some(stream)) if stream.generation == id.generation())
    }

    /// The reading side of a stream that is up.
    pub(super) fn reading(&mut self, id: StreamId) -> Option<&mut Reading> {
        self.get(id)
            .filter(|stream| stream.up)
            .map(|stream| &mut stream.reading)
    }

    /// The dial succeeded; `false` when the stream is gone or was up before.
    pub(super) fn connected(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.get(id).filter(|stream| !stream.up) else {
            return false;
        };
        stream.up = true;
        stream.writable = true;
        self.mark(id);
        true
    }

    /// Something can be written.
    pub(super) fn writable(&mut self, id: StreamId) {
        if let Some(stream) = self.get(id) {
            stream.writable = true;
            self.mark(id);
        }
    }

    /// Queues a frame. For a stream that is gone its block comes back.
    pub(super) fn push(&mut self, id: StreamId, frame: Frame) -> Option<Block> {
        let spare = &mut self.spare;
        let stream = match self.slots.get_mut(id.slot()) {
            Some(Some(stream)) if stream.generation == id.generation() => stream,
            _ => {
                return match frame {
                    Frame::Block { block, .. } => Some(block),
                    Frame::Small { .. } | Frame::Bytes(_) => None,
                };
            }
        };
        stream
            .outbox
            .get_or_insert_with(|| spare.pop().unwrap_or_default())
            .push(frame);
        if !stream.dirty {
            self.mark(id);
        }
        None
    }

    /// How many streams wait to be written that can be. Some may be gone.
    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// The stream whose turn it is to be written.
    pub(super) fn next_dirty(&mut self) -> Option<StreamId> {
        self.dirty.pop_front()
    }

    /// Writes once what stream `id` has queued. Blocks that are done with go to `blocks`.
    pub(super) fn write<H: Host>(
        &mut self,
        host: &mut H,
        id: StreamId,
        blocks: &mut Vec<Block>,
    ) -> Written {
        let Some(stream) = self.get(id) else {
            return Written::Nothing;
        };
        stream.dirty = false;
        if !stream.up || !stream.writable {
            return Written::Nothing;
        }
        let Some(outbox) = &mut stream.outbox else {
            return Written::Nothing;
        };
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (count, offered) = outbox.slices(&mut slices);
        let written = match host.write(id, &slices[..count]) {
            Ok(0) if offered > 0 => return Written::Failed(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.writable = false;
                return Written::Nothing;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Written::Failed(error),
        };
        outbox.advance(written, blocks);
        if outbox.is_empty() {
            let outbox = stream.outbox.take();
            self.put_away(outbox);
        } else {
            stream.writable = written == offered || host.write_more(id);
            self.mark(id);
        }
        Written::Bytes(written, offered)
    }

    /// Forgets a stream. Its unwritten blocks go to `blocks`; whether there was a stream, and whether nothing was left unwritten.
    pub(super) fn remove(&mut self, id: StreamId, blocks: &mut Vec<Block>) -> Option<bool> {
        if !self.contains(id) {
            return None;
        }
        let stream = self.slots[id.slot()].take()?;
        self.open -= 1;
        let mut outbox = stream.outbox;
        let clean = outbox.is_none();
        if let Some(outbox) = &mut outbox {
            outbox.abandon(blocks);
        }
        self.put_away(outbox);
        Some(clean)
    }

    fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.slots
            .get_mut(id.slot())?
            .as_mut()
            .filter(|stream| stream.generation == id.generation())
    }

    /// Puts a stream on the list when it has something to write and can.
    fn mark(&mut self, id: StreamId) {
        let Some(stream) = self.get(id) else {
            return;
        };
        if stream.up && stream.writable && !stream.dirty && stream.outbox.is_some() {
            stream.dirty = true;
            self.dirty.push_back(id);
        }
    }

    fn put_away(&mut self, outbox: Option<Box<Outbox>>) {
        if let Some(outbox) = outbox
            && self.spare.len() < OUTBOXES_KEPT
            && outbox.run.capacity() <= RUN_KEPT_BYTES
        {
            self.spare.push(outbox);
        }
    }
}
