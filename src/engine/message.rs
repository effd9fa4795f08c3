//! The contract on one page: everything that can happen to the engine, and everything it can ask for.
//!
//! Payloads are plain data, owned or lent for the call: never a socket, a closure, a channel or a lock. Every piece of work
//! given out ([`Output::Work`], [`Output::Store`], [`Output::Fetch`]) is answered exactly once, in any order.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::buffer::Block;
use crate::codec::geometry::{BlockRef, PieceIndex};
use crate::codec::layout::{FileIndex, Layout};
use crate::codec::metainfo::Metainfo;
use crate::codec::wire;
use crate::events::Event;
use crate::hash::Digest;
use crate::ids::{
    ConnectionId, InfoHash, JobId, LinkId, ReplyId, SessionId, SocketId, StreamId, SwarmId,
};
use crate::time::{Duration, Instant};

pub use super::library::{
    Change, Kept, MagnetAdd, Move, Remembered, Selection, SettingRow, SettingsChange,
    SettingsSnapshot, TorrentAdd, TorrentDetail, TorrentKey, TorrentSnapshot, TorrentsChange,
    TorrentsShow, TorrentsSnapshot, Totals, Trouble,
};
pub use super::snapshot::{
    EngineSnapshot, IgnoredAddress, LinkSummary, LinksCount, PeerSnapshot, SessionSnapshot,
    SessionState,
};

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

// ---------------------------------------------------------------------------------------------------------- callers

/// What a caller can ask. At most 64 bytes: larger payloads are boxed.
///
/// Those of the link manager come first, in the order and with the refusals of requirement 1.4; then sessions, then the whole.
#[derive(Debug)]
pub enum Message {
    /// `address` may be dialled for `swarm` (L1). [`Answer::Link`]. Refused: [`Refusal::OwnAddress`], [`Refusal::UnknownSwarm`],
    /// [`Refusal::AlreadyAssociated`], [`Refusal::BadAddress`], [`Refusal::Full`]. A swarm that is off takes it, and dials it when it
    /// is on.
    LinkCreate {
        /// Where it listens.
        address: SocketAddr,
        /// For which swarm.
        swarm: SwarmId,
    },
    /// The peer recorded under `address` is to be dialled at `ip` and `port` from now on (L5). [`Answer::Done`]. Refused unless
    /// the link is disconnected and can be dialled ([`Refusal::WrongState`]), when nobody can be dialled there, it is ourselves, or
    /// another link's ([`Refusal::AlreadyAssociated`]).
    LinkUpdate {
        /// Which link.
        address: SocketAddr,
        /// Where it listens now.
        ip: IpAddr,
        /// Its port there.
        port: u16,
    },
    /// Forget a link and close its streams (L15). [`Answer::Done`], also when there is none. A pinned one is kept unless forced.
    LinkDelete {
        /// Which link.
        address: SocketAddr,
        /// Also when it is pinned.
        force: bool,
        /// Close the streams, but keep the record so that it can be dialled again.
        preserve: bool,
    },
    /// How `address` stands in `swarm`: [`Answer::Found`], with nothing unless there is a link and it belongs to the swarm.
    LinkFind {
        /// Which link.
        address: SocketAddr,
        /// In which swarm.
        swarm: SwarmId,
    },
    /// A byte stream is up (L3, L7). [`Answer::Stream`]. Outgoing needs a link, incoming makes one. Refused:
    /// [`Refusal::UnknownLink`], [`Refusal::UnknownSwarm`], [`Refusal::AlreadyConnected`] when `swarm` is named and has one
    /// accounted at that address, or the connection is known; [`Refusal::WrongState`] when the swarm is off, or the address banned;
    /// [`Refusal::Full`]. A socket also when it is outgoing and names no swarm ([`Refusal::UnknownSwarm`]: who dialled speaks first),
    /// or names one that no session has ([`Refusal::WrongState`]: nobody would answer).
    StreamAdd {
        /// The other end.
        address: SocketAddr,
        /// Who dialled.
        direction: Direction,
        /// For which swarm; of an incoming stream it may not be known yet.
        swarm: Option<SwarmId>,
        /// Who carries its bytes.
        carrier: Carrier,
    },
    /// A byte stream is over (L12). [`Answer::Done`], also when it is unknown: a late duplicate is no error.
    StreamDelete {
        /// Which.
        stream: StreamName,
    },
    /// `old` is gone and `new`, to the same peer, takes its place (L13): the link goes on without being lost. [`Answer::Done`], also
    /// when `old` is unknown; when `new` is, `old` is over all the same. Refused as [`Refusal::WrongState`] when `new` is in another
    /// swarm, or the loop carries either: those replace each other by their handshakes. A survivor from another address takes the
    /// membership; only that the old address is not connected any more is told.
    StreamReplace {
        /// The one that ends.
        old: StreamName,
        /// The survivor.
        new: StreamName,
        /// Who dialled the survivor.
        direction: Direction,
    },
    /// A swarm without a torrent of ours: its streams come from outside, until a session takes it over. [`Answer::Swarm`].
    /// Refused: [`Refusal::SwarmExists`], [`Refusal::Full`].
    SwarmAdd {
        /// Which.
        info_hash: InfoHash,
        /// Fewer uplinks than this ask for more.
        links_min: u32,
    },
    /// Forget a swarm (L14). [`Answer::Done`]. Refused: [`Refusal::UnknownSwarm`]; [`Refusal::InUse`] while a session has it.
    SwarmRemove {
        /// Which.
        swarm: SwarmId,
    },
    /// Switch a swarm on or off (L14), beside what its session says: it is on when both say so. Off, its links go, but for pinned
    /// ones, and its streams are closed. [`Answer::Condition`] says how the switch was; the same again changes nothing and tells
    /// nobody.
    SwarmSwitch {
        /// Which.
        swarm: SwarmId,
        /// Whether it may have streams.
        on: bool,
    },
    /// The swarm of an info-hash: [`Answer::Swarm`].
    SwarmFind {
        /// Which.
        info_hash: InfoHash,
    },
    /// How many links a swarm has and needs: [`Answer::Count`].
    LinksCount {
        /// Which.
        swarm: SwarmId,
    },
    /// A swarm's links, uplinks first: [`Answer::Links`].
    LinksShow {
        /// Which.
        swarm: SwarmId,
        /// Only those accounted in it now.
        established_only: bool,
    },
    /// Whether a swarm is on: [`Answer::Condition`].
    SwarmCondition {
        /// Which.
        swarm: SwarmId,
    },
    /// The addresses a swarm leaves alone now: [`Answer::Ignored`].
    IgnoredShow {
        /// Which.
        swarm: SwarmId,
    },
    /// The verdict of a handshake: whether the link at `address` is a member of `swarm` (L9, L10). [`Answer::Done`]. For streams
    /// that a caller carries; those of ours are accounted by their own handshakes. A member is the link's oldest stream that is in
    /// no swarm and named none, or this one; a bad verdict ends that stream, since one carries one swarm (X5). What is gone
    /// meanwhile is no error.
    Account {
        /// Which link.
        address: SocketAddr,
        /// In which swarm.
        swarm: SwarmId,
        /// Whether it is.
        verdict: Accounting,
    },
    /// A person names a peer for a swarm (L2): dialled first, never dropped for failures. [`Answer::Link`].
    Pin {
        /// Where it listens.
        address: SocketAddr,
        /// For which swarm.
        swarm: SwarmId,
    },
    /// It is a peer like any other again. [`Answer::Done`]. Refused: [`Refusal::UnknownLink`] when it is not pinned there.
    Unpin {
        /// Which link.
        address: SocketAddr,
        /// For which swarm.
        swarm: SwarmId,
    },
    /// Change limits while running. [`Answer::Done`]. What is above a lowered limit leaves as it ends; nothing is cut off.
    LimitsSet(Limits),
    /// From now on these are the rate limits of all torrents together. [`Answer::Done`].
    SpeedSet(Box<super::limits::Limits>),
    /// Change the rate limits of one torrent. [`Answer::Done`], when it is on disk where the torrent is remembered.
    SessionLimits {
        /// Which.
        session: SessionId,
        /// What changes.
        change: Box<super::limits::TorrentLimitsChange>,
    },
    /// What those are, and all groups. [`Answer::Speed`].
    SpeedShow,
    /// Make or change a bandwidth group. [`Answer::Done`]. Refused as [`Refusal::Full`] when there are too many.
    GroupSet(Box<super::limits::Group>),
    /// Take on a torrent. [`Answer::Session`], or refused as a duplicate.
    SessionAdd(Box<SessionAdd>),
    /// Stop a torrent, write what is known and forget it. [`Answer::Done`] when all that is done.
    SessionRemove {
        /// Which.
        session: SessionId,
    },
    /// Stop trading. [`Answer::Done`].
    SessionPause {
        /// Which.
        session: SessionId,
    },
    /// Trade again. [`Answer::Done`].
    SessionResume {
        /// Which.
        session: SessionId,
    },
    /// A person names a peer: pinned, dialled first, never dropped for failures. [`Answer::Done`].
    PeerAdd {
        /// For which torrent.
        session: SessionId,
        /// Where it listens.
        address: SocketAddr,
    },
    /// The same by name, resolved first. [`Answer::Done`] as soon as the name is being resolved.
    PeerAddNamed {
        /// For which torrent.
        session: SessionId,
        /// A name or an address.
        host: Box<str>,
        /// Its port.
        port: u16,
    },
    /// How one torrent stands. [`Answer::Snapshot`].
    SessionShow {
        /// Which.
        session: SessionId,
    },
    /// How everything stands. [`Answer::Engine`].
    EngineShow,
    /// End in order within `budget`. Everything queued behind it is answered [`Refusal::ShuttingDown`]. [`Answer::Done`] when stopped.
    Shutdown {
        /// For all phases together.
        budget: Duration,
    },
    /// From now on torrents are remembered: takes on all that the store has. [`Answer::Done`] when they are taken on (not yet
    /// checked). Refused as [`Refusal::NotRemembered`] when the store cannot be read.
    LibraryLoad {
        /// Milliseconds since 1970 at [`Instant::ZERO`]: the engine knows no calendar.
        epoch_millis: u64,
    },
    /// Take on a torrent and remember it. [`Answer::Session`] when that is on disk; refused as a duplicate, or as
    /// [`Refusal::NotRemembered`], and then nothing is left of it.
    TorrentAdd(Box<TorrentAdd>),
    /// Take on a torrent of which no more than a link is known. Answered like [`Message::TorrentAdd`].
    MagnetAdd(Box<MagnetAdd>),
    /// Change remembered torrents, all in one turn. [`Answer::Changed`] when it is done and on disk.
    TorrentsChange(Box<TorrentsChange>),
    /// Look at a directory, on a worker. [`Answer::Surveyed`]. Refused as [`Refusal::Full`] when too many such looks are out:
    /// some disk hangs.
    Survey(Box<Survey>),
    /// How remembered torrents stand. [`Answer::Torrents`].
    TorrentsShow(Box<TorrentsShow>),
    /// Change settings while running, all in one turn; no connection is closed by it. [`Answer::Done`] when they are on disk and
    /// hold. Refused, and nothing has changed: [`Refusal::BadSetting`], [`Refusal::NotRemembered`].
    SettingsChange(Box<SettingsChange>),
    /// The settings that hold, and the totals of all runs. [`Answer::Settings`].
    SettingsShow,
}

const _: () = assert!(
    size_of::<Message>() <= 64,
    "a message is plain data of at most 64 bytes"
);

/// Who dialled: a link's stream makes it an uplink or a downlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We did.
    Outgoing,
    /// They did.
    Incoming,
}

impl Direction {
    /// Outgoing, or not.
    #[must_use]
    pub const fn of(outgoing: bool) -> Self {
        if outgoing {
            Self::Outgoing
        } else {
            Self::Incoming
        }
    }

    /// As in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
        }
    }
}

/// Who carries the bytes of a stream that is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The loop: a connected socket that a caller handed over. Answered, beside the reply, by [`Output::Accept`] or
    /// [`Output::Refuse`]; from then on a stream like any other.
    Socket(SocketId),
    /// The caller: the table only knows that it is there, and what [`Message::Account`] says of it.
    Outside(ConnectionId),
}

/// Which stream a caller means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// By our name, as answered.
    Stream(StreamId),
    /// By the caller's.
    Outside(ConnectionId),
}

/// What a handshake for one info-hash came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounting {
    /// The link is a member.
    Member,
    /// It leaves, in order: it may be tried again after the first pause.
    Leaves,
    /// It failed: left alone for that swarm for a while.
    Failed,
}

/// Limits to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Streams of the process that the loop carries, as `peer.max_links`.
    pub links_max: Option<u32>,
    /// Streams of one swarm that the loop carries, as `peer.max_links_per_swarm`.
    pub swarm_links_max: Option<u32>,
    /// Peers of one torrent that may ask at a time, as `seeding.upload_slots`; 0 means no limit.
    pub upload_slots: Option<u32>,
}

/// A torrent to take on.
#[derive(Debug)]
pub struct SessionAdd {
    /// What it is.
    pub metainfo: Arc<Metainfo>,
    /// The directory its files go to: real, absolute.
    pub root: PathBuf,
    /// Whether what is missing is fetched (`get`), or only what is there is served (`seed`).
    pub download: bool,
    /// Whether to stay after the last piece.
    pub seed: bool,
    /// Hash everything on disk before trading, whatever the store says.
    pub recheck: bool,
    /// Which files are wanted; empty means all.
    pub wanted: Vec<bool>,
}

/// What a caller gets back.
#[derive(Debug)]
pub enum Answer {
    /// It was done.
    Done,
    /// It was refused, and nothing has changed.
    Refused(Refusal),
    /// The torrent's id.
    Session(SessionId),
    /// How one torrent stands.
    Snapshot(Box<SessionSnapshot>),
    /// How everything stands.
    Engine(Box<EngineSnapshot>),
    /// The link that was made or found.
    Link(LinkId),
    /// The stream's name.
    Stream(StreamId),
    /// The swarm's name.
    Swarm(SwarmId),
    /// How a link stands in a swarm.
    Found(Option<LinkSummary>),
    /// How many links there are.
    Count(LinksCount),
    /// The limits of all torrents together, and of each group.
    Speed(Box<(super::limits::Limits, Vec<super::limits::Group>)>),
    /// A swarm's links. Shared with whoever asked since they last changed.
    Links {
        /// When this was so.
        time: Instant,
        /// Uplinks, then downlinks.
        links: Arc<[LinkSummary]>,
    },
    /// The addresses a swarm leaves alone. Shared likewise.
    Ignored {
        /// When this was so.
        time: Instant,
        /// By address.
        addresses: Arc<[IgnoredAddress]>,
    },
    /// Whether a swarm is on, or was.
    Condition(bool),
    /// How many torrents a change was for.
    Changed(u32),
    /// How torrents stand.
    Torrents(Box<TorrentsSnapshot>),
    /// How a directory was found, or what the system said.
    Surveyed(Box<Result<Surveyed, Fault>>),
    /// What holds.
    Settings(Box<SettingsSnapshot>),
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such session, or no longer.
    UnknownSession,
    /// No such swarm, or no longer.
    UnknownSwarm,
    /// No such link, or no longer.
    UnknownLink,
    /// The swarm is already there.
    SwarmExists(SwarmId),
    /// A session has the swarm: remove that.
    InUse(SessionId),
    /// The link already belongs to the swarm.
    AlreadyAssociated,
    /// There is a stream already.
    AlreadyConnected,
    /// The link is not in a state where this can be.
    WrongState,
    /// The torrent is already there.
    Duplicate(SessionId),
    /// What the torrent holds is not known: it came by a link, or its torrent file cannot be read.
    NotKnown,
    /// Our own address.
    OwnAddress,
    /// Not an address anyone can be dialled at.
    BadAddress,
    /// A bound named in the configuration is reached.
    Full,
    /// The engine is ending.
    ShuttingDown,
    /// The store does not work: the log says why.
    NotRemembered,
    /// A file that the torrent does not have.
    UnknownFile,
    /// Not a name that a file can have.
    BadName,
    /// Another file of the torrent has the name.
    NameTaken,
    /// Its files are being moved.
    Moving,
    /// Its files could not be moved or renamed, and are where they were.
    NotMoved,
    /// A tracker that the torrent does not have.
    UnknownTracker,
    /// It has the tracker already, or the URL cannot be one.
    BadTracker,
    /// No setting that can be changed while running, or a value that it cannot have.
    BadSetting,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownSession => "the torrent is gone",
            Self::UnknownSwarm => "there is no such swarm",
            Self::UnknownLink => "there is no such link",
            Self::SwarmExists(_) => "the swarm is there already",
            Self::InUse(_) => "a torrent uses the swarm",
            Self::AlreadyAssociated => "the link belongs to the swarm already",
            Self::AlreadyConnected => "there is a stream already",
            Self::WrongState => "the link is not in a state where that can be",
            Self::NotKnown => {
                "nobody knows what the torrent holds, or its torrent file cannot be read"
            }
            Self::Duplicate(_) => "the torrent is there already",
            Self::OwnAddress => "that is our own address",
            Self::BadAddress => "nobody can be reached at that address",
            Self::Full => "a limit of the configuration is reached",
            Self::ShuttingDown => "the engine is ending",
            Self::NotRemembered => "the store does not work, so nothing was changed",
            Self::UnknownFile => "the torrent has no such file",
            Self::BadName => "not a name that a file can have",
            Self::NameTaken => "the torrent has a file of that name already",
            Self::Moving => "its files are being moved: try again when they are there",
            Self::NotMoved => "its files are where they were: its error says why",
            Self::UnknownTracker => "the torrent has no such tracker",
            Self::BadTracker => "not a tracker's URL, or the torrent has it already",
            Self::BadSetting => {
                "not a setting that can be changed while running, or not a value it can have"
            }
        })
    }
}

/// How the end went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Name and length of each phase, in order.
    pub phases: Vec<(&'static str, Duration)>,
    /// Local work that had to be abandoned, named for a person. Empty after a clean stop.
    pub abandoned: Vec<String>,
    /// Whether some tracker was not told in time.
    pub trackers_unanswered: usize,
}

// ---------------------------------------------------------------------------------------------------------- workers

/// What a worker needs to know of a torrent, shared, not copied.
#[derive(Debug)]
pub struct Storage {
    /// For the log.
    pub info_hash: InfoHash,
    /// Where its bytes lie.
    pub layout: Layout,
    /// SHA-1 of each piece, in order.
    pub piece_hashes: Arc<[Digest]>,
}

/// A job for the fixed pool of workers.
#[derive(Debug)]
pub struct Work {
    /// Answered with it.
    pub id: JobId,
    /// Whose; jobs are taken round robin between sessions.
    pub session: SessionId,
    /// Of which torrent.
    pub storage: Arc<Storage>,
    /// What to do.
    pub job: Job,
}

impl Work {
    /// The answer to a job that was not done.
    #[must_use]
    pub fn cancelled(self) -> Done {
        Done {
            id: self.id,
            session: self.session,
            outcome: Outcome::Cancelled(self.job),
        }
    }
}

/// What a worker can do.
#[derive(Debug)]
pub enum Job {
    /// Look at every file; with `create`, also make directories, files without bytes, links and the x bit.
    Prepare {
        /// Whether anything may be made.
        create: bool,
        /// A mark for each file of the layout: for those without, nothing is made. Empty: for all.
        wanted: Arc<[bool]>,
    },
    /// Hash these pieces from disk. What cannot be read counts as missing, unless the disk itself failed.
    Check {
        /// Ascending; a bounded run, so that rechecks are fair and can be paused.
        pieces: Vec<PieceIndex>,
        /// Digest the blocks of pieces too (for blame).
        digests: bool,
    },
    /// Hash these pieces together, then write those that are right.
    Commit {
        /// Whole pieces.
        pieces: Vec<CommitPiece>,
    },
    /// Write blocks in place, unverified: of pieces too large to hold.
    Write {
        /// Whole blocks.
        blocks: Vec<(BlockRef, Block)>,
    },
    /// Read a contiguous run for a peer.
    Read(ReadRun),
    /// Flush what was written to these files.
    Sync {
        /// Ascending.
        files: Vec<FileIndex>,
    },
    /// Close the torrent's files.
    Close,
    /// Bring the torrent's files to where another layout has them, a bounded part at a time. Nothing that is there is
    /// overwritten.
    Relocate(Box<Relocation>),
    /// Look at a directory, which is no torrent's.
    Survey(Survey),
    /// Close the torrent's files and delete them, and directories of it that are empty then. What is not the torrent's stays.
    Delete,
}

impl Job {
    /// Whether [`Output::Cancel`] is for it: it changes no byte of a file.
    #[must_use]
    pub const fn is_cancellable(&self) -> bool {
        match self {
            Self::Prepare { .. } | Self::Check { .. } | Self::Read(_) => true,
            Self::Commit { .. }
            | Self::Write { .. }
            | Self::Sync { .. }
            | Self::Close
            | Self::Relocate(_)
            | Self::Survey(_)
            | Self::Delete => false,
        }
    }

    /// Short name, for metrics and logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Prepare { .. } => "prepare",
            Self::Check { .. } => "check",
            Self::Commit { .. } => "commit",
            Self::Write { .. } => "write",
            Self::Read(_) => "read",
            Self::Sync { .. } => "sync",
            Self::Close => "close",
            Self::Delete => "delete",
            Self::Relocate(_) => "relocate",
            Self::Survey(_) => "survey",
        }
    }
}

/// A torrent's files on their way to another layout.
#[derive(Clone, Debug)]
pub struct Relocation {
    /// The same files under another root or other names.
    pub to: Arc<Storage>,
    /// How each file looked when its pieces were last known to be right: tells ours from strangers'.
    pub stamps: Arc<[Option<FileStamp>]>,
    /// What is to be done.
    pub task: RelocateTask,
    /// Whether an earlier run began it: a file that is in both places was just being taken over.
    pub resumed: bool,
    /// Files before it are there.
    pub next: FileIndex,
    /// Bytes of the file at hand that were copied.
    pub copied: u64,
    /// Bytes of the files that are there.
    pub bytes: u64,
    /// Files that are there and were ours, in the order in which they went.
    pub carried: Vec<FileIndex>,
}

impl Relocation {
    /// The name that a copy of the file at `path` has until it is whole: no other torrent's, nor another file's.
    #[must_use]
    pub fn part_of(path: &Path, info_hash: InfoHash, file: FileIndex) -> PathBuf {
        path.with_file_name(format!(".linnet-{info_hash}-{file}.part"))
    }
}

/// What a [`Job::Relocate`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocateTask {
    /// See whether it can be done: nothing is in the way, and there is room.
    Look,
    /// Take the next files there.
    Carry,
    /// Bring back those that were carried.
    Back,
    /// Leave them where they are: others are looked for there.
    Leave,
}

/// What is asked of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Absolute.
    pub path: PathBuf,
    /// Make it, and what leads to it, when it is missing.
    pub make: bool,
    /// A file beneath it that may be there.
    pub file: Option<PathBuf>,
}

/// How a directory was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its real path.
    pub path: PathBuf,
    /// Bytes that we may still take on its file system.
    pub free: u64,
    /// Bytes that its file system has.
    pub total: u64,
    /// Whether the file is there.
    pub found: bool,
}

/// A piece in memory, to be hashed and written.
#[derive(Debug)]
pub struct CommitPiece {
    /// Which.
    pub piece: PieceIndex,
    /// Its blocks, in order; the last may be filled in part.
    pub blocks: Vec<Block>,
    /// Digest its blocks even when it is right: an earlier copy was wrong, and the comparison names who lied.
    pub digests: bool,
}

/// A run of bytes that one stream asked for.
#[derive(Debug)]
pub struct ReadRun {
    /// For whom.
    pub stream: StreamId,
    /// Where it begins in the torrent's run of bytes.
    pub offset: u64,
    /// One part a request, one behind the other.
    pub parts: Vec<ReadPart>,
    /// Files among these bytes that nobody may have changed: what was read counts only if they look so after the read.
    /// Others of its files are not looked at.
    pub expected: Vec<Expected>,
}

/// How a file must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Which.
    pub file: FileIndex,
    /// As it was when its pieces were last known to be right.
    pub stamp: FileStamp,
    /// How it looked instead, when that failed the read with [`FaultKind::Changed`].
    pub found: Option<FileStamp>,
}

/// One request's part of a run.
#[derive(Debug)]
pub struct ReadPart {
    /// As requested.
    pub index: u32,
    /// As requested.
    pub begin: u32,
    /// As requested; at most a block.
    pub length: u32,
    /// Receives the bytes.
    pub block: Block,
}

/// A finished job.
#[derive(Debug)]
pub struct Done {
    /// As given out.
    pub id: JobId,
    /// Whose.
    pub session: SessionId,
    /// How it went.
    pub outcome: Outcome,
}

/// How a job went. Every buffer that went into the job comes back here, whatever happened.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Job::Prepare`].
    Prepared(Result<Prepared, Fault>),
    /// Of [`Job::Check`]: one for each piece, in order.
    Checked(Vec<Checked>),
    /// Of [`Job::Commit`]: one for each piece, in order.
    Committed(Vec<Committed>),
    /// Of [`Job::Write`].
    Written {
        /// The buffers.
        blocks: Vec<Block>,
        /// Which blocks they were.
        refs: Vec<BlockRef>,
        /// All or nothing, as far as we say.
        result: Result<(), Fault>,
    },
    /// Of [`Job::Read`]: all of it, or an error.
    Read(ReadRun, Result<(), Fault>),
    /// Of [`Job::Sync`]: the files as they are after the flush.
    Synced(Result<Vec<(FileIndex, FileStamp)>, Fault>),
    /// Of [`Job::Close`].
    Closed,
    /// Of a job that was not done, or not to its end, because of [`Output::Cancel`]: as it was given out.
    Cancelled(Job),
    /// Of [`Job::Relocate`]: how far it is, and whether its task is over. What had been copied of a file in part when it failed
    /// is gone.
    Relocated(Box<Relocation>, Result<bool, Fault>),
    /// Of [`Job::Survey`].
    Surveyed(Result<Surveyed, Fault>),
    /// Of [`Job::Delete`]: what could not be deleted stays, and the first fault is told.
    Deleted(Result<(), Fault>),
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// Which piece.
    pub piece: PieceIndex,
    /// Right, wrong, missing, or unreadable.
    pub verdict: Verdict,
    /// SHA-1 of each block, when asked for.
    pub digests: Vec<Digest>,
}

/// What became of a piece in memory.
#[derive(Debug)]
pub struct Committed {
    /// Which piece.
    pub piece: PieceIndex,
    /// The buffers.
    pub blocks: Vec<Block>,
    /// [`Verdict::Good`] only when it is also written.
    pub verdict: Verdict,
    /// SHA-1 of each block, when the piece is wrong or it was asked for.
    pub digests: Vec<Digest>,
}

/// Whether a piece is what its hash says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its hash is right.
    Good,
    /// Its hash is wrong.
    Bad,
    /// Its bytes are not there (checks only).
    Missing,
    /// The disk failed.
    Failed(Fault),
}

/// What a look at a torrent's files has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// One for each file of the layout, `None` where none is there (or it has no bytes of its own).
    pub stamps: Vec<Option<FileStamp>>,
    /// How much room there is, where the file system says.
    pub space: Option<Space>,
}

/// Room on the file system that holds a torrent's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Which file system.
    pub device: u64,
    /// Bytes that we may still take.
    pub free: u64,
    /// Bytes of the torrent's files that no room was taken for yet.
    pub unallocated: u64,
}

/// What identifies a file's content without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp {
    /// Bytes.
    pub length: u64,
    /// Last change, in nanoseconds since 1970.
    pub modified_nanos: i64,
}

/// The disk's fault, with what a person needs to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind, for deciding.
    pub kind: FaultKind,
    /// The file or directory.
    pub path: PathBuf,
    /// What was tried and what the system said.
    pub message: String,
}

/// What a fault means for the torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No room (ENOSPC, EDQUOT): wait for room.
    Full,
    /// Read-only file system, or no permission.
    Denied,
    /// Something is in the way: a directory where a file should be, a link that leads outside.
    InTheWay,
    /// A file is shorter than it should be, or gone.
    Gone,
    /// Another program has written to a file.
    Changed,
    /// Too many open files on our side.
    NoResources,
    /// The device failed, or anything else.
    Failed,
}

// ------------------------------------------------------------------------------------------------------------ store

/// A job for the store thread.
#[derive(Debug)]
pub struct StoreJob {
    /// Answered with it.
    pub id: JobId,
    /// Whose.
    pub session: SessionId,
    /// What to do.
    pub task: StoreTask,
}

/// What the store can do. A row is named by info-hash and real directory, and held by one process at a time.
#[derive(Debug)]
pub enum StoreTask {
    /// Take hold of a row and read it.
    Load {
        /// Of which torrent.
        info_hash: InfoHash,
        /// Where its files are.
        root: PathBuf,
    },
    /// Write a row, durably.
    Save(Box<Progress>),
    /// Let go of a row.
    Release {
        /// Of which torrent.
        info_hash: InfoHash,
        /// Where its files are.
        root: PathBuf,
    },
    /// Read all remembered torrents, in the order of the queue.
    List,
    /// Read the torrent files of these, up to [`READ_MAX`], and which pieces are there.
    Read(Vec<InfoHash>),
    /// Note how long these have downloaded and seeded, durably.
    Times(Vec<Times>),
    /// Remember a torrent, durably; with its torrent file the first time.
    Keep(Box<Kept>),
    /// Read all bandwidth groups.
    ListGroups,
    /// Remember a bandwidth group, durably.
    KeepGroup(Box<super::limits::Group>),
    /// Forget a torrent and its progress, durably.
    Forget {
        /// Which.
        info_hash: InfoHash,
    },
    /// Read settings and totals.
    Recall,
    /// Remember settings, or forget them, durably.
    KeepSettings(Vec<SettingRow>),
    /// Remember the totals.
    KeepTotals(Totals),
}

/// Torrent files that are read for one task.
pub const READ_MAX: usize = 64;

/// How long a torrent has been at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Which.
    pub info_hash: InfoHash,
    /// Seconds it has downloaded.
    pub downloading: u64,
    /// Seconds it has seeded.
    pub seeding: u64,
}

/// What the store knows of a torrent that rests.
#[derive(Clone, Debug)]
pub struct Known {
    /// What it is.
    pub metainfo: Arc<Metainfo>,
    /// A bit for each piece that was recorded, as in [`Progress::have`]; empty when nothing was.
    pub have: Vec<u8>,
}

/// What is remembered of a torrent between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of which torrent.
    pub info_hash: Option<InfoHash>,
    /// Where its files are.
    pub root: PathBuf,
    /// A bit for each piece that is ours and flushed; most significant first, as in BEP 3.
    pub have: Vec<u8>,
    /// Pieces written in part and in place: piece, and a bit for each block that is there.
    pub partial: Vec<(u32, Vec<u8>)>,
    /// Stamp of each file of the layout after the flush.
    pub stamps: Vec<Option<FileStamp>>,
    /// Payload bytes sent to peers, ever.
    pub uploaded: u64,
    /// Payload bytes received from peers, ever.
    pub downloaded: u64,
    /// Whether `completed` was announced.
    pub completed: bool,
}

/// The store's answer.
#[derive(Debug)]
pub struct Stored {
    /// As given out.
    pub id: JobId,
    /// Whose.
    pub session: SessionId,
    /// How it went.
    pub outcome: StoreOutcome,
}

/// How a job of the store went.
#[derive(Debug)]
pub enum StoreOutcome {
    /// Of [`StoreTask::Load`].
    Loaded(Result<Option<Box<Progress>>, StoreFault>),
    /// Of [`StoreTask::Save`]: on disk, synced.
    Saved(Result<(), StoreFault>),
    /// Of [`StoreTask::Release`].
    Released,
    /// Of [`StoreTask::List`].
    Listed(Result<Vec<Kept>, StoreFault>),
    /// Of [`StoreTask::Read`]: an answer for each, in the same order.
    Read(Vec<Result<Known, StoreFault>>),
    /// Of [`StoreTask::Recall`].
    Recalled(Result<Box<Remembered>, StoreFault>),
    /// Of [`StoreTask::ListGroups`].
    Groups(Result<Vec<super::limits::Group>, StoreFault>),
    /// Of [`StoreTask::Keep`], [`StoreTask::Forget`], [`StoreTask::Times`], [`StoreTask::KeepGroup`],
    /// [`StoreTask::KeepSettings`] and [`StoreTask::KeepTotals`]: on disk, synced.
    Kept(Result<(), StoreFault>),
}

/// Why the store could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// Another process holds the row.
    Busy {
        /// Which.
        pid: u32,
    },
    /// The database failed.
    Failed(String),
}

// ---------------------------------------------------------------------------------------------------------- gateway

/// A job for the gateway.
#[derive(Debug)]
pub struct Fetch {
    /// Answered with it.
    pub id: JobId,
    /// What to do.
    pub task: FetchTask,
}

/// What the gateway can do for the engine.
#[derive(Debug)]
pub enum FetchTask {
    /// GET `url`, following redirects.
    Http {
        /// http or https.
        url: String,
        /// At most so many bytes of body; more is an error.
        bytes_max: usize,
        /// For all of it.
        timeout: Duration,
    },
    /// Find the addresses of `host`.
    Resolve {
        /// A name, or an address in text.
        host: String,
        /// Goes into the answer.
        port: u16,
        /// For all of it.
        timeout: Duration,
    },
}

/// The gateway's answer.
#[derive(Debug)]
pub struct Fetched {
    /// As given out.
    pub id: JobId,
    /// How it went.
    pub outcome: FetchOutcome,
}

/// How a job of the gateway went. The errors are texts for people; nothing decides by them.
#[derive(Debug)]
pub enum FetchOutcome {
    /// Of [`FetchTask::Http`]: status 200 to 299 and the whole body.
    Http(Result<Vec<u8>, String>),
    /// Of [`FetchTask::Resolve`]: at least one address.
    Resolved(Result<Vec<SocketAddr>, String>),
}
