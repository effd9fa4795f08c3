//! Where a command's words go: its product to stdout, everything else to stderr, above the progress bars if there are any.

use std::io::{self, BufWriter, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};

/// The two ways out, and the bars.
pub struct Console {
    out: BufWriter<Box<dyn Write>>,
    notes: Box<dyn Write>,
    bars: Option<MultiProgress>,
}

impl Console {
    /// The process's own; bars only when stderr is a terminal.
    #[must_use]
    pub fn of_process() -> Self {
        let bars = io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self {
            out: BufWriter::new(Box::new(io::stdout())),
            notes: Box::new(io::stderr()),
            bars,
        }
    }

    /// Without bars, for tests.
    #[must_use]
    pub fn to(out: Box<dyn Write>, notes: Box<dyn Write>) -> Self {
        Self {
            out: BufWriter::new(out),
            notes,
            bars: None,
        }
    }

    /// Where the command's product goes; buffered.
    pub(super) fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    /// Hands on what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// One line on stderr, control characters made harmless. Nobody can be told when stderr is gone.
    pub(super) fn note(&mut self, line: &str) {
        let line = printable(line);
        match &self.bars {
            Some(bars) => bars.suspend(|| {
                let _ = writeln!(self.notes, "{line}");
            }),
            None => {
                let _ = writeln!(self.notes, "{line}");
            }
        }
    }

    /// The place for progress bars, when there is one.
    pub(super) fn bars(&self) -> Option<MultiProgress> {
        self.bars.clone()
    }
}

/// `text` with control characters replaced: strangers choose names, and a terminal obeys escape sequences.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            let steers = c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if steers { '\u{fffd}' } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_steered_by_names() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(printable("exe\u{202e}gpj"), "exe\u{fffd}gpj");
        assert_eq!(printable("größe 大"), "größe 大");
    }
}
