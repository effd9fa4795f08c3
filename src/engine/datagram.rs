//! The datagrams of our UDP sockets: one socket for each family carries several protocols, told apart by the first byte.
//!
//! | first byte | protocol | where |
//! | --- | --- | --- |
//! | anything else | answers of UDP trackers (BEP 15), whose action begins with a zero | `announce` |

use std::net::SocketAddr;

use super::Engine;

/// What a datagram is, by its first byte alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing in it.
    Empty,
    /// Of a tracker, unless it is of nobody.
    Tracker,
}

impl Kind {
    /// Looks at no more than the first byte: each protocol checks its own.
    fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            None => Self::Empty,
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
            Kind::Tracker => self.on_tracker_datagram(from, bytes),
        }
    }
}
