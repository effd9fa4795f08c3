//! Whatever a network does to datagrams, the same bytes arrive in order; and streams end as they should.

use super::*;
use crate::buffer::{BLOCK_BYTES, Share};

#[test]
fn the_same_bytes_arrive_in_order_whatever_happens_to_datagrams() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let path = Path {
            delay: Duration::from_micros(rng.below(200_000)),
            jitter: Duration::from_micros(rng.below(4) * rng.below(30_000)),
            loss_per_mille: rng.below(3) * rng.below(80),
            double_per_mille: rng.below(2) * rng.below(100),
            datagram_max: [1240, 1420, 1472][rng.index(3)],
        };
        let mut net = Net::new(seed, path, 2);
        let (ours, theirs) = net.connect(0, 1);
        let there = bytes(seed, rng.index(400_000));
        let back = bytes(seed + 1000, rng.index(100_000));
        let (mut from_a, mut from_b) = (&there[..], &back[..]);
        let mut rounds = 0;
        while !from_a.is_empty() || !from_b.is_empty() {
            for (side, stream, rest) in [(0, ours, &mut from_a), (1, theirs, &mut from_b)] {
                let (now, later) = rest.split_at(rng.index(40_000).min(rest.len()));
                *rest = later;
                if !now.is_empty() {
                    net.send(side, stream, now.to_vec());
                }
            }
            net.pass(Duration::from_micros(rng.below(100_000)));
            rounds += 1;
        }
        let arrived = |net: &Net| {
            let length = |side: usize, stream| net.sides[side].got.get(&stream).map_or(0, Vec::len);
            length(1, theirs) == there.len() && length(0, ours) == back.len()
        };
        net.until(Duration::from_secs(600), arrived);
        let got = |side: usize, stream: StreamId| {
            net.sides[side]
                .got
                .get(&stream)
                .cloned()
                .unwrap_or_default()
        };
        assert!(got(1, theirs) == there, "seed {seed}, {rounds} rounds");
        assert!(got(0, ours) == back, "seed {seed}, {rounds} rounds");
        // At rest nothing is held.
        net.pass(Duration::from_secs(20));
        assert_eq!(
            (net.sides[0].of(ours).held(), net.sides[1].of(theirs).held()),
            (0, 0)
        );
    }
}

#[test]
fn a_bad_line_is_used_all_the_same() {
    // 1 % loss, packets out of order, a round trip of 100 ms.
    let path = Path {
        jitter: Duration::from_millis(4),
        loss_per_mille: 10,
        ..Path::new(50)
    };
    let mut net = Net::new(5, path, 2);
    net.sides[1].counts_only = true;
    let (ours, theirs) = net.connect(0, 1);
    let begin = net.now;
    net.send(0, ours, vec![7; 4_000_000]);
    net.until(Duration::from_secs(300), |net| {
        net.sides[1].counted.get(&theirs).copied() == Some(4_000_000)
    });
    let seconds = net.now.since(begin).as_secs_f64();
    // TCP's own formula for such a line says about 140 kB/s.
    assert!(seconds < 40.0, "{seconds} s");
    let sent = net.sides[0].datagrams_sent;
    assert!(sent < 4_000_000 / 1440 * 13 / 10, "{sent} datagrams");
}

#[test]
fn packets_grow_to_what_the_path_takes() {
    for (most, want) in [(1472, 1472), (1420, 1412), (1240, 1232)] {
        let path = Path {
            datagram_max: most,
            ..Path::new(5)
        };
        let mut net = Net::new(1, path, 2);
        let (ours, theirs) = net.connect(0, 1);
        net.send(0, ours, bytes(1, 3_000_000));
        net.until(Duration::from_secs(60), |net| {
            net.sides[1].got.get(&theirs).map_or(0, Vec::len) == 3_000_000
        });
        assert_eq!(net.sides[0].of(ours).datagram(), want);
    }
}

#[test]
fn blocks_come_back_when_they_are_copied_and_when_nobody_wants_them() {
    let mut net = Net::new(1, Path::new(5), 2);
    let (ours, theirs) = net.connect(0, 1);
    let queue = |net: &mut Net| {
        let pool = &mut net.sides[0].pool;
        assert!(pool.reserve(Share::Send, 1));
        let block = pool.take(Share::Send);
        let frame = Frame::Block {
            head: [9; 13],
            block,
            length: u32::try_from(BLOCK_BYTES).unwrap(),
        };
        net.tell(
            0,
            Output::Send {
                stream: ours,
                frame,
            },
        );
    };
    queue(&mut net);
    net.pass(Duration::from_secs(1));
    assert_eq!(net.sides[0].pool.taken(), 0);
    let got = &net.sides[1].got[&theirs];
    assert_eq!((got.len(), got[..13] == [9; 13]), (BLOCK_BYTES + 13, true));
    net.cut = true;
    for _ in 0..8 {
        queue(&mut net);
    }
    assert!(
        net.sides[0].pool.taken() > 0,
        "what is under way is copied, the rest waits"
    );
    net.tell(0, Output::Close { stream: ours });
    assert_eq!(net.sides[0].pool.taken(), 0);
}

#[test]
fn a_stream_that_is_not_read_is_not_sent_to() {
    let mut net = Net::new(1, Path::new(5), 2);
    let (ours, theirs) = net.connect(0, 1);
    net.tell(
        1,
        Output::Hold {
            stream: theirs,
            hold: true,
        },
    );
    net.send(0, ours, bytes(3, 8_000_000));
    net.pass(Duration::from_secs(100));
    assert!(net.sides[1].of(theirs).held() <= super::super::incoming::WINDOW);
    assert!(!net.sides[1].got.contains_key(&theirs));
    assert!(
        net.sides[0].lost.is_empty(),
        "it is alive, and only does not read"
    );
    net.tell(
        1,
        Output::Hold {
            stream: theirs,
            hold: false,
        },
    );
    net.until(Duration::from_secs(60), |net| {
        net.sides[1].got.get(&theirs).map_or(0, Vec::len) == 8_000_000
    });
    assert!(net.sides[1].got[&theirs] == bytes(3, 8_000_000));
}

#[test]
fn a_metered_stream_is_read_so_far() {
    let mut net = Net::new(1, Path::new(5), 2);
    let (ours, theirs) = net.connect(0, 1);
    let meter = |net: &mut Net, bytes: u64| {
        net.tell(
            1,
            Output::Meter {
                stream: theirs,
                bytes,
            },
        );
        net.pass(Duration::from_secs(5));
        net.sides[1].got.get(&theirs).map_or(0, Vec::len)
    };
    assert_eq!(meter(&mut net, 0), 0);
    net.send(0, ours, bytes(3, 100_000));
    assert_eq!(meter(&mut net, 10_000), 10_000);
    assert_eq!(meter(&mut net, 0), 10_000);
    assert_eq!(meter(&mut net, 1), 10_001);
    assert_eq!(meter(&mut net, u64::MAX), 100_000);
    assert!(net.sides[1].got[&theirs] == bytes(3, 100_000));
}

#[test]
fn what_was_sent_before_the_end_still_arrives() {
    let path = Path {
        loss_per_mille: 200,
        ..Path::new(20)
    };
    for seed in 0..20 {
        let mut net = Net::new(seed, Path::new(20), 2);
        let (ours, theirs) = net.connect(0, 1);
        net.path = path;
        net.send(0, ours, bytes(4, 9000));
        // What still waits for room in the window is given up, as with a socket.
        let sent = 9000 - net.sides[0].of(ours).queued();
        net.tell(0, Output::Close { stream: ours });
        net.pass(Duration::from_secs(60));
        let gone = net.sides[1]
            .lost
            .iter()
            .any(|(stream, _)| *stream == theirs);
        if gone && net.sides[1].lost[0].1 == LostReason::HungUp {
            let got = net.sides[1].got.get(&theirs).cloned().unwrap_or_default();
            assert!(
                got.len() >= sent && got == bytes(4, 9000)[..got.len()],
                "seed {seed}"
            );
        }
        assert_eq!(net.sides[0].utp.counts().connections, 0, "seed {seed}");
        assert!(
            net.sides[0].lost.is_empty(),
            "who closes hears nothing of it"
        );
    }
}

#[test]
fn silence_ends_a_dial_and_a_stream() {
    let mut net = Net::new(1, Path::new(5), 2);
    let (ours, _) = net.connect(0, 1);
    net.cut = true;
    let dialled = net.dial(0, 1);
    net.pass(Duration::from_secs(10));
    assert_eq!(net.sides[0].lost, [(dialled, LostReason::TimedOut)]);
    net.send(0, ours, vec![1; 5000]);
    net.pass(Duration::from_secs(120));
    assert_eq!(net.sides[0].lost[1..], [(ours, LostReason::TimedOut)]);
    assert_eq!(net.sides[0].utp.counts().connections, 0);
    assert!(net.sides[0].timers.is_empty());
}

#[test]
fn an_outage_is_survived() {
    let mut net = Net::new(1, Path::new(50), 2);
    let (ours, theirs) = net.connect(0, 1);
    net.send(0, ours, bytes(8, 3_000_000));
    net.pass(Duration::from_millis(800));
    net.cut = true;
    net.pass(Duration::from_secs(8));
    net.cut = false;
    net.until(Duration::from_secs(60), |net| {
        net.sides[1].got.get(&theirs).map_or(0, Vec::len) == 3_000_000
    });
    assert!(net.sides[1].got[&theirs] == bytes(8, 3_000_000));
}

#[test]
fn idle_connections_cost_a_packet_in_half_a_minute() {
    let mut net = Net::new(1, Path::new(5), 2);
    let (ours, theirs) = net.connect(0, 1);
    let before = net.sides[0].datagrams_sent;
    net.pass(Duration::from_secs(290));
    assert_eq!(net.sides[0].datagrams_sent - before, 10);
    assert!(net.sides[0].lost.is_empty() && net.sides[1].lost.is_empty());
    assert!(net.sides[0].utp.carries(ours) && net.sides[1].utp.carries(theirs));
    assert!(
        size_of::<Connection>() <= 640,
        "{}",
        size_of::<Connection>()
    );
}
