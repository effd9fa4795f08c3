//! How the info dictionary of one torrent is put together from what peers send (BEP 9): whom to ask for what, and whom to
//! believe.
//!
//! ```text
//! a peer claims a size ─▶ Attempt of that size, shared by all who claim it ── hash right ─▶ done
//!                                     │ hash wrong, several senders                ▲
//!                                     ▼                                            │
//!                  each who claims that size gets an Attempt of its own ───────────┤
//!                                     │ hash wrong: it alone has sent all of it, and is guilty
//! ```
//!
//! A size is only a claim, so pieces of different sizes are never mixed, and nothing is allocated before it has come. What
//! was sent in an attempt that failed is remembered by its digests: when the right bytes are there, whoever sent others is
//! guilty too. Bounds: [`ATTEMPTS_MAX`] attempts of at most [`METADATA_BYTES_MAX`] bytes; whoever waits for a place takes that
//! of the slowest when that has had [`PLACE_FOR`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::codec::metadata::{METADATA_BYTES_MAX, PIECE_BYTES, piece_count, piece_range};
use crate::engine::session::assembly::Sender;
use crate::hash::{self, Digest};
use crate::ids::{InfoHash, StreamId};
use crate::time::{Duration, Instant};

/// Attempts at a time; further claims wait for a place.
const ATTEMPTS_MAX: usize = 4;
/// Pieces that one peer is asked for at a time.
const ASKED_MAX: usize = 3;
/// A piece that was asked for is asked of somebody else when it has not come for so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// When nothing else is left to ask for, the same is asked of another after so long.
const TWICE_AFTER: Duration = Duration::from_secs(2);
/// A peer that refused, or kept us waiting, is not asked for so long; twice that the next time, and so on.
const REST_FIRST: Duration = Duration::from_secs(20);
/// Doublings of that.
const REST_DOUBLINGS: u32 = 6;
/// An attempt may keep its place for so long while others wait.
const PLACE_FOR: Duration = Duration::from_secs(60);
/// An attempt that has not got on for so long is given up.
const STALL: Duration = Duration::from_secs(120);
/// Digests of failed attempts that are remembered; the oldest go first.
const SUSPECTS_MAX: usize = 4096;
/// Sizes of which mixed attempts have failed that are remembered; the least is forgotten beyond it.
const FAILED_SIZES_MAX: usize = 64;
/// Messages of data that nobody asked for, after which a peer is let go: some come late, after we have asked another.
const UNASKED_MAX: u32 = 64;

/// A peer that says it has the dictionary.
#[derive(Debug)]
struct Source {
    sender: Sender,
    size: u32,
    /// What it owes us, oldest first; what was given up on is marked, and taken all the same when it comes.
    asked: VecDeque<Asked>,
    /// Until then it is not asked.
    rests_until: Instant,
    refusals: u32,
    unasked: u32,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    piece: u32,
    at: Instant,
    given_up: bool,
}

/// The dictionary, as far as it is there, if it has this size.
#[derive(Debug)]
struct Attempt {
    size: u32,
    /// The only one that is asked; `None` for all that claim the size.
    sole: Option<StreamId>,
    began: Instant,
    /// When something last came.
    moved: Instant,
    pieces: BTreeMap<u32, Piece>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Box<[u8]>,
    sender: Sender,
}

/// Who sent what in an attempt that failed.
#[derive(Debug)]
struct Suspect {
    piece: u32,
    digest: Digest,
    sender: Sender,
}

/// What came of a piece.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The dictionary, when it is there and its hash is right.
    pub info: Option<Vec<u8>>,
    /// Those who are proven to have sent something else.
    pub guilty: Vec<Sender>,
    /// The sender contradicts what it has said, or sends too much that nobody asked for.
    pub breach: bool,
}

/// How far the fetch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataProgress {
    /// Pieces that have come, of the attempt that is furthest.
    pub pieces_have: u32,
    /// Pieces of that attempt; 0 while nobody has said how many there are.
    pub pieces_total: u32,
    /// Peers that say they have it.
    pub sources: u32,
}

/// The fetch of one torrent's info dictionary.
#[derive(Debug)]
pub struct Fetch {
    info_hash: InfoHash,
    sources: BTreeMap<StreamId, Source>,
    attempts: Vec<Attempt>,
    /// Sizes of which a mixed attempt has failed: asked of one at a time.
    failed_sizes: BTreeSet<u32>,
    suspects: VecDeque<Suspect>,
}

impl Fetch {
    /// Nobody is known.
    #[must_use]
    pub const fn new(info_hash: InfoHash) -> Self {
        Self {
            info_hash,
            sources: BTreeMap::new(),
            attempts: Vec::new(),
            failed_sizes: BTreeSet::new(),
            suspects: VecDeque::new(),
        }
    }

    /// `stream` says that it has `size` bytes; 0 when it has none. A claim beyond [`METADATA_BYTES_MAX`] is as good as none.
    pub fn offer(&mut self, stream: StreamId, sender: Sender, size: u32) {
        if self.sources.get(&stream).is_some_and(|s| s.size == size) {
            return;
        }
        let before = self.leave(stream);
        if size == 0 || size > METADATA_BYTES_MAX {
            return;
        }
        let source = Source {
            sender,
            size,
            asked: VecDeque::new(),
            // Another size is no way to be asked sooner.
            rests_until: before.as_ref().map_or(Instant::ZERO, |b| b.rests_until),
            refusals: before.map_or(0, |b| b.refusals),
            unasked: 0,
        };
        self.sources.insert(stream, source);
    }

    /// `stream` is gone, or does not take requests any more. What it has sent stays.
    fn leave(&mut self, stream: StreamId) -> Option<Source> {
        let source = self.sources.remove(&stream)?;
        self.attempts.retain(|attempt| attempt.sole != Some(stream));
        Some(source)
    }

    /// `stream` is gone.
    pub fn forget(&mut self, stream: StreamId) {
        self.leave(stream);
    }

    /// Who is to be asked for which piece; to be called until `None`. With `room` false nothing more may be held, so only what
    /// is under way goes on.
    pub fn next(&mut self, now: Instant, room: bool) -> Option<(StreamId, u32)> {
        self.expire(now);
        if !room {
            return None;
        }
        let free = |source: &Source| {
            source.rests_until <= now
                && source.asked.iter().filter(|asked| !asked.given_up).count() < ASKED_MAX
        };
        let streams: Vec<StreamId> = (self.sources.iter())
            .filter(|(_, source)| free(source))
            .map(|(stream, _)| *stream)
            .collect();
        streams.into_iter().find_map(|stream| {
            let piece = self.choose(stream, now)?;
            let source = self.sources.get_mut(&stream)?;
            source.asked.retain(|asked| asked.piece != piece);
            source.asked.push_back(Asked {
                piece,
                at: now,
                given_up: false,
            });
            Some((stream, piece))
        })
    }

    /// What `stream` is best asked for: what nobody owes us, else what somebody owes us for a while.
    fn choose(&mut self, stream: StreamId, now: Instant) -> Option<u32> {
        let at = self.attempt_for(stream, now)?;
        let attempt = &self.attempts[at];
        let mut owed: BTreeMap<u32, Instant> = BTreeMap::new();
        let mut own = BTreeSet::new();
        for (other, source) in &self.sources {
            if source.size != attempt.size || attempt.sole.is_some_and(|sole| sole != *other) {
                continue;
            }
            for asked in source.asked.iter().filter(|asked| !asked.given_up) {
                let latest = owed.entry(asked.piece).or_insert(asked.at);
                *latest = asked.at.max(*latest);
                if *other == stream {
                    own.insert(asked.piece);
                }
            }
        }
        let missing =
            || (0..piece_count(attempt.size)).filter(|piece| !attempt.pieces.contains_key(piece));
        let unasked = missing().find(|piece| !owed.contains_key(piece));
        unasked.or_else(|| {
            missing().find(|piece| {
                !own.contains(piece) && owed.get(piece).is_some_and(|at| *at + TWICE_AFTER <= now)
            })
        })
    }

    /// The attempt that `stream` is a part of, made when there is a place for it.
    fn attempt_for(&mut self, stream: StreamId, now: Instant) -> Option<usize> {
        let size = self.sources.get(&stream)?.size;
        let sole = self.failed_sizes.contains(&size).then_some(stream);
        let is_it = |attempt: &Attempt| attempt.size == size && attempt.sole == sole;
        if let Some(at) = self.attempts.iter().position(is_it) {
            return Some(at);
        }
        if self.attempts.len() >= ATTEMPTS_MAX {
            // Those whose peers are all gone first, then the slowest of those that have had their time.
            let has_peers = |attempt: &Attempt| {
                let claims = |s: &Source| s.size == attempt.size;
                attempt.sole.is_some() || self.sources.values().any(claims)
            };
            let slowness = |attempt: &Attempt| {
                let age = now.since(attempt.began).as_micros().max(1);
                (attempt.bytes as u128 * 1_000_000) / u128::from(u64::try_from(age).unwrap_or(1))
            };
            let overdue = |attempt: &&(usize, &Attempt)| {
                !has_peers(attempt.1) || attempt.1.began + PLACE_FOR <= now
            };
            let (at, _) = (self.attempts.iter().enumerate())
                .filter(|pair| overdue(&pair))
                .min_by_key(|(at, attempt)| (has_peers(attempt), slowness(attempt), *at))?;
            let gone = self.attempts.remove(at);
            // Others come first now.
            let its = |(id, source): (&StreamId, &Source)| {
                let is_its = source.size == gone.size && gone.sole.is_none_or(|sole| sole == *id);
                is_its.then_some(*id)
            };
            let its: Vec<StreamId> = self.sources.iter().filter_map(its).collect();
            for other in its {
                self.rest(other, now);
            }
        }
        self.attempts.push(Attempt {
            size,
            sole,
            began: now,
            moved: now,
            pieces: BTreeMap::new(),
            bytes: 0,
        });
        Some(self.attempts.len() - 1)
    }

    /// Gives up on what has not come in time.
    fn expire(&mut self, now: Instant) {
        let mut slow = Vec::new();
        for (stream, source) in &mut self.sources {
            for asked in source.asked.iter_mut().filter(|asked| !asked.given_up) {
                if asked.at + PATIENCE <= now {
                    asked.given_up = true;
                    slow.push(*stream);
                }
            }
        }
        slow.dedup();
        for stream in slow {
            self.rest(stream, now);
        }
        self.attempts.retain(|attempt| attempt.moved + STALL > now);
    }

    /// `stream` is left alone for a while, the longer the more often that happens.
    fn rest(&mut self, stream: StreamId, now: Instant) {
        if let Some(source) = self.sources.get_mut(&stream) {
            source.rests_until = now + REST_FIRST * (1 << source.refusals.min(REST_DOUBLINGS));
            source.refusals += 1;
        }
    }

    /// `stream` does not give a piece.
    pub fn on_reject(&mut self, stream: StreamId, piece: u32, now: Instant) {
        let Some(source) = self.sources.get_mut(&stream) else {
            return;
        };
        let before = source.asked.len();
        source.asked.retain(|asked| asked.piece != piece);
        if source.asked.len() < before {
            self.rest(stream, now);
        }
    }

    /// `stream` has sent a piece, of a dictionary that has `total` bytes as it says now.
    pub fn on_data(
        &mut self,
        stream: StreamId,
        piece: u32,
        total: u32,
        bytes: &[u8],
        now: Instant,
    ) -> Verdict {
        let breach = Verdict {
            breach: true,
            ..Verdict::default()
        };
        let Some(source) = self.sources.get_mut(&stream) else {
            return Verdict::default();
        };
        let place = source.asked.iter().position(|asked| asked.piece == piece);
        if place.and_then(|place| source.asked.remove(place)).is_none() {
            source.unasked += 1;
            return if source.unasked > UNASKED_MAX {
                breach
            } else {
                Verdict::default()
            };
        }
        let range = piece_range(source.size as usize, piece);
        let fits = range.is_some_and(|range| range.len() == bytes.len());
        if !fits || (total != 0 && total != source.size) {
            return breach;
        }
        source.refusals = 0;
        source.rests_until = source.rests_until.min(now);
        let (size, sender) = (source.size, source.sender);
        let sole = self.failed_sizes.contains(&size).then_some(stream);
        let is_it = |attempt: &Attempt| attempt.size == size && attempt.sole == sole;
        let Some(at) = self.attempts.iter().position(is_it) else {
            // Its attempt was given up on.
            return Verdict::default();
        };
        let attempt = &mut self.attempts[at];
        if !attempt.pieces.contains_key(&piece) {
            attempt.moved = now;
            attempt.bytes += bytes.len();
            let bytes = bytes.into();
            attempt.pieces.insert(piece, Piece { bytes, sender });
        }
        if attempt.bytes < size as usize {
            return Verdict::default();
        }
        let attempt = self.attempts.remove(at);
        self.judge(attempt)
    }

    /// All of it is there: whether it is right, and what follows for those who sent it.
    fn judge(&mut self, attempt: Attempt) -> Verdict {
        let parts: Vec<&[u8]> = attempt.pieces.values().map(|piece| &*piece.bytes).collect();
        if hash::sha1_parts(&parts) == self.info_hash.0 {
            let info = parts.concat();
            let lied = |suspect: &Suspect| {
                let range = piece_range(info.len(), suspect.piece);
                range.is_none_or(|range| hash::sha1(&info[range]) != suspect.digest)
            };
            let mut guilty = Vec::new();
            for suspect in self.suspects.iter().filter(|suspect| lied(suspect)) {
                add(&mut guilty, suspect.sender);
            }
            return Verdict {
                info: Some(info),
                guilty,
                breach: false,
            };
        }
        let mut senders = Vec::new();
        for piece in attempt.pieces.values() {
            add(&mut senders, piece.sender);
        }
        if senders.len() > 1 {
            // One of them lied about the bytes, or all about the size: each shows what it has by itself.
            if self.failed_sizes.len() >= FAILED_SIZES_MAX {
                self.failed_sizes.pop_first();
            }
            self.failed_sizes.insert(attempt.size);
            for (piece, held) in attempt.pieces {
                if self.suspects.len() >= SUSPECTS_MAX {
                    self.suspects.pop_front();
                }
                self.suspects.push_back(Suspect {
                    piece,
                    digest: hash::sha1(&held.bytes),
                    sender: held.sender,
                });
            }
            senders.clear();
        }
        Verdict {
            info: None,
            guilty: senders,
            breach: false,
        }
    }

    /// When something is to be looked at again, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if self.sources.is_empty() && self.attempts.is_empty() {
            return None;
        }
        let mut at: Option<Instant> = None;
        let mut sooner = |candidate: Instant| {
            if candidate > now {
                at = Some(at.map_or(candidate, |at| at.min(candidate)));
            }
        };
        for source in self.sources.values() {
            sooner(source.rests_until);
            for asked in source.asked.iter().filter(|asked| !asked.given_up) {
                sooner(asked.at + PATIENCE);
                sooner(asked.at + TWICE_AFTER);
            }
        }
        for attempt in &self.attempts {
            sooner(attempt.moved + STALL);
            if self.attempts.len() >= ATTEMPTS_MAX {
                sooner(attempt.began + PLACE_FOR);
            }
        }
        at
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.attempts.iter().map(|attempt| attempt.bytes).sum()
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> MetadataProgress {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let furthest = (self.attempts.iter()).max_by_key(|attempt| (attempt.bytes, attempt.size));
        let claimed = || self.sources.values().next().map_or(0, |source| source.size);
        MetadataProgress {
            pieces_have: furthest.map_or(0, |attempt| count(attempt.pieces.len())),
            pieces_total: piece_count(furthest.map_or_else(claimed, |attempt| attempt.size)),
            sources: count(self.sources.len()),
        }
    }
}

fn add(senders: &mut Vec<Sender>, sender: Sender) {
    let is_same = |have: &Sender| have.link == sender.link && have.peer_id == sender.peer_id;
    if !senders.iter().any(is_same) {
        senders.push(sender);
    }
}

const _: () = assert!(
    PIECE_BYTES * (SUSPECTS_MAX / 4) >= METADATA_BYTES_MAX as usize,
    "what several senders sent of the largest dictionary is remembered four times over"
);
