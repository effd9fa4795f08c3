//! The session as a whole: settings, statistics, free space, the end.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::envelope::{Dialect, Output, RpcError};
use super::names::Family;
use super::params::{self, Params};
use super::{Rpc, limits, live, strange, unanswered};
use crate::config::Config;
use crate::engine::library::{SettingsChange, SettingsSnapshot, Totals};
use crate::engine::message::{Answer, Message};
use crate::time::Duration;

/// The classic dialect's number of the interface that we speak, and the oldest it still is.
pub(super) const RPC_VERSION: u32 = 18;
/// Clients refuse a server that no longer speaks theirs.
pub(super) const RPC_VERSION_MINIMUM: u32 = 14;
/// The same for the JSON-RPC dialect.
pub(super) const RPC_VERSION_SEMVER: &str = "6.1.0";
/// Clients look for a number they know in front, and find ours in brackets.
pub(super) const VERSION: &str = concat!("4.1.0 (Linnet ", env!("CARGO_PKG_VERSION"), ")");

/// The one setting that is looked up on a disk.
const FREE_SPACE: &str = "download_dir_free_space";

/// The other one that has to be asked for.
const BLOCKLIST_SIZE: &str = "blocklist_size";

impl Rpc {
    /// The settings that hold.
    pub(super) async fn tuned(&self) -> Result<Box<SettingsSnapshot>, RpcError> {
        match self.ask(Message::SettingsShow).await? {
            Answer::Settings(tuned) => Ok(tuned),
            _ => Err(strange()),
        }
    }

    /// All settings, those that cannot be changed among them.
    fn settings(&self, tuned: &SettingsSnapshot) -> Map<String, Value> {
        let options = &*self.options;
        let config = &*tuned.config;
        let downloads = downloads(config);
        let units = json!({
            "speed_units": ["kB/s", "MB/s", "GB/s", "TB/s"],
            "speed_bytes": 1000,
            "size_units": ["kB", "MB", "GB", "TB"],
            "size_bytes": 1000,
            "memory_units": ["KiB", "MiB", "GiB", "TiB"],
            "memory_bytes": 1024,
        });
        let transports: Vec<&str> = [("tcp", config.peer.tcp), ("utp", config.peer.utp)]
            .into_iter()
            .filter_map(|(name, on)| on.then_some(name))
            .collect();
        #[rustfmt::skip]
        let settings = [
            ("cache_size_mib", json!(options.cache_mib)),
            ("config_dir", json!(options.state.to_string_lossy())),
            ("default_trackers", json!("")),
            ("peer_port", json!(options.peer_port)),
            ("peer_port_random_on_start", json!(false)),
            ("port_forwarding_enabled", json!(false)),
            ("preferred_transports", json!(transports)),
            ("rename_partial_files", json!(false)),
            ("reqq", json!(crate::engine::settings::REQUESTS_IN_MAX)),
            ("rpc_version", json!(RPC_VERSION)),
            ("rpc_version_minimum", json!(RPC_VERSION_MINIMUM)),
            ("rpc_version_semver", json!(RPC_VERSION_SEMVER)),
            ("script_torrent_added_enabled", json!(false)),
            ("script_torrent_added_filename", json!("")),
            ("script_torrent_done_enabled", json!(false)),
            ("script_torrent_done_filename", json!("")),
            ("script_torrent_done_seeding_enabled", json!(false)),
            ("script_torrent_done_seeding_filename", json!("")),
            ("sequential_download", json!(false)),
            ("session_id", json!(&*self.session_id)),
            ("trash_original_torrent_files", json!(false)),
            ("units", json!(units)),
            ("version", json!(VERSION)),
        ];
        let named = |(name, value): (&str, Value)| (name.to_owned(), value);
        let mut settings: Map<String, Value> = settings.into_iter().map(named).collect();
        live::show(tuned, &mut settings);
        // A directory of the configuration may begin at the current one; to a client it is absolute.
        settings.insert(
            "download_dir".to_owned(),
            json!(downloads.to_string_lossy()),
        );
        if settings["incomplete_dir"] == "" {
            settings.insert(
                "incomplete_dir".to_owned(),
                json!(downloads.to_string_lossy()),
            );
        }
        settings
    }

    pub(super) async fn session_get(
        &self,
        dialect: Dialect,
        params: &Params,
    ) -> Result<Output, RpcError> {
        let tuned = self.tuned().await?;
        let mut settings = self.settings(&tuned);
        settings.extend(limits::shown(&self.limits().await?.0));
        // To be looked up where it is wanted.
        settings.insert(FREE_SPACE.to_owned(), Value::Null);
        settings.insert(BLOCKLIST_SIZE.to_owned(), Value::Null);
        if dialect == Dialect::Classic {
            // The same word for the same thing would have been too simple.
            if settings["encryption"] == "allowed" {
                settings.insert("encryption".to_owned(), json!("tolerated"));
            }
        }
        if let Ok(Some(fields)) = params::texts(params, "fields") {
            let fields: Vec<String> = fields.iter().map(|name| super::names::ours(name)).collect();
            settings.retain(|name, _| fields.contains(name));
        }
        // A disk that does not answer keeps only those waiting who ask for it.
        if let Some(space) = settings.get_mut(FREE_SPACE) {
            *space = json!(self.download_space(&downloads(&tuned.config)).await);
        }
        if let Some(size) = settings.get_mut(BLOCKLIST_SIZE) {
            *size = json!(self.blocklist_size().await);
        }
        Ok(Output::Value(Family::Kebab, Value::Object(settings)))
    }

    /// Changes what can be changed; answered when it is on disk. Another setting may be said to be what it is; with any other value
    /// all is refused: nothing would follow from it.
    pub(super) async fn session_set(&self, params: &Params) -> Result<Output, RpcError> {
        let tuned = self.tuned().await?;
        let (limits, _) = self.limits().await?;
        let wanted = limits::changed(&limits, params)?;
        let settings = self.settings(&tuned);
        let differs = |(name, value): &(&String, &Value)| {
            // The classic dialect's word for it.
            let value = if *name == "encryption" && *value == &json!("tolerated") {
                &json!("allowed")
            } else {
                *value
            };
            settings
                .get(*name)
                .is_some_and(|have| !is_same(have, value))
        };
        let differing: Vec<(&String, &Value)> = params.iter().filter(differs).collect();
        let fixed: Vec<String> = differing
            .iter()
            .filter(|(name, _)| !live::is_live(name))
            .map(|(name, _)| name.replace('_', "-"))
            .collect();
        if !fixed.is_empty() {
            let names = fixed.join(", ");
            let text = format!("{names}: this version takes it from its configuration file alone");
            return Err(RpcError::params(text));
        }
        // All of it is looked at before anything is done.
        let changes = live::changes(&tuned, params, |name| {
            differing.iter().any(|(differing, _)| *differing == name)
        })?;
        if wanted != limits {
            match self
                .ask(Message::SpeedSet {
                    limits: Box::new(wanted),
                    is_configured: false,
                })
                .await?
            {
                Answer::Done => {}
                _ => return Err(strange()),
            }
        }
        if !changes.is_empty() {
            let change = SettingsChange {
                changes,
                is_configured: false,
            };
            match self.ask(Message::SettingsChange(Box::new(change))).await? {
                Answer::Done => {}
                _ => return Err(strange()),
            }
        }
        Ok(Output::Value(Family::Kebab, json!({})))
    }

    pub(super) async fn session_stats(&self) -> Result<Output, RpcError> {
        let tuned = self.tuned().await?;
        let totals = |totals: &Totals| {
            json!({
                "uploaded_bytes": totals.uploaded,
                "downloaded_bytes": totals.downloaded,
                "files_added": totals.added,
                "seconds_active": totals.seconds,
                "session_count": totals.runs,
            })
        };
        let stats = json!({
            "active_torrent_count": tuned.torrents - tuned.resting,
            // As Transmission counts: one that waits for its turn does not run either.
            "paused_torrent_count": tuned.resting,
            "torrent_count": tuned.torrents,
            "download_speed": tuned.download_rate,
            "upload_speed": tuned.upload_rate,
            "current_stats": totals(&tuned.run),
            "cumulative_stats": totals(&tuned.ever),
            "external_addresses": tuned.outside,
        });
        Ok(Output::Value(Family::Camel, stats))
    }

    /// All figures, as `metrics.json` has them; ours, for `linnet stats`.
    pub(super) async fn metrics_get(&self) -> Result<Output, RpcError> {
        let mut metrics = self.asking.metrics().await.map_err(unanswered)?;
        metrics.process = (self.options.process)();
        metrics.messages.memory_usage_bytes = metrics.process.resident_bytes;
        serde_json::to_vec(&metrics)
            .map(Output::Json)
            .map_err(|fault| RpcError::new(RpcError::INTERNAL, fault.to_string()))
    }

    /// The end; `budget_ms`, ours, bounds it.
    pub(super) fn session_close(&self, params: &Params) -> Result<Output, RpcError> {
        let budget = params::number(params, "budget_ms")?;
        let budget = budget.map_or(self.options.budget, |millis| {
            Duration::from_millis(millis.into())
        });
        (self.options.close.0)(budget);
        Ok(Output::Value(Family::Kebab, json!({})))
    }
}

/// Where torrents go that do not say.
pub(super) fn downloads(config: &Config) -> PathBuf {
    let path = &config.paths.downloads;
    std::path::absolute(path).unwrap_or_else(|_| path.clone())
}

/// Where they are until they are complete, when that is elsewhere.
pub(super) fn incomplete(config: &Config) -> Option<PathBuf> {
    let path = &config.paths.incomplete;
    let path = (!path.as_os_str().is_empty()).then_some(path)?;
    Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
}

/// Whether a client means the value that holds; they write 1 and 1.0, 0 and false.
fn is_same(have: &Value, value: &Value) -> bool {
    let numbers = have.as_f64().zip(value.as_f64());
    have == value
        || (have == "allowed" && value == "tolerated")
        || numbers.is_some_and(|(a, b)| (a - b).abs() <= 1e-9)
        || have
            .as_bool()
            .zip(value.as_u64())
            .is_some_and(|(have, number)| have == (number != 0))
}
