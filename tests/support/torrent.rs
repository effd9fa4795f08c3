//! Payloads and their .torrent files, made without the code under test.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use super::Scratch;

/// What a torrent is to be.
pub(crate) struct Recipe<'a> {
    /// Its name: of the file, or of the directory.
    pub(crate) name: &'a str,
    /// Bytes of a piece.
    pub(crate) piece_length: u64,
    /// Path below the name and length. One entry with an empty path is a single-file torrent.
    pub(crate) files: &'a [(&'a str, u64)],
    /// One tier each.
    pub(crate) trackers: &'a [&'a str],
}

/// A torrent with its data.
pub(crate) struct Torrent {
    /// The .torrent.
    pub(crate) file: PathBuf,
    /// Where its data is: what a seed is given as its directory.
    pub(crate) dir: PathBuf,
    /// Of the info dictionary.
    pub(crate) info_hash: [u8; 20],
    /// Bytes of a piece.
    pub(crate) piece_length: u64,
    /// All bytes.
    pub(crate) total: u64,
    /// Path below `dir`, and length.
    pub(crate) files: Vec<(PathBuf, u64)>,
}

impl Torrent {
    /// Writes data that depends on the recipe alone, and the .torrent beside it.
    pub(crate) fn make(scratch: &Scratch, recipe: &Recipe<'_>) -> Self {
        let dir = scratch.dir(&format!("original-{}", recipe.name));
        let mut noise = Noise::new(recipe.name);
        let files: Vec<(PathBuf, u64)> = recipe
            .files
            .iter()
            .map(|&(path, length)| (relative(recipe.name, path), length))
            .collect();
        let mut pieces = Pieces::new(recipe.piece_length);
        for (path, length) in &files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().expect("below dir")).unwrap();
            let mut file = File::create(&path).unwrap();
            let mut left = *length;
            let mut buffer = vec![0; 1 << 16];
            while left > 0 {
                let part = usize::try_from(left.min(1 << 16)).unwrap();
                noise.fill(&mut buffer[..part]);
                file.write_all(&buffer[..part]).unwrap();
                pieces.update(&buffer[..part]);
                left -= part as u64;
            }
        }
        Self::finish(scratch, recipe, dir, files, pieces.finish())
    }

    /// One file of `length` bytes that is a hole, but for its last piece. `length` is a multiple of the piece length.
    pub(crate) fn make_sparse(
        scratch: &Scratch,
        name: &str,
        piece_length: u64,
        length: u64,
    ) -> Self {
        let dir = scratch.dir(&format!("original-{name}"));
        let mut last = vec![0; usize::try_from(piece_length).unwrap()];
        let zeros: [u8; 20] = Sha1::digest(&last).into();
        Noise::new(name).fill(&mut last);
        let mut file = File::create(dir.join(name)).unwrap();
        file.set_len(length).unwrap();
        file.seek(SeekFrom::Start(length - piece_length)).unwrap();
        file.write_all(&last).unwrap();
        let mut hashes = zeros.repeat(usize::try_from(length / piece_length - 1).unwrap());
        hashes.extend_from_slice(&Sha1::digest(&last));
        let recipe = Recipe {
            name,
            piece_length,
            files: &[("", length)],
            trackers: &[],
        };
        Self::finish(
            scratch,
            &recipe,
            dir,
            vec![(PathBuf::from(name), length)],
            hashes,
        )
    }

    fn finish(
        scratch: &Scratch,
        recipe: &Recipe<'_>,
        dir: PathBuf,
        files: Vec<(PathBuf, u64)>,
        hashes: Vec<u8>,
    ) -> Self {
        let info = info(recipe, &hashes);
        let mut bytes = b"d".to_vec();
        if !recipe.trackers.is_empty() {
            bytes.extend(b"13:announce-listl");
            for url in recipe.trackers {
                bytes.extend(format!("l{}:{url}e", url.len()).bytes());
            }
            bytes.extend(b"e");
        }
        bytes.extend(b"4:info");
        bytes.extend(&info);
        bytes.extend(b"e");
        let file = scratch.path().join(format!("{}.torrent", recipe.name));
        std::fs::write(&file, bytes).unwrap();
        Self {
            file,
            dir,
            info_hash: Sha1::digest(&info).into(),
            piece_length: recipe.piece_length,
            total: files.iter().map(|(_, length)| length).sum(),
            files,
        }
    }

    /// All bytes, one file behind the other. Only for what fits into memory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, _) in &self.files {
            File::open(self.dir.join(path))
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap();
        }
        bytes
    }

    /// Blocks of 16 KiB, the last of each piece shorter.
    pub(crate) fn blocks(&self) -> u64 {
        let whole = self.total / self.piece_length * self.piece_length.div_ceil(16384);
        whole + (self.total % self.piece_length).div_ceil(16384)
    }

    /// Asserts that `dir` holds the same files with the same bytes.
    pub(crate) fn assert_same(&self, dir: &Path) {
        self.assert_same_files(dir, |_| true);
    }

    /// The same, of files that have bytes: Transmission 3.0 makes no others.
    pub(crate) fn assert_same_but_empty(&self, dir: &Path) {
        self.assert_same_files(dir, |length| length > 0);
    }

    fn assert_same_files(&self, dir: &Path, is_due: impl Fn(u64) -> bool) {
        for (path, length) in self.files.iter().filter(|(_, length)| is_due(*length)) {
            let got = std::fs::metadata(dir.join(path))
                .unwrap_or_else(|error| panic!("{} is missing: {error}", path.display()));
            assert_eq!(got.len(), *length, "length of {}", path.display());
            let same = digest(&dir.join(path)) == digest(&self.dir.join(path));
            assert!(same, "{} differs", path.display());
        }
    }
}

fn relative(name: &str, path: &str) -> PathBuf {
    let base = PathBuf::from(name);
    if path.is_empty() {
        base
    } else {
        base.join(path)
    }
}

/// The info dictionary in canonical form: keys sorted.
fn info(recipe: &Recipe<'_>, hashes: &[u8]) -> Vec<u8> {
    let mut out = b"d".to_vec();
    if let [("", length)] = recipe.files {
        out.extend(format!("6:lengthi{length}e").bytes());
    } else {
        out.extend(b"5:filesl");
        for (path, length) in recipe.files {
            out.extend(format!("d6:lengthi{length}e4:pathl").bytes());
            for part in path.split('/') {
                out.extend(format!("{}:{part}", part.len()).bytes());
            }
            out.extend(b"ee");
        }
        out.extend(b"e");
    }
    let name = recipe.name;
    out.extend(
        format!(
            "4:name{}:{name}12:piece lengthi{}e",
            name.len(),
            recipe.piece_length
        )
        .bytes(),
    );
    out.extend(format!("6:pieces{}:", hashes.len()).bytes());
    out.extend(hashes);
    out.extend(b"e");
    out
}

/// A hash as text.
pub(crate) fn hex(hash: &[u8; 20]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-1 of a file, read in parts.
pub(crate) fn digest(path: &Path) -> [u8; 20] {
    let mut file = File::open(path).unwrap();
    let mut hash = Sha1::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).unwrap();
        if read == 0 {
            return hash.finalize().into();
        }
        hash.update(&buffer[..read]);
    }
}

/// Piece hashes of a run of bytes.
struct Pieces {
    piece_length: u64,
    filled: u64,
    hash: Sha1,
    out: Vec<u8>,
}

impl Pieces {
    fn new(piece_length: u64) -> Self {
        Self {
            piece_length,
            filled: 0,
            hash: Sha1::new(),
            out: Vec::new(),
        }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.piece_length - self.filled).unwrap();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.hash.update(now);
            self.filled += now.len() as u64;
            bytes = later;
            if self.filled == self.piece_length {
                self.out.extend_from_slice(&self.hash.finalize_reset());
                self.filled = 0;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.out.extend_from_slice(&self.hash.finalize_reset());
        }
        self.out
    }
}

/// Bytes that do not compress and depend on a seed alone (splitmix64).
struct Noise(u64);

impl Noise {
    fn new(seed: &str) -> Self {
        Self(seed.bytes().fold(0x9e37_79b9, |sum, byte| {
            sum.rotate_left(7) ^ u64::from(byte)
        }))
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            part.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..part.len()]);
        }
    }
}
