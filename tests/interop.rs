//! Whole torrents traded on loopback between the built binary and real clients, both ways, and what happens when a
//! trade is disturbed. Files are compared by hash. `tests/run` installs the clients; a missing one fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use support::clients::{Aria2, Libtorrent, Options, Transmission};
use support::peer::{FakePeer, Manner};
use support::torrent::{Recipe, Torrent, digest, hex};
use support::tracker::{Canned, Opentracker, http};
use support::{Linnet, Running, Scratch, eventually, free, is_long, place, text};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Files of every awkward length: empty ones first, inside and last; on, before and behind the edge of a block.
const ODD_FILES: &[(&str, u64)] = &[
    ("0 empty", 0),
    ("a/1", 1),
    ("a/16383", 16383),
    ("a/16384", 16384),
    ("a/b/16385", 16385),
    ("a/b/empty", 0),
    ("a/b/c/d/e/70001", 70001),
    ("big", 1_300_007),
    ("small/1", 3),
    ("small/2", 5),
    ("small/3", 7),
    ("\u{fc}ml\u{e4}ut", 99_999),
    ("z empty", 0),
];

const SINGLE: Recipe<'_> = recipe("single.bin", 64 << 10, &[("", 5_000_123)]);
const ONE_PIECE: Recipe<'_> = recipe("one-piece", 32 << 10, &[("", 10_000)]);
const ODD: Recipe<'_> = recipe("odd", 32 << 10, ODD_FILES);
const SMALL_PIECES: Recipe<'_> = recipe("small-pieces", 16 << 10, &[("", 3_000_007)]);
const LARGE_PIECES: Recipe<'_> = recipe(
    "large-pieces",
    16 << 20,
    &[("x", 20_000_000), ("y", 20_000_005)],
);

const fn recipe<'a>(name: &'a str, piece_length: u64, files: &'a [(&'a str, u64)]) -> Recipe<'a> {
    Recipe {
        name,
        piece_length,
        files,
        trackers: &[],
    }
}

/// One test a shape and a direction, so that a failure names both.
macro_rules! shapes {
    ($($name:ident: $recipe:expr;)*) => {$(
        mod $name {
            #[test]
            fn is_got_from_libtorrent() { super::get_from_libtorrent(&$recipe, super::place()); }
            #[test]
            fn is_seeded_to_libtorrent() { super::seed_to_libtorrent(&$recipe, super::place()); }
        }
    )*};
}

shapes! {
    single_file: super::SINGLE;
    one_piece: super::ONE_PIECE;
    odd_files: super::ODD;
    pieces_of_16_kib: super::SMALL_PIECES;
    pieces_of_16_mib: super::LARGE_PIECES;
}

fn get_from_libtorrent(recipe: &Recipe<'_>, ip: IpAddr) {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, recipe);
    let seed = Libtorrent::seed(
        &torrent.file,
        &torrent.dir,
        &Options {
            at: Some(ip),
            ..Options::default()
        },
    );
    let into = scratch.dir("into");
    let linnet = Linnet::at(&scratch, "home", free(ip));
    linnet
        .get(&torrent.file, &into, &[seed.address])
        .expect_exit(0);
    torrent.assert_same(&into);
}

fn seed_to_libtorrent(recipe: &Recipe<'_>, ip: IpAddr) {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, recipe);
    let into = scratch.dir("into");
    let options = Options {
        at: Some(ip),
        ..Options::default()
    };
    let leech = Libtorrent::get(&torrent.file, &into, &options);
    let mut seed =
        Linnet::at(&scratch, "home", free(ip)).seed(&torrent.file, &torrent.dir, &[leech.address]);
    leech.done();
    torrent.assert_same(&into);
    seed.signal(Signal::INT);
    seed.expect_exit(0);
}

#[test]
fn v6_get_from_libtorrent() {
    get_from_libtorrent(&ODD, Ipv6Addr::LOCALHOST.into());
}

#[test]
fn v6_seed_to_libtorrent() {
    seed_to_libtorrent(&ODD, Ipv6Addr::LOCALHOST.into());
}

/// The other side dials: what listens is reached, without a word from us.
#[test]
fn libtorrent_dials_a_seed() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let linnet = Linnet::new(&scratch, "home");
    let mut seed = linnet.seed(&torrent.file, &torrent.dir, &[]);
    seed.until("it listens", |_| {
        support::clients::listens(linnet.listen.port()).then_some(())
    });
    let into = scratch.dir("into");
    let options = Options {
        peers: &[linnet.listen],
        ..Options::default()
    };
    let mut leech = Libtorrent::get(&torrent.file, &into, &options);
    // The seed may still be reading its data when it is dialled first.
    let dial = format!("peer {}", linnet.listen);
    eventually("the data", || {
        leech.running.tell(&dial);
        leech
            .running
            .lines()
            .iter()
            .any(|line| line == "done")
            .then_some(())
    });
    torrent.assert_same(&into);
}

#[test]
fn get_from_transmission() {
    let scratch = Scratch::new();
    for recipe in [&SINGLE, &ODD] {
        let torrent = Torrent::make(&scratch, recipe);
        let seed = Transmission::start(&scratch, recipe.name, &torrent.file, &torrent.dir);
        seed.done();
        let into = scratch.dir("into");
        Linnet::new(&scratch, "home")
            .get(&torrent.file, &into, &[seed.address])
            .expect_exit(0);
        torrent.assert_same(&into);
    }
}

#[test]
fn seed_to_transmission() {
    let scratch = Scratch::new();
    for recipe in [&SINGLE, &ODD] {
        let torrent = Torrent::make(&scratch, recipe);
        let into = scratch.dir("into");
        let leech = Transmission::start(&scratch, recipe.name, &torrent.file, &into);
        let _seed =
            Linnet::new(&scratch, "home").seed(&torrent.file, &torrent.dir, &[leech.address]);
        leech.done();
        torrent.assert_same_but_empty(&into);
    }
}

#[test]
fn get_from_aria2() {
    let scratch = Scratch::new();
    for recipe in [&SINGLE, &ODD] {
        let torrent = Torrent::make(&scratch, recipe);
        let seed = Aria2::seed(&scratch, &torrent.file, &torrent.dir);
        let into = scratch.dir("into");
        Linnet::new(&scratch, "home")
            .get(&torrent.file, &into, &[seed.address])
            .expect_exit(0);
        torrent.assert_same(&into);
    }
}

#[test]
fn seed_to_aria2() {
    let scratch = Scratch::new();
    for recipe in [&SINGLE, &ODD] {
        let torrent = Torrent::make(&scratch, recipe);
        let into = scratch.dir("into");
        let mut leech = Aria2::get(&scratch, &torrent.file, &into);
        let _seed =
            Linnet::new(&scratch, "home").seed(&torrent.file, &torrent.dir, &[leech.address]);
        leech.done();
        torrent.assert_same(&into);
    }
}

/// When this fails, it is not our doing that the others do: the clients, or the place they run in, are broken.
#[test]
fn the_other_clients_trade_among_themselves() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let (into_transmission, into_aria2) = (scratch.dir("transmission"), scratch.dir("aria2-data"));
    let transmission = Transmission::start(&scratch, "home", &torrent.file, &into_transmission);
    let mut aria2 = Aria2::get(&scratch, &torrent.file, &into_aria2);
    let peers = [transmission.address, aria2.address];
    let options = Options {
        peers: &peers,
        ..Options::default()
    };
    let mut seed = Libtorrent::seed(&torrent.file, &torrent.dir, &options);
    aria2.done();
    transmission.done();
    torrent.assert_same(&into_aria2);
    torrent.assert_same_but_empty(&into_transmission);
    assert!(seed.uploaded() >= torrent.total);
}

/// The same for the tracker.
#[test]
fn libtorrent_meets_libtorrent_through_the_trackers() {
    for scheme in ["http", "udp"] {
        let scratch = Scratch::new();
        let address = free(LOCALHOST);
        let url = format!("{scheme}://{address}/announce");
        let torrent = Torrent::make(
            &scratch,
            &Recipe {
                trackers: &[&url],
                ..SINGLE
            },
        );
        let tracker = Opentracker::start(&scratch, address, &[&torrent]);
        let options = Options {
            at: Some(LOCALHOST),
            trackers: true,
            ..Options::default()
        };
        let _seed = Libtorrent::seed(&torrent.file, &torrent.dir, &options);
        tracker.wait_for_seed(&torrent);
        let into = scratch.dir("into");
        Libtorrent::get(&torrent.file, &into, &options).done();
        torrent.assert_same(&into);
    }
}

/// The last piece of a file of 4.5 GiB: everything before is a hole that both sides have already, so that the test
/// costs two checks and no disk space.
#[test]
fn offsets_beyond_4_gib_are_right_both_ways() {
    const PIECE: u64 = 16 << 20;
    const LENGTH: u64 = 288 * PIECE;
    let scratch = Scratch::new();
    let torrent = Torrent::make_sparse(&scratch, "sparse", PIECE, LENGTH);
    let hole = |dir: &Path| {
        let file = std::fs::File::create(dir.join("sparse")).unwrap();
        file.set_len(LENGTH).unwrap();
    };
    let last = |dir: &Path| {
        let mut file = std::fs::File::open(dir.join("sparse")).unwrap();
        file.seek(SeekFrom::Start(LENGTH - PIECE)).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    };

    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &Options::default());
    let into = scratch.dir("into");
    hole(&into);
    let linnet = Linnet::new(&scratch, "home");
    linnet
        .get(&torrent.file, &into, &[seed.address])
        .expect_exit(0);
    assert!(last(&into) == last(&torrent.dir), "the last piece differs");

    let into = scratch.dir("into-libtorrent");
    hole(&into);
    let leech = Libtorrent::get(&torrent.file, &into, &Options::default());
    leech.running.wait_word("ready");
    let _seed = linnet.seed(&torrent.file, &torrent.dir, &[leech.address]);
    leech.done();
    assert!(last(&into) == last(&torrent.dir), "the last piece differs");
}

#[test]
fn a_created_torrent_is_understood_by_libtorrent() {
    let scratch = Scratch::new();
    let data = Torrent::make(&scratch, &ODD);
    let file = scratch.path().join("created.torrent");
    let linnet = Linnet::new(&scratch, "home");
    let source = text(&data.dir.join(ODD.name));
    linnet
        .start(&[
            "create",
            &source,
            "-o",
            &text(&file),
            "--piece-size",
            "32768",
        ])
        .expect_exit(0);
    // libtorrent hashes the data against the created torrent: `done` only comes when all of it fits.
    let check = Libtorrent::get(&file, &data.dir, &Options::default());
    check.done();
    let into = scratch.dir("into");
    linnet.get(&file, &into, &[check.address]).expect_exit(0);
    data.assert_same(&into);
}

#[test]
fn several_torrents_in_one_call_share_their_peers() {
    let scratch = Scratch::new();
    let torrents = [&SINGLE, &ODD, &ONE_PIECE].map(|recipe| Torrent::make(&scratch, recipe));
    let seeds = torrents
        .each_ref()
        .map(|torrent| FakePeer::start(torrent, place(), Manner::Honest));
    let into = scratch.dir("into");
    let mut command = Linnet::new(&scratch, "home").command(&["get", "--json", "-o", &text(&into)]);
    for (torrent, seed) in torrents.iter().zip(&seeds) {
        command
            .arg(&torrent.file)
            .arg("--peer")
            .arg(seed.address.to_string());
    }
    Running::start(&command).expect_exit(0);
    for torrent in &torrents {
        torrent.assert_same(&into);
    }
}

// Trackers

#[test]
fn peers_meet_through_an_http_tracker() {
    meet_through_tracker(|tracker| format!("http://{tracker}/announce"));
}

#[test]
fn peers_meet_through_a_udp_tracker() {
    meet_through_tracker(|tracker| format!("udp://{tracker}/announce"));
}

fn meet_through_tracker(url: impl Fn(SocketAddr) -> String) {
    let scratch = Scratch::new();
    let address = free(LOCALHOST);
    let url = url(address);
    let trackers = [&*url];
    let make = |name| {
        Torrent::make(
            &scratch,
            &Recipe {
                name,
                trackers: &trackers,
                ..SINGLE
            },
        )
    };
    let (ours, theirs) = (make("ours"), make("theirs"));
    let tracker = Opentracker::start(&scratch, address, &[&ours, &theirs]);
    let options = Options {
        at: Some(LOCALHOST),
        trackers: true,
        ..Options::default()
    };
    let into = scratch.dir("into");
    let linnet = Linnet::at(&scratch, "home", free(LOCALHOST));

    let _seed = Libtorrent::seed(&ours.file, &ours.dir, &options);
    tracker.wait_for_seed(&ours);
    let mut get = linnet.get(&ours.file, &into, &[]);
    get.wait_event("tracker.success");
    get.expect_exit(0);
    ours.assert_same(&into);

    let _seed = linnet.seed(&theirs.file, &theirs.dir, &[]);
    tracker.wait_for_seed(&theirs);
    let leech = Libtorrent::get(&theirs.file, &into, &options);
    leech.done();
    theirs.assert_same(&into);
}

/// Each is reported, none harms the download, and the good tracker of the next tier is asked (BEP 12).
#[test]
fn bad_trackers_are_reported_and_passed_over() {
    let megabytes = vec![b'x'; 30 << 20];
    let table: [(&str, Vec<u8>); 6] = [
        ("garbage", http("200 OK", b"<html>hello</html>")),
        ("not HTTP", b"\x00\x01\x02\r\n".to_vec()),
        ("500", http("500 Internal Server Error", b"no")),
        ("nothing", Vec::new()),
        ("megabytes", http("200 OK", &megabytes)),
        ("deep", http("200 OK", &vec![b'l'; 1 << 20])),
    ];
    let scratch = Scratch::new();
    let address = free(LOCALHOST);
    let good_url = format!("http://{address}/announce");
    let cases = table.map(|(name, answer)| {
        let bad = Canned::start(Some(answer));
        let bad_url = format!("http://{}/announce", bad.address);
        let recipe = Recipe {
            name,
            trackers: &[&bad_url, &good_url],
            ..ONE_PIECE
        };
        (name, bad, Torrent::make(&scratch, &recipe))
    });
    let torrents = cases.each_ref().map(|(_, _, torrent)| torrent);
    let good = Opentracker::start(&scratch, address, &torrents);
    for (name, bad, torrent) in &cases {
        let options = Options {
            at: Some(LOCALHOST),
            trackers: true,
            ..Options::default()
        };
        let _seed = Libtorrent::seed(&torrent.file, &torrent.dir, &options);
        good.wait_for_seed(torrent);
        let seen = bad.asked();
        let into = scratch.dir("into");
        let linnet = Linnet::at(&scratch, "home", free(LOCALHOST));
        let mut get = linnet.get(&torrent.file, &into, &[]);
        let failed = get.wait_event("tracker.failed");
        assert_eq!(failed["tier"], 0, "{name}");
        let error = failed["error"].as_str();
        assert!(
            error.is_some_and(|error| !error.is_empty()),
            "{name}: {failed}"
        );
        get.expect_exit(0);
        torrent.assert_same(&into);
        assert!(bad.asked() > seen, "{name}");
    }
}

/// It is given up within bounds and the others are asked; the command ends all the same.
#[test]
fn a_silent_tracker_does_not_hold_up_the_end() {
    let scratch = Scratch::new();
    let silent = Canned::start(None);
    let url = format!("http://{}/announce", silent.address);
    let torrent = Torrent::make(
        &scratch,
        &Recipe {
            trackers: &[&url],
            ..SINGLE
        },
    );
    let seed = FakePeer::start(&torrent, place(), Manner::Honest);
    let into = scratch.dir("into");
    Linnet::new(&scratch, "home")
        .get(&torrent.file, &into, &[seed.address])
        .expect_exit(0);
    torrent.assert_same(&into);
}

#[test]
fn a_torrent_is_fetched_by_its_url() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let server = Canned::start(Some(http("200 OK", &std::fs::read(&torrent.file).unwrap())));
    let seed = FakePeer::start(&torrent, place(), Manner::Honest);
    let into = scratch.dir("into");
    let url = format!("http://{}/x.torrent", server.address);
    let peer = seed.address.to_string();
    let linnet = Linnet::new(&scratch, "home");
    linnet
        .start(&["get", &url, "-o", &text(&into), "--peer", &peer])
        .expect_exit(0);
    torrent.assert_same(&into);
}

// Interruptions

/// Payload blocks that a second run may ask for again: pieces that were in the air when the first one ended.
const SLACK: u64 = 16 * 4;

#[test]
fn a_killed_download_goes_on_from_what_was_verified() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SINGLE);
    let half = torrent.blocks() / 2;
    let first = FakePeer::start(&torrent, place(), Manner::Stall { after: half });
    let into = scratch.dir("into");
    let linnet = Linnet::new(&scratch, "home");
    let mut get = linnet.get(&torrent.file, &into, &[first.address]);
    get.until("half of it", |_| (first.served() >= half).then_some(()));
    // What was finished in the last few seconds may be lost by contract: let nothing be that young.
    std::thread::sleep(Duration::from_secs(5));
    get.signal(Signal::KILL);
    drop(get);

    let second = FakePeer::start(&torrent, place(), Manner::Honest);
    linnet
        .get(&torrent.file, &into, &[second.address])
        .expect_exit(0);
    torrent.assert_same(&into);
    let asked = second.asked();
    assert!(
        asked <= torrent.blocks() - half + SLACK,
        "asked for {asked} of {}",
        torrent.blocks()
    );
}

/// Killed at any moment, it neither keeps a wrong byte nor needs a helping hand.
#[test]
fn killed_again_and_again_it_still_completes() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let pause = Duration::from_millis(5);
    let seed = FakePeer::start(&torrent, place(), Manner::Slow { pause });
    let into = scratch.dir("into");
    let linnet = Linnet::new(&scratch, "home");
    for round in 0..if is_long() { 100 } else { 5 } {
        let before = seed.asked();
        let mut get = linnet.get(&torrent.file, &into, &[seed.address]);
        let mut over = false;
        get.until("some progress", |get| {
            over = get
                .events()
                .iter()
                .any(|event| event["event"] == "session.completed");
            (over || seed.asked() >= before + 1 + 7 * round % 40).then_some(())
        });
        if over {
            get.expect_exit(0);
            break;
        }
        get.signal(Signal::KILL);
    }
    let fast = FakePeer::start(&torrent, place(), Manner::Honest);
    linnet
        .get(&torrent.file, &into, &[fast.address])
        .expect_exit(0);
    torrent.assert_same(&into);
}

#[test]
fn an_interrupted_download_exits_130_and_goes_on() {
    for signal in [Signal::INT, Signal::TERM] {
        let scratch = Scratch::new();
        let torrent = Torrent::make(&scratch, &SINGLE);
        let half = torrent.blocks() / 2;
        let first = FakePeer::start(&torrent, place(), Manner::Stall { after: half });
        let into = scratch.dir("into");
        let linnet = Linnet::new(&scratch, "home");
        let mut get = linnet.get(&torrent.file, &into, &[first.address]);
        get.until("half of it", |_| (first.served() >= half).then_some(()));
        get.signal(signal);
        get.expect_exit(130);

        let second = FakePeer::start(&torrent, place(), Manner::Honest);
        linnet
            .get(&torrent.file, &into, &[second.address])
            .expect_exit(0);
        torrent.assert_same(&into);
        let asked = second.asked();
        assert!(
            asked <= torrent.blocks() - half + SLACK,
            "asked for {asked} of {}",
            torrent.blocks()
        );
    }
}

#[test]
fn what_is_there_already_is_not_asked_for() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let seed = FakePeer::start(&torrent, place(), Manner::Honest);
    let linnet = Linnet::new(&scratch, "home");
    // Data that somebody else put there, of which no row knows.
    linnet
        .get(&torrent.file, &torrent.dir, &[seed.address])
        .expect_exit(0);
    // And once more, with a row.
    linnet
        .get(&torrent.file, &torrent.dir, &[seed.address])
        .expect_exit(0);
    assert_eq!(seed.asked(), 0);
}

#[test]
fn a_changed_and_a_deleted_file_are_fetched_again() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let into = scratch.dir("into");
    let linnet = Linnet::new(&scratch, "home");
    let first = FakePeer::start(&torrent, place(), Manner::Honest);
    linnet
        .get(&torrent.file, &into, &[first.address])
        .expect_exit(0);

    let mut big = OpenOptions::new()
        .write(true)
        .open(into.join("odd/big"))
        .unwrap();
    big.seek(SeekFrom::Start(700_000)).unwrap();
    big.write_all(b"not what was there").unwrap();
    drop(big);
    std::fs::remove_file(into.join("odd/a/b/c/d/e/70001")).unwrap();
    std::fs::remove_file(into.join("odd/z empty")).unwrap();

    let verify = [&*text(&torrent.file), &*text(&into)];
    linnet
        .start(&["verify", verify[0], verify[1]])
        .expect_exit(1);
    let second = FakePeer::start(&torrent, place(), Manner::Honest);
    linnet
        .get(&torrent.file, &into, &[second.address])
        .expect_exit(0);
    torrent.assert_same(&into);
    let asked = second.asked();
    assert!(
        (1..torrent.blocks()).contains(&asked),
        "asked for {asked} of {}",
        torrent.blocks()
    );
    linnet
        .start(&["verify", verify[0], verify[1]])
        .expect_exit(0);
}

/// Noticed without a restart: what is wrong in it reaches nobody, the rest is seeded on.
#[test]
fn a_file_changed_while_it_is_seeded_is_not_served() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SINGLE);
    let linnet = Linnet::new(&scratch, "home");
    let seed = linnet.seed(&torrent.file, &torrent.dir, &[]);
    let options = Options {
        peers: &[linnet.listen],
        ..Options::default()
    };
    seed.wait("that it seeds", |line| {
        line.contains("complete").then_some(())
    });
    // Its files are open, and have been read from.
    Libtorrent::get(&torrent.file, &scratch.dir("first"), &options).done();

    let path = torrent.dir.join("single.bin");
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(700_000)).unwrap();
    file.write_all(b"not what was there").unwrap();
    let mut second = Libtorrent::get(&torrent.file, &scratch.dir("second"), &options);
    seed.wait("the change", |line| {
        line.contains("single.bin was changed by another program")
            .then_some(())
    });
    seed.wait("what is left", |line| {
        line.contains("seeding without 1 of 77 pieces")
            .then_some(())
    });
    let all_but_one = (torrent.total - torrent.piece_length) as f64 / torrent.total as f64;
    let stats = eventually("all but one piece", || {
        let stats = second.stats();
        let progress = stats["progress"].as_f64().expect("a share");
        (progress >= all_but_one - 1e-5).then_some(stats)
    });
    assert_eq!(stats["failed"], 0, "no wrong byte was sent");
    assert!(stats["progress"].as_f64().expect("a share") < 1.0);
}

// Bad peers

/// Addresses that were given up, by event.
fn ignored(events: &[Value]) -> BTreeSet<String> {
    let ignored = events
        .iter()
        .filter(|event| event["event"] == "link.ignored");
    ignored
        .map(|event| event["address"].as_str().expect("an address").to_owned())
        .collect()
}

#[test]
fn a_poisoner_is_found_and_banned_and_nobody_else() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SINGLE);
    let pause = Duration::from_millis(3);
    let poisoner = FakePeer::start(&torrent, place(), Manner::Poison);
    // Slow enough that the poisoner is asked too.
    let honest = [(); 3].map(|()| FakePeer::start(&torrent, place(), Manner::Slow { pause }));
    let mut peers: Vec<_> = honest.iter().map(|peer| peer.address).collect();
    peers.insert(0, poisoner.address);
    let into = scratch.dir("into");
    let mut get = Linnet::new(&scratch, "home").get(&torrent.file, &into, &peers);
    get.expect_exit(0);
    torrent.assert_same(&into);
    assert!(
        poisoner.served() > 0,
        "the poisoner was never asked: the test proves nothing"
    );
    assert_eq!(
        ignored(&get.events()),
        BTreeSet::from([poisoner.address.to_string()])
    );
}

#[test]
fn requests_of_a_stalled_peer_go_elsewhere() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SINGLE);
    let staller = FakePeer::start(&torrent, place(), Manner::Stall { after: 3 });
    let pause = Duration::from_millis(1);
    let honest = FakePeer::start(&torrent, place(), Manner::Slow { pause });
    let into = scratch.dir("into");
    let linnet = Linnet::new(&scratch, "home");
    let mut get = linnet.get(&torrent.file, &into, &[staller.address, honest.address]);
    get.expect_exit(0);
    torrent.assert_same(&into);
    assert!(
        staller.asked() > 3,
        "the staller was never asked: the test proves nothing"
    );
    assert!(staller.streams() >= 1 && honest.streams() >= 1);
}

// Side by side

#[test]
fn a_busy_port_falls_back_to_a_free_one_and_says_so() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let seed = FakePeer::start(&torrent, place(), Manner::Honest);
    let linnet = Linnet::new(&scratch, "home");
    let _busy = TcpListener::bind(linnet.listen).unwrap();
    let into = scratch.dir("into");
    let mut get = linnet.get(&torrent.file, &into, &[seed.address]);
    get.expect_exit(0);
    torrent.assert_same(&into);
    let port = linnet.listen.port().to_string();
    let said = get.lines();
    assert!(
        said.iter()
            .any(|line| !line.starts_with('{') && line.contains(&port)),
        "{said:#?}"
    );
}

#[test]
fn several_downloads_run_side_by_side_on_one_state_directory() {
    let scratch = Scratch::new();
    let torrents = [&SINGLE, &ODD, &SMALL_PIECES].map(|recipe| Torrent::make(&scratch, recipe));
    let linnet = Linnet::new(&scratch, "home");
    let into = scratch.dir("into");
    let pause = Duration::from_millis(1);
    let mut running = Vec::new();
    for torrent in &torrents {
        let seed = FakePeer::start(torrent, place(), Manner::Slow { pause });
        running.push(linnet.get(&torrent.file, &into, &[seed.address]));
    }
    for (get, torrent) in running.iter_mut().zip(&torrents) {
        get.expect_exit(0);
        torrent.assert_same(&into);
    }
}

#[test]
fn the_same_torrent_into_the_same_directory_twice_is_refused_naming_the_pid() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let into = scratch.dir("into");
    let linnet = Linnet::new(&scratch, "home");
    let staller = FakePeer::start(&torrent, place(), Manner::Stall { after: 1 });
    let mut first = linnet.get(&torrent.file, &into, &[staller.address]);
    first.wait_event("session.started");
    // Another way to write the same directory is the same directory.
    let again = into.join("..").join("into");
    let mut second = linnet.get(&torrent.file, &again, &[]);
    second.expect_exit(1);
    let pid = first.pid().to_string();
    assert!(
        second.text().contains(&pid),
        "{pid} is not named:\n{}",
        second.text()
    );
    // The first one lives on, and its death frees the place.
    assert!(first.lines().iter().all(|line| !line.contains("panicked")));
    first.signal(Signal::KILL);
    first.exit();
    let honest = FakePeer::start(&torrent, place(), Manner::Honest);
    linnet
        .get(&torrent.file, &into, &[honest.address])
        .expect_exit(0);
    torrent.assert_same(&into);
}

// What an operator sees

#[test]
fn sigusr1_prints_a_table_and_writes_the_metrics_file() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let staller = FakePeer::start(&torrent, place(), Manner::Stall { after: 1 });
    let linnet = Linnet::new(&scratch, "home");
    let mut get = linnet.get(&torrent.file, &scratch.dir("into"), &[staller.address]);
    get.wait_event("peer.connected");
    get.signal(Signal::USR1);
    let file = linnet.state.join(format!("metrics-{}.json", get.pid()));
    // It is replaced atomically: what is there parses.
    let metrics = eventually("the metrics file", || std::fs::read(&file).ok());
    let metrics: Value = serde_json::from_slice(&metrics).expect("JSON");
    for key in [
        "messages_processed_total",
        "messages_queued_current",
        "net_operations",
    ] {
        assert!(metrics.get(key).is_some(), "{key} is missing: {metrics}");
    }
    get.wait("a table", |line| {
        line.contains("messages_processed").then_some(())
    });
    get.signal(Signal::INT);
    get.expect_exit(130);
}

#[test]
fn threads_are_those_of_the_design_and_no_other() {
    let scratch = Scratch::new();
    let torrents = [&SINGLE, &ODD, &SMALL_PIECES].map(|recipe| Torrent::make(&scratch, recipe));
    let stallers = torrents
        .each_ref()
        .map(|torrent| FakePeer::start(torrent, place(), Manner::Stall { after: 9 }));
    let tracker = Canned::start(Some(http("500 Internal Server Error", b"")));
    let url = format!("http://{}/announce", tracker.address);
    let tracked = Torrent::make(
        &scratch,
        &Recipe {
            name: "tracked",
            trackers: &[&url],
            ..ONE_PIECE
        },
    );
    let into = text(&scratch.dir("into"));
    let mut command = Linnet::new(&scratch, "home").command(&["get", "--json", "-o", &into]);
    command.arg(&tracked.file);
    for (torrent, staller) in torrents.iter().zip(&stallers) {
        command
            .arg(&torrent.file)
            .arg("--peer")
            .arg(staller.address.to_string());
    }
    let mut get = Running::start(&command);
    get.until("all peers", |_| {
        stallers.iter().all(|peer| peer.served() == 9).then_some(())
    });
    get.wait_event("tracker.failed");
    let mut workers = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", get.pid())).unwrap() {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap();
        match name.trim() {
            "main" | "linnet" | "actor" | "store" | "gateway" => {}
            worker
                if worker
                    .strip_prefix("worker-")
                    .is_some_and(|n| n.parse::<u32>().is_ok()) =>
            {
                workers += 1;
            }
            other => panic!("an unknown thread: {other}"),
        }
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(workers, cores + 1);
}

// Disks

/// Runs a shell script as root of a mount namespace of its own. `None` where the system allows none.
fn in_own_mounts(linnet: &Linnet, script: &str, args: &[&str]) -> Option<Running> {
    let direct = Command::new("unshare")
        .args(["-m", "true"])
        .output()
        .unwrap()
        .status
        .success();
    let flags: &[&str] = if direct { &["-m"] } else { &["-r", "-m"] };
    let possible = Command::new("unshare")
        .args(flags)
        .args(["mount", "-t", "tmpfs", "none", "/mnt"])
        .output()
        .unwrap();
    if !possible.status.success() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no mount namespaces: {possible:?}"
        );
        eprintln!("skipped: no mount namespaces here");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(flags)
        .args(["sh", "-c", script, "sh"])
        .args(args);
    let like = linnet.command(&["get"]);
    for (key, value) in like.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    Some(Running::start(&command))
}

/// The arguments both scripts get: the directory, then the command with its arguments.
fn get_arguments(linnet: &Linnet, torrent: &Torrent, into: &Path, peer: SocketAddr) -> Vec<String> {
    let peer = peer.to_string();
    let command = linnet.command(&[
        "get",
        &text(&torrent.file),
        "-o",
        &text(into),
        "--peer",
        &peer,
    ]);
    let mut args = vec![
        text(into),
        command.get_program().to_string_lossy().into_owned(),
    ];
    args.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    args
}

#[test]
fn a_full_disk_stops_with_a_clear_error_and_goes_on_when_there_is_room() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SINGLE);
    let seed = FakePeer::start(&torrent, place(), Manner::Honest);
    let linnet = Linnet::new(&scratch, "home");
    let into = scratch.dir("into");
    let script = r#"
        dir=$1; shift
        mount -t tmpfs -o size=2m none "$dir" || exit 99
        "$@"; echo "first $?"
        mount -o remount,size=64m "$dir" || exit 99
        "$@"; echo "second $?"
        echo "sum $(sha1sum < "$dir/single.bin")"
    "#;
    let args = get_arguments(&linnet, &torrent, &into, seed.address);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(mut run) = in_own_mounts(&linnet, script, &args) else {
        return;
    };
    run.expect_exit(0);
    assert_eq!(run.wait_word("first"), "1", "{}", run.text());
    assert!(
        run.text().to_lowercase().contains("space"),
        "no word of space:\n{}",
        run.text()
    );
    assert_eq!(run.wait_word("second"), "0", "{}", run.text());
    let want = hex(&digest(&torrent.dir.join("single.bin")));
    assert_eq!(run.wait_word("sum").trim_end_matches([' ', '-']), want);
}

#[test]
fn a_read_only_disk_is_a_clear_error() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &ODD);
    let seed = FakePeer::start(&torrent, place(), Manner::Honest);
    let linnet = Linnet::new(&scratch, "home");
    let into = scratch.dir("into");
    let script = r#"
        dir=$1; shift
        mount -t tmpfs -o ro none "$dir" || exit 99
        "$@"; echo "first $?"
        mount -o remount,rw "$dir" || exit 99
        "$@"; echo "second $?"
    "#;
    let args = get_arguments(&linnet, &torrent, &into, seed.address);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(mut run) = in_own_mounts(&linnet, script, &args) else {
        return;
    };
    run.expect_exit(0);
    assert_eq!(run.wait_word("first"), "1", "{}", run.text());
    let said = run.text().to_lowercase();
    assert!(
        said.contains("read-only") || said.contains("permission"),
        "no reason named:\n{said}"
    );
    assert_eq!(run.wait_word("second"), "0", "{}", run.text());
}
