//! Dialling: whom, when, and how many at a time.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::ids::{LinkId, SwarmId};
use crate::time::Instant;

use super::Engine;
use super::priority::priority;
use super::session::Session;
use super::settings::{CONNECT_TICK, CONNECT_TIMEOUT, CONNECT_WAIT, CONNECTS_PER_TICK, DIALS_MAX};
use super::shared::TimerKey;
use super::table::stream::Stage;

impl Engine {
    /// Dials candidates of `swarm` as far as every bound allows, and comes back when more may be dialled.
    pub(super) fn connect_more(&mut self, swarm: SwarmId) {
        let now = self.shared.now;
        let key = TimerKey::Connect(swarm);
        let Some(record) = self.table.swarms.get(swarm) else {
            self.shared.timers.cancel(key);
            return;
        };
        let (needed, opening) = (record.count().needed as usize, record.opening.len());
        let session = record.session;
        let trades = session.and_then(|id| self.sessions.get(id));
        let trades = trades.is_some_and(Session::is_trading);
        if !record.is_on() || !(trades || session.is_some_and(|id| self.is_fetching(id))) {
            self.shared.timers.cancel(key);
            return;
        }
        let (mut due, next) = self.dialable(swarm, now);
        let (in_swarm, in_process) = self.dial_room(swarm);
        let wanted = in_swarm.min(in_process).min(CONNECTS_PER_TICK);
        // Room in the swarm is told by its own streams; room in the process may come from any other swarm.
        let waits = in_swarm > 0 && in_process == 0 && !due.is_empty();
        // Those being dialled, and those that can be, are not asked for again.
        if needed > opening + due.len() {
            self.need_peers(swarm);
        }
        due.truncate(wanted);
        let dialled = due.len();
        for (_, _, _, link) in due {
            self.dial(swarm, link);
        }
        let again = if waits {
            Some(now + CONNECT_WAIT)
        } else if dialled > 0 && dialled == wanted {
            Some(now + CONNECT_TICK)
        } else {
            next
        };
        match again {
            Some(at) => self.shared.timers.set(key, at.max(now + CONNECT_TICK)),
            None => {
                self.shared.timers.cancel(key);
            }
        }
    }

    /// The links that may be dialled for `swarm` now, best first (pinned, then those that failed
    /// least, then by BEP 40, or by chance while nobody has told how we are seen), and when the next may be.
    #[allow(clippy::type_complexity, reason = "the tuple is the order of dialling")]
    fn dialable(
        &mut self,
        swarm: SwarmId,
        now: Instant,
    ) -> (Vec<(bool, u32, u32, LinkId)>, Option<Instant>) {
        let Some(record) = self.table.swarms.get(swarm) else {
            return (Vec::new(), None);
        };
        let streams = &self.table.streams;
        let taken: BTreeSet<SocketAddr> = record
            .streams
            .iter()
            .filter_map(|&id| streams.get(id))
            .flat_map(|stream| {
                [
                    Some(stream.address),
                    stream.peer().and_then(|peer| peer.listens),
                ]
            })
            .flatten()
            .collect();
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for id in self.table.candidates(swarm) {
            let Some(link) = self.table.links.get(id) else {
                continue;
            };
            let address = link.address();
            if self.table.has_stream_for(id, swarm)
                || taken.contains(&address)
                || self.table.is_banned(address)
            {
                continue;
            }
            let Some(at) = link.dial_at() else { continue };
            let at = at.max(record.ignored_until(address, now).unwrap_or(at));
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            let pinned = self.table.is_pinned(id, swarm);
            let port = self.shared.listen_port();
            let chance = self.shared.rng.next_u32();
            let own = self.dht.outside.settled(address.is_ipv6());
            let rank = own.and_then(|own| priority(SocketAddr::new(own, port), address));
            let rank = rank.map_or(chance, |priority| u32::MAX - priority);
            due.push((!pinned, link.attempts(), rank, id));
        }
        due.sort_unstable();
        (due, next)
    }

    /// How many more streams may be dialled now: as far as `swarm` goes, and as far as the process goes.
    fn dial_room(&self, swarm: SwarmId) -> (usize, usize) {
        let settings = &self.shared.settings;
        let Some(record) = self.table.swarms.get(swarm) else {
            return (0, 0);
        };
        let in_swarm = self
            .swarm_streams_max(swarm)
            .saturating_sub(record.streams.len() + record.opening.len());
        let in_process = settings
            .streams_max
            .saturating_sub(self.table.streams.len());
        let dials = DIALS_MAX.saturating_sub(self.table.opening());
        (in_swarm, in_process.min(dials))
    }

    fn dial(&mut self, swarm: SwarmId, link: LinkId) {
        let now = self.shared.now;
        let stage = Stage::Dialing {
            deadline: now + CONNECT_TIMEOUT,
        };
        let stream = self.table.stream_carry(link, true, Some(swarm), stage, now);
        self.shared.counters.dials += 1;
        let look = self.race(stream, now + CONNECT_TIMEOUT);
        self.shared.timers.set(TimerKey::Stream(stream), look);
    }
}
