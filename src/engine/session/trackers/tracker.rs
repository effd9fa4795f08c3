//! One tracker: its URL, how it is spoken to, and its own timer.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::URL_BYTES_MAX;
use super::http::Http;
use super::step::{AskId, Facts, Move, Outcome, Step};
use super::udp::Udp;
use crate::codec::address;
use crate::codec::announce::{AnnounceEvent, mask, mask_in};
use crate::engine::pace::{Class, Kind};
use crate::rng::Rng;
use crate::time::Instant;

/// One tracker of one torrent.
#[derive(Debug)]
pub(super) struct Tracker {
    /// Its name, which stays when its place changes.
    pub(super) key: u32,
    pub(super) tier: u32,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Not to be asked before: the end of its backoff, or of its minimum interval.
    pub(super) earliest: Instant,
    /// The last failure; empty when there is none.
    pub(super) error: String,
    pub(super) seeders: Option<u32>,
    pub(super) leechers: Option<u32>,
    /// Whether it is only there to be told `stopped`.
    pub(super) leaving: bool,
    url: String,
    shown: String,
    wire: Wire,
    /// Whether an announce is under way whose outcome is awaited.
    asking: Asking,
    /// When the last one began.
    asked_at: Instant,
    turn: Turn,
    /// When it last answered or failed, and how many peers it named; `None` before.
    pub(super) last: Option<(Instant, u32)>,
}

/// How an announce stands with the others of the same host (see [`crate::engine::pace`]).
///
/// ```text
/// None ── begin ──▶ Wanted ── polled ──▶ Waiting ── granted ──▶ Granted ── outcome ──▶ Over ── settled ──▶ None
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    None,
    Wanted(AnnounceEvent),
    Waiting(AnnounceEvent),
    Granted,
    /// Whether its host was heard.
    Over(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    No,
    Announce,
    /// Lasts until every address was told.
    Farewell,
}

/// How a tracker is spoken to.
#[derive(Debug)]
enum Wire {
    Http(Http),
    Udp(Udp),
    /// Not at all.
    Unusable,
}

impl Tracker {
    pub(super) fn new(key: u32, tier: u32, url: &str) -> Self {
        let (url, wire, error) = match parse(url) {
            Ok((url, wire)) => (url, wire, String::new()),
            Err(why) => (url.to_owned(), Wire::Unusable, why.to_owned()),
        };
        Self {
            key,
            tier,
            failures: 0,
            earliest: Instant::ZERO,
            error,
            seeders: None,
            leechers: None,
            shown: mask(&url),
            leaving: false,
            url,
            wire,
            asking: Asking::No,
            asked_at: Instant::ZERO,
            turn: Turn::None,
            last: None,
        }
    }

    /// Begins an announce. `event` is what the torrent wants; an address that does not know us is told `started` instead.
    pub(super) fn begin(&mut self, now: Instant, event: AnnounceEvent) {
        self.asked_at = now;
        self.turn = Turn::Wanted(event);
        self.asking = Asking::Announce;
        match &mut self.wire {
            Wire::Http(http) => http.hang_up(),
            Wire::Udp(udp) => udp.hang_up(),
            Wire::Unusable => {
                self.turn = Turn::None;
                self.asking = Asking::No;
            }
        }
    }

    /// Its turn has come: what it waited to say is said with the next poll. Its deadlines begin now.
    pub(super) fn grant(&mut self, now: Instant) {
        let Turn::Waiting(event) = self.turn else {
            return;
        };
        self.turn = Turn::Granted;
        self.asked_at = now;
        match &mut self.wire {
            Wire::Http(http) => http.begin(event),
            Wire::Udp(udp) => udp.begin(now, event),
            Wire::Unusable => {}
        }
    }

    /// Its turn will not come for a while.
    pub(super) fn refuse(&mut self) {
        self.turn = Turn::None;
    }

    /// Whether it waits for its turn.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.turn, Turn::Wanted(_) | Turn::Waiting(_))
    }

    /// What became of its turn: `Some(None)` when it has none, `Some(Some(heard))` when it is over, said once.
    pub(super) fn take_turn(&mut self) -> Option<Option<bool>> {
        match self.turn {
            Turn::None => Some(None),
            Turn::Over(heard) => {
                self.turn = Turn::None;
                Some(Some(heard))
            }
            Turn::Wanted(_) | Turn::Waiting(_) | Turn::Granted => None,
        }
    }

    /// An outcome is there; `heard` says whether the host has said something.
    pub(super) fn turn_over(&mut self, heard: bool) {
        match self.turn {
            Turn::Granted => self.turn = Turn::Over(heard),
            // A second address was heard.
            Turn::Over(false) if heard => self.turn = Turn::Over(true),
            _ => {}
        }
    }

    /// The connection numbers that others have got from the same addresses.
    pub(super) fn lend(&mut self, known: &dyn Fn(SocketAddr) -> Option<(u64, Instant)>) {
        if let Wire::Udp(udp) = &mut self.wire {
            udp.lend(known);
        }
    }

    /// The connection number it has got from that address.
    pub(super) fn connection(&self, from: SocketAddr) -> Option<(u64, Instant)> {
        match &self.wire {
            Wire::Udp(udp) => udp.connection(from),
            Wire::Http(_) | Wire::Unusable => None,
        }
    }

    /// Breaks off what is under way, and says `stopped` where `started` may have been heard.
    pub(super) fn farewell(&mut self, now: Instant) {
        let told = match &self.wire {
            Wire::Http(http) => http.is_told(),
            Wire::Udp(udp) => udp.is_told(),
            Wire::Unusable => false,
        };
        if told {
            self.begin(now, AnnounceEvent::Stopped);
            self.asking = Asking::Farewell;
        } else {
            self.forget();
        }
    }

    /// Breaks off what is under way; from now on the tracker counts as one that does not know us.
    pub(super) fn forget(&mut self) {
        self.asking = Asking::No;
        self.turn = Turn::None;
        match &mut self.wire {
            Wire::Http(http) => http.forget(),
            Wire::Udp(udp) => udp.forget(),
            Wire::Unusable => {}
        }
    }

    /// An outcome was taken note of.
    pub(super) fn settle(&mut self) {
        let talking = match &self.wire {
            Wire::Udp(udp) => udp.is_talking(),
            Wire::Http(_) | Wire::Unusable => false,
        };
        if self.asking != Asking::Farewell || !talking {
            self.asking = Asking::No;
        }
    }

    pub(super) fn poll(
        &mut self,
        now: Instant,
        facts: &Facts,
        rng: &mut Rng,
        next_ask: &mut u64,
    ) -> Option<Move> {
        match self.turn {
            Turn::Wanted(event) => {
                self.turn = Turn::Waiting(event);
                let (host, kind) = self.host()?;
                return Some(Move::Step(Step::Turn {
                    tracker: self.key,
                    host,
                    kind,
                    class: self.class(event, facts),
                }));
            }
            Turn::Waiting(_) => return None,
            Turn::None | Turn::Granted | Turn::Over(_) => {}
        }
        let mut next_ask = || {
            *next_ask += 1;
            AskId(*next_ask)
        };
        let next = match &mut self.wire {
            Wire::Http(http) => http.poll(now, &self.url, facts, &mut next_ask),
            Wire::Udp(udp) => udp.poll(now, facts, rng, &mut next_ask),
            Wire::Unusable => None,
        };
        match next {
            Some(Move::Over(outcome)) => Some(Move::Over(self.masked(outcome))),
            next => next,
        }
    }

    pub(super) fn on_http(
        &mut self,
        ask: AskId,
        result: &Result<Vec<u8>, String>,
    ) -> Option<Outcome> {
        let Wire::Http(http) = &mut self.wire else {
            return None;
        };
        let outcome = http.on_answer(ask, result)?;
        Some(self.masked(outcome))
    }

    pub(super) fn on_resolved(
        &mut self,
        now: Instant,
        ask: AskId,
        result: &Result<Vec<SocketAddr>, String>,
    ) -> Option<Outcome> {
        let Wire::Udp(udp) = &mut self.wire else {
            return None;
        };
        let outcome = udp.on_resolved(now, ask, result)?;
        Some(self.masked(outcome))
    }

    /// `None` when it is none of this tracker's; else what came of it, if anything did.
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Option<Outcome>> {
        let Wire::Udp(udp) = &mut self.wire else {
            return None;
        };
        let outcome = udp.on_datagram(now, from, bytes)?;
        Some(outcome.map(|outcome| self.masked(outcome)))
    }

    /// When it is to be polled again for what is under way.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.turn {
            Turn::Wanted(_) => return Some(Instant::ZERO),
            Turn::Waiting(_) => return None,
            Turn::None | Turn::Granted | Turn::Over(_) => {}
        }
        match &self.wire {
            Wire::Http(http) => http.deadline(),
            Wire::Udp(udp) => udp.deadline(),
            Wire::Unusable => None,
        }
    }

    pub(super) fn owns(&self, transaction: u32) -> bool {
        matches!(&self.wire, Wire::Udp(udp) if udp.owns(transaction))
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asking != Asking::No
    }

    /// When the announce under way began, if there is one. One that waits for its turn has not begun.
    pub(super) fn asked_at(&self) -> Option<Instant> {
        match self.turn {
            Turn::Wanted(_) | Turn::Waiting(_) => Some(Instant::FAR),
            Turn::None | Turn::Granted | Turn::Over(_) => self.is_asking().then_some(self.asked_at),
        }
    }

    /// The host that it shares with other torrents' trackers. Only the scheme, the name and the port: secrets are behind them.
    fn host(&self) -> Option<(String, Kind)> {
        let url = Url::parse(&self.url).ok()?;
        let kind = match &self.wire {
            Wire::Http(_) => Kind::Http,
            Wire::Udp(_) => Kind::Udp,
            Wire::Unusable => return None,
        };
        let port = url.port_or_known_default().unwrap_or(0);
        let name = format!("{}://{}:{port}", url.scheme(), url.host_str()?);
        Some((name, kind))
    }

    fn class(&self, event: AnnounceEvent, facts: &Facts) -> Class {
        let told = match &self.wire {
            Wire::Http(http) => http.is_told(),
            Wire::Udp(udp) => udp.is_told(),
            Wire::Unusable => false,
        };
        match event {
            AnnounceEvent::Stopped | AnnounceEvent::Completed => Class::Event,
            _ if facts.left > 0 && facts.want > 0 => Class::Download,
            _ if !told => Class::First,
            _ => Class::Regular,
        }
    }

    /// Whether it can be asked.
    pub(super) const fn is_usable(&self) -> bool {
        !self.leaving && !matches!(self.wire, Wire::Unusable)
    }

    /// Whether both are at the same URL.
    pub(super) fn has_url_of(&self, other: &Self) -> bool {
        self.url == other.url
    }

    /// The URL, secrets masked.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Errors are texts of others, who know the URL with its secrets.
    fn masked(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Failed {
                error,
                retry,
                heard,
            } => Outcome::Failed {
                error: mask_in(&error, &self.url),
                retry,
                heard,
            },
            Outcome::Answer {
                mut answer,
                event,
                local,
            } => {
                let warning = answer.warning.take();
                answer.warning = warning.map(|text| mask_in(&text, &self.url));
                Outcome::Answer {
                    answer,
                    event,
                    local,
                }
            }
        }
    }
}

/// The URL as it is used, and how; or why it cannot be.
fn parse(text: &str) -> Result<(String, Wire), &'static str> {
    if text.len() > URL_BYTES_MAX {
        return Err("the tracker's URL is too long");
    }
    let url = Url::parse(text).map_err(|_| "the tracker's URL is malformed")?;
    let host = url.host().map(|host| host.to_owned());
    let host = host.ok_or("the tracker's URL names no host")?;
    let wire = match url.scheme() {
        "http" | "https" => Wire::Http(Http::new(is_local(&host))),
        "udp" => {
            let port = url.port().filter(|&port| port != 0);
            let port = port.ok_or("the tracker's URL names no port")?;
            let mut path = url.path().trim_end_matches('/').to_owned();
            if let Some(query) = url.query() {
                path.push('?');
                path.push_str(query);
            }
            // `url` knows addresses only in schemes of the web; here `1.2.3.4` is a domain to it.
            match host {
                Host::Domain(name) => Wire::Udp(Udp::new(name, port, path)),
                Host::Ipv4(ip) => Wire::Udp(Udp::new(ip.to_string(), port, path)),
                Host::Ipv6(ip) => Wire::Udp(Udp::new(ip.to_string(), port, path)),
            }
        }
        "ws" | "wss" => return Err("WebTorrent trackers are not supported"),
        _ => return Err("the tracker's protocol is not supported"),
    };
    Ok((url.into(), wire))
}

/// Whether an HTTP tracker is on this host or in a private network, as far as its name tells: by its address, or by a name that
/// no public registry gives out (RFC 6761, 6762, 8375, 9476), or one without a dot.
fn is_local(host: &Host<String>) -> bool {
    match host {
        Host::Ipv4(ip) => !address::is_global(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => !address::is_global(IpAddr::V6(*ip)),
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let endings = [".localhost", ".local", ".home.arpa", ".internal", ".lan"];
            !name.contains('.') || endings.iter().any(|ending| name.ends_with(ending))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_used_say_why() {
        #[rustfmt::skip]
        let table = [
            ("http://t.example/announce",     ""),
            ("https://t.example/announce",    ""),
            ("HTTP://T.example:80/announce",  ""),
            ("udp://t.example:6969",          ""),
            ("udp://[::1]:6969/announce",     ""),
            ("udp://127.0.0.1:6969/announce", ""),
            ("udp://t.example/announce",      "no port"),
            ("udp://t.example:0/announce",    "no port"),
            ("udp://t.example:99999",         "malformed"),
            ("wss://t.example/",              "WebTorrent"),
            ("ftp://t.example/",              "not supported"),
            ("dht://",                        "no host"),
            ("t.example",                     "malformed"),
            ("http://",                       "malformed"),
        ];
        for (url, part) in table {
            let tracker = Tracker::new(0, 0, url);
            assert_eq!(tracker.is_usable(), part.is_empty(), "{url}");
            assert!(tracker.error.contains(part), "{url}: {}", tracker.error);
        }
        let long = format!("http://t.example/{}", "x".repeat(URL_BYTES_MAX));
        assert!(!Tracker::new(0, 0, &long).is_usable());
    }

    #[test]
    fn local_trackers_are_known_by_their_host() {
        #[rustfmt::skip]
        let table = [
            ("http://127.0.0.1:1/a", true),  ("http://[::1]/a",     true),  ("http://192.168.1.1/a", true),
            ("http://localhost/a",   true),  ("http://tracker/a",   true),  ("http://nas.local/a",   true),
            ("http://8.8.8.8/a",     false), ("http://t.example/a", false), ("http://local.example/a", false),
        ];
        for (url, local) in table {
            let host = Url::parse(url).unwrap().host().unwrap().to_owned();
            assert_eq!(is_local(&host), local, "{url}");
        }
    }
}
