//! `linnet top` in a real terminal, tmux's: keys are pressed, the screen is read, and the daemon is asked whether it is so.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal};
use serde_json::json;

use support::rpc::{Client, Daemon};
use support::torrent::{Recipe, Torrent};
use support::{Linnet, Scratch, eventually, free, text};

/// A tmux server of its own, with one window that runs one shell.
struct Tmux {
    socket: String,
}

impl Tmux {
    /// Runs `script` in a terminal of this size.
    fn run(scratch: &Scratch, size: (u16, u16), script: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = NEXT.fetch_add(1, Ordering::Relaxed);
        let socket = text(&scratch.path().join(format!("tmux-{name}")));
        let tmux = Self { socket };
        let (width, height) = (size.0.to_string(), size.1.to_string());
        // The terminal stays when the script is over, so that its last words can be read.
        let script = format!("{script}; exec sleep 1000");
        tmux.ask(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "sh",
            "-c",
            &script,
        ]);
        tmux
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-S", &self.socket])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .stdin(Stdio::null())
            .output()
            .expect("tmux is installed");
        let fault = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {fault}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// Waits until `words` are all on the screen, which is given back.
    fn wait(&self, words: &[&str]) -> String {
        eventually(&format!("{words:?}"), || {
            let screen = self.screen();
            words
                .iter()
                .all(|word| screen.contains(word))
                .then_some(screen)
        })
    }

    /// Sends a signal to what the shell runs.
    fn signal(&self, signal: Signal) {
        let shell = self.ask(&["display-message", "-p", "#{pane_pid}"]);
        let mut command = Command::new("pgrep");
        let output = command.args(["-P", shell.trim()]).output().unwrap();
        let child = String::from_utf8(output.stdout).unwrap();
        let child = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(child, signal).unwrap();
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        // There is none any more when the test has failed early.
        let _ = command.args(["-S", &self.socket, "kill-server"]).output();
    }
}

/// `linnet top` of the daemon at `rpc`, between two looks at the terminal's modes.
fn script(linnet: &Linnet, rpc: &str) -> String {
    let command = linnet.command(&["top", "--rpc", rpc]);
    let set = command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}='{}'", key.to_str()?, value?.to_str()?)));
    let set: Vec<String> = set.collect();
    let arguments: Vec<&str> = command.get_args().filter_map(|one| one.to_str()).collect();
    format!(
        "before=$(stty -g); env {} '{}' {}; echo \"exit $?\"; [ \"$(stty -g)\" = \"$before\" ] && echo as it was",
        set.join(" "),
        env!("CARGO_BIN_EXE_linnet"),
        arguments.join(" ")
    )
}

fn add(scratch: &Scratch, daemon: &Daemon, name: &str) {
    let files = [("file", 50_000)];
    let recipe = Recipe {
        name,
        piece_length: 32 << 10,
        files: &files,
        trackers: &[],
    };
    let torrent = Torrent::make(scratch, &recipe);
    let (code, _) = daemon.remote(&["add", &text(&torrent.file)]);
    assert_eq!(code, 0, "{name}");
}

/// Names and states, by name.
fn states(client: &mut Client) -> Vec<(String, String)> {
    let answer = client.modern("torrent_get", &json!({ "fields": ["name", "state"] }));
    let torrents = answer["torrents"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut states: Vec<(String, String)> = torrents
        .iter()
        .map(|torrent| (text(&torrent["name"]), text(&torrent["state"])))
        .collect();
    states.sort();
    states
}

fn wait_for(client: &mut Client, want: &[(&str, &str)]) {
    eventually(&format!("{want:?}"), || {
        let states = states(client);
        let is = states.len() == want.len()
            && (states.iter().zip(want)).all(|(have, want)| (&*have.0, &*have.1) == *want);
        is.then_some(())
    });
}

#[test]
fn a_daemon_is_watched_and_torrents_are_paused_resumed_and_removed_by_keys() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    for name in ["one", "three", "two"] {
        add(&scratch, &daemon, name);
    }
    let rpc = format!("http://{}", daemon.rpc);
    let tmux = Tmux::run(&scratch, (100, 24), &script(&daemon.linnet, &rpc));
    tmux.wait(&["linnet 3 torrents, 3 downloading", "actor queue", "1/3"]);
    // The choice is by name, and what is done is done to it alone.
    tmux.keys(&["/"]);
    tmux.keys(&["-l", "TW"]);
    tmux.wait(&["filter: TW", "1/1"]);
    tmux.keys(&["Enter", "p"]);
    let (down, off) = ("downloading", "stopped");
    wait_for(&mut client, &[("one", down), ("three", down), ("two", off)]);
    tmux.wait(&["two: stopped", "2 downloading, 1 stopped"]);
    tmux.keys(&["r"]);
    wait_for(
        &mut client,
        &[("one", down), ("three", down), ("two", down)],
    );
    tmux.wait(&["two: resumed", "3 downloading"]);
    tmux.keys(&["Enter"]);
    tmux.wait(&["why", "no peers, and it names no tracker"]);
    tmux.keys(&["Tab", "Tab"]);
    tmux.wait(&["two/file", "48.8 KiB"]);
    // Removing is asked about, and no is no.
    tmux.keys(&["d"]);
    tmux.wait(&["remove two? its files stay."]);
    tmux.keys(&["n", "D"]);
    tmux.wait(&["remove two AND DELETE ITS FILES?"]);
    tmux.keys(&["y"]);
    wait_for(&mut client, &[("one", down), ("three", down)]);
    tmux.wait(&["linnet 2 torrents", "two: removed, its files are deleted"]);
    tmux.keys(&["?"]);
    tmux.wait(&["any key closes"]);
    // What others do is seen too.
    tmux.keys(&["x", "Escape"]);
    let (code, _) = daemon.remote(&["stop", "all"]);
    assert_eq!(code, 0);
    tmux.wait(&["2 paused"]);
    // The daemon dies, and another takes its place.
    let bind = format!("rpc.bind={}", daemon.rpc);
    let linnet = daemon.kill();
    tmux.wait(&["waiting for it to come back"]);
    let daemon = Daemon::again(&scratch, linnet, "home", &["--set", &bind]);
    eventually("it is seen again", || {
        let screen = tmux.screen();
        (screen.contains("2 paused") && !screen.contains("waiting for it")).then_some(())
    });
    tmux.keys(&["q"]);
    let screen = tmux.wait(&["exit 0", "as it was"]);
    assert!(!screen.contains("linnet 2 torrents"), "{screen}");
    drop(daemon);
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let rpc = format!("http://{}", daemon.rpc);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let tmux = Tmux::run(&scratch, (80, 24), &script(&daemon.linnet, &rpc));
        tmux.wait(&["no torrents: linnet add"]);
        tmux.signal(signal);
        tmux.wait(&["exit 0", "as it was"]);
    }
}

#[test]
fn it_ends_without_a_word_when_its_terminal_goes() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch, "home", &[]);
    let rpc = format!("http://{}", daemon.rpc);
    let said = scratch.path().join("said");
    let code = scratch.path().join("code");
    // The shell outlives its terminal, so that it can tell how top ended.
    let script = format!(
        "trap '' HUP; exec 2>'{}'; {{ {}; }} | sed -n 's/^exit //p' >'{}'",
        text(&said),
        script(&daemon.linnet, &rpc).replace(" top ", " top </dev/tty >/dev/tty "),
        text(&code)
    );
    let tmux = Tmux::run(&scratch, (80, 24), &script);
    tmux.wait(&["no torrents: linnet add"]);
    tmux.ask(&["kill-server"]);
    let ended = eventually("it ends", || {
        let code = std::fs::read_to_string(&code).unwrap_or_default();
        code.ends_with('\n').then_some(code)
    });
    assert_eq!(ended, "0\n");
    let said = std::fs::read_to_string(said).unwrap();
    assert!(!said.contains("linnet"), "{said}");
    assert!(!said.contains("cursor"), "{said}");
}

#[test]
fn without_a_terminal_it_is_2_and_without_a_daemon_3() {
    let scratch = Scratch::new();
    let linnet = Linnet::new(&scratch, "home");
    let rpc = format!("http://{}", free(std::net::Ipv4Addr::LOCALHOST.into()));
    let output = linnet
        .command(&["top", "--rpc", &rpc])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("linnet: top: stdin is not a terminal"),
        "{said}"
    );
    let tmux = Tmux::run(&scratch, (80, 24), &script(&linnet, &rpc));
    tmux.wait(&["no daemon answers at", "exit 3", "as it was"]);
}
