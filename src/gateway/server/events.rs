//! `GET /events`: what happens, as server-sent events, from a bounded log that every listener reads at its own pace.
//!
//! One subscription of the bus feeds the log. A listener that comes back with `Last-Event-ID` goes on behind it, as far as the
//! log reaches; what it missed beyond that it sees by the gap in `seq`. A slow listener slows nobody: it reads later, or misses.

#![allow(
    clippy::disallowed_types,
    reason = "tasks of one thread share the log; nothing waits while it is held"
)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::{Notify, mpsc};

use super::routes::Front;
use crate::actor::bus::{Filter, NoEvent, Record};
use crate::actor::handle::Handle;

/// Events that the log keeps.
const LOG_MAX: usize = 4096;

/// Frames on their way to one listener.
const FRAMES_MAX: usize = 64;

/// A listener hears at least a comment so often, so that both ends learn when the other is gone.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// The last events.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    records: Mutex<VecDeque<Arc<Record>>>,
    /// Told with each addition.
    more: Notify,
}

impl EventLog {
    fn add(&self, record: Arc<Record>) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == LOG_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// The number of the last event, 0 before the first.
    fn last(&self) -> u64 {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.back().map_or(0, |record| record.seq)
    }

    /// At most `count` events behind `seq`.
    fn behind(&self, seq: u64, count: usize) -> Vec<Arc<Record>> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let from = records.partition_point(|record| record.seq <= seq);
        records.range(from..).take(count).cloned().collect()
    }
}

/// Feeds the log until the actor ends.
pub(super) fn listen(handle: &Handle, log: &Arc<EventLog>) {
    let news = Arc::new(Notify::new());
    let subscription = {
        let news = Arc::clone(&news);
        handle.subscribe_waking(Filter::ALL, move || news.notify_one())
    };
    let log = Arc::clone(log);
    tokio::task::spawn_local(async move {
        loop {
            match subscription.try_next() {
                Ok(record) => log.add(record),
                Err(NoEvent::Empty) => {
                    log.more.notify_waiters();
                    news.notified().await;
                }
                Err(NoEvent::Ended) => return,
            }
        }
    });
}

/// `?type=piece.completed,session.*`; all events when it is not there.
fn filter_of(query: Option<&str>) -> Result<Filter, String> {
    let types = query.unwrap_or_default().split('&');
    let names: Vec<String> = types
        .filter_map(|pair| pair.strip_prefix("type="))
        .flat_map(|list| {
            list.replace("%2C", ",")
                .replace("%2c", ",")
                .split(',')
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return Ok(Filter::ALL);
    }
    Filter::of(names.iter().map(String::as_str))
        .map_err(|name| format!("no event is named {name}\n"))
}

pub(super) async fn events(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let filter = match filter_of(request.uri().query()) {
        Ok(filter) => filter,
        Err(text) => return (StatusCode::BAD_REQUEST, text).into_response(),
    };
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let log = Arc::clone(&front.events);
    let last = last.unwrap_or_else(|| log.last());
    let (frames, receiver) = mpsc::channel(FRAMES_MAX);
    tokio::task::spawn_local(tell(log, filter, last, frames));
    let typed = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (typed, Body::new(Frames(receiver))).into_response()
}

/// Writes events to one listener until it is gone.
async fn tell(log: Arc<EventLog>, filter: Filter, mut last: u64, frames: mpsc::Sender<Bytes>) {
    // A first comment: the listener knows that it is connected.
    if frames
        .send(Bytes::from_static(b": linnet\n\n"))
        .await
        .is_err()
    {
        return;
    }
    loop {
        let more = log.more.notified();
        tokio::pin!(more);
        // Heard from here on, so that nothing is missed between the look and the wait.
        more.as_mut().enable();
        let records = log.behind(last, FRAMES_MAX);
        if records.is_empty() {
            let waited = tokio::time::timeout(COMMENT_EVERY, more).await;
            if waited.is_err() && frames.send(Bytes::from_static(b":\n\n")).await.is_err() {
                return;
            }
            continue;
        }
        for record in records {
            last = record.seq;
            if filter.takes(&record.event) && frames.send(frame(&record)).await.is_err() {
                return;
            }
        }
    }
}

fn frame(record: &Record) -> Bytes {
    let name = record.event.name();
    let json = serde_json::to_string(record).unwrap_or_default();
    format!("id: {}\nevent: {name}\ndata: {json}\n\n", record.seq).into()
}

/// A body that goes on as long as its sender does.
struct Frames(mpsc::Receiver<Bytes>);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Event, Torrent};
    use crate::ids::InfoHash;

    fn record(seq: u64) -> Arc<Record> {
        Arc::new(Record {
            seq,
            time: 0,
            event: Event::TorrentAdded(Torrent {
                info_hash: InfoHash([1; 20]),
                name: String::new(),
            }),
        })
    }

    #[test]
    fn the_log_is_bounded_and_read_from_anywhere() {
        let log = EventLog::default();
        assert_eq!(log.last(), 0);
        for seq in 1..=LOG_MAX as u64 + 10 {
            log.add(record(seq));
        }
        let seqs = |behind, count| -> Vec<u64> {
            let records = log.behind(behind, count);
            records.iter().map(|record| record.seq).collect()
        };
        assert_eq!(
            seqs(0, 2),
            [11, 12],
            "the oldest are gone, and the gap shows"
        );
        assert_eq!(seqs(100, 3), [101, 102, 103]);
        assert!(seqs(log.last(), 3).is_empty());
    }

    #[test]
    fn filters_come_from_the_query() {
        assert_eq!(filter_of(None), Ok(Filter::ALL));
        assert_eq!(filter_of(Some("a=b")), Ok(Filter::ALL));
        let one = Filter::of(["torrent.added", "session.*"]);
        assert_eq!(
            filter_of(Some("type=torrent.added,session.*")).ok(),
            one.ok()
        );
        assert!(filter_of(Some("type=nonsense")).is_err());
    }
}
