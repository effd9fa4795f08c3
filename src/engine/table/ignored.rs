//! Addresses that one swarm leaves alone for a while, for reasons of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::time::Instant;

/// Addresses that one swarm leaves alone; beyond it the one that ends first is forgotten.
pub const IGNORED_MAX: usize = 1000;

/// Until when, and why, by address.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    by_address: BTreeMap<SocketAddr, (Instant, &'static str)>,
    by_end: BTreeSet<(Instant, SocketAddr)>,
}

impl Ignored {
    /// Leaves `address` alone until `until`; again renews.
    pub(super) fn insert(&mut self, address: SocketAddr, until: Instant, why: &'static str) {
        self.remove(address);
        if self.by_address.len() >= IGNORED_MAX
            && let Some(&(_, first)) = self.by_end.first()
        {
            self.remove(first);
        }
        self.by_address.insert(address, (until, why));
        self.by_end.insert((until, address));
    }

    fn remove(&mut self, address: SocketAddr) {
        if let Some((until, _)) = self.by_address.remove(&address) {
            self.by_end.remove(&(until, address));
        }
    }

    /// Until when `address` is left alone, if it still is at `now`.
    pub(super) fn until(&self, address: SocketAddr, now: Instant) -> Option<Instant> {
        let (until, _) = self.by_address.get(&address)?;
        Some(*until).filter(|&until| until > now)
    }

    /// Those left alone at `now`, by address.
    pub(super) fn iter(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (SocketAddr, Instant, &'static str)> {
        self.by_address
            .iter()
            .map(|(&address, &(until, why))| (address, until, why))
            .filter(move |(_, until, _)| *until > now)
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.by_address.clear();
        self.by_end.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn at(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n))
    }

    fn second(n: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(n)
    }

    #[test]
    fn an_entry_ends_is_renewed_and_the_first_to_end_makes_room() {
        let mut ignored = Ignored::default();
        ignored.insert(at(1), second(900), "");
        assert_eq!(ignored.until(at(1), second(899)), Some(second(900)));
        assert_eq!(ignored.until(at(1), second(900)), None, "over");
        ignored.insert(at(1), second(1800), "");
        assert_eq!(ignored.until(at(1), second(900)), Some(second(1800)));
        for n in 2..=1000 {
            ignored.insert(at(n), second(u64::from(n)), "");
        }
        ignored.insert(at(2000), second(5), "");
        assert_eq!(ignored.iter(second(0)).count(), IGNORED_MAX);
        assert_eq!(ignored.until(at(2), second(0)), None, "it ended first");
        assert!(ignored.until(at(2000), second(0)).is_some());
        assert_eq!(ignored.iter(second(1800)).count(), 0);
    }
}
