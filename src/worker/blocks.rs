//! Reads block lists: plain or gzip, in parts, so that a list of a hundred megabytes takes the memory of its ranges alone.

#![allow(
    clippy::disallowed_methods,
    reason = "the workers' own: the files of a list are read and written here"
)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use crate::codec::blocklist::{Range, Ranges, Reader, Tally};
use crate::engine::message::{BlocksFault, BlocksLoad, BlocksRead};

/// Bytes of one list, unpacked; a longer one is refused, since a few packed kilobytes could be any number.
const LIST_BYTES_MAX: u64 = 512 * 1024 * 1024;

const PART_BYTES: usize = 64 * 1024;

/// Reads all of `load`, and keeps what was fetched when it is a list.
///
/// # Errors
/// A file that cannot be read, or is no list; nothing has changed then.
pub(super) fn read(load: &BlocksLoad) -> Result<BlocksRead, BlocksFault> {
    let mut reader = Reader::default();
    let mut files = Vec::new();
    for path in load.files.iter().flatten() {
        let tally = File::open(path).and_then(|file| list(file, &mut reader));
        let tally = tally.map_err(|fault| told(path, &fault))?;
        files.push((path.clone(), tally));
    }
    if let Some(kept) = &load.kept {
        let found = match &load.fetched {
            Some(bytes) => list(bytes.as_slice(), &mut reader)
                .map(Some)
                .map_err(|fault| BlocksFault(format!("what was fetched: {fault}")))?,
            None => match File::open(kept) {
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => None,
                file => Some(
                    file.and_then(|file| list(file, &mut reader))
                        .map_err(|fault| told(kept, &fault))?,
                ),
            },
        };
        files.extend(found.map(|tally| (kept.clone(), tally)));
        if let Some(bytes) = &load.fetched {
            keep(kept, bytes).map_err(|fault| told(kept, &fault))?;
        }
    }
    let allowed = load.allow.iter().flatten();
    let allowed = allowed.map(|text| Range::parse(text).ok_or(text));
    let allowed: Vec<Range> = allowed.collect::<Result<_, _>>().map_err(|text| {
        let text = format!(
            "blocklist.allow: {text}: allowed: an address, ADDRESS/BITS or ADDRESS-ADDRESS"
        );
        BlocksFault(text)
    })?;
    Ok(BlocksRead {
        list: Arc::new(reader.finish()),
        allowed: Arc::new(Ranges::of(allowed)),
        files,
    })
}

fn told(path: &Path, fault: &io::Error) -> BlocksFault {
    let why = match fault.raw_os_error() {
        Some(_) => fault.kind().to_string(),
        None => fault.to_string(),
    };
    BlocksFault(format!("{}: {why}", path.display()))
}

/// Reads one list into `reader`.
fn list(mut from: impl Read, reader: &mut Reader) -> io::Result<Tally> {
    let mut head = Vec::new();
    from.by_ref().take(4).read_to_end(&mut head)?;
    let packed = head.starts_with(&[0x1f, 0x8b]);
    if head.starts_with(b"PK\x03\x04") {
        return Err(io::Error::other("a zip archive: unpack it first"));
    }
    let whole = head.as_slice().chain(from);
    let mut whole: Box<dyn Read + '_> = match packed {
        true => Box::new(MultiGzDecoder::new(whole)),
        false => Box::new(whole),
    };
    let mut part = vec![0; PART_BYTES];
    let mut total = 0;
    loop {
        let length = match whole.read(&mut part) {
            Ok(0) => break,
            Ok(length) => length,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(fault) => return Err(fault),
        };
        total += length as u64;
        if total > LIST_BYTES_MAX {
            return Err(io::Error::other("longer than 512 MiB"));
        }
        reader.read(&part[..length]);
    }
    let tally = reader.end_file();
    if tally.rules == 0 && tally.bad > 0 {
        return Err(io::Error::other(
            "no line of it is a range: no block list, or of a form that is not known",
        ));
    }
    Ok(tally)
}

/// Puts `bytes` into `path`; whoever reads it sees the old or the new, whole.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    let written = File::create(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Nothing of a failed attempt stays behind; its own failure adds nothing.
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn packed(text: &str) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::default());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn files_and_what_was_fetched_are_one_list() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("plain"), "n:1.2.3.4-1.2.3.9\nbad\n").unwrap();
        fs::write(
            at("packed.gz"),
            packed("001.0.0.1 - 001.0.0.2 , 000 , x\n2001:db8::/32"),
        )
        .unwrap();
        let mut load = BlocksLoad {
            files: Some(vec![at("plain"), at("packed.gz")]),
            kept: Some(at("state/blocklist")),
            fetched: None,
            allow: Some(vec!["1.2.3.5".to_owned()]),
        };
        let read_now = |load: &BlocksLoad| {
            read(load).map(|read| {
                let counts: Vec<_> = read
                    .files
                    .iter()
                    .map(|(_, tally)| (tally.rules, tally.bad))
                    .collect();
                (counts, read.list.len(), read.allowed.len())
            })
        };
        assert_eq!(
            read_now(&load),
            Ok((vec![(1, 1), (2, 0)], 3, 1)),
            "nothing was fetched yet"
        );
        load.fetched = Some(packed("9.9.9.0/24"));
        assert_eq!(read_now(&load), Ok((vec![(1, 1), (2, 0), (1, 0)], 4, 1)));
        load.fetched = Some(b"<html>\nno list\n".to_vec());
        let fault = read_now(&load).unwrap_err();
        assert!(
            fault
                .0
                .starts_with("what was fetched: no line of it is a range"),
            "{fault:?}"
        );
        load.fetched = None;
        assert_eq!(
            read_now(&load),
            Ok((vec![(1, 1), (2, 0), (1, 0)], 4, 1)),
            "what was kept stays"
        );
        for (name, bytes, want) in [
            ("zip", b"PK\x03\x04....".to_vec(), "zip: a zip archive"),
            (
                "cut.gz",
                packed("1.2.3.4\n5.6.7.8\n")[..20].to_vec(),
                "cut.gz: ",
            ),
        ] {
            fs::write(at(name), bytes).unwrap();
            load.files = Some(vec![at(name)]);
            let fault = read_now(&load).unwrap_err();
            assert!(fault.0.contains(want), "{name}: {fault:?}");
        }
        load.files = Some(vec![at("nowhere")]);
        assert!(
            read_now(&load)
                .unwrap_err()
                .0
                .ends_with("nowhere: entity not found")
        );
        load.files = None;
        load.allow = Some(vec!["friends".to_owned()]);
        assert!(
            read_now(&load)
                .unwrap_err()
                .0
                .starts_with("blocklist.allow: friends: allowed:")
        );
    }
}
