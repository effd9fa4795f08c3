//! What a list shows of a torrent: enough for most callers without its torrent file being read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::layout::FileKind;
use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;
use crate::ids::InfoHash;

use crate::engine::session::Session;

/// Tracker URLs by tier.
pub type Tiers = Arc<[Vec<String>]>;

/// What does not change while a torrent trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Its name.
    pub name: Arc<str>,
    /// The directory that its files are in or below.
    pub root: PathBuf,
    /// Bytes of its real files, without padding.
    pub total_size: u64,
    /// Bytes of all its pieces, padding included.
    pub bytes: u64,
    /// Bytes of each piece but the last.
    pub piece_length: u32,
    /// Pieces.
    pub piece_count: u32,
    /// Real files, without padding.
    pub file_count: u32,
    /// Whether peers may come from its trackers alone.
    pub private: bool,
    /// Its trackers; torrents with the same share them.
    pub trackers: Tiers,
    /// The link it came by, as long as nobody has told what it holds: all counts are 0 until then.
    pub magnet: Option<Arc<str>>,
}

impl Brief {
    /// Of a torrent of which no more than a link is known, and whose files will be in `root`.
    #[must_use]
    pub fn of_magnet(magnet: &Magnet, link: &str, root: PathBuf) -> Self {
        let hash = magnet.info_hash.to_string();
        Self {
            info_hash: magnet.info_hash,
            name: magnet.name.as_deref().unwrap_or(&hash).into(),
            root,
            total_size: 0,
            bytes: 0,
            piece_length: 0,
            piece_count: 0,
            file_count: 0,
            private: false,
            trackers: magnet.trackers.as_slice().into(),
            magnet: Some(link.into()),
        }
    }

    /// Of a torrent whose files are in `root`.
    #[must_use]
    pub fn of(metainfo: &Metainfo, root: &Path) -> Self {
        let real = metainfo.files.iter();
        let real = real.filter(|file| file.kind != FileKind::Pad).count();
        Self {
            info_hash: metainfo.info_hash,
            name: metainfo.name.as_str().into(),
            root: root.to_owned(),
            total_size: metainfo.total_size(),
            bytes: metainfo.geometry.total(),
            piece_length: metainfo.geometry.piece_length(),
            piece_count: metainfo.geometry.piece_count(),
            file_count: u32::try_from(real).unwrap_or(u32::MAX),
            private: metainfo.private,
            trackers: metainfo.trackers.as_slice().into(),
            magnet: None,
        }
    }
}

/// How much of a torrent is there, and what it has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Wanted bytes, padding included.
    pub bytes_wanted: u64,
    /// Of those, verified and written.
    pub bytes_have: u64,
    /// All bytes verified and written, also of pieces that are not wanted.
    pub bytes_verified: u64,
    /// Pieces we have.
    pub pieces_have: u32,
    /// Payload sent, ever.
    pub uploaded: u64,
    /// Payload received, ever.
    pub downloaded: u64,
    /// Whether everything wanted was verified, flushed and recorded.
    pub whole: bool,
}

impl Standing {
    /// Of a session at work.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let (bytes_wanted, bytes_have) = session.bytes();
        Self {
            bytes_wanted,
            bytes_have,
            bytes_verified: verified(session),
            pieces_have: u32::try_from(session.picker.have().count()).unwrap_or(u32::MAX),
            uploaded: session.progress.uploaded_before + session.up.total(),
            downloaded: session.progress.downloaded_before + session.down.total(),
            whole: session.has_all_wanted()
                && session.progress.judged
                && session.progress.is_flushed(),
        }
    }
}

impl Session {
    /// How it stands, for its row: as the row has it until its files were looked at.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let now = Standing::of(self);
        if self.progress.judged {
            return now;
        }
        Standing {
            bytes_wanted: now.bytes_wanted,
            ..self.entry.kept
        }
    }
}

fn verified(session: &Session) -> u64 {
    let geometry = session.geometry();
    let have = session.picker.have();
    let full = have.count() as u64 * u64::from(geometry.piece_length());
    let Some(last) = geometry.pieces().next_back() else {
        return 0;
    };
    let short = u64::from(geometry.piece_length() - geometry.piece_size(last));
    full - if have.get(last.index()) { short } else { 0 }
}
