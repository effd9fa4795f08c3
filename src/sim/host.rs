//! [`Host`] on a simulated machine.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use crate::actor::host::{Finished, Host, Ready};
use crate::engine::message::{Done, Fetch, StoreJob, Work};
use crate::ids::{SessionId, SocketId, StreamId};
use crate::time::{Duration, Instant};

use super::common::Common;
use super::net::NodeIndex;

/// One machine, as its loop sees it.
#[derive(Clone, Debug)]
pub struct SimHost {
    node: NodeIndex,
    common: Rc<RefCell<Common>>,
}

impl SimHost {
    /// The machine `node` of this world.
    #[must_use]
    pub const fn new(node: NodeIndex, common: Rc<RefCell<Common>>) -> Self {
        Self { node, common }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Common, NodeIndex) -> T) -> T {
        act(&mut self.common.borrow_mut(), self.node)
    }
}

impl Host for SimHost {
    fn now(&mut self) -> Instant {
        self.with(|common, _| common.now)
    }

    /// Never waits: the world calls a turn only when there is something to do.
    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) {
        self.with(|common, node| common.net.take_ready(node, ready));
    }

    fn next_incoming(&mut self) -> Option<(SocketId, SocketAddr)> {
        self.with(|common, node| common.net.next_incoming(node))
    }

    fn accept(&mut self, socket: SocketId, stream: StreamId) {
        self.with(|common, node| common.net.accept(node, socket, stream));
    }

    fn refuse(&mut self, socket: SocketId) {
        self.with(|common, node| common.net.refuse(common.now, node, socket));
    }

    fn dial(&mut self, stream: StreamId, to: SocketAddr) -> io::Result<()> {
        self.with(|common, node| common.net.dial(common.now, node, stream, to))
    }

    fn read(&mut self, stream: StreamId, bytes: &mut [u8]) -> io::Result<usize> {
        self.with(|common, node| common.net.read(node, stream, bytes))
    }

    fn write(&mut self, stream: StreamId, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(|common, node| common.net.write(common.now, node, stream, bytes))
    }

    fn close(&mut self, stream: StreamId, clean: bool) {
        self.with(|common, node| common.net.close(common.now, node, stream, clean));
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Option<(SocketAddr, usize)> {
        let (from, datagram) = self.with(|common, node| common.net.receive(node))?;
        let length = datagram.len().min(bytes.len());
        bytes[..length].copy_from_slice(&datagram[..length]);
        Some((from, length))
    }

    fn send_to(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.with(|common, node| {
            let from = common.net.address(node);
            if to.ip().is_multicast() {
                return common.net.send_to_all(common.now, from, bytes);
            }
            common.net.send_to(common.now, from, to, bytes);
        });
    }

    fn work(&mut self, work: Work) -> Option<Done> {
        self.with(|common, node| common.work(node, work))
    }

    fn cancel(&mut self, session: SessionId) {
        self.with(|common, node| common.cancel(node, session));
    }

    fn store(&mut self, job: StoreJob) {
        self.with(|common, node| common.store(node, job));
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.with(|common, node| common.fetch(node, fetch));
    }

    fn finished(&mut self) -> Option<Finished> {
        self.with(|common, node| common.nodes[node].finished.pop_front())
    }
}
