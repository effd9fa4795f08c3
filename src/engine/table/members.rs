//! Ties between links and swarms: made, marked, dropped, and counted on the way.

use crate::ids::{LinkId, StreamId, SwarmId};

use super::Table;
use super::link::NONE;
use super::ties::{Mark, Tie};

impl Table {
    /// The stream is a member of `swarm` from now on (requirements L7, L9). `false`, and nothing is changed, when it belongs to
    /// another, or when the link is a member already by another stream.
    pub fn account(&mut self, id: StreamId, swarm: SwarmId) -> bool {
        if !self.streams.contains(id) || self.swarms.get(swarm).is_none() {
            return false;
        }
        let (slot, to) = (id.slot32(), swarm.slot32());
        let knot = *self.streams.knot(slot);
        if knot.member || (knot.swarm != NONE && knot.swarm != to) || self.is_member(knot.link, to)
        {
            return false;
        }
        if knot.swarm == NONE {
            self.name_swarm(slot, to);
        }
        self.close_opening(slot);
        if !knot.up {
            self.streams.knot_mut(slot).up = true;
            self.link_mut(knot.link).up += 1;
        }
        self.streams.knot_mut(slot).member = true;
        self.mark(knot.link, to, Mark::Member, true);
        self.mark(knot.link, to, Mark::Uplink, knot.outgoing);
        let record = self.swarms.at_mut(to).expect("looked at above");
        if knot.outgoing {
            record.uplinks += 1;
        } else {
            record.downlinks += 1;
        }
        if let Some(stream) = self.streams.carried_at_mut(slot) {
            stream.place = place_of(record.streams.len());
            record.streams.push(id);
        }
        true
    }

    /// The stream is a member of its swarm no longer. It stays on its link, and still names the swarm.
    pub fn unaccount(&mut self, id: StreamId) {
        if !self.streams.contains(id) {
            return;
        }
        let slot = id.slot32();
        let knot = *self.streams.knot(slot);
        if !knot.member {
            return;
        }
        self.streams.knot_mut(slot).member = false;
        self.mark(knot.link, knot.swarm, Mark::Uplink, false);
        self.mark(knot.link, knot.swarm, Mark::Member, false);
        let record = self
            .swarms
            .at_mut(knot.swarm)
            .expect("a member's swarm is there");
        if knot.outgoing {
            record.uplinks -= 1;
        } else {
            record.downlinks -= 1;
        }
        if let Some(stream) = self.streams.carried_at(slot) {
            let place = stream.place;
            record.streams.swap_remove(place as usize);
            if let Some(&moved) = record.streams.get(place as usize) {
                self.set_stream_place(moved, place);
            }
        }
    }

    /// `old` gives what it is in its swarm to `new` (requirement L13), and is gone. `false`, and nothing is changed, unless a
    /// caller carries both and `new` can be in that swarm.
    pub fn replace(&mut self, old: StreamId, new: StreamId, outgoing: bool) -> bool {
        let outside = |id| self.streams.is_outside(id) == Some(true);
        if !outside(old) || !outside(new) {
            return false;
        }
        let (from, to) = (
            *self.streams.knot(old.slot32()),
            *self.streams.knot(new.slot32()),
        );
        if old != new && to.swarm != NONE && to.swarm != from.swarm {
            return false;
        }
        self.redirect(new, outgoing);
        if old == new {
            return true;
        }
        let swarm = (from.swarm != NONE).then(|| self.swarms.id_at(from.swarm));
        self.unaccount(old);
        if let Some(swarm) = swarm {
            if from.member {
                // It may be one already, if it came by another address.
                self.account(new, swarm);
            } else if to.swarm == NONE {
                self.name_swarm(new.slot32(), from.swarm);
            }
        }
        self.stream_remove(old);
        true
    }

    /// Somebody else dialled a stream than was thought.
    fn redirect(&mut self, id: StreamId, outgoing: bool) {
        let knot = self.streams.knot_mut(id.slot32());
        if knot.outgoing == outgoing {
            return;
        }
        knot.outgoing = outgoing;
        let knot = *knot;
        self.link_mut(knot.link).set_outgoing(outgoing);
        if !knot.member {
            return;
        }
        self.mark(knot.link, knot.swarm, Mark::Uplink, outgoing);
        let record = self.swarm_at_mut(knot.swarm);
        if outgoing {
            record.uplinks += 1;
            record.downlinks -= 1;
        } else {
            record.uplinks -= 1;
            record.downlinks += 1;
        }
    }

    /// The swarms that would like to dial whom a link leaves room for: those it has a tie to, bare ones aside.
    #[must_use]
    pub fn diallers_of(&self, link: LinkId) -> Vec<SwarmId> {
        let ties = self.links.get(link).map(|link| link.ties.as_slice());
        let swarms = ties.unwrap_or_default().iter();
        swarms
            .map(|tie| self.swarm_at(tie.swarm))
            .filter(|swarm| swarm.session.is_some())
            .map(|swarm| swarm.id)
            .collect()
    }

    /// Whether a link has a tie to `swarm`.
    #[must_use]
    pub fn is_tied(&self, link: LinkId, swarm: SwarmId) -> bool {
        self.swarms.get(swarm).is_some()
            && self
                .links
                .get(link)
                .is_some_and(|link| link.tie(swarm.slot32()).is_some())
    }

    /// The swarm that a stream names.
    #[must_use]
    pub fn swarm_named(&self, id: StreamId) -> Option<SwarmId> {
        if !self.streams.contains(id) {
            return None;
        }
        let swarm = self.streams.knot(id.slot32()).swarm;
        (swarm != NONE).then(|| self.swarms.id_at(swarm))
    }

    /// Whether a stream is a member of its swarm.
    #[must_use]
    pub fn is_accounted(&self, id: StreamId) -> bool {
        self.streams.contains(id) && self.streams.knot(id.slot32()).member
    }

    /// The stream by which `link` is a member of `swarm`.
    #[must_use]
    pub fn member(&self, link: LinkId, swarm: SwarmId) -> Option<StreamId> {
        if !self.is_tied(link, swarm) || !self.is_member(link.slot32(), swarm.slot32()) {
            return None;
        }
        let slot = self.member_at(link.slot32(), swarm.slot32())?;
        Some(self.streams.id_at(slot))
    }

    /// The oldest stream of `link` that a caller carries, that is in no swarm yet and that may be in this one.
    #[must_use]
    pub fn unaccounted(&self, link: LinkId, swarm: SwarmId) -> Option<StreamId> {
        let ring = self.streams.ring(self.links.get(link)?.first);
        let mut free = ring.filter(|(slot, knot)| {
            !knot.member
                && (knot.swarm == NONE || knot.swarm == swarm.slot32())
                && self.streams.is_outside_at(*slot)
        });
        free.next().map(|(slot, _)| self.streams.id_at(slot))
    }

    /// Whether a stream on `link` is, or is being opened, for `swarm`.
    #[must_use]
    pub fn has_stream_for(&self, link: LinkId, swarm: SwarmId) -> bool {
        self.links
            .get(link)
            .is_some_and(|link| self.names(link.first, swarm.slot32()))
    }

    /// A swarm's candidates, in no order that means anything.
    pub fn candidates(&self, swarm: SwarmId) -> impl Iterator<Item = LinkId> {
        let links = self.swarms.get(swarm).map(|swarm| swarm.links.as_slice());
        let is_candidate = move |at: &u32| {
            let tie = self.link(*at).tie(swarm.slot32());
            tie.is_some_and(|tie| tie.is(Mark::Candidate))
        };
        let links = links.unwrap_or_default().iter().copied();
        links.filter(is_candidate).map(|at| self.links.id_at(at))
    }

    /// The streams that the loop carries for `swarm`, those still being opened included, as a list of their own.
    #[must_use]
    pub fn carried_for(&self, swarm: SwarmId) -> Vec<StreamId> {
        let links = self.swarms.get(swarm).map(|swarm| swarm.links.as_slice());
        let rings = links.unwrap_or_default().iter();
        rings
            .flat_map(|&at| self.streams.ring(self.link(at).first))
            .filter(|(slot, knot)| {
                knot.swarm == swarm.slot32() && !self.streams.is_outside_at(*slot)
            })
            .map(|(slot, _)| self.streams.id_at(slot))
            .collect()
    }

    /// `link` is no candidate of `swarm` any more, unless a person named it.
    pub fn dissociate(&mut self, link: LinkId, swarm: SwarmId) {
        let (at, to) = (link.slot32(), swarm.slot32());
        let tie = self.links.get(link).and_then(|link| link.tie(to));
        if tie.is_some_and(|tie| !tie.is(Mark::Pinned)) {
            self.mark(at, to, Mark::Candidate, false);
            self.untie(at, to);
        }
    }

    // ----------------------------------------------------------------------------------------------------- private

    pub(super) fn is_member(&self, at: u32, swarm: u32) -> bool {
        let tie = self.link(at).tie(swarm);
        tie.is_some_and(|tie| tie.is(Mark::Member))
    }

    pub(super) fn member_at(&self, at: u32, swarm: u32) -> Option<u32> {
        let mut ring = self.streams.ring(self.link(at).first);
        ring.find(|(_, knot)| knot.member && knot.swarm == swarm)
            .map(|(slot, _)| slot)
    }

    fn names(&self, first: u32, swarm: u32) -> bool {
        self.streams
            .ring(first)
            .any(|(_, knot)| knot.swarm == swarm)
    }

    /// A tie between both, if there is none.
    pub(super) fn tie(&mut self, at: u32, swarm: u32) {
        if self.link(at).tie(swarm).is_some() {
            return;
        }
        let record = self.swarm_at_mut(swarm);
        let place = place_of(record.links.len());
        record.links.push(at);
        self.link_mut(at).ties.insert(Tie::new(swarm, place));
    }

    /// No tie between both, if there is no more use for it.
    pub(super) fn untie(&mut self, at: u32, swarm: u32) {
        let link = self.link(at);
        let Some(tie) = link.tie(swarm) else {
            return;
        };
        if tie.belongs() || self.names(link.first, swarm) {
            return;
        }
        self.link_mut(at).ties.remove(swarm);
        let place = tie.place();
        let record = self.swarm_at_mut(swarm);
        record.links.swap_remove(place as usize);
        if let Some(&moved) = record.links.get(place as usize) {
            let tie = self.link_mut(moved).ties.get_mut(swarm);
            tie.expect("who is in the list has a tie").set_place(place);
        }
    }

    /// What a tied link is in a swarm.
    pub(super) fn mark(&mut self, at: u32, swarm: u32, mark: Mark, on: bool) {
        let Some(tie) = self.link_mut(at).ties.get_mut(swarm) else {
            return;
        };
        if tie.is(mark) == on {
            return;
        }
        let before = tie.belongs();
        tie.mark(mark, on);
        let after = tie.belongs();
        let record = self.swarm_at_mut(swarm);
        record.version += 1;
        match (before, after) {
            (false, true) => record.belonging += 1,
            (true, false) => record.belonging -= 1,
            _ => {}
        }
    }

    /// A link leaves a swarm: streams carried outside are forgotten, and it is no candidate any more.
    pub(super) fn leave(&mut self, at: u32, swarm: u32, keep_pinned: bool) {
        let ring = self.streams.ring(self.link(at).first);
        let outside: Vec<StreamId> = ring
            .filter(|(slot, knot)| knot.swarm == swarm && self.streams.is_outside_at(*slot))
            .map(|(slot, _)| self.streams.id_at(slot))
            .collect();
        for id in outside {
            self.stream_remove(id);
        }
        let tie = self.link(at).tie(swarm);
        if !(keep_pinned && tie.is_some_and(|tie| tie.is(Mark::Pinned))) {
            for mark in [Mark::Candidate, Mark::Pinned] {
                self.mark(at, swarm, mark, false);
            }
            self.untie(at, swarm);
        }
        self.link_idle(self.links.id_at(at));
    }

    /// Hangs a stream on its link.
    pub(super) fn hang(&mut self, at: u32, slot: u32) {
        let first = self.streams.tie_to(self.link(at).first, slot);
        let knot = self.streams.knot_mut(slot);
        knot.link = at;
        let outgoing = knot.outgoing;
        let link = self.link_mut(at);
        link.first = first;
        link.set_outgoing(outgoing);
    }

    /// The stream is for `swarm`, as far as is known.
    pub(super) fn name_swarm(&mut self, slot: u32, swarm: u32) {
        let knot = self.streams.knot_mut(slot);
        knot.swarm = swarm;
        let (at, opening) = (knot.link, knot.outgoing && !knot.up);
        self.tie(at, swarm);
        let id = self.streams.id_at(slot);
        let record = self
            .swarms
            .at_mut(swarm)
            .expect("a swarm that is named is there");
        if let Some(stream) = self.streams.carried_at_mut(slot) {
            stream.swarm = Some(record.id);
            if opening {
                stream.place = place_of(record.opening.len());
                record.opening.push(id);
                self.opening += 1;
            }
        }
    }

    /// The stream is being opened no longer, if it was.
    pub(super) fn close_opening(&mut self, slot: u32) {
        let knot = *self.streams.knot(slot);
        if !knot.outgoing || knot.up || knot.swarm == NONE {
            return;
        }
        let Some(place) = self.streams.carried_at(slot).map(|stream| stream.place) else {
            return;
        };
        self.opening -= 1;
        let record = self.swarm_at_mut(knot.swarm);
        record.opening.swap_remove(place as usize);
        if let Some(&moved) = record.opening.get(place as usize) {
            self.set_stream_place(moved, place);
        }
    }

    fn set_stream_place(&mut self, id: StreamId, place: u32) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.place = place;
        }
    }
}

fn place_of(length: usize) -> u32 {
    u32::try_from(length).expect("fewer than 2^32 things")
}
