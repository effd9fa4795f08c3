//! Every setting with its default. `config.toml` documents them; a test keeps the two equal.
//!
//! [`Config::load`] finds the file, applies `--set`, checks every value and remembers where it came from. The names, the
//! ranges and their texts are declared once, in `keys`.

pub mod hooks;
mod keys;
mod live;
mod load;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use keys::host_and_port;
pub use live::{NotLive, is_live};
pub use load::{ConfigError, Environment, Fault, Loaded, Origin};

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where things are.
    pub paths: Paths,
    /// How peers are met.
    pub peer: Peer,
    /// Whom nobody talks to.
    pub blocklist: Blocklist,
    /// Where peers come from.
    pub discovery: Discovery,
    /// How many torrents trade at a time.
    pub queue: Queue,
    /// How fast bytes may pass.
    pub limits: Limits,
    /// How we give.
    pub seeding: Seeding,
    /// The actor's mailbox.
    pub actor: Actor,
    /// The fixed pool.
    pub workers: Workers,
    /// How addresses are tried.
    pub links: Links,
    /// The front door of a daemon.
    pub rpc: Rpc,
    /// Programs that are told what happens.
    pub hooks: hooks::Hooks,
    /// The end.
    pub shutdown: Shutdown,
    /// What is told.
    pub log: Log,
}

/// `[paths]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// Where downloads go when nothing else is said. `~` is the home directory.
    pub downloads: PathBuf,
    /// Where a daemon's downloads are until they are complete. Empty: where they go.
    pub incomplete: PathBuf,
    /// Torrent files that are put here are added by a daemon. Empty: nowhere.
    pub watch: PathBuf,
    /// Where state is kept. Empty is `linnet` in `$XDG_STATE_HOME`; [`Config::load`] fills that in, where the environment
    /// allows it.
    pub state: PathBuf,
}

/// `[peer]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peer {
    /// Addresses to listen on; port 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// Whether streams may travel on TCP.
    pub tcp: bool,
    /// Whether streams may travel on uTP (BEP 29).
    pub utp: bool,
    /// Streams of the whole process.
    pub max_links: u32,
    /// Streams of one swarm.
    pub max_links_per_swarm: u32,
    /// Whether streams are encrypted.
    pub encryption: Encryption,
}

/// Whether streams to peers are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Never.
    Off,
    /// Where the other side wants it.
    Allow,
    /// Wherever the other side takes it; payload stays as it is where both allow that.
    Prefer,
    /// Always, payload too; who does not is not talked to.
    Require,
}

/// `[blocklist]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Blocklist {
    /// Whether the list holds.
    pub enabled: bool,
    /// Files that are read.
    pub files: Vec<String>,
    /// Where another is fetched from when somebody asks for it; empty: nowhere.
    pub url: String,
    /// Addresses and ranges that are never blocked.
    pub allow: Vec<String>,
}

/// `[discovery]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Discovery {
    /// Whether trackers are asked.
    pub trackers: bool,
    /// Whether the DHT is used, for torrents that are not private.
    pub dht: bool,
    /// Its nodes to begin with, `host:port`.
    pub dht_bootstrap: Vec<String>,
    /// Whether others are only asked, never answered.
    pub dht_read_only: bool,
    /// Whether peers tell each other of others.
    pub pex: bool,
    /// Whether our network is told, and heard.
    pub lsd: bool,
}

/// `[queue]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Downloads of a daemon that are active at a time; 0 is no limit.
    pub max_active_downloads: u32,
    /// Seeds that are; 0 is no limit.
    pub max_active_seeds: u32,
    /// Both together; 0 is no limit.
    pub max_active: u32,
    /// Minutes without a byte of payload after which a torrent does not count as active; 0 is never.
    pub stalled_minutes: u32,
    /// Whether a torrent that is added begins by itself.
    pub start_added: bool,
}

/// `[limits]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes a second that come in, of all torrents together; 0 is no limit.
    pub download: u64,
    /// The same for what goes out.
    pub upload: u64,
    /// In place of `download`, while the alternative limits hold.
    pub alt_download: u64,
    /// In place of `upload`, likewise.
    pub alt_upload: u64,
    /// When they hold, each as [`schedule::Window`] has it; by local time.
    pub alt_schedule: Vec<String>,
}

/// `[seeding]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seeding {
    /// Sent bytes for each wanted one until a daemon's torrent is stopped; 0 is no limit.
    pub ratio: f64,
    /// Minutes without sending a byte until it is; 0 is no limit.
    pub idle_minutes: u32,
    /// Peers of one torrent that may ask at the same time; 0 is no limit.
    pub upload_slots: u32,
}

impl Seeding {
    /// The ratio in thousandths.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates, and the range is checked"
    )]
    pub fn ratio_mille(&self) -> u32 {
        (self.ratio * 1000.0).round() as u32
    }
}

/// What a full mailbox does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backpressure {
    /// The sender waits.
    Block,
    /// The sender gets its message back.
    Reject,
    /// The oldest message of a lower lane goes.
    Shed,
}

/// `[actor]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Actor {
    /// Messages in all lanes together.
    pub queue_capacity: u32,
    /// What happens when they are full.
    pub backpressure: Backpressure,
    /// How long a caller waits.
    pub sync_timeout_ms: u64,
}

/// `[workers]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workers {
    /// 0 is one more than there are cores.
    pub threads: u32,
    /// All piece buffers together.
    pub cache_mib: u32,
}

/// `[links]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Links {
    /// First pause after a failed attempt.
    pub retry_first_s: u64,
    /// Longest pause between attempts.
    pub retry_max_s: u64,
    /// Failures in a row until an address is ignored.
    pub failures_to_ignore: u32,
    /// For how long.
    pub ignore_s: u64,
    /// Links a swarm asks discovery for.
    pub min_per_swarm: u32,
}

/// `[rpc]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rpc {
    /// An address, `unix:/path`, or nothing.
    pub bind: String,
    /// Empty: no password is asked for.
    pub user: String,
    /// Plain, or hashed with argon2.
    pub password: String,
    /// A file whose first line is the password; empty: none.
    pub password_file: PathBuf,
    /// Addresses that may ask; `*` stands for anything.
    pub ip_whitelist: Vec<String>,
    /// Host names that may be asked for, besides `localhost` and addresses.
    pub host_whitelist: Vec<String>,
    /// A folder of another web client's files; empty: none.
    pub web_home: PathBuf,
}

/// `[shutdown]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// For all phases together.
    pub budget_ms: u64,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// error, warn, info, debug or trace; or several, most of them for one part: `warn,linnet::perf=debug`.
    pub level: String,
}

impl Log {
    /// The parts of `level`: a target, none for everything that is ours, and how much of it is logged. A later part
    /// overrides an earlier one of the same target, and one of a longer target overrides those of its beginning.
    #[must_use]
    pub fn filters(&self) -> Vec<(Option<&str>, &str)> {
        self.level.split(',').filter_map(log_filter).collect()
    }
}

/// `LEVEL` or `TARGET=LEVEL`; `None` for anything else.
fn log_filter(part: &str) -> Option<(Option<&str>, &str)> {
    let (target, level) = match part.split_once('=') {
        Some((target, level)) => (Some(target.trim()), level.trim()),
        None => (None, part.trim()),
    };
    let is_target = |target: &str| {
        let word = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
        !target.is_empty() && target.chars().all(word)
    };
    let is_known = ["off", "error", "warn", "info", "debug", "trace"].contains(&level);
    (is_known && target.is_none_or(is_target)).then_some((target, level))
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            downloads: PathBuf::from("~/Downloads"),
            incomplete: PathBuf::new(),
            watch: PathBuf::new(),
            state: PathBuf::new(),
        }
    }
}

impl Default for Peer {
    fn default() -> Self {
        let listen =
            ["0.0.0.0:51413", "[::]:51413"].map(|text| text.parse().expect("a valid address"));
        Self {
            listen: listen.to_vec(),
            tcp: true,
            utp: true,
            max_links: 4000,
            max_links_per_swarm: 200,
            encryption: Encryption::Prefer,
        }
    }
}

impl Default for Blocklist {
    fn default() -> Self {
        Self {
            enabled: true,
            files: Vec::new(),
            url: String::new(),
            allow: Vec::new(),
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            trackers: true,
            dht: true,
            dht_bootstrap: [
                "router.bittorrent.com:6881",
                "dht.transmissionbt.com:6881",
                "dht.libtorrent.org:25401",
            ]
            .map(str::to_owned)
            .to_vec(),
            dht_read_only: false,
            pex: true,
            lsd: true,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max_active_downloads: 5,
            max_active_seeds: 0,
            max_active: 0,
            stalled_minutes: 30,
            start_added: true,
        }
    }
}

impl Default for Seeding {
    fn default() -> Self {
        Self {
            ratio: 0.0,
            idle_minutes: 0,
            upload_slots: 8,
        }
    }
}

impl Default for Actor {
    fn default() -> Self {
        Self {
            queue_capacity: 4096,
            backpressure: Backpressure::Block,
            sync_timeout_ms: 1000,
        }
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            threads: 0,
            cache_mib: 64,
        }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self {
            retry_first_s: 20,
            retry_max_s: 900,
            failures_to_ignore: 3,
            ignore_s: 900,
            min_per_swarm: 30,
        }
    }
}

impl Default for Rpc {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:9091".to_owned(),
            user: String::new(),
            password: String::new(),
            password_file: PathBuf::new(),
            ip_whitelist: vec!["127.0.0.1".to_owned(), "::1".to_owned()],
            host_whitelist: Vec::new(),
            web_home: PathBuf::new(),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { budget_ms: 2000 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
        }
    }
}
