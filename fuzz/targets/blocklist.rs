//! Any bytes as a block list: the same in one part and in many, and what its lines name is in it.

use std::net::{Ipv4Addr, Ipv6Addr};

use linnet::codec::blocklist::{BAD_SHOWN_MAX, LINE_BYTES_MAX, Line, Range, Reader, line};

/// One case.
pub fn run(bytes: &[u8]) {
    let mut whole = Reader::default();
    whole.read(bytes);
    let tally = whole.end_file();
    let set = whole.finish();
    let mut parts = Reader::default();
    bytes.chunks(7).for_each(|part| parts.read(part));
    assert_eq!(parts.end_file(), tally);
    assert_eq!(parts.finish(), set);
    assert!(tally.bad_lines.len() <= BAD_SHOWN_MAX);
    assert!(set.len() as u64 <= tally.rules);
    for text in bytes.split(|&byte| byte == b'\n') {
        if text.len() > LINE_BYTES_MAX {
            continue;
        }
        match line(text) {
            Line::Range(Range::V4(first, last)) => {
                assert!(set.contains(Ipv4Addr::from(first).into()));
                assert!(set.contains(Ipv4Addr::from(last).into()));
            }
            Line::Range(Range::V6(first, last)) => {
                assert!(set.contains(Ipv6Addr::from(first).into()));
                assert!(set.contains(Ipv6Addr::from(last).into()));
            }
            Line::Nothing | Line::Bad => {}
        }
    }
}
