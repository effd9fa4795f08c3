//! The link table by itself, without and with locks: bytes of a link, and what finding and counting cost among many.
//!
//! Workload, from a fixed seed: links in random order over 100 swarms, first only known, then each with a stream that is a
//! member; then questions about random ones of them. A hash of all answers is printed beside the numbers: both tables must
//! give the same. Bytes are what was asked of the allocator and not given back; the allocator's own overhead comes on top,
//! so the number of allocations is printed too.
//!
//! `cargo bench --bench actor`; without `--bench` (as `cargo test --benches` runs it) a small size keeps it alive.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program; a surprise ends it"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use linnet::config::Config;
use linnet::engine::Engine;
use linnet::engine::message::{Accounting, Answer, Input, Message, Output};
use linnet::engine::settings::Settings;
use linnet::ids::ReplyId;
use linnet::rng::Rng;
use linnet::stress::locked::{Locked, Times};
use linnet::stress::trace::{Names, Op};
use linnet::stress::wait::{Stopwatch, WaitSummary, Waits};
use linnet::time::Instant;

/// Swarms that the links are spread over.
const SWARMS: u16 = 100;

/// Bytes and blocks that are out.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static BLOCKS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

#[allow(unsafe_code, reason = "the one way to count allocations")]
// SAFETY: everything is done by the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        BLOCKS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        BLOCKS.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Either table.
trait Table {
    const NAME: &'static str;
    fn new() -> Self;
    fn ask(&mut self, message: Message) -> Answer;
}

struct Alone {
    engine: Engine,
    asked: u64,
}

impl Table for Alone {
    const NAME: &'static str = "actor";

    fn new() -> Self {
        let mut rng = Rng::new(1);
        let settings = Settings::new(&Config::default(), 1, 1, &mut rng);
        Self {
            engine: Engine::new(settings, rng),
            asked: 0,
        }
    }

    fn ask(&mut self, message: Message) -> Answer {
        self.asked += 1;
        let reply = Some(ReplyId(self.asked));
        let input = Input::Message { message, reply };
        self.engine.handle(Instant::ZERO, input);
        let mut answer = None;
        while let Some(output) = self.engine.poll_output() {
            if let Output::Reply { answer: got, .. } = output {
                answer = Some(got);
            }
        }
        answer.expect("every message of the table is answered at once")
    }
}

struct Behind(Locked);

impl Table for Behind {
    const NAME: &'static str = "locked";

    fn new() -> Self {
        Self(Locked::new(Times::of(&Config::default())))
    }

    fn ask(&mut self, message: Message) -> Answer {
        self.0.apply(&message, || Instant::ZERO)
    }
}

/// What one table needs.
struct Measured {
    known: Memory,
    members: Memory,
    find: WaitSummary,
    count: WaitSummary,
    hash: u64,
}

/// For each link.
#[derive(Clone, Copy)]
struct Memory {
    bytes: f64,
    blocks: f64,
}

impl Memory {
    #[allow(clippy::cast_precision_loss, reason = "bytes for people")]
    fn since(before: (usize, usize), links: u32) -> Self {
        let (bytes, blocks) = out();
        let each = |now: usize, then: usize| (now as f64 - then as f64) / f64::from(links);
        Self {
            bytes: each(bytes, before.0),
            blocks: each(blocks, before.1),
        }
    }
}

fn out() -> (usize, usize) {
    let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    (load(&BYTES), load(&BLOCKS))
}

fn swarm_of(link: u32) -> u16 {
    u16::try_from(link % u32::from(SWARMS)).unwrap()
}

fn measure<T: Table>(links: u32, questions: u32, watch: Stopwatch) -> Measured {
    let mut order: Vec<u32> = (1..=links).collect();
    Rng::new(7).shuffle(&mut order);
    let mut table = T::new();
    let mut names = Names::new(SWARMS);
    let mut hasher = DefaultHasher::new();
    for swarm in 0..SWARMS {
        let op = Op::SwarmAdd {
            swarm,
            links_min: 8,
        };
        let answer = table.ask(names.message(op));
        names.learn(op, &answer);
    }
    let mut apply = |op: Op| {
        let answer = table.ask(names.message(op));
        assert!(op.allows(&answer), "{op:?}: {answer:?}");
        let refused = matches!(answer, Answer::Refused(_));
        assert!(!refused, "{op:?}: {answer:?}");
        answer
    };
    let before = out();
    for &address in &order {
        let swarm = swarm_of(address);
        apply(Op::LinkCreate { address, swarm });
    }
    let known = Memory::since(before, links);
    for &address in &order {
        let swarm = swarm_of(address);
        apply(Op::StreamAdd {
            address,
            outgoing: true,
            swarm: Some(swarm),
            connection: address,
        });
        apply(Op::Account {
            address,
            swarm,
            verdict: Accounting::Member,
        });
    }
    let members = Memory::since(before, links);
    let mut rng = Rng::new(9);
    let mut ask = |draw: fn(u32) -> Op| {
        let mut waits = Waits::default();
        for _ in 0..questions {
            let address = 1 + u32::try_from(rng.below(u64::from(links))).unwrap();
            let op = draw(address);
            let (answer, nanos) = watch.time(|| black_box(apply(black_box(op))));
            waits.record(nanos);
            match answer {
                Answer::Found(Some(link)) => (link.address, link.member).hash(&mut hasher),
                Answer::Count(count) => (count.links, count.uplinks).hash(&mut hasher),
                other => panic!("{op:?}: {other:?}"),
            }
        }
        waits.summary()
    };
    let find = ask(|address| Op::LinkFind {
        address,
        swarm: swarm_of(address),
    });
    let count = ask(|address| Op::LinksCount {
        swarm: swarm_of(address),
    });
    Measured {
        known,
        members,
        find,
        count,
        hash: hasher.finish(),
    }
}

fn print(name: &str, links: u32, measured: &Measured) {
    let Measured {
        known,
        members,
        find,
        count,
        hash,
    } = measured;
    println!(
        "{links:>7} {name:<7} {:>7.1} {:>6.2} {:>9.1} {:>6.2} {:>7} {:>7} {:>7} {:>7}  {hash:016x}",
        known.bytes,
        known.blocks,
        members.bytes,
        members.blocks,
        find.p50_ns,
        find.p99_ns,
        count.p50_ns,
        count.p99_ns,
    );
}

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (sizes, questions) = if is_bench {
        ([1_000, 100_000], 1_000_000)
    } else {
        ([200, 1_000], 1_000)
    };
    let watch = Stopwatch::calibrate();
    println!(
        "bytes and allocations a link: known, then with a member stream; nanoseconds a question"
    );
    println!(
        "{:>7} {:<7} {:>7} {:>6} {:>9} {:>6} {:>7} {:>7} {:>7} {:>7}",
        "links", "", "known", "allocs", "+ stream", "allocs", "find", "p99", "count", "p99"
    );
    for links in sizes {
        let ours = measure::<Alone>(links, questions, watch);
        let theirs = measure::<Behind>(links, questions, watch);
        print(Alone::NAME, links, &ours);
        print(Behind::NAME, links, &theirs);
        assert_eq!(ours.hash, theirs.hash, "both tables answer alike");
        let less = |ours: Memory, theirs: Memory| 100.0 * (1.0 - ours.bytes / theirs.bytes);
        println!(
            "{links:>7} less    {:>6.1}% {:>16.1}%",
            less(ours.known, theirs.known),
            less(ours.members, theirs.members),
        );
    }
}
