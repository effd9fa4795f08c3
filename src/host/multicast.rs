//! The groups of local service discovery: one socket for each family, joined on every interface but loopback.
//!
//! They are opened when something is first said to a group, since nobody is listened to before that. The interfaces are read
//! again now and then, as cables and networks come and go. Whatever fails is only debug news: a host without multicast is a
//! host that finds nobody this way.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockRef, Socket, Type};

use super::poller::{Poller, Source};
use crate::time::{Duration, Instant};

/// The interfaces are read so often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Interfaces that are joined; a host with more (virtual ones, mostly) leaves the others out.
const INTERFACES_MAX: usize = 64;
/// Routers that a datagram may pass: to the edge of the site, as the scope of the groups says.
const HOPS: u32 = 32;

/// One group.
#[derive(Debug)]
struct Group {
    socket: UdpSocket,
    v6: bool,
    /// Interfaces by index, each with an address of its own.
    joined: BTreeMap<u32, IpAddr>,
    ready: bool,
}

/// Both.
#[derive(Debug, Default)]
pub(super) struct Multicast {
    groups: Vec<Group>,
    looked: Option<Instant>,
    /// Families that cannot be opened; said once.
    failed: [bool; 2],
}

impl Multicast {
    /// Says `bytes` to the group `to` on every interface.
    pub(super) fn send_to(&mut self, poller: &Poller, now: Instant, to: SocketAddr, bytes: &[u8]) {
        let v6 = to.is_ipv6();
        let at = match self.groups.iter().position(|group| group.v6 == v6) {
            Some(at) => at,
            None if self.failed[usize::from(v6)] => return,
            None => match self.open(poller, to) {
                Ok(at) => at,
                Err(error) => {
                    self.failed[usize::from(v6)] = true;
                    log::info!("nobody is found by {to}: {error}");
                    return;
                }
            },
        };
        if self.looked.is_none_or(|at| now.since(at) >= LOOK_EVERY) {
            self.looked = Some(now);
            self.join();
        }
        let group = &self.groups[at];
        let socket = SockRef::from(&group.socket);
        for (&interface, own) in &group.joined {
            let sent = match own {
                IpAddr::V4(own) => socket.set_multicast_if_v4(own),
                IpAddr::V6(_) => socket.set_multicast_if_v6(interface),
            };
            let sent = sent.and_then(|()| group.socket.send_to(bytes, to));
            if let Err(error) = sent {
                log::debug!("interface {interface}: datagram to {to} lost: {error}");
            }
        }
    }

    /// Datagrams wait at socket `index`.
    pub(super) fn ready(&mut self, index: usize) {
        if let Some(group) = self.groups.get_mut(index) {
            group.ready = true;
        }
    }

    /// The next datagram, of whichever has one.
    pub(super) fn receive(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize)> {
        for group in self.groups.iter_mut().filter(|group| group.ready) {
            match group.socket.recv_from(bytes) {
                Ok((length, from)) => return Some((from, length)),
                Err(_) => group.ready = false,
            }
        }
        None
    }

    fn open(&mut self, poller: &Poller, to: SocketAddr) -> io::Result<usize> {
        let v6 = to.is_ipv6();
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        // Every client of this host listens there.
        socket.set_reuse_address(true)?;
        let any: SocketAddr = if v6 {
            socket.set_only_v6(true)?;
            socket.set_multicast_hops_v6(HOPS)?;
            socket.set_multicast_loop_v6(true)?;
            (Ipv6Addr::UNSPECIFIED, to.port()).into()
        } else {
            socket.set_multicast_ttl_v4(HOPS)?;
            socket.set_multicast_loop_v4(true)?;
            // Else a socket hears what any other program of this host has joined.
            socket.set_multicast_all_v4(false)?;
            (Ipv4Addr::UNSPECIFIED, to.port()).into()
        };
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(any))?;
        let mut socket = UdpSocket::from_std(socket.into());
        poller.watch(&mut socket, Source::Multicast(self.groups.len()))?;
        self.groups.push(Group {
            socket,
            v6,
            joined: BTreeMap::new(),
            ready: true,
        });
        self.looked = None;
        Ok(self.groups.len() - 1)
    }

    /// Joins on interfaces that have come, and forgets those that are gone: the system has let go of them.
    fn join(&mut self) {
        let found = match if_addrs::get_if_addrs() {
            Ok(found) => found,
            Err(error) => {
                log::debug!("the interfaces cannot be read: {error}");
                return;
            }
        };
        for group in &mut self.groups {
            let here: BTreeMap<u32, IpAddr> = found
                .iter()
                .filter(|one| !one.is_loopback() && one.ip().is_ipv6() == group.v6)
                .filter_map(|one| Some((one.index?, one.ip())))
                .take(INTERFACES_MAX)
                .collect();
            // The system lets go of an interface that goes; one whose address has changed is told from by the new one.
            group
                .joined
                .retain(|index, own| here.get(index) == Some(own));
            let socket = SockRef::from(&group.socket);
            for (index, own) in here {
                if group.joined.contains_key(&index) {
                    continue;
                }
                let joined = if group.v6 {
                    socket.join_multicast_v6(&crate::codec::lsd::GROUP_V6, index)
                } else {
                    let by = InterfaceIndexOrAddress::Index(index);
                    socket.join_multicast_v4_n(&crate::codec::lsd::GROUP_V4, &by)
                };
                match joined {
                    Ok(()) => drop(group.joined.insert(index, own)),
                    // Joined under an address that it has no more.
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        group.joined.insert(index, own);
                    }
                    Err(error) => log::debug!("interface {index} has no multicast: {error}"),
                }
            }
        }
    }
}
