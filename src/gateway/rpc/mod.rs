//! Transmission's RPC: bytes in, messages to the actor, bytes out.
//!
//! Both dialects are one interface: a request is taken apart into our spelling, its method does one or two asks, and the
//! answer is spelled as the request was. No method pretends: what has no effect is an error, or reads back unchanged.

pub mod commands;
pub mod envelope;
pub mod fields;
pub mod names;

mod add;
mod blocks;
mod limits;
mod live;
mod location;
mod objects;
mod params;
mod session;
mod torrents;
mod trackers;
mod why;

use std::sync::Arc;

use serde_json::Value;

use super::Tools;
use super::asking::Asking;
use super::server::Options;
use crate::actor::handle::Handle;
use crate::actor::reply::AskError;
use crate::engine::message::{Answer, Message, Refusal};

/// As told in the handshake.
pub const VERSION_SEMVER: &str = session::RPC_VERSION_SEMVER;

use envelope::{Call, Dialect, Output, RpcError};

/// Requests of one batch; a longer one is refused.
const BATCH_MAX: usize = 1000;

/// What a method has at hand.
#[derive(Clone)]
pub struct Rpc {
    /// The way to the actor.
    pub asking: Asking,
    /// How it is configured.
    pub options: Arc<Options>,
    /// Names this run to clients that look whether they talk to the same one.
    pub session_id: Arc<str>,
    /// For torrents that are named by a URL.
    pub(super) tools: Arc<Tools>,
}

/// An answer on its way out.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    /// Of HTTP.
    pub status: u16,
    /// JSON; `None` where only notifications came.
    pub body: Option<Vec<u8>>,
}

impl Rpc {
    /// For commands that come by another way than HTTP.
    #[must_use]
    pub fn new(handle: Handle, options: Arc<Options>, tools: Arc<Tools>) -> Self {
        Self {
            asking: Asking::new(handle, options.timeout),
            options,
            session_id: "".into(),
            tools,
        }
    }

    /// Does what `body` asks for.
    pub async fn answer(&self, body: &[u8]) -> Answered {
        let value: Value = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(fault) => {
                let fault = RpcError::new(RpcError::PARSE, format!("not JSON: {fault}"));
                return answered(400, Dialect::JsonRpc, Some(Value::Null), Err(fault));
            }
        };
        match value {
            Value::Array(batch) => self.batch(batch).await,
            one => self.one(one).await,
        }
    }

    async fn batch(&self, batch: Vec<Value>) -> Answered {
        if batch.is_empty() || batch.len() > BATCH_MAX {
            let text = format!("a batch has 1 to {BATCH_MAX} requests");
            let fault = RpcError::new(RpcError::INVALID, text);
            return answered(200, Dialect::JsonRpc, Some(Value::Null), Err(fault));
        }
        let mut out = vec![b'['];
        for request in batch {
            if let Some(body) = self.one(request).await.body {
                if out.len() > 1 {
                    out.push(b',');
                }
                out.extend(body);
            }
        }
        out.push(b']');
        let body = (out.len() > 2).then_some(out);
        let status = if body.is_some() { 200 } else { 204 };
        Answered { status, body }
    }

    async fn one(&self, request: Value) -> Answered {
        match envelope::parse(request) {
            Err((dialect, tag, fault)) => answered(200, dialect, tag, Err(fault)),
            Ok(call) => {
                let outcome = self.call(&call).await;
                let status = match &outcome {
                    Err(fault) => fault.status.unwrap_or(200),
                    Ok(_) => 200,
                };
                answered(status, call.dialect, call.tag, outcome)
            }
        }
    }

    async fn call(&self, call: &Call) -> Result<Output, RpcError> {
        let params = &call.params;
        match call.method.as_str() {
            "torrent_get" => self.torrent_get(call.dialect, params).await,
            "torrent_add" => self.torrent_add(params).await,
            "torrent_set" => self.torrent_set(params).await,
            "torrent_remove" => self.torrent_remove(params).await,
            "session_get" => self.session_get(call.dialect, params).await,
            "session_set" => self.session_set(params).await,
            "session_stats" => self.session_stats().await,
            "session_close" => self.session_close(params),
            "peer_add" => self.peer_add(params).await,
            "torrent_set_location" => self.torrent_set_location(params).await,
            "torrent_rename_path" => self.torrent_rename_path(params).await,
            "free_space" => self.free_space(params).await,
            "group_get" => self.group_get(params).await,
            "group_set" => self.group_set(params).await,
            "blocklist_update" => self.blocklist_update().await,
            "ban_get" => self.ban_get().await,
            "ban_add" => self.ban_add(params).await,
            "ban_remove" => self.ban_remove(params).await,
            "metrics_get" => self.metrics_get().await,
            method => match torrents::action(method, params.contains_key("ids")) {
                Some(change) => self.torrents_change(params, change).await,
                None if UNSUPPORTED.contains(&method) => {
                    let text = format!("{method} is not supported by this version");
                    Err(RpcError::new(RpcError::METHOD, text))
                }
                None => Err(RpcError::new(RpcError::METHOD, "no method name")),
            },
        }
    }

    /// Asks the actor; its refusals and silences become errors.
    async fn ask(&self, message: Message) -> Result<Answer, RpcError> {
        let answer = match &message {
            Message::TorrentsChange(_)
            | Message::SettingsChange(_)
            | Message::SpeedSet { .. }
            | Message::Blocks(_)
            | Message::GroupSet(_) => self.asking.ask_patiently(message).await,
            // A directory may be made on a slow disk; of one that is only looked at nobody waits long.
            Message::Survey(survey) if survey.make => self.asking.ask_patiently(message).await,
            _ => self.asking.ask(message).await,
        };
        match answer {
            Ok(Answer::Refused(refusal)) => Err(refused(refusal)),
            Ok(answer) => Ok(answer),
            Err(fault) => Err(unanswered(fault)),
        }
    }
}

/// Methods that Transmission has and we do not.
const UNSUPPORTED: &[&str] = &["port_test"];

fn answered(
    status: u16,
    dialect: Dialect,
    tag: Option<Value>,
    outcome: Result<Output, RpcError>,
) -> Answered {
    let body = envelope::answer(dialect, tag, outcome);
    let status = if body.is_none() && status == 200 {
        204
    } else {
        status
    };
    Answered { status, body }
}

fn refused(refusal: Refusal) -> RpcError {
    let code = match refusal {
        Refusal::UnknownFile => RpcError::FILE_INDEX,
        Refusal::NotRemembered => RpcError::SYSTEM,
        _ => RpcError::INTERNAL,
    };
    RpcError::new(code, refusal.to_string())
}

/// No room is 503, silence is 504.
fn unanswered(fault: AskError) -> RpcError {
    let status = match fault {
        AskError::Full | AskError::Shed | AskError::Stopped => 503,
        _ => 504,
    };
    RpcError {
        status: Some(status),
        ..RpcError::new(RpcError::INTERNAL, fault.to_string())
    }
}

/// An answer of a kind that its message does not have.
fn strange() -> RpcError {
    RpcError::new(RpcError::INTERNAL, "the engine gave a strange answer")
}
