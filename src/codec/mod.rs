//! Bytes ⇄ values: pure, total on any input, memory bounded by the input.

pub mod address;
pub mod announce;
pub mod bencode;
pub mod bitfield;
pub mod blocklist;
pub mod extension;
pub mod geometry;
pub mod krpc;
pub mod layout;
pub mod lsd;
pub mod magnet;
pub mod metadata;
pub mod metainfo;
pub mod mse;
pub mod path;
pub mod pex;
pub mod shown;
pub mod utp;
pub mod wire;
