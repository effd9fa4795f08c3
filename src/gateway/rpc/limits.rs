//! Rate limits as the RPC says them: of the session, of a torrent, of a group. A kB is 1000 bytes.
//!
//! Pure both ways; `limits_of` and what calls it are the only ones that ask.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::envelope::{Output, RpcError};
use super::names::Family;
use super::params::{self, Params};
use super::{Rpc, strange};
use crate::config::schedule::{DAY_MINUTES, Window};
use crate::engine::library::Change;
use crate::engine::limits::{Cap, Group, Limits, TorrentLimitsChange, Weight};
use crate::engine::message::{Answer, Message};

/// Bytes of a kB.
const KB: u64 = 1000;

/// The hours that are shown and begun with where there are none: those that Transmission begins with.
const HOURS: Window = Window {
    days: 0x7f,
    begin: 540,
    end: 1020,
};

/// The settings of the session that are about speed, as they are shown.
#[must_use]
pub(super) fn shown(limits: &Limits) -> Map<String, Value> {
    let hours = limits.schedule.first().copied().unwrap_or(HOURS);
    #[rustfmt::skip]
    let shown = [
        ("alt_speed_down",           json!(kb(limits.alt_download))),
        ("alt_speed_enabled",        json!(limits.alt_on)),
        ("alt_speed_time_begin",     json!(hours.begin)),
        ("alt_speed_time_day",       json!(hours.days)),
        ("alt_speed_time_enabled",   json!(limits.schedule_on)),
        ("alt_speed_time_end",       json!(hours.end)),
        ("alt_speed_up",             json!(kb(limits.alt_upload))),
        ("speed_limit_down",         json!(kb_or_first(limits.download))),
        ("speed_limit_down_enabled", json!(limits.download.on)),
        ("speed_limit_up",           json!(kb_or_first(limits.upload))),
        ("speed_limit_up_enabled",   json!(limits.upload.on)),
    ];
    let named = |(name, value): (&str, Value)| (name.to_owned(), value);
    shown.into_iter().map(named).collect()
}

/// `limits` with what `params` say of them.
///
/// What is said to be as it is shown changes nothing: clients send back all they were told, and a rate below a kB, several
/// hours of the week or no alternative limit cannot be told.
///
/// # Errors
/// A value is none.
pub(super) fn changed(limits: &Limits, params: &Params) -> Result<Limits, RpcError> {
    let mut new = limits.clone();
    let before = shown(limits);
    let differs =
        |name: &str, value: u32| before.get(name).and_then(Value::as_u64) != Some(value.into());
    let caps = [
        ("speed_limit_down", &mut new.download, false),
        ("speed_limit_up", &mut new.upload, false),
        ("alt_speed_down", &mut new.alt_download, true),
        ("alt_speed_up", &mut new.alt_upload, true),
    ];
    for (name, cap, is_alt) in caps {
        if !is_alt && let Some(on) = params::flag(params, &format!("{name}_enabled"))? {
            *cap = cap.switched(on);
        }
        if let Some(value) = params::number(params, name)?.filter(|value| differs(name, *value)) {
            cap.rate = bytes(value);
            // The alternative ones have no switch of their own: a number holds, and 0 is no limit, as in the configuration.
            if is_alt {
                cap.on = value > 0;
            }
        }
    }
    new.alt_on = params::flag(params, "alt_speed_enabled")?.unwrap_or(new.alt_on);
    new.schedule_on = params::flag(params, "alt_speed_time_enabled")?.unwrap_or(new.schedule_on);
    let mut hours = limits.schedule.first().copied().unwrap_or(HOURS);
    let time = |name: &str| match params::number(params, name)? {
        Some(minute) if minute >= u32::from(DAY_MINUTES) => Err(RpcError::params(format!(
            "{name}: minutes from midnight, 0 to 1439"
        ))),
        minute => Ok(minute.and_then(|minute| u16::try_from(minute).ok())),
    };
    hours.begin = time("alt_speed_time_begin")?.unwrap_or(hours.begin);
    hours.end = time("alt_speed_time_end")?.unwrap_or(hours.end);
    if let Some(days) = params::number(params, "alt_speed_time_day")? {
        let days = u8::try_from(days).ok().filter(|days| *days <= 0x7f);
        hours.days =
            days.ok_or_else(|| RpcError::params("alt_speed_time_day: a bit a day, 0 to 127"))?;
    }
    let same = limits.schedule.first().copied().unwrap_or(HOURS) == hours;
    if !same || (new.schedule_on && new.schedule.is_empty()) {
        new.schedule = Arc::new([hours]);
    }
    Ok(new)
}

/// What `torrent_set` says of a torrent's limits, if anything.
///
/// # Errors
/// A value is none.
pub(super) fn of_torrent(params: &Params) -> Result<Option<Change>, RpcError> {
    let rate = |name| Ok(params::number(params, name)?.map(bytes));
    let weight = match params.get("bandwidth_priority") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let weight = value.as_i64().and_then(Weight::of_number);
            let weight =
                weight.ok_or_else(|| RpcError::params("bandwidth_priority: -1, 0 or 1"))?;
            Some(weight)
        }
    };
    let group = params::text(params, "group")?;
    if group.is_some_and(|group| !group.is_empty() && !Group::is_name(group)) {
        return Err(RpcError::params("group: a name of at most 256 bytes"));
    }
    let change = TorrentLimitsChange {
        download: rate("download_limit")?,
        download_on: params::flag(params, "download_limited")?,
        upload: rate("upload_limit")?,
        upload_on: params::flag(params, "upload_limited")?,
        honour: params::flag(params, "honors_session_limits")?,
        weight,
        group: group.map(Arc::from),
    };
    let any = change != TorrentLimitsChange::default();
    Ok(any.then(|| Change::Limits(Box::new(change))))
}

/// The same of one that has a switch: what it would be when it is switched on.
const fn kb_or_first(cap: Cap) -> u64 {
    kb(cap.switched(true))
}

/// Whole kB of a limit, for a client.
#[must_use]
pub(super) const fn kb(cap: Cap) -> u64 {
    cap.rate / KB
}

fn bytes(kb: u32) -> u64 {
    u64::from(kb) * KB
}

fn group_shown(group: &Group) -> Value {
    json!({
        "name": &*group.name,
        "honors_session_limits": group.honour,
        "speed_limit_down": kb(group.download),
        "speed_limit_down_enabled": group.download.on,
        "speed_limit_up": kb(group.upload),
        "speed_limit_up_enabled": group.upload.on,
    })
}

fn group_changed(group: &mut Group, params: &Params) -> Result<(), RpcError> {
    let caps = [
        ("speed_limit_down", &mut group.download),
        ("speed_limit_up", &mut group.upload),
    ];
    for (name, cap) in caps {
        *cap = cap.switched(params::flag(params, &format!("{name}_enabled"))?.unwrap_or(cap.on));
        cap.rate = params::number(params, name)?.map_or(cap.rate, bytes);
    }
    group.honour = params::flag(params, "honors_session_limits")?.unwrap_or(group.honour);
    Ok(())
}

impl Rpc {
    /// The limits that hold, and all groups.
    pub(super) async fn limits(&self) -> Result<(Limits, Vec<Group>), RpcError> {
        match self.ask(Message::SpeedShow).await? {
            Answer::Speed(speed) => Ok(*speed),
            _ => Err(strange()),
        }
    }

    /// Groups by name; absent all.
    pub(super) async fn group_get(&self, params: &Params) -> Result<Output, RpcError> {
        let names = match params.get("group") {
            Some(Value::String(one)) => Some(vec![one.clone()]),
            _ => params::texts(params, "group")?,
        };
        let (_, groups) = self.limits().await?;
        let asked = |group: &&Group| {
            let name = |name: &String| **name == *group.name;
            names.as_ref().is_none_or(|names| names.iter().any(name))
        };
        let groups: Vec<Value> = groups.iter().filter(asked).map(group_shown).collect();
        Ok(Output::Value(Family::Kebab, json!({ "group": groups })))
    }

    /// Makes or changes a group.
    pub(super) async fn group_set(&self, params: &Params) -> Result<Output, RpcError> {
        let name = params::text(params, "name")?.unwrap_or_default();
        if !Group::is_name(name) {
            return Err(RpcError::params("name: which group, at most 256 bytes"));
        }
        let (_, groups) = self.limits().await?;
        let known = groups.into_iter().find(|group| *group.name == *name);
        let mut group = known.unwrap_or_else(|| Group::new(name.into()));
        group_changed(&mut group, params)?;
        self.ask(Message::GroupSet(Box::new(group))).await?;
        Ok(Output::Value(Family::Kebab, json!({})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: &Value) -> Params {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_was_shown_and_comes_back_changes_nothing() {
        let windows = ["mon-fri 09:00-17:00", "sat 01:00-02:00"];
        let several = windows.map(|text| Window::parse(text).unwrap());
        let table = [
            Limits::default(),
            Limits {
                download: Cap::of(1_234_567),
                alt_upload: Cap::of(999),
                alt_on: true,
                schedule_on: true,
                schedule: Arc::new(several),
                ..Limits::default()
            },
        ];
        for limits in table {
            assert_eq!(changed(&limits, &shown(&limits)).unwrap(), limits);
        }
    }

    #[test]
    fn limits_are_changed_by_any_part() {
        let change = |value: Value| changed(&Limits::default(), &params(&value));
        let new =
            change(json!({"speed_limit_down": 100, "speed_limit_down_enabled": true})).unwrap();
        assert_eq!(new.now(), [Some(100_000), None]);
        let new = change(json!({"speed_limit_up_enabled": true})).unwrap();
        assert_eq!(new.now(), [None, Some(100_000)], "without a number");
        let new = change(json!({"speed_limit_up": 5})).unwrap();
        assert_eq!(
            (new.upload.rate, new.now()),
            (5000, [None, None]),
            "kept while off"
        );
        let new = change(json!({"alt_speed_up": 50, "alt_speed_enabled": 1})).unwrap();
        assert_eq!(new.now(), [None, Some(50_000)]);
        let new = change(json!({"alt_speed_time_enabled": true})).unwrap();
        assert_eq!(
            (new.scheduled(3, 539), new.scheduled(3, 540)),
            (Some(false), Some(true))
        );
        let new = change(json!({"alt_speed_time_day": 65, "alt_speed_time_begin": 60})).unwrap();
        assert_eq!(new.scheduled(0, 60), None, "not followed");
        assert_eq!(new.schedule[0].to_string(), "sun,sat 01:00-17:00");
        for wrong in [
            json!({"speed_limit_down": -1}),
            json!({"alt_speed_time_begin": 1440}),
            json!({"alt_speed_time_day": 128}),
            json!({"speed_limit_up_enabled": "yes"}),
        ] {
            assert!(change(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_torrents_limits_are_read() {
        let of = |value: Value| of_torrent(&params(&value));
        assert!(of(json!({"labels": []})).unwrap().is_none());
        let all = json!({
            "download_limit": 7, "download_limited": true, "upload_limit": 0, "upload_limited": false,
            "honors_session_limits": false, "bandwidth_priority": -1, "group": "slow",
        });
        let Some(Change::Limits(change)) = of(all).unwrap() else {
            unreachable!("limits are named");
        };
        assert_eq!(
            (change.download, change.download_on),
            (Some(7000), Some(true))
        );
        assert_eq!((change.upload, change.upload_on), (Some(0), Some(false)));
        assert_eq!(
            (change.honour, change.weight),
            (Some(false), Some(Weight::Low))
        );
        assert_eq!(change.group.as_deref(), Some("slow"));
        for wrong in [json!({"bandwidth_priority": 2}), json!({"group": "a\u{1}"})] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
