//! A magnet becomes a torrent: its swarm dials and accepts peers, fetches the info dictionary, and goes on as a session.
//!
//! ```text
//! Parked, a link is known ── started ──▶ fetching ── hash right ──▶ known ──▶ a session at work
//!                              ▲  │                                  (its streams wait, and go on)
//!                              └──┴─ stopped, started
//! ```
//!
//! While it fetches, a stream is open for a torrent of which nobody knows how many pieces it has: what a peer says of pieces
//! is kept as it came ([`Peer::said`](super::table::peer::Peer::said)) and heard when the session trades. A stream whose peer
//! says more than that has room for is closed then, and its address dialled again. `fetch` decides whom to ask and whom to
//! believe, `serve` answers others.

mod fetch;
pub(super) mod serve;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::codec::bencode::Item;
use crate::codec::extension::ExtendedHandshake;
use crate::codec::magnet::Magnet;
use crate::codec::metadata::MetadataMessage;
use crate::codec::metainfo::Metainfo;
use crate::codec::wire::{self, Message};
use crate::ids::{SessionId, StreamId, SwarmId};

use super::Engine;
use super::extended::Extension;
use super::library::parked::Stage as Rest;
use super::session::assembly::Sender;
use super::session::receive::{reject, send};
use super::settings::{MESSAGE_BYTES_MAX, WAITING_BYTES_MAX};
use super::shared::TimerKey;
use super::table::Source;
use super::table::stream::{Breach, CloseReason, Stage, Stream};

pub use fetch::{Fetch, MetadataProgress};

/// Bytes of info dictionaries that all fetches together may hold; beyond it nothing more is asked for until one is done, or has
/// stalled and is given up.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a message on the stream of a fetch came to.
enum Heard {
    Nothing,
    /// More may be asked for.
    Ask,
    /// The dictionary is there.
    Info(Vec<u8>),
    Close(CloseReason),
}

impl Engine {
    /// Begins to fetch what a link names, unless that is known, or a person has stopped it.
    pub(in crate::engine) fn metadata_begin(&mut self, id: SessionId) {
        let now = self.shared.now;
        if self.is_ending() {
            return;
        }
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        let rests = matches!(parked.stage, Rest::Resting);
        let Some(link) = parked.brief.magnet.clone().filter(|_| rests) else {
            return;
        };
        if parked.paused || parked.fetch.is_some() {
            return;
        }
        let (swarm, info_hash) = (parked.swarm, parked.brief.info_hash);
        parked.fetch = Some(Box::new(Fetch::new(info_hash)));
        if let Some(trackers) = &mut parked.trackers {
            trackers.start(now);
        }
        if let Some(record) = self.table.swarms.get_mut(swarm) {
            record.active = true;
        }
        for peer in Magnet::parse(&link).map_or(Vec::new(), |magnet| magnet.peers) {
            self.metadata_peer(id, swarm, &peer);
        }
        self.dht_enter(id);
        self.announce(id);
        self.lsd_soon(id);
        self.connect_more(swarm);
    }

    /// A peer that the link names (`x.pe`): as good as named by the person who gave us the link.
    fn metadata_peer(&mut self, id: SessionId, swarm: SwarmId, peer: &str) {
        let now = self.shared.now;
        if let Ok(address) = peer.parse::<SocketAddr>() {
            let listening = &self.shared.listening;
            let made = (self.table).link_create(address, swarm, Source::Tracker, listening, now);
            if let Err(refusal) = made {
                log::debug!("peer {peer} of a link: {refusal}");
            }
            return;
        }
        let named = peer.rsplit_once(':');
        let port = named.and_then(|(_, port)| port.parse().ok());
        if let (Some((host, _)), Some(port)) = (named, port) {
            self.resolve_peer(id, host.to_owned(), port);
        }
    }

    /// Nothing is fetched any more; its streams are closed.
    pub(in crate::engine) fn metadata_end(&mut self, id: SessionId) {
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        let swarm = parked.swarm;
        if !matches!(parked.stage, Rest::Known(..)) && parked.fetch.is_none() {
            return;
        }
        self.metadata_over(id);
        self.close_swarm(swarm);
    }

    /// Nothing is fetched any more; its streams stay, and wait.
    fn metadata_over(&mut self, id: SessionId) {
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        let swarm = parked.swarm;
        if let Some(fetch) = parked.fetch.take() {
            self.metadata_held -= fetch.held();
        }
        self.shared.timers.cancel(TimerKey::Metadata(id));
        self.shared.timers.cancel(TimerKey::Connect(swarm));
        if let Some(record) = self.table.swarms.get_mut(swarm) {
            record.active = false;
        }
    }

    /// Whether streams may be opened for a torrent that is not at work.
    pub(in crate::engine) fn is_fetching(&self, id: SessionId) -> bool {
        let parked = self.sessions.parked(id);
        parked.is_some_and(|parked| parked.fetch.is_some())
    }

    /// A handshake is through on a stream of a fetch: who we are; what we have is nothing.
    pub(in crate::engine) fn metadata_greet(&mut self, id: StreamId) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let Some(peer) = stream.peer_mut() else {
            return;
        };
        let features = peer.features;
        peer.said = Some(Vec::new());
        if features.fast {
            send(&mut self.shared, stream, &Message::HaveNone);
        }
    }

    /// Bytes of a stream whose session does not trade yet.
    pub(in crate::engine) fn metadata_received(
        &mut self,
        id: StreamId,
        session: SessionId,
        bytes: &[u8],
    ) {
        if !self.is_fetching(session) {
            return self.metadata_keep(id, bytes);
        }
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let mut tail = std::mem::take(&mut stream.tail);
        tail.extend_from_slice(bytes);
        let mut used = 0;
        let mut ask = false;
        let mut info = None;
        let mut close = None;
        while info.is_none() && close.is_none() {
            match wire::decode(&tail[used..], MESSAGE_BYTES_MAX) {
                Ok(None) => break,
                Ok(Some((message, length))) => {
                    let whole = &tail[used..used + length];
                    used += length;
                    match self.metadata_message(id, session, message, whole) {
                        Heard::Nothing => {}
                        Heard::Ask => ask = true,
                        Heard::Info(bytes) => info = Some(bytes),
                        Heard::Close(reason) => close = Some(reason),
                    }
                }
                Err(violation) => close = Some(CloseReason::Broke(violation.into())),
            }
        }
        tail.drain(..used);
        if let Some(stream) = self.table.streams.get_mut(id) {
            stream.tail = tail;
        }
        if let Some(reason) = close {
            self.close(id, reason);
        }
        match info {
            Some(info) => self.metadata_fetched(session, &info),
            None if ask => self.metadata_ask(session),
            None => {}
        }
    }

    /// Bytes of a stream that waits for its session to trade.
    fn metadata_keep(&mut self, id: StreamId, bytes: &[u8]) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        if stream.tail.len() + bytes.len() > WAITING_BYTES_MAX + MESSAGE_BYTES_MAX as usize {
            return self.close(id, CloseReason::Full);
        }
        stream.tail.extend_from_slice(bytes);
    }

    fn metadata_message(
        &mut self,
        id: StreamId,
        session: SessionId,
        message: Message<'_>,
        whole: &[u8],
    ) -> Heard {
        super::session::counts::received(&mut self.shared.counters, &message);
        let Some(stream) = self.table.streams.get_mut(id) else {
            return Heard::Nothing;
        };
        let (link, address) = (stream.link, stream.address);
        let Stage::Open { peer, .. } = &mut stream.stage else {
            return Heard::Nothing;
        };
        match message {
            Message::KeepAlive | Message::Suggest(_) | Message::AllowedFast(_) => Heard::Nothing,
            Message::Cancel(_) | Message::Reject(_) | Message::Unknown(_) => Heard::Nothing,
            Message::Choke
            | Message::Unchoke
            | Message::Interested
            | Message::NotInterested
            | Message::Have(_)
            | Message::Bitfield(_)
            | Message::HaveAll
            | Message::HaveNone
            | Message::Port(_) => {
                let said = peer.said.get_or_insert_default();
                if said.len() + whole.len() > WAITING_BYTES_MAX {
                    // It has said more than we can keep: it says it again on another stream.
                    return Heard::Close(CloseReason::Full);
                }
                said.extend_from_slice(whole);
                Heard::Nothing
            }
            Message::Request(request) => {
                if peer.features.fast {
                    reject(&mut self.shared, stream, request);
                }
                Heard::Nothing
            }
            Message::Piece { .. } => Heard::Close(CloseReason::Unasked),
            Message::Extended { id: 0, payload } => {
                let Ok(told) = ExtendedHandshake::decode(payload) else {
                    return Heard::Nothing;
                };
                peer.hear(&told);
                let size = match peer.theirs.id_of(Extension::Metadata) {
                    Some(_) => peer.theirs.metadata_size,
                    None => 0,
                };
                let sender = Sender {
                    link,
                    address,
                    peer_id: peer.id,
                };
                if let Some(fetch) = self.fetch_mut(session) {
                    fetch.offer(id, sender, size);
                }
                if let (Some(port), Some(swarm)) = (told.port, self.swarm_of_session(session)) {
                    self.note_listens(id, swarm, port);
                }
                Heard::Ask
            }
            Message::Extended { id: ours, payload } => match Extension::by_id(ours) {
                Some(Extension::Metadata) => {
                    let message = MetadataMessage::decode(payload);
                    let Some(message) = message else {
                        return Heard::Nothing;
                    };
                    self.on_metadata(id, session, message)
                }
                Some(Extension::Pex) => {
                    let now = self.shared.now;
                    let named = peer.pex.hear(payload, now);
                    if let Some(swarm) = self.swarm_of_session(session) {
                        self.pex_heard(id, swarm, named);
                    }
                    Heard::Nothing
                }
                // Nobody asked whether it had it.
                Some(Extension::DontHave) | None => Heard::Nothing,
            },
        }
    }

    fn on_metadata(
        &mut self,
        id: StreamId,
        session: SessionId,
        message: MetadataMessage<'_>,
    ) -> Heard {
        let now = self.shared.now;
        match message {
            MetadataMessage::Request { piece } => {
                if let Some(stream) = self.table.streams.get_mut(id) {
                    serve::refuse(&mut self.shared, stream, piece);
                }
                Heard::Nothing
            }
            MetadataMessage::Reject { piece } => {
                if let Some(fetch) = self.fetch_mut(session) {
                    fetch.on_reject(id, piece, now);
                }
                Heard::Ask
            }
            MetadataMessage::Data {
                piece,
                total,
                bytes,
            } => {
                self.shared.counters.metadata_pieces_received += 1;
                let Some(fetch) = self.fetch_mut(session) else {
                    return Heard::Nothing;
                };
                let before = fetch.held();
                let verdict = fetch.on_data(id, piece, total, bytes, now);
                let after = fetch.held();
                self.metadata_held = self.metadata_held - before + after;
                for guilty in verdict.guilty {
                    log::info!("{} sent metadata that is wrong", guilty.address);
                    self.convict(session, guilty);
                }
                match verdict.info {
                    Some(info) => Heard::Info(info),
                    None if verdict.breach => Heard::Close(CloseReason::Broke(Breach::BadMetadata)),
                    None => Heard::Ask,
                }
            }
        }
    }

    fn fetch_mut(&mut self, id: SessionId) -> Option<&mut Fetch> {
        self.sessions.parked_mut(id)?.fetch.as_deref_mut()
    }

    /// Asks for what is missing, as far as it may be held, and comes back when more can be asked.
    pub(in crate::engine) fn metadata_ask(&mut self, id: SessionId) {
        let now = self.shared.now;
        loop {
            let room = self.metadata_held < HELD_BYTES_MAX;
            let Some(fetch) = self.fetch_mut(id) else {
                return;
            };
            let before = fetch.held();
            let next = fetch.next(now, room);
            let after = fetch.held();
            let deadline = fetch.next_deadline(now);
            self.metadata_held = self.metadata_held - before + after;
            let Some((stream, piece)) = next else {
                match deadline {
                    Some(at) => self.shared.timers.set(TimerKey::Metadata(id), at),
                    None => {
                        self.shared.timers.cancel(TimerKey::Metadata(id));
                    }
                }
                return;
            };
            if let Some(stream) = self.table.streams.get_mut(stream) {
                let request = MetadataMessage::Request { piece };
                serve::say(&mut self.shared, stream, request);
            }
        }
    }

    /// A stream of a torrent that is not at work is over.
    pub(in crate::engine) fn metadata_forget(&mut self, session: SessionId, id: StreamId) {
        if let Some(fetch) = self.fetch_mut(session) {
            let before = fetch.held();
            fetch.forget(id);
            let after = fetch.held();
            self.metadata_held = self.metadata_held - before + after;
            self.metadata_ask(session);
        }
    }

    /// The dictionary is there and right: the torrent is what it says, or cannot be used.
    fn metadata_fetched(&mut self, id: SessionId, info: &[u8]) {
        let Some(parked) = self.sessions.parked(id) else {
            return;
        };
        let link = parked.brief.magnet.as_deref();
        let magnet = link.and_then(|link| Magnet::parse(link).ok());
        let magnet = magnet.unwrap_or_else(|| Magnet::of(parked.brief.info_hash));
        let bytes = torrent_file(&magnet, info);
        match Metainfo::decode(&bytes) {
            Ok(metainfo) => {
                self.metadata_known(id, &Arc::new(metainfo), bytes.into(), None);
            }
            Err(fault) => {
                self.metadata_end(id);
                let text = format!("its metadata cannot be used: {fault}");
                self.unusable(id, text, "bad_metadata");
            }
        }
    }

    /// What the torrent holds is known: its streams wait until it trades, or until a person says what of it is wanted.
    pub(in crate::engine) fn metadata_hold_streams(&mut self, id: SessionId) {
        self.metadata_over(id);
        let Some(swarm) = self.swarm_of_session(id) else {
            return;
        };
        let Some(record) = self.table.swarms.get(swarm) else {
            return;
        };
        for &stream in &record.streams {
            if let Some(stream) = self.table.streams.get_mut(stream)
                && !stream.held
            {
                stream.held = true;
                let stream = stream.id;
                let hold = super::message::Output::Hold { stream, hold: true };
                self.shared.push(hold);
            }
        }
        let opening = record.opening.clone();
        for stream in opening {
            // Its handshake would come to a torrent that does not trade yet.
            self.close(stream, CloseReason::SessionOver);
        }
    }

    /// The session trades: those who have waited for it are heard.
    pub(in crate::engine) fn metadata_admit(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let empty = session.picker.have().count() == 0;
        let Some(record) = self.table.swarms.get(session.swarm) else {
            return;
        };
        let waits = |id: &&StreamId| {
            let peer = self.table.streams.get(**id).and_then(Stream::peer);
            peer.is_some_and(|peer| peer.said.is_some())
        };
        let waiting: Vec<StreamId> = record.streams.iter().filter(waits).copied().collect();
        for stream in waiting {
            if !empty {
                // It was told that we have nothing, and that cannot be said once more.
                self.close(stream, CloseReason::SessionOver);
                continue;
            }
            let Some(record) = self.table.streams.get_mut(stream) else {
                continue;
            };
            let tail = std::mem::take(&mut record.tail);
            let said = record.peer_mut().and_then(|peer| peer.said.take());
            let mut said = said.unwrap_or_default();
            said.extend(tail);
            super::session::upload::hold(&mut self.shared, record);
            self.shared.timers.set(
                TimerKey::Stream(stream),
                self.shared.now + super::settings::SNUB,
            );
            self.tell_extended(stream, id);
            self.read_messages(stream, id, &mut said);
        }
    }
}

/// A torrent file of this info dictionary, with what the link knew beside it.
fn torrent_file(magnet: &Magnet, info: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b'd'];
    let mut put = |key: &str, value: &[u8]| {
        bytes.extend(format!("{}:{key}", key.len()).into_bytes());
        bytes.extend_from_slice(value);
    };
    // In the order of their names, as bencoding has it.
    if let Some(first) = magnet.trackers.iter().flatten().next() {
        put("announce", &Item::from(first.as_str()).encode());
        let tiers = magnet.trackers.iter().map(|tier| list(tier)).collect();
        put("announce-list", &Item::List(tiers).encode());
    }
    put("info", info);
    if !magnet.web_seeds.is_empty() {
        put("url-list", &list(&magnet.web_seeds).encode());
    }
    bytes.push(b'e');
    bytes
}

fn list(urls: &[String]) -> Item<'_> {
    Item::List(urls.iter().map(|url| Item::from(url.as_str())).collect())
}
