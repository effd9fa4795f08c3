//! A program that embeds the engine: it hands over sockets that it connected itself, and a real client sits behind them.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run real processes, sockets and files; a surprise there ends the test"
)]

mod support;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use linnet::actor::handle::Handle;
use linnet::codec::metainfo::Metainfo;
use linnet::config::Config;
use linnet::engine::message::{Answer, Direction, Message, SessionAdd, SessionState};
use linnet::ids::{InfoHash, SessionId, SwarmId};
use linnet::runtime::Runtime;
use linnet::time::Duration;

use support::clients::{Libtorrent, Options};
use support::torrent::{Recipe, Torrent};
use support::{HANG, Scratch, eventually, free, place};

const RECIPE: Recipe<'_> = Recipe {
    name: "embedded",
    piece_length: 256 << 10,
    files: &[("a.bin", 3_000_001), ("sub/b.bin", 777)],
    trackers: &[],
};

/// An engine that listens where nobody looks, with one torrent.
struct Program {
    runtime: Runtime,
    session: SessionId,
    swarm: SwarmId,
}

impl Program {
    fn start(scratch: &Scratch, torrent: &Torrent, root: &std::path::Path, download: bool) -> Self {
        let mut config = Config::default();
        config.peer.listen = vec![free(place())];
        config.discovery.dht = false;
        config.paths.state = scratch.dir("state");
        let runtime = Runtime::start(&config, 1).unwrap();
        let metainfo = Metainfo::decode(&std::fs::read(&torrent.file).unwrap()).unwrap();
        let info_hash: InfoHash = metainfo.info_hash;
        let add = Message::SessionAdd(Box::new(SessionAdd {
            metainfo: Arc::new(metainfo),
            root: root.canonicalize().unwrap(),
            download,
            seed: true,
            recheck: false,
            wanted: Vec::new(),
        }));
        let Answer::Session(session) = runtime.handle().ask(add, HANG).unwrap() else {
            panic!("the torrent is taken");
        };
        let find = Message::SwarmFind { info_hash };
        let Answer::Swarm(swarm) = runtime.handle().ask(find, HANG).unwrap() else {
            panic!("it has a swarm");
        };
        let program = Self {
            runtime,
            session,
            swarm,
        };
        let begun = if download {
            SessionState::Downloading
        } else {
            SessionState::Seeding
        };
        program.until(begun);
        program
    }

    fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    fn until(&self, state: SessionState) {
        let session = self.session;
        eventually("the session's state", || {
            match self.handle().ask(Message::SessionShow { session }, HANG) {
                Ok(Answer::Snapshot(shown)) if shown.state == state => Some(()),
                _ => None,
            }
        });
    }

    fn end(self) {
        self.runtime.shutdown(Duration::from_secs(2));
        let report = self.runtime.join(HANG).unwrap();
        assert!(report.abandoned.is_empty(), "{:?}", report.abandoned);
    }
}

fn at(ip: IpAddr) -> Options<'static> {
    Options {
        at: Some(ip),
        ..Options::default()
    }
}

#[test]
fn a_socket_we_connected_carries_a_download_from_libtorrent() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &RECIPE);
    let seed = Libtorrent::seed(&torrent.file, &torrent.dir, &at(place()));
    let into = scratch.dir("into");
    let program = Program::start(&scratch, &torrent, &into, true);
    // Nobody listens at the link's address: whatever comes, comes through the socket.
    let (address, swarm) = (free(place()), program.swarm);
    let create = Message::LinkCreate { address, swarm };
    assert!(matches!(
        program.handle().ask(create, HANG),
        Ok(Answer::Link(_))
    ));
    let socket = TcpStream::connect(seed.address).unwrap();
    program
        .handle()
        .stream_add(
            socket.into(),
            address,
            Direction::Outgoing,
            Some(swarm),
            HANG,
        )
        .unwrap();
    program.until(SessionState::Seeding);
    torrent.assert_same(&into);
    program.end();
}

#[test]
fn a_socket_we_accepted_carries_a_seed_to_libtorrent() {
    let scratch = Scratch::new();
    let torrent = Torrent::make(&scratch, &RECIPE);
    let program = Program::start(&scratch, &torrent, &torrent.dir, false);
    let listener = TcpListener::bind((place(), 0)).unwrap();
    let ours: SocketAddr = listener.local_addr().unwrap();
    let into = scratch.dir("into");
    let peers = [ours];
    let options = Options {
        peers: &peers,
        ..at(place())
    };
    let leech = Libtorrent::get(&torrent.file, &into, &options);
    let (socket, remote) = listener.accept().unwrap();
    program
        .handle()
        .stream_add(socket.into(), remote, Direction::Incoming, None, HANG)
        .unwrap();
    leech.done();
    torrent.assert_same(&into);
    program.end();
}
