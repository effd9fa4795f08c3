//! How remembered torrents stand: owned copies, made in one turn, of as much as was asked for.

use std::sync::Arc;

use crate::codec::bitfield::Bitfield;
use crate::codec::layout::FileEntry;
use crate::codec::metainfo::Metainfo;
use crate::ids::{InfoHash, JobId, ReplyId, SessionId};
use crate::time::Instant;

use super::brief::{Brief, Standing};
use super::entry::Entry;
use super::parked::{Parked, Stage};
use super::queue::Waits;
use super::{NOBODY, RECENT, relocate};
use crate::engine::Engine;
use crate::engine::message::{
    Answer, Known, PeerSnapshot, READ_MAX, Storage, StoreFault, StoreTask,
};
use crate::engine::metadata::MetadataProgress;
use crate::engine::session::trackers::{TrackerStatus, Trackers};
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
    /// Also what takes longer than a glance: peers, trackers, what there is of each file. For the first [`DETAIL_MAX`]; the
    /// others are shown without.
    pub detail: bool,
}

/// Torrents of which one answer has the detail: a turn stays short, and memory does not depend on how many there are.
pub const DETAIL_MAX: usize = READ_MAX;

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
    /// What it is, in short, and where.
    pub brief: Arc<Brief>,
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
    /// How far the fetch of its metadata is, while that is fetched.
    pub metadata: Option<MetadataProgress>,
    /// What was asked for beside.
    pub detail: Option<Box<TorrentDetail>>,
}

/// What takes longer than a glance.
#[derive(Clone, Debug)]
pub struct TorrentDetail {
    /// What it is.
    pub metainfo: Arc<Metainfo>,
    /// Its files as they are called now.
    pub storage: Arc<Storage>,
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

/// A question whose answer needs torrent files that are being read.
#[derive(Debug)]
pub(super) struct Later {
    reply: Option<ReplyId>,
    ids: Vec<SessionId>,
    recent: bool,
    detail: bool,
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
                .filter(|id| self.is_recent(*id))
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

    fn is_recent(&self, id: SessionId) -> bool {
        let now = self.shared.now;
        let is_busy = |session: &Session| {
            let (down, up) = session.rates(now);
            down + up > 0 || session.state() == SessionState::Checking
        };
        self.entry(id)
            .is_some_and(|entry| now.since(entry.touched) < RECENT)
            || self.sessions.get(id).is_some_and(is_busy)
    }

    /// Answers `reply` with how torrents stand: at once, or when the torrent files of those that rest were read.
    pub(in crate::engine) fn torrents_show(
        &mut self,
        order: &TorrentsShow,
        reply: Option<ReplyId>,
    ) {
        let later = Later {
            reply,
            ids: self.selected(&order.which),
            recent: order.which == Selection::Recent,
            detail: order.detail,
        };
        let resting = |id: &SessionId| Some(self.sessions.parked(*id)?.brief.info_hash);
        let detailed = if order.detail { DETAIL_MAX } else { 0 };
        let unread: Vec<InfoHash> = later
            .ids
            .iter()
            .take(detailed)
            .filter_map(resting)
            .collect();
        if unread.is_empty() {
            return self.answer_shown(later, Vec::new());
        }
        let job = self.shared.store(NOBODY, StoreTask::Read(unread));
        self.library.jobs.insert(job, None);
        self.library.shows.insert(job, later);
    }

    /// The torrent files were read that a caller's question needs.
    pub(super) fn shown_at_last(&mut self, job: JobId, read: Vec<Result<Known, StoreFault>>) {
        if let Some(later) = self.library.shows.remove(&job) {
            self.answer_shown(later, read.into_iter().flatten().collect());
        }
    }

    fn answer_shown(&mut self, later: Later, mut known: Vec<Known>) {
        let now = self.shared.now;
        known.sort_unstable_by_key(|known| known.metainfo.info_hash);
        let of = |id: SessionId| {
            let hash = self.sessions.parked(id)?.brief.info_hash;
            let at = known.binary_search_by_key(&hash, |known| known.metainfo.info_hash);
            known.get(at.ok()?)
        };
        let torrents = later
            .ids
            .iter()
            .enumerate()
            .filter_map(|(at, id)| {
                let detail = later.detail && at < DETAIL_MAX;
                match self.sessions.parked(*id) {
                    Some(parked) => {
                        let known = of(*id).filter(|_| detail);
                        Some(self.parked_show(parked, known))
                    }
                    None => self.torrent_show(*id, detail),
                }
            })
            .collect();
        let gone = self.library.removed.iter();
        let gone = gone.filter(|(when, _)| later.recent && now.since(*when) < RECENT);
        let snapshot = TorrentsSnapshot {
            time: now,
            unix: self.library.unix(now),
            torrents,
            removed: gone.map(|(_, number)| *number).collect(),
        };
        let answer = Answer::Torrents(Box::new(snapshot));
        self.shared.reply(later.reply, answer);
    }

    /// One that rests; with what the store knows of it, if that was asked for.
    fn parked_show(&self, parked: &Parked, known: Option<&Known>) -> TorrentSnapshot {
        let now = self.shared.now;
        let (state, standing) = (parked.state(), &parked.standing);
        let (downloading, seeding) = parked.entry.times(state, now);
        let trackers = parked.trackers.as_ref();
        let peers = self.peers_parked(parked);
        let incoming = peers.iter().filter(|peer| !peer.outgoing).count();
        let detail = known.map(|known| {
            let pieces = known.metainfo.geometry.piece_count();
            let have = Bitfield::from_wire(&known.have, pieces as usize)
                .unwrap_or_else(|| Bitfield::new(pieces as usize));
            Box::new(TorrentDetail {
                peers: Vec::new(),
                trackers: trackers.into_iter().flat_map(Trackers::status).collect(),
                files: files_have(&known.metainfo, &have),
                have: have.to_wire(),
                available: 0,
                holders: vec![0; pieces as usize],
                storage: relocate::storage_at_rest(parked, &known.metainfo),
                metainfo: Arc::clone(&known.metainfo),
            })
        });
        TorrentSnapshot {
            session: parked.id,
            entry: parked.entry.clone(),
            brief: Arc::clone(&parked.brief),
            state,
            paused: parked.paused,
            trouble: match &parked.stage {
                Stage::Unreadable(text) => Trouble::Local(text.clone()),
                _ if !parked.entry.move_failed.is_empty() => {
                    Trouble::Local(parked.entry.move_failed.to_string())
                }
                _ => tracker_trouble(trackers),
            },
            waits: None,
            pieces_have: standing.pieces_have,
            pieces_checked: 0,
            pieces_to_check: 0,
            bytes_wanted: standing.bytes_wanted,
            bytes_have: standing.bytes_have,
            bytes_verified: standing.bytes_verified,
            downloaded: standing.downloaded,
            uploaded: standing.uploaded,
            wasted: 0,
            download_rate: 0,
            upload_rate: 0,
            peers: u32::try_from(peers.len()).unwrap_or(u32::MAX),
            peers_sending: 0,
            peers_getting: 0,
            peers_incoming: u32::try_from(incoming).unwrap_or(u32::MAX),
            seconds_downloading: downloading.as_secs(),
            seconds_seeding: seeding.as_secs(),
            metadata: parked.fetch.as_ref().map(|fetch| fetch.progress()),
            detail,
        }
    }

    fn torrent_show(&self, id: SessionId, detail: bool) -> Option<TorrentSnapshot> {
        let now = self.shared.now;
        let session = self.sessions.get(id)?;
        let (pieces_checked, pieces_to_check) = match &session.phase {
            Phase::Checking(check) => (check.done, check.pieces.len()),
            Phase::Moving(moving) => moving.pieces(session.geometry()),
            _ => (0, 0),
        };
        let standing = Standing::of(session);
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
                metainfo: Arc::clone(&session.metainfo),
                storage: Arc::clone(&session.storage),
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
            brief: Arc::clone(&session.brief),
            state: session.state(),
            paused: session.paused,
            trouble: trouble(session),
            waits: self.shared.queue.why(session),
            pieces_have: standing.pieces_have,
            pieces_checked: number(pieces_checked),
            pieces_to_check: number(pieces_to_check),
            bytes_wanted: standing.bytes_wanted,
            bytes_have: standing.bytes_have,
            bytes_verified: standing.bytes_verified,
            downloaded: standing.downloaded,
            uploaded: standing.uploaded,
            wasted: session.wasted,
            download_rate,
            upload_rate,
            peers: all,
            peers_sending: sending,
            peers_getting: getting,
            peers_incoming: incoming,
            seconds_downloading: downloading.as_secs(),
            seconds_seeding: seeding.as_secs(),
            metadata: None,
            detail,
        })
    }
}

fn trouble(session: &Session) -> Trouble {
    if let Phase::Failed { fault, .. } = &session.phase {
        return Trouble::Local(fault.message.clone());
    }
    if !session.entry.move_failed.is_empty() {
        return Trouble::Local(session.entry.move_failed.to_string());
    }
    if !session.progress.complaint.is_empty() {
        return Trouble::Local(session.progress.complaint.clone());
    }
    tracker_trouble(session.trackers.as_ref())
}

fn tracker_trouble(trackers: Option<&Trackers>) -> Trouble {
    let trouble = trackers.and_then(Trackers::trouble);
    trouble.map_or(Trouble::None, |text| Trouble::Tracker(text.to_owned()))
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
