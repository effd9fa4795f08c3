//! The gateway: one thread that speaks HTTP and resolves names, for an actor that may never wait.
//!
//! It owns no state. A [`Fetch`] goes in by a bounded queue, a [`Fetched`] comes back by a queue whose room was reserved
//! when the fetch was taken, so neither side ever waits for the other. Everything runs on one current-thread runtime: no
//! blocking pool is grown behind our back, names included (see [`resolve`]).
//!
//! Of a daemon it is the front door too: [`server`] takes HTTP requests, [`rpc`] makes messages of them.

#![allow(
    clippy::disallowed_methods,
    reason = "the gateway owns its thread; nothing here decides for the engine"
)]

pub mod asking;
pub mod client;
pub mod remote;
pub mod resolve;
pub mod rpc;
pub mod server;
#[cfg(test)]
mod tests;
pub mod words;

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crossbeam_channel as channel;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::actor::handle::Handle;
use crate::engine::message::{Fetch, FetchOutcome, FetchTask, Fetched};
use crate::engine::pace;
use crate::ids::JobId;

use client::Client;
use resolve::Resolver;
use server::{Options, Server};

/// Fetches taken and not yet collected. One more is answered with an error at once.
pub const FETCHES_MAX: usize = 4096;

/// Fetches under way at once; the others wait in the gateway's line.
pub const AT_ONCE_MAX: usize = 256;

/// Of those, how many may go to one host: one that hangs must not take all the places. Announces have a smaller share, which
/// the engine keeps (see [`pace`]).
pub const AT_ONCE_PER_HOST_MAX: usize = 32;

/// Fetches of [`Gateway::get`] under way; one more is answered with an error at once.
pub const GETS_MAX: usize = 64;

const _: () = assert!(
    AT_ONCE_PER_HOST_MAX < AT_ONCE_MAX && AT_ONCE_MAX <= FETCHES_MAX,
    "the line is longer than what it feeds"
);
const _: () = assert!(
    pace::HTTP_PER_HOST_ENDING <= AT_ONCE_PER_HOST_MAX
        && pace::HTTP_MAX < AT_ONCE_MAX
        && pace::HTTP_MAX + pace::UDP_MAX <= FETCHES_MAX,
    "an announce whose turn it is waits for nobody else"
);

/// The gateway, from the side of the thread that asks.
///
/// Dropping it ends the thread too, without waiting for it.
pub struct Gateway {
    requests: mpsc::Sender<Request>,
    completions: channel::Receiver<Fetched>,
    /// Set while a wake is on its way to a reader that has not yet found the queue empty.
    woken: Arc<AtomicBool>,
    waker: Arc<dyn Fn() + Send + Sync>,
    /// Taken and not yet collected: at most [`FETCHES_MAX`].
    outstanding: usize,
    /// One more holder than there are GETs under way.
    gets: Arc<()>,
    /// Refused for want of room: at most what the engine asks for in one turn.
    refused: VecDeque<Fetched>,
    /// Closed when the thread has ended.
    ended: channel::Receiver<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Gateway {
    /// Starts the thread. `waker` is called once for each burst of answers, from the gateway's thread or from within
    /// [`Gateway::fetch`]; it must not block.
    ///
    /// # Panics
    /// When the system has no thread or descriptor left, at the start of the program.
    #[must_use]
    pub fn start(waker: impl Fn() + Send + Sync + 'static) -> Self {
        let (requests, inbox) = mpsc::channel(FETCHES_MAX + GETS_MAX);
        let (outbox, completions) = channel::bounded(FETCHES_MAX);
        let (end, ended) = channel::bounded(0);
        let woken = Arc::new(AtomicBool::new(false));
        let waker: Arc<dyn Fn() + Send + Sync> = Arc::new(waker);
        let answers = Answers {
            outbox,
            woken: Arc::clone(&woken),
            waker: Arc::clone(&waker),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .expect("a poller and a timer at the start of the program");
        let thread = thread::Builder::new()
            .name("gateway".to_owned())
            .spawn(move || {
                runtime.block_on(serve(inbox, answers));
                drop(runtime);
                drop(end);
            })
            .expect("a thread at the start of the program");
        Self {
            requests,
            completions,
            woken,
            waker,
            outstanding: 0,
            gets: Arc::new(()),
            refused: VecDeque::new(),
            ended,
            thread: Some(thread),
        }
    }

    /// Takes a job; never blocks. Exactly one [`Fetched`] comes back by [`Gateway::next`], with an error when there was no
    /// room.
    pub fn fetch(&mut self, fetch: Fetch) {
        if self.outstanding == FETCHES_MAX {
            let text = format!("more than {FETCHES_MAX} requests are waiting");
            self.refused
                .push_back(failed(fetch.id, wrapper(&fetch.task), text));
            (self.waker)();
            return;
        }
        match self.requests.try_send(Request::Fetch(fetch)) {
            Ok(()) => self.outstanding += 1,
            Err(
                mpsc::error::TrySendError::Full(request)
                | mpsc::error::TrySendError::Closed(request),
            ) => {
                let Request::Fetch(fetch) = request else {
                    unreachable!("it was a fetch")
                };
                let text = "the gateway has ended".to_owned();
                self.refused
                    .push_back(failed(fetch.id, wrapper(&fetch.task), text));
                (self.waker)();
            }
        }
    }

    /// The next answer, in the order in which they came; `None` when there is none now, and the next one calls the waker.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator would promise that None is the end"
    )]
    pub fn next(&mut self) -> Option<Fetched> {
        if let Some(fetched) = self.refused.pop_front() {
            return Some(fetched);
        }
        let fetched = self.completions.try_recv().ok().or_else(|| {
            // Cleared before the last look: what comes after that look wakes us again.
            self.woken.store(false, Ordering::SeqCst);
            self.completions.try_recv().ok()
        })?;
        self.outstanding -= 1;
        Some(fetched)
    }

    /// Begins to GET `url` for a person who waits for it; never blocks.
    #[must_use]
    pub fn get(&self, url: &str, bytes_max: usize, timeout: Duration) -> Pending {
        let (reply, answer) = channel::bounded(1);
        let request = Request::Get {
            url: url.to_owned(),
            bytes_max,
            timeout,
            reply: reply.clone(),
            _place: Arc::clone(&self.gets),
        };
        // The room beyond FETCHES_MAX is for these alone; the request itself holds one place already.
        if Arc::strong_count(&self.gets) > GETS_MAX + 1 || self.requests.try_send(request).is_err()
        {
            let _ = reply.try_send(Err("too many requests are waiting".to_owned()));
        }
        Pending { answer }
    }

    /// GETs `url` and waits for it.
    ///
    /// # Errors
    /// One line for a person.
    pub fn get_blocking(
        &self,
        url: &str,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Vec<u8>, String> {
        let pending = self.get(url, bytes_max, timeout);
        loop {
            if let Some(result) = pending.wait(timeout) {
                return result;
            }
        }
    }

    /// The way to make this thread serve HTTP. It does not keep the thread alive.
    #[must_use]
    pub fn server(&self) -> Serve {
        Serve {
            requests: self.requests.downgrade(),
        }
    }

    /// Ends the thread, dropping what is under way, and waits for it at most `deadline`; whether it has ended.
    #[must_use]
    pub fn stop(mut self, deadline: Duration) -> bool {
        let thread = self.thread.take();
        let ended = self.ended.clone();
        drop(self);
        if ended.recv_timeout(deadline) == Err(channel::RecvTimeoutError::Timeout) {
            return false;
        }
        thread.is_none_or(|thread| thread.join().is_ok())
    }
}

/// Makes the gateway serve HTTP, from outside of the actor's thread.
#[derive(Clone)]
pub struct Serve {
    requests: mpsc::WeakSender<Request>,
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve").finish_non_exhaustive()
    }
}

impl Serve {
    /// Serves requests until the end of the gateway, each of them a message of `handle`.
    ///
    /// # Errors
    /// The gateway has ended, or is too busy to hear it.
    pub fn serve(&self, handle: Handle, server: Server) -> Result<(), String> {
        self.send(Request::Serve(Box::new(server), handle))
    }

    /// What changes while it serves; what comes from now on is served so.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub fn reload(&self, options: Options) -> Result<(), String> {
        self.send(Request::Reload(Box::new(options)))
    }

    /// Runs a task of another part on the gateway's thread: `make` is called there, and what it gives runs until it is over
    /// or the gateway ends.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub fn run(
        &self,
        make: impl FnOnce(Arc<Tools>) -> LocalTask + Send + 'static,
    ) -> Result<(), String> {
        self.send(Request::Run(Box::new(make)))
    }

    fn send(&self, request: Request) -> Result<(), String> {
        let sent = self
            .requests
            .upgrade()
            .map(|requests| requests.try_send(request).is_ok());
        match sent {
            Some(true) => Ok(()),
            Some(false) => Err("the gateway is too busy".to_owned()),
            None => Err("the gateway has ended".to_owned()),
        }
    }
}

/// A task that stays on the gateway's thread.
pub type LocalTask = Pin<Box<dyn Future<Output = ()>>>;

/// A GET that someone waits for. Dropping it does not stop the GET, only its answer.
pub struct Pending {
    answer: channel::Receiver<Result<Vec<u8>, String>>,
}

impl Pending {
    /// Waits at most `timeout`; `None` when there is no answer yet.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Result<Vec<u8>, String>> {
        match self.answer.recv_timeout(timeout) {
            Ok(result) => Some(result),
            Err(channel::RecvTimeoutError::Timeout) => None,
            Err(channel::RecvTimeoutError::Disconnected) => {
                Some(Err("the gateway has ended".to_owned()))
            }
        }
    }
}

/// What the thread is asked for.
enum Request {
    Fetch(Fetch),
    Get {
        url: String,
        bytes_max: usize,
        timeout: Duration,
        reply: channel::Sender<Result<Vec<u8>, String>>,
        /// Held until the answer is there.
        _place: Arc<()>,
    },
    Serve(Box<Server>, Handle),
    Reload(Box<Options>),
    Run(Box<dyn FnOnce(Arc<Tools>) -> LocalTask + Send>),
}

impl Request {
    /// The host it goes to, for the share of one host.
    fn host(&self) -> String {
        match self {
            Self::Fetch(Fetch {
                task: FetchTask::Http { url, .. },
                ..
            })
            | Self::Get { url, .. } => {
                reqwest::Url::parse(url).map_or_else(|_| String::new(), |url| client::origin(&url))
            }
            // Looked up by name, so that one name that hangs does not hold up the others.
            Self::Fetch(Fetch {
                task: FetchTask::Resolve { host, .. },
                ..
            }) => host.clone(),
            Self::Serve(..) | Self::Reload(_) | Self::Run(_) => String::new(),
        }
    }
}

/// The way back to the asking thread.
#[derive(Clone)]
struct Answers {
    outbox: channel::Sender<Fetched>,
    woken: Arc<AtomicBool>,
    waker: Arc<dyn Fn() + Send + Sync>,
}

impl Answers {
    fn send(&self, fetched: Fetched) {
        // Disconnected: the asking side has gone, and nobody waits any more.
        let full = matches!(
            self.outbox.try_send(fetched),
            Err(channel::TrySendError::Full(_))
        );
        assert!(!full, "room was reserved when the fetch was taken");
        if !self.woken.swap(true, Ordering::SeqCst) {
            (self.waker)();
        }
    }
}

/// Answers its fetch when dropped unanswered, so that a fetch is answered exactly once, also when its task panics.
struct Owed {
    answers: Answers,
    fetch: Option<(JobId, Wrapper)>,
}

impl Owed {
    fn answer(mut self, outcome: FetchOutcome) {
        if let Some((id, _)) = self.fetch.take() {
            self.answers.send(Fetched { id, outcome });
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some((id, wrap)) = self.fetch.take() {
            let text = "the gateway dropped the request".to_owned();
            self.answers.send(failed(id, wrap, text));
        }
    }
}

/// What the tasks share: names and HTTP.
pub struct Tools {
    resolver: Resolver,
    /// Made with the first HTTP request: the root certificates take a while to read.
    client: OnceLock<Result<Client, String>>,
    /// Made with the first post.
    poster: OnceLock<Result<Client, String>>,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}

impl Tools {
    fn new() -> Self {
        Self {
            resolver: Resolver::new(),
            client: OnceLock::new(),
            poster: OnceLock::new(),
        }
    }

    /// POSTs JSON to `url`, following no redirect, unless `is_barred` says of an address of its host that it must not be.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn post(
        &self,
        url: &str,
        json: Vec<u8>,
        timeout: Duration,
        is_barred: impl Fn(SocketAddr) -> bool,
    ) -> Result<(), client::PostError> {
        let for_good = |text: &str| client::PostError {
            text: text.to_owned(),
            again: false,
        };
        let parsed = reqwest::Url::parse(url).map_err(|_| for_good("not a URL"))?;
        let host = parsed.host_str().ok_or_else(|| for_good("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = parsed.port_or_known_default().unwrap_or(0);
        let found = self.resolve(host, port, timeout).await;
        let found = found.map_err(|text| client::PostError { text, again: true })?;
        if found.into_iter().any(is_barred) {
            return Err(for_good("it is this daemon's own RPC (rpc.bind)"));
        }
        let poster = self
            .poster
            .get_or_init(|| Client::without_redirects(self.resolver.clone()));
        match poster {
            Ok(client) => client.post(parsed, json, timeout).await,
            Err(text) => Err(for_good(text)),
        }
    }

    pub(super) async fn get(
        &self,
        url: &str,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Vec<u8>, String> {
        let client = self
            .client
            .get_or_init(|| Client::new(self.resolver.clone()));
        match client {
            Ok(client) => client.get(url, bytes_max, timeout).await,
            Err(text) => Err(text.clone()),
        }
    }

    async fn resolve(
        &self,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, String> {
        match tokio::time::timeout(timeout, self.resolver.resolve(host)).await {
            Ok(Ok(found)) => Ok(found
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port))
                .collect()),
            Ok(Err(fault)) => Err(fault.to_string()),
            Err(_) => Err(format!(
                "cannot find {host}: no answer from the name server within {timeout:?}"
            )),
        }
    }
}

/// The gateway's life: takes requests, keeps the share of each host, ends when the asking side is gone.
async fn serve(mut inbox: mpsc::Receiver<Request>, answers: Answers) {
    enum Turn {
        Asked(Request),
        Over(tokio::task::Id),
        End,
    }
    let tools = Arc::new(Tools::new());
    let mut front: Option<Arc<server::Front>> = None;
    let mut waiting: VecDeque<(String, Request)> = VecDeque::new();
    let mut per_host: BTreeMap<String, usize> = BTreeMap::new();
    let mut hosts: BTreeMap<tokio::task::Id, String> = BTreeMap::new();
    let mut running: JoinSet<()> = JoinSet::new();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            loop {
                let turn = poll_fn(|context| {
                    if let Poll::Ready(request) = inbox.poll_recv(context) {
                        return Poll::Ready(request.map_or(Turn::End, Turn::Asked));
                    }
                    match running.poll_join_next_with_id(context) {
                        Poll::Ready(Some(Ok((id, ())))) => Poll::Ready(Turn::Over(id)),
                        // It panicked; what it owed was answered while it unwound.
                        Poll::Ready(Some(Err(fault))) => Poll::Ready(Turn::Over(fault.id())),
                        Poll::Ready(None) | Poll::Pending => Poll::Pending,
                    }
                })
                .await;
                match turn {
                    Turn::End => return,
                    Turn::Asked(Request::Serve(server, handle)) => {
                        let (door, task) = server.open(handle, Arc::clone(&tools));
                        front = Some(door);
                        tokio::task::spawn_local(task);
                    }
                    Turn::Asked(Request::Reload(options)) => {
                        if let Some(front) = &front {
                            front.reload(*options);
                        }
                    }
                    Turn::Asked(Request::Run(make)) => {
                        tokio::task::spawn_local(make(Arc::clone(&tools)));
                    }
                    Turn::Asked(request) => waiting.push_back((request.host(), request)),
                    Turn::Over(id) => {
                        let host = hosts.remove(&id).unwrap_or_default();
                        if let Some(count) = per_host.get_mut(&host) {
                            *count -= 1;
                            if *count == 0 {
                                per_host.remove(&host);
                            }
                        }
                    }
                }
                while running.len() < AT_ONCE_MAX {
                    let free = waiting.iter().position(|(host, _)| {
                        per_host.get(host).copied().unwrap_or(0) < AT_ONCE_PER_HOST_MAX
                    });
                    let Some((host, request)) = free.and_then(|index| waiting.remove(index)) else {
                        break;
                    };
                    let task = run(request, answers.clone(), Arc::clone(&tools));
                    let id = running.spawn_local(task).id();
                    *per_host.entry(host.clone()).or_default() += 1;
                    hosts.insert(id, host);
                }
            }
        })
        .await;
}

/// Does one request and answers it.
async fn run(request: Request, answers: Answers, tools: Arc<Tools>) {
    match request {
        Request::Fetch(fetch) => {
            let owed = Owed {
                answers,
                fetch: Some((fetch.id, wrapper(&fetch.task))),
            };
            let outcome = match fetch.task {
                FetchTask::Http {
                    url,
                    bytes_max,
                    timeout,
                } => FetchOutcome::Http(tools.get(&url, bytes_max, timeout).await),
                FetchTask::Resolve {
                    host,
                    port,
                    timeout,
                } => FetchOutcome::Resolved(tools.resolve(&host, port, timeout).await),
            };
            owed.answer(outcome);
        }
        Request::Get {
            url,
            bytes_max,
            timeout,
            reply,
            _place,
        } => {
            // Nobody may wait any more.
            let _ = reply.try_send(tools.get(&url, bytes_max, timeout).await);
        }
        Request::Serve(..) | Request::Reload(_) | Request::Run(_) => {
            unreachable!("done where they arrive")
        }
    }
}

/// Makes the outcome of a fetch that failed.
type Wrapper = fn(String) -> FetchOutcome;

fn wrapper(task: &FetchTask) -> Wrapper {
    match task {
        FetchTask::Http { .. } => |text| FetchOutcome::Http(Err(text)),
        FetchTask::Resolve { .. } => |text| FetchOutcome::Resolved(Err(text)),
    }
}

fn failed(id: JobId, wrap: Wrapper, text: String) -> Fetched {
    Fetched {
        id,
        outcome: wrap(text),
    }
}
