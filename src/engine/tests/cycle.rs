//! The life of a link, row by row (requirement 1.3), as far as callers carry its streams; `adopted` and `world` have the rest.

use super::desk::{Desk, at, refusal};
use super::*;
use crate::engine::message::{Accounting, Direction, StreamName};
use crate::ids::ConnectionId;
use Direction::{Incoming, Outgoing};

#[test]
fn l1_a_link_is_created_associated_and_not_ignored() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    let link = desk.create(at(1), swarm);
    let found = desk.find(at(1), swarm).expect("it belongs to the swarm");
    assert_eq!((found.link, found.state), (link, "disconnected"));
    assert_eq!(found.direction, Outgoing, "it can be dialled");
    assert!(!found.member && !found.pinned);
    // Unlike the source design: the record itself prevents duplicates (requirement X17).
    assert!(desk.ignored(swarm).is_empty());
    assert!(desk.events.is_empty());
}

#[test]
fn l2_a_pinned_link_is_there_and_stays() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    let link = desk.pin(at(1), swarm);
    assert!(desk.find(at(1), swarm).is_some_and(|found| found.pinned));
    desk.stream(at(1), Outgoing, 1);
    desk.account(at(1), swarm, Accounting::Failed);
    let found = desk.find(at(1), swarm).expect("it is pinned");
    assert_eq!((found.link, found.member), (link, false));
    desk.ask(Message::Unpin {
        address: at(1),
        swarm,
    });
    assert!(desk.find(at(1), swarm).is_some_and(|found| !found.pinned));
}

#[test]
fn l3_an_incoming_stream_makes_a_link_that_cannot_be_dialled() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    desk.stream(at(1), Incoming, 1);
    assert_eq!(desk.link_events(), [("established", at(1))]);
    assert_eq!(desk.by_state(), [0, 0, 1, 0]);
    assert_eq!(desk.find(at(1), swarm), None, "of no swarm yet");
    desk.end(1);
    assert_eq!(desk.link_events(), [("lost", at(1))]);
    assert_eq!(desk.by_state(), [0; 4], "nothing to dial: forgotten");
}

#[test]
fn l5_a_link_is_dialled_elsewhere_from_now_on() {
    let mut desk = Desk::new();
    let (one, two) = (desk.swarm(1), desk.swarm(2));
    let link = desk.create(at(1), one);
    desk.pin(at(1), two);
    let to = at(2);
    let answer = desk.ask(Message::LinkUpdate {
        address: at(1),
        ip: to.ip(),
        port: to.port(),
    });
    assert_eq!(refusal(&answer), None);
    assert_eq!(desk.find(at(1), one), None);
    assert_eq!(desk.find(at(2), one).map(|found| found.link), Some(link));
    assert_eq!(desk.find(at(2), two).map(|found| found.pinned), Some(true));
    // The old address is free again.
    assert_ne!(desk.create(at(1), one), link);
}

#[test]
fn l7_an_outgoing_stream_establishes_its_link() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    let link = desk.create(at(1), swarm);
    desk.stream(at(1), Outgoing, 1);
    assert_eq!(desk.link_events(), [("established", at(1))]);
    let found = desk.find(at(1), swarm).expect("there");
    assert_eq!((found.link, found.state), (link, "established"));
    assert!(!found.member, "that is another fact");
    assert!(desk.links(swarm, true).is_empty());
}

#[test]
fn l9_a_verdict_makes_a_member_once() {
    let mut desk = Desk::new();
    let (one, two) = (desk.swarm(1), desk.swarm(2));
    desk.create(at(1), one);
    desk.stream(at(1), Outgoing, 1);
    for _ in 0..2 {
        desk.account(at(1), one, Accounting::Member);
        let count = desk.count(one);
        assert_eq!((count.links, count.uplinks, count.downlinks), (1, 1, 0));
    }
    // One stream carries one swarm: another needs another (requirement X5).
    desk.account(at(1), two, Accounting::Member);
    assert_eq!(desk.count(two).links, 0);
    desk.stream(at(1), Incoming, 2);
    desk.account(at(1), two, Accounting::Member);
    assert_eq!(desk.count(two).downlinks, 1);
    assert_eq!(desk.link_events(), [("established", at(1))]);
}

#[test]
fn l9_a_stream_that_named_a_swarm_waits_for_that_one() {
    let mut desk = Desk::new();
    let (one, two) = (desk.swarm(1), desk.swarm(2));
    desk.add(at(1), Incoming, 1, Some(two));
    desk.account(at(1), one, Accounting::Member);
    assert_eq!(desk.count(one).links, 0);
    assert_eq!(desk.count(two).links, 0, "named is not accounted");
    desk.account(at(1), two, Accounting::Member);
    assert_eq!(desk.count(two).downlinks, 1);
}

#[test]
fn l10_a_bad_verdict_takes_the_link_out_for_a_while() {
    for verdict in [Accounting::Leaves, Accounting::Failed] {
        let mut desk = Desk::new();
        let (one, two) = (desk.swarm(1), desk.swarm(2));
        desk.member(at(1), Outgoing, 1, one);
        desk.create(at(1), two);
        desk.stream(at(1), Outgoing, 2);
        desk.account(at(1), two, Accounting::Member);
        desk.link_events();
        desk.account(at(1), one, verdict);
        assert_eq!(desk.find(at(1), one), None, "association dropped");
        let other = desk.find(at(1), two).expect("shared links stay");
        assert_eq!((other.member, other.state), (true, "established"));
        assert!(desk.link_events().is_empty(), "still up for the other");
        let ignored = usize::from(verdict == Accounting::Failed);
        assert_eq!(desk.ignored(one).len(), ignored, "{verdict:?}");
        assert!(desk.ignored(two).is_empty());
        desk.account(at(1), two, verdict);
        assert_eq!(desk.link_events(), [("lost", at(1))]);
        assert_eq!(desk.by_state(), [0; 4], "no use left");
        desk.end(1);
        desk.end(2);
    }
}

#[test]
fn l10_a_verdict_before_membership_ends_the_stream_it_is_about() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    desk.create(at(1), swarm);
    desk.stream(at(1), Outgoing, 1);
    desk.account(at(1), swarm, Accounting::Failed);
    assert_eq!(desk.by_state(), [0; 4]);
    assert_eq!(desk.ignored(swarm).len(), 1);
    // What never was in the swarm is no business of a late verdict.
    desk.stream(at(2), Incoming, 2);
    desk.account(at(2), swarm, Accounting::Failed);
    assert_eq!(desk.by_state(), [0, 0, 1, 0]);
    assert_eq!(desk.ignored(swarm).len(), 1);
}

#[test]
fn l12_a_lost_stream_leaves_the_swarm_and_a_candidate_behind() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    desk.member(at(1), Outgoing, 1, swarm);
    desk.member(at(2), Incoming, 2, swarm);
    desk.link_events();
    assert_eq!(desk.count(swarm).links, 2);
    desk.end(1);
    desk.end(2);
    desk.end(2);
    assert_eq!(desk.link_events(), [("lost", at(1)), ("lost", at(2))]);
    let count = desk.count(swarm);
    assert_eq!((count.links, count.uplinks, count.downlinks), (1, 0, 0));
    assert_eq!(desk.by_state(), [1, 0, 0, 0]);
}

#[test]
fn l13_a_second_stream_of_the_link_takes_over_without_a_word() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    desk.member(at(1), Outgoing, 1, swarm);
    desk.stream(at(1), Incoming, 2);
    desk.link_events();
    let before = desk.count(swarm);
    assert_eq!(refusal(&desk.replace(1, 2, Incoming)), None);
    let after = desk.count(swarm);
    assert_eq!(before.links, after.links);
    assert_eq!((after.uplinks, after.downlinks), (0, 1), "the survivor's");
    assert!(desk.link_events().is_empty());
    desk.end(1);
    assert_eq!(desk.count(swarm), after, "it is gone already");
    desk.end(2);
    assert_eq!(desk.link_events(), [("lost", at(1))]);
}

#[test]
fn l13_a_stream_from_another_address_takes_over() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    desk.member(at(1), Outgoing, 1, swarm);
    desk.stream(at(2), Incoming, 2);
    desk.link_events();
    assert_eq!(refusal(&desk.replace(1, 2, Incoming)), None);
    // The new address was told when its stream came: only the old one is news, and no pair.
    assert_eq!(desk.link_events(), [("lost", at(1))]);
    let count = desk.count(swarm);
    assert_eq!((count.links, count.uplinks, count.downlinks), (2, 0, 1));
    assert!(desk.find(at(2), swarm).is_some_and(|found| found.member));
    let ignored = desk.ignored(swarm);
    assert_eq!(ignored.len(), 1, "connected by the other address");
    assert_eq!(ignored[0].address, at(1));
}

#[test]
fn l14_a_swarm_that_is_switched_off_loses_its_links_and_others_keep_them() {
    let mut desk = Desk::new();
    let (one, two) = (desk.swarm(1), desk.swarm(2));
    desk.member(at(1), Outgoing, 1, one);
    desk.create(at(1), two);
    desk.create(at(2), one);
    desk.pin(at(3), one);
    desk.member(at(4), Incoming, 4, one);
    desk.link_events();
    assert!(desk.switch(one, false));
    let lost = [("lost", at(1)), ("lost", at(4))];
    let mut told = desk.link_events();
    told.sort_unstable();
    assert_eq!(told, lost);
    let left: Vec<_> = desk
        .links(one, false)
        .iter()
        .map(|link| link.address)
        .collect();
    assert_eq!(left, [at(3)], "pinned");
    assert!(desk.find(at(1), two).is_some(), "shared");
    let count = desk.count(one);
    assert_eq!((count.required, count.needed), (3, 0), "off needs nobody");
    // The same again changes nothing and tells nobody.
    assert!(!desk.switch(one, false));
    assert!(desk.link_events().is_empty());
    // A late verdict for a swarm that is off does nothing.
    desk.stream(at(1), Outgoing, 9);
    desk.account(at(1), one, Accounting::Member);
    assert_eq!(desk.count(one).uplinks, 0);
    // What comes while it is off takes part when it is on (requirement D27).
    desk.create(at(5), one);
    assert!(!desk.switch(one, true));
    assert_eq!(desk.count(one).needed, 3);
    desk.stream(at(5), Outgoing, 5);
    desk.account(at(5), one, Accounting::Member);
    assert_eq!(desk.count(one).needed, 2);
}

#[test]
fn l14_a_removed_swarm_is_forgotten_with_its_name() {
    let mut desk = Desk::new();
    let (one, two) = (desk.swarm(1), desk.swarm(2));
    desk.pin(at(1), one);
    desk.member(at(2), Outgoing, 2, one);
    desk.member(at(3), Incoming, 3, two);
    desk.add(at(3), Incoming, 4, Some(one));
    desk.account(at(2), one, Accounting::Leaves);
    desk.ask(Message::SwarmRemove { swarm: one });
    assert_eq!(desk.by_state(), [0, 0, 1, 0], "what the other swarm has");
    let again = desk.swarm(1);
    assert_ne!(again, one, "a late message about the old one finds nothing");
    assert!(desk.ignored(again).is_empty(), "the list went with it");
    desk.account(at(3), one, Accounting::Member);
    assert_eq!(desk.count(again).links, 0);
}

#[test]
fn l15_a_deleted_link_is_kept_only_if_pinned_or_preserved() {
    // force, preserve, pinned: kept?
    let table = [
        (false, false, false, false),
        (false, false, true, true),
        (false, true, false, true),
        (false, true, true, true),
        (true, false, false, false),
        (true, false, true, false),
        (true, true, false, false),
        (true, true, true, false),
    ];
    for (force, preserve, pinned, kept) in table {
        let mut desk = Desk::new();
        let swarm = desk.swarm(1);
        desk.member(at(1), Outgoing, 1, swarm);
        if pinned {
            desk.pin(at(1), swarm);
        }
        desk.stream(at(1), Incoming, 2);
        desk.link_events();
        desk.ask(Message::LinkDelete {
            address: at(1),
            force,
            preserve,
        });
        let name = format!("force {force}, preserve {preserve}, pinned {pinned}");
        assert_eq!(desk.link_events(), [("lost", at(1))], "{name}");
        let found = desk.find(at(1), swarm);
        assert_eq!(found.is_some(), kept, "{name}");
        assert!(found.is_none_or(|found| !found.member && found.state == "disconnected"));
        assert_eq!(desk.by_state(), [u32::from(kept), 0, 0, 0], "{name}");
        desk.end(1);
        desk.end(2);
    }
}

#[test]
fn l16_everything_goes_at_shutdown_and_is_told() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    desk.member(at(1), Outgoing, 1, swarm);
    desk.member(at(2), Incoming, 2, swarm);
    desk.pin(at(3), swarm);
    desk.link_events();
    desk.ask(Message::Shutdown {
        budget: Duration::from_secs(1),
    });
    let mut told = desk.link_events();
    told.sort_unstable();
    assert_eq!(told, [("lost", at(1)), ("lost", at(2))]);
    assert_eq!(desk.by_state(), [0; 4]);
}

#[test]
fn only_uplinks_count_for_what_is_needed() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    for n in 0..10 {
        desk.member(at(n), Incoming, u64::from(n), swarm);
    }
    assert_eq!(desk.count(swarm).needed, 3, "who dialled us may be anybody");
    for n in 20..25 {
        desk.member(at(n), Outgoing, u64::from(n), swarm);
        let count = desk.count(swarm);
        assert_eq!(count.needed, 3_u32.saturating_sub(count.uplinks));
    }
    assert_eq!(desk.count(swarm).needed, 0, "it never goes below");
    let links = desk.links(swarm, false);
    let first_down = links.iter().position(|link| link.direction == Incoming);
    assert_eq!(first_down, Some(5), "uplinks first");
    assert!(links[5..].iter().all(|link| link.direction == Incoming));
}

#[test]
fn a_list_is_shared_until_something_in_it_changes() {
    let mut desk = Desk::new();
    let (one, two) = (desk.swarm(1), desk.swarm(2));
    desk.member(at(1), Outgoing, 1, one);
    desk.create(at(2), two);
    let first = desk.links(one, false);
    // Time, other swarms and questions change nothing.
    desk.pass(MINUTE);
    desk.create(at(3), two);
    desk.find(at(1), one);
    desk.account(at(1), one, Accounting::Member);
    assert!(Arc::ptr_eq(&first, &desk.links(one, false)));
    assert!(!Arc::ptr_eq(&first, &desk.links(one, true)), "another list");
    let changes: [fn(&mut Desk, crate::ids::SwarmId); 5] = [
        |desk, swarm| {
            desk.create(at(4), swarm);
        },
        |desk, swarm| {
            desk.pin(at(4), swarm);
        },
        |desk, _| {
            desk.stream(at(4), Outgoing, 4);
        },
        |desk, swarm| desk.account(at(4), swarm, Accounting::Member),
        |desk, _| desk.end(4),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let before = desk.links(one, false);
        change(&mut desk, one);
        let after = desk.links(one, false);
        assert_ne!(before, after, "change {n}");
    }
}

#[test]
fn a_stream_goes_by_either_name() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    let stream = desk.stream(at(1), Incoming, 1);
    desk.account(at(1), swarm, Accounting::Member);
    desk.ask(Message::StreamDelete {
        stream: StreamName::Stream(stream),
    });
    assert_eq!(desk.count(swarm).links, 0);
    // The connection's number may be used again.
    let again = desk.stream(at(1), Incoming, 1);
    assert_ne!(again, stream);
    desk.ask(Message::StreamDelete {
        stream: StreamName::Outside(ConnectionId(1)),
    });
    assert_eq!(desk.by_state(), [0; 4]);
}
