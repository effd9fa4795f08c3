//! The contract on one page: everything that can happen to the engine, and everything it can ask for.
//!
//! Payloads are plain data, owned or lent for the call: never a socket, a closure, a channel or a lock. Every piece of work
//! given out ([`Output::Work`], [`Output::Store`], [`Output::Fetch`]) is answered exactly once, in any order.

mod blocks;
mod callers;
mod gateway;
mod store;
mod work;

use std::net::SocketAddr;

use crate::buffer::Block;
use crate::codec::wire;
use crate::events::Event;
use crate::ids::{ReplyId, SessionId, SocketId, StreamId};

pub use super::library::{
    Change, Kept, MagnetAdd, Move, Remembered, Selection, SettingRow, SettingsChange,
    SettingsSnapshot, TorrentAdd, TorrentDetail, TorrentKey, TorrentSnapshot, TorrentsChange,
    TorrentsShow, TorrentsSnapshot, Totals, Trouble,
};
pub use super::snapshot::{
    EngineSnapshot, IgnoredAddress, LinkSummary, LinksCount, PeerSnapshot, SessionSnapshot,
    SessionState, Transport,
};
pub use blocks::*;
pub use callers::*;
pub use gateway::*;
pub use store::*;
pub use work::*;

/// Everything that can happen to the engine.
#[derive(Debug)]
pub enum Input<'a> {
    /// Only time has passed.
    Tick,
    /// A caller's message. Answered by exactly one [`Output::Reply`] when `reply` is there, perhaps only after a job.
    Message {
        /// What is asked.
        message: Message,
        /// Whom the answer goes to.
        reply: Option<ReplyId>,
    },
    /// The addresses we now listen on; replaces what was said before.
    Listening {
        /// Bound addresses, with their real ports.
        addresses: Vec<SocketAddr>,
    },
    /// A socket was accepted. Answered at once by one [`Output::Accept`] or [`Output::Refuse`].
    Incoming {
        /// The waiting socket.
        socket: SocketId,
        /// Who dialled.
        remote: SocketAddr,
    },
    /// The stream that [`Output::Dial`] asked for is up.
    Connected {
        /// Which.
        stream: StreamId,
    },
    /// Bytes of `stream`, in order, at least one. Lent from the read scratch (mutably: decryption is in place); copy what must outlive the call.
    Received {
        /// Which.
        stream: StreamId,
        /// What arrived.
        bytes: &'a mut [u8],
    },
    /// `bytes` of what [`Output::Send`] queued are with the operating system now.
    Sent {
        /// Which; may be gone already.
        stream: StreamId,
        /// How many, message heads included.
        bytes: usize,
        /// The blocks that nobody needs any more; drained.
        blocks: &'a mut Vec<Block>,
    },
    /// The stream is over: the dial failed, the other side hung up, or an error. At most once a stream, never after [`Output::Close`].
    Lost {
        /// Which.
        stream: StreamId,
        /// Why.
        why: LostReason,
    },
    /// A datagram on one of our UDP sockets.
    Datagram {
        /// Who sent it.
        from: SocketAddr,
        /// Lent for the call.
        bytes: &'a mut [u8],
    },
    /// Datagrams of one sender, all but the last of the same length: what the system gave us at once.
    Datagrams {
        /// Who sent them.
        from: SocketAddr,
        /// The length of each but the last, which may be shorter; at least 1.
        segment: usize,
        /// All of them, one behind the other, lent for the call.
        bytes: &'a mut [u8],
    },
    /// A job is over. Comes exactly once for each [`Output::Work`].
    Done(Done),
    /// The store has answered. Comes exactly once for each [`Output::Store`].
    Stored(Stored),
    /// The gateway has answered. Comes exactly once for each [`Output::Fetch`].
    Fetched(Fetched),
}

/// Everything the engine can ask for. Drained to `None` after each input.
#[derive(Debug)]
pub enum Output {
    /// Open a stream to `to`; answered by [`Input::Connected`] or [`Input::Lost`].
    Dial {
        /// The name it will have.
        stream: StreamId,
        /// Where to.
        to: SocketAddr,
    },
    /// Keep the incoming `socket` as `stream`.
    Accept {
        /// As offered.
        socket: SocketId,
        /// The name it has from now on.
        stream: StreamId,
    },
    /// Close the incoming `socket`.
    Refuse {
        /// As offered.
        socket: SocketId,
    },
    /// Queue bytes on `stream`; written at the end of the turn, all frames of a stream in one vectored write.
    Send {
        /// Which; its queue is bounded by the engine, which counts [`Input::Sent`].
        stream: StreamId,
        /// What.
        frame: Frame,
    },
    /// Stop (`true`) or go on (`false`) reading `stream`: backpressure is a state, not a wait.
    Hold {
        /// Which.
        stream: StreamId,
        /// Whether it is held.
        hold: bool,
    },
    /// `stream` may be read for so many bytes from now on, then not until this is said again; [`u64::MAX`] is no bound, and how
    /// every stream begins. Beside [`Output::Hold`]: it is read when neither is in the way.
    Meter {
        /// Which.
        stream: StreamId,
        /// How many.
        bytes: u64,
    },
    /// Close `stream`; its queued blocks come back in one last [`Input::Sent`].
    Close {
        /// Which.
        stream: StreamId,
    },
    /// Send a datagram from our UDP socket of the address's family; may be lost.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Send datagrams from our UDP socket of the address's family, all but the last of the same length; each may be lost, none may
    /// be cut on its way.
    Datagrams {
        /// Where to.
        to: SocketAddr,
        /// The length of each but the last, which may be shorter.
        segment: usize,
        /// All of them, one behind the other.
        bytes: Vec<u8>,
    },
    /// A job for the workers.
    Work(Work),
    /// Nobody wants to know any more what the jobs of a session find that only look and read: those that no worker has begun
    /// come back at once as [`Outcome::Cancelled`], those at a worker may, and all are answered once, as ever. Jobs that
    /// write, flush or close are done.
    Cancel {
        /// Whose.
        session: SessionId,
    },
    /// A job for the store.
    Store(StoreJob),
    /// A job for the gateway.
    Fetch(Fetch),
    /// The answer to a message.
    Reply {
        /// Whom it goes to.
        reply: ReplyId,
        /// What.
        answer: Answer,
    },
    /// Something a subscriber may want to know.
    Event(Event),
    /// Shutdown is complete: nothing is in flight, nothing will be asked for again.
    Stopped(ShutdownReport),
}

/// Bytes on their way to a stream.
#[derive(Debug)]
pub enum Frame {
    /// Anything small, encoded: at most a handshake (68 bytes).
    Small {
        /// How many of `bytes`.
        length: u8,
        /// The bytes.
        bytes: [u8; 68],
    },
    /// Anything else without payload: a bitfield, an extended message.
    Bytes(Vec<u8>),
    /// A `piece` message: its 13-byte head, then `length` bytes of `block`.
    Block {
        /// `<length><id><index><begin>` as in BEP 3.
        head: [u8; wire::PIECE_HEAD_BYTES],
        /// The payload.
        block: Block,
        /// Bytes of it.
        length: u32,
    },
}

impl Frame {
    /// Bytes on the wire.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Small { length, .. } => usize::from(*length),
            Self::Bytes(bytes) => bytes.len(),
            Self::Block { head, length, .. } => head.len() + *length as usize,
        }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a stream ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// The dial was refused.
    Refused,
    /// The network has no way there.
    Unreachable,
    /// Nothing answered in time.
    TimedOut,
    /// The other side closed in order.
    HungUp,
    /// The other side broke it off.
    Reset,
    /// No more descriptors, ports or memory on our side.
    NoResources,
    /// Anything else the operating system says.
    Other,
}
