//! Other names for a torrent's files and directories: which ones are allowed, and what the files are called then.

use std::path::Path;

use crate::codec::layout::{FileEntry, FileKind};
use crate::codec::path::COMPONENT_BYTES_MAX;
use crate::engine::message::Refusal;

use super::entry::Rename;

/// The files with all their new names.
pub(super) fn all_renamed(
    files: &[FileEntry],
    renames: &[Rename],
) -> Result<Vec<FileEntry>, Refusal> {
    let mut files = files.to_vec();
    for rename in renames {
        files = renamed(&files, rename)?;
    }
    Ok(files)
}

/// The files with one of them, or a directory of theirs, by another name.
pub(super) fn renamed(files: &[FileEntry], rename: &Rename) -> Result<Vec<FileEntry>, Refusal> {
    let name = rename.name.as_str();
    let is_name = !name.is_empty()
        && name != "."
        && name != ".."
        && name.len() <= COMPONENT_BYTES_MAX
        && !name.contains(['/', '\0']);
    if !is_name {
        return Err(Refusal::BadName);
    }
    let old = rename.path.as_path();
    let real = |file: &&FileEntry| file.kind != FileKind::Pad;
    if old.file_name().is_none()
        || !files
            .iter()
            .filter(real)
            .any(|file| file.path.starts_with(old))
    {
        return Err(Refusal::UnknownFile);
    }
    let new = old.with_file_name(name);
    if new == old {
        return Ok(files.to_vec());
    }
    if files.iter().any(|file| file.path.starts_with(&new)) {
        return Err(Refusal::NameTaken);
    }
    let moved = |path: &Path| match path.strip_prefix(old) {
        Ok(rest) if rest.as_os_str().is_empty() => new.clone(),
        Ok(rest) => new.join(rest),
        Err(_) => path.to_owned(),
    };
    let entry = |file: &FileEntry| FileEntry {
        path: moved(&file.path),
        kind: match &file.kind {
            FileKind::Symlink { target } => FileKind::Symlink {
                target: moved(target),
            },
            kind => kind.clone(),
        },
        ..file.clone()
    };
    Ok(files.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn files(paths: &[&str]) -> Vec<FileEntry> {
        let entry = |path: &&str| FileEntry {
            path: PathBuf::from(path),
            length: 1,
            offset: 0,
            kind: FileKind::Regular { executable: false },
        };
        paths.iter().map(entry).collect()
    }

    #[test]
    fn names_change_where_they_may() {
        let before = ["t/a", "t/d/b", "t/d/e/c", "t/da"];
        #[rustfmt::skip]
        let table = [
            ("t/a",   "z",      Ok(["t/z", "t/d/b", "t/d/e/c", "t/da"])),
            ("t/d",   "z",      Ok(["t/a", "t/z/b", "t/z/e/c", "t/da"])),
            ("t/d/e", "z",      Ok(["t/a", "t/d/b", "t/d/z/c", "t/da"])),
            ("t",     "u v",    Ok(["u v/a", "u v/d/b", "u v/d/e/c", "u v/da"])),
            ("t/a",   "a",      Ok(before)),
            ("t/a",   "d",      Err(Refusal::NameTaken)),
            ("t/d",   "a",      Err(Refusal::NameTaken)),
            ("t/x",   "z",      Err(Refusal::UnknownFile)),
            ("t/d/",  "..",     Err(Refusal::BadName)),
            ("",      "z",      Err(Refusal::UnknownFile)),
            ("/",     "z",      Err(Refusal::UnknownFile)),
            ("t/..",  "z",      Err(Refusal::UnknownFile)),
            ("t/a",   "",       Err(Refusal::BadName)),
            ("t/a",   ".",      Err(Refusal::BadName)),
            ("t/a",   "x/y",    Err(Refusal::BadName)),
            ("t/a",   "x\0y",   Err(Refusal::BadName)),
        ];
        for (path, name, want) in table {
            let rename = Rename {
                path: PathBuf::from(path),
                name: name.to_owned(),
            };
            let got = renamed(&files(&before), &rename);
            let want: Result<[&str; 4], Refusal> = want;
            let want = want.map(|paths| files(&paths));
            assert_eq!(got, want, "{path} {name}");
        }
    }
}
