//! Operations on the link table by numbers instead of ids, so that one trace goes through any side, and where they come from.
//!
//! Everything follows from a seed. A swarm is a number, an address is a number, a connection is a number; [`Names`] knows
//! what one side calls the swarms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::engine::message::{
    Accounting, Answer, Carrier, Direction, Message, Refusal, StreamName,
};
use crate::ids::{ConnectionId, InfoHash, SwarmId};
use crate::rng::Rng;

/// One operation. Small, so that millions of them are read from memory faster than they are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the messages")]
pub enum Op {
    LinkCreate {
        address: u32,
        swarm: u16,
    },
    LinkUpdate {
        address: u32,
        to: u32,
    },
    LinkDelete {
        address: u32,
        force: bool,
        preserve: bool,
    },
    LinkFind {
        address: u32,
        swarm: u16,
    },
    StreamAdd {
        address: u32,
        outgoing: bool,
        swarm: Option<u16>,
        connection: u32,
    },
    StreamDelete {
        connection: u32,
    },
    StreamReplace {
        old: u32,
        new: u32,
        outgoing: bool,
    },
    SwarmAdd {
        swarm: u16,
        links_min: u16,
    },
    SwarmRemove {
        swarm: u16,
    },
    SwarmSwitch {
        swarm: u16,
        on: bool,
    },
    SwarmFind {
        swarm: u16,
    },
    LinksCount {
        swarm: u16,
    },
    LinksShow {
        swarm: u16,
        established_only: bool,
    },
    SwarmCondition {
        swarm: u16,
    },
    IgnoredShow {
        swarm: u16,
    },
    Account {
        address: u32,
        swarm: u16,
        verdict: Accounting,
    },
    Pin {
        address: u32,
        swarm: u16,
    },
    Unpin {
        address: u32,
        swarm: u16,
    },
}

const _: () = assert!(size_of::<Op>() <= 16, "an operation is read, not fetched");

impl Op {
    /// Whether it only looks.
    #[must_use]
    pub const fn is_query(self) -> bool {
        matches!(
            self,
            Self::LinkFind { .. }
                | Self::SwarmFind { .. }
                | Self::LinksCount { .. }
                | Self::LinksShow { .. }
                | Self::SwarmCondition { .. }
                | Self::IgnoredShow { .. }
        )
    }

    /// Whether `answer` is one that this operation may have. A stream in the way, a swarm that is off or a table that is full
    /// are answers too; a kind that belongs to another message is not.
    #[must_use]
    pub const fn allows(self, answer: &Answer) -> bool {
        if let Answer::Refused(refusal) = answer {
            return !matches!(
                refusal,
                Refusal::UnknownSession | Refusal::Duplicate(_) | Refusal::ShuttingDown
            );
        }
        match self {
            Self::LinkCreate { .. } | Self::Pin { .. } => matches!(answer, Answer::Link(_)),
            Self::LinkFind { .. } => matches!(answer, Answer::Found(_)),
            Self::StreamAdd { .. } => matches!(answer, Answer::Stream(_)),
            Self::SwarmAdd { .. } | Self::SwarmFind { .. } => matches!(answer, Answer::Swarm(_)),
            Self::SwarmSwitch { .. } | Self::SwarmCondition { .. } => {
                matches!(answer, Answer::Condition(_))
            }
            Self::LinksCount { .. } => matches!(answer, Answer::Count(_)),
            Self::LinksShow { .. } => matches!(answer, Answer::Links { .. }),
            Self::IgnoredShow { .. } => matches!(answer, Answer::Ignored { .. }),
            Self::LinkUpdate { .. }
            | Self::LinkDelete { .. }
            | Self::StreamDelete { .. }
            | Self::StreamReplace { .. }
            | Self::SwarmRemove { .. }
            | Self::Account { .. }
            | Self::Unpin { .. } => matches!(answer, Answer::Done),
        }
    }
}

/// What one side calls the swarms.
#[derive(Clone, Debug)]
pub struct Names(Vec<SwarmId>);

impl Names {
    /// Of `swarms` swarms that nobody has added yet.
    #[must_use]
    pub fn new(swarms: u16) -> Self {
        Self(vec![SwarmId::new(u32::MAX, 0); usize::from(swarms)])
    }

    /// Remembers the name of a swarm from the answer that tells it.
    pub fn learn(&mut self, op: Op, answer: &Answer) {
        if let Op::SwarmAdd { swarm, .. } | Op::SwarmFind { swarm } = op
            && let Answer::Swarm(id) | Answer::Refused(Refusal::SwarmExists(id)) = answer
        {
            self.0[usize::from(swarm)] = *id;
        }
    }

    /// The operation as a message to the side whose names these are.
    #[must_use]
    pub fn message(&self, op: Op) -> Message {
        let name = |swarm: u16| self.0[usize::from(swarm)];
        match op {
            Op::LinkCreate { address, swarm } => Message::LinkCreate {
                address: address_of(address),
                swarm: name(swarm),
            },
            Op::LinkUpdate { address, to } => {
                let to = address_of(to);
                Message::LinkUpdate {
                    address: address_of(address),
                    ip: to.ip(),
                    port: to.port(),
                }
            }
            Op::LinkDelete {
                address,
                force,
                preserve,
            } => Message::LinkDelete {
                address: address_of(address),
                force,
                preserve,
            },
            Op::LinkFind { address, swarm } => Message::LinkFind {
                address: address_of(address),
                swarm: name(swarm),
            },
            Op::StreamAdd {
                address,
                outgoing,
                swarm,
                connection,
            } => Message::StreamAdd {
                address: address_of(address),
                direction: direction(outgoing),
                swarm: swarm.map(name),
                carrier: Carrier::Outside(ConnectionId(connection.into())),
            },
            Op::StreamDelete { connection } => Message::StreamDelete {
                stream: outside(connection),
            },
            Op::StreamReplace { old, new, outgoing } => Message::StreamReplace {
                old: outside(old),
                new: outside(new),
                direction: direction(outgoing),
            },
            Op::SwarmAdd { swarm, links_min } => Message::SwarmAdd {
                info_hash: hash_of(swarm),
                links_min: links_min.into(),
            },
            Op::SwarmRemove { swarm } => Message::SwarmRemove { swarm: name(swarm) },
            Op::SwarmSwitch { swarm, on } => Message::SwarmSwitch {
                swarm: name(swarm),
                on,
            },
            Op::SwarmFind { swarm } => Message::SwarmFind {
                info_hash: hash_of(swarm),
            },
            Op::LinksCount { swarm } => Message::LinksCount { swarm: name(swarm) },
            Op::LinksShow {
                swarm,
                established_only,
            } => Message::LinksShow {
                swarm: name(swarm),
                established_only,
            },
            Op::SwarmCondition { swarm } => Message::SwarmCondition { swarm: name(swarm) },
            Op::IgnoredShow { swarm } => Message::IgnoredShow { swarm: name(swarm) },
            Op::Account {
                address,
                swarm,
                verdict,
            } => Message::Account {
                address: address_of(address),
                swarm: name(swarm),
                verdict,
            },
            Op::Pin { address, swarm } => Message::Pin {
                address: address_of(address),
                swarm: name(swarm),
            },
            Op::Unpin { address, swarm } => Message::Unpin {
                address: address_of(address),
                swarm: name(swarm),
            },
        }
    }
}

/// Address number 0 is one that nobody can be dialled at, one in sixteen is IPv6, one in sixteen comes dressed as IPv6.
#[must_use]
pub fn address_of(number: u32) -> SocketAddr {
    let port = 1024 + u16::try_from(number % 50_000).unwrap_or(0);
    let [_, b, c, d] = number.to_be_bytes();
    let ip = Ipv4Addr::new(20, b, c, d);
    let ip: IpAddr = match number % 16 {
        7 => Ipv6Addr::new(
            0x2600,
            0,
            0,
            0,
            0,
            0,
            u16::from(b),
            u16::from_be_bytes([c, d]),
        )
        .into(),
        11 => ip.to_ipv6_mapped().into(),
        _ => ip.into(),
    };
    SocketAddr::new(ip, if number == 0 { 0 } else { port })
}

fn hash_of(swarm: u16) -> InfoHash {
    let mut hash = [0x5a; 20];
    hash[..2].copy_from_slice(&swarm.to_be_bytes());
    InfoHash(hash)
}

const fn direction(outgoing: bool) -> Direction {
    if outgoing {
        Direction::Outgoing
    } else {
        Direction::Incoming
    }
}

fn outside(connection: u32) -> StreamName {
    StreamName::Outside(ConnectionId(connection.into()))
}

/// How much table a load works on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Swarms, shared by all producers.
    pub swarms: u16,
    /// Streams that one producer has at a time, about.
    pub streams: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            swarms: 16,
            streams: 1024,
        }
    }
}

/// Connections that one producer may number.
const CONNECTIONS: u32 = 1 << 24;

/// Addresses that one producer draws from, and as many that all share.
const ADDRESSES: u32 = 1 << 12;

/// What one producer does: a connection here and there, its handshake's verdict, its end; and it knows which are up.
#[derive(Clone, Debug)]
pub struct Mix {
    rng: Rng,
    shape: Shape,
    producer: u32,
    connections: u32,
    live: Vec<(u32, u16, u32)>,
}

impl Mix {
    /// Of producer number `producer`, below 256.
    #[must_use]
    pub fn new(seed: u64, producer: u8, shape: Shape) -> Self {
        Self {
            rng: Rng::new(seed ^ u64::from(producer).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            shape,
            producer: producer.into(),
            connections: 0,
            live: Vec::new(),
        }
    }

    /// The streams that are up before the load begins: half of what the producer has at a time, with their verdicts.
    #[must_use]
    pub fn prefill(&mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        for _ in 0..self.shape.streams / 2 {
            let add = self.add();
            ops.push(add);
            if let Some(&(address, swarm, _)) = self.live.last() {
                let verdict = Accounting::Member;
                ops.push(Op::Account {
                    address,
                    swarm,
                    verdict,
                });
            }
        }
        ops
    }

    /// 40 % streams added, 20 % deleted, 30 % verdicts, 10 % queries. At the equilibrium half of the additions are told a second
    /// time, and refused: else the table would grow without end.
    #[must_use]
    pub fn links(&mut self, count: usize) -> Vec<Op> {
        (0..count)
            .map(|_| match self.rng.below(10) {
                0..4 => self.add(),
                4..6 => self.delete(),
                6..9 => self.account(),
                _ => self.query(),
            })
            .collect()
    }

    /// Queries of the normal lane, one in four of the high lane (a verdict on a link that is not there changes nothing).
    #[must_use]
    pub fn queries(&mut self, count: usize) -> Vec<Op> {
        (0..count)
            .map(|_| match self.rng.below(4) {
                0 => self.nothing(),
                _ => self.query(),
            })
            .collect()
    }

    /// Something of the high lane that looks a link up, finds none, and changes nothing.
    #[must_use]
    pub fn nothing(&mut self) -> Op {
        Op::Account {
            address: u32::MAX >> 8,
            swarm: self.swarm(),
            verdict: Accounting::Member,
        }
    }

    /// One of the three that are asked most.
    #[must_use]
    pub fn query(&mut self) -> Op {
        match self.rng.below(10) {
            0..6 => {
                let (address, swarm, _) = self.one();
                Op::LinkFind { address, swarm }
            }
            6..9 => Op::LinksCount {
                swarm: self.swarm(),
            },
            _ => Op::SwarmCondition {
                swarm: self.swarm(),
            },
        }
    }

    fn add(&mut self) -> Op {
        let room = u64::from(self.shape.streams);
        let is_fresh = self.rng.below(room) >= self.live.len() as u64;
        let (address, swarm, connection) = if is_fresh {
            self.connections = (self.connections + 1) % CONNECTIONS;
            let connection = self.producer * CONNECTIONS + self.connections;
            let stream = (self.address(), self.swarm(), connection);
            self.live.push(stream);
            stream
        } else {
            self.one()
        };
        Op::StreamAdd {
            address,
            outgoing: false,
            swarm: Some(swarm),
            connection,
        }
    }

    fn delete(&mut self) -> Op {
        let connection = if self.live.is_empty() {
            // A late duplicate.
            self.producer * CONNECTIONS
        } else {
            let at = self.rng.index(self.live.len());
            self.live.swap_remove(at).2
        };
        Op::StreamDelete { connection }
    }

    fn account(&mut self) -> Op {
        // Handshakes end soon after their streams begin, so most verdicts are about the newest.
        let (address, swarm, _) = if self.rng.chance(3, 4) {
            let newest = self.live.len().saturating_sub(1 + self.rng.index(4));
            self.live.get(newest).copied().unwrap_or((1, 0, 0))
        } else {
            self.one()
        };
        let verdict = if self.rng.chance(1, 32) {
            Accounting::Leaves
        } else {
            Accounting::Member
        };
        Op::Account {
            address,
            swarm,
            verdict,
        }
    }

    fn one(&mut self) -> (u32, u16, u32) {
        let at = self.rng.index(self.live.len());
        self.live.get(at).copied().unwrap_or((1, 0, 0))
    }

    fn swarm(&mut self) -> u16 {
        u16::try_from(self.rng.below(self.shape.swarms.into())).unwrap_or(0)
    }

    /// One in eight belongs to no producer: links that several of them share.
    fn address(&mut self) -> u32 {
        let range = if self.rng.chance(1, 8) {
            0
        } else {
            1 + self.producer
        };
        1 + range * ADDRESSES + u32::try_from(self.rng.below(ADDRESSES.into())).unwrap_or(0)
    }
}
