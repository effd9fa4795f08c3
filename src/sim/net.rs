//! A network in memory: byte streams with latency, bandwidth, resets and odd cuts, and datagrams that may be lost.
//!
//! Streams behave as TCP does under a readiness poller: an edge for new bytes and for new room, `WouldBlock` only when
//! nothing is there, an orderly end behind the last byte, a reset that overtakes it. A node that lost power answers nothing;
//! one that is up again answers the bytes of streams it does not know with a reset.
//!
//! Everything a stream has under way is bounded by `WINDOW`; the rest waits with its sender, as in a real kernel.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;

use crate::actor::host::Ready;
use crate::engine::message::LostReason;
use crate::ids::{SocketId, StreamId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

use super::faults::NetFaults;

/// Which simulated machine.
pub type NodeIndex = usize;

/// Bytes that one direction of a stream holds: sent and not yet read.
const WINDOW: usize = 96 * 1024;
/// Bytes that travel together.
const SEGMENT: usize = 16 * 1024;
/// How long a dial to a machine without power lasts.
const DIAL_SILENCE: Duration = Duration::from_secs(60);
/// How long until bytes that nobody acknowledged are sent again.
const SEND_AGAIN: Duration = Duration::from_secs(2);
/// How long a datagram waits for the uplink at most; one that would wait longer is lost.
const DATAGRAM_WAIT: Duration = Duration::from_millis(500);
/// Sockets waiting to be accepted; more are refused.
const BACKLOG: usize = 64;

/// One end of a stream. Never reused.
type EndId = u64;

/// Something that arrives later.
#[derive(Debug)]
enum Arrival {
    /// A dial reaches its target.
    Syn { end: EndId, to: SocketAddr },
    /// A dial is answered.
    Answer { end: EndId, why: Option<LostReason> },
    /// Bytes.
    Bytes { end: EndId, bytes: Vec<u8> },
    /// The orderly end.
    Fin { end: EndId },
    /// The other end, or what came up in its place, breaks it off.
    Reset { end: EndId },
    /// A datagram.
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
}

/// What one end knows of the other's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inflow {
    Open,
    Ended,
    Reset,
}

#[derive(Debug)]
struct End {
    node: NodeIndex,
    /// Its name in its node; `None` until it is accepted.
    stream: Option<StreamId>,
    local: SocketAddr,
    /// The other end, once the dial was answered.
    other: Option<EndId>,
    inbox: VecDeque<u8>,
    inflow: Inflow,
    /// Bytes the other end sent that are not in the inbox yet.
    coming: usize,
    /// Whether a write found no room since the last edge.
    wants_room: bool,
    /// Bytes sent from here since the other end is gone: they fill the window too, until a reset comes.
    into_the_void: usize,
    /// On which machine the other end is, or was.
    other_node: Option<NodeIndex>,
    /// When the last byte sent from here arrives: nothing overtakes it but a reset.
    last_arrival: Instant,
    /// When the other side learns that this end exists: nothing at all arrives before.
    known_from: Instant,
}

/// One machine's part of the network.
#[derive(Debug, Default)]
struct Machine {
    address: Option<SocketAddr>,
    listening: bool,
    power: bool,
    next_port: u16,
    streams: BTreeMap<StreamId, EndId>,
    waiting: BTreeMap<SocketId, EndId>,
    backlog: VecDeque<(SocketId, SocketAddr)>,
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    ready: Vec<Ready>,
    /// When its uplink has sent everything given to it.
    uplink_free: Instant,
    /// The same for datagrams, which do not wait behind streams.
    datagrams_free: Instant,
    /// Bytes a second.
    uplink: u64,
    /// Bytes that its process has read from streams, and written to them.
    passed: (u64, u64),
    /// One way to the backbone.
    latency: Duration,
    /// Until when nothing reaches it or leaves it.
    cut_off_until: Instant,
}

/// All machines and everything between them.
#[derive(Debug)]
pub struct Net {
    faults: NetFaults,
    rng: Rng,
    machines: Vec<Machine>,
    ends: BTreeMap<EndId, End>,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    by_address: BTreeMap<SocketAddr, NodeIndex>,
    next_end: u64,
    next_arrival: u64,
    next_socket: u64,
    /// Datagrams to addresses that are no machine's: the world's own services take them.
    strays: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Net {
    /// An empty network.
    #[must_use]
    pub fn new(faults: NetFaults, rng: Rng) -> Self {
        Self {
            faults,
            rng,
            machines: Vec::new(),
            ends: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            by_address: BTreeMap::new(),
            next_end: 0,
            next_arrival: 0,
            next_socket: 0,
            strays: Vec::new(),
        }
    }

    /// A new machine, off, with its own latency; `uplink` is in bytes a second.
    pub fn add_machine(&mut self, address: SocketAddr, uplink: u64) -> NodeIndex {
        let latency = Duration::from_micros(200 + self.rng.below(self.faults.latency_micros_max));
        self.machines.push(Machine {
            address: Some(address),
            next_port: 40_000,
            uplink,
            latency,
            ..Machine::default()
        });
        self.by_address.insert(address, self.machines.len() - 1);
        self.machines.len() - 1
    }

    /// Where a machine listens.
    #[must_use]
    pub fn address(&self, node: NodeIndex) -> SocketAddr {
        self.machines[node].address.expect("every machine has one")
    }

    /// Bytes that a machine's process has read from its streams, and written to them.
    #[must_use]
    pub fn passed(&self, node: NodeIndex) -> (u64, u64) {
        self.machines[node].passed
    }

    /// Ends (or resumes) the faults; what is under way arrives.
    pub fn set_faults(&mut self, faults: NetFaults) {
        self.faults = faults;
    }

    /// Switches a machine on and opens its listening port.
    pub fn power_on(&mut self, node: NodeIndex) {
        self.machines[node].power = true;
        self.machines[node].listening = true;
    }

    /// The process ended and the kernel lives: every stream is closed by it, the port too.
    pub fn kill(&mut self, now: Instant, node: NodeIndex) {
        for end in self.ends_of(node) {
            self.drop_end(now, end, true);
        }
        self.forget(node);
    }

    /// Power is gone: nobody is told.
    pub fn power_off(&mut self, node: NodeIndex) {
        for end in self.ends_of(node) {
            self.ends.remove(&end);
        }
        self.machines[node].power = false;
        self.forget(node);
    }

    /// Nobody can dial `node` from now on; it can dial others.
    pub fn deafen(&mut self, node: NodeIndex) {
        self.machines[node].listening = false;
    }

    /// Breaks off one of the streams of `node` by chance, if it has any.
    pub fn break_one(&mut self, now: Instant, node: NodeIndex) {
        let ends = self.ends_of(node);
        if !ends.is_empty() {
            let end = ends[self.rng.index(ends.len())];
            self.break_off(now, end);
        }
    }

    /// Nothing reaches `node` or leaves it until `until`; what is under way waits.
    pub fn cut_off(&mut self, node: NodeIndex, until: Instant) {
        let machine = &mut self.machines[node];
        machine.cut_off_until = machine.cut_off_until.max(until);
    }

    fn ends_of(&self, node: NodeIndex) -> Vec<EndId> {
        let of_node = |(id, end): (&EndId, &End)| (end.node == node).then_some(*id);
        self.ends.iter().filter_map(of_node).collect()
    }

    fn forget(&mut self, node: NodeIndex) {
        let machine = &mut self.machines[node];
        machine.listening = false;
        machine.streams.clear();
        machine.waiting.clear();
        machine.backlog.clear();
        machine.datagrams.clear();
        machine.ready.clear();
    }

    // What a host calls.

    /// What has become ready since the last call.
    pub fn take_ready(&mut self, node: NodeIndex, ready: &mut Vec<Ready>) {
        ready.append(&mut self.machines[node].ready);
    }

    /// Whether something is ready.
    #[must_use]
    pub fn is_ready(&self, node: NodeIndex) -> bool {
        !self.machines[node].ready.is_empty()
    }

    /// The next socket to be accepted.
    pub fn next_incoming(&mut self, node: NodeIndex) -> Option<(SocketId, SocketAddr)> {
        self.machines[node].backlog.pop_front()
    }

    /// Keeps a socket as `stream`. What arrived meanwhile is an edge at once.
    pub fn accept(&mut self, node: NodeIndex, socket: SocketId, stream: StreamId) {
        let machine = &mut self.machines[node];
        let Some(id) = machine.waiting.remove(&socket) else {
            return;
        };
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        end.stream = Some(stream);
        machine.streams.insert(stream, id);
        if !end.inbox.is_empty() || end.inflow != Inflow::Open {
            machine.ready.push(Ready::Readable(stream));
        }
        machine.ready.push(Ready::Writable(stream));
    }

    /// Closes a socket that waited.
    pub fn refuse(&mut self, now: Instant, node: NodeIndex, socket: SocketId) {
        if let Some(end) = self.machines[node].waiting.remove(&socket) {
            self.drop_end(now, end, true);
        }
    }

    /// Begins a stream.
    ///
    /// # Errors
    /// By the chance of the faults, at once, as when ports are short.
    pub fn dial(
        &mut self,
        now: Instant,
        node: NodeIndex,
        stream: StreamId,
        to: SocketAddr,
    ) -> io::Result<()> {
        if self.rng.below(1000) < self.faults.dial_error_per_mille / 4 {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let machine = &mut self.machines[node];
        let mut local = machine.address.expect("every machine has one");
        local.set_port(machine.next_port);
        machine.next_port = machine.next_port.checked_add(1).unwrap_or(40_000);
        let id = self.new_end(node, Some(stream), local, None);
        self.machines[node].streams.insert(stream, id);
        let at = now + self.latency(node, self.by_address.get(&to).copied());
        if self.rng.below(1000) < self.faults.dial_error_per_mille {
            let why = [
                LostReason::Refused,
                LostReason::Unreachable,
                LostReason::TimedOut,
            ];
            let why = why[self.rng.index(why.len())];
            self.arrive(
                at,
                Arrival::Answer {
                    end: id,
                    why: Some(why),
                },
            );
        } else {
            self.arrive(at, Arrival::Syn { end: id, to });
        }
        Ok(())
    }

    /// Reads what is there, sometimes less.
    ///
    /// # Errors
    /// `WouldBlock`, or `ConnectionReset`.
    pub fn read(
        &mut self,
        node: NodeIndex,
        stream: StreamId,
        bytes: &mut [u8],
    ) -> io::Result<usize> {
        let id = self.end_of(node, stream)?;
        let most = self.odd_cut(bytes.len());
        let end = self.ends.get_mut(&id).expect("listed streams have ends");
        if end.inflow == Inflow::Reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if end.inbox.is_empty() {
            return match end.inflow {
                Inflow::Open => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(0),
            };
        }
        let count = most.min(end.inbox.len());
        for (to, from) in bytes.iter_mut().zip(end.inbox.drain(..count)) {
            *to = from;
        }
        self.machines[node].passed.0 += count as u64;
        if let Some(other) = end.other
            && let Some(other) = self.ends.get_mut(&other)
            && std::mem::take(&mut other.wants_room)
            && let Some(stream) = other.stream
        {
            let ready = Ready::Writable(stream);
            self.machines[other.node].ready.push(ready);
        }
        Ok(count)
    }

    /// Writes what fits, sometimes less.
    ///
    /// # Errors
    /// `WouldBlock`, `ConnectionReset`, or `NotConnected` while the dial lasts.
    pub fn write(
        &mut self,
        now: Instant,
        node: NodeIndex,
        stream: StreamId,
        parts: &[io::IoSlice<'_>],
    ) -> io::Result<usize> {
        let id = self.end_of(node, stream)?;
        let end = &self.ends[&id];
        if end.inflow == Inflow::Reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let Some(other_id) = end.other else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        // An end that is gone takes everything and answers with a reset when it arrives.
        let there = self.ends.get(&other_id);
        let held = there.map_or(end.into_the_void, |other| other.inbox.len() + other.coming);
        let room = WINDOW.saturating_sub(held);
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if room == 0 && total > 0 {
            let end = self.ends.get_mut(&id).expect("looked up above");
            end.wants_room = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.odd_cut(total.min(room)).min(total.min(room));
        self.machines[node].passed.1 += count as u64;
        let taken: Vec<u8> = parts
            .iter()
            .flat_map(|part| part.iter().copied())
            .take(count)
            .collect();
        if self.rng.below(100_000) < self.faults.reset_per_100k {
            self.break_off(now, id);
            return Ok(count);
        }
        for segment in taken.chunks(SEGMENT) {
            let at = self.departure(now, id, other_id, segment.len());
            if let Some(other) = self.ends.get_mut(&other_id) {
                other.coming += segment.len();
            } else {
                self.ends
                    .get_mut(&id)
                    .expect("looked up above")
                    .into_the_void += segment.len();
            }
            let arrival = Arrival::Bytes {
                end: other_id,
                bytes: segment.to_vec(),
            };
            self.arrive(at, arrival);
        }
        Ok(count)
    }

    /// Closes a stream, in order or not; unread bytes make it a reset, as in a real kernel.
    pub fn close(&mut self, now: Instant, node: NodeIndex, stream: StreamId, clean: bool) {
        if let Some(end) = self.machines[node].streams.remove(&stream) {
            self.drop_end(now, end, clean);
        }
    }

    /// The next datagram that waits.
    pub fn receive(&mut self, node: NodeIndex) -> Option<(SocketAddr, Vec<u8>)> {
        self.machines[node].datagrams.pop_front()
    }

    /// Sends a datagram: it may be lost, doubled, or overtaken.
    pub fn send_to(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let copies = match self.rng.below(1000) {
            lot if lot < self.faults.datagram_loss_per_mille => 0,
            lot if lot < self.faults.datagram_loss_per_mille * 3 / 2 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let node = self.by_address.get(&from).copied();
            let other = self.by_address.get(&to).copied();
            let Some(now) = self.datagram_departs(now, node, bytes.len()) else {
                continue;
            };
            let base = node
                .or(other)
                .map_or(Duration::ZERO, |node| self.latency(node, other));
            let at = now + base + Duration::from_micros(self.rng.below(5000));
            self.arrive(
                at,
                Arrival::Datagram {
                    from,
                    to,
                    bytes: bytes.to_vec(),
                },
            );
        }
    }

    /// When a datagram has left its machine: behind those it sent before.
    fn datagram_departs(
        &mut self,
        now: Instant,
        node: Option<NodeIndex>,
        length: usize,
    ) -> Option<Instant> {
        let Some(machine) = node.map(|node| &mut self.machines[node]) else {
            return Some(now);
        };
        if machine.datagrams_free.since(now) > DATAGRAM_WAIT {
            return None;
        }
        let micros = length as u64 * 1_000_000 / machine.uplink.max(1);
        machine.datagrams_free = machine.datagrams_free.max(now) + Duration::from_micros(micros);
        Some(machine.datagrams_free)
    }

    /// Says a datagram to every machine that is on, its own included: all are of one network.
    pub fn send_to_all(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let everybody: Vec<SocketAddr> = self.by_address.keys().copied().collect();
        for to in everybody {
            self.send_to(now, from, to, bytes);
        }
    }

    /// Datagrams to nobody's machine that have arrived: from, to, bytes.
    pub fn take_strays(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.strays)
    }

    // Time.

    /// When something arrives next.
    #[must_use]
    pub fn next_event(&self) -> Option<Instant> {
        self.arrivals.first_key_value().map(|(key, _)| key.0)
    }

    /// Lets everything arrive that is due.
    pub fn advance(&mut self, now: Instant) {
        while self.next_event().is_some_and(|at| at <= now) {
            let (_, arrival) = self.arrivals.pop_first().expect("looked at above");
            self.on_arrival(now, arrival);
        }
    }

    fn on_arrival(&mut self, now: Instant, arrival: Arrival) {
        match arrival {
            Arrival::Syn { end, to } => self.on_syn(now, end, to),
            Arrival::Answer { end, why } => self.on_answer(end, why),
            Arrival::Bytes { end: id, bytes } => {
                let Some(end) = self.ends.get_mut(&id) else {
                    self.answer_stranger(now, id, bytes);
                    return;
                };
                end.coming -= bytes.len();
                if end.inflow == Inflow::Open {
                    end.inbox.extend(bytes);
                    self.edge(id);
                }
            }
            Arrival::Fin { end: id } => {
                if let Some(end) = self.ends.get_mut(&id)
                    && end.inflow == Inflow::Open
                {
                    end.inflow = Inflow::Ended;
                    self.edge(id);
                }
            }
            Arrival::Reset { end: id } => {
                if let Some(end) = self.ends.get_mut(&id) {
                    end.inflow = Inflow::Reset;
                    end.inbox.clear();
                    self.edge(id);
                }
            }
            Arrival::Datagram { from, to, bytes } => match self.by_address.get(&to) {
                None => self.strays.push((from, to, bytes)),
                Some(&node) => {
                    let machine = &mut self.machines[node];
                    if machine.power && machine.listening && machine.datagrams.len() < 1000 {
                        machine.datagrams.push_back((from, bytes));
                        machine.ready.push(Ready::Datagrams);
                    }
                }
            },
        }
    }

    fn on_syn(&mut self, now: Instant, id: EndId, to: SocketAddr) {
        let Some(dialler) = self.ends.get(&id) else {
            return;
        };
        let (node, remote) = (dialler.node, dialler.local);
        let target = self.by_address.get(&to).copied();
        let back = now + self.latency(node, target);
        let Some(target) = target else {
            self.arrive(
                back,
                Arrival::Answer {
                    end: id,
                    why: Some(LostReason::Unreachable),
                },
            );
            return;
        };
        let machine = &self.machines[target];
        if !machine.power {
            let answer = Arrival::Answer {
                end: id,
                why: Some(LostReason::TimedOut),
            };
            self.arrive(now + DIAL_SILENCE, answer);
        } else if !machine.listening || machine.backlog.len() >= BACKLOG {
            self.arrive(
                back,
                Arrival::Answer {
                    end: id,
                    why: Some(LostReason::Refused),
                },
            );
        } else {
            let other = self.new_end(target, None, to, Some(id));
            let dialler = self.ends.get_mut(&id).expect("looked up above");
            (dialler.other, dialler.other_node) = (Some(other), Some(target));
            let accepted = self.ends.get_mut(&other).expect("just made");
            accepted.other_node = Some(node);
            (accepted.last_arrival, accepted.known_from) = (back, back);
            let socket = SocketId(self.next_socket);
            self.next_socket += 1;
            let machine = &mut self.machines[target];
            machine.waiting.insert(socket, other);
            machine.backlog.push_back((socket, remote));
            machine.ready.push(Ready::Incoming);
            self.arrive(back, Arrival::Answer { end: id, why: None });
        }
    }

    fn on_answer(&mut self, id: EndId, why: Option<LostReason>) {
        let Some(end) = self.ends.get(&id) else {
            return;
        };
        let (node, stream) = (end.node, end.stream.expect("who dials has a name for it"));
        let ready = match why {
            None => Ready::Connected(stream),
            Some(why) => {
                self.ends.remove(&id);
                self.machines[node].streams.remove(&stream);
                Ready::Failed(stream, why)
            }
        };
        self.machines[node].ready.push(ready);
    }

    /// Bytes for an end that is gone. A machine with power answers with a reset; without, they are sent again and again, so
    /// that the reset comes once it is up.
    fn answer_stranger(&mut self, now: Instant, gone: EndId, bytes: Vec<u8>) {
        let sender = self.ends.iter().find(|(_, end)| end.other == Some(gone));
        let Some((&id, end)) = sender else {
            return;
        };
        if end.other_node.is_some_and(|node| self.machines[node].power) {
            let at = now + self.machines[end.node].latency * 2;
            self.arrive(at, Arrival::Reset { end: id });
        } else {
            self.arrive(now + SEND_AGAIN, Arrival::Bytes { end: gone, bytes });
        }
    }

    // Ends.

    fn new_end(
        &mut self,
        node: NodeIndex,
        stream: Option<StreamId>,
        local: SocketAddr,
        other: Option<EndId>,
    ) -> EndId {
        let id = self.next_end;
        self.next_end += 1;
        let end = End {
            node,
            stream,
            local,
            other,
            inbox: VecDeque::new(),
            inflow: Inflow::Open,
            coming: 0,
            wants_room: false,
            into_the_void: 0,
            other_node: None,
            last_arrival: Instant::ZERO,
            known_from: Instant::ZERO,
        };
        self.ends.insert(id, end);
        id
    }

    fn end_of(&self, node: NodeIndex, stream: StreamId) -> io::Result<EndId> {
        let id = self.machines[node].streams.get(&stream);
        id.copied()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Takes an end away and tells the other.
    fn drop_end(&mut self, now: Instant, id: EndId, clean: bool) {
        let Some(end) = self.ends.get(&id) else {
            return;
        };
        let clean = clean && end.inbox.is_empty();
        let (other, node) = (end.other, end.node);
        let (last_arrival, known_from) = (end.last_arrival, end.known_from);
        if let Some(other) = other {
            let to = self.ends.get(&other).map(|end| end.node);
            let at = now + self.latency(node, to);
            if clean {
                let at = at.max(last_arrival);
                self.arrive(at, Arrival::Fin { end: other });
            } else {
                self.arrive(at.max(known_from), Arrival::Reset { end: other });
            }
        }
        self.ends.remove(&id);
    }

    /// A box in the middle breaks the stream off, both ways.
    fn break_off(&mut self, now: Instant, id: EndId) {
        let other = self.ends.get(&id).and_then(|end| end.other);
        self.arrive(now, Arrival::Reset { end: id });
        if let Some(other) = other {
            self.arrive(
                now + Duration::from_millis(1),
                Arrival::Reset { end: other },
            );
        }
    }

    fn edge(&mut self, id: EndId) {
        let end = &self.ends[&id];
        if let Some(stream) = end.stream {
            self.machines[end.node].ready.push(Ready::Readable(stream));
        }
    }

    // Chance and time.

    /// When bytes sent now arrive: behind everything the uplink has to send, and behind everything sent before.
    fn departure(&mut self, now: Instant, from: EndId, to: EndId, length: usize) -> Instant {
        let node = self.ends[&from].node;
        let other = self.ends.get(&to).map(|end| end.node);
        let machine = &mut self.machines[node];
        let micros = length as u64 * 1_000_000 / machine.uplink.max(1);
        let sent = now.max(machine.uplink_free) + Duration::from_micros(micros);
        machine.uplink_free = sent;
        let mut at = sent + self.latency(node, other);
        if self.rng.below(1000) < self.faults.stall_per_mille {
            at += Duration::from_millis(200 + self.rng.below(1800));
        }
        let end = self.ends.get_mut(&from).expect("looked up above");
        end.last_arrival = end.last_arrival.max(at);
        end.last_arrival
    }

    fn latency(&mut self, node: NodeIndex, other: Option<NodeIndex>) -> Duration {
        let there = other.map_or(Duration::from_millis(20), |node| {
            self.machines[node].latency
        });
        let jitter = Duration::from_micros(self.rng.below(500));
        self.machines[node].latency + there + jitter
    }

    fn arrive(&mut self, at: Instant, arrival: Arrival) {
        let at = at.max(self.cut_off_until(&arrival));
        self.arrivals.insert((at, self.next_arrival), arrival);
        self.next_arrival += 1;
    }

    /// Until when both sides of an arrival are cut off. Arrivals of one stream keep their order: all of them wait for the
    /// same end.
    fn cut_off_until(&self, arrival: &Arrival) -> Instant {
        let until = |node: NodeIndex| self.machines[node].cut_off_until;
        let of_end = |id: &EndId| {
            let end = self.ends.get(id);
            let other = end.and_then(|end| self.ends.get(&end.other?));
            let one = end.map_or(Instant::ZERO, |end| until(end.node));
            one.max(other.map_or(Instant::ZERO, |end| until(end.node)))
        };
        match arrival {
            Arrival::Syn { end, to } => {
                let target = self
                    .by_address
                    .get(to)
                    .map_or(Instant::ZERO, |node| until(*node));
                of_end(end).max(target)
            }
            Arrival::Answer { end, .. }
            | Arrival::Bytes { end, .. }
            | Arrival::Fin { end }
            | Arrival::Reset { end } => of_end(end),
            Arrival::Datagram { from, to, .. } => [from, to]
                .into_iter()
                .filter_map(|address| self.by_address.get(address))
                .map(|node| until(*node))
                .max()
                .unwrap_or_default(),
        }
    }

    /// Sometimes less than `most`, never nothing of something.
    fn odd_cut(&mut self, most: usize) -> usize {
        if most > 1 && self.rng.below(1000) < self.faults.short_per_mille {
            1 + self.rng.index(most)
        } else {
            most
        }
    }
}
