//! The workers' jobs, as plain functions over [`Files`]: the same code runs on a real disk and on a simulated one.
//!
//! A job never panics and gives back every block that went into it. Those that take long look now and then whether anybody
//! still wants to know ([`Scratch::with`]).

use std::io;
use std::path::{Path, PathBuf};

use crate::codec::layout::{FileIndex, FileKind};
use crate::codec::shown::shown;
use crate::engine::message::{
    Done, Expected, Fault, FaultKind, FileStamp, Job, Outcome, Prepared, ReadRun, Space, Storage,
    Work,
};
use crate::ids::SessionId;

pub use super::check::Scratch;
use super::files::{Access, Files, Place};
use super::{check, commit, delete, relocate, span};

/// Does a job.
pub fn run<F: Files>(files: &mut F, scratch: &mut Scratch, work: Work) -> Done {
    let Work {
        id,
        session,
        storage,
        job,
    } = work;
    let storage = &*storage;
    let outcome = match job {
        Job::Prepare { create, wanted } => {
            match prepare(files, scratch, session, storage, create, &wanted) {
                Some(result) => Outcome::Prepared(result),
                None => Outcome::Cancelled(Job::Prepare { create, wanted }),
            }
        }
        Job::Check { pieces, digests } => {
            match check::check(files, scratch, session, storage, &pieces, digests) {
                Some(checked) => Outcome::Checked(checked),
                None => Outcome::Cancelled(Job::Check { pieces, digests }),
            }
        }
        Job::Commit { pieces } => {
            Outcome::Committed(commit::commit(files, session, storage, pieces))
        }
        Job::Write { blocks } => {
            let result = commit::write(files, session, storage, &blocks);
            let (refs, blocks) = blocks.into_iter().unzip();
            Outcome::Written {
                blocks,
                refs,
                result,
            }
        }
        Job::Read(mut run) => {
            let result = read(files, session, storage, &mut run);
            Outcome::Read(run, result)
        }
        Job::Sync { files: list } => Outcome::Synced(sync(files, session, storage, &list)),
        Job::Close => {
            files.close(session);
            Outcome::Closed
        }
        Job::Relocate(mut relocation) => {
            let result = relocate::relocate(files, session, storage, &mut relocation);
            Outcome::Relocated(relocation, result)
        }
        Job::Blocks(load) => Outcome::Blocks(Box::new(files.blocks(&load))),
        Job::Survey(survey) => Outcome::Surveyed(files.survey(&survey)),
        Job::Delete => Outcome::Deleted(delete::delete(files, session, storage)),
    };
    Done {
        id,
        session,
        outcome,
    }
}

/// Whether a fault is in an outcome: the job counts as failed.
#[must_use]
pub fn has_fault(outcome: &Outcome) -> bool {
    let failed = |verdict: &_| matches!(verdict, crate::engine::message::Verdict::Failed(_));
    match outcome {
        Outcome::Prepared(result) => result.is_err(),
        Outcome::Checked(pieces) => pieces.iter().any(|piece| failed(&piece.verdict)),
        Outcome::Committed(pieces) => pieces.iter().any(|piece| failed(&piece.verdict)),
        Outcome::Written { result, .. } | Outcome::Read(_, result) => result.is_err(),
        Outcome::Synced(result) => result.is_err(),
        Outcome::Deleted(result) => result.is_err(),
        Outcome::Relocated(_, result) => result.is_err(),
        Outcome::Surveyed(result) => result.is_err(),
        Outcome::Blocks(result) => result.is_err(),
        Outcome::Closed | Outcome::Cancelled(_) => false,
    }
}

/// Looks at every file, and makes what has no bytes. Handles that are open are closed first: what they were opened on may
/// have been moved away. `None` when it was told to stop: a torrent may have hundreds of thousands of files.
fn prepare<F: Files>(
    files: &mut F,
    scratch: &Scratch,
    session: SessionId,
    storage: &Storage,
    create: bool,
    wanted: &[bool],
) -> Option<Result<Prepared, Fault>> {
    files.close(session);
    let layout = &storage.layout;
    let mut stamps = Vec::with_capacity(layout.files.len());
    let (mut made, mut unallocated) = (None, 0_u64);
    for (file, entry) in layout.files.iter().enumerate() {
        if scratch.is_stopped() {
            return None;
        }
        let create = create && wanted.get(file).copied().unwrap_or(true);
        match prepare_file(files, session, storage, create, file, &mut made) {
            Ok(found) => {
                let (stamp, taken) = found.unzip();
                stamps.push(stamp);
                if entry.is_regular() {
                    unallocated += entry.length.saturating_sub(taken.unwrap_or(0));
                }
            }
            Err(fault) => return Some(Err(fault)),
        }
    }
    // A root that is not there, or a file system that does not say, is found out by writing.
    let free = files.free(layout).ok().flatten();
    let space = free.map(|(device, free)| Space {
        device,
        free,
        unallocated,
    });
    Some(Ok(Prepared { stamps, space }))
}

/// `made` is the directory that was made last.
fn prepare_file<'a, F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &'a Storage,
    create: bool,
    file: FileIndex,
    made: &mut Option<&'a Path>,
) -> Result<Option<(FileStamp, u64)>, Fault> {
    let layout = &storage.layout;
    let entry = &layout.files[file];
    let place = Place {
        session,
        layout,
        file,
    };
    match &entry.kind {
        FileKind::Pad => Ok(None),
        FileKind::Symlink { target } => {
            if create {
                let text = link_text(&entry.path, target);
                tolerate(place, "link", files.make_link(place, &text))?;
            }
            Ok(None)
        }
        FileKind::Regular { executable } => {
            if create && *made != entry.path.parent() {
                files
                    .make_parents(place)
                    .map_err(|error| place.fault("make the directory of", &error))?;
                *made = entry.path.parent();
            }
            let mut stamp = stat(files, place)?;
            if create && entry.length == 0 && stamp.is_none() {
                files
                    .open(place, Access::Write)
                    .map_err(|error| place.fault("create", &error))?;
                stamp = stat(files, place)?;
            }
            if create && *executable && stamp.is_some() {
                tolerate(place, "make executable", files.set_executable(place))?;
            }
            Ok(stamp)
        }
    }
}

/// `None` when nothing is there.
fn stat<F: Files>(files: &mut F, place: Place<'_>) -> Result<Option<(FileStamp, u64)>, Fault> {
    match files.stat_taken(place) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(place.fault("look at", &error)),
    }
}

/// Links and x bits are decoration: a file system that has none, or a file that is not ours, stops no download.
fn tolerate(place: Place<'_>, tried: &str, result: io::Result<()>) -> Result<(), Fault> {
    let Err(error) = result else {
        return Ok(());
    };
    let fault = place.fault(tried, &error);
    let unsupported = error.kind() == io::ErrorKind::Unsupported;
    if fault.kind == FaultKind::Denied || unsupported {
        log::warn!("{}", fault.message);
        Ok(())
    } else {
        Err(fault)
    }
}

/// What a link at `link` says to lead to `target`, both relative to the root.
fn link_text(link: &Path, target: &Path) -> PathBuf {
    let from = link.parent().unwrap_or(Path::new(""));
    let shared = from
        .components()
        .zip(target.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(shared).map(|_| "..");
    let mut text: PathBuf = up.collect();
    text.extend(target.components().skip(shared));
    if text.as_os_str().is_empty() {
        // To its own directory: no link can be empty.
        text.push(".");
    }
    text
}

fn read<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    run: &mut ReadRun,
) -> Result<(), Fault> {
    let length = run.parts.iter().map(|part| u64::from(part.length)).sum();
    let buffers = run
        .parts
        .iter_mut()
        .map(|part| &mut part.block[..part.length as usize]);
    span::read(files, session, &storage.layout, run.offset, length, buffers)?;
    changed(files, session, storage, &mut run.expected)
}

/// Looks, after the read, whether a file is as it was when its pieces were right. After, because a write changes the time of
/// its file before it changes the bytes: what was read from a file that still looks the same is what was there then.
fn changed<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    expected: &mut [Expected],
) -> Result<(), Fault> {
    let mut result = Ok(());
    for expected in expected {
        let place = Place {
            session,
            layout: &storage.layout,
            file: expected.file,
        };
        let found = files
            .open(place, Access::Read)
            .and_then(|handle| files.stamp(&handle))
            .map_err(|error| place.fault("look at", &error))?;
        if found != expected.stamp {
            expected.found = Some(found);
            let path = storage.layout.path(expected.file);
            result = Err(Fault {
                kind: FaultKind::Changed,
                message: format!("{} was changed by another program", shown(&path)),
                path,
            });
        }
    }
    result
}

/// More files than these are flushed with all else on their device: each flush of its own costs a turn of the disk, and
/// thousands of small files take longer than any end may.
const SYNC_EACH_MAX: usize = 64;

/// Flushes, then looks at the file by its name: what was moved away is not ours any more.
fn sync<F: Files>(
    files: &mut F,
    session: SessionId,
    storage: &Storage,
    list: &[FileIndex],
) -> Result<Vec<(FileIndex, FileStamp)>, Fault> {
    let layout = &storage.layout;
    let mut stamps = Vec::with_capacity(list.len());
    let mut devices = Vec::new();
    for &file in list {
        if !layout.files[file].is_regular() {
            continue;
        }
        let place = Place {
            session,
            layout,
            file,
        };
        files
            .open(place, Access::Read)
            .and_then(|handle| {
                if list.len() > SYNC_EACH_MAX {
                    files.sync_device(&handle, &mut devices)
                } else {
                    files.sync(&handle)
                }
            })
            .map_err(|error| place.fault("flush", &error))?;
        let stamp = files
            .stat(place)
            .map_err(|error| place.fault("look at", &error))?;
        stamps.push((file, stamp));
    }
    Ok(stamps)
}

#[cfg(test)]
mod tests;
