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
    /// The shortest that was asked for.
    budget: Duration,
    /// Farewells that were answered, and how many when that was last looked at.
    farewells_heard: (u64, u64),
    /// Whether trackers have had their time.
    farewells_over: bool,
    over: bool,
}

/// The part of the budget that trackers have, one in so many. By then everyone was told who can be told within seconds (half a
/// second is time for a connection with TLS to the other side of the world, or for two datagrams); more would only be spent
/// on waiting for answers that nobody reads, while a person waits for the prompt. Whoever was not told finds out by himself.
const FAREWELL_SHARE: u32 = 4;

/// As long as trackers go on answering, those that wait for their turn have more: a part of the budget at a time, one in so
/// many, ...
const FAREWELL_MORE_SHARE: u32 = 20;

/// ... until this part of it is spent.
const FAREWELL_MOST_SHARE: u32 = 2;

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
            budget,
            farewells_heard: (0, 0),
            farewells_over: false,
            over: false,
        });
        if ending.over {
            self.shared.reply(reply, Answer::Done);
            return;
        }
        ending.budget = ending.budget.min(budget);
        let is_first = ending.replies.is_empty() && ending.since == now;
        ending.replies.extend(reply);
        if is_first {
            self.dht_end();
            self.totals_write();
        }
        let timers = &mut self.shared.timers;
        timers.set_no_later(TimerKey::Shutdown, now + budget);
        timers.set_no_later(TimerKey::Farewell, now + budget / FAREWELL_SHARE);
        self.keep_times();
        self.pace.hurry();
        for id in self.sessions.parked_ids() {
            let parked = self.sessions.parked(id);
            if parked.is_some_and(|parked| parked.state() != SessionState::Leaving) {
                self.parked_leave(id, None);
            }
        }
        for id in self.sessions.ids() {
            if self
                .sessions
                .get(id)
                .is_some_and(|session| !session.is_stopping())
            {
                if let Some(session) = self.sessions.get_mut(id) {
                    let state = session.state();
                    session.entry.leave(state, now);
                }
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
        if self.is_ending() && self.sessions.is_empty() && self.farewells.is_empty() {
            self.end(Vec::new());
        }
    }

    /// Whether nobody waits for trackers any more.
    pub(super) fn farewells_are_over(&self) -> bool {
        self.ending
            .as_ref()
            .is_some_and(|ending| ending.farewells_over)
    }

    /// A tracker has answered.
    pub(super) fn farewell_heard(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.farewells_heard.0 += 1;
        }
    }

    /// Trackers have had their time, unless they are still answering: whoever is not told now is not told.
    pub(super) fn on_farewell_over(&mut self) {
        let now = self.shared.now;
        let Some(ending) = &mut self.ending else {
            return;
        };
        let (heard, before) = ending.farewells_heard;
        let more = now + ending.budget / FAREWELL_MORE_SHARE;
        if heard > before && more <= ending.since + ending.budget / FAREWELL_MOST_SHARE {
            ending.farewells_heard.1 = heard;
            self.shared.timers.set(TimerKey::Farewell, more);
            return;
        }
        ending.farewells_over = true;
        self.farewells_over();
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
        silent += self.farewells.unanswered();
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
