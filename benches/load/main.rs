//! The load that `benches/compare` puts on a client, as one small program that is no client itself.
//!
//! ```text
//! load swarm --to ADDRESS --torrent HASH,PIECE_LENGTH,TOTAL [--peers 200] [--outstanding 4] [--bytes N]
//! load idle  --to ADDRESS --torrent HASH,PIECE_LENGTH,TOTAL [--peers 100]
//! load dial  --to ADDRESS --torrent HASH,PIECE_LENGTH,TOTAL --data FILE
//! load floor --into FILE --bytes N
//! ```
//!
//! `swarm` plays plain leeches that keep a few requests outstanding each and throw away what they get; it prints one
//! JSON object. `idle` connects, says `ready` and stays until stdin ends. `dial` is a seed that dials until it is let in
//! and then serves FILE. `floor` says `port N`, receives N bytes on that port and writes them to a new file: what no
//! downloading client can be cheaper than. Without arguments (`cargo test --benches`) a tiny floor is measured, so that
//! this program stays alive.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program: sockets, files and the clock are its subject; a surprise ends it"
)]

mod wire;

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};
use socket2::{Domain, Socket, Type};

use wire::{Leech, Share, full_bitfield, handshake};

/// One read of a stream at most: several times what `swarm` has outstanding.
const SCRATCH_BYTES: usize = 256 * 1024;

/// What `floor` writes at once: a piece of the torrents that are compared.
const FLOOR_BYTES: usize = 1 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(
            arguments
                .get(at + 1)
                .unwrap_or_else(|| panic!("{name} needs a value"))
                .as_str(),
        )
    };
    let number = |name: &str, default: u64| {
        value(name).map_or(default, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name}: not a number"))
        })
    };
    let need = |name: &str| value(name).unwrap_or_else(|| panic!("{name} is missing"));
    let to = || need("--to").parse::<SocketAddr>().expect("--to: HOST:PORT");
    let share = || Share::parse(need("--torrent")).expect("--torrent: HASH,PIECE_LENGTH,TOTAL");
    match mode.as_str() {
        "swarm" => {
            let share = share();
            let bytes = number("--bytes", share.total);
            swarm(
                to(),
                &share,
                number("--peers", 200),
                number("--outstanding", 4),
                bytes,
            );
        }
        "idle" => idle(to(), &share(), number("--peers", 100)),
        "dial" => dial(to(), &share(), &File::open(need("--data")).unwrap()),
        "floor" => floor(
            &mut listen(),
            &mut File::create(need("--into")).unwrap(),
            number("--bytes", 0),
        ),
        // What cargo passes to a bench without harness, or nothing at all.
        _ => alive(),
    }
}

fn listen() -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("port {}", listener.local_addr().unwrap().port());
    listener.accept().unwrap().0
}

/// Receives exactly `bytes` and writes them, a piece at a time.
fn floor(stream: &mut TcpStream, into: &mut impl Write, bytes: u64) {
    let mut buffer = vec![0; FLOOR_BYTES];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left.min(FLOOR_BYTES as u64)).unwrap();
        stream
            .read_exact(&mut buffer[..part])
            .expect("the sender sends it all");
        into.write_all(&buffer[..part]).unwrap();
        left -= part as u64;
    }
}

/// A small floor against ourselves.
fn alive() {
    const BYTES: usize = 4 << 20;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let sender = std::thread::spawn(move || {
        let data: Vec<u8> = (0..BYTES)
            .map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
            .collect();
        TcpStream::connect(address)
            .unwrap()
            .write_all(&data)
            .unwrap();
    });
    let start = Instant::now();
    let mut got = Vec::new();
    floor(&mut listener.accept().unwrap().0, &mut got, BYTES as u64);
    let took = start.elapsed();
    sender.join().unwrap();
    let hash: [u8; 20] = Sha1::digest(&got).into();
    println!(
        "floor of 4 MiB: {took:?}, {}",
        hash.map(|byte| format!("{byte:02x}")).concat()
    );
}

/// Connects from an address of its own: some clients take one stream per address only.
fn connect(to: SocketAddr, index: u64) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    if to.is_ipv4() {
        let [.., high, low] = (index + 1).to_be_bytes();
        let from = SocketAddr::from((Ipv4Addr::new(127, 77, high, low), 0));
        socket.bind(&from.into()).unwrap();
    }
    socket
        .connect(&to.into())
        .unwrap_or_else(|error| panic!("peer {index}: {error}"));
    socket.set_tcp_nodelay(true).unwrap();
    socket.into()
}

fn swarm(to: SocketAddr, share: &Share, peers: u64, outstanding: u64, bytes: u64) {
    let mut poll = Poll::new().unwrap();
    let mut leeches = Vec::new();
    for index in 0..peers {
        let mut stream = connect(to, index);
        stream.write_all(&handshake(share, index)).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = mio::net::TcpStream::from_std(stream);
        let token = Token(leeches.len());
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)
            .unwrap();
        // Spread over the torrent, so that they do not all ask for the same.
        let first = share.blocks() * index / peers;
        leeches.push((stream, Leech::new(share.clone(), first, outstanding)));
    }
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let start = Instant::now();
    let mut got = 0;
    while got < bytes {
        poll.poll(&mut events, Some(Duration::from_secs(60)))
            .unwrap();
        assert!(
            !events.is_empty(),
            "nothing for a minute; {got} bytes so far"
        );
        for event in &events {
            let (stream, leech) = &mut leeches[event.token().0];
            got += pump(stream, leech, &mut scratch);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let served = leeches.iter().filter(|(_, leech)| leech.blocks > 0).count();
    println!("{{\"bytes\":{got},\"seconds\":{seconds:.3},\"peers_served\":{served}}}");
}

/// Reads until there is no more, answers once, and gives the payload bytes that came.
fn pump(stream: &mut mio::net::TcpStream, leech: &mut Leech, scratch: &mut [u8]) -> u64 {
    let before = leech.bytes;
    let mut out = Vec::new();
    loop {
        match stream.read(scratch) {
            Ok(0) => panic!("the client hung up"),
            Ok(n) => leech.on_bytes(&scratch[..n], &mut out),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("the client is gone: {error}"),
        }
    }
    if !out.is_empty() {
        // A few requests of 17 bytes always fit into an emptied socket buffer.
        stream.write_all(&out).unwrap();
    }
    leech.bytes - before
}

fn idle(to: SocketAddr, share: &Share, peers: u64) {
    let mut streams = Vec::new();
    for index in 0..peers {
        let mut stream = connect(to, index);
        stream.write_all(&handshake(share, index)).unwrap();
        let mut answer = [0; 68];
        stream.read_exact(&mut answer).unwrap();
        streams.push(stream);
    }
    println!("ready");
    // Until stdin ends.
    let _ = std::io::stdin().lock().lines().last();
}

/// Dials every 2 ms until the client listens and lets us in, then serves.
fn dial(to: SocketAddr, share: &Share, data: &File) {
    loop {
        let start = Instant::now();
        if let Ok(stream) = TcpStream::connect(to) {
            let result = serve(stream, share, data);
            eprintln!("a stream ended after {:?}: {result:?}", start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn serve(mut stream: TcpStream, share: &Share, data: &File) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&handshake(share, 0))?;
    let mut answer = [0; 68];
    stream.read_exact(&mut answer)?;
    stream.write_all(&full_bitfield(share))?;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut body)?;
        match body.first() {
            // Interested: it may ask.
            Some(2) => stream.write_all(&[0, 0, 0, 1, 1])?,
            Some(6) => {
                let word = |at: usize| {
                    u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"))
                };
                let (piece, begin, length) = (word(1), word(5), word(9));
                let mut out = (length + 9).to_be_bytes().to_vec();
                out.push(7);
                out.extend(&body[1..9]);
                let at = out.len();
                out.resize(at + length as usize, 0);
                data.read_exact_at(
                    &mut out[at..],
                    u64::from(piece) * share.piece_length + u64::from(begin),
                )?;
                stream.write_all(&out)?;
            }
            _ => {}
        }
    }
}
