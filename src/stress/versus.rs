//! Both sides under the same loads in turn, and how many times better the actor is (requirements Q1 to Q3).

use super::asks::{self, Beside};
use super::load::Way;
use super::measure::{Plan, one};
use super::report::{Check, Ratio, Run, WaitRow};
use super::rig::{Queue, Rig, twin};
use super::side::Side;
use super::trace::{Mix, Op};
use super::wait::Stopwatch;

/// Each load is measured so often on each side, one side after the other, and the median counts.
const ROUNDS: usize = 3;

/// Questions of each situation at most; fewer where there is little to measure at all, or the scheduler makes each of them slow.
const QUESTIONS_MAX: u64 = 20_000;

/// What is found.
#[derive(Debug, Default)]
pub struct Found {
    /// The median loads.
    pub runs: Vec<Run>,
    /// Their numbers side by side.
    pub ratios: Vec<Ratio>,
    /// Of all loads.
    pub checks: Vec<Check>,
}

/// How much there is to measure.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Operations of one load.
    pub messages: u64,
    /// The actor's queue.
    pub queue: Queue,
    /// All chance.
    pub seed: u64,
    /// The producers of the main comparison; four times as many are compared too.
    pub producers: u8,
    /// Operations in a batch.
    pub batch: usize,
}

/// Measures everything. `tell` hears what is being measured.
///
/// # Errors
/// What made it worthless, for a person.
pub fn run(scale: Scale, watch: Stopwatch, tell: &mut dyn FnMut(&str)) -> Result<Found, String> {
    let mut found = Found::default();
    let many = scale.producers.saturating_mul(4);
    for (id, producers, way) in [
        ("Q2", scale.producers, Way::Told(scale.batch)),
        ("Q2", many, Way::Told(scale.batch)),
        ("Q2", scale.producers, Way::Single),
        ("Q2", many, Way::Single),
        ("", scale.producers, Way::Asked(scale.batch)),
        ("", 1, Way::Single),
    ] {
        let text = name(producers, way);
        tell(&format!("{text}: {ROUNDS} times each"));
        let draw = |mix: &mut Mix, count| {
            // Alone, a question's round trip would hide what a message costs.
            let ops = mix.links(count);
            if producers == 1 {
                ops.into_iter().filter(|op| !op.is_query()).collect()
            } else {
                ops
            }
        };
        let plan = Plan::new(scale.seed, producers, scale.messages, way, draw);
        let [actor, locked] = both(&plan, scale.queue, scale.seed, watch, &mut found.checks)?;
        found.ratios.push(Ratio::of_rates(
            id,
            format!("throughput, {text}"),
            actor.operations_per_second,
            locked.operations_per_second,
        ));
        let q1 = if producers == scale.producers {
            "Q1"
        } else {
            ""
        };
        for (row, other) in pairs(&actor.waits, &locked.waits) {
            let what = format!("p50 wait to {} ({} lane), {text}", row.mode, row.lane);
            let is_told = matches!(way, Way::Told(_)) && row.mode == "batch" || row.mode == "tell";
            let id = if is_told { q1 } else { "" };
            let (ours, theirs) = (row.summary.p50_ns, other.summary.p50_ns);
            found.ratios.push(Ratio::of_waits(id, what, ours, theirs));
        }
        found.runs.extend([actor, locked]);
    }
    questions(scale, watch, &mut found, tell)?;
    Ok(found)
}

fn name(producers: u8, way: Way) -> String {
    let producers = match producers {
        1 => "1 producer".to_owned(),
        more => format!("{more} producers"),
    };
    match way {
        Way::Single => format!("{producers}, single"),
        Way::Questions => format!("{producers}, questions"),
        Way::Told(batch) => format!("{producers}, batches of {batch}"),
        Way::Asked(batch) => format!("{producers}, asked batches of {batch}"),
    }
}

/// The rows that both have.
fn pairs<'a>(
    ours: &'a [WaitRow],
    theirs: &'a [WaitRow],
) -> impl Iterator<Item = (&'a WaitRow, &'a WaitRow)> {
    ours.iter().filter_map(|row| {
        let other = theirs
            .iter()
            .find(|other| (other.mode, other.lane) == (row.mode, row.lane))?;
        Some((row, other))
    })
}

/// The median run of each side.
fn both(
    plan: &Plan,
    queue: Queue,
    seed: u64,
    watch: Stopwatch,
    checks: &mut Vec<Check>,
) -> Result<[Run; 2], String> {
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let rig = Rig::start(queue, seed).map_err(|error| error.to_string())?;
        let (run, found) = one(&rig.side(), plan, queue, watch)?;
        checks.push(Check::new("actor: it ended", rig.stop(), ""));
        checks.extend(found);
        runs[0].push(run);
        let (run, found) = one(&twin(), plan, queue, watch)?;
        checks.extend(found);
        runs[1].push(run);
    }
    Ok(runs.map(|mut runs| {
        runs.sort_by(|a, b| a.operations_per_second.total_cmp(&b.operations_per_second));
        runs.swap_remove(ROUNDS / 2)
    }))
}

/// What goes on beside the questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    Idle,
    Half,
    One,
    Many(u8),
}

fn questions(
    scale: Scale,
    watch: Stopwatch,
    found: &mut Found,
    tell: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let rate = |runs: &[Run], side: &str| {
        let run = runs.iter().find(|run| run.side == side);
        run.map_or(0.0, |run| run.operations_per_second)
    };
    let rates = [rate(&found.runs, "actor"), rate(&found.runs, "locked")];
    for situation in [
        Situation::Idle,
        Situation::Half,
        Situation::One,
        Situation::Many(scale.producers),
    ] {
        let what = match situation {
            Situation::Idle => "idle".to_owned(),
            Situation::Half => "at 50 % load".to_owned(),
            Situation::One => "beside one saturating producer".to_owned(),
            Situation::Many(producers) => format!("beside {producers} saturating producers"),
        };
        tell(&format!("questions {what}"));
        let rig = Rig::start(scale.queue, scale.seed).map_err(|error| error.to_string())?;
        let actor = situation_on(&rig.side(), situation, scale, rates[0], watch)?;
        found
            .checks
            .push(Check::new("actor: it ended", rig.stop(), ""));
        let locked = situation_on(&twin(), situation, scale, rates[1], watch)?;
        for side in [&actor, &locked] {
            found.checks.push(Check::new(
                format!("questions {what}: all are answered, and fit"),
                side.unanswered == 0 && side.misfit.is_none(),
                side.misfit.clone().unwrap_or_default(),
            ));
        }
        let lanes = ["critical", "high", "normal", "low"];
        for (lane, (ours, theirs)) in lanes.iter().zip(actor.waits.iter().zip(&locked.waits)) {
            let (ours, theirs) = (ours.summary(), theirs.summary());
            if ours.samples == 0 {
                continue;
            }
            for (quantile, ours, theirs) in [
                ("p50", ours.p50_ns, theirs.p50_ns),
                ("p99", ours.p99_ns, theirs.p99_ns),
                ("max", ours.max_ns, theirs.max_ns),
            ] {
                let what = format!("{quantile} of a {lane}-lane question, {what}");
                found.ratios.push(Ratio::of_waits("Q3", what, ours, theirs));
            }
        }
    }
    Ok(())
}

fn situation_on<S: Side>(
    side: &S,
    situation: Situation,
    scale: Scale,
    rate: f64,
    watch: Stopwatch,
) -> Result<asks::Found, String> {
    let count = usize::try_from(QUESTIONS_MAX.min(scale.messages / 50)).unwrap_or(0);
    let (producers, count) = match situation {
        Situation::Idle => (0, count),
        Situation::Half | Situation::One => (1, count),
        // The scheduler, not the queue, answers here: a few hundred show it.
        Situation::Many(producers) => (producers, count.min(500)),
    };
    let draw = |mix: &mut Mix, count| mix.links(count);
    let operations = u64::from(producers.max(1)) * 100_000;
    let way = Way::Told(scale.batch);
    let plan = Plan::new(scale.seed, producers.max(1), operations, way, draw);
    let names = plan.prepare(side)?;
    let mut asker = Mix::new(scale.seed, u8::MAX, plan.shape);
    let questions: Vec<Op> = (0..count)
        .map(|at| {
            if at % 2 == 0 {
                asker.nothing()
            } else {
                asker.query()
            }
        })
        .collect();
    // Warm: slots, queues and threads are there.
    let beside = Beside {
        work: &[],
        pace: None,
    };
    let _ = asks::run(side, &names, &questions[..count.min(100)], beside, watch);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate below 2^53, and positive"
    )]
    let half = (rate / 2.0) as u64;
    let beside = Beside {
        work: &plan.work[..usize::from(producers)],
        pace: (situation == Situation::Half).then_some(half),
    };
    Ok(asks::run(side, &names, &questions, beside, watch))
}
