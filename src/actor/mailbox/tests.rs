#![allow(
    clippy::disallowed_methods,
    reason = "senders are threads of their own"
)]

use std::net::SocketAddr;
use std::thread;

use super::*;
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

fn send(mailbox: &Mailbox, body: Body) -> Result<(), AskError> {
    let options = mailbox.options;
    let deadline = options.clock.now() + options.patience;
    mailbox
        .send(body, None, deadline, options.policy)
        .map_err(|refused| refused.why)
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
            if lane != Lane::Critical {
                inbox.release(1);
            }
            let executed = envelope.reply.as_ref().is_none_or(Reply::take);
            inbox.count(lane, executed);
            if executed {
                bodies.push(envelope.body);
            }
        }
    }
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

/// Eight producers against one slow taker; every message ends in exactly one column, and none overtakes another of its producer.
fn flood(policy: Backpressure, capacity: usize, patience: Duration) -> LaneFigures {
    const PRODUCERS: u32 = 8;
    const EACH: u32 = 5000;
    let mut options = options(capacity, policy);
    options.patience = patience;
    let (mailbox, mut inbox) = open(options, quiet());
    let running = Arc::new(AtomicUsize::new(PRODUCERS as usize));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (mailbox, running) = (Arc::clone(&mailbox), Arc::clone(&running));
            thread::spawn(move || {
                let mut queued = 0_u64;
                for number in 0..EACH {
                    let body = match number % 4 {
                        0 => high(producer, number),
                        3 => low(),
                        _ => normal(producer, number),
                    };
                    queued += u64::from(send(&mailbox, body).is_ok());
                }
                running.fetch_sub(1, Ordering::SeqCst);
                queued
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
    let queued: u64 = producers.into_iter().map(|p| p.join().unwrap()).sum();
    let sum = accounted(&inbox);
    assert_eq!(sum.sent, u64::from(PRODUCERS * EACH));
    assert_eq!(sum.processed + sum.shed, queued);
    assert!(inbox.peak() <= capacity);
    sum
}

#[test]
fn eight_producers_are_all_accounted_for_under_every_policy() {
    let sum = flood(Backpressure::Block, 16, Duration::from_secs(60));
    assert_eq!(sum.processed, sum.sent, "who waits long enough is served");
    flood(Backpressure::Block, 1, Duration::ZERO);
    flood(Backpressure::Block, 1, Duration::from_micros(50));
    let sum = flood(Backpressure::Reject, 4, Duration::ZERO);
    assert_eq!(sum.shed, 0);
    let sum = flood(Backpressure::Shed, 4, Duration::ZERO);
    assert_eq!(sum.processed + sum.rejected + sum.shed, sum.sent);
}

#[test]
fn a_full_queue_does_what_its_policy_says() {
    let (rejecting, mut inbox) = mailbox(2, Backpressure::Reject);
    assert!(send(&rejecting, low()).is_ok() && send(&rejecting, low()).is_ok());
    assert_eq!(send(&rejecting, high(0, 0)), Err(AskError::Full));
    take_all(&mut inbox);
    assert!(send(&rejecting, high(0, 0)).is_ok(), "room came back");

    let (blocking, inbox) = mailbox(1, Backpressure::Block);
    assert!(send(&blocking, low()).is_ok());
    assert_eq!(
        send(&blocking, high(0, 0)),
        Err(AskError::Full),
        "in the end"
    );
    assert_eq!(inbox.figures(Lane::High).rejected, 1);

    let (shedding, mut inbox) = mailbox(2, Backpressure::Shed);
    assert!(send(&shedding, normal(0, 1)).is_ok() && send(&shedding, low()).is_ok());
    assert!(send(&shedding, high(0, 1)).is_ok(), "the low one goes");
    assert!(send(&shedding, high(0, 2)).is_ok(), "then the normal one");
    assert_eq!(send(&shedding, high(0, 3)), Err(AskError::Full));
    assert_eq!(send(&shedding, low()), Err(AskError::Full));
    assert_eq!(take_all(&mut inbox).len(), 2);
    let sum = accounted(&inbox);
    assert_eq!((sum.shed, sum.rejected, sum.processed), (2, 2, 2));
}

#[test]
fn who_is_shed_is_told() {
    let (mailbox, mut inbox) = mailbox(1, Backpressure::Shed);
    let clock = mailbox.options.clock;
    let (waiting, reply) = mailbox.slots.open();
    assert!(
        mailbox
            .send(low(), Some(reply), Instant::FAR, Backpressure::Shed)
            .is_ok()
    );
    assert!(send(&mailbox, high(0, 0)).is_ok());
    assert_eq!(
        waiting
            .wait(clock, Instant::FAR, &mailbox.slots)
            .unwrap_err(),
        AskError::Shed
    );
    assert_eq!(take_all(&mut inbox).len(), 1);
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
    assert!(send(&mailbox, low()).is_ok());
    let senders: Vec<_> = (0..4)
        .map(|producer| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || send(&mailbox, high(producer, 0)))
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
    assert!(send(&mailbox, low()).is_ok());
    for millis in [500, 100, 900] {
        assert!(send(&mailbox, shutdown(millis)).is_ok());
    }
    let (waiting, reply) = mailbox.slots.open();
    assert!(
        mailbox
            .send(shutdown(1), Some(reply), Instant::FAR, Backpressure::Reject)
            .is_ok()
    );
    assert!(!inbox.may_sleep());
    assert_eq!(inbox.take_shutdown(), Some(Duration::from_millis(100)));
    assert_eq!(inbox.take_shutdown(), None);
    assert_eq!(take_all(&mut inbox).len(), 2);
    assert_eq!(accounted(&inbox).processed, 5);
    assert!(inbox.may_sleep());
    waiting.unused(&mailbox.slots);
}

#[test]
fn a_batch_takes_what_has_room_and_leaves_the_rest_in_order() {
    let (mailbox, mut inbox) = mailbox(3, Backpressure::Reject);
    let mut messages: Vec<_> = (0..5)
        .map(|number| Message::SessionShow {
            session: SessionId::new(0, number),
        })
        .collect();
    messages.insert(
        1,
        Message::Shutdown {
            budget: Duration::ZERO,
        },
    );
    assert_eq!(mailbox.send_batch(&mut messages).unwrap(), 3);
    assert_eq!(messages.len(), 3);
    assert_eq!(mailbox.queued(), 2, "critical needs no room");
    assert_eq!(inbox.take_shutdown(), Some(Duration::ZERO));
    let numbers: Vec<_> = take_all(&mut inbox).iter().filter_map(number_of).collect();
    assert_eq!(numbers, [SessionId::new(0, 0), SessionId::new(0, 1)]);
    assert_eq!(mailbox.queued(), 0);
    accounted(&inbox);
}

#[test]
fn a_burst_rings_once_and_only_for_a_sleeper() {
    let rings = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&rings);
    let doorbell = Arc::new(Doorbell::new(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    })));
    let (mailbox, mut inbox) = open(options(64, Backpressure::Reject), doorbell);
    assert!(send(&mailbox, low()).is_ok());
    assert_eq!(rings.load(Ordering::SeqCst), 0, "it is awake");
    assert!(!inbox.may_sleep(), "something waits");
    take_all(&mut inbox);
    assert!(inbox.may_sleep());
    for _ in 0..10 {
        assert!(send(&mailbox, low()).is_ok());
    }
    assert_eq!(rings.load(Ordering::SeqCst), 1);
}

#[test]
fn no_wake_is_lost_between_the_last_look_and_the_sleep() {
    let (bell, heard) = bounded::<()>(1);
    let doorbell = Arc::new(Doorbell::new(Box::new(move || {
        let _ = bell.try_send(());
    })));
    let (mailbox, mut inbox) = open(options(64, Backpressure::Block), doorbell);
    const COUNT: usize = 20_000;
    let sender = thread::spawn(move || {
        for _ in 0..COUNT {
            let deadline = mailbox.options.clock.now() + Duration::from_secs(60);
            mailbox
                .send(low(), None, deadline, Backpressure::Block)
                .unwrap();
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
    let (mailbox, inbox) = mailbox(4, Backpressure::Block);
    let clock = mailbox.options.clock;
    let (waiting, reply) = mailbox.slots.open();
    let sent = mailbox.send(normal(0, 0), Some(reply), Instant::FAR, Backpressure::Block);
    assert!(sent.is_ok());
    let (early, reply) = mailbox.slots.open();
    let sent = mailbox.send(normal(0, 1), Some(reply), Instant::FAR, Backpressure::Block);
    assert!(sent.is_ok());
    assert_eq!(
        early
            .wait(clock, Instant::ZERO, &mailbox.slots)
            .unwrap_err(),
        AskError::Expired
    );
    assert!(send(&mailbox, low()).is_ok());
    let mut inbox = inbox;
    inbox.close();
    assert_eq!(
        waiting
            .wait(clock, Instant::FAR, &mailbox.slots)
            .unwrap_err(),
        AskError::Stopped
    );
    assert_eq!(send(&mailbox, low()), Err(AskError::Stopped));
    let sum = accounted(&inbox);
    assert_eq!((sum.sent, sum.cancelled, sum.expired), (4, 3, 1));
}

#[test]
fn closing_while_senders_push_strands_nobody() {
    for _ in 0..50 {
        let (mailbox, mut inbox) = mailbox(2, Backpressure::Block);
        let askers: Vec<_> = (0..4)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    let clock = mailbox.options.clock;
                    loop {
                        let (waiting, reply) = mailbox.slots.open();
                        let deadline = clock.now() + Duration::from_secs(60);
                        match mailbox.send(low(), Some(reply), deadline, Backpressure::Block) {
                            Ok(()) => {
                                let outcome = waiting.wait(clock, deadline, &mailbox.slots);
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
