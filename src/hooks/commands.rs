//! What a line of a helper asks for, done: words, a request of the RPC, or an array of both.
//!
//! A line is done as a whole before the next one is looked at. What has `"wait": true` (or `--wait` among words) is sent in its
//! turn too, but watched on the side, so that the helper may go on meanwhile.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::wire::Answer;
use crate::actor::bus::{Filter, NoEvent, Subscription};
use crate::gateway::rpc::Rpc;
use crate::gateway::rpc::commands::{TOGETHER_MAX, call};
use crate::gateway::rpc::envelope::{self, Call, Dialect};
use crate::gateway::words;

/// How long a command that waits is waited for, when it does not say (`"wait": SECONDS`).
const WAIT: Duration = Duration::from_secs(30);

/// The longest wait it may ask for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How often a state is looked at without an event.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the event of a state that was reached is waited for, so that it is told before the answer.
const EVENT_TIME_MAX: Duration = Duration::from_millis(250);

/// One command, understood or not.
#[derive(Debug)]
struct Command {
    tag: Option<Value>,
    /// A JSON-RPC request without an id wants no answer.
    is_answered: bool,
    wait: Option<Duration>,
    calls: Result<Vec<Call>, String>,
    /// Torrents named by words, still to be looked up.
    torrents: Option<Vec<String>>,
}

impl Command {
    fn wrong(tag: Option<Value>, why: impl Into<String>) -> Self {
        Self {
            tag,
            is_answered: true,
            wait: None,
            calls: Err(why.into()),
            torrents: None,
        }
    }

    fn words(line: &str) -> Self {
        match words::parse(line) {
            Err((tag, why)) => Self::wrong(tag.map(Value::String), why),
            Ok(asked) if asked.is_waiting && asked.params.len() > 1 => Self::wrong(
                asked.tag.map(Value::String),
                "--wait is for one source at a time",
            ),
            Ok(asked) => {
                let params = asked.params.into_iter();
                Self {
                    tag: asked.tag.map(Value::String),
                    is_answered: true,
                    wait: asked.is_waiting.then_some(WAIT),
                    calls: Ok(params.map(|params| call(asked.method, params)).collect()),
                    torrents: asked.torrents,
                }
            }
        }
    }

    fn json(value: Value) -> Self {
        let mut value = match value {
            Value::String(line) => return Self::words(&line),
            other => other,
        };
        let wait = value.as_object_mut().and_then(|map| map.remove("wait"));
        let (tag, result) = match envelope::parse(value) {
            Err((_, tag, fault)) => (tag, Err(fault.text)),
            Ok(call) => (call.tag.clone(), Ok(call)),
        };
        let call = match result {
            Err(why) => return Self::wrong(tag, why),
            Ok(call) => call,
        };
        let wait = match wait {
            None | Some(Value::Bool(false) | Value::Null) => None,
            Some(Value::Bool(true)) => Some(WAIT),
            Some(other) => match other.as_f64() {
                Some(seconds) if (0.0..=WAIT_MAX.as_secs_f64()).contains(&seconds) => {
                    Some(Duration::from_secs_f64(seconds))
                }
                _ => return Self::wrong(tag, "wait: true, false, or seconds up to 3600"),
            },
        };
        Self {
            is_answered: call.dialect == Dialect::Classic || tag.is_some(),
            tag,
            wait,
            calls: Ok(vec![call]),
            torrents: None,
        }
    }
}

/// A line, understood.
#[derive(Debug)]
pub(super) struct Job(Vec<Command>);

impl Job {
    /// Understands a line. What makes no sense becomes an answer too.
    pub(super) fn parse(line: &str) -> Self {
        if !line.starts_with(['{', '[']) {
            return Self(vec![Command::words(line)]);
        }
        match serde_json::from_str::<Value>(line) {
            Err(fault) => Self(vec![Command::wrong(None, format!("not JSON: {fault}"))]),
            Ok(Value::Array(list)) if list.is_empty() || list.len() > TOGETHER_MAX => {
                let why = format!("an array has 1 to {TOGETHER_MAX} commands");
                Self(vec![Command::wrong(None, why)])
            }
            Ok(Value::Array(list)) => Self(list.into_iter().map(Command::json).collect()),
            Ok(one) => Self(vec![Command::json(one)]),
        }
    }

    /// Does it: what can be answered now, and what has to be waited for.
    pub(super) async fn run(mut self, rpc: Rc<Rpc>) -> (Vec<Answer>, Option<Waiting>) {
        self.look_up(&rpc).await;
        // Listening begins before anything is done, so that no event of it is missed.
        let mut waiting = Waiting::new(&rpc, &self.0).await;
        let calls: Vec<Call> = self
            .0
            .iter()
            .flat_map(|one| one.calls.iter().flatten().cloned())
            .collect();
        let mut outcomes = rpc.commands(&calls).await.into_iter();
        let mut answers = Vec::new();
        for (at, command) in self.0.into_iter().enumerate() {
            let outcome = match command.calls {
                Err(why) => Err(why),
                Ok(calls) => together(outcomes.by_ref().take(calls.len()).collect()),
            };
            let answer = Answer {
                tag: command.tag,
                outcome,
            };
            if answer.outcome.is_ok()
                && let Some(item) = waiting.as_mut().and_then(|waiting| waiting.item(at))
            {
                item.answer = command.is_answered.then_some(answer);
            } else if command.is_answered {
                answers.push(answer);
            }
        }
        (answers, waiting)
    }

    /// Puts numbers in the place of what torrents are called among words.
    async fn look_up(&mut self, rpc: &Rpc) {
        if self.0.iter().all(|command| command.torrents.is_none()) {
            return;
        }
        let all = torrents(rpc, &Value::Null, &["id", "hash_string"]).await;
        for command in &mut self.0 {
            let Some(names) = &command.torrents else {
                continue;
            };
            let ids = match &all {
                Ok(all) => words::select(all, names),
                Err(why) => Err(why.clone()),
            };
            match (&mut command.calls, ids) {
                (Ok(calls), Ok(ids)) => {
                    for call in calls {
                        call.params.insert("ids".to_owned(), json!(ids));
                    }
                }
                (calls, Err(why)) => *calls = Err(why),
                (Err(_), Ok(_)) => {}
            }
        }
    }
}

/// The outcome of a command that was one call, or several (`add`): then all results, or the first fault.
fn together(mut outcomes: Vec<Result<Vec<u8>, String>>) -> Result<Vec<u8>, String> {
    if outcomes.len() == 1 {
        return outcomes.remove(0);
    }
    let mut list = b"[".to_vec();
    for (at, outcome) in outcomes.into_iter().enumerate() {
        if at > 0 {
            list.push(b',');
        }
        list.extend(outcome?);
    }
    list.push(b']');
    Ok(list)
}

/// Some fields of the torrents that `ids` means.
async fn torrents(rpc: &Rpc, ids: &Value, fields: &[&str]) -> Result<Vec<Value>, String> {
    let mut params = json!({ "fields": fields });
    if !ids.is_null() {
        params["ids"] = ids.clone();
    }
    let outcome = rpc.commands(&[call("torrent_get", params)]).await.pop();
    let bytes = outcome.unwrap_or_else(|| Err("no answer".to_owned()))?;
    let mut answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match answer["torrents"].take() {
        Value::Array(torrents) => Ok(torrents),
        _ => Err("no answer".to_owned()),
    }
}

/// What a command is about to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// All trade.
    Started,
    /// None trades.
    Stopped,
    /// None is being checked.
    Checked,
    /// None is there.
    Gone,
    /// It is there, and not being checked.
    Added,
}

/// Whether it has been reached.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Reached,
    NotYet,
    /// It will not be.
    Failed(String),
}

impl Effect {
    /// Of a method; `None` where its own answer says that it took effect.
    fn of(method: &str) -> Option<Self> {
        Some(match method {
            "torrent_start" | "torrent_start_now" => Self::Started,
            "torrent_stop" => Self::Stopped,
            "torrent_verify" => Self::Checked,
            "torrent_remove" => Self::Gone,
            "torrent_add" => Self::Added,
            _ => return None,
        })
    }

    fn judge(self, torrents: &[Value]) -> Verdict {
        if self == Self::Gone {
            return if torrents.is_empty() {
                Verdict::Reached
            } else {
                Verdict::NotYet
            };
        }
        for torrent in torrents {
            let state = torrent["state"].as_str().unwrap_or_default();
            let is_there = match self {
                Self::Started => matches!(state, "downloading" | "seeding" | "parked" | "metadata"),
                Self::Stopped => matches!(state, "stopped" | "paused" | "error"),
                Self::Checked | Self::Added => state != "checking",
                Self::Gone => true,
            };
            if state == "error" && self != Self::Stopped {
                let why = torrent["error_string"].as_str().unwrap_or_default();
                return Verdict::Failed(format!("error: {why}"));
            }
            if !is_there {
                return Verdict::NotYet;
            }
        }
        Verdict::Reached
    }
}

/// One command that waits.
#[derive(Debug)]
struct Item {
    /// Its place in the line.
    at: usize,
    effect: Effect,
    ids: Value,
    deadline: Instant,
    /// Whether there was nothing to reach.
    was_reached: bool,
    /// `None` until it was sent and done, and where no answer is wanted.
    answer: Option<Answer>,
}

/// The commands of a line that wait until they took effect.
#[derive(Debug)]
pub(super) struct Waiting {
    items: Vec<Item>,
    subscription: Subscription,
    news: Arc<Notify>,
}

impl Waiting {
    async fn new(rpc: &Rpc, commands: &[Command]) -> Option<Self> {
        let mut items = Vec::new();
        for (at, command) in commands.iter().enumerate() {
            let Ok([call]) = command.calls.as_deref() else {
                continue;
            };
            if let (Some(wait), Some(effect)) = (command.wait, Effect::of(&call.method)) {
                items.push(Item {
                    at,
                    effect,
                    ids: call.params.get("ids").cloned().unwrap_or_default(),
                    deadline: Instant::now() + wait,
                    was_reached: false,
                    answer: None,
                });
            }
        }
        if items.is_empty() {
            return None;
        }
        let news = Arc::new(Notify::new());
        let filter = Filter::of(["session.*", "torrent.*"]).unwrap_or(Filter::ALL);
        let wake = Arc::clone(&news);
        let handle = rpc.asking.handle();
        let subscription = handle.subscribe_waking(filter, move || wake.notify_one());
        for item in items.iter_mut().filter(|item| item.effect != Effect::Added) {
            let found = look(rpc, &item.ids).await;
            item.was_reached =
                found.is_ok_and(|found| item.effect.judge(&found) == Verdict::Reached);
        }
        Some(Self {
            items,
            subscription,
            news,
        })
    }

    fn item(&mut self, at: usize) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.at == at)
    }

    /// Waits for all of them; the answers.
    pub(super) async fn finish(mut self, rpc: Rc<Rpc>) -> Vec<Answer> {
        let mut answers = Vec::new();
        for mut item in std::mem::take(&mut self.items) {
            let Some(mut answer) = item.answer.take() else {
                continue;
            };
            if item.effect == Effect::Added {
                item.ids = added(&answer);
            }
            if let Err(why) = self.reach(&rpc, &item).await {
                answer.outcome = Err(why);
            }
            answers.push(answer);
        }
        answers
    }

    async fn reach(&self, rpc: &Rpc, item: &Item) -> Result<(), String> {
        let mut has_event = item.was_reached || matches!(item.effect, Effect::Added | Effect::Gone);
        let mut reached: Option<Instant> = None;
        loop {
            has_event |= self.take_events();
            if reached.is_none() {
                match item.effect.judge(&look(rpc, &item.ids).await?) {
                    Verdict::Reached => reached = Some(Instant::now()),
                    Verdict::Failed(why) => return Err(why),
                    Verdict::NotYet => {}
                }
            }
            let now = Instant::now();
            let until = match reached {
                Some(since) if has_event || now >= since + EVENT_TIME_MAX => return Ok(()),
                Some(since) => since + EVENT_TIME_MAX,
                None if now >= item.deadline => {
                    return Err("it has not taken effect in time, and may still do so".to_owned());
                }
                None => item.deadline.min(now + LOOK_EVERY),
            };
            // Either way it is looked at again.
            let _ = tokio::time::timeout_at(until, self.news.notified()).await;
        }
    }

    /// Whether there was an event.
    fn take_events(&self) -> bool {
        let mut any = false;
        loop {
            match self.subscription.try_next() {
                Ok(_) => any = true,
                Err(NoEvent::Empty | NoEvent::Ended) => return any,
            }
        }
    }
}

async fn look(rpc: &Rpc, ids: &Value) -> Result<Vec<Value>, String> {
    torrents(rpc, ids, &["id", "state", "error_string"]).await
}

/// The number of the torrent that was added.
fn added(answer: &Answer) -> Value {
    let result = answer.outcome.as_deref().unwrap_or_default();
    let result: Value = serde_json::from_slice(result).unwrap_or_default();
    let names = [
        "torrent_added",
        "torrent-added",
        "torrent_duplicate",
        "torrent-duplicate",
    ];
    let id = names
        .iter()
        .map(|name| &result[*name]["id"])
        .find(|id| id.is_u64());
    json!(id.into_iter().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods(line: &str) -> Vec<Result<String, String>> {
        let job = Job::parse(line);
        let method = |command: Command| command.calls.map(|calls| calls[0].method.clone());
        job.0.into_iter().map(method).collect()
    }

    #[test]
    fn lines_are_words_requests_or_arrays_of_both() {
        let ok = |method: &str| Ok(method.to_owned());
        let wrong = |why: &str| Err(why.to_owned());
        #[rustfmt::skip]
        let table = [
            ("stats",                                               vec![ok("session_stats")]),
            (r#"{"method":"session-stats"}"#,                       vec![ok("session_stats")]),
            (r#"{"jsonrpc":"2.0","method":"torrent_get","id":1}"#,  vec![ok("torrent_get")]),
            (r#"["start 1",{"method":"torrent-stop"},7]"#,          vec![ok("torrent_start"), ok("torrent_stop"), wrong("a request is an object")]),
            ("[]",                                                  vec![wrong("an array has 1 to 256 commands")]),
            ("{}",                                                  vec![wrong("no method name")]),
            (r#"{"method":"x","wait":-1}"#,                         vec![wrong("wait: true, false, or seconds up to 3600")]),
        ];
        for (line, want) in table {
            assert_eq!(methods(line), want, "{line}");
        }
        assert!(
            methods("{\"method\":")[0]
                .as_ref()
                .unwrap_err()
                .starts_with("not JSON: ")
        );
        let job = Job::parse(r#"{"jsonrpc":"2.0","method":"torrent_get"}"#);
        assert!(!job.0[0].is_answered, "a notification");
        let job = Job::parse(r#"{"method":"torrent-start","wait":2.5,"tag":3}"#);
        assert_eq!(job.0[0].wait, Some(Duration::from_millis(2500)));
        assert_eq!(job.0[0].tag, Some(json!(3)));
    }

    #[test]
    fn effects_are_judged_by_the_states() {
        let there = |state: &str| json!({"state": state, "error_string": "disk"});
        let failed = || Verdict::Failed("error: disk".to_owned());
        #[rustfmt::skip]
        let table = [
            (Effect::Started, vec![there("seeding"), there("downloading")], Verdict::Reached),
            (Effect::Started, vec![there("seeding"), there("checking")],    Verdict::NotYet),
            (Effect::Started, vec![there("error")],                         failed()),
            (Effect::Stopped, vec![there("stopped")],                       Verdict::Reached),
            (Effect::Stopped, vec![there("error")],                         Verdict::Reached),
            (Effect::Stopped, vec![there("seeding")],                       Verdict::NotYet),
            (Effect::Checked, vec![there("checking")],                      Verdict::NotYet),
            (Effect::Checked, vec![there("stopped")],                       Verdict::Reached),
            (Effect::Gone,    vec![there("stopped")],                       Verdict::NotYet),
            (Effect::Gone,    vec![],                                       Verdict::Reached),
        ];
        for (effect, torrents, want) in table {
            assert_eq!(effect.judge(&torrents), want, "{effect:?} {torrents:?}");
        }
    }
}
