//! How many announces go to one tracker host at a time, and in which order the others wait.
//!
//! Ten thousand torrents of one tracker must not ask it in one turn, nor find out one by one that it is dead. So an announce
//! that is due asks for its turn here first; it has no deadline before it has it. Waiting costs two small map entries.
//!
//! ```text
//!   ask ──▶ Waiting ── room at its host ──▶ Flying ── an answer, a failure ──▶ over
//!              │                              └── silent for 15 s ──▶ Late (takes no room) ──▶ over
//!              └── the host is shut ──▶ refused, until it may be tried again
//!
//!   host:  Open ── 5 failures in a row ──▶ Shut for 30 s · 2^n, at most 300 s ──▶ Trying, one at a time
//!            ▲                                ▲                                      │ a failure
//!            └────────── an answer ──────────┼──────────────────────────────────────┤
//!                                            └──────────────────────────────────────┘
//! ```
//!
//! Invariants: a host never has more than its share in flight; of those that wait at one host the more urgent go first, and
//! among equals whoever came first; hosts take turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slab::Slab;

use crate::ids::SessionId;
use crate::time::{Duration, Instant};

/// Announces in flight to one HTTP tracker. Each is a connection that is used again for the next; the gateway has as many
/// places for one host.
pub const HTTP_PER_HOST: usize = 8;
/// The same while the program ends: there are only moments left.
pub const HTTP_PER_HOST_ENDING: usize = 32;
/// Announces in flight to one UDP tracker.
pub const UDP_PER_HOST: usize = 32;
/// The same while the program ends. So many answers fit into a socket's buffer of the usual 208 KiB.
pub const UDP_PER_HOST_ENDING: usize = 128;
/// Announces in flight over HTTP to all hosts together: each may be a descriptor.
pub const HTTP_MAX: usize = 128;
/// Announces in flight over UDP to all hosts together.
pub const UDP_MAX: usize = 512;
/// An announce without an answer for so long counts as a failure of its host and takes no room any more, though it is
/// waited for.
pub const SILENCE: Duration = Duration::from_secs(15);
/// Failures in a row after which a host is shut.
pub const FAILURES_MAX: u32 = 5;
/// How long a host is shut at first; it doubles each time it fails again.
pub const SHUT_FIRST: Duration = Duration::from_secs(30);
/// The longest that a host is shut.
pub const SHUT_MAX: Duration = Duration::from_secs(300);
/// Hosts that nobody waits for are remembered for their failures until there are so many hosts; then they are forgotten.
pub const HOSTS_MAX: usize = 4096;

/// A tracker of a torrent that asks for its turn. It has one at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    /// Whose tracker.
    pub session: SessionId,
    /// Which of its trackers.
    pub tracker: u32,
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Over TCP.
    Http,
    /// By datagrams.
    Udp,
}

/// How urgent an announce is; the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `stopped` and `completed`.
    Event,
    /// Of a torrent that wants peers.
    Download,
    /// The first to this tracker in this run.
    First,
    /// Any other.
    Regular,
}

/// What becomes of one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may ask now.
    Ask(Asker),
    /// Its host is shut for so long.
    Refused(Asker, Duration),
}

/// The turns of all announces.
#[derive(Debug, Default)]
pub struct Pace {
    hosts: Slab<Host>,
    names: BTreeMap<Box<str>, usize>,
    tickets: BTreeMap<Asker, Ticket>,
    /// What is in flight and not late, oldest first.
    flights: BTreeSet<(Instant, Asker)>,
    /// Hosts that may have something to do, each once.
    armed: VecDeque<usize>,
    http_flying: usize,
    udp_flying: usize,
    next_sequence: u64,
    ending: bool,
}

#[derive(Debug)]
struct Host {
    name: Box<str>,
    kind: Kind,
    waiting: BTreeSet<(Class, u64, Asker)>,
    flying: usize,
    tickets: usize,
    /// In a row, since it was opened or shut.
    failures: u32,
    /// How often it was shut in a row.
    shuts: u32,
    /// Nobody asks it before.
    shut_until: Instant,
    armed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    host: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Waiting(Class, u64),
    Flying(Instant),
    Late,
}

impl Pace {
    /// `asker` has something to say to the host of that name. What it asked for before is forgotten.
    pub fn ask(&mut self, asker: Asker, name: &str, kind: Kind, class: Class) {
        self.cancel(asker);
        let host = match self.names.get(name) {
            Some(&host) => host,
            None => self.enter(name, kind),
        };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let one = &mut self.hosts[host];
        one.waiting.insert((class, sequence, asker));
        one.tickets += 1;
        let place = Place::Waiting(class, sequence);
        self.tickets.insert(asker, Ticket { host, place });
        self.arm(host);
    }

    /// `asker` does not wait any more, whatever it waited for.
    pub fn cancel(&mut self, asker: Asker) {
        if let Some(ticket) = self.take(asker) {
            self.leave(ticket.host);
        }
    }

    /// What `asker` asked has come to an end; `heard` says whether the host has answered, be it with a refusal.
    pub fn over(&mut self, now: Instant, asker: Asker, heard: bool) {
        let Some(ticket) = self.take(asker) else {
            return;
        };
        let host = &mut self.hosts[ticket.host];
        if heard {
            host.failures = 0;
            host.shuts = 0;
            host.shut_until = Instant::ZERO;
        } else if !matches!(ticket.place, Place::Late) {
            host.fail(now);
        }
        self.leave(ticket.host);
    }

    /// The program ends: more at a time.
    pub fn hurry(&mut self) {
        self.ending = true;
        self.arm_all();
    }

    /// Whose turn it is, or who waits in vain; to be called until `None`.
    pub fn next(&mut self, now: Instant) -> Option<Turn> {
        self.expire(now);
        while let Some(index) = self.armed.pop_front() {
            let host = &mut self.hosts[index];
            host.armed = false;
            let Some(&(class, sequence, asker)) = host.waiting.first() else {
                self.forget(index);
                continue;
            };
            if now < host.shut_until {
                host.waiting.remove(&(class, sequence, asker));
                let wait = host.shut_until.since(now);
                self.tickets.remove(&asker);
                self.leave(index);
                return Some(Turn::Refused(asker, wait));
            }
            let (all, all_max, own_max) = match (host.kind, self.ending) {
                (Kind::Http, false) => (&mut self.http_flying, HTTP_MAX, HTTP_PER_HOST),
                (Kind::Http, true) => (&mut self.http_flying, HTTP_MAX, HTTP_PER_HOST_ENDING),
                (Kind::Udp, false) => (&mut self.udp_flying, UDP_MAX, UDP_PER_HOST),
                (Kind::Udp, true) => (&mut self.udp_flying, UDP_MAX, UDP_PER_HOST_ENDING),
            };
            let own_max = if host.shuts > 0 { 1 } else { own_max };
            // Whoever frees a place arms those that wait for one.
            if host.flying >= own_max || *all >= all_max {
                continue;
            }
            host.waiting.remove(&(class, sequence, asker));
            host.flying += 1;
            *all += 1;
            self.flights.insert((now, asker));
            let place = Place::Flying(now);
            self.tickets.insert(asker, Ticket { host: index, place });
            self.arm(index);
            return Some(Turn::Ask(asker));
        }
        None
    }

    /// When [`Self::next`] is to be called again if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.flights.first().map(|(since, _)| *since + SILENCE)
    }

    /// Whether [`Self::next`] has nothing to say before the deadline.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.armed.is_empty()
    }

    /// Those of a session that wait, or are in flight.
    pub fn askers_of(&self, session: SessionId) -> impl Iterator<Item = Asker> + '_ {
        let at = |tracker| Asker { session, tracker };
        let own = self.tickets.range(at(0)..=at(u32::MAX));
        own.map(|(asker, _)| *asker)
    }

    /// How many wait, and how many are in flight and not late.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let waiting = self.hosts.iter().map(|(_, host)| host.waiting.len()).sum();
        (waiting, self.flights.len())
    }

    fn enter(&mut self, name: &str, kind: Kind) -> usize {
        if self.hosts.len() >= HOSTS_MAX {
            let names = &mut self.names;
            self.hosts.retain(|_, host| {
                let stays = host.tickets > 0 || host.armed;
                if !stays {
                    names.remove(&host.name);
                }
                stays
            });
        }
        let host = self.hosts.insert(Host {
            name: name.into(),
            kind,
            waiting: BTreeSet::new(),
            flying: 0,
            tickets: 0,
            failures: 0,
            shuts: 0,
            shut_until: Instant::ZERO,
            armed: false,
        });
        self.names.insert(name.into(), host);
        host
    }

    /// Takes out a ticket and frees its place.
    fn take(&mut self, asker: Asker) -> Option<Ticket> {
        let ticket = self.tickets.remove(&asker)?;
        match ticket.place {
            Place::Waiting(class, sequence) => {
                let host = &mut self.hosts[ticket.host];
                host.waiting.remove(&(class, sequence, asker));
            }
            Place::Flying(since) => self.land(since, asker, ticket.host),
            Place::Late => {}
        }
        Some(ticket)
    }

    /// One is not in flight any more: there is room for others.
    fn land(&mut self, since: Instant, asker: Asker, index: usize) {
        self.flights.remove(&(since, asker));
        let host = &mut self.hosts[index];
        host.flying -= 1;
        let (all, max) = match host.kind {
            Kind::Http => (&mut self.http_flying, HTTP_MAX),
            Kind::Udp => (&mut self.udp_flying, UDP_MAX),
        };
        *all -= 1;
        // It was full, so any host may have waited for this place.
        if *all + 1 == max {
            self.arm_all();
        }
        self.arm(index);
    }

    /// A host has one ticket less. It is forgotten when there is nothing to remember.
    fn leave(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.tickets -= 1;
        if host.tickets > 0 {
            self.arm(index);
        } else {
            self.forget(index);
        }
    }

    /// Forgets a host that nobody asks and of which nothing is to be remembered.
    fn forget(&mut self, index: usize) {
        let host = &self.hosts[index];
        if host.tickets == 0 && !host.armed && host.failures == 0 && host.shuts == 0 {
            let host = self.hosts.remove(index);
            self.names.remove(&host.name);
        }
    }

    /// Flights without an answer for too long are late.
    fn expire(&mut self, now: Instant) {
        while let Some(&(since, asker)) = self.flights.first() {
            if now < since + SILENCE {
                return;
            }
            let Some(ticket) = self.tickets.get_mut(&asker) else {
                self.flights.remove(&(since, asker));
                continue;
            };
            ticket.place = Place::Late;
            let host = ticket.host;
            self.land(since, asker, host);
            self.hosts[host].fail(now);
        }
    }

    fn arm(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if !host.armed && !host.waiting.is_empty() {
            host.armed = true;
            self.armed.push_back(index);
        }
    }

    fn arm_all(&mut self) {
        let all: Vec<usize> = self.hosts.iter().map(|(index, _)| index).collect();
        for index in all {
            self.arm(index);
        }
    }
}

impl Host {
    fn fail(&mut self, now: Instant) {
        // What was in flight when it was shut says nothing new.
        if now < self.shut_until {
            return;
        }
        self.failures += 1;
        if self.shuts > 0 || self.failures >= FAILURES_MAX {
            let pause = SHUT_FIRST.saturating_mul(1 << self.shuts.min(8));
            self.shut_until = now + pause.min(SHUT_MAX);
            self.shuts = self.shuts.saturating_add(1);
            self.failures = 0;
            log::warn!(
                "tracker host {} does not answer: nobody asks it for {} s",
                self.name,
                pause.min(SHUT_MAX).as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn asker(number: u32) -> Asker {
        Asker {
            session: SessionId::new(number, 1),
            tracker: 0,
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn turns(pace: &mut Pace, now: Instant) -> Vec<Turn> {
        std::iter::from_fn(|| pace.next(now)).collect()
    }

    fn asks(pace: &mut Pace, now: Instant) -> Vec<u32> {
        let number = |turn| match turn {
            Turn::Ask(asker) => u32::try_from(asker.session.slot()).unwrap(),
            Turn::Refused(..) => panic!("{turn:?}"),
        };
        turns(pace, now).into_iter().map(number).collect()
    }

    #[test]
    fn the_urgent_go_first_and_equals_in_the_order_they_came() {
        let mut pace = Pace::default();
        for number in 0..8 {
            pace.ask(asker(number), "a", Kind::Http, Class::Regular);
        }
        assert_eq!(asks(&mut pace, at(1)), (0..8).collect::<Vec<_>>());
        for (number, class) in [
            (10, Class::Regular),
            (11, Class::First),
            (12, Class::Download),
            (13, Class::Event),
            (14, Class::Event),
            (15, Class::Download),
        ] {
            pace.ask(asker(number), "a", Kind::Http, class);
        }
        assert!(asks(&mut pace, at(1)).is_empty());
        let mut order = Vec::new();
        for number in 0..6 {
            pace.over(at(2), asker(number), true);
            order.extend(asks(&mut pace, at(2)));
        }
        assert_eq!(order, [13, 14, 12, 15, 11, 10]);
    }

    #[test]
    fn hosts_take_turns_and_none_takes_all_places() {
        let mut pace = Pace::default();
        let names: Vec<String> = (0..40).map(|host| format!("host {host}")).collect();
        for number in 0..4000 {
            let name = &names[number as usize % 40];
            pace.ask(asker(number), name, Kind::Http, Class::First);
        }
        let first = asks(&mut pace, at(1));
        assert_eq!(first.len(), HTTP_MAX);
        for (host, _) in names.iter().enumerate() {
            let own = first.iter().filter(|n| **n as usize % 40 == host).count();
            assert!((3..=4).contains(&own), "host {host} has {own}");
        }
        // A free place goes to one that waits, wherever it waits.
        pace.over(at(1), asker(first[0]), true);
        assert_eq!(asks(&mut pace, at(1)).len(), 1);
        // Datagrams have room of their own.
        pace.ask(asker(9000), "udp", Kind::Udp, Class::First);
        assert_eq!(asks(&mut pace, at(1)), [9000]);
    }

    #[test]
    fn a_dead_host_is_found_out_once_and_tried_by_one() {
        let mut pace = Pace::default();
        for number in 0..10_000 {
            pace.ask(asker(number), "a", Kind::Http, Class::First);
        }
        let (mut attempts, mut now) = (0, at(1));
        for number in asks(&mut pace, now) {
            attempts += 1;
            pace.over(now, asker(number), false);
        }
        assert_eq!(attempts, 8);
        let refused = turns(&mut pace, now);
        assert_eq!(refused.len(), 10_000 - 8);
        let wait = Duration::from_secs(30);
        assert!(
            refused
                .iter()
                .all(|turn| matches!(turn, Turn::Refused(_, w) if *w == wait))
        );
        // Everyone comes again when it may be asked: one tries, the others are told what came of it.
        for pause in [30, 60, 120, 240, 300, 300] {
            now += Duration::from_secs(pause);
            for number in 0..10_000 {
                pace.ask(asker(number), "a", Kind::Http, Class::First);
            }
            let tried = asks(&mut pace, now);
            assert_eq!(tried.len(), 1, "after {pause} s");
            pace.over(now, asker(tried[0]), false);
            assert_eq!(turns(&mut pace, now).len(), 9_999);
        }
        // An answer opens it for all.
        now += Duration::from_secs(300);
        for number in 0..100 {
            pace.ask(asker(number), "a", Kind::Http, Class::First);
        }
        assert_eq!(asks(&mut pace, now), [0]);
        pace.over(now, asker(0), true);
        assert_eq!(asks(&mut pace, now).len(), 8);
    }

    #[test]
    fn silence_counts_as_failure_and_a_late_answer_opens_again() {
        let mut pace = Pace::default();
        for number in 0..100 {
            pace.ask(asker(number), "u", Kind::Udp, Class::First);
        }
        assert_eq!(asks(&mut pace, at(1)).len(), UDP_PER_HOST);
        assert_eq!(pace.next_deadline(), Some(at(16)));
        assert!(asks(&mut pace, at(15)).is_empty());
        let refused = turns(&mut pace, at(16));
        assert_eq!(refused.len(), 100 - UDP_PER_HOST);
        pace.ask(asker(200), "u", Kind::Udp, Class::First);
        pace.over(at(17), asker(3), true);
        assert_eq!(asks(&mut pace, at(17)), [200]);
    }

    #[test]
    fn the_end_opens_more_places_at_once() {
        let mut pace = Pace::default();
        for number in 0..1000 {
            pace.ask(asker(number), "u", Kind::Udp, Class::Event);
        }
        assert_eq!(asks(&mut pace, at(1)).len(), UDP_PER_HOST);
        pace.hurry();
        let more = asks(&mut pace, at(1)).len();
        assert_eq!(more, UDP_PER_HOST_ENDING - UDP_PER_HOST);
    }

    /// Whatever is asked, answered, broken off and forgotten, the counts agree and nobody is left behind.
    #[test]
    fn nothing_is_lost_whatever_happens() {
        for seed in 0..30 {
            let mut rng = Rng::new(seed);
            let mut pace = Pace::default();
            let mut flying: BTreeSet<Asker> = BTreeSet::new();
            let mut waiting: BTreeSet<Asker> = BTreeSet::new();
            let mut now = at(1);
            for _ in 0..3000 {
                let number = rng.next_u32() % 300;
                let one = asker(number);
                match rng.below(4) {
                    0 | 1 => {
                        let name = format!("h{}", rng.below(20));
                        pace.ask(one, &name, Kind::Http, Class::Regular);
                        flying.remove(&one);
                        waiting.insert(one);
                    }
                    2 => {
                        pace.over(now, one, rng.below(3) > 0);
                        flying.remove(&one);
                        waiting.remove(&one);
                    }
                    _ => {
                        now += Duration::from_millis(rng.below(500));
                        for turn in std::iter::from_fn(|| pace.next(now)) {
                            match turn {
                                Turn::Ask(one) => {
                                    assert!(waiting.remove(&one) && flying.insert(one))
                                }
                                Turn::Refused(one, _) => assert!(waiting.remove(&one)),
                            }
                        }
                    }
                }
                assert_eq!(pace.counts().0, waiting.len(), "seed {seed}");
                assert_eq!(pace.tickets.len(), waiting.len() + flying.len());
                assert!(pace.http_flying <= HTTP_MAX && pace.http_flying <= flying.len());
            }
            for number in 0..300 {
                pace.cancel(asker(number));
            }
            assert_eq!(
                (pace.tickets.len(), pace.flights.len(), pace.http_flying),
                (0, 0, 0)
            );
        }
    }
}
