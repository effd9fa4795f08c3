use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::engine::message::FileStamp;
use crate::ids::JobId;

const LONG: Duration = Duration::from_secs(20);

struct Test {
    store: Store,
    woken: Receiver<()>,
    next: u64,
}

fn start(state: &Path) -> Test {
    let (wake, woken) = bounded(10_000);
    let waker = move || {
        let _ = wake.try_send(());
    };
    let store = Store::start(state.to_owned(), Owner::Shared, waker).unwrap();
    Test {
        store,
        woken,
        next: 0,
    }
}

impl Test {
    fn submit(&mut self, session: u32, task: StoreTask) {
        self.next += 1;
        let job = StoreJob {
            id: JobId(self.next),
            session: SessionId::new(session, 0),
            task,
        };
        self.store.submit(job).unwrap();
    }

    fn take(&mut self) -> Stored {
        loop {
            if let Some(stored) = self.store.finished() {
                return stored;
            }
            self.woken
                .recv_timeout(LONG)
                .expect("a wake for each burst");
        }
    }

    fn load(&mut self, session: u32, hash: u8) -> Result<Option<Box<Progress>>, StoreFault> {
        self.submit(
            session,
            StoreTask::Load {
                info_hash: InfoHash([hash; 20]),
                root: PathBuf::from("/r"),
            },
        );
        match self.take().outcome {
            StoreOutcome::Loaded(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn save(&mut self, session: u32, progress: &Progress) -> Result<(), StoreFault> {
        self.submit(session, StoreTask::Save(Box::new(progress.clone())));
        match self.take().outcome {
            StoreOutcome::Saved(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self, session: u32, hash: u8) {
        self.submit(
            session,
            StoreTask::Release {
                info_hash: InfoHash([hash; 20]),
                root: PathBuf::from("/r"),
            },
        );
        assert!(matches!(self.take().outcome, StoreOutcome::Released));
    }
}

fn progress(hash: u8) -> Progress {
    Progress {
        info_hash: Some(InfoHash([hash; 20])),
        root: PathBuf::from("/r"),
        have: vec![0xf0, 0x80],
        partial: vec![(9, vec![0xc0])],
        stamps: vec![
            None,
            Some(FileStamp {
                length: 1 << 40,
                modified_nanos: -5,
            }),
        ],
        uploaded: 1 << 50,
        downloaded: 3,
        completed: true,
    }
}

#[test]
fn what_was_saved_is_loaded_also_by_another_process_later() {
    let state = tempfile::tempdir().unwrap();
    let state = &state.path().join("made/at/first/use");
    let mut test = start(state);
    assert!(!state.exists());
    assert_eq!(test.load(1, 7), Ok(None));
    assert_eq!(test.save(1, &progress(7)), Ok(()));
    assert_eq!(
        test.load(1, 7).unwrap().as_deref(),
        Some(&progress(7)),
        "who holds it may read it again"
    );
    let mut later = progress(7);
    (later.have, later.partial, later.completed) = (vec![0xff, 0xff], vec![], false);
    assert_eq!(test.save(1, &later), Ok(()));
    assert_eq!(test.store.stop(LONG), [""; 0]);
    assert_eq!(
        fs::read_dir(state.join("locks")).unwrap().count(),
        0,
        "stopping lets go of all rows"
    );
    let mut test = start(state);
    assert_eq!(test.load(5, 7).unwrap().as_deref(), Some(&later));
    assert_eq!(test.load(6, 8), Ok(None), "a row is one torrent's");
}

/// As after `kill -9`: nothing is closed, and what the files hold at that moment is all there is.
#[test]
fn what_was_answered_survives_a_kill() {
    let state = tempfile::tempdir().unwrap();
    let mut test = start(state.path());
    for hash in 0..20 {
        assert_eq!(test.save(u32::from(hash), &progress(hash)), Ok(()));
        let copy = tempfile::tempdir().unwrap();
        for name in ["get.db", "get.db-wal"] {
            fs::copy(state.path().join(name), copy.path().join(name)).unwrap();
        }
        let mut after = start(copy.path());
        assert_eq!(
            after.load(1, hash).unwrap().as_deref(),
            Some(&progress(hash))
        );
    }
}

#[test]
fn a_row_is_held_by_one_at_a_time() {
    let state = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (start(state.path()), start(state.path()));
    let busy = StoreFault::Busy {
        pid: std::process::id(),
    };
    assert_eq!(a.load(1, 7), Ok(None));
    assert_eq!(
        a.load(2, 7),
        Err(busy.clone()),
        "nor by two sessions of one process"
    );
    assert_eq!(b.load(1, 7), Err(busy.clone()));
    assert_eq!(b.save(1, &progress(7)), Err(busy.clone()));
    assert_eq!(b.load(2, 8), Ok(None), "the database is shared");
    assert_eq!(a.save(1, &progress(7)), Ok(()));
    a.release(2, 7);
    assert_eq!(b.load(1, 7), Err(busy), "only who holds it lets it go");
    a.release(1, 7);
    assert_eq!(b.load(1, 7).unwrap().as_deref(), Some(&progress(7)));
}

#[test]
fn two_processes_write_their_rows_at_the_same_time() {
    let state = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for hash in 0..4 {
            let state = state.path();
            scope.spawn(move || {
                let mut test = start(state);
                for uploaded in 0..50 {
                    let progress = Progress {
                        uploaded,
                        ..progress(hash)
                    };
                    assert_eq!(test.save(1, &progress), Ok(()));
                }
            });
        }
    });
    let mut test = start(state.path());
    for hash in 0..4 {
        // The threads' stores may still be letting go.
        let row = loop {
            match test.load(u32::from(hash), hash) {
                Err(StoreFault::Busy { .. }) => thread::yield_now(),
                row => break row.unwrap().unwrap(),
            }
        };
        assert_eq!(row.uploaded, 49);
    }
}

#[test]
fn a_burst_is_answered_in_order_and_in_full() {
    let state = tempfile::tempdir().unwrap();
    let mut test = start(state.path());
    let count = 1000;
    for n in 0..count {
        let hash = u8::try_from(n % 10).unwrap();
        test.submit(
            u32::from(hash),
            StoreTask::Save(Box::new(Progress {
                uploaded: n,
                ..progress(hash)
            })),
        );
    }
    for n in 1..=count {
        let stored = test.take();
        assert_eq!(stored.id, JobId(n));
        assert!(matches!(stored.outcome, StoreOutcome::Saved(Ok(()))));
    }
    assert_eq!(test.load(3, 3).unwrap().unwrap().uploaded, 993);
}

#[test]
fn beyond_the_bound_a_job_is_given_back() {
    let state = tempfile::tempdir().unwrap();
    let mut test = start(state.path());
    let root = || PathBuf::from("/r");
    let release = || StoreTask::Release {
        info_hash: InfoHash([0; 20]),
        root: root(),
    };
    for _ in 0..STORE_JOBS_MAX {
        test.submit(1, release());
    }
    let job = StoreJob {
        id: JobId(0),
        session: SessionId::new(0, 0),
        task: release(),
    };
    assert!(test.store.submit(job).is_err());
    for _ in 0..STORE_JOBS_MAX {
        test.take();
    }
    test.release(1, 0);
}

#[test]
fn a_corrupt_database_is_moved_aside_and_a_new_one_begun() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("get.db");
    let asides = || {
        fs::read_dir(state.path())
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("get.db.broken-")
            })
            .count()
    };
    fs::write(
        &path,
        "this is no database at all, but it is long enough to be looked at. ".repeat(100),
    )
    .unwrap();
    let mut test = start(state.path());
    assert_eq!(test.load(1, 7), Ok(None));
    assert_eq!(asides(), 1);
    assert_eq!(test.save(1, &progress(7)), Ok(()));
    assert_eq!(test.store.stop(LONG), [""; 0]);
    // Now spoilt within, behind a good first page.
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let mut test = start(state.path());
    assert_eq!(test.load(1, 7), Ok(None));
    assert!(asides() >= 2, "{}", asides());
    assert_eq!(test.save(1, &progress(7)), Ok(()));
    assert_eq!(test.load(1, 7).unwrap().as_deref(), Some(&progress(7)));
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("get.db");
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", SCHEMA_VERSION + 1)
        .unwrap();
    let mut test = start(state.path());
    match test.load(1, 7) {
        Err(StoreFault::Failed(text)) => assert!(text.contains("another version"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(path.exists());
}

#[test]
fn a_broken_row_is_no_row() {
    let state = tempfile::tempdir().unwrap();
    let mut test = start(state.path());
    assert_eq!(test.save(1, &progress(7)), Ok(()));
    let database = Connection::open(state.path().join("get.db")).unwrap();
    database
        .execute("UPDATE progress SET stamps = x'0102'", [])
        .unwrap();
    assert_eq!(test.load(1, 7), Ok(None));
}

#[test]
fn a_state_directory_that_cannot_be_used_fails_each_task_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::write(&state, "in the way").unwrap();
    let mut test = start(&state);
    for _ in 0..2 {
        let faults = [
            test.load(1, 7).unwrap_err(),
            test.save(1, &progress(7)).unwrap_err(),
        ];
        for fault in faults {
            match fault {
                StoreFault::Failed(text) => {
                    assert!(text.contains(state.to_str().unwrap()), "{text}")
                }
                other @ StoreFault::Busy { .. } => panic!("{other:?}"),
            }
        }
    }
    test.release(1, 7);
    fs::remove_file(&state).unwrap();
    assert_eq!(test.save(1, &progress(7)), Ok(()), "it is tried anew");

    // Only where permissions mean something to us.
    let read_only = directory.path().join("read-only");
    fs::create_dir(&read_only).unwrap();
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(read_only.join("probe"), "").is_err() {
        assert!(matches!(
            start(&read_only).load(1, 7),
            Err(StoreFault::Failed(_))
        ));
    }
}
