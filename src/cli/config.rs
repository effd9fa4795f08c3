//! `linnet config`: the configuration in effect.

use clap::Args;

use super::{Context, Failure};
use crate::config::Loaded;
use crate::engine::library::SettingRow;
use crate::worker::read_settings;

/// Arguments of `config`.
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    /// Only say whether it is valid
    #[arg(long)]
    check: bool,
}

impl ConfigCommand {
    /// Prints TOML that is a valid configuration itself, the origin of each value behind it.
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let loaded = context.load_config()?;
        let file = loaded.file.as_ref().map(|path| path.display().to_string());
        let file = file.unwrap_or_else(|| "no file, built-in defaults".to_owned());
        if self.check {
            context.console.note(&format!("{file}: valid"));
            return Ok(());
        }
        let out = context.console.out();
        writeln!(out, "# {file}")?;
        let kept = kept(&loaded);
        let mut section = "";
        for (name, value, origin) in loaded.entries() {
            // As long as the configuration says the same as when a client changed it.
            let is_its = |row: &&SettingRow| row.key == name && row.configured == value;
            let (value, origin) = match kept.iter().find(is_its) {
                Some(row) => (
                    row.value.clone().unwrap_or_default(),
                    "set by a client of the daemon".to_owned(),
                ),
                None => (value, origin.to_string()),
            };
            let (in_section, key) = name.split_once('.').unwrap_or(("", name));
            if in_section != section {
                section = in_section;
                writeln!(out, "\n[{section}]")?;
            }
            if name == "rpc.password" && value != "\"\"" {
                // What is printed is pasted into bug reports.
                writeln!(out, "{:<48} # {origin}", "# password is set, and not shown")?;
                continue;
            }
            writeln!(out, "{:<48} # {origin}", format!("{key} = {value}"))?;
        }
        Ok(())
    }
}

/// What clients have set.
fn kept(loaded: &Loaded) -> Vec<SettingRow> {
    let read = loaded.state().and_then(read_settings);
    match read {
        Ok(remembered) => remembered.settings,
        Err(fault) => {
            log::warn!("what clients have set cannot be read: {fault}");
            Vec::new()
        }
    }
}
