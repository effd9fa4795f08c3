//! What every answer that shows something must satisfy by itself (requirement D14): it is of one moment, and adds up.

use std::collections::BTreeSet;

use crate::engine::message::{
    Answer, Direction, EngineSnapshot, IgnoredAddress, LinkSummary, LinksCount, SessionSnapshot,
};
use crate::time::Instant;

/// Looks at an answer.
///
/// # Errors
/// What does not add up.
pub fn check(answer: &Answer) -> Result<(), String> {
    let sound = match answer {
        Answer::Count(count) => is_count(count),
        Answer::Links { links, .. } => are_links(links),
        Answer::Found(Some(link)) => is_link(link),
        Answer::Ignored { time, addresses } => are_ignored(*time, addresses),
        Answer::Engine(engine) => is_engine(engine),
        Answer::Snapshot(session) => is_session(session),
        Answer::Found(None)
        | Answer::Done
        | Answer::Refused(_)
        | Answer::Session(_)
        | Answer::Link(_)
        | Answer::Stream(_)
        | Answer::Swarm(_)
        | Answer::Condition(_) => true,
    };
    if sound {
        Ok(())
    } else {
        Err(format!("a snapshot that does not add up: {answer:?}"))
    }
}

/// Members are among the links, and what is needed is what is missing.
fn is_count(count: &LinksCount) -> bool {
    let missing = count.required.saturating_sub(count.uplinks);
    count.links >= count.uplinks + count.downlinks && (count.needed == missing || count.needed == 0)
}

/// A member has a stream that is up, unless its address was left alone since.
fn is_link(link: &LinkSummary) -> bool {
    !link.member || ["established", "ignored"].contains(&link.state)
}

/// Links are uplinks, then downlinks, each there once.
fn are_links(links: &[LinkSummary]) -> bool {
    let uplinks = links
        .iter()
        .take_while(|link| link.direction == Direction::Outgoing)
        .count();
    let addresses: BTreeSet<_> = links.iter().map(|link| link.address).collect();
    links[uplinks..]
        .iter()
        .all(|link| link.direction == Direction::Incoming)
        && addresses.len() == links.len()
        && links.iter().all(is_link)
}

/// By address, and none whose time is over.
fn are_ignored(time: Instant, addresses: &[IgnoredAddress]) -> bool {
    addresses.is_sorted_by(|a, b| a.address < b.address)
        && addresses.iter().all(|ignored| ignored.until > time)
}

fn is_engine(engine: &EngineSnapshot) -> bool {
    let hashes: BTreeSet<_> = engine.sessions.iter().map(|(_, hash)| hash).collect();
    hashes.len() == engine.sessions.len()
}

fn is_session(session: &SessionSnapshot) -> bool {
    session.pieces_have <= session.pieces_total
        && session.bytes_have <= session.bytes_wanted
        && session.pieces_checked <= session.pieces_to_check
}
