//! A link's state: changed in one place, counted there, and told from there.

use crate::engine::message::Direction;
use crate::time::Instant;

use super::link::{LinkState, Told};
use super::{News, Table};

impl Table {
    /// A stream of the link is being opened, or is up.
    pub(super) fn set_up(&mut self, at: u32) {
        let state = if self.link(at).up > 0 {
            LinkState::Established
        } else {
            LinkState::Connecting
        };
        self.set_state(at, state);
    }

    /// The one place where a link changes its state: counted, told, and never but as [`LinkState::may_become`] says.
    pub(super) fn set_state(&mut self, at: u32, state: LinkState) {
        let link = self.links.at_mut(at).expect("a link that is there");
        let before = link.state();
        if before == state {
            return;
        }
        if !before.may_become(state) {
            debug_assert!(false, "{}: {before:?} to {state:?}", link.address());
            log::error!(
                "link {}: {} cannot become {}; a bug",
                link.address(),
                before.name(),
                state.name()
            );
            return;
        }
        link.put_state(state);
        self.by_state[before.ordinal()] -= 1;
        self.by_state[state.ordinal()] += 1;
        let told = match (state, link.told()) {
            (LinkState::Established, Told::Down | Told::Ignored) => Told::Up,
            (LinkState::Ignored { .. }, _) => Told::Ignored,
            (LinkState::Disconnected { .. }, Told::Up | Told::Ignored)
            | (LinkState::Connecting, Told::Up) => Told::Down,
            // A dial is told when it comes to something.
            (LinkState::Connecting, Told::Down | Told::Ignored)
            | (LinkState::Disconnected { .. }, Told::Down)
            | (LinkState::Established, Told::Up) => {
                self.touch(at);
                return;
            }
        };
        link.set_told(told);
        self.tell(at);
        self.touch(at);
    }

    pub(super) fn tell(&mut self, at: u32) {
        let link = self.links.at(at).expect("a link that is there");
        self.news.push(News {
            address: link.address(),
            direction: Direction::of(link.was_outgoing()),
            state: link.state(),
            attempts: link.attempts(),
        });
    }

    /// What callers see of the link has changed, in all its swarms.
    pub(super) fn touch(&mut self, at: u32) {
        let link = self.links.at(at).expect("a link that is there");
        for tie in link.ties.as_slice() {
            if let Some(swarm) = self.swarms.at_mut(tie.swarm) {
                swarm.version += 1;
            }
        }
    }

    /// A link that no swarm names, that carries no stream and need not be avoided is nothing worth keeping.
    pub(super) fn forget_if_unused(&mut self, at: u32) {
        let link = self.link(at);
        if !link.ties.as_slice().is_empty() || !link.is_idle() {
            return;
        }
        match link.state() {
            LinkState::Ignored { until, .. } => self.old_from = self.old_from.min(until),
            LinkState::Disconnected { .. } | LinkState::Connecting | LinkState::Established => {
                self.forget(at);
            }
        }
    }

    /// Takes a link out that has neither tie nor stream.
    pub(super) fn forget(&mut self, at: u32) {
        let link = self.link(at);
        debug_assert!(link.is_idle() && link.ties.as_slice().is_empty());
        let (told, state) = (link.told(), link.state());
        let hash = self.keys.hash(link.key());
        if told != Told::Down {
            self.tell(at);
            if let Some(news) = self.news.last_mut() {
                let not_before = Instant::ZERO;
                news.state = LinkState::Disconnected { not_before };
            }
        }
        self.by_state[state.ordinal()] -= 1;
        self.by_address.remove(hash, at);
        self.links.remove(self.links.id_at(at));
    }
}
