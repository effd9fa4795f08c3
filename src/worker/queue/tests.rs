use super::*;
use crate::ids::JobId;
use crate::rng::Rng;
use crate::worker::fixture::{Fixture, PLAIN};

fn work(fixture: &Fixture, session: u32, id: u64) -> Work {
    Work {
        id: JobId(id),
        session: SessionId::new(session, 0),
        ..fixture.work(Job::Prepare {
            create: false,
            wanted: std::sync::Arc::default(),
        })
    }
}

fn fixture() -> Fixture {
    Fixture::new(std::path::Path::new("/root"), 16_384, &[("a", 1, PLAIN)])
}

/// Even sessions lie on device 0, odd ones on device 1.
fn next(queue: &mut Queue) -> Option<(Work, Running)> {
    loop {
        match queue.next() {
            Next::Run(work, running) => return Some((work, running)),
            Next::Learn(session, _) => queue.learn(session, session.slot() as u64 % 2),
            Next::Wait => return None,
        }
    }
}

#[test]
fn sessions_take_turns() {
    let fixture = fixture();
    let mut queue = Queue::new(100);
    (0..100).for_each(|id| queue.push(work(&fixture, 1, id)));
    queue.push(work(&fixture, 2, 200));
    (300..303).for_each(|id| queue.push(work(&fixture, 3, id)));
    let ids: Vec<u64> = (0..9).map(|_| next(&mut queue).unwrap().0.id.0).collect();
    assert_eq!(
        ids,
        [0, 200, 300, 1, 301, 2, 302, 3, 4],
        "a heavy one delays the others by one job each"
    );
}

#[test]
fn a_hung_device_never_has_all_workers() {
    let fixture = fixture();
    let mut queue = Queue::new(4);
    (0..10).for_each(|id| queue.push(work(&fixture, 0, id)));
    (10..20).for_each(|id| queue.push(work(&fixture, 2, id)));
    let hung: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
    assert_eq!(hung.len(), 3, "one worker is left");
    queue.push(work(&fixture, 1, 100));
    queue.push(work(&fixture, 1, 101));
    for id in [100, 101] {
        let (work, running) = next(&mut queue).unwrap();
        assert_eq!(work.id.0, id);
        queue.finish(running, false);
    }
    assert!(next(&mut queue).is_none());
    queue.finish(hung[0].1, false);
    assert!(next(&mut queue).is_some());
    assert!(next(&mut queue).is_none());
}

#[test]
fn a_single_worker_works() {
    let fixture = fixture();
    let mut queue = Queue::new(1);
    queue.push(work(&fixture, 0, 0));
    assert!(next(&mut queue).is_some());
}

#[test]
fn every_job_is_counted_once_whatever_happens() {
    let fixture = fixture();
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut queue = Queue::new(1 + rng.index(5));
        let mut running = Vec::new();
        let mut submitted = 0;
        for _ in 0..500 {
            match rng.below(10) {
                0..=4 => {
                    let session = u32::try_from(rng.below(5)).unwrap();
                    queue.push(work(&fixture, session, submitted));
                    submitted += 1;
                }
                5..=7 => running.extend(next(&mut queue).map(|(_, running)| running)),
                8 if !running.is_empty() => {
                    let at = rng.index(running.len());
                    queue.finish(running.swap_remove(at), rng.chance(1, 3));
                }
                _ if rng.chance(1, 50) => drop(queue.cancel()),
                _ if rng.chance(1, 5) => {
                    let session = SessionId::new(u32::try_from(rng.below(5)).unwrap(), 0);
                    let there = queue.waiting.get(&session).map_or(0, VecDeque::len);
                    assert_eq!(queue.cancel_session(session).len(), there);
                }
                9 if !running.is_empty() => {
                    let at = rng.index(running.len());
                    queue.finish_cancelled(running.swap_remove(at));
                }
                _ => {}
            }
            let total = queue.stats().total();
            let sum =
                total.completed + total.failed + total.cancelled + total.queued + total.running;
            assert_eq!((total.submitted, total.submitted), (submitted, sum));
            assert_eq!(total.running, running.len() as u64);
            assert_eq!(
                total.queued,
                queue
                    .waiting
                    .values()
                    .map(|jobs| jobs.len() as u64)
                    .sum::<u64>()
            );
            assert_eq!(queue.turns.len(), queue.waiting.len());
        }
    }
}
