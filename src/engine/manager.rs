//! All sessions, and what callers ask of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::codec::layout::Layout;
use crate::codec::metainfo::Metainfo;
use crate::events::{self, Event};
use crate::ids::{ReplyId, SessionId, SwarmId};

use super::Engine;
use super::library::parked::{Parked, Stage, Wish};
use super::library::{Brief, Entry};
use super::message::{
    Answer, Carrier, FaultKind, Message, Output, PeerSnapshot, Refusal, SessionAdd,
    SessionSnapshot, Storage,
};
use super::pex::PexLog;
use super::rate::Rate;
use super::session::assembly::Assembly;
use super::session::blame::Blame;
use super::session::choker::Choker;
use super::session::picker::Picker;
use super::session::progress::{self, Progress, StopStep};
use super::session::trackers::Trackers;
use super::session::{Phase, Session, download, start};
use super::settings::{PARK_AFTER, STATS_INTERVAL};
use super::shared::{Shared, TimerKey};
use super::snapshot::{EngineSnapshot, SessionState};

impl Engine {
    pub(super) fn on_message(&mut self, message: Message, reply: Option<ReplyId>) {
        if self.is_ending()
            && !matches!(
                message,
                Message::Shutdown { .. }
                    | Message::EngineShow
                    | Message::SessionShow { .. }
                    | Message::TorrentsShow(_)
                    | Message::SettingsShow
            )
        {
            if let Message::StreamAdd {
                carrier: Carrier::Socket(socket),
                ..
            } = message
            {
                self.shared.push(Output::Refuse { socket });
            }
            self.shared
                .reply(reply, Answer::Refused(Refusal::ShuttingDown));
            return;
        }
        let answer = match message {
            Message::SessionAdd(add) => match self.session_add(*add) {
                Ok(session) => Answer::Session(session),
                Err(refusal) => Answer::Refused(refusal),
            },
            Message::SessionRemove { session } => {
                let is_there = self
                    .sessions
                    .get(session)
                    .is_some_and(|one| !one.is_stopping());
                let rests = self
                    .sessions
                    .parked(session)
                    .is_some_and(|one| one.state() != SessionState::Leaving);
                if is_there || rests {
                    self.session_stop(session, reply);
                    return;
                }
                Answer::Refused(Refusal::UnknownSession)
            }
            Message::SessionPause { session } => {
                let answer = self.session_pause(session, false);
                return self.reply_kept(session, reply, answer);
            }
            Message::SessionResume { session } => {
                let answer = self.session_resume(session);
                return self.reply_kept(session, reply, answer);
            }
            Message::LibraryLoad { epoch_millis } => return self.library_load(epoch_millis, reply),
            Message::TorrentAdd(add) => return self.torrent_add(*add, reply),
            Message::MagnetAdd(add) => return self.magnet_add(*add, reply),
            Message::TorrentsChange(order) => return self.torrents_change(&order, reply),
            Message::TorrentsShow(order) => return self.torrents_show(&order, reply),
            Message::Blocks(ask) => return self.on_blocks(*ask, reply),
            Message::Survey(survey) => return self.survey(*survey, reply),
            Message::SettingsChange(change) => return self.settings_change(*change, reply),
            Message::SettingsShow => Answer::Settings(Box::new(self.settings_show())),
            Message::SpeedSet {
                limits,
                is_configured,
            } => return self.speed_change(*limits, is_configured, reply),
            Message::SessionLimits { session, change } => {
                let answer = if self.entry(session).is_some() {
                    self.torrent_limits(session, &change);
                    Answer::Done
                } else {
                    Answer::Refused(Refusal::UnknownSession)
                };
                return self.reply_kept(session, reply, answer);
            }
            Message::SpeedShow => {
                let limits = self.shared.settings.limits.clone();
                Answer::Speed(Box::new((limits, self.groups())))
            }
            Message::GroupSet(group) => return self.group_change(*group, reply),
            Message::PeerAdd { session, address } => self.peer_add(session, address),
            Message::PeerAddNamed {
                session,
                host,
                port,
            } => self.peer_add_named(session, host, port),
            Message::SessionShow { session } => match self.session_show(session) {
                Some(snapshot) => Answer::Snapshot(Box::new(snapshot)),
                None => Answer::Refused(Refusal::UnknownSession),
            },
            Message::MetadataShow { session } => self.metadata_show(session),
            Message::EngineShow => Answer::Engine(Box::new(self.engine_show())),
            Message::Shutdown { budget } => {
                self.shutdown(budget, reply);
                return;
            }
            link => self.on_link_message(link),
        };
        self.shared.reply(reply, answer);
    }

    pub(super) fn session_add(&mut self, mut add: SessionAdd) -> Result<SessionId, Refusal> {
        if let Some(held) = self.held_take(&mut add) {
            return Ok(held);
        }
        let metainfo = add.metainfo;
        let brief = Arc::new(Brief::of(&metainfo, &add.root));
        let links_min = u32::try_from(self.shared.settings.swarm_links_min).unwrap_or(u32::MAX);
        let info_hash = metainfo.info_hash;
        let (sessions, shared) = (&mut self.sessions, &mut self.shared);
        let trackers =
            (shared.settings.trackers).then(|| Trackers::new(&metainfo.trackers, &mut shared.rng));
        // The swarm is what makes a torrent unique. Until the session trades it has no peers of its own.
        let (_, id) = self
            .table
            .swarm_take(info_hash, links_min, |swarm| {
                sessions.insert_with(|id| {
                    let beginning = Beginning {
                        id,
                        swarm,
                        metainfo,
                        brief,
                        download: add.download,
                        recheck: add.recheck,
                        wanted: &add.wanted,
                        trackers,
                    };
                    beginning.begin(shared)
                })
            })
            .map_err(Refusal::Duplicate)?;
        self.recall_farewell(info_hash);
        let Some(session) = self.sessions.get_mut(id) else {
            return Err(Refusal::UnknownSession);
        };
        let name = session.metainfo.name.clone();
        self.shared.event(Event::TorrentAdded(events::Torrent {
            info_hash: session.info_hash(),
            name,
        }));
        let event = session.event(session.state(), "user");
        self.shared.event(Event::SessionStarted(event));
        start::load(&mut self.shared, session);
        Ok(id)
    }

    /// Stops trading. `stopped` by a person, who means this torrent; else paused. One that is at rest already stays as it is.
    pub(super) fn session_pause(&mut self, id: SessionId, stopped: bool) -> Answer {
        if self.sessions.parked(id).is_some() {
            self.parked_stop(id, stopped, "user");
            return Answer::Done;
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return Answer::Refused(Refusal::UnknownSession);
        };
        let before = session.state();
        if !session.paused {
            session.entry.stopped = stopped;
        }
        session.paused = true;
        session.entry.forced = false;
        if before == SessionState::Queued {
            session.waited(&mut self.shared, before, "user");
        }
        if !session.is_trading() {
            // Checking goes on; whatever it is in, it will not trade. One that has waited for its turn may rest now.
            self.shared.arm(TimerKey::Park(id), PARK_AFTER);
            return Answer::Done;
        }
        self.rest(id, "user");
        Answer::Done
    }

    /// Stops trading, by a person's will or a goal that is reached.
    pub(super) fn rest(&mut self, id: SessionId, cause: &'static str) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        download::flush(&mut self.shared, session);
        session.enter(&mut self.shared, Phase::Paused, cause);
        if let Some(trackers) = &mut session.trackers {
            trackers.stop(self.shared.now);
        }
        let swarm = session.swarm;
        self.quiet(id, swarm);
        self.dht_leave(id);
        if let Some(session) = self.sessions.get_mut(id) {
            progress::advance(&mut self.shared, session);
        }
        self.shared.arm(TimerKey::Park(id), PARK_AFTER);
        self.admit_waiting(id);
        self.announce(id);
    }

    pub(super) fn session_resume(&mut self, id: SessionId) -> Answer {
        if self.sessions.parked(id).is_some() {
            self.parked_start(id);
            return Answer::Done;
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return Answer::Refused(Refusal::UnknownSession);
        };
        let was_paused = std::mem::replace(&mut session.paused, false);
        match session.phase {
            // It waits for its turn already.
            Phase::Paused if !was_paused && !session.entry.forced => {}
            Phase::Paused => self.start_trading(id, "user"),
            // Whatever was in the way, a person says that it is not any more.
            Phase::Failed { .. } => self.go_on(id),
            _ => {}
        }
        Answer::Done
    }

    /// No stream, no dial and no half-fetched piece any more.
    pub(super) fn quiet(&mut self, id: SessionId, swarm: SwarmId) {
        if let Some(swarm) = self.table.swarms.get_mut(swarm) {
            swarm.active = false;
        }
        self.close_swarm(swarm);
        for key in [
            TimerKey::Choke(id),
            TimerKey::Stats(id),
            TimerKey::DiskRetry(id),
            TimerKey::Connect(swarm),
        ] {
            self.shared.timers.cancel(key);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            download::drop_unfinished(&mut self.shared, session);
        }
    }

    /// Begins to end a session: nobody is asked any more, what is whole is written, what is flushed is saved at once.
    pub(super) fn session_stop(&mut self, id: SessionId, reply: Option<ReplyId>) {
        let now = self.shared.now;
        if self.sessions.parked(id).is_some() {
            return self.parked_leave(id, reply);
        }
        self.dht_leave(id);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        download::flush(&mut self.shared, session);
        // Totals are worth a save of their own.
        session.progress.changed |= session.up.total() + session.down.total() > 0;
        if session.is_trading() {
            progress::save_early(&mut self.shared, session);
        }
        session.enter(
            &mut self.shared,
            Phase::Stopping {
                reply,
                step: StopStep::Jobs,
            },
            "user",
        );
        if let Some(trackers) = &mut session.trackers {
            trackers.stop(now);
        }
        if session.jobs > 0 {
            self.shared.push(Output::Cancel { session: id });
        }
        let swarm = session.swarm;
        self.quiet(id, swarm);
        self.shared.timers.cancel(TimerKey::Save(id));
        self.shared.timers.cancel(TimerKey::Park(id));
        self.admit_waiting(id);
        self.announce(id);
        self.advance_stop(id);
    }

    /// Takes a session on its way out further, to its end when nothing is left to wait for.
    pub(super) fn advance_stop(&mut self, id: SessionId) {
        let Some(session) = self
            .sessions
            .get_mut(id)
            .filter(|session| session.is_stopping())
        else {
            return;
        };
        if !progress::advance_stop(&mut self.shared, session) {
            return;
        }
        let facts = self.facts(id);
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        self.shared.starved.remove(&id);
        self.table.swarm_leave(session.swarm);
        let name = session.metainfo.name.clone();
        self.shared.event(Event::TorrentRemoved(events::Torrent {
            info_hash: session.info_hash(),
            name,
        }));
        if let Phase::Stopping { reply, .. } = session.phase {
            self.shared.reply(reply, Answer::Done);
        }
        self.depart(id, session.trackers.take(), facts);
    }

    fn peer_add(&mut self, id: SessionId, address: SocketAddr) -> Answer {
        let Some(swarm) = self.swarm_of_session(id) else {
            return Answer::Refused(Refusal::UnknownSession);
        };
        match self.pin(address, swarm) {
            Ok(_) => {
                self.wake(id, Wish::default());
                Answer::Done
            }
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn peer_add_named(&mut self, id: SessionId, host: Box<str>, port: u16) -> Answer {
        if self.swarm_of_session(id).is_none() {
            return Answer::Refused(Refusal::UnknownSession);
        }
        match host.parse::<IpAddr>() {
            Ok(ip) => self.peer_add(id, SocketAddr::new(ip, port)),
            Err(_) => {
                self.resolve_peer(id, host.into_string(), port);
                Answer::Done
            }
        }
    }

    /// Once a second: rates and totals, while something changes.
    pub(super) fn on_stats_timer(&mut self, id: SessionId) {
        let now = self.shared.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let peers = self
            .table
            .swarms
            .get(session.swarm)
            .map_or(0, |swarm| swarm.streams.len());
        let peers = u32::try_from(peers).unwrap_or(u32::MAX);
        let have = u32::try_from(session.picker.have().count()).unwrap_or(u32::MAX);
        let told = (session.down.total(), session.up.total(), peers, have);
        if told != session.told {
            session.told = told;
            let (wanted, there) = session.bytes();
            let (download_rate, upload_rate) = session.rates(now);
            #[allow(
                clippy::cast_precision_loss,
                reason = "a share for people, not for deciding"
            )]
            let progress = if wanted == 0 {
                1.0
            } else {
                there as f64 / wanted as f64
            };
            self.shared.event(Event::StatsUpdate(events::Stats {
                info_hash: session.info_hash(),
                downloaded: told.0,
                uploaded: told.1,
                download_rate,
                upload_rate,
                connected_peers: peers,
                progress,
                left: wanted - there,
                eta: (wanted - there).checked_div(download_rate),
            }));
        }
        self.shared.arm(TimerKey::Stats(id), STATS_INTERVAL);
        self.look_at_stall(id);
        self.totals_now_and_then();
        self.look_at_goals(id);
    }

    fn session_show(&self, id: SessionId) -> Option<SessionSnapshot> {
        let now = self.shared.now;
        if let Some(parked) = self.sessions.parked(id) {
            return Some(self.session_show_parked(parked));
        }
        let session = self.sessions.get(id)?;
        let swarm = self.table.swarms.get(session.swarm)?;
        let (pieces_checked, pieces_to_check) = match &session.phase {
            Phase::Checking(check) => (check.done, check.pieces.len()),
            _ => (0, 0),
        };
        let (bytes_wanted, bytes_have) = session.bytes();
        let (download_rate, upload_rate) = session.rates(now);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let pieces = session.geometry().piece_count();
        let peer = |id: &crate::ids::StreamId| self.table.streams.get(*id)?.show(pieces, now);
        let peers: Vec<PeerSnapshot> = swarm.streams.iter().filter_map(peer).collect();
        Some(SessionSnapshot {
            time: now,
            session: id,
            info_hash: session.info_hash(),
            name: Arc::clone(&session.name),
            state: session.state(),
            error: match &session.phase {
                Phase::Failed { fault, .. } => fault.message.clone(),
                _ => String::new(),
            },
            error_lasts: match &session.phase {
                Phase::Failed { fault, .. } => {
                    matches!(fault.kind, FaultKind::Denied | FaultKind::InTheWay)
                }
                _ => false,
            },
            pieces_have: count(session.picker.have().count()),
            pieces_total: session.geometry().piece_count(),
            pieces_checked: count(pieces_checked),
            pieces_to_check: count(pieces_to_check),
            bytes_wanted,
            bytes_have,
            downloaded: session.down.total(),
            uploaded: session.up.total(),
            wasted: session.wasted,
            download_rate,
            upload_rate,
            candidates: count(self.table.candidates(session.swarm).count()),
            metadata: None,
            peers,
            notices: [&session.progress.complaint, &session.notice]
                .into_iter()
                .filter(|notice| !notice.is_empty())
                .cloned()
                .collect(),
        })
    }

    /// One that rests: there are no rates.
    fn session_show_parked(&self, parked: &Parked) -> SessionSnapshot {
        let standing = &parked.standing;
        SessionSnapshot {
            time: self.shared.now,
            session: parked.id,
            info_hash: parked.brief.info_hash,
            name: Arc::clone(&parked.brief.name),
            state: parked.state(),
            error: match &parked.stage {
                Stage::Unreadable(text) => text.clone(),
                _ => String::new(),
            },
            error_lasts: false,
            pieces_have: standing.pieces_have,
            pieces_total: parked.brief.piece_count,
            pieces_checked: 0,
            pieces_to_check: 0,
            bytes_wanted: standing.bytes_wanted,
            bytes_have: standing.bytes_have,
            downloaded: parked.received,
            uploaded: parked.sent,
            wasted: 0,
            download_rate: 0,
            upload_rate: 0,
            candidates: u32::try_from(self.table.candidates(parked.swarm).count())
                .unwrap_or(u32::MAX),
            metadata: parked.fetch.as_ref().map(|fetch| fetch.progress()),
            peers: self.peers_parked(parked),
            notices: Vec::new(),
        }
    }

    /// Those of a torrent that does not trade: it may be asking them what it holds.
    pub(super) fn peers_parked(&self, parked: &Parked) -> Vec<PeerSnapshot> {
        let swarm = self.table.swarms.get(parked.swarm);
        let streams = swarm.into_iter().flat_map(|swarm| swarm.streams.iter());
        let show = |id: &crate::ids::StreamId| {
            let stream = self.table.streams.get(*id)?;
            stream.show(parked.brief.piece_count, self.shared.now)
        };
        streams.filter_map(show).collect()
    }

    fn engine_show(&self) -> EngineSnapshot {
        EngineSnapshot {
            time: self.shared.now,
            sessions: self
                .sessions
                .iter()
                .map(|(id, session)| (id, session.info_hash()))
                .chain(
                    (self.sessions.iter_parked()).map(|(id, parked)| (id, parked.brief.info_hash)),
                )
                .collect(),
            links: self.table.links_by_state(),
            blocks_taken: u32::try_from(self.shared.pool.taken()).unwrap_or(u32::MAX),
            jobs_running: self
                .sessions
                .iter()
                .map(|(_, session)| u32::try_from(session.jobs).unwrap_or(u32::MAX))
                .sum(),
        }
    }
}

/// What a session begins with.
pub(super) struct Beginning<'a> {
    /// Its name.
    pub id: SessionId,
    /// The swarm it will trade in.
    pub swarm: SwarmId,
    /// What it is.
    pub metainfo: Arc<Metainfo>,
    /// The same in short, and where it is.
    pub brief: Arc<Brief>,
    /// Whether what is missing is fetched.
    pub download: bool,
    /// Whether everything is hashed, whatever the store says.
    pub recheck: bool,
    /// A mark for each file of the layout; none means that all are wanted.
    pub wanted: &'a [bool],
    /// Who tells it of peers.
    pub trackers: Option<Trackers>,
}

impl Beginning<'_> {
    /// A session that has done nothing yet; [`start::load`] is its first step.
    pub(super) fn begin(self, shared: &mut Shared) -> Session {
        let Self {
            id,
            swarm,
            metainfo,
            brief,
            ..
        } = self;
        let geometry = metainfo.geometry;
        let picker = Picker::new(geometry, &mut shared.rng);
        let layout = Layout {
            root: brief.root.clone(),
            files: metainfo.files.clone(),
            geometry,
        };
        let storage = Arc::new(Storage {
            info_hash: metainfo.info_hash,
            layout,
            piece_hashes: Arc::clone(&metainfo.piece_hashes),
        });
        let slots = u32::try_from(shared.settings.upload_slots).unwrap_or(u32::MAX);
        let mut session = Session {
            id,
            swarm,
            name: Arc::clone(&brief.name),
            metainfo,
            storage,
            phase: Phase::Loading,
            download: self.download,
            paused: false,
            recheck: self.recheck,
            picker,
            assembly: Assembly::default(),
            whole: Vec::new(),
            committing: std::collections::BTreeMap::new(),
            loose: Vec::new(),
            proving: std::collections::BTreeMap::new(),
            blame: Blame::default(),
            choker: Choker::new(slots),
            trackers: self.trackers,
            progress: Progress::new(geometry.piece_count()),
            jobs: 0,
            relieved: Vec::new(),
            down: Rate::new(),
            up: Rate::new(),
            wasted: 0,
            completed: false,
            completed_told: false,
            fetched: false,
            device: None,
            notice: String::new(),
            told: (0, 0, 0, 0),
            entry: Entry {
                wanted: self.wanted.into(),
                ..Entry::default()
            },
            brief,
            pex: PexLog::default(),
            waking: false,
            parking: false,
        };
        session.mark_files();
        session
    }
}
