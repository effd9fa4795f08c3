//! One file from one place of the real disk to another: renamed, or copied where the two are on different file systems.
//!
//! A copy is made under a name of its own, flushed, given the time of the original and only then its name, which nobody may
//! have; the original goes last. The name tells whose copy it is, so what a crash has left is begun anew and not in anybody's way.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the workers' own: files are moved here"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT, fchmod, fsync, futimens,
    openat, seek,
};
use rustix::io::{Errno, retry_on_intr};

use crate::codec::layout::{FileKind, Layout};
use crate::engine::message::{FileStamp, Relocation};

use super::beneath::{RenameError, Resolver};
use super::files::{Carried, Carry, Place};
use super::handles::{DiskFiles, stamp_of};

/// Bytes that are read and written at a time.
const STEP_BYTES: usize = 1 << 20;

type Spot<'a> = (BorrowedFd<'a>, &'a Path);

impl DiskFiles {
    /// See [`Files::carry`](super::files::Files::carry).
    pub(super) fn carry_file(
        &mut self,
        from: Place<'_>,
        to: Place<'_>,
        what: &mut Carry,
    ) -> io::Result<Carried> {
        let resolver = self.resolver;
        let old_root = match self.root(&from.layout.root, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Carried::Nothing),
            root => root?,
        };
        let old: Spot<'_> = (old_root.as_fd(), &from.entry().path);
        if matches!(from.entry().kind, FileKind::Symlink { .. }) {
            // Made anew where the others go: its text may have to be another one there.
            return drop_link(resolver, old);
        }
        let source = match open(resolver, old, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Carried::Nothing),
            source => source?,
        };
        let stamp = stamp_of(&source)?;
        let new_root = self.root(&to.layout.root, true)?;
        let new: Spot<'_> = (new_root.as_fd(), &to.entry().path);
        if what.copied == 0 {
            if let Some(found) = look(resolver, new)? {
                let (here, there) = (source.metadata()?, found.metadata()?);
                if (here.dev(), here.ino()) == (there.dev(), there.ino()) {
                    // Two names of one file, or two ways to one name: neither is taken away.
                    return Ok(Carried::There(stamp.length));
                }
                if !what.resumed || !is_copy(stamp_of(&found)?, stamp) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                resolver.remove(old.0, old.1, AtFlags::empty())?;
                return Ok(Carried::There(stamp.length));
            }
            resolver.make_parents(new.0, new.1)?;
            match resolver.rename(old, new) {
                Ok(()) => return Ok(Carried::There(stamp.length)),
                Err(RenameError::Elsewhere) => {}
                Err(RenameError::Failed(error)) => return Err(error),
            }
        }
        let part = Relocation::part_of(new.1, what.info_hash, to.file);
        let copied = copy(resolver, &source, (new.0, &part), what);
        let finished = match copied {
            Ok(false) => return Ok(Carried::Partly),
            Ok(true) => match resolver.rename((new.0, &part), new) {
                Ok(()) => Ok(()),
                Err(RenameError::Failed(error)) => Err(error),
                Err(RenameError::Elsewhere) => Err(Errno::XDEV.into()),
            },
            Err(error) => Err(error),
        };
        what.copied = 0;
        if let Err(error) = finished {
            let _ = resolver.remove(new.0, &part, AtFlags::empty());
            return Err(error);
        }
        let above: BTreeSet<&Path> = new.1.ancestors().skip(1).collect();
        sync_all(resolver, new.0, &above)?;
        resolver.remove(old.0, old.1, AtFlags::empty())?;
        Ok(Carried::There(stamp.length))
    }

    /// See [`Files::sync_names`](super::files::Files::sync_names).
    pub(super) fn sync_directories(
        &mut self,
        layout: &Layout,
        paths: &BTreeSet<&Path>,
    ) -> io::Result<()> {
        let root = match self.root(&layout.root, false) {
            // Nothing was there to be moved.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            root => root?,
        };
        sync_all(self.resolver, root.as_fd(), paths)?;
        // The root itself may be new. Above our own directories we may have no rights, and need none.
        for above in layout.root.ancestors().skip(1) {
            let Ok(directory) = File::open(above) else {
                break;
            };
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

fn drop_link(resolver: Resolver, old: Spot<'_>) -> io::Result<Carried> {
    match resolver.is_link(old.0, old.1) {
        Ok(true) => resolver.remove(old.0, old.1, AtFlags::empty())?,
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(Carried::Nothing)
}

/// Whether a file is what a copy would be: some file systems keep a time to two seconds.
pub(super) fn is_copy(found: FileStamp, of: FileStamp) -> bool {
    const COARSE_NANOS: u64 = 2_000_000_000;
    found.length == of.length && found.modified_nanos.abs_diff(of.modified_nanos) <= COARSE_NANOS
}

/// What is at a place, if anything.
fn look(resolver: Resolver, spot: Spot<'_>) -> io::Result<Option<File>> {
    match open(resolver, spot, OFlags::PATH) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(resolver: Resolver, (root, path): Spot<'_>, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW;
    resolver
        .open(root, path, flags, Mode::empty())
        .map(File::from)
}

/// Copies on; `true` when all of it is there and flushed.
fn copy(
    resolver: Resolver,
    source: &File,
    (root, part): Spot<'_>,
    what: &mut Carry,
) -> io::Result<bool> {
    let stamp = stamp_of(source)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
    let copy = resolver.open(root, part, flags, Mode::from_raw_mode(0o600))?;
    let copy = File::from(copy);
    if stamp_of(&copy)?.length != stamp.length || what.copied == 0 {
        // Of an earlier run, or somebody has touched it.
        what.copied = 0;
        copy.set_len(0)?;
        copy.set_len(stamp.length)?;
    }
    let mut buffer = vec![0; STEP_BYTES];
    while what.copied < stamp.length {
        what.copied = match seek(source, SeekFrom::Data(what.copied)) {
            Ok(at) => at,
            Err(Errno::NXIO) => stamp.length,
            Err(_) => what.copied,
        };
        if what.copied >= stamp.length {
            break;
        }
        if what.budget == 0 {
            copy.sync_data()?;
            return Ok(false);
        }
        let bytes = source.read_at(&mut buffer, what.copied)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        copy.write_all_at(&buffer[..bytes], what.copied)?;
        what.copied += bytes as u64;
        what.budget = what.budget.saturating_sub(bytes as u64);
    }
    let mode = Mode::from_raw_mode(source.metadata()?.mode() & 0o777);
    match fchmod(&copy, mode) {
        // A file system without modes of its own, mounted for others than us: they are what the mount says.
        Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let modified = Timespec {
        tv_sec: stamp.modified_nanos.div_euclid(1_000_000_000),
        tv_nsec: stamp.modified_nanos.rem_euclid(1_000_000_000),
    };
    let accessed = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    futimens(
        &copy,
        &Timestamps {
            last_access: accessed,
            last_modification: modified,
        },
    )?;
    retry_on_intr(|| fsync(&copy))?;
    Ok(true)
}

/// Flushes directories, the deepest first.
fn sync_all(resolver: Resolver, root: BorrowedFd<'_>, paths: &BTreeSet<&Path>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for path in paths.iter().rev() {
        let opened = if path.as_os_str().is_empty() {
            openat(root, ".", flags, Mode::empty()).map_err(io::Error::from)
        } else {
            resolver.open(root, path, flags, Mode::empty())
        };
        match opened {
            Ok(directory) => match retry_on_intr(|| fsync(&directory)) {
                // Some network file systems flush no directories.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            },
            // None of its files was there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
