//! The store: what is remembered of torrents between runs, in one SQLite database that several processes share.
//!
//! `<state>/get.db` has a row for each info-hash and real directory. A row is held by one process at a time, through a locked
//! file in `<state>/locks`. One thread does everything, in order; saves that wait together share a transaction, and are
//! answered when it is on disk (write-ahead log, `synchronous=FULL`). Nothing is opened before it is needed.
//!
//! The daemon has `<state>/linnet.db` for itself instead: the same table, and beside it the torrents that it remembers (see
//! `library`). No row is locked there; whoever starts the daemon sees to it that there is one.
//!
//! A database that is not one any more is moved aside and a new one begun: only progress is lost, which a recheck finds again.
//! A state directory that cannot be used fails each task, with a text that names it; it is tried anew with the next one.

#![allow(
    clippy::disallowed_methods,
    reason = "the one place where the store's thread is made"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use crate::engine::message::{
    Known, Progress, StoreFault, StoreJob, StoreOutcome, StoreTask, Stored,
};
use crate::ids::{InfoHash, SessionId};
use crate::time::{Duration, unix_millis};

use super::lock::{self, Lock, LockError};
use super::mail::{Inbox, Outbox, mail};
use super::row;

mod dht;
mod library;
mod limits;
mod settings;

pub use settings::read as read_settings;

/// Jobs that are given out and not yet taken back; beyond it [`Store::submit`] gives the job back. The engine asks for one a
/// session at a time.
pub const STORE_JOBS_MAX: usize = 4096;

/// Room for answers that nobody has taken yet.
const ANSWERS_MAX: usize = STORE_JOBS_MAX;

const _: () = assert!(ANSWERS_MAX >= STORE_JOBS_MAX, "the store must never wait");

/// Saves in one transaction; more wait for the next.
const BATCH_MAX: usize = 256;

/// How long another process may hold the database before a task fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Of the tables below; a database with a later one is left alone.
const SCHEMA_VERSION: i64 = 1;

/// Numbers above 2^63 - 1 do not fit SQLite and are not reached by counting bytes.
const SCHEMA: &str = "
    CREATE TABLE progress (
        info_hash  BLOB    NOT NULL,  -- 20 bytes
        root       BLOB    NOT NULL,  -- a path
        have       BLOB    NOT NULL,  -- a bit for each piece
        partial    BLOB    NOT NULL,  -- see row.rs
        stamps     BLOB    NOT NULL,  -- see row.rs
        uploaded   INTEGER NOT NULL,  -- bytes
        downloaded INTEGER NOT NULL,  -- bytes
        completed  INTEGER NOT NULL,  -- 0 or 1
        PRIMARY KEY (info_hash, root)
    ) STRICT;
    PRAGMA user_version = 1;
";

/// Whose database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `get.db`, which one-shot commands share.
    Shared,
    /// `linnet.db`, which one daemon has for itself.
    Daemon,
}

/// The store's thread. Dropping it lets what was submitted be done without waiting for it; [`Store::stop`] waits.
pub struct Store {
    jobs: Sender<StoreJob>,
    inbox: Inbox<Stored>,
    outstanding: usize,
    ended: Receiver<()>,
}

impl Store {
    /// Starts the thread over the state directory `state`, which is made with the first task. `waker` is called once a burst
    /// of answers.
    ///
    /// # Errors
    /// When the system gives us no thread.
    pub fn start(
        state: PathBuf,
        owner: Owner,
        waker: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (jobs, queue) = bounded(STORE_JOBS_MAX);
        let (outbox, inbox) = mail(ANSWERS_MAX, Arc::new(waker));
        let (end, ended) = bounded::<()>(0);
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                // Its drop is what `stop` waits for.
                let _end = end;
                Keeper::new(state, owner).run(&queue, &outbox);
            })?;
        Ok(Self {
            jobs,
            inbox,
            outstanding: 0,
            ended,
        })
    }

    /// Gives a job to the store; never blocks. Jobs are done in the order of their submission.
    ///
    /// # Errors
    /// Gives the job back when [`STORE_JOBS_MAX`] are out already.
    pub fn submit(&mut self, job: StoreJob) -> Result<(), StoreJob> {
        if self.outstanding >= STORE_JOBS_MAX {
            return Err(job);
        }
        self.jobs
            .try_send(job)
            .map_err(crossbeam_channel::TrySendError::into_inner)?;
        self.outstanding += 1;
        Ok(())
    }

    /// The next answer. After a `None` the next one wakes.
    pub fn finished(&mut self) -> Option<Stored> {
        let stored = self.inbox.take()?;
        self.outstanding -= 1;
        Some(stored)
    }

    /// Lets the store do what is waiting, close its database and let go of all rows, for at most `budget`. Returns what was
    /// abandoned, named for a person.
    #[must_use]
    pub fn stop(self, budget: Duration) -> Vec<String> {
        let Self { jobs, ended, .. } = self;
        drop(jobs);
        let timeout = after(budget);
        select! {
            recv(ended) -> _ => Vec::new(),
            recv(timeout) -> _ => vec!["store".to_owned()],
        }
    }
}

/// A row's name.
type Key = (InfoHash, PathBuf);

/// What the thread owns.
struct Keeper {
    state: PathBuf,
    owner: Owner,
    database: Option<Connection>,
    held: BTreeMap<Key, (SessionId, Lock)>,
}

/// A save that waits for its transaction.
struct Saving {
    job: StoreJob,
    result: Result<(), StoreFault>,
}

impl Keeper {
    fn new(state: PathBuf, owner: Owner) -> Self {
        Self {
            state,
            owner,
            database: None,
            held: BTreeMap::new(),
        }
    }

    fn run(mut self, queue: &Receiver<StoreJob>, outbox: &Outbox<Stored>) {
        let mut saves = Vec::new();
        while let Ok(first) = queue.recv() {
            let waiting = std::iter::once(first).chain(queue.try_iter().take(BATCH_MAX));
            for StoreJob { id, session, task } in waiting {
                let outcome = match task {
                    StoreTask::Save(_)
                    | StoreTask::Keep(_)
                    | StoreTask::Times(_)
                    | StoreTask::Forget { .. }
                    | StoreTask::KeepGroup(_)
                    | StoreTask::KeepSettings(_)
                    | StoreTask::KeepTotals(_)
                    | StoreTask::KeepNodes(_) => {
                        saves.push(Saving {
                            job: StoreJob { id, session, task },
                            result: Ok(()),
                        });
                        continue;
                    }
                    StoreTask::Load { info_hash, root } => {
                        self.save(&mut saves, outbox);
                        StoreOutcome::Loaded(self.load(session, (info_hash, root)))
                    }
                    StoreTask::Release { info_hash, root } => {
                        self.save(&mut saves, outbox);
                        self.release(session, &(info_hash, root));
                        StoreOutcome::Released
                    }
                    StoreTask::Read(torrents) => {
                        self.save(&mut saves, outbox);
                        StoreOutcome::Read(self.read(&torrents))
                    }
                    StoreTask::List => {
                        self.save(&mut saves, outbox);
                        StoreOutcome::Listed(self.with_database(library::list))
                    }
                    StoreTask::Recall => {
                        self.save(&mut saves, outbox);
                        StoreOutcome::Recalled(self.with_database(settings::recall))
                    }
                    StoreTask::RecallNodes => {
                        self.save(&mut saves, outbox);
                        StoreOutcome::Nodes(self.with_database(|database| dht::recall(database)))
                    }
                    StoreTask::ListGroups => {
                        self.save(&mut saves, outbox);
                        StoreOutcome::Groups(
                            self.with_database(|database| limits::groups(database)),
                        )
                    }
                };
                outbox.send(Stored {
                    id,
                    session,
                    outcome,
                });
            }
            self.save(&mut saves, outbox);
        }
    }

    /// Takes hold of a row, and reads it. Stays held when it cannot be read: whoever asked goes on without.
    fn load(&mut self, session: SessionId, key: Key) -> Result<Option<Box<Progress>>, StoreFault> {
        self.hold(session, &key)?;
        let found = self.with_database(|database| read_row(database, &key))?;
        Ok(found.map(Box::new))
    }

    /// Reads the torrent files of a daemon's torrents.
    fn read(&mut self, torrents: &[InfoHash]) -> Vec<Result<Known, StoreFault>> {
        self.with_database(|database| library::read(database, torrents))
            .unwrap_or_else(|fault| torrents.iter().map(|_| Err(fault.clone())).collect())
    }

    /// Writes all of `saves` in one transaction, and answers them.
    fn save(&mut self, saves: &mut Vec<Saving>, outbox: &Outbox<Stored>) {
        if saves.is_empty() {
            return;
        }
        for Saving { job, result } in saves.iter_mut() {
            let StoreTask::Save(progress) = &job.task else {
                // Whoever runs can make use of nodes that answer, whichever process has found them.
                let is_for_all = matches!(job.task, StoreTask::KeepNodes(_));
                if self.owner == Owner::Shared && !is_for_all {
                    let text = "only a daemon remembers torrents".to_owned();
                    *result = Err(StoreFault::Failed(text));
                }
                continue;
            };
            *result = match progress.info_hash {
                Some(hash) => self.hold(job.session, &(hash, progress.root.clone())),
                None => Err(StoreFault::Failed("a row needs an info-hash".to_owned())),
            };
        }
        let tasks: Vec<&StoreTask> = saves
            .iter()
            .filter(|save| save.result.is_ok())
            .map(|save| &save.job.task)
            .collect();
        let written = if tasks.is_empty() {
            Ok(())
        } else {
            self.with_database(|database| write(database, &tasks))
        };
        for Saving { job, result } in saves.drain(..) {
            let result = result.and_then(|()| written.clone());
            outbox.send(Stored {
                id: job.id,
                session: job.session,
                outcome: match job.task {
                    StoreTask::Save(_) => StoreOutcome::Saved(result),
                    _ => StoreOutcome::Kept(result),
                },
            });
        }
    }

    fn release(&mut self, session: SessionId, key: &Key) {
        let ours = |(holder, _): &(SessionId, Lock)| *holder == session;
        if self.held.get(key).is_some_and(ours) {
            self.held.remove(key);
        }
    }

    /// Makes sure that `session` holds the row.
    fn hold(&mut self, session: SessionId, key: &Key) -> Result<(), StoreFault> {
        if self.owner == Owner::Daemon {
            return Ok(());
        }
        if let Some((holder, _)) = self.held.get(key) {
            let pid = std::process::id();
            return if *holder == session {
                Ok(())
            } else {
                Err(StoreFault::Busy { pid })
            };
        }
        let path = lock::path_of(&self.state, key.0, &key.1);
        match Lock::take(&path) {
            Ok(lock) => {
                self.held.insert(key.clone(), (session, lock));
                Ok(())
            }
            Err(LockError::Busy(pid)) => Err(StoreFault::Busy { pid }),
            Err(LockError::Failed(path, error)) => Err(StoreFault::Failed(format!(
                "cannot lock {}: {error}",
                path.display()
            ))),
        }
    }

    /// Does `what` with the database, opening it when it is not open. A database that turns out to be corrupt is replaced,
    /// once.
    fn with_database<T>(
        &mut self,
        what: impl Fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreFault> {
        let path = self.state.join(match self.owner {
            Owner::Shared => "get.db",
            Owner::Daemon => "linnet.db",
        });
        let with_library = self.owner == Owner::Daemon;
        let failed = |error: &dyn std::fmt::Display| {
            StoreFault::Failed(format!("cannot use {}: {error}", path.display()))
        };
        let attempt = |database: &mut Option<Connection>| {
            if database.is_none() {
                let mut opened = open(&path)?;
                dht::prepare(&mut opened)?;
                if with_library {
                    opened.execute_batch(library::SCHEMA)?;
                    opened.execute_batch(settings::SCHEMA)?;
                }
                *database = Some(opened);
            }
            let result = what(database.as_mut().expect("opened above"));
            if result.is_err() {
                // Whatever state it is in, the next task begins with a fresh one.
                *database = None;
            }
            result
        };
        fs::create_dir_all(&self.state).map_err(|error| failed(&error))?;
        match attempt(&mut self.database) {
            // What a daemon remembers is nowhere else: a person shall decide what becomes of it.
            Err(error) if is_corrupt(&error) && !with_library => {
                replace(&path).map_err(|error| failed(&error))?;
                attempt(&mut self.database).map_err(|error| failed(&error))
            }
            result => result.map_err(|error| failed(&error)),
        }
    }
}

/// Opens the database, and makes its table when it is new.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut database = Connection::open(path)?;
    database.busy_timeout(BUSY_TIMEOUT)?;
    let version = |database: &Connection| {
        database.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    if version(&database)? == 0 {
        // Another process may be about to do the same.
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&transaction)? == 0 {
            transaction.execute_batch(SCHEMA)?;
        }
        transaction.commit()?;
    }
    if version(&database)? != SCHEMA_VERSION {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISMATCH);
        let text = "it was made by another version of this program".to_owned();
        return Err(rusqlite::Error::SqliteFailure(code, Some(text)));
    }
    Ok(database)
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Moves a corrupt database aside, with what belongs to it. Of several processes that find it so only one does.
fn replace(path: &Path) -> io::Result<()> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let _lock = Lock::wait(Path::new(&lock))?;
    let still = |database: Connection| {
        database.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    };
    match open(path).and_then(still) {
        Ok(text) if text == "ok" => return Ok(()),
        Err(error) if !is_corrupt(&error) => return Err(io::Error::other(error)),
        _ => {}
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".broken-{}", unix_millis()));
    log::warn!(
        "{} is corrupt; it is kept as {}, a new one is begun, and what was recorded of torrents is found again by checking their files",
        path.display(),
        Path::new(&aside).display(),
    );
    for suffix in ["-wal", "-shm", ""] {
        let with = |name: &std::ffi::OsStr| {
            let mut name: OsString = name.to_owned();
            name.push(suffix);
            name
        };
        match fs::rename(with(path.as_os_str()), with(&aside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn read_row(database: &Connection, key: &Key) -> rusqlite::Result<Option<Progress>> {
    let mut statement = database.prepare_cached(
        "SELECT have, partial, stamps, uploaded, downloaded, completed
         FROM progress WHERE info_hash = ?1 AND root = ?2",
    )?;
    let (info_hash, root) = key;
    let found = statement
        .query_row(params![info_hash.0, root.as_os_str().as_bytes()], |row| {
            let partial = row::decode_partial(row.get_ref(1)?.as_blob()?);
            let stamps = row::decode_stamps(row.get_ref(2)?.as_blob()?);
            let Some((partial, stamps)) = partial.zip(stamps) else {
                return Ok(None);
            };
            Ok(Some(Progress {
                info_hash: Some(*info_hash),
                root: root.clone(),
                have: row.get(0)?,
                partial,
                stamps,
                uploaded: row.get::<_, i64>(3)?.max(0).cast_unsigned(),
                downloaded: row.get::<_, i64>(4)?.max(0).cast_unsigned(),
                completed: row.get(5)?,
            }))
        })
        .optional()?;
    if found == Some(None) {
        log::warn!(
            "torrent {info_hash}: its row is broken and not used; its files are checked instead"
        );
    }
    Ok(found.flatten())
}

/// All of `tasks`, in order, in one transaction.
fn write(database: &mut Connection, tasks: &[&StoreTask]) -> rusqlite::Result<()> {
    // Immediate: with a deferred one the first write could find the database busy without waiting.
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for task in tasks {
        match task {
            StoreTask::Save(progress) => write_row(&transaction, progress)?,
            StoreTask::Keep(row) => library::keep(&transaction, row)?,
            StoreTask::Forget { info_hash } => library::forget(&transaction, *info_hash)?,
            StoreTask::Times(times) => library::note_times(&transaction, times)?,
            StoreTask::KeepGroup(group) => limits::keep_group(&transaction, group)?,
            StoreTask::KeepSettings(rows) => settings::keep(&transaction, rows)?,
            StoreTask::KeepTotals(totals) => settings::keep_totals(&transaction, totals)?,
            StoreTask::KeepNodes(nodes) => dht::keep(&transaction, nodes)?,
            StoreTask::Load { .. }
            | StoreTask::Release { .. }
            | StoreTask::Read(_)
            | StoreTask::List
            | StoreTask::ListGroups
            | StoreTask::RecallNodes
            | StoreTask::Recall => {}
        }
    }
    transaction.commit()
}

fn write_row(database: &Connection, progress: &Progress) -> rusqlite::Result<()> {
    let Some(info_hash) = progress.info_hash else {
        return Ok(());
    };
    let mut statement = database.prepare_cached(
        "INSERT OR REPLACE INTO progress
         (info_hash, root, have, partial, stamps, uploaded, downloaded, completed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    statement.execute(params![
        info_hash.0,
        progress.root.as_os_str().as_bytes(),
        progress.have,
        row::encode_partial(&progress.partial),
        row::encode_stamps(&progress.stamps),
        i64::try_from(progress.uploaded).unwrap_or(i64::MAX),
        i64::try_from(progress.downloaded).unwrap_or(i64::MAX),
        progress.completed,
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests;
