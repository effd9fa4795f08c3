//! Peers found in the DHT alone, with libtorrent as the node to begin with, as seed, and as downloader. Nobody is told of
//! anybody: no tracker, no `--peer`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use support::rpc::Daemon;
use support::torrent::{Recipe, Torrent, digest};
use support::{Linnet, Running, Scratch, eventually, free, place, text};

const RECIPE: Recipe<'_> = Recipe {
    name: "found.bin",
    piece_length: 32 << 10,
    files: &[("", 1_000_003)],
    trackers: &[],
};

/// libtorrent with its DHT on.
struct Node {
    address: SocketAddr,
    running: Running,
}

impl Node {
    fn start(mode: &str, ip: IpAddr, more: &[String]) -> Self {
        let listen = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        // Debian's libtorrent is built for Debian's python, whatever other python comes first in PATH.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/lt_dht.py"
        ));
        command.arg(mode).arg(listen).args(more);
        let running = Running::start(&command);
        let port = running.wait_word("port").parse().expect("a port");
        Self {
            address: SocketAddr::new(ip, port),
            running,
        }
    }

    fn with(mode: &str, ip: IpAddr, bootstrap: SocketAddr, torrent: &Torrent, dir: &Path) -> Self {
        let more = [bootstrap.to_string(), text(&torrent.file), text(dir)];
        Self::start(mode, ip, &more)
    }
}

/// `--set` for a DHT that begins with `node`.
fn dht(node: SocketAddr) -> [String; 4] {
    [
        "--set".to_owned(),
        "discovery.dht=true".to_owned(),
        "--set".to_owned(),
        format!("discovery.dht_bootstrap=[\"{node}\"]"),
    ]
}

fn linnet_finds_a_seed(ip: IpAddr) {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &RECIPE);
    let node = Node::start("node", ip, &[]);
    let seed = Node::with("seed", ip, node.address, &torrent, &torrent.dir);
    seed.running.wait_word("ready");
    let into = scratch.dir("into");
    let linnet = Linnet::at(&scratch, "home", free(ip));
    let sets = dht(node.address);
    let (file, dir) = (text(&torrent.file), text(&into));
    let mut args = vec!["get", &file, "-o", &dir];
    args.extend(sets.iter().map(String::as_str));
    let mut get = linnet.start(&args);
    assert_eq!(get.exit().code(), Some(0));
    assert_eq!(
        digest(&into.join(RECIPE.name)),
        digest(&torrent.dir.join(RECIPE.name))
    );
}

fn linnet_is_found_as_a_seed(ip: IpAddr) {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &RECIPE);
    let node = Node::start("node", ip, &[]);
    let linnet = Linnet::at(&scratch, "home", free(ip));
    let sets = dht(node.address);
    let (file, dir) = (text(&torrent.file), text(&torrent.dir));
    let mut args = vec!["seed", &file, "-o", &dir];
    args.extend(sets.iter().map(String::as_str));
    let _seed = linnet.start(&args);
    let into = scratch.dir("into");
    let get = Node::with("get", ip, node.address, &torrent, &into);
    get.running.wait_word("done");
    assert_eq!(
        digest(&into.join(RECIPE.name)),
        digest(&torrent.dir.join(RECIPE.name))
    );
}

#[test]
fn a_seed_of_libtorrent_is_found() {
    linnet_finds_a_seed(place());
}

#[test]
fn a_seed_of_libtorrent_is_found_over_ipv6() {
    linnet_finds_a_seed(Ipv6Addr::LOCALHOST.into());
}

#[test]
fn libtorrent_finds_us() {
    linnet_is_found_as_a_seed(place());
}

#[test]
fn libtorrent_finds_us_over_ipv6() {
    linnet_is_found_as_a_seed(Ipv6Addr::LOCALHOST.into());
}

/// A figure of the engine, as the daemon's metrics have it.
fn figure(daemon: &Daemon, name: &str) -> u64 {
    let (_, out) = daemon.remote(&["stats", "--json"]);
    let stats: Value = serde_json::from_str(&out).expect("JSON");
    stats["engine"][name].as_u64().expect(name)
}

fn nodes(daemon: &Daemon) -> Option<u64> {
    Some(figure(daemon, "dht_nodes_v4")).filter(|nodes| *nodes > 0)
}

/// A daemon that was stopped begins with the nodes it knew: the one it was told of is not there any more. Switched off, it
/// leaves; switched on, it is back.
#[test]
fn nodes_are_remembered_and_a_client_switches_it_off_and_on() {
    let scratch = Scratch::new();
    let ip = place();
    let (router, friend) = (Node::start("node", ip, &[]), Node::start("node", ip, &[]));
    let sets = dht(router.address);
    let both = format!(
        "discovery.dht_bootstrap=[\"{}\",\"{}\"]",
        router.address, friend.address
    );
    let mut more: Vec<_> = sets.iter().map(String::as_str).collect();
    more.extend(["--set", &both]);
    let daemon = Daemon::start(&scratch, "home", &more);
    eventually("two nodes", || nodes(&daemon).filter(|nodes| *nodes == 2));
    let linnet = daemon.stop();
    drop(router);
    let nobody = free(ip).to_string();
    let elsewhere = format!("discovery.dht_bootstrap=[\"{nobody}\"]");
    let more = ["--set", "discovery.dht=true", "--set", &elsewhere];
    let daemon = Daemon::again(&scratch, linnet, "home", &more);
    eventually("the one that is left", || nodes(&daemon));
    let mut client = daemon.client();
    let enabled = |client: &mut support::rpc::Client| {
        client.modern("session_get", &json!({ "fields": ["dht_enabled"] }))["dht_enabled"].clone()
    };
    assert_eq!(enabled(&mut client), json!(true));
    client.modern("session_set", &json!({ "dht_enabled": false }));
    assert_eq!(enabled(&mut client), json!(false));
    assert_eq!(figure(&daemon, "dht_nodes_v4"), 0, "it has left");
    client.modern("session_set", &json!({ "dht_enabled": true }));
    eventually("it is back", || nodes(&daemon));
    daemon.stop();
}
