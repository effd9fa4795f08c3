//! What `torrent-set` says of trackers: `trackerAdd`, `trackerRemove`, `trackerReplace`, and since Transmission 4 `trackerList`.

use serde_json::Value;

use super::envelope::RpcError;
use super::params::{self, Params};
use crate::engine::library::trackers::{TrackersChange, is_tracker};

/// The changes that are asked for, in the order in which Transmission makes them: a list first, which stands for the others.
///
/// # Errors
/// Something else than was expected, or a URL that no tracker can have.
pub(super) fn changes(params: &Params) -> Result<Vec<TrackersChange>, RpcError> {
    if let Some(text) = params::text(params, "tracker_list")? {
        let tiers = tiers(text);
        check(tiers.iter().flatten())?;
        return Ok(vec![TrackersChange::List(tiers)]);
    }
    let mut changes = Vec::new();
    if let Some(urls) = params::texts(params, "tracker_add")? {
        check(&urls)?;
        changes.push(TrackersChange::Add(urls));
    }
    if let Some(ids) = params::indices(params, "tracker_remove")? {
        let ids = ids
            .into_iter()
            .map(|id| u32::try_from(id).unwrap_or(u32::MAX));
        changes.push(TrackersChange::Remove(ids.collect()));
    }
    if let Some(Value::Array(list)) = params.get("tracker_replace") {
        let wrong = || RpcError::params("tracker_replace: a list of numbers and URLs by turns");
        let pairs = list.chunks(2).map(|pair| {
            let [id, url] = pair else { return None };
            let id = u32::try_from(id.as_u64()?).ok()?;
            Some((id, url.as_str()?.to_owned()))
        });
        let pairs: Vec<(u32, String)> = pairs.collect::<Option<_>>().ok_or_else(wrong)?;
        check(pairs.iter().map(|(_, url)| url))?;
        changes.push(TrackersChange::Replace(pairs));
    }
    Ok(changes)
}

fn check<'a>(urls: impl IntoIterator<Item = &'a String>) -> Result<(), RpcError> {
    match urls.into_iter().find(|url| !is_tracker(url.trim())) {
        None => Ok(()),
        Some(url) => {
            let text = format!(
                "invalid announce URL: {}: http, https or udp with host and port",
                crate::codec::announce::mask(url)
            );
            Err(RpcError::params(text))
        }
    }
}

/// One URL a line, an empty line between tiers.
fn tiers(text: &str) -> Vec<Vec<String>> {
    let mut tiers = vec![Vec::new()];
    for line in text.lines().map(str::trim) {
        match tiers.last_mut() {
            Some(tier) if !line.is_empty() => tier.push(line.to_owned()),
            Some(tier) if !tier.is_empty() => tiers.push(Vec::new()),
            _ => {}
        }
    }
    tiers.retain(|tier| !tier.is_empty());
    tiers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_read_as_clients_write_them() {
        let list = |tiers: &[&[&str]]| {
            let tier = |urls: &&[&str]| urls.iter().map(|url| (*url).to_owned()).collect();
            TrackersChange::List(tiers.iter().map(tier).collect())
        };
        let (a, b) = ("http://a/x", "udp://b:1");
        #[rustfmt::skip]
        let table = [
            (json!({}),                                                    Some(vec![])),
            (json!({"tracker_add": [a]}),                                  Some(vec![TrackersChange::Add(vec![a.into()])])),
            (json!({"tracker_add": ["nonsense"]}),                         None),
            (json!({"tracker_add": ["ftp://a/"]}),                         None),
            (json!({"tracker_remove": [1, 2]}),                            Some(vec![TrackersChange::Remove(vec![1, 2])])),
            (json!({"tracker_replace": [1, b]}),                           Some(vec![TrackersChange::Replace(vec![(1, b.into())])])),
            (json!({"tracker_replace": [1]}),                              None),
            (json!({"tracker_list": format!("{a}\n{b}\n\n\nhttp://c/\n")}), Some(vec![list(&[&[a, b], &["http://c/"]])])),
            (json!({"tracker_list": ""}),                                  Some(vec![list(&[])])),
        ];
        for (params, want) in table {
            let got = changes(params.as_object().unwrap());
            assert_eq!(got.ok(), want, "{params}");
        }
    }
}
