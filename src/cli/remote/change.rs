//! What changes something: `add`, `remove`, `start`, `stop`, `recheck`, `pin`, `set`, `shutdown`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::{Daemon, Session, with};
use crate::cli::peer_name::PeerName;
use crate::cli::source::{self, reason};
use crate::cli::{Context, Failure};
use crate::gateway::words;

/// Arguments of `add`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// Torrent files, http(s) URLs of them, or magnet links
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// Where its files go, on the daemon's machine
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do not start it
    #[arg(long)]
    paused: bool,
    /// A label; may be repeated
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Add {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        // Read before anything is asked: a source that is not there stops all of it.
        let sources = self.sources.iter().map(|source| from(source));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        with(&self.daemon, context, |session| {
            let mut answers = Vec::new();
            for mut params in sources {
                params["paused"] = json!(self.paused);
                params["labels"] = json!(self.labels);
                if let Some(dir) = &self.dir {
                    let dir = std::path::absolute(dir).map_err(|fault| {
                        Failure::failed(format!("{}: {}", dir.display(), reason(&fault)))
                    })?;
                    params["download_dir"] = json!(dir.to_string_lossy());
                }
                answers.push(session.call(words::method("add"), &params)?);
            }
            if session.json {
                return session.print_json(&Value::Array(answers));
            }
            for answer in &answers {
                let (torrent, how) = match &answer["torrent_added"] {
                    Value::Null => (&answer["torrent_duplicate"], "is there already"),
                    torrent => (torrent, "added"),
                };
                let name = torrent["name"].as_str().unwrap_or_default();
                session
                    .console
                    .note(&format!("{} {name}: {how}", torrent["id"]));
            }
            Ok(())
        })
    }
}

/// A file is read here, so that the daemon may be on another machine; a URL is the daemon's to fetch.
fn from(source: &str) -> Result<Value, Failure> {
    let scheme = source.split_once(':').map(|(scheme, _)| scheme);
    let is = |name: &str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name));
    if is("http") || is("https") || is("magnet") {
        return Ok(json!({ "filename": source }));
    }
    let bytes = source::read_bytes(Path::new(source))?;
    Ok(json!({ "metainfo": STANDARD.encode(bytes) }))
}

/// What takes torrents and nothing else.
#[derive(Debug, Args)]
pub(in crate::cli) struct Start {
    /// Numbers, beginnings of hashes, or all
    #[arg(value_name = "TORRENT", required = true)]
    torrents: Vec<String>,
    #[command(flatten)]
    daemon: Daemon,
}

/// As [`Start`].
pub(in crate::cli) type Stop = Start;
/// As [`Start`].
pub(in crate::cli) type Recheck = Start;

impl Start {
    /// Calls `method` for them.
    pub(in crate::cli) fn run(&self, method: &str, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            act(session, &self.torrents, method, json!({}))
        })
    }
}

fn act(
    session: &mut Session<'_>,
    names: &[String],
    method: &str,
    mut params: Value,
) -> Result<(), Failure> {
    // All at once are named by no name.
    if names != ["all"] {
        params["ids"] = json!(session.ids(names)?);
    }
    let answer = session.call(method, &params)?;
    if session.json {
        session.print_json(&answer)?;
    }
    Ok(())
}

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    /// Numbers, beginnings of hashes, or all
    #[arg(value_name = "TORRENT", required = true)]
    torrents: Vec<String>,
    /// Delete its files too
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Remove {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            let params = json!({ "delete_local_data": self.delete });
            act(session, &self.torrents, words::method("remove"), params)
        })
    }
}

/// Arguments of `pin`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Pin {
    /// A number, the beginning of a hash, or all
    #[arg(value_name = "TORRENT")]
    torrent: String,
    /// The peer
    #[arg(value_name = "HOST:PORT")]
    peer: PeerName,
    #[command(flatten)]
    daemon: Daemon,
}

impl Pin {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let (host, port) = match &self.peer {
            PeerName::Address(address) => (address.ip().to_string(), address.port()),
            PeerName::Named(host, port) => (host.clone(), *port),
        };
        with(&self.daemon, context, |session| {
            let params = json!({ "host": host, "port": port });
            act(
                session,
                std::slice::from_ref(&self.torrent),
                words::method("pin"),
                params,
            )
        })
    }
}

/// Arguments of `set`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SetCommand {
    /// A number, the beginning of a hash, or all
    #[arg(value_name = "TORRENT")]
    torrent: String,
    /// labels=A,B · queue_position=N · files_wanted=0,1 · files_unwanted=2 · dir=DIR (its files are moved there) ·
    /// found_in=DIR (they are there) · rename=PATH:NAME · tracker_add=URL · tracker_remove=ID,ID
    #[arg(value_name = "KEY=VALUE", required = true)]
    settings: Vec<String>,
    #[command(flatten)]
    daemon: Daemon,
}

impl SetCommand {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let mut params = json!({});
        for setting in &self.settings {
            let read = words::setting(setting).map_err(|fault| Failure::Usage(vec![fault]))?;
            for (key, value) in read {
                params[key] = value;
            }
        }
        with(&self.daemon, context, |session| {
            for (method, keys) in [
                ("torrent_set_location", ["location", "move"]),
                ("torrent_rename_path", ["path", "name"]),
            ] {
                let mut own = json!({});
                for key in keys {
                    if let Some(value) = params.as_object_mut().and_then(|all| all.remove(key)) {
                        own[key] = value;
                    }
                }
                if own != json!({}) {
                    act(session, std::slice::from_ref(&self.torrent), method, own)?;
                }
            }
            if params == json!({}) {
                return Ok(());
            }
            act(
                session,
                std::slice::from_ref(&self.torrent),
                words::method("set"),
                params,
            )
        })
    }
}

/// Arguments of `shutdown`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Shutdown {
    /// How long it may take, in milliseconds; from the daemon's configuration by default
    #[arg(long, value_name = "MS")]
    budget: Option<u32>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Shutdown {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            let mut params = json!({});
            if let Some(budget) = self.budget {
                params["budget_ms"] = json!(budget);
            }
            let answer = session.call(words::method("shutdown"), &params)?;
            if session.json {
                session.print_json(&answer)?;
            }
            Ok(())
        })
    }
}
