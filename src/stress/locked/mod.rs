//! The twin: the link table behind nested reader-writer locks, as the source design of the link manager has it.
//!
//! Three locks guard three tables: the swarms, the links, the streams. Each swarm and each link has a lock of its own beside
//! that, so that work on different links can go on at once. They are taken in one order, always:
//!
//! ```text
//! swarms ─▶ one swarm ─▶ links ─▶ one link ─▶ streams
//! ```
//!
//! What happens often (a stream more or less, a verdict, a query) takes the swarms shared, and exclusively only what it
//! changes. What happens seldom and reaches far (a swarm goes, a link is deleted, a stream is replaced) takes the swarms
//! exclusively, which nobody can pass, and has everything to itself.
//!
//! Whoever changes a link holds the links shared, so whoever holds them exclusively knows that no link changes: that is how
//! one that nothing needs any more can be forgotten.
//!
//! It does what the engine does for swarms without a session, message for message, and is used in this harness alone.

mod often;
mod query;
mod record;
mod seldom;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::config::Config;
use crate::engine::message::{Answer, Carrier, Message, Refusal, StreamName};
use crate::ids::{ConnectionId, InfoHash, StreamId, SwarmId};
use crate::time::{Duration, Instant};

use record::{Link, Swarm};

/// How long an address is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// That failed a handshake.
    pub ignore: Duration,
}

impl Times {
    /// Those that the engine takes from `config`.
    #[must_use]
    pub const fn of(config: &Config) -> Self {
        Self {
            ignore: Duration::from_secs(config.links.ignore_s),
        }
    }
}

/// Swarms by id and by info-hash.
#[derive(Debug, Default)]
struct Swarms {
    by_id: HashMap<SwarmId, Arc<RwLock<Swarm>>>,
    by_hash: HashMap<InfoHash, SwarmId>,
}

/// Links by address.
type Links = HashMap<SocketAddr, Arc<RwLock<Link>>>;

/// Where each connection hangs, and which swarm it names.
type Streams = HashMap<ConnectionId, (SocketAddr, Option<SwarmId>)>;

/// The table. All of it may be used from any thread.
#[derive(Debug)]
pub struct Locked {
    times: Times,
    swarms: RwLock<Swarms>,
    links: RwLock<Links>,
    streams: RwLock<Streams>,
    /// For ids.
    last: AtomicU32,
}

impl Locked {
    /// An empty one.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self {
            times,
            swarms: RwLock::default(),
            links: RwLock::default(),
            streams: RwLock::default(),
            last: AtomicU32::new(0),
        }
    }

    /// Carries out a message of the link manager; `now` is read where it matters.
    pub fn apply(&self, message: &Message, now: impl Fn() -> Instant) -> Answer {
        let result = match *message {
            Message::LinkCreate { address, swarm } => self.link_create(address, swarm, false),
            Message::Pin { address, swarm } => self.link_create(address, swarm, true),
            Message::Unpin { address, swarm } => self.unpin(address, swarm),
            Message::StreamAdd {
                address,
                direction,
                swarm,
                carrier: Carrier::Outside(connection),
            } => self.stream_add(address, direction, swarm, connection),
            Message::StreamDelete { stream } => {
                self.stream_delete(connection_of(stream));
                Ok(Answer::Done)
            }
            Message::Account {
                address,
                swarm,
                verdict,
            } => {
                self.account(address, swarm, verdict, now);
                Ok(Answer::Done)
            }
            Message::LinkUpdate { address, ip, port } => {
                self.link_update(address, SocketAddr::new(ip, port))
            }
            Message::LinkDelete {
                address,
                force,
                preserve,
            } => {
                self.link_delete(address, force, preserve);
                Ok(Answer::Done)
            }
            Message::StreamReplace {
                old,
                new,
                direction,
            } => self.stream_replace(connection_of(old), connection_of(new), direction, now),
            Message::SwarmAdd {
                info_hash,
                links_min,
            } => self.swarm_add(info_hash, links_min),
            Message::SwarmRemove { swarm } => self.swarm_remove(swarm),
            Message::SwarmSwitch { swarm, on } => self.swarm_switch(swarm, on),
            Message::SwarmFind { info_hash } => self.swarm_find(info_hash),
            Message::LinkFind { address, swarm } => self.link_find(address, swarm),
            Message::LinksCount { swarm } => self.links_count(swarm),
            Message::LinksShow {
                swarm,
                established_only,
            } => self.links_show(swarm, established_only, now),
            Message::SwarmCondition { swarm } => self.swarm_condition(swarm),
            Message::IgnoredShow { swarm } => self.ignored_show(swarm, now),
            // Not of the link table, or of streams that a loop carries: there is none here.
            _ => Err(Refusal::WrongState),
        };
        result.unwrap_or_else(Answer::Refused)
    }

    /// Links that are disconnected, connecting, established, ignored: counted one by one.
    #[must_use]
    pub fn links_by_state(&self) -> [u32; 4] {
        let mut counts = [0; 4];
        #[allow(clippy::iter_over_hash_type, reason = "a sum has no order")]
        for link in read(&self.links).values() {
            counts[read(link).state().ordinal()] += 1;
        }
        counts
    }

    fn number(&self) -> u32 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }
}

/// A stream is called what its caller calls it.
const fn connection_of(stream: StreamName) -> ConnectionId {
    match stream {
        StreamName::Stream(id) => ConnectionId(id.to_word()),
        StreamName::Outside(connection) => connection,
    }
}

const fn stream_of(connection: ConnectionId) -> StreamId {
    StreamId::from_word(connection.0)
}

/// Nothing that is done under a lock can leave a table half changed, so a panic elsewhere is no reason to stop.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
