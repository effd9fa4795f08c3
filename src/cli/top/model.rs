//! What is on the screen, before it is drawn: torrents in their order, the chosen one, rates with history. Pure.
//!
//! Invariants: `rows` names each torrent that the filter lets through, once, in the order of the chosen column; equal ones
//! by number. The choice is of a torrent: it stays with it however rows move, and goes to the row's next holder only when
//! the torrent is gone or filtered away. A torrent that the daemon does not count among the recently active has no rate.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Seconds of rates that are remembered; older ones are forgotten.
const HISTORY_MAX: usize = 600;

/// One torrent, as its row shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Torrent {
    /// Its number.
    pub(super) id: u32,
    /// Hex.
    pub(super) hash: String,
    /// Harmless to print.
    pub(super) name: String,
    /// The name in lower case, to look for and to sort by.
    pub(super) folded: String,
    /// As the contract names it.
    pub(super) state: String,
    /// Bytes wanted.
    pub(super) size: u64,
    /// 0 to 1.
    pub(super) done: f64,
    /// Bytes per second.
    pub(super) down: u64,
    /// Bytes per second.
    pub(super) up: u64,
    /// Negative when there is none.
    pub(super) ratio: f64,
    /// Seconds; negative when there is none.
    pub(super) eta: i64,
    /// Handshakes that stand.
    pub(super) peers: u64,
    /// What is wrong; empty when nothing is.
    pub(super) error: String,
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    State,
    Size,
    Done,
    Down,
    Up,
    Ratio,
    Eta,
    Peers,
}

impl Column {
    /// As they stand, left to right.
    pub(super) const ALL: [Self; 9] = [
        Self::Name,
        Self::State,
        Self::Size,
        Self::Done,
        Self::Down,
        Self::Up,
        Self::Ratio,
        Self::Eta,
        Self::Peers,
    ];

    /// The one to its right; of the last, the first.
    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|one| *one == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    /// What a person looks for stands first: names from a, numbers from the largest, the soonest end.
    fn compare(self, a: &Torrent, b: &Torrent) -> Ordering {
        // No end in sight comes after every end.
        let end = |torrent: &Torrent| u64::try_from(torrent.eta).unwrap_or(u64::MAX);
        match self {
            Self::Name => a.folded.cmp(&b.folded),
            Self::State => a.state.cmp(&b.state),
            Self::Size => b.size.cmp(&a.size),
            Self::Done => b.done.total_cmp(&a.done),
            Self::Down => b.down.cmp(&a.down),
            Self::Up => b.up.cmp(&a.up),
            Self::Ratio => b.ratio.total_cmp(&a.ratio),
            Self::Eta => end(a).cmp(&end(b)),
            Self::Peers => b.peers.cmp(&a.peers),
        }
    }
}

/// What the pane lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Peers,
    Trackers,
    Files,
}

impl Tab {
    pub(super) const ALL: [Self; 3] = [Self::Peers, Self::Trackers, Self::Files];

    /// `step` tabs to the right, round and round.
    pub(super) fn turned(self, step: usize) -> Self {
        let at = Self::ALL.iter().position(|one| *one == self).unwrap_or(0);
        Self::ALL[(at + step) % Self::ALL.len()]
    }
}

/// What the pane shows of the chosen torrent. Only the list of its tab is filled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Detail {
    pub(super) id: u32,
    pub(super) tab: Tab,
    /// Why it does not move, or that it does.
    pub(super) why: String,
    /// Where its files are.
    pub(super) place: String,
    pub(super) labels: Vec<String>,
    pub(super) peers: Vec<PeerRow>,
    pub(super) trackers: Vec<TrackerRow>,
    pub(super) files: Vec<FileRow>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PeerRow {
    pub(super) address: String,
    pub(super) client: String,
    pub(super) flags: String,
    /// 0 to 1.
    pub(super) done: f64,
    /// Bytes per second, to us.
    pub(super) down: u64,
    /// Bytes per second, from us.
    pub(super) up: u64,
}

/// One tracker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TrackerRow {
    pub(super) tier: u64,
    /// Host and port.
    pub(super) host: String,
    pub(super) state: &'static str,
    /// What it said last.
    pub(super) result: String,
    pub(super) seeders: Option<i64>,
    pub(super) leechers: Option<i64>,
}

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileRow {
    pub(super) name: String,
    pub(super) length: u64,
    pub(super) have: u64,
    pub(super) wanted: bool,
}

/// Figures of the actor at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Milliseconds since 1970.
    pub(super) time: u64,
    /// Messages waiting now.
    pub(super) queued: u64,
    /// The most that ever waited.
    pub(super) peak: u64,
    /// Mean wait of a message.
    pub(super) wait_ns: u64,
    /// Messages executed.
    pub(super) processed: u64,
    /// Messages rejected or shed.
    pub(super) drops: u64,
    /// Time of all turns, in microseconds.
    pub(super) turn_sum: u64,
    /// Turns.
    pub(super) turn_count: u64,
    /// Microseconds.
    pub(super) turn_p99: u64,
    /// Microseconds.
    pub(super) turn_max: u64,
    /// Bytes.
    pub(super) memory: u64,
    /// Links with a stream.
    pub(super) links: u64,
}

/// The actor between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Messages executed in a second.
    pub(super) messages: u64,
    /// Mean length of a turn, in microseconds.
    pub(super) turn: u64,
}

/// Rates of all torrents together, the newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) down: VecDeque<u64>,
    pub(super) up: VecDeque<u64>,
}

/// What was learnt of the torrents in one look.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Torrents {
    /// All there are.
    All(Vec<Torrent>),
    /// All that move or have changed lately, the numbers of those gone, and further ones that were asked for.
    Recent {
        changed: Vec<Torrent>,
        removed: Vec<u32>,
        asked: Vec<Torrent>,
    },
}

/// Where the daemon stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It answers.
    Up,
    /// It has not answered for a while, and may yet.
    Slow(String),
    /// It does not, and this is why.
    Down(String),
}

/// Which way rows are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

/// What is on the screen.
#[derive(Debug)]
pub(super) struct Model {
    torrents: BTreeMap<u32, Torrent>,
    rows: Vec<u32>,
    selected: Option<u32>,
    /// The row that the choice was last seen in.
    row: usize,
    /// The first row on the screen.
    first: usize,
    /// Rows on the screen.
    height: usize,
    sort: Column,
    reversed: bool,
    filter: String,
    history: History,
    figures: Option<Figures>,
    pace: Pace,
    /// Whether the daemon answers.
    pub(super) link: Link,
    pane: Option<Tab>,
    /// Lines of the pane's list that are scrolled away.
    pub(super) pane_first: usize,
    detail: Option<Detail>,
}

impl Model {
    /// Knows nothing yet; the pane is open at `pane`.
    pub(super) const fn new(pane: Option<Tab>) -> Self {
        Self {
            torrents: BTreeMap::new(),
            rows: Vec::new(),
            selected: None,
            row: 0,
            first: 0,
            height: 0,
            sort: Column::Name,
            reversed: false,
            filter: String::new(),
            history: History {
                down: VecDeque::new(),
                up: VecDeque::new(),
            },
            figures: None,
            pace: Pace {
                messages: 0,
                turn: 0,
            },
            link: Link::Up,
            pane,
            pane_first: 0,
            detail: None,
        }
    }

    /// Takes in what a look has shown.
    pub(super) fn merge(&mut self, seen: Torrents) {
        match seen {
            Torrents::All(all) => {
                self.torrents = all.into_iter().map(|one| (one.id, one)).collect();
            }
            Torrents::Recent {
                changed,
                removed,
                asked,
            } => {
                let moving: BTreeSet<u32> = changed.iter().map(|torrent| torrent.id).collect();
                for torrent in self.torrents.values_mut() {
                    if !moving.contains(&torrent.id) {
                        (torrent.down, torrent.up) = (0, 0);
                    }
                }
                for id in removed {
                    self.torrents.remove(&id);
                }
                // What was asked for is newer, but knows nothing of what is gone by now.
                for torrent in changed.into_iter().chain(asked) {
                    self.torrents.insert(torrent.id, torrent);
                }
            }
        }
        self.arrange();
    }

    /// Remembers the rates of all torrents together: once a second.
    pub(super) fn sample(&mut self) {
        let sum = |rate: fn(&Torrent) -> u64| self.torrents.values().map(rate).sum();
        let (down, up) = (sum(|torrent| torrent.down), sum(|torrent| torrent.up));
        for (row, rate) in [(&mut self.history.down, down), (&mut self.history.up, up)] {
            row.push_front(rate);
            row.truncate(HISTORY_MAX);
        }
    }

    /// Takes in the actor's figures.
    pub(super) fn measure(&mut self, now: Figures) {
        if let Some(then) = self.figures {
            let since = |count: u64, before: u64| count.saturating_sub(before);
            let millis = since(now.time, then.time);
            let turns = since(now.turn_count, then.turn_count);
            self.pace = Pace {
                messages: (since(now.processed, then.processed) * 1000)
                    .checked_div(millis)
                    .unwrap_or(0),
                turn: since(now.turn_sum, then.turn_sum)
                    .checked_div(turns)
                    .unwrap_or(0),
            };
        }
        self.figures = Some(now);
    }

    /// Takes in the pane's contents; of another torrent or tab than the one shown now, they are late.
    pub(super) fn detailed(&mut self, detail: Detail) {
        if self.selected == Some(detail.id) && self.pane == Some(detail.tab) {
            self.detail = Some(detail);
        }
    }

    /// Sorts and filters anew, and finds the choice again.
    fn arrange(&mut self) {
        let wanted = self.filter.to_lowercase();
        let mut rows: Vec<&Torrent> = self.torrents.values().collect();
        rows.retain(|torrent| torrent.folded.contains(&wanted));
        let (sort, reversed) = (self.sort, self.reversed);
        rows.sort_by(|a, b| {
            let order = sort.compare(a, b);
            let order = if reversed { order.reverse() } else { order };
            order.then(a.id.cmp(&b.id))
        });
        self.rows = rows.into_iter().map(|torrent| torrent.id).collect();
        let found = (self.rows.iter()).position(|id| Some(*id) == self.selected);
        self.choose(found.unwrap_or(self.row));
    }

    /// Chooses what is in `row`, or in the last one.
    fn choose(&mut self, row: usize) {
        self.row = row.min(self.rows.len().saturating_sub(1));
        let chosen = self.rows.get(self.row).copied();
        if chosen != self.selected {
            self.selected = chosen;
            self.pane_first = 0;
            self.detail = None;
        }
        self.scroll();
    }

    /// Moves the window over the rows no further than it must: the choice is in it, and it ends with the last row.
    fn scroll(&mut self) {
        let height = self.height.max(1);
        let lowest = (self.row + 1).saturating_sub(height);
        self.first = self.first.clamp(lowest, self.row);
        self.first = self.first.min(self.rows.len().saturating_sub(height));
    }

    /// The screen has room for so many rows.
    pub(super) fn resize(&mut self, height: usize) {
        self.height = height;
        self.scroll();
    }

    /// Chooses another row.
    pub(super) fn go(&mut self, step: Step) {
        let page = self.height.saturating_sub(1).max(1);
        self.choose(match step {
            Step::Up => self.row.saturating_sub(1),
            Step::Down => self.row + 1,
            Step::PageUp => self.row.saturating_sub(page),
            Step::PageDown => self.row + page,
            Step::First => 0,
            Step::Last => usize::MAX,
        });
    }

    /// Sorts by the next column.
    pub(super) fn sort_next(&mut self) {
        self.sort = self.sort.next();
        self.reversed = false;
        self.arrange_anew();
    }

    /// Turns the order round.
    pub(super) fn sort_reverse(&mut self) {
        self.reversed = !self.reversed;
        self.arrange_anew();
    }

    /// Whoever asks for another order while the first row is chosen wants to see what is first then.
    fn arrange_anew(&mut self) {
        let is_first = self.row == 0;
        self.arrange();
        if is_first {
            self.choose(0);
        }
    }

    /// Shows only torrents whose name has `filter` in it, in either case.
    pub(super) fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    /// Opens or closes the pane, or has it list something else.
    pub(super) fn set_pane(&mut self, pane: Option<Tab>) {
        if self.pane != pane {
            self.pane = pane;
            self.pane_first = 0;
            self.detail = None;
        }
    }

    /// The chosen torrent.
    pub(super) fn chosen(&self) -> Option<&Torrent> {
        self.torrents.get(&self.selected?)
    }

    /// The torrents on the screen, from the top, each with whether it is the chosen one.
    pub(super) fn visible(&self) -> impl Iterator<Item = (&Torrent, bool)> {
        let rows = self.rows.iter().skip(self.first).take(self.height);
        rows.filter_map(|id| Some((self.torrents.get(id)?, Some(*id) == self.selected)))
    }

    /// Torrents in each state, by name.
    pub(super) fn states(&self) -> BTreeMap<&str, usize> {
        let mut states = BTreeMap::new();
        for torrent in self.torrents.values() {
            *states.entry(torrent.state.as_str()).or_default() += 1;
        }
        states
    }

    pub(super) fn torrent_count(&self) -> usize {
        self.torrents.len()
    }

    pub(super) fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// The chosen row, from 1; 0 when there is none.
    pub(super) fn row_number(&self) -> usize {
        if self.rows.is_empty() {
            0
        } else {
            self.row + 1
        }
    }

    pub(super) const fn sort(&self) -> (Column, bool) {
        (self.sort, self.reversed)
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) const fn history(&self) -> &History {
        &self.history
    }

    pub(super) const fn figures(&self) -> Option<(Figures, Pace)> {
        match self.figures {
            Some(figures) => Some((figures, self.pace)),
            None => None,
        }
    }

    pub(super) const fn pane(&self) -> Option<Tab> {
        self.pane
    }

    pub(super) const fn detail(&self) -> Option<&Detail> {
        self.detail.as_ref()
    }
}

#[cfg(test)]
pub(super) mod tests;
