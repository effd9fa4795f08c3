//! What an answer says.

use std::net::SocketAddr;

use super::bloom::{Bloom, FILTER_BYTES};
use super::{NodeId, TOKEN_MAX, VALUE_MAX, compact, id_of, raw};
use crate::codec::address;
use crate::codec::bencode::{Dict, Item, Value};

/// An answer to any question: all methods share one set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Who answers.
    pub id: NodeId,
    /// Compact nodes, IPv4; read them with [`compact::nodes`].
    pub nodes: &'a [u8],
    /// Compact nodes, IPv6; read them with [`compact::nodes6`].
    pub nodes6: &'a [u8],
    /// Peers of the torrent.
    pub values: Vec<SocketAddr>,
    /// Lets the receiver announce or store here for a few minutes; empty when there is none.
    pub token: &'a [u8],
    /// What is stored here.
    pub stored: Stored<'a>,
    /// Filters that count seeds and others (BEP 33).
    pub filters: Option<(Bloom, Bloom)>,
    /// Torrents known here (BEP 51).
    pub samples: Option<Samples<'a>>,
}

/// A stored value (BEP 44). The key of a mutable one may come without the value, when the asker has it already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored<'a> {
    /// In its bencoded form; empty when there is none.
    pub value: &'a [u8],
    /// Of a mutable one: whose it is.
    pub key: Option<&'a [u8; 32]>,
    /// Of a mutable one.
    pub signature: Option<&'a [u8; 64]>,
    /// Of a mutable one.
    pub seq: Option<i64>,
}

/// Some of the torrents that a node knows (BEP 51).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Samples<'a> {
    /// 20 bytes each, one behind the other.
    pub hashes: &'a [u8],
    /// How many it knows.
    pub count: u32,
    /// Seconds until there are other samples.
    pub interval: u32,
}

impl<'a> Answer<'a> {
    /// `None` when it does not say who answers.
    pub(super) fn decode(results: &Dict<'a>) -> Option<Self> {
        let values = results.list(b"values").unwrap_or_default();
        let token = results.bytes(b"token").unwrap_or_default();
        let value = results.get(b"v").map_or(&[][..], Value::raw);
        let filter = |key| Bloom::read(results.bytes(key)?);
        let count = |key| u32::try_from(results.integer(key).unwrap_or(0)).unwrap_or(0);
        Some(Self {
            id: id_of(results, b"id")?,
            nodes: results.bytes(b"nodes").unwrap_or_default(),
            nodes6: results.bytes(b"nodes6").unwrap_or_default(),
            values: (values.iter())
                .filter_map(|value| compact::address(value.as_bytes()?))
                .collect(),
            token: if token.len() > TOKEN_MAX { &[] } else { token },
            stored: Stored {
                value: if value.len() > VALUE_MAX { &[] } else { value },
                key: results.bytes(b"k").and_then(|key| key.try_into().ok()),
                signature: results.bytes(b"sig").and_then(|sig| sig.try_into().ok()),
                seq: results.integer(b"seq"),
            },
            filters: filter(b"BFsd").zip(filter(b"BFpe")),
            samples: results.bytes(b"samples").map(|hashes| Samples {
                hashes,
                count: count(b"num"),
                interval: count(b"interval"),
            }),
        })
    }

    /// The dictionary under `r`.
    pub(super) fn results(&self) -> Item<'_> {
        let mut out = Item::dict([("id", Item::from(&self.id.0[..]))]);
        let texts = [
            ("nodes", self.nodes),
            ("nodes6", self.nodes6),
            ("token", self.token),
        ];
        for (key, text) in texts {
            if !text.is_empty() {
                out.insert(key, Item::from(text));
            }
        }
        if !self.values.is_empty() {
            let values = self.values.iter().map(|value| {
                let mut bytes = Vec::with_capacity(address::V6_BYTES);
                address::encode(*value, &mut bytes);
                Item::from(bytes)
            });
            out.insert("values", values.collect());
        }
        let stored = &self.stored;
        if !stored.value.is_empty() {
            out.insert("v", raw(stored.value));
        }
        if let Some(key) = stored.key {
            out.insert("k", Item::from(&key[..]));
        }
        if let Some(signature) = stored.signature {
            out.insert("sig", Item::from(&signature[..]));
        }
        if let Some(seq) = stored.seq {
            out.insert("seq", Item::Integer(seq));
        }
        if let Some((seeds, others)) = &self.filters {
            const _: () = assert!(FILTER_BYTES == 256, "as BEP 33 has it");
            out.insert("BFsd", Item::from(seeds.bytes()));
            out.insert("BFpe", Item::from(others.bytes()));
        }
        if let Some(samples) = self.samples {
            out.insert("samples", Item::from(samples.hashes));
            out.insert("num", Item::Integer(samples.count.into()));
            out.insert("interval", Item::Integer(samples.interval.into()));
        }
        out
    }
}
