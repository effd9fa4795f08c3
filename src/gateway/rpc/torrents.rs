//! Torrents: shown, changed, removed.

use serde::Serializer as _;
use serde::ser::{SerializeMap, SerializeSeq};
use serde_json::{Value, json};

use super::envelope::{Dialect, Output, RpcError};
use super::fields::{self, Context, Field};
use super::names::{Family, classic, ours};
use super::params::{self, Params};
use super::{Rpc, limits, strange};
use crate::engine::library::{
    Change, Mode, Move, Selection, TorrentsChange, TorrentsShow, TorrentsSnapshot,
};
use crate::engine::message::{Answer, Message};

/// The change that a method without arguments of its own makes.
pub(super) fn action(method: &str) -> Option<Change> {
    Some(match method {
        // Without a queue that holds torrents back, both start at once.
        "torrent_start" | "torrent_start_now" => Change::Start,
        "torrent_stop" => Change::Stop,
        "torrent_verify" => Change::Recheck,
        "torrent_reannounce" => Change::Reannounce,
        "queue_move_top" => Change::Queue(Move::Top),
        "queue_move_up" => Change::Queue(Move::Up),
        "queue_move_down" => Change::Queue(Move::Down),
        "queue_move_bottom" => Change::Queue(Move::Bottom),
        _ => return None,
    })
}

/// Arguments of `torrent_set` that change the trackers, which nothing here can do: no client should believe that it did.
const TRACKERS: &[&str] = &[
    "tracker_add",
    "tracker_remove",
    "tracker_replace",
    "tracker_list",
];

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
        let snapshot = self.show(which, detail).await?;
        let context = Context {
            dialect,
            time: snapshot.time,
            unix: snapshot.unix,
            peer_limit: self.options.swarm_links_max,
        };
        write(&context, &fields, table, recent, &snapshot)
            .map(Output::Json)
            .map_err(|fault| RpcError::new(RpcError::INTERNAL, fault.to_string()))
    }

    pub(super) async fn torrents_change(
        &self,
        params: &Params,
        change: Change,
    ) -> Result<Output, RpcError> {
        let which = params::ids(params)?;
        self.change(which, change).await?;
        Ok(Output::Value(Family::Kebab, json!({})))
    }

    pub(super) async fn change(&self, which: Selection, change: Change) -> Result<(), RpcError> {
        let order = Box::new(TorrentsChange { which, change });
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
        if let Some(name) = TRACKERS.iter().find(|name| params.contains_key(**name)) {
            let text = format!("{name}: this version cannot change a torrent's trackers");
            return Err(RpcError::params(text));
        }
        let labels = params::texts(params, "labels")?;
        let position = params::number(params, "queue_position")?;
        let goals = goals(params)?;
        let limits = limits::of_torrent(params)?;
        let chosen = [("files_unwanted", false), ("files_wanted", true)];
        let mut files = Vec::new();
        for (name, wanted) in chosen {
            if let Some(indices) = params::indices(params, name)? {
                files.push((indices, wanted));
            }
        }
        // Everything was understood; now it is done.
        if let Some(labels) = labels {
            let change = Change::Labels(labels);
            self.change(which.clone(), change).await?;
        }
        if let Some(position) = position {
            let change = Change::Queue(Move::To(position));
            self.change(which.clone(), change).await?;
        }
        if let Some(limits) = limits {
            self.change(which.clone(), limits).await?;
        }
        if let Some(goals) = goals {
            self.change(which.clone(), goals).await?;
        }
        for (indices, wanted) in files {
            self.want(&which, &indices, wanted).await?;
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

    /// Clients count files without padding, so each torrent has indices of its own.
    async fn want(
        &self,
        which: &Selection,
        indices: &[usize],
        wanted: bool,
    ) -> Result<(), RpcError> {
        let snapshot = self.show(which.clone(), false).await?;
        for torrent in &snapshot.torrents {
            let real: Vec<usize> = fields::files(torrent).map(|(index, _)| index).collect();
            let files: Option<Vec<usize>> = if indices.is_empty() {
                Some(real)
            } else {
                indices
                    .iter()
                    .map(|index| real.get(*index).copied())
                    .collect()
            };
            let files = files.ok_or_else(|| {
                let text = format!("{}: no such file index", torrent.metainfo.name);
                RpcError::new(RpcError::FILE_INDEX, text)
            })?;
            let hash = crate::engine::library::TorrentKey::Hash(torrent.metainfo.info_hash);
            let change = Change::Wanted { files, wanted };
            self.change(Selection::Some(vec![hash]), change).await?;
        }
        Ok(())
    }
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

/// The answer's JSON, written as it is made: ten thousand torrents are never held as a tree.
fn write(
    context: &Context,
    fields: &[&Field],
    table: bool,
    recent: bool,
    snapshot: &TorrentsSnapshot,
) -> Result<Vec<u8>, serde_json::Error> {
    let name = |field: &Field| match context.dialect {
        Dialect::Classic => classic(field.name, Family::Camel),
        Dialect::JsonRpc => field.name.into(),
    };
    let names: Vec<_> = fields.iter().map(|field| name(field)).collect();
    let mut out = Vec::with_capacity(64 + snapshot.torrents.len() * fields.len() * 24);
    out.extend(br#"{"torrents":["#);
    if table {
        serde_json::to_writer(&mut out, &names)?;
    }
    for (at, torrent) in snapshot.torrents.iter().enumerate() {
        if table || at > 0 {
            out.push(b',');
        }
        let mut json = serde_json::Serializer::new(&mut out);
        if table {
            let mut row = json.serialize_seq(Some(fields.len()))?;
            for field in fields {
                row.serialize_element(&field.of(context, torrent))?;
            }
            SerializeSeq::end(row)?;
        } else {
            let mut object = json.serialize_map(Some(fields.len()))?;
            for (name, field) in names.iter().zip(fields) {
                object.serialize_entry(&**name, &field.of(context, torrent))?;
            }
            SerializeMap::end(object)?;
        }
    }
    out.push(b']');
    if recent {
        out.extend(br#","removed":"#);
        let removed: Value = snapshot.removed.iter().copied().collect();
        serde_json::to_writer(&mut out, &removed)?;
    }
    out.push(b'}');
    Ok(out)
}
