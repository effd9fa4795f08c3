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

use crate::actor::bus::{Filter, Record, Subscription, name_of};
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

/// All that one subscriber knows.
#[derive(Debug)]
pub struct Watch {
    events: Subscription,
    links: BTreeMap<SocketAddr, Told>,
    peers: BTreeSet<(InfoHash, PeerId)>,
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
            links: BTreeMap::new(),
            peers: BTreeSet::new(),
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
            self.hear(&record.event)
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
                name_of(&record.event),
                peer.peer_id,
                peer.address,
                peer.direction,
                peer.reason
            ),
            Event::LinkEstablished(link) | Event::LinkLost(link) | Event::LinkIgnored(link) => {
                let name = name_of(&record.event);
                format!("{} {name} {} {}", record.seq, link.address, link.state)
            }
            other => format!("{} {}", record.seq, name_of(other)),
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
            let told = self.links.get(&address).copied();
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
        if known != self.links.len() {
            return Err("a link is gone, and nobody was told".to_owned());
        }
        let peers: Vec<_> = engine.peers().collect();
        match peers.iter().find(|peer| !self.peers.contains(peer)) {
            Some((_, peer)) => Err(format!("peer {peer} is there, and nobody was told")),
            None if peers.len() != self.peers.len() => Err(format!(
                "{} peers are there, told were {}",
                peers.len(),
                self.peers.len()
            )),
            None => Ok(()),
        }
    }

    /// What it still believes to be there; after the end that must be nothing.
    ///
    /// # Errors
    /// When there is something.
    pub fn nothing_left(&self) -> Result<(), String> {
        if let Some((address, told)) = self.links.first_key_value() {
            return Err(format!("link {address} is {told:?} after the end"));
        }
        match self.peers.first() {
            Some((_, peer)) => Err(format!("peer {peer} is connected after the end")),
            None => Ok(()),
        }
    }

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
