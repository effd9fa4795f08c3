//! Keys that can be changed while running: one value, given as text, put into a [`Config`].
//!
//! A value is JSON or TOML: of what the keys below can hold, one is written as the other is read.

use std::fmt;

use toml::de::DeValue;

use super::Config;
use super::keys::{self, KEYS};

/// Keys that the engine takes over at once, and that a client may change.
const LIVE: &[&str] = &[
    "paths.downloads",
    "paths.incomplete",
    "peer.tcp",
    "peer.utp",
    "peer.max_links",
    "peer.max_links_per_swarm",
    "discovery.dht",
    "peer.encryption",
    "discovery.pex",
    "discovery.lsd",
    "blocklist.enabled",
    "blocklist.url",
    "queue.max_active_downloads",
    "queue.max_active_seeds",
    "queue.max_active",
    "queue.stalled_minutes",
    "queue.start_added",
    "seeding.ratio",
    "seeding.idle_minutes",
    "seeding.upload_slots",
];

/// Whether the engine takes over a new value of the key at once.
#[must_use]
pub fn is_live(key: &str) -> bool {
    LIVE.contains(&key)
}

/// Why a value was not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotLive {
    /// There is no such key, or only a restart changes it.
    Key,
    /// It is not allowed; this is.
    Value(&'static str),
}

impl fmt::Display for NotLive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("it cannot be changed while running"),
            Self::Value(allowed) => write!(f, "allowed: {allowed}"),
        }
    }
}

impl Config {
    /// Gives the live key called `name` the value that `text` says.
    ///
    /// # Errors
    /// It is no live key, or the value is not allowed; nothing has changed then.
    pub fn set_live(&mut self, name: &str, text: &str) -> Result<(), NotLive> {
        let key = keys::find(name)
            .filter(|_| is_live(name))
            .ok_or(NotLive::Key)?;
        let key = &KEYS[key];
        let wrong = NotLive::Value(key.allowed);
        let value = DeValue::parse(text).map_err(|_| wrong.clone())?;
        (key.set)(self, value.get_ref()).ok_or(wrong)
    }

    /// The values of all live keys, as [`Self::set_live`] reads them.
    #[must_use]
    pub fn live(&self) -> Vec<(&'static str, String)> {
        let table = toml::Value::try_from(self).ok();
        let text = |name: &&'static str| {
            let (section, key) = name.split_once('.')?;
            let value = table.as_ref()?.get(section)?.get(key)?;
            Some((*name, value.to_string()))
        };
        LIVE.iter().filter_map(text).collect()
    }

    /// The value of one live key.
    #[must_use]
    pub fn live_text(&self, name: &str) -> Option<String> {
        let mut all = self.live().into_iter();
        all.find(|(key, _)| *key == name).map(|(_, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_key_is_read_as_it_is_written() {
        let mut config = Config::default();
        let live = config.live();
        assert_eq!(live.len(), LIVE.len(), "every one is a key");
        for (name, text) in live {
            assert_eq!(config.set_live(name, &text), Ok(()), "{name} = {text}");
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn a_value_is_taken_over_or_nothing_changes() {
        #[rustfmt::skip]
        let table = [
            ("seeding.ratio",        "2",           Ok(())),
            ("seeding.ratio",        "1.5",         Ok(())),
            ("seeding.ratio",        "-1",          Err(NotLive::Value("a number from 0 to 10000, such as 1.5"))),
            ("queue.start_added",    "false",       Ok(())),
            ("queue.start_added",    "0",           Err(NotLive::Value("true or false"))),
            ("paths.downloads",      r#""/a \"b""#, Ok(())),
            ("paths.downloads",      "[",           Err(NotLive::Value("a path in quotes, not empty"))),
            ("workers.cache_mib",    "64",          Err(NotLive::Key)),
            ("nothing.at_all",       "1",           Err(NotLive::Key)),
        ];
        for (name, text, want) in table {
            let mut config = Config::default();
            assert_eq!(config.set_live(name, text), want, "{name} = {text}");
            assert_eq!(config != Config::default(), want.is_ok(), "{name} = {text}");
        }
    }
}
