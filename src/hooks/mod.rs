//! Hooks: programs and addresses that are told what happens, and helpers that give commands.
//!
//! All of it runs on the gateway's thread, as tasks that own nothing of the engine: events come from the bus, commands go by
//! the RPC's own way. A subscription is bounded and a pipe is never waited for, so that no helper can slow a transfer.
//! Children are in process groups of their own, which [`Hooks::end`] ends in steps, and dropping [`Hooks`] kills.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the edge: programs are started here, and two threads know which ones"
)]

mod commands;
mod exec;
mod lines;
mod outbox;
mod program;
mod spawn;
mod starts;
mod webhook;
mod wire;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel as channel;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::actor::handle::Handle;
use crate::config;
use crate::config::hooks::{Program, Webhook};
use crate::gateway::rpc::Rpc;
use crate::gateway::server::Options;
use crate::gateway::{Serve, Tools};

use program::Control;
use spawn::{Group, Groups, Kind};

/// Orders to the hooks that wait; one more is refused.
const ORDERS_MAX: usize = 16;

/// For a helper that is no longer in the configuration.
const REMOVED_TIME_MAX: Duration = Duration::from_secs(2);

/// What hooks there are, and how their commands are done.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which.
    pub hooks: config::hooks::Hooks,
    /// As for the RPC.
    pub options: Options,
    /// Where the RPC listens, if it is on TCP: nothing is ever posted there.
    pub rpc: Option<SocketAddr>,
}

/// How long the start waits until every hook listens.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Steps until a task that was just made listens; the commands' list comes to theirs by a channel.
const FIRST_STEPS: usize = 4;

enum Order {
    Reload(Box<Setup>),
    End(Duration),
}

/// The hooks at work, from the side of the thread that rules them. Dropped, all their processes are killed.
#[derive(Debug)]
pub struct Hooks {
    orders: mpsc::Sender<Order>,
    groups: Groups,
    /// Closed when all are over.
    over: channel::Receiver<()>,
}

impl Hooks {
    /// Starts them on the gateway's thread.
    ///
    /// # Errors
    /// The gateway has ended, or is too busy to hear it.
    pub fn start(serve: &Serve, handle: Handle, setup: Setup) -> Result<Self, String> {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let (end, over) = channel::bounded(0);
        let (begun, heard) = channel::bounded(1);
        let groups = Groups::default();
        let theirs = groups.clone();
        serve.run(move |tools| {
            Box::pin(async move {
                supervise(handle, tools, setup, theirs, inbox, begun).await;
                drop(end);
            })
        })?;
        // What happens from now on is told to all of them.
        let _ = heard.recv_timeout(BEGIN_TIME_MAX);
        Ok(Self {
            orders,
            groups,
            over,
        })
    }

    /// Adds and removes what has changed, and starts again what was given up; the others go on as they are.
    ///
    /// # Errors
    /// They are over, or too busy to hear it.
    pub fn reload(&self, setup: Setup) -> Result<(), String> {
        let sent = self.orders.try_send(Order::Reload(Box::new(setup)));
        sent.map_err(|_| "hooks: too busy to change".to_owned())
    }

    /// Begins to end all of them within `budget`: the line `shutdown`, TERM, KILL. Returns at once.
    pub fn end(&self, budget: Duration) {
        if self.orders.try_send(Order::End(budget)).is_err() {
            self.kill();
        }
    }

    /// Waits at most `timeout` until all are over; whether they are.
    #[must_use]
    pub fn is_over(&self, timeout: Duration) -> bool {
        self.over.recv_timeout(timeout) != Err(channel::RecvTimeoutError::Timeout)
    }

    /// Kills what there is, at once.
    pub fn kill(&self) {
        self.groups.signal(None, Signal::KILL);
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the tasks share.
struct Shared {
    handle: Handle,
    rpc: RefCell<Rc<Rpc>>,
    tools: Arc<Tools>,
    groups: Groups,
}

impl Shared {
    /// How commands are done now.
    fn rpc(&self) -> Rc<Rpc> {
        Rc::clone(&self.rpc.borrow())
    }
}

/// A helper that is kept.
struct Kept {
    program: Program,
    control: watch::Sender<Control>,
    task: JoinHandle<()>,
}

impl Kept {
    fn end(&self, budget: Duration) {
        self.control
            .send_modify(|control| control.end = Some(budget));
    }
}

/// The next order; before the first of them it is told that every hook listens.
async fn heard_by_all(
    begun: &mut Option<channel::Sender<()>>,
    inbox: &mut mpsc::Receiver<Order>,
) -> Option<Order> {
    if let Some(begun) = begun.take() {
        // Each task begins to listen when it runs for the first time, and all run once before this one goes on.
        for _ in 0..FIRST_STEPS {
            tokio::task::yield_now().await;
        }
        let _ = begun.send(());
    }
    inbox.recv().await
}

/// The life of all hooks.
async fn supervise(
    handle: Handle,
    tools: Arc<Tools>,
    setup: Setup,
    groups: Groups,
    mut inbox: mpsc::Receiver<Order>,
    begun: channel::Sender<()>,
) {
    let mut begun = Some(begun);
    let rpc = Rpc::new(
        handle.clone(),
        Arc::new(setup.options.clone()),
        Arc::clone(&tools),
    );
    let shared = Rc::new(Shared {
        handle,
        rpc: RefCell::new(Rc::new(rpc)),
        tools,
        groups,
    });
    let mut kept: Vec<Kept> = Vec::new();
    let mut leaving: JoinSet<()> = JoinSet::new();
    let (execs, list) = watch::channel(Vec::new());
    let exec = tokio::task::spawn_local(exec::run(Rc::clone(&shared), list));
    let mut posts: Vec<(Webhook, Option<SocketAddr>, JoinHandle<()>)> = Vec::new();
    let mut next = Some(Order::Reload(Box::new(setup)));
    loop {
        let order = match next.take() {
            Some(order) => order,
            // Nobody rules them any more: it has killed them.
            None => match heard_by_all(&mut begun, &mut inbox).await {
                Some(order) => order,
                None => return,
            },
        };
        match order {
            Order::Reload(setup) => {
                let Setup {
                    hooks,
                    options,
                    rpc: place,
                } = *setup;
                let options = Arc::new(options);
                let rpc = Rpc::new(shared.handle.clone(), options, Arc::clone(&shared.tools));
                *shared.rpc.borrow_mut() = Rc::new(rpc);
                renew(&shared, &mut kept, &mut leaving, hooks.program);
                execs.send_if_modified(|list| {
                    let is_new = *list != hooks.exec;
                    *list = hooks.exec;
                    is_new
                });
                renew_posts(&shared, &mut posts, &hooks.webhook, place);
            }
            Order::End(budget) => {
                shared.groups.signal(Some(Kind::Command), Signal::TERM);
                for one in &kept {
                    one.end(budget);
                }
                for (_, _, task) in posts {
                    task.abort();
                }
                drop(execs);
                for one in kept {
                    leaving.spawn_local(async move {
                        let _ = one.task.await;
                    });
                }
                leaving.spawn_local(async move {
                    let _ = exec.await;
                });
                let all = async { while leaving.join_next().await.is_some() {} };
                let _ = tokio::time::timeout(budget, all).await;
                shared.groups.signal(None, Signal::KILL);
                return;
            }
        }
    }
}

/// Helpers are the same when all their keys are: those stay, and are revived; the others go, and new ones start.
fn renew(
    shared: &Rc<Shared>,
    kept: &mut Vec<Kept>,
    leaving: &mut JoinSet<()>,
    mut wanted: Vec<Program>,
) {
    let mut stay = Vec::new();
    for one in kept.drain(..) {
        if let Some(at) = wanted.iter().position(|program| *program == one.program) {
            wanted.remove(at);
            one.control.send_modify(|control| control.revivals += 1);
            stay.push(one);
        } else {
            one.end(REMOVED_TIME_MAX);
            leaving.spawn_local(async move {
                let _ = one.task.await;
            });
        }
    }
    while leaving.try_join_next().is_some() {}
    for program in wanted {
        let (control, told) = watch::channel(Control::default());
        let task = program::keep(program.clone(), Rc::clone(shared), told);
        stay.push(Kept {
            program,
            control,
            task: tokio::task::spawn_local(task),
        });
    }
    *kept = stay;
}

/// The same for addresses; what is being posted to one that goes is dropped.
fn renew_posts(
    shared: &Rc<Shared>,
    posts: &mut Vec<(Webhook, Option<SocketAddr>, JoinHandle<()>)>,
    wanted: &[Webhook],
    rpc: Option<SocketAddr>,
) {
    let mut wanted: Vec<Webhook> = wanted.to_vec();
    posts.retain(|(webhook, barred, task)| {
        let at = wanted
            .iter()
            .position(|one| one == webhook)
            .filter(|_| *barred == rpc);
        match at {
            Some(at) => {
                wanted.remove(at);
            }
            None => task.abort(),
        }
        at.is_some()
    });
    for webhook in wanted {
        let task = webhook::run(webhook.clone(), rpc, Rc::clone(shared));
        posts.push((webhook, rpc, tokio::task::spawn_local(task)));
    }
}

/// Ends a process in steps, its whole group with it: nothing for half of `budget`, then TERM, then KILL. How far it went.
async fn in_steps(child: &mut Child, group: &Group, budget: Duration) -> &'static str {
    if tokio::time::timeout(budget / 2, child.wait()).await.is_ok() {
        return "ended by itself";
    }
    group.signal(Signal::TERM);
    if tokio::time::timeout(budget / 2, child.wait()).await.is_ok() {
        return "ended by TERM";
    }
    group.signal(Signal::KILL);
    let _ = child.wait().await;
    "killed"
}
