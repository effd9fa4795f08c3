//! Our record of one remote address, shared by all swarms.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::engine::settings::Settings;
use crate::ids::{StreamId, SwarmId};
use crate::time::{Duration, Instant};

/// First pause of a pinned link: the person who named it waits for it, and may just have started the other side.
pub const PINNED_RETRY_FIRST: Duration = Duration::from_secs(2);
/// A pinned link is tried at least so often, whatever its failures.
const PINNED_RETRY_MAX: Duration = Duration::from_secs(60);
/// A link that worked and lived no longer than this, twice in a row, is unstable (requirement D22).
pub const SHORT_LIFE: Duration = Duration::from_secs(120);

/// Where a link stands; the picture is in the table's doc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// May be dialled, but not before this.
    Disconnected {
        /// When.
        not_before: Instant,
    },
    /// A stream is being opened.
    Connecting,
    /// At least one stream has a handshake.
    Established,
    /// Left alone.
    Ignored {
        /// Until when.
        until: Instant,
        /// Why.
        why: IgnoreReason,
    },
}

/// Why an address is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreReason {
    /// Too many failed attempts in a row.
    Failures,
    /// It connects and goes away again at once.
    Unstable,
    /// It broke the protocol.
    Misbehaved,
    /// It sent bad data, proven.
    BadData,
    /// It is ourselves.
    Ourselves,
}

impl IgnoreReason {
    /// For a person.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Unstable => "unstable",
            Self::Misbehaved => "misbehaved",
            Self::BadData => "bad data",
            Self::Ourselves => "ourselves",
        }
    }
}

impl LinkState {
    /// As the contract spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disconnected { .. } => "disconnected",
            Self::Connecting => "connecting",
            Self::Established => "established",
            Self::Ignored { .. } => "ignored",
        }
    }

    /// Place in a count by state.
    #[must_use]
    pub const fn ordinal(self) -> usize {
        match self {
            Self::Disconnected { .. } => 0,
            Self::Connecting => 1,
            Self::Established => 2,
            Self::Ignored { .. } => 3,
        }
    }
}

/// One remote address.
#[derive(Debug)]
pub struct Link {
    /// Which.
    pub address: SocketAddr,
    /// Where it stands.
    pub state: LinkState,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// Whether somebody said that it listens there; an address that only dialled us does not.
    pub dialable: bool,
    /// Whether it spent its attempts once: then each cycle is one attempt.
    spent: bool,
    /// Lives shorter than [`SHORT_LIFE`] in a row.
    short_lives: u32,
    /// The swarms it is a candidate of.
    pub swarms: BTreeSet<SwarmId>,
    /// The swarms for which a person named it.
    pub pinned_by: BTreeSet<SwarmId>,
    /// Its streams, at most one a swarm once their handshakes are done.
    pub streams: Vec<StreamId>,
}

impl Link {
    /// A record of `address`, never tried.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            state: LinkState::Disconnected {
                not_before: Instant::ZERO,
            },
            attempts: 0,
            dialable: false,
            spent: false,
            short_lives: 0,
            swarms: BTreeSet::new(),
            pinned_by: BTreeSet::new(),
            streams: Vec::new(),
        }
    }

    /// When it may be dialled for one more swarm; `None` when it may not.
    #[must_use]
    pub fn dial_at(&self) -> Option<Instant> {
        match self.state {
            _ if !self.dialable => None,
            LinkState::Disconnected { not_before } => Some(not_before),
            // One stream a swarm: another swarm need not wait for the first.
            LinkState::Connecting | LinkState::Established => Some(Instant::ZERO),
            LinkState::Ignored { until, .. } => (until != Instant::FAR).then_some(until),
        }
    }

    /// An attempt failed; `jitter` is any random number. `true` when the link is now ignored.
    ///
    /// Pauses double from `retry_first` to `retry_max`, each give or take a tenth; after `failures_to_ignore` in a row the
    /// address is ignored for `ignore`, then has one attempt, and so on. A pinned link is never ignored.
    pub fn failed(&mut self, now: Instant, jitter: u64, settings: &Settings) -> bool {
        if !self.streams.is_empty() || matches!(self.state, LinkState::Ignored { .. }) {
            return false;
        }
        self.attempts = self.attempts.saturating_add(1);
        let pinned = !self.pinned_by.is_empty();
        if !pinned && (self.spent || self.attempts >= settings.failures_to_ignore) {
            self.spent = true;
            self.state = LinkState::Ignored {
                until: now + settings.ignore,
                why: IgnoreReason::Failures,
            };
            return true;
        }
        let (first, most) = if pinned {
            (PINNED_RETRY_FIRST, PINNED_RETRY_MAX)
        } else {
            (settings.retry_first, settings.retry_max)
        };
        let pause = first
            .saturating_mul(1 << (self.attempts - 1).min(16))
            .min(most);
        let tenth = u64::try_from(pause.as_micros() / 5)
            .unwrap_or(u64::MAX)
            .max(1);
        let not_before = now + pause - pause / 10 + Duration::from_micros(jitter % tenth);
        self.state = LinkState::Disconnected { not_before };
        false
    }

    /// Its last stream, which had worked, is gone.
    pub fn lost(&mut self, now: Instant, lived_short: bool, settings: &Settings) {
        if matches!(self.state, LinkState::Ignored { .. }) {
            return;
        }
        self.spent = false;
        self.short_lives = if lived_short { self.short_lives + 1 } else { 0 };
        self.state = if self.short_lives >= 2 && self.pinned_by.is_empty() {
            self.short_lives = 0;
            LinkState::Ignored {
                until: now + settings.ignore,
                why: IgnoreReason::Unstable,
            }
        } else {
            let pause = if self.pinned_by.is_empty() {
                settings.retry_first
            } else {
                PINNED_RETRY_FIRST
            };
            LinkState::Disconnected {
                not_before: now + pause,
            }
        };
    }

    /// Its last stream is gone, for a reason that says nothing of the address.
    pub fn idle(&mut self) {
        if !matches!(self.state, LinkState::Ignored { .. }) {
            self.state = LinkState::Disconnected {
                not_before: Instant::ZERO,
            };
        }
    }

    /// Leaves it alone for the usual time.
    pub fn ignore(&mut self, now: Instant, why: IgnoreReason, settings: &Settings) {
        let until = if why == IgnoreReason::Ourselves {
            Instant::FAR
        } else {
            now + settings.ignore
        };
        self.state = LinkState::Ignored { until, why };
    }
}
