//! Finished jobs of the workers and the store, and what follows from them.

use crate::codec::geometry::PieceIndex;
use crate::codec::wire::Message;
use crate::events::Event;
use crate::ids::SessionId;

use crate::buffer::Share;

use super::Engine;
use super::message::{Done, Fault, FaultKind, Outcome, Prepared, StoreOutcome, Stored};
use super::session::assembly::Sender;
use super::session::choker::RECHOKE_EVERY;
use super::session::download::{self, Proven};
use super::session::receive::send;
use super::session::{Phase, Then, progress, start, upload};
use super::settings::{DISK_RETRY, PARK_AFTER, STATS_INTERVAL};
use super::shared::TimerKey;
use super::snapshot::SessionState;
use super::table::stream::{CloseReason, Stream};

impl Engine {
    pub(super) fn on_done(&mut self, done: Done) {
        let done = self.on_survey_done(done);
        let Some(done) = done.and_then(|done| self.on_blocks_done(done)) else {
            return;
        };
        let id = done.session;
        // A session is kept until all its jobs are back, so there is always somebody to take the buffers.
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.jobs -= 1;
        let shared = &mut self.shared;
        match done.outcome {
            Outcome::Prepared(Ok(prepared)) => self.on_prepared(id, prepared),
            Outcome::Prepared(Err(fault)) => self.fail(id, fault),
            Outcome::Checked(mut checked) => match session.proving.remove(&done.id) {
                Some(piece) => {
                    let found = checked.pop();
                    let (verdict, digests) = found.map_or_else(
                        || (super::message::Verdict::Missing, Vec::new()),
                        |found| (found.verdict, found.digests),
                    );
                    let proven =
                        download::proven_in_place(shared, session, piece, verdict, &digests);
                    self.on_proven(id, proven);
                }
                None => match start::checked(shared, session, checked) {
                    Ok(_) => self.check_over(id),
                    Err(fault) => self.fail(id, fault),
                },
            },
            Outcome::Committed(pieces) => {
                let proven = download::committed(shared, session, done.id, pieces);
                self.on_proven(id, proven);
            }
            Outcome::Written {
                blocks,
                refs,
                result,
            } => {
                if let Some(fault) = download::written(shared, session, blocks, &refs, result) {
                    self.fail(id, fault);
                }
            }
            Outcome::Read(run, Ok(())) => {
                let reader = run.stream;
                let stream = self.table.streams.get_mut(reader);
                if upload::read_done(shared, session, stream, run, &Ok(())) {
                    // Its blocks came back without having been sent, so no `Sent` will say that there is room.
                    self.on_sent(reader, 0);
                    self.serve_waiting();
                }
            }
            Outcome::Read(run, Err(fault)) => self.on_read_failed(id, run, fault),
            Outcome::Synced(result) => {
                let flushed = progress::flushed(shared, session, result);
                if !flushed.changed.is_empty() {
                    self.doubt(id, &flushed.changed);
                }
                if let Some(fault) = flushed.fault {
                    self.fail(id, fault);
                }
            }
            Outcome::Cancelled(job) => session.cancelled(shared, done.id, job),
            Outcome::Relocated(relocation, result) => self.on_relocated(id, relocation, result),
            Outcome::Closed => self.park(id),
            Outcome::Surveyed(_) | Outcome::Blocks(_) | Outcome::Deleted(Ok(())) => {}
            Outcome::Deleted(Err(fault)) => {
                log::warn!("torrent {}: {}", session.info_hash(), fault.message);
            }
        }
        self.begin_recheck(id);
        self.begin_move(id);
        self.advance_stop(id);
    }

    fn on_prepared(&mut self, id: SessionId, prepared: Prepared) {
        let device = prepared.space.map(|space| space.device);
        // What others still fetch to the same disk has no room there yet.
        let promised = self
            .sessions
            .iter()
            .filter(|(other, session)| {
                *other != id && session.device == device && session.is_downloading()
            })
            .map(|(_, session)| {
                let (wanted, there) = session.bytes();
                wanted - there
            })
            .sum();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match start::prepared(&mut self.shared, session, prepared, promised) {
            Ok(()) => self.check_over(id),
            Err(fault) => self.fail(id, fault),
        }
    }

    pub(super) fn on_stored(&mut self, stored: Stored) {
        let Some(stored) = self.on_library_stored(stored) else {
            return;
        };
        let id = stored.session;
        if let StoreOutcome::Read(mut read) = stored.outcome {
            let known = read.pop();
            if let Some(known) = known {
                self.awake(id, known.map(|known| known.metainfo));
            }
            return;
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.jobs -= 1;
        match stored.outcome {
            StoreOutcome::Loaded(_) if session.is_stopping() => {}
            StoreOutcome::Loaded(result) => {
                if let Err(fault) = start::loaded(&mut self.shared, session, result) {
                    self.fail(id, fault);
                }
            }
            StoreOutcome::Saved(result) => {
                progress::saved(session, result);
                if !session.is_stopping() {
                    progress::arm(&mut self.shared, session);
                }
                self.keep_whole(id);
            }
            StoreOutcome::Kept(result) => self.on_move_kept(id, result.is_ok()),
            // The last ones are the library's, and of torrents that rest.
            StoreOutcome::Released
            | StoreOutcome::Listed(_)
            | StoreOutcome::Recalled(_)
            | StoreOutcome::Groups(_)
            | StoreOutcome::Nodes(_)
            | StoreOutcome::Read(_) => {}
        }
        self.begin_recheck(id);
        self.begin_move(id);
        self.advance_stop(id);
    }

    /// When every piece was judged, the session begins to trade.
    pub(super) fn check_over(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        // Something is amiss: it is shown as what it is.
        session.waking &=
            matches!(&session.phase, Phase::Checking(check) if check.pieces.is_empty());
        // With a recheck ahead, what is known is of no use.
        if start::give_out(&mut self.shared, session) && !session.entry.recheck {
            self.start_trading(id, "user");
        }
    }

    /// It has peers from now on, unless a person has stopped it, or it has to wait for its turn.
    pub(super) fn start_trading(&mut self, id: SessionId, cause: &'static str) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.progress.judged = true;
        session.waking = false;
        if session.entry.move_ready {
            self.move_now(id);
            return;
        }
        if session.paused {
            self.rest(id, "user");
            return;
        }
        if self.must_wait(id) {
            return match self.sessions.get_mut(id) {
                Some(session) if matches!(session.phase, Phase::Paused) => {
                    session.waited(&mut self.shared, SessionState::Paused, "queue");
                }
                _ => self.rest(id, "queue"),
            };
        }
        self.begin_trading(id, cause);
    }

    /// From now on it has peers.
    pub(super) fn begin_trading(&mut self, id: SessionId, cause: &'static str) {
        let now = self.shared.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.enter(&mut self.shared, Phase::Trading, cause);
        progress::arm(&mut self.shared, session);
        // Pieces in place that an earlier run left whole are judged at once.
        let whole: Vec<PieceIndex> = session
            .assembly
            .iter()
            .map(|open| (open.piece, open.is_whole()))
            .filter(|(piece, whole)| {
                // Not those that a worker is hashing since before a pause.
                *whole && !session.proving.values().any(|proving| proving == piece)
            })
            .map(|(piece, _)| piece)
            .collect();
        for piece in whole {
            download::prove(&mut self.shared, session, piece);
        }
        if let Some(trackers) = &mut session.trackers {
            trackers.start(now);
        }
        let swarm = session.swarm;
        if let Some(swarm) = self.table.swarms.get_mut(swarm) {
            swarm.active = true;
        }
        self.shared.arm(TimerKey::Choke(id), RECHOKE_EVERY);
        self.shared.arm(TimerKey::Stats(id), STATS_INTERVAL);
        self.shared.arm(TimerKey::Park(id), PARK_AFTER);
        self.dht_enter(id);
        self.announce(id);
        self.metadata_admit(id);
        self.lsd_soon(id);
        self.connect_more(swarm);
        self.ask_all(id);
        self.serve_all(id);
        self.complete_if_whole(id);
        self.admit_waiting(id);
    }

    pub(super) fn on_commit_timer(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            download::flush(&mut self.shared, session);
        }
    }

    pub(super) fn on_save_timer(&mut self, id: SessionId) {
        let Some(session) = self
            .sessions
            .get_mut(id)
            .filter(|session| !session.is_stopping())
        else {
            return;
        };
        progress::advance(&mut self.shared, session);
        progress::arm(&mut self.shared, session);
    }

    /// Pieces were judged: tells peers of the good ones, lets the liars go, and sees whether that was all.
    fn on_proven(&mut self, id: SessionId, proven: Proven) {
        self.tell_have(id, &proven.good);
        for guilty in proven.guilty {
            self.convict(id, guilty);
        }
        if let Some(session) = self.sessions.get(id) {
            progress::arm(&mut self.shared, session);
        }
        if let Some(fault) = proven.fault {
            self.fail(id, fault);
        }
        self.complete_if_whole(id);
        self.ask_all(id);
    }

    fn tell_have(&mut self, id: SessionId, pieces: &[PieceIndex]) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let Some(swarm) = self.table.swarms.get(session.swarm) else {
            return;
        };
        for &id in &swarm.streams {
            let Some(stream) = self.table.streams.get_mut(id) else {
                continue;
            };
            for &piece in pieces {
                // Who has it already does not want to know.
                if stream.peer().is_some_and(|peer| !peer.has.has(piece)) {
                    send(&mut self.shared, stream, &Message::Have(piece.get()));
                }
            }
        }
    }

    /// A peer sent bad data, proven: it is banned, and nobody else.
    pub(super) fn convict(&mut self, session: SessionId, guilty: Sender) {
        log::info!("{} sent bad data and is banned", guilty.address);
        self.shared.counters.bans += 1;
        let is_its = |(_, stream): &(_, &Stream)| {
            stream.link == guilty.link
                || stream.peer().is_some_and(|peer| {
                    peer.id == guilty.peer_id && stream.address.ip() == guilty.address.ip()
                })
        };
        let streams: Vec<_> = self
            .table
            .streams
            .iter()
            .filter(is_its)
            .map(|(id, _)| id)
            .collect();
        let swarm = self.swarm_of_session(session);
        let listens: Vec<_> = streams
            .iter()
            .filter_map(|id| self.table.streams.get(*id)?.peer()?.listens)
            .collect();
        // Also when it is gone by now, and its link with it.
        self.table
            .ban(guilty.link, guilty.address, Some(guilty.peer_id));
        for stream in streams {
            self.close(stream, CloseReason::BadData);
        }
        for address in listens {
            if let Some(link) = self.table.link_at(address) {
                self.table.ban(link, address, None);
            }
        }
        if let Some(swarm) = swarm {
            self.connect_more(swarm);
        }
    }

    /// The last wanted piece is there: told once, saved at once.
    pub(super) fn complete_if_whole(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.completed || !session.is_trading() || !session.has_all_wanted() {
            return;
        }
        session.completed = true;
        // A start with everything there, or a check that found nothing wrong, is no news.
        if session.fetched || !session.completed_told {
            let event = session.event(SessionState::Downloading, "user");
            self.shared.event(Event::SessionCompleted(event));
        }
        session.completed_told = true;
        session.fetched = false;
        progress::advance(&mut self.shared, session);
        if let Some(trackers) = &mut session.trackers
            && session.down.total() > 0
            && !session.progress.completed_before
        {
            trackers.completed();
        }
        self.shared.queue.note(session);
        // From now on it may rest when nobody asks.
        self.shared.arm(TimerKey::Park(id), PARK_AFTER);
        if session.has_everything() {
            self.close_seeds(id);
        }
        self.entry_completed(id);
        self.announce(id);
    }

    /// Sessions that lacked room for blocks ask again as soon as there is more than at the last look, wherever it came from.
    pub(super) fn feed_starved(&mut self) {
        if self.shared.starved.is_empty() {
            return;
        }
        if self.shared.pool.room(Share::Receive) > self.shared.starved_room {
            for id in std::mem::take(&mut self.shared.starved) {
                self.ask_all(id);
            }
        }
        self.shared.starved_room = self.shared.pool.room(Share::Receive);
    }

    /// The disk is in the way: the session waits, the others do not notice.
    pub(super) fn fail(&mut self, id: SessionId, fault: Fault) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.is_stopping() || matches!(session.phase, Phase::Failed { .. }) {
            return;
        }
        // Told as an event too, so whoever follows the session tells a person; the log has it for later.
        log::warn!("torrent {}: {}", session.info_hash(), fault.message);
        self.shared.counters.disk_faults += 1;
        session.waking = false;
        let then = match &mut session.phase {
            Phase::Loading => Then::Load,
            Phase::Preparing { known } => Then::Prepare(known.take()),
            Phase::Checking(check) => Then::Check(std::mem::take(check)),
            Phase::Moving(_)
            | Phase::Trading
            | Phase::Paused
            | Phase::Failed { .. }
            | Phase::Stopping { .. } => Then::Trade,
        };
        session.enter(&mut self.shared, Phase::Failed { fault, then }, "error");
        self.shared.arm(TimerKey::DiskRetry(id), DISK_RETRY);
        self.admit_waiting(id);
    }

    /// The disk may be better: looks at the files again, and goes on from there.
    pub(super) fn on_disk_retry(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Phase::Failed { fault, .. } = &session.phase else {
            return;
        };
        // A row held by another process, or a file in the way, is for a person to solve.
        if fault.kind == FaultKind::InTheWay {
            return;
        }
        if session.jobs > 0 {
            // Answers of the time before the fault are not to be taken for those of the time after it.
            self.shared.arm(TimerKey::DiskRetry(id), DISK_RETRY);
        } else {
            self.go_on(id);
        }
    }

    /// Whatever had stopped the session may be over.
    pub(super) fn go_on(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let jobs = session.jobs;
        let Phase::Failed { then, .. } = &mut session.phase else {
            return;
        };
        if jobs > 0 {
            // Answers of the time before the fault are not to be taken for those of the time after it.
            self.shared.arm(TimerKey::DiskRetry(id), DISK_RETRY);
            return;
        }
        match std::mem::replace(then, Then::Trade) {
            Then::Load => start::load(&mut self.shared, session),
            Then::Prepare(known) => start::prepare(&mut self.shared, session, known),
            Then::Check(check) => {
                session.enter(&mut self.shared, Phase::Checking(check), "error");
                self.check_over(id);
            }
            Then::Move(moving) => {
                super::library::relocate::go_back(&mut self.shared, session, moving)
            }
            Then::Trade if start::check_doubtful(&mut self.shared, session) => self.check_over(id),
            Then::Trade => self.start_trading(id, "error"),
        }
    }
}
