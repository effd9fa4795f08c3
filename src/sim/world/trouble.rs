//! What breaks, and when: kills, lost power, orderly restarts, pulled cables, actors that stand still.

use crate::actor::Wanted;
use crate::engine::message::Message;
use crate::sim::faults::Faults;
use crate::sim::net::NodeIndex;
use crate::time::{Duration, Instant};

use super::{FREEZE_MAX_MICROS, STOP_BUDGET, TROUBLES, World};

impl World {
    pub(super) fn plan_troubles(&mut self) {
        for kind in 0..TROUBLES {
            self.plan_trouble(kind);
        }
    }

    pub(super) fn plan_trouble(&mut self, kind: usize) {
        let faults = self.common.borrow().faults;
        let every = [
            faults.node.kill_every_ms,
            faults.node.power_every_ms,
            faults.node.restart_every_ms,
            faults.node.cut_every_ms,
            faults.caller.freeze_every_ms,
        ][kind];
        self.next_trouble[kind] = match every {
            0 => Instant::FAR,
            every => {
                self.common.borrow().now + Duration::from_millis(every / 2 + self.rng.below(every))
            }
        };
    }

    /// Trouble soon after a start: while files are looked at and hashed.
    pub(super) fn plan_early_trouble(&mut self, node: NodeIndex) {
        let kinds: Vec<_> = (0..3)
            .filter(|&kind| self.next_trouble[kind] != Instant::FAR)
            .collect();
        let chance = self.common.borrow().faults.node.early_per_mille;
        if !kinds.is_empty() && self.rng.below(1000) < chance {
            // As often within the first millisecond as within the next ten, or hundred.
            let scale = 1 << self.rng.below(19);
            let at = self.now() + Duration::from_micros(self.rng.below(scale));
            self.peers[node].early = Some((at, kinds[self.rng.index(kinds.len())]));
        }
    }

    pub(super) fn make_trouble(&mut self) {
        let now = self.now();
        for kind in 0..TROUBLES {
            if self.next_trouble[kind] <= now {
                self.plan_trouble(kind);
                let node = self.rng.index(self.peers.len());
                self.hit(node, kind);
            }
        }
        for node in 0..self.peers.len() {
            if let Some((at, kind)) = self.peers[node].early
                && at <= now
            {
                self.peers[node].early = None;
                self.hit(node, kind);
            }
        }
    }

    /// Makes trouble of one kind for one machine, if its process is there to be troubled.
    pub(super) fn hit(&mut self, node: NodeIndex, kind: usize) {
        let now = self.now();
        if self.processes[node].is_none() || self.peers[node].stopping.is_some() {
            return;
        }
        self.happened += 1;
        self.common
            .borrow_mut()
            .trace
            .note("trouble", &[now.as_micros(), node as u64, kind as u64]);
        match kind {
            0 => {
                self.end_process(node, false);
                self.start_later(node, 5000);
            }
            1 => {
                self.end_process(node, true);
                self.start_later(node, 20_000);
            }
            2 => self.stop(node),
            4 => self.freeze(node),
            _ => {
                let until = now + Duration::from_millis(1000 + self.rng.below(39_000));
                self.common.borrow_mut().net.cut_off(node, until);
            }
        }
    }

    /// Its actor does nothing for a while, as on a machine that swaps, or in a debugger; its kernel takes what comes.
    pub(super) fn freeze(&mut self, node: NodeIndex) {
        let until = self.now() + Duration::from_micros(self.rng.below(FREEZE_MAX_MICROS));
        self.peers[node].frozen_until = until;
        if let Some(running) = &mut self.processes[node] {
            running.busy_until = until;
        }
    }

    /// Starts it again after a pause, in which a person may delete one of its files.
    pub(super) fn start_later(&mut self, node: NodeIndex, most_ms: u64) {
        let chance = self.common.borrow().faults.node.delete_per_mille;
        if !self.peers[node].seeder && self.rng.below(1000) < chance {
            let file = self.rng.index(self.torrent.layout.files.len());
            let path = self.torrent.layout.path(file);
            self.common.borrow_mut().nodes[node].disk.remove(&path);
        }
        let pause = Duration::from_millis(100 + self.rng.below(most_ms));
        self.peers[node].start_at = Some(self.now() + pause);
    }

    /// The process is gone, with its power or without.
    pub(super) fn end_process(&mut self, node: NodeIndex, power: bool) {
        if let Some(mut running) = self.processes[node].take() {
            running.process.end();
        }
        let common = &mut *self.common.borrow_mut();
        if power {
            common.net.power_off(node);
            common.nodes[node].disk.power_cut();
        } else {
            common.net.kill(common.now, node);
        }
        common.nodes[node].end_process();
        let peer = &mut self.peers[node];
        (peer.session, peer.adding, peer.showing, peer.stopping) = (None, None, None, None);
        peer.early = None;
        peer.complete = false;
        peer.frozen_until = Instant::ZERO;
    }

    /// Asks a process to end in order.
    pub(super) fn stop(&mut self, node: NodeIndex) {
        if self.processes[node].is_some() {
            let mut common = self.common.borrow_mut();
            self.peers[node].stopping = Some(common.now);
            common.nodes[node].ask(Message::Shutdown {
                budget: STOP_BUDGET,
            });
        }
    }

    /// The faults stop. What is down starts; whoever is stopping is left to it.
    pub(super) fn calm(&mut self) {
        self.next_trouble = [Instant::FAR; TROUBLES];
        self.calmed = true;
        for peer in &mut self.peers {
            peer.early = None;
            // Whatever was seen so far, a caller may undo with its last words.
            peer.complete = false;
        }
        {
            let common = &mut *self.common.borrow_mut();
            let faults = Faults::calmed(common.faults);
            common.faults = faults;
            common.net.set_faults(faults.net);
            for node in &mut common.nodes {
                node.disk.set_faults(faults.disk, u64::MAX);
            }
        }
        for node in 0..self.peers.len() {
            if self.peers[node].start_at.is_some() {
                self.start(node);
            } else if let Some(running) = &mut self.processes[node] {
                running.process.calm();
                running.wanted = Wanted::Now;
            }
        }
    }
}
