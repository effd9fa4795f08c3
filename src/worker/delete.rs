//! Deleting a torrent's files: those its layout names, and the directories that are empty then. Nothing else, and nothing
//! outside its root, whatever links lie in the tree.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::codec::layout::FileKind;
use crate::engine::message::{Fault, Storage};
use crate::ids::SessionId;

use super::files::{Files, Place};

/// Deletes all it can; the first fault is told. What is gone already is no fault.
pub(super) fn delete<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
) -> Result<(), Fault> {
    files.close(session);
    let layout = &storage.layout;
    let mut result = Ok(());
    let mut directories: BTreeSet<&Path> = BTreeSet::new();
    for (file, entry) in layout.files.iter().enumerate() {
        if entry.kind == FileKind::Pad {
            continue;
        }
        let place = Place {
            session,
            layout,
            file,
        };
        match files.remove(place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                result = result.and(Err(place.fault("delete", &error)));
            }
            _ => {}
        }
        let above = entry.path.ancestors().skip(1);
        directories.extend(above.filter(|path| !path.as_os_str().is_empty()));
    }
    // The deepest first. One that holds something else stays, and is no fault.
    for path in directories.into_iter().rev() {
        if let Err(error) = files.remove_directory(layout, path) {
            log::debug!("{} stays: {error}", path.display());
        }
    }
    result
}
