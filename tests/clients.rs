//! Real clients drive the daemon of the built binary: the Python package transmission-rpc, Transmission's own web page in headless
//! Chromium; and what others send, replayed.
//!
//! `tests/run` installs the two: the package into `target/clients` (a virtual environment), Chromium from Debian.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use support::clients::{Libtorrent, Options};
use support::rpc::{Client, Daemon};
use support::torrent::{Recipe, Torrent, hex};
use support::tracker::{Canned, http};
use support::{Running, Scratch, eventually, text};

/// Where Debian's package transmission-common has the page.
const PAGE: &str = "/usr/share/transmission/web";

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// Two torrents of the same files, with data; nobody answers at their tracker unless another is named.
fn make(scratch: &Scratch, name: &str, one: u64, tracker: &str) -> Torrent {
    let recipe = Recipe {
        name,
        piece_length: 32 << 10,
        files: &[("one", one), ("sub/two", 200_000), ("empty", 0)],
        trackers: &[tracker],
    };
    Torrent::make(scratch, &recipe)
}

/// Runs a script to its end.
fn run(python: &Path, script: &Path, arguments: &[&str]) {
    let mut command = Command::new(python);
    command.arg(script).args(arguments);
    Running::start(&command).expect_exit(0);
}

/// One case of `package.py`, with a daemon of its own.
fn package(case: &str) {
    let target = Path::new(env!("CARGO_BIN_EXE_linnet")).ancestors().nth(2);
    let python = target.unwrap().join("clients/bin/python");
    assert!(
        python.exists(),
        "{} is missing: tests/run makes it, with transmission-rpc in it",
        python.display()
    );
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let data = scratch.dir("data");
    let torrents = ["multi", "two"].map(|name| {
        make(
            &scratch,
            name,
            100_000,
            "http://127.0.0.1:1/secret/announce",
        )
    });
    for torrent in &torrents {
        for (path, _) in &torrent.files {
            std::fs::create_dir_all(data.join(path).parent().unwrap()).unwrap();
            std::fs::copy(torrent.dir.join(path), data.join(path)).unwrap();
        }
    }
    let [one, two] = &torrents;
    let world = json!({
        "rpc": daemon.rpc.to_string(), "downloads": daemon.downloads, "empty": scratch.dir("empty"), "data": data,
        "one": one.file, "one_hash": hex(&one.info_hash), "two": two.file, "two_hash": hex(&two.info_hash),
    });
    run(&python, &script("package.py"), &[case, &world.to_string()]);
    daemon.stop();
}

#[test]
fn the_python_package_adds_torrents_in_every_way() {
    package("add");
}

#[test]
fn the_python_package_reads_every_field() {
    package("look");
}

#[test]
fn the_python_package_changes_everything_it_can_say() {
    package("change");
}

#[test]
fn the_python_package_starts_stops_verifies_and_queues() {
    package("act");
}

#[test]
fn the_python_package_moves_and_renames() {
    package("move");
}

#[test]
fn the_python_package_reads_and_sets_the_session() {
    package("session");
}

#[test]
fn the_python_package_removes_torrents_and_data() {
    package("remove");
}

#[test]
fn transmissions_own_page_is_driven_by_clicks() {
    assert!(
        Path::new(PAGE).join("index.html").exists(),
        "the package transmission-common is missing: tests/run installs it"
    );
    let scratch = Scratch::new();
    let web_home = format!("rpc.web_home={PAGE}");
    let daemon = Daemon::start(&scratch, "home", &["--set", &web_home]);
    let tracker = Canned::start(Some(http("200 OK", b"d8:intervali1800e5:peers0:e")));
    let url = format!("http://{}/announce", tracker.address);
    // At this rate its peer is busy with it for minutes.
    let one = make(&scratch, "multi", 20_000_000, &url);
    let two = make(&scratch, "two", 100_000, &url);
    let mut client = daemon.client();
    client.classic(
        "torrent-add",
        &json!({ "filename": text(&one.file), "download-dir": text(&one.dir) }),
    );
    client.classic(
        "torrent-set",
        &json!({ "uploadLimited": true, "uploadLimit": 30 }),
    );
    let connected = |client: &mut Client| {
        let list = client.classic(
            "torrent-get",
            &json!({ "fields": ["status", "peersConnected"] }),
        );
        (
            list["torrents"][0]["status"].clone(),
            list["torrents"][0]["peersConnected"].clone(),
        )
    };
    eventually("it to be seeded", || {
        (connected(&mut client).0 == 6).then_some(())
    });
    let into = scratch.dir("into");
    let options = Options {
        peers: &[daemon.listen],
        ..Options::default()
    };
    let peer = Libtorrent::get(&one.file, &into, &options);
    eventually("the peer", || (connected(&mut client).1 == 1).then_some(()));
    let world = json!({
        "rpc": daemon.rpc.to_string(), "downloads": daemon.downloads, "two": two.file, "profile": scratch.dir("profile"),
        "peer": peer.address.ip().to_string(),
    });
    run(
        Path::new("/usr/bin/python3"),
        &script("page.py"),
        &[&world.to_string()],
    );
}

/// What a field is, in the classic dialect and in JSON-RPC.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "text",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Every field that a client of the table in the documentation asks for is there, and of the type they all expect.
#[test]
fn every_field_that_clients_ask_for_has_its_type_in_both_dialects() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let recipe = Recipe {
        name: "film.mkv",
        piece_length: 32 << 10,
        files: &[("", 100_000)],
        trackers: &["http://127.0.0.1:1/announce"],
    };
    let torrent = Torrent::make(&scratch, &recipe);
    let mut client = daemon.client();
    client.classic(
        "torrent-add",
        &json!({ "filename": text(&torrent.file), "paused": true }),
    );
    // Name in the classic dialect, name in JSON-RPC where it is not the same in snake case, type.
    #[rustfmt::skip]
    let table: &[(&str, &[&str])] = &[
        ("int", &[
            "id", "status", "error", "totalSize", "sizeWhenDone", "leftUntilDone", "eta", "rateDownload", "rateUpload",
            "uploadedEver", "downloadedEver", "addedDate", "doneDate", "activityDate", "queuePosition", "seedRatioMode",
            "seedIdleLimit", "seedIdleMode", "secondsDownloading", "secondsSeeding", "peersConnected", "peersGettingFromUs",
            "peersSendingToUs", "file-count", "haveValid", "dateCreated", "pieceCount", "pieceSize", "haveUnchecked",
            "corruptEver", "desiredAvailable", "downloadLimit", "uploadLimit", "bandwidthPriority", "peer-limit",
            "maxConnectedPeers", "startDate", "webseedsSendingToUs", "etaIdle", "editDate", "manualAnnounceTime",
            "sequential_download_from_piece",
        ]),
        ("float", &[
            "percentDone", "uploadRatio", "seedRatioLimit", "metadataPercentComplete", "recheckProgress", "percentComplete",
        ]),
        ("bool", &["isFinished", "isStalled", "isPrivate", "downloadLimited", "uploadLimited", "honorsSessionLimits", "sequential_download"]),
        ("text", &[
            "hashString", "name", "errorString", "downloadDir", "trackerList", "comment", "creator", "magnetLink", "pieces",
            "primary-mime-type", "group", "torrentFile", "source",
        ]),
        ("array", &[
            "labels", "trackers", "files", "fileStats", "priorities", "wanted", "peers", "trackerStats", "webseeds",
            "availability", "bytesCompleted", "webseeds_ex",
        ]),
        ("object", &["peersFrom"]),
    ];
    let names: Vec<&str> = table
        .iter()
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    let shown = client.classic("torrent-get", &json!({ "fields": names }));
    let shown = &shown["torrents"][0];
    for (want, names) in table {
        for name in *names {
            assert_eq!(kind(&shown[name]), *want, "{name}: {}", shown[name]);
        }
    }
    assert_eq!(shown["primary-mime-type"], "video/x-matroska");
    for name in ["beginPiece", "endPiece", "bytesCompleted", "length"] {
        assert_eq!(kind(&shown["files"][0][name]), "int", "{name}");
    }
    let snake = |name: &str| {
        let mut out = String::new();
        for letter in name.chars() {
            match letter {
                '-' => out.push('_'),
                letter if letter.is_ascii_uppercase() => {
                    out.push('_');
                    out.push(letter.to_ascii_lowercase());
                }
                letter => out.push(letter),
            }
        }
        out
    };
    let modern: Vec<String> = names.iter().map(|name| snake(name)).collect();
    let list = client.modern("torrent_get", &json!({ "fields": modern }));
    let shown = &list["torrents"][0];
    for (want, names) in table {
        for name in names.iter().map(|name| snake(name)) {
            assert_eq!(kind(&shown[&name]), *want, "{name}: {}", shown[&name]);
        }
    }
    // What trackers and peers are asked for.
    let stats = &shown["tracker_stats"][0];
    #[rustfmt::skip]
    let of_stats: &[(&str, &[&str])] = &[
        ("int", &[
            "id", "tier", "announce_state", "last_announce_time", "last_announce_peer_count", "last_announce_start_time",
            "next_announce_time", "seeder_count", "leecher_count", "download_count", "last_scrape_time", "next_scrape_time",
            "scrape_state",
        ]),
        ("text", &["announce", "host", "sitename", "scrape", "last_announce_result", "last_scrape_result"]),
        ("bool", &["last_announce_succeeded", "last_announce_timed_out", "has_announced", "has_scraped", "is_backup"]),
    ];
    for (want, names) in of_stats {
        for name in *names {
            assert_eq!(kind(&stats[name]), *want, "{name}: {}", stats[name]);
        }
    }
    assert_eq!(stats["is_backup"], false, "there is no other");
    // All session fields too; kilobytes stay whole numbers, or older clients stumble.
    let session = client.classic("session-get", &json!({}));
    #[rustfmt::skip]
    let of_session: &[(&str, &[&str])] = &[
        ("int", &[
            "rpc-version", "rpc-version-minimum", "download-dir-free-space", "idle-seeding-limit", "speed-limit-up",
            "speed-limit-down", "alt-speed-up", "alt-speed-down", "alt-speed-time-begin", "alt-speed-time-end",
            "alt-speed-time-day", "peer-port", "peer-limit-global", "peer-limit-per-torrent", "download-queue-size",
            "seed-queue-size", "queue-stalled-minutes", "blocklist-size", "reqq",
        ]),
        ("float", &["seedRatioLimit"]),
        ("bool", &[
            "seedRatioLimited", "idle-seeding-limit-enabled", "speed-limit-up-enabled", "speed-limit-down-enabled",
            "alt-speed-enabled", "alt-speed-time-enabled", "peer-port-random-on-start", "dht-enabled", "pex-enabled",
            "lpd-enabled", "utp-enabled", "port-forwarding-enabled", "download-queue-enabled", "seed-queue-enabled",
            "queue-stalled-enabled", "incomplete-dir-enabled", "rename-partial-files", "start-added-torrents",
            "trash-original-torrent-files", "blocklist-enabled", "script-torrent-done-enabled",
            "script-torrent-added-enabled", "sequential_download",
        ]),
        ("text", &[
            "version", "rpc-version-semver", "session-id", "download-dir", "config-dir", "encryption", "incomplete-dir",
            "blocklist-url", "script-torrent-done-filename", "default-trackers",
        ]),
        ("array", &["preferred_transports"]),
        ("object", &["units"]),
    ];
    for (want, names) in of_session {
        for name in *names {
            assert_eq!(kind(&session[name]), *want, "{name}: {}", session[name]);
        }
    }
}

/// What one kind of client sends once it is connected, in order, and what it then looks at in the answer, by JSON pointer. `$HASH`
/// stands for that of its torrent, `$DIR` for the download directory, `$FILE` for the path of the torrent file.
type Script<'a> = &'a [(&'a str, Value, &'a [&'a str])];

/// Sends a script in the classic dialect.
fn replay(name: &str, client: &mut Client, world: &[(&str, &str)], script: Script<'_>) {
    for (method, arguments, looks_at) in script {
        let mut arguments = arguments.to_string();
        for (word, value) in world {
            arguments = arguments.replace(word, value);
        }
        let arguments: Value = serde_json::from_str(&arguments).unwrap();
        let answer = client.classic(method, &arguments);
        for pointer in *looks_at {
            let found = answer.pointer(pointer);
            assert!(
                found.is_some_and(|value| !value.is_null()),
                "{name}, {method}: no {pointer} in {answer}"
            );
        }
    }
}

/// Rebuilt from the sources of Radarr (commit 051b098; what Sonarr asks besides is in the same list), Flood (00f113b), Tremotesf
/// (032e06a), cross-seed (011e010) and hekmon's Go library (0d85754). None of them speaks JSON-RPC. They are in one list, not in
/// tests of their own, because what one leaves is what the next one finds.
#[test]
fn what_each_kind_of_client_sends_is_answered_as_it_reads_it() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let torrent = make(&scratch, "show", 100_000, "http://127.0.0.1:1/announce");
    let other = make(&scratch, "film", 100_000, "http://127.0.0.1:1/announce");
    let mut client = daemon.client();
    let (hash, dir) = (hex(&torrent.info_hash), text(&daemon.downloads));
    let file = text(&torrent.file);
    let (other_file, other_hash) = (text(&other.file), hex(&other.info_hash));
    // Torrents are numbered from one on.
    let world = [
        ("$HASH", &*hash),
        ("$OTHER-HASH", &*other_hash),
        ("$DIR", &*dir),
        ("$OTHER-FILE", &*other_file),
        ("$FILE", &*file),
    ];
    #[rustfmt::skip]
    let arr = [
        "id", "hashString", "name", "downloadDir", "totalSize", "leftUntilDone", "isFinished", "eta", "status",
        "secondsDownloading", "secondsSeeding", "errorString", "uploadedEver", "downloadedEver", "seedRatioLimit",
        "seedRatioMode", "seedIdleLimit", "seedIdleMode", "fileCount", "file-count", "labels",
    ];
    #[rustfmt::skip]
    let sonarr: Script<'_> = &[
        ("session-get", Value::Null, &["/version", "/rpc-version", "/download-dir", "/seedRatioLimited", "/idle-seeding-limit-enabled"]),
        ("torrent-add", json!({ "filename": "$FILE", "paused": true, "download-dir": "$DIR/tv", "labels": ["tv"] }), &["/torrent-added/hashString"]),
        ("torrent-set", json!({ "ids": ["$HASH"], "seedRatioLimit": 1.5, "seedRatioMode": 1, "seedIdleLimit": 90, "seedIdleMode": 1 }), &[]),
        ("torrent-set", json!({ "ids": ["$HASH"], "labels": ["tv", "imported"] }), &[]),
        ("queue-move-top", json!({ "ids": ["$HASH"] }), &[]),
        ("torrent-get", json!({ "fields": arr }), &["/torrents/0/hashString", "/torrents/0/downloadDir", "/torrents/0/secondsSeeding",
            "/torrents/0/seedRatioLimit", "/torrents/0/seedIdleLimit", "/torrents/0/file-count", "/torrents/0/labels/1"]),
        // Radarr looks at one.
        ("torrent-get", json!({ "fields": arr, "ids": ["$HASH"] }), &["/torrents/0/eta"]),
    ];
    // Its hash stands alone where it means one torrent.
    #[rustfmt::skip]
    let flood: Script<'_> = &[
        ("session-stats", Value::Null, &["/downloadSpeed", "/uploadSpeed", "/current-stats/downloadedBytes", "/current-stats/uploadedBytes"]),
        ("session-get", json!({ "fields": ["dht-enabled", "peer-port", "download-dir", "peer-port-random-on-start", "pex-enabled",
            "speed-limit-down", "speed-limit-down-enabled", "speed-limit-up", "speed-limit-up-enabled", "peer-limit-global",
            "peer-limit-per-torrent", "seed-queue-enabled", "seed-queue-size"] }),
            &["/dht-enabled", "/peer-port", "/download-dir", "/peer-port-random-on-start", "/pex-enabled", "/speed-limit-down",
            "/speed-limit-up-enabled", "/peer-limit-global", "/peer-limit-per-torrent", "/seed-queue-enabled", "/seed-queue-size"]),
        ("session-set", json!({ "speed-limit-down": 2000, "speed-limit-down-enabled": true }), &[]),
        ("torrent-get", json!({ "fields": ["hashString", "downloadDir", "name", "haveValid", "addedDate", "dateCreated", "rateDownload",
            "rateUpload", "downloadedEver", "uploadedEver", "eta", "isPrivate", "error", "errorString", "peersGettingFromUs",
            "peersSendingToUs", "status", "totalSize", "trackers", "labels"], "format": "objects" }),
            &["/torrents/0/haveValid", "/torrents/0/dateCreated", "/torrents/0/isPrivate", "/torrents/0/trackers/0/announce", "/torrents/0/labels"]),
        ("torrent-get", json!({ "ids": "$HASH", "fields": ["files", "fileStats"], "format": "objects" }),
            &["/torrents/0/files/2/bytesCompleted", "/torrents/0/fileStats/2/wanted", "/torrents/0/fileStats/2/priority"]),
        ("torrent-get", json!({ "ids": "$HASH", "fields": ["peers"], "format": "objects" }), &["/torrents/0/peers"]),
        ("torrent-get", json!({ "ids": "$HASH", "fields": ["trackerStats"], "format": "objects" }), &["/torrents/0/trackerStats/0/announce"]),
        ("torrent-set", json!({ "ids": ["$HASH"], "bandwidthPriority": 1 }), &[]),
        ("torrent-set", json!({ "ids": "$HASH", "files-unwanted": [2], "priority-normal": [2] }), &[]),
        // All trackers go, others come.
        ("torrent-set", json!({ "ids": "$HASH", "trackerRemove": [0] }), &[]),
        ("torrent-set", json!({ "ids": ["$HASH"], "trackerAdd": ["http://127.0.0.1:3/announce"] }), &[]),
        ("torrent-get", json!({ "ids": ["$HASH"], "fields": ["trackers"], "format": "objects" }), &["/torrents/0/trackers/0/id"]),
        ("torrent-start-now", json!({ "ids": ["$HASH"] }), &[]),
        ("torrent-reannounce", json!({ "ids": ["$HASH"] }), &[]),
        ("torrent-stop", json!({ "ids": ["$HASH"] }), &[]),
    ];
    #[rustfmt::skip]
    let tremotesf: Script<'_> = &[
        ("session-get", Value::Null, &["/rpc-version", "/rpc-version-minimum", "/download-dir", "/queue-stalled-minutes", "/encryption"]),
        ("torrent-add", json!({ "filename": "$OTHER-FILE", "download-dir": "$DIR", "files-unwanted": [0], "priority-high": [], "priority-low": [],
            "bandwidthPriority": -1, "paused": true }), &["/torrent-added/id"]),
        // A row of names, then a row for each torrent: all names are known, so none is left out.
        ("torrent-get", json!({ "fields": ["id", "hashString", "addedDate", "name", "magnetLink", "queuePosition", "totalSize", "haveValid",
            "leftUntilDone", "sizeWhenDone", "percentDone", "recheckProgress", "eta", "metadataPercentComplete", "rateDownload", "rateUpload",
            "downloadLimited", "downloadLimit", "uploadLimited", "uploadLimit", "downloadedEver", "uploadedEver", "uploadRatio",
            "seedRatioMode", "seedRatioLimit", "peersSendingToUs", "peersGettingFromUs", "webseeds", "webseedsSendingToUs", "status",
            "error", "errorString", "activityDate", "doneDate", "peer-limit", "honorsSessionLimits", "bandwidthPriority", "seedIdleMode",
            "seedIdleLimit", "downloadDir", "creator", "dateCreated", "comment", "trackerStats"], "format": "table" }),
            &["/torrents/0/43", "/torrents/1/43", "/torrents/2/43"]),
        ("torrent-get", json!({ "fields": ["id", "files", "fileStats"], "ids": [2] }), &["/torrents/0/id", "/torrents/0/files/0/name"]),
        ("torrent-set", json!({ "ids": [2], "files-wanted": [0] }), &[]),
        ("torrent-set", json!({ "ids": [2], "trackerAdd": ["http://127.0.0.1:2/announce"] }), &[]),
        ("torrent-set", json!({ "ids": [2], "honorsSessionLimits": false }), &[]),
        ("session-get", json!({ "fields": ["download-dir-free-space"] }), &["/download-dir-free-space"]),
        ("free-space", json!({ "path": "$DIR" }), &["/size-bytes", "/path"]),
        ("torrent-rename-path", json!({ "ids": [2], "path": "film/one", "name": "1" }), &["/path", "/name"]),
        ("torrent-set-location", json!({ "ids": [2], "location": "$DIR/films", "move": true }), &[]),
        ("queue-move-bottom", json!({ "ids": [1] }), &[]),
        ("session-stats", Value::Null, &["/current-stats/secondsActive", "/cumulative-stats/sessionCount"]),
    ];
    #[rustfmt::skip]
    let cross_seed: Script<'_> = &[
        ("session-get", json!({}), &["/version"]),
        ("torrent-get", json!({ "fields": ["downloadDir", "percentDone"], "ids": ["$HASH"] }), &["/torrents/0/downloadDir", "/torrents/0/percentDone"]),
        // What it finds there already it counts as a success.
        ("torrent-add", json!({ "download-dir": "$DIR", "filename": "$FILE", "paused": false, "labels": ["cross-seed"] }), &["/torrent-duplicate/hashString"]),
    ];
    #[rustfmt::skip]
    let hekmon: Script<'_> = &[
        ("session-get", Value::Null, &["/rpc-version", "/rpc-version-minimum", "/units/speed-bytes", "/cache-size-mb"]),
        ("torrent-get", json!({ "fields": ["id", "pieceSize", "wanted", "trackerStats", "peersFrom", "isStalled", "labels", "startDate"], "ids": [1] }),
            &["/torrents/0/peersFrom/fromTracker", "/torrents/0/wanted/2", "/torrents/0/trackerStats/0/nextAnnounceTime"]),
        ("torrent-verify", json!({ "ids": [1] }), &[]),
        ("torrent-remove", json!({ "ids": [1], "delete-local-data": false }), &[]),
    ];
    for (name, script) in [
        ("Sonarr", sonarr),
        ("Flood", flood),
        ("Tremotesf", tremotesf),
        ("cross-seed", cross_seed),
        ("hekmon", hekmon),
    ] {
        replay(name, &mut client, &world, script);
    }
    // What they have left.
    let list = client.classic(
        "torrent-get",
        &json!({ "fields": ["hashString", "bandwidthPriority", "wanted", "honorsSessionLimits", "trackers", "files"] }),
    );
    let left = &list["torrents"];
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["hashString"], other_hash);
    assert_eq!(left[0]["bandwidthPriority"], -1);
    assert_eq!(left[0]["wanted"], json!([1, 1, 1]));
    assert_eq!(left[0]["honorsSessionLimits"], false);
    assert_eq!(left[0]["trackers"].as_array().unwrap().len(), 2);
    assert_eq!(left[0]["files"][0]["name"], "film/1");
}

/// The page of Transmission 4.1 speaks JSON-RPC alone, transmission-remote 4.1 once it is told the version: the same order of
/// requests in both dialects leaves the same behind.
#[test]
fn both_dialects_say_the_same() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let torrent = make(&scratch, "show", 100_000, "http://127.0.0.1:1/announce");
    let mut client = daemon.client();
    let (classic, modern) = (
        [
            "hashString",
            "name",
            "status",
            "percentDone",
            "labels",
            "peer-limit",
            "queuePosition",
            "primary-mime-type",
            "wanted",
        ],
        [
            "hash_string",
            "name",
            "status",
            "percent_done",
            "labels",
            "peer_limit",
            "queue_position",
            "primary_mime_type",
            "wanted",
        ],
    );
    let mut seen = Vec::new();
    for is_modern in [false, true] {
        let mut ask = |method: &str, arguments: Value| {
            if is_modern {
                client.modern(&method.replace('-', "_"), &arguments)
            } else {
                client.classic(method, &arguments)
            }
        };
        let key = |kebab: &str| {
            if is_modern {
                kebab.replace('-', "_")
            } else {
                kebab.to_owned()
            }
        };
        let added = ask(
            "torrent-add",
            json!({ "filename": text(&torrent.file), "paused": true, key("peer-limit"): 9 }),
        );
        let id = added[key("torrent-added")]["id"].clone();
        assert!(id.is_u64(), "{added}");
        ask(
            "torrent-set",
            json!({ "ids": [id], "labels": ["a"], key("files-unwanted"): [0] }),
        );
        let fields = if is_modern { modern } else { classic };
        let rows = ask(
            "torrent-get",
            json!({ "ids": [id], "fields": fields, "format": "table" }),
        );
        assert_eq!(rows["torrents"][0], json!(fields));
        let mut row = rows["torrents"][1].clone();
        let wanted = row[8].take();
        assert_eq!(
            wanted,
            if is_modern {
                json!([false, true, true])
            } else {
                json!([0, 1, 1])
            }
        );
        seen.push(row);
        let space = ask("free-space", json!({ "path": text(&daemon.downloads) }));
        assert!(space[key("size-bytes")].is_u64(), "{space}");
        ask("torrent-remove", json!({ "ids": [id] }));
        let recent = ask(
            "torrent-get",
            json!({ "ids": key("recently-active"), "fields": ["id"] }),
        );
        assert!(
            recent["removed"].as_array().unwrap().contains(&id),
            "{recent}"
        );
        eventually("it to be gone", || {
            (ask("torrent-get", json!({ "fields": ["id"] }))["torrents"] == json!([])).then_some(())
        });
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0][5], 9);
}
