//! How everybody stands: asked every second, and looked at in the end.

use crate::codec::geometry::PieceIndex;
use crate::config::Config;
use crate::engine::message::{Answer, Message, Progress, Refusal, SessionAdd, SessionState};
use crate::sim::disk::Disk;
use crate::sim::net::NodeIndex;

use super::{LIVENESS, LOOK_EVERY, Peer, REST, STOP_BUDGET, STOP_GRACE, World};

/// The machine that everybody knows where there is no tracker; it does not have the torrent from the start.
const ACQUAINTANCE: NodeIndex = 1;
/// Bytes of a torrent that takes long enough for its peers to be introduced.
const INTRODUCED_BYTES: u64 = 500_000;

impl World {
    /// Takes the answers, and asks everybody anew every [`LOOK_EVERY`].
    pub(super) fn look(&mut self) -> Result<(), String> {
        let now = self.now();
        let again = now >= self.next_look;
        if again {
            self.next_look = now + LOOK_EVERY;
        }
        for node in 0..self.peers.len() {
            if self.processes[node].is_none() {
                continue;
            }
            self.take_answers(node)?;
            let stopping = self.peers[node].stopping;
            if let Some(since) = stopping {
                let since = since.max(self.peers[node].frozen_until);
                if now.since(since) > STOP_BUDGET + STOP_GRACE {
                    return Err(format!("node {node} does not stop"));
                }
            } else if again {
                self.ask_how_it_stands(node)?;
            }
        }
        Ok(())
    }

    pub(super) fn take_answers(&mut self, node: NodeIndex) -> Result<(), String> {
        let mut common = self.common.borrow_mut();
        let answers = std::mem::take(&mut common.nodes[node].answers);
        let callers = self.options.faults.caller.every_ms > 0;
        let peer = &mut self.peers[node];
        for (number, answer) in answers {
            match answer {
                Answer::Session(session) if peer.adding == Some(number) => {
                    (peer.adding, peer.session) = (None, Some(session));
                    if self.options.faults.node.acquainted && node != ACQUAINTANCE {
                        let address = common.net.address(ACQUAINTANCE);
                        common.nodes[node].ask(Message::PeerAdd { session, address });
                    }
                }
                // What the link named is known: all of it is wanted.
                Answer::Metadata(Some((metainfo, _))) if peer.adding.is_none() => {
                    let add = SessionAdd {
                        metainfo,
                        root: self.torrent.layout.root.clone(),
                        download: true,
                        seed: true,
                        recheck: false,
                        wanted: Vec::new(),
                    };
                    let number = common.nodes[node].ask(Message::SessionAdd(Box::new(add)));
                    peer.adding = Some(number);
                }
                Answer::Metadata(_) => {}
                Answer::Snapshot(snapshot) if peer.showing == Some(number) => {
                    peer.showing = None;
                    peer.stood = format!(
                        "has {} pieces and is {} {}",
                        snapshot.pieces_have,
                        snapshot.state.name(),
                        snapshot.error
                    );
                    peer.complete = snapshot.state == SessionState::Seeding
                        && snapshot.pieces_have == snapshot.pieces_total;
                    peer.known = peer.known.max(snapshot.candidates);
                    // Whom it was told of is one; the others it has from that one. Who has everything need not look for others,
                    // and a small torrent is there before there is time to.
                    let meets = self.options.faults.node.acquainted
                        && !peer.seeder
                        && node != ACQUAINTANCE
                        && self.torrent.size() >= INTRODUCED_BYTES;
                    peer.complete &= peer.known > 1 || !meets;
                    if snapshot.state == SessionState::Metadata {
                        let session = snapshot.session;
                        common.nodes[node].ask(Message::MetadataShow { session });
                    }
                    let calm = self.calmed;
                    let state = snapshot.state;
                    let rests = [SessionState::Error, SessionState::Paused].contains(&state);
                    if calm && rests {
                        let session = snapshot.session;
                        common.nodes[node].ask(Message::SessionResume { session });
                    }
                    if calm && callers {
                        let info_hash = snapshot.info_hash;
                        common.nodes[node].ask(Message::SwarmFind { info_hash });
                    }
                }
                Answer::Engine(engine) => {
                    peer.held = Some((engine.blocks_taken, engine.jobs_running));
                }
                Answer::Done => {}
                Answer::Refused(_) if peer.stopping.is_some() => {}
                // A caller switched it off, or took the torrent away, or was quicker in adding it.
                Answer::Swarm(swarm) if callers => {
                    common.nodes[node].ask(Message::SwarmSwitch { swarm, on: true });
                }
                Answer::Condition(_) if callers => {}
                Answer::Refused(Refusal::UnknownSession) if peer.showing == Some(number) => {
                    (peer.showing, peer.session, peer.complete) = (None, None, false);
                }
                Answer::Refused(Refusal::Duplicate(session)) if peer.adding == Some(number) => {
                    (peer.adding, peer.session) = (None, Some(session));
                }
                Answer::Refused(Refusal::UnknownSession | Refusal::UnknownSwarm) if callers => {}
                other => return Err(format!("node {node} answers {other:?}")),
            }
        }
        Ok(())
    }

    pub(super) fn ask_how_it_stands(&mut self, node: NodeIndex) -> Result<(), String> {
        let peer = &mut self.peers[node];
        if peer.showing.is_some() {
            let now = self.common.borrow().now;
            if now.since(peer.frozen_until) < 2 * LOOK_EVERY {
                return Ok(());
            }
            return Err(format!("node {node} did not answer within {LOOK_EVERY:?}"));
        }
        if peer.session.is_none() && peer.adding.is_none() {
            let config = Config::default();
            let add = super::added(&self.cast(node, &config), self.options.faults);
            let number = self.common.borrow_mut().nodes[node].ask(add);
            self.peers[node].adding = Some(number);
            return Ok(());
        }
        let peer = &mut self.peers[node];
        if let Some(session) = peer.session {
            let mut common = self.common.borrow_mut();
            peer.showing = Some(common.nodes[node].ask(Message::SessionShow { session }));
            if self.resting {
                common.nodes[node].ask(Message::EngineShow);
            }
        }
        Ok(())
    }

    pub(super) fn all_complete(&self) -> bool {
        let done = |peer: &Peer| peer.complete && peer.stopping.is_none();
        self.peers.iter().all(done)
    }

    pub(super) fn all_rest(&self) -> bool {
        self.peers.iter().all(|peer| peer.held == Some((0, 0)))
    }

    pub(super) fn who_holds_something(&self) -> String {
        let held: Vec<_> = (self.peers.iter().enumerate())
            .map(|(node, peer)| format!("node {node} {:?}", peer.held))
            .collect();
        format!(
            "buffers and jobs are held {REST:?} after the end: {}",
            held.join(", ")
        )
    }

    pub(super) fn who_is_missing(&self) -> String {
        let total = self.torrent.layout.geometry.piece_count();
        let missing: Vec<_> = (self.peers.iter().enumerate())
            .filter(|(_, peer)| !peer.complete)
            .map(|(node, peer)| format!("node {node} {}", peer.stood))
            .collect();
        format!(
            "not everybody has all {total} pieces {LIVENESS:?} after the faults: {}",
            missing.join(", ")
        )
    }

    // The end.

    /// Everybody has stopped: what is remembered is everything, and it is on the devices.
    pub(super) fn check_end(&self) -> Result<(), String> {
        let common = self.common.borrow();
        for (node, peer) in self.peers.iter().enumerate() {
            if self.processes[node].is_some() {
                return Err(format!("node {node} did not stop"));
            }
            let row = common.nodes[node]
                .store
                .row(self.torrent.metainfo.info_hash);
            let count = self.torrent.layout.geometry.piece_count() as usize;
            let full = crate::codec::bitfield::Bitfield::full(count).to_wire();
            // Of a file of which a flush failed nothing is recorded, so that the next start hashes it.
            let doubts = |row: &&Progress| {
                let files = row.stamps.iter().zip(&self.torrent.layout.files);
                files
                    .into_iter()
                    .any(|(stamp, file)| stamp.is_none() && file.is_regular())
            };
            if row.as_ref().is_some_and(doubts) {
                continue;
            }
            self.check_disk(node, |disk, path| disk.flushed(path))?;
            if !peer.seeder && row.is_none_or(|row| row.have != full) {
                return Err(format!(
                    "node {node} stopped and does not remember all it has"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn check_disk(
        &self,
        node: NodeIndex,
        read: impl for<'a> Fn(&'a Disk, &std::path::Path) -> Option<&'a [u8]>,
    ) -> Result<(), String> {
        let common = self.common.borrow();
        let disk = &common.nodes[node].disk;
        let wrong = |piece: &PieceIndex| !self.torrent.has_piece(*piece, |path| read(disk, path));
        match self.torrent.layout.geometry.pieces().find(wrong) {
            Some(piece) => {
                let piece = piece.get();
                Err(format!(
                    "node {node} is complete, and piece {piece} is wrong"
                ))
            }
            None => Ok(()),
        }
    }
}
