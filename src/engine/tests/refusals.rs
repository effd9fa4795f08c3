//! What each message of requirement 1.4 is refused for, and that a refusal changes nothing.

use super::desk::{Desk, at, hash, refusal};
use super::*;
use crate::engine::message::{Accounting, Carrier, Direction, StreamName};
use crate::engine::settings::LINK_STREAMS_MAX;
use crate::ids::{ConnectionId, SwarmId};
use Direction::{Incoming, Outgoing};

/// Two swarms: `on` with a candidate 1, a pinned 2, an uplink 3 (connection 3), a downlink 4 (connection 4) and a stream 5 that is
/// in no swarm yet (connection 5); `off`; and the name of one that is gone.
fn desk() -> (Desk, SwarmId, SwarmId, SwarmId) {
    let mut desk = Desk::new();
    let (on, off, gone) = (desk.swarm(1), desk.swarm(2), desk.swarm(3));
    desk.switch(off, false);
    desk.ask(Message::SwarmRemove { swarm: gone });
    desk.create(at(1), on);
    desk.pin(at(2), on);
    desk.member(at(3), Outgoing, 3, on);
    desk.member(at(4), Incoming, 4, on);
    desk.stream(at(5), Incoming, 5);
    desk.events.clear();
    (desk, on, off, gone)
}

#[test]
fn each_message_is_refused_for_what_its_doc_says() {
    let (_, on, off, gone) = desk();
    let create = |address, swarm| Message::LinkCreate { address, swarm };
    let update = |address, to: SocketAddr| Message::LinkUpdate {
        address,
        ip: to.ip(),
        port: to.port(),
    };
    let add = |address, direction, connection, swarm| Message::StreamAdd {
        address,
        direction,
        swarm,
        carrier: Carrier::Outside(ConnectionId(connection)),
    };
    let replace = |old, new| Message::StreamReplace {
        old: StreamName::Outside(ConnectionId(old)),
        new: StreamName::Outside(ConnectionId(new)),
        direction: Outgoing,
    };
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    let own = addr("10.0.0.1:6881");
    let (port_0, nowhere) = (addr("1.2.3.4:0"), addr("0.0.0.0:1"));
    use Refusal::*;
    #[rustfmt::skip]
    let table: Vec<(&str, Message, Option<Refusal>)> = vec![
        ("create: new",               create(at(9), on),                  None),
        ("create: second swarm",      create(at(1), off),                 None),
        ("create: of a downlink",     create(at(4), on),                  None),
        ("create: again",             create(at(1), on),                  Some(AlreadyAssociated)),
        ("create: pinned",            create(at(2), on),                  Some(AlreadyAssociated)),
        ("create: ourselves",         create(own, on),                    Some(OwnAddress)),
        ("create: port 0",            create(port_0, on),                 Some(BadAddress)),
        ("create: any address",       create(nowhere, on),                Some(BadAddress)),
        ("create: v6 any",            create(addr("[::]:5"), on),         Some(BadAddress)),
        ("create: gone",              create(at(9), gone),                Some(UnknownSwarm)),
        ("pin: again",                Message::Pin { address: at(2), swarm: on },       None),
        ("pin: a candidate",          Message::Pin { address: at(1), swarm: on },       None),
        ("pin: ourselves",            Message::Pin { address: own, swarm: on },         Some(OwnAddress)),
        ("pin: nowhere",              Message::Pin { address: nowhere, swarm: on },     Some(BadAddress)),
        ("pin: gone",                 Message::Pin { address: at(9), swarm: gone },     Some(UnknownSwarm)),
        ("unpin",                     Message::Unpin { address: at(2), swarm: on },     None),
        ("unpin: not pinned",         Message::Unpin { address: at(1), swarm: on },     Some(UnknownLink)),
        ("unpin: not there",          Message::Unpin { address: at(2), swarm: off },    Some(UnknownLink)),
        ("unpin: unknown",            Message::Unpin { address: at(9), swarm: on },     Some(UnknownLink)),
        ("unpin: gone",               Message::Unpin { address: at(2), swarm: gone },   Some(UnknownSwarm)),
        ("update",                    update(at(1), at(9)),               None),
        ("update: the same",          update(at(1), at(1)),               None),
        ("update: unknown",           update(at(9), at(10)),              Some(UnknownLink)),
        ("update: established",       update(at(3), at(9)),               Some(WrongState)),
        ("update: a downlink",        update(at(4), at(9)),               Some(WrongState)),
        ("update: port 0",            update(at(1), port_0),              Some(BadAddress)),
        ("update: nowhere",           update(at(1), nowhere),             Some(BadAddress)),
        ("update: ourselves",         update(at(1), own),                 Some(OwnAddress)),
        ("update: another's",         update(at(1), at(2)),               Some(AlreadyAssociated)),
        ("delete: unknown",           Message::LinkDelete { address: at(9), force: false, preserve: false }, None),
        ("find: unknown",             Message::LinkFind { address: at(9), swarm: gone }, None),
        ("add: outgoing",             add(at(1), Outgoing, 9, None),      None),
        ("add: outgoing, for",        add(at(1), Outgoing, 9, Some(on)),  None),
        ("add: incoming, new",        add(at(9), Incoming, 9, Some(on)),  None),
        ("add: incoming, to port 0",  add(port_0, Incoming, 9, None),     None),
        ("add: no link",              add(at(9), Outgoing, 9, None),      Some(UnknownLink)),
        ("add: known connection",     add(at(1), Outgoing, 5, None),      Some(AlreadyConnected)),
        ("add: accounted there",      add(at(3), Incoming, 9, Some(on)),  Some(AlreadyConnected)),
        ("add: accounted elsewhere",  add(at(3), Incoming, 9, None),      None),
        ("add: gone",                 add(at(1), Outgoing, 9, Some(gone)), Some(UnknownSwarm)),
        ("add: off",                  add(at(1), Outgoing, 9, Some(off)), Some(WrongState)),
        ("delete stream: unknown",    Message::StreamDelete { stream: StreamName::Outside(ConnectionId(9)) }, None),
        ("delete stream: stale",      Message::StreamDelete { stream: StreamName::Stream(StreamId::new(0, 99)) }, None),
        ("replace: old is unknown",   replace(9, 5),                      None),
        ("replace: new is unknown",   replace(5, 9),                      None),
        ("replace: itself",           replace(5, 5),                      None),
        ("replace: takes nothing",    replace(5, 3),                      Some(WrongState)),
        ("swarm add",                 Message::SwarmAdd { info_hash: hash(9), links_min: 0 }, None),
        ("swarm add: again",          Message::SwarmAdd { info_hash: hash(1), links_min: 0 }, Some(SwarmExists(on))),
        ("swarm remove",              Message::SwarmRemove { swarm: off },   None),
        ("swarm remove: gone",        Message::SwarmRemove { swarm: gone },  Some(UnknownSwarm)),
        ("switch: gone",              Message::SwarmSwitch { swarm: gone, on: true }, Some(UnknownSwarm)),
        ("swarm find: gone",          Message::SwarmFind { info_hash: hash(3) }, Some(UnknownSwarm)),
        ("count: gone",               Message::LinksCount { swarm: gone },   Some(UnknownSwarm)),
        ("show: gone",                Message::LinksShow { swarm: gone, established_only: true }, Some(UnknownSwarm)),
        ("condition: gone",           Message::SwarmCondition { swarm: gone }, Some(UnknownSwarm)),
        ("ignored: gone",             Message::IgnoredShow { swarm: gone },  Some(UnknownSwarm)),
        ("account: unknown",          Message::Account { address: at(9), swarm: on, verdict: Accounting::Member }, None),
        ("account: gone",             Message::Account { address: at(3), swarm: gone, verdict: Accounting::Failed }, None),
    ];
    for (name, message, want) in table {
        let (mut desk, ..) = desk();
        let before = picture(&mut desk, &[on, off]);
        let answer = desk.ask(message);
        assert_eq!(refusal(&answer), want, "{name}");
        if want.is_some() {
            assert_eq!(picture(&mut desk, &[on, off]), before, "{name}");
            assert!(desk.events.is_empty(), "{name}");
        }
    }
}

/// All that can be seen of some swarms.
fn picture(desk: &mut Desk, swarms: &[SwarmId]) -> String {
    let mut text = format!("{:?}", desk.by_state());
    for &swarm in swarms {
        let (links, count) = (desk.links(swarm, false), desk.count(swarm));
        let ignored = desk.ignored(swarm);
        text += &format!("{links:?} {count:?} {ignored:?}");
    }
    text
}

#[test]
fn a_bound_that_is_reached_is_named() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    desk.create(at(1), swarm);
    for n in 0..LINK_STREAMS_MAX as u64 {
        desk.stream(at(1), Outgoing, n);
    }
    let one_more = desk.add(at(1), Outgoing, 1 << 40, None);
    assert_eq!(refusal(&one_more), Some(Refusal::Full));
    let elsewhere = desk.add(at(2), Incoming, 1 << 40, None);
    assert_eq!(refusal(&elsewhere), None);
}

#[test]
fn everything_is_refused_when_the_engine_is_ending() {
    let (mut desk, on, ..) = desk();
    desk.ask(Message::Shutdown {
        budget: Duration::from_secs(1),
    });
    assert!(
        matches!(desk.other[..], [Output::Stopped(_)]),
        "{:?}",
        desk.other
    );
    desk.other.clear();
    let late = desk.ask(Message::LinksCount { swarm: on });
    assert_eq!(refusal(&late), Some(Refusal::ShuttingDown));
    // A socket that comes too late is not leaked.
    let late = desk.ask(Message::StreamAdd {
        address: at(1),
        direction: Incoming,
        swarm: None,
        carrier: Carrier::Socket(SocketId(77)),
    });
    assert_eq!(refusal(&late), Some(Refusal::ShuttingDown));
    assert!(
        matches!(
            desk.other[..],
            [Output::Refuse {
                socket: SocketId(77)
            }]
        ),
        "{:?}",
        desk.other
    );
}
