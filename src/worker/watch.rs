//! Jobs that take too long, and workers that have too much to do: noticed, counted, told.
//!
//! A system call that hangs cannot be broken off, so nothing is done about it here: its worker is lost until the call comes
//! back, and no more than all workers but one can be lost to one device. Pure: whoever looks says what time it is, and jobs
//! are known by their numbers, so that no worker reads a clock.

use crate::time::{Duration, Instant};

use super::queue::{Queue, Running};

/// How often it is worth to look.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A job that was seen at its worker for longer is overdue.
const OVERDUE: Duration = Duration::from_secs(30);
/// A job that was seen waiting for longer says that the workers have too much to do.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// So do more waiting jobs than these.
const WAITING_MAX: u64 = 1024;
/// How often that is told.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the last looks have seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// For each worker its job, since when, and whether it was told.
    seen: Vec<Option<(u64, Instant, bool)>>,
    /// The job that waits longest, and since when.
    waiting: Option<(u64, Instant)>,
    looked: Option<Instant>,
    warned: Option<Instant>,
}

impl Watch {
    /// Whether the last look is long enough ago.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        is_over(self.looked, LOOK_EVERY, now)
    }

    /// Looks at each worker's job and at the queue; what a person should know.
    pub(super) fn look(
        &mut self,
        now: Instant,
        running: &[Option<Running>],
        queue: &mut Queue,
    ) -> Vec<String> {
        self.looked = Some(now);
        let mut news = Vec::new();
        self.seen.resize(running.len(), None);
        for (worker, (seen, running)) in self.seen.iter_mut().zip(running).enumerate() {
            let Some(running) = running else {
                *seen = None;
                continue;
            };
            match seen {
                Some((number, since, told)) if *number == running.number => {
                    if now.since(*since) > OVERDUE && !std::mem::replace(told, true) {
                        queue.note_overdue(running);
                        let seconds = OVERDUE.as_secs();
                        news.push(format!(
                            "worker-{worker}: {} takes longer than {seconds} s; is the disk in order?",
                            running.describe()
                        ));
                    }
                }
                _ => *seen = Some((running.number, now, false)),
            }
        }
        news.extend(self.look_at_queue(now, queue));
        news
    }

    fn look_at_queue(&mut self, now: Instant, queue: &mut Queue) -> Option<String> {
        let oldest = queue.oldest();
        if self.waiting.map(|(number, _)| number) != oldest {
            self.waiting = oldest.map(|number| (number, now));
        }
        let (_, since) = self.waiting?;
        let (count, wait) = (queue.stats().total().queued, now.since(since));
        let is_much = count > WAITING_MAX || wait > WAIT_MAX;
        if !is_much || !is_over(self.warned, WARN_EVERY, now) {
            return None;
        }
        self.warned = Some(now);
        queue.note_saturated();
        let seconds = wait.as_secs();
        Some(format!(
            "the workers have more to do than they can: {count} jobs wait, the first since {seconds} s"
        ))
    }
}

/// Whether `since` is `span` ago, or never was.
fn is_over(since: Option<Instant>, span: Duration, now: Instant) -> bool {
    since.is_none_or(|since| now.since(since) >= span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::{Job, Work};
    use crate::ids::SessionId;
    use crate::worker::fixture::{Fixture, PLAIN};
    use crate::worker::queue::Next;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn queue_of(jobs: u32) -> Queue {
        let fixture = Fixture::new(std::path::Path::new("/root"), 16_384, &[("a", 1, PLAIN)]);
        let mut queue = Queue::new(2);
        queue.learn(SessionId::new(0, 0), 1);
        for _ in 0..jobs {
            let session = SessionId::new(0, 0);
            queue.push(Work {
                session,
                ..fixture.work(Job::Close)
            });
        }
        queue
    }

    fn take(queue: &mut Queue) -> Running {
        let Next::Run(_, running) = queue.next() else {
            panic!("a job waits");
        };
        running
    }

    #[test]
    fn a_job_of_more_than_half_a_minute_is_told_and_counted_once() {
        let mut queue = queue_of(2);
        let mut watch = Watch::default();
        let mut running = [None, Some(take(&mut queue))];
        let mut news = Vec::new();
        for second in 0..100 {
            let told = watch.look(at(second), &running, &mut queue);
            news.extend(told.into_iter().map(|text| (second, text)));
            if second == 1 {
                let done = running[1].replace(take_after(&mut queue, running[1]));
                assert!(done.is_some());
            }
        }
        assert_eq!(news.len(), 1, "{news:?}");
        assert_eq!(news[0].0, 33, "the second one began after the look at 1 s");
        assert!(
            news[0].1.starts_with("worker-1: close of torrent 0101"),
            "{news:?}"
        );
        assert_eq!(queue.stats().total().overdue, 1);
    }

    fn take_after(queue: &mut Queue, done: Option<Running>) -> Running {
        queue.finish(done.expect("it runs"), false);
        take(queue)
    }

    #[test]
    fn too_much_to_do_is_told_once_a_minute_while_it_lasts() {
        // Jobs at the start, whether one is done each second, the seconds at which it is told.
        #[rustfmt::skip]
        let table: &[(u32, bool, &[u64])] = &[
            (0,    false, &[]),
            (1,    false, &[2, 62, 122]),
            (150,  true,  &[]),
            (1200, true,  &[0, 60, 120]),
        ];
        for &(jobs, moves, want) in table {
            let mut queue = queue_of(jobs);
            let mut watch = Watch::default();
            let mut told = Vec::new();
            for second in 0..150 {
                if !watch.look(at(second), &[None], &mut queue).is_empty() {
                    told.push(second);
                }
                if moves {
                    let running = take(&mut queue);
                    queue.finish(running, false);
                }
            }
            assert_eq!(told, want, "{jobs} {moves}");
            assert_eq!(queue.stats().saturated, want.len() as u64);
        }
    }
}
