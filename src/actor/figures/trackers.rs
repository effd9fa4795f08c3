//! Trackers by host: how many announces were answered or failed, and how long the last one took.
//!
//! Told by the events that subscribers see, so that announces over HTTP and over UDP count alike; the time of a fetch is only
//! known of HTTP.

use std::collections::BTreeMap;

use crate::engine::message::{Fetch, FetchTask};
use crate::events::Event;
use crate::ids::JobId;
use crate::metrics::{TrackerFigures, TrackerMetrics};
use crate::time::Instant;

/// Hosts with a row of their own; all others share the row `other`.
const HOSTS_MAX: usize = 64;

/// Fetches whose beginning is remembered; those beyond are not timed.
const FETCHES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Trackers {
    hosts: BTreeMap<String, TrackerFigures>,
    other: TrackerFigures,
    fetches: BTreeMap<JobId, (String, Instant)>,
    /// The fetch that ended last, and how long it took: if an announce ends with it, the event follows.
    ended: Option<(String, u64)>,
}

impl Trackers {
    pub(super) fn on_fetch(&mut self, fetch: &Fetch, now: Instant) {
        if let FetchTask::Http { url, .. } = &fetch.task
            && self.fetches.len() < FETCHES_MAX
        {
            let host = host_of(url).to_owned();
            self.fetches.insert(fetch.id, (host, now));
        }
    }

    pub(super) fn on_fetched(&mut self, id: JobId, now: Instant) {
        self.ended = self.fetches.remove(&id).map(|(host, began)| {
            let took = now.since(began).as_millis();
            (host, u64::try_from(took).unwrap_or(u64::MAX))
        });
    }

    pub(super) fn on_event(&mut self, event: &Event, time: impl FnOnce() -> u64) {
        let (tracker, failed) = match event {
            Event::TrackerSuccess(tracker) => (tracker, false),
            Event::TrackerFailed(tracker) => (tracker, true),
            _ => return,
        };
        let host = host_of(&tracker.url);
        if !self.hosts.contains_key(host) && self.hosts.len() < HOSTS_MAX {
            self.hosts
                .insert(host.to_owned(), TrackerFigures::default());
        }
        let figures = self.hosts.get_mut(host).unwrap_or(&mut self.other);
        figures.announces += 1;
        figures.failures += u64::from(failed);
        figures.last_time = time();
        if let Some((_, took)) = self.ended.take_if(|(ended, _)| ended == host) {
            figures.last_ms = took;
        }
    }

    pub(super) fn metrics(&self) -> Vec<TrackerMetrics> {
        let row = |(host, figures): (&str, &TrackerFigures)| TrackerMetrics {
            host: host.to_owned(),
            figures: *figures,
        };
        let known = self
            .hosts
            .iter()
            .map(|(host, figures)| (host.as_str(), figures));
        let other = (self.other.announces > 0).then_some(("other", &self.other));
        known.chain(other).map(row).collect()
    }
}

/// Host and port of a URL, without a password; all of it when there is none.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;
    use crate::ids::InfoHash;
    use crate::time::Duration;

    fn tracker(url: &str) -> events::Tracker {
        events::Tracker {
            info_hash: InfoHash([0; 20]),
            url: url.to_owned(),
            tier: 0,
            peer_count: 0,
            seeders: None,
            leechers: None,
            next_announce: 0,
            error: String::new(),
        }
    }

    #[test]
    fn hosts_are_cut_out_of_urls() {
        #[rustfmt::skip]
        let table = [
            ("http://t.example/announce",      "t.example"),
            ("udp://t.example:6969",           "t.example:6969"),
            ("https://me:secret@[::1]:8/x?y",  "[::1]:8"),
            ("http://t.example?passkey=1",     "t.example"),
            ("nonsense",                       "nonsense"),
        ];
        for (url, want) in table {
            assert_eq!(host_of(url), want, "{url}");
        }
    }

    #[test]
    fn announces_count_by_host_and_a_fetch_gives_its_time() {
        let mut trackers = Trackers::default();
        let fetch = |id, url: &str| Fetch {
            id: JobId(id),
            task: FetchTask::Http {
                url: url.to_owned(),
                bytes_max: 1,
                timeout: Duration::ZERO,
            },
        };
        trackers.on_fetch(&fetch(1, "http://a/x"), Instant::ZERO);
        trackers.on_fetched(JobId(1), Instant::from_micros(70_000));
        trackers.on_event(&Event::TrackerSuccess(tracker("http://a/y")), || 5);
        trackers.on_event(&Event::TrackerFailed(tracker("udp://b:1")), || 6);
        trackers.on_event(&Event::TrackerFailed(tracker("http://a/x")), || 7);
        let rows = trackers.metrics();
        assert_eq!(rows.len(), 2);
        let want = TrackerFigures {
            announces: 2,
            failures: 1,
            last_ms: 70,
            last_time: 7,
        };
        assert_eq!((rows[0].host.as_str(), rows[0].figures), ("a", want));
        assert_eq!(rows[1].host, "b:1");
        assert_eq!(rows[1].figures.last_ms, 0);
        assert!(trackers.fetches.is_empty());
    }

    #[test]
    fn hosts_beyond_the_bound_share_a_row() {
        let mut trackers = Trackers::default();
        for host in 0..HOSTS_MAX + 10 {
            let url = format!("udp://t{host}:1/announce");
            trackers.on_event(&Event::TrackerSuccess(tracker(&url)), || 0);
        }
        let rows = trackers.metrics();
        assert_eq!(rows.len(), HOSTS_MAX + 1);
        let other = rows.last().unwrap();
        assert_eq!(
            (other.host.as_str(), other.figures.announces),
            ("other", 10)
        );
    }
}
