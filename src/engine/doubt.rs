//! Pieces that we thought we had: files that are gone, too short, or written to by another program.
//!
//! What is in doubt is not served from the same turn on. A hole is fetched again; a changed file is hashed again, and only
//! what is wrong in it is fetched, or, by a session that only seeds, given up.

use std::collections::BTreeSet;

use crate::codec::geometry::PieceIndex;
use crate::codec::layout::FileIndex;
use crate::codec::shown::shown;
use crate::codec::wire::Message;
use crate::ids::SessionId;

use super::Engine;
use super::extended::Extension;
use super::message::{Fault, FaultKind, FileStamp, ReadRun};
use super::session::receive::send;
use super::session::start::Check;
use super::session::{Phase, Session, Then, progress, upload};

/// Lost pieces that peers are told of at a time: of the others they hear when they ask.
const LOST_TOLD_MAX: usize = 1024;

impl Engine {
    /// A read has failed.
    pub(super) fn on_read_failed(&mut self, id: SessionId, run: ReadRun, fault: Fault) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let length = run.parts.iter().map(|part| u64::from(part.length)).sum();
        let pieces = session.geometry().pieces_of(run.offset, length).collect();
        let changed = changed_files(session, &run);
        let mut run = run;
        if fault.kind == FaultKind::Changed && changed.is_empty() {
            // We wrote to the file ourselves after the read was given out.
            match upload::read_again(&mut self.shared, session, run) {
                Ok(()) => return,
                Err(back) => run = back,
            }
        }
        let reader = run.stream;
        let stream = self.table.streams.get_mut(reader);
        let failed = Err(fault);
        upload::read_done(&mut self.shared, session, stream, run, &failed);
        // Its blocks came back without having been sent, so no `Sent` will say that there is room.
        self.on_sent(reader, 0);
        self.serve_waiting();
        match failed {
            Err(fault) if fault.kind == FaultKind::Changed => self.doubt(id, &changed),
            Err(fault) if fault.kind == FaultKind::Gone => self.on_gone(id, pieces, fault),
            Err(fault) => self.fail(id, fault),
            Ok(()) => {}
        }
    }

    /// What we thought was there is not: it is fetched again.
    fn on_gone(&mut self, id: SessionId, pieces: BTreeSet<PieceIndex>, fault: Fault) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        log::warn!(
            "torrent {}: {}; fetched again",
            session.info_hash(),
            fault.message
        );
        session.notice = fault.message;
        let lost = lose(session, pieces);
        self.retract(id);
        self.tell_lost(id, &lost);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        progress::arm(&mut self.shared, session);
        let swarm = session.swarm;
        if session.is_downloading()
            && let Some(record) = self.table.swarms.get_mut(swarm)
        {
            // Those that had nothing to trade with us have now.
            record.forgive();
        }
        self.ask_all(id);
        self.connect_more(swarm);
    }

    /// Another program has written to these files, which look so now: what we have of them is hashed again.
    pub(super) fn doubt(&mut self, id: SessionId, files: &[(FileIndex, FileStamp)]) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let mut doubted = BTreeSet::new();
        for &(file, stamp) in files {
            // As it looked before it is hashed: a change during the check is found by the next look.
            session.progress.stamps[file] = Some(stamp);
            let layout = &session.storage.layout;
            let entry = &layout.files[file];
            doubted.extend(layout.geometry.pieces_of(entry.offset, entry.length));
            let path = layout.path(file);
            session.notice = format!(
                "{} was changed by another program and is checked again",
                shown(&path)
            );
            log::warn!("torrent {}: {}", session.info_hash(), session.notice);
        }
        doubted.retain(|piece| session.picker.have().get(piece.index()));
        lose(session, doubted.iter().copied());
        if session.download
            && let Some(record) = self.table.swarms.get_mut(session.swarm)
        {
            // Those that had nothing to trade with us may have soon.
            record.forgive();
        }
        let again = doubted.into_iter().collect::<Vec<_>>();
        match &mut session.phase {
            Phase::Trading | Phase::Paused => {
                let check = Phase::Checking(Check::of(again));
                session.enter(&mut self.shared, check, "error");
                self.retract(id);
                self.check_over(id);
            }
            Phase::Checking(check)
            | Phase::Failed {
                then: Then::Check(check),
                ..
            } => check.pieces.extend(again),
            Phase::Failed { then, .. } if matches!(then, Then::Trade) => {
                *then = Then::Check(Check::of(again));
            }
            // Nothing is had yet, or nothing will be served any more; what is saved is without them.
            Phase::Moving(moving) => moving.doubt(),
            Phase::Loading
            | Phase::Preparing { .. }
            | Phase::Failed { .. }
            | Phase::Stopping { .. } => {}
        }
    }

    /// Tells peers that we have these pieces no more, if they want to know (BEP 54); of very many, only the first.
    fn tell_lost(&mut self, id: SessionId, lost: &[PieceIndex]) {
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
            let theirs = stream
                .peer()
                .and_then(|peer| peer.theirs.id_of(Extension::DontHave));
            let Some(id) = theirs else {
                continue;
            };
            for piece in lost.iter().take(LOST_TOLD_MAX) {
                let payload = &piece.get().to_be_bytes();
                send(&mut self.shared, stream, &Message::Extended { id, payload });
            }
        }
    }

    /// Takes back what peers have asked for and we do not have any more.
    fn retract(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let Some(swarm) = self.table.swarms.get(session.swarm) else {
            return;
        };
        for &id in &swarm.streams {
            if let Some(stream) = self.table.streams.get_mut(id) {
                upload::retract(&mut self.shared, session, stream);
            }
        }
    }
}

/// Files of a failed read that changed though we have not written to them since it was given out, as they look now.
fn changed_files(session: &Session, run: &ReadRun) -> Vec<(FileIndex, FileStamp)> {
    let progress = &session.progress;
    run.expected
        .iter()
        .filter(|expected| {
            progress.writes.is_quiet(expected.file)
                && progress.stamps.get(expected.file) == Some(&Some(expected.stamp))
        })
        .filter_map(|expected| Some((expected.file, expected.found?)))
        .collect()
}

/// These pieces are not ours any more.
fn lose(session: &mut Session, pieces: impl IntoIterator<Item = PieceIndex>) -> Vec<PieceIndex> {
    session.progress.changed = true;
    let mut lost = Vec::new();
    for piece in pieces {
        if session.picker.have().get(piece.index()) {
            session.picker.lost(piece);
            session.progress.lost(piece);
            session.completed = false;
            lost.push(piece);
        }
    }
    lost
}
