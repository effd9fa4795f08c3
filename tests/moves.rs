//! Where a daemon's files are: moved, renamed, killed meanwhile, incomplete elsewhere, dropped into a directory that is watched;
//! and whose trackers change while they run.

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
use std::time::Duration;

use serde_json::{Value, json};

use support::clients::{Libtorrent, Options};
use support::rpc::{Client, Daemon};
use support::torrent::{Recipe, Torrent, hex};
use support::tracker::{Canned, http};
use support::{Scratch, eventually, is_long, text};

const MULTI: Recipe<'_> = Recipe {
    name: "multi",
    piece_length: 32 << 10,
    files: &[("one", 100_000), ("sub/two", 200_000), ("empty", 0)],
    trackers: &[],
};

fn field(client: &mut Client, name: &str) -> Value {
    let mut answer = client.classic("torrent-get", &json!({ "fields": [name] }));
    answer["torrents"][0][name].take()
}

fn wait_for(client: &mut Client, name: &str, want: &Value) {
    let mut last = Value::Null;
    eventually(&format!("{name} to be {want}"), || {
        last = field(client, name);
        (last == *want).then_some(())
    });
}

/// Adds a torrent whose data is copied to `dir`, and waits until it is seeded from there.
fn seed(client: &mut Client, torrent: &Torrent, dir: &Path) {
    for (path, _) in &torrent.files {
        std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
        std::fs::copy(torrent.dir.join(path), dir.join(path)).unwrap();
    }
    let add = json!({ "filename": text(&torrent.file), "download-dir": text(dir) });
    client.classic("torrent-add", &add);
    wait_for(client, "status", &json!(6));
    wait_for(client, "leftUntilDone", &json!(0));
}

/// How many jobs have hashed from disk.
fn checks(daemon: &Daemon) -> u64 {
    let (code, out) = daemon.remote(&["stats", "--json"]);
    assert_eq!(code, 0, "{out}");
    let stats: Value = serde_json::from_str(&out).unwrap();
    let jobs = stats["jobs"].as_array().unwrap();
    let check = jobs.iter().find(|job| job["kind"] == "check").unwrap();
    check["completed"].as_u64().unwrap()
}

/// A directory on another file system, where the machine has one.
fn elsewhere() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

#[test]
fn a_seed_is_moved_to_another_disk_and_goes_on_without_a_recheck() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    let dir = scratch.dir("data");
    seed(&mut client, &torrent, &dir);
    let hashed = checks(&daemon);
    let other = elsewhere();
    for to in [other.path().join("a/b"), dir.clone(), scratch.dir("near")] {
        let (code, out) = daemon.remote(&["set", "1", &format!("dir={}", text(&to))]);
        assert_eq!(code, 0, "{out}");
        eventually("the files to be there", || {
            to.join("multi/sub/two").exists().then_some(())
        });
        wait_for(&mut client, "status", &json!(6));
        wait_for(
            &mut client,
            "downloadDir",
            &json!(text(&to.canonicalize().unwrap())),
        );
        torrent.assert_same(&to);
    }
    assert!(!dir.join("multi").exists(), "nothing is left behind");
    assert_eq!(checks(&daemon), hashed, "what was known was enough");
    let into = scratch.dir("into");
    let options = Options {
        peers: &[daemon.listen],
        ..Options::default()
    };
    Libtorrent::get(&torrent.file, &into, &options).done();
    torrent.assert_same(&into);
}

#[test]
fn files_that_are_elsewhere_already_are_hashed_there() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    client.classic("torrent-add", &json!({ "filename": text(&torrent.file) }));
    wait_for(&mut client, "status", &json!(4));
    let location = json!({ "ids": [1], "location": text(&torrent.dir), "move": false });
    client.classic("torrent-set-location", &location);
    wait_for(&mut client, "status", &json!(6));
    assert!(checks(&daemon) > 0);
}

#[test]
fn nothing_is_overwritten_and_the_error_says_so() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    let dir = scratch.dir("data");
    seed(&mut client, &torrent, &dir);
    let other = scratch.dir("other");
    std::fs::create_dir_all(other.join("multi")).unwrap();
    std::fs::write(other.join("multi/one"), "theirs").unwrap();
    let location = json!({ "ids": [1], "location": text(&other), "move": true });
    client.classic("torrent-set-location", &location);
    eventually("the error", || {
        let error = field(&mut client, "errorString");
        error
            .as_str()
            .unwrap()
            .contains("is there already")
            .then_some(())
    });
    wait_for(&mut client, "status", &json!(6));
    torrent.assert_same(&dir);
    assert_eq!(std::fs::read(other.join("multi/one")).unwrap(), b"theirs");
    assert_eq!(field(&mut client, "downloadDir"), text(&dir));
}

#[test]
fn a_rename_while_it_seeds_is_seen_at_once_and_remembered() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    let dir = scratch.dir("data");
    seed(&mut client, &torrent, &dir);
    let hashed = checks(&daemon);
    let rename = |client: &mut Client, path: &str, name: &str| {
        let arguments = json!({ "ids": [1], "path": path, "name": name });
        client.post(&json!({ "method": "torrent-rename-path", "arguments": arguments }))
    };
    let answer = rename(&mut client, "multi/sub/two", "deux");
    assert_eq!(answer["result"], "success", "{answer}");
    assert_eq!(answer["arguments"]["name"], "deux");
    assert!(dir.join("multi/sub/deux").exists());
    let answer = rename(&mut client, "multi", "other name");
    assert_eq!(answer["result"], "success", "{answer}");
    for (path, name) in [
        ("other name/sub/deux", ".."),
        ("other name/sub/deux", "a/b"),
        ("other name/sub", "one"),
        ("multi", "x"),
        ("", "x"),
    ] {
        let answer = rename(&mut client, path, name);
        assert_ne!(answer["result"], "success", "{path} {name}");
    }
    let linnet = daemon.kill();
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let mut client = daemon.client();
    wait_for(&mut client, "status", &json!(6));
    assert_eq!(field(&mut client, "name"), "other name");
    let files = field(&mut client, "files");
    assert_eq!(files[1]["name"], "other name/sub/deux");
    assert!(dir.join("other name/sub/deux").exists() && !dir.join("multi").exists());
    assert_eq!(field(&mut client, "hashString"), hex(&torrent.info_hash));
    assert!(hashed > 0 && checks(&daemon) == 0, "its bytes were known");
    let into = scratch.dir("into");
    let options = Options {
        peers: &[daemon.listen],
        ..Options::default()
    };
    Libtorrent::get(&torrent.file, &into, &options).done();
    torrent.assert_same(&into);
}

/// Many files and a long one, so that a kill falls into renames and into a copy.
#[test]
fn a_kill_during_a_move_loses_nothing() {
    let scratch = Scratch::new();
    let names: Vec<String> = (0..150)
        .map(|file| format!("d{}/f{file}", file % 7))
        .collect();
    let mut files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 3000)).collect();
    files.push(("long", 60_000_000));
    let recipe = Recipe {
        name: "many",
        piece_length: 256 << 10,
        files: &files,
        trackers: &[],
    };
    let torrent = Torrent::make(&scratch, &recipe);
    let mut daemon = Daemon::start(&scratch, "home", &[]);
    let near = scratch.dir("near");
    seed(&mut daemon.client(), &torrent, &near);
    let far = elsewhere();
    let places = [far.path().join("far"), near];
    let rounds = if is_long() { 60 } else { 6 };
    for round in 0..rounds {
        let to = &places[round % 2];
        let location = json!({ "ids": [1], "location": text(to), "move": true });
        daemon.client().classic("torrent-set-location", &location);
        // Somewhere in the middle, by what is there and not by time; when the first is there, what is known was saved.
        let mark = 1 + round * 37 % 150;
        eventually("some files to be there", || {
            let there = |name: &&(&str, u64)| to.join("many").join(name.0).exists();
            (files.iter().filter(there).count() >= mark).then_some(())
        });
        let linnet = daemon.kill();
        daemon = Daemon::again(&scratch, linnet, "home", &[]);
        let mut client = daemon.client();
        wait_for(&mut client, "status", &json!(6));
        wait_for(
            &mut client,
            "downloadDir",
            &json!(text(&to.canonicalize().unwrap())),
        );
        torrent.assert_same(to);
        assert_eq!(field(&mut client, "leftUntilDone"), 0);
        assert_eq!(
            checks(&daemon),
            0,
            "round {round}: nothing was hashed again"
        );
        assert!(
            !places[(round + 1) % 2].join("many").exists(),
            "round {round}"
        );
    }
}

#[test]
fn a_download_is_elsewhere_until_it_is_complete() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let incomplete = scratch.dir("incomplete");
    let set = format!("paths.incomplete={}", text(&incomplete));
    let daemon = Daemon::start(&scratch, "home", &["--set", &set]);
    let mut client = daemon.client();
    let session = client.classic("session-get", &json!({}));
    assert_eq!(session["incomplete-dir"], text(&incomplete));
    assert_eq!(session["incomplete-dir-enabled"], true);
    client.classic("torrent-add", &json!({ "filename": text(&torrent.file) }));
    wait_for(&mut client, "status", &json!(4));
    assert_eq!(field(&mut client, "downloadDir"), text(&daemon.downloads));
    assert!(incomplete.join("multi").exists() && !daemon.downloads.join("multi").exists());
    let linnet = daemon.kill();
    let daemon = Daemon::again(&scratch, linnet, "home", &["--set", &set]);
    let mut client = daemon.client();
    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &Options::default());
    assert_eq!(daemon.remote(&["pin", "1", &seed.address.to_string()]).0, 0);
    wait_for(&mut client, "status", &json!(6));
    eventually("the files to come", || {
        daemon
            .downloads
            .join("multi/sub/two")
            .exists()
            .then_some(())
    });
    wait_for(&mut client, "status", &json!(6));
    torrent.assert_same(&daemon.downloads);
    assert!(!incomplete.join("multi").exists());
}

#[test]
fn torrents_that_are_dropped_into_the_watched_directory_are_added() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let watch = scratch.dir("watch");
    let bytes = std::fs::read(&torrent.file).unwrap();
    let link = "magnet:?xt=urn:btih:00112233445566778899aabbccddeeff00112233";
    for (name, bytes) in [
        ("bad.torrent", &b"nonsense"[..]),
        ("half.torrent", b"d4:info"),
        ("a.magnet", link.as_bytes()),
        ("other.txt", b"mine"),
        ("good.torrent", &bytes),
    ] {
        std::fs::write(watch.join(name), bytes).unwrap();
    }
    // Nobody writes to the one any more, whereas the other may still be coming.
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let bad = std::fs::File::options()
        .write(true)
        .open(watch.join("bad.torrent"));
    bad.unwrap().set_modified(old).unwrap();
    let set = format!("paths.watch={}", text(&watch));
    let daemon = Daemon::start(&scratch, "home", &["--set", &set]);
    let mut client = daemon.client();
    for name in ["good.torrent.added", "a.magnet.added", "bad.torrent.failed"] {
        eventually(name, || watch.join(name).exists().then_some(()));
    }
    let torrents = client.classic("torrent-get", &json!({ "fields": ["hashString"] }));
    let hashes = torrents["torrents"].to_string();
    assert!(hashes.contains(&hex(&torrent.info_hash)), "{hashes}");
    assert!(hashes.contains(&link[20..]), "{hashes}");
    eventually("word of the half", || {
        let told = daemon.running.text();
        told.contains("looked at again").then_some(())
    });
    for name in ["half.torrent", "other.txt"] {
        assert!(watch.join(name).exists(), "{name}");
    }
}

#[test]
fn trackers_change_while_it_runs() {
    let scratch = Scratch::new();
    let body = b"d8:intervali1800e5:peers0:e";
    let [first, second] = [0, 1].map(|_| Canned::start(Some(http("200 OK", body))));
    let url = |tracker: &Canned| format!("http://{}/announce", tracker.address);
    let (one, two) = (url(&first), url(&second));
    let recipe = Recipe {
        trackers: &[&one],
        ..MULTI
    };
    let torrent = Torrent::make(&scratch, &recipe);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    client.classic("torrent-add", &json!({ "filename": text(&torrent.file) }));
    eventually("an announce", || (first.asked() > 0).then_some(()));
    let run = |arguments: &[&str]| {
        let mut command = Command::new("transmission-remote");
        command.arg(daemon.rpc.to_string()).args(["-t", "1"]);
        let output = command.args(arguments).output().expect("installed");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(out.contains("success"), "{arguments:?}: {out}");
    };
    run(&["-td", &two]);
    let trackers = field(&mut client, "trackers");
    let ids: Vec<&Value> = trackers
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, [&json!(0), &json!(1)]);
    run(&["-tr", "0"]);
    eventually("the other to be asked", || {
        (second.asked() > 0).then_some(())
    });
    eventually("the first to be told", || (first.asked() > 1).then_some(()));
    let trackers = field(&mut client, "trackers");
    assert_eq!(trackers[0]["id"], 1, "numbers stay");
    assert_eq!(trackers[0]["announce"], two);
    let replace = json!({ "ids": [1], "trackerReplace": [1, "udp://127.0.0.1:1/x"] });
    client.classic("torrent-set", &replace);
    let list = format!("{one}\n{two}\n\nudp://127.0.0.1:1/x\n");
    client.classic("torrent-set", &json!({ "ids": [1], "trackerList": list }));
    for wrong in [
        json!({ "trackerAdd": ["nonsense"] }),
        json!({ "trackerRemove": [77] }),
    ] {
        let mut arguments = wrong.clone();
        arguments["ids"] = json!([1]);
        let answer = client.post(&json!({ "method": "torrent-set", "arguments": arguments }));
        assert_ne!(answer["result"], "success", "{wrong}");
    }
    let before = field(&mut client, "trackerList");
    assert_eq!(before, list);
    let linnet = daemon.kill();
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    assert_eq!(field(&mut daemon.client(), "trackerList"), list);
}
