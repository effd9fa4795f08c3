//! Compact forms: addresses (6 or 18 bytes), and nodes, which are an id before an address (26 or 38 bytes; BEP 5, 32).

use std::net::SocketAddr;

use super::NodeId;
use crate::codec::address::{self, V4_BYTES, V6_BYTES};

/// Bytes of a node's id.
pub const ID_BYTES: usize = 20;
/// Bytes of a node with an IPv4 address.
pub const NODE_BYTES: usize = ID_BYTES + V4_BYTES;
/// Bytes of a node with an IPv6 address.
pub const NODE6_BYTES: usize = ID_BYTES + V6_BYTES;

/// A node by name and address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// Where it is.
    pub address: SocketAddr,
}

/// Reads an address of either family, by its length.
#[must_use]
pub fn address(bytes: &[u8]) -> Option<SocketAddr> {
    if let Ok(v4) = bytes.try_into() {
        return Some(address::decode_v4(v4));
    }
    Some(address::decode_v6(bytes.try_into().ok()?))
}

/// The nodes of a `nodes` string; an unfinished one at the end is ignored.
pub fn nodes(bytes: &[u8]) -> impl Iterator<Item = Node> + '_ {
    bytes.as_chunks::<NODE_BYTES>().0.iter().filter_map(node)
}

/// The nodes of a `nodes6` string; an unfinished one at the end is ignored, and so are IPv4 addresses in IPv6 dress.
pub fn nodes6(bytes: &[u8]) -> impl Iterator<Item = Node> + '_ {
    let all = bytes.as_chunks::<NODE6_BYTES>().0.iter().filter_map(node);
    all.filter(|node| node.address.is_ipv6())
}

fn node<const N: usize>(bytes: &[u8; N]) -> Option<Node> {
    let (id, rest) = bytes.split_first_chunk()?;
    Some(Node {
        id: NodeId(*id),
        address: address(rest)?,
    })
}

/// Writes nodes, all of one family.
#[must_use]
pub fn encode_nodes(nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nodes.len() * NODE6_BYTES);
    for node in nodes {
        out.extend_from_slice(&node.id.0);
        address::encode(node.address, &mut out);
    }
    out
}
