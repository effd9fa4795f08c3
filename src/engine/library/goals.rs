//! When a torrent has seeded enough: by ratio, or by nobody having asked for so long. Reached, it is stopped, and says so.

use crate::ids::SessionId;
use crate::time::{Duration, Instant};

use super::parked::Parked;
use crate::engine::Engine;
use crate::engine::session::Session;
use crate::engine::settings::Settings;
use crate::engine::snapshot::SessionState;

/// Which limit holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// That of the configuration.
    #[default]
    Global,
    /// The torrent's own.
    Own,
    /// None.
    Unlimited,
}

impl Mode {
    /// As Transmission numbers it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Global => 0,
            Self::Own => 1,
            Self::Unlimited => 2,
        }
    }

    /// The inverse.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Global),
            1 => Some(Self::Own),
            2 => Some(Self::Unlimited),
            _ => None,
        }
    }
}

/// What one torrent has to reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goals {
    /// Which ratio.
    pub ratio_mode: Mode,
    /// Sent bytes for each 1000 wanted ones.
    pub ratio_mille: u32,
    /// Which idle time.
    pub idle_mode: Mode,
    /// Minutes without sending a byte.
    pub idle_minutes: u32,
}

impl Goals {
    /// The ratio that holds, in thousandths.
    fn ratio(&self, settings: &Settings) -> Option<u32> {
        match self.ratio_mode {
            Mode::Global => Some(settings.seed_ratio_mille).filter(|ratio| *ratio > 0),
            Mode::Own => Some(self.ratio_mille),
            Mode::Unlimited => None,
        }
    }

    /// The idle time that holds.
    fn idle(&self, settings: &Settings) -> Option<Duration> {
        let minutes = match self.idle_mode {
            Mode::Global => Some(settings.seed_idle_minutes).filter(|minutes| *minutes > 0),
            Mode::Own => Some(self.idle_minutes),
            Mode::Unlimited => None,
        };
        minutes.map(|minutes| Duration::from_secs(u64::from(minutes) * 60))
    }
}

/// Why a torrent has seeded enough, if it has.
fn reached(session: &Session, settings: &Settings, now: Instant) -> Option<&'static str> {
    let entry = &session.entry;
    if !entry.is_visible() || session.state() != SessionState::Seeding {
        return None;
    }
    let uploaded = session.progress.uploaded_before + session.up.total();
    let (wanted, _) = session.bytes();
    if let Some(ratio) = entry.goals.ratio(settings)
        && u128::from(uploaded) * 1000 >= u128::from(wanted) * u128::from(ratio)
    {
        return Some("ratio");
    }
    let quiet = now.since(entry.since.max(entry.active));
    let idle = entry.goals.idle(settings)?;
    (quiet >= idle).then_some("idle")
}

/// When a torrent that rests will have seeded enough, if nothing comes between.
pub(super) fn reached_at(parked: &Parked, settings: &Settings) -> Option<Instant> {
    let entry = &parked.entry;
    if !entry.is_visible() || parked.state() != SessionState::Parked {
        return None;
    }
    let standing = &parked.standing;
    let goals = &entry.goals;
    if goals.ratio(settings).is_some_and(|ratio| {
        let wanted = u128::from(standing.bytes_wanted) * u128::from(ratio);
        u128::from(standing.uploaded) * 1000 >= wanted
    }) {
        return Some(entry.since);
    }
    let idle = goals.idle(settings)?;
    Some(entry.since.max(entry.active) + idle)
}

impl Engine {
    /// Once a second for each session that trades: stops it when it has seeded enough.
    pub(in crate::engine) fn look_at_goals(&mut self, id: SessionId) {
        let now = self.shared.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.up.total() != session.entry.sent {
            session.entry.sent = session.up.total();
            session.entry.active = now;
        }
        let Some(cause) = reached(session, &self.shared.settings, now) else {
            return;
        };
        log::info!(
            "torrent {} has seeded enough ({cause})",
            session.info_hash()
        );
        session.paused = true;
        session.entry.stopped = false;
        session.entry.forced = false;
        session.entry.finished = true;
        self.rest(id, "ratio");
        self.keep(id, None, None);
    }
}
