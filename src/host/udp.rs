//! Datagrams: one socket for each address family, on the listeners' port where it is free.
//!
//! Runs of equal length to one address go out with one call, and come in with one, where the system can (GSO and GRO,
//! through quinn-udp). None is ever cut on its way: uTP finds out how large they may be.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use mio::net::UdpSocket;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::poller::{Poller, Source};

/// Bytes that the system may hold for us in either direction, as far as it allows that many: what arrives while a turn lasts.
const BUFFER_BYTES: usize = 4 << 20;

/// One socket.
#[derive(Debug)]
struct Datagrams {
    socket: UdpSocket,
    state: UdpSocketState,
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
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // As much as the system gives: with less, more is sent again.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), BUFFER_BYTES);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), BUFFER_BYTES);
        self.sockets.push(Datagrams {
            socket,
            state,
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

    /// The next datagrams of one sender, of whichever socket has some: who sent them, how many bytes they are together, and how
    /// long each is but the last.
    pub(super) fn receive(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize, usize)> {
        for datagrams in self.sockets.iter_mut().filter(|datagrams| datagrams.ready) {
            // Linux reports refusals of earlier datagrams here (ICMP): as many as there are, never for ever.
            for _ in 0..64 {
                let mut slices = [IoSliceMut::new(bytes)];
                let mut found = [RecvMeta::default()];
                let socket = UdpSockRef::from(&datagrams.socket);
                match datagrams.state.recv(socket, &mut slices, &mut found) {
                    Ok(0) => {}
                    // Nobody can be answered at port 0; trying would make the library send singly from then on.
                    Ok(_) if found[0].addr.port() == 0 => {}
                    Ok(_) => {
                        let [found] = found;
                        return Some((found.addr, found.len, found.stride));
                    }
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

    /// Sends datagrams of `segment` bytes each, the last perhaps shorter, or loses them: as the network does, at any time.
    pub(super) fn send_to(&self, to: SocketAddr, segment: usize, bytes: &[u8]) {
        let Some(datagrams) = self.of_family(to) else {
            return;
        };
        let most = segment.saturating_mul(datagrams.state.max_gso_segments().max(1));
        for run in bytes.chunks(most.max(1)) {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: run,
                segment_size: (run.len() > segment).then_some(segment),
                src_ip: None,
            };
            let socket = UdpSockRef::from(&datagrams.socket);
            if let Err(error) = datagrams.state.try_send(socket, &transmit) {
                log::debug!("datagrams to {to} lost: {error}");
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_datagrams_arrive_as_they_were_cut() {
        let poller = Poller::new().unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut one, mut other) = (Udp::default(), Udp::default());
            let address = address.parse().unwrap();
            one.bind(&poller, address).unwrap();
            other.bind(&poller, address).unwrap();
            let to = other.sockets[0].address;
            for (segment, length) in [(1200, 1200 * 7 + 5), (1472, 1472 * 40), (20, 10), (9, 9)] {
                let sent: Vec<u8> = (0..length)
                    .map(|at| u8::try_from(at % 251).unwrap())
                    .collect();
                one.send_to(to, segment, &sent);
                let mut got = Vec::new();
                let mut bytes = vec![0; 1 << 16];
                // On loopback what was sent is there.
                other.ready(0);
                while let Some((from, length, each)) = other.receive(&mut bytes) {
                    assert_eq!(from, one.sockets[0].address);
                    got.extend(bytes[..length].chunks(each).map(<[u8]>::to_vec));
                }
                let want: Vec<Vec<u8>> = sent.chunks(segment).map(<[u8]>::to_vec).collect();
                assert_eq!(got, want, "{segment} of {length}");
            }
        }
    }
}
