//! Remembered readiness: which streams wait to be read, in turn, and which are held back.
//!
//! Readiness is edge-triggered: a stream that was reported readable stays so until a read finds nothing more. Each waiting
//! stream is read once, then goes to the end of the queue. A held stream keeps its readiness but does not queue.

use std::collections::VecDeque;

use crate::ids::StreamId;

/// What is remembered of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    ready: bool,
    held: bool,
    queued: bool,
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

    /// The stream whose turn it is, if it may be read: it may be gone, or held by now.
    pub(super) fn next(&mut self) -> Option<StreamId> {
        self.queue.pop_front()
    }

    /// Whether the stream that [`Self::next`] named is to be read now.
    pub(super) fn begin(reading: &mut Reading) -> bool {
        reading.queued = false;
        reading.ready && !reading.held
    }

    /// The stream was read; `more` when another read may bring something.
    pub(super) fn finish(&mut self, stream: StreamId, reading: &mut Reading, more: bool) {
        reading.ready = more;
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
        if reading.ready && !reading.held && !reading.queued {
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
        ready.finish(id(0), &mut a, true);
        ready.hold(id(1), &mut b, true);
        assert_eq!(ready.next(), Some(id(1)));
        assert!(!ReadyQueue::begin(&mut b), "held");
        assert_eq!(ready.next(), Some(id(0)));
        assert!(ReadyQueue::begin(&mut a));
        ready.finish(id(0), &mut a, false);
        assert_eq!(ready.next(), None);
        ready.hold(id(1), &mut b, false);
        assert_eq!(ready.next(), Some(id(1)), "what was ready still is");
    }
}
