//! Magnet links with real clients: what they name is fetched from libtorrent and Transmission and given to libtorrent, aria2 and
//! Transmission, and a daemon keeps what a person has said of a link, whatever happens to it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;

use support::clients::{Aria2, Libtorrent, Options, Transmission};
use support::torrent::{Recipe, Torrent, hex};
use support::{Linnet, Running, Scratch, text};

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
