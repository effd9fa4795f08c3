//! The fixed pool of threads.
//!
//! A job waits in [`Queue`], runs at one worker, and comes back as a [`Completion`]. Room for it is counted from
//! [`Pool::submit`] to [`Pool::finished`], so a worker never waits to deliver and the actor never waits at all. The lock is
//! held for moving a job in or out, never during one.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one place where workers are made, and the queue they share"
)]

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, after, bounded, select};

use crate::engine::message::{Done, Job, Outcome, Work};
use crate::ids::SessionId;
use crate::time::{Clock, Duration, Instant};

use super::devices::Load;
use super::disk::{self, Scratch};
use super::handles::{DiskFiles, Handle, HandleKey};
use super::mail::{Inbox, Outbox, Waker, mail};
use super::queue::{Device, JOBS_MAX, Next, Queue, Running, Stats};
use super::watch::{LOOK_EVERY, Watch};

/// Room for finished jobs that nobody has taken yet.
const COMPLETIONS_MAX: usize = JOBS_MAX;

const _: () = assert!(COMPLETIONS_MAX >= JOBS_MAX, "a worker must never wait");

/// How often [`Pool::watch`] wants to be called while jobs are out.
pub const WATCH_PERIOD: Duration = LOOK_EVERY;

/// How much nicer than the actor and the gateway a worker is, so that a recheck delays no answer.
const NICENESS: i32 = 5;

/// A finished job.
#[derive(Debug)]
pub struct Completion {
    /// How it went.
    pub done: Done,
    /// Handles of files that a read or a write has used, for [`read_now`](super::read_now); at most
    /// [`OFFERED_MAX`](super::OFFERED_MAX). Valid until the session's files are closed or prepared anew.
    pub opened: Vec<(HandleKey, Handle)>,
}

/// Tells the job at a worker that nobody wants it any more.
type Stop = Arc<AtomicBool>;

/// Does one job; a worker owns one.
type Runner = Box<dyn FnMut(Work) -> Completion + Send>;

/// The pool. Dropping it lets the workers end without waiting for them; [`Pool::stop`] waits.
pub struct Pool {
    shared: Arc<Shared>,
    inbox: Inbox<Completion>,
    /// Jobs that were submitted and not yet handed back.
    outstanding: usize,
    /// Each worker's place, when it ends.
    ended: Receiver<usize>,
    watch: Watch,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    queue: Queue,
    running: Vec<Option<Running>>,
    /// One for each worker; cleared when it takes a job.
    stops: Vec<Stop>,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of a worker ends the process, so nobody meets a state that one left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Starts `threads` workers, 0 being one more than there are cores. `waker` is called once a burst of finished jobs.
    ///
    /// # Errors
    /// When the system gives us no threads.
    pub fn start(threads: u32, waker: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from) + 1,
            _ => threads as usize,
        };
        let files = DiskFiles::new();
        let make = |stop| runner(files.clone(), stop);
        Self::start_with(threads, make, device_of, Arc::new(waker))
    }

    fn start_with(
        threads: usize,
        make: impl Fn(Stop) -> Runner,
        device_of: fn(&Path) -> Device,
        waker: Waker,
    ) -> io::Result<Self> {
        let (outbox, inbox) = mail(COMPLETIONS_MAX, waker);
        let clock = Clock::start();
        let (end, ended) = bounded(threads);
        let stops: Vec<Stop> = (0..threads).map(|_| Stop::default()).collect();
        let runners: Vec<Runner> = stops.iter().map(|stop| make(Arc::clone(stop))).collect();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(threads),
                running: vec![None; threads],
                stops,
                stopping: false,
            }),
            work: Condvar::new(),
        });
        // Made first, so that its drop ends the threads that there are when one cannot be made.
        let pool = Self {
            shared: Arc::clone(&shared),
            inbox,
            outstanding: 0,
            ended,
            watch: Watch::default(),
        };
        for (place, runner) in runners.into_iter().enumerate() {
            let worker = Worker {
                place,
                shared: Arc::clone(&shared),
                outbox: outbox.clone(),
                device_of,
                clock,
                _end: End {
                    place,
                    sender: end.clone(),
                },
            };
            thread::Builder::new()
                .name(format!("worker-{place}"))
                .spawn(move || worker.run(runner))?;
        }
        Ok(pool)
    }

    /// Gives a job to the workers. Never blocks on a job or a disk.
    ///
    /// # Errors
    /// Gives the job back when [`JOBS_MAX`] are out already.
    pub fn submit(&mut self, work: Work) -> Result<(), Work> {
        if self.outstanding >= JOBS_MAX {
            return Err(work);
        }
        self.outstanding += 1;
        self.shared.lock().queue.push(work);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Takes back what waits of a session and only looks or reads, and tells what runs of that kind to break off.
    pub fn cancel(&mut self, session: SessionId) -> Vec<Work> {
        let mut state = self.shared.lock();
        let gone = state.queue.cancel_session(session);
        self.outstanding -= gone.len();
        for (running, stop) in state.running.iter().zip(&state.stops) {
            if running.is_some_and(|running| running.session == session) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        gone
    }

    /// The next finished job. After a `None` the next one that finishes wakes.
    pub fn finished(&mut self) -> Option<Completion> {
        let completion = self.inbox.take()?;
        self.outstanding -= 1;
        Some(completion)
    }

    /// Looks, at most once in [`WATCH_PERIOD`], whether jobs take too long or too many wait, and says so in the log. Returns
    /// whether there is anything to look at.
    pub fn watch(&mut self, now: Instant) -> bool {
        if self.outstanding == 0 {
            return false;
        }
        if self.watch.is_due(now) {
            let state = &mut *self.shared.lock();
            for text in self.watch.look(now, &state.running, &mut state.queue) {
                log::warn!("{text}");
            }
        }
        true
    }

    /// How many jobs of each kind there were and are.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().queue.stats().clone()
    }

    /// How many workers there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.lock().running.len()
    }

    /// Drops what waits, and waits at most `budget` for what runs. Returns what was abandoned, named for a person.
    ///
    /// A worker that hangs keeps its thread; it touches nothing but its own job.
    #[must_use]
    pub fn stop(self, budget: Duration) -> Vec<String> {
        let timeout = after(budget);
        let (workers, dropped) = {
            let mut state = self.shared.lock();
            state.stopping = true;
            (state.running.len(), state.queue.cancel())
        };
        self.shared.work.notify_all();
        let mut left: Vec<usize> = (0..workers).collect();
        while !left.is_empty() {
            select! {
                recv(self.ended) -> place => left.retain(|&worker| Ok(worker) != place),
                recv(timeout) -> _ => break,
            }
        }
        let state = self.shared.lock();
        let mut abandoned: Vec<String> = left
            .into_iter()
            .map(|place| match &state.running[place] {
                Some(running) => format!("worker-{place}: {}", running.describe()),
                None => format!("worker-{place}"),
            })
            .collect();
        if dropped > 0 {
            abandoned.push(format!("{dropped} jobs that no worker had begun"));
        }
        abandoned
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.work.notify_all();
    }
}

/// Tells that a worker has ended, however it did.
struct End {
    place: usize,
    sender: Sender<usize>,
}

impl Drop for End {
    fn drop(&mut self) {
        // There is room for one from each; when the pool is gone nobody asks.
        let _ = self.sender.try_send(self.place);
    }
}

/// One thread's part.
struct Worker {
    place: usize,
    shared: Arc<Shared>,
    outbox: Outbox<Completion>,
    device_of: fn(&Path) -> Device,
    /// For the time a job takes.
    clock: Clock,
    _end: End,
}

impl Worker {
    fn run(self, mut runner: Runner) {
        // Where the system refuses, workers are as eager as everybody.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        while let Some((work, running)) = self.next() {
            let (id, what) = (work.id, running.describe());
            let (load, began) = (Load::of(&work), self.clock.now());
            let completion = catch_unwind(AssertUnwindSafe(|| runner(work)));
            let Ok(completion) = completion else {
                // Its blocks are lost and its file may be half written: nothing that follows could be trusted.
                log::error!(
                    "job {id}, {what}: a worker panicked, which is a bug; stopping at once"
                );
                process::abort();
            };
            let outcome = &completion.done.outcome;
            let failed = disk::has_fault(outcome);
            {
                let took = self.clock.now().since(began);
                let mut state = self.shared.lock();
                if matches!(outcome, Outcome::Cancelled(_)) {
                    state.queue.finish_cancelled(running);
                } else {
                    state.queue.note(&running, load, failed, took);
                    state.queue.finish(running, failed);
                }
                state.running[self.place] = None;
            }
            self.outbox.send(completion);
        }
    }

    /// Waits for a job; `None` at the end.
    fn next(&self) -> Option<(Work, Running)> {
        let mut state = self.shared.lock();
        loop {
            if state.stopping {
                return None;
            }
            match state.queue.next() {
                Next::Run(work, running) => {
                    state.running[self.place] = Some(running);
                    state.stops[self.place].store(false, Ordering::Relaxed);
                    // A place on a device may have become free while others slept for want of it.
                    if !state.queue.is_empty() {
                        self.shared.work.notify_one();
                    }
                    return Some((work, running));
                }
                Next::Learn(session, root) => {
                    drop(state);
                    let device = (self.device_of)(&root);
                    state = self.shared.lock();
                    state.queue.learn(session, device);
                }
                Next::Wait => {
                    let wait = self.shared.work.wait(state);
                    state = wait.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// A worker's own: its view of the disk and its scratch.
fn runner(mut files: DiskFiles, stop: Stop) -> Runner {
    let mut scratch = Scratch::with(stop);
    Box::new(move |work| {
        // A recheck passes over every file once; its handles would push out those that are read from.
        let offer = matches!(
            work.job,
            Job::Read(_) | Job::Commit { .. } | Job::Write { .. }
        );
        files.begin(offer);
        let done = disk::run(&mut files, &mut scratch, work);
        Completion {
            done,
            opened: files.take_offered(),
        }
    })
}

/// The device that `root` lies on, by the table of mounts: asking the file system itself could hang with its disk. All roots
/// that cannot be told apart count as one.
fn device_of(root: &Path) -> Device {
    fs::read("/proc/self/mountinfo").map_or(0, |table| device_in(&table, root))
}

/// Shape of a line: `<id> <parent> <major>:<minor> <root> <mount point> ...`, a space in a name being `\040` (proc(5)).
fn device_in(table: &[u8], root: &Path) -> Device {
    table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|&byte| byte == b' ');
            let device = str::from_utf8(fields.nth(2)?).ok()?;
            let point = unescape(fields.nth(1)?);
            let (major, minor) = device.split_once(':')?;
            let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
            let point = Path::new(std::ffi::OsStr::from_bytes(&point)).to_owned();
            let device = u64::from(major) << 32 | u64::from(minor);
            root.starts_with(&point)
                .then(|| (point.as_os_str().len(), device))
        })
        // The longest wins; of two on one point the later is on top.
        .max_by_key(|&(length, _)| length)
        .map_or(0, |(_, device)| device)
}

/// Undoes `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        match behind {
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                behind @ ..,
            ] if *first == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind;
            }
            _ => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests;
