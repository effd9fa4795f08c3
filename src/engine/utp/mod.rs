//! uTP (BEP 29): streams over datagrams, which leave the line to others.
//!
//! To the rest of the engine such a stream is like any other: [`Shared::push`](super::shared::Shared::push) hands what
//! concerns it to [`Utp::divert`] instead of to the loop, and what arrives comes back as if the loop had read it. Whoever
//! dials us costs a small record, until a packet shows that our answer has reached it: senders that lie about their address
//! never become a stream.

pub mod batch;
pub mod connection;
pub mod delay;
pub mod incoming;
pub mod ledbat;
pub mod mtu;
pub mod outgoing;
pub mod rtt;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::buffer::{Block, Pool, Share};
use crate::codec::utp::{self, Header, Kind, Packet};
use crate::ids::{StreamId, UtpId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

use super::message::{LostReason, Output};
use super::shared::TimerKey;
use super::slots::Slots;
use super::timers::Timers;

use batch::Batch;
use connection::{Connection, Due, Heard, Stand, clock};
use incoming::WINDOW;

/// Dials to us that have not shown yet that our answer reaches them; beyond it the oldest is forgotten.
const OFFERS_MAX: usize = 1024;
/// For so long they may.
const OFFER_LIFE: Duration = Duration::from_secs(10);
/// SYNs that are answered in a second; further ones are dropped, and come again.
const SYNS_PER_SECOND: u32 = 1000;
/// Packets of no connection that are answered in a second; further ones are dropped.
const RESETS_PER_SECOND: u32 = 100;
/// Connections whose stream is over and whose last bytes are still delivered; beyond it the oldest is broken off.
const ENDING_MAX: usize = 512;
/// Bytes that one call hands on of what was kept.
const TAKE_MAX: usize = 64 << 10;

/// What all connections use.
#[derive(Debug)]
pub struct World<'a> {
    /// The time.
    pub now: Instant,
    /// Chance.
    pub rng: &'a mut Rng,
    /// All deadlines.
    pub timers: &'a mut Timers<TimerKey>,
    /// Where datagrams go.
    pub outputs: &'a mut VecDeque<Output>,
    /// Where blocks go back to.
    pub pool: &'a mut Pool,
}

/// What the engine has to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The dial is answered.
    Connected(StreamId),
    /// Bytes that were kept may be read, or the end has come.
    Readable(StreamId),
    /// It is over.
    Lost(StreamId, LostReason),
}

/// What a datagram has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Nothing to be done at once.
    Nothing,
    /// Its payload, from here on, is the next of the stream.
    Payload(StreamId, usize),
    /// Somebody dials, and is who it says. To be answered by [`Utp::accept`] or [`Utp::refuse`]; then the datagram is given again.
    Offer(Offer),
}

/// Somebody dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who.
    pub remote: SocketAddr,
    /// The name in its SYN.
    id: u16,
    /// The number of its SYN.
    theirs: u16,
    /// The number of our first packet.
    ours: u16,
    since: Instant,
}

/// How often something was done in this second.
#[derive(Clone, Copy, Debug, Default)]
struct Quota {
    second: u64,
    count: u32,
}

impl Quota {
    fn take(&mut self, now: Instant, most: u32) -> bool {
        let second = now.as_micros() / 1_000_000;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count += 1;
        self.count <= most
    }
}

/// Bytes that have passed, and connections there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Payload received, in order.
    pub received_bytes: u64,
    /// Payload sent, each byte once.
    pub sent_bytes: u64,
    /// Connections, those that end included.
    pub connections: u64,
}

/// All uTP connections.
#[derive(Debug)]
pub struct Utp {
    connections: Slots<UtpId, Box<Connection>>,
    by_name: BTreeMap<(SocketAddr, u16), UtpId>,
    /// By slot of the stream.
    by_stream: Vec<Option<(StreamId, UtpId)>>,
    offers: BTreeMap<(SocketAddr, u16), Offer>,
    /// Oldest first; some are answered already.
    offers_order: VecDeque<(SocketAddr, u16)>,
    ending: VecDeque<UtpId>,
    marked: Vec<UtpId>,
    news: VecDeque<News>,
    /// Streams of which so many bytes went out.
    sent: VecDeque<(StreamId, usize)>,
    /// Bytes held by all connections, and how many they may be.
    held: usize,
    held_max: usize,
    /// Who sent last: packets come in runs.
    latest: Option<((SocketAddr, u16), UtpId)>,
    syns: Quota,
    resets: Quota,
    batch: Batch,
    blocks: Vec<Block>,
    /// Blocks of a stream that ended have come back since the last flush: somebody may have waited for them.
    returned: bool,
    counts: Counts,
}

impl Utp {
    /// No connections; all of them together may hold `held_max` bytes.
    #[must_use]
    pub fn new(held_max: usize) -> Self {
        Self {
            connections: Slots::default(),
            by_name: BTreeMap::new(),
            by_stream: Vec::new(),
            offers: BTreeMap::new(),
            offers_order: VecDeque::new(),
            ending: VecDeque::new(),
            marked: Vec::new(),
            news: VecDeque::new(),
            sent: VecDeque::new(),
            held: 0,
            held_max: held_max.max(2 * WINDOW),
            latest: None,
            syns: Quota::default(),
            resets: Quota::default(),
            batch: Batch::default(),
            blocks: Vec::new(),
            returned: false,
            counts: Counts::default(),
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.len() as u64,
            ..self.counts
        }
    }

    /// Whether [`Self::flush`] is wanted.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        !self.marked.is_empty() || self.returned
    }

    /// What the engine has to hear next.
    pub fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Of which stream how many bytes went out, next.
    pub fn next_sent(&mut self) -> Option<(StreamId, usize)> {
        self.sent.pop_front()
    }

    /// Whether it carries `stream`, or is dialling for it.
    #[must_use]
    pub fn carries(&self, stream: StreamId) -> bool {
        self.id_of(stream).is_some()
    }

    /// The connection that carries `stream`, for tests and for people.
    #[must_use]
    pub fn of(&self, stream: StreamId) -> Option<&Connection> {
        self.connections.get(self.id_of(stream)?).map(|one| &**one)
    }

    fn id_of(&self, stream: StreamId) -> Option<UtpId> {
        let (named, id) = (*self.by_stream.get(stream.slot())?)?;
        (named == stream).then_some(id)
    }

    // -------------------------------------------------------------------------------------------- beginning and end

    /// Dials `to` for `stream`. Answered by [`News::Connected`] or [`News::Lost`].
    pub fn dial(&mut self, world: &mut World<'_>, stream: StreamId, to: SocketAddr) {
        let draw = |rng: &mut Rng| u16::try_from(rng.below(1 << 16)).unwrap_or(0);
        let id = (0..16)
            .map(|_| draw(world.rng))
            .find(|&id| !self.by_name.contains_key(&(to, id)));
        let Some(id) = id else {
            self.news
                .push_back(News::Lost(stream, LostReason::NoResources));
            return;
        };
        let number = draw(world.rng);
        let mut connection = Connection::dial(world.now, to, stream, id, number);
        connection.syn(world.now, &mut self.batch);
        world.outputs.extend(self.batch.drain(to));
        self.enter(world, connection, stream);
    }

    /// The offer becomes `stream`.
    pub fn accept(&mut self, world: &mut World<'_>, offer: &Offer, stream: StreamId) {
        let Offer {
            remote,
            id,
            theirs,
            ours,
            ..
        } = *offer;
        self.offers.remove(&(remote, id.wrapping_add(1)));
        let connection = Connection::accept(world.now, remote, stream, id, theirs, ours);
        self.enter(world, connection, stream);
    }

    /// The offer is not wanted.
    pub fn refuse(&mut self, world: &mut World<'_>, offer: &Offer) {
        self.offers
            .remove(&(offer.remote, offer.id.wrapping_add(1)));
        let header = Header {
            kind: Kind::Reset,
            connection: offer.id,
            timestamp: clock(world.now),
            delay: 0,
            window: 0,
            sequence: offer.ours,
            acknowledged: offer.theirs.wrapping_add(1),
        };
        self.batch.add(|out| utp::encode(&header, &[], 0, out));
        world.outputs.extend(self.batch.drain(offer.remote));
    }

    fn enter(&mut self, world: &mut World<'_>, connection: Connection, stream: StreamId) {
        let name = (connection.remote, connection.receive_id());
        let deadline = connection.next_deadline();
        let id = self.connections.insert_with(|_| Box::new(connection));
        self.by_name.insert(name, id);
        if self.by_stream.len() <= stream.slot() {
            self.by_stream.resize(stream.slot() + 1, None);
        }
        self.by_stream[stream.slot()] = Some((stream, id));
        world.timers.set(TimerKey::Utp(id), deadline);
    }

    /// Forgets a connection; gives back its stream.
    fn remove(&mut self, world: &mut World<'_>, id: UtpId) -> Option<StreamId> {
        let mut connection = self.connections.remove(id)?;
        self.held -= connection.held();
        connection.outgoing().abandon(&mut self.blocks);
        self.give_back(world);
        world.timers.cancel(TimerKey::Utp(id));
        self.by_name
            .remove(&(connection.remote, connection.receive_id()));
        self.latest = None;
        let stream = connection.stream?;
        self.by_stream[stream.slot()] = None;
        Some(stream)
    }

    fn give_back(&mut self, world: &mut World<'_>) {
        self.returned |= !self.blocks.is_empty();
        for block in self.blocks.drain(..) {
            world.pool.put(Share::Send, block);
        }
    }

    /// The stream is over on our side, or was opened another way. What was sent is still delivered.
    pub fn end(&mut self, world: &mut World<'_>, stream: StreamId) {
        let Some(id) = self.id_of(stream) else {
            return;
        };
        self.by_stream[stream.slot()] = None;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let remote = connection.remote;
        if connection.stand() == Stand::Dialling {
            connection.reset(world.now, &mut self.batch);
            world.outputs.extend(self.batch.drain(remote));
            connection.stream = None;
            self.remove(world, id);
            return;
        }
        // Once more what fits, as the loop does with a socket.
        self.flush_one(world, id);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.end(&mut self.blocks);
        }
        self.give_back(world);
        self.flush_one(world, id);
        self.ending.push_back(id);
        if self.ending.len() > ENDING_MAX {
            let connections = &self.connections;
            self.ending.retain(|&id| connections.get(id).is_some());
            if self.ending.len() > ENDING_MAX
                && let Some(oldest) = self.ending.pop_front()
            {
                self.remove(world, oldest);
            }
        }
    }

    /// Takes what concerns a stream of ours; gives back what is the loop's.
    pub fn divert(&mut self, world: &mut World<'_>, output: Output) -> Option<Output> {
        if self.connections.is_empty() {
            return Some(output);
        }
        let stream = match &output {
            Output::Send { stream, .. }
            | Output::Hold { stream, .. }
            | Output::Meter { stream, .. }
            | Output::Close { stream } => *stream,
            _ => return Some(output),
        };
        let Some(id) = self.id_of(stream) else {
            return Some(output);
        };
        let Some(connection) = self.connections.get_mut(id) else {
            return Some(output);
        };
        let is_dialling = connection.stand() == Stand::Dialling;
        match output {
            Output::Send { frame, .. } => {
                connection.outgoing().push(frame);
                if connection.wants_to_send() {
                    self.mark(id);
                }
            }
            Output::Hold { hold, .. } => {
                connection.incoming().hold(hold);
                self.look(id, stream);
            }
            Output::Meter { bytes, .. } => {
                connection.incoming().meter(bytes);
                self.look(id, stream);
            }
            Output::Close { .. } => {
                self.end(world, stream);
                // A dial may be under way there too.
                return is_dialling.then_some(Output::Close { stream });
            }
            other => return Some(other),
        }
        None
    }

    /// There may be something to read now.
    fn look(&mut self, id: UtpId, stream: StreamId) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.incoming().is_readable()
        {
            self.news.push_back(News::Readable(stream));
        }
    }

    fn mark(&mut self, id: UtpId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.marked
        {
            connection.marked = true;
            self.marked.push(id);
        }
    }

    // --------------------------------------------------------------------------------------------------- receiving

    /// A datagram that may be a packet; `open` when whoever dials may be answered.
    pub fn on_datagram(
        &mut self,
        world: &mut World<'_>,
        from: SocketAddr,
        bytes: &[u8],
        open: bool,
    ) -> Got {
        let Some(packet) = utp::decode(bytes) else {
            return Got::Nothing;
        };
        let name = (from, packet.header.connection);
        match self.find(name, &packet.header) {
            Some(id) => self.on_packet(world, id, &packet, bytes),
            None if packet.header.kind == Kind::Syn => {
                if open {
                    self.on_syn(world, from, &packet.header);
                }
                Got::Nothing
            }
            None => self.on_stranger(world, name, &packet),
        }
    }

    fn find(&mut self, name: (SocketAddr, u16), header: &Header) -> Option<UtpId> {
        if header.kind == Kind::Syn {
            return None;
        }
        if let Some((latest, id)) = self.latest
            && latest == name
        {
            return Some(id);
        }
        let found = self.by_name.get(&name).copied();
        if found.is_none() && header.kind == Kind::Reset {
            // Some name a connection as we call it, when they know nothing of it.
            let (from, id) = name;
            let other = [id.wrapping_sub(1), id.wrapping_add(1)];
            return other
                .into_iter()
                .find_map(|id| self.by_name.get(&(from, id)).copied());
        }
        self.latest = found.map(|id| (name, id)).or(self.latest);
        found
    }

    fn on_packet(
        &mut self,
        world: &mut World<'_>,
        id: UtpId,
        packet: &Packet<'_>,
        bytes: &[u8],
    ) -> Got {
        let room = self.held_max.saturating_sub(self.held);
        let Some(connection) = self.connections.get_mut(id) else {
            return Got::Nothing;
        };
        let held = connection.held();
        let payload = &bytes[packet.payload_at..];
        let dialling = connection.stand() == Stand::Dialling;
        let heard =
            connection.on_packet(world.now, &packet.header, packet.selective, payload, room);
        self.held = self.held - held + connection.held();
        let Heard {
            connected,
            direct,
            readable,
            reset,
            marked,
        } = heard;
        let stream = connection.stream;
        let done = connection.is_done();
        if reset {
            let why = if dialling {
                LostReason::Refused
            } else {
                LostReason::Reset
            };
            if let Some(stream) = self.remove(world, id) {
                self.news.push_back(News::Lost(stream, why));
            }
            return Got::Nothing;
        }
        if done {
            self.remove(world, id);
            return Got::Nothing;
        }
        if marked {
            self.mark(id);
        }
        let Some(stream) = stream else {
            return Got::Nothing;
        };
        if connected {
            self.news.push_back(News::Connected(stream));
        }
        if readable {
            self.news.push_back(News::Readable(stream));
        }
        if direct {
            self.counts.received_bytes += payload.len() as u64;
            return Got::Payload(stream, packet.payload_at);
        }
        Got::Nothing
    }

    fn on_syn(&mut self, world: &mut World<'_>, from: SocketAddr, header: &Header) {
        if !self.syns.take(world.now, SYNS_PER_SECOND) {
            return;
        }
        let name = (from, header.connection.wrapping_add(1));
        if let Some(&id) = self.by_name.get(&name) {
            // It did not hear our answer, and somebody else did; or it is late.
            if let Some(connection) = self.connections.get_mut(id)
                && connection.stand() == Stand::Up
            {
                connection.acknowledge(world.now, &mut self.batch);
                world.outputs.extend(self.batch.drain(from));
            }
            return;
        }
        let known = self
            .offers
            .get(&name)
            .filter(|offer| offer.theirs == header.sequence);
        let offer = known.copied().unwrap_or_else(|| Offer {
            remote: from,
            id: header.connection,
            theirs: header.sequence,
            ours: u16::try_from(world.rng.below(1 << 16)).unwrap_or(0),
            since: world.now,
        });
        if known.is_none() {
            self.forget_offers(world.now);
            if self.offers.insert(name, offer).is_none() {
                self.offers_order.push_back(name);
            }
        }
        let state = Header {
            kind: Kind::State,
            connection: offer.id,
            timestamp: clock(world.now),
            delay: clock(world.now).wrapping_sub(header.timestamp),
            window: u32::try_from(WINDOW).unwrap_or(u32::MAX),
            sequence: offer.ours,
            acknowledged: offer.theirs,
        };
        self.batch.add(|out| utp::encode(&state, &[], 0, out));
        world.outputs.extend(self.batch.drain(from));
    }

    /// Makes room for one more offer.
    fn forget_offers(&mut self, now: Instant) {
        while let Some(name) = self.offers_order.front() {
            let stays = self
                .offers
                .get(name)
                .is_some_and(|offer| now.since(offer.since) < OFFER_LIFE);
            if stays && self.offers_order.len() < OFFERS_MAX {
                return;
            }
            self.offers.remove(name);
            self.offers_order.pop_front();
        }
    }

    /// A packet of no connection: the first behind an offer, or of one that is gone.
    fn on_stranger(
        &mut self,
        world: &mut World<'_>,
        name: (SocketAddr, u16),
        packet: &Packet<'_>,
    ) -> Got {
        let header = &packet.header;
        if header.kind != Kind::Data && header.kind != Kind::Fin {
            return Got::Nothing;
        }
        if let Some(offer) = self.offers.get(&name) {
            let is_true = header.acknowledged == offer.ours.wrapping_sub(1);
            let ahead = header.sequence.wrapping_sub(offer.theirs);
            if is_true && (1..1000).contains(&ahead) && header.kind == Kind::Data {
                return Got::Offer(*offer);
            }
            return Got::Nothing;
        }
        if self.resets.take(world.now, RESETS_PER_SECOND) {
            let reset = Header {
                kind: Kind::Reset,
                connection: header.connection,
                timestamp: clock(world.now),
                delay: clock(world.now).wrapping_sub(header.timestamp),
                window: 0,
                sequence: u16::try_from(world.rng.below(1 << 16)).unwrap_or(0),
                acknowledged: header.sequence,
            };
            self.batch.add(|out| utp::encode(&reset, &[], 0, out));
            world.outputs.extend(self.batch.drain(name.0));
        }
        Got::Nothing
    }

    /// Moves bytes of `stream` that were kept and may be read to `out`, which is empty.
    pub fn take(&mut self, stream: StreamId, out: &mut Vec<u8>) {
        let Some(id) = self.id_of(stream) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let before = connection.incoming().window();
        connection.incoming().take(TAKE_MAX, out);
        self.held -= out.len();
        self.counts.received_bytes += out.len() as u64;
        if before < WINDOW / 2 && connection.incoming().window() >= WINDOW / 2 {
            // They may have stopped because we took nothing.
            connection.tell_window();
            self.mark(id);
        }
    }

    /// Whether the other side has said all, and all of it is read.
    #[must_use]
    pub fn is_over(&mut self, stream: StreamId) -> bool {
        let id = self.id_of(stream);
        let connection = id.and_then(|id| self.connections.get_mut(id));
        connection.is_some_and(|connection| connection.incoming().is_over())
    }

    // ----------------------------------------------------------------------------------------------- sending, time

    /// The end of a turn: everything that waits goes out as far as it may. `true` when blocks came back.
    pub fn flush(&mut self, world: &mut World<'_>) -> bool {
        let marked = std::mem::take(&mut self.marked);
        let mut came_back = std::mem::take(&mut self.returned);
        for &id in &marked {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.marked = false;
                came_back |= self.flush_one(world, id);
            }
        }
        if self.marked.is_empty() {
            // Nothing is allocated from turn to turn.
            self.marked = marked;
            self.marked.clear();
        }
        came_back
    }

    fn flush_one(&mut self, world: &mut World<'_>, id: UtpId) -> bool {
        let room = self.held_max.saturating_sub(self.held);
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        let held = connection.held();
        let (bytes, more) = connection.flush(world.now, room, &mut self.batch, &mut self.blocks);
        self.held = self.held - held + connection.held();
        let (remote, stream) = (connection.remote, connection.stream);
        world
            .timers
            .set_no_later(TimerKey::Utp(id), connection.next_deadline());
        let done = connection.is_done();
        world.outputs.extend(self.batch.drain(remote));
        let came_back = !self.blocks.is_empty();
        self.give_back(world);
        if let Some(stream) = stream.filter(|_| bytes > 0) {
            self.counts.sent_bytes += bytes as u64;
            self.sent.push_back((stream, bytes));
        }
        if done {
            self.remove(world, id);
        } else if more {
            self.mark(id);
        }
        came_back
    }

    /// The timer of a connection: its real deadlines are looked at, and it is armed again.
    pub fn on_timer(&mut self, world: &mut World<'_>, id: UtpId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let remote = connection.remote;
        let due = connection.on_timer(world.now, &mut self.batch);
        world.outputs.extend(self.batch.drain(remote));
        match due {
            Due::Silent => {
                if let Some(stream) = self.remove(world, id) {
                    self.news
                        .push_back(News::Lost(stream, LostReason::TimedOut));
                }
                return;
            }
            Due::Flush => self.mark(id),
            Due::Wait => {}
        }
        if let Some(connection) = self.connections.get_mut(id) {
            world
                .timers
                .set(TimerKey::Utp(id), connection.next_deadline());
        }
    }

    /// Panics when the books do not agree.
    pub fn check(&self) {
        let held: usize = self.connections.iter().map(|(_, one)| one.held()).sum();
        assert_eq!(held, self.held);
        assert_eq!(self.by_name.len(), self.connections.len());
        for (id, one) in self.connections.iter() {
            one.check();
            assert_eq!(self.by_name.get(&(one.remote, one.receive_id())), Some(&id));
            if let Some(stream) = one.stream {
                assert_eq!(self.id_of(stream), Some(id));
            }
        }
        assert!(self.offers.len() <= OFFERS_MAX);
        assert!(self.ending.len() <= ENDING_MAX);
    }
}
