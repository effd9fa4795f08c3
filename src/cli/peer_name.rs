//! Peers as a person names them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Longest name of a host (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// A peer as a person names it: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// An address.
    Address(SocketAddr),
    /// A name, to be resolved, and a port.
    Named(String, u16),
}

impl FromStr for PeerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "expected HOST:PORT, such as 192.0.2.7:6881 or [2001:db8::7]:6881";
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() > 0)
                .then_some(Self::Address(address))
                .ok_or(SHAPE);
        }
        let (host, port) = text.rsplit_once(':').ok_or(SHAPE)?;
        let port = port.parse().ok().filter(|&port| port > 0).ok_or(SHAPE)?;
        let is_name = !host.is_empty()
            && host.len() <= HOST_BYTES_MAX
            && (host.chars()).all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
        is_name
            .then(|| Self::Named(host.to_owned(), port))
            .ok_or(SHAPE)
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Named(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_by_address_or_name() {
        let named = |host: &str, port| Some(PeerName::Named(host.to_owned(), port));
        let address = |text: &str| Some(PeerName::Address(text.parse().unwrap()));
        #[rustfmt::skip]
        let table = [
            ("1.2.3.4:5",        address("1.2.3.4:5")),
            ("[::1]:5",          address("[::1]:5")),
            ("a-b.example:6881", named("a-b.example", 6881)),
            ("localhost:1",      named("localhost", 1)),
            ("1.2.3.4",          None),
            ("1.2.3.4:0",        None),
            ("::1:5",            None),
            ("host:99999",       None),
            (":5",               None),
            ("a b:5",            None),
            ("http://h:5",       None),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<PeerName>().ok(), want, "{text}");
        }
    }
}
