//! What a question asks.

use super::{ErrorCode, NodeId, SALT_MAX, TOKEN_MAX, VALUE_MAX, id_of, is_set, raw};
use crate::codec::bencode::{Dict, Item};
use crate::ids::InfoHash;

/// The families of nodes that the sender would like (BEP 32). Neither: the one the question came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `n4`
    pub v4: bool,
    /// `n6`
    pub v6: bool,
}

impl Want {
    fn decode(arguments: &Dict<'_>) -> Self {
        let list = arguments.list(b"want").unwrap_or_default();
        let has = |name: &[u8]| list.iter().any(|item| item.as_bytes() == Some(name));
        Self {
            v4: has(b"n4"),
            v6: has(b"n6"),
        }
    }

    fn encode(self, arguments: &mut Item<'_>) {
        let names = [(self.v4, "n4"), (self.v6, "n6")];
        let list: Vec<_> = (names.into_iter())
            .filter(|(is, _)| *is)
            .map(|(_, name)| Item::from(name))
            .collect();
        if !list.is_empty() {
            arguments.insert("want", Item::List(list));
        }
    }
}

/// A question and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// Are you there?
    Ping,
    /// Who is near `target`? Also stands for unknown methods that name a target, as BEP 5 asks for.
    FindNode {
        /// A place.
        target: NodeId,
        /// Families.
        want: Want,
    },
    /// Who has this torrent?
    GetPeers {
        /// Which.
        info_hash: InfoHash,
        /// Families.
        want: Want,
        /// Whether filters that count the peers are asked for (BEP 33).
        scrape: bool,
        /// Whether seeds are of no use (BEP 33).
        noseed: bool,
    },
    /// I have this torrent.
    AnnouncePeer(Announce<'a>),
    /// What is stored at this place (BEP 44)?
    Get {
        /// The place.
        target: NodeId,
        /// Only when it is newer than this.
        seq: Option<i64>,
        /// Families.
        want: Want,
    },
    /// Store this (BEP 44).
    Put(Put<'a>),
    /// Of which torrents do you know (BEP 51)?
    SampleInfohashes {
        /// A place, for the nodes in the answer.
        target: NodeId,
        /// Families.
        want: Want,
    },
}

/// Who trades in what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce<'a> {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// The TCP and uTP port.
    pub port: u16,
    /// Whether the port that the datagram comes from counts instead: right behind a NAT.
    pub implied_port: bool,
    /// As it was given out to the sender's address.
    pub token: &'a [u8],
    /// Whether the sender has all of it (BEP 33).
    pub seed: bool,
}

/// What is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put<'a> {
    /// As it was given out to the sender's address.
    pub token: &'a [u8],
    /// The value in its bencoded form.
    pub value: &'a [u8],
    /// Whose it is; `None` when it is immutable, named by its own hash.
    pub signed: Option<Signed<'a>>,
    /// Stored only over this sequence number.
    pub cas: Option<i64>,
}

/// What makes a stored value somebody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// An ed25519 key.
    pub key: &'a [u8; 32],
    /// Tells several values of one key apart.
    pub salt: &'a [u8],
    /// Grows with each new value.
    pub seq: i64,
    /// Of salt, sequence number and value.
    pub signature: &'a [u8; 64],
}

impl<'a> Method<'a> {
    /// As on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::FindNode { .. } => "find_node",
            Self::GetPeers { .. } => "get_peers",
            Self::AnnouncePeer(_) => "announce_peer",
            Self::Get { .. } => "get",
            Self::Put(_) => "put",
            Self::SampleInfohashes { .. } => "sample_infohashes",
        }
    }

    /// Reads the arguments of the method `name`.
    ///
    /// # Errors
    /// What the sender is told.
    pub(super) fn decode(name: &[u8], arguments: &Dict<'a>) -> Result<Self, ErrorCode> {
        let target = || id_of(arguments, b"target").ok_or(ErrorCode::Protocol);
        let info_hash = || {
            let id = id_of(arguments, b"info_hash").ok_or(ErrorCode::Protocol);
            id.map(|id| InfoHash(id.0))
        };
        let want = Want::decode(arguments);
        Ok(match name {
            b"ping" => Self::Ping,
            b"find_node" => Self::FindNode {
                target: target()?,
                want,
            },
            b"get_peers" => Self::GetPeers {
                info_hash: info_hash()?,
                want,
                scrape: is_set(arguments, b"scrape"),
                noseed: is_set(arguments, b"noseed"),
            },
            b"announce_peer" => Self::AnnouncePeer(Announce {
                info_hash: info_hash()?,
                implied_port: is_set(arguments, b"implied_port"),
                port: announced_port(arguments)?,
                token: token(arguments),
                seed: is_set(arguments, b"seed"),
            }),
            b"get" => Self::Get {
                target: target()?,
                seq: arguments.integer(b"seq"),
                want,
            },
            b"put" => Self::Put(Put::decode(arguments)?),
            b"sample_infohashes" => Self::SampleInfohashes {
                target: target()?,
                want,
            },
            _ => {
                let near = id_of(arguments, b"target").or_else(|| id_of(arguments, b"info_hash"));
                Self::FindNode {
                    target: near.ok_or(ErrorCode::UnknownMethod)?,
                    want,
                }
            }
        })
    }

    /// Adds the arguments to those that every question has.
    pub(super) fn arguments(&self, out: &mut Item<'a>) {
        match *self {
            Self::Ping => {}
            Self::FindNode { target, want } | Self::SampleInfohashes { target, want } => {
                out.insert("target", Item::from(target.0.to_vec()));
                want.encode(out);
            }
            Self::GetPeers {
                info_hash,
                want,
                scrape,
                noseed,
            } => {
                out.insert("info_hash", Item::from(info_hash.0.to_vec()));
                want.encode(out);
                set(out, "scrape", scrape);
                set(out, "noseed", noseed);
            }
            Self::AnnouncePeer(announce) => {
                out.insert("info_hash", Item::from(announce.info_hash.0.to_vec()));
                out.insert("port", Item::Integer(announce.port.into()));
                out.insert("token", Item::from(announce.token));
                set(out, "implied_port", announce.implied_port);
                set(out, "seed", announce.seed);
            }
            Self::Get { target, seq, want } => {
                out.insert("target", Item::from(target.0.to_vec()));
                if let Some(seq) = seq {
                    out.insert("seq", Item::Integer(seq));
                }
                want.encode(out);
            }
            Self::Put(put) => {
                out.insert("token", Item::from(put.token));
                out.insert("v", raw(put.value));
                if let Some(cas) = put.cas {
                    out.insert("cas", Item::Integer(cas));
                }
                if let Some(signed) = put.signed {
                    out.insert("k", Item::from(&signed.key[..]));
                    out.insert("seq", Item::Integer(signed.seq));
                    out.insert("sig", Item::from(&signed.signature[..]));
                    if !signed.salt.is_empty() {
                        out.insert("salt", Item::from(signed.salt));
                    }
                }
            }
        }
    }
}

impl<'a> Put<'a> {
    fn decode(arguments: &Dict<'a>) -> Result<Self, ErrorCode> {
        let value = arguments.get(b"v").ok_or(ErrorCode::Protocol)?.raw();
        if value.len() > VALUE_MAX {
            return Err(ErrorCode::ValueTooBig);
        }
        let signed = match arguments.bytes(b"k") {
            None => None,
            Some(key) => {
                let salt = arguments.bytes(b"salt").unwrap_or_default();
                if salt.len() > SALT_MAX {
                    return Err(ErrorCode::SaltTooBig);
                }
                let signature = arguments.bytes(b"sig").unwrap_or_default();
                Some(Signed {
                    key: key.try_into().map_err(|_| ErrorCode::Protocol)?,
                    salt,
                    seq: arguments.integer(b"seq").ok_or(ErrorCode::Protocol)?,
                    signature: signature.try_into().map_err(|_| ErrorCode::Protocol)?,
                })
            }
        };
        Ok(Self {
            token: token(arguments),
            value,
            signed,
            cas: arguments.integer(b"cas").filter(|_| signed.is_some()),
        })
    }
}

fn token<'a>(arguments: &Dict<'a>) -> &'a [u8] {
    let token = arguments.bytes(b"token").unwrap_or_default();
    if token.len() > TOKEN_MAX { &[] } else { token }
}

/// A port of 0 is none, which is well only when it is not looked at.
fn announced_port(arguments: &Dict<'_>) -> Result<u16, ErrorCode> {
    let port = arguments.integer(b"port");
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    if port == 0 && !is_set(arguments, b"implied_port") {
        return Err(ErrorCode::Protocol);
    }
    Ok(port)
}

fn set(out: &mut Item<'_>, key: &'static str, is: bool) {
    if is {
        out.insert(key, Item::Integer(1));
    }
}
