//! Lost, late and forged datagrams, and trackers with an address in each family.

use super::*;

#[test]
fn udp_connects_then_announces() {
    let (mut scene, connect) = Scene::udp();
    let request = decode_request(&connect).unwrap();
    assert_eq!(request.announce, None);
    assert!(scene.trackers.owns(request.transaction));
    assert!(scene.reply(U4, &connect, UdpBody::Connect { connection: 77 }));
    let announce = scene.datagram();
    let (connection, told) = decode_request(&announce).unwrap().announce.unwrap();
    assert_eq!(
        (connection, told.event, told.left, told.key),
        (77, STARTED, 100, 7)
    );
    assert!(scene.reply(U4, &announce, udp_answer("9.9.9.9:9")));
    assert_eq!(scene.steps(), []);
    match &scene.reports[..] {
        [
            Report::Success {
                url,
                peers,
                seeders,
                leechers,
                ..
            },
        ] => {
            assert_eq!((url.as_str(), *seeders, *leechers), (U, Some(1), Some(2)));
            assert_eq!(*peers, [address("9.9.9.9:9")]);
        }
        other => panic!("{other:?}"),
    }
    // The name and its addresses are remembered, the connection is not.
    assert!(scene.sleep() >= secs(1800));
    let connect = scene.datagram();
    assert!(scene.reply(U4, &connect, UdpBody::Connect { connection: 78 }));
    assert_eq!(udp_event(&scene.datagram()), NONE);
}

#[test]
fn udp_uses_a_connection_for_a_minute() {
    let mut scene = Scene::udp_told();
    scene.now += secs(59);
    scene.trackers.completed();
    assert_eq!(udp_event(&scene.datagram()), COMPLETED);
    // Its minute ends while the answer is lost.
    assert_eq!(scene.sleep(), secs(15));
    let again = scene.datagram();
    assert_eq!(
        decode_request(&again).unwrap().announce,
        None,
        "connects anew"
    );
}

#[test]
fn udp_sends_again_what_is_lost_and_then_gives_up() {
    let (mut scene, connect) = Scene::udp();
    for wait in [15, 30, 60] {
        assert_eq!(scene.sleep(), secs(wait));
        assert_eq!(scene.datagram(), connect, "the same again");
    }
    assert_eq!(scene.sleep(), secs(120));
    assert_eq!(scene.steps(), []);
    assert!(
        matches!(&scene.reports[..], [Report::Failed { error, .. }] if error.contains("in time"))
    );
    assert!(
        !scene.reply(U4, &connect, UdpBody::Connect { connection: 1 }),
        "too late"
    );
    assert!(scene.sleep() <= secs(66));
    scene.resolve(&["8.8.4.4:6969"]);
    assert_eq!(
        scene.datagrams()[0].0,
        "8.8.4.4:6969",
        "silence is a reason to look the name up again"
    );
}

#[test]
fn udp_announces_are_sent_again_too() {
    let (mut scene, connect) = Scene::udp();
    scene.sleep();
    assert_eq!(scene.datagram(), connect);
    assert!(scene.reply(U4, &connect, UdpBody::Connect { connection: 77 }));
    let announce = scene.datagram();
    assert_eq!(scene.sleep(), secs(15), "counted anew");
    assert_eq!(scene.datagram(), announce);
    assert!(scene.reply(U4, &announce, udp_answer("9.9.9.9:9")));
    assert!(
        !scene.reply(U4, &announce, udp_answer("9.9.9.9:9")),
        "once is enough"
    );
}

#[test]
fn udp_answers_that_are_not_ours_change_nothing() {
    let (mut scene, connect) = Scene::udp();
    let transaction = decode_request(&connect).unwrap().transaction;
    let connected = |transaction| {
        let body = UdpBody::Connect { connection: 5 };
        encode_answer(&UdpAnswer { transaction, body }, false)
    };
    let announced = UdpAnswer {
        transaction,
        body: udp_answer("6.6.6.6:6"),
    };
    #[rustfmt::skip]
    let table: Vec<(&str, &str, Vec<u8>)> = vec![
        ("other transaction", U4,              connected(transaction ^ 1)),
        ("other address",     "8.8.4.4:6969",  connected(transaction)),
        ("other port",        "8.8.8.8:6970",  connected(transaction)),
        ("cut",               U4,              connected(transaction)[..15].to_vec()),
        ("not asked for yet", U4,              encode_answer(&announced, false)),
        ("empty",             U4,              vec![]),
        ("dht",               U4,              b"d1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t2:aa1:y1:re".to_vec()),
    ];
    let before = format!("{:?}", scene.trackers);
    for (name, from, bytes) in table {
        let now = scene.now;
        assert!(
            !scene
                .trackers
                .on_datagram(now, address(from), &bytes, &mut scene.rng),
            "{name}"
        );
        assert_eq!(format!("{:?}", scene.trackers), before, "{name}");
    }
    assert!(!scene.trackers.owns(transaction ^ 1));
    assert_eq!(transaction_of(&connected(9)), Some(9));
    assert!(
        scene.trackers.on_datagram(
            scene.now,
            address("[::ffff:8.8.8.8]:6969"),
            &connected(transaction),
            &mut scene.rng
        ),
        "the same address in other dress"
    );
}

#[test]
fn udp_refusals_are_failures() {
    let (mut scene, connect) = Scene::udp();
    assert!(scene.reply(U4, &connect, UdpBody::Error("access denied".to_owned())));
    assert_eq!(scene.steps(), []);
    assert!(
        matches!(&scene.reports[..], [Report::Failed { error, .. }] if error == "the tracker refuses: access denied")
    );
}

#[test]
fn udp_connects_anew_when_the_tracker_has_forgotten_the_connection() {
    let mut scene = Scene::udp_told();
    scene.trackers.completed();
    let announce = scene.datagram();
    let forgotten = || UdpBody::Error("connection id mismatch".to_owned());
    assert!(scene.reply(U4, &announce, forgotten()));
    let connect = scene.datagram();
    assert!(scene.reply(U4, &connect, UdpBody::Connect { connection: 78 }));
    let announce = scene.datagram();
    assert_eq!(udp_event(&announce), COMPLETED);
    assert!(scene.reply(U4, &announce, forgotten()), "but not for ever");
    scene.steps();
    assert!(matches!(scene.reports.last(), Some(Report::Failed { .. })));
}

#[test]
fn udp_names_that_do_not_resolve_are_failures() {
    for result in [
        Ok(vec![]),
        Ok(vec![address("0.0.0.0:6969")]),
        Err("no such name".to_owned()),
    ] {
        let mut scene = Scene::started(&[&[U]]);
        let Some(Step::Resolve { ask, .. }) = scene.steps().pop() else {
            panic!("a name to look up")
        };
        scene
            .trackers
            .on_resolved(scene.now, ask, result, &mut scene.rng);
        assert_eq!(scene.steps(), []);
        assert!(
            matches!(&scene.reports[..], [Report::Failed { error, .. }] if error.contains("u.example cannot be resolved"))
        );
    }
    let mut lost = Scene::started(&[&[U]]);
    assert_eq!(lost.steps().len(), 1);
    assert_eq!(lost.sleep(), RESOLVE_TIMEOUT + GRACE);
    assert_eq!(lost.steps(), []);
    assert_eq!(lost.reports.len(), 1);
}

#[test]
fn udp_addresses_need_no_resolving() {
    for (url, to, local) in [
        ("udp://127.0.0.1:6969", "127.0.0.1:6969", true),
        ("udp://[::1]:6969/announce", "[::1]:6969", true),
        ("udp://8.8.8.8:6969/announce", U4, false),
    ] {
        let mut scene = Scene::started(&[&[url]]);
        let connect = scene.datagram();
        assert!(scene.reply(to, &connect, UdpBody::Connect { connection: 1 }));
        let announce = scene.datagram();
        assert!(scene.reply(to, &announce, udp_answer("10.0.0.1:9")));
        scene.steps();
        assert!(
            matches!(&scene.reports[..], [Report::Success { tracker_is_local, .. }] if *tracker_is_local == local)
        );
    }
}

#[test]
fn udp_announces_over_both_families_and_counts_once() {
    let mut scene = Scene::started(&[&[U]]);
    scene.resolve(&[U6, U4, "8.8.4.4:6969"]);
    let connects = scene.datagrams();
    assert_eq!([connects[0].0.as_str(), connects[1].0.as_str()], [U4, U6]);
    for (to, connect) in &connects {
        assert!(scene.reply(to, connect, UdpBody::Connect { connection: 1 }));
    }
    let announces = scene.datagrams();
    assert!(
        announces
            .iter()
            .all(|(_, bytes)| udp_event(bytes) == STARTED)
    );
    assert!(scene.reply(U6, &announces[1].1, udp_answer("[2001:470::9]:9")));
    assert_eq!(scene.steps(), []);
    let next = scene.trackers.due;
    assert!(scene.reply(U4, &announces[0].1, udp_answer("9.9.9.9:9")));
    assert_eq!(scene.steps(), []);
    assert_eq!(scene.reports.len(), 2, "peers of both");
    assert_eq!(scene.trackers.due, next, "one announce");

    scene.trackers.completed();
    let events: Vec<_> = scene
        .datagrams()
        .iter()
        .map(|(_, bytes)| udp_event(bytes))
        .collect();
    assert_eq!(events, [COMPLETED, NONE], "one completed");

    scene.trackers.stop(scene.now);
    let farewells = scene.datagrams();
    assert!(
        farewells
            .iter()
            .all(|(_, bytes)| udp_event(bytes) == STOPPED)
    );
    assert!(scene.reply(U4, &farewells[0].1, udp_answer("9.9.9.9:9")));
    assert!(
        !scene.trackers.is_stopped(),
        "the other one was told started too"
    );
    assert!(scene.reply(U6, &farewells[1].1, udp_answer("[2001:470::9]:9")));
    assert!(scene.trackers.is_stopped());
    assert_eq!(scene.trackers.unanswered(), 0);
}

#[test]
fn udp_does_not_wait_for_a_dead_family() {
    let mut scene = Scene::started(&[&[U]]);
    scene.resolve(&[U4, U6]);
    let connects = scene.datagrams();
    assert!(scene.reply(U4, &connects[0].1, UdpBody::Connect { connection: 1 }));
    let announce = scene.datagram();
    assert!(scene.reply(U4, &announce, udp_answer("9.9.9.9:9")));
    scene.steps();
    assert_eq!(scene.reports.len(), 1);
    for _ in 0..10 {
        if scene.sleep() > secs(200) {
            break;
        }
        assert!(scene.datagrams().iter().all(|(to, _)| to == U6));
    }
    assert_eq!(scene.reports.len(), 1, "its silence is no failure");
    scene.trackers.stop(scene.now);
    assert_eq!(scene.datagrams().len(), 1, "only one was told");
}

#[test]
fn udp_farewells_are_sent_again_quickly() {
    let mut scene = Scene::udp_told();
    scene.trackers.stop(scene.now);
    let farewell = scene.datagram();
    assert_eq!(udp_event(&farewell), STOPPED);
    assert_eq!(scene.sleep(), Duration::from_millis(500));
    assert_eq!(scene.datagram(), farewell);
    while scene.trackers.next_deadline().is_some() {
        scene.sleep();
        scene.steps();
    }
    assert!(scene.trackers.is_stopped());
    assert_eq!(scene.trackers.unanswered(), 1);
}

#[test]
fn a_private_torrent_is_announced_over_the_family_that_answers_first() {
    let mut scene = Scene::started(&[&[U]]);
    scene.facts.private = true;
    scene.resolve(&[U4, U6]);
    let connects = scene.datagrams();
    assert_eq!(connects.len(), 2);
    assert!(scene.reply(U6, &connects[1].1, UdpBody::Connect { connection: 1 }));
    let announce = scene.datagrams();
    assert_eq!(announce.len(), 1);
    assert_eq!(
        (announce[0].0.as_str(), udp_event(&announce[0].1)),
        (U6, STARTED)
    );
    let late = UdpBody::Connect { connection: 2 };
    assert!(!scene.reply(U4, &connects[0].1, late), "too late");
    assert!(scene.reply(U6, &announce[0].1, udp_answer("[2001:470::9]:9")));
    assert_eq!(scene.steps(), []);
    // It stays there, ...
    scene.sleep();
    assert_eq!(scene.datagrams()[0].0, U6);
    // ... until it is silent.
    for _ in 0..3 {
        scene.sleep();
        assert!(scene.datagrams().iter().all(|(to, _)| to == U6));
    }
    while scene
        .trackers
        .status()
        .all(|one| one.state != TrackerState::Failed)
    {
        scene.sleep();
        assert!(scene.datagrams().iter().all(|(to, _)| to == U6));
    }
    scene.sleep();
    scene.resolve(&[U4, U6]);
    let connects = scene.datagrams();
    assert_eq!(connects.len(), 2);
    assert!(scene.reply(U4, &connects[0].1, UdpBody::Connect { connection: 3 }));
    let announce = scene.datagram();
    assert!(scene.reply(U4, &announce, udp_answer("9.9.9.9:9")));
    scene.steps();
    scene.trackers.stop(scene.now);
    let farewells = scene.datagrams();
    assert_eq!(farewells.len(), 1);
    assert_eq!(
        (farewells[0].0.as_str(), udp_event(&farewells[0].1)),
        (U4, STOPPED)
    );
}
