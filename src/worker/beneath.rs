//! Opening files beneath a directory, whatever links a stranger's torrent or another program has left in it.
//!
//! `openat2` with `RESOLVE_BENEATH` where the kernel has it: links are followed as long as they stay below the root. Elsewhere
//! the path is walked one component at a time and no link is followed at all.

#![allow(
    clippy::disallowed_methods,
    reason = "the workers' own: files are opened here"
)]

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, mkdirat, openat, openat2,
    renameat, renameat_with, statat, symlinkat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

/// How paths are resolved on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolver {
    /// The kernel keeps us beneath the root.
    Kernel,
    /// We walk, and follow no link.
    Walk,
}

/// How often a path is tried again when it changed while the kernel resolved it.
const AGAIN_MAX: usize = 16;

impl Resolver {
    /// What this kernel can do. A sandbox may forbid `openat2` with EPERM where an old kernel says ENOSYS.
    pub(super) fn detect() -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::NOSYS | Errno::PERM) => Self::Walk,
            _ => Self::Kernel,
        }
    }

    /// Opens `path` beneath `root`, never blocking on what is not a regular file.
    pub(super) fn open(
        self,
        root: BorrowedFd<'_>,
        path: &Path,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<OwnedFd> {
        check(path)?;
        let mut flags = flags | OFlags::CLOEXEC;
        if !flags.contains(OFlags::PATH) {
            // Opening a pipe would wait for its other end.
            flags |= OFlags::NOCTTY | OFlags::NONBLOCK;
        }
        match self {
            Self::Kernel => open_in_kernel(root, path, flags, mode),
            Self::Walk => open_walking(root, path, flags, mode),
        }
    }

    /// Makes the directories that lead to `path` beneath `root`.
    pub(super) fn make_parents(self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        check(path)?;
        let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        else {
            return Ok(());
        };
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(root, parent, directory, Mode::empty()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut above: Option<OwnedFd> = None;
        let mut prefix = std::path::PathBuf::new();
        for component in parent.components() {
            prefix.push(component);
            let into = above.as_ref().map_or(root, AsFd::as_fd);
            match mkdirat(into, component.as_os_str(), Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            above = Some(self.open(root, &prefix, directory, Mode::empty())?);
        }
        Ok(())
    }

    /// Makes a symbolic link at `path` beneath `root`; its parents are there.
    pub(super) fn make_link(
        self,
        root: BorrowedFd<'_>,
        path: &Path,
        target: &Path,
    ) -> io::Result<()> {
        self.in_parent(root, path, |parent, name| symlinkat(target, parent, name))
    }
}

impl Resolver {
    /// Takes away what is at `path` beneath `root`: the name itself, a link and not what it leads to. With
    /// [`AtFlags::REMOVEDIR`] an empty directory, else anything but one.
    pub(super) fn remove(
        self,
        root: BorrowedFd<'_>,
        path: &Path,
        flags: AtFlags,
    ) -> io::Result<()> {
        self.in_parent(root, path, |parent, name| unlinkat(parent, name, flags))
    }

    /// Gives what is at `from` beneath one root the name `to` beneath another, whose parents are there. Takes nobody's place.
    pub(super) fn rename(
        self,
        (from_root, from): (BorrowedFd<'_>, &Path),
        (to_root, to): (BorrowedFd<'_>, &Path),
    ) -> Result<(), RenameError> {
        let mut renamed = Ok(());
        self.in_parent(from_root, from, |old_parent, old| {
            let inner = self.in_parent(to_root, to, |new_parent, new| {
                renamed = rename_there((old_parent, old), (new_parent, new));
                Ok(())
            });
            if let Err(error) = inner {
                renamed = Err(RenameError::Failed(error));
            }
            Ok(())
        })
        .map_err(RenameError::Failed)?;
        renamed
    }

    /// Whether the name at the end of `path` is a symbolic link.
    pub(super) fn is_link(self, root: BorrowedFd<'_>, path: &Path) -> io::Result<bool> {
        let mut is_link = false;
        self.in_parent(root, path, |parent, name| {
            let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            Ok(())
        })?;
        Ok(is_link)
    }

    /// Does something to the name at the end of `path`, in the directory before it.
    fn in_parent(
        self,
        root: BorrowedFd<'_>,
        path: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> Result<(), Errno>,
    ) -> io::Result<()> {
        check(path)?;
        let name = path.file_name().ok_or_else(outside)?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let result = match parent {
            Some(parent) => {
                let directory = OFlags::PATH | OFlags::DIRECTORY;
                let parent = self.open(root, parent, directory, Mode::empty())?;
                act(parent.as_fd(), name)
            }
            None => act(root, name),
        };
        result.map_err(io::Error::from)
    }
}

/// Why a file has not got its new name.
#[derive(Debug)]
pub(super) enum RenameError {
    /// The two places are on different file systems.
    Elsewhere,
    /// Anything else.
    Failed(io::Error),
}

fn rename_there(
    (old_parent, old): (BorrowedFd<'_>, &OsStr),
    (new_parent, new): (BorrowedFd<'_>, &OsStr),
) -> Result<(), RenameError> {
    let plainly = || match statat(new_parent, new, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => renameat(old_parent, old, new_parent, new),
        Err(error) => Err(error),
    };
    let renamed = match renameat_with(old_parent, old, new_parent, new, RenameFlags::NOREPLACE) {
        // Network file systems know no such flag; between the look and the rename nobody else should come.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => plainly(),
        result => result,
    };
    match renamed {
        Ok(()) => Ok(()),
        Err(Errno::XDEV) => Err(RenameError::Elsewhere),
        Err(error) => Err(RenameError::Failed(error.into())),
    }
}

/// Opens the root itself; links that lead to it are the person's own and followed.
pub(super) fn open_root(path: &Path, create: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || retry_on_intr(|| openat(CWD, path, flags, Mode::empty()));
    match open() {
        Err(Errno::NOENT) if create => {
            fs::create_dir_all(path)?;
            Ok(open()?)
        }
        result => Ok(result?),
    }
}

/// The layout promises plain relative paths; what breaks the promise is refused here once more, before any system call.
fn check(path: &Path) -> io::Result<()> {
    let plain = |component| matches!(component, Component::Normal(_));
    let safe = path.components().next().is_some() && path.components().all(plain);
    if safe { Ok(()) } else { Err(outside()) }
}

/// The path leads out of the root, as the kernel would say it.
fn outside() -> io::Error {
    Errno::XDEV.into()
}

fn open_in_kernel(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut left = AGAIN_MAX;
    loop {
        match openat2(root, path, flags, mode, resolve) {
            Err(Errno::INTR) => {}
            // Somebody renames directories under our feet; the kernel gives up rather than be tricked.
            Err(Errno::AGAIN) if left > 0 => left -= 1,
            result => return Ok(result?),
        }
    }
}

fn open_walking(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut above: Option<OwnedFd> = None;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let from = above.as_ref().map_or(root, AsFd::as_fd);
        let last = components.peek().is_none();
        let (flags, mode) = if last {
            (flags | OFlags::NOFOLLOW, mode)
        } else {
            (through, Mode::empty())
        };
        let fd = retry_on_intr(|| openat(from, component.as_os_str(), flags, mode))?;
        if last {
            return Ok(fd);
        }
        above = Some(fd);
    }
    Err(outside())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn both(test: impl Fn(Resolver, &Path)) {
        for resolver in [Resolver::detect(), Resolver::Walk] {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("root");
            fs::create_dir(&root).unwrap();
            fs::write(directory.path().join("secret"), b"secret").unwrap();
            test(resolver, &root);
            assert_eq!(
                fs::read(directory.path().join("secret")).unwrap(),
                b"secret"
            );
        }
    }

    fn create(resolver: Resolver, root: &Path, path: &str) -> io::Result<OwnedFd> {
        let root = open_root(root, true)?;
        resolver.make_parents(root.as_fd(), Path::new(path))?;
        let flags = OFlags::RDWR | OFlags::CREATE;
        resolver.open(
            root.as_fd(),
            Path::new(path),
            flags,
            Mode::from_raw_mode(0o666),
        )
    }

    #[test]
    fn files_are_made_with_their_directories() {
        both(|resolver, root| {
            for path in ["a", "b/c/d", "b/c/e"] {
                create(resolver, root, path).unwrap();
                assert!(root.join(path).is_file(), "{path}");
            }
        });
    }

    #[test]
    fn no_path_and_no_link_leads_out() {
        both(|resolver, root| {
            symlink("..", root.join("up")).unwrap();
            symlink("../secret", root.join("file")).unwrap();
            symlink(root.parent().unwrap().join("new"), root.join("dangling")).unwrap();
            symlink("/", root.join("top")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
            let outside = [
                "../secret",
                "/etc/passwd",
                "a/../../secret",
                "",
                ".",
                "up/secret",
                "up/new",
                "file",
                "dangling",
                "top/etc/passwd",
                "loop",
                "up/root/a",
            ];
            for path in outside {
                let error = create(resolver, root, path).expect_err(path);
                let kind = super::super::files::fault_kind(&error);
                assert_eq!(
                    kind,
                    crate::engine::message::FaultKind::InTheWay,
                    "{resolver:?} {path}: {error}"
                );
            }
            assert!(!root.parent().unwrap().join("new").exists());
        });
    }

    #[test]
    fn a_link_that_stays_inside_is_followed_where_the_kernel_keeps_us_in() {
        both(|resolver, root| {
            fs::create_dir(root.join("d")).unwrap();
            symlink("d", root.join("link")).unwrap();
            let made = create(resolver, root, "link/a");
            assert_eq!(made.is_ok(), resolver == Resolver::Kernel);
        });
    }
}
