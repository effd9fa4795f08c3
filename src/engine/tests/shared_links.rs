//! Links of swarms that sessions trade in: streams that callers hand over, swarms that change hands, dials, collisions.

use super::desk::{at, refusal};
use super::*;
use crate::config::Encryption;
use crate::engine::message::{Accounting, Carrier, Direction, Limits, LinkSummary};
use crate::ids::{ConnectionId, SwarmId};
use Direction::{Incoming, Outgoing};

impl World {
    /// Asks `node`, and takes the answer.
    fn ask(&mut self, node: usize, message: Message) -> Answer {
        self.tell(node, message);
        let (_, answer) = self.nodes[node].replies.pop().expect("answered at once");
        answer
    }

    fn swarm(&mut self, node: usize) -> SwarmId {
        let info_hash = self.metainfo.info_hash;
        match self.ask(node, Message::SwarmFind { info_hash }) {
            Answer::Swarm(swarm) => swarm,
            other => panic!("{other:?}"),
        }
    }

    fn find(&mut self, node: usize, address: SocketAddr) -> Option<LinkSummary> {
        let swarm = self.swarm(node);
        match self.ask(node, Message::LinkFind { address, swarm }) {
            Answer::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    fn uplinks_needed(&mut self, node: usize) -> (u32, u32) {
        let swarm = self.swarm(node);
        match self.ask(node, Message::LinksCount { swarm }) {
            Answer::Count(count) => (count.uplinks, count.needed),
            other => panic!("{other:?}"),
        }
    }

    /// Hands a socket over; a test speaks for its other end.
    fn adopt(
        &mut self,
        node: usize,
        address: SocketAddr,
        direction: Direction,
        swarm: Option<SwarmId>,
    ) -> Answer {
        let socket = SocketId(5000 + self.now.as_micros());
        self.sockets
            .insert(socket, (OUTSIDE, StreamId::new(u32::MAX, 0)));
        let carrier = Carrier::Socket(socket);
        let answer = self.ask(
            node,
            Message::StreamAdd {
                address,
                direction,
                swarm,
                carrier,
            },
        );
        assert!(self.sockets.is_empty(), "accepted or refused, once");
        answer
    }

    fn session_add(&mut self, node: usize) -> Answer {
        let add = SessionAdd {
            metainfo: Arc::clone(&self.metainfo),
            root: PathBuf::from("/r"),
            download: true,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        };
        self.ask(node, Message::SessionAdd(Box::new(add)))
    }

    /// Names of the link and peer events of `node` since the last call.
    fn names(&mut self, node: usize) -> Vec<&'static str> {
        let events = self.nodes[node].events.drain(..);
        let names = events.filter_map(|event| match event {
            Event::LinkEstablished(_) => Some("established"),
            Event::LinkLost(_) => Some("lost"),
            Event::LinkIgnored(_) => Some("ignored"),
            Event::PeerConnected(_) => Some("connected"),
            Event::PeerDisconnected(_) => Some("disconnected"),
            _ => None,
        });
        names.collect()
    }
}

fn leecher() -> World {
    let mut world = World::new(100_000, 16_384);
    world.node(false);
    while world.step() {}
    world
}

fn handshake(world: &World, peer_id: u8) -> Vec<u8> {
    let handshake = Handshake {
        features: Features {
            fast: true,
            extended: true,
            dht: false,
        },
        info_hash: world.metainfo.info_hash,
        peer_id: PeerId([peer_id; 20]),
    };
    handshake.encode().to_vec()
}

#[test]
fn an_incoming_socket_that_a_caller_hands_over_carries_a_swarm_like_any_other() {
    let mut world = leecher();
    let Answer::Stream(stream) = world.adopt(0, at(1), Incoming, None) else {
        panic!("it is taken");
    };
    assert!(world.nodes[0].said[&stream].is_empty(), "they speak first");
    let mut hello = handshake(&world, 9);
    world.hear(0, stream, &mut hello);
    let ours = &world.nodes[0].said[&stream];
    assert!(ours.starts_with(b"\x13BitTorrent"));
    assert_eq!(world.names(0), ["established", "connected"]);
    assert!(world.find(0, at(1)).is_some_and(|link| link.member));
    world.say(0, stream, &[Wire::HaveAll, Wire::Unchoke]);
    let asked = world.asked(0, stream);
    assert!(!asked.is_empty(), "it is traded with");
    for request in asked {
        world.give(0, stream, request, false);
        while world.step() {}
    }
    world.until("the rest", MINUTE, |world| world.has_all(0));
}

#[test]
fn an_outgoing_socket_speaks_first_and_waits_for_its_own_swarm() {
    let mut world = leecher();
    let swarm = world.swarm(0);
    let unknown = world.adopt(0, at(1), Outgoing, Some(swarm));
    assert_eq!(refusal(&unknown), Some(Refusal::UnknownLink));
    let address = at(1);
    world.ask(0, Message::LinkCreate { address, swarm });
    let of_what = world.adopt(0, at(1), Outgoing, None);
    assert_eq!(refusal(&of_what), Some(Refusal::UnknownSwarm));
    let Answer::Stream(stream) = world.adopt(0, at(1), Outgoing, Some(swarm)) else {
        panic!("it is taken");
    };
    assert!(world.nodes[0].said[&stream].starts_with(b"\x13BitTorrent"));
    // Not dialled beside it.
    world.pass(0, Duration::from_secs(5));
    assert!(world.nodes[0].dialled.is_empty());
    let mut hello = handshake(&world, 9);
    world.hear(0, stream, &mut hello);
    assert_eq!(world.names(0), ["established", "connected"]);
    let required = Config::default().links.min_per_swarm;
    assert_eq!(world.uplinks_needed(0), (1, required - 1));
    let again = world.adopt(0, at(1), Outgoing, Some(swarm));
    assert_eq!(refusal(&again), Some(Refusal::AlreadyConnected));
}

#[test]
fn a_socket_is_refused_where_nobody_would_answer_it() {
    let mut world = leecher();
    let info_hash = InfoHash([9; 20]);
    let links_min = 0;
    let answer = world.ask(
        0,
        Message::SwarmAdd {
            info_hash,
            links_min,
        },
    );
    let Answer::Swarm(bare) = answer else {
        panic!("{answer:?}");
    };
    let answer = world.adopt(0, at(1), Incoming, Some(bare));
    assert_eq!(refusal(&answer), Some(Refusal::WrongState));
    // Nor is a stranger who names it on a socket of his own.
    let mut hello = handshake(&world, 9);
    hello[28..48].copy_from_slice(&info_hash.0);
    let Answer::Stream(stream) = world.adopt(0, at(1), Incoming, None) else {
        panic!("it is taken");
    };
    world.hear(0, stream, &mut hello);
    assert_eq!(world.nodes[0].closed, [stream]);
}

#[test]
fn a_session_takes_a_bare_swarm_over_with_its_links_and_leaves_it_behind() {
    let mut world = leecher();
    let session = world.session(0);
    let own = world.swarm(0);
    world.ask(
        0,
        Message::StreamAdd {
            address: at(7),
            direction: Incoming,
            swarm: Some(own),
            carrier: Carrier::Outside(ConnectionId(7)),
        },
    );
    world.tell(0, Message::SessionRemove { session });
    while world.step() {}
    let info_hash = world.metainfo.info_hash;
    let gone = world.ask(0, Message::SwarmFind { info_hash });
    assert_eq!(
        refusal(&gone),
        Some(Refusal::UnknownSwarm),
        "what a session made goes with it"
    );
    let links_min = 1;
    world.ask(
        0,
        Message::SwarmAdd {
            info_hash,
            links_min,
        },
    );
    let swarm = world.swarm(0);
    let address = at(1);
    world.ask(0, Message::LinkCreate { address, swarm });
    world.ask(
        0,
        Message::StreamAdd {
            address: at(2),
            direction: Incoming,
            swarm: None,
            carrier: Carrier::Outside(ConnectionId(1)),
        },
    );
    let (address, verdict) = (at(2), Accounting::Member);
    world.ask(
        0,
        Message::Account {
            address,
            swarm,
            verdict,
        },
    );
    assert!(world.nodes[0].dialled.is_empty(), "it dials nobody");
    let Answer::Session(session) = world.session_add(0) else {
        panic!("it is bare");
    };
    assert_eq!(world.swarm(0), swarm);
    let duplicate = world.session_add(0);
    assert_eq!(refusal(&duplicate), Some(Refusal::Duplicate(session)));
    let in_use = world.ask(0, Message::SwarmRemove { swarm });
    assert_eq!(refusal(&in_use), Some(Refusal::InUse(session)));
    while world.step() {}
    assert_eq!(world.nodes[0].dialled, [at(1)], "its links are there");
    assert!(world.find(0, at(2)).is_some_and(|link| link.member));
    world.tell(0, Message::SessionRemove { session });
    while world.step() {}
    assert_eq!(world.swarm(0), swarm, "it stays");
    assert!(world.find(0, at(2)).is_some_and(|link| link.member));
    assert!(matches!(
        world.ask(0, Message::SwarmCondition { swarm }),
        Answer::Condition(true)
    ));
    let removed = world.ask(0, Message::SwarmRemove { swarm });
    assert!(matches!(removed, Answer::Done));
    assert!(world.nodes[0].engine.table.links.is_empty());
}

#[test]
fn a_pause_is_not_a_switch_and_either_keeps_a_swarm_off() {
    let mut world = leecher();
    let (session, swarm) = (world.session(0), world.swarm(0));
    let on = |world: &mut World| {
        let answer = world.ask(0, Message::SwarmCondition { swarm });
        matches!(answer, Answer::Condition(true))
    };
    assert!(on(&mut world));
    world.ask(0, Message::SessionPause { session });
    assert!(!on(&mut world));
    world.ask(0, Message::SwarmSwitch { swarm, on: false });
    world.ask(0, Message::SessionResume { session });
    assert!(!on(&mut world));
    let address = at(1);
    world.ask(0, Message::Pin { address, swarm });
    assert!(world.nodes[0].dialled.is_empty());
    world.ask(0, Message::SwarmSwitch { swarm, on: true });
    assert!(on(&mut world));
    assert_eq!(world.nodes[0].dialled, [at(1)], "at once");
}

#[test]
fn a_swarm_that_is_switched_off_lets_its_peers_go_and_takes_none() {
    let mut world = leecher();
    let swarm = world.swarm(0);
    let stream = world.guest(0, 1, &[]);
    // The same link serves another swarm, which does not notice (requirement D25).
    let address = SocketAddr::from(([90, 0, 0, 1], 50_000));
    let (info_hash, links_min) = (InfoHash([9; 20]), 0);
    let answer = world.ask(
        0,
        Message::SwarmAdd {
            info_hash,
            links_min,
        },
    );
    let Answer::Swarm(other) = answer else {
        panic!("{answer:?}");
    };
    world.ask(
        0,
        Message::StreamAdd {
            address,
            direction: Incoming,
            swarm: None,
            carrier: Carrier::Outside(ConnectionId(1)),
        },
    );
    let verdict = Accounting::Member;
    world.ask(
        0,
        Message::Account {
            address,
            swarm: other,
            verdict,
        },
    );
    world.names(0);
    world.ask(0, Message::SwarmSwitch { swarm, on: false });
    assert_eq!(world.nodes[0].closed, [stream]);
    assert_eq!(world.names(0), ["disconnected"], "the link is still up");
    let late = world.guest(0, 2, &[]);
    assert_eq!(world.nodes[0].closed, [stream, late]);
    let answer = world.ask(
        0,
        Message::LinkFind {
            address,
            swarm: other,
        },
    );
    assert!(matches!(answer, Answer::Found(Some(link)) if link.member));
}

#[test]
fn pinned_peers_are_dialled_first_and_never_dropped() {
    let mut world = leecher();
    let swarm = world.swarm(0);
    world.ask(0, Message::SwarmSwitch { swarm, on: false });
    for n in 1..=50 {
        let address = at(n);
        world.ask(0, Message::LinkCreate { address, swarm });
    }
    let address = at(99);
    world.ask(0, Message::Pin { address, swarm });
    world.ask(0, Message::SwarmSwitch { swarm, on: true });
    assert_eq!(world.nodes[0].dialled[0], at(99));
    world.pass(0, 60 * MINUTE);
    assert!(world.find(0, at(99)).is_some_and(|link| link.pinned));
    let dials = |address| {
        let dialled = &world.nodes[0].dialled;
        dialled.iter().filter(|&&to| to == address).count()
    };
    assert!(dials(at(99)) >= 60, "at least once a minute");
    // Three in a row, then one attempt every 900 s (requirement D19).
    assert!((6..=7).contains(&dials(at(1))), "{}", dials(at(1)));
}

#[test]
fn a_person_who_names_an_ignored_address_has_it_dialled() {
    let mut world = leecher();
    let swarm = world.swarm(0);
    let address = at(1);
    world.ask(0, Message::LinkCreate { address, swarm });
    world.pass(0, 5 * MINUTE);
    assert!(
        world
            .find(0, at(1))
            .is_some_and(|link| link.state == "ignored")
    );
    let before = world.nodes[0].dialled.len();
    world.ask(0, Message::Pin { address, swarm });
    assert_eq!(world.nodes[0].dialled.len(), before + 1);
}

#[test]
fn a_link_added_to_a_swarm_at_work_is_dialled_at_the_next_tick() {
    let mut world = leecher();
    let swarm = world.swarm(0);
    world.pass(0, MINUTE);
    for n in 1..=3 {
        let address = at(n);
        world.ask(0, Message::LinkCreate { address, swarm });
    }
    world.pass(0, Duration::from_secs(1));
    assert_eq!(world.nodes[0].dialled.len(), 3);
}

#[test]
fn a_peer_that_comes_and_goes_is_left_alone() {
    let mut world = leecher();
    world.node(true);
    while world.step() {}
    let swarm = world.swarm(0);
    let address = world.nodes[1].address;
    world.ask(0, Message::LinkCreate { address, swarm });
    for _ in 0..2 {
        world.until("a stream", MINUTE, |world| {
            world.nodes[0].streams.len() == 1
                && world.nodes[0].engine.counters().links_established == 1
        });
        for node in [1, 0] {
            let streams = std::mem::take(&mut world.nodes[node].streams);
            let stream = *streams.keys().next().expect("one");
            let why = LostReason::Reset;
            world.input(node, Input::Lost { stream, why });
        }
    }
    let found = world.find(0, address).expect("still known");
    assert_eq!(found.state, "ignored");
    assert_eq!(world.names(0).last(), Some(&"ignored"));
    let answer = world.ask(0, Message::IgnoredShow { swarm });
    assert!(
        matches!(&answer, Answer::Ignored { addresses, .. } if addresses[0].why == "unstable"),
        "{answer:?}"
    );
}

#[test]
fn limits_move_while_running() {
    let mut world = leecher();
    let limits = |links_max, swarm_links_max, upload_slots| {
        Message::LimitsSet(Limits {
            links_max,
            swarm_links_max,
            upload_slots,
        })
    };
    let stream = world.guest(0, 1, &[]);
    world.ask(0, limits(Some(1), None, None));
    assert!(world.nodes[0].closed.is_empty(), "nobody is cut off");
    let full = world.adopt(0, at(1), Incoming, None);
    assert_eq!(refusal(&full), Some(Refusal::Full));
    // Those who wait for room dial as soon as there is some.
    let swarm = world.swarm(0);
    let address = at(2);
    world.ask(0, Message::Pin { address, swarm });
    assert!(world.nodes[0].dialled.is_empty());
    world.ask(0, limits(Some(9), None, None));
    world.pass(0, Duration::from_secs(1));
    assert!(world.nodes[0].dialled.contains(&at(2)));
    world.ask(0, limits(None, Some(1), None));
    let late = world.guest(0, 2, &[]);
    assert_eq!(world.nodes[0].closed, [late]);
    // A torrent's own limit goes before that of all.
    let own = |world: &mut World, limit| {
        let id = world.session(0);
        let session = world.nodes[0].engine.sessions.get_mut(id);
        session.expect("there").entry.peer_limit = limit;
    };
    world.ask(0, limits(None, Some(9), None));
    own(&mut world, 1);
    let late = world.guest(0, 4, &[]);
    assert_eq!(world.nodes[0].closed.last(), Some(&late));
    world.ask(0, limits(None, Some(1), None));
    own(&mut world, 2);
    world.guest(0, 5, &[]);
    assert_eq!(world.nodes[0].closed.last(), Some(&late));
    own(&mut world, 0);
    // One slot, and two who want it.
    world.ask(0, limits(None, Some(9), Some(1)));
    let second = world.guest(0, 3, &[]);
    for stream in [stream, second] {
        world.say(0, stream, &[Wire::Interested]);
    }
    let unchoked = |world: &World| {
        let streams = world.nodes[0].engine.table.streams.iter();
        let peers = streams.filter_map(|(_, stream)| stream.peer());
        peers.filter(|peer| !peer.choked).count()
    };
    assert_eq!(unchoked(&world), 1);
    world.ask(0, limits(None, None, Some(2)));
    world.pass(0, Duration::from_secs(11));
    assert_eq!(unchoked(&world), 2);
}

/// We dial an address, and the peer there dials us from it.
#[test]
fn of_two_streams_on_one_link_one_stays_and_nothing_is_seen_of_it() {
    // The stream stays that the higher peer-id dialled; ours begins with `-`.
    for (name, peer_id, ours_stays) in [("they are higher", 200, false), ("we are", 1, true)] {
        for outgoing_first in [true, false] {
            let mut world = leecher();
            world.nodes[0].engine.shared.settings.encryption = Encryption::Off;
            let address = SocketAddr::from(([90, 0, 0, peer_id], 50_000));
            let swarm = world.swarm(0);
            world.ask(0, Message::Pin { address, swarm });
            world.queue.clear();
            let record = world.nodes[0].engine.table.swarms.get(swarm);
            let ours = record.expect("there").opening[0];
            world.nodes[0].said.insert(ours, Vec::new());
            world.input(0, Input::Connected { stream: ours });
            let mut hello = handshake(&world, peer_id);
            if outgoing_first {
                world.hear(0, ours, &mut hello.clone());
            }
            // With its handshake.
            let socket = SocketId(9);
            world
                .sockets
                .insert(socket, (OUTSIDE, StreamId::new(u32::MAX, 0)));
            let before: Vec<StreamId> = world.nodes[0].said.keys().copied().collect();
            let remote = address;
            world.input(0, Input::Incoming { socket, remote });
            let is_new = |id: &&StreamId| !before.contains(id);
            let theirs = *world.nodes[0].said.keys().find(is_new).expect("accepted");
            world.hear(0, theirs, &mut hello.clone());
            if !outgoing_first {
                world.hear(0, ours, &mut hello);
            }
            let (goes, stays) = if ours_stays {
                (theirs, ours)
            } else {
                (ours, theirs)
            };
            assert_eq!(world.nodes[0].closed, [goes], "{name}");
            assert_eq!(world.names(0), ["established", "connected"], "{name}");
            let found = world.find(0, address).expect("there");
            let direction = Direction::of(ours_stays);
            assert_eq!((found.member, found.direction), (true, direction));
            let why = LostReason::HungUp;
            world.input(0, Input::Lost { stream: stays, why });
            assert_eq!(world.names(0), ["disconnected", "lost"], "{name}");
        }
    }
}

/// Requirement D26: whatever stage a stream is in, its swarm may go, and what comes late finds nothing.
#[test]
fn a_swarm_goes_while_handshakes_are_in_flight() {
    let mut world = leecher();
    let (session, swarm) = (world.session(0), world.swarm(0));
    let open = world.guest(0, 1, &[]);
    let Answer::Stream(silent) = world.adopt(0, at(1), Incoming, None) else {
        panic!("it is taken");
    };
    let Answer::Stream(named) = world.adopt(0, at(2), Incoming, Some(swarm)) else {
        panic!("it is taken");
    };
    for n in [3, 4] {
        let address = at(n);
        world.ask(0, Message::Pin { address, swarm });
    }
    let dials = world.nodes[0].engine.table.swarms.get(swarm);
    let dials = dials.expect("there").opening.clone();
    world.queue.clear();
    world.nodes[0].said.insert(dials[0], Vec::new());
    world.input(0, Input::Connected { stream: dials[0] });
    world.tell(0, Message::SessionRemove { session });
    while world.step() {}
    let mut closed = world.nodes[0].closed.clone();
    closed.sort_unstable();
    let mut want = vec![open, named, dials[0], dials[1]];
    want.sort_unstable();
    assert_eq!(closed, want, "but for the one that may be anybody's");
    // Late words, late verdicts, late news.
    let mut hello = handshake(&world, 9);
    for stream in [open, named, dials[0], silent] {
        world.hear(0, stream, &mut hello.clone());
    }
    world.input(0, Input::Connected { stream: dials[1] });
    let why = LostReason::Reset;
    world.input(0, Input::Lost { stream: open, why });
    let (address, verdict) = (at(1), Accounting::Member);
    world.ask(
        0,
        Message::Account {
            address,
            swarm,
            verdict,
        },
    );
    assert_eq!(world.nodes[0].closed.last(), Some(&silent));
    let links = &world.nodes[0].engine.table.links;
    assert!(links.is_empty(), "{links:?}");
    world.hear(0, silent, &mut hello);
}

/// A copied peer-id from another address does not touch the stream that is there.
#[test]
fn a_copied_name_evicts_nobody() {
    let mut world = leecher();
    let real = world.guest(0, 1, &[]);
    world.names(0);
    let Answer::Stream(copy) = world.adopt(0, at(1), Incoming, None) else {
        panic!("it is taken");
    };
    let mut hello = handshake(&world, 1);
    world.hear(0, copy, &mut hello);
    assert_eq!(world.nodes[0].closed, [copy]);
    assert!(world.names(0).is_empty());
    assert!(world.nodes[0].engine.table.streams.get(real).is_some());
}

/// The end of a stream that another is about to replace is told only when that one fails.
#[test]
fn what_is_lost_and_not_replaced_is_told_after_all() {
    let mut world = leecher();
    // They dial us, we dial them; they break theirs off because ours stays, and then ours never says a word.
    let theirs = world.guest(0, 200, &[]);
    let swarm = world.swarm(0);
    let address = SocketAddr::from(([90, 0, 0, 200], 6881));
    world.ask(0, Message::Pin { address, swarm });
    world.queue.clear();
    let record = world.nodes[0].engine.table.swarms.get(swarm);
    let ours = record.expect("there").opening[0];
    world.nodes[0].said.insert(ours, Vec::new());
    world.input(0, Input::Connected { stream: ours });
    world.names(0);
    let why = LostReason::HungUp;
    world.input(
        0,
        Input::Lost {
            stream: theirs,
            why,
        },
    );
    assert_eq!(world.names(0), ["lost"], "the address, not yet the peer");
    world.pass(0, Duration::from_secs(31));
    assert_eq!(world.names(0), ["disconnected"]);
}
