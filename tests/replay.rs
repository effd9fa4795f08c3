//! The fuzz targets on stable: every case of the committed corpus, every beginning of it, and a few seeded mutations.

#![allow(
    clippy::disallowed_methods,
    reason = "a test at the edge reads its corpus from disk"
)]
#![allow(
    unreachable_pub,
    reason = "the fuzz targets are public for their other user, cargo-fuzz"
)]

use std::fs;
use std::path::Path;

use linnet::rng::Rng;

#[path = "../fuzz/targets/announce_http.rs"]
mod announce_http;
#[path = "../fuzz/targets/announce_udp.rs"]
mod announce_udp;
#[path = "../fuzz/targets/bencode.rs"]
mod bencode;
#[path = "../fuzz/targets/blocklist.rs"]
mod blocklist;
#[path = "../fuzz/targets/engine.rs"]
mod engine;
#[path = "../fuzz/targets/extension.rs"]
mod extension;
#[path = "../fuzz/targets/handshake.rs"]
mod handshake;
#[path = "../fuzz/targets/krpc.rs"]
mod krpc;
#[path = "../fuzz/targets/lsd.rs"]
mod lsd;
#[path = "../fuzz/targets/metadata.rs"]
mod metadata;
#[path = "../fuzz/targets/metainfo.rs"]
mod metainfo;
#[path = "../fuzz/targets/mse.rs"]
mod mse;
#[path = "../fuzz/targets/pex.rs"]
mod pex;
#[path = "../fuzz/targets/utp.rs"]
mod utp;
#[path = "../fuzz/targets/wire.rs"]
mod wire;

const MUTATIONS: u64 = 200;

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut cases: Vec<_> = fs::read_dir(&corpus)
        .expect("the corpus is committed")
        .map(|entry| entry.expect("readable").path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "{target} has a corpus");
    for case in cases {
        let bytes = fs::read(&case).expect("readable");
        eprintln!("{}", case.display()); // Shown only when a case fails: the last one named is the culprit.
        run(&bytes);
        for cut in 0..bytes.len().min(512) {
            run(&bytes[..cut]);
        }
        for seed in 0..MUTATIONS {
            run(&mutate(&bytes, &mut Rng::new(seed)));
        }
    }
}

/// A few bytes changed, repeated, or taken out.
fn mutate(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let spice = b"0123456789-:ilde./\\\x00\xff";
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.index(4) {
        let at = rng.index(bytes.len());
        let end = (at + rng.index(8)).min(bytes.len());
        match rng.below(3) {
            0 if at < bytes.len() => bytes[at] = spice[rng.index(spice.len())],
            1 => drop(bytes.drain(at..end)),
            _ => bytes.extend_from_within(at..end),
        }
    }
    bytes
}

#[test]
fn bencode_replays() {
    replay("bencode", bencode::run);
}

#[test]
fn lsd_replays() {
    replay("lsd", lsd::run);
}

#[test]
fn metainfo_replays() {
    replay("metainfo", metainfo::run);
}

#[test]
fn wire_replays() {
    replay("wire", wire::run);
}

#[test]
fn handshake_replays() {
    replay("handshake", handshake::run);
}

#[test]
fn mse_replays() {
    replay("mse", mse::run);
}

#[test]
fn extension_replays() {
    replay("extension", extension::run);
}

#[test]
fn pex_replays() {
    replay("pex", pex::run);
}

#[test]
fn metadata_replays() {
    replay("metadata", metadata::run);
}

#[test]
fn krpc_replays() {
    replay("krpc", krpc::run);
}

#[test]
fn announce_http_replays() {
    replay("announce_http", announce_http::run);
}

#[test]
fn announce_udp_replays() {
    replay("announce_udp", announce_udp::run);
}

#[test]
fn utp_replays() {
    replay("utp", utp::run);
}

#[test]
fn blocklist_replays() {
    replay("blocklist", blocklist::run);
}

#[test]
fn engine_replays() {
    replay("engine", engine::run);
}
