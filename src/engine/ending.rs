//! The end: every session told in one turn, what is flushed saved first, everything drained at once under one budget.

use crate::ids::ReplyId;
use crate::time::{Duration, Instant};

use super::Engine;
use super::message::{Answer, Output, Refusal, ShutdownReport};
use super::session::Phase;
use super::session::progress;
use super::session::trackers::Trackers;
use super::shared::TimerKey;
use super::snapshot::SessionState;

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Ending {
    since: Instant,
    replies: Vec<ReplyId>,
    trackers_unanswered: usize,
    /// Whether trackers have had their time.
    farewells_over: bool,
    over: bool,
}

/// The part of the budget that trackers have, one in so many. By then everyone was told who can be told within seconds (half a
/// second is time for a connection with TLS to the other side of the world, or for two datagrams); more would only be spent
/// on waiting for answers that nobody reads, while a person waits for the prompt. Whoever was not told finds out by himself.
const FAREWELL_SHARE: u32 = 4;

impl Engine {
    /// Whether a shutdown is under way.
    pub(super) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Tells every session to end. Idempotent: a second one only waits with the first, under the shorter budget.
    pub(super) fn shutdown(&mut self, budget: Duration, reply: Option<ReplyId>) {
        let now = self.shared.now;
        let ending = self.ending.get_or_insert_with(|| Ending {
            since: now,
            replies: Vec::new(),
            trackers_unanswered: 0,
            farewells_over: false,
            over: false,
        });
        if ending.over {
            self.shared.reply(reply, Answer::Done);
            return;
        }
        let is_first = ending.replies.is_empty() && ending.since == now;
        ending.replies.extend(reply);
        if is_first {
            self.totals_write();
        }
        let timers = &mut self.shared.timers;
        timers.set_no_later(TimerKey::Shutdown, now + budget);
        timers.set_no_later(TimerKey::Farewell, now + budget / FAREWELL_SHARE);
        self.keep_times();
        for id in self.sessions.parked_ids() {
            let parked = self.sessions.parked(id);
            if parked.is_some_and(|parked| parked.state() != SessionState::Stopped) {
                self.parked_leave(id, None);
            }
        }
        for id in self.sessions.ids() {
            if self
                .sessions
                .get(id)
                .is_some_and(|session| !session.is_stopping())
            {
                self.keep_changed(id);
                self.session_stop(id, None);
            }
        }
        let strays: Vec<_> = self.table.streams.iter().map(|(id, _)| id).collect();
        for id in strays {
            self.close(id, super::table::stream::CloseReason::SessionOver);
        }
        self.end_if_empty();
    }

    /// A session is gone.
    pub(super) fn ended_one(&mut self, trackers_unanswered: usize) {
        if let Some(ending) = &mut self.ending {
            ending.trackers_unanswered += trackers_unanswered;
        }
        self.end_if_empty();
    }

    fn end_if_empty(&mut self) {
        if self.sessions.is_empty() {
            self.end(Vec::new());
        }
    }

    /// Whether nobody waits for trackers any more.
    pub(super) fn farewells_are_over(&self) -> bool {
        self.ending
            .as_ref()
            .is_some_and(|ending| ending.farewells_over)
    }

    /// Trackers have had their time: those sessions that wait for nothing else are gone.
    pub(super) fn on_farewell_over(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.farewells_over = true;
        }
        for id in self.sessions.parked_ids() {
            self.advance_leaving(id);
        }
        for id in self.sessions.ids() {
            self.advance_stop(id);
        }
    }

    /// The budget is spent: what is still waited for is abandoned. A silent tracker is no failure.
    pub(super) fn on_budget_spent(&mut self) {
        let mut abandoned = Vec::new();
        let mut silent = 0;
        for (_, session) in self.sessions.iter() {
            let Phase::Stopping { step, .. } = &session.phase else {
                continue;
            };
            if session.jobs > 0 {
                let (name, step) = (&session.metainfo.name, progress::step_name(*step));
                abandoned.push(format!("{step} of {name} ({} jobs not back)", session.jobs));
            }
            silent += session.trackers.as_ref().map_or(0, Trackers::unanswered);
        }
        for id in self.sessions.parked_ids() {
            silent += self.sessions.trackers(id).map_or(0, Trackers::unanswered);
        }
        if let Some(ending) = &mut self.ending {
            ending.trackers_unanswered += silent;
        }
        self.end(abandoned);
    }

    fn end(&mut self, abandoned: Vec<String>) {
        let now = self.shared.now;
        let Some(ending) = &mut self.ending else {
            return;
        };
        if std::mem::replace(&mut ending.over, true) {
            return;
        }
        self.shared.timers.cancel(TimerKey::Shutdown);
        self.shared.timers.cancel(TimerKey::Farewell);
        // Those who wait for a removal that was abandoned.
        for id in self.sessions.ids() {
            let session = self.sessions.get_mut(id);
            if let Some(Phase::Stopping { reply, .. }) = session.map(|session| &mut session.phase) {
                self.shared
                    .reply(reply.take(), Answer::Refused(Refusal::ShuttingDown));
            }
        }
        let phases = vec![("drain", now.since(ending.since))];
        let report = ShutdownReport {
            phases,
            abandoned,
            trackers_unanswered: ending.trackers_unanswered,
        };
        for reply in std::mem::take(&mut ending.replies) {
            self.shared.reply(Some(reply), Answer::Done);
        }
        // Every link goes, whoever still waits for it (requirement L16).
        self.table.clear();
        self.tell_links();
        self.shared.push(Output::Stopped(report));
    }
}
