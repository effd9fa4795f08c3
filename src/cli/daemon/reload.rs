//! SIGHUP: the configuration is read again. What can be changed while running is; what cannot is named. A file that is wrong
//! changes nothing.

use super::watch::Watch;
use super::{Running, options, setup};
use crate::cli::{Context, blocklist, logging};
use crate::config::{Config, Loaded, is_live};
use crate::engine::limits;
use crate::engine::message::{Answer, Message, SettingsChange};
use crate::time::Duration;

/// For a change that is answered when it is on disk.
pub(super) const DISK_TIME_MAX: Duration = Duration::from_secs(10);

/// Keys that hold from now on beside those that the engine takes over ([`is_live`]); every other one holds from the next start.
const LIVE: &[&str] = &[
    "paths.watch",
    "blocklist.files",
    "blocklist.allow",
    "limits.download",
    "limits.upload",
    "limits.alt_download",
    "limits.alt_upload",
    "limits.alt_schedule",
    "actor.sync_timeout_ms",
    "rpc.user",
    "rpc.password",
    "rpc.password_file",
    "rpc.ip_whitelist",
    "rpc.host_whitelist",
    "rpc.web_home",
    "hooks.program",
    "hooks.exec",
    "hooks.webhook",
    "shutdown.budget_ms",
    "log.level",
];

impl Running {
    pub(super) fn reload(&mut self, context: &Context<'_>) {
        let path = context.common.config.as_deref();
        let loaded = match Config::load(path, &context.common.sets, context.environment) {
            Ok(loaded) => loaded,
            Err(faults) => {
                for fault in faults.faults {
                    log::error!("{}", fault.text);
                }
                log::error!("the configuration stays as it was");
                return;
            }
        };
        let changed = changed(&self.loaded, &loaded);
        let (live, later): (Vec<&str>, Vec<&str>) =
            (changed.into_iter()).partition(|name| LIVE.contains(name) || is_live(name));
        if let Err(fault) = self.apply(&loaded) {
            log::error!("{fault}; the configuration stays as it was");
            return;
        }
        self.scheduled = None;
        self.follow_schedule();
        match (live.is_empty(), later.is_empty()) {
            (true, true) => log::info!("configuration read again: nothing has changed"),
            (false, _) => log::info!("configuration read again: changed {}", live.join(", ")),
            (true, false) => {}
        }
        if !later.is_empty() {
            log::warn!("only a restart changes {}", later.join(", "));
        }
        if live.iter().any(|name| name.starts_with("paths.watch")) {
            self.watch = Watch::new(&loaded.config.paths);
        }
        self.loaded = loaded;
    }

    fn apply(&self, loaded: &Loaded) -> Result<(), String> {
        let config = &loaded.config;
        let options = options(config, &self.state, self.close.clone(), self.peer_port)?;
        // Only what the file has changed: what a client has set of the others goes on holding.
        let before = self.loaded.config.live();
        let changes: Vec<(String, String)> = before
            .into_iter()
            .zip(config.live())
            .filter(|(before, after)| before != after)
            .map(|(_, (key, value))| (key.to_owned(), value))
            .collect();
        if !changes.is_empty() {
            let keys: Vec<&str> = changes.iter().map(|(key, _)| key.as_str()).collect();
            let told = format!(
                "{}: the file goes before what a client may have set",
                keys.join(", ")
            );
            let change = SettingsChange {
                changes,
                is_configured: true,
            };
            let change = Message::SettingsChange(Box::new(change));
            match self.runtime.handle().ask(change, DISK_TIME_MAX) {
                Ok(Answer::Done) => log::info!("{told}"),
                Ok(Answer::Refused(refusal)) => return Err(refusal.to_string()),
                Ok(_) => return Err("the engine gave a strange answer".to_owned()),
                Err(fault) => return Err(format!("the engine: {fault}")),
            }
        }
        // What clients have set since holds, unless the file says something else than it did.
        if config.limits != self.loaded.config.limits {
            let speed = Box::new(limits::Limits::of(&config.limits));
            let set = Message::SpeedSet {
                limits: speed,
                is_configured: true,
            };
            match self.runtime.handle().ask(set, DISK_TIME_MAX) {
                Ok(Answer::Done) => {}
                Ok(Answer::Refused(refusal)) => return Err(refusal.to_string()),
                Ok(_) => return Err("the engine gave a strange answer".to_owned()),
                Err(fault) => return Err(format!("the engine: {fault}")),
            }
        }
        // A list that cannot be read is no reason to keep what else has changed.
        if let Err(fault) = blocklist::load(config, &self.state, self.runtime.handle()) {
            log::error!("{fault}; the block list stays as it was");
        }
        self.runtime.reload(options.clone())?;
        self.hooks.reload(setup(loaded, options, self.rpc))?;
        logging::set_level(loaded);
        Ok(())
    }
}

/// Keys whose values differ.
fn changed(before: &Loaded, after: &Loaded) -> Vec<&'static str> {
    before
        .entries()
        .zip(after.entries())
        .filter(|((_, a, _), (_, b, _))| a != b)
        .map(|((name, _, _), _)| name)
        .collect()
}
