//! The addresses that one swarm leaves alone (requirement D20): the source design's nine cases, its time, its bound.

use super::desk::{Desk, at};
use super::*;
use crate::engine::message::{Accounting, Direction};
use crate::engine::table::IGNORED_MAX;
use crate::ids::SwarmId;

fn fail(desk: &mut Desk, n: u16, swarm: SwarmId) {
    desk.create(at(n), swarm);
    desk.account(at(n), swarm, Accounting::Failed);
}

fn addresses(desk: &mut Desk, swarm: SwarmId) -> Vec<SocketAddr> {
    let ignored = desk.ignored(swarm);
    ignored.iter().map(|ignored| ignored.address).collect()
}

#[test]
fn empty_one_three_and_fifty() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    for many in [0, 1, 3, 50] {
        for n in 0..many {
            // Those that are there already are renewed.
            fail(&mut desk, n, swarm);
        }
        let want: Vec<SocketAddr> = (0..many).map(at).collect();
        assert_eq!(addresses(&mut desk, swarm), want);
    }
}

#[test]
fn a_duplicate_renews() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    fail(&mut desk, 1, swarm);
    desk.pass(Duration::from_secs(600));
    fail(&mut desk, 1, swarm);
    let ignored = desk.ignored(swarm);
    assert_eq!(ignored.len(), 1);
    assert_eq!(ignored[0].until, desk.now + Duration::from_secs(900));
    assert_eq!(ignored[0].why, "failed");
    let saved = desk.engine.counters().dials_saved;
    assert_eq!(saved, 1, "it was offered once more meanwhile");
}

#[test]
fn two_swarms_are_isolated() {
    let mut desk = Desk::new();
    let (one, two) = (desk.swarm(1), desk.swarm(2));
    fail(&mut desk, 1, one);
    fail(&mut desk, 2, two);
    assert_eq!(addresses(&mut desk, one), [at(1)]);
    assert_eq!(addresses(&mut desk, two), [at(2)]);
}

#[test]
fn the_list_goes_with_its_swarm() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    fail(&mut desk, 1, swarm);
    desk.ask(Message::SwarmRemove { swarm });
    let again = desk.swarm(1);
    assert!(desk.ignored(again).is_empty(), "an empty question");
    let unknown = desk.ask(Message::IgnoredShow { swarm });
    assert!(matches!(unknown, Answer::Refused(Refusal::UnknownSwarm)));
}

#[test]
fn an_entry_is_over_after_nine_hundred_seconds() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    fail(&mut desk, 1, swarm);
    desk.pass(MINUTE);
    fail(&mut desk, 2, swarm);
    let first = desk.ignored(swarm);
    desk.pass(Duration::from_secs(839));
    assert!(Arc::ptr_eq(&first, &desk.ignored(swarm)), "unchanged");
    desk.pass(Duration::from_secs(1));
    assert_eq!(addresses(&mut desk, swarm), [at(2)]);
    desk.pass(MINUTE);
    assert!(desk.ignored(swarm).is_empty());
}

#[test]
fn the_list_is_bounded_and_the_first_to_end_goes() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    for n in 0..=IGNORED_MAX as u16 {
        fail(&mut desk, n, swarm);
        desk.pass(Duration::from_millis(1));
    }
    let ignored = addresses(&mut desk, swarm);
    assert_eq!(ignored.len(), IGNORED_MAX);
    assert!(!ignored.contains(&at(0)));
}

#[test]
fn only_what_was_created_is_ignored() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    // Requirement D21: the source design ignored an address also when its link could not be made.
    let own: SocketAddr = "10.0.0.1:6881".parse().unwrap();
    for address in [own, "0.0.0.0:1".parse().unwrap(), at(9)] {
        if address != at(9) {
            desk.ask(Message::LinkCreate { address, swarm });
        }
        desk.account(address, swarm, Accounting::Failed);
    }
    assert!(desk.ignored(swarm).is_empty());
}

#[test]
fn a_ban_is_on_the_list_of_every_swarm_that_knows_the_address() {
    let mut desk = Desk::new();
    let (one, two, three) = (desk.swarm(1), desk.swarm(2), desk.swarm(3));
    let link = desk.create(at(1), one);
    desk.create(at(1), two);
    let other_port = SocketAddr::new(at(1).ip(), 7);
    desk.create(other_port, two);
    desk.create(at(3), three);
    for swarm in [one, two, three] {
        assert!(desk.ignored(swarm).is_empty());
    }
    desk.engine.table.ban(link, at(1), None);
    assert_eq!(addresses(&mut desk, one), [at(1)]);
    assert_eq!(addresses(&mut desk, two), [other_port, at(1)]);
    assert!(desk.ignored(three).is_empty());
    let ignored = desk.ignored(one);
    assert_eq!(
        (ignored[0].until, ignored[0].why),
        (Instant::FAR, "bad data")
    );
    assert_eq!(desk.link_events(), [("ignored", at(1))]);
    // For good, whoever asks.
    let answer = desk.add(at(1), Direction::Outgoing, 1, None);
    assert!(matches!(answer, Answer::Refused(Refusal::WrongState)));
    let answer = desk.add(other_port, Direction::Outgoing, 1, None);
    assert!(matches!(answer, Answer::Refused(Refusal::WrongState)));
}
