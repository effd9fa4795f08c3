//! Who is blocked: `blocklist-update` as Transmission has it, and ours for bans: `ban_get`, `ban_add`, `ban_remove`.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::envelope::{Output, RpcError};
use super::names::Family;
use super::params::{self, Params};
use super::{Rpc, strange};
use crate::engine::message::{Answer, BlocksAsk, BlocksLoad, BlocksSnapshot, Message};
use crate::gateway::client::masked;

/// Bytes of a list that is fetched, packed or not.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// For fetching one.
const FETCH_TIME_MAX: Duration = Duration::from_secs(120);

/// Addresses of one request.
const ADDRESSES_MAX: usize = 1000;

impl Rpc {
    async fn blocks(&self, ask: BlocksAsk) -> Result<BlocksSnapshot, RpcError> {
        match self.ask(Message::Blocks(Box::new(ask))).await? {
            Answer::Blocks(found) => {
                (*found).map_err(|fault| RpcError::new(RpcError::SYSTEM, fault.0))
            }
            _ => Err(strange()),
        }
    }

    /// Lines that name a range; 0 when the engine does not say.
    pub(super) async fn blocklist_size(&self) -> u64 {
        let found = self.blocks(BlocksAsk::Show).await;
        found.map_or(0, |found| found.rules)
    }

    /// Fetches the list that `blocklist-url` names, if it names any, and has all lists read again.
    pub(super) async fn blocklist_update(&self) -> Result<Output, RpcError> {
        let url = self.tuned().await?.config.blocklist.url.clone();
        let mut load = BlocksLoad::default();
        if !url.is_empty() {
            let fetched = self.tools.get(&url, LIST_BYTES_MAX, FETCH_TIME_MAX).await;
            load.fetched = Some(fetched.map_err(|fault| {
                RpcError::new(RpcError::HTTP, format!("{}: {fault}", masked(&url)))
            })?);
        }
        let found = self.blocks(BlocksAsk::Load(load)).await?;
        Ok(Output::Value(
            Family::Kebab,
            json!({ "blocklist_size": found.rules }),
        ))
    }

    /// Who is banned, by a person or for bad data.
    pub(super) async fn ban_get(&self) -> Result<Output, RpcError> {
        let found = self.blocks(BlocksAsk::Show).await?;
        let bans = found.bans.iter().map(|ban| {
            json!({
                "address": ban.ip.to_string(),
                "seconds_left": ban.left.map(|left| left.as_secs()),
                "why": ban.why,
            })
        });
        let value = json!({
            "bans": bans.collect::<Vec<_>>(),
            "blocklist_enabled": found.enabled,
            "blocklist_size": found.rules,
        });
        Ok(Output::Value(Family::Kebab, value))
    }

    /// Bans `addresses` for `minutes`, or for good.
    pub(super) async fn ban_add(&self, params: &Params) -> Result<Output, RpcError> {
        let minutes = params::number(params, "minutes")?;
        let span = minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes.max(1))));
        self.each(params, |ip| BlocksAsk::Ban { ip, span }).await
    }

    /// Takes back the bans of `addresses`.
    pub(super) async fn ban_remove(&self, params: &Params) -> Result<Output, RpcError> {
        self.each(params, |ip| BlocksAsk::Unban { ip }).await
    }

    async fn each(
        &self,
        params: &Params,
        ask: impl Fn(IpAddr) -> BlocksAsk,
    ) -> Result<Output, RpcError> {
        let addresses = params::texts(params, "addresses")?.unwrap_or_default();
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            let text = format!("addresses: 1 to {ADDRESSES_MAX} of them");
            return Err(RpcError::params(text));
        }
        let parsed = addresses.iter().map(|text| {
            let fault = || RpcError::params(format!("addresses: {text}: not an address"));
            text.parse().map_err(|_| fault())
        });
        for ip in parsed.collect::<Result<Vec<IpAddr>, _>>()? {
            match self.ask(Message::Blocks(Box::new(ask(ip)))).await? {
                Answer::Done => {}
                _ => return Err(strange()),
            }
        }
        Ok(Output::Value(Family::Kebab, Value::Object(Params::new())))
    }
}
