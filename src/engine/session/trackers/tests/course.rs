//! What holds whatever happens, driven by chance with a printed seed.

use super::*;

/// What every tracker must see, whatever happens: `started` first, and nothing behind `stopped` but `started`.
#[test]
fn any_course_of_events_keeps_the_order_of_events_and_always_goes_on() {
    let mut completed_ever = 0;
    for seed in 0..300 {
        let mut chance = Rng::new(seed);
        let mut scene = Scene::new(&[&[A, U], &[B], &["udp://9.9.9.9:1"]]);
        let mut http: Vec<Asked> = Vec::new();
        let mut told: std::collections::BTreeMap<String, AnnounceEvent> = Default::default();
        let mut completed = 0;
        let mut running = false;
        for turn in 0..400 {
            let case = format!("seed {seed} turn {turn}");
            for step in scene.steps() {
                match step {
                    Step::Http { ask, url, .. } => {
                        let event = decode_http_request(&url).unwrap().event;
                        let host = url::Url::parse(&url)
                            .unwrap()
                            .host_str()
                            .unwrap()
                            .to_owned();
                        note(&mut told, &host, event, &case);
                        http.push(Asked {
                            ask,
                            host,
                            event,
                            want: 0,
                        });
                    }
                    Step::Resolve { ask, .. } => {
                        let result = match chance.below(3) {
                            0 => Err("no".to_owned()),
                            1 => Ok(vec![address(U4)]),
                            _ => Ok(vec![address(U4), address(U6)]),
                        };
                        let now = scene.now;
                        scene.trackers.on_resolved(now, ask, result, &mut scene.rng);
                    }
                    Step::Datagram { to, bytes, .. } => {
                        let request = decode_request(&bytes).unwrap();
                        if let Some((_, announce)) = &request.announce {
                            note(&mut told, &to.to_string(), announce.event, &case);
                        }
                        let body = match chance.below(4) {
                            0 => continue,
                            1 => UdpBody::Error("no".to_owned()),
                            _ if request.announce.is_none() => UdpBody::Connect { connection: 3 },
                            _ => udp_answer("9.9.9.9:9"),
                        };
                        let event = request.announce.map(|(_, announce)| announce.event);
                        let answered = !matches!(body, UdpBody::Error(_));
                        let owned = scene.reply(&to.to_string(), &bytes, body);
                        completed += usize::from(owned && answered && event == Some(COMPLETED));
                    }
                    Step::Report(_) | Step::Turn { .. } => unreachable!(),
                }
            }
            match chance.below(12) {
                0 => {
                    scene.trackers.start(scene.now);
                    running = true;
                }
                1 if chance.chance(1, 3) => {
                    scene.trackers.stop(scene.now);
                    running = false;
                }
                2 => scene.trackers.completed(),
                3 => scene.trackers.need_peers(scene.now),
                4..=8 if !http.is_empty() => {
                    let asked = http.swap_remove(chance.index(http.len()));
                    if chance.chance(1, 2) {
                        let before = scene.trackers.completed_told();
                        scene.body(&asked, Ok(b"d8:intervali900e5:peers0:e"));
                        completed += usize::from(scene.trackers.completed_told() && !before);
                    } else {
                        scene.body(&asked, Err("no"));
                    }
                }
                _ => {
                    if scene.trackers.next_deadline().is_some() {
                        scene.sleep();
                    }
                }
            }
            assert!(completed <= 1, "{case}");
            scene.steps_are_bounded(&case);
            if running {
                assert!(
                    scene.trackers.next_deadline().is_some(),
                    "{case}: would sleep for ever"
                );
            }
        }
        completed_ever += completed;
    }
    assert!(
        completed_ever > 100,
        "else the above proves little: {completed_ever}"
    );
}

fn note(
    told: &mut std::collections::BTreeMap<String, AnnounceEvent>,
    who: &str,
    event: AnnounceEvent,
    case: &str,
) {
    match (told.get(who).copied().unwrap_or(STOPPED), event) {
        (STOPPED, STARTED | STOPPED) | (_, STARTED) => {}
        (STOPPED, _) => panic!("{case}: {who} was told {event:?} before started"),
        _ => {}
    }
    told.insert(who.to_owned(), event);
}

impl Scene {
    fn steps_are_bounded(&self, case: &str) {
        assert!(self.trackers.reports.len() <= 8, "{case}");
        // One at a time, but for those that have been silent for long.
        let asked = self.trackers.trackers.iter();
        let asked = asked.filter_map(|one| one.asked_at());
        let waited_for = asked.filter(|&at| self.now < at + PATIENCE);
        assert!(
            waited_for.count() <= 1 || self.trackers.phase == Phase::Stopping,
            "{case}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut scene = Scene::started(&[&[A, B], &[U]]);
        let mut log = String::new();
        for _ in 0..50 {
            for step in scene.steps() {
                log.push_str(&format!("{:?} {step:?}\n", scene.now));
                if let Step::Http { ask, .. } = step {
                    let now = scene.now;
                    scene
                        .trackers
                        .on_http(now, ask, Err("no".to_owned()), &mut scene.rng);
                }
            }
            scene.sleep();
        }
        log
    };
    assert_eq!(run(), run());
}
