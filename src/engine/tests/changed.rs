//! Files that another program writes to: noticed before anything of them is served, hashed again, and served no more where
//! they are wrong. What we write ourselves is no such change.

use super::*;
use crate::engine::session::Session;

fn held(world: &World, node: usize) -> &Session {
    let session = world.session(node);
    world.nodes[node]
        .engine
        .sessions
        .get(session)
        .expect("there")
}

fn completions(world: &World, node: usize) -> usize {
    let events = world.nodes[node].events.iter();
    events
        .filter(|event| matches!(event, Event::SessionCompleted(_)))
        .count()
}

/// Another program writes to a file of `node`.
fn meddle(world: &mut World, node: usize, at: usize) {
    world.nodes[node].disk[at] ^= 1;
    world.nodes[node].modified += 1;
}

fn request(index: u32) -> Request {
    Request {
        index,
        begin: 0,
        length: 16_384,
    }
}

/// A seed of ten pieces of one block, and an unchoked guest.
fn seed() -> (World, StreamId) {
    let mut world = World::new(10 * 16_384, 16_384);
    world.node(true);
    world.pass(0, MINUTE);
    let guest = world.guest(0, 1, &[Wire::HaveNone, Wire::Interested]);
    world.pass(0, MINUTE);
    (world, guest)
}

/// The pieces that the guest was sent, and those it was refused, since the last look.
fn answers(world: &mut World, guest: StreamId) -> (Vec<u32>, Vec<u32>) {
    let said = world.nodes[0].said.get_mut(&guest).expect("a guest");
    let bytes = std::mem::take(said);
    let mut rest = &bytes[..];
    if rest.starts_with(b"\x13Bit") {
        rest = &rest[68..];
    }
    let (mut sent, mut refused) = (Vec::new(), Vec::new());
    while let Some((message, used)) = wire::decode(rest, 1 << 20).expect("well formed") {
        rest = &rest[used..];
        match message {
            Wire::Piece { index, block, .. } => {
                let from = index as usize * 16_384;
                assert_eq!(block, &world.data[from..][..block.len()], "never wrong");
                sent.push(index);
            }
            Wire::Reject(request) => refused.push(request.index),
            _ => {}
        }
    }
    (sent, refused)
}

#[test]
fn a_file_changed_in_place_while_it_is_seeded_is_not_served() {
    let (mut world, guest) = seed();
    world.say(0, guest, &[Wire::Request(request(2))]);
    while world.step() {}
    assert_eq!(answers(&mut world, guest), (vec![2], vec![]));
    meddle(&mut world, 0, 3 * 16_384 + 5);
    for piece in [2, 3, 4] {
        world.say(0, guest, &[Wire::Request(request(piece))]);
    }
    while world.step() {}
    let (sent, mut refused) = answers(&mut world, guest);
    refused.sort_unstable();
    assert_eq!((sent, refused), (vec![], vec![2, 3, 4]));
    world.pass(0, MINUTE);
    assert_eq!(world.state(0), Some(SessionState::Seeding));
    assert_eq!(held(&world, 0).picker.have().count(), 9);
    assert!(held(&world, 0).notice.contains("/r/file was changed"));
    for piece in [2, 3, 4] {
        world.say(0, guest, &[Wire::Request(request(piece))]);
    }
    while world.step() {}
    assert_eq!(answers(&mut world, guest), (vec![2, 4], vec![3]));
    world.check();
}

#[test]
fn a_file_that_was_only_touched_is_hashed_once_and_completes_no_second_time() {
    let (mut world, guest) = seed();
    assert_eq!(completions(&world, 0), 1, "the first time with this store");
    world.nodes[0].modified += 1;
    world.say(0, guest, &[Wire::Request(request(0))]);
    world.pass(0, MINUTE);
    assert_eq!(answers(&mut world, guest), (vec![], vec![0]));
    for piece in 0..10 {
        world.say(0, guest, &[Wire::Request(request(piece))]);
        while world.step() {}
    }
    assert_eq!(answers(&mut world, guest).0.len(), 10);
    assert_eq!(completions(&world, 0), 1);
    let row = world.nodes[0].row.as_ref().expect("saved");
    assert_eq!(row.stamps[0].expect("known").modified_nanos, 2);
}

#[test]
fn what_a_download_lost_to_another_program_is_fetched_again() {
    let mut world = World::new(40 * 16_384, 16_384);
    let (seeder, leecher) = (world.node(true), world.node(false));
    world.meet(leecher, seeder);
    world.until("a download", MINUTE, |world| world.has_all(leecher));
    world.pass(leecher, MINUTE);
    meddle(&mut world, leecher, 7);
    let late = world.node(false);
    world.meet(late, leecher);
    world.until("both whole", 10 * MINUTE, |world| {
        world.has_all(late) && world.has_all(leecher)
    });
    assert_eq!(world.nodes[late].engine.counters().pieces_failed, 0);
    assert_eq!(completions(&world, leecher), 2, "it was fetched once more");
    world.settle();
}

/// The time of a file moves with our own writes, also between a read and its look at the file.
#[test]
fn our_own_writes_are_no_change() {
    let mut world = World::new(200 * 16_384, 16_384);
    let (seeder, one, two) = (world.node(true), world.node(false), world.node(false));
    for (from, to) in [(one, seeder), (two, one), (two, seeder)] {
        world.meet(from, to);
    }
    let is_checking =
        |world: &World| (0..3).any(|node| world.state(node) == Some(SessionState::Checking));
    world.until("the start", MINUTE, |world| !is_checking(world));
    world.until("both whole", 10 * MINUTE, |world| {
        assert!(!is_checking(world), "nothing is doubted");
        world.has_all(one) && world.has_all(two)
    });
}

#[test]
fn a_read_that_our_own_write_overtakes_is_done_again() {
    let mut world = World::new(10 * 16_384, 16_384);
    let leecher = world.node(false);
    while world.step() {}
    let source = world.guest(leecher, 1, &[Wire::HaveAll, Wire::Unchoke]);
    let asked = world.asked(leecher, source);
    world.give(leecher, source, asked[0], false);
    // Written, flushed, saved: the file is quiet, and its time is known.
    world.pass(leecher, MINUTE);
    let reader = world.guest(leecher, 2, &[Wire::HaveNone, Wire::Interested]);
    world.pass(leecher, MINUTE);
    let index = asked[0].index;
    answers(&mut world, reader);
    world.nodes[leecher].stuck = Some(Vec::new());
    world.say(leecher, reader, &[Wire::Request(request(index))]);
    world.give(leecher, source, asked[1], false);
    world.pass(leecher, Duration::from_millis(100));
    let kept = world.nodes[leecher].stuck.as_mut().expect("kept");
    let is_read = |work: &crate::engine::message::Work| matches!(&work.job, Job::Read(run) if run.expected.len() == 1);
    assert!(is_read(&kept[0]) && kept.len() == 2, "{kept:?}");
    kept.reverse();
    world.unstick(leecher);
    assert_eq!(answers(&mut world, reader), (vec![index], vec![]));
    assert_eq!(world.state(leecher), Some(SessionState::Downloading));
}

/// The stamp that is saved must be from before the hashing, or a change between the two is never found.
#[test]
fn a_change_between_the_check_and_the_flush_is_found() {
    let mut world = World::new(10 * 16_384, 16_384);
    world.node(true);
    let is_checked = |(_, pending): &(usize, Pending)| matches!(pending, Pending::Done(done) if matches!(done.outcome, Outcome::Checked(_)));
    while !world.queue.front().is_some_and(is_checked) {
        assert!(world.step());
    }
    world.nodes[0].stuck = Some(Vec::new());
    while world.step() {}
    assert_eq!(world.state(0), Some(SessionState::Seeding));
    meddle(&mut world, 0, 7);
    world.unstick(0);
    world.pass(0, MINUTE);
    assert_eq!(held(&world, 0).picker.have().count(), 9);
    let row = world.nodes[0].row.as_ref().expect("saved");
    assert_eq!(
        row.have.iter().map(|byte| byte.count_ones()).sum::<u32>(),
        9
    );
}
