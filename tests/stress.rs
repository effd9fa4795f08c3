//! The actor's table and the one behind locks answer alike; and `linnet stress`, by the built binary.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests run threads and programs, and end by panicking"
)]

use std::process::{Command, Output};

use linnet::config::{Backpressure, Config};
use linnet::engine::Engine;
use linnet::engine::message::{Answer, EngineSnapshot, Input, Message, Output as Effect};
use linnet::engine::settings::Settings;
use linnet::ids::ReplyId;
use linnet::rng::Rng;
use linnet::stress::everything::{Everything, SWARMS};
use linnet::stress::load::{self, Way};
use linnet::stress::locked::{Locked, Times};
use linnet::stress::measure::Plan;
use linnet::stress::replay::Replay;
use linnet::stress::rig::{self, Queue, Rig};
use linnet::stress::side::Side;
use linnet::stress::trace::Mix;
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
