//! Every key once: its name, what is allowed, and how a value gets into the [`Config`].

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::{DeInteger, DeValue};

use super::schedule::Window;
use super::{Backpressure, Config, Encryption, hooks, log_filter};

/// Most addresses to listen on.
const LISTEN_MAX: usize = 16;

/// Most texts in a list.
const TEXTS_MAX: usize = 256;

/// One setting.
pub(super) struct Key {
    /// `section.key`.
    pub(super) name: &'static str,
    /// For a person who wrote something else.
    pub(super) allowed: &'static str,
    /// Takes a value over; `None`, and no change, when it is not allowed.
    pub(super) set: fn(&mut Config, &DeValue<'_>) -> Option<()>,
}

macro_rules! number {
    ($section:ident . $key:ident, $low:literal to $high:literal) => {
        Key {
            name: concat!(stringify!($section), ".", stringify!($key)),
            allowed: concat!("a number from ", $low, " to ", $high),
            set: |config, value| {
                config.$section.$key = number(value, $low..=$high)?.try_into().ok()?;
                Some(())
            },
        }
    };
}

macro_rules! path {
    ($section:ident . $key:ident, $empty:literal) => {
        Key {
            name: concat!(stringify!($section), ".", stringify!($key)),
            allowed: if $empty {
                "a path in quotes, or \"\""
            } else {
                "a path in quotes, not empty"
            },
            set: |config, value| {
                let path = value.as_str().filter(|path| $empty || !path.is_empty())?;
                config.$section.$key = PathBuf::from(path);
                Some(())
            },
        }
    };
}

macro_rules! text {
    ($section:ident . $key:ident) => {
        Key {
            name: concat!(stringify!($section), ".", stringify!($key)),
            allowed: "a text in quotes, or \"\"",
            set: |config, value| {
                value.as_str()?.clone_into(&mut config.$section.$key);
                Some(())
            },
        }
    };
}

macro_rules! texts {
    ($section:ident . $key:ident) => {
        Key {
            name: concat!(stringify!($section), ".", stringify!($key)),
            allowed: "a list of at most 256 texts in quotes",
            set: |config, value| {
                let list = value.as_array()?.iter();
                let texts = list
                    .map(|item| item.get_ref().as_str().map(str::to_owned))
                    .collect::<Option<Vec<String>>>()?;
                config.$section.$key = Some(texts).filter(|list| list.len() <= TEXTS_MAX)?;
                Some(())
            },
        }
    };
}

macro_rules! hooks {
    ($name:literal, $allowed:literal) => {
        Key {
            name: $name,
            allowed: $allowed,
            set: |config, value| hooks::set(config, $name, value),
        }
    };
}

macro_rules! flag {
    ($section:ident . $key:ident) => {
        Key {
            name: concat!(stringify!($section), ".", stringify!($key)),
            allowed: "true or false",
            set: |config, value| {
                config.$section.$key = value.as_bool()?;
                Some(())
            },
        }
    };
}

/// A host and its port, of which there must be one; an IPv6 address in brackets.
#[must_use]
pub fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_v6 = |host: &&str| host.parse::<std::net::Ipv6Addr>().is_ok();
    let host = match bare {
        Some(address) => Some(address).filter(is_v6),
        None => Some(host).filter(|host| !host.is_empty() && !host.contains([':', '/', ' '])),
    };
    Some((host?, port))
}

/// All settings, in the order of `config.toml`.
pub(super) const KEYS: &[Key] = &[
    path!(paths.downloads, false),
    path!(paths.incomplete, true),
    path!(paths.watch, true),
    path!(paths.state, true),
    Key {
        name: "peer.listen",
        allowed: "a list of at most 16 \"ADDRESS:PORT\", IPv6 as \"[ADDRESS]:PORT\"",
        set: |config, value| {
            let list = value.as_array()?;
            let addresses = list
                .iter()
                .map(|item| item.get_ref().as_str()?.parse().ok())
                .collect::<Option<Vec<SocketAddr>>>()?;
            config.peer.listen = Some(addresses).filter(|list| list.len() <= LISTEN_MAX)?;
            Some(())
        },
    },
    flag!(peer.tcp),
    flag!(peer.utp),
    number!(peer.max_links, 1 to 1_000_000),
    number!(peer.max_links_per_swarm, 1 to 100_000),
    Key {
        name: "peer.encryption",
        allowed: "\"off\", \"allow\", \"prefer\" or \"require\"",
        set: |config, value| {
            config.peer.encryption = match value.as_str()? {
                "off" => Encryption::Off,
                "allow" => Encryption::Allow,
                "prefer" => Encryption::Prefer,
                "require" => Encryption::Require,
                _ => return None,
            };
            Some(())
        },
    },
    flag!(blocklist.enabled),
    texts!(blocklist.files),
    Key {
        name: "blocklist.url",
        allowed: "\"http://...\", \"https://...\" or \"\"",
        set: |config, value| {
            let url = value.as_str()?;
            let fine = ["http://", "https://"]
                .iter()
                .any(|one| url.starts_with(one));
            (fine || url.is_empty()).then(|| url.clone_into(&mut config.blocklist.url))
        },
    },
    texts!(blocklist.allow),
    flag!(discovery.trackers),
    flag!(discovery.dht),
    Key {
        name: "discovery.dht_bootstrap",
        allowed: "a list of at most 16 \"HOST:PORT\", IPv6 as \"[ADDRESS]:PORT\"",
        set: |config, value| {
            let list = value.as_array()?.iter();
            let nodes = list
                .map(|item| {
                    let text = item.get_ref().as_str()?;
                    host_and_port(text).map(|_| text.to_owned())
                })
                .collect::<Option<Vec<String>>>()?;
            config.discovery.dht_bootstrap = Some(nodes).filter(|list| list.len() <= LISTEN_MAX)?;
            Some(())
        },
    },
    flag!(discovery.dht_read_only),
    flag!(discovery.pex),
    flag!(discovery.lsd),
    number!(queue.max_active_downloads, 0 to 1_000_000),
    number!(queue.max_active_seeds, 0 to 1_000_000),
    number!(queue.max_active, 0 to 1_000_000),
    number!(queue.stalled_minutes, 0 to 1_000_000),
    flag!(queue.start_added),
    number!(limits.download, 0 to 100_000_000_000),
    number!(limits.upload, 0 to 100_000_000_000),
    number!(limits.alt_download, 0 to 100_000_000_000),
    number!(limits.alt_upload, 0 to 100_000_000_000),
    Key {
        name: "limits.alt_schedule",
        allowed: "a list of at most 256 hours such as \"mon-fri 09:00-17:00\", \"sat,sun 22:30-06:00\" or \"daily 01:00-02:00\"",
        set: |config, value| {
            let list = value.as_array()?.iter();
            let hours = list
                .map(|item| {
                    let text = item.get_ref().as_str()?;
                    Window::parse(text).map(|_| text.to_owned())
                })
                .collect::<Option<Vec<String>>>()?;
            config.limits.alt_schedule = Some(hours).filter(|list| list.len() <= TEXTS_MAX)?;
            Some(())
        },
    },
    Key {
        name: "seeding.ratio",
        allowed: "a number from 0 to 10000, such as 1.5",
        set: |config, value| {
            let number: f64 = match value {
                DeValue::Float(float) => float.as_str().parse().ok()?,
                DeValue::Integer(integer) => integer.as_str().parse().ok()?,
                _ => return None,
            };
            config.seeding.ratio = Some(number).filter(|one| (0.0..=10_000.0).contains(one))?;
            Some(())
        },
    },
    number!(seeding.idle_minutes, 0 to 1_000_000),
    number!(seeding.upload_slots, 0 to 100_000),
    number!(actor.queue_capacity, 16 to 1_048_576),
    Key {
        name: "actor.backpressure",
        allowed: "\"block\", \"reject\" or \"shed\"",
        set: |config, value| {
            config.actor.backpressure = match value.as_str()? {
                "block" => Backpressure::Block,
                "reject" => Backpressure::Reject,
                "shed" => Backpressure::Shed,
                _ => return None,
            };
            Some(())
        },
    },
    number!(actor.sync_timeout_ms, 1 to 600_000),
    number!(workers.threads, 0 to 1_024),
    number!(workers.cache_mib, 16 to 65_536),
    number!(links.retry_first_s, 1 to 604_800),
    number!(links.retry_max_s, 1 to 604_800),
    number!(links.failures_to_ignore, 1 to 1_000),
    number!(links.ignore_s, 0 to 604_800),
    number!(links.min_per_swarm, 0 to 100_000),
    Key {
        name: "rpc.bind",
        allowed: "\"ADDRESS:PORT\", \"unix:/PATH\" or \"\"",
        set: |config, value| {
            let bind = value.as_str()?;
            let path = bind.strip_prefix("unix:");
            let fine = path.is_some_and(|path| path.starts_with('/'))
                || bind.is_empty()
                || bind.parse::<SocketAddr>().is_ok();
            fine.then(|| bind.clone_into(&mut config.rpc.bind))
        },
    },
    text!(rpc.user),
    text!(rpc.password),
    path!(rpc.password_file, true),
    texts!(rpc.ip_whitelist),
    texts!(rpc.host_whitelist),
    path!(rpc.web_home, true),
    hooks!(
        "hooks.program",
        "a list of {command, events, encoder, ack, respawn}"
    ),
    hooks!("hooks.exec", "a list of {event, command}"),
    hooks!("hooks.webhook", "a list of {events, url}"),
    number!(shutdown.budget_ms, 0 to 600_000),
    Key {
        name: "log.level",
        allowed: "\"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or several such as \"warn,linnet::perf=debug\"",
        set: |config, value| {
            let level = value.as_str()?;
            if !level.split(',').all(|part| log_filter(part).is_some()) {
                return None;
            }
            level.clone_into(&mut config.log.level);
            Some(())
        },
    },
];

fn number(value: &DeValue<'_>, allowed: RangeInclusive<u64>) -> Option<u64> {
    let integer: &DeInteger<'_> = value.as_integer()?;
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    allowed.contains(&number).then_some(number)
}

/// Where the key called `name` stands in [`KEYS`].
pub(super) fn find(name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.name == name)
}

/// Whether there is a section of that name.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| section(key.name) == name)
}

/// What a person may have meant by `name`, a key with its section: the nearest one, if any is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    KEYS.iter()
        .map(|key| {
            // The right key in the wrong section is near.
            let strayed = last(key.name) == last(name);
            let steps = if strayed { 1 } else { distance(key.name, name) };
            (steps, key.name)
        })
        .min()
        .filter(|(steps, _)| *steps <= 3)
        .map(|(_, name)| name)
}

/// The section a person may have meant by `name`.
pub(super) fn nearest_section(name: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|key| section(key.name))
        .map(|known| (distance(known, name), known))
        .min()
        .filter(|(steps, _)| *steps <= 2)
        .map(|(_, name)| name)
}

pub(super) fn section(name: &str) -> &str {
    name.split_once('.').map_or(name, |(section, _)| section)
}

/// Letters to add, drop or change (Levenshtein); names longer than 64 bytes are far from everything.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}
