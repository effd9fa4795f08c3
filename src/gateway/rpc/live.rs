//! Settings of a session that a client can change, once each: the name clients use, and the key of the configuration. A further
//! one is a line in [`settings`], and its key in the configuration's list of live ones.
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
    /// How many of the configuration's units are one of the clients'.
    scale: u64,
    /// What clients say for the configuration's words; the first of several is what they are told.
    words: &'static [(&'static str, &'static str)],
}

/// Clients have no word for "off"; to them it is the least there is.
const ENCRYPTION: &[(&str, &str)] = &[
    ("required", "require"),
    ("preferred", "prefer"),
    ("allowed", "allow"),
    ("tolerated", "allow"),
    ("allowed", "off"),
];

fn settings() -> [Setting; 19] {
    let plain = |name, key| Setting {
        name,
        switch: None,
        key,
        scale: 1,
        words: &[],
    };
    let switched = |name, switch, first: Value, key| Setting {
        name,
        switch: Some((switch, first)),
        key,
        scale: 1,
        words: &[],
    };
    #[rustfmt::skip]
    let settings = [
        plain("dht_enabled",            "discovery.dht"),
        plain("download_dir",           "paths.downloads"),
        plain("pex_enabled",            "discovery.pex"),
        plain("peer_limit_global",      "peer.max_links"),
        plain("peer_limit_per_torrent", "peer.max_links_per_swarm"),
        plain("tcp_enabled",            "peer.tcp"),
        plain("utp_enabled",            "peer.utp"),
        plain("start_added_torrents",   "queue.start_added"),
        Setting { words: ENCRYPTION, ..plain("encryption", "peer.encryption") },
        plain("lpd_enabled",            "discovery.lsd"),
        plain("blocklist_enabled",      "blocklist.enabled"),
        plain("blocklist_url",          "blocklist.url"),
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

impl Setting {
    /// A value of the configuration in the clients' unit.
    fn shown(&self, text: &str) -> Value {
        match json_of(text) {
            // A limit that is less than one of them is still one.
            Value::Number(number) if self.scale > 1 => {
                json!(number.as_u64().unwrap_or(0).div_ceil(self.scale))
            }
            Value::String(word) => {
                let told = self.words.iter().find(|(_, ours)| *ours == word);
                told.map_or(Value::String(word), |(theirs, _)| json!(theirs))
            }
            value => value,
        }
    }

    /// The inverse.
    fn meant(&self, value: &Value) -> Value {
        match value {
            Value::Number(number) if self.scale > 1 => number.as_u64().map_or_else(
                || value.clone(),
                |number| json!(number.saturating_mul(self.scale)),
            ),
            Value::String(word) => {
                let meant = self.words.iter().find(|(theirs, _)| theirs == word);
                meant.map_or_else(|| value.clone(), |(_, ours)| json!(ours))
            }
            value => value.clone(),
        }
    }
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
    fn now(&self, setting: &Setting) -> Value {
        let text = self.live.iter().find(|(name, _)| *name == setting.key);
        text.map_or(Value::Null, |(_, text)| setting.shown(text))
    }

    /// The value that holds, or would when it is switched on; and whether it holds.
    fn switched(&self, setting: &Setting, first: &Value) -> (Value, bool) {
        let now = self.now(setting);
        if !is_off(&now) {
            return (now, true);
        }
        let kept = self.tuned.off.get(setting.key);
        let kept = kept.map(|text| setting.shown(text));
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
            None => held.now(&setting),
            Some((switch, first)) => {
                let (value, on) = held.switched(&setting, first);
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
        let Setting {
            name, switch, key, ..
        } = &setting;
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
                let (value, on) = held.switched(&setting, first);
                let on = params::flag(params, switch)?.unwrap_or(on);
                (said.cloned().unwrap_or(value), on)
            }
        };
        let value = match value {
            // Old clients write flags as numbers.
            Value::Number(number) if held.now(&setting).is_boolean() => {
                json!(number.as_u64() != Some(0))
            }
            // Clients write whole numbers as 5.0.
            Value::Number(number) if number.as_u64().is_none() && *key != "seeding.ratio" => {
                whole(&number)
            }
            other => other,
        };
        // The directory that is shown while none was named.
        let value = match value {
            Value::String(text) if text.is_empty() && on && switch.is_some() => {
                json!(super::session::downloads(&tuned.config).to_string_lossy())
            }
            other => other,
        };
        if on && switch.is_some() && is_off(&value) {
            let text = format!(
                "{}: 0 would be no limit: switch it off instead",
                named(name)
            );
            return Err(RpcError::params(text));
        }
        let text = setting.meant(&value).to_string();
        scratch.set_live(key, &text).map_err(|fault| {
            let text = format!("{}: found {value}, {fault}", named(name));
            RpcError::params(text)
        })?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;

    /// The settings after a client has said `params`.
    fn said(mut tuned: SettingsSnapshot, params: &Value) -> Result<SettingsSnapshot, String> {
        let params = params.as_object().unwrap();
        let changes = changes(&tuned, params, |name| params.contains_key(name))
            .map_err(|fault| fault.text)?;
        let config = Arc::make_mut(&mut tuned.config);
        for (key, value) in changes {
            match key.strip_prefix(OFF) {
                Some(key) => _ = tuned.off.insert(key.to_owned(), value),
                None => config.set_live(&key, &value).unwrap(),
            }
        }
        Ok(tuned)
    }

    fn shown(tuned: &SettingsSnapshot) -> Map<String, Value> {
        let mut into = Map::new();
        show(tuned, &mut into);
        into
    }

    #[test]
    fn a_value_and_its_switch_are_one_key() {
        // What is said one after the other, and how ratio, switch and configuration stand then.
        #[rustfmt::skip]
        let table: &[(&[Value], f64, bool, f64)] = &[
            (&[],                                                                 2.0, false, 0.0),
            (&[json!({"seed_ratio_limited": true})],                              2.0, true,  2.0),
            (&[json!({"seed_ratio_limit": 3})],                                   3.0, false, 0.0),
            (&[json!({"seed_ratio_limit": 3}), json!({"seed_ratio_limited": true})], 3.0, true, 3.0),
            (&[json!({"seed_ratio_limit": 1.5, "seed_ratio_limited": 1})],        1.5, true,  1.5),
            (&[json!({"seed_ratio_limit": 1.5, "seed_ratio_limited": true}), json!({"seed_ratio_limited": false})], 1.5, false, 0.0),
            (&[json!({"seed_ratio_limited": true}), json!({"seed_ratio_limit": 4})], 4.0, true, 4.0),
        ];
        for (steps, value, on, configured) in table {
            let mut tuned = SettingsSnapshot::default();
            for step in *steps {
                tuned = said(tuned, step).unwrap();
            }
            let shown = shown(&tuned);
            assert_eq!(
                shown["seed_ratio_limit"].as_f64(),
                Some(*value),
                "{steps:?}"
            );
            assert_eq!(shown["seed_ratio_limited"], *on, "{steps:?}");
            assert!(
                (tuned.config.seeding.ratio - configured).abs() < 1e-9,
                "{steps:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        #[rustfmt::skip]
        let table = [
            (json!({"download_dir": "here"}),                 "download-dir: here: not an absolute path"),
            (json!({"seed_ratio_limit": -1}),                 "seed-ratio-limit: found -1, allowed: a number from 0 to 10000, such as 1.5"),
            (json!({"peer_limit_global": "many"}),            "peer-limit-global: found \"many\", allowed: a number from 1 to 1000000"),
            (json!({"download_queue_size": 0}),               "download-queue-size: 0 would be no limit: switch it off instead"),
            (json!({"seed_queue_enabled": 7}),                "seed_queue_enabled: true or false"),
        ];
        for (params, want) in table {
            let found = said(SettingsSnapshot::default(), &params).unwrap_err();
            assert_eq!(found, want, "{params}");
        }
    }

    #[test]
    fn every_setting_is_read_as_it_is_shown() {
        let tuned = SettingsSnapshot {
            config: Arc::new(Config::default()),
            ..SettingsSnapshot::default()
        };
        for setting in settings() {
            let mut params = shown(&tuned);
            params.retain(|name, _| setting.name == name);
            if setting.name.ends_with("_dir") {
                params.insert(setting.name.to_owned(), json!("/a/b \u{e9}"));
            }
            let value = params[setting.name].clone();
            let after = said(tuned.clone(), &Value::Object(params)).unwrap();
            assert_eq!(shown(&after)[setting.name], value, "{}", setting.name);
        }
    }
}
