//! Where others see us: each address that talks to us has one vote (BEP 24, BEP 10 `yourip`, trackers' `external ip`, BEP 42).
//!
//! A stranger may say anything, so a few must say the same; and whoever has many addresses has no more votes than networks
//! of them ([`network_of`]). Only global addresses are voted for: what a host of our own network sees is of no use outside.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::codec::address;
use crate::hash;

use super::dht::routing::network_of;

/// Votes of a family that count; for one more, the oldest goes.
const VOTES_MAX: usize = 32;
/// Votes for one address that settle it, if they are more than half of all.
const VOTES_NEEDED: usize = 3;

/// Who has a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voter(u128);

impl Voter {
    /// Somebody at an address: one for all of its network.
    #[must_use]
    pub fn at(ip: IpAddr) -> Self {
        Self(match network_of(ip.to_canonical()) {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => ip.into(),
        })
    }

    /// A tracker, by its URL: its address is the gateway's business.
    #[must_use]
    pub fn tracker(url: &str) -> Self {
        let digest = hash::sha1(url.as_bytes());
        // No address is beyond all that are given out.
        Self(u128::from_be_bytes(*digest.first_chunk().expect("a digest is longer")) | 0xf << 124)
    }
}

/// Votes for our addresses, IPv4 and IPv6.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    votes: [VecDeque<(Voter, IpAddr)>; 2],
    settled: [Option<IpAddr>; 2],
}

impl Outside {
    /// `voter` says that we are seen at `ip`. The address when that settles it anew.
    pub fn vote(&mut self, voter: Voter, ip: IpAddr) -> Option<IpAddr> {
        let ip = ip.to_canonical();
        if !address::is_global(ip) {
            return None;
        }
        let family = usize::from(ip.is_ipv6());
        let votes = &mut self.votes[family];
        votes.retain(|(other, _)| *other != voter);
        if votes.len() == VOTES_MAX {
            votes.pop_front();
        }
        votes.push_back((voter, ip));
        let same = votes.iter().filter(|(_, other)| *other == ip).count();
        let is_settled = same >= VOTES_NEEDED && 2 * same > votes.len();
        (is_settled && self.settled[family].replace(ip) != Some(ip)).then_some(ip)
    }

    /// Our address in a family, once it is settled.
    #[must_use]
    pub const fn settled(&self, v6: bool) -> Option<IpAddr> {
        self.settled[v6 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_few_networks_must_agree() {
        let mut outside = Outside::default();
        let (us, lie) = (ip("8.8.8.8"), ip("9.9.9.9"));
        #[rustfmt::skip]
        let table = [
            ("the first",              "1.0.0.1", us,  None),
            ("again",                  "1.0.0.1", us,  None),
            ("of the same network",    "1.0.0.2", us,  None),
            ("a second",               "2.0.0.1", us,  None),
            ("a liar",                 "3.0.0.1", lie, None),
            ("a third",                "4.0.0.1", us,  Some(us)),
            ("a fourth",               "5.0.0.1", us,  None),
            ("our own network",        "6.0.0.1", ip("192.168.1.2"), None),
            ("the other family",       "6.0.0.1", ip("2001:470::1"), None),
        ];
        for (name, by, says, want) in table {
            assert_eq!(outside.vote(Voter::at(ip(by)), says), want, "{name}");
        }
        assert_eq!(outside.settled(false), Some(us));
        assert_eq!(outside.settled(true), None);
        // We have moved: most of those that are heard now say so.
        let moved = (10..60).find_map(|n| outside.vote(Voter::at(ip(&format!("{n}.0.0.1"))), lie));
        assert_eq!(moved, Some(lie));
        assert!(outside.votes[0].len() <= VOTES_MAX);
        assert_ne!(Voter::tracker("http://a/"), Voter::tracker("http://b/"));
    }
}
