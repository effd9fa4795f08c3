//! What it costs to be a node of the DHT: questions answered, by kind, of a thousand sources that have a full table's worth
//! of neighbours and torrents between them. Prints nanoseconds a question, and the share of a core that a thousand a second
//! take.
//!
//! `cargo bench --bench dht`; with `--test` one small round, to stay alive.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench reads the clock and prints"
)]

use std::net::{Ipv4Addr, SocketAddr};

use linnet::codec::krpc::{self, Answer, Body, Method, NodeId, Want};
use linnet::engine::dht::{Dht, Step, id};
use linnet::hash;
use linnet::ids::InfoHash;
use linnet::rng::Rng;
use linnet::time::{Clock, Duration, Instant};

/// Sources; each asks as seldom as a real one.
const SOURCES: u32 = 1000;
/// Neighbours that were met before.
const NEIGHBOURS: u32 = 400;

fn source(n: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from((20 << 24) + n * 256 + 1).into(), 6881)
}

/// A node that has met its neighbours.
fn settled(rng: &mut Rng) -> (Dht, Instant) {
    let mut dht = Dht::new(false, rng.fork());
    let mut now = Instant::ZERO;
    dht.join(now, false, None, Some(Ipv4Addr::new(9, 9, 9, 9).into()));
    for n in 0..NEIGHBOURS {
        let from = source(SOURCES + n);
        let id = id::draw(Some(from.ip()), rng);
        now += Duration::from_millis(20);
        let ping = krpc::encode_query(b"hi", &id, false, &Method::Ping);
        dht.on_datagram(now, from, &ping);
        dht.on_time(now);
        while let Some(step) = dht.poll() {
            if let Step::Send { to, bytes } = step
                && to == from
                && let Ok(message) = krpc::decode(&bytes)
                && matches!(message.body, Body::Query { .. })
            {
                let pong = Answer {
                    id,
                    ..Answer::default()
                };
                let pong = krpc::encode_answer(message.transaction, to, &pong);
                dht.on_datagram(now, from, &pong);
            }
        }
    }
    (dht, now)
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let rounds = if is_test { 1 } else { 200 };
    let mut rng = Rng::new(1);
    let (mut dht, mut now) = settled(&mut rng);
    let ids: Vec<NodeId> = (0..SOURCES)
        .map(|n| id::draw(Some(source(n).ip()), &mut rng))
        .collect();
    let mut random = || {
        let mut id = NodeId::default();
        rng.fill(&mut id.0);
        id
    };
    let want = Want::default();
    let kinds: [(&str, Vec<Vec<u8>>); 3] = ["ping", "find_node", "get_peers"].map(|name| {
        let questions = ids.iter().map(|sender| {
            let target = random();
            let method = match name {
                "ping" => Method::Ping,
                "find_node" => Method::FindNode { target, want },
                _ => Method::GetPeers {
                    info_hash: InfoHash(target.0),
                    want,
                    scrape: false,
                    noseed: false,
                },
            };
            krpc::encode_query(b"tt", sender, false, &method)
        });
        (name, questions.collect())
    });
    let clock = Clock::start();
    println!("nodes known: {}", dht.nodes_len()[0]);
    let mut answers = Vec::new();
    for (name, questions) in &kinds {
        let before = dht.counters().queries_ignored;
        let began = clock.now();
        let mut count = 0_u64;
        for _ in 0..rounds {
            for (n, question) in (0..).zip(questions) {
                // A thousand a second, as the node's own clock has it.
                now += Duration::from_millis(1);
                dht.on_datagram(now, source(n), question);
                while let Some(step) = dht.poll() {
                    if let Step::Send { to, bytes } = step
                        && to == source(n)
                    {
                        count += 1;
                        answers.extend_from_slice(&hash::sha1(&bytes)[..4]);
                    }
                }
            }
        }
        let spent = clock.now().since(began);
        assert_eq!(dht.counters().queries_ignored, before, "all are answered");
        let asked = rounds * u64::from(SOURCES);
        let each = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX) / asked;
        println!(
            "{name:<10} {each:>7} ns each, {:>5.2} % of a core at 1000 a second, {count} datagrams back",
            each as f64 / 10_000.0
        );
    }
    println!("answers: {:02x?}", &hash::sha1(&answers)[..6]);
}
