//! Helper programs, commands and webhooks of a real daemon. The helpers are what people write: shell scripts, `sleep`, `yes`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use support::peer::{FakePeer, Manner};
use support::rpc::{Client, Daemon};
use support::torrent::{Recipe, Torrent, hex};
use support::{Scratch, eventually, place};

const SMALL: Recipe<'_> = Recipe {
    name: "small data",
    piece_length: 32 << 10,
    files: &[("", 200_000)],
    trackers: &[],
};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A path as one word of a command.
fn word(path: &Path) -> String {
    text(path).replace(' ', "\\s")
}

/// A script below `scratch`, ready to run.
fn script(scratch: &Scratch, name: &str, body: &str) -> PathBuf {
    let path = scratch.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/helpers")
        .join(name)
}

/// One `[[hooks.program]]`.
fn program(command: &[&str], more: &str) -> String {
    format!("[[hooks.program]]\ncommand = {}\n{more}\n", json!(command))
}

fn configured(scratch: &Scratch, config: &str) -> PathBuf {
    let path = scratch.path().join("config.toml");
    std::fs::write(&path, config).unwrap();
    path
}

fn start(scratch: &Scratch, config: &str) -> Daemon {
    let path = configured(scratch, config);
    Daemon::start(scratch, "home", &["--config", text(&path)])
}

/// Adds a torrent whose data is not there; its number.
fn add(client: &mut Client, torrent: &Torrent, paused: bool) -> Value {
    let answer = client.classic(
        "torrent-add",
        &json!({ "filename": text(&torrent.file), "paused": paused }),
    );
    answer["torrent-added"]["id"].clone()
}

fn state(client: &mut Client, id: &Value) -> String {
    let answer = client.modern("torrent_get", &json!({ "ids": id, "fields": ["state"] }));
    answer["torrents"][0]["state"]
        .as_str()
        .unwrap_or("gone")
        .to_owned()
}

fn wait_for_state(client: &mut Client, id: &Value, want: &str) {
    eventually(want, || (state(client, id) == want).then_some(()));
}

/// Whether it was stopped, under either of the names for that.
fn is_stopped(client: &mut Client, id: &Value) -> Option<()> {
    ["stopped", "paused"]
        .contains(&&*state(client, id))
        .then_some(())
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // A line is there when its end is.
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    text[..whole].lines().map(str::to_owned).collect()
}

/// Waits until the file has at least so many lines.
fn wait_for_lines(path: &Path, count: usize) -> Vec<String> {
    eventually("lines of a helper", || {
        let lines = lines(path);
        (lines.len() >= count).then_some(lines)
    })
}

fn pid_of(daemon: &Daemon, helper: &str) -> u32 {
    let begin = format!("helper {helper}: started, pid ");
    daemon.running.wait("the pid of a helper", |line| {
        line.split_once(&begin)?.1.trim().parse().ok()
    })
}

fn is_there(pid: u32) -> bool {
    // What is dead and not yet collected by init is over, too.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The five-line shell logger, in both spellings and with a choice of events; the numbers show what it was not told.
#[test]
fn a_shell_script_hears_the_events_it_chose() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let logger = shipped("logger.sh");
    let (all, some, words) = (
        scratch.path().join("all"),
        scratch.path().join("some"),
        scratch.path().join("words"),
    );
    let config = [
        program(&[text(&logger), text(&all)], "events = [\"*\"]"),
        program(&[text(&logger), text(&some)], "events = [\"torrent.*\"]"),
        program(
            &[text(&logger), text(&words)],
            "events = [\"torrent.added\"]\nencoder = \"text\"",
        ),
    ];
    let mut daemon = start(&scratch, &config.concat());
    let mut client = daemon.client();
    let id = add(&mut client, &torrent, false);
    wait_for_state(&mut client, &id, "downloading");
    client.classic("torrent-remove", &json!({ "ids": [id] }));
    let told: Vec<Value> = wait_for_lines(&some, 2)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&Value> = told.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["torrent.added", "torrent.removed"]);
    assert_eq!(told[0]["info_hash"], hex(&torrent.info_hash));
    let (first, last) = (
        told[0]["seq"].as_u64().unwrap(),
        told[1]["seq"].as_u64().unwrap(),
    );
    assert!(
        last > first + 1,
        "the gap of what it did not choose: {told:?}"
    );
    let everything = eventually("the last event", || {
        let all = lines(&all);
        all.last()?.contains("torrent.removed").then_some(all)
    });
    let seqs: Vec<u64> = everything
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["seq"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(
        seqs.windows(2).all(|two| two[1] == two[0] + 1),
        "no gap: {seqs:?}"
    );
    let word = wait_for_lines(&words, 1).remove(0);
    assert!(word.starts_with("torrent.added seq="), "{word}");
    assert!(word.ends_with(" name=small\\sdata"), "{word}");
    let pid = pid_of(&daemon, text(&logger));
    daemon.running.signal(Signal::TERM);
    daemon.running.expect_exit(0);
    assert!(!is_there(pid));
}

#[test]
fn a_thousand_commands_get_a_thousand_answers() {
    let scratch = Scratch::new();
    let answers = scratch.path().join("answers");
    let helper = script(
        &scratch,
        "helper.sh",
        r#"i=1
while [ $i -le 1000 ]; do echo "{\"method\":\"session-stats\",\"tag\":$i}"; i=$((i + 1)); done
while read -r line; do printf '%s\n' "$line" >>"$1"; done"#,
    );
    let daemon = start(&scratch, &program(&[text(&helper), text(&answers)], ""));
    let answers = wait_for_lines(&answers, 1000);
    for (at, line) in answers.iter().enumerate() {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&answer["answer"], &answer["tag"]),
            (&json!("done"), &json!(at + 1))
        );
        assert_eq!(answer["result"]["torrentCount"], 0);
    }
    assert_eq!(answers.len(), 1000);
    drop(daemon);
}

/// Words, tags, errors, arrays of which half makes no sense, what waits for its effect, comments; and silence without ack.
#[test]
fn commands_are_answered_as_they_were_asked() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let said = scratch.path().join("said");
    let helper = script(
        &scratch,
        "helper.sh",
        r##"ask() { printf '%s\n' "$1"; while read -r line; do printf '%s\n' "$line" >>"$2"; case $line in done*|error*|\{\"answer*) break;; esac; done; }
f=$1
echo "# hello from a helper"
ask "add $2 --paused --tag a" $f
ask 'list --tag l' $f
ask 'start 1 --wait --tag w' $f
ask 'dance' $f
ask 'stop nonsense --tag n' $f
echo '["stop 1 --tag 1", {"method":"nonsense","tag":2}, {"method":"torrent-start","arguments":{"ids":[1]},"tag":3}, 5, "stop 1 --tag 4 --wait"]'
while read -r line; do printf '%s\n' "$line" >>$f; done"##,
    );
    let quiet = scratch.path().join("quiet");
    let silent = script(
        &scratch,
        "silent.sh",
        "echo list; echo nonsense; echo '{'; while read -r line; do printf '%s\\n' \"$line\" >>$1; done",
    );
    let config = [
        program(
            &[text(&helper), text(&said), &word(&torrent.file)],
            "events = [\"session.*\"]\nencoder = \"text\"",
        ),
        program(
            &[text(&silent), text(&quiet)],
            "ack = false\nevents = [\"torrent.added\"]",
        ),
    ];
    let daemon = start(&scratch, &config.concat());
    let is_answer = |line: &&String| line.starts_with("done ") || line.starts_with("error ");
    let all = eventually("all answers", || {
        let said = lines(&said);
        (said.iter().filter(is_answer).count() >= 10).then_some(said)
    });
    let answers: Vec<&String> = all.iter().filter(is_answer).collect();
    assert!(
        answers[0].starts_with("done a {\"torrent_added\":"),
        "{}",
        answers[0]
    );
    assert!(
        answers[1].starts_with("done l {\"torrents\":[{"),
        "{}",
        answers[1]
    );
    assert_eq!(answers[2], "done w");
    let at = |what: &str| all.iter().position(|line| line.contains(what));
    let began = at("state=downloading").unwrap();
    assert!(
        began < at("done w").unwrap(),
        "told before it is answered: {all:?}"
    );
    assert!(answers[3].starts_with("error - dance: unknown; it can be list, add,"));
    assert_eq!(
        answers[4],
        "error n nonsense: no torrent has that number or hash"
    );
    assert_eq!(answers[5], "done 1");
    assert_eq!(answers[6], "error 2 no method name");
    assert_eq!(answers[7], "done 3");
    assert_eq!(answers[8], "error - a request is an object");
    assert_eq!(answers[9], "done 4");
    daemon.running.wait("the comment", |line| {
        line.ends_with(": hello from a helper").then_some(())
    });
    let mut client = daemon.client();
    assert!(is_stopped(&mut client, &json!(1)).is_some());
    let quiet = wait_for_lines(&quiet, 1);
    assert_eq!(quiet.len(), 1);
    assert!(
        quiet[0].contains("torrent.added"),
        "no answer among them: {quiet:?}"
    );
}

#[test]
fn garbage_is_answered_and_what_follows_is_obeyed() {
    let scratch = Scratch::new();
    let said = scratch.path().join("said");
    let helper = script(
        &scratch,
        "helper.sh",
        r#"printf '\377\376\n'
printf 'a\000b\n'
echo '{"method":'
head -c 3000000 /dev/zero | tr '\0' a; echo
echo '[]'
printf '\n\n'
printf 'stats '; sleep 0.3; echo '--tag last'
while read -r line; do printf '%s\n' "$line" >>"$1"; done"#,
    );
    let daemon = start(
        &scratch,
        &program(&[text(&helper), text(&said)], "encoder = \"text\""),
    );
    let said = wait_for_lines(&said, 6);
    #[rustfmt::skip]
    let want = [
        "error - the line is not UTF-8",
        "error - a\\u{0}b: unknown; it can be",
        "error - not JSON: EOF",
        "error - the line is longer than 1 MiB, and was skipped",
        "error - an array has 1 to 256 commands",
        "done last {",
    ];
    for (line, want) in said.iter().zip(want) {
        assert!(line.starts_with(want), "{line}: {want}");
    }
    assert_eq!(said.len(), want.len());
    drop(daemon);
}

/// Answered before it has ended: a script that only writes.
#[test]
fn what_a_helper_wrote_before_it_ended_is_obeyed() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let line = format!("add {} --paused", word(&torrent.file));
    let daemon = start(&scratch, &program(&["echo", &line], "respawn = false"));
    let mut client = daemon.client();
    eventually("the torrent", || is_stopped(&mut client, &json!(1)));
    daemon.running.wait("its end", |line| {
        line.ends_with("helper echo: ended").then_some(())
    });
}

/// A program that never reads is cut off; a program that never stops writing is read a line at a time. Neither keeps a
/// transfer or a client waiting.
#[test]
fn helpers_that_do_not_read_or_flood_disturb_nobody() {
    let scratch = Scratch::new();
    let (torrent, other) = (
        Torrent::make(&scratch, &SMALL),
        Torrent::make(
            &scratch,
            &Recipe {
                name: "other",
                ..SMALL
            },
        ),
    );
    let config = [
        program(&["sleep", "infinity"], "events = [\"*\"]"),
        program(&["yes", r#"{"method":"session-stats"}"#], "ack = false"),
    ];
    let daemon = start(&scratch, &config.concat());
    let sleeper = pid_of(&daemon, "sleep");
    let mut client = daemon.client();
    let id = add(&mut client, &torrent, true);
    let batch: Vec<Value> = (0..500)
        .map(|at| {
            let method = ["torrent_start", "torrent_stop"][at % 2];
            json!({"jsonrpc": "2.0", "method": method, "params": {"ids": [id]}, "id": at})
        })
        .collect();
    let batch = Value::Array(batch);
    eventually("the end of one that does not read", || {
        client.post(&batch);
        daemon
            .running
            .text()
            .contains("helper sleep: cut off: it does not read, and 1000 lines wait")
            .then_some(())
    });
    eventually("its end", || (!is_there(sleeper)).then_some(()));
    let peer = FakePeer::start(&other, place(), Manner::Honest);
    let id = add(&mut client, &other, false);
    daemon.remote(&["pin", &id.to_string(), &peer.address.to_string()]);
    wait_for_state(&mut client, &id, "seeding");
    other.assert_same(&daemon.downloads);
    assert!(is_there(pid_of(&daemon, "yes")));
}

#[test]
fn one_that_dies_is_given_up_after_five_starts_until_sighup() {
    let scratch = Scratch::new();
    let daemon = start(&scratch, &program(&["false"], ""));
    let gave_up = |line: &str| line.contains("helper false: given up").then_some(());
    daemon.running.wait("giving up", gave_up);
    let starts = |daemon: &Daemon| {
        let lines = daemon.running.lines();
        lines
            .iter()
            .filter(|line| line.contains("helper false: started"))
            .count()
    };
    assert_eq!(starts(&daemon), 5);
    let mark = daemon.running.mark();
    daemon.running.signal(Signal::HUP);
    daemon.running.wait_after(mark, "giving up again", gave_up);
    assert_eq!(starts(&daemon), 10);
    daemon.client().classic("session-stats", &json!({}));
}

/// It ignores TERM, and so do its children.
#[test]
fn nothing_is_left_of_a_helper_that_ignores_the_end() {
    let scratch = Scratch::new();
    let pids = scratch.path().join("pids");
    let helper = script(
        &scratch,
        "stubborn.sh",
        "trap '' TERM HUP INT\nsleep 1000 & a=$!\n(sleep 1001 & echo $! >>$1; wait) & b=$!\necho $$ $a $b >>$1\nwhile :; do sleep 1000; done",
    );
    let mut daemon = start(&scratch, &program(&[text(&helper), text(&pids)], ""));
    let pids: Vec<u32> = wait_for_lines(&pids, 2)
        .iter()
        .flat_map(|line| {
            line.split(' ')
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(pids.len(), 4);
    assert!(pids.iter().all(|&pid| is_there(pid)));
    daemon.running.signal(Signal::TERM);
    daemon.running.expect_exit(0);
    for pid in pids {
        eventually("the end of all its processes", || {
            (!is_there(pid)).then_some(())
        });
    }
}

#[test]
fn a_helper_has_three_streams_and_few_variables() {
    let scratch = Scratch::new();
    let daemon = start(
        &scratch,
        &program(&["sleep", "infinity"], "events = [\"*\"]"),
    );
    let pid = pid_of(&daemon, "sleep");
    // Between its start and its program it still is what it was.
    eventually("its streams to be all it has", || {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let name =
            |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut fds: Vec<String> = fds.filter_map(name).collect();
        fds.sort();
        (fds == ["0", "1", "2"]).then_some(())
    });
    let environment = eventually("its variables", || {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        environment.contains("PATH=").then_some(environment)
    });
    assert!(!environment.contains("CARGO"), "{environment}");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let group = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(2)
        .unwrap()
        .to_owned();
    assert_eq!(group, pid.to_string(), "a process group of its own");
}

#[test]
fn sighup_starts_what_is_new_and_ends_what_is_gone() {
    let scratch = Scratch::new();
    let logger = shipped("logger.sh");
    let stays = program(&["sleep", "1000000"], "");
    let goes = program(&[text(&logger), "/dev/null"], "");
    let daemon = start(&scratch, &format!("{stays}{goes}"));
    let (stayed, gone) = (pid_of(&daemon, "sleep"), pid_of(&daemon, text(&logger)));
    configured(
        &scratch,
        &format!("{stays}{}", program(&["tail", "-f", "/dev/null"], "")),
    );
    daemon.running.signal(Signal::HUP);
    daemon.running.wait("the reload", |line| {
        line.contains("changed hooks.program").then_some(())
    });
    let new = pid_of(&daemon, "tail");
    eventually("the end of what is gone", || {
        (!is_there(gone)).then_some(())
    });
    assert!(is_there(stayed) && is_there(new));
    configured(&scratch, "[[hooks.program]]\ncommand = []\n");
    daemon.running.signal(Signal::HUP);
    daemon.running.wait("the fault", |line| {
        line.contains("config.toml:2: hooks.program.command: found [], allowed: an executable")
            .then_some(())
    });
    assert!(is_there(stayed) && is_there(new));
}

/// The shipped example: torrents stop while the probe fails, and start when it has recovered.
#[test]
fn the_health_check_stops_and_starts_torrents() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let probe = scratch.path().join("healthy");
    std::fs::write(&probe, "").unwrap();
    let health = shipped("health.sh");
    let command = [text(&health), "0.05", "test", "-e", text(&probe)];
    let daemon = start(&scratch, &program(&command, "ack = false"));
    let mut client = daemon.client();
    let id = add(&mut client, &torrent, false);
    wait_for_state(&mut client, &id, "downloading");
    std::fs::remove_file(&probe).unwrap();
    eventually("the stop", || is_stopped(&mut client, &id));
    std::fs::write(&probe, "").unwrap();
    wait_for_state(&mut client, &id, "downloading");
    let said = daemon.running.text();
    assert_eq!(said.matches("the probe fails").count(), 1);
    assert_eq!(said.matches("the probe has recovered").count(), 1);
}

#[test]
fn a_command_runs_when_a_torrent_is_complete() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let out = scratch.path().join("out");
    let helper = script(
        &scratch,
        "on-done.sh",
        "{ env | grep '^LINNET_' | sort; cat; echo end; } >>\"$1\"",
    );
    let config = format!(
        "[[hooks.exec]]\nevent = \"session.completed\"\ncommand = {}\n",
        json!([text(&helper), text(&out)])
    );
    let daemon = start(&scratch, &config);
    let mut client = daemon.client();
    let peer = FakePeer::start(&torrent, place(), Manner::Honest);
    let id = add(&mut client, &torrent, false);
    daemon.remote(&["pin", &id.to_string(), &peer.address.to_string()]);
    let all = eventually("the command's end", || {
        let lines = lines(&out);
        lines.iter().any(|line| line == "end").then_some(lines)
    });
    let hash = hex(&torrent.info_hash);
    for want in [
        "LINNET_EVENT=session.completed".to_owned(),
        format!("LINNET_INFO_HASH={hash}"),
        "LINNET_NAME=small data".to_owned(),
        format!("LINNET_DOWNLOAD_DIR={}", text(&daemon.downloads)),
        "LINNET_STATE=seeding".to_owned(),
    ] {
        assert!(all.contains(&want), "{want}: {all:?}");
    }
    let event: Value = serde_json::from_str(&all[all.len() - 2]).unwrap();
    assert_eq!(
        (&event["event"], &event["info_hash"]),
        (&json!("session.completed"), &json!(hash))
    );
    assert_eq!(all.iter().filter(|line| *line == "end").count(), 1);
}

/// The first post is answered by trouble, so it comes again.
#[test]
fn events_are_posted_again_until_they_arrive_and_never_to_ourselves() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?key=secret", listener.local_addr().unwrap());
    let config = format!("[[hooks.webhook]]\nevents = [\"torrent.added\"]\nurl = \"{url}\"\n");
    let daemon = start(&scratch, &config);
    let mut own = config.clone();
    own.push_str(&format!(
        "[[hooks.webhook]]\nevents = [\"torrent.added\"]\nurl = \"http://{}/transmission/rpc\"\n",
        daemon.rpc
    ));
    configured(&scratch, &own);
    daemon.running.signal(Signal::HUP);
    daemon.running.wait("the reload", |line| {
        line.contains("changed hooks.webhook").then_some(())
    });
    let mut client = daemon.client();
    add(&mut client, &torrent, true);
    let mut bodies = Vec::new();
    for status in ["503 Busy", "200 OK"] {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(support::HANG)).unwrap();
        let mut reader = BufReader::new(stream);
        let (mut length, mut head) = (0, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        assert!(
            head.starts_with("POST /hook?key=secret HTTP/1.1\r\n"),
            "{head}"
        );
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        bodies.push(serde_json::from_slice::<Value>(&body).unwrap());
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[0]["event"], "torrent.added");
    daemon.running.wait("the refusal", |line| {
        line.ends_with("is left out: it is this daemon's own RPC (rpc.bind)")
            .then_some(())
    });
    assert!(!daemon.running.text().contains("secret"));
}

/// One scripted life: every kind of event that a daemon can have is told at least once, and no piece twice.
#[test]
fn every_kind_of_event_is_told() {
    let scratch = Scratch::new();
    let answer = support::tracker::http("200 OK", b"d8:intervali1800e5:peers0:e");
    let tracker = support::tracker::Canned::start(Some(answer));
    let good = format!("http://{}/announce", tracker.address);
    let torrent = Torrent::make(
        &scratch,
        &Recipe {
            trackers: &["http://127.0.0.1:1/announce", &good],
            ..SMALL
        },
    );
    let broken = Torrent::make(
        &scratch,
        &Recipe {
            name: "broken",
            ..SMALL
        },
    );
    let out = scratch.path().join("out");
    let logger = program(
        &[text(&shipped("logger.sh")), text(&out)],
        "events = [\"*\"]",
    );
    let links = "[links]\nretry_first_s = 1\nfailures_to_ignore = 1\n";
    let daemon = start(&scratch, &format!("{links}{logger}"));
    let mut client = daemon.client();
    let told = |name: &str| {
        let is_it = |line: &String| line.contains(&format!("\"event\":\"{name}\""));
        eventually(name, || {
            lines(&out).iter().find(|line| is_it(line)).cloned()
        })
    };
    let pin = |id: &Value, address: &str| {
        assert_eq!(daemon.remote(&["pin", &id.to_string(), address]).0, 0);
    };

    let id = add(&mut client, &torrent, false);
    told("tracker.failed");
    told("tracker.success");
    let poison = FakePeer::start(&torrent, place(), Manner::Poison);
    pin(&id, &poison.address.to_string());
    told("piece.hash_failed");
    pin(&id, &support::free(place()).to_string());
    told("link.ignored");
    let honest = FakePeer::start(&torrent, place(), Manner::Honest);
    pin(&id, &honest.address.to_string());
    told("session.completed");
    told("stats.update");
    // All at once are paused; one that is named would be stopped.
    client.classic("torrent-stop", &json!({}));
    told("session.paused");
    told("link.lost");
    client.classic("torrent-start", &json!({ "ids": [id] }));
    told("session.resumed");
    client.classic("torrent-remove", &json!({ "ids": [id] }));
    told("torrent.removed");

    // A directory where a file has to be.
    let obstacle = daemon.downloads.join("broken");
    std::fs::create_dir_all(obstacle.join("below")).unwrap();
    let id = add(&mut client, &broken, false);
    let honest = FakePeer::start(&broken, place(), Manner::Honest);
    pin(&id, &honest.address.to_string());
    told("storage.error");
    std::fs::remove_dir_all(&obstacle).unwrap();

    let all = lines(&out);
    let mut names: Vec<String> = Vec::new();
    let mut pieces: Vec<u64> = Vec::new();
    for line in &all {
        let event: Value = serde_json::from_str(line).unwrap();
        let name = event["event"].as_str().unwrap().to_owned();
        if name == "piece.completed" && event["info_hash"] == hex(&torrent.info_hash) {
            pieces.push(event["piece_index"].as_u64().unwrap());
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort();
    #[rustfmt::skip]
    let want = [
        "link.established", "link.ignored", "link.lost", "peer.connected", "peer.disconnected", "piece.completed",
        "piece.hash_failed", "session.completed", "session.error", "session.paused", "session.resumed", "session.started", "session.stopped", "stats.update",
        "storage.error", "torrent.added", "torrent.removed", "tracker.failed", "tracker.success",
    ];
    let missing: Vec<_> = want
        .iter()
        .filter(|name| !names.iter().any(|it| it == *name))
        .collect();
    assert!(missing.is_empty(), "never told: {missing:?}");
    pieces.sort_unstable();
    assert_eq!(pieces, (0..7).collect::<Vec<_>>(), "each piece once");
}
