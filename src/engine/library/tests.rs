use std::path::PathBuf;

use super::*;
use crate::codec::metainfo::Metainfo;
use crate::config::Config;
use crate::engine::message::{
    Done, Fault, FaultKind, Input, Job, Message, Outcome, Output, Prepared, RelocateTask,
    SessionState, StoreOutcome,
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
    /// What the disk was asked to do with files that move, and what of it fails.
    relocated: Vec<RelocateTask>,
    in_the_way: Option<RelocateTask>,
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
            relocated: Vec::new(),
            in_the_way: None,
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
                        Job::Relocate(relocation) => {
                            self.relocated.push(relocation.task);
                            let result = match self.in_the_way {
                                Some(task) if task == relocation.task => Err(in_the_way()),
                                _ => Ok(true),
                            };
                            Outcome::Relocated(relocation, result)
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
                StoreTask::Forget { .. } => StoreOutcome::Kept(written()),
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

fn in_the_way() -> Fault {
    Fault {
        kind: FaultKind::InTheWay,
        path: PathBuf::from("/new/one"),
        message: "it is in the way".to_owned(),
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
        then: None,
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

fn to_new(carry: bool) -> Change {
    Change::Location {
        root: PathBuf::from("/new"),
        carry,
    }
}

#[test]
fn a_move_is_on_disk_before_the_first_file_goes_and_when_all_have_gone() {
    let mut bench = Bench::new();
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    bench.ask(add("one", false));
    bench.store_answers(true, &mut rows);
    rows.clear();
    let moved = bench.change(to_new(true));
    assert!(bench.relocated.is_empty() && bench.answer(moved).is_none());
    assert_eq!(bench.shown()[0].state, SessionState::Downloading, "not yet");
    let again = bench.change(to_new(true));
    let again = bench.answer(again);
    assert!(matches!(again, Some(Answer::Refused(Refusal::Moving))));
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(moved), Some(Answer::Changed(1))));
    assert_eq!(bench.relocated, [RelocateTask::Look, RelocateTask::Carry]);
    let intent = rows[0].whereabouts.as_ref().unwrap().moving.as_ref();
    assert_eq!(intent.unwrap().root, PathBuf::from("/new"));
    assert_eq!(rows[0].root, PathBuf::from("/d"));
    let last = rows.last().unwrap();
    assert_eq!(
        (&last.root, &last.whereabouts),
        (&PathBuf::from("/new"), &None)
    );
    assert_eq!(bench.shown()[0].state, SessionState::Downloading);

    // The next start finds the intent, and carries on.
    let mut kept = rows[0].clone();
    kept.metainfo = Some(Arc::new(Metainfo::decode(&torrent("one")).unwrap()));
    let mut again = Bench::new();
    let mut rows = vec![kept];
    again.store_answers(true, &mut rows);
    again.store_answers(true, &mut rows);
    assert_eq!(again.relocated, [RelocateTask::Look, RelocateTask::Carry]);
    assert_eq!(again.shown()[0].storage.layout.root, PathBuf::from("/new"));
}

#[test]
fn a_move_that_cannot_be_leaves_everything_as_it_was() {
    use RelocateTask::{Back, Carry, Look};
    for (fails, want) in [(Look, vec![Look, Back]), (Carry, vec![Look, Carry, Back])] {
        let mut bench = Bench::new();
        let mut rows = Vec::new();
        bench.store_answers(true, &mut rows);
        bench.ask(add("one", false));
        bench.store_answers(true, &mut rows);
        bench.in_the_way = Some(fails);
        bench.change(to_new(true));
        bench.store_answers(true, &mut rows);
        assert_eq!(bench.relocated, want);
        let shown = &bench.shown()[0];
        assert_eq!(shown.storage.layout.root, PathBuf::from("/d"));
        assert_eq!(shown.state, SessionState::Downloading);
        let text = "not moved: it is in the way".to_owned();
        assert_eq!(shown.trouble, Trouble::Local(text));
        assert_eq!(rows.last().unwrap().whereabouts, None);
    }
    // Nor does a store that does not work.
    let mut bench = Bench::new();
    bench.store_answers(true, &mut Vec::new());
    bench.ask(add("one", false));
    bench.store_answers(true, &mut Vec::new());
    let moved = bench.change(to_new(true));
    bench.store_answers(false, &mut Vec::new());
    let answer = bench.answer(moved);
    assert!(
        matches!(answer, Some(Answer::Refused(Refusal::NotRemembered))),
        "{answer:?}"
    );
    assert!(bench.relocated.is_empty());
    bench.store_answers(true, &mut Vec::new());
    assert_eq!(bench.shown()[0].state, SessionState::Downloading);
}

#[test]
fn a_rename_is_answered_when_it_is_done() {
    let mut bench = Bench::new();
    bench.store_answers(true, &mut Vec::new());
    bench.ask(add("one", false));
    bench.store_answers(true, &mut Vec::new());
    let rename = |path: &str, name: &str| {
        Change::Rename(Rename {
            path: PathBuf::from(path),
            name: name.to_owned(),
        })
    };
    let wrong = bench.change(rename("one", "a/b"));
    let wrong = bench.answer(wrong);
    assert!(matches!(wrong, Some(Answer::Refused(Refusal::BadName))));
    let renamed = bench.change(rename("one", "uno"));
    bench.store_answers(true, &mut Vec::new());
    assert!(matches!(bench.answer(renamed), Some(Answer::Changed(1))));
    let shown = &bench.shown()[0];
    assert_eq!(shown.storage.layout.files[0].path, PathBuf::from("uno"));
    assert_eq!(shown.metainfo.files[0].path, PathBuf::from("one"));
    bench.in_the_way = Some(RelocateTask::Carry);
    let failed = bench.change(rename("uno", "two"));
    bench.store_answers(true, &mut Vec::new());
    let failed = bench.answer(failed);
    assert!(
        matches!(failed, Some(Answer::Refused(Refusal::NotMoved))),
        "{failed:?}"
    );
}
