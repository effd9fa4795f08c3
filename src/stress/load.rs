//! Many threads putting one load on one side, and what they see.

use std::sync::Barrier;
use std::thread;

use crate::actor::mailbox::{Lane, lane_of};
use crate::actor::reply::AskError;
use slab::Slab;

use crate::engine::message::{Answer, Message, Refusal};
use crate::time::Duration;

use super::side::{ANSWERS_MAX, Caller, Later, NotTaken, PATIENCE, Side};
use super::trace::{Mix, Names, Op, Shape};
use super::wait::{SAMPLE_EVERY, Stopwatch, Waits};

/// Answers that a producer lets wait before it looks at them.
const COLLECT_AT: usize = 64;

/// How a producer hands its operations over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Changes are told, one by one; the answers to queries are fetched later.
    Single,
    /// The same, but changes so many at a time.
    Told(usize),
    /// So many at a time, waiting for all their answers.
    Asked(usize),
    /// One by one, waiting for each answer.
    Questions,
}

/// What one load saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// By lane.
    pub lanes: [LaneTally; 4],
    /// Single fire-and-forget operations, by lane; one in [`SAMPLE_EVERY`].
    pub told: [Waits; 4],
    /// Questions whose answers are fetched later, by lane.
    pub later: [Waits; 4],
    /// Questions, by lane.
    pub asked: [Waits; 4],
    /// Whole batches, by operation: a batch's time divided by its length.
    pub batches: Waits,
    /// Answers that were refusals.
    pub refused: u64,
    /// Answers that their operations cannot have.
    pub misfits: u64,
    /// The first of them, for a person.
    pub misfit: Option<String>,
}

/// What became of one lane's operations, as their senders saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneTally {
    /// Sent.
    pub sent: u64,
    /// Taken by fire and forget.
    pub taken: u64,
    /// Answered.
    pub answered: u64,
    /// Given back for want of room.
    pub rejected: u64,
    /// Displaced while their callers waited.
    pub shed: u64,
    /// Not executed in time.
    pub expired: u64,
    /// Taken, and not answered in time.
    pub unknown: u64,
    /// Refused because the actor had ended.
    pub stopped: u64,
}

impl Tally {
    /// Adds what another producer saw.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.lanes.iter_mut().zip(&other.lanes) {
            mine.sent += theirs.sent;
            mine.taken += theirs.taken;
            mine.answered += theirs.answered;
            mine.rejected += theirs.rejected;
            mine.shed += theirs.shed;
            mine.expired += theirs.expired;
            mine.unknown += theirs.unknown;
            mine.stopped += theirs.stopped;
        }
        for (mine, theirs) in self.told.iter_mut().zip(&other.told) {
            mine.add(theirs);
        }
        for (mine, theirs) in self.later.iter_mut().zip(&other.later) {
            mine.add(theirs);
        }
        for (mine, theirs) in self.asked.iter_mut().zip(&other.asked) {
            mine.add(theirs);
        }
        self.batches.add(&other.batches);
        self.refused += other.refused;
        self.misfits += other.misfits;
        if self.misfit.is_none() {
            self.misfit.clone_from(&other.misfit);
        }
    }

    /// Operations of all lanes.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.sent).sum()
    }

    fn note_answer(&mut self, op: Op, answer: &Answer) {
        self.refused += u64::from(matches!(answer, Answer::Refused(_)));
        if !op.allows(answer) {
            self.misfits += 1;
            self.misfit
                .get_or_insert_with(|| format!("{op:?} was answered {answer:?}"));
        }
    }

    fn note_asked(&mut self, lane: Lane, result: Result<(), AskError>) {
        let tally = &mut self.lanes[lane as usize];
        let counter = match result {
            Ok(()) => &mut tally.answered,
            Err(AskError::Shed) => &mut tally.shed,
            Err(AskError::Expired) => &mut tally.expired,
            Err(AskError::Unknown) => &mut tally.unknown,
            Err(AskError::Stopped) => &mut tally.stopped,
            Err(_) => &mut tally.rejected,
        };
        *counter += 1;
    }

    fn note_told(&mut self, lane: Lane, result: Result<(), NotTaken>) {
        let tally = &mut self.lanes[lane as usize];
        let counter = match result {
            Ok(()) => &mut tally.taken,
            Err(NotTaken::Full) => &mut tally.rejected,
            Err(NotTaken::Stopped) => &mut tally.stopped,
        };
        *counter += 1;
    }

    fn note_sent(&mut self, message: &Message) -> Lane {
        let lane = lane_of(message);
        self.lanes[lane as usize].sent += 1;
        lane
    }

    /// A batch queues with its least urgent message.
    fn note_batch(&mut self, messages: &[Message]) -> Lane {
        let lane = messages.iter().map(lane_of).max().unwrap_or(Lane::Low);
        self.lanes[lane as usize].sent += messages.len() as u64;
        lane
    }
}

/// Adds the swarms of `shape` and half of what the `producers` will have, one question at a time; the names of the swarms.
///
/// # Errors
/// An answer that cannot be, or none.
pub fn prepare<S: Side>(side: &S, shape: Shape, mixes: &mut [Mix]) -> Result<Names, String> {
    let mut caller = side.caller();
    let mut names = Names::new(shape.swarms);
    let swarms = (0..shape.swarms).map(|swarm| Op::SwarmAdd {
        swarm,
        links_min: 8,
    });
    let filling = mixes.iter_mut().flat_map(Mix::prefill);
    for op in swarms.chain(filling) {
        let answer = caller
            .ask(names.message(op), PATIENCE)
            .map_err(|error| format!("{op:?}: {error}"))?;
        if !op.allows(&answer) {
            return Err(format!("{op:?} was answered {answer:?}"));
        }
        names.learn(op, &answer);
    }
    Ok(names)
}

/// Puts each producer's operations on `side`, each by a thread of its own, all beginning at once. `began` is called when they do.
pub fn run<S: Side>(
    side: &S,
    names: &Names,
    work: &[Vec<Op>],
    way: Way,
    watch: Stopwatch,
    began: impl FnOnce(),
) -> Tally {
    let barrier = Barrier::new(work.len() + 1);
    thread::scope(|scope| {
        let producers: Vec<_> = work
            .iter()
            .map(|ops| {
                let (barrier, mut caller) = (&barrier, side.caller());
                scope.spawn(move || {
                    let mut producer = Producer::new(names, watch);
                    barrier.wait();
                    match way {
                        Way::Single => producer.single(&mut caller, ops),
                        Way::Told(batch) => producer.told(&mut caller, ops, batch),
                        Way::Asked(batch) => producer.asked(&mut caller, ops, batch),
                        Way::Questions => producer.questions(&mut caller, ops),
                    }
                    producer.tally
                })
            })
            .collect();
        barrier.wait();
        began();
        let mut tally = Tally::default();
        for producer in producers {
            tally.add(&producer.join().expect("a producer does not panic"));
        }
        tally
    })
}

/// One producer at work.
#[derive(Debug)]
pub(super) struct Producer<'a> {
    names: &'a Names,
    watch: Stopwatch,
    pub(super) tally: Tally,
    /// Whether the actor may be ending.
    ends: bool,
    /// Answers to be fetched, and what they answer.
    outstanding: usize,
    later: Slab<Op>,
    answers: Vec<Later>,
}

impl<'a> Producer<'a> {
    pub(super) fn new(names: &'a Names, watch: Stopwatch) -> Self {
        Self {
            names,
            watch,
            tally: Tally::default(),
            ends: false,
            outstanding: 0,
            later: Slab::new(),
            answers: Vec::new(),
        }
    }

    /// One that goes on while the actor ends.
    pub(super) fn and_the_end(self) -> Self {
        Self { ends: true, ..self }
    }

    fn single(&mut self, caller: &mut impl Caller, ops: &[Op]) {
        for (at, &op) in ops.iter().enumerate() {
            if op.is_query() {
                self.query(caller, at, op);
            } else {
                self.tell(caller, at, op);
            }
        }
        self.collect(caller, true);
    }

    /// Asks, for the answer to be fetched later. One that has too many to fetch waits for them.
    fn query(&mut self, caller: &mut impl Caller, at: usize, op: Op) {
        if !self.has_place() {
            self.collect(caller, true);
        }
        self.tell_with(caller, at, op);
    }

    /// Whether one more answer may be outstanding.
    pub(super) fn has_place(&self) -> bool {
        self.outstanding < ANSWERS_MAX
    }

    /// Asks, for the answer to be fetched later, where there is a place for it.
    pub(super) fn tell_with(&mut self, caller: &mut impl Caller, at: usize, op: Op) {
        let message = self.names.message(op);
        let lane = self.tally.note_sent(&message);
        let tag = self.later.insert(op);
        let result = if at.is_multiple_of(SAMPLE_EVERY) {
            let (result, nanos) = self.watch.time(|| caller.tell_with(message, tag));
            self.tally.later[lane as usize].record(nanos);
            result
        } else {
            caller.tell_with(message, tag)
        };
        match result {
            Ok(()) => self.outstanding += 1,
            Err(_) => {
                self.later.remove(tag);
                self.tally.note_told(lane, result);
            }
        }
        if self.outstanding >= COLLECT_AT {
            self.collect(caller, false);
        }
    }

    /// Looks at the answers that have come; with `all`, at those that are still to come too.
    pub(super) fn collect(&mut self, caller: &mut impl Caller, all: bool) {
        let mut answers = std::mem::take(&mut self.answers);
        caller.collect(all, &mut answers);
        for (tag, outcome) in answers.drain(..) {
            self.outstanding -= 1;
            let op = self.later.remove(tag);
            match &outcome {
                Ok(Answer::Refused(Refusal::ShuttingDown)) if self.ends => self.tally.refused += 1,
                Ok(answer) => self.tally.note_answer(op, answer),
                Err(_) => {}
            }
            let lane = lane_of(&self.names.message(op));
            self.tally.note_asked(lane, outcome.map(|_| ()));
        }
        self.answers = answers;
    }

    /// Tells the operation at place `at`.
    pub(super) fn tell(&mut self, caller: &mut impl Caller, at: usize, op: Op) {
        let message = self.names.message(op);
        let lane = self.tally.note_sent(&message);
        let result = if at.is_multiple_of(SAMPLE_EVERY) {
            let (result, nanos) = self.watch.time(|| caller.tell(message));
            self.tally.told[lane as usize].record(nanos);
            result
        } else {
            caller.tell(message)
        };
        self.tally.note_told(lane, result);
    }

    fn questions(&mut self, caller: &mut impl Caller, ops: &[Op]) {
        for &op in ops {
            self.question_within(caller, op, PATIENCE);
        }
    }

    /// Asks, and waits for the answer for at most `patience`.
    pub(super) fn question_within(&mut self, caller: &mut impl Caller, op: Op, patience: Duration) {
        let message = self.names.message(op);
        let lane = self.tally.note_sent(&message);
        let (result, nanos) = self.watch.time(|| caller.ask(message, patience));
        self.tally.asked[lane as usize].record(nanos);
        if let Ok(answer) = &result {
            self.tally.note_answer(op, answer);
        }
        self.tally.note_asked(lane, result.map(|_| ()));
    }

    fn told(&mut self, caller: &mut impl Caller, ops: &[Op], batch: usize) {
        let mut messages = Vec::with_capacity(batch);
        for (at, &op) in ops.iter().enumerate() {
            if op.is_query() {
                self.query(caller, at, op);
                continue;
            }
            messages.push(self.names.message(op));
            if messages.len() == batch {
                self.tell_batch(caller, &mut messages);
            }
        }
        if !messages.is_empty() {
            self.tell_batch(caller, &mut messages);
        }
        self.collect(caller, true);
    }

    fn tell_batch(&mut self, caller: &mut impl Caller, messages: &mut Vec<Message>) {
        let length = messages.len();
        let lane = self.tally.note_batch(messages);
        let (result, nanos) = self.watch.time(|| caller.tell_batch(messages));
        self.tally.batches.record(nanos / length as u64);
        // What is left found no room.
        let why = result.err().unwrap_or(NotTaken::Full);
        let left = messages.drain(..).count();
        for at in 0..length {
            let result = if at < left { Err(why) } else { Ok(()) };
            self.tally.note_told(lane, result);
        }
    }

    fn asked(&mut self, caller: &mut impl Caller, ops: &[Op], batch: usize) {
        let (mut messages, mut answers) = (Vec::with_capacity(batch), Vec::with_capacity(batch));
        for part in ops.chunks(batch) {
            messages.extend(part.iter().map(|&op| self.names.message(op)));
            let lane = self.tally.note_batch(&messages);
            let (result, nanos) = self
                .watch
                .time(|| caller.ask_batch(&mut messages, &mut answers, PATIENCE));
            self.tally.batches.record(nanos / part.len() as u64);
            messages.clear();
            if result.is_ok() && answers.len() != part.len() {
                self.tally.misfits += 1;
                let text = format!("{} answers for {} operations", answers.len(), part.len());
                self.tally.misfit.get_or_insert(text);
            }
            if result.is_ok() {
                for (&op, answer) in part.iter().zip(&answers) {
                    self.tally.note_answer(op, answer);
                }
            }
            for _ in part {
                self.tally.note_asked(lane, result);
            }
        }
    }
}
