//! A whole swarm under one clock: what starts, what breaks, what is asked of everybody, and what must hold in the end.
//!
//! First the faults happen, by chance and by name; then they stop, everything that is down is started, and a person resumes
//! what stands still. From then on everybody must complete within `LIVENESS`, hold nothing back, and stop in order.

mod look;
mod trouble;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use crate::actor::mailbox::{Doorbell, Options as MailboxOptions};
use crate::actor::{Loop, Wanted};
use crate::config::{Backpressure, Config, Encryption};
use crate::engine::Engine;
use crate::engine::message::{Limits, Message};
use crate::engine::settings::Settings;
use crate::ids::SessionId;
use crate::rng::Rng;
use crate::time::{Clock, Duration, Instant};

use super::caller::Caller;
use super::cast::Cast;
use super::common::{Common, Node, TRACKER};
use super::disk::Disk;
use super::faults::{Faults, NodeFaults};
use super::host::SimHost;
use super::net::{Net, NodeIndex};
use super::probe::Probe;
use super::process::{EngineProcess, Process};
use super::script::{Lie, Script, ScriptedPeer};
use super::torrent::Torrent;
use super::{Options, Report};

/// How long the faults happen.
const FAULTS_FOR: Duration = Duration::from_secs(60);
/// How long it may take afterwards until everybody is complete.
const LIVENESS: Duration = Duration::from_secs(20 * 60);
/// How long it may take until nobody holds buffers or jobs any more: what is queued for a peer is still sent, and a slow line
/// takes its time.
const REST: Duration = Duration::from_secs(5 * 60);
/// How often everybody is asked how it stands.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a shutdown may take, and what it may take beyond that.
const STOP_BUDGET: Duration = Duration::from_secs(2);
const STOP_GRACE: Duration = Duration::from_millis(200);
/// Turns in a row of one machine in which nothing happened, before it counts as a busy loop.
const IDLE_TURNS_MAX: u32 = 1000;
/// Kinds of trouble.
const TROUBLES: usize = 5;
/// How long an actor stands still at most.
const FREEZE_MAX_MICROS: u64 = 20_000_000;
/// Turns of one world: a bound on how long a run can take.
const TURNS_MAX: u64 = 20_000_000;

/// A process and when it runs.
struct Running {
    process: Box<dyn Process>,
    wanted: Wanted,
    /// Until when its last turn keeps it busy.
    busy_until: Instant,
    idle_turns: u32,
}

/// What the world knows of a machine with an engine.
#[derive(Debug, Default)]
struct Peer {
    seeder: bool,
    session: Option<SessionId>,
    adding: Option<u64>,
    showing: Option<u64>,
    stopping: Option<Instant>,
    /// Until when its actor stood, or stands, still.
    frozen_until: Instant,
    /// When it is started again.
    start_at: Option<Instant>,
    /// Trouble of its own, soon after its start: when, and of which kind.
    early: Option<(Instant, usize)>,
    complete: bool,
    /// The most addresses that it was seen to know.
    known: u32,
    /// Buffers and jobs it held when it was last asked, at rest.
    held: Option<(u32, u32)>,
    /// How it stood when it was last asked, for a person.
    stood: String,
}

/// A simulated world.
pub struct World {
    options: Options,
    common: Rc<RefCell<Common>>,
    torrent: Arc<Torrent>,
    rng: Rng,
    processes: Vec<Option<Running>>,
    peers: Vec<Peer>,
    /// Whether everybody is complete, and what they hold is looked at.
    resting: bool,
    /// Whether everybody is stopped for good.
    ending: bool,
    turns: u64,
    happened: u64,
    next_look: Instant,
    /// When each kind of trouble comes next: kill, power, restart, cut, freeze.
    next_trouble: [Instant; TROUBLES],
    /// Whether the faults are over.
    calmed: bool,
}

impl World {
    /// A world of which nothing has happened yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut rng = Rng::new(options.seed);
        let faults = options.faults;
        let mut trackers = vec![
            vec![format!("udp://{TRACKER}/announce")],
            vec!["http://tracker.sim/announce".to_owned()],
        ];
        if faults.node.acquainted {
            trackers.clear();
        }
        let mut torrent = Torrent::draw(options.bytes, trackers, &mut rng);
        if faults.node.links {
            torrent = torrent.with_info();
        }
        let torrent = Arc::new(torrent);
        let net = Net::new(faults.net, rng.fork());
        let common = Common::new(net, Arc::clone(&torrent), faults, rng.fork());
        let mut world = Self {
            common: Rc::new(RefCell::new(common)),
            torrent,
            processes: Vec::new(),
            peers: Vec::new(),
            resting: false,
            ending: false,
            turns: 0,
            happened: 0,
            next_look: Instant::ZERO,
            next_trouble: [Instant::FAR; TROUBLES],
            calmed: false,
            rng,
            options,
        };
        world.populate();
        world
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(mut self) -> Report {
        let result = self.play();
        let common = self.common.borrow();
        Report {
            hash: common.trace.hash(),
            entries: common.trace.entries(),
            turns: self.turns,
            troubles: self.happened,
            announces: common.tracker.announces,
            virtual_time: common.now.since(Instant::ZERO),
            pieces: self.torrent.layout.geometry.piece_count(),
            bytes: self.torrent.size(),
            failure: common.failure.clone().or(result.err()),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        self.plan_troubles();
        let faults_end = Instant::ZERO + FAULTS_FOR;
        self.run_until(faults_end, |_| false)?;
        self.calm();
        let deadline = faults_end + LIVENESS;
        if !self.run_until(deadline, Self::all_complete)? {
            return Err(self.who_is_missing());
        }
        self.resting = true;
        let deadline = self.now() + REST;
        if !self.run_until(deadline, Self::all_rest)? {
            return Err(self.who_holds_something());
        }
        (0..self.peers.len())
            .try_for_each(|node| self.check_disk(node, |disk, path| disk.content(path)))?;
        self.ending = true;
        for node in 0..self.peers.len() {
            self.stop(node);
        }
        let deadline = self.now() + STOP_BUDGET + STOP_GRACE;
        self.run_until(deadline, |world| {
            (0..world.peers.len()).all(|node| world.processes[node].is_none())
        })?;
        self.check_end()
    }

    // The cast.

    fn populate(&mut self) {
        let Options {
            nodes,
            faults,
            bytes,
            ..
        } = self.options;
        let engines = nodes.max(2);
        // A download takes some ten seconds, so that the faults have something to hit.
        let uplink = (bytes / 10).max(50_000);
        for at in 0..engines {
            let slow = faults.node.slow_peer && at + 1 == engines;
            let node = self.add_machine(if slow { uplink / 16 } else { uplink });
            let start_at = Instant::from_micros(self.rng.below(3_000_000));
            self.peers.push(Peer {
                seeder: at == 0,
                start_at: Some(start_at),
                ..Peer::default()
            });
            if at == 0 {
                let mut common = self.common.borrow_mut();
                self.torrent.put_on(&mut common.nodes[node].disk);
            }
        }
        let NodeFaults {
            poisoner, staller, ..
        } = faults.node;
        if faults.node.links {
            for lie in [Lie::Data, Lie::Data, Lie::Size, Lie::Silence, Lie::Endless] {
                self.add_scripted(Script::Metadata(lie), uplink);
            }
        }
        for (there, script) in [(poisoner, Script::Poison), (staller, Script::Stall)] {
            if there {
                self.add_scripted(script, uplink);
            }
        }
    }

    fn add_machine(&mut self, uplink: u64) -> NodeIndex {
        let mut common = self.common.borrow_mut();
        let number = common.nodes.len();
        let ip = Ipv4Addr::new(
            10,
            0,
            0,
            u8::try_from(number + 1).expect("at most 200 machines"),
        );
        let node = common
            .net
            .add_machine(SocketAddr::new(IpAddr::V4(ip), 6881), uplink);
        let faults = common.faults.disk;
        let capacity = match faults.capacity_percent {
            0 => u64::MAX,
            // The seeder's disk holds what is on it.
            _ if node == 0 => u64::MAX,
            percent => self.torrent.size() * percent / 100,
        };
        let disk = Disk::new(faults, capacity, self.rng.fork());
        common.nodes.push(Node::new(disk));
        self.processes.push(None);
        node
    }

    fn add_scripted(&mut self, script: Script, uplink: u64) {
        let node = self.add_machine(uplink);
        let host = SimHost::new(node, Rc::clone(&self.common));
        let torrent = Arc::clone(&self.torrent);
        let peer = ScriptedPeer::new(host, script, torrent, self.rng.fork());
        let mut common = self.common.borrow_mut();
        common.net.power_on(node);
        let address = common.net.address(node);
        common.tracker.add(address);
        drop(common);
        self.run_process(node, Box::new(peer));
    }

    fn run_process(&mut self, node: NodeIndex, process: Box<dyn Process>) {
        self.processes[node] = Some(Running {
            process,
            wanted: Wanted::Now,
            busy_until: self.now(),
            idle_turns: 0,
        });
    }

    fn start(&mut self, node: NodeIndex) {
        let mut config = Config::default();
        config.discovery.lsd = false;
        config.workers.cache_mib = 1;
        config.peer.tcp = !self.options.faults.net.utp_only;
        config.links.retry_first_s = 2;
        config.links.retry_max_s = 30;
        config.links.ignore_s = 60;
        let mut rng = self.rng.fork();
        // None that refuses anybody: those that lie by a script are plain, and are to be heard.
        let policies = [Encryption::Off, Encryption::Allow, Encryption::Prefer];
        config.peer.encryption = policies[rng.index(policies.len())];
        let settings = Settings::new(&config, 4, 2, &mut rng);
        let engine = Engine::new(settings, rng.fork());
        let core = Probe::new(engine, node, Rc::clone(&self.common));
        let host = SimHost::new(node, Rc::clone(&self.common));
        let callers = self.options.faults.caller;
        let sheds = callers.overload && self.rng.chance(1, 2);
        let mailbox = MailboxOptions {
            capacity: if callers.overload { 4 } else { 64 },
            policy: if sheds {
                Backpressure::Shed
            } else {
                Backpressure::Reject
            },
            patience: Duration::ZERO,
            clock: Clock::simulated(),
            stamped: false,
        };
        let cast = self.cast(node, &config);
        let mut common = self.common.borrow_mut();
        common.net.power_on(node);
        let address = common.net.address(node);
        let doorbell = Arc::new(Doorbell::new(Box::new(|| {})));
        let (turns, handle) = Loop::new(host, core, vec![address], mailbox, doorbell);
        let peer = &mut self.peers[node];
        peer.start_at = None;
        let add = added(&cast, self.options.faults);
        peer.adding = Some(common.nodes[node].ask(add));
        let now = common.now;
        let callers = common.faults.caller;
        drop(common);
        let caller =
            (self.has_callers()).then(|| Caller::new(&handle, cast, callers, now, self.rng.fork()));
        let common = Rc::clone(&self.common);
        let process = EngineProcess::new(turns, handle, caller, node, common);
        self.run_process(node, Box::new(process));
        self.plan_early_trouble(node);
    }

    /// Whether programs talk to the engines besides the world.
    const fn has_callers(&self) -> bool {
        self.options.faults.caller.every_ms > 0
    }

    /// Whom and what the caller of a machine may name.
    fn cast(&self, node: NodeIndex, config: &Config) -> Cast {
        let common = self.common.borrow();
        let machines = (0..common.nodes.len()).map(|node| common.net.address(node));
        let limits = Limits {
            links_max: Some(config.peer.max_links),
            swarm_links_max: Some(config.peer.max_links_per_swarm),
            upload_slots: Some(config.seeding.upload_slots),
        };
        Cast::new(
            Arc::clone(&self.torrent.metainfo),
            self.torrent.layout.root.clone(),
            self.peers[node].seeder,
            machines.collect(),
            limits,
        )
    }

    // Time.

    fn now(&self) -> Instant {
        self.common.borrow().now
    }

    /// Runs until `done` says so (`true`) or it is `until` (`false`).
    fn run_until(&mut self, until: Instant, done: impl Fn(&Self) -> bool) -> Result<bool, String> {
        loop {
            self.start_who_is_due();
            self.run_turns();
            self.look()?;
            if let Some(failure) = &self.common.borrow().failure {
                return Err(failure.clone());
            }
            if self.turns > TURNS_MAX {
                return Err(format!("{TURNS_MAX} turns and no end"));
            }
            if done(self) {
                return Ok(true);
            }
            let next = self.next_event();
            if next > until {
                self.common.borrow_mut().advance(until);
                return Ok(false);
            }
            self.common.borrow_mut().advance(next);
            self.make_trouble();
        }
    }

    fn next_event(&self) -> Instant {
        let common = self.common.borrow();
        let turns = (0..self.processes.len()).filter_map(|node| self.wants_turn_at(node, &common));
        let starts = self.peers.iter().filter_map(|peer| peer.start_at);
        turns
            .chain(starts)
            .chain(common.next_event())
            .chain(self.next_trouble)
            .chain(self.peers.iter().filter_map(|peer| Some(peer.early?.0)))
            .chain([self.next_look])
            .min()
            .expect("there is always a next look")
    }

    /// When a machine's process wants to run.
    fn wants_turn_at(&self, node: NodeIndex, common: &Common) -> Option<Instant> {
        let running = self.processes[node].as_ref()?;
        let at = if has_work(common, node) {
            common.now
        } else {
            match running.wanted {
                Wanted::Now => common.now,
                Wanted::At(at) => at,
                Wanted::Later => return None,
            }
        };
        Some(at.max(running.busy_until))
    }

    fn start_who_is_due(&mut self) {
        let now = self.now();
        for node in 0..self.peers.len() {
            if self.peers[node].start_at.is_some_and(|at| at <= now) {
                self.start(node);
            }
        }
    }

    /// One turn for everybody who wants one now.
    fn run_turns(&mut self) {
        for node in 0..self.processes.len() {
            let (due, given, before) = {
                let common = self.common.borrow();
                let at = self.wants_turn_at(node, &common);
                let due = at.is_some_and(|at| at <= common.now);
                (due, has_work(&common, node), common.trace.entries())
            };
            if !due {
                continue;
            }
            let cost = Duration::from_micros(5 + self.rng.below(45));
            let running = self.processes[node]
                .as_mut()
                .expect("only who runs wants a turn");
            let wanted = running.process.turn();
            self.turns += 1;
            let mut common = self.common.borrow_mut();
            let idle = !given && common.trace.entries() == before;
            running.busy_until = common.now + cost;
            running.idle_turns = if idle { running.idle_turns + 1 } else { 0 };
            if running.idle_turns > IDLE_TURNS_MAX {
                common.fail(node, "it turns and turns, and nothing happens");
            }
            drop(common);
            match wanted {
                Some(wanted) => {
                    running.wanted = wanted;
                    self.stop_sometimes(node);
                }
                None => self.on_stopped(node),
            }
        }
    }

    /// Tells a process to end, after any turn of it.
    fn stop_sometimes(&mut self, node: NodeIndex) {
        let chance = self.common.borrow().faults.caller.stop_per_100k;
        let is_peer = self
            .peers
            .get(node)
            .is_some_and(|peer| peer.stopping.is_none());
        if chance == 0 || !is_peer || self.rng.below(100_000) >= chance {
            return;
        }
        self.happened += 1;
        self.peers[node].stopping = Some(self.now());
        let scale = 1 << self.rng.below(21);
        let budget = Duration::from_micros(self.rng.below(scale)).min(STOP_BUDGET);
        if let Some(running) = &mut self.processes[node] {
            running.process.stop(budget);
            running.wanted = Wanted::Now;
        }
    }

    fn on_stopped(&mut self, node: NodeIndex) {
        let Some(asked) = self.peers[node].stopping else {
            self.common.borrow_mut().fail(node, "it stopped unasked");
            return;
        };
        let took = self.now().since(asked.max(self.peers[node].frozen_until));
        if took > STOP_BUDGET + STOP_GRACE {
            self.common
                .borrow_mut()
                .fail(node, &format!("it took {took:?} to stop"));
        }
        self.end_process(node, false);
        if !self.ending {
            self.start_later(node, 5000);
        }
    }
}

/// How a machine takes on the torrent.
fn added(cast: &Cast, faults: Faults) -> Message {
    if faults.node.links && !cast.seeder {
        Message::MagnetAdd(Box::new(cast.magnet_add()))
    } else {
        Message::SessionAdd(Box::new(cast.session_add()))
    }
}

/// Whether something waits that a turn would take.
fn has_work(common: &Common, node: NodeIndex) -> bool {
    let machine = &common.nodes[node];
    common.net.is_ready(node) || !machine.finished.is_empty() || !machine.asks.is_empty()
}
