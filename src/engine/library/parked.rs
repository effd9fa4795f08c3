//! Torrents that rest: a small record each, while the torrent file, the file list and the hashes stay in the store.
//!
//! ```text
//!            idle for a while, everything saved, files closed
//!   at work ───────────────────────────────────────────────▶ Resting
//!      ▲                                                        │ a handshake, a tracker that names leechers, a command
//!      └──────────── the torrent file was read ────────────── Waking
//! ```
//!
//! Trackers go on being asked while it rests. Its files are looked at when it wakes, before anything is served: what was
//! changed or deleted meanwhile is found then. Handshakes that come while it wakes wait for it (see `accept`).

use std::path::PathBuf;
use std::sync::Arc;

use super::Entry;
use super::brief::{Brief, Standing};
use super::change::Change;
use super::goals;
use super::relocate;
use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;
use crate::engine::Engine;
use crate::engine::limits::TorrentLimitsChange;
use crate::engine::manager::Beginning;
use crate::engine::message::{Answer, Refusal, SessionAdd, StoreFault, StoreTask};
use crate::engine::metadata::Fetch;
use crate::engine::rate::Rate;
use crate::engine::session::trackers::Trackers;
use crate::engine::session::{Phase, Session, progress, start};
use crate::engine::settings::{PARK_AFTER, WAITING_MAX};
use crate::engine::shared::TimerKey;
use crate::engine::snapshot::SessionState;
use crate::events::{self, Event};
use crate::ids::{InfoHash, ReplyId, SessionId, StreamId, SwarmId};

/// A torrent that rests.
#[derive(Debug)]
pub struct Parked {
    /// Its name.
    pub id: SessionId,
    /// The swarm it trades in when it is awake.
    pub swarm: SwarmId,
    /// What a list shows of it.
    pub brief: Arc<Brief>,
    /// How much of it is there.
    pub standing: Standing,
    /// What is remembered of it.
    pub entry: Entry,
    /// Whether a person has stopped it, or a goal.
    pub paused: bool,
    /// Who tells us of peers.
    pub trackers: Option<Trackers>,
    /// Payload sent in this run, as trackers are told.
    pub sent: u64,
    /// Payload received in this run, as trackers are told.
    pub received: u64,
    /// What it is about to do.
    pub stage: Stage,
    /// Of one of which no more than a link is known: what peers say that it holds, while it may ask them.
    pub fetch: Option<Box<Fetch>>,
    /// Whether it rests also when that is known, until somebody says what of it is wanted.
    pub hold: bool,
}

/// A torrent of which no more than a link is known, to take on and to remember.
#[derive(Debug)]
pub struct MagnetAdd {
    /// What the link says, and where its files will be.
    pub brief: Brief,
    /// Whether it begins stopped.
    pub paused: bool,
    /// As a person gave them.
    pub labels: Vec<String>,
    /// Where its files go when all are there, if that is elsewhere.
    pub then: Option<PathBuf>,
    /// Take it on without remembering it; when it is known what it holds, it waits for
    /// [`Message::SessionAdd`](crate::engine::message::Message::SessionAdd), which says what of it is wanted.
    pub hold: bool,
}

/// What a torrent that rests is about to do.
#[derive(Debug, Default)]
pub enum Stage {
    /// Nothing.
    #[default]
    Resting,
    /// Its torrent file is being read.
    Waking(Wish),
    /// What it holds is known, as a torrent file: it waits until somebody says what of it is wanted.
    Known(Arc<Metainfo>, Arc<[u8]>),
    /// Its torrent file could not be read; tried again when something is asked of it.
    Unreadable(String),
    /// It goes.
    Leaving(Option<ReplyId>),
}

/// What it is woken for.
#[derive(Debug, Default)]
pub struct Wish {
    /// Hash everything.
    pub recheck: bool,
    /// What is to be changed as soon as it is awake, and who waits for that.
    pub changes: Vec<(Change, u64)>,
}

impl Parked {
    /// As callers see it.
    #[must_use]
    pub fn state(&self) -> SessionState {
        match self.stage {
            Stage::Leaving(_) => SessionState::Leaving,
            Stage::Unreadable(_) => SessionState::Error,
            _ if self.paused && self.entry.stopped => SessionState::Stopped,
            _ if self.paused => SessionState::Paused,
            _ if self.brief.magnet.is_some() => SessionState::Metadata,
            // It wakes to take its files where they belong.
            _ if self.standing.whole && !relocate::is_moving(&self.entry.whereabouts) => {
                SessionState::Parked
            }
            _ => SessionState::Checking,
        }
    }

    /// Whether its files have to go somewhere.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        let whereabouts = self.entry.whereabouts.as_deref();
        whereabouts.is_some_and(|places| places.moving.is_some() || places.then.is_some())
    }

    /// Whether a peer that asks for it wakes it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Resting | Stage::Waking(_))
            && !self.paused
            && self.brief.magnet.is_none()
    }

    /// A `session.*` event of how it stands now.
    fn event(&self, previous: SessionState, cause: &'static str) -> events::Session {
        events::Session {
            info_hash: self.brief.info_hash,
            state: self.state().name(),
            previous_state: previous.name(),
            cause,
            message: String::new(),
            error_code: "",
            file: String::new(),
        }
    }
}

impl Engine {
    /// The torrent's swarm, whether it is at work or not.
    pub(in crate::engine) fn swarm_of_session(&self, id: SessionId) -> Option<SwarmId> {
        let session = self.sessions.get(id).map(|session| session.swarm);
        session.or_else(|| self.sessions.parked(id).map(|parked| parked.swarm))
    }

    /// What is remembered of a torrent, whether it is at work or not.
    pub(in crate::engine) fn entry(&self, id: SessionId) -> Option<&Entry> {
        let session = self.sessions.get(id).map(|session| &session.entry);
        session.or_else(|| self.sessions.parked(id).map(|parked| &parked.entry))
    }

    /// What is remembered of a torrent, whether it is at work or not.
    pub(in crate::engine) fn entry_mut(&mut self, id: SessionId) -> Option<&mut Entry> {
        if self.sessions.get(id).is_some() {
            return self.sessions.get_mut(id).map(|session| &mut session.entry);
        }
        let parked = self.sessions.parked_mut(id)?;
        Some(&mut parked.entry)
    }

    // ------------------------------------------------------------------------------------------------------ parking

    /// It has rested for a while, or a goal may be reached while it rests.
    pub(in crate::engine) fn on_park_timer(&mut self, id: SessionId) {
        if self.sessions.parked(id).is_some() {
            self.look_at_parked_goals(id);
            return;
        }
        let now = self.shared.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if !session.entry.is_visible() || !session.rests() {
            return;
        }
        let totals = Standing::of(session);
        if (totals.uploaded, totals.downloaded) != session.progress.saved {
            session.progress.changed = true;
        }
        if !session.progress.is_at_rest() {
            // Saved now; it rests with the next look.
            progress::advance(&mut self.shared, session);
        }
        self.shared.timers.set(TimerKey::Park(id), now + PARK_AFTER);
        if self.may_park(id)
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.parking = true;
            session.jobs += 1;
            let job = crate::engine::message::Job::Close;
            self.shared.work(id, &session.storage, job);
        }
    }

    /// Whether nothing is going on, and nothing is about to.
    fn may_park(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(id) else {
            return false;
        };
        let swarm = self.table.swarms.get(session.swarm);
        let soon = self.shared.now + 2 * PARK_AFTER;
        let dials = self
            .shared
            .timers
            .deadline(TimerKey::Connect(session.swarm));
        session.rests()
            && session.jobs == 0
            && session.progress.is_at_rest()
            && session.progress.store_works
            && !session.entry.recheck
            && swarm.is_some_and(|swarm| swarm.streams.is_empty() && swarm.opening.is_empty())
            && dials.is_none_or(|at| at > soon)
            && !self.waiting.contains_key(&id)
            && !self.is_ending()
    }

    /// Its files are closed: parks it, if nothing has come up meanwhile.
    pub(in crate::engine) fn park(&mut self, id: SessionId) {
        let was_parking = match self.sessions.get_mut(id) {
            Some(session) => std::mem::replace(&mut session.parking, false),
            None => return,
        };
        if !was_parking || !self.may_park(id) {
            return;
        }
        let now = self.shared.now;
        let Some(swarm) = self.swarm_of_session(id) else {
            return;
        };
        if let Some(swarm) = self.table.swarms.get_mut(swarm) {
            swarm.active = false;
        }
        for key in [
            TimerKey::Choke(id),
            TimerKey::Stats(id),
            TimerKey::DiskRetry(id),
            TimerKey::Save(id),
            TimerKey::Commit(id),
            TimerKey::Park(id),
            TimerKey::Connect(swarm),
        ] {
            self.shared.timers.cancel(key);
        }
        self.shared.starved.remove(&id);
        if let Some(session) = self.sessions.get_mut(id) {
            let state = session.state();
            session.entry.leave(state, now);
        }
        self.keep_changed(id);
        let queue = &mut self.shared.queue;
        self.sessions.park(id, |session| {
            queue.leave(session);
            Parked {
                id,
                swarm,
                brief: Arc::clone(&session.brief),
                standing: Standing::of(session),
                entry: std::mem::take(&mut session.entry),
                paused: session.paused,
                trackers: session.trackers.take(),
                sent: session.up.total(),
                received: session.down.total(),
                stage: Stage::Resting,
                fetch: None,
                hold: false,
            }
        });
        self.dht_enter(id);
        self.await_parked_goal(id);
    }

    /// A goal that time alone reaches is looked at when it is.
    pub(in crate::engine) fn await_parked_goal(&mut self, id: SessionId) {
        let Some(parked) = self.sessions.parked(id) else {
            return;
        };
        match goals::reached_at(parked, &self.shared.settings) {
            Some(at) => self.shared.timers.set(TimerKey::Park(id), at),
            None => {
                self.shared.timers.cancel(TimerKey::Park(id));
            }
        }
    }

    fn look_at_parked_goals(&mut self, id: SessionId) {
        let now = self.shared.now;
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        let at = goals::reached_at(parked, &self.shared.settings);
        if at.is_some_and(|at| at <= now) {
            log::info!("torrent {} has seeded enough", parked.brief.info_hash);
            parked.entry.finished = true;
            self.parked_stop(id, false, "ratio");
            self.keep(id, None, None);
        } else {
            self.await_parked_goal(id);
        }
    }

    // ------------------------------------------------------------------------------------------------------- waking

    /// Wakes a torrent, if it rests: its torrent file is read, and what was wished is done.
    pub(in crate::engine) fn wake(&mut self, id: SessionId, wish: Wish) {
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        if parked.brief.magnet.is_some() {
            // There is nothing to look at yet. What is to be changed cannot be.
            return self.drop_wish(wish);
        }
        match &mut parked.stage {
            Stage::Waking(wished) => {
                wished.recheck |= wish.recheck;
                wished.changes.extend(wish.changes);
                return;
            }
            Stage::Leaving(_) | Stage::Known(..) => return,
            Stage::Resting | Stage::Unreadable(_) => parked.stage = Stage::Waking(wish),
        }
        let info_hash = parked.brief.info_hash;
        self.shared.store(id, StoreTask::Read(vec![info_hash]));
    }

    /// The torrent file of one that wakes was read.
    pub(in crate::engine) fn awake(
        &mut self,
        id: SessionId,
        read: Result<Arc<Metainfo>, StoreFault>,
    ) {
        let metainfo = match read {
            Ok(metainfo) => metainfo,
            Err(fault) => return self.unreadable(id, fault),
        };
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        if !matches!(parked.stage, Stage::Waking(_)) {
            return;
        }
        let Stage::Waking(wish) = std::mem::take(&mut parked.stage) else {
            return;
        };
        self.shared.timers.cancel(TimerKey::Park(id));
        let shared = &mut self.shared;
        self.sessions.wake(id, |parked| {
            let beginning = Beginning {
                id,
                swarm: parked.swarm,
                metainfo,
                brief: Arc::clone(&parked.brief),
                download: true,
                recheck: wish.recheck,
                // Its marks come with its entry.
                wanted: &[],
                trackers: parked.trackers.take(),
            };
            let mut session = beginning.begin(shared);
            session.entry = std::mem::take(&mut parked.entry);
            session.mark_files();
            session.paused = parked.paused;
            session.up = Rate::after(parked.sent);
            session.down = Rate::after(parked.received);
            session.told.0 = parked.received;
            session.told.1 = parked.sent;
            session.progress.uploaded_before = parked.standing.uploaded - parked.sent;
            session.progress.downloaded_before = parked.standing.downloaded - parked.received;
            session.waking = parked.standing.whole
                && !parked.paused
                && !wish.recheck
                && !session.entry.move_ready;
            relocate::take_on(&mut session);
            session
        });
        if let Some(session) = self.sessions.get_mut(id) {
            if !session.waking {
                let event = session.event(session.state(), "user");
                self.shared.event(Event::SessionStarted(event));
            }
            start::load(&mut self.shared, session);
        }
        self.torrent_limits(id, &TorrentLimitsChange::default());
        for (change, pending) in wish.changes {
            // What it could not be asked while it rested. One that was just removed is changed no more.
            let is_there = self.entry(id).is_some_and(Entry::is_visible);
            let may = if is_there {
                self.may_change(id, &change)
            } else {
                Err(Refusal::UnknownSession)
            };
            match may {
                Ok(()) => self.torrent_change(id, &change, pending),
                Err(refusal) => self.fail_pending(pending, refusal),
            }
            self.unhold(pending);
        }
    }

    fn unreadable(&mut self, id: SessionId, fault: StoreFault) {
        if self.sessions.parked(id).is_none() {
            return;
        }
        let StoreFault::Failed(text) = fault else {
            return;
        };
        self.unusable(id, text, "store_failed");
    }

    /// Nothing can be made of it, for this reason.
    pub(in crate::engine) fn unusable(&mut self, id: SessionId, text: String, code: &'static str) {
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        log::error!("torrent {}: {text}", parked.brief.info_hash);
        let previous = parked.state();
        let stage = std::mem::replace(&mut parked.stage, Stage::Unreadable(text.clone()));
        let mut event = parked.event(previous, "error");
        event.message = text;
        event.error_code = code;
        self.shared.event(Event::SessionError(event));
        if let Stage::Waking(wish) = stage {
            // It can still be removed: where its files are is not known, so they stay.
            for (_, pending) in
                (wish.changes.iter()).filter(|(change, _)| matches!(change, Change::Remove { .. }))
            {
                if let Some(info_hash) = self.forget(id, false) {
                    self.library_store(StoreTask::Forget { info_hash }, Some(*pending));
                }
                self.unhold(*pending);
            }
            let mut rest = wish;
            (rest.changes).retain(|(change, _)| !matches!(change, Change::Remove { .. }));
            self.drop_wish(rest);
        }
        self.admit_waiting(id);
    }

    /// What was wished cannot be.
    fn drop_wish(&mut self, wish: Wish) {
        for (_, pending) in wish.changes {
            self.fail_pending(pending, Refusal::NotKnown);
            self.unhold(pending);
        }
    }

    // ------------------------------------------------------------------------------------------------------ metadata

    /// Takes on a torrent of which no more than a link is known; answered when its row is on disk.
    pub(in crate::engine) fn magnet_add(&mut self, add: MagnetAdd, reply: Option<ReplyId>) {
        if !self.library.on && !add.hold {
            let refused = Answer::Refused(Refusal::NotRemembered);
            return self.shared.reply(reply, refused);
        }
        let now = self.shared.now;
        let links_min = u32::try_from(self.shared.settings.swarm_links_min).unwrap_or(u32::MAX);
        let brief = Arc::new(add.brief);
        let (info_hash, shared) = (brief.info_hash, &mut self.shared);
        let trackers =
            (shared.settings.trackers).then(|| Trackers::new(&brief.trackers, &mut shared.rng));
        let number = if add.hold {
            0
        } else {
            self.library.last_number + 1
        };
        let entry = Entry {
            number,
            position: self.library.next_position(),
            labels: super::entry::tidy_labels(add.labels.iter().map(String::as_str)),
            added: self.library.unix(now),
            whereabouts: relocate::bound_for(add.then),
            stopped: add.paused,
            since: now,
            touched: now,
            ..Entry::default()
        };
        let sessions = &mut self.sessions;
        let taken = self.table.swarm_take(info_hash, links_min, |swarm| {
            sessions.park_with(|id| Parked {
                id,
                swarm,
                brief: Arc::clone(&brief),
                standing: Standing::default(),
                entry,
                paused: add.paused,
                trackers,
                sent: 0,
                received: 0,
                stage: Stage::Resting,
                fetch: None,
                hold: add.hold,
            })
        });
        let id = match taken {
            Ok((_, id)) => id,
            Err(there) => {
                let refused = Answer::Refused(Refusal::Duplicate(there));
                return self.shared.reply(reply, refused);
            }
        };
        self.recall_farewell(info_hash);
        self.shared.event(Event::TorrentAdded(events::Torrent {
            info_hash,
            name: brief.name.as_ref().to_owned(),
        }));
        if add.hold {
            self.shared.reply(reply, Answer::Session(id));
            return self.metadata_begin(id);
        }
        self.library.enter(number, info_hash, id);
        self.library.tuned.added += 1;
        let pending = self.library.wait(reply, Answer::Session(id), Some(id));
        self.keep(id, None, Some(pending));
        self.settle(pending);
        self.metadata_begin(id);
    }

    /// What a torrent holds is known now, and nothing else about it changes. `false` when it was known before.
    pub(in crate::engine) fn metadata_known(
        &mut self,
        id: SessionId,
        metainfo: &Arc<Metainfo>,
        bytes: Arc<[u8]>,
        pending: Option<u64>,
    ) -> bool {
        let Some(parked) = self.sessions.parked(id) else {
            return false;
        };
        let leaves = matches!(parked.stage, Stage::Leaving(_));
        let link = parked.brief.magnet.clone().filter(|_| !leaves);
        let Some(link) = link.filter(|_| parked.brief.info_hash == metainfo.info_hash) else {
            return false;
        };
        if metainfo.private {
            // Nothing more is said of it outside its trackers.
            self.dht_leave(id);
        }
        self.metadata_hold_streams(id);
        self.shared.counters.metadata_fetched += 1;
        let Some(parked) = self.sessions.parked_mut(id) else {
            return false;
        };
        let told = events::Torrent {
            info_hash: metainfo.info_hash,
            name: metainfo.name.clone(),
        };
        if parked.hold {
            parked.stage = Stage::Known(Arc::clone(metainfo), bytes);
            self.shared.event(Event::TorrentMetadata(told));
            return true;
        }
        if let Ok(magnet) = Magnet::parse(&link) {
            parked.entry.wanted = magnet.wanted(metainfo.files.len()).into();
        }
        let mut brief = Brief::of(metainfo, &parked.brief.root);
        if brief.trackers.is_empty() {
            brief.trackers = Arc::clone(&parked.brief.trackers);
        } else if let Some(trackers) = &mut parked.trackers
            && brief.trackers != parked.brief.trackers
            && parked.entry.trackers.is_none()
        {
            *trackers = Trackers::new(&brief.trackers, &mut self.shared.rng);
        }
        parked.standing.bytes_wanted = brief.bytes;
        parked.brief = Arc::new(brief);
        let paused = parked.paused;
        if !paused {
            parked.stage = Stage::Waking(Wish::default());
        }
        self.shared.event(Event::TorrentMetadata(told));
        // The store does things in order: its row is there before anything else is asked about it.
        self.keep(id, Some(bytes), pending);
        if !paused {
            self.awake(id, Ok(Arc::clone(metainfo)));
        }
        true
    }

    /// A torrent that was held until it is known what of it is wanted goes on; [`None`] when it is not there.
    pub(in crate::engine) fn held_take(&mut self, add: &mut SessionAdd) -> Option<SessionId> {
        let id = self.table.swarm_of(add.metainfo.info_hash)?.session?;
        if !self.sessions.parked(id)?.hold {
            return None;
        }
        self.metadata_hold_streams(id);
        let parked = self.sessions.parked_mut(id)?;
        parked.hold = false;
        parked.brief = Arc::new(Brief::of(&add.metainfo, &add.root));
        parked.standing.bytes_wanted = parked.brief.bytes;
        parked.entry.wanted = std::mem::take(&mut add.wanted).into();
        parked.stage = Stage::Waking(Wish {
            recheck: add.recheck,
            changes: Vec::new(),
        });
        self.awake(id, Ok(Arc::clone(&add.metainfo)));
        Some(id)
    }

    /// What a torrent that is held was found to be, as a torrent file too; nothing as long as nobody knows.
    pub(in crate::engine) fn metadata_show(&self, id: SessionId) -> Answer {
        if self.sessions.get(id).is_some() {
            // It is at work: whoever held it has said what is wanted.
            return Answer::Metadata(None);
        }
        let Some(parked) = self.sessions.parked(id) else {
            return Answer::Refused(Refusal::UnknownSession);
        };
        Answer::Metadata(match &parked.stage {
            Stage::Known(metainfo, bytes) => Some((Arc::clone(metainfo), Arc::clone(bytes))),
            _ => None,
        })
    }

    // ------------------------------------------------------------------------------------- what is asked of the rest

    /// A person starts a torrent that rests.
    pub(in crate::engine) fn parked_start(&mut self, id: SessionId) {
        let now = self.shared.now;
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        let previous = parked.state();
        let was_paused = std::mem::replace(&mut parked.paused, false);
        let is_known = parked.brief.magnet.is_none();
        if !is_known && matches!(parked.stage, Stage::Unreadable(_)) {
            parked.stage = Stage::Resting;
            self.metadata_begin(id);
            return;
        }
        if is_known && (matches!(parked.stage, Stage::Unreadable(_)) || !parked.standing.whole) {
            return self.wake(id, Wish::default());
        }
        if is_known && parked.is_bound() {
            // Where it could not go before, it is tried again.
            return self.wake(id, Wish::default());
        }
        if !was_paused {
            return;
        }
        parked.entry.leave(previous, now);
        if let Some(trackers) = parked.trackers.as_mut().filter(|_| is_known) {
            trackers.start(now);
        }
        let event = parked.event(previous, "user");
        self.shared.event(Event::SessionResumed(event));
        self.announce(id);
        self.lsd_soon(id);
        self.dht_enter(id);
        self.await_parked_goal(id);
        self.metadata_begin(id);
    }

    /// A person, or a goal, stops a torrent that rests.
    pub(in crate::engine) fn parked_stop(
        &mut self,
        id: SessionId,
        stopped: bool,
        cause: &'static str,
    ) {
        let now = self.shared.now;
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        let previous = parked.state();
        if std::mem::replace(&mut parked.paused, true) {
            return;
        }
        parked.entry.stopped = stopped;
        parked.entry.forced = false;
        parked.entry.leave(previous, now);
        if let Some(trackers) = &mut parked.trackers {
            trackers.stop(now);
        }
        let event = parked.event(previous, cause);
        self.shared.event(if stopped {
            Event::SessionStopped(event)
        } else {
            Event::SessionPaused(event)
        });
        self.dht_leave(id);
        self.shared.timers.cancel(TimerKey::Park(id));
        self.metadata_end(id);
        self.announce(id);
    }

    /// Lets go of a torrent that rests; its trackers are told without it.
    pub(in crate::engine) fn parked_leave(&mut self, id: SessionId, reply: Option<ReplyId>) {
        let now = self.shared.now;
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        let previous = parked.state();
        if let Stage::Waking(wish) = std::mem::take(&mut parked.stage) {
            self.drop_wish(wish);
        }
        self.metadata_end(id);
        let Some(parked) = self.sessions.parked_mut(id) else {
            return;
        };
        parked.stage = Stage::Leaving(reply);
        if let Some(trackers) = &mut parked.trackers {
            trackers.stop(now);
        }
        let event = parked.event(previous, "user");
        self.shared.event(Event::SessionStopped(event));
        self.dht_leave(id);
        self.shared.timers.cancel(TimerKey::Park(id));
        self.announce(id);
        self.advance_leaving(id);
    }

    /// A torrent that leaves is gone.
    pub(in crate::engine) fn advance_leaving(&mut self, id: SessionId) {
        let Some(parked) = self.sessions.parked(id) else {
            return;
        };
        if !matches!(parked.stage, Stage::Leaving(_)) {
            return;
        }
        let facts = self.facts(id);
        let Some(mut parked) = self.sessions.remove_parked(id) else {
            return;
        };
        self.admit_waiting(id);
        self.close_swarm(parked.swarm);
        self.table.swarm_leave(parked.swarm);
        self.shared.event(Event::TorrentRemoved(events::Torrent {
            info_hash: parked.brief.info_hash,
            name: parked.brief.name.as_ref().to_owned(),
        }));
        if let Stage::Leaving(reply) = parked.stage {
            self.shared.reply(reply, Answer::Done);
        }
        self.depart(id, parked.trackers.take(), facts);
    }

    // ------------------------------------------------------------------------------------------------- those who wait

    /// Whether a handshake for `info_hash` has to wait, since its torrent wakes. Wakes it if it rests.
    pub(in crate::engine) fn wakes_for(&mut self, info_hash: InfoHash) -> Option<SessionId> {
        let swarm = self.table.swarm_of(info_hash).filter(|swarm| swarm.on)?;
        let id = swarm.session?;
        if self.is_ending() {
            return None;
        }
        if self.sessions.parked(id).is_some_and(Parked::is_open) {
            self.wake(id, Wish::default());
            return Some(id);
        }
        let session = self.sessions.get(id)?;
        session.waking.then_some(id)
    }

    /// `stream` has said that it is a peer of a torrent that wakes. `false` when too many wait already.
    pub(in crate::engine) fn wait_for(&mut self, id: SessionId, stream: StreamId) -> bool {
        let waiting = self.waiting.entry(id).or_default();
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.push(stream);
        true
    }

    /// The torrent is awake, or will not be: those who waited are heard.
    pub(in crate::engine) fn admit_waiting(&mut self, id: SessionId) {
        for stream in self.waiting.remove(&id).unwrap_or_default() {
            let Some(record) = self.table.streams.get_mut(stream) else {
                continue;
            };
            let mut said = std::mem::take(&mut record.tail);
            self.hear(stream, &mut said);
        }
    }
}

impl Session {
    /// Whether it would rest if nobody came: it has what it wants, or was stopped.
    fn rests(&self) -> bool {
        match self.phase {
            Phase::Trading => self.has_all_wanted() && !self.parking,
            Phase::Paused => self.paused && !self.parking,
            _ => false,
        }
    }
}
