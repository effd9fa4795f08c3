//! What a key does: to the model at once, or by an order to the daemon.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::model::{Model, Step, Tab};

/// Letters of a filter; further ones are not taken.
const FILTER_MAX: usize = 200;

/// Something the daemon is to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Action {
    pub(super) method: &'static str,
    pub(super) params: Value,
    /// What to say when it is done.
    pub(super) done: String,
}

/// What a key asks of the program around.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Quit,
    /// Stop the process, as Ctrl-Z does elsewhere.
    Suspend,
    Do(Action),
}

/// What keys mean now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    /// They move and act.
    Browse,
    /// They are written into the filter; `before` is what it was.
    Filter { before: String },
    /// They answer whether this is removed.
    Remove {
        hash: String,
        name: String,
        delete: bool,
    },
    /// The keys are explained.
    Help,
}

/// What the bottom line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) is_fault: bool,
}

/// The model and what keys mean.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) model: Model,
    pub(super) mode: Mode,
    /// Until the next key.
    pub(super) notice: Option<Notice>,
}

impl Screen {
    pub(super) const fn new(model: Model) -> Self {
        Self {
            model,
            mode: Mode::Browse,
            notice: None,
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Command> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Command::Quit),
                KeyCode::Char('z') => Some(Command::Suspend),
                _ => None,
            };
        }
        self.notice = None;
        match &mut self.mode {
            Mode::Browse => self.browse(key.code),
            Mode::Help => {
                self.mode = Mode::Browse;
                (key.code == KeyCode::Char('q')).then_some(Command::Quit)
            }
            Mode::Filter { before } => {
                let before = std::mem::take(before);
                self.write_filter(key.code, before);
                None
            }
            Mode::Remove { .. } => self.answer(key.code),
        }
    }

    fn browse(&mut self, code: KeyCode) -> Option<Command> {
        let model = &mut self.model;
        match code {
            KeyCode::Char('q') => return Some(Command::Quit),
            KeyCode::Up | KeyCode::Char('k') => model.go(Step::Up),
            KeyCode::Down | KeyCode::Char('j') => model.go(Step::Down),
            KeyCode::PageUp => model.go(Step::PageUp),
            KeyCode::PageDown | KeyCode::Char(' ') => model.go(Step::PageDown),
            KeyCode::Home | KeyCode::Char('g') => model.go(Step::First),
            KeyCode::End | KeyCode::Char('G') => model.go(Step::Last),
            KeyCode::Char('s') => model.sort_next(),
            KeyCode::Char('S') => model.sort_reverse(),
            KeyCode::Char('/') => {
                let before = model.filter().to_owned();
                self.mode = Mode::Filter { before };
            }
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Enter => {
                let pane = model.pane().is_none().then_some(Tab::Peers);
                model.set_pane(pane);
            }
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Tab::ALL.len() - 1),
            KeyCode::Char('[') => model.pane_first = model.pane_first.saturating_sub(5),
            KeyCode::Char(']') => model.pane_first = model.pane_first.saturating_add(5),
            KeyCode::Esc if !model.filter().is_empty() => model.set_filter(String::new()),
            KeyCode::Esc => model.set_pane(None),
            KeyCode::Char('p') => return self.act("torrent_stop", "paused"),
            KeyCode::Char('r') => return self.act("torrent_start", "resumed"),
            KeyCode::Char('d') => self.ask_removal(false),
            KeyCode::Char('D') => self.ask_removal(true),
            _ => {}
        }
        None
    }

    fn turn(&mut self, step: usize) {
        if let Some(tab) = self.model.pane() {
            self.model.set_pane(Some(tab.turned(step)));
        }
    }

    /// Does `method` to the chosen torrent. It is named by its hash: after a restart, a number may be another's.
    fn act(&self, method: &'static str, done: &str) -> Option<Command> {
        let torrent = self.model.chosen()?;
        Some(Command::Do(Action {
            method,
            params: json!({ "ids": [torrent.hash] }),
            done: format!("{}: {done}", torrent.name),
        }))
    }

    fn ask_removal(&mut self, delete: bool) {
        if let Some(torrent) = self.model.chosen() {
            self.mode = Mode::Remove {
                hash: torrent.hash.clone(),
                name: torrent.name.clone(),
                delete,
            };
        }
    }

    /// Only y removes.
    fn answer(&mut self, code: KeyCode) -> Option<Command> {
        let mode = std::mem::replace(&mut self.mode, Mode::Browse);
        let Mode::Remove { hash, name, delete } = mode else {
            return None;
        };
        if !matches!(code, KeyCode::Char('y' | 'Y')) {
            return None;
        }
        let what = if delete {
            "removed, its files are deleted"
        } else {
            "removed, its files stay"
        };
        Some(Command::Do(Action {
            method: "torrent_remove",
            params: json!({ "ids": [hash], "delete_local_data": delete }),
            done: format!("{name}: {what}"),
        }))
    }

    fn write_filter(&mut self, code: KeyCode, before: String) {
        let mut filter = self.model.filter().to_owned();
        match code {
            KeyCode::Enter => return self.mode = Mode::Browse,
            KeyCode::Esc => {
                self.mode = Mode::Browse;
                return self.model.set_filter(before);
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(letter) if filter.chars().count() < FILTER_MAX => filter.push(letter),
            KeyCode::Up => self.model.go(Step::Up),
            KeyCode::Down => self.model.go(Step::Down),
            _ => {}
        }
        self.mode = Mode::Filter { before };
        if filter != self.model.filter() {
            self.model.set_filter(filter);
        }
    }
}
