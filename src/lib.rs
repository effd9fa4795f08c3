//! Linnet: a BitTorrent engine with one thread in the middle.
//!
//! A single actor thread owns every link, every peer and every torrent; nothing in it is locked. What it decides is a pure
//! function of messages, readiness, finished jobs and time, so the same engine runs under the operating system
//! ([`host`]) and under a simulated world ([`sim`]), on one code path.
//!
//! ```text
//!                  main: signals ──┐
//!  callers ────────────────────────┤ messages: 4 bounded lanes            ┌── workers: disk + hash (fixed pool)
//!  command line ───────────────────┤ ────────────▶  ACTOR  ── jobs ─────▶ ├── store: one thread, SQLite
//!                                  ┘ ◀── oneshot    owns all  ◀─ done ─── └── gateway: HTTP fetches, names
//!                                        replies    ▲ mio: TCP, UDP, waker
//! ```
//!
//! # Where to begin
//!
//! An embedding program starts a [`runtime::Runtime`] and talks to its [`actor::handle::Handle`]: messages in, answers and
//! events out. [`engine::message`] is the contract on one page: everything that can happen to the engine, and everything it
//! can ask for.
//!
//! # Layers
//!
//! Arrows point one way, and `tests/tidy.rs` checks them:
//!
//! ```text
//! ids time rng buffer metrics events config ◀─ hash ◀─ codec ◀─ engine ◀─ actor ◀─ worker ◀─ gateway host sim ◀─ runtime ◀─ stress ◀─ cli main
//! ```
//!
//! | layer | what it owns |
//! | --- | --- |
//! | [`codec`] | bytes ⇄ values: pure, total on any input, memory bounded by the input |
//! | [`hash`] | SHA-1 of many messages at once, in vector lanes |
//! | [`engine`] | every decision: sessions, the link and peer table, requests, choking, blame, progress, shutdown |
//! | [`actor`] | the loop: mailbox, replies, readiness, unsent bytes, subscribers |
//! | [`worker`] | whatever blocks: files, hashing, the store |
//! | [`gateway`] | whatever speaks HTTP, and names: fetches for the engine, the RPC of a daemon |
//! | [`host`] | sockets and files under the operating system |
//! | [`sim`] | the same under one virtual clock, from one seed |
//! | [`stress`] | loads, and the lock-based twin that the actor is measured against |
//!
//! `codec` and `engine` know no clock, socket, file, thread, lock or random source: time, chance, bytes and finished jobs are
//! arguments.
//!
//! # Protocols
//!
//! BEP 3 (peer protocol, torrent files, HTTP trackers), 5, 32, 33, 42, 43, 44 and 51 (DHT), 6 (fast extension), 7 and 23 (compact
//! peers), 9 and 53 (magnet links), 10 (extension protocol), 11 (peer exchange), 12 (tracker tiers), 14 (local service discovery),
//! 15 and 41 (UDP trackers), 20 (peer ids), 24 (external address), 27 (private torrents), 29 (uTP), 31 (tracker retry), 40 (peer
//! priority), 47 (pad files, links, attributes), 54 (lost pieces), and encrypted streams (MSE).

pub mod actor;
pub mod aligned;
pub mod buffer;
pub mod cli;
pub mod codec;
pub mod config;
pub mod engine;
pub mod events;
pub mod gateway;
pub mod hash;
pub mod hooks;
pub mod host;
pub mod ids;
pub mod metrics;
pub mod rng;
pub mod runtime;
pub mod sim;
pub mod stress;
pub mod time;
pub mod worker;
