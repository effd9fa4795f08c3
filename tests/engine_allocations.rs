//! What the engine's table allocates: nothing for a message in steady state, and little for a link.
//!
//! A program of its own, since its allocator counts.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a counting allocator is unsafe by its trait; a test may panic"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use linnet::config::Config;
use linnet::engine::Engine;
use linnet::engine::message::{
    Accounting, Answer, Carrier, Direction, Input, Message, Output, StreamName,
};
use linnet::engine::settings::Settings;
use linnet::ids::{ConnectionId, InfoHash, ReplyId, SwarmId};
use linnet::rng::Rng;
use linnet::time::Instant;

struct Counting;

thread_local! {
    /// Bytes held by this thread's own allocations, and how many there were: the harness's other threads do not disturb.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get() + layout.size() as isize);
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An engine of so many bare swarms.
fn engine(swarms: u8) -> (Engine, Vec<SwarmId>) {
    let mut rng = Rng::new(1);
    let settings = Settings::new(&Config::default(), 4, 2, &mut rng);
    let mut engine = Engine::new(settings, rng);
    let swarms = (0..swarms).map(|n| {
        let info_hash = InfoHash([n; 20]);
        let links_min = 3;
        match ask(
            &mut engine,
            Message::SwarmAdd {
                info_hash,
                links_min,
            },
        ) {
            Answer::Swarm(swarm) => swarm,
            other => panic!("{other:?}"),
        }
    });
    let swarms = swarms.collect();
    (engine, swarms)
}

fn ask(engine: &mut Engine, message: Message) -> Answer {
    let reply = Some(ReplyId(1));
    engine.handle(Instant::ZERO, Input::Message { message, reply });
    let mut answer = None;
    while let Some(output) = engine.poll_output() {
        if let Output::Reply { answer: said, .. } = output {
            answer = Some(said);
        }
    }
    answer.expect("answered at once")
}

fn address(link: u32) -> SocketAddr {
    let [_, a, b, c] = link.to_be_bytes();
    SocketAddr::from(([60 + a, b, c, 1], 6881))
}

fn add(engine: &mut Engine, link: u32, swarm: SwarmId) {
    let address = address(link);
    let carrier = Carrier::Outside(ConnectionId(u64::from(link)));
    let stream = ask(
        engine,
        Message::StreamAdd {
            address,
            direction: Direction::Outgoing,
            swarm: None,
            carrier,
        },
    );
    assert!(matches!(stream, Answer::Stream(_)), "{stream:?}");
    let verdict = Accounting::Member;
    ask(
        engine,
        Message::Account {
            address,
            swarm,
            verdict,
        },
    );
}

fn fill(engine: &mut Engine, swarms: &[SwarmId], links: u32) {
    for link in 0..links {
        let (address, swarm) = (address(link), swarms[link as usize % swarms.len()]);
        let made = ask(engine, Message::LinkCreate { address, swarm });
        assert!(matches!(made, Answer::Link(_)), "{made:?}");
        add(engine, link, swarm);
    }
}

#[test]
fn a_message_in_steady_state_allocates_nothing() {
    let (mut engine, swarms) = engine(10);
    fill(&mut engine, &swarms, 5000);
    let mut before = 0;
    // The first round gives everything that is kept its size.
    for round in 0..3 {
        if round == 1 {
            before = ALLOCATIONS.get();
        }
        for link in 0..5000 {
            let (address, swarm) = (address(link), swarms[link as usize % swarms.len()]);
            let connection = ConnectionId(u64::from(link));
            let stream = StreamName::Outside(connection);
            ask(&mut engine, Message::StreamDelete { stream });
            add(&mut engine, link, swarm);
            let found = ask(&mut engine, Message::LinkFind { address, swarm });
            assert!(matches!(found, Answer::Found(Some(link)) if link.member));
            ask(&mut engine, Message::LinksCount { swarm });
            ask(&mut engine, Message::Pin { address, swarm });
            ask(&mut engine, Message::Unpin { address, swarm });
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    engine.check();
}

#[test]
fn a_list_that_did_not_change_is_not_copied_again() {
    let (mut engine, swarms) = engine(1);
    fill(&mut engine, &swarms, 1000);
    let show = |engine: &mut Engine| {
        ask(
            engine,
            Message::LinksShow {
                swarm: swarms[0],
                established_only: false,
            },
        )
    };
    let first = show(&mut engine);
    let before = ALLOCATIONS.get();
    let again = show(&mut engine);
    assert_eq!(ALLOCATIONS.get(), before);
    assert!(matches!(
        (&first, &again),
        (Answer::Links { links: a, .. }, Answer::Links { links: b, .. }) if a.len() == 1000 && b.len() == 1000
    ));
}

/// Each in one swarm, with one stream that a caller carries: packed records, slots for names, an eighth to a half of slack in
/// what grows by doubling.
#[test]
fn a_link_with_its_swarm_and_its_stream_weighs_less_than_150_bytes() {
    for links in [1000, 100_000] {
        let (mut engine, swarms) = engine(100);
        let before = HELD.get();
        fill(&mut engine, &swarms, links);
        let each = (HELD.get() - before) / links as isize;
        assert!(each < 150, "{each} bytes a link at {links}");
    }
}
