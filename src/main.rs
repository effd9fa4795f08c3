//! The binary: arguments and environment in, an exit code out.

use std::path::PathBuf;
use std::process::ExitCode;

use linnet::cli::{self, Console};
use linnet::config::Environment;

fn main() -> ExitCode {
    let path = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let environment = Environment {
        home: path("HOME"),
        linnet_config: path("LINNET_CONFIG"),
        xdg_config_home: path("XDG_CONFIG_HOME"),
        xdg_state_home: path("XDG_STATE_HOME"),
    };
    let mut console = Console::of_process();
    ExitCode::from(cli::run(std::env::args_os(), &environment, &mut console))
}
