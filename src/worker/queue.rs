//! Which job is next: round robin between sessions, and never all workers on one device.
//!
//! Pure: the lock around it and the threads are in `pool.rs`.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::message::{Job, Work};
use crate::ids::{InfoHash, SessionId};
use crate::metrics::{HostFigures, JobsAtWork};
use crate::time::Duration;

use super::devices::{Devices, Load};

/// Jobs that are given out and not yet taken back: waiting, running or finished. Beyond it [`Pool::submit`](super::Pool::submit)
/// gives the job back; the engine bounds what it asks for by its blocks and sessions, so that is a bug or a huge cache.
pub const JOBS_MAX: usize = 4096;

/// Sessions whose device is remembered; beyond it all are learned again.
const DEVICES_MAX: usize = 4096;

/// A name for a device: jobs on one device may hang together.
pub(super) type Device = u64;

/// Jobs of one kind: `submitted = completed + failed + cancelled + queued + running`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken on, ever.
    pub submitted: u64,
    /// Done without a fault.
    pub completed: u64,
    /// Done, with a fault in the outcome.
    pub failed: u64,
    /// Dropped at the end, or because its session goes.
    pub cancelled: u64,
    /// Waiting now.
    pub queued: u64,
    /// At a worker now.
    pub running: u64,
    /// Were at a worker for longer than half a minute, ever; each is counted among the others too.
    pub overdue: u64,
}

/// How the pool stands, by kind of job, in the order of [`Job::KINDS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// One for each of [`Job::KINDS`].
    pub kinds: [Counts; Job::KINDS.len()],
    devices: Devices,
    /// How often a person was warned that the workers have too much to do.
    pub saturated: u64,
}

impl Stats {
    /// For the metrics.
    #[must_use]
    pub fn figures(&self) -> HostFigures {
        let jobs = Job::KINDS.into_iter().zip(self.kinds);
        HostFigures {
            jobs: jobs
                .map(|(kind, counts)| JobsAtWork {
                    kind,
                    running: counts.running,
                })
                .collect(),
            devices: self.devices.metrics(),
        }
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.kinds
            .iter()
            .fold(Counts::default(), |sum, kind| Counts {
                submitted: sum.submitted + kind.submitted,
                completed: sum.completed + kind.completed,
                failed: sum.failed + kind.failed,
                cancelled: sum.cancelled + kind.cancelled,
                queued: sum.queued + kind.queued,
                running: sum.running + kind.running,
                overdue: sum.overdue + kind.overdue,
            })
    }
}

/// What runs at a worker; handed back to [`Queue::finish`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// No other job has it.
    pub(super) number: u64,
    kind: usize,
    device: Device,
    pub(super) session: SessionId,
    info_hash: InfoHash,
}

impl Running {
    /// For a person.
    pub(super) fn describe(&self) -> String {
        format!("{} of torrent {}", Job::KINDS[self.kind], self.info_hash)
    }
}

/// What a free worker is to do.
#[derive(Debug)]
pub(super) enum Next {
    /// This job; [`Queue::finish`] ends it.
    Run(Work, Running),
    /// Find out on which device the session lies and tell [`Queue::learn`]; then ask again.
    Learn(SessionId, std::path::PathBuf),
    /// Nothing for now.
    Wait,
}

/// A job, with its place among all that ever came.
type Numbered = (u64, Work);

/// The waiting jobs, and what runs.
#[derive(Debug)]
pub(super) struct Queue {
    /// Sessions with waiting jobs, the next one first; each once.
    turns: VecDeque<SessionId>,
    /// What waits of each of them, never empty.
    waiting: BTreeMap<SessionId, VecDeque<Numbered>>,
    /// Of the next job.
    number: u64,
    devices: BTreeMap<SessionId, Device>,
    /// Running jobs on each device, never 0.
    busy: BTreeMap<Device, usize>,
    /// How many may run on one device.
    per_device: usize,
    stats: Stats,
}

impl Queue {
    /// For so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            turns: VecDeque::new(),
            waiting: BTreeMap::new(),
            number: 0,
            devices: BTreeMap::new(),
            busy: BTreeMap::new(),
            per_device: workers.saturating_sub(1).max(1),
            stats: Stats::default(),
        }
    }

    pub(super) fn push(&mut self, work: Work) {
        let counts = &mut self.stats.kinds[work.job.index()];
        counts.submitted += 1;
        counts.queued += 1;
        let session = work.session;
        let jobs = self.waiting.entry(session).or_default();
        if jobs.is_empty() {
            self.turns.push_back(session);
        }
        jobs.push_back((self.number, work));
        self.number += 1;
    }

    /// The next job whose device has room. Its session goes behind all others.
    pub(super) fn next(&mut self) -> Next {
        for turn in 0..self.turns.len() {
            let session = self.turns[turn];
            let Some(&device) = self.devices.get(&session) else {
                let root = self.waiting[&session][0].1.storage.layout.root.clone();
                return Next::Learn(session, root);
            };
            if self.busy.get(&device).copied().unwrap_or(0) >= self.per_device {
                continue;
            }
            self.turns.remove(turn);
            let jobs = self.waiting.get_mut(&session).expect("it has its turn");
            let (number, work) = jobs.pop_front().expect("never empty");
            if jobs.is_empty() {
                self.waiting.remove(&session);
            } else {
                self.turns.push_back(session);
            }
            *self.busy.entry(device).or_default() += 1;
            let kind = work.job.index();
            self.stats.kinds[kind].queued -= 1;
            self.stats.kinds[kind].running += 1;
            let running = Running {
                number,
                kind,
                device,
                session,
                info_hash: work.storage.info_hash,
            };
            return Next::Run(work, running);
        }
        Next::Wait
    }

    /// On which device a session lies. Found out without touching it, by the table of mounts.
    pub(super) fn learn(&mut self, session: SessionId, device: Device) {
        if self.devices.len() >= DEVICES_MAX {
            self.devices.clear();
        }
        self.devices.insert(session, device);
    }

    /// What a finished job did on its device.
    pub(super) fn note(&mut self, running: &Running, load: Load, failed: bool, took: Duration) {
        self.stats.devices.note(running.device, load, failed, took);
    }

    /// A job is over.
    pub(super) fn finish(&mut self, running: Running, failed: bool) {
        let busy = self.busy.get_mut(&running.device).expect("it ran there");
        *busy -= 1;
        if *busy == 0 {
            self.busy.remove(&running.device);
        }
        if matches!(Job::KINDS[running.kind], "close" | "delete" | "survey")
            && !self.waiting.contains_key(&running.session)
        {
            self.devices.remove(&running.session);
        }
        let counts = &mut self.stats.kinds[running.kind];
        counts.running -= 1;
        if failed {
            counts.failed += 1;
        } else {
            counts.completed += 1;
        }
    }

    /// A job was broken off.
    pub(super) fn finish_cancelled(&mut self, running: Running) {
        let kind = running.kind;
        self.finish(running, false);
        self.stats.kinds[kind].completed -= 1;
        self.stats.kinds[kind].cancelled += 1;
    }

    /// Takes back what waits of a session and can be cancelled.
    pub(super) fn cancel_session(&mut self, session: SessionId) -> Vec<Work> {
        let Some(jobs) = self.waiting.remove(&session) else {
            return Vec::new();
        };
        let is_cancellable = |(_, work): &Numbered| work.job.is_cancellable();
        let (gone, kept): (Vec<_>, Vec<_>) = jobs.into_iter().partition(is_cancellable);
        for (_, work) in &gone {
            let counts = &mut self.stats.kinds[work.job.index()];
            counts.queued -= 1;
            counts.cancelled += 1;
        }
        if kept.is_empty() {
            self.turns.retain(|turn| *turn != session);
        } else {
            self.waiting.insert(session, kept.into());
        }
        gone.into_iter().map(|(_, work)| work).collect()
    }

    /// The number of the job that has waited longest.
    pub(super) fn oldest(&self) -> Option<u64> {
        let first = |jobs: &VecDeque<Numbered>| jobs.front().map(|(number, _)| *number);
        self.waiting.values().filter_map(first).min()
    }

    /// A job takes too long.
    pub(super) fn note_overdue(&mut self, running: &Running) {
        self.stats.kinds[running.kind].overdue += 1;
    }

    /// There is too much to do.
    pub(super) fn note_saturated(&mut self) {
        self.stats.saturated += 1;
    }

    /// Drops what waits.
    pub(super) fn cancel(&mut self) -> usize {
        let waiting = std::mem::take(&mut self.waiting);
        self.turns.clear();
        let mut dropped = 0;
        for (_, work) in waiting.into_values().flatten() {
            let counts = &mut self.stats.kinds[work.job.index()];
            counts.queued -= 1;
            counts.cancelled += 1;
            dropped += 1;
        }
        dropped
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }
}

#[cfg(test)]
mod tests;
