//! The real thing under load: an actor with its engine and the operating system's host, listening nowhere.

use crate::actor::handle::Handle;
use crate::config::{Backpressure, Config};
use crate::metrics::Metrics;
use crate::runtime::{Runtime, StartError};
use crate::time::Duration;

use super::locked::{Locked, Times};
use super::side::{Actor, PATIENCE, Twin};

/// How the queue under load is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Messages in all lanes together.
    pub capacity: u32,
    /// What happens when they are full.
    pub policy: Backpressure,
}

/// Streams that a load may have, so that no bound of the configuration is what is measured.
const STREAMS_MAX: u32 = 1_000_000;

/// What both sides are configured with.
#[must_use]
pub fn config(queue: Queue) -> Config {
    let mut config = Config::default();
    config.peer.listen = Vec::new();
    config.peer.max_links = STREAMS_MAX;
    config.peer.max_links_per_swarm = STREAMS_MAX;
    config.discovery.trackers = false;
    config.discovery.dht = false;
    config.actor.queue_capacity = queue.capacity;
    config.actor.backpressure = queue.policy;
    config.workers.threads = 1;
    config.workers.cache_mib = 16;
    config
}

/// A running actor.
#[derive(Debug)]
pub struct Rig {
    runtime: Runtime,
}

impl Rig {
    /// Starts one; its chance follows from `seed`.
    ///
    /// # Errors
    /// When the system gives us no thread or descriptor.
    pub fn start(queue: Queue, seed: u64) -> Result<Self, StartError> {
        let runtime = Runtime::start(&config(queue), seed)?;
        Ok(Self { runtime })
    }

    /// Around an engine that is busy with something else already.
    #[must_use]
    pub const fn around(runtime: Runtime) -> Self {
        Self { runtime }
    }

    /// The way to it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// As a side of a comparison.
    #[must_use]
    pub fn side(&self) -> Actor {
        Actor(self.runtime.handle().clone())
    }

    /// Ends it; `false` when it did not end in time.
    #[must_use]
    pub fn stop(self) -> bool {
        self.runtime.shutdown(Duration::from_secs(2));
        self.runtime.join(PATIENCE).is_some()
    }
}

/// The twin with the same bounds.
#[must_use]
pub fn twin() -> Twin {
    let config = config(Queue {
        capacity: 1,
        policy: Backpressure::Block,
    });
    Twin::new(Locked::new(Times::of(&config)))
}

/// How much `after` counted that `before` had not.
#[must_use]
pub fn counted(before: &Metrics, after: &Metrics) -> Counted {
    let lanes = std::array::from_fn(|at| {
        let (old, new) = (&before.lanes[at].figures, &after.lanes[at].figures);
        crate::metrics::LaneFigures {
            sent: new.sent - old.sent,
            processed: new.processed - old.processed,
            rejected: new.rejected - old.rejected,
            shed: new.shed - old.shed,
            expired: new.expired - old.expired,
            cancelled: new.cancelled - old.cancelled,
        }
    });
    Counted {
        lanes,
        turns: after.turns.turns - before.turns.turns,
        turns_slow: after.turns.turns_slow - before.turns.turns_slow,
        turns_high_left: after.turns.turns_high_left - before.turns.turns_high_left,
        queue_peak: after.messages.peak_queue_size,
    }
}

/// What the actor counted of a load.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// By lane.
    pub lanes: [crate::metrics::LaneFigures; 4],
    /// Turns of the loop.
    pub turns: u64,
    /// Of those, longer than 50 ms.
    pub turns_slow: u64,
    /// Of those, such as left messages of the high lane to the next.
    pub turns_high_left: u64,
    /// Most messages ever found waiting.
    pub queue_peak: u64,
}
