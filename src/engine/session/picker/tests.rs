use std::collections::BTreeSet;

use super::*;

fn geometry(pieces: u32) -> Geometry {
    Geometry::new(u64::from(pieces) * 16_384, 16_384).unwrap()
}

fn bits(len: u32, ones: &[u32]) -> Bitfield {
    let mut bits = Bitfield::new(len as usize);
    for &one in ones {
        bits.set(one as usize);
    }
    bits
}

/// A picker of `pieces` pieces that is past its first ones: `first` are had.
fn experienced(pieces: u32, first: u32, rng: &mut Rng) -> Picker {
    let mut picker = Picker::new(geometry(pieces), rng);
    for piece in geometry(pieces).pieces().take(first as usize) {
        picker.set_have(piece);
    }
    picker
}

fn piece(picker: &Picker, index: u32) -> PieceIndex {
    picker.geometry.piece(index).unwrap()
}

#[test]
fn the_rarest_first() {
    let mut rng = Rng::new(1);
    let mut picker = experienced(10, 4, &mut rng);
    let all = bits(10, &[4, 5, 6, 7, 8, 9]);
    for common in [
        &[4, 5, 6, 7, 8, 9][..],
        &[4, 5, 6, 7, 8],
        &[4, 6, 7],
        &[4, 6],
    ] {
        picker.peer_joined(&bits(10, common));
    }
    let counts: Vec<_> = (4..10)
        .map(|i| picker.availability(piece(&picker, i)))
        .collect();
    assert_eq!(counts, [4, 2, 4, 3, 2, 1]);
    let order: Vec<_> = std::iter::from_fn(|| picker.pick(PeerHas::Some(&all), &mut rng))
        .map(|piece| counts[piece.index() - 4])
        .collect();
    assert_eq!(order, [1, 2, 2, 3, 4, 4]);
    assert_eq!(
        (picker.pickable(), picker.missing()),
        (0, 6),
        "the end game"
    );
}

#[test]
fn a_higher_priority_goes_before_rarity_and_chance() {
    for have in [0, 4] {
        let mut rng = Rng::new(7);
        let mut picker = experienced(12, have, &mut rng);
        let all = Bitfield::full(12);
        // The high ones are the commonest.
        picker.peer_joined(&bits(12, &[8, 9]));
        picker.seed_joined();
        for (index, priority) in [(8, Priority::High), (9, Priority::High), (5, Priority::Low)] {
            picker.set_priority(piece(&picker, index), priority);
        }
        let order: Vec<u32> = std::iter::from_fn(|| picker.pick(PeerHas::Some(&all), &mut rng))
            .map(PieceIndex::get)
            .collect();
        let left = 12 - have as usize;
        assert_eq!(order.len(), left, "each once");
        assert!(order[..2].iter().all(|index| [8, 9].contains(index)));
        assert_eq!(order.last(), Some(&5), "the low one last");
    }
}

#[test]
fn a_seed_changes_no_order_and_costs_no_step() {
    let mut rng = Rng::new(2);
    let mut picker = experienced(100, 4, &mut rng);
    picker.peer_joined(&bits(100, &(0..99).collect::<Vec<_>>()));
    let row = picker.rows[1].pieces.clone();
    picker.seed_joined();
    assert_eq!(picker.rows[1].pieces, row);
    assert_eq!(picker.availability(piece(&picker, 99)), 1);
    assert_eq!(
        picker.pick(PeerHas::All, &mut rng).map(PieceIndex::get),
        Some(99),
        "only the seed has it"
    );
    picker.seed_gone();
    assert_eq!(picker.availability(piece(&picker, 99)), 0);
}

#[test]
fn equals_are_drawn_by_chance() {
    let mut counts = [0; 20];
    for seed in 0..4000 {
        let mut rng = Rng::new(seed);
        let mut picker = experienced(20, 4, &mut rng);
        // Both ways to the answer: by the row, and by the bitfield of a peer that has little.
        let peer = if seed % 2 == 0 {
            bits(20, &(4..20).collect::<Vec<_>>())
        } else {
            bits(20, &[5, 7, 11])
        };
        picker.peer_joined(&peer);
        counts[picker.pick(PeerHas::Some(&peer), &mut rng).unwrap().index()] += 1;
    }
    for (index, count) in counts.into_iter().enumerate() {
        let want = if index < 4 {
            0..1
        } else if [5, 7, 11].contains(&index) {
            650..950
        } else {
            70..180
        };
        assert!(
            want.contains(&count),
            "piece {index}: {count}, expected {want:?}"
        );
    }
}

#[test]
fn the_first_pieces_are_drawn_from_all() {
    let mut seen = BTreeSet::new();
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let mut picker = Picker::new(geometry(10), &mut rng);
        let all = Bitfield::full(10);
        picker.peer_joined(&bits(10, &[0, 1, 2, 3, 4]));
        picker.peer_joined(&all);
        seen.insert(picker.pick(PeerHas::Some(&all), &mut rng).unwrap().get());
    }
    assert_eq!(seen.len(), 10, "common ones too: {seen:?}");
}

#[test]
fn wants_and_interest_follow_the_state() {
    let mut rng = Rng::new(3);
    let mut picker = Picker::new(geometry(3), &mut rng);
    let one = piece(&picker, 1);
    let only_one = bits(3, &[1]);
    picker.peer_joined(&only_one);
    assert!(picker.is_interesting(PeerHas::Some(&only_one)));
    assert_eq!(picker.pick(PeerHas::Some(&only_one), &mut rng), Some(one));
    assert!(
        picker.is_interesting(PeerHas::Some(&only_one)),
        "open pieces are still lacking"
    );
    assert_eq!(picker.pick(PeerHas::Some(&only_one), &mut rng), None);
    picker.close(one);
    assert!(picker.open(one) && !picker.open(one), "once");
    picker.set_have(one);
    assert!(!picker.is_interesting(PeerHas::Some(&only_one)) && !picker.wants(one));
    assert!(picker.is_interesting(PeerHas::All));
    picker.lost(one);
    assert_eq!(
        (picker.missing(), picker.pickable(), picker.open_count()),
        (3, 3, 0)
    );
    for index in 0..3 {
        picker.set_wanted(piece(&picker, index), false);
    }
    assert_eq!((picker.missing(), picker.pickable()), (0, 0));
    assert!(!picker.is_interesting(PeerHas::All));
    picker.set_wanted(one, true);
    assert_eq!(picker.pick(PeerHas::All, &mut rng), Some(one));
}

#[test]
fn a_torrent_without_pieces_has_nothing_to_pick() {
    let mut rng = Rng::new(0);
    let mut picker = Picker::new(geometry(0), &mut rng);
    picker.seed_joined();
    picker.peer_joined(&Bitfield::new(0));
    assert_eq!(picker.pick(PeerHas::All, &mut rng), None);
    assert!(!picker.is_interesting(PeerHas::All));
}

/// The same by brute force: one row of facts a piece, looked through each time.
struct Naive {
    have: Vec<bool>,
    wanted: Vec<bool>,
    open: Vec<bool>,
    priorities: Vec<Priority>,
    peers: Vec<Option<Bitfield>>,
}

impl Naive {
    fn availability(&self, index: usize) -> usize {
        let has = |peer: &&Option<Bitfield>| peer.as_ref().is_none_or(|bits| bits.get(index));
        self.peers.iter().filter(has).count()
    }

    fn can_pick(&self, index: usize) -> bool {
        self.wanted[index] && !self.have[index] && !self.open[index]
    }

    /// All pieces that are as good as any.
    fn rarest(&self, has: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let mut can: Vec<_> = (0..self.have.len())
            .filter(|&i| self.can_pick(i) && has(i))
            .collect();
        let first = can.iter().map(|&i| self.priorities[i]).max();
        can.retain(|&i| Some(self.priorities[i]) == first);
        let early = self.have.iter().filter(|&&have| have).count() < FIRST_PIECES;
        let least = can.iter().map(|&i| self.availability(i)).min();
        can.into_iter()
            .filter(|&i| early || Some(self.availability(i)) == least)
            .collect()
    }
}

fn check_row(picker: &Picker, naive: &Naive, context: &str) {
    let seeds = naive.peers.iter().filter(|peer| peer.is_none()).count();
    for (row, priority) in
        (picker.rows.iter()).zip([Priority::High, Priority::Normal, Priority::Low])
    {
        let mut from = 0;
        for (holders, &end) in row.bounds.iter().enumerate() {
            for at in from..end {
                let index = row.pieces[at as usize] as usize;
                assert_eq!(naive.availability(index), holders + seeds, "{context}");
                assert!(naive.can_pick(index), "{context}");
                assert_eq!(naive.priorities[index], priority, "{context}");
                assert_eq!(picker.place[index], at, "{context}");
            }
            assert!(end >= from, "{context}");
            from = end;
        }
        assert_eq!(from as usize, row.pieces.len(), "{context}");
    }
    let standing: usize = picker.rows.iter().map(|row| row.pieces.len()).sum();
    assert_eq!(standing, picker.pickable(), "{context}");
    let can = (0..naive.have.len()).filter(|&i| naive.can_pick(i)).count();
    assert_eq!(picker.pickable(), can, "{context}");
    let lacking = (0..naive.have.len())
        .filter(|&i| naive.wanted[i] && !naive.have[i])
        .count();
    assert_eq!(picker.missing(), lacking, "{context}");
}

#[test]
fn picks_what_a_naive_picker_could_pick() {
    for seed in 0..120 {
        let mut rng = Rng::new(seed);
        let pieces = u32::try_from(rng.below(if seed % 4 == 0 { 400 } else { 12 })).unwrap() + 1;
        let mut picker = Picker::new(geometry(pieces), &mut rng);
        let count = pieces as usize;
        let mut naive = Naive {
            have: vec![false; count],
            wanted: vec![true; count],
            open: vec![false; count],
            priorities: vec![Priority::Normal; count],
            peers: Vec::new(),
        };
        for step in 0..400 {
            let context = format!("seed {seed} step {step}");
            let index = rng.index(count);
            let this = piece(&picker, u32::try_from(index).unwrap());
            match rng.below(if seed % 3 == 0 { 12 } else { 13 }) {
                0 => {
                    let density = rng.below(5);
                    let mut bits = Bitfield::new(count);
                    (0..count).filter(|_| rng.below(4) < density).for_each(|i| {
                        bits.set(i);
                    });
                    if bits.is_full() {
                        picker.seed_joined();
                        naive.peers.push(None);
                    } else {
                        picker.peer_joined(&bits);
                        naive.peers.push(Some(bits));
                    }
                }
                1 if !naive.peers.is_empty() => {
                    let peer = naive.peers.swap_remove(rng.index(naive.peers.len()));
                    match peer {
                        None => picker.seed_gone(),
                        Some(bits) => picker.peer_gone(&bits),
                    }
                }
                2 | 3 if !naive.peers.is_empty() => {
                    let peer = rng.index(naive.peers.len());
                    if let Some(bits) = &mut naive.peers[peer]
                        && bits.set(index)
                    {
                        picker.peer_has(this);
                    }
                }
                4 => {
                    naive.wanted[index] = rng.chance(2, 3);
                    picker.set_wanted(this, naive.wanted[index]);
                }
                5 => {
                    (naive.have[index], naive.open[index]) = (true, false);
                    picker.set_have(this);
                }
                6 => {
                    (naive.have[index], naive.open[index]) = (false, false);
                    picker.lost(this);
                }
                7 => {
                    naive.open[index] = false;
                    picker.close(this);
                }
                12 => {
                    let all = [Priority::Low, Priority::Normal, Priority::High];
                    naive.priorities[index] = all[rng.index(3)];
                    picker.set_priority(this, naive.priorities[index]);
                }
                8 => {
                    assert_eq!(picker.open(this), naive.can_pick(index), "{context}");
                    naive.open[index] |= naive.can_pick(index);
                }
                _ if !naive.peers.is_empty() => {
                    let peer = naive.peers[rng.index(naive.peers.len())].clone();
                    let has = peer.as_ref().map_or(PeerHas::All, PeerHas::Some);
                    let lacks = (0..count).any(|i| {
                        let this = piece(&picker, u32::try_from(i).unwrap());
                        has.has(this) && naive.wanted[i] && !naive.have[i]
                    });
                    assert_eq!(picker.is_interesting(has), lacks, "{context}");
                    let want = naive.rarest(|i| peer.as_ref().is_none_or(|bits| bits.get(i)));
                    match picker.pick(has, &mut rng) {
                        None => assert!(want.is_empty(), "{context}: one of {want:?}"),
                        Some(picked) => {
                            assert!(
                                want.contains(&picked.index()),
                                "{context}: {picked:?} of {want:?}"
                            );
                            naive.open[picked.index()] = true;
                        }
                    }
                }
                _ => {}
            }
            check_row(&picker, &naive, &context);
        }
    }
}
