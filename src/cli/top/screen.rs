//! The terminal while it is ours: given back as it was when this is dropped, and before the words of a panic.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::Duration;

use ratatui::{DefaultTerminal, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The terminal, taken over.
pub(super) struct Terminal {
    inner: DefaultTerminal,
    /// Where keys come from when stdin is no terminal.
    keys: Option<File>,
}

impl Terminal {
    /// Takes it over: another screen, and keys as they are pressed.
    pub(super) fn take() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(inner) => Ok(Self {
                inner,
                keys: (!io::stdin().is_terminal())
                    .then(|| File::open("/dev/tty").ok())
                    .flatten(),
            }),
            Err(fault) => {
                // It may have come half way.
                let _ = ratatui::try_restore();
                Err(fault)
            }
        }
    }

    /// Waits for a key, or for another size, at most `timeout`. `false` when the terminal has gone, as the window of a shell that
    /// was killed: to ask a terminal for keys that is not there any more never ends.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let stdin = io::stdin();
        let keys = match &self.keys {
            Some(file) => file.as_fd(),
            None => stdin.as_fd(),
        };
        let mut fds = [PollFd::new(&keys, PollFlags::IN)];
        let timeout = Timespec::try_from(timeout).ok();
        // A signal ends it too: the size may have changed.
        let _ = poll(&mut fds, timeout.as_ref());
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        !fds[0].revents().intersects(gone)
    }

    /// It has gone: there is nothing to give back, and nobody to tell.
    pub(super) fn give_up(self) {
        // What it is made of complains on stderr when it cannot show the cursor again. The process ends now anyway.
        std::mem::forget(self);
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
