//! The real disk: open handles in one bounded cache that all workers share.
//!
//! A handle is opened beneath its layout's root by whoever needs it first, and kept until the session closes its files or it
//! is the least recently used of [`HANDLES_MAX`]. The lock guards only the table: no file is opened, closed or read under it,
//! so a hung disk cannot hold up another.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the workers' own: files and the table they share"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, fchmod, fdatasync, fstat, fstatfs, fstatvfs, seek,
    syncfs,
};
use rustix::io::{Errno, preadv, pwritev, retry_on_intr};

use crate::codec::layout::{FileIndex, Layout};
use crate::engine::message::{
    BlocksFault, BlocksLoad, BlocksRead, Fault, FileStamp, Survey, Surveyed,
};
use crate::ids::SessionId;
use crate::time::{Duration, Instant};

use super::beneath::{Resolver, open_root};
use super::files::{Access, Carried, Carry, Files, Place};

/// Handles that are kept open; beyond it the one that was not used for the longest time is closed.
pub const HANDLES_MAX: usize = 512;

/// The most of the process's descriptors that handles may take: one in so many. The rest is for peers.
const DESCRIPTORS_SHARE: u64 = 4;

/// Handles that one completion offers to the host; a job over more files offers only these.
pub const OFFERED_MAX: usize = 64;

/// A name for an open file.
pub type HandleKey = (SessionId, FileIndex);

/// An open file, shared by the cache, the jobs at work and the host.
pub type Handle = Arc<OpenFile>;

/// A file, with what is known about reading it without waiting.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    at_once: AtomicU8,
    /// When a read on the spot last found that the file is as it should be, in microseconds; never is far in the future.
    looked: AtomicU64,
}

/// How bytes at hand can be read from a file without ever waiting for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtOnce {
    /// `preadv2` with `RWF_NOWAIT` tells.
    Ask = 0,
    /// Any read: the file system has no device behind it.
    Always = 1,
    /// There is no way to know, so only a worker may read.
    Never = 2,
}

/// For how long a look at a file is good. Each costs half a microsecond, which is a twentieth of what a lone block costs; so
/// many streams that ask for a block each share one. A block that another program overwrites in that very millisecond may
/// reach a peer, and no later one does.
const LOOK_LIFE: Duration = Duration::from_millis(1);

/// `f_type` of file systems that live in memory alone: tmpfs and ramfs. Others that refuse `RWF_NOWAIT` (FUSE, some network
/// file systems) may wait for ever.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

impl OpenFile {
    /// Takes `file` over. Asks its file system what it is, which may block.
    #[must_use]
    pub fn new(file: File) -> Self {
        let kind = fstatfs(&file).map(|found| u64::try_from(found.f_type).unwrap_or(0));
        let in_memory = kind.is_ok_and(|kind| IN_MEMORY.contains(&kind));
        let at_once = if in_memory {
            AtOnce::Always
        } else {
            AtOnce::Ask
        };
        Self {
            file,
            at_once: AtomicU8::new(at_once as u8),
            looked: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether the file is as it should be, by a look that is at most [`LOOK_LIFE`] old.
    pub(super) fn is_as(&self, stamp: FileStamp, now: Instant) -> bool {
        let looked = Instant::from_micros(self.looked.load(Ordering::Relaxed));
        if looked <= now && now.since(looked) < LOOK_LIFE {
            return true;
        }
        let is_as = stamp_of(self).is_ok_and(|found| found == stamp);
        let micros = if is_as { now.as_micros() } else { u64::MAX };
        self.looked.store(micros, Ordering::Relaxed);
        is_as
    }

    pub(super) fn at_once(&self) -> AtOnce {
        match self.at_once.load(Ordering::Relaxed) {
            0 => AtOnce::Ask,
            1 => AtOnce::Always,
            _ => AtOnce::Never,
        }
    }

    /// The file system has refused to say.
    pub(super) fn never_at_once(&self) {
        self.at_once.store(AtOnce::Never as u8, Ordering::Relaxed);
    }
}

impl Deref for OpenFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

/// The table of open handles.
#[derive(Debug)]
struct Table {
    entries: BTreeMap<HandleKey, Entry>,
    capacity: usize,
    /// Counts uses: the higher, the later.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    handle: Handle,
    access: Access,
    used: u64,
}

impl Table {
    fn find(&mut self, key: HandleKey, access: Access) -> Option<Handle> {
        let entry = self.entries.get_mut(&key)?;
        if entry.access < access {
            return None;
        }
        self.clock += 1;
        entry.used = self.clock;
        Some(Arc::clone(&entry.handle))
    }

    /// Returns what had to go, to be closed outside the lock.
    #[must_use]
    fn insert(&mut self, key: HandleKey, access: Access, handle: Handle) -> [Option<Handle>; 2] {
        self.clock += 1;
        let used = self.clock;
        let entry = Entry {
            handle,
            access,
            used,
        };
        let replaced = self.entries.insert(key, entry).map(|old| old.handle);
        // One scan for each file opened is cheap beside the opening.
        let oldest = (self.entries.len() > self.capacity)
            .then(|| self.entries.iter().min_by_key(|(_, entry)| entry.used))
            .flatten()
            .map(|(&key, _)| key);
        let evicted = oldest.and_then(|key| self.entries.remove(&key));
        [replaced, evicted.map(|entry| entry.handle)]
    }

    #[must_use]
    fn remove(&mut self, session: SessionId) -> Vec<Handle> {
        let range = (session, FileIndex::MIN)..=(session, FileIndex::MAX);
        let keys: Vec<HandleKey> = self.entries.range(range).map(|(&key, _)| key).collect();
        keys.iter()
            .filter_map(|key| self.entries.remove(key))
            .map(|entry| entry.handle)
            .collect()
    }
}

/// One worker's view of the disk. Clones share their handles.
#[derive(Debug)]
pub struct DiskFiles {
    table: Arc<Mutex<Table>>,
    pub(super) resolver: Resolver,
    /// The root that the job at work has opened.
    root: Option<(PathBuf, Arc<OwnedFd>)>,
    offered: Option<Vec<(HandleKey, Handle)>>,
}

impl Clone for DiskFiles {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            resolver: self.resolver,
            root: None,
            offered: None,
        }
    }
}

impl Default for DiskFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl DiskFiles {
    /// An empty cache of at most [`HANDLES_MAX`] handles, fewer where the process may open few files.
    #[must_use]
    pub fn new() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let share = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit / DESCRIPTORS_SHARE).unwrap_or(usize::MAX)
        });
        Self::with_capacity(HANDLES_MAX.min(share))
    }

    /// An empty cache of at most `capacity` handles, at least one.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let table = Table {
            entries: BTreeMap::new(),
            capacity: capacity.max(1),
            clock: 0,
        };
        Self {
            table: Arc::new(Mutex::new(table)),
            resolver: Resolver::detect(),
            root: None,
            offered: None,
        }
    }

    /// Begins a job: forgets the root of the one before, which may have been moved since. With `offer`, remembers the handles that
    /// the job uses, up to [`OFFERED_MAX`].
    pub fn begin(&mut self, offer: bool) {
        self.root = None;
        self.offered = offer.then(Vec::new);
    }

    /// Ends a job: the handles it has used, each once.
    pub fn take_offered(&mut self) -> Vec<(HandleKey, Handle)> {
        self.root = None;
        self.offered.take().unwrap_or_default()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements that could panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn root(&mut self, path: &Path, create: bool) -> io::Result<Arc<OwnedFd>> {
        match &self.root {
            Some((of, root)) if of == path => Ok(Arc::clone(root)),
            _ => {
                let root = Arc::new(open_root(path, create)?);
                self.root = Some((path.to_owned(), Arc::clone(&root)));
                Ok(root)
            }
        }
    }

    fn open_new(&mut self, place: Place<'_>, access: Access) -> io::Result<File> {
        let write = access == Access::Write;
        let path = &place.entry().path;
        let root = self.root(&place.layout.root, write)?;
        let (flags, mode) = match access {
            Access::Read => (OFlags::RDONLY, Mode::empty()),
            Access::Write if place.executable() => {
                (OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(0o777))
            }
            Access::Write => (OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(0o666)),
        };
        let open = || self.resolver.open(root.as_fd(), path, flags, mode);
        let fd = match open() {
            Err(error) if write && error.kind() == io::ErrorKind::NotFound => {
                self.resolver.make_parents(root.as_fd(), path)?;
                open()?
            }
            result => result?,
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(not_regular());
        }
        Ok(file)
    }

    fn offer(&mut self, key: HandleKey, handle: &Handle) {
        let Some(offered) = &mut self.offered else {
            return;
        };
        let known = offered.iter().any(|(offered, _)| *offered == key);
        if !known && offered.len() < OFFERED_MAX {
            offered.push((key, Arc::clone(handle)));
        }
    }
}

/// A pipe, a socket, a device or a directory.
fn not_regular() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "something is there that is not a regular file",
    )
}

/// Length and time.
pub(super) fn stamp_of(file: &File) -> io::Result<FileStamp> {
    Ok(stamp_taken(file)?.0)
}

/// Length, time, and bytes taken of the device.
pub(super) fn stamp_taken(file: &File) -> io::Result<(FileStamp, u64)> {
    /// `st_blocks` counts these on every file system.
    const SECTOR: u64 = 512;
    // Every read ends with one, so it is asked by the cheapest call.
    let stat = fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(not_regular());
    }
    let stamp = FileStamp {
        length: u64::try_from(stat.st_size).unwrap_or(0),
        modified_nanos: stat
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
    };
    let sectors = u64::try_from(stat.st_blocks).unwrap_or(0);
    Ok((stamp, sectors.saturating_mul(SECTOR)))
}

impl Files for DiskFiles {
    type Handle = Handle;

    fn open(&mut self, place: Place<'_>, access: Access) -> io::Result<Handle> {
        let key = (place.session, place.file);
        let found = self.table().find(key, access);
        if let Some(handle) = found {
            self.offer(key, &handle);
            return Ok(handle);
        }
        let file = match self.open_new(place, access) {
            // Our own cache may be what fills the descriptor table.
            Err(error) if is_out_of_descriptors(&error) => {
                let all = std::mem::take(&mut self.table().entries);
                drop(all);
                self.open_new(place, access)?
            }
            result => result?,
        };
        let handle = Arc::new(OpenFile::new(file));
        let gone = self.table().insert(key, access, Arc::clone(&handle));
        drop(gone);
        self.offer(key, &handle);
        Ok(handle)
    }

    fn read_at(
        &mut self,
        handle: &Handle,
        parts: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        Ok(retry_on_intr(|| preadv(&handle.file, parts, offset))?)
    }

    fn write_at(
        &mut self,
        handle: &Handle,
        parts: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        Ok(retry_on_intr(|| pwritev(&handle.file, parts, offset))?)
    }

    fn stamp(&mut self, handle: &Handle) -> io::Result<FileStamp> {
        stamp_of(handle)
    }

    fn stat(&mut self, place: Place<'_>) -> io::Result<FileStamp> {
        Ok(self.stat_taken(place)?.0)
    }

    fn stat_taken(&mut self, place: Place<'_>) -> io::Result<(FileStamp, u64)> {
        let root = self.root(&place.layout.root, false)?;
        let path = &place.entry().path;
        let fd = self
            .resolver
            .open(root.as_fd(), path, OFlags::PATH, Mode::empty())?;
        stamp_taken(&File::from(fd))
    }

    fn free(&mut self, layout: &Layout) -> io::Result<Option<(u64, u64)>> {
        let root = self.root(&layout.root, false)?;
        let (stat, room) = (fstat(&root)?, fstatvfs(&root)?);
        // File systems that cannot run full, or do not count, say that they have no blocks at all.
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        Ok((room.f_blocks > 0).then_some((stat.st_dev, free)))
    }

    fn next_data(&mut self, handle: &Handle, offset: u64) -> io::Result<Option<u64>> {
        // The shared position moves, but nobody reads by it.
        match seek(&handle.file, SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&mut self, handle: &Handle) -> io::Result<()> {
        Ok(retry_on_intr(|| fdatasync(&handle.file))?)
    }

    fn sync_device(&mut self, handle: &Handle, done: &mut Vec<u64>) -> io::Result<()> {
        let device = handle.file.metadata()?.dev();
        if !done.contains(&device) {
            retry_on_intr(|| syncfs(&handle.file))?;
            done.push(device);
        }
        Ok(())
    }

    fn make_parents(&mut self, place: Place<'_>) -> io::Result<()> {
        let root = self.root(&place.layout.root, true)?;
        self.resolver
            .make_parents(root.as_fd(), &place.entry().path)
    }

    fn make_link(&mut self, place: Place<'_>, target: &Path) -> io::Result<()> {
        let root = self.root(&place.layout.root, true)?;
        let path = &place.entry().path;
        self.resolver.make_parents(root.as_fd(), path)?;
        match self.resolver.make_link(root.as_fd(), path, target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    fn set_executable(&mut self, place: Place<'_>) -> io::Result<()> {
        let root = self.root(&place.layout.root, false)?;
        let path = &place.entry().path;
        // Not by O_PATH, which `fchmod` refuses; a file we may not read we would not own either.
        let file = match self
            .resolver
            .open(root.as_fd(), path, OFlags::RDONLY, Mode::empty())
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => File::from(result?),
        };
        let metadata = file.metadata()?;
        let now = metadata.mode() & 0o7777;
        let wanted = now | (now & 0o444) >> 2;
        if metadata.is_file() && wanted != now {
            fchmod(&file, Mode::from_raw_mode(wanted))?;
        }
        Ok(())
    }

    fn remove(&mut self, place: Place<'_>) -> io::Result<()> {
        let root = self.root(&place.layout.root, false)?;
        let path = &place.entry().path;
        self.resolver.remove(root.as_fd(), path, AtFlags::empty())
    }

    fn remove_directory(&mut self, layout: &Layout, path: &Path) -> io::Result<()> {
        let root = self.root(&layout.root, false)?;
        self.resolver.remove(root.as_fd(), path, AtFlags::REMOVEDIR)
    }

    fn carry(&mut self, from: Place<'_>, to: Place<'_>, what: &mut Carry) -> io::Result<Carried> {
        self.carry_file(from, to, what)
    }

    fn sync_names(&mut self, layout: &Layout, paths: &BTreeSet<&Path>) -> io::Result<()> {
        self.sync_directories(layout, paths)
    }

    fn survey(&mut self, survey: &Survey) -> Result<Surveyed, Fault> {
        super::survey::survey(survey)
    }

    fn blocks(&mut self, load: &BlocksLoad) -> Result<BlocksRead, BlocksFault> {
        super::blocks::read(load)
    }

    fn close(&mut self, session: SessionId) {
        let gone = self.table().remove(session);
        drop(gone);
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

#[cfg(test)]
mod tests;
