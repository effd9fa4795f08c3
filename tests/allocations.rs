//! What a warm actor allocates: nothing, for any way to call it.
//!
//! Every allocation of this process is counted, by thread. The counting allocator is why this is a program of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "callers and the actor are threads of their own"
)]
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to be; this one counts and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use linnet::actor::completion::CompletionQueue;
use linnet::actor::handle::Handle;
use linnet::actor::host::{Finished, Host, Ready};
use linnet::actor::mailbox::{Doorbell, Options};
use linnet::actor::{Core, Loop};
use linnet::config::Backpressure;
use linnet::engine::message::{
    Accounting, Answer, Done, Fetch, Input, Message, Output, ShutdownReport, StoreJob, Work,
};
use linnet::ids::{SocketId, StreamId, SwarmId};
use linnet::metrics::EngineCounters;
use linnet::time::{Clock, Duration, Instant};

struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on as it came. Counting allocates nothing: the cell needs no destructor and is initialised
// at compile time; a thread that is ending just counts no more.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; what is freed here was allocated there.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count() {
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + 1));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> u64 {
    ALLOCATED.with(Cell::get)
}

/// A host that sleeps until it is rung, and tells what the actor's thread has allocated so far.
struct Asleep {
    clock: Clock,
    rung: Receiver<()>,
    allocated: Arc<AtomicU64>,
}

impl Host for Asleep {
    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    fn poll(&mut self, timeout: Option<Duration>, _ready: &mut Vec<Ready>) {
        self.allocated.store(allocated(), Ordering::SeqCst);
        match timeout {
            Some(Duration::ZERO) => {}
            _ => self.rung.recv().unwrap(),
        }
    }

    fn next_incoming(&mut self) -> Option<(SocketId, SocketAddr)> {
        None
    }

    fn accept(&mut self, _socket: SocketId, _stream: StreamId) {}

    fn refuse(&mut self, _socket: SocketId) {}

    fn dial(&mut self, _stream: StreamId, _to: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, _stream: StreamId, _bytes: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, _stream: StreamId, _bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn close(&mut self, _stream: StreamId, _clean: bool) {}

    fn receive(&mut self, _bytes: &mut [u8]) -> Option<(SocketAddr, usize)> {
        None
    }

    fn send_to(&mut self, _to: SocketAddr, _bytes: &[u8]) {}

    fn work(&mut self, _work: Work) -> Option<Done> {
        None
    }

    fn store(&mut self, _job: StoreJob) {}

    fn fetch(&mut self, _fetch: Fetch) {}

    fn finished(&mut self) -> Option<Finished> {
        None
    }
}

/// Answers everything at once, but stands still at `EngineShow` until it may go on.
struct Yes {
    outputs: VecDeque<Output>,
    stands: Sender<()>,
    gate: Receiver<()>,
}

impl Core for Yes {
    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        let Input::Message { message, reply } = input else {
            return;
        };
        if let Some(reply) = reply {
            let answer = Answer::Done;
            self.outputs.push_back(Output::Reply { reply, answer });
        }
        match message {
            Message::EngineShow => {
                self.stands.send(()).unwrap();
                self.gate.recv().unwrap();
            }
            Message::Shutdown { .. } => {
                let report = ShutdownReport::default();
                self.outputs.push_back(Output::Stopped(report));
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn counters(&self) -> EngineCounters {
        EngineCounters::default()
    }
}

struct Actor {
    handle: Handle,
    /// Of its thread, when it last thought of sleeping.
    allocated: Arc<AtomicU64>,
    wakes: Arc<AtomicU64>,
    stands: Receiver<()>,
    gate: Sender<()>,
    thread: thread::JoinHandle<()>,
}

const CAPACITY: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(60);

fn start() -> Actor {
    let (ring, rung) = bounded(1);
    let wakes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&wakes);
    let doorbell = Arc::new(Doorbell::new(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = ring.try_send(());
    })));
    let clock = Clock::start();
    let options = Options {
        capacity: CAPACITY,
        policy: Backpressure::Block,
        patience: PATIENCE,
        clock,
        stamped: true,
    };
    let allocated = Arc::new(AtomicU64::new(0));
    let host = Asleep {
        clock,
        rung,
        allocated: Arc::clone(&allocated),
    };
    let (gate, opened) = bounded(1);
    let (stopped, stands) = bounded(1);
    let core = Yes {
        outputs: VecDeque::with_capacity(16),
        stands: stopped,
        gate: opened,
    };
    let (turns, handle) = Loop::new(host, core, Vec::new(), options, doorbell);
    let thread = thread::spawn(move || {
        turns.run();
    });
    Actor {
        handle,
        allocated,
        wakes,
        stands,
        gate,
        thread,
    }
}

fn message() -> Message {
    Message::Account {
        address: SocketAddr::from(([127, 0, 0, 1], 6881)),
        swarm: SwarmId::new(0, 0),
        verdict: Accounting::Member,
    }
}

/// Fills the queue with batches of 32 while the actor stands still, and waits for room: more buffers have been under way than
/// one caller's quota will ever let, and whatever a wait needs was made.
fn saturate(actor: &Actor, messages: &mut Vec<Message>) {
    let handle = actor.handle.with_quota(CAPACITY);
    for round in 0..20 {
        // At last within the quota, so that the wait for it is practised too.
        let (handle, quota) = if round < 10 {
            (&handle, CAPACITY)
        } else {
            (&actor.handle, CAPACITY / 2)
        };
        handle.tell(Message::EngineShow).unwrap();
        actor.stands.recv().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                // Until no further batch fits.
                while actor.handle.queued() <= quota - 32 {
                    thread::yield_now();
                }
                actor.gate.send(()).unwrap();
            });
            for _ in 0..quota / 32 + 4 {
                fill(messages);
                handle.tell_batch(messages).unwrap();
            }
        });
    }
}

fn fill(messages: &mut Vec<Message>) {
    while messages.len() < 32 {
        messages.push(message());
    }
}

/// Lets `act` run until it is warm, then counts what it allocates: on this thread, and on the actor's.
fn measure(actor: &Actor, warm: usize, rounds: usize, mut act: impl FnMut(&Handle)) -> (u64, u64) {
    let settle = || {
        actor.handle.ask(message(), PATIENCE).unwrap();
        while actor.handle.queued() > 0 {
            thread::yield_now();
        }
        actor.handle.ask(message(), PATIENCE).unwrap();
    };
    (0..warm).for_each(|_| act(&actor.handle));
    settle();
    let (ours, theirs) = (allocated(), actor.allocated.load(Ordering::SeqCst));
    (0..rounds).for_each(|_| act(&actor.handle));
    settle();
    (
        allocated() - ours,
        actor.allocated.load(Ordering::SeqCst) - theirs,
    )
}

#[test]
fn a_warm_actor_and_its_callers_allocate_nothing() {
    let actor = start();
    let mut messages = Vec::new();
    saturate(&actor, &mut messages);
    let found = measure(&actor, 1000, 20_000, |handle| {
        handle.tell(message()).unwrap();
    });
    assert_eq!(found, (0, 0), "fire and forget");

    let found = measure(&actor, 1000, 5000, |handle| {
        handle.ask(message(), PATIENCE).unwrap();
    });
    assert_eq!(found, (0, 0), "ask");

    let found = measure(&actor, 1000, 5000, |handle| {
        fill(&mut messages);
        handle.tell_batch(&mut messages).unwrap();
    });
    assert_eq!(found, (0, 0), "a batch nobody waits for");

    let mut answers = Vec::new();
    let found = measure(&actor, 1000, 2000, |handle| {
        fill(&mut messages);
        handle
            .ask_batch(&mut messages, &mut answers, PATIENCE)
            .unwrap();
        assert_eq!(answers.len(), 32);
    });
    assert_eq!(found, (0, 0), "a batch with answers");

    let queue = CompletionQueue::new(64);
    let found = measure(&actor, 1000, 5000, |handle| {
        while handle.tell_with(message(), &queue, 1).is_err() {
            assert!(queue.next(PATIENCE).unwrap().outcome.is_ok());
        }
    });
    assert_eq!(found, (0, 0), "a completion");

    let shutdown = Message::Shutdown { budget: PATIENCE };
    actor.handle.ask(shutdown, PATIENCE).unwrap();
    actor.thread.join().unwrap();
}

/// One system call wakes a sleeping actor for as many messages as come while it is awake.
#[test]
fn a_burst_of_ten_thousand_costs_a_hundred_wakes_at_most() {
    const BURST: usize = 10_000;
    let actor = start();
    let mut fewest = u64::MAX;
    // The threads run side by side, so a burst may be cut by whoever else uses the processor: the best of a few counts.
    for _ in 0..10 {
        actor.handle.ask(message(), PATIENCE).unwrap();
        let before = actor.wakes.load(Ordering::SeqCst);
        for _ in 0..BURST {
            actor.handle.tell(message()).unwrap();
        }
        actor.handle.ask(message(), PATIENCE).unwrap();
        fewest = fewest.min(actor.wakes.load(Ordering::SeqCst) - before);
    }
    println!("{fewest} wakes for {BURST} messages");
    assert!(fewest <= 100);

    // An ask of an actor that may be asleep is one wake, or none.
    let before = actor.wakes.load(Ordering::SeqCst);
    for _ in 0..1000 {
        actor.handle.ask(message(), PATIENCE).unwrap();
    }
    assert!(actor.wakes.load(Ordering::SeqCst) - before <= 1000);
    let shutdown = Message::Shutdown { budget: PATIENCE };
    actor.handle.ask(shutdown, PATIENCE).unwrap();
    actor.thread.join().unwrap();
}
