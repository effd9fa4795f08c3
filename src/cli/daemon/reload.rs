//! SIGHUP: the configuration is read again. What can be changed while running is; what cannot is named. A file that is wrong
//! changes nothing.

use super::{ANSWER_TIME_MAX, Running, options};
use crate::cli::{Context, logging};
use crate::config::{Config, Loaded};
use crate::engine::limits;
use crate::engine::message::{Limits, Message};

/// Keys that hold from now on; every other one holds from the next start.
const LIVE: &[&str] = &[
    "paths.downloads",
    "peer.max_links",
    "peer.max_links_per_swarm",
    "limits.download",
    "limits.upload",
    "limits.alt_download",
    "limits.alt_upload",
    "limits.alt_schedule",
    "seeding.upload_slots",
    "actor.sync_timeout_ms",
    "rpc.user",
    "rpc.password",
    "rpc.password_file",
    "rpc.ip_whitelist",
    "rpc.host_whitelist",
    "rpc.web_home",
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
            changed.into_iter().partition(|name| LIVE.contains(name));
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
        self.loaded = loaded;
    }

    fn apply(&self, loaded: &Loaded) -> Result<(), String> {
        let config = &loaded.config;
        let options = options(config, &self.state, self.close.clone(), self.peer_port)?;
        let limits = Limits {
            links_max: Some(config.peer.max_links),
            swarm_links_max: Some(config.peer.max_links_per_swarm),
            upload_slots: Some(config.seeding.upload_slots),
        };
        let set = Message::LimitsSet(limits);
        self.runtime
            .handle()
            .ask(set, ANSWER_TIME_MAX)
            .map_err(|fault| format!("the engine: {fault}"))?;
        // What clients have set since holds, unless the file says something else than it did.
        if config.limits != self.loaded.config.limits {
            let speed = Box::new(limits::Limits::of(&config.limits));
            self.runtime
                .handle()
                .ask(Message::SpeedSet(speed), ANSWER_TIME_MAX)
                .map_err(|fault| format!("the engine: {fault}"))?;
        }
        self.runtime.reload(options)?;
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
