//! Two machines of one network, each a namespace with one end of a cable: they know nothing of each other but what they say to
//! the groups of local service discovery. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    dead_code,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::path::Path;
use std::process::Command;

use support::network::Network;
use support::torrent::{Recipe, Torrent};
use support::{Linnet, Scratch, text};

const SMALL: Recipe<'_> = Recipe {
    name: "small",
    piece_length: 32 << 10,
    files: &[("", 1_300_007)],
    trackers: &[],
};

/// A `get` or `seed` that listens on one family.
fn linnet(
    scratch: &Scratch,
    home: &str,
    mode: &str,
    torrent: &Path,
    dir: &Path,
    v6: bool,
) -> Command {
    let any = if v6 { "[::]:6881" } else { "0.0.0.0:6881" };
    let linnet = Linnet::at(scratch, home, any.parse().unwrap());
    let (torrent, dir) = (text(torrent), text(dir));
    let mut words = vec![mode, &torrent, "-o", &dir, "--set", "discovery.lsd=true"];
    if mode == "get" {
        words.push("--json");
    }
    linnet.command(&words)
}

fn libtorrent(mode: &str, torrent: &Path, dir: &Path, end: usize) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/lt.py"));
    command.arg(mode).arg(torrent).arg(dir);
    command.args(["--listen", &format!("10.77.0.{}", end + 1), "--lsd"]);
    command
}

#[test]
fn linnet_finds_a_libtorrent_that_says_what_it_has() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let network = Network::new(0);
    let dir = scratch.dir("ours");
    let ours = linnet(&scratch, "home", "get", &torrent.file, &dir, false);
    let mut ours = network.run(0, &ours);
    let theirs = network.run(1, &libtorrent("seed", &torrent.file, &torrent.dir, 1));
    theirs.wait_word("ready");
    ours.expect_exit(0);
    torrent.assert_same(&dir);
}

#[test]
fn a_libtorrent_finds_linnet() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let network = Network::new(1);
    let dir = scratch.dir("theirs");
    let theirs = network.run(0, &libtorrent("get", &torrent.file, &dir, 0));
    let ours = linnet(&scratch, "home", "seed", &torrent.file, &torrent.dir, false);
    let _ours = network.run(1, &ours);
    theirs.wait_word("done");
    torrent.assert_same(&dir);
}

#[test]
fn two_linnets_find_each_other_over_ipv6_alone() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let network = Network::new(2);
    let dir = scratch.dir("other");
    let seed = linnet(&scratch, "seed", "seed", &torrent.file, &torrent.dir, true);
    let seed = network.run(0, &seed);
    seed.wait("its data to be there", |line| {
        line.contains("complete").then_some(())
    });
    let get = linnet(&scratch, "get", "get", &torrent.file, &dir, true);
    let mut get = network.run(1, &get);
    get.expect_exit(0);
    torrent.assert_same(&dir);
}
