//! Peer exchange with real clients: of three, two know only the third.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::net::TcpStream;

use serde_json::json;

use support::clients::{Libtorrent, Options};
use support::rpc::Daemon;
use support::torrent::{Recipe, Torrent};
use support::{Linnet, Scratch, eventually, text};

const LARGE: Recipe<'_> = Recipe {
    name: "large",
    piece_length: 64 << 10,
    files: &[("", 20_000_000)],
    trackers: &[],
};

/// libtorrent knows both of us, and tells the one who comes later of the one who has everything.
#[test]
fn libtorrent_tells_us_of_a_peer() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &LARGE);
    let seeding = Linnet::new(&scratch, "seed");
    let (file, dir) = (text(&torrent.file), text(&torrent.dir));
    // So slow that the hub is not a seed, which has nothing to trade with another, before the other comes.
    let slow = ["--set", "limits.upload=200000"];
    let seed = seeding.start(&[&["seed", &file, "-o", &dir][..], &slow].concat());
    eventually("our listener", || TcpStream::connect(seeding.listen).ok());
    let options = Options {
        // It tells of those alone that it has dialled.
        peers: &[seeding.listen],
        pex: true,
        ..Options::default()
    };
    let mut hub = Libtorrent::get(&torrent.file, &scratch.dir("hub"), &options);
    eventually("the hub to have a peer", || {
        (hub.stats()["downloaded"].as_u64()? > 0).then_some(())
    });
    let getting = Linnet::new(&scratch, "get");
    let into = scratch.dir("into");
    let get = getting.get(&torrent.file, &into, &[hub.address]);
    let address = seeding.listen.to_string();
    get.wait("the seed to be met", |line| {
        (line.contains("peer.connected") && line.contains(&address)).then_some(())
    });
    drop(seed);
}

/// We know two of libtorrent, and tell each of the other.
#[test]
fn we_tell_libtorrent_of_a_peer() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &LARGE);
    let slow = Options {
        up: 100_000,
        pex: true,
        ..Options::default()
    };
    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &slow);
    let linnet = Linnet::new(&scratch, "hub");
    let _hub = linnet.get(&torrent.file, &scratch.dir("hub-data"), &[seed.address]);
    let options = Options {
        peers: &[linnet.listen],
        pex: true,
        ..Options::default()
    };
    let mut leech = Libtorrent::get(&torrent.file, &scratch.dir("leech"), &options);
    eventually("the leech to meet the seed", || {
        (leech.stats()["peers"].as_u64()? >= 2).then_some(())
    });
}

#[test]
fn a_client_switches_it_off_and_on() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let enabled = |daemon: &Daemon| {
        let fields = json!({ "fields": ["pex-enabled"] });
        daemon.client().classic("session-get", &fields)["pex-enabled"].take()
    };
    assert_eq!(enabled(&daemon), true);
    daemon
        .client()
        .classic("session-set", &json!({ "pex-enabled": false }));
    assert_eq!(enabled(&daemon), false);
    let daemon = Daemon::again(&scratch, daemon.kill(), "home", &[]);
    assert_eq!(enabled(&daemon), false, "it is remembered");
}
