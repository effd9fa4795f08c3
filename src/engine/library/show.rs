//! How remembered torrents stand: owned copies, made in one turn, of as much as was asked for.

use std::sync::Arc;

use crate::codec::bitfield::Bitfield;
use crate::codec::layout::FileEntry;
use crate::codec::metainfo::Metainfo;
use crate::ids::{InfoHash, SessionId};
use crate::time::Instant;

use super::RECENT;
use super::entry::Entry;
use super::queue::Waits;
use crate::engine::Engine;
use crate::engine::message::{PeerSnapshot, Storage};
use crate::engine::session::trackers::TrackerStatus;
use crate::engine::session::{Phase, Session};
use crate::engine::snapshot::SessionState;
use crate::engine::table::stream::Stream;

/// How a caller names a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TorrentKey {
    /// By its number.
    Number(u32),
    /// By what it is.
    Hash(InfoHash),
}

/// Which torrents are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// Those of which something changed in the last minute; removed ones are told apart.
    Recent,
    /// These; names of none are passed over.
    Some(Vec<TorrentKey>),
}

/// What is to be shown of which torrents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorrentsShow {
    /// Of which.
    pub which: Selection,
    /// Also what takes longer than a glance: peers, trackers, what there is of each file.
    pub detail: bool,
}

/// How torrents stand.
#[derive(Clone, Debug, Default)]
pub struct TorrentsSnapshot {
    /// When this was so.
    pub time: Instant,
    /// The same in seconds since 1970.
    pub unix: u64,
    /// In the order asked for, else by number.
    pub torrents: Vec<TorrentSnapshot>,
    /// Numbers of those removed in the last minute; only when the recent ones were asked for.
    pub removed: Vec<u32>,
}

/// What is wrong with a torrent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// No tracker answers; the text is the last one's.
    Tracker(String),
    /// The disk, the store or a file is in the way.
    Local(String),
}

/// How one torrent stands.
#[derive(Clone, Debug)]
pub struct TorrentSnapshot {
    /// Its session.
    pub session: SessionId,
    /// What is remembered of it.
    pub entry: Entry,
    /// What it is.
    pub metainfo: Arc<Metainfo>,
    /// Where it is.
    pub storage: Arc<Storage>,
    /// Where it stands.
    pub state: SessionState,
    /// Whether a person has stopped it; takes effect after a check.
    pub paused: bool,
    /// What is wrong.
    pub trouble: Trouble,
    /// Which rule of the queue makes it wait.
    pub waits: Option<Waits>,
    /// Pieces we have.
    pub pieces_have: u32,
    /// Pieces hashed so far by the running check.
    pub pieces_checked: u32,
    /// Pieces the running check will hash.
    pub pieces_to_check: u32,
    /// Wanted bytes, padding included.
    pub bytes_wanted: u64,
    /// Of those, verified and written.
    pub bytes_have: u64,
    /// All bytes verified and written, also of pieces that are not wanted.
    pub bytes_verified: u64,
    /// Payload received, ever.
    pub downloaded: u64,
    /// Payload sent, ever.
    pub uploaded: u64,
    /// Payload received in this run that was wrong or not needed.
    pub wasted: u64,
    /// Bytes per second.
    pub download_rate: u64,
    /// Bytes per second.
    pub upload_rate: u64,
    /// Handshakes that stand.
    pub peers: u32,
    /// Of those, peers that send to us.
    pub peers_sending: u32,
    /// Of those, peers that we send to.
    pub peers_getting: u32,
    /// Of those, peers that dialled us.
    pub peers_incoming: u32,
    /// Seconds it has downloaded.
    pub seconds_downloading: u64,
    /// Seconds it has seeded.
    pub seconds_seeding: u64,
    /// What was asked for beside.
    pub detail: Option<Box<TorrentDetail>>,
}

/// What takes longer than a glance.
#[derive(Clone, Debug)]
pub struct TorrentDetail {
    /// Handshakes that stand.
    pub peers: Vec<PeerSnapshot>,
    /// In the order in which they are asked.
    pub trackers: Vec<TrackerStatus>,
    /// A bit for each piece, as in BEP 3.
    pub have: Vec<u8>,
    /// Verified bytes of each file of the layout.
    pub files: Vec<u64>,
    /// Wanted bytes that we lack and some peer has.
    pub available: u64,
    /// Peers that have each piece.
    pub holders: Vec<u32>,
}

impl Engine {
    /// The sessions that are meant.
    pub(super) fn selected(&self, which: &Selection) -> Vec<SessionId> {
        let numbers = &self.library.numbers;
        match which {
            Selection::All => numbers.values().copied().collect(),
            Selection::Recent => numbers
                .values()
                .copied()
                .filter(|id| {
                    self.sessions
                        .get(*id)
                        .is_some_and(|one| self.is_recent(one))
                })
                .collect(),
            Selection::Some(keys) => {
                let mut found: Vec<SessionId> = Vec::new();
                for key in keys {
                    let id = match key {
                        TorrentKey::Number(number) => numbers.get(number),
                        TorrentKey::Hash(hash) => self.library.hashes.get(hash),
                    };
                    found.extend(id);
                }
                found
            }
        }
    }

    fn is_recent(&self, session: &Session) -> bool {
        let now = self.shared.now;
        let (down, up) = session.rates(now);
        down + up > 0
            || session.state() == SessionState::Checking
            || now.since(session.entry.touched) < RECENT
    }

    pub(in crate::engine) fn torrents_show(&self, order: &TorrentsShow) -> TorrentsSnapshot {
        let now = self.shared.now;
        let torrents = self
            .selected(&order.which)
            .into_iter()
            .filter_map(|id| self.torrent_show(id, order.detail))
            .collect();
        let removed = match order.which {
            Selection::Recent => self
                .library
                .removed
                .iter()
                .filter(|(when, _)| now.since(*when) < RECENT)
                .map(|(_, number)| *number)
                .collect(),
            Selection::All | Selection::Some(_) => Vec::new(),
        };
        TorrentsSnapshot {
            time: now,
            unix: self.library.unix(now),
            torrents,
            removed,
        }
    }

    fn torrent_show(&self, id: SessionId, detail: bool) -> Option<TorrentSnapshot> {
        let now = self.shared.now;
        let session = self.sessions.get(id)?;
        let (pieces_checked, pieces_to_check) = match &session.phase {
            Phase::Checking(check) => (check.done, check.pieces.len()),
            _ => (0, 0),
        };
        let (bytes_wanted, bytes_have) = session.bytes();
        let (download_rate, upload_rate) = session.rates(now);
        let (downloading, seeding) = session.entry.times(session.state(), now);
        let peers = || {
            let swarm = self.table.swarms.get(session.swarm);
            swarm.into_iter().flat_map(|swarm| {
                swarm.streams.iter().filter_map(|id| {
                    let stream: &Stream = self.table.streams.get(*id)?;
                    Some((stream, stream.peer()?))
                })
            })
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (mut sending, mut getting, mut incoming, mut all) = (0, 0, 0, 0);
        for (stream, peer) in peers() {
            all += 1;
            sending += u32::from(peer.down.per_second(now) > 0);
            getting += u32::from(peer.up.per_second(now) > 0);
            incoming += u32::from(!stream.outgoing);
        }
        let detail = detail.then(|| {
            let pieces = session.geometry().piece_count();
            let holders: Vec<u32> = session
                .geometry()
                .pieces()
                .map(|piece| number(peers().filter(|(_, peer)| peer.has.has(piece)).count()))
                .collect();
            let available = session
                .geometry()
                .pieces()
                .filter(|piece| {
                    session.picker.wanted().get(piece.index())
                        && !session.picker.have().get(piece.index())
                        && holders[piece.index()] > 0
                })
                .map(|piece| u64::from(session.geometry().piece_size(piece)))
                .sum();
            Box::new(TorrentDetail {
                peers: peers()
                    .filter_map(|(stream, _)| stream.show(pieces, now))
                    .collect(),
                trackers: session
                    .trackers
                    .iter()
                    .flat_map(|trackers| trackers.status())
                    .collect(),
                have: session.picker.have().to_wire(),
                files: files_have(&session.metainfo, session.picker.have()),
                available,
                holders,
            })
        });
        Some(TorrentSnapshot {
            session: id,
            entry: session.entry.clone(),
            metainfo: Arc::clone(&session.metainfo),
            storage: Arc::clone(&session.storage),
            state: session.state(),
            paused: session.paused,
            trouble: trouble(session),
            waits: self.shared.queue.why(session),
            pieces_have: number(session.picker.have().count()),
            pieces_checked: number(pieces_checked),
            pieces_to_check: number(pieces_to_check),
            bytes_wanted,
            bytes_have,
            bytes_verified: verified(session),
            downloaded: session.progress.downloaded_before + session.down.total(),
            uploaded: session.progress.uploaded_before + session.up.total(),
            wasted: session.wasted,
            download_rate,
            upload_rate,
            peers: all,
            peers_sending: sending,
            peers_getting: getting,
            peers_incoming: incoming,
            seconds_downloading: downloading.as_secs(),
            seconds_seeding: seeding.as_secs(),
            detail,
        })
    }
}

fn trouble(session: &Session) -> Trouble {
    if let Phase::Failed { fault, .. } = &session.phase {
        return Trouble::Local(fault.message.clone());
    }
    if !session.progress.complaint.is_empty() {
        return Trouble::Local(session.progress.complaint.clone());
    }
    let trouble = session
        .trackers
        .as_ref()
        .and_then(|trackers| trackers.trouble());
    trouble.map_or(Trouble::None, |text| Trouble::Tracker(text.to_owned()))
}

fn verified(session: &Session) -> u64 {
    let geometry = session.geometry();
    let have = session.picker.have();
    let full = have.count() as u64 * u64::from(geometry.piece_length());
    let Some(last) = geometry.pieces().next_back() else {
        return 0;
    };
    let short = u64::from(geometry.piece_length() - geometry.piece_size(last));
    full - if have.get(last.index()) { short } else { 0 }
}

/// Verified bytes of each file.
fn files_have(metainfo: &Metainfo, have: &Bitfield) -> Vec<u64> {
    let geometry = &metainfo.geometry;
    let of = |file: &FileEntry| {
        let end = file.offset + file.length;
        geometry
            .pieces_of(file.offset, file.length)
            .filter(|piece| have.get(piece.index()))
            .map(|piece| {
                let begins = geometry.piece_offset(piece);
                let ends = begins + u64::from(geometry.piece_size(piece));
                ends.min(end) - begins.max(file.offset)
            })
            .sum()
    };
    metainfo.files.iter().map(of).collect()
}
