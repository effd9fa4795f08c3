//! Many threads putting one load on one side, and what they see.

use std::sync::Barrier;
use std::thread;

use crate::actor::mailbox::{Lane, lane_of};
use crate::actor::reply::AskError;
use crate::engine::message::{Answer, Message};
use crate::time::Duration;

use super::side::{Caller, NotTaken, PATIENCE, Side};
use super::trace::{Mix, Names, Op, Shape};
use super::wait::{SAMPLE_EVERY, Stopwatch, Waits};

/// How a producer hands its operations over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Changes are told, queries asked, one by one.
    Single,
    /// So many at a time, all told; the answers to queries are not waited for.
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
}

impl<'a> Producer<'a> {
    pub(super) fn new(names: &'a Names, watch: Stopwatch) -> Self {
        Self {
            names,
            watch,
            tally: Tally::default(),
        }
    }

    fn single(&mut self, caller: &mut impl Caller, ops: &[Op]) {
        for (at, &op) in ops.iter().enumerate() {
            if op.is_query() {
                self.question_within(caller, op, PATIENCE);
            } else {
                self.tell(caller, at, op);
            }
        }
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
        for part in ops.chunks(batch) {
            messages.extend(part.iter().map(|&op| self.names.message(op)));
            let lane = self.tally.note_batch(&messages);
            let (result, nanos) = self.watch.time(|| caller.tell_batch(&mut messages));
            self.tally.batches.record(nanos / part.len() as u64);
            // What is left found no room.
            let why = result.err().unwrap_or(NotTaken::Full);
            let left = messages.drain(..).count();
            for at in 0..part.len() {
                let result = if at < left { Err(why) } else { Ok(()) };
                self.tally.note_told(lane, result);
            }
        }
    }

    fn asked(&mut self, caller: &mut impl Caller, ops: &[Op], batch: usize) {
        for part in ops.chunks(batch) {
            let messages: Vec<_> = part.iter().map(|&op| self.names.message(op)).collect();
            let lane = self.tally.note_batch(&messages);
            let (result, nanos) = self.watch.time(|| caller.ask_batch(messages, PATIENCE));
            self.tally.batches.record(nanos / part.len() as u64);
            match &result {
                Ok(answers) if answers.len() == part.len() => {
                    for (&op, answer) in part.iter().zip(answers) {
                        self.tally.note_answer(op, answer);
                    }
                }
                Ok(answers) => {
                    self.tally.misfits += 1;
                    let text = format!("{} answers for {} operations", answers.len(), part.len());
                    self.tally.misfit.get_or_insert(text);
                }
                Err(_) => {}
            }
            for _ in part {
                self.tally
                    .note_asked(lane, result.as_ref().map(|_| ()).map_err(|&error| error));
            }
        }
    }
}
