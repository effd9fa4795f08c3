//! The engine that `get` and `seed` run: the one place where the threads are put together.

use crate::config::Loaded;

use super::transfer::Engine;

/// Starts the engine; with `events`, it will be asked for all of them.
///
/// # Errors
/// One line for a person.
pub(super) fn start(_loaded: &Loaded, _events: bool) -> Result<Box<dyn Engine>, String> {
    Err("this build has no engine".to_owned())
}
