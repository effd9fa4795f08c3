use super::*;
use crate::codec::announce::INTERVAL_MAX;
use crate::codec::announce::http::{decode_http_request, encode_http};
use crate::codec::announce::udp::{
    UdpAnswer, UdpBody, decode_request, encode_answer, transaction_of,
};

const A: &str = "http://a.example/announce";
const B: &str = "http://b.example/announce";
const U: &str = "udp://u.example:6969/announce";
const U4: &str = "8.8.8.8:6969";
const U6: &str = "[2001:470::1]:6969";

const NONE: AnnounceEvent = AnnounceEvent::None;
const STARTED: AnnounceEvent = AnnounceEvent::Started;
const COMPLETED: AnnounceEvent = AnnounceEvent::Completed;
const STOPPED: AnnounceEvent = AnnounceEvent::Stopped;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The trackers of one torrent, their clock, and what they have done so far.
struct Scene {
    trackers: Trackers,
    now: Instant,
    rng: Rng,
    facts: Facts,
    reports: Vec<Report>,
}

/// A question as a tracker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    ask: AskId,
    host: String,
    event: AnnounceEvent,
    want: u32,
}

impl Scene {
    fn new(tiers: &[&[&str]]) -> Self {
        let mut rng = Rng::new(11);
        let tiers: Vec<Vec<String>> = tiers
            .iter()
            .map(|tier| tier.iter().map(|&url| url.to_owned()).collect())
            .collect();
        let trackers = Trackers::new(&tiers, &mut rng);
        Self {
            trackers,
            now: Instant::from_micros(5),
            rng,
            facts: Facts {
                info_hash: InfoHash([1; 20]),
                peer_id: PeerId(*b"-LN0100-abcdefghijkl"),
                port: 6881,
                uploaded: 0,
                downloaded: 0,
                left: 100,
                want: 50,
                key: 7,
            },
            reports: Vec::new(),
        }
    }

    fn started(tiers: &[&[&str]]) -> Self {
        let mut scene = Self::new(tiers);
        scene.trackers.start(scene.now);
        scene
    }

    /// All steps that are due, reports put aside.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = self.trackers.poll(self.now, &self.facts, &mut self.rng) {
            match step {
                Step::Report(report) => self.reports.push(report),
                step => steps.push(step),
            }
        }
        steps
    }

    /// All announces over HTTP that are due.
    fn asked(&mut self) -> Vec<Asked> {
        let asked = |step| match step {
            Step::Http { ask, url, .. } => {
                let announce = decode_http_request(&url).unwrap();
                let host = url::Url::parse(&url)
                    .unwrap()
                    .host_str()
                    .unwrap()
                    .to_owned();
                Asked {
                    ask,
                    host,
                    event: announce.event,
                    want: announce.want,
                }
            }
            other => panic!("not HTTP: {other:?}"),
        };
        self.steps().into_iter().map(asked).collect()
    }

    /// The one announce over HTTP that is due.
    fn one(&mut self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }

    fn body(&mut self, asked: &Asked, result: Result<&[u8], &str>) -> Option<Report> {
        let result = result.map(<[u8]>::to_vec).map_err(str::to_owned);
        let before = self.reports.len();
        self.trackers
            .on_http(self.now, asked.ask, result, &mut self.rng);
        // Taken at the same moment; what else is due stays for the next call.
        if let Some(report) = self.trackers.reports.pop_front() {
            self.reports.push(report);
        }
        self.reports.get(before).cloned()
    }

    fn answer(&mut self, asked: &Asked, interval: u64) -> Report {
        let answer = AnnounceAnswer {
            interval: secs(interval),
            peers: vec![address("9.9.9.9:9")],
            ..AnnounceAnswer::default()
        };
        let bytes = encode_http(&Ok(answer));
        self.body(asked, Ok(&bytes)).expect("a report")
    }

    fn fail(&mut self, asked: &Asked) -> (String, Duration) {
        match self.body(asked, Err("connection refused")) {
            Some(Report::Failed {
                error,
                next_announce,
                ..
            }) => (error, next_announce),
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass until something is due.
    fn sleep(&mut self) -> Duration {
        let deadline = self.trackers.next_deadline().expect("a deadline");
        let slept = deadline.since(self.now);
        self.now = deadline.max(self.now);
        slept
    }

    /// Sends `body` as the answer to `datagram`.
    fn reply(&mut self, from: &str, datagram: &[u8], body: UdpBody) -> bool {
        let transaction = decode_request(datagram).unwrap().transaction;
        let answer = UdpAnswer { transaction, body };
        let bytes = encode_answer(&answer, address(from).is_ipv6());
        self.trackers
            .on_datagram(self.now, address(from), &bytes, &mut self.rng)
    }

    /// All datagrams that are due.
    fn datagrams(&mut self) -> Vec<(String, Vec<u8>)> {
        let datagram = |step| match step {
            Step::Datagram { to, bytes } => (to.to_string(), bytes),
            other => panic!("no datagram: {other:?}"),
        };
        self.steps().into_iter().map(datagram).collect()
    }

    /// The one datagram that is due.
    fn datagram(&mut self) -> Vec<u8> {
        let mut datagrams = self.datagrams();
        assert_eq!(datagrams.len(), 1, "{datagrams:?}");
        datagrams.remove(0).1
    }

    /// Answers the one name that is looked up.
    fn resolve(&mut self, addresses: &[&str]) {
        let steps = self.steps();
        let [
            Step::Resolve {
                ask, host, port, ..
            },
        ] = &steps[..]
        else {
            panic!("{steps:?}")
        };
        assert_eq!((host.as_str(), *port), ("u.example", 6969));
        let addresses = addresses.iter().map(|text| address(text)).collect();
        self.trackers
            .on_resolved(self.now, *ask, Ok(addresses), &mut self.rng);
    }

    /// A UDP tracker at one IPv4 address that has just been asked for a connection.
    fn udp() -> (Self, Vec<u8>) {
        let mut scene = Self::started(&[&[U]]);
        scene.resolve(&[U4]);
        let connect = scene.datagram();
        (scene, connect)
    }

    /// The same, announced to and answered.
    fn udp_told() -> Self {
        let (mut scene, connect) = Self::udp();
        assert!(scene.reply(U4, &connect, UdpBody::Connect { connection: 77 }));
        let announce = scene.datagram();
        assert!(scene.reply(U4, &announce, udp_answer("9.9.9.9:9")));
        assert_eq!(scene.steps(), []);
        scene
    }
}

fn udp_answer(peer: &str) -> UdpBody {
    UdpBody::Announce(AnnounceAnswer {
        interval: secs(1800),
        seeders: Some(1),
        leechers: Some(2),
        peers: vec![address(peer)],
        ..AnnounceAnswer::default()
    })
}

fn udp_event(datagram: &[u8]) -> AnnounceEvent {
    let request = decode_request(datagram).unwrap();
    request.announce.expect("an announce").1.event
}

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

// ---------------------------------------------------------------------------------------------------------------- UDP

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
    assert_eq!(scene.sleep(), WAIT);
    let again = scene.datagram();
    assert_eq!(
        decode_request(&again).unwrap().announce,
        None,
        "connects anew"
    );
}

const WAIT: Duration = Duration::from_secs(15);

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

// --------------------------------------------------------------------------------------------------------- properties

/// What every tracker must see, whatever happens: `started` first, and nothing behind `stopped` but `started`.
#[test]
fn any_course_of_events_keeps_the_order_of_events_and_always_goes_on() {
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
                    Step::Datagram { to, bytes } => {
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
                    Step::Report(_) => unreachable!(),
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
    }
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
        let asking = self.trackers.trackers.iter().filter(|one| one.is_asking());
        assert!(
            asking.count() <= 1 || self.trackers.phase == Phase::Stopping,
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
