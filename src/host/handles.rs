//! Open files that reads on the spot may use: offered by the workers, kept in a bounded table, dropped with their session.

use std::collections::BTreeMap;

use crate::ids::SessionId;
use crate::worker::{Handle, HandleKey};

/// Handles kept; beyond it the one that was not used for the longest time goes. It may be the last owner of its file, so
/// closing happens here; files were flushed by their own jobs, so that does not wait.
const KEPT_MAX: usize = 256;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: BTreeMap<HandleKey, (Handle, u64)>,
    clock: u64,
}

impl Handles {
    /// The open handle of a file, if we have one.
    pub(super) fn get(&mut self, key: HandleKey) -> Option<Handle> {
        let (handle, used) = self.open.get_mut(&key)?;
        self.clock += 1;
        *used = self.clock;
        Some(Handle::clone(handle))
    }

    /// Takes what a completion offers.
    pub(super) fn extend(&mut self, offered: Vec<(HandleKey, Handle)>) {
        for (key, handle) in offered {
            self.clock += 1;
            self.open.insert(key, (handle, self.clock));
            if self.open.len() > KEPT_MAX {
                let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used);
                if let Some(key) = oldest.map(|(key, _)| *key) {
                    self.open.remove(&key);
                }
            }
        }
    }

    /// Drops all handles of a session: its files are closed, or looked at anew.
    pub(super) fn forget(&mut self, session: SessionId) {
        let keys: Vec<HandleKey> = self
            .open
            .range((session, 0)..=(session, usize::MAX))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.open.remove(&key);
        }
    }
}
