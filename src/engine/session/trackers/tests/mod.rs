//! One torrent's trackers on a clock set by hand: [`Scene`] brings them to a state in few calls.

use super::*;
use crate::codec::announce::INTERVAL_MAX;
use crate::codec::announce::http::{decode_http_request, encode_http};
use crate::codec::announce::udp::{
    UdpAnswer, UdpBody, decode_request, encode_answer, transaction_of,
};
use crate::ids::{InfoHash, PeerId};

mod course;
mod udp;
mod walk;

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
                peers: 1,
                private: false,
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
                // Nobody else is here.
                Step::Turn { tracker, .. } => self.trackers.grant(self.now, tracker),
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
            Step::Datagram { to, bytes, .. } => (to.to_string(), bytes),
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
