//! Bringing a torrent's files to another directory or to other names, a bounded part at a time.
//!
//! First a look: what is in the way is told before anything has moved, and so is a disk without room. Then each file is renamed,
//! or where that cannot be, copied, flushed and given its name; only then its old one goes. So a file is whole in one of the two
//! places at any instant, and whoever begins again finds it. When a file cannot go, those that went are brought back.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::codec::layout::{FileKind, Layout};
use crate::codec::shown::shown;
use crate::engine::message::{Fault, FaultKind, RelocateTask, Relocation, Storage};
use crate::ids::SessionId;

use super::carry::is_copy;
use super::files::{Carried, Carry, Files, Place};

/// Bytes that one job copies: a few tenths of a second of a disk.
const COPY_BYTES_MAX: u64 = 32 << 20;

/// Files that one job renames.
const FILES_MAX: usize = 512;

/// Does the next part of a task; `true` when it is over.
///
/// # Errors
/// The first thing in the way. What was carried is noted.
pub(super) fn relocate<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    relocation: &mut Relocation,
) -> Result<bool, Fault> {
    files.close(session);
    match relocation.task {
        RelocateTask::Look => look(files, session, storage, relocation).map(|()| true),
        RelocateTask::Carry => carry(files, session, storage, relocation),
        RelocateTask::Leave => Ok(true),
        RelocateTask::Back => back(files, session, storage, relocation),
    }
}

fn look<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    relocation: &mut Relocation,
) -> Result<(), Fault> {
    let to = std::sync::Arc::clone(&relocation.to);
    let mut taken = 0_u64;
    let mut in_the_way = None;
    let mut first = None;
    for file in 0..storage.layout.files.len() {
        let [old, new] = places(session, storage, &to, file);
        if !old.entry().is_regular() || is_same(old, new) {
            continue;
        }
        first.get_or_insert(file);
        let here = there(files.stat_taken(old)).map_err(|error| old.fault("look at", &error))?;
        let found = there(files.stat(new)).map_err(|error| new.fault("look at", &error))?;
        match (here, found) {
            (Some((stamp, _)), Some(found)) if relocation.resumed && is_copy(found, stamp) => {}
            (Some(_), Some(_)) => {
                let path = to.layout.path(file);
                in_the_way.get_or_insert(path);
            }
            (Some((_, bytes)), None) => taken += bytes,
            // Ours, when an earlier run has taken it there.
            (None, Some(found)) if relocation.resumed && is_ours(relocation, file, found) => {
                relocation.carried.push(file);
            }
            (None, _) => {}
        }
    }
    if let Some(path) = in_the_way {
        let message = format!(
            "{} is there already, and nothing is overwritten: take it away, or choose another place",
            shown(&path)
        );
        return Err(Fault {
            kind: FaultKind::InTheWay,
            path,
            message,
        });
    }
    let Some(first) = first else {
        return Ok(());
    };
    let [_, new] = places(session, storage, &to, first);
    files
        .make_parents(new)
        .map_err(|error| new.fault("make the directory of", &error))?;
    let old_free = files.free(&storage.layout).ok().flatten();
    let new_free = files.free(&to.layout).ok().flatten();
    match (old_free, new_free) {
        (Some((old, _)), Some((new, free))) if old != new && taken > free => {
            Err(no_room(&to.layout, taken, free))
        }
        _ => Ok(()),
    }
}

fn no_room(layout: &Layout, needed: u64, free: u64) -> Fault {
    const MIB: u64 = 1 << 20;
    let message = format!(
        "not enough space in {}: {} MiB are needed, {} MiB are free",
        shown(&layout.root),
        needed.div_ceil(MIB),
        free / MIB
    );
    Fault {
        kind: FaultKind::Full,
        path: layout.root.clone(),
        message,
    }
}

fn carry<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    relocation: &mut Relocation,
) -> Result<bool, Fault> {
    let to = std::sync::Arc::clone(&relocation.to);
    let mut budget = COPY_BYTES_MAX;
    for _ in 0..FILES_MAX {
        let file = relocation.next;
        if file >= storage.layout.files.len() {
            settle(files, storage, &to)?;
            return Ok(true);
        }
        let [old, new] = places(session, storage, &to, file);
        if old.entry().kind == FileKind::Pad || is_same(old, new) {
            relocation.next += 1;
            continue;
        }
        let mut what = Carry {
            info_hash: storage.info_hash,
            resumed: relocation.resumed,
            copied: relocation.copied,
            budget,
        };
        let carried = files.carry(old, new, &mut what);
        relocation.copied = what.copied;
        budget = what.budget;
        match carried.map_err(|error| new.fault("move a file to", &error))? {
            Carried::Partly => return Ok(false),
            Carried::There(bytes) => {
                relocation.bytes += bytes;
                relocation.carried.push(file);
            }
            Carried::Nothing => {}
        }
        relocation.next += 1;
        if budget == 0 {
            break;
        }
    }
    Ok(false)
}

fn back<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    relocation: &mut Relocation,
) -> Result<bool, Fault> {
    let to = std::sync::Arc::clone(&relocation.to);
    let mut budget = COPY_BYTES_MAX;
    for _ in 0..FILES_MAX {
        let Some(&file) = relocation.carried.last() else {
            settle(files, &to, storage)?;
            return Ok(true);
        };
        let [old, new] = places(session, storage, &to, file);
        let mut what = Carry {
            info_hash: storage.info_hash,
            resumed: true,
            copied: relocation.copied,
            budget,
        };
        let carried = files.carry(new, old, &mut what);
        relocation.copied = what.copied;
        budget = what.budget;
        match carried.map_err(|error| old.fault("bring a file back to", &error))? {
            Carried::Partly => return Ok(false),
            Carried::There(_) | Carried::Nothing => {
                relocation.carried.pop();
            }
        }
        if budget == 0 {
            break;
        }
    }
    Ok(false)
}

/// All are there: their names are made to last, and directories that are empty now go.
fn settle<F: Files>(files: &mut F, from: &Storage, to: &Storage) -> Result<(), Fault> {
    let made = directories(&to.layout, true);
    if let Err(error) = files.sync_names(&to.layout, &made) {
        return Err(super::files::fault(&to.layout.root, "flush", &error));
    }
    let kept = if from.layout.root == to.layout.root {
        made
    } else {
        BTreeSet::new()
    };
    // The deepest first. One that holds something else stays, and is no fault.
    for path in directories(&from.layout, false).into_iter().rev() {
        if !kept.contains(path)
            && let Err(error) = files.remove_directory(&from.layout, path)
        {
            log::debug!("{} stays: {error}", path.display());
        }
    }
    Ok(())
}

/// All directories that lead to files of a layout, relative to its root.
fn directories(layout: &Layout, with_root: bool) -> BTreeSet<&Path> {
    let files = layout.files.iter();
    files
        .filter(|file| file.kind != FileKind::Pad)
        .flat_map(|file| file.path.ancestors().skip(1))
        .filter(|path| with_root || !path.as_os_str().is_empty())
        .collect()
}

fn places<'a>(
    session: SessionId,
    old: &'a Storage,
    new: &'a Storage,
    file: usize,
) -> [Place<'a>; 2] {
    [&old.layout, &new.layout].map(|layout| Place {
        session,
        layout,
        file,
    })
}

fn is_same(old: Place<'_>, new: Place<'_>) -> bool {
    old.layout.root == new.layout.root && old.entry().path == new.entry().path
}

fn is_ours(relocation: &Relocation, file: usize, found: crate::engine::message::FileStamp) -> bool {
    relocation.stamps.get(file).copied().flatten() == Some(found)
}

/// `None` when nothing is there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
