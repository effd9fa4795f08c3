//! Any bytes as bencode: what is read, written and read again is the same.

use linnet::codec::bencode;

/// One case.
pub fn run(bytes: &[u8]) {
    let whole = bencode::decode(bytes);
    let Ok((value, used)) = bencode::decode_prefix(bytes) else {
        assert!(whole.is_err(), "no part of it is a value");
        return;
    };
    assert_eq!(whole.is_ok(), used == bytes.len());
    assert_eq!(value.raw(), &bytes[..used]);
    assert_eq!(bencode::decode(value.raw()).as_ref(), Ok(&value));
    for cut in 0..used.min(256) {
        assert!(bencode::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let canonical = value.to_item().encode();
    let again = bencode::decode(&canonical).expect("what we write can be read");
    assert_eq!(again.to_item().encode(), canonical);
}
