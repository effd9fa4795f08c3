//! `linnet show`: what a torrent says.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::codec::layout::{FileEntry, FileKind};
use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;

use super::console::printable;
use super::{Context, Failure, source, units};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The torrent file, or a magnet link
    #[arg(value_name = "FILE|MAGNET")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        if let Some(link) = source::magnet_of(&self.file) {
            let magnet = Magnet::parse(link).map_err(|fault| {
                Failure::failed(format!("{link}: not a valid magnet link: {fault}"))
            })?;
            return self.show_magnet(&magnet, context.console.out());
        }
        let torrent = source::read(&self.file)?;
        let out = context.console.out();
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &Shown::of(&torrent))
                .map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            print(&torrent, out)?;
        }
        Ok(())
    }
}

impl Show {
    fn show_magnet(&self, magnet: &Magnet, out: &mut dyn Write) -> Result<(), Failure> {
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &ShownMagnet::of(magnet))
                .map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            print_magnet(magnet, out)?;
        }
        Ok(())
    }
}

/// What a link carries, by the names of the contract's JSON.
#[derive(Serialize)]
struct ShownMagnet<'a> {
    name: Option<&'a str>,
    info_hash: String,
    info_hash_v2: Option<String>,
    trackers: Vec<&'a str>,
    tracker_tiers: &'a [Vec<String>],
    web_seeds: &'a [String],
    peers: &'a [String],
}

impl<'a> ShownMagnet<'a> {
    fn of(magnet: &'a Magnet) -> Self {
        Self {
            name: magnet.name.as_deref(),
            info_hash: magnet.info_hash.to_string(),
            info_hash_v2: None,
            trackers: magnet
                .trackers
                .iter()
                .flatten()
                .map(String::as_str)
                .collect(),
            tracker_tiers: &magnet.trackers,
            web_seeds: &magnet.web_seeds,
            peers: &magnet.peers,
        }
    }
}

fn print_magnet(magnet: &Magnet, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |label: &str, text: &str| writeln!(out, "{label:<12}{}", printable(text));
    if let Some(name) = &magnet.name {
        line("Name", name)?;
    }
    line("Info-hash", &magnet.info_hash.to_string())?;
    let lists = [
        ("Tracker", magnet.trackers.concat()),
        ("Web seed", magnet.web_seeds.clone()),
        ("Peer", magnet.peers.clone()),
    ];
    for (label, texts) in lists {
        for (at, text) in texts.iter().enumerate() {
            line(if at == 0 { label } else { "" }, text)?;
        }
    }
    Ok(())
}

/// The contract's JSON.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    info_hash: String,
    info_hash_v2: Option<String>,
    piece_length: u32,
    piece_count: u32,
    total_size: u64,
    files: Vec<ShownFile>,
    trackers: Vec<&'a str>,
    tracker_tiers: &'a [Vec<String>],
    web_seeds: &'a [String],
    private: bool,
    comment: Option<&'a str>,
    creation_date: Option<i64>,
    source: Option<&'a str>,
}

#[derive(Serialize)]
struct ShownFile {
    path: String,
    size: u64,
}

impl<'a> Shown<'a> {
    fn of(torrent: &'a Metainfo) -> Self {
        let files = real_files(torrent).map(|file| ShownFile {
            path: file.path.to_string_lossy().into_owned(),
            size: file.length,
        });
        Self {
            name: &torrent.name,
            info_hash: torrent.info_hash.to_string(),
            info_hash_v2: None,
            piece_length: torrent.geometry.piece_length(),
            piece_count: torrent.geometry.piece_count(),
            total_size: torrent.total_size(),
            files: files.collect(),
            trackers: torrent
                .trackers
                .iter()
                .flatten()
                .map(String::as_str)
                .collect(),
            tracker_tiers: &torrent.trackers,
            web_seeds: &torrent.web_seeds,
            private: torrent.private,
            comment: torrent.comment.as_deref(),
            creation_date: torrent.creation_date,
            source: torrent.source.as_deref(),
        }
    }
}

/// All but padding.
fn real_files(torrent: &Metainfo) -> impl Iterator<Item = &FileEntry> {
    torrent
        .files
        .iter()
        .filter(|file| file.kind != FileKind::Pad)
}

fn print(torrent: &Metainfo, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |label: &str, text: &str| writeln!(out, "{label:<12}{}", printable(text));
    let files = real_files(torrent).count() as u64;
    let total = torrent.total_size();
    line("Name", &torrent.name)?;
    line("Info-hash", &torrent.info_hash.to_string())?;
    let size = units::size(total);
    line(
        "Size",
        &format!(
            "{size} ({total} bytes) in {}",
            units::counted(files, "file")
        ),
    )?;
    let geometry = &torrent.geometry;
    let length = units::size(u64::from(geometry.piece_length()));
    line("Pieces", &format!("{} of {length}", geometry.piece_count()))?;
    line("Private", if torrent.private { "yes" } else { "no" })?;
    if let Some(seconds) = torrent.creation_date {
        line("Created", &units::date(seconds))?;
    }
    if let Some(program) = &torrent.created_by {
        line("Created by", program)?;
    }
    if let Some(comment) = &torrent.comment {
        line("Comment", comment)?;
    }
    if let Some(source) = &torrent.source {
        line("Source", source)?;
    }
    for (tier, urls) in torrent.trackers.iter().enumerate() {
        for url in urls {
            let label = if tier == 0 { "Tracker" } else { "" };
            line(label, &format!("{url} (tier {})", tier + 1))?;
        }
    }
    for url in &torrent.web_seeds {
        line("Web seed", url)?;
    }
    writeln!(out, "Files")?;
    for file in real_files(torrent) {
        let path = printable(&file.path.to_string_lossy());
        match &file.kind {
            FileKind::Symlink { target } => {
                let target = printable(&target.to_string_lossy());
                writeln!(out, "{:>10}  {path} -> {target}", "link")?;
            }
            FileKind::Regular { .. } | FileKind::Pad => {
                writeln!(out, "{:>10}  {path}", units::size(file.length))?;
            }
        }
    }
    Ok(())
}
