//! Magnet links (BEP 9, 53): an info-hash, and whatever else whoever made the link knew.
//!
//! Everything is bounded, and what is not understood is passed over: a link is as good as its info-hash.

use url::Url;

use crate::ids::InfoHash;

use super::metainfo::{URL_BYTES_MAX, URLS_MAX};

/// Longest link that is read, in bytes.
pub const MAGNET_BYTES_MAX: usize = 64 * 1024;

/// Most ranges of files that are read. The rest is ignored.
pub const RANGES_MAX: usize = 1024;

/// Most characters of a name. The rest is cut.
const NAME_CHARS_MAX: usize = 255;

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// `dn`: what to call it until its name is known.
    pub name: Option<String>,
    /// `tr`: each a tier of its own, up to [`URLS_MAX`].
    pub trackers: Vec<Vec<String>>,
    /// `ws`: web seeds, up to [`URLS_MAX`].
    pub web_seeds: Vec<String>,
    /// `x.pe`: peers as `host:port`, up to [`URLS_MAX`].
    pub peers: Vec<String>,
    /// `so`: the files to fetch, as ranges from first to last in the torrent's order, up to [`RANGES_MAX`] (BEP 53). None means
    /// all.
    pub select: Vec<(u32, u32)>,
}

/// Why a link cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MagnetError {
    /// It does not begin with `magnet:?`.
    NoMagnet,
    /// It is longer than [`MAGNET_BYTES_MAX`].
    TooLong,
    /// It has no `xt=urn:btih:`.
    NoInfoHash,
    /// Its info-hash is neither 40 hexadecimal digits nor 32 of base 32.
    BadInfoHash,
    /// It has a v2 info-hash only (BEP 52).
    V2Only,
}

impl std::fmt::Display for MagnetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoMagnet => "it does not begin with \"magnet:?\"",
            Self::TooLong => "it is longer than 64 KiB",
            Self::NoInfoHash => "it names no torrent: there is no xt=urn:btih:",
            Self::BadInfoHash => {
                "its info-hash is neither 40 hexadecimal digits nor 32 letters of base 32"
            }
            Self::V2Only => "it names a v2 torrent only, which this version cannot download",
        })
    }
}

impl std::error::Error for MagnetError {}

impl Magnet {
    /// A link that says no more than which torrent.
    #[must_use]
    pub const fn of(info_hash: InfoHash) -> Self {
        Self {
            info_hash,
            name: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            peers: Vec::new(),
            select: Vec::new(),
        }
    }

    /// The files that it selects, as a mark for each of `count`; empty, which means all, when it selects none that exists.
    #[must_use]
    pub fn wanted(&self, count: usize) -> Vec<bool> {
        let mut marks = vec![false; count];
        for &(first, last) in &self.select {
            let end = count.min((last as usize).saturating_add(1));
            if let Some(marks) = marks.get_mut(first as usize..end) {
                marks.fill(true);
            }
        }
        if marks.contains(&true) {
            marks
        } else {
            Vec::new()
        }
    }

    /// Reads a link.
    ///
    /// # Errors
    /// One of [`MagnetError`], whose text is one sentence about the link.
    pub fn parse(text: &str) -> Result<Self, MagnetError> {
        let text = text.trim();
        if text.len() > MAGNET_BYTES_MAX {
            return Err(MagnetError::TooLong);
        }
        let url = Url::parse(text).map_err(|_| MagnetError::NoMagnet)?;
        if url.scheme() != "magnet" || url.query().is_none() {
            return Err(MagnetError::NoMagnet);
        }
        let mut magnet = Self::of(InfoHash([0; 20]));
        let mut info_hash = Err(MagnetError::NoInfoHash);
        for (key, value) in url.query_pairs() {
            // Several values of a kind may be numbered: `tr.1`, `xt.2`.
            let kind = match key.split_once('.') {
                Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => kind,
                _ => &*key,
            };
            match kind {
                "xt" if info_hash.is_err() => info_hash = topic(&value).unwrap_or(info_hash),
                "dn" if magnet.name.is_none() => {
                    let name: String = value.chars().filter(|c| !c.is_control()).collect();
                    let name = name.trim().chars().take(NAME_CHARS_MAX).collect::<String>();
                    magnet.name = Some(name).filter(|name| !name.is_empty());
                }
                "tr" => {
                    let mut known = magnet.trackers.iter().flatten();
                    if is_url(&value, magnet.trackers.len()) && !known.any(|have| **have == *value)
                    {
                        magnet.trackers.push(vec![value.into_owned()]);
                    }
                }
                "ws" if is_url(&value, magnet.web_seeds.len()) => {
                    magnet.web_seeds.push(value.into_owned());
                }
                "x.pe" if is_url(&value, magnet.peers.len()) => {
                    magnet.peers.push(value.into_owned());
                }
                "so" => {
                    let room = RANGES_MAX - magnet.select.len();
                    magnet
                        .select
                        .extend(value.split(',').filter_map(range).take(room));
                }
                _ => {}
            }
        }
        magnet.info_hash = info_hash?;
        Ok(magnet)
    }
}

/// `7`, or `2-5`; `None` for anything else.
fn range(text: &str) -> Option<(u32, u32)> {
    let text = text.trim();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Whether there is room for it, and it is worth it.
fn is_url(value: &str, have: usize) -> bool {
    have < URLS_MAX
        && !value.is_empty()
        && value.len() <= URL_BYTES_MAX
        && !value.contains(char::is_control)
}

/// The info-hash of an exact topic; `None` for a kind that is not known.
fn topic(value: &str) -> Option<Result<InfoHash, MagnetError>> {
    let lower = value.to_ascii_lowercase();
    if lower.starts_with("urn:btmh:") {
        return Some(Err(MagnetError::V2Only));
    }
    let digits = lower.strip_prefix("urn:btih:")?;
    let hash = match digits.len() {
        40 => base(digits, 4, |letter| char::from(letter).to_digit(16)),
        32 => base(digits, 5, |letter| match letter {
            b'a'..=b'z' => Some(u32::from(letter - b'a')),
            b'2'..=b'7' => Some(u32::from(letter - b'2') + 26),
            _ => None,
        }),
        _ => None,
    };
    Some(hash.map(InfoHash).ok_or(MagnetError::BadInfoHash))
}

/// Twenty bytes of digits of `bits` bits each, most significant first.
fn base(digits: &str, bits: u32, value: impl Fn(u8) -> Option<u32>) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    for (at, digit) in digits.bytes().enumerate() {
        let digit = value(digit)?;
        for bit in 0..bits as usize {
            let set = digit >> (bits as usize - 1 - bit) & 1 == 1;
            let at = at * bits as usize + bit;
            bytes[at / 8] |= u8::from(set) << (7 - at % 8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

    #[test]
    fn links_say_what_they_carry() {
        let link = format!(
            "magnet:?xt=urn:btih:{HEX}&dn=A+b%20c&tr=udp%3A%2F%2Ft.example%3A80&tr.1=http://u.example/a&tr=udp://t.example:80\
             &ws=http://w.example/&x.pe=10.0.0.1:5000&x.pe=[::1]:1&so=0,2&unknown=1"
        );
        let magnet = Magnet::parse(&link).unwrap();
        assert_eq!(magnet.info_hash.to_string(), HEX);
        assert_eq!(magnet.name.as_deref(), Some("A b c"));
        let tiers = [
            vec!["udp://t.example:80".to_owned()],
            vec!["http://u.example/a".to_owned()],
        ];
        assert_eq!(magnet.trackers, tiers);
        assert_eq!(magnet.web_seeds, ["http://w.example/"]);
        assert_eq!(magnet.peers, ["10.0.0.1:5000", "[::1]:1"]);
        assert_eq!(magnet.select, [(0, 0), (2, 2)]);
    }

    #[test]
    fn files_are_selected_by_number_and_range() {
        #[rustfmt::skip]
        let table: &[(&str, &[(u32, u32)])] = &[
            ("0",                  &[(0, 0)]),
            ("0,2,4,6-8",          &[(0, 0), (2, 2), (4, 4), (6, 8)]),
            (" 1 , 3-3 ",          &[(1, 1), (3, 3)]),
            ("5-2,x,-1,,4294967296,1-", &[]),
            ("0-4294967295",       &[(0, u32::MAX)]),
        ];
        for (said, want) in table {
            let magnet = Magnet::parse(&format!("magnet:?xt=urn:btih:{HEX}&so={said}"));
            assert_eq!(magnet.unwrap().select, *want, "{said}");
        }
        let marks = |said: &str, count| {
            let magnet = Magnet::parse(&format!("magnet:?xt=urn:btih:{HEX}&so={said}"));
            magnet.unwrap().wanted(count)
        };
        assert_eq!(marks("0,2-9", 4), [true, false, true, true]);
        assert_eq!(marks("7-4294967295", 4), [false; 0], "none exists: all");
        assert_eq!(marks("4294967295", 0), [false; 0]);
        let many = "1,".repeat(RANGES_MAX * 2);
        let magnet = Magnet::parse(&format!("magnet:?xt=urn:btih:{HEX}&so={many}&so=2"));
        assert_eq!(magnet.unwrap().select.len(), RANGES_MAX);
    }

    #[test]
    fn info_hashes_come_in_two_bases() {
        let of = |topic: &str| {
            Magnet::parse(&format!("magnet:?xt={topic}")).map(|magnet| magnet.info_hash.to_string())
        };
        assert_eq!(
            of(&format!("urn:btih:{}", HEX.to_uppercase())),
            Ok(HEX.to_owned())
        );
        assert_eq!(
            of("urn:btih:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK"),
            Ok(HEX.to_owned())
        );
        assert_eq!(of("urn:btih:123"), Err(MagnetError::BadInfoHash));
        assert_eq!(
            of(&format!("urn:btih:{}", "1".repeat(32))),
            Err(MagnetError::BadInfoHash)
        );
        assert_eq!(
            of("urn:sha1:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK"),
            Err(MagnetError::NoInfoHash)
        );
        assert_eq!(of("urn:btmh:1220aa"), Err(MagnetError::V2Only));
        // Of a hybrid torrent either name will do.
        assert_eq!(
            of(&format!("urn:btmh:1220aa&xt=urn:btih:{HEX}")),
            Ok(HEX.to_owned())
        );
        assert_eq!(Magnet::parse("magnet:"), Err(MagnetError::NoMagnet));
        assert_eq!(Magnet::parse("http://x/?xt=1"), Err(MagnetError::NoMagnet));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_everything_is_bounded(text in "(magnet:\\?)?.{0,200}", many in 0_usize..600) {
            let _ = Magnet::parse(&text);
            let link = format!("magnet:?xt=urn:btih:{HEX}{}", (0..many).map(|n| format!("&tr=http://{n}")).collect::<String>());
            let magnet = Magnet::parse(&link).unwrap();
            prop_assert_eq!(magnet.trackers.len(), many.min(URLS_MAX));
        }
    }
}
