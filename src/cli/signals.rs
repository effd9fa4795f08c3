//! Signals as something the main thread asks for between two looks at the engine: no handler of ours runs any code.

use std::collections::VecDeque;
use std::io;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM: end in order; the second time, at once.
    Stop,
    /// SIGUSR1: tell the metrics.
    Metrics,
}

/// Signals that have come and were not yet taken.
pub trait Signals {
    /// The next one; never waits.
    fn next(&mut self) -> Option<Signal>;
}

/// The process's own signals, from the time this is made until it is dropped.
pub(super) struct ProcessSignals {
    pending: iterator::Signals,
    taken: VecDeque<Signal>,
}

impl ProcessSignals {
    /// Takes the signals over from the system's own handling.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            pending: iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1])?,
            taken: VecDeque::new(),
        })
    }
}

impl Signals for ProcessSignals {
    fn next(&mut self) -> Option<Signal> {
        if self.taken.is_empty() {
            let pending = self.pending.pending().map(|signal| match signal {
                SIGUSR1 => Signal::Metrics,
                _ => Signal::Stop,
            });
            self.taken.extend(pending);
        }
        self.taken.pop_front()
    }
}
