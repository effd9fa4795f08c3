//! One daemon to a state directory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::lock::{Lock, LockError};

/// Held as long as the daemon runs; the kernel lets go of it whatever ends the process.
#[derive(Debug)]
pub struct StateLock {
    _lock: Lock,
}

/// Why the directory is not ours.
#[derive(Debug, PartialEq, Eq)]
pub enum StateBusy {
    /// Another daemon has it; pid 0 when it has just begun.
    Daemon(u32),
    /// It cannot be used: one line for a person.
    Failed(String),
}

impl StateLock {
    /// Takes `linnet.lock` in `state`, which is made if it is missing.
    ///
    /// # Errors
    /// Another daemon has it, or the directory cannot be used.
    pub fn take(state: &Path) -> Result<Self, StateBusy> {
        // Torrent files name their members' keys: what is made here is for its owner alone.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
        if let Err(fault) = made {
            let text = format!("{}: {}", state.display(), fault.kind());
            return Err(StateBusy::Failed(text));
        }
        match Lock::take(&state.join("linnet.lock")) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err(LockError::Busy(pid)) => Err(StateBusy::Daemon(pid)),
            Err(LockError::Failed(path, fault)) => Err(StateBusy::Failed(format!(
                "{}: {}",
                path.display(),
                fault.kind()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_learns_who_is_the_first() {
        let state = tempfile::tempdir().unwrap();
        let first = StateLock::take(&state.path().join("linnet")).unwrap();
        let second = StateLock::take(&state.path().join("linnet")).unwrap_err();
        assert_eq!(second, StateBusy::Daemon(std::process::id()));
        drop(first);
        StateLock::take(&state.path().join("linnet")).unwrap();
    }
}
