//! Torrent files (BEP 3, 12, 27, 47): read with suspicion, written canonically.
//!
//! What is read is safe to use: every path lies below its root and is the only one of its name, every length has been added
//! up, and there is a hash for each piece. What cannot be made safe is refused with a sentence for a person, before anything
//! is touched.

use std::path::PathBuf;
use std::sync::Arc;

use crate::hash::{self, Digest};
use crate::ids::InfoHash;

use super::bencode::{self, Dict, Value};
use super::geometry::Geometry;
use super::layout::{FileEntry, FileKind};
use super::path::{self, Rules};

pub use create::{Create, CreateFile, choose_piece_length};
pub use error::MetainfoError;

pub mod create;
mod error;
#[cfg(test)]
mod tests;

/// Largest torrent file that is read: 3 million pieces. A larger one is refused.
pub const METAINFO_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most trackers of one torrent, and most web seeds; repetitions count. The rest is ignored.
pub const URLS_MAX: usize = 256;

/// Longest URL, in bytes. A longer one is ignored.
pub const URL_BYTES_MAX: usize = 2048;

/// Most characters of a comment and its like. The rest is cut.
pub const TEXT_CHARS_MAX: usize = 4096;

/// Most characters of a name in an error.
const SHOWN_CHARS_MAX: usize = 120;

/// What a torrent file says, made safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// SHA-1 of the original bytes of `info`.
    pub info_hash: InfoHash,
    /// The torrent's name, made safe for one path component.
    pub name: String,
    /// All files in order, padding included; their paths are relative to the download directory and begin with `name`.
    pub files: Vec<FileEntry>,
    /// The cut.
    pub geometry: Geometry,
    /// SHA-1 of each piece, in order.
    pub piece_hashes: Arc<[Digest]>,
    /// Tracker URLs by tier (BEP 12), in the file's order; `announce` is the only tier where there is no list.
    pub trackers: Vec<Vec<String>>,
    /// Web seeds (BEP 19 `url-list`).
    pub web_seeds: Vec<String>,
    /// Whether peers may come from its trackers alone (BEP 27).
    pub private: bool,
    /// Free text.
    pub comment: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// The program that made it.
    pub created_by: Option<String>,
    /// Free text inside `info`.
    pub source: Option<String>,
    /// The original bytes of `info`, as peers ask for them (BEP 9); empty where nobody has them, and then nobody gets them.
    pub info: Arc<[u8]>,
}

impl Metainfo {
    /// Reads a torrent file, its names by the rules of this system. Keys in any order are accepted, and of repeated keys the
    /// first.
    ///
    /// # Errors
    /// One of [`MetainfoError`], whose text is one sentence about the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetainfoError> {
        Self::decode_by(bytes, Rules::native())
    }

    /// As [`Metainfo::decode`], its names by these rules.
    ///
    /// # Errors
    /// Those of [`Metainfo::decode`].
    pub fn decode_by(bytes: &[u8], rules: Rules) -> Result<Self, MetainfoError> {
        if bytes.len() > METAINFO_BYTES_MAX {
            return Err(MetainfoError::TooLarge { bytes: bytes.len() });
        }
        let value = bencode::decode(bytes).map_err(MetainfoError::Malformed)?;
        let root = value.as_dict().ok_or(MetainfoError::Field {
            key: "info",
            want: "a dictionary",
        })?;
        let raw_info = root.get(b"info");
        let (raw_info, info) = raw_info
            .and_then(|info| Some((info.raw(), info.as_dict()?)))
            .ok_or(MetainfoError::Field {
                key: "info",
                want: "a dictionary",
            })?;
        if info.get(b"pieces").is_none() && info.integer(b"meta version") == Some(2) {
            return Err(MetainfoError::V2Only);
        }
        let piece_length = piece_length(info)?;
        let raw_name = ["name.utf-8", "name"]
            .iter()
            .find_map(|key| info.bytes(key.as_bytes()))
            .ok_or(MetainfoError::Field {
                key: "name",
                want: "a string",
            })?;
        let name = path::component(raw_name, rules).map_err(|fault| MetainfoError::Path {
            path: shown(&[raw_name]),
            fault,
        })?;
        let files = files(info, raw_name, rules)?;
        let total = files.last().map_or(0, |file| file.offset + file.length);
        let geometry = Geometry::new(total, piece_length).ok_or(MetainfoError::PieceCount {
            found: info.bytes(b"pieces").map_or(0, |pieces| pieces.len() / 20),
            expected: total.div_ceil(u64::from(piece_length)),
        })?;
        let piece_hashes = piece_hashes(info, &geometry)?;
        Ok(Self {
            info_hash: InfoHash(hash::sha1(raw_info)),
            name,
            files,
            geometry,
            piece_hashes,
            trackers: trackers(root),
            web_seeds: web_seeds(root),
            private: info.integer(b"private").is_some_and(|flag| flag != 0),
            comment: text(root, &["comment.utf-8", "comment"]),
            creation_date: root.integer(b"creation date"),
            created_by: text(root, &["created by.utf-8", "created by"]),
            source: text(info, &["source"]),
            info: raw_info.into(),
        })
    }

    /// Bytes of the real files, without padding.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.files
            .iter()
            .filter(|file| file.is_regular())
            .map(|file| file.length)
            .sum()
    }
}

fn piece_length(info: &Dict<'_>) -> Result<u32, MetainfoError> {
    let length = info.integer(b"piece length").ok_or(MetainfoError::Field {
        key: "piece length",
        want: "a number",
    })?;
    u32::try_from(length)
        .ok()
        .filter(|&length| Geometry::new(0, length).is_some())
        .ok_or(MetainfoError::PieceLength(length))
}

fn piece_hashes(info: &Dict<'_>, geometry: &Geometry) -> Result<Arc<[Digest]>, MetainfoError> {
    let pieces = info.bytes(b"pieces").ok_or(MetainfoError::Field {
        key: "pieces",
        want: "a string",
    })?;
    let (hashes, []) = pieces.as_chunks::<20>() else {
        return Err(MetainfoError::PiecesLength {
            bytes: pieces.len(),
        });
    };
    if hashes.len() as u64 != u64::from(geometry.piece_count()) {
        return Err(MetainfoError::PieceCount {
            found: hashes.len(),
            expected: geometry.piece_count().into(),
        });
    }
    Ok(hashes.into())
}

/// A file as it stands in the torrent.
struct RawFile<'a> {
    /// Components, the torrent's name first.
    path: Vec<&'a [u8]>,
    length: u64,
    kind: RawKind<'a>,
}

enum RawKind<'a> {
    Regular {
        executable: bool,
    },
    Pad,
    /// As `symlink path` has it: below the torrent's name.
    Symlink {
        target: Vec<&'a [u8]>,
    },
}

impl<'a> RawFile<'a> {
    /// Reads what is said of a file at `path`: `length`, `attr`, `symlink path` (BEP 3, 47).
    fn read(dict: &Dict<'a>, path: Vec<&'a [u8]>) -> Result<Self, MetainfoError> {
        let attributes = dict.bytes(b"attr").unwrap_or_default();
        let is_symlink = attributes.contains(&b'l');
        let target = dict.list(b"symlink path").and_then(strings);
        let kind = if let Some(target) = target.filter(|_| is_symlink) {
            RawKind::Symlink { target }
        } else if attributes.contains(&b'p') && path.len() > 1 {
            RawKind::Pad
        } else {
            RawKind::Regular {
                executable: attributes.contains(&b'x'),
            }
        };
        // A link that does not say where to is a file without bytes, which harms nobody; one with bytes contradicts itself.
        let said = dict.integer(b"length").or(is_symlink.then_some(0));
        match said.and_then(|length| u64::try_from(length).ok()) {
            Some(length) if length == 0 || !is_symlink => Ok(Self { path, length, kind }),
            _ => Err(MetainfoError::Length {
                path: shown(&path),
                length: said,
            }),
        }
    }
}

/// All strings of a list; `None` when something else is in it.
fn strings<'a>(list: &[Value<'a>]) -> Option<Vec<&'a [u8]>> {
    list.iter().map(Value::as_bytes).collect()
}

/// The files as they stand in `info`: one, named as the torrent, or a list.
fn raw_files<'a>(info: &Dict<'a>, name: &'a [u8]) -> Result<Vec<RawFile<'a>>, MetainfoError> {
    let Some(list) = info.get(b"files") else {
        return Ok(vec![RawFile::read(info, vec![name])?]);
    };
    let bad = |key, want| MetainfoError::Field { key, want };
    let list = list.as_list().ok_or(bad("files", "a list"))?;
    list.iter()
        .map(|file| {
            let file = file
                .as_dict()
                .ok_or(bad("files", "a list of dictionaries"))?;
            let below = ["path.utf-8", "path"]
                .iter()
                .find_map(|key| file.list(key.as_bytes()).and_then(strings))
                .ok_or(bad("path", "a list of strings"))?;
            let path: Vec<_> = [name].into_iter().chain(below).collect();
            if path.len() == 1 {
                return Err(MetainfoError::Path {
                    path: shown(&path),
                    fault: path::PathFault::Empty,
                });
            }
            RawFile::read(file, path)
        })
        .collect()
}

fn files(info: &Dict<'_>, name: &[u8], rules: Rules) -> Result<Vec<FileEntry>, MetainfoError> {
    let raw = raw_files(info, name)?;
    let on_disk: Vec<usize> = (0..raw.len())
        .filter(|&index| !matches!(raw[index].kind, RawKind::Pad))
        .collect();
    if on_disk.is_empty() {
        return Err(MetainfoError::NoFiles);
    }
    let mut paths = on_disk
        .iter()
        .map(|&index| safe_path(&raw[index].path, rules))
        .collect::<Result<Vec<_>, _>>()?;
    // Indices into `on_disk` and `paths`, sorted by original path.
    let mut sorted: Vec<usize> = (0..on_disk.len()).collect();
    sorted.sort_by(|&a, &b| raw[on_disk[a]].path.cmp(&raw[on_disk[b]].path));
    let original = |place: usize| &raw[on_disk[place]];
    refuse_overlaps(&sorted, original)?;
    path::make_distinct(&mut paths, rules);

    let mut entries = Vec::with_capacity(raw.len());
    let mut offset: u64 = 0;
    let mut place = 0;
    for (index, file) in raw.iter().enumerate() {
        let (path, kind) = match &file.kind {
            RawKind::Pad => (
                format!("{}/.pad/{index}", first_component(&paths[0])),
                FileKind::Pad,
            ),
            RawKind::Regular { executable } => (
                paths[place].clone(),
                FileKind::Regular {
                    executable: *executable,
                },
            ),
            RawKind::Symlink { target } => {
                let find = |target: &[&[u8]]| {
                    let at =
                        sorted.binary_search_by(|&at| original(at).path.as_slice().cmp(target));
                    at.ok().map(|at| paths[sorted[at]].clone())
                };
                let target = link_target(name, target)
                    .and_then(|target| find(&target).or_else(|| path::join(target, rules).ok()))
                    .map(PathBuf::from)
                    .ok_or_else(|| MetainfoError::Symlink {
                        path: shown(&file.path),
                        target: shown(&[&[name], target.as_slice()].concat()),
                    })?;
                (paths[place].clone(), FileKind::Symlink { target })
            }
        };
        if !matches!(kind, FileKind::Pad) {
            place += 1;
        }
        entries.push(FileEntry {
            path: PathBuf::from(path),
            length: file.length,
            offset,
            kind,
        });
        offset = offset
            .checked_add(file.length)
            .filter(|&total| i64::try_from(total).is_ok())
            .ok_or(MetainfoError::TotalTooLarge)?;
    }
    Ok(entries)
}

/// Where a link leads, its components taken as text: the torrent's name first, without `.` and `..`. `None` where `..` leads
/// out of the torrent's directory.
///
/// Any place inside will do: a file, a directory, which is named nowhere, another link, what lies behind another link
/// (`Versions/Current/lib`), or nothing, as where a directory is empty. A link is written without `..` but for the way up from
/// its own directory, and no path of the torrent goes through a link ([`refuse_overlaps`]), so that no chain of links leads
/// out; one that is a circle leads nowhere. The disk's workers never open a link of a torrent for its payload, for it has
/// none. Links that they find in the way all the same (another program's, another torrent's, or ours on a disk that does not
/// tell upper from lower case) they follow below the root alone (`openat2` with `RESOLVE_BENEATH`), or, on an old kernel,
/// not at all.
fn link_target<'a>(name: &'a [u8], raw: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
    let mut target = vec![name];
    for &part in raw {
        match part {
            b"" | b"." => {}
            b".." if target.len() == 1 => return None,
            b".." => drop(target.pop()),
            _ => target.push(part),
        }
    }
    Some(target)
}

/// Refuses two files of one name, and a file that would have to be the directory of another. `sorted` is in the order of
/// the original paths, so that both stand side by side.
fn refuse_overlaps<'a, 'b: 'a>(
    sorted: &[usize],
    original: impl Fn(usize) -> &'a RawFile<'b>,
) -> Result<(), MetainfoError> {
    for pair in sorted.windows(2) {
        let (first, second) = (original(pair[0]), original(pair[1]));
        if !second.path.starts_with(&first.path) {
            continue;
        }
        let path = shown(&second.path);
        return Err(if first.path.len() == second.path.len() {
            MetainfoError::Duplicate { path }
        } else if matches!(first.kind, RawKind::Symlink { .. }) {
            let link = shown(&first.path);
            MetainfoError::BehindSymlink { path, link }
        } else {
            let file = shown(&first.path);
            MetainfoError::BelowFile { path, file }
        });
    }
    Ok(())
}

fn safe_path(raw: &[&[u8]], rules: Rules) -> Result<String, MetainfoError> {
    path::join(raw.iter().copied(), rules).map_err(|fault| MetainfoError::Path {
        path: shown(raw),
        fault,
    })
}

fn first_component(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// A stranger's path for an error: tame, and short.
fn shown(path: &[&[u8]]) -> String {
    path::printable(&path.join(&b'/'), SHOWN_CHARS_MAX)
}

/// The text under the first of `keys` that has one.
fn text(dict: &Dict<'_>, keys: &[&str]) -> Option<String> {
    let bytes = keys.iter().find_map(|key| dict.bytes(key.as_bytes()))?;
    Some(path::printable(bytes, TEXT_CHARS_MAX))
}

/// A URL that is worth keeping: not empty, not endless, without anything that would change a terminal or a request.
fn url(value: &Value<'_>) -> Option<String> {
    let text = std::str::from_utf8(value.as_bytes()?).ok()?.trim();
    let fine =
        !text.is_empty() && text.len() <= URL_BYTES_MAX && !text.contains(path::is_deceptive);
    fine.then(|| text.to_owned())
}

/// `announce-list` (BEP 12), without repetitions; `announce` where that says nothing.
fn trackers(root: &Dict<'_>) -> Vec<Vec<String>> {
    let mut tiers: Vec<Vec<String>> = Vec::new();
    let mut room = URLS_MAX;
    for tier in root.list(b"announce-list").unwrap_or_default() {
        // Some programs write a plain list of URLs: each is a tier of its own.
        let urls = tier.as_list().unwrap_or(std::slice::from_ref(tier));
        let mut kept: Vec<String> = Vec::new();
        for url in urls.iter().filter_map(url).take(room) {
            room -= 1;
            if !tiers.iter().flatten().chain(&kept).any(|have| *have == url) {
                kept.push(url);
            }
        }
        if !kept.is_empty() {
            tiers.push(kept);
        }
    }
    if tiers.is_empty() {
        tiers.extend(root.get(b"announce").and_then(url).map(|url| vec![url]));
    }
    tiers
}

/// `url-list` (BEP 19): one URL, or a list.
fn web_seeds(root: &Dict<'_>) -> Vec<String> {
    let Some(value) = root.get(b"url-list") else {
        return Vec::new();
    };
    let urls = value.as_list().unwrap_or(std::slice::from_ref(value));
    let mut seeds: Vec<String> = Vec::new();
    for url in urls.iter().filter_map(url).take(URLS_MAX) {
        if !seeds.contains(&url) {
            seeds.push(url);
        }
    }
    seeds
}
