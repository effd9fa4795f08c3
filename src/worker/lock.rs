//! Who holds a row: a locked file for each, that names its process.
//!
//! The lock is the kernel's (`flock`) and goes with the process, however it ends; the file's text is only for telling whom to
//! ask. The file goes when the row is let go. Between one's opening and its locking another may have removed it, so whoever
//! gets the lock looks whether the file is still the one with that name.

#![allow(
    clippy::disallowed_methods,
    reason = "the store's own: the state directory"
)]

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::hash;
use crate::ids::InfoHash;

/// How often a lock file may vanish under us before we give up.
const VANISHED_MAX: usize = 64;

/// A lock that we hold.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

/// Why we do not.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another holds it; pid 0 when it has not yet written who it is.
    Busy(u32),
    /// The state directory failed.
    Failed(PathBuf, io::Error),
}

/// The lock file of a row: `<info-hash>-<16 digits of the hash of the root>.lock`.
pub(super) fn path_of(state: &Path, info_hash: InfoHash, root: &Path) -> PathBuf {
    let mut name = format!("{info_hash}-");
    for byte in &hash::sha1(root.as_os_str().as_bytes())[..8] {
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(".lock");
    state.join("locks").join(name)
}

impl Lock {
    /// Takes the lock without waiting. Makes the directory when it is missing.
    ///
    /// # Errors
    /// When another holds it, in this process or in another.
    pub(super) fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |error| LockError::Failed(path.to_owned(), error);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        for _ in 0..VANISHED_MAX {
            let mut file = open(path).map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(LockError::Busy(read_pid(&mut file))),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            if !is_at(&file, path).map_err(failed)? {
                continue;
            }
            write_pid(&mut file).map_err(failed)?;
            return Ok(Self {
                file,
                path: path.to_owned(),
            });
        }
        Err(failed(io::ErrorKind::ResourceBusy.into()))
    }

    /// The same, but waits for whoever holds it; for short work only.
    pub(super) fn wait(path: &Path) -> io::Result<Self> {
        loop {
            let file = open(path)?;
            retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
            if is_at(&file, path)? {
                return Ok(Self {
                    file,
                    path: path.to_owned(),
                });
            }
        }
    }
}

impl Drop for Lock {
    /// Removes the file while it is still locked, so that nobody can have locked it anew.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("cannot remove {}: {error}", self.path.display());
        }
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

/// Whether `path` still leads to `file`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", process::id())
}

fn read_pid(file: &mut File) -> u32 {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    read.ok()
        .and_then(|_| text.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_the_other_learns_who() {
        let state = tempfile::tempdir().unwrap();
        let path = path_of(state.path(), InfoHash([7; 20]), Path::new("/downloads"));
        let lock = Lock::take(&path).unwrap();
        match Lock::take(&path) {
            Err(LockError::Busy(pid)) => assert_eq!(pid, process::id()),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert!(!path.exists(), "nothing is left behind");
        drop(Lock::take(&path).unwrap());
    }

    #[test]
    fn a_file_left_by_a_killed_process_is_taken_over() {
        let state = tempfile::tempdir().unwrap();
        let path = path_of(state.path(), InfoHash([7; 20]), Path::new("/downloads"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "123456789\n and more than a pid").unwrap();
        let _lock = Lock::take(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", process::id())
        );
    }

    #[test]
    fn of_many_at_once_exactly_one_holds_it() {
        let state = tempfile::tempdir().unwrap();
        let path = path_of(state.path(), InfoHash([7; 20]), Path::new("/downloads"));
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut taken = 0;
                    while taken < 50 {
                        let Ok(_lock) = Lock::take(&path) else {
                            std::thread::yield_now();
                            continue;
                        };
                        taken += 1;
                        let others = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn rows_have_files_of_their_own() {
        let of = |hash, root| path_of(Path::new("/state"), InfoHash([hash; 20]), Path::new(root));
        assert_ne!(of(1, "/a"), of(1, "/b"));
        assert_ne!(of(1, "/a"), of(2, "/a"));
        let name = of(0xab, "/a");
        let name = name.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), 40 + 1 + 16 + 5);
        assert!(name.starts_with(&"ab".repeat(20)));
    }
}
