//! The thread that asks the daemon, so that a slow answer never keeps a key waiting.
//!
//! Once a second: the torrents that move or have changed, those on the screen, the pane, the actor's figures. All torrents
//! only at first, after the daemon was away, and once a minute. It ends with the channel of its orders.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::{Value, json};

use super::keys::Action;
use super::model::{Detail, Figures, Tab, Torrents};
use super::wire;
use crate::gateway::remote::{Remote, RemoteError};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Between two looks at all torrents. The daemon counts a torrent as recently active for a minute, so that one lost look
/// loses nothing; this is for what would be lost all the same.
const FULL_PERIOD: Duration = Duration::from_secs(60);

/// After so long without an answer what is recent may not be all that has changed.
const STALE: Duration = Duration::from_secs(30);

/// A list of files may be long, and changes slowly: looks between two of them.
const FILES_PERIOD: u32 = 5;

/// Orders and news under way; the screen drops no order, and the poller waits for the screen to take its news.
const CHANNEL_CAPACITY: usize = 64;

/// What the screen shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watch {
    /// Numbers of the torrents on the screen.
    pub(super) visible: Vec<u32>,
    /// The torrent and the tab of the pane, when it is open.
    pub(super) pane: Option<(u32, Tab)>,
}

/// What the screen asks for.
pub(super) enum Order {
    Watch(Watch),
    Do(Action),
}

/// What the daemon said.
pub(super) enum News {
    /// A look.
    Look {
        torrents: Torrents,
        figures: Figures,
        /// Whether it was made because a second has passed, and not because something was done.
        timely: bool,
    },
    /// The pane's contents.
    Detail(Detail),
    /// It does not answer, or does not want to; it will be asked again.
    Down(String),
    /// It was told to do something, and has, or says why not.
    Told(Result<String, String>),
}

/// Begins to ask. The thread ends with the sender of its orders, or with the receiver of its news.
pub(super) fn start(remote: Remote) -> std::io::Result<(Sender<Order>, Receiver<News>)> {
    let (order, orders) = bounded(CHANNEL_CAPACITY);
    let (tell, news) = bounded(CHANNEL_CAPACITY);
    let mut poller = Poller {
        remote,
        tell,
        watch: Watch::default(),
        full: None,
        answered: None,
        looks: 0,
    };
    std::thread::Builder::new()
        .name("top".to_owned())
        .spawn(move || poller.run(&orders))?;
    Ok((order, news))
}

/// Asks once whether there is a daemon that answers.
pub(super) fn probe(remote: &mut Remote) -> Result<(), RemoteError> {
    let params = json!({ "fields": ["version"] });
    remote.call("session_get", &params).map(drop)
}

struct Poller {
    remote: Remote,
    tell: Sender<News>,
    watch: Watch,
    /// When all torrents were last looked at; `None`: they must be.
    full: Option<Instant>,
    /// When the last look was answered.
    answered: Option<Instant>,
    looks: u32,
}

/// Nobody listens any more.
struct Over;

impl Poller {
    fn run(&mut self, orders: &Receiver<Order>) {
        let mut next = Instant::now();
        let mut timely = true;
        loop {
            let mut fresh = false;
            let first = match orders.recv_deadline(next) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for order in first.into_iter().chain(orders.try_iter()) {
                match order {
                    Order::Watch(watch) => {
                        fresh |= watch.pane != self.watch.pane;
                        self.watch = watch;
                    }
                    Order::Do(action) => {
                        if self.act(&action).is_err() {
                            return;
                        }
                        // What it has done is looked at soon, but others are not looked at the less often.
                        next = Instant::now();
                        timely = false;
                    }
                }
            }
            // Orders of a key that is held come without end: a look is due all the same.
            let told = if Instant::now() >= next {
                let told = self.look(timely);
                (next, timely) = (Instant::now() + PERIOD, true);
                told
            } else if fresh {
                self.look_closer()
            } else {
                Ok(())
            };
            if told.is_err() {
                return;
            }
        }
    }

    fn tell(&self, news: News) -> Result<(), Over> {
        self.tell.send(news).map_err(|_| Over)
    }

    fn act(&mut self, action: &Action) -> Result<(), Over> {
        let result = self.remote.call(action.method, &action.params);
        let told = match result {
            Ok(_) => Ok(action.done.clone()),
            Err(RemoteError::NotThere(text) | RemoteError::Refused(text)) => Err(text),
        };
        self.tell(News::Told(told))
    }

    fn look(&mut self, timely: bool) -> Result<(), Over> {
        let seen = self.torrents().and_then(|torrents| {
            let metrics = self.remote.call("metrics_get", &json!({}))?;
            Ok((torrents, wire::figures(&metrics)))
        });
        match seen {
            Ok((torrents, figures)) => {
                self.answered = Some(Instant::now());
                self.tell(News::Look {
                    torrents,
                    figures,
                    timely,
                })?;
                self.looks = self.looks.wrapping_add(1);
                match self.watch.pane {
                    Some((_, Tab::Files)) if !self.looks.is_multiple_of(FILES_PERIOD) => Ok(()),
                    _ => self.look_closer(),
                }
            }
            Err(RemoteError::NotThere(text) | RemoteError::Refused(text)) => {
                // Whoever comes back may be another, with other numbers.
                self.full = None;
                self.tell(News::Down(text))
            }
        }
    }

    fn torrents(&mut self) -> Result<Torrents, RemoteError> {
        let now = Instant::now();
        let is_within = |then: Option<Instant>, most| then.is_some_and(|then| now - then < most);
        if !is_within(self.full, FULL_PERIOD) || !is_within(self.answered, STALE) {
            let all = self.get(None)?;
            self.full = Some(now);
            return Ok(Torrents::All(wire::torrents(&all)));
        }
        let recent = self.get(Some(json!("recently_active")))?;
        // Peers come and go without a torrent counting as active.
        let asked = if self.watch.visible.is_empty() {
            Vec::new()
        } else {
            wire::torrents(&self.get(Some(json!(self.watch.visible)))?)
        };
        Ok(Torrents::Recent {
            changed: wire::torrents(&recent),
            removed: wire::removed(&recent),
            asked,
        })
    }

    fn get(&mut self, ids: Option<Value>) -> Result<Value, RemoteError> {
        let mut params = json!({ "fields": wire::ROW, "format": "table" });
        if let Some(ids) = ids {
            params["ids"] = ids;
        }
        self.remote.call("torrent_get", &params)
    }

    /// The pane. A fault is told by the next look.
    fn look_closer(&mut self) -> Result<(), Over> {
        let Some((id, tab)) = self.watch.pane else {
            return Ok(());
        };
        let params = json!({ "ids": [id], "fields": wire::fields(tab) });
        let answer = self.remote.call("torrent_get", &params);
        match answer.ok().and_then(|answer| wire::detail(&answer, tab)) {
            Some(detail) => self.tell(News::Detail(detail)),
            None => Ok(()),
        }
    }
}
