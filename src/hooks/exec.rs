//! A command for one event: started with the event on its stdin and in its variables, and left to itself.
//!
//! What waits, waits in the bounded buffer of the subscription: a flood of events never becomes a flood of processes.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::spawn::{Kind, Start};
use super::{Shared, in_steps, wire};
use crate::actor::bus::{Filter, NoEvent, Record, Subscription};
use crate::config::hooks::Exec;
use crate::gateway::rpc::commands::call;

/// Commands that run at the same time; the events of the others wait, as many as a subscription holds
/// ([`crate::actor::bus::BUFFERED_MAX`]), and what comes then is left out and logged.
const RUNNING_MAX: usize = 4;

/// For one command; then it is sent TERM, and KILL.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Between TERM and KILL.
const TERM_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of one variable; a longer one is cut.
const VARIABLE_BYTES_MAX: usize = 4096;

/// Runs commands until the list of them has no sender any more; those that run then are over when this is.
pub(super) async fn run(shared: Rc<Shared>, mut list: watch::Receiver<Vec<Exec>>) {
    let mut running: JoinSet<()> = JoinSet::new();
    let mut backlog = Backlog::new();
    loop {
        let hooks = list.borrow_and_update().clone();
        let names = hooks.iter().map(|hook| hook.event.as_str());
        let filter = Filter::of(names).unwrap_or(Filter::ALL);
        let news = Arc::new(Notify::new());
        let wake = Arc::clone(&news);
        let subscription = (shared.handle).subscribe_waking(filter, move || wake.notify_one());
        let over = tokio::select! {
            over = list.changed() => over,
            () = feed(&shared, &hooks, &subscription, &news, &mut running, &mut backlog) => return,
        };
        // What waited for the old commands is not forgotten for the new ones.
        while let Ok(record) = subscription.try_next() {
            queue(&hooks, &record, &mut backlog);
        }
        if over.is_err() {
            // They have been told; whoever waits for this has a deadline.
            while running.join_next().await.is_some() {}
            return;
        }
    }
}

/// Commands that wait, and the events they are for: of one event as many as there are entries, and beyond a change of the list
/// as many as a subscription held.
type Backlog = VecDeque<(Vec<String>, Arc<Record>)>;

fn queue(hooks: &[Exec], record: &Arc<Record>, backlog: &mut Backlog) {
    for hook in hooks {
        let is_meant = Filter::of([hook.event.as_str()]).is_ok_and(|it| it.takes(&record.event));
        if is_meant {
            backlog.push_back((hook.command.clone(), Arc::clone(record)));
        }
    }
}

/// Starts what the events ask for, until there are no more events.
async fn feed(
    shared: &Rc<Shared>,
    hooks: &[Exec],
    subscription: &Subscription,
    news: &Notify,
    running: &mut JoinSet<()>,
    backlog: &mut Backlog,
) {
    let mut missed = 0;
    loop {
        while running.len() >= RUNNING_MAX {
            running.join_next().await;
        }
        if let Some((command, record)) = backlog.pop_front() {
            running.spawn_local(one(Rc::clone(shared), command, record));
            continue;
        }
        let record = match subscription.try_next() {
            Ok(record) => record,
            Err(NoEvent::Ended) => return,
            Err(NoEvent::Empty) => {
                if subscription.missed() > missed {
                    let more = subscription.missed() - missed;
                    log::warn!("hooks.exec: {more} events were left out: too many waited");
                    missed += more;
                }
                tokio::select! {
                    () = news.notified() => {}
                    Some(_) = running.join_next() => {}
                }
                continue;
            }
        };
        queue(hooks, &record, backlog);
    }
}

/// One command from its start to its end.
async fn one(shared: Rc<Shared>, command: Vec<String>, record: Arc<Record>) {
    let name = command.first().cloned().unwrap_or_default();
    let start = Start {
        command: &command,
        variables: variables(&shared, &record).await,
        is_heard: false,
        kind: Kind::Command,
    };
    let (mut child, group) = match start.start(&shared.groups) {
        Ok(started) => started,
        Err(why) => return log::error!("hooks.exec: {why}"),
    };
    let mut line = serde_json::to_vec(&*record).unwrap_or_default();
    line.push(b'\n');
    let stdin = child.stdin.take();
    // On the side: one that never reads it is not waited for longer than any other.
    let tell = async move {
        if let Some(mut stdin) = stdin {
            // It need not read it.
            let _ = stdin.write_all(&line).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(TIME_MAX, child.wait()) => ended,
        () = tell => return,
    };
    match ended {
        Ok(Ok(status)) => {
            if !status.success() {
                log::warn!("hooks.exec: {name}: ended: {status}");
            }
            // What it leaves running in the background is its own.
            group.release();
        }
        Ok(Err(fault)) => log::error!("hooks.exec: {name}: {fault}"),
        Err(_) => {
            log::error!("hooks.exec: {name}: ended, after {} s", TIME_MAX.as_secs());
            group.signal(Signal::TERM);
            in_steps(&mut child, &group, TERM_TIME_MAX).await;
        }
    }
}

/// The event in variables, `LINNET_` and its field; and what the torrent is called and where it is.
async fn variables(shared: &Shared, record: &Record) -> Vec<(String, String)> {
    let mut fields = wire::fields(record);
    fields.insert("event".to_owned(), json!(record.event.name()));
    fields.insert("seq".to_owned(), json!(record.seq));
    fields.insert("time".to_owned(), json!(record.time));
    if let Some(hash) = fields.get("info_hash") {
        let asked = json!({ "ids": [hash], "fields": ["id", "name", "download_dir"] });
        let asked = [call("torrent_get", asked)];
        let outcome = shared.rpc().commands(&asked).await.pop();
        let answer = outcome.and_then(Result::ok).unwrap_or_default();
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if let Some(torrent) = answer["torrents"][0].as_object() {
            for (key, value) in torrent {
                fields.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    let variable = |(key, value): (String, Value)| {
        let name = format!("LINNET_{}", key.to_ascii_uppercase());
        (name, tidy(&wire::flat(&value)))
    };
    fields.into_iter().map(variable).collect()
}

/// A text that a variable can hold: without NUL, of bounded length.
fn tidy(text: &str) -> String {
    let mut out: String = text.chars().filter(|c| *c != '\0').collect();
    if out.len() > VARIABLE_BYTES_MAX {
        let mut at = VARIABLE_BYTES_MAX;
        while !out.is_char_boundary(at) {
            at -= 1;
        }
        out.truncate(at);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_hold_no_nul_and_are_bounded() {
        assert_eq!(tidy("a\0b\n"), "ab\n");
        let long = tidy(&"é".repeat(VARIABLE_BYTES_MAX));
        assert_eq!(long.len(), VARIABLE_BYTES_MAX);
        assert_eq!(tidy(&format!("x{long}")).len(), VARIABLE_BYTES_MAX - 1);
    }
}
