//! The store in memory: what was saved survives everything, who held a row does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::engine::message::{Nodes, Progress, StoreFault, StoreOutcome, StoreTask};
use crate::ids::InfoHash;

type Key = (InfoHash, PathBuf);

/// One machine's store.
#[derive(Debug, Default)]
pub struct Store {
    rows: BTreeMap<Key, Progress>,
    held: BTreeSet<Key>,
    nodes: Vec<Nodes>,
}

impl Store {
    /// Does a job. `broken`: a save fails, and nothing is saved.
    pub fn run(&mut self, task: StoreTask, broken: bool) -> StoreOutcome {
        match task {
            StoreTask::Load { info_hash, root } => {
                let key = (info_hash, root);
                let row = self.rows.get(&key).cloned().map(Box::new);
                StoreOutcome::Loaded(if self.held.insert(key) {
                    Ok(row)
                } else {
                    Err(StoreFault::Busy { pid: 1 })
                })
            }
            StoreTask::Save(_) if broken => {
                StoreOutcome::Saved(Err(StoreFault::Failed("simulated".to_owned())))
            }
            StoreTask::Save(progress) => {
                let info_hash = progress.info_hash.expect("a saved row has its info-hash");
                let key = (info_hash, progress.root.clone());
                assert!(self.held.contains(&key), "only a row that is held is saved");
                self.rows.insert(key, *progress);
                StoreOutcome::Saved(Ok(()))
            }
            StoreTask::Release { info_hash, root } => {
                assert!(
                    self.held.remove(&(info_hash, root)),
                    "only a row that is held is let go"
                );
                StoreOutcome::Released
            }
            StoreTask::RecallNodes => StoreOutcome::Nodes(Ok(self.nodes.clone())),
            StoreTask::KeepNodes(nodes) => {
                self.nodes = nodes;
                StoreOutcome::Kept(Ok(()))
            }
            StoreTask::List
            | StoreTask::Read(_)
            | StoreTask::Times(_)
            | StoreTask::Keep(_)
            | StoreTask::Forget { .. }
            | StoreTask::Recall
            | StoreTask::ListGroups
            | StoreTask::KeepGroup(_)
            | StoreTask::KeepSettings(_)
            | StoreTask::KeepTotals(_) => {
                unreachable!("simulated nodes remember nothing but progress")
            }
        }
    }

    /// The process is gone, and its locks with it.
    pub fn let_go_of_all(&mut self) {
        self.held.clear();
    }

    /// The row of a torrent, whatever its root.
    #[must_use]
    pub fn row(&self, info_hash: InfoHash) -> Option<&Progress> {
        self.rows
            .iter()
            .find(|(key, _)| key.0 == info_hash)
            .map(|(_, row)| row)
    }
}
