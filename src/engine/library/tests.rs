mod announces;
mod queue;

use std::path::PathBuf;

use super::*;
use crate::codec::geometry::PieceIndex;
use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;
use crate::codec::wire::{Features, Handshake};
use crate::config::Config;
use crate::engine::message::{
    Done, Fault, FaultKind, FileStamp, Input, Job, Known, Message, Outcome, Output, Prepared,
    Progress, RelocateTask, SessionState, StoreOutcome,
};
use crate::engine::session::picker::PeerHas;
use crate::engine::settings::{PARK_AFTER, Settings};
use crate::events::Event;
use crate::rng::Rng;

/// How the only file of a whole torrent looks.
const STAMP: FileStamp = FileStamp {
    length: 40_000,
    modified_nanos: 5,
};

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
    /// Torrent files by info-hash, as they were kept.
    files: BTreeMap<InfoHash, Arc<[u8]>>,
    /// What is on disk, and what was recorded of it, for torrents that are whole.
    whole: bool,
    /// What the engine wants done with sockets, and says.
    sent: Vec<Output>,
    remembered: Remembered,
    /// Whether of the rows that are loaded the last is answered first.
    store_is_backwards: bool,
}

impl Bench {
    fn new() -> Self {
        Self::with(&Config::default(), Remembered::default())
    }

    fn with(config: &Config, remembered: Remembered) -> Self {
        let mut rng = Rng::new(7);
        let settings = Settings::new(config, 4, 2, &mut rng);
        let mut bench = Self {
            engine: Engine::new(settings, rng),
            now: Instant::ZERO,
            store: VecDeque::new(),
            replies: Vec::new(),
            deleted: 0,
            relocated: Vec::new(),
            in_the_way: None,
            asked: 0,
            files: BTreeMap::new(),
            whole: false,
            sent: Vec::new(),
            remembered,
            store_is_backwards: false,
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
        self.engine.check();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Store(job) => self.store.push_back((job.id, job.session, job.task)),
                Output::Reply { reply, answer } => self.replies.push((reply, answer)),
                Output::Work(work) => {
                    let files = work.storage.layout.files.len();
                    let outcome = match work.job {
                        Job::Prepare { .. } => Outcome::Prepared(Ok(Prepared {
                            stamps: vec![self.whole.then_some(STAMP); files],
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
                output => self.sent.push(output),
            }
        }
    }

    /// The torrent file that was kept.
    fn read(&self, info_hash: InfoHash) -> Result<Known, StoreFault> {
        let bytes = self.files.get(&info_hash);
        let bytes = bytes.ok_or_else(|| StoreFault::Failed("no such file".to_owned()))?;
        Ok(Known {
            metainfo: Arc::new(Metainfo::decode(bytes).unwrap()),
            have: if self.whole { vec![0xe0] } else { Vec::new() },
        })
    }

    /// The row that was recorded of a whole torrent.
    fn row(&self, info_hash: InfoHash, root: PathBuf) -> Option<Box<Progress>> {
        self.whole.then(|| {
            Box::new(Progress {
                info_hash: Some(info_hash),
                root,
                have: vec![0xe0],
                stamps: vec![Some(STAMP)],
                uploaded: 7,
                ..Progress::default()
            })
        })
    }

    /// Lets time pass, with the store and the disk at work.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.engine.next_deadline().filter(|at| *at <= end) {
            self.now = at;
            self.input(Input::Tick);
            self.store_answers(true, &mut Vec::new());
        }
        self.now = end;
        self.input(Input::Tick);
        self.store_answers(true, &mut Vec::new());
    }

    /// The store answers all it was asked for; what is written fails when it does not `work`.
    fn store_answers(&mut self, works: bool, listed: &mut Vec<Kept>) {
        while let Some((id, session, task)) = self.next_task() {
            let written = || match works {
                true => Ok(()),
                false => Err(StoreFault::Failed("full".to_owned())),
            };
            let outcome = match task {
                StoreTask::Load { info_hash, root } => {
                    StoreOutcome::Loaded(Ok(self.row(info_hash, root)))
                }
                StoreTask::Save(_) => StoreOutcome::Saved(written()),
                StoreTask::Release { .. } => StoreOutcome::Released,
                StoreTask::List => StoreOutcome::Listed(Ok(std::mem::take(listed))),
                StoreTask::Keep(row) => {
                    if let Some(bytes) = &row.bytes {
                        self.files.insert(row.brief.info_hash, Arc::clone(bytes));
                    }
                    listed.push(*row);
                    StoreOutcome::Kept(written())
                }
                StoreTask::Read(torrents) => {
                    StoreOutcome::Read(torrents.iter().map(|hash| self.read(*hash)).collect())
                }
                StoreTask::Recall => StoreOutcome::Recalled(Ok(Box::new(self.remembered.clone()))),
                StoreTask::KeepSettings(rows) => {
                    if works {
                        let kept = &mut self.remembered.settings;
                        for row in rows {
                            kept.retain(|have| have.key != row.key);
                            kept.extend(row.value.is_some().then_some(row));
                        }
                    }
                    StoreOutcome::Kept(written())
                }
                StoreTask::KeepTotals(totals) => {
                    self.remembered.totals = totals;
                    StoreOutcome::Kept(written())
                }
                StoreTask::ListGroups => StoreOutcome::Groups(Ok(Vec::new())),
                StoreTask::RecallNodes => StoreOutcome::Nodes(Ok(Vec::new())),
                StoreTask::KeepGroup(_)
                | StoreTask::Forget { .. }
                | StoreTask::Times(_)
                | StoreTask::KeepNodes(_) => StoreOutcome::Kept(written()),
            };
            self.input(Input::Stored(Stored {
                id,
                session,
                outcome,
            }));
        }
    }

    fn next_task(&mut self) -> Option<(JobId, SessionId, StoreTask)> {
        let is_load = |job: &(_, _, StoreTask)| matches!(job.2, StoreTask::Load { .. });
        if self.store_is_backwards && self.store.iter().all(is_load) {
            return self.store.pop_back();
        }
        self.store.pop_front()
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
        while self
            .store
            .iter()
            .any(|(_, _, task)| matches!(task, StoreTask::Read(_)))
        {
            self.store_answers(true, &mut Vec::new());
        }
        match self.answer(reply) {
            Some(Answer::Torrents(snapshot)) => snapshot.torrents,
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, change: Change) -> ReplyId {
        let order = TorrentsChange {
            which: Selection::All,
            changes: vec![change],
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
        priorities: Vec::new(),
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
    assert_eq!(bench.shown()[0].state, SessionState::Stopped);
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
    bench.change(Change::Files(vec![(vec![0], FileMark::Wanted(false))]));
    bench.change(Change::Queue(Move::Up));
    bench.store_answers(true, &mut rows);
    let mut latest: BTreeMap<u32, Kept> = BTreeMap::new();
    for mut row in rows {
        row.bytes = None;
        latest.insert(row.number, row);
    }
    let mut again = Bench::new();
    again.files = bench.files;
    again.store_answers(true, &mut latest.into_values().collect());
    let shown = again.shown();
    let states: Vec<_> = shown
        .iter()
        .map(|one| (one.entry.number, one.state))
        .collect();
    assert_eq!(
        states,
        [(1, SessionState::Parked), (2, SessionState::Stopped)]
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

/// An engine with one torrent that has everything and has rested long enough to be parked.
fn parked() -> (Bench, SessionId) {
    let mut bench = Bench::new();
    bench.whole = true;
    bench.store_answers(true, &mut Vec::new());
    bench.ask(add("one", false));
    bench.store_answers(true, &mut Vec::new());
    bench.pass(PARK_AFTER * 3);
    let shown = bench.shown();
    assert_eq!(shown[0].state, SessionState::Parked);
    bench.sent.clear();
    (bench, shown[0].session)
}

fn handshake(bench: &Bench, hash: InfoHash) -> Vec<u8> {
    let mut peer_id = bench.engine.shared.settings.peer_id;
    peer_id.0[19] ^= 1;
    let handshake = Handshake {
        features: Features::default(),
        info_hash: hash,
        peer_id,
    };
    handshake.encode().to_vec()
}

#[test]
fn a_seed_that_nobody_asks_is_parked_and_shown_as_before() {
    let (mut bench, id) = parked();
    assert!(
        bench.engine.sessions.get(id).is_none(),
        "its hashes are gone from memory"
    );
    bench.engine.check();
    let shown = bench.shown().remove(0);
    assert_eq!(
        (shown.pieces_have, shown.bytes_have, shown.bytes_wanted),
        (3, 40_000, 40_000)
    );
    assert_eq!(
        (shown.uploaded, &*shown.brief.name, shown.entry.number),
        (7, "one", 1)
    );
    let detail = shown.detail.unwrap();
    assert_eq!((detail.files, detail.have), (vec![40_000], vec![0xe0]));
    // It counts as seeding all the while.
    bench.pass(Duration::from_secs(1000));
    assert!(bench.shown()[0].seconds_seeding >= 1000);
    assert_eq!(bench.engine.counters().sessions_parked, 1);
}

#[test]
fn a_handshake_wakes_it_and_is_answered_when_it_is_awake() {
    let (mut bench, id) = parked();
    let hash = bench.shown()[0].brief.info_hash;
    let mut said = handshake(&bench, hash);
    // The whole of it in two parts, with a message right behind it.
    said.extend([0, 0, 0, 1, 2]);
    bench.input(Input::Incoming {
        socket: crate::ids::SocketId(1),
        remote: "127.0.0.1:7000".parse().unwrap(),
    });
    let accepted = |output: &Output| match output {
        Output::Accept { stream, .. } => Some(*stream),
        _ => None,
    };
    let stream = bench.sent.iter().find_map(accepted).unwrap();
    let (first, rest) = said.split_at_mut(50);
    bench.input(Input::Received {
        stream,
        bytes: first,
    });
    assert!(
        bench
            .store
            .iter()
            .any(|(_, _, task)| matches!(task, StoreTask::Read(_)))
    );
    bench.input(Input::Received {
        stream,
        bytes: rest,
    });
    let greeted = |bench: &Bench| {
        bench
            .sent
            .iter()
            .any(|output| matches!(output, Output::Send { .. }))
    };
    assert!(
        !greeted(&bench),
        "nothing is promised before the files were looked at"
    );
    bench.store_answers(true, &mut Vec::new());
    assert!(greeted(&bench));
    let shown = bench.shown().remove(0);
    assert_eq!(
        (shown.session, shown.state, shown.peers),
        (id, SessionState::Seeding, 1)
    );
    assert!(
        shown.detail.unwrap().peers[0].interested_in_us,
        "what came behind was heard"
    );
    bench.engine.check();
    // Nothing was told as news: it was a seed all the while.
    let told = |output: &Output| {
        matches!(
            output,
            Output::Event(
                Event::SessionStarted(_) | Event::SessionCompleted(_) | Event::TorrentAdded(_)
            )
        )
    };
    assert!(!bench.sent.iter().any(told));
    // When the peer has gone, it rests again.
    bench.input(Input::Lost {
        stream,
        why: crate::engine::message::LostReason::HungUp,
    });
    bench.pass(PARK_AFTER * 3);
    assert_eq!(bench.shown()[0].state, SessionState::Parked);
}

#[test]
fn what_is_gone_from_the_disk_is_found_when_it_wakes_and_not_served() {
    let (mut bench, _) = parked();
    let hash = bench.shown()[0].brief.info_hash;
    bench.whole = false;
    let mut said = handshake(&bench, hash);
    bench.input(Input::Incoming {
        socket: crate::ids::SocketId(1),
        remote: "127.0.0.1:7000".parse().unwrap(),
    });
    let stream = bench.sent.iter().find_map(|output| match output {
        Output::Accept { stream, .. } => Some(*stream),
        _ => None,
    });
    bench.input(Input::Received {
        stream: stream.unwrap(),
        bytes: &mut said,
    });
    bench.store_answers(true, &mut Vec::new());
    let shown = bench.shown().remove(0);
    assert_eq!(
        (shown.state, shown.pieces_have),
        (SessionState::Downloading, 0)
    );
}

#[test]
fn commands_reach_a_torrent_that_rests() {
    let (mut bench, _) = parked();
    let mut rows = Vec::new();
    bench.change(Change::Stop);
    assert_eq!(bench.shown()[0].state, SessionState::Stopped);
    bench.change(Change::Start);
    assert_eq!(
        bench.shown()[0].state,
        SessionState::Parked,
        "there is nothing to wake for"
    );
    let labelled = bench.change(Change::Labels(vec!["b".to_owned()]));
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(labelled), Some(Answer::Changed(1))));
    assert!(rows.iter().all(|row| row.standing.whole));
    // What needs the file list wakes it, and is answered when it is done.
    let wanted = bench.change(Change::Files(vec![(vec![0], FileMark::Wanted(false))]));
    assert!(bench.answer(wanted).is_none());
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(wanted), Some(Answer::Changed(1))));
    let last = rows.last().unwrap();
    assert_eq!(
        (last.standing.bytes_wanted, &*last.wanted),
        (0, &[false][..])
    );
    bench.pass(PARK_AFTER * 3);
    assert_eq!(bench.shown()[0].state, SessionState::Parked);
    let removed = bench.change(Change::Remove { delete: true });
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(removed), Some(Answer::Changed(1))));
    assert_eq!((bench.deleted, bench.engine.sessions.len()), (1, 0));
}

/// The pieces in the order in which they would be fetched from a seed.
fn picks(bench: &Bench, id: SessionId) -> Vec<u32> {
    let mut picker = bench.engine.sessions.get(id).unwrap().picker.clone();
    let mut rng = Rng::new(1);
    std::iter::from_fn(|| picker.pick(PeerHas::All, &mut rng))
        .map(PieceIndex::get)
        .collect()
}

#[test]
fn files_of_a_higher_priority_come_first_and_a_piece_of_two_goes_with_the_first() {
    let mut bench = Bench::new();
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    let files =
        "d6:lengthi40000e4:pathl1:aeed6:lengthi20000e4:pathl1:beed6:lengthi16384e4:pathl1:cee";
    let head = format!("d4:infod5:filesl{files}e4:name1:d12:piece lengthi16384e6:pieces100:");
    let bytes: Arc<[u8]> = [head.as_bytes(), &[7; 100], b"ee"].concat().into();
    let Message::TorrentAdd(mut add) = add("d", false) else {
        unreachable!()
    };
    add.session.metainfo = Arc::new(Metainfo::decode(&bytes).unwrap());
    add.bytes = bytes;
    add.priorities = vec![Priority::Low, Priority::Normal, Priority::High];
    let added = bench.ask(Message::TorrentAdd(add));
    bench.store_answers(true, &mut rows);
    let Some(Answer::Session(id)) = bench.answer(added) else {
        panic!("it is taken on");
    };
    bench.pass(Duration::from_secs(1));
    let sorted = |mut pieces: Vec<u32>| {
        pieces.sort_unstable();
        pieces
    };
    // a is in pieces 0 to 2, b in 2 and 3, c in 3 and 4.
    let order = picks(&bench, id);
    assert_eq!(sorted(order[..2].to_vec()), [3, 4]);
    assert_eq!((order[2], sorted(order[3..].to_vec())), (2, vec![0, 1]));
    // A file that is not wanted lends its pieces nothing.
    bench.change(Change::Files(vec![(vec![2], FileMark::Wanted(false))]));
    let order = picks(&bench, id);
    assert_eq!(sorted(order[..2].to_vec()), [2, 3]);
    assert_eq!(sorted(order[2..].to_vec()), [0, 1]);
    let changed = bench.change(Change::Files(vec![(
        vec![0],
        FileMark::Priority(Priority::High),
    )]));
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(changed), Some(Answer::Changed(1))));
    let order = picks(&bench, id);
    assert_eq!((sorted(order[..3].to_vec()), order[3]), (vec![0, 1, 2], 3));
    let kept = [Priority::High, Priority::Normal, Priority::High];
    assert_eq!(*rows.last().unwrap().priorities, kept);
}

#[test]
fn what_is_changed_while_it_wakes_does_not_forget_how_it_stands() {
    let (mut bench, _) = parked();
    let mut rows = Vec::new();
    bench.change(Change::Stop);
    bench.change(Change::Files(vec![(
        vec![0],
        FileMark::Priority(Priority::High),
    )]));
    bench.store_answers(true, &mut rows);
    assert!(rows.len() >= 2);
    for row in &rows {
        assert_eq!((row.standing.pieces_have, row.standing.uploaded), (3, 7));
    }
}

#[test]
fn a_torrent_that_was_downloaded_rests_too() {
    let mut bench = Bench::new();
    bench.store_answers(true, &mut Vec::new());
    bench.ask(add("one", false));
    bench.store_answers(true, &mut Vec::new());
    bench.pass(PARK_AFTER * 2);
    let id = bench.shown()[0].session;
    assert_eq!(bench.shown()[0].state, SessionState::Downloading);
    let session = bench.engine.sessions.get_mut(id).unwrap();
    for piece in session.geometry().pieces() {
        session.picker.set_have(piece);
    }
    bench.engine.complete_if_whole(id);
    bench.input(Input::Tick);
    bench.pass(PARK_AFTER * 3);
    assert!(bench.engine.sessions.get(id).is_none(), "it is parked");
    assert_eq!(bench.shown()[0].state, SessionState::Parked);
}

#[test]
fn a_new_torrent_stands_behind_all_others_whoever_was_removed() {
    let mut bench = Bench::new();
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    for name in ["one", "two", "six"] {
        bench.ask(add(name, false));
    }
    let which = Selection::Some(vec![TorrentKey::Number(1)]);
    let changes = vec![Change::Remove { delete: false }];
    let order = TorrentsChange { which, changes };
    bench.ask(Message::TorrentsChange(Box::new(order)));
    bench.ask(add("new", false));
    bench.store_answers(true, &mut rows);
    let mut places: Vec<(u32, String)> = (bench.shown().iter())
        .map(|one| (one.entry.position, one.brief.name.to_string()))
        .collect();
    places.sort();
    let names: Vec<&str> = places.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["two", "six", "new"]);
    places.dedup_by_key(|(place, _)| *place);
    assert_eq!(places.len(), 3, "each has a place of its own");
}

#[test]
fn several_changes_are_made_or_refused_together() {
    let (mut bench, _) = parked();
    let change = |changes: Vec<Change>| {
        let which = Selection::All;
        Message::TorrentsChange(Box::new(TorrentsChange { which, changes }))
    };
    let labels = Change::Labels(vec!["new".to_owned()]);
    let refused = bench.ask(change(vec![
        labels.clone(),
        Change::Trackers(TrackersChange::Remove(vec![77])),
    ]));
    assert!(matches!(
        bench.answer(refused),
        Some(Answer::Refused(Refusal::UnknownTracker))
    ));
    assert_eq!(*bench.shown()[0].entry.labels, ["a".into()]);
    let done = bench.ask(change(vec![labels, Change::PeerLimit(3)]));
    bench.store_answers(true, &mut Vec::new());
    assert!(matches!(bench.answer(done), Some(Answer::Changed(1))));
    let shown = bench.shown().remove(0);
    assert_eq!(
        (&*shown.entry.labels, shown.entry.peer_limit),
        (&["new".into()][..], 3)
    );
}

#[test]
fn a_recheck_and_an_idle_goal_work_while_it_rests() {
    let (mut bench, id) = parked();
    bench.change(Change::Goals {
        ratio_mode: None,
        ratio_mille: None,
        idle_mode: Some(Mode::Own),
        idle_minutes: Some(10),
    });
    bench.pass(Duration::from_secs(700));
    let shown = bench.shown().remove(0);
    assert_eq!(
        (shown.state, shown.entry.finished),
        (SessionState::Paused, true)
    );
    bench.change(Change::Start);
    bench.whole = false;
    bench.change(Change::Recheck);
    bench.store_answers(true, &mut Vec::new());
    assert_eq!(
        bench.shown()[0].pieces_have,
        0,
        "there is nothing on disk any more"
    );
    assert!(bench.engine.sessions.get(id).is_some());
}

#[test]
fn what_was_whole_rests_from_the_start_and_what_was_not_wakes() {
    let (mut bench, _) = parked();
    let mut rows = Vec::new();
    bench.ask(add("two", true));
    bench.store_answers(true, &mut rows);
    bench.change(Change::Labels(Vec::new()));
    bench.store_answers(true, &mut rows);
    let mut latest: BTreeMap<u32, Kept> = BTreeMap::new();
    for mut row in rows {
        row.bytes = None;
        row.paused = false;
        row.standing.whole &= row.number == 1;
        latest.insert(row.number, row);
    }
    let mut again = Bench::new();
    again.files = bench.files;
    let mut rows: Vec<Kept> = latest.into_values().collect();
    let (id, _, _) = again.store.pop_front().unwrap();
    again.input(Input::Stored(Stored {
        id,
        session: NOBODY,
        outcome: StoreOutcome::Listed(Ok(std::mem::take(&mut rows))),
    }));
    let read: Vec<_> = again
        .store
        .iter()
        .filter(|(_, _, task)| matches!(task, StoreTask::Read(_)))
        .collect();
    assert_eq!(read.len(), 1, "one torrent file is read, not two");
    again.store_answers(true, &mut Vec::new());
    let states: Vec<_> = again.shown().iter().map(|one| one.state).collect();
    assert_eq!(states, [SessionState::Parked, SessionState::Downloading]);
    again.engine.check();
}

#[test]
fn the_end_waits_for_nothing_where_nothing_is_under_way() {
    let (mut bench, _) = parked();
    bench.ask(Message::Shutdown {
        budget: Duration::from_secs(2),
    });
    assert!(
        bench
            .sent
            .iter()
            .any(|output| matches!(output, Output::Stopped(_)))
    );
    let times = |task: &StoreTask| matches!(task, StoreTask::Times(times) if times.len() == 1);
    assert!(bench.store.iter().any(|(_, _, task)| times(task)));
}

#[test]
fn a_torrent_file_that_cannot_be_read_is_an_error_and_not_an_end() {
    let (mut bench, _) = parked();
    let files = std::mem::take(&mut bench.files);
    bench.change(Change::Recheck);
    bench.store_answers(true, &mut Vec::new());
    let shown = bench.shown().remove(0);
    assert_eq!(shown.state, SessionState::Error);
    assert_eq!(shown.trouble, Trouble::Local("no such file".to_owned()));
    bench.files = files;
    bench.change(Change::Start);
    bench.store_answers(true, &mut Vec::new());
    assert_eq!(bench.shown()[0].state, SessionState::Seeding);
}

#[test]
fn a_link_waits_for_its_metadata_and_outlives_a_restart() {
    const LINK: &str =
        "magnet:?xt=urn:btih:c12fe1c06bba254a9dc9f519b335aa7c1367a88a&tr=http://t.example/a";
    let bytes = torrent("one");
    let metainfo = Metainfo::decode(&bytes).unwrap();
    let mut magnet = Magnet::parse(LINK).unwrap();
    magnet.info_hash = metainfo.info_hash;
    let mut bench = Bench::new();
    let mut rows = Vec::new();
    bench.store_answers(true, &mut rows);
    let link = |paused| {
        Message::MagnetAdd(Box::new(MagnetAdd {
            brief: Brief::of_magnet(&magnet, LINK, PathBuf::from("/d")),
            paused,
            labels: Vec::new(),
            then: None,
            hold: false,
        }))
    };
    let added = bench.ask(link(false));
    assert!(bench.answer(added).is_none());
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(added), Some(Answer::Session(_))));
    let again = bench.ask(link(false));
    assert!(matches!(
        bench.answer(again),
        Some(Answer::Refused(Refusal::Duplicate(_)))
    ));
    assert_eq!(bench.shown()[0].state, SessionState::Metadata);
    // What it does not have cannot be chosen; what any torrent has can.
    let wanted = bench.change(Change::Files(vec![(vec![0], FileMark::Wanted(false))]));
    assert!(matches!(
        bench.answer(wanted),
        Some(Answer::Refused(Refusal::UnknownFile))
    ));
    for change in [
        Change::Stop,
        Change::Start,
        Change::Recheck,
        Change::Labels(vec!["x".to_owned()]),
    ] {
        let changed = bench.change(change);
        bench.store_answers(true, &mut rows);
        assert!(matches!(bench.answer(changed), Some(Answer::Changed(1))));
    }
    bench.pass(Duration::from_secs(1000));
    let kept = rows.pop().unwrap();
    // There are no files of it: it is removed with them all the same.
    let removed = bench.change(Change::Remove { delete: true });
    bench.store_answers(true, &mut rows);
    assert!(matches!(bench.answer(removed), Some(Answer::Changed(1))));
    assert!(bench.shown().is_empty());
    let mut bench = Bench::new();
    bench.store_answers(true, &mut vec![kept]);
    let shown = bench.shown().remove(0);
    assert_eq!(
        (shown.state, shown.brief.magnet.as_deref()),
        (SessionState::Metadata, Some(LINK))
    );
    assert_eq!(*shown.entry.labels, ["x".into()]);
    bench.engine.check();
    // The torrent file is what the link was for.
    let file = bench.ask(add("one", false));
    bench.store_answers(true, &mut Vec::new());
    assert!(matches!(
        bench.answer(file),
        Some(Answer::Refused(Refusal::Duplicate(_)))
    ));
    let shown = bench.shown().remove(0);
    assert_eq!(
        (shown.state, shown.entry.number, shown.brief.piece_count),
        (SessionState::Downloading, 1, 3)
    );
    assert_eq!(
        *shown.brief.trackers, magnet.trackers,
        "the file names none"
    );
    let told = |output: &Output| matches!(output, Output::Event(Event::TorrentMetadata(_)));
    assert_eq!(bench.sent.iter().filter(|output| told(output)).count(), 1);
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
    assert_eq!(rows[0].brief.root, PathBuf::from("/d"));
    let last = rows.last().unwrap();
    assert_eq!(
        (&last.brief.root, &last.whereabouts),
        (&PathBuf::from("/new"), &None)
    );
    assert_eq!(bench.shown()[0].state, SessionState::Downloading);

    // The next start finds the intent, and carries on.
    let kept = rows[0].clone();
    let mut again = Bench::new();
    again.files = bench.files;
    let mut rows = vec![kept];
    again.store_answers(true, &mut rows);
    again.store_answers(true, &mut rows);
    assert_eq!(again.relocated, [RelocateTask::Look, RelocateTask::Carry]);
    assert_eq!(again.shown()[0].brief.root, PathBuf::from("/new"));
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
        assert_eq!(shown.brief.root, PathBuf::from("/d"));
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
    assert_eq!(&*shown.brief.name, "uno");
    let detail = shown.detail.as_ref().unwrap();
    assert_eq!(detail.storage.layout.files[0].path, PathBuf::from("uno"));
    assert_eq!(detail.metainfo.files[0].path, PathBuf::from("one"));
    bench.in_the_way = Some(RelocateTask::Carry);
    let failed = bench.change(rename("uno", "two"));
    bench.store_answers(true, &mut Vec::new());
    let failed = bench.answer(failed);
    assert!(
        matches!(failed, Some(Answer::Refused(Refusal::NotMoved))),
        "{failed:?}"
    );
}
