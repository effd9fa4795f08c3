//! `linnet daemon`: the service, in the foreground. It takes the state directory, binds the RPC, starts the engine, takes on
//! what is remembered, opens the door, and then waits for signals.

mod reload;
mod schedule;
mod wakes;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::running::{draw_seed, phases};
use super::source::reason;
use super::{Context, EXIT_FAILED, Failure, blocklist, logging};
use crate::config::{Config, Loaded};
use crate::engine::message::{Answer, Message, ShutdownReport};
use crate::gateway::server::{Access, Close, Options, Place, Server};
use crate::hooks::{Hooks, Setup};
use crate::runtime::{self, Runtime};
use crate::time::{Duration, unix_millis};
use crate::worker::{StateBusy, StateLock};

use wakes::{Wake, Wakes};
use watch::Watch;

/// For reading what is remembered.
const LOAD_TIME_MAX: Duration = Duration::from_secs(60);

/// For one answer of the actor.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// What the shutdown may take beyond its budget before it counts as hanging.
const SHUTDOWN_SLACK: Duration = Duration::from_millis(500);

/// The part of the budget that the hooks may take for their end.
const HOOKS_SHARE: u32 = 4;

/// What they may take beyond it before they are killed from here.
const HOOKS_SLACK: Duration = Duration::from_millis(50);

/// How often the end is looked for while it is on its way, and a second signal.
const END_LOOK: Duration = Duration::from_millis(10);

/// Arguments of `daemon`.
#[derive(Debug, Args)]
pub(super) struct Daemon {}

impl Daemon {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        // What we opened ourselves is closed in helpers anyway; this is for what whoever started us left open.
        close_fds::set_fds_cloexec(3, &[]);
        let loaded = context.load_config()?;
        logging::start_daemon(&loaded);
        let state = loaded.state().map_err(Failure::failed)?.to_owned();
        let wakes = Wakes::new()
            .map_err(|fault| Failure::failed(format!("signals: {}", reason(&fault))))?;
        let _lock = StateLock::take(&state).map_err(|busy| match busy {
            StateBusy::Daemon(pid) => Failure::failed(format!(
                "{}: another daemon runs on it (pid {pid})",
                state.display()
            )),
            StateBusy::Failed(text) => Failure::failed(text),
        })?;
        let mut running = start(loaded, &state, &wakes)?;
        let budget = running.serve(&wakes, &context);
        running.end(budget, &wakes)
    }
}

/// The service at work.
struct Running {
    loaded: Loaded,
    runtime: Runtime,
    state: PathBuf,
    close: Close,
    peer_port: u16,
    watch: Option<Watch>,
    /// Where the RPC is, with its real port.
    rpc: Option<SocketAddr>,
    hooks: Hooks,
    /// What the schedule of the alternative limits wanted when it was last looked at.
    scheduled: Option<bool>,
}

fn start(loaded: Loaded, state: &Path, wakes: &Wakes) -> Result<Running, Failure> {
    let close = wakes.closer();
    let place = Place::parse(&loaded.config.rpc.bind).unwrap_or(Place::Off);
    let mut options = options(&loaded.config, state, close.clone(), 0).map_err(Failure::failed)?;
    let random =
        |fault: std::io::Error| Failure::failed(format!("/dev/urandom: {}", reason(&fault)));
    let session_id = draw_session_id().map_err(random)?;
    let server = Server::bind(&place, options.clone(), session_id).map_err(|fault| {
        Failure::failed(format!("rpc.bind: {}: {fault}", loaded.config.rpc.bind))
    })?;
    let seed = draw_seed().map_err(random)?;
    let runtime = Runtime::start_daemon(&loaded.config, seed)
        .map_err(|fault| Failure::failed(fault.to_string()))?;
    for notice in runtime.notices() {
        log::warn!("{notice}");
    }
    let listening: Vec<String> = runtime
        .listening()
        .iter()
        .map(ToString::to_string)
        .collect();
    log::info!("peers reach us at {}", listening.join(" and "));
    blocklist::load(&loaded.config, state, runtime.handle()).map_err(Failure::failed)?;
    let now = runtime.handle().clock().now();
    let epoch_millis = unix_millis().saturating_sub(now.as_micros() / 1000);
    let load = Message::LibraryLoad { epoch_millis };
    match runtime.handle().ask(load, LOAD_TIME_MAX) {
        Ok(Answer::Done) => {}
        Ok(_) => {
            let database = state.join("linnet.db");
            let text = format!("{}: what is remembered cannot be read", database.display());
            return Err(Failure::failed(text));
        }
        Err(fault) => return Err(Failure::failed(format!("the engine: {fault}"))),
    }
    let peer_port = runtime.listening().first().map_or(0, SocketAddr::port);
    let mut rpc = None;
    if let Some(mut server) = server {
        server.set_peer_port(peer_port);
        match server.place() {
            Place::Tcp(address) => {
                log::info!("the RPC is at http://{address}/transmission/rpc");
                rpc = Some(address);
            }
            Place::Unix(path) => log::info!("the RPC is at unix:{}", path.display()),
            Place::Off => {}
        }
        runtime.serve(server).map_err(Failure::failed)?;
    }
    let watch = Watch::new(&loaded.config.paths);
    options.peer_port = peer_port;
    let setup = setup(&loaded, options, rpc);
    let hooks = Hooks::start(runtime.gateway(), runtime.handle().clone(), setup);
    let hooks = hooks.map_err(Failure::failed)?;
    Ok(Running {
        watch,
        loaded,
        runtime,
        state: state.to_owned(),
        close,
        peer_port,
        rpc,
        hooks,
        scheduled: None,
    })
}

/// What the hooks need of the configuration.
fn setup(loaded: &Loaded, options: Options, rpc: Option<SocketAddr>) -> Setup {
    Setup {
        hooks: loaded.config.hooks.clone(),
        options,
        rpc,
    }
}

impl Running {
    /// Until somebody wants the end; how long that may take.
    fn serve(&mut self, wakes: &Wakes, context: &Context<'_>) -> Duration {
        self.follow_schedule();
        log::info!("ready");
        loop {
            let look = self.watch.as_ref().map(|_| watch::LOOK_EVERY);
            let minute = schedule::next_minute();
            match wakes.wait(Some(look.map_or(minute, |look| look.min(minute)))) {
                Some(Wake::Stop) => return self.budget(),
                Some(Wake::Close(budget)) => return budget,
                Some(Wake::Metrics) => self.tell_metrics(),
                Some(Wake::Reload) => self.reload(context),
                None => {
                    self.follow_schedule();
                    // By the timer alone, so that two looks are as far apart as they should be.
                    if let Some(watch) = &mut self.watch {
                        watch.look(self.runtime.handle());
                    }
                }
            }
        }
    }

    const fn budget(&self) -> Duration {
        Duration::from_millis(self.loaded.config.shutdown.budget_ms)
    }

    fn tell_metrics(&self) {
        let told = self
            .runtime
            .metrics(ANSWER_TIME_MAX)
            .map_err(|fault| fault.to_string())
            .and_then(|metrics| {
                eprint!("{}", metrics.table());
                let path = self.state.join("metrics.json");
                runtime::write_atomically(&path, &metrics)
                    .map_err(|fault| format!("{}: {}", path.display(), reason(&fault)))
            });
        if let Err(fault) = told {
            log::error!("metrics: {fault}");
        }
    }

    /// Ends within `budget`, or at once with a second signal.
    fn end(&self, budget: Duration, wakes: &Wakes) -> Result<(), Failure> {
        log::info!("ending, within {} ms", budget.as_millis());
        let clock = self.runtime.handle().clock();
        let begin = clock.now();
        let deadline = begin + budget + SHUTDOWN_SLACK;
        // While everything they may ask for is still there. Without helpers this takes no time.
        let share = budget / HOOKS_SHARE;
        self.hooks.end(share);
        while !self.hooks.is_over(END_LOOK) {
            if clock.now() >= begin + share + HOOKS_SLACK {
                self.hooks.kill();
                break;
            }
            if wakes.wait(Some(Duration::ZERO)) == Some(Wake::Stop) {
                self.hooks.kill();
                log::warn!("stopped at once");
                return Err(Failure::Silent(EXIT_FAILED));
            }
        }
        let spent = clock.now().since(begin);
        self.runtime.shutdown(budget.saturating_sub(spent));
        loop {
            if let Some(report) = self.runtime.join(END_LOOK) {
                return tell_end(&report);
            }
            if clock.now() >= deadline {
                return Err(Failure::failed("the engine did not end in time"));
            }
            if wakes.wait(Some(Duration::ZERO)) == Some(Wake::Stop) {
                log::warn!("stopped at once");
                return Err(Failure::Silent(EXIT_FAILED));
            }
        }
    }
}

fn tell_end(report: &ShutdownReport) -> Result<(), Failure> {
    log::info!("ended: {}", phases(report));
    if report.trackers_unanswered > 0 {
        let count = report.trackers_unanswered;
        log::warn!("{count} trackers did not answer `stopped` in time");
    }
    if report.abandoned.is_empty() {
        return Ok(());
    }
    let lines = report.abandoned.iter();
    Err(Failure::Failed(
        lines
            .map(|what| format!("had to be abandoned: {what}"))
            .collect(),
    ))
}

/// What the front door needs of the configuration.
fn options(config: &Config, state: &Path, close: Close, peer_port: u16) -> Result<Options, String> {
    let rpc = &config.rpc;
    let mut password = rpc.password.clone();
    if !rpc.password_file.as_os_str().is_empty() {
        let text = std::fs::read_to_string(&rpc.password_file)
            .map_err(|fault| format!("{}: {}", rpc.password_file.display(), reason(&fault)))?;
        text.lines()
            .next()
            .unwrap_or_default()
            .clone_into(&mut password);
    } else if !password.is_empty() && !password.starts_with("$argon2") {
        log::warn!(
            "rpc.password is in plain text: an argon2 hash, or password_file, keeps it to you"
        );
    }
    Ok(Options {
        access: Access {
            user: rpc.user.clone(),
            password,
            addresses: rpc.ip_whitelist.clone(),
            hosts: rpc.host_whitelist.clone(),
        },
        state: state.to_owned(),
        web_home: rpc.web_home.clone(),
        budget: Duration::from_millis(config.shutdown.budget_ms),
        timeout: Duration::from_millis(config.actor.sync_timeout_ms),
        cache_mib: config.workers.cache_mib,
        peer_port,
        process: runtime::process_figures,
        close,
    })
}

/// 48 letters and digits that nobody can guess.
fn draw_session_id() -> std::io::Result<String> {
    use std::io::Read;
    const LETTERS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz01";
    let mut bytes = [0; 48];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 64)]);
    Ok(bytes.iter().map(letter).collect())
}

impl Wakes {
    /// What a client's wish for the end does.
    fn closer(&self) -> Close {
        let sender = self.sender();
        Close(Arc::new(move |budget| sender.close(budget)))
    }
}
