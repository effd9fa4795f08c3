//! All that the loop asks of the outside: the operating system in production, a simulated world in tests.

use std::io;
use std::net::SocketAddr;

use crate::buffer::Block;
use crate::engine::message::{Done, Fetch, Fetched, StoreJob, Stored, Work};
use crate::ids::{SocketId, StreamId};
use crate::time::{Duration, Instant};

/// The outside, as one thread sees it. Nothing here ever blocks but [`Host::poll`].
///
/// Readiness is edge-triggered: what [`Host::poll`] reported stays ready until a call says `WouldBlock`.
pub trait Host {
    /// The time. Read once a turn.
    fn now(&mut self) -> Instant;

    /// Waits for at most `timeout` (`None`: for ever) until something is ready or a waker was called, and appends it.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>);

    /// The next accepted socket, `None` when no more are waiting.
    fn next_incoming(&mut self) -> Option<(SocketId, SocketAddr)>;
    /// Keeps a socket that was offered.
    fn accept(&mut self, socket: SocketId, stream: StreamId);
    /// Closes a socket that was offered.
    fn refuse(&mut self, socket: SocketId);

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

    /// The next datagram that is waiting: who sent it and its length in `bytes`.
    fn receive(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize)>;
    /// Sends a datagram, or loses it.
    fn send_to(&mut self, to: SocketAddr, bytes: &[u8]);

    /// Takes a job. A read whose bytes are at hand comes back at once; everything else by [`Host::finished`].
    fn work(&mut self, work: Work) -> Option<Done>;
    /// Takes a job for the store.
    fn store(&mut self, job: StoreJob);
    /// Takes a job for the gateway.
    fn fetch(&mut self, fetch: Fetch);
    /// The next finished job.
    fn finished(&mut self) -> Option<Finished>;
}

/// What [`Host::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A dialled stream is up.
    Connected(StreamId),
    /// A dialled stream could not be opened.
    Failed(StreamId, crate::engine::message::LostReason),
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

/// Frees what a closed stream still had queued.
pub type Unsent = Vec<Block>;
