//! What callers say, and what they are told.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::metainfo::Metainfo;
use crate::ids::{ConnectionId, InfoHash, LinkId, SessionId, SocketId, StreamId, SwarmId};
use crate::time::{Duration, Instant};

use super::{
    BlocksAsk, BlocksFault, BlocksSnapshot, EngineSnapshot, Fault, IgnoredAddress, LinkSummary,
    LinksCount, MagnetAdd, SessionSnapshot, SettingsChange, SettingsSnapshot, Survey, Surveyed,
    TorrentAdd, TorrentsChange, TorrentsShow, TorrentsSnapshot,
};

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
    SpeedSet {
        /// Which.
        limits: Box<crate::engine::limits::Limits>,
        /// Whether the configuration says so: what a client had set before holds no longer.
        is_configured: bool,
    },
    /// Change the rate limits of one torrent. [`Answer::Done`], when it is on disk where the torrent is remembered.
    SessionLimits {
        /// Which.
        session: SessionId,
        /// What changes.
        change: Box<crate::engine::limits::TorrentLimitsChange>,
    },
    /// What those are, and all groups. [`Answer::Speed`].
    SpeedShow,
    /// Make or change a bandwidth group. [`Answer::Done`]. Refused as [`Refusal::Full`] when there are too many.
    GroupSet(Box<crate::engine::limits::Group>),
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
    /// What a torrent that was added to be held ([`MagnetAdd::hold`]) was found to be. [`Answer::Metadata`].
    MetadataShow {
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
    /// Look at, change, or read again who is blocked.
    Blocks(Box<BlocksAsk>),
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
    Speed(
        Box<(
            crate::engine::limits::Limits,
            Vec<crate::engine::limits::Group>,
        )>,
    ),
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
    /// Who is blocked, or why the list could not be read.
    Blocks(Box<Result<BlocksSnapshot, BlocksFault>>),
    /// What holds.
    Settings(Box<SettingsSnapshot>),
    /// What a link has led to, and the same as a torrent file; nothing as long as nobody knows.
    Metadata(Option<(Arc<Metainfo>, Arc<[u8]>)>),
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
    /// The block list, or a ban, names the address.
    Blocked,
    /// Nobody has banned the address.
    NotBanned,
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
            Self::Blocked => "that address is blocked: by the block list, or banned",
            Self::NotBanned => "nobody has banned that address",
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
