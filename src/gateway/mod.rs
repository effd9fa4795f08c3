//! Gateway.

pub mod client;
pub mod resolve;
