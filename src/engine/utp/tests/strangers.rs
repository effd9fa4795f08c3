//! What strangers send: forged packets, floods, nonsense.

use super::*;
use crate::codec::utp::{self, Header, Kind};

fn packet(
    kind: Kind,
    connection: u16,
    sequence: u16,
    acknowledged: u16,
    payload: &[u8],
) -> Vec<u8> {
    let header = Header {
        kind,
        connection,
        timestamp: 1,
        delay: 1,
        window: 1 << 20,
        sequence,
        acknowledged,
    };
    let mut bytes = Vec::new();
    utp::encode(&header, &[], 0, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn who_lies_about_his_address_never_becomes_a_stream() {
    let mut net = Net::new(1, Path::new(5), 2);
    let mut rng = Rng::new(9);
    for round in 0..20_000_u32 {
        let from = SocketAddr::from(([10, 9, 8, 7], u16::try_from(1 + rng.below(60_000)).unwrap()));
        let draw = |rng: &mut Rng| u16::try_from(rng.below(1 << 16)).unwrap();
        let (id, number) = (draw(&mut rng), draw(&mut rng));
        net.arrive(1, from, &packet(Kind::Syn, id, number, 0, b""));
        // Data without having seen our answer: the number it must acknowledge is a guess.
        let guess = draw(&mut rng);
        if guess != 7 {
            net.arrive(
                1,
                from,
                &packet(
                    Kind::Data,
                    id.wrapping_add(1),
                    number.wrapping_add(1),
                    guess,
                    b"x",
                ),
            );
        }
        net.now += Duration::from_micros(u64::from(round % 100));
    }
    net.after(1);
    assert!(
        net.sides[1].accepted.len() <= 3,
        "one in 65536 guesses right"
    );
    net.sides[1].utp.check();
    // Honest ones come through meanwhile.
    net.pass(Duration::from_secs(2));
    net.connect(0, 1);
}

#[test]
fn forged_resets_and_acknowledgements_do_no_harm() {
    let mut net = Net::new(1, Path::new(5), 2);
    let (ours, theirs) = net.connect(0, 1);
    let id = net.sides[0].of(ours).receive_id();
    let real = net.sides[0].of(ours).numbers();
    net.send(0, ours, bytes(1, 50_000));
    let from = net.sides[1].address;
    let mut resets = 0;
    for number in 0..=u16::MAX {
        // All but those around what is under way.
        if number.wrapping_sub(real.0).wrapping_add(100) > 400 {
            net.arrive(0, from, &packet(Kind::Reset, id, 1, number, b""));
            net.arrive(0, from, &packet(Kind::State, id, 1, number, b""));
            resets += 1;
        }
    }
    assert!(resets > 65_000);
    // Right numbers, wrong address.
    let stranger = SocketAddr::from(([10, 1, 1, 1], 6881));
    net.arrive(0, stranger, &packet(Kind::Reset, id, 1, real.0, b""));
    assert!(net.sides[0].lost.is_empty());
    net.until(Duration::from_secs(10), |net| {
        net.sides[1].got.get(&theirs).map_or(0, Vec::len) == 50_000
    });
    assert!(net.sides[1].got[&theirs] == bytes(1, 50_000));
    // The real one is believed.
    net.arrive(
        0,
        from,
        &packet(Kind::Reset, id, 1, net.sides[0].of(ours).numbers().0, b""),
    );
    assert_eq!(net.sides[0].lost, [(ours, LostReason::Reset)]);
}

#[test]
fn packets_far_ahead_are_not_kept() {
    let mut net = Net::new(1, Path::new(5), 2);
    let (_, theirs) = net.connect(0, 1);
    let id = net.sides[1].of(theirs).receive_id();
    let (_, last) = net.sides[1].of(theirs).numbers();
    let from = net.sides[0].address;
    for ahead in 2..=u16::MAX {
        let acknowledged = net.sides[1].of(theirs).numbers().0.wrapping_sub(1);
        net.arrive(
            1,
            from,
            &packet(
                Kind::Data,
                id,
                last.wrapping_add(ahead),
                acknowledged,
                &[7; 1400],
            ),
        );
    }
    let held = net.sides[1].of(theirs).held();
    assert!(
        held <= super::super::incoming::WINDOW && held > 1_000_000,
        "{held}"
    );
    net.after(1);
}

#[test]
fn no_connection_answers_with_a_reset_and_not_too_often() {
    let mut net = Net::new(1, Path::new(5), 2);
    let from = net.sides[0].address;
    for number in 0..10_000 {
        net.arrive(1, from, &packet(Kind::Data, 77, number, 0, b"x"));
        net.arrive(1, from, &packet(Kind::State, 77, number, 0, b""));
        net.arrive(1, from, &packet(Kind::Reset, 77, number, 0, b""));
    }
    net.after(1);
    assert_eq!(net.sides[1].datagrams_sent, 100);
}

#[test]
fn a_storm_of_dials_is_answered_in_time_and_bounded() {
    let mut net = Net::new(1, Path::new(5), 2);
    let streams: Vec<StreamId> = (0..3000).map(|_| net.dial(0, 1)).collect();
    net.pass(Duration::from_secs(8));
    let connected = net.sides[0].connected.len();
    assert!(
        connected >= 1000 && connected <= streams.len(),
        "{connected}"
    );
    for &stream in &net.sides[0].connected.clone() {
        net.send(0, stream, vec![1; 68]);
    }
    net.pass(Duration::from_secs(2));
    let accepted = net.sides[1].accepted.len();
    assert!(accepted >= 1000, "{accepted}");
}

#[test]
fn nonsense_is_survived() {
    let mut net = Net::new(1, Path::new(5), 2);
    let (ours, theirs) = net.connect(0, 1);
    let id = net.sides[1].of(theirs).receive_id();
    let from = net.sides[0].address;
    let mut rng = Rng::new(77);
    for _ in 0..30_000 {
        let (next, last) = match net.sides[1].utp.of(theirs) {
            Some(one) => one.numbers(),
            None => break,
        };
        let mut bytes = vec![0; 20 + rng.index(60)];
        rng.fill(&mut bytes);
        // Near enough to be believed in part.
        bytes[0] = [0x01, 0x11, 0x21, 0x01, 0x21][rng.index(5)];
        bytes[1] = u8::try_from(rng.below(3)).unwrap();
        bytes[2..4].copy_from_slice(&id.to_be_bytes());
        let near = |rng: &mut Rng, to: u16| {
            to.wrapping_add(u16::try_from(rng.below(9)).unwrap())
                .wrapping_sub(4)
        };
        bytes[16..18].copy_from_slice(&near(&mut rng, last).to_be_bytes());
        bytes[18..20].copy_from_slice(&near(&mut rng, next).to_be_bytes());
        if bytes.len() > 21 {
            bytes[21] = u8::try_from(rng.below(20)).unwrap();
        }
        net.arrive(1, from, &bytes);
        if rng.chance(1, 5) {
            net.send(0, ours, vec![3; rng.index(3000)]);
        }
        net.after(1);
    }
    net.pass(Duration::from_secs(200));
}
