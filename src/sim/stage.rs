//! A few machines for one scene: a test says who is there, what callers ask of them and when a cable is pulled, and looks at
//! what each was told. Latency follows from the seed; nothing else is left to chance.
//!
//! After every turn the engine's tables and its subscriber's knowledge are compared, as in a whole [`world`](super::world).

use std::cell::RefCell;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::actor::bus::{Filter, Subscription};
use crate::actor::handle::Handle;
use crate::actor::mailbox::{Doorbell, Options as MailboxOptions};
use crate::actor::{Loop, Wanted};
use crate::config::{Backpressure, Config, Encryption};
use crate::engine::Engine;
use crate::engine::message::{Answer, LinksCount, Message, SessionAdd, SessionSnapshot};
use crate::engine::settings::Settings;
use crate::engine::table::link::LinkState;
use crate::events::Event;
use crate::ids::{InfoHash, SessionId, SwarmId};
use crate::metrics::EngineCounters;
use crate::rng::Rng;
use crate::time::{Clock, Duration, Instant};

use super::common::{Common, Node, TRACKER};
use super::disk::Disk;
use super::faults::{DiskFaults, Faults, NetFaults};
use super::host::SimHost;
use super::net::{Net, NodeIndex};
use super::probe::Probe;
use super::torrent::Torrent;
use super::watch::Watch;

/// Where the second torrent of a machine is that does not share the first one's files.
pub(super) const TWIN_ROOT: &str = "/other";

/// How long a caller of a scene waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is there.
#[derive(Debug, Default)]
pub struct Role {
    /// Whether it has the whole torrent.
    pub seeder: bool,
    /// Whether nobody can dial it.
    pub deaf: bool,
    /// Whether it asks the tracker.
    pub announces: bool,
    /// Whether it is in the DHT, into which the first machine leads.
    pub dht: bool,
    /// Whether it tells its network, which all of the scene are on, what it has.
    pub lsd: bool,
    /// Uplinks it should have; 0 is as configured.
    pub links_min: u32,
    /// Bytes a second that it can send; 0 is 50 000.
    pub uplink: u64,
    /// Its piece buffers in MiB; 0 is 1.
    pub cache_mib: u32,
    /// Whether it encrypts, where that is not as configured by default.
    pub encryption: Option<Encryption>,
}

/// One machine of the scene.
#[derive(Debug)]
struct Player {
    turns: Option<Loop<SimHost, Probe<Engine>>>,
    handle: Handle,
    watch: Watch,
    events: Subscription,
    told: Vec<Event>,
    session: SessionId,
    swarm: SwarmId,
}

/// Where a machine is.
fn machine_ip(node: NodeIndex) -> IpAddr {
    let last = u8::try_from(node + 1).expect("a scene is small");
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// A scene.
#[derive(Debug)]
pub struct Stage {
    common: Rc<RefCell<Common>>,
    players: Vec<Player>,
    torrent: Arc<Torrent>,
    rng: Rng,
}

impl Stage {
    /// An empty scene: one way from a machine to the backbone takes up to `latency`, the torrent has about `bytes`.
    #[must_use]
    pub fn new(seed: u64, latency: Duration, bytes: u64) -> Self {
        let mut rng = Rng::new(seed);
        let trackers = vec![vec![format!("http://{TRACKER}/announce")]];
        let torrent = Arc::new(Torrent::draw(bytes, trackers, &mut rng));
        let faults = Faults {
            net: NetFaults {
                latency_micros_max: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
                ..NetFaults::default()
            },
            disk: DiskFaults {
                delay_micros_max: 1000,
                ..DiskFaults::default()
            },
            ..Faults::default()
        };
        let net = Net::new(faults.net, rng.fork());
        let common = Common::new(net, Arc::clone(&torrent), faults, rng.fork());
        Self {
            common: Rc::new(RefCell::new(common)),
            players: Vec::new(),
            torrent,
            rng,
        }
    }

    /// Another machine, with its torrent taken on and looked through.
    pub fn add(&mut self, role: &Role) -> NodeIndex {
        let node = self.players.len();
        let mut config = Config::default();
        config.workers.cache_mib = role.cache_mib.max(1);
        config.discovery.trackers = role.announces;
        config.peer.encryption = role.encryption.unwrap_or(config.peer.encryption);
        config.discovery.lsd = role.lsd;
        if role.links_min > 0 {
            config.links.min_per_swarm = role.links_min;
        }
        config.discovery.dht_bootstrap = vec![format!("{}:6881", machine_ip(0))];
        let mut settings = Settings::new(&config, 4, 2, &mut self.rng.fork());
        settings.outside = role.dht;
        let engine = Engine::new(settings, self.rng.fork());
        let core = Probe::new(engine, node, Rc::clone(&self.common));
        let host = SimHost::new(node, Rc::clone(&self.common));
        let uplink = if role.uplink > 0 { role.uplink } else { 50_000 };
        let address = {
            let common = &mut *self.common.borrow_mut();
            common
                .net
                .add_machine(SocketAddr::new(machine_ip(node), 6881), uplink);
            common.net.power_on(node);
            if role.deaf {
                common.net.deafen(node);
            }
            let mut disk = Disk::new(common.faults.disk, u64::MAX, self.rng.fork());
            if role.seeder {
                self.torrent.put_on(&mut disk);
            }
            common.nodes.push(Node::new(disk));
            common.net.address(node)
        };
        let mailbox = MailboxOptions {
            capacity: 64,
            policy: Backpressure::Reject,
            patience: Duration::ZERO,
            clock: Clock::simulated(),
            stamped: false,
        };
        let doorbell = Arc::new(Doorbell::new(Box::new(|| {})));
        let (turns, handle) = Loop::new(host, core, vec![address], mailbox, doorbell);
        self.players.push(Player {
            turns: Some(turns),
            watch: Watch::new(&handle),
            events: handle.subscribe(Filter::ALL),
            handle,
            told: Vec::new(),
            session: SessionId::new(0, 0),
            swarm: SwarmId::new(0, 0),
        });
        let add = SessionAdd {
            metainfo: Arc::clone(&self.torrent.metainfo),
            root: self.torrent.layout.root.clone(),
            download: !role.seeder,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        };
        let session = match self.ask(node, Message::SessionAdd(Box::new(add))) {
            Answer::Session(session) => session,
            other => unreachable!("a new torrent is taken on: {other:?}"),
        };
        let info_hash = self.torrent.metainfo.info_hash;
        let swarm = match self.ask(node, Message::SwarmFind { info_hash }) {
            Answer::Swarm(swarm) => swarm,
            other => unreachable!("a session has a swarm: {other:?}"),
        };
        (self.players[node].session, self.players[node].swarm) = (session, swarm);
        self.run_for(Duration::from_secs(2));
        node
    }

    /// Another torrent like the first, which nobody has anything of: `node` takes it on. Its session and its swarm.
    pub fn add_torrent(&mut self, node: NodeIndex) -> (SessionId, SwarmId) {
        self.add_another(node, TWIN_ROOT.into())
    }

    /// The same of a torrent whose files are those of the first: a machine that has them seeds it too.
    pub fn add_twin(&mut self, node: NodeIndex) -> (SessionId, SwarmId) {
        self.add_another(node, self.torrent.layout.root.clone())
    }

    fn add_another(&mut self, node: NodeIndex, root: PathBuf) -> (SessionId, SwarmId) {
        let mut metainfo = (*self.torrent.metainfo).clone();
        metainfo.info_hash = InfoHash([9; 20]);
        metainfo.trackers.clear();
        let info_hash = metainfo.info_hash;
        let add = SessionAdd {
            metainfo: Arc::new(metainfo),
            root,
            download: true,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        };
        let session = self.ask(node, Message::SessionAdd(Box::new(add)));
        let swarm = self.ask(node, Message::SwarmFind { info_hash });
        self.run_for(Duration::from_secs(2));
        match (session, swarm) {
            (Answer::Session(session), Answer::Swarm(swarm)) => (session, swarm),
            other => unreachable!("another torrent is taken on: {other:?}"),
        }
    }

    /// Links of a machine that are established.
    #[must_use]
    pub fn established(&self, node: NodeIndex) -> usize {
        let turns = self.players[node].turns.as_ref();
        let links = turns
            .into_iter()
            .flat_map(|turns| turns.core().engine().links());
        links
            .filter(|(_, state)| *state == LinkState::Established)
            .count()
    }

    /// Bytes that a machine's process has read from its streams, and written to them.
    #[must_use]
    pub fn passed(&self, node: NodeIndex) -> (u64, u64) {
        self.common.borrow().net.passed(node)
    }

    /// From now on the network does this wrong.
    pub fn set_faults(&mut self, faults: NetFaults) {
        self.common.borrow_mut().net.set_faults(faults);
    }

    /// The session and the swarm of a machine's first torrent.
    #[must_use]
    pub fn first(&self, node: NodeIndex) -> (SessionId, SwarmId) {
        let player = &self.players[node];
        (player.session, player.swarm)
    }

    /// Bytes of the torrent.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.torrent.size()
    }

    /// Where a machine listens.
    #[must_use]
    pub fn address(&self, node: NodeIndex) -> SocketAddr {
        self.common.borrow().net.address(node)
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.common.borrow().now
    }

    /// Announces the tracker has answered.
    #[must_use]
    pub fn announces(&self) -> u64 {
        self.common.borrow().tracker.announces
    }

    /// How long until the tracker wants to hear again, in seconds.
    pub fn set_tracker_interval(&mut self, seconds: u32) {
        self.common.borrow_mut().tracker.interval = seconds;
    }

    /// The process of a machine is gone; its kernel closes what it had.
    pub fn kill(&mut self, node: NodeIndex) {
        self.players[node].turns = None;
        let common = &mut *self.common.borrow_mut();
        common.net.kill(common.now, node);
        common.nodes[node].end_process();
    }

    /// Breaks off one of a machine's streams, if it has any.
    pub fn break_one(&mut self, node: NodeIndex) {
        let common = &mut *self.common.borrow_mut();
        common.net.break_one(common.now, node);
    }

    /// A caller of `node` names a peer.
    pub fn pin(&mut self, node: NodeIndex, other: NodeIndex) {
        let (address, swarm) = (self.address(other), self.players[node].swarm);
        self.tell(node, Message::Pin { address, swarm });
    }

    /// Says something, and does not wait.
    ///
    /// # Panics
    /// When it is not queued.
    pub fn tell(&mut self, node: NodeIndex, message: Message) {
        let told = self.players[node].handle.tell(message);
        assert!(told.is_ok(), "{told:?}");
    }

    /// Asks, and waits for the answer.
    ///
    /// # Panics
    /// When there is none.
    pub fn ask(&mut self, node: NodeIndex, message: Message) -> Answer {
        Clock::set_simulated(self.now());
        let mut asking = pin!(self.players[node].handle.ask_future(message, PATIENCE));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(answer) = asking.as_mut().poll(&mut context) {
                return answer.expect("an answer in time");
            }
            self.step(Instant::FAR);
        }
    }

    /// How the torrent of a machine stands.
    pub fn show(&mut self, node: NodeIndex) -> Box<SessionSnapshot> {
        let session = self.players[node].session;
        match self.ask(node, Message::SessionShow { session }) {
            Answer::Snapshot(snapshot) => snapshot,
            other => unreachable!("a session is shown: {other:?}"),
        }
    }

    /// How many links the swarm of a machine has and needs.
    pub fn count(&mut self, node: NodeIndex) -> LinksCount {
        let swarm = self.players[node].swarm;
        match self.ask(node, Message::LinksCount { swarm }) {
            Answer::Count(count) => count,
            other => unreachable!("a swarm's links are counted: {other:?}"),
        }
    }

    /// How often a machine was told of events of this name.
    #[must_use]
    pub fn told(&self, node: NodeIndex, name: &str) -> usize {
        let told = self.players[node].told.iter();
        told.filter(|event| event.name() == name).count()
    }

    /// Whether the last peer that a machine has met is on an encrypted stream.
    #[must_use]
    pub fn last_met_encrypted(&self, node: NodeIndex) -> Option<bool> {
        let told = self.players[node].told.iter().rev();
        let met = |event: &Event| match event {
            Event::PeerConnected(peer) => Some(peer.encrypted),
            _ => None,
        };
        told.filter_map(met).next()
    }

    /// What a machine's engine has counted.
    #[must_use]
    pub fn counters(&self, node: NodeIndex) -> EngineCounters {
        let turns = self.players[node].turns.as_ref();
        turns.map_or_else(EngineCounters::default, |turns| {
            turns.core().engine().counters()
        })
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now() + span;
        while self.step(until) {}
    }

    /// Lets time pass until `done`, for at most `span`; whether it came to that.
    pub fn run_until(&mut self, span: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now() + span;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                return false;
            }
        }
    }

    /// Goes to the next thing that happens and lets everybody turn who wants to; `false` when it would be after `until`.
    fn step(&mut self, until: Instant) -> bool {
        let next = self.next_event();
        self.common.borrow_mut().advance(next.min(until));
        if next > until {
            return false;
        }
        for node in 0..self.players.len() {
            if self.wants_turn_at(node).is_some_and(|at| at <= next) {
                self.turn(node);
            }
        }
        true
    }

    fn next_event(&mut self) -> Instant {
        let turns = (0..self.players.len()).filter_map(|node| self.wants_turn_at(node));
        let turns = turns.min();
        let common = self.common.borrow();
        let next = turns.into_iter().chain(common.next_event()).min();
        next.unwrap_or(Instant::FAR).max(common.now)
    }

    fn wants_turn_at(&mut self, node: NodeIndex) -> Option<Instant> {
        let turns = self.players[node].turns.as_mut()?;
        let common = self.common.borrow();
        if common.net.is_ready(node) || !common.nodes[node].finished.is_empty() {
            return Some(common.now);
        }
        let now = common.now;
        drop(common);
        match turns.wanted() {
            Wanted::Now => Some(now),
            Wanted::At(at) => Some(at),
            Wanted::Later => None,
        }
    }

    /// One turn, and what must hold after it.
    fn turn(&mut self, node: NodeIndex) {
        Clock::set_simulated(self.now());
        let player = &mut self.players[node];
        let Some(turns) = &mut player.turns else {
            return;
        };
        turns.turn();
        let engine = turns.core().engine();
        engine.check();
        let heard = player.watch.listen();
        assert_eq!(heard, Ok(()), "node {node}");
        assert_eq!(player.watch.compare(engine), Ok(()), "node {node}");
        while let Ok(record) = player.events.try_next() {
            player.told.push(record.event.clone());
        }
        let failure = &self.common.borrow().failure;
        assert_eq!(*failure, None);
    }
}
