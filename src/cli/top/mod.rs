//! `linnet top`: a daemon on the whole terminal.
//!
//! `poll` asks the daemon on a thread of its own, `model` holds what is known, `keys` says what a key does to it, `view`
//! draws it. The main thread waits for keys, signals and news, and draws when any of them has changed something.

mod keys;
mod model;
mod poll;
mod screen;
mod view;
mod wire;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::keys::{Command, Notice, Screen};
use self::model::{Link, Model, Tab};
use self::poll::{News, Order, Watch};
use self::screen::Terminal;
use super::source::reason;
use super::{Context, EXIT_NO_DAEMON, EXIT_OK, Failure, remote};
use crate::gateway::remote::RemoteError;

/// How soon news and signals are seen; a key is seen at once.
const LATENCY: Duration = Duration::from_millis(100);

/// A daemon that has not answered for so long is said to be slow.
const PATIENCE: Duration = Duration::from_secs(4);

/// Rows of a terminal on which the pane is open from the start.
const PANE_ROWS_MIN: u16 = 30;

/// Arguments of `top`.
#[derive(Debug, Args)]
pub(super) struct Top {
    #[command(flatten)]
    daemon: remote::Daemon,
}

impl Top {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        if self.daemon.json {
            let line = "top: --json: it draws on a terminal; use list --json or stats --json";
            return Err(Failure::Usage(vec![line.to_owned()]));
        }
        for (is_one, name) in [
            (std::io::stdin().is_terminal(), "stdin"),
            (std::io::stdout().is_terminal(), "stdout"),
        ] {
            if !is_one {
                let line = format!(
                    "top: {name} is not a terminal: run it in one, or use list or stats in a script"
                );
                return Err(Failure::Usage(vec![line]));
            }
        }
        let mut daemon = remote::remote(&self.daemon, &context)?;
        poll::probe(&mut daemon).map_err(|fault| match fault {
            RemoteError::NotThere(text) => {
                context.console.note(&format!("linnet: {text}"));
                Failure::Silent(EXIT_NO_DAEMON)
            }
            RemoteError::Refused(text) => Failure::failed(format!("the daemon: {text}")),
        })?;
        let failed = |what: &str, fault: std::io::Error| {
            Failure::failed(format!("top: {what}: {}", reason(&fault)))
        };
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
        let signals = signals.map_err(|fault| failed("signals", fault))?;
        let (orders, news) = poll::start(daemon).map_err(|fault| failed("a thread", fault))?;
        let terminal = Terminal::take().map_err(|fault| failed("the terminal", fault))?;
        let top = Watching {
            terminal,
            signals,
            orders,
            news,
            watched: Watch::default(),
            heard: Instant::now(),
        };
        match top.watch() {
            Ok(End::Wanted) => Ok(()),
            // What could not be written there any more is no fault.
            Ok(End::TerminalGone) => Err(Failure::Silent(EXIT_OK)),
            Err(fault) => Err(failed("the terminal", fault)),
        }
    }
}

/// Why it is over.
enum End {
    /// A key, or a signal.
    Wanted,
    /// Nobody sees it any more.
    TerminalGone,
}

struct Watching {
    terminal: Terminal,
    signals: Signals,
    orders: Sender<Order>,
    news: Receiver<News>,
    /// What the poller was told last.
    watched: Watch,
    /// When the daemon was last heard of.
    heard: Instant,
}

impl Watching {
    /// Until a key or a signal ends it. The terminal is as before afterwards, whatever happened.
    fn watch(mut self) -> std::io::Result<End> {
        let rows = self.terminal.rows()?;
        let pane = (rows >= PANE_ROWS_MIN).then_some(Tab::Peers);
        let mut screen = Screen::new(Model::new(pane));
        loop {
            self.terminal.draw(|frame| view::draw(frame, &mut screen))?;
            self.tell_watched(&screen);
            // Drawn again after news, keys, or a second: how long it is silent is on the screen.
            let drawn = Instant::now();
            let mut changed = false;
            while !changed && drawn.elapsed() < Duration::from_secs(1) {
                if !self.terminal.wait(LATENCY) {
                    self.terminal.give_up();
                    return Ok(End::TerminalGone);
                }
                if self.signals.pending().next().is_some() {
                    return Ok(End::Wanted);
                }
                if event::poll(Duration::ZERO)? {
                    // Only what is there already: a pasted text or a held key draws once.
                    while event::poll(Duration::ZERO)? {
                        match event::read()? {
                            Event::Key(key) if key.kind != KeyEventKind::Release => {
                                match screen.key(key) {
                                    Some(Command::Quit) => return Ok(End::Wanted),
                                    Some(Command::Suspend) => self.terminal.suspend()?,
                                    Some(Command::Do(action)) => self.order(&mut screen, action),
                                    None => {}
                                }
                            }
                            _ => {}
                        }
                    }
                    changed = true;
                }
                changed |= self.hear(&mut screen);
            }
            self.note_silence(&mut screen);
        }
    }

    /// Has the daemon do something.
    fn order(&self, screen: &mut Screen, action: keys::Action) {
        if self.orders.try_send(Order::Do(action)).is_err() {
            screen.notice = Some(Notice {
                text: "the daemon has not answered what was asked before".to_owned(),
                is_fault: true,
            });
        }
    }

    /// Takes in all news; whether there was any.
    fn hear(&mut self, screen: &mut Screen) -> bool {
        let mut any = false;
        loop {
            let news = match self.news.try_recv() {
                Ok(news) => news,
                Err(TryRecvError::Empty) => return any,
                Err(TryRecvError::Disconnected) => {
                    screen.model.link = Link::Down("nobody asks it any more: quit".to_owned());
                    return any;
                }
            };
            any = true;
            self.heard = Instant::now();
            let model = &mut screen.model;
            match news {
                News::Look {
                    torrents,
                    figures,
                    timely,
                } => {
                    model.link = Link::Up;
                    model.merge(torrents);
                    model.measure(figures);
                    if timely {
                        model.sample();
                    }
                }
                News::Detail(detail) => model.detailed(detail),
                News::Down(text) => model.link = Link::Down(text),
                News::Told(told) => {
                    let is_fault = told.is_err();
                    let text = told.unwrap_or_else(|fault| fault);
                    screen.notice = Some(Notice { text, is_fault });
                }
            }
        }
    }

    fn note_silence(&self, screen: &mut Screen) {
        let silent = self.heard.elapsed();
        if silent > PATIENCE && screen.model.link == Link::Up {
            let text = format!("no answer for {} s", silent.as_secs());
            screen.model.link = Link::Slow(text);
        } else if let Link::Slow(text) = &mut screen.model.link {
            *text = format!("no answer for {} s", silent.as_secs());
        }
    }

    /// Tells the poller what is on the screen, when that is something else.
    fn tell_watched(&mut self, screen: &Screen) {
        let model = &screen.model;
        let watch = Watch {
            visible: model.visible().map(|(torrent, _)| torrent.id).collect(),
            pane: model
                .chosen()
                .zip(model.pane())
                .map(|(torrent, tab)| (torrent.id, tab)),
        };
        // With a full channel it is told at the next turn.
        if watch != self.watched && self.orders.try_send(Order::Watch(watch.clone())).is_ok() {
            self.watched = watch;
        }
    }
}
