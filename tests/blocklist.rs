//! Block lists and bans of a daemon, with a real client that may not come in, may, and may not again.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    dead_code,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use support::clients::{Libtorrent, Options};
use support::rpc::{Client, Daemon};
use support::torrent::{Recipe, Torrent, hex};
use support::tracker::{Canned, http};
use support::{HANG, Scratch, eventually, place, text};

const SMALL: Recipe<'_> = Recipe {
    name: "small",
    piece_length: 32 << 10,
    files: &[("", 300_007)],
    trackers: &[],
};

fn gzip(text: &str) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap().stdout
}

fn peers(client: &mut Client, hash: &str) -> u64 {
    let fields = json!({ "ids": [hash], "fields": ["peersConnected"] });
    let answer = client.classic("torrent-get", &fields);
    answer["torrents"][0]["peersConnected"].as_u64().unwrap()
}

/// A peer that comes from `from` and shakes hands; `None` when it is closed instead.
fn come(from: IpAddr, daemon: &Daemon, torrent: &Torrent) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&daemon.listen.into()).unwrap();
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(HANG)).unwrap();
    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    hello.extend_from_slice(&torrent.info_hash);
    hello.extend_from_slice(b"-XX0000-000000000000");
    // It may be closed before it is written to.
    stream.write_all(&hello).ok()?;
    let mut answer = [0; 68];
    stream.read_exact(&mut answer).ok()?;
    Some(stream)
}

/// Waits until the other side has closed.
fn gone(mut stream: TcpStream) {
    let mut rest = [0; 256];
    while stream.read(&mut rest).is_ok_and(|length| length > 0) {}
}

fn refused(client: &mut Client, method: &str, params: &Value) -> String {
    let body = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 });
    let answer = client.post(&body);
    answer["error"].to_string()
}

#[test]
fn a_blocked_client_stays_out_until_the_list_lets_it_in() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &SMALL);
    let hash = hex(&torrent.info_hash);
    let list = scratch.path().join("list.gz");
    let other = place();
    std::fs::write(
        &list,
        gzip(&format!("# a list\nits: place:{other}-{other}\nnonsense\n")),
    )
    .unwrap();
    let set = format!("blocklist.files=[\"{}\"]", text(&list));
    let daemon = Daemon::start(&scratch, "home", &["--set", &set]);
    let mut client = daemon.client();
    daemon.running.wait("the bad line", |line| {
        line.contains("1 lines that are no range, such as 3 (\"nonsense\")")
            .then_some(())
    });
    let size =
        |client: &mut Client| client.classic("session-get", &json!({}))["blocklist-size"].clone();
    assert_eq!(size(&mut client), 1);

    std::fs::copy(torrent.dir.join("small"), daemon.downloads.join("small")).unwrap();
    client.classic("torrent-add", &json!({ "filename": text(&torrent.file) }));
    let scratch_dir = scratch.dir("theirs");
    let at = Some(other);
    let peers_of = [daemon.listen];
    let options = Options {
        at,
        peers: &peers_of,
        ..Options::default()
    };
    let mut theirs = Libtorrent::get(&torrent.file, &scratch_dir, &options);
    // It tries, and is refused, more than once.
    eventually("its attempts to be refused", || {
        let metrics = client.modern("metrics_get", &json!({}));
        (metrics["engine"]["incoming_refused"].as_u64()? >= 2).then_some(())
    });
    let theirs_at = theirs.address.to_string();
    assert_eq!(daemon.remote(&["pin", &hash, &theirs_at]).0, 1, "blocked");
    assert_eq!(peers(&mut client, &hash), 0);

    // A list that is none keeps the old one.
    let hang_up = |said: &str| {
        let mark = daemon.running.mark();
        daemon.running.signal(Signal::HUP);
        daemon
            .running
            .wait_after(mark, said, |line| line.contains(said).then_some(()));
    };
    std::fs::write(&list, "<html>\n").unwrap();
    hang_up("the block list stays as it was");
    assert_eq!(size(&mut client), 1);
    // One without it lets it in.
    assert!(come(other, &daemon, &torrent).is_none());
    std::fs::write(&list, "10.0.0.0/8\n203.0.113.7\n").unwrap();
    hang_up("list.gz: 2 ranges");
    theirs.running.tell(&format!("peer {}", daemon.listen));
    theirs.done();
    torrent.assert_same(&scratch_dir);
    drop(theirs);
    let peer = come(other, &daemon, &torrent).expect("let in");

    // And a ban closes it, over a restart too, until it is taken back.
    let (code, _) = daemon.remote(&["ban", &other.to_string(), "--minutes", "60"]);
    assert_eq!(code, 0);
    gone(peer);
    let linnet = daemon.stop();
    let daemon = Daemon::again(&scratch, linnet, "home", &["--set", &set]);
    let (_, out) = daemon.remote(&["ban", "--json"]);
    let bans: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(bans[0]["address"], other.to_string());
    assert!(
        (3000..=3600).contains(&bans[0]["seconds_left"].as_u64().unwrap()),
        "{bans}"
    );
    let (_, out) = daemon.remote(&["ban"]);
    assert!(out.contains("banned by a person"), "{out}");
    assert_eq!(daemon.remote(&["ban", "--remove", &other.to_string()]).0, 0);
    assert_eq!(daemon.remote(&["ban", "--remove", &other.to_string()]).0, 1);
    let mut client = daemon.client();
    let peer = come(other, &daemon, &torrent).expect("let in again");
    // A list that is read again closes whom it names, and switching it off lets them in.
    std::fs::write(&list, format!("{other}\n")).unwrap();
    assert_eq!(
        client.classic("blocklist-update", &json!({}))["blocklist-size"],
        1
    );
    gone(peer);
    client.classic("session-set", &json!({ "blocklist-enabled": false }));
    let peer = come(other, &daemon, &torrent).expect("the list is off");
    client.classic("session-set", &json!({ "blocklist-enabled": true }));
    gone(peer);
    assert!(come(other, &daemon, &torrent).is_none());
    daemon.stop();
}

#[test]
fn a_list_is_fetched_kept_and_read_again() {
    let scratch = Scratch::new();
    let server = Canned::start(Some(http(
        "200 OK",
        &gzip("1.2.3.0/24\n1.2.3.4\n5.6.7.8\n"),
    )));
    let daemon = Daemon::start(&scratch, "home", &[]);
    let mut client = daemon.client();
    let settings = json!({ "blocklist-url": format!("http://{}/list.gz", server.address) });
    client.classic("session-set", &settings);
    let (code, out) = daemon.remote(&["blocklist", "--update"]);
    assert_eq!((code, out.as_str()), (0, "3 ranges, on\n"));
    let linnet = daemon.stop();
    let daemon = Daemon::again(&scratch, linnet, "home", &[]);
    assert_eq!(daemon.remote(&["blocklist"]).1, "3 ranges, on\n", "kept");
    let mut client = daemon.client();
    let nothing = Canned::start(Some(http("200 OK", b"<html>sold out</html>\n")));
    let settings = json!({ "blocklist-url": format!("http://{}/secret", nothing.address) });
    client.classic("session-set", &settings);
    let said = refused(&mut client, "blocklist_update", &json!({}));
    assert!(said.contains("no line of it is a range"), "{said}");
    assert_eq!(daemon.remote(&["blocklist"]).1, "3 ranges, on\n");
    for url in ["ftp://a/b", "list.gz"] {
        let said = refused(&mut client, "session_set", &json!({ "blocklist_url": url }));
        assert!(
            said.contains("blocklist-url") && said.contains("http://"),
            "{said}"
        );
    }
    daemon.stop();
}

#[test]
fn a_file_that_is_not_there_at_the_start_is_an_error_that_names_it() {
    let scratch = Scratch::new();
    let linnet = support::Linnet::new(&scratch, "home");
    let mut command = linnet.command(&["daemon"]);
    command.args([
        "--set",
        "blocklist.files=[\"/nowhere/list\"]",
        "--set",
        "rpc.bind=",
    ]);
    command.args(["--set", &format!("peer.listen=[\"{}\"]", linnet.listen)]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("linnet: blocklist: /nowhere/list: entity not found"),
        "{said}"
    );
    assert!(!Path::new("/nowhere").exists());
}
