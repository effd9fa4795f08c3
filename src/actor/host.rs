//! All that the loop asks of the outside: the operating system in production, a simulated world in tests.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::engine::message::{Done, Fetch, Fetched, LostReason, StoreJob, Stored, Work};
use crate::ids::{SessionId, SocketId, StreamId};
use crate::metrics::HostFigures;
use crate::time::{Duration, Instant};

/// The outside, as one thread sees it. Nothing here ever blocks but [`Host::poll`].
///
/// Readiness is edge-triggered: what [`Host::poll`] reported stays ready until a call says `WouldBlock`.
pub trait Host {
    /// The time. Read once a turn.
    fn now(&mut self) -> Instant;
    /// The same time in nanoseconds, for the few messages that are timed.
    fn nanos(&mut self) -> u64 {
        self.now().as_micros().saturating_mul(1000)
    }
    /// Milliseconds since 1970, for what people read. A simulation counts from its own beginning.
    fn unix_millis(&mut self) -> u64 {
        self.now().as_micros() / 1000
    }

    /// Waits for at most `timeout` (`None`: for ever) until something is ready or a waker was called, and appends it.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>);

    /// The next accepted socket, `None` when no more are waiting.
    fn next_incoming(&mut self) -> Option<(SocketId, SocketAddr)>;
    /// Keeps a socket that was offered.
    fn accept(&mut self, socket: SocketId, stream: StreamId);
    /// Closes a socket that was offered, unless it was accepted.
    fn refuse(&mut self, socket: SocketId);
    /// Takes a connected stream socket from a caller; from now on it is a socket that was offered. Closed when it is refused.
    ///
    /// # Errors
    /// `Unsupported` from a host without sockets; else what is wrong with this one.
    fn adopt(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        drop(socket);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Begins to open a stream; becomes [`Ready::Connected`] or [`Ready::Failed`].
    ///
    /// # Errors
    /// When it failed at once.
    fn dial(&mut self, stream: StreamId, to: SocketAddr) -> io::Result<()>;
    /// Reads what is there. `Ok(0)` is the end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    fn read(&mut self, stream: StreamId, bytes: &mut [u8]) -> io::Result<usize>;
    /// Writes what fits.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits.
    fn write(&mut self, stream: StreamId, bytes: &[io::IoSlice<'_>]) -> io::Result<usize>;
    /// Closes a stream: in order when `clean`, else at once.
    fn close(&mut self, stream: StreamId, clean: bool);
    /// Whether, after a read that did not fill its buffer, another may bring something. `false` spares a call: the next
    /// [`Ready::Readable`] will tell.
    fn read_more(&mut self, _stream: StreamId) -> bool {
        true
    }
    /// Whether, after a write that took only a part, another may take more. `false` spares a call: the next
    /// [`Ready::Writable`] will tell.
    fn write_more(&mut self, _stream: StreamId) -> bool {
        true
    }

    /// The next datagram that is waiting: who sent it and its length in `bytes`.
    fn receive(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize)>;
    /// The same for several of one sender, where the system has them together: all but the last have the length that is the
    /// last of the three.
    fn receive_many(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize, usize)> {
        let (from, length) = self.receive(bytes)?;
        Some((from, length, length))
    }
    /// Sends a datagram, or loses it.
    fn send_to(&mut self, to: SocketAddr, bytes: &[u8]);
    /// Sends datagrams of `segment` bytes each, of which the last may be shorter; or loses some.
    fn send_many(&mut self, to: SocketAddr, segment: usize, bytes: &[u8]) {
        for one in bytes.chunks(segment.max(1)) {
            self.send_to(to, one);
        }
    }

    /// Takes a job. A read whose bytes are at hand comes back at once; everything else by [`Host::finished`].
    fn work(&mut self, work: Work) -> Option<Done>;
    /// Drops the session's jobs that nobody has begun and that can be cancelled: each becomes [`Finished::Done`] with
    /// `Outcome::Cancelled`. A host that does every job soon need not.
    fn cancel(&mut self, _session: SessionId) {}
    /// Takes a job for the store.
    fn store(&mut self, job: StoreJob);
    /// Takes a job for the gateway.
    fn fetch(&mut self, fetch: Fetch);
    /// The next finished job.
    fn finished(&mut self) -> Option<Finished>;
    /// What it counts by itself.
    fn figures(&mut self) -> HostFigures {
        HostFigures::default()
    }
}

/// What [`Host::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A dialled stream is up.
    Connected(StreamId),
    /// A dialled stream could not be opened.
    Failed(StreamId, LostReason),
    /// Bytes, or the end, can be read.
    Readable(StreamId),
    /// Bytes can be written.
    Writable(StreamId),
    /// Sockets wait to be accepted.
    Incoming,
    /// Datagrams wait to be received.
    Datagrams,
}

/// A job that is over.
#[derive(Debug)]
pub enum Finished {
    /// By a worker.
    Done(Done),
    /// By the store.
    Stored(Stored),
    /// By the gateway.
    Fetched(Fetched),
}

/// What an error of a dial, a read or a write means for the stream.
#[must_use]
pub fn reason_of(error: &io::Error) -> LostReason {
    use io::ErrorKind;
    /// Too many open files: of the system, of the process.
    const DESCRIPTORS: [i32; 2] = [23, 24];
    match error.kind() {
        ErrorKind::ConnectionRefused => LostReason::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            LostReason::Unreachable
        }
        ErrorKind::TimedOut => LostReason::TimedOut,
        ErrorKind::UnexpectedEof => LostReason::HungUp,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            LostReason::Reset
        }
        // A dial finds no free local port.
        ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory => LostReason::NoResources,
        _ if error
            .raw_os_error()
            .is_some_and(|code| DESCRIPTORS.contains(&code)) =>
        {
            LostReason::NoResources
        }
        _ => LostReason::Other,
    }
}
