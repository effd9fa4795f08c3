//! A thousand nodes find each other, through churn and liars; and a swarm that knows the DHT alone.

use super::*;
use crate::sim::stage::{Role, Stage};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn hash(n: u8) -> InfoHash {
    InfoHash(crate::hash::sha1(&[n]))
}

/// A network of `count` that have found their places.
fn network(seed: u64, count: usize) -> Network {
    let mut network = Network::new(seed);
    network.loss = 50;
    let first = network.join(None);
    for _ in 1..count {
        network.join(Some(first));
        network.run_for(Duration::from_millis(50));
    }
    network.run_for(2 * MINUTE);
    network
}

#[test]
fn a_thousand_nodes_find_peers_through_churn_and_liars() {
    let count = 1000;
    let mut network = network(1, count);
    let mut known: Vec<_> = (0..count).map(|index| network.known(index)).collect();
    known.sort_unstable();
    assert!(known[10] >= 20, "nearly all know some: {:?}", &known[..20]);
    assert!(known[count - 1] < 300, "nobody knows all");

    // Announced by ten, found by ten others.
    let before = network.sent();
    for n in 0..10_u8 {
        network.search(100 + usize::from(n), hash(n), Some(7000));
    }
    network.run_for(10 * SECOND);
    for n in 0..10_u8 {
        let told = network.found(100 + usize::from(n), hash(n)).told;
        assert!(told >= 6, "{n}: {told}");
        network.search(900 + usize::from(n), hash(n), None);
    }
    network.run_for(10 * SECOND);
    for n in 0..10_u8 {
        let finds = network.found(900 + usize::from(n), hash(n));
        let want = SocketAddr::new(network.address(100 + usize::from(n)).ip(), 7000);
        assert_eq!(finds.peers.into_iter().collect::<Vec<_>>(), [want], "{n}");
    }
    let each = (network.sent() - before) / 20;
    assert!(
        each < 400,
        "datagrams for each, upkeep of all among them: {each}"
    );

    // A third goes, as many come, and the liars surround a torrent before it is announced again.
    let place = hash(77);
    for index in (200..800).step_by(2) {
        network.leave(index);
    }
    network.surround(NodeId(place.0), 300, 10);
    for _ in 0..300 {
        network.join(Some(0));
        network.run_for(Duration::from_millis(50));
    }
    // Somebody believes each of them: they ask, and are taken for what they say.
    network.run_for(3 * MINUTE);
    let (seeder, leecher) = (150, 950);
    network.search(seeder, place, Some(7001));
    network.run_for(30 * SECOND);
    let told = network.found(seeder, place).told;
    assert!(told >= 6, "{told}");
    network.search(leecher, place, None);
    network.run_for(30 * SECOND);
    let peers = network.found(leecher, place).peers;
    assert!(peers.contains(&SocketAddr::new(network.address(seeder).ip(), 7001)));
    assert_eq!(network.lied_to, 0, "nobody stores with a liar");
}

/// Liars that answer from the very beginning, and are named by the node that everybody begins with.
#[test]
fn liars_at_the_door_do_not_cut_a_node_off() {
    let mut network = network(2, 120);
    let place = hash(5);
    network.surround(NodeId(place.0), 200, 8);
    let door = network.address(network.addresses.len() - 1);
    // Everybody is told of a liar, as if it were a peer's node.
    for index in 0..120 {
        if let Resident::Honest(dht) = &mut network.residents[index] {
            dht.suggest(door);
            dht.routers_are(Instant::ZERO, &[door]);
        }
        network.turn(index);
    }
    network.run_for(5 * MINUTE);
    for index in 0..120 {
        let (known, liars) = (network.known(index), network.liars_known(index));
        assert!(liars * 4 <= known, "{index}: {liars} of {known}");
    }
    network.search(30, place, Some(7001));
    network.run_for(30 * SECOND);
    network.search(90, place, None);
    network.run_for(30 * SECOND);
    let finds = network.found(90, place);
    assert!(
        finds
            .peers
            .contains(&SocketAddr::new(network.address(30).ip(), 7001))
    );
    assert_eq!(network.lied_to, 0);
}

#[test]
fn the_same_seed_is_the_same_network() {
    let run = || {
        let mut network = network(3, 60);
        network.search(7, hash(1), Some(1));
        network.run_for(MINUTE);
        (network.sent(), network.remember(9))
    };
    assert_eq!(run(), run());
}

#[test]
fn a_swarm_that_knows_the_dht_alone_trades() {
    let mut stage = Stage::new(4, Duration::from_millis(30), 400_000);
    let role = |seeder| Role {
        seeder,
        dht: true,
        ..Role::default()
    };
    let all: Vec<_> = (0..6).map(|node| stage.add(&role(node == 3))).collect();
    stage.run_for(300 * SECOND);
    for node in all {
        let completed = stage.told(node, "session.completed");
        assert_eq!(completed, 1, "machine {node}");
    }
    assert_eq!(stage.announces(), 0);
}

#[test]
fn who_is_not_in_the_dht_is_not_found_by_it() {
    let mut stage = Stage::new(5, Duration::from_millis(30), 100_000);
    let router = stage.add(&Role {
        dht: true,
        ..Role::default()
    });
    let seeder = stage.add(&Role {
        seeder: true,
        ..Role::default()
    });
    let leecher = stage.add(&Role {
        dht: true,
        ..Role::default()
    });
    stage.run_for(300 * SECOND);
    assert_eq!(stage.told(leecher, "session.completed"), 0);
    assert_eq!(stage.established(seeder), 0);
    assert!(stage.established(router) > 0, "the other two have met");
}
