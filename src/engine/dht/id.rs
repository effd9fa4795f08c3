//! Names of nodes that are bound to their addresses (BEP 42), so that nobody chooses a place in the network at will.
//!
//! The first 21 bits of a name follow from the IP address and three bits of the name's last byte. An address thus has eight
//! places; who wants to be near some torrent needs an address for each attempt. Addresses that are not global are exempt.

use std::net::IpAddr;

use crate::codec::address;
use crate::codec::krpc::NodeId;
use crate::hash;
use crate::rng::Rng;

/// The bits of an IPv4 address that count.
const MASK_V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
/// The bits of the first half of an IPv6 address that count.
const MASK_V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];
/// The bits of a name's third byte that follow from the address.
const THIRD_BITS: u8 = 0xf8;

/// Whether a node at `ip` may have this name.
#[must_use]
pub fn is_lawful(id: &NodeId, ip: IpAddr) -> bool {
    if !address::is_global(ip) {
        return true;
    }
    let want = prefix(ip, id.0[19]);
    let have = [id.0[0], id.0[1], id.0[2] & THIRD_BITS];
    have == [want[0], want[1], want[2] & THIRD_BITS]
}

/// A name for a node at `ip`; any name where the address is unknown or not global.
#[must_use]
pub fn draw(ip: Option<IpAddr>, rng: &mut Rng) -> NodeId {
    // Everybody sees it, and nobody shall tell from it what chance draws next.
    let mut drawn = [0; 32];
    rng.fill(&mut drawn);
    let mut id = NodeId(hash::sha1(&drawn));
    if let Some(ip) = ip.filter(|ip| address::is_global(*ip)) {
        let bound = prefix(ip, id.0[19]);
        id.0[..2].copy_from_slice(&bound[..2]);
        id.0[2] = bound[2] & THIRD_BITS | id.0[2] & !THIRD_BITS;
    }
    id
}

/// What a name begins with, by its address and its last byte.
fn prefix(ip: IpAddr, last: u8) -> [u8; 4] {
    let mut bytes = [0; 8];
    let bytes = match ip.to_canonical() {
        IpAddr::V4(ip) => {
            for (out, (byte, mask)) in bytes.iter_mut().zip(ip.octets().iter().zip(MASK_V4)) {
                *out = byte & mask;
            }
            &mut bytes[..4]
        }
        IpAddr::V6(ip) => {
            for (out, (byte, mask)) in bytes.iter_mut().zip(ip.octets().iter().zip(MASK_V6)) {
                *out = byte & mask;
            }
            &mut bytes[..]
        }
    };
    bytes[0] |= (last & 7) << 5;
    crc32c::crc32c(bytes).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of BEP 42.
    #[test]
    fn names_follow_from_addresses() {
        #[rustfmt::skip]
        let table: [(&str, u8, [u8; 3]); 5] = [
            ("124.31.75.21", 1,  [0x5f, 0xbf, 0xbf]),
            ("21.75.31.124", 86, [0x5a, 0x3c, 0xe9]),
            ("65.23.51.170", 22, [0xa5, 0xd4, 0x32]),
            ("84.124.73.14", 65, [0x1b, 0x03, 0x21]),
            ("43.213.53.83", 90, [0xe5, 0x6f, 0x6c]),
        ];
        for (ip, last, first) in table {
            let ip = ip.parse().unwrap();
            let mut id = NodeId::default();
            id.0[..3].copy_from_slice(&first);
            id.0[19] = last;
            assert!(is_lawful(&id, ip), "{ip}");
            id.0[2] ^= 0x08;
            assert!(!is_lawful(&id, ip), "{ip}, another place");
            assert!(is_lawful(&id, "10.0.0.1".parse().unwrap()), "exempt");
        }
    }

    #[test]
    fn drawn_names_are_lawful_and_spread() {
        let mut rng = Rng::new(7);
        for ip in ["8.8.8.8", "2001:470::1", "::ffff:8.8.8.8"] {
            let ip: IpAddr = ip.parse().unwrap();
            let mut places = std::collections::BTreeSet::new();
            for _ in 0..200 {
                let id = draw(Some(ip), &mut rng);
                assert!(is_lawful(&id, ip));
                places.insert(id.0[..2].to_vec());
            }
            assert_eq!(places.len(), 8, "{ip} has eight places");
        }
    }
}
