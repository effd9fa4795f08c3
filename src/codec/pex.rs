//! `ut_pex` (BEP 11): peers tell each other whom else they have met, and who is gone.
//!
//! ```text
//! d 5:added <6 bytes each> 7:added.f <a byte each> 6:added6 <18 each> 8:added6.f <1 each> 7:dropped <6 each> 8:dropped6 <18 each> e
//! ```
//!
//! What is read is bounded; whether it is believed is for `engine/pex.rs`.

use std::net::SocketAddr;

use super::address;
use super::bencode::{self, Item};

/// The name of the extension in `m` (BEP 10).
pub const NAME: &str = "ut_pex";

/// Peers that one message adds at most, and drops at most, as BEP 11 has it: no more are sent, and the rest of a longer list is
/// not read.
pub const PEX_PEERS_MAX: usize = 50;

/// What is said of a peer beside its address; bits that are not known are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PexFlags(pub u8);

impl PexFlags {
    /// It prefers encrypted streams.
    pub const ENCRYPTION: Self = Self(0x01);
    /// It has everything, or wants nothing.
    pub const SEED: Self = Self(0x02);
    /// It speaks uTP.
    pub const UTP: Self = Self(0x04);
    /// It can be reached by hole punching (BEP 55).
    pub const HOLEPUNCH: Self = Self(0x08);
    /// The sender has dialled it, so it can be reached.
    pub const REACHABLE: Self = Self(0x10);

    /// Whether all of `other` is said.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pex {
    /// Peers that the sender has met: those of IPv4, then those of IPv6.
    pub added: Vec<(SocketAddr, PexFlags)>,
    /// Peers that it has lost since it named them, in the same order.
    pub dropped: Vec<SocketAddr>,
}

impl Pex {
    /// Reads the payload of a message, up to [`PEX_PEERS_MAX`] of each kind. `None` when it is no dictionary.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (value, _) = bencode::decode_prefix(payload).ok()?;
        let dict = value.as_dict()?;
        let bytes = |key: &[u8]| dict.bytes(key).unwrap_or_default();
        let flagged = |list: Box<dyn Iterator<Item = SocketAddr> + '_>, key: &[u8]| {
            // Some leave the flags out, or send too few.
            let flags = bytes(key).iter().copied().chain(std::iter::repeat(0));
            list.zip(flags.map(PexFlags)).collect::<Vec<_>>()
        };
        let four = Box::new(address::decode_v4_list(bytes(b"added")).take(PEX_PEERS_MAX));
        let six = Box::new(address::decode_v6_list(bytes(b"added6")).take(PEX_PEERS_MAX));
        let mut added = flagged(four, b"added.f");
        added.extend(flagged(six, b"added6.f"));
        added.truncate(PEX_PEERS_MAX);
        let dropped = address::decode_v4_list(bytes(b"dropped"));
        let dropped = dropped.chain(address::decode_v6_list(bytes(b"dropped6")));
        Some(Self {
            added,
            dropped: dropped.take(PEX_PEERS_MAX).collect(),
        })
    }

    /// The payload of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut lists: [Vec<u8>; 6] = Default::default();
        let [added, added_f, added6, added6_f, dropped, dropped6] = &mut lists;
        for (peer, flags) in &self.added {
            let (list, list_f) = if peer.is_ipv4() {
                (&mut *added, &mut *added_f)
            } else {
                (&mut *added6, &mut *added6_f)
            };
            address::encode(*peer, list);
            list_f.push(flags.0);
        }
        for peer in &self.dropped {
            let list = if peer.is_ipv4() {
                &mut *dropped
            } else {
                &mut *dropped6
            };
            address::encode(*peer, list);
        }
        let names = [
            "added", "added.f", "added6", "added6.f", "dropped", "dropped6",
        ];
        let mut dict = Item::dict([]);
        for (name, list) in names.into_iter().zip(lists) {
            // Those of IPv4 are there also when they are empty: some clients look for nothing else.
            if !list.is_empty() || !name.contains('6') {
                dict.insert(name, Item::from(list));
            }
        }
        dict.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_said_is_heard() {
        let seed = PexFlags::SEED.and(PexFlags::REACHABLE);
        let pex = Pex {
            added: vec![
                (at("1.2.3.4:5"), seed),
                (at("5.6.7.8:9"), PexFlags::default()),
                (at("[2001:db8::1]:7"), PexFlags::UTP),
            ],
            dropped: vec![at("9.9.9.9:99"), at("[2001:db8::2]:8")],
        };
        assert_eq!(Pex::decode(&pex.encode()), Some(pex));
        assert!(seed.has(PexFlags::SEED) && !seed.has(PexFlags::UTP));
        let none = Pex::default();
        assert_eq!(none.encode(), b"d5:added0:7:added.f0:7:dropped0:e");
        assert_eq!(Pex::decode(&none.encode()), Some(none));
    }

    #[test]
    fn messages_decode_as_they_are_in_the_field_and_never_when_cut() {
        let one = |flags| Pex {
            added: vec![(at("1.2.3.4:258"), PexFlags(flags))],
            dropped: Vec::new(),
        };
        #[rustfmt::skip]
        let table: &[(&str, &[u8], Pex)] = &[
            ("with flags",       b"d5:added6:\x01\x02\x03\x04\x01\x027:added.f1:\x02e", one(2)),
            ("without flags",    b"d5:added6:\x01\x02\x03\x04\x01\x02e", one(0)),
            ("an odd end",       b"d5:added8:\x01\x02\x03\x04\x01\x02\x09\x09e", one(0)),
            ("a wrong kind",     b"d5:addedi1e7:droppedlee", Pex::default()),
            ("nothing",          b"de", Pex::default()),
            ("more behind",      b"derubbish", Pex::default()),
        ];
        for (name, bytes, want) in table {
            assert_eq!(Pex::decode(bytes).as_ref(), Some(want), "{name}");
        }
        let whole = one(2).encode();
        for cut in 0..whole.len() {
            assert_eq!(Pex::decode(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Pex::decode(b"le"), None);
    }

    #[test]
    fn no_more_is_read_than_may_be_said() {
        let many = |last: u16| (at("1.2.3.4:5"), PexFlags(u8::try_from(last % 256).unwrap()));
        let pex = Pex {
            added: (0..5000).map(many).collect(),
            dropped: vec![at("[::1]:1"); 5000],
        };
        let read = Pex::decode(&pex.encode()).unwrap();
        assert_eq!(
            (read.added.len(), read.dropped.len()),
            (PEX_PEERS_MAX, PEX_PEERS_MAX)
        );
    }
}
