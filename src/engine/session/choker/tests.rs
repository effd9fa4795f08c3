use super::*;

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// A peer that is interested, choked since the beginning, and gives `rate_from`.
fn peer(slot: u32, rate_from: u64) -> ChokerPeer {
    ChokerPeer {
        id: StreamId::new(slot, 0),
        interested: true,
        unchoked: false,
        since: Instant::ZERO,
        snubbed: false,
        is_new: false,
        rate_from,
        rate_to: 0,
    }
}

fn chosen(may: &[bool]) -> Vec<usize> {
    (0..may.len()).filter(|&place| may[place]).collect()
}

/// Applies a decision to the peers, as a session does.
fn apply(now: Instant, peers: &mut [ChokerPeer], may: &[bool]) {
    for (peer, &may) in peers.iter_mut().zip(may) {
        if peer.unchoked != may {
            (peer.unchoked, peer.since) = (may, now);
        }
    }
}

#[test]
fn tit_for_tat_fills_all_slots_but_one() {
    let bored = |peer| ChokerPeer {
        interested: false,
        ..peer
    };
    let snubbed = |peer| ChokerPeer {
        snubbed: true,
        ..peer
    };
    let unchoked = |peer, seconds| ChokerPeer {
        unchoked: true,
        since: at(seconds),
        ..peer
    };
    #[rustfmt::skip]
    let table: &[(&str, &[ChokerPeer], &[usize])] = &[
        ("the best two",                  &[peer(0, 5), peer(1, 9), peer(2, 1), peer(3, 7)], &[1, 3]),
        ("not those that want nothing",   &[bored(peer(0, 50)), peer(1, 9), peer(2, 1), peer(3, 7)], &[1, 3]),
        ("not those that owe us",         &[snubbed(peer(0, 50)), peer(1, 9), peer(2, 1), peer(3, 7)], &[1, 3]),
        ("of equals who has just begun",  &[peer(0, 0), peer(1, 9), unchoked(peer(2, 0), 80), peer(3, 0)], &[1, 2]),
        ("but not who had its time",      &[peer(0, 1), peer(1, 9), unchoked(peer(2, 0), 60), peer(3, 0)], &[0, 1]),
    ];
    for &(name, peers, earned) in table {
        for seed in 0..20 {
            let may = Choker::new(3).rechoke(at(100), peers, false, &mut Rng::new(seed));
            let got = chosen(&may);
            assert_eq!(got.len(), 3, "{name}: one more by chance");
            assert!(
                earned.iter().all(|place| got.contains(place)),
                "{name}: {got:?}"
            );
            assert!(
                got.iter().all(|&place| peers[place].interested),
                "{name}: {got:?}"
            );
        }
    }
}

#[test]
fn slots_are_a_bound_and_none_stays_empty() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut peers: Vec<_> = (0..20).map(|slot| peer(slot, rng.below(4))).collect();
        let slots = rng.next_u32() % 8;
        let mut choker = Choker::new(slots);
        let seeding = rng.chance(1, 2);
        for round in 0..20 {
            for peer in &mut peers {
                peer.interested = rng.chance(2, 3);
                peer.snubbed = rng.chance(1, 5);
                peer.is_new = rng.chance(1, 5);
            }
            let may = choker.rechoke(at(round * 10), &peers, seeding, &mut rng);
            apply(at(round * 10), &mut peers, &may);
            let interested = peers.iter().filter(|peer| peer.interested).count();
            let want = if slots == 0 {
                interested
            } else {
                interested.min(slots as usize)
            };
            assert_eq!(chosen(&may).len(), want, "seed {seed} round {round}");
            assert!(
                peers.iter().all(|peer| peer.interested || !peer.unchoked),
                "seed {seed}"
            );
            assert_eq!(choker.has_room(want), slots == 0 || want < slots as usize);
        }
    }
}

#[test]
fn the_optimistic_slot_is_held_for_thirty_seconds() {
    let mut rng = Rng::new(3);
    let mut peers: Vec<_> = (0..10)
        .map(|slot| peer(slot, u64::from(slot < 2) * 100))
        .collect();
    let mut choker = Choker::new(3);
    let mut holders = Vec::new();
    for round in 0..300 {
        let may = choker.rechoke(at(round * 10), &peers, false, &mut rng);
        apply(at(round * 10), &mut peers, &may);
        assert!(may[0] && may[1]);
        holders.push(chosen(&may)[2]);
    }
    for turn in holders.chunks(3) {
        assert!(turn.iter().all(|holder| *holder == turn[0]), "{holders:?}");
    }
    assert!(
        holders
            .chunks(3)
            .zip(holders.chunks(3).skip(1))
            .all(|(a, b)| a[0] != b[0]),
        "it moves on"
    );
    let mut seen = holders.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (2..10).collect::<Vec<_>>(), "everybody gets it");
    // Its holder hangs up in the middle of its time: the slot is given anew at once.
    peers.remove(chosen(&choker.rechoke(at(3005), &peers, false, &mut rng))[2]);
    assert_eq!(
        chosen(&choker.rechoke(at(3010), &peers, false, &mut rng)).len(),
        3
    );
}

#[test]
fn new_peers_are_three_times_as_likely() {
    let mut peers: Vec<_> = (0..10).map(|slot| peer(slot, 0)).collect();
    for peer in &mut peers[..5] {
        peer.is_new = true;
    }
    let mut rng = Rng::new(1);
    let news = (0..4000)
        .filter(|_| chosen(&Choker::new(1).rechoke(at(0), &peers, false, &mut rng))[0] < 5)
        .count();
    assert!(
        (2850..3150).contains(&news),
        "{news} of 4000, 3000 expected"
    );
}

/// T12: whoever gives nothing gets at most the share of one slot among peers that give.
#[test]
fn a_free_rider_gets_less_than_a_slots_share() {
    for slots in [2, 4, 8] {
        let mut rng = Rng::new(u64::from(slots));
        let mut peers: Vec<_> = (0..slots * 2).map(|slot| peer(slot, 1000)).collect();
        peers[0].rate_from = 0;
        let mut choker = Choker::new(slots);
        let (mut rider, mut all) = (0, 0);
        for round in 0..3000 {
            for peer in &mut peers[1..] {
                peer.rate_from = 900 + rng.below(200);
            }
            let may = choker.rechoke(at(round * 10), &peers, false, &mut rng);
            apply(at(round * 10), &mut peers, &may);
            rider += usize::from(may[0]);
            all += chosen(&may).len();
        }
        assert!(rider > 0, "it gets its chance");
        assert!(
            rider * slots as usize <= all,
            "{slots} slots: {rider} of {all} rounds"
        );
    }
}

#[test]
fn seeding_takes_turns_and_starves_nobody() {
    let mut rng = Rng::new(5);
    let mut peers: Vec<_> = (0..23).map(|slot| peer(slot, 0)).collect();
    let mut choker = Choker::new(4);
    let mut rounds = [0_u32; 23];
    let mut waits = [0_u32; 23];
    for round in 0..1000 {
        let may = choker.rechoke(at(round * 10), &peers, true, &mut rng);
        apply(at(round * 10), &mut peers, &may);
        for (place, &may) in may.iter().enumerate() {
            peers[place].rate_to = if may { 1000 * place as u64 } else { 0 };
            rounds[place] += u32::from(may);
            waits[place] = if may { 0 } else { waits[place] + 1 };
            assert!(
                waits[place] <= 6 * 23_u32.div_ceil(4),
                "peer {place} in round {round}"
            );
        }
    }
    let (least, most) = (rounds.iter().min().unwrap(), rounds.iter().max().unwrap());
    assert!(
        most - least <= 12,
        "within two turns of each other: {rounds:?}"
    );
}

#[test]
fn a_turn_that_is_over_goes_on_for_the_fastest_when_too_few_wait() {
    let mut peers: Vec<_> = (0..5).map(|slot| peer(slot, 0)).collect();
    for (place, peer) in peers[..4].iter_mut().enumerate() {
        peer.unchoked = true;
        peer.rate_to = [30, 10, 40, 20][place];
    }
    let may = Choker::new(4).rechoke(at(100), &peers, true, &mut Rng::new(1));
    assert_eq!(
        chosen(&may),
        [0, 2, 3, 4],
        "who waits comes in, the slowest goes"
    );
    for peer in &mut peers[..4] {
        peer.since = at(90);
    }
    let may = Choker::new(4).rechoke(at(100), &peers, true, &mut Rng::new(1));
    assert_eq!(
        chosen(&may),
        [0, 1, 2, 3],
        "turns that are not over are kept"
    );
}
