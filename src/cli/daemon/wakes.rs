//! What the main thread waits for: signals, and a client's wish for the end. Nothing runs in a handler, and nothing polls.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::pipe;

use crate::time::Duration;

/// What it was woken for. Several of one kind that come together are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// SIGINT or SIGTERM.
    Stop,
    /// SIGUSR1.
    Metrics,
    /// SIGHUP.
    Reload,
    /// A client wants the end, within this time.
    Close(Duration),
}

/// Everything that wakes; a pipe each, so that none is taken for another.
pub(super) struct Wakes {
    /// In the order of [`Source`].
    pipes: [UnixStream; 4],
    sender: Sender,
}

/// What each pipe stands for, in order: the end goes first.
#[derive(Clone, Copy)]
enum Source {
    Stop,
    Close,
    Reload,
    Metrics,
}

const SOURCES: [Source; 4] = [Source::Stop, Source::Close, Source::Reload, Source::Metrics];

/// The way in for a client's wish.
#[derive(Clone)]
pub(super) struct Sender {
    pipe: Arc<UnixStream>,
    budget_ms: Arc<AtomicU64>,
}

impl Sender {
    /// Wakes the main thread to end.
    pub(super) fn close(&self, budget: Duration) {
        let millis = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
        self.budget_ms.store(millis, Ordering::SeqCst);
        // Full: it was said already.
        let _ = (&*self.pipe).write(&[1]);
    }
}

impl Wakes {
    /// Takes the signals over from the system's own handling.
    pub(super) fn new() -> io::Result<Self> {
        let pair = || -> io::Result<(UnixStream, UnixStream)> {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok((read, write))
        };
        let (stop, write) = pair()?;
        pipe::register(SIGINT, write.try_clone()?)?;
        pipe::register(SIGTERM, write)?;
        let (close, closer) = pair()?;
        let (reload, write) = pair()?;
        pipe::register(SIGHUP, write)?;
        let (metrics, write) = pair()?;
        pipe::register(SIGUSR1, write)?;
        Ok(Self {
            pipes: [stop, close, reload, metrics],
            sender: Sender {
                pipe: Arc::new(closer),
                budget_ms: Arc::default(),
            },
        })
    }

    /// The way in for a client's wish.
    pub(super) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Waits for the next one, at most `timeout`; `None` when none came.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Option<Wake> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut waiting: Vec<PollFd<'_>> = self
            .pipes
            .iter()
            .map(|pipe| PollFd::new(pipe, PollFlags::IN))
            .collect();
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(fault) => log::error!("waiting for signals: {fault}"),
        }
        let came = SOURCES.iter().zip(&self.pipes).find(|(source, pipe)| {
            // A second stop is one of its own; of the others many are one.
            let mut bytes = [0; 64];
            let most = if matches!(source, Source::Stop) {
                1
            } else {
                bytes.len()
            };
            (&**pipe)
                .read(&mut bytes[..most])
                .is_ok_and(|count| count > 0)
        });
        came.map(|(source, _)| match source {
            Source::Stop => Wake::Stop,
            Source::Close => {
                let millis = self.sender.budget_ms.load(Ordering::SeqCst);
                Wake::Close(Duration::from_millis(millis))
            }
            Source::Reload => Wake::Reload,
            Source::Metrics => Wake::Metrics,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_the_end_wakes_once_with_its_budget() {
        let wakes = Wakes::new().unwrap();
        assert_eq!(wakes.wait(Some(Duration::ZERO)), None);
        wakes.sender().close(Duration::from_millis(7));
        wakes.sender().close(Duration::from_millis(9));
        assert_eq!(
            wakes.wait(None),
            Some(Wake::Close(Duration::from_millis(9)))
        );
        assert_eq!(wakes.wait(Some(Duration::ZERO)), None);
    }
}
