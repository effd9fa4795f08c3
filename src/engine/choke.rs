//! The choker's round, and the slot for a peer that has just become interested.

use crate::ids::{SessionId, StreamId};
use crate::time::Duration;

use super::Engine;
use super::session::choker::{ChokerPeer, RECHOKE_EVERY};
use super::session::{download, upload};
use super::shared::TimerKey;
use super::table::stream::Stream;

/// A peer is new for so long.
const NEW_FOR: Duration = Duration::from_secs(60);

impl Engine {
    /// Every ten seconds: who may ask. Also looks again at whom we could ask.
    pub(super) fn on_choke_timer(&mut self, id: SessionId) {
        let now = self.shared.now;
        let Some(session) = self
            .sessions
            .get_mut(id)
            .filter(|session| session.is_trading())
        else {
            return;
        };
        let Some(swarm) = self.table.swarms.get(session.swarm) else {
            return;
        };
        let facts = |id: &StreamId| {
            let stream = self.table.streams.get(*id)?;
            let peer = stream.peer()?;
            Some(ChokerPeer {
                id: *id,
                interested: peer.interested,
                unchoked: !peer.choked,
                since: peer.unchoked_at,
                snubbed: peer.snubbed,
                is_new: now.since(peer.since) < NEW_FOR,
                rate_from: peer.down.per_second(now),
                rate_to: peer.up.per_second(now),
            })
        };
        session.assembly.release_old(now);
        download::make_room(&mut self.shared, session);
        let peers: Vec<ChokerPeer> = swarm.streams.iter().filter_map(facts).collect();
        let seeding = !session.is_downloading();
        let may = session
            .choker
            .rechoke(now, &peers, seeding, &mut self.shared.rng);
        for (peer, may) in peers.iter().zip(may) {
            self.set_choked(peer.id, id, !may);
        }
        self.ask_all(id);
        self.pex_round(id);
        self.shared.arm(TimerKey::Choke(id), RECHOKE_EVERY);
    }

    /// A peer's interest changed: a free slot need not wait for the next round.
    pub(super) fn on_interest(&mut self, id: StreamId, session: SessionId) {
        let Some(held) = self.sessions.get(session) else {
            return;
        };
        let Some(swarm) = self.table.swarms.get(held.swarm) else {
            return;
        };
        let Some(peer) = self.table.streams.get(id).and_then(Stream::peer) else {
            return;
        };
        let asks = |id: &&StreamId| {
            let peer = self.table.streams.get(**id).and_then(Stream::peer);
            peer.is_some_and(|peer| !peer.choked && peer.interested)
        };
        if !peer.interested {
            // Its slot is free for somebody else; it keeps the right to ask until the next round.
            return;
        }
        let taken = swarm.streams.iter().filter(asks).count();
        if peer.choked && held.choker.has_room(taken) {
            self.set_choked(id, session, false);
        }
    }

    fn set_choked(&mut self, id: StreamId, session: SessionId, choked: bool) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        upload::set_choked(&mut self.shared, stream, choked);
        // Also lets a held stream be read again, now that its requests are gone.
        upload::serve(&mut self.shared, session, stream);
    }
}
