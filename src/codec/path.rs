//! File names made safe: what a stranger calls a file, turned into a path that stays below its root.
//!
//! Two kinds of badness. A name that only an attack has (`..`, an absolute path, NUL, nothing at all) is a [`PathFault`], and
//! its torrent is refused. A name that is merely untidy is tidied: `_` takes the place of separators inside a component,
//! control characters, marks that turn the direction of text, and bytes that are not UTF-8; what is too long is cut before
//! its extension.
//!
//! What more a name may not be is a matter of the system: [`Rules`]. Where Windows' devices and two names that differ in case
//! are names like any other, they are kept, so that a torrent made of a tree finds the tree again. A backslash is replaced on
//! every system although Linux could keep it: elsewhere it would make directories, and libtorrent, which leaves it out, would
//! not find such a file again either. Whoever makes a torrent is told:
//! [`Create::renamed`](super::metainfo::Create::renamed).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most bytes of one component: what common file systems take. Longer ones are cut.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// Most components of one path, the torrent's own directory included. A deeper path is a [`PathFault`].
pub const COMPONENTS_MAX: usize = 64;

/// Most bytes of one path; leaves a quarter of the usual 4096 for the download directory. A longer one is a [`PathFault`].
pub const PATH_BYTES_MAX: usize = 3072;

/// Longest ending, dot included, that counts as an extension when a name is cut or numbered.
const EXTENSION_BYTES_MAX: usize = 16;

/// What a system's disks cannot tell apart or keep. A value, so that the rules of every system are tested on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Windows' names for devices and drives, and dots and spaces at a name's end, are no names of files.
    pub reserved: bool,
    /// Names that differ only in case are one file.
    pub fold_case: bool,
}

impl Rules {
    /// Of systems that keep any name: Linux and its like. A disk of another system mounted there is the person's own affair:
    /// two names may then be one file, below the root all the same.
    pub const LENIENT: Self = Self {
        reserved: false,
        fold_case: false,
    };

    /// Of Windows and Apple's systems, and fit for every other: downloads travel between their disks.
    pub const STRICT: Self = Self {
        reserved: true,
        fold_case: true,
    };

    /// Of the system this program runs on.
    #[must_use]
    pub const fn native() -> Self {
        if cfg!(all(unix, not(target_vendor = "apple"))) {
            Self::LENIENT
        } else {
            Self::STRICT
        }
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// No component at all, or one without characters.
    Empty,
    /// `.`
    CurrentDirectory,
    /// `..`
    ParentDirectory,
    /// Begins at a file system's root, or names a drive.
    Absolute,
    /// A NUL byte, where the operating system would end the name.
    Nul,
    /// More than [`COMPONENTS_MAX`] components.
    TooDeep,
    /// More than [`PATH_BYTES_MAX`] bytes.
    TooLong,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "has an empty component"),
            Self::CurrentDirectory => write!(f, "has the component `.`"),
            Self::ParentDirectory => write!(f, "has the component `..`"),
            Self::Absolute => write!(f, "is absolute"),
            Self::Nul => write!(f, "has a NUL byte"),
            Self::TooDeep => write!(f, "has more than {COMPONENTS_MAX} components"),
            Self::TooLong => write!(f, "has more than {PATH_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for PathFault {}

/// A path below its root, components joined by `/`, each as [`component`] makes it.
///
/// # Errors
/// What only an attack has in it.
pub fn join<'a>(
    components: impl IntoIterator<Item = &'a [u8]>,
    rules: Rules,
) -> Result<String, PathFault> {
    let mut path = String::new();
    for (depth, raw) in components.into_iter().enumerate() {
        if depth == COMPONENTS_MAX {
            return Err(PathFault::TooDeep);
        }
        if depth > 0 {
            path.push('/');
        }
        path.push_str(&component(raw, rules)?);
        if path.len() > PATH_BYTES_MAX {
            return Err(PathFault::TooLong);
        }
    }
    if path.is_empty() {
        return Err(PathFault::Empty);
    }
    Ok(path)
}

/// One component: never empty, `.` or `..`, without separators, at most [`COMPONENT_BYTES_MAX`] bytes. Idempotent.
///
/// # Errors
/// What only an attack has in it.
pub fn component(raw: &[u8], rules: Rules) -> Result<String, PathFault> {
    let is_separator = |byte: &u8| matches!(byte, b'/' | b'\\');
    // With more behind it, only an attack has a drive, on any system; alone it may be a file of a system without drives.
    let ends_drive = |rest: &[u8]| rest.first().map_or(rules.reserved, is_separator);
    match raw {
        [] => return Err(PathFault::Empty),
        b"." => return Err(PathFault::CurrentDirectory),
        _ if raw.contains(&0) => return Err(PathFault::Nul),
        [first, ..] if is_separator(first) => return Err(PathFault::Absolute),
        [drive, b':', rest @ ..] if drive.is_ascii_alphabetic() && ends_drive(rest) => {
            return Err(PathFault::Absolute);
        }
        _ if raw.split(is_separator).any(|part| part == b"..") => {
            return Err(PathFault::ParentDirectory);
        }
        _ => {}
    }
    let mut name = String::new();
    for chunk in raw.utf8_chunks() {
        name.extend(chunk.valid().chars().map(|c| match c {
            '/' | '\\' => '_',
            c if is_deceptive(c) => '_',
            c => c,
        }));
        if !chunk.invalid().is_empty() {
            name.push('_');
        }
    }
    if rules.reserved && is_reserved(&name) {
        name.insert(0, '_');
    }
    if name.len() > COMPONENT_BYTES_MAX {
        let (stem, extension) = split_extension(&name);
        let stem = cut(stem, COMPONENT_BYTES_MAX - extension.len());
        name = format!("{stem}{extension}");
    }
    if rules.reserved {
        // Last, because a cut may bare a dot.
        let kept = name.trim_end_matches(['.', ' ']).len();
        let tail = "_".repeat(name.len() - kept);
        name.replace_range(kept.., &tail);
    }
    Ok(name)
}

/// Whether a character can make a terminal, or a reader, see something else than what is there: control characters, line
/// separators, and the marks that turn the direction of text.
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// At most `chars_max` characters of a stranger's text, without what [`is_deceptive`]; for logs and terminals.
#[must_use]
pub fn printable(bytes: &[u8], chars_max: usize) -> String {
    // No character is longer than 4 bytes: what is beyond cannot be shown anyway.
    let bytes = &bytes[..bytes.len().min(chars_max.saturating_mul(4))];
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|&c| !is_deceptive(c))
        .take(chars_max)
        .collect()
}

/// Whether Windows takes the name for a device, whatever its extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let stem = stem.to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        _ => ["COM", "LPT"]
            .iter()
            .filter_map(|port| stem.strip_prefix(port))
            .any(|digit| matches!(digit, "¹" | "²" | "³") || is_digit(digit)),
    }
}

fn is_digit(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0'..=b'9'])
}

/// The name and its extension with the dot; the latter is empty where there is none worth keeping.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= EXTENSION_BYTES_MAX => name.split_at(dot),
        _ => (name, ""),
    }
}

/// As many whole characters from the front as fit into `bytes_max`.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Gives a number to each path that would be the same file, or the directory of another file, by these rules: `a.txt` becomes
/// `a (2).txt`. The first one of several keeps its name. Where case counts, only paths that became equal by being made safe
/// are numbered.
///
/// The paths are as [`join`] makes them. Takes O(n log n) comparisons and a folded copy of each path, no more.
pub fn make_distinct(paths: &mut [String], rules: Rules) {
    // With the lowest byte as separator, all that lies below a path follows right behind it.
    let fold = |path: &str| {
        let path = path.replace('/', "\0");
        if rules.fold_case {
            path.to_lowercase()
        } else {
            path
        }
    };
    let mut folded: Vec<(String, usize)> = paths
        .iter()
        .enumerate()
        .map(|(index, path)| (fold(path), index))
        .collect();
    folded.sort();
    let is_directory = |key: &str| {
        let below = format!("{key}\0");
        let at = folded.partition_point(|(have, _)| *have < below);
        folded
            .get(at)
            .is_some_and(|(have, _)| have.starts_with(&below))
    };
    let mut colliding: Vec<usize> = Vec::new();
    for (at, (key, index)) in folded.iter().enumerate() {
        let repeated = at > 0 && folded[at - 1].0 == *key;
        if repeated || is_directory(key) {
            colliding.push(*index);
        }
    }
    colliding.sort_unstable();
    let mut chosen: BTreeSet<String> = BTreeSet::new();
    // Where to go on counting, or a thousand equal names would be tried a thousand times each. Names that become equal
    // only when they are cut count together.
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for index in colliding {
        let (stem, extension) = numberable(&paths[index]);
        let number = next.entry(fold(&format!("{stem}{extension}"))).or_insert(2);
        loop {
            let candidate = format!("{stem} ({number}){extension}");
            *number += 1;
            let key = fold(&candidate);
            let taken = folded
                .binary_search_by(|(have, _)| have.as_str().cmp(&key))
                .is_ok();
            if !taken && !is_directory(&key) && chosen.insert(key) {
                paths[index] = candidate;
                break;
            }
        }
    }
}

/// `dir/name.ext` as `dir/name` and `.ext`, the name so short that any number fits between them.
fn numberable(path: &str) -> (&str, &str) {
    const NUMBER_BYTES_MAX: usize = " (18446744073709551615)".len();
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    let (stem, extension) = split_extension(&path[name_at..]);
    let stem = cut(
        stem,
        COMPONENT_BYTES_MAX - NUMBER_BYTES_MAX - extension.len(),
    );
    (&path[..name_at + stem.len()], extension)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const BOTH: [Rules; 2] = [Rules::STRICT, Rules::LENIENT];

    #[test]
    #[rustfmt::skip]
    fn components_are_tidied_or_refused_everywhere() {
        let table: &[(&[u8], Result<&str, PathFault>)] = &[
            (b"a.txt",                  Ok("a.txt")),
            (b".hidden",                Ok(".hidden")),
            ("naïve ☃".as_bytes(),      Ok("naïve ☃")),
            (b"a:b?c*d",                Ok("a:b?c*d")),
            (b"a/b\\c",                 Ok("a_b_c")),
            (b"a/b/",                   Ok("a_b_")),
            (b"a..b",                   Ok("a..b")),
            (b"tab\there\x1b[31m\x7f",  Ok("tab_here_[31m_")),
            ("x\u{202e}gpj.exe".as_bytes(), Ok("x_gpj.exe")),
            ("a\u{2066}b\u{200f}\u{2028}\u{85}".as_bytes(), Ok("a_b___")),
            (b"bad\xff\xfeutf8",        Ok("bad__utf8")),
            (b"\xff",                   Ok("_")),
            (b"console",                Ok("console")),
            (b"com10",                  Ok("com10")),
            (b" leading",               Ok(" leading")),
            (b"c:\\windows",            Err(PathFault::Absolute)),
            (b"C:/",                    Err(PathFault::Absolute)),
            (b"c:colon",                Ok("c:colon")),
            (b"/etc/passwd",            Err(PathFault::Absolute)),
            (b"\\\\server\\share",      Err(PathFault::Absolute)),
            (b"",                       Err(PathFault::Empty)),
            (b".",                      Err(PathFault::CurrentDirectory)),
            (b"..",                     Err(PathFault::ParentDirectory)),
            (b"../../etc/passwd",       Err(PathFault::ParentDirectory)),
            (b"a/../b",                 Err(PathFault::ParentDirectory)),
            (b"a\\..",                  Err(PathFault::ParentDirectory)),
            (b"a\0b",                   Err(PathFault::Nul)),
            (b"..\0",                   Err(PathFault::Nul)),
        ];
        for (raw, want) in table {
            for rules in BOTH {
                assert_eq!(component(raw, rules), want.map(str::to_owned), "{} {rules:?}", raw.escape_ascii());
            }
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_only_windows_reserves_is_kept_where_it_is_a_name() {
        let table: &[(&str, Result<&str, PathFault>)] = &[
            ("CON",          Ok("_CON")),
            ("nul.txt",      Ok("_nul.txt")),
            ("Com7.tar.gz",  Ok("_Com7.tar.gz")),
            ("lpt²",         Ok("_lpt²")),
            ("aux .c",       Ok("_aux .c")),
            ("...",          Ok("___")),
            (".. ",          Ok("___")),
            ("trailing. .",  Ok("trailing___")),
            ("etc.",         Ok("etc_")),
            (" ",            Ok("_")),
            ("C:",           Err(PathFault::Absolute)),
        ];
        for (raw, strict) in table {
            assert_eq!(component(raw.as_bytes(), Rules::STRICT), strict.map(str::to_owned), "{raw:?}");
            assert_eq!(component(raw.as_bytes(), Rules::LENIENT), Ok((*raw).to_owned()), "{raw:?}");
        }
    }

    #[test]
    fn rules_are_those_of_the_system() {
        let strict = cfg!(any(windows, target_os = "macos"));
        let want = if strict {
            Rules::STRICT
        } else {
            Rules::LENIENT
        };
        assert_eq!(Rules::native(), want);
    }

    #[test]
    fn what_is_too_long_is_cut_before_its_extension() {
        let long = format!("{}.tar", "é".repeat(200));
        let name = component(long.as_bytes(), Rules::STRICT).unwrap();
        assert!(name.len() <= COMPONENT_BYTES_MAX && name.len() > COMPONENT_BYTES_MAX - 4);
        assert!(name.ends_with("é.tar"), "{name}");
        let plain = component("x".repeat(5000).as_bytes(), Rules::LENIENT).unwrap();
        assert_eq!(plain.len(), COMPONENT_BYTES_MAX);
        let not_an_extension = format!("{}.{}", "x".repeat(200), "y".repeat(200));
        let name = component(not_an_extension.as_bytes(), Rules::STRICT).unwrap();
        assert_eq!(name.len(), 255);
        let bared = format!("{}. {}", "x".repeat(253), "y".repeat(50));
        for (rules, end) in [(Rules::STRICT, "x__"), (Rules::LENIENT, "x. ")] {
            let name = component(bared.as_bytes(), rules).unwrap();
            assert!(name.ends_with(end), "{rules:?}: {name}");
        }
    }

    #[test]
    fn paths_are_bounded() {
        let parts = |count: usize, length: usize| vec![vec![b'a'; length]; count];
        let join = |parts: &[Vec<u8>]| join(parts.iter().map(Vec::as_slice), Rules::native());
        assert_eq!(join(&parts(3, 1)), Ok("a/a/a".to_owned()));
        assert_eq!(join(&[]), Err(PathFault::Empty));
        assert!(join(&parts(COMPONENTS_MAX, 1)).is_ok());
        assert_eq!(join(&parts(COMPONENTS_MAX + 1, 1)), Err(PathFault::TooDeep));
        assert_eq!(join(&parts(13, 255)), Err(PathFault::TooLong));
    }

    #[test]
    fn whatever_the_bytes_a_component_stays_one() {
        let seed = 17;
        let mut rng = Rng::new(seed);
        let alphabet = b"./\\ \x00aC:ON\xff\xe2\x80\xae\r";
        for round in 0..20_000 {
            let raw: Vec<u8> = (0..rng.index(12))
                .map(|_| alphabet[rng.index(alphabet.len())])
                .collect();
            let rules = BOTH[round % 2];
            let Ok(name) = component(&raw, rules) else {
                continue;
            };
            let one = std::path::Path::new(&name).components().count();
            assert_eq!(one, 1, "seed {seed}, round {round}: {name:?}");
            assert!(name != "." && name != ".." && !name.contains(['/', '\\', '\0']));
            assert_eq!(
                component(name.as_bytes(), rules),
                Ok(name),
                "seed {seed}, round {round}"
            );
        }
    }

    fn distinct(paths: &[&str], rules: Rules) -> Vec<String> {
        let mut paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        make_distinct(&mut paths, rules);
        paths
    }

    #[test]
    fn equal_names_are_numbered() {
        /// Name, paths, what strict rules make of them, and lenient ones.
        type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            ("nothing to do",      &["a", "b/a", "b/c"],           &["a", "b/a", "b/c"],                 &["a", "b/a", "b/c"]),
            ("same",               &["a.txt", "a.txt", "a.txt"],   &["a.txt", "a (2).txt", "a (3).txt"], &["a.txt", "a (2).txt", "a (3).txt"]),
            ("case",               &["d/README", "d/readme"],      &["d/README", "d/readme (2)"],        &["d/README", "d/readme"]),
            ("case of directory",  &["D/x", "d/X"],                &["D/x", "d/X (2)"],                  &["D/x", "d/X"]),
            ("number taken",       &["a", "A (2)", "A", "a"],      &["a", "A (2)", "A (3)", "a (4)"],    &["a", "A (2)", "A", "a (2)"]),
            ("file and directory", &["a/b", "A", "a/c"],           &["a/b", "A (2)", "a/c"],             &["a/b", "A", "a/c"]),
            ("number a directory", &["a", "a", "a (2)/x"],         &["a", "a (3)", "a (2)/x"],           &["a", "a (3)", "a (2)/x"]),
            ("between",            &["a", "a b", "a/b", "a.b"],    &["a (2)", "a b", "a/b", "a.b"],      &["a (2)", "a b", "a/b", "a.b"]),
        ];
        for (name, paths, strict, lenient) in table {
            assert_eq!(distinct(paths, Rules::STRICT), *strict, "{name}, strict");
            assert_eq!(distinct(paths, Rules::LENIENT), *lenient, "{name}, lenient");
        }
    }

    #[test]
    fn many_equal_names_take_no_square_time() {
        for rules in BOTH {
            let long = |n: usize| format!("{}{:06}.txt", "x".repeat(245), n / 2);
            let mut paths: Vec<_> = (0..20_000).map(long).collect();
            paths.extend(vec![long(0); 20_000]);
            make_distinct(&mut paths, rules);
            let all: BTreeSet<_> = paths.iter().collect();
            assert_eq!(all.len(), paths.len());
            assert!(paths.iter().all(|path| path.len() <= COMPONENT_BYTES_MAX));
        }
    }

    #[test]
    fn text_of_strangers_is_cut_and_tame() {
        assert_eq!(printable(b"\x1b[2Jname \xff\r\n", 64), "[2Jname \u{fffd}");
        assert_eq!(
            printable("☃".repeat(100).as_bytes(), 64).chars().count(),
            64
        );
    }
}
