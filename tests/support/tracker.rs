//! Trackers: a real one, and one that answers whatever the test wants.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

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
        eventually("opentracker", || TcpStream::connect(address).ok());
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
            let mut stream = TcpStream::connect(self.address).ok()?;
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

/// A tracker without peers that notes who says what, and over how many connections.
pub(crate) struct Counting {
    /// What torrents are to name.
    pub(crate) url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    told: Mutex<Vec<(Vec<u8>, String)>>,
    /// Of datagrams that were announces: one that is sent again is the same announce.
    transactions: Mutex<BTreeSet<Vec<u8>>>,
    connections: AtomicUsize,
    silent: AtomicBool,
}

impl Counting {
    /// Over TCP; connections are kept until the client closes them.
    pub(crate) fn http() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let notes = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                notes.connections.fetch_add(1, Ordering::SeqCst);
                let notes = Arc::clone(&notes);
                std::thread::spawn(move || notes.serve(stream));
            }
        });
        Self { url, seen }
    }

    /// By datagrams.
    pub(crate) fn udp() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("udp://{}", socket.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let notes = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let answer = notes.answer(&bytes[..length]);
                let _ = answer.map(|answer| socket.send_to(&answer, from));
            }
        });
        Self { url, seen }
    }

    /// Who has said what so far: info-hash and event, in order.
    pub(crate) fn told(&self) -> Vec<(Vec<u8>, String)> {
        self.seen.told.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Nobody is answered from now on.
    pub(crate) fn hush(&self) {
        self.seen.silent.store(true, Ordering::SeqCst);
    }
}

impl Seen {
    fn note(&self, info_hash: &[u8], event: &str) {
        let one = (info_hash.to_vec(), event.to_owned());
        self.told.lock().unwrap().push(one);
    }

    fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        while stream.read_line(&mut first).is_ok_and(|length| length > 0) {
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let value = |name: &str| {
                let mut pairs = first.split(['?', '&', ' ']);
                pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            };
            self.note(
                value("info_hash").unwrap_or("").as_bytes(),
                value("event").unwrap_or(""),
            );
            if !self.silent.load(Ordering::SeqCst) {
                let body = b"d8:intervali1800e5:peers0:e";
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let answer = [head.as_bytes(), body].concat();
                if stream.get_mut().write_all(&answer).is_err() {
                    return;
                }
            }
            first.clear();
        }
    }

    /// BEP 15.
    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let transaction = request.get(12..16)?;
        match request[8..12] {
            [0, 0, 0, 0] => Some([&[0; 4], transaction, &[7; 8]].concat()),
            [0, 0, 0, 1] if request.len() >= 98 => {
                let events = ["", "completed", "started", "stopped"];
                if self
                    .transactions
                    .lock()
                    .unwrap()
                    .insert(transaction.to_vec())
                {
                    self.note(&request[16..36], events[usize::from(request[83] & 3)]);
                }
                let words = [1800_u32, 0, 0].map(u32::to_be_bytes).concat();
                Some([&1_u32.to_be_bytes()[..], transaction, &words].concat())
            }
            _ => None,
        }
    }
}
