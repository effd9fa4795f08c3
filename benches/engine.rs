//! What one message costs in the engine, and what one link weighs.
//!
//! Workloads, from a fixed seed, over bare swarms: accounting, streams that come and go, finds and counts, each on a table of
//! 10 000 links; then find and count at 100 000 links, timed one by one for their tail; then bytes per link, each link in one
//! swarm with one stream that a caller carries. A hash of all answers is printed first: the same on every machine.
//!
//! `cargo bench --bench engine` takes the full sizes; without `--bench` (as `cargo test` runs it) everything is small.

#![allow(
    unsafe_code,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a bench counts allocations, reads the clock and prints"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant as Clock;

use linnet::config::Config;
use linnet::engine::Engine;
use linnet::engine::message::{
    Accounting, Answer, Carrier, Direction, Input, Message, Output, StreamName,
};
use linnet::engine::settings::Settings;
use linnet::ids::{ConnectionId, InfoHash, ReplyId, SwarmId};
use linnet::rng::Rng;
use linnet::time::Instant;

/// Counts what is held, and how often it was asked for more.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An engine with bare swarms, and what a caller knows of it.
struct Bench {
    engine: Engine,
    swarms: Vec<SwarmId>,
    asked: u64,
    /// Over all answers.
    hash: u64,
}

impl Bench {
    fn new(swarms: usize) -> Self {
        let mut rng = Rng::new(20);
        let settings = Settings::new(&Config::default(), 4, 2, &mut rng);
        let mut bench = Self {
            engine: Engine::new(settings, rng),
            swarms: Vec::new(),
            asked: 0,
            hash: 0,
        };
        for n in 0..swarms {
            let mut info_hash = InfoHash([0; 20]);
            Rng::new(n as u64).fill(&mut info_hash.0);
            let links_min = 3;
            match bench.ask(Message::SwarmAdd {
                info_hash,
                links_min,
            }) {
                Answer::Swarm(swarm) => bench.swarms.push(swarm),
                other => panic!("{other:?}"),
            }
        }
        bench
    }

    fn swarm(&self, link: usize) -> SwarmId {
        self.swarms[link % self.swarms.len()]
    }

    /// Gives the engine a message, and takes all it says.
    fn ask(&mut self, message: Message) -> Answer {
        self.asked += 1;
        let reply = Some(ReplyId(self.asked));
        self.engine
            .handle(Instant::ZERO, Input::Message { message, reply });
        let mut answer = Answer::Done;
        while let Some(output) = self.engine.poll_output() {
            if let Output::Reply { answer: said, .. } = output {
                answer = said;
            }
        }
        answer
    }

    /// The same, and the answer counts for the hash.
    fn tell(&mut self, message: Message) {
        let word = match self.ask(message) {
            Answer::Done => 1,
            Answer::Link(id) => id.to_word(),
            Answer::Stream(id) => id.to_word(),
            Answer::Found(found) => found.map_or(2, |link| link.link.to_word()),
            Answer::Count(count) => u64::from(count.links) << 32 | u64::from(count.uplinks),
            other => panic!("{other:?}"),
        };
        self.hash = (self.hash ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23);
    }

    /// So many links, each in one swarm, with one stream that is accounted in it.
    fn fill(&mut self, links: usize) {
        for link in 0..links {
            let (address, swarm) = (address(link), self.swarm(link));
            self.tell(Message::LinkCreate { address, swarm });
            self.tell(stream_add(link));
            let verdict = Accounting::Member;
            self.tell(Message::Account {
                address,
                swarm,
                verdict,
            });
        }
    }
}

fn address(link: usize) -> SocketAddr {
    let [_, a, b, c] = (link as u32).to_be_bytes();
    SocketAddr::from(([60 + a, b, c, 1], 6881))
}

fn stream_add(link: usize) -> Message {
    Message::StreamAdd {
        address: address(link),
        direction: Direction::Outgoing,
        swarm: None,
        carrier: Carrier::Outside(ConnectionId(link as u64)),
    }
}

fn stream_delete(link: usize) -> Message {
    Message::StreamDelete {
        stream: StreamName::Outside(ConnectionId(link as u64)),
    }
}

/// Nanoseconds and allocations of one message, over a warm table; the links are visited in a random order. Of all rounds the median
/// one and the best: what else runs on the machine is in the first.
fn mean(
    name: &str,
    links: usize,
    rounds: usize,
    mut visit: impl FnMut(&mut Bench, usize) -> usize,
) {
    let mut bench = Bench::new(links.div_ceil(1000));
    bench.fill(links);
    let mut order: Vec<usize> = (0..links).collect();
    Rng::new(4).shuffle(&mut order);
    // Once to warm up: what is kept from message to message has its size then.
    for &link in &order {
        visit(&mut bench, link);
    }
    let mut nanos = Vec::with_capacity(rounds);
    let (mut messages, before) = (0, ALLOCATIONS.load(Relaxed));
    for _ in 0..rounds {
        let (mut count, since) = (0, Clock::now());
        for &link in &order {
            count += visit(&mut bench, link);
        }
        nanos.push(since.elapsed().as_nanos() as f64 / count as f64);
        messages += count;
    }
    let allocations = (ALLOCATIONS.load(Relaxed) - before) as f64 / messages as f64;
    nanos.sort_unstable_by(f64::total_cmp);
    let (median, best) = (nanos[rounds / 2], nanos[0]);
    bench.engine.check();
    println!(
        "{name:<36} {median:>6.1} ns, best {best:>6.1} ns, {allocations:.3} allocations, hash {:016x}",
        bench.hash
    );
}

/// Median, p99 and worst of single messages at `links` links. Reading the clock is in it: some 25 ns.
fn tail(name: &str, links: usize, count: usize, message: impl Fn(&Bench, usize) -> Message) {
    let mut bench = Bench::new(links.div_ceil(1000));
    bench.fill(links);
    let mut rng = Rng::new(9);
    let mut nanos: Vec<u128> = Vec::with_capacity(count);
    for _ in 0..count {
        let message = message(&bench, rng.index(links));
        let since = Clock::now();
        let answer = bench.ask(message);
        nanos.push(since.elapsed().as_nanos());
        black_box(answer);
    }
    nanos.sort_unstable();
    let at = |share: f64| nanos[((count - 1) as f64 * share) as usize];
    println!(
        "{name:<44} p50 {} ns, p99 {} ns, p99.9 {} ns, worst {} ns",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn weigh(links: usize) {
    let mut bench = Bench::new(links.div_ceil(1000));
    let before = HELD.load(Relaxed);
    bench.fill(links);
    let held = HELD.load(Relaxed) - before;
    println!(
        "{:<44} {:>8.1} bytes a link",
        format!("{links} links, a swarm and a stream each"),
        held as f64 / links as f64
    );
}

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let (links, rounds, many) = if full {
        (10_000, 100, 100_000)
    } else {
        (100, 2, 1000)
    };
    let account = |verdict| {
        move |bench: &mut Bench, link| {
            let (address, swarm) = (address(link), bench.swarm(link));
            bench.tell(Message::Account {
                address,
                swarm,
                verdict,
            });
            1
        }
    };
    mean(
        "account, as before",
        links,
        rounds,
        account(Accounting::Member),
    );
    mean(
        "stream delete, add, account",
        links,
        rounds,
        |bench, link| {
            let (address, swarm) = (address(link), bench.swarm(link));
            bench.tell(stream_delete(link));
            bench.tell(stream_add(link));
            let verdict = Accounting::Member;
            bench.tell(Message::Account {
                address,
                swarm,
                verdict,
            });
            3
        },
    );
    mean("link find", links, rounds, |bench, link| {
        let (address, swarm) = (address(link), bench.swarm(link));
        bench.tell(Message::LinkFind { address, swarm });
        1
    });
    mean("links count", links, rounds, |bench, link| {
        let swarm = bench.swarm(link);
        bench.tell(Message::LinksCount { swarm });
        1
    });
    mean(
        "link create, delete",
        links,
        rounds.min(20),
        |bench, link| {
            let (address, swarm) = (address(link + 10_000_000), bench.swarm(link));
            bench.tell(Message::LinkCreate { address, swarm });
            let (force, preserve) = (true, false);
            bench.tell(Message::LinkDelete {
                address,
                force,
                preserve,
            });
            2
        },
    );
    tail("link find, one by one", many, 10 * many, |bench, link| {
        let (address, swarm) = (address(link), bench.swarm(link));
        Message::LinkFind { address, swarm }
    });
    tail("links count, one by one", many, 10 * many, |bench, link| {
        let swarm = bench.swarm(link);
        Message::LinksCount { swarm }
    });
    tail(
        "stream delete of nothing, one by one",
        many,
        10 * many,
        |_, link| stream_delete(link + (1 << 30)),
    );
    for links in [1000, many] {
        weigh(links);
    }
}
