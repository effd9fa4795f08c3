//! The end: every session told in one turn, what is flushed saved first, everything drained at once under one budget.

use crate::ids::ReplyId;
use crate::time::{Duration, Instant};

use super::Engine;
use super::message::{Answer, Output, Refusal, ShutdownReport};
use super::session::Phase;
use super::session::progress;
use super::shared::TimerKey;

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Ending {
    since: Instant,
    replies: Vec<ReplyId>,
    trackers_unanswered: usize,
    over: bool,
}

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
            over: false,
        });
        if ending.over {
            self.shared.reply(reply, Answer::Done);
            return;
        }
        ending.replies.extend(reply);
        self.shared
            .timers
            .set_no_later(TimerKey::Shutdown, now + budget);
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
        let strays = self.table.streams.ids();
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
            silent += session
                .trackers
                .as_ref()
                .map_or(0, super::session::trackers::Trackers::unanswered);
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
        self.shared.push(Output::Stopped(report));
    }
}
