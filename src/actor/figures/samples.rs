//! Samples: the few messages whose wait and service are timed.
//!
//! One message in [`SAMPLE_EVERY`] is a sample, and one batch in as many is one as a whole: each of its operations is timed
//! then. Samples are spread so that no rhythm of callers hides a type.

use super::super::mailbox::Lane;
use super::kinds::Type;
use super::logs::{self, SLOW, Verdict};
use super::{Figures, micros};
use crate::ids::ReplyId;
use crate::metrics::Coarse;
use crate::time::{Duration, Instant};

/// Samples are this rare: two readings of the clock cost as much as a small message.
const SAMPLE_EVERY: u64 = 1 << SAMPLE_BITS;
const SAMPLE_BITS: u32 = 6;

const _: () = assert!(SAMPLE_EVERY == 64, "the documentation says so");

/// Whether the message, or batch, with this number among those of its caller in its lane carries the time it was sent.
///
/// The fraction of the number times the golden ratio is spread evenly, whatever the step of the numbers; with each 64th
/// number, a caller that sends types in turn would be seen by some of them alone.
#[inline]
pub(in super::super) fn is_sample(sequence: u64) -> bool {
    let sampled = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SAMPLE_BITS) == 0;
    sampled || logs::traced()
}

/// How the envelope of a message came.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Stamp {
    /// Where it queued.
    pub(in super::super) lane: Lane,
    /// When it was sent; [`Instant::FAR`] when it is no sample.
    pub(in super::super) sent: Instant,
    /// Whether somebody waits for the answer.
    pub(in super::super) asked: bool,
}

impl Stamp {
    /// Of what the loop does of itself.
    pub(in super::super) const OWN: Self = Self {
        lane: Lane::Critical,
        sent: Instant::FAR,
        asked: false,
    };
}

/// A sample under way.
#[derive(Debug)]
pub(in super::super) struct Sample {
    kind: Type,
    lane: Lane,
    wait_us: u64,
    began_nanos: u64,
}

/// What the samples of one lane, or type, say.
#[derive(Debug, Default)]
pub(super) struct Spans {
    pub(super) waits: Coarse,
    pub(super) services: Coarse,
}

impl Spans {
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.waits.heap_bytes() + self.services.heap_bytes()
    }
}

impl Figures {
    /// Begins to time a message that carries when it was sent.
    pub(in super::super) fn begin_sample(
        &mut self,
        kind: Type,
        stamp: Stamp,
        reply: Option<ReplyId>,
        nanos: u64,
    ) -> Sample {
        let Stamp { lane, sent, asked } = stamp;
        self.logs.taken(kind.name(), lane.name(), sent, asked);
        self.current = reply;
        self.verdict = if asked {
            Verdict::Pending
        } else {
            Verdict::Told
        };
        let now = Instant::from_micros(nanos / 1000);
        let wait = now.since(sent);
        let wait_us = micros(wait);
        self.types[kind.index()].spans.waits.record(wait_us);
        self.lanes[lane as usize].waits.record(wait_us);
        self.waited += 1;
        self.waited_micros += wait_us;
        self.logs.waited(wait, now);
        Sample {
            kind,
            lane,
            wait_us,
            began_nanos: nanos,
        }
    }

    /// The message is executed; `queue` says how many others wait, and is asked when somebody wants to know.
    pub(in super::super) fn end_sample(
        &mut self,
        sample: &Sample,
        nanos: u64,
        queue: impl FnOnce() -> usize,
    ) {
        let took = nanos.saturating_sub(sample.began_nanos);
        self.types[sample.kind.index()].spans.services.record(took);
        self.lanes[sample.lane as usize].services.record(took);
        self.current = None;
        let op = sample.kind.name();
        self.logs
            .sampled(op, sample.wait_us, took, self.verdict, queue);
        let took = Duration::from_nanos(took);
        if took > SLOW {
            let now = Instant::from_micros(nanos / 1000);
            self.logs.slow(op, took, now);
        }
    }
}
