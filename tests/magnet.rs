//! Magnet links with real clients: what they name is fetched from libtorrent and Transmission and given to libtorrent, aria2 and
//! Transmission, and a daemon keeps what a person has said of a link, whatever happens to it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use support::clients::{Aria2, Libtorrent, Options, Transmission};
use support::rpc::Daemon;
use support::torrent::{Recipe, Torrent, hex};
use support::tracker::Opentracker;
use support::{Linnet, Running, Scratch, eventually, free, text};

/// Small pieces make a long list of hashes: five pieces of metadata.
const MANY_PIECES: Recipe<'_> = Recipe {
    name: "many-pieces",
    piece_length: 16 << 10,
    files: &[("a", 30_000_000), ("b/c", 30_000_001), ("b/d", 17)],
    trackers: &[],
};

/// A link that names the torrent and these peers, and nothing else.
fn link(torrent: &Torrent, peers: &[SocketAddr]) -> String {
    let peers: String = peers.iter().map(|peer| format!("&x.pe={peer}")).collect();
    format!("magnet:?xt=urn:btih:{}{peers}", hex(&torrent.info_hash))
}

fn get(linnet: &Linnet, link: &str, into: &Path, more: &[&str]) -> Running {
    let into = text(into);
    linnet.start(&[&["get", link, "-o", &into, "--json"], more].concat())
}

#[test]
fn a_link_with_nothing_but_a_peer_is_got_from_libtorrent() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MANY_PIECES);
    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &Options::default());
    let into = scratch.dir("into");
    let linnet = Linnet::new(&scratch, "home");
    let mut got = get(&linnet, &link(&torrent, &[seed.address]), &into, &[]);
    got.expect_exit(0);
    torrent.assert_same(&into);
    // One stream did it all: it was not lost when the link became a torrent.
    let connected = got.events().into_iter();
    let connected = connected.filter(|event| event["event"] == "peer.connected");
    assert_eq!(connected.count(), 1, "{}", got.text());
    assert_eq!(got.wait_event("torrent.metadata")["name"], "many-pieces");
}

#[test]
fn a_link_is_got_from_transmission_and_from_several_at_once() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MANY_PIECES);
    let transmission = Transmission::start(&scratch, "theirs", &torrent.file, &torrent.dir);
    transmission.done();
    let alone = scratch.dir("alone");
    let linnet = Linnet::new(&scratch, "home");
    let peers = [transmission.address];
    get(&linnet, &link(&torrent, &peers), &alone, &[]).expect_exit(0);
    torrent.assert_same(&alone);

    let libtorrent = Libtorrent::seed(&torrent.file, &torrent.dir, &Options::default());
    let own = Linnet::new(&scratch, "seed");
    let _seed = own.seed(&torrent.file, &torrent.dir, &[]);
    let into = scratch.dir("together");
    let peers = [transmission.address, libtorrent.address, own.listen];
    get(&linnet, &link(&torrent, &peers), &into, &[]).expect_exit(0);
    torrent.assert_same(&into);
}

/// Only a tracker is known; some files are chosen, by the link or by the person.
#[test]
fn a_link_with_a_tracker_is_got_and_files_of_it_chosen() {
    let scratch = Scratch::new();
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let address = free(localhost);
    let url = format!("http://{address}/announce");
    let torrent = Torrent::make(
        &scratch,
        &Recipe {
            trackers: &[&url],
            ..MANY_PIECES
        },
    );
    let tracker = Opentracker::start(&scratch, address, &[&torrent]);
    let options = Options {
        at: Some(localhost),
        trackers: true,
        ..Options::default()
    };
    let _seed = Libtorrent::seed(&torrent.file, &torrent.dir, &options);
    tracker.wait_for_seed(&torrent);
    let linnet = Linnet::at(&scratch, "home", free(localhost));
    let link = format!("{}&tr={url}", link(&torrent, &[]));
    let there = |dir: &Path, name: &str| dir.join("many-pieces").join(name).exists();
    let said = scratch.dir("said");
    get(&linnet, &format!("{link}&so=2"), &said, &[]).expect_exit(0);
    assert!(there(&said, "b/d") && !there(&said, "a"));
    let chosen = scratch.dir("chosen");
    let more = ["--select", "d"];
    get(&linnet, &format!("{link}&so=0"), &chosen, &more).expect_exit(0);
    assert!(there(&chosen, "b/d") && !there(&chosen, "a"));
}

/// Interrupted before everything is there, a second run goes on without asking what the link names.
#[test]
fn a_link_is_gone_on_with_and_what_it_names_is_not_asked_for_again() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MANY_PIECES);
    let options = Options {
        up: 5_000_000,
        ..Options::default()
    };
    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &options);
    let into = scratch.dir("into");
    let linnet = Linnet::new(&scratch, "home");
    let link = link(&torrent, &[seed.address]);
    let mut first = get(&linnet, &link, &into, &[]);
    first.wait_event("piece.completed");
    first.signal(Signal::INT);
    first.expect_exit(130);
    drop(seed);

    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &Options::default());
    let peer = seed.address.to_string();
    let mut second = get(&linnet, &link, &into, &["--peer", &peer]);
    second.expect_exit(0);
    torrent.assert_same(&into);
    let asked = second.events().into_iter();
    let asked = asked.filter(|event| event["event"] == "torrent.metadata");
    assert_eq!(asked.count(), 0, "it is known already");

    // When it is complete nothing of it is kept beside the data.
    let kept = linnet.state.join("links");
    let kept = std::fs::read_dir(kept).unwrap().count();
    assert_eq!(kept, 0);
}

/// Others that have no more than a link are given what it names: by a session that seeds, and by one that rests.
#[test]
fn libtorrent_gets_a_link_from_us() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MANY_PIECES);
    let linnet = Linnet::new(&scratch, "home");
    let _seed = linnet.seed(&torrent.file, &torrent.dir, &[]);
    let into = scratch.dir("into");
    let options = Options {
        peers: &[linnet.listen],
        ..Options::default()
    };
    Libtorrent::get_link(&link(&torrent, &[]), &into, &options).done();
    torrent.assert_same(&into);
}

#[test]
fn transmission_and_aria2_get_a_link_from_us() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MANY_PIECES);
    let linnet = Linnet::new(&scratch, "home");
    let bare = link(&torrent, &[]);
    let (one, two) = (scratch.dir("one"), scratch.dir("two"));
    let transmission = Transmission::start(&scratch, "theirs", Path::new(&bare), &one);
    let mut aria2 = Aria2::get(&scratch, Path::new(&bare), &two);
    let peers = [transmission.address, aria2.address];
    let _seed = linnet.seed(&torrent.file, &torrent.dir, &peers);
    transmission.done();
    aria2.done();
    torrent.assert_same(&one);
    torrent.assert_same(&two);
}

fn shown(daemon: &Daemon, id: &str, fields: &[&str]) -> Value {
    let ask = json!({ "ids": [id], "fields": fields });
    let mut answer = daemon.client().classic("torrent-get", &ask);
    answer["torrents"][0].take()
}

/// A daemon fetches what a link names only when it may, and keeps all that was said of it: labels, limits, files and place.
#[test]
fn a_daemon_keeps_what_was_said_of_a_link_when_it_is_killed() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MANY_PIECES);
    let id = hex(&torrent.info_hash);
    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &Options::default());
    let place = scratch.dir("place");
    let daemon = Daemon::start(&scratch, "home", &[]);
    let add = json!({
        "filename": link(&torrent, &[seed.address]), "download-dir": text(&place), "labels": ["tv"], "paused": true,
        "files-wanted": [0, 2], "downloadLimit": 9000, "downloadLimited": false,
    });
    daemon.client().classic("torrent-add", &add);
    let fields = &[
        "state",
        "metadataPercentComplete",
        "labels",
        "downloadLimit",
        "peersConnected",
    ];
    let before = shown(&daemon, &id, fields);
    assert_eq!(
        (&before["state"], &before["peersConnected"]),
        (&json!("stopped"), &json!(0))
    );
    let linnet = daemon.kill();

    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let before = shown(&daemon, &id, fields);
    assert_eq!(
        (&before["state"], &before["metadataPercentComplete"]),
        (&json!("stopped"), &json!(0.0))
    );
    daemon
        .client()
        .classic("torrent-start", &json!({ "ids": [id] }));
    let fields = &[
        "name",
        "state",
        "labels",
        "downloadLimit",
        "downloadDir",
        "wanted",
        "percentDone",
        "magnetLink",
    ];
    let whole = |daemon: &Daemon| {
        eventually("the chosen files", || {
            let shown = shown(daemon, &id, fields);
            (shown["percentDone"] == 1.0 && shown["state"] == "seeding").then_some(shown)
        })
    };
    let check = |shown: &Value| {
        assert_eq!(shown["name"], "many-pieces");
        assert_eq!(shown["labels"], json!(["tv"]));
        assert_eq!(shown["downloadLimit"], 9000);
        assert_eq!(shown["downloadDir"], text(&place));
        assert_eq!(shown["wanted"], json!([1, 0, 1]), "{shown}");
        assert!(shown["magnetLink"].as_str().unwrap().contains(&id));
    };
    check(&whole(&daemon));
    let linnet = daemon.kill();
    // It is a torrent for good.
    drop(seed);
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    check(&whole(&daemon));
    // And gives what it was given, to those who have the link, when it rests.
    let into = scratch.dir("into");
    let options = Options {
        peers: &[daemon.listen],
        ..Options::default()
    };
    let mut other = Libtorrent::get_link(&link(&torrent, &[]), &into, &options);
    eventually("somebody to get the files that are there", || {
        (other.stats()["progress"].as_f64()? > 0.4).then_some(())
    });
}
