//! Workers.

pub mod disk;
pub mod files;
pub mod store;
