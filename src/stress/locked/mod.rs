//! The twin.

use crate::config::Config;
use crate::engine::message::{Answer, Message, Refusal};
use crate::time::Instant;

/// Bounds, as configured.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// x
    pub streams_max: usize,
}

impl Bounds {
    /// x
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            streams_max: config.peer.max_links as usize,
        }
    }
}

/// x
#[derive(Debug)]
pub struct Locked {
    #[allow(dead_code)]
    bounds: Bounds,
}

impl Locked {
    /// x
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds }
    }

    /// x
    pub fn apply(&self, _message: &Message, _now: impl FnOnce() -> Instant) -> Answer {
        Answer::Refused(Refusal::UnknownSwarm)
    }
}
