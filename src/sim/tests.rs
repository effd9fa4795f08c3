//! Scenes: what two or a few machines must do whatever the latency between them.

mod encryption;
mod limits;

use super::stage::{Role, Stage};
use crate::engine::message::{Message, SessionState};
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Two machines that dial each other at nearly the same time.
struct Duel {
    stage: Stage,
    seed: u64,
}

impl Duel {
    /// Latencies of up to 150 ms follow from the seed, and so does who is first and by how much.
    fn new(seed: u64, seeder: bool, deaf: bool) -> Self {
        let mut stage = Stage::new(seed, Duration::from_millis(150), 200_000);
        stage.add(&Role {
            seeder,
            ..Role::default()
        });
        stage.add(&Role {
            deaf,
            ..Role::default()
        });
        let (first, second) = if seed.is_multiple_of(2) {
            (0, 1)
        } else {
            (1, 0)
        };
        stage.pin(first, second);
        // From the very same turn to a round trip apart.
        let apart = Duration::from_millis(seed / 2 % 20 * 15);
        if !apart.is_zero() {
            stage.run_for(apart);
        }
        stage.pin(second, first);
        Self { stage, seed }
    }

    /// Exactly one stream, and both ends agree which.
    fn is_decided(&mut self) {
        let [mine, theirs] = [0, 1].map(|node| self.stage.show(node).peers);
        assert_eq!((mine.len(), theirs.len()), (1, 1), "seed {}", self.seed);
        assert_ne!(mine[0].outgoing, theirs[0].outgoing, "seed {}", self.seed);
        for node in [0, 1] {
            let count = self.stage.count(node);
            assert_eq!(count.uplinks + count.downlinks, 1, "seed {}", self.seed);
        }
    }

    fn told(&self, name: &str) -> [usize; 2] {
        [0, 1].map(|node| self.stage.told(node, name))
    }
}

/// Requirement E9, and D24: which of the two goes is nobody's business.
#[test]
fn of_two_simultaneous_dials_exactly_one_stays_and_nothing_is_seen_of_the_other() {
    let mut replaced = 0;
    for seed in 0..1000 {
        let mut duel = Duel::new(seed, false, false);
        duel.stage.run_for(10 * SECOND);
        duel.is_decided();
        assert_eq!(duel.told("peer.connected"), [1, 1], "seed {seed}");
        assert_eq!(duel.told("peer.disconnected"), [0, 0], "seed {seed}");
        replaced += duel.told("link.lost").iter().sum::<usize>();
    }
    assert!(
        replaced > 50,
        "{replaced}: some were established and replaced"
    );
}

#[test]
fn whoever_cannot_be_dialled_is_connected_all_the_same() {
    for seed in 0..200 {
        let mut duel = Duel::new(seed, false, true);
        duel.stage.run_for(15 * SECOND);
        duel.is_decided();
        let [mine, _] = [0, 1].map(|node| duel.stage.show(node).peers);
        assert!(!mine[0].outgoing, "seed {seed}");
        assert_eq!(duel.told("peer.connected"), [1, 1], "seed {seed}");
    }
}

/// A stream that breaks in the middle of it all: in the end there is one again.
#[test]
fn a_stream_that_breaks_while_two_are_up_leaves_one() {
    for seed in 0..300 {
        let mut duel = Duel::new(seed, false, false);
        duel.stage.run_for(Duration::from_millis(seed * 7 % 400));
        duel.stage.break_one(usize::from(seed % 3 == 0));
        duel.stage.run_for(180 * SECOND);
        duel.is_decided();
    }
}

/// Requirement D24: the download goes on over whichever stream stays.
#[test]
fn a_download_goes_on_while_its_stream_is_replaced() {
    for seed in 0..100 {
        let mut duel = Duel::new(seed, true, false);
        let done = |stage: &Stage| stage.told(1, "session.completed") == 1;
        let completed = duel.stage.run_until(120 * SECOND, done);
        assert!(completed, "seed {seed}");
        assert_eq!(duel.told("peer.connected"), [1, 1], "seed {seed}");
        assert_eq!(duel.stage.show(1).state, SessionState::Seeding);
    }
}

/// BEP 14: nobody is named, and nobody announces.
#[test]
fn a_swarm_of_one_network_finds_itself() {
    for seed in 0..20 {
        let mut stage = Stage::new(seed, Duration::from_millis(20), 200_000);
        for node in 0..5 {
            stage.add(&Role {
                seeder: node == 0,
                lsd: true,
                ..Role::default()
            });
        }
        let done = |stage: &Stage| (1..5).all(|node| stage.told(node, "session.completed") == 1);
        assert!(stage.run_until(120 * SECOND, done), "seed {seed}");
        assert_eq!(stage.announces(), 0);
    }
}

/// Requirement D23: what two torrents have with one peer is one link and two streams, and either goes without the other.
#[test]
fn two_torrents_share_the_link_to_a_peer_and_not_the_stream() {
    let mut stage = Stage::new(3, Duration::from_millis(50), 200_000);
    let [one, other] = [0; 2].map(|_| stage.add(&Role::default()));
    let (session, swarm) = stage.add_torrent(one);
    stage.add_torrent(other);
    let address = stage.address(other);
    stage.pin(one, other);
    stage.tell(one, Message::Pin { address, swarm });
    stage.run_for(5 * SECOND);
    assert_eq!(stage.established(one), 1, "one link");
    assert_eq!(stage.told(one, "link.established"), 1);
    assert_eq!(stage.told(one, "peer.connected"), 2, "two streams");
    stage.tell(one, Message::SessionRemove { session });
    stage.run_for(5 * SECOND);
    assert_eq!(stage.told(one, "peer.disconnected"), 1);
    assert_eq!(stage.told(one, "link.lost"), 0, "the other torrent has it");
    assert_eq!(stage.show(one).peers.len(), 1);
    stage.kill(other);
    stage.run_for(SECOND);
    assert_eq!(stage.told(one, "link.lost"), 1);
}

/// Requirements D18 and D30: discovery is asked when links are missing, and only then.
#[test]
fn who_has_lost_peers_asks_for_new_ones_and_who_has_enough_does_not() {
    let mut stage = Stage::new(1, Duration::from_millis(20), 200_000);
    stage.set_tracker_interval(1800);
    let node = stage.add(&Role {
        announces: true,
        links_min: 3,
        ..Role::default()
    });
    let others: Vec<_> = (0..3).map(|_| stage.add(&Role::default())).collect();
    for &other in &others {
        stage.pin(node, other);
    }
    stage.run_for(120 * SECOND);
    let count = stage.count(node);
    assert_eq!((count.uplinks, count.needed), (3, 0));
    let before = stage.announces();
    stage.run_for(1000 * SECOND);
    assert_eq!(stage.announces(), before, "nobody is needed");
    stage.kill(others[0]);
    stage.run_for(SECOND);
    let count = stage.count(node);
    assert_eq!((count.uplinks, count.needed), (2, 1));
    stage.run_for(300 * SECOND);
    let after_one = stage.announces();
    assert!(after_one > before, "one is needed");
    assert!(
        after_one <= before + 5,
        "and asked for at most once a minute"
    );
    for &other in &others[1..] {
        stage.kill(other);
    }
    stage.run_for(300 * SECOND);
    assert_eq!(stage.count(node).needed, 3);
    assert!(stage.announces() > after_one, "more are needed");
}
