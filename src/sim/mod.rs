//! Host in memory.

pub mod faults;
pub mod net;
pub mod trace;
