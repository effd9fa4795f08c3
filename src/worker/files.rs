//! What the jobs ask of a disk: a small trait, so that the simulator runs the same jobs on a disk of its own.
//!
//! A file is always named by its [`Place`]: a session's layout and an index in it. No implementation may touch anything
//! outside the layout's root, whatever links lie in the tree. [`DiskFiles`](super::DiskFiles) is the real one,
//! [`MemoryFiles`](super::MemoryFiles) the one of the tests.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;

use crate::codec::layout::{FileEntry, FileIndex, FileKind, Layout};
use crate::codec::shown::shown;
use crate::engine::message::{
    BlocksFault, BlocksLoad, BlocksRead, Fault, FaultKind, FileStamp, Survey, Surveyed,
};
use crate::ids::{InfoHash, SessionId};

/// Which file: of which session's layout, and where in it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whose; open handles are kept by it.
    pub session: SessionId,
    /// The tree.
    pub layout: &'a Layout,
    /// Which of its files.
    pub file: FileIndex,
}

impl<'a> Place<'a> {
    /// The file's entry in its layout.
    #[must_use]
    pub fn entry(&self) -> &'a FileEntry {
        &self.layout.files[self.file]
    }

    /// Whether the layout asks for the x bit.
    #[must_use]
    pub fn executable(&self) -> bool {
        matches!(self.entry().kind, FileKind::Regular { executable: true })
    }

    /// What went wrong here, for the engine to decide by and a person to act on.
    ///
    /// `tried` is a phrase such as `write`.
    #[must_use]
    pub fn fault(&self, tried: &str, error: &io::Error) -> Fault {
        fault(&self.layout.path(self.file), tried, error)
    }
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// It must be there.
    Read,
    /// Reading and writing; it, its parents and the root are made when they are missing.
    Write,
}

/// A disk, as the jobs see it. Everything may block.
///
/// Errors are those of the system; [`fault`] says what they mean. `read_at` and `write_at` may do less than was asked, like
/// the system calls; a read of nothing means the end of the file.
pub trait Files {
    /// An open file.
    type Handle;

    /// Opens a regular file, beneath the root alone.
    ///
    /// # Errors
    /// `NotFound`, what a foreign link gives (`CrossesDevices`, ELOOP), `AlreadyExists` when something else is there.
    fn open(&mut self, place: Place<'_>, access: Access) -> io::Result<Self::Handle>;

    /// Reads into `parts`, one behind the other, from `offset` of the file. At most [`IOV_MAX`] parts.
    ///
    /// # Errors
    /// The disk's.
    fn read_at(
        &mut self,
        handle: &Self::Handle,
        parts: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> io::Result<usize>;

    /// Writes `parts`, one behind the other, to `offset` of the file. At most [`IOV_MAX`] parts.
    ///
    /// # Errors
    /// The disk's.
    fn write_at(
        &mut self,
        handle: &Self::Handle,
        parts: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize>;

    /// Length and time of an open file.
    ///
    /// # Errors
    /// The disk's.
    fn stamp(&mut self, handle: &Self::Handle) -> io::Result<FileStamp>;

    /// Length and time of the regular file that is at this place now, opened or not.
    ///
    /// # Errors
    /// As of [`Files::open`].
    fn stat(&mut self, place: Place<'_>) -> io::Result<FileStamp>;

    /// The same, and the bytes of the device that the file has taken; of a disk that does not know, all its bytes have.
    ///
    /// # Errors
    /// As of [`Files::open`].
    fn stat_taken(&mut self, place: Place<'_>) -> io::Result<(FileStamp, u64)> {
        let stamp = self.stat(place)?;
        Ok((stamp, stamp.length))
    }

    /// Which file system holds the root of a layout, and how many bytes are free on it. `None` where that means nothing.
    ///
    /// # Errors
    /// The disk's.
    fn free(&mut self, _layout: &Layout) -> io::Result<Option<(u64, u64)>> {
        Ok(None)
    }

    /// Where the first byte at or behind `offset` lies that is not in a hole; `None` when there is none up to the end.
    ///
    /// A disk without holes, or one that does not know, answers `offset`.
    ///
    /// # Errors
    /// The disk's.
    fn next_data(&mut self, _handle: &Self::Handle, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }

    /// Flushes the file's bytes to the device.
    ///
    /// # Errors
    /// The disk's; what was written before may then be lost.
    fn sync(&mut self, handle: &Self::Handle) -> io::Result<()>;

    /// Flushes at once all of the device that holds an open file, unless it is in `done`, where it is put. A disk that knows
    /// no devices flushes the file.
    ///
    /// # Errors
    /// The disk's.
    fn sync_device(&mut self, handle: &Self::Handle, _done: &mut Vec<u64>) -> io::Result<()> {
        self.sync(handle)
    }

    /// Makes the file's parent directories, and the root, where they are missing.
    ///
    /// # Errors
    /// The disk's.
    fn make_parents(&mut self, place: Place<'_>) -> io::Result<()>;

    /// Makes the symbolic link that the layout has at this place, to `target`, relative to the link's own directory. Whatever is there already stays.
    ///
    /// # Errors
    /// The disk's.
    fn make_link(&mut self, place: Place<'_>, target: &Path) -> io::Result<()>;

    /// Lets everyone execute the file who may read it. Nothing happens when it is not there.
    ///
    /// # Errors
    /// The disk's.
    fn set_executable(&mut self, place: Place<'_>) -> io::Result<()>;

    /// Takes away the file or the link at this place; a directory stays.
    ///
    /// # Errors
    /// The disk's; `NotFound` when nothing is there.
    fn remove(&mut self, place: Place<'_>) -> io::Result<()>;

    /// Takes away the directory `path`, relative to the layout's root and below it, when it is empty.
    ///
    /// # Errors
    /// The disk's; one that is not empty is one.
    fn remove_directory(&mut self, layout: &Layout, path: &Path) -> io::Result<()>;

    /// Takes the file or the link at `from` to `to`, at most `budget` bytes of it at a time; nothing that is there is overwritten.
    /// A disk that has no names to move says so.
    ///
    /// # Errors
    /// The disk's; `AlreadyExists` when something is there. Then nothing of it is at `to`.
    fn carry(
        &mut self,
        _from: Place<'_>,
        _to: Place<'_>,
        _what: &mut Carry,
    ) -> io::Result<Carried> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Flushes the names in the directories of `layout` that are at `paths`, relative to its root.
    ///
    /// # Errors
    /// The disk's.
    fn sync_names(&mut self, _layout: &Layout, _paths: &BTreeSet<&Path>) -> io::Result<()> {
        Ok(())
    }

    /// Looks at a directory that is no torrent's.
    ///
    /// # Errors
    /// What the system says.
    fn survey(&mut self, survey: &Survey) -> Result<Surveyed, Fault> {
        let error = io::ErrorKind::Unsupported.into();
        Err(fault(&survey.path, "look at", &error))
    }

    /// Reads block lists.
    ///
    /// # Errors
    /// A file that cannot be read, or is no list.
    fn blocks(&mut self, _load: &BlocksLoad) -> Result<BlocksRead, BlocksFault> {
        Err(BlocksFault("there are no files here".to_owned()))
    }

    /// Closes what is open of a session.
    fn close(&mut self, session: SessionId);
}

/// How a file is carried.
#[derive(Clone, Copy, Debug)]
pub struct Carry {
    /// Whose: names what is copied in part.
    pub info_hash: InfoHash,
    /// Whether an earlier run may have been about to take the file over: the same size and time in both places means that.
    pub resumed: bool,
    /// Bytes that were copied.
    pub copied: u64,
    /// Bytes to copy at most.
    pub budget: u64,
}

/// What became of a file that was to be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// There was none.
    Nothing,
    /// It is there: so many bytes.
    There(u64),
    /// The budget was used up.
    Partly,
}

/// Most parts of one read or write: the kernel's own limit.
pub const IOV_MAX: usize = 1024;

/// What an error means: the kind for the engine, the text for a person.
#[must_use]
pub fn fault(path: &Path, tried: &str, error: &io::Error) -> Fault {
    Fault {
        kind: fault_kind(error),
        path: path.to_owned(),
        message: format!("cannot {tried} {}: {}", shown(path), reason(error)),
    }
}

/// What the system says; not of links, since its own words for them ("cross-device link") mislead.
fn reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::CrossesDevices {
        return "a symbolic link on the way leads out of the download directory".to_owned();
    }
    error.to_string()
}

/// What an error means for the torrent.
#[must_use]
pub fn fault_kind(error: &io::Error) -> FaultKind {
    use io::ErrorKind as Kind;
    use rustix::io::Errno;

    // These have no stable kind of their own.
    match Errno::from_io_error(error) {
        Some(Errno::LOOP) => return FaultKind::InTheWay,
        Some(Errno::MFILE | Errno::NFILE) => return FaultKind::NoResources,
        _ => {}
    }
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => FaultKind::Full,
        Kind::ReadOnlyFilesystem | Kind::PermissionDenied => FaultKind::Denied,
        Kind::NotADirectory | Kind::IsADirectory | Kind::CrossesDevices | Kind::AlreadyExists => {
            FaultKind::InTheWay
        }
        Kind::NotFound | Kind::UnexpectedEof => FaultKind::Gone,
        Kind::OutOfMemory => FaultKind::NoResources,
        _ => FaultKind::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_link_that_leads_out_is_called_so() {
        let fault = fault(Path::new("/a/b"), "write", &Errno::XDEV.into());
        let want =
            "cannot write /a/b: a symbolic link on the way leads out of the download directory";
        assert_eq!(fault.message, want);
    }

    #[test]
    fn every_error_of_the_system_has_a_meaning() {
        #[rustfmt::skip]
        let table: &[(Errno, FaultKind)] = &[
            (Errno::NOSPC,  FaultKind::Full),
            (Errno::DQUOT,  FaultKind::Full),
            (Errno::ROFS,   FaultKind::Denied),
            (Errno::ACCESS, FaultKind::Denied),
            (Errno::PERM,   FaultKind::Denied),
            (Errno::LOOP,   FaultKind::InTheWay),
            (Errno::ISDIR,  FaultKind::InTheWay),
            (Errno::NOTDIR, FaultKind::InTheWay),
            (Errno::XDEV,   FaultKind::InTheWay),
            (Errno::NOENT,  FaultKind::Gone),
            (Errno::MFILE,  FaultKind::NoResources),
            (Errno::NFILE,  FaultKind::NoResources),
            (Errno::NOMEM,  FaultKind::NoResources),
            (Errno::IO,     FaultKind::Failed),
            (Errno::STALE,  FaultKind::Failed),
        ];
        for &(errno, kind) in table {
            let fault = fault(Path::new("/a/b"), "write", &errno.into());
            assert_eq!(fault.kind, kind, "{errno:?}");
            assert!(
                fault.message.starts_with("cannot write /a/b: "),
                "{}",
                fault.message
            );
        }
        let short = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(fault_kind(&short), FaultKind::Gone);
    }
}
