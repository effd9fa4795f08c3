//! Our record of one remote address, shared by all swarms.
//!
//! A process may know a hundred thousand of them, so a record is packed into 56 bytes: what is written here as an enum or an
//! address is stored in its parts, and only the methods put them together. Whatever changes a link's state goes through the
//! table, which counts.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::codec::address;
use crate::engine::settings::Settings;
use crate::time::{Duration, Instant};

use super::ties::{Mark, Tie, Ties};

/// First pause of a pinned link: the person who named it waits for it, and may just have started the other side.
pub const PINNED_RETRY_FIRST: Duration = Duration::from_secs(2);
/// A pinned link is tried at least so often, whatever its failures.
const PINNED_RETRY_MAX: Duration = Duration::from_secs(60);
/// A link that worked and lived no longer than this, twice in a row, is unstable (requirement D22).
pub const SHORT_LIFE: Duration = Duration::from_secs(120);

/// Where a link stands; the picture is in the table's doc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// May be dialled, but not before this.
    Disconnected {
        /// When.
        not_before: Instant,
    },
    /// A stream is being opened.
    Connecting,
    /// At least one stream has a handshake.
    Established,
    /// Left alone.
    Ignored {
        /// Until when.
        until: Instant,
        /// Why.
        why: IgnoreReason,
    },
}

/// Why an address is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreReason {
    /// Too many failed attempts in a row.
    Failures,
    /// It connects and goes away again at once.
    Unstable,
    /// It broke the protocol.
    Misbehaved,
    /// It sent bad data, proven.
    BadData,
    /// It is ourselves.
    Ourselves,
}

impl IgnoreReason {
    /// For a person.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Unstable => "unstable",
            Self::Misbehaved => "misbehaved",
            Self::BadData => "bad data",
            Self::Ourselves => "ourselves",
        }
    }
}

impl LinkState {
    /// As the contract spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disconnected { .. } => "disconnected",
            Self::Connecting => "connecting",
            Self::Established => "established",
            Self::Ignored { .. } => "ignored",
        }
    }

    /// Place in a count by state.
    #[must_use]
    pub const fn ordinal(self) -> usize {
        match self {
            Self::Disconnected { .. } => 0,
            Self::Connecting => 1,
            Self::Established => 2,
            Self::Ignored { .. } => 3,
        }
    }
}

/// What stands for no slot.
pub(super) const NONE: u32 = u32::MAX;

/// An address as it is hashed and compared: the host in two words, scope and port in the third.
pub(super) type Key = [u64; 3];

/// The key of a canonical `address`.
pub(super) fn key_of(address: SocketAddr) -> Key {
    let (ip, scope) = parts(address);
    pack(ip, scope, address.port())
}

fn parts(address: SocketAddr) -> ([u8; 16], u32) {
    match address {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped().octets(), 0),
        SocketAddr::V6(v6) => (v6.ip().octets(), v6.scope_id()),
    }
}

fn pack(ip: [u8; 16], scope: u32, port: u16) -> Key {
    let word = |at: usize| {
        ip[at..at + 8]
            .iter()
            .fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    [word(0), word(8), u64::from(scope) << 16 | u64::from(port)]
}

impl LinkState {
    /// Whether a link may go from this state to `next`. The one place that says so: whatever is not here is a bug of ours.
    ///
    /// A ban, and the knowledge that an address is our own, are for good, and a ban is the stronger. Everything else may follow
    /// everything else: a link may fail, be dialled, be met from the other side or be given up at any time.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (
                Self::Ignored {
                    until: Instant::FAR,
                    why,
                },
                Self::Ignored {
                    until: Instant::FAR,
                    why: then,
                },
            ) => why != IgnoreReason::BadData || then == IgnoreReason::BadData,
            (
                Self::Ignored {
                    until: Instant::FAR,
                    ..
                },
                Self::Disconnected { .. }
                | Self::Connecting
                | Self::Established
                | Self::Ignored { .. },
            ) => false,
            (
                Self::Disconnected { .. }
                | Self::Connecting
                | Self::Established
                | Self::Ignored { .. },
                Self::Disconnected { .. }
                | Self::Connecting
                | Self::Established
                | Self::Ignored { .. },
            ) => true,
        }
    }

    /// Whether it is left alone for good.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Ignored {
                until: Instant::FAR,
                ..
            }
        )
    }
}

/// What subscribers were last told of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing, or that it is down.
    Down,
    /// That it is up.
    Up,
    /// That it is left alone.
    Ignored,
}

/// A [`LinkState`] without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Disconnected,
    Connecting,
    Established,
    Ignored(IgnoreReason),
}

/// One remote address.
#[derive(Debug)]
pub struct Link {
    ip: [u8; 16],
    scope: u32,
    port: u16,
    attempts: u16,
    /// Not before, or until, by `stand`.
    when: Instant,
    pub(super) ties: Ties,
    /// Slot of its oldest stream; they form a ring.
    pub(super) first: u32,
    /// Streams of it that are up.
    pub(super) up: u16,
    stand: Stand,
    flags: u8,
}

/// Whether somebody said that it listens there; an address that only dialled us does not.
const DIALABLE: u8 = 1;
/// Whether it spent its attempts once: then each cycle is one attempt.
const SPENT: u8 = 1 << 1;
/// Whether we dialled the stream that was last added.
const OUTGOING: u8 = 1 << 2;
/// Whether it was reached over uTP when it was last reached.
const SPEAKS_UTP: u8 = 1 << 5;
/// Two bits: what was told.
const TOLD_UP: u8 = 1 << 3;
const TOLD_IGNORED: u8 = 1 << 4;
/// Whether the kind of handshake that the policy has second is the one to begin with here: the first one has failed.
const SECOND_CHOICE: u8 = 1 << 6;
/// One bit: lives shorter than [`SHORT_LIFE`] in a row, of which more than one need not be told apart.
const SHORT_LIVES_SHIFT: u32 = 7;

impl Link {
    /// A record of the canonical `address`, never tried.
    pub(super) fn new(address: SocketAddr) -> Self {
        let (ip, scope) = parts(address);
        Self {
            ip,
            scope,
            port: address.port(),
            attempts: 0,
            when: Instant::ZERO,
            ties: Ties::None,
            first: NONE,
            up: 0,
            stand: Stand::Disconnected,
            flags: 0,
        }
    }

    /// Which.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), self.port),
            None => SocketAddrV6::new(ip, self.port, 0, self.scope).into(),
        }
    }

    pub(super) fn set_address(&mut self, address: SocketAddr) {
        (self.ip, self.scope) = parts(address::canonical(address));
        self.port = address.port();
    }

    pub(super) fn key(&self) -> Key {
        pack(self.ip, self.scope, self.port)
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> LinkState {
        match self.stand {
            Stand::Disconnected => LinkState::Disconnected {
                not_before: self.when,
            },
            Stand::Connecting => LinkState::Connecting,
            Stand::Established => LinkState::Established,
            Stand::Ignored(why) => LinkState::Ignored {
                until: self.when,
                why,
            },
        }
    }

    /// Only the table may: it counts.
    pub(super) fn put_state(&mut self, state: LinkState) {
        (self.stand, self.when) = match state {
            LinkState::Disconnected { not_before } => (Stand::Disconnected, not_before),
            LinkState::Connecting => (Stand::Connecting, Instant::ZERO),
            LinkState::Established => (Stand::Established, Instant::ZERO),
            LinkState::Ignored { until, why } => (Stand::Ignored(why), until),
        };
    }

    /// Failed attempts in a row.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::from(self.attempts)
    }

    /// Whether somebody said that it listens there; an address that only dialled us does not.
    #[must_use]
    pub const fn is_dialable(&self) -> bool {
        self.flags & DIALABLE != 0
    }

    pub(super) const fn set_dialable(&mut self) {
        self.flags |= DIALABLE;
    }

    /// Whether we dialled the stream that was last added.
    pub(super) const fn was_outgoing(&self) -> bool {
        self.flags & OUTGOING != 0
    }

    pub(super) const fn set_outgoing(&mut self, outgoing: bool) {
        self.set(OUTGOING, outgoing);
    }

    /// Whether it was reached over uTP when it was last reached.
    #[must_use]
    pub const fn speaks_utp(&self) -> bool {
        self.flags & SPEAKS_UTP != 0
    }

    /// It was reached, over uTP or not.
    pub(in crate::engine) const fn set_speaks_utp(&mut self, utp: bool) {
        self.set(SPEAKS_UTP, utp);
    }

    /// Whether a dial begins with the kind of handshake that the policy has second.
    #[must_use]
    pub const fn is_second_choice(&self) -> bool {
        self.flags & SECOND_CHOICE != 0
    }

    /// Remembers which kind of handshake to begin with.
    pub const fn set_second_choice(&mut self, second: bool) {
        self.set(SECOND_CHOICE, second);
    }

    pub(super) const fn told(&self) -> Told {
        match self.flags & (TOLD_UP | TOLD_IGNORED) {
            TOLD_UP => Told::Up,
            TOLD_IGNORED => Told::Ignored,
            _ => Told::Down,
        }
    }

    pub(super) const fn set_told(&mut self, told: Told) {
        self.set(TOLD_UP, matches!(told, Told::Up));
        self.set(TOLD_IGNORED, matches!(told, Told::Ignored));
    }

    const fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    const fn short_lives(&self) -> u8 {
        self.flags >> SHORT_LIVES_SHIFT
    }

    fn set_short_lives(&mut self, lives: u8) {
        let rest = self.flags & !(1 << SHORT_LIVES_SHIFT);
        self.flags = rest | lives.min(1) << SHORT_LIVES_SHIFT;
    }

    /// Whether it carries no stream.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.first == NONE
    }

    /// Whether a person named it, for any swarm.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.ties.as_slice().iter().any(|tie| tie.is(Mark::Pinned))
    }

    pub(super) fn tie(&self, swarm: u32) -> Option<Tie> {
        self.ties.get(swarm)
    }

    /// When it may be dialled for one more swarm; `None` when it may not.
    #[must_use]
    pub fn dial_at(&self) -> Option<Instant> {
        match self.state() {
            _ if !self.is_dialable() => None,
            LinkState::Disconnected { not_before } => Some(not_before),
            // One stream a swarm: another swarm need not wait for the first.
            LinkState::Connecting | LinkState::Established => Some(Instant::ZERO),
            LinkState::Ignored { until, .. } if until == Instant::FAR => None,
            // Whoever names it now knows better than what it did before.
            LinkState::Ignored {
                why: IgnoreReason::Failures | IgnoreReason::Unstable,
                ..
            } if self.is_pinned() => Some(Instant::ZERO),
            LinkState::Ignored { until, .. } => Some(until),
        }
    }

    /// A handshake was completed: failures are forgotten.
    pub(super) const fn worked(&mut self) {
        self.attempts = 0;
    }

    /// An attempt failed; `jitter` is any random number. What state that makes it.
    ///
    /// Pauses double from `retry_first` to `retry_max`, each give or take a tenth; after `failures_to_ignore` in a row the
    /// address is ignored for `ignore`, then has one attempt, and so on. A pinned link is never ignored.
    pub(super) fn failed(&mut self, now: Instant, jitter: u64, settings: &Settings) -> LinkState {
        self.attempts = self.attempts.saturating_add(1);
        let pinned = self.is_pinned();
        let spent = self.flags & SPENT != 0;
        if !pinned && (spent || self.attempts() >= settings.failures_to_ignore) {
            self.set(SPENT, true);
            return LinkState::Ignored {
                until: now + settings.ignore,
                why: IgnoreReason::Failures,
            };
        }
        let (first, most) = if pinned {
            (PINNED_RETRY_FIRST, PINNED_RETRY_MAX)
        } else {
            (settings.retry_first, settings.retry_max)
        };
        let pause = first
            .saturating_mul(1 << (self.attempts - 1).min(16))
            .min(most);
        let tenth = u64::try_from(pause.as_micros() / 5)
            .unwrap_or(u64::MAX)
            .max(1);
        let not_before = now + pause - pause / 10 + Duration::from_micros(jitter % tenth);
        LinkState::Disconnected { not_before }
    }

    /// Whether the failure just noted is told: the first in a row and the one that made it left alone, but not those between and
    /// after (requirement D32).
    pub(super) fn is_failure_told(&self, settings: &Settings) -> bool {
        let last = self.attempts() == settings.failures_to_ignore && !self.is_pinned();
        self.attempts() == 1 || last
    }

    /// Its last stream, which had worked, is gone. What state that makes it.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        lived_short: bool,
        settings: &Settings,
    ) -> LinkState {
        self.set(SPENT, false);
        let lives = if lived_short {
            self.short_lives() + 1
        } else {
            0
        };
        self.set_short_lives(lives);
        if lives >= 2 && !self.is_pinned() {
            self.set_short_lives(0);
            return LinkState::Ignored {
                until: now + settings.ignore,
                why: IgnoreReason::Unstable,
            };
        }
        LinkState::Disconnected {
            not_before: now + self.first_pause(settings),
        }
    }

    /// How long it rests after it worked.
    #[must_use]
    pub fn first_pause(&self, settings: &Settings) -> Duration {
        if self.is_pinned() {
            PINNED_RETRY_FIRST
        } else {
            settings.retry_first
        }
    }
}

/// How long an address is left alone for `why`.
pub(super) fn ignored_until(now: Instant, why: IgnoreReason, settings: &Settings) -> Instant {
    match why {
        IgnoreReason::Ourselves | IgnoreReason::BadData => Instant::FAR,
        IgnoreReason::Failures | IgnoreReason::Unstable | IgnoreReason::Misbehaved => {
            now + settings.ignore
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rng::Rng;

    #[test]
    fn a_record_is_packed_and_gives_back_what_was_put_in() {
        assert_eq!(size_of::<Link>(), 56);
        for text in [
            "1.2.3.4:5",
            "[2001:db8::1]:65535",
            "[fe80::1%3]:6881",
            "255.255.255.255:0",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let mut link = Link::new(address);
            assert_eq!(link.address(), address);
            assert_eq!(link.key(), key_of(address));
            link.set_address("9.9.9.9:9".parse().unwrap());
            assert_eq!(link.key(), key_of("9.9.9.9:9".parse().unwrap()));
        }
        let mut link = Link::new("1.2.3.4:5".parse().unwrap());
        for told in [Told::Up, Told::Ignored, Told::Down] {
            link.set_told(told);
            link.set_short_lives(1);
            link.set_second_choice(true);
            assert_eq!((link.told(), link.short_lives()), (told, 1));
            link.set_short_lives(0);
            assert!(link.is_second_choice());
            link.set_second_choice(false);
        }
    }

    #[test]
    fn of_a_row_of_failures_two_are_told() {
        let rng = &mut Rng::new(1);
        let settings = Settings::new(&Config::default(), 1, 1, rng);
        assert!(settings.failures_to_ignore > 1, "the default");
        let mut link = Link::new("1.2.3.4:5".parse().unwrap());
        let mut row = || {
            let told = (0..100).map(|_| {
                let state = link.failed(Instant::ZERO, rng.draw(), &settings);
                let ignored = matches!(state, LinkState::Ignored { .. });
                link.is_failure_told(&settings).then_some(ignored)
            });
            let told: Vec<_> = told.flatten().collect();
            link.worked();
            told
        };
        assert_eq!(row(), [false, true], "the first, and the last of the cycle");
        assert_eq!(row().len(), 2, "and again once it has worked");
    }

    #[test]
    fn only_what_is_for_good_cannot_be_left() {
        let time = Instant::from_micros(7);
        let disconnected = LinkState::Disconnected { not_before: time };
        let ignored = |until, why| LinkState::Ignored { until, why };
        let states = [
            disconnected,
            LinkState::Connecting,
            LinkState::Established,
            ignored(time, IgnoreReason::Failures),
            ignored(Instant::FAR, IgnoreReason::Ourselves),
            ignored(Instant::FAR, IgnoreReason::BadData),
        ];
        #[rustfmt::skip]
        let allowed = [
            [true,  true,  true,  true,  true,  true],
            [true,  true,  true,  true,  true,  true],
            [true,  true,  true,  true,  true,  true],
            [true,  true,  true,  true,  true,  true],
            [false, false, false, false, true,  true],
            [false, false, false, false, false, true],
        ];
        for (from, row) in states.iter().zip(allowed) {
            for (to, allowed) in states.iter().zip(row) {
                assert_eq!(from.may_become(*to), allowed, "{from:?} to {to:?}");
            }
        }
    }
}
