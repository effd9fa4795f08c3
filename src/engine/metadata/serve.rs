//! The info dictionary for those who have no more than a link, from any session that has it; of private torrents too, since
//! who asks has the info-hash and so could be told by anybody.
//!
//! Bounds: a peer gets each piece [`COPIES_MAX`] times over, and nothing while it does not take what was sent; what is beyond is
//! rejected, and rejects beyond [`REJECTS_MAX`] are not even sent.

use crate::codec::metadata::{MetadataMessage, piece_count, piece_range};
use crate::codec::wire::Message;
use crate::engine::extended::Extension;
use crate::engine::session::Session;
use crate::engine::session::receive::send;
use crate::engine::settings::UNSENT_HOLD;
use crate::engine::shared::Shared;
use crate::engine::table::stream::Stream;

/// How often one peer gets the whole dictionary on one stream: it may have lost its first copies to a wrong hash.
const COPIES_MAX: u32 = 4;
/// Refusals that one peer is told on one stream.
const REJECTS_MAX: u32 = 1024;

/// Sends a message of the extension, if the peer takes any.
pub(in crate::engine) fn say(
    shared: &mut Shared,
    stream: &mut Stream,
    message: MetadataMessage<'_>,
) {
    let id = stream
        .peer()
        .and_then(|peer| peer.theirs.id_of(Extension::Metadata));
    if let Some(id) = id {
        let payload = message.encode();
        let payload = &payload;
        send(shared, stream, &Message::Extended { id, payload });
    }
}

/// Says no to a request.
pub(in crate::engine) fn refuse(shared: &mut Shared, stream: &mut Stream, piece: u32) {
    let Some(peer) = stream.peer_mut() else {
        return;
    };
    peer.metadata_refused = peer.metadata_refused.saturating_add(1);
    if peer.metadata_refused <= REJECTS_MAX {
        say(shared, stream, MetadataMessage::Reject { piece });
    }
}

/// Answers what a peer says of the info dictionary to a session that has it.
pub(in crate::engine) fn answer(
    shared: &mut Shared,
    session: &Session,
    stream: &mut Stream,
    payload: &[u8],
) {
    // What else there is, we have not asked for.
    let Some(MetadataMessage::Request { piece }) = MetadataMessage::decode(payload) else {
        return;
    };
    let info = &session.metainfo.info;
    let size = u32::try_from(info.len()).unwrap_or(u32::MAX);
    let clogged = stream.unsent >= UNSENT_HOLD / 2;
    let Some(peer) = stream.peer_mut() else {
        return;
    };
    let spent = peer.metadata_served >= piece_count(size).saturating_mul(COPIES_MAX);
    let range = piece_range(info.len(), piece).filter(|_| !spent && !clogged);
    let Some(range) = range else {
        return refuse(shared, stream, piece);
    };
    peer.metadata_served += 1;
    shared.counters.metadata_pieces_sent += 1;
    let data = MetadataMessage::Data {
        piece,
        total: size,
        bytes: &info[range],
    };
    say(shared, stream, data);
}
