//! Why a torrent does not move, in one sentence; or that it does.

use crate::engine::library::{TorrentSnapshot, Trouble};
use crate::engine::message::PeerSnapshot;
use crate::engine::snapshot::SessionState;

/// The first reason that holds, most decisive first.
pub(super) fn why(torrent: &TorrentSnapshot) -> String {
    let fixed = match torrent.state {
        SessionState::Error => match &torrent.trouble {
            Trouble::Local(text) | Trouble::Tracker(text) => return text.clone(),
            Trouble::None => "the disk is in the way",
        },
        SessionState::Checking if moving(torrent).is_some() => {
            let part = torrent.pieces_checked.saturating_mul(100) / torrent.pieces_to_check.max(1);
            let to = moving(torrent).unwrap_or_default();
            return format!("its files are being moved to {to}: {part} % are there");
        }
        SessionState::Checking if torrent.paused => {
            "its files are being looked at; it is stopped afterwards"
        }
        SessionState::Checking => "its files are being looked at",
        SessionState::Paused if torrent.entry.finished => "it has seeded as much as it was to",
        SessionState::Stopped => "it was stopped: start it",
        SessionState::Paused => "it was paused, by a helper or with all others: start it",
        SessionState::Queued => {
            return torrent.waits.map_or_else(
                || "it waits for its turn".to_owned(),
                |waits| {
                    let (what, active, most, key) =
                        (waits.what, waits.active, waits.most, waits.key);
                    format!(
                        "it waits for its turn: {active} {what} are active, at most {most} ({key})"
                    )
                },
            );
        }
        SessionState::Leaving => "it is on its way out",
        SessionState::Downloading if torrent.download_rate > 0 => "it is being downloaded",
        SessionState::Seeding if torrent.upload_rate > 0 => "it is being seeded",
        SessionState::Downloading => return idle_download(torrent),
        SessionState::Metadata => "no peer has told yet what it holds; they are being asked",
        SessionState::Parked => "it is complete, and nobody asks for it",
        SessionState::Seeding if torrent.peers == 0 => "it is complete, and nobody asks for it",
        SessionState::Seeding => "it is complete, and none of its peers wants anything",
    };
    fixed.to_owned()
}

/// Where its files are being moved.
fn moving(torrent: &TorrentSnapshot) -> Option<String> {
    let whereabouts = torrent.entry.whereabouts.as_deref()?;
    let moving = whereabouts.moving.as_ref()?;
    Some(moving.root.display().to_string())
}

fn idle_download(torrent: &TorrentSnapshot) -> String {
    let detail = torrent.detail.as_deref();
    let peers = detail.map_or(&[][..], |detail| &detail.peers);
    let all = |is: fn(&PeerSnapshot) -> bool| peers.iter().all(is);
    if peers.is_empty() {
        return match &torrent.trouble {
            Trouble::Tracker(text) => format!("no peers: its tracker failed ({text})"),
            _ if torrent.brief.trackers.is_empty() => {
                "no peers, and it names no tracker: name a peer".to_owned()
            }
            _ => "no peers yet".to_owned(),
        };
    }
    let text = if all(|peer| !peer.interesting) {
        "no peer has what is missing"
    } else if all(|peer| !peer.interesting || peer.choking_us) {
        "every peer that has what is missing makes us wait (choked)"
    } else if all(|peer| !peer.interesting || peer.choking_us || peer.snubbed) {
        "peers have promised blocks and do not send them"
    } else {
        "blocks are on their way"
    };
    text.to_owned()
}
