//! The poller: which descriptor is meant by a token, and what an event of the system means to the loop.

use std::io;
use std::sync::Arc;

use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::actor::mailbox::Doorbell;
use crate::ids::StreamId;
use crate::time::Duration;

/// Events taken from the system at once; more come with the next poll.
const EVENTS_MAX: usize = 1024;

/// Listeners, and datagram sockets, that can be told apart.
pub(super) const SOURCES_MAX: usize = 16;

/// Both directions, from the beginning: registering anew costs a system call, an edge too many costs nothing.
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// What a token names. Streams use the words of their ids; the others sit at the far end, where a slot's generation would
/// have to reach 2^32 - 1 to meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Waker,
    Listener(usize),
    Datagrams(usize),
    Multicast(usize),
    Stream(StreamId),
}

impl Source {
    const fn token(self) -> Token {
        match self {
            Self::Waker => Token(usize::MAX),
            Self::Listener(index) => Token(usize::MAX - 1 - index),
            Self::Datagrams(index) => Token(usize::MAX - 1 - SOURCES_MAX - index),
            Self::Multicast(index) => Token(usize::MAX - 1 - 2 * SOURCES_MAX - index),
            Self::Stream(stream) => Token(word_of(stream)),
        }
    }

    fn of(token: Token) -> Self {
        match usize::MAX - token.0 {
            0 => Self::Waker,
            far if far <= SOURCES_MAX => Self::Listener(far - 1),
            far if far <= 2 * SOURCES_MAX => Self::Datagrams(far - 1 - SOURCES_MAX),
            far if far <= 3 * SOURCES_MAX => Self::Multicast(far - 1 - 2 * SOURCES_MAX),
            _ => Self::Stream(StreamId::from_word(token.0 as u64)),
        }
    }
}

const _: () = assert!(usize::BITS == 64, "a token holds a slot and its generation");

#[allow(clippy::cast_possible_truncation, reason = "asserted above")]
const fn word_of(stream: StreamId) -> usize {
    stream.to_word() as usize
}

/// The system's poller.
#[derive(Debug)]
pub(super) struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
        })
    }

    /// A doorbell that ends the wait of this poller.
    pub(super) fn doorbell(&self) -> io::Result<Arc<Doorbell>> {
        let waker = Waker::new(self.poll.registry(), Source::Waker.token())?;
        Ok(Arc::new(Doorbell::new(Box::new(move || {
            if let Err(error) = waker.wake() {
                // The wait then ends with the next timer.
                log::error!("cannot wake the actor: {error}");
            }
        }))))
    }

    /// Reports every change of `what` from now on, and how it stands now.
    pub(super) fn watch(
        &self,
        what: &mut impl mio::event::Source,
        source: Source,
    ) -> io::Result<()> {
        let interest = match source {
            Source::Listener(_) | Source::Datagrams(_) | Source::Multicast(_) | Source::Waker => {
                Interest::READABLE
            }
            Source::Stream(_) => BOTH,
        };
        let registry: &Registry = self.poll.registry();
        registry.register(what, source.token(), interest)
    }

    /// Waits, then hands every event to `each`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, mut each: impl FnMut(Source, &Event)) {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            // A signal came; the events of this call are none.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => panic!("the system refuses to poll: {error}"),
        }
        for event in &self.events {
            each(Source::of(event.token()), event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_what_they_were_made_for() {
        let streams = [(0, 0), (4000, 1), (u32::MAX, u32::MAX - 1)];
        let sources = streams
            .map(|(slot, generation)| Source::Stream(StreamId::new(slot, generation)))
            .into_iter()
            .chain([Source::Waker, Source::Listener(0), Source::Datagrams(0)])
            .chain([
                Source::Listener(SOURCES_MAX - 1),
                Source::Datagrams(SOURCES_MAX - 1),
                Source::Multicast(0),
                Source::Multicast(SOURCES_MAX - 1),
            ]);
        for source in sources {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
