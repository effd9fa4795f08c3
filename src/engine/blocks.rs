//! Addresses that nobody talks to: the block list, and the bans that a person has made.
//!
//! The list comes from files, which a worker reads and sorts ([`Job::Blocks`]); here it is one immutable set that is looked up
//! by a binary search. A new one takes the place of the old in one step, and peers that it names are closed. A file that cannot
//! be read changes nothing.
//!
//! Who is on the allow list is not blocked, but may be banned. What is blocked is neither dialled nor accepted, and is no
//! candidate, whoever names it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::codec::blocklist::Ranges;
use crate::codec::geometry::Geometry;
use crate::codec::layout::Layout;
use crate::ids::{InfoHash, JobId, ReplyId, SessionId, StreamId};
use crate::time::{Duration, Instant};

use super::Engine;
use super::library::SettingRow;
use super::message::{
    Answer, Ban, BlocksAsk, BlocksFault, BlocksLoad, BlocksRead, BlocksSnapshot, Done, Job,
    Outcome, Refusal, Storage, StoreTask,
};
use super::settings::CONNECT_TICK;
use super::shared::TimerKey;
use super::table::stream::CloseReason;

/// Bans that a person has made; one more is refused.
pub const BANS_MAX: usize = 10_000;

/// Reads that are out at a time; a further one is refused, since some disk does not answer.
const READS_MAX: usize = 4;

/// In front of an address: the row of a ban among the settings.
pub const BAN_ROW: &str = "ban:";

/// Who is blocked now.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Whether the list holds.
    enabled: bool,
    list: Arc<Ranges>,
    allowed: Arc<Ranges>,
    /// By host: when it is over, [`Instant::FAR`] being never.
    bans: BTreeMap<IpAddr, Instant>,
}

impl Blocks {
    /// Whether a host is on the list, and not allowed.
    #[must_use]
    pub fn is_listed(&self, ip: IpAddr) -> bool {
        self.enabled && self.list.contains(ip) && !self.allowed.contains(ip)
    }

    /// Whether a person has banned a host.
    #[must_use]
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        !self.bans.is_empty() && self.bans.contains_key(&ip.to_canonical())
    }
}

/// What was asked for, until the workers answer.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: BTreeMap<JobId, (Option<ReplyId>, BlocksLoad)>,
    last: u32,
    /// What was read when the list that holds was: named again when nobody names anything else.
    source: BlocksLoad,
    /// Lines of the list that named a range.
    rules: u64,
}

impl Engine {
    pub(super) fn on_blocks(&mut self, ask: BlocksAsk, reply: Option<ReplyId>) {
        let answer = match ask {
            BlocksAsk::Load(load) => return self.blocks_load(load, reply),
            BlocksAsk::Show => Answer::Blocks(Box::new(Ok(self.blocks_show()))),
            BlocksAsk::Ban { ip, span } => match self.ban(ip.to_canonical(), span) {
                Ok(()) => Answer::Done,
                Err(refusal) => Answer::Refused(refusal),
            },
            BlocksAsk::Unban { ip } => match self.unban(ip.to_canonical()) {
                true => Answer::Done,
                false => Answer::Refused(Refusal::NotBanned),
            },
        };
        self.shared.reply(reply, answer);
    }

    /// Has a worker read the files. What is not named is as it was said last.
    fn blocks_load(&mut self, mut load: BlocksLoad, reply: Option<ReplyId>) {
        let before = &self.reads.source;
        load.files = load.files.or_else(|| before.files.clone());
        load.kept = load.kept.or_else(|| before.kept.clone());
        load.allow = load.allow.or_else(|| before.allow.clone());
        let geometry = Geometry::new(0, 1);
        let Some(geometry) = geometry.filter(|_| self.reads.waiting.len() < READS_MAX) else {
            return self.shared.reply(reply, Answer::Refused(Refusal::Full));
        };
        let layout = Layout {
            root: std::path::PathBuf::new(),
            files: Vec::new(),
            geometry,
        };
        let storage = Arc::new(Storage {
            info_hash: InfoHash([0; 20]),
            layout,
            piece_hashes: Arc::default(),
        });
        self.reads.last = self.reads.last.wrapping_add(1);
        // Beside the looks at directories, which have names of their own for the same reason.
        let name = SessionId::new(u32::MAX - 1, self.reads.last);
        let mut source = load.clone();
        source.fetched = None;
        let id = self
            .shared
            .work(name, &storage, Job::Blocks(Box::new(load)));
        self.reads.waiting.insert(id, (reply, source));
    }

    /// A job is over. Gives back what was none of these.
    pub(super) fn on_blocks_done(&mut self, done: Done) -> Option<Done> {
        if !matches!(&done.outcome, Outcome::Blocks(_)) {
            return Some(done);
        }
        let (reply, source) = self.reads.waiting.remove(&done.id).unwrap_or_default();
        if let Outcome::Blocks(found) = done.outcome {
            let answer = match *found {
                Ok(read) => {
                    self.reads.source = source;
                    self.blocks_take(read);
                    Ok(self.blocks_show())
                }
                Err(fault) => Err(fault),
            };
            self.shared.reply(reply, Answer::Blocks(Box::new(answer)));
        }
        None
    }

    fn blocks_take(&mut self, read: BlocksRead) {
        for (file, tally) in &read.files {
            let file = file.display();
            log::info!("{file}: {} ranges", tally.rules);
            if tally.bad > 0 {
                let shown = tally.bad_lines.iter();
                let shown: Vec<String> = shown
                    .map(|(line, text)| format!("{line} ({text:?})"))
                    .collect();
                let count = tally.bad;
                log::warn!(
                    "{file}: {count} lines that are no range, such as {}",
                    shown.join(", ")
                );
            }
        }
        self.reads.rules = read.files.iter().map(|(_, tally)| tally.rules).sum();
        self.table.blocks.list = read.list;
        self.table.blocks.allowed = read.allowed;
        self.blocks_changed();
    }

    /// Whether the list holds, from now on.
    pub(super) fn blocks_enable(&mut self, enabled: bool) {
        if self.table.blocks.enabled != enabled {
            self.table.blocks.enabled = enabled;
            self.blocks_changed();
        }
    }

    /// Other addresses are blocked than before: peers that are now are closed.
    fn blocks_changed(&mut self) {
        self.table.versions_up();
        let blocked: Vec<StreamId> = (self.table.streams.iter())
            .filter(|(_, stream)| self.table.is_blocked(stream.address.ip()))
            .map(|(id, _)| id)
            .collect();
        for id in blocked {
            self.close(id, CloseReason::Blocked);
        }
        // Those that are not any more may be dialled again.
        let now = self.shared.now;
        for (_, session) in self.sessions.iter() {
            let key = TimerKey::Connect(session.swarm);
            self.shared.timers.set_no_later(key, now + CONNECT_TICK);
        }
    }

    fn blocks_show(&self) -> BlocksSnapshot {
        let now = self.shared.now;
        let blocks = &self.table.blocks;
        let ours = blocks.bans.iter().map(|(&ip, &until)| Ban {
            ip,
            left: (until != Instant::FAR).then(|| until.since(now)),
            why: "banned by a person",
        });
        let theirs = self.table.banned().map(|ip| Ban {
            ip,
            left: None,
            why: "sent bad data",
        });
        BlocksSnapshot {
            enabled: blocks.enabled,
            rules: self.reads.rules,
            ranges: blocks.list.len() as u64,
            bans: ours.chain(theirs).collect(),
        }
    }

    // -------------------------------------------------------------------------------------------------------- bans

    /// Nobody talks to `ip`, for `span` or for good; said again, that holds from now on.
    fn ban(&mut self, ip: IpAddr, span: Option<Duration>) -> Result<(), Refusal> {
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(Refusal::BadAddress);
        }
        let bans = &self.table.blocks.bans;
        if bans.len() >= BANS_MAX && !bans.contains_key(&ip) {
            return Err(Refusal::Full);
        }
        let until = span.map_or(Instant::FAR, |span| self.shared.now + span);
        self.table.blocks.bans.insert(ip, until);
        self.remember_ban(ip, Some(until));
        if until != Instant::FAR {
            self.shared.timers.set_no_later(TimerKey::Bans, until);
        }
        self.blocks_changed();
        Ok(())
    }

    /// Whether it was banned, by a person or for bad data.
    fn unban(&mut self, ip: IpAddr) -> bool {
        let was_ours = self.table.blocks.bans.remove(&ip).is_some();
        let was_theirs = self.table.unban(ip);
        if was_ours {
            self.remember_ban(ip, None);
        }
        if was_ours || was_theirs {
            self.blocks_changed();
        }
        was_ours || was_theirs
    }

    pub(super) fn on_bans_timer(&mut self) {
        let now = self.shared.now;
        let over = |(ip, until): (&IpAddr, &Instant)| (*until <= now).then_some(*ip);
        let over: Vec<IpAddr> = self.table.blocks.bans.iter().filter_map(over).collect();
        for ip in &over {
            self.table.blocks.bans.remove(ip);
            self.remember_ban(*ip, None);
        }
        let first = self.table.blocks.bans.values().min().copied();
        if let Some(until) = first.filter(|until| *until != Instant::FAR) {
            self.shared.timers.set(TimerKey::Bans, until);
        }
        if !over.is_empty() {
            self.blocks_changed();
        }
    }

    /// Keeps a ban beyond this run: a row whose value is the second of its end since 1970, 0 being never.
    fn remember_ban(&mut self, ip: IpAddr, until: Option<Instant>) {
        let value = until.map(|until| match until {
            Instant::FAR => "0".to_owned(),
            until => self.library_second(until).to_string(),
        });
        let row = SettingRow {
            key: format!("{BAN_ROW}{ip}"),
            value,
            configured: String::new(),
        };
        self.library_keep(StoreTask::KeepSettings(vec![row]));
    }

    /// Takes over a ban of an earlier run; `false` when it is over, or no ban.
    pub(super) fn ban_remembered(&mut self, ip: &str, value: &str) -> bool {
        let (Ok(ip), Ok(second)) = (ip.parse::<IpAddr>(), value.parse::<u64>()) else {
            return false;
        };
        let now = self.library_second(self.shared.now);
        let until = match second {
            0 => Instant::FAR,
            second if second > now => self.shared.now + Duration::from_secs(second - now),
            _ => return false,
        };
        if self.table.blocks.bans.len() >= BANS_MAX {
            return false;
        }
        self.table.blocks.bans.insert(ip.to_canonical(), until);
        if until != Instant::FAR {
            self.shared.timers.set_no_later(TimerKey::Bans, until);
        }
        true
    }
}

/// Why a list could not be read: one line, naming the file.
impl From<String> for BlocksFault {
    fn from(text: String) -> Self {
        Self(text)
    }
}
