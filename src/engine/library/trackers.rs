//! A torrent's trackers as a person has changed them. Their numbers stay as long as they do.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::message::Refusal;
use crate::engine::session::trackers::{TRACKERS_MAX, URL_BYTES_MAX};
use crate::ids::SessionId;

/// One tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerUrl {
    /// Its number.
    pub id: u32,
    /// Its tier, from 0 and without gaps.
    pub tier: u32,
    /// Where it answers.
    pub url: String,
}

/// What becomes of a torrent's trackers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackersChange {
    /// These too, each in a tier of its own.
    Add(Vec<String>),
    /// Not these.
    Remove(Vec<u32>),
    /// These URLs for these trackers.
    Replace(Vec<(u32, String)>),
    /// These tiers and no others.
    List(Vec<Vec<String>>),
}

impl Engine {
    pub(super) fn change_trackers(&mut self, id: SessionId, change: &TrackersChange, pending: u64) {
        let Ok(list) = self.changed_trackers(id, change) else {
            return;
        };
        self.set_trackers(id, list.into());
        self.keep(id, None, Some(pending));
    }

    /// Asks these trackers from now on.
    fn set_trackers(&mut self, id: SessionId, list: Arc<[TrackerUrl]>) {
        let now = self.shared.now;
        if let Some(trackers) = self.sessions.trackers_mut(id) {
            trackers.replace(&tiers(&list), now, &mut self.shared.rng);
        }
        if let Some(entry) = self.entry_mut(id) {
            entry.trackers = Some(list);
        }
        self.announce(id);
    }

    /// The trackers of a torrent after a change.
    pub(super) fn changed_trackers(
        &self,
        id: SessionId,
        change: &TrackersChange,
    ) -> Result<Vec<TrackerUrl>, Refusal> {
        let session = self.sessions.get(id).map(|session| &session.brief);
        let brief = session.or_else(|| self.sessions.parked(id).map(|parked| &parked.brief));
        let tiers = brief.map_or(&[][..], |brief| &brief.trackers);
        let list = self.entry(id).and_then(|entry| entry.trackers.as_deref());
        apply(list.map_or_else(|| numbered(tiers), <[_]>::to_vec), change)
    }
}

/// The trackers of a torrent file, numbered from 0.
#[must_use]
pub fn numbered(tiers: &[Vec<String>]) -> Vec<TrackerUrl> {
    let all = (0..).zip(tiers);
    let all = all.flat_map(|(tier, urls)| urls.iter().map(move |url| (tier, url)));
    (0..)
        .zip(all)
        .map(|(id, (tier, url))| TrackerUrl {
            id,
            tier,
            url: url.clone(),
        })
        .collect()
}

/// URLs by tier.
#[must_use]
pub fn tiers(list: &[TrackerUrl]) -> Vec<Vec<String>> {
    let mut tiers: Vec<Vec<String>> = Vec::new();
    let mut last = None;
    for one in list {
        if last != Some(one.tier) {
            tiers.push(Vec::new());
            last = Some(one.tier);
        }
        if let Some(tier) = tiers.last_mut() {
            tier.push(one.url.clone());
        }
    }
    tiers
}

fn apply(mut list: Vec<TrackerUrl>, change: &TrackersChange) -> Result<Vec<TrackerUrl>, Refusal> {
    let mut next = list.iter().map(|one| one.id + 1).max().unwrap_or(0);
    let known = |list: &[TrackerUrl], url: &str| list.iter().any(|one| one.url == url);
    match change {
        TrackersChange::Add(urls) => {
            for url in urls {
                let url = url.trim();
                if !is_tracker(url) {
                    return Err(Refusal::BadTracker);
                }
                // Adding what is there is what a client does that asks twice.
                if !known(&list, url) {
                    let tier = list.last().map_or(0, |last| last.tier + 1);
                    let (id, url) = (next, url.to_owned());
                    list.push(TrackerUrl { id, tier, url });
                    next += 1;
                }
            }
        }
        TrackersChange::Remove(ids) => {
            if !ids.iter().all(|id| list.iter().any(|one| one.id == *id)) {
                return Err(Refusal::UnknownTracker);
            }
            list.retain(|one| !ids.contains(&one.id));
        }
        TrackersChange::Replace(pairs) => {
            for (id, url) in pairs {
                let url = url.trim();
                if !is_tracker(url) || known(&list, url) {
                    return Err(Refusal::BadTracker);
                }
                let one = list.iter_mut().find(|one| one.id == *id);
                let one = one.ok_or(Refusal::UnknownTracker)?;
                url.clone_into(&mut one.url);
            }
        }
        TrackersChange::List(tiers) => {
            let mut new: Vec<TrackerUrl> = Vec::new();
            for (tier, urls) in (0..).zip(tiers) {
                for url in urls {
                    if !is_tracker(url) {
                        return Err(Refusal::BadTracker);
                    }
                    if known(&new, url) {
                        continue;
                    }
                    let before = list.iter().find(|one| one.url == *url);
                    let id = before.map_or(next, |one| one.id);
                    next += u32::from(before.is_none());
                    let url = url.clone();
                    new.push(TrackerUrl { id, tier, url });
                }
            }
            list = new;
        }
    }
    if list.len() > TRACKERS_MAX {
        return Err(Refusal::Full);
    }
    // Without gaps, so that a tier has the same number here and where it is asked.
    let (mut tier, mut last) = (0, list.first().map_or(0, |one| one.tier));
    for one in &mut list {
        tier += u32::from(one.tier != last);
        last = one.tier;
        one.tier = tier;
    }
    Ok(list)
}

/// Whether a tracker can be spoken to at such a URL.
#[must_use]
pub fn is_tracker(text: &str) -> bool {
    let url = url::Url::parse(text).ok();
    text.len() <= URL_BYTES_MAX
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && url.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https" | "udp")
                && url.has_host()
                && (url.scheme() != "udp" || url.port().is_some())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[(u32, u32, &str)]) -> Vec<TrackerUrl> {
        let item = |&(id, tier, name): &(u32, u32, &str)| TrackerUrl {
            id,
            tier,
            url: format!("http://{name}/"),
        };
        items.iter().map(item).collect()
    }

    #[test]
    fn trackers_keep_their_numbers_and_tiers_have_no_gaps() {
        let urls = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("http://{name}/")).collect()
        };
        let before = list(&[(0, 0, "a"), (1, 0, "b"), (2, 1, "c"), (3, 2, "d")]);
        #[rustfmt::skip]
        let table = [
            (TrackersChange::Add(urls(&["e", "a"])), Ok(list(&[(0, 0, "a"), (1, 0, "b"), (2, 1, "c"), (3, 2, "d"), (4, 3, "e")]))),
            (TrackersChange::Add(vec!["nonsense".into()]), Err(Refusal::BadTracker)),
            (TrackersChange::Add(vec!["udp://a/".into()]), Err(Refusal::BadTracker)),
            (TrackersChange::Remove(vec![2]), Ok(list(&[(0, 0, "a"), (1, 0, "b"), (3, 1, "d")]))),
            (TrackersChange::Remove(vec![0, 1, 2, 3]), Ok(list(&[]))),
            (TrackersChange::Remove(vec![9]), Err(Refusal::UnknownTracker)),
            (TrackersChange::Replace(vec![(2, "http://z/".into())]), Ok(list(&[(0, 0, "a"), (1, 0, "b"), (2, 1, "z"), (3, 2, "d")]))),
            (TrackersChange::Replace(vec![(2, "http://a/".into())]), Err(Refusal::BadTracker)),
            (TrackersChange::Replace(vec![(7, "http://z/".into())]), Err(Refusal::UnknownTracker)),
            (TrackersChange::List(vec![urls(&["d"]), urls(&["z", "a", "z"])]), Ok(list(&[(3, 0, "d"), (4, 1, "z"), (0, 1, "a")]))),
        ];
        for (change, want) in table {
            assert_eq!(apply(before.clone(), &change), want, "{change:?}");
        }
    }
}
