//! Turns in the queue, and settings that change while running, at an engine whose disk is empty.

use super::*;
use crate::engine::message::{Message, SessionState};

use SessionState::{Downloading, Queued, Stopped};

/// A library of six downloads that were added one after the other, of which `places` may be active.
fn six(places: u32) -> (Bench, Vec<Kept>) {
    let mut config = Config::default();
    config.queue.max_active_downloads = places;
    let mut bench = Bench::with(&config, Remembered::default());
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    for name in ["a", "b", "c", "d", "e", "f"] {
        bench.ask(add(name, false));
        bench.store_answers(true, &mut rows);
    }
    (bench, rows)
}

impl Bench {
    /// The states by number, from 1: a letter each.
    fn letters(&mut self) -> String {
        let letter = |state| match state {
            Downloading => 'D',
            Queued => 'q',
            Stopped => 'p',
            SessionState::Seeding | SessionState::Parked => 'S',
            SessionState::Checking => 'c',
            _ => '?',
        };
        let shown = self.shown();
        shown.iter().map(|one| letter(one.state)).collect()
    }

    /// Changes those of these numbers, and lets the store answer.
    fn change_some(&mut self, numbers: &[u32], change: Change) {
        let keys = numbers.iter().copied().map(TorrentKey::Number).collect();
        let which = Selection::Some(keys);
        self.ask(Message::TorrentsChange(Box::new(TorrentsChange {
            which,
            changes: vec![change],
        })));
        self.store_answers(true, &mut Vec::new());
    }

    fn set(&mut self, changes: &[(&str, &str)], is_configured: bool) -> ReplyId {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let changes = changes.iter().map(text).collect();
        self.ask(Message::SettingsChange(Box::new(SettingsChange {
            changes,
            is_configured,
        })))
    }

    fn settings(&mut self) -> SettingsSnapshot {
        let reply = self.ask(Message::SettingsShow);
        match self.answer(reply) {
            Some(Answer::Settings(settings)) => *settings,
            other => panic!("{other:?}"),
        }
    }

    /// Time passes, a second at a time.
    fn tick(&mut self, span: Duration) {
        for _ in 0..span.as_secs() {
            self.now += Duration::from_secs(1);
            self.input(Input::Tick);
        }
    }
}

#[test]
fn as_many_are_active_as_may_be_and_the_next_follows() {
    let own = |name: &str, change| (name.to_owned(), change);
    let remove = Change::Remove { delete: false };
    let unwanted = Change::Files(vec![(vec![], FileMark::Wanted(false))]);
    // What happens to the second torrent, and how all stand then.
    let table = [
        (own("stopped", Change::Stop), "DpDDDD"),
        (own("removed", remove), "DDDDD"),
        (own("complete", unwanted), "DSDDDD"),
    ];
    for ((name, change), want) in table {
        let (mut bench, _) = six(5);
        assert_eq!(bench.letters(), "DDDDDq", "{name}");
        let waits = bench.shown()[5].waits.unwrap();
        assert_eq!(
            (waits.active, waits.most, waits.key),
            (5, 5, "queue.max_active_downloads")
        );
        bench.change_some(&[2], change);
        assert_eq!(bench.letters(), want, "{name}");
        bench.engine.check();
    }
}

#[test]
fn the_order_decides_who_is_active() {
    let (mut bench, _) = six(2);
    assert_eq!(bench.letters(), "DDqqqq");
    bench.change_some(&[6], Change::Queue(Move::Top));
    assert_eq!(
        bench.letters(),
        "DqqqqD",
        "the first two of f, a, b, c, d, e"
    );
    bench.change_some(&[1], Change::Queue(Move::Bottom));
    assert_eq!(bench.letters(), "qDqqqD");
    // Who comes back waits for its turn, though it is in front.
    bench.change_some(&[6], Change::Stop);
    assert_eq!(bench.letters(), "qDDqqp");
    bench.change_some(&[6], Change::Start);
    assert_eq!(bench.letters(), "qDDqqq");
    bench.change_some(&[2], Change::Stop);
    assert_eq!(bench.letters(), "qpDqqD");
}

#[test]
fn who_is_started_now_is_and_counts() {
    let (mut bench, _) = six(2);
    bench.change_some(&[6], Change::StartNow);
    assert_eq!(bench.letters(), "DDqqqD", "one more than may be");
    bench.change_some(&[1], Change::Stop);
    assert_eq!(bench.letters(), "pDqqqD", "it holds a place");
    bench.change_some(&[6], Change::Queue(Move::Bottom));
    assert_eq!(bench.letters(), "pDqqqD", "that nobody takes away");
    bench.change_some(&[6], Change::Stop);
    assert_eq!(bench.letters(), "pDDqqp");
    bench.change_some(&[6], Change::Start);
    assert_eq!(bench.letters(), "pDDqqq", "that was for once");
}

#[test]
fn stopping_and_starting_one_that_waits_starts_nobody() {
    let (mut bench, _) = six(5);
    bench.change_some(&[6], Change::Start);
    assert_eq!(bench.letters(), "DDDDDq");
    bench.change_some(&[6], Change::Stop);
    assert_eq!(bench.letters(), "DDDDDp");
    bench.change_some(&[5], Change::Stop);
    assert_eq!(bench.letters(), "DDDDpp");
    bench.change_some(&[6], Change::Start);
    assert_eq!(bench.letters(), "DDDDpD");
}

#[test]
fn seeds_have_places_of_their_own() {
    let mut config = Config::default();
    config.queue.max_active_seeds = 1;
    config.queue.max_active = 3;
    let mut bench = Bench::with(&config, Remembered::default());
    bench.store_answers(true, &mut Vec::new());
    for name in ["a", "b", "c", "d", "e"] {
        bench.ask(add(name, false));
        bench.store_answers(true, &mut Vec::new());
    }
    assert_eq!(bench.letters(), "DDDqq");
    assert_eq!(bench.shown()[3].waits.unwrap().key, "queue.max_active");
    let unwanted = || Change::Files(vec![(vec![], FileMark::Wanted(false))]);
    bench.change_some(&[3], unwanted());
    assert_eq!(bench.letters(), "DDSqq", "a seed counts with all");
    bench.change_some(&[2], unwanted());
    assert_eq!(bench.letters(), "DSqDq", "one seed: the first of the two");
    assert_eq!(
        bench.shown()[2].waits.unwrap().key,
        "queue.max_active_seeds"
    );
}

#[test]
fn one_that_has_stalled_holds_no_place_and_goes_on() {
    let (mut bench, _) = six(5);
    bench.tick(Duration::from_secs(29 * 60));
    assert_eq!(bench.letters(), "DDDDDq");
    bench.tick(Duration::from_secs(62));
    assert_eq!(bench.letters(), "DDDDDD", "none of them has carried a byte");
    assert!(bench.shown()[0].entry.stalled && !bench.shown()[5].entry.stalled);
    // Two that move again, and so are two too many beside four more: they go on, but nobody else starts.
    bench.change_some(&[6], Change::Stop);
    for at in 0..2 {
        let id = bench.shown()[at].session;
        let session = bench.engine.sessions.get_mut(id).unwrap();
        session.down.add(bench.now, 16_384);
    }
    bench.tick(Duration::from_secs(2));
    assert!(!bench.shown()[0].entry.stalled && bench.shown()[2].entry.stalled);
    let set = bench.set(&[("queue.max_active_downloads", "1")], false);
    bench.store_answers(true, &mut Vec::new());
    assert!(matches!(bench.answer(set), Some(Answer::Done)));
    assert_eq!(bench.letters(), "DqDDDp", "the rule was changed");
}

#[test]
fn a_rule_that_changes_holds_at_once_for_those_that_wait() {
    let (mut bench, _) = six(1);
    assert_eq!(bench.letters(), "Dqqqqq");
    for (most, want) in [("3", "DDDqqq"), ("2", "DDqqqq"), ("0", "DDDDDD")] {
        bench.set(&[("queue.max_active_downloads", most)], false);
        bench.store_answers(true, &mut Vec::new());
        assert_eq!(bench.letters(), want, "{most}");
    }
}

#[test]
fn after_a_restart_the_first_are_active_whoever_was_looked_at_first() {
    let (before, rows) = six(2);
    let mut latest: BTreeMap<u32, Kept> = BTreeMap::new();
    for mut row in rows {
        row.bytes = None;
        // The last was in front.
        row.position = 6 - row.number;
        latest.insert(row.position, row);
    }
    let mut config = Config::default();
    config.queue.max_active_downloads = 2;
    let mut bench = Bench::with(&config, Remembered::default());
    bench.files = before.files;
    bench.store_is_backwards = true;
    bench.store_answers(true, &mut latest.into_values().collect());
    assert_eq!(bench.letters(), "qqqqDD");
}

#[test]
fn a_setting_is_acknowledged_when_it_is_on_disk_and_holds_in_the_next_run() {
    let mut bench = Bench::new();
    bench.store_answers(true, &mut Vec::new());
    let wrong = bench.set(
        &[("seeding.ratio", "2"), ("workers.cache_mib", "64")],
        false,
    );
    let answer = bench.answer(wrong);
    assert!(
        matches!(answer, Some(Answer::Refused(Refusal::BadSetting))),
        "{answer:?}"
    );
    let set = bench.set(&[("seeding.ratio", "2"), ("off:seeding.ratio", "3")], false);
    assert!(bench.answer(set).is_none(), "nothing is on disk yet");
    assert!(bench.settings().config.seeding.ratio < 1.0);
    bench.store_answers(true, &mut Vec::new());
    assert!(matches!(bench.answer(set), Some(Answer::Done)));
    assert!((bench.settings().config.seeding.ratio - 2.0).abs() < 1e-9);
    assert_eq!(bench.engine.shared.settings.seed_ratio_mille, 2000);
    // A store that does not work changes nothing.
    let lost = bench.set(&[("seeding.ratio", "5")], false);
    bench.store_answers(false, &mut Vec::new());
    let answer = bench.answer(lost);
    assert!(matches!(
        answer,
        Some(Answer::Refused(Refusal::NotRemembered))
    ));
    assert_eq!(bench.engine.shared.settings.seed_ratio_mille, 2000);

    let kept = bench.remembered.clone();
    let ratio = |config: &Config, kept: &Remembered| {
        let mut again = Bench::with(config, kept.clone());
        again.store_answers(true, &mut Vec::new());
        let settings = again.settings();
        let off = settings.off.get("seeding.ratio").cloned();
        (
            settings.config.seeding.ratio,
            off,
            again.remembered.settings.len(),
        )
    };
    let off = Some("3".to_owned());
    let mut config = Config::default();
    assert_eq!(ratio(&config, &kept), (2.0, off.clone(), 2));
    // The configuration says something new: the last change holds, and the row goes.
    config.seeding.ratio = 1.0;
    assert_eq!(ratio(&config, &kept), (1.0, off, 1));
}

#[test]
fn what_the_file_changes_while_running_goes_before_what_a_client_has_set() {
    let mut bench = Bench::new();
    bench.store_answers(true, &mut Vec::new());
    for (key, value) in [("seeding.ratio", "2"), ("queue.start_added", "false")] {
        bench.set(&[(key, value)], false);
    }
    bench.set(&[("seeding.ratio", "1.5")], true);
    bench.store_answers(true, &mut Vec::new());
    let settings = bench.settings();
    assert!((settings.config.seeding.ratio - 1.5).abs() < 1e-9);
    assert!(!settings.config.queue.start_added);
    let kept: Vec<&str> = bench
        .remembered
        .settings
        .iter()
        .map(|row| row.key.as_str())
        .collect();
    assert_eq!(kept, ["queue.start_added"]);
    // What a client sets after that is kept with what the file says now.
    bench.set(&[("seeding.ratio", "4")], false);
    bench.store_answers(true, &mut Vec::new());
    let row = bench.remembered.settings.last().unwrap();
    assert_eq!(
        (row.value.as_deref(), row.configured.as_str()),
        (Some("4"), "1.5")
    );
}

#[test]
fn totals_go_on_in_the_next_run() {
    let mut bench = Bench::new();
    bench.store_answers(true, &mut Vec::new());
    bench.ask(add("a", false));
    bench.store_answers(true, &mut Vec::new());
    bench.tick(Duration::from_secs(700));
    let written = |bench: &Bench| {
        let is = |(_, _, task): &&(JobId, SessionId, StoreTask)| {
            matches!(task, StoreTask::KeepTotals(_))
        };
        bench.store.iter().filter(is).count()
    };
    assert_eq!(written(&bench), 0, "nothing flows");
    for _ in 0..700 {
        bench.engine.shared.counters.payload_sent_bytes += 10;
        bench.tick(Duration::from_secs(1));
    }
    assert_eq!(written(&bench), 3, "every five minutes");
    bench.ask(Message::Shutdown {
        budget: Duration::from_secs(1),
    });
    bench.store_answers(true, &mut Vec::new());
    let first = Totals {
        uploaded: 7000,
        downloaded: 0,
        added: 1,
        seconds: 1400,
        runs: 1,
    };
    assert_eq!(bench.remembered.totals, first);
    let mut again = Bench::with(&Config::default(), bench.remembered.clone());
    again.store_answers(true, &mut Vec::new());
    let settings = again.settings();
    assert_eq!((settings.ever.uploaded, settings.ever.runs), (7000, 2));
    assert_eq!((settings.run.uploaded, settings.run.runs), (0, 1));
}
