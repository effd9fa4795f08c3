//! Local service discovery (BEP 14): the datagram by which peers of one network find each other.
//!
//! ```text
//! BT-SEARCH * HTTP/1.1\r\n
//! Host: 239.192.152.143:6771\r\n          or [ff15::efc0:988f]:6771
//! Port: <where we listen>\r\n
//! Infohash: <40 hex digits>\r\n           once or more
//! cookie: <who we are>\r\n                so that we know our own
//! \r\n\r\n
//! ```
//!
//! It comes from anybody on the network: names of headers in any case, others ignored, at most [`HASHES_MAX`] hashes kept.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::ids::InfoHash;

/// The port of both groups.
pub const PORT: u16 = 6771;
/// The IPv4 group.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 192, 152, 143);
/// The IPv6 group, of the site.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f);
/// Hashes of one datagram: what 1400 bytes, the most that BEP 14 allows, hold. Further ones that arrive are left out.
pub const HASHES_MAX: usize = 24;
/// Bytes of a cookie that are kept.
const COOKIE_BYTES_MAX: usize = 64;

/// What every datagram begins with.
const FIRST_LINE: &[u8] = b"BT-SEARCH * HTTP/1.";

/// The group of a family.
#[must_use]
pub const fn group(v6: bool) -> SocketAddr {
    if v6 {
        SocketAddr::new(std::net::IpAddr::V6(GROUP_V6), PORT)
    } else {
        SocketAddr::new(std::net::IpAddr::V4(GROUP_V4), PORT)
    }
}

/// Whether a datagram is one of these, by its first bytes: no other protocol on our sockets begins with a capital B.
#[must_use]
pub fn is_search(bytes: &[u8]) -> bool {
    bytes.starts_with(FIRST_LINE)
}

/// What a peer of our network has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Where it listens, on the address that it sent from; never 0.
    pub port: u16,
    /// At most [`HASHES_MAX`].
    pub hashes: Vec<InfoHash>,
    /// Who it is, in its own words; empty when it does not say.
    pub cookie: String,
}

impl Search {
    /// The datagram for the group of a family.
    #[must_use]
    pub fn encode(&self, v6: bool) -> Vec<u8> {
        let mut out = format!(
            "BT-SEARCH * HTTP/1.1\r\nHost: {}\r\nPort: {}\r\n",
            group(v6),
            self.port
        );
        for hash in self.hashes.iter().take(HASHES_MAX) {
            write!(out, "Infohash: {hash}\r\n").expect("a string takes everything");
        }
        write!(out, "cookie: {}\r\n\r\n\r\n", self.cookie).expect("a string takes everything");
        out.into_bytes()
    }

    /// Reads one; `None` when it is none, names no port, or no hash that can be one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if !is_search(bytes) {
            return None;
        }
        let mut found = Self::default();
        for line in bytes.split(|&byte| byte == b'\n').skip(1) {
            let line = std::str::from_utf8(line).unwrap_or_default();
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "port" => found.port = value.parse().unwrap_or(0),
                "infohash" if found.hashes.len() < HASHES_MAX => {
                    if let Ok(hash) = value.parse()
                        && !found.hashes.contains(&hash)
                    {
                        found.hashes.push(hash);
                    }
                }
                "cookie" if value.len() <= COOKIE_BYTES_MAX => value.clone_into(&mut found.cookie),
                _ => {}
            }
        }
        (found.port != 0 && !found.hashes.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(n: usize) -> Search {
        Search {
            port: 6881,
            hashes: (0..n)
                .map(|n| InfoHash([u8::try_from(n).unwrap(); 20]))
                .collect(),
            cookie: "linnet-1f".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_fits() {
        for n in [1, 2, HASHES_MAX] {
            for v6 in [false, true] {
                let bytes = search(n).encode(v6);
                assert!(bytes.len() <= 1400, "{n}: {}", bytes.len());
                assert_eq!(Search::decode(&bytes), Some(search(n)));
            }
        }
        let text = String::from_utf8(search(1).encode(true)).unwrap();
        let want = "BT-SEARCH * HTTP/1.1\r\nHost: [ff15::efc0:988f]:6771\r\nPort: 6881\r\n\
                    Infohash: 0000000000000000000000000000000000000000\r\ncookie: linnet-1f\r\n\r\n\r\n";
        assert_eq!(text, want);
    }

    #[test]
    fn others_spell_it_otherwise() {
        let hash = "0123456789ABCDEF0123456789abcdef01234567";
        #[rustfmt::skip]
        let table = [
            (format!("BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 51413\r\nInfohash: {hash}\r\n\r\n\r\n"), Some((51413, 1, ""))),
            (format!("BT-SEARCH * HTTP/1.0\nport:1\nINFOHASH:{hash}\nCookie: x"), Some((1, 1, "x"))),
            (format!("BT-SEARCH * HTTP/1.1\r\nPort: 5\r\nInfohash: {hash}\r\nInfohash: {hash}\r\n"), Some((5, 1, ""))),
            (format!("BT-SEARCH * HTTP/1.1\r\nPort: 5\r\nX: y\r\nInfohash: short\r\nInfohash: {hash}\r\n"), Some((5, 1, ""))),
            (format!("BT-SEARCH * HTTP/1.1\r\nPort: 0\r\nInfohash: {hash}\r\n"),      None),
            (format!("BT-SEARCH * HTTP/1.1\r\nPort: 65536\r\nInfohash: {hash}\r\n"),  None),
            (format!("BT-SEARCH * HTTP/1.1\r\nInfohash: {hash}\r\n"),                 None),
            ("BT-SEARCH * HTTP/1.1\r\nPort: 5\r\n".to_owned(),                        None),
            (format!("M-SEARCH * HTTP/1.1\r\nPort: 5\r\nInfohash: {hash}\r\n"),       None),
        ];
        for (text, want) in table {
            let found = Search::decode(text.as_bytes());
            let found = found.as_ref();
            let found = found.map(|one| (one.port, one.hashes.len(), one.cookie.as_str()));
            assert_eq!(found, want, "{text}");
        }
    }

    #[test]
    fn cut_anywhere_it_is_a_shorter_one_or_none() {
        let bytes = search(3).encode(false);
        for cut in 0..bytes.len() {
            if let Some(found) = Search::decode(&bytes[..cut]) {
                assert_eq!(found.port, 6881, "cut at {cut}");
                assert!(found.hashes.len() <= 3);
                assert!(search(3).hashes.starts_with(&found.hashes), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_datagram_of_hashes_alone_is_bounded() {
        let mut bytes = b"BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n".to_vec();
        for n in 0..1000 {
            bytes.extend_from_slice(format!("Infohash: {n:040}\r\n").as_bytes());
        }
        assert_eq!(Search::decode(&bytes).unwrap().hashes.len(), HASHES_MAX);
    }
}
