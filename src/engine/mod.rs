//! The core.

pub mod manager;
pub mod message;
pub mod rate;
pub mod session;
pub mod snapshot;
pub mod table;
pub mod timers;
