//! Strangers that do what no client does: each was a way to stop, fill or crash the engine.

use super::*;
use crate::buffer::Share;

const BLOCK: u32 = BLOCK_LENGTH;

fn leecher(total: usize, piece_length: u32) -> World {
    let mut world = World::new(total, piece_length);
    world.node(false);
    while world.step() {}
    world
}

fn request(index: u32, begin: u32) -> Request {
    Request {
        index,
        begin,
        length: BLOCK,
    }
}

/// A clamp between 2 and what the peer said it takes.
#[test]
fn a_peer_that_takes_one_request_at_a_time() {
    let mut world = leecher(200_000, 65_536);
    let told = b"d4:reqqi1ee";
    let extended = Wire::Extended {
        id: 0,
        payload: told,
    };
    let guest = world.guest(0, 1, &[extended, Wire::HaveAll, Wire::Unchoke]);
    while !world.has_all(0) {
        let asked = world.asked(0, guest);
        assert_eq!(asked.len(), 1, "one at a time");
        world.give(0, guest, asked[0], false);
        while world.step() {}
        world.pass(0, Duration::from_millis(30));
    }
}

#[test]
fn a_block_that_never_ends_is_asked_of_others() {
    for asked_for in [true, false] {
        let mut world = leecher(65_536, 65_536);
        let staller = world.guest(0, 1, &[Wire::HaveAll]);
        let head = |begin| wire::encode_piece_head(0, begin, BLOCK);
        if asked_for {
            world.say(0, staller, &[Wire::Unchoke]);
            assert_eq!(world.asked(0, staller).len(), 4);
            world.hear(0, staller, &mut head(0));
        } else {
            let good = world.guest(0, 2, &[Wire::HaveAll, Wire::Unchoke]);
            assert_eq!(world.asked(0, good).len(), 4);
            world.say(0, good, &[Wire::Choke, Wire::Reject(request(0, 0))]);
            world.hear(0, staller, &mut head(0));
            world.say(0, good, &[Wire::Unchoke]);
        }
        let good = world.guest(0, 3, &[Wire::HaveAll, Wire::Unchoke]);
        for _ in 0..50 {
            world.hear(0, staller, &mut [0]);
            for request in world.asked(0, good) {
                world.give(0, good, request, false);
            }
            world.pass(0, Duration::from_secs(1));
        }
        assert!(
            world.has_all(0),
            "asked for: {asked_for}: {:#?}",
            world.show()
        );
    }
}

/// A buffer or request from before a piece was opened again took another stream's claim: the count of free blocks wrapped.
#[test]
fn a_block_of_an_earlier_opening_changes_nothing() {
    let mut world = leecher(16_384, 16_384);
    let slow = world.guest(0, 1, &[Wire::HaveAll, Wire::Unchoke]);
    let liar = world.guest(0, 2, &[Wire::HaveAll, Wire::Unchoke]);
    assert_eq!(world.asked(0, slow), [request(0, 0)]);
    assert_eq!(world.asked(0, liar), [request(0, 0)], "the end game");
    let mut bytes = Vec::new();
    let block = world.data.clone();
    let piece = Wire::Piece {
        index: 0,
        begin: 0,
        block: &block,
    };
    piece.encode(&mut bytes);
    let (first, rest) = bytes.split_at_mut(500);
    world.hear(0, slow, first);
    world.give(0, liar, request(0, 0), true);
    world.pass(0, Duration::from_millis(100));
    assert!(world.nodes[0].closed.contains(&liar), "banned");
    let honest = world.guest(0, 3, &[Wire::HaveAll, Wire::Unchoke]);
    world.hear(0, slow, rest);
    world.give(0, honest, request(0, 0), false);
    world.pass(0, Duration::from_secs(11));
    for guest in [slow, honest] {
        for request in world.asked(0, guest) {
            world.give(0, guest, request, false);
        }
    }
    world.pass(0, Duration::from_secs(1));
    assert!(world.has_all(0), "{:#?}", world.show());
    world.settle();
}

/// Whoever is to send a suspect piece alone must send it.
#[test]
fn a_suspect_piece_is_not_kept_for_one_that_does_not_send_it() {
    for way in ["reject", "choke", "silence"] {
        let mut world = leecher(65_536, 65_536);
        let bad = world.guest(0, 1, &[Wire::HaveAll, Wire::Unchoke]);
        let asked = world.asked(0, bad);
        world.give(0, bad, asked[0], true);
        for refused in &asked[1..] {
            world.say(0, bad, &[Wire::Reject(*refused)]);
        }
        let good = world.guest(0, 2, &[Wire::HaveAll, Wire::Unchoke]);
        for request in world.asked(0, good) {
            world.give(0, good, request, false);
        }
        // The piece is wrong, by two senders. Now the bad one has it alone, and holds it up as best it can.
        world.say(0, good, &[Wire::Choke]);
        world.pass(0, Duration::from_secs(11));
        assert_eq!(world.nodes[0].engine.counters().pieces_failed, 1, "{way}");
        world.say(0, good, &[Wire::Unchoke]);
        for _ in 0..50 {
            for refused in world.asked(0, bad) {
                match way {
                    "reject" => world.say(0, bad, &[Wire::Reject(refused)]),
                    "choke" => {
                        world.say(0, bad, &[Wire::Choke, Wire::Reject(refused), Wire::Unchoke])
                    }
                    // Nor does it buy time by choking.
                    _ => world.say(0, bad, &[Wire::Choke, Wire::Unchoke]),
                }
            }
            for request in world.asked(0, good) {
                world.give(0, good, request, false);
            }
            world.say(0, bad, &[Wire::Choke, Wire::Unchoke]);
            world.pass(0, Duration::from_secs(1));
        }
        assert!(world.has_all(0), "{way}: {:#?}", world.show());
    }
}

#[test]
fn a_peer_that_never_reads_fills_nothing() {
    let mut world = World::new(4_000_000, 65_536);
    world.node(true);
    while world.step() {}
    world.nodes[0].deaf = Some(Vec::new());
    let guest = world.guest(0, 1, &[]);
    // It is choked: each request is refused, and none of the refusals is ever read.
    let requests = vec![Wire::Request(request(0, 0)); 1000];
    for _ in 0..500 {
        if world.nodes[0].held.contains_key(&guest) {
            break;
        }
        world.say(0, guest, &requests);
    }
    let queued = world.nodes[0].said[&guest].len();
    assert!(queued < 4 << 20, "{queued} bytes are queued for it");
    assert!(world.nodes[0].held.contains_key(&guest), "it is not read");
    // Another has blocks queued, and says that it lives: its blocks are wanted back.
    let alive = world.guest(0, 2, &[Wire::Interested]);
    world.pass(0, Duration::from_secs(11));
    world.say(0, alive, &vec![Wire::Request(request(0, 0)); 40]);
    while world.step() {}
    assert!(world.nodes[0].engine.shared.pool.taken() > 0);
    for _ in 0..10 {
        world.say(0, alive, &[Wire::KeepAlive]);
        world.pass(0, Duration::from_secs(30));
    }
    assert!(world.nodes[0].closed.contains(&guest) && world.nodes[0].closed.contains(&alive));
}

#[test]
fn a_liar_that_is_gone_is_banned_and_one_who_copies_a_name_bans_nobody_else() {
    let mut world = leecher(16_384, 16_384);
    let liar = world.guest(0, 1, &[Wire::HaveAll, Wire::Unchoke]);
    let asked = world.asked(0, liar);
    world.give(0, liar, asked[0], true);
    let why = LostReason::HungUp;
    world.input(0, Input::Lost { stream: liar, why });
    world.pass(0, Duration::from_secs(1));
    let table = &mut world.nodes[0].engine.table;
    let at = |last: u8| SocketAddr::from(([90, 0, 0, last], 9));
    assert!(table.is_banned(at(1)), "from whatever port");
    assert!(!table.is_banned(at(2)));
    assert!(table.is_banned_id(at(1), PeerId([1; 20])));
    assert!(
        !table.is_banned_id(at(2), PeerId([1; 20])),
        "a name can be copied"
    );
    let session = world.session(0);
    let address = at(1);
    world.tell(0, Message::PeerAdd { session, address });
    world.pass(0, Duration::from_secs(10));
    assert!(world.nodes[0].dialled.is_empty(), "nor is it dialled");
}

#[test]
fn interest_ends_with_the_download() {
    let mut world = leecher(16_384, 16_384);
    let guest = world.guest(0, 1, &[Wire::Have(0), Wire::Unchoke]);
    // Has the piece, and one that it says it has not is not a seed: it stays.
    let heard = world.heard(0, guest);
    let names: Vec<_> = heard.iter().map(|(what, _)| *what).collect();
    assert_eq!(names, ["interested", "request"]);
    let mut world = leecher(32_768, 16_384);
    let half = world.guest(0, 1, &[Wire::Have(0), Wire::Unchoke]);
    let other = world.guest(0, 2, &[Wire::Have(1), Wire::Unchoke]);
    for guest in [half, other] {
        for request in world.asked(0, guest) {
            world.give(0, guest, request, false);
        }
    }
    world.pass(0, Duration::from_secs(1));
    assert!(world.has_all(0));
    for guest in [half, other] {
        assert!(
            world
                .heard(0, guest)
                .iter()
                .any(|(what, _)| *what == "not interested")
        );
    }
}

#[test]
fn a_choke_leaves_the_piece_to_others() {
    let mut world = leecher(2 << 20, 1 << 20);
    let guest = world.guest(0, 1, &[Wire::HaveAll, Wire::Unchoke]);
    let asked = world.asked(0, guest);
    world.give(0, guest, asked[0], false);
    world.say(0, guest, &[Wire::Choke]);
    let (_, session) = world.nodes[0].engine.sessions.iter().next().expect("one");
    assert!(session.assembly.iter().all(|open| open.is_left()));
}

#[test]
fn a_new_peer_that_is_silent_is_snubbed_in_time() {
    let mut world = leecher(65_536, 65_536);
    let guest = world.guest(0, 1, &[Wire::HaveAll, Wire::Unchoke]);
    assert_eq!(world.asked(0, guest).len(), 4);
    world.pass(0, Duration::from_secs(31));
    assert_eq!(world.nodes[0].engine.counters().snubs, 1);
}

#[test]
fn picker_counts_survive_whatever_is_said_of_pieces() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut world = leecher(100_000, 16_384);
        let guests: Vec<StreamId> = (1..4).map(|last| world.guest(0, last, &[])).collect();
        for _ in 0..60 {
            let guest = guests[rng.index(guests.len())];
            let bits = [rng.draw().to_be_bytes()[0] & 0xfe];
            let index = rng.next_u32() % 7;
            let said = match rng.below(9) {
                0 => Wire::HaveAll,
                1 => Wire::HaveNone,
                2..=3 => Wire::Bitfield(&bits),
                4 => Wire::Unchoke,
                5 => Wire::Choke,
                6 => Wire::Reject(request(index, 0)),
                _ => Wire::Have(index),
            };
            world.say(0, guest, &[said]);
        }
        for stream in guests {
            let why = LostReason::Reset;
            world.input(0, Input::Lost { stream, why });
        }
        let (_, session) = world.nodes[0].engine.sessions.iter().next().expect("one");
        for piece in session.geometry().pieces() {
            assert_eq!(session.picker.availability(piece), 0, "seed {seed}");
        }
        let pool = &world.nodes[0].engine.shared.pool;
        assert_eq!(pool.taken(), 0);
        assert!(pool.room(Share::Receive) > 0);
    }
}

#[test]
fn new_addresses_take_the_place_of_dead_ones() {
    let mut world = leecher(16_384, 16_384);
    let (_, session) = world.nodes[0].engine.sessions.iter().next().expect("one");
    let swarm = session.swarm;
    let now = world.now;
    let table = &mut world.nodes[0].engine.table;
    let at = |n: u16| SocketAddr::from(([91, 0, (n >> 8) as u8, n as u8], 1));
    let add = |table: &mut super::super::table::Table, n| {
        table.link_create(at(n), swarm, super::super::table::Source::Tracker, &[], now)
    };
    for n in 0..1000 {
        assert!(add(table, n).is_ok());
    }
    assert!(
        matches!(add(table, 1000), Err(Refusal::Full)),
        "none failed"
    );
    let dead = table.link_at(at(7)).expect("there");
    let settings = world.nodes[0].engine.shared.settings.clone();
    world.nodes[0]
        .engine
        .table
        .link_failed(dead, now, 0, &settings);
    let table = &mut world.nodes[0].engine.table;
    assert!(add(table, 1000).is_ok());
    assert_eq!(table.link_at(at(7)), None, "forgotten");
}

/// Room in the process comes back without a word to the swarm that waits for it.
#[test]
fn a_swarm_that_waits_for_room_in_the_process_dials_when_there_is_some() {
    let mut config = Config::default();
    config.peer.max_links = 1;
    let mut world = World::new(16_384, 16_384);
    world.node_with(false, 1, &config);
    while world.step() {}
    let socket = SocketId(7);
    world
        .sockets
        .insert(socket, (OUTSIDE, StreamId::new(u32::MAX, 0)));
    let remote = SocketAddr::from(([90, 0, 0, 1], 50_000));
    world.input(0, Input::Incoming { socket, remote });
    let session = world.session(0);
    let address = SocketAddr::from(([91, 0, 0, 1], 1));
    world.tell(0, Message::PeerAdd { session, address });
    world.pass(0, Duration::from_secs(5));
    assert!(world.nodes[0].dialled.is_empty(), "no room");
    let stream = *world.nodes[0].said.keys().next().expect("accepted");
    let why = LostReason::HungUp;
    world.input(0, Input::Lost { stream, why });
    world.pass(0, Duration::from_secs(5));
    assert!(!world.nodes[0].dialled.is_empty());
}

/// Connections that say nothing took every place for half a minute each.
#[test]
fn silent_strangers_keep_nobody_out() {
    let mut config = Config::default();
    config.peer.max_links = 40;
    let mut world = World::new(100_000, 16_384);
    let seeder = world.node_with(true, 1, &config);
    world.pass(seeder, MINUTE);
    let friend = world.guest(seeder, 1, &[Wire::HaveNone, Wire::Interested]);
    for n in 0..500_u16 {
        let socket = SocketId(1 << 40 | u64::from(n));
        world
            .sockets
            .insert(socket, (OUTSIDE, StreamId::new(u32::MAX, 0)));
        let remote = SocketAddr::from(([91, 0, 0, 1], 1000 + n));
        world.input(seeder, Input::Incoming { socket, remote });
        let silent = world.nodes[seeder].engine.table.streams.len() - 1;
        assert_eq!(silent, usize::from(n + 1).min(10));
    }
    let late = world.guest(seeder, 2, &[Wire::HaveNone, Wire::Interested]);
    let streams = &world.nodes[seeder].engine.table.streams;
    let is_open = |id| streams.get(id).is_some_and(|one| one.session().is_some());
    assert!(is_open(friend) && is_open(late));
}
