//! Remembered readiness: which streams wait to be read, in turn, and which are held back.
//!
//! Readiness is edge-triggered: a stream that was reported readable stays so until a read finds nothing more. Each waiting
//! stream is read once, then goes to the end of the queue. A held stream keeps its readiness but does not queue.

use std::collections::VecDeque;

use crate::ids::StreamId;

/// What is remembered of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    ready: bool,
    held: bool,
    queued: bool,
    /// Bytes that may still be read; [`u64::MAX`] is no bound.
    allowed: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            ready: false,
            held: false,
            queued: false,
            allowed: u64::MAX,
        }
    }
}

impl Reading {
    /// How much of `length` may be read at once.
    pub(super) fn most(&self, length: usize) -> usize {
        usize::try_from(self.allowed).map_or(length, |allowed| allowed.min(length))
    }

    const fn may(&self) -> bool {
        self.ready && !self.held && self.allowed > 0
    }
}

/// Everything that waits to be read. At most one entry a stream.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    queue: VecDeque<StreamId>,
    /// Sockets wait to be accepted.
    pub(super) incoming: bool,
    /// Datagrams wait to be received.
    pub(super) datagrams: bool,
}

impl ReadyQueue {
    /// Something can be read.
    pub(super) fn readable(&mut self, stream: StreamId, reading: &mut Reading) {
        reading.ready = true;
        self.queue_up(stream, reading);
    }

    /// Holds a stream back, or lets it go on.
    pub(super) fn hold(&mut self, stream: StreamId, reading: &mut Reading, hold: bool) {
        reading.held = hold;
        self.queue_up(stream, reading);
    }

    /// Sets how many bytes of a stream may be read.
    pub(super) fn meter(&mut self, stream: StreamId, reading: &mut Reading, bytes: u64) {
        reading.allowed = bytes;
        self.queue_up(stream, reading);
    }

    /// The stream whose turn it is, if it may be read: it may be gone, or held by now.
    pub(super) fn next(&mut self) -> Option<StreamId> {
        self.queue.pop_front()
    }

    /// Whether the stream that [`Self::next`] named is to be read now.
    pub(super) fn begin(reading: &mut Reading) -> bool {
        reading.queued = false;
        reading.may()
    }

    /// So many bytes of the stream were read; `more` when another read may bring something.
    pub(super) fn finish(
        &mut self,
        stream: StreamId,
        reading: &mut Reading,
        bytes: usize,
        more: bool,
    ) {
        reading.ready = more;
        if reading.allowed < u64::MAX {
            reading.allowed = reading.allowed.saturating_sub(bytes as u64);
        }
        self.queue_up(stream, reading);
    }

    /// Streams waiting in line.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether anything waits.
    pub(super) fn any(&self) -> bool {
        self.incoming || self.datagrams || !self.queue.is_empty()
    }

    fn queue_up(&mut self, stream: StreamId, reading: &mut Reading) {
        if reading.may() && !reading.queued {
            reading.queued = true;
            self.queue.push_back(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_take_turns_and_held_ones_keep_their_readiness() {
        let mut ready = ReadyQueue::default();
        let id = |slot| StreamId::new(slot, 0);
        let mut a = Reading::default();
        let mut b = Reading::default();
        ready.readable(id(0), &mut a);
        ready.readable(id(1), &mut b);
        ready.readable(id(0), &mut a);
        assert_eq!(ready.len(), 2, "one entry a stream");
        assert_eq!(ready.next(), Some(id(0)));
        assert!(ReadyQueue::begin(&mut a));
        ready.finish(id(0), &mut a, 1, true);
        ready.hold(id(1), &mut b, true);
        assert_eq!(ready.next(), Some(id(1)));
        assert!(!ReadyQueue::begin(&mut b), "held");
        assert_eq!(ready.next(), Some(id(0)));
        assert!(ReadyQueue::begin(&mut a));
        ready.finish(id(0), &mut a, 1, false);
        assert_eq!(ready.next(), None);
        ready.hold(id(1), &mut b, false);
        assert_eq!(ready.next(), Some(id(1)), "what was ready still is");
    }

    #[test]
    fn a_metered_stream_is_read_so_far_and_keeps_its_readiness() {
        let mut ready = ReadyQueue::default();
        let id = StreamId::new(0, 0);
        let mut reading = Reading::default();
        assert_eq!(reading.most(77), 77);
        ready.meter(id, &mut reading, 10);
        ready.readable(id, &mut reading);
        assert_eq!(ready.next(), Some(id));
        assert!(ReadyQueue::begin(&mut reading));
        assert_eq!(reading.most(77), 10);
        ready.finish(id, &mut reading, 4, true);
        assert_eq!((ready.next(), reading.most(77)), (Some(id), 6));
        assert!(ReadyQueue::begin(&mut reading));
        ready.finish(id, &mut reading, 6, true);
        assert_eq!(ready.next(), None, "used up");
        ready.meter(id, &mut reading, 0);
        assert_eq!(ready.next(), None);
        ready.meter(id, &mut reading, u64::MAX);
        assert_eq!((ready.next(), reading.most(77)), (Some(id), 77));
    }
}
