//! What a caller names in its messages: some of it is there, some is gone, some never was.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;
use crate::engine::library::Brief;
use crate::engine::message::{
    Accounting, Answer, Carrier, Direction, Limits, MagnetAdd, Message, Refusal, SessionAdd,
    StreamName,
};
use crate::ids::{ConnectionId, InfoHash, SessionId, SocketId, StreamId, SwarmId};
use crate::rng::Rng;

/// Names of each kind that it keeps in mind, the oldest going first.
const NAMES_MAX: usize = 12;
/// Streams that it may carry.
const CONNECTIONS: u64 = 40;
/// Torrents that exist in name only.
const INFO_HASHES: u64 = 4;

/// Everybody and everything a caller may name.
#[derive(Debug)]
pub struct Cast {
    /// The torrent that everybody trades, and where it goes.
    pub metainfo: Arc<Metainfo>,
    /// Where its files are.
    pub root: PathBuf,
    /// Whether this machine has everything from the start.
    pub seeder: bool,
    /// Where the machines of the world listen, this one among them.
    pub machines: Vec<SocketAddr>,
    /// The limits as configured.
    pub limits: Limits,
    swarms: VecDeque<SwarmId>,
    streams: VecDeque<StreamId>,
    sessions: VecDeque<SessionId>,
}

impl Cast {
    /// Names that nobody has said yet.
    #[must_use]
    pub const fn new(
        metainfo: Arc<Metainfo>,
        root: PathBuf,
        seeder: bool,
        machines: Vec<SocketAddr>,
        limits: Limits,
    ) -> Self {
        Self {
            metainfo,
            root,
            seeder,
            machines,
            limits,
            swarms: VecDeque::new(),
            streams: VecDeque::new(),
            sessions: VecDeque::new(),
        }
    }

    /// Remembers the names that an answer tells.
    pub fn learn(&mut self, answer: &Answer) {
        match answer {
            Answer::Swarm(swarm) | Answer::Refused(Refusal::SwarmExists(swarm)) => {
                remember(&mut self.swarms, *swarm);
            }
            Answer::Stream(stream) => remember(&mut self.streams, *stream),
            Answer::Session(session)
            | Answer::Refused(Refusal::Duplicate(session) | Refusal::InUse(session)) => {
                remember(&mut self.sessions, *session);
            }
            _ => {}
        }
    }

    /// Any message but the end.
    pub fn message(&self, rng: &mut Rng) -> Message {
        let address = self.address(rng);
        let swarm = any(&self.swarms, rng).unwrap_or(SwarmId::new(0, 0));
        let session = any(&self.sessions, rng).unwrap_or(SessionId::new(0, 0));
        match rng.below(104) {
            0..12 => Message::LinkCreate { address, swarm },
            12..15 => {
                let to = self.address(rng);
                let (ip, port) = (to.ip(), to.port());
                Message::LinkUpdate { address, ip, port }
            }
            15..20 => Message::LinkDelete {
                address,
                force: rng.chance(1, 2),
                preserve: rng.chance(1, 2),
            },
            20..24 => Message::LinkFind { address, swarm },
            24..36 => self.stream_add(address, swarm, rng),
            36..42 => Message::StreamDelete {
                stream: self.stream(rng),
            },
            42..45 => Message::StreamReplace {
                old: self.stream(rng),
                new: self.stream(rng),
                direction: Direction::of(rng.chance(1, 2)),
            },
            45..48 => Message::SwarmAdd {
                info_hash: self.info_hash(rng),
                links_min: u32::try_from(rng.below(12)).unwrap_or(0),
            },
            48..50 => Message::SwarmRemove { swarm },
            50..55 => Message::SwarmSwitch {
                swarm,
                on: rng.chance(3, 4),
            },
            55..62 => Message::SwarmFind {
                info_hash: self.info_hash(rng),
            },
            62..66 => Message::LinksCount { swarm },
            66..71 => Message::LinksShow {
                swarm,
                established_only: rng.chance(1, 2),
            },
            71..73 => Message::SwarmCondition { swarm },
            73..76 => Message::IgnoredShow { swarm },
            76..84 => Message::Account {
                address,
                swarm,
                verdict: match rng.below(4) {
                    0 => Accounting::Leaves,
                    1 => Accounting::Failed,
                    _ => Accounting::Member,
                },
            },
            84..87 => Message::Pin { address, swarm },
            87..90 => Message::Unpin { address, swarm },
            90 => Message::LimitsSet(limits(rng)),
            91..93 => Message::SessionAdd(Box::new(self.session_add())),
            93 => Message::SessionRemove { session },
            94 => Message::SessionPause { session },
            95..98 => Message::SessionResume { session },
            98 => Message::PeerAdd { session, address },
            99 => Message::PeerAddNamed {
                session,
                host: format!("node-{}", rng.below(8)).into(),
                port: 6881,
            },
            100..102 => Message::SessionShow { session },
            _ => Message::EngineShow,
        }
    }

    /// What a caller may do to a handshake that is under way.
    pub fn removal(&self, connecting: SocketAddr, rng: &mut Rng) -> Message {
        let swarm = any(&self.swarms, rng).unwrap_or(SwarmId::new(0, 0));
        let session = any(&self.sessions, rng).unwrap_or(SessionId::new(0, 0));
        match rng.below(8) {
            0 => Message::SessionRemove { session },
            1 => Message::SessionPause { session },
            2 => Message::SwarmRemove { swarm },
            3 => Message::SwarmSwitch { swarm, on: false },
            4 => Message::Account {
                address: connecting,
                swarm,
                verdict: Accounting::Failed,
            },
            5 => Message::StreamDelete {
                stream: StreamName::Stream(StreamId::new(
                    u32::try_from(rng.below(8)).unwrap_or(0),
                    u32::try_from(rng.below(4)).unwrap_or(0),
                )),
            },
            _ => Message::LinkDelete {
                address: connecting,
                force: rng.chance(1, 2),
                preserve: rng.chance(1, 2),
            },
        }
    }

    /// What makes good whatever keeps the torrent from being traded, to be said from behind: the last is the one that could be
    /// shed for the others.
    pub fn amends(&self) -> Vec<Message> {
        let streams = (0..CONNECTIONS).map(|connection| Message::StreamDelete {
            stream: StreamName::Outside(ConnectionId(connection)),
        });
        [Message::LimitsSet(self.limits)]
            .into_iter()
            .chain(streams)
            .collect()
    }

    /// The torrent, as it is taken on here.
    #[must_use]
    pub fn session_add(&self) -> SessionAdd {
        SessionAdd {
            metainfo: Arc::clone(&self.metainfo),
            root: self.root.clone(),
            download: !self.seeder,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        }
    }

    /// The torrent by a link, as it is taken on here; the link names no peers.
    #[must_use]
    pub fn magnet_add(&self) -> MagnetAdd {
        let mut magnet = Magnet::of(self.metainfo.info_hash);
        magnet.trackers.clone_from(&self.metainfo.trackers);
        let link = format!("magnet:?xt=urn:btih:{}", self.metainfo.info_hash);
        MagnetAdd {
            brief: Brief::of_magnet(&magnet, &link, self.root.clone()),
            paused: false,
            labels: Vec::new(),
            then: None,
            hold: true,
        }
    }

    fn stream_add(&self, address: SocketAddr, swarm: SwarmId, rng: &mut Rng) -> Message {
        let carrier = if rng.chance(1, 20) {
            // A socket that nobody has: the stream is never heard of again.
            Carrier::Socket(SocketId(1 << 60 | rng.below(8)))
        } else {
            Carrier::Outside(ConnectionId(rng.below(CONNECTIONS)))
        };
        Message::StreamAdd {
            address,
            direction: Direction::of(rng.chance(1, 2)),
            swarm: rng.chance(1, 2).then_some(swarm),
            carrier,
        }
    }

    fn stream(&self, rng: &mut Rng) -> StreamName {
        match any(&self.streams, rng) {
            Some(stream) if rng.chance(1, 2) => StreamName::Stream(stream),
            _ => StreamName::Outside(ConnectionId(rng.below(CONNECTIONS))),
        }
    }

    fn info_hash(&self, rng: &mut Rng) -> InfoHash {
        if rng.chance(1, 3) {
            return self.metainfo.info_hash;
        }
        let name = u8::try_from(rng.below(INFO_HASHES)).unwrap_or(0);
        InfoHash([name; 20])
    }

    fn address(&self, rng: &mut Rng) -> SocketAddr {
        let of = |net, last: u64, port| {
            let last = u8::try_from(last).unwrap_or(1);
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, net, last)), port)
        };
        match rng.below(30) {
            0 => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            1..12 => self.machines[rng.index(self.machines.len())],
            12..22 => of(1, 1 + rng.below(8), 6881),
            _ => of(2, 1 + rng.below(4), 50_000),
        }
    }
}

fn limits(rng: &mut Rng) -> Limits {
    let mut some = |most: u64| {
        let value = u32::try_from(rng.below(most)).unwrap_or(0);
        rng.chance(1, 2).then_some(value)
    };
    Limits {
        links_max: some(12),
        swarm_links_max: some(6),
        upload_slots: some(5),
    }
}

fn remember<T: PartialEq>(names: &mut VecDeque<T>, name: T) {
    if names.contains(&name) {
        return;
    }
    if names.len() >= NAMES_MAX {
        names.pop_front();
    }
    names.push_back(name);
}

fn any<T: Copy>(names: &VecDeque<T>, rng: &mut Rng) -> Option<T> {
    (!names.is_empty()).then(|| names[rng.index(names.len())])
}
