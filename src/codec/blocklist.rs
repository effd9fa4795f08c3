//! Block lists: text that names ranges of addresses, and the sorted ranges it becomes.
//!
//! A line is one range, in any of the forms that lists are passed around in:
//!
//! ```text
//! some name:1.2.3.0-1.2.3.255                 P2P (PeerGuardian); the name may hold colons
//! 001.002.003.000 - 001.002.003.255 , 000 , name   DAT (eMule); a level of 128 or more is not blocked
//! 1.2.3.0/24   2001:db8::/32                  CIDR
//! 1.2.3.4      2001:db8::1-2001:db8::ff       one address, or a bare range
//! ```
//!
//! Blank lines and those that begin with `#`, `;` or `//` say nothing. Any other line is counted as bad, and the first few are
//! kept to be shown. Total on any input; memory is bounded by [`RANGES_MAX`] and [`LINE_BYTES_MAX`].
//!
//! Invariant of [`Ranges`]: sorted, disjoint, not touching. A look-up is a binary search, and allocates nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ranges of one family that are kept; what comes after is counted as bad.
pub const RANGES_MAX: usize = 4_000_000;
/// Bytes of a line; a longer one is bad, and its bytes are not kept.
pub const LINE_BYTES_MAX: usize = 1024;
/// Bad lines of a file that are kept to be shown; the others are only counted.
pub const BAD_SHOWN_MAX: usize = 5;
/// Characters of a bad line that are kept.
const BAD_CHARS_MAX: usize = 60;
/// A DAT line of this level or above is one to let in.
const DAT_LEVEL_ALLOWED: u32 = 128;
/// Colons of a P2P line behind which the range is looked for: names with more are not known.
const NAME_COLONS_MAX: usize = 32;

/// Sets of addresses, both families: 8 and 32 bytes a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Ranges {
    /// The set of all `ranges`; each from its first to its last address, of one family.
    pub fn of(ranges: impl IntoIterator<Item = Range>) -> Self {
        let mut reader = Reader::default();
        for range in ranges {
            reader.add(range);
        }
        reader.finish()
    }

    /// Whether `ip` is in one of them; an IPv4 address dressed as IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => holds(&self.v4, u32::from(ip)),
            IpAddr::V6(ip) => holds(&self.v6, u128::from(ip)),
        }
    }

    /// How many there are, after those that overlap or touch were joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], at: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= at);
    behind > 0 && ranges[behind - 1].1 >= at
}

/// A range of addresses of one family, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// IPv4.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u128),
}

impl Range {
    /// The range from `first` to `last`; `None` for two families, or a range that ends before it begins.
    fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        match (first.to_canonical(), last.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Some(Self::V4(first.into(), last.into()))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Some(Self::V6(first.into(), last.into()))
            }
            _ => None,
        }
    }

    /// Reads an address, `ADDRESS/BITS` or `ADDRESS-ADDRESS`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((first, last)) = text.split_once('-') {
            return Self::new(address(first.trim())?, address(last.trim())?);
        }
        let Some((network, bits)) = text.split_once('/') else {
            let one = address(text)?;
            return Self::new(one, one);
        };
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse::<u32>().ok().filter(|_| digits)?;
        match address(network)? {
            IpAddr::V4(ip) => {
                let hosts = 32_u32.checked_sub(bits)?;
                let mask = u32::MAX.checked_shl(hosts).unwrap_or(0);
                Some(Self::V4(u32::from(ip) & mask, u32::from(ip) | !mask))
            }
            IpAddr::V6(ip) => {
                let hosts = 128_u32.checked_sub(bits)?;
                let mask = u128::MAX.checked_shl(hosts).unwrap_or(0);
                Some(Self::V6(u128::from(ip) & mask, u128::from(ip) | !mask))
            }
        }
    }
}

/// Reads an address; numbers of an IPv4 address may begin with zeros, which DAT lists write and which are decimal.
fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0; 4];
    let mut numbers = text.split('.');
    for octet in &mut octets {
        let number = numbers.next()?;
        let fine = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        *octet = number.parse::<u8>().ok().filter(|_| fine)?;
    }
    numbers
        .next()
        .is_none()
        .then(|| Ipv4Addr::from(octets).into())
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing: blank, a comment, or a range to let in.
    Nothing,
    /// A range.
    Range(Range),
    /// Nothing that we can read.
    Bad,
}

/// Reads one line, without its end.
#[must_use]
pub fn line(bytes: &[u8]) -> Line {
    let bytes = bytes.trim_ascii();
    let comment = |mark: &[u8]| bytes.starts_with(mark);
    if bytes.is_empty() || comment(b"#") || comment(b";") || comment(b"//") {
        return Line::Nothing;
    }
    // Names of old lists are in whatever encoding their makers used; the ranges never are anything but ASCII.
    let text = String::from_utf8_lossy(bytes);
    if let Some(range) = Range::parse(&text) {
        return Line::Range(range);
    }
    if let Some((range, rest)) = text.split_once(',')
        && let Some(range) = Range::parse(range)
    {
        let level = rest.split(',').next().unwrap_or_default().trim();
        return match level.parse::<u32>() {
            Ok(level) if level >= DAT_LEVEL_ALLOWED => Line::Nothing,
            Ok(_) => Line::Range(range),
            Err(_) => Line::Bad,
        };
    }
    let colons = text.match_indices(':').take(NAME_COLONS_MAX);
    let mut behind = colons.map(|(at, _)| &text[at + 1..]);
    // A bare address behind a name would make "10:20" one; P2P lists always write both ends.
    let range = behind.find_map(|text| text.contains('-').then(|| Range::parse(text))?);
    range.map_or(Line::Bad, Line::Range)
}

/// What was found in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines that named a range.
    pub rules: u64,
    /// Lines that nobody can read.
    pub bad: u64,
    /// The first of those: number, counted from 1, and beginning.
    pub bad_lines: Vec<(u64, String)>,
}

/// Reads lists, in parts of any size, and makes one set of them.
#[derive(Debug, Default)]
pub struct Reader {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    /// The beginning of a line whose end has not come; cut where it is too long.
    tail: Vec<u8>,
    is_long: bool,
    lines: u64,
    tally: Tally,
}

impl Reader {
    /// Reads on.
    pub fn read(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (here, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.tail.is_empty() && !self.is_long && here.len() <= LINE_BYTES_MAX {
                self.take(here);
            } else {
                self.keep(here);
                self.take_tail();
            }
        }
        self.keep(bytes);
    }

    /// The file is over; what was in it. The next one may follow.
    pub fn end_file(&mut self) -> Tally {
        if !self.tail.is_empty() || self.is_long {
            self.take_tail();
        }
        self.lines = 0;
        std::mem::take(&mut self.tally)
    }

    /// All that was read, sorted and joined.
    #[must_use]
    pub fn finish(mut self) -> Ranges {
        self.end_file();
        Ranges {
            v4: joined(self.v4, |last| last.checked_add(1)),
            v6: joined(self.v6, |last| last.checked_add(1)),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.tail.len();
        self.is_long |= bytes.len() > room;
        self.tail.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take_tail(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        if std::mem::take(&mut self.is_long) {
            self.lines += 1;
            self.bad(&tail);
        } else {
            self.take(&tail);
        }
        self.tail = tail;
        self.tail.clear();
    }

    fn take(&mut self, bytes: &[u8]) {
        self.lines += 1;
        match line(bytes) {
            Line::Nothing => {}
            Line::Range(range) if self.add(range) => self.tally.rules += 1,
            Line::Range(_) | Line::Bad => self.bad(bytes),
        }
    }

    fn bad(&mut self, bytes: &[u8]) {
        self.tally.bad += 1;
        if self.tally.bad_lines.len() < BAD_SHOWN_MAX {
            let text = String::from_utf8_lossy(bytes);
            let shown = text.trim().chars().filter(|c| !c.is_control());
            let shown = shown.take(BAD_CHARS_MAX).collect();
            self.tally.bad_lines.push((self.lines, shown));
        }
    }

    /// `false` when there is no room.
    fn add(&mut self, range: Range) -> bool {
        match range {
            Range::V4(first, last) if self.v4.len() < RANGES_MAX => self.v4.push((first, last)),
            Range::V6(first, last) if self.v6.len() < RANGES_MAX => self.v6.push((first, last)),
            Range::V4(..) | Range::V6(..) => return false,
        }
        true
    }
}

/// Sorts `ranges` and joins those that overlap or touch; `next` is the address behind one, if there is any.
fn joined<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::new();
    for (first, last) in ranges {
        match out.last_mut() {
            Some(before) if next(before.1).is_none_or(|next| first <= next) => {
                before.1 = before.1.max(last);
            }
            _ => out.push((first, last)),
        }
    }
    out.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
        match line(text.as_bytes()) {
            Line::Range(Range::V4(first, last)) => {
                Some((Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into()))
            }
            Line::Range(Range::V6(first, last)) => {
                Some((Ipv6Addr::from(first).into(), Ipv6Addr::from(last).into()))
            }
            Line::Nothing | Line::Bad => None,
        }
    }

    #[test]
    fn lines_of_every_form_are_ranges() {
        #[rustfmt::skip]
        let table = [
            ("Some: name, Inc.:1.2.3.4-1.2.3.9",                 "1.2.3.4",       "1.2.3.9"),
            ("n:1.2.3.4-1.2.3.4\r",                              "1.2.3.4",       "1.2.3.4"),
            ("v6:2001:db8::1-2001:db8::ff",                      "2001:db8::1",   "2001:db8::ff"),
            ("001.009.096.105 - 001.009.096.110 , 000 , Firm",   "1.9.96.105",    "1.9.96.110"),
            ("010.0.0.0-010.255.255.255,127,x",                  "10.0.0.0",      "10.255.255.255"),
            ("1.2.3.4/24",                                       "1.2.3.0",       "1.2.3.255"),
            ("0.0.0.0/0",                                        "0.0.0.0",       "255.255.255.255"),
            ("9.9.9.9/32",                                       "9.9.9.9",       "9.9.9.9"),
            ("2001:db8::/32",                                    "2001:db8::",    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::/0",                                             "::",            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("  1.2.3.4  ",                                      "1.2.3.4",       "1.2.3.4"),
            ("2001:db8::7",                                      "2001:db8::7",   "2001:db8::7"),
            ("1.2.3.4 - 1.2.4.0",                                "1.2.3.4",       "1.2.4.0"),
            ("::ffff:1.2.3.4",                                   "1.2.3.4",       "1.2.3.4"),
        ];
        for (text, first, last) in table {
            let want = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(range(text), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_nothing_or_bad() {
        #[rustfmt::skip]
        let table = [
            ("",                                   Line::Nothing),
            ("# 1.2.3.4",                          Line::Nothing),
            ("// a",                               Line::Nothing),
            ("; a",                                Line::Nothing),
            ("1.2.3.4 - 1.2.3.5 , 200 , friends",  Line::Nothing),
            ("1.2.3.4 - 1.2.3.5 , x , friends",    Line::Bad),
            ("name:1.2.3.4",                       Line::Bad),
            ("1.2.3",                              Line::Bad),
            ("1.2.3.4.5",                          Line::Bad),
            ("1.2.3.256",                          Line::Bad),
            ("1.2.3.0004",                         Line::Bad),
            ("1.2.3.4/33",                         Line::Bad),
            ("1.2.3.4/",                           Line::Bad),
            ("1.2.3.4/+8",                         Line::Bad),
            ("1.2.3.9-1.2.3.4",                    Line::Bad),
            ("1.2.3.4-2001:db8::1",                Line::Bad),
            ("<html>",                             Line::Bad),
            ("a:b:c:d",                            Line::Bad),
        ];
        for (text, want) in table {
            assert_eq!(line(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn a_list_is_the_same_however_it_is_cut() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let text = format!(
            "# list\nn:1.2.3.0-1.2.3.9\r\n{long}\nbad\n1.2.3.10\n2001:db8::/32\n1.2.3.5-1.2.3.7\n\n9.9.9.9"
        );
        let read = |parts: &[&[u8]]| {
            let mut reader = Reader::default();
            parts.iter().for_each(|part| reader.read(part));
            (reader.end_file(), reader.finish())
        };
        let whole = read(&[text.as_bytes()]);
        assert_eq!((whole.0.rules, whole.0.bad), (5, 2));
        let lines: Vec<u64> = whole.0.bad_lines.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4]);
        assert_eq!(whole.0.bad_lines[1].1, "bad");
        assert_eq!(whole.1.len(), 3, "what overlaps and what touches is joined");
        for cut in 0..text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            assert_eq!(read(&[a, b]), whole, "cut at {cut}");
        }
        for (ip, inside) in [
            ("1.2.2.255", false),
            ("1.2.3.0", true),
            ("1.2.3.10", true),
            ("1.2.3.11", false),
            ("9.9.9.9", true),
            ("::ffff:9.9.9.9", true),
            ("2001:db8::1", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(whole.1.contains(ip.parse().unwrap()), inside, "{ip}");
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_addresses_too() {
        let all =
            Ranges::of(["0.0.0.0/0", "255.255.255.255", "::/0"].map(|t| Range::parse(t).unwrap()));
        assert_eq!(all.len(), 2);
        for ip in [
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert!(all.contains(ip.parse().unwrap()), "{ip}");
        }
        assert!(!Ranges::default().contains("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn a_set_holds_what_a_list_of_its_ranges_holds() {
        let mut rng = Rng::new(5);
        for _ in 0..200 {
            let ranges: Vec<(u32, u32)> = (0..rng.index(20))
                .map(|_| {
                    let first = u32::try_from(rng.below(256)).unwrap();
                    (first, first + u32::try_from(rng.below(32)).unwrap())
                })
                .collect();
            let set = Ranges::of(ranges.iter().map(|&(first, last)| Range::V4(first, last)));
            for ip in 0..300 {
                let want = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&ip));
                assert_eq!(
                    set.contains(Ipv4Addr::from(ip).into()),
                    want,
                    "{ranges:?} {ip}"
                );
            }
        }
    }
}
