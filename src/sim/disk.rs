//! A disk in memory that remembers what was flushed, so that a power cut can take the rest away.
//!
//! Each file has two contents: what a read sees now (the page cache) and what the device holds. A flush brings the device up
//! to date. A power cut lets each unflushed page, and each file's unflushed length and time, reach the device or not, by
//! chance. A flush that fails leaves its pages dirty, or ([`DiskFaults::flush_drops`]) clean and not on the device, as Linux
//! does: a later flush that succeeds then says nothing about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};

use crate::engine::message::FileStamp;
use crate::ids::SessionId;
use crate::rng::Rng;
use crate::time::Instant;
use crate::worker::files::{Access, Files, Place};

use super::faults::DiskFaults;

const PAGE: usize = 4096;
/// Files carry the time of the kernel's last tick, not of the write: several writes may share a time.
const TICK_MICROS: u64 = 4000;

/// One file.
#[derive(Clone, Debug, Default)]
struct VirtualFile {
    current: Vec<u8>,
    modified: i64,
    device: Vec<u8>,
    device_modified: i64,
    /// Whether the device knows its name.
    named: bool,
    /// Pages that differ from the device's and that a flush would write.
    dirty: BTreeSet<usize>,
    /// Pages that were ever written: the others are holes.
    written: BTreeSet<usize>,
}

/// One machine's disk.
#[derive(Debug)]
pub struct Disk {
    files: BTreeMap<PathBuf, VirtualFile>,
    links: BTreeMap<PathBuf, PathBuf>,
    faults: DiskFaults,
    /// Bytes it holds.
    capacity: u64,
    rng: Rng,
    now: Instant,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub const fn new(faults: DiskFaults, capacity: u64, rng: Rng) -> Self {
        Self {
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            faults,
            capacity,
            rng,
            now: Instant::ZERO,
        }
    }

    /// Sets the time that files written from now on carry.
    pub const fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Changes what goes wrong, and how much it holds.
    pub const fn set_faults(&mut self, faults: DiskFaults, capacity: u64) {
        self.faults = faults;
        self.capacity = capacity;
    }

    /// Puts a flushed file there.
    pub fn put(&mut self, path: PathBuf, bytes: &[u8]) {
        let modified = self.modified();
        let file = VirtualFile {
            current: bytes.to_vec(),
            modified,
            device: bytes.to_vec(),
            device_modified: modified,
            named: true,
            dirty: BTreeSet::new(),
            written: (0..bytes.len().div_ceil(PAGE)).collect(),
        };
        self.files.insert(path, file);
    }

    /// What a reader would see of a file.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path).map(|file| &file.current[..])
    }

    /// What the device holds of a file, were power to go now.
    #[must_use]
    pub fn flushed(&self, path: &Path) -> Option<&[u8]> {
        let file = self.files.get(path).filter(|file| file.named);
        file.map(|file| &file.device[..])
    }

    /// A person deletes a file.
    pub fn remove(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// Power is gone: what was not flushed reached the device or not.
    pub fn power_cut(&mut self) {
        let rng = &mut self.rng;
        self.files.retain(|_, file| {
            let size_known = rng.chance(1, 2);
            file.named |= rng.chance(1, 2);
            if size_known {
                file.device.resize(file.current.len(), 0);
                file.device_modified = file.modified;
            }
            for page in std::mem::take(&mut file.dirty) {
                if rng.chance(1, 2) {
                    flush_page(file, page);
                }
            }
            file.current = file.device.clone();
            file.modified = file.device_modified;
            file.named
        });
    }

    fn modified(&self) -> i64 {
        let micros = self.now.as_micros() / TICK_MICROS * TICK_MICROS;
        i64::try_from(micros * 1000).unwrap_or(i64::MAX)
    }

    fn used(&self) -> u64 {
        let pages = |file: &VirtualFile| (file.written.len() * PAGE) as u64;
        self.files.values().map(pages).sum()
    }

    fn fails(&mut self) -> io::Result<()> {
        if self.rng.below(100_000) < self.faults.error_per_100k {
            return Err(rustix::io::Errno::IO.into());
        }
        Ok(())
    }

    fn cut(&mut self, most: usize) -> usize {
        if most > 1 && self.rng.below(1000) < self.faults.short_per_mille {
            1 + self.rng.index(most)
        } else {
            most
        }
    }
}

/// Brings one page of the device up to date, as far as the device's length reaches.
fn flush_page(file: &mut VirtualFile, page: usize) {
    let from = page * PAGE;
    let to = (from + PAGE).min(file.current.len()).min(file.device.len());
    if from < to {
        file.device[from..to].copy_from_slice(&file.current[from..to]);
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Files for Disk {
    type Handle = PathBuf;

    fn open(&mut self, place: Place<'_>, access: Access) -> io::Result<PathBuf> {
        let path = place.layout.path(place.file);
        if !self.files.contains_key(&path) {
            if access == Access::Read {
                return Err(missing());
            }
            self.fails()?;
            let modified = self.modified();
            let file = VirtualFile {
                modified,
                device_modified: modified,
                ..VirtualFile::default()
            };
            self.files.insert(path.clone(), file);
        }
        Ok(path)
    }

    fn read_at(
        &mut self,
        handle: &PathBuf,
        parts: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        self.fails()?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let most = self.cut(total);
        let file = self.files.get(handle).ok_or_else(missing)?;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(file.current.len());
        let to = file.current.len().min(from.saturating_add(most));
        let mut rest = &file.current[from..to];
        for part in parts {
            let (head, tail) = rest.split_at(part.len().min(rest.len()));
            part[..head.len()].copy_from_slice(head);
            rest = tail;
        }
        Ok(to - from)
    }

    fn write_at(
        &mut self,
        handle: &PathBuf,
        parts: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        self.fails()?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let most = self.cut(total);
        let room = self.capacity.saturating_sub(self.used());
        let modified = self.modified();
        let file = self.files.get_mut(handle).ok_or_else(missing)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        // A write takes new pages as long as there is room for them.
        let mut to = from + most;
        let mut new_pages = Vec::new();
        for page in from / PAGE..(from + most).div_ceil(PAGE) {
            if !file.written.contains(&page) {
                if (new_pages.len() as u64 + 1) * PAGE as u64 > room {
                    to = page * PAGE;
                    break;
                }
                new_pages.push(page);
            }
        }
        if to <= from && most > 0 {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        let bytes: Vec<u8> = parts
            .iter()
            .flat_map(|part| part.iter().copied())
            .take(to - from)
            .collect();
        if file.current.len() < to {
            file.current.resize(to, 0);
        }
        file.current[from..to].copy_from_slice(&bytes);
        file.modified = modified;
        file.written.extend(new_pages);
        file.dirty.extend(from / PAGE..to.div_ceil(PAGE));
        Ok(to - from)
    }

    fn stamp(&mut self, handle: &PathBuf) -> io::Result<FileStamp> {
        let file = self.files.get(handle).ok_or_else(missing)?;
        Ok(FileStamp {
            length: file.current.len() as u64,
            modified_nanos: file.modified,
        })
    }

    fn stat(&mut self, place: Place<'_>) -> io::Result<FileStamp> {
        self.stamp(&place.layout.path(place.file))
    }

    fn sync(&mut self, handle: &PathBuf) -> io::Result<()> {
        let failed = self.fails();
        let drops = self.faults.flush_drops;
        let file = self.files.get_mut(handle).ok_or_else(missing)?;
        if failed.is_err() && drops {
            file.dirty.clear();
        }
        failed?;
        let dirty = std::mem::take(&mut file.dirty);
        file.device.resize(file.current.len(), 0);
        dirty.into_iter().for_each(|page| flush_page(file, page));
        file.device_modified = file.modified;
        file.named = true;
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

    fn set_executable(&mut self, _place: Place<'_>) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, place: Place<'_>) -> io::Result<()> {
        let path = place.layout.path(place.file);
        let gone = self.files.remove(&path).is_some() || self.links.remove(&path).is_some();
        gone.then_some(()).ok_or_else(missing)
    }

    fn remove_directory(
        &mut self,
        _layout: &crate::codec::layout::Layout,
        _path: &Path,
    ) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _session: SessionId) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::geometry::Geometry;
    use crate::codec::layout::{FileEntry, FileKind, Layout};

    fn layout() -> Layout {
        Layout {
            root: PathBuf::from("/d"),
            files: vec![FileEntry {
                path: PathBuf::from("f"),
                length: 100_000,
                offset: 0,
                kind: FileKind::Regular { executable: false },
            }],
            geometry: Geometry::new(100_000, 16_384).unwrap(),
        }
    }

    fn disk(capacity: u64, seed: u64) -> Disk {
        Disk::new(DiskFaults::default(), capacity, Rng::new(seed))
    }

    fn write(disk: &mut Disk, handle: &PathBuf, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        disk.write_at(handle, &[IoSlice::new(bytes)], offset)
    }

    #[test]
    fn a_power_cut_takes_only_what_was_not_flushed() {
        let layout = layout();
        let place = Place {
            session: SessionId::new(0, 0),
            layout: &layout,
            file: 0,
        };
        let (mut lost, mut kept) = (0, 0);
        for seed in 0..100 {
            let mut disk = disk(u64::MAX, seed);
            let handle = disk.open(place, Access::Write).unwrap();
            write(&mut disk, &handle, 0, &[1; 3 * PAGE]).unwrap();
            disk.sync(&handle).unwrap();
            let stamp = disk.stat(place).unwrap();
            disk.set_now(Instant::from_micros(1_000_000));
            write(&mut disk, &handle, PAGE as u64, &[2; 4 * PAGE]).unwrap();
            disk.power_cut();
            let content = disk.content(&handle).unwrap();
            assert_eq!(content[..PAGE], [1; PAGE], "what was flushed stays");
            for page in content.chunks(PAGE).skip(1) {
                match page[0] {
                    2 => kept += 1,
                    _ => lost += 1,
                }
            }
            let after = disk.stat(place).unwrap();
            assert_eq!(
                after.length == stamp.length,
                after == stamp,
                "length and time go together"
            );
        }
        assert!(lost > 50 && kept > 50, "{lost} lost, {kept} kept");
    }

    #[test]
    fn a_failed_flush_is_not_made_good_by_a_later_one() {
        let layout = layout();
        let place = Place {
            session: SessionId::new(0, 0),
            layout: &layout,
            file: 0,
        };
        let mut disk = disk(u64::MAX, 1);
        let handle = disk.open(place, Access::Write).unwrap();
        write(&mut disk, &handle, 0, &[1; PAGE]).unwrap();
        disk.set_faults(
            DiskFaults {
                error_per_100k: 100_000,
                flush_drops: true,
                ..DiskFaults::default()
            },
            u64::MAX,
        );
        assert!(disk.sync(&handle).is_err());
        disk.set_faults(DiskFaults::default(), u64::MAX);
        disk.sync(&handle).unwrap();
        assert_eq!(
            disk.content(&handle).unwrap()[0],
            1,
            "the page cache has it"
        );
        disk.power_cut();
        assert_eq!(disk.content(&handle).unwrap()[0], 0, "the device never had");
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let layout = layout();
        let place = Place {
            session: SessionId::new(0, 0),
            layout: &layout,
            file: 0,
        };
        let mut disk = disk(2 * PAGE as u64, 1);
        let handle = disk.open(place, Access::Write).unwrap();
        assert_eq!(
            write(&mut disk, &handle, 0, &[1; 3 * PAGE]).unwrap(),
            2 * PAGE
        );
        let error = write(&mut disk, &handle, 2 * PAGE as u64, &[1; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            write(&mut disk, &handle, 5, &[3; 10]).unwrap(),
            10,
            "pages that are there are written again"
        );
    }
}
