//! The loop.

pub mod bus;
pub mod handle;
pub mod host;
pub mod mailbox;
pub mod ready;
pub mod reply;
pub mod streams;
