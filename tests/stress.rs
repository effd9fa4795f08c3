//! The actor's table and the one behind locks answer alike; and `linnet stress`, by the built binary.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests run threads and programs, and end by panicking"
)]

use std::process::{Command, Output};

use linnet::actor::reply::AskError;
use linnet::config::{Backpressure, Config};
use linnet::engine::Engine;
use linnet::engine::message::{
    Answer, EngineSnapshot, Input, LinksCount, Message, Output as Effect,
};
use linnet::engine::settings::Settings;
use linnet::ids::ReplyId;
use linnet::rng::Rng;
use linnet::stress::everything::{Everything, SWARMS};
use linnet::stress::load::{self, Way};
use linnet::stress::locked::{Locked, Times};
use linnet::stress::measure::{self, Plan};
use linnet::stress::replay::Replay;
use linnet::stress::replay_both;
use linnet::stress::rig::{self, Queue, Rig};
use linnet::stress::side::{Caller, Later, NotTaken, PATIENCE, Side, TwinCaller};
use linnet::stress::trace::{Mix, Names, Op};
use linnet::stress::wait::Stopwatch;
use linnet::time::{Duration, Instant};
use serde_json::Value;

/// An engine by itself: no loop, no host, and time is what we say.
struct Alone {
    engine: Engine,
    now: Instant,
    asked: u64,
}

impl Alone {
    fn new(config: &Config, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let settings = Settings::new(config, 1, 1, &mut rng);
        Self {
            engine: Engine::new(settings, rng),
            now: Instant::ZERO,
            asked: 0,
        }
    }

    fn ask(&mut self, message: Message) -> Answer {
        self.asked += 1;
        let reply = Some(ReplyId(self.asked));
        self.engine
            .handle(self.now, Input::Message { message, reply });
        self.drain()
            .expect("every message of the table is answered at once")
    }

    fn wait(&mut self, span: Duration) {
        self.now += span;
        self.engine.handle(self.now, Input::Tick);
        assert!(self.drain().is_none());
    }

    fn drain(&mut self) -> Option<Answer> {
        let mut answer = None;
        while let Some(output) = self.engine.poll_output() {
            match output {
                Effect::Reply { reply, answer: got } => {
                    assert_eq!(reply, ReplyId(self.asked), "one answer a question");
                    assert!(answer.replace(got).is_none(), "one answer a question");
                }
                Effect::Event(_) => {}
                other => panic!("nobody is dialled for swarms without a session: {other:?}"),
            }
        }
        answer
    }

    fn links(&mut self) -> [u32; 4] {
        match self.ask(Message::EngineShow) {
            Answer::Engine(snapshot) => {
                let EngineSnapshot { links, .. } = *snapshot;
                links
            }
            other => panic!("{other:?}"),
        }
    }
}

/// `count` operations of every kind through both, then the end state. Time passes now and then, sometimes for long.
fn differ(seed: u64, count: usize) {
    let config = Config::default();
    let mut engine = Alone::new(&config, seed);
    let locked = Locked::new(Times::of(&config));
    let mut replay = Replay::new(SWARMS);
    let mut rng = Rng::new(!seed);
    let end = Everything::end().count();
    let trace = Everything::new(seed).take(count).chain(Everything::end());
    for (at, op) in trace.enumerate() {
        if at < count && rng.chance(1, 50) {
            let longest = if rng.chance(1, 20) { 2_000 } else { 30 };
            engine.wait(Duration::from_secs(rng.below(longest)));
        }
        let [ours, theirs] = replay.names();
        let (ours, theirs) = (ours.message(op), theirs.message(op));
        let now = engine.now;
        let answers = [&engine.ask(ours), &locked.apply(&theirs, || now)];
        if let Err(difference) = replay.compare(op, answers) {
            panic!("seed {seed}: {difference}");
        }
        if at % 500 == 0 || at + 1 == count + end {
            assert_eq!(
                engine.links(),
                locked.links_by_state(),
                "seed {seed} at {at}"
            );
        }
    }
    let report = replay.report(end as u64);
    assert_eq!(report.operations, count as u64, "seed {seed}");
    // A trace of which most is refused, or nothing, tells little.
    let share = report.refused * 100 / report.operations;
    assert!((2..60).contains(&share), "seed {seed}: {share} % refused");
}

#[test]
fn two_hundred_traces_are_answered_alike_with_and_without_locks() {
    for seed in 0..200 {
        differ(seed, 3_000);
    }
}

#[test]
fn a_trace_of_a_hundred_thousand_is_answered_alike_with_and_without_locks() {
    differ(1_000_003, 100_000);
}

/// A twin that once forgets something.
struct Forgetful(TwinCaller, u64);

impl Caller for Forgetful {
    fn tell(&mut self, message: Message) -> Result<(), NotTaken> {
        self.0.tell(message)
    }

    fn tell_batch(&mut self, messages: &mut Vec<Message>) -> Result<usize, NotTaken> {
        self.0.tell_batch(messages)
    }

    fn tell_with(&mut self, message: Message, tag: usize) -> Result<(), NotTaken> {
        self.0.tell_with(message, tag)
    }

    fn collect(&mut self, all: bool, answers: &mut Vec<Later>) {
        self.0.collect(all, answers);
    }

    fn ask(&mut self, message: Message, timeout: Duration) -> Result<Answer, AskError> {
        self.1 = self.1.saturating_sub(1);
        if self.1 == 0 && matches!(message, Message::Pin { .. }) {
            self.1 = u64::MAX;
            let Message::Pin { address, swarm } = message else {
                unreachable!("looked at above")
            };
            return self.0.ask(Message::LinkCreate { address, swarm }, timeout);
        }
        self.0.ask(message, timeout)
    }

    fn ask_batch(
        &mut self,
        messages: &mut Vec<Message>,
        answers: &mut Vec<Answer>,
        timeout: Duration,
    ) -> Result<(), AskError> {
        self.0.ask_batch(messages, answers, timeout)
    }
}

#[test]
fn one_operation_gone_wrong_is_found_by_what_comes_after_it() {
    let mut found = 0;
    for seed in 0..20 {
        let (sound, other) = (rig::twin(), rig::twin());
        let report = replay_both(seed, 3_000, &mut sound.caller(), &mut other.caller());
        assert_eq!(report.difference, None, "two of a kind");
        let mut forgetful = Forgetful(rig::twin().caller(), 1_000);
        let report = replay_both(seed, 3_000, &mut rig::twin().caller(), &mut forgetful);
        assert!(forgetful.1 > 3_000, "it forgot something");
        found += u32::from(report.difference.is_some());
    }
    // Now and then the link is deleted before anybody looks.
    assert!(found > 10, "{found} of 20");
}

// ------------------------------------------------------------------------------------------------- the real actor

const QUEUE: Queue = Queue {
    capacity: 256,
    policy: Backpressure::Block,
};

#[test]
fn whatever_the_way_and_the_policy_every_operation_is_accounted_for() {
    let watch = Stopwatch::calibrate();
    for policy in [
        Backpressure::Block,
        Backpressure::Reject,
        Backpressure::Shed,
    ] {
        for way in [Way::Single, Way::Told(32), Way::Asked(32), Way::Questions] {
            let queue = Queue { policy, ..QUEUE };
            let draw = if way == Way::Questions {
                Mix::queries
            } else {
                Mix::links
            };
            let plan = Plan::new(3, 4, 4_000, way, draw);
            let rig = Rig::start(queue, 3).unwrap();
            let (run, checks) = measure::one(&rig.side(), &plan, queue, watch).unwrap();
            assert!(rig.stop());
            for check in &checks {
                assert!(check.ok, "{policy:?} {way:?}: {check:?}");
            }
            assert_eq!(run.operations, 4_000);
            let processed: u64 = run.lanes.iter().map(|lane| lane.processed).sum();
            assert!(
                policy != Backpressure::Block || processed == 4_000,
                "{way:?}"
            );
            let (run, checks) = measure::one(&rig::twin(), &plan, queue, watch).unwrap();
            assert!(checks.iter().all(|check| check.ok), "{way:?}: {checks:?}");
            assert_eq!(run.operations, 4_000);
        }
    }
}

#[test]
fn after_a_load_by_one_both_sides_hold_the_same() {
    let watch = Stopwatch::calibrate();
    let plan = Plan::new(5, 1, 20_000, Way::Told(32), Mix::links);
    let rig = Rig::start(QUEUE, 5).unwrap();
    let (actor, locked) = (rig.side(), rig::twin());
    let names = [
        plan.prepare(&actor).unwrap(),
        plan.prepare(&locked).unwrap(),
    ];
    load::run(&actor, &names[0], &plan.work, plan.way, watch, || ());
    load::run(&locked, &names[1], &plan.work, plan.way, watch, || ());
    actor.settle().unwrap();
    let counts = |caller: &mut dyn FnMut(Message) -> Answer, names: &Names| -> Vec<LinksCount> {
        (0..plan.shape.swarms)
            .map(
                |swarm| match caller(names.message(Op::LinksCount { swarm })) {
                    Answer::Count(count) => count,
                    other => panic!("{other:?}"),
                },
            )
            .collect()
    };
    let mut ask = |message| actor.caller().ask(message, PATIENCE).unwrap();
    let ours = counts(&mut ask, &names[0]);
    let mut ask = |message| locked.caller().ask(message, PATIENCE).unwrap();
    let theirs = counts(&mut ask, &names[1]);
    assert_eq!(ours, theirs);
    assert!(ours.iter().any(|count| count.downlinks > 0), "{ours:?}");
    assert!(rig.stop());
}

// ------------------------------------------------------------------------------------------------- the program

fn stress(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linnet"))
        .arg("stress")
        .args(arguments)
        .env_clear()
        .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = stress(&[arguments, &["--json"]].concat());
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_mix_runs_on_either_side_and_says_so_in_json() {
    #[rustfmt::skip]
    let table: &[(&[&str], &str, u64)] = &[
        (&["--mix", "links"],                          "actor",  1),
        (&["--mix", "links", "--batch", "16"],         "actor",  16),
        (&["--mix", "links", "--policy", "reject"],    "actor",  1),
        (&["--mix", "query"],                          "actor",  1),
        (&["--mix", "batch"],                          "actor",  32),
        (&["--mix", "links", "--locked"],              "locked", 1),
        (&["--mix", "query", "--locked"],              "locked", 1),
        (&["--mix", "batch", "--locked"],              "locked", 32),
        (&["--mix", "transfer", "--transfer-mib", "8"], "actor", 1),
    ];
    for (arguments, side, batch) in table {
        let size = [
            "--producers",
            "3",
            "--messages",
            "6000",
            "--capacity",
            "512",
        ];
        let report = json(&[*arguments, &size[..]].concat());
        let run = &report["runs"][0];
        assert_eq!(run["side"], *side, "{arguments:?}");
        assert_eq!(run["batch"], *batch, "{arguments:?}");
        assert_eq!(
            (&run["producers"], &run["operations"]),
            (&3.into(), &6000.into())
        );
        assert!(run["operations_per_second"].as_f64().unwrap() > 0.0);
        assert!(run["waits"][0]["p999_ns"].is_u64(), "{arguments:?}");
        for lane in run["lanes"].as_array().unwrap() {
            let figure = |name: &str| lane[name].as_u64().unwrap();
            let parts = ["processed", "rejected", "shed", "expired", "cancelled"];
            let sum: u64 = parts.into_iter().map(figure).sum();
            assert_eq!(sum, figure("sent"), "{arguments:?} {lane}");
        }
        let checks = report["checks"].as_array().unwrap();
        assert!(checks.len() >= 3 && checks.iter().all(|check| check["ok"] == true));
        assert_eq!(run["transfer"].is_object(), arguments.contains(&"transfer"));
    }
}

#[test]
fn an_overload_rejects_or_sheds_and_loses_no_shutdown() {
    for policy in ["reject", "shed"] {
        let size = [
            "--messages",
            "40000",
            "--capacity",
            "64",
            "--policy",
            policy,
        ];
        let report = json(&[&["--mix", "overload"], &size[..]].concat());
        let lanes = report["runs"][0]["lanes"].as_array().unwrap();
        let sum =
            |name: &str| -> u64 { lanes.iter().map(|lane| lane[name].as_u64().unwrap()).sum() };
        assert_eq!(sum("sent"), 40_003, "and three shutdowns");
        assert!(sum("rejected") + sum("shed") > 0, "{policy}");
        assert_eq!(lanes[0]["lane"], "critical");
        assert!(lanes[0]["processed"].as_u64().unwrap() >= 1);
    }
}

#[test]
fn a_comparison_finds_equal_answers_and_prints_every_ratio() {
    let size = ["--producers", "2", "--messages", "4000"];
    let report = json(&[&["--compare"], &size[..]].concat());
    assert_eq!(report["trace"]["operations"], 100_000);
    assert_eq!(report["trace"]["difference"], Value::Null);
    let ratios = report["ratios"].as_array().unwrap();
    for id in ["Q1", "Q2", "Q3"] {
        assert!(ratios.iter().any(|ratio| ratio["id"] == id), "{id}");
    }
    for ratio in ratios {
        let number = |name: &str| ratio[name].as_f64().unwrap();
        assert!(number("actor") >= 0.0 && number("locked") >= 0.0, "{ratio}");
    }
}

#[test]
fn wrong_arguments_are_named_and_nothing_runs() {
    #[rustfmt::skip]
    let table: &[(&[&str], &str)] = &[
        (&["--mix", "nonsense"],                      "none of: links"),
        (&["--producers", "0"],                       "--producers"),
        (&["--producers", "121"],                     "--producers"),
        (&["--batch", "257"],                         "--batch"),
        (&["--messages", "0"],                        "--messages"),
        (&["--capacity", "15"],                       "--capacity"),
        (&["--policy", "drop"],                       "--policy"),
        (&["--locked", "--compare"],                  "--compare"),
        (&["--mix", "overload", "--policy", "block"], "use reject or shed"),
        (&["--mix", "overload", "--locked"],          "leave --locked away"),
        (&["--mix", "query", "--compare"],            "leave --mix away"),
    ];
    for (arguments, want) in table {
        let output = stress(arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains(want), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_table_for_people_has_its_columns_and_help_says_what_a_wait_is() {
    let output = stress(&["--messages", "2000", "--producers", "2"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for want in [
        "operations/s",
        "p999",
        "processed",
        "cancelled",
        "checks hold",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    let help = stress(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for want in ["--mix", "overload", "reader-writer locks", "taskset"] {
        assert!(text.contains(want), "{want}: {text}");
    }
}
