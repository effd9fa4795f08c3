//! The network: where peers reach us, how we are seen, whether trackers answer, what they think the time is.

#![allow(
    clippy::disallowed_types,
    reason = "the edge: sockets are opened to see whether they can be"
)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Instant;

use crossbeam_channel as channel;
use url::Url;

use super::super::source::reason;
use super::{Finding, PATIENCE};
use crate::codec::address;
use crate::codec::announce::mask;
use crate::codec::announce::udp::{UdpBody, decode_answer, encode_connect};
use crate::config::Config;
use crate::engine::message::{Fetch, FetchOutcome, FetchTask};
use crate::gateway::Gateway;
use crate::ids::JobId;
use crate::time::Duration;

/// For what happens on this host alone.
const LOCAL: Duration = Duration::from_secs(1);

/// A clock that is so much off makes certificates fail.
const CLOCK_OFF_MAX: i64 = 120;

/// Bytes of an answer's head that are read.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Whether peers can reach the addresses of the configuration, by streams and by datagrams.
pub(super) fn listeners(config: &Config) -> Vec<Finding> {
    if config.peer.listen.is_empty() {
        let fix = "peer.listen = [\"0.0.0.0:51413\", \"[::]:51413\"]";
        return vec![Finding::note("listen", "nowhere: nobody can dial us", fix)];
    }
    config.peer.listen.iter().map(|to| listener(*to)).collect()
}

fn listener(at: SocketAddr) -> Finding {
    let name = "listen";
    let socket = match TcpListener::bind(at) {
        Ok(socket) => socket,
        Err(fault) => return not_bound(at, &fault),
    };
    let bound = socket.local_addr().unwrap_or(at);
    if let Err(fault) = TcpStream::connect_timeout(&near(bound), LOCAL) {
        let text = format!(
            "{at}: bound, but this host cannot connect to it: {}",
            reason(&fault)
        );
        return Finding::broken(name, text, "look at the firewall of this host");
    }
    // A port that a daemon would choose is free for datagrams too, most often.
    let udp = if at.port() == 0 { bound } else { at };
    match datagram(udp) {
        Ok(()) => Finding::fine(name, format!("{at}: free, TCP and UDP")),
        Err(fault) => {
            let text = format!("{at}: no datagrams (UDP): {}", reason(&fault));
            let fix = "choose another port in peer.listen, or look at the firewall of this host";
            Finding::broken(name, text, fix)
        }
    }
}

fn not_bound(at: SocketAddr, fault: &io::Error) -> Finding {
    let name = "listen";
    match fault.kind() {
        io::ErrorKind::AddrInUse => {
            let text = format!("{at}: in use; a daemon would fall back to a free port");
            let fix = "fine if a daemon of yours runs there; else end the other program, or change peer.listen";
            Finding::note(name, text, fix)
        }
        // A host without IPv6 is no news to its owner.
        _ if at.is_ipv6() && at.ip().is_unspecified() => {
            Finding::note(name, format!("{at}: no IPv6 on this host"), "")
        }
        io::ErrorKind::PermissionDenied => {
            let text = format!("{at}: not permitted");
            Finding::broken(
                name,
                text,
                "ports below 1024 are for root: choose another in peer.listen",
            )
        }
        _ => {
            let text = format!("{at}: {}", reason(fault));
            Finding::broken(name, text, "name an address of this host in peer.listen")
        }
    }
}

/// Where this host reaches a listener of its own.
fn near(mut at: SocketAddr) -> SocketAddr {
    if at.ip().is_unspecified() {
        at.set_ip(match at.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    at
}

/// Sends a datagram to ourselves.
fn datagram(at: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    socket.set_read_timeout(Some(LOCAL))?;
    let to = near(socket.local_addr()?);
    socket.send_to(b"linnet", to)?;
    socket.recv_from(&mut [0; 16]).map(|_| ())
}

/// Whether a daemon answers.
pub(super) fn daemon(config: &Config) -> Finding {
    let name = "daemon";
    let Ok(at) = config.rpc.bind.parse::<SocketAddr>() else {
        return Finding::note(name, "not tested: rpc.bind is no address", "");
    };
    match TcpStream::connect_timeout(&near(at), LOCAL) {
        Ok(_) => Finding::fine(name, format!("something answers at {at} (rpc.bind)")),
        Err(_) => Finding::note(name, format!("none at {at} (rpc.bind)"), ""),
    }
}

/// How the world sees this host, as far as its own addresses tell.
pub(super) fn addresses() -> Finding {
    let name = "addresses";
    let found = match if_addrs::get_if_addrs() {
        Ok(found) => found,
        Err(fault) => {
            let text = format!("the interfaces cannot be read: {}", reason(&fault));
            return Finding::note(name, text, "");
        }
    };
    let outside = found.iter().filter(|one| !one.is_loopback());
    let mut ips: Vec<IpAddr> = outside.map(if_addrs::Interface::ip).collect();
    ips.retain(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
    if ips.is_empty() {
        let fix = "connect this host to a network";
        return Finding::broken(name, "no address but loopback", fix);
    }
    let shown: Vec<String> = ips.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    if ips.iter().any(|ip| ip.is_ipv4() && address::is_global(*ip)) {
        return Finding::fine(name, shown);
    }
    let text = format!("{shown}: behind a router (NAT), as far as IPv4 goes");
    let fix = "peers can dial you only if the router forwards the port of peer.listen to this host";
    Finding::note(name, text, fix)
}

/// Whether each tracker answers, all at the same time, and what time they think it is.
pub(super) fn trackers(urls: &[String]) -> Vec<Finding> {
    if urls.is_empty() {
        let fix = "`linnet doctor FILE.torrent` tries its trackers";
        return vec![Finding::note("trackers", "not tested: none was named", fix)];
    }
    let gateway = GatewayOnce::new();
    let deadline = Instant::now() + PATIENCE;
    let hosts: Vec<Result<Tracker, String>> = urls.iter().map(|url| Tracker::of(url)).collect();
    let addresses = gateway.resolve(&hosts, deadline);
    let (say, heard) = channel::unbounded();
    let mut waiting = 0;
    let mut findings = Vec::new();
    for (at, (host, found)) in hosts.into_iter().zip(addresses).enumerate() {
        let shown = mask(&urls[at]);
        match (host, found) {
            (Err(why), _) => {
                findings.push(Finding::broken("trackers", format!("{shown}: {why}"), ""));
            }
            (Ok(_), Err(why)) => {
                let fix = "look at the network and the name servers of this host, or take the tracker away";
                findings.push(Finding::broken("trackers", format!("{shown}: {why}"), fix));
            }
            (Ok(tracker), Ok(to)) => {
                let say = say.clone();
                waiting += 1;
                // It ends by itself soon after the deadline.
                thread::spawn(move || {
                    let answer = tracker.ask(to, deadline);
                    let _ = say.send((shown, answer));
                });
            }
        }
    }
    drop(say);
    let mut clocks = Vec::new();
    for _ in 0..waiting {
        let Ok((shown, answer)) = heard.recv() else {
            break;
        };
        findings.push(match answer {
            Ok(clock) => {
                clocks.extend(clock);
                Finding::fine("trackers", format!("{shown}: answers"))
            }
            Err(fault) => {
                let text = format!("{shown}: {}", told(&fault));
                let fix = "it may be down; if all are, look at the network and the firewall";
                Finding::broken("trackers", text, fix)
            }
        });
    }
    findings.push(clock(&clocks));
    findings
}

fn told(fault: &io::Error) -> String {
    match fault.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => reason(fault),
    }
}

/// How far our clock is from those of the trackers, in seconds.
fn clock(off: &[i64]) -> Finding {
    let mut off = off.to_vec();
    off.sort_unstable();
    match off.get(off.len() / 2) {
        None => Finding::note("clock", "not tested: no tracker told the time", ""),
        Some(off) if off.abs() > CLOCK_OFF_MAX => {
            let text = format!("{off} s away from the time of the trackers");
            Finding::broken(
                "clock",
                text,
                "set it (NTP): secure connections fail otherwise",
            )
        }
        Some(off) => Finding::fine(
            "clock",
            format!("{off} s away from the time of the trackers"),
        ),
    }
}

/// How a tracker is asked for no more than whether it is there.
#[derive(Clone, Debug)]
struct Tracker {
    host: String,
    port: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Http,
    Https,
}

impl Tracker {
    fn of(url: &str) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|_| "not a URL".to_owned())?;
        let kind = match url.scheme() {
            "udp" => Kind::Udp,
            "http" => Kind::Http,
            "https" => Kind::Https,
            other => return Err(format!("{other} is not supported")),
        };
        let host = url.host_str().ok_or("it names no host")?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = url.port_or_known_default().ok_or("it names no port")?;
        Ok(Self { host, port, kind })
    }

    /// Seconds that its clock is ahead of ours, if it tells.
    fn ask(&self, to: SocketAddr, deadline: Instant) -> io::Result<Option<i64>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(100));
        match self.kind {
            Kind::Udp => connect(to, left).map(|()| None),
            // Whether it speaks TLS well is seen by the first announce.
            Kind::Https => TcpStream::connect_timeout(&to, left).map(|_| None),
            Kind::Http => {
                let mut stream = TcpStream::connect_timeout(&to, left)?;
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))?;
                // Of its own page: the announce's path may hold a member's key.
                let request = format!("HEAD / HTTP/1.0\r\nHost: {}\r\n\r\n", self.host);
                stream.write_all(request.as_bytes())?;
                let mut head = Vec::new();
                let mut part = [0; 1024];
                while head.len() < HEAD_BYTES_MAX {
                    match stream.read(&mut part) {
                        Ok(0) => break,
                        Ok(length) => head.extend_from_slice(&part[..length]),
                        // What came is enough.
                        Err(_) if !head.is_empty() => break,
                        Err(fault) => return Err(fault),
                    }
                    if head.windows(4).any(|end| end == b"\r\n\r\n") {
                        break;
                    }
                }
                Ok(ahead(&String::from_utf8_lossy(&head)))
            }
        }
    }
}

/// The first half of BEP 15's announce.
fn connect(to: SocketAddr, left: Duration) -> io::Result<()> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    // A lost datagram is sent once more.
    socket.set_read_timeout(Some(left / 2))?;
    let transaction = std::process::id();
    let mut bytes = [0; 64];
    for last in [false, true] {
        socket.send(&encode_connect(transaction))?;
        match socket.recv(&mut bytes) {
            Ok(length) => {
                let answer = decode_answer(&bytes[..length], to.is_ipv6());
                let is_it = answer.is_ok_and(|answer| {
                    answer.transaction == transaction
                        && matches!(answer.body, UdpBody::Connect { .. })
                });
                return match is_it {
                    true => Ok(()),
                    false => Err(io::Error::other("what answers is no tracker")),
                };
            }
            Err(fault) if last => return Err(fault),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Seconds that the clock behind an HTTP head is ahead of ours.
fn ahead(head: &str) -> Option<i64> {
    let date = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim())
    })?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let ours = i64::try_from(crate::time::unix_millis() / 1000).ok()?;
    Some(theirs.as_second() - ours)
}

/// A gateway for its names alone: the system's own look-up cannot be given a deadline.
struct GatewayOnce {
    gateway: std::cell::RefCell<Gateway>,
    rung: channel::Receiver<()>,
}

impl GatewayOnce {
    fn new() -> Self {
        let (ring, rung) = channel::bounded(1);
        let gateway = Gateway::start(move || {
            let _ = ring.try_send(());
        });
        Self {
            gateway: gateway.into(),
            rung,
        }
    }

    /// An address of each.
    fn resolve(
        &self,
        hosts: &[Result<Tracker, String>],
        deadline: Instant,
    ) -> Vec<Result<SocketAddr, String>> {
        let mut gateway = self.gateway.borrow_mut();
        let late = "its name was not found in time: no network, or no name server";
        let mut found: Vec<Result<SocketAddr, String>> = vec![Err(late.to_owned()); hosts.len()];
        let mut waiting = 0;
        let half = deadline.saturating_duration_since(Instant::now()) / 2;
        for (id, host) in hosts.iter().enumerate() {
            let Ok(tracker) = host else { continue };
            waiting += 1;
            gateway.fetch(Fetch {
                id: JobId(id as u64),
                task: FetchTask::Resolve {
                    host: tracker.host.clone(),
                    port: tracker.port,
                    timeout: half,
                },
            });
        }
        while waiting > 0 {
            while let Some(fetched) = gateway.next() {
                waiting -= 1;
                let at = usize::try_from(fetched.id.0).unwrap_or(usize::MAX);
                if let (FetchOutcome::Resolved(result), Some(place)) =
                    (fetched.outcome, found.get_mut(at))
                {
                    *place = result.and_then(|all| first(&all).ok_or_else(|| late.to_owned()));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || waiting > 0 && self.rung.recv_timeout(left).is_err() {
                break;
            }
        }
        found
    }
}

/// IPv4 first: a host without IPv6 is still the usual one.
fn first(all: &[SocketAddr]) -> Option<SocketAddr> {
    let v4 = all.iter().find(|one| one.is_ipv4());
    v4.or_else(|| all.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_listener_is_free_taken_or_not_ours() {
        let any = "127.0.0.1:0".parse().unwrap();
        assert_eq!(listener(any).status, Status::Fine);
        let taken = TcpListener::bind(any).unwrap();
        let found = listener(taken.local_addr().unwrap());
        assert_eq!(found.status, Status::Note, "{found:?}");
        let strange = listener("192.0.2.1:6881".parse().unwrap());
        assert_eq!(strange.status, Status::Broken, "{strange:?}");
        assert!(strange.fix.contains("peer.listen"));
    }

    #[test]
    fn a_clock_is_compared_with_the_middle_of_what_trackers_say() {
        #[rustfmt::skip]
        let table: &[(&[i64], Status)] = &[
            (&[],               Status::Note),
            (&[3],              Status::Fine),
            (&[-90_000, 1, 2],  Status::Fine),
            (&[5000, 5001, 1],  Status::Broken),
            (&[-500],           Status::Broken),
        ];
        for (off, want) in table {
            assert_eq!(clock(off).status, *want, "{off:?}");
        }
    }

    #[test]
    fn the_date_of_a_head_is_found() {
        let year_2000 = "HTTP/1.1 404 Not Found\r\ndate: Sat, 01 Jan 2000 00:00:00 GMT\r\n\r\n";
        assert!(ahead(year_2000).unwrap() < -600_000_000);
        assert_eq!(ahead("HTTP/1.0 200 OK\r\nDate: yesterday\r\n\r\n"), None);
        assert_eq!(ahead("no head"), None);
    }
}
