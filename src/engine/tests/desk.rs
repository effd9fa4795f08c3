//! A caller at an engine of its own, with swarms that nobody trades in: what it asks, what it is told.

use super::*;
use crate::engine::message::{
    Accounting, Carrier, Direction, IgnoredAddress, LinkSummary, LinksCount, StreamName,
};
use crate::ids::{ConnectionId, LinkId, SwarmId};

pub(super) struct Desk {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    pub(super) events: Vec<Event>,
    pub(super) other: Vec<Output>,
    asked: u64,
}

/// The `n`th address, dialable.
pub(super) fn at(n: u16) -> SocketAddr {
    SocketAddr::from(([91, 7, (n >> 8) as u8, n as u8], 6881))
}

pub(super) fn hash(n: u8) -> InfoHash {
    InfoHash([n; 20])
}

pub(super) fn refusal(answer: &Answer) -> Option<Refusal> {
    match answer {
        Answer::Refused(refusal) => Some(*refusal),
        _ => None,
    }
}

impl Desk {
    pub(super) fn new() -> Self {
        let mut rng = Rng::new(11);
        let settings = Settings::new(&Config::default(), 4, 2, &mut rng);
        let mut desk = Self {
            engine: Engine::new(settings, rng),
            now: Instant::ZERO + Duration::from_secs(10),
            events: Vec::new(),
            other: Vec::new(),
            asked: 0,
        };
        let addresses = vec!["10.0.0.1:6881".parse().unwrap()];
        desk.input(Input::Listening { addresses });
        desk
    }

    pub(super) fn input(&mut self, input: Input<'_>) -> Answer {
        self.engine.handle(self.now, input);
        self.engine.check();
        let mut answer = None;
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Reply { answer: said, .. } => {
                    assert!(answer.replace(said).is_none(), "answered once");
                }
                Output::Event(event) => self.events.push(event),
                other => self.other.push(other),
            }
        }
        answer.unwrap_or(Answer::Done)
    }

    pub(super) fn ask(&mut self, message: Message) -> Answer {
        self.asked += 1;
        let reply = Some(ReplyId(self.asked));
        self.input(Input::Message { message, reply })
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now += span;
        self.input(Input::Tick);
    }

    /// Names of the link events since the last call, with their addresses.
    pub(super) fn link_events(&mut self) -> Vec<(&'static str, SocketAddr)> {
        let events = self.events.drain(..).filter_map(|event| match event {
            Event::LinkEstablished(link) => Some(("established", link.address)),
            Event::LinkLost(link) => Some(("lost", link.address)),
            Event::LinkIgnored(link) => Some(("ignored", link.address)),
            _ => None,
        });
        events.collect()
    }

    // What cannot be refused where these are used.

    pub(super) fn swarm(&mut self, n: u8) -> SwarmId {
        let (info_hash, links_min) = (hash(n), 3);
        match self.ask(Message::SwarmAdd {
            info_hash,
            links_min,
        }) {
            Answer::Swarm(swarm) => swarm,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn create(&mut self, address: SocketAddr, swarm: SwarmId) -> LinkId {
        match self.ask(Message::LinkCreate { address, swarm }) {
            Answer::Link(link) => link,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn pin(&mut self, address: SocketAddr, swarm: SwarmId) -> LinkId {
        match self.ask(Message::Pin { address, swarm }) {
            Answer::Link(link) => link,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn add(
        &mut self,
        address: SocketAddr,
        direction: Direction,
        connection: u64,
        swarm: Option<SwarmId>,
    ) -> Answer {
        let carrier = Carrier::Outside(ConnectionId(connection));
        self.ask(Message::StreamAdd {
            address,
            direction,
            swarm,
            carrier,
        })
    }

    pub(super) fn stream(
        &mut self,
        address: SocketAddr,
        direction: Direction,
        connection: u64,
    ) -> StreamId {
        match self.add(address, direction, connection, None) {
            Answer::Stream(stream) => stream,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn end(&mut self, connection: u64) {
        let stream = StreamName::Outside(ConnectionId(connection));
        let answer = self.ask(Message::StreamDelete { stream });
        assert!(matches!(answer, Answer::Done), "{answer:?}");
    }

    pub(super) fn replace(&mut self, old: u64, new: u64, direction: Direction) -> Answer {
        self.ask(Message::StreamReplace {
            old: StreamName::Outside(ConnectionId(old)),
            new: StreamName::Outside(ConnectionId(new)),
            direction,
        })
    }

    pub(super) fn account(&mut self, address: SocketAddr, swarm: SwarmId, verdict: Accounting) {
        let answer = self.ask(Message::Account {
            address,
            swarm,
            verdict,
        });
        assert!(matches!(answer, Answer::Done), "{answer:?}");
    }

    /// A link with a stream that is accounted.
    pub(super) fn member(
        &mut self,
        address: SocketAddr,
        direction: Direction,
        connection: u64,
        swarm: SwarmId,
    ) {
        if direction == Direction::Outgoing {
            self.create(address, swarm);
        }
        self.stream(address, direction, connection);
        self.account(address, swarm, Accounting::Member);
    }

    pub(super) fn switch(&mut self, swarm: SwarmId, on: bool) -> bool {
        match self.ask(Message::SwarmSwitch { swarm, on }) {
            Answer::Condition(before) => before,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn find(&mut self, address: SocketAddr, swarm: SwarmId) -> Option<LinkSummary> {
        match self.ask(Message::LinkFind { address, swarm }) {
            Answer::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn count(&mut self, swarm: SwarmId) -> LinksCount {
        match self.ask(Message::LinksCount { swarm }) {
            Answer::Count(count) => count,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn links(&mut self, swarm: SwarmId, established_only: bool) -> Arc<[LinkSummary]> {
        match self.ask(Message::LinksShow {
            swarm,
            established_only,
        }) {
            Answer::Links { time, links } => {
                assert_eq!(time, self.now);
                links
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn ignored(&mut self, swarm: SwarmId) -> Arc<[IgnoredAddress]> {
        match self.ask(Message::IgnoredShow { swarm }) {
            Answer::Ignored { time, addresses } => {
                assert_eq!(time, self.now);
                addresses
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn by_state(&mut self) -> [u32; 4] {
        match self.ask(Message::EngineShow) {
            Answer::Engine(engine) => engine.links,
            other => panic!("{other:?}"),
        }
    }
}
