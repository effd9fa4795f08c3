//! Far more than the queue takes, from every lane, and a shutdown in the middle of it.

use super::Options;
use super::report::{Check, Run};
use super::wait::Stopwatch;

/// Runs it.
///
/// # Errors
/// What made the run worthless, for a person.
pub fn run(_options: &Options, _watch: Stopwatch) -> Result<(Run, Vec<Check>), String> {
    Err("TODO".to_owned())
}
