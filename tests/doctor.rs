//! `linnet doctor` on this host: what is fine, what is not, and that it ends soon.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    dead_code,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use support::tracker::{Canned, Counting, http};
use support::{Linnet, Scratch, text};

/// Its exit code and report.
fn doctor(linnet: &Linnet, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = command(linnet);
    command.arg("--json").args(more);
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

fn command(linnet: &Linnet) -> Command {
    let mut command = linnet.command(&["doctor"]);
    command
        .arg("--set")
        .arg(format!("peer.listen=[\"{}\"]", linnet.listen));
    command.args(["--set", "rpc.bind=127.0.0.1:1"]);
    command
}

fn found<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["name"] == name).collect()
}

#[test]
fn a_host_that_is_fine_is_said_to_be() {
    let scratch = Scratch::new();
    let linnet = Linnet::new(&scratch, "home");
    let (code, report) = doctor(&linnet, &[]);
    for name in ["configuration", "listen", "downloads", "state"] {
        assert_eq!(found(&report, name)[0]["status"], "fine", "{report}");
    }
    assert!(!linnet.state.exists(), "nothing is made");
    // A container may have no network; what it has of it is broken then, and nothing else.
    let other = report["checks"].as_array().unwrap().iter();
    let broken = other.filter(|check| check["status"] == "broken" && check["name"] != "addresses");
    assert_eq!(broken.count(), 0, "{report}");
    assert_eq!(code == Some(0), report["healthy"] == true);
}

#[test]
fn trackers_that_answer_and_those_that_do_not_are_told_apart() {
    let scratch = Scratch::new();
    let linnet = Linnet::new(&scratch, "home");
    let udp = Counting::udp();
    let mut answer = http("404 Not Found", b"");
    let date = b"Date: Sat, 01 Jan 2000 00:00:00 GMT\r\n";
    let line = answer.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    answer.splice(line..line, date.iter().copied());
    let http = Canned::start(Some(answer));
    let http = format!(
        "http://{}/0123456789abcdef0123456789abcdef/announce",
        http.address
    );
    let (code, report) = doctor(&linnet, &[&udp.url, &http, "http://127.0.0.1:1/announce"]);
    assert_eq!(code, Some(1), "{report}");
    let trackers = found(&report, "trackers");
    let fine = trackers.iter().filter(|check| check["status"] == "fine");
    assert_eq!(fine.count(), 2, "{report}");
    let broken = trackers
        .iter()
        .find(|check| check["status"] == "broken")
        .unwrap();
    assert!(
        broken["text"].as_str().unwrap().contains("127.0.0.1:1"),
        "{report}"
    );
    assert_eq!(found(&report, "clock")[0]["status"], "broken", "{report}");
    assert!(!report.to_string().contains("0123456789abcdef"));
}

#[test]
fn what_is_broken_is_named_with_what_to_do() {
    let scratch = Scratch::new();
    let linnet = Linnet::new(&scratch, "home");
    let _taken = TcpListener::bind(linnet.listen).unwrap();
    let file = scratch.path().join("file");
    std::fs::write(&file, "").unwrap();
    let set = format!("paths.downloads={}", text(&file.join("below")));
    let mut command = command(&linnet);
    let output = command.args(["--set", &set]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("note    listen"), "{said}");
    assert!(said.contains("in use"), "{said}");
    assert!(said.contains("BROKEN  downloads"), "{said}");
    assert!(said.contains("or set paths.downloads"), "{said}");
}
