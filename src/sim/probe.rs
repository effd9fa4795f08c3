//! What stands between a loop and its engine in a simulated world: it listens to everything that passes, hands in the
//! messages of the world, and checks after each output that nothing was promised which is not so.
//!
//! Checked here: no piece is announced, served, counted or remembered before it is right where it has to be (the page cache
//! for peers, the device for the store); every job is answered once, and no number is used twice; every caller is answered once;
//! a stopped engine has nothing in flight and owes no answer.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::actor::Core;
use crate::codec::bitfield::Bitfield;
use crate::codec::geometry::PieceIndex;
use crate::codec::mse;
use crate::codec::wire::{self, Message as WireMessage};
use crate::engine::message::{
    Answer, Done, FetchTask, Frame, Input, Outcome, Output, Progress, StoreTask, Verdict, Work,
};
use crate::events::Event;
use crate::ids::{JobId, ReplyId};
use crate::metrics::EngineCounters;
use crate::time::Instant;

use super::common::Common;
use super::net::NodeIndex;
use super::stage::TWIN_ROOT;

/// Answers to the world's own messages carry numbers from here on: the loop's are smaller.
const OWN_REPLIES: u64 = 1 << 63;

/// A core that is watched.
#[derive(Debug)]
pub struct Probe<C> {
    core: C,
    node: NodeIndex,
    /// Answers that are owed to callers.
    owed: BTreeSet<ReplyId>,
    common: Rc<RefCell<Common>>,
}

impl<C: Core> Probe<C> {
    /// Watches `core`, the engine of machine `node`.
    pub const fn new(core: C, node: NodeIndex, common: Rc<RefCell<Common>>) -> Self {
        Self {
            core,
            node,
            owed: BTreeSet::new(),
            common,
        }
    }

    /// What is watched, for checks between turns.
    pub const fn engine(&self) -> &C {
        &self.core
    }

    /// An answer goes to who waits for it, once; when all is over nobody waits any more.
    fn note_answers(&mut self, common: &mut Common, output: &Output) {
        match output {
            Output::Reply { reply, .. } if reply.0 < OWN_REPLIES && !self.owed.remove(reply) => {
                common.fail(self.node, &format!("answer {reply} is owed to nobody"));
            }
            Output::Stopped(_) if !self.owed.is_empty() => {
                let owed = self.owed.len();
                common.fail(self.node, &format!("it stopped and owes {owed} answers"));
            }
            _ => {}
        }
    }
}

impl<C: Core> Core for Probe<C> {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        if let Input::Message { reply, .. } = &input {
            self.owed.extend(*reply);
        }
        let ask = {
            let mut common = self.common.borrow_mut();
            note_input(&mut common, self.node, &input);
            // A message of the world takes the place of a tick: the tick comes again as long as a deadline is due.
            let asks = &mut common.nodes[self.node].asks;
            matches!(input, Input::Tick)
                .then(|| asks.pop_front())
                .flatten()
        };
        let input = match ask {
            None => input,
            Some((number, message)) => Input::Message {
                message,
                reply: Some(ReplyId(OWN_REPLIES + number)),
            },
        };
        self.core.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            let output = self.core.poll_output()?;
            let common = Rc::clone(&self.common);
            let mut common = common.borrow_mut();
            note_output(&mut common, self.node, &output);
            let common = &mut *common;
            self.note_answers(common, &output);
            match output {
                Output::Reply { reply, answer } if reply.0 >= OWN_REPLIES => {
                    let answers = &mut common.nodes[self.node].answers;
                    answers.insert(reply.0 - OWN_REPLIES, answer);
                }
                output => return Some(output),
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        if self.common.borrow().nodes[self.node].asks.is_empty() {
            self.core.next_deadline()
        } else {
            Some(Instant::ZERO)
        }
    }

    fn counters(&self) -> EngineCounters {
        self.core.counters()
    }
}

fn note_input(common: &mut Common, node: NodeIndex, input: &Input<'_>) {
    let at = common.now.as_micros();
    let trace = &mut common.trace;
    let who = node as u64;
    match input {
        Input::Tick => trace.note("tick", &[at, who]),
        Input::Message { .. } => trace.note("message", &[at, who]),
        Input::Listening { addresses } => {
            trace.note("listening", &[at, who, addresses.len() as u64])
        }
        Input::Incoming { socket, .. } => trace.note("incoming", &[at, who, socket.0]),
        Input::Connected { stream } => trace.note("connected", &[at, who, stream.to_word()]),
        Input::Received { stream, bytes } => {
            trace.note("received", &[at, who, stream.to_word()]);
            trace.bytes(bytes);
        }
        Input::Sent { stream, bytes, .. } => {
            trace.note("sent", &[at, who, stream.to_word(), *bytes as u64]);
        }
        Input::Lost { stream, why } => {
            common.nodes[node].silent.remove(stream);
            common.nodes[node].covered.remove(stream);
            trace.note("lost", &[at, who, stream.to_word(), *why as u64]);
        }
        Input::Datagram { bytes, .. } | Input::Datagrams { bytes, .. } => {
            trace.note("datagram", &[at, who]);
            trace.bytes(bytes);
        }
        Input::Done(done) => {
            trace.note("done", &[at, who, done.id.0]);
            answered(common, node, done.id);
            check_done(common, node, done);
        }
        Input::Stored(stored) => {
            trace.note("stored", &[at, who, stored.id.0]);
            answered(common, node, stored.id);
        }
        Input::Fetched(fetched) => {
            trace.note("fetched", &[at, who, fetched.id.0]);
            answered(common, node, fetched.id);
        }
    }
}

fn note_output(common: &mut Common, node: NodeIndex, output: &Output) {
    let at = common.now.as_micros();
    let who = node as u64;
    let trace = &mut common.trace;
    match output {
        Output::Dial { stream, to } => {
            trace.note("dial", &[at, who, stream.to_word(), u64::from(to.port())]);
            common.nodes[node].silent.insert(*stream);
            if *to == common.net.address(node) {
                common.fail(node, "it dials itself");
            }
        }
        Output::Accept { socket, stream } => {
            trace.note("accept", &[at, who, socket.0, stream.to_word()]);
            common.nodes[node].silent.insert(*stream);
        }
        Output::Refuse { socket } => trace.note("refuse", &[at, who, socket.0]),
        Output::Send { stream, frame } => {
            trace.note("send", &[at, who, stream.to_word(), frame.len() as u64]);
            let machine = &mut common.nodes[node];
            // A key, before a word of anything else.
            if machine.silent.remove(stream) && frame.len() >= mse::KEY_BYTES {
                machine.covered.insert(*stream);
            }
            if machine.covered.contains(stream) && !is_legible(frame) {
                if let Frame::Small { bytes, .. } = frame {
                    common.trace.bytes(bytes);
                } else if let Frame::Bytes(bytes) = frame {
                    common.trace.bytes(bytes);
                }
            } else {
                check_frame(common, node, frame);
            }
        }
        Output::Hold { stream, hold } => {
            trace.note("hold", &[at, who, stream.to_word(), u64::from(*hold)]);
        }
        Output::Meter { stream, bytes } => {
            trace.note("meter", &[at, who, stream.to_word(), *bytes]);
        }
        Output::Close { stream } => {
            trace.note("close", &[at, who, stream.to_word()]);
            common.nodes[node].silent.remove(stream);
            common.nodes[node].covered.remove(stream);
        }
        Output::Datagram { bytes, .. } | Output::Datagrams { bytes, .. } => {
            trace.note("to", &[at, who]);
            trace.bytes(bytes);
        }
        Output::Work(Work { id, job, .. }) => {
            trace.note(job.kind(), &[at, who, id.0]);
            given_out(common, node, *id);
        }
        Output::Cancel { session } => trace.note("cancel", &[at, who, session.to_word()]),
        Output::Store(job) => {
            trace.note("store", &[at, who, job.id.0]);
            given_out(common, node, job.id);
            if let StoreTask::Save(progress) = &job.task {
                check_progress(common, node, progress);
            }
        }
        Output::Fetch(fetch) => {
            trace.note("fetch", &[at, who, fetch.id.0]);
            given_out(common, node, fetch.id);
            if let FetchTask::Resolve { host, .. } = &fetch.task
                && host.starts_with("node-")
            {
                common.nodes[node].names.insert(fetch.id);
            }
        }
        Output::Reply { reply, answer } => {
            let kind = match answer {
                Answer::Done => 0,
                Answer::Refused(_) => 1,
                Answer::Session(_) => 2,
                Answer::Snapshot(_) => 3,
                Answer::Engine(_) => 4,
                Answer::Link(_) => 5,
                Answer::Stream(_) => 6,
                Answer::Swarm(_) => 7,
                Answer::Found(_) => 8,
                Answer::Count(_) => 9,
                Answer::Links { .. } => 10,
                Answer::Ignored { .. } => 11,
                Answer::Condition(_) => 12,
                Answer::Changed(_) => 13,
                Answer::Torrents(_) => 14,
                Answer::Surveyed(_) => 15,
                Answer::Settings(_) => 16,
                Answer::Speed(_) => 17,
                Answer::Metadata(_) => 18,
                Answer::Blocks(_) => 19,
            };
            trace.note("reply", &[at, who, reply.0, kind]);
        }
        Output::Event(event) => {
            trace.note("event", &[at, who]);
            check_event(common, node, event);
        }
        Output::Stopped(report) => {
            trace.note("stopped", &[at, who]);
            let machine = &common.nodes[node];
            let left = machine.outstanding.difference(&machine.names).count();
            if left > 0 && report.abandoned.is_empty() && report.trackers_unanswered == 0 {
                common.fail(node, &format!("it stopped with {left} jobs unanswered"));
            }
        }
    }
}

fn given_out(common: &mut Common, node: NodeIndex, id: JobId) {
    if !common.nodes[node].outstanding.insert(id) {
        common.fail(node, &format!("job {id} was given out twice"));
    }
}

fn answered(common: &mut Common, node: NodeIndex, id: JobId) {
    if !common.nodes[node].outstanding.remove(&id) {
        common.fail(node, &format!("job {id} was answered, but not waited for"));
    }
}

/// What a worker calls good must be on disk: the jobs themselves are tested too.
fn check_done(common: &mut Common, node: NodeIndex, done: &Done) {
    if let Outcome::Committed(pieces) = &done.outcome {
        for committed in pieces {
            let good = committed.verdict == Verdict::Good;
            if good && !on_disk(common, node, committed.piece) {
                let index = committed.piece.get();
                common.fail(
                    node,
                    &format!("piece {index} was committed and is not on disk"),
                );
            }
        }
    }
}

/// Whether a frame reads as messages.
fn is_legible(frame: &Frame) -> bool {
    let mut bytes = match frame {
        Frame::Small { length, bytes } => &bytes[..usize::from(*length)],
        Frame::Bytes(bytes) => bytes,
        Frame::Block { head, length, .. } => {
            let want = wire::encode_piece_head(0, 0, *length);
            return head[..5] == want[..5];
        }
    };
    if bytes.starts_with(wire::PROTOCOL) {
        return true;
    }
    while let Ok(Some((_, length))) = wire::decode(bytes, u32::MAX) {
        bytes = &bytes[length..];
    }
    bytes.is_empty()
}

/// What a peer is told must be so.
fn check_frame(common: &mut Common, node: NodeIndex, frame: &Frame) {
    match frame {
        Frame::Small { length, bytes } => {
            check_messages(common, node, &bytes[..usize::from(*length)])
        }
        Frame::Bytes(bytes) => check_messages(common, node, bytes),
        Frame::Block {
            head,
            block,
            length,
        } => {
            common.trace.bytes(&block[..*length as usize]);
            let word = |at: usize| {
                u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
            };
            let (index, begin) = (word(5), word(9));
            let torrent = std::sync::Arc::clone(&common.torrent);
            if torrent.bytes(index, begin, *length) != Some(&block[..*length as usize]) {
                common.fail(
                    node,
                    &format!("it served wrong bytes of piece {index} at {begin}"),
                );
            }
        }
    }
}

fn check_messages(common: &mut Common, node: NodeIndex, mut bytes: &[u8]) {
    common.trace.bytes(bytes);
    if bytes.first() == Some(&19) && bytes.len() == wire::HANDSHAKE_BYTES {
        return;
    }
    while !bytes.is_empty() {
        match wire::decode(bytes, u32::MAX) {
            Ok(Some((message, length))) => {
                check_message(common, node, &message);
                bytes = &bytes[length..];
            }
            other => {
                common.fail(node, &format!("it sent no whole message: {other:?}"));
                return;
            }
        }
    }
}

fn check_message(common: &mut Common, node: NodeIndex, message: &WireMessage<'_>) {
    let geometry = common.torrent.layout.geometry;
    let announced: Vec<PieceIndex> = match message {
        WireMessage::Have(index) => geometry.piece(*index).into_iter().collect(),
        WireMessage::HaveAll => geometry.pieces().collect(),
        WireMessage::Bitfield(bits) => {
            match Bitfield::from_wire(bits, geometry.piece_count() as usize) {
                Some(bits) => pieces(common, &bits),
                None => {
                    common.fail(node, "it sent a malformed bitfield");
                    return;
                }
            }
        }
        _ => return,
    };
    for piece in announced {
        if !on_disk(common, node, piece) {
            common.fail(
                node,
                &format!("it announced piece {}, which is not on disk", piece.get()),
            );
        }
    }
}

fn check_event(common: &mut Common, node: NodeIndex, event: &Event) {
    if let Event::PieceCompleted(done) = event
        && let Some(piece) = common.torrent.layout.geometry.piece(done.piece_index)
        && !on_disk(common, node, piece)
    {
        common.fail(
            node,
            &format!(
                "it counted piece {}, which is not on disk",
                done.piece_index
            ),
        );
    }
}

/// What is remembered must be on the device: power may go at any time.
fn check_progress(common: &mut Common, node: NodeIndex, progress: &Progress) {
    let count = common.torrent.layout.geometry.piece_count() as usize;
    let Some(bits) = Bitfield::from_wire(&progress.have, count) else {
        common.fail(node, "it saved a malformed bitfield");
        return;
    };
    for piece in pieces(common, &bits) {
        let disk = &common.nodes[node].disk;
        let torrent = &common.torrent;
        let flushed = torrent.has_piece(piece, |path: &Path| disk.flushed(path))
            || torrent.has_piece(piece, |path| disk.flushed(&twin_path(common, path)?));
        if !flushed {
            common.fail(
                node,
                &format!("it saved piece {}, which was not flushed", piece.get()),
            );
        }
    }
}

fn pieces(common: &Common, bits: &Bitfield) -> Vec<PieceIndex> {
    let geometry = common.torrent.layout.geometry;
    let named = |index: usize| geometry.piece(u32::try_from(index).ok()?);
    bits.iter_ones().filter_map(named).collect()
}

fn on_disk(common: &Common, node: NodeIndex, piece: PieceIndex) -> bool {
    let disk = &common.nodes[node].disk;
    let torrent = &common.torrent;
    torrent.has_piece(piece, |path: &Path| disk.content(path))
        || torrent.has_piece(piece, |path| disk.content(&twin_path(common, path)?))
}

/// Where a scene's second torrent has the file that the first has at `path`.
fn twin_path(common: &Common, path: &Path) -> Option<PathBuf> {
    let inner = path.strip_prefix(&common.torrent.layout.root).ok()?;
    Some(Path::new(TWIN_ROOT).join(inner))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use super::*;
    use crate::ids::{InfoHash, SessionId, StreamId};
    use crate::rng::Rng;
    use crate::sim::common::Node;
    use crate::sim::disk::Disk;
    use crate::sim::faults::Faults;
    use crate::sim::net::Net;
    use crate::sim::torrent::Torrent;

    /// Says what it is told to say.
    struct Parrot(VecDeque<Output>);

    impl Core for Parrot {
        fn handle(&mut self, _: Instant, _: Input<'_>) {}

        fn poll_output(&mut self) -> Option<Output> {
            self.0.pop_front()
        }

        fn next_deadline(&self) -> Option<Instant> {
            None
        }

        fn counters(&self) -> EngineCounters {
            EngineCounters::default()
        }
    }

    /// What the probe says about an engine that says this, on a machine that has everything or nothing.
    fn verdict(has_all: bool, outputs: impl FnOnce(&Torrent) -> Vec<Output>) -> Option<String> {
        let mut rng = Rng::new(1);
        let torrent = Arc::new(Torrent::draw(300_000, Vec::new(), &mut rng));
        let faults = Faults::named("none").unwrap();
        let mut net = Net::new(faults.net, rng.fork());
        net.add_machine("10.0.0.1:6881".parse().unwrap(), 1_000_000);
        let mut disk = Disk::new(faults.disk, u64::MAX, rng.fork());
        if has_all {
            torrent.put_on(&mut disk);
        }
        let mut common = Common::new(net, Arc::clone(&torrent), faults, rng.fork());
        common.nodes.push(Node::new(disk));
        let common = Rc::new(RefCell::new(common));
        let core = Parrot(outputs(&torrent).into());
        let mut probe = Probe::new(core, 0, Rc::clone(&common));
        while probe.poll_output().is_some() {}
        common.borrow().failure.clone()
    }

    fn says(message: &WireMessage<'_>) -> Output {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        Output::Send {
            stream: StreamId::new(0, 0),
            frame: Frame::Bytes(bytes),
        }
    }

    fn serves(torrent: &Torrent, change: u8) -> Output {
        let mut block = crate::buffer::Block::new();
        let truth = torrent.bytes(0, 0, 100).unwrap();
        block[..100].copy_from_slice(truth);
        block[7] ^= change;
        let head = wire::encode_piece_head(0, 0, 100);
        Output::Send {
            stream: StreamId::new(0, 0),
            frame: Frame::Block {
                head,
                block,
                length: 100,
            },
        }
    }

    fn saves(torrent: &Torrent) -> Output {
        let count = torrent.layout.geometry.piece_count() as usize;
        let progress = Progress {
            info_hash: Some(InfoHash([0; 20])),
            have: Bitfield::full(count).to_wire(),
            ..Progress::default()
        };
        Output::Store(crate::engine::message::StoreJob {
            id: JobId(0),
            session: SessionId::new(0, 0),
            task: StoreTask::Save(Box::new(progress)),
        })
    }

    #[test]
    fn an_engine_that_promises_too_much_is_caught() {
        type Says = fn(&Torrent) -> Vec<Output>;
        #[rustfmt::skip]
        let table: &[(&str, Says, bool)] = &[
            ("announces a piece",      |_| vec![says(&WireMessage::Have(0))],             true),
            ("announces everything",   |_| vec![says(&WireMessage::HaveAll)],             true),
            ("remembers everything",   |torrent| vec![saves(torrent)],                    true),
            ("serves what is so",      |torrent| vec![serves(torrent, 0)],                false),
            ("chokes",                 |_| vec![says(&WireMessage::Choke)],               false),
        ];
        for &(name, outputs, needs_data) in table {
            assert_eq!(verdict(true, outputs), None, "{name}");
            assert_eq!(verdict(false, outputs).is_some(), needs_data, "{name}");
        }
        let wrong = verdict(true, |torrent| vec![serves(torrent, 1)]);
        assert!(wrong.is_some_and(|text| text.contains("wrong bytes")));
        let twice = verdict(true, |torrent| vec![saves(torrent), saves(torrent)]);
        assert!(twice.is_some_and(|text| text.contains("given out twice")));
    }
}
