//! The conversation with an HTTP tracker: one question, one answer (BEP 3).

use super::step::{AskId, Facts, Move, Outcome, Step, Told};
use super::{ANSWER_BYTES_MAX, FAREWELL_TIMEOUT, GRACE, HTTP_TIMEOUT};
use crate::codec::announce::{AnnounceAnswer, AnnounceError, AnnounceEvent, decode_http, http_url};
use crate::time::Instant;

/// What is remembered of an HTTP tracker.
#[derive(Debug)]
pub(super) struct Http {
    local: bool,
    told: Told,
    /// As the tracker sent it last; sent back to it.
    tracker_id: Option<Vec<u8>>,
    stage: Stage,
}

/// Quiet ── begin ──▶ Ready ── polled ──▶ Waiting ── answer or deadline ──▶ Quiet
#[derive(Debug)]
enum Stage {
    Quiet,
    Ready {
        event: AnnounceEvent,
    },
    Waiting {
        event: AnnounceEvent,
        ask: AskId,
        deadline: Instant,
    },
}

impl Http {
    pub(super) const fn new(local: bool) -> Self {
        Self {
            local,
            told: Told::No,
            tracker_id: None,
            stage: Stage::Quiet,
        }
    }

    /// What is under way is not waited for any more.
    pub(super) fn hang_up(&mut self) {
        self.stage = Stage::Quiet;
    }

    pub(super) fn begin(&mut self, event: AnnounceEvent) {
        self.stage = Stage::Ready {
            event: self.told.event(event),
        };
    }

    pub(super) fn forget(&mut self) {
        self.stage = Stage::Quiet;
        self.told = Told::No;
    }

    pub(super) fn poll(
        &mut self,
        now: Instant,
        tracker: &str,
        facts: &Facts,
        next_ask: &mut dyn FnMut() -> AskId,
    ) -> Option<Move> {
        match self.stage {
            Stage::Ready { event } => {
                let timeout = match event {
                    AnnounceEvent::Stopped => FAREWELL_TIMEOUT,
                    _ => HTTP_TIMEOUT,
                };
                let ask = next_ask();
                self.told.sent(event);
                self.stage = Stage::Waiting {
                    event,
                    ask,
                    deadline: now + timeout + GRACE,
                };
                let announce = facts.announce(event, self.tracker_id.clone());
                Some(Move::Step(Step::Http {
                    ask,
                    url: http_url(tracker, &announce),
                    bytes_max: ANSWER_BYTES_MAX,
                    timeout,
                }))
            }
            Stage::Waiting {
                event, deadline, ..
            } if deadline <= now => {
                let error = "the tracker did not answer in time".to_owned();
                Some(Move::Over(self.failed(event, error, false)))
            }
            Stage::Quiet | Stage::Waiting { .. } => None,
        }
    }

    /// `None` when this was not asked here.
    pub(super) fn on_answer(
        &mut self,
        ask: AskId,
        result: &Result<Vec<u8>, String>,
    ) -> Option<Outcome> {
        let event = match self.stage {
            Stage::Waiting {
                event, ask: own, ..
            } if own == ask => event,
            _ => return None,
        };
        let bytes = match result {
            Ok(bytes) if bytes.len() > ANSWER_BYTES_MAX => {
                let kib = ANSWER_BYTES_MAX / 1024;
                return Some(self.failed(
                    event,
                    format!("the answer is larger than {kib} KiB"),
                    true,
                ));
            }
            Ok(bytes) => bytes,
            Err(error) => return Some(self.failed(event, error.clone(), false)),
        };
        let answer = match decode_http(bytes) {
            Ok(answer) => answer,
            // To a farewell, many trackers answer with nothing at all.
            Err(AnnounceError::Malformed(_)) if event == AnnounceEvent::Stopped => {
                AnnounceAnswer::default()
            }
            Err(AnnounceError::Malformed(what)) => {
                return Some(self.failed(event, what.to_owned(), true));
            }
            Err(AnnounceError::Failure { reason, retry_in }) => {
                let error = match reason.is_empty() {
                    true => "the tracker refuses without a reason".to_owned(),
                    false => format!("the tracker refuses: {reason}"),
                };
                self.over(event, false);
                return Some(Outcome::Failed {
                    error,
                    retry: retry_in,
                    heard: true,
                });
            }
        };
        self.over(event, true);
        if answer.tracker_id.is_some() {
            self.tracker_id.clone_from(&answer.tracker_id);
        }
        Some(Outcome::Answer {
            answer: Box::new(answer),
            event,
            local: self.local,
        })
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Quiet => None,
            Stage::Ready { .. } => Some(Instant::ZERO),
            Stage::Waiting { deadline, .. } => Some(deadline),
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.told != Told::No
    }

    fn failed(&mut self, event: AnnounceEvent, error: String, heard: bool) -> Outcome {
        self.over(event, false);
        Outcome::Failed {
            error,
            retry: None,
            heard,
        }
    }

    fn over(&mut self, event: AnnounceEvent, answered: bool) {
        self.stage = Stage::Quiet;
        self.told.over(event, answered);
    }
}
