//! Remote control: the commands that ask a daemon over its RPC, and print what it says as a table or as JSON.

mod change;
mod connect;
mod show;
mod table;

pub(super) use change::{Add, Pin, Recheck, Remove, SetCommand, Shutdown, Start, Stop};
pub(super) use connect::remote;
pub(super) use show::{Files, Info, List, Peers, Stats, Why};

use clap::Args;
use serde_json::{Value, json};

use super::{Console, Context, EXIT_NO_DAEMON, Failure};
use crate::gateway::remote::{Remote, RemoteError};

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
        let ids = select(&all, names).map_err(Failure::failed)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.get(&json!(ids), fields)
    }

    /// The numbers of the torrents that `names` mean.
    pub(super) fn ids(&mut self, names: &[String]) -> Result<Vec<u64>, Failure> {
        let all = self.get(&Value::Null, &["id", "hash_string", "name"])?;
        select(&all, names).map_err(Failure::failed)
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

/// Which of `torrents` are meant by `names`; each once, in the order named.
fn select(torrents: &[Value], names: &[String]) -> Result<Vec<u64>, String> {
    let mut ids: Vec<u64> = Vec::new();
    for name in names {
        let by_hash = |torrent: &&Value| {
            let hash = torrent["hash_string"].as_str().unwrap_or_default();
            hash.starts_with(&name.to_ascii_lowercase())
        };
        let number = name.parse::<u64>().ok();
        let by_number = |torrent: &&Value| number.is_some() && torrent["id"].as_u64() == number;
        let found: Vec<&Value> = if name == "all" {
            torrents.iter().collect()
        } else if let Some(torrent) = torrents.iter().find(by_number) {
            vec![torrent]
        } else {
            let found: Vec<&Value> = torrents.iter().filter(by_hash).collect();
            match found.len() {
                1 => found,
                0 => return Err(format!("{name}: no torrent has that number or hash")),
                count => return Err(format!("{name}: {count} torrents have such a hash")),
            }
        };
        for id in found.iter().filter_map(|torrent| torrent["id"].as_u64()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    Ok(ids)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torrents_are_named_by_number_or_the_beginning_of_a_hash() {
        let torrents = [
            json!({"id": 1, "hash_string": "12ab"}),
            json!({"id": 2, "hash_string": "cd00"}),
            json!({"id": 3, "hash_string": "cd11"}),
        ];
        type Case<'a> = (&'a [&'a str], Result<&'a [u64], &'a str>);
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            (&["1"],          Ok(&[1])),
            (&["12"],         Ok(&[1])),
            (&["CD0", "all"], Ok(&[2, 1, 3])),
            (&["cd"],         Err("cd: 2 torrents have such a hash")),
            (&["7"],          Err("7: no torrent has that number or hash")),
            (&[],             Ok(&[])),
        ];
        for (names, want) in table {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let want = want.map(<[u64]>::to_vec).map_err(str::to_owned);
            assert_eq!(select(&torrents, &names), want);
        }
    }
}
