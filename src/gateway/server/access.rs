//! Who may ask: the checks that every request passes, in Transmission's order.
//!
//! ```text
//! too many wrong passwords ─▶ 403    address not allowed ─▶ 403    no or wrong password ─▶ 401    host not allowed ─▶ 421
//! ```
//!
//! The check against cross-site requests comes last and is the RPC's own. The host is looked at because a page of a stranger
//! can make a browser resolve a name of its own to our address; with a password there is nothing to gain by that.

use std::collections::BTreeMap;
use std::net::IpAddr;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::time::{Duration, Instant};

/// Wrong passwords of one address until it is refused...
pub(super) const FAILURES_MAX: u32 = 20;
/// ...for so long after the last one.
pub(super) const LOCKED: Duration = Duration::from_secs(300);
/// Addresses whose wrong passwords are counted; the one that failed longest ago is forgotten first.
const FAILED_MAX: usize = 1024;

/// Who may ask.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Empty: no password is asked for.
    pub user: String,
    /// Plain, or hashed as `$argon2...`.
    pub password: String,
    /// Addresses that may ask, as `192.168.1.*`; `*` is everybody.
    pub addresses: Vec<String>,
    /// Names that the `Host` header may have, as `*.example.org`, besides `localhost` and addresses.
    pub hosts: Vec<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("user", &self.user)
            .field("addresses", &self.addresses)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Too many wrong passwords from there.
    Locked,
    /// The address is not allowed.
    Address,
    /// No password, or a wrong one.
    Password,
    /// The host is not allowed.
    Host,
}

/// What is remembered between requests.
#[derive(Debug, Default)]
pub struct Memory {
    failures: BTreeMap<IpAddr, (u32, Instant)>,
    /// The last header that was right: a hash made to be slow is verified once, not with each request.
    right: Option<(String, Access)>,
}

impl Access {
    /// Whether a password is asked for.
    #[must_use]
    pub const fn has_password(&self) -> bool {
        !self.user.is_empty() || !self.password.is_empty()
    }

    /// Looks at one request.
    ///
    /// # Errors
    /// The first check it does not pass.
    pub fn check(
        &self,
        memory: &mut Memory,
        now: Instant,
        from: IpAddr,
        authorization: Option<&str>,
        host: Option<&str>,
    ) -> Result<(), Denied> {
        if memory.is_locked(from, now) {
            return Err(Denied::Locked);
        }
        let address = from.to_string();
        if !self.addresses.iter().any(|one| matches(one, &address)) {
            return Err(Denied::Address);
        }
        if self.has_password() {
            let Some(header) = authorization else {
                // Clients ask without one first: that is no attempt.
                return Err(Denied::Password);
            };
            if !self.knows(memory, header) {
                memory.failed(from, now);
                return Err(Denied::Password);
            }
            memory.failures.remove(&from);
            return Ok(());
        }
        match host {
            Some(host) if !self.is_host(host) => Err(Denied::Host),
            _ => Ok(()),
        }
    }

    fn knows(&self, memory: &mut Memory, header: &str) -> bool {
        if let Some((right, access)) = &memory.right
            && access == self
            && same(right.as_bytes(), header.as_bytes())
        {
            return true;
        }
        let right = credentials(header).is_some_and(|(user, password)| {
            // Both are looked at, so that the time says nothing of which one was wrong.
            let user = same(user.as_bytes(), self.user.as_bytes());
            let password = is_password(&self.password, &password);
            user && password
        });
        if right {
            memory.right = Some((header.to_owned(), self.clone()));
        }
        right
    }

    fn is_host(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost"
            || bare.parse::<IpAddr>().is_ok()
            || self
                .hosts
                .iter()
                .any(|one| matches(&one.to_ascii_lowercase(), &name))
    }
}

impl Memory {
    fn is_locked(&self, from: IpAddr, now: Instant) -> bool {
        self.failures
            .get(&from)
            .is_some_and(|(count, last)| *count >= FAILURES_MAX && now.since(*last) < LOCKED)
    }

    fn failed(&mut self, from: IpAddr, now: Instant) {
        if self.failures.len() >= FAILED_MAX && !self.failures.contains_key(&from) {
            let oldest = self.failures.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.failures.remove(&oldest);
            }
        }
        let (count, last) = self.failures.entry(from).or_insert((0, now));
        if now.since(*last) >= LOCKED {
            *count = 0;
        }
        *count += 1;
        *last = now;
        if *count == FAILURES_MAX {
            log::warn!("{from} has sent {FAILURES_MAX} wrong passwords and is refused for a while");
        }
    }
}

/// User and password of a `Basic` header.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn is_password(stored: &str, given: &str) -> bool {
    if stored.starts_with("$argon2") {
        return PasswordHash::new(stored).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(given.as_bytes(), &hash)
                .is_ok()
        });
    }
    same(stored.as_bytes(), given.as_bytes())
}

/// Whether both are equal, in a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Whether `text` is what `pattern` says, where `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn open() -> Access {
        Access {
            addresses: vec!["127.0.0.1".to_owned(), "192.168.*".to_owned()],
            hosts: vec!["*.example.org".to_owned()],
            ..Access::default()
        }
    }

    fn locked() -> Access {
        Access {
            user: "u".to_owned(),
            password: "p:w".to_owned(),
            ..open()
        }
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn requests_pass_in_order() {
        let other: IpAddr = "10.0.0.1".parse().unwrap();
        let near: IpAddr = "192.168.7.8".parse().unwrap();
        let right = basic("u:p:w");
        let wrong = basic("u:x");
        #[rustfmt::skip]
        let table = [
            (open(),   HOME,  None,          Some("localhost:9091"),       Ok(())),
            (open(),   near,  None,          Some("[::1]:9091"),           Ok(())),
            (open(),   HOME,  None,          Some("10.1.1.1"),             Ok(())),
            (open(),   HOME,  None,          Some("a.Example.org:80"),     Ok(())),
            (open(),   HOME,  None,          None,                         Ok(())),
            (open(),   HOME,  None,          Some("evil.test"),            Err(Denied::Host)),
            (open(),   HOME,  None,          Some("localhost.evil.test"),  Err(Denied::Host)),
            (open(),   other, None,          Some("localhost"),            Err(Denied::Address)),
            (locked(), other, Some(&right),  Some("localhost"),            Err(Denied::Address)),
            (locked(), HOME,  None,          Some("evil.test"),            Err(Denied::Password)),
            (locked(), HOME,  Some(&wrong),  Some("localhost"),            Err(Denied::Password)),
            (locked(), HOME,  Some(&right),  Some("evil.test"),            Ok(())),
        ];
        for (at, (access, from, header, host, want)) in table.into_iter().enumerate() {
            let mut memory = Memory::default();
            let header = header.map(String::as_str);
            assert_eq!(
                access.check(&mut memory, Instant::ZERO, from, header, host),
                want,
                "{at}"
            );
        }
    }

    #[test]
    fn who_guesses_is_refused_for_a_while_and_others_are_not() {
        let (access, mut memory) = (locked(), Memory::default());
        let (right, wrong) = (basic("u:p:w"), basic("u:guess"));
        let near: IpAddr = "192.168.7.8".parse().unwrap();
        let mut ask =
            |now, from, header: &str| access.check(&mut memory, now, from, Some(header), None);
        let now = Instant::ZERO;
        for _ in 0..FAILURES_MAX {
            assert_eq!(ask(now, HOME, &wrong), Err(Denied::Password));
        }
        assert_eq!(ask(now, HOME, &right), Err(Denied::Locked));
        assert_eq!(ask(now, near, &right), Ok(()));
        assert_eq!(ask(now + LOCKED, HOME, &right), Ok(()));
        assert_eq!(ask(now + LOCKED, HOME, &wrong), Err(Denied::Password));
    }

    #[test]
    fn hashed_passwords_are_verified() {
        use argon2::PasswordHasher;
        let hash = Argon2::default()
            .hash_password_with_salt(b"secret", b"a salt of ours")
            .unwrap();
        let access = Access {
            password: hash.to_string(),
            ..locked()
        };
        let mut memory = Memory::default();
        let mut ask =
            |text: &str| access.check(&mut memory, Instant::ZERO, HOME, Some(&basic(text)), None);
        assert_eq!(ask("u:wrong"), Err(Denied::Password));
        for _ in 0..2 {
            assert_eq!(ask("u:secret"), Ok(()));
        }
        assert_eq!(ask("u:secre"), Err(Denied::Password));
    }

    #[test]
    fn stars_stand_for_anything() {
        #[rustfmt::skip]
        let table = [
            ("*", "x", true), ("*", "", true), ("a", "a", true), ("a", "ab", false), ("192.168.*.*", "192.168.0.1", true),
            ("192.168.*", "192.16.8.1", false), ("*.org", "a.org", true), ("*.org", "org", false), ("a*b*c", "a-b-c", true), ("a*b*c", "a-c", false),
        ];
        for (pattern, text, want) in table {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }
}
