//! The engine that `get` and `seed` run: the one place where the threads are put together.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use crate::actor::bus::{Filter, NoEvent, Record, Subscription};
use crate::config::Loaded;
use crate::engine::message::{Answer, Message};
use crate::runtime::{self, Runtime};
use crate::time::{Clock, Duration, Instant};

use super::transfer::Engine;

/// How long an answer may take. Longer than the actor's own limit, which a busy moment may reach.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the engine; with `events`, it will be asked for all of them.
///
/// # Errors
/// One line for a person.
pub(super) fn start(loaded: &Loaded, events: bool) -> Result<Box<dyn Engine>, String> {
    let state = &loaded.config.paths.state;
    let runtime = Runtime::start(&loaded.config, draw_seed()).map_err(|fault| fault.to_string())?;
    let filter = if events {
        Filter::ALL
    } else {
        Filter::of(["session.*"]).unwrap_or(Filter::ALL)
    };
    let events = runtime.handle().subscribe(filter);
    let notices = runtime.notices().iter().cloned().collect();
    let metrics = state.join(format!("metrics-{}.json", std::process::id()));
    let clock = runtime.handle().clock();
    Ok(Box::new(Running {
        runtime,
        clock,
        events,
        notices,
        metrics,
    }))
}

/// From the operating system: the standard library keys its hash maps with it.
#[allow(
    clippy::disallowed_types,
    reason = "the one place where chance comes from outside"
)]
fn draw_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

struct Running {
    runtime: Runtime,
    clock: Clock,
    events: Subscription,
    notices: VecDeque<String>,
    metrics: PathBuf,
}

impl Engine for Running {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn ask(&mut self, message: Message) -> Result<Answer, String> {
        self.runtime
            .handle()
            .ask(message, PATIENCE)
            .map_err(|fault| fault.to_string())
    }

    fn next_event(&mut self, timeout: Duration) -> Option<Arc<Record>> {
        match self.events.next_within(timeout) {
            Ok(record) => Some(record),
            Err(NoEvent::Empty) => None,
            // The actor is gone; whoever waits must not spin until it notices.
            Err(NoEvent::Ended) => {
                let _ = crossbeam_channel::never::<()>().recv_timeout(timeout);
                None
            }
        }
    }

    fn next_notice(&mut self) -> Option<String> {
        self.notices.pop_front()
    }

    fn tell_metrics(&mut self) {
        match self.runtime.metrics(PATIENCE) {
            Ok(metrics) => {
                eprint!("{}", metrics.table());
                if let Err(fault) = runtime::write_atomically(&self.metrics, &metrics) {
                    eprintln!("linnet: {}: {fault}", self.metrics.display());
                }
            }
            Err(fault) => eprintln!("linnet: no metrics: {fault}"),
        }
    }

    fn begin_shutdown(&mut self, budget: Duration) {
        self.runtime.shutdown(budget);
    }

    fn ended(&mut self, timeout: Duration) -> Option<Vec<String>> {
        self.runtime.join(timeout).map(|report| report.abandoned)
    }
}
