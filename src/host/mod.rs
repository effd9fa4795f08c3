//! Host.

pub mod poller;
pub mod sockets;
pub mod udp;
