use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::engine::message::{Outcome, Verdict};
use crate::ids::{JobId, SessionId};
use crate::worker::fixture::{Fixture, PLAIN, bytes_of};

const LONG: Duration = Duration::from_secs(20);

/// A pool whose waker sends into a channel.
fn pool(threads: u32) -> (Pool, Receiver<()>, Arc<AtomicUsize>) {
    let (wake, woken) = bounded(10_000);
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    let waker = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = wake.try_send(());
    };
    (Pool::start(threads, waker).unwrap(), woken, wakes)
}

fn take(pool: &mut Pool, woken: &Receiver<()>, count: usize) -> Vec<Completion> {
    let mut taken = Vec::new();
    loop {
        taken.extend(std::iter::from_fn(|| pool.finished()));
        if taken.len() == count {
            return taken;
        }
        woken
            .recv_timeout(LONG)
            .expect("a wake for what is finished");
    }
}

#[test]
fn jobs_come_back_with_their_handles() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(
        directory.path(),
        65_536,
        &[("a", 300_000, PLAIN), ("b", 200_000, PLAIN)],
    );
    let (mut pool, woken, _) = pool(3);
    assert_eq!(pool.threads(), 3);
    let pieces = fixture.pieces();
    for &piece in &pieces {
        let pieces = vec![fixture.commit(piece)];
        pool.submit(fixture.work(Job::Commit { pieces })).unwrap();
    }
    for completion in take(&mut pool, &woken, pieces.len()) {
        assert!(!completion.opened.is_empty());
        match completion.done.outcome {
            Outcome::Committed(pieces) => assert_eq!(pieces[0].verdict, Verdict::Good),
            other => panic!("{other:?}"),
        }
    }
    pool.submit(fixture.work(Job::Read(fixture.run(290_000, 30_000, 16_384))))
        .unwrap();
    let completion = take(&mut pool, &woken, 1).pop().unwrap();
    assert_eq!(completion.opened.len(), 2);
    match completion.done.outcome {
        Outcome::Read(run, Ok(())) => assert!(bytes_of(&run) == fixture.content[290_000..320_000]),
        other => panic!("{other:?}"),
    }
    pool.submit(fixture.work(Job::Check {
        pieces,
        digests: false,
    }))
    .unwrap();
    let completion = take(&mut pool, &woken, 1).pop().unwrap();
    assert!(completion.opened.is_empty(), "a check offers nothing");
    pool.submit(fixture.work(Job::Close)).unwrap();
    take(&mut pool, &woken, 1);
    let total = pool.stats().total();
    assert_eq!((total.submitted, total.completed), (total.completed, 11));
    assert_eq!(pool.stop(LONG), [""; 0]);
}

#[test]
fn a_flood_is_given_back_beyond_the_bound_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(directory.path(), 65_536, &[("a", 1, PLAIN)]);
    let (mut pool, woken, wakes) = pool(2);
    let job = |id| Work {
        id: JobId(id),
        ..fixture.work(Job::Prepare {
            create: false,
            wanted: Arc::default(),
        })
    };
    for id in 0..JOBS_MAX as u64 {
        pool.submit(job(id)).unwrap();
    }
    let back = pool.submit(job(u64::MAX)).unwrap_err();
    assert_eq!(back.id, JobId(u64::MAX));
    let mut ids: Vec<u64> = take(&mut pool, &woken, JOBS_MAX)
        .iter()
        .map(|c| c.done.id.0)
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..JOBS_MAX as u64));
    pool.submit(back).unwrap();
    take(&mut pool, &woken, 1);
    assert!(
        wakes.load(Ordering::SeqCst) <= JOBS_MAX,
        "never more wakes than jobs"
    );
    let mut lone = pool.stats().total();
    lone.submitted -= lone.completed;
    assert_eq!(
        lone,
        super::super::Counts {
            completed: JOBS_MAX as u64 + 1,
            ..Default::default()
        }
    );
}

/// Runners that hang on device 1 until they are let go.
fn hanging(threads: usize, gate: &Receiver<()>) -> (Pool, Receiver<()>) {
    let (wake, woken) = bounded(1000);
    let make = |_| {
        let gate = gate.clone();
        let runner: Runner = Box::new(move |work| {
            if work.storage.layout.root == Path::new("/hung") {
                let _ = gate.recv();
            }
            let done = Done {
                id: work.id,
                session: work.session,
                outcome: Outcome::Closed,
            };
            Completion {
                done,
                opened: Vec::new(),
            }
        });
        runner
    };
    let device = |root: &Path| Device::from(root == Path::new("/hung"));
    let waker = Arc::new(move || {
        let _ = wake.try_send(());
    });
    let pool = Pool::start_with(threads, make, device, waker).unwrap();
    (pool, woken)
}

#[test]
fn a_hung_disk_stops_no_other_and_the_end_is_on_time() {
    let (gate, held) = bounded::<()>(0);
    let (mut pool, woken) = hanging(3, &held);
    let hung = Fixture::new(Path::new("/hung"), 16_384, &[("a", 1, PLAIN)]);
    let well = Fixture::new(Path::new("/well"), 16_384, &[("a", 1, PLAIN)]);
    for session in 0..10 {
        let session = SessionId::new(session, 0);
        pool.submit(Work {
            session,
            ..hung.work(Job::Close)
        })
        .unwrap();
    }
    for _ in 0..20 {
        let session = SessionId::new(100, 0);
        pool.submit(Work {
            session,
            ..well.work(Job::Close)
        })
        .unwrap();
    }
    take(&mut pool, &woken, 20);
    let total = pool.stats().total();
    assert_eq!((total.running, total.queued), (2, 8));
    let abandoned = pool.stop(Duration::from_millis(50));
    assert_eq!(abandoned.len(), 3, "{abandoned:?}");
    assert!(
        abandoned[0].contains("close of torrent 0101"),
        "{abandoned:?}"
    );
    assert_eq!(abandoned[2], "8 jobs that no worker had begun");
    drop(gate);
}

#[test]
fn starting_and_stopping_leaves_nothing_behind() {
    for _ in 0..50 {
        let (pool, _, _) = pool(4);
        assert_eq!(pool.stop(LONG), [""; 0]);
    }
}

#[test]
fn workers_have_names_and_are_nicer() {
    let (wake, woken) = bounded(10);
    let make = |_| -> Runner {
        Box::new(|work| {
            let nice = rustix::process::getpriority_process(Some(rustix::thread::gettid()));
            assert_eq!(thread::current().name(), Some("worker-0"));
            let done = Done {
                id: JobId(u64::try_from(nice.unwrap()).unwrap()),
                session: work.session,
                outcome: Outcome::Closed,
            };
            Completion {
                done,
                opened: Vec::new(),
            }
        })
    };
    let waker = Arc::new(move || {
        let _ = wake.try_send(());
    });
    let mut pool = Pool::start_with(1, make, device_of, waker).unwrap();
    let fixture = Fixture::new(Path::new("/"), 16_384, &[("a", 1, PLAIN)]);
    pool.submit(fixture.work(Job::Close)).unwrap();
    let nice = take(&mut pool, &woken, 1)[0].done.id.0;
    assert!(nice >= 5, "{nice}");
}

#[test]
fn devices_are_told_apart_by_the_table_of_mounts() {
    let table = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 22 0:25 / /dev/shm rw - tmpfs tmpfs rw\n\
        31 22 8:1 / /mnt/a\\040b rw shared:1 - xfs /dev/sda1 rw\n\
        32 31 8:2 / /mnt/a\\040b/c rw shared:1 - xfs /dev/sda2 rw\n\
        broken line\n";
    #[rustfmt::skip]
    let paths: &[(&str, Device)] = &[
        ("/home/me",      254 << 32),
        ("/dev/shm/x",    25),
        ("/dev/shmx",     254 << 32),
        ("/mnt/a b/d",    8 << 32 | 1),
        ("/mnt/a b/c/d",  8 << 32 | 2),
    ];
    for &(path, device) in paths {
        assert_eq!(device_in(table, Path::new(path)), device, "{path}");
    }
    assert_eq!(device_in(b"", Path::new("/")), 0);
}

/// Its worker is named, everybody else goes on, and whoever asks never waits.
#[test]
fn a_job_that_hangs_is_overdue_and_holds_up_nobody() {
    let (gate, held) = bounded::<()>(0);
    let (mut pool, woken) = hanging(2, &held);
    let hung = Fixture::new(Path::new("/hung"), 16_384, &[("a", 1, PLAIN)]);
    let well = Fixture::new(Path::new("/well"), 16_384, &[("a", 1, PLAIN)]);
    assert!(!pool.watch(Instant::ZERO), "nothing to look at");
    pool.submit(hung.work(Job::Close)).unwrap();
    let session = SessionId::new(100, 0);
    for second in 0..100 {
        pool.submit(Work {
            session,
            ..well.work(Job::Close)
        })
        .unwrap();
        take(&mut pool, &woken, 1);
        assert!(pool.watch(Instant::ZERO + Duration::from_secs(second)));
    }
    let total = pool.stats().total();
    assert_eq!((total.overdue, total.running, total.completed), (1, 1, 100));
    drop(gate);
    take(&mut pool, &woken, 1);
    assert!(!pool.watch(Instant::ZERO + Duration::from_secs(200)));
    assert_eq!(pool.stats().total().overdue, 1);
}

/// A torrent is removed in the middle of a long check: what waits is gone at once, what runs breaks off at its next strip, and
/// the other torrent's jobs are all done.
#[test]
fn removing_a_torrent_in_a_long_check_leaves_no_job_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let length = 64 << 20;
    let fixture = Fixture::new(directory.path(), 1 << 20, &[("a", length, PLAIN)]);
    fs::write(fixture.layout().path(0), &fixture.content).unwrap();
    let (mut pool, woken, _) = pool(2);
    let check = || Job::Check {
        pieces: fixture.pieces(),
        digests: false,
    };
    let of = |session, job| Work {
        session: SessionId::new(session, 0),
        ..fixture.work(job)
    };
    let blocks = Vec::new();
    for _ in 0..100 {
        pool.submit(of(1, check())).unwrap();
    }
    pool.submit(of(1, Job::Write { blocks })).unwrap();
    for _ in 0..3 {
        pool.submit(of(
            2,
            Job::Check {
                pieces: fixture.pieces()[..3].to_vec(),
                digests: false,
            },
        ))
        .unwrap();
    }
    let gone = pool.cancel(SessionId::new(1, 0));
    let checks = gone
        .iter()
        .all(|work| matches!(work.job, Job::Check { .. }));
    assert!(checks && gone.len() >= 98, "{}", gone.len());
    let done = take(&mut pool, &woken, 104 - gone.len());
    let of_second = |done: &&Completion| done.done.session.slot() == 2;
    for completion in done.iter().filter(of_second) {
        let Outcome::Checked(checked) = &completion.done.outcome else {
            panic!("{completion:?}");
        };
        assert!(checked.iter().all(|piece| piece.verdict == Verdict::Good));
    }
    assert_eq!(done.iter().filter(of_second).count(), 3);
    let written = |done: &&Completion| matches!(done.done.outcome, Outcome::Written { .. });
    assert_eq!(
        done.iter().filter(written).count(),
        1,
        "what writes is done"
    );
    let total = pool.stats().total();
    assert_eq!((total.queued, total.running, total.submitted), (0, 0, 104));
    assert_eq!(total.completed + total.cancelled, 104);
    assert_eq!(pool.stop(LONG), [""; 0]);
}
