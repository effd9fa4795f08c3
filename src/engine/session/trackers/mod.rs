//! The trackers of one torrent: whom to ask, when, and what to make of silence (BEP 3, 12, 15, 31).
//!
//! Trackers stand in tiers, shuffled once within each. An announce walks through them in order and ends at the first that
//! answers, which then moves to the front of its tier (BEP 12); so one tracker is asked at a time, and one is in use. Whoever is
//! silent is asked on, as its protocol wants it, but the walk does not wait for that: it takes minutes until a dead tracker
//! counts as one. Each has its own timer: whoever failed is passed over until its backoff is over, but nobody is given up for
//! good.
//!
//! ```text
//!            start                    answer: due = now + interval
//!  Idle ─────────────▶ Running ───▶ walk ─────────────────────────────▶ Running
//!   ▲                     │           ├── failure: backoff, next one ─▶ walk, or wait for the first backoff to end
//!   │                     │           └── silence: next one ──────────▶ walk, while the silent one is asked on
//!   │ start again         │ stop: `stopped` to all that were told `started`, at once and in parallel
//!   └───── Stopping ◀─────┘
//! ```
//!
//! Invariants: `started` is the first announce to every tracker; `completed` is answered by one tracker, once; `stopped` goes
//! only to those that may have heard `started`. Every announce asks for its turn first ([`Step::Turn`]), since thousands of
//! torrents may share a tracker; its deadlines begin when it has it, and the walk waits for it. Nothing else here waits: each ask has a deadline of its own, so an answer that
//! never comes is only a timer that fires.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::codec::announce::{AnnounceAnswer, AnnounceEvent, Retry};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

mod http;
mod step;
mod tracker;
mod udp;

pub use crate::codec::announce::udp::transaction_of;
pub use step::{AskId, Facts, Report, Step, TrackerState, TrackerStatus};

use step::{Move, Outcome};
use tracker::Tracker;

/// Trackers of one torrent; those named behind them are dropped.
pub const TRACKERS_MAX: usize = 64;
/// Bytes of a tracker's URL; a longer one is kept as unusable.
pub const URL_BYTES_MAX: usize = 2048;
/// Bytes of an HTTP answer; more is a failure. Ten times what a thousand peers take, even as dictionaries.
pub const ANSWER_BYTES_MAX: usize = 512 * 1024;
/// For one announce over HTTP.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(30);
/// For one `stopped` over HTTP. The budget of the shutdown is shorter, and enforced by whoever has it.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(10);
/// For finding a tracker's addresses.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long after its own timeout an answer is given up here: only a lost answer takes so long.
const GRACE: Duration = Duration::from_secs(15);

/// How long the walk waits for a tracker: a live one has answered by then, and lost datagrams were sent once more (BEP 15).
pub const PATIENCE: Duration = Duration::from_secs(15);
/// The same for a torrent that has no peer at all: nothing moves until some tracker answers.
pub const PATIENCE_ALONE: Duration = Duration::from_secs(5);

/// The pause after a first failure; it doubles with each further one.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(60);
/// The longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// The pause after a tracker asked never to be asked again (BEP 31): it is asked once a day, as people repair things.
pub const BACKOFF_NEVER: Duration = Duration::from_secs(24 * 3600);
/// How soon more peers may be asked for where the tracker does not say.
pub const MORE_PEERS_MIN: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    Stopping,
}

/// Whether `completed` is to be said. One tracker is told, whichever is in use: a second one would count the same download again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completion {
    Not,
    Due,
    Told,
}

/// The trackers of one torrent.
#[derive(Debug)]
pub struct Trackers {
    /// In the order in which they are walked: by tier, and within it whoever answered last in front.
    trackers: Vec<Tracker>,
    phase: Phase,
    completion: Completion,
    /// When the next walk begins.
    due: Instant,
    /// Key of the tracker that answered last.
    in_use: Option<u32>,
    /// Key of the tracker that is being told `completed`.
    completing: Option<u32>,
    /// How long the walk waits for one tracker.
    patience: Duration,
    farewells_failed: usize,
    next_ask: u64,
    /// At most one for each tracker and family, as [`Self::poll`] hands them out before it goes on.
    reports: VecDeque<Report>,
}

impl Trackers {
    /// The trackers named by a torrent's `tiers`, up to [`TRACKERS_MAX`], each URL once. Those we cannot speak to are kept for
    /// the status alone.
    #[must_use]
    pub fn new(tiers: &[Vec<String>], rng: &mut Rng) -> Self {
        let mut seen = BTreeSet::new();
        let mut trackers: Vec<Tracker> = Vec::new();
        for (tier, urls) in (0..).zip(tiers) {
            let first = trackers.len();
            for url in urls.iter().map(|url| url.trim()) {
                if trackers.len() < TRACKERS_MAX && !url.is_empty() && seen.insert(url) {
                    let key = u32::try_from(trackers.len()).unwrap_or(u32::MAX);
                    trackers.push(Tracker::new(key, tier, url));
                }
            }
            rng.shuffle(&mut trackers[first..]);
        }
        Self {
            trackers,
            phase: Phase::Idle,
            completion: Completion::Not,
            due: Instant::FAR,
            in_use: None,
            completing: None,
            patience: PATIENCE,
            farewells_failed: 0,
            next_ask: 0,
            reports: VecDeque::new(),
        }
    }

    /// Asks these trackers from now on. What is known of those that stay is kept; those that go are told `stopped` where they
    /// may have heard `started`, and so is nobody when nothing runs.
    pub fn replace(&mut self, tiers: &[Vec<String>], now: Instant, rng: &mut Rng) {
        let mut before = std::mem::take(&mut self.trackers);
        let mut next = before.iter().map(|one| one.key + 1).max().unwrap_or(0);
        let fresh = Self::new(tiers, rng).trackers;
        for mut tracker in fresh {
            let known = before
                .iter()
                .position(|one| !one.leaving && one.has_url_of(&tracker));
            if let Some(at) = known {
                let tier = tracker.tier;
                tracker = before.swap_remove(at);
                tracker.tier = tier;
            } else {
                tracker.key = next;
                tracker.earliest = now;
                next += 1;
            }
            self.trackers.push(tracker);
        }
        let gone = |key: Option<u32>, all: &[Tracker]| {
            key.filter(|key| all.iter().any(|one| one.key == *key))
        };
        self.in_use = gone(self.in_use, &self.trackers);
        self.completing = gone(self.completing, &self.trackers);
        if self.in_use.is_none() && self.phase == Phase::Running {
            self.due = now;
        }
        for mut tracker in before.into_iter().take(TRACKERS_MAX) {
            if !tracker.leaving {
                tracker.leaving = true;
                match self.phase {
                    Phase::Running => tracker.farewell(now),
                    // It is being told already, or was never.
                    Phase::Idle | Phase::Stopping => {}
                }
            }
            if tracker.is_asking() {
                self.trackers.push(tracker);
            }
        }
    }

    /// Begins to announce. A tracker in its backoff stays there, so that pausing and resuming does not hammer it.
    pub fn start(&mut self, now: Instant) {
        if self.phase == Phase::Running {
            return;
        }
        self.trackers.retain(|tracker| !tracker.leaving);
        for tracker in &mut self.trackers {
            tracker.forget();
            if tracker.failures == 0 {
                tracker.earliest = now;
            }
        }
        self.phase = Phase::Running;
        self.due = now;
        self.in_use = None;
        self.completing = None;
        self.farewells_failed = 0;
    }

    /// The last piece has arrived. Only for a torrent that was downloaded and whose `completed` nobody was told yet
    /// (see [`Self::completed_told`]); may be called before [`Self::start`].
    pub fn completed(&mut self) {
        if self.completion == Completion::Not {
            self.completion = Completion::Due;
        }
    }

    /// Whether a tracker has answered `completed`: to be remembered between runs.
    #[must_use]
    pub fn completed_told(&self) -> bool {
        self.completion == Completion::Told
    }

    /// Breaks off what is under way and says `stopped` to everyone who may have heard `started`.
    pub fn stop(&mut self, now: Instant) {
        if self.phase == Phase::Running {
            for tracker in self.trackers.iter_mut().filter(|one| !one.leaving) {
                tracker.farewell(now);
            }
        }
        self.phase = Phase::Stopping;
        self.due = Instant::FAR;
        self.in_use = None;
        self.completing = None;
    }

    /// Whether every tracker that had to be told `stopped` has answered or failed. False before [`Self::stop`].
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopping && self.trackers.iter().all(|tracker| !tracker.is_asking())
    }

    /// Trackers that had to be told `stopped` and have not answered, or not yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        match self.phase {
            Phase::Idle | Phase::Running => 0,
            Phase::Stopping => {
                let asking = self.trackers.iter().filter(|tracker| tracker.is_asking());
                asking.count() + self.farewells_failed
            }
        }
    }

    /// The swarm is short of peers: announces as early as the tracker in use allows. To be said as often as it is so.
    pub fn need_peers(&mut self, now: Instant) {
        // Without a tracker in use the walk goes on anyway, as fast as the backoffs allow.
        if let Some(tracker) = self.tracker_in_use()
            && self.phase == Phase::Running
        {
            self.due = self.due.min(tracker.earliest.max(now));
        }
    }

    /// When [`Self::poll`] is to be called again if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let asks = self.trackers.iter().filter_map(Tracker::deadline).min();
        let free = |tracker: &&Tracker| tracker.is_usable() && !tracker.is_asking();
        let begin = self.due.max(self.held_until());
        let walk = (self.trackers.iter().filter(free))
            .map(|tracker| tracker.earliest.max(begin))
            .min()
            .filter(|_| self.phase == Phase::Running);
        let first = [asks, walk].into_iter().flatten().min();
        first.filter(|at| *at != Instant::FAR)
    }

    /// What is to be done now. To be called until `None` after every other call, and at each deadline.
    pub fn poll(&mut self, now: Instant, facts: &Facts, rng: &mut Rng) -> Option<Step> {
        self.patience = match facts.peers {
            0 => PATIENCE_ALONE,
            _ => PATIENCE,
        };
        loop {
            if let Some(report) = self.reports.pop_front() {
                return Some(Step::Report(report));
            }
            let mut moves = (0..self.trackers.len()).filter_map(|at| {
                let next = self.trackers[at].poll(now, facts, rng, &mut self.next_ask)?;
                Some((at, next))
            });
            let next = moves.next();
            match next {
                Some((_, Move::Step(step))) => return Some(step),
                Some((at, Move::Over(outcome))) => self.over(now, at, outcome, rng),
                None => {
                    let at = self.pick(now)?;
                    let event = match self.completion {
                        Completion::Due if self.completing.is_none() => {
                            self.completing = Some(self.trackers[at].key);
                            AnnounceEvent::Completed
                        }
                        _ => AnnounceEvent::None,
                    };
                    self.trackers[at].begin(now, event);
                }
            }
        }
    }

    /// It is the turn of that tracker, as [`Step::Turn`] has asked for.
    pub fn grant(&mut self, now: Instant, tracker: u32) {
        if let Some(tracker) = self.by_key(tracker) {
            tracker.grant(now);
        }
    }

    /// The connection numbers of UDP trackers that other torrents have got: useful after [`Self::grant`] and
    /// [`Self::on_resolved`].
    pub fn lend(&mut self, known: &dyn Fn(SocketAddr) -> Option<(u64, Instant)>) {
        for tracker in &mut self.trackers {
            tracker.lend(known);
        }
    }

    /// The host of that tracker is left alone for at least `wait`: others have found it dead. The walk goes on with the next.
    pub fn refuse(&mut self, now: Instant, tracker: u32, wait: Duration, rng: &mut Rng) {
        let at = self.trackers.iter().position(|one| one.key == tracker);
        let Some(at) = at.filter(|&at| self.trackers[at].is_waiting()) else {
            return;
        };
        self.trackers[at].refuse();
        if self.phase != Phase::Running || self.trackers[at].leaving {
            self.trackers[at].forget();
            let outcome = Outcome::Failed {
                error: String::new(),
                retry: None,
                heard: false,
            };
            return self.over(now, at, outcome, rng);
        }
        let error = "its host does not answer any torrent: it is tried again later".to_owned();
        // Spread, so that they do not all come back at once.
        let wait = wait + part(wait / 5, rng);
        self.note_failure(now, at, error, wait, false);
    }

    /// What became of the turn of that tracker: `None` while it waits or asks; `Some(Some(heard))` once when what it asked is
    /// over, `heard` saying whether the host has answered; `Some(None)` when it waits for nothing.
    pub fn turn_of(&mut self, tracker: u32) -> Option<Option<bool>> {
        match self.by_key(tracker) {
            Some(tracker) => tracker.take_turn(),
            None => Some(None),
        }
    }

    /// The connection number that a UDP tracker at `from` has given, and the end of its life.
    #[must_use]
    pub fn connection(&self, from: SocketAddr) -> Option<(u64, Instant)> {
        self.trackers.iter().find_map(|one| one.connection(from))
    }

    fn by_key(&mut self, key: u32) -> Option<&mut Tracker> {
        self.trackers.iter_mut().find(|one| one.key == key)
    }

    /// The answer to [`Step::Http`]: the body, or a text for people. A late or unknown one is ignored.
    pub fn on_http(
        &mut self,
        now: Instant,
        ask: AskId,
        result: Result<Vec<u8>, String>,
        rng: &mut Rng,
    ) {
        let found = self.trackers.iter_mut().enumerate().find_map(|(at, one)| {
            let outcome = one.on_http(ask, &result)?;
            Some((at, outcome))
        });
        if let Some((at, outcome)) = found {
            self.over(now, at, outcome, rng);
        }
    }

    /// The answer to [`Step::Resolve`]: addresses, or a text for people. A late or unknown one is ignored.
    pub fn on_resolved(
        &mut self,
        now: Instant,
        ask: AskId,
        result: Result<Vec<SocketAddr>, String>,
        rng: &mut Rng,
    ) {
        let found = self.trackers.iter_mut().enumerate().find_map(|(at, one)| {
            let outcome = one.on_resolved(now, ask, &result)?;
            Some((at, outcome))
        });
        if let Some((at, outcome)) = found {
            self.over(now, at, outcome, rng);
        }
    }

    /// A datagram. `false` when it answers nothing that was asked of `from` (address and transaction must both be right); then
    /// nothing has changed.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
        rng: &mut Rng,
    ) -> bool {
        let found = self.trackers.iter_mut().enumerate().find_map(|(at, one)| {
            let outcome = one.on_datagram(now, from, bytes)?;
            Some((at, outcome))
        });
        match found {
            None => false,
            Some((_, None)) => true,
            Some((at, Some(outcome))) => {
                self.over(now, at, outcome, rng);
                true
            }
        }
    }

    /// Whether an answer with this transaction is awaited here: for routing, see [`transaction_of`].
    #[must_use]
    pub fn owns(&self, transaction: u32) -> bool {
        self.trackers
            .iter()
            .any(|tracker| tracker.owns(transaction))
    }

    /// How each stands, in the order in which they are walked.
    pub fn status(&self) -> impl Iterator<Item = TrackerStatus> + '_ {
        let all = self.trackers.iter().filter(|tracker| !tracker.leaving);
        all.map(|tracker| {
            let in_use = self.in_use == Some(tracker.key);
            let (state, next_announce) = match () {
                () if !tracker.is_usable() => (TrackerState::Unusable, None),
                () if tracker.is_waiting() => (TrackerState::Waiting, None),
                () if tracker.is_asking() => (TrackerState::Asking, None),
                () if tracker.failures > 0 => (TrackerState::Failed, Some(tracker.earliest)),
                () if in_use => (TrackerState::InUse, Some(self.due)),
                () => (TrackerState::Idle, None),
            };
            TrackerStatus {
                url: tracker.shown().to_owned(),
                tier: tracker.tier,
                state,
                error: tracker.error.clone(),
                seeders: tracker.seeders,
                leechers: tracker.leechers,
                next_announce: next_announce.filter(|_| self.phase == Phase::Running),
                last_announce: tracker.last.map(|(at, _)| at),
                last_peers: tracker.last.map_or(0, |(_, peers)| peers),
            }
        })
    }

    /// What the last tracker that failed said, when none of them works now.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        let works = |one: &Tracker| one.failures == 0 && one.is_usable();
        if self.phase != Phase::Running || self.trackers.iter().any(works) {
            return None;
        }
        self.trackers
            .iter()
            .map(|one| one.error.as_str())
            .find(|error| !error.is_empty())
    }

    /// Who is to be asked now, if anyone.
    fn pick(&self, now: Instant) -> Option<usize> {
        if self.phase != Phase::Running {
            return None;
        }
        // `completed` goes at once to the tracker that knows us; only when that fails, whoever answers next is told.
        if self.completion == Completion::Due
            && self.completing.is_none()
            && let Some(tracker) = self.tracker_in_use()
            && tracker.failures == 0
            && (tracker.is_waiting() || !tracker.is_asking() && now >= self.held_until())
        {
            return self.trackers.iter().position(|one| one.key == tracker.key);
        }
        if now < self.held_until() {
            return None;
        }
        let ready = |tracker: &Tracker| {
            tracker.is_usable() && !tracker.is_asking() && tracker.earliest <= now
        };
        if self.due <= now {
            self.trackers.iter().position(ready)
        } else {
            None
        }
    }

    /// How long the walk waits for those that are being asked.
    fn held_until(&self) -> Instant {
        let staying = self.trackers.iter().filter(|tracker| !tracker.leaving);
        let asked = staying.filter_map(Tracker::asked_at).max();
        asked.map_or(Instant::ZERO, |asked| asked + self.patience)
    }

    fn tracker_in_use(&self) -> Option<&Tracker> {
        let key = self.in_use?;
        self.trackers.iter().find(|tracker| tracker.key == key)
    }

    fn over(&mut self, now: Instant, at: usize, outcome: Outcome, rng: &mut Rng) {
        let heard = !matches!(outcome, Outcome::Failed { heard: false, .. });
        self.trackers[at].turn_over(heard);
        if self.trackers[at].leaving && self.phase != Phase::Stopping {
            self.trackers[at].settle();
            if !self.trackers[at].is_asking() {
                self.trackers.remove(at);
            }
            return;
        }
        match (self.phase, outcome) {
            (Phase::Idle, _) => {}
            (Phase::Stopping, outcome) => {
                let failed = matches!(outcome, Outcome::Failed { .. });
                self.farewells_failed += usize::from(failed);
                self.trackers[at].settle();
            }
            (
                Phase::Running,
                Outcome::Answer {
                    answer,
                    event,
                    local,
                },
            ) => self.answered(now, at, *answer, event, local, rng),
            (Phase::Running, Outcome::Failed { error, retry, .. }) => {
                self.failed(now, at, error, retry, rng);
            }
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        at: usize,
        answer: AnnounceAnswer,
        event: AnnounceEvent,
        local: bool,
        rng: &mut Rng,
    ) {
        let tracker = &mut self.trackers[at];
        let first = tracker.is_asking();
        self.completing.take_if(|key| *key == tracker.key);
        tracker.settle();
        tracker.failures = 0;
        tracker.error.clear();
        tracker.last = Some((now, u32::try_from(answer.peers.len()).unwrap_or(u32::MAX)));
        tracker.seeders = answer.seeders;
        tracker.leechers = answer.leechers;
        let more = answer.min_interval.unwrap_or(MORE_PEERS_MIN);
        tracker.earliest = now + more.min(answer.interval);
        if event == AnnounceEvent::Completed {
            self.completion = Completion::Told;
        }
        // The answer of a second family comes while the walk may already be elsewhere: only its peers count.
        if first {
            self.due = now + later(answer.interval, rng);
            self.in_use = Some(tracker.key);
        }
        self.reports.push_back(Report::Success {
            url: tracker.shown().to_owned(),
            tier: tracker.tier,
            peers: answer.peers,
            seeders: answer.seeders,
            leechers: answer.leechers,
            next_announce: self.due.since(now),
            warning: answer.warning,
            tracker_is_local: local,
            external_ip: answer.external_ip,
        });
        if first {
            let tier = tracker.tier;
            let front = self.trackers.iter().position(|one| one.tier == tier);
            self.trackers[front.unwrap_or(at)..=at].rotate_right(1);
        }
    }

    fn failed(
        &mut self,
        now: Instant,
        at: usize,
        error: String,
        retry: Option<Retry>,
        rng: &mut Rng,
    ) {
        let tracker = &mut self.trackers[at];
        let wait = match retry {
            Some(Retry::After(wait)) => wait,
            Some(Retry::Never) => BACKOFF_NEVER,
            None => backoff(tracker.failures, rng),
        };
        tracker.last = Some((now, 0));
        self.note_failure(now, at, error, wait, true);
    }

    /// Notes that a tracker cannot be asked for `wait`. The walk goes on.
    fn note_failure(
        &mut self,
        now: Instant,
        at: usize,
        error: String,
        wait: Duration,
        asked: bool,
    ) {
        let tracker = &mut self.trackers[at];
        self.completing.take_if(|key| *key == tracker.key);
        tracker.settle();
        tracker.failures = match asked {
            true => tracker.failures.saturating_add(1),
            false => tracker.failures.max(1),
        };
        tracker.earliest = now + wait;
        tracker.error.clone_from(&error);
        // The walk goes on with the next that is ready, or waits for the first that will be. Where it has gone on before, and
        // found one that answers, it is over.
        let key = tracker.key;
        let is_over = self
            .tracker_in_use()
            .is_some_and(|one| one.key != key && one.failures == 0 && !one.is_asking());
        if !is_over {
            self.due = now;
        }
        let tracker = &self.trackers[at];
        self.reports.push_back(Report::Failed {
            url: tracker.shown().to_owned(),
            tier: tracker.tier,
            error,
            next_announce: wait,
            asked,
        });
    }
}

/// The pause after `failures` earlier ones and one more: 60 s · 2^n, at most an hour, give or take a tenth, so that the peers of
/// a tracker that was down do not all come back at once.
fn backoff(failures: u32, rng: &mut Rng) -> Duration {
    let pause = BACKOFF_FIRST
        .saturating_mul(1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX))
        .min(BACKOFF_MAX);
    pause * 9 / 10 + part(pause / 5, rng)
}

/// `interval` and up to a tenth more. Never less: a tracker may hold an early announce against us.
fn later(interval: Duration, rng: &mut Rng) -> Duration {
    interval + part(interval / 10, rng)
}

/// Some part of `span`.
fn part(span: Duration, rng: &mut Rng) -> Duration {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.below(micros.saturating_add(1)))
}

#[cfg(test)]
mod tests;
