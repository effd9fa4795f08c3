//! Ten thousand torrents at rest and their trackers: who is asked when, and how often.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::*;
use crate::codec::announce::http::{decode_http_request, encode_http};
use crate::codec::announce::udp::{UdpAnswer, UdpBody, decode_request, encode_answer};
use crate::codec::announce::{AnnounceAnswer, AnnounceEvent};
use crate::engine::library::trackers::TrackerUrl;
use crate::engine::message::{FetchOutcome, FetchTask, Fetched};
use crate::engine::pace;

const MANY: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(1800);

/// `count` whole torrents at rest; the nth is at the nth of these trackers, and begins again at the first.
fn resting(count: usize, trackers: &[&str]) -> Bench {
    let mut bench = Bench::new();
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    bench.ask(add("one", true));
    bench.store_answers(true, &mut rows);
    let one = rows.swap_remove(0);
    let row = |index: usize| {
        let mut row = one.clone();
        let mut brief = (*row.brief).clone();
        let number = u32::try_from(index).unwrap();
        brief.info_hash.0[..4].copy_from_slice(&number.to_be_bytes());
        row.brief = Arc::new(brief);
        row.standing.bytes_have = row.standing.bytes_wanted;
        row.standing.whole = true;
        row.paused = false;
        row.number = number + 1;
        row.position = number;
        row.trackers = Some(Arc::new([TrackerUrl {
            id: 0,
            tier: 0,
            url: trackers[index % trackers.len()].to_owned(),
        }]));
        row
    };
    let mut bench = Bench::new();
    bench.store_answers(true, &mut (0..count).map(row).collect());
    bench
}

impl Bench {
    /// Without the checks, which walk over everything.
    fn quick(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Store(job) => self.store.push_back((job.id, job.session, job.task)),
                Output::Event(_) => {}
                output => self.sent.push(output),
            }
        }
    }

    /// What the gateway was asked since the last look.
    fn fetches(&mut self) -> Vec<(JobId, String)> {
        let taken = std::mem::take(&mut self.sent);
        let fetch = |output| match output {
            Output::Fetch(fetch) => match fetch.task {
                FetchTask::Http { url, .. } => Some((fetch.id, url)),
                FetchTask::Resolve { .. } => panic!("nothing is to be looked up"),
            },
            stopped @ Output::Stopped(_) => {
                self.sent.push(stopped);
                None
            }
            _ => None,
        };
        taken.into_iter().filter_map(fetch).collect()
    }

    fn http_answer(&mut self, id: JobId, result: Result<(), ()>) {
        let answer = AnnounceAnswer {
            interval: INTERVAL,
            ..AnnounceAnswer::default()
        };
        let result = result.map(|()| encode_http(&Ok(answer)));
        let result = result.map_err(|()| "connection refused".to_owned());
        let outcome = FetchOutcome::Http(result);
        self.quick(Input::Fetched(Fetched { id, outcome }));
    }

    /// A tracker that answers everything, oldest first; who has said what, and how many were asked at once at most.
    fn serve_http(&mut self) -> (Vec<(InfoHash, AnnounceEvent)>, usize) {
        let mut said = Vec::new();
        let mut open: VecDeque<(JobId, String)> = self.fetches().into();
        let mut most = open.len();
        while let Some((id, url)) = open.pop_front() {
            let announce = decode_http_request(&url).unwrap();
            said.push((announce.info_hash, announce.event));
            self.http_answer(id, Ok(()));
            open.extend(self.fetches());
            most = most.max(open.len());
        }
        (said, most)
    }

    fn end(&mut self) {
        let budget = Duration::from_secs(2);
        self.quick(Input::Message {
            message: Message::Shutdown { budget },
            reply: None,
        });
    }

    /// How many trackers have not answered, when all is over.
    fn unanswered(&self) -> Option<usize> {
        let report = |output: &Output| match output {
            Output::Stopped(report) => Some(report.trackers_unanswered),
            _ => None,
        };
        self.sent.iter().find_map(report)
    }
}

fn each_once(said: &[(InfoHash, AnnounceEvent)], event: AnnounceEvent, count: usize) {
    assert!(said.iter().all(|(_, said)| *said == event));
    let hashes: BTreeSet<InfoHash> = said.iter().map(|(hash, _)| *hash).collect();
    assert_eq!((said.len(), hashes.len()), (count, count));
}

#[test]
fn ten_thousand_at_rest_ask_an_http_tracker_a_few_at_a_time_and_leave_it_so() {
    let mut bench = resting(MANY, &["http://t.example/announce"]);
    let (said, most) = bench.serve_http();
    assert_eq!(most, pace::HTTP_PER_HOST);
    each_once(&said, AnnounceEvent::Started, MANY);
    bench.end();
    let (said, most) = bench.serve_http();
    assert_eq!(most, pace::HTTP_PER_HOST_ENDING);
    each_once(&said, AnnounceEvent::Stopped, MANY);
    assert_eq!(bench.unanswered(), Some(0));
}

#[test]
fn one_tracker_with_thousands_does_not_hold_up_another() {
    let mut bench = resting(
        1000,
        &["http://a.example/announce", "http://b.example/announce"],
    );
    // The first says nothing; the second answers all of its own.
    let (mut silent, mut told) = (0, 0);
    let mut open = bench.fetches();
    while let Some((id, url)) = open.pop() {
        if url.starts_with("http://a.") {
            silent += 1;
        } else {
            told += 1;
            bench.http_answer(id, Ok(()));
            open.extend(bench.fetches());
        }
    }
    assert_eq!((silent, told), (pace::HTTP_PER_HOST, 500));
}

#[test]
fn regular_announces_are_spread_and_never_come_at_once_again() {
    let mut bench = resting(2000, &["http://t.example/announce"]);
    bench.serve_http();
    let begun = bench.now;
    let mut by_second: BTreeMap<u64, usize> = BTreeMap::new();
    let mut said = 0;
    while said < 2000 {
        bench.now = bench.engine.next_deadline().expect("timers");
        bench.quick(Input::Tick);
        let now = bench.serve_http().0;
        assert!(now.iter().all(|(_, event)| *event == AnnounceEvent::None));
        let second = bench.now.since(begun).as_secs();
        *by_second.entry(second).or_default() += now.len();
        said += now.len();
    }
    assert!(by_second.values().all(|count| *count < 50), "{by_second:?}");
}

#[test]
fn a_dead_tracker_is_asked_by_few_whoever_waits_for_it() {
    let mut bench = resting(MANY, &["http://t.example/announce"]);
    let mut by_minute: BTreeMap<u64, usize> = BTreeMap::new();
    let hour = Duration::from_secs(3600);
    loop {
        let mut open = bench.fetches();
        while let Some((id, _)) = open.pop() {
            *by_minute
                .entry(bench.now.as_micros() / 60_000_000)
                .or_default() += 1;
            bench.http_answer(id, Err(()));
            open.extend(bench.fetches());
        }
        match bench.engine.next_deadline() {
            Some(at) if at.since(Instant::ZERO) < hour => bench.now = at.max(bench.now),
            _ => break,
        }
        bench.quick(Input::Tick);
    }
    let all: usize = by_minute.values().sum();
    let most = pace::HTTP_PER_HOST + pace::FAILURES_MAX as usize;
    assert!(
        by_minute.values().all(|count| *count <= most),
        "{by_minute:?}"
    );
    assert!((10..40).contains(&all), "{by_minute:?}");
    // It answers again, and so everyone is told of; nobody waits for more than the longest pause.
    bench.now += pace::SHUT_MAX;
    let begun = bench.now;
    let mut said = BTreeMap::new();
    while said.len() < MANY {
        bench.quick(Input::Tick);
        for (info_hash, event) in bench.serve_http().0 {
            said.entry(info_hash).or_insert(event);
        }
        bench.now = bench.engine.next_deadline().expect("timers").max(bench.now);
    }
    // Those few that have found out by themselves wait for an hour at most.
    let is_first = |event: &AnnounceEvent| *event == AnnounceEvent::Started;
    assert!(said.values().all(is_first));
    assert!(bench.now.since(begun) < hour + hour / 5);
}

/// A tracker of datagrams that answers everything.
#[derive(Default)]
struct Datagrams {
    connects: usize,
    said: Vec<(InfoHash, AnnounceEvent)>,
    most: usize,
}

impl Datagrams {
    fn serve(bench: &mut Bench) -> Self {
        let mut seen = Self::default();
        let mut open: VecDeque<(SocketAddr, Vec<u8>)> = VecDeque::new();
        loop {
            for output in std::mem::take(&mut bench.sent) {
                match output {
                    Output::Datagram { to, bytes } => open.push_back((to, bytes)),
                    stopped @ Output::Stopped(_) => bench.sent.push(stopped),
                    _ => {}
                }
            }
            seen.most = seen.most.max(open.len());
            let Some((from, bytes)) = open.pop_front() else {
                return seen;
            };
            let request = decode_request(&bytes).unwrap();
            let body = match request.announce {
                None => {
                    seen.connects += 1;
                    UdpBody::Connect { connection: 9 }
                }
                Some((_, announce)) => {
                    seen.said.push((announce.info_hash, announce.event));
                    UdpBody::Announce(AnnounceAnswer {
                        interval: INTERVAL,
                        ..AnnounceAnswer::default()
                    })
                }
            };
            let transaction = request.transaction;
            let answer = UdpAnswer { transaction, body };
            let bytes = &mut encode_answer(&answer, false)[..];
            // An answer that nobody waits for changes nothing.
            bench.quick(Input::Datagram { from, bytes });
        }
    }
}

#[test]
fn a_udp_tracker_gives_one_number_for_ten_thousand() {
    let mut bench = resting(MANY, &["udp://10.9.9.9:6969"]);
    let seen = Datagrams::serve(&mut bench);
    each_once(&seen.said, AnnounceEvent::Started, MANY);
    assert_eq!(seen.most, pace::UDP_PER_HOST);
    assert!(seen.connects <= pace::UDP_PER_HOST, "{}", seen.connects);
    bench.now += Duration::from_secs(600);
    bench.end();
    let seen = Datagrams::serve(&mut bench);
    each_once(&seen.said, AnnounceEvent::Stopped, MANY);
    assert!(seen.most <= pace::UDP_PER_HOST_ENDING);
    assert!(
        seen.connects <= pace::UDP_PER_HOST_ENDING,
        "{}",
        seen.connects
    );
    assert_eq!(bench.unanswered(), Some(0));
}

#[test]
fn a_silent_tracker_holds_up_the_end_of_ten_thousand_for_a_quarter_of_the_budget() {
    let mut bench = resting(MANY, &["http://t.example/announce"]);
    bench.serve_http();
    bench.now += Duration::from_secs(1);
    let begun = bench.now;
    bench.end();
    while bench.unanswered().is_none() {
        bench.now = bench.engine.next_deadline().expect("timers").max(bench.now);
        bench.quick(Input::Tick);
    }
    assert_eq!(bench.now.since(begun), Duration::from_millis(500));
    assert_eq!(bench.unanswered(), Some(MANY));
}

#[test]
fn a_torrent_whose_tracker_is_silent_goes_at_once_and_may_come_back() {
    let mut bench = resting(2, &["http://t.example/announce"]);
    bench.serve_http();
    let remove = bench.change(Change::Remove { delete: false });
    bench.store_answers(true, &mut Vec::new());
    assert!(matches!(bench.answer(remove), Some(Answer::Changed(2))));
    let farewells = bench.fetches();
    assert_eq!(farewells.len(), 2, "both are said");
    bench.engine.check();
    assert_eq!(bench.engine.sessions.len(), 0, "and nobody waits for them");
    // Nobody waits for the answer either, whenever it comes.
    bench.http_answer(farewells[0].0, Ok(()));
    assert!(!bench.engine.farewells.is_empty());
    bench.http_answer(farewells[1].0, Err(()));
    assert!(bench.engine.farewells.is_empty());
    assert_eq!(bench.engine.pace.counts(), (0, 0));
}
