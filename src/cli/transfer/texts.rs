//! What a person reads of a transfer.

use crate::cli::units;
use crate::engine::message::{SessionSnapshot, SessionState};
use crate::time::Duration;

/// A download that took less has no rate: its beginning is known no better than to one look at it.
const MEASURED_MIN: Duration = Duration::from_millis(500);

/// How far a torrent is, for its bar: what is done, of what, and the words behind it.
pub(super) fn progress(latest: &SessionSnapshot) -> (u64, u64, String) {
    let peers = units::counted(latest.peers.len() as u64, "peer");
    let (have, wanted) = (latest.bytes_have, latest.bytes_wanted);
    match latest.state {
        SessionState::Checking => {
            let (done, all) = (latest.pieces_checked, latest.pieces_to_check);
            let text = format!("checking {done} of {all} pieces");
            (u64::from(done), u64::from(all), text)
        }
        SessionState::Seeding | SessionState::Parked => {
            let rate = units::rate(latest.upload_rate);
            let given = units::size(latest.uploaded);
            (
                have,
                wanted,
                format!("seeding  {rate}  {given} given  {peers}"),
            )
        }
        SessionState::Error => (have, wanted, latest.error.clone()),
        SessionState::Metadata => {
            let fetched = latest.metadata.unwrap_or_default();
            let (have, all) = (fetched.pieces_have, fetched.pieces_total);
            let of = match fetched.sources {
                0 => peers,
                sources => units::counted(sources.into(), "peer"),
            };
            // An unknown number is not a whole one.
            let text = format!("metadata {have}/{} pieces from {of}", shown(all));
            (have.into(), all.max(1).into(), text)
        }
        SessionState::Downloading
        | SessionState::Stopped
        | SessionState::Paused
        | SessionState::Queued
        | SessionState::Leaving => {
            let left = wanted.saturating_sub(have);
            let eta = (left.checked_div(latest.download_rate))
                .map_or("?".to_owned(), |s| units::time(Duration::from_secs(s)));
            let (size, all) = (units::size(have), units::size(wanted));
            let rate = units::rate(latest.download_rate);
            (
                have,
                wanted,
                format!("{size} of {all}  {rate}  eta {eta}  {peers}"),
            )
        }
    }
}

/// A number of pieces, which nobody may have told yet.
fn shown(pieces: u32) -> String {
    match pieces {
        0 => "?".to_owned(),
        known => known.to_string(),
    }
}

/// Said once, when a torrent has nothing more to fetch, `took` after it began to.
pub(super) fn complete(name: &str, latest: &SessionSnapshot, took: Duration) -> String {
    let size = units::size(latest.bytes_have);
    if latest.bytes_have < latest.bytes_wanted {
        let missing = latest.pieces_total.saturating_sub(latest.pieces_have);
        let all = units::counted(u64::from(latest.pieces_total), "piece");
        format!("{name}: seeding without {missing} of {all}: missing or damaged")
    } else if latest.downloaded > 0 && took < MEASURED_MIN {
        format!("{name}: complete, {size} in {}", units::time(took))
    } else if latest.downloaded > 0 {
        let rate = units::rate(units::per_second(latest.downloaded, took));
        format!("{name}: complete, {size} in {}, {rate}", units::time(took))
    } else {
        format!("{name}: complete, {size} already there")
    }
}
