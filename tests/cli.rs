//! The command line, by the built binary: exit codes, what goes to stdout and what to stderr.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests write files, serve HTTP from a thread, and end by panicking"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linnet::metrics::{
    Declaration, DeviceFigures, EngineCounters, JobFigures, Kind, LaneFigures, LoopFigures,
    MessageFigures, ProcessFigures, TypeFigures,
};
use serde_json::Value;
use tempfile::TempDir;

/// `linnet` with these arguments, in `directory`, in an environment of its own.
fn linnet(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linnet"));
    if let Some((first, rest)) = arguments.split_first() {
        command.arg(first);
        if matches!(*first, "get" | "seed" | "daemon") {
            command.args(["--set", "discovery.dht=false"]);
        }
        command.args(rest);
    }
    command
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(directory: &TempDir, arguments: &[&str]) -> Ran {
    finish(linnet(directory, arguments).spawn().unwrap())
}

fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A directory with `data/{a,empty,sub/b}` of 100 000, 0 and 200 000 bytes.
fn data() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let sub = directory.path().join("data/sub");
    std::fs::create_dir_all(&sub).unwrap();
    let bytes = |count: u32, seed: u32| -> Vec<u8> {
        let next = |n: u32| {
            n.wrapping_mul(2_654_435_761)
                .wrapping_add(seed)
                .to_le_bytes()[3]
        };
        (0..count).map(next).collect()
    };
    std::fs::write(directory.path().join("data/a"), bytes(100_000, 1)).unwrap();
    std::fs::write(directory.path().join("data/empty"), "").unwrap();
    std::fs::write(sub.join("b"), bytes(200_000, 2)).unwrap();
    directory
}

/// `linnet seed` of `data`, on a port of its own, once it listens; its address, and the rest of its stderr.
fn seed(directory: &TempDir) -> (Child, String, impl BufRead + use<>) {
    seed_of(directory, "293 KiB")
}

/// As [`seed`], of data of another size.
fn seed_of(directory: &TempDir, size: &str) -> (Child, String, impl BufRead + use<>) {
    let listen = "peer.listen=127.0.0.1:0";
    let arguments = ["seed", "data.torrent", "-o", ".", "--set", listen];
    let mut child = linnet(directory, &arguments).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap());
    let (mut address, mut is_ready) = (None, false);
    while address.is_none() || !is_ready {
        let mut line = String::new();
        assert!(notes.read_line(&mut line).unwrap() > 0, "it ended");
        is_ready |= line == format!("data: complete, {size} already there\n");
        if let Some(rest) = line.strip_prefix("listening on ") {
            address = Some(rest.trim().to_owned());
        }
    }
    (child, address.unwrap(), notes)
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_download_from_a_seed_is_whole_and_both_end_with_0() {
    let directory = data();
    assert_eq!(run(&directory, &["create", "data"]).code, 0);
    let (seeding, address, _notes) = seed(&directory);
    let arguments = [
        "get",
        "data.torrent",
        "-o",
        "new/out",
        "--peer",
        &address,
        "--json",
        "--set",
        "peer.listen=127.0.0.1:0",
    ];
    let got = run(&directory, &arguments);
    assert_eq!(got.code, 0, "{}", got.err);
    assert!(
        got.err.contains("data: complete, 293 KiB in "),
        "{}",
        got.err
    );
    let events: Vec<Value> = got.out.lines().map(json).collect();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(named("session.completed"), 1, "{}", got.out);
    assert_eq!(named("piece.completed"), 19, "{}", got.out);
    let path = directory.path();
    for file in ["data/a", "data/empty", "data/sub/b"] {
        let (from, to) = (path.join(file), path.join("new/out").join(file));
        assert_eq!(
            std::fs::read(from).unwrap(),
            std::fs::read(to).unwrap(),
            "{file}"
        );
    }
    let again = run(&directory, &arguments[..4]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.err.contains("already there"), "{}", again.err);
    signal(&seeding, rustix::process::Signal::TERM);
    assert_eq!(finish(seeding).code, 0);
}

#[test]
fn only_files_that_globs_choose_are_fetched_and_the_rest_later() {
    let directory = data();
    assert_eq!(run(&directory, &["create", "data"]).code, 0);
    let (seeding, address, _notes) = seed(&directory);
    let path = directory.path();
    let get = |more: &[&str]| {
        #[rustfmt::skip]
        let all = ["get", "data.torrent", "-o", "out", "--peer", &address, "--json", "--set", "peer.listen=127.0.0.1:0"];
        run(&directory, &[&all, more].concat())
    };
    let pieces = |got: &Ran| {
        let events = got.out.lines().map(json);
        events
            .filter(|event| event["event"] == "piece.completed")
            .count()
    };
    let same = |file: &str| {
        let read = |root: &str| std::fs::read(path.join(root).join(file)).ok();
        read("out/data") == read("data")
    };
    let got = get(&["--select", "nothing,*.mkv"]);
    assert_eq!(got.code, 1);
    assert_eq!(
        got.err,
        "linnet: data: --select nothing,*.mkv: matches none of its files: data/a, data/empty, data/sub/b\n"
    );
    assert!(!path.join("out").exists());
    assert_eq!(get(&["--select", "[a"]).code, 2);
    // Of 19 pieces, a is in the first 7, and the last of these holds the beginning of b.
    let got = get(&["--select", "a"]);
    assert_eq!(got.code, 0, "{}", got.err);
    assert!(got.err.contains("data: 97.7 KiB to "), "{}", got.err);
    assert_eq!(pieces(&got), 7, "{}", got.out);
    assert!(same("a") && !same("sub/b"));
    assert!(!path.join("out/data/empty").exists());
    let part = std::fs::metadata(path.join("out/data/sub/b")).unwrap();
    assert!(part.len() <= 7 * 16_384 - 100_000, "{}", part.len());
    let got = get(&["--select", "a"]);
    assert_eq!((got.code, pieces(&got)), (0, 0), "{}", got.err);
    let got = get(&[]);
    assert_eq!((got.code, pieces(&got)), (0, 12), "{}", got.err);
    assert!(same("a") && same("empty") && same("sub/b"));
    signal(&seeding, rustix::process::Signal::TERM);
    assert_eq!(finish(seeding).code, 0);
}

#[test]
fn folders_of_files_that_are_not_chosen_are_not_made() {
    let directory = data();
    let path = directory.path();
    std::fs::create_dir(path.join("data/later")).unwrap();
    std::fs::write(path.join("data/later/z"), [7; 40_000]).unwrap();
    let created = run(&directory, &["create", "data"]);
    assert_eq!(created.code, 0, "{}", created.err);
    let (seeding, address, _notes) = seed_of(&directory, "332 KiB");
    #[rustfmt::skip]
    let got = run(&directory, &[
        "get", "data.torrent", "-o", "out", "--peer", &address, "--select", "sub/", "--set", "peer.listen=127.0.0.1:0",
    ]);
    assert_eq!(got.code, 0, "{}", got.err);
    let read = |root: &str| std::fs::read(path.join(root).join("sub/b")).unwrap();
    assert!(read("out/data") == read("data"));
    assert!(!path.join("out/data/empty").exists());
    assert!(!path.join("out/data/a").exists());
    signal(&seeding, rustix::process::Signal::TERM);
    assert_eq!(finish(seeding).code, 0);
}

#[test]
fn a_download_that_is_interrupted_is_130_and_metrics_are_told() {
    let directory = data();
    assert_eq!(run(&directory, &["create", "data"]).code, 0);
    let arguments = [
        "get",
        "data.torrent",
        "-o",
        "out",
        "--json",
        "--set",
        "peer.listen=127.0.0.1:0",
    ];
    let mut child = linnet(&directory, &arguments).spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // The handlers are there before the first event is.
    events.read_line(&mut line).unwrap();
    signal(&child, rustix::process::Signal::USR1);
    let metrics =
        (directory.path()).join(format!(".local/state/linnet/metrics-{}.json", child.id()));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !metrics.exists() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let figures = json(&std::fs::read_to_string(metrics).unwrap());
    assert!(
        figures.to_string().contains("messages_processed_total"),
        "{figures}"
    );
    signal(&child, rustix::process::Signal::INT);
    let ran = finish(child);
    drop(events);
    assert_eq!(ran.code, 130, "{}", ran.err);
    assert!(ran.err.contains("messages_processed_total"), "{}", ran.err);
    let want = "linnet: interrupted at 0 %: run the same command again to go on\n";
    assert!(ran.err.ends_with(want), "{}", ran.err);
}

/// The metrics in a file, when it is there. Whenever it is read, it is whole.
fn metrics_in(file: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault}: {text:?}")))
}

/// Every counter of the metrics, by its place.
fn counters_of(metrics: &Value) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let mut add = |place: String, row: &Value, declared: &[Declaration]| {
        for figure in declared
            .iter()
            .filter(|figure| figure.kind == Kind::Counter)
        {
            let value = row[figure.name].as_u64();
            all.insert(
                format!("{place}.{}", figure.name),
                value.expect(figure.name),
            );
        }
        for distribution in ["wait_us", "service_ns"] {
            if let Some(count) = row[distribution]["count"].as_u64() {
                all.insert(format!("{place}.{distribution}"), count);
            }
        }
    };
    add(String::new(), metrics, MessageFigures::DECLARED);
    add(
        "engine".to_owned(),
        &metrics["engine"],
        EngineCounters::DECLARED,
    );
    add("loop".to_owned(), &metrics["loop"], LoopFigures::DECLARED);
    add(
        "process".to_owned(),
        &metrics["process"],
        ProcessFigures::DECLARED,
    );
    for (list, name, declared) in [
        ("lanes", "lane", LaneFigures::DECLARED),
        ("types", "type", TypeFigures::DECLARED),
        ("jobs", "kind", JobFigures::DECLARED),
        ("devices", "device", DeviceFigures::DECLARED),
    ] {
        for row in metrics[list].as_array().unwrap() {
            add(format!("{list} {}", row[name]), row, declared);
        }
    }
    all
}

/// Requirement E15. The signals come in bursts, so that there is load between them; those of a burst merge.
#[test]
fn a_thousand_signals_under_load_leave_whole_metrics_that_never_go_back() {
    const BURSTS: usize = 20;
    const PER_BURST: usize = 50;
    let directory = data();
    assert_eq!(run(&directory, &["create", "data"]).code, 0);
    let (mut seeding, address, mut notes) = seed(&directory);
    let state = directory.path().join(".local/state/linnet");
    let file = state.join(format!("metrics-{}.json", seeding.id()));
    let is_over = AtomicBool::new(false);
    let mut dumps = 0;
    let table = std::thread::scope(|scope| {
        let drained = scope.spawn(move || {
            let mut text = String::new();
            notes.read_to_string(&mut text).unwrap();
            text
        });
        let loaded = scope.spawn(|| {
            let mut downloads = 0;
            while !is_over.load(Ordering::SeqCst) {
                let into = format!("new/{downloads}");
                let listen = "peer.listen=127.0.0.1:0";
                let arguments = ["get", "data.torrent", "-o", &into, "--peer", &address];
                let got = run(&directory, &[&arguments[..], &["--set", listen]].concat());
                assert_eq!(got.code, 0, "{}", got.err);
                downloads += 1;
            }
            downloads
        });
        let mut last = BTreeMap::new();
        let mut last_time = 0;
        for burst in 0..BURSTS {
            for _ in 0..PER_BURST {
                signal(&seeding, rustix::process::Signal::USR1);
            }
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            loop {
                assert!(seeding.try_wait().unwrap().is_none(), "it ended");
                assert!(std::time::Instant::now() < deadline, "no dump of {burst}");
                let Some(metrics) = metrics_in(&file) else {
                    continue;
                };
                let time = metrics["time"].as_u64().unwrap();
                if time == last_time {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                last_time = time;
                dumps += 1;
                let now = counters_of(&metrics);
                for (place, before) in &last {
                    let after = now.get(place).unwrap_or_else(|| panic!("{place} is gone"));
                    assert!(before <= after, "{place}: {before}, then {after}");
                }
                last = now;
                break;
            }
        }
        is_over.store(true, Ordering::SeqCst);
        assert!(loaded.join().unwrap() > 0);
        assert!(last["engine.payload_sent_bytes"] > 0, "there was no load");
        signal(&seeding, rustix::process::Signal::TERM);
        drained.join().unwrap()
    });
    assert!(dumps >= BURSTS);
    assert_eq!(seeding.wait().unwrap().code(), Some(0));
    assert!(
        table.matches("\nmessages\n").count() >= BURSTS - 1,
        "{table}"
    );
    for line in table.lines() {
        assert!(line.chars().count() <= 100, "{line:?} is too wide");
    }
    let left: Vec<_> = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".metrics"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Requirement T29.
#[test]
fn parts_of_the_log_are_switched_on_by_their_target() {
    let directory = data();
    assert_eq!(run(&directory, &["create", "data"]).code, 0);
    let logged = |level: &str| {
        let arguments = ["seed", "data.torrent", "-o", "data/sub", "--set"];
        let level = format!("log.level={level}");
        let ran = run(
            &directory,
            &[
                &arguments[..],
                &[&level, "--set", "peer.listen=127.0.0.1:0"],
            ]
            .concat(),
        );
        assert_eq!(ran.code, 1, "{}", ran.err);
        ran.err
    };
    let perf = " linnet::perf] op=session_add wait_us=";
    let trace = " linnet::trace] op=session_add lane=high created_us=";
    let all = logged("error,linnet::perf=debug,linnet::trace=trace");
    assert!(all.contains(perf) && all.contains(trace), "{all}");
    let line = all.lines().find(|line| line.contains(perf)).unwrap();
    assert!(line.contains(" result=done queue="), "{line}");
    let some = logged("error,linnet::trace=trace");
    assert!(!some.contains(perf) && some.contains(trace), "{some}");
    assert!(!logged("error").contains("] op="));
}

#[test]
fn seeding_from_the_wrong_directory_fails() {
    let directory = data();
    assert_eq!(run(&directory, &["create", "data"]).code, 0);
    let listen = "peer.listen=127.0.0.1:0";
    let ran = run(
        &directory,
        &["seed", "data.torrent", "-o", "data/sub", "--set", listen],
    );
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err.ends_with("data: nothing of it is there\n"),
        "{}",
        ran.err
    );
}

#[test]
fn arguments_that_are_wrong_are_2_and_help_is_0() {
    let directory = tempfile::tempdir().unwrap();
    #[rustfmt::skip]
    let table: &[(&[&str], i32)] = &[
        (&[],                                       2),
        (&["--help"],                               0),
        (&["--version"],                            0),
        (&["get", "--help"],                        0),
        (&["nonsense"],                             2),
        (&["get"],                                  2),
        (&["get", "a.torrent", "--no-such"],        2),
        (&["get", "a.torrent", "--peer", "nobody"], 2),
        (&["seed", "a.torrent"],                    2),
        (&["verify", "a.torrent"],                  2),
        (&["create", "x", "--piece-size", "100"],   2),
        (&["create", "x", "--tracker", "nobody"],   2),
        (&["create", "x", "--v2"],                  2),
        (&["completions", "no-shell"],              2),
        (&["config", "--set", "nonsense"],          2),
        (&["config", "--set", "peer.max_links=x"],  2),
        (&["config", "--config", "missing"],        1),
        (&["show", "missing"],                      1),
        (&["get", "missing"],                       1),
    ];
    for (arguments, code) in table {
        let ran = run(&directory, arguments);
        assert_eq!(ran.code, *code, "{arguments:?}: {}", ran.err);
        if *code == 0 {
            assert!(!ran.out.is_empty() && ran.err.is_empty(), "{arguments:?}");
        } else {
            assert!(ran.out.is_empty() && !ran.err.is_empty(), "{arguments:?}");
        }
        if *code == 1 {
            assert!(
                ran.err.starts_with("linnet: "),
                "{arguments:?}: {}",
                ran.err
            );
            assert_eq!(ran.err.lines().count(), 1, "{arguments:?}: {}", ran.err);
        }
    }
}

#[test]
fn a_torrent_is_created_shown_and_verified() {
    let directory = data();
    let made = run(
        &directory,
        &[
            "create",
            "data",
            "--piece-size",
            "32K",
            "--tracker",
            "http://t.example/announce",
            "--tracker",
            "udp://u.example:6969",
            "--web-seed",
            "http://w.example/",
            "--comment",
            "c",
            "--source",
            "s",
            "--private",
            "--v1",
        ],
    );
    assert_eq!(made.code, 0, "{}", made.err);
    let hash = made.out.split("  ").next().unwrap();
    assert_eq!(made.out, format!("{hash}  data.torrent\n"));
    assert_eq!(hash.len(), 40);

    let shown = run(&directory, &["show", "data.torrent", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let shown = json(&shown.out);
    assert_eq!(shown["name"], "data");
    assert_eq!(shown["info_hash"], hash);
    assert_eq!(shown["info_hash_v2"], Value::Null);
    assert_eq!(shown["piece_length"], 32_768);
    assert_eq!(shown["piece_count"], 10);
    assert_eq!(shown["total_size"], 300_000);
    assert_eq!(
        shown["files"],
        json(
            r#"[{"path": "data/a", "size": 100000}, {"path": "data/empty", "size": 0}, {"path": "data/sub/b", "size": 200000}]"#
        )
    );
    assert_eq!(
        shown["trackers"],
        json(r#"["http://t.example/announce", "udp://u.example:6969"]"#)
    );
    assert_eq!(
        shown["tracker_tiers"],
        json(r#"[["http://t.example/announce"], ["udp://u.example:6969"]]"#)
    );
    assert_eq!(shown["web_seeds"], json(r#"["http://w.example/"]"#));
    assert_eq!(shown["private"], true);
    assert_eq!(
        (&shown["comment"], &shown["source"]),
        (&"c".into(), &"s".into())
    );
    assert!(shown["creation_date"].as_i64().unwrap() > 1_700_000_000);

    let listed = run(&directory, &["show", "data.torrent"]);
    assert!(
        listed.out.contains(hash) && listed.out.contains("data/sub/b"),
        "{}",
        listed.out
    );

    let whole = run(&directory, &["verify", "data.torrent", "."]);
    assert_eq!((whole.code, whole.err.as_str()), (0, ""), "{}", whole.out);
    let whole = run(&directory, &["verify", "data.torrent", ".", "--json"]);
    assert_eq!(whole.code, 0);
    assert_eq!(json(&whole.out)["damaged_pieces"], json("[]"));
}

#[test]
fn damage_is_found_by_piece_and_file() {
    let directory = data();
    let made = run(&directory, &["create", "data", "--piece-size", "32K"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let b = directory.path().join("data/sub/b");
    let mut bytes = std::fs::read(&b).unwrap();
    bytes[150_000] ^= 1;
    std::fs::write(&b, bytes).unwrap();
    let verify = |arguments: &[&str]| {
        let ran = run(
            &directory,
            &[&["verify", "data.torrent", "."], arguments].concat(),
        );
        assert_eq!(ran.code, 1, "{} {}", ran.out, ran.err);
        ran.out
    };
    let report = json(&verify(&["--json"]));
    assert_eq!(report["damaged_pieces"], json("[7]"));
    assert_eq!(report["damaged_files"], json(r#"["data/sub/b"]"#));
    assert!(verify(&[]).contains("damaged  data/sub/b: 1 piece: 7\n"));

    std::fs::remove_file(directory.path().join("data/empty")).unwrap();
    std::fs::remove_file(&b).unwrap();
    let report = json(&verify(&["--json"]));
    assert_eq!(report["damaged_pieces"], json("[3, 4, 5, 6, 7, 8, 9]"));
    assert_eq!(
        report["damaged_files"],
        json(r#"["data/a", "data/empty", "data/sub/b"]"#)
    );
    let listed = verify(&[]);
    assert!(listed.contains("missing  data/empty\n"), "{listed}");
    assert!(listed.contains("missing  data/sub/b\n"), "{listed}");
}

#[test]
fn the_same_tree_makes_the_same_info_hash_and_no_file_is_overwritten() {
    let directory = data();
    let first = run(&directory, &["create", "data", "-o", "1.torrent"]);
    let second = run(&directory, &["create", "./data/", "-o", "2.torrent"]);
    assert_eq!(first.out.split("  ").next(), second.out.split("  ").next());
    let again = run(&directory, &["create", "data", "-o", "1.torrent"]);
    assert_eq!(again.code, 1);
    assert!(
        again.err.starts_with("linnet: 1.torrent: exists: "),
        "{}",
        again.err
    );
    let forced = run(
        &directory,
        &["create", "data/a", "-o", "1.torrent", "--force"],
    );
    assert_eq!(forced.code, 0, "{}", forced.err);
    let shown = json(&run(&directory, &["show", "1.torrent", "--json"]).out);
    assert_eq!(shown["files"], json(r#"[{"path": "a", "size": 100000}]"#));
    for (path, why) in [("data/empty", "no bytes"), ("missing", "no such file")] {
        let ran = run(&directory, &["create", path]);
        assert_eq!(ran.code, 1);
        assert!(ran.err.contains(why), "{}", ran.err);
    }
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_no_torrent_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.torrent"), "d4:infoi1ee").unwrap();
    for arguments in [
        &["show", "bad.torrent"][..],
        &["verify", "bad.torrent", "."],
        &["get", "bad.torrent"],
        &["seed", "bad.torrent", "-o", "."],
        &["show", "magnet:?xt=urn:btih:01234567890"],
        &["get", "magnet:?xt=urn:btih:00"],
        &[
            "seed",
            "magnet:?xt=urn:btih:0123456789012345678901234567890123456789",
            "-o",
            ".",
        ],
        &["get", "ftp://h/secret.torrent"],
    ] {
        let ran = run(&directory, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{arguments:?}");
        assert_eq!(ran.err.lines().count(), 1, "{arguments:?}: {}", ran.err);
        assert!(!ran.err.contains("secret"), "{}", ran.err);
    }
    let magnet = run(&directory, &["get", "magnet:?xt=urn:btih:00"]);
    assert!(
        magnet.err.contains("neither 40 hexadecimal digits"),
        "{}",
        magnet.err
    );
}

#[test]
fn a_magnet_link_is_shown_by_what_it_carries() {
    let directory = tempfile::tempdir().unwrap();
    let link = "magnet:?xt=urn:btih:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK&dn=A+b&tr=udp%3A%2F%2Ft.example%3A80&x.pe=10.0.0.1:5";
    let shown = run(&directory, &["show", link]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for part in [
        "A b",
        "c12fe1c06bba254a9dc9f519b335aa7c1367a88a",
        "udp://t.example:80",
        "10.0.0.1:5",
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let json = run(&directory, &["show", "--json", link]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        json["info_hash"],
        "c12fe1c06bba254a9dc9f519b335aa7c1367a88a"
    );
    assert_eq!(
        json["tracker_tiers"],
        serde_json::json!([["udp://t.example:80"]])
    );
}

#[test]
fn a_torrent_that_cannot_be_fetched_is_named_without_its_secret() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let url = format!("http://{address}/SECRET/a.torrent");
    let ran = run(&directory, &["get", &url]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        format!("linnet: http://{address}/…: HTTP 404 Not Found\n")
    );
    server.join().unwrap();
    let ran = run(&directory, &["get", &url]);
    assert!(ran.err.ends_with("connection refused\n"), "{}", ran.err);
}

#[test]
fn the_configuration_in_effect_says_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".config/linnet/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "[peer]\nmax_links = 7\n").unwrap();
    let ran = run(&directory, &["config", "--set", "log.level=debug"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let line = |key: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line("max_links ="),
        format!("max_links = 7 # {}:2", file.display())
    );
    assert_eq!(line("level ="), "level = \"debug\" # --set");
    assert_eq!(line("cache_mib ="), "cache_mib = 64 # default");
    let table: toml::Table = ran.out.parse().expect("a configuration again");
    assert_eq!(table["peer"]["max_links"].as_integer(), Some(7));

    let ran = run(&directory, &["config", "--check"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    std::fs::write(&file, "[peer]\nmax_link = 7\n[log]\nlevel = 1\n").unwrap();
    let ran = run(&directory, &["config", "--check"]);
    assert_eq!(ran.code, 1);
    let first = format!(
        "linnet: {}:2: peer.max_link: unknown key, did you mean peer.max_links?",
        file.display()
    );
    assert_eq!(ran.err.lines().next(), Some(first.as_str()));
    assert_eq!(ran.err.lines().count(), 2);
}

#[test]
fn completions_and_the_manual_come_from_the_table() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&directory, &["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("verify"), "{shell}");
    }
    let ran = run(&directory, &["man"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.out.starts_with(".ie") || ran.out.starts_with(".TH"),
        "{}",
        ran.out
    );
    for section in ["LINNET GET", "EXIT STATUS", "FILES"] {
        assert!(ran.out.contains(section), "{section}");
    }
}
