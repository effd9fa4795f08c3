//! `paths.watch`: torrent files that people and programs drop there are added.
//!
//! Looked at every few seconds by the thread that waits for signals: that works on every file system, and takes no thread of its
//! own. A file counts when it looks the same twice, so one that is being written is left alone. What was taken is renamed, so
//! that it is seen to have been taken and is not taken again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::actor::handle::Handle;
use crate::cli::source::{self, reason};
use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;
use crate::config::Paths;
use crate::engine::library::{Brief, MagnetAdd, TorrentAdd};
use crate::engine::message::{Answer, Message, Refusal, SessionAdd, Survey, Surveyed};
use crate::time::Duration;

/// How often the directory is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Files that are taken at one look; the others wait for the next.
const TAKEN_MAX: usize = 64;

/// Names that are looked at; a directory with more of them is no watch directory, and the rest is passed over.
const NAMES_MAX: usize = 10_000;

/// For one answer of the engine.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// How a file looked.
type Look = (u64, Option<SystemTime>);

/// The directory, and what was seen there.
#[derive(Debug)]
pub(super) struct Watch {
    directory: PathBuf,
    downloads: PathBuf,
    incomplete: Option<PathBuf>,
    /// How each file looked that was not taken yet.
    seen: BTreeMap<OsString, Look>,
    /// Names that the log has said something about.
    told: BTreeSet<OsString>,
}

/// What became of a file.
enum Taken {
    Added,
    /// It never will be.
    Failed(String),
    /// Perhaps at the next look.
    Later(String),
}

impl Watch {
    /// `None` when nothing is to be watched.
    pub(super) fn new(paths: &Paths) -> Option<Self> {
        let named = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
        let watch = Self {
            directory: named(&paths.watch)?,
            downloads: std::path::absolute(&paths.downloads).ok()?,
            incomplete: named(&paths.incomplete).and_then(|path| std::path::absolute(path).ok()),
            seen: BTreeMap::new(),
            told: BTreeSet::new(),
        };
        log::info!("torrent files in {} are added", watch.directory.display());
        Some(watch)
    }

    /// Adds what has not changed since the last look.
    pub(super) fn look(&mut self, handle: &Handle) {
        let found = match self.list() {
            Ok(found) => found,
            Err(fault) => {
                let directory = self.directory.clone();
                let text = format!("paths.watch: {}: {}", directory.display(), reason(&fault));
                return self.tell(directory.as_os_str(), &text);
            }
        };
        let before = std::mem::replace(&mut self.seen, found.clone());
        self.told.retain(|name| found.contains_key(name));
        let steady = found
            .into_iter()
            .filter(|(name, look)| before.get(name) == Some(look));
        for (name, _) in steady.take(TAKEN_MAX) {
            self.take(&name, handle);
        }
    }

    /// The torrents and magnet links that are there.
    fn list(&self) -> io::Result<BTreeMap<OsString, Look>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.directory)?.take(NAMES_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let Some(ending) = Path::new(&name).extension() else {
                continue;
            };
            if !["torrent", "magnet"]
                .iter()
                .any(|known| ending.eq_ignore_ascii_case(known))
            {
                continue;
            }
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                found.insert(name, (metadata.len(), metadata.modified().ok()));
            }
        }
        Ok(found)
    }

    fn take(&mut self, name: &OsStr, handle: &Handle) {
        let path = self.directory.join(name);
        let is_magnet = Path::new(name)
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("magnet"));
        let taken = if is_magnet {
            self.add_link(&path, handle)
        } else {
            self.add(&path, handle)
        };
        let (ending, text) = match taken {
            Taken::Added => ("added", "added".to_owned()),
            Taken::Failed(text) => ("failed", text),
            Taken::Later(text) => return self.tell(name, &format!("{}: {text}", path.display())),
        };
        let mut to = path.clone().into_os_string();
        to.push(format!(".{ending}"));
        log::info!("{}: {text}", path.display());
        if let Err(fault) = fs::rename(&path, &to) {
            let text = format!("{}: cannot be renamed: {}", path.display(), reason(&fault));
            self.tell(name, &text);
        }
    }

    fn add(&self, path: &Path, handle: &Handle) -> Taken {
        let bytes = match source::read_bytes(path) {
            Ok(bytes) => bytes,
            Err(_) => return Taken::Later("it cannot be read".to_owned()),
        };
        let metainfo = match Metainfo::decode(&bytes) {
            Ok(metainfo) => metainfo,
            Err(fault) => return Taken::Failed(format!("not a valid torrent: {fault}")),
        };
        let first = metainfo.files.first().map(|file| file.path.clone());
        let places = self.places(first, handle);
        let (root, then) = match places {
            Ok(places) => places,
            Err(text) => return Taken::Later(text),
        };
        let add = TorrentAdd {
            session: SessionAdd {
                metainfo: Arc::new(metainfo),
                root,
                download: true,
                seed: true,
                recheck: false,
                wanted: Vec::new(),
            },
            bytes: bytes.into(),
            paused: false,
            labels: Vec::new(),
            then,
            priorities: Vec::new(),
        };
        taken(handle, Message::TorrentAdd(Box::new(add)))
    }

    /// A file that holds a magnet link.
    fn add_link(&self, path: &Path, handle: &Handle) -> Taken {
        let Ok(bytes) = source::read_bytes(path) else {
            return Taken::Later("it cannot be read".to_owned());
        };
        let link = String::from_utf8_lossy(&bytes);
        let link = link.trim();
        let magnet = match Magnet::parse(link) {
            Ok(magnet) => magnet,
            Err(fault) => return Taken::Failed(format!("not a valid magnet link: {fault}")),
        };
        let (root, then) = match self.places(None, handle) {
            Ok(places) => places,
            Err(text) => return Taken::Later(text),
        };
        let add = MagnetAdd {
            brief: Brief::of_magnet(&magnet, link, root),
            paused: false,
            labels: Vec::new(),
            then,
            hold: false,
        };
        taken(handle, Message::MagnetAdd(Box::new(add)))
    }

    /// Where its files go now, and later, as over the RPC.
    fn places(
        &self,
        first: Option<PathBuf>,
        handle: &Handle,
    ) -> Result<(PathBuf, Option<PathBuf>), String> {
        let found = survey(&self.downloads, first, handle)?;
        match &self.incomplete {
            Some(incomplete) if !found.found => {
                let root = survey(incomplete, None, handle)?.path;
                let differs = root != found.path;
                Ok((root, differs.then_some(found.path)))
            }
            _ => Ok((found.path, None)),
        }
    }

    /// Says it once of each name.
    fn tell(&mut self, name: &OsStr, text: &str) {
        if self.told.insert(name.to_owned()) {
            log::warn!("{text}");
        }
    }
}

/// Gives it to the engine.
fn taken(handle: &Handle, message: Message) -> Taken {
    match handle.ask(message, ANSWER_TIME_MAX) {
        Ok(Answer::Session(_) | Answer::Refused(Refusal::Duplicate(_))) => Taken::Added,
        Ok(Answer::Refused(refusal)) => Taken::Later(refusal.to_string()),
        Ok(_) => Taken::Later("the engine gave a strange answer".to_owned()),
        Err(fault) => Taken::Later(fault.to_string()),
    }
}

fn survey(path: &Path, file: Option<PathBuf>, handle: &Handle) -> Result<Surveyed, String> {
    let survey = Survey {
        path: path.to_owned(),
        make: true,
        file,
    };
    match handle.ask(Message::Survey(Box::new(survey)), ANSWER_TIME_MAX) {
        Ok(Answer::Surveyed(found)) => (*found).map_err(|fault| fault.message),
        Ok(Answer::Refused(refusal)) => Err(refusal.to_string()),
        Ok(_) => Err("the engine gave a strange answer".to_owned()),
        Err(fault) => Err(fault.to_string()),
    }
}
