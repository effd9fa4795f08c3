//! A seed of our own that misbehaves on demand and counts what it is asked for.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::torrent::Torrent;

/// How a [`FakePeer`] answers requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// With what was asked for.
    Honest,
    /// With a flipped bit in every block.
    Poison,
    /// Honestly for so many blocks in all, then never again, the stream staying open.
    Stall {
        /// Blocks answered before.
        after: u64,
    },
    /// Honestly, with a pause before each block.
    Slow {
        /// How long it waits.
        pause: Duration,
    },
}

/// Counts of one fake peer, over all its streams.
#[derive(Default)]
pub(crate) struct Counts {
    /// Streams whose handshake was answered.
    pub(crate) streams: AtomicU64,
    /// Requests that arrived.
    pub(crate) asked: AtomicU64,
    /// Blocks sent.
    pub(crate) served: AtomicU64,
}

/// It listens until the test ends; its threads go with the process.
pub(crate) struct FakePeer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

struct Content {
    info_hash: [u8; 20],
    piece_length: u64,
    bytes: Vec<u8>,
}

impl FakePeer {
    /// Starts one that has all of `torrent`.
    pub(crate) fn start(torrent: &Torrent, ip: IpAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let content = Arc::new(Content {
            info_hash: torrent.info_hash,
            piece_length: torrent.piece_length,
            bytes: torrent.bytes(),
        });
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, counts) = (Arc::clone(&content), Arc::clone(&shared));
                // A stream that ends, in whatever way, is the other side's business.
                std::thread::spawn(move || drop(serve(stream, &content, &counts, manner)));
            }
        });
        Self { address, counts }
    }

    /// Blocks it has sent.
    pub(crate) fn served(&self) -> u64 {
        self.counts.served.load(Ordering::SeqCst)
    }

    /// Requests it has had.
    pub(crate) fn asked(&self) -> u64 {
        self.counts.asked.load(Ordering::SeqCst)
    }

    /// Streams it has had.
    pub(crate) fn streams(&self) -> u64 {
        self.counts.streams.load(Ordering::SeqCst)
    }
}

fn serve(
    mut stream: TcpStream,
    content: &Content,
    counts: &Counts,
    manner: Manner,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut handshake = [0; 68];
    stream.read_exact(&mut handshake)?;
    if handshake[28..48] != content.info_hash {
        return Ok(());
    }
    counts.streams.fetch_add(1, Ordering::SeqCst);
    let mut hello = b"\x13BitTorrent protocol".to_vec();
    hello.extend([0; 8]);
    hello.extend(content.info_hash);
    hello.extend(b"-FP0000-");
    hello.extend(format!("{:012}", stream.local_addr()?.port()).bytes());
    let pieces = (content.bytes.len() as u64).div_ceil(content.piece_length);
    let bitfield = full_bitfield(usize::try_from(pieces).expect("held in memory"));
    hello.extend(
        u32::try_from(bitfield.len() + 1)
            .expect("held in memory")
            .to_be_bytes(),
    );
    hello.push(5);
    hello.extend(bitfield);
    stream.write_all(&hello)?;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut body)?;
        match body.first() {
            // Interested: it may ask.
            Some(2) => stream.write_all(&[0, 0, 0, 1, 1])?,
            Some(6) => {
                counts.asked.fetch_add(1, Ordering::SeqCst);
                if let Some(answer) = answer(&body, content, counts, manner) {
                    stream.write_all(&answer)?;
                }
            }
            _ => {}
        }
    }
}

/// The `piece` message for a `request`, or nothing when the manner is silence.
fn answer(request: &[u8], content: &Content, counts: &Counts, manner: Manner) -> Option<Vec<u8>> {
    let word = |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().expect("four bytes"));
    let (piece, begin, length) = (word(1), word(5), word(9));
    let start = usize::try_from(u64::from(piece) * content.piece_length + u64::from(begin)).ok()?;
    let block = content.bytes.get(start..start + length as usize)?;
    let served = counts.served.fetch_add(1, Ordering::SeqCst);
    match manner {
        Manner::Stall { after } if served >= after => {
            counts.served.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        Manner::Slow { pause } => std::thread::sleep(pause),
        Manner::Honest | Manner::Poison | Manner::Stall { .. } => {}
    }
    let mut out = (length + 9).to_be_bytes().to_vec();
    out.push(7);
    out.extend(piece.to_be_bytes());
    out.extend(begin.to_be_bytes());
    out.extend(block);
    if matches!(manner, Manner::Poison) {
        out[13] ^= 1;
    }
    Some(out)
}

/// One bit a piece, spare bits zero (BEP 3).
fn full_bitfield(pieces: usize) -> Vec<u8> {
    let mut bits = vec![0xff; pieces.div_ceil(8)];
    if let Some(last) = bits.last_mut() {
        *last <<= (8 - pieces % 8) % 8;
    }
    bits
}
