//! The real clients, each in its own home, and on plain TCP unless asked otherwise.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Running, Scratch, eventually, free, place, text};

/// libtorrent, through `lt.py`.
pub(crate) struct Libtorrent {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The process.
    pub(crate) running: Running,
}

/// What [`Libtorrent`] is to do besides.
#[derive(Default)]
pub(crate) struct Options<'a> {
    /// Where to listen; a place of its own by default.
    pub(crate) at: Option<std::net::IpAddr>,
    /// Whom to dial.
    pub(crate) peers: &'a [SocketAddr],
    /// Whether to ask the torrent's trackers.
    pub(crate) trackers: bool,
    /// Bytes per second it gives at most; 0 is no limit.
    pub(crate) up: u64,
    /// Whether it speaks uTP, and no TCP.
    pub(crate) utp: bool,
    /// Settings of libtorrent's own, `name=number` each.
    pub(crate) settings: &'a [&'a str],
    /// Whether peers tell it of others, and it them.
    pub(crate) pex: bool,
}

impl Libtorrent {
    /// Downloads what a magnet link names into `dir`.
    pub(crate) fn get_link(link: &str, dir: &Path, options: &Options<'_>) -> Self {
        Self::start("get", Path::new(link), dir, options)
    }

    /// Seeds what is in `dir`.
    pub(crate) fn seed(torrent: &Path, dir: &Path, options: &Options<'_>) -> Self {
        let this = Self::start("seed", torrent, dir, options);
        this.running.wait_word("ready");
        this
    }

    /// Downloads into `dir`.
    pub(crate) fn get(torrent: &Path, dir: &Path, options: &Options<'_>) -> Self {
        Self::start("get", torrent, dir, options)
    }

    fn start(mode: &str, torrent: &Path, dir: &Path, options: &Options<'_>) -> Self {
        let ip = options.at.unwrap_or_else(place);
        // Debian's libtorrent is built for Debian's python, whatever other python comes first in PATH.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/lt.py"));
        command
            .arg(mode)
            .arg(torrent)
            .arg(dir)
            .arg("--listen")
            .arg(ip.to_string());
        for peer in options.peers {
            command.arg("--peer").arg(peer.to_string());
        }
        if options.trackers {
            command.arg("--trackers");
        }
        if options.utp {
            command.arg("--utp");
        }
        for setting in options.settings {
            command.arg("--set").arg(setting);
        }
        if options.pex {
            command.arg("--pex");
        }
        command.arg("--up").arg(options.up.to_string());
        let running = Running::start(&command);
        let port = running.wait_word("port").parse().expect("a port");
        Self {
            address: SocketAddr::new(ip, port),
            running,
        }
    }

    /// Waits until it has everything, on disk.
    pub(crate) fn done(&self) {
        self.running.wait_word("done");
    }

    /// Payload bytes it has sent.
    pub(crate) fn uploaded(&mut self) -> u64 {
        self.stats()["uploaded"].as_u64().expect("a count")
    }

    /// What it says of itself: `uploaded`, `downloaded`, `failed` (bytes), `peers`, `progress`.
    pub(crate) fn stats(&mut self) -> Value {
        let mark = self.running.mark();
        self.running.tell("stats");
        self.running.wait_after(mark, "stats", |line| {
            line.strip_prefix("stats ")
                .map(|json| serde_json::from_str::<Value>(json).expect("JSON"))
        })
    }
}

/// transmission-daemon, driven over its RPC. It cannot be told a peer's address: the other side dials.
pub(crate) struct Transmission {
    /// Where it listens for peers.
    pub(crate) address: SocketAddr,
    rpc: SocketAddr,
    _running: Running,
}

impl Transmission {
    /// Starts it with one torrent whose data is, or shall be, in `dir`.
    pub(crate) fn start(scratch: &Scratch, home: &str, torrent: &Path, dir: &Path) -> Self {
        Self::start_encrypted(scratch, home, torrent, dir, 0)
    }

    /// The same; `encryption` is 0 for where the other side wants it, 1 for where it can, 2 for always.
    pub(crate) fn start_encrypted(
        scratch: &Scratch,
        home: &str,
        torrent: &Path,
        dir: &Path,
        encryption: u8,
    ) -> Self {
        let home = scratch.dir(home);
        let address = free(place());
        let rpc = free(Ipv4Addr::LOCALHOST.into());
        let settings = json!({
            "bind-address-ipv4": address.ip(),
            "dht-enabled": false,
            "download-dir": dir,
            "encryption": encryption,
            "lpd-enabled": false,
            "peer-port": address.port(),
            "pex-enabled": false,
            "port-forwarding-enabled": false,
            "rpc-bind-address": "127.0.0.1",
            "rpc-enabled": true,
            "rpc-port": rpc.port(),
            "rpc-whitelist-enabled": false,
            "rpc-host-whitelist-enabled": false,
            "utp-enabled": false,
        });
        std::fs::write(home.join("settings.json"), settings.to_string()).unwrap();
        let mut command = Command::new("transmission-daemon");
        command.args(["-f", "-g", &text(&home)]).env("HOME", &home);
        let running = Running::start(&command);
        eventually("transmission's RPC", || TcpStream::connect(rpc).ok());
        let this = Self {
            address,
            rpc,
            _running: running,
        };
        this.call(
            "torrent-add",
            &json!({ "filename": torrent, "download-dir": dir }),
        );
        this.call("torrent-verify", &json!({}));
        this
    }

    /// Waits until it has everything and is checking nothing.
    pub(crate) fn done(&self) {
        eventually("transmission to have it all", || {
            let answer = self.call(
                "torrent-get",
                &json!({ "fields": ["percentDone", "status"] }),
            );
            let torrent = &answer["torrents"][0];
            // 4 is downloading, 6 is seeding; 1 and 2 are checking.
            (torrent["percentDone"] == 1 && torrent["status"] == 6).then_some(())
        });
    }

    fn call(&self, method: &str, arguments: &Value) -> Value {
        let body = json!({ "method": method, "arguments": arguments }).to_string();
        let mut session = String::new();
        loop {
            let mut request = format!("POST /transmission/rpc HTTP/1.1\r\nHost: {}\r\n", self.rpc);
            write!(
                request,
                "Connection: close\r\nContent-Length: {}\r\n{session}\r\n{body}",
                body.len()
            )
            .unwrap();
            let mut stream = TcpStream::connect(self.rpc).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
            if head.contains(" 409 ") && session.is_empty() {
                let line = head
                    .lines()
                    .find(|line| line.starts_with("X-Transmission-Session-Id"));
                session = format!("{}\r\n", line.expect("a session id"));
                continue;
            }
            let mut value: Value =
                serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
            assert_eq!(value["result"], "success", "{answer}");
            return value["arguments"].take();
        }
    }
}

/// aria2c. It cannot be told a peer's address either.
pub(crate) struct Aria2 {
    /// Where it listens for peers.
    pub(crate) address: SocketAddr,
    running: Running,
}

impl Aria2 {
    /// Downloads into `dir` and ends.
    pub(crate) fn get(scratch: &Scratch, torrent: &Path, dir: &Path) -> Self {
        Self::get_with(scratch, torrent, dir, &[])
    }

    /// The same, with more options.
    pub(crate) fn get_with(scratch: &Scratch, torrent: &Path, dir: &Path, more: &[&str]) -> Self {
        Self::start(scratch, torrent, dir, &[&["--seed-time=0"], more].concat())
    }

    /// Checks what is in `dir` and seeds it.
    pub(crate) fn seed(scratch: &Scratch, torrent: &Path, dir: &Path) -> Self {
        Self::seed_with(scratch, torrent, dir, &[])
    }

    /// The same, with more options.
    pub(crate) fn seed_with(scratch: &Scratch, torrent: &Path, dir: &Path, more: &[&str]) -> Self {
        let seed: &[&str] = &["--check-integrity=true", "--seed-ratio=0.0"];
        Self::start(scratch, torrent, dir, &[seed, more].concat())
    }

    fn start(scratch: &Scratch, torrent: &Path, dir: &Path, more: &[&str]) -> Self {
        let address = free(Ipv4Addr::LOCALHOST.into());
        let mut command = Command::new("aria2c");
        command
            .args([
                "--no-conf=true",
                "--enable-dht=false",
                "--enable-dht6=false",
                "--bt-enable-lpd=false",
            ])
            .args([
                "--enable-peer-exchange=false",
                "--file-allocation=none",
                "--allow-overwrite=true",
            ])
            .args(["--summary-interval=0", "--disable-ipv6=true"])
            .arg(format!("--listen-port={}", address.port()))
            .arg(format!("--dir={}", dir.display()))
            .args(more)
            .arg(torrent)
            .env("HOME", scratch.dir("aria2"));
        let running = Running::start(&command);
        eventually("aria2's listener", || {
            // Connecting and leaving would count as a bad peer; the kernel's table does not tell it.
            listens(address.port()).then_some(())
        });
        Self { address, running }
    }

    /// Waits until it has ended well.
    pub(crate) fn done(&mut self) {
        self.running.expect_exit(0);
    }
}

/// Whether somebody listens on a TCP port of any v4 address.
pub(crate) fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let want = format!(":{port:04X} 00000000:0000 0A");
    table.lines().any(|line| line.contains(&want))
}
