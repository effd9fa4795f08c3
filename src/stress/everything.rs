//! Operations of every kind on a small table, so that they meet each other: swarms come and go while their links have
//! streams, addresses are pinned, deleted, moved, and connections are told twice.

use crate::engine::message::Accounting;
use crate::rng::Rng;

use super::trace::Op;

/// Swarm numbers in use.
pub const SWARMS: u16 = 6;

/// Address numbers in use; 0 is one nobody can be dialled at.
const ADDRESSES: u64 = 40;

/// Connections remembered as perhaps up.
const CONNECTIONS: usize = 64;

/// An endless trace.
#[derive(Debug)]
pub struct Everything {
    rng: Rng,
    connections: u32,
    recent: Vec<u32>,
    /// Pushed out of those remembered: it ends next, so that the table stays small.
    owed: Option<u32>,
}

impl Everything {
    /// All of it follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            connections: 0,
            recent: Vec::new(),
            owed: None,
        }
    }

    /// Ends a trace: what every swarm looks like.
    pub fn end() -> impl Iterator<Item = Op> {
        (0..SWARMS).flat_map(|swarm| {
            [
                Op::SwarmFind { swarm },
                Op::SwarmCondition { swarm },
                Op::LinksCount { swarm },
                Op::LinksShow {
                    swarm,
                    established_only: false,
                },
                Op::LinksShow {
                    swarm,
                    established_only: true,
                },
                Op::IgnoredShow { swarm },
            ]
        })
    }

    fn swarm(&mut self) -> u16 {
        u16::try_from(self.rng.below(SWARMS.into())).unwrap_or(0)
    }

    fn address(&mut self) -> u32 {
        u32::try_from(self.rng.below(ADDRESSES)).unwrap_or(0)
    }

    /// One that was added, or was and is gone; rarely one that never was.
    fn connection(&mut self) -> u32 {
        if self.recent.is_empty() || self.rng.chance(1, 40) {
            return u32::MAX;
        }
        self.recent[self.rng.index(self.recent.len())]
    }

    fn stream_add(&mut self) -> Op {
        let connection = if self.rng.chance(1, 16) {
            self.connection()
        } else {
            self.connections += 1;
            if self.recent.len() < CONNECTIONS {
                self.recent.push(self.connections);
            } else {
                let at = self.rng.index(CONNECTIONS);
                self.owed = Some(std::mem::replace(&mut self.recent[at], self.connections));
            }
            self.connections
        };
        Op::StreamAdd {
            address: self.address(),
            outgoing: self.rng.chance(1, 2),
            swarm: (!self.rng.chance(1, 6)).then(|| self.swarm()),
            connection,
        }
    }

    fn account(&mut self) -> Op {
        Op::Account {
            address: self.address(),
            swarm: self.swarm(),
            verdict: match self.rng.below(6) {
                0 => Accounting::Failed,
                1 => Accounting::Leaves,
                _ => Accounting::Member,
            },
        }
    }
}

impl Iterator for Everything {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        if let Some(connection) = self.owed.take() {
            return Some(Op::StreamDelete { connection });
        }
        let dice = self.rng.below(100);
        Some(match dice {
            0..14 => Op::LinkCreate {
                address: self.address(),
                swarm: self.swarm(),
            },
            14..38 => self.stream_add(),
            38..50 => Op::StreamDelete {
                connection: self.connection(),
            },
            50..70 => self.account(),
            70..73 => Op::StreamReplace {
                old: self.connection(),
                new: self.connection(),
                outgoing: self.rng.chance(1, 2),
            },
            73..75 => Op::LinkDelete {
                address: self.address(),
                force: self.rng.chance(1, 2),
                preserve: self.rng.chance(1, 3),
            },
            75..77 => Op::LinkUpdate {
                address: self.address(),
                to: self.address(),
            },
            77..80 => Op::Pin {
                address: self.address(),
                swarm: self.swarm(),
            },
            80..82 => Op::Unpin {
                address: self.address(),
                swarm: self.swarm(),
            },
            82..86 => Op::SwarmAdd {
                swarm: self.swarm(),
                links_min: u16::try_from(self.rng.below(8)).unwrap_or(0),
            },
            86 if self.rng.chance(1, 3) => Op::SwarmRemove {
                swarm: self.swarm(),
            },
            86..88 => Op::SwarmSwitch {
                swarm: self.swarm(),
                on: self.rng.chance(2, 3),
            },
            88..92 => Op::LinkFind {
                address: self.address(),
                swarm: self.swarm(),
            },
            92..95 => Op::LinksCount {
                swarm: self.swarm(),
            },
            95..97 => Op::LinksShow {
                swarm: self.swarm(),
                established_only: self.rng.chance(1, 2),
            },
            97 => Op::SwarmFind {
                swarm: self.swarm(),
            },
            98 => Op::SwarmCondition {
                swarm: self.swarm(),
            },
            _ => Op::IgnoredShow {
                swarm: self.swarm(),
            },
        })
    }
}
