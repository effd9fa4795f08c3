//! What each handle has sent and has in flight, on cache lines of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::credits::Credits;
use super::pool::Pool;
use super::{Lane, Mailbox};
use crate::actor::sync::Padded;

/// Handles with an account of their own. Those beyond share the last one, and with it a quota.
pub(super) const ACCOUNTS_MAX: usize = 128;

/// The account that is shared when there is no other.
pub(super) const SHARED: u16 = 127;

const _: () = assert!(
    SHARED as usize == ACCOUNTS_MAX - 1,
    "the last one is shared"
);

/// One handle's, or those of all handles that had none left.
#[derive(Debug)]
pub(super) struct Account {
    /// What is in flight.
    pub(super) quota: Credits,
    /// Operations offered in each lane, ever.
    sent: Padded<[AtomicU64; 4]>,
}

impl Account {
    /// Counts `count` operations as offered; how many there were before.
    pub(super) fn note_sent(&self, lane: Lane, count: u64) -> u64 {
        self.sent.0[lane as usize].fetch_add(count, Ordering::Relaxed)
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
        self.accounts
            .iter()
            .map(|account| account.sent.0[lane as usize].load(Ordering::Relaxed))
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
            self.mailbox.accounts.free.give(self.account);
        }
    }
}
