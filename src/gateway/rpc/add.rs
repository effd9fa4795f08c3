//! `torrent-add`: a torrent file in the request, on this machine, or behind a URL.

#![allow(
    clippy::disallowed_methods,
    reason = "a torrent file on this machine is read for whoever may name one"
)]

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::OFlags;
use serde_json::json;

use super::envelope::{Output, RpcError};
use super::names::Family;
use super::params::{self, Params};
use super::torrents::FILE_MARKS;
use super::{Rpc, limits, refused, session, strange, torrents, unanswered};
use crate::codec::layout::FileKind;
use crate::codec::magnet::Magnet;
use crate::codec::metainfo::{METAINFO_BYTES_MAX, Metainfo};
use crate::config::Config;
use crate::engine::library::{
    Brief, Change, FileMark, MagnetAdd, Selection, TorrentAdd, TorrentKey,
};
use crate::engine::message::{Answer, Message, Refusal, SessionAdd};
use crate::engine::session::picker::Priority;
use crate::gateway::client::masked;
use crate::ids::InfoHash;

/// For fetching a torrent file.
const FETCH_TIME_MAX: Duration = Duration::from_secs(60);

impl Rpc {
    pub(super) async fn torrent_add(&self, params: &Params) -> Result<Output, RpcError> {
        let named = params::text(params, "filename")?.unwrap_or_default().trim();
        let has_file = params::text(params, "metainfo")?.is_some_and(|text| !text.is_empty());
        if !has_file && is_magnet(named) {
            return self.magnet_add(named, params).await;
        }
        let bytes = self.torrent_file(params).await?;
        let metainfo = Metainfo::decode(&bytes).map_err(|fault| {
            RpcError::new(
                RpcError::CORRUPT_TORRENT,
                format!("not a valid torrent: {fault}"),
            )
        })?;
        let (wanted, priorities) = marks(params, &metainfo)?;
        let first = metainfo.files.first().map(|file| file.path.clone());
        let settings = settings(params)?;
        let config = self.tuned().await?.config;
        let (root, then) = self.place(params, &config, first).await?;
        let (paused, labels) = ways(params, &config)?;
        let info_hash = metainfo.info_hash;
        let add = TorrentAdd {
            session: SessionAdd {
                metainfo: Arc::new(metainfo),
                root,
                download: true,
                seed: true,
                recheck: false,
                wanted,
            },
            bytes: bytes.into(),
            paused,
            labels,
            then,
            priorities,
        };
        let message = Message::TorrentAdd(Box::new(add));
        self.added(info_hash, message, settings).await
    }

    /// A link: its torrent is there at once, and holds nothing until peers have told what it holds.
    async fn magnet_add(&self, link: &str, params: &Params) -> Result<Output, RpcError> {
        let magnet = Magnet::parse(link).map_err(|fault| {
            let text = format!("not a valid magnet link: {fault}");
            RpcError::new(RpcError::CORRUPT_TORRENT, text)
        })?;
        let settings = settings(params)?;
        let config = self.tuned().await?.config;
        let (root, then) = self.place(params, &config, None).await?;
        let (paused, labels) = ways(params, &config)?;
        let link = selecting(link, params)?;
        let add = MagnetAdd {
            brief: Brief::of_magnet(&magnet, &link, root),
            paused,
            labels,
            then,
            hold: false,
        };
        let message = Message::MagnetAdd(Box::new(add));
        self.added(magnet.info_hash, message, settings).await
    }

    /// Where its files go, and where they go when all are there, if that is elsewhere. `first` is its first file.
    async fn place(
        &self,
        params: &Params,
        config: &Config,
        first: Option<PathBuf>,
    ) -> Result<(PathBuf, Option<PathBuf>), RpcError> {
        let directory = params::text(params, "download_dir")?.filter(|path| !path.is_empty());
        let directory = directory.map_or_else(|| session::downloads(config), PathBuf::from);
        let found = self.directory(&directory, first).await?;
        match session::incomplete(config) {
            // What is there already is where it is to be.
            Some(incomplete) if !found.found => {
                let root = self.directory(&incomplete, None).await?.path;
                let differs = root != found.path;
                Ok((root, differs.then_some(found.path)))
            }
            _ => Ok((found.path, None)),
        }
    }

    /// Gives it to the engine, and says what clients want to know of it.
    async fn added(
        &self,
        info_hash: InfoHash,
        message: Message,
        settings: Vec<Change>,
    ) -> Result<Output, RpcError> {
        let answer = self.asking.ask_patiently(message).await;
        let key = match answer.map_err(unanswered)? {
            Answer::Session(_) => "torrent_added",
            Answer::Refused(Refusal::Duplicate(_)) => "torrent_duplicate",
            Answer::Refused(refusal) => return Err(refused(refusal)),
            _ => return Err(strange()),
        };
        let this = Selection::Some(vec![TorrentKey::Hash(info_hash)]);
        // What is there already stays as it is.
        if key == "torrent_added" && !settings.is_empty() {
            self.change(this.clone(), settings).await?;
        }
        let snapshot = self.show(this, false).await?;
        let Some(torrent) = snapshot.torrents.first() else {
            let text = format!("{info_hash} is just being removed: try again in a moment");
            return Err(RpcError::new(RpcError::INTERNAL, text));
        };
        let torrent = json!({
            "id": torrent.entry.number,
            "name": &*torrent.brief.name,
            "hash_string": info_hash.to_string(),
        });
        Ok(Output::Value(Family::Kebab, json!({ key: torrent })))
    }

    /// The bytes of the torrent file.
    async fn torrent_file(&self, params: &Params) -> Result<Vec<u8>, RpcError> {
        if let Some(encoded) = params::text(params, "metainfo")?.filter(|text| !text.is_empty()) {
            // Some clients break the lines.
            let encoded: Vec<u8> = encoded
                .bytes()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect();
            return STANDARD
                .decode(encoded)
                .map_err(|_| RpcError::params("metainfo: not base64"));
        }
        let named = params::text(params, "filename")?.filter(|text| !text.is_empty());
        let Some(named) = named else {
            return Err(RpcError::params("no filename or metainfo specified"));
        };
        let scheme = named.split_once(':').map(|(scheme, _)| scheme);
        let is = |name: &str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name));
        if is("http") || is("https") {
            let fetched = self.tools.get(named, METAINFO_BYTES_MAX, FETCH_TIME_MAX);
            return fetched.await.map_err(|fault| {
                RpcError::new(RpcError::HTTP, format!("{}: {fault}", masked(named)))
            });
        }
        read(Path::new(named))
            .map_err(|fault| RpcError::new(RpcError::SYSTEM, format!("{named}: {fault}")))
    }
}

/// Whether it begins stopped, and its labels.
fn ways(params: &Params, config: &Config) -> Result<(bool, Vec<String>), RpcError> {
    let labels = params::texts(params, "labels")?.unwrap_or_default();
    let paused = params::flag(params, "paused")?;
    Ok((paused.unwrap_or(!config.queue.start_added), labels))
}

/// Settings of a torrent that may be said as it is added.
fn settings(params: &Params) -> Result<Vec<Change>, RpcError> {
    let limit = torrents::peer_limit(params)?.map(Change::PeerLimit);
    Ok(limit
        .into_iter()
        .chain(limits::of_torrent(params)?)
        .collect())
}

/// The link with the files that are wanted, where they are named: it remembers them until its torrent is known (BEP 53).
fn selecting<'a>(link: &'a str, params: &Params) -> Result<Cow<'a, str>, RpcError> {
    let unwanted = params::indices(params, "files_unwanted")?;
    let wanted = params::indices(params, "files_wanted")?.filter(|files| !files.is_empty());
    let Some(wanted) = wanted else {
        if unwanted.is_some_and(|files| !files.is_empty()) {
            let text =
                "files_unwanted: nobody knows yet what a magnet link holds: name files_wanted";
            return Err(RpcError::params(text));
        }
        return Ok(link.into());
    };
    let kept = link.split('&').filter(|part| !part.starts_with("so="));
    let kept = kept.collect::<Vec<_>>().join("&");
    let wanted = wanted.iter().map(ToString::to_string);
    Ok(format!("{kept}&so={}", wanted.collect::<Vec<_>>().join(",")).into())
}

fn is_magnet(text: &str) -> bool {
    let scheme = text.get(..7);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"))
}

/// Reads a torrent file; never waits for the other end of a pipe.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    if !path.is_absolute() {
        return Err("name it by its absolute path".to_owned());
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)
        .map_err(|fault| fault.kind().to_string())?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("not a file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(METAINFO_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|fault| fault.kind().to_string())?;
    Ok(bytes)
}

/// A mark for each file of the layout, whether it is wanted and how soon; none when all are alike. Clients count without padding.
fn marks(params: &Params, metainfo: &Metainfo) -> Result<(Vec<bool>, Vec<Priority>), RpcError> {
    let all: Vec<usize> = (0..metainfo.files.len())
        .filter(|index| metainfo.files[*index].kind != FileKind::Pad)
        .collect();
    let (mut wanted, mut priorities) = (Vec::new(), Vec::new());
    for (name, mark) in FILE_MARKS {
        for index in params::indices(params, name)?.unwrap_or_default() {
            let Some(file) = all.get(index) else {
                let text = format!("{name}: no file has the index {index}");
                return Err(RpcError::new(RpcError::FILE_INDEX, text));
            };
            match mark {
                FileMark::Wanted(mark) => {
                    wanted.resize(metainfo.files.len(), true);
                    wanted[*file] = mark;
                }
                FileMark::Priority(priority) => {
                    priorities.resize(metainfo.files.len(), Priority::default());
                    priorities[*file] = priority;
                }
            }
        }
    }
    Ok((wanted, priorities))
}
