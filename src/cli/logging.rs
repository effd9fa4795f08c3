//! The log of one-shot commands: on stderr, above the bars.
//!
//! `log.level` is one level for all that is ours, or a list in the manner of `RUST_LOG`: `warn,linnet::perf=debug`. Targets are
//! the paths of modules (`linnet::engine`, `linnet::worker`), those of other crates, and the structured lines of the loop:
//! `linnet::perf`, `linnet::error`, `linnet::trace` (see `actor/figures/logs.rs`). A level alone leaves other crates at
//! `error`.

use std::io::{self, Write};

use env_logger::{Builder, Target};
use indicatif::MultiProgress;
use log::LevelFilter;

use crate::config::{Loaded, Origin};

/// Starts the log. One-shot commands tell a person what matters by themselves, so only errors are logged unless the
/// configuration asks for a level. Does nothing when there is a log already.
pub(super) fn start(loaded: &Loaded, bars: Option<MultiProgress>) {
    let asked = (loaded.entries())
        .any(|(name, _, origin)| name == "log.level" && *origin != Origin::Default);
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Error);
    builder.filter_module("linnet", LevelFilter::Error);
    for (target, level) in loaded.config.log.filters() {
        let Some(level) = level.parse::<LevelFilter>().ok().filter(|_| asked) else {
            continue;
        };
        if target.is_none() {
            builder.filter_level(LevelFilter::Error.min(level));
        }
        builder.filter_module(target.unwrap_or("linnet"), level);
    }
    if let Some(bars) = bars {
        builder.target(Target::Pipe(Box::new(AboveBars(bars))));
    }
    let _ = builder.try_init();
}

/// Starts the log of a daemon: lines with their time, at the level of the configuration.
pub(super) fn start_daemon(loaded: &Loaded) {
    let mut builder = Builder::new();
    let level = level_of(loaded);
    builder.filter_level(LevelFilter::Warn.min(level));
    // What is let through can be less, or more, later on.
    builder.filter_module("linnet", LevelFilter::Trace);
    let _ = builder.try_init();
    log::set_max_level(level);
}

/// The level of the configuration, from now on.
pub(super) fn set_level(loaded: &Loaded) {
    log::set_max_level(level_of(loaded));
}

fn level_of(loaded: &Loaded) -> LevelFilter {
    loaded.config.log.level.parse().unwrap_or(LevelFilter::Info)
}

/// Writes to stderr while the bars are away.
struct AboveBars(MultiProgress);

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
