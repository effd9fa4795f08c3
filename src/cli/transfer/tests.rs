//! Transfers against an engine that follows a script, on a clock of its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::rc::Rc;

use super::*;
use crate::codec::metainfo::{Create, CreateFile};
use crate::engine::message::SessionState;
use crate::events::{self, Event};
use crate::ids::InfoHash;

/// Collects what was printed.
#[derive(Clone, Default)]
struct Page(Rc<RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

/// How a torrent stands from a time in milliseconds on: its state, MiB of 100, and a notice (or an error).
#[derive(Clone)]
struct Scene(u64, SessionState, u64, &'static str);

/// Goes through the scenes of each torrent, by its own clock.
#[derive(Default)]
struct Fake {
    now: Instant,
    scenes: Vec<Vec<Scene>>,
    events: VecDeque<Arc<Record>>,
    asked: Vec<String>,
    refuse: Option<Refusal>,
    metrics_told: u32,
    ends_after: Duration,
    end_at: Option<Instant>,
    abandoned: Vec<String>,
}

impl Engine for Fake {
    fn now(&self) -> Instant {
        self.now
    }

    fn ask(&mut self, message: Message) -> Result<Answer, String> {
        if let Some(refusal) = self.refuse {
            return Ok(Answer::Refused(refusal));
        }
        let name = format!("{message:?}");
        let name = name.split([' ', '(']).next().unwrap_or_default();
        Ok(match message {
            Message::SessionShow { session } => Answer::Snapshot(Box::new(self.show(session))),
            Message::SessionAdd(_) => {
                let before = self.asked.iter().filter(|text| *text == name).count();
                self.asked.push(name.to_owned());
                Answer::Session(SessionId::new(u32::try_from(before).unwrap(), 0))
            }
            _ => {
                self.asked.push(name.to_owned());
                Answer::Done
            }
        })
    }

    fn next_event(&mut self, timeout: Duration) -> Option<Arc<Record>> {
        let event = self.events.pop_front();
        if event.is_none() {
            self.now += timeout;
        }
        event
    }

    fn next_notice(&mut self) -> Option<String> {
        None
    }

    fn metrics(&mut self) -> Result<String, String> {
        self.metrics_told += 1;
        Ok("one 1\ntwo 2\n".to_owned())
    }

    fn begin_shutdown(&mut self, budget: Duration) {
        self.asked.push(format!("shutdown within {budget:?}"));
        self.end_at = Some(self.now + self.ends_after);
    }

    fn ended(&mut self, timeout: Duration) -> Option<Vec<String>> {
        if self.end_at.is_some_and(|at| at <= self.now) {
            return Some(self.abandoned.clone());
        }
        self.now += timeout;
        None
    }
}

impl Fake {
    fn of(scenes: &[&[Scene]]) -> Self {
        Self {
            scenes: scenes.iter().map(|scenes| scenes.to_vec()).collect(),
            ..Self::default()
        }
    }

    fn show(&self, session: SessionId) -> SessionSnapshot {
        let millis = self.now.as_micros() / 1000;
        let scenes = &self.scenes[session.slot()];
        let scene = scenes.iter().rev().find(|scene| scene.0 <= millis);
        let &Scene(_, state, mebibytes, text) = scene.unwrap();
        let is_error = state == Error;
        let said = |wanted: bool| {
            if wanted {
                text.to_owned()
            } else {
                String::new()
            }
        };
        SessionSnapshot {
            time: self.now,
            session,
            info_hash: InfoHash([7; 20]),
            name: "a".into(),
            state,
            error: said(is_error),
            pieces_have: u32::try_from(mebibytes / 10).unwrap(),
            pieces_total: 10,
            pieces_checked: 0,
            pieces_to_check: 10,
            bytes_wanted: 100 << 20,
            bytes_have: mebibytes << 20,
            downloaded: if scenes.len() > 1 { mebibytes << 20 } else { 0 },
            uploaded: 0,
            wasted: 0,
            download_rate: 0,
            upload_rate: 0,
            peers: Vec::new(),
            candidates: 0,
            metadata: None,
            notices: vec![said(!is_error)],
            error_lasts: false,
        }
    }
}

/// Signals, each by the number of times that somebody has looked for one.
struct After(Vec<(u32, Signal)>, u32);

impl Signals for After {
    fn next(&mut self) -> Option<Signal> {
        self.1 += 1;
        let at = self.0.iter().position(|&(count, _)| count <= self.1)?;
        Some(self.0.remove(at).1)
    }
}

fn torrent() -> Source {
    let create = Create {
        name: "a".into(),
        files: vec![CreateFile {
            length: 100,
            ..CreateFile::default()
        }],
        piece_length: 16_384,
        ..Create::default()
    };
    let metainfo = Metainfo::decode(&create.encode(&[[0; 20]])).unwrap();
    Source::Torrent(Box::new(metainfo))
}

/// What the tests vary of an order.
struct Case {
    torrents: usize,
    download: bool,
    seed: bool,
    json: bool,
    signals: Vec<(u32, Signal)>,
}

const GET: Case = Case {
    torrents: 1,
    download: true,
    seed: false,
    json: false,
    signals: Vec::new(),
};

fn order(case: &Case) -> Order {
    Order {
        sources: (0..case.torrents).map(|_| torrent()).collect(),
        select: None,
        keep: None,
        root: "/d".into(),
        peers: ["1.2.3.4:5", "h.example:6"]
            .map(|peer| peer.parse().unwrap())
            .to_vec(),
        download: case.download,
        seed: case.seed,
        json: case.json,
        budget: Duration::from_secs(2),
    }
}

/// The exit code, stdout and stderr.
fn transfer(case: Case, fake: &mut Fake) -> (Result<u8, Failure>, String, String) {
    let (out, notes) = (Page::default(), Page::default());
    let mut console = Console::to(Box::new(out.clone()), Box::new(notes.clone()));
    let order = order(&case);
    let code = run(order, fake, &mut After(case.signals, 0), &mut console);
    console.flush().unwrap();
    (code, out.text(), notes.text())
}

use SessionState::{Checking, Downloading, Error, Seeding};

#[test]
fn a_download_ends_when_everything_is_there() {
    let mut fake = Fake::of(&[&[
        Scene(0, Checking, 0, ""),
        Scene(1000, Downloading, 0, "tracker t: refused"),
        Scene(2000, Downloading, 50, "tracker t: refused"),
        Scene(3000, Seeding, 100, ""),
    ]]);
    let (code, out, notes) = transfer(GET, &mut fake);
    assert_eq!(code, Ok(EXIT_OK));
    assert_eq!(out, "");
    assert_eq!(
        notes,
        "a: 100 B to /d\na: tracker t: refused\na: complete, 100 MiB in 2.0 s, 50.0 MiB/s\n"
    );
    assert_eq!(
        fake.asked,
        [
            "SessionAdd",
            "PeerAdd",
            "PeerAddNamed",
            "shutdown within 2s"
        ]
    );
}

#[test]
fn what_is_there_already_is_no_download() {
    let mut fake = Fake::of(&[&[Scene(0, Seeding, 100, "")]]);
    let (code, _, notes) = transfer(GET, &mut fake);
    assert_eq!(code, Ok(EXIT_OK));
    assert!(
        notes.ends_with("a: complete, 100 MiB already there\n"),
        "{notes}"
    );
}

#[test]
fn a_signal_ends_in_order_and_says_how_to_go_on() {
    let mut fake = Fake::of(&[&[Scene(0, Downloading, 45, "")]]);
    fake.ends_after = Duration::from_millis(700);
    let signals = vec![(5, Signal::Metrics), (9, Signal::Stop)];
    let (code, _, notes) = transfer(Case { signals, ..GET }, &mut fake);
    assert_eq!(code, Ok(EXIT_INTERRUPTED));
    let want = "interrupted at 45 %: run the same command again to go on\n";
    assert!(notes.ends_with(want), "{notes}");
    assert_eq!(fake.metrics_told, 1);
    assert!(notes.contains("one 1\ntwo 2\n"), "{notes}");
    assert_eq!(fake.asked.last().unwrap(), "shutdown within 2s");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut fake = Fake::of(&[&[Scene(0, Downloading, 45, "")]]);
    fake.ends_after = Duration::from_secs(2);
    let signals = vec![(9, Signal::Stop), (9, Signal::Stop)];
    let (code, _, notes) = transfer(Case { signals, ..GET }, &mut fake);
    assert_eq!(code, Ok(EXIT_FAILED));
    assert!(notes.ends_with("linnet: stopped at once\n"), "{notes}");
    assert!(fake.now < Instant::ZERO + Duration::from_secs(2));
}

/// A script that ends a download which has just become complete gets no failure for it.
#[test]
fn the_first_signal_during_an_end_of_its_own_changes_nothing() {
    for (stops, want) in [(1, EXIT_OK), (2, EXIT_FAILED)] {
        let mut fake = Fake::of(&[&[Scene(0, Seeding, 100, "")]]);
        fake.ends_after = Duration::from_secs(1);
        let signals = vec![(1, Signal::Stop); stops];
        let (code, _, notes) = transfer(Case { signals, ..GET }, &mut fake);
        assert_eq!(code, Ok(want), "{notes}");
        assert_eq!(notes.contains("stopped at once"), want == EXIT_FAILED);
    }
}

#[test]
fn an_end_that_hangs_or_leaves_work_is_a_failure() {
    let mut hanging = Fake::of(&[&[Scene(0, Seeding, 100, "")]]);
    hanging.ends_after = Duration::from_secs(60);
    let (code, _, notes) = transfer(GET, &mut hanging);
    assert_eq!(code, Ok(EXIT_FAILED));
    assert!(notes.contains("the engine did not end in time"), "{notes}");
    assert!(hanging.now < Instant::ZERO + Duration::from_secs(3));

    let mut leaving = Fake::of(&[&[Scene(0, Seeding, 100, "")]]);
    leaving.abandoned = vec!["worker-0: write".to_owned()];
    let (code, _, notes) = transfer(GET, &mut leaving);
    assert_eq!(code, Ok(EXIT_FAILED));
    assert!(
        notes.ends_with("had to be abandoned: worker-0: write\n"),
        "{notes}"
    );
}

#[test]
fn an_error_that_stays_is_a_failure_and_one_that_passes_is_none() {
    let mut passing = Fake::of(&[&[
        Scene(0, Error, 10, "disk full"),
        Scene(2000, Downloading, 20, ""),
        Scene(4000, Seeding, 100, ""),
    ]]);
    assert_eq!(transfer(GET, &mut passing).0, Ok(EXIT_OK));

    let mut staying = Fake::of(&[
        &[Scene(0, Error, 10, "disk full")],
        &[Scene(0, Downloading, 0, ""), Scene(9000, Seeding, 100, "")],
    ]);
    let (code, _, notes) = transfer(Case { torrents: 2, ..GET }, &mut staying);
    assert_eq!(code, Ok(EXIT_FAILED));
    assert_eq!(notes.matches("a: disk full\n").count(), 1, "{notes}");
    assert_eq!(notes.matches("a: complete").count(), 1, "{notes}");
}

#[test]
fn seeding_goes_on_until_a_signal() {
    for download in [true, false] {
        let mut fake = Fake::of(&[&[Scene(0, Checking, 0, ""), Scene(1000, Seeding, 100, "")]]);
        let case = Case {
            download,
            seed: true,
            signals: vec![(200, Signal::Stop)],
            ..GET
        };
        assert_eq!(transfer(case, &mut fake).0, Ok(EXIT_OK));
        assert!(fake.now > Instant::ZERO + Duration::from_secs(3));
    }
}

#[test]
fn seeding_in_part_says_so_and_from_nothing_fails() {
    let case = || Case {
        download: false,
        seed: true,
        signals: vec![(100, Signal::Stop)],
        ..GET
    };
    let mut part = Fake::of(&[&[Scene(0, Seeding, 70, "")]]);
    let (code, _, notes) = transfer(case(), &mut part);
    assert_eq!(code, Ok(EXIT_OK));
    let want = "a: seeding without 3 of 10 pieces: missing or damaged\n";
    assert!(notes.ends_with(want), "{notes}");

    // Pieces that are lost while it seeds, by a check that no look has seen.
    let mut lossy = Fake::of(&[&[Scene(0, Seeding, 100, ""), Scene(1000, Seeding, 90, "")]]);
    let (code, _, notes) = transfer(case(), &mut lossy);
    assert_eq!(code, Ok(EXIT_OK));
    let want = "a: seeding without 1 of 10 pieces: missing or damaged\n";
    assert_eq!(notes.matches(want).count(), 1, "{notes}");

    let mut nothing = Fake::of(&[&[Scene(0, Seeding, 0, "")]]);
    let (code, _, notes) = transfer(case(), &mut nothing);
    assert_eq!(code, Ok(EXIT_FAILED));
    assert!(notes.ends_with("a: nothing of it is there\n"), "{notes}");
}

#[test]
fn a_refused_torrent_fails_and_the_engine_still_ends_in_order() {
    let mut fake = Fake {
        refuse: Some(Refusal::Full),
        ..Fake::default()
    };
    let (code, ..) = transfer(GET, &mut fake);
    let want = Failure::failed("a: a limit of the configuration is reached");
    assert_eq!(code, Err(want));
    assert_eq!(fake.asked, ["shutdown within 2s"]);
}

fn added(seq: u64) -> Arc<Record> {
    Arc::new(Record {
        event: Event::TorrentAdded(events::Torrent {
            info_hash: InfoHash([7; 20]),
            name: "a\nb".to_owned(),
        }),
        time: 5,
        seq,
    })
}

#[test]
fn events_are_objects_a_line() {
    let mut fake = Fake::of(&[&[Scene(0, Downloading, 0, ""), Scene(500, Seeding, 100, "")]]);
    fake.events = [added(1), added(3)].into();
    let (code, out, _) = transfer(Case { json: true, ..GET }, &mut fake);
    assert_eq!(code, Ok(EXIT_OK));
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["event"], "torrent.added");
    assert_eq!(lines[0]["info_hash"], "07".repeat(20));
    assert_eq!(lines[0]["name"], "a\nb");
    assert_eq!(
        (&lines[1]["seq"], &lines[1]["time"]),
        (&3.into(), &5.into())
    );
}

#[test]
fn a_reader_of_events_that_goes_away_is_a_failure_in_order() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut fake = Fake::of(&[&[Scene(0, Downloading, 0, "")]]);
    fake.events = [added(1)].into();
    let mut console = Console::to(Box::new(Gone), Box::new(io::sink()));
    let order = order(&Case { json: true, ..GET });
    let code = run(order, &mut fake, &mut After(Vec::new(), 0), &mut console);
    assert_eq!(code, Err(Failure::failed("stdout: broken pipe")));
    assert_eq!(fake.asked.last().unwrap(), "shutdown within 2s");
}
