//! Rate limits: of all torrents together, of groups of them, and of each; in each direction.
//!
//! Counted are the bytes of the open streams, payload and protocol alike, once: those that come in as they are read, those that
//! go out as blocks when their read begins and as anything else when it is written. A stream that is limited pays before it
//! uses: [`side`] says who may go on. What came without being paid for (the first read of a stream, a
//! message of ours) is made up for before anything else passes.
//!
//! In: a stream is read only as far as it has paid, by [`Output::Meter`]; TCP tells the other side to wait, and the number of
//! requests follows from the rate. Requests alone would not hold: peers keep them for as long as they like and
//! answer many at once. Out: blocks are read from disk only as far as they are paid for.
//! One timer serves all. Without limits a stream costs one comparison at each read and write.

mod apply;
pub mod bucket;
pub mod side;
pub mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::wire::PIECE_HEAD_BYTES;
use crate::ids::{SessionId, StreamId};
use crate::time::Instant;

use side::{Grant, Side};
pub use value::{Cap, Group, Limits, TorrentLimits, TorrentLimitsChange, Weight};

use super::message::Output;
use super::shared::Shared;
use super::table::stream::Stream;

/// Where a direction's things are in a pair.
const IN: usize = 0;
const OUT: usize = 1;

/// The least that is granted for sending: the largest block with its head.
const BLOCK_COST: u64 = (crate::buffer::BLOCK_BYTES + PIECE_HEAD_BYTES) as u64;

/// All limits, and who waits for what.
#[derive(Debug)]
pub struct Limiter {
    /// Whether any stream may be limited.
    on: bool,
    /// In and out.
    sides: [Side; 2],
    /// By name.
    groups: BTreeMap<Arc<str>, Group>,
    /// When the timer is to fire.
    armed: Instant,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            on: false,
            sides: Default::default(),
            groups: BTreeMap::new(),
            armed: Instant::FAR,
        }
    }
}

/// What a stream has paid for. Of one that is not limited all is 0 and `false`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purse {
    /// Whether it pays at all, in and out.
    limited: [bool; 2],
    /// Whether it stands in line.
    waiting: [bool; 2],
    /// Bytes that are paid for and not used.
    left: [u64; 2],
    /// Bytes out that were used and are not written yet.
    begun: u64,
}

impl Purse {
    /// Whether it is not read until somebody lets it: then its silence means nothing.
    #[must_use]
    pub const fn is_unheard(&self) -> bool {
        self.waiting[IN]
    }
}

impl Limiter {
    /// Whether any stream may be limited: asked before everything else here, on every read and write.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Whether somebody who waits may be able to go on.
    #[must_use]
    fn is_due(&self, now: Instant) -> bool {
        self.sides.iter().any(|side| side.is_due(now))
    }

    /// When to look again.
    fn look_at(&self) -> Instant {
        let [a, b] = &self.sides;
        a.look_at().min(b.look_at())
    }

    fn grant_in(&mut self, now: Instant) -> Vec<Grant> {
        self.sides[IN].grant(now, 0)
    }

    fn grant_out(&mut self, now: Instant) -> Vec<Grant> {
        self.sides[OUT].grant(now, BLOCK_COST)
    }
}

/// What a request costs when it is served.
fn cost(length: u32) -> u64 {
    u64::from(length) + PIECE_HEAD_BYTES as u64
}

/// A stream is open for a session with these limits.
pub fn join(shared: &mut Shared, session: SessionId, limits: &TorrentLimits, stream: &mut Stream) {
    let now = shared.now;
    for (at, own) in limits.own().into_iter().enumerate() {
        let side = &mut shared.limits.sides[at];
        if !side.limits(limits, own) {
            continue;
        }
        side.join(session, limits, own, now);
        stream.purse.limited[at] = true;
        if at == IN {
            stream.purse.waiting[IN] = true;
            side.wait(session, stream.id);
            shared.push(Output::Meter {
                stream: stream.id,
                bytes: 0,
            });
        } else {
            // What is on its way was begun without a limit.
            let reading = stream.peer().map_or(0, |peer| peer.reading);
            stream.purse.begun = (stream.unsent + reading) as u64;
        }
    }
}

/// A stream is limited no more, or gone. Whoever keeps it has to let it be read again.
pub fn leave(shared: &mut Shared, session: SessionId, stream: &mut Stream) {
    let purse = std::mem::take(&mut stream.purse);
    for at in [IN, OUT] {
        if purse.limited[at] {
            let begun = if at == OUT { purse.begun } else { 0 };
            let unused = purse.left[at] + begun;
            shared.limits.sides[at].leave(session, stream.id, unused);
        }
    }
}

/// `bytes` have come in.
pub fn received(shared: &mut Shared, session: SessionId, stream: &mut Stream, bytes: usize) {
    let purse = &mut stream.purse;
    if !purse.limited[IN] {
        return;
    }
    let side = &mut shared.limits.sides[IN];
    let paid = purse.left[IN].min(bytes as u64);
    purse.left[IN] -= paid;
    side.charge(session, bytes as u64 - paid);
    if purse.left[IN] == 0 && !purse.waiting[IN] {
        purse.waiting[IN] = true;
        side.wait(session, stream.id);
    }
}

/// `bytes` are with the operating system.
pub fn sent(shared: &mut Shared, session: SessionId, stream: &mut Stream, bytes: usize) {
    let purse = &mut stream.purse;
    if !purse.limited[OUT] {
        return;
    }
    let paid = purse.begun.min(bytes as u64);
    purse.begun -= paid;
    shared.limits.sides[OUT].charge(session, bytes as u64 - paid);
}

/// How many of the blocks of these lengths may be begun; the stream stands in line when it is none.
pub fn affordable(
    shared: &mut Shared,
    session: SessionId,
    stream: StreamId,
    purse: &mut Purse,
    lengths: impl Iterator<Item = u32>,
) -> usize {
    let mut left = purse.left[OUT];
    let mut count = 0;
    for length in lengths {
        let Some(rest) = left.checked_sub(cost(length)) else {
            break;
        };
        left = rest;
        count += 1;
    }
    if count == 0 && !purse.waiting[OUT] {
        purse.waiting[OUT] = true;
        shared.limits.sides[OUT].wait(session, stream);
    }
    count
}

impl Purse {
    /// Whether what goes out is limited.
    #[must_use]
    pub const fn pays_out(&self) -> bool {
        self.limited[OUT]
    }

    /// A block of `length` bytes is begun.
    pub fn begin(&mut self, length: u32) {
        if self.limited[OUT] {
            self.left[OUT] = self.left[OUT].saturating_sub(cost(length));
            self.begun += cost(length);
        }
    }
}

/// Blocks of these lengths were begun and will not be sent.
pub fn not_sent(
    shared: &mut Shared,
    session: SessionId,
    purse: &mut Purse,
    lengths: impl Iterator<Item = u32>,
) {
    if purse.limited[OUT] {
        let bytes = lengths.map(cost).sum::<u64>().min(purse.begun);
        purse.begun -= bytes;
        shared.limits.sides[OUT].put_back(session, bytes);
    }
}

/// The peer wants nothing more: what was paid for is for others.
pub fn nothing_to_send(shared: &mut Shared, session: SessionId, purse: &mut Purse) {
    if purse.left[OUT] > 0 {
        let unused = std::mem::take(&mut purse.left[OUT]);
        shared.limits.sides[OUT].put_back(session, unused);
    }
}
