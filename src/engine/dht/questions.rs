//! Our questions that wait for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::codec::krpc::NodeId;
use crate::hash;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Questions that wait at a time; beyond it none is asked.
pub const OPEN_MAX: usize = 1024;
/// After so long a lookup asks somebody else too.
pub const LATE: Duration = Duration::from_secs(1);
/// After so long no answer is believed any more.
pub const LOST: Duration = Duration::from_secs(6);

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see whether it is there.
    Check,
    /// A lookup, by its number.
    Lookup(u64),
    /// To announce.
    Announce,
}

/// A question that waits.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Who was asked. Nobody else's answer counts.
    pub to: SocketAddr,
    /// Its name; `None` when it was not known.
    pub id: Option<NodeId>,
    /// What for.
    pub purpose: Purpose,
    late: bool,
    due: Instant,
}

/// All of them, by transaction.
///
/// A transaction is 32 random bits: who does not see our datagrams must guess it, and forge the address that we asked.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    open: BTreeMap<u32, Question>,
    due: BTreeSet<(Instant, u32)>,
}

/// What has become of a question without an answer.
#[derive(Clone, Copy, Debug)]
pub enum Silence {
    /// It may still be answered.
    Late(Question),
    /// It is over.
    Lost(Question),
}

impl Questions {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether no more may be asked now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.open.len() >= OPEN_MAX
    }

    /// Takes down a question; its transaction goes with it.
    pub fn ask(
        &mut self,
        to: SocketAddr,
        id: Option<NodeId>,
        purpose: Purpose,
        now: Instant,
        rng: &mut Rng,
    ) -> [u8; 4] {
        // Not chance itself: who sees many of them shall not tell the next.
        let mut drawn = [0; 16];
        rng.fill(&mut drawn);
        let digest = hash::sha1(&drawn);
        let mut transaction =
            u32::from_be_bytes(*digest.first_chunk().expect("a digest is longer"));
        while self.open.contains_key(&transaction) {
            transaction = transaction.wrapping_add(1);
        }
        let due = now + LATE;
        self.open.insert(
            transaction,
            Question {
                to,
                id,
                purpose,
                late: false,
                due,
            },
        );
        self.due.insert((due, transaction));
        transaction.to_be_bytes()
    }

    /// The question that `transaction` from `from` answers; it is over.
    pub fn answered(&mut self, transaction: &[u8], from: SocketAddr) -> Option<Question> {
        let transaction = u32::from_be_bytes(transaction.try_into().ok()?);
        let question = *self.open.get(&transaction)?;
        if question.to != from {
            return None;
        }
        self.open.remove(&transaction);
        self.due.remove(&(question.due, transaction));
        Some(question)
    }

    /// The next question that has waited for too long.
    pub fn silent(&mut self, now: Instant) -> Option<Silence> {
        let (due, transaction) = *self.due.first()?;
        if due > now {
            return None;
        }
        self.due.pop_first();
        let question = self.open.get_mut(&transaction)?;
        if question.late {
            let question = *question;
            self.open.remove(&transaction);
            return Some(Silence::Lost(question));
        }
        question.late = true;
        question.due = due + (LOST - LATE);
        self.due.insert((question.due, transaction));
        Some(Silence::Late(*question))
    }

    /// When [`Self::silent`] has something to say.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_asked_answers_and_only_in_time() {
        let mut rng = Rng::new(1);
        let mut questions = Questions::default();
        let (a, b): (SocketAddr, SocketAddr) =
            ("1.1.1.1:1".parse().unwrap(), "2.2.2.2:2".parse().unwrap());
        let now = Instant::ZERO;
        let ask = |questions: &mut Questions, rng: &mut Rng| {
            questions.ask(a, None, Purpose::Check, now, rng)
        };
        let first = ask(&mut questions, &mut rng);
        assert!(questions.answered(&first, b).is_none(), "forged");
        assert!(questions.answered(&first[..3], a).is_none(), "cut");
        assert!(questions.answered(&[0; 4], a).is_none(), "guessed");
        assert!(questions.answered(&first, a).is_some());
        assert!(questions.answered(&first, a).is_none(), "once");
        assert_eq!((questions.len(), questions.next_deadline()), (0, None));

        let second = ask(&mut questions, &mut rng);
        assert!(questions.silent(now).is_none());
        assert!(matches!(
            questions.silent(now + LATE),
            Some(Silence::Late(_))
        ));
        assert!(questions.silent(now + LATE).is_none());
        assert!(matches!(
            questions.silent(now + LOST),
            Some(Silence::Lost(_))
        ));
        assert!(questions.answered(&second, a).is_none(), "too late");
        assert_eq!((questions.len(), questions.next_deadline()), (0, None));
    }
}
