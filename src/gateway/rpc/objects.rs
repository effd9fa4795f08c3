//! The fields of a torrent that are objects themselves, or made with more than a glance. Keys in our spelling.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use super::fields::{self, Context};
use crate::codec::announce::mask;
use crate::engine::library::trackers::{TrackerUrl, numbered, tiers};
use crate::engine::library::{TorrentDetail, TorrentSnapshot};
use crate::engine::message::{PeerSnapshot, Transport};
use crate::engine::session::trackers::{TrackerState, TrackerStatus};

/// The MIME type of what has no other.
const ANY_BYTES: &str = "application/octet-stream";

/// Whether the file at `index` of the layout is fetched.
#[must_use]
pub(super) fn priority(torrent: &TorrentSnapshot, index: usize) -> i8 {
    let priority = torrent.entry.priorities.get(index).copied();
    priority.unwrap_or_default().number()
}

pub(super) fn is_wanted(torrent: &TorrentSnapshot, index: usize) -> bool {
    torrent.entry.wanted.get(index).copied().unwrap_or(true)
}

fn have(torrent: &TorrentSnapshot, index: usize) -> u64 {
    let detail = torrent.detail.as_deref();
    detail
        .and_then(|detail| detail.files.get(index).copied())
        .unwrap_or(0)
}

pub(super) fn files(torrent: &TorrentSnapshot) -> Value {
    let piece_length = u64::from(torrent.brief.piece_length);
    fields::files(torrent)
        .map(|(index, file)| {
            json!({
                "name": file.path.to_string_lossy(),
                "length": file.length,
                "bytes_completed": have(torrent, index),
                "begin_piece": file.offset / piece_length,
                "end_piece": (file.offset + file.length).div_ceil(piece_length),
            })
        })
        .collect()
}

pub(super) fn file_stats(torrent: &TorrentSnapshot) -> Value {
    fields::files(torrent)
        .map(|(index, _)| {
            json!({
                "bytes_completed": have(torrent, index),
                "wanted": is_wanted(torrent, index),
                "priority": priority(torrent, index),
            })
        })
        .collect()
}

pub(super) fn bytes_completed(torrent: &TorrentSnapshot) -> Value {
    fields::files(torrent)
        .map(|(index, _)| have(torrent, index))
        .collect()
}

/// What most of its bytes are, going by the names of its files.
pub(super) fn mime_type(torrent: &TorrentSnapshot) -> &'static str {
    let mut lengths: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (_, file) in fields::files(torrent) {
        let kind = mime_guess::from_path(&file.path).first_raw();
        *lengths.entry(kind.unwrap_or(ANY_BYTES)).or_default() += file.length;
    }
    let most = lengths.into_iter().max_by_key(|(_, length)| *length);
    most.map_or(ANY_BYTES, |(kind, _)| kind)
}

pub(super) fn availability(torrent: &TorrentSnapshot) -> Value {
    let Some(detail) = &torrent.detail else {
        return json!([]);
    };
    let is_ours = |piece: usize| detail.have[piece / 8] >> (7 - piece % 8) & 1 == 1;
    let of = |(piece, holders): (usize, &u32)| {
        if is_ours(piece) {
            json!(-1)
        } else {
            json!(holders)
        }
    };
    detail.holders.iter().enumerate().map(of).collect()
}

pub(super) fn magnet_link(torrent: &TorrentSnapshot) -> String {
    if let Some(link) = &torrent.brief.magnet {
        return link.as_ref().to_owned();
    }
    let Some(metainfo) = fields::info(torrent) else {
        return String::new();
    };
    let escaped = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let mut link = format!("magnet:?xt=urn:btih:{}", metainfo.info_hash);
    link.push_str("&dn=");
    link.push_str(&escaped(&metainfo.name));
    for (parameter, urls) in [
        (
            "&tr=",
            announces(torrent).into_iter().map(|one| one.url).collect(),
        ),
        ("&ws=", metainfo.web_seeds.clone()),
    ] {
        for url in urls {
            link.push_str(parameter);
            link.push_str(&escaped(&url));
        }
    }
    link
}

/// As clients show it: a letter for each thing.
fn flags(peer: &PeerSnapshot) -> String {
    let down = match (peer.interesting, peer.choking_us) {
        (true, false) if peer.download_rate > 0 => "D",
        (true, true) => "d",
        (false, false) => "K",
        _ => "",
    };
    let up = match (peer.interested_in_us, peer.choked) {
        (true, false) => "U",
        (true, true) => "u",
        (false, false) => "?",
        (false, true) => "",
    };
    let encrypted = if peer.encrypted { "E" } else { "" };
    let incoming = if peer.outgoing { "" } else { "I" };
    format!("{down}{up}{encrypted}{incoming}")
}

#[allow(clippy::cast_precision_loss, reason = "a share for people")]
pub(super) fn peers(torrent: &TorrentSnapshot) -> Value {
    let pieces = f64::from(torrent.brief.piece_count.max(1));
    let peer = |peer: &PeerSnapshot| {
        json!({
            "address": peer.address.ip().to_string(),
            "port": peer.address.port(),
            "client_name": peer.client,
            "flag_str": flags(peer),
            "progress": f64::from(peer.pieces_have) / pieces,
            "rate_to_client": peer.download_rate,
            "rate_to_peer": peer.upload_rate,
            "bytes_to_client": peer.downloaded,
            "bytes_to_peer": peer.uploaded,
            "is_encrypted": peer.encrypted,
            "is_incoming": !peer.outgoing,
            "is_utp": peer.transport == Transport::Utp,
            "is_downloading_from": peer.download_rate > 0,
            "is_uploading_to": peer.upload_rate > 0,
            "client_is_choked": peer.choking_us,
            "client_is_interested": peer.interesting,
            "peer_is_choked": peer.choked,
            "peer_is_interested": peer.interested_in_us,
        })
    };
    let detail = torrent.detail.as_deref();
    let peers = detail.map_or(&[][..], |detail| &detail.peers);
    peers.iter().map(peer).collect()
}

pub(super) fn peers_from(torrent: &TorrentSnapshot) -> Value {
    json!({
        "from_cache": 0,
        "from_dht": 0,
        "from_incoming": torrent.peers_incoming,
        "from_lpd": 0,
        "from_ltep": 0,
        "from_pex": 0,
        "from_tracker": torrent.peers - torrent.peers_incoming,
    })
}

/// Trackers with their numbers and tiers: those of the torrent file, or what a person has made of them.
fn announces(torrent: &TorrentSnapshot) -> Vec<TrackerUrl> {
    match &torrent.entry.trackers {
        Some(list) => list.to_vec(),
        None => numbered(&torrent.brief.trackers),
    }
}

/// The name of a tracker's site: its host without the last label and what stands before the one in front of that.
fn site(url: &str) -> String {
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    if host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
        return host;
    }
    let mut labels = host.rsplit('.');
    match (labels.next(), labels.next()) {
        (_, Some(name)) => name.to_owned(),
        (Some(only), None) => only.to_owned(),
        _ => String::new(),
    }
}

fn host_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(
        |_| String::new(),
        |url| {
            let host = url.host_str().unwrap_or_default();
            match url.port_or_known_default() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            }
        },
    )
}

/// Where a tracker answers scrapes, by the custom that BEP 48 tells; empty where it has none.
fn scrape(url: &str) -> String {
    match url.rsplit_once('/') {
        Some((before, last)) if last.starts_with("announce") => {
            format!("{before}/{}", last.replacen("announce", "scrape", 1))
        }
        _ if url.starts_with("udp:") => url.to_owned(),
        _ => String::new(),
    }
}

pub(super) fn trackers(torrent: &TorrentSnapshot) -> Value {
    announces(torrent)
        .iter()
        .map(|TrackerUrl { id, tier, url }| {
            json!({
                "id": id,
                "tier": tier,
                "announce": url,
                "scrape": scrape(url),
                "sitename": site(url),
            })
        })
        .collect()
}

pub(super) fn tracker_stats(context: &Context, torrent: &TorrentSnapshot) -> Value {
    let detail: Option<&TorrentDetail> = torrent.detail.as_deref();
    let statuses = detail.map_or(&[][..], |detail| &detail.trackers);
    // While none is spoken to, as with a torrent that is stopped, none stands in for another.
    let is_chosen = |status: &TrackerStatus| status.state != TrackerState::Idle;
    let any_chosen = statuses.iter().any(is_chosen);
    announces(torrent)
        .iter()
        .map(|TrackerUrl { id, tier, url }| {
            let shown = mask(url);
            let status = statuses
                .iter()
                .find(|status| status.tier == *tier && status.url == shown);
            let mut stat = tracker_stat(context, *id, *tier, url, status);
            let is_backup = any_chosen && status.is_some_and(|status| !is_chosen(status));
            stat["is_backup"] = json!(is_backup);
            stat
        })
        .collect()
}

fn tracker_stat(
    context: &Context,
    id: u32,
    tier: u32,
    url: &str,
    status: Option<&TrackerStatus>,
) -> Value {
    let state = status.map_or(TrackerState::Idle, |status| status.state);
    let error = status.map_or("", |status| &status.error);
    let answered = state == TrackerState::InUse;
    let next = status.and_then(|status| status.next_announce);
    let next = next.map_or(0, |next| context.unix + next.since(context.time).as_secs());
    let last = status.and_then(|status| status.last_announce);
    let last = last.map_or(0, |last| {
        context
            .unix
            .saturating_sub(context.time.since(last).as_secs())
    });
    let count = |count: Option<u32>| count.map_or(-1, i64::from);
    let result = match error {
        "" if answered => "Success",
        other => other,
    };
    json!({
        "id": id,
        "tier": tier,
        "announce": url,
        "scrape": scrape(url),
        "host": host_of(url),
        "sitename": site(url),
        "announce_state": match state {
            TrackerState::Unusable | TrackerState::Idle => 0,
            TrackerState::InUse | TrackerState::Failed => 1,
            TrackerState::Waiting => 2,
            TrackerState::Asking => 3,
        },
        "has_announced": answered || !error.is_empty(),
        "last_announce_succeeded": answered,
        "last_announce_result": result,
        "last_announce_timed_out": false,
        "last_announce_time": last,
        "last_announce_start_time": last,
        "last_announce_peer_count": status.map_or(0, |status| status.last_peers),
        "next_announce_time": next,
        "seeder_count": count(status.and_then(|status| status.seeders)),
        "leecher_count": count(status.and_then(|status| status.leechers)),
        "download_count": -1,
        "downloader_count": -1,
        "has_scraped": false,
        "last_scrape_result": "",
        "last_scrape_succeeded": false,
        "last_scrape_timed_out": false,
        "last_scrape_time": 0,
        "last_scrape_start_time": 0,
        "next_scrape_time": 0,
        "scrape_state": 0,
    })
}

/// One URL a line, an empty line between tiers.
pub(super) fn tracker_list(torrent: &TorrentSnapshot) -> String {
    let tiers = tiers(&announces(torrent));
    let texts: Vec<String> = tiers.iter().map(|urls| urls.join("\n") + "\n").collect();
    texts.join("\n")
}

pub(super) fn web_seeds(torrent: &TorrentSnapshot) -> Value {
    let seeds = fields::info(torrent).map_or(&[][..], |info| &info.web_seeds);
    seeds
        .iter()
        .map(|url| json!({ "url": url, "is_downloading": false, "download_bytes_per_second": 0 }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_trackers_are_taken_apart() {
        #[rustfmt::skip]
        let table = [
            ("http://tracker.example.org/abc/announce?k=1", "example", "tracker.example.org:80", "http://tracker.example.org/abc/scrape?k=1"),
            ("udp://example.org:6969/announce", "example", "example.org:6969", "udp://example.org:6969/scrape"),
            ("http://127.0.0.1:1/x", "127.0.0.1", "127.0.0.1:1", ""),
            ("http://localhost/announce.php", "localhost", "localhost:80", "http://localhost/scrape.php"),
            ("nonsense", "", "", ""),
        ];
        for (url, name, host, scraped) in table {
            assert_eq!(
                (&*site(url), &*host_of(url), &*scrape(url)),
                (name, host, scraped),
                "{url}"
            );
        }
    }
}
