//! `linnet completions`: scripts for shells.

use clap::Args;
use clap_complete::Shell;

use super::{Context, Failure};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        // Into memory first: the generator panics when its reader goes away.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "linnet", &mut script);
        Ok(context.console.out().write_all(&script)?)
    }
}
