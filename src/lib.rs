//! Linnet: a BitTorrent engine with one thread in the middle.

pub mod actor;
pub mod buffer;
pub mod cli;
pub mod codec;
pub mod config;
pub mod engine;
pub mod events;
pub mod gateway;
pub mod hash;
pub mod host;
pub mod ids;
pub mod metrics;
pub mod rng;
pub mod runtime;
pub mod sim;
pub mod time;
pub mod worker;
