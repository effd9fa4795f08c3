//! A daemon by the built binary, driven as its clients drive it: requests of each kind of client in both dialects, the real
//! transmission-remote, our own commands; killed, limited, flooded.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use support::clients::{Libtorrent, Options};
use support::rpc::{Client, Daemon};
use support::torrent::{Recipe, Torrent, hex};
use support::tracker::{Canned, http};
use support::{Linnet, Scratch, eventually, text};

const FILES: &[(&str, u64)] = &[("one", 100_000), ("sub/two", 200_000), ("empty", 0)];

const MULTI: Recipe<'_> = Recipe {
    name: "multi",
    piece_length: 32 << 10,
    files: FILES,
    trackers: &["http://127.0.0.1:1/secret/announce"],
};

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    out
}

fn metainfo(torrent: &Torrent) -> String {
    base64(&std::fs::read(&torrent.file).unwrap())
}

fn torrent(client: &mut Client, id: &Value, fields: &[&str]) -> Value {
    let mut answer = client.classic("torrent-get", &json!({ "ids": id, "fields": fields }));
    answer["torrents"][0].take()
}

/// Waits until the torrent's status is as Transmission numbers it.
fn wait_for_status(client: &mut Client, id: &Value, status: u64) {
    eventually("the status", || {
        (torrent(client, id, &["status"])["status"] == status).then_some(())
    });
}

#[test]
fn the_handshake_and_the_verbs_are_as_clients_expect() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut fresh = Client::connect(daemon.rpc);
    #[rustfmt::skip]
    let table: &[(&str, &str, &[u8], u16)] = &[
        ("GET",     "/transmission/rpc",  b"",   409),
        ("POST",    "/transmission/rpc",  b"{}", 409),
        ("GET",     "/transmission/rpc/", b"",   409),
        ("OPTIONS", "/transmission/rpc",  b"",   200),
        ("GET",     "/transmission",      b"",   301),
        ("GET",     "/transmission/none", b"",   404),
        ("GET",     "/healthz",           b"",   200),
        ("GET",     "/metrics",           b"",   200),
        ("GET",     "/events?type=none",  b"",   400),
    ];
    for (method, path, body, status) in table {
        let answer = fresh.send(method, path, &[], body);
        assert_eq!(answer.status, *status, "{method} {path}");
        if answer.status == 409 {
            assert_eq!(
                answer.header("X-Transmission-Rpc-Version").unwrap(),
                "6.1.0"
            );
        }
    }
    fresh.session = Some("0".to_owned());
    assert_eq!(
        fresh.send("POST", "/transmission/rpc", &[], b"{}").status,
        409
    );

    let mut client = daemon.client();
    assert_eq!(
        client.send("GET", "/transmission/rpc", &[], b"").status,
        405
    );
    // hekmon's library sends its body in chunks.
    let chunked = b"9\r\n{\"method\"\r\n10\r\n:\"session-stats\"\r\n9\r\n,\"tag\":7}\r\n0\r\n\r\n";
    let answer = client.send(
        "POST",
        "/transmission/rpc",
        &["Transfer-Encoding: chunked"],
        chunked,
    );
    assert_eq!((answer.status, &answer.json()["tag"]), (200, &json!(7)));
    let body = br#"{"method":"session-get"}"#;
    let answer = client.send(
        "POST",
        "/transmission/rpc",
        &["Accept-Encoding: deflate, gzip"],
        body,
    );
    assert_eq!(answer.header("Content-Encoding").as_deref(), Some("gzip"));
    assert_eq!(&answer.body[..2], [0x1f, 0x8b]);
    let answer = client.send("POST", "/transmission/rpc", &[], b"{\"method\":");
    assert_eq!(answer.status, 400, "not JSON");
    let evil = client.send("POST", "/transmission/rpc", &["Host: evil.test"], body);
    assert_eq!(evil.status, 421);
}

/// What each client asks first, rebuilt from what their sources send, and what it must find in the answer.
#[test]
fn every_kind_of_client_finds_what_it_needs() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    let hash = hex(&torrent.info_hash);
    // Sonarr: settings, then the torrent file, then settings of the torrent by its hash at once, then the list.
    let session = client.classic("session-get", &json!({}));
    assert!(session["version"].as_str().unwrap().starts_with("4.1"));
    assert!(session["rpc-version-minimum"].as_u64().unwrap() <= 14);
    assert_eq!(session["download-dir"], text(&daemon.downloads));
    for name in [
        "seedRatioLimit",
        "idle-seeding-limit-enabled",
        "rpc-version-semver",
        "units",
    ] {
        assert!(!session[name].is_null(), "{name}");
    }
    let added = client.classic(
        "torrent-add",
        &json!({ "metainfo": metainfo(&torrent), "paused": true, "labels": ["tv-sonarr", "a,b"] }),
    );
    assert_eq!(added["torrent-added"]["hashString"], hash);
    let id = added["torrent-added"]["id"].clone();
    client.classic(
        "torrent-set",
        &json!({ "ids": [hash], "seedRatioLimit": 1.5, "seedRatioMode": 1, "downloadLimited": true }),
    );
    client.classic("queue-move-top", &json!({ "ids": [hash] }));
    let list = client.classic(
        "torrent-get",
        &json!({ "fields": ["id", "hashString", "name", "downloadDir", "totalSize", "leftUntilDone", "isFinished", "eta",
            "status", "secondsDownloading", "secondsSeeding", "errorString", "uploadedEver", "downloadedEver",
            "seedRatioLimit", "seedRatioMode", "seedIdleLimit", "seedIdleMode", "fileCount", "file-count", "labels", "downloadLimited"] }),
    );
    let sonarr = &list["torrents"][0];
    assert_eq!(sonarr["name"], "multi");
    assert_eq!(sonarr["totalSize"], 300_000);
    assert_eq!(sonarr["labels"], json!(["tv-sonarr"]));
    assert_eq!(sonarr["file-count"], 3);
    assert_eq!(sonarr["downloadLimited"], true);
    assert_eq!(
        (&sonarr["seedRatioMode"], &sonarr["seedRatioLimit"]),
        (&json!(1), &json!(1.5))
    );
    wait_for_status(&mut client, &id, 0);
    // A second add is a success with another key.
    let again = client.classic("torrent-add", &json!({ "filename": text(&torrent.file) }));
    assert_eq!(again["torrent-duplicate"]["hashString"], hash);
    // Flood: one bare hash, objects, trackers with numbers.
    let flood = client.classic(
        "torrent-get",
        &json!({ "ids": hash, "format": "objects", "fields": ["trackers", "trackerStats", "peers", "files", "wanted", "priorities"] }),
    );
    let flood = &flood["torrents"][0];
    assert_eq!(
        flood["trackers"][0]["announce"],
        "http://127.0.0.1:1/secret/announce"
    );
    assert_eq!(flood["trackerStats"][0]["lastAnnounceSucceeded"], false);
    assert_eq!(flood["files"][1]["name"], "multi/sub/two");
    assert_eq!(flood["wanted"], json!([1, 1, 1]));
    assert_eq!(flood["peers"], json!([]));
    // Tremotesf and the web page: a table, recent ones with those removed.
    let table = client.classic(
        "torrent-get",
        &json!({ "ids": "recently-active", "format": "table", "fields": ["id", "status", "peer-limit"] }),
    );
    assert_eq!(
        table["torrents"],
        json!([["id", "status", "peer-limit"], [id, 0, 200]])
    );
    assert_eq!(table["removed"], json!([]));
    let space = client.classic("free-space", &json!({ "path": text(&daemon.downloads) }));
    assert!(space["size-bytes"].as_u64().unwrap() <= space["total_size"].as_u64().unwrap());
    // Transmission's own page: JSON-RPC alone, in snake case.
    let session = client.modern(
        "session_get",
        &json!({ "fields": ["version", "encryption"] }),
    );
    assert_eq!(session["encryption"], "preferred");
    let modern = client.modern(
        "torrent_get",
        &json!({ "fields": ["id", "hash_string", "wanted", "file_count", "webseeds_ex", "labels"], "ids": [id] }),
    );
    assert_eq!(modern["torrents"][0]["wanted"], json!([true, true, true]));
    assert_eq!(modern["torrents"][0]["file_count"], 3);
    let batch = client.post(&json!([
        { "jsonrpc": "2.0", "method": "session_stats", "id": 1 },
        { "jsonrpc": "2.0", "method": "torrent_start", "params": { "ids": [] } },
        { "jsonrpc": "2.0", "method": "none", "id": 2 },
    ]));
    assert_eq!(batch[0]["result"]["torrent_count"], 1);
    assert_eq!(
        (&batch[1]["id"], &batch[1]["error"]["code"]),
        (&json!(2), &json!(-32601))
    );
    assert_eq!(
        batch.as_array().unwrap().len(),
        2,
        "a notification is not answered"
    );
    let note = json!({ "jsonrpc": "2.0", "method": "torrent_start", "params": { "ids": [] } });
    let note = client.send(
        "POST",
        "/transmission/rpc",
        &[],
        note.to_string().as_bytes(),
    );
    assert_eq!(note.status, 204);
    // Home Assistant asks for every field that there is: none may break the answer.
    let stats = client.classic("session-stats", &json!({}));
    assert_eq!(stats["torrentCount"], 1);
    assert_eq!(stats["current-stats"]["sessionCount"], 1);
    // Priorities of files, by the names that every client has for them.
    client.classic(
        "torrent-set",
        &json!({ "ids": [id], "priority-high": [2], "priority-low": [0] }),
    );
    let fields = json!({ "ids": [id], "fields": ["priorities", "fileStats"] });
    let shown = &client.classic("torrent-get", &fields)["torrents"][0];
    assert_eq!(shown["priorities"], json!([-1, 0, 1]));
    assert_eq!(shown["fileStats"][2]["priority"], 1);
    // What cannot be done is an error and changes nothing.
    #[rustfmt::skip]
    let refused = [
        ("torrent-add", json!({ "metainfo": "bm90IGEgdG9ycmVudA==" })),
        ("torrent-add", json!({ "metainfo": metainfo(&torrent), "download-dir": "relative" })),
        ("torrent-add", json!({ "filename": "/nonexistent.torrent" })),
        ("torrent-add", json!({})),
        ("torrent-set", json!({ "ids": [id], "trackerAdd": ["nonsense"] })),
        ("torrent-set", json!({ "ids": [id], "files-unwanted": [3] })),
        ("torrent-get", json!({})),
        ("session-set", json!({ "alt-speed-time-begin": 1440 })),
        ("free-space",  json!({ "path": "relative" })),
        ("torrent-set-location", json!({ "ids": [id], "location": "relative" })),
        ("no-such-method", json!({})),
    ];
    for (method, arguments) in refused {
        let answer = client.post(&json!({ "method": method, "arguments": arguments }));
        assert_ne!(answer["result"], "success", "{method} {arguments}");
        assert!(!answer["result"].as_str().unwrap().is_empty());
    }
    client.classic(
        "session-set",
        &json!({ "speed-limit-down-enabled": false, "peer-port": daemon.listen.port() }),
    );
}

#[test]
fn torrents_are_changed_and_removed_with_their_own_files_only() {
    let scratch = Scratch::new();
    let whole = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    // Its data is there already: it is found, and seeded.
    let dir = scratch.dir("data");
    for (path, _) in &whole.files {
        std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
        std::fs::copy(whole.dir.join(path), dir.join(path)).unwrap();
    }
    std::fs::write(dir.join("multi/not of the torrent"), "mine").unwrap();
    let added = client.classic(
        "torrent-add",
        &json!({ "filename": text(&whole.file), "download-dir": text(&dir) }),
    );
    let id = added["torrent-added"]["id"].clone();
    wait_for_status(&mut client, &id, 6);
    client.classic("torrent-stop", &json!({ "ids": id }));
    assert_eq!(
        torrent(&mut client, &id, &["status"])["status"],
        0,
        "the answer is given when it is so"
    );
    // Damage is found when it is looked for.
    std::fs::write(dir.join("multi/one"), vec![0; 100_000]).unwrap();
    client.classic("torrent-verify", &json!({ "ids": id }));
    wait_for_status(&mut client, &id, 0);
    let left = torrent(&mut client, &id, &["leftUntilDone", "percentDone"]);
    assert!(left["leftUntilDone"].as_u64().unwrap() >= 98_304, "{left}");
    // Only wanted files count.
    client.classic(
        "torrent-set",
        &json!({ "ids": id, "files-unwanted": [0], "labels": ["x"] }),
    );
    let left = torrent(
        &mut client,
        &id,
        &["leftUntilDone", "wanted", "labels", "fileStats"],
    );
    assert_eq!(left["wanted"], json!([0, 1, 1]));
    assert_eq!(left["labels"], json!(["x"]));
    assert!(
        left["leftUntilDone"].as_u64().unwrap() <= 32_768,
        "the piece that both share: {left}"
    );
    // Their data goes with them, and nothing else.
    client.classic(
        "torrent-remove",
        &json!({ "ids": [id], "delete-local-data": true }),
    );
    assert_eq!(
        client.classic("torrent-get", &json!({ "fields": ["id"] }))["torrents"],
        json!([])
    );
    eventually("the files to go", || {
        (!dir.join("multi/one").exists()).then_some(())
    });
    eventually("the directory to go", || {
        (!dir.join("multi/sub").exists()).then_some(())
    });
    assert_eq!(
        std::fs::read(dir.join("multi/not of the torrent")).unwrap(),
        b"mine"
    );
    let recent = client.classic(
        "torrent-get",
        &json!({ "ids": "recently-active", "fields": ["id"] }),
    );
    assert_eq!(recent["removed"], json!([id]));
    // Numbers are not given twice.
    eventually("the torrent to be gone", || {
        let body =
            json!({ "method": "torrent-add", "arguments": { "filename": text(&whole.file) } });
        let answer = client.post(&body);
        let added = &answer["arguments"]["torrent-added"]["id"];
        (!added.is_null()).then(|| assert_ne!(*added, id))
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let scratch = Scratch::new();
    let one = Torrent::make(&scratch, &MULTI);
    let two = Torrent::make(
        &scratch,
        &Recipe {
            name: "two",
            ..MULTI
        },
    );
    let three = Torrent::make(
        &scratch,
        &Recipe {
            name: "three",
            ..MULTI
        },
    );
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    for torrent in [&one, &two, &three] {
        client.classic(
            "torrent-add",
            &json!({ "metainfo": metainfo(torrent), "labels": ["kept"] }),
        );
    }
    client.classic("torrent-stop", &json!({ "ids": [hex(&one.info_hash)] }));
    client.classic(
        "torrent-set",
        &json!({ "ids": [hex(&one.info_hash)], "files-unwanted": [1] }),
    );
    client.classic("torrent-remove", &json!({ "ids": [hex(&two.info_hash)] }));
    client.classic("queue-move-top", &json!({ "ids": [hex(&three.info_hash)] }));
    let fields = [
        "id",
        "hashString",
        "labels",
        "addedDate",
        "queuePosition",
        "wanted",
        "downloadDir",
    ];
    let all = json!({ "fields": fields });
    let before = client.classic("torrent-get", &all);
    let linnet = daemon.kill();

    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let mut client = daemon.client();
    assert_eq!(client.classic("torrent-get", &all), before);
    assert_eq!(before["torrents"].as_array().unwrap().len(), 2);
    wait_for_status(&mut client, &json!([hex(&one.info_hash)]), 0);
    wait_for_status(&mut client, &json!([hex(&three.info_hash)]), 4);
}

#[test]
fn transmission_remote_drives_it() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(
        &scratch,
        "home",
        &["--set", "rpc.user=me", "--set", "rpc.password=secret"],
    );
    let run = |arguments: &[&str]| {
        let mut command = Command::new("transmission-remote");
        command
            .arg(daemon.rpc.to_string())
            .args(["-n", "me:secret"])
            .args(arguments);
        let output = command.output().expect("transmission-remote is installed");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {out}");
        out
    };
    let listed = |word: &str| {
        eventually(word, || run(&["-l"]).contains(word).then_some(()));
    };
    assert!(run(&["-a", &text(&torrent.file)]).contains("success"));
    listed("multi");
    assert!(run(&["-t", "1", "--stop"]).contains("success"));
    listed("Stopped");
    assert!(run(&["-t", "1", "--start"]).contains("success"));
    listed("Idle");
    assert!(run(&["-t", "1", "-i"]).contains(&hex(&torrent.info_hash)));
    assert!(run(&["-t", "1", "-f"]).contains("multi/sub/two"));
    assert!(run(&["-si"]).contains("Linnet"));
    assert!(run(&["-t", "1", "--remove"]).contains("success"));
    assert!(!run(&["-l"]).contains("multi"));
}

#[test]
fn our_own_commands_drive_it() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let mut daemon = Daemon::start(&scratch, "home", &[]);
    let ok = |arguments: &[&str]| {
        let (code, out) = daemon.remote(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}");
        out
    };
    ok(&["add", &text(&torrent.file), "--paused", "--label", "a"]);
    let hash = hex(&torrent.info_hash);
    let list: Value = serde_json::from_str(&ok(&["list", "--json"])).unwrap();
    assert_eq!(list[0]["hash_string"], hash);
    assert!(ok(&["list"]).contains("multi"));
    ok(&["start", &hash[..6]]);
    ok(&["set", "1", "labels=b,c", "files_unwanted=0"]);
    let info = ok(&["info", "all"]);
    assert!(info.contains("b, c") && info.contains(&hash), "{info}");
    let files = ok(&["files", "1"]);
    assert!(
        files.contains("multi/sub/two") && files.contains("no"),
        "{files}"
    );
    assert!(ok(&["peers", "1"]).contains("address"));
    let stats: Value = serde_json::from_str(&ok(&["stats", "--json"])).unwrap();
    assert!(stats["messages_processed_total"].as_u64().unwrap() > 0);
    ok(&["pin", "1", "127.0.0.1:9"]);
    assert_eq!(daemon.remote(&["pin", "1", "nonsense"]).0, 2);
    ok(&["recheck", "1"]);
    ok(&["stop", "1"]);
    assert_eq!(daemon.remote(&["start", "ffff"]).0, 1, "no such torrent");
    ok(&["remove", "1"]);
    assert_eq!(ok(&["list", "--json"]).trim(), "[]");
    ok(&["shutdown", "--budget", "1500"]);
    daemon.running.expect_exit(0);
    assert_eq!(daemon.remote(&["list"]).0, 3, "no daemon there");
}

#[test]
fn the_state_directory_and_the_address_have_one_owner() {
    let scratch = Scratch::new();
    let mut first = Daemon::start(&scratch, "home", &[]);
    let mut second = first.linnet.start(&["daemon", "--set", "rpc.bind="]);
    second.expect_exit(1);
    let pid = format!("pid {}", first.running.pid());
    assert!(second.text().contains(&pid), "{}", second.text());
    let other = Linnet::new(&scratch, "other");
    let bind = format!("rpc.bind={}", first.rpc);
    let mut busy = other.start(&["daemon", "--set", &bind]);
    busy.expect_exit(1);
    assert!(busy.text().contains("another program listens there"));
    // Figures on request, and an end in order.
    first.running.signal(Signal::USR1);
    let metrics = first.linnet.state.join("metrics.json");
    eventually("metrics.json", || std::fs::read(&metrics).ok());
    first.running.signal(Signal::TERM);
    first.running.expect_exit(0);
    assert!(first.running.text().contains("ended: drain"));
    assert!(!first.linnet.state.join("linnet.lock").exists());
    let mode = std::fs::metadata(&first.linnet.state)
        .unwrap()
        .permissions();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode);
    assert_eq!(
        mode & 0o777,
        0o700,
        "torrent files hold their members' keys"
    );
}

#[test]
fn figures_under_load_are_whole_and_only_grow() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let path = daemon.linnet.state.join("metrics.json");
    let mut client = daemon.client();
    let read = || {
        let bytes = std::fs::read(&path).ok()?;
        let metrics: Value = serde_json::from_slice(&bytes).expect("the file is whole at any time");
        metrics["messages_processed_total"].as_u64()
    };
    let mut before = 0;
    for _ in 0..100 {
        daemon.running.signal(Signal::USR1);
        for _ in 0..5 {
            client.classic("session-stats", &json!({}));
            let now = read().unwrap_or(0);
            assert!(now >= before, "{now} after {before}");
            before = now;
        }
    }
    let last = before;
    client.classic("session-stats", &json!({}));
    daemon.running.signal(Signal::USR1);
    eventually("newer figures", || read().filter(|now| *now > last));
}

#[test]
fn a_unix_socket_serves_and_another_page_is_at_home() {
    let scratch = Scratch::new();
    let home = scratch.dir("web");
    std::fs::write(home.join("index.html"), "<title>theirs</title>").unwrap();
    let web = format!("rpc.web_home={}", text(&home));
    let daemon = Daemon::start(&scratch, "home", &["--set", &web]);
    let mut client = Client::connect(daemon.rpc);
    let page = client.send("GET", "/transmission/web/", &[], b"");
    assert_eq!((page.status, &page.body[..7]), (200, &b"<title>"[..]));
    assert_eq!(
        client
            .send("GET", "/transmission/web/../secret", &[], b"")
            .status,
        404
    );
    let socket = scratch.path().join("rpc.sock");
    // What a killed daemon has left is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let bind = format!("rpc.bind=unix:{}", text(&socket));
    let linnet = Linnet::new(&scratch, "other");
    let mut running = linnet.start(&["daemon", "--set", &bind]);
    running.wait("ready", |line| line.ends_with(" ready").then_some(()));
    let output = linnet
        .command(&["list", "--json", "--set", &bind])
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.trim_ascii()),
        (Some(0), &b"[]"[..])
    );
    running.signal(Signal::TERM);
    running.expect_exit(0);
    assert!(!socket.exists());
}

#[test]
fn the_configuration_is_read_again() {
    let scratch = Scratch::new();
    let file = scratch.path().join("config.toml");
    std::fs::write(&file, "[rpc]\nuser = \"a\"\npassword = \"b\"\n").unwrap();
    let daemon = Daemon::start(&scratch, "home", &["--config", &text(&file)]);
    let status = |header: &str| {
        let mut client = Client::connect(daemon.rpc);
        client
            .send("GET", "/transmission/rpc", &[header], b"")
            .status
    };
    let basic = |pair: &str| format!("Authorization: Basic {}", base64(pair.as_bytes()));
    assert_eq!(status("X-None: 1"), 401);
    assert_eq!(status(&basic("a:wrong")), 401);
    assert_eq!(status(&basic("a:b")), 409);
    let reload = |config: &str, said: &str| {
        std::fs::write(&file, config).unwrap();
        let mark = daemon.running.mark();
        daemon.running.signal(Signal::HUP);
        daemon
            .running
            .wait_after(mark, said, |line| line.contains(said).then_some(()));
    };
    reload("[rpc]\nuser = 3\n", "the configuration stays as it was");
    assert_eq!(status(&basic("a:b")), 409);
    let changed = "[rpc]\nuser = \"a\"\npassword = \"c\"\n[workers]\ncache_mib = 32\n";
    reload(changed, "only a restart changes workers.cache_mib");
    eventually("the new password", || {
        (status(&basic("a:c")) == 409).then_some(())
    });
    assert_eq!(status(&basic("a:b")), 401);
}

/// The session's settings of these names.
fn settings(client: &mut Client, fields: &[&str]) -> Value {
    client.classic("session-get", &json!({ "fields": fields }))
}

#[test]
fn what_a_client_sets_is_kept_whatever_happens() {
    let scratch = Scratch::new();
    let file = scratch.path().join("config.toml");
    std::fs::write(&file, "[seeding]\nratio = 1.0\n").unwrap();
    let downloads = scratch.dir("elsewhere");
    let config = text(&file);
    let more = ["--config", &config];
    let daemon = Daemon::start(&scratch, "home", &more);
    let remote = |arguments: &[&str]| {
        let mut command = Command::new("transmission-remote");
        let output = command
            .arg(daemon.rpc.to_string())
            .args(arguments)
            .output()
            .expect("transmission-remote is installed");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {out}");
        assert!(out.contains("success"), "{arguments:?}: {out}");
    };
    // -gsr: the ratio of all; -pr: peers of all torrents; -w: where downloads go.
    remote(&["-gsr", "2.5"]);
    remote(&["-pr", "321"]);
    remote(&["-w", &text(&downloads)]);
    let mut client = daemon.client();
    let params = json!({
        "start_added_torrents": false, "download_queue_size": 3, "seed_queue_enabled": true, "queue_stalled_enabled": false,
        "idle_seeding_limit": 77, "peer_limit_per_torrent": 12.0, "dht_enabled": false,
    });
    client.modern("session_set", &params);
    // What this version has not stays refused, and nothing else is changed with it.
    let refused = json!({ "method": "session-set", "arguments": { "port-forwarding-enabled": true, "seedRatioLimit": 9 } });
    let answer = client.post(&refused);
    assert!(
        answer["result"]
            .as_str()
            .unwrap()
            .contains("port-forwarding-enabled"),
        "{answer}"
    );
    let names = [
        "seedRatioLimit",
        "seedRatioLimited",
        "peer-limit-global",
        "peer-limit-per-torrent",
        "download-dir",
        "start-added-torrents",
        "download-queue-enabled",
        "download-queue-size",
        "seed-queue-enabled",
        "seed-queue-size",
        "queue-stalled-enabled",
        "queue-stalled-minutes",
        "idle-seeding-limit",
        "idle-seeding-limit-enabled",
    ];
    let want = json!({
        "seedRatioLimit": 2.5, "seedRatioLimited": true, "peer-limit-global": 321, "peer-limit-per-torrent": 12,
        "download-dir": text(&downloads), "start-added-torrents": false, "download-queue-enabled": true,
        "download-queue-size": 3, "seed-queue-enabled": true, "seed-queue-size": 10, "queue-stalled-enabled": false,
        "queue-stalled-minutes": 30, "idle-seeding-limit": 77, "idle-seeding-limit-enabled": false,
    });
    assert_eq!(settings(&mut client, &names), want);
    let torrent = Torrent::make(&scratch, &MULTI);
    let added = client.classic(
        "torrent-add",
        &json!({ "metainfo": metainfo(&torrent), "peer-limit": 7 }),
    );
    let id = added["torrent-added"]["id"].clone();
    let shown = self::torrent(
        &mut client,
        &id,
        &["downloadDir", "maxConnectedPeers", "status"],
    );
    let as_set = json!({ "downloadDir": text(&downloads), "maxConnectedPeers": 7, "status": 0 });
    wait_for_status(&mut client, &id, 0);
    assert_eq!(
        (&shown["downloadDir"], &shown["maxConnectedPeers"]),
        (&as_set["downloadDir"], &as_set["maxConnectedPeers"])
    );
    let linnet = daemon.kill();

    let daemon = Daemon::again(&scratch, linnet, "home", &more);
    let mut client = daemon.client();
    assert_eq!(settings(&mut client, &names), want);
    let fields = ["downloadDir", "maxConnectedPeers", "status"];
    wait_for_status(&mut client, &id, 0);
    assert_eq!(self::torrent(&mut client, &id, &fields), as_set);
    let shown = daemon
        .linnet
        .command(&["config"])
        .args(more)
        .output()
        .unwrap();
    let out = String::from_utf8(shown.stdout).unwrap();
    assert!(
        out.lines()
            .any(|line| line.starts_with("ratio = 2.5") && line.contains("set by a client")),
        "{out}"
    );

    // The file says something new of one of them: that holds, and of the others what was set.
    let hang_up = |daemon: &Daemon, config: &str, said: &str| {
        std::fs::write(&file, config).unwrap();
        let mark = daemon.running.mark();
        daemon.running.signal(Signal::HUP);
        daemon
            .running
            .wait_after(mark, said, |line| line.contains(said).then_some(()));
    };
    hang_up(&daemon, "[seeding]\nratio = 1.0\n", "nothing has changed");
    assert_eq!(settings(&mut client, &names), want);
    hang_up(&daemon, "[seeding]\nratio = 4.0\n", "changed seeding.ratio");
    let mut after = want.clone();
    after["seedRatioLimit"] = json!(4.0);
    assert_eq!(settings(&mut client, &names), after);
    let linnet = daemon.kill();
    let daemon = Daemon::again(&scratch, linnet, "home", &more);
    assert_eq!(settings(&mut daemon.client(), &names), after);

    // And so it is when the file was changed while nobody looked.
    let linnet = daemon.kill();
    std::fs::write(&file, "[peer]\nmax_links = 99\n").unwrap();
    let daemon = Daemon::again(&scratch, linnet, "home", &more);
    let limits = [
        "peer-limit-global",
        "seedRatioLimited",
        "idle-seeding-limit",
    ];
    assert_eq!(
        settings(&mut daemon.client(), &limits),
        json!({ "peer-limit-global": 99, "seedRatioLimited": false, "idle-seeding-limit": 77 })
    );
}

#[test]
fn a_change_of_limits_closes_no_connection() {
    let scratch = Scratch::new();
    let file = scratch.path().join("config.toml");
    std::fs::write(&file, "").unwrap();
    let daemon = Daemon::start(&scratch, "home", &["--config", &text(&file)]);
    let mut client = daemon.client();
    let torrent = Torrent::make(&scratch, &MULTI);
    client.classic(
        "torrent-add",
        &json!({ "filename": text(&torrent.file), "download-dir": text(&torrent.dir) }),
    );
    wait_for_status(&mut client, &json!(1), 6);
    let mut peer = TcpStream::connect(daemon.listen).unwrap();
    peer.set_read_timeout(Some(std::time::Duration::from_secs(30)))
        .unwrap();
    let hello = [
        b"\x13BitTorrent protocol".as_slice(),
        &[0; 8],
        &torrent.info_hash,
        b"-XX0000-abcdefghijkl",
    ];
    peer.write_all(&hello.concat()).unwrap();
    let mut theirs = [0; 68];
    peer.read_exact(&mut theirs).unwrap();
    let changed = "[peer]\nmax_links = 1\nmax_links_per_swarm = 1\n[seeding]\nupload_slots = 3\n[queue]\nmax_active = 1\n";
    std::fs::write(&file, changed).unwrap();
    let mark = daemon.running.mark();
    daemon.running.signal(Signal::HUP);
    let said =
        "changed peer.max_links, peer.max_links_per_swarm, queue.max_active, seeding.upload_slots";
    daemon
        .running
        .wait_after(mark, said, |line| line.contains(said).then_some(()));
    // The same connection goes on: who wants something is let in.
    peer.write_all(&[0, 0, 0, 1, 2]).unwrap();
    loop {
        let mut length = [0; 4];
        peer.read_exact(&mut length).unwrap();
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        peer.read_exact(&mut message).unwrap();
        if message == [1] {
            break;
        }
    }
    assert_eq!(
        self::torrent(&mut client, &json!(1), &["status"])["status"],
        6
    );
}

#[test]
fn torrents_wait_for_their_turn() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    for name in ["a", "b", "c", "d", "e", "f"] {
        let torrent = Torrent::make(&scratch, &Recipe { name, ..MULTI });
        client.classic("torrent-add", &json!({ "metainfo": metainfo(&torrent) }));
    }
    let statuses = |client: &mut Client| -> Vec<u64> {
        let answer = client.classic("torrent-get", &json!({ "fields": ["status"] }));
        let torrents = answer["torrents"].as_array().unwrap().iter();
        torrents
            .map(|one| one["status"].as_u64().unwrap())
            .collect()
    };
    let wait = |client: &mut Client, want: &[u64]| {
        eventually("turns", || (statuses(client) == want).then_some(()));
    };
    wait(&mut client, &[4, 4, 4, 4, 4, 3]);
    let last = json!([6]);
    assert_eq!(
        torrent(&mut client, &last, &["why", "state"]),
        json!({
            "why": "it waits for its turn: 5 downloads are active, at most 5 (queue.max_active_downloads)",
            "state": "queued",
        })
    );
    let nothing = json!({ "ids": [1], "files-unwanted": [0, 1, 2] });
    client.classic("torrent-set", &nothing);
    wait(&mut client, &[6, 4, 4, 4, 4, 4]);
    client.modern("session_set", &json!({ "download_queue_size": 1 }));
    wait(&mut client, &[6, 4, 3, 3, 3, 3]);
    client.classic("queue-move-top", &json!({ "ids": [5] }));
    wait(&mut client, &[6, 3, 3, 3, 4, 3]);
    client.classic("torrent-start-now", &json!({ "ids": [3] }));
    wait(&mut client, &[6, 3, 4, 3, 4, 3]);
    client.classic(
        "session-set",
        &json!({ "download-queue-enabled": false, "seed-queue-size": 1 }),
    );
    wait(&mut client, &[6, 4, 4, 4, 4, 4]);
}

#[test]
fn totals_go_on_from_run_to_run() {
    let scratch = Scratch::new();
    let mut daemon = Daemon::start(&scratch, "home", &[]);
    let torrent = Torrent::make(&scratch, &MULTI);
    let mut client = daemon.client();
    client.classic("torrent-add", &json!({ "metainfo": metainfo(&torrent) }));
    let counts = |client: &mut Client, which: &str| {
        let stats = client.classic("session-stats", &json!({}));
        (
            stats[which]["filesAdded"].clone(),
            stats[which]["sessionCount"].clone(),
        )
    };
    assert_eq!(
        counts(&mut client, "cumulative-stats"),
        (json!(1), json!(1))
    );
    daemon.running.signal(Signal::TERM);
    daemon.running.expect_exit(0);
    let linnet = daemon.linnet;
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let mut client = daemon.client();
    assert_eq!(
        counts(&mut client, "cumulative-stats"),
        (json!(1), json!(2))
    );
    assert_eq!(counts(&mut client, "current-stats"), (json!(0), json!(1)));
}

#[test]
fn silent_connections_keep_nobody_out() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut silent = Vec::new();
    for at in 0..600 {
        let mut stream = TcpStream::connect(daemon.rpc).unwrap();
        if at % 2 == 0 {
            // A head that never ends.
            let _ = Write::write_all(&mut stream, b"POST /transmission/rpc HTTP/1.1\r\nHost: l");
        }
        silent.push(stream);
    }
    for _ in 0..3 {
        let mut client = daemon.client();
        client.classic("session-stats", &json!({}));
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.running.pid()))
        .unwrap()
        .count();
    assert!(files < 400, "{files} open files");
}

#[test]
fn events_are_told_and_told_again_from_where_a_listener_was() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut listener = Client::connect(daemon.rpc);
    listener
        .write(b"GET /events?type=torrent.*,session.stopped HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let next = |listener: &mut Client| loop {
        if let Some(json) = listener.line().strip_prefix("data: ") {
            return serde_json::from_str::<Value>(json).unwrap();
        }
    };
    // Connected: what comes from now on is heard.
    while !listener.line().starts_with(": linnet") {}
    let mut client = daemon.client();
    client.classic(
        "torrent-add",
        &json!({ "metainfo": metainfo(&torrent), "paused": true }),
    );
    let added = next(&mut listener);
    assert_eq!(
        (&added["event"], &added["name"]),
        (&json!("torrent.added"), &json!("multi"))
    );
    assert_eq!(next(&mut listener)["event"], "session.stopped");
    client.classic(
        "torrent-remove",
        &json!({ "ids": [hex(&torrent.info_hash)] }),
    );
    let removed = next(&mut listener);
    assert_eq!(removed["event"], "torrent.removed");
    // Another listener comes back to where the first event was.
    let mut late = Client::connect(daemon.rpc);
    let request = format!(
        "GET /events?type=torrent.removed HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {}\r\n\r\n",
        added["seq"]
    );
    late.write(request.as_bytes());
    assert_eq!(next(&mut late), removed);
}

#[test]
fn a_daemon_downloads_and_seeds_with_real_clients() {
    let scratch = Scratch::new();
    let recipe = Recipe {
        name: "traded",
        piece_length: 64 << 10,
        files: &[("a", 3_000_000), ("b/c", 1_000_001)],
        trackers: &[],
    };
    let torrent = Torrent::make(&scratch, &recipe);
    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &Options::default());
    // The tracker names the seed, whoever asks.
    let SocketAddr::V4(address) = seed.address else {
        panic!("IPv4")
    };
    let mut body = b"d8:intervali1800e5:peers6:".to_vec();
    body.extend(address.ip().octets());
    body.extend(address.port().to_be_bytes());
    body.push(b'e');
    let tracker = Canned::start(Some(http("200 OK", &body)));
    let url = format!("http://{}/announce", tracker.address);
    let other = Scratch::new();
    let announced = Torrent::make(
        &other,
        &Recipe {
            trackers: &[&url],
            ..recipe
        },
    );
    assert_eq!(announced.info_hash, torrent.info_hash);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    client.classic("torrent-add", &json!({ "metainfo": metainfo(&announced) }));
    let id = json!([hex(&torrent.info_hash)]);
    wait_for_status(&mut client, &id, 6);
    torrent.assert_same(&daemon.downloads);
    let done = torrent_fields(&mut client, &id);
    assert_eq!(done["percentDone"], 1.0);
    assert_eq!(done["downloadedEver"], torrent.total);
    assert!(done["doneDate"].as_u64().unwrap() >= done["addedDate"].as_u64().unwrap());
    drop(seed);
    // And passes it on.
    let into = scratch.dir("into");
    let get = Libtorrent::get(
        &torrent.file,
        &into,
        &Options {
            peers: &[daemon.listen],
            ..Options::default()
        },
    );
    get.done();
    torrent.assert_same(&into);
    eventually("what was sent to be counted", || {
        (torrent_fields(&mut client, &id)["uploadedEver"] == torrent.total).then_some(())
    });
}

/// A whole torrent rests from the start of the daemon on; whoever asks for it wakes it, and finds what is on the disk.
#[test]
fn a_torrent_that_rests_wakes_for_whoever_asks() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let id = json!([hex(&torrent.info_hash)]);
    let add = json!({ "metainfo": metainfo(&torrent), "download-dir": text(&torrent.dir) });
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    client.classic("torrent-add", &add);
    wait_for_status(&mut client, &id, 6);
    let linnet = daemon.stop();

    let state = |client: &mut Client| {
        let fields = [
            "state",
            "status",
            "percentDone",
            "haveValid",
            "name",
            "file-count",
            "trackers",
        ];
        self::torrent(client, &id, &fields)
    };
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let mut client = daemon.client();
    let rests = state(&mut client);
    assert_eq!(
        (&rests["state"], &rests["status"]),
        (&json!("parked"), &json!(6))
    );
    assert_eq!(
        (&rests["percentDone"], &rests["haveValid"]),
        (&json!(1.0), &json!(torrent.total))
    );
    assert_eq!(
        (&rests["name"], &rests["file-count"]),
        (&json!("multi"), &json!(3))
    );
    assert_eq!(rests["trackers"][0]["announce"], MULTI.trackers[0]);
    // What is not in memory is shown all the same, and wakes nobody.
    let files = self::torrent(
        &mut client,
        &id,
        &["files", "wanted", "pieces", "magnetLink"],
    );
    assert_eq!(files["files"][1]["bytesCompleted"], 200_000);
    assert_eq!(files["wanted"], json!([1, 1, 1]));
    assert_eq!(state(&mut client)["state"], "parked");
    let get = |name: &str, listen| {
        let into = scratch.dir(name);
        let options = Options {
            peers: &[listen],
            ..Options::default()
        };
        let get = Libtorrent::get(&torrent.file, &into, &options);
        (into, get)
    };
    let (into, all) = get("into", daemon.listen);
    all.done();
    torrent.assert_same(&into);
    assert_eq!(state(&mut client)["state"], "seeding");
    drop(all);
    let linnet = daemon.stop();

    // A file that is gone meanwhile is found missing by the first who asks, and nothing is served in its place.
    std::fs::remove_file(torrent.dir.join("multi/one")).unwrap();
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let mut client = daemon.client();
    assert_eq!(state(&mut client)["state"], "parked");
    let (_into, _part) = get("part", daemon.listen);
    eventually("the loss to be found", || {
        (state(&mut client)["state"] == "downloading").then_some(())
    });
    assert!(state(&mut client)["percentDone"].as_f64().unwrap() < 1.0);
}

#[test]
fn a_magnet_link_waits_for_its_metadata() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let hash = hex(&torrent.info_hash);
    let link =
        format!("magnet:?xt=urn:btih:{hash}&dn=a+name&tr=http%3A%2F%2F127.0.0.1%3A1%2Fannounce");
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    let added = client.classic(
        "torrent-add",
        &json!({ "filename": link, "labels": ["tv"] }),
    );
    assert_eq!(added["torrent-added"]["hashString"], hash);
    // Sonarr goes on at once, by the hash.
    client.classic(
        "torrent-set",
        &json!({ "ids": [hash], "seedRatioLimit": 2.0, "seedRatioMode": 1 }),
    );
    let again = client.classic("torrent-add", &json!({ "filename": link }));
    assert_eq!(again["torrent-duplicate"]["hashString"], hash);
    let bad = json!({ "method": "torrent-add", "arguments": { "filename": "magnet:?dn=x" } });
    let bad = client.post(&bad);
    assert!(bad["result"].as_str().unwrap().contains("magnet"), "{bad}");
    let linnet = daemon.kill();

    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let mut client = daemon.client();
    let fields = [
        "name",
        "status",
        "state",
        "metadataPercentComplete",
        "totalSize",
        "percentDone",
        "labels",
        "seedRatioLimit",
        "magnetLink",
        "files",
        "why",
    ];
    let shown = self::torrent(&mut client, &json!([hash]), &fields);
    assert_eq!(
        (&shown["name"], &shown["state"]),
        (&json!("a name"), &json!("metadata"))
    );
    assert_eq!(
        (&shown["status"], &shown["metadataPercentComplete"]),
        (&json!(4), &json!(0.0))
    );
    assert_eq!(
        (&shown["labels"], &shown["seedRatioLimit"]),
        (&json!(["tv"]), &json!(2.0))
    );
    assert_eq!(
        (&shown["magnetLink"], &shown["files"]),
        (&json!(link), &json!([]))
    );
    // The torrent file is what the link was for.
    client.classic("torrent-add", &json!({ "metainfo": metainfo(&torrent) }));
    eventually("the torrent to be known", || {
        let shown = self::torrent(&mut client, &json!([hash]), &fields);
        (shown["totalSize"] == torrent.total && shown["name"] == "multi").then_some(())
    });
}

#[test]
fn a_torrent_that_has_seeded_enough_is_stopped_and_stays_so() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &["--set", "seeding.ratio=1.0"]);
    let mut client = daemon.client();
    let add = json!({ "metainfo": metainfo(&torrent), "download-dir": text(&torrent.dir) });
    client.classic("torrent-add", &add);
    let id = json!([hex(&torrent.info_hash)]);
    wait_for_status(&mut client, &id, 6);
    assert_eq!(torrent_fields(&mut client, &id)["isFinished"], false);
    let into = scratch.dir("into");
    let options = Options {
        peers: &[daemon.listen],
        ..Options::default()
    };
    let get = Libtorrent::get(&torrent.file, &into, &options);
    get.done();
    wait_for_status(&mut client, &id, 0);
    assert_eq!(torrent_fields(&mut client, &id)["isFinished"], true);
    let (code, why) = daemon.remote(&["why", "all"]);
    assert!(
        code == 0 && why.contains("seeded as much as it was to"),
        "{why}"
    );
    let linnet = daemon.kill();
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let mut client = daemon.client();
    wait_for_status(&mut client, &id, 0);
    assert_eq!(torrent_fields(&mut client, &id)["isFinished"], true);
    // A person may start it all the same, without a limit.
    client.classic("torrent-set", &json!({ "ids": id, "seedRatioMode": 2 }));
    client.classic("torrent-start", &json!({ "ids": id }));
    wait_for_status(&mut client, &id, 6);
    assert_eq!(torrent_fields(&mut client, &id)["isFinished"], false);
}

/// Requirement T7, with a real client: no more is sent than the limit lets pass, by the client's own watch.
#[test]
fn limits_are_set_kept_and_hold_with_a_real_client() {
    let scratch = Scratch::new();
    let recipe = Recipe {
        name: "limited",
        piece_length: 64 << 10,
        files: &[("a", 2_500_000)],
        trackers: &[],
    };
    let torrent = Torrent::make(&scratch, &recipe);
    let daemon = Daemon::start(&scratch, "home", &["--set", "limits.alt_upload=70000"]);
    let mut client = daemon.client();
    let add = json!({ "metainfo": metainfo(&torrent), "download-dir": text(&torrent.dir) });
    client.classic("torrent-add", &add);
    let id = json!([hex(&torrent.info_hash)]);
    wait_for_status(&mut client, &id, 6);
    // What a session, a group and a torrent are told, they tell.
    let speed = [
        "speed-limit-up",
        "speed-limit-up-enabled",
        "alt-speed-up",
        "alt-speed-enabled",
    ];
    let of_session =
        |client: &mut Client| client.classic("session-get", &json!({ "fields": speed }));
    let (code, out) = daemon.remote(&["limits", "up=500000"]);
    assert!(code == 0 && out.contains("0.5 MiB/s"), "{out}");
    let want = json!({
        "speed-limit-up": 500, "speed-limit-up-enabled": true, "alt-speed-up": 70, "alt-speed-enabled": false,
    });
    assert_eq!(of_session(&mut client), want);
    client.classic(
        "session-set",
        &json!({ "speed-limit-down": 7, "speed-limit-down-enabled": true }),
    );
    let group = json!({
        "name": "slow", "honorsSessionLimits": true, "speed-limit-up": 400, "speed-limit-up-enabled": true,
    });
    client.classic("group-set", &group);
    let set = json!({
        "ids": id, "group": "slow", "bandwidthPriority": -1, "uploadLimit": 9, "uploadLimited": false, "downloadLimit": 11,
        "downloadLimited": true,
    });
    client.classic("torrent-set", &set);
    let linnet = daemon.kill();
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    let mut client = daemon.client();
    wait_for_status(&mut client, &id, 6);
    let fields = [
        "group",
        "bandwidthPriority",
        "uploadLimit",
        "uploadLimited",
        "downloadLimit",
        "downloadLimited",
        "honorsSessionLimits",
    ];
    let want = json!({
        "group": "slow", "bandwidthPriority": -1, "uploadLimit": 9, "uploadLimited": false, "downloadLimit": 11,
        "downloadLimited": true, "honorsSessionLimits": true,
    });
    assert_eq!(self::torrent(&mut client, &id, &fields), want);
    let groups = client.classic("group-get", &json!({ "group": ["slow"] }));
    assert_eq!(groups["group"][0]["name"], "slow");
    assert_eq!(groups["group"][0]["speed-limit-up"], 400);
    // 400 kB/s by its group: a quarter of a second's bytes may come at once, and one block more.
    let begun = std::time::Instant::now();
    let into = scratch.dir("into");
    let options = Options {
        peers: &[daemon.listen],
        ..Options::default()
    };
    Libtorrent::get(&torrent.file, &into, &options).done();
    let most = begun.elapsed().as_secs_f64() * 400_000.0 + 100_000.0 + 16_397.0;
    assert!(2_500_000.0 <= most, "{most} at most");
    torrent.assert_same(&into);
}

fn torrent_fields(client: &mut Client, id: &Value) -> Value {
    torrent(
        client,
        id,
        &[
            "percentDone",
            "downloadedEver",
            "uploadedEver",
            "doneDate",
            "addedDate",
            "isFinished",
        ],
    )
}

#[test]
fn only_the_files_that_globs_choose_are_wanted_of_a_daemon() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &MULTI);
    let daemon = Daemon::start(&scratch, "home", &[]);
    let (code, _) = daemon.remote(&["add", &text(&torrent.file)]);
    assert_eq!(code, 0);
    let wanted = || {
        let (code, out) = daemon.remote(&["files", "1", "--json"]);
        assert_eq!(code, 0);
        let torrents: Value = serde_json::from_str(&out).unwrap();
        let stats = torrents[0]["file_stats"].as_array().unwrap();
        let wanted = stats.iter().map(|file| file["wanted"].as_bool().unwrap());
        wanted.collect::<Vec<_>>()
    };
    assert_eq!(wanted(), [true, true, true]);
    let (code, out) = daemon.remote(&["files", "1", "--only", "two,empty"]);
    assert_eq!(code, 0);
    let marks: Vec<&str> = out
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(3))
        .collect();
    assert_eq!(marks, ["no", "yes", "yes"], "{out}");
    assert_eq!(wanted(), [false, true, true]);
    // What was not wanted is, and the other way round: at no time is nothing wanted.
    let (code, _) = daemon.remote(&["files", "all", "--only", "multi/one"]);
    assert_eq!((code, wanted()), (0, vec![true, false, false]));
    let mut client = daemon.client();
    let stands = torrent_at(&mut client);
    assert_eq!(stands, json!({ "done_date": 0, "size_when_done": 131_072 }));
    let (code, _) = daemon.remote(&["files", "1", "--only", "*.iso"]);
    assert_eq!((code, wanted()), (1, vec![true, false, false]));
    let (code, _) = daemon.remote(&["files", "1", "--only", "**"]);
    assert_eq!((code, wanted()), (0, vec![true, true, true]));
}

/// How the first torrent stands.
fn torrent_at(client: &mut Client) -> Value {
    let params = json!({ "ids": [1], "fields": ["done_date", "size_when_done"] });
    client.modern("torrent_get", &params)["torrents"][0].take()
}
