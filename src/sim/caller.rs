//! The program around a simulated engine: it says anything at any time, in every way there is to say it, and keeps an account
//! of what became of it.
//!
//! What it names is partly so and partly not: swarms and streams that are gone, addresses of machines, of nobody, and its own.
//! What it must see, whatever it does: every call has its end, no answer is lost or comes twice, a deadline that is said to have
//! passed has passed, and the loop's counts are its own (operations sent are processed, rejected, shed, expired or cancelled).

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::actor::completion::CompletionQueue;
use crate::actor::future::Asking;
use crate::actor::handle::{Handle, SendError};
use crate::actor::reply::AskError;
use crate::engine::message::{Answer, Message};
use crate::metrics::Metrics;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

use super::cast::Cast;
use super::faults::CallerFaults;
use super::snapshots;

/// Answers it may have waiting in its queue.
const COMPLETIONS_MAX: usize = 16;
/// Answers it waits for at a time otherwise; beyond it, it tells instead of asking.
const FUTURES_MAX: usize = 64;
/// How long it waits for an answer it really wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer it waits for.
#[derive(Debug)]
struct Pending {
    asking: Pin<Box<Asking>>,
    deadline: Instant,
    /// When it loses interest.
    drop_at: Instant,
}

/// Operations, by what it was told of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ledger {
    offered: u64,
    full: u64,
    shed: u64,
    answered: u64,
}

/// One program with several handles.
#[derive(Debug)]
pub struct Caller {
    rng: Rng,
    faults: CallerFaults,
    seats: Vec<Handle>,
    completions: CompletionQueue,
    pending: Vec<Pending>,
    next_tag: u64,
    ledger: Ledger,
    cast: Cast,
    next_burst: Instant,
    /// What it still has to put right.
    debts: Vec<Message>,
}

impl Caller {
    /// A program that has not said anything yet.
    #[must_use]
    pub fn new(
        handle: &Handle,
        cast: Cast,
        faults: CallerFaults,
        now: Instant,
        mut rng: Rng,
    ) -> Self {
        let seats = vec![
            handle.clone(),
            handle.without_waiting(),
            handle.with_quota(usize::MAX),
            handle.with_quota(2),
        ];
        let first = Duration::from_millis(rng.below(faults.every_ms.max(1)));
        Self {
            rng,
            faults,
            seats,
            completions: CompletionQueue::new(COMPLETIONS_MAX),
            pending: Vec::new(),
            next_tag: 0,
            ledger: Ledger::default(),
            cast,
            next_burst: if faults.every_ms > 0 {
                now + first
            } else {
                Instant::FAR
            },
            debts: Vec::new(),
        }
    }

    /// When it wants to say something next.
    #[must_use]
    pub fn next_burst(&self) -> Instant {
        self.next_burst
    }

    /// Calls made and answers seen so far: two runs of one seed agree on them.
    #[must_use]
    pub const fn sums(&self) -> [u64; 4] {
        let Ledger {
            offered,
            full,
            shed,
            answered,
        } = self.ledger;
        [offered, full, shed, answered]
    }

    /// Says what it has to say now.
    ///
    /// # Errors
    /// What must not be.
    pub fn talk(&mut self, now: Instant) -> Result<(), String> {
        if now < self.next_burst {
            return Ok(());
        }
        if self.faults.every_ms == 0 {
            self.pay(now);
            return Ok(());
        }
        let every = self.faults.every_ms;
        self.next_burst = now + Duration::from_millis(every / 2 + self.rng.below(every));
        for _ in 0..=self.rng.below(self.faults.burst_max) {
            self.call(now)?;
        }
        Ok(())
    }

    /// Takes something away from `connecting`, an address whose handshake is under way.
    pub fn take_away(&mut self, connecting: SocketAddr) {
        if self.rng.below(1000) < self.faults.remove_per_mille {
            let message = self.cast.removal(connecting, &mut self.rng);
            self.tell(message);
        }
    }

    /// Takes the answers that are there.
    ///
    /// # Errors
    /// What must not be.
    pub fn listen(&mut self, now: Instant) -> Result<(), String> {
        // Sometimes it does not look for long.
        if self.rng.chance(1, 4) {
            self.take_completions()?;
        }
        self.poll_futures(now, false)
    }

    /// Puts right what stands in the way of a swarm that wants to complete, and is silent from then on.
    pub fn calm(&mut self, now: Instant) {
        self.faults = CallerFaults::default();
        self.debts = self.cast.amends();
        self.next_burst = now;
    }

    /// The loop is over: everything has its end, and the counts agree.
    ///
    /// # Errors
    /// What does not.
    pub fn finish(mut self, now: Instant, metrics: &Metrics) -> Result<(), String> {
        self.poll_futures(now, true)?;
        if let Some(pending) = self.pending.first() {
            return Err(format!("{pending:?} is left waiting"));
        }
        self.take_completions()?;
        match self.completions.outstanding() {
            0 => {}
            left => return Err(format!("{left} completions never came")),
        }
        let mut sums = Ledger::default();
        for lane in &metrics.lanes {
            let figures = lane.figures;
            let ends = figures.processed
                + figures.rejected
                + figures.shed
                + figures.expired
                + figures.cancelled;
            if figures.sent != ends {
                return Err(format!("in lane {}: {figures:?}", lane.lane));
            }
            // Shutdowns are the world's.
            if lane.lane != "critical" {
                sums.offered += figures.sent;
                sums.full += figures.rejected;
                sums.shed += figures.shed;
            }
        }
        let ours = self.ledger;
        if (ours.offered, ours.full) != (sums.offered, sums.full) || ours.shed > sums.shed {
            return Err(format!("the caller counts {ours:?}, the loop {sums:?}"));
        }
        Ok(())
    }

    // Calling.

    fn call(&mut self, now: Instant) -> Result<(), String> {
        let way = self.rng.below(20);
        match way {
            0..6 => {
                let message = self.cast.message(&mut self.rng);
                self.tell(message);
            }
            6..11 => self.tell_with(),
            11..14 => self.ask(now, PATIENCE, Instant::FAR),
            14..16 => {
                let patience = Duration::from_micros(self.rng.below(30_000));
                self.ask(now, patience, Instant::FAR);
            }
            16 => {
                let drop_at = now + Duration::from_micros(self.rng.below(5000));
                self.ask(now, PATIENCE, drop_at);
            }
            17 => self.ask(now, PATIENCE, now),
            18 => self.tell_batch()?,
            _ => self.ask_and_run()?,
        }
        Ok(())
    }

    fn seat(&mut self) -> Handle {
        let at = self.rng.index(self.seats.len());
        // A clone would be another caller, with an account of its own: of these there are not many.
        self.seats.swap_remove(at)
    }

    fn tell(&mut self, message: Message) -> bool {
        let seat = self.seat();
        self.ledger.offered += 1;
        let told = seat.tell(message);
        self.seats.push(seat);
        self.ledger.full += u64::from(told.is_err());
        told.is_ok()
    }

    fn tell_with(&mut self) {
        let message = self.cast.message(&mut self.rng);
        let seat = self.seat();
        self.next_tag += 1;
        match seat.tell_with(message, &self.completions, self.next_tag) {
            Ok(()) => self.ledger.offered += 1,
            Err(SendError::NoPlace(_)) => {}
            Err(SendError::Full(_) | SendError::Stopped(_)) => {
                self.ledger.offered += 1;
                self.ledger.full += 1;
            }
        }
        self.seats.push(seat);
    }

    fn ask(&mut self, now: Instant, patience: Duration, drop_at: Instant) {
        let message = self.cast.message(&mut self.rng);
        if self.pending.len() >= FUTURES_MAX {
            self.tell(message);
            return;
        }
        let seat = self.seat();
        self.ledger.offered += 1;
        let mut asking = Box::pin(seat.ask_future(message, patience));
        self.seats.push(seat);
        if drop_at <= now {
            // A refusal is only told to who polls.
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(Err(AskError::Full)) = asking.as_mut().poll(&mut context) {
                self.ledger.full += 1;
            }
            return;
        }
        self.pending.push(Pending {
            asking,
            deadline: now + patience,
            drop_at,
        });
    }

    fn batch(&mut self) -> Vec<Message> {
        let most = if self.faults.overload { 6 } else { 80 };
        let count = self.rng.below(most);
        (0..count)
            .map(|_| self.cast.message(&mut self.rng))
            .collect()
    }

    fn tell_batch(&mut self) -> Result<(), String> {
        let mut messages = self.batch();
        let count = messages.len() as u64;
        let seat = self.seat();
        match seat.tell_batch(&mut messages) {
            Ok(queued) => {
                let left = messages.len() as u64;
                self.ledger.offered += count;
                self.ledger.full += left;
                if queued as u64 + left != count {
                    return Err(format!("{queued} of {count} queued, and {left} left"));
                }
            }
            Err(AskError::TooLong) => {}
            Err(why) => return Err(format!("a batch that was told: {why}")),
        }
        self.seats.push(seat);
        Ok(())
    }

    /// Asks with a deadline that is now: whoever waited would not wait.
    fn ask_and_run(&mut self) -> Result<(), String> {
        let seat = self.seat();
        let mut messages = self.batch();
        let count = messages.len() as u64;
        let (count, outcome) = match self.rng.below(3) {
            0 => {
                let message = self.cast.message(&mut self.rng);
                (1, seat.ask(message, Duration::ZERO).map(drop))
            }
            1 => (1, seat.metrics(Duration::ZERO).map(drop)),
            _ => {
                let mut answers = Vec::new();
                let asked = seat.ask_batch(&mut messages, &mut answers, Duration::ZERO);
                (count, asked)
            }
        };
        self.seats.push(seat);
        match outcome {
            // An empty batch.
            Ok(()) if count == 0 => {}
            Err(AskError::Expired) => self.ledger.offered += count,
            Err(AskError::Full) => {
                self.ledger.offered += count;
                self.ledger.full += count;
            }
            Err(AskError::TooLong) => {}
            other => return Err(format!("asked without waiting: {other:?}")),
        }
        Ok(())
    }

    /// Says what it owes, as far as there is room.
    fn pay(&mut self, now: Instant) {
        while let Some(message) = self.debts.pop() {
            // What is refused is given back, but a message is easily made again.
            let again = again(&message);
            if !self.tell(message) {
                self.debts.extend(again);
                self.next_burst = now + Duration::from_millis(1);
                return;
            }
        }
        self.next_burst = Instant::FAR;
    }

    // Answers.

    fn take_completions(&mut self) -> Result<(), String> {
        while let Some(completion) = self.completions.try_next() {
            self.hear(completion.outcome)?;
        }
        Ok(())
    }

    fn poll_futures(&mut self, now: Instant, over: bool) -> Result<(), String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut at = 0;
        while at < self.pending.len() {
            let pending = &mut self.pending[at];
            let deadline = pending.deadline;
            match pending.asking.as_mut().poll(&mut context) {
                Poll::Pending if !over && now >= pending.drop_at => {
                    self.pending.swap_remove(at);
                }
                Poll::Pending => at += 1,
                Poll::Ready(outcome) => {
                    self.pending.swap_remove(at);
                    match outcome {
                        Err(why @ (AskError::Expired | AskError::Unknown)) if now < deadline => {
                            return Err(format!("{why}, before the deadline"));
                        }
                        Err(AskError::Expired | AskError::Unknown) => {}
                        Err(AskError::Stopped) if over => {}
                        other => self.hear(other)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, outcome: Result<Answer, AskError>) -> Result<(), String> {
        match outcome {
            Ok(answer) => {
                self.ledger.answered += 1;
                snapshots::check(&answer)?;
                self.cast.learn(&answer);
            }
            Err(AskError::Full) => self.ledger.full += 1,
            Err(AskError::Shed) => self.ledger.shed += 1,
            // Of a loop that is over.
            Err(AskError::Stopped) => {}
            Err(why) => return Err(format!("a call ended in {why:?}")),
        }
        Ok(())
    }
}

/// The same message once more, of those it owes.
fn again(message: &Message) -> Option<Message> {
    match message {
        Message::StreamDelete { stream } => Some(Message::StreamDelete { stream: *stream }),
        Message::LimitsSet(limits) => Some(Message::LimitsSet(*limits)),
        _ => None,
    }
}
