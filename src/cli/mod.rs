//! The commands: arguments in, a product on stdout, everything else on stderr, an exit code.
//!
//! One file a command. What a command was asked for (a listing, a table, JSON) goes to stdout; progress, notes and faults
//! go to stderr. A fault is one line, `linnet: WHAT: FAULT`.

#![allow(
    clippy::disallowed_methods,
    reason = "commands run on the main thread, and read and write the files a person names"
)]

mod bars;
mod blocklist;
mod completions;
mod config;
mod console;
mod create;
mod daemon;
mod doctor;
mod get;
mod globs;
mod logging;
mod man;
pub mod peer_name;
mod remote;
mod running;
mod seed;
mod show;
pub mod signals;
mod sim;
mod source;
mod stress;
mod top;
pub mod transfer;
mod units;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Config, ConfigError, Environment, Loaded};
use crate::gateway::words;

pub use console::Console;

/// All is well.
pub const EXIT_OK: u8 = 0;
/// It failed.
pub const EXIT_FAILED: u8 = 1;
/// The arguments are wrong.
pub const EXIT_USAGE: u8 = 2;
/// No daemon answers.
pub const EXIT_NO_DAEMON: u8 = 3;
/// A signal came before the work was done; the same command goes on with it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a command ends with another code than 0.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The arguments are wrong: exit code 2. One line each.
    Usage(Vec<String>),
    /// It failed: exit code 1. One line each, naming what to change.
    Failed(Vec<String>),
    /// All is said already.
    Silent(u8),
}

impl Failure {
    /// It failed, for a reason of one line.
    fn failed(line: impl Into<String>) -> Self {
        Self::Failed(vec![line.into()])
    }
}

impl From<std::io::Error> for Failure {
    /// A fault of stdout. A reader that has seen enough (`linnet show | head`) is none.
    fn from(fault: std::io::Error) -> Self {
        match fault.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Silent(EXIT_OK),
            kind => Self::failed(format!("stdout: {kind}")),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(fault: ConfigError) -> Self {
        let in_arguments = fault.faults.iter().any(|fault| fault.is_argument);
        let lines = fault.faults.into_iter().map(|fault| fault.text).collect();
        if in_arguments {
            Self::Usage(lines)
        } else {
            Self::Failed(lines)
        }
    }
}

/// BitTorrent from the command line.
#[derive(Debug, Parser)]
#[command(name = "linnet", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// Configuration file, instead of $LINNET_CONFIG or ~/.config/linnet/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one key of the configuration, such as peer.listen=0.0.0.0:6881
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Download torrents
    Get(get::Get),
    /// Serve what is already there
    Seed(seed::Seed),
    /// Make a torrent file
    Create(create::Create),
    /// Print what a torrent says
    Show(show::Show),
    /// Check the data on disk against a torrent
    Verify(verify::Verify),
    /// Run the service, in the foreground
    Daemon(daemon::Daemon),
    /// List a daemon's torrents
    List(remote::List),
    /// Add torrents to a daemon
    Add(remote::Add),
    /// Remove torrents from a daemon
    Remove(remote::Remove),
    /// Start torrents
    Start(remote::Start),
    /// Stop torrents
    Stop(remote::Stop),
    /// Hash everything of torrents again
    Recheck(remote::Recheck),
    /// Show all there is to know of torrents
    Info(remote::Info),
    /// Say in one sentence why torrents do not move
    Why(remote::Why),
    /// List a torrent's files
    Files(remote::Files),
    /// List a torrent's peers
    Peers(remote::Peers),
    /// Name a peer for a torrent: dialled first, never given up
    Pin(remote::Pin),
    /// List, make or take back bans of peers
    Ban(remote::Ban),
    /// Show a daemon's block list, or read it again
    Blocklist(remote::Blocklist),
    /// Change settings of a torrent
    Set(remote::SetCommand),
    /// Show or change how fast a daemon may be
    Limits(remote::Limits),
    /// Show a daemon's figures
    Stats(remote::Stats),
    /// Watch a daemon on the whole terminal: torrents, peers, rates, its actor's queue
    Top(top::Top),
    /// End a daemon
    Shutdown(remote::Shutdown),
    /// Run one deterministic simulated swarm
    Sim(sim::Sim),
    /// Load an actor with messages from many threads, and compare it with locks
    Stress(stress::Stress),
    /// Print the configuration in effect, with the origin of each value
    Config(config::ConfigCommand),
    /// Test this host and this configuration, and say what to fix
    Doctor(doctor::Doctor),
    /// Print shell completions
    Completions(completions::Completions),
    /// Print the manual page
    Man,
}

/// What a command has at hand.
struct Context<'a> {
    common: &'a Common,
    environment: &'a Environment,
    console: &'a mut Console,
}

impl Context<'_> {
    fn load_config(&self) -> Result<Loaded, Failure> {
        let path = self.common.config.as_deref();
        Ok(Config::load(path, &self.common.sets, self.environment)?)
    }
}

/// Runs the command that `arguments` name, the program's name first; the exit code.
#[must_use]
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    console: &mut Console,
) -> u8 {
    let parsed = (command().try_get_matches_from(arguments))
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(fault) => {
            // Help and the version are products, and no fault.
            let _ = fault.print();
            return u8::try_from(fault.exit_code()).unwrap_or(EXIT_USAGE);
        }
    };
    let context = Context {
        common: &arguments.common,
        environment,
        console,
    };
    let result = match &arguments.command {
        Command::Get(command) => command.run(context),
        Command::Seed(command) => command.run(context),
        Command::Create(command) => command.run(context),
        Command::Show(command) => command.run(context),
        Command::Verify(command) => command.run(context),
        Command::Daemon(command) => command.run(context),
        Command::List(command) => command.run(context),
        Command::Add(command) => command.run(context),
        Command::Remove(command) => command.run(context),
        Command::Start(command) => command.run(words::method("start"), context),
        Command::Stop(command) => command.run(words::method("stop"), context),
        Command::Recheck(command) => command.run(words::method("recheck"), context),
        Command::Info(command) => command.run(context),
        Command::Why(command) => command.run(context),
        Command::Files(command) => command.run(context),
        Command::Peers(command) => command.run(context),
        Command::Pin(command) => command.run(context),
        Command::Ban(command) => command.run(context),
        Command::Blocklist(command) => command.run(context),
        Command::Set(command) => command.run(context),
        Command::Limits(command) => command.run(context),
        Command::Stats(command) => command.run(context),
        Command::Top(command) => command.run(context),
        Command::Shutdown(command) => command.run(context),
        Command::Sim(command) => command.run(context),
        Command::Stress(command) => command.run(context),
        Command::Config(command) => command.run(context),
        Command::Doctor(command) => command.run(context),
        Command::Completions(command) => command.run(context),
        Command::Man => man::run(context),
    };
    let result = result.and_then(|()| Ok(console.flush()?));
    let (lines, code) = match result {
        Ok(()) => return EXIT_OK,
        Err(Failure::Usage(lines)) => (lines, EXIT_USAGE),
        Err(Failure::Failed(lines)) => (lines, EXIT_FAILED),
        Err(Failure::Silent(code)) => (Vec::new(), code),
    };
    for line in lines {
        console.note(&format!("linnet: {line}"));
    }
    // What was printed before the fault is still wanted; if it cannot be written there is nobody to tell.
    let _ = console.flush();
    code
}

/// The one table that parsing, help, completions and the manual page come from.
fn command() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_arguments_is_consistent() {
        command().debug_assert();
    }
}
