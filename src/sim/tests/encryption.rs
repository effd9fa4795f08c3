//! Scenes of machines with every pair of encryption policies: who trades with whom, and whether payload is encrypted.

use super::super::stage::{Role, Stage};
use super::SECOND;
use crate::config::Encryption::{self, Allow, Off, Prefer, Require};
use crate::time::Duration;

/// A seeder and a leecher, of which the second dials.
fn meet(seed: u64, seeds: Encryption, dials: Encryption) -> Stage {
    let mut stage = Stage::new(seed, Duration::from_millis(100), 200_000);
    stage.add(&Role {
        seeder: true,
        encryption: Some(seeds),
        ..Role::default()
    });
    stage.add(&Role {
        encryption: Some(dials),
        deaf: true,
        ..Role::default()
    });
    stage.pin(1, 0);
    stage
}

#[test]
fn every_pair_of_policies_trades_or_does_not() {
    // The one that is dialled, the one that dials, and whether payload is encrypted; none is that they never meet.
    #[rustfmt::skip]
    let table = [
        (Off,     Off,     Some(false)), (Off,     Allow,   Some(false)),
        (Off,     Prefer,  Some(false)), (Off,     Require, None),
        (Allow,   Off,     Some(false)), (Allow,   Allow,   Some(false)),
        (Allow,   Prefer,  Some(false)), (Allow,   Require, Some(true)),
        (Prefer,  Off,     Some(false)), (Prefer,  Allow,   Some(false)),
        (Prefer,  Prefer,  Some(false)), (Prefer,  Require, Some(true)),
        (Require, Off,     None),        (Require, Allow,   Some(true)),
        (Require, Prefer,  Some(true)),  (Require, Require, Some(true)),
    ];
    for (seeds, dials, want) in table {
        for seed in 0..5 {
            let mut stage = meet(seed, seeds, dials);
            let done = |stage: &Stage| stage.told(1, "session.completed") == 1;
            let met = stage.run_until(60 * SECOND, done);
            let name = format!("{seeds:?} dialled by {dials:?}, seed {seed}");
            assert_eq!(met, want.is_some(), "{name}");
            let encrypted = [0, 1].map(|node| stage.last_met_encrypted(node));
            assert_eq!(encrypted, [want; 2], "{name}");
        }
    }
}

/// The kind of handshake that worked is the one to begin with the next time.
#[test]
fn what_worked_is_remembered() {
    for (seeds, dials) in [(Off, Prefer), (Require, Allow)] {
        let mut stage = meet(1, seeds, dials);
        let connected = |count| move |stage: &Stage| stage.told(1, "peer.connected") == count;
        assert!(stage.run_until(60 * SECOND, connected(1)), "{dials:?}");
        let failed = stage.counters(1).handshakes_failed;
        assert_eq!(failed, 1, "{dials:?}: the first kind was tried");
        stage.break_one(1);
        assert!(stage.run_until(60 * SECOND, connected(2)), "{dials:?}");
        assert_eq!(stage.counters(1).handshakes_failed, failed, "{dials:?}");
    }
}
