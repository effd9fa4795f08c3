//! What one end counts as sent, the other counts as received.

use super::*;
use crate::metrics::EngineCounters;

/// `received_have` and the like, by what stands behind the prefix.
fn kinds(world: &World, node: usize, prefix: &str) -> BTreeMap<&'static str, u64> {
    let counters = world.nodes[node].engine.counters();
    let declared = EngineCounters::DECLARED.iter().zip(counters.values());
    declared
        .filter_map(|(figure, value)| Some((figure.name.strip_prefix(prefix)?, value)))
        .filter(|(kind, _)| !["bytes", "unknown"].contains(kind))
        .collect()
}

#[test]
fn messages_by_kind_agree_at_both_ends() {
    let mut world = World::new(1_000_000, 16_384);
    let (seeder, leecher) = (world.node(true), world.node(false));
    world.meet(leecher, seeder);
    world.until("a download", MINUTE, |world| world.has_all(leecher));
    world.settle();
    for (from, to) in [(seeder, leecher), (leecher, seeder)] {
        let (sent, received) = (kinds(&world, from, "sent_"), kinds(&world, to, "received_"));
        assert_eq!(sent.len(), 17, "every kind we know");
        for (kind, count) in &sent {
            // Two that have everything part, and what is on its way then is lost.
            let lost = count
                .checked_sub(received[kind])
                .expect("no more than was sent");
            assert!(
                lost == 0 || *kind == "extended",
                "{kind} from {from} to {to}"
            );
        }
    }
    let (from_seeder, from_leecher) = (
        kinds(&world, seeder, "sent_"),
        kinds(&world, leecher, "sent_"),
    );
    assert_eq!(from_seeder["piece"], 62);
    assert_eq!(from_leecher["request"], 62);
    assert!(from_seeder["unchoke"] >= 1 && from_leecher["interested"] >= 1);
}
