//! Who is blocked: `ban` and `blocklist`.

use std::net::IpAddr;

use clap::Args;
use serde_json::json;

use super::table::{Side, Table};
use super::{Daemon, with};
use crate::cli::{Context, Failure};

/// Arguments of `ban`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Ban {
    /// Addresses; without any, all bans are listed
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// For how long; for good when it is not said
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "remove",
        requires = "addresses"
    )]
    minutes: Option<u32>,
    /// Take the bans back
    #[arg(long, requires = "addresses")]
    remove: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Ban {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            if !self.addresses.is_empty() {
                let mut params = json!({ "addresses": self.addresses });
                if let Some(minutes) = self.minutes {
                    params["minutes"] = json!(minutes);
                }
                let method = if self.remove { "ban_remove" } else { "ban_add" };
                session.call(method, &params)?;
                if !session.json {
                    return Ok(());
                }
            }
            let answer = session.call("ban_get", &json!({}))?;
            if session.json {
                return session.print_json(&answer["bans"]);
            }
            let mut table = Table::new(&[
                ("address", Side::Left),
                ("minutes left", Side::Right),
                ("why", Side::Left),
            ]);
            for ban in answer["bans"].as_array().into_iter().flatten() {
                let left = ban["seconds_left"].as_u64();
                let left = left.map_or_else(String::new, |left| left.div_ceil(60).to_string());
                let text = |name: &str| ban[name].as_str().unwrap_or_default().to_owned();
                table.row([text("address"), left, text("why")]);
            }
            let out = session.console.out();
            for line in table.lines() {
                writeln!(out, "{line}")?;
            }
            Ok(())
        })
    }
}

/// Arguments of `blocklist`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Blocklist {
    /// Fetch the list of blocklist.url, if there is one, and read all lists again
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Blocklist {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            if self.update {
                session.call("blocklist_update", &json!({}))?;
            }
            let fields =
                json!({ "fields": ["blocklist_enabled", "blocklist_size", "blocklist_url"] });
            let answer = session.call("session_get", &fields)?;
            if session.json {
                return session.print_json(&answer);
            }
            let holds = answer["blocklist_enabled"].as_bool().unwrap_or_default();
            let holds = if holds { "on" } else { "off" };
            let size = answer["blocklist_size"].as_u64().unwrap_or_default();
            writeln!(session.console.out(), "{size} ranges, {holds}")?;
            Ok(())
        })
    }
}
