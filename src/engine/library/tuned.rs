//! Settings that change while running, and the totals of all runs.
//!
//! A setting that a client changes is answered when it is on disk, and holds in this run and in later ones until the
//! configuration (the file, or `--set`) says something else for its key than it did when the client changed it. So a row keeps
//! what the configuration said then, beside the value. A change that comes from the file takes the row away.
//!
//! The totals are written at the end of a run, and now and then while bytes flow: what a crash loses of them is minutes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::ids::ReplyId;
use crate::time::{Duration, Instant};

use super::parked::Parked;
use crate::engine::Engine;
use crate::engine::blocks::BAN_ROW;
use crate::engine::message::{Answer, Limits, Refusal, StoreTask};
use crate::engine::session::Phase;

/// In front of a key: what its value becomes when a client switches it on again without saying one.
pub const OFF: &str = "off:";

/// Totals are written at most so often while bytes flow.
const TOTALS_INTERVAL: Duration = Duration::from_secs(300);

/// Settings to change, all in one turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// Key and value, as [`Config::set_live`] takes them; or [`OFF`] in front of a key, and a value of that key.
    pub changes: Vec<(String, String)>,
    /// Whether the configuration says so now: then nothing is kept, and what was kept of these keys goes.
    pub is_configured: bool,
}

/// A setting's row in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// As in [`SettingsChange::changes`].
    pub key: String,
    /// JSON; `None` takes the row away.
    pub value: Option<String>,
    /// What the configuration said when it was changed; empty for a key with [`OFF`] in front.
    pub configured: String,
}

/// What was counted, of one run or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload sent to peers, in bytes.
    pub uploaded: u64,
    /// Payload received from peers, in bytes.
    pub downloaded: u64,
    /// Torrents that were added.
    pub added: u64,
    /// Seconds that the engine ran.
    pub seconds: u64,
    /// Runs.
    pub runs: u64,
}

impl Totals {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            uploaded: self.uploaded.saturating_add(other.uploaded),
            downloaded: self.downloaded.saturating_add(other.downloaded),
            added: self.added.saturating_add(other.added),
            seconds: self.seconds.saturating_add(other.seconds),
            runs: self.runs.saturating_add(other.runs),
        }
    }
}

/// What the store has of settings and totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// By key.
    pub settings: Vec<SettingRow>,
    /// Of all runs that were written.
    pub totals: Totals,
}

/// The settings in effect, the totals, and what all torrents do together.
#[derive(Clone, Debug, Default)]
pub struct SettingsSnapshot {
    /// What holds: its live keys; of the others, what the run began with.
    pub config: Arc<Config>,
    /// By key: what its value becomes when it is switched on again.
    pub off: BTreeMap<String, String>,
    /// Of this run.
    pub run: Totals,
    /// Of all runs, this one too.
    pub ever: Totals,
    /// Where others see us, as far as they agree.
    pub outside: Vec<std::net::IpAddr>,
    /// How many torrents there are.
    pub torrents: usize,
    /// Of those, stopped ones and those that wait for their turn.
    pub resting: usize,
    /// Bytes per second that come in, of all torrents.
    pub download_rate: u64,
    /// Bytes per second that go out, of all torrents.
    pub upload_rate: u64,
}

/// The settings of an engine.
#[derive(Debug)]
pub struct Tuned {
    /// What holds.
    config: Arc<Config>,
    /// What the file and `--set` say.
    configured: Config,
    off: BTreeMap<String, String>,
    /// Of earlier runs.
    before: Totals,
    /// Torrents added in this run.
    pub(super) added: u64,
    /// When totals were last given to the store, and what they were.
    written: (Instant, Totals),
}

impl Tuned {
    /// As the configuration says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: Arc::new(config.clone()),
            configured: config.clone(),
            off: BTreeMap::new(),
            before: Totals::default(),
            added: 0,
            written: (Instant::ZERO, Totals::default()),
        }
    }

    /// What the file and `--set` say.
    #[must_use]
    pub const fn configured(&self) -> &Config {
        &self.configured
    }

    /// Takes one value over; `false` when that cannot be.
    fn set(&mut self, key: &str, value: &str) -> bool {
        match key.strip_prefix(OFF) {
            Some(key) => {
                let fine = self.configured.clone().set_live(key, value).is_ok();
                if fine {
                    self.off.insert(key.to_owned(), value.to_owned());
                }
                fine
            }
            None => Arc::make_mut(&mut self.config).set_live(key, value).is_ok(),
        }
    }

    /// Whether all of it can be taken over.
    fn allows(&self, change: &SettingsChange) -> bool {
        let mut scratch = self.configured.clone();
        change.changes.iter().all(|(key, value)| {
            let key = key.strip_prefix(OFF).unwrap_or(key);
            scratch.set_live(key, value).is_ok()
        })
    }

    /// The rows that follow from a change.
    fn rows(&self, change: &SettingsChange) -> Vec<SettingRow> {
        let row = |(key, value): &(String, String)| SettingRow {
            key: key.clone(),
            value: (!change.is_configured).then(|| value.clone()),
            configured: self.configured.live_text(key).unwrap_or_default(),
        };
        change.changes.iter().map(row).collect()
    }
}

impl Engine {
    /// Changes settings; answered when that is on disk.
    pub(in crate::engine) fn settings_change(
        &mut self,
        change: SettingsChange,
        reply: Option<ReplyId>,
    ) {
        let refusal = if !self.library.on {
            Some(Refusal::NotRemembered)
        } else if !self.library.tuned.allows(&change) {
            Some(Refusal::BadSetting)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.shared.reply(reply, Answer::Refused(refusal));
        }
        let rows = self.library.tuned.rows(&change);
        let pending = self.library.wait(reply, Answer::Done, None);
        let job = self.library_store(StoreTask::KeepSettings(rows), Some(pending));
        self.library.changing.insert(job, change);
        self.settle(pending);
    }

    /// A change is on disk, and holds.
    pub(super) fn settings_changed(&mut self, change: &SettingsChange) {
        let tuned = &mut self.library.tuned;
        for (key, value) in &change.changes {
            if change.is_configured {
                // Checked when it came.
                let _ = tuned.configured.set_live(key, value);
            }
            tuned.set(key, value);
        }
        self.settings_hold();
    }

    /// Takes over what earlier runs have left.
    pub(super) fn settings_remembered(&mut self, mut remembered: Remembered) {
        let mut gone = Vec::new();
        remembered.settings.retain(|row| {
            let Some(ip) = row.key.strip_prefix(BAN_ROW) else {
                return true;
            };
            let value = row.value.as_deref().unwrap_or_default();
            if !self.ban_remembered(ip, value) {
                gone.push(SettingRow {
                    value: None,
                    ..row.clone()
                });
            }
            false
        });
        let tuned = &mut self.library.tuned;
        tuned.before = remembered.totals;
        for row in remembered.settings {
            let Some(value) = &row.value else {
                continue;
            };
            let configured = tuned.configured.live_text(&row.key).unwrap_or_default();
            if row.configured != configured {
                log::info!(
                    "{}: the configuration has changed it to {configured}; {value}, which a client had set, holds no longer",
                    row.key
                );
            } else if tuned.set(&row.key, value) {
                if !row.key.starts_with(OFF) {
                    log::info!("{} = {value}, as a client has set it", row.key);
                }
                continue;
            } else {
                log::warn!(
                    "{}: {value}, which a client had set, is not allowed any more",
                    row.key
                );
            }
            gone.push(SettingRow { value: None, ..row });
        }
        if !gone.is_empty() {
            self.library_store(StoreTask::KeepSettings(gone), None);
        }
        self.settings_hold();
    }

    /// Everything goes by the settings that hold from now on. Nobody is cut off.
    fn settings_hold(&mut self) {
        let config = Arc::clone(&self.library.tuned.config);
        let settings = &self.shared.settings;
        let links = config.peer.max_links as usize;
        let of_swarm = config.peer.max_links_per_swarm as usize;
        let slots = config.seeding.upload_slots as usize;
        let limits = Limits {
            links_max: (settings.streams_max != links).then_some(config.peer.max_links),
            swarm_links_max: (settings.swarm_streams_max != of_swarm)
                .then_some(config.peer.max_links_per_swarm),
            upload_slots: (settings.upload_slots != slots).then_some(config.seeding.upload_slots),
        };
        self.shared.settings.take_live(&config);
        self.blocks_enable(config.blocklist.enabled);
        self.lsd_enable(config.discovery.lsd);
        if limits != Limits::default() {
            self.limits_set(limits);
        }
        self.dht_hold();
        self.shared.queue.set_rules(&config.queue);
        // Those at work look at their goals every second.
        for id in self.sessions.parked_ids() {
            self.await_parked_goal(id);
        }
    }

    /// What holds, and what was counted.
    pub(in crate::engine) fn settings_show(&self) -> SettingsSnapshot {
        let tuned = &self.library.tuned;
        let run = self.totals_of_run();
        let (now, mut rates) = (self.shared.now, (0, 0));
        let mut resting = 0;
        for (_, session) in self
            .sessions
            .iter()
            .filter(|(_, one)| one.entry.is_visible())
        {
            let (down, up) = session.rates(now);
            rates = (rates.0 + down, rates.1 + up);
            resting += usize::from(matches!(session.phase, Phase::Paused));
        }
        let stopped = |(_, parked): &(_, &Parked)| parked.paused && parked.entry.is_visible();
        resting += self.sessions.iter_parked().filter(stopped).count();
        SettingsSnapshot {
            config: Arc::clone(&tuned.config),
            off: tuned.off.clone(),
            run,
            ever: tuned.before.plus(run),
            outside: self.outside(),
            torrents: self.library.numbers.len(),
            resting,
            download_rate: rates.0,
            upload_rate: rates.1,
        }
    }

    fn totals_of_run(&self) -> Totals {
        Totals {
            uploaded: self.shared.counters.payload_sent_bytes,
            downloaded: self.shared.counters.payload_received_bytes,
            added: self.library.tuned.added,
            seconds: self.shared.now.as_micros() / 1_000_000,
            runs: 1,
        }
    }

    /// While bytes flow: writes the totals when that was long ago.
    pub(in crate::engine) fn totals_now_and_then(&mut self) {
        let run = self.totals_of_run();
        let (when, written) = self.library.tuned.written;
        let flowed = (run.uploaded, run.downloaded) != (written.uploaded, written.downloaded);
        if flowed && self.shared.now.since(when) >= TOTALS_INTERVAL {
            self.totals_write();
        }
    }

    /// Writes the totals; nobody waits for it.
    pub(in crate::engine) fn totals_write(&mut self) {
        if !self.library.on {
            return;
        }
        let run = self.totals_of_run();
        self.library.tuned.written = (self.shared.now, run);
        let ever = self.library.tuned.before.plus(run);
        self.library_store(StoreTask::KeepTotals(ever), None);
    }
}
