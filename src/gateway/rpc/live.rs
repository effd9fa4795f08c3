//! Settings of a session that a client can change, once each: the name clients use, and the key of the configuration.
//!
//! Where the configuration has one number and 0 (or an empty text) for off, clients have two: a value and whether it holds. The
//! value that does not hold is remembered beside ([`OFF`]), so that switching it on brings it back.

use serde_json::{Map, Value, json};

use super::envelope::RpcError;
use super::params::{self, Params};
use crate::engine::library::{OFF, SettingsSnapshot};

/// One setting, or a pair of them.
struct Setting {
    /// What clients call the value.
    name: &'static str,
    /// What clients call the switch, and what the value is while nobody has said another.
    switch: Option<(&'static str, Value)>,
    /// The key of the configuration.
    key: &'static str,
}

fn settings() -> [Setting; 11] {
    let plain = |name, key| Setting {
        name,
        switch: None,
        key,
    };
    let switched = |name, switch, first: Value, key| Setting {
        name,
        switch: Some((switch, first)),
        key,
    };
    #[rustfmt::skip]
    let settings = [
        plain("download_dir",           "paths.downloads"),
        plain("peer_limit_global",      "peer.max_links"),
        plain("peer_limit_per_torrent", "peer.max_links_per_swarm"),
        plain("start_added_torrents",   "queue.start_added"),
        plain("upload_slots_per_torrent", "seeding.upload_slots"),
        switched("incomplete_dir",      "incomplete_dir_enabled",      json!(""),  "paths.incomplete"),
        switched("download_queue_size", "download_queue_enabled",      json!(5),   "queue.max_active_downloads"),
        switched("seed_queue_size",     "seed_queue_enabled",          json!(10),  "queue.max_active_seeds"),
        switched("queue_stalled_minutes", "queue_stalled_enabled",     json!(30),  "queue.stalled_minutes"),
        switched("seed_ratio_limit",    "seed_ratio_limited",          json!(2.0), "seeding.ratio"),
        switched("idle_seeding_limit",  "idle_seeding_limit_enabled",  json!(30),  "seeding.idle_minutes"),
    ];
    settings
}

/// What the configuration has where a value does not hold.
fn off(value: &Value) -> Value {
    if value.is_string() {
        json!("")
    } else {
        json!(0)
    }
}

fn is_off(value: &Value) -> bool {
    value == "" || value.as_f64() == Some(0.0)
}

/// The values as clients see them: those that hold, and what the others become.
struct Held<'a> {
    tuned: &'a SettingsSnapshot,
    live: Vec<(&'static str, String)>,
}

impl<'a> Held<'a> {
    fn new(tuned: &'a SettingsSnapshot) -> Self {
        let live = tuned.config.live();
        Self { tuned, live }
    }

    /// The value of a key.
    fn now(&self, key: &str) -> Value {
        let text = self.live.iter().find(|(name, _)| *name == key);
        text.map_or(Value::Null, |(_, text)| json_of(text))
    }

    /// The value that holds, or would when it is switched on; and whether it holds.
    fn switched(&self, key: &str, first: &Value) -> (Value, bool) {
        let now = self.now(key);
        if !is_off(&now) {
            return (now, true);
        }
        let kept = self.tuned.off.get(key).map(|text| json_of(text));
        (kept.unwrap_or_else(|| first.clone()), false)
    }
}

/// TOML of a scalar as JSON.
fn json_of(text: &str) -> Value {
    #[derive(serde::Deserialize)]
    struct One {
        value: Value,
    }
    // A text in TOML's own quotes is no JSON, so it is read as what it is.
    toml::from_str::<One>(&format!("value = {text}")).map_or(Value::Null, |one| one.value)
}

/// Whether clients can change the setting of this name.
pub(super) fn is_live(name: &str) -> bool {
    let is = |setting: &Setting| {
        let switch = setting.switch.as_ref().map(|(switch, _)| *switch);
        setting.name == name || switch == Some(name)
    };
    settings().iter().any(is)
}

/// Shows all of them.
pub(super) fn show(tuned: &SettingsSnapshot, into: &mut Map<String, Value>) {
    let held = Held::new(tuned);
    for setting in settings() {
        let value = match &setting.switch {
            None => held.now(setting.key),
            Some((switch, first)) => {
                let (value, on) = held.switched(setting.key, first);
                into.insert((*switch).to_owned(), json!(on));
                value
            }
        };
        into.insert(setting.name.to_owned(), value);
    }
}

/// What follows for the configuration from what a client says; only of settings of which something `differs`.
///
/// # Errors
/// A value that is not allowed; the text says which are.
pub(super) fn changes(
    tuned: &SettingsSnapshot,
    params: &Params,
    differs: impl Fn(&str) -> bool,
) -> Result<Vec<(String, String)>, RpcError> {
    let held = Held::new(tuned);
    let mut scratch = (*tuned.config).clone();
    let mut changes = Vec::new();
    for setting in settings() {
        let Setting { name, switch, key } = &setting;
        let named = |name: &str| name.replace('_', "-");
        let said = params.get(*name).filter(|value| !value.is_null());
        let switched = switch.as_ref().is_some_and(|(switch, _)| differs(switch));
        if !differs(name) && !switched {
            continue;
        }
        if let Some(directory) = said.and_then(Value::as_str)
            && name.ends_with("_dir")
            && !directory.starts_with('/')
        {
            let text = format!("{}: {directory}: not an absolute path", named(name));
            return Err(RpcError::new(RpcError::PATH_NOT_ABSOLUTE, text));
        }
        let (value, on) = match switch {
            None => (said.cloned().unwrap_or(Value::Null), true),
            Some((switch, first)) => {
                let (value, on) = held.switched(key, first);
                let on = params::flag(params, switch)?.unwrap_or(on);
                (said.cloned().unwrap_or(value), on)
            }
        };
        let value = match value {
            // Old clients write flags as numbers.
            Value::Number(number) if *name == "start_added_torrents" => {
                json!(number.as_u64() != Some(0))
            }
            // Clients write whole numbers as 5.0.
            Value::Number(number) if number.as_u64().is_none() && *key != "seeding.ratio" => {
                whole(&number)
            }
            other => other,
        };
        let text = value.to_string();
        scratch.set_live(key, &text).map_err(|fault| {
            let text = format!("{}: found {text}, {fault}", named(name));
            RpcError::params(text)
        })?;
        if on && switch.is_some() && is_off(&value) {
            // On, with nothing to hold: what would be off for the configuration.
            if value == "" {
                let text = format!("{}: name a directory to switch it on", named(name));
                return Err(RpcError::params(text));
            }
        }
        let in_effect = if on {
            text.clone()
        } else {
            off(&value).to_string()
        };
        changes.push(((*key).to_owned(), in_effect));
        if switch.is_some() {
            changes.push((format!("{OFF}{key}"), text));
        }
    }
    Ok(changes)
}

/// A whole number that was written as a fraction.
fn whole(number: &serde_json::Number) -> Value {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only what is whole and in range is cast"
    )]
    match number.as_f64() {
        Some(float) if float >= 0.0 && float <= f64::from(u32::MAX) && float.fract() == 0.0 => {
            json!(float as u64)
        }
        _ => Value::Number(number.clone()),
    }
}
