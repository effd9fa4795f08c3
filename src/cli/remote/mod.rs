//! Remote control: the commands that ask a daemon over its RPC, and print what it says as a table or as JSON.

mod blocks;
mod change;
mod connect;
mod limits;
mod show;
mod table;

pub(super) use blocks::{Ban, Blocklist};
pub(super) use change::{Add, Pin, Recheck, Remove, SetCommand, Shutdown, Start, Stop};
pub(super) use connect::remote;
pub(super) use limits::Limits;
pub(super) use show::{Files, Info, List, Peers, Stats, Why};

use clap::Args;
use serde_json::{Value, json};

use super::{Console, Context, EXIT_NO_DAEMON, Failure};
use crate::gateway::remote::{Remote, RemoteError};
use crate::gateway::words;

/// How a daemon is found.
#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// Its RPC, such as http://host:9091 or unix:/path; from the configuration by default
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
    /// Who asks; from the configuration by default
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The password; from the configuration by default
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A daemon, and where to print what it says.
pub(super) struct Session<'a> {
    remote: Remote,
    pub(super) console: &'a mut Console,
    pub(super) json: bool,
}

impl Session<'_> {
    /// Calls `method`; its result.
    pub(super) fn call(&mut self, method: &str, params: &Value) -> Result<Value, Failure> {
        self.remote
            .call(method, params)
            .map_err(|fault| match fault {
                RemoteError::NotThere(text) => {
                    self.console.note(&format!("linnet: {text}"));
                    Failure::Silent(EXIT_NO_DAEMON)
                }
                RemoteError::Refused(text) => Failure::failed(format!("the daemon: {text}")),
            })
    }

    /// Prints `value` as one JSON document.
    pub(super) fn print_json(&mut self, value: &Value) -> Result<(), Failure> {
        let out = self.console.out();
        serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
        writeln!(out)?;
        Ok(())
    }

    /// The torrents that `names` mean, with `fields` of each: a number, the beginning of a hash, or `all`.
    pub(super) fn torrents(
        &mut self,
        names: &[String],
        fields: &[&str],
    ) -> Result<Vec<Value>, Failure> {
        let all = self.get(&Value::Null, &["id", "hash_string", "name"])?;
        let ids = words::select(&all, names).map_err(Failure::failed)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.get(&json!(ids), fields)
    }

    /// The numbers of the torrents that `names` mean.
    pub(super) fn ids(&mut self, names: &[String]) -> Result<Vec<u64>, Failure> {
        let all = self.get(&Value::Null, &["id", "hash_string", "name"])?;
        words::select(&all, names).map_err(Failure::failed)
    }

    pub(super) fn get(&mut self, ids: &Value, fields: &[&str]) -> Result<Vec<Value>, Failure> {
        let mut params = json!({ "fields": fields });
        if !ids.is_null() {
            params["ids"] = ids.clone();
        }
        let mut result = self.call("torrent_get", &params)?;
        match result["torrents"].take() {
            Value::Array(torrents) => Ok(torrents),
            _ => Err(Failure::failed("the daemon: its answer has no torrents")),
        }
    }
}

/// Opens the way to the daemon, and does `what` with it.
pub(super) fn with(
    daemon: &Daemon,
    context: Context<'_>,
    what: impl FnOnce(&mut Session<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let remote = remote(daemon, &context)?;
    let mut session = Session {
        remote,
        console: context.console,
        json: daemon.json,
    };
    what(&mut session)
}
