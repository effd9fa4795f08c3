//! The threads put together: what an embedding program and the command line start, talk to, and end.
//!
//! ```no_run
//! use linnet::{config::Config, runtime::Runtime, time::Duration};
//!
//! let runtime = Runtime::start(&Config::default(), 7)?;
//! // ... runtime.handle() tells, asks and subscribes, from any thread ...
//! runtime.shutdown(Duration::from_secs(2));
//! let report = runtime.join(Duration::from_secs(3));
//! # let _ = report;
//! # Ok::<(), linnet::runtime::StartError>(())
//! ```
//!
//! Threads: `actor`, `worker-N`, `store`, `gateway`, and whoever calls; nothing else, however many torrents there are.

#![allow(
    clippy::disallowed_methods,
    reason = "the edge: threads are started here, and the process's own figures are read"
)]

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::actor::handle::Handle;
use crate::actor::mailbox;
use crate::actor::reply::AskError;
use crate::actor::{Core, Loop};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::message::{Message, ShutdownReport};
use crate::engine::settings::Settings;
use crate::gateway::Serve;
use crate::gateway::server::{Options, Server};
use crate::hash;
use crate::host::OsHost;
use crate::metrics::{Metrics, ProcessFigures};
use crate::rng::Rng;
use crate::time::{Clock, Duration, Instant};
use crate::worker::Owner;

/// What joining the threads gets at least, when the engine has used up the budget: they have nothing to do by then.
const JOIN_MIN: Duration = Duration::from_millis(20);

/// Why nothing was started.
#[derive(Debug)]
pub struct StartError(io::Error);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start: {}", self.0)
    }
}

impl std::error::Error for StartError {}

/// A running engine. Dropped, it is told to end, and nobody waits for it.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    notices: Vec<String>,
    listening: Vec<SocketAddr>,
    server: Serve,
    /// By when all threads shall be joined, in microseconds of the clock.
    deadline: Arc<AtomicU64>,
    ended: Receiver<ShutdownReport>,
    actor: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Listens, starts all threads, and an engine whose chance follows from `seed`. `config.paths.state` is a real path by now.
    ///
    /// # Errors
    /// No address to listen on works, or the system gives us no thread or descriptor.
    pub fn start(config: &Config, seed: u64) -> Result<Self, StartError> {
        Self::start_with(config, engine(config, seed))
    }

    /// The same for a daemon: it has `linnet.db` in `paths.state` for itself.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_daemon(config: &Config, seed: u64) -> Result<Self, StartError> {
        Self::start_for(config, Owner::Daemon, engine(config, seed))
    }

    /// The same around another core; `make` is told how many workers there are.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with<C: Core + Send + 'static>(
        config: &Config,
        make: impl FnOnce(usize) -> C,
    ) -> Result<Self, StartError> {
        Self::start_for(config, Owner::Shared, make)
    }

    fn start_for<C: Core + Send + 'static>(
        config: &Config,
        owner: Owner,
        make: impl FnOnce(usize) -> C,
    ) -> Result<Self, StartError> {
        let clock = Clock::start();
        let mut notices = Vec::new();
        let host = OsHost::new(
            clock,
            &config.peer.listen,
            config.workers.threads,
            config.paths.state.clone(),
            owner,
            &mut notices,
        )
        .map_err(StartError)?;
        let listening = host.addresses();
        let options = mailbox::Options {
            capacity: config.actor.queue_capacity as usize,
            policy: config.actor.backpressure,
            patience: Duration::from_millis(config.actor.sync_timeout_ms),
            clock,
            stamped: true,
        };
        let core = make(host.threads());
        let doorbell = host.doorbell();
        let server = host.server();
        let (turns, handle) = Loop::new(host, core, listening.clone(), options, doorbell);
        let deadline = Arc::new(AtomicU64::new(u64::MAX));
        let (end, ended) = bounded(1);
        let actor = {
            let deadline = Arc::clone(&deadline);
            let budget = Duration::from_millis(config.shutdown.budget_ms);
            thread::Builder::new()
                .name("actor".to_owned())
                .spawn(move || {
                    let (mut report, host) = turns.run();
                    join_threads(&mut report, host, &deadline, budget, clock);
                    // Nobody may wait for it any more.
                    let _ = end.try_send(report);
                })
                .map_err(StartError)?
        };
        Ok(Self {
            handle,
            notices,
            listening,
            server,
            deadline,
            ended,
            actor: Some(actor),
        })
    }

    /// The way to the actor.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What a person should know of the start: ports that were busy, addresses that do not work.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Where it listens, with the real ports.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// Serves HTTP on the gateway's thread from now on, until the end.
    ///
    /// # Errors
    /// The gateway has ended, or already serves.
    pub fn serve(&self, server: Server) -> Result<(), String> {
        self.server.serve(self.handle.clone(), server)
    }

    /// What the front door does differently from now on.
    ///
    /// # Errors
    /// The gateway has ended, or is too busy.
    pub fn reload(&self, options: Options) -> Result<(), String> {
        self.server.reload(options)
    }

    /// The way to the gateway's thread, for what else runs there.
    #[must_use]
    pub const fn gateway(&self) -> &Serve {
        &self.server
    }

    /// Begins to end, within `budget` for all of it; returns at once. Said again with less, less holds.
    pub fn shutdown(&self, budget: Duration) {
        let deadline = (self.handle.clock().now() + budget).as_micros();
        self.deadline.fetch_min(deadline, Ordering::SeqCst);
        // Refused only when it has already ended.
        let _ = self.handle.tell(Message::Shutdown { budget });
    }

    /// Waits at most `timeout` for the end; `None` when it has not come yet.
    #[must_use]
    pub fn join(&self, timeout: Duration) -> Option<ShutdownReport> {
        match self.ended.recv_timeout(timeout) {
            Ok(report) => Some(report),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(self.broken()),
        }
    }

    /// All figures, those of the process among them.
    ///
    /// # Errors
    /// As [`Handle::ask`].
    pub fn metrics(&self, timeout: Duration) -> Result<Box<Metrics>, AskError> {
        let mut metrics = self.handle.metrics(timeout)?;
        metrics.process = process_figures();
        metrics.messages.memory_usage_bytes = metrics.process.resident_bytes;
        Ok(metrics)
    }

    /// The actor's thread is gone and left no report: it has told before, or it panicked.
    fn broken(&self) -> ShutdownReport {
        let panicked = self.actor.as_ref().is_some_and(JoinHandle::is_finished);
        log::error!("the actor left no report (thread over: {panicked})");
        ShutdownReport {
            abandoned: vec!["actor: ended without a report".to_owned()],
            ..ShutdownReport::default()
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.handle.tell(Message::Shutdown {
            budget: Duration::ZERO,
        });
    }
}

/// What makes an engine, told how many workers there are.
fn engine(config: &Config, seed: u64) -> impl FnOnce(usize) -> Engine {
    move |workers| {
        let mut rng = Rng::new(seed);
        let mut settings = Settings::new(config, hash::lanes(), workers, &mut rng);
        settings.outside = true;
        Engine::new(settings, rng)
    }
}

/// The last phase: workers, store and gateway end within what is left of the budget.
fn join_threads(
    report: &mut ShutdownReport,
    host: OsHost,
    deadline: &AtomicU64,
    budget: Duration,
    clock: Clock,
) {
    let began = clock.now();
    let left = match deadline.load(Ordering::SeqCst) {
        u64::MAX => {
            let spent: Duration = report.phases.iter().map(|(_, length)| *length).sum();
            budget.saturating_sub(spent)
        }
        micros => Instant::from_micros(micros).since(began),
    };
    let abandoned = host.stop(left.max(JOIN_MIN));
    report.abandoned.extend(abandoned);
    report.phases.push(("join", clock.now().since(began)));
}

/// Puts `metrics` as JSON into `path`: whoever reads it sees the old or the new, whole.
///
/// # Errors
/// What the file system says; the file is then as it was.
pub fn write_atomically(path: &Path, metrics: &Metrics) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(metrics).map_err(io::Error::other)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = directory.join(temporary);
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(&json).and_then(|()| file.write_all(b"\n")))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Nothing of a failed attempt stays behind; its own failure adds nothing.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// What the operating system says of this process; what it does not say is 0.
#[must_use]
pub fn process_figures() -> ProcessFigures {
    /// `USER_HZ`: 100 on every architecture Linux is built for.
    const TICK_MS: u64 = 10;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; the fields behind it are numbers, the state being the third.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or(0)
    };
    ProcessFigures {
        cpu_user_ms: ticks(11) * TICK_MS,
        cpu_system_ms: ticks(12) * TICK_MS,
        resident_bytes: line("VmRSS:") * 1024,
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        threads: line("Threads:"),
    }
}

#[cfg(test)]
mod tests;
