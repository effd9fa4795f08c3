//! The life of a session: paused, stopped and failing at every moment, and what is remembered of it.

use super::*;

fn fault(kind: FaultKind) -> Fault {
    Fault {
        kind,
        path: PathBuf::from("/r/file"),
        message: "the disk".to_owned(),
    }
}

fn ones(row: &Progress) -> u32 {
    row.have.iter().map(|byte| byte.count_ones()).sum()
}

/// A seed that is stopped in the middle of its first check must not be remembered as one without data.
#[test]
fn a_check_that_was_stopped_is_done_again() {
    let mut world = World::new(2_000_000, 16_384);
    world.node(true);
    while !matches!(world.queue.front(), Some((_, Pending::Done(done))) if matches!(done.outcome, Outcome::Checked(_)))
    {
        assert!(world.step());
    }
    let budget = Duration::from_secs(2);
    world.tell(0, Message::Shutdown { budget });
    world.until("the end", MINUTE, |world| world.nodes[0].stopped);
    let row = world.nodes[0].row.clone();
    if let Some(row) = &row {
        assert_eq!(row.stamps, [None], "nothing is said of what was not hashed");
    }
    let again = world.node(true);
    world.nodes[again].row = row;
    world.until("a seed", MINUTE, |world| world.has_all(again));
    let session = world.session(again);
    let held = world.nodes[again].engine.sessions.get(session);
    assert!(held.is_some_and(super::super::session::Session::has_everything));
    world.tell(again, Message::Shutdown { budget });
    world.until("the end", MINUTE, |world| world.nodes[again].stopped);
    let row = world.nodes[again].row.clone().expect("saved");
    assert!(row.stamps[0].is_some() && ones(&row) == 123, "{row:?}");
}

#[test]
fn a_check_that_failed_goes_on_where_it_was() {
    let mut world = World::new(2_000_000, 16_384);
    world.node(true);
    while !matches!(world.queue.front(), Some((_, Pending::Done(done))) if matches!(done.outcome, Outcome::Checked(_)))
    {
        assert!(world.step());
    }
    let (_, pending) = world.queue.front_mut().expect("there");
    let Pending::Done(Done {
        outcome: Outcome::Checked(checked),
        ..
    }) = pending
    else {
        panic!("a check");
    };
    checked[0].verdict = Verdict::Failed(fault(FaultKind::Failed));
    world.step();
    assert_eq!(world.state(0), Some(SessionState::Error));
    world.until("a seed", MINUTE, |world| world.has_all(0));
    let session = world.session(0);
    let held = world.nodes[0].engine.sessions.get(session);
    assert!(held.is_some_and(super::super::session::Session::has_everything));
}

#[test]
fn what_was_known_survives_files_that_cannot_be_looked_at() {
    let mut world = World::new(100_000, 16_384);
    world.node(true);
    while !matches!(world.queue.front(), Some((_, Pending::Stored(_)))) {
        assert!(world.step());
    }
    let known = Progress {
        have: vec![0xfe],
        stamps: vec![Some(FileStamp {
            length: 100_000,
            modified_nanos: 1,
        })],
        uploaded: 5,
        completed: true,
        ..Progress::default()
    };
    let (_, pending) = world.queue.front_mut().expect("there");
    let Pending::Stored(stored) = pending else {
        panic!("the store");
    };
    stored.outcome = StoreOutcome::Loaded(Ok(Some(Box::new(known))));
    world.step();
    let (_, pending) = world.queue.front_mut().expect("there");
    let Pending::Done(done) = pending else {
        panic!("a job");
    };
    done.outcome = Outcome::Prepared(Err(fault(FaultKind::Denied)));
    world.until("a seed", MINUTE, |world| world.has_all(0));
    let session = world.session(0);
    let held = world.nodes[0].engine.sessions.get(session).expect("there");
    assert_eq!(held.progress.uploaded_before, 5);
    assert!(held.progress.completed_before);
}

#[test]
fn a_pause_at_any_moment_is_kept() {
    for steps in 0..12 {
        let mut world = World::new(300_000, 16_384);
        let seeder = world.node(true);
        while world.step() {}
        let leecher = world.node(false);
        let session = world.session(leecher);
        for _ in 0..steps {
            world.step();
        }
        world.tell(leecher, Message::SessionPause { session });
        world.meet(leecher, seeder);
        world.pass(leecher, MINUTE);
        assert_eq!(world.state(leecher), Some(SessionState::Paused), "{steps}");
        world.tell(leecher, Message::SessionResume { session });
        world.until("a download", MINUTE, |world| world.has_all(leecher));
        world.settle();
    }
}

/// Two checks of one piece: the second verdict closed a piece that had been opened again.
#[test]
fn a_piece_in_place_is_judged_once_whatever_is_paused() {
    let mut config = Config::default();
    config.workers.cache_mib = 16;
    let mut world = World::new(8 << 20, 8 << 20);
    let leecher = world.node_with(false, 9, &config);
    while world.step() {}
    let liar = world.guest(leecher, 1, &[Wire::HaveAll, Wire::Unchoke]);
    loop {
        let asked = world.asked(leecher, liar);
        if asked.is_empty() {
            break;
        }
        for request in asked {
            if request.begin == (8 << 20) - BLOCK_LENGTH {
                while world.step() {}
                world.pass(leecher, Duration::from_millis(50));
            }
            world.give(leecher, liar, request, true);
        }
        while world.step() {}
    }
    world.nodes[leecher].stuck = Some(Vec::new());
    world.pass(leecher, Duration::from_millis(30));
    let kept = world.nodes[leecher].stuck.take().expect("kept");
    for work in kept {
        let outcome = world.run(leecher, work.job);
        let done = Done {
            id: work.id,
            session: work.session,
            outcome,
        };
        // Written; the check that follows is kept.
        world.nodes[leecher].stuck.get_or_insert_default();
        world.input(leecher, Input::Done(done));
    }
    let session = world.session(leecher);
    world.tell(leecher, Message::SessionPause { session });
    world.tell(leecher, Message::SessionResume { session });
    let checks = world.nodes[leecher].stuck.as_ref().expect("kept").iter();
    let checks = checks.filter(|work| matches!(work.job, Job::Check { .. }));
    assert_eq!(checks.count(), 1);
    world.unstick(leecher);
    assert_eq!(world.nodes[leecher].engine.counters().pieces_failed, 1);
}

/// A steady download always has something new to flush; it must be saved all the same.
#[test]
fn a_download_that_never_rests_is_saved_as_it_goes() {
    let mut world = leecher_of(400 * 16_384);
    let guest = world.guest(0, 1, &[Wire::HaveAll, Wire::Unchoke]);
    let mut waiting = VecDeque::new();
    let mut flushes = Vec::new();
    world.nodes[0].stuck = Some(Vec::new());
    for _ in 0..300 {
        waiting.extend(world.asked(0, guest));
        if let Some(request) = waiting.pop_front() {
            world.give(0, guest, request, false);
        }
        world.pass(0, Duration::from_millis(100));
        // Every job takes a round, a flush two.
        let jobs = world.nodes[0].stuck.replace(Vec::new()).expect("kept");
        let is_flush = |work: &crate::engine::message::Work| matches!(work.job, Job::Sync { .. });
        let (slow, quick): (Vec<_>, Vec<_>) = jobs.into_iter().partition(is_flush);
        for work in quick
            .into_iter()
            .chain(std::mem::replace(&mut flushes, slow))
        {
            let outcome = world.run(0, work.job);
            let (id, session) = (work.id, work.session);
            let done = Done {
                id,
                session,
                outcome,
            };
            world.input(0, Input::Done(done));
        }
    }
    let saved = world.nodes[0].rows.iter().filter(|row| ones(row) > 0);
    assert!(saved.count() >= 3, "{:?}", world.nodes[0].rows.len());
}

fn leecher_of(total: usize) -> World {
    let mut world = World::new(total, 16_384);
    world.node(false);
    while world.step() {}
    world
}

/// What a flush did not bring to the disk is hashed at the next start, even if a later flush of the file succeeds.
#[test]
fn a_failed_flush_leaves_the_file_in_doubt() {
    let mut world = leecher_of(4 * 16_384);
    let guest = world.guest(0, 1, &[Wire::HaveAll, Wire::Unchoke]);
    let asked = world.asked(0, guest);
    world.give(0, guest, asked[0], false);
    let mut failed = false;
    for _ in 0..400 {
        world.pass(0, Duration::ZERO);
        let next = world.nodes[0].engine.next_deadline().expect("timers");
        world.now = next;
        world.input(0, Input::Tick);
        for (_, pending) in &mut world.queue {
            if let Pending::Done(Done { outcome, .. }) = pending
                && matches!(outcome, Outcome::Synced(_))
                && !std::mem::replace(&mut failed, true)
            {
                *outcome = Outcome::Synced(Err(fault(FaultKind::Failed)));
            }
        }
        if failed {
            break;
        }
    }
    assert!(failed);
    world.pass(0, MINUTE);
    for request in &asked[1..] {
        world.give(0, guest, *request, false);
    }
    let budget = Duration::from_secs(2);
    world.tell(0, Message::Shutdown { budget });
    world.until("the end", MINUTE, |world| world.nodes[0].stopped);
    assert_eq!(world.nodes[0].row.as_ref().expect("saved").stamps, [None]);
}

#[test]
fn every_message_is_answered_once_at_any_end() {
    for steps in 0..8 {
        for hung in [false, true] {
            let mut world = World::new(300_000, 16_384);
            world.node(true);
            for _ in 0..steps {
                world.step();
            }
            if hung {
                world.nodes[0].stuck = Some(Vec::new());
                world.queue.clear();
            }
            let session = world.session(0);
            let mut count = world.nodes[0].replies.len() as u64;
            let mut tell = |world: &mut World, message| {
                let reply = Some(ReplyId(count));
                count += 1;
                world.input(0, Input::Message { message, reply });
            };
            let budget = Duration::from_secs(2);
            tell(&mut world, Message::SessionRemove { session });
            tell(&mut world, Message::SessionRemove { session });
            tell(&mut world, Message::Shutdown { budget });
            tell(&mut world, Message::SessionPause { session });
            tell(&mut world, Message::Shutdown { budget });
            world.until("the end", MINUTE, |world| world.nodes[0].stopped);
            tell(&mut world, Message::Shutdown { budget });
            let mut replies: Vec<u64> = world.nodes[0].replies.iter().map(|(id, _)| id.0).collect();
            replies.sort_unstable();
            assert_eq!(replies, (0..count).collect::<Vec<_>>(), "{steps} {hung}");
        }
    }
}

/// Jobs that only look and read come back at once; what was received and is whole is written all the same.
#[test]
fn a_removed_torrent_waits_for_no_check() {
    let mut world = World::new(300 * 16_384, 16_384);
    world.node(true);
    while !matches!(world.queue.front(), Some((_, Pending::Done(done))) if matches!(done.outcome, Outcome::Prepared(_)))
    {
        assert!(world.step());
    }
    world.nodes[0].stuck = Some(Vec::new());
    while world.step() {}
    let session = world.session(0);
    let waiting = |world: &World| world.nodes[0].stuck.as_ref().map_or(0, Vec::len);
    assert!(waiting(&world) > 0 && world.state(0) == Some(SessionState::Checking));
    world.tell(0, Message::SessionRemove { session });
    while world.step() {}
    // What is left is the close of its files.
    assert_eq!(waiting(&world), 1);
    world.unstick(0);
    assert!(matches!(
        world.nodes[0].replies.last(),
        Some((_, Answer::Done))
    ));
    assert_eq!(world.state(0), None);
    world.check();
}

#[test]
fn reads_of_a_removed_torrent_give_their_blocks_back() {
    let mut world = World::new(300 * 16_384, 16_384);
    world.node(true);
    world.pass(0, MINUTE);
    let guest = world.guest(0, 1, &[Wire::HaveNone, Wire::Interested]);
    world.pass(0, MINUTE);
    world.nodes[0].stuck = Some(Vec::new());
    for index in 0..20 {
        let request = Request {
            index,
            begin: 0,
            length: 16_384,
        };
        world.say(0, guest, &[Wire::Request(request)]);
    }
    assert!(world.nodes[0].engine.shared.pool.taken() > 0);
    let session = world.session(0);
    world.tell(0, Message::SessionRemove { session });
    while world.step() {}
    assert_eq!(world.nodes[0].engine.shared.pool.taken(), 0);
    world.unstick(0);
    assert_eq!(world.state(0), None);
}

/// A person waits for the prompt: a tracker that never answers has a quarter of the budget, and is no failure.
#[test]
fn a_silent_tracker_holds_up_the_end_for_a_quarter_of_the_budget() {
    let mut world = World::new(100_000, 16_384);
    let mut metainfo = Metainfo::clone(&world.metainfo);
    metainfo.trackers = vec![vec!["http://t.example/announce".to_owned()]];
    world.metainfo = Arc::new(metainfo);
    world.node(true);
    world.pass(0, Duration::from_secs(10));
    let began = world.now;
    let budget = Duration::from_secs(2);
    world.tell(0, Message::Shutdown { budget });
    assert!(!world.nodes[0].stopped);
    world.until("the end", MINUTE, |world| world.nodes[0].stopped);
    assert_eq!(world.now.since(began), budget / 4);
    let row = world.nodes[0].row.as_ref().expect("saved");
    assert!(row.stamps[0].is_some());
}

/// Answers find their session by number alone, and numbers that are never answered are not kept.
#[test]
fn answers_of_udp_trackers_find_their_session_whatever_was_lost() {
    use crate::codec::announce::udp::{UdpAnswer, UdpBody, decode_request, encode_answer};

    let mut world = World::new(100_000, 16_384);
    let mut metainfo = Metainfo::clone(&world.metainfo);
    let tier = |last| vec![format!("udp://10.9.9.{last}:6969")];
    metainfo.trackers = (1..=40).map(tier).collect();
    world.metainfo = Arc::new(metainfo);
    world.node(true);
    for _ in 0..50 {
        world.pass(0, 10 * MINUTE);
        let engine = &world.nodes[0].engine;
        let open = engine
            .sessions
            .iter()
            .filter_map(|(_, session)| session.trackers.as_ref());
        let open: usize = open.map(|trackers| trackers.status().count()).sum();
        assert!(engine.transactions.len() <= 64.max(2 * open));
    }
    assert!(
        world.nodes[0].datagrams.len() > 500,
        "numbers enough to be swept"
    );
    // The one that was asked last answers.
    while world.nodes[0].datagrams.is_empty() || {
        let next = world.nodes[0].engine.next_deadline().expect("timers");
        let before = world.nodes[0].datagrams.len();
        world.now = next.max(world.now);
        world.input(0, Input::Tick);
        world.nodes[0].datagrams.len() == before
    } {}
    let (from, request) = world.nodes[0].datagrams.last().expect("asked").clone();
    let asked = decode_request(&request).expect("ours");
    assert_eq!(asked.announce, None, "for a connection");
    let body = UdpBody::Connect { connection: 5 };
    let answer = UdpAnswer {
        transaction: asked.transaction,
        body,
    };
    let bytes = &mut encode_answer(&answer, false)[..];
    let before = world.nodes[0].datagrams.len();
    world.input(0, Input::Datagram { from, bytes });
    let (to, announce) = &world.nodes[0].datagrams[before];
    assert_eq!(*to, from);
    assert!(decode_request(announce).expect("ours").announce.is_some());
}

/// Told before the first byte is asked for, and over when there is room.
#[test]
fn a_download_that_does_not_fit_waits_for_room() {
    let mut world = World::new(4 << 20, 16_384);
    let (seeder, leecher) = (world.node(true), world.node(false));
    let space = |free, unallocated| {
        Some(Space {
            device: 1,
            free,
            unallocated,
        })
    };
    world.nodes[leecher].space = space((4 << 20) - 1, 4 << 20);
    while world.step() {}
    assert_eq!(world.state(leecher), Some(SessionState::Error));
    let session = world.session(leecher);
    world.tell(leecher, Message::SessionShow { session });
    let Some((_, Answer::Snapshot(snapshot))) = world.nodes[leecher].replies.last() else {
        panic!("a snapshot");
    };
    let want = "not enough space in /r: 4 MiB are needed, 3 MiB are free";
    assert_eq!((&*snapshot.error, snapshot.error_lasts), (want, false));
    world.meet(leecher, seeder);
    world.pass(leecher, 5 * MINUTE);
    assert_eq!(world.state(leecher), Some(SessionState::Error));
    // Another client has allocated half of it.
    world.nodes[leecher].space = space(2 << 20, 2 << 20);
    world.until("a download", 5 * MINUTE, |world| world.has_all(leecher));
    // It fits exactly; and a seed needs no room at all.
    let fits = world.node(false);
    world.nodes[fits].space = space(4 << 20, 4 << 20);
    world.meet(fits, seeder);
    let full = world.node(true);
    world.nodes[full].space = space(0, 4 << 20);
    world.until("both", 5 * MINUTE, |world| {
        world.has_all(fits) && world.has_all(full)
    });
}
