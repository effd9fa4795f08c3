//! Magnet links in a transfer: taken on to be held, until peers have told what they name; then what of it is wanted is chosen,
//! and they go on as torrents.
//!
//! What a link named is kept beside the state until the torrent is complete, so that the next run does not have to ask again.

#![allow(
    clippy::disallowed_methods,
    reason = "torrent files are read and kept on the main thread, which has nothing else to do then"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Chosen, Link, Transfer};
use crate::cli::Failure;
use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;
use crate::engine::library::Brief;
use crate::engine::message::{Answer, MagnetAdd, Message};
use crate::ids::InfoHash;

impl Link {
    /// What an earlier run was told of it, if it did not complete.
    pub(super) fn remembered(&self, keep: Option<&Path>) -> Option<Metainfo> {
        let path = kept(keep?, self.magnet.info_hash);
        let metainfo = Metainfo::decode(&std::fs::read(path).ok()?).ok()?;
        (metainfo.info_hash == self.magnet.info_hash).then_some(metainfo)
    }

    /// How to call it until its name is known.
    pub(super) fn name(&self) -> String {
        let name = self.magnet.name.clone();
        name.unwrap_or_else(|| self.magnet.info_hash.to_string())
    }

    /// The message that has it fetched.
    pub(super) fn add(&self, root: &Path) -> Message {
        Message::MagnetAdd(Box::new(MagnetAdd {
            brief: Brief::of_magnet(&self.magnet, &self.text, root.to_owned()),
            paused: false,
            labels: Vec::new(),
            then: None,
            hold: true,
        }))
    }
}

impl Transfer<'_> {
    /// Asks whether it is known by now what this one holds, and goes on with it then.
    pub(super) fn look_at_link(&mut self, index: usize) -> Result<(), Failure> {
        let session = self.followed[index].session;
        let answer = self.engine.ask(Message::MetadataShow { session });
        let Ok(Answer::Metadata(Some((metainfo, bytes)))) = answer else {
            return Ok(());
        };
        let Some(magnet) = self.followed[index].link.take() else {
            return Ok(());
        };
        self.keep(magnet.info_hash, &bytes);
        let chosen = self.chosen(Arc::unwrap_or_clone(metainfo), Some(&magnet))?;
        let name = chosen.metainfo.name.clone();
        let followed = &mut self.followed[index];
        followed.name.clone_from(&name);
        if let Some(bar) = &followed.bar {
            bar.rename(&name);
        }
        let line = self.begun(&chosen);
        self.console.note(&line);
        let add = self.session_add(chosen);
        match self.engine.ask(add) {
            Ok(Answer::Session(_)) => Ok(()),
            Ok(Answer::Refused(refusal)) => Err(Failure::failed(format!("{name}: {refusal}"))),
            Ok(_) => Err(Failure::failed(format!("{name}: an answer out of place"))),
            Err(fault) => Err(Failure::failed(format!("{name}: {fault}"))),
        }
    }

    /// With the marks of the files that are fetched: those of `--select`, else those that the link selects.
    pub(super) fn chosen(
        &self,
        metainfo: Metainfo,
        magnet: Option<&Magnet>,
    ) -> Result<Chosen, Failure> {
        let wanted = match &self.select {
            None => magnet.map_or(Vec::new(), |magnet| magnet.wanted(metainfo.files.len())),
            Some(globs) => super::choose(globs, &metainfo)?,
        };
        Ok(Chosen { metainfo, wanted })
    }

    /// Keeps a torrent file for the next run. Without it that run only has to ask once more.
    fn keep(&self, info_hash: InfoHash, bytes: &[u8]) {
        let Some(directory) = &self.keep else {
            return;
        };
        let path = kept(directory, info_hash);
        let new = path.with_extension("new");
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&new, bytes))
            .and_then(|()| std::fs::rename(&new, &path));
        if let Err(fault) = written {
            log::warn!("{}: {fault}", path.display());
        }
    }

    /// A torrent that is complete needs no more than it has.
    pub(super) fn keep_no_more(&self, info_hash: InfoHash) {
        if let Some(directory) = &self.keep {
            // Most were never kept.
            let _ = std::fs::remove_file(kept(directory, info_hash));
        }
    }
}

/// Where the torrent file of a link is kept.
fn kept(directory: &Path, info_hash: InfoHash) -> PathBuf {
    directory.join(format!("{info_hash}.torrent"))
}
