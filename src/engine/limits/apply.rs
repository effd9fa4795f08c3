//! Limits at work in the engine: changed by callers, and letting streams go on.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::message::{Output, Refusal};
use crate::engine::session::upload;
use crate::engine::shared::TimerKey;
use crate::ids::{SessionId, StreamId};
use crate::time::Instant;

use super::value::GROUPS_MAX;
use super::{Group, IN, Limits, OUT, TorrentLimitsChange, join, leave};

impl Engine {
    /// From now on these are the limits of all torrents together.
    pub(in crate::engine) fn speed_set(&mut self, limits: Limits) {
        let ids: Vec<SessionId> = self.sessions.iter().map(|(id, _)| id).collect();
        // Streams leave under the old limits and come under the new ones.
        for &id in &ids {
            self.unlimit(id);
        }
        self.shared.settings.limits = limits;
        self.limits_refresh();
        for &id in &ids {
            self.limit(id);
        }
    }

    /// Takes the limits over from the settings and the groups, while no stream is limited.
    pub(in crate::engine) fn limits_refresh(&mut self) {
        let (now, limits) = (self.shared.now, &mut self.shared.limits);
        let all = self.shared.settings.limits.now();
        limits.on = all.iter().any(Option::is_some);
        for (at, side) in limits.sides.iter_mut().enumerate() {
            side.set_global(all[at], now);
            for group in limits.groups.values() {
                let rate = [group.download, group.upload][at].limit();
                limits.on |= rate.is_some();
                side.set_group(&group.name, rate, group.honour, now);
            }
        }
    }

    /// Makes or changes a group.
    ///
    /// # Errors
    /// There are too many.
    pub(in crate::engine) fn group_set(&mut self, group: Group) -> Result<(), Refusal> {
        let groups = &self.shared.limits.groups;
        if !Group::is_name(&group.name)
            || (groups.len() >= GROUPS_MAX && !groups.contains_key(&group.name))
        {
            return Err(Refusal::Full);
        }
        let name = Arc::clone(&group.name);
        self.shared.limits.groups.insert(name, group);
        self.speed_set(self.shared.settings.limits.clone());
        Ok(())
    }

    /// The groups that were remembered.
    pub(in crate::engine) fn groups_listed(&mut self, groups: Vec<Group>) {
        for group in groups.into_iter().take(GROUPS_MAX) {
            let known = &mut self.shared.limits.groups;
            known.insert(Arc::clone(&group.name), group);
        }
        self.speed_set(self.shared.settings.limits.clone());
    }

    /// A torrent's group is one, with or without limits, as soon as it is named.
    pub(in crate::engine) fn group_named(&mut self, name: &Arc<str>) {
        let groups = &mut self.shared.limits.groups;
        if Group::is_name(name) && groups.len() < GROUPS_MAX && !groups.contains_key(name) {
            groups.insert(Arc::clone(name), Group::new(Arc::clone(name)));
        }
    }

    /// All groups, by name.
    pub(in crate::engine) fn groups(&self) -> Vec<Group> {
        self.shared.limits.groups.values().cloned().collect()
    }

    /// Changes a torrent's limits.
    pub(in crate::engine) fn torrent_limits(
        &mut self,
        id: SessionId,
        change: &TorrentLimitsChange,
    ) {
        self.unlimit(id);
        let Some(entry) = self.entry_mut(id) else {
            return;
        };
        change.apply(&mut entry.limits);
        let group = Arc::clone(&entry.limits.group);
        self.group_named(&group);
        self.limit(id);
    }

    /// The streams of a session are limited no more.
    fn unlimit(&mut self, id: SessionId) {
        for stream in self.streams_of(id) {
            if let Some(stream) = self.table.streams.get_mut(stream) {
                let limited = stream.purse.limited[IN];
                leave(&mut self.shared, id, stream);
                if limited {
                    self.shared.push(Output::Meter {
                        stream: stream.id,
                        bytes: u64::MAX,
                    });
                }
            }
        }
    }

    /// The streams of a session are limited as it says.
    fn limit(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let own = session.entry.limits.own();
        self.shared.limits.on |= own.iter().any(Option::is_some);
        if !self.shared.limits.on {
            return self.serve_all(id);
        }
        for stream in self.streams_of(id) {
            let (Some(session), Some(stream)) =
                (self.sessions.get(id), self.table.streams.get_mut(stream))
            else {
                continue;
            };
            join(&mut self.shared, id, &session.entry.limits, stream);
        }
        // Whoever waited to send stands in the new line, or goes on.
        self.serve_all(id);
    }

    /// A stream has opened for `session`.
    pub(in crate::engine) fn limit_stream(&mut self, id: StreamId, session: SessionId) {
        if !self.shared.limits.is_on() {
            // A torrent that is limited alone switches this on when it is loaded or changed.
            return;
        }
        if let (Some(session), Some(stream)) =
            (self.sessions.get(session), self.table.streams.get_mut(id))
        {
            join(&mut self.shared, session.id, &session.entry.limits, stream);
        }
    }

    /// Lets those go on who waited for it, as far as there is something to have.
    pub(in crate::engine) fn grant(&mut self) {
        let now = self.shared.now;
        if !self.shared.limits.is_on() {
            return;
        }
        if self.shared.limits.is_due(now) {
            self.let_go_on(now);
        }
        // Whatever came to the line meanwhile, or left it.
        let at = self.shared.limits.look_at();
        if at != self.shared.limits.armed {
            self.shared.limits.armed = at;
            if at == Instant::FAR {
                self.shared.timers.cancel(TimerKey::Limits);
            } else {
                self.shared.timers.set(TimerKey::Limits, at);
            }
        }
    }

    /// The line is looked at once this input is done with.
    pub(in crate::engine) fn on_limits_timer(&mut self) {
        self.shared.limits.armed = Instant::FAR;
    }

    fn let_go_on(&mut self, now: Instant) {
        for grant in self.shared.limits.grant_in(now) {
            let Some(stream) = self.table.streams.get_mut(grant.stream) else {
                continue;
            };
            stream.purse.waiting[IN] = false;
            stream.purse.left[IN] += grant.bytes;
            let bytes = stream.purse.left[IN];
            // It could not be heard, and it is alive.
            stream.heard = now;
            if let Some(peer) = stream.peer_mut() {
                peer.block_at = now;
            }
            self.shared.push(Output::Meter {
                stream: grant.stream,
                bytes,
            });
        }
        for grant in self.shared.limits.grant_out(now) {
            let Some(stream) = self.table.streams.get_mut(grant.stream) else {
                continue;
            };
            stream.purse.waiting[OUT] = false;
            stream.purse.left[OUT] += grant.bytes;
            let session = stream.session();
            if let Some(session) = session.and_then(|id| self.sessions.get_mut(id)) {
                upload::serve(&mut self.shared, session, stream);
            }
        }
    }

    /// Panics unless the lines know the streams that are limited, and no others.
    pub(in crate::engine) fn check_limits(&self) {
        for (at, side) in self.shared.limits.sides.iter().enumerate() {
            let streams = self.table.streams.iter().map(|(_, stream)| stream.purse);
            let (limited, waiting) = streams.fold((0, 0), |(limited, waiting), purse| {
                let count = |flag: bool| usize::from(flag);
                (
                    limited + count(purse.limited[at]),
                    waiting + count(purse.waiting[at]),
                )
            });
            assert_eq!(side.count(), (limited, waiting), "limited and in line");
        }
    }

    fn streams_of(&self, id: SessionId) -> Vec<StreamId> {
        let session = self.sessions.get(id);
        let swarm = session.and_then(|session| self.table.swarms.get(session.swarm));
        swarm.map_or_else(Vec::new, |swarm| swarm.streams.clone())
    }
}
