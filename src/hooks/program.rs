//! One helper: started, told events, obeyed line by line, and ended. Nothing here ever waits for it.
//!
//! ```text
//!  starting ── up ──▶ running ── it ends, or is cut off ──▶ pausing ──▶ starting
//!     ▲                  │ told to end                         │ too often
//!     │                  ▼                                     ▼
//!     │               over                                  given up ── SIGHUP ──▶ starting
//!     └── SIGHUP brings the others back without a pause too
//! ```

use std::future::Future;
use std::pin::Pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::commands::{Job, Waiting};
use super::lines::{Line, Lines};
use super::outbox::Outbox;
use super::spawn::{Group, Kind, Start};
use super::starts::{Next, STARTS_MAX, Starts};
use super::wire::{self, Answer};
use super::{Shared, in_steps};
use crate::actor::bus::{Filter, NoEvent, Subscription};
use crate::config::hooks::Program;

/// Bytes read at once from a helper.
const READ_BYTES: usize = 16 * 1024;

/// Lines of one helper whose commands wait for their effect; one more is answered with an error.
const WAITS_MAX: usize = 64;

/// For what a helper has written before it ended.
const REST_TIME_MAX: Duration = Duration::from_secs(5);

/// Comments and debug lines of one helper that are logged in any ten seconds or so; more are counted.
const LOGGED_MAX: u32 = 100;

/// Characters that are logged of one line.
const LOGGED_CHARS_MAX: usize = 400;

/// What a helper is told from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    /// Grows when one that was given up should try again.
    pub(super) revivals: u64,
    /// Set to end it, within this time.
    pub(super) end: Option<Duration>,
}

/// How a run of a helper ended.
enum End {
    /// By itself.
    Ended(Option<ExitStatus>),
    /// It was not even started, or it was cut off.
    Failed(String),
    /// As it was told.
    Over,
}

/// Keeps a helper running until it is told to end.
pub(super) async fn keep(
    program: Program,
    shared: Rc<Shared>,
    mut control: watch::Receiver<Control>,
) {
    let name = program.command.first().cloned().unwrap_or_default();
    let begin = Instant::now();
    let mut starts = Starts::default();
    loop {
        let pause = match starts.next(begin.elapsed()) {
            Next::After(pause) => Some(pause),
            Next::Never => {
                log::error!(
                    "helper {name}: given up, it was started {STARTS_MAX} times within a minute; SIGHUP starts it again"
                );
                None
            }
        };
        if !rest(pause, &mut control, &mut starts).await {
            return;
        }
        starts.note(begin.elapsed());
        let end = run(&name, &program, &shared, &mut control).await;
        match end {
            End::Over => return,
            End::Failed(why) => log::error!("helper {name}: {why}"),
            End::Ended(Some(status)) if status.success() => log::info!("helper {name}: ended"),
            End::Ended(Some(status)) => log::warn!("helper {name}: ended: {status}"),
            End::Ended(None) => log::warn!("helper {name}: ended, nobody knows how"),
        }
        if !program.respawn {
            log::info!("helper {name}: not started again (respawn = false), but by SIGHUP");
            if !rest(None, &mut control, &mut starts).await {
                return;
            }
        }
    }
}

/// Waits for `pause`, or without one until a person wants it to go on, which ends any pause; whether it goes on at all.
async fn rest(
    pause: Option<Duration>,
    control: &mut watch::Receiver<Control>,
    starts: &mut Starts,
) -> bool {
    let revivals = control.borrow_and_update().revivals;
    let until = pause.map(|pause| Instant::now() + pause);
    loop {
        let now = *control.borrow_and_update();
        if now.end.is_some() {
            return false;
        }
        if now.revivals != revivals {
            starts.forget();
            return true;
        }
        let changed = match until {
            None => control.changed().await,
            Some(until) => match tokio::time::timeout_at(until, control.changed()).await {
                Ok(changed) => changed,
                Err(_) => return true,
            },
        };
        if changed.is_err() {
            return false;
        }
    }
}

type Current = Pin<Box<dyn Future<Output = (Vec<Answer>, Option<Waiting>)>>>;

/// A helper at work.
struct Running<'a> {
    name: &'a str,
    program: &'a Program,
    shared: &'a Rc<Shared>,
    child: Child,
    group: Group,
    /// `None` when it does not read any more.
    stdin: Option<ChildStdin>,
    /// `None` when it has written all.
    stdout: Option<ChildStdout>,
    subscription: Subscription,
    news: Arc<Notify>,
    outbox: Outbox,
    lines: Lines,
    /// The line that is being obeyed.
    current: Option<Current>,
    waits: JoinSet<Vec<Answer>>,
    begin: Instant,
    logged: (Duration, u32),
}

async fn run(
    name: &str,
    program: &Program,
    shared: &Rc<Shared>,
    control: &mut watch::Receiver<Control>,
) -> End {
    let names = program.events.iter().map(String::as_str);
    let filter = match Filter::of(names) {
        Ok(filter) => filter,
        Err(unknown) => return End::Failed(format!("no event is named {unknown}")),
    };
    let news = Arc::new(Notify::new());
    let wake = Arc::clone(&news);
    // Before it starts: it is told whatever happens from its first moment.
    let subscription = (shared.handle).subscribe_waking(filter, move || wake.notify_one());
    let start = Start {
        command: &program.command,
        variables: Vec::new(),
        is_heard: true,
        kind: Kind::Helper,
    };
    let (mut child, group) = match start.start(&shared.groups) {
        Ok(started) => started,
        Err(why) => return End::Failed(why),
    };
    log::info!("helper {name}: started, pid {}", child.id().unwrap_or(0));
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let running = Running {
        name,
        program,
        shared,
        child,
        group,
        stdin,
        stdout,
        subscription,
        news,
        outbox: Outbox::default(),
        lines: Lines::default(),
        current: None,
        waits: JoinSet::new(),
        begin: Instant::now(),
        logged: (Duration::ZERO, 0),
    };
    running.serve(control).await
}

/// What happened next.
enum Turn {
    Told,
    Done((Vec<Answer>, Option<Waiting>)),
    Waited(Vec<Answer>),
    Wrote(std::io::Result<usize>),
    Read(std::io::Result<usize>),
    Exited(Option<ExitStatus>),
    News,
    Late,
}

impl Running<'_> {
    async fn serve(mut self, control: &mut watch::Receiver<Control>) -> End {
        let mut buffer = vec![0; READ_BYTES];
        // Set when it has ended, with the moment until which the rest of what it wrote is obeyed.
        let mut ended: Option<(Option<ExitStatus>, Instant)> = None;
        loop {
            self.take_events();
            let now = self.begin.elapsed();
            if self
                .outbox
                .deadline()
                .is_some_and(|deadline| now >= deadline)
            {
                let count = self.outbox.len();
                return End::Failed(format!("cut off: it does not read, and {count} lines wait"));
            }
            let can_obey = self.current.is_none() && !self.outbox.is_unread();
            let has_line = can_obey && self.next_line().await;
            if has_line {
                continue;
            }
            if let Some((status, _)) = &ended
                && self.stdout.is_none()
                && self.current.is_none()
            {
                if self.lines.left() > 0 {
                    log::warn!(
                        "helper {}: its last line has no end, and is not obeyed",
                        self.name
                    );
                }
                return End::Ended(*status);
            }
            let stuck = self.outbox.deadline().map(|deadline| self.begin + deadline);
            let late = match (stuck, &ended) {
                (_, Some((_, until))) => Some(*until),
                (stuck, None) => stuck,
            };
            let turn = tokio::select! {
                changed = control.changed() => match changed {
                    Ok(()) => Turn::Told,
                    Err(_) => return End::Over,
                },
                done = wait_for(self.current.as_mut()) => Turn::Done(done),
                Some(waited) = self.waits.join_next() => Turn::Waited(waited.unwrap_or_default()),
                wrote = write(self.stdin.as_mut(), &self.outbox) => Turn::Wrote(wrote),
                read = read(self.stdout.as_mut(), &mut buffer), if can_obey => Turn::Read(read),
                status = self.child.wait(), if ended.is_none() => Turn::Exited(status.ok()),
                () = self.news.notified(), if !self.outbox.is_full() => Turn::News,
                () = sleep_until(late) => Turn::Late,
            };
            let now = self.begin.elapsed();
            match turn {
                Turn::Told => {
                    if let Some(budget) = control.borrow_and_update().end {
                        self.end(budget).await;
                        return End::Over;
                    }
                }
                Turn::Done((answers, waiting)) => {
                    self.current = None;
                    self.answer(answers);
                    if let Some(waiting) = waiting {
                        let rpc = self.shared.rpc();
                        self.waits.spawn_local(waiting.finish(rpc));
                    }
                }
                Turn::Waited(answers) => self.answer(answers),
                Turn::Wrote(Ok(count)) if count > 0 => self.outbox.took(count, now),
                Turn::Wrote(_) => {
                    // It does not want to be told any more; it may still give commands.
                    self.stdin = None;
                    self.outbox.clear();
                }
                Turn::Read(Ok(count)) if count > 0 => self.lines.feed(&buffer[..count]),
                Turn::Read(_) => self.stdout = None,
                Turn::Exited(status) => {
                    // Its children hold its streams, and have nobody to answer to.
                    self.group.signal(Signal::KILL);
                    self.stdin = None;
                    self.outbox.clear();
                    ended = Some((status, Instant::now() + REST_TIME_MAX));
                }
                Turn::Late if ended.is_some() => {
                    return End::Ended(ended.and_then(|(status, _)| status));
                }
                Turn::News | Turn::Late => {}
            }
        }
    }

    /// Takes events over as far as there is room.
    fn take_events(&mut self) {
        let now = self.begin.elapsed();
        while !self.outbox.is_full() {
            match self.subscription.try_next() {
                Ok(_) if self.stdin.is_none() => {}
                Ok(record) => {
                    let line = wire::event(self.program.encoder, &record);
                    self.outbox.push(line, now);
                }
                Err(NoEvent::Empty | NoEvent::Ended) => return,
            }
        }
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        if !self.program.ack || self.stdin.is_none() {
            // Nobody else hears of what went wrong.
            for answer in answers {
                if let Err(why) = answer.outcome {
                    self.log(log::Level::Warn, &why);
                }
            }
            return;
        }
        // What happened before it was answered is told before it, too.
        self.take_events();
        let now = self.begin.elapsed();
        for answer in answers {
            let line = wire::answer(self.program.encoder, &answer);
            self.outbox.push(line, now);
        }
    }

    /// Begins to obey the next line; whether there was one.
    async fn next_line(&mut self) -> bool {
        let Some(line) = self.lines.next() else {
            return false;
        };
        match line {
            Line::Text(line) if line.trim().is_empty() => {}
            Line::Text(line) => match line.strip_prefix("debug ") {
                Some(rest) => self.log(log::Level::Debug, rest),
                None if line.starts_with('#') => {
                    self.log(log::Level::Info, line.trim_start_matches('#').trim());
                }
                None if self.waits.len() >= WAITS_MAX => {
                    let why = format!("{WAITS_MAX} lines wait already for what they asked for");
                    self.answer(vec![Answer::error(None, why)]);
                }
                None => {
                    let job = Job::parse(line.trim());
                    self.current = Some(Box::pin(job.run(self.shared.rpc())));
                }
            },
            Line::Garbage => self.answer(vec![Answer::error(None, "the line is not UTF-8")]),
            Line::TooLong => {
                let why = "the line is longer than 1 MiB, and was skipped";
                self.answer(vec![Answer::error(None, why)]);
            }
        }
        // One line at a time: everybody else on this thread comes in between.
        tokio::task::yield_now().await;
        true
    }

    fn log(&mut self, level: log::Level, text: &str) {
        let now = self.begin.elapsed();
        let (since, count) = &mut self.logged;
        if now.saturating_sub(*since) >= Duration::from_secs(10) {
            if *count > LOGGED_MAX {
                let more = *count - LOGGED_MAX;
                log::warn!("helper {}: {more} more lines were not logged", self.name);
            }
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count <= LOGGED_MAX {
            let words: Vec<String> = text.split(' ').map(wire::word).collect();
            let text: String = words.join(" ").chars().take(LOGGED_CHARS_MAX).collect();
            log::log!(level, "helper {}: {text}", self.name);
        }
    }

    /// Tells it to end; in steps, see [`in_steps`].
    async fn end(mut self, budget: Duration) {
        if let Some(mut stdin) = self.stdin.take() {
            let begin = Instant::now();
            let first = tokio::time::timeout(budget / 4, async {
                while !self.outbox.is_empty() {
                    match stdin.write(self.outbox.front()).await {
                        Ok(count) if count > 0 => {
                            self.outbox.took(count, self.begin.elapsed());
                        }
                        _ => return,
                    }
                }
                let _ = stdin.write_all(wire::SHUTDOWN).await;
            });
            // What it does not read in time is not said.
            let _ = first.await;
            log::debug!("helper {}: told to end in {:?}", self.name, begin.elapsed());
        }
        // It may still write, and must not wait for a reader meanwhile.
        let drain = self.stdout.take().map(|mut stdout| {
            tokio::task::spawn_local(async move {
                let mut buffer = vec![0; READ_BYTES];
                while matches!(stdout.read(&mut buffer).await, Ok(count) if count > 0) {}
            })
        });
        let ended = in_steps(&mut self.child, &self.group, budget / 2).await;
        log::debug!("helper {}: {}", self.name, ended);
        if let Some(drain) = drain {
            drain.abort();
        }
    }
}

async fn wait_for(current: Option<&mut Current>) -> (Vec<Answer>, Option<Waiting>) {
    match current {
        Some(current) => current.await,
        None => std::future::pending().await,
    }
}

async fn write(stdin: Option<&mut ChildStdin>, outbox: &Outbox) -> std::io::Result<usize> {
    match stdin {
        Some(stdin) if !outbox.is_empty() => stdin.write(outbox.front()).await,
        _ => std::future::pending().await,
    }
}

async fn read(stdout: Option<&mut ChildStdout>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match stdout {
        Some(stdout) => stdout.read(buffer).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
