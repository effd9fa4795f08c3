//! Encrypted streams with real clients that take no others, both ways, and every policy of ours.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use support::clients::{Aria2, Libtorrent, Options, Transmission};
use support::torrent::{Recipe, Torrent};
use support::{HANG, Linnet, Running, Scratch, eventually, text};

const RECIPE: Recipe<'_> = Recipe {
    name: "secret",
    piece_length: 64 << 10,
    files: &[("a", 2_000_003), ("b/c", 700_001)],
    trackers: &[],
};

/// libtorrent that only trades encrypted, with payload as it is, or encrypted too.
const HEADER_ONLY: &[&str] = &["in_enc_policy=0", "out_enc_policy=0", "allowed_enc_level=1"];
const RC4: &[&str] = &["in_enc_policy=0", "out_enc_policy=0", "allowed_enc_level=2"];
const PLAIN: &[&str] = &["in_enc_policy=2", "out_enc_policy=2"];

struct Scene {
    scratch: Scratch,
    torrent: Torrent,
    linnet: Linnet,
}

impl Scene {
    fn new() -> Self {
        let scratch = Scratch::new();
        Self {
            torrent: Torrent::make(&scratch, &RECIPE),
            linnet: Linnet::new(&scratch, "home"),
            scratch,
        }
    }

    /// `get`, all of it, from one peer; whether the stream was encrypted, as its events say.
    fn get(&self, policy: &str, peer: SocketAddr) -> bool {
        let into = self.scratch.dir(policy);
        let (torrent, dir) = (text(&self.torrent.file), text(&into));
        let policy = format!("peer.encryption=\"{policy}\"");
        let words = ["get", &torrent, "-o", &dir, "--json", "--set", &policy];
        let mut get = self.linnet.with_peers(&words, &[peer]);
        get.expect_exit(0);
        self.torrent.assert_same(&into);
        let lines = get.lines();
        let met = lines.iter().find(|line| line.contains("peer.connected"));
        let met = met.unwrap_or_else(|| panic!("it met somebody: {lines:?}"));
        met.contains("\"encrypted\":true")
    }

    fn seed(&self, policy: &str, peers: &[SocketAddr]) -> Running {
        let (torrent, dir) = (text(&self.torrent.file), text(&self.torrent.dir));
        let policy = format!("peer.encryption=\"{policy}\"");
        let words = ["seed", &torrent, "-o", &dir, "--set", &policy];
        let seed = self.linnet.with_peers(&words, peers);
        let listen = self.linnet.listen;
        eventually("it listens", || TcpStream::connect(listen).ok());
        seed
    }

    fn libtorrent_seeds(&self, settings: &[&str]) -> Libtorrent {
        let options = Options {
            settings,
            ..Options::default()
        };
        Libtorrent::seed(&self.torrent.file, &self.torrent.dir, &options)
    }

    /// libtorrent dials our seed, and gets all of it.
    fn libtorrent_gets(&self, policy: &str, settings: &[&str]) {
        let _seed = self.seed(policy, &[]);
        let into = self.scratch.dir(&format!("lt-{policy}"));
        let options = Options {
            settings,
            ..Options::default()
        };
        let mut leech = Libtorrent::get(&self.torrent.file, &into, &options);
        let dial = format!("peer {}", self.linnet.listen);
        eventually("the data", || {
            // The seed may still be reading its data when it is dialled first.
            leech.running.tell(&dial);
            let lines = leech.running.lines();
            lines.iter().any(|line| line == "done").then_some(())
        });
        self.torrent.assert_same(&into);
    }
}

#[test]
fn libtorrent_that_takes_only_rc4_is_dialled() {
    let scene = Scene::new();
    let seed = scene.libtorrent_seeds(RC4);
    for policy in ["allow", "prefer", "require"] {
        assert!(scene.get(policy, seed.address), "{policy}: encrypted");
    }
}

#[test]
fn libtorrent_that_hides_only_the_beginning_is_dialled() {
    let scene = Scene::new();
    let seed = scene.libtorrent_seeds(HEADER_ONLY);
    for policy in ["allow", "prefer"] {
        assert!(!scene.get(policy, seed.address), "{policy}: as it is");
    }
}

#[test]
fn libtorrent_that_takes_only_plain_streams_is_dialled() {
    let scene = Scene::new();
    let seed = scene.libtorrent_seeds(PLAIN);
    for policy in ["off", "allow", "prefer"] {
        assert!(!scene.get(policy, seed.address), "{policy}: plain");
    }
}

#[test]
fn libtorrent_dials_us_as_it_likes() {
    for (policy, settings) in [
        ("allow", RC4),
        ("prefer", HEADER_ONLY),
        ("prefer", PLAIN),
        ("require", RC4),
        ("off", PLAIN),
    ] {
        Scene::new().libtorrent_gets(policy, settings);
    }
}

#[test]
fn transmission_that_requires_it_trades_both_ways() {
    let scene = Scene::new();
    let (file, dir) = (&scene.torrent.file, &scene.torrent.dir);
    let seed = Transmission::start_encrypted(&scene.scratch, "seed", file, dir, 2);
    seed.done();
    assert!(scene.get("prefer", seed.address), "RC4 is all it offers");
    assert!(scene.get("allow", seed.address));
    drop(seed);
    let into = scene.scratch.dir("into");
    let leech = Transmission::start_encrypted(&scene.scratch, "leech", file, &into, 2);
    let _seed = scene.seed("require", &[leech.address]);
    leech.done();
    scene.torrent.assert_same(&into);
}

#[test]
fn aria2_that_requires_it_trades_both_ways() {
    let scene = Scene::new();
    let (file, dir) = (&scene.torrent.file, &scene.torrent.dir);
    let more = &["--bt-require-crypto=true", "--bt-min-crypto-level=arc4"];
    let seed = Aria2::seed_with(&scene.scratch, file, dir, more);
    assert!(scene.get("prefer", seed.address), "RC4 is all it takes");
    assert!(scene.get("require", seed.address));
    drop(seed);
    let into = scene.scratch.dir("into");
    let mut leech = Aria2::get_with(&scene.scratch, file, &into, more);
    let _seed = scene.seed("require", &[leech.address]);
    leech.done();
    scene.torrent.assert_same(&into);
}

/// Who requires encryption says nothing to who begins plainly; who has it off says nothing to who begins otherwise.
#[test]
fn who_begins_in_the_wrong_way_is_sent_away_without_a_word() {
    let noise: Vec<u8> = (0..=255).cycle().take(700).collect();
    let mut plain = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    for (policy, is_plain) in [("require", true), ("off", false)] {
        let scene = Scene::new();
        let _seed = scene.seed(policy, &[]);
        plain.truncate(28);
        plain.extend_from_slice(&scene.torrent.info_hash);
        plain.extend_from_slice(b"-XX0000-abcdefghijkl");
        let said = if is_plain { &plain } else { &noise };
        let mut stream = TcpStream::connect(scene.linnet.listen).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream.write_all(said).unwrap();
        let mut answer = Vec::new();
        // Sent away in order, or broken off with our words unread: no answer either way.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{policy}: {answer:?}");
    }
}
