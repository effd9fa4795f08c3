//! What callers say about limits: the values, without any state.

use std::sync::Arc;

use crate::config;
use crate::config::schedule::Window;

/// Bytes of a group's name; a longer one is refused.
pub const GROUP_NAME_BYTES_MAX: usize = 256;
/// Groups; more are refused.
pub const GROUPS_MAX: usize = 256;

/// What a limit is that is switched on without a number, in bytes a second: Transmission's.
pub const RATE_FIRST: u64 = 100_000;

/// A limit that keeps its number while it is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cap {
    /// Bytes a second.
    pub rate: u64,
    /// Whether it holds. On with a rate of 0 it lets nothing pass.
    pub on: bool,
}

impl Cap {
    /// As in the configuration: 0 is no limit.
    #[must_use]
    pub const fn of(rate: u64) -> Self {
        Self { rate, on: rate > 0 }
    }

    /// Switches it; one whose number nobody ever said begins with [`RATE_FIRST`] instead of letting nothing pass.
    #[must_use]
    pub const fn switched(self, on: bool) -> Self {
        let unsaid = on && !self.on && self.rate == 0;
        let rate = if unsaid { RATE_FIRST } else { self.rate };
        Self { rate, on }
    }

    /// The rate that holds, if one does.
    #[must_use]
    pub const fn limit(self) -> Option<u64> {
        if self.on { Some(self.rate) } else { None }
    }
}

/// The limits of all torrents together, and when which of them hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What comes in.
    pub download: Cap,
    /// What goes out.
    pub upload: Cap,
    /// In place of `download`, while `alt_on`.
    pub alt_download: Cap,
    /// In place of `upload`, while `alt_on`.
    pub alt_upload: Cap,
    /// Whether the alternative limits hold now. Whoever knows the time of day switches it by `schedule`; the engine does not.
    pub alt_on: bool,
    /// Whether `schedule` is followed.
    pub schedule_on: bool,
    /// Hours in which the alternative limits hold.
    pub schedule: Arc<[Window]>,
}

impl Limits {
    /// As configured, outside of all hours.
    #[must_use]
    pub fn of(config: &config::Limits) -> Self {
        let windows = config.alt_schedule.iter();
        let schedule: Arc<[Window]> = windows.filter_map(|text| Window::parse(text)).collect();
        Self {
            download: Cap::of(config.download),
            upload: Cap::of(config.upload),
            alt_download: Cap::of(config.alt_download),
            alt_upload: Cap::of(config.alt_upload),
            alt_on: false,
            schedule_on: !schedule.is_empty(),
            schedule,
        }
    }

    /// Bytes a second that hold now, in and out.
    #[must_use]
    pub const fn now(&self) -> [Option<u64>; 2] {
        if self.alt_on {
            [self.alt_download.limit(), self.alt_upload.limit()]
        } else {
            [self.download.limit(), self.upload.limit()]
        }
    }

    /// Whether the schedule wants the alternative limits at this minute of this day (0 is Sunday); `None` when it has no say.
    #[must_use]
    pub fn scheduled(&self, day: u8, minute: u16) -> Option<bool> {
        let holds = |window: &Window| window.holds(day, minute);
        self.schedule_on.then(|| self.schedule.iter().any(holds))
    }
}

/// How much of a limit a torrent gets that it shares with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Half as much as a normal one.
    Low,
    /// As much as others.
    #[default]
    Normal,
    /// Twice as much.
    High,
}

impl Weight {
    /// What a byte counts at the normal weight.
    pub const UNIT: u64 = 2;

    /// What `bytes` count.
    #[must_use]
    pub const fn of(self, bytes: u64) -> u64 {
        match self {
            Self::Low => bytes * 2 * Self::UNIT,
            Self::Normal => bytes * Self::UNIT,
            Self::High => bytes * Self::UNIT / 2,
        }
    }

    /// -1, 0 or 1, as the RPC says it.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Low => -1,
            Self::Normal => 0,
            Self::High => 1,
        }
    }

    /// The reverse.
    #[must_use]
    pub const fn of_number(number: i64) -> Option<Self> {
        match number {
            -1 => Some(Self::Low),
            0 => Some(Self::Normal),
            1 => Some(Self::High),
            _ => None,
        }
    }
}

/// The limits of one torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorrentLimits {
    /// What comes in.
    pub download: Cap,
    /// What goes out.
    pub upload: Cap,
    /// Whether its group's limits and those of all are for it too.
    pub honour: bool,
    /// Its share where it shares a limit.
    pub weight: Weight,
    /// Its group; empty: none.
    pub group: Arc<str>,
}

impl Default for TorrentLimits {
    fn default() -> Self {
        Self {
            download: Cap::default(),
            upload: Cap::default(),
            honour: true,
            weight: Weight::Normal,
            group: Arc::from(""),
        }
    }
}

impl TorrentLimits {
    /// Bytes a second of its own, in and out.
    #[must_use]
    pub const fn own(&self) -> [Option<u64>; 2] {
        [self.download.limit(), self.upload.limit()]
    }
}

/// Torrents that share a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Names it; not empty.
    pub name: Arc<str>,
    /// What comes in.
    pub download: Cap,
    /// What goes out.
    pub upload: Cap,
    /// Whether the limits of all are for it too.
    pub honour: bool,
}

impl Group {
    /// One without limits of its own.
    #[must_use]
    pub const fn new(name: Arc<str>) -> Self {
        Self {
            name,
            download: Cap { rate: 0, on: false },
            upload: Cap { rate: 0, on: false },
            honour: true,
        }
    }

    /// Whether groups may be called that.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        !name.is_empty() && name.len() <= GROUP_NAME_BYTES_MAX && !name.contains(char::is_control)
    }
}

/// A change of one torrent's limits; `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TorrentLimitsChange {
    /// Bytes a second in.
    pub download: Option<u64>,
    /// Whether that holds.
    pub download_on: Option<bool>,
    /// Bytes a second out.
    pub upload: Option<u64>,
    /// Whether that holds.
    pub upload_on: Option<bool>,
    /// As in [`TorrentLimits`].
    pub honour: Option<bool>,
    /// As in [`TorrentLimits`].
    pub weight: Option<Weight>,
    /// As in [`TorrentLimits`].
    pub group: Option<Arc<str>>,
}

impl TorrentLimitsChange {
    /// Takes it over.
    pub fn apply(&self, limits: &mut TorrentLimits) {
        let caps = [
            (&mut limits.download, self.download, self.download_on),
            (&mut limits.upload, self.upload, self.upload_on),
        ];
        for (cap, rate, on) in caps {
            *cap = cap.switched(on.unwrap_or(cap.on));
            cap.rate = rate.unwrap_or(cap.rate);
        }
        limits.honour = self.honour.unwrap_or(limits.honour);
        limits.weight = self.weight.unwrap_or(limits.weight);
        if let Some(group) = &self.group {
            limits.group = Arc::clone(group);
        }
    }
}
