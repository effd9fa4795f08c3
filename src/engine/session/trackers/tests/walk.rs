//! Tiers, timers and events, shown with trackers that speak HTTP.

use super::*;

#[test]
fn the_first_announce_is_started_and_the_interval_is_honoured() {
    let mut scene = Scene::started(&[&[A]]);
    let first = scene.one();
    assert_eq!((first.event, first.want), (STARTED, 50));
    assert_eq!(scene.asked(), [], "one at a time");
    match scene.answer(&first, 900) {
        Report::Success {
            url,
            tier,
            peers,
            next_announce,
            tracker_is_local,
            ..
        } => {
            assert_eq!((url.as_str(), tier), (A, 0));
            assert_eq!(peers, [address("9.9.9.9:9")]);
            assert!(next_announce >= secs(900) && next_announce <= secs(990));
            assert!(!tracker_is_local);
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..3 {
        assert_eq!(scene.asked(), []);
        let slept = scene.sleep();
        assert!(slept >= secs(900) && slept <= secs(990), "{slept:?}");
        let next = scene.one();
        assert_eq!(next.event, NONE);
        scene.answer(&next, 900);
    }
}

#[test]
fn hostile_intervals_are_clamped() {
    #[rustfmt::skip]
    let table: &[(&[u8], Duration)] = &[
        (b"d8:intervali0e5:peers0:e",           secs(1800)),
        (b"d8:intervali-7e5:peers0:e",          secs(1800)),
        (b"d5:peers0:e",                        secs(1800)),
        (b"d8:intervali1e5:peers0:e",           secs(60)),
        (b"d8:intervali4294967295e5:peers0:e",  INTERVAL_MAX),
        (b"d8:intervali9223372036854775807e5:peers0:e", INTERVAL_MAX),
    ];
    for (body, want) in table {
        let mut scene = Scene::started(&[&[A]]);
        let first = scene.one();
        scene.body(&first, Ok(body));
        let slept = scene.sleep();
        assert!(slept >= *want && slept <= *want * 11 / 10, "{slept:?}");
    }
}

#[test]
fn failures_back_off_and_never_end() {
    let mut scene = Scene::started(&[&[A]]);
    for want in [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600] {
        let asked = scene.one();
        assert_eq!(asked.event, STARTED, "until one is answered");
        let (_, next) = scene.fail(&asked);
        let slept = scene.sleep();
        assert_eq!(slept, next);
        let want = secs(want);
        assert!(
            slept >= want * 9 / 10 && slept <= want * 11 / 10,
            "{slept:?}"
        );
    }
    let asked = scene.one();
    scene.answer(&asked, 900);
    scene.sleep();
    let asked = scene.one();
    let (_, next) = scene.fail(&asked);
    assert!(next <= secs(66), "an answer forgives: {next:?}");
}

#[test]
fn refusals_name_their_own_pause() {
    #[rustfmt::skip]
    let table: &[(&[u8], Duration, Duration)] = &[
        (b"d14:failure reason2:noe",                  secs(54), secs(66)),
        (b"d14:failure reason2:no8:retry ini30ee",    secs(1800), secs(1800)),
        (b"d14:failure reason2:no8:retry in5:nevere", BACKOFF_NEVER, BACKOFF_NEVER),
    ];
    for (body, least, most) in table {
        let mut scene = Scene::started(&[&[A]]);
        let first = scene.one();
        scene.body(&first, Ok(body));
        let slept = scene.sleep();
        assert!(slept >= *least && slept <= *most, "{slept:?}");
        assert_eq!(scene.one().event, STARTED);
    }
}

#[test]
fn garbage_is_a_failure_with_a_clear_text() {
    let huge = vec![b'x'; ANSWER_BYTES_MAX + 1];
    #[rustfmt::skip]
    let table: &[(&str, Result<&[u8], &str>)] = &[
        ("is empty",                            Ok(b"")),
        ("is a web page",                       Ok(b"<html>502</html>")),
        ("is not bencoded",                     Ok(b"\x00\x01\x02")),
        ("is not bencoded",                     Ok(b"d8:intervali900")),
        ("is not a dictionary",                 Ok(b"i1e")),
        ("neither an interval nor peers",       Ok(b"de")),
        ("larger than 512 KiB",                 Ok(&huge)),
        ("refuses: not registered",             Ok(b"d14:failure reason14:not registerede")),
        ("refuses without a reason",            Ok(b"d14:failure reason0:e")),
        ("status 500",                          Err("status 500")),
    ];
    for (text, result) in table {
        let mut scene = Scene::started(&[&[A]]);
        let first = scene.one();
        match scene.body(&first, *result) {
            Some(Report::Failed { error, url, .. }) => {
                assert!(error.contains(text), "{error}");
                assert_eq!(url, A);
            }
            other => panic!("{text}: {other:?}"),
        }
        let status: Vec<_> = scene.trackers.status().collect();
        assert_eq!(status[0].state, TrackerState::Failed);
        assert!(status[0].error.contains(text));
    }
}

#[test]
fn a_lost_answer_is_only_a_timer() {
    let mut scene = Scene::started(&[&[A]]);
    let first = scene.one();
    assert_eq!(scene.sleep(), HTTP_TIMEOUT + GRACE);
    assert_eq!(scene.steps(), []);
    assert!(
        matches!(&scene.reports[..], [Report::Failed { error, .. }] if error.contains("in time"))
    );
    assert!(scene.body(&first, Ok(b"d5:peers0:e")).is_none(), "too late");
    scene.sleep();
    assert_eq!(scene.one().event, STARTED);
}

#[test]
fn tiers_are_walked_in_order_and_the_walk_ends_at_the_first_answer() {
    let mut scene = Scene::started(&[&[A], &[B]]);
    let a = scene.one();
    assert_eq!(a.host, "a.example");
    scene.fail(&a);
    let b = scene.one();
    assert_eq!((b.host.as_str(), b.event), ("b.example", STARTED));
    scene.answer(&b, 900);
    assert_eq!(
        scene.asked(),
        [],
        "the dead one is not asked before the next announce"
    );
    assert!(scene.sleep() >= secs(900));
    let a = scene.one();
    assert_eq!(
        (a.host.as_str(), a.event),
        ("a.example", STARTED),
        "first tier first"
    );
    scene.answer(&a, 900);
    scene.sleep();
    assert_eq!(scene.one().host, "a.example");
}

#[test]
fn when_all_fail_the_first_whose_pause_is_over_is_asked() {
    let mut scene = Scene::started(&[&[A], &[B]]);
    let mut hosts = Vec::new();
    for _ in 0..6 {
        let asked = scene.asked();
        for one in &asked {
            hosts.push(one.host.clone());
            scene.fail(one);
        }
        if asked.is_empty() {
            let slept = scene.sleep();
            assert!(slept <= secs(132), "{slept:?}");
        }
    }
    assert!(hosts.len() >= 4, "{hosts:?}");
    assert!(hosts.contains(&"a.example".to_owned()) && hosts.contains(&"b.example".to_owned()));
}

#[test]
fn whoever_answers_moves_to_the_front_of_its_tier() {
    let urls: Vec<String> = (0..5).map(|i| format!("http://t{i}.example/a")).collect();
    let tier: Vec<&str> = urls.iter().map(String::as_str).collect();
    let mut scene = Scene::started(&[&tier, &[B]]);
    let order: Vec<String> = scene.trackers.status().map(|one| one.url).collect();
    for _ in 0..3 {
        let asked = scene.one();
        scene.fail(&asked);
    }
    let fourth = scene.one();
    scene.answer(&fourth, 900);
    let now: Vec<String> = scene.trackers.status().map(|one| one.url).collect();
    let want = [3, 0, 1, 2, 4, 5].map(|at| order[at].clone());
    assert_eq!(now, want);
    scene.sleep();
    assert_eq!(scene.one().host, fourth.host);
}

#[test]
fn tiers_are_shuffled_within_themselves() {
    let first = |seed| {
        let tiers = [vec![A.to_owned(), B.to_owned()], vec![U.to_owned()]];
        let trackers = Trackers::new(&tiers, &mut Rng::new(seed));
        let order: Vec<(u32, String)> = trackers.status().map(|one| (one.tier, one.url)).collect();
        assert_eq!(order[2], (1, U.to_owned()));
        order[0].1.clone()
    };
    let firsts: BTreeSet<String> = (0..20).map(first).collect();
    assert_eq!(firsts.len(), 2);
}

#[test]
fn completed_is_said_once_to_the_tracker_in_use() {
    let mut scene = Scene::started(&[&[A], &[B]]);
    let a = scene.one();
    scene.trackers.completed();
    assert_eq!(scene.asked(), [], "started is answered first");
    scene.answer(&a, 900);
    let a = scene.one();
    assert_eq!((a.host.as_str(), a.event), ("a.example", COMPLETED));
    assert!(!scene.trackers.completed_told());
    scene.answer(&a, 900);
    assert!(scene.trackers.completed_told());
    scene.trackers.completed();
    assert_eq!(scene.asked(), []);
    scene.sleep();
    assert_eq!(scene.one().event, NONE);
}

#[test]
fn completed_waits_for_whoever_answers_when_the_tracker_in_use_fails() {
    let mut scene = Scene::started(&[&[A], &[B]]);
    let a = scene.one();
    scene.answer(&a, 900);
    scene.trackers.completed();
    let a = scene.one();
    assert_eq!(a.event, COMPLETED);
    scene.fail(&a);
    let b = scene.one();
    assert_eq!((b.host.as_str(), b.event), ("b.example", STARTED));
    scene.answer(&b, 900);
    let b = scene.one();
    assert_eq!((b.host.as_str(), b.event), ("b.example", COMPLETED));
    scene.answer(&b, 900);
    scene.sleep();
    let a = scene.one();
    assert_eq!((a.host.as_str(), a.event), ("a.example", NONE));
}

#[test]
fn a_torrent_complete_from_the_start_never_says_completed() {
    let mut scene = Scene::started(&[&[A]]);
    scene.facts.left = 0;
    for want in [STARTED, NONE, NONE] {
        let asked = scene.one();
        assert_eq!(asked.event, want);
        scene.answer(&asked, 900);
        scene.sleep();
    }
}

#[test]
fn stopped_goes_only_to_those_that_heard_started() {
    let mut scene = Scene::started(&[&[A], &[B], &["http://c.example/a"]]);
    let a = scene.one();
    scene.fail(&a);
    let b = scene.one();
    scene.answer(&b, 900);
    assert!(!scene.trackers.is_stopped());
    scene.trackers.stop(scene.now);
    let farewell = scene.one();
    assert_eq!(
        (farewell.host.as_str(), farewell.event, farewell.want),
        ("b.example", STOPPED, 0)
    );
    assert!(!scene.trackers.is_stopped());
    assert_eq!(scene.trackers.unanswered(), 1);
    assert!(
        scene.body(&farewell, Ok(b"")).is_none(),
        "many answer with nothing"
    );
    assert!(scene.trackers.is_stopped());
    assert_eq!(scene.trackers.unanswered(), 0);
    assert_eq!(scene.trackers.next_deadline(), None);
    assert_eq!(scene.asked(), []);
}

#[test]
fn stopped_follows_a_started_that_is_still_on_its_way() {
    let mut scene = Scene::started(&[&[A]]);
    let started = scene.one();
    scene.trackers.stop(scene.now);
    let farewell = scene.one();
    assert_eq!(farewell.event, STOPPED);
    assert!(scene.body(&started, Ok(b"d5:peers0:e")).is_none());
    assert!(!scene.trackers.is_stopped(), "that was the wrong answer");
    scene.body(&farewell, Err("timed out"));
    assert!(scene.trackers.is_stopped());
    assert_eq!(scene.trackers.unanswered(), 1);
}

#[test]
fn stopping_before_anything_was_sent_is_over_at_once() {
    for begun in [false, true] {
        let mut scene = Scene::new(&[&[A], &[U]]);
        if begun {
            scene.trackers.start(scene.now);
        }
        scene.trackers.stop(scene.now);
        assert!(scene.trackers.is_stopped());
        assert_eq!(scene.steps(), []);
    }
}

#[test]
fn many_farewells_go_out_together() {
    let mut scene = Scene::started(&[&[A], &[B]]);
    let a = scene.one();
    scene.answer(&a, 900);
    scene.sleep();
    let a = scene.one();
    scene.fail(&a);
    let b = scene.one();
    scene.answer(&b, 900);
    scene.trackers.stop(scene.now);
    let farewells = scene.asked();
    assert_eq!(farewells.len(), 2, "{farewells:?}");
    assert!(farewells.iter().all(|one| one.event == STOPPED));
}

#[test]
fn started_again_after_a_pause() {
    let mut scene = Scene::started(&[&[A]]);
    let a = scene.one();
    scene.answer(&a, 900);
    scene.trackers.stop(scene.now);
    let farewell = scene.one();
    scene.trackers.start(scene.now);
    let again = scene.one();
    assert_eq!(again.event, STARTED);
    assert!(scene.body(&farewell, Ok(b"")).is_none());
    scene.fail(&again);
    scene.trackers.stop(scene.now);
    scene.trackers.start(scene.now);
    assert_eq!(scene.asked(), [], "a backoff outlives a pause");
    assert!(scene.sleep() <= secs(66));
    assert_eq!(scene.one().event, STARTED);
}

#[test]
fn more_peers_are_asked_for_at_the_minimum_interval() {
    #[rustfmt::skip]
    let table: &[(&[u8], Duration)] = &[
        (b"d8:intervali1800e12:min intervali300e5:peers0:e", secs(300)),
        (b"d8:intervali1800e5:peers0:e",                     MORE_PEERS_MIN),
        (b"d8:intervali60e5:peers0:e",                       secs(60)),
    ];
    for (body, want) in table {
        let mut scene = Scene::started(&[&[A]]);
        scene.trackers.need_peers(scene.now);
        let first = scene.one();
        scene.body(&first, Ok(body));
        for _ in 0..5 {
            scene.trackers.need_peers(scene.now);
            assert_eq!(scene.asked(), []);
        }
        assert_eq!(scene.sleep(), *want);
        assert_eq!(scene.one().event, NONE);
    }
}

#[test]
fn secrets_stay_out_of_reports() {
    let mut scene = Scene::started(&[&["http://a.example/announce?passkey=0123456789"]]);
    let asked = scene.one();
    let error = "error for url (http://a.example/announce?passkey=0123456789&info_hash=%01)";
    scene.body(&asked, Err(error));
    scene.sleep();
    let asked = scene.one();
    scene.body(&asked, Ok(b"d14:failure reason23:passkey 0123456789 diede"));
    let shown = format!(
        "{:?} {:?}",
        scene.reports,
        scene.trackers.status().collect::<Vec<_>>()
    );
    assert!(
        !shown.contains("0123456789") && shown.contains("passkey=***"),
        "{shown}"
    );
}

#[test]
fn trackers_are_bounded_and_named_once() {
    let many: Vec<String> = (0..500)
        .map(|i| format!("http://t{}.example/a", i / 2))
        .collect();
    let tiers = [many, vec![A.to_owned()]];
    let trackers = Trackers::new(&tiers, &mut Rng::new(1));
    let urls: BTreeSet<String> = trackers.status().map(|one| one.url).collect();
    assert_eq!(
        (urls.len(), trackers.status().count()),
        (TRACKERS_MAX, TRACKERS_MAX)
    );
}

#[test]
fn what_cannot_be_spoken_to_is_shown_and_passed_over() {
    let mut scene = Scene::started(&[&["wss://w.example/", " ", "nonsense"], &[A]]);
    assert_eq!(scene.one().host, "a.example");
    let unusable = scene.trackers.status();
    let unusable = unusable.filter(|one| one.state == TrackerState::Unusable);
    assert_eq!(unusable.filter(|one| !one.error.is_empty()).count(), 2);
    let mut none = Scene::started(&[&["wss://w.example/"]]);
    assert_eq!(
        (none.steps(), none.trackers.next_deadline()),
        (vec![], None)
    );
    let mut empty = Scene::started(&[]);
    assert_eq!(
        (empty.steps(), empty.trackers.next_deadline()),
        (vec![], None)
    );
}

#[test]
fn a_silent_tracker_is_asked_on_while_the_walk_goes_on() {
    for (peers, patience) in [(1, PATIENCE), (0, PATIENCE_ALONE)] {
        let mut scene = Scene::new(&[&[U], &[A]]);
        scene.facts.peers = peers;
        scene.trackers.start(scene.now);
        let began = scene.now;
        scene.resolve(&[U4]);
        let connect = scene.datagram();
        let a = loop {
            scene.sleep();
            let steps = scene.steps();
            match steps.iter().find(|step| matches!(step, Step::Http { .. })) {
                Some(Step::Http { ask, .. }) => break *ask,
                _ => assert!(
                    steps
                        .iter()
                        .all(|step| matches!(step, Step::Datagram { .. }))
                ),
            }
        };
        assert_eq!(scene.now.since(began), patience, "the next tier is asked");
        let asked = Asked {
            ask: a,
            host: String::new(),
            event: STARTED,
            want: 50,
        };
        scene.answer(&asked, 1800);
        // The silent one goes through all its datagrams, fails, and nobody is asked because of that.
        let mut datagrams = 0;
        while scene.reports.len() < 2 {
            scene.sleep();
            for step in scene.steps() {
                assert!(matches!(step, Step::Datagram { .. }), "{step:?}");
                datagrams += 1;
            }
        }
        assert_eq!(scene.now.since(began), secs(15 + 30 + 60 + 120));
        assert!((2..=3).contains(&datagrams), "{datagrams}");
        assert!(matches!(
            &scene.reports[..],
            [Report::Success { .. }, Report::Failed { .. }]
        ));
        assert!(!scene.reply(U4, &connect, UdpBody::Connect { connection: 1 }));
        let slept = scene.sleep();
        assert!(slept >= secs(1500), "until the next announce: {slept:?}");
    }
}

#[test]
fn a_silent_tracker_that_answers_late_is_in_use_again() {
    let mut scene = Scene::started(&[&[A], &[B]]);
    let a = scene.one();
    assert_eq!(scene.sleep(), PATIENCE);
    let b = scene.one();
    assert_eq!((b.host.as_str(), b.event), ("b.example", STARTED));
    scene.answer(&b, 900);
    assert_eq!(scene.asked(), []);
    scene.answer(&a, 900);
    assert_eq!(scene.asked(), []);
    let states: Vec<TrackerState> = scene.trackers.status().map(|one| one.state).collect();
    assert_eq!(states, [TrackerState::InUse, TrackerState::Idle]);
    scene.sleep();
    assert_eq!(scene.one().host, "a.example");
    scene.trackers.stop(scene.now);
    assert_eq!(scene.asked().len(), 2, "both were told started");
}

#[test]
fn completed_is_not_said_twice_because_a_tracker_is_silent() {
    let mut scene = Scene::started(&[&[A], &[B]]);
    let a = scene.one();
    scene.answer(&a, 900);
    scene.sleep();
    let a = scene.one();
    scene.trackers.completed();
    assert_eq!(scene.sleep(), PATIENCE);
    let b = scene.one();
    assert_eq!((b.host.as_str(), b.event), ("b.example", STARTED));
    scene.answer(&a, 900);
    assert_eq!(scene.asked(), [], "whoever is asked now may be told");
    scene.answer(&b, 900);
    let b = scene.one();
    assert_eq!((b.host.as_str(), b.event), ("b.example", COMPLETED));
    scene.now += PATIENCE;
    assert_eq!(
        scene.asked(),
        [],
        "its silence is no reason to tell another"
    );
    scene.answer(&b, 900);
    assert!(scene.trackers.completed_told());
    assert_eq!(scene.asked(), []);
}
