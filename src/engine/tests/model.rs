//! Random messages against a naive model: lists that are searched from end to end, and nothing counted before it is asked.
//!
//! After each message the table's own invariants are looked at, the answer and all that can be asked must be the model's, and
//! a subscriber who only heard the events knows which links are up (requirements D31, E7).

use std::collections::BTreeSet;

use super::desk::{Desk, at, hash};
use super::*;
use crate::engine::message::{Accounting, Carrier, Direction, StreamName};
use crate::ids::{ConnectionId, SwarmId};
use Direction::{Incoming, Outgoing};

const IGNORE: Duration = Duration::from_secs(900);
const PINNED: Duration = Duration::from_secs(2);
const DUPLICATE: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
struct MStream {
    id: StreamId,
    connection: u64,
    address: SocketAddr,
    direction: Direction,
    swarm: Option<SwarmId>,
    member: bool,
}

#[derive(Clone, Debug)]
struct MSwarm {
    id: SwarmId,
    hash: u8,
    on: bool,
    links_min: u32,
    candidates: BTreeSet<SocketAddr>,
    pinned: BTreeSet<SocketAddr>,
    ignored: BTreeMap<SocketAddr, Instant>,
}

/// What there is, as a person would write it down.
#[derive(Default)]
struct Model {
    now: Instant,
    swarms: Vec<MSwarm>,
    /// Oldest first.
    streams: Vec<MStream>,
    /// Addresses that somebody said can be dialled, as long as there is a link.
    dialable: BTreeSet<SocketAddr>,
}

impl Model {
    fn swarm(&mut self, id: SwarmId) -> Option<&mut MSwarm> {
        self.swarms.iter_mut().find(|swarm| swarm.id == id)
    }

    fn is_link(&self, address: SocketAddr) -> bool {
        let candidate = |swarm: &MSwarm| swarm.candidates.contains(&address);
        self.swarms.iter().any(candidate) || self.is_up(address)
    }

    fn is_up(&self, address: SocketAddr) -> bool {
        self.streams.iter().any(|stream| stream.address == address)
    }

    fn is_pinned(&self, address: SocketAddr) -> bool {
        let pinned = |swarm: &MSwarm| swarm.pinned.contains(&address);
        self.swarms.iter().any(pinned)
    }

    fn member(&self, address: SocketAddr, swarm: SwarmId) -> Option<usize> {
        let is = |stream: &MStream| {
            stream.member && stream.address == address && stream.swarm == Some(swarm)
        };
        self.streams.iter().position(is)
    }

    fn unaccounted(&self, address: SocketAddr, swarm: SwarmId) -> Option<usize> {
        let is = |stream: &MStream| {
            !stream.member
                && stream.address == address
                && stream.swarm.is_none_or(|named| named == swarm)
        };
        self.streams.iter().position(is)
    }

    /// Links without use are gone, and what was known of them.
    fn sweep(&mut self) {
        let gone: Vec<SocketAddr> = self
            .dialable
            .iter()
            .copied()
            .filter(|&address| !self.is_link(address))
            .collect();
        for address in gone {
            self.dialable.remove(&address);
        }
    }

    fn leave(&mut self, swarm: SwarmId, keep_pinned: bool) {
        self.streams.retain(|stream| stream.swarm != Some(swarm));
        if let Some(swarm) = self.swarm(swarm) {
            swarm.candidates = if keep_pinned {
                swarm.pinned.clone()
            } else {
                BTreeSet::new()
            };
        }
    }

    /// What the answer is, in words.
    fn apply(&mut self, message: &Message, said: &Answer) -> String {
        let answer = match *message {
            Message::LinkCreate { address, swarm } => self.create(address, swarm, false),
            Message::Pin { address, swarm } => self.create(address, swarm, true),
            Message::Unpin { address, swarm } => match self.swarm(swarm) {
                None => "UnknownSwarm",
                Some(swarm) => match swarm.pinned.remove(&address) {
                    true => "Done",
                    false => "UnknownLink",
                },
            },
            Message::LinkUpdate { address, ip, port } => {
                self.update(address, SocketAddr::new(ip, port))
            }
            Message::LinkDelete {
                address,
                force,
                preserve,
            } => {
                self.streams.retain(|stream| stream.address != address);
                if force || !(self.is_pinned(address) || preserve) {
                    for swarm in &mut self.swarms {
                        swarm.candidates.remove(&address);
                        swarm.pinned.remove(&address);
                    }
                }
                "Done"
            }
            Message::StreamAdd {
                address,
                direction,
                swarm,
                carrier: Carrier::Outside(ConnectionId(connection)),
            } => {
                let new = MStream {
                    id: StreamId::new(0, 0),
                    connection,
                    address,
                    direction,
                    swarm,
                    member: false,
                };
                self.add(new, said)
            }
            Message::StreamDelete { stream } => {
                if let Some(place) = self.named(stream) {
                    self.streams.remove(place);
                }
                "Done"
            }
            Message::StreamReplace {
                old,
                new,
                direction,
            } => self.replace(old, new, direction),
            Message::SwarmAdd {
                info_hash,
                links_min,
            } => {
                let hash = info_hash.0[0];
                if self.swarms.iter().any(|swarm| swarm.hash == hash) {
                    "SwarmExists"
                } else if let Answer::Swarm(id) = *said {
                    self.swarms.push(MSwarm {
                        id,
                        hash,
                        on: true,
                        links_min,
                        candidates: BTreeSet::new(),
                        pinned: BTreeSet::new(),
                        ignored: BTreeMap::new(),
                    });
                    "Swarm"
                } else {
                    "a swarm"
                }
            }
            Message::SwarmRemove { swarm } => {
                if self.swarm(swarm).is_some() {
                    self.leave(swarm, false);
                    self.swarms.retain(|other| other.id != swarm);
                    "Done"
                } else {
                    "UnknownSwarm"
                }
            }
            Message::SwarmSwitch { swarm, on } => match self.swarm(swarm) {
                None => "UnknownSwarm",
                Some(record) => {
                    let before = std::mem::replace(&mut record.on, on);
                    if before && !on {
                        self.leave(swarm, true);
                    }
                    if before {
                        "Condition(true)"
                    } else {
                        "Condition(false)"
                    }
                }
            },
            Message::Account {
                address,
                swarm,
                verdict,
            } => {
                self.account(address, swarm, verdict);
                "Done"
            }
            ref other => panic!("not modelled: {other:?}"),
        };
        self.sweep();
        answer.to_owned()
    }

    fn create(&mut self, address: SocketAddr, swarm: SwarmId, pin: bool) -> &'static str {
        if address.port() == 0 {
            return "BadAddress";
        }
        let Some(swarm) = self.swarm(swarm) else {
            return "UnknownSwarm";
        };
        let new = swarm.candidates.insert(address);
        if pin {
            swarm.pinned.insert(address);
        }
        if new || pin {
            self.dialable.insert(address);
            "Link"
        } else {
            "AlreadyAssociated"
        }
    }

    fn update(&mut self, address: SocketAddr, to: SocketAddr) -> &'static str {
        if !self.is_link(address) {
            return "UnknownLink";
        }
        if self.is_up(address) || !self.dialable.contains(&address) {
            return "WrongState";
        }
        if to.port() == 0 {
            return "BadAddress";
        }
        if to == address {
            return "Done";
        }
        if self.is_link(to) {
            return "AlreadyAssociated";
        }
        for swarm in &mut self.swarms {
            for set in [&mut swarm.candidates, &mut swarm.pinned] {
                if set.remove(&address) {
                    set.insert(to);
                }
            }
        }
        self.dialable.insert(to);
        "Done"
    }

    fn add(&mut self, new: MStream, said: &Answer) -> &'static str {
        if new.direction == Outgoing && !self.is_link(new.address) {
            return "UnknownLink";
        }
        if let Some(swarm) = new.swarm {
            match self.swarm(swarm) {
                None => return "UnknownSwarm",
                Some(swarm) if !swarm.on => return "WrongState",
                Some(_) => {}
            }
            if self.member(new.address, swarm).is_some() {
                return "AlreadyConnected";
            }
        }
        let known = |stream: &MStream| stream.connection == new.connection;
        if self.streams.iter().any(known) {
            return "AlreadyConnected";
        }
        if let Answer::Stream(id) = *said {
            self.streams.push(MStream { id, ..new });
        }
        "Stream"
    }

    fn named(&self, name: StreamName) -> Option<usize> {
        self.streams.iter().position(|stream| match name {
            StreamName::Stream(id) => stream.id == id,
            StreamName::Outside(connection) => stream.connection == connection.0,
        })
    }

    fn replace(&mut self, old: StreamName, new: StreamName, direction: Direction) -> &'static str {
        let Some(old) = self.named(old) else {
            return "Done";
        };
        let Some(new) = self.named(new) else {
            self.streams.remove(old);
            return "Done";
        };
        let from = self.streams[old].clone();
        if old != new && self.streams[new].swarm.is_some() && self.streams[new].swarm != from.swarm
        {
            return "WrongState";
        }
        self.streams[new].direction = direction;
        if old == new {
            return "Done";
        }
        self.streams[old].member = false;
        let to = self.streams[new].clone();
        if let Some(swarm) = from.swarm {
            if !from.member {
                self.streams[new].swarm = from.swarm;
            } else if !to.member && self.member(to.address, swarm).is_none() {
                self.streams[new].swarm = from.swarm;
                self.streams[new].member = true;
            }
            if to.address != from.address && self.dialable.contains(&from.address) {
                let until = self.now + DUPLICATE;
                if let Some(swarm) = self.swarm(swarm) {
                    swarm.ignored.insert(from.address, until);
                }
            }
        }
        self.streams.remove(old);
        "Done"
    }

    fn account(&mut self, address: SocketAddr, swarm: SwarmId, verdict: Accounting) {
        let Some(record) = self.swarm(swarm) else {
            return;
        };
        let (on, pinned) = (record.on, record.pinned.contains(&address));
        let candidate = record.candidates.contains(&address);
        let (member, free) = (
            self.member(address, swarm),
            self.unaccounted(address, swarm),
        );
        if verdict == Accounting::Member {
            if let (None, true, Some(free)) = (member, on, free) {
                self.streams[free].swarm = Some(swarm);
                self.streams[free].member = true;
            }
            return;
        }
        let names = |stream: &MStream| stream.address == address && stream.swarm == Some(swarm);
        if !candidate && !self.streams.iter().any(names) {
            return;
        }
        let now = self.now;
        let record = self.swarm(swarm).expect("found above");
        if pinned {
            record.ignored.insert(address, now + PINNED);
        } else {
            record.candidates.remove(&address);
            if verdict == Accounting::Failed {
                record.ignored.insert(address, now + IGNORE);
            }
        }
        // An uncandidate with streams that name nobody is in no swarm: they stay, but for the one the verdict is about.
        if let Some(place) = member.or(free) {
            self.streams.remove(place);
        }
    }
}

fn word(answer: &Answer) -> String {
    match answer {
        Answer::Link(_) => "Link".to_owned(),
        Answer::Stream(_) => "Stream".to_owned(),
        Answer::Swarm(_) => "Swarm".to_owned(),
        Answer::Refused(Refusal::SwarmExists(_)) => "SwarmExists".to_owned(),
        Answer::Refused(refusal) => format!("{refusal:?}"),
        other => format!("{other:?}"),
    }
}

/// Asks all that can be asked, and compares.
fn compare(desk: &mut Desk, model: &Model, addresses: &[SocketAddr]) {
    let links: Vec<SocketAddr> = addresses
        .iter()
        .copied()
        .filter(|&address| model.is_link(address))
        .collect();
    let up = links.iter().filter(|&&link| model.is_up(link)).count() as u32;
    assert_eq!(desk.by_state(), [links.len() as u32 - up, 0, up, 0]);
    for swarm in &model.swarms {
        let mut want = Vec::new();
        for &address in addresses {
            let member = model.member(address, swarm.id);
            let belongs = member.is_some() || swarm.candidates.contains(&address);
            let found = desk.find(address, swarm.id);
            assert_eq!(found.is_some(), belongs, "{address} in {}", swarm.id);
            let Some(found) = found else { continue };
            let state = if model.is_up(address) {
                "established"
            } else {
                "disconnected"
            };
            let direction = match member {
                Some(place) => model.streams[place].direction,
                None if model.dialable.contains(&address) => Outgoing,
                None => Incoming,
            };
            assert_eq!(
                (found.address, found.state, found.direction),
                (address, state, direction)
            );
            assert_eq!(found.member, member.is_some());
            assert_eq!(found.pinned, swarm.pinned.contains(&address));
            want.push(found);
        }
        let count = desk.count(swarm.id);
        let members = |direction| {
            let is = |link: &&crate::engine::message::LinkSummary| {
                link.member && link.direction == direction
            };
            want.iter().filter(is).count() as u32
        };
        let (uplinks, downlinks) = (members(Outgoing), members(Incoming));
        assert_eq!(count.links as usize, want.len());
        assert_eq!((count.uplinks, count.downlinks), (uplinks, downlinks));
        assert_eq!(count.required, swarm.links_min);
        let needed = swarm.links_min.saturating_sub(uplinks);
        assert_eq!(count.needed, if swarm.on { needed } else { 0 });
        for established_only in [false, true] {
            let shown = desk.links(swarm.id, established_only);
            assert!(
                shown.is_sorted_by_key(|link| link.direction),
                "uplinks first"
            );
            let mut shown = shown.to_vec();
            shown.sort_unstable_by_key(|link| link.address);
            let mut want = want.clone();
            want.retain(|link| link.member || !established_only);
            want.sort_unstable_by_key(|link| link.address);
            assert_eq!(shown, want);
        }
        let ignored: Vec<_> = desk
            .ignored(swarm.id)
            .iter()
            .map(|ignored| (ignored.address, ignored.until))
            .collect();
        let mut want = swarm.ignored.clone();
        want.retain(|_, until| *until > model.now);
        assert_eq!(ignored, want.into_iter().collect::<Vec<_>>());
        let answer = desk.ask(Message::SwarmCondition { swarm: swarm.id });
        assert!(matches!(answer, Answer::Condition(on) if on == swarm.on));
        let answer = desk.ask(Message::SwarmFind {
            info_hash: hash(swarm.hash),
        });
        assert!(matches!(answer, Answer::Swarm(id) if id == swarm.id));
    }
}

fn draw(rng: &mut Rng, addresses: &[SocketAddr], swarms: &[SwarmId]) -> Message {
    let address = addresses[rng.index(addresses.len())];
    let swarm = swarms[rng.index(swarms.len())];
    let name = |rng: &mut Rng| match rng.below(8) {
        0 => StreamName::Stream(StreamId::new(rng.next_u32() % 12, rng.next_u32() % 20)),
        _ => StreamName::Outside(ConnectionId(rng.below(14))),
    };
    let direction = |rng: &mut Rng| Direction::of(rng.chance(1, 2));
    match rng.below(100) {
        0..12 => Message::LinkCreate { address, swarm },
        12..16 => Message::Pin { address, swarm },
        16..20 => Message::Unpin { address, swarm },
        20..24 => {
            let to = addresses[rng.index(addresses.len())];
            let port = if rng.chance(1, 10) { 0 } else { to.port() };
            Message::LinkUpdate {
                address,
                ip: to.ip(),
                port,
            }
        }
        24..29 => Message::LinkDelete {
            address,
            force: rng.chance(1, 3),
            preserve: rng.chance(1, 3),
        },
        29..53 => Message::StreamAdd {
            address,
            direction: direction(rng),
            swarm: rng.chance(1, 3).then_some(swarm),
            carrier: Carrier::Outside(ConnectionId(rng.below(14))),
        },
        53..63 => Message::StreamDelete { stream: name(rng) },
        63..70 => Message::StreamReplace {
            old: name(rng),
            new: name(rng),
            direction: direction(rng),
        },
        70..73 => Message::SwarmAdd {
            info_hash: hash(rng.below(4) as u8),
            links_min: rng.next_u32() % 4,
        },
        73..74 => Message::SwarmRemove { swarm },
        74..78 => Message::SwarmSwitch {
            swarm,
            on: rng.chance(2, 3),
        },
        _ => Message::Account {
            address,
            swarm,
            verdict: match rng.below(6) {
                0 => Accounting::Leaves,
                1 => Accounting::Failed,
                _ => Accounting::Member,
            },
        },
    }
}

#[test]
fn random_messages_do_what_the_model_says() {
    let addresses: Vec<SocketAddr> = (0..9).map(at).collect();
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut desk = Desk::new();
        let mut model = Model::default();
        // Names of swarms that were ever there: those that are gone must not be taken for others.
        let mut swarms = vec![SwarmId::new(7, 7)];
        let mut heard: BTreeSet<SocketAddr> = BTreeSet::new();
        for step in 0..2000 {
            if rng.chance(1, 20) {
                desk.pass(Duration::from_secs(rng.below(400)));
            }
            model.now = desk.now;
            let message = draw(&mut rng, &addresses, &swarms);
            let told = format!("seed {seed} step {step}: {message:?}");
            // A message is consumed; the model needs it too.
            let again = clone(&message);
            let answer = desk.ask(message);
            if let Answer::Swarm(swarm) = answer {
                swarms.push(swarm);
                swarms.drain(..swarms.len().saturating_sub(6));
            }
            assert_eq!(word(&answer), model.apply(&again, &answer), "{told}");
            for (what, address) in desk.link_events() {
                match what {
                    "established" => assert!(heard.insert(address), "{told}: up twice"),
                    "lost" => assert!(heard.remove(&address), "{told}: down twice"),
                    other => panic!("{told}: {other}"),
                }
            }
            let up: BTreeSet<SocketAddr> = addresses
                .iter()
                .copied()
                .filter(|&address| model.is_up(address))
                .collect();
            assert_eq!(heard, up, "{told}");
            if step % 5 == 0 {
                compare(&mut desk, &model, &addresses);
            }
        }
        compare(&mut desk, &model, &addresses);
    }
}

fn clone(message: &Message) -> Message {
    match *message {
        Message::LinkCreate { address, swarm } => Message::LinkCreate { address, swarm },
        Message::Pin { address, swarm } => Message::Pin { address, swarm },
        Message::Unpin { address, swarm } => Message::Unpin { address, swarm },
        Message::LinkUpdate { address, ip, port } => Message::LinkUpdate { address, ip, port },
        Message::LinkDelete {
            address,
            force,
            preserve,
        } => Message::LinkDelete {
            address,
            force,
            preserve,
        },
        Message::StreamAdd {
            address,
            direction,
            swarm,
            carrier,
        } => Message::StreamAdd {
            address,
            direction,
            swarm,
            carrier,
        },
        Message::StreamDelete { stream } => Message::StreamDelete { stream },
        Message::StreamReplace {
            old,
            new,
            direction,
        } => Message::StreamReplace {
            old,
            new,
            direction,
        },
        Message::SwarmAdd {
            info_hash,
            links_min,
        } => Message::SwarmAdd {
            info_hash,
            links_min,
        },
        Message::SwarmRemove { swarm } => Message::SwarmRemove { swarm },
        Message::SwarmSwitch { swarm, on } => Message::SwarmSwitch { swarm, on },
        Message::Account {
            address,
            swarm,
            verdict,
        } => Message::Account {
            address,
            swarm,
            verdict,
        },
        ref other => panic!("not drawn: {other:?}"),
    }
}
