//! The messages of BEP 5, whole, cut, and written again.

use super::*;
use crate::ids::InfoHash;

const A: NodeId = NodeId(*b"abcdefghij0123456789");
const B: NodeId = NodeId(*b"mnopqrstuvwxyz123456");

fn query(method: Method<'_>) -> Message<'_> {
    Message {
        transaction: b"aa",
        body: Body::Query {
            sender: A,
            read_only: false,
            method,
        },
    }
}

fn answer(answer: Answer<'_>) -> Message<'_> {
    Message {
        transaction: b"aa",
        body: Body::Answer {
            ip: None,
            answer: Box::new(answer),
        },
    }
}

/// The examples of BEP 5, and one of each extension.
#[test]
fn messages_are_read_whole_and_refused_when_cut_anywhere() {
    let target = B;
    let info_hash = InfoHash(B.0);
    let want = Want::default();
    #[rustfmt::skip]
    let table: &[(&str, &[u8], Message<'_>)] = &[
        ("ping", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", query(Method::Ping)),
        ("find_node", b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
            query(Method::FindNode { target, want })),
        ("get_peers", b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
            query(Method::GetPeers { info_hash, want, scrape: false, noseed: false })),
        ("announce_peer", b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
            query(Method::AnnouncePeer(Announce { info_hash, port: 6881, implied_port: true, token: b"aoeusnth", seed: false }))),
        ("of both families", b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6ee1:q9:find_node1:t2:aa1:y1:qe",
            query(Method::FindNode { target, want: Want { v4: true, v6: true } })),
        ("scrape", b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234566:noseedi1e6:scrapei1ee1:q9:get_peers1:t2:aa1:y1:qe",
            query(Method::GetPeers { info_hash, want, scrape: true, noseed: true })),
        ("read-only", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping2:roi1e1:t2:aa1:y1:qe",
            Message { transaction: b"aa", body: Body::Query { sender: A, read_only: true, method: Method::Ping } }),
        ("a method of the future with a target", b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q4:vote1:t2:aa1:y1:qe",
            query(Method::FindNode { target, want })),
        ("get newer", b"d1:ad2:id20:abcdefghij01234567893:seqi4e6:target20:mnopqrstuvwxyz123456e1:q3:get1:t2:aa1:y1:qe",
            query(Method::Get { target, seq: Some(4), want })),
        ("put", b"d1:ad2:id20:abcdefghij01234567895:token2:xy1:v12:Hello World!e1:q3:put1:t2:aa1:y1:qe",
            query(Method::Put(Put { token: b"xy", value: b"12:Hello World!", signed: None, cas: None }))),
        ("sample", b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q17:sample_infohashes1:t2:aa1:y1:qe",
            query(Method::SampleInfohashes { target, want })),
        ("pong", b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re", answer(Answer { id: B, ..Answer::default() })),
        ("values", b"d1:rd2:id20:mnopqrstuvwxyz1234565:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
            answer(Answer { id: B, token: b"aoeusnth", values: vec!["97.120.106.101:11893".parse().unwrap(), "105.100.104.116:28269".parse().unwrap()], ..Answer::default() })),
        ("told our address", b"d2:ip6:\x01\x02\x03\x04\x00\x501:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
            Message { transaction: b"aa", body: Body::Answer { ip: Some("1.2.3.4:80".parse().unwrap()), answer: Box::new(Answer { id: B, ..Answer::default() }) } }),
        ("error", b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
            Message { transaction: b"aa", body: Body::Error { code: 201 } }),
    ];
    for (name, bytes, want) in table {
        assert_eq!(decode(bytes).as_ref(), Ok(want), "{name}");
        for cut in 0..bytes.len() {
            assert_eq!(
                decode(&bytes[..cut]),
                Err(Malformed::Noise),
                "{name} cut at {cut}"
            );
        }
        let longer = [bytes, &b"noise"[..]].concat();
        assert_eq!(decode(&longer).as_ref(), Ok(want), "{name} and more");
    }
}

#[test]
fn what_makes_no_sense_is_refused_or_ignored() {
    let refused = |why| {
        Err(Malformed::Question {
            transaction: b"aa",
            why,
        })
    };
    let huge = [&b"d1:y1:q1:z9999:"[..], &[b'x'; 9999], b"e"].concat();
    let long = [&b"d1:t99:"[..], &[b'x'; 99], b"1:y1:ee"].concat();
    let value = [
        &b"d1:ad2:id20:abcdefghij01234567895:token2:xy1:v1001:"[..],
        &[b'x'; 1001],
        b"e1:q3:put1:t2:aa1:y1:qe",
    ]
    .concat();
    #[rustfmt::skip]
    let table: &[(&str, &[u8], Result<Message<'_>, Malformed<'_>>)] = &[
        ("empty",             b"",                                         Err(Malformed::Noise)),
        ("a list",            b"l1:de",                                    Err(Malformed::Noise)),
        ("no kind",           b"d1:t2:aae",                                Err(Malformed::Noise)),
        ("another kind",      b"d1:t2:aa1:y1:xe",                          Err(Malformed::Noise)),
        ("too long",          &huge,                                       Err(Malformed::Noise)),
        ("long transaction",  &long,                                       Err(Malformed::Noise)),
        ("nobody answers",    b"d1:rd2:id2:xye1:t2:aa1:y1:re",             Err(Malformed::Noise)),
        ("no arguments",      b"d1:q4:ping1:t2:aa1:y1:qe",                 refused(ErrorCode::Protocol)),
        ("nobody asks",       b"d1:ade1:q4:ping1:t2:aa1:y1:qe",            refused(ErrorCode::Protocol)),
        ("asks nothing",      b"d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe", refused(ErrorCode::Protocol)),
        ("no target",         b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe", refused(ErrorCode::Protocol)),
        ("unknown method",    b"d1:ad2:id20:abcdefghij0123456789e1:q4:vote1:t2:aa1:y1:qe", refused(ErrorCode::UnknownMethod)),
        ("port 0",            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti0e5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe", refused(ErrorCode::Protocol)),
        ("port 70000",        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti70000e5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe", refused(ErrorCode::Protocol)),
        ("value too big",     &value,                                      refused(ErrorCode::ValueTooBig)),
        ("half a signature",  b"d1:ad2:id20:abcdefghij01234567891:k32:abcdefghijklmnopqrstuvwxyz0123453:seqi1e3:sig1:x5:token1:x1:v1:ve1:q3:put1:t2:aa1:y1:qe", refused(ErrorCode::Protocol)),
        ("untidy error",      b"d1:e3:bad1:t2:aa1:y1:ee",                  Ok(Message { transaction: b"aa", body: Body::Error { code: 0 } })),
    ];
    for (name, bytes, want) in table {
        assert_eq!(&decode(bytes), want, "{name}");
    }
}

#[test]
fn what_is_written_is_read() {
    let key = &[7; 32];
    let signature = &[9; 64];
    let signed = Some(Signed {
        key,
        salt: b"pepper",
        seq: -3,
        signature,
    });
    let want = Want {
        v4: false,
        v6: true,
    };
    let info_hash = InfoHash(B.0);
    let methods = [
        Method::Ping,
        Method::FindNode { target: B, want },
        Method::GetPeers {
            info_hash,
            want,
            scrape: true,
            noseed: true,
        },
        Method::AnnouncePeer(Announce {
            info_hash,
            port: 1,
            implied_port: false,
            token: b"t",
            seed: true,
        }),
        Method::Get {
            target: B,
            seq: Some(5),
            want,
        },
        Method::Put(Put {
            token: b"t",
            value: b"d1:ai1ee",
            signed,
            cas: Some(-4),
        }),
        Method::SampleInfohashes { target: B, want },
    ];
    for method in methods {
        for read_only in [false, true] {
            let bytes = encode_query(b"\x00\xff", &A, read_only, &method);
            let want = Message {
                transaction: b"\x00\xff",
                body: Body::Query {
                    sender: A,
                    read_only,
                    method: method.clone(),
                },
            };
            assert_eq!(decode(&bytes), Ok(want), "{}", method.name());
        }
    }

    let to = "[2001:470::1]:51413".parse().unwrap();
    let node = compact::Node {
        id: B,
        address: "1.2.3.4:5".parse().unwrap(),
    };
    let node6 = compact::Node { id: A, address: to };
    let (nodes, nodes6) = (
        compact::encode_nodes(&[node, node]),
        compact::encode_nodes(&[node6]),
    );
    let mut filter = bloom::Bloom::default();
    filter.insert(to.ip());
    let full = Answer {
        id: A,
        nodes: &nodes,
        nodes6: &nodes6,
        values: vec![to, node.address],
        token: b"token",
        stored: Stored {
            value: b"li1ee",
            key: Some(key),
            signature: Some(signature),
            seq: Some(1),
        },
        filters: Some((filter.clone(), bloom::Bloom::default())),
        samples: Some(Samples {
            hashes: &B.0,
            count: 7,
            interval: 60,
        }),
    };
    let bytes = encode_answer(b"tt", to, &full);
    let Ok(Message {
        transaction: b"tt",
        body: Body::Answer { ip, answer },
    }) = decode(&bytes)
    else {
        panic!("it is an answer");
    };
    assert_eq!((ip, &*answer), (Some(to), &full));
    assert_eq!(
        compact::nodes(answer.nodes).collect::<Vec<_>>(),
        [node, node]
    );
    assert_eq!(compact::nodes6(answer.nodes6).collect::<Vec<_>>(), [node6]);
    assert_eq!(compact::nodes(&nodes[..51]).count(), 1, "the rest is cut");

    let error = encode_error(b"tt", ErrorCode::SeqTooLow);
    let body = decode(&error).unwrap().body;
    assert_eq!(body, Body::Error { code: 302 });
}

#[test]
fn distance_is_counted_in_bits() {
    let zero = NodeId::default();
    assert_eq!(zero.shared_bits(&zero), 160);
    for bit in 0..160 {
        let mut id = zero;
        id.0[bit / 8] = 0x80 >> (bit % 8);
        assert_eq!(zero.shared_bits(&id), bit);
        assert_eq!(id.distance(&zero), id);
    }
}
