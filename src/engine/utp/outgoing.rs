//! What a connection sends: frames that wait, and packets that are under way until they are acknowledged.
//!
//! Frames wait as they came. What fits into the window is copied behind what is under way, once, and a block goes back to
//! the pool at once; packets are cut from there, and cut again when they are lost. A packet keeps its number and its length
//! for ever: uTP numbers packets, not bytes.

use std::collections::VecDeque;

use crate::buffer::Block;
use crate::engine::message::Frame;
use crate::time::{Duration, Instant};

/// Packets under way at most: what a selective acknowledgement can name.
pub const FLIGHT_MAX: usize = 2000;
/// A packet is lost when so many that were sent after it have arrived (BEP 29: three).
const OVERTAKEN: u64 = 3;

/// One packet under way.
#[derive(Clone, Copy, Debug)]
pub struct Flying {
    /// Where its payload begins, in the stream.
    start: u64,
    /// Which of all transmissions was its last.
    order: u64,
    /// When that was.
    sent_at: Instant,
    /// Bytes of payload.
    length: u16,
    /// How often it was sent.
    sends: u8,
    state: State,
    /// Whether it is the last.
    pub fin: bool,
    /// Whether it was filled up when it was last sent.
    pub probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flying,
    /// To be sent again.
    Lost,
    /// It has arrived before others.
    Arrived,
}

/// What an acknowledgement said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acked {
    /// Bytes that are new to us as arrived, packets' heads not counted.
    pub bytes: u64,
    /// Whether any packet did.
    pub progress: bool,
    /// Whether a packet that was sent once was acknowledged, and after how long.
    pub round_trip: Option<Duration>,
    /// Packets found lost.
    pub lost: u32,
    /// Whether the probe arrived, or is lost.
    pub probe_arrived: bool,
    /// The same.
    pub probe_lost: bool,
    /// Bytes that were under way before.
    pub before: u64,
}

/// The sending side.
#[derive(Debug)]
pub struct Outgoing {
    queue: VecDeque<Frame>,
    /// Bytes of the first frame that are taken.
    taken: usize,
    /// Bytes of the queue that are not.
    queued: usize,
    /// The payload of everything that is under way.
    ring: VecDeque<u8>,
    /// Where the ring begins, in the stream.
    ring_start: u64,
    flight: VecDeque<Flying>,
    /// The number of the next packet.
    next: u16,
    /// Bytes that are on the wire, as far as we know.
    on_wire: u64,
    lost: usize,
    orders: u64,
    /// The latest transmission that is known to have arrived.
    arrived_order: u64,
    repeated_acks: u8,
}

impl Outgoing {
    /// Nothing sent; the first packet will be `next`.
    #[must_use]
    pub const fn new(next: u16) -> Self {
        Self {
            queue: VecDeque::new(),
            taken: 0,
            queued: 0,
            ring: VecDeque::new(),
            ring_start: 0,
            flight: VecDeque::new(),
            next,
            on_wire: 0,
            lost: 0,
            orders: 0,
            arrived_order: 0,
            repeated_acks: 0,
        }
    }

    /// The number of the next new packet.
    #[must_use]
    pub const fn next(&self) -> u16 {
        self.next
    }

    /// The number of the oldest packet under way; that of the next one when there is none.
    #[must_use]
    pub fn first(&self) -> u16 {
        self.next.wrapping_sub(self.flight_len())
    }

    fn flight_len(&self) -> u16 {
        u16::try_from(self.flight.len()).unwrap_or(u16::MAX)
    }

    /// Whether all that was sent is acknowledged.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.flight.is_empty()
    }

    /// Packets under way.
    #[must_use]
    pub fn flying(&self) -> usize {
        self.flight.len()
    }

    /// Bytes that are on the wire, as far as we know.
    #[must_use]
    pub const fn on_wire(&self) -> u64 {
        self.on_wire
    }

    /// Bytes that the other side has to take or has taken out of order.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.ring.len()
    }

    /// Bytes that wait for their first transmission.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Whether something has to be sent again.
    #[must_use]
    pub const fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// The packet at `index` of those under way.
    #[must_use]
    pub fn packet(&self, index: usize) -> Option<&Flying> {
        self.flight.get(index)
    }

    /// A frame is to be sent.
    pub fn push(&mut self, frame: Frame) {
        self.queued += frame.len();
        self.queue.push_back(frame);
    }

    /// Nothing more of what waits will be sent.
    pub fn abandon(&mut self, blocks: &mut Vec<Block>) {
        for frame in self.queue.drain(..) {
            if let Frame::Block { block, .. } = frame {
                blocks.push(block);
            }
        }
        (self.taken, self.queued) = (0, 0);
        self.queue = VecDeque::new();
    }

    /// Nothing was sent for a while: an idle stream holds no buffer.
    pub fn rest(&mut self) {
        if self.flight.is_empty() {
            (self.ring, self.flight) = (VecDeque::new(), VecDeque::new());
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Makes a packet of the next `length` bytes that wait; blocks that are done with go to `blocks`.
    pub fn cut(&mut self, length: usize, fin: bool, blocks: &mut Vec<Block>) -> usize {
        let start = self.ring_start + self.ring.len() as u64;
        self.copy(length, blocks);
        self.flight.push_back(Flying {
            start,
            order: 0,
            sent_at: Instant::ZERO,
            length: u16::try_from(length).unwrap_or(u16::MAX),
            sends: 0,
            state: State::Lost,
            fin,
            probe: false,
        });
        self.lost += 1;
        self.next = self.next.wrapping_add(1);
        self.flight.len() - 1
    }

    fn copy(&mut self, mut left: usize, blocks: &mut Vec<Block>) {
        self.queued -= left;
        while left > 0 {
            let Some(frame) = self.queue.front() else {
                return;
            };
            let (head, body): (&[u8], &[u8]) = match frame {
                Frame::Small { length, bytes } => (&bytes[..usize::from(*length)], &[]),
                Frame::Bytes(bytes) => (bytes, &[]),
                Frame::Block {
                    head,
                    block,
                    length,
                } => (head, &block[..*length as usize]),
            };
            let in_head = self.taken.min(head.len());
            let from_head = left.min(head.len() - in_head);
            self.ring.extend(&head[in_head..in_head + from_head]);
            let in_body = self.taken + from_head - in_head - from_head;
            let from_body = (left - from_head).min(body.len() - in_body);
            self.ring.extend(&body[in_body..in_body + from_body]);
            let whole = head.len() + body.len();
            self.taken += from_head + from_body;
            left -= from_head + from_body;
            if self.taken == whole {
                self.taken = 0;
                if let Some(Frame::Block { block, .. }) = self.queue.pop_front() {
                    blocks.push(block);
                }
            }
        }
    }

    /// The first packet from `index` on that has to be sent.
    #[must_use]
    pub fn lost_from(&self, index: usize) -> Option<usize> {
        if self.lost == 0 {
            return None;
        }
        (index..self.flight.len()).find(|&at| self.flight[at].state == State::Lost)
    }

    /// Bytes of payload of a packet.
    #[must_use]
    pub fn length(&self, index: usize) -> usize {
        self.flight
            .get(index)
            .map_or(0, |packet| usize::from(packet.length))
    }

    /// The packet at `index` goes out: its number, and its payload behind `out`.
    pub fn send(&mut self, now: Instant, index: usize, probe: bool) -> (u16, &Flying) {
        let first = self.first();
        self.orders += 1;
        let packet = &mut self.flight[index];
        if packet.state == State::Lost {
            self.lost -= 1;
            self.on_wire += u64::from(packet.length);
        }
        packet.state = State::Flying;
        packet.order = self.orders;
        packet.sent_at = now;
        packet.sends = packet.sends.saturating_add(1);
        packet.probe = probe;
        #[allow(clippy::cast_possible_truncation, reason = "at most FLIGHT_MAX")]
        let number = first.wrapping_add(index as u16);
        (number, packet)
    }

    /// The payload of the packet at `index`, in two parts.
    #[must_use]
    pub fn payload(&self, index: usize) -> (&[u8], &[u8]) {
        let Some(packet) = self.flight.get(index) else {
            return (&[], &[]);
        };
        let from = usize::try_from(packet.start - self.ring_start).unwrap_or(usize::MAX);
        let to = from + usize::from(packet.length);
        let (a, b) = self.ring.as_slices();
        if to <= a.len() {
            (&a[from..to], &[])
        } else if from >= a.len() {
            (&b[from - a.len()..to - a.len()], &[])
        } else {
            (&a[from..], &b[..to - a.len()])
        }
    }

    /// Whether `number` acknowledges something that was sent and was not acknowledged before, or nothing new; `None` when it
    /// names what was never sent, or is old.
    #[must_use]
    pub fn covers(&self, number: u16) -> Option<usize> {
        let count = number.wrapping_sub(self.first().wrapping_sub(1));
        (count <= self.flight_len()).then_some(usize::from(count))
    }

    /// The first `count` packets have arrived, and behind the next one those that `selective` names. `bare` when the packet
    /// that says so carries nothing else.
    pub fn on_ack(
        &mut self,
        now: Instant,
        count: usize,
        selective: &[u8],
        bare: bool,
        trip: Duration,
    ) -> Acked {
        let mut acked = Acked {
            before: self.on_wire,
            ..Acked::default()
        };
        for _ in 0..count {
            let Some(packet) = self.flight.pop_front() else {
                break;
            };
            self.arrived(now, packet, &mut acked, trip);
            let length = usize::from(packet.length);
            self.ring.drain(..length);
            self.ring_start += length as u64;
        }
        // The first bit stands for the packet behind the one that is missing.
        for (at, byte) in selective.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            for bit in (0..8).filter(|bit| byte >> bit & 1 != 0) {
                let index = 1 + at * 8 + bit;
                let Some(packet) = self.flight.get(index).copied() else {
                    break;
                };
                if packet.state != State::Arrived && packet.sends > 0 {
                    self.arrived(now, packet, &mut acked, trip);
                    self.flight[index].state = State::Arrived;
                }
            }
        }
        if acked.progress {
            self.repeated_acks = 0;
        } else if bare && count == 0 && selective.is_empty() && !self.flight.is_empty() {
            self.repeated_acks = self.repeated_acks.saturating_add(1);
        }
        self.find_lost(now, &mut acked, trip);
        acked
    }

    fn arrived(&mut self, now: Instant, packet: Flying, acked: &mut Acked, trip: Duration) {
        match packet.state {
            State::Flying => self.on_wire -= u64::from(packet.length),
            State::Lost => self.lost -= 1,
            State::Arrived => return,
        }
        let span = now.since(packet.sent_at);
        // Of one that was sent again, nobody knows which has arrived, unless it is too early for the last.
        let known = packet.sends == 1 || span >= trip;
        if packet.sends == 1 {
            acked.round_trip = Some(acked.round_trip.map_or(span, |least| least.min(span)));
        }
        if known {
            self.arrived_order = self.arrived_order.max(packet.order);
        }
        acked.bytes += u64::from(packet.length);
        acked.progress = true;
        acked.probe_arrived |= packet.probe && known;
    }

    /// Packets that others have overtaken are lost.
    fn find_lost(&mut self, now: Instant, acked: &mut Acked, trip: Duration) {
        if acked.progress {
            let least = self.arrived_order;
            for index in 0..self.flight.len() {
                let packet = &self.flight[index];
                if packet.state == State::Flying && packet.order + OVERTAKEN <= least {
                    self.lose(index, acked);
                }
                // Behind it, everything was sent later, but for what was sent again.
                if packet_is_beyond(&self.flight[index], least) {
                    break;
                }
            }
        } else if self.repeated_acks >= 3
            && let Some(first) = self.flight.front()
            && first.state == State::Flying
            && now.since(first.sent_at) >= trip
        {
            // A side that tells nothing but that something is missing.
            self.repeated_acks = 0;
            self.lose(0, acked);
        }
    }

    fn lose(&mut self, index: usize, acked: &mut Acked) {
        let packet = &mut self.flight[index];
        packet.state = State::Lost;
        self.on_wire -= u64::from(packet.length);
        self.lost += 1;
        if packet.probe {
            packet.probe = false;
            acked.probe_lost = true;
        } else {
            acked.lost += 1;
        }
    }

    /// Nothing came back: all that is not known to have arrived is sent again. Whether a probe was among it, and whether it was alone.
    pub fn lose_all(&mut self) -> (bool, bool) {
        let mut probe = false;
        for packet in &mut self.flight {
            probe |= packet.probe && packet.state == State::Flying;
            packet.probe = false;
            if packet.state == State::Flying {
                packet.state = State::Lost;
                self.on_wire -= u64::from(packet.length);
                self.lost += 1;
            }
        }
        (probe, probe && self.flight.len() == 1)
    }

    /// Panics when the books do not agree.
    pub fn check(&self) {
        let flying = self.flight.iter().filter(|p| p.state == State::Flying);
        assert_eq!(
            flying.map(|p| u64::from(p.length)).sum::<u64>(),
            self.on_wire
        );
        let lost = self.flight.iter().filter(|p| p.state == State::Lost);
        assert_eq!(lost.count(), self.lost);
        let bytes: usize = self.flight.iter().map(|p| usize::from(p.length)).sum();
        assert_eq!(bytes, self.ring.len());
        let queued: usize = self.queue.iter().map(Frame::len).sum();
        assert_eq!(queued - self.taken, self.queued);
        assert!(self.flight.len() <= FLIGHT_MAX + 1);
    }
}

/// Whether a packet was sent for the first time, and too late for what arrived to say anything of it.
fn packet_is_beyond(packet: &Flying, arrived: u64) -> bool {
    packet.sends == 1 && packet.order > arrived
}
