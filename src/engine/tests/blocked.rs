//! Block list and bans: who is refused, who is closed, what ends when.

use super::desk::{Desk, at};
use super::*;
use crate::codec::blocklist::{Range, Ranges, Tally};
use crate::engine::message::{
    BlocksAsk, BlocksFault, BlocksLoad, BlocksRead, BlocksSnapshot, Done, Work,
};

fn ask(desk: &mut Desk, ask: BlocksAsk) -> Answer {
    desk.ask(Message::Blocks(Box::new(ask)))
}

fn show(desk: &mut Desk) -> BlocksSnapshot {
    match ask(desk, BlocksAsk::Show) {
        Answer::Blocks(found) => found.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn set(texts: &[&str]) -> Arc<Ranges> {
    Arc::new(Ranges::of(
        texts.iter().map(|text| Range::parse(text).unwrap()),
    ))
}

/// The read that was given out.
fn given(desk: &mut Desk) -> Work {
    let is = |output: &Output| {
        matches!(
            output,
            Output::Work(Work {
                job: Job::Blocks(_),
                ..
            })
        )
    };
    let at = desk.other.iter().position(is).unwrap();
    match desk.other.remove(at) {
        Output::Work(work) => work,
        other => panic!("{other:?}"),
    }
}

/// A list of these ranges, read.
fn load(desk: &mut Desk, blocked: &[&str], allowed: &[&str]) -> BlocksSnapshot {
    ask(desk, BlocksAsk::Load(BlocksLoad::default()));
    let work = given(desk);
    let tally = Tally {
        rules: blocked.len() as u64,
        ..Tally::default()
    };
    let read = BlocksRead {
        list: set(blocked),
        allowed: set(allowed),
        files: vec![("/list".into(), tally)],
    };
    done(desk, &work, Ok(read)).unwrap()
}

fn done(
    desk: &mut Desk,
    work: &Work,
    read: Result<BlocksRead, BlocksFault>,
) -> Result<BlocksSnapshot, BlocksFault> {
    let outcome = Outcome::Blocks(Box::new(read));
    let (id, session) = (work.id, work.session);
    match desk.input(Input::Done(Done {
        id,
        session,
        outcome,
    })) {
        Answer::Blocks(found) => *found,
        other => panic!("{other:?}"),
    }
}

fn incoming(desk: &mut Desk, socket: u64, remote: SocketAddr) -> Option<StreamId> {
    let socket = SocketId(socket);
    desk.input(Input::Incoming { socket, remote });
    match desk.other.pop() {
        Some(Output::Accept { stream, .. }) => Some(stream),
        Some(Output::Refuse { .. }) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_listed_is_refused_and_closed_and_what_is_allowed_is_not() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    let (one, two) = (at(1), at(2));
    desk.create(one, swarm);
    let before = [one, two].map(|remote| incoming(&mut desk, 1, remote).unwrap());
    let found = load(
        &mut desk,
        &["91.7.0.1", "91.7.0.3-91.7.0.9", "91.7.0.5"],
        &["91.7.0.4"],
    );
    assert_eq!((found.rules, found.ranges, found.enabled), (3, 2, true));
    let closed: Vec<StreamId> = (desk.other.drain(..))
        .filter_map(|output| match output {
            Output::Close { stream } => Some(stream),
            _ => None,
        })
        .collect();
    assert_eq!(closed, before[..1], "only who is blocked now");
    assert_eq!(incoming(&mut desk, 2, one), None);
    let dressed = "[::ffff:91.7.0.3]:99".parse().unwrap();
    assert_eq!(incoming(&mut desk, 3, dressed), None);
    assert!(incoming(&mut desk, 4, at(4)).is_some(), "allowed");
    let answer = desk.ask(Message::LinkCreate {
        address: at(5),
        swarm,
    });
    assert!(
        matches!(answer, Answer::Refused(Refusal::Blocked)),
        "{answer:?}"
    );
    let ignored = desk.ignored(swarm);
    assert_eq!(
        (ignored.len(), ignored[0].address, ignored[0].why),
        (1, one, "blocked")
    );
    // A list that is off blocks nobody, and is still there when it is on again.
    desk.engine.blocks_enable(false);
    assert!(incoming(&mut desk, 5, one).is_some());
    assert!(desk.ignored(swarm).is_empty());
    desk.engine.blocks_enable(true);
    while desk.engine.poll_output().is_some() {}
    assert_eq!(incoming(&mut desk, 6, one), None);
    load(&mut desk, &[], &[]);
    assert!(incoming(&mut desk, 7, one).is_some());
}

#[test]
fn a_list_that_cannot_be_read_leaves_the_old_one() {
    let mut desk = Desk::new();
    load(&mut desk, &["91.7.0.1"], &[]);
    let files = Some(vec!["/new".into()]);
    let new = BlocksLoad {
        files,
        ..BlocksLoad::default()
    };
    ask(&mut desk, BlocksAsk::Load(new));
    let work = given(&mut desk);
    let fault = BlocksFault("/new: no block list".to_owned());
    assert_eq!(done(&mut desk, &work, Err(fault.clone())), Err(fault));
    assert_eq!(show(&mut desk).ranges, 1);
    assert_eq!(incoming(&mut desk, 1, at(1)), None);
    // What could not be read is not read again unasked.
    ask(&mut desk, BlocksAsk::Load(BlocksLoad::default()));
    match given(&mut desk).job {
        Job::Blocks(load) => assert_eq!(load.files, None),
        other => panic!("{other:?}"),
    }
    // A disk that hangs does not fill our memory with questions.
    let answers = [0; 5].map(|_| ask(&mut desk, BlocksAsk::Load(BlocksLoad::default())));
    assert!(matches!(answers[4], Answer::Refused(Refusal::Full)));
}

#[test]
fn bans_end_are_renewed_and_are_taken_back() {
    let mut desk = Desk::new();
    let minute = Duration::from_secs(60);
    let ip = at(1).ip();
    let ban = |span| BlocksAsk::Ban { ip, span };
    assert!(matches!(ask(&mut desk, ban(Some(minute))), Answer::Done));
    assert_eq!(incoming(&mut desk, 1, at(1)), None);
    desk.pass(minute / 2);
    assert_eq!(show(&mut desk).bans[0].left, Some(minute / 2));
    ask(&mut desk, ban(Some(minute)));
    desk.pass(minute / 2);
    assert_eq!(incoming(&mut desk, 2, at(1)), None, "renewed");
    desk.pass(minute / 2);
    assert_eq!(show(&mut desk).bans, []);
    assert!(incoming(&mut desk, 3, at(1)).is_some(), "over");
    ask(&mut desk, ban(None));
    desk.other.clear();
    desk.pass(minute * 100_000);
    assert_eq!(show(&mut desk).bans[0].left, None);
    assert_eq!(incoming(&mut desk, 4, at(1)), None, "for good");
    assert!(matches!(
        ask(&mut desk, BlocksAsk::Unban { ip }),
        Answer::Done
    ));
    let again = ask(&mut desk, BlocksAsk::Unban { ip });
    assert!(matches!(again, Answer::Refused(Refusal::NotBanned)));
    assert!(incoming(&mut desk, 5, at(1)).is_some());
}

#[test]
fn a_ban_for_bad_data_is_listed_and_can_be_taken_back() {
    let mut desk = Desk::new();
    let swarm = desk.swarm(1);
    let link = desk.create(at(1), swarm);
    desk.engine.table.ban(link, at(1), None);
    let ip = at(1).ip();
    assert_eq!(show(&mut desk).bans[0].why, "sent bad data");
    assert_eq!(incoming(&mut desk, 1, at(1)), None);
    assert!(matches!(
        ask(&mut desk, BlocksAsk::Unban { ip }),
        Answer::Done
    ));
    assert_eq!(show(&mut desk).bans, []);
    assert!(incoming(&mut desk, 2, SocketAddr::new(ip, 7)).is_some());
}

#[test]
fn bans_are_bounded() {
    let mut desk = Desk::new();
    for n in 0..crate::engine::blocks::BANS_MAX {
        let ip = std::net::Ipv4Addr::from(0x5b00_0000 + n as u32).into();
        desk.engine
            .on_blocks(BlocksAsk::Ban { ip, span: None }, None);
    }
    let ip = at(60_000).ip();
    let one_more = ask(&mut desk, BlocksAsk::Ban { ip, span: None });
    assert!(matches!(one_more, Answer::Refused(Refusal::Full)));
    let ip = "0.0.0.0".parse().unwrap();
    let nobody = ask(&mut desk, BlocksAsk::Ban { ip, span: None });
    assert!(matches!(nobody, Answer::Refused(Refusal::BadAddress)));
}
