//! Any bytes as the other side of an encryption handshake: refused in time, or agreed with what comes behind it kept.
//!
//! Shape: `<options: u8> <bytes>`; bit 0 is the side we are on, bit 1 whether the bytes stand where a key of ours is known (after
//! an honest one of theirs), bits 2 to 4 how the rest is cut.

use linnet::codec::mse::{Exchange, KEY_BYTES, Methods, Next, PAD_MAX, torrent_mark};
use linnet::ids::InfoHash;
use linnet::rng::Rng;

const TORRENT: InfoHash = InfoHash([5; 20]);

/// One case.
pub fn run(bytes: &[u8]) {
    let Some((&options, rest)) = bytes.split_first() else {
        return;
    };
    let mut rng = Rng::new(1);
    let dials = options & 1 == 1;
    let mut exchange = if dials {
        Exchange::dial(TORRENT, Methods::BOTH, b"first".to_vec())
    } else {
        Exchange::answer(Methods::BOTH)
    };
    if dials {
        let said = exchange.turn(&mut rng);
        assert!((KEY_BYTES..=KEY_BYTES + PAD_MAX).contains(&said.len()));
    }
    let find = |mark: &[u8; 20]| (*mark == torrent_mark(TORRENT)).then_some(TORRENT);
    let mut key = Vec::new();
    if options & 2 != 0 {
        // Two makes a secret that anybody can know: so the target reaches what stands behind it.
        key.resize(KEY_BYTES, 0);
    }
    let parts = rest.chunks(1 + usize::from(options >> 2 & 7) * 40);
    let mut given = 0;
    for part in std::iter::once(&key[..]).chain(parts) {
        given += part.len();
        let mut next = exchange.take(part, find);
        while let Ok(Next::Turn) = next {
            let said = exchange.turn(&mut rng);
            assert!(said.len() <= 40 + 14 + KEY_BYTES + PAD_MAX + 7);
            next = exchange.take(&[], find);
        }
        match next {
            Ok(Next::Turn | Next::Bytes) => {
                // Nobody is listened to for ever without a mark.
                assert!(given <= KEY_BYTES + 2 * (PAD_MAX + 40) + 32);
            }
            Ok(Next::Agreed(mut agreed)) => {
                assert!(agreed.rest.len() <= part.len());
                agreed.ciphers.decrypt(&mut agreed.rest);
                return;
            }
            Err(_) => return,
        }
    }
}
