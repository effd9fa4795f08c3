//! Looks at directories that are no torrent's, for callers: done by the workers, so that a disk that is gone holds up nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::geometry::Geometry;
use crate::codec::layout::Layout;
use crate::ids::{InfoHash, JobId, ReplyId, SessionId};

use super::Engine;
use super::message::{Answer, Done, Job, Outcome, Refusal, Storage, Survey};

/// Looks that are out at a time; further ones are refused, since some disk does not answer.
const SURVEYS_MAX: usize = 16;

/// What the workers were asked, until they answer.
#[derive(Debug, Default)]
pub(super) struct Surveys {
    waiting: BTreeMap<JobId, Option<ReplyId>>,
    /// Each has a name of its own, so that one on a hung disk does not stand in front of the others.
    last: u32,
}

impl Engine {
    pub(super) fn survey(&mut self, survey: Survey, reply: Option<ReplyId>) {
        let geometry = Geometry::new(0, 1);
        let Some(geometry) = geometry.filter(|_| self.surveys.waiting.len() < SURVEYS_MAX) else {
            return self.shared.reply(reply, Answer::Refused(Refusal::Full));
        };
        let layout = Layout {
            root: survey.path.clone(),
            files: Vec::new(),
            geometry,
        };
        let storage = Arc::new(Storage {
            info_hash: InfoHash([0; 20]),
            layout,
            piece_hashes: Arc::default(),
        });
        self.surveys.last = self.surveys.last.wrapping_add(1);
        let name = SessionId::new(u32::MAX, self.surveys.last);
        let id = self.shared.work(name, &storage, Job::Survey(survey));
        self.surveys.waiting.insert(id, reply);
    }

    /// A job is over. Gives back what was not for a caller.
    pub(super) fn on_survey_done(&mut self, done: Done) -> Option<Done> {
        if !matches!(&done.outcome, Outcome::Surveyed(_)) {
            return Some(done);
        }
        let reply = self.surveys.waiting.remove(&done.id).flatten();
        if let Outcome::Surveyed(found) = done.outcome {
            self.shared.reply(reply, Answer::Surveyed(Box::new(found)));
        }
        None
    }
}
