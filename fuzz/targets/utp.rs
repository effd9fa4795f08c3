//! uTP: a packet that decodes keeps within its bytes and encodes to one that says the same; and a connection survives any
//! packets at all, with its books in order.

use std::collections::VecDeque;
use std::net::SocketAddr;

use linnet::buffer::Pool;
use linnet::codec::utp::{self, SELECTIVE_BYTES_MAX};
use linnet::engine::message::{Frame, Output};
use linnet::engine::timers::Timers;
use linnet::engine::utp::{Got, Utp, World};
use linnet::ids::StreamId;
use linnet::rng::Rng;
use linnet::time::{Duration, Instant};

/// `bytes` as one packet, and as a list of packets to one host.
pub fn run(bytes: &[u8]) {
    packet(bytes);
    host(bytes);
}

fn packet(bytes: &[u8]) {
    let Some(packet) = utp::decode(bytes) else {
        return;
    };
    assert!(utp::is_packet(bytes));
    assert!(packet.payload_at <= bytes.len());
    let selective = packet.selective;
    if selective.len() > SELECTIVE_BYTES_MAX || !selective.len().is_multiple_of(4) {
        return;
    }
    let mut again = Vec::new();
    utp::encode(&packet.header, selective, 0, &mut again);
    let decoded = utp::decode(&again).expect("what we write, we read");
    assert_eq!(decoded.header, packet.header);
    assert_eq!(decoded.selective, selective);
    assert_eq!(decoded.payload_at, again.len());
}

/// A host that dials and is dialled. Each packet is `<length> <what> bytes…`: `what` says whether the numbers are made to fit.
fn host(mut bytes: &[u8]) {
    let mut utp = Utp::new(1 << 20);
    let (mut timers, mut outputs) = (Timers::new(), VecDeque::new());
    let (mut pool, mut rng) = (Pool::new(0), Rng::new(1));
    let mut now = Instant::from_micros(1_000_000);
    let from = SocketAddr::from(([10, 0, 0, 1], 6881));
    let stream = StreamId::new(0, 1);
    macro_rules! world {
        () => {
            &mut World {
                now,
                rng: &mut rng,
                timers: &mut timers,
                outputs: &mut outputs,
                pool: &mut pool,
            }
        };
    }
    utp.dial(world!(), stream, from);
    let syn = sent(&mut outputs).expect("a dial sends a SYN");
    let (mut accepted, mut slot) = (Vec::new(), 1);
    while let [length, what, rest @ ..] = bytes {
        let (one, later) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = later;
        let mut one = one.to_vec();
        if what & 1 != 0 && one.len() >= 20 {
            // To the connection that was dialled, as the answer to what it sent.
            one[2..4].copy_from_slice(&syn.connection.to_be_bytes());
            let acknowledged = syn.sequence.wrapping_add(u16::from(what >> 4));
            one[18..20].copy_from_slice(&acknowledged.to_be_bytes());
        }
        let mut got = utp.on_datagram(world!(), from, &one, true);
        if let Got::Offer(offer) = got {
            let stream = StreamId::new(slot, 1);
            slot += 1;
            accepted.push(stream);
            utp.accept(world!(), &offer, stream);
            got = utp.on_datagram(world!(), from, &one, true);
        }
        if let Got::Payload(_, at) = got {
            assert!(at < one.len());
        }
        while utp.next_news().is_some() {}
        if what & 2 != 0 && utp.carries(stream) {
            let frame = Frame::Bytes(vec![7; 3000]);
            let _ = utp.divert(world!(), Output::Send { stream, frame });
        }
        if what & 4 != 0 {
            utp.flush(world!());
        }
        if what & 8 != 0 {
            now += Duration::from_millis(700);
            while let Some(key) = timers.pop_due(now) {
                if let linnet::engine::shared::TimerKey::Utp(id) = key {
                    utp.on_timer(world!(), id);
                }
            }
        }
        outputs.clear();
        utp.check();
    }
    for stream in accepted {
        utp.end(world!(), stream);
    }
    utp.end(world!(), stream);
    utp.check();
}

fn sent(outputs: &mut VecDeque<Output>) -> Option<utp::Header> {
    match outputs.pop_front()? {
        Output::Datagram { bytes, .. } => Some(utp::decode(&bytes)?.header),
        _ => None,
    }
}
