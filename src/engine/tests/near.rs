//! Local service discovery: who is told, who is heard, how often.

use super::*;
use crate::codec::lsd::Search;

/// A node that tells its network.
fn near(world: &mut World, whole: bool) -> usize {
    let mut config = quiet();
    config.discovery.lsd = true;
    let index = world.nodes.len() as u64;
    world.node_with(whole, index, &config)
}

fn searches(world: &mut World, node: usize) -> Vec<Vec<u8>> {
    let sent = std::mem::take(&mut world.nodes[node].datagrams);
    let groups = sent.into_iter().filter(|(to, _)| to.ip().is_multicast());
    groups.map(|(_, bytes)| bytes).collect()
}

fn heard(world: &mut World, node: usize, from: SocketAddr, bytes: &[u8]) {
    let bytes = &mut bytes.to_vec()[..];
    world.input(node, Input::Datagram { from, bytes });
}

/// Whatever was said to the group comes to everybody, who said it included.
fn relay(world: &mut World) {
    for from in 0..world.nodes.len() {
        let mut address = world.nodes[from].address;
        address.set_port(6771);
        for bytes in searches(world, from) {
            for to in 0..world.nodes.len() {
                heard(world, to, address, &bytes);
            }
        }
    }
}

fn said(world: &World, node: usize) -> usize {
    let sent = world.nodes[node].datagrams.iter();
    sent.filter(|(to, _)| to.ip().is_multicast()).count()
}

#[test]
fn peers_of_one_network_find_each_other() {
    let mut world = World::new(100_000, 16384);
    let seeder = near(&mut world, true);
    let leecher = near(&mut world, false);
    let both = |world: &World| said(world, seeder) > 0 && said(world, leecher) > 0;
    world.until("both to search", MINUTE, both);
    relay(&mut world);
    world.until("a download", MINUTE, |world| world.has_all(leecher));
    world.settle();
}

#[test]
fn a_torrent_is_named_once_in_five_minutes() {
    let mut world = World::new(100_000, 16384);
    let seeder = near(&mut world, true);
    let start = world.now;
    world.until("half an hour", 40 * MINUTE, |world| {
        world.now.since(start) >= 30 * MINUTE
    });
    let searches = searches(&mut world, seeder);
    assert!((6..=7).contains(&searches.len()), "{}", searches.len());
    let search = Search::decode(&searches[0]).unwrap();
    assert_eq!(
        (search.port, search.hashes),
        (6881, vec![world.metainfo.info_hash])
    );
}

#[test]
fn private_torrents_are_neither_named_nor_heard_of() {
    let mut world = World::new(100_000, 16384);
    Arc::get_mut(&mut world.metainfo).unwrap().private = true;
    let leecher = near(&mut world, false);
    let start = world.now;
    world.until("ten minutes", 20 * MINUTE, |world| {
        world.now.since(start) >= 10 * MINUTE
    });
    assert_eq!(said(&world, leecher), 0);
    let search = Search {
        port: 7000,
        hashes: vec![world.metainfo.info_hash],
        cookie: String::new(),
    };
    heard(
        &mut world,
        leecher,
        "10.0.0.9:6771".parse().unwrap(),
        &search.encode(false),
    );
    assert_eq!(world.nodes[leecher].engine.links().count(), 0);
}

#[test]
fn a_flood_of_searches_makes_a_bounded_number_of_links() {
    let mut world = World::new(100_000, 16384);
    let leecher = near(&mut world, false);
    world.until("it to trade", MINUTE, |world| said(world, leecher) > 0);
    for n in 0..2000 {
        let search = Search {
            port: 1000 + n,
            hashes: vec![world.metainfo.info_hash, InfoHash([9; 20])],
            cookie: "x".to_owned(),
        };
        heard(
            &mut world,
            leecher,
            "10.0.0.9:6771".parse().unwrap(),
            &search.encode(false),
        );
    }
    assert_eq!(world.nodes[leecher].engine.links().count(), 50);
    let received = world.nodes[leecher].engine.counters().lsd_received;
    assert_eq!(received, 50);
}

#[test]
fn switched_off_it_says_and_hears_nothing() {
    let mut world = World::new(100_000, 16384);
    let node = world.node(false);
    let start = world.now;
    world.until("ten minutes", 20 * MINUTE, |world| {
        world.now.since(start) >= 10 * MINUTE
    });
    assert_eq!(said(&world, node), 0);
    let search = Search {
        port: 7000,
        hashes: vec![world.metainfo.info_hash],
        cookie: String::new(),
    };
    let bytes = search.encode(false);
    let from = "10.0.0.9:6771".parse().unwrap();
    heard(&mut world, node, from, &bytes);
    assert_eq!(world.nodes[node].engine.links().count(), 0);
    // Switched on, it does both at once.
    world.nodes[node].engine.lsd_enable(true);
    heard(&mut world, node, from, &bytes);
    assert_eq!(world.nodes[node].engine.links().count(), 1);
    world.until("a search", MINUTE, |world| said(world, node) > 0);
}
