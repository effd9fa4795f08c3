#![allow(
    clippy::disallowed_methods,
    reason = "senders are threads of their own"
)]

use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::actor::reply::Waiting;
use crate::ids::SessionId;
use crate::metrics::LaneFigures;

fn options(capacity: usize, policy: Backpressure) -> Options {
    Options {
        capacity,
        policy,
        patience: Duration::from_millis(20),
        clock: Clock::start(),
        stamped: true,
    }
}

fn quiet() -> Arc<Doorbell> {
    Arc::new(Doorbell::new(Box::new(|| {})))
}

fn mailbox(capacity: usize, policy: Backpressure) -> (Arc<Mailbox>, Inbox) {
    open(options(capacity, policy), quiet())
}

/// A high message that carries a number.
fn high(producer: u32, number: u32) -> Body {
    Body::Message(Message::SessionPause {
        session: SessionId::new(producer, number),
    })
}

fn normal(producer: u32, number: u32) -> Body {
    Body::Message(Message::SessionShow {
        session: SessionId::new(producer, number),
    })
}

fn low() -> Body {
    Body::Message(Message::EngineShow)
}

fn number_of(body: &Body) -> Option<SessionId> {
    match body {
        Body::Message(Message::SessionPause { session } | Message::SessionShow { session }) => {
            Some(*session)
        }
        _ => None,
    }
}

/// A caller that may fill the queue all by itself.
fn caller(mailbox: &Arc<Mailbox>) -> Seat {
    Seat::new(Arc::clone(mailbox)).another(usize::MAX)
}

fn send(seat: &Seat, body: Body) -> Result<(), AskError> {
    seat.send(body, None, seat.mailbox.options.policy)
        .map_err(|refused| refused.why)
}

/// Sends what somebody waits for.
fn ask(seat: &Seat, body: Body, deadline: Instant) -> Waiting {
    let (waiting, reply) = seat.mailbox.slots.open(deadline);
    let sent = seat.send(body, Some(reply), seat.mailbox.options.policy);
    assert!(sent.is_ok(), "there is room");
    waiting
}

fn outcome(seat: &Seat, waiting: Waiting) -> AskError {
    let mailbox = &seat.mailbox;
    let outcome = waiting.wait(mailbox.options.clock, &mailbox.slots);
    outcome.expect_err("no answer")
}

fn shutdown(millis: u64) -> Body {
    Body::Message(Message::Shutdown {
        budget: Duration::from_millis(millis),
    })
}

/// Takes everything, counts it, gives its room back.
fn take_all(inbox: &mut Inbox) -> Vec<Body> {
    let mut bodies = Vec::new();
    for lane in Lane::ALL {
        while let Some(envelope) = inbox.pop(lane) {
            let executed = envelope.reply.as_ref().is_none_or(Reply::take);
            inbox.count(lane, envelope.body.operations(), executed);
            if executed {
                bodies.push(envelope.body);
            }
        }
    }
    inbox.release();
    bodies
}

fn accounted(inbox: &Inbox) -> LaneFigures {
    Lane::ALL
        .into_iter()
        .map(|lane| inbox.figures(lane))
        .inspect(|f| {
            assert_eq!(
                f.sent,
                f.processed + f.rejected + f.shed + f.expired + f.cancelled,
                "{f:?}"
            );
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

/// Eight producers against one slow taker; every operation ends in exactly one column, and none overtakes another of its
/// producer. Each sends singly and in batches, in turn.
fn flood(policy: Backpressure, capacity: usize, patience: Duration) -> LaneFigures {
    const PRODUCERS: u32 = 8;
    const EACH: u32 = 5000;
    const BATCH: u32 = 3;
    let mut options = options(capacity, policy);
    options.patience = patience;
    let (mailbox, mut inbox) = open(options, quiet());
    let first = Seat::new(Arc::clone(&mailbox));
    let running = Arc::new(AtomicUsize::new(PRODUCERS as usize));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (seat, running) = (first.clone(), Arc::clone(&running));
            thread::spawn(move || {
                let (mut offered, mut queued) = (0, 0);
                let mut batch = Vec::new();
                for number in 0..EACH {
                    let body = match number % 4 {
                        0 => high(producer, number),
                        3 => low(),
                        _ => normal(producer, number),
                    };
                    offered += 1;
                    queued += u64::from(send(&seat, body).is_ok());
                    if number % 16 == 0 && seat.quota >= u64::from(BATCH) {
                        // Between this number and the next, in the same lane.
                        batch.clear();
                        batch.extend((0..BATCH).map(|_| Message::EngineShow));
                        offered += u64::from(BATCH);
                        queued += seat.send_batch(&mut batch, policy).unwrap() as u64;
                    }
                }
                running.fetch_sub(1, Ordering::SeqCst);
                (offered, queued)
            })
        })
        .collect();
    let mut last = vec![[None; 2]; PRODUCERS as usize];
    loop {
        let over = running.load(Ordering::SeqCst) == 0;
        assert!(mailbox.queued() <= capacity, "the bound holds");
        let waiting: usize = mailbox.lanes[1..].iter().map(|lane| lane.take.len()).sum();
        assert!(waiting <= capacity, "{waiting} in the lanes");
        inbox.note_peak();
        for body in take_all(&mut inbox) {
            let Some(id) = number_of(&body) else { continue };
            let lane = usize::from(body.lane() == Lane::High);
            let last = &mut last[id.slot()][lane];
            assert!(*last < Some(id.generation()), "{last:?} then {id}");
            *last = Some(id.generation());
        }
        if over {
            break;
        }
    }
    let (offered, queued) = producers
        .into_iter()
        .map(|producer| producer.join().unwrap())
        .fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    let sum = accounted(&inbox);
    assert_eq!(sum.sent, offered);
    assert_eq!(sum.processed + sum.shed, queued);
    assert!(inbox.peak() <= capacity);
    assert_eq!(mailbox.queued(), 0, "all room is back");
    for account in mailbox.accounts.all() {
        assert_eq!(account.quota.out(), 0, "and every quota");
    }
    sum
}

#[test]
fn eight_producers_are_all_accounted_for_under_every_policy() {
    let sum = flood(Backpressure::Block, 16, Duration::from_secs(60));
    assert_eq!(sum.processed, sum.sent, "who waits long enough is served");
    flood(Backpressure::Block, 1, Duration::ZERO);
    flood(Backpressure::Block, 8, Duration::from_micros(50));
    // With purses.
    let sum = flood(Backpressure::Block, 256, Duration::from_secs(60));
    assert_eq!(sum.processed, sum.sent, "who waits long enough is served");
    flood(Backpressure::Reject, 300, Duration::ZERO);
    flood(Backpressure::Shed, 1000, Duration::ZERO);
    let sum = flood(Backpressure::Reject, 8, Duration::ZERO);
    assert_eq!(sum.shed, 0);
    let sum = flood(Backpressure::Shed, 8, Duration::ZERO);
    assert_eq!(sum.processed + sum.rejected + sum.shed, sum.sent);
}

#[test]
fn a_full_queue_does_what_its_policy_says() {
    let (rejecting, mut inbox) = mailbox(2, Backpressure::Reject);
    let seat = caller(&rejecting);
    assert!(send(&seat, low()).is_ok() && send(&seat, low()).is_ok());
    assert_eq!(send(&seat, high(0, 0)), Err(AskError::Full));
    take_all(&mut inbox);
    assert!(send(&seat, high(0, 0)).is_ok(), "room came back");

    let (blocking, inbox) = mailbox(1, Backpressure::Block);
    let seat = caller(&blocking);
    assert!(send(&seat, low()).is_ok());
    assert_eq!(send(&seat, high(0, 0)), Err(AskError::Full), "in the end");
    assert_eq!(inbox.figures(Lane::High).rejected, 1);

    let (shedding, mut inbox) = mailbox(2, Backpressure::Shed);
    let (one, other) = (caller(&shedding), caller(&shedding));
    assert!(send(&one, normal(0, 1)).is_ok() && send(&one, low()).is_ok());
    assert!(send(&other, high(0, 1)).is_ok(), "the low one goes");
    assert!(
        send(&other, high(0, 2)).is_ok(),
        "then the normal one, as only the high ones count"
    );
    assert_eq!(send(&one, high(0, 3)), Err(AskError::Full));
    assert_eq!(send(&one, low()), Err(AskError::Full));
    assert_eq!(take_all(&mut inbox).len(), 2);
    let sum = accounted(&inbox);
    assert_eq!((sum.shed, sum.rejected, sum.processed), (2, 2, 2));
}

#[test]
fn one_busy_caller_leaves_room_for_the_others() {
    let (mailbox, mut inbox) = mailbox(8, Backpressure::Reject);
    let busy = Seat::new(Arc::clone(&mailbox));
    assert_eq!((0..20).filter(|_| send(&busy, low()).is_ok()).count(), 4);
    let clone = busy.clone();
    assert_eq!((0..20).filter(|_| send(&clone, low()).is_ok()).count(), 4);
    let late = busy.another(2);
    assert_eq!(send(&late, low()), Err(AskError::Full), "eight are eight");
    take_all(&mut inbox);
    assert_eq!((0..20).filter(|_| send(&late, low()).is_ok()).count(), 2);
    assert_eq!((0..20).filter(|_| send(&busy, low()).is_ok()).count(), 4);
    take_all(&mut inbox);
    accounted(&inbox);
}

#[test]
fn a_caller_beyond_its_quota_waits_for_its_own_messages() {
    let (mailbox, mut inbox) = open(
        Options {
            patience: Duration::from_secs(60),
            ..options(64, Backpressure::Block)
        },
        quiet(),
    );
    let seat = Arc::new(Seat::new(mailbox).another(3));
    let senders: Vec<_> = (0..4)
        .map(|producer| {
            let seat = Arc::clone(&seat);
            thread::spawn(move || (0..500).for_each(|n| send(&seat, high(producer, n)).unwrap()))
        })
        .collect();
    let mut taken = 0;
    while taken < 2000 {
        assert!(seat.account().quota.out() <= 3);
        taken += take_all(&mut inbox).len();
        thread::yield_now();
    }
    senders.into_iter().for_each(|s| s.join().unwrap());
    assert_eq!(accounted(&inbox).rejected, 0);
}

#[test]
fn what_a_caller_holds_is_there_for_whoever_is_short_of_room() {
    for policy in [
        Backpressure::Block,
        Backpressure::Reject,
        Backpressure::Shed,
    ] {
        let (mailbox, mut inbox) = mailbox(512, policy);
        let advance = mailbox.advance;
        assert_eq!(advance, 4);
        let holders: Vec<_> = (0..9).map(|_| caller(&mailbox)).collect();
        for holder in &holders {
            assert!(send(holder, low()).is_ok());
            assert_eq!(holder.account().purse.held(), advance);
        }
        assert_eq!(mailbox.queued(), 9, "what is held is not queued");
        assert_eq!(mailbox.room.out(), 9 * (1 + advance));
        // Enough for all that is left, however it is asked for.
        let greedy = caller(&mailbox);
        let mut batch: Vec<_> = (0..200).map(|_| Message::EngineShow).collect();
        assert_eq!(greedy.send_batch(&mut batch, policy), Ok(200));
        batch.extend((0..200).map(|_| Message::EngineShow));
        assert_eq!(greedy.send_batch(&mut batch, policy), Ok(200));
        (409..512).for_each(|_| assert!(send(&greedy, low()).is_ok()));
        assert_eq!(mailbox.queued(), 512);
        assert!(holders.iter().all(|seat| seat.account().purse.held() == 0));
        assert_eq!(send(&holders[0], low()), Err(AskError::Full));
        take_all(&mut inbox);
        assert_eq!(mailbox.room.out(), 0);

        // Its own quota too: what it holds is its own to use.
        let own = greedy.another(8);
        (0..8).for_each(|_| assert!(send(&own, low()).is_ok()));
        assert_eq!(send(&own, low()), Err(AskError::Full));
        take_all(&mut inbox);
        assert!(send(&own, low()).is_ok());
        assert!(own.account().purse.held() > 0);
        let mut batch: Vec<_> = (0..7).map(|_| Message::EngineShow).collect();
        assert_eq!(own.send_batch(&mut batch, policy), Ok(7));
        take_all(&mut inbox);
        // And whoever goes leaves nothing behind.
        assert!(send(&own, low()).is_ok());
        drop((own, greedy, holders));
        assert_eq!(mailbox.room.out(), 1);
        take_all(&mut inbox);
        accounted(&inbox);
    }
}

#[test]
fn handles_beyond_the_accounts_share_one_and_it_is_used_again() {
    let (mailbox, mut inbox) = mailbox(16, Backpressure::Reject);
    let seats: Vec<_> = (0..accounts::ACCOUNTS_MAX + 2)
        .map(|_| Seat::new(Arc::clone(&mailbox)))
        .collect();
    let shared = |seat: &&Seat| seat.account == accounts::SHARED;
    assert_eq!(seats.iter().filter(shared).count(), 3);
    let (first, last) = (&seats[accounts::ACCOUNTS_MAX], seats.last().unwrap());
    assert_eq!((0..20).filter(|_| send(first, low()).is_ok()).count(), 8);
    assert_eq!(send(last, low()), Err(AskError::Full));
    assert!(send(&seats[0], low()).is_ok());
    take_all(&mut inbox);
    drop(seats);
    let seat = Seat::new(mailbox);
    assert_ne!(seat.account, accounts::SHARED);
    assert!(send(&seat, low()).is_ok());
    take_all(&mut inbox);
    assert_eq!(accounted(&inbox).sent, 23);
}

#[test]
fn who_is_shed_is_told() {
    let (mailbox, mut inbox) = mailbox(1, Backpressure::Shed);
    let (one, other) = (caller(&mailbox), caller(&mailbox));
    let waiting = ask(&one, low(), Instant::FAR);
    assert!(send(&other, high(0, 0)).is_ok());
    assert_eq!(outcome(&one, waiting), AskError::Shed);
    assert_eq!(take_all(&mut inbox).len(), 1);
    accounted(&inbox);
}

#[test]
fn a_batch_sheds_no_more_than_it_needs_and_nothing_in_vain() {
    let (mailbox, mut inbox) = mailbox(4, Backpressure::Shed);
    let (one, other) = (caller(&mailbox), caller(&mailbox));
    let batch = |count: u32| {
        let messages = (0..count).map(|number| Message::SessionPause {
            session: SessionId::new(0, number),
        });
        Body::Batch(messages.collect())
    };
    let waiting: Vec<_> = (0..3).map(|_| ask(&one, low(), Instant::FAR)).collect();
    assert!(send(&other, batch(2)).is_ok());
    let fates: Vec<_> = waiting
        .into_iter()
        .map(|waiting| waiting.wait(mailbox.options.clock, &mailbox.slots))
        .take(1)
        .collect();
    assert!(matches!(fates[0], Err(AskError::Shed)), "the oldest goes");
    assert_eq!(mailbox.queued(), 4);
    assert_eq!(
        send(&other, batch(3)),
        Err(AskError::Full),
        "two wait below"
    );
    assert_eq!(take_all(&mut inbox).len(), 3, "they still do");
    let sum = accounted(&inbox);
    assert_eq!((sum.shed, sum.rejected, sum.processed), (1, 3, 4));
    assert_eq!(mailbox.queued(), 0);

    // A batch goes whole, and what it leaves too much is room again.
    let low_batch = Body::Batch((0..4).map(|_| Message::EngineShow).collect());
    let waiting = ask(&one, low_batch, Instant::FAR);
    assert!(send(&other, high(0, 9)).is_ok());
    assert_eq!(outcome(&one, waiting), AskError::Shed);
    assert_eq!(mailbox.queued(), 1);
    take_all(&mut inbox);
    accounted(&inbox);
}

#[test]
fn a_sender_that_waits_gets_the_room_that_comes() {
    let (mailbox, mut inbox) = open(
        Options {
            patience: Duration::from_secs(60),
            ..options(1, Backpressure::Block)
        },
        quiet(),
    );
    let seat = caller(&mailbox);
    assert!(send(&seat, low()).is_ok());
    let senders: Vec<_> = (0..4)
        .map(|producer| {
            let seat = seat.clone();
            thread::spawn(move || send(&seat, high(producer, 0)))
        })
        .collect();
    let mut taken = 0;
    while taken < 5 {
        taken += take_all(&mut inbox).len();
        thread::yield_now();
    }
    assert!(senders.into_iter().all(|s| s.join().unwrap().is_ok()));
    accounted(&inbox);
}

#[test]
fn critical_needs_no_room_and_keeps_the_shortest_budget() {
    let (mailbox, mut inbox) = mailbox(1, Backpressure::Reject);
    let seat = caller(&mailbox);
    assert!(send(&seat, low()).is_ok());
    for millis in [500, 100, 900] {
        assert!(send(&seat, shutdown(millis)).is_ok());
    }
    let _waiting = ask(&seat, shutdown(1), Instant::FAR);
    assert!(!inbox.may_sleep());
    assert_eq!(inbox.take_shutdown(), Some(Duration::from_millis(100)));
    assert_eq!(inbox.take_shutdown(), None);
    assert_eq!(take_all(&mut inbox).len(), 2);
    assert_eq!(accounted(&inbox).processed, 5);
    assert!(inbox.may_sleep());
}

#[test]
fn one_more_that_waits_for_the_end_than_is_kept_in_mind_does_not_learn_of_it() {
    let (mailbox, mut inbox) = mailbox(1, Backpressure::Block);
    let seat = caller(&mailbox);
    let waiting: Vec<_> = (0..CRITICAL_ASKS_MAX)
        .map(|_| ask(&seat, shutdown(9), Instant::FAR))
        .collect();
    let one_more = ask(&seat, shutdown(5), Instant::FAR);
    assert_eq!(outcome(&seat, one_more), AskError::Unknown);
    assert_eq!(inbox.take_shutdown(), Some(Duration::from_millis(5)));
    assert_eq!(take_all(&mut inbox).len(), CRITICAL_ASKS_MAX);
    assert_eq!(accounted(&inbox).processed, CRITICAL_ASKS_MAX as u64 + 1);
    drop(waiting);
}

#[test]
fn a_batch_takes_what_has_room_and_leaves_the_rest_in_order() {
    let (mailbox, mut inbox) = mailbox(4, Backpressure::Reject);
    let (seat, other) = (caller(&mailbox), caller(&mailbox));
    let mut messages: Vec<_> = (0..4)
        .map(|number| Message::SessionShow {
            session: SessionId::new(0, number),
        })
        .collect();
    assert!(send(&other, high(0, 0)).is_ok() && send(&other, high(0, 1)).is_ok());
    assert_eq!(seat.send_batch(&mut messages, Backpressure::Reject), Ok(2));
    assert_eq!(mailbox.queued(), 4, "operations, not messages");
    assert_eq!(seat.send_batch(&mut messages, Backpressure::Reject), Ok(0));
    let numbers: Vec<_> = messages
        .into_iter()
        .filter_map(|message| number_of(&Body::Message(message)))
        .collect();
    assert_eq!(numbers, [SessionId::new(0, 2), SessionId::new(0, 3)]);
    let bodies = take_all(&mut inbox);
    let Some(Body::Batch(messages)) = bodies.into_iter().nth(2) else {
        panic!("the batch comes behind the high ones");
    };
    assert_eq!(messages.len(), 2);
    let sum = accounted(&inbox);
    assert_eq!((sum.sent, sum.processed, sum.rejected), (8, 4, 4));
    assert_eq!(mailbox.queued(), 0);
}

#[test]
fn a_batch_waits_for_room_for_all_and_takes_what_there_is_in_the_end() {
    let (mailbox, mut inbox) = mailbox(4, Backpressure::Block);
    let (seat, other) = (caller(&mailbox), caller(&mailbox));
    assert!(send(&other, low()).is_ok());
    let mut messages: Vec<_> = (0..4).map(|_| Message::EngineShow).collect();
    let sent = seat.send_batch(&mut messages, Backpressure::Block);
    assert_eq!((sent, messages.len()), (Ok(3), 1));

    let sender = thread::spawn(move || {
        let mut messages: Vec<_> = (0..4).map(|_| Message::EngineShow).collect();
        let deadline = Instant::FAR;
        let (waiting, reply) = seat.mailbox.slots.open(deadline);
        let body = Body::Batch(mem::take(&mut messages));
        assert!(seat.send(body, Some(reply), Backpressure::Block).is_ok());
        waiting
    });
    let mut taken = 0;
    while taken < 3 {
        taken += take_all(&mut inbox).len();
        thread::yield_now();
    }
    sender.join().unwrap();
    assert_eq!(accounted(&inbox).processed, 8);
}

#[test]
fn what_cannot_be_a_batch_is_said_so_and_not_counted() {
    let (mailbox, inbox) = mailbox(1000, Backpressure::Block);
    let seat = Seat::new(Arc::clone(&mailbox));
    let shows = |count: usize| (0..count).map(|_| Message::EngineShow).collect::<Vec<_>>();
    assert_eq!(seat.check_batch(&shows(BATCH_MAX)), Ok(()));
    let long = seat.check_batch(&shows(BATCH_MAX + 1));
    assert_eq!(long, Err(AskError::TooLong));
    let long = seat.another(3).check_batch(&shows(4));
    assert_eq!(long, Err(AskError::TooLong), "it could never have room");
    let mut messages = shows(2);
    messages.push(Message::Shutdown {
        budget: Duration::ZERO,
    });
    assert_eq!(seat.check_batch(&messages), Err(AskError::NotBatched));
    assert_eq!(seat.send_batch(&mut Vec::new(), Backpressure::Block), Ok(0));
    assert_eq!(accounted(&inbox).sent, 0);
}

#[test]
fn a_batch_queues_with_its_least_urgent_message() {
    let session = SessionId::new(0, 0);
    let lane = |messages: Vec<Message>| Body::Batch(messages).lane();
    let pause = || Message::SessionPause { session };
    let show = || Message::SessionShow { session };
    assert_eq!(lane(vec![pause(), pause()]), Lane::High);
    assert_eq!(lane(vec![pause(), show()]), Lane::Normal);
    assert_eq!(lane(vec![Message::EngineShow, pause()]), Lane::Low);
}

#[test]
fn a_burst_rings_once_and_only_for_a_sleeper() {
    let rings = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&rings);
    let doorbell = Arc::new(Doorbell::new(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    })));
    let (mailbox, mut inbox) = open(options(10_000, Backpressure::Reject), doorbell);
    let seat = caller(&mailbox);
    assert!(send(&seat, low()).is_ok());
    assert_eq!(rings.load(Ordering::SeqCst), 0, "it is awake");
    assert!(!inbox.may_sleep(), "something waits");
    take_all(&mut inbox);
    assert!(inbox.may_sleep());
    for _ in 0..10_000 {
        assert!(send(&seat, low()).is_ok());
    }
    assert_eq!(rings.load(Ordering::SeqCst), 1);
}

#[test]
fn no_wake_is_lost_between_the_last_look_and_the_sleep() {
    let (bell, heard) = bounded::<()>(1);
    let doorbell = Arc::new(Doorbell::new(Box::new(move || {
        let _ = bell.try_send(());
    })));
    let mut options = options(64, Backpressure::Block);
    options.patience = Duration::from_secs(60);
    let (mailbox, mut inbox) = open(options, doorbell);
    const COUNT: usize = 20_000;
    let sender = thread::spawn(move || {
        let seat = Seat::new(mailbox);
        for _ in 0..COUNT {
            send(&seat, low()).unwrap();
        }
    });
    let mut taken = 0;
    while taken < COUNT {
        if inbox.may_sleep() {
            heard
                .recv_timeout(Duration::from_secs(30))
                .expect("somebody rings");
            inbox.awake();
        }
        taken += take_all(&mut inbox).len();
    }
    sender.join().unwrap();
}

#[test]
fn the_end_answers_everybody_and_refuses_the_rest() {
    let (mailbox, mut inbox) = mailbox(8, Backpressure::Block);
    let seat = caller(&mailbox);
    let waiting = ask(&seat, normal(0, 0), Instant::FAR);
    let early = ask(&seat, normal(0, 1), Instant::ZERO);
    assert_eq!(outcome(&seat, early), AskError::Expired);
    let batch = Body::Batch((0..3).map(|_| Message::EngineShow).collect());
    let batch = ask(&seat, batch, Instant::FAR);
    assert!(send(&seat, low()).is_ok());
    inbox.close();
    assert_eq!(outcome(&seat, waiting), AskError::Stopped);
    assert_eq!(outcome(&seat, batch), AskError::Stopped);
    assert_eq!(send(&seat, low()), Err(AskError::Stopped));
    assert!(send(&seat, shutdown(1)).is_err(), "it has ended");
    let mut messages = vec![Message::EngineShow];
    assert_eq!(
        seat.send_batch(&mut messages, Backpressure::Block),
        Err(AskError::Stopped)
    );
    assert_eq!(messages.len(), 1, "it stays");
    let sum = accounted(&inbox);
    assert_eq!((sum.sent, sum.cancelled, sum.expired), (9, 8, 1));
}

#[test]
fn closing_while_senders_push_strands_nobody() {
    for round in 0..60 {
        // In the first rounds the queue is what is full, then the quota.
        let (mailbox, mut inbox) = mailbox(if round < 30 { 2 } else { 32 }, Backpressure::Block);
        let full = Arc::new(Seat::new(Arc::clone(&mailbox)).another(2));
        let askers: Vec<_> = (0..4)
            .map(|_| {
                let seat = if round < 30 {
                    Arc::new(caller(&mailbox))
                } else {
                    Arc::clone(&full)
                };
                thread::spawn(move || {
                    let mailbox = &seat.mailbox;
                    let clock = mailbox.options.clock;
                    loop {
                        let deadline = clock.now() + Duration::from_secs(60);
                        let (waiting, reply) = mailbox.slots.open(deadline);
                        match seat.send(low(), Some(reply), Backpressure::Block) {
                            Ok(()) => {
                                let outcome = waiting.wait(clock, &mailbox.slots);
                                assert_eq!(outcome.unwrap_err(), AskError::Stopped);
                            }
                            Err(refused) => {
                                // Waiting for room when the end came, or sending after it.
                                if let Some(reply) = refused.reply {
                                    reply.forget();
                                }
                                if refused.why == AskError::Stopped {
                                    return;
                                }
                            }
                        }
                        // A shutdown that comes too late is counted too.
                        let _ = send(&seat, shutdown(1));
                    }
                })
            })
            .collect();
        while mailbox.queued() < 2 {
            thread::yield_now();
        }
        inbox.close();
        for asker in askers {
            asker.join().unwrap();
        }
        accounted(&inbox);
    }
}

#[test]
fn lanes_follow_the_kind_of_message() {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let session = SessionId::new(0, 0);
    let table = [
        (
            Message::Shutdown {
                budget: Duration::ZERO,
            },
            Lane::Critical,
        ),
        (Message::PeerAdd { session, address }, Lane::High),
        (Message::SessionRemove { session }, Lane::High),
        (Message::SessionShow { session }, Lane::Normal),
        (Message::EngineShow, Lane::Low),
    ];
    for (message, lane) in table {
        assert_eq!(lane_of(&message), lane, "{message:?}");
    }
}
