//! Which files we are writing ourselves: of all others the size and time are known, and a change is somebody else's.
//!
//! A file leaves the list when a flush has told its stamp and nothing was written since the flush began.

use std::collections::BTreeMap;

use crate::codec::layout::{FileIndex, FileRange, Layout};

/// The files with writes of ours whose stamp is not known yet. At most one entry for each file.
#[derive(Debug, Default)]
pub struct Writes {
    files: BTreeMap<FileIndex, Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    /// Jobs that may write to it and are not back.
    jobs: u32,
    /// Whether anything may have been written since the last flush began.
    unflushed: bool,
}

impl Writes {
    /// A job that may write these bytes is given out.
    pub fn begin(&mut self, layout: &Layout, offset: u64, length: u64) {
        for range in written(layout, offset, length) {
            self.files.entry(range.file).or_default().jobs += 1;
        }
    }

    /// The job is back; `wrote` unless it surely wrote nothing. Once for each [`Self::begin`], with the same bytes.
    pub fn end(&mut self, layout: &Layout, offset: u64, length: u64, wrote: bool) {
        for range in written(layout, offset, length) {
            let Some(writing) = self.files.get_mut(&range.file) else {
                continue;
            };
            writing.jobs -= 1;
            writing.unflushed |= wrote;
            if writing.jobs == 0 && !writing.unflushed {
                self.files.remove(&range.file);
            }
        }
    }

    /// A flush of these files begins.
    pub fn flush_begun(&mut self, files: &[FileIndex]) {
        for file in files {
            if let Some(writing) = self.files.get_mut(file) {
                writing.unflushed = false;
            }
        }
    }

    /// The flush has failed: what it was for is still to be flushed.
    pub fn flush_failed(&mut self, files: &[FileIndex]) {
        for file in files {
            if let Some(writing) = self.files.get_mut(file) {
                writing.unflushed = true;
            }
        }
    }

    /// The flush has succeeded, and told the stamp of `file`. `true` when that stamp may differ from the one before it by our
    /// own doing.
    pub fn flushed(&mut self, file: FileIndex) -> bool {
        let Some(writing) = self.files.get(&file) else {
            return false;
        };
        if writing.jobs == 0 && !writing.unflushed {
            self.files.remove(&file);
        }
        true
    }

    /// Whether nobody but another program can change the file's stamp now.
    #[must_use]
    pub fn is_quiet(&self, file: FileIndex) -> bool {
        !self.files.contains_key(&file)
    }
}

/// The parts of files that are really written: padding is not.
fn written(layout: &Layout, offset: u64, length: u64) -> impl Iterator<Item = FileRange> + '_ {
    let regular = |range: &FileRange| layout.files[range.file].is_regular();
    layout.ranges(offset, length).filter(regular)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::codec::geometry::Geometry;
    use crate::codec::layout::{FileEntry, FileKind};

    /// Two files of 100 bytes.
    fn layout() -> Layout {
        let file = |index: u64| FileEntry {
            path: PathBuf::from(index.to_string()),
            length: 100,
            offset: index * 100,
            kind: FileKind::Regular { executable: false },
        };
        Layout {
            root: PathBuf::new(),
            files: (0..2).map(file).collect(),
            geometry: Geometry::new(200, 64).expect("valid"),
        }
    }

    fn quiet(writes: &Writes) -> [bool; 2] {
        [writes.is_quiet(0), writes.is_quiet(1)]
    }

    #[test]
    fn a_file_is_quiet_again_once_its_stamp_is_known() {
        let (layout, mut writes) = (layout(), Writes::default());
        writes.begin(&layout, 90, 20);
        assert_eq!(quiet(&writes), [false, false], "both are written to");
        writes.flush_begun(&[0, 1]);
        assert!(writes.flushed(0), "a write may have come before the look");
        assert_eq!(quiet(&writes), [false, false], "the job is out");
        writes.end(&layout, 90, 20, true);
        assert_eq!(quiet(&writes), [false, false], "its stamp is not known");
        writes.flush_begun(&[0]);
        writes.flush_failed(&[0]);
        writes.flush_begun(&[0]);
        assert!(writes.flushed(0));
        assert_eq!(quiet(&writes), [true, false]);
        assert!(!writes.flushed(0), "a change from now on is not ours");
    }

    #[test]
    fn a_write_during_the_flush_keeps_the_file_unknown() {
        let (layout, mut writes) = (layout(), Writes::default());
        writes.begin(&layout, 0, 10);
        writes.end(&layout, 0, 10, true);
        writes.flush_begun(&[0]);
        writes.begin(&layout, 10, 10);
        writes.end(&layout, 10, 10, true);
        assert!(writes.flushed(0));
        assert_eq!(quiet(&writes), [false, true]);
    }

    #[test]
    fn a_piece_that_was_wrong_has_written_nothing() {
        let (layout, mut writes) = (layout(), Writes::default());
        writes.begin(&layout, 0, 200);
        writes.end(&layout, 0, 200, false);
        assert_eq!(quiet(&writes), [true, true]);
    }
}
