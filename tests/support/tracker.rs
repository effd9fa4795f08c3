//! Trackers: a real one, and one that answers whatever the test wants.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::torrent::{Torrent, hex};
use super::{Running, Scratch, eventually};

/// A running opentracker; HTTP and UDP on one port.
pub(crate) struct Opentracker {
    /// Where it listens, both kinds.
    pub(crate) address: SocketAddr,
    _running: Running,
}

impl Opentracker {
    /// Starts one at `address` for these torrents: Debian's is built to serve no others. It names peers by the address
    /// they come from, so its swarm must be on 127.0.0.1.
    pub(crate) fn start(scratch: &Scratch, address: SocketAddr, torrents: &[&Torrent]) -> Self {
        let dir = scratch.dir("opentracker");
        let list: Vec<String> = torrents
            .iter()
            .map(|torrent| hex(&torrent.info_hash) + "\n")
            .collect();
        std::fs::write(dir.join("whitelist"), list.concat()).unwrap();
        // Started by root, it makes this its root directory and becomes `nobody`.
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        let port = address.port().to_string();
        let mut command = Command::new("opentracker");
        command.args([
            "-i",
            "127.0.0.1",
            "-p",
            &port,
            "-P",
            &port,
            "-w",
            "whitelist",
            "-d",
        ]);
        command.arg(&dir).current_dir(&dir);
        let running = Running::start(&command);
        eventually("opentracker", || std::net::TcpStream::connect(address).ok());
        Self {
            address,
            _running: running,
        }
    }

    /// Waits until somebody has announced as a seed of that torrent, so that whoever asks next is told of it.
    pub(crate) fn wait_for_seed(&self, torrent: &Torrent) {
        let escaped = torrent
            .info_hash
            .iter()
            .fold(String::new(), |text, byte| format!("{text}%{byte:02x}"));
        let request = format!("GET /scrape?info_hash={escaped} HTTP/1.0\r\n\r\n");
        eventually("an announce of the seed", || {
            let mut stream = std::net::TcpStream::connect(self.address).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).ok()?;
            let answer = String::from_utf8_lossy(&answer);
            (answer.contains("8:completei") && !answer.contains("8:completei0e")).then_some(())
        });
    }
}

/// An HTTP server that gives every request the same bytes and hangs up.
pub(crate) struct Canned {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Canned {
    /// `None` answers nothing at all and keeps the stream open.
    pub(crate) fn start(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                count.fetch_add(1, Ordering::SeqCst);
                match &answer {
                    // The client may hang up before it has read everything: it should.
                    Some(answer) => drop(stream.write_all(answer)),
                    None => silent.push(stream),
                }
            }
        });
        Self { address, asked }
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An HTTP answer of that status and body.
pub(crate) fn http(status: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend(body);
    out
}
