//! The link manager's messages (requirement 1.4): what each checks, and what it does to the table.
//!
//! A message costs the same whatever the table holds: what is named is found by a hash, what is left is dropped from its
//! place, what is counted was counted before. Only the lists that a caller asks for are walked, and those only when something
//! in them changed.

mod streams;

use std::net::SocketAddr;

use crate::ids::{InfoHash, LinkId, SwarmId};

use super::Engine;
use super::message::{Accounting, Answer, Limits, Message, Refusal};
use super::settings::{CONNECT_TICK, SWARMS_MAX};
use super::shared::TimerKey;
use super::table::Source;
use super::table::link::PINNED_RETRY_FIRST;
use super::table::stream::CloseReason;

impl Engine {
    /// Carries out a message about links, streams and swarms.
    pub(super) fn on_link_message(&mut self, message: Message) -> Answer {
        let done = |()| Answer::Done;
        let result = match message {
            Message::LinkCreate { address, swarm } => {
                self.link_create(address, swarm).map(Answer::Link)
            }
            Message::LinkUpdate { address, ip, port } => self
                .link_update(address, SocketAddr::new(ip, port))
                .map(done),
            Message::LinkDelete {
                address,
                force,
                preserve,
            } => {
                self.link_delete(address, force, preserve);
                Ok(Answer::Done)
            }
            Message::LinkFind { address, swarm } => {
                Ok(Answer::Found(self.table.show_link(address, swarm)))
            }
            Message::StreamAdd {
                address,
                direction,
                swarm,
                carrier,
            } => self
                .stream_add(address, direction, swarm, carrier)
                .map(Answer::Stream),
            Message::StreamDelete { stream } => {
                self.stream_delete(stream);
                Ok(Answer::Done)
            }
            Message::StreamReplace {
                old,
                new,
                direction,
            } => self.stream_replace(old, new, direction).map(done),
            Message::SwarmAdd {
                info_hash,
                links_min,
            } => self.swarm_add(info_hash, links_min).map(Answer::Swarm),
            Message::SwarmRemove { swarm } => self.swarm_remove(swarm).map(done),
            Message::SwarmSwitch { swarm, on } => {
                self.swarm_switch(swarm, on).map(Answer::Condition)
            }
            Message::SwarmFind { info_hash } => match self.table.swarm_of(info_hash) {
                Some(swarm) => Ok(Answer::Swarm(swarm.id)),
                None => Err(Refusal::UnknownSwarm),
            },
            Message::LinksCount { swarm } => match self.table.swarms.get(swarm) {
                Some(swarm) => Ok(Answer::Count(swarm.count())),
                None => Err(Refusal::UnknownSwarm),
            },
            Message::LinksShow {
                swarm,
                established_only,
            } => match self.table.show_links(swarm, established_only) {
                Some(links) => Ok(Answer::Links {
                    time: self.shared.now,
                    links,
                }),
                None => Err(Refusal::UnknownSwarm),
            },
            Message::SwarmCondition { swarm } => match self.table.swarms.get(swarm) {
                Some(swarm) => Ok(Answer::Condition(swarm.is_on())),
                None => Err(Refusal::UnknownSwarm),
            },
            Message::IgnoredShow { swarm } => {
                match self.table.show_ignored(swarm, self.shared.now) {
                    Some(addresses) => Ok(Answer::Ignored {
                        time: self.shared.now,
                        addresses,
                    }),
                    None => Err(Refusal::UnknownSwarm),
                }
            }
            Message::Account {
                address,
                swarm,
                verdict,
            } => {
                self.account(address, swarm, verdict);
                Ok(Answer::Done)
            }
            Message::Pin { address, swarm } => self.pin(address, swarm).map(Answer::Link),
            Message::Unpin { address, swarm } => self.unpin(address, swarm).map(done),
            Message::LimitsSet(limits) => {
                self.limits_set(limits);
                Ok(Answer::Done)
            }
            Message::SessionAdd(_)
            | Message::SessionRemove { .. }
            | Message::SessionPause { .. }
            | Message::SessionResume { .. }
            | Message::PeerAdd { .. }
            | Message::PeerAddNamed { .. }
            | Message::SessionShow { .. }
            | Message::EngineShow
            | Message::LibraryLoad { .. }
            | Message::TorrentAdd(_)
            | Message::MagnetAdd(_)
            | Message::TorrentsChange(_)
            | Message::Survey(_)
            | Message::Blocks(_)
            | Message::TorrentsShow(_)
            | Message::SettingsChange(_)
            | Message::MetadataShow { .. }
            | Message::SettingsShow
            | Message::SpeedSet { .. }
            | Message::SpeedShow
            | Message::SessionLimits { .. }
            | Message::GroupSet(_)
            | Message::Shutdown { .. } => unreachable!("the manager has these"),
        };
        result.unwrap_or_else(Answer::Refused)
    }

    // ------------------------------------------------------------------------------------------------------- links

    fn link_create(&mut self, address: SocketAddr, swarm: SwarmId) -> Result<LinkId, Refusal> {
        let listening = &self.shared.listening;
        let created =
            self.table
                .link_create(address, swarm, Source::Caller, listening, self.shared.now);
        let link = created.as_ref().ok().map(|&(link, _)| link);
        self.note_offer(address, swarm, link);
        let (link, new) = created?;
        if !new {
            return Err(Refusal::AlreadyAssociated);
        }
        self.connect_soon(swarm);
        Ok(link)
    }

    /// A person names a peer (requirement L2).
    pub(super) fn pin(&mut self, address: SocketAddr, swarm: SwarmId) -> Result<LinkId, Refusal> {
        let listening = &self.shared.listening;
        let created =
            self.table
                .link_create(address, swarm, Source::Person, listening, self.shared.now);
        let (link, _) = created?;
        self.connect_more(swarm);
        Ok(link)
    }

    fn unpin(&mut self, address: SocketAddr, swarm: SwarmId) -> Result<(), Refusal> {
        if self.table.swarms.get(swarm).is_none() {
            return Err(Refusal::UnknownSwarm);
        }
        if self.table.unpin(address, swarm) {
            Ok(())
        } else {
            Err(Refusal::UnknownLink)
        }
    }

    fn link_update(&mut self, address: SocketAddr, to: SocketAddr) -> Result<(), Refusal> {
        let link = self
            .table
            .link_update(address, to, &self.shared.listening)?;
        for swarm in self.table.diallers_of(link) {
            self.connect_soon(swarm);
        }
        Ok(())
    }

    fn link_delete(&mut self, address: SocketAddr, force: bool, preserve: bool) {
        let Some(link) = self.table.link_at(address) else {
            return;
        };
        let swarms = self.table.diallers_of(link);
        let pinned = self
            .table
            .links
            .get(link)
            .is_some_and(|link| link.is_pinned());
        for stream in self.table.streams_of(link) {
            if self.table.streams.is_outside(stream) == Some(true) {
                self.table.stream_remove(stream);
            } else {
                // Whom to dial instead is looked at below, when the link is what it will be.
                self.end_stream(stream, CloseReason::Caller);
            }
        }
        if force || !(pinned || preserve) {
            self.table.link_delete(link);
        } else if let Some(record) = self.table.links.get(link) {
            let pause = record.first_pause(&self.shared.settings);
            self.table.link_rests(link, self.shared.now + pause);
        }
        for swarm in swarms {
            self.connect_soon(swarm);
        }
    }

    // ------------------------------------------------------------------------------------------------------ swarms

    fn swarm_add(&mut self, info_hash: InfoHash, links_min: u32) -> Result<SwarmId, Refusal> {
        if self.table.swarms.len() >= SWARMS_MAX && self.table.swarm_of(info_hash).is_none() {
            return Err(Refusal::Full);
        }
        let swarm = self
            .table
            .swarm_add(info_hash, links_min)
            .map_err(Refusal::SwarmExists)?;
        swarm.kept = true;
        Ok(swarm.id)
    }

    fn swarm_remove(&mut self, swarm: SwarmId) -> Result<(), Refusal> {
        let record = self.table.swarms.get(swarm).ok_or(Refusal::UnknownSwarm)?;
        if let Some(session) = record.session {
            return Err(Refusal::InUse(session));
        }
        self.table.swarm_remove(swarm);
        self.shared.timers.cancel(TimerKey::Connect(swarm));
        Ok(())
    }

    fn swarm_switch(&mut self, swarm: SwarmId, on: bool) -> Result<bool, Refusal> {
        let record = self
            .table
            .swarms
            .get_mut(swarm)
            .ok_or(Refusal::UnknownSwarm)?;
        let before = std::mem::replace(&mut record.on, on);
        match (before, on) {
            (false, true) => self.connect_more(swarm),
            (true, false) => {
                self.close_swarm(swarm);
                self.table.swarm_clear(swarm, true);
                self.shared.timers.cancel(TimerKey::Connect(swarm));
            }
            _ => {}
        }
        Ok(before)
    }

    // -------------------------------------------------------------------------------------------------- accounting

    fn account(&mut self, address: SocketAddr, swarm: SwarmId, verdict: Accounting) {
        let Some(link) = self.table.link_at(address) else {
            return;
        };
        let Some(record) = self.table.swarms.get(swarm) else {
            return;
        };
        let member = self.table.member(link, swarm);
        if verdict == Accounting::Member {
            if member.is_none()
                && record.is_on()
                && let Some(stream) = self.table.unaccounted(link, swarm)
            {
                self.table.account(stream, swarm);
            }
            return;
        }
        if member.is_some_and(|stream| self.table.streams.is_outside(stream) != Some(true)) {
            // Ours: its own handshake has said what it is.
            return;
        }
        if !self.table.is_tied(link, swarm) {
            // Neither a candidate nor a stream's: the verdict is about something that is gone.
            return;
        }
        self.expel(link, swarm, verdict);
    }

    /// A link leaves a swarm, or could not enter it (requirement L10).
    fn expel(&mut self, link: LinkId, swarm: SwarmId, verdict: Accounting) {
        let now = self.shared.now;
        let Some(record) = self.table.links.get(link) else {
            return;
        };
        let address = record.address();
        let rest = now + record.first_pause(&self.shared.settings);
        let pinned = self.table.is_pinned(link, swarm);
        let pause = match (verdict, pinned) {
            (_, true) => Some(PINNED_RETRY_FIRST),
            (Accounting::Failed, false) => Some(self.shared.settings.ignore),
            (Accounting::Leaves | Accounting::Member, false) => None,
        };
        if let (Some(pause), Some(record)) = (pause, self.table.swarms.get_mut(swarm)) {
            let why = match verdict {
                Accounting::Failed => "failed",
                Accounting::Leaves | Accounting::Member => "left",
            };
            record.ignore(address, now + pause, why);
        }
        self.table.dissociate(link, swarm);
        // One stream carries one swarm (requirement X5): what it carried is over, and so is it.
        let stream = self
            .table
            .member(link, swarm)
            .or_else(|| self.table.unaccounted(link, swarm));
        if let Some(stream) = stream {
            self.table.stream_remove(stream);
        }
        self.table.link_rests(link, rest);
        self.connect_soon(swarm);
    }

    // ------------------------------------------------------------------------------------------------------ limits

    /// How many streams a swarm may have: its torrent's own limit, or that of all.
    pub(super) fn swarm_streams_max(&self, swarm: SwarmId) -> usize {
        let session = self.table.swarms.get(swarm).and_then(|swarm| swarm.session);
        let own = session.and_then(|id| self.sessions.get(id));
        match own.map_or(0, |session| session.entry.peer_limit) {
            0 => self.shared.settings.swarm_streams_max,
            own => own as usize,
        }
    }

    pub(super) fn limits_set(&mut self, limits: Limits) {
        let settings = &mut self.shared.settings;
        if let Some(links) = limits.links_max {
            settings.streams_max = links as usize;
        }
        if let Some(links) = limits.swarm_links_max {
            settings.swarm_streams_max = links as usize;
        }
        if let Some(slots) = limits.upload_slots {
            settings.upload_slots = slots as usize;
            for id in self.sessions.ids() {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.choker.set_slots(slots);
                }
            }
        }
        for id in self.sessions.ids() {
            if let Some(swarm) = self.sessions.get(id).map(|session| session.swarm) {
                self.connect_soon(swarm);
            }
        }
    }

    // ----------------------------------------------------------------------------------------------------- dialling

    /// Dials for `swarm` at the next tick: once for all that happens until then.
    pub(super) fn connect_soon(&mut self, swarm: SwarmId) {
        let Some(record) = self.table.swarms.get(swarm) else {
            return;
        };
        if record.session.is_some() && record.is_on() {
            let at = self.shared.now + CONNECT_TICK;
            self.shared
                .timers
                .set_no_later(TimerKey::Connect(swarm), at);
        }
    }
}
