//! The session as a whole: settings, statistics, free space, the end.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::envelope::{Dialect, Output, RpcError};
use super::names::Family;
use super::params::{self, Params};
use super::{Rpc, limits, unanswered};
use crate::engine::library::Selection;
use crate::engine::message::Message;
use crate::engine::snapshot::SessionState;
use crate::time::{Duration, unix_millis};

/// The classic dialect's number of the interface that we speak, and the oldest it still is.
pub(super) const RPC_VERSION: u32 = 18;
/// Clients refuse a server that no longer speaks theirs.
pub(super) const RPC_VERSION_MINIMUM: u32 = 14;
/// The same for the JSON-RPC dialect.
pub(super) const RPC_VERSION_SEMVER: &str = "6.1.0";
/// Clients look for a number they know in front, and find ours in brackets.
pub(super) const VERSION: &str = concat!("4.1.0 (Linnet ", env!("CARGO_PKG_VERSION"), ")");

impl Rpc {
    /// All settings, those that cannot be changed among them.
    fn settings(&self) -> Map<String, Value> {
        let options = &*self.options;
        let downloads = options.downloads.to_string_lossy();
        let units = json!({
            "speed_units": ["kB/s", "MB/s", "GB/s", "TB/s"],
            "speed_bytes": 1000,
            "size_units": ["kB", "MB", "GB", "TB"],
            "size_bytes": 1000,
            "memory_units": ["KiB", "MiB", "GiB", "TiB"],
            "memory_bytes": 1024,
        });
        #[rustfmt::skip]
        let settings = [
            ("blocklist_enabled", json!(false)),
            ("blocklist_size", json!(0)),
            ("blocklist_url", json!("")),
            ("cache_size_mib", json!(options.cache_mib)),
            ("config_dir", json!(options.state.to_string_lossy())),
            ("default_trackers", json!("")),
            ("dht_enabled", json!(false)),
            ("download_dir", json!(downloads)),
            ("download_dir_free_space", json!(space(&options.downloads).map_or(-1, |(free, _)| free))),
            ("download_queue_enabled", json!(false)),
            ("download_queue_size", json!(0)),
            ("encryption", json!("allowed")),
            ("idle_seeding_limit", json!(options.seed_idle_minutes)),
            ("idle_seeding_limit_enabled", json!(options.seed_idle_minutes > 0)),
            ("incomplete_dir", json!(downloads)),
            ("incomplete_dir_enabled", json!(false)),
            ("lpd_enabled", json!(false)),
            ("peer_limit_global", json!(options.links_max)),
            ("peer_limit_per_torrent", json!(options.swarm_links_max)),
            ("peer_port", json!(options.peer_port)),
            ("peer_port_random_on_start", json!(false)),
            ("pex_enabled", json!(false)),
            ("port_forwarding_enabled", json!(false)),
            ("preferred_transports", json!(["tcp"])),
            ("queue_stalled_enabled", json!(false)),
            ("queue_stalled_minutes", json!(30)),
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
            ("seed_queue_enabled", json!(false)),
            ("seed_queue_size", json!(0)),
            ("seed_ratio_limit", json!(options.seed_ratio)),
            ("seed_ratio_limited", json!(options.seed_ratio > 0.0)),
            ("sequential_download", json!(false)),
            ("session_id", json!(&*self.session_id)),
            ("start_added_torrents", json!(true)),
            ("tcp_enabled", json!(true)),
            ("trash_original_torrent_files", json!(false)),
            ("units", json!(units)),
            ("utp_enabled", json!(false)),
            ("version", json!(VERSION)),
        ];
        let named = |(name, value): (&str, Value)| (name.to_owned(), value);
        settings.into_iter().map(named).collect()
    }

    pub(super) async fn session_get(
        &self,
        dialect: Dialect,
        params: &Params,
    ) -> Result<Output, RpcError> {
        let mut settings = self.settings();
        settings.extend(limits::shown(&self.limits().await?.0));
        if dialect == Dialect::Classic {
            // The same word for the same thing would have been too simple.
            settings.insert("encryption".to_owned(), json!("tolerated"));
        }
        if let Ok(Some(fields)) = params::texts(params, "fields") {
            let fields: Vec<String> = fields.iter().map(|name| super::names::ours(name)).collect();
            settings.retain(|name, _| fields.contains(name));
        }
        Ok(Output::Value(Family::Kebab, Value::Object(settings)))
    }

    /// Limits change at once, until the end of this run. Another setting may be said to be what it is; another value is
    /// refused: nothing would follow from it.
    pub(super) async fn session_set(&self, params: &Params) -> Result<Output, RpcError> {
        let (limits, _) = self.limits().await?;
        let wanted = limits::changed(&limits, params)?;
        let settings = self.settings();
        let differs = |(name, value): &(&String, &Value)| {
            settings.get(*name).is_some_and(|have| {
                // Clients write 1 and 1.0, 0 and false.
                have != *value
                    && have
                        .as_f64()
                        .zip(value.as_f64())
                        .is_none_or(|(a, b)| (a - b).abs() > 1e-9)
                    && have.as_bool() != value.as_u64().map(|number| number != 0)
            })
        };
        let differing: Vec<String> = params
            .iter()
            .filter(differs)
            .map(|(name, _)| name.replace('_', "-"))
            .collect();
        if differing.is_empty() {
            if wanted != limits {
                self.ask(Message::SpeedSet(Box::new(wanted))).await?;
            }
            return Ok(Output::Value(Family::Kebab, json!({})));
        }
        let names = differing.join(", ");
        let text = format!("{names}: this version takes it from its configuration file alone");
        Err(RpcError::params(text))
    }

    pub(super) async fn session_stats(&self) -> Result<Output, RpcError> {
        let snapshot = self.show(Selection::All, false).await?;
        let torrents = &snapshot.torrents;
        let paused = |state| matches!(state, SessionState::Paused | SessionState::Stopped);
        let paused = torrents.iter().filter(|one| paused(one.state)).count();
        let seconds = (unix_millis() / 1000).saturating_sub(self.since);
        let metrics = self.asking.metrics().await.map_err(unanswered)?;
        let this_run = json!({
            "uploaded_bytes": metrics.engine.payload_sent_bytes,
            "downloaded_bytes": metrics.engine.payload_received_bytes,
            "files_added": torrents.len(),
            "seconds_active": seconds,
            "session_count": 1,
        });
        let ever = json!({
            "uploaded_bytes": torrents.iter().map(|one| one.uploaded).sum::<u64>(),
            "downloaded_bytes": torrents.iter().map(|one| one.downloaded).sum::<u64>(),
            "files_added": torrents.len(),
            "seconds_active": seconds,
            "session_count": 1,
        });
        let stats = json!({
            "active_torrent_count": torrents.len() - paused,
            "paused_torrent_count": paused,
            "torrent_count": torrents.len(),
            "download_speed": torrents.iter().map(|one| one.download_rate).sum::<u64>(),
            "upload_speed": torrents.iter().map(|one| one.upload_rate).sum::<u64>(),
            "current_stats": this_run,
            "cumulative_stats": ever,
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

/// Free and total bytes of the file system that holds `path`.
fn space(path: &Path) -> Option<(i64, i64)> {
    // A directory that is still to be made is looked for where it will be.
    let there = path.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    let bytes =
        |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    Some((bytes(stat.f_bavail), bytes(stat.f_blocks)))
}

pub(super) fn free_space(params: &Params) -> Result<Output, RpcError> {
    let path = params::text(params, "path")?.unwrap_or_default();
    if !Path::new(path).is_absolute() {
        let text = "directory path is not absolute";
        return Err(RpcError::new(RpcError::PATH_NOT_ABSOLUTE, text));
    }
    let stat = rustix::fs::statvfs(path).map_err(|fault| {
        let text = format!("{path}: {}", std::io::Error::from(fault).kind());
        RpcError::new(RpcError::SYSTEM, text)
    })?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let value = json!({
        "path": path,
        "size_bytes": bytes(stat.f_bavail),
        "total_size": bytes(stat.f_blocks),
    });
    Ok(Output::Value(Family::Kebab, value))
}
