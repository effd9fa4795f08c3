//! `linnet doctor`: looks at each part of the host that a download depends on, and says in plain words what to fix.
//!
//! Nothing is changed and no daemon is asked: what is looked at is what a start with this configuration would find. All that
//! waits for others does so at the same time and for at most [`PATIENCE`], so that it ends soon without a network too.

mod host;
mod net;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Context, EXIT_FAILED, Failure, source};
use crate::time::Duration;

/// For all answers from elsewhere together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Trackers that are tried; the others are not.
const TRACKERS_MAX: usize = 16;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Torrent files or trackers' URLs: whether those trackers can be reached
    #[arg(value_name = "TORRENT|URL")]
    sources: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Fine,
    /// It works, and could be better; or it could not be tested.
    Note,
    /// It does not work.
    Broken,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Short, and always the same.
    name: &'static str,
    status: Status,
    /// What was found.
    text: String,
    /// What to do about it; empty when nothing is to be done.
    fix: String,
}

impl Finding {
    fn fine(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Fine, text, "")
    }

    fn note(name: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(name, Status::Note, text, fix)
    }

    fn broken(name: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(name, Status::Broken, text, fix)
    }

    fn new(
        name: &'static str,
        status: Status,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (text, fix) = (text.into(), fix.into());
        Self {
            name,
            status,
            text,
            fix,
        }
    }
}

impl Doctor {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let loaded = context.load_config()?;
        let config = &loaded.config;
        let trackers = self.trackers()?;
        let mut findings = vec![match &loaded.file {
            Some(file) => Finding::fine("configuration", file.display().to_string()),
            None => Finding::fine("configuration", "no file, built-in defaults"),
        }];
        findings.extend(net::listeners(config));
        findings.push(net::daemon(config));
        findings.push(net::addresses());
        findings.extend(net::trackers(&trackers));
        findings.push(host::descriptors(config));
        findings.extend(host::directories(config, loaded.state()));
        if self.json {
            let out = context.console.out();
            let is_broken = is_broken(&findings);
            let report = serde_json::json!({ "healthy": !is_broken, "checks": findings });
            serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else {
            let out = context.console.out();
            for finding in &findings {
                let mark = match finding.status {
                    Status::Fine => "ok",
                    Status::Note => "note",
                    Status::Broken => "BROKEN",
                };
                writeln!(out, "{mark:<7} {:<14} {}", finding.name, finding.text)?;
                if !finding.fix.is_empty() {
                    writeln!(out, "{:<22} → {}", "", finding.fix)?;
                }
            }
        }
        match is_broken(&findings) {
            true => Err(Failure::Silent(EXIT_FAILED)),
            false => Ok(()),
        }
    }

    /// The trackers of what was named, each once.
    fn trackers(&self) -> Result<Vec<String>, Failure> {
        let mut urls: Vec<String> = Vec::new();
        for source in &self.sources {
            let text = source.to_string_lossy();
            let is_tracker = ["udp://", "http://", "https://"]
                .iter()
                .any(|scheme| text.starts_with(scheme));
            if is_tracker {
                urls.push(text.into_owned());
            } else {
                let torrent = source::read(source)?;
                urls.extend(torrent.trackers.into_iter().flatten());
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        urls.retain(|url| seen.insert(url.clone()));
        urls.truncate(TRACKERS_MAX);
        Ok(urls)
    }
}

fn is_broken(findings: &[Finding]) -> bool {
    findings.iter().any(|one| one.status == Status::Broken)
}
