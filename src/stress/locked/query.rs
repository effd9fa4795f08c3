//! Those that only look: everything is taken shared.

use std::net::SocketAddr;

use crate::codec::address;
use crate::engine::message::{Answer, Direction, IgnoredAddress, Refusal};
use crate::ids::{InfoHash, SwarmId};
use crate::time::Instant;

use super::{Locked, read};

impl Locked {
    pub(super) fn swarm_find(&self, info_hash: InfoHash) -> Result<Answer, Refusal> {
        let swarms = read(&self.swarms);
        let id = swarms.by_hash.get(&info_hash);
        Ok(Answer::Swarm(*id.ok_or(Refusal::UnknownSwarm)?))
    }

    pub(super) fn swarm_condition(&self, swarm: SwarmId) -> Result<Answer, Refusal> {
        let swarms = read(&self.swarms);
        let swarm = swarms.by_id.get(&swarm).ok_or(Refusal::UnknownSwarm)?;
        Ok(Answer::Condition(read(swarm).on))
    }

    pub(super) fn links_count(&self, swarm: SwarmId) -> Result<Answer, Refusal> {
        let swarms = read(&self.swarms);
        let swarm = swarms.by_id.get(&swarm).ok_or(Refusal::UnknownSwarm)?;
        Ok(Answer::Count(read(swarm).count()))
    }

    pub(super) fn link_find(&self, address: SocketAddr, swarm: SwarmId) -> Result<Answer, Refusal> {
        let swarms = read(&self.swarms);
        if !swarms.by_id.contains_key(&swarm) {
            return Ok(Answer::Found(None));
        }
        let links = read(&self.links);
        let link = links
            .get(&address::canonical(address))
            .map(|link| read(link));
        let found = link.filter(|link| link.belongs(swarm));
        Ok(Answer::Found(found.map(|link| link.summary(swarm))))
    }

    pub(super) fn links_show(
        &self,
        swarm: SwarmId,
        members: bool,
        now: impl Fn() -> Instant,
    ) -> Result<Answer, Refusal> {
        let swarms = read(&self.swarms);
        let swarm = read(swarms.by_id.get(&swarm).ok_or(Refusal::UnknownSwarm)?);
        let links = read(&self.links);
        let (mut uplinks, mut downlinks) = (Vec::new(), Vec::new());
        #[allow(
            clippy::iter_over_hash_type,
            reason = "the order within a list is nobody's business"
        )]
        for address in &swarm.links {
            let Some(link) = links.get(address).map(|link| read(link)) else {
                continue;
            };
            if !link.belongs(swarm.id) || members && link.member(swarm.id).is_none() {
                continue;
            }
            let summary = link.summary(swarm.id);
            match summary.direction {
                Direction::Outgoing => uplinks.push(summary),
                Direction::Incoming => downlinks.push(summary),
            }
        }
        uplinks.append(&mut downlinks);
        Ok(Answer::Links {
            time: now(),
            links: uplinks.into(),
        })
    }

    pub(super) fn ignored_show(
        &self,
        swarm: SwarmId,
        now: impl Fn() -> Instant,
    ) -> Result<Answer, Refusal> {
        let swarms = read(&self.swarms);
        let swarm = read(swarms.by_id.get(&swarm).ok_or(Refusal::UnknownSwarm)?);
        let time = now();
        let addresses = swarm
            .ignored
            .iter()
            .filter(|(_, (until, _))| *until > time)
            .map(|(&address, &(until, why))| IgnoredAddress {
                address,
                until,
                why,
            })
            .collect();
        Ok(Answer::Ignored { time, addresses })
    }
}
