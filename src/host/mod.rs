//! The operating system as the loop sees it: sockets, the poller, and the threads that do what blocks.
//!
//! Everything here belongs to the actor's thread; nothing waits but [`OsHost::poll`]. Workers, store and gateway answer by
//! queues of their own, and ring the same doorbell as callers do.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the edge: this is where sockets and descriptors are"
)]

mod handles;
mod multicast;
mod poller;
mod sockets;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use self::handles::Handles;
use self::multicast::Multicast;
use self::poller::{Poller, Source};
use self::sockets::Sockets;
use self::udp::Udp;
use crate::actor::host::{Finished, Host, Ready};
use crate::actor::mailbox::Doorbell;
use crate::engine::message::{Done, Fetch, Job, Outcome, StoreJob, Work};
use crate::gateway::{Gateway, Serve};
use crate::ids::{SessionId, SocketId, StreamId};
use crate::metrics::HostFigures;
use crate::time::{Clock, Duration, Instant, unix_millis};
use crate::worker::{Now, Owner, Pool, Store, WATCH_PERIOD, read_now};

/// The host on the operating system.
pub struct OsHost {
    clock: Clock,
    poller: Poller,
    sockets: Sockets,
    udp: Udp,
    multicast: Multicast,
    doorbell: Arc<Doorbell>,
    pool: Pool,
    store: Store,
    gateway: Gateway,
    handles: Handles,
    /// Jobs that found no room with the workers or the store. The engine bounds what it gives out; these are the rest of it.
    work_waiting: VecDeque<Work>,
    store_waiting: VecDeque<StoreJob>,
    /// Jobs that were cancelled, until somebody asks for what is finished.
    cancelled: VecDeque<Done>,
    /// Found by the look before a wait.
    found: Option<Finished>,
}

impl std::fmt::Debug for OsHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OsHost")
            .field("sockets", &self.sockets)
            .field("udp", &self.udp)
            .finish_non_exhaustive()
    }
}

impl OsHost {
    /// Listens on `listen` and starts `threads` workers (0: one more than there are cores), the store in `state` for `owner` and the
    /// gateway. What a person should know goes to `notices`.
    ///
    /// # Errors
    /// No address to listen on works, or the system gives us no poller or no thread.
    pub fn new(
        clock: Clock,
        listen: &[SocketAddr],
        threads: u32,
        state: PathBuf,
        owner: Owner,
        notices: &mut Vec<String>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        let doorbell = poller.doorbell()?;
        let mut sockets = Sockets::new();
        sockets.listen(&poller, listen, notices)?;
        let mut udp = Udp::default();
        for address in sockets.addresses() {
            if let Err(error) = udp.bind(&poller, address) {
                notices.push(format!("no datagrams on {address}: {error}"));
            }
        }
        let ring = || {
            let doorbell = Arc::clone(&doorbell);
            move || doorbell.ring()
        };
        Ok(Self {
            clock,
            pool: Pool::start(threads, ring())?,
            store: Store::start(state, owner, ring())?,
            gateway: Gateway::start(ring()),
            poller,
            sockets,
            udp,
            multicast: Multicast::default(),
            doorbell,
            handles: Handles::default(),
            work_waiting: VecDeque::new(),
            store_waiting: VecDeque::new(),
            cancelled: VecDeque::new(),
            found: None,
        })
    }

    /// Ends the loop's waits.
    #[must_use]
    pub fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.doorbell)
    }

    /// Where we listen.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.addresses()
    }

    /// The way to make the gateway serve.
    #[must_use]
    pub fn server(&self) -> Serve {
        self.gateway.server()
    }

    /// How many workers there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Joins the threads, all within `budget`. Returns the local work that had to be abandoned, named for a person.
    #[must_use]
    pub fn stop(self, budget: Duration) -> Vec<String> {
        let deadline = self.clock.now() + budget;
        let left = |clock: Clock| deadline.since(clock.now());
        let clock = self.clock;
        // Streams close, listeners too, before anything waits.
        drop(self.sockets);
        drop(self.udp);
        drop(self.multicast);
        drop(self.handles);
        let mut abandoned = self.store.stop(left(clock));
        abandoned.extend(self.pool.stop(left(clock)));
        // The gateway holds nothing of ours: what it leaves undone is no local work.
        if !self.gateway.stop(left(clock)) {
            log::warn!("the gateway did not end in time");
        }
        abandoned
    }

    /// The next finished job, past the one that was found by the look before a wait.
    fn next_finished(&mut self) -> Option<Finished> {
        if let Some(done) = self.cancelled.pop_front() {
            return Some(Finished::Done(done));
        }
        if let Some(completion) = self.pool.finished() {
            if let Some(work) = self.work_waiting.pop_front() {
                self.submit(work);
            }
            let done = completion.done;
            if matches!(
                done.outcome,
                Outcome::Closed
                    | Outcome::Deleted(_)
                    | Outcome::Prepared(_)
                    | Outcome::Relocated(..)
            ) {
                self.handles.forget(done.session);
            } else {
                self.handles.extend(completion.opened);
            }
            return Some(Finished::Done(done));
        }
        if let Some(stored) = self.store.finished() {
            if let Some(job) = self.store_waiting.pop_front() {
                self.store(job);
            }
            return Some(Finished::Stored(stored));
        }
        self.gateway.next().map(Finished::Fetched)
    }

    fn submit(&mut self, work: Work) {
        if let Err(work) = self.pool.submit(work) {
            self.work_waiting.push_back(work);
        }
    }
}

impl Host for OsHost {
    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    fn nanos(&mut self) -> u64 {
        self.clock.nanos()
    }

    fn unix_millis(&mut self) -> u64 {
        unix_millis()
    }

    fn poll(&mut self, mut timeout: Option<Duration>, ready: &mut Vec<Ready>) {
        if timeout != Some(Duration::ZERO) {
            // The doorbell is armed by now, so what finishes after this look rings.
            self.found = self.found.take().or_else(|| self.next_finished());
            if self.found.is_some() {
                timeout = Some(Duration::ZERO);
            }
        }
        // Nothing to do, nothing to watch: an idle process sleeps.
        if timeout != Some(Duration::ZERO) && self.pool.watch(self.clock.now()) {
            timeout = Some(timeout.map_or(WATCH_PERIOD, |timeout| timeout.min(WATCH_PERIOD)));
        }
        if let Some(resume) = self.sockets.paused() {
            let left = resume.since(self.clock.now());
            timeout = Some(timeout.map_or(left, |timeout| timeout.min(left)));
        }
        let (sockets, udp) = (&mut self.sockets, &mut self.udp);
        let multicast = &mut self.multicast;
        self.poller.wait(timeout, |source, event| match source {
            Source::Waker => {}
            Source::Stream(stream) => sockets.on_event(stream, event, ready),
            Source::Listener(index) => {
                sockets.incoming(index);
                ready.push(Ready::Incoming);
            }
            Source::Datagrams(index) => {
                udp.ready(index);
                ready.push(Ready::Datagrams);
            }
            Source::Multicast(index) => {
                multicast.ready(index);
                ready.push(Ready::Datagrams);
            }
        });
        if let Some(resume) = self.sockets.paused()
            && resume <= self.clock.now()
        {
            self.sockets.resume();
            ready.push(Ready::Incoming);
        }
    }

    fn next_incoming(&mut self) -> Option<(SocketId, SocketAddr)> {
        let clock = self.clock;
        self.sockets.next_incoming(|| clock.now())
    }

    fn accept(&mut self, socket: SocketId, stream: StreamId) {
        let Some(socket) = self.sockets.take_offered(socket) else {
            return;
        };
        if let Err(error) = self.sockets.keep(&self.poller, stream, socket, false) {
            // The first read finds no connection, and the engine hears that it is lost.
            log::warn!("cannot keep a socket: {error}");
        }
    }

    fn refuse(&mut self, socket: SocketId) {
        drop(self.sockets.take_offered(socket));
    }

    fn adopt(&mut self, socket: OwnedFd) -> io::Result<SocketId> {
        self.sockets.adopt(socket)
    }

    fn dial(&mut self, stream: StreamId, to: SocketAddr) -> io::Result<()> {
        self.sockets.dial(&self.poller, stream, to)
    }

    fn read(&mut self, stream: StreamId, bytes: &mut [u8]) -> io::Result<usize> {
        self.sockets.read(stream, bytes)
    }

    fn write(&mut self, stream: StreamId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sockets.write(stream, slices)
    }

    fn read_more(&mut self, stream: StreamId) -> bool {
        self.sockets.read_more(stream)
    }

    fn write_more(&mut self, _stream: StreamId) -> bool {
        // The system takes as much as fits, and makes an edge when there is room again.
        false
    }

    fn close(&mut self, stream: StreamId, clean: bool) {
        self.sockets.close(stream, clean);
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize)> {
        let (from, length, segment) = self.receive_many(bytes)?;
        Some((from, length.min(segment)))
    }

    fn receive_many(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize, usize)> {
        if let Some(found) = self.udp.receive(bytes) {
            return Some(found);
        }
        let (from, length) = self.multicast.receive(bytes)?;
        Some((from, length, length.max(1)))
    }

    fn send_to(&mut self, to: SocketAddr, bytes: &[u8]) {
        if to.ip().is_multicast() {
            let now = self.clock.now();
            self.multicast.send_to(&self.poller, now, to, bytes);
        } else {
            self.udp.send_to(to, bytes.len(), bytes);
        }
    }

    fn send_many(&mut self, to: SocketAddr, segment: usize, bytes: &[u8]) {
        self.udp.send_to(to, segment, bytes);
    }

    fn work(&mut self, mut work: Work) -> Option<Done> {
        match &mut work.job {
            Job::Read(run) => {
                let (handles, session) = (&mut self.handles, work.session);
                let layout = &work.storage.layout;
                let now = self.clock.now();
                let read = read_now(layout, |file| handles.get((session, file)), run, now);
                if read == Now::Done
                    && let Job::Read(run) = work.job
                {
                    return Some(Done {
                        id: work.id,
                        session,
                        outcome: Outcome::Read(run, Ok(())),
                    });
                }
            }
            Job::Close | Job::Delete | Job::Prepare { .. } | Job::Relocate(_) => {
                self.handles.forget(work.session);
            }
            Job::Survey(_)
            | Job::Blocks(_)
            | Job::Check { .. }
            | Job::Commit { .. }
            | Job::Write { .. }
            | Job::Sync { .. } => {}
        }
        self.submit(work);
        None
    }

    fn cancel(&mut self, session: SessionId) {
        let mut gone = self.pool.cancel(session);
        for work in std::mem::take(&mut self.work_waiting) {
            if work.session == session && work.job.is_cancellable() {
                gone.push(work);
            } else {
                // There may be room now.
                self.submit(work);
            }
        }
        self.cancelled.extend(gone.into_iter().map(Work::cancelled));
    }

    fn store(&mut self, job: StoreJob) {
        if let Err(job) = self.store.submit(job) {
            self.store_waiting.push_back(job);
        }
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.gateway.fetch(fetch);
    }

    fn finished(&mut self) -> Option<Finished> {
        self.found.take().or_else(|| self.next_finished())
    }

    fn figures(&mut self) -> HostFigures {
        self.pool.stats().figures()
    }
}
