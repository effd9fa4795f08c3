//! The block list at the start of a run: read before anybody can be met.

use std::path::{Path, PathBuf};

use crate::actor::handle::Handle;
use crate::config::Config;
use crate::engine::message::{Answer, BlocksAsk, BlocksLoad, Message};
use crate::time::Duration;

/// The file below `paths.state` that keeps the list that was fetched.
const KEPT: &str = "blocklist";

/// For reading all lists: half a million ranges take less than a second.
const READ_TIME_MAX: Duration = Duration::from_secs(60);

/// What the configuration says is to be read.
pub(super) fn source(config: &Config, state: &Path) -> BlocksLoad {
    BlocksLoad {
        files: Some(config.blocklist.files.iter().map(PathBuf::from).collect()),
        kept: Some(state.join(KEPT)),
        fetched: None,
        allow: Some(config.blocklist.allow.clone()),
    }
}

/// Has the engine read it.
///
/// # Errors
/// A file that cannot be read, or is no list; one line for a person.
pub(super) fn load(config: &Config, state: &Path, handle: &Handle) -> Result<(), String> {
    let ask = BlocksAsk::Load(source(config, state));
    match handle.ask(Message::Blocks(Box::new(ask)), READ_TIME_MAX) {
        Ok(Answer::Blocks(found)) => match *found {
            Ok(_) => Ok(()),
            Err(fault) => Err(format!("blocklist: {}", fault.0)),
        },
        Ok(_) => Err("the engine gave a strange answer".to_owned()),
        Err(fault) => Err(format!("the engine: {fault}")),
    }
}
