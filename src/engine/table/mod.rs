//! The link and peer table.

pub mod link;
pub mod peer;
pub mod swarm;
