//! Whom the engine's answers go to: one caller each, or a place in the answers of a batch.

use std::mem;

use slab::Slab;

use crate::actor::figures::Type;
use crate::actor::reply::{Reply, Response};
use crate::engine::message::Answer;
use crate::ids::ReplyId;

/// Where an answer goes.
#[derive(Debug)]
enum To {
    /// To whoever holds the other half.
    Caller(Reply),
    /// Into a batch of answers.
    Item { batch: usize, index: usize },
}

/// One answer that is to come.
#[derive(Debug)]
struct Asker {
    generation: u32,
    /// What was asked.
    kind: Type,
    to: Option<To>,
}

/// A batch whose answers are not all there.
#[derive(Debug)]
struct Batch {
    reply: Reply,
    /// One for each message; those not there yet are held by something else.
    answers: Vec<Answer>,
    missing: usize,
}

/// Who waits for an answer. Bounded by the callers and the room they have: one entry for each operation that the engine has
/// not answered.
#[derive(Debug, Default)]
pub(in crate::actor) struct Askers {
    slots: Vec<Asker>,
    free: Vec<u32>,
    batches: Slab<Batch>,
}

impl Askers {
    /// A name for the answer to a message of type `kind` that `reply` waits for.
    pub(in crate::actor) fn insert(&mut self, kind: Type, reply: Reply) -> ReplyId {
        self.enter(kind, To::Caller(reply))
    }

    /// Begins a batch of `count` answers, at least one, gathered in `answers`.
    pub(super) fn begin_batch(
        &mut self,
        reply: Reply,
        mut answers: Vec<Answer>,
        count: usize,
    ) -> usize {
        answers.clear();
        answers.resize_with(count, || Answer::Done);
        self.batches.insert(Batch {
            reply,
            answers,
            missing: count,
        })
    }

    /// A name for the answer to message `index` of `batch`, which is of type `kind`.
    pub(super) fn insert_item(&mut self, kind: Type, batch: usize, index: usize) -> ReplyId {
        self.enter(kind, To::Item { batch, index })
    }

    /// The type of the message that `id` is to be the answer to, while somebody waits for it.
    pub(in crate::actor) fn kind(&self, id: ReplyId) -> Option<Type> {
        let slot = usize::try_from(id.0 & u64::from(u32::MAX)).ok()?;
        let asker = self.slots.get(slot)?;
        let current = u64::from(asker.generation) == id.0 >> 32 && asker.to.is_some();
        current.then_some(asker.kind)
    }

    /// The answer to `id` is there: whom to tell what now, when somebody has all he waits for.
    pub(in crate::actor) fn answer(
        &mut self,
        id: ReplyId,
        answer: Answer,
    ) -> Option<(Reply, Response)> {
        match self.remove(id)? {
            To::Caller(reply) => Some((reply, Response::Answer(answer))),
            To::Item { batch: key, index } => {
                let batch = self.batches.get_mut(key)?;
                // The place held a stand-in.
                drop(mem::replace(&mut batch.answers[index], answer));
                batch.missing -= 1;
                if batch.missing > 0 {
                    return None;
                }
                let batch = self.batches.remove(key);
                Some((batch.reply, Response::Batch(batch.answers)))
            }
        }
    }

    fn enter(&mut self, kind: Type, to: To) -> ReplyId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Asker {
                generation: 0,
                kind,
                to: None,
            });
            u32::try_from(self.slots.len() - 1).expect("fewer callers than 2^32")
        });
        let asker = &mut self.slots[slot as usize];
        asker.generation = asker.generation.wrapping_add(1);
        asker.kind = kind;
        asker.to = Some(to);
        ReplyId(u64::from(asker.generation) << 32 | u64::from(slot))
    }

    fn remove(&mut self, id: ReplyId) -> Option<To> {
        let slot = u32::try_from(id.0 & u64::from(u32::MAX)).ok()?;
        let asker = self.slots.get_mut(slot as usize)?;
        if u64::from(asker.generation) != id.0 >> 32 {
            return None;
        }
        let to = asker.to.take()?;
        self.free.push(slot);
        Some(to)
    }
}
