//! `linnet create`: a torrent file from files.
//!
//! Everything is hashed before anything is written, so an interrupted run leaves nothing behind.

mod hashing;
mod tree;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use url::Url;

use crate::codec::geometry::{BLOCK_LENGTH, Geometry, PIECE_LENGTH_MAX};
use crate::codec::metainfo::{Create as NewTorrent, CreateFile, Metainfo, choose_piece_length};
use crate::time::unix_millis;

use super::{Context, Failure, source, units};
use tree::Tree;

/// Most pieces of a torrent we make: with more, the torrent file is larger than what we and others read.
const PIECES_MAX: u32 = 3_000_000;

/// Most files warned of one by one: a directory's name that changes renames all files below it. The rest is counted.
const WARNINGS_MAX: usize = 8;

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// File or directory to share
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Torrent file to write [default: NAME.torrent in the current directory]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the torrent file if it exists
    #[arg(long)]
    force: bool,
    /// Make a torrent of version 1 (the default)
    #[arg(long)]
    v1: bool,
    /// Bytes of a piece: a power of two from 16K [default: for about 1500 pieces]
    #[arg(long, value_name = "SIZE", value_parser = piece_size)]
    piece_size: Option<u32>,
    /// Announce URL; each further one is a tier of its own
    #[arg(long = "tracker", value_name = "URL", value_parser = tracker)]
    trackers: Vec<String>,
    /// URL that serves the same files
    #[arg(long = "web-seed", value_name = "URL", value_parser = web_seed)]
    web_seeds: Vec<String>,
    /// Let peers come from the trackers alone
    #[arg(long)]
    private: bool,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Free text that makes the info-hash differ between trackers
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
}

impl Create {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let console = context.console;
        let name = self.name()?;
        let output = match &self.output {
            Some(output) => output.clone(),
            None => PathBuf::from(format!("{name}.torrent")),
        };
        self.refuse_overwriting(&output)?;
        let tree = Tree::read(&self.path, &output).map_err(Failure::failed)?;
        for (path, why) in &tree.skipped {
            console.note(&format!("{}: left out: {why}", path.display()));
        }
        let total = tree.total();
        if total == 0 {
            let shown = self.path.display();
            return Err(Failure::failed(format!(
                "{shown}: there is nothing to share: no bytes"
            )));
        }
        let piece_length = self
            .piece_size
            .unwrap_or_else(|| choose_piece_length(total));
        let geometry = Geometry::new(total, piece_length)
            .filter(|geometry| geometry.piece_count() <= PIECES_MAX);
        let Some(geometry) = geometry else {
            let text = format!("--piece-size: more than {PIECES_MAX} pieces, take larger ones");
            return Err(Failure::failed(text));
        };
        let hashes = hashing::hash(&tree.layout(geometry), &name, console)?;
        tree.assert_unchanged().map_err(Failure::failed)?;

        let files = tree.files.iter().map(|file| CreateFile {
            path: file.components.clone(),
            length: file.length,
            executable: false,
        });
        let torrent = NewTorrent {
            name,
            files: files.collect(),
            piece_length,
            private: self.private,
            comment: self.comment.clone(),
            source: self.source.clone(),
            trackers: self.trackers.iter().map(|url| vec![url.clone()]).collect(),
            web_seeds: self.web_seeds.clone(),
            creation_date: i64::try_from(unix_millis() / 1000).ok(),
            created_by: Some(concat!("Linnet/", env!("CARGO_PKG_VERSION")).to_owned()),
        };
        let bytes = torrent.encode(&hashes);
        // Names that no torrent can have are refused here, before anything is written.
        let read = Metainfo::decode(&bytes).map_err(|fault| {
            let shown = self.path.display();
            Failure::failed(format!("{shown}: makes no valid torrent: {fault}"))
        })?;
        self.refuse_overwriting(&output)?;
        write(&output, &bytes).map_err(|fault| {
            let why = source::reason(&fault);
            Failure::failed(format!("{}: {why}", output.display()))
        })?;
        for line in warnings(&torrent.renamed(&read)) {
            console.note(&line);
        }
        let size = units::size(total);
        let files = units::counted(tree.files.len() as u64, "file");
        let pieces = geometry.piece_count();
        let length = units::size(u64::from(piece_length));
        let line = format!(
            "{}: {size} in {files}, {pieces} pieces of {length}",
            output.display()
        );
        console.note(&line);
        writeln!(console.out(), "{}  {}", read.info_hash, output.display())?;
        Ok(())
    }

    /// What the torrent is called: the last part of the path, also of `.` and `..`.
    fn name(&self) -> Result<String, Failure> {
        let shown = self.path.display();
        let failed = |why: &str| Failure::failed(format!("{shown}: {why}"));
        let real = self
            .path
            .canonicalize()
            .map_err(|fault| failed(&source::reason(&fault)))?;
        let given = self.path.file_name().or_else(|| real.file_name());
        let name = given.ok_or_else(|| failed("the root directory has no name"))?;
        let name = name
            .to_str()
            .ok_or_else(|| failed("its name is not UTF-8"))?;
        Ok(name.to_owned())
    }

    fn refuse_overwriting(&self, output: &Path) -> Result<(), Failure> {
        if !self.force && output.symlink_metadata().is_ok() {
            let shown = output.display();
            let text = format!("{shown}: exists: --force replaces it, -o FILE names another");
            return Err(Failure::failed(text));
        }
        Ok(())
    }
}

/// What to say of files, `(path on disk, path in the torrent)`, that the torrent would not find again.
fn warnings(renamed: &[(String, String)]) -> Vec<String> {
    let shown = renamed.iter().take(WARNINGS_MAX);
    // Quoted: the characters that are not allowed are mostly those that cannot be seen.
    let mut lines: Vec<String> = shown
        .map(|(here, there)| {
            format!("{here:?}: is {there:?} in the torrent: rename it to seed it from here")
        })
        .collect();
    let more = renamed.len() - lines.len();
    if more > 0 {
        lines.push(format!("and {more} more that are named otherwise"));
    }
    lines
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or(OsStr::new("torrent"));
    let hidden = format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id());
    let temporary = path.with_file_name(hidden);
    let written = (|| {
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // It may not even be there, and the first fault is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn piece_size(text: &str) -> Result<u32, String> {
    units::parse_size(text)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .filter(|&bytes| bytes.is_power_of_two())
        .filter(|bytes| (BLOCK_LENGTH..=PIECE_LENGTH_MAX).contains(bytes))
        .ok_or_else(|| "expected a power of two from 16K to 256M, such as 262144 or 1M".to_owned())
}

fn tracker(text: &str) -> Result<String, String> {
    url(text, &["http", "https", "udp"])
}

fn web_seed(text: &str) -> Result<String, String> {
    url(text, &["http", "https"])
}

/// `text` as it is, when it is a URL of one of `schemes` with a host.
fn url(text: &str, schemes: &[&str]) -> Result<String, String> {
    let parsed = Url::parse(text).ok();
    parsed
        .filter(|url| schemes.contains(&url.scheme()) && url.has_host())
        .map(|_| text.to_owned())
        .ok_or_else(|| {
            format!(
                "expected a URL that begins with {}://",
                schemes.join(":// or ")
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_the_torrent_names_otherwise_are_warned_of() {
        assert_eq!(warnings(&[]), Vec::<String>::new());
        let pair = ("d/a\tb".to_owned(), "d/a_b".to_owned());
        let line = r#""d/a\tb": is "d/a_b" in the torrent: rename it to seed it from here"#;
        assert_eq!(warnings(std::slice::from_ref(&pair)), [line]);
        let many = warnings(&vec![pair; WARNINGS_MAX + 3]);
        assert_eq!(many.len(), WARNINGS_MAX + 1);
        assert_eq!(many[WARNINGS_MAX], "and 3 more that are named otherwise");
    }

    #[test]
    fn arguments_are_checked_where_they_enter() {
        assert_eq!(piece_size("16K"), Ok(16_384));
        assert_eq!(piece_size("256MiB"), Ok(256 << 20));
        for bad in ["8K", "24K", "512M", "0", "x"] {
            assert!(piece_size(bad).is_err(), "{bad}");
        }
        for good in ["http://t/a", "udp://t:1", "https://[::1]:5/a?k=1"] {
            assert_eq!(tracker(good), Ok(good.to_owned()));
        }
        for bad in ["t/a", "ftp://t/a", "udp:t", ""] {
            assert!(tracker(bad).is_err(), "{bad}");
        }
        assert!(web_seed("udp://t:1").is_err());
    }
}
