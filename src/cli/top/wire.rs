//! What the daemon's answers say, read into what the model holds. Strangers choose names: made harmless here.

use serde_json::{Value, json};

use super::model::{Detail, Figures, FileRow, PeerRow, Tab, Torrent, TrackerRow};
use crate::cli::console::printable;

/// Fields of a torrent's row, in the order that [`torrents`] reads.
#[rustfmt::skip]
pub(super) const ROW: &[&str] = &[
    "id", "hash_string", "name", "state", "size_when_done", "percent_done", "rate_download", "rate_upload", "upload_ratio", "eta",
    "peers_connected", "error_string", "recheck_progress",
];

/// Fields of the pane, with `tab` open.
pub(super) fn fields(tab: Tab) -> &'static [&'static str] {
    match tab {
        Tab::Peers => &["id", "why", "download_dir", "labels", "peers"],
        Tab::Trackers => &["id", "why", "download_dir", "labels", "tracker_stats"],
        Tab::Files => &["id", "why", "download_dir", "labels", "files", "file_stats"],
    }
}

fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The torrents of an answer to `torrent_get` in its table form; a row that is none is passed over.
pub(super) fn torrents(answer: &Value) -> Vec<Torrent> {
    // The first row is of names.
    let rows = items(&answer["torrents"]).iter().skip(1);
    rows.filter_map(|row| torrent(items(row))).collect()
}

fn torrent(row: &[Value]) -> Option<Torrent> {
    #[rustfmt::skip]
    let [number_, hash, name, state, size, done, down, up, ratio, eta, peers, error, checked] = row else {
        return None;
    };
    let name = text(name);
    let state = text(state);
    let shown = if state == "checking" { checked } else { done };
    Some(Torrent {
        id: id(number_)?,
        hash: text(hash),
        folded: name.to_lowercase(),
        name,
        state,
        size: number(size),
        done: shown.as_f64().unwrap_or(0.0),
        down: number(down),
        up: number(up),
        ratio: ratio.as_f64().unwrap_or(-1.0),
        eta: eta.as_i64().unwrap_or(-1),
        peers: number(peers),
        error: text(error),
    })
}

/// Numbers of torrents that are gone.
pub(super) fn removed(answer: &Value) -> Vec<u32> {
    items(&answer["removed"]).iter().filter_map(id).collect()
}

/// The pane's contents, of an answer to `torrent_get` for one torrent.
pub(super) fn detail(answer: &Value, tab: Tab) -> Option<Detail> {
    let torrent = items(&answer["torrents"]).first()?;
    let stats = items(&torrent["file_stats"]);
    let file = |(at, file): (usize, &Value)| FileRow {
        name: text(&file["name"]),
        length: number(&file["length"]),
        have: number(&file["bytes_completed"]),
        wanted: stats
            .get(at)
            .is_none_or(|one| one["wanted"] != json!(false)),
    };
    Some(Detail {
        id: id(&torrent["id"])?,
        tab,
        why: text(&torrent["why"]),
        place: text(&torrent["download_dir"]),
        labels: items(&torrent["labels"]).iter().map(text).collect(),
        peers: items(&torrent["peers"]).iter().map(peer).collect(),
        trackers: items(&torrent["tracker_stats"])
            .iter()
            .map(tracker)
            .collect(),
        files: items(&torrent["files"])
            .iter()
            .enumerate()
            .map(file)
            .collect(),
    })
}

fn peer(peer: &Value) -> PeerRow {
    let (address, port) = (text(&peer["address"]), number(&peer["port"]));
    PeerRow {
        address: if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        },
        client: text(&peer["client_name"]),
        flags: text(&peer["flag_str"]),
        done: peer["progress"].as_f64().unwrap_or(0.0),
        down: number(&peer["rate_to_client"]),
        up: number(&peer["rate_to_peer"]),
    }
}

fn tracker(tracker: &Value) -> TrackerRow {
    let count = |value: &Value| value.as_i64().filter(|count| *count >= 0);
    let state = match (
        tracker["announce_state"].as_u64(),
        tracker["is_backup"].as_bool(),
    ) {
        (Some(3), _) => "asking",
        (_, Some(true)) => "backup",
        (Some(1), _) => "waiting",
        _ => "idle",
    };
    TrackerRow {
        tier: number(&tracker["tier"]),
        host: text(&tracker["host"]),
        state,
        result: text(&tracker["last_announce_result"]),
        seeders: count(&tracker["seeder_count"]),
        leechers: count(&tracker["leecher_count"]),
    }
}

/// The figures of an answer to `metrics_get`.
pub(super) fn figures(answer: &Value) -> Figures {
    let turn = &answer["turn_us"];
    Figures {
        time: number(&answer["time"]),
        queued: number(&answer["messages_queued_current"]),
        peak: number(&answer["peak_queue_size"]),
        wait_ns: number(&answer["avg_queue_wait_time_ns"]),
        processed: number(&answer["messages_processed_total"]),
        drops: number(&answer["backpressure_drops"]),
        turn_sum: number(&turn["sum"]),
        turn_count: number(&turn["count"]),
        turn_p99: number(&turn["p99"]),
        turn_max: number(&turn["max"]),
        memory: number(&answer["memory_usage_bytes"]),
        links: number(&answer["engine"]["links_established"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_what_is_none_is_passed_over() {
        #[rustfmt::skip]
        let answer = json!({ "torrents": [
            ROW,
            [7, "ab", "na\u{1b}me", "downloading", 100, 0.5, 1, 2, 0.25, 30, 4, "", 0.0],
            [8, "cd", "x", "checking", 100, 0.5, 0, 0, -1, -1, 0, "", 0.75],
            [9, "short"],
            "nonsense",
        ], "removed": [3, "x", -1] });
        let torrents = torrents(&answer);
        assert_eq!(torrents.len(), 2);
        assert_eq!(torrents[0].name, "na\u{fffd}me");
        assert_eq!((torrents[0].id, torrents[0].eta), (7, 30));
        // How far the check is, and not what the last one found.
        assert!((torrents[1].done - 0.75).abs() < f64::EPSILON);
        assert_eq!(removed(&answer), [3]);
    }

    #[test]
    fn an_answer_without_sense_is_no_detail_and_no_figures() {
        assert!(detail(&json!({}), Tab::Peers).is_none());
        assert!(detail(&json!({"torrents": [{"id": "x"}]}), Tab::Files).is_none());
        assert_eq!(figures(&json!([])), Figures::default());
    }
}
