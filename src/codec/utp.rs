//! uTP packets (BEP 29): a header of twenty bytes, extensions, payload.
//!
//! ```text
//! 0       4       8               16              24              32
//! ├ type ─┼─ ver ─┼── extension ──┼──────── connection id ────────┤
//! ├──────────────── timestamp, microseconds ──────────────────────┤
//! ├────── how long their last packet was on its way, by our clocks ┤
//! ├──────────────── window: bytes we still take ──────────────────┤
//! ├──────── sequence number ──────┼─────── acknowledgement ───────┤
//! ├ next extension ┼ length ┼ bytes … ┼ payload …
//! ```
//!
//! Nothing is believed of a packet but its shape; whose it is and whether it may be so is for the connection to say.

/// Bytes of a header without extensions.
pub const HEADER_BYTES: usize = 20;

/// Bytes of the longest selective acknowledgement: 2016 packets beyond the one that is missing.
pub const SELECTIVE_BYTES_MAX: usize = 252;

const VERSION: u8 = 1;
const SELECTIVE_ACK: u8 = 1;
/// An extension that nobody knows, and that all must skip (BEP 29): room filled for finding out how large a packet may be.
const PADDING: u8 = 0x7f;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Payload.
    Data,
    /// The last packet of its side.
    Fin,
    /// Acknowledges, and has no sequence number of its own.
    State,
    /// Breaks off.
    Reset,
    /// The first packet.
    Syn,
}

impl Kind {
    const fn from_nibble(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0 => Self::Data,
            1 => Self::Fin,
            2 => Self::State,
            3 => Self::Reset,
            4 => Self::Syn,
            _ => return None,
        })
    }
}

/// The twenty bytes, without the first extension's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub kind: Kind,
    /// Which connection, as its receiver calls it; a SYN carries the name its sender wants to be called by.
    pub connection: u16,
    /// When it was sent, by its sender's clock, in microseconds.
    pub timestamp: u32,
    /// How long the last packet of the other side was on its way, by both clocks: only its changes mean something. 0 is unknown.
    pub delay: u32,
    /// Bytes its sender still takes.
    pub window: u32,
    /// Its own number.
    pub sequence: u16,
    /// The last packet before which none is missing.
    pub acknowledged: u16,
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// The selective acknowledgement: the lowest bit of the first byte stands for the packet after the missing one, which is
    /// two after [`Header::acknowledged`]. Empty when there is none.
    pub selective: &'a [u8],
    /// Where its payload begins.
    pub payload_at: usize,
}

/// Whether these bytes may be a packet: every other datagram that we know begins otherwise.
#[must_use]
pub fn is_packet(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_BYTES
        && bytes[0] & 0x0f == VERSION
        && Kind::from_nibble(bytes[0] >> 4).is_some()
}

/// Decodes a packet; `None` when it is none, or its extensions run over its end. Allocates nothing.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Packet<'_>> {
    if !is_packet(bytes) {
        return None;
    }
    let word =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let header = Header {
        kind: Kind::from_nibble(bytes[0] >> 4)?,
        connection: half(2),
        timestamp: word(4),
        delay: word(8),
        window: word(12),
        sequence: half(16),
        acknowledged: half(18),
    };
    let mut selective: &[u8] = &[];
    let mut extension = bytes[1];
    let mut at = HEADER_BYTES;
    while extension != 0 {
        let (next, length) = (*bytes.get(at)?, usize::from(*bytes.get(at + 1)?));
        let content = bytes.get(at + 2..at + 2 + length)?;
        if extension == SELECTIVE_ACK {
            selective = content;
        }
        extension = next;
        at += 2 + length;
    }
    Some(Packet {
        header,
        selective,
        payload_at: at,
    })
}

/// Appends `header` to `out`, with a selective acknowledgement unless that is empty, and filled up with `padding` bytes that the
/// other side skips. The payload goes behind it.
///
/// `selective` is of at most [`SELECTIVE_BYTES_MAX`] bytes, a multiple of four (BEP 29). A padding of 1 is none: the smallest
/// extension has two bytes.
pub fn encode(header: &Header, selective: &[u8], padding: usize, out: &mut Vec<u8>) {
    debug_assert!(selective.len() <= SELECTIVE_BYTES_MAX && selective.len().is_multiple_of(4));
    let filler = if padding >= 2 { PADDING } else { 0 };
    let first = if selective.is_empty() {
        filler
    } else {
        SELECTIVE_ACK
    };
    let mut head = [0; HEADER_BYTES];
    head[0] = (header.kind as u8) << 4 | VERSION;
    head[1] = first;
    head[2..4].copy_from_slice(&header.connection.to_be_bytes());
    head[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    head[8..12].copy_from_slice(&header.delay.to_be_bytes());
    head[12..16].copy_from_slice(&header.window.to_be_bytes());
    head[16..18].copy_from_slice(&header.sequence.to_be_bytes());
    head[18..20].copy_from_slice(&header.acknowledged.to_be_bytes());
    out.extend_from_slice(&head);
    if !selective.is_empty() {
        out.push(filler);
        out.push(u8::try_from(selective.len()).unwrap_or(0));
        out.extend_from_slice(selective);
    }
    let mut left = padding;
    while left >= 2 {
        // Never leave one byte behind, which no extension could fill.
        let mut whole = left.min(2 + 255);
        if left - whole == 1 {
            whole -= 1;
        }
        left -= whole;
        out.push(if left >= 2 { PADDING } else { 0 });
        out.push(u8::try_from(whole - 2).unwrap_or(0));
        out.resize(out.len() + whole - 2, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const HEADER: Header = Header {
        kind: Kind::Data,
        connection: 0x0102,
        timestamp: 0x0304_0506,
        delay: 0x0708_090a,
        window: 0x0b0c_0d0e,
        sequence: 0x0f10,
        acknowledged: 0x1112,
    };

    const BYTES: [u8; 20] = [
        0x01, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
    ];

    /// Name, bytes, what they say, the selective acks and where the payload begins.
    type Case<'a> = (&'a str, Vec<u8>, Header, &'a [u8], usize);

    #[test]
    fn packets_are_read_and_written_as_the_bep_draws_them() {
        let with = |kind| Header { kind, ..HEADER };
        let bytes = |first: u8, extension: u8, rest: &[u8]| {
            let mut bytes = BYTES.to_vec();
            (bytes[0], bytes[1]) = (first, extension);
            bytes.extend_from_slice(rest);
            bytes
        };
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            ("data",            bytes(0x01, 0, b"abc"),                          with(Kind::Data),  &[], 20),
            ("fin",             bytes(0x11, 0, b""),                             with(Kind::Fin),   &[], 20),
            ("state",           bytes(0x21, 0, b""),                             with(Kind::State), &[], 20),
            ("reset",           bytes(0x31, 0, b""),                             with(Kind::Reset), &[], 20),
            ("syn",             bytes(0x41, 0, b""),                             with(Kind::Syn),   &[], 20),
            ("selective",       bytes(0x21, 1, &[0, 4, 1, 2, 3, 4]),             with(Kind::State), &[1, 2, 3, 4], 26),
            ("unknown, skipped",bytes(0x01, 9, &[0, 3, 7, 7, 7, 1]),             with(Kind::Data),  &[], 25),
            ("two",             bytes(0x01, 2, &[1, 1, 9, 0, 4, 5, 6, 7, 8, 3]), with(Kind::Data),  &[5, 6, 7, 8], 29),
            ("empty extension", bytes(0x01, 1, &[0, 0]),                         with(Kind::Data),  &[], 22),
        ];
        for (name, bytes, header, selective, payload_at) in table {
            let want = Packet {
                header: *header,
                selective,
                payload_at: *payload_at,
            };
            assert_eq!(decode(bytes), Some(want), "{name}");
            for cut in 0..*payload_at {
                assert_eq!(decode(&bytes[..cut]), None, "{name} cut at {cut}");
            }
        }
        let mut out = Vec::new();
        encode(&HEADER, &[], 0, &mut out);
        assert_eq!(out, BYTES);
    }

    #[test]
    fn what_is_no_packet_is_none() {
        let mut bytes = BYTES;
        for first in 0..=255 {
            bytes[0] = first;
            let is = first & 0x0f == 1 && first >> 4 <= 4;
            assert_eq!(is_packet(&bytes), is, "{first:#x}");
            assert_eq!(decode(&bytes).is_some(), is, "{first:#x}");
        }
        // What else comes to the same port: DHT messages begin with `d`, UDP trackers' answers with a zero byte.
        assert!(!is_packet(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping"));
        assert!(!is_packet(&[0; 20]));
    }

    #[test]
    fn padding_is_as_long_as_asked_for_and_skipped() {
        for selective in [&[][..], &[1, 2, 3, 4]] {
            for padding in (0..600).filter(|&padding| padding != 1) {
                let mut out = Vec::new();
                encode(&HEADER, selective, padding, &mut out);
                let head =
                    HEADER_BYTES + selective.len() + if selective.is_empty() { 0 } else { 2 };
                assert_eq!(out.len(), head + padding, "{padding}");
                let packet = decode(&out).expect("a packet");
                assert_eq!(packet.payload_at, out.len(), "{padding}");
                assert_eq!((packet.header, packet.selective), (HEADER, selective));
            }
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_whatever_the_numbers() {
        let seed = 0x7574_7001;
        let mut rng = Rng::new(seed);
        for round in 0..3000 {
            let header = Header {
                kind: Kind::from_nibble(u8::try_from(rng.below(5)).unwrap()).unwrap(),
                connection: u16::try_from(rng.below(65536)).unwrap(),
                timestamp: rng.next_u32(),
                delay: rng.next_u32(),
                window: rng.next_u32(),
                sequence: u16::try_from(rng.below(65536)).unwrap(),
                acknowledged: u16::try_from(rng.below(65536)).unwrap(),
            };
            let mut selective = [0; SELECTIVE_BYTES_MAX];
            rng.fill(&mut selective);
            let selective = &selective[..4 * rng.index(64)];
            let mut out = Vec::new();
            encode(&header, selective, 0, &mut out);
            let packet = decode(&out).expect("a packet");
            assert_eq!(
                (packet.header, packet.selective),
                (header, selective),
                "seed {seed}, round {round}"
            );
            assert_eq!(packet.payload_at, out.len());
        }
    }
}
