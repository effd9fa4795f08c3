//! The table against its promises, and against a plain list.

use super::*;

fn node(rng: &mut Rng, n: u32) -> Node {
    let mut id = NodeId::default();
    rng.fill(&mut id.0);
    // A network each, none of them special.
    let [_, a, b, c] = n.to_be_bytes();
    let address = SocketAddr::new(Ipv4Addr::new(20 + a, b, c, 1).into(), 6881);
    Node { id, address }
}

fn lawful(rng: &mut Rng, n: u32) -> Node {
    let mut node = node(rng, n);
    node.id = id::draw(Some(node.address.ip()), rng);
    node
}

const NOW: Instant = Instant::ZERO;

#[test]
fn the_nearest_are_those_of_a_list_and_near_ones_are_known_best() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let own = lawful(&mut rng, 0).id;
        let mut routing = Routing::new(own, NOW);
        for n in 1..3000 {
            routing.heard(lawful(&mut rng, n), NOW);
            routing.check();
        }
        assert!(routing.len() < 200, "seed {seed}: {}", routing.len());
        let all: Vec<_> = routing.nodes().collect();
        for _ in 0..20 {
            let target = lawful(&mut rng, 9).id;
            let mut want = all.clone();
            want.sort_by_key(|node| target.distance(&node.id));
            want.truncate(8);
            assert_eq!(routing.closest(&target, 8), want, "seed {seed}");
        }
    }
}

#[test]
fn silent_nodes_make_way_for_spare_ones() {
    let mut rng = Rng::new(1);
    let own = NodeId([0xff; 20]);
    let mut routing = Routing::new(own, NOW);
    // All in the farthest bucket, so that nothing is split but once.
    let mut far: Vec<_> = (1..40).map(|n| lawful(&mut rng, n)).collect();
    far.retain(|node| node.id.0[0] < 0x80);
    let far = &far[..12];
    for node in far {
        routing.heard(*node, NOW);
    }
    assert_eq!(routing.len(), 8);
    routing.failed(far[0]);
    assert!(
        routing.nodes().any(|node| node == far[0]),
        "once may happen"
    );
    assert!(!routing.closest(&own, 99).is_empty());
    routing.failed(far[0]);
    assert_eq!(routing.len(), 8, "another has its place");
    assert!(routing.nodes().all(|node| node != far[0]));
    // Without spare nodes, silent ones stay for a while: the network may be down.
    for _ in 0..2 {
        for node in far {
            routing.failed(*node);
        }
    }
    assert!(!routing.is_empty());
    assert!(
        routing.closest(&own, 99).is_empty(),
        "but nobody is told of them"
    );
    for _ in 0..6 {
        for node in far {
            routing.failed(*node);
        }
    }
    assert!(routing.is_empty());
}

#[test]
fn one_owner_does_not_fill_the_table() {
    let mut rng = Rng::new(2);
    let own = NodeId::default();
    let mut routing = Routing::new(own, NOW);
    let at = |text: &str, rng: &mut Rng| {
        let address: SocketAddr = text.parse().unwrap();
        Node {
            id: id::draw(Some(address.ip()), rng),
            address,
        }
    };
    for port in 1..500 {
        routing.heard(at(&format!("8.8.8.8:{port}"), &mut rng), NOW);
    }
    assert_eq!(routing.len(), 1, "an address");
    for host in 1..255 {
        routing.heard(at(&format!("8.8.8.{host}:1"), &mut rng), NOW);
    }
    assert!(routing.len() <= NETWORK_NODES, "a network");
    for port in 1..100 {
        routing.heard(at(&format!("10.0.0.1:{port}"), &mut rng), NOW);
    }
    assert!(routing.len() > 8, "our own network is exempt");
    routing.check();
}

#[test]
fn lawful_names_go_before_others_and_nobody_takes_over_a_name() {
    let mut rng = Rng::new(3);
    let own = NodeId([0xff; 20]);
    let mut routing = Routing::new(own, NOW);
    let far = |mut node: Node| {
        node.id.0[0] &= 0x7f;
        node
    };
    for n in 1..100 {
        routing.heard(far(node(&mut rng, n)), NOW);
    }
    assert_eq!(routing.len(), 8);
    let mut lawful_ones = (100..200).map(|n| lawful(&mut rng, n));
    let good = lawful_ones.find(|node| node.id.0[0] < 0x80).unwrap();
    assert!(routing.wants(good));
    assert!(routing.heard(good, NOW), "before one without");
    let mut thief = good;
    thief.address = "99.1.1.1:1".parse().unwrap();
    assert!(!routing.heard(thief, NOW));
    assert!(routing.nodes().any(|node| node == good));
}

#[test]
fn what_is_old_is_looked_at_again() {
    let mut rng = Rng::new(4);
    let mut routing = Routing::new(NodeId::default(), NOW);
    let some: Vec<_> = (1..6).map(|n| lawful(&mut rng, n)).collect();
    for node in &some {
        routing.heard(*node, NOW);
    }
    assert!(routing.stale(NOW + FRESH / 2).is_none());
    assert!(routing.search_due(NOW + FRESH / 2, &mut rng).is_none());
    let later = NOW + FRESH;
    routing.asked_us(some[0], later);
    let mut stale: Vec<_> = std::iter::from_fn(|| routing.stale(later)).collect();
    stale.sort_unstable();
    let mut want = some[1..].to_vec();
    want.sort_unstable();
    assert_eq!(stale, want, "all but the one that was heard");
    assert!(routing.search_due(later, &mut rng).is_some());
    assert!(routing.search_due(later, &mut rng).is_none(), "once");
}

#[test]
fn places_are_in_their_buckets() {
    let mut rng = Rng::new(5);
    let mut own = NodeId::default();
    rng.fill(&mut own.0);
    let mut routing = Routing::new(own, NOW);
    for n in 1..2000 {
        routing.heard(lawful(&mut rng, n), NOW);
    }
    let all = routing.buckets.len();
    for at in 0..all {
        let place = routing.place_in(at, at + 1 == all, &mut rng);
        assert_eq!(routing.bucket_of(&place), at);
    }
    routing.rename(NodeId([7; 20]), NOW);
    routing.check();
    assert!(routing.len() > 8);
}

#[test]
fn strangers_do_not_aim_us_at_our_own_network() {
    #[rustfmt::skip]
    let table = [
        ("8.8.8.8:1",     "9.9.9.9:1",   true),
        ("192.168.0.1:1", "9.9.9.9:1",   false),
        ("127.0.0.1:1",   "9.9.9.9:1",   false),
        ("192.168.0.1:1", "10.0.0.1:1",  true),
        ("8.8.8.8:1",     "10.0.0.1:1",  true),
        ("8.8.8.8:0",     "9.9.9.9:1",   false),
        ("[ff02::1]:1",   "[::1]:1",     false),
    ];
    for (address, by, want) in table {
        assert_eq!(
            may_name(address.parse().unwrap(), by.parse().unwrap()),
            want,
            "{address} by {by}"
        );
    }
}
