//! The filters by which nodes count the peers of a torrent without naming them (BEP 33): 2048 bits, two for each address.

use std::net::IpAddr;

use crate::hash;

/// Bytes of a filter.
pub const FILTER_BYTES: usize = 256;

/// A set of addresses that can be counted, and joined with others, but not listed.
#[derive(Clone, PartialEq, Eq)]
pub struct Bloom(Box<[u8; FILTER_BYTES]>);

impl Default for Bloom {
    fn default() -> Self {
        Self(Box::new([0; FILTER_BYTES]))
    }
}

impl std::fmt::Debug for Bloom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bloom({} bits)", self.ones())
    }
}

impl Bloom {
    /// `None` when it has another length.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(Box::new(bytes.try_into().ok()?)))
    }

    /// As on the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// Adds an address. The port does not count.
    pub fn insert(&mut self, ip: IpAddr) {
        let hash = match ip {
            IpAddr::V4(ip) => hash::sha1(&ip.octets()),
            IpAddr::V6(ip) => hash::sha1(&ip.octets()),
        };
        for pair in [[hash[0], hash[1]], [hash[2], hash[3]]] {
            let bit = usize::from(u16::from_le_bytes(pair)) % (FILTER_BYTES * 8);
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// How many bits are set.
    #[must_use]
    pub fn ones(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// The vector of BEP 33: 256 addresses of one family and 1000 of the other.
    #[test]
    fn the_filter_is_that_of_the_bep() {
        let mut bloom = Bloom::default();
        for last in 0..=255 {
            bloom.insert(Ipv4Addr::new(192, 0, 2, last).into());
        }
        for last in 0..0x3e8 {
            bloom.insert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into());
        }
        let hex = bloom.bytes().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02X}");
            hex
        });
        let want = "F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75\
                    EE7CCBAEFE5EEDB1FBFAFF67F6ABFF5E43DDBCA3FD9B9FFDF4FFD3E9DFF12D1B\
                    DF59DB53DBE9FA5B7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE14\
                    8246C2BC5DBFF7E7EFDCF24FD8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81F\
                    C7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3FA1FC77BFE07FFF905B7B7FFC7FEFEFF\
                    E0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5BFAF2E9EBFFFFEECD67ADBF7\
                    C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB5762ABE8FF237279BF\
                    EFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6FD8F72EF";
        assert_eq!(hex, want);
        assert_eq!(Bloom::read(bloom.bytes()), Some(bloom));
        assert_eq!(Bloom::read(&[0; 255]), None);
    }
}
