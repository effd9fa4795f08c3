//! Scenes with rate limits: what passes in ten seconds, in and out, and who gets how much of it.

use super::super::faults::NetFaults;
use super::super::net::NodeIndex;
use super::super::stage::{Role, Stage};
use super::SECOND;
use crate::config::Encryption;
use crate::engine::limits::{Cap, Group, Limits, TorrentLimitsChange, Weight};
use crate::engine::message::{Answer, Message};
use crate::ids::{SessionId, SwarmId};
use crate::time::Duration;

const MIB: u64 = 1 << 20;

/// Seeders and leechers of two torrents, all connected to each other.
struct Crowd {
    stage: Stage,
    seeders: Vec<NodeIndex>,
    leechers: Vec<NodeIndex>,
    /// The two torrents of each machine.
    torrents: Vec<[(SessionId, SwarmId); 2]>,
}

impl Crowd {
    fn new(seed: u64, seeders: usize, leechers: usize) -> Self {
        // The first seed from `seed` on whose torrent lasts long enough.
        let mut stages = (seed..).map(|seed| Stage::new(seed, Duration::from_millis(20), 24 * MIB));
        let mut stage = stages
            .find(|stage| (16 * MIB..40 * MIB).contains(&stage.size()))
            .expect("many are of that size");
        let mut torrents = Vec::new();
        let mut add = |stage: &mut Stage, seeder| {
            let node = stage.add(&Role {
                seeder,
                uplink: 20 * MIB,
                cache_mib: 16,
                // How bytes are shared is all that is looked at, and chance is left to the network.
                encryption: Some(Encryption::Off),
                ..Role::default()
            });
            let first = stage.first(node);
            let second = if seeder {
                stage.add_twin(node)
            } else {
                stage.add_torrent(node)
            };
            torrents.push([first, second]);
            node
        };
        let seeders = (0..seeders).map(|_| add(&mut stage, true)).collect();
        let leechers = (0..leechers).map(|_| add(&mut stage, false)).collect();
        Self {
            stage,
            seeders,
            leechers,
            torrents,
        }
    }

    fn limit(&mut self, node: NodeIndex, limits: Limits) {
        let answer = self.stage.ask(
            node,
            Message::SpeedSet {
                limits: Box::new(limits),
                is_configured: false,
            },
        );
        assert!(matches!(answer, Answer::Done), "{answer:?}");
    }

    /// Everybody meets everybody.
    fn meet(&mut self) {
        for &leecher in &self.leechers {
            for &seeder in &self.seeders {
                let address = self.stage.address(seeder);
                for (_, swarm) in self.torrents[leecher] {
                    self.stage.tell(leecher, Message::Pin { address, swarm });
                }
            }
        }
    }

    fn payload(&mut self, node: NodeIndex, torrent: usize) -> (u64, u64) {
        let (session, _) = self.torrents[node][torrent];
        match self.stage.ask(node, Message::SessionShow { session }) {
            Answer::Snapshot(shown) => (shown.downloaded, shown.uploaded),
            other => unreachable!("a session is shown: {other:?}"),
        }
    }

    /// Bytes that pass at `node` in ten seconds, on the wire and as payload of each torrent; each in and out.
    fn ten_seconds(&mut self, node: NodeIndex) -> [(u64, u64); 3] {
        let wire = self.stage.passed(node);
        let before = [0, 1].map(|torrent| self.payload(node, torrent));
        self.stage.run_for(10 * SECOND);
        let after = self.stage.passed(node);
        let [a, b] = [0, 1].map(|torrent| {
            let now = self.payload(node, torrent);
            (now.0 - before[torrent].0, now.1 - before[torrent].1)
        });
        [(after.0 - wire.0, after.1 - wire.1), a, b]
    }
}

/// `bytes` are `want`, give or take five in a hundred.
fn is_about(bytes: u64, want: u64) -> bool {
    bytes.abs_diff(want) * 20 <= want
}

fn down(rate: u64) -> Limits {
    Limits {
        download: Cap { rate, on: true },
        ..Limits::default()
    }
}

fn up(rate: u64) -> Limits {
    Limits {
        upload: Cap::of(rate),
        ..Limits::default()
    }
}

/// Requirement T7, in: also where segments come late and in bursts.
#[test]
fn what_comes_in_is_as_limited_and_shared_evenly() {
    #[rustfmt::skip]
    let table = [(1, 1, MIB, 0), (2, 4, MIB, 0), (3, 3, 200_000, 0), (4, 4, MIB, 30)];
    for (seed, seeders, rate, stall_per_mille) in table {
        let mut crowd = Crowd::new(seed, seeders, 1);
        let node = crowd.leechers[0];
        crowd.limit(node, down(rate));
        crowd.meet();
        crowd.stage.set_faults(NetFaults {
            stall_per_mille,
            ..NetFaults::default()
        });
        crowd.stage.run_for(5 * SECOND);
        let [(wire, _), (one, _), (other, _)] = crowd.ten_seconds(node);
        let shown = format!("seed {seed}: {wire}, {one} and {other}");
        assert!(is_about(wire, 10 * rate), "{shown}");
        assert!(
            is_about(one, 5 * rate) && is_about(other, 5 * rate),
            "{shown}"
        );
    }
}

/// Requirement T7, out.
#[test]
fn what_goes_out_is_as_limited_and_shared_evenly() {
    for (seed, leechers, rate) in [(1, 1, MIB), (2, 3, MIB), (3, 2, 400_000)] {
        let mut crowd = Crowd::new(seed, 1, leechers);
        let node = crowd.seeders[0];
        crowd.limit(node, up(rate));
        crowd.meet();
        crowd.stage.run_for(5 * SECOND);
        let [(_, wire), (_, one), (_, other)] = crowd.ten_seconds(node);
        let shown = format!("seed {seed}: {wire}, {one} and {other}");
        assert!(is_about(wire, 10 * rate), "{shown}");
        assert!(
            is_about(one, 5 * rate) && is_about(other, 5 * rate),
            "{shown}"
        );
    }
}

/// Both at once, and the alternative limits in their place in the very turn that they are switched on.
#[test]
fn limits_change_while_bytes_pass() {
    let mut crowd = Crowd::new(7, 2, 1);
    let node = crowd.leechers[0];
    crowd.meet();
    crowd.stage.run_for(SECOND / 2);
    let mut limits = Limits {
        alt_download: Cap::of(300_000),
        ..down(MIB)
    };
    crowd.limit(node, limits.clone());
    crowd.stage.run_for(SECOND);
    let [(wire, _), ..] = crowd.ten_seconds(node);
    assert!(is_about(wire, 10 * MIB), "{wire}");
    limits.alt_on = true;
    crowd.limit(node, limits);
    let [(wire, _), ..] = crowd.ten_seconds(node);
    assert!(is_about(wire, 3_000_000), "{wire}");
    // Nothing at all, and then whatever there is.
    crowd.limit(node, down(0));
    crowd.stage.run_for(SECOND);
    let [(wire, _), ..] = crowd.ten_seconds(node);
    assert_eq!(wire, 0);
    // A little again: whoever has waited at nothing goes on.
    crowd.limit(node, down(500_000));
    crowd.stage.run_for(SECOND);
    let [(wire, _), ..] = crowd.ten_seconds(node);
    assert!(is_about(wire, 5_000_000), "{wire}");
    crowd.limit(node, Limits::default());
    let done = |stage: &Stage| stage.told(node, "session.completed") == 2;
    assert!(crowd.stage.run_until(60 * SECOND, done), "they complete");
}

/// One torrent has a limit of its own: the other gets what is left. A high weight counts twice a normal one; a group is a limit between.
#[test]
fn torrents_and_groups_have_limits_and_weights_of_their_own() {
    #[rustfmt::skip]
    let table: [(&str, TorrentLimitsChange, TorrentLimitsChange, [u64; 2]); 5] = [
        ("own limit", change(|one| { one.download = Some(200_000); one.download_on = Some(true); }), change(|_| {}), [200_000, MIB - 200_000]),
        ("weights", change(|one| one.weight = Some(Weight::Low)), change(|one| one.weight = Some(Weight::High)), [MIB / 5, MIB / 5 * 4]),
        ("high and normal", change(|one| one.weight = Some(Weight::High)), change(|_| {}), [MIB / 3 * 2, MIB / 3]),
        ("beside it all", change(|one| { one.honour = Some(false); one.download = Some(500_000); one.download_on = Some(true); }), change(|_| {}), [500_000, MIB]),
        ("a group", change(|one| one.group = Some("slow".into())), change(|_| {}), [100_000, MIB - 100_000]),
    ];
    for (name, first, second, want) in table {
        let mut crowd = Crowd::new(11, 2, 1);
        let node = crowd.leechers[0];
        crowd.limit(node, down(MIB));
        let mut group = Group::new("slow".into());
        group.download = Cap::of(100_000);
        crowd
            .stage
            .ask(node, Message::GroupSet(Box::new(group.clone())));
        for (torrent, change) in [first, second].into_iter().enumerate() {
            let (session, _) = crowd.torrents[node][torrent];
            let change = Box::new(change);
            let message = Message::SessionLimits { session, change };
            let answer = crowd.stage.ask(node, message);
            assert!(matches!(answer, Answer::Done), "{answer:?}");
        }
        crowd.meet();
        crowd.stage.run_for(5 * SECOND);
        let [_, (one, _), (other, _)] = crowd.ten_seconds(node);
        for (bytes, want) in [one, other].into_iter().zip(want) {
            assert!(is_about(bytes, 10 * want), "{name}: {one} and {other}");
        }
    }
}

fn change(of: impl FnOnce(&mut TorrentLimitsChange)) -> TorrentLimitsChange {
    let mut change = TorrentLimitsChange::default();
    of(&mut change);
    change
}
