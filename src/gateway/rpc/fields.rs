//! The fields of a torrent, once: name, what it costs, where it comes from.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::envelope::Dialect;
use super::names::{Family, keys_classic};
use super::objects;
use super::why;
use crate::codec::layout::{FileEntry, FileKind};
use crate::codec::metainfo::Metainfo;
use crate::engine::library::{TorrentSnapshot, Trouble};
use crate::engine::snapshot::SessionState;
use crate::time::Instant;

/// What values depend on beside the torrent.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// How they are spelled.
    pub dialect: Dialect,
    /// When the snapshot was made.
    pub time: Instant,
    /// The same in seconds since 1970.
    pub unix: u64,
    /// Streams a torrent may have.
    pub peer_limit: u32,
}

/// One field.
pub struct Field {
    /// In our spelling.
    pub name: &'static str,
    /// Whether it needs the snapshot's detail.
    pub detail: bool,
    get: for<'a> fn(&Context, &'a TorrentSnapshot) -> Out<'a>,
}

impl Field {
    /// Its value for one torrent.
    #[must_use]
    pub fn of<'a>(&self, context: &Context, torrent: &'a TorrentSnapshot) -> Out<'a> {
        match (self.get)(context, torrent) {
            Out::Json(value) if context.dialect == Dialect::Classic => {
                Out::Json(keys_classic(value, Family::Camel))
            }
            other => other,
        }
    }
}

/// The field of this name, in our spelling.
#[must_use]
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

/// A value. Most are made without allocating: ten thousand torrents have a third of a million of them.
#[derive(Clone, Debug)]
pub enum Out<'a> {
    /// A number.
    Int(i64),
    /// A share.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// A text that the snapshot has.
    Str(&'a str),
    /// A text that was made.
    Text(String),
    /// Labels.
    Texts(&'a [Box<str>]),
    /// Anything with keys of its own.
    Json(Value),
}

impl Serialize for Out<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Str(value) => serializer.serialize_str(value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Texts(value) => value.serialize(serializer),
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

fn int(value: u64) -> Out<'static> {
    Out::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The real files of a torrent with their indices in the layout: clients count without padding.
pub fn files(torrent: &TorrentSnapshot) -> impl Iterator<Item = (usize, &FileEntry)> {
    let files = torrent
        .detail
        .as_deref()
        .map_or(&[][..], |detail| &detail.storage.layout.files);
    let all = files.iter().enumerate();
    all.filter(|(_, file)| file.kind != FileKind::Pad)
}

/// Whole kB of a limit.
fn rate(cap: crate::engine::limits::Cap) -> i64 {
    i64::try_from(super::limits::kb(cap)).unwrap_or(i64::MAX)
}

/// As Transmission numbers it.
fn status(torrent: &TorrentSnapshot) -> i64 {
    match torrent.state {
        SessionState::Checking => 2,
        SessionState::Downloading | SessionState::Metadata => 4,
        SessionState::Seeding | SessionState::Parked => 6,
        SessionState::Queued if left(torrent) > 0 => 3,
        SessionState::Queued => 5,
        SessionState::Stopped
        | SessionState::Paused
        | SessionState::Leaving
        | SessionState::Error => 0,
    }
}

fn is_running(torrent: &TorrentSnapshot) -> bool {
    matches!(
        torrent.state,
        SessionState::Downloading | SessionState::Seeding | SessionState::Parked
    )
}

fn left(torrent: &TorrentSnapshot) -> u64 {
    torrent.bytes_wanted - torrent.bytes_have
}

#[allow(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

/// Of a torrent of which nobody knows what it holds there is nothing.
fn part(torrent: &TorrentSnapshot, part: u64, whole: u64) -> f64 {
    match &torrent.brief.magnet {
        Some(_) => 0.0,
        None => share(part, whole),
    }
}

/// How much of its metadata is there.
fn metadata(torrent: &TorrentSnapshot) -> f64 {
    match (&torrent.brief.magnet, torrent.metadata) {
        (None, _) => 1.0,
        (Some(_), Some(fetched)) if fetched.pieces_total > 0 => {
            share(fetched.pieces_have.into(), fetched.pieces_total.into())
        }
        (Some(_), _) => 0.0,
    }
}

/// The torrent's own, or that of all.
fn peer_limit(context: &Context, torrent: &TorrentSnapshot) -> u32 {
    match torrent.entry.peer_limit {
        0 => context.peer_limit,
        own => own,
    }
}

/// −1: does not apply; −2: nobody knows.
fn eta(torrent: &TorrentSnapshot) -> i64 {
    match torrent.state {
        SessionState::Downloading => left(torrent)
            .checked_div(torrent.download_rate)
            .map_or(-2, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX)),
        _ => -1,
    }
}

fn ratio(torrent: &TorrentSnapshot) -> f64 {
    match torrent.downloaded.max(torrent.bytes_have) {
        0 => -1.0,
        received => share(torrent.uploaded, received),
    }
}

fn marks(context: &Context, torrent: &TorrentSnapshot) -> Value {
    let mark = |(index, _): (usize, &FileEntry)| {
        let wanted = objects::is_wanted(torrent, index);
        match context.dialect {
            Dialect::Classic => json!(u8::from(wanted)),
            Dialect::JsonRpc => json!(wanted),
        }
    };
    files(torrent).map(mark).collect()
}

/// Where its files are, or will be when all of them are there.
fn root(torrent: &TorrentSnapshot) -> &Path {
    let whereabouts = torrent.entry.whereabouts.as_deref();
    let moving = whereabouts.and_then(|whereabouts| Some(&whereabouts.moving.as_ref()?.root));
    let then = whereabouts.and_then(|whereabouts| whereabouts.then.as_ref());
    then.or(moving).unwrap_or(&torrent.brief.root)
}

/// What the torrent file says; only with the snapshot's detail.
pub(super) fn info(torrent: &TorrentSnapshot) -> Option<&Metainfo> {
    let detail = torrent.detail.as_deref()?;
    Some(&*detail.metainfo)
}

macro_rules! field {
    ($name:literal, $get:expr) => {
        Field {
            name: $name,
            detail: false,
            get: $get,
        }
    };
    ($name:literal, detail, $get:expr) => {
        Field {
            name: $name,
            detail: true,
            get: $get,
        }
    };
}

/// All fields, by name.
#[rustfmt::skip]
pub static FIELDS: &[Field] = &[
    field!("activity_date",           |c, t| int(if t.download_rate + t.upload_rate > 0 { c.unix } else { t.entry.done.max(t.entry.added) })),
    field!("added_date",              |_, t| int(t.entry.added)),
    field!("availability",    detail, |_, t| Out::Json(objects::availability(t))),
    field!("bandwidth_priority",      |_, t| Out::Int(t.entry.limits.weight.number().into())),
    field!("bytes_completed", detail, |_, t| Out::Json(objects::bytes_completed(t))),
    field!("comment",         detail, |_, t| Out::Str(info(t).and_then(|info| info.comment.as_deref()).unwrap_or_default())),
    field!("corrupt_ever",            |_, t| int(t.wasted)),
    field!("creator",         detail, |_, t| Out::Str(info(t).and_then(|info| info.created_by.as_deref()).unwrap_or_default())),
    field!("date_created",    detail, |_, t| Out::Int(info(t).and_then(|info| info.creation_date).unwrap_or(0))),
    field!("desired_available", detail, |_, t| int(t.detail.as_ref().map_or(0, |detail| detail.available))),
    field!("done_date",               |_, t| int(t.entry.done)),
    field!("download_dir",            |_, t| Out::Text(root(t).to_string_lossy().into_owned())),
    field!("download_limit",          |_, t| Out::Int(rate(t.entry.limits.download))),
    field!("download_limited",        |_, t| Out::Bool(t.entry.limits.download.on)),
    field!("downloaded_ever",         |_, t| int(t.downloaded)),
    field!("edit_date",               |_, _| Out::Int(0)),
    field!("error",                   |_, t| Out::Int(match t.trouble { Trouble::None => 0, Trouble::Tracker(_) => 2, Trouble::Local(_) => 3 })),
    field!("error_string",            |_, t| Out::Str(match &t.trouble { Trouble::None => "", Trouble::Tracker(text) | Trouble::Local(text) => text })),
    field!("eta",                     |_, t| Out::Int(eta(t))),
    field!("eta_idle",                |_, _| Out::Int(-1)),
    field!("file_count",              |_, t| Out::Int(t.brief.file_count.into())),
    field!("file_stats",      detail, |_, t| Out::Json(objects::file_stats(t))),
    field!("files",           detail, |_, t| Out::Json(objects::files(t))),
    field!("group",                   |_, t| Out::Str(&t.entry.limits.group)),
    field!("hash_string",             |_, t| Out::Text(t.brief.info_hash.to_string())),
    field!("have_unchecked",          |_, _| Out::Int(0)),
    field!("have_valid",              |_, t| int(t.bytes_verified)),
    field!("honors_session_limits",   |_, t| Out::Bool(t.entry.limits.honour)),
    field!("id",                      |_, t| Out::Int(t.entry.number.into())),
    field!("is_finished",             |_, t| Out::Bool(t.entry.finished)),
    field!("is_private",              |_, t| Out::Bool(t.brief.private)),
    field!("is_stalled",              |_, t| Out::Bool(is_running(t) && t.entry.stalled)),
    field!("labels",                  |_, t| Out::Texts(&t.entry.labels)),
    field!("left_until_done",         |_, t| int(left(t))),
    field!("magnet_link",     detail, |_, t| Out::Text(objects::magnet_link(t))),
    field!("manual_announce_time",    |_, _| Out::Int(-1)),
    field!("max_connected_peers",     |c, t| Out::Int(peer_limit(c, t).into())),
    field!("metadata_percent_complete", |_, t| Out::Float(metadata(t))),
    field!("name",                    |_, t| Out::Str(&t.brief.name)),
    field!("peer_limit",              |c, t| Out::Int(peer_limit(c, t).into())),
    field!("peers",           detail, |_, t| Out::Json(objects::peers(t))),
    field!("peers_connected",         |_, t| Out::Int(t.peers.into())),
    field!("peers_from",              |_, t| Out::Json(objects::peers_from(t))),
    field!("peers_getting_from_us",   |_, t| Out::Int(t.peers_getting.into())),
    field!("peers_sending_to_us",     |_, t| Out::Int(t.peers_sending.into())),
    field!("percent_complete",        |_, t| Out::Float(part(t, t.bytes_verified, t.brief.bytes))),
    field!("percent_done",            |_, t| Out::Float(part(t, t.bytes_have, t.bytes_wanted))),
    field!("piece_count",             |_, t| Out::Int(t.brief.piece_count.into())),
    field!("piece_size",              |_, t| Out::Int(t.brief.piece_length.into())),
    field!("pieces",          detail, |_, t| Out::Text(STANDARD.encode(t.detail.as_ref().map_or(&[][..], |detail| &detail.have)))),
    field!("primary_mime_type", detail, |_, t| Out::Str(objects::mime_type(t))),
    field!("priorities",      detail, |_, t| Out::Json(files(t).map(|(index, _)| objects::priority(t, index)).collect())),
    field!("queue_position",          |_, t| Out::Int(t.entry.position.into())),
    field!("rate_download",           |_, t| int(t.download_rate)),
    field!("rate_upload",             |_, t| int(t.upload_rate)),
    field!("recheck_progress",        |_, t| Out::Float(if t.state == SessionState::Checking { share(t.pieces_checked.into(), t.pieces_to_check.into()) } else { 0.0 })),
    field!("seconds_downloading",     |_, t| int(t.seconds_downloading)),
    field!("seconds_seeding",         |_, t| int(t.seconds_seeding)),
    field!("seed_idle_limit",         |_, t| Out::Int(t.entry.goals.idle_minutes.into())),
    field!("seed_idle_mode",          |_, t| Out::Int(t.entry.goals.idle_mode.number().into())),
    field!("seed_ratio_limit",        |_, t| Out::Float(f64::from(t.entry.goals.ratio_mille) / 1000.0)),
    field!("seed_ratio_mode",         |_, t| Out::Int(t.entry.goals.ratio_mode.number().into())),
    field!("sequential_download",     |_, _| Out::Bool(false)),
    field!("sequential_download_from_piece", |_, _| Out::Int(0)),
    field!("size_when_done",          |_, t| int(t.bytes_wanted)),
    field!("source",          detail, |_, t| Out::Str(info(t).and_then(|info| info.source.as_deref()).unwrap_or_default())),
    field!("start_date",              |_, t| int(t.entry.started)),
    field!("status",                  |_, t| Out::Int(status(t))),
    field!("torrent_file",            |_, _| Out::Str("")),
    field!("total_size",              |_, t| int(t.brief.total_size)),
    field!("tracker_list",            |_, t| Out::Text(objects::tracker_list(t))),
    field!("tracker_stats",   detail, |c, t| Out::Json(objects::tracker_stats(c, t))),
    field!("trackers",                |_, t| Out::Json(objects::trackers(t))),
    field!("upload_limit",            |_, t| Out::Int(rate(t.entry.limits.upload))),
    field!("upload_limited",          |_, t| Out::Bool(t.entry.limits.upload.on)),
    field!("upload_ratio",            |_, t| Out::Float(ratio(t))),
    field!("uploaded_ever",           |_, t| int(t.uploaded)),
    field!("wanted",          detail, |c, t| Out::Json(marks(c, t))),
    field!("webseeds",        detail, |_, t| Out::Json(json!(info(t).map_or(&[][..], |info| &info.web_seeds)))),
    field!("webseeds_ex",     detail, |_, t| Out::Json(objects::web_seeds(t))),
    field!("webseeds_sending_to_us",  |_, _| Out::Int(0)),
    // Ours: the state as the contract names it, whether a person has stopped it, and why it does not move.
    field!("state",                   |_, t| Out::Str(t.state.name())),
    field!("paused",                  |_, t| Out::Bool(t.paused)),
    field!("why",             detail, |_, t| Out::Text(why::why(t))),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::rpc::names::{classic, ours};

    #[test]
    fn every_field_has_one_name_in_either_dialect() {
        for field in FIELDS {
            assert_eq!(ours(&classic(field.name, Family::Camel)), field.name);
            let count = FIELDS
                .iter()
                .filter(|other| other.name == field.name)
                .count();
            assert_eq!(count, 1, "{}", field.name);
        }
    }
}
