//! Values that others have stored with us (BEP 44): immutable ones, named by their hash, and mutable ones, named by a key
//! and signed with it. Bounded, and forgotten unless they are stored again.

use std::collections::BTreeMap;

use crate::codec::bencode;
use crate::codec::krpc::{ErrorCode, NodeId, Put, Signed, Stored};
use crate::hash;
use crate::time::{Duration, Instant};

/// Values; for one more, the one farthest from our name goes, as with [`super::peers`].
pub const ITEMS_MAX: usize = 1024;
/// A value is kept for so long after it was stored last (BEP 44).
pub const EXPIRE: Duration = Duration::from_secs(2 * 60 * 60);

#[derive(Clone, Debug)]
struct Item {
    value: Vec<u8>,
    signed: Option<Seal>,
    at: Instant,
}

#[derive(Clone, Debug)]
struct Seal {
    key: [u8; 32],
    signature: [u8; 64],
    seq: i64,
}

/// Stored values, by the distance of their place from our name.
#[derive(Clone, Debug)]
pub struct Items {
    own: NodeId,
    items: BTreeMap<NodeId, Item>,
    sweep_at: Instant,
}

impl Items {
    /// None.
    #[must_use]
    pub const fn new(own: NodeId) -> Self {
        Self {
            own,
            items: BTreeMap::new(),
            sweep_at: Instant::ZERO,
        }
    }

    /// We have another name.
    pub fn rename(&mut self, own: NodeId) {
        let items = std::mem::take(&mut self.items);
        let place = |key: NodeId| key.distance(&self.own).distance(&own);
        self.items = (items.into_iter())
            .map(|(key, item)| (place(key), item))
            .collect();
        self.own = own;
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What is stored at `target`. Who has sequence number `newer_than` already gets only the number that is there.
    #[must_use]
    pub fn get(&self, target: &NodeId, newer_than: Option<i64>, now: Instant) -> Stored<'_> {
        let item = self.items.get(&target.distance(&self.own));
        let Some(item) = item.filter(|item| now.since(item.at) < EXPIRE) else {
            return Stored::default();
        };
        match &item.signed {
            Some(seal) if newer_than.is_some_and(|seq| seal.seq <= seq) => Stored {
                seq: Some(seal.seq),
                ..Stored::default()
            },
            Some(seal) => Stored {
                value: &item.value,
                key: Some(&seal.key),
                signature: Some(&seal.signature),
                seq: Some(seal.seq),
            },
            None => Stored {
                value: &item.value,
                ..Stored::default()
            },
        }
    }

    /// Stores a value. The token was looked at.
    ///
    /// # Errors
    /// What the sender is told.
    pub fn put(&mut self, put: &Put<'_>, now: Instant) -> Result<(), ErrorCode> {
        // Names and signatures are of the bytes as they are, so they must be as everybody writes them.
        let value = bencode::decode(put.value).map_err(|_| ErrorCode::Protocol)?;
        if value.to_item().encode() != put.value {
            return Err(ErrorCode::Protocol);
        }
        self.sweep(now);
        let target = target_of(put);
        let key = target.distance(&self.own);
        let old = self
            .items
            .get(&key)
            .filter(|item| now.since(item.at) < EXPIRE);
        if let (Some(signed), Some(old)) = (&put.signed, old.and_then(|item| item.signed.as_ref()))
        {
            if put.cas.is_some_and(|cas| cas != old.seq) {
                return Err(ErrorCode::CasMismatch);
            }
            if signed.seq < old.seq {
                return Err(ErrorCode::SeqTooLow);
            }
        }
        if old.is_none() && self.items.len() >= ITEMS_MAX {
            let farthest = self.items.last_key_value().map(|(key, _)| *key);
            if farthest.is_some_and(|farthest| farthest < key) {
                // Nobody is refused for our lack of room: the others nearer to it will have it.
                return Ok(());
            }
        }
        if let Some(signed) = &put.signed
            && !is_signed(signed, put.value)
        {
            return Err(ErrorCode::BadSignature);
        }
        let item = Item {
            value: put.value.to_vec(),
            signed: put.signed.map(|signed| Seal {
                key: *signed.key,
                signature: *signed.signature,
                seq: signed.seq,
            }),
            at: now,
        };
        self.items.insert(key, item);
        if self.items.len() > ITEMS_MAX {
            self.items.pop_last();
        }
        Ok(())
    }

    fn sweep(&mut self, now: Instant) {
        const EVERY: Duration = Duration::from_secs(60);
        if now >= self.sweep_at {
            self.sweep_at = now + EVERY;
            self.items.retain(|_, item| now.since(item.at) < EXPIRE);
        }
    }
}

/// Where a value belongs: at its own hash, or at that of its key and salt.
#[must_use]
pub fn target_of(put: &Put<'_>) -> NodeId {
    NodeId(match &put.signed {
        Some(signed) => hash::sha1_parts(&[signed.key, signed.salt]),
        None => hash::sha1(put.value),
    })
}

/// The bytes that are signed: salt, sequence number and value as they would stand in a dictionary (BEP 44).
#[must_use]
pub fn signed_bytes(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(salt.len() + value.len() + 48);
    if !salt.is_empty() {
        bytes.extend_from_slice(format!("4:salt{}:", salt.len()).as_bytes());
        bytes.extend_from_slice(salt);
    }
    bytes.extend_from_slice(format!("3:seqi{seq}e1:v").as_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn is_signed(signed: &Signed<'_>, value: &[u8]) -> bool {
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, signed.key);
    let bytes = signed_bytes(signed.salt, signed.seq, value);
    key.verify(&bytes, signed.signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = b"12:Hello World!";

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    fn put<'a>(signed: Option<Signed<'a>>, value: &'a [u8], cas: Option<i64>) -> Put<'a> {
        Put {
            token: b"",
            value,
            signed,
            cas,
        }
    }

    /// The vectors of BEP 44.
    #[test]
    fn values_are_named_and_signed_as_in_the_bep() {
        let key = bytes("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548");
        let plain = bytes(
            "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
             1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
        );
        let salted = bytes(
            "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
             df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
        );
        let signed = |salt, signature| Signed {
            key: &key,
            salt,
            seq: 1,
            signature,
        };
        #[rustfmt::skip]
        let table = [
            ("mutable",   put(Some(signed(b"", &plain)), VALUE, None),        "4a533d47ec9c7d95b1ad75f576cffc641853b750", Ok(())),
            ("salted",    put(Some(signed(b"foobar", &salted)), VALUE, None), "411eba73b6f087ca51a3795d9c8c938d365e32c1", Ok(())),
            ("immutable", put(None, VALUE, None),                             "e5f96f6f38320f0f33959cb4d3d656452117aadb", Ok(())),
            ("the other's signature", put(Some(signed(b"foobar", &plain)), VALUE, None), "411eba73b6f087ca51a3795d9c8c938d365e32c1", Err(ErrorCode::BadSignature)),
            ("another value", put(Some(signed(b"", &plain)), b"3:lie", None), "4a533d47ec9c7d95b1ad75f576cffc641853b750", Err(ErrorCode::BadSignature)),
            ("not canonical", put(None, b"d1:bi1e1:ai2ee", None),             "", Err(ErrorCode::Protocol)),
            ("another seq expected", put(Some(signed(b"", &plain)), VALUE, Some(7)), "4a533d47ec9c7d95b1ad75f576cffc641853b750", Err(ErrorCode::CasMismatch)),
        ];
        let mut items = Items::new(NodeId::default());
        for (name, put, target, want) in table {
            assert_eq!(items.put(&put, Instant::ZERO), want, "{name}");
            if !target.is_empty() {
                assert_eq!(target_of(&put), NodeId(bytes(target)), "{name}");
                assert_eq!(
                    items.get(&target_of(&put), None, Instant::ZERO).value,
                    VALUE,
                    "{name}"
                );
            }
        }
        let place = NodeId(bytes("4a533d47ec9c7d95b1ad75f576cffc641853b750"));
        let newer = items.get(&place, Some(1), Instant::ZERO);
        assert_eq!((newer.value, newer.seq), (&b""[..], Some(1)), "it has it");
        assert_eq!(items.get(&place, Some(0), Instant::ZERO).value, VALUE);
        assert_eq!(items.get(&place, None, Instant::ZERO + EXPIRE).value, b"");
    }

    #[test]
    fn newer_values_replace_older_ones_and_room_is_bounded() {
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
        let key: [u8; 32] = ring::signature::KeyPair::public_key(&pair)
            .as_ref()
            .try_into()
            .unwrap();
        let sign = |seq, value: &[u8]| -> [u8; 64] {
            pair.sign(&signed_bytes(b"", seq, value))
                .as_ref()
                .try_into()
                .unwrap()
        };
        let mut items = Items::new(NodeId::default());
        let now = Instant::ZERO;
        for (seq, value, want) in [
            (5, &b"1:a"[..], Ok(())),
            (6, b"1:b", Ok(())),
            (5, b"1:a", Err(ErrorCode::SeqTooLow)),
        ] {
            let signature = sign(seq, value);
            let signed = Signed {
                key: &key,
                salt: b"",
                seq,
                signature: &signature,
            };
            assert_eq!(
                items.put(&put(Some(signed), value, None), now),
                want,
                "{seq}"
            );
        }
        let target = NodeId(hash::sha1(&key));
        assert_eq!(items.get(&target, None, now).value, b"1:b");
        for n in 0..2000 {
            let value = format!("i{n}e");
            assert_eq!(items.put(&put(None, value.as_bytes(), None), now), Ok(()));
        }
        assert_eq!(items.len(), ITEMS_MAX);
        items.rename(NodeId([0xff; 20]));
        assert_eq!(items.len(), ITEMS_MAX);
        items.sweep(now + EXPIRE);
        assert!(items.is_empty());
    }
}
