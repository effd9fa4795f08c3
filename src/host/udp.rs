//! Datagrams: one socket for each address family, on the listeners' port where it is free.

use std::io;
use std::net::SocketAddr;

use mio::net::UdpSocket;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::poller::{Poller, Source};

/// One socket.
#[derive(Debug)]
struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
    /// Until a receive finds nothing.
    ready: bool,
}

/// All datagram sockets.
#[derive(Debug, Default)]
pub(super) struct Udp {
    sockets: Vec<Datagrams>,
}

impl Udp {
    /// Binds a socket for the family of `address`, if there is none yet: to `address`, else to any port of the same IP.
    pub(super) fn bind(&mut self, poller: &Poller, address: SocketAddr) -> io::Result<()> {
        if self.of_family(address).is_some() {
            return Ok(());
        }
        let any_port = SocketAddr::new(address.ip(), 0);
        let socket = open(address).or_else(|_| open(any_port))?;
        let mut socket = UdpSocket::from_std(socket);
        poller.watch(&mut socket, Source::Datagrams(self.sockets.len()))?;
        let address = socket.local_addr()?;
        self.sockets.push(Datagrams {
            socket,
            address,
            ready: false,
        });
        Ok(())
    }

    /// Datagrams wait at socket `index`.
    pub(super) fn ready(&mut self, index: usize) {
        if let Some(datagrams) = self.sockets.get_mut(index) {
            datagrams.ready = true;
        }
    }

    /// The next datagram, of whichever socket has one.
    pub(super) fn receive(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize)> {
        for datagrams in self.sockets.iter_mut().filter(|datagrams| datagrams.ready) {
            // Linux reports refusals of earlier datagrams here (ICMP): as many as there are, never for ever.
            for _ in 0..64 {
                match datagrams.socket.recv_from(bytes) {
                    Ok((length, from)) => return Some((from, length)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        datagrams.ready = false;
                        break;
                    }
                    Err(_) => {}
                }
            }
        }
        None
    }

    /// Sends a datagram, or loses it: as the network does, at any time.
    pub(super) fn send_to(&self, to: SocketAddr, bytes: &[u8]) {
        if let Some(datagrams) = self.of_family(to)
            && let Err(error) = datagrams.socket.send_to(bytes, to)
        {
            log::debug!("datagram to {to} lost: {error}");
        }
    }

    fn of_family(&self, address: SocketAddr) -> Option<&Datagrams> {
        self.sockets
            .iter()
            .find(|datagrams| datagrams.address.is_ipv4() == address.is_ipv4())
    }
}

fn open(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}
