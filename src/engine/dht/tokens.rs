//! Tokens: who asked from an address may announce and store from it for a few minutes, and nobody else (BEP 5).

use std::net::IpAddr;

use crate::hash;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Bytes of a token.
pub const TOKEN_BYTES: usize = 8;
/// A secret is used for so long, and believed for as long again.
const ROTATE: Duration = Duration::from_secs(5 * 60);

/// A hash of the asker's address and a secret that changes: nothing is remembered for each.
#[derive(Clone, Debug)]
pub struct Tokens {
    secret: [u8; 16],
    before: [u8; 16],
    until: Instant,
}

impl Tokens {
    /// With secrets by chance.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        let (mut secret, mut before) = ([0; 16], [0; 16]);
        rng.fill(&mut secret);
        rng.fill(&mut before);
        Self {
            secret,
            before,
            until: Instant::ZERO + ROTATE,
        }
    }

    /// What who asks from `ip` is given.
    pub fn give(&mut self, ip: IpAddr, now: Instant, rng: &mut Rng) -> [u8; TOKEN_BYTES] {
        self.rotate(now, rng);
        token(&self.secret, ip)
    }

    /// Whether it was given to `ip` lately.
    pub fn is_known(&mut self, bytes: &[u8], ip: IpAddr, now: Instant, rng: &mut Rng) -> bool {
        self.rotate(now, rng);
        bytes == token(&self.secret, ip) || bytes == token(&self.before, ip)
    }

    fn rotate(&mut self, now: Instant, rng: &mut Rng) {
        if now < self.until {
            return;
        }
        // After a long silence the one before is as old as the one that is.
        for _ in 0..if now.since(self.until) < ROTATE { 1 } else { 2 } {
            self.before = self.secret;
            rng.fill(&mut self.secret);
        }
        self.until = now + ROTATE;
    }
}

fn token(secret: &[u8; 16], ip: IpAddr) -> [u8; TOKEN_BYTES] {
    let digest = match ip {
        IpAddr::V4(ip) => hash::sha1_parts(&[secret, &ip.octets()]),
        IpAddr::V6(ip) => hash::sha1_parts(&[secret, &ip.octets()]),
    };
    *digest.first_chunk().expect("a digest is longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_good_for_their_address_and_a_while() {
        let mut rng = Rng::new(5);
        let mut tokens = Tokens::new(&mut rng);
        let (a, b) = ("1.2.3.4".parse().unwrap(), "::1".parse().unwrap());
        let start = Instant::ZERO;
        let token = tokens.give(a, start, &mut rng);
        let minute = Duration::from_secs(60);
        #[rustfmt::skip]
        let table = [
            ("at once",            a, 0,  true),
            ("from elsewhere",     b, 0,  false),
            ("a few minutes on",   a, 6,  true),
            ("still",              a, 9,  true),
            ("too late",           a, 11, false),
        ];
        for (name, ip, minutes, good) in table {
            let now = start + minutes * minute;
            assert_eq!(tokens.is_known(&token, ip, now, &mut rng), good, "{name}");
        }
        let token = tokens.give(a, start + 20 * minute, &mut rng);
        assert!(
            !tokens.is_known(&token, a, start + 60 * minute, &mut rng),
            "after a silence"
        );
        assert!(!tokens.is_known(b"", a, start, &mut rng));
    }
}
