//! Bytes of an open stream become messages, and messages change what we know.
//!
//! Payload goes straight into its pooled buffer as it comes, however it is cut; only the unfinished head of a message is kept
//! in the stream's tail. A timeout never cuts a message: what came stays until the rest is there or the stream is gone.

use std::net::IpAddr;

use crate::codec::bitfield::Bitfield;
use std::net::SocketAddr;

use crate::codec::extension;
use crate::codec::geometry::PieceIndex;
use crate::codec::pex::PexFlags;
use crate::codec::wire::{self, Message, Request};
use crate::engine::extended::Extension;
use crate::engine::message::Frame;
use crate::engine::metadata::serve;
use crate::engine::pex::FIRST_TOLD_AFTER;
use crate::engine::settings::{MESSAGE_BYTES_MAX, UNASKED_BYTES_MAX};
use crate::engine::shared::{Shared, TimerKey};
use crate::engine::table::peer::{Arriving, Peer, PeerHas};
use crate::engine::table::stream::{Breach, Stage, Stream};
use crate::ids::StreamId;

use super::assembly::{Sender, Stored};
use super::picker;
use super::{Session, counts, download, upload};

/// What the engine has to do once the bytes are read.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The peer may be asked for more.
    pub ask: bool,
    /// The peer may be sent more.
    pub serve: bool,
    /// The peer says where it listens.
    pub listens: Option<u16>,
    /// The peer says where we are.
    pub seen_at: Option<IpAddr>,
    /// The peer says where its DHT node is.
    pub dht_port: Option<u16>,
    /// Its interest changed: there may be a free slot for it.
    pub interest: bool,
    /// It has everything now.
    pub has_all: bool,
    /// Blocks that it owed, or that were kept for it, can be asked of others.
    pub freed: bool,
    /// It refused some of them: it is not asked again at once.
    pub refused: bool,
    /// It sent too much that nobody asked for.
    pub unasked: bool,
    /// Whom else it has met.
    pub named: Vec<(SocketAddr, PexFlags)>,
}

/// Reads `bytes` of `stream`, which is open for `session`.
///
/// # Errors
/// How the peer broke the protocol; what came before stands.
pub fn receive(
    shared: &mut Shared,
    session: &mut Session,
    stream: &mut Stream,
    mut bytes: &[u8],
) -> Result<Heard, Breach> {
    let mut heard = Heard::default();
    let mut tail = std::mem::take(&mut stream.tail);
    while !bytes.is_empty() {
        let Stage::Open { peer, .. } = &mut stream.stage else {
            break;
        };
        if let Some(arriving) = &mut peer.arriving {
            bytes = arriving.fill(bytes);
            if arriving.filled == arriving.length {
                block_arrived(shared, session, stream, &mut heard);
            }
            continue;
        }
        if tail.is_empty() {
            let used = parse(shared, session, stream, bytes, &mut heard)?;
            if used == 0 {
                tail.extend_from_slice(bytes);
                break;
            }
            bytes = &bytes[used..];
        } else {
            // The unfinished head grows by no more than it needs, so that payload never passes through the tail.
            let missing = wanting(&tail);
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            tail.extend_from_slice(now);
            bytes = later;
            let used = parse(shared, session, stream, &tail, &mut heard)?;
            assert!(
                used == 0 || used == tail.len(),
                "a tail holds at most one message"
            );
            if used > 0 {
                tail.clear();
            }
        }
    }
    if tail.capacity() > 0 && tail.is_empty() {
        // An idle stream holds no buffer.
        tail = Vec::new();
    }
    stream.tail = tail;
    upload::hold(shared, stream);
    Ok(heard)
}

/// How many more bytes the message at the front of `tail` needs before something can be made of it.
fn wanting(tail: &[u8]) -> usize {
    const PIECE: u8 = 7;
    let Some(length) = tail
        .first_chunk::<4>()
        .map(|head| u32::from_be_bytes(*head) as usize)
    else {
        return 4 - tail.len();
    };
    match tail.get(4) {
        None => 1,
        Some(&PIECE) => wire::PIECE_HEAD_BYTES.saturating_sub(tail.len()).max(1),
        Some(_) => (4 + length).saturating_sub(tail.len()).max(1),
    }
}

/// Handles the message at the front of `bytes`; returns the bytes used, 0 when it is not whole.
fn parse(
    shared: &mut Shared,
    session: &mut Session,
    stream: &mut Stream,
    bytes: &[u8],
    heard: &mut Heard,
) -> Result<usize, Breach> {
    let limit = MESSAGE_BYTES_MAX.max(1 + session.geometry().piece_count().div_ceil(8));
    if let Some(head) = wire::piece_head(bytes, limit)? {
        shared.counters.received_piece += 1;
        block_begins(shared, session, stream, head);
        if head.length == 0 {
            block_arrived(shared, session, stream, heard);
        }
        return Ok(wire::PIECE_HEAD_BYTES);
    }
    let Some((message, used)) = wire::decode(bytes, limit)? else {
        return Ok(0);
    };
    if !matches!(message, Message::Piece { .. }) {
        on_message(shared, session, stream, message, heard)?;
        return Ok(used);
    }
    Ok(0)
}

impl Arriving {
    /// Takes what belongs to the block; returns the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (mine, rest) = bytes.split_at((self.length - self.filled).min(bytes.len()));
        if let Some(arrival) = &mut self.arrival {
            arrival.buffer[self.filled..self.filled + mine.len()].copy_from_slice(mine);
        }
        self.filled += mine.len();
        rest
    }
}

/// The head of a block has come: finds where its payload goes.
fn block_begins(
    shared: &mut Shared,
    session: &mut Session,
    stream: &mut Stream,
    head: wire::PieceHead,
) {
    let id = stream.id;
    let Some(peer) = stream.peer_mut() else {
        return;
    };
    let block = session
        .geometry()
        .whole_block(head.index, head.begin, head.length);
    let arrival = block.and_then(|block| {
        let asked = peer.asked.iter().any(|asked| asked.claim.block == block);
        session.assembly.begin(block, id, asked, &mut shared.pool)
    });
    peer.arriving = Some(Arriving {
        block,
        arrival,
        filled: 0,
        length: head.length as usize,
    });
}

/// All of a block has come.
fn block_arrived(
    shared: &mut Shared,
    session: &mut Session,
    stream: &mut Stream,
    heard: &mut Heard,
) {
    let now = shared.now;
    let (id, link, address) = (stream.id, stream.link, stream.address);
    let Some(peer) = stream.peer_mut() else {
        return;
    };
    let Some(arriving) = peer.arriving.take() else {
        return;
    };
    let bytes = arriving.length;
    let place = arriving.block.and_then(|block| {
        peer.asked
            .iter()
            .position(|asked| asked.claim.block == block)
    });
    let asked = place.and_then(|place| peer.asked.remove(place));
    match asked {
        Some(asked) => peer.block_came(now, bytes, now.since(asked.at)),
        // Late, after a choke or an end game; or never asked for.
        None => peer.unasked += bytes as u64,
    }
    heard.unasked |= peer.unasked > UNASKED_BYTES_MAX + peer.down.total() / 2;
    heard.ask = true;
    session.down.add(now, bytes as u64);
    shared.counters.payload_received_bytes += bytes as u64;
    let sender = Sender {
        link,
        address,
        peer_id: peer.id,
    };
    let claim = asked.map(|asked| asked.claim);
    let pool = &mut shared.pool;
    let stored = match arriving.arrival {
        Some(arrival) => session.assembly.store(arrival, claim, sender, pool, now),
        None => {
            if let Some(claim) = claim {
                session.assembly.unask(claim, pool);
            }
            Stored::Unneeded
        }
    };
    match (stored, arriving.block) {
        (
            Stored::Needed {
                duplicates,
                complete,
            },
            Some(block),
        ) => {
            if duplicates > 0 {
                session.relieved.push((block, id));
            }
            download::block_stored(shared, session, block, complete);
        }
        _ => session.wasted += bytes as u64,
    }
}

/// Everything but `piece`.
fn on_message(
    shared: &mut Shared,
    session: &mut Session,
    stream: &mut Stream,
    message: Message<'_>,
    heard: &mut Heard,
) -> Result<(), Breach> {
    let id = stream.id;
    let Stage::Open { peer, .. } = &mut stream.stage else {
        return Ok(());
    };
    counts::received(&mut shared.counters, &message);
    let fast = peer.features.fast;
    match message {
        Message::KeepAlive | Message::Suggest(_) | Message::Unknown(_) => {}
        Message::Port(port) => heard.dht_port = Some(port).filter(|port| *port != 0),
        // Asking while choked is a courtesy of theirs that we can do without; it must only exist.
        Message::AllowedFast(_) => {}
        Message::Choke => {
            peer.choking_us = true;
            session.assembly.leave(&mut peer.current);
            heard.freed |= session.assembly.release(id);
            // With BEP 6 each request is still answered, by its block or by a reject; without it, all are forgotten.
            if !fast {
                heard.freed |= !peer.asked.is_empty();
                forget_asked(shared, session, peer);
            }
        }
        Message::Unchoke => {
            // Not a word of its debts: it cannot put off being snubbed by choking and unchoking.
            peer.choking_us = false;
            heard.refused = false;
            heard.ask = true;
        }
        Message::Interested => {
            peer.interested = true;
            heard.interest = true;
        }
        Message::NotInterested => {
            peer.interested = false;
            heard.interest = true;
        }
        Message::Have(index) => {
            let piece = session.geometry().piece(index).ok_or(Breach::NoSuchPiece)?;
            if !peer.has.has(piece) {
                let count = session.geometry().piece_count() as usize;
                if matches!(peer.has, PeerHas::Nothing) {
                    peer.has = PeerHas::Some(Bitfield::new(count));
                }
                if let PeerHas::Some(bits) = &mut peer.has {
                    bits.set(piece.index());
                    session.picker.peer_has(piece);
                    if bits.is_full() {
                        set_all(session, peer, heard);
                    }
                }
                heard.ask |= session.picker.wants(piece);
            }
        }
        Message::Bitfield(bits) => {
            let count = session.geometry().piece_count() as usize;
            let bits = Bitfield::from_wire(bits, count).ok_or(Breach::WrongBitfield)?;
            add_has(session, peer, bits, heard);
        }
        Message::HaveAll => set_all(session, peer, heard),
        Message::HaveNone => {}
        Message::Request(request) => on_request(shared, session, stream, request, heard)?,
        Message::Cancel(request) => {
            let place = peer.requests.iter().position(|queued| *queued == request);
            if let Some(place) = place {
                peer.requests.remove(place);
                if fast {
                    reject(shared, stream, request);
                }
            }
            heard.serve = true;
        }
        Message::Reject(request) => {
            let block =
                session
                    .geometry()
                    .whole_block(request.index, request.begin, request.length);
            let place = block.and_then(|block| {
                peer.asked
                    .iter()
                    .position(|asked| asked.claim.block == block)
            });
            if let Some(asked) = place.and_then(|place| peer.asked.remove(place)) {
                // It is not asked again at once: it would say no again. Others are, also for what was kept for it alone.
                session.assembly.unask(asked.claim, &mut shared.pool);
                session.assembly.leave(&mut peer.current);
                session.assembly.release(id);
                heard.freed = true;
                heard.refused = true;
            }
        }
        Message::Extended { id: 0, payload } => {
            // A stranger's mistake here costs it its name, no more: some send what no dictionary is.
            if let Ok(told) = extension::ExtendedHandshake::decode(payload) {
                peer.hear(&told);
                if peer.theirs.id_of(Extension::Pex).is_some() {
                    let soon = shared.now + FIRST_TOLD_AFTER;
                    shared.timers.set_no_later(TimerKey::Pex(session.id), soon);
                }
                heard.listens = told.port;
                heard.seen_at = told.your_ip;
            }
        }
        Message::Extended { id: ours, payload } => match Extension::by_id(ours) {
            Some(Extension::Metadata) => serve::answer(shared, session, stream, payload),
            Some(Extension::Pex) => heard.named = peer.pex.hear(payload, shared.now),
            Some(Extension::DontHave) => {
                let index = payload
                    .first_chunk()
                    .map(|bytes| u32::from_be_bytes(*bytes));
                let piece = index.and_then(|index| session.geometry().piece(index));
                if let Some(piece) = piece {
                    lose_one(session, peer, piece);
                }
            }
            None => {}
        },
        Message::Piece { .. } => unreachable!("payload is streamed"),
    }
    Ok(())
}

/// The peer has `bits`, perhaps beside what it said before: aria2 sends a bitfield in place of many `have`s, at any time.
fn add_has(session: &mut Session, peer: &mut Peer, mut bits: Bitfield, heard: &mut Heard) {
    match &peer.has {
        PeerHas::All => return,
        PeerHas::Some(known) => {
            known.iter_ones().for_each(|index| {
                bits.set(index);
            });
            session.picker.peer_gone(known);
        }
        PeerHas::Nothing => {}
    }
    peer.has = PeerHas::Nothing;
    if bits.is_full() {
        set_all(session, peer, heard);
    } else if bits.count() > 0 {
        session.picker.peer_joined(&bits);
        peer.has = PeerHas::Some(bits);
    }
    heard.ask = true;
}

/// The peer has a piece no more (BEP 54). What it owes us of it, it will reject.
fn lose_one(session: &mut Session, peer: &mut Peer, piece: PieceIndex) {
    if !peer.has.has(piece) {
        return;
    }
    let mut bits = match std::mem::replace(&mut peer.has, PeerHas::Nothing) {
        PeerHas::All => {
            session.picker.seed_gone();
            Bitfield::full(session.geometry().piece_count() as usize)
        }
        PeerHas::Some(bits) => {
            session.picker.peer_gone(&bits);
            bits
        }
        PeerHas::Nothing => return,
    };
    bits.clear(piece.index());
    if bits.count() > 0 {
        session.picker.peer_joined(&bits);
        peer.has = PeerHas::Some(bits);
    }
}

/// The peer has everything; it needs no bitfield any more.
fn set_all(session: &mut Session, peer: &mut Peer, heard: &mut Heard) {
    match &peer.has {
        PeerHas::All => return,
        PeerHas::Some(known) => session.picker.peer_gone(known),
        PeerHas::Nothing => {}
    }
    session.picker.seed_joined();
    peer.has = PeerHas::All;
    heard.has_all = true;
    heard.ask = true;
}

/// A peer asks for a block.
fn on_request(
    shared: &mut Shared,
    session: &mut Session,
    stream: &mut Stream,
    request: Request,
    heard: &mut Heard,
) -> Result<(), Breach> {
    let Some(peer) = stream.peer_mut() else {
        return Ok(());
    };
    let piece = session
        .geometry()
        .requested(request.index, request.begin, request.length);
    let piece = piece.ok_or(Breach::BadRequest)?;
    if peer.choked || !session.picker.have().get(piece.index()) {
        // It may have asked before our choke reached it: that is nobody's fault.
        if peer.features.fast {
            reject(shared, stream, request);
        }
        return Ok(());
    }
    peer.requests.push_back(request);
    shared.counters.requests_received += 1;
    heard.serve = true;
    Ok(())
}

/// Says no to a request (BEP 6).
pub fn reject(shared: &mut Shared, stream: &mut Stream, request: Request) {
    send(shared, stream, &Message::Reject(request));
}

/// Queues a message of fixed length.
pub fn send(shared: &mut Shared, stream: &mut Stream, message: &Message<'_>) {
    let frame = match message.encode_small() {
        Some((bytes, length)) => Frame::Small { length, bytes },
        None => {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            Frame::Bytes(bytes)
        }
    };
    counts::sent(&mut shared.counters, message);
    shared.send(stream, frame);
}

/// The peer owes us nothing any more: others may be asked.
pub fn forget_asked(shared: &mut Shared, session: &mut Session, peer: &mut Peer) {
    while let Some(asked) = peer.asked.pop_front() {
        session.assembly.unask(asked.claim, &mut shared.pool);
    }
}

/// What is coming in is thrown away from here on: whoever sends it takes too long, or is gone.
pub fn forget_arriving(shared: &mut Shared, session: &mut Session, peer: &mut Peer) {
    let arrival = peer
        .arriving
        .as_mut()
        .and_then(|arriving| arriving.arrival.take());
    if let Some(arrival) = arrival {
        session.assembly.abort(arrival, &mut shared.pool);
    }
}

/// What the picker is to forget of a peer that is gone.
pub fn forget_peer(shared: &mut Shared, session: &mut Session, id: StreamId, peer: &mut Peer) {
    forget_asked(shared, session, peer);
    session.assembly.leave(&mut peer.current);
    session.assembly.release(id);
    forget_arriving(shared, session, peer);
    match peer.has.for_picker() {
        None => {}
        Some(picker::PeerHas::All) => session.picker.seed_gone(),
        Some(picker::PeerHas::Some(bits)) => session.picker.peer_gone(bits),
    }
}
