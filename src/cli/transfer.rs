//! What `get` and `seed` share: torrents given to an engine, followed until they are done or a signal ends them.
//!
//! Everything happens on the main thread: it waits for events, looks at signals, asks for snapshots, draws the bars. It
//! knows the engine by a trait of its own, so that this page can be tested without one.

mod followed;
mod links;
#[cfg(test)]
mod tests;
mod texts;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::actor::bus::Record;
use crate::codec::layout::FileEntry;
use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;
use crate::engine::message::{Answer, Message, Refusal, SessionAdd, SessionSnapshot};
use crate::events::Event;
use crate::ids::SessionId;
use crate::time::{Duration, Instant};

use self::followed::{Fate, Followed};
use super::bars::Bars;
use super::globs::Globs;
use super::peer_name::PeerName;
use super::signals::{Signal, Signals};
use super::{Console, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Failure, units};

/// How often snapshots are asked for.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// How soon a signal is seen.
const SIGNAL_LATENCY: Duration = Duration::from_millis(50);

/// What the shutdown may take beyond its budget before it counts as hanging.
const SHUTDOWN_SLACK: Duration = Duration::from_millis(500);

/// All that a transfer asks of the engine around it. Nothing here waits longer than a second but where it says so.
pub trait Engine {
    /// The time.
    fn now(&self) -> Instant;

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// No answer in time, or none ever: one line for a person.
    fn ask(&mut self, message: Message) -> Result<Answer, String>;

    /// The next event, waiting at most `timeout` for it. Events of every kind when `get --json` prints them, else at least
    /// those of sessions.
    fn next_event(&mut self, timeout: Duration) -> Option<Arc<Record>>;

    /// Something a person should know that belongs to no torrent, such as a port that was busy; each once.
    fn next_notice(&mut self) -> Option<String>;

    /// Writes the figures to their file, and gives them as a table: SIGUSR1.
    ///
    /// # Errors
    /// One line for a person.
    fn metrics(&mut self) -> Result<String, String>;

    /// Begins to end, within `budget` for all of it. Returns at once.
    fn begin_shutdown(&mut self, budget: Duration);

    /// Waits at most `timeout` for the end: the local work that had to be abandoned, named for a person.
    fn ended(&mut self, timeout: Duration) -> Option<Vec<String>>;
}

/// A torrent, and what of it.
pub struct Chosen {
    /// What it is.
    pub metainfo: Metainfo,
    /// A mark for each file of its layout: whether it is fetched. None means all.
    pub wanted: Vec<bool>,
}

impl Chosen {
    /// Bytes of the files that are fetched, without padding.
    fn size(&self) -> u64 {
        let files = self.metainfo.files.iter().enumerate();
        let fetched = |(at, file): &(usize, &FileEntry)| {
            file.is_regular() && self.wanted.get(*at).copied().unwrap_or(true)
        };
        files.filter(fetched).map(|(_, file)| file.length).sum()
    }
}

/// A magnet link.
pub struct Link {
    /// As it was given.
    pub text: String,
    /// What it says.
    pub magnet: Magnet,
}

/// What a person has named.
pub enum Source {
    /// A torrent.
    Torrent(Box<Metainfo>),
    /// A link to one.
    Link(Link),
}

/// What is to be done.
pub struct Order {
    /// At least one.
    pub sources: Vec<Source>,
    /// Which files are fetched; all, when there is none.
    pub select: Option<Globs>,
    /// Where torrent files that links have led to are kept until all of it is there; `None` to keep none.
    pub keep: Option<PathBuf>,
    /// Real, absolute.
    pub root: PathBuf,
    /// Pinned for every torrent.
    pub peers: Vec<PeerName>,
    /// Fetch what is missing, or only serve what is there.
    pub download: bool,
    /// Stay when everything is there.
    pub seed: bool,
    /// Print events on stdout.
    pub json: bool,
    /// For the end.
    pub budget: Duration,
}

/// Carries out `order`, until it is done or a signal ends it; the exit code.
///
/// # Errors
/// The engine refuses a torrent, or stdout fails.
pub fn run(
    order: Order,
    engine: &mut dyn Engine,
    signals: &mut dyn Signals,
    console: &mut Console,
) -> Result<u8, Failure> {
    let bars = Bars::on(console.bars());
    let mut transfer = Transfer {
        followed: Vec::new(),
        root: order.root,
        select: order.select,
        keep: order.keep,
        budget: order.budget,
        download: order.download,
        seed: order.seed,
        json: order.json,
        engine,
        signals,
        console,
        bars,
    };
    let result = transfer
        .begin(order.sources, &order.peers)
        .and_then(|()| transfer.follow());
    transfer.end(result)
}

struct Transfer<'a> {
    followed: Vec<Followed>,
    root: PathBuf,
    select: Option<Globs>,
    keep: Option<PathBuf>,
    budget: Duration,
    download: bool,
    seed: bool,
    json: bool,
    engine: &'a mut dyn Engine,
    signals: &'a mut dyn Signals,
    console: &'a mut Console,
    bars: Bars,
}

/// Why following ended.
enum Ending {
    /// Nothing is left to do.
    Over,
    /// A signal came.
    Stopped,
}

impl Transfer<'_> {
    fn begin(&mut self, sources: Vec<Source>, peers: &[PeerName]) -> Result<(), Failure> {
        // Whatever cannot be done is found out before anything is.
        let mut torrents = Vec::new();
        let mut links = Vec::new();
        for source in sources {
            match source {
                Source::Torrent(metainfo) => torrents.push(self.chosen(*metainfo, None)?),
                Source::Link(link) => match link.remembered(self.keep.as_deref()) {
                    Some(metainfo) => {
                        torrents.push(self.chosen(metainfo, Some(&link.magnet))?);
                        links.push((link, true));
                    }
                    None => links.push((link, false)),
                },
            }
        }
        for chosen in torrents {
            let name = chosen.metainfo.name.clone();
            let info_hash = chosen.metainfo.info_hash;
            let link = links
                .iter()
                .find(|(link, _)| link.magnet.info_hash == info_hash);
            let named = link.map_or(Vec::new(), |(link, _)| peers_of(link));
            let line = self.begun(&chosen);
            let add = self.session_add(chosen);
            if let Some(session) = self.take_on(add, &name)? {
                self.console.note(&line);
                self.pin(session, &[peers, &named].concat());
            }
        }
        for (link, _) in links.into_iter().filter(|(_, is_known)| !is_known) {
            let name = link.name();
            let add = link.add(&self.root);
            if let Some(session) = self.take_on(add, &name)? {
                self.console
                    .note(&format!("{name}: asking peers what it holds"));
                if let Some(followed) = self.followed.last_mut() {
                    followed.link = Some(link.magnet);
                }
                self.pin(session, peers);
            }
        }
        Ok(())
    }

    /// Gives a torrent or a link to the engine, and follows it; `None` when it is there already.
    fn take_on(&mut self, add: Message, name: &str) -> Result<Option<SessionId>, Failure> {
        let session = match self.engine.ask(add) {
            Ok(Answer::Session(session)) => session,
            Ok(Answer::Refused(Refusal::Duplicate(_))) => {
                let line = format!("{name}: named twice, taken once");
                self.console.note(&line);
                return Ok(None);
            }
            Ok(Answer::Refused(refusal)) => {
                let why = refusal;
                return Err(Failure::failed(format!("{name}: {why}")));
            }
            Ok(_) => return Err(Failure::failed(format!("{name}: an answer out of place"))),
            Err(fault) => return Err(Failure::failed(format!("{name}: {fault}"))),
        };
        let bar = self.bars.add(name);
        let now = self.engine.now();
        let followed = Followed::new(session, name.to_owned(), bar, now);
        self.followed.push(followed);
        Ok(Some(session))
    }

    fn session_add(&self, chosen: Chosen) -> Message {
        Message::SessionAdd(Box::new(SessionAdd {
            metainfo: Arc::new(chosen.metainfo),
            root: self.root.clone(),
            download: self.download,
            seed: self.seed,
            recheck: false,
            wanted: chosen.wanted,
        }))
    }

    /// What is about to be done, for a person.
    fn begun(&self, chosen: &Chosen) -> String {
        let (name, size) = (&chosen.metainfo.name, units::size(chosen.size()));
        let verb = if self.download { "to" } else { "in" };
        format!("{name}: {size} {verb} {}", self.root.display())
    }

    fn pin(&mut self, session: SessionId, peers: &[PeerName]) {
        for peer in peers {
            let message = match peer {
                PeerName::Address(address) => Message::PeerAdd {
                    session,
                    address: *address,
                },
                PeerName::Named(host, port) => Message::PeerAddNamed {
                    session,
                    host: host.as_str().into(),
                    port: *port,
                },
            };
            let why = match self.engine.ask(message) {
                Ok(Answer::Refused(refusal)) => refusal.to_string(),
                Ok(_) => continue,
                Err(fault) => fault,
            };
            self.console.note(&format!("--peer {peer}: {why}"));
        }
    }

    fn follow(&mut self) -> Result<Ending, Failure> {
        let mut next_look = self.engine.now();
        loop {
            while let Some(signal) = self.signals.next() {
                match signal {
                    Signal::Stop => return Ok(Ending::Stopped),
                    Signal::Metrics => self.tell_metrics(),
                }
            }
            while let Some(notice) = self.engine.next_notice() {
                self.console.note(&notice);
            }
            let now = self.engine.now();
            if now >= next_look {
                self.look(now)?;
                if self.is_over() {
                    return Ok(Ending::Over);
                }
                next_look = now + LOOK_PERIOD;
            }
            let pause = next_look.since(now).min(SIGNAL_LATENCY);
            if self.tell_events(pause)? {
                next_look = self.engine.now();
            }
        }
    }

    fn tell_metrics(&mut self) {
        match self.engine.metrics() {
            Ok(table) => table.lines().for_each(|line| self.console.note(line)),
            Err(fault) => self.console.note(&format!("linnet: {fault}")),
        }
    }

    /// Waits at most `pause` for events, and prints all that are there. `true` when one of them is worth a look at once.
    fn tell_events(&mut self, pause: Duration) -> Result<bool, Failure> {
        let mut pause = pause;
        let mut told = Ok(());
        let mut news = false;
        while let Some(event) = self.engine.next_event(pause) {
            pause = Duration::ZERO;
            news |= matches!(
                event.event,
                Event::SessionCompleted(_) | Event::SessionError(_) | Event::TorrentMetadata(_)
            );
            if self.json && told.is_ok() {
                let out = self.console.out();
                told = serde_json::to_writer(&mut *out, &*event)
                    .map_err(io::Error::from)
                    .and_then(|()| writeln!(out));
            }
        }
        // Unlike a listing, a transfer whose reader has gone has not done its work.
        told.and_then(|()| self.console.flush())
            .map(|()| news)
            .map_err(|fault| Failure::failed(format!("stdout: {}", fault.kind())))
    }

    /// Asks how every torrent stands.
    fn look(&mut self, now: Instant) -> Result<(), Failure> {
        for index in 0..self.followed.len() {
            if self.followed[index].link.is_some() {
                self.look_at_link(index)?;
            }
            let session = self.followed[index].session;
            // A late answer is no fault: the next look comes soon.
            if let Ok(Answer::Snapshot(snapshot)) =
                self.engine.ask(Message::SessionShow { session })
            {
                self.take(index, *snapshot, now);
            }
        }
        Ok(())
    }

    fn take(&mut self, index: usize, snapshot: SessionSnapshot, now: Instant) {
        let followed = &mut self.followed[index];
        let notices = snapshot.notices.clone();
        let error = snapshot.error.clone();
        let is_new = followed.take(snapshot, self.download, now);
        let fate = followed.fate;
        for notice in &notices {
            self.tell_once(index, notice);
        }
        match fate {
            Fate::Failed if error.is_empty() => self.tell_once(index, "nothing of it is there"),
            Fate::Ailing(_) | Fate::Failed => self.tell_once(index, &error),
            Fate::Complete if is_new => self.tell_complete(index, now),
            Fate::Complete | Fate::Underway => {}
        }
        self.draw(index);
    }

    /// Prints a torrent's notice, unless it is one of the last that were printed.
    fn tell_once(&mut self, index: usize, text: &str) {
        let followed = &mut self.followed[index];
        if followed.is_news(text) {
            self.console.note(&format!("{}: {text}", followed.name));
        }
    }

    fn tell_complete(&mut self, index: usize, now: Instant) {
        let followed = &mut self.followed[index];
        let Some(latest) = &followed.latest else {
            return;
        };
        let took = now.since(followed.began);
        let info_hash = latest.info_hash;
        let line = texts::complete(&followed.name, latest, took);
        if !self.seed
            && let Some(bar) = followed.bar.take()
        {
            self.bars.remove(bar);
        }
        self.console.note(&line);
        self.keep_no_more(info_hash);
    }

    fn draw(&mut self, index: usize) {
        let followed = &mut self.followed[index];
        if followed.bar.is_none() && (self.seed || followed.fate != Fate::Complete) {
            followed.bar = self.bars.add(&followed.name);
        }
        let (Some(bar), Some(latest)) = (&followed.bar, &followed.latest) else {
            return;
        };
        let (done, all, text) = texts::progress(latest);
        bar.show(done, all, text);
    }

    /// Whether there is nothing left to wait for.
    fn is_over(&self) -> bool {
        let mut fates = self.followed.iter().map(|followed| followed.fate);
        if self.seed {
            fates.all(|fate| fate == Fate::Failed)
        } else {
            fates.all(|fate| matches!(fate, Fate::Failed | Fate::Complete))
        }
    }

    /// Ends the engine within its budget, and says how it all went.
    fn end(&mut self, result: Result<Ending, Failure>) -> Result<u8, Failure> {
        // The first signal asks for what is under way here already; only one behind it asks for more.
        let mut stops = u32::from(matches!(result, Ok(Ending::Stopped)));
        if stops > 0 {
            // How it stands is all that is wanted now.
            let _ = self.look(self.engine.now());
        }
        self.engine.begin_shutdown(self.budget);
        let deadline = self.engine.now() + self.budget + SHUTDOWN_SLACK;
        let abandoned = loop {
            if let Some(abandoned) = self.engine.ended(SIGNAL_LATENCY) {
                break abandoned;
            }
            if self.engine.now() >= deadline {
                break vec!["the engine did not end in time".to_owned()];
            }
            while let Some(signal) = self.signals.next() {
                match signal {
                    Signal::Stop if stops == 0 => stops += 1,
                    Signal::Stop => {
                        self.console.note("linnet: stopped at once");
                        return Ok(EXIT_FAILED);
                    }
                    Signal::Metrics => self.tell_metrics(),
                }
            }
        };
        // What the end itself told, `session.stopped` for one.
        let events = self.tell_events(Duration::ZERO);
        for followed in &mut self.followed {
            if let Some(bar) = followed.bar.take() {
                self.bars.remove(bar);
            }
        }
        let ending = result?;
        events?;
        for what in &abandoned {
            let line = format!("linnet: had to be abandoned: {what}");
            self.console.note(&line);
        }
        let any = |fate: fn(Fate) -> bool| self.followed.iter().any(|one| fate(one.fate));
        if any(|fate| fate == Fate::Underway) && self.download {
            let percent = self.percent();
            let line =
                format!("linnet: interrupted at {percent} %: run the same command again to go on");
            self.console.note(&line);
        }
        let failed = any(|fate| matches!(fate, Fate::Failed | Fate::Ailing(_)));
        Ok(if failed || !abandoned.is_empty() {
            EXIT_FAILED
        } else if any(|fate| fate == Fate::Underway) && self.download {
            debug_assert!(matches!(ending, Ending::Stopped), "else it goes on");
            EXIT_INTERRUPTED
        } else {
            EXIT_OK
        })
    }

    /// How much of everything is there.
    fn percent(&self) -> u64 {
        let latest = || self.followed.iter().filter_map(|one| one.latest.as_ref());
        let have: u64 = latest().map(|latest| latest.bytes_have).sum();
        let wanted: u64 = latest().map(|latest| latest.bytes_wanted).sum();
        (have * 100).checked_div(wanted).unwrap_or(0)
    }
}

/// The peers that a link names; what is none is passed over.
fn peers_of(link: &Link) -> Vec<PeerName> {
    let peers = link.magnet.peers.iter();
    peers.filter_map(|peer| peer.parse().ok()).collect()
}

/// A mark for each file that `--select` means.
pub(super) fn choose(globs: &Globs, metainfo: &Metainfo) -> Result<Vec<bool>, Failure> {
    (globs.choose_files(metainfo))
        .map_err(|fault| Failure::failed(format!("{}: --select {fault}", metainfo.name)))
}
