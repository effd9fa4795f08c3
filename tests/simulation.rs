//! Whole swarms on virtual time: seeds pick what goes wrong, the checks say what must hold.
//!
//! `LINNET_SEEDS=N` runs so many seeds of each kind of fault. A failure prints the one command that replays it; a seed that
//! found something becomes a named case.

#![allow(
    clippy::disallowed_methods,
    reason = "the number of seeds comes from the environment"
)]

use linnet::sim::faults::{Faults, NAMES};
use linnet::sim::{self, Options, Report};

/// Seeds of each kind of fault.
fn seeds() -> u64 {
    let text = std::env::var("LINNET_SEEDS").unwrap_or_default();
    text.parse().unwrap_or(20)
}

fn options(seed: u64, faults: &str) -> Options {
    Options::new(seed, Faults::named(faults).expect("a name of faults"))
}

fn sweep(faults: &str) {
    sweep_many(faults, seeds());
}

/// What callers do is what most of the chance is in, and such worlds are small: more seeds of each of their kinds.
fn sweep_callers(faults: &str) {
    sweep_many(faults, 3 * seeds());
}

fn sweep_many(faults: &str, seeds: u64) {
    let mut bad = Vec::new();
    for seed in 1..=seeds {
        let options = options(seed, faults);
        let report = std::panic::catch_unwind(|| sim::run(options));
        let what = match report {
            Ok(Report { failure: None, .. }) => continue,
            Ok(Report {
                failure: Some(failure),
                ..
            }) => failure,
            Err(panic) => match panic.downcast_ref::<String>() {
                Some(what) => format!("panic: {what}"),
                None => "panic".to_owned(),
            },
        };
        bad.push(format!(
            "{what}\n  linnet sim --seed {seed} --faults {faults}"
        ));
    }
    assert!(
        bad.is_empty(),
        "{} of {seeds}:\n{}",
        bad.len(),
        bad.join("\n")
    );
}

macro_rules! sweeps {
    ($($name:ident: $sweep:ident $faults:literal;)*) => {
        $(
            #[test]
            fn $name() {
                $sweep($faults);
            }
        )*

        /// The kinds that have a sweep.
        const SWEPT: &[&str] = &[$($faults),*, "manager"];
    };
}

sweeps! {
    everybody_completes_when_nothing_goes_wrong: sweep "none";
    bad_networks: sweep "net";
    streams_over_utp: sweep "utp";
    pulled_cables: sweep "cuts";
    bad_disks: sweep "disk";
    flushes_that_lose_data: sweep "flushes";
    killed_processes: sweep "kills";
    lost_power: sweep "power";
    orderly_restarts: sweep "restarts";
    deleted_files: sweep "deletions";
    a_peer_that_lies: sweep "poison";
    peers_that_never_answer: sweep "stall";
    everything_at_once: sweep "all";
    links_that_peers_lie_about: sweep "links";
    swarms_that_keep_themselves_together: sweep "pex";
    callers_who_say_anything: sweep_callers "callers";
    callers_who_take_away_what_is_being_opened: sweep_callers "remove-during-handshake";
    callers_who_overfill_the_queue: sweep_callers "overload";
    actors_that_stand_still: sweep_callers "freezes";
    ends_after_any_turn: sweep_callers "shutdowns";
}

/// Ten thousand seeds of this kind in the long run.
#[test]
fn all_that_callers_do_on_a_bad_network() {
    sweep_many("manager", 5 * seeds());
}

fn holds(seed: u64, faults: &str) {
    let report = sim::run(options(seed, faults));
    assert_eq!(
        report.failure, None,
        "linnet sim --seed {seed} --faults {faults}"
    );
}

/// A buffer begun before its piece was opened anew took a request from the block and did not free it: after a wrong piece
/// the count of free blocks fell below zero.
#[test]
fn a_late_buffer_of_a_wrong_piece_is_no_claim_on_the_next_copy() {
    holds(25, "poison");
    holds(32, "poison");
}

/// A disk fault in the middle of the first check left what was not yet judged out for good.
#[test]
fn a_check_that_the_disk_cut_short_is_done_again() {
    holds(2, "disk");
    holds(37, "disk");
}

/// Pieces of a flush that failed were never flushed again, and not remembered though their files looked unchanged.
#[test]
fn a_failed_flush_is_tried_again() {
    holds(4, "disk");
    holds(15, "disk");
}

/// A peer that was lost while a dial of ours was to take its place, and that came back by itself before, was told as connected
/// twice.
#[test]
fn a_peer_that_comes_back_by_itself_is_not_connected_twice() {
    holds(6, "callers");
    holds(13, "callers");
    holds(20, "callers");
}

#[test]
fn every_kind_of_fault_is_swept() {
    for (name, _) in NAMES {
        assert!(SWEPT.contains(name), "{name}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for (name, _) in NAMES {
        let [first, second] = [0, 1].map(|_| sim::run(options(7, name)));
        assert_eq!(first, second, "{name}");
        assert_ne!(first.hash, sim::run(options(8, name)).hash, "{name}");
    }
}
