//! The files below a path, in the order in which a torrent lists them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cli::source::reason;
use crate::codec::geometry::Geometry;
use crate::codec::layout::{FileEntry, FileKind, Layout};

/// Most files of a torrent we make; more is an error.
const FILES_MAX: usize = 1_000_000;

/// A file to share.
pub(super) struct TreeFile {
    /// Below the torrent's directory; empty for a torrent of one file.
    pub(super) components: Vec<String>,
    pub(super) length: u64,
    modified: Option<SystemTime>,
}

/// All that is to be shared.
pub(super) struct Tree {
    root: PathBuf,
    /// Sorted by their components' bytes, so that the same tree gives the same torrent everywhere.
    pub(super) files: Vec<TreeFile>,
    /// What was left out, and why.
    pub(super) skipped: Vec<(PathBuf, &'static str)>,
}

impl Tree {
    /// Reads what is at `root`: hidden files too, but neither links nor devices, nor `output`, which is about to change.
    pub(super) fn read(root: &Path, output: &Path) -> Result<Self, String> {
        let failed = |path: &Path, why: &str| format!("{}: {why}", path.display());
        let mut tree = Self {
            root: root.to_owned(),
            files: Vec::new(),
            skipped: Vec::new(),
        };
        let metadata = fs::metadata(root).map_err(|fault| failed(root, &reason(&fault)))?;
        if metadata.is_file() {
            tree.push(Vec::new(), &metadata);
            return Ok(tree);
        }
        if !metadata.is_dir() {
            return Err(failed(root, "neither a file nor a directory"));
        }
        let output = output.canonicalize().ok();
        let mut directories: Vec<Vec<String>> = vec![Vec::new()];
        while let Some(components) = directories.pop() {
            let directory = tree.path(&components);
            let fault = |fault: std::io::Error| failed(&directory, &reason(&fault));
            for entry in fs::read_dir(&directory).map_err(fault)? {
                let entry = entry.map_err(fault)?;
                let path = entry.path();
                let metadata =
                    fs::symlink_metadata(&path).map_err(|fault| failed(&path, &reason(&fault)))?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    return Err(failed(&path, "its name is not UTF-8"));
                };
                let mut below = components.clone();
                below.push(name.to_owned());
                if metadata.is_dir() {
                    directories.push(below);
                } else if metadata.is_symlink() {
                    tree.skipped.push((path, "a symbolic link"));
                } else if !metadata.is_file() {
                    tree.skipped.push((path, "no regular file"));
                } else if output.is_some() && path.canonicalize().ok() == output {
                    tree.skipped.push((path, "the torrent file itself"));
                } else if tree.files.len() == FILES_MAX {
                    return Err(failed(root, "more than 1000000 files"));
                } else {
                    tree.push(below, &metadata);
                }
            }
        }
        tree.files.sort_by(|a, b| a.components.cmp(&b.components));
        tree.skipped.sort();
        Ok(tree)
    }

    fn push(&mut self, components: Vec<String>, metadata: &fs::Metadata) {
        self.files.push(TreeFile {
            components,
            length: metadata.len(),
            modified: metadata.modified().ok(),
        });
    }

    fn path(&self, components: &[String]) -> PathBuf {
        // Joining nothing would put a slash behind a file's name.
        let below: PathBuf = components.iter().collect();
        if components.is_empty() {
            self.root.clone()
        } else {
            self.root.join(below)
        }
    }

    /// All bytes.
    pub(super) fn total(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum: u64, file| sum.saturating_add(file.length))
    }

    /// Where the bytes lie.
    pub(super) fn layout(&self, geometry: Geometry) -> Layout {
        let mut offset = 0;
        let files = self.files.iter().map(|file| {
            let entry = FileEntry {
                path: self.path(&file.components),
                length: file.length,
                offset,
                kind: FileKind::Regular { executable: false },
            };
            offset += file.length;
            entry
        });
        Layout {
            files: files.collect(),
            root: PathBuf::new(),
            geometry,
        }
    }

    /// A file that changed while it was read has hashes of neither state.
    pub(super) fn assert_unchanged(&self) -> Result<(), String> {
        for file in &self.files {
            let path = self.path(&file.components);
            let same = fs::metadata(&path)
                .is_ok_and(|now| now.len() == file.length && now.modified().ok() == file.modified);
            if !same {
                return Err(format!("{}: changed while it was read", path.display()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_sorted_and_links_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (name, length) in [
            ("b", 3),
            ("a/z", 2),
            ("a/.hidden", 1),
            ("a b", 0),
            ("o.torrent", 9),
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; length]).unwrap();
        }
        std::os::unix::fs::symlink("b", root.join("link")).unwrap();
        let tree = Tree::read(root, &root.join("o.torrent")).unwrap();
        let names: Vec<_> = tree
            .files
            .iter()
            .map(|file| file.components.join("/"))
            .collect();
        assert_eq!(names, ["a/.hidden", "a/z", "a b", "b"]);
        assert_eq!(tree.total(), 6);
        let skipped: Vec<_> = tree.skipped.iter().map(|(_, why)| *why).collect();
        assert_eq!(skipped, ["a symbolic link", "the torrent file itself"]);
        assert_eq!(tree.assert_unchanged(), Ok(()));
        fs::write(root.join("b"), "longer").unwrap();
        assert!(
            tree.assert_unchanged()
                .unwrap_err()
                .ends_with("b: changed while it was read")
        );
        let one = Tree::read(&root.join("b"), Path::new("x")).unwrap();
        assert_eq!(one.files[0].components, Vec::<String>::new());
        assert!(Tree::read(&root.join("none"), Path::new("x")).is_err());
    }
}
