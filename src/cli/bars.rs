//! Progress bars, drawn by the main thread alone: no bar ticks by itself, since that would be a thread.

use std::fmt::Display;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::console::printable;

/// Bars on the screen at once; further torrents get theirs when one of these is done.
pub(super) const BARS_MAX: usize = 20;

/// A bar's line: the name in 24 columns, the bar, and as much of the words as the terminal has room for.
const TEMPLATE: &str = "{prefix:24!} [{bar:24}] {percent:>3} %  {wide_msg}";

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
        let style = ProgressStyle::with_template(TEMPLATE)
            .expect("a valid template")
            .progress_chars("=> ");
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
    /// Gives it another name.
    pub(super) fn rename(&self, name: &str) {
        self.0.set_prefix(printable(name));
    }

    /// Moves the bar to `done` of `all`, with `text` behind it.
    pub(super) fn show(&self, done: u64, all: u64, text: impl Display) {
        let step = u128::from(done.min(all)) * u128::from(STEPS) / u128::from(all.max(1));
        let step = if all == 0 { u128::from(STEPS) } else { step };
        self.0.set_message(printable(&text.to_string()));
        self.0.set_position(u64::try_from(step).unwrap_or(STEPS));
        self.0.tick();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::ProgressDrawTarget;

    #[test]
    fn bars_are_valid_and_bounded() {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let mut bars = Bars::on(Some(screen));
        let mut shown: Vec<_> = (0..BARS_MAX)
            .map(|_| bars.add("a\u{1b}name").expect("there is room"))
            .collect();
        assert!(bars.add("one too many").is_none());
        for bar in &shown {
            assert_eq!(bar.0.prefix(), "a\u{fffd}name");
            for (done, all, want) in [
                (50, 100, 500),
                (0, 0, STEPS),
                (9, 3, STEPS),
                (0, u64::MAX, 0),
            ] {
                bar.show(done, all, "words");
                assert_eq!(bar.0.position(), want);
            }
        }
        bars.remove(shown.remove(0));
        assert!(bars.add("another").is_some());
        assert!(Bars::on(None).add("x").is_none());
    }
}
