//! What each handle has sent and has in flight, on cache lines of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::credits::Credits;
use super::pool::Pool;
use super::{Lane, Mailbox};
use crate::actor::sync::{Padded, Purse};

/// Handles with an account of their own. Those beyond share the last one, and with it a quota.
pub(super) const ACCOUNTS_MAX: usize = 128;

/// Room that a handle takes in advance, so that a single message costs it nothing that it shares with others. Of a small queue
/// it is less, or nothing: all handles together shall hold no more than there is.
pub(super) fn advance_of(capacity: usize) -> u64 {
    const ADVANCE_MAX: u64 = 32;
    (capacity as u64 / ACCOUNTS_MAX as u64).min(ADVANCE_MAX)
}

/// The account that is shared when there is no other.
pub(super) const SHARED: u16 = 127;

const _: () = assert!(
    SHARED as usize == ACCOUNTS_MAX - 1,
    "the last one is shared"
);

/// One handle's, or those of all handles that had none left.
#[derive(Debug)]
pub(super) struct Account {
    /// Room taken in advance: part of what is out of the quota, and of the room of all.
    pub(super) purse: Purse,
    /// What is in flight, or held.
    pub(super) quota: Credits,
    /// Operations offered in each lane, ever, but for those that the purse has not told yet.
    sent: Padded<[AtomicU64; 4]>,
}

impl Account {
    /// Pays for `count` operations with what is held, and counts them as offered; `None` when not enough is held. What comes
    /// back is how many there were before, as long as nobody writes down at the same time what the purse knows.
    pub(super) fn spend(&self, lane: Lane, count: u64) -> Option<u64> {
        let spent = self.purse.spend(lane as u32 - 1, count)?;
        // Written when room is taken, so this line is at hand as a rule.
        let written_down = self.sent.0[lane as usize].load(Ordering::Relaxed);
        Some(written_down + spent - count)
    }

    /// Counts `count` operations as offered; how many there were before, but for those that the purse has not told yet.
    pub(super) fn note_sent(&self, lane: Lane, count: u64) -> u64 {
        self.sent.0[lane as usize].fetch_add(count, Ordering::Relaxed)
    }

    /// Writes down what the purse knows.
    pub(super) fn collect_sent(&self) {
        for (at, count) in self.purse.collect().into_iter().enumerate() {
            if count > 0 {
                self.sent.0[at + 1].fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    fn sent(&self, lane: Lane) -> u64 {
        let held_back = match lane {
            Lane::Critical => 0,
            _ => self.purse.sent()[lane as usize - 1],
        };
        self.sent.0[lane as usize].load(Ordering::Relaxed) + held_back
    }
}

/// All accounts. One that is free keeps its counts, and perhaps operations still in flight: its next owner goes on from there.
#[derive(Debug)]
pub(super) struct Accounts {
    accounts: Box<[Account]>,
    free: Pool<u16>,
}

impl Accounts {
    pub(super) fn new() -> Self {
        let free = Pool::new(ACCOUNTS_MAX);
        (0..SHARED).for_each(|index| free.give(index));
        let account = |_| Account {
            purse: Purse::new(),
            quota: Credits::new(),
            sent: Padded::default(),
        };
        Self {
            accounts: (0..ACCOUNTS_MAX).map(account).collect(),
            free,
        }
    }

    pub(super) fn get(&self, index: u16) -> &Account {
        &self.accounts[usize::from(index)]
    }

    pub(super) fn all(&self) -> &[Account] {
        &self.accounts
    }

    /// Operations offered in `lane` by everybody, ever.
    pub(super) fn sent(&self, lane: Lane) -> u64 {
        self.accounts.iter().map(|account| account.sent(lane)).sum()
    }

    /// Room that handles hold and have not used.
    pub(super) fn held(&self) -> u64 {
        self.accounts
            .iter()
            .map(|account| account.purse.held())
            .sum()
    }
}

/// A handle's hold on its account and on the mailbox.
#[derive(Debug)]
pub(in crate::actor) struct Seat {
    pub(in crate::actor) mailbox: Arc<Mailbox>,
    pub(super) account: u16,
    /// Operations that may be in flight, at least 1.
    pub(super) quota: u64,
}

impl Seat {
    /// A seat of its own, with half of the room.
    pub(in crate::actor) fn new(mailbox: Arc<Mailbox>) -> Self {
        let half = mailbox.options.capacity.div_ceil(2);
        Self::with_quota(mailbox, half as u64)
    }

    fn with_quota(mailbox: Arc<Mailbox>, quota: u64) -> Self {
        let account = mailbox.accounts.free.take().unwrap_or(SHARED);
        Self {
            mailbox,
            account,
            quota,
        }
    }

    /// Another seat, with another quota: 1 to all of the room.
    pub(in crate::actor) fn another(&self, quota: usize) -> Self {
        let quota = quota.clamp(1, self.mailbox.options.capacity);
        Self::with_quota(Arc::clone(&self.mailbox), quota as u64)
    }

    pub(super) fn account(&self) -> &Account {
        self.mailbox.accounts.get(self.account)
    }
}

impl Clone for Seat {
    /// Another seat with as large a quota.
    fn clone(&self) -> Self {
        Self::with_quota(Arc::clone(&self.mailbox), self.quota)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.account != SHARED {
            self.mailbox.gather(self.account());
            self.mailbox.accounts.free.give(self.account);
        }
    }
}
