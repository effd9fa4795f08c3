//! [`Host`](crate::actor::host::Host) in memory: many engines under their own loops, one virtual clock, one seed.
//!
//! Everything that chance decides (latency, cuts, resets, full disks, restarts, who starts when) follows from the seed, so
//! the same seed gives the same run, down to a hash over every byte that crossed a border. What must hold is checked after
//! every output, by [`probe`] and [`world`]; what is simulated says its own file.
//!
//! ```text
//!            ┌──────────── world: one clock, one seed, trouble, checks ─────────────┐
//!  machine 0 │ Loop ─ Probe ─ Engine          machine n │ Loop ─ Probe ─ Engine     │  scripted peers
//!    Watch,  │   └ SimHost                 Watch, Caller│   └ SimHost               │   └ SimHost
//!    Caller  │                                          │                           │
//!            └────── common: net · tracker · each machine's disk, store, workers ───┘
//! ```
//!
//! The engine, the loop, the codec and the workers' jobs are the real ones. Threads, sockets and files are not there at all.

pub mod caller;
pub mod cast;
pub mod common;
pub mod dht;
pub mod disk;
pub mod faults;
pub mod host;
pub mod net;
pub mod probe;
pub mod process;
pub mod script;
pub mod snapshots;
pub mod stage;
pub mod store;
#[cfg(test)]
mod tests;
pub mod torrent;
pub mod trace;
pub mod tracker;
pub mod watch;
pub mod world;

use crate::time::Duration;

use faults::Faults;

/// What a world is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// All chance.
    pub seed: u64,
    /// Machines with an engine, the seeder among them: 2 to 200.
    pub nodes: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// About how large the torrent is.
    pub bytes: u64,
}

impl Options {
    /// Machines at most.
    pub const NODES_MAX: usize = 200;

    /// The world of `seed` with these faults and everything else as usual.
    #[must_use]
    pub const fn new(seed: u64, faults: Faults) -> Self {
        // Where callers are what is looked at, the torrent is there to keep the links busy.
        let bytes = if faults.caller.every_ms > 0 {
            300_000
        } else {
            1_500_000
        };
        Self {
            seed,
            nodes: 5,
            faults,
            bytes,
        }
    }
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hash over everything that crossed a border.
    pub hash: u64,
    /// How many things that were.
    pub entries: u64,
    /// Turns of all loops.
    pub turns: u64,
    /// Kills, power cuts, restarts and pulled cables.
    pub troubles: u64,
    /// Announces the tracker answered.
    pub announces: u64,
    /// How long it took on the virtual clock.
    pub virtual_time: Duration,
    /// Pieces of the torrent.
    pub pieces: u32,
    /// Bytes of it, without padding.
    pub bytes: u64,
    /// What broke first; `None` when everything held.
    pub failure: Option<String>,
}

/// Runs one world to its end.
#[must_use]
pub fn run(options: Options) -> Report {
    world::World::new(options).run()
}
