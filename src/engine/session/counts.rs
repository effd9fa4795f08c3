//! Messages of peers by kind, both ways, over all streams.

use crate::codec::wire::Message;
use crate::metrics::EngineCounters;

/// One more has come. Blocks are streamed, and counted where they begin.
pub fn received(counters: &mut EngineCounters, message: &Message<'_>) {
    counters.peer_messages += 1;
    let count = match message {
        Message::KeepAlive => &mut counters.received_keep_alive,
        Message::Choke => &mut counters.received_choke,
        Message::Unchoke => &mut counters.received_unchoke,
        Message::Interested => &mut counters.received_interested,
        Message::NotInterested => &mut counters.received_not_interested,
        Message::Have(_) => &mut counters.received_have,
        Message::Bitfield(_) => &mut counters.received_bitfield,
        Message::Request(_) => &mut counters.received_request,
        Message::Piece { .. } => &mut counters.received_piece,
        Message::Cancel(_) => &mut counters.received_cancel,
        Message::Port(_) => &mut counters.received_port,
        Message::Suggest(_) => &mut counters.received_suggest,
        Message::HaveAll => &mut counters.received_have_all,
        Message::HaveNone => &mut counters.received_have_none,
        Message::Reject(_) => &mut counters.received_reject,
        Message::AllowedFast(_) => &mut counters.received_allowed_fast,
        Message::Extended { .. } => &mut counters.received_extended,
        Message::Unknown(_) => &mut counters.received_unknown,
    };
    *count += 1;
}

/// One more is queued. Blocks are counted where their frames are made.
pub fn sent(counters: &mut EngineCounters, message: &Message<'_>) {
    let count = match message {
        Message::KeepAlive => &mut counters.sent_keep_alive,
        Message::Choke => &mut counters.sent_choke,
        Message::Unchoke => &mut counters.sent_unchoke,
        Message::Interested => &mut counters.sent_interested,
        Message::NotInterested => &mut counters.sent_not_interested,
        Message::Have(_) => &mut counters.sent_have,
        Message::Bitfield(_) => &mut counters.sent_bitfield,
        Message::Request(_) => &mut counters.sent_request,
        Message::Piece { .. } => &mut counters.sent_piece,
        Message::Cancel(_) => &mut counters.sent_cancel,
        Message::Port(_) => &mut counters.sent_port,
        Message::Suggest(_) => &mut counters.sent_suggest,
        Message::HaveAll => &mut counters.sent_have_all,
        Message::HaveNone => &mut counters.sent_have_none,
        Message::Reject(_) => &mut counters.sent_reject,
        Message::AllowedFast(_) => &mut counters.sent_allowed_fast,
        Message::Extended { .. } => &mut counters.sent_extended,
        // We send nothing that we do not know.
        Message::Unknown(_) => return,
    };
    *count += 1;
}
