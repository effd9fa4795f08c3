//! The stress harness: many threads load an actor, every operation is accounted for, and the lock-based design that the
//! actor replaces is measured beside it.
//!
//! ```text
//!  trace (seed) ──▶ operations ──▶ N producers ──▶ actor: Handle ─ lanes ─ Loop ─ Engine ─ OsHost (listening nowhere)
//!       │                              └─────────▶ locked: the same table behind nested reader-writer locks
//!       └── one at a time through both: equal answers, equal end states
//! ```
//!
//! The actor is the real one, thread, poller and engine. The twin lives here alone; nothing else of the program locks.
//!
//! | file | what it owns |
//! | --- | --- |
//! | [`trace`], [`everything`] | operations by numbers, drawn from a seed |
//! | [`locked`] | the twin |
//! | [`side`], [`rig`] | both sides behind one interface, and how they are started |
//! | [`load`], [`asks`], [`wait`] | producers, questions, and what they wait |
//! | [`measure`], [`versus`] | one load on one side; both sides in turn |
//! | [`replay`] | both sides single-file, compared |
//! | [`overload`], [`transfer`] | more than the queue takes; beside a transfer |
//! | [`report`] | what was found |

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a measuring instrument: threads and the clock are its subject, and so are the locks of the twin"
)]

pub mod asks;
pub mod everything;
pub mod load;
pub mod locked;
pub mod measure;
pub mod overload;
pub mod replay;
pub mod report;
pub mod rig;
pub mod side;
pub mod trace;
pub mod transfer;
pub mod versus;
pub mod wait;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use everything::Everything;
use load::Way;
use measure::Plan;
use replay::Replay;
use report::{Check, Report, Run, TraceReport, TransferRow};
use rig::{Queue, Rig, twin};
use side::{Caller, PATIENCE, Side};
use trace::{Mix, Op};
use wait::{SAMPLE_EVERY, Stopwatch};

/// What the producers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// 40 % streams added, 20 % deleted, 30 % verdicts, 10 % queries.
    Links,
    /// Questions of the high and the normal lane.
    Query,
    /// The link mix in batches whose answers are all looked at.
    Batch,
    /// Far more than the queue takes, and a shutdown in the middle of it.
    Overload,
    /// The link mix on an actor that is busy with a transfer.
    Transfer,
}

/// Names of the loads, with a word on each.
pub const LOADS: [(&str, Load, &str); 5] = [
    (
        "links",
        Load::Links,
        "40 % streams added, 20 % deleted, 30 % verdicts, 10 % queries",
    ),
    ("query", Load::Query, "questions alone"),
    (
        "batch",
        Load::Batch,
        "the link mix in batches, each answer looked at",
    ),
    (
        "overload",
        Load::Overload,
        "more than the queue takes, rejected or shed",
    ),
    (
        "transfer",
        Load::Transfer,
        "the link mix beside a transfer over loopback",
    ),
];

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads, 1 to 128.
    pub producers: u8,
    /// Operations of all of them.
    pub messages: u64,
    /// Operations handed over at once.
    pub batch: usize,
    /// What they are.
    pub load: Load,
    /// The actor's queue.
    pub queue: Queue,
    /// The twin instead of the actor.
    pub locked: bool,
    /// Both, in turn.
    pub compare: bool,
    /// All chance.
    pub seed: u64,
    /// Bytes of the transfer beside the load.
    pub transfer_bytes: u64,
}

/// Operations of the trace that both sides must answer alike.
pub const TRACE_OPERATIONS: usize = 100_000;

/// Runs what `options` say. `tell` hears what is going on, for people.
///
/// # Errors
/// What made it impossible or worthless, for a person. A check that failed is no error: it is in the report.
pub fn run(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report, String> {
    let watch = Stopwatch::calibrate();
    let mut report = Report {
        seed: options.seed,
        cores: thread::available_parallelism().map_or(1, usize::from),
        clock_cost_ns: watch.cost_ns(),
        sampled_every: SAMPLE_EVERY,
        runs: Vec::new(),
        trace: None,
        ratios: Vec::new(),
        checks: Vec::new(),
    };
    if options.compare {
        compare(options, watch, &mut report, tell)?;
        return Ok(report);
    }
    match options.load {
        Load::Overload => {
            let (run, checks) = overload::run(options, watch)?;
            report.runs.push(run);
            report.checks.extend(checks);
        }
        Load::Transfer => transfer_beside(options, watch, &mut report, tell)?,
        Load::Links | Load::Query | Load::Batch => {
            let plan = plan(options);
            let (run, checks) = alone(options, &plan, watch)?;
            report.runs.push(run);
            report.checks.extend(checks);
        }
    }
    Ok(report)
}

/// How a producer's operations are drawn.
type Draw = fn(&mut Mix, usize) -> Vec<Op>;

fn plan(options: &Options) -> Plan {
    let (way, draw): (Way, Draw) = match options.load {
        Load::Query if options.batch > 1 => (Way::Asked(options.batch), Mix::queries),
        Load::Query => (Way::Questions, Mix::queries),
        Load::Batch => (Way::Asked(options.batch), Mix::links),
        Load::Links | Load::Overload | Load::Transfer if options.batch > 1 => {
            (Way::Told(options.batch), Mix::links)
        }
        Load::Links | Load::Overload | Load::Transfer => (Way::Single, Mix::links),
    };
    Plan::new(options.seed, options.producers, options.messages, way, draw)
}

fn alone(options: &Options, plan: &Plan, watch: Stopwatch) -> Result<(Run, Vec<Check>), String> {
    if options.locked {
        return measure::one(&twin(), plan, options.queue, watch);
    }
    let rig = Rig::start(options.queue, options.seed).map_err(|error| error.to_string())?;
    let (run, mut checks) = measure::one(&rig.side(), plan, options.queue, watch)?;
    checks.push(Check::new("actor: it ended", rig.stop(), ""));
    Ok((run, checks))
}

fn compare(
    options: &Options,
    watch: Stopwatch,
    report: &mut Report,
    tell: &mut dyn FnMut(&str),
) -> Result<(), String> {
    tell(&format!(
        "one trace of {TRACE_OPERATIONS} operations through both"
    ));
    let rig = Rig::start(options.queue, options.seed).map_err(|error| error.to_string())?;
    let trace = replay_both(
        options.seed,
        TRACE_OPERATIONS,
        &mut rig.side().caller(),
        &mut twin().caller(),
    );
    report
        .checks
        .push(Check::new("actor: it ended", rig.stop(), ""));
    report.checks.push(Check::new(
        "both sides answer alike",
        trace.difference.is_none(),
        trace.difference.clone().unwrap_or_default(),
    ));
    report.trace = Some(trace);
    let scale = versus::Scale {
        messages: options.messages,
        queue: options.queue,
        seed: options.seed,
        producers: options.producers,
        batch: if options.batch > 1 { options.batch } else { 32 },
    };
    let found = versus::run(scale, watch, tell)?;
    report.runs.extend(found.runs);
    report.ratios.extend(found.ratios);
    report.checks.extend(found.checks);
    Ok(())
}

/// `count` operations of every kind and then the end state, one at a time through both.
pub fn replay_both(
    seed: u64,
    count: usize,
    one: &mut impl Caller,
    other: &mut impl Caller,
) -> TraceReport {
    let mut replay = Replay::new(everything::SWARMS);
    let mut end_state = 0;
    let trace = Everything::new(seed).take(count).map(|op| (op, 0));
    for (op, is_end) in trace.chain(Everything::end().map(|op| (op, 1))) {
        let [ours, theirs] = replay.names();
        let (ours, theirs) = (ours.message(op), theirs.message(op));
        end_state += is_end;
        match (one.ask(ours, PATIENCE), other.ask(theirs, PATIENCE)) {
            (Ok(ours), Ok(theirs)) => {
                if replay.compare(op, [&ours, &theirs]).is_err() {
                    break;
                }
            }
            (ours, theirs) => {
                let mut report = replay.report(end_state);
                report.difference = Some(format!("{op:?}: {ours:?} against {theirs:?}"));
                return report;
            }
        }
    }
    replay.report(end_state)
}

fn transfer_beside(
    options: &Options,
    watch: Stopwatch,
    report: &mut Report,
    tell: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let name = format!("linnet-stress-{}", std::process::id());
    let directory: PathBuf = std::env::temp_dir().join(name);
    tell(&format!(
        "a file of {} MiB below {}",
        options.transfer_bytes >> 20,
        directory.display()
    ));
    let transfer = transfer::Transfer::prepare(&directory, options.transfer_bytes, options.seed)?;
    let result = transfer_with(options, watch, &transfer, report, tell);
    transfer.end();
    result
}

fn transfer_with(
    options: &Options,
    watch: Stopwatch,
    transfer: &transfer::Transfer,
    report: &mut Report,
    tell: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let rate = |seconds: f64| {
        let rate = measure::per_second(transfer.bytes(), seconds);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate below 2^53, and positive"
        )]
        let rate = rate as u64;
        rate
    };
    tell("the transfer alone");
    let rig = Rig::around(transfer.leecher("alone", options)?);
    let alone_rate = rate(transfer.begin("alone", rig.handle())?.end()?);
    report
        .checks
        .push(Check::new("actor: it ended", rig.stop(), ""));
    tell("the transfer beside the load");
    let rig = Rig::around(transfer.leecher("beside", options)?);
    let fetching = transfer.begin("beside", rig.handle())?;
    let plan = plan(options);
    let is_over = AtomicBool::new(false);
    let (fetched, loaded) = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let fetched = fetching.end();
            is_over.store(true, Ordering::Relaxed);
            fetched
        });
        let mut loaded = Vec::new();
        // Again and again, so that all of the transfer is beside the load.
        while loaded.is_empty() || !is_over.load(Ordering::Relaxed) {
            loaded.push(if options.locked {
                measure::one(&twin(), &plan, options.queue, watch)
            } else {
                measure::one(&rig.side(), &plan, options.queue, watch)
            });
        }
        (waiting.join().expect("waiting does not panic"), loaded)
    });
    let beside_rate = rate(fetched?);
    for loaded in loaded {
        let (mut run, checks) = loaded?;
        run.transfer = Some(TransferRow {
            bytes: transfer.bytes(),
            alone_rate,
            beside_rate,
        });
        report.runs.push(run);
        report.checks.extend(checks);
    }
    // Every piece was verified, else the end would not have come.
    report
        .checks
        .push(Check::new("both transfers are complete", true, ""));
    report
        .checks
        .push(Check::new("actor: it ended", rig.stop(), ""));
    Ok(())
}
