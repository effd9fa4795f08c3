//! Fetches against peers that follow rules, on a clock of their own: whoever lies, and however, the honest get through.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::fetch::{Fetch, Verdict};
use crate::codec::metadata::{METADATA_BYTES_MAX, PIECE_BYTES, piece_range};
use crate::engine::session::assembly::Sender;
use crate::hash;
use crate::ids::{InfoHash, LinkId, PeerId, StreamId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// What a peer of a test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Gives what it has.
    Honest,
    /// The true size, and other bytes.
    Poison,
    /// Another size, with bytes to it.
    Size(u32),
    /// Takes requests and says nothing.
    Silent,
    /// Refuses everything.
    Refuse,
    /// The largest size, a piece now and then.
    Endless,
    /// Data of another size than it has said.
    Contradict,
}

struct World {
    fetch: Fetch,
    info: Vec<u8>,
    now: Instant,
    rng: Rng,
    peers: BTreeMap<StreamId, Manner>,
    banned: Vec<StreamId>,
    held_most: usize,
}

fn id(n: u32) -> StreamId {
    StreamId::new(n, 0)
}

fn sender(n: u32) -> Sender {
    let last = u8::try_from(n % 250).unwrap();
    Sender {
        link: LinkId::new(n, 0),
        address: SocketAddr::from(([10, 0, 0, last], 6881)),
        peer_id: PeerId([last; 20]),
    }
}

impl World {
    fn new(seed: u64, bytes: usize, peers: &[Manner]) -> Self {
        let mut rng = Rng::new(seed);
        let mut info = vec![0; bytes];
        rng.fill(&mut info);
        let mut world = Self {
            fetch: Fetch::new(InfoHash(hash::sha1(&info))),
            info,
            now: Instant::ZERO,
            rng,
            peers: BTreeMap::new(),
            banned: Vec::new(),
            held_most: 0,
        };
        let mut order: Vec<Manner> = peers.to_vec();
        for at in (1..order.len()).rev() {
            order.swap(at, world.rng.index(at + 1));
        }
        for (n, manner) in (0..).zip(order) {
            world.peers.insert(id(n), manner);
            let size = world.size_of(manner);
            world.fetch.offer(id(n), sender(n), size);
        }
        world
    }

    fn size_of(&self, manner: Manner) -> u32 {
        match manner {
            Manner::Size(size) => size,
            Manner::Endless => METADATA_BYTES_MAX,
            _ => u32::try_from(self.info.len()).unwrap(),
        }
    }

    /// Until the right bytes are there; how long that took.
    fn run(&mut self, most: Duration) -> Option<Duration> {
        // What is on its way: when it comes, from whom, which piece.
        let mut coming: Vec<(Instant, StreamId, u32)> = Vec::new();
        let end = self.now + most;
        while self.now <= end {
            while let Some((stream, piece)) = self.fetch.next(self.now, true) {
                assert!(!self.banned.contains(&stream), "nobody asks who is gone");
                let manner = self.peers[&stream];
                let wait = match manner {
                    Manner::Silent => continue,
                    Manner::Endless => Duration::from_secs(9),
                    _ => Duration::from_millis(1 + self.rng.below(200)),
                };
                coming.push((self.now + wait, stream, piece));
            }
            coming.sort_unstable();
            let next = coming.first().map(|(at, ..)| *at);
            let timer = self.fetch.next_deadline(self.now);
            let at = next.into_iter().chain(timer).min()?;
            assert!(at > self.now || next == Some(at), "no busy loop");
            self.now = at;
            if next != Some(at) {
                continue;
            }
            let (_, stream, piece) = coming.remove(0);
            if self.banned.contains(&stream) {
                continue;
            }
            let verdict = self.deliver(stream, piece);
            self.held_most = self.held_most.max(self.fetch.held());
            for guilty in verdict.guilty {
                self.ban(id(guilty.link.slot32()));
            }
            if verdict.breach {
                self.ban(stream);
            }
            if let Some(info) = verdict.info {
                assert_eq!(info, self.info, "only the right bytes count");
                return Some(self.now.since(Instant::ZERO));
            }
        }
        None
    }

    fn ban(&mut self, stream: StreamId) {
        let manner = self.peers[&stream];
        assert_ne!(manner, Manner::Honest, "nobody honest is guilty");
        assert_ne!(manner, Manner::Silent, "who says nothing does not lie");
        self.fetch.forget(stream);
        self.banned.push(stream);
    }

    fn deliver(&mut self, stream: StreamId, piece: u32) -> Verdict {
        let manner = self.peers[&stream];
        let size = self.size_of(manner);
        let range = piece_range(size as usize, piece).unwrap();
        let bytes = match manner {
            Manner::Refuse => {
                self.fetch.on_reject(stream, piece, self.now);
                return Verdict::default();
            }
            Manner::Honest | Manner::Contradict => self.info[range].to_vec(),
            Manner::Poison | Manner::Size(_) | Manner::Endless | Manner::Silent => {
                let mut bytes = vec![0; range.len()];
                self.rng.fill(&mut bytes);
                bytes
            }
        };
        let total = if manner == Manner::Contradict {
            size + 1
        } else {
            size
        };
        self.fetch.on_data(stream, piece, total, &bytes, self.now)
    }
}

#[test]
fn several_honest_peers_give_a_part_each() {
    let mut world = World::new(1, 10 * PIECE_BYTES + 17, &[Manner::Honest; 4]);
    assert_eq!(world.fetch.progress().pieces_total, 11);
    let mut asked = BTreeMap::new();
    while let Some((stream, _)) = world.fetch.next(world.now, true) {
        *asked.entry(stream).or_insert(0) += 1;
    }
    assert_eq!(asked.len(), 4, "all of them");
    assert_eq!(asked.values().sum::<i32>(), 11, "each piece once");
    let mut world = World::new(1, 10 * PIECE_BYTES + 17, &[Manner::Honest; 4]);
    assert!(world.run(Duration::from_secs(2)).is_some());
    assert!(world.banned.is_empty());
}

#[test]
fn one_honest_peer_prevails_over_every_kind_of_liar() {
    use Manner::*;
    let small = 3 * PIECE_BYTES + 5;
    #[rustfmt::skip]
    let table: &[(&str, usize, &[Manner])] = &[
        ("one byte",           1,      &[Honest]),
        ("a poisoner",         small,  &[Honest, Poison]),
        ("many poisoners",     small,  &[Honest, Poison, Poison, Poison, Poison, Poison, Poison, Poison]),
        ("one piece poisoned", 100,    &[Honest, Poison, Poison]),
        ("another size",       small,  &[Honest, Size(1), Size(70_000), Size(49_156)]),
        ("many sizes",         small,  &[Honest, Size(1), Size(2), Size(3), Size(4), Size(5), Size(600_000), Size(7)]),
        ("one size by many",   small,  &[Honest, Size(80_000), Size(80_000), Size(80_000), Size(80_000)]),
        ("silence",            small,  &[Honest, Silent, Silent, Silent, Silent, Silent]),
        ("refusal",            small,  &[Honest, Refuse, Refuse, Refuse]),
        ("without end",        small,  &[Honest, Endless, Endless, Endless]),
        ("contradiction",      small,  &[Honest, Contradict, Contradict]),
        ("all of it",          small,  &[Honest, Poison, Poison, Size(1), Size(90_000), Silent, Refuse, Endless, Contradict]),
        ("nothing can be held against it", small, &[Honest, Honest, Honest, Poison]),
    ];
    for (name, bytes, peers) in table {
        for seed in 0..20 {
            let mut world = World::new(seed, *bytes, peers);
            let took = world.run(Duration::from_secs(30 * 60));
            assert!(took.is_some(), "{name}, seed {seed}");
            assert!(
                world.held_most <= 5 * METADATA_BYTES_MAX as usize,
                "{name}, seed {seed}"
            );
        }
    }
}

#[test]
fn who_poisoned_a_shared_attempt_is_found_out_when_the_truth_is_known() {
    let mut found = 0;
    for seed in 0..20 {
        let peers = [Manner::Honest, Manner::Honest, Manner::Poison];
        let mut world = World::new(seed, 12 * PIECE_BYTES, &peers);
        assert!(world.run(Duration::from_secs(600)).is_some());
        found += world.banned.len();
    }
    // It may have been too slow to be believed in a run or two.
    assert!(found >= 18, "{found} of 20");
}

#[test]
fn nothing_is_asked_of_those_who_claim_too_much_or_nothing() {
    let mut fetch = Fetch::new(InfoHash([1; 20]));
    for size in [0, METADATA_BYTES_MAX + 1, u32::MAX] {
        fetch.offer(id(1), sender(1), size);
        assert_eq!(fetch.next(Instant::ZERO, true), None, "{size}");
        assert_eq!(fetch.next_deadline(Instant::ZERO), None);
    }
    fetch.offer(id(1), sender(1), METADATA_BYTES_MAX);
    assert_eq!(fetch.next(Instant::ZERO, false), None, "no room");
    assert!(fetch.next(Instant::ZERO, true).is_some());
    assert_eq!(fetch.held(), 0, "a claim takes no memory");
    // It says that it has nothing after all.
    fetch.offer(id(1), sender(1), 0);
    assert_eq!(fetch.next(Instant::ZERO, true), None);
}

#[test]
fn what_nobody_asked_for_is_not_kept_and_not_endured_for_ever() {
    let mut fetch = Fetch::new(InfoHash([1; 20]));
    let stranger = fetch.on_data(id(9), 0, 1, b"x", Instant::ZERO);
    assert!(!stranger.breach, "it has claimed nothing");
    fetch.offer(id(1), sender(1), 100_000);
    let verdicts = (0..100).map(|_| fetch.on_data(id(1), 0, 0, &[0; 16_384], Instant::ZERO));
    let breaches = verdicts.filter(|verdict| verdict.breach).count();
    assert!(breaches > 0);
    assert_eq!(fetch.held(), 0);
}
