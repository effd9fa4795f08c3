//! Compact addresses (BEP 5, 7, 23): 6 bytes for IPv4, 18 for IPv6; and which addresses are worth dialling.
//!
//! A remote has one address here: an IPv4 address that arrives dressed as IPv6 is undressed by [`canonical`] before it
//! becomes a key, so that one peer is not dialled twice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of a compact IPv4 address: address and port, both big-endian (BEP 23).
pub const V4_BYTES: usize = 6;
/// Bytes of a compact IPv6 address (BEP 7).
pub const V6_BYTES: usize = 18;

/// Appends the compact form of `address`, 6 or 18 bytes by its family.
pub fn encode(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

/// The 18-byte form of `address`; IPv4 becomes `::ffff:a.b.c.d`.
#[must_use]
pub fn encode_v6(address: SocketAddr) -> [u8; V6_BYTES] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; V6_BYTES];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// Reads `<ip: 4 bytes> <port: u16 BE>`.
#[must_use]
pub fn decode_v4(bytes: [u8; V4_BYTES]) -> SocketAddr {
    let [a, b, c, d, high, low] = bytes;
    SocketAddr::new(
        Ipv4Addr::new(a, b, c, d).into(),
        u16::from_be_bytes([high, low]),
    )
}

/// Reads `<ip: 16 bytes> <port: u16 BE>`, undressed as by [`canonical`].
#[must_use]
pub fn decode_v6(bytes: [u8; V6_BYTES]) -> SocketAddr {
    let mut ip = [0; 16];
    ip.copy_from_slice(&bytes[..16]);
    let port = u16::from_be_bytes([bytes[16], bytes[17]]);
    canonical(SocketAddr::new(Ipv6Addr::from(ip).into(), port))
}

/// The addresses of a `peers` string, one behind the other; an unfinished one at the end is ignored.
pub fn decode_v4_list(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    bytes.as_chunks().0.iter().copied().map(decode_v4)
}

/// The addresses of a `peers6` string, one behind the other; an unfinished one at the end is ignored.
pub fn decode_v6_list(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    bytes.as_chunks().0.iter().copied().map(decode_v6)
}

/// The one form under which a remote is known: `::ffff:a.b.c.d` is IPv4, and an IPv6 address has no flow label, and a scope
/// only where it is link-local (without its scope such an address cannot be dialled).
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = address else {
        return address;
    };
    match v6.ip().to_ipv4_mapped() {
        Some(ip) => SocketAddr::new(ip.into(), v6.port()),
        None => {
            let scope = if v6.ip().is_unicast_link_local() {
                v6.scope_id()
            } else {
                0
            };
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into()
        }
    }
}

/// Whether a stream can be opened to `address` at all: it has a port and names one host.
///
/// Says nothing about where that host is: see [`is_global`].
#[must_use]
pub fn dialable(address: SocketAddr) -> bool {
    let address = canonical(address);
    address.port() != 0
        && match address.ip() {
            // All of 0.0.0.0/8 is "this network" (RFC 1122), and Linux takes 0.0.0.0 for the host itself.
            IpAddr::V4(ip) => ip.octets()[0] != 0 && !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        }
}

/// Whether `ip` is reachable from everywhere, as far as the registries say (RFC 6890).
///
/// Addresses that are not (loopback, private, link-local, shared by a carrier, reserved, for documentation) are accepted as
/// peers only from a person or from a tracker on such an address: else a stranger could aim us at our own network.
#[must_use]
pub fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let reserved = matches!(
                (a, b, c),
                (0 | 10 | 127 | 224.., _, _)
                    | (100, 64..=127, _)
                    | (169, 254, _)
                    | (172, 16..=31, _)
                    | (192, 0, 0 | 2)
                    | (192, 168, _)
                    | (198, 18 | 19, _)
                    | (198, 51, 100)
                    | (203, 0, 113)
            );
            !reserved
        }
        IpAddr::V6(ip) => {
            let [a, b, ..] = ip.segments();
            // Only 2000::/3 is given out; of it, 2001:db8::/32 and 3fff::/20 are for documentation.
            a >> 13 == 1 && (a, b) != (0x2001, 0x0db8) && !(a == 0x3fff && b >> 12 == 0)
        }
    }
}

/// Whether `ip` is this very host.
#[must_use]
pub fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn compact_addresses_read_what_they_write() {
        let mut rng = Rng::new(3);
        for _ in 0..1000 {
            let mut bytes = [0; V6_BYTES];
            rng.fill(&mut bytes);
            let v6 = decode_v6(bytes);
            assert_eq!(encode_v6(v6), bytes);
            let v4 = decode_v4(*bytes.first_chunk().unwrap());
            let mut out = Vec::new();
            encode(v4, &mut out);
            assert_eq!(out, bytes[..V4_BYTES]);
            assert_eq!(decode_v6(encode_v6(v4)), v4, "the dress comes off again");
            out.clear();
            encode(v6, &mut out);
            assert_eq!(decode_v6_list(&out).collect::<Vec<_>>(), [v6]);
        }
        let cut = [1, 2, 3, 4, 0, 80, 9, 9];
        assert_eq!(
            decode_v4_list(&cut).collect::<Vec<_>>(),
            [address("1.2.3.4:80")]
        );
        assert_eq!(decode_v6_list(&cut).count(), 0);
    }

    #[test]
    fn one_remote_has_one_address() {
        let dressed = SocketAddrV6::new("::ffff:1.2.3.4".parse().unwrap(), 9, 7, 3);
        assert_eq!(canonical(dressed.into()), address("1.2.3.4:9"));
        let flow = SocketAddrV6::new("2001:470::1".parse().unwrap(), 9, 7, 3);
        assert_eq!(canonical(flow.into()), address("[2001:470::1]:9"));
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 7, 3);
        assert_eq!(canonical(scoped.into()), address("[fe80::1%3]:9"));
    }

    #[test]
    fn addresses_are_sorted_into_dialable_and_global() {
        #[rustfmt::skip]
        let table = [
            // address                     dialable global
            ("8.8.8.8:1",                  true,  true),
            ("8.8.8.8:0",                  false, true),
            ("0.0.0.0:1",                  false, false),
            ("0.1.2.3:1",                  false, false),
            ("255.255.255.255:1",          false, false),
            ("239.192.152.143:1",          false, false),
            ("240.0.0.1:1",                true,  false),
            ("127.0.0.1:1",                true,  false),
            ("10.1.2.3:1",                 true,  false),
            ("100.63.255.255:1",           true,  true),
            ("100.64.0.1:1",               true,  false),
            ("169.254.1.1:1",              true,  false),
            ("172.15.0.1:1",               true,  true),
            ("172.31.0.1:1",               true,  false),
            ("192.0.2.1:1",                true,  false),
            ("192.0.1.1:1",                true,  true),
            ("192.168.0.1:1",              true,  false),
            ("198.19.0.1:1",               true,  false),
            ("203.0.113.9:1",              true,  false),
            ("[::]:1",                     false, false),
            ("[::1]:1",                    true,  false),
            ("[ff02::1]:1",                false, false),
            ("[fe80::1]:1",                true,  false),
            ("[fd00::1]:1",                true,  false),
            ("[2001:db8::1]:1",            true,  false),
            ("[2001:470::1]:1",            true,  true),
            ("[3fff:fff::1]:1",            true,  false),
            ("[::ffff:0.0.0.0]:1",         false, false),
            ("[::ffff:8.8.8.8]:1",         true,  true),
            ("[::ffff:192.168.1.1]:1",     true,  false),
        ];
        for (text, dials, global) in table {
            let address = address(text);
            assert_eq!(dialable(address), dials, "{text} dialable");
            assert_eq!(is_global(address.ip()), global, "{text} global");
        }
        assert!(is_loopback(address("[::ffff:127.9.9.9]:1").ip()));
        assert!(!is_loopback(address("10.0.0.1:1").ip()));
    }
}
