//! The terminal while it is ours: given back as it was when this is dropped, and before the words of a panic.

use std::fs::File;
use std::io::{self, IsTerminal};

use ratatui::{DefaultTerminal, Frame};

/// The terminal, taken over.
pub(super) struct Terminal {
    inner: DefaultTerminal,
    /// Whether keys come from stdin; otherwise from the terminal that rules us.
    by_stdin: bool,
}

impl Terminal {
    /// Takes it over: another screen, and keys as they are pressed.
    pub(super) fn take() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(inner) => Ok(Self {
                inner,
                by_stdin: io::stdin().is_terminal(),
            }),
            Err(fault) => {
                // It may have come half way.
                let _ = ratatui::try_restore();
                Err(fault)
            }
        }
    }

    /// Whether it has gone without a signal, as the window of a shell that was killed: keys are asked of nothing then, as fast as
    /// the processor can.
    pub(super) fn is_gone(&self) -> bool {
        match self.by_stdin {
            true => !io::stdin().is_terminal(),
            false => File::open("/dev/tty").is_err(),
        }
    }

    /// Rows it has.
    pub(super) fn rows(&self) -> io::Result<u16> {
        Ok(self.inner.size()?.height)
    }

    /// Draws it anew; only what differs is written.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.inner.draw(draw).map(drop)
    }

    /// Gives it back and stops the process, until somebody has it go on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        ratatui::try_restore()?;
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
        self.inner = ratatui::try_init()?;
        self.inner.clear()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = ratatui::try_restore();
    }
}
