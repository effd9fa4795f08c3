//! TCP: the listeners, the sockets offered to the engine, and every stream, keyed by the engine's ids.
//!
//! Out of descriptors, accepting pauses for a second instead of spinning: one descriptor is held in reserve, so that the
//! socket that waits can be taken and closed, and its owner is not left hanging.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::poller::{Poller, SOURCES_MAX, Source};
use crate::actor::host::{Ready, reason_of};
use crate::engine::message::LostReason;
use crate::ids::{SocketId, StreamId};
use crate::time::{Duration, Instant};

/// Connections that the system completes before we accept them.
const BACKLOG: i32 = 1024;

/// How long accepting pauses when there is no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Accepts that may fail one after the other (the other side was gone again) before the next turn goes on.
const ACCEPT_FAILURES_MAX: usize = 64;

/// Bytes read and dropped before a stream is closed in order: a full receive buffer would turn the end into a reset.
const DISCARDED_MAX: usize = 64 * 1024;

/// One listening socket.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// Until an accept finds nothing.
    ready: bool,
}

/// One stream.
#[derive(Debug)]
struct Connection {
    generation: u32,
    socket: TcpStream,
    dialling: bool,
    /// The other side has ended, or broken off: reads go on until they say so, whatever their length.
    over: bool,
}

/// All TCP sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    listeners: Vec<Listener>,
    /// The listener to accept from first.
    turn: usize,
    /// Accepted or adopted, and not yet answered for: as a rule one, for the length of a call.
    offered: Vec<(SocketId, TcpStream)>,
    offers: u64,
    connections: Vec<Option<Connection>>,
    reserve: Option<OwnedFd>,
    /// No accept before this.
    paused: Option<Instant>,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self {
            listeners: Vec::new(),
            turn: 0,
            offered: Vec::new(),
            offers: 0,
            connections: Vec::new(),
            reserve: reserve(),
            paused: None,
        }
    }

    // ---------------------------------------------------------------------------------------------------- listening

    /// Listens on each of `wanted`. A busy port falls back to a free one, the same for every family where possible; an
    /// address we do not have is left out. What a person should know goes to `notices`.
    ///
    /// # Errors
    /// When none of them works, the error of the first.
    pub(super) fn listen(
        &mut self,
        poller: &Poller,
        wanted: &[SocketAddr],
        notices: &mut Vec<String>,
    ) -> io::Result<()> {
        let mut first_error = None;
        let mut fallback = None;
        for &address in &wanted[..wanted.len().min(SOURCES_MAX)] {
            match bind(address, fallback) {
                Ok(socket) => {
                    let mut socket = TcpListener::from_std(socket);
                    poller.watch(&mut socket, Source::Listener(self.listeners.len()))?;
                    let bound = socket.local_addr()?;
                    if address.port() != bound.port() {
                        fallback = Some(bound.port());
                        if address.port() != 0 {
                            notices.push(format!(
                                "port {} on {} is in use; listening on port {} instead",
                                address.port(),
                                address.ip(),
                                bound.port()
                            ));
                        }
                    }
                    self.listeners.push(Listener {
                        socket,
                        address: bound,
                        ready: false,
                    });
                }
                // A host without IPv6 is no news to its owner.
                Err(error) if address.is_ipv6() && address.ip().is_unspecified() => {
                    log::info!("not listening on {address}: {error}");
                    first_error.get_or_insert(error);
                }
                Err(error) => {
                    let text = format!("cannot listen on {address}: {error}");
                    first_error.get_or_insert(io::Error::new(error.kind(), text.clone()));
                    notices.push(text);
                }
            }
        }
        if wanted.len() > SOURCES_MAX {
            notices.push(format!(
                "listening on the first {SOURCES_MAX} of {} addresses",
                wanted.len()
            ));
        }
        match first_error {
            Some(error) if self.listeners.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Where we listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|l| l.address).collect()
    }

    /// Sockets wait at listener `index`.
    pub(super) fn incoming(&mut self, index: usize) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.ready = true;
        }
    }

    /// When accepting goes on after a pause.
    pub(super) fn paused(&self) -> Option<Instant> {
        self.paused
    }

    /// The pause is over.
    pub(super) fn resume(&mut self) {
        self.paused = None;
    }

    /// Accepts one socket, from each listener in turn.
    pub(super) fn next_incoming(
        &mut self,
        now: impl FnOnce() -> Instant,
    ) -> Option<(SocketId, SocketAddr)> {
        if self.paused.is_some() {
            return None;
        }
        let mut failures = 0;
        for _ in 0..self.listeners.len() {
            let count = self.listeners.len();
            let listener = &mut self.listeners[self.turn % count];
            self.turn = (self.turn + 1) % count;
            while listener.ready && failures < ACCEPT_FAILURES_MAX {
                match listener.socket.accept() {
                    Ok((socket, remote)) => return Some((self.offer(socket), remote)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.ready = false;
                    }
                    Err(error) if reason_of(&error) == LostReason::NoResources => {
                        log::warn!("no more sockets are accepted for a while: {error}");
                        self.reserve = None;
                        if let Ok((socket, _)) = listener.socket.accept() {
                            drop(socket);
                        }
                        self.reserve = reserve();
                        self.paused = Some(now() + ACCEPT_PAUSE);
                        return None;
                    }
                    // The other side is gone again.
                    Err(_) => failures += 1,
                }
            }
        }
        None
    }

    /// Offers a socket that a caller has connected: TCP or Unix, since both are read, written and ended alike.
    pub(super) fn adopt(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        let unusable = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let socket = Socket::from(socket);
        if socket.r#type()? != Type::STREAM {
            return unusable("not a stream socket");
        }
        if !matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6 | Domain::UNIX) {
            return unusable("neither a TCP nor a Unix socket");
        }
        // Fails for one that listens, and for one that is not connected yet.
        socket.peer_addr()?;
        socket.set_nonblocking(true)?;
        Ok(self.offer(TcpStream::from_std(socket.into())))
    }

    fn offer(&mut self, socket: TcpStream) -> SocketId {
        self.offers += 1;
        let id = SocketId(self.offers);
        self.offered.push((id, socket));
        id
    }

    /// Takes an offered socket.
    pub(super) fn take_offered(&mut self, id: SocketId) -> Option<TcpStream> {
        let index = self
            .offered
            .iter()
            .position(|(offered, _)| *offered == id)?;
        Some(self.offered.swap_remove(index).1)
    }

    // ------------------------------------------------------------------------------------------------------ streams

    /// Begins to dial, from an ephemeral port.
    pub(super) fn dial(
        &mut self,
        poller: &Poller,
        stream: StreamId,
        to: SocketAddr,
    ) -> io::Result<()> {
        let socket = TcpStream::connect(to)?;
        self.keep(poller, stream, socket, true)
    }

    /// Keeps a socket as `stream`.
    pub(super) fn keep(
        &mut self,
        poller: &Poller,
        stream: StreamId,
        mut socket: TcpStream,
        dialling: bool,
    ) -> io::Result<()> {
        // Frames are gathered here, so waiting for more would only delay them. Without it things work, only slower.
        let _ = socket.set_nodelay(true);
        poller.watch(&mut socket, Source::Stream(stream))?;
        if self.connections.len() <= stream.slot() {
            self.connections.resize_with(stream.slot() + 1, || None);
        }
        self.connections[stream.slot()] = Some(Connection {
            generation: stream.generation(),
            socket,
            dialling,
            over: false,
        });
        Ok(())
    }

    /// What an event of the system means.
    pub(super) fn on_event(&mut self, stream: StreamId, event: &Event, ready: &mut Vec<Ready>) {
        let Some(connection) = self.get(stream) else {
            // Closed while the event was on its way.
            return;
        };
        connection.over |= event.is_read_closed() || event.is_error();
        if connection.dialling {
            if let Some(outcome) = dialled(&connection.socket) {
                connection.dialling = false;
                ready.push(match outcome {
                    Ok(()) => Ready::Connected(stream),
                    Err(error) => Ready::Failed(stream, reason_of(&error)),
                });
            }
            return;
        }
        if event.is_readable() || connection.over {
            ready.push(Ready::Readable(stream));
        }
        if event.is_writable() {
            ready.push(Ready::Writable(stream));
        }
    }

    pub(super) fn read(&mut self, stream: StreamId, bytes: &mut [u8]) -> io::Result<usize> {
        self.found(stream)?.socket.read(bytes)
    }

    pub(super) fn write(&mut self, stream: StreamId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.found(stream)?.socket.write_vectored(slices)
    }

    /// Whether a short read left something: after it the receive buffer is empty, and the next byte makes a new edge; but an
    /// end that was reported together with the last bytes makes none.
    pub(super) fn read_more(&mut self, stream: StreamId) -> bool {
        self.get(stream).is_some_and(|connection| connection.over)
    }

    /// Closes a stream. The poller forgets a closed descriptor by itself.
    pub(super) fn close(&mut self, stream: StreamId, clean: bool) {
        if self.get(stream).is_none() {
            return;
        }
        let Some(mut connection) = self.connections[stream.slot()].take() else {
            return;
        };
        if clean && !connection.dialling && connection.socket.shutdown(Shutdown::Write).is_ok() {
            let mut sink = [0; 4096];
            let mut discarded = 0;
            while discarded < DISCARDED_MAX {
                match connection.socket.read(&mut sink) {
                    Ok(count) if count > 0 => discarded += count,
                    _ => break,
                }
            }
        }
    }

    fn get(&mut self, stream: StreamId) -> Option<&mut Connection> {
        self.connections
            .get_mut(stream.slot())?
            .as_mut()
            .filter(|connection| connection.generation == stream.generation())
    }

    fn found(&mut self, stream: StreamId) -> io::Result<&mut Connection> {
        self.get(stream)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Whether a dial is over, and how.
fn dialled(socket: &TcpStream) -> Option<io::Result<()>> {
    match socket.take_error() {
        Ok(Some(error)) | Err(error) => return Some(Err(error)),
        Ok(None) => {}
    }
    match socket.peer_addr() {
        Ok(_) => Some(Ok(())),
        // Woken too early.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        Err(error) => Some(Err(error)),
    }
}

/// A listening socket on `address`; when its port is busy (or any will do) on `fallback`, else on a free one.
fn bind(address: SocketAddr, fallback: Option<u16>) -> io::Result<std::net::TcpListener> {
    let others = [fallback.unwrap_or(0), 0].map(|port| SocketAddr::new(address.ip(), port));
    if address.port() != 0 {
        match open(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
    open(others[0]).or_else(|_| open(others[1]))
}

fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the last run's connections to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Each family has its own listener, so that addresses are never IPv4 in disguise.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A descriptor to give up when there are no others; `None` when there is not even this one.
fn reserve() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}
