//! What a stream travels on: the race of TCP and uTP at a dial, and what uTP has to tell the rest of the engine.
//!
//! ```text
//! dial ── first ──▶ up first: it is the stream, the other is called off
//!   └─ HEAD_START later, or as soon as the first has failed: second ──▶ the same
//! ```
//!
//! TCP begins, since it costs a third of the CPU; a link that was reached over uTP last time begins with that. Who cannot be
//! reached over one of them (a router that lets only datagrams in) is reached over the other.

use std::net::SocketAddr;

use crate::ids::{StreamId, UtpId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::message::{LostReason, Output, Transport};
use super::table::link::Link;
use super::table::stream::{Attempt, CloseReason, Race, Stage};
use super::utp::{Got, News, Offer};

/// So much later the second transport is tried, as RFC 8305 has it for two addresses of a host.
const HEAD_START: Duration = Duration::from_millis(250);

impl Engine {
    // ---------------------------------------------------------------------------------------------------- the race

    /// Begins to dial for `stream`. Gives back when its timer should look again.
    pub(super) fn race(&mut self, id: StreamId, deadline: Instant) -> Instant {
        let settings = &self.shared.settings;
        let (tcp, utp) = (settings.tcp, settings.utp);
        let Some(stream) = self.table.streams.get_mut(id) else {
            return deadline;
        };
        let link = self.table.links.get(stream.link);
        let first = match (tcp, utp) {
            (false, true) => Transport::Utp,
            (true, true) if link.is_some_and(Link::speaks_utp) => Transport::Utp,
            _ => Transport::Tcp,
        };
        stream.race = Race::default();
        stream.transport = first;
        if tcp && utp {
            stream.race.next = Some(self.shared.now + HEAD_START);
        }
        let next = stream.race.next;
        self.run(id, first);
        next.unwrap_or(deadline)
    }

    fn run(&mut self, id: StreamId, transport: Transport) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let to = stream.address;
        match transport {
            Transport::Tcp => {
                stream.race.tcp = Attempt::Running;
                // Past uTP, which may have the stream too.
                self.shared
                    .outputs
                    .push_back(Output::Dial { stream: id, to });
            }
            Transport::Utp => {
                stream.race.utp = Attempt::Running;
                let (utp, mut world) = self.shared.utp();
                utp.dial(&mut world, id, to);
            }
        }
    }

    /// The second one begins, if it has not. Whether there was one to begin.
    pub(super) fn run_second(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return false;
        };
        if stream.race.next.take().is_none() {
            return false;
        }
        let second = match stream.race.tcp {
            Attempt::Idle => Transport::Tcp,
            Attempt::Running | Attempt::Failed => Transport::Utp,
        };
        self.run(id, second);
        true
    }

    /// A transport has come to nothing, or is lost. `true` when the stream is over with it.
    fn is_over(&mut self, id: StreamId, lost: Transport) -> bool {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return false;
        };
        if !matches!(stream.stage, Stage::Dialing { .. }) {
            // What comes late of the one that was called off says nothing.
            return stream.transport == lost;
        }
        let race = &mut stream.race;
        let (own, other) = match lost {
            Transport::Tcp => (&mut race.tcp, race.utp),
            Transport::Utp => (&mut race.utp, race.tcp),
        };
        *own = Attempt::Failed;
        other != Attempt::Running && !self.run_second(id)
    }

    /// A stream of the loop is lost.
    pub(super) fn on_lost(&mut self, id: StreamId, why: LostReason) {
        if self.is_over(id, Transport::Tcp) {
            self.close(id, CloseReason::Lost(why));
        }
    }

    /// One of both is up; the other is called off. `false` when it was late.
    pub(super) fn wins(&mut self, id: StreamId, transport: Transport) -> bool {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return false;
        };
        if !matches!(stream.stage, Stage::Dialing { .. }) {
            return false;
        }
        let other = match transport {
            Transport::Tcp => stream.race.utp,
            Transport::Utp => stream.race.tcp,
        };
        stream.transport = transport;
        stream.race = Race::default();
        let link = stream.link;
        if other == Attempt::Running {
            match transport {
                Transport::Tcp => {
                    let (utp, mut world) = self.shared.utp();
                    utp.end(&mut world, id);
                }
                // The loop's, though uTP has the stream.
                Transport::Utp => self.shared.outputs.push_back(Output::Close { stream: id }),
            }
        }
        if let Some(link) = self.table.links.get_mut(link) {
            link.set_speaks_utp(transport == Transport::Utp);
        }
        true
    }

    // --------------------------------------------------------------------------------------------------------- uTP

    pub(super) fn on_utp_datagram(&mut self, from: SocketAddr, bytes: &mut [u8]) {
        let open = self.shared.settings.utp && !self.is_ending();
        let (utp, mut world) = self.shared.utp();
        let mut got = utp.on_datagram(&mut world, from, bytes, open);
        if let Got::Offer(offer) = got {
            if !self.take_offer(&offer) {
                return;
            }
            let (utp, mut world) = self.shared.utp();
            got = utp.on_datagram(&mut world, from, bytes, open);
        }
        if let Got::Payload(stream, at) = got {
            self.on_received(stream, &mut bytes[at..]);
        }
        // Before the next packet: what is news now may decide what that one means.
        self.hear_utp();
    }

    /// Somebody dials, and is who it says: a stream as any that is accepted.
    fn take_offer(&mut self, offer: &Offer) -> bool {
        let stream = self.admit(offer.remote);
        let (utp, mut world) = self.shared.utp();
        match stream {
            None => {
                utp.refuse(&mut world, offer);
                false
            }
            Some(stream) => {
                utp.accept(&mut world, offer, stream);
                if let Some(stream) = self.table.streams.get_mut(stream) {
                    stream.transport = Transport::Utp;
                }
                true
            }
        }
    }

    /// What uTP has found out since.
    pub(super) fn hear_utp(&mut self) {
        while let Some(news) = self.shared.utp.next_news() {
            match news {
                News::Connected(stream) => {
                    if self.wins(stream, Transport::Utp) {
                        self.on_connected(stream);
                    }
                }
                News::Readable(stream) => self.read_utp(stream),
                News::Lost(stream, why) => {
                    if self.is_over(stream, Transport::Utp) {
                        self.close(stream, CloseReason::Lost(why));
                    }
                }
            }
        }
    }

    /// Bytes that were kept are handed on, as far as the stream is read.
    fn read_utp(&mut self, stream: StreamId) {
        let mut scratch = std::mem::take(&mut self.scratch);
        loop {
            scratch.clear();
            self.shared.utp.take(stream, &mut scratch);
            if scratch.is_empty() {
                break;
            }
            self.on_received(stream, &mut scratch);
        }
        self.scratch = scratch;
        if self.shared.utp.is_over(stream) {
            let (utp, mut world) = self.shared.utp();
            utp.end(&mut world, stream);
            self.close(stream, CloseReason::Lost(LostReason::HungUp));
        }
    }

    /// The end of a turn: what waits goes out, and whoever has room then is served.
    pub(super) fn flush_utp(&mut self) {
        if !self.shared.utp.is_marked() {
            return;
        }
        let (utp, mut world) = self.shared.utp();
        let came_back = utp.flush(&mut world);
        while let Some((stream, bytes)) = self.shared.utp.next_sent() {
            self.on_sent(stream, bytes);
        }
        if came_back {
            self.serve_waiting();
        }
    }

    pub(super) fn on_utp_timer(&mut self, id: UtpId) {
        let (utp, mut world) = self.shared.utp();
        utp.on_timer(&mut world, id);
    }
}
