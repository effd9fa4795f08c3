//! A daemon with many torrents of one tracker each of HTTP and UDP: what the trackers see of its start and its end.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    dead_code,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::collections::BTreeMap;

use serde_json::json;
use sha1::{Digest, Sha1};

use support::rpc::Daemon;
use support::tracker::Counting;
use support::{Scratch, eventually, is_long};

const COUNT: usize = 600;
const COUNT_LONG: usize = 2000;

/// A whole torrent of one small file, with its data in `dir`; the torrent file.
fn small(dir: &std::path::Path, number: usize, url: &str) -> Vec<u8> {
    let name = format!("f{number:05}");
    let data = format!("the data of {number:05}");
    std::fs::write(dir.join(&name), &data).unwrap();
    let mut torrent = format!(
        "d8:announce{}:{url}4:infod6:lengthi{}e4:name{}:{name}12:piece lengthi16384e6:pieces20:",
        url.len(),
        data.len(),
        name.len()
    )
    .into_bytes();
    torrent.extend(Sha1::digest(data.as_bytes()));
    torrent.extend(b"ee");
    torrent
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = [0, 1, 2].map(|at| u32::from(three.get(at).copied().unwrap_or(0)));
        let bits = group[0] << 16 | group[1] << 8 | group[2];
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) & 63;
            let is_there = at <= three.len();
            text.push(if is_there {
                DIGITS[digit as usize].into()
            } else {
                '='
            });
        }
    }
    text
}

/// Everyone has said `event` once, and nothing else but what is in `before`.
fn each_once(tracker: &Counting, event: &str, times: usize, count: usize) -> bool {
    let told = tracker.told();
    let mut said: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (info_hash, _) in told.iter().filter(|(_, one)| one == event) {
        *said.entry(info_hash).or_default() += 1;
    }
    assert!(said.values().all(|own| *own <= times), "{event} too often");
    said.len() == count && said.values().all(|own| *own == times)
}

#[test]
fn every_torrent_is_announced_once_and_taken_leave_of_once() {
    let count = if is_long() { COUNT_LONG } else { COUNT };
    let scratch = Scratch::new();
    let (http, udp) = (Counting::http(), Counting::udp());
    // Time enough for a machine that is busy with something else.
    let more = ["--set", "shutdown.budget_ms=8000"];
    let daemon = Daemon::start(&scratch, "home", &more);
    let downloads = daemon.downloads.clone();
    let mut client = daemon.client();
    for number in 0..count {
        let url = if number % 2 == 0 { &http.url } else { &udp.url };
        let torrent = base64(&small(&downloads, number, url));
        client.classic("torrent-add", &json!({ "metainfo": torrent }));
    }
    let all = |event: &str, times: usize| {
        let both = [&http, &udp].map(|one| each_once(one, event, times, count / 2));
        (both == [true, true]).then_some(())
    };
    eventually("every torrent to be started", || all("started", 1));
    let linnet = daemon.stop();
    eventually("every torrent to be stopped", || all("stopped", 1));
    // One connection carries many announces.
    assert!(http.connections() < count / 8, "{}", http.connections());
    // They rest now, from the first moment.
    let before = http.connections();
    let daemon = Daemon::again(&scratch, linnet, "home", &more);
    eventually("every torrent to be started again", || all("started", 2));
    let started = http.connections() - before;
    assert!(started < count / 8, "{started}");
    // One that is removed may be added again at once, whatever its tracker does.
    http.hush();
    let mut client = daemon.client();
    let torrent = base64(&small(&downloads, 0, &http.url));
    let again = json!({ "metainfo": torrent });
    let hash = client.classic("torrent-add", &again)["torrent-duplicate"]["hashString"].take();
    client.classic("torrent-remove", &json!({ "ids": [hash] }));
    let added = client.classic("torrent-add", &again);
    assert_eq!(added["torrent-added"]["hashString"], hash);
    daemon.stop();
    let is_told = || each_once(&udp, "stopped", 2, count / 2).then_some(());
    eventually("the other tracker to be told", is_told);
}
