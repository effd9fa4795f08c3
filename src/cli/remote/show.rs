//! What only looks: `list`, `info`, `why`, `files`, `peers`, `stats`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::table::{Side, Table};
use super::{Daemon, Session, with};
use crate::cli::globs::Globs;
use crate::cli::{Context, Failure, units};
use crate::gateway::words::{self, FILES, LIST, PEERS, WHY};

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn percent(value: &Value) -> String {
    format!("{:.1} %", value.as_f64().unwrap_or(0.0) * 100.0)
}

fn print(session: &mut Session<'_>, table: &Table) -> Result<(), Failure> {
    let out = session.console.out();
    for line in table.lines() {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    daemon: Daemon,
}

impl List {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            let torrents = session.get(&Value::Null, LIST)?;
            if session.json {
                return session.print_json(&Value::Array(torrents));
            }
            let mut table = Table::new(&[
                ("#", Side::Right),
                ("state", Side::Left),
                ("done", Side::Right),
                ("size", Side::Right),
                ("down", Side::Right),
                ("up", Side::Right),
                ("ratio", Side::Right),
                ("peers", Side::Right),
                ("name", Side::Left),
            ]);
            for torrent in &torrents {
                let ratio = torrent["upload_ratio"].as_f64().unwrap_or(-1.0);
                table.row([
                    text(&torrent["id"]),
                    text(&torrent["state"]),
                    percent(&torrent["percent_done"]),
                    units::size(number(&torrent["size_when_done"])),
                    units::rate(number(&torrent["rate_download"])),
                    units::rate(number(&torrent["rate_upload"])),
                    if ratio < 0.0 {
                        "-".to_owned()
                    } else {
                        format!("{ratio:.2}")
                    },
                    text(&torrent["peers_connected"]),
                    text(&torrent["name"]),
                ]);
            }
            print(session, &table)?;
            for torrent in &torrents {
                let error = text(&torrent["error_string"]);
                if !error.is_empty() {
                    let line = format!("{}: {error}", text(&torrent["name"]));
                    session.console.note(&line);
                }
            }
            Ok(())
        })
    }
}

/// Arguments of `info`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Info {
    /// Numbers, beginnings of hashes, or all
    #[arg(value_name = "TORRENT", required = true)]
    torrents: Vec<String>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Fields of `info` beside those of a list, as they are called for people.
#[rustfmt::skip]
const INFO: &[(&str, &str)] = &[
    ("hash", "hash_string"), ("state", "state"), ("error", "error_string"), ("where", "download_dir"), ("labels", "labels"),
    ("pieces", "piece_count"), ("piece size", "piece_size"), ("private", "is_private"), ("comment", "comment"),
    ("created by", "creator"), ("peers", "peers_connected"), ("seconds downloading", "seconds_downloading"),
    ("seconds seeding", "seconds_seeding"), ("magnet", "magnet_link"),
];

impl Info {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            let torrents = session.torrents(&self.torrents, words::INFO)?;
            if session.json {
                return session.print_json(&Value::Array(torrents));
            }
            for torrent in &torrents {
                let mut table = Table::new(&[("", Side::Left), ("", Side::Left)]);
                table.row([text(&torrent["id"]), text(&torrent["name"])]);
                table.row([
                    "done".to_owned(),
                    format!(
                        "{}, {} of {}",
                        percent(&torrent["percent_done"]),
                        units::size(number(&torrent["have_valid"])),
                        units::size(number(&torrent["total_size"]))
                    ),
                ]);
                for (title, field) in INFO {
                    let value = match &torrent[*field] {
                        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
                        length if *field == "piece_size" => units::size(number(length)),
                        other => text(other),
                    };
                    if !value.is_empty() {
                        table.row([(*title).to_owned(), value]);
                    }
                }
                for tracker in torrent["trackers"].as_array().into_iter().flatten() {
                    table.row(["tracker".to_owned(), text(&tracker["announce"])]);
                }
                let out = session.console.out();
                for line in table.lines().into_iter().skip(1) {
                    writeln!(out, "{line}")?;
                }
                writeln!(out)?;
            }
            Ok(())
        })
    }
}

/// Arguments of `files`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Files {
    /// A number, the beginning of a hash, or all
    #[arg(value_name = "TORRENT")]
    torrent: String,
    /// From now on fetch only the files that match, such as '*.mkv,Extra/*': names anywhere, or paths inside the torrent
    #[arg(long, value_name = "GLOBS")]
    only: Option<Globs>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Files {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            let names = std::slice::from_ref(&self.torrent);
            if let Some(globs) = &self.only {
                only(session, names, globs)?;
            }
            let torrents = session.torrents(names, FILES)?;
            if session.json {
                return session.print_json(&Value::Array(torrents));
            }
            let mut table = Table::new(&[
                ("#", Side::Right),
                ("done", Side::Right),
                ("get", Side::Left),
                ("size", Side::Right),
                ("name", Side::Left),
            ]);
            for torrent in &torrents {
                let files = torrent["files"].as_array().into_iter().flatten();
                for (index, file) in files.enumerate() {
                    let (have, length) =
                        (number(&file["bytes_completed"]), number(&file["length"]));
                    let wanted = torrent["file_stats"][index]["wanted"] == json!(true);
                    let done = (have * 100).checked_div(length).unwrap_or(100);
                    table.row([
                        index.to_string(),
                        format!("{done} %"),
                        if wanted { "yes" } else { "no" }.to_owned(),
                        units::size(length),
                        text(&file["name"]),
                    ]);
                }
            }
            print(session, &table)
        })
    }
}

/// Has the daemon fetch only the files that `globs` choose, of each torrent that `names` mean.
fn only(session: &mut Session<'_>, names: &[String], globs: &Globs) -> Result<(), Failure> {
    let torrents = session.torrents(names, &["id", "name", "files"])?;
    // All are looked at before any is changed.
    let choose = |torrent: &Value| {
        let files = torrent["files"].as_array().map_or(&[][..], Vec::as_slice);
        let path = |file: &'_ Value| PathBuf::from(file["name"].as_str().unwrap_or_default());
        let paths: Vec<PathBuf> = files.iter().map(path).collect();
        globs
            .choose(paths.iter().map(PathBuf::as_path))
            .map_err(|fault| Failure::failed(format!("{}: --only {fault}", text(&torrent["name"]))))
    };
    let chosen: Vec<Vec<bool>> = torrents.iter().map(choose).collect::<Result<_, _>>()?;
    for (torrent, marks) in torrents.iter().zip(chosen) {
        let marked = |mark: bool| {
            let marks = marks.iter().enumerate();
            let files = marks.filter(|(_, one)| **one == mark).map(|(file, _)| file);
            files.collect::<Vec<_>>()
        };
        // An empty list means all of them.
        let mut params = json!({ "ids": [torrent["id"]] });
        for (key, files) in [
            ("files_wanted", marked(true)),
            ("files_unwanted", marked(false)),
        ] {
            if !files.is_empty() {
                params[key] = json!(files);
            }
        }
        session.call("torrent_set", &params)?;
    }
    Ok(())
}

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Peers {
    /// A number, the beginning of a hash, or all
    #[arg(value_name = "TORRENT")]
    torrent: String,
    #[command(flatten)]
    daemon: Daemon,
}

impl Peers {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            let torrents = session.torrents(std::slice::from_ref(&self.torrent), PEERS)?;
            if session.json {
                return session.print_json(&Value::Array(torrents));
            }
            let mut table = Table::new(&[
                ("address", Side::Left),
                ("done", Side::Right),
                ("down", Side::Right),
                ("up", Side::Right),
                ("flags", Side::Left),
                ("client", Side::Left),
            ]);
            for torrent in &torrents {
                for peer in torrent["peers"].as_array().into_iter().flatten() {
                    let (address, port) = (text(&peer["address"]), text(&peer["port"]));
                    table.row([
                        if address.contains(':') {
                            format!("[{address}]:{port}")
                        } else {
                            format!("{address}:{port}")
                        },
                        percent(&peer["progress"]),
                        units::rate(number(&peer["rate_to_client"])),
                        units::rate(number(&peer["rate_to_peer"])),
                        text(&peer["flag_str"]),
                        text(&peer["client_name"]),
                    ]);
                }
            }
            print(session, &table)
        })
    }
}

/// Arguments of `why`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Why {
    /// Numbers, beginnings of hashes, or all
    #[arg(value_name = "TORRENT", required = true)]
    torrents: Vec<String>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Why {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            let torrents = session.torrents(&self.torrents, WHY)?;
            if session.json {
                return session.print_json(&Value::Array(torrents));
            }
            let mut table = Table::new(&[
                ("#", Side::Right),
                ("name", Side::Left),
                ("why", Side::Left),
            ]);
            for torrent in &torrents {
                table.row(["id", "name", "why"].map(|field| text(&torrent[field])));
            }
            print(session, &table)
        })
    }
}

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Stats {
    #[command(flatten)]
    daemon: Daemon,
}

impl Stats {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        with(&self.daemon, context, |session| {
            let metrics = session.call("metrics_get", &json!({}))?;
            let stats = session.call(words::method("stats"), &json!({}))?;
            if session.json {
                let mut all = metrics;
                if let (Value::Object(all), Value::Object(stats)) = (&mut all, stats) {
                    all.extend(stats);
                }
                return session.print_json(&all);
            }
            let (run, ever) = (&stats["current_stats"], &stats["cumulative_stats"]);
            #[rustfmt::skip]
            let rows = [
                ("torrents",            text(&stats["torrent_count"])),
                ("of them stopped",     text(&stats["paused_torrent_count"])),
                ("down",                units::rate(number(&stats["download_speed"]))),
                ("up",                  units::rate(number(&stats["upload_speed"]))),
                ("received, this run",  units::size(number(&run["downloaded_bytes"]))),
                ("sent, this run",      units::size(number(&run["uploaded_bytes"]))),
                ("received, ever",      units::size(number(&ever["downloaded_bytes"]))),
                ("sent, ever",          units::size(number(&ever["uploaded_bytes"]))),
                ("running for",         units::time(std::time::Duration::from_secs(number(&run["seconds_active"])))),
                ("seen from outside",   outside(&stats["external_addresses"])),
                ("DHT nodes",           dht_nodes(&metrics["engine"])),
                ("DHT questions",       dht_questions(&metrics["engine"])),
                ("DHT questions of others", text(&metrics["engine"]["dht_queries_received"])),
                ("DHT peers found",     text(&metrics["engine"]["dht_peers_found"])),
                ("memory",              units::size(number(&metrics["memory_usage_bytes"]))),
                ("messages",            text(&metrics["messages_processed_total"])),
            ];
            let out = session.console.out();
            for (title, value) in rows {
                writeln!(out, "{title:<20} {value}")?;
            }
            Ok(())
        })
    }
}

/// Nodes by family.
fn dht_nodes(engine: &Value) -> String {
    let [v4, v6] = ["dht_nodes_v4", "dht_nodes_v6"].map(|name| number(&engine[name]));
    format!("{v4} IPv4, {v6} IPv6")
}

/// Questions, and how many of those that are over were answered.
fn dht_questions(engine: &Value) -> String {
    let names = [
        "dht_queries_sent",
        "dht_queries_answered",
        "dht_queries_lost",
    ];
    let [sent, answered, lost] = names.map(|name| number(&engine[name]));
    match (100 * answered).checked_div(answered + lost) {
        Some(percent) => format!("{sent}, {percent} % answered"),
        None => sent.to_string(),
    }
}

/// Our addresses, as others see them.
fn outside(addresses: &Value) -> String {
    let all = addresses.as_array().into_iter().flatten();
    let all: Vec<_> = all.filter_map(Value::as_str).collect();
    if all.is_empty() {
        return "not known yet".to_owned();
    }
    all.join(" and ")
}
