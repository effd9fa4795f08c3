//! Progress bars, drawn by the main thread alone: no bar ticks by itself, since that would be a thread.

use std::fmt::Display;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::console::printable;

/// Bars on the screen at once; further torrents get theirs when one of these is done.
pub(super) const BARS_MAX: usize = 20;

/// Letters of a name that a bar has room for.
const NAME: &str = "{prefix:24!} [{bar:24=>-}] {percent:>3} %  {wide_msg}";

/// A set of bars, or none where stderr is no terminal.
pub(super) struct Bars {
    screen: Option<MultiProgress>,
    shown: usize,
}

impl Bars {
    pub(super) fn on(screen: Option<MultiProgress>) -> Self {
        Self { screen, shown: 0 }
    }

    /// A bar of 1000 steps, when there is room for one.
    pub(super) fn add(&mut self, name: &str) -> Option<Bar> {
        let screen = self.screen.as_ref().filter(|_| self.shown < BARS_MAX)?;
        let style = ProgressStyle::with_template(NAME).expect("a valid template");
        let bar = screen.add(ProgressBar::new(STEPS));
        bar.set_style(style);
        bar.set_prefix(printable(name));
        self.shown += 1;
        Some(Bar(bar))
    }

    /// Takes a bar off the screen.
    pub(super) fn remove(&mut self, bar: Bar) {
        bar.0.finish_and_clear();
        if let Some(screen) = &self.screen {
            screen.remove(&bar.0);
        }
        self.shown -= 1;
    }
}

/// How finely a bar moves.
const STEPS: u64 = 1000;

/// One bar.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Moves the bar to `done` of `all`, with `text` behind it.
    pub(super) fn show(&self, done: u64, all: u64, text: impl Display) {
        let step = u128::from(done.min(all)) * u128::from(STEPS) / u128::from(all.max(1));
        let step = if all == 0 { u128::from(STEPS) } else { step };
        self.0.set_message(printable(&text.to_string()));
        self.0.set_position(u64::try_from(step).unwrap_or(STEPS));
        self.0.tick();
    }
}
