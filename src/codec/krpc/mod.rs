//! The messages of the DHT (BEP 5), one datagram each: queries, answers, errors.
//!
//! ```text
//! query   d 1:a d 2:id <20> …arguments… e  1:q <method>  2:ro i1e?  1:t <transaction> 1:v <4>? 1:y 1:q e
//! answer  d 2:ip <6 or 18>?  1:r d 2:id <20> …results… e            1:t <transaction> 1:v <4>? 1:y 1:r e
//! error   d 1:e l i<code>e <text> e                                  1:t <transaction> 1:v <4>? 1:y 1:e e
//! ```
//!
//! | method | arguments | results |
//! | --- | --- | --- |
//! | `ping` | | |
//! | `find_node` | `target`, `want` | `nodes`, `nodes6` |
//! | `get_peers` | `info_hash`, `want`, `scrape`, `noseed` | `values`, `token`, `nodes`, `nodes6`; `BFsd`, `BFpe` (BEP 33) |
//! | `announce_peer` | `info_hash`, `port`, `implied_port`, `token`, `seed` | |
//! | `get` (BEP 44) | `target`, `seq`, `want` | `v`, `k`, `sig`, `seq`, `token`, `nodes`, `nodes6` |
//! | `put` (BEP 44) | `token`, `v`, `k`, `sig`, `seq`, `salt`, `cas` | |
//! | `sample_infohashes` (BEP 51) | `target`, `want` | `samples`, `num`, `interval`, `nodes`, `nodes6` |
//!
//! Also of BEP 32 (IPv6), 42 (`ip`) and 43 (`ro`). Read leniently: a field of a wrong kind is as good as none, unless the
//! message makes no sense without it. What is read borrows from the datagram; its memory is bounded by [`DATAGRAM_MAX`].

mod answer;
pub mod bloom;
pub mod compact;
mod query;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use super::address;
use super::bencode::{self, Dict, Item, Value};

pub use answer::{Answer, Samples, Stored};
pub use query::{Announce, Method, Put, Signed, Want};

/// Longest datagram that is read. Honest ones fit an Ethernet frame; longer ones are ignored.
pub const DATAGRAM_MAX: usize = 2048;

/// Longest transaction that is read, and so repeated; clients in the field use up to 8 bytes. A longer one is refused.
pub const TRANSACTION_MAX: usize = 32;

/// Longest token that is read: those in the field have up to 20 bytes. A longer one is as good as none.
pub const TOKEN_MAX: usize = 32;

/// Bytes of a stored value in its bencoded form, at most (BEP 44). More is refused.
pub const VALUE_MAX: usize = 1000;

/// Bytes of a salt, at most (BEP 44). More is refused.
pub const SALT_MAX: usize = 64;

/// How we name ourselves in `v`: client and version, as in the peer-id.
pub const VERSION: &[u8; 4] = b"LN\x01\x00";

/// The name of a node, or what is looked for: a place in a space of 160 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub [u8; 20]);

impl NodeId {
    /// How far it is from `other`: the bits in which they differ (BEP 5).
    #[must_use]
    pub fn distance(&self, other: &Self) -> Self {
        let mut distance = [0; 20];
        for (out, (a, b)) in distance.iter_mut().zip(self.0.iter().zip(&other.0)) {
            *out = a ^ b;
        }
        Self(distance)
    }

    /// How many bits it has in common with `other`, from the front: 0 to 160.
    #[must_use]
    pub fn shared_bits(&self, other: &Self) -> usize {
        let mut bits = 0;
        for byte in self.distance(other).0 {
            bits += byte.leading_zeros() as usize;
            if byte != 0 {
                break;
            }
        }
        bits
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Chosen by who asks, repeated by who answers.
    pub transaction: &'a [u8],
    /// What it is.
    pub body: Body<'a>,
}

/// What a datagram is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A question.
    Query {
        /// Who asks.
        sender: NodeId,
        /// Whether the sender answers no questions, and so belongs in no table (BEP 43).
        read_only: bool,
        /// What is asked.
        method: Method<'a>,
    },
    /// An answer. What it is to, only its transaction says.
    Answer {
        /// The receiver's address as the sender sees it (BEP 42).
        ip: Option<SocketAddr>,
        /// What it says.
        answer: Box<Answer<'a>>,
    },
    /// The question was refused.
    Error {
        /// One of [`ErrorCode`], or anything else.
        code: i64,
    },
}

/// Why we refuse a question (BEP 5, 44).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// A bad argument, or a bad token.
    Protocol,
    /// A method that we do not know.
    UnknownMethod,
    /// The value is too long.
    ValueTooBig,
    /// The signature is wrong.
    BadSignature,
    /// The salt is too long.
    SaltTooBig,
    /// The sequence number is not the one that the sender expects.
    CasMismatch,
    /// The sequence number is lower than the one that is there.
    SeqTooLow,
}

impl ErrorCode {
    /// As on the wire.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Protocol => 203,
            Self::UnknownMethod => 204,
            Self::ValueTooBig => 205,
            Self::BadSignature => 206,
            Self::SaltTooBig => 207,
            Self::CasMismatch => 301,
            Self::SeqTooLow => 302,
        }
    }

    /// As on the wire, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Protocol => "bad argument or token",
            Self::UnknownMethod => "unknown method",
            Self::ValueTooBig => "the value is longer than 1000 bytes",
            Self::BadSignature => "the signature is wrong",
            Self::SaltTooBig => "the salt is longer than 64 bytes",
            Self::CasMismatch => "another sequence number is stored",
            Self::SeqTooLow => "a higher sequence number is stored",
        }
    }
}

/// A datagram that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed<'a> {
    /// Not a message of the DHT at all.
    Noise,
    /// A question that makes no sense, but whose sender can be told so.
    Question {
        /// Goes into the refusal.
        transaction: &'a [u8],
        /// Why.
        why: ErrorCode,
    },
}

/// Reads one datagram.
///
/// # Errors
/// [`Malformed::Noise`] for what nobody can answer, [`Malformed::Question`] for what deserves a refusal.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, Malformed<'_>> {
    if bytes.len() > DATAGRAM_MAX {
        return Err(Malformed::Noise);
    }
    let (value, _) = bencode::decode_prefix(bytes).map_err(|_| Malformed::Noise)?;
    let dict = value.as_dict().ok_or(Malformed::Noise)?;
    let transaction = dict.bytes(b"t").unwrap_or_default();
    if transaction.len() > TRANSACTION_MAX {
        return Err(Malformed::Noise);
    }
    let body = match dict.bytes(b"y") {
        Some(b"q") => {
            let refuse = |why| Malformed::Question { transaction, why };
            let arguments = dict.dict(b"a").ok_or(refuse(ErrorCode::Protocol))?;
            let sender = id_of(arguments, b"id").ok_or(refuse(ErrorCode::Protocol))?;
            let name = dict.bytes(b"q").ok_or(refuse(ErrorCode::Protocol))?;
            let method = Method::decode(name, arguments).map_err(refuse)?;
            Body::Query {
                sender,
                read_only: is_set(dict, b"ro"),
                method,
            }
        }
        Some(b"r") => Body::Answer {
            ip: dict.bytes(b"ip").and_then(compact::address),
            answer: dict
                .dict(b"r")
                .and_then(Answer::decode)
                .map(Box::new)
                .ok_or(Malformed::Noise)?,
        },
        Some(b"e") => {
            let list = dict.list(b"e").unwrap_or_default();
            let code = list.first().and_then(Value::as_integer);
            Body::Error {
                code: code.unwrap_or(0),
            }
        }
        _ => return Err(Malformed::Noise),
    };
    Ok(Message { transaction, body })
}

/// Writes a question.
#[must_use]
pub fn encode_query(
    transaction: &[u8],
    sender: &NodeId,
    read_only: bool,
    method: &Method<'_>,
) -> Vec<u8> {
    let mut arguments = Item::dict([("id", Item::from(&sender.0[..]))]);
    method.arguments(&mut arguments);
    let mut message = Item::dict([
        ("a", arguments),
        ("q", Item::from(method.name())),
        ("t", Item::from(transaction)),
        ("v", Item::from(&VERSION[..])),
        ("y", Item::from("q")),
    ]);
    if read_only {
        message.insert("ro", Item::Integer(1));
    }
    message.encode()
}

/// Writes an answer to who is at `to`.
#[must_use]
pub fn encode_answer(transaction: &[u8], to: SocketAddr, answer: &Answer<'_>) -> Vec<u8> {
    let mut ip = Vec::with_capacity(address::V6_BYTES);
    address::encode(to, &mut ip);
    Item::dict([
        ("ip", Item::from(ip)),
        ("r", answer.results()),
        ("t", Item::from(transaction)),
        ("v", Item::from(&VERSION[..])),
        ("y", Item::from("r")),
    ])
    .encode()
}

/// Writes a refusal.
#[must_use]
pub fn encode_error(transaction: &[u8], why: ErrorCode) -> Vec<u8> {
    let error = [Item::Integer(why.code()), Item::from(why.text())];
    Item::dict([
        ("e", error.into_iter().collect()),
        ("t", Item::from(transaction)),
        ("v", Item::from(&VERSION[..])),
        ("y", Item::from("e")),
    ])
    .encode()
}

fn id_of(dict: &Dict<'_>, key: &[u8]) -> Option<NodeId> {
    dict.bytes(key)?.try_into().ok().map(NodeId)
}

fn is_set(dict: &Dict<'_>, key: &[u8]) -> bool {
    dict.integer(key).is_some_and(|number| number != 0)
}

/// A value that was read, to be written as it was. What is not bencoded becomes an empty string.
fn raw(bytes: &[u8]) -> Item<'_> {
    bencode::decode(bytes).map_or(Item::from(&b""[..]), |value| value.to_item())
}
