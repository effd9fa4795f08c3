//! Torrents: shown, changed, removed.

use std::borrow::Cow;

use serde::Serializer as _;
use serde::ser::{SerializeMap, SerializeSeq};
use serde_json::{Value, json};

use super::envelope::{Dialect, Output, RpcError};
use super::fields::{self, Context, Field};
use super::names::{Family, classic, ours};
use super::params::{self, Params};
use super::{Rpc, strange};
use crate::engine::library::{
    Change, DETAIL_MAX, FileMark, Mode, Move, Selection, TorrentKey, TorrentSnapshot,
    TorrentsChange, TorrentsShow, TorrentsSnapshot,
};
use crate::engine::message::{Answer, Message};
use crate::engine::session::picker::Priority;

/// The change that a method without arguments of its own makes. Of `named` torrents: those that are named are stopped, whereas
/// all at once are paused.
pub(super) fn action(method: &str, named: bool) -> Option<Change> {
    Some(match method {
        "torrent_stop" if named => Change::Stop,
        "torrent_stop" => Change::Pause,
        "torrent_start" => Change::Start,
        "torrent_start_now" => Change::StartNow,
        "torrent_verify" => Change::Recheck,
        "torrent_reannounce" => Change::Reannounce,
        "queue_move_top" => Change::Queue(Move::Top),
        "queue_move_up" => Change::Queue(Move::Up),
        "queue_move_down" => Change::Queue(Move::Down),
        "queue_move_bottom" => Change::Queue(Move::Bottom),
        _ => return None,
    })
}

/// Streams of one torrent, as `peer.max_links_per_swarm` may be.
const PEER_LIMIT_MAX: u32 = 100_000;

impl Rpc {
    /// How the torrents stand that are meant.
    pub(super) async fn show(
        &self,
        which: Selection,
        detail: bool,
    ) -> Result<Box<TorrentsSnapshot>, RpcError> {
        let order = Box::new(TorrentsShow { which, detail });
        match self.ask(Message::TorrentsShow(order)).await? {
            Answer::Torrents(snapshot) => Ok(snapshot),
            _ => Err(strange()),
        }
    }

    pub(super) async fn torrent_get(
        &self,
        dialect: Dialect,
        params: &Params,
    ) -> Result<Output, RpcError> {
        let which = params::ids(params)?;
        let asked = params::texts(params, "fields")?
            .ok_or_else(|| RpcError::params("fields: which ones are wanted"))?;
        // Unknown ones are passed over, repeated ones (in another spelling, say) are given once.
        let mut fields: Vec<&'static Field> = Vec::new();
        for field in asked.iter().filter_map(|name| fields::find(&ours(name))) {
            if !fields.iter().any(|have| have.name == field.name) {
                fields.push(field);
            }
        }
        let table = match params::text(params, "format")? {
            None | Some("objects") => false,
            Some("table") => true,
            Some(_) => return Err(RpcError::params("format: \"objects\" or \"table\"")),
        };
        let recent = which == Selection::Recent;
        let detail = fields.iter().any(|field| field.detail);
        let is_limit =
            |field: &&'static Field| ["peer_limit", "max_connected_peers"].contains(&field.name);
        let peer_limit = match fields.iter().any(is_limit) {
            true => self.tuned().await?.config.peer.max_links_per_swarm,
            false => 0,
        };
        let first = self.show(which, false).await?;
        let context = Context {
            dialect,
            time: first.time,
            unix: first.unix,
            peer_limit,
        };
        let mut writer = Writer::begin(context, fields, table, first.torrents.len())?;
        if detail {
            // Page by page: no turn of the actor is long, and of all details only one page is held.
            for page in first.torrents.chunks(DETAIL_MAX) {
                let page = self.show(named(page), true).await?;
                writer.write(&page.torrents)?;
            }
        } else {
            writer.write(&first.torrents)?;
        }
        Ok(Output::Json(writer.end(recent.then_some(&first.removed))?))
    }

    /// Every torrent that is meant, with its detail.
    async fn show_detail(&self, which: Selection) -> Result<Vec<TorrentSnapshot>, RpcError> {
        let glance = self.show(which, false).await?;
        let mut torrents = Vec::new();
        for page in glance.torrents.chunks(DETAIL_MAX) {
            torrents.extend(self.show(named(page), true).await?.torrents);
        }
        Ok(torrents)
    }

    pub(super) async fn torrents_change(
        &self,
        params: &Params,
        change: Change,
    ) -> Result<Output, RpcError> {
        let which = params::ids(params)?;
        self.change(which, vec![change]).await?;
        Ok(Output::Value(Family::Kebab, json!({})))
    }

    pub(super) async fn change(
        &self,
        which: Selection,
        changes: Vec<Change>,
    ) -> Result<(), RpcError> {
        let order = Box::new(TorrentsChange { which, changes });
        match self.ask(Message::TorrentsChange(order)).await? {
            Answer::Changed(_) => Ok(()),
            _ => Err(strange()),
        }
    }

    pub(super) async fn torrent_remove(&self, params: &Params) -> Result<Output, RpcError> {
        let delete = params::flag(params, "delete_local_data")?.unwrap_or(false);
        self.torrents_change(params, Change::Remove { delete })
            .await
    }

    pub(super) async fn torrent_set(&self, params: &Params) -> Result<Output, RpcError> {
        let which = params::ids(params)?;
        let settings = settings(params)?;
        // All of it is looked at before anything is done.
        let files = self.marked_files(&which, settings.files).await?;
        if !settings.changes.is_empty() {
            self.change(which, settings.changes).await?;
        }
        for (torrent, marks) in files {
            let which = Selection::Some(vec![torrent]);
            self.change(which, vec![Change::Files(marks)]).await?;
        }
        Ok(Output::Value(Family::Kebab, json!({})))
    }

    /// A person names a peer; ours, for `linnet pin`.
    pub(super) async fn peer_add(&self, params: &Params) -> Result<Output, RpcError> {
        let which = params::ids(params)?;
        let host = params::text(params, "host")?.unwrap_or_default();
        let port = params::number(params, "port")?.and_then(|port| u16::try_from(port).ok());
        let Some(port) = port.filter(|port| *port > 0 && !host.is_empty()) else {
            return Err(RpcError::params("host and port: which peer"));
        };
        for torrent in &self.show(which, false).await?.torrents {
            let message = Message::PeerAddNamed {
                session: torrent.session,
                host: host.into(),
                port,
            };
            self.ask(message).await?;
        }
        Ok(Output::Value(Family::Kebab, json!({})))
    }

    /// The same marks with the indices of the layout: clients count files without padding, so each torrent has its own.
    async fn marked_files(
        &self,
        which: &Selection,
        marks: Vec<(Vec<usize>, FileMark)>,
    ) -> Result<Vec<(TorrentKey, Vec<(Vec<usize>, FileMark)>)>, RpcError> {
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for torrent in &self.show_detail(which.clone()).await? {
            let real: Vec<usize> = fields::files(torrent).map(|(index, _)| index).collect();
            let mut own = Vec::new();
            for (indices, mark) in &marks {
                let files: Option<Vec<usize>> = if indices.is_empty() {
                    Some(real.clone())
                } else {
                    indices
                        .iter()
                        .map(|index| real.get(*index).copied())
                        .collect()
                };
                let files = files.ok_or_else(|| {
                    let text = format!("{}: no such file index", torrent.brief.name);
                    RpcError::new(RpcError::FILE_INDEX, text)
                })?;
                own.push((files, *mark));
            }
            all.push((TorrentKey::Hash(torrent.brief.info_hash), own));
        }
        Ok(all)
    }
}

/// What `torrent_set` is asked to change.
pub(super) struct Settings {
    /// For all torrents alike.
    pub(super) changes: Vec<Change>,
    /// Indices without padding, and what becomes of these files: each torrent has its own. None means all.
    pub(super) files: Vec<(Vec<usize>, FileMark)>,
}

/// By the names that clients have for them, in the order in which they are done.
pub(super) const FILE_MARKS: [(&str, FileMark); 5] = [
    ("files_unwanted", FileMark::Wanted(false)),
    ("files_wanted", FileMark::Wanted(true)),
    ("priority_low", FileMark::Priority(Priority::Low)),
    ("priority_normal", FileMark::Priority(Priority::Normal)),
    ("priority_high", FileMark::Priority(Priority::High)),
];

/// Understands the arguments of `torrent_set`.
///
/// # Errors
/// Anything that makes no sense, or that nothing here can do.
pub(super) fn settings(params: &Params) -> Result<Settings, RpcError> {
    let mut changes = Vec::new();
    changes.extend(params::texts(params, "labels")?.map(Change::Labels));
    let position = params::number(params, "queue_position")?;
    changes.extend(position.map(|position| Change::Queue(Move::To(position))));
    changes.extend(peer_limit(params)?.map(Change::PeerLimit));
    changes.extend(super::limits::of_torrent(params)?);
    changes.extend(goals(params)?);
    let trackers = super::trackers::changes(params)?;
    changes.extend(trackers.into_iter().map(Change::Trackers));
    let mut files = Vec::new();
    for (name, mark) in FILE_MARKS {
        files.extend(params::indices(params, name)?.map(|indices| (indices, mark)));
    }
    Ok(Settings { changes, files })
}

/// How many streams a torrent shall have, if that is said; 0 is as many as any.
pub(super) fn peer_limit(params: &Params) -> Result<Option<u32>, RpcError> {
    let own = params::number(params, "peer_limit")?;
    let limit = own.or(params::number(params, "max_connected_peers")?);
    if limit.is_some_and(|limit| limit > PEER_LIMIT_MAX) {
        let text = format!("peer_limit: 0 to {PEER_LIMIT_MAX}; 0 is as many as any torrent");
        return Err(RpcError::params(text));
    }
    Ok(limit)
}

/// The goals of a seed that `torrent_set` names, if any.
fn goals(params: &Params) -> Result<Option<Change>, RpcError> {
    let mode = |name: &str| -> Result<Option<Mode>, RpcError> {
        let Some(number) = params::number(params, name)? else {
            return Ok(None);
        };
        let mode = u8::try_from(number).ok().and_then(Mode::of_number);
        mode.map(Some)
            .ok_or_else(|| RpcError::params(format!("{name}: 0, 1 or 2")))
    };
    let ratio = match params.get("seed_ratio_limit").map(Value::as_f64) {
        None => None,
        Some(Some(ratio)) if (0.0..=10_000.0).contains(&ratio) => Some(ratio),
        Some(_) => return Err(RpcError::params("seed_ratio_limit: 0 to 10000")),
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    let ratio_mille = ratio.map(|ratio| (ratio * 1000.0).round() as u32);
    let (ratio_mode, idle_mode) = (mode("seed_ratio_mode")?, mode("seed_idle_mode")?);
    let idle_minutes = params::number(params, "seed_idle_limit")?;
    let any = ratio_mille.is_some()
        || ratio_mode.is_some()
        || idle_mode.is_some()
        || idle_minutes.is_some();
    Ok(any.then_some(Change::Goals {
        ratio_mode,
        ratio_mille,
        idle_mode,
        idle_minutes,
    }))
}

/// These torrents, by name.
fn named(torrents: &[TorrentSnapshot]) -> Selection {
    let key = |torrent: &TorrentSnapshot| TorrentKey::Number(torrent.entry.number);
    Selection::Some(torrents.iter().map(key).collect())
}

/// The answer's JSON, written as it is made: ten thousand torrents are never held as a tree.
struct Writer {
    context: Context,
    fields: Vec<&'static Field>,
    /// The fields as the dialect spells them.
    names: Vec<Cow<'static, str>>,
    table: bool,
    is_first: bool,
    out: Vec<u8>,
}

impl Writer {
    /// For `count` torrents, more or less.
    fn begin(
        context: Context,
        fields: Vec<&'static Field>,
        table: bool,
        count: usize,
    ) -> Result<Self, RpcError> {
        let name = |field: &&'static Field| match context.dialect {
            Dialect::Classic => classic(field.name, Family::Camel),
            Dialect::JsonRpc => field.name.into(),
        };
        let names: Vec<_> = fields.iter().map(name).collect();
        let mut out = Vec::with_capacity(64 + count * fields.len() * 24);
        out.extend(br#"{"torrents":["#);
        if table {
            serde_json::to_writer(&mut out, &names).map_err(unwritten)?;
        }
        Ok(Self {
            context,
            fields,
            names,
            table,
            is_first: !table,
            out,
        })
    }

    fn write(&mut self, torrents: &[TorrentSnapshot]) -> Result<(), RpcError> {
        (torrents.iter()).try_for_each(|torrent| self.write_one(torrent).map_err(unwritten))
    }

    fn write_one(&mut self, torrent: &TorrentSnapshot) -> Result<(), serde_json::Error> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        let context = &self.context;
        let mut json = serde_json::Serializer::new(&mut self.out);
        if self.table {
            let mut row = json.serialize_seq(Some(self.fields.len()))?;
            for field in &self.fields {
                row.serialize_element(&field.of(context, torrent))?;
            }
            SerializeSeq::end(row)
        } else {
            let mut object = json.serialize_map(Some(self.fields.len()))?;
            for (name, field) in self.names.iter().zip(&self.fields) {
                object.serialize_entry(&**name, &field.of(context, torrent))?;
            }
            SerializeMap::end(object)
        }
    }

    /// With the numbers of removed torrents, where they were asked for.
    fn end(mut self, removed: Option<&Vec<u32>>) -> Result<Vec<u8>, RpcError> {
        self.out.push(b']');
        if let Some(removed) = removed {
            self.out.extend(br#","removed":"#);
            serde_json::to_writer(&mut self.out, removed).map_err(unwritten)?;
        }
        self.out.push(b'}');
        Ok(self.out)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn unwritten(fault: serde_json::Error) -> RpcError {
    RpcError::new(RpcError::INTERNAL, fault.to_string())
}
