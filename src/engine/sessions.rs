//! Every torrent by its id: those at work, and those that are parked. A torrent keeps its id when it is parked and when it
//! wakes, so whoever names it (timers, trackers, callers) need not know which it is.
//!
//! Invariant: `live` names exactly the sessions at work, so that walks over them do not see the thousands that rest.

use std::collections::BTreeSet;

use crate::ids::SessionId;

use super::library::parked::Parked;
use super::session::Session;
use super::session::trackers::Trackers;
use super::slots::Slots;

/// All torrents. What finds or walks sessions means those at work; parked ones are asked for by name.
#[derive(Debug, Default)]
pub struct Sessions {
    slots: Slots<SessionId, Place>,
    live: BTreeSet<SessionId>,
}

#[derive(Debug)]
enum Place {
    Live(Box<Session>),
    Parked(Box<Parked>),
}

impl Sessions {
    /// Puts a session to work.
    pub fn insert_with(&mut self, make: impl FnOnce(SessionId) -> Session) -> SessionId {
        let id = (self.slots).insert_with(|id| Place::Live(Box::new(make(id))));
        self.live.insert(id);
        id
    }

    /// Takes on a torrent that rests.
    pub fn park_with(&mut self, make: impl FnOnce(SessionId) -> Parked) -> SessionId {
        (self.slots).insert_with(|id| Place::Parked(Box::new(make(id))))
    }

    /// The session at work.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        match self.slots.get(id)? {
            Place::Live(session) => Some(session),
            Place::Parked(_) => None,
        }
    }

    /// The session at work.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        match self.slots.get_mut(id)? {
            Place::Live(session) => Some(session),
            Place::Parked(_) => None,
        }
    }

    /// The torrent that rests.
    #[must_use]
    pub fn parked(&self, id: SessionId) -> Option<&Parked> {
        match self.slots.get(id)? {
            Place::Parked(parked) => Some(parked),
            Place::Live(_) => None,
        }
    }

    /// The torrent that rests.
    pub fn parked_mut(&mut self, id: SessionId) -> Option<&mut Parked> {
        match self.slots.get_mut(id)? {
            Place::Parked(parked) => Some(parked),
            Place::Live(_) => None,
        }
    }

    /// The trackers of a torrent, whether it is at work or not.
    #[must_use]
    pub fn trackers(&self, id: SessionId) -> Option<&Trackers> {
        match self.slots.get(id)? {
            Place::Live(session) => session.trackers.as_ref(),
            Place::Parked(parked) => parked.trackers.as_ref(),
        }
    }

    /// The trackers of a torrent, whether it is at work or not.
    pub fn trackers_mut(&mut self, id: SessionId) -> Option<&mut Trackers> {
        match self.slots.get_mut(id)? {
            Place::Live(session) => session.trackers.as_mut(),
            Place::Parked(parked) => parked.trackers.as_mut(),
        }
    }

    /// Every torrent that rests, by slot.
    pub fn iter_parked(&self) -> impl Iterator<Item = (SessionId, &Parked)> {
        self.slots.iter().filter_map(|(id, place)| match place {
            Place::Parked(parked) => Some((id, &**parked)),
            Place::Live(_) => None,
        })
    }

    /// The ids of all that rest, for loops that change what they walk.
    #[must_use]
    pub fn parked_ids(&self) -> Vec<SessionId> {
        self.iter_parked().map(|(id, _)| id).collect()
    }

    /// Every session at work, by id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let live = self.live.iter();
        live.filter_map(|id| Some((*id, self.get(*id)?)))
    }

    /// The ids of all sessions at work, for loops that change what they walk.
    #[must_use]
    pub fn ids(&self) -> Vec<SessionId> {
        self.live.iter().copied().collect()
    }

    /// A session at work rests from now on, as what `make` makes of it.
    pub fn park(&mut self, id: SessionId, make: impl FnOnce(&mut Session) -> Parked) {
        if let Some(place) = self.slots.get_mut(id)
            && let Place::Live(session) = place
        {
            let parked = make(session);
            *place = Place::Parked(Box::new(parked));
            self.live.remove(&id);
        }
    }

    /// A torrent that rests is at work from now on, as what `make` makes of it.
    pub fn wake(&mut self, id: SessionId, make: impl FnOnce(&mut Parked) -> Session) {
        if let Some(place) = self.slots.get_mut(id)
            && let Place::Parked(parked) = place
        {
            let session = make(parked);
            *place = Place::Live(Box::new(session));
            self.live.insert(id);
        }
    }

    /// Takes out a session at work.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.get(id)?;
        self.live.remove(&id);
        match self.slots.remove(id)? {
            Place::Live(session) => Some(*session),
            Place::Parked(_) => None,
        }
    }

    /// Takes out a torrent that rests.
    pub fn remove_parked(&mut self, id: SessionId) -> Option<Parked> {
        self.parked(id)?;
        match self.slots.remove(id)? {
            Place::Parked(parked) => Some(*parked),
            Place::Live(_) => None,
        }
    }

    /// How many there are, at work or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many rest.
    #[must_use]
    pub fn parked_len(&self) -> usize {
        self.slots.len() - self.live.len()
    }

    /// Whether there is none, at work or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
