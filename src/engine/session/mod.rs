//! One torrent at work.

pub mod assembly;
pub mod choker;
pub mod picker;
pub mod trackers;
