//! What tests with real programs share: processes that never outlive their test, places on loopback, payloads.
//!
//! Nothing here waits for a fixed time: every wait is for an event, and gives up after [`HANG`].

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

pub(crate) mod clients;
pub(crate) mod network;
pub(crate) mod peer;
pub(crate) mod rpc;
pub(crate) mod torrent;
pub(crate) mod tracker;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

/// Longest any single wait lasts. Far beyond what anything needs: reaching it means that something hangs.
pub(crate) const HANG: Duration = Duration::from_secs(90);

/// Whether the long variants were asked for (`tests/run --long`).
pub(crate) fn is_long() -> bool {
    std::env::var("LINNET_LONG").is_ok_and(|value| value == "1")
}

/// An address of 127.0.0.0/8 that no other test uses: ports on it are ours alone, and a ban hits one peer alone.
pub(crate) fn place() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let last = u8::try_from(n).expect("a test process uses fewer than 256 places");
    // 127.0 is where everybody else is.
    Ipv4Addr::new(127, high | 0x80, low, last).into()
}

/// A port that was free on `ip` a moment ago.
pub(crate) fn free(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("loopback has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

/// Polls until `f` gives something.
pub(crate) fn eventually<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = f() {
            return value;
        }
        assert!(start.elapsed() < HANG, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything a process has said so far, and whether more can come.
#[derive(Default)]
struct Said {
    lines: Vec<String>,
    open: u32,
}

/// A running program. Killed when dropped, and by the kernel when the test itself is killed.
pub(crate) struct Running {
    name: String,
    child: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
}

impl Running {
    /// Starts `command` so that it dies with this thread.
    pub(crate) fn start(command: &Command) -> Self {
        let name = Path::new(command.get_program())
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        let mut child = wrapped
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let said = Arc::new((
            Mutex::new(Said {
                lines: Vec::new(),
                open: 2,
            }),
            Condvar::new(),
        ));
        collect(child.stdout.take().expect("piped"), &said);
        collect(child.stderr.take().expect("piped"), &said);
        Self { name, child, said }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many lines it has said: what comes later is matched by [`Self::wait_after`].
    pub(crate) fn mark(&self) -> usize {
        self.said.0.lock().unwrap().lines.len()
    }

    /// Waits for a line, said already or yet to come, for which `f` gives something.
    pub(crate) fn wait<T>(&self, what: &str, f: impl FnMut(&str) -> Option<T>) -> T {
        self.wait_after(0, what, f)
    }

    /// The same, for the lines behind `mark`.
    pub(crate) fn wait_after<T>(
        &self,
        mark: usize,
        what: &str,
        mut f: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let (lock, changed) = &*self.said;
        let start = Instant::now();
        let mut next = mark;
        let mut said = lock.lock().unwrap();
        loop {
            while let Some(line) = said.lines.get(next) {
                next += 1;
                if let Some(value) = f(line) {
                    return value;
                }
            }
            let ended = said.open == 0;
            if ended || start.elapsed() > HANG {
                let how = if ended { "ended" } else { "hangs" };
                let all = said.lines.join("\n");
                drop(said);
                panic!("{} {how} and never said {what}; it said:\n{all}", self.name);
            }
            said = changed
                .wait_timeout(said, Duration::from_millis(200))
                .unwrap()
                .0;
        }
    }

    /// Waits for a line that begins with `word` and gives the rest of it.
    pub(crate) fn wait_word(&self, word: &str) -> String {
        self.wait(word, |line| rest_of(line, word))
    }

    /// Waits for an event of that name (`--json`).
    pub(crate) fn wait_event(&self, name: &str) -> Value {
        self.wait(name, |line| {
            event(line).filter(|event| event["event"] == name)
        })
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| event(line)).collect()
    }

    /// Everything it has said so far, both streams.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.said.0.lock().unwrap().lines.clone()
    }

    /// Everything it has said so far, as one text.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Writes a line to its stdin.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("the program reads its commands");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process is ours and not yet reaped");
    }

    /// Polls until `f` gives something; fails at once when the program ends before that.
    pub(crate) fn until<T>(&mut self, what: &str, mut f: impl FnMut(&Self) -> Option<T>) -> T {
        eventually(what, || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            // Asked after the end was seen: what the program did last counts.
            let value = f(self);
            if let (None, Some(status)) = (&value, ended) {
                panic!("{} ended with {status} before {what}", self.name);
            }
            value
        })
    }

    /// Waits until it ends; everything it said is there afterwards.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let said = Arc::clone(&self.said);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if start.elapsed() > HANG {
                let all = said.0.lock().unwrap().lines.join("\n");
                panic!("{name} does not end; it said:\n{all}");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        eventually("the end of its output", || {
            (said.0.lock().unwrap().open == 0).then_some(())
        });
        status
    }

    /// Waits until it ends and asserts the exit code.
    pub(crate) fn expect_exit(&mut self, code: i32) {
        let status = self.exit();
        assert_eq!(
            status.code(),
            Some(code),
            "{} ended with {status}; it said:\n{}",
            self.name,
            self.text()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, tail(&self.text()));
        }
    }
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(8000);
    text.get(from..).unwrap_or(text)
}

fn collect(stream: impl Read + Send + 'static, said: &Arc<(Mutex<Said>, Condvar)>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            let line = String::from_utf8_lossy(&line).into_owned();
            said.0.lock().unwrap().lines.push(line);
            said.1.notify_all();
        }
        said.0.lock().unwrap().open -= 1;
        said.1.notify_all();
    });
}

/// What follows `word` and a space, or nothing when `word` is the whole line.
fn rest_of(line: &str, word: &str) -> Option<String> {
    let rest = line.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim().to_owned())
}

fn event(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    value.get("event").is_some().then_some(value)
}

/// One directory of a test, gone afterwards, with a home for each program in it.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A fresh one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A directory in it, made if missing.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(&path).expect("a writable temporary directory");
        path
    }
}

/// How the built binary is run: its own home and state, a listener of its own, nothing inherited.
pub(crate) struct Linnet {
    /// `paths.state`: where its metrics and its store are.
    pub(crate) state: PathBuf,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    home: PathBuf,
}

impl Linnet {
    /// At a place of its own. `home` also names what carries over between runs.
    pub(crate) fn new(scratch: &Scratch, home: &str) -> Self {
        Self::at(scratch, home, SocketAddr::new(place(), 51413))
    }

    /// At a given address.
    pub(crate) fn at(scratch: &Scratch, home: &str, listen: SocketAddr) -> Self {
        let home = scratch.dir(home);
        Self {
            state: home.join("state/linnet"),
            listen,
            home,
        }
    }

    /// The command line, still to be run; `--set` and friends included for the commands that listen.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linnet"));
        // No test asks the nodes of the world; one that wants the DHT says so behind this.
        if let Some((first, rest)) = args.split_first() {
            command.arg(first);
            if matches!(*first, "get" | "seed" | "daemon") {
                command.args(["--set", "discovery.dht=false"]);
            }
            command.args(rest);
        }
        if matches!(args.first(), Some(&("get" | "seed"))) {
            command
                .arg("--set")
                .arg(format!("peer.listen=[\"{}\"]", self.listen));
        }
        if matches!(args.first(), Some(&("get" | "seed" | "daemon"))) {
            // Else every test would meet the peers of all others, and of whoever is near.
            let lsd = "discovery.lsd=false";
            if !args.iter().any(|arg| arg.starts_with("discovery.lsd")) {
                command.arg("--set").arg(lsd);
            }
        }
        for key in [
            "LINNET_CONFIG",
            "RUST_LOG",
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ] {
            command.env_remove(key);
        }
        command
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", self.home.join("config"))
            .env("XDG_STATE_HOME", self.home.join("state"));
        command
    }

    /// Starts it.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(&self.command(args))
    }

    /// `get TORRENT -o DIR --json --peer PEER...`
    pub(crate) fn get(&self, torrent: &Path, dir: &Path, peers: &[SocketAddr]) -> Running {
        self.with_peers(&["get", &text(torrent), "-o", &text(dir), "--json"], peers)
    }

    /// `seed TORRENT -o DIR --peer PEER...`
    pub(crate) fn seed(&self, torrent: &Path, dir: &Path, peers: &[SocketAddr]) -> Running {
        self.with_peers(&["seed", &text(torrent), "-o", &text(dir)], peers)
    }

    /// Any words of the command line, and peers to dial.
    pub(crate) fn with_peers(&self, args: &[&str], peers: &[SocketAddr]) -> Running {
        let mut command = self.command(args);
        for peer in peers {
            command.arg("--peer").arg(peer.to_string());
        }
        Running::start(&command)
    }
}

/// A path as text; those of tests always are.
pub(crate) fn text(path: &Path) -> String {
    path.to_str()
        .expect("paths of tests are plain text")
        .to_owned()
}
