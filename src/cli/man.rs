//! `linnet man`: the manual page, from the same table as `--help`.

use std::io::{self, Write};

use clap_mangen::Man;

use super::{Context, Failure};

/// What no table of arguments says.
const CLOSING: &str = r#".SH "EXIT STATUS"
0 all is well, 1 it failed, 2 the arguments are wrong, 130 interrupted before the end: the same command goes on.
.SH SIGNALS
SIGINT and SIGTERM end in order within shutdown.budget_ms; a second one ends at once. SIGUSR1 prints the metrics.
.SH FILES
.TP
$XDG_CONFIG_HOME/linnet/config.toml
The configuration; $LINNET_CONFIG or \-\-config name another.
.TP
$XDG_STATE_HOME/linnet
What is remembered between runs.
"#;

pub(super) fn run(context: Context<'_>) -> Result<(), Failure> {
    let mut command = super::command();
    command.build();
    let out = context.console.out();
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    for command in command.get_subcommands() {
        if command.get_name() != "help" {
            render(command, out)?;
        }
    }
    Ok(out.write_all(CLOSING.as_bytes())?)
}

/// One command as a section of the page: its own sections become subsections.
fn render(command: &clap::Command, out: &mut dyn Write) -> io::Result<()> {
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render_synopsis_section(&mut text)?;
    page.render_options_section(&mut text)?;
    let text = String::from_utf8_lossy(&text).replace(".SH ", ".SS ");
    let about = command.get_about().map(ToString::to_string);
    let name = command.get_name().to_uppercase();
    write!(
        out,
        ".SH \"LINNET {name}\"\n{}\n{text}",
        about.unwrap_or_default()
    )
}
