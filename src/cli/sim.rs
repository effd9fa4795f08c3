//! `linnet sim`: one simulated swarm, the same again for the same seed.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::{Context, EXIT_FAILED, Failure};
use crate::sim::faults::{Faults, NAMES};
use crate::sim::{self, Options, Report};

/// Arguments of `sim`.
#[derive(Debug, Args)]
pub(super) struct Sim {
    /// What all chance follows from
    #[arg(long, value_name = "N")]
    seed: u64,
    /// Machines with an engine, the seeder among them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=200))]
    nodes: u64,
    /// What goes wrong: none, net, cuts, disk, flushes, kills, power, restarts, deletions, poison, stall, all; callers,
    /// remove-during-handshake, overload, freezes, shutdowns or manager
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = faults)]
    faults: &'static str,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The contract's JSON.
#[derive(Serialize)]
struct Shown<'a> {
    seed: u64,
    nodes: u64,
    faults: &'a str,
    trace_hash: String,
    entries: u64,
    turns: u64,
    troubles: u64,
    announces: u64,
    virtual_ms: u64,
    pieces: u32,
    bytes: u64,
    failure: Option<&'a str>,
}

impl Sim {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let report = sim::run(self.options());
        let out = context.console.out();
        if self.json {
            serde_json::to_writer(&mut *out, &self.shown(&report)).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            self.print(&report, out)?;
        }
        match report.failure {
            None => Ok(()),
            Some(_) if self.json => Err(Failure::Silent(EXIT_FAILED)),
            Some(failure) => Err(Failure::failed(failure)),
        }
    }

    fn options(&self) -> Options {
        Options {
            nodes: usize::try_from(self.nodes).unwrap_or(Options::NODES_MAX),
            ..Options::new(self.seed, Faults::named(self.faults).unwrap_or_default())
        }
    }

    fn shown<'a>(&self, report: &'a Report) -> Shown<'a> {
        Shown {
            seed: self.seed,
            nodes: self.nodes,
            faults: self.faults,
            trace_hash: format!("{:016x}", report.hash),
            entries: report.entries,
            turns: report.turns,
            troubles: report.troubles,
            announces: report.announces,
            virtual_ms: u64::try_from(report.virtual_time.as_millis()).unwrap_or(u64::MAX),
            pieces: report.pieces,
            bytes: report.bytes,
            failure: report.failure.as_deref(),
        }
    }

    fn print(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let Self {
            seed,
            nodes,
            faults,
            ..
        } = self;
        writeln!(out, "seed {seed}, {nodes} machines, faults {faults}")?;
        writeln!(
            out,
            "{} pieces, {} bytes; {} s of virtual time, {} turns, {} troubles",
            report.pieces,
            report.bytes,
            report.virtual_time.as_secs(),
            report.turns,
            report.troubles,
        )?;
        writeln!(
            out,
            "trace {:016x} over {} entries",
            report.hash, report.entries
        )
    }
}

/// A name that [`NAMES`] lists.
fn faults(name: &str) -> Result<&'static str, String> {
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(known, _)| *known).ok_or_else(|| {
        let all: Vec<_> = NAMES
            .iter()
            .map(|(known, what)| format!("{known} ({what})"))
            .collect();
        format!("none of: {}", all.join(", "))
    })
}
