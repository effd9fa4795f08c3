//! The conversation with a UDP tracker (BEP 15): find its addresses, get a connection number, announce.
//!
//! A tracker may have an address in each family, and over each it gives out peers of that family alone; so both are announced
//! to, side by side. The first answer decides how the announce went, a later one only brings more peers. The tracker of a
//! private torrent would count us twice, and its members' accounts with it: both families are asked for a connection there, and
//! the one that gives it first is announced to, as long as it answers. (Over HTTP there is one connection anyway.)
//!
//! ```text
//!  Quiet ── begin ──▶ Ready ── polled ──▶ Resolving ── addresses ──▶ Talking ── every leg over ──▶ Quiet
//!     └─────── begin, addresses still good ────────────────────────────▲
//!  each leg:  Connect ── number ──▶ Announce ── answer ──▶ over;  silence: again after 15, 30, 60 s, then failed
//! ```

use std::net::{IpAddr, SocketAddr};

use super::step::{AskId, Facts, Move, Outcome, Step, Told};
use super::{GRACE, RESOLVE_TIMEOUT};
use crate::codec::address;
use crate::codec::announce::udp::{
    UdpBody, decode_answer, encode_announce, encode_connect, transaction_of,
};
use crate::codec::announce::{AnnounceAnswer, AnnounceEvent};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// How often a datagram is sent. BEP 15 goes on until n = 8, which takes more than two hours, while a backup in the next tier
/// is waiting to be asked: up to n = 3 it takes 225 s.
const SENDS_MAX: u32 = 4;
/// The wait for an answer to the first datagram; it doubles with each further one.
const WAIT: Duration = Duration::from_secs(15);
/// The same for `stopped`, which has only seconds.
const FAREWELL_WAIT: Duration = Duration::from_millis(500);
/// How long a connection number is good (BEP 15).
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// How long addresses are used before the name is looked up again.
const ADDRESSES_LIFE: Duration = Duration::from_secs(3600);

/// What is remembered of a UDP tracker.
#[derive(Debug)]
pub(super) struct Udp {
    host: String,
    port: u16,
    /// What stands behind them in the URL, path and query; empty for nothing that a tracker could need.
    path: String,
    /// At most one for each family, IPv4 first.
    legs: Vec<Leg>,
    resolved_until: Instant,
    stage: Stage,
    /// Whether one family is announced to, and not both.
    single: bool,
    /// What went wrong last in this conversation.
    error: String,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Quiet,
    Ready {
        event: AnnounceEvent,
    },
    Resolving {
        event: AnnounceEvent,
        ask: AskId,
        deadline: Instant,
    },
    /// `answered` when an outcome was given already.
    Talking {
        answered: bool,
    },
}

/// One address of the tracker.
#[derive(Debug)]
struct Leg {
    to: SocketAddr,
    told: Told,
    /// The connection number and the end of its life.
    connection: Option<(u64, Instant)>,
    exchange: Option<Exchange>,
}

/// A request on its way.
#[derive(Debug)]
struct Exchange {
    event: AnnounceEvent,
    request: Request,
    /// `None` until it is first sent.
    transaction: Option<u32>,
    sends: u32,
    /// When it is sent (again), or given up.
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Connect,
    Announce {
        connection: u64,
        /// Whether the number is from this very exchange. One from before may have been forgotten by the tracker.
        fresh: bool,
    },
}

/// What came of one leg.
enum End {
    Answer(Box<AnnounceAnswer>),
    /// Why, and whether it was said by the tracker.
    Failed(String, bool),
}

impl Udp {
    pub(super) const fn new(host: String, port: u16, path: String) -> Self {
        Self {
            host,
            port,
            path,
            legs: Vec::new(),
            resolved_until: Instant::ZERO,
            stage: Stage::Quiet,
            single: false,
            error: String::new(),
        }
    }

    pub(super) fn begin(&mut self, now: Instant, event: AnnounceEvent) {
        self.hang_up();
        self.error.clear();
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            self.take_addresses(&[SocketAddr::new(ip, self.port)]);
            self.resolved_until = Instant::FAR;
        }
        // A farewell goes where the greeting went.
        if event == AnnounceEvent::Stopped || now < self.resolved_until && !self.legs.is_empty() {
            self.open(now, event);
        } else {
            self.stage = Stage::Ready { event };
        }
    }

    pub(super) fn forget(&mut self) {
        self.hang_up();
        for leg in &mut self.legs {
            leg.told = Told::No;
        }
    }

    pub(super) fn poll(
        &mut self,
        now: Instant,
        facts: &Facts,
        rng: &mut Rng,
        next_ask: &mut dyn FnMut() -> AskId,
    ) -> Option<Move> {
        match self.stage {
            Stage::Quiet => None,
            Stage::Ready { event } => {
                let ask = next_ask();
                self.stage = Stage::Resolving {
                    event,
                    ask,
                    deadline: now + RESOLVE_TIMEOUT + GRACE,
                };
                Some(Move::Step(Step::Resolve {
                    ask,
                    host: self.host.clone(),
                    port: self.port,
                    timeout: RESOLVE_TIMEOUT,
                }))
            }
            Stage::Resolving { deadline, .. } if deadline <= now => {
                Some(Move::Over(self.unresolved("no answer")))
            }
            Stage::Resolving { .. } => None,
            Stage::Talking { .. } => {
                self.single = facts.private;
                self.keep_one();
                self.poll_legs(now, facts, rng)
            }
        }
    }

    /// `None` when this was not asked here, or all is well so far.
    pub(super) fn on_resolved(
        &mut self,
        now: Instant,
        ask: AskId,
        result: &Result<Vec<SocketAddr>, String>,
    ) -> Option<Outcome> {
        let event = match self.stage {
            Stage::Resolving {
                event, ask: own, ..
            } if own == ask => event,
            _ => return None,
        };
        match result {
            Err(error) => return Some(self.unresolved(error)),
            Ok(addresses) => self.take_addresses(addresses),
        }
        if self.legs.is_empty() {
            return Some(self.unresolved("it has no usable address"));
        }
        self.resolved_until = now + ADDRESSES_LIFE;
        self.open(now, event);
        None
    }

    /// `None` when it answers nothing that was asked; else what came of it, if anything did.
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Option<Outcome>> {
        let from = address::canonical(from);
        let transaction = transaction_of(bytes)?;
        let at = self
            .legs
            .iter()
            .position(|leg| leg.to == from && leg.owns(transaction))?;
        let answer = decode_answer(bytes, from.is_ipv6()).ok()?;
        match self.legs[at].on_answer(now, answer.body)? {
            None => Some(None),
            Some(end) => Some(self.leg_over(now, at, end)),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Quiet => None,
            Stage::Ready { .. } => Some(Instant::ZERO),
            Stage::Resolving { deadline, .. } => Some(deadline),
            Stage::Talking { .. } => self
                .legs
                .iter()
                .filter_map(|leg| leg.exchange.as_ref())
                .map(|exchange| exchange.due)
                .min(),
        }
    }

    pub(super) fn owns(&self, transaction: u32) -> bool {
        self.legs.iter().any(|leg| leg.owns(transaction))
    }

    pub(super) fn is_told(&self) -> bool {
        self.legs.iter().any(|leg| leg.told != Told::No)
    }

    pub(super) const fn is_talking(&self) -> bool {
        !matches!(self.stage, Stage::Quiet)
    }

    /// Keeps the first dialable address of each family, with what is known of it.
    fn take_addresses(&mut self, addresses: &[SocketAddr]) {
        let usable = addresses.iter().copied().map(address::canonical);
        let mut known = std::mem::take(&mut self.legs);
        for v6 in [false, true] {
            let mut family = usable.clone();
            let first = family.find(|to| to.is_ipv6() == v6 && address::dialable(*to));
            let Some(to) = first else { continue };
            let leg = match known.iter().position(|leg| leg.to == to) {
                Some(at) => known.swap_remove(at),
                None => Leg::new(to),
            };
            self.legs.push(leg);
        }
    }

    /// Begins an exchange on each leg that `event` concerns.
    fn open(&mut self, now: Instant, event: AnnounceEvent) {
        // One tracker counts a completed download once, however many families it is reached over.
        let mut completed = false;
        for leg in &mut self.legs {
            let event = match leg.told.event(event) {
                AnnounceEvent::Stopped if leg.told == Told::No => continue,
                AnnounceEvent::Completed if completed => AnnounceEvent::None,
                event => event,
            };
            completed |= event == AnnounceEvent::Completed;
            leg.exchange = Some(Exchange {
                event,
                request: match leg.connection {
                    Some((connection, until)) if now < until => Request::Announce {
                        connection,
                        fresh: false,
                    },
                    _ => Request::Connect,
                },
                transaction: None,
                sends: 0,
                due: now,
            });
        }
        self.stage = Stage::Talking { answered: false };
    }

    /// Connection numbers are good for all torrents (BEP 15): one that another has got spares a round trip.
    pub(super) fn lend(&mut self, known: &dyn Fn(SocketAddr) -> Option<(u64, Instant)>) {
        for leg in &mut self.legs {
            let Some((connection, until)) = known(leg.to) else {
                continue;
            };
            if leg.connection.is_some_and(|(_, own)| until <= own) {
                continue;
            }
            leg.connection = Some((connection, until));
            if let Some(exchange) = &mut leg.exchange
                && exchange.sends == 0
            {
                exchange.request = Request::Announce {
                    connection,
                    fresh: false,
                };
            }
        }
    }

    /// The connection number that `from` has given.
    pub(super) fn connection(&self, from: SocketAddr) -> Option<(u64, Instant)> {
        let from = address::canonical(from);
        let leg = self.legs.iter().find(|leg| leg.to == from)?;
        leg.connection
    }

    /// What is under way is not waited for any more.
    pub(super) fn hang_up(&mut self) {
        for leg in &mut self.legs {
            leg.exchange = None;
        }
        self.stage = Stage::Quiet;
    }

    fn poll_legs(&mut self, now: Instant, facts: &Facts, rng: &mut Rng) -> Option<Move> {
        for at in 0..self.legs.len() {
            match self.legs[at].poll(now, facts, &self.path, rng) {
                None => {}
                Some(Ok(datagram)) => return Some(Move::Step(datagram)),
                Some(Err(GaveUp)) => {
                    let end = End::Failed("the tracker did not answer in time".to_owned(), false);
                    if let Some(outcome) = self.leg_over(now, at, end) {
                        return Some(Move::Over(outcome));
                    }
                }
            }
        }
        None
    }

    /// Of a private torrent's legs, the one that knows us, or else the first that has a connection, is the only one.
    fn keep_one(&mut self) {
        let greets = |leg: &Leg| {
            let exchange = leg.exchange.as_ref();
            exchange.is_some_and(|exchange| exchange.event != AnnounceEvent::Stopped)
        };
        let is_on = |leg: &Leg| {
            let exchange = leg.exchange.as_ref();
            exchange.is_some_and(|one| matches!(one.request, Request::Announce { .. }))
        };
        if !self.single || self.legs.iter().filter(|leg| greets(leg)).count() < 2 {
            return;
        }
        let known = self.legs.iter().position(|leg| leg.told != Told::No);
        let Some(only) = known.or_else(|| self.legs.iter().position(is_on)) else {
            return;
        };
        for (at, leg) in self.legs.iter_mut().enumerate() {
            if at != only {
                leg.exchange = None;
            }
        }
    }

    /// One leg is over. Failures count only when nothing else is left.
    fn leg_over(&mut self, now: Instant, at: usize, end: End) -> Option<Outcome> {
        let leg = &mut self.legs[at];
        let event = leg.exchange.take()?.event;
        leg.told.over(event, matches!(end, End::Answer(_)));
        if self.single && matches!(end, End::Failed(_, false)) {
            // Next time the other family may be faster.
            leg.told = Told::No;
        }
        let to = leg.to;
        let Stage::Talking { answered } = self.stage else {
            return None;
        };
        let others = self.legs.iter().any(|leg| leg.exchange.is_some());
        let given = answered || matches!(end, End::Answer(_));
        self.stage = if others {
            Stage::Talking { answered: given }
        } else {
            Stage::Quiet
        };
        match end {
            End::Answer(answer) => Some(Outcome::Answer {
                answer,
                event,
                local: !address::is_global(to.ip()),
            }),
            End::Failed(error, heard) => {
                self.error = error;
                // A name that led to silence may have moved.
                if !others && !given && self.resolved_until != Instant::FAR {
                    self.resolved_until = now;
                }
                // A farewell with one answer and one silence is over, and went well enough.
                if !others && given && event == AnnounceEvent::Stopped {
                    return Some(Outcome::Answer {
                        answer: Box::default(),
                        event,
                        local: false,
                    });
                }
                (!others && !given).then(|| self.failed(heard))
            }
        }
    }

    fn unresolved(&mut self, why: &str) -> Outcome {
        self.stage = Stage::Quiet;
        self.error = format!("the name {} cannot be resolved: {why}", self.host);
        self.failed(false)
    }

    fn failed(&mut self, heard: bool) -> Outcome {
        Outcome::Failed {
            error: std::mem::take(&mut self.error),
            retry: None,
            heard,
        }
    }
}

/// No datagram was answered.
struct GaveUp;

impl Leg {
    const fn new(to: SocketAddr) -> Self {
        Self {
            to,
            told: Told::No,
            connection: None,
            exchange: None,
        }
    }

    fn owns(&self, transaction: u32) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_some_and(|exchange| exchange.transaction == Some(transaction))
    }

    /// The datagram that is due, if one is.
    fn poll(
        &mut self,
        now: Instant,
        facts: &Facts,
        path: &str,
        rng: &mut Rng,
    ) -> Option<Result<Step, GaveUp>> {
        let exchange = self.exchange.as_mut()?;
        if now < exchange.due {
            return None;
        }
        if exchange.sends == SENDS_MAX {
            return Some(Err(GaveUp));
        }
        // A number from before that meets with silence may be one that a tracker which was restarted knows no more; then it
        // does not know us either, and need not be told that we go.
        if let Request::Announce { fresh, .. } = exchange.request
            && (self.connection.is_none_or(|(_, until)| until <= now)
                || !fresh && exchange.sends > 0 && exchange.event != AnnounceEvent::Stopped)
        {
            exchange.request = Request::Connect;
            exchange.transaction = None;
        }
        let wait = match exchange.event {
            AnnounceEvent::Stopped => FAREWELL_WAIT,
            _ => WAIT,
        };
        exchange.due = now + wait * (1 << exchange.sends);
        exchange.sends += 1;
        // The same number for every copy, so that a late answer to an early one counts.
        let transaction = *exchange.transaction.get_or_insert_with(|| rng.next_u32());
        let bytes = match exchange.request {
            Request::Connect => encode_connect(transaction),
            Request::Announce { connection, .. } => {
                self.told.sent(exchange.event);
                let announce = facts.announce(exchange.event, None);
                encode_announce(connection, transaction, &announce, path)
            }
        };
        Some(Ok(Step::Datagram {
            to: self.to,
            transaction,
            bytes,
        }))
    }

    /// The answer to what was sent last. `None` when it is not one: a number where peers were asked for, or the reverse.
    fn on_answer(&mut self, now: Instant, body: UdpBody) -> Option<Option<End>> {
        let exchange = self.exchange.as_mut()?;
        match (exchange.request, body) {
            (Request::Connect, UdpBody::Connect { connection }) => {
                self.connection = Some((connection, now + CONNECTION_LIFE));
                exchange.restart(
                    Request::Announce {
                        connection,
                        fresh: true,
                    },
                    now,
                );
                Some(None)
            }
            (Request::Announce { .. }, UdpBody::Announce(answer)) => {
                Some(Some(End::Answer(Box::new(answer))))
            }
            // Most likely the tracker was restarted and knows the number no more.
            (Request::Announce { fresh: false, .. }, UdpBody::Error(_)) => {
                self.connection = None;
                exchange.restart(Request::Connect, now);
                Some(None)
            }
            (_, UdpBody::Error(reason)) => {
                self.connection = None;
                let text = match reason.is_empty() {
                    true => "the tracker refuses without a reason".to_owned(),
                    false => format!("the tracker refuses: {reason}"),
                };
                Some(Some(End::Failed(text, true)))
            }
            (Request::Connect, UdpBody::Announce(_))
            | (Request::Announce { .. }, UdpBody::Connect { .. }) => None,
        }
    }
}

impl Exchange {
    /// Goes on with another request, at once.
    const fn restart(&mut self, request: Request, now: Instant) {
        self.request = request;
        self.transaction = None;
        self.sends = 0;
        self.due = now;
    }
}
