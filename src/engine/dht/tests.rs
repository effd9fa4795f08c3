//! The node answers: each method, its bounds, and what strangers may not do.

use super::*;
use crate::codec::krpc::{Announce, Answer, Message, Method, Put, Want, compact, encode_query};
use crate::time::Duration;

const A: NodeId = NodeId(*b"abcdefghij0123456789");
const HASH: InfoHash = InfoHash(*b"mnopqrstuvwxyz123456");
const NOW: Instant = Instant::ZERO;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn node() -> Dht {
    let mut dht = Dht::new(false, Rng::new(1));
    dht.join(NOW, false, None, None);
    dht.join(NOW, true, None, None);
    dht
}

/// The datagrams sent to `to` since the last look; others are dropped.
fn sent(dht: &mut Dht, to: SocketAddr) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(step) = dht.poll() {
        if let Step::Send { to: whom, bytes } = step
            && whom == to
        {
            out.push(bytes);
        }
    }
    out
}

/// Asks as somebody who reads only, so that nothing is asked in return.
fn ask(dht: &mut Dht, now: Instant, from: SocketAddr, method: &Method<'_>) -> Vec<u8> {
    dht.on_datagram(now, from, &encode_query(b"tt", &A, true, method));
    let mut answers = sent(dht, from);
    assert_eq!(answers.len(), 1, "one answer");
    answers.remove(0)
}

fn answer(bytes: &[u8]) -> Answer<'_> {
    match krpc::decode(bytes) {
        Ok(Message {
            transaction: b"tt",
            body: Body::Answer { answer, .. },
        }) => *answer,
        other => panic!("not an answer: {other:?}"),
    }
}

fn refused(bytes: &[u8]) -> i64 {
    match krpc::decode(bytes).unwrap().body {
        Body::Error { code } => code,
        other => panic!("not a refusal: {other:?}"),
    }
}

const GET_PEERS: Method<'static> = Method::GetPeers {
    info_hash: HASH,
    want: Want {
        v4: false,
        v6: false,
    },
    scrape: false,
    noseed: false,
};

#[test]
fn who_has_asked_may_announce_and_is_told_of_to_others() {
    let mut dht = node();
    let (us, other) = (at("8.8.8.8:7000"), at("9.9.9.9:1"));
    let reply = ask(&mut dht, NOW, us, &GET_PEERS);
    let reply = answer(&reply);
    assert_eq!(Some(reply.id), dht.id(false));
    let announce = |token, port, implied_port, seed| {
        Method::AnnouncePeer(Announce {
            info_hash: HASH,
            port,
            implied_port,
            token,
            seed,
        })
    };
    let token = reply.token;
    assert_eq!(
        refused(&ask(
            &mut dht,
            NOW,
            other,
            &announce(token, 5, false, false)
        )),
        203
    );
    assert_eq!(
        refused(&ask(
            &mut dht,
            NOW,
            us,
            &announce(b"guess", 5, false, false)
        )),
        203
    );
    answer(&ask(&mut dht, NOW, us, &announce(token, 5, false, true)));
    answer(&ask(&mut dht, NOW, us, &announce(token, 5, true, false)));
    let told = ask(&mut dht, NOW, other, &GET_PEERS);
    let mut values = answer(&told).values;
    values.sort_unstable();
    assert_eq!(
        values,
        [at("8.8.8.8:5"), us],
        "the port it names, the port it has"
    );
    let scrape = Method::GetPeers {
        info_hash: HASH,
        want: Want::default(),
        scrape: true,
        noseed: true,
    };
    let told = ask(&mut dht, NOW, other, &scrape);
    let told = answer(&told);
    assert_eq!(told.values, [us], "no seeds");
    let (seeds, others) = told.filters.unwrap();
    assert_eq!((seeds.ones(), others.ones()), (2, 2));
    let sample = Method::SampleInfohashes {
        target: A,
        want: Want::default(),
    };
    let told = ask(&mut dht, NOW, other, &sample);
    let samples = answer(&told).samples.unwrap();
    assert_eq!((samples.hashes, samples.count), (&HASH.0[..], 1));
    // Half an hour later it is forgotten.
    let later = NOW + Duration::from_secs(1801);
    assert_eq!(answer(&ask(&mut dht, later, other, &GET_PEERS)).values, []);
    assert_eq!(dht.kept_len(), (0, 0));
}

#[test]
fn values_are_stored_and_got() {
    let mut dht = node();
    let us = at("[2001:470::1]:7");
    let target = NodeId(crate::hash::sha1(b"12:Hello World!"));
    let get = Method::Get {
        target,
        seq: None,
        want: Want::default(),
    };
    let nothing = ask(&mut dht, NOW, us, &get);
    let nothing = answer(&nothing);
    assert_eq!(nothing.stored.value, b"");
    let put = |token| {
        Method::Put(Put {
            token,
            value: b"12:Hello World!",
            signed: None,
            cas: None,
        })
    };
    assert_eq!(refused(&ask(&mut dht, NOW, us, &put(b"x"))), 203);
    answer(&ask(&mut dht, NOW, us, &put(nothing.token)));
    let there = ask(&mut dht, NOW, us, &get);
    assert_eq!(answer(&there).stored.value, b"12:Hello World!");
}

#[test]
fn who_answers_is_told_of_in_the_families_that_are_wanted() {
    let mut dht = node();
    let us = at("8.8.8.8:7000");
    // Somebody asks, is asked whether it is there, and answers.
    let friends = [at("20.1.1.1:1"), at("[2001:470:1::1]:1")];
    for friend in friends {
        let id = id::draw(Some(friend.ip()), &mut Rng::new(5));
        dht.on_datagram(NOW, friend, &encode_query(b"xx", &id, false, &Method::Ping));
        let mut asked = sent(&mut dht, friend);
        assert_eq!(asked.len(), 2, "an answer and a question");
        let question = asked.pop().unwrap();
        let transaction = krpc::decode(&question).unwrap().transaction.to_vec();
        let pong = Answer {
            id,
            ..Answer::default()
        };
        let forged = krpc::encode_answer(&transaction, us, &pong);
        dht.on_datagram(NOW, at("66.6.6.6:6"), &forged);
        assert_eq!(dht.nodes_len()[usize::from(friend.is_ipv6())], 0, "forged");
        dht.on_datagram(NOW, friend, &forged);
        assert_eq!(dht.nodes_len()[usize::from(friend.is_ipv6())], 1);
    }
    let find = |v4, v6| Method::FindNode {
        target: A,
        want: Want { v4, v6 },
    };
    for (v4, v6, want) in [
        (false, false, (1, 0)),
        (true, false, (1, 0)),
        (false, true, (0, 1)),
        (true, true, (1, 1)),
    ] {
        let bytes = ask(&mut dht, NOW, us, &find(v4, v6));
        let told = answer(&bytes);
        let count = (
            compact::nodes(told.nodes).count(),
            compact::nodes6(told.nodes6).count(),
        );
        assert_eq!(count, want, "{v4} {v6}");
    }
    let remembered = dht.remember(false).unwrap();
    assert_eq!(remembered.nodes[0].address, friends[0]);
    // Another run asks it at once, under the same name.
    let mut again = Dht::new(false, Rng::new(2));
    again.join(NOW, false, Some(&remembered), None);
    again.on_time(NOW);
    assert_eq!(again.id(false), dht.id(false));
    assert_eq!(sent(&mut again, friends[0]).len(), 1);
}

#[test]
fn our_name_follows_our_address() {
    let mut dht = node();
    let before = dht.id(false).unwrap();
    let ip = at("8.8.8.8:1").ip();
    dht.live_at(NOW, ip);
    let after = dht.id(false).unwrap();
    assert_ne!(before, after);
    assert!(id::is_lawful(&after, ip));
    dht.live_at(NOW, ip);
    assert_eq!(dht.id(false), Some(after), "it fits already");
}

#[test]
fn one_source_is_answered_so_often_and_all_together_too() {
    let mut dht = node();
    let ping = encode_query(b"tt", &A, true, &Method::Ping);
    let mut answered = 0;
    for _ in 0..1000 {
        dht.on_datagram(NOW, at("8.8.8.8:1"), &ping);
        answered += sent(&mut dht, at("8.8.8.8:1")).len();
    }
    assert_eq!(answered, 100);
    let mut all = 0;
    for n in 0..10_000_u32 {
        let from = SocketAddr::new(std::net::Ipv4Addr::from(0x1400_0000 + n * 256).into(), 1);
        dht.on_datagram(NOW, from, &ping);
        all += sent(&mut dht, from).len();
    }
    assert!(all < 2000, "{all}");
    assert_eq!(
        dht.counters().queries_ignored + 2000,
        dht.counters().queries_received
    );
}

#[test]
fn a_node_that_only_asks_says_so_and_answers_nobody() {
    let mut dht = Dht::new(true, Rng::new(1));
    dht.join(NOW, false, None, None);
    let (friend, stranger) = (at("10.0.0.1:1"), at("8.8.8.8:1"));
    dht.on_datagram(
        NOW,
        stranger,
        &encode_query(b"tt", &A, false, &Method::Ping),
    );
    dht.on_datagram(NOW, stranger, b"d1:ade1:q4:ping1:t2:aa1:y1:qe");
    assert_eq!(sent(&mut dht, stranger), Vec::<Vec<u8>>::new());
    dht.routers_are(NOW, &[friend]);
    dht.on_time(NOW);
    let asked = sent(&mut dht, friend);
    assert!(matches!(
        krpc::decode(&asked[0]).unwrap().body,
        Body::Query {
            read_only: true,
            ..
        }
    ));
    // Nor do we remember one that says so of itself.
    let mut other = node();
    other.on_datagram(NOW, friend, &asked[0]);
    assert_eq!(
        sent(&mut other, friend).len(),
        1,
        "an answer, and no question"
    );
}

#[test]
fn a_search_asks_hears_and_tells() {
    let mut dht = node();
    let router = at("10.0.0.9:1");
    let search = Search {
        info_hash: HASH,
        port: Some(51413),
        implied_port: false,
        seed: false,
        urgent: true,
    };
    assert_eq!(dht.search(NOW, search), 0, "nobody to ask");
    dht.routers_are(NOW, &[router]);
    assert_eq!(dht.search(NOW, search), 1);
    assert_eq!(dht.search(NOW, search), 0, "it is under way");
    dht.on_time(NOW);
    let mut steps = Vec::new();
    let mut told = 0;
    while let Some(step) = dht.poll() {
        if let Step::Send { to, bytes } = &step {
            assert_eq!(*to, router);
            let message = krpc::decode(bytes).unwrap();
            let Body::Query { method, .. } = message.body else {
                panic!("only questions");
            };
            let mut reply = Answer {
                id: A,
                token: b"let me",
                ..Answer::default()
            };
            match method {
                Method::GetPeers {
                    info_hash: HASH, ..
                } => {
                    // One of our own network may name its neighbours, and nobody may name no port.
                    reply.values = vec![at("10.0.0.2:5"), at("10.0.0.3:0"), at("[::1]:5")];
                }
                Method::AnnouncePeer(announce) => {
                    assert_eq!((announce.port, announce.token), (51413, &b"let me"[..]));
                    told += 1;
                }
                _ => {}
            }
            let bytes = krpc::encode_answer(message.transaction, at("10.0.0.7:1"), &reply);
            dht.on_datagram(NOW, router, &bytes);
        }
        steps.push(step);
    }
    let peers = vec![at("10.0.0.2:5")];
    assert!(steps.contains(&Step::Found {
        info_hash: HASH,
        peers
    }));
    assert!(steps.contains(&Step::Over {
        info_hash: HASH,
        found: 1,
        told: 1
    }));
    assert_eq!(told, 1);
    assert_eq!(
        dht.nodes_len(),
        [1, 0],
        "a router of our own network is a node as any"
    );
}

#[test]
fn noise_is_harmless() {
    let mut dht = node();
    let mut rng = Rng::new(9);
    let seeds: [&[u8]; 3] = [
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
        b"d1:rd2:id20:mnopqrstuvwxyz1234565:nodes26:abcdefghij01234567891234565:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
        b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
    ];
    for round in 0..20_000_u32 {
        let mut bytes = seeds[rng.index(seeds.len())].to_vec();
        for _ in 0..rng.below(4) {
            let place = rng.index(bytes.len());
            bytes[place] = u8::try_from(rng.below(256)).unwrap();
        }
        let from = SocketAddr::new(std::net::Ipv4Addr::from(0x1400_0000 + round).into(), 1);
        dht.on_datagram(NOW + Duration::from_millis(round.into()), from, &bytes);
        while dht.poll().is_some() {}
    }
    dht.check();
}
