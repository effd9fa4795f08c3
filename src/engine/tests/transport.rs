//! The race of TCP and uTP at a dial, whoever wins it.

use super::*;
use crate::codec::utp::{self, Header, Kind};

/// An engine that has just dialled an address that nobody of the world has.
struct Dial {
    world: World,
    node: usize,
    stream: StreamId,
    to: SocketAddr,
    outputs: Vec<Output>,
}

impl Dial {
    fn new(config: &Config) -> Self {
        let mut world = World::new(100_000, 16_384);
        let node = world.node_with(false, 1, config);
        while world.step() {}
        let session = world.session(node);
        let swarm = world.nodes[node]
            .engine
            .sessions
            .get(session)
            .unwrap()
            .swarm;
        let to: SocketAddr = "10.9.9.9:1".parse().unwrap();
        let engine = &mut world.nodes[node].engine;
        let now = world.now;
        (engine.table)
            .link_create(to, swarm, crate::engine::table::Source::Tracker, &[], now)
            .unwrap();
        engine.connect_more(swarm);
        let stream = engine.table.streams.iter().next().unwrap().0;
        let mut this = Self {
            world,
            node,
            stream,
            to,
            outputs: Vec::new(),
        };
        this.collect();
        this
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.world.nodes[self.node].engine
    }

    fn collect(&mut self) {
        while let Some(output) = self.engine().poll_output() {
            self.outputs.push(output);
        }
    }

    fn give(&mut self, input: Input<'_>) {
        let now = self.world.now;
        self.engine().handle(now, input);
        self.engine().check();
        self.collect();
    }

    fn pass(&mut self, millis: u64) {
        self.world.now += Duration::from_millis(millis);
        self.give(Input::Tick);
    }

    fn lose(&mut self) {
        let why = LostReason::Refused;
        let stream = self.stream;
        self.give(Input::Lost { stream, why });
    }

    /// What was asked for since it was last asked, in short.
    fn did(&mut self) -> Vec<&'static str> {
        let name = |output: Output| match output {
            Output::Dial { .. } => Some("dial"),
            Output::Close { .. } => Some("close"),
            Output::Send { .. } => Some("send"),
            Output::Datagram { bytes, .. } => Some(match utp::decode(&bytes)?.header.kind {
                Kind::Syn => "syn",
                Kind::Reset => "reset",
                Kind::Data => "data",
                Kind::State | Kind::Fin => "other",
            }),
            _ => None,
        };
        self.outputs.drain(..).filter_map(name).collect()
    }

    /// The SYN that was sent is answered.
    fn answer(&mut self, kind: Kind) {
        let syn = self.outputs.iter().find_map(|output| match output {
            Output::Datagram { bytes, .. } => utp::decode(bytes).map(|packet| packet.header),
            _ => None,
        });
        let syn = syn.expect("a SYN was sent");
        let header = Header {
            kind,
            sequence: 7,
            acknowledged: syn.sequence,
            window: 100_000,
            ..syn
        };
        let mut bytes = Vec::new();
        utp::encode(&header, &[], 0, &mut bytes);
        let from = self.to;
        self.outputs.clear();
        let bytes = &mut bytes;
        self.give(Input::Datagram { from, bytes });
        self.give(Input::Tick);
    }

    fn is_there(&mut self) -> bool {
        let stream = self.stream;
        self.engine().table.streams.get(stream).is_some()
    }
}

#[test]
fn tcp_begins_and_utp_follows() {
    let mut dial = Dial::new(&Config::default());
    assert_eq!(dial.did(), ["dial"]);
    dial.pass(249);
    assert_eq!(dial.did(), [""; 0]);
    dial.pass(1);
    assert_eq!(dial.did(), ["syn"]);
    let stream = dial.stream;
    dial.give(Input::Connected { stream });
    assert_eq!(
        dial.did(),
        ["reset", "send"],
        "TCP is up, uTP is called off"
    );
}

#[test]
fn utp_wins_and_tcp_is_called_off() {
    let mut dial = Dial::new(&Config::default());
    dial.pass(250);
    dial.answer(Kind::State);
    assert_eq!(dial.did(), ["close", "data"]);
    // What was on its way already changes nothing.
    let stream = dial.stream;
    dial.give(Input::Connected { stream });
    dial.lose();
    assert_eq!(dial.did(), [""; 0]);
    assert!(dial.is_there());
}

#[test]
fn utp_begins_at_once_when_tcp_is_refused() {
    let mut dial = Dial::new(&Config::default());
    dial.lose();
    assert_eq!(dial.did(), ["dial", "syn"]);
    dial.pass(1000);
    assert_eq!(dial.did(), ["syn"], "a lost packet is sent again");
    assert!(dial.is_there());
    dial.pass(2000);
    assert!(!dial.is_there(), "nothing came of either");
}

#[test]
fn both_refused_is_over_at_once() {
    let mut dial = Dial::new(&Config::default());
    dial.lose();
    dial.answer(Kind::Reset);
    assert!(!dial.is_there());
}

#[test]
fn what_is_switched_off_is_not_tried() {
    let mut config = Config::default();
    config.peer.utp = false;
    let mut dial = Dial::new(&config);
    dial.pass(5000);
    assert_eq!(dial.did(), ["dial"]);
    dial.lose();
    assert!(!dial.is_there());
    (config.peer.tcp, config.peer.utp) = (false, true);
    let mut dial = Dial::new(&config);
    assert_eq!(dial.did(), ["syn"]);
    let (socket, remote) = (SocketId(9), "10.9.9.8:5".parse().unwrap());
    dial.give(Input::Incoming { socket, remote });
    let refused = |output: &Output| matches!(output, Output::Refuse { .. });
    assert!(dial.outputs.iter().any(refused), "nor taken");
}
