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
        | Answer::Condition(_)
        | Answer::Changed(_)
        | Answer::Surveyed(_)
        | Answer::Blocks(_)
        | Answer::Torrents(_)
        | Answer::Settings(_)
        | Answer::Speed(_)
        | Answer::Metadata(_) => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LinkId;

    fn link(at: u8, direction: Direction, state: &'static str, member: bool) -> LinkSummary {
        LinkSummary {
            link: LinkId::new(u32::from(at), 0),
            address: format!("10.0.0.{at}:1").parse().unwrap(),
            direction,
            state,
            member,
            pinned: false,
            attempts: 0,
        }
    }

    #[test]
    fn what_does_not_add_up_is_found() {
        use Direction::{Incoming, Outgoing};
        let count = |links, uplinks, downlinks, needed| {
            Answer::Count(LinksCount {
                links,
                uplinks,
                downlinks,
                required: 3,
                needed,
            })
        };
        let links = |links: &[LinkSummary]| Answer::Links {
            time: Instant::ZERO,
            links: links.into(),
        };
        let up = link(1, Outgoing, "established", true);
        let down = link(2, Incoming, "established", true);
        let idle = link(3, Outgoing, "disconnected", false);
        let ghost = link(4, Outgoing, "disconnected", true);
        let ignored = |until| Answer::Ignored {
            time: Instant::from_micros(5),
            addresses: [IgnoredAddress {
                address: "10.0.0.1:1".parse().unwrap(),
                until: Instant::from_micros(until),
                why: "failed",
            }]
            .into(),
        };
        #[rustfmt::skip]
        let table = [
            ("more links than members",   count(5, 1, 1, 2),                true),
            ("off: nothing is needed",    count(5, 1, 1, 0),                true),
            ("more members than links",   count(1, 1, 1, 2),                false),
            ("one too many is needed",    count(5, 1, 1, 3),                false),
            ("uplinks, then downlinks",   links(&[up, idle, down]),         true),
            ("downlinks first",           links(&[down, up]),               false),
            ("the same address twice",    links(&[up, up]),                 false),
            ("a member without a stream", links(&[ghost]),                  false),
            ("found without a stream",    Answer::Found(Some(ghost)),       false),
            ("ignored from now on",       ignored(6),                       true),
            ("ignored until now",         ignored(5),                       false),
        ];
        for (name, answer, sound) in table {
            assert_eq!(check(&answer).is_ok(), sound, "{name}");
        }
    }
}
