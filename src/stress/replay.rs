//! One trace through both sides, one operation at a time: their answers must be equal, but for what they call things and when.

use std::collections::BTreeMap;

use crate::engine::message::{Answer, IgnoredAddress, LinkSummary, Refusal};
use crate::ids::LinkId;
use crate::time::Instant;

use super::report::TraceReport;
use super::trace::{Names, Op};

/// Which name of one side is which of the other: one to one, as long as the thing lives.
#[derive(Debug)]
struct Pairs<T>(BTreeMap<T, T>, BTreeMap<T, T>);

impl<T: Ord + Copy> Pairs<T> {
    const fn new() -> Self {
        Self(BTreeMap::new(), BTreeMap::new())
    }

    /// Whether the two may be names of the same thing; from now on they are.
    fn same(&mut self, one: T, other: T) -> bool {
        let known = *self.0.entry(one).or_insert(other) == other;
        known && *self.1.entry(other).or_insert(one) == one
    }
}

/// Two sides of which one must answer like the other.
#[derive(Debug)]
pub struct Replay {
    names: [Names; 2],
    links: Pairs<LinkId>,
    report: TraceReport,
}

impl Replay {
    /// Over `swarms` swarms, of which both sides know none yet.
    #[must_use]
    pub fn new(swarms: u16) -> Self {
        Self {
            names: [Names::new(swarms), Names::new(swarms)],
            links: Pairs::new(),
            report: TraceReport {
                operations: 0,
                refused: 0,
                end_state: 0,
                difference: None,
            },
        }
    }

    /// The operation as messages to both sides.
    #[must_use]
    pub const fn names(&self) -> &[Names; 2] {
        &self.names
    }

    /// Compares the answers of both sides to `op`.
    ///
    /// # Errors
    /// How they differ, for a person.
    pub fn compare(&mut self, op: Op, answers: [&Answer; 2]) -> Result<(), String> {
        let at = self.report.operations;
        self.report.operations += 1;
        self.report.refused += u64::from(matches!(answers[0], Answer::Refused(_)));
        for (names, answer) in self.names.iter_mut().zip(answers) {
            names.learn(op, answer);
        }
        if self.equal(answers) {
            return Ok(());
        }
        let [one, other] = answers;
        let text = format!("operation {at}, {op:?}: {one:?} against {other:?}");
        self.report.difference = Some(text.clone());
        Err(text)
    }

    /// What was compared; the last `end_state` operations asked for the end state.
    #[must_use]
    pub fn report(mut self, end_state: u64) -> TraceReport {
        self.report.end_state = end_state.min(self.report.operations);
        self.report.operations -= self.report.end_state;
        self.report
    }

    fn equal(&mut self, answers: [&Answer; 2]) -> bool {
        match answers {
            [Answer::Refused(one), Answer::Refused(other)] => same_refusal(*one, *other),
            // Swarms are looked up by the names learned; a wrong one shows at its next use.
            [Answer::Done, Answer::Done]
            | [Answer::Stream(_), Answer::Stream(_)]
            | [Answer::Swarm(_), Answer::Swarm(_)]
            | [Answer::Found(None), Answer::Found(None)] => true,
            [Answer::Link(one), Answer::Link(other)] => self.links.same(*one, *other),
            [Answer::Found(Some(one)), Answer::Found(Some(other))] => self.same_link(one, other),
            [Answer::Count(one), Answer::Count(other)] => one == other,
            [Answer::Condition(one), Answer::Condition(other)] => one == other,
            [
                Answer::Links { links: one, .. },
                Answer::Links { links: other, .. },
            ] => {
                let is_ordered =
                    |links: &[LinkSummary]| links.is_sorted_by_key(|link| link.direction);
                one.len() == other.len()
                    && is_ordered(one)
                    && is_ordered(other)
                    && sorted(one)
                        .iter()
                        .zip(&sorted(other))
                        .all(|(one, other)| self.same_link(one, other))
            }
            [
                Answer::Ignored { addresses: one, .. },
                Answer::Ignored {
                    addresses: other, ..
                },
            ] => {
                one.len() == other.len()
                    && one
                        .iter()
                        .zip(other.iter())
                        .all(|(a, b)| same_ignored(a, b))
            }
            _ => false,
        }
    }

    fn same_link(&mut self, one: &LinkSummary, other: &LinkSummary) -> bool {
        self.links.same(one.link, other.link)
            && *one
                == LinkSummary {
                    link: one.link,
                    ..*other
                }
    }
}

fn same_refusal(one: Refusal, other: Refusal) -> bool {
    match (one, other) {
        (Refusal::SwarmExists(_), Refusal::SwarmExists(_)) => true,
        _ => one == other,
    }
}

/// Both sides owe uplinks first; within them the order is their own.
fn sorted(links: &[LinkSummary]) -> Vec<LinkSummary> {
    let mut sorted = links.to_vec();
    sorted.sort_by_key(|link| (link.direction, link.address));
    sorted
}

/// The times are each side's own, but both know for ever.
fn same_ignored(one: &IgnoredAddress, other: &IgnoredAddress) -> bool {
    one.address == other.address
        && one.why == other.why
        && (one.until == Instant::FAR) == (other.until == Instant::FAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::{Direction, LinksCount};
    use crate::stress::trace::address_of;

    fn link(slot: u32, number: u32, direction: Direction) -> LinkSummary {
        LinkSummary {
            link: LinkId::new(slot, 0),
            address: address_of(number),
            direction,
            state: "established",
            member: true,
            pinned: false,
            attempts: 0,
        }
    }

    fn links(links: &[LinkSummary]) -> Answer {
        Answer::Links {
            time: Instant::ZERO,
            links: links.into(),
        }
    }

    #[test]
    fn names_may_differ_and_nothing_else() {
        let op = Op::LinksShow {
            swarm: 0,
            established_only: false,
        };
        let (up, down) = (Direction::Outgoing, Direction::Incoming);
        let ours = links(&[link(0, 1, up), link(1, 2, down), link(2, 3, down)]);
        let same = links(&[link(7, 1, up), link(9, 3, down), link(8, 2, down)]);
        let mut replay = Replay::new(1);
        assert_eq!(replay.compare(op, [&ours, &same]), Ok(()));
        #[rustfmt::skip]
        let different = [
            ("other names",  links(&[link(7, 1, up), link(9, 2, down), link(8, 3, down)])),
            ("one missing",  links(&[link(7, 1, up), link(8, 2, down)])),
            ("not in order", links(&[link(8, 2, down), link(7, 1, up), link(9, 3, down)])),
            ("another way",  links(&[link(7, 1, up), link(8, 2, up), link(9, 3, down)])),
            ("another kind", Answer::Count(LinksCount::default())),
        ];
        for (name, other) in different {
            assert!(replay.compare(op, [&ours, &other]).is_err(), "{name}");
        }
        let report = replay.report(1);
        assert_eq!((report.operations, report.end_state), (5, 1));
        assert!(report.difference.is_some());
    }
}
