//! What callers see of the table: counts, single links, and whole lists that are shared until something in them changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::codec::address;
use crate::engine::message::{Direction, IgnoredAddress, LinkSummary};
use crate::ids::SwarmId;
use crate::time::Instant;

use super::Table;
use super::link::{IgnoreReason, LinkState};
use super::swarm::Swarm;
use super::ties::{Mark, Tie};

impl Table {
    /// How the link of `address` stands in `swarm`; `None` unless it belongs to it.
    #[must_use]
    pub fn show_link(&self, address: SocketAddr, swarm: SwarmId) -> Option<LinkSummary> {
        self.swarms.get(swarm)?;
        let at = self.find(address::canonical(address))?;
        let tie = self.link(at).tie(swarm.slot32())?;
        tie.belongs().then(|| self.summary(at, tie))
    }

    /// A swarm's links, uplinks before downlinks: all that belong to it, or its members.
    ///
    /// The same list again until something in it changes.
    pub fn show_links(&mut self, swarm: SwarmId, members: bool) -> Option<Arc<[LinkSummary]>> {
        let record = self.swarms.get(swarm)?;
        if let Some((version, shown)) = &record.shown[usize::from(members)]
            && *version == record.version
        {
            return Some(Arc::clone(shown));
        }
        let shown: Arc<[LinkSummary]> = self.list_links(record, members).into();
        let record = self.swarms.get_mut(swarm)?;
        record.shown[usize::from(members)] = Some((record.version, Arc::clone(&shown)));
        Some(shown)
    }

    /// The addresses that `swarm` leaves alone at `now`, by address: for its own reasons, or because its link is ignored.
    ///
    /// The same list again until something in it changes, or ends.
    pub fn show_ignored(&mut self, swarm: SwarmId, now: Instant) -> Option<Arc<[IgnoredAddress]>> {
        let record = self.swarms.get(swarm)?;
        if let Some((version, until, shown)) = &record.ignored_shown
            && *version == record.version
            && now < *until
        {
            return Some(Arc::clone(shown));
        }
        let shown: Arc<[IgnoredAddress]> = self.list_ignored(record, now).into();
        let first_end = shown.iter().map(|ignored| ignored.until).min();
        let record = self.swarms.get_mut(swarm)?;
        let until = first_end.unwrap_or(Instant::FAR);
        record.ignored_shown = Some((record.version, until, Arc::clone(&shown)));
        Some(shown)
    }

    fn list_links(&self, swarm: &Swarm, members: bool) -> Vec<LinkSummary> {
        let mut uplinks = Vec::with_capacity(swarm.belonging as usize);
        let mut downlinks = Vec::new();
        for &at in &swarm.links {
            let Some(tie) = self.link(at).tie(swarm.id.slot32()) else {
                continue;
            };
            if !tie.belongs() || members && !tie.is(Mark::Member) {
                continue;
            }
            let summary = self.summary(at, tie);
            match summary.direction {
                Direction::Outgoing => uplinks.push(summary),
                Direction::Incoming => downlinks.push(summary),
            }
        }
        uplinks.append(&mut downlinks);
        uplinks
    }

    fn list_ignored(&self, swarm: &Swarm, now: Instant) -> Vec<IgnoredAddress> {
        let mut all: BTreeMap<SocketAddr, (Instant, &'static str)> = swarm
            .ignored
            .iter(now)
            .map(|(address, until, why)| (address, (until, why)))
            .collect();
        for &at in &swarm.links {
            let link = self.link(at);
            let address = link.address();
            let (until, why) = match link.state() {
                _ if self.is_blocked(address.ip()) => (Instant::FAR, "blocked"),
                _ if self.is_banned_ip(address.ip()) => {
                    (Instant::FAR, IgnoreReason::BadData.name())
                }
                LinkState::Ignored { until, why } if until > now => (until, why.name()),
                _ => continue,
            };
            if !link.tie(swarm.id.slot32()).is_some_and(|tie| tie.belongs()) {
                continue;
            }
            let entry = all.entry(address).or_insert((until, why));
            if entry.0 < until {
                *entry = (until, why);
            }
        }
        all.into_iter()
            .map(|(address, (until, why))| IgnoredAddress {
                address,
                until,
                why,
            })
            .collect()
    }

    fn summary(&self, at: u32, tie: Tie) -> LinkSummary {
        let link = self.link(at);
        let outgoing = if tie.is(Mark::Member) {
            tie.is(Mark::Uplink)
        } else {
            link.is_dialable()
        };
        LinkSummary {
            link: self.links.id_at(at),
            address: link.address(),
            direction: Direction::of(outgoing),
            state: link.state().name(),
            member: tie.is(Mark::Member),
            pinned: tie.is(Mark::Pinned),
            attempts: link.attempts(),
        }
    }
}
