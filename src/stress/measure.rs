//! One load on one side: prepared, put on, counted and checked.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use super::load::{self, Tally, Way};
use super::report::{ActorRow, Check, Run, accounted, rows_of_actor, rows_of_callers, wait_rows};
use super::rig::{Queue, counted};
use super::side::Side;
use super::trace::{Mix, Op, Shape};
use super::wait::Stopwatch;

/// A load, the same for both sides.
#[derive(Debug)]
pub struct Plan {
    /// How operations are handed over.
    pub way: Way,
    /// The table they work on.
    pub shape: Shape,
    /// What each producer does before.
    mixes: Vec<Mix>,
    /// What each producer does.
    pub work: Vec<Vec<Op>>,
}

impl Plan {
    /// `messages` operations of `producers` producers, drawn by `draw` from each one's mix.
    #[must_use]
    pub fn new(
        seed: u64,
        producers: u8,
        messages: u64,
        way: Way,
        draw: impl Fn(&mut Mix, usize) -> Vec<Op>,
    ) -> Self {
        let shape = Shape::default();
        let count = usize::try_from(messages / u64::from(producers.max(1))).unwrap_or(usize::MAX);
        let mut mixes: Vec<_> = (0..producers.max(1))
            .map(|producer| Mix::new(seed, producer, shape))
            .collect();
        // The operations go on from where the filling ends, so it is drawn first, and drawn again for each side.
        let work = mixes
            .iter_mut()
            .map(|mix| {
                let _ = mix.prefill();
                draw(mix, count)
            })
            .collect();
        let mixes = (0..producers.max(1))
            .map(|producer| Mix::new(seed, producer, shape))
            .collect();
        Self {
            way,
            shape,
            mixes,
            work,
        }
    }

    /// Swarms and streams as they are before the load, on `side`.
    ///
    /// # Errors
    /// An answer that cannot be, for a person.
    pub fn prepare<S: Side>(&self, side: &S) -> Result<super::trace::Names, String> {
        load::prepare(side, self.shape, &mut self.mixes.clone())
    }
}

/// Puts `plan` on `side`, whose queue is `queue` if it has one.
///
/// # Errors
/// What made the run worthless, for a person.
pub fn one<S: Side>(
    side: &S,
    plan: &Plan,
    queue: Queue,
    watch: Stopwatch,
) -> Result<(Run, Vec<Check>), String> {
    let names = plan.prepare(side)?;
    let before = side.settle().map_err(|error| error.to_string())?;
    let mut began = (Instant::now(), cpu_seconds());
    let tally = load::run(side, &names, &plan.work, plan.way, watch, || {
        began = (Instant::now(), cpu_seconds());
    });
    let after = side.settle().map_err(|error| error.to_string())?;
    let seconds = began.0.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - began.1;
    let mut checks = vec![sensible(S::NAME, &tally)];
    let (lanes, actor) = match before.zip(after) {
        Some((before, after)) => {
            let mut counted = counted(&before, &after);
            // The questions for figures are not part of the load: those of `settle`, the last of which is counted in `after`.
            let figures = &mut counted.lanes[crate::actor::mailbox::Lane::Low as usize];
            let own = figures.sent.saturating_sub(tally.lanes[3].sent);
            figures.sent -= own;
            figures.processed = figures.processed.saturating_sub(own);
            let rows = rows_of_actor(&counted);
            checks.extend(accounted(&rows, &tally.lanes));
            checks.push(Check::new(
                "the queue kept its bound",
                counted.queue_peak <= u64::from(queue.capacity),
                format!("peak {} of {}", counted.queue_peak, queue.capacity),
            ));
            let row = ActorRow {
                capacity: queue.capacity,
                queue_peak: counted.queue_peak,
                turns: counted.turns,
                turns_per_operation: ratio(counted.turns, tally.sent()),
                turns_slow: counted.turns_slow,
            };
            (rows, Some(row))
        }
        None => {
            let rows = rows_of_callers(&tally.lanes);
            checks.extend(accounted(&rows, &tally.lanes));
            (rows, None)
        }
    };
    let processed: u64 = lanes.iter().map(|lane| lane.processed).sum();
    let run = Run {
        side: S::NAME,
        producers: plan.work.len(),
        batch: match plan.way {
            Way::Told(batch) | Way::Asked(batch) => batch,
            Way::Single | Way::Questions => 1,
        },
        operations: tally.sent(),
        seconds,
        cpu_seconds: cpu,
        operations_per_second: per_second(processed, seconds),
        refused: tally.refused,
        waits: wait_rows(&tally),
        lanes,
        actor,
        transfer: None,
    };
    Ok((run, checks))
}

fn sensible(side: &str, tally: &Tally) -> Check {
    let detail = tally.misfit.clone().unwrap_or_default();
    Check::new(
        format!("{side}: every answer fits its question"),
        tally.misfits == 0,
        detail,
    )
}

#[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Of `count` in `seconds`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
pub fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(1e-9)
}

/// Of all threads of the process, user and system.
#[allow(clippy::cast_precision_loss, reason = "seconds for people")]
pub(super) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
