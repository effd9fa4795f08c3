//! What runs on a machine: an engine under its loop, with a subscriber that is told of everything and a program that calls it.

use std::cell::RefCell;
use std::rc::Rc;

use crate::actor::handle::Handle;
use crate::actor::{Loop, Wanted};
use crate::engine::Engine;
use crate::engine::message::Message;
use crate::engine::table::link::LinkState;
use crate::time::{Clock, Duration, Instant};

use super::caller::Caller;
use super::common::Common;
use super::host::SimHost;
use super::net::NodeIndex;
use super::probe::Probe;
use super::watch::Watch;

/// Something that runs on a machine.
pub trait Process {
    /// One turn; when the next is wanted. `None`: it has ended.
    fn turn(&mut self) -> Option<Wanted>;

    /// Its caller tells it to end within `budget`.
    fn stop(&mut self, _budget: Duration) {}

    /// Its caller makes good what it did, and is silent.
    fn calm(&mut self) {}

    /// It is over, in order or not.
    fn end(&mut self) {}
}

/// A loop with its engine, and all who look at it.
#[derive(Debug)]
pub struct EngineProcess {
    turns: Option<Loop<SimHost, Probe<Engine>>>,
    handle: Handle,
    watch: Watch,
    caller: Option<Caller>,
    node: NodeIndex,
    common: Rc<RefCell<Common>>,
}

impl EngineProcess {
    /// A process that has not turned yet.
    #[must_use]
    pub fn new(
        turns: Loop<SimHost, Probe<Engine>>,
        handle: Handle,
        caller: Option<Caller>,
        node: NodeIndex,
        common: Rc<RefCell<Common>>,
    ) -> Self {
        Self {
            turns: Some(turns),
            watch: Watch::new(&handle),
            handle,
            caller,
            node,
            common,
        }
    }

    fn now(&self) -> Instant {
        self.common.borrow().now
    }

    fn note(&self, result: Result<(), String>) {
        let mut common = self.common.borrow_mut();
        if let Err(what) = result {
            common.fail(self.node, &what);
        }
        if let Some(caller) = &self.caller {
            let [offered, full, shed, answered] = caller.sums();
            let who = self.node as u64;
            let trace = &mut common.trace;
            trace.note_quietly(&[who, offered, full, shed, answered]);
        }
    }

    /// What must hold between any two turns.
    fn check(&mut self, now: Instant) -> Result<(), String> {
        let Some(turns) = &self.turns else {
            return Ok(());
        };
        let engine = turns.core().engine();
        engine.check();
        self.watch.listen()?;
        self.watch.compare(engine)?;
        if let Some(caller) = &mut self.caller {
            caller.listen(now)?;
            let connecting = |state| state == LinkState::Connecting;
            let under_way = engine.links().find(|(_, state)| connecting(*state));
            if let Some((address, _)) = under_way {
                caller.take_away(address);
            }
        }
        Ok(())
    }
}

impl Process for EngineProcess {
    fn turn(&mut self) -> Option<Wanted> {
        let now = self.now();
        Clock::set_simulated(now);
        if let Some(caller) = &mut self.caller {
            let talked = caller.talk(now);
            self.note(talked);
        }
        let turns = self.turns.as_mut()?;
        turns.turn();
        let stopped = turns.stopped().is_some();
        let checked = self.check(now);
        self.note(checked);
        if stopped {
            self.note(self.watch.nothing_left());
            return None;
        }
        let wanted = self.turns.as_mut()?.wanted();
        let burst = self
            .caller
            .as_ref()
            .map_or(Instant::FAR, Caller::next_burst);
        Some(match wanted {
            Wanted::Now => Wanted::Now,
            Wanted::At(at) => Wanted::At(at.min(burst)),
            Wanted::Later if burst == Instant::FAR => Wanted::Later,
            Wanted::Later => Wanted::At(burst),
        })
    }

    fn stop(&mut self, budget: Duration) {
        // The critical lane is never refused.
        if self.handle.tell(Message::Shutdown { budget }).is_err() {
            self.note(Err("a shutdown was refused".to_owned()));
        }
    }

    fn calm(&mut self) {
        let now = self.now();
        if let Some(caller) = &mut self.caller {
            caller.calm(now);
        }
    }

    fn end(&mut self) {
        let now = self.now();
        Clock::set_simulated(now);
        if let Some(turns) = self.turns.take() {
            let metrics = turns.end();
            if let Some(caller) = self.caller.take() {
                let finished = caller.finish(now, &metrics);
                self.note(finished);
            }
        }
    }
}
