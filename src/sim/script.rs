//! Peers that follow a script instead of an engine: those that lie, and those that never answer.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::actor::Wanted;
use crate::actor::host::{Host, Ready};
use crate::codec::bitfield::Bitfield;
use crate::codec::extension::ExtendedHandshake;
use crate::codec::metadata::{self, MetadataMessage};
use crate::codec::wire::{Features, Handshake, Message, Request};
use crate::ids::{PeerId, StreamId};
use crate::rng::Rng;

use super::host::SimHost;
use super::process::Process;
use super::torrent::Torrent;

/// What a scripted peer does with a request. Both say that they have everything and unchoke everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Answers at once, every other time with wrong bytes.
    Poison,
    /// Takes it and does nothing.
    Stall,
    /// Has no piece, and lies about the info dictionary.
    Metadata(Lie),
}

/// What a scripted peer says of the info dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The true size, and wrong bytes, now and then right ones.
    Data,
    /// A wrong size.
    Size,
    /// That it has it, and then nothing.
    Silence,
    /// That it is as large as any may be.
    Endless,
}

/// A scripted peer: it waits to be dialled.
#[derive(Debug)]
pub struct ScriptedPeer {
    host: SimHost,
    script: Script,
    torrent: Arc<Torrent>,
    rng: Rng,
    streams: BTreeMap<StreamId, Stream>,
    next_stream: u32,
}

#[derive(Debug, Default)]
struct Stream {
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    shaken: bool,
    /// The id that the other side wants messages about the info dictionary to have.
    metadata_id: u8,
}

impl ScriptedPeer {
    /// A peer on the machine of `host`.
    #[must_use]
    pub const fn new(host: SimHost, script: Script, torrent: Arc<Torrent>, rng: Rng) -> Self {
        Self {
            host,
            script,
            torrent,
            rng,
            streams: BTreeMap::new(),
            next_stream: 0,
        }
    }

    /// Reads everything, answers it, and writes what fits. `false`: the stream is over.
    fn serve(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return true;
        };
        let mut bytes = [0; 4096];
        loop {
            match self.host.read(id, &mut bytes) {
                Ok(0) => return false,
                Ok(count) => stream.inbox.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        if !answer(stream, self.script, &self.torrent, &mut self.rng) {
            return false;
        }
        while !stream.outbox.is_empty() {
            match self.host.write(id, &[IoSlice::new(&stream.outbox)]) {
                Ok(count) => drop(stream.outbox.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Process for ScriptedPeer {
    fn turn(&mut self) -> Option<Wanted> {
        let mut ready = Vec::new();
        self.host.poll(None, &mut ready);
        while let Some((socket, _)) = self.host.next_incoming() {
            let stream = StreamId::new(self.next_stream, 0);
            self.next_stream += 1;
            self.host.accept(socket, stream);
            self.streams.insert(stream, Stream::default());
        }
        for found in ready {
            if let Ready::Readable(stream) | Ready::Writable(stream) = found
                && !self.serve(stream)
            {
                self.streams.remove(&stream);
                self.host.close(stream, true);
            }
        }
        Some(Wanted::Later)
    }
}

/// Takes all whole messages from the inbox. `false`: it is not for us.
fn answer(stream: &mut Stream, script: Script, torrent: &Torrent, rng: &mut Rng) -> bool {
    if !stream.shaken {
        match Handshake::decode(&stream.inbox) {
            Ok(None) => return true,
            Ok(Some(theirs)) if theirs.info_hash == torrent.metainfo.info_hash => {}
            _ => return false,
        }
        stream.inbox.drain(..crate::codec::wire::HANDSHAKE_BYTES);
        stream.shaken = true;
        let mut peer_id = [b'x'; 20];
        rng.fill(&mut peer_id[8..]);
        let lie = match script {
            Script::Metadata(lie) => Some(lie),
            Script::Poison | Script::Stall => None,
        };
        let ours = Handshake {
            features: Features {
                fast: lie.is_some(),
                extended: lie.is_some(),
                ..Features::default()
            },
            info_hash: torrent.metainfo.info_hash,
            peer_id: PeerId(peer_id),
        };
        stream.outbox.extend(ours.encode());
        if let Some(lie) = lie {
            let told = ExtendedHandshake {
                extensions: vec![(metadata::NAME.to_owned(), METADATA_ID)],
                metadata_size: Some(size_of(lie, torrent)),
                ..ExtendedHandshake::default()
            };
            let payload = &told.encode();
            Message::HaveNone.encode(&mut stream.outbox);
            Message::Extended { id: 0, payload }.encode(&mut stream.outbox);
        } else {
            let count = torrent.layout.geometry.piece_count() as usize;
            let bits = Bitfield::full(count).to_wire();
            Message::Bitfield(&bits).encode(&mut stream.outbox);
            Message::Unchoke.encode(&mut stream.outbox);
        }
    }
    let mut taken = 0;
    while let Ok(Some((message, length))) =
        crate::codec::wire::decode(&stream.inbox[taken..], 1 << 20)
    {
        if let (
            Script::Poison,
            Message::Request(Request {
                index,
                begin,
                length,
            }),
        ) = (script, message)
            && let Some(bytes) = torrent.bytes(index, begin, length)
        {
            let mut block = bytes.to_vec();
            if rng.chance(1, 2) {
                let at = rng.index(block.len());
                block[at] ^= 0x55;
            }
            let piece = Message::Piece {
                index,
                begin,
                block: &block,
            };
            piece.encode(&mut stream.outbox);
        }
        if let (Script::Metadata(lie), Message::Extended { id, payload }) = (script, message) {
            let said = tell(lie, id, payload, stream.metadata_id, torrent, rng);
            match said {
                Said::Id(id) => stream.metadata_id = id,
                Said::Message(bytes) => stream.outbox.extend(bytes),
                Said::Nothing => {}
            }
        }
        taken += length;
    }
    stream.inbox.drain(..taken);
    true
}

/// The id that scripted peers want messages about the info dictionary to have.
const METADATA_ID: u8 = 7;

/// What comes of an extended message.
enum Said {
    Nothing,
    /// The other side wants answers to have this id.
    Id(u8),
    Message(Vec<u8>),
}

/// How large the info dictionary is, as a liar has it.
fn size_of(lie: Lie, torrent: &Torrent) -> u32 {
    let size = u32::try_from(torrent.metainfo.info.len()).unwrap_or(1);
    match lie {
        Lie::Data | Lie::Silence => size,
        Lie::Size => size + 20_000,
        Lie::Endless => metadata::METADATA_BYTES_MAX,
    }
}

fn tell(lie: Lie, id: u8, payload: &[u8], theirs: u8, torrent: &Torrent, rng: &mut Rng) -> Said {
    if id == 0 {
        let told = ExtendedHandshake::decode(payload).unwrap_or_default();
        return told.id_of(metadata::NAME).map_or(Said::Nothing, Said::Id);
    }
    let Some(MetadataMessage::Request { piece }) = MetadataMessage::decode(payload) else {
        return Said::Nothing;
    };
    let total = size_of(lie, torrent);
    let range = metadata::piece_range(total as usize, piece);
    let Some(range) = range.filter(|_| lie != Lie::Silence && theirs != 0) else {
        return Said::Nothing;
    };
    let mut bytes = vec![0; range.len()];
    rng.fill(&mut bytes);
    if let Some(truth) = torrent
        .metainfo
        .info
        .get(range)
        .filter(|_| rng.chance(1, 3))
    {
        bytes.copy_from_slice(truth);
    }
    let data = MetadataMessage::Data {
        piece,
        total,
        bytes: &bytes,
    };
    let (id, payload) = (theirs, &data.encode());
    let mut out = Vec::new();
    Message::Extended { id, payload }.encode(&mut out);
    Said::Message(out)
}
