//! Announces over HTTP (BEP 3, 7, 23, 24, 31): the URL to get, and the bencoded answer. The opposite direction is for the
//! simulator's tracker and the tests.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::ids::{InfoHash, PeerId};
use crate::time::Duration;

use super::{
    Announce, AnnounceAnswer, AnnounceError, AnnounceEvent, INTERVAL_MAX, INTERVAL_MIN, PEERS_MAX,
    Retry, TRACKER_ID_BYTES_MAX, interval, keep_peers, printable,
};
use crate::codec::address;
use crate::codec::bencode::{self, Dict, Item, Kind, Value};

/// The URL that announces to `tracker`, whose own query (a member's key, mostly) comes first and as it is.
///
/// Every byte of a value but RFC 3986's unreserved ones is written `%XX`: trackers compare the raw info-hash.
#[must_use]
pub fn http_url(tracker: &str, announce: &Announce) -> String {
    let tracker = tracker.trim();
    let tracker = tracker.split('#').next().unwrap_or(tracker);
    let mut url = String::with_capacity(tracker.len() + 300);
    url.push_str(tracker);
    url.push(match tracker.split_once('?') {
        None => '?',
        Some(_) => '&',
    });
    // Some trackers find the info-hash only when it comes first.
    url.push_str("info_hash=");
    escape(&announce.info_hash.0, &mut url);
    url.push_str("&peer_id=");
    escape(&announce.peer_id.0, &mut url);
    let Announce {
        port,
        uploaded,
        downloaded,
        left,
        want,
        key,
        ..
    } = announce;
    write!(
        url,
        "&port={port}&uploaded={uploaded}&downloaded={downloaded}&left={left}\
         &compact=1&no_peer_id=1&numwant={want}&key={key:08x}"
    )
    .expect("a string takes everything");
    let event = match announce.event {
        AnnounceEvent::None => "",
        AnnounceEvent::Started => "&event=started",
        AnnounceEvent::Completed => "&event=completed",
        AnnounceEvent::Stopped => "&event=stopped",
    };
    url.push_str(event);
    if let Some(id) = &announce.tracker_id {
        url.push_str("&trackerid=");
        escape(id, &mut url);
    }
    url
}

/// Reads what a tracker answered.
///
/// Lenient: keys in any order, compact peers (BEP 23) or dictionaries (BEP 3), bytes behind the end. Peers whose address is a
/// name, or cannot be dialled, are left out.
///
/// # Errors
/// [`AnnounceError::Failure`] when the tracker refuses, [`AnnounceError::Malformed`] when these bytes are no answer.
pub fn decode_http(bytes: &[u8]) -> Result<AnnounceAnswer, AnnounceError> {
    let bytes = bytes.trim_ascii_start();
    if bytes.is_empty() {
        return Err(AnnounceError::Malformed("the answer is empty"));
    }
    if bytes[0] == b'<' {
        return Err(AnnounceError::Malformed(
            "the answer is a web page, not a tracker's",
        ));
    }
    let (value, _) = bencode::decode_prefix(bytes)
        .map_err(|_| AnnounceError::Malformed("the answer is not bencoded"))?;
    let dict = value
        .as_dict()
        .ok_or(AnnounceError::Malformed("the answer is not a dictionary"))?;
    if let Some(reason) = dict.bytes(b"failure reason") {
        return Err(AnnounceError::Failure {
            reason: printable(reason),
            retry_in: dict.get(b"retry in").and_then(retry),
        });
    }
    let known: [&[u8]; 3] = [b"interval", b"peers", b"peers6"];
    if known.iter().all(|key| dict.get(key).is_none()) {
        return Err(AnnounceError::Malformed(
            "the answer has neither an interval nor peers",
        ));
    }

    let interval = interval(dict.integer(b"interval").unwrap_or(0));
    let mut peers = Vec::new();
    match dict.get(b"peers").map(Value::kind) {
        Some(Kind::Bytes(compact)) => keep_peers(&mut peers, address::decode_v4_list(compact)),
        Some(Kind::List(list)) => keep_peers(&mut peers, list.iter().filter_map(dict_peer)),
        _ => {}
    }
    match dict.get(b"peers6").map(Value::kind) {
        Some(Kind::Bytes(compact)) => keep_peers(&mut peers, address::decode_v6_list(compact)),
        Some(Kind::List(list)) => keep_peers(&mut peers, list.iter().filter_map(dict_peer)),
        _ => {}
    }
    let count = |key| {
        dict.integer(key)
            .and_then(|count| u32::try_from(count).ok())
    };
    Ok(AnnounceAnswer {
        interval,
        min_interval: min_interval(dict, interval),
        seeders: count(b"complete"),
        leechers: count(b"incomplete"),
        peers,
        tracker_id: dict
            .bytes(b"tracker id")
            .filter(|id| !id.is_empty() && id.len() <= TRACKER_ID_BYTES_MAX)
            .map(<[u8]>::to_vec),
        warning: dict
            .bytes(b"warning message")
            .map(printable)
            .filter(|text| !text.is_empty()),
        external_ip: dict.bytes(b"external ip").and_then(ip_bytes),
    })
}

/// BEP 31: minutes, or `never`. Some trackers send the minutes as a string.
fn retry(value: &Value<'_>) -> Option<Retry> {
    let minutes = match value.kind() {
        Kind::Integer(minutes) => *minutes,
        Kind::Bytes(b"never") => return Some(Retry::Never),
        Kind::Bytes(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
        _ => return None,
    };
    let seconds = u64::try_from(minutes).ok()?.saturating_mul(60);
    let wait = Duration::from_secs(seconds).clamp(INTERVAL_MIN, INTERVAL_MAX);
    Some(Retry::After(wait))
}

fn min_interval(dict: &Dict<'_>, interval: Duration) -> Option<Duration> {
    let seconds = u64::try_from(dict.integer(b"min interval")?).ok()?;
    Some(Duration::from_secs(seconds).clamp(INTERVAL_MIN, interval))
}

/// One peer in the form of BEP 3: `ip` in text, `port`.
fn dict_peer(peer: &Value<'_>) -> Option<SocketAddr> {
    let dict = peer.as_dict()?;
    let port = u16::try_from(dict.integer(b"port")?).ok()?;
    let ip = std::str::from_utf8(dict.bytes(b"ip")?).ok()?;
    let ip: IpAddr = ip.trim().parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

fn ip_bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(v6).to_canonical())
}

fn escape(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes everything");
        }
    }
}

// ---------------------------------------------------------------------------------------------------- the other side

/// Reads the announce in `url`, as a tracker does. `None` when a required field is missing or malformed.
#[must_use]
pub fn decode_http_request(url: &str) -> Option<Announce> {
    // The last occurrence counts: in front of ours stands the tracker's own query, which may use the same names.
    let (_, query) = url.split_once('?')?;
    let field = |name: &str| {
        query.rsplit('&').find_map(|item| {
            let (key, value) = item.split_once('=')?;
            (key == name).then(|| unescape(value))?
        })
    };
    let text = |name: &str| String::from_utf8(field(name)?).ok();
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    Some(Announce {
        info_hash: InfoHash(field("info_hash")?.try_into().ok()?),
        peer_id: PeerId(field("peer_id")?.try_into().ok()?),
        port: u16::try_from(number("port")?).ok()?,
        uploaded: number("uploaded")?,
        downloaded: number("downloaded")?,
        left: number("left")?,
        event: match text("event").as_deref() {
            None | Some("") => AnnounceEvent::None,
            Some("started") => AnnounceEvent::Started,
            Some("completed") => AnnounceEvent::Completed,
            Some("stopped") => AnnounceEvent::Stopped,
            Some(_) => return None,
        },
        want: number("numwant").map_or(50, |want| u32::try_from(want).unwrap_or(u32::MAX)),
        key: text("key").map_or(Some(0), |key| u32::from_str_radix(&key, 16).ok())?,
        tracker_id: field("trackerid"),
    })
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

/// Writes an answer with compact peers, as a tracker does.
#[must_use]
pub fn encode_http(answer: &Result<AnnounceAnswer, AnnounceError>) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Item::Bytes(Cow::Owned(bytes.to_vec()));
    let seconds = |time: Duration| Item::Integer(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    let answer = match answer {
        Ok(answer) => answer,
        Err(AnnounceError::Malformed(what)) => return what.as_bytes().to_vec(),
        Err(AnnounceError::Failure { reason, retry_in }) => {
            let mut dict = Item::dict([("failure reason", bytes(reason.as_bytes()))]);
            match retry_in {
                Some(Retry::After(wait)) => {
                    let minutes = i64::try_from(wait.as_secs() / 60).unwrap_or(i64::MAX);
                    dict.insert("retry in", Item::Integer(minutes));
                }
                Some(Retry::Never) => dict.insert("retry in", bytes(b"never")),
                None => {}
            }
            return dict.encode();
        }
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for &peer in answer.peers.iter().take(PEERS_MAX) {
        address::encode(peer, if peer.is_ipv4() { &mut v4 } else { &mut v6 });
    }
    let mut dict = Item::dict([
        ("interval", seconds(answer.interval)),
        ("peers", bytes(&v4)),
        ("peers6", bytes(&v6)),
    ]);
    if let Some(time) = answer.min_interval {
        dict.insert("min interval", seconds(time));
    }
    if let Some(count) = answer.seeders {
        dict.insert("complete", Item::Integer(count.into()));
    }
    if let Some(count) = answer.leechers {
        dict.insert("incomplete", Item::Integer(count.into()));
    }
    if let Some(id) = &answer.tracker_id {
        dict.insert("tracker id", bytes(id));
    }
    if let Some(text) = &answer.warning {
        dict.insert("warning message", bytes(text.as_bytes()));
    }
    match answer.external_ip {
        Some(IpAddr::V4(ip)) => dict.insert("external ip", bytes(&ip.octets())),
        Some(IpAddr::V6(ip)) => dict.insert("external ip", bytes(&ip.octets())),
        None => {}
    }
    dict.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce() -> Announce {
        Announce {
            info_hash: InfoHash(*b"\x00\x01 abcXYZ-._~%&=+\xfe\xff/"),
            peer_id: PeerId(*b"-LN0100-abcdefghijkl"),
            port: 51413,
            uploaded: 1,
            downloaded: 2,
            left: u64::MAX,
            event: AnnounceEvent::None,
            want: 50,
            key: 0xab,
            tracker_id: None,
        }
    }

    #[test]
    fn urls_keep_the_trackers_query_and_escape_ours() {
        let tail = "info_hash=%00%01%20abcXYZ-._~%25%26%3D%2B%FE%FF%2F&peer_id=-LN0100-abcdefghijkl&port=51413\
                    &uploaded=1&downloaded=2&left=18446744073709551615&compact=1&no_peer_id=1&numwant=50&key=000000ab";
        #[rustfmt::skip]
        let table = [
            ("http://t.example/announce",             "http://t.example/announce?"),
            (" http://t.example/announce\n",          "http://t.example/announce?"),
            ("http://t.example/announce#part",        "http://t.example/announce?"),
            ("http://t.example/announce?passkey=a%2B","http://t.example/announce?passkey=a%2B&"),
        ];
        for (tracker, head) in table {
            assert_eq!(http_url(tracker, &announce()), format!("{head}{tail}"));
        }
        let event = |event| Announce {
            event,
            tracker_id: Some(b"a b".to_vec()),
            ..announce()
        };
        let url = http_url("http://t/", &event(AnnounceEvent::Started));
        assert!(url.ends_with("&event=started&trackerid=a%20b"), "{url}");
        for kind in [AnnounceEvent::Completed, AnnounceEvent::Stopped] {
            let url = http_url("http://t/?port=1&left=2", &event(kind));
            assert_eq!(decode_http_request(&url), Some(event(kind)), "{url}");
        }
        assert_eq!(decode_http_request("http://t/?info_hash=1"), None);
    }

    #[test]
    fn answers_read_in_every_form_that_trackers_send() {
        let peers = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        #[rustfmt::skip]
        let table: &[(&str, &[u8], Vec<SocketAddr>)] = &[
            ("compact",      b"d8:intervali900e5:peers12:\x01\x02\x03\x04\x1a\xe1\x05\x06\x07\x08\x00\x50e",
             peers(&["1.2.3.4:6881", "5.6.7.8:80"])),
            ("unsorted",     b"d5:peers6:\x01\x02\x03\x04\x1a\xe18:intervali900ee", peers(&["1.2.3.4:6881"])),
            ("cut, port 0",  b"d8:intervali900e5:peers9:\x01\x02\x03\x04\x00\x00\x05\x06\x07e", vec![]),
            ("dictionaries", b"d8:intervali900e5:peersld2:ip7:1.2.3.44:porti6881eed2:ip3:::14:porti1eeee",
             peers(&["1.2.3.4:6881", "[::1]:1"])),
            ("odd ones",     b"d8:intervali900e5:peersld2:ip4:name4:porti6881eed2:ip7:1.2.3.44:porti65536ee\
                               d2:ip7:1.2.3.4ei7ed2:ip7:1.2.3.44:porti-1eeee", vec![]),
            ("peers6",       b"d8:intervali900e6:peers618:\x20\x01\x04\x70\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1e",
             peers(&["[2001:470::1]:6881"])),
            ("none",         b"d8:intervali900ee", vec![]),
            ("new line",     b"\r\nd8:intervali900ee\r\n", vec![]),
            ("wrong types",  b"d8:completel5:threee10:incompletei-5e8:intervali900e5:peersi7ee", vec![]),
        ];
        for (name, bytes, want) in table {
            let answer = decode_http(bytes).expect(name);
            assert_eq!(answer.peers, *want, "{name}");
            assert_eq!(answer.interval.as_secs(), 900, "{name}");
            let again = Ok(answer);
            assert_eq!(decode_http(&encode_http(&again)), again, "{name} again");
        }
    }

    #[test]
    fn the_other_fields_read_what_they_write() {
        let answer = Ok(AnnounceAnswer {
            interval: Duration::from_secs(1800),
            min_interval: Some(Duration::from_secs(300)),
            seeders: Some(4),
            leechers: Some(u32::MAX),
            peers: vec!["8.8.8.8:9".parse().unwrap()],
            tracker_id: Some(b"\xff id".to_vec()),
            warning: Some("slow down".to_owned()),
            external_ip: Some("203.0.113.5".parse().unwrap()),
        });
        assert_eq!(decode_http(&encode_http(&answer)), answer);
    }

    #[test]
    fn numbers_out_of_range_are_clamped_or_left_out() {
        let answer = decode_http(
            b"d8:completei-1e10:incompletei99999999999e8:intervali30e12:min intervali999eee",
        )
        .unwrap();
        assert_eq!((answer.seeders, answer.leechers), (None, None));
        assert_eq!(answer.interval, INTERVAL_MIN);
        assert_eq!(answer.min_interval, Some(INTERVAL_MIN));
    }

    #[test]
    fn refusals_say_why_and_until_when() {
        #[rustfmt::skip]
        let table: &[(&[u8], &str, Option<Retry>)] = &[
            (b"d14:failure reason2:noe",                          "no", None),
            (b"d14:failure reason0:e",                            "",   None),
            (b"d14:failure reason3:n\x07o8:intervali5ee",         "n o", None),
            (b"d14:failure reason2:no8:retry ini5ee",             "no", Some(Retry::After(Duration::from_secs(300)))),
            (b"d14:failure reason2:no8:retry in2:10e",            "no", Some(Retry::After(Duration::from_secs(600)))),
            (b"d14:failure reason2:no8:retry in5:nevere",         "no", Some(Retry::Never)),
            (b"d14:failure reason2:no8:retry ini-5ee",            "no", None),
            (b"d14:failure reason2:no8:retry ini0ee",             "no", Some(Retry::After(INTERVAL_MIN))),
            (b"d14:failure reason2:no8:retry ini9223372036854775807ee", "no", Some(Retry::After(INTERVAL_MAX))),
        ];
        for (bytes, reason, retry_in) in table {
            let want = Err(AnnounceError::Failure {
                reason: (*reason).to_owned(),
                retry_in: *retry_in,
            });
            assert_eq!(decode_http(bytes), want, "{:?}", printable(bytes));
            assert_eq!(decode_http(&encode_http(&want)), want);
        }
    }

    #[test]
    fn what_is_no_answer_is_named() {
        #[rustfmt::skip]
        let table: &[(&[u8], &str)] = &[
            (b"",                     "empty"),
            (b" \n",                  "empty"),
            (b"<html>",               "web page"),
            (b"Not Found",            "not bencoded"),
            (b"d8:interval",          "not bencoded"),
            (b"le",                   "not a dictionary"),
            (b"de",                   "neither"),
            (b"d3:foo3:bare",         "neither"),
        ];
        for (bytes, part) in table {
            match decode_http(bytes) {
                Err(AnnounceError::Malformed(what)) => assert!(what.contains(part), "{what}"),
                other => panic!("{part}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_endless_list_of_peers_is_cut() {
        let mut bytes = b"d8:intervali900e5:peers60000:".to_vec();
        bytes.extend_from_slice(&[1, 2, 3, 4, 5, 6].repeat(10_000));
        bytes.push(b'e');
        assert_eq!(decode_http(&bytes).unwrap().peers.len(), PEERS_MAX);
    }
}
