//! As much of the peer protocol (BEP 3) as a load needs, by itself: the code under test must not measure itself.

/// The request unit, in bytes.
const BLOCK: u64 = 16384;

/// A torrent, as far as it matters here.
#[derive(Clone)]
pub(crate) struct Share {
    /// Of the info dictionary.
    pub(crate) info_hash: [u8; 20],
    /// Bytes of a piece, a multiple of a block.
    pub(crate) piece_length: u64,
    /// All bytes.
    pub(crate) total: u64,
}

impl Share {
    /// From `HASH,PIECE_LENGTH,TOTAL`, the hash in hex.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let hex = parts
            .next()
            .filter(|hex| hex.len() == 40 && hex.is_ascii())?;
        let mut info_hash = [0; 20];
        for (at, byte) in info_hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        let piece_length = parts.next()?.parse().ok()?;
        let total = parts.next()?.parse().ok()?;
        Some(Self {
            info_hash,
            piece_length,
            total,
        })
    }

    /// Whole blocks: the load asks for no shorter one.
    pub(crate) fn blocks(&self) -> u64 {
        self.total / BLOCK
    }

    fn request(&self, block: u64) -> [u8; 17] {
        let at = block * BLOCK;
        let (piece, begin) = (at / self.piece_length, at % self.piece_length);
        let mut out = [0; 17];
        out[3] = 13;
        out[4] = 6;
        for (field, value) in [(5, piece), (9, begin), (13, BLOCK)] {
            let value = u32::try_from(value).expect("a torrent's fields have 32 bits");
            out[field..field + 4].copy_from_slice(&value.to_be_bytes());
        }
        out
    }
}

/// The 68 bytes, with no extension bit set and a peer-id of its own.
pub(crate) fn handshake(share: &Share, index: u64) -> Vec<u8> {
    let mut out = b"\x13BitTorrent protocol".to_vec();
    out.extend([0; 8]);
    out.extend(share.info_hash);
    out.extend(format!("-LD0000-{index:012}").bytes());
    out
}

/// The message of somebody who has everything.
pub(crate) fn full_bitfield(share: &Share) -> Vec<u8> {
    let pieces =
        usize::try_from(share.total.div_ceil(share.piece_length)).expect("fits into memory");
    let mut bits = vec![0xff; pieces.div_ceil(8)];
    if let Some(last) = bits.last_mut() {
        *last <<= (8 - pieces % 8) % 8;
    }
    let mut out = u32::try_from(bits.len() + 1)
        .expect("fits into a message")
        .to_be_bytes()
        .to_vec();
    out.push(5);
    out.extend(bits);
    out
}

/// A peer that takes and throws away.
///
/// Handshaking ── 68 bytes ──▶ waiting for unchoke ──▶ a fixed number of requests outstanding, for ever.
pub(crate) struct Leech {
    /// Payload bytes so far.
    pub(crate) bytes: u64,
    /// Blocks so far.
    pub(crate) blocks: u64,
    share: Share,
    next: u64,
    outstanding: u64,
    /// Bytes of the handshake still to come.
    hello_left: usize,
    /// The front of a message: its length, its id.
    front: Vec<u8>,
    /// Bytes of the message still to come behind its front.
    body_left: usize,
}

impl Leech {
    /// It asks for blocks from `first` on, round and round.
    pub(crate) fn new(share: Share, first: u64, outstanding: u64) -> Self {
        Self {
            bytes: 0,
            blocks: 0,
            share,
            next: first,
            outstanding,
            hello_left: 68,
            front: Vec::with_capacity(5),
            body_left: 0,
        }
    }

    /// Takes what arrived and adds what is to be sent.
    pub(crate) fn on_bytes(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if self.hello_left > 0 {
            let part = self.hello_left.min(bytes.len());
            self.hello_left -= part;
            bytes = &bytes[part..];
            if self.hello_left == 0 {
                // Interested.
                out.extend([0, 0, 0, 1, 2]);
            }
        }
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let part = self.body_left.min(bytes.len());
                self.body_left -= part;
                bytes = &bytes[part..];
                if self.body_left == 0 {
                    self.on_message(out);
                }
                continue;
            }
            self.front.push(bytes[0]);
            bytes = &bytes[1..];
            let length = match *self.front {
                // A keep-alive has no id.
                [0, 0, 0, 0] => {
                    self.front.clear();
                    continue;
                }
                [a, b, c, d, _] => u32::from_be_bytes([a, b, c, d]) as usize,
                _ => continue,
            };
            self.body_left = length - 1;
            if self.body_left == 0 {
                self.on_message(out);
            }
        }
    }

    /// The message in `front` is over.
    fn on_message(&mut self, out: &mut Vec<u8>) {
        match self.front[4] {
            // Unchoked: fill the pipeline.
            1 => (0..self.outstanding).for_each(|_| self.ask(out)),
            7 => {
                self.bytes += BLOCK;
                self.blocks += 1;
                self.ask(out);
            }
            // A choke throws away what is outstanding; the next unchoke fills it again.
            _ => {}
        }
        self.front.clear();
    }

    fn ask(&mut self, out: &mut Vec<u8>) {
        out.extend(self.share.request(self.next % self.share.blocks()));
        self.next += 1;
    }
}
