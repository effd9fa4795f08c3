//! Serving requests in runs: contiguous blocks are one read, and leave in one vectored write.

use crate::buffer::Share;
use crate::codec::geometry::Geometry;
use crate::codec::wire::{self, Message, Request};
use crate::engine::limits;
use crate::engine::message::{Fault, Frame, Job, Output, ReadPart, ReadRun};
use crate::engine::settings::{REQUESTS_IN_MAX, RUN_BLOCKS_MAX, UNSENT_HOLD, UNSENT_MAX};
use crate::engine::shared::Shared;
use crate::engine::table::stream::{Stage, Stream};

use super::Session;
use super::receive::{reject, send};

/// Begins to serve what the peer asked for, as far as its socket and the pool have room.
pub fn serve(shared: &mut Shared, session: &mut Session, stream: &mut Stream) {
    let id = stream.id;
    loop {
        let unsent = stream.unsent;
        let Stage::Open { peer, .. } = &mut stream.stage else {
            return;
        };
        if peer.requests.is_empty() || unsent + peer.reading >= UNSENT_MAX || !session.is_trading()
        {
            break;
        }
        let mut wanted = run_length(session.geometry(), &peer.requests);
        if stream.purse.pays_out() {
            let lengths = peer.requests.iter().map(|request| request.length);
            let lengths = lengths.take(wanted);
            wanted = limits::affordable(shared, session.id, id, &mut stream.purse, lengths);
            if wanted == 0 {
                break;
            }
        }
        let count = wanted.min(shared.pool.room(Share::Send));
        if count == 0 || !shared.pool.reserve(Share::Send, count) {
            if !peer.waits_for_room {
                peer.waits_for_room = true;
                shared.send_waiting.push_back(id);
            }
            break;
        }
        let offset = request_offset(session.geometry(), &peer.requests[0]);
        let mut parts = Vec::with_capacity(count);
        for request in peer.requests.drain(..count) {
            let Request {
                index,
                begin,
                length,
            } = request;
            peer.reading += length as usize;
            stream.purse.begin(length);
            parts.push(ReadPart {
                index,
                begin,
                length,
                block: shared.pool.take(Share::Send),
            });
        }
        let run = ReadRun {
            stream: id,
            offset,
            parts,
            expected: Vec::new(),
        };
        read(shared, session, run);
    }
    let wants = stream.peer().is_some_and(|peer| !peer.requests.is_empty());
    if !wants {
        limits::nothing_to_send(shared, session.id, &mut stream.purse);
    }
    hold(shared, stream);
}

/// Has a run read, if its files are as they should be.
fn read(shared: &mut Shared, session: &mut Session, mut run: ReadRun) {
    let (layout, length) = (&session.storage.layout, length_of(&run));
    run.expected = session.progress.expected(layout, run.offset, length);
    session.jobs += 1;
    shared.work(session.id, &session.storage, Job::Read(run));
}

/// Reads a run once more whose files have changed by our own writes since it was given out. Gives it back when something of
/// it is not to be served any more.
pub fn read_again(shared: &mut Shared, session: &mut Session, run: ReadRun) -> Result<(), ReadRun> {
    let geometry = session.geometry();
    let have = session.picker.have();
    let mut pieces = geometry.pieces_of(run.offset, length_of(&run));
    if !session.is_trading() || !pieces.all(|piece| have.get(piece.index())) {
        return Err(run);
    }
    read(shared, session, run);
    Ok(())
}

fn length_of(run: &ReadRun) -> u64 {
    run.parts.iter().map(|part| u64::from(part.length)).sum()
}

/// Refuses what the peer asked for and we do not have any more.
pub fn retract(shared: &mut Shared, session: &Session, stream: &mut Stream) {
    let Some(peer) = stream.peer_mut() else {
        return;
    };
    let have = |request: &Request| {
        let piece = session.geometry().piece(request.index);
        piece.is_some_and(|piece| session.picker.have().get(piece.index()))
    };
    let requests = std::mem::take(&mut peer.requests);
    let (kept, gone): (Vec<Request>, Vec<Request>) = requests.into_iter().partition(have);
    peer.requests = kept.into();
    if peer.features.fast {
        gone.into_iter()
            .for_each(|request| reject(shared, stream, request));
    }
    hold(shared, stream);
}

/// Reads no more from a peer that asks for more than it takes, until it has taken half of it.
///
/// What we answer without a read (rejects, above all) counts too: else a peer that never reads could have us queue for ever.
pub fn hold(shared: &mut Shared, stream: &mut Stream) {
    if stream.peer().is_some_and(|peer| peer.said.is_some()) {
        // It waits until its session trades.
        return;
    }
    let waiting = stream.peer().map_or(0, |peer| peer.requests.len());
    let hold = if stream.held {
        waiting > REQUESTS_IN_MAX / 2 || stream.unsent > UNSENT_HOLD / 2
    } else {
        waiting >= REQUESTS_IN_MAX || stream.unsent >= UNSENT_HOLD
    };
    if hold != stream.held {
        stream.held = hold;
        shared.push(Output::Hold {
            stream: stream.id,
            hold,
        });
    }
}

fn request_offset(geometry: &Geometry, request: &Request) -> u64 {
    u64::from(request.index) * u64::from(geometry.piece_length()) + u64::from(request.begin)
}

/// How many of the first requests lie one behind the other.
fn run_length(geometry: &Geometry, requests: &std::collections::VecDeque<Request>) -> usize {
    let mut end = None;
    let follows = |request: &&Request| {
        let offset = request_offset(geometry, request);
        let follows = end.is_none_or(|end| end == offset);
        end = Some(offset + u64::from(request.length));
        follows
    };
    requests
        .iter()
        .take(RUN_BLOCKS_MAX)
        .take_while(follows)
        .count()
}

/// A run was read: queues its blocks, if the peer is still there and may have them. `true` when blocks came back instead.
pub fn read_done(
    shared: &mut Shared,
    session: &mut Session,
    stream: Option<&mut Stream>,
    run: ReadRun,
    result: &Result<(), Fault>,
) -> bool {
    let open = stream.filter(|stream| stream.session() == Some(session.id));
    let Some(stream) = open else {
        give_back(shared, run);
        return true;
    };
    let bytes: usize = run.parts.iter().map(|part| part.length as usize).sum();
    if let Some(peer) = stream.peer_mut() {
        peer.reading = peer.reading.saturating_sub(bytes);
    }
    if result.is_err() {
        let requests: Vec<Request> = run.parts.iter().map(request_of).collect();
        let lengths = requests.iter().map(|request| request.length);
        limits::not_sent(shared, session.id, &mut stream.purse, lengths);
        give_back(shared, run);
        if stream.peer().is_some_and(|peer| peer.features.fast) {
            requests
                .into_iter()
                .for_each(|request| reject(shared, stream, request));
        }
        return true;
    }
    for part in run.parts {
        let head = wire::encode_piece_head(part.index, part.begin, part.length);
        let frame = Frame::Block {
            head,
            block: part.block,
            length: part.length,
        };
        shared.counters.sent_piece += 1;
        shared.send(stream, frame);
    }
    if let Some(peer) = stream.peer_mut() {
        peer.up.add(shared.now, bytes as u64);
    }
    session.up.add(shared.now, bytes as u64);
    shared.counters.payload_sent_bytes += bytes as u64;
    false
}

const fn request_of(part: &ReadPart) -> Request {
    Request {
        index: part.index,
        begin: part.begin,
        length: part.length,
    }
}

/// A run that was not read, or is not wanted any more.
pub fn give_back(shared: &mut Shared, run: ReadRun) {
    for part in run.parts {
        shared.pool.put(Share::Send, part.block);
    }
}

/// Lets the peer ask, or stops it. What it had asked for is refused with BEP 6 and forgotten without.
pub fn set_choked(shared: &mut Shared, stream: &mut Stream, choked: bool) {
    let now = shared.now;
    let Stage::Open { peer, .. } = &mut stream.stage else {
        return;
    };
    if peer.choked == choked {
        return;
    }
    peer.choked = choked;
    peer.unchoked_at = now;
    if !choked {
        send(shared, stream, &Message::Unchoke);
        return;
    }
    let requests = std::mem::take(&mut peer.requests);
    let fast = peer.features.fast;
    send(shared, stream, &Message::Choke);
    if fast {
        requests
            .into_iter()
            .for_each(|request| reject(shared, stream, request));
    }
}
