//! A disk in memory, with faults at will: for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use crate::engine::message::FileStamp;
use crate::ids::SessionId;

use super::files::{Access, Files, Place};

/// A disk in memory. Its fields may be changed between jobs.
#[derive(Clone, Debug)]
pub struct MemoryFiles {
    /// All files, by their full paths.
    pub files: BTreeMap<PathBuf, MemoryFile>,
    /// All links, by their full paths.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Bytes that all files together may have; more is ENOSPC.
    pub capacity: u64,
    /// Bytes that one call reads or writes at most.
    pub step: usize,
    /// Files that can be neither read nor written nor flushed: EIO.
    pub broken: BTreeSet<PathBuf>,
    /// Directories that are in a file's place.
    pub directories: BTreeSet<PathBuf>,
    /// Calls of [`Files::write_at`] so far.
    pub writes: u64,
    /// Changes so far; the time of the next is one more.
    pub clock: i64,
    /// Calls of [`Files::read_at`] and [`Files::stat`] so far.
    pub looks: u64,
    /// The flag is set when there were so many looks: somebody stops the job.
    pub stop: Option<(u64, Arc<AtomicBool>)>,
}

/// A file in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFile {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Counts changes of the whole disk.
    pub modified: i64,
    /// Whether anyone may execute it.
    pub executable: bool,
    /// How often it was flushed.
    pub syncs: u64,
}

impl Default for MemoryFiles {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            capacity: u64::MAX,
            step: usize::MAX,
            broken: BTreeSet::new(),
            directories: BTreeSet::new(),
            writes: 0,
            clock: 0,
            looks: 0,
            stop: None,
        }
    }
}

impl MemoryFiles {
    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.files
            .values()
            .map(|file| file.bytes.len() as u64)
            .sum()
    }

    fn find(&self, path: &Path) -> io::Result<&MemoryFile> {
        if self.directories.contains(path) {
            return Err(Errno::ISDIR.into());
        }
        self.files.get(path).ok_or_else(|| Errno::NOENT.into())
    }

    fn look(&mut self) {
        self.looks += 1;
        if let Some((_, stop)) = self.stop.as_ref().filter(|(after, _)| *after == self.looks) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    fn healthy(&self, path: &Path) -> io::Result<()> {
        if self.broken.contains(path) {
            return Err(Errno::IO.into());
        }
        Ok(())
    }
}

impl Files for MemoryFiles {
    type Handle = PathBuf;

    fn open(&mut self, place: Place<'_>, access: Access) -> io::Result<PathBuf> {
        let path = place.layout.path(place.file);
        match self.find(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Write => {
                self.clock += 1;
                let file = MemoryFile {
                    modified: self.clock,
                    executable: place.executable(),
                    ..MemoryFile::default()
                };
                self.files.insert(path.clone(), file);
            }
            result => {
                result?;
            }
        }
        Ok(path)
    }

    fn read_at(
        &mut self,
        handle: &PathBuf,
        parts: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        self.look();
        self.healthy(handle)?;
        let bytes = &self.find(handle)?.bytes;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = bytes.get(offset..).unwrap_or(&[]);
        rest = &rest[..rest.len().min(self.step)];
        let mut read = 0;
        for part in parts {
            let count = part.len().min(rest.len());
            let (head, tail) = rest.split_at(count);
            part[..count].copy_from_slice(head);
            rest = tail;
            read += count;
        }
        Ok(read)
    }

    fn write_at(
        &mut self,
        handle: &PathBuf,
        parts: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        self.healthy(handle)?;
        self.writes += 1;
        self.clock += 1;
        let room = self.capacity.saturating_sub(self.used());
        let step = self.step;
        let clock = self.clock;
        let file = self.files.get_mut(handle).ok_or(Errno::NOENT)?;
        // As on a real disk: what still fits is written, and only the next write fails.
        let end_max = (file.bytes.len() as u64).saturating_add(room);
        let fits = usize::try_from(end_max.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let count = bytes.len().min(step).min(fits);
        if count == 0 && !bytes.is_empty() {
            return Err(Errno::NOSPC.into());
        }
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        if file.bytes.len() < begin + count {
            file.bytes.resize(begin + count, 0);
        }
        file.bytes[begin..begin + count].copy_from_slice(&bytes[..count]);
        file.modified = clock;
        Ok(count)
    }

    fn stamp(&mut self, handle: &PathBuf) -> io::Result<FileStamp> {
        let file = self.find(handle)?;
        Ok(FileStamp {
            length: file.bytes.len() as u64,
            modified_nanos: file.modified,
        })
    }

    fn stat(&mut self, place: Place<'_>) -> io::Result<FileStamp> {
        self.look();
        self.stamp(&place.layout.path(place.file))
    }

    fn sync(&mut self, handle: &PathBuf) -> io::Result<()> {
        self.healthy(handle)?;
        let file = self.files.get_mut(handle).ok_or(Errno::NOENT)?;
        file.syncs += 1;
        Ok(())
    }

    fn make_parents(&mut self, _place: Place<'_>) -> io::Result<()> {
        Ok(())
    }

    fn make_link(&mut self, place: Place<'_>, target: &Path) -> io::Result<()> {
        let path = place.layout.path(place.file);
        self.links.entry(path).or_insert_with(|| target.to_owned());
        Ok(())
    }

    fn set_executable(&mut self, place: Place<'_>) -> io::Result<()> {
        if let Some(file) = self.files.get_mut(&place.layout.path(place.file)) {
            file.executable = true;
        }
        Ok(())
    }

    fn close(&mut self, _session: SessionId) {}
}
