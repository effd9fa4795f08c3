//! The UDP tracker protocol (BEP 15), both directions: clients write requests and read answers; the simulator's tracker and
//! the tests do the opposite.
//!
//! ```text
//! connect   request  <magic: u64> <action 0: u32> <transaction: u32>                                        16 bytes
//!           answer   <action 0: u32> <transaction: u32> <connection: u64>                                   16 bytes
//! announce  request  <connection: u64> <action 1: u32> <transaction: u32> <info-hash: 20> <peer-id: 20>
//!                    <downloaded: u64> <left: u64> <uploaded: u64> <event: u32> <ip: u32> <key: u32>
//!                    <want: i32> <port: u16>                                                                98 bytes
//!           answer   <action 1: u32> <transaction: u32> <interval: u32> <leechers: u32> <seeders: u32>
//!                    then 6 bytes a peer from an IPv4 tracker, 18 from an IPv6 one
//!                    then the path and query of the tracker's URL in options, <2: u8> <length: u8> <text> (BEP 41)
//! error     answer   <action 3: u32> <transaction: u32> <text>
//! ```

use std::net::SocketAddr;

use crate::ids::{InfoHash, PeerId};

use super::{Announce, AnnounceAnswer, AnnounceEvent, interval, keep_peers, printable};
use crate::codec::address;

/// What a connect request begins with.
const MAGIC: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const ERROR: u32 = 3;
/// An option that holds a part of the URL (BEP 41).
const URL_DATA: u8 = 2;

/// Bytes of a connect request and of its answer.
pub const CONNECT_BYTES: usize = 16;
/// Bytes of an announce request.
pub const ANNOUNCE_BYTES: usize = 98;

/// What a tracker sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpAnswer {
    /// Of the request that it answers.
    pub transaction: u32,
    /// What it says.
    pub body: UdpBody,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UdpBody {
    /// The number to announce with, good for a minute.
    Connect {
        /// The tracker's choice.
        connection: u64,
    },
    /// To an announce.
    Announce(AnnounceAnswer),
    /// The tracker refuses; printable and bounded.
    Error(String),
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpRequest {
    /// Goes into the answer.
    pub transaction: u32,
    /// What it asks; `None` for a connect, else the connection number and the announce.
    pub announce: Option<(u64, Announce)>,
}

/// A datagram that is none of BEP 15; says what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The transaction that `bytes` would answer, if they are a tracker's answer at all; for routing, before anything is decoded.
///
/// No answer of another protocol on the same socket looks like one: a DHT message begins with `d`, and the first byte of a
/// uTP header has version 1 in its low half (BEP 29), where the first byte of an action is 0.
#[must_use]
pub fn transaction_of(bytes: &[u8]) -> Option<u32> {
    let mut reader = Reader(bytes);
    let action = reader.u32()?;
    let transaction = reader.u32()?;
    matches!(action, CONNECT | ANNOUNCE | ERROR).then_some(transaction)
}

/// Asks for a connection number.
#[must_use]
pub fn encode_connect(transaction: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(CONNECT_BYTES);
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&CONNECT.to_be_bytes());
    out.extend_from_slice(&transaction.to_be_bytes());
    out
}

/// Announces under a connection number. The address field stays 0: the tracker takes the sender's. `path` is what stands behind
/// the port in its URL, such as a member's key (BEP 41); empty where there is nothing.
#[must_use]
pub fn encode_announce(
    connection: u64,
    transaction: u32,
    announce: &Announce,
    path: &str,
) -> Vec<u8> {
    let event: u32 = match announce.event {
        AnnounceEvent::None => 0,
        AnnounceEvent::Completed => 1,
        AnnounceEvent::Started => 2,
        AnnounceEvent::Stopped => 3,
    };
    let want = i32::try_from(announce.want).unwrap_or(i32::MAX);
    let mut out = Vec::with_capacity(ANNOUNCE_BYTES);
    out.extend_from_slice(&connection.to_be_bytes());
    out.extend_from_slice(&ANNOUNCE.to_be_bytes());
    out.extend_from_slice(&transaction.to_be_bytes());
    out.extend_from_slice(&announce.info_hash.0);
    out.extend_from_slice(&announce.peer_id.0);
    for count in [announce.downloaded, announce.left, announce.uploaded] {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out.extend_from_slice(&event.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&announce.key.to_be_bytes());
    out.extend_from_slice(&want.to_be_bytes());
    out.extend_from_slice(&announce.port.to_be_bytes());
    for part in path.as_bytes().chunks(usize::from(u8::MAX)) {
        out.push(URL_DATA);
        out.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(part);
    }
    out
}

/// Reads a tracker's answer. `v6` says whether it came over IPv6, which decides the size of its addresses.
///
/// # Errors
/// When it is too short, or its action is unknown. An unfinished address at the end is ignored.
pub fn decode_answer(bytes: &[u8], v6: bool) -> Result<UdpAnswer, Malformed> {
    const SHORT: Malformed = Malformed("the answer is too short");
    let mut reader = Reader(bytes);
    let action = reader.u32().ok_or(SHORT)?;
    let transaction = reader.u32().ok_or(SHORT)?;
    let body = match action {
        CONNECT => UdpBody::Connect {
            connection: reader.u64().ok_or(SHORT)?,
        },
        ANNOUNCE => {
            let seconds = reader.u32().ok_or(SHORT)?;
            let leechers = reader.u32().ok_or(SHORT)?;
            let seeders = reader.u32().ok_or(SHORT)?;
            let mut peers = Vec::new();
            if v6 {
                keep_peers(&mut peers, address::decode_v6_list(reader.0));
            } else {
                keep_peers(&mut peers, address::decode_v4_list(reader.0));
            }
            UdpBody::Announce(AnnounceAnswer {
                interval: interval(i64::from(seconds)),
                seeders: Some(seeders),
                leechers: Some(leechers),
                peers,
                ..AnnounceAnswer::default()
            })
        }
        ERROR => UdpBody::Error(printable(reader.0)),
        _ => return Err(Malformed("the answer's action is unknown")),
    };
    Ok(UdpAnswer { transaction, body })
}

/// Writes an answer, as a tracker does. Over IPv4, IPv6 peers are left out.
#[must_use]
pub fn encode_answer(answer: &UdpAnswer, v6: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut word = |number: u32| out.extend_from_slice(&number.to_be_bytes());
    match &answer.body {
        UdpBody::Connect { connection } => {
            word(CONNECT);
            word(answer.transaction);
            out.extend_from_slice(&connection.to_be_bytes());
        }
        UdpBody::Announce(body) => {
            word(ANNOUNCE);
            word(answer.transaction);
            word(u32::try_from(body.interval.as_secs()).unwrap_or(u32::MAX));
            word(body.leechers.unwrap_or(0));
            word(body.seeders.unwrap_or(0));
            for &peer in &body.peers {
                match peer {
                    _ if v6 => out.extend_from_slice(&address::encode_v6(peer)),
                    SocketAddr::V4(_) => address::encode(peer, &mut out),
                    SocketAddr::V6(_) => {}
                }
            }
        }
        UdpBody::Error(text) => {
            word(ERROR);
            word(answer.transaction);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// Reads a client's request, as a tracker does. What follows an announce (BEP 41) is ignored.
///
/// # Errors
/// When it is too short, its action or event is unknown, or a connect lacks the magic number.
pub fn decode_request(bytes: &[u8]) -> Result<UdpRequest, Malformed> {
    const SHORT: Malformed = Malformed("the request is too short");
    let mut reader = Reader(bytes);
    let connection = reader.u64().ok_or(SHORT)?;
    let action = reader.u32().ok_or(SHORT)?;
    let transaction = reader.u32().ok_or(SHORT)?;
    let announce = match action {
        CONNECT if connection == MAGIC => None,
        CONNECT => return Err(Malformed("the request lacks the magic number")),
        ANNOUNCE => {
            let announce = announce_fields(&mut reader).ok_or(SHORT)??;
            Some((connection, announce))
        }
        _ => return Err(Malformed("the request's action is unknown")),
    };
    Ok(UdpRequest {
        transaction,
        announce,
    })
}

/// `None` when the bytes end too early.
fn announce_fields(reader: &mut Reader<'_>) -> Option<Result<Announce, Malformed>> {
    let info_hash = InfoHash(reader.array()?);
    let peer_id = PeerId(reader.array()?);
    let (downloaded, left, uploaded) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let event = reader.u32()?;
    let _ip = reader.u32()?;
    let key = reader.u32()?;
    // -1 asks for the tracker's default.
    let want = u32::try_from(i32::from_be_bytes(reader.array()?)).unwrap_or(50);
    let port = u16::from_be_bytes(reader.array()?);
    let event = match event {
        0 => AnnounceEvent::None,
        1 => AnnounceEvent::Completed,
        2 => AnnounceEvent::Started,
        3 => AnnounceEvent::Stopped,
        _ => return Some(Err(Malformed("the request's event is unknown"))),
    };
    Some(Ok(Announce {
        info_hash,
        peer_id,
        port,
        uploaded,
        downloaded,
        left,
        event,
        want,
        key,
        tracker_id: None,
    }))
}

/// What is left to read. Each read takes from the front, or gives `None` and takes nothing.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn announce(event: AnnounceEvent) -> Announce {
        Announce {
            info_hash: InfoHash([0x11; 20]),
            peer_id: PeerId([0x22; 20]),
            port: 6881,
            uploaded: 3,
            downloaded: 1,
            left: 2,
            event,
            want: 50,
            key: 0xdead_beef,
            tracker_id: None,
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    #[test]
    fn requests_lie_on_the_wire_as_drawn() {
        assert_eq!(encode_connect(7), hex("0000041727101980 00000000 00000007"));
        let wire = hex(&format!(
            "0102030405060708 00000001 00000009 {} {} 0000000000000001 0000000000000002 0000000000000003 \
             00000002 00000000 deadbeef 00000032 1ae1",
            "11".repeat(20),
            "22".repeat(20)
        ));
        assert_eq!(wire.len(), ANNOUNCE_BYTES);
        let started = announce(AnnounceEvent::Started);
        let connection = 0x0102_0304_0506_0708;
        assert_eq!(encode_announce(connection, 9, &started, ""), wire);
        // BEP 41: what is longer than an option holds goes on in the next.
        let options =
            |path: &str| encode_announce(connection, 9, &started, path)[ANNOUNCE_BYTES..].to_vec();
        assert_eq!(options("/dir?a=b&c=d"), b"\x02\x0c/dir?a=b&c=d");
        let long = "x".repeat(300);
        let want = [
            b"\x02\xff",
            &long.as_bytes()[..255],
            b"\x02\x2d",
            &long.as_bytes()[255..],
        ]
        .concat();
        assert_eq!(options(&long), want);
    }

    #[test]
    fn requests_read_what_they_write_and_refuse_when_cut() {
        use AnnounceEvent::{Completed, None as Regular, Started, Stopped};
        for event in [Regular, Started, Completed, Stopped] {
            let sent = announce(event);
            let wire = encode_announce(5, 9, &sent, "");
            let want = UdpRequest {
                transaction: 9,
                announce: Some((5, sent)),
            };
            assert_eq!(decode_request(&wire), Ok(want), "{event:?}");
            for cut in 0..wire.len() {
                assert!(decode_request(&wire[..cut]).is_err(), "cut at {cut}");
            }
        }
        let connect = UdpRequest {
            transaction: 8,
            announce: None,
        };
        assert_eq!(decode_request(&encode_connect(8)), Ok(connect));
        let mut other = encode_connect(8);
        other[0] = 1;
        assert!(decode_request(&other).is_err(), "no magic");
    }

    #[test]
    fn answers_read_as_drawn() {
        let peers = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let answer = |peers| {
            UdpBody::Announce(AnnounceAnswer {
                interval: Duration::from_secs(900),
                leechers: Some(2),
                seeders: Some(3),
                peers,
                ..AnnounceAnswer::default()
            })
        };
        #[rustfmt::skip]
        let table = [
            ("connect",      false, "00000000 00000007 0102030405060708",
             Ok(UdpBody::Connect { connection: 0x0102_0304_0506_0708 })),
            ("no peers",     false, "00000001 00000007 00000384 00000002 00000003",
             Ok(answer(vec![]))),
            ("v4 peer, cut", false, "00000001 00000007 00000384 00000002 00000003 01020304 1ae1 0506",
             Ok(answer(peers(&["1.2.3.4:6881"])))),
            ("port 0",       false, "00000001 00000007 00000384 00000002 00000003 01020304 0000",
             Ok(answer(vec![]))),
            ("v6 peer",      true,  "00000001 00000007 00000384 00000002 00000003 20010470000000000000000000000001 1ae1",
             Ok(answer(peers(&["[2001:470::1]:6881"])))),
            ("v4 in v6",     true,  "00000001 00000007 00000384 00000002 00000003 00000000000000000000ffff01020304 1ae1",
             Ok(answer(peers(&["1.2.3.4:6881"])))),
            ("error",        false, "00000003 00000007 6e6f",
             Ok(UdpBody::Error("no".to_owned()))),
            ("empty error",  false, "00000003 00000007",
             Ok(UdpBody::Error(String::new()))),
            ("short",        false, "00000000 00000007 01020304050607", Err(())),
            ("scrape",       false, "00000002 00000007",                Err(())),
            ("empty",        false, "",                                 Err(())),
        ];
        for (name, v6, wire, want) in table {
            let wire = hex(wire);
            let got = decode_answer(&wire, v6);
            assert_eq!(
                got.clone().map(|got| got.body).map_err(drop),
                want,
                "{name}"
            );
            if let Ok(got) = got {
                assert_eq!(got.transaction, 7, "{name}");
                assert_eq!(transaction_of(&wire), Some(7), "{name}");
                let again = encode_answer(&got, v6);
                assert_eq!(decode_answer(&again, v6), Ok(got), "{name} again");
            }
        }
    }

    #[test]
    fn other_protocols_are_not_taken_for_answers() {
        #[rustfmt::skip]
        let table: &[(&str, &[u8])] = &[
            ("dht",   b"d1:ad2:id20:"),
            ("utp",   &[0x41, 0, 0, 1, 0, 0, 0, 0]),
            ("short", &[0, 0, 0, 0, 0, 0, 1]),
            ("scrape", &[0, 0, 0, 2, 0, 0, 0, 1]),
        ];
        for (name, bytes) in table {
            assert_eq!(transaction_of(bytes), None, "{name}");
        }
    }
}
