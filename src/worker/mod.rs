//! Whatever blocks: a fixed pool of threads for the disk, and one for the store.
//!
//! The jobs are plain functions over a small trait ([`disk::run`], [`files::Files`]), so that the simulator runs the same code
//! on its own disk. The threads around them ([`Pool`], [`store::Store`]) know nothing of what the jobs mean: they take from a
//! bounded queue, never wait to deliver, and wake the actor once a burst.
//!
//! ```text
//! actor ── submit ──▶ queue, round robin between sessions ──▶ worker-0..n ── completions ──▶ finished ── actor
//!       ── submit ──▶ queue, in order ────────────────────▶ store       ── answers ──────▶ finished ── actor
//! ```

mod beneath;
mod blocks;
mod carry;
mod check;
mod commit;
mod delete;
mod devices;
pub mod disk;
pub mod files;
#[cfg(test)]
mod fixture;
mod handles;
mod lock;
mod mail;
mod memory;
mod now;
mod pool;
mod queue;
mod relocate;
mod row;
mod span;
mod state_lock;
pub mod store;
mod survey;
mod watch;

pub use disk::Scratch;
pub use handles::{DiskFiles, HANDLES_MAX, Handle, HandleKey, OFFERED_MAX, OpenFile};
pub use memory::{MemoryFile, MemoryFiles};
pub use now::{Now, read_now};
pub use pool::{Completion, Pool, WATCH_PERIOD};
pub use queue::{Counts, JOBS_MAX, Stats};
pub use state_lock::{StateBusy, StateLock};
pub use store::{Owner, Store, read_settings};
