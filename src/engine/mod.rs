//! The core.

pub mod manager;
pub mod message;
pub mod session;
pub mod snapshot;
pub mod table;
pub mod timers;
