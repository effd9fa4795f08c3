//! The datagrams of our UDP sockets: one socket for each family carries several protocols, told apart by the first byte.
//!
//! | first byte | protocol | where |
//! | --- | --- | --- |
//! | `X1`, X from 0 to 4 | uTP (BEP 29): a version of 1 below the type | `transport` |
//! | `d` | the DHT (BEP 5), whose messages are dictionaries | `dht` |
//! | `B` | local service discovery (BEP 14) | `lsd` |
//! | anything else | answers of UDP trackers (BEP 15), whose action begins with a zero | `announce` |

use std::net::SocketAddr;

use super::Engine;
use crate::codec::utp;

/// What a datagram is, by its first byte alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing in it.
    Empty,
    /// Of a uTP connection.
    Utp,
    /// Of the DHT.
    Dht,
    /// A search of our network.
    Search,
    /// Of a tracker, unless it is of nobody.
    Tracker,
}

impl Kind {
    /// Looks at the first byte, and at whether there is room for what it announces: each protocol checks its own.
    fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            None => Self::Empty,
            Some(_) if utp::is_packet(bytes) => Self::Utp,
            Some(b'd') => Self::Dht,
            Some(b'B') => Self::Search,
            Some(_) => Self::Tracker,
        }
    }
}

impl Engine {
    /// A datagram has arrived; whoever it is for judges it.
    pub(super) fn on_datagram(&mut self, from: SocketAddr, bytes: &mut [u8]) {
        self.shared.counters.datagrams_received += 1;
        match Kind::of(bytes) {
            Kind::Empty => {}
            Kind::Utp => self.on_utp_datagram(from, bytes),
            Kind::Dht => self.on_dht_datagram(from, bytes),
            Kind::Search => self.on_search(from, bytes),
            Kind::Tracker => self.on_tracker_datagram(from, bytes),
        }
    }
}
