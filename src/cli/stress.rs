//! `linnet stress`: many threads load an actor, or its lock-based twin, or both in turn.

use std::fmt::Write as _;
use std::io;

use clap::{Args, ValueEnum};

use super::{Context, EXIT_FAILED, Failure, logging, units};
use crate::config::Backpressure;
use crate::stress::report::{LaneRow, Ratio, Report, Run, WaitRow};
use crate::stress::rig::Queue;
use crate::stress::{self, LOADS, Load, Options};

/// Operations in a batch where the load is made of batches and nobody says how many.
const BATCH_USUAL: usize = 32;

/// Arguments of `stress`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Stress {
    /// Threads that send
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=120))]
    producers: u8,
    /// Operations of all of them together
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    messages: u64,
    /// Operations handed over at once; 32 where the load is made of batches
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    batch: Option<u16>,
    /// What they do: links, query, batch, overload or transfer
    #[arg(long, value_name = "NAME", default_value = "links", value_parser = load)]
    mix: Load,
    /// What a sender meets when the queue is full: block, reject or shed [default: block; overload: reject]
    #[arg(long, value_name = "NAME", value_enum)]
    policy: Option<Policy>,
    /// Messages that the queue takes
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    capacity: u32,
    /// Load the lock-based twin instead of the actor
    #[arg(long, conflicts_with = "compare")]
    locked: bool,
    /// Check that both answer one trace alike, then load both in turn and print the ratios
    #[arg(long)]
    compare: bool,
    /// What all chance follows from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Size of the file of the transfer mix
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    transfer_mib: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const AFTER: &str = "\
The twin is the same table behind nested reader-writer locks, as the design had it that the actor replaces. It has no queue, \
so --policy and --capacity say nothing to it, and a batch is so many calls.

A wait is how long a call keeps its caller. What reading the clock costs is measured at the start and taken off; of single \
fire-and-forget operations one in 16 is timed. For numbers on two cores: taskset -c 0,1 linnet stress --compare";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// The sender waits for room
    Block,
    /// The sender gets its message back
    Reject,
    /// The oldest message of a lower lane goes
    Shed,
}

impl From<Policy> for Backpressure {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Block => Self::Block,
            Policy::Reject => Self::Reject,
            Policy::Shed => Self::Shed,
        }
    }
}

impl Stress {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let options = self.options()?;
        logging::start(&context.load_config()?, context.console.bars());
        let console = context.console;
        let report = stress::run(&options, &mut |line| console.note(line))
            .map_err(|fault| Failure::failed(format!("stress: {fault}")))?;
        let out = console.out();
        if self.json {
            serde_json::to_writer(&mut *out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            out.write_all(table(&report).as_bytes())?;
        }
        let failed = report.checks.iter().filter(|check| !check.ok);
        let lines: Vec<String> = failed
            .map(|check| format!("stress: {}: no: {}", check.what, check.detail))
            .collect();
        match lines.len() {
            0 => Ok(()),
            _ if self.json => Err(Failure::Silent(EXIT_FAILED)),
            _ => Err(Failure::Failed(lines)),
        }
    }

    fn options(&self) -> Result<Options, Failure> {
        let usage = |line: &str| Err(Failure::Usage(vec![line.to_owned()]));
        let is_overload = self.mix == Load::Overload;
        let policy = self.policy.unwrap_or(if is_overload {
            Policy::Reject
        } else {
            Policy::Block
        });
        if is_overload && matches!(policy, Policy::Block) {
            return usage(
                "--policy block: whoever waits for room does not overload; use reject or shed",
            );
        }
        if is_overload && self.locked {
            return usage("--mix overload: the twin has no queue; leave --locked away");
        }
        if self.compare && self.mix != Load::Links {
            return usage("--compare: measures the links mix and questions; leave --mix away");
        }
        let batch = match (self.batch, self.mix) {
            (Some(batch), _) => batch.into(),
            (None, Load::Batch) => BATCH_USUAL,
            (None, _) => 1,
        };
        Ok(Options {
            producers: self.producers,
            messages: self.messages,
            batch,
            load: self.mix,
            queue: Queue {
                capacity: self.capacity,
                policy: policy.into(),
            },
            locked: self.locked,
            compare: self.compare,
            seed: self.seed,
            transfer_bytes: self.transfer_mib << 20,
        })
    }
}

/// A name that [`LOADS`] lists.
fn load(name: &str) -> Result<Load, String> {
    let known = LOADS.iter().find(|(known, ..)| *known == name);
    known.map(|(_, load, _)| *load).ok_or_else(|| {
        let all: Vec<_> = LOADS
            .iter()
            .map(|(known, _, what)| format!("{known} ({what})"))
            .collect();
        format!("none of: {}", all.join(", "))
    })
}

/// The report for people.
fn table(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = head(report, &mut text);
    text
}

fn head(report: &Report, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "seed {}, {}; a clock reading's {} ns are taken off each wait",
        report.seed,
        units::counted(report.cores as u64, "core"),
        report.clock_cost_ns,
    )?;
    if let Some(trace) = &report.trace {
        let verdict = trace
            .difference
            .as_ref()
            .map_or("equal answers and end states", String::as_str);
        writeln!(
            text,
            "trace: {} operations, {} refused, {} about the end state: {verdict}",
            trace.operations, trace.refused, trace.end_state,
        )?;
    }
    if report.ratios.is_empty() {
        for run in &report.runs {
            one_run(run, text)?;
        }
    } else {
        ratios(&report.ratios, text)?;
    }
    let held = report.checks.iter().filter(|check| check.ok).count();
    writeln!(
        text,
        "\n{held} of {} hold",
        units::counted(report.checks.len() as u64, "check")
    )
}

fn one_run(run: &Run, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "\n{}: {} operations by {}, {} at once",
        run.side,
        run.operations,
        units::counted(run.producers as u64, "producer"),
        run.batch,
    )?;
    writeln!(
        text,
        "{:.3} s, {:.3} s of processor time, {} operations/s, {} refused",
        run.seconds,
        run.cpu_seconds,
        grouped(run.operations_per_second),
        run.refused,
    )?;
    if let Some(actor) = run.actor {
        writeln!(
            text,
            "queue: at most {} of {} waiting; {} turns ({:.4} an operation), {} longer than 50 ms",
            actor.queue_peak,
            actor.capacity,
            actor.turns,
            actor.turns_per_operation,
            actor.turns_slow,
        )?;
    }
    if let Some(transfer) = run.transfer {
        writeln!(
            text,
            "transfer of {}: {} alone, {} beside the load",
            units::size(transfer.bytes),
            units::rate(transfer.alone_rate),
            units::rate(transfer.beside_rate),
        )?;
    }
    writeln!(
        text,
        "\n{:<16}{:>10}{:>12}{:>12}{:>12}{:>12}",
        "wait", "timed", "p50", "p99", "p999", "max"
    )?;
    for WaitRow {
        mode,
        lane,
        summary,
    } in &run.waits
    {
        writeln!(
            text,
            "{:<16}{:>10}{:>12}{:>12}{:>12}{:>12}",
            format!("{mode} {lane}"),
            summary.samples,
            nanos(summary.p50_ns),
            nanos(summary.p99_ns),
            nanos(summary.p999_ns),
            nanos(summary.max_ns),
        )?;
    }
    writeln!(
        text,
        "\n{:<10}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "lane", "sent", "processed", "rejected", "shed", "expired", "cancelled"
    )?;
    for row in run.lanes.iter().filter(|row| row.sent > 0) {
        let LaneRow {
            lane,
            sent,
            processed,
            rejected,
            shed,
            expired,
            cancelled,
        } = row;
        writeln!(
            text,
            "{lane:<10}{sent:>12}{processed:>12}{rejected:>12}{shed:>12}{expired:>12}{cancelled:>12}"
        )?;
    }
    Ok(())
}

fn ratios(ratios: &[Ratio], text: &mut String) -> std::fmt::Result {
    let width = ratios.iter().map(|ratio| ratio.what.len()).max();
    let width = width.unwrap_or(0);
    writeln!(
        text,
        "\n{:<4}{:<width$}{:>16}{:>16}{:>12}",
        "", "", "actor", "locked", "better"
    )?;
    for ratio in ratios {
        let shown = |value: f64| {
            if ratio.unit == "ns" {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "nanoseconds, whole and positive"
                )]
                nanos(value as u64)
            } else {
                format!("{}/s", grouped(value))
            }
        };
        let better = if ratio.better >= 1.0 {
            format!("{:.1} x", ratio.better)
        } else {
            format!("lock {:.1} x", 1.0 / ratio.better.max(f64::MIN_POSITIVE))
        };
        writeln!(
            text,
            "{:<4}{:<width$}{:>16}{:>16}{better:>12}",
            ratio.id,
            ratio.what,
            shown(ratio.actor),
            shown(ratio.locked),
        )?;
    }
    Ok(())
}

/// "180 ns", "12.5 us", "3.1 ms", "1.2 s".
fn nanos(nanos: u64) -> String {
    let tenths = |unit: u64| {
        let tenths = (nanos * 10 + unit / 2) / unit;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match nanos {
        0..1000 => format!("{nanos} ns"),
        1000..1_000_000 => format!("{} us", tenths(1000)),
        1_000_000..1_000_000_000 => format!("{} ms", tenths(1_000_000)),
        _ => format!("{} s", tenths(1_000_000_000)),
    }
}

/// "1 234 567".
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        #[rustfmt::skip]
        let table = [
            (0, "0 ns"), (999, "999 ns"), (1000, "1.0 us"), (12_549, "12.5 us"), (3_050_000, "3.1 ms"), (1_240_000_000, "1.2 s"),
        ];
        for (value, want) in table {
            assert_eq!(nanos(value), want);
        }
        for (value, want) in [
            (0.0, "0"),
            (999.4, "999"),
            (1000.0, "1 000"),
            (1_234_567.0, "1 234 567"),
        ] {
            assert_eq!(grouped(value), want);
        }
    }
}
