//! Whom to prefer (BEP 40): a number for a pair of addresses that both ends compute alike, so that all of a swarm agree which
//! connections are worth more, and nobody can fill a peer's places from a few networks.
//!
//! It needs our own address as others see it ([`outside`](super::outside)). Who lies about it changes our order of dialling and
//! nothing else.

use std::net::{IpAddr, SocketAddr};

/// The priority of a connection between two canonical addresses; more is better. `None` for two families.
///
/// Of two in different networks only the parts that name networks count; the nearer they are, the more counts. Of one host it is
/// the ports.
#[must_use]
pub fn priority(one: SocketAddr, other: SocketAddr) -> Option<u32> {
    match (one.ip(), other.ip()) {
        (a, b) if a == b => {
            let (a, b) = (one.port().to_be_bytes(), other.port().to_be_bytes());
            Some(checksum(a, b))
        }
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let (a, b) = (a.octets(), b.octets());
            let kept = kept(&a, &b, [2, 3]);
            Some(checksum(masked(a, kept, 4), masked(b, kept, 4)))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let (a, b) = (a.octets(), b.octets());
            let kept = kept(&a, &b, [4, 6]);
            Some(checksum(masked(a, kept, 8), masked(b, kept, 8)))
        }
        _ => None,
    }
}

/// How many bytes in front are kept whole: up to the first border at which the addresses differ; all when they do at none.
fn kept(a: &[u8], b: &[u8], borders: [usize; 2]) -> usize {
    let differ = |at: &usize| a[..*at] != b[..*at];
    borders.into_iter().find(differ).unwrap_or(a.len())
}

/// Half of the bits of the bytes from `kept` to `end` do not count.
fn masked<const N: usize>(mut ip: [u8; N], kept: usize, end: usize) -> [u8; N] {
    for byte in ip.iter_mut().take(end).skip(kept) {
        *byte &= 0x55;
    }
    ip
}

fn checksum<const N: usize>(a: [u8; N], b: [u8; N]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&a.min(b)), &a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_vectors_of_bep_40() {
        #[rustfmt::skip]
        let table = [
            ("123.213.32.10:0", "98.76.54.32:0",    0xec2d_7224),
            ("123.213.32.10:0", "123.213.32.234:0", 0x9956_8189),
        ];
        for (one, other, want) in table {
            assert_eq!(priority(at(one), at(other)), Some(want), "{one} {other}");
            assert_eq!(priority(at(other), at(one)), Some(want), "{other} {one}");
        }
    }

    #[test]
    fn the_nearer_the_more_bytes_count() {
        let of = |bytes: &[u8]| Some(crc32c::crc32c(bytes));
        #[rustfmt::skip]
        let table: &[(&str, &str, &[u8])] = &[
            ("230.12.123.3:1234", "230.12.123.3:300", &[0x01, 0x2c, 0x04, 0xd2]),
            ("230.12.123.1:1234", "230.12.123.3:300", &[0xe6, 0x0c, 0x7b, 0x01, 0xe6, 0x0c, 0x7b, 0x03]),
            ("230.12.23.1:1234",  "230.12.123.3:300", &[0xe6, 0x0c, 0x17, 0x01, 0xe6, 0x0c, 0x7b, 0x01]),
            ("230.120.23.1:1234", "230.12.123.3:300", &[0xe6, 0x0c, 0x51, 0x01, 0xe6, 0x78, 0x15, 0x01]),
        ];
        for (one, other, bytes) in table {
            assert_eq!(priority(at(one), at(other)), of(bytes), "{one} {other}");
        }
        let far = priority(
            at("[ffff:fff:ffff:ffff::1]:1"),
            at("[ffff:ffff:ffff:ffff::1]:2"),
        );
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&[0xff, 0xff, 0x0f, 0xff, 0x55, 0x55, 0x55, 0x55]);
        bytes[15] = 1;
        bytes[16..24].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x55, 0x55, 0x55, 0x55]);
        bytes[31] = 1;
        assert_eq!(far, of(&bytes));
        assert_eq!(priority(at("1.2.3.4:1"), at("[2a00::1]:1")), None);
    }
}
