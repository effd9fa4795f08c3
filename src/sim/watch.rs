//! A subscriber that believes nothing: it knows of each link and each peer only what it was told, in order, and compares that
//! with the engine after every turn (requirements D31, E7).
//!
//! ```text
//! a link:  down ── established ──▶ up ── lost ──▶ down         a peer:  gone ── connected ──▶ there ── disconnected ──▶ gone
//!            └──────┴── ignored ──▶ ignored ── lost or established ──▶
//! ```

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::actor::bus::{Filter, Record, Subscription};
use crate::actor::handle::Handle;
use crate::engine::Engine;
use crate::engine::table::link::LinkState;
use crate::events::{Event, Link};
use crate::ids::{InfoHash, PeerId};

/// What was last told of a link that is not down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Up,
    Ignored,
}

/// Events that are shown with a failure.
const LAST_MAX: usize = 12;

/// What can be known from events alone.
#[derive(Debug, Default)]
struct Known {
    links: BTreeMap<SocketAddr, Told>,
    peers: BTreeSet<(InfoHash, PeerId)>,
}

/// One subscriber, and all that it knows.
#[derive(Debug)]
pub struct Watch {
    events: Subscription,
    known: Known,
    sequence: u64,
    /// What came last, for whoever reads of a failure.
    last: VecDeque<Arc<Record>>,
}

impl Watch {
    /// One that listens from now on; nothing has happened yet.
    #[must_use]
    pub fn new(handle: &Handle) -> Self {
        let filter = Filter::of(["link.*", "peer.*"]).unwrap_or(Filter::ALL);
        Self {
            events: handle.subscribe(filter),
            known: Known::default(),
            sequence: 0,
            last: VecDeque::new(),
        }
    }

    /// Takes what was told since the last turn.
    ///
    /// # Errors
    /// What was told that cannot be so.
    pub fn listen(&mut self) -> Result<(), String> {
        while let Ok(record) = self.events.try_next() {
            if record.seq <= self.sequence {
                return Err(format!("event {} came after {}", record.seq, self.sequence));
            }
            self.sequence = record.seq;
            if self.last.len() >= LAST_MAX {
                self.last.pop_front();
            }
            self.last.push_back(Arc::clone(&record));
            self.known
                .hear(&record.event)
                .map_err(|what| format!("{what}; last told: {}", self.last()))?;
        }
        match self.events.missed() {
            0 => Ok(()),
            missed => Err(format!("{missed} events of one turn found no room")),
        }
    }

    fn last(&self) -> String {
        let told = self.last.iter().map(|record| match &record.event {
            Event::PeerConnected(peer) | Event::PeerDisconnected(peer) => format!(
                "{} {} {} {} {} {}",
                record.seq,
                record.event.name(),
                peer.peer_id,
                peer.address,
                peer.direction,
                peer.reason
            ),
            Event::LinkEstablished(link) | Event::LinkLost(link) | Event::LinkIgnored(link) => {
                let name = record.event.name();
                format!("{} {name} {} {}", record.seq, link.address, link.state)
            }
            other => format!("{} {}", record.seq, other.name()),
        });
        told.collect::<Vec<_>>().join(", ")
    }

    /// Compares what it knows with what is so.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, engine: &Engine) -> Result<(), String> {
        let mut known = 0;
        for (address, state) in engine.links() {
            let told = self.known.links.get(&address).copied();
            known += usize::from(told.is_some());
            let agrees = match state {
                LinkState::Established => told == Some(Told::Up),
                LinkState::Ignored { .. } => told == Some(Told::Ignored),
                LinkState::Disconnected { .. } => told.is_none(),
                // A dial is told when it comes to something.
                LinkState::Connecting => told != Some(Told::Up),
            };
            if !agrees {
                return Err(format!("link {address} is {state:?}, told was {told:?}"));
            }
        }
        if known != self.known.links.len() {
            return Err("a link is gone, and nobody was told".to_owned());
        }
        let peers: Vec<_> = engine.peers().collect();
        match peers.iter().find(|peer| !self.known.peers.contains(peer)) {
            Some((_, peer)) => Err(format!("peer {peer} is there, and nobody was told")),
            None if peers.len() != self.known.peers.len() => Err(format!(
                "{} peers are there, told were {}",
                peers.len(),
                self.known.peers.len()
            )),
            None => Ok(()),
        }
    }

    /// What it still believes to be there; after the end that must be nothing.
    ///
    /// # Errors
    /// When there is something.
    pub fn nothing_left(&self) -> Result<(), String> {
        if let Some((address, told)) = self.known.links.first_key_value() {
            return Err(format!("link {address} is {told:?} after the end"));
        }
        match self.known.peers.first() {
            Some((_, peer)) => Err(format!("peer {peer} is connected after the end")),
            None => Ok(()),
        }
    }
}

impl Known {
    fn hear(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::LinkEstablished(link) => {
                if self.links.insert(link.address, Told::Up) == Some(Told::Up) {
                    return Err(format!("link {} was established twice", link.address));
                }
                says(link, &["established"])
            }
            Event::LinkIgnored(link) => {
                self.links.insert(link.address, Told::Ignored);
                says(link, &["ignored"])
            }
            Event::LinkLost(link) => match self.links.entry(link.address) {
                Entry::Vacant(_) => Err(format!("link {} was lost and not there", link.address)),
                Entry::Occupied(entry) => {
                    entry.remove();
                    says(link, &["disconnected", "connecting"])
                }
            },
            Event::PeerConnected(peer) => {
                if self.peers.insert((peer.info_hash, peer.peer_id)) {
                    Ok(())
                } else {
                    Err(format!("peer {} connected twice", peer.peer_id))
                }
            }
            Event::PeerDisconnected(peer) => {
                if self.peers.remove(&(peer.info_hash, peer.peer_id)) {
                    Ok(())
                } else {
                    Err(format!("peer {} left and was not there", peer.peer_id))
                }
            }
            _ => Ok(()),
        }
    }
}

/// Whether an event names one of the states it can stand for.
fn says(link: &Link, states: &[&str]) -> Result<(), String> {
    if states.contains(&link.state) {
        Ok(())
    } else {
        Err(format!(
            "an event says that {} is {}",
            link.address, link.state
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Peer;

    fn link(address: &str, state: &'static str) -> Link {
        Link {
            address: address.parse().unwrap(),
            direction: "outgoing",
            state,
            attempts: 0,
            until: 0,
        }
    }

    fn peer(id: u8) -> Peer {
        Peer {
            info_hash: InfoHash([1; 20]),
            address: "10.0.0.1:1".parse().unwrap(),
            peer_id: PeerId([id; 20]),
            client: String::new(),
            direction: "outgoing",
            transport: "tcp",
            encrypted: false,
            reason: "",
            bytes: 0,
            seconds: 0,
        }
    }

    #[test]
    fn only_what_can_follow_is_believed() {
        let up = |at| Event::LinkEstablished(link(at, "established"));
        let down = |at| Event::LinkLost(link(at, "disconnected"));
        let ignored = |at| Event::LinkIgnored(link(at, "ignored"));
        let comes = |id| Event::PeerConnected(peer(id));
        let goes = |id| Event::PeerDisconnected(peer(id));
        let (a, b) = ("10.0.0.1:1", "10.0.0.2:1");
        #[rustfmt::skip]
        let table: &[(&str, Vec<Event>, bool)] = &[
            ("up and down again",         vec![up(a), down(a), up(a), down(a)],        true),
            ("two links",                 vec![up(a), up(b), down(a), down(b)],        true),
            ("ignored, and renewed",      vec![ignored(a), ignored(a), down(a)],       true),
            ("ignored, and met all the same", vec![ignored(a), up(a), ignored(a)],     true),
            ("up twice",                  vec![up(a), up(a)],                          false),
            ("down first",                vec![down(a)],                               false),
            ("down twice",                vec![up(a), down(a), down(a)],               false),
            ("down of another",           vec![up(a), down(b)],                        false),
            ("another state than its name", vec![Event::LinkLost(link(a, "established"))], false),
            ("a peer twice",              vec![comes(1), goes(1), comes(1)],           true),
            ("two peers",                 vec![comes(1), comes(2), goes(1)],           true),
            ("a peer twice at once",      vec![comes(1), comes(1)],                    false),
            ("a peer that never came",    vec![comes(1), goes(2)],                     false),
        ];
        for (name, events, believed) in table {
            let mut known = Known::default();
            let heard = events.iter().try_for_each(|event| known.hear(event));
            assert_eq!(heard.is_ok(), *believed, "{name}: {heard:?}");
        }
    }
}
