//! What goes in and out of the trackers of one torrent, as plain data.

use std::net::SocketAddr;

use crate::codec::announce::{Announce, AnnounceAnswer, AnnounceEvent, Retry};
use crate::engine::pace::{Class, Kind};
use crate::ids::{InfoHash, PeerId};
use crate::time::{Duration, Instant};

/// Names one question until it is answered. Never reused within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What the session knows at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// What we call ourselves.
    pub peer_id: PeerId,
    /// Where we listen.
    pub port: u16,
    /// Payload bytes sent in this run.
    pub uploaded: u64,
    /// Payload bytes received in this run.
    pub downloaded: u64,
    /// Wanted bytes still missing.
    pub left: u64,
    /// Peers that would be welcome.
    pub want: u32,
    /// Peers that there are.
    pub peers: u32,
    /// Whether its tracker keeps accounts: then it is not to count us twice (BEP 27).
    pub private: bool,
    /// Ours, random, and the same for the whole run.
    pub key: u32,
}

impl Facts {
    pub(super) fn announce(&self, event: AnnounceEvent, tracker_id: Option<Vec<u8>>) -> Announce {
        let leaving = event == AnnounceEvent::Stopped;
        Announce {
            info_hash: self.info_hash,
            peer_id: self.peer_id,
            port: self.port,
            uploaded: self.uploaded,
            downloaded: self.downloaded,
            left: self.left,
            event,
            want: if leaving { 0 } else { self.want },
            key: self.key,
            tracker_id,
        }
    }
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An announce waits for its turn among those of other torrents; answered by [`super::Trackers::grant`] or
    /// [`super::Trackers::refuse`], unless [`super::Trackers::turn_of`] says that it waits no more.
    Turn {
        /// Which tracker, for the answer.
        tracker: u32,
        /// Whose turns they are: scheme, name and port.
        host: String,
        /// How it is spoken to.
        kind: Kind,
        /// How urgent it is.
        class: Class,
    },
    /// GET `url`; answered by [`super::Trackers::on_http`].
    Http {
        /// Comes back with the answer.
        ask: AskId,
        /// With the members' keys in it: not for logs.
        url: String,
        /// At most so many bytes of body.
        bytes_max: usize,
        /// For all of it.
        timeout: Duration,
    },
    /// Find the addresses of `host`; answered by [`super::Trackers::on_resolved`].
    Resolve {
        /// Comes back with the answer.
        ask: AskId,
        /// A name.
        host: String,
        /// Goes into the answer.
        port: u16,
        /// For all of it.
        timeout: Duration,
    },
    /// Send a datagram, or lose it; the answer comes to [`super::Trackers::on_datagram`].
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// In the answer too, for routing.
        transaction: u32,
        /// What.
        bytes: Vec<u8>,
    },
    /// Something was learnt.
    Report(Report),
}

/// How an announce went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The tracker answered. May come twice for one announce, when the tracker has an address in each family.
    Success {
        /// Secrets masked.
        url: String,
        /// 0-based tier.
        tier: u32,
        /// Dialable and canonical, but of any reach.
        peers: Vec<SocketAddr>,
        /// As the tracker says.
        seeders: Option<u32>,
        /// As the tracker says.
        leechers: Option<u32>,
        /// Until the next regular announce.
        next_announce: Duration,
        /// For a person; a stranger's text, made printable.
        warning: Option<String>,
        /// Whether the tracker itself is on this host or in a private network: only then may it name peers there.
        tracker_is_local: bool,
        /// How the tracker sees us (BEP 24).
        external_ip: Option<std::net::IpAddr>,
    },
    /// The tracker refused, answered nonsense, or did not answer.
    Failed {
        /// Secrets masked.
        url: String,
        /// 0-based tier.
        tier: u32,
        /// For a person; printable, bounded, secrets masked.
        error: String,
        /// Until this tracker may be asked again.
        next_announce: Duration,
        /// Whether it was asked at all: of a host that others have found dead it is not.
        asked: bool,
    },
}

/// How one tracker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerStatus {
    /// Secrets masked.
    pub url: String,
    /// 0-based tier.
    pub tier: u32,
    /// What it does.
    pub state: TrackerState,
    /// The last failure, for a person; empty when the last announce went well.
    pub error: String,
    /// As the tracker last said.
    pub seeders: Option<u32>,
    /// As the tracker last said.
    pub leechers: Option<u32>,
    /// When it is or may be asked next; `None` for one that waits for others to fail.
    pub next_announce: Option<Instant>,
    /// When it last answered or failed in this run.
    pub last_announce: Option<Instant>,
    /// Peers that it named then.
    pub last_peers: u32,
}

/// What a tracker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackerState {
    /// Cannot be spoken to; the error says why.
    Unusable,
    /// Not needed so far, or no longer.
    Idle,
    /// Waits for its turn among other torrents' announces.
    Waiting,
    /// Being asked.
    Asking,
    /// The one that answered last.
    InUse,
    /// Failed, and waits.
    Failed,
}

/// How an announce to one tracker ended.
pub(super) enum Outcome {
    Answer {
        answer: Box<AnnounceAnswer>,
        event: AnnounceEvent,
        local: bool,
    },
    Failed {
        error: String,
        retry: Option<Retry>,
        /// Whether the host has said something.
        heard: bool,
    },
}

/// What a tracker's conversation yields when it is polled.
pub(super) enum Move {
    Step(Step),
    Over(Outcome),
}

/// Whether a tracker counts us among its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    No,
    /// `started` was sent and not answered yet.
    Perhaps,
    Yes,
}

impl Told {
    /// The event that is really sent where `wanted` is asked for: the first is always `started`.
    pub(super) const fn event(self, wanted: AnnounceEvent) -> AnnounceEvent {
        match (self, wanted) {
            (_, AnnounceEvent::Stopped) => AnnounceEvent::Stopped,
            (Self::Yes, _) => wanted,
            (Self::No | Self::Perhaps, _) => AnnounceEvent::Started,
        }
    }

    /// `event` goes out.
    pub(super) fn sent(&mut self, event: AnnounceEvent) {
        if event == AnnounceEvent::Started && *self == Self::No {
            *self = Self::Perhaps;
        }
    }

    /// An announce of `event` is over.
    pub(super) fn over(&mut self, event: AnnounceEvent, answered: bool) {
        *self = match (event, answered, *self) {
            (AnnounceEvent::Stopped, ..) => Self::No,
            (_, true, _) | (_, false, Self::Yes) => Self::Yes,
            (_, false, _) => Self::No,
        };
    }
}
