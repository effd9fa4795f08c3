//! What a connection receives: packets put in order, and bytes that wait while their stream is not read.
//!
//! In order, and with a stream that may be read, nothing is kept here: payload is handed on from where it arrived. Everything
//! that is kept counts against one budget of all connections; what finds no room is dropped, and comes again.

use std::collections::VecDeque;

use crate::codec::utp::SELECTIVE_BYTES_MAX;

/// Bytes we take beyond what is read, for each connection: what a line of 100 Mbit/s holds in 170 ms.
pub const WINDOW: usize = 2 << 20;
/// How far ahead of the missing packet one may be and still be kept.
const AHEAD_MAX: usize = SELECTIVE_BYTES_MAX * 8;
/// How far back a packet may be and still be answered, as one that was sent twice.
const OLD_MAX: u16 = 4096;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is the next one.
    Next,
    /// It is kept, or was dropped for want of room; its sender has to hear of it.
    Kept,
    /// It was here before; its sender has to hear of it.
    Old,
    /// It cannot be.
    Beyond,
}

/// The receiving side.
#[derive(Debug)]
pub struct Incoming {
    /// The last packet before which none is missing.
    last: u16,
    /// The packets behind the missing one.
    ahead: VecDeque<Option<Box<[u8]>>>,
    /// Bytes of those.
    ahead_bytes: usize,
    /// In order, and not read yet.
    inbox: VecDeque<u8>,
    /// The number of the other side's last packet, once known.
    end: Option<u16>,
    /// Whether the stream is held.
    held: bool,
    /// Bytes that may be read; [`u64::MAX`] is no bound.
    allowed: u64,
}

impl Incoming {
    /// Nothing received after packet `last`.
    #[must_use]
    pub const fn new(last: u16) -> Self {
        Self {
            last,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            inbox: VecDeque::new(),
            end: None,
            held: false,
            allowed: u64::MAX,
        }
    }

    /// What we acknowledge.
    #[must_use]
    pub const fn last(&self) -> u16 {
        self.last
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.ahead_bytes + self.inbox.len()
    }

    /// Bytes we still take.
    #[must_use]
    pub fn window(&self) -> usize {
        WINDOW.saturating_sub(self.kept())
    }

    /// Whether everything the other side will ever say is here and read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.end == Some(self.last) && self.inbox.is_empty()
    }

    /// Whether packets are missing before others that are here.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether payload may be handed on at once.
    #[must_use]
    pub fn is_direct(&self, length: usize) -> bool {
        self.inbox.is_empty() && !self.held && self.allowed >= length as u64
    }

    /// So many bytes were handed on.
    pub const fn read(&mut self, length: usize) {
        if self.allowed < u64::MAX {
            self.allowed = self.allowed.saturating_sub(length as u64);
        }
    }

    /// Holds the stream, or lets it be read.
    pub const fn hold(&mut self, hold: bool) {
        self.held = hold;
    }

    /// Sets how much may be read.
    pub const fn meter(&mut self, bytes: u64) {
        self.allowed = bytes;
    }

    /// Whether something waits that may be read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.held && self.allowed > 0 && !self.inbox.is_empty()
    }

    /// Where packet `number` belongs.
    #[must_use]
    pub fn place(&self, number: u16) -> Place {
        let ahead = number.wrapping_sub(self.last.wrapping_add(1));
        if self.end.is_some_and(|end| is_after(number, end)) {
            return Place::Beyond;
        }
        match ahead {
            0 => Place::Next,
            _ if usize::from(ahead) <= AHEAD_MAX => Place::Kept,
            _ if ahead > u16::MAX - OLD_MAX => Place::Old,
            _ => Place::Beyond,
        }
    }

    /// Packet `number` is the last one.
    pub const fn ends_at(&mut self, number: u16) {
        if self.end.is_none() {
            self.end = Some(number);
        }
    }

    /// Keeps a packet that came too early, if `room` bytes are enough; whether it is kept now and was not before.
    pub fn keep(&mut self, number: u16, payload: &[u8], room: usize) -> bool {
        let index = usize::from(number.wrapping_sub(self.last.wrapping_add(2)));
        if payload.len() > room.min(self.window()) || index >= AHEAD_MAX {
            return false;
        }
        if self.ahead.len() <= index {
            self.ahead.resize_with(index + 1, || None);
        }
        let place = &mut self.ahead[index];
        if place.is_some() {
            return false;
        }
        *place = Some(payload.into());
        self.ahead_bytes += payload.len();
        true
    }

    /// The next packet is here, and handed on already.
    pub fn advance(&mut self) {
        self.last = self.last.wrapping_add(1);
        while let Some(next) = self.ahead.pop_front() {
            let Some(payload) = next else {
                // The next one is missing, and the last of them never is.
                return;
            };
            self.last = self.last.wrapping_add(1);
            self.ahead_bytes -= payload.len();
            self.inbox.extend(&payload[..]);
        }
        if self.ahead.capacity() > 0 {
            // An idle stream holds no buffer.
            self.ahead = VecDeque::new();
        }
    }

    /// Keeps what is in order and cannot be read now; `false` when there is no room.
    pub fn store(&mut self, payload: &[u8], room: usize) -> bool {
        let fits = payload.len() <= room.min(self.window());
        if fits {
            self.inbox.extend(payload);
        }
        fits
    }

    /// Moves what waits and may be read to `out`, which is empty, up to `most` bytes.
    pub fn take(&mut self, most: usize, out: &mut Vec<u8>) {
        if !self.is_readable() {
            return;
        }
        let allowed = usize::try_from(self.allowed).unwrap_or(usize::MAX);
        let count = self.inbox.len().min(most).min(allowed);
        out.extend(self.inbox.drain(..count));
        self.read(count);
        if self.inbox.is_empty() {
            self.inbox = VecDeque::new();
        }
    }

    /// Which packets behind the missing one are here, as BEP 29 has it, in whole groups of four bytes.
    pub fn selective<'a>(&self, out: &'a mut [u8; SELECTIVE_BYTES_MAX]) -> &'a [u8] {
        let length = self.ahead.len().div_ceil(32) * 4;
        out.fill(0);
        for (index, _) in self
            .ahead
            .iter()
            .enumerate()
            .filter(|(_, one)| one.is_some())
        {
            if let Some(byte) = out.get_mut(index / 8) {
                *byte |= 1 << (index % 8);
            }
        }
        &out[..length.min(SELECTIVE_BYTES_MAX)]
    }

    /// Panics when the books do not agree.
    pub fn check(&self) {
        let bytes: usize = self.ahead.iter().flatten().map(|one| one.len()).sum();
        assert_eq!(bytes, self.ahead_bytes);
        assert!(self.ahead.len() <= AHEAD_MAX && self.kept() <= WINDOW);
    }
}

/// Whether `a` is after `b`, of numbers that wrap.
const fn is_after(a: u16, b: u16) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 0x8000
}
