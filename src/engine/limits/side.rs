//! Who may pass next in one direction: a chain of buckets for each torrent, and one line of torrents that wait.
//!
//! A stream pays before it reads or sends: it stands in its torrent's queue until it is granted a *lump*, and uses that up.
//! So nothing passes that is not paid for, whoever bursts, and a stream that falls silent keeps one lump at most. The torrent
//! that has had the least, by its weight, comes first; one whose own bucket or group is empty lets others pass it, and
//! keeps its claim, though no more than `CLAIM_LUMPS` of it. Streams of one torrent take turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::ids::{SessionId, StreamId};
use crate::time::{Duration, Instant};

use super::bucket::Bucket;
use super::value::{TorrentLimits, Weight};

/// Smallest lump: a stream that is not limited to a crawl reads no more often than is needed.
const LUMP_MIN: u64 = 1024;
/// Largest lump: one read's worth.
const LUMP_MAX: u64 = 256 * 1024;
/// All streams together hold at most this part of a second's bytes as unused lumps, but for [`LUMP_MIN`].
const LUMP_PART: u64 = 16;
/// How many lumps a torrent may fall behind the others, being away or held by a limit of its own, and still be first when it
/// is back. Without it whoever has a single stream would lose its turn each time that has something to use up; without a
/// bound a torrent could starve the others for hours.
const CLAIM_LUMPS: u64 = 16;
/// Lines are looked at again no more often than this...
const LOOK_MIN: Duration = Duration::from_millis(20);
/// ...and no less often: a bucket must not run over while somebody waits.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// A grant: the stream may use so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub stream: StreamId,
    /// How many.
    pub bytes: u64,
}

/// Bytes a second of something that has members.
#[derive(Debug, Default)]
struct Pipe {
    /// `None` is no limit.
    bucket: Option<Bucket>,
    /// Streams that pass through it.
    streams: u64,
    /// It was empty when the line was last looked at, and kept some waiting: whoever comes now waits as they do.
    dry: bool,
}

impl Pipe {
    fn set(&mut self, rate: Option<u64>, now: Instant) {
        self.dry = false;
        match (&mut self.bucket, rate) {
            (Some(bucket), Some(rate)) if bucket.rate() == rate => {}
            (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
            (bucket, rate) => *bucket = rate.map(|rate| Bucket::new(rate, now)),
        }
    }

    fn lump(&self) -> u64 {
        let part = |bucket: &Bucket| bucket.rate() / LUMP_PART / self.streams.max(1);
        self.bucket.as_ref().map_or(LUMP_MAX, part)
    }
}

/// A torrent with streams that are limited.
#[derive(Debug)]
struct Share {
    own: Pipe,
    /// Whether the group's limits are for it, and of what group.
    group: Option<Arc<str>>,
    /// Whether the limits of all are for it.
    global: bool,
    weight: Weight,
    /// Bytes it has had, in the units of its weight.
    had: u64,
    /// Breaks ties: who waits longer comes first.
    turn: u64,
    waiting: VecDeque<StreamId>,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Side {
    global: Pipe,
    groups: BTreeMap<Arc<str>, Pipe>,
    /// Whether the limits of all are for a group's torrents too.
    groups_honour: BTreeMap<Arc<str>, bool>,
    shares: BTreeMap<SessionId, Share>,
    /// Torrents with streams that wait, by what they had.
    line: BTreeSet<(u64, u64, SessionId)>,
    turns: u64,
    /// What the torrent had that was granted something last.
    level: u64,
    /// The last lump.
    lump: u64,
    waiting: usize,
    /// Somebody has come to the line since it was looked at who may be able to go on.
    fresh: bool,
    look_at: Instant,
}

impl Side {
    /// The limit of all, `None` for none.
    pub fn set_global(&mut self, rate: Option<u64>, now: Instant) {
        self.global.set(rate, now);
    }

    /// The limit of a group, `None` for none, and whether that of all is for it too. No stream of it is here at the time.
    pub fn set_group(&mut self, name: &Arc<str>, rate: Option<u64>, honour: bool, now: Instant) {
        self.groups
            .entry(Arc::clone(name))
            .or_default()
            .set(rate, now);
        self.groups_honour.insert(Arc::clone(name), honour);
    }

    /// Whether a torrent with these limits of its own, `rate` among them, is limited at all.
    #[must_use]
    pub fn limits(&self, limits: &TorrentLimits, rate: Option<u64>) -> bool {
        let (group, global) = self.parents(limits);
        let group = group.and_then(|group| self.groups.get(&group));
        rate.is_some()
            || group.is_some_and(|group| group.bucket.is_some())
            || (global && self.global.bucket.is_some())
    }

    /// Whose limits are for it beside its own.
    fn parents(&self, limits: &TorrentLimits) -> (Option<Arc<str>>, bool) {
        if !limits.honour {
            return (None, false);
        }
        let group = Some(&limits.group).filter(|group| !group.is_empty());
        let honour = group.and_then(|group| self.groups_honour.get(group));
        (group.cloned(), honour.copied().unwrap_or(true))
    }

    /// A stream of `session` is limited from now on. All streams of a session come with the same limits.
    pub fn join(
        &mut self,
        session: SessionId,
        limits: &TorrentLimits,
        rate: Option<u64>,
        now: Instant,
    ) {
        let (group, global) = self.parents(limits);
        let share = self.shares.entry(session).or_insert_with(|| Share {
            own: Pipe::default(),
            group,
            global,
            weight: limits.weight,
            had: 0,
            turn: 0,
            waiting: VecDeque::new(),
        });
        share.own.set(rate, now);
        self.pipes(session, |pipe, _| pipe.streams += 1);
    }

    /// A stream is limited no more, or gone; what it had paid for and not used comes back.
    pub fn leave(&mut self, session: SessionId, stream: StreamId, unused: u64) {
        self.put_back(session, unused);
        self.pipes(session, |pipe, _| pipe.streams -= 1);
        let Some(share) = self.shares.get_mut(&session) else {
            return;
        };
        let before = share.waiting.len();
        share.waiting.retain(|waits| *waits != stream);
        self.waiting -= before - share.waiting.len();
        if share.waiting.is_empty() {
            self.line.remove(&(share.had, share.turn, session));
        }
        if share.own.streams == 0 {
            self.shares.remove(&session);
        }
    }

    /// A stream has used up what it was granted. It stands in line once.
    pub fn wait(&mut self, session: SessionId, stream: StreamId) {
        let Some(share) = self.shares.get_mut(&session) else {
            return;
        };
        if share.waiting.is_empty() {
            let claim = self.lump * CLAIM_LUMPS * Weight::UNIT;
            share.had = share.had.max(self.level.saturating_sub(claim));
            self.turns += 1;
            share.turn = self.turns;
            self.line.insert((share.had, share.turn, session));
        }
        share.waiting.push_back(stream);
        self.waiting += 1;
        let mut dry = false;
        self.pipes(session, |pipe, is_own| dry |= pipe.dry && !is_own);
        self.fresh |= !dry;
    }

    /// Whether somebody waits who may be able to go on.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.waiting > 0 && (now >= self.look_at || self.fresh)
    }

    /// `bytes` have passed that nobody had paid for: nothing else passes until that is made up for.
    pub fn charge(&mut self, session: SessionId, bytes: u64) {
        self.pipes(session, |pipe, _| {
            if let Some(bucket) = &mut pipe.bucket {
                bucket.take(bytes);
            }
        });
    }

    /// `bytes` that were granted were not used.
    pub fn put_back(&mut self, session: SessionId, bytes: u64) {
        self.pipes(session, |pipe, _| {
            if let Some(bucket) = &mut pipe.bucket {
                bucket.put_back(bytes);
            }
        });
    }

    /// Who may go on at `now`, with at least `least` bytes each.
    pub fn grant(&mut self, now: Instant, least: u64) -> Vec<Grant> {
        self.fresh = false;
        self.global.dry = false;
        self.groups.values_mut().for_each(|group| group.dry = false);
        let mut grants = Vec::new();
        // Those up to here cannot pass now, whatever is granted to others.
        let mut passed = Bound::Unbounded;
        while let Some(key) = self.line.range((passed, Bound::Unbounded)).next().copied() {
            let session = key.2;
            let (mut fits, mut lump) = (true, LUMP_MAX);
            self.pipes(session, |pipe, _| {
                if pipe.bucket.as_mut().is_some_and(|one| !one.has_any(now)) {
                    fits = false;
                    pipe.dry = true;
                }
                lump = lump.min(pipe.lump());
            });
            if !fits {
                passed = Bound::Excluded(key);
                continue;
            }
            self.lump = lump.max(LUMP_MIN).max(least);
            self.charge(session, self.lump);
            self.line.remove(&key);
            let Some(share) = self.shares.get_mut(&session) else {
                continue;
            };
            let Some(stream) = share.waiting.pop_front() else {
                continue;
            };
            self.waiting -= 1;
            self.level = self.level.max(share.had);
            let claim = self.lump * CLAIM_LUMPS * Weight::UNIT;
            share.had = share.had.max(self.level.saturating_sub(claim));
            share.had += share.weight.of(self.lump);
            self.turns += 1;
            share.turn = self.turns;
            if !share.waiting.is_empty() {
                self.line.insert((share.had, share.turn, session));
            }
            grants.push(Grant {
                stream,
                bytes: self.lump,
            });
        }
        let again = self.look_again();
        self.look_at = again.map_or(Instant::FAR, |span| now + span);
        grants
    }

    /// When to look at the line again: [`Instant::FAR`] when nobody waits for what time alone brings.
    #[must_use]
    pub fn look_at(&self) -> Instant {
        if self.waiting > 0 {
            self.look_at
        } else {
            Instant::FAR
        }
    }

    /// Streams that are limited, and those of them that wait.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let streams: u64 = self.shares.values().map(|share| share.own.streams).sum();
        (usize::try_from(streams).unwrap_or(usize::MAX), self.waiting)
    }

    fn look_again(&mut self) -> Option<Duration> {
        let line: Vec<SessionId> = self.line.iter().map(|(_, _, session)| *session).collect();
        let waits = line.into_iter().filter_map(|session| {
            let mut longest = Some(Duration::ZERO);
            self.pipes(session, |pipe, _| {
                if let Some(bucket) = &pipe.bucket {
                    longest = longest.zip(bucket.wait()).map(|(a, b)| a.max(b));
                }
            });
            longest
        });
        let soonest = waits.min()?;
        Some(soonest.clamp(LOOK_MIN, LOOK_MAX))
    }

    /// What a torrent's bytes pass through, and which of it is its own.
    fn pipes(&mut self, session: SessionId, mut of: impl FnMut(&mut Pipe, bool)) {
        let Some(share) = self.shares.get_mut(&session) else {
            return;
        };
        of(&mut share.own, true);
        let group = share.group.as_ref();
        if let Some(group) = group.and_then(|group| self.groups.get_mut(group)) {
            of(group, false);
        }
        if share.global {
            of(&mut self.global, false);
        }
    }
}
