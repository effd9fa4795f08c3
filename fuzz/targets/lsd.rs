//! Any bytes as a search of our network: bounded, and what is written again is read the same.

use linnet::codec::lsd::{HASHES_MAX, Search};

/// One case.
pub fn run(bytes: &[u8]) {
    let Some(search) = Search::decode(bytes) else {
        return;
    };
    assert!(search.port != 0);
    assert!((1..=HASHES_MAX).contains(&search.hashes.len()));
    for v6 in [false, true] {
        let again = search.encode(v6);
        assert!(again.len() <= 1400);
        assert_eq!(Search::decode(&again).as_ref(), Some(&search));
    }
}
