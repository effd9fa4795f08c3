//! `paths.watch`: torrent files, and files with a magnet link, that people and programs drop there are added.
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
use crate::config::{Config, Paths};
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

/// A file that makes no sense is given up when nobody has written to it for so long: until then it may just be slow to come.
const UNFINISHED_MAX: Duration = Duration::from_secs(60);

/// Bytes of a file with a magnet link.
const LINK_BYTES_MAX: usize = 64 << 10;

/// How a file looked.
type Look = (u64, Option<SystemTime>);

/// The directory, and what was seen there.
#[derive(Debug)]
pub(super) struct Watch {
    directory: PathBuf,
    /// How each file looked that was not taken yet.
    seen: BTreeMap<OsString, Look>,
    /// How those looked that were taken and could not be renamed: they are left alone until they look otherwise.
    done: BTreeMap<OsString, Look>,
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
    /// The engine, or the disk, does not answer: the others would wait as long.
    Silent(String),
}

impl Watch {
    /// `None` when nothing is to be watched.
    pub(super) fn new(paths: &Paths) -> Option<Self> {
        let named = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
        let watch = Self {
            directory: named(&paths.watch)?,
            seen: BTreeMap::new(),
            done: BTreeMap::new(),
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
        self.done.retain(|name, look| found.get(name) == Some(look));
        let done = &self.done;
        let mut steady: Vec<(OsString, Look)> = found
            .into_iter()
            .filter(|(name, look)| before.get(name) == Some(look) && !done.contains_key(name))
            .collect();
        // Those that could not be taken before let the others go first.
        steady.sort_by_key(|(name, _)| self.told.contains(name));
        if steady.is_empty() {
            return;
        }
        // As clients have set it by now.
        let Ok(Answer::Settings(settings)) = handle.ask(Message::SettingsShow, ANSWER_TIME_MAX)
        else {
            return;
        };
        for (name, look) in steady.into_iter().take(TAKEN_MAX) {
            if !self.take(&name, look, &settings.config, handle) {
                return;
            }
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

    /// Whether the others may go on.
    fn take(&mut self, name: &OsStr, look: Look, config: &Config, handle: &Handle) -> bool {
        let path = self.directory.join(name);
        let is_magnet = Path::new(name)
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("magnet"));
        let taken = match source::read_bytes(&path) {
            Err(_) => Taken::Later("it cannot be read".to_owned()),
            Ok(bytes) if is_magnet => add_link(&bytes, config, handle),
            Ok(bytes) => add(bytes, config, handle),
        };
        let is_young = look.1.is_some_and(|modified| {
            let age = modified.elapsed().unwrap_or_default();
            age < UNFINISHED_MAX
        });
        let (ending, text) = match taken {
            Taken::Added => ("added", "added".to_owned()),
            Taken::Failed(text) if is_young => {
                let text = format!("{text}; it is looked at again in case it is being written");
                self.tell(name, &format!("{}: {text}", path.display()));
                return true;
            }
            Taken::Failed(text) => ("failed", text),
            Taken::Later(text) => {
                self.tell(name, &format!("{}: {text}", path.display()));
                return true;
            }
            Taken::Silent(text) => {
                self.tell(name, &format!("{}: {text}", path.display()));
                return false;
            }
        };
        let mut to = path.clone().into_os_string();
        to.push(format!(".{ending}"));
        log::info!("{}: {text}", path.display());
        if let Err(fault) = fs::rename(&path, &to) {
            let text = format!("{}: cannot be renamed: {}", path.display(), reason(&fault));
            self.tell(name, &text);
            self.done.insert(name.to_owned(), look);
        }
        true
    }

    /// Says it once of each name.
    fn tell(&mut self, name: &OsStr, text: &str) {
        if self.told.insert(name.to_owned()) {
            log::warn!("{text}");
        }
    }
}

/// A torrent file.
fn add(bytes: Vec<u8>, config: &Config, handle: &Handle) -> Taken {
    let metainfo = match Metainfo::decode(&bytes) {
        Ok(metainfo) => metainfo,
        Err(fault) => return Taken::Failed(format!("not a valid torrent: {fault}")),
    };
    let first = metainfo.files.first().map(|file| file.path.clone());
    let (root, then) = match places(config, first, handle) {
        Ok(places) => places,
        Err(taken) => return taken,
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
        paused: !config.queue.start_added,
        labels: Vec::new(),
        then,
        priorities: Vec::new(),
    };
    taken(handle, Message::TorrentAdd(Box::new(add)))
}

/// A file with a magnet link in its first line.
fn add_link(bytes: &[u8], config: &Config, handle: &Handle) -> Taken {
    let text = (bytes.len() <= LINK_BYTES_MAX).then(|| str::from_utf8(bytes).ok());
    let link =
        (text.flatten()).and_then(|text| text.lines().map(str::trim).find(|line| !line.is_empty()));
    let Some(link) = link else {
        return Taken::Failed("not a magnet link".to_owned());
    };
    let magnet = match Magnet::parse(link) {
        Ok(magnet) => magnet,
        Err(fault) => return Taken::Failed(format!("not a valid magnet link: {fault}")),
    };
    let (root, then) = match places(config, None, handle) {
        Ok(places) => places,
        Err(taken) => return taken,
    };
    let add = MagnetAdd {
        brief: Brief::of_magnet(&magnet, link, root),
        paused: !config.queue.start_added,
        labels: Vec::new(),
        then,
        hold: false,
    };
    taken(handle, Message::MagnetAdd(Box::new(add)))
}

fn taken(handle: &Handle, message: Message) -> Taken {
    match handle.ask(message, ANSWER_TIME_MAX) {
        Ok(Answer::Session(_) | Answer::Refused(Refusal::Duplicate(_))) => Taken::Added,
        Ok(Answer::Refused(refusal)) => Taken::Later(refusal.to_string()),
        Ok(_) => Taken::Later("the engine gave a strange answer".to_owned()),
        Err(fault) => Taken::Silent(fault.to_string()),
    }
}

/// Where its files go now, and later, as over the RPC.
fn places(
    config: &Config,
    first: Option<PathBuf>,
    handle: &Handle,
) -> Result<(PathBuf, Option<PathBuf>), Taken> {
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|fault| Taken::Later(fault.to_string()));
    let found = survey(&absolute(&config.paths.downloads)?, first, handle)?;
    let incomplete = &config.paths.incomplete;
    if incomplete.as_os_str().is_empty() || found.found {
        return Ok((found.path, None));
    }
    let root = survey(&absolute(incomplete)?, None, handle)?.path;
    let differs = root != found.path;
    Ok((root, differs.then_some(found.path)))
}

fn survey(path: &Path, file: Option<PathBuf>, handle: &Handle) -> Result<Surveyed, Taken> {
    let survey = Survey {
        path: path.to_owned(),
        make: true,
        file,
    };
    match handle.ask(Message::Survey(Box::new(survey)), ANSWER_TIME_MAX) {
        Ok(Answer::Surveyed(found)) => (*found).map_err(|fault| Taken::Later(fault.message)),
        Ok(Answer::Refused(refusal)) => Err(Taken::Later(refusal.to_string())),
        Ok(_) => Err(Taken::Later("the engine gave a strange answer".to_owned())),
        Err(fault) => Err(Taken::Silent(fault.to_string())),
    }
}
