//! Every path that this CPU has against the sha1 crate, and AVX-512 also where the CPU has it not, by emulation.

#[cfg(target_arch = "x86_64")]
mod emulation;

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

/// The paths of this CPU; says which are left out, so that no run looks more thorough than it was.
fn paths() -> Vec<Path> {
    let (here, missing): (Vec<_>, Vec<_>) =
        Path::ALL.into_iter().partition(|path| path.is_available());
    eprintln!("paths run: {here:?}; not on this CPU: {missing:?}");
    here
}

/// `count` messages of `length` bytes, no two alike.
fn messages(count: usize, length: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::new((count * 1_000_003 + length) as u64);
    let mut message = vec![0; length];
    (0..count)
        .map(|_| {
            rng.fill(&mut message);
            message.clone()
        })
        .collect()
}

fn views(messages: &[Vec<u8>]) -> Vec<&[u8]> {
    messages.iter().map(Vec::as_slice).collect()
}

fn hashed_alone(messages: &[Vec<u8>]) -> Vec<Digest> {
    messages.iter().map(|message| sha1(message)).collect()
}

fn hashed_together(path: Path, messages: &[Vec<u8>]) -> Vec<Digest> {
    let mut group = Group::on(path, messages.len());
    group.update(&views(messages));
    group.finish()
}

fn hex(digest: Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn known_hashes_come_out_of_every_path_and_lane() {
    let long = "a".repeat(1_000_000);
    // RFC 3174, section 7.3, and the empty message.
    #[rustfmt::skip]
    let table = [
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
        (&*long, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
        (&"0123456701234567012345670123456701234567012345670123456701234567".repeat(10), "dea356a2cddd90c7a7ecedc5ebb563934f460452"),
    ];
    for (text, want) in table {
        assert_eq!(hex(sha1(text.as_bytes())), want);
        for path in paths() {
            for digest in hashed_together(path, &vec![text.into(); 16]) {
                assert_eq!(hex(digest), want, "{path:?}, {} bytes", text.len());
            }
        }
    }
}

#[test]
fn every_short_length_is_right_on_every_path() {
    for path in paths() {
        for count in [1, 2, 3, 4, 8, 9, 16, 21] {
            for length in 0..=300 {
                let messages = messages(count, length);
                assert_eq!(
                    hashed_together(path, &messages),
                    hashed_alone(&messages),
                    "{path:?}, {count} messages of {length} bytes"
                );
            }
        }
    }
}

#[test]
fn every_count_is_right_on_every_path() {
    for path in paths() {
        for count in 1..=40 {
            for length in [0, 63, 64, 1000, 16 * 1024] {
                let messages = messages(count, length);
                assert_eq!(
                    hashed_together(path, &messages),
                    hashed_alone(&messages),
                    "{path:?}, {count} messages of {length} bytes"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn steps_of_any_length_make_the_same_hash(
        count in 1_usize..=40,
        steps in prop::collection::vec(prop_oneof![0_usize..200, Just(64), Just(4096), 0_usize..5000], 0..12),
    ) {
        let messages = messages(count, steps.iter().sum());
        let want = hashed_alone(&messages);
        for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
            let mut group = Group::on(path, count);
            let mut at = 0;
            for step in &steps {
                let strips: Vec<&[u8]> = messages.iter().map(|message| &message[at..at + step]).collect();
                group.update(&strips);
                at += step;
            }
            prop_assert_eq!(group.finish(), want.clone(), "{:?}", path);
        }
    }

    #[test]
    fn messages_of_any_lengths_in_any_parts_are_hashed_in_order(
        lengths in prop::collection::vec(prop_oneof![Just(4096_usize), Just(1000), 0_usize..3], 0..40),
        seed in any::<u64>(),
    ) {
        let mut rng = Rng::new(seed);
        let whole: Vec<Vec<u8>> = lengths.iter().map(|&length| {
            let mut bytes = vec![0; length];
            rng.fill(&mut bytes);
            bytes
        }).collect();
        // Most are divided evenly, some at random, some parts being empty.
        let parts: Vec<Vec<&[u8]>> = whole.iter().map(|bytes| {
            if rng.chance(2, 3) {
                return bytes.chunks(512).collect();
            }
            let mut parts = Vec::new();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (part, more) = rest.split_at(rng.index(rest.len() + 1));
                parts.push(part);
                rest = more;
            }
            parts
        }).collect();
        let messages: Vec<&[&[u8]]> = parts.iter().map(Vec::as_slice).collect();
        let want = hashed_alone(&whole);
        prop_assert_eq!(sha1_many(&messages), want.clone());
        for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
            prop_assert_eq!(sha1_many_on(path, &messages), want.clone(), "{:?}", path);
        }
    }
}

#[test]
fn every_path_takes_all_that_waits_in_batches_it_can_hold() {
    for path in paths() {
        for waiting in 1..=100 {
            let mut left = waiting;
            while left > 0 {
                let (next, count) = path.next(left);
                assert!(next.is_available(), "{path:?} hands {left} to {next:?}");
                assert!(
                    0 < count && count <= left && count <= next.lanes(),
                    "{path:?}, {left}"
                );
                left -= count;
            }
        }
    }
}

#[test]
fn the_best_path_is_one_that_this_cpu_has() {
    assert!(Path::best().is_available());
    assert_eq!(lanes(), Path::best().lanes());
    eprintln!("best path: {:?}, {} lanes", Path::best(), lanes());
}

#[test]
fn no_messages_have_no_hashes() {
    let mut group = Group::new(0);
    group.update(&[]);
    assert_eq!(group.finish(), Vec::<Digest>::new());
    assert_eq!(sha1_many(&[]), Vec::<Digest>::new());
    assert_eq!(sha1_many(&[&[], &[]]), [sha1(b""), sha1(b"")]);
}

#[test]
#[should_panic(expected = "strips are of one length")]
fn strips_of_unequal_length_are_a_bug() {
    Group::new(2).update(&[&[1, 2], &[3]]);
}

#[test]
#[should_panic(expected = "a strip for each message")]
fn a_missing_strip_is_a_bug() {
    Group::new(2).update(&[&[1, 2]]);
}
