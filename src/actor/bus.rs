//! Subscribers: who wants to know of which events, and what they have missed.
//!
//! Every event gets the next number, whether somebody listens or not. A subscriber has a bounded buffer; when it is full,
//! events are dropped for that subscriber alone and counted, so that a slow one slows nobody and knows what it lost.
//! Dropping a [`Subscription`] ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use serde::Serialize;

use crate::events::{Event, NAMES};
use crate::time::Duration;

/// Events that one subscriber may have waiting; later ones are lost to it.
pub const BUFFERED_MAX: usize = 1024;

/// Subscribers at the same time; one more gets a subscription that has ended.
pub const SUBSCRIBERS_MAX: usize = 256;

/// Which events a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter(u32);

impl Filter {
    /// Every event.
    pub const ALL: Self = Self(u32::MAX);

    /// Events of these names; `*` means all, and `session.*` all whose name begins so.
    ///
    /// # Errors
    /// The first name that no event has.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut bits = 0;
        for name in names {
            let before = bits;
            let prefix = name.strip_suffix('*');
            for (bit, known) in NAMES.iter().enumerate() {
                if *known == name || prefix.is_some_and(|prefix| known.starts_with(prefix)) {
                    bits |= 1 << bit;
                }
            }
            let known = NAMES.contains(&name) || bits != before;
            if !known && prefix.is_none_or(|prefix| !NAMES.iter().any(|n| n.starts_with(prefix))) {
                return Err(name);
            }
        }
        Ok(Self(bits))
    }

    /// Whether it is for `event`.
    #[must_use]
    pub const fn takes(self, event: &Event) -> bool {
        self.wants(event.kind())
    }

    const fn wants(self, kind: usize) -> bool {
        self.0 >> kind & 1 == 1
    }
}

/// An event with its number and time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Counts every event of this run, from 1.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub time: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What a subscriber and the bus share.
#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    missed: AtomicU64,
}

/// A subscription on its way to the bus.
pub(super) struct Subscribe {
    wake: Option<Box<dyn Fn() + Send + Sync>>,
    filter: Filter,
    give: Sender<Arc<Record>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Subscribe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscribe")
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

impl Subscribe {
    /// Calls `wake` when an event comes and none was waiting.
    pub(super) fn waking(mut self, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        self.wake = Some(wake);
        self
    }
}

/// The receiving end: events in order. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    take: Receiver<Arc<Record>>,
    shared: Arc<Shared>,
}

/// Why there is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEvent {
    /// None yet.
    Empty,
    /// There will be none any more.
    Ended,
}

impl Subscription {
    /// Waits for the next event for at most `timeout`.
    ///
    /// # Errors
    /// [`NoEvent::Empty`] when the time is over, [`NoEvent::Ended`] when the actor has ended.
    pub fn next_within(&self, timeout: Duration) -> Result<Arc<Record>, NoEvent> {
        self.take
            .recv_timeout(timeout)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => NoEvent::Empty,
                RecvTimeoutError::Disconnected => NoEvent::Ended,
            })
    }

    /// The next event, if one waits.
    ///
    /// # Errors
    /// [`NoEvent::Empty`] when none waits, [`NoEvent::Ended`] when the actor has ended.
    pub fn try_next(&self) -> Result<Arc<Record>, NoEvent> {
        self.take.try_recv().map_err(|error| match error {
            TryRecvError::Empty => NoEvent::Empty,
            TryRecvError::Disconnected => NoEvent::Ended,
        })
    }

    /// Events lost so far because they were not fetched in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
    }
}

/// Both ends of a subscription that the bus does not know yet.
pub(super) fn subscription(filter: Filter) -> (Subscribe, Subscription) {
    let (give, take) = bounded(BUFFERED_MAX);
    let shared = Arc::new(Shared::default());
    let subscribe = Subscribe {
        wake: None,
        filter,
        give,
        shared: Arc::clone(&shared),
    };
    (subscribe, Subscription { take, shared })
}

/// All subscribers. Owned by the loop.
#[derive(Debug, Default)]
pub(super) struct Bus {
    subscribers: Vec<Subscribe>,
    sequence: u64,
    missed: u64,
}

impl Bus {
    /// Enters a subscriber; one too many is dropped, which ends its subscription.
    pub(super) fn add(&mut self, subscribe: Subscribe) {
        self.subscribers
            .retain(|subscriber| !subscriber.shared.ended.load(Ordering::Acquire));
        if self.subscribers.len() < SUBSCRIBERS_MAX {
            self.subscribers.push(subscribe);
        }
    }

    /// Numbers an event and hands it to everybody who wants it.
    pub(super) fn publish(&mut self, event: Event, time: impl FnOnce() -> u64) {
        self.sequence += 1;
        let kind = event.kind();
        if !self
            .subscribers
            .iter()
            .any(|subscriber| subscriber.filter.wants(kind))
        {
            return;
        }
        let record = Arc::new(Record {
            seq: self.sequence,
            time: time(),
            event,
        });
        let missed = &mut self.missed;
        self.subscribers.retain(|subscriber| {
            if !subscriber.filter.wants(kind) {
                return true;
            }
            match subscriber.give.try_send(Arc::clone(&record)) {
                Ok(()) => {
                    // More than one may have been waiting before the reader looked: then it has been woken already, or it
                    // finds this one as it goes on.
                    if subscriber.give.len() <= 1
                        && let Some(wake) = &subscriber.wake
                    {
                        wake();
                    }
                    true
                }
                Err(error) if error.is_full() => {
                    subscriber.shared.missed.fetch_add(1, Ordering::Relaxed);
                    *missed += 1;
                    true
                }
                Err(_) => false,
            }
        });
    }

    /// Events published, events missed, subscribers.
    pub(super) fn figures(&self) -> (u64, u64, u64) {
        (self.sequence, self.missed, self.subscribers.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Torrent;
    use crate::ids::InfoHash;

    fn added(name: &str) -> Event {
        Event::TorrentAdded(Torrent {
            info_hash: InfoHash([1; 20]),
            name: name.to_owned(),
        })
    }

    fn removed() -> Event {
        Event::TorrentRemoved(Torrent {
            info_hash: InfoHash([1; 20]),
            name: String::new(),
        })
    }

    #[test]
    fn names_are_those_of_the_json() {
        for event in [added("a"), removed()] {
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["event"], event.name());
        }
    }

    #[test]
    fn filters_read_names_and_prefixes() {
        assert_eq!(
            Filter::of(["torrent.added", "torrent.removed", "torrent.metadata"]),
            Filter::of(["torrent.*"])
        );
        assert_eq!(Filter::of(["*", "torrent.added"]), Ok(Filter(0xf_ffff)));
        assert_eq!(Filter::of(["torrent.added", "nonsense"]), Err("nonsense"));
        assert_eq!(Filter::of(["nonsense.*"]), Err("nonsense.*"));
        assert_eq!(Filter::of([]), Ok(Filter(0)));
    }

    #[test]
    fn a_slow_subscriber_loses_events_alone_and_knows_it() {
        let mut bus = Bus::default();
        let (subscribe, slow) = subscription(Filter::ALL);
        bus.add(subscribe);
        let (subscribe, quick) = subscription(Filter::of(["torrent.added"]).unwrap());
        bus.add(subscribe);
        let rounds = BUFFERED_MAX as u64 + 10;
        for round in 1..=rounds {
            bus.publish(added("a"), || 7);
            assert_eq!(quick.try_next().unwrap().seq, round);
        }
        assert_eq!((slow.missed(), quick.missed()), (10, 0));
        assert_eq!(slow.try_next().unwrap().seq, 1);
        bus.publish(removed(), || 7);
        let last = std::iter::from_fn(|| slow.try_next().ok()).last().unwrap();
        assert_eq!(last.seq, rounds + 1, "the gap is visible in the numbers");
        assert_eq!(quick.try_next(), Err(NoEvent::Empty));
        let json = serde_json::to_value(&*last).unwrap();
        assert_eq!(
            (&json["event"], &json["time"]),
            (&"torrent.removed".into(), &7.into())
        );
    }

    #[test]
    fn a_dropped_subscription_is_over_and_too_many_end_at_once() {
        let mut bus = Bus::default();
        let (subscribe, subscription_) = subscription(Filter::ALL);
        bus.add(subscribe);
        drop(subscription_);
        bus.publish(removed(), || 0);
        assert_eq!(bus.figures().2, 0);
        let all: Vec<_> = (0..=SUBSCRIBERS_MAX)
            .map(|_| {
                let (subscribe, subscription_) = subscription(Filter::ALL);
                bus.add(subscribe);
                subscription_
            })
            .collect();
        assert_eq!(bus.figures().2, SUBSCRIBERS_MAX as u64);
        assert_eq!(all.last().unwrap().try_next(), Err(NoEvent::Ended));
        assert_eq!(all[0].try_next(), Err(NoEvent::Empty));
    }
}
