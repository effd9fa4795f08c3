//! Lines on their way to a helper that may not read them: bounded, and watched.

use std::collections::VecDeque;
use std::time::Duration;

/// Lines that may wait for one helper. Beyond it no event is taken from its subscription, which then loses events (the gap in
/// `seq` shows it); and a helper that has taken nothing for [`STILL_FULL_MAX`] is cut off.
pub(super) const LINES_MAX: usize = 1000;

/// Bytes that may wait for one helper; the same happens beyond.
pub(super) const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Answers that may wait for one helper; beyond it no further command of it is read until it reads some.
pub(super) const UNREAD_MAX: usize = 500;

/// How long a helper may take nothing while there is something for it; then it is cut off.
pub(super) const NOTHING_READ_MAX: Duration = Duration::from_secs(10);

/// The same when its lines are full.
pub(super) const STILL_FULL_MAX: Duration = Duration::from_secs(1);

const _: () = assert!(UNREAD_MAX < LINES_MAX, "answers alone never fill the lines");

/// The lines. Times are counted from any one moment.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How much of the first line has been taken.
    taken: usize,
    /// When something was last taken, or the first line came.
    since: Duration,
}

impl Outbox {
    /// Whether no more events should be put in.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= LINES_MAX || self.bytes >= BYTES_MAX
    }

    /// Whether commands should wait until some of it is taken.
    pub(super) fn is_unread(&self) -> bool {
        self.lines.len() >= UNREAD_MAX || self.bytes >= BYTES_MAX / 2
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: Vec<u8>, now: Duration) {
        if self.lines.is_empty() {
            self.since = now;
        }
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// What is to be written next; empty when nothing is.
    pub(super) fn front(&self) -> &[u8] {
        self.lines.front().map_or(&[], |line| &line[self.taken..])
    }

    /// So many bytes of [`Self::front`] were taken.
    pub(super) fn took(&mut self, count: usize, now: Duration) {
        self.since = now;
        self.taken += count;
        if self
            .lines
            .front()
            .is_some_and(|line| self.taken >= line.len())
            && let Some(line) = self.lines.pop_front()
        {
            self.bytes -= line.len();
            self.taken = 0;
        }
    }

    /// Drops everything: there is nobody to read it.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// By when something must have been taken; `None` when nothing waits.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let allowed = if self.is_full() {
            STILL_FULL_MAX
        } else {
            NOTHING_READ_MAX
        };
        (!self.lines.is_empty()).then(|| self.since + allowed)
    }

    /// Lines that wait.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_takes_nothing_has_a_deadline_that_taking_moves() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.deadline(), None);
        outbox.push(b"one\n".to_vec(), at(5));
        outbox.push(b"two\n".to_vec(), at(9));
        assert_eq!(outbox.deadline(), Some(at(15)), "since the first line came");
        outbox.took(2, at(12));
        assert_eq!(
            (outbox.front(), outbox.deadline()),
            (&b"e\n"[..], Some(at(22)))
        );
        outbox.took(2, at(13));
        assert_eq!(outbox.front(), b"two\n");
        outbox.took(4, at(14));
        assert_eq!(
            (outbox.is_empty(), outbox.deadline(), outbox.bytes),
            (true, None, 0)
        );
        while !outbox.is_full() {
            outbox.push(vec![b'\n'], at(20));
        }
        assert_eq!((outbox.len(), outbox.deadline()), (LINES_MAX, Some(at(21))));
        assert!(outbox.is_unread());
    }

    #[test]
    fn large_lines_count_by_their_bytes() {
        let mut outbox = Outbox::default();
        for _ in 0..16 {
            assert!(!outbox.is_full());
            outbox.push(vec![0; 1024 * 1024], at(0));
        }
        assert!(outbox.is_full());
    }
}
