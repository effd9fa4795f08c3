//! Which files of a torrent a person means: globs on the path inside the torrent, separated by commas.
//!
//! A glob without a `/` matches a name anywhere (`*.mkv`); one with a `/` matches a path, with or without the folder that
//! bears the torrent's name. A folder stands for all that is in it. `*` and `?` stop at a `/`, `**` does not.

use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::console::printable;
use crate::codec::layout::{FileEntry, FileKind};
use crate::codec::metainfo::Metainfo;

/// Globs in one list; more are refused, as are such lists that no person would write.
const GLOBS_MAX: usize = 1000;

/// Files that are named when nothing matched.
const FILES_SHOWN: usize = 10;

/// A list of globs.
#[derive(Clone, Debug)]
pub struct Globs {
    text: String,
    set: GlobSet,
}

impl FromStr for Globs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let globs = split(text);
        if globs.is_empty() {
            return Err("no glob is named, such as *.mkv".to_owned());
        }
        if globs.len() > GLOBS_MAX {
            return Err(format!("{} globs, of at most {GLOBS_MAX}", globs.len()));
        }
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            let anywhere = if glob.contains('/') { "" } else { "**/" };
            let glob = glob.trim_end_matches('/');
            let built = GlobBuilder::new(&format!("{anywhere}{glob}"))
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|fault| format!("{glob}: {}", fault.kind()))?;
            set.add(built);
        }
        let set = set.build().map_err(|fault| fault.to_string())?;
        Ok(Self {
            text: text.to_owned(),
            set,
        })
    }
}

impl Globs {
    /// Whether the file at `path` is meant, or a folder that it is in.
    fn has(&self, path: &Path) -> bool {
        let folders = |path: &Path| path.ancestors().any(|part| self.set.is_match(part));
        let mut below = path.components();
        below.next();
        folders(path) || folders(below.as_path())
    }

    /// A mark for each of `paths`: whether it is meant.
    ///
    /// # Errors
    /// None is: one line for a person, which names some of them.
    pub(super) fn choose<'a>(
        &self,
        paths: impl Iterator<Item = &'a Path> + Clone,
    ) -> Result<Vec<bool>, String> {
        let marks: Vec<bool> = paths.clone().map(|path| self.has(path)).collect();
        if marks.contains(&true) {
            return Ok(marks);
        }
        let mut text = format!("{}: matches none of its files:", self.text);
        for path in paths.take(FILES_SHOWN) {
            // Nothing can fail in writing to a text.
            let _ = write!(text, " {},", printable(&path.to_string_lossy()));
        }
        text.pop();
        if marks.len() > FILES_SHOWN {
            let _ = write!(text, " and {} more", marks.len() - FILES_SHOWN);
        }
        Err(text)
    }

    /// A mark for each file of the layout: whether it is meant. Padding never is.
    ///
    /// # Errors
    /// As [`Self::choose`].
    pub(super) fn choose_files(&self, metainfo: &Metainfo) -> Result<Vec<bool>, String> {
        let is_real = |file: &&FileEntry| file.kind != FileKind::Pad;
        let real = metainfo.files.iter().filter(is_real);
        let mut marks = self
            .choose(real.map(|file| file.path.as_path()))?
            .into_iter();
        let of = |file: &FileEntry| is_real(&file) && marks.next().unwrap_or(false);
        Ok(metainfo.files.iter().map(of).collect())
    }
}

/// The parts between commas; one inside braces, or behind a backslash, separates nothing.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth, mut escaped) = (Vec::new(), 0, 0_u32, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[&str] = &[
        "Show/one.mkv",
        "Show/Extra/two.mkv",
        "Show/Extra/notes, final.txt",
        "Show/read [me].txt",
    ];

    #[test]
    fn globs_choose_by_name_path_or_folder() {
        #[rustfmt::skip]
        let table: &[(&str, Option<&[usize]>)] = &[
            ("*.mkv",                  Some(&[0, 1])),
            ("one.mkv,two.mkv",        Some(&[0, 1])),
            ("/one.mkv",               None),
            ("Show/*.mkv",             Some(&[0])),
            ("Extra/*.mkv",            Some(&[1])),
            ("Show/**/*.mkv",          Some(&[0, 1])),
            ("Extra",                  Some(&[1, 2])),
            ("Extra/",                 Some(&[1, 2])),
            ("Show",                   Some(&[0, 1, 2, 3])),
            ("*.{mkv,nfo}",            Some(&[0, 1])),
            (r"notes\, final.txt",     Some(&[2])),
            (r"read \[me\].txt",       Some(&[3])),
            ("?ne.mkv,,",              Some(&[0])),
            ("*.MKV",                  None),
            ("nothing",                None),
        ];
        for (text, want) in table {
            let globs: Globs = text.parse().unwrap();
            let marks = globs.choose(FILES.iter().map(Path::new)).ok();
            let chosen = marks.map(|marks| {
                let marks = marks.iter().enumerate().filter(|(_, mark)| **mark);
                marks.map(|(at, _)| at).collect::<Vec<_>>()
            });
            assert_eq!(chosen.as_deref(), *want, "{text}");
        }
        for wrong in ["", ",", "[a", "{a"] {
            assert!(wrong.parse::<Globs>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_matches_nothing_names_some_of_the_files() {
        let globs: Globs = "x".parse().unwrap();
        let fault = globs.choose(FILES.iter().map(Path::new)).unwrap_err();
        assert_eq!(
            fault,
            "x: matches none of its files: Show/one.mkv, Show/Extra/two.mkv, Show/Extra/notes, final.txt, Show/read [me].txt"
        );
        let many: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        let fault = globs.choose(many.iter().map(Path::new)).unwrap_err();
        assert!(fault.ends_with(" 8, 9 and 2 more"), "{fault}");
    }
}
