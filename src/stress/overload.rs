//! Far more than the queue takes, from every lane, and a shutdown in the middle of it.
//!
//! The loop is turned here instead of by [`Loop::run`], for its figures are wanted after its end: what the end left behind is
//! part of the account.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::bounded;

use crate::actor::Loop;
use crate::actor::handle::Handle;
use crate::actor::mailbox::{Lane, Options as MailboxOptions};
use crate::engine::Engine;
use crate::engine::message::Message;
use crate::engine::settings::Settings;
use crate::hash;
use crate::host::OsHost;
use crate::metrics::Metrics;
use crate::rng::Rng;
use crate::time::{Clock, Duration};

use super::Options;
use super::load::{self, Tally};
use super::measure::{Plan, cpu_seconds, per_second, ratio};
use super::report::{ActorRow, Check, Run, accounted, rows_of_actor, wait_rows};
use super::rig::{self, counted};
use super::side::{Actor, Caller, PATIENCE, Side};
use super::trace::{Mix, Names, Op};
use super::wait::Stopwatch;

/// Of one operation in so many the answer is wanted, so that callers hear of what was shed. Nobody waits for it: whoever waits
/// does not overload.
const ASK_EVERY: usize = 10;

/// One operation in so many is a listing, for the low lane.
const LIST_EVERY: usize = 16;

/// Shutdowns told, one behind the other: they are one entry, and all of them count.
const SHUTDOWNS: u64 = 3;

/// Runs it.
///
/// # Errors
/// What made the run worthless, for a person.
pub fn run(options: &Options, watch: Stopwatch) -> Result<(Run, Vec<Check>), String> {
    let plan = Plan::new(
        options.seed,
        options.producers,
        options.messages,
        load::Way::Single,
        Mix::links,
    );
    let (handle, actor) = start(options)?;
    let side = Actor(handle.clone());
    let names = plan.prepare(&side)?;
    let before = side
        .settle()
        .map_err(|error| error.to_string())?
        .ok_or("an actor has figures")?;
    let began = (Instant::now(), cpu_seconds());
    let (tally, shutdown_at) = flood(&side, &names, &plan.work, watch);
    // Nobody sends any more: from here on the figures stand still.
    let after = actor.end()?;
    let seconds = began.0.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - began.1;
    let counted = counted(&before, &after);
    let rows = rows_of_actor(&counted);
    let mut seen = tally.lanes;
    let critical = &mut seen[Lane::Critical as usize];
    (critical.sent, critical.taken) = (SHUTDOWNS, SHUTDOWNS);
    let mut figures = counted;
    // The last question of `settle` before the flood is counted in it as answered.
    let own = figures.lanes[Lane::Low as usize]
        .sent
        .saturating_sub(seen[Lane::Low as usize].sent);
    let low = &mut figures.lanes[Lane::Low as usize];
    (low.sent, low.processed) = (low.sent - own, low.processed.saturating_sub(own));
    let rows = if own > 0 {
        rows_of_actor(&figures)
    } else {
        rows
    };
    let mut checks = accounted(&rows, &seen);
    let first = rows[Lane::Critical as usize];
    checks.push(Check::new(
        "no critical message is lost",
        first.processed >= 1 && first.rejected + first.shed + first.expired == 0,
        format!("{first:?}"),
    ));
    let over: u64 = rows.iter().map(|row| row.rejected + row.shed).sum();
    checks.push(Check::new(
        "the queue was overloaded",
        over > 0,
        format!("{over} rejected or shed; use more --messages, or a smaller --capacity"),
    ));
    checks.push(Check::new(
        "the queue kept its bound",
        counted.queue_peak <= u64::from(options.queue.capacity),
        format!("peak {} of {}", counted.queue_peak, options.queue.capacity),
    ));
    checks.push(Check::new(
        "every answer fits its question",
        tally.misfits == 0,
        tally.misfit.clone().unwrap_or_default(),
    ));
    log::info!("shutdown after {shutdown_at} operations");
    let processed = rows.iter().map(|row| row.processed).sum();
    let run = Run {
        side: Actor::NAME,
        producers: plan.work.len(),
        batch: 1,
        operations: tally.sent(),
        seconds,
        cpu_seconds: cpu,
        operations_per_second: per_second(processed, seconds),
        refused: tally.refused,
        waits: wait_rows(&tally),
        lanes: rows,
        actor: Some(ActorRow {
            capacity: options.queue.capacity,
            queue_peak: counted.queue_peak,
            turns: counted.turns,
            turns_per_operation: ratio(counted.turns, tally.sent()),
            turns_slow: counted.turns_slow,
        }),
        transfer: None,
    };
    Ok((run, checks))
}

/// All producers at once; whoever sends what is four fifths of the whole ends the actor with it.
fn flood(side: &Actor, names: &Names, work: &[Vec<Op>], watch: Stopwatch) -> (Tally, u64) {
    let total: usize = work.iter().map(Vec::len).sum();
    let end_at = (total as u64).saturating_mul(4) / 5;
    let sent = AtomicU64::new(0);
    let tally = thread::scope(|scope| {
        let producers: Vec<_> = work
            .iter()
            .map(|ops| {
                let (sent, mut caller) = (&sent, side.caller());
                scope.spawn(move || {
                    let mut producer = load::Producer::new(names, watch).and_the_end();
                    for (at, &op) in ops.iter().enumerate() {
                        if sent.fetch_add(1, Ordering::Relaxed) == end_at {
                            for _ in 0..SHUTDOWNS {
                                // Never refused, and nobody waits for it.
                                let budget = Duration::from_secs(2);
                                let _ = Caller::tell(&mut caller, Message::Shutdown { budget });
                            }
                        }
                        let op = match op {
                            Op::LinksCount { swarm } if at.is_multiple_of(LIST_EVERY / 4) => {
                                Op::IgnoredShow { swarm }
                            }
                            other => other,
                        };
                        if at.is_multiple_of(ASK_EVERY) && producer.has_place() {
                            producer.tell_with(&mut caller, at, op);
                        } else {
                            producer.tell(&mut caller, at, op);
                        }
                    }
                    producer.collect(&mut caller, true);
                    producer.tally
                })
            })
            .collect();
        let mut tally = Tally::default();
        for producer in producers {
            tally.add(&producer.join().expect("a producer does not panic"));
        }
        tally
    });
    (tally, end_at)
}

/// An actor whose loop is turned by us.
struct Turned {
    go_on: crossbeam_channel::Sender<()>,
    thread: thread::JoinHandle<(Metrics, OsHost)>,
    ended: crossbeam_channel::Receiver<()>,
}

impl Turned {
    /// Waits for the end, and then for the figures.
    fn end(self) -> Result<Metrics, String> {
        let waited = self.ended.recv_timeout(PATIENCE);
        waited.map_err(|_| "the actor did not end: the critical message was lost".to_owned())?;
        let _ = self.go_on.send(());
        let joined = self.thread.join();
        let (metrics, host) = joined.map_err(|_| "the actor panicked".to_owned())?;
        let left = host.stop(PATIENCE);
        match left.first() {
            None => Ok(metrics),
            Some(left) => Err(format!("abandoned: {left}")),
        }
    }
}

fn start(options: &Options) -> Result<(Handle, Turned), String> {
    let config = rig::config(options.queue);
    let clock = Clock::start();
    let listen = &config.peer.listen;
    let threads = config.workers.threads;
    let state = config.paths.state.clone();
    let host = OsHost::new(clock, listen, threads, state, &mut Vec::new())
        .map_err(|error| error.to_string())?;
    let mailbox = MailboxOptions {
        capacity: config.actor.queue_capacity as usize,
        policy: config.actor.backpressure,
        patience: Duration::from_millis(config.actor.sync_timeout_ms),
        clock,
        stamped: true,
    };
    let mut rng = Rng::new(options.seed);
    let settings = Settings::new(&config, hash::lanes(), host.threads(), &mut rng);
    let doorbell = host.doorbell();
    let engine = Engine::new(settings, rng);
    let (mut turns, handle) = Loop::new(host, engine, Vec::new(), mailbox, doorbell);
    let (go_on, may_go_on) = bounded(1);
    let (end, ended) = bounded(1);
    let thread = thread::Builder::new()
        .name("actor".to_owned())
        .spawn(move || {
            while turns.stopped().is_none() {
                turns.turn();
            }
            turns.close_inbox();
            let _ = end.send(());
            let _ = may_go_on.recv();
            let metrics = turns.metrics();
            (metrics, turns.into_host())
        })
        .map_err(|error| error.to_string())?;
    let turned = Turned {
        go_on,
        thread,
        ended,
    };
    Ok((handle, turned))
}
