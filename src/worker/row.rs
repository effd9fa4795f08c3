//! A row's lists as bytes. Our own files, but a broken one must cost no more than what it held.
//!
//! ```text
//! partial   <count: u32> { <piece: u32> <length: u32> <bits> }      all numbers little-endian
//! stamps    <count: u32> { 0 | 1 <length: u64> <modified: i64> }
//! ```

use crate::engine::message::FileStamp;

/// Pieces that are there in part: which, and a bit for each block.
pub(super) type Partial = Vec<(u32, Vec<u8>)>;

/// Writes what [`decode_partial`] reads.
pub(super) fn encode_partial(partial: &Partial) -> Vec<u8> {
    let mut out = Vec::new();
    put_count(&mut out, partial.len());
    for (piece, bits) in partial {
        out.extend(piece.to_le_bytes());
        put_count(&mut out, bits.len());
        out.extend(bits);
    }
    out
}

/// `None` unless `bytes` are exactly one list.
pub(super) fn decode_partial(mut bytes: &[u8]) -> Option<Partial> {
    let count = take_u32(&mut bytes)?;
    let mut partial = Vec::new();
    for _ in 0..count {
        let piece = take_u32(&mut bytes)?;
        let length = take_u32(&mut bytes)? as usize;
        let bits = bytes.split_off(..length)?;
        partial.push((piece, bits.to_vec()));
    }
    bytes.is_empty().then_some(partial)
}

/// Writes what [`decode_stamps`] reads.
pub(super) fn encode_stamps(stamps: &[Option<FileStamp>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_count(&mut out, stamps.len());
    for stamp in stamps {
        match stamp {
            None => out.push(0),
            Some(stamp) => {
                out.push(1);
                out.extend(stamp.length.to_le_bytes());
                out.extend(stamp.modified_nanos.to_le_bytes());
            }
        }
    }
    out
}

/// `None` unless `bytes` are exactly one list.
pub(super) fn decode_stamps(mut bytes: &[u8]) -> Option<Vec<Option<FileStamp>>> {
    let count = take_u32(&mut bytes)?;
    let mut stamps = Vec::new();
    for _ in 0..count {
        stamps.push(match take::<1>(&mut bytes)? {
            [0] => None,
            [1] => Some(FileStamp {
                length: u64::from_le_bytes(take(&mut bytes)?),
                modified_nanos: i64::from_le_bytes(take(&mut bytes)?),
            }),
            _ => return None,
        });
    }
    bytes.is_empty().then_some(stamps)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("pieces and files are counted in 32 bits");
    out.extend(count.to_le_bytes());
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_written_and_not_when_cut_or_longer() {
        let stamp = |length, modified_nanos| FileStamp {
            length,
            modified_nanos,
        };
        let partial = vec![(0, vec![0x80]), (u32::MAX, vec![1, 2, 3]), (7, vec![])];
        let stamps = vec![
            None,
            Some(stamp(u64::MAX, -1)),
            Some(stamp(0, i64::MAX)),
            None,
        ];
        let (a, b) = (encode_partial(&partial), encode_stamps(&stamps));
        assert_eq!(decode_partial(&a), Some(partial));
        assert_eq!(decode_stamps(&b), Some(stamps));
        for cut in 0..a.len() {
            assert_eq!(decode_partial(&a[..cut]), None);
        }
        for cut in 0..b.len() {
            assert_eq!(decode_stamps(&b[..cut]), None);
        }
        assert_eq!(decode_partial(&[&a[..], &[0]].concat()), None);
        assert_eq!(
            decode_stamps(&[255; 64]),
            None,
            "a huge count allocates nothing"
        );
    }
}
