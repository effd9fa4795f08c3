//! How large a packet may be: the largest that passes is found out, not guessed.
//!
//! No packet may be cut on its way (the host says so to the system), so one that is too large is lost. A probe is an ordinary
//! packet filled up with an extension that the other side skips: when it is lost, its payload goes out again without the
//! filling, which uTP allows and a larger payload under the same number would not.

use std::net::IpAddr;

/// The first size of a datagram: every IPv6 path takes 1280 bytes with their headers, and so do all IPv4 paths worth having.
pub const DATAGRAM_MIN: usize = 1232;
/// What fits into an Ethernet frame behind the headers of IPv4 and UDP.
const ETHERNET_V4: usize = 1472;
/// The same behind those of IPv6.
const ETHERNET_V6: usize = 1452;
/// What tunnels leave of it, of those that are common: PPPoE, `WireGuard`, others.
const LESS: [usize; 4] = [8, 60, 80, 120];
/// Losses of probes of one size, until the next smaller one is tried.
const LOSSES_MAX: u8 = 2;

/// The search.
#[derive(Clone, Copy, Debug)]
pub struct Mtu {
    datagram: u16,
    ceiling: u16,
    /// Which size is tried: 0 the ceiling, then less. Beyond the last, the search is over.
    step: u8,
    losses: u8,
    /// Whether a probe is under way.
    probing: bool,
}

impl Mtu {
    /// Nothing is known of the way to `to`.
    #[must_use]
    pub fn new(to: IpAddr) -> Self {
        let ceiling = if to.is_ipv4() {
            ETHERNET_V4
        } else {
            ETHERNET_V6
        };
        Self {
            datagram: u16::try_from(DATAGRAM_MIN).unwrap_or(u16::MAX),
            ceiling: u16::try_from(ceiling).unwrap_or(u16::MAX),
            step: 0,
            losses: 0,
            probing: false,
        }
    }

    /// The largest datagram that is known to pass.
    #[must_use]
    pub const fn datagram(&self) -> usize {
        self.datagram as usize
    }

    /// The size that the next datagram should be filled up to, if it is time to find out.
    #[must_use]
    pub fn probe(&self) -> Option<usize> {
        if self.probing {
            return None;
        }
        self.tried()
    }

    /// A probe is under way.
    pub const fn sent(&mut self) {
        self.probing = true;
    }

    /// It has arrived.
    pub fn arrived(&mut self) {
        if let Some(size) = self.tried() {
            self.datagram = u16::try_from(size).unwrap_or(u16::MAX);
        }
        self.step = u8::MAX;
        self.probing = false;
    }

    /// It is lost: because of its size, or as any other.
    pub const fn lost(&mut self) {
        self.probing = false;
        self.losses += 1;
        if self.losses >= LOSSES_MAX {
            self.losses = 0;
            self.step = self.step.saturating_add(1);
        }
    }

    fn tried(&self) -> Option<usize> {
        let ceiling = usize::from(self.ceiling);
        let size = match self.step {
            0 => ceiling,
            step => ceiling - LESS.get(usize::from(step) - 1)?,
        };
        (size > self.datagram()).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found on a path that takes datagrams up to `most`, and with how many probes.
    fn found(to: &str, most: usize) -> (usize, usize) {
        let mut mtu = Mtu::new(to.parse().unwrap());
        let mut probes = 0;
        while let Some(size) = mtu.probe() {
            probes += 1;
            mtu.sent();
            assert_eq!(mtu.probe(), None, "one at a time");
            if size <= most {
                mtu.arrived()
            } else {
                mtu.lost()
            }
        }
        (mtu.datagram(), probes)
    }

    #[test]
    fn the_largest_that_passes_is_found() {
        #[rustfmt::skip]
        let table: &[(&str, usize, usize, usize)] = &[
            ("10.0.0.1", 65_507, 1472, 1), ("10.0.0.1", 1472, 1472, 1), ("10.0.0.1", 1464, 1464, 3),
            ("10.0.0.1", 1420, 1412, 5),   ("10.0.0.1", 1300, 1232, 10), ("10.0.0.1", 0, 1232, 10),
            ("2001:db8::1", 65_507, 1452, 1), ("2001:db8::1", 1400, 1392, 5), ("2001:db8::1", 1240, 1232, 10),
        ];
        for &(to, most, datagram, probes) in table {
            assert_eq!(found(to, most), (datagram, probes), "{to} {most}");
        }
    }
}
