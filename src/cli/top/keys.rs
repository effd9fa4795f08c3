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
            KeyCode::Char('p') => return self.act("torrent_stop", "stopped"),
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

#[cfg(test)]
mod tests {
    use super::super::model::Torrents;
    use super::super::model::tests::torrent;
    use super::*;

    fn screen() -> Screen {
        let mut model = Model::new(None);
        model.resize(10);
        model.merge(Torrents::All(vec![
            torrent(1, "one", 0),
            torrent(2, "two", 0),
        ]));
        Screen::new(model)
    }

    fn press(screen: &mut Screen, keys: &str) -> Option<Command> {
        let mut last = None;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                '\u{8}' => KeyCode::Backspace,
                other => KeyCode::Char(other),
            };
            last = screen.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        last
    }

    #[test]
    fn the_chosen_torrent_is_stopped_and_resumed_by_its_hash() {
        let mut screen = screen();
        let Some(Command::Do(action)) = press(&mut screen, "jp") else {
            panic!("an order")
        };
        assert_eq!(action.method, "torrent_stop");
        assert_eq!(action.params, json!({ "ids": [format!("{:040x}", 2)] }));
        let Some(Command::Do(action)) = press(&mut screen, "r") else {
            panic!("an order")
        };
        assert_eq!(action.method, "torrent_start");
        screen.model.merge(Torrents::All(Vec::new()));
        assert_eq!(press(&mut screen, "prdD"), None, "nothing is chosen");
        assert_eq!(screen.mode, Mode::Browse);
    }

    #[test]
    fn only_y_removes_and_what_was_asked_about_is_what_goes() {
        for (keys, delete) in [("d", false), ("D", true)] {
            for no in ["n", "\n", "\u{1b}", " ", "q", "d"] {
                let mut screen = screen();
                assert_eq!(press(&mut screen, &format!("{keys}{no}")), None, "{no:?}");
                assert_eq!(screen.mode, Mode::Browse);
            }
            let mut screen = screen();
            press(&mut screen, keys);
            // Another takes its row meanwhile.
            screen
                .model
                .merge(Torrents::All(vec![torrent(2, "two", 0)]));
            let Some(Command::Do(action)) = press(&mut screen, "y") else {
                panic!("an order")
            };
            assert_eq!(action.method, "torrent_remove");
            let want = json!({ "ids": [format!("{:040x}", 1)], "delete_local_data": delete });
            assert_eq!(action.params, want);
        }
    }

    #[test]
    fn a_filter_is_written_kept_and_dropped() {
        let mut screen = screen();
        // Letters are letters here, and do nothing else.
        assert_eq!(press(&mut screen, "/qp\u{8}\u{8}tw"), None);
        assert_eq!((screen.model.filter(), screen.model.row_count()), ("tw", 1));
        press(&mut screen, "\n/x\u{1b}");
        assert_eq!(screen.model.filter(), "tw", "as it was before");
        press(&mut screen, "\u{1b}");
        assert_eq!((screen.model.filter(), screen.model.row_count()), ("", 2));
    }

    #[test]
    fn the_pane_and_the_help_open_and_close() {
        let mut screen = screen();
        press(&mut screen, "\n");
        assert_eq!(screen.model.pane(), Some(Tab::Peers));
        press(&mut screen, "\t\t");
        assert_eq!(screen.model.pane(), Some(Tab::Files));
        press(&mut screen, "\n\t");
        assert_eq!(screen.model.pane(), None);
        press(&mut screen, "?");
        assert_eq!(screen.mode, Mode::Help);
        assert_eq!(press(&mut screen, "p"), None, "it only closes");
        assert_eq!(screen.mode, Mode::Browse);
        assert_eq!(press(&mut screen, "?q"), Some(Command::Quit));
        let end = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        press(&mut screen, "/");
        assert_eq!(screen.key(end), Some(Command::Quit), "wherever one is");
    }
}
