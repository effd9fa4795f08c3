//! One uTP connection (BEP 29): its numbers, its clocks, what it sends and what it takes.
//!
//! ```text
//! dialled  ── SYN ──▶ Dialling ── STATE ──▶ Up ── close, or FIN ──▶ Ending ── FIN acknowledged ──▶ gone
//! accepted ─────────────────────────────────▲        └──── RESET, or silence: from any state gone ───┘
//! ```
//!
//! It sends nothing by itself: what arrives and what is queued only marks it, and [`Connection::flush`] at the end of the turn
//! makes packets, so that many small frames share one and one acknowledgement answers many packets.

use std::net::SocketAddr;

use crate::buffer::Block;
use crate::codec::utp::{self, HEADER_BYTES, Header, Kind, SELECTIVE_BYTES_MAX};
use crate::ids::StreamId;
use crate::time::{Duration, Instant};

use super::batch::Batch;
use super::delay::Delays;
use super::incoming::{Incoming, Place};
use super::ledbat::Ledbat;
use super::mtu::Mtu;
use super::outgoing::{FLIGHT_MAX, Outgoing};
use super::rtt::RoundTrip;

/// Timers that may run out in a row before the other side counts as gone: about a minute, with their doubling.
const SILENCES_MAX: u8 = 6;
/// The same for the first packet of a dial...
const DIAL_SILENCES_MAX: u8 = 2;
/// ...and for the last words of a stream that is over.
const ENDING_SILENCES_MAX: u8 = 3;
/// After so long without a packet of ours one is sent, to keep the way through routers open.
const KEEPALIVE: Duration = Duration::from_secs(29);
/// Payload that one flush sends: the rest follows in the next turn, when the other side had a chance to take it.
const FLUSH_BYTES_MAX: usize = 256 << 10;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// The SYN is under way.
    Dialling,
    /// Both sides know of each other.
    Up,
    /// Our stream is over; what was sent is still delivered.
    Ending,
}

/// What a packet has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The dial is answered.
    pub connected: bool,
    /// The payload is the stream's next, to be handed on at once.
    pub direct: bool,
    /// Bytes that were kept may be read, or the end has come.
    pub readable: bool,
    /// The other side broke it off.
    pub reset: bool,
    /// It has to be flushed.
    pub marked: bool,
}

/// What a timer has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Wait,
    /// It has to be flushed.
    Flush,
    /// The other side is gone.
    Silent,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// The other end.
    pub remote: SocketAddr,
    /// What it carries; nothing any more while it ends.
    pub stream: Option<StreamId>,
    /// Whether it stands in the list of those to flush.
    pub marked: bool,
    /// The name under which packets come.
    receive_id: u16,
    send_id: u16,
    stand: Stand,
    out: Outgoing,
    inc: Incoming,
    ledbat: Ledbat,
    trip: RoundTrip,
    mtu: Mtu,
    /// What our packets take, as the other side sees it.
    ours: Delays,
    /// What theirs take, as we see it.
    theirs: Delays,
    /// The last of those, which they are told.
    reply: u32,
    their_window: usize,
    /// Packets that came since we last acknowledged.
    owes_ack: bool,
    /// When the oldest packet under way counts as lost.
    deadline: Instant,
    silences: u8,
    spoke: Instant,
    fin: Fin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    No,
    Wanted,
    Sent,
}

impl Connection {
    /// We dial: `id` is how we want to be called, `number` that of our SYN.
    #[must_use]
    pub fn dial(now: Instant, remote: SocketAddr, stream: StreamId, id: u16, number: u16) -> Self {
        let mut connection = Self::new(now, remote, stream, number.wrapping_add(1), 0);
        (connection.receive_id, connection.send_id) = (id, id.wrapping_add(1));
        connection.deadline = now + connection.trip.wait();
        connection
    }

    /// They dialled: `id` is the name in their SYN, `theirs` its number, `number` that of our first packet.
    #[must_use]
    pub fn accept(
        now: Instant,
        remote: SocketAddr,
        stream: StreamId,
        id: u16,
        theirs: u16,
        number: u16,
    ) -> Self {
        let mut connection = Self::new(now, remote, stream, number, theirs);
        (connection.receive_id, connection.send_id) = (id.wrapping_add(1), id);
        connection.stand = Stand::Up;
        connection
    }

    fn new(now: Instant, remote: SocketAddr, stream: StreamId, next: u16, last: u16) -> Self {
        let mtu = Mtu::new(remote.ip());
        Self {
            remote,
            stream: Some(stream),
            marked: false,
            receive_id: 0,
            send_id: 0,
            stand: Stand::Dialling,
            out: Outgoing::new(next),
            inc: Incoming::new(last),
            ledbat: Ledbat::new((mtu.datagram() - HEADER_BYTES) as u64),
            trip: RoundTrip::default(),
            mtu,
            ours: Delays::new(now),
            theirs: Delays::new(now),
            reply: 0,
            // Until they say otherwise.
            their_window: usize::from(u16::MAX),
            owes_ack: false,
            deadline: Instant::FAR,
            silences: 0,
            spoke: now,
            fin: Fin::No,
        }
    }

    /// The name under which packets come.
    #[must_use]
    pub const fn receive_id(&self) -> u16 {
        self.receive_id
    }

    /// Where it stands.
    #[must_use]
    pub const fn stand(&self) -> Stand {
        self.stand
    }

    /// The receiving side.
    #[must_use]
    pub const fn incoming(&mut self) -> &mut Incoming {
        &mut self.inc
    }

    /// The sending side.
    #[must_use]
    pub const fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.out
    }

    /// Bytes held for both directions, against the budget of all connections.
    #[must_use]
    pub fn held(&self) -> usize {
        self.out.unacknowledged() + self.inc.kept()
    }

    /// The window, and how long packets wait: for tests and for people.
    #[must_use]
    pub fn congestion(&self) -> (u64, u32) {
        (self.ledbat.window(), self.ours.queueing())
    }

    /// The number of the next packet of ours, and of the last of theirs before which none is missing: for tests.
    #[cfg(test)]
    pub(super) const fn numbers(&self) -> (u16, u16) {
        (self.out.next(), self.inc.last())
    }

    /// Bytes that wait for their first transmission.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.out.queued()
    }

    /// The largest datagram it sends.
    #[must_use]
    pub const fn datagram(&self) -> usize {
        self.mtu.datagram()
    }

    /// The other side is told how much we take, at the end of the turn.
    pub const fn tell_window(&mut self) {
        self.owes_ack = true;
    }

    /// Our stream is over. What was sent is still delivered, what only waited is not.
    pub fn end(&mut self, blocks: &mut Vec<Block>) {
        self.stream = None;
        self.stand = Stand::Ending;
        self.fin = Fin::Wanted;
        self.silences = 0;
        self.out.abandon(blocks);
    }

    /// Whether nothing is left to do for it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stand == Stand::Ending && self.fin == Fin::Sent && self.out.is_idle()
    }

    // ------------------------------------------------------------------------------------------------- receiving

    /// A packet of this connection: `room` is what all connections together may still keep.
    pub fn on_packet(
        &mut self,
        now: Instant,
        header: &Header,
        selective: &[u8],
        payload: &[u8],
        room: usize,
    ) -> Heard {
        let mut heard = Heard::default();
        if header.kind == Kind::Reset {
            heard.reset = self.may_reset(header.acknowledged);
            return heard;
        }
        if self.stand == Stand::Dialling {
            let syn = self.out.next().wrapping_sub(1);
            if header.kind != Kind::State || header.acknowledged != syn {
                return heard;
            }
            // A STATE packet has the number that the first data will have.
            self.inc = Incoming::new(header.sequence.wrapping_sub(1));
            self.stand = Stand::Up;
            self.deadline = Instant::FAR;
            self.trip.answered();
            if self.silences == 0 {
                self.trip.add(now.since(self.spoke));
            }
            self.silences = 0;
            heard.connected = true;
        }
        let carries = matches!(header.kind, Kind::Data | Kind::Fin);
        let place = if carries {
            self.inc.place(header.sequence)
        } else {
            Place::Old
        };
        let covered = self.out.covers(header.acknowledged);
        if place == Place::Beyond || (!carries && covered.is_none()) {
            // Neither number fits: late, or a guess.
            return heard;
        }
        self.measure(now, header);
        if let Some(count) = covered {
            self.their_window = header.window as usize;
            self.on_ack(now, count, selective, header.kind == Kind::State);
            heard.marked |= self.wants_to_send() || self.is_done();
        }
        if carries {
            self.owes_ack = true;
            heard.marked = true;
            self.take(header, payload, place, room, &mut heard);
        }
        heard
    }

    /// A RESET names a packet of ours as the one it answers (or the last one they heard of).
    fn may_reset(&self, acknowledged: u16) -> bool {
        if self.stand == Stand::Dialling {
            return acknowledged == self.out.next().wrapping_sub(1);
        }
        let behind = self.out.next().wrapping_sub(acknowledged);
        usize::from(behind) <= self.out.flying() + 2
    }

    /// What both clocks say.
    fn measure(&mut self, now: Instant, header: &Header) {
        self.reply = clock(now).wrapping_sub(header.timestamp);
        let drift = self.theirs.add(now, self.reply);
        if drift > 0 {
            self.ours.drift(drift);
        }
        if header.delay != 0 {
            self.ours.add(now, header.delay);
        }
    }

    fn on_ack(&mut self, now: Instant, count: usize, selective: &[u8], bare: bool) {
        let packet = self.packet() as u64;
        let acked = self
            .out
            .on_ack(now, count, selective, bare, self.trip.least());
        if let Some(span) = acked.round_trip {
            self.trip.add(span);
        }
        if acked.probe_arrived {
            self.mtu.arrived();
        } else if acked.probe_lost {
            self.mtu.lost();
        }
        if acked.progress {
            self.silences = 0;
            self.trip.answered();
            let window = self.ledbat.window();
            let limited = acked.before + 2 * packet >= window - window / 4;
            self.ledbat
                .on_ack(acked.bytes, self.ours.queueing(), limited, packet);
            self.rearm(now);
        }
        if acked.lost > 0 {
            self.ledbat.on_loss(now, self.trip.smooth(), packet);
        }
    }

    fn take(
        &mut self,
        header: &Header,
        payload: &[u8],
        place: Place,
        room: usize,
        heard: &mut Heard,
    ) {
        if header.kind == Kind::Fin {
            self.inc.ends_at(header.sequence);
        }
        match place {
            Place::Next if self.stand == Stand::Ending => {
                // Nobody reads it any more.
                self.inc.advance();
                let mut sink = Vec::new();
                self.inc.hold(false);
                self.inc.meter(u64::MAX);
                self.inc.take(usize::MAX, &mut sink);
            }
            Place::Next if self.inc.is_direct(payload.len()) => {
                heard.direct = !payload.is_empty();
                self.inc.read(payload.len());
                self.inc.advance();
                heard.readable = self.inc.is_readable() || self.inc.is_over();
            }
            Place::Next => {
                if self.inc.store(payload, room) {
                    self.inc.advance();
                    heard.readable = self.inc.is_readable() || self.inc.is_over();
                }
            }
            Place::Kept => {
                self.inc.keep(header.sequence, payload, room);
            }
            Place::Old | Place::Beyond => {}
        }
    }

    // --------------------------------------------------------------------------------------------------- sending

    /// Payload of one packet.
    const fn packet(&self) -> usize {
        self.mtu.datagram() - HEADER_BYTES
    }

    /// Whether a flush would send payload.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        if self.stand == Stand::Dialling {
            return false;
        }
        if self.fin == Fin::Wanted || (self.out.has_lost() && self.may_resend()) {
            return true;
        }
        let next = self.out.queued().min(self.packet());
        next > 0 && self.fits(next)
    }

    fn may_resend(&self) -> bool {
        self.out.on_wire() == 0 || self.out.on_wire() < self.ledbat.window()
    }

    /// Whether a new packet with so many bytes may go out now.
    fn fits(&self, length: usize) -> bool {
        let on_wire = self.out.on_wire();
        let in_window = on_wire == 0 || on_wire + length as u64 <= self.ledbat.window();
        let taken = self.out.unacknowledged() + length <= self.their_window;
        in_window && taken && self.out.flying() < FLIGHT_MAX
    }

    /// The first packet of a dial, or the same again.
    pub fn syn(&mut self, now: Instant, batch: &mut Batch) {
        let mut header = self.header(now, Kind::Syn);
        header.connection = self.receive_id;
        header.sequence = self.out.next().wrapping_sub(1);
        header.acknowledged = 0;
        batch.add(|out| utp::encode(&header, &[], 0, out));
        self.spoke = now;
    }

    /// Sends what may be sent, or only acknowledges. Blocks that are done with go to `blocks`; how many bytes of what was queued
    /// went out for the first time, and whether more could go in the next turn. `room` is what all connections may still hold.
    pub fn flush(
        &mut self,
        now: Instant,
        room: usize,
        batch: &mut Batch,
        blocks: &mut Vec<Block>,
    ) -> (usize, bool) {
        if self.stand == Stand::Dialling {
            return (0, false);
        }
        let before = self.out.queued();
        let (mut sent, mut from) = (0, 0);
        let mut any = false;
        while let Some(index) = self.out.lost_from(from) {
            if !self.may_resend() || sent >= FLUSH_BYTES_MAX {
                break;
            }
            sent += self.transmit(now, index, batch);
            any = true;
            from = index + 1;
        }
        while sent < FLUSH_BYTES_MAX && self.out.queued() > 0 {
            let next = self.out.queued().min(self.packet());
            if !self.fits(next) || (self.out.unacknowledged() > 0 && sent + next > room) {
                break;
            }
            let index = self.out.cut(next, false, blocks);
            sent += self.transmit(now, index, batch);
            any = true;
        }
        if self.fin == Fin::Wanted && self.out.queued() == 0 {
            self.fin = Fin::Sent;
            let index = self.out.cut(0, true, blocks);
            self.transmit(now, index, batch);
            any = true;
        }
        // Packets carry the acknowledgement too, but not what is behind a gap.
        if self.owes_ack && (!any || self.inc.has_gap()) {
            self.acknowledge(now, batch);
        }
        if any {
            self.spoke = now;
            if self.deadline == Instant::FAR {
                self.deadline = now + self.trip.wait();
            }
        } else if self.out.is_idle() && self.out.queued() > 0 && self.deadline == Instant::FAR {
            // Their window is closed: it is asked for now and then.
            self.deadline = now + self.trip.wait();
        }
        self.owes_ack = false;
        (
            before - self.out.queued(),
            sent >= FLUSH_BYTES_MAX && self.wants_to_send(),
        )
    }

    fn transmit(&mut self, now: Instant, index: usize, batch: &mut Batch) -> usize {
        let length = self.out.length(index);
        // A full packet that is sent for the first time may find out whether a larger one passes.
        let is_new = index + 1 == self.out.flying();
        let probe = self
            .mtu
            .probe()
            .filter(|_| is_new && length == self.packet())
            .map_or(0, |size| size - self.mtu.datagram());
        if probe > 0 {
            self.mtu.sent();
        }
        let (number, packet) = self.out.send(now, index, probe > 0);
        let kind = if packet.fin { Kind::Fin } else { Kind::Data };
        let mut header = self.header(now, kind);
        header.sequence = number;
        let (a, b) = self.out.payload(index);
        batch.add(|out| {
            utp::encode(&header, &[], probe, out);
            out.extend_from_slice(a);
            out.extend_from_slice(b);
        });
        length
    }

    /// Says what has arrived.
    pub fn acknowledge(&mut self, now: Instant, batch: &mut Batch) {
        let header = self.header(now, Kind::State);
        let mut bits = [0; SELECTIVE_BYTES_MAX];
        let selective = if self.inc.has_gap() {
            self.inc.selective(&mut bits)
        } else {
            &[]
        };
        batch.add(|out| utp::encode(&header, selective, 0, out));
        self.spoke = now;
    }

    /// Breaks it off.
    pub fn reset(&self, now: Instant, batch: &mut Batch) {
        let header = self.header(now, Kind::Reset);
        batch.add(|out| utp::encode(&header, &[], 0, out));
    }

    fn header(&self, now: Instant, kind: Kind) -> Header {
        Header {
            kind,
            connection: self.send_id,
            timestamp: clock(now),
            delay: self.reply,
            window: u32::try_from(self.inc.window()).unwrap_or(u32::MAX),
            sequence: self.out.next(),
            acknowledged: self.inc.last(),
        }
    }

    // ---------------------------------------------------------------------------------------------------- timers

    fn rearm(&mut self, now: Instant) {
        self.deadline = if self.out.is_idle() {
            Instant::FAR
        } else {
            now + self.trip.wait()
        };
    }

    /// When it wants to be looked at.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        match self.stand {
            Stand::Dialling => self.deadline,
            Stand::Up | Stand::Ending => self.deadline.min(self.spoke + KEEPALIVE),
        }
    }

    /// It is time to look at the deadlines.
    pub fn on_timer(&mut self, now: Instant, batch: &mut Batch) -> Due {
        if self.deadline <= now {
            return self.on_silence(now, batch);
        }
        if self.stand != Stand::Dialling && self.spoke + KEEPALIVE <= now {
            self.acknowledge(now, batch);
            self.out.rest();
        }
        Due::Wait
    }

    /// Nothing has come back in time.
    fn on_silence(&mut self, now: Instant, batch: &mut Batch) -> Due {
        self.silences += 1;
        let most = match self.stand {
            Stand::Dialling => DIAL_SILENCES_MAX,
            Stand::Up => SILENCES_MAX,
            Stand::Ending => ENDING_SILENCES_MAX,
        };
        if self.silences >= most {
            return Due::Silent;
        }
        self.trip.back_off();
        self.deadline = now + self.trip.wait();
        if self.stand == Stand::Dialling {
            self.syn(now, batch);
            return Due::Wait;
        }
        if self.out.is_idle() {
            if self.out.queued() == 0 {
                self.deadline = Instant::FAR;
                self.silences = 0;
                return Due::Wait;
            }
            // A closed window is no silence: they may not be reading. One packet asks.
            self.their_window = self.their_window.max(self.packet());
            return Due::Flush;
        }
        let (probe, alone) = self.out.lose_all();
        if probe {
            self.mtu.lost();
        }
        if !alone {
            self.ledbat.on_timeout(self.packet() as u64);
        }
        Due::Flush
    }

    /// Panics when the books do not agree.
    pub fn check(&self) {
        self.out.check();
        self.inc.check();
    }
}

/// Our clock as packets carry it.
#[allow(
    clippy::cast_possible_truncation,
    reason = "it wraps, as BEP 29 has it"
)]
pub const fn clock(now: Instant) -> u32 {
    now.as_micros() as u32
}
