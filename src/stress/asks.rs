//! How long a question takes while others load the same side (requirement Q3).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::actor::mailbox::lane_of;

use super::side::{Caller, NotTaken, PATIENCE, Side};
use super::trace::{Names, Op};
use super::wait::{Stopwatch, Waits};

/// Operations that a background producer hands over at once.
const BATCH: usize = 32;

/// A paced producer works off its share of so long, then rests until the next.
const SLICE: Duration = Duration::from_millis(1);

/// What goes on beside the questions.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// Each producer's operations, told in batches of 32, again and again.
    pub work: &'a [Vec<Op>],
    /// Operations a second that all of them together keep to; `None` is as fast as they can.
    pub pace: Option<u64>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// By lane.
    pub waits: [Waits; 4],
    /// Background operations that were carried out meanwhile.
    pub beside: u64,
    /// For how long.
    pub seconds: f64,
    /// Questions without an answer.
    pub unanswered: u64,
    /// The first answer that could not be.
    pub misfit: Option<String>,
}

/// Asks `questions` one after the other, beside what `beside` says.
pub fn run<S: Side>(
    side: &S,
    names: &Names,
    questions: &[Op],
    beside: Beside<'_>,
    watch: Stopwatch,
) -> Found {
    let over = AtomicBool::new(false);
    let carried = AtomicU64::new(0);
    let share = beside
        .pace
        .map(|pace| pace / beside.work.len().max(1) as u64);
    thread::scope(|scope| {
        for ops in beside.work {
            let (over, carried, mut caller) = (&over, &carried, side.caller());
            scope.spawn(move || {
                let done = produce(&mut caller, names, ops, share, over);
                carried.fetch_add(done, Ordering::Relaxed);
            });
        }
        // Dropped at the end or by a panic: the others end either way.
        let _over = Over(&over);
        let began = Instant::now();
        let mut found = ask(&mut side.caller(), names, questions, watch);
        found.seconds = began.elapsed().as_secs_f64();
        found
    })
    .with(carried.into_inner())
}

impl Found {
    fn with(mut self, beside: u64) -> Self {
        self.beside = beside;
        self
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ask(caller: &mut impl Caller, names: &Names, questions: &[Op], watch: Stopwatch) -> Found {
    let mut found = Found::default();
    for &op in questions {
        let message = names.message(op);
        let lane = lane_of(&message);
        let (result, nanos) = watch.time(|| caller.ask(message, PATIENCE));
        found.waits[lane as usize].record(nanos);
        match result {
            Ok(answer) if op.allows(&answer) => {}
            Ok(answer) => {
                found
                    .misfit
                    .get_or_insert_with(|| format!("{op:?} was answered {answer:?}"));
            }
            Err(_) => found.unanswered += 1,
        }
    }
    found
}

fn produce(
    caller: &mut impl Caller,
    names: &Names,
    ops: &[Op],
    pace: Option<u64>,
    over: &AtomicBool,
) -> u64 {
    let mut messages = Vec::with_capacity(BATCH);
    let mut done = 0;
    let began = Instant::now();
    for part in ops.chunks(BATCH).cycle() {
        messages.extend(part.iter().map(|&op| names.message(op)));
        while !messages.is_empty() {
            match caller.tell_batch(&mut messages) {
                _ if over.load(Ordering::Relaxed) => return done,
                Ok(taken) => done += taken as u64,
                Err(NotTaken::Full) => {}
                Err(NotTaken::Stopped) => return done,
            }
        }
        if let Some(pace) = pace {
            let micros = u128::from(done) * 1_000_000 / u128::from(pace.max(1));
            let due = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
            let ahead = due.saturating_sub(began.elapsed());
            if ahead > SLICE {
                // Nobody unparks it: a pause.
                thread::park_timeout(ahead);
            }
        }
    }
    done
}
