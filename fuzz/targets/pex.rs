//! Any bytes as a message of `ut_pex`: bounded, and what is written again is read the same.

use linnet::codec::pex::{PEX_PEERS_MAX, Pex};

/// One case.
pub fn run(bytes: &[u8]) {
    let Some(mut pex) = Pex::decode(bytes) else {
        return;
    };
    assert!(pex.added.len() <= PEX_PEERS_MAX && pex.dropped.len() <= PEX_PEERS_MAX);
    // An IPv4 address that came dressed as IPv6 is written among those of IPv4.
    pex.added.sort_by_key(|(peer, _)| peer.is_ipv6());
    pex.dropped.sort_by_key(|peer| peer.is_ipv6());
    assert_eq!(Pex::decode(&pex.encode()), Some(pex));
}
