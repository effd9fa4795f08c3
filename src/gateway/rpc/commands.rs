//! Commands that come by another way than HTTP: taken apart already, answered by their result alone, and those that stand
//! together applied together.

use super::envelope::{self, Call, Dialect, RpcError};
use super::torrents::{action, settings};
use super::{Rpc, params, refused, strange, unanswered};
use crate::actor::mailbox::BATCH_MAX;
use crate::engine::library::{Change, TorrentsChange};
use crate::engine::message::{Answer, Message};

/// Commands given together, which is what one turn of the actor takes; more are refused.
pub const TOGETHER_MAX: usize = 256;

const _: () = assert!(TOGETHER_MAX <= BATCH_MAX, "they fit into one message");

/// What came of a command: its result as JSON, spelled as the command was, or the reason.
pub type Commanded = Result<Vec<u8>, String>;

impl Rpc {
    /// Does what `calls` ask for, in order, with an outcome for each.
    ///
    /// Neighbours that only change torrents (start, stop, verify, reannounce, remove, the queue, and what `torrent_set` takes
    /// besides files) are one message of the actor: they are applied in one turn. All others are asked one after the other.
    pub async fn commands(&self, calls: &[Call]) -> Vec<Commanded> {
        let mut outcomes = Vec::with_capacity(calls.len());
        let mut rest = calls;
        while let Some(first) = rest.first() {
            let mut run: Vec<Result<Vec<Message>, RpcError>> = Vec::new();
            let mut room = BATCH_MAX;
            for call in rest {
                let Some(messages) = changes(call) else {
                    break;
                };
                // Only `torrent_set` makes several messages: an array full of those takes a few turns.
                let count = messages.as_ref().map_or(0, Vec::len);
                if count > room {
                    break;
                }
                room -= count;
                run.push(messages);
            }
            if run.is_empty() {
                let outcome = self.call(first).await;
                let result = outcome.map(|output| envelope::result(first.dialect, output));
                outcomes.push(result.map_err(|fault| fault.text));
                rest = &rest[1..];
            } else {
                rest = &rest[run.len()..];
                outcomes.extend(self.together(run).await);
            }
        }
        outcomes
    }

    /// One turn for all of them; those that make no sense are answered so, and the others are done.
    async fn together(&self, run: Vec<Result<Vec<Message>, RpcError>>) -> Vec<Commanded> {
        let mut messages = Vec::new();
        let mut shares: Vec<Result<usize, String>> = Vec::with_capacity(run.len());
        for one in run {
            shares.push(one.map_err(|fault| fault.text).map(|mut mine| {
                let count = mine.len();
                messages.append(&mut mine);
                count
            }));
        }
        let answered = if messages.is_empty() {
            Ok(Vec::new())
        } else {
            self.asking.ask_batch(messages).await
        };
        let mut answers = match answered {
            Ok(answers) => answers.into_iter(),
            Err(fault) => {
                let text = unanswered(fault).text;
                let failed = |share: Result<usize, String>| match share {
                    Ok(_) => Err(text.clone()),
                    Err(why) => Err(why),
                };
                return shares.into_iter().map(failed).collect();
            }
        };
        let outcome = |share: Result<usize, String>| {
            let count = share?;
            // All of them are taken from the line, the first fault is told.
            let mut outcome = Ok(b"{}".to_vec());
            for answer in answers.by_ref().take(count) {
                let fault = match answer {
                    Answer::Changed(_) => continue,
                    Answer::Refused(refusal) => refused(refusal),
                    _ => strange(),
                };
                outcome = outcome.and(Err(fault.text));
            }
            outcome
        };
        shares.into_iter().map(outcome).collect()
    }
}

/// The messages of a command that only changes torrents; `None` for any other.
fn changes(call: &Call) -> Option<Result<Vec<Message>, RpcError>> {
    let params = &call.params;
    let changes = match call.method.as_str() {
        "torrent_remove" => params::flag(params, "delete_local_data").map(|delete| {
            let delete = delete.unwrap_or(false);
            vec![Change::Remove { delete }]
        }),
        "torrent_set" => match settings(params) {
            Ok(settings) if settings.files.is_empty() => Ok(settings.changes),
            Ok(_) => return None,
            Err(fault) => Err(fault),
        },
        // What a helper stops is paused.
        method => Ok(vec![action(method, false)?]),
    };
    let which = params::ids(params);
    Some(changes.and_then(|changes| {
        let which = which?;
        let order = TorrentsChange { which, changes };
        Ok(vec![Message::TorrentsChange(Box::new(order))])
    }))
}

/// A call of our own making, in our spelling.
#[must_use]
pub fn call(method: &str, params: serde_json::Value) -> Call {
    let params = match params {
        serde_json::Value::Object(params) => params,
        _ => serde_json::Map::new(),
    };
    Call {
        dialect: Dialect::JsonRpc,
        method: method.to_owned(),
        params,
        tag: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_changes_torrents_can_be_applied_together() {
        #[rustfmt::skip]
        let table = [
            ("torrent_start",  json!({"ids": 1}),                              Some(Ok(1))),
            ("torrent_remove", json!({"ids": [1, 2]}),                         Some(Ok(1))),
            ("torrent_remove", json!({"ids": [1], "delete_local_data": "x"}),  Some(Err(()))),
            ("torrent_stop",   json!({"ids": {}}),                             Some(Err(()))),
            ("torrent_set",    json!({"labels": ["a"], "queue_position": 2}),  Some(Ok(1))),
            ("torrent_set",    json!({"files_wanted": [1]}),                   None),
            ("torrent_get",    json!({}),                                      None),
            ("nonsense",       json!({}),                                      None),
        ];
        for (method, params, want) in table {
            let found = changes(&call(method, params.clone()));
            let found = found.map(|messages| messages.map(|all| all.len()).map_err(|_| ()));
            assert_eq!(found, want, "{method} {params}");
        }
    }
}
