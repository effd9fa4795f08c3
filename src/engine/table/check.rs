//! The table's invariants, looked at from scratch: for tests and simulations, between any two inputs.

use std::collections::BTreeMap;

use super::Table;
use super::link::{LinkState, NONE, Told};
use super::ties::Mark;

impl Table {
    /// Panics where the table is not what its doc says. Walks everything: for tests.
    #[allow(clippy::missing_panics_doc, reason = "it is what it does")]
    pub fn check(&self) {
        self.streams.check();
        self.check_links();
        self.check_swarms();
    }

    fn check_links(&self) {
        let mut by_state = [0; 4];
        let mut hung = 0;
        for (id, link) in self.links.iter() {
            let address = link.address();
            by_state[link.state().ordinal()] += 1;
            assert_eq!(self.link_at(address), Some(id), "{address} is indexed");
            let ring: Vec<_> = self.streams.ring(link.first).collect();
            hung += ring.len();
            assert!(ring.iter().all(|(_, knot)| knot.link == id.slot32()));
            let up = ring.iter().filter(|(_, knot)| knot.up).count();
            assert_eq!(up, usize::from(link.up), "{address}");
            match link.state() {
                LinkState::Disconnected { .. } => assert!(ring.is_empty(), "{address}"),
                LinkState::Connecting => assert!(up == 0 && !ring.is_empty(), "{address}"),
                LinkState::Established => assert!(up > 0, "{address}"),
                LinkState::Ignored { .. } => {}
            }
            let told = match link.state() {
                LinkState::Disconnected { .. } => link.told() == Told::Down,
                LinkState::Connecting => link.told() != Told::Up,
                LinkState::Established => link.told() == Told::Up,
                LinkState::Ignored { .. } => link.told() == Told::Ignored,
            };
            assert!(told, "{address}: {:?} told {:?}", link.state(), link.told());
            let used = !ring.is_empty() || !link.ties.as_slice().is_empty();
            let kept = matches!(link.state(), LinkState::Ignored { .. });
            assert!(used || kept, "{address} is of no use");
            for tie in link.ties.as_slice() {
                let swarm = self.swarms.at(tie.swarm).expect("a tie's swarm is there");
                let place = tie.place() as usize;
                assert_eq!(swarm.links.get(place), Some(&id.slot32()), "{address}");
                let members = ring
                    .iter()
                    .filter(|(_, knot)| knot.member && knot.swarm == tie.swarm)
                    .count();
                assert_eq!(members, usize::from(tie.is(Mark::Member)), "{address}");
                let uplink = ring
                    .iter()
                    .any(|(_, knot)| knot.member && knot.outgoing && knot.swarm == tie.swarm);
                assert_eq!(uplink, tie.is(Mark::Uplink), "{address}");
                assert!(!tie.is(Mark::Pinned) || tie.is(Mark::Candidate));
                let named = ring.iter().any(|(_, knot)| knot.swarm == tie.swarm);
                assert!(tie.belongs() || named, "{address} has a tie without use");
                assert!(!tie.is(Mark::Candidate) || link.is_dialable());
            }
            for (_, knot) in &ring {
                assert!(knot.swarm == NONE || link.tie(knot.swarm).is_some());
                assert!(!knot.member || (knot.swarm != NONE && knot.up));
            }
        }
        assert_eq!(by_state, self.by_state);
        assert_eq!(self.by_address.len(), self.links.len());
        assert_eq!(hung, self.streams.len() + self.streams.outside_len());
    }

    fn check_swarms(&self) {
        let mut opening = 0;
        // Who is where, counted once for all swarms: members we dialled, members that dialled us.
        let mut members: BTreeMap<u32, [u32; 2]> = BTreeMap::new();
        let mut carried: BTreeMap<u32, usize> = BTreeMap::new();
        for (_, link) in self.links.iter() {
            for (slot, knot) in self
                .streams
                .ring(link.first)
                .filter(|(_, knot)| knot.member)
            {
                members.entry(knot.swarm).or_default()[usize::from(!knot.outgoing)] += 1;
                if !self.streams.is_outside_at(slot) {
                    *carried.entry(knot.swarm).or_default() += 1;
                }
            }
        }
        for (id, swarm) in self.swarms.iter() {
            let at = id.slot32();
            let found = self.swarm_of(swarm.info_hash).map(|swarm| swarm.id);
            assert_eq!(found, Some(id), "{} is indexed", swarm.info_hash);
            let ties = swarm.links.iter().map(|&link| {
                let link = self.links.at(link).expect("a swarm's link is there");
                link.tie(at).expect("a tie is on both sides")
            });
            let belonging = ties.filter(|tie| tie.belongs()).count();
            assert_eq!(belonging, swarm.belonging as usize);
            let counted = [swarm.uplinks, swarm.downlinks];
            assert_eq!(members.get(&at).copied().unwrap_or_default(), counted);
            let open = carried.get(&at).copied().unwrap_or_default();
            assert_eq!(open, swarm.streams.len());
            for (list, up) in [(&swarm.streams, true), (&swarm.opening, false)] {
                for (place, &stream) in (0_u32..).zip(list) {
                    let record = self.streams.get(stream).expect("a swarm's stream is there");
                    assert_eq!((record.place, record.swarm), (place, Some(id)));
                    let knot = self.streams.knot(stream.slot32());
                    assert_eq!((knot.swarm, knot.up, knot.member), (at, up, up));
                }
            }
            opening += swarm.opening.len();
            assert!(swarm.session.is_some() || swarm.kept, "{id} is nobody's");
        }
        assert_eq!(opening, self.opening);
        assert_eq!(self.by_hash.len(), self.swarms.len());
    }
}
