//! A daemon and its RPC, spoken to as clients do: plain HTTP/1.1, written by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{HANG, Linnet, Running, Scratch, free, text};

/// A running daemon of a home of its own.
pub(crate) struct Daemon {
    /// Where its RPC is.
    pub(crate) rpc: SocketAddr,
    /// Where peers reach it.
    pub(crate) listen: SocketAddr,
    /// Where its downloads go.
    pub(crate) downloads: PathBuf,
    /// The process.
    pub(crate) running: Running,
    /// How it was started.
    pub(crate) linnet: Linnet,
}

impl Daemon {
    /// Starts one; `more` are further arguments. It is ready afterwards.
    pub(crate) fn start(scratch: &Scratch, home: &str, more: &[&str]) -> Self {
        let linnet = Linnet::new(scratch, home);
        Self::again(scratch, linnet, home, more)
    }

    /// Starts one over what another has left.
    pub(crate) fn again(scratch: &Scratch, linnet: Linnet, home: &str, more: &[&str]) -> Self {
        let rpc = free(Ipv4Addr::LOCALHOST.into());
        let downloads = scratch.dir(&format!("{home}/downloads"));
        let mut command = linnet.command(&["daemon"]);
        for set in [
            format!("peer.listen=[\"{}\"]", linnet.listen),
            format!("rpc.bind={rpc}"),
            format!("paths.downloads={}", text(&downloads)),
        ] {
            command.arg("--set").arg(set);
        }
        command.args(more);
        let running = Running::start(&command);
        running.wait("ready", |line| line.ends_with(" ready").then_some(()));
        let listen = linnet.listen;
        Self {
            rpc,
            listen,
            downloads,
            running,
            linnet,
        }
    }

    /// Kills it, as a power cut would; what is left of it.
    pub(crate) fn kill(mut self) -> Linnet {
        self.running.signal(rustix::process::Signal::KILL);
        self.running.exit();
        self.linnet
    }

    /// Ends it in order; what is left of it.
    pub(crate) fn stop(mut self) -> Linnet {
        self.running.signal(rustix::process::Signal::TERM);
        assert!(self.running.exit().success());
        self.linnet
    }

    /// A connection that has shaken hands.
    pub(crate) fn client(&self) -> Client {
        let mut client = Client::connect(self.rpc);
        let answer = client.send("GET", "/transmission/rpc", &[], b"");
        assert_eq!(answer.status, 409, "a bodyless GET is told the session id");
        client.session = answer.header("X-Transmission-Session-Id");
        assert!(client.session.is_some());
        client
    }

    /// Runs a remote-control command; its exit code and stdout.
    pub(crate) fn remote(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = self.linnet.command(arguments);
        command.arg("--rpc").arg(format!("http://{}", self.rpc));
        let output = command.output().expect("linnet runs");
        let out = String::from_utf8(output.stdout).expect("text");
        (output.status.code().expect("it ends by itself"), out)
    }
}

/// One connection, kept alive from request to request.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    /// Sent with each request.
    pub(crate) session: Option<String>,
}

/// What came back.
pub(crate) struct Answer {
    /// Of HTTP.
    pub(crate) status: u16,
    /// As they came.
    pub(crate) headers: Vec<String>,
    /// Unpacked.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, spelled as Transmission spells it.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found == name).then(|| value.trim().to_owned())
        })
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Client {
    /// Without a handshake.
    pub(crate) fn connect(rpc: SocketAddr) -> Self {
        let stream = TcpStream::connect(rpc).expect("the daemon listens");
        stream.set_read_timeout(Some(HANG)).expect("a timeout");
        // A request is written in two parts: the second does not wait for the first to be acknowledged.
        stream.set_nodelay(true).expect("a socket");
        Self {
            stream: BufReader::new(stream),
            session: None,
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("it reads");
    }

    /// Reads a line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }

    /// One request and its answer.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str("Host: localhost\r\n");
        }
        if let Some(session) = &self.session {
            head.push_str(&format!("X-Transmission-Session-Id: {session}\r\n"));
        }
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() && !headers.iter().any(|header| header.contains("chunked")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes());
        self.write(body);
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let first = self.line();
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {first:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            headers.push(line);
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if let Some(length) = answer.header("Content-Length") {
            answer.body = vec![0; length.parse().expect("a number")];
            self.stream
                .read_exact(&mut answer.body)
                .expect("all of the body");
        }
        answer
    }

    /// A classic request; its arguments.
    pub(crate) fn classic(&mut self, method: &str, arguments: &Value) -> Value {
        let body = json!({ "method": method, "arguments": arguments, "tag": 39 });
        let mut answer = self.post(&body);
        assert_eq!(answer["result"], "success", "{method}: {answer}");
        assert_eq!(answer["tag"], 39);
        answer["arguments"].take()
    }

    /// A JSON-RPC request; its result.
    pub(crate) fn modern(&mut self, method: &str, params: &Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": "x" });
        let mut answer = self.post(&body);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        assert_eq!(answer["id"], "x");
        answer["result"].take()
    }

    /// Posts `body` and reads JSON.
    pub(crate) fn post(&mut self, body: &Value) -> Value {
        let answer = self.send(
            "POST",
            "/transmission/rpc",
            &[],
            body.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{body}");
        answer.json()
    }
}
