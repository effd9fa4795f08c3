//! Pooled 16 KiB blocks: the only memory that payload ever lives in.
//!
//! One [`Pool`], owned by the engine, bounds them all. A [`Block`] moves: into a job and back with its completion, or into a
//! stream's queue and back when it was written. Nothing is allocated per block once the pool is warm, and nothing is locked.
//!
//! Room is promised before it is used: [`Pool::reserve`] sets blocks aside, [`Pool::take`] hands one of them out. A part of
//! the pool is for sending and rechecks alone, so that receiving can never starve it, nor be starved by it.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes in a block: the request unit of BEP 3.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// One buffer of [`BLOCK_BYTES`].
pub struct Block(Box<Bytes>);

/// On a cache line, so that the kernel copies at full speed; `aligned` says why. A page would cost a quarter more memory.
#[repr(align(64))]
struct Bytes([u8; BLOCK_BYTES]);

impl Block {
    /// A zeroed block outside any pool; the pool is where blocks normally come from.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new(Bytes([0; BLOCK_BYTES])))
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.0
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0.0
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Block")
    }
}

/// What a block is taken for: each has its own share of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Blocks of open pieces, until they are on disk: three quarters.
    Receive,
    /// Blocks on their way to peers: a quarter.
    Send,
}

/// The bounded free list.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Block>,
    receive: Account,
    send: Account,
}

/// One share: `reserved` includes what was taken.
#[derive(Debug)]
struct Account {
    capacity: usize,
    reserved: usize,
    taken: usize,
}

impl Pool {
    /// A pool of at most `bytes`, at least 32 blocks (a smaller one could not hold a request of each kind).
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let blocks = (bytes / BLOCK_BYTES).max(32);
        let account = |capacity| Account {
            capacity,
            reserved: 0,
            taken: 0,
        };
        Self {
            free: Vec::new(),
            receive: account(blocks - blocks / 4),
            send: account(blocks / 4),
        }
    }

    /// Sets `count` blocks aside. `false`, and nothing set aside, when the share has no room for all of them.
    #[must_use]
    pub fn reserve(&mut self, share: Share, count: usize) -> bool {
        let account = self.account(share);
        let fits = count <= account.capacity - account.reserved;
        if fits {
            account.reserved += count;
        }
        fits
    }

    /// Gives up `count` reserved blocks that were not taken.
    pub fn unreserve(&mut self, share: Share, count: usize) {
        let account = self.account(share);
        assert!(
            count <= account.reserved - account.taken,
            "only what is reserved and not taken can be given up"
        );
        account.reserved -= count;
    }

    /// One of the reserved blocks. Its content is whatever was there before.
    pub fn take(&mut self, share: Share) -> Block {
        let account = self.account(share);
        assert!(
            account.taken < account.reserved,
            "a block is reserved before it is taken"
        );
        account.taken += 1;
        self.free.pop().unwrap_or_default()
    }

    /// Takes a block back, and its reservation with it.
    pub fn put(&mut self, share: Share, block: Block) {
        let account = self.account(share);
        assert!(account.taken > 0, "a block comes back once");
        account.taken -= 1;
        account.reserved -= 1;
        self.free.push(block);
    }

    /// Takes a block back but keeps its reservation: the same piece will need it again.
    pub fn put_reserved(&mut self, share: Share, block: Block) {
        self.put(share, block);
        self.account(share).reserved += 1;
    }

    /// How many more blocks of `share` could be reserved.
    #[must_use]
    pub fn room(&self, share: Share) -> usize {
        let account = match share {
            Share::Receive => &self.receive,
            Share::Send => &self.send,
        };
        account.capacity - account.reserved
    }

    /// Blocks of `share` that could ever be reserved.
    #[must_use]
    pub fn capacity(&self, share: Share) -> usize {
        match share {
            Share::Receive => self.receive.capacity,
            Share::Send => self.send.capacity,
        }
    }

    /// Blocks out of the pool now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.receive.taken + self.send.taken
    }

    fn account(&mut self, share: Share) -> &mut Account {
        match share {
            Share::Receive => &mut self.receive,
            Share::Send => &mut self.send,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_promised_once_and_comes_back() {
        let mut pool = Pool::new(64 * BLOCK_BYTES);
        assert_eq!(
            (pool.capacity(Share::Receive), pool.capacity(Share::Send)),
            (48, 16)
        );
        assert!(pool.reserve(Share::Receive, 48));
        assert!(!pool.reserve(Share::Receive, 1), "the share is full");
        assert!(pool.reserve(Share::Send, 16), "the other share is not");
        let block = pool.take(Share::Receive);
        pool.unreserve(Share::Receive, 47);
        assert_eq!(pool.room(Share::Receive), 47);
        pool.put_reserved(Share::Receive, block);
        assert_eq!((pool.room(Share::Receive), pool.taken()), (47, 0));
        let block = pool.take(Share::Receive);
        pool.put(Share::Receive, block);
        assert_eq!(pool.room(Share::Receive), 48);
    }

    #[test]
    #[should_panic(expected = "reserved before it is taken")]
    fn a_block_without_a_reservation_is_a_bug() {
        let _ = Pool::new(0).take(Share::Send);
    }
}
