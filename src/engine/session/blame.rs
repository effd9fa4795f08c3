//! Who lied: the senders of wrong pieces, until the right copy shows whose blocks differed.
//!
//! A wrong piece with one sender convicts it at once. One with several senders is fetched again from a single peer, with the
//! digest of each wrong block kept: when the piece is right, the blocks that differ from it convict their senders, and nobody
//! else.

use std::collections::BTreeMap;

use crate::codec::geometry::PieceIndex;
use crate::engine::settings::SUSPECT_BLOCKS_MAX;
use crate::hash::Digest;

use super::assembly::Sender;

/// Wrong copies of one piece that are remembered; beyond it the oldest is forgotten.
const COPIES_MAX: usize = 4;

/// The blocks of a wrong copy of a piece: who sent each, and its digest.
type Copy = Vec<(Option<Sender>, Digest)>;

/// The open cases of one torrent.
#[derive(Debug, Default)]
pub struct Blame {
    cases: BTreeMap<PieceIndex, Vec<Copy>>,
}

impl Blame {
    /// Whether a copy of `piece` was wrong and it is not yet known who lied.
    #[must_use]
    pub fn is_suspect(&self, piece: PieceIndex) -> bool {
        self.cases.contains_key(&piece)
    }

    /// A copy of `piece` was wrong; `digests` are those of its blocks. Returns who is convicted by that alone.
    pub fn wrong(
        &mut self,
        piece: PieceIndex,
        senders: &[Option<Sender>],
        digests: &[Digest],
    ) -> Option<Sender> {
        let mut known = senders.iter().flatten();
        let first = known.next()?;
        if senders
            .iter()
            .all(|sender| sender.is_some_and(|sender| sender.link == first.link))
        {
            return Some(*first);
        }
        // Beyond the bound a liar stays unknown until its next piece.
        let known: usize = self.cases.values().flatten().map(Vec::len).sum();
        if digests.len() == senders.len()
            && (known + digests.len() <= SUSPECT_BLOCKS_MAX || self.is_suspect(piece))
        {
            let copies = self.cases.entry(piece).or_default();
            if copies.len() == COPIES_MAX {
                copies.remove(0);
            }
            copies.push(
                senders
                    .iter()
                    .copied()
                    .zip(digests.iter().copied())
                    .collect(),
            );
        }
        None
    }

    /// `piece` is right, and these are the digests of its blocks: closes the case. Returns who lied, each once.
    pub fn right(&mut self, piece: PieceIndex, digests: &[Digest]) -> Vec<Sender> {
        let copies = self.cases.remove(&piece).unwrap_or_default();
        let lies = copies
            .iter()
            .flat_map(|copy| copy.iter().zip(digests))
            .filter(|((_, sent), right)| sent != *right);
        let mut guilty: Vec<Sender> = lies.filter_map(|((sender, _), _)| *sender).collect();
        guilty.sort_unstable();
        guilty.dedup();
        guilty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::geometry::Geometry;
    use crate::ids::{LinkId, PeerId};

    fn sender(number: u8) -> Option<Sender> {
        let address = std::net::SocketAddr::from(([127, 0, 0, number], 1));
        Some(Sender {
            link: LinkId::new(number.into(), 1),
            address,
            peer_id: PeerId([number; 20]),
        })
    }

    fn piece() -> PieceIndex {
        Geometry::new(100_000, 65_536)
            .and_then(|g| g.piece(0))
            .expect("exists")
    }

    const RIGHT: [Digest; 4] = [[1; 20], [2; 20], [3; 20], [4; 20]];

    #[test]
    fn a_single_sender_is_convicted_at_once() {
        let mut blame = Blame::default();
        assert_eq!(blame.wrong(piece(), &[sender(1); 4], &RIGHT), sender(1));
        assert!(!blame.is_suspect(piece()));
    }

    #[test]
    fn of_several_senders_only_those_whose_blocks_differ() {
        let mut blame = Blame::default();
        let mut sent = RIGHT;
        sent[2] = [9; 20];
        let senders = [sender(1), sender(2), sender(3), sender(2)];
        assert_eq!(blame.wrong(piece(), &senders, &sent), None);
        assert!(blame.is_suspect(piece()));
        assert_eq!(blame.right(piece(), &RIGHT), [sender(3).expect("some")]);
        assert!(!blame.is_suspect(piece()));
    }

    #[test]
    fn unknown_senders_convict_nobody() {
        let mut blame = Blame::default();
        assert_eq!(
            blame.wrong(piece(), &[None, sender(1)], &RIGHT[..2]),
            None,
            "a block from an earlier run"
        );
        assert_eq!(blame.right(piece(), &[[7; 20], RIGHT[1]]), []);
    }
}
