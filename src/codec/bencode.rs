//! Bencoding (BEP 3): canonical out, lenient in where strangers send it.
//!
//! This is the only file that names bendy, which writes. Reading is our own, because a strict reader refuses torrents,
//! trackers and peers that every client in the field accepts: here keys may come in any order and more than once (the first
//! one counts), and numbers may have leading zeros. Reading copies no bytes, uses no recursion, and its memory is bounded by
//! the input and by [`VALUES_MAX`]. Every value knows the bytes it was read from: an info-hash is that of the original bytes.

use std::borrow::Cow;
use std::fmt;

use bendy::encoding::{Encoder, SingleItemEncoder, ToBencode};

/// Deepest nesting that is read. Deeper input is an error.
pub const DEPTH_MAX: usize = 100;

/// Most values that are read from one input; more are an error. Two bytes of input can ask for some 60 bytes of memory, so
/// size alone does not bound it well. A torrent of 200 000 files has about 1.5 million.
pub const VALUES_MAX: usize = 2 * 1024 * 1024;

/// Why an input is not bencoded, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// 0-based place in the input.
    pub offset: usize,
    /// The fault found there.
    pub what: Fault,
}

/// What is wrong with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The input ends inside a value.
    CutShort,
    /// No value begins with this byte.
    UnexpectedByte(u8),
    /// Not a number, or none that fits 64 bits.
    BadNumber,
    /// A string says that it is longer than the rest of the input.
    StringTooLong,
    /// A key of a dictionary is not a string.
    KeyNotString,
    /// A dictionary ends behind a key.
    KeyWithoutValue,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    TooManyValues,
    /// The value is over and the input is not.
    TrailingBytes,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            Fault::CutShort => write!(f, "the data ends inside a value")?,
            Fault::UnexpectedByte(byte) => {
                write!(f, "no value begins with {:?}", char::from(byte))?;
            }
            Fault::BadNumber => write!(f, "a number is malformed or exceeds 64 bits")?,
            Fault::StringTooLong => write!(f, "a string is longer than the rest of the data")?,
            Fault::KeyNotString => write!(f, "a key of a dictionary is not a string")?,
            Fault::KeyWithoutValue => write!(f, "a key of a dictionary has no value")?,
            Fault::TooDeep => write!(f, "nested deeper than {DEPTH_MAX} levels")?,
            Fault::TooManyValues => write!(f, "more than {VALUES_MAX} values")?,
            Fault::TrailingBytes => write!(f, "the data goes on behind its end")?,
        }
        write!(f, " (at byte {})", self.offset)
    }
}

impl std::error::Error for Error {}

/// A value, lent from the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    raw: &'a [u8],
    kind: Kind<'a>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `i42e`
    Integer(i64),
    /// `4:spam`
    Bytes(&'a [u8]),
    /// `l…e`
    List(Vec<Value<'a>>),
    /// `d…e`
    Dict(Dict<'a>),
}

impl<'a> Value<'a> {
    /// The bytes it was read from, its own `d` and `e` included.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> &Kind<'a> {
        &self.kind
    }

    /// `None` when it is not a number.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        match self.kind {
            Kind::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// `None` when it is not a string.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&'a [u8]> {
        match self.kind {
            Kind::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A string as text, U+FFFD for what is not UTF-8. `None` when it is not a string.
    #[must_use]
    pub fn as_text(&self) -> Option<Cow<'a, str>> {
        self.as_bytes().map(String::from_utf8_lossy)
    }

    /// `None` when it is not a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// `None` when it is not a dictionary.
    #[must_use]
    pub const fn as_dict(&self) -> Option<&Dict<'a>> {
        match &self.kind {
            Kind::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// The same, to be written again: canonical, keys sorted, of equal keys the first.
    #[must_use]
    pub fn to_item(&self) -> Item<'a> {
        match &self.kind {
            Kind::Integer(number) => Item::Integer(*number),
            Kind::Bytes(bytes) => Item::Bytes(Cow::Borrowed(bytes)),
            Kind::List(items) => Item::List(items.iter().map(Self::to_item).collect()),
            Kind::Dict(dict) => Item::Dict(
                dict.iter()
                    .map(|(key, value)| (Cow::Borrowed(key), value.to_item()))
                    .collect(),
            ),
        }
    }
}

/// A dictionary in the order of its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dict<'a> {
    entries: Vec<(&'a [u8], Value<'a>)>,
}

impl<'a> Dict<'a> {
    /// The value of `key`: the first one where there are more.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        self.iter()
            .find(|(have, _)| *have == key)
            .map(|(_, value)| value)
    }

    /// The number under `key`, if it is one.
    #[must_use]
    pub fn integer(&self, key: &[u8]) -> Option<i64> {
        self.get(key)?.as_integer()
    }

    /// The string under `key`, if it is one.
    #[must_use]
    pub fn bytes(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.get(key)?.as_bytes()
    }

    /// The string under `key` as text, if it is one.
    #[must_use]
    pub fn text(&self, key: &[u8]) -> Option<Cow<'a, str>> {
        self.get(key)?.as_text()
    }

    /// The list under `key`, if it is one.
    #[must_use]
    pub fn list(&self, key: &[u8]) -> Option<&[Value<'a>]> {
        self.get(key)?.as_list()
    }

    /// The dictionary under `key`, if it is one.
    #[must_use]
    pub fn dict(&self, key: &[u8]) -> Option<&Self> {
        self.get(key)?.as_dict()
    }

    /// All pairs in the order of the input, repeated keys included.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &Value<'a>)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// How many pairs.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Reads the one value that `bytes` are.
///
/// # Errors
/// Any [`Fault`], [`Fault::TrailingBytes`] included.
pub fn decode(bytes: &[u8]) -> Result<Value<'_>, Error> {
    let (value, used) = decode_prefix(bytes)?;
    if used < bytes.len() {
        return Err(Error {
            offset: used,
            what: Fault::TrailingBytes,
        });
    }
    Ok(value)
}

/// Reads one value from the front of `bytes`; also returns how many bytes it took.
///
/// # Errors
/// Any [`Fault`] but [`Fault::TrailingBytes`].
pub fn decode_prefix(bytes: &[u8]) -> Result<(Value<'_>, usize), Error> {
    let mut reader = Reader { bytes, at: 0 };
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut count = 0;
    loop {
        let start = reader.at;
        let fail = |what| {
            Err(Error {
                offset: start,
                what,
            })
        };
        let byte = reader.peek()?;
        // Inside a dictionary, a string that stands where a key belongs is no value yet.
        if let Some(Open::Dict { key, .. }) = open.last_mut()
            && key.is_none()
            && byte != b'e'
        {
            if !byte.is_ascii_digit() {
                return fail(Fault::KeyNotString);
            }
            *key = Some(reader.string()?);
            continue;
        }
        let (from, kind) = match byte {
            b'i' => {
                reader.at += 1;
                (start, Kind::Integer(reader.number(b'e')?))
            }
            b'0'..=b'9' => (start, Kind::Bytes(reader.string()?)),
            b'l' | b'd' => {
                if open.len() == DEPTH_MAX {
                    return fail(Fault::TooDeep);
                }
                reader.at += 1;
                open.push(if byte == b'l' {
                    Open::List {
                        start,
                        items: Vec::new(),
                    }
                } else {
                    Open::Dict {
                        start,
                        entries: Vec::new(),
                        key: None,
                    }
                });
                continue;
            }
            b'e' => {
                reader.at += 1;
                match open.pop() {
                    Some(Open::List { start, items }) => (start, Kind::List(items)),
                    Some(Open::Dict {
                        start,
                        entries,
                        key: None,
                    }) => (start, Kind::Dict(Dict { entries })),
                    Some(Open::Dict { .. }) => return fail(Fault::KeyWithoutValue),
                    None => return fail(Fault::UnexpectedByte(byte)),
                }
            }
            _ => return fail(Fault::UnexpectedByte(byte)),
        };
        count += 1;
        if count > VALUES_MAX {
            return fail(Fault::TooManyValues);
        }
        let value = Value {
            raw: &bytes[from..reader.at],
            kind,
        };
        match open.last_mut() {
            None => return Ok((value, reader.at)),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Dict { entries, key, .. }) => {
                let key = key.take().expect("a value is only read behind its key");
                entries.push((key, value));
            }
        }
    }
}

/// A list or dictionary whose end has not been read.
enum Open<'a> {
    List {
        start: usize,
        items: Vec<Value<'a>>,
    },
    Dict {
        start: usize,
        entries: Vec<(&'a [u8], Value<'a>)>,
        key: Option<&'a [u8]>,
    },
}

/// A place in the input.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Result<u8, Error> {
        self.bytes.get(self.at).copied().ok_or(Error {
            offset: self.at,
            what: Fault::CutShort,
        })
    }

    /// Decimal digits up to `end`, which is passed over; a minus may stand before them.
    fn number(&mut self, end: u8) -> Result<i64, Error> {
        let bad = Error {
            offset: self.at,
            what: Fault::BadNumber,
        };
        let negative = self.peek()? == b'-';
        if negative {
            self.at += 1;
        }
        // Summed up below zero, where there is room for one more than above it.
        let mut sum: i64 = 0;
        let mut digits = 0;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'0'..=b'9' => {
                    let digit = i64::from(byte - b'0');
                    sum = sum
                        .checked_mul(10)
                        .and_then(|sum| sum.checked_sub(digit))
                        .ok_or(bad)?;
                    digits += 1;
                }
                _ if byte == end && digits > 0 => break,
                _ => return Err(bad),
            }
        }
        if negative {
            Ok(sum)
        } else {
            sum.checked_neg().ok_or(bad)
        }
    }

    /// `<length>:<bytes>`; stands at a digit.
    fn string(&mut self) -> Result<&'a [u8], Error> {
        let offset = self.at;
        let length = self.number(b':')?;
        let rest = &self.bytes[self.at..];
        let found = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length))
            .ok_or(Error {
                offset,
                what: Fault::StringTooLong,
            })?;
        self.at += found.len();
        Ok(found)
    }
}

/// A value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A number.
    Integer(i64),
    /// A string.
    Bytes(Cow<'a, [u8]>),
    /// Values in order.
    List(Vec<Self>),
    /// Pairs in any order: they are written sorted, and of equal keys the first.
    Dict(Vec<(Cow<'a, [u8]>, Self)>),
}

impl<'a> Item<'a> {
    /// A dictionary of these pairs.
    #[must_use]
    pub fn dict<const N: usize>(pairs: [(&'a str, Self); N]) -> Self {
        Self::Dict(
            pairs
                .into_iter()
                .map(|(key, value)| (Cow::Borrowed(key.as_bytes()), value))
                .collect(),
        )
    }

    /// Adds a pair to a dictionary.
    ///
    /// # Panics
    /// When it is not a dictionary: a bug of ours.
    pub fn insert(&mut self, key: &'a str, value: Self) {
        let Self::Dict(pairs) = self else {
            panic!("only a dictionary has keys");
        };
        pairs.push((Cow::Borrowed(key.as_bytes()), value));
    }

    /// As bytes, canonical: sorted keys, no leading zeros (BEP 3).
    ///
    /// # Panics
    /// When it is nested some 2000 levels deep, which nothing of ours is.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_bencode()
            .expect("keys are sorted and distinct, nesting is shallow")
    }
}

impl ToBencode for Item<'_> {
    const MAX_DEPTH: usize = 2000;

    fn encode(&self, encoder: SingleItemEncoder<'_>) -> Result<(), bendy::encoding::Error> {
        match self {
            Self::Integer(number) => encoder.emit_int(*number),
            Self::Bytes(bytes) => encoder.emit_bytes(bytes),
            Self::List(items) => encoder.emit_list(|list: &mut Encoder| {
                items
                    .iter()
                    .try_for_each(|item| list.emit_with(|one| ToBencode::encode(item, one)))
            }),
            Self::Dict(pairs) => {
                let mut sorted: Vec<_> = pairs.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0)); // Stable: of equal keys the first stays first.
                sorted.dedup_by(|later, earlier| later.0 == earlier.0);
                encoder.emit_dict(|mut dict| {
                    sorted.iter().try_for_each(|(key, item)| {
                        dict.emit_pair_with(key, |one| ToBencode::encode(item, one))
                    })
                })
            }
        }
    }
}

impl From<i64> for Item<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl<'a> From<&'a [u8]> for Item<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Item<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(bytes))
    }
}

impl<'a> From<&'a str> for Item<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(Cow::Borrowed(text.as_bytes()))
    }
}

impl FromIterator<Self> for Item<'_> {
    /// A list.
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn integer(bytes: &[u8]) -> Result<i64, Fault> {
        let value = decode(bytes).map_err(|error| error.what)?;
        Ok(value.as_integer().expect("a number"))
    }

    #[test]
    fn numbers_fit_64_bits_or_are_refused() {
        #[rustfmt::skip]
        let table: &[(&[u8], Result<i64, Fault>)] = &[
            (b"i0e",                    Ok(0)),
            (b"i42e",                   Ok(42)),
            (b"i-42e",                  Ok(-42)),
            (b"i007e",                  Ok(7)),
            (b"i-0e",                   Ok(0)),
            (b"i9223372036854775807e",  Ok(i64::MAX)),
            (b"i-9223372036854775808e", Ok(i64::MIN)),
            (b"i9223372036854775808e",  Err(Fault::BadNumber)),
            (b"i-9223372036854775809e", Err(Fault::BadNumber)),
            (b"i99999999999999999999999e", Err(Fault::BadNumber)),
            (b"ie",                     Err(Fault::BadNumber)),
            (b"i-e",                    Err(Fault::BadNumber)),
            (b"i--1e",                  Err(Fault::BadNumber)),
            (b"i1.5e",                  Err(Fault::BadNumber)),
            (b"i+1e",                   Err(Fault::BadNumber)),
            (b"i 1e",                   Err(Fault::BadNumber)),
            (b"i1",                     Err(Fault::CutShort)),
            (b"i",                      Err(Fault::CutShort)),
        ];
        for (bytes, want) in table {
            assert_eq!(integer(bytes), *want, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn faults_are_named_with_their_place() {
        #[rustfmt::skip]
        let table: &[(&[u8], usize, Fault)] = &[
            (b"",                        0,  Fault::CutShort),
            (b"x",                       0,  Fault::UnexpectedByte(b'x')),
            (b"e",                       0,  Fault::UnexpectedByte(b'e')),
            (b"-1:a",                    0,  Fault::UnexpectedByte(b'-')),
            (b"5:spam",                  0,  Fault::StringTooLong),
            (b"99999999999999999999:a",  0,  Fault::BadNumber),
            (b"9223372036854775807:a",   0,  Fault::StringTooLong),
            (b"4spam",                   0,  Fault::BadNumber),
            (b"4",                       1,  Fault::CutShort),
            (b"l",                       1,  Fault::CutShort),
            (b"li1e",                    4,  Fault::CutShort),
            (b"di1ei2ee",                1,  Fault::KeyNotString),
            (b"dlei2ee",                 1,  Fault::KeyNotString),
            (b"d1:ae",                   4,  Fault::KeyWithoutValue),
            (b"d1:a",                    4,  Fault::CutShort),
            (b"i1ei2e",                  3,  Fault::TrailingBytes),
            (b"de\n",                    2,  Fault::TrailingBytes),
        ];
        for &(bytes, offset, what) in table {
            let name = bytes.escape_ascii();
            assert_eq!(decode(bytes), Err(Error { offset, what }), "{name}");
        }
    }

    #[test]
    fn strangers_may_be_untidy() {
        let value = decode(b"d1:bi1e1:ai2e1:bi3e2:ccl02:xxeee").map(|_| ());
        assert_eq!(
            value.map_err(|error| error.what),
            Err(Fault::TrailingBytes),
            "one e too many"
        );
        let bytes = b"d1:bi1e1:ai2e1:bi3e2:ccl02:xxee";
        let value = decode(bytes).unwrap();
        let dict = value.as_dict().unwrap();
        assert_eq!(dict.integer(b"a"), Some(2), "unsorted");
        assert_eq!(dict.integer(b"b"), Some(1), "the first of two");
        assert_eq!(dict.len(), 4);
        let list = dict.list(b"cc").unwrap();
        assert_eq!(list[0].as_bytes(), Some(&b"xx"[..]), "leading zero");
        assert_eq!(dict.get(b"cc").unwrap().raw(), b"l02:xxe");
        assert_eq!(value.raw(), bytes);
        assert_eq!(value.to_item().encode(), b"d1:ai2e1:bi1e2:ccl2:xxee");
        assert_eq!(dict.get(b"d"), None);
        assert_eq!(dict.bytes(b"a"), None, "of another kind");
        assert_eq!(
            decode(b"2:\xff\x41").unwrap().as_text().unwrap(),
            "\u{fffd}A"
        );
    }

    #[test]
    fn a_prefix_says_where_it_ends() {
        let (value, used) = decode_prefix(b"d1:ai1eerest").unwrap();
        assert_eq!((value.raw(), used), (&b"d1:ai1ee"[..], 8));
    }

    #[test]
    fn depth_and_count_are_bounded() {
        let nested = |depth: usize| [b"l".repeat(depth), b"e".repeat(depth)].concat();
        assert!(decode(&nested(DEPTH_MAX)).is_ok());
        let what = |bytes: &[u8]| decode(bytes).map_err(|error| error.what).err();
        assert_eq!(what(&nested(DEPTH_MAX + 1)), Some(Fault::TooDeep));
        assert_eq!(what(&b"l".repeat(1_000_000)), Some(Fault::TooDeep));
        assert_eq!(what(&b"d0:".repeat(1_000_000)), Some(Fault::TooDeep));
        let wide = |count: usize| [b"l".to_vec(), b"le".repeat(count), b"e".to_vec()].concat();
        assert_eq!(what(&wide(VALUES_MAX - 1)), None);
        assert_eq!(what(&wide(VALUES_MAX)), Some(Fault::TooManyValues));
    }

    fn random_item(rng: &mut Rng, depth: usize) -> Item<'static> {
        let mut bytes = vec![0; rng.index(12)];
        rng.fill(&mut bytes);
        match rng.below(if depth == 0 { 2 } else { 4 }) {
            0 => Item::Integer(rng.draw().cast_signed() >> rng.below(64)),
            1 => Item::from(bytes),
            2 => (0..rng.below(5))
                .map(|_| random_item(rng, depth - 1))
                .collect(),
            _ => Item::Dict(
                (0..rng.below(5))
                    .map(|_| {
                        let mut key = vec![0; rng.index(3)];
                        rng.fill(&mut key);
                        (Cow::Owned(key), random_item(rng, depth - 1))
                    })
                    .collect(),
            ),
        }
    }

    #[test]
    fn what_is_written_is_read_and_cut_anywhere_is_refused() {
        let seed = 0xbe2c;
        let mut rng = Rng::new(seed);
        for round in 0..2000 {
            let bytes = random_item(&mut rng, 5).encode();
            let value = decode(&bytes)
                .unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
            assert_eq!(
                value.to_item().encode(),
                bytes,
                "seed {seed}, round {round}"
            );
            for cut in 0..bytes.len().min(64) {
                assert!(
                    decode(&bytes[..cut]).is_err(),
                    "seed {seed}, round {round}, cut at {cut}"
                );
            }
        }
    }
}
