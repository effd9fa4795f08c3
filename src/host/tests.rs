use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use super::*;
use crate::actor::handle::{AdoptError, Handle};
use crate::actor::mailbox::Options;
use crate::actor::{Core, Loop};
use crate::buffer::Block;
use crate::config::Backpressure;
use crate::engine::message::{
    Answer, Carrier, Direction, Frame, Input, LostReason, Message, Output, Refusal, ShutdownReport,
};
use crate::ids::SessionId;
use crate::metrics::EngineCounters;
use std::sync::mpsc;

use socket2::{Domain, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the core under test has seen.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Listening(Vec<SocketAddr>),
    Connected(StreamId),
    Lost(StreamId, LostReason),
    Datagram(SocketAddr, Vec<u8>),
}

/// Keeps every incoming socket, echoes whatever arrives in blocks, dials what `PeerAdd` names.
struct Echo {
    outputs: VecDeque<Output>,
    streams: u32,
    dialled: u32,
    spare: Vec<Block>,
    seen: mpsc::Sender<Seen>,
    hang_up: bool,
}

impl Core for Echo {
    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        match input {
            Input::Listening { addresses } => {
                let _ = self.seen.send(Seen::Listening(addresses));
            }
            Input::Incoming { socket, .. } => {
                let stream = StreamId::new(self.streams, 1);
                self.streams += 1;
                self.outputs.push_back(Output::Accept { socket, stream });
            }
            Input::Connected { stream } => {
                let _ = self.seen.send(Seen::Connected(stream));
            }
            Input::Received { stream, bytes } => {
                for part in bytes.chunks(crate::buffer::BLOCK_BYTES) {
                    let mut block = self.spare.pop().unwrap_or_default();
                    block[..part.len()].copy_from_slice(part);
                    // The head is not part of the echo: it is sent as a frame of its own kind.
                    let frame = if part.len() > 13 {
                        let mut head = [0; 13];
                        head.copy_from_slice(&part[..13]);
                        block.copy_within(13..part.len(), 0);
                        Frame::Block {
                            head,
                            block,
                            length: u32::try_from(part.len() - 13).unwrap(),
                        }
                    } else {
                        self.spare.push(block);
                        Frame::Bytes(part.to_vec())
                    };
                    self.outputs.push_back(Output::Send { stream, frame });
                }
                if self.hang_up {
                    self.outputs.push_back(Output::Close { stream });
                }
            }
            Input::Sent { blocks, .. } => self.spare.append(blocks),
            Input::Lost { stream, why } => {
                let _ = self.seen.send(Seen::Lost(stream, why));
            }
            Input::Datagram { from, bytes } | Input::Datagrams { from, bytes, .. } => {
                let _ = self.seen.send(Seen::Datagram(from, bytes.to_vec()));
                let bytes = bytes.to_vec();
                self.outputs.push_back(Output::Datagram { to: from, bytes });
            }
            Input::Message { message, reply } => {
                let answer = match message {
                    Message::PeerAdd { address: to, .. } => {
                        let stream = StreamId::new(1000 + self.dialled, 1);
                        self.dialled += 1;
                        self.outputs.push_back(Output::Dial { stream, to });
                        Answer::Done
                    }
                    // Keeps what has come in; of what goes out it says no, and nothing else.
                    Message::StreamAdd {
                        direction: Direction::Incoming,
                        carrier: Carrier::Socket(socket),
                        ..
                    } => {
                        let stream = StreamId::new(self.streams, 1);
                        self.streams += 1;
                        self.outputs.push_back(Output::Accept { socket, stream });
                        Answer::Stream(stream)
                    }
                    Message::Shutdown { .. } => {
                        self.outputs
                            .push_back(Output::Stopped(ShutdownReport::default()));
                        Answer::Done
                    }
                    _ => Answer::Refused(Refusal::UnknownSession),
                };
                if let Some(reply) = reply {
                    self.outputs.push_front(Output::Reply { reply, answer });
                }
            }
            Input::Tick | Input::Done(_) | Input::Stored(_) | Input::Fetched(_) => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn counters(&self) -> EngineCounters {
        EngineCounters::default()
    }
}

/// A running echo.
struct Running {
    handle: Handle,
    address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
    actor: Option<thread::JoinHandle<Vec<String>>>,
    /// Gone when the actor is.
    _state: tempfile::TempDir,
}

impl Running {
    fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("something is seen")
    }

    fn dial(&self, address: SocketAddr) {
        let session = SessionId::new(0, 0);
        let message = Message::PeerAdd { session, address };
        self.handle.ask(message, PATIENCE).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let shutdown = Message::Shutdown { budget: PATIENCE };
        let _ = self.handle.tell(shutdown);
        if let Some(actor) = self.actor.take()
            && !thread::panicking()
        {
            assert_eq!(actor.join().unwrap(), Vec::<String>::new());
        }
    }
}

fn echo(hang_up: bool) -> Running {
    let clock = Clock::start();
    let state = tempfile::tempdir().unwrap();
    let listen = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let mut notices = Vec::new();
    let host = OsHost::new(
        clock,
        &listen,
        1,
        state.path().to_owned(),
        Owner::Shared,
        &mut notices,
    )
    .unwrap();
    assert_eq!(notices, Vec::<String>::new());
    let (tell, seen) = mpsc::channel();
    let core = Echo {
        outputs: VecDeque::new(),
        streams: 0,
        dialled: 0,
        spare: Vec::new(),
        seen: tell,
        hang_up,
    };
    let options = Options {
        capacity: 64,
        policy: Backpressure::Block,
        patience: PATIENCE,
        clock,
        stamped: true,
    };
    let (addresses, doorbell) = (host.addresses(), host.doorbell());
    let (turns, handle) = Loop::new(host, core, addresses.clone(), options, doorbell);
    let actor = thread::spawn(move || turns.run().1.stop(PATIENCE));
    let running = Running {
        handle,
        address: addresses[0],
        seen,
        actor: Some(actor),
        _state: state,
    };
    assert_eq!(running.next(), Seen::Listening(addresses));
    running
}

#[test]
fn what_goes_in_comes_out_over_real_sockets() {
    let running = echo(false);
    let data: Vec<u8> = (0..8 << 20_u32)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let peers: Vec<_> = (0..4)
        .map(|_| {
            let (address, data) = (running.address, data.clone());
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut reader = stream.try_clone().unwrap();
                let length = data.len();
                let back = thread::spawn(move || {
                    let mut back = vec![0; length];
                    reader.read_exact(&mut back).unwrap();
                    back
                });
                stream.write_all(&data).unwrap();
                assert!(back.join().unwrap() == data);
            })
        })
        .collect();
    for peer in peers {
        peer.join().unwrap();
    }
    let metrics = running.handle.metrics(PATIENCE).unwrap();
    assert_eq!(metrics.turns.tcp_received_bytes, 4 * data.len() as u64);
    assert_eq!(metrics.turns.tcp_sent_bytes, 4 * data.len() as u64);
}

#[test]
fn a_hang_up_behind_the_last_bytes_is_seen() {
    let running = echo(false);
    for _ in 0..50 {
        let mut stream = TcpStream::connect(running.address).unwrap();
        stream.write_all(b"last words").unwrap();
        drop(stream);
        // Our echo may meet a closed socket: then it is a reset.
        let Seen::Lost(_, why) = running.next() else {
            panic!("the end is seen");
        };
        assert!(
            matches!(why, LostReason::HungUp | LostReason::Reset),
            "{why:?}"
        );
    }
}

#[test]
fn a_stream_is_closed_in_order_after_what_was_queued() {
    let running = echo(true);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(running.address).unwrap();
        let data = vec![7; 100_000];
        // All of it in one write, so that the first read of the other side closes a stream with more to come.
        stream.write_all(&data[..1000]).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("an end, no reset");
        assert_eq!(back, &data[..1000]);
    }
}

#[test]
fn dials_succeed_or_say_why_not() {
    let running = echo(false);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    running.dial(listener.local_addr().unwrap());
    assert_eq!(running.next(), Seen::Connected(StreamId::new(1000, 1)));
    let (mut stream, from) = listener.accept().unwrap();
    assert_ne!(from.port(), running.address.port(), "an ephemeral port");
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");

    let nobody = listener.local_addr().unwrap();
    drop((stream, listener));
    assert!(matches!(
        running.next(),
        Seen::Lost(_, LostReason::HungUp | LostReason::Reset)
    ));
    running.dial(nobody);
    let refused = Seen::Lost(StreamId::new(1001, 1), LostReason::Refused);
    assert_eq!(running.next(), refused);
}

#[test]
fn datagrams_come_and_go_on_the_listening_port() {
    let running = echo(false);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for round in 0..10_u8 {
        socket.send_to(&[round, 2], running.address).unwrap();
        let mut bytes = [0; 16];
        let (length, from) = socket.recv_from(&mut bytes).unwrap();
        assert_eq!((&bytes[..length], from), (&[round, 2][..], running.address));
    }
}

#[test]
fn an_idle_loop_is_not_woken() {
    let running = echo(false);
    let quiet = TcpStream::connect(running.address).unwrap();
    let turns = || running.handle.metrics(PATIENCE).unwrap().turns.turns;
    // Until the connection has been accepted and its first look has found nothing.
    while running.handle.metrics(PATIENCE).unwrap().turns.reads_empty == 0 {}
    turns();
    let before = turns();
    thread::sleep(Duration::from_millis(300));
    // One turn for the question itself, and one at most that finds nothing after it.
    let spent = turns() - before;
    assert!(spent <= 3, "{spent} turns while nothing happened");
    drop(quiet);
}

#[test]
fn a_busy_port_falls_back_and_says_so() {
    let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = busy.local_addr().unwrap();
    let mut notices = Vec::new();
    let state = tempfile::tempdir().unwrap();
    let host = OsHost::new(
        Clock::start(),
        &[address],
        1,
        state.path().to_owned(),
        Owner::Shared,
        &mut notices,
    )
    .unwrap();
    let bound = host.addresses()[0];
    assert_ne!(bound.port(), address.port());
    assert_eq!(bound.ip(), address.ip());
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].contains(&address.port().to_string()),
        "{notices:?}"
    );
    assert!(
        notices[0].contains(&bound.port().to_string()),
        "{notices:?}"
    );
    assert!(host.stop(PATIENCE).is_empty());
}

#[test]
fn both_families_share_a_free_port() {
    let any = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)),
    ];
    let mut notices = Vec::new();
    let poller = Poller::new().unwrap();
    let mut sockets = Sockets::new();
    sockets.listen(&poller, &any, &mut notices).unwrap();
    let ports: Vec<u16> = sockets.addresses().iter().map(SocketAddr::port).collect();
    // A host without IPv6 has one listener.
    assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}

#[test]
fn an_address_that_is_not_ours_is_an_error_only_when_it_is_the_only_one() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let poller = Poller::new().unwrap();
    let mut notices = Vec::new();
    let none = Sockets::new().listen(&poller, &[elsewhere], &mut notices);
    assert!(none.is_err());
    let mut sockets = Sockets::new();
    notices.clear();
    sockets
        .listen(&poller, &[elsewhere, here], &mut notices)
        .unwrap();
    assert_eq!((sockets.addresses().len(), notices.len()), (1, 1));
}

// -------------------------------------------------------------------------------------------------------- adoption

impl Running {
    fn add(
        &self,
        socket: impl Into<OwnedFd>,
        direction: Direction,
    ) -> Result<StreamId, AdoptError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.handle
            .stream_add(socket.into(), address, direction, None, PATIENCE)
    }
}

/// Both ends of a connection over loopback.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Hands `ours` over and talks through `theirs`, until it hangs up.
fn echoes(ours: impl Into<OwnedFd>, theirs: impl Read + Write + Into<OwnedFd>) {
    let running = echo(false);
    let mut theirs = theirs;
    theirs.write_all(b"before").unwrap();
    let stream = running.add(ours, Direction::Incoming).unwrap();
    let mut back = [0; 6];
    theirs.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"before", "what waited in the socket");
    for round in 0..100_usize {
        let data = vec![7; 1 + round * 600];
        theirs.write_all(&data).unwrap();
        let mut back = vec![0; data.len()];
        theirs.read_exact(&mut back).unwrap();
        assert_eq!(back, data);
    }
    drop::<OwnedFd>(theirs.into());
    let Seen::Lost(lost, LostReason::HungUp | LostReason::Reset) = running.next() else {
        panic!("the end is seen");
    };
    assert_eq!(lost, stream);
}

#[test]
fn a_handed_over_tcp_socket_is_a_stream_like_any_other() {
    let (theirs, ours) = tcp_pair();
    echoes(ours, theirs);
}

#[test]
fn a_handed_over_unix_socket_is_a_stream_like_any_other() {
    let (theirs, ours) = UnixStream::pair().unwrap();
    echoes(ours, theirs);
}

#[test]
fn a_socket_that_the_core_does_not_keep_is_closed() {
    let running = echo(false);
    let (mut theirs, ours) = tcp_pair();
    let refused = running.add(ours, Direction::Outgoing);
    assert!(
        matches!(refused, Err(AdoptError::Refused(_))),
        "{refused:?}"
    );
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the other end is gone");
}

#[test]
fn what_is_no_connected_stream_socket_is_given_back_by_name() {
    let running = echo(false);
    let directory = tempfile::tempdir().unwrap();
    let (here, _there) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let unconnected = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let table: Vec<(&str, OwnedFd)> = vec![
        ("not a stream", here.into()),
        (
            "not a stream",
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into(),
        ),
        (
            "not connected",
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into(),
        ),
        (
            "not connected",
            UnixListener::bind(directory.path().join("socket"))
                .unwrap()
                .into(),
        ),
        ("not connected", unconnected.into()),
        (
            "on non-socket",
            std::fs::File::open("/dev/null").unwrap().into(),
        ),
    ];
    for (why, socket) in table {
        let Err(AdoptError::Unusable(error)) = running.add(socket, Direction::Incoming) else {
            panic!("{why}");
        };
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    let metrics = running.handle.metrics(PATIENCE).unwrap();
    assert_eq!(metrics.turns.streams_open, 0);
}

#[test]
fn a_socket_whose_message_is_not_executed_is_closed() {
    let clock = Clock::start();
    let options = Options {
        capacity: 2,
        policy: Backpressure::Reject,
        patience: Duration::ZERO,
        clock,
        stamped: true,
    };
    let state = tempfile::tempdir().unwrap();
    let host = OsHost::new(
        clock,
        &[SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        1,
        state.path().to_owned(),
        Owner::Shared,
        &mut Vec::new(),
    )
    .unwrap();
    let doorbell = host.doorbell();
    let core = Echo {
        outputs: VecDeque::new(),
        streams: 0,
        dialled: 0,
        spare: Vec::new(),
        seen: mpsc::channel().0,
        hang_up: false,
    };
    let (mut turns, handle) = Loop::new(host, core, Vec::new(), options, doorbell);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let add = |socket: UnixStream| {
        let direction = Direction::Incoming;
        let added = handle.stream_add(socket.into(), address, direction, None, Duration::ZERO);
        let Err(AdoptError::Ask(why)) = added else {
            panic!("{added:?}");
        };
        why
    };
    let gone = |mut theirs: UnixStream| {
        theirs.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the other end is gone");
    };
    use crate::actor::reply::AskError;
    // Nobody takes it in time; the actor throws it away when it comes to it.
    let (expired, ours) = UnixStream::pair().unwrap();
    assert_eq!(add(ours), AskError::Expired);
    let (full, ours) = UnixStream::pair().unwrap();
    assert_eq!(add(ours), AskError::Full);
    gone(full);
    turns.turn();
    gone(expired);
    let (cancelled, ours) = UnixStream::pair().unwrap();
    assert_eq!(add(ours), AskError::Expired);
    drop(turns);
    gone(cancelled);
    let (stopped, ours) = UnixStream::pair().unwrap();
    assert_eq!(add(ours), AskError::Stopped);
    gone(stopped);
}
