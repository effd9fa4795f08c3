//! What callers are promised: one outcome each, in time, whatever the way they call and whatever happens meanwhile.

#![allow(
    clippy::disallowed_methods,
    reason = "callers and the actor are threads of their own"
)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake as TaskWake, Waker};
use std::thread;

use super::*;
use crate::actor::completion::CompletionQueue;
use crate::actor::future::Asking;
use crate::actor::handle::{AdoptError, SendError};
use crate::actor::mailbox::{BATCH_MAX, Lane};
use crate::engine::message::Direction;
use crate::metrics::{LaneFigures, Metrics};

const PATIENCE: Duration = Duration::from_secs(60);

fn pause() -> Message {
    Message::SessionPause {
        session: SessionId::new(0, 0),
    }
}

/// What this core answers only when the test says so.
fn remove() -> Message {
    Message::SessionRemove {
        session: SessionId::new(0, 0),
    }
}

fn options(policy: Backpressure) -> Options {
    Options {
        capacity: 4096,
        policy,
        patience: PATIENCE,
        clock: Clock::start(),
        stamped: true,
    }
}

/// The figures, asked for like any others, of a loop that a test turns by hand.
fn metrics(turns: &mut Loop<World, Echo>, handle: &Handle) -> Box<Metrics> {
    thread::scope(|scope| {
        let asked = scope.spawn(|| handle.metrics(PATIENCE).unwrap());
        while !asked.is_finished() {
            turns.turn();
            thread::yield_now();
        }
        asked.join().unwrap()
    })
}

/// The columns of all lanes together, checked to add up while nothing is queued.
fn sums(metrics: &Metrics) -> LaneFigures {
    metrics
        .lanes
        .iter()
        .map(|lane| lane.figures)
        .inspect(|f| {
            let ends = f.processed + f.rejected + f.shed + f.expired + f.cancelled;
            assert_eq!(f.sent, ends, "{f:?}");
        })
        .fold(LaneFigures::default(), |sum, f| LaneFigures {
            sent: sum.sent + f.sent,
            processed: sum.processed + f.processed,
            rejected: sum.rejected + f.rejected,
            shed: sum.shed + f.shed,
            expired: sum.expired + f.expired,
            cancelled: sum.cancelled + f.cancelled,
        })
}

/// A loop in a thread of its own that sleeps until it is rung; how often it was.
fn live(options: Options) -> (Handle, thread::JoinHandle<ShutdownReport>, Arc<AtomicUsize>) {
    let (ring, rung) = crossbeam_channel::bounded(1);
    let rings = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&rings);
    let doorbell = Arc::new(Doorbell::new(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = ring.try_send(());
    })));
    let host = Asleep {
        clock: options.clock,
        rung,
        inner: World::default(),
    };
    let (turns, handle) = Loop::new(host, Echo::default(), Vec::new(), options, doorbell);
    (handle, thread::spawn(move || turns.run().0), rings)
}

fn end(handle: &Handle, actor: thread::JoinHandle<ShutdownReport>) {
    let shutdown = Message::Shutdown { budget: PATIENCE };
    assert!(matches!(handle.ask(shutdown, PATIENCE), Ok(Answer::Done)));
    actor.join().unwrap();
}

// ------------------------------------------------------------------------------------------------------- batches

#[test]
fn each_message_of_a_batch_has_its_outcome() {
    let (handle, actor, _) = live(options(Backpressure::Block));
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut messages = vec![pause(), show(), Message::EngineShow, show()];
        handle
            .ask_batch(&mut messages, &mut answers, PATIENCE)
            .unwrap();
        assert!(messages.is_empty());
        assert!(
            matches!(
                answers[..],
                [
                    Answer::Done,
                    Answer::Refused(Refusal::UnknownSession),
                    Answer::Engine(_),
                    Answer::Refused(Refusal::UnknownSession),
                ]
            ),
            "{answers:?}"
        );
    }
    handle
        .ask_batch(&mut Vec::new(), &mut answers, PATIENCE)
        .unwrap();
    assert!(answers.is_empty());
    let metrics = handle.metrics(PATIENCE).unwrap();
    assert_eq!(metrics.messages.sync_operations, 13);
    assert_eq!(sums(&metrics).processed, 13);
    end(&handle, actor);
}

#[test]
fn a_batch_is_applied_in_one_turn_with_nothing_in_between() {
    let (mut turns, handle) = build();
    let other = handle.clone();
    let mut messages = vec![pause(), pause(), pause()];
    assert_eq!(handle.tell_batch(&mut messages), Ok(3));
    other
        .tell(Message::SessionResume {
            session: SessionId::new(0, 0),
        })
        .unwrap();
    let mut messages = vec![show(), pause()];
    assert_eq!(handle.tell_batch(&mut messages), Ok(2));
    assert_eq!(handle.queued(), 6);
    turns.turn();
    assert_eq!(
        turns.core.messages,
        ["pause", "pause", "pause", "other", "show", "pause"]
    );
    assert_eq!(handle.queued(), 0);
}

#[test]
fn a_job_in_a_batch_holds_up_its_answers_until_the_deadline() {
    let (mut turns, handle) = build();
    let ask = |timeout| {
        let handle = handle.clone();
        thread::spawn(move || {
            let mut answers = Vec::new();
            let mut messages = vec![pause(), remove(), show()];
            handle
                .ask_batch(&mut messages, &mut answers, timeout)
                .map(|()| answers)
        })
    };
    let patient = ask(PATIENCE);
    while turns.core.waiting.is_empty() {
        turns.turn();
        thread::yield_now();
    }
    let hasty = ask(Duration::from_millis(30));
    while turns.core.waiting.len() < 2 {
        turns.turn();
        thread::yield_now();
    }
    assert_eq!(hasty.join().unwrap().unwrap_err(), AskError::Unknown);
    assert!(!patient.is_finished());
    for reply in mem::take(&mut turns.core.waiting) {
        let answer = Answer::Refused(Refusal::Full);
        turns
            .core
            .outputs
            .push_back(Output::Reply { reply, answer });
    }
    turns.turn();
    let answers = patient.join().unwrap().unwrap();
    assert!(
        matches!(
            answers[..],
            [
                Answer::Done,
                Answer::Refused(Refusal::Full),
                Answer::Refused(Refusal::UnknownSession)
            ]
        ),
        "{answers:?}"
    );
    assert_eq!(metrics(&mut turns, &handle).messages.replies_late, 1);
}

#[test]
fn a_batch_that_is_refused_stays_with_its_caller() {
    let (turns, handle) = build_with(Options {
        capacity: 4,
        ..options(Backpressure::Reject)
    });
    let handle = handle.with_quota(4);
    handle.tell(show()).unwrap();
    let mut messages = vec![pause(), show(), pause(), show()];
    let mut answers = vec![Answer::Done];
    assert_eq!(
        handle.ask_batch(&mut messages, &mut answers, PATIENCE),
        Err(AskError::Full),
        "all or none"
    );
    assert_eq!((messages.len(), answers.len()), (4, 0));
    assert_eq!(handle.tell_batch(&mut messages), Ok(3), "what there is");
    messages.extend((0..5).map(|_| pause()));
    assert_eq!(
        handle.ask_batch(&mut messages, &mut answers, PATIENCE),
        Err(AskError::TooLong)
    );
    drop(turns);
    messages.truncate(2);
    assert_eq!(
        handle.ask_batch(&mut messages, &mut answers, PATIENCE),
        Err(AskError::Stopped)
    );
    assert_eq!(messages.len(), 2);
}

// ------------------------------------------------------------------------------------------------------- futures

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl TaskWake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Task {
    asking: Asking,
    wakes: Arc<Wakes>,
}

impl Task {
    fn new(asking: Asking) -> Self {
        Self {
            asking,
            wakes: Arc::default(),
        }
    }

    fn poll(&mut self) -> Poll<Result<Answer, AskError>> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        Pin::new(&mut self.asking).poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_future_is_woken_when_its_answer_is_there() {
    let (mut turns, handle) = build();
    for round in 0..3 {
        let mut task = Task::new(handle.ask_future(show(), PATIENCE));
        assert!(task.poll().is_pending());
        assert!(task.poll().is_pending());
        turns.turn();
        assert_eq!(task.woken(), 1, "round {round}");
        let answer = task.poll();
        assert!(matches!(answer, Poll::Ready(Ok(Answer::Refused(_)))));
    }
    // Never polled before the answer came.
    let mut task = Task::new(handle.ask_future(show(), PATIENCE));
    turns.turn();
    assert!(matches!(task.poll(), Poll::Ready(Ok(_))));
    assert_eq!(task.woken(), 0);
}

#[test]
fn a_future_never_waits_for_room() {
    let (_turns, handle) = build_with(Options {
        capacity: 2,
        ..options(Backpressure::Block)
    });
    let _queued = handle.ask_future(show(), PATIENCE);
    let mut task = Task::new(handle.ask_future(show(), PATIENCE));
    assert!(matches!(task.poll(), Poll::Ready(Err(AskError::Full))));
}

#[test]
fn a_dropped_future_cancels_its_message_or_abandons_its_answer() {
    let (mut turns, handle) = build();
    drop(handle.ask_future(pause(), PATIENCE));
    turns.turn();
    assert_eq!(turns.core.messages.len(), 0, "never executed");
    let taken = handle.ask_future(remove(), PATIENCE);
    turns.turn();
    drop(taken);
    let reply = turns.core.waiting[0];
    let answer = Answer::Done;
    turns
        .core
        .outputs
        .push_back(Output::Reply { reply, answer });
    let answered = handle.ask_future(pause(), PATIENCE);
    turns.turn();
    drop(answered);
    let metrics = metrics(&mut turns, &handle);
    let sum = sums(&metrics);
    assert_eq!((sum.sent, sum.expired, sum.processed), (4, 1, 3));
    assert_eq!(metrics.messages.replies_late, 1);
}

#[test]
fn a_futures_deadline_is_seen_by_its_poll_or_by_the_actor() {
    let (mut turns, handle) = build();
    let mut late = Task::new(handle.ask_future(pause(), Duration::ZERO));
    assert!(matches!(late.poll(), Poll::Ready(Err(AskError::Expired))));

    let mut met = Task::new(handle.ask_future(pause(), PATIENCE));
    assert!(met.poll().is_pending());
    turns.host.now = Instant::FAR;
    turns.turn();
    assert_eq!(met.woken(), 1, "the actor says so");
    assert!(matches!(met.poll(), Poll::Ready(Err(AskError::Expired))));
    assert_eq!(turns.core.messages.len(), 0);

    turns.host.now = Instant::ZERO;
    let mut taken = Task::new(handle.ask_future(remove(), Duration::from_micros(1)));
    turns.turn();
    while taken.poll().is_pending() {}
    let mut taken_in_time = Task::new(handle.ask_future(remove(), PATIENCE));
    turns.turn();
    assert!(taken_in_time.poll().is_pending());
    drop(turns);
    assert_eq!(taken_in_time.woken(), 1);
    assert!(matches!(
        taken_in_time.poll(),
        Poll::Ready(Err(AskError::Stopped))
    ));
}

#[test]
fn futures_work_from_many_threads_at_once() {
    let (handle, actor, _) = live(options(Backpressure::Reject));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || {
                for _ in 0..2000 {
                    let (bell, rung) = crossbeam_channel::bounded::<()>(1);
                    struct Bell(crossbeam_channel::Sender<()>);
                    impl TaskWake for Bell {
                        fn wake(self: Arc<Self>) {
                            let _ = self.0.try_send(());
                        }
                    }
                    let waker = Waker::from(Arc::new(Bell(bell)));
                    let mut asking = handle.ask_future(show(), PATIENCE);
                    let mut context = Context::from_waker(&waker);
                    while Pin::new(&mut asking).poll(&mut context).is_pending() {
                        rung.recv_timeout(PATIENCE).expect("somebody wakes it");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    end(&handle, actor);
}

// --------------------------------------------------------------------------------------------------- completions

#[test]
fn answers_wait_in_their_queue_and_each_has_a_place() {
    let (mut turns, handle) = build();
    let queue = CompletionQueue::new(2);
    handle.tell_with(pause(), &queue, 7).unwrap();
    handle.tell_with(remove(), &queue, 8).unwrap();
    assert!(matches!(
        handle.tell_with(show(), &queue, 9),
        Err(SendError::NoPlace(Message::SessionShow { .. }))
    ));
    assert!(queue.try_next().is_none());
    turns.turn();
    assert_eq!(queue.outstanding(), 2);
    let first = queue.next(PATIENCE).unwrap();
    assert_eq!(first.tag, 7);
    assert!(matches!(first.outcome, Ok(Answer::Done)));
    assert!(queue.try_next().is_none(), "the other is a job");
    handle.tell_with(show(), &queue, 9).unwrap();
    turns.turn();
    assert_eq!(queue.next(PATIENCE).unwrap().tag, 9);
    drop(turns);
    let last = queue.next(PATIENCE).unwrap();
    assert_eq!(last.tag, 8);
    assert_eq!(last.outcome.unwrap_err(), AskError::Stopped);
    assert_eq!(queue.outstanding(), 0);
    assert!(queue.next(PATIENCE).is_none(), "none is to come");
    let stopped = handle.tell_with(show(), &queue, 10);
    assert!(matches!(stopped, Err(SendError::Stopped(_))));
    assert_eq!(queue.outstanding(), 0, "its place is free again");
}

#[test]
fn a_queue_that_nobody_drains_stops_nobody_else() {
    let (mut turns, handle) = build();
    let (unread, dropped) = (CompletionQueue::new(100), CompletionQueue::new(100));
    for tag in 0..100 {
        handle.tell_with(show(), &unread, tag).unwrap();
        handle.tell_with(show(), &dropped, tag).unwrap();
    }
    drop(dropped);
    handle.tell(pause()).unwrap();
    turns.turn();
    assert_eq!(turns.core.messages.len(), 201, "all in one turn");
    assert_eq!(metrics(&mut turns, &handle).messages.replies_late, 100);
    let tags: Vec<_> = std::iter::from_fn(|| unread.try_next())
        .map(|completion| completion.tag)
        .collect();
    assert_eq!(tags, (0..100).collect::<Vec<_>>(), "in order");
}

#[test]
fn a_completion_of_a_shed_or_refused_message_is_told() {
    let (mut turns, handle) = build_with(Options {
        capacity: 2,
        ..options(Backpressure::Shed)
    });
    let handle = handle.with_quota(2);
    let queue = CompletionQueue::new(9);
    handle.tell_with(Message::EngineShow, &queue, 1).unwrap();
    handle.tell_with(show(), &queue, 2).unwrap();
    assert!(matches!(
        handle.tell_with(show(), &queue, 3),
        Err(SendError::Full(_))
    ));
    handle.clone().tell(pause()).unwrap();
    assert_eq!(queue.outstanding(), 2, "the refused one has no place");
    let shed = queue.try_next().unwrap();
    assert_eq!((shed.tag, shed.outcome.unwrap_err()), (1, AskError::Shed));
    turns.turn();
    assert_eq!(queue.try_next().unwrap().tag, 2);
    let sum = sums(&metrics(&mut turns, &handle));
    assert_eq!((sum.shed, sum.rejected, sum.processed), (1, 1, 3));
}

// ---------------------------------------------------------------------------------------------- lanes and turns

#[test]
fn every_high_message_is_taken_in_the_first_turn_after_it_arrived() {
    let (mut turns, handle, streams) = connected(3);
    turns.core.echo = false;
    let flood = handle.with_quota(3000);
    let high = |turns: &Loop<World, Echo>| {
        let names = turns.core.messages.iter();
        names.filter(|name| **name == "pause").count()
    };
    let mut sent = 0;
    for turn in 0..40 {
        // Everything else overflows.
        while flood.tell(show()).is_ok() {}
        turns.host.incoming = 1000;
        turns.host.datagrams = 1000;
        turns.host.found.extend([Ready::Incoming, Ready::Datagrams]);
        for &stream in &streams {
            turns.host.feed(stream, &[0; 100]);
        }
        for _ in 0..turn * 13 {
            handle.tell(pause()).unwrap();
            sent += 1;
        }
        turns.turn();
        assert_eq!(high(&turns), sent, "turn {turn}");
    }
    assert_eq!(turns.figures.turns.turns_high_left, 0);
    // Beyond the budget it is the next turn's, and that is counted.
    (0..600).for_each(|_| handle.tell(pause()).unwrap());
    turns.turn();
    assert_eq!(high(&turns), sent + 512);
    assert_eq!(turns.figures.turns.turns_high_left, 1);
    turns.turn();
    assert_eq!(high(&turns), sent + 600);
    assert_eq!(turns.figures.turns.turns_high_left, 1);
}

#[test]
fn lanes_share_turns_eight_to_four_to_one_also_in_long_batches() {
    const TURNS: u64 = 64;
    for length in [1, 7, BATCH_MAX] {
        let (mut turns, handle) = build();
        let message = |lane| match lane {
            Lane::High => pause(),
            Lane::Normal => show(),
            Lane::Low | Lane::Critical => Message::EngineShow,
        };
        let lanes = [Lane::High, Lane::Normal, Lane::Low];
        let handles = lanes.map(|_| handle.with_quota(1300));
        let mut batch = Vec::new();
        for _ in 0..TURNS {
            for (lane, handle) in lanes.into_iter().zip(&handles) {
                loop {
                    batch.extend((batch.len()..length).map(|_| message(lane)));
                    if handle.tell_batch(&mut batch).unwrap() < length {
                        break;
                    }
                }
                batch.clear();
            }
            turns.turn();
        }
        let done = |lane| turns.inbox.figures(lane).processed;
        for (lane, budget) in [(Lane::High, 512), (Lane::Normal, 256), (Lane::Low, 64)] {
            let share = TURNS * budget;
            let (least, most) = (share, share + BATCH_MAX as u64);
            let done = done(lane);
            assert!(
                (least..most).contains(&done),
                "{lane:?} in batches of {length}: {done} of {share}"
            );
        }
    }
}

// ------------------------------------------------------------------------------------------------------- the end

#[test]
fn every_way_to_wait_is_answered_at_the_end() {
    let (mut turns, handle) = build_with(Options {
        capacity: 8,
        ..options(Backpressure::Block)
    });
    let mut future = Task::new(handle.ask_future(remove(), PATIENCE));
    assert!(future.poll().is_pending());
    let completions = CompletionQueue::new(4);
    handle.tell_with(remove(), &completions, 1).unwrap();
    let ways: [fn(&Handle) -> AskError; 4] = [
        |handle| handle.ask(remove(), PATIENCE).unwrap_err(),
        |handle| {
            let (mut messages, mut answers) = (vec![remove(), pause()], Vec::new());
            handle
                .ask_batch(&mut messages, &mut answers, PATIENCE)
                .unwrap_err()
        },
        |handle| {
            let (_theirs, ours) = std::os::unix::net::UnixStream::pair().unwrap();
            let to = address();
            match handle.stream_add(ours.into(), to, Direction::Incoming, None, PATIENCE) {
                Err(AdoptError::Ask(why)) => why,
                other => panic!("{other:?}"),
            }
        },
        |handle| handle.metrics(PATIENCE).unwrap_err(),
    ];
    // Half of them are taken and never answered, half wait in the lanes, two more wait for room.
    let taken: Vec<_> = ways[..2]
        .iter()
        .map(|&way| {
            let handle = handle.clone();
            thread::spawn(move || way(&handle))
        })
        .collect();
    while turns.core.waiting.len() < 4 {
        turns.turn();
        thread::yield_now();
    }
    let queued: Vec<_> = ways
        .iter()
        .map(|&way| {
            let handle = handle.clone();
            thread::spawn(move || way(&handle))
        })
        .collect();
    while handle.queued() < 5 {
        thread::yield_now();
    }
    let full = handle.with_quota(8);
    while full.without_waiting().tell(show()).is_ok() {}
    let blocked: Vec<_> = (0..2)
        .map(|_| {
            let handle = full.clone();
            thread::spawn(move || match handle.tell(show()) {
                // The end makes room: what is queued then is cancelled, and nobody waits for it.
                Ok(()) | Err(SendError::Stopped(_)) => AskError::Stopped,
                other => panic!("{other:?}"),
            })
        })
        .collect();
    while turns.inbox.waiting_senders() < blocked.len() {
        thread::yield_now();
    }
    drop(turns);
    for waiting in taken.into_iter().chain(queued).chain(blocked) {
        assert_eq!(waiting.join().unwrap(), AskError::Stopped);
    }
    assert!(matches!(future.poll(), Poll::Ready(Err(AskError::Stopped))));
    let completion = completions.next(PATIENCE).unwrap();
    assert_eq!(completion.outcome.unwrap_err(), AskError::Stopped);
}

#[test]
fn nothing_waits_on_the_actors_own_thread() {
    let (turns, handle) = build_with(Options {
        capacity: 1,
        ..options(Backpressure::Block)
    });
    turns.inbox.adopt_thread();
    let mut messages = vec![show()];
    let batch = handle.ask_batch(&mut messages, &mut Vec::new(), PATIENCE);
    assert_eq!(batch, Err(AskError::WouldDeadlock));
    assert_eq!(messages.len(), 1);
    let metrics = handle.metrics(PATIENCE);
    assert_eq!(metrics.unwrap_err(), AskError::WouldDeadlock);
    let (_theirs, ours) = std::os::unix::net::UnixStream::pair().unwrap();
    let added = handle.stream_add(ours.into(), address(), Direction::Incoming, None, PATIENCE);
    assert!(matches!(
        added,
        Err(AdoptError::Ask(AskError::WouldDeadlock))
    ));
    handle.tell(show()).unwrap();
    let full = handle.tell(show());
    assert!(matches!(full, Err(SendError::Full(_))), "{full:?}");
    assert_eq!(handle.tell_batch(&mut messages), Ok(0));
}

// -------------------------------------------------------------------------------------------- deadlines and wakes

/// A deadline of a microsecond, asked many times: 10^5, or as many as `LINNET_ASKS` says.
#[test]
fn a_deadline_of_a_microsecond_is_met_or_its_passing_is_told_truly() {
    const CALLERS: u64 = 4;
    let asks =
        std::env::var("LINNET_ASKS").map_or(100_000, |asks| asks.parse::<u64>().expect("a number"));
    let (handle, actor, _) = live(options(Backpressure::Block));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || {
                let (mut answered, mut unknown, mut expired, mut full) = (0, 0, 0, 0);
                for _ in 0..asks / CALLERS {
                    match handle.ask(pause(), Duration::from_micros(1)) {
                        Ok(_) => answered += 1,
                        Err(AskError::Unknown) => unknown += 1,
                        Err(AskError::Expired) => expired += 1,
                        Err(AskError::Full) => full += 1,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                [answered, unknown, expired, full]
            })
        })
        .collect();
    let sum = callers
        .into_iter()
        .map(|caller| caller.join().unwrap())
        .fold([0; 4], |sum: [u64; 4], part| {
            std::array::from_fn(|at| sum[at] + part[at])
        });
    // Messages that were given up may still lie there, more than a turn takes.
    while handle.queued() > 0 {
        thread::yield_now();
    }
    let metrics = handle.metrics(PATIENCE).unwrap();
    let high = metrics.lanes[Lane::High as usize].figures;
    let [answered, unknown, expired, full] = sum;
    assert_eq!(high.sent, asks / CALLERS * CALLERS);
    assert_eq!(high.processed, answered + unknown, "{sum:?} {high:?}");
    assert_eq!(high.expired, expired, "{sum:?} {high:?}");
    assert_eq!(high.rejected, full, "{sum:?} {high:?}");
    assert_eq!(metrics.messages.replies_late, unknown, "{sum:?}");
    let executed = metrics.types.iter().find(|t| t.name == "session_pause");
    assert_eq!(executed.unwrap().figures.count, high.processed);
    end(&handle, actor);
}

#[test]
fn an_ask_of_a_sleeper_costs_one_wake_and_a_burst_no_more() {
    let rings = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&rings);
    let doorbell = Arc::new(Doorbell::new(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    })));
    let options = Options {
        capacity: 20_000,
        ..options(Backpressure::Block)
    };
    let (mut turns, handle) = Loop::new(
        World::default(),
        Echo::default(),
        Vec::new(),
        options,
        doorbell,
    );
    turns.turn();
    // The doorbell is armed by the wait of a turn; here the wait itself is left out.
    assert!(turns.inbox.may_sleep());
    for asks in 1..=5 {
        let mut task = Task::new(handle.ask_future(show(), PATIENCE));
        assert_eq!(rings.load(Ordering::SeqCst), asks);
        turns.turn();
        assert!(matches!(task.poll(), Poll::Ready(Ok(_))));
        assert!(turns.inbox.may_sleep());
    }
    for _ in 0..10_000 {
        handle.tell(show()).unwrap();
    }
    assert_eq!(rings.load(Ordering::SeqCst), 6);
}
