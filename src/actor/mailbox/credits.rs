//! Room that can be waited for: a [`Count`], and tokens that wake those who wait.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::actor::sync::Count;
use crate::time::{Clock, Instant};

/// Tokens on their way at a time. Those beyond are not sent: whoever is woken by one of these, and takes room, gives it back
/// later, and then the next one is woken.
const TOKENS_MAX: usize = 256;

/// A count of room with its waiters.
///
/// Waiters are woken when half of the room is free, all at once: woken for each message that was taken, every one of them
/// would fill the room again at once and sleep, and both sides would do little else. Nobody is passed over for ever by those
/// who need not wait: after so much was given back as there is room, waiters are woken whatever is free. A waiter that got a
/// token tries to take; one that leaves without room passes its token on, as somebody who wants less may be waiting behind it.
#[derive(Debug)]
pub(super) struct Credits {
    count: Count,
    /// Room of whoever waited last.
    limit: AtomicU64,
    /// Given back since waiters were last woken.
    withheld: AtomicU64,
    /// Made when somebody waits for the first time.
    tokens: OnceLock<(Sender<()>, Receiver<()>)>,
}

/// How much is wanted of how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// How much may be out at a time.
    pub(super) limit: u64,
    /// With less than this nothing is taken.
    pub(super) least: u64,
    /// As much as this.
    pub(super) most: u64,
}

impl Credits {
    pub(super) fn new() -> Self {
        Self {
            count: Count::new(),
            limit: AtomicU64::new(0),
            withheld: AtomicU64::new(0),
            tokens: OnceLock::new(),
        }
    }

    /// Takes what there is, within `want`; how much that was.
    pub(super) fn take(&self, want: Want) -> u64 {
        self.count.take(want.limit, want.least, want.most)
    }

    /// Gives room back.
    pub(super) fn give(&self, count: u64) {
        if count == 0 || self.count.give(count) == 0 {
            return;
        }
        // What is out is given back some time, and with the last of it at the latest everybody is woken.
        let limit = self.limit.load(Ordering::Relaxed);
        let withheld = self.withheld.load(Ordering::Relaxed) + count;
        if self.count.out() > limit / 2 && withheld < limit {
            self.withheld.store(withheld, Ordering::Relaxed);
            return;
        }
        self.withheld.store(0, Ordering::Relaxed);
        self.wake_all();
    }

    /// How much is out.
    pub(super) fn out(&self) -> u64 {
        self.count.out()
    }

    /// Whether somebody waits.
    pub(super) fn is_waited_for(&self) -> bool {
        self.count.waiters() > 0
    }

    /// Whoever waits looks again.
    pub(super) fn wake_all(&self) {
        self.wake(self.count.waiters());
    }

    /// Waits for all of `want.most` until `deadline` or until `over`, then takes what there is within `want`. `gather` brings
    /// home what callers hold and do not use.
    #[cold]
    pub(super) fn wait(
        &self,
        want: Want,
        clock: Clock,
        deadline: Instant,
        over: impl Fn() -> bool,
        gather: impl Fn(),
    ) -> u64 {
        // Made before anybody can know that we wait: who sees a waiter sees the tokens.
        let (_, tokens) = self.tokens.get_or_init(|| bounded(TOKENS_MAX));
        self.limit.store(want.limit, Ordering::Relaxed);
        self.count.begin_wait();
        let taken = loop {
            // After we are known to wait: what a caller puts aside from now on, it brings home by itself.
            gather();
            let all = self.count.take(want.limit, want.most, want.most);
            if all > 0 {
                break all;
            }
            let left = deadline.since(clock.now());
            if left.is_zero() || over() {
                break self.take(want);
            }
            // A token says that room was given; when somebody else has taken it we wait on.
            let _ = tokens.recv_timeout(left);
        };
        if self.count.end_wait() && taken < want.most {
            self.wake(1);
        }
        taken
    }

    fn wake(&self, waiters: usize) {
        if waiters == 0 {
            return;
        }
        if let Some((tokens, waiting)) = self.tokens.get() {
            // Those that are on their way already wake somebody too.
            for _ in waiting.len()..waiters {
                if tokens.try_send(()).is_err() {
                    break;
                }
            }
        }
    }
}
