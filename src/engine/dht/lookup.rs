//! One search through the network: ask those nearest to a place for who is nearer, until the nearest have all answered.
//!
//! Against those who would put their own nodes around a place: an address counts once, a network ([`network_of`]) twice;
//! and nodes with an unlawful name ([`super::id`]) are asked beside the lawful ones, never instead of them, and are never
//! told to store anything (BEP 42).

use crate::codec::address;
use crate::codec::krpc::compact::Node;
use crate::codec::krpc::{NodeId, TOKEN_MAX};
use crate::ids::InfoHash;
use crate::time::{Duration, Instant};

use super::id;
use super::routing::{BUCKET_NODES, network_of};

/// Questions that wait for an answer at a time; those that are late do not count.
pub const ALPHA: usize = 4;
/// Questions of one lookup; then it is over, wherever it is.
pub const QUESTIONS_MAX: usize = 80;
/// It is over after so long, wherever it is.
pub const SPAN_MAX: Duration = Duration::from_secs(60);
/// Nodes that a lookup remembers; for one more, the farthest goes.
const CANDIDATES_MAX: usize = 64;
/// Nodes of one network among them.
const NETWORK_CANDIDATES: usize = 2;
/// Of the nearest unlawful nodes so many are asked.
const UNLAWFUL_ASKED: usize = 4;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Nodes near the place.
    Nodes,
    /// Who trades in a torrent.
    Peers(Search),
}

/// A search for the peers of a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Which.
    pub info_hash: InfoHash,
    /// Our port, when others are to know that we trade in it too. `None`: nobody learns of us but by our questions.
    pub port: Option<u16>,
    /// Whether the port that others see counts instead of it: behind a NAT that changes ports.
    pub implied_port: bool,
    /// Whether we have all of it, and seeds are of no use to us.
    pub seed: bool,
    /// Whether somebody waits for it. Others only get what those leave over.
    pub urgent: bool,
}

/// The token that a node gave us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    length: u8,
    bytes: [u8; TOKEN_MAX],
}

impl Token {
    /// Empty when it is longer than [`TOKEN_MAX`].
    #[must_use]
    pub fn new(token: &[u8]) -> Self {
        let mut bytes = [0; TOKEN_MAX];
        let Some((room, length)) = bytes
            .get_mut(..token.len())
            .zip(token.len().try_into().ok())
        else {
            return Self::default();
        };
        room.copy_from_slice(token);
        Self { length, bytes }
    }

    /// As it was given.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    New,
    Asked,
    /// Asked, and silent for a while: others are asked meanwhile.
    Late,
    Answered(Token),
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    distance: NodeId,
    node: Node,
    /// Whether its name is known: not of those that we know by address alone.
    named: bool,
    lawful: bool,
    state: State,
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Its number.
    pub id: u64,
    /// The place.
    pub target: NodeId,
    /// What for.
    pub goal: Goal,
    began: Instant,
    /// Nearest first.
    candidates: Vec<Candidate>,
    asked: usize,
    /// Peers it has found.
    pub found: usize,
}

impl Lookup {
    /// Nobody to ask yet.
    #[must_use]
    pub const fn new(id: u64, target: NodeId, goal: Goal, now: Instant) -> Self {
        Self {
            id,
            target,
            goal,
            began: now,
            candidates: Vec::new(),
            asked: 0,
            found: 0,
        }
    }

    /// Whether somebody waits for it.
    #[must_use]
    pub const fn is_urgent(&self) -> bool {
        matches!(
            self.goal,
            Goal::Nodes | Goal::Peers(Search { urgent: true, .. })
        )
    }

    /// Questions asked so far.
    #[must_use]
    pub const fn asked(&self) -> usize {
        self.asked
    }

    /// Somebody has named `node`; without `named`, only its address counts.
    pub fn add(&mut self, node: Node, named: bool) {
        let ip = node.address.ip();
        let (is_global, network) = (address::is_global(ip), network_of(ip));
        let mut of_network = 0;
        for other in &self.candidates {
            let known = other.node.address;
            if known == node.address || (named && other.named && other.node.id == node.id) {
                return;
            }
            if is_global
                && !matches!(other.state, State::Failed)
                && network_of(known.ip()) == network
            {
                of_network += 1;
                if known.ip() == ip || of_network >= NETWORK_CANDIDATES {
                    return;
                }
            }
        }
        let distance = if named {
            self.target.distance(&node.id)
        } else {
            NodeId([0xff; 20])
        };
        self.place(Candidate {
            distance,
            node,
            named,
            lawful: named && id::is_lawful(&node.id, ip),
            state: State::New,
        });
        if self.candidates.len() > CANDIDATES_MAX {
            let is_waited_for = |one: &Candidate| matches!(one.state, State::Asked | State::Late);
            if let Some(last) = self.candidates.iter().rposition(|one| !is_waited_for(one)) {
                self.candidates.remove(last);
            }
        }
    }

    fn place(&mut self, candidate: Candidate) {
        let at = (self.candidates).partition_point(|other| other.distance <= candidate.distance);
        self.candidates.insert(at, candidate);
    }

    /// Whom to ask next; it counts as asked.
    pub fn ask_next(&mut self) -> Option<(Node, bool)> {
        let at = self.next_at()?;
        let candidate = &mut self.candidates[at];
        candidate.state = State::Asked;
        self.asked += 1;
        Some((candidate.node, candidate.named))
    }

    /// Whether there is somebody to ask now.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.next_at().is_some()
    }

    fn next_at(&self) -> Option<usize> {
        let waiting = (self.candidates.iter()).filter(|one| matches!(one.state, State::Asked));
        if self.asked >= QUESTIONS_MAX || waiting.count() >= ALPHA {
            return None;
        }
        let (mut lawful, mut unlawful) = (0, 0);
        for (at, candidate) in self.candidates.iter().enumerate() {
            let (count, most) = if candidate.lawful {
                (&mut lawful, BUCKET_NODES)
            } else {
                (&mut unlawful, UNLAWFUL_ASKED)
            };
            if *count == most {
                continue;
            }
            match candidate.state {
                State::New => return Some(at),
                State::Asked | State::Answered(_) => *count += 1,
                State::Late | State::Failed => {}
            }
        }
        None
    }

    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        let is_waiting = (self.candidates.iter()).any(|one| matches!(one.state, State::Asked));
        now.since(self.began) >= SPAN_MAX || (!is_waiting && !self.has_next())
    }

    /// `node` has answered, and given a token.
    pub fn answered(&mut self, node: Node, token: &[u8]) {
        let Some(at) = self.position(&node) else {
            return;
        };
        let mut candidate = self.candidates[at];
        candidate.state = State::Answered(Token::new(token));
        if candidate.named && candidate.node.id != node.id {
            // Somebody has named it wrongly, or it says one thing to others and another to us.
            self.candidates[at].state = State::Failed;
            return;
        }
        if !candidate.named {
            self.candidates.remove(at);
            candidate.node = node;
            candidate.named = true;
            candidate.distance = self.target.distance(&node.id);
            candidate.lawful = id::is_lawful(&node.id, node.address.ip());
            self.place(candidate);
            return;
        }
        self.candidates[at] = candidate;
    }

    /// The node at `address` is silent: for a while, or for good.
    pub fn silent(&mut self, node: &Node, for_good: bool) {
        if let Some(at) = self.position(node) {
            self.candidates[at].state = if for_good { State::Failed } else { State::Late };
        }
    }

    fn position(&self, node: &Node) -> Option<usize> {
        (self.candidates.iter()).position(|one| {
            one.node.address == node.address && matches!(one.state, State::Asked | State::Late)
        })
    }

    /// The nearest lawful nodes that have answered and given a token: those that may be told to store.
    pub fn keepers(&self) -> impl Iterator<Item = (Node, Token)> + '_ {
        let keepers = self.candidates.iter().filter_map(|one| match one.state {
            State::Answered(token) if one.lawful && token.length > 0 => Some((one.node, token)),
            _ => None,
        });
        keepers.take(BUCKET_NODES)
    }

    /// The nearest nodes that have answered.
    pub fn nearest(&self) -> impl Iterator<Item = Node> + '_ {
        let answered =
            (self.candidates.iter()).filter(|one| matches!(one.state, State::Answered(_)));
        answered.take(BUCKET_NODES).map(|one| one.node)
    }
}

#[cfg(test)]
mod tests;
