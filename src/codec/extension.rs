//! The extended handshake (BEP 10): what a side can do beyond the basic protocol, and what it says of itself.
//!
//! Read leniently: a field of a wrong kind is as good as none, because clients in the field send all sorts. Every text and
//! every count from a stranger is bounded here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bencode::{self, Item};
use super::path;
use super::wire::Violation;

/// Most extensions that are remembered of one peer. The rest is ignored.
pub const EXTENSIONS_MAX: usize = 32;

/// Longest name of an extension, in bytes. A longer one is ignored.
pub const EXTENSION_NAME_BYTES_MAX: usize = 32;

/// Most characters of a client's name. The rest is cut.
pub const CLIENT_CHARS_MAX: usize = 64;

/// The id of the extended handshake itself.
pub const HANDSHAKE_ID: u8 = 0;

/// What one side says. Sent once after the handshake, and again when something changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedHandshake {
    /// `m`: extensions by name, with the id the sender wants them to have; 0 switches one off. Sorted by name.
    pub extensions: Vec<(String, u8)>,
    /// `v`: name and version of the client, printable.
    pub client: Option<String>,
    /// `reqq`: how many requests the sender keeps before it drops some.
    pub requests_max: Option<u32>,
    /// `p`: the TCP port the sender listens on, never 0.
    pub port: Option<u16>,
    /// `yourip`: the receiver's address as the sender sees it.
    pub your_ip: Option<IpAddr>,
    /// `metadata_size`: bytes of the info dictionary that the sender has, never 0 (BEP 9).
    pub metadata_size: Option<u32>,
    /// `upload_only`: whether the sender wants nothing (BEP 21); `None` when it does not say.
    pub upload_only: Option<bool>,
}

impl ExtendedHandshake {
    /// The id that messages of extension `name` must carry; `None` when the sender does not take them.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<u8> {
        self.extensions
            .iter()
            .find(|(have, id)| have == name && *id != 0)
            .map(|(_, id)| *id)
    }

    /// The payload of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let pairs = self.extensions.iter();
        let m = pairs.map(|(name, id)| (name.as_bytes().into(), Item::Integer((*id).into())));
        let mut dict = Item::dict([("m", Item::Dict(m.collect()))]);
        if let Some(client) = &self.client {
            dict.insert("v", Item::from(client.as_str()));
        }
        if let Some(requests) = self.requests_max {
            dict.insert("reqq", Item::Integer(requests.into()));
        }
        if let Some(port) = self.port {
            dict.insert("p", Item::Integer(port.into()));
        }
        match self.your_ip {
            Some(IpAddr::V4(ip)) => dict.insert("yourip", Item::from(ip.octets().to_vec())),
            Some(IpAddr::V6(ip)) => dict.insert("yourip", Item::from(ip.octets().to_vec())),
            None => {}
        }
        if let Some(size) = self.metadata_size {
            dict.insert("metadata_size", Item::Integer(size.into()));
        }
        if let Some(only) = self.upload_only {
            dict.insert("upload_only", Item::Integer(only.into()));
        }
        dict.encode()
    }

    /// Reads the payload of a message; bytes behind the dictionary are ignored.
    ///
    /// # Errors
    /// [`Violation::ExtendedHandshake`] when it is not a bencoded dictionary.
    pub fn decode(payload: &[u8]) -> Result<Self, Violation> {
        let value = bencode::decode_prefix(payload).map(|(value, _)| value);
        let value = value.map_err(|_| Violation::ExtendedHandshake)?;
        let dict = value.as_dict().ok_or(Violation::ExtendedHandshake)?;
        let mut extensions: Vec<(String, u8)> = Vec::new();
        for (name, id) in dict.dict(b"m").iter().flat_map(|m| m.iter()) {
            let id = id.as_integer().and_then(|id| u8::try_from(id).ok());
            let name = str::from_utf8(name)
                .ok()
                .filter(|name| name.len() <= EXTENSION_NAME_BYTES_MAX);
            if let (Some(name), Some(id)) = (name, id)
                && extensions.len() < EXTENSIONS_MAX
                && !extensions.iter().any(|(have, _)| have == name)
            {
                extensions.push((name.to_owned(), id));
            }
        }
        extensions.sort();
        let client = dict.bytes(b"v");
        Ok(Self {
            extensions,
            client: client
                .map(|bytes| path::printable(bytes, CLIENT_CHARS_MAX))
                .filter(|client| !client.is_empty()),
            requests_max: dict
                .integer(b"reqq")
                .and_then(|count| u32::try_from(count).ok()),
            port: dict
                .integer(b"p")
                .and_then(|port| u16::try_from(port).ok())
                .filter(|&port| port != 0),
            your_ip: dict.bytes(b"yourip").and_then(address),
            metadata_size: dict
                .integer(b"metadata_size")
                .and_then(|size| u32::try_from(size).ok())
                .filter(|&size| size != 0),
            upload_only: dict.integer(b"upload_only").map(|only| only != 0),
        })
    }
}

/// 4 bytes of IPv4 or 16 of IPv6.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> ExtendedHandshake {
        ExtendedHandshake {
            extensions: vec![("ut_metadata".into(), 2), ("ut_pex".into(), 0)],
            client: Some("Linnet 0.1".into()),
            requests_max: Some(500),
            port: Some(51413),
            your_ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            metadata_size: Some(31_235),
            upload_only: Some(true),
        }
    }

    #[test]
    fn what_we_say_is_what_they_hear() {
        let six = ExtendedHandshake {
            your_ip: Some("2001:db8::1".parse().unwrap()),
            ..full()
        };
        for handshake in [full(), six, ExtendedHandshake::default()] {
            let bytes = handshake.encode();
            assert_eq!(ExtendedHandshake::decode(&bytes), Ok(handshake));
        }
        assert_eq!(ExtendedHandshake::default().encode(), b"d1:mdee");
        assert_eq!(full().id_of("ut_metadata"), Some(2));
        assert_eq!(full().id_of("ut_pex"), None, "switched off");
    }

    #[test]
    fn fields_of_a_wrong_kind_are_as_good_as_none() {
        #[rustfmt::skip]
        let table: &[(&str, &[u8])] = &[
            ("nothing",          b"de"),
            ("m is a list",      b"d1:mlee"),
            ("ids out of range", b"d1:md1:ai256e1:bi-1e1:c1:xee"),
            ("port 0",           b"d1:pi0ee"),
            ("port too large",   b"d1:pi65536ee"),
            ("reqq below zero",  b"d4:reqqi-5ee"),
            ("metadata of none", b"d13:metadata_sizei0ee"),
            ("metadata too much", b"d13:metadata_sizei4294967296ee"),
            ("only is a text",   b"d11:upload_only1:1e"),
            ("address of 5",     b"d6:yourip5:aaaaae"),
            ("client unseen",    b"d1:v3:\x1b\r\ne"),
            ("more behind",      b"derubbish"),
        ];
        for (name, bytes) in table {
            assert_eq!(
                ExtendedHandshake::decode(bytes),
                Ok(ExtendedHandshake::default()),
                "{name}"
            );
        }
        for bytes in [&b""[..], b"le", b"i1e", b"d1:m", b"x"] {
            assert_eq!(
                ExtendedHandshake::decode(bytes),
                Err(Violation::ExtendedHandshake)
            );
        }
    }

    #[test]
    fn strangers_do_not_choose_how_much_is_kept() {
        let many = (0..1000).map(|n| (format!("{n:04}").into_bytes().into(), Item::Integer(1)));
        let dict = Item::dict([
            ("m", Item::Dict(many.collect())),
            ("v", Item::from(vec![b'x'; 5000])),
        ]);
        let handshake = ExtendedHandshake::decode(&dict.encode()).unwrap();
        assert_eq!(handshake.extensions.len(), EXTENSIONS_MAX);
        assert_eq!(handshake.client.unwrap().len(), CLIENT_CHARS_MAX);
    }
}
