//! The core: what happens ([`message::Input`]) goes in, what is to be done ([`message::Output`]) comes out, and nothing else
//! moves it. It knows no clock, socket, file, thread or random source; the same engine runs under the operating system and
//! in the simulator.
//!
//! `handle` dispatches; the files hold one responsibility each: `manager` the sessions and the callers, `links` the
//! link manager's messages, `connect` the dials, `accept` the handshakes, `mse` the encryption handshakes around them, `trade`
//! the open streams, `transport` what they travel on, `close` their ends, `announce` the trackers, `datagram` what the UDP
//! sockets carry, `extended` the extensions' ids, `metadata` what magnets become, `pex` whom peers know, `dht` the DHT, `lsd`
//! what our network is told, `outside` where others see us, `blocks` who is blocked, `work` the finished jobs, `doubt` what
//! turns out not to be there, `ending` the shutdown, `pace` the turns of the announces, `farewell` who is told of an end;
//! `session/` and `table/` hold what they act on.

mod accept;
mod announce;
pub mod blocks;
mod choke;
mod close;
mod connect;
mod datagram;
pub mod dht;
mod doubt;
mod ending;
pub mod extended;
mod farewell;
pub mod library;
pub mod limits;
mod links;
mod lsd;
mod manager;
pub mod message;
pub mod metadata;
mod mse;
pub mod outside;
pub mod pace;
pub mod pex;
pub mod priority;
pub mod rate;
pub mod session;
pub mod sessions;
pub mod settings;
pub mod shared;
pub mod slots;
pub mod snapshot;
mod survey;
pub mod table;
#[cfg(test)]
mod tests;
pub mod timers;
mod trade;
mod transport;
pub mod utp;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::buffer::Share;
use crate::ids::{InfoHash, PeerId, SessionId, StreamId};
use crate::metrics::EngineCounters;
use crate::rng::Rng;
use crate::time::Instant;

use announce::{Connections, Transactions};
use dht::DhtNode;
use ending::Ending;
use farewell::Farewells;
use library::Library;
use message::{Input, Output, Transport};
use pace::Pace;
use sessions::Sessions;
use settings::Settings;
use shared::{Shared, TimerKey};
use survey::Surveys;
use table::Table;
use table::link::LinkState;

/// A BitTorrent engine without a world.
#[derive(Debug)]
pub struct Engine {
    shared: Shared,
    table: Table,
    sessions: Sessions,
    ending: Option<Ending>,
    transactions: Transactions,
    connections: Connections,
    /// Which announces go out now, and which wait.
    pace: Pace,
    /// Our node in the DHT.
    dht: DhtNode,
    /// Torrents that are gone, whose trackers are being told.
    farewells: Farewells,
    /// Accepted streams, oldest first: all that have not said whose peers they are, and some that have.
    newcomers: VecDeque<StreamId>,
    library: Library,
    /// Streams whose handshakes wait for a torrent to wake; at most [`settings::WAITING_MAX`] each.
    waiting: BTreeMap<SessionId, Vec<StreamId>>,
    surveys: Surveys,
    /// Bytes that the fetches of metadata hold together.
    metadata_held: usize,
    /// What is read of uTP streams that were held; kept so that nothing is allocated.
    scratch: Vec<u8>,
    /// Encryption handshakes whose expensive steps wait.
    exchanges: mse::Exchanges,
    lsd: lsd::Lsd,
    /// Block lists that are being read.
    reads: blocks::Reads,
}

impl Engine {
    /// An engine with nothing to do; everything it will ever decide follows from `rng` and its inputs.
    #[must_use]
    pub fn new(settings: Settings, mut rng: Rng) -> Self {
        let table = Table::new(&mut rng.fork());
        let library = Library::new(&settings.config);
        let dht = DhtNode::new(&settings.config.discovery, &rng);
        let mut engine = Self {
            shared: Shared::new(settings, rng),
            table,
            sessions: Sessions::default(),
            ending: None,
            transactions: Transactions::default(),
            connections: Connections::default(),
            pace: Pace::default(),
            dht,
            farewells: Farewells::default(),
            newcomers: VecDeque::new(),
            library,
            waiting: BTreeMap::new(),
            surveys: Surveys::default(),
            metadata_held: 0,
            scratch: Vec::new(),
            exchanges: mse::Exchanges::default(),
            lsd: lsd::Lsd::default(),
            reads: blocks::Reads::default(),
        };
        engine.limits_refresh();
        engine.lsd_enable(engine.shared.settings.config.discovery.lsd);
        engine.blocks_enable(engine.shared.settings.config.blocklist.enabled);
        engine
    }

    /// Something has happened at `now`. Outputs are waiting afterwards.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.shared.now = now;
        let turn_ends = matches!(input, Input::Tick);
        match input {
            Input::Tick => {}
            Input::Message { message, reply } => self.on_message(message, reply),
            Input::Listening { addresses } => {
                self.shared.listening = addresses;
                self.dht_hold();
            }
            Input::Incoming { socket, remote } => self.on_incoming(socket, remote),
            Input::Connected { stream } => {
                if self.wins(stream, Transport::Tcp) {
                    self.on_connected(stream);
                }
            }
            Input::Received { stream, bytes } => self.on_received(stream, bytes),
            Input::Sent {
                stream,
                bytes,
                blocks,
            } => {
                let came_back = !blocks.is_empty();
                for block in blocks.drain(..) {
                    self.shared.pool.put(Share::Send, block);
                }
                self.on_sent(stream, bytes);
                if came_back {
                    self.serve_waiting();
                }
            }
            Input::Lost { stream, why } => self.on_lost(stream, why),
            Input::Datagram { from, bytes } => self.on_datagram(from, bytes),
            Input::Datagrams {
                from,
                segment,
                bytes,
            } => bytes
                .chunks_mut(segment.max(1))
                .for_each(|bytes| self.on_datagram(from, bytes)),
            Input::Done(done) => self.on_done(done),
            Input::Stored(stored) => self.on_stored(stored),
            Input::Fetched(fetched) => self.on_fetched(fetched),
        }
        while let Some(key) = self.shared.timers.pop_due(now) {
            self.on_timer(key);
        }
        self.hear_utp();
        if turn_ends {
            self.flush_utp();
        }
        self.pace_announces();
        self.run_queue();
        self.feed_starved();
        self.grant();
        self.tell_links();
    }

    /// What is to be done next; drained to `None` after each input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    /// When a [`Input::Tick`] is due, if nothing happens before. It is due at once while uTP has something to send: what a turn
    /// brings shares packets, and one acknowledgement.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.shared.utp.is_marked() {
            return Some(self.shared.now);
        }
        self.shared.timers.next_deadline()
    }

    /// What was counted so far, and how many there are of what now.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        use message::SessionState;
        let [
            links_disconnected,
            links_connecting,
            links_established,
            links_ignored,
        ] = self.table.links_by_state().map(u64::from);
        let sessions = |state| {
            self.sessions
                .iter()
                .filter(|(_, session)| session.state() == state)
                .count() as u64
        };
        let utp = self.shared.utp.counts();
        EngineCounters {
            utp_received_bytes: utp.received_bytes,
            utp_sent_bytes: utp.sent_bytes,
            utp_connections: utp.connections,
            links_total: self.table.links.iter().count() as u64,
            links_disconnected,
            links_connecting,
            links_established,
            links_ignored,
            peers: self
                .table
                .swarms
                .iter()
                .map(|(_, swarm)| swarm.streams.len() as u64)
                .sum(),
            sessions_checking: sessions(SessionState::Checking),
            sessions_downloading: sessions(SessionState::Downloading),
            sessions_seeding: sessions(SessionState::Seeding),
            sessions_parked: self.sessions.parked_len() as u64,
            sessions_stopped: sessions(SessionState::Stopped),
            sessions_paused: sessions(SessionState::Paused),
            sessions_queued: sessions(SessionState::Queued),
            sessions_error: sessions(SessionState::Error),
            blocks_taken: self.shared.pool.taken() as u64,
            payload_wasted_bytes: self
                .sessions
                .iter()
                .map(|(_, session)| session.wasted)
                .sum(),
            ..self.dht_counters()
        }
    }

    /// Panics where the tables are not what their docs say. Walks everything: for tests and simulations, between inputs.
    pub fn check(&self) {
        self.table.check();
        self.shared.utp.check();
        if !self.is_ending() {
            let sessions = self.sessions.iter();
            self.shared
                .queue
                .check(sessions.map(|(_, session)| session));
        }
        self.check_limits();
        for (id, session) in self.sessions.iter() {
            let swarm = self.table.swarms.get(session.swarm);
            if let Some(swarm) = swarm {
                assert_eq!(swarm.session, Some(id), "a session's swarm is its own");
            } else {
                assert!(self.is_ending(), "session {id} has lost its swarm");
            }
        }
        let held = self
            .sessions
            .iter_parked()
            .filter_map(|(_, parked)| parked.fetch.as_ref());
        let held: usize = held.map(|fetch| fetch.held()).sum();
        assert_eq!(held, self.metadata_held, "bytes of metadata that are held");
        for (id, parked) in self.sessions.iter_parked() {
            let swarm = self.table.swarms.get(parked.swarm);
            let of = swarm.and_then(|swarm| swarm.session);
            assert!(
                of == Some(id) || self.is_ending(),
                "a parked torrent's swarm is its own"
            );
        }
        for (id, swarm) in self.table.swarms.iter() {
            let is_there = |session| {
                self.sessions.get(session).is_some() || self.sessions.parked(session).is_some()
            };
            assert!(
                swarm.session.is_none_or(is_there),
                "swarm {id}'s session is gone"
            );
        }
    }

    /// Every link and where it stands: for checks between inputs.
    pub fn links(&self) -> impl Iterator<Item = (SocketAddr, LinkState)> {
        let links = self.table.links.iter();
        links.map(|(_, link)| (link.address(), link.state()))
    }

    /// Every peer that subscribers were told of and not of its end, by torrent: those on open streams, and those that were lost
    /// and are about to be met again on another stream. For checks between inputs.
    pub fn peers(&self) -> impl Iterator<Item = (InfoHash, PeerId)> {
        self.table.streams.iter().flat_map(|(_, stream)| {
            let swarm = stream.swarm.and_then(|id| self.table.swarms.get(id));
            let open = stream.peer().zip(swarm);
            let open = open.map(|(peer, swarm)| (swarm.info_hash, peer.id));
            let missed = stream.farewell.as_ref();
            let missed = missed.map(|farewell| (farewell.event.info_hash, farewell.event.peer_id));
            open.into_iter().chain(missed)
        })
    }

    fn on_timer(&mut self, key: TimerKey) {
        match key {
            TimerKey::Stream(stream) => self.on_stream_timer(stream),
            TimerKey::Utp(connection) => self.on_utp_timer(connection),
            TimerKey::Commit(session) => self.on_commit_timer(session),
            TimerKey::Choke(session) => self.on_choke_timer(session),
            TimerKey::Connect(swarm) => self.connect_more(swarm),
            TimerKey::Trackers(session) => self.announce(session),
            TimerKey::Pace => self.on_pace_timer(),
            TimerKey::Save(session) => self.on_save_timer(session),
            TimerKey::Stats(session) => self.on_stats_timer(session),
            TimerKey::DiskRetry(session) => self.on_disk_retry(session),
            TimerKey::Park(session) => self.on_park_timer(session),
            TimerKey::Pex(session) => self.pex_round(session),
            TimerKey::Metadata(session) => self.metadata_ask(session),
            TimerKey::Limits => self.on_limits_timer(),
            TimerKey::Dht => self.dht_turn(),
            TimerKey::Exchange => self.on_exchange_timer(),
            TimerKey::Lsd => self.on_lsd_timer(),
            TimerKey::Bans => self.on_bans_timer(),
            TimerKey::Farewell => self.on_farewell_over(),
            TimerKey::Shutdown => self.on_budget_spent(),
        }
    }
}
