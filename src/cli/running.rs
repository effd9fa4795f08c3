//! The engine that `get` and `seed` run, as [`transfer`](super::transfer) asks for it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel as channel;

use crate::actor::bus::{Filter, NoEvent, Record, Subscription};
use crate::config::Loaded;
use crate::engine::message::{Answer, Message, ShutdownReport};
use crate::runtime::{self, Runtime};
use crate::time::{Duration, Instant};

use super::blocklist;
use super::source::reason;
use super::transfer::Engine;

/// For one answer of the actor: it answers in microseconds unless the machine is in trouble.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// Starts the engine; with `events`, it will be asked for all of them.
///
/// # Errors
/// One line for a person.
pub(super) fn start(loaded: &Loaded, events: bool) -> Result<Box<dyn Engine>, String> {
    let state = loaded.state()?.to_owned();
    let seed = draw_seed().map_err(|fault| format!("/dev/urandom: {}", reason(&fault)))?;
    let runtime = Runtime::start(&loaded.config, seed).map_err(|fault| fault.to_string())?;
    blocklist::load(&loaded.config, &state, runtime.handle())?;
    let filter = if events {
        Filter::ALL
    } else {
        Filter::of(["session.*", "torrent.metadata"]).expect("these events exist")
    };
    let mut notices: VecDeque<String> = runtime.notices().to_vec().into();
    // Whoever asked for any free port wants to know which; whoever named one knows it.
    if runtime.listening() != loaded.config.peer.listen {
        let listening = runtime.listening().iter().map(ToString::to_string);
        let listening: Vec<_> = listening.collect();
        notices.push_back(format!("listening on {}", listening.join(" and ")));
    }
    Ok(Box::new(Running {
        events: runtime.handle().subscribe(filter),
        notices,
        metrics: state.join(format!("metrics-{}.json", std::process::id())),
        runtime,
    }))
}

/// The chance that everything of a run follows from.
pub(super) fn draw_seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

struct Running {
    runtime: Runtime,
    events: Subscription,
    notices: VecDeque<String>,
    /// Where SIGUSR1 puts the figures.
    metrics: PathBuf,
}

impl Engine for Running {
    fn now(&self) -> Instant {
        self.runtime.handle().clock().now()
    }

    fn ask(&mut self, message: Message) -> Result<Answer, String> {
        (self.runtime.handle())
            .ask(message, ANSWER_TIME_MAX)
            .map_err(|fault| fault.to_string())
    }

    fn next_event(&mut self, timeout: Duration) -> Option<Arc<Record>> {
        match self.events.next_within(timeout) {
            Ok(record) => Some(record),
            Err(NoEvent::Empty) => None,
            Err(NoEvent::Ended) => {
                // The time passes all the same: whoever asks in a loop must not spin.
                let _ = channel::after(timeout).recv();
                None
            }
        }
    }

    fn next_notice(&mut self) -> Option<String> {
        self.notices.pop_front()
    }

    fn metrics(&mut self) -> Result<String, String> {
        let metrics = (self.runtime.metrics(ANSWER_TIME_MAX)).map_err(|fault| fault.to_string())?;
        runtime::write_atomically(&self.metrics, &metrics)
            .map_err(|fault| format!("{}: {}", self.metrics.display(), reason(&fault)))?;
        Ok(metrics.table())
    }

    fn begin_shutdown(&mut self, budget: Duration) {
        self.runtime.shutdown(budget);
    }

    fn ended(&mut self, timeout: Duration) -> Option<Vec<String>> {
        let report = self.runtime.join(timeout)?;
        log::info!("ended: {}", phases(&report));
        Some(report.abandoned)
    }
}

/// "save 3 ms, drain 12 ms, join 0 ms".
pub(super) fn phases(report: &ShutdownReport) -> String {
    let phases = report.phases.iter();
    let texts: Vec<_> = phases
        .map(|(name, length)| format!("{name} {} ms", length.as_millis()))
        .collect();
    texts.join(", ")
}
