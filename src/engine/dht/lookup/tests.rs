//! A lookup among made-up answers.

use super::*;
use crate::rng::Rng;

fn node(n: u8, place: u8) -> Node {
    let mut id = NodeId::default();
    id.0[0] = place;
    id.0[19] = n;
    // Not global, so that every name is lawful.
    let address = format!("10.0.{n}.1:1").parse().unwrap();
    Node { id, address }
}

fn lookup() -> Lookup {
    Lookup::new(1, NodeId::default(), Goal::Nodes, Instant::ZERO)
}

#[test]
fn the_nearest_are_asked_first_and_a_few_at_a_time() {
    let mut lookup = lookup();
    for n in (1..30).rev() {
        lookup.add(node(n, n), true);
    }
    let asked: Vec<_> = std::iter::from_fn(|| lookup.ask_next()).collect();
    let want: Vec<_> = (1..=4).map(|n| (node(n, n), true)).collect();
    assert_eq!(asked, want);
    lookup.answered(node(1, 1), b"token");
    lookup.silent(&node(2, 2), false);
    assert_eq!(lookup.ask_next().unwrap().0, node(5, 5));
    assert_eq!(
        lookup.ask_next().unwrap().0,
        node(6, 6),
        "the silent one does not count"
    );
    lookup.answered(node(2, 2), b"late");
    assert_eq!(lookup.keepers().count(), 2, "a late answer is one");
}

#[test]
fn it_ends_when_the_nearest_have_answered() {
    let mut lookup = lookup();
    for n in 1..30 {
        lookup.add(node(n, n), true);
    }
    let mut rounds = 0;
    while let Some((next, _)) = lookup.ask_next() {
        lookup.answered(next, if rounds == 3 { b"" } else { b"t" });
        rounds += 1;
    }
    assert!(lookup.is_over(Instant::ZERO));
    assert_eq!(rounds, 8);
    assert_eq!(lookup.keepers().count(), 7, "not the one without a token");
    assert_eq!(lookup.nearest().count(), 8);
    assert!(Lookup::new(1, NodeId::default(), Goal::Nodes, Instant::ZERO).is_over(Instant::ZERO));
}

#[test]
fn forgers_do_not_push_honest_nodes_out() {
    let mut rng = Rng::new(3);
    let target = {
        let mut id = NodeId::default();
        rng.fill(&mut id.0);
        id
    };
    let mut lookup = Lookup::new(1, target, Goal::Nodes, Instant::ZERO);
    let honest: Vec<_> = (1..=20)
        .map(|n| {
            let address: std::net::SocketAddr = format!("{n}.1.1.1:1").parse().unwrap();
            Node {
                id: id::draw(Some(address.ip()), &mut rng),
                address,
            }
        })
        .filter(|node| address::is_global(node.address.ip()))
        .collect();
    // A thousand names right at the target, of a thousand addresses in ten networks.
    for n in 0..1000_u32 {
        let mut id = target;
        id.0[18..].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
        let address = format!("{}.2.2.{}:1", 30 + n % 10, n / 10 + 1)
            .parse()
            .unwrap();
        lookup.add(Node { id, address }, true);
    }
    for node in &honest {
        lookup.add(*node, true);
    }
    let mut asked = Vec::new();
    while let Some((next, _)) = lookup.ask_next() {
        lookup.answered(next, b"t");
        asked.push(next);
    }
    let forged = asked
        .iter()
        .filter(|node| node.address.ip().to_string().contains(".2.2."))
        .count();
    assert!(forged <= UNLAWFUL_ASKED, "{forged}");
    assert_eq!(asked.len() - forged, 8);
    assert!(
        lookup.keepers().all(|(node, _)| honest.contains(&node)),
        "nothing is stored with them"
    );
    assert_eq!(lookup.keepers().count(), 8);
}

#[test]
fn addresses_without_a_name_are_asked_and_get_one() {
    let mut lookup = lookup();
    let router = "10.0.0.9:1".parse().unwrap();
    lookup.add(
        Node {
            id: NodeId::default(),
            address: router,
        },
        false,
    );
    assert!(!lookup.ask_next().unwrap().1);
    assert!(!lookup.is_over(Instant::ZERO), "it is waited for");
    let named = Node {
        id: NodeId([3; 20]),
        address: router,
    };
    lookup.answered(named, b"t");
    assert_eq!(lookup.nearest().collect::<Vec<_>>(), [named]);
    // Somebody else's name does not count.
    lookup.add(node(1, 1), true);
    lookup.ask_next();
    lookup.answered(
        Node {
            id: NodeId([9; 20]),
            ..node(1, 1)
        },
        b"t",
    );
    assert_eq!(lookup.nearest().count(), 1);
    assert!(lookup.is_over(Instant::ZERO));
}

#[test]
fn it_is_bounded_in_questions_nodes_and_time() {
    let mut lookup = lookup();
    let mut n = 0_u32;
    loop {
        // Each answer names two that are nearer.
        for _ in 0..2 {
            n += 1;
            let mut id = NodeId([0xff; 20]);
            id.0[..4].copy_from_slice(&(u32::MAX - n).to_be_bytes());
            let [a, b, c, d] = n.to_be_bytes();
            lookup.add(
                Node {
                    id,
                    address: format!("10.{b}.{c}.{d}:{}", 1 + u16::from(a))
                        .parse()
                        .unwrap(),
                },
                true,
            );
        }
        if lookup.is_over(Instant::ZERO) {
            break;
        }
        let (next, _) = lookup.ask_next().unwrap();
        lookup.answered(next, b"t");
    }
    assert_eq!(lookup.asked(), QUESTIONS_MAX);
    assert!(lookup.candidates.len() <= CANDIDATES_MAX);
    let mut waiting = Lookup::new(1, NodeId::default(), Goal::Nodes, Instant::ZERO);
    waiting.add(node(1, 1), true);
    waiting.ask_next();
    assert!(!waiting.is_over(Instant::ZERO));
    assert!(waiting.is_over(Instant::ZERO + SPAN_MAX));
}

#[test]
fn tokens_are_kept_as_they_are() {
    assert_eq!(Token::new(b"abc").bytes(), b"abc");
    assert_eq!(Token::new(&[1; TOKEN_MAX]).bytes(), [1; TOKEN_MAX]);
    assert_eq!(Token::new(&[1; TOKEN_MAX + 1]).bytes(), b"");
}
