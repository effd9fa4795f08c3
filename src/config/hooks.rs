//! `[hooks]`: programs that are told what happens, and may give commands. Lists of tables, so that they are read here and not
//! by one line each in `keys`; a fault names the line of the entry's own key.

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::Config;
use crate::events::NAMES;

/// Entries of each list; a longer one is refused.
pub const ENTRIES_MAX: usize = 64;

/// Words of one command, and names of events of one entry; more are refused.
pub const WORDS_MAX: usize = 256;

/// `[hooks]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Helpers that run all the time.
    pub program: Vec<Program>,
    /// Commands that are run for one event.
    pub exec: Vec<Exec>,
    /// Addresses that events are posted to.
    pub webhook: Vec<Webhook>,
}

/// How a helper is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// One JSON object a line.
    #[default]
    Json,
    /// Words between spaces.
    Text,
}

/// `[[hooks.program]]`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The executable file and its arguments; no shell reads it.
    pub command: Vec<String>,
    /// Names of events; `*` stands for any end of a name.
    #[serde(default)]
    pub events: Vec<String>,
    /// How it is spoken to.
    #[serde(default)]
    pub encoder: Encoder,
    /// Whether its commands are answered.
    #[serde(default = "yes")]
    pub ack: bool,
    /// Whether it is started again when it ends.
    #[serde(default = "yes")]
    pub respawn: bool,
}

/// `[[hooks.exec]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The name of the event; `*` stands for any end of it.
    pub event: String,
    /// As in [`Program`].
    pub command: Vec<String>,
}

/// `[[hooks.webhook]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// As in [`Program`].
    pub events: Vec<String>,
    /// http or https.
    pub url: String,
}

const fn yes() -> bool {
    true
}

const COMMAND: &str = "an executable file and its arguments, such as [\"./helper.sh\", \"-v\"]";
const EVENT: &str = "a name of an event, such as \"session.completed\", \"session.*\" or \"*\"";
const EVENT_LIST: &str = "names of events, such as [\"session.completed\", \"peer.*\"] or [\"*\"]";
const SWITCH: &str = "true or false";
const URL: &str = "an http or https URL";

/// What one key of an entry takes: its name, whether it must be there, what is allowed, and whether a value is.
type Rule = (&'static str, bool, &'static str, fn(&DeValue<'_>) -> bool);

const PROGRAM: &[Rule] = &[
    ("command", true, COMMAND, is_command),
    ("events", false, EVENT_LIST, are_events),
    ("encoder", false, "\"json\" or \"text\"", is_encoder),
    ("ack", false, SWITCH, is_switch),
    ("respawn", false, SWITCH, is_switch),
];

const EXEC: &[Rule] = &[
    ("event", true, EVENT, is_event),
    ("command", true, COMMAND, is_command),
];

const WEBHOOK: &[Rule] = &[
    ("events", true, EVENT_LIST, are_events),
    ("url", true, URL, is_url),
];

fn texts<'a>(value: &'a DeValue<'_>) -> Option<Vec<&'a str>> {
    let list = value.as_array()?;
    let texts: Option<Vec<&str>> = list.iter().map(|item| item.get_ref().as_str()).collect();
    texts.filter(|texts| texts.len() <= WORDS_MAX)
}

fn is_command(value: &DeValue<'_>) -> bool {
    texts(value).is_some_and(|words| {
        words.first().is_some_and(|first| !first.is_empty())
            && words.iter().all(|word| !word.contains('\0'))
    })
}

fn is_name(name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(prefix) => NAMES.iter().any(|known| known.starts_with(prefix)),
        None => NAMES.contains(&name),
    }
}

fn is_event(value: &DeValue<'_>) -> bool {
    value.as_str().is_some_and(is_name)
}

fn are_events(value: &DeValue<'_>) -> bool {
    texts(value).is_some_and(|names| names.into_iter().all(is_name))
}

fn is_encoder(value: &DeValue<'_>) -> bool {
    matches!(value.as_str(), Some("json" | "text"))
}

fn is_switch(value: &DeValue<'_>) -> bool {
    value.as_bool().is_some()
}

fn is_url(value: &DeValue<'_>) -> bool {
    let host = value.as_str().and_then(|url| {
        let rest = url.strip_prefix("http://");
        rest.or_else(|| url.strip_prefix("https://"))
    });
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
}

/// Something wrong within a list: where in the text (the entry's key, or 0 for "the list itself"), which key, what was found
/// (none: it is missing), what is allowed.
#[derive(Debug)]
pub(super) struct Wrong {
    /// An offset in the file.
    pub(super) at: Option<usize>,
    /// The name of the inner key, empty for the list itself.
    pub(super) key: String,
    /// Where the value stands in the file.
    pub(super) found: Option<std::ops::Range<usize>>,
    /// For a person.
    pub(super) allowed: String,
}

fn rules(name: &str) -> Option<&'static [Rule]> {
    Some(match name {
        "hooks.program" => PROGRAM,
        "hooks.exec" => EXEC,
        "hooks.webhook" => WEBHOOK,
        _ => return None,
    })
}

/// Whether the key called `name` is one of these lists.
pub(super) fn is_list(name: &str) -> bool {
    rules(name).is_some()
}

/// Everything that is wrong with the value of the list called `name`.
pub(super) fn wrongs(name: &str, value: &DeValue<'_>) -> Vec<Wrong> {
    let whole = |allowed: String| {
        vec![Wrong {
            at: None,
            key: String::new(),
            found: None,
            allowed,
        }]
    };
    let Some(rules) = rules(name) else {
        return Vec::new();
    };
    let Some(list) = value.as_array() else {
        return whole(format!("tables, each begun by [[{name}]]"));
    };
    if list.len() > ENTRIES_MAX {
        return whole(format!("at most {ENTRIES_MAX} of [[{name}]]"));
    }
    let mut wrongs = Vec::new();
    for entry in list {
        let Some(table) = entry.get_ref().as_table() else {
            wrongs.push(Wrong {
                at: Some(entry.span().start),
                key: String::new(),
                found: Some(entry.span()),
                allowed: format!("a table, begun by [[{name}]]"),
            });
            continue;
        };
        entry_wrongs(rules, entry.span().start, table, &mut wrongs);
    }
    wrongs
}

fn entry_wrongs(rules: &[Rule], at: usize, table: &DeTable<'_>, wrongs: &mut Vec<Wrong>) {
    for (key, value) in table {
        let rule = rules.iter().find(|(name, ..)| name == key.get_ref());
        let allowed = match rule {
            Some((_, _, _, is_allowed)) if is_allowed(value.get_ref()) => continue,
            Some((_, _, allowed, _)) => (*allowed).to_owned(),
            None => {
                let names: Vec<&str> = rules.iter().map(|(name, ..)| *name).collect();
                format!("one of the keys {}", names.join(", "))
            }
        };
        wrongs.push(Wrong {
            at: Some(key.span().start),
            key: key.get_ref().to_string(),
            found: Some(value.span()),
            allowed,
        });
    }
    for (name, must, allowed, _) in rules {
        if *must && !table.contains_key(*name) {
            wrongs.push(Wrong {
                at: Some(at),
                key: (*name).to_owned(),
                found: None,
                allowed: (*allowed).to_owned(),
            });
        }
    }
}

/// Takes a list over that has nothing wrong; `None`, and no change, otherwise.
pub(super) fn set(config: &mut Config, name: &str, value: &DeValue<'_>) -> Option<()> {
    if !wrongs(name, value).is_empty() {
        return None;
    }
    let tables: Vec<&DeTable<'_>> = value
        .as_array()?
        .iter()
        .map(|entry| entry.get_ref().as_table())
        .collect::<Option<_>>()?;
    let list = |table: &DeTable<'_>, key: &str| -> Vec<String> {
        let value = table.get(key).and_then(|value| texts(value.get_ref()));
        let words = value.unwrap_or_default();
        words.into_iter().map(str::to_owned).collect()
    };
    let one = |table: &DeTable<'_>, key: &str| -> String {
        let value = table.get(key).and_then(|value| value.get_ref().as_str());
        value.unwrap_or_default().to_owned()
    };
    let switch = |table: &DeTable<'_>, key: &str| -> bool {
        let value = table.get(key).and_then(|value| value.get_ref().as_bool());
        value.unwrap_or(true)
    };
    let hooks = &mut config.hooks;
    match name {
        "hooks.program" => {
            let program = |table: &&DeTable<'_>| Program {
                command: list(table, "command"),
                events: list(table, "events"),
                encoder: match one(table, "encoder").as_str() {
                    "text" => Encoder::Text,
                    _ => Encoder::Json,
                },
                ack: switch(table, "ack"),
                respawn: switch(table, "respawn"),
            };
            hooks.program = tables.iter().map(program).collect();
        }
        "hooks.exec" => {
            let exec = |table: &&DeTable<'_>| Exec {
                event: one(table, "event"),
                command: list(table, "command"),
            };
            hooks.exec = tables.iter().map(exec).collect();
        }
        _ => {
            let webhook = |table: &&DeTable<'_>| Webhook {
                events: list(table, "events"),
                url: one(table, "url"),
            };
            hooks.webhook = tables.iter().map(webhook).collect();
        }
    }
    Some(())
}
