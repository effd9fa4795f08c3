use std::path::PathBuf;

use super::*;
use crate::codec::metainfo::Metainfo;
use crate::config::Config;
use crate::engine::message::{
    Done, Input, Job, Message, Outcome, Output, Prepared, SessionState, StoreOutcome,
};
use crate::engine::settings::Settings;
use crate::rng::Rng;

/// An engine whose store answers when it is told to, and whose disk is empty.
struct Bench {
    engine: Engine,
    now: Instant,
    /// What the store was asked for and has not answered.
    store: VecDeque<(JobId, SessionId, StoreTask)>,
    replies: Vec<(ReplyId, Answer)>,
    deleted: usize,
    asked: u64,
}

impl Bench {
    fn new() -> Self {
        let mut rng = Rng::new(7);
        let settings = Settings::new(&Config::default(), 4, 2, &mut rng);
        let mut bench = Self {
            engine: Engine::new(settings, rng),
            now: Instant::ZERO,
            store: VecDeque::new(),
            replies: Vec::new(),
            deleted: 0,
            asked: 0,
        };
        bench.ask(Message::LibraryLoad {
            epoch_millis: 1_700_000_000_000,
        });
        bench
    }

    fn ask(&mut self, message: Message) -> ReplyId {
        self.asked += 1;
        let reply = ReplyId(self.asked);
        self.input(Input::Message {
            message,
            reply: Some(reply),
        });
        reply
    }

    fn input(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Store(job) => self.store.push_back((job.id, job.session, job.task)),
                Output::Reply { reply, answer } => self.replies.push((reply, answer)),
                Output::Work(work) => {
                    let files = work.storage.layout.files.len();
                    let outcome = match work.job {
                        Job::Prepare { .. } => Outcome::Prepared(Ok(Prepared {
                            stamps: vec![None; files],
                            space: None,
                        })),
                        Job::Sync { .. } => Outcome::Synced(Ok(Vec::new())),
                        Job::Close => Outcome::Closed,
                        Job::Delete => {
                            self.deleted += 1;
                            Outcome::Deleted(Ok(()))
                        }
                        other => panic!("an empty disk needs no {}", other.kind()),
                    };
                    let done = Done {
                        id: work.id,
                        session: work.session,
                        outcome,
                    };
                    self.input(Input::Done(done));
                }
                _ => {}
            }
        }
    }

    /// The store answers all it was asked for; what is written fails when it does not `work`.
    fn store_answers(&mut self, works: bool, listed: &mut Vec<Kept>) {
        while let Some((id, session, task)) = self.store.pop_front() {
            let written = || match works {
                true => Ok(()),
                false => Err(StoreFault::Failed("full".to_owned())),
            };
            let outcome = match task {
                StoreTask::Load { .. } => StoreOutcome::Loaded(Ok(None)),
                StoreTask::Save(_) => StoreOutcome::Saved(written()),
                StoreTask::Release { .. } => StoreOutcome::Released,
                StoreTask::List => StoreOutcome::Listed(Ok(std::mem::take(listed))),
                StoreTask::Keep(row) => {
                    listed.push(*row);
                    StoreOutcome::Kept(written())
                }
                StoreTask::ListGroups => StoreOutcome::Groups(Ok(Vec::new())),
                StoreTask::KeepGroup(_) | StoreTask::Forget { .. } => StoreOutcome::Kept(written()),
            };
            self.input(Input::Stored(Stored {
                id,
                session,
                outcome,
            }));
        }
    }

    /// The answer, if there is one; each is given once.
    fn answer(&mut self, reply: ReplyId) -> Option<Answer> {
        let at = self.replies.iter().position(|(of, _)| *of == reply)?;
        Some(self.replies.remove(at).1)
    }

    fn shown(&mut self) -> Vec<TorrentSnapshot> {
        let order = TorrentsShow {
            which: Selection::All,
            detail: true,
        };
        let reply = self.ask(Message::TorrentsShow(Box::new(order)));
        match self.answer(reply) {
            Some(Answer::Torrents(snapshot)) => snapshot.torrents,
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, change: Change) -> ReplyId {
        let order = TorrentsChange {
            which: Selection::All,
            change,
        };
        self.ask(Message::TorrentsChange(Box::new(order)))
    }
}

fn torrent(name: &str) -> Arc<[u8]> {
    let head = format!(
        "d4:infod6:lengthi40000e4:name{}:{name}12:piece lengthi16384e6:pieces60:",
        name.len()
    );
    [head.as_bytes(), &[7; 60], b"ee"].concat().into()
}

fn add(name: &str, paused: bool) -> Message {
    let bytes = torrent(name);
    Message::TorrentAdd(Box::new(TorrentAdd {
        session: SessionAdd {
            metainfo: Arc::new(Metainfo::decode(&bytes).unwrap()),
            root: PathBuf::from("/d"),
            download: true,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        },
        bytes,
        paused,
        labels: vec!["a".to_owned()],
    }))
}

#[test]
fn a_change_is_answered_when_it_is_on_disk_and_not_before() {
    let mut bench = Bench::new();
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(ReplyId(1)), Some(Answer::Done)));
    let added = bench.ask(add("one", false));
    assert!(bench.answer(added).is_none(), "nothing is on disk yet");
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(added), Some(Answer::Session(_))));
    assert!(
        rows[0].bytes.is_some(),
        "the torrent file goes with its first row"
    );
    assert_eq!((rows[0].number, rows[0].added), (1, 1_700_000_000));
    assert_eq!(bench.shown()[0].state, SessionState::Downloading);

    let stopped = bench.change(Change::Stop);
    assert!(bench.answer(stopped).is_none());
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(stopped), Some(Answer::Changed(1))));
    assert_eq!(bench.shown()[0].state, SessionState::Paused);
    let last = rows.last().unwrap();
    assert!(last.paused && last.bytes.is_none());
}

#[test]
fn a_torrent_that_cannot_be_remembered_is_not_there() {
    let mut bench = Bench::new();
    bench.store_answers(true, &mut Vec::new());
    let added = bench.ask(add("one", false));
    bench.store_answers(false, &mut Vec::new());
    let answer = bench.answer(added);
    assert!(
        matches!(answer, Some(Answer::Refused(Refusal::NotRemembered))),
        "{answer:?}"
    );
    assert!(bench.shown().is_empty());
    bench.store_answers(true, &mut Vec::new());
    // And can be added when the store works again.
    let added = bench.ask(add("one", false));
    bench.store_answers(true, &mut Vec::new());
    assert!(matches!(bench.answer(added), Some(Answer::Session(_))));
    assert_eq!(
        bench.shown()[0].entry.number,
        2,
        "numbers are not given twice"
    );
}

#[test]
fn what_was_kept_is_taken_on_again_in_its_order() {
    let mut bench = Bench::new();
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    for (name, paused) in [("one", false), ("two", true)] {
        bench.ask(add(name, paused));
    }
    bench.change(Change::Wanted {
        files: vec![0],
        wanted: false,
    });
    bench.change(Change::Queue(Move::Up));
    bench.store_answers(true, &mut rows);
    let mut latest: BTreeMap<u32, Kept> = BTreeMap::new();
    for mut row in rows {
        let name = if row.number == 1 { "one" } else { "two" };
        row.metainfo = Some(Arc::new(Metainfo::decode(&torrent(name)).unwrap()));
        row.bytes = None;
        latest.insert(row.number, row);
    }
    let mut again = Bench::new();
    again.store_answers(true, &mut latest.into_values().collect());
    let shown = again.shown();
    let states: Vec<_> = shown
        .iter()
        .map(|one| (one.entry.number, one.state))
        .collect();
    assert_eq!(
        states,
        [(1, SessionState::Seeding), (2, SessionState::Paused)]
    );
    assert!(
        shown.iter().all(|one| one.bytes_wanted == 0),
        "nothing is wanted"
    );
    assert_eq!(*shown[1].entry.labels, ["a".into()]);
    let added = again.ask(add("three", true));
    again.store_answers(true, &mut Vec::new());
    assert!(again.answer(added).is_some());
    assert_eq!(again.shown()[2].entry.number, 3);
}

#[test]
fn removal_is_answered_when_the_row_is_gone_and_saves_nothing_more() {
    for delete in [false, true] {
        let mut bench = Bench::new();
        let mut rows = Vec::new();
        bench.store_answers(true, &mut rows);
        bench.ask(add("one", false));
        bench.store_answers(true, &mut rows);
        let removed = bench.change(Change::Remove { delete });
        assert!(bench.answer(removed).is_none());
        assert!(bench.shown().is_empty(), "nobody sees it any more");
        let saves = |task: &StoreTask| matches!(task, StoreTask::Save(_) | StoreTask::Keep(_));
        assert!(!bench.store.iter().any(|(_, _, task)| saves(task)));
        bench.store_answers(true, &mut rows);
        assert!(matches!(bench.answer(removed), Some(Answer::Changed(1))));
        assert_eq!(bench.deleted, usize::from(delete));
        assert_eq!(bench.engine.sessions.len(), 0);
    }
}

#[test]
fn a_recheck_waits_for_what_is_in_flight_and_begins_again() {
    let mut bench = Bench::new();
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    bench.ask(add("one", false));
    bench.store_answers(true, &mut rows);
    let id = bench.shown()[0].session;
    // A save is out: the check must not begin before it is back.
    let session = bench.engine.sessions.get_mut(id).unwrap();
    session.jobs += 1;
    bench.change(Change::Recheck);
    assert_eq!(bench.shown()[0].state, SessionState::Checking);
    assert!(bench.engine.sessions.get(id).unwrap().entry.recheck);
    let back = StoreOutcome::Saved(Ok(()));
    bench.input(Input::Stored(Stored {
        id: JobId(u64::MAX),
        session: id,
        outcome: back,
    }));
    assert_eq!(bench.shown()[0].state, SessionState::Downloading);
}
