//! What a stress run found, as the contract's JSON and as rows for a table.

use serde::Serialize;

use crate::actor::mailbox::Lane;

use super::load::{LaneTally, Tally};
use super::rig::Counted;
use super::wait::{WaitSummary, Waits};

/// Everything found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What all chance follows from.
    pub seed: u64,
    /// Cores that this process may run on.
    pub cores: usize,
    /// What a pair of clock readings costs; taken off every wait.
    pub clock_cost_ns: u64,
    /// One single fire-and-forget operation in so many is timed.
    pub sampled_every: usize,
    /// Loads, one for each side and setting.
    pub runs: Vec<Run>,
    /// One trace through both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceReport>,
    /// Both sides against each other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ratios: Vec<Ratio>,
    /// What was checked.
    pub checks: Vec<Check>,
}

impl Report {
    /// The first check that failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Check> {
        self.checks.iter().find(|check| !check.ok)
    }
}

/// One load on one side.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// `actor` or `locked`.
    pub side: &'static str,
    /// Threads.
    pub producers: usize,
    /// Operations handed over at once.
    pub batch: usize,
    /// Operations of all producers.
    pub operations: u64,
    /// From the first to the last carried out.
    pub seconds: f64,
    /// Of all threads, user and system.
    pub cpu_seconds: f64,
    /// Carried out, by wall time.
    pub operations_per_second: f64,
    /// Answers that were refusals (a stream in the way is one).
    pub refused: u64,
    /// How long callers waited.
    pub waits: Vec<WaitRow>,
    /// What became of the operations.
    pub lanes: Vec<LaneRow>,
    /// Of the actor alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<ActorRow>,
    /// The transfer beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferRow>,
}

/// What the actor's own counts say.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ActorRow {
    /// Messages that all lanes take together.
    pub capacity: u32,
    /// Most ever found waiting.
    pub queue_peak: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Each wake ends one wait, and each turn waits once: wakes are no more than this.
    pub turns_per_operation: f64,
    /// Turns of more than 50 ms.
    pub turns_slow: u64,
}

/// A transfer that ran beside the load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TransferRow {
    /// Bytes of payload.
    pub bytes: u64,
    /// Bytes per second with nothing beside it.
    pub alone_rate: u64,
    /// Bytes per second beside the load.
    pub beside_rate: u64,
}

/// Waits of one kind of call in one lane.
#[derive(Clone, Debug, Serialize)]
pub struct WaitRow {
    /// `tell`, `later` (to ask for an answer that is fetched later), `ask`, or `batch` (there by operation: the batch's time
    /// divided by its length).
    pub mode: &'static str,
    /// `all` for batches.
    pub lane: &'static str,
    /// In nanoseconds.
    #[serde(flatten)]
    pub summary: WaitSummary,
}

/// What became of one lane's operations: `processed + rejected + shed + expired + cancelled = sent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LaneRow {
    /// `critical`, `high`, `normal` or `low`.
    pub lane: &'static str,
    /// Offered.
    pub sent: u64,
    /// Carried out.
    pub processed: u64,
    /// Given back for want of room.
    pub rejected: u64,
    /// Displaced by more urgent ones.
    pub shed: u64,
    /// Not taken in time.
    pub expired: u64,
    /// Left over at the end.
    pub cancelled: u64,
}

/// One trace through both sides, single-file.
#[derive(Clone, Debug, Serialize)]
pub struct TraceReport {
    /// Operations.
    pub operations: u64,
    /// Answers that were refusals.
    pub refused: u64,
    /// Answers about the end state.
    pub end_state: u64,
    /// The first difference, if there is one.
    pub difference: Option<String>,
}

/// One number of both sides.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// Of the requirement: `Q1`, `Q2`, `Q3`, or empty.
    pub id: &'static str,
    /// What was measured.
    pub what: String,
    /// `operations/s` or `ns`.
    pub unit: &'static str,
    /// The actor's.
    pub actor: f64,
    /// The twin's.
    pub locked: f64,
    /// How many times better the actor is: above 1 the actor wins, below 1 the lock.
    pub better: f64,
}

impl Ratio {
    /// More is better.
    #[must_use]
    pub fn of_rates(id: &'static str, what: String, actor: f64, locked: f64) -> Self {
        Self {
            id,
            what,
            unit: "operations/s",
            actor,
            locked,
            better: actor / locked.max(f64::MIN_POSITIVE),
        }
    }

    /// Less is better.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds for people")]
    pub fn of_waits(id: &'static str, what: String, actor: u64, locked: u64) -> Self {
        let (actor, locked) = (actor as f64, locked as f64);
        Self {
            id,
            what,
            unit: "ns",
            actor,
            locked,
            better: locked / actor.max(1.0),
        }
    }
}

/// Something that must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// Whether it does.
    pub ok: bool,
    /// The numbers behind it.
    pub detail: String,
}

impl Check {
    /// Whether `ok` holds, and the numbers.
    #[must_use]
    pub fn new(what: impl Into<String>, ok: bool, detail: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ok,
            detail: detail.into(),
        }
    }
}

/// The rows of the kinds of calls that were made.
#[must_use]
pub fn wait_rows(tally: &Tally) -> Vec<WaitRow> {
    let by_lane = |mode, waits: &[Waits; 4]| {
        Lane::ALL
            .into_iter()
            .zip(waits)
            .map(|(lane, waits)| WaitRow {
                mode,
                lane: lane.name(),
                summary: waits.summary(),
            })
            .collect::<Vec<_>>()
    };
    let mut rows = by_lane("tell", &tally.told);
    rows.extend(by_lane("later", &tally.later));
    rows.extend(by_lane("ask", &tally.asked));
    rows.push(WaitRow {
        mode: "batch",
        lane: "all",
        summary: tally.batches.summary(),
    });
    rows.retain(|row| row.summary.samples > 0);
    rows
}

/// The twin has no queue: what its callers sent was carried out.
#[must_use]
pub fn rows_of_callers(lanes: &[LaneTally; 4]) -> Vec<LaneRow> {
    let rows = Lane::ALL.into_iter().zip(lanes);
    rows.map(|(lane, tally)| LaneRow {
        lane: lane.name(),
        sent: tally.sent,
        processed: tally.taken + tally.answered,
        ..LaneRow::default()
    })
    .collect()
}

/// As the actor counted.
#[must_use]
pub fn rows_of_actor(counted: &Counted) -> Vec<LaneRow> {
    let rows = Lane::ALL.into_iter().zip(&counted.lanes);
    rows.map(|(lane, figures)| LaneRow {
        lane: lane.name(),
        sent: figures.sent,
        processed: figures.processed,
        rejected: figures.rejected,
        shed: figures.shed,
        expired: figures.expired,
        cancelled: figures.cancelled,
    })
    .collect()
}

/// That nothing was lost: the rows add up, and agree with what the callers saw.
#[must_use]
pub fn accounted(rows: &[LaneRow], callers: &[LaneTally; 4]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (row, seen) in rows.iter().zip(callers) {
        if row.sent == 0 && seen.sent == 0 {
            continue;
        }
        let sum = row.processed + row.rejected + row.shed + row.expired + row.cancelled;
        checks.push(Check::new(
            format!("{}: every operation is accounted for", row.lane),
            sum == row.sent,
            format!(
                "{} processed + {} rejected + {} shed + {} expired + {} cancelled = {sum}, sent {}",
                row.processed, row.rejected, row.shed, row.expired, row.cancelled, row.sent
            ),
        ));
        // `Unknown` is processed; what was refused because the actor had ended is cancelled. Fire and forget, a caller does
        // not learn what became of its message after it was taken.
        let refused = seen.rejected + seen.stopped;
        let agrees = row.sent == seen.sent
            && row.processed >= seen.answered + seen.unknown
            && row.shed >= seen.shed
            && row.expired >= seen.expired
            && row.rejected + row.cancelled >= refused
            && row.processed + row.shed + row.expired + row.cancelled
                >= seen.taken + seen.answered + seen.unknown + seen.shed + seen.expired;
        checks.push(Check::new(
            format!("{}: the callers saw the same", row.lane),
            agrees,
            format!(
                "sent {}, taken {}, answered {}, rejected {}, shed {}, expired {}, unknown {}, stopped {}",
                seen.sent,
                seen.taken,
                seen.answered,
                seen.rejected,
                seen.shed,
                seen.expired,
                seen.unknown,
                seen.stopped
            ),
        ));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> LaneRow {
        LaneRow {
            lane: "high",
            sent: 100,
            processed: 60,
            rejected: 20,
            shed: 10,
            expired: 6,
            cancelled: 4,
        }
    }

    fn seen() -> LaneTally {
        LaneTally {
            sent: 100,
            taken: 50,
            answered: 15,
            rejected: 20,
            shed: 4,
            expired: 5,
            unknown: 5,
            stopped: 1,
        }
    }

    fn holds(row: LaneRow, seen: LaneTally) -> Vec<bool> {
        let callers = [
            seen,
            LaneTally::default(),
            LaneTally::default(),
            LaneTally::default(),
        ];
        accounted(&[row], &callers)
            .iter()
            .map(|check| check.ok)
            .collect()
    }

    #[test]
    fn what_adds_up_and_agrees_holds_and_each_lost_operation_shows() {
        assert_eq!(holds(row(), seen()), [true, true]);
        let lost = LaneRow {
            processed: 59,
            ..row()
        };
        assert_eq!(holds(lost, seen()), [false, true]);
        let unseen = LaneTally {
            sent: 101,
            ..seen()
        };
        assert_eq!(holds(row(), unseen), [true, false]);
        let more = LaneTally {
            answered: 56,
            taken: 9,
            ..seen()
        };
        assert_eq!(
            holds(row(), more),
            [true, false],
            "answered more than was processed"
        );
        assert_eq!(holds(LaneRow::default(), LaneTally::default()), [true; 0]);
    }

    #[test]
    fn a_ratio_above_one_is_always_the_actors() {
        let rate = Ratio::of_rates("Q2", String::new(), 4e6, 2e6);
        let wait = Ratio::of_waits("Q1", String::new(), 20, 180);
        assert!(rate.better > 1.9 && rate.better < 2.1);
        assert!(wait.better > 8.9 && wait.better < 9.1);
    }
}
