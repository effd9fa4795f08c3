//! Jobs: given out, ended, and where those stand that are neither.

use super::Figures;
use super::kinds::{End, JobKind, KINDS};
use super::logs::SLOW;
use crate::engine::message::{Fetch, FetchOutcome, Job, Outcome, StoreOutcome};
use crate::ids::JobId;
use crate::metrics::{HostFigures, JobMetrics};
use crate::time::Instant;

impl Figures {
    pub(in super::super) fn note_work(&mut self, job: &Job) {
        self.jobs[JobKind::of(job).index()].submitted += 1;
    }

    pub(in super::super) fn note_store(&mut self) {
        self.jobs[JobKind::STORE.index()].submitted += 1;
    }

    pub(in super::super) fn note_fetch(&mut self, fetch: &Fetch, now: Instant) {
        self.jobs[JobKind::of_fetch(&fetch.task).index()].submitted += 1;
        self.trackers.on_fetch(fetch, now);
    }

    pub(in super::super) fn note_done(&mut self, outcome: &Outcome) {
        self.note_end(JobKind::of_outcome(outcome));
    }

    pub(in super::super) fn note_stored(&mut self, outcome: &StoreOutcome) {
        self.note_end(JobKind::of_stored(outcome));
    }

    pub(in super::super) fn note_fetched(
        &mut self,
        id: JobId,
        outcome: &FetchOutcome,
        now: Instant,
    ) {
        self.trackers.on_fetched(id, now);
        self.note_end(JobKind::of_fetched(outcome));
    }

    fn note_end(&mut self, (kind, end): (JobKind, End)) {
        self.ended = kind;
        let figures = &mut self.jobs[kind.index()];
        match end {
            End::Completed => figures.completed += 1,
            End::Cancelled => figures.cancelled += 1,
            End::Failed => {
                figures.failed += 1;
                self.logs.failed(kind.name(), &format_args!("fault"));
            }
        }
    }

    /// The engine is done with the end of one job. A job costs far more than this reading of the clock.
    pub(in super::super) fn end_job(&mut self, now: Instant) {
        let took = now.since(self.stepped);
        self.stepped = now;
        if took > SLOW {
            self.slow_part = true;
            self.logs.slow(self.ended.name(), took, now);
        }
    }

    /// One row for each kind.
    pub(super) fn job_rows(&self, host: &HostFigures) -> Vec<JobMetrics> {
        (KINDS.into_iter().zip(self.jobs))
            .map(|(kind, mut figures)| {
                let left =
                    figures.submitted - figures.completed - figures.failed - figures.cancelled;
                let at_work = host.jobs.iter().find(|jobs| jobs.kind == kind);
                // What a worker has finished, or dropped, and the loop has not yet taken is neither running nor over: it waits.
                figures.running = at_work.map_or(left, |jobs| jobs.running.min(left));
                figures.queued = left - figures.running;
                JobMetrics { kind, figures }
            })
            .collect()
    }
}
