//! Whole torrents over uTP alone (BEP 29), between the built binary, libtorrent and another of its kind, both ways.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::process::Signal;

use support::clients::{Libtorrent, Options, listens};
use support::torrent::{Recipe, Torrent};
use support::{Linnet, Running, Scratch, free, text};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const FILES: Recipe<'_> = Recipe {
    name: "over-utp",
    piece_length: 64 << 10,
    files: &[("a", 1), ("b/c", 3_000_007), ("d", 7_000_000)],
    trackers: &[],
};

/// Settings that leave nothing but uTP.
const UTP_ONLY: &[&str] = &["--set", "peer.tcp=false"];

fn only_utp(at: IpAddr) -> Options<'static> {
    Options {
        at: Some(at),
        utp: true,
        ..Options::default()
    }
}

fn start(linnet: &Linnet, command: &[&str], extra: &[&str], peers: &[SocketAddr]) -> Running {
    let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
    let peers = peers.iter().flat_map(|peer| ["--peer", peer]);
    let args: Vec<&str> = (command.iter().copied())
        .chain(extra.iter().copied())
        .chain(peers)
        .collect();
    linnet.start(&args)
}

fn assert_travels_on(running: &Running, transport: &str) {
    let connected = running.wait_event("peer.connected");
    assert_eq!(connected["transport"], transport, "{connected}");
}

fn get_from_libtorrent(ip: IpAddr) {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &FILES);
    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &only_utp(ip));
    let into = scratch.dir("into");
    let linnet = Linnet::at(&scratch, "home", free(ip));
    let command = ["get", &text(&torrent.file), "-o", &text(&into), "--json"];
    let mut get = start(&linnet, &command, UTP_ONLY, &[seed.address]);
    get.expect_exit(0);
    assert_travels_on(&get, "utp");
    torrent.assert_same(&into);
}

fn seed_to_libtorrent(ip: IpAddr) {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &FILES);
    let into = scratch.dir("into");
    let leech = Libtorrent::get(&torrent.file, &into, &only_utp(ip));
    let linnet = Linnet::at(&scratch, "home", free(ip));
    let command = ["seed", &text(&torrent.file), "-o", &text(&torrent.dir)];
    let mut seed = start(&linnet, &command, UTP_ONLY, &[leech.address]);
    leech.done();
    torrent.assert_same(&into);
    seed.signal(Signal::INT);
    seed.expect_exit(0);
}

#[test]
fn is_got_from_libtorrent() {
    get_from_libtorrent(LOCALHOST);
}

#[test]
fn is_seeded_to_libtorrent() {
    seed_to_libtorrent(LOCALHOST);
}

#[test]
fn v6_is_got_from_libtorrent() {
    get_from_libtorrent(Ipv6Addr::LOCALHOST.into());
}

#[test]
fn v6_is_seeded_to_libtorrent() {
    seed_to_libtorrent(Ipv6Addr::LOCALHOST.into());
}

/// Here with both transports on our side: what comes over uTP is taken.
#[test]
fn libtorrent_dials_us() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &FILES);
    let at = free(LOCALHOST);
    let linnet = Linnet::at(&scratch, "home", at);
    let mut seed = linnet.seed(&torrent.file, &torrent.dir, &[]);
    seed.until("it listens", |_| listens(at.port()).then_some(()));
    let into = scratch.dir("into");
    let peers = [at];
    let options = Options {
        peers: &peers,
        ..only_utp(LOCALHOST)
    };
    let leech = Libtorrent::get(&torrent.file, &into, &options);
    leech.done();
    torrent.assert_same(&into);
    seed.signal(Signal::INT);
    seed.expect_exit(0);
}

/// Both of ours, the one that is dialled with both transports.
#[test]
fn one_of_ours_gets_from_another() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &FILES);
    let at = free(LOCALHOST);
    let linnet = Linnet::at(&scratch, "seeds", at);
    let mut seed = linnet.seed(&torrent.file, &torrent.dir, &[]);
    seed.until("it listens", |_| listens(at.port()).then_some(()));
    let into = scratch.dir("into");
    let linnet = Linnet::at(&scratch, "gets", free(LOCALHOST));
    let command = ["get", &text(&torrent.file), "-o", &text(&into), "--json"];
    let mut get = start(&linnet, &command, UTP_ONLY, &[at]);
    get.expect_exit(0);
    assert_travels_on(&get, "utp");
    torrent.assert_same(&into);
    seed.signal(Signal::INT);
    seed.expect_exit(0);
}

/// The other side takes no TCP: the dial that begins with it goes on over uTP.
#[test]
fn a_dial_that_tcp_refuses_goes_over_utp() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &FILES);
    let at = free(LOCALHOST);
    let linnet = Linnet::at(&scratch, "seeds", at);
    let command = ["seed", &text(&torrent.file), "-o", &text(&torrent.dir)];
    let mut seed = start(&linnet, &command, UTP_ONLY, &[]);
    seed.until("it listens", |_| listens(at.port()).then_some(()));
    let into = scratch.dir("into");
    let linnet = Linnet::at(&scratch, "gets", free(LOCALHOST));
    linnet.get(&torrent.file, &into, &[at]).expect_exit(0);
    torrent.assert_same(&into);
    seed.signal(Signal::INT);
    seed.expect_exit(0);
}
