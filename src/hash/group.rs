//! Many messages of one length, hashed side by side, a slice of each at a time.

use super::path::{LANES_MAX, Path};
use super::{BLOCK_BYTES, Block, Digest, State};

/// The chaining value before the first block.
const INITIAL: State = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// Where in the last block the message's length in bits begins.
const LENGTH_AT: usize = BLOCK_BYTES - 8;

/// Messages that advance together: an equal number of bytes of each at every step.
///
/// A step may have any length; what does not fill a block of 64 bytes waits, copied, for the next step. Steps that are
/// multiples of 64 are read where they lie. Any number of messages is right; multiples of [`Path::lanes`] are fastest.
///
/// ```
/// let mut group = linnet::hash::Group::new(2);
/// group.update(&[b"first, ", b"second,"]);
/// group.update(&[b"end", b"too"]);
/// assert_eq!(group.finish(), [linnet::hash::sha1(b"first, end"), linnet::hash::sha1(b"second,too")]);
/// ```
#[derive(Clone, Debug)]
pub struct Group {
    path: Path,
    states: Vec<State>,
    /// The bytes of each message behind its last whole block: the first `tail_bytes`, fewer than a block.
    tails: Vec<Block>,
    tail_bytes: usize,
    /// Bytes of each message so far.
    length: u64,
}

impl Group {
    /// `count` empty messages, on the fastest path of this CPU.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self::on(Path::best(), count)
    }

    /// `count` empty messages on a given path; for measurements and tests.
    ///
    /// # Panics
    /// When this CPU has not the instructions of `path`.
    #[must_use]
    pub fn on(path: Path, count: usize) -> Self {
        assert!(path.is_available(), "{path:?} needs another CPU");
        Self {
            path,
            states: vec![INITIAL; count],
            tails: vec![[0; BLOCK_BYTES]; count],
            tail_bytes: 0,
            length: 0,
        }
    }

    /// How many messages there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.states.len()
    }

    /// Adds one strip to each message, in the order of the messages.
    ///
    /// # Panics
    /// When there is not one strip for each message, or they are not of one length.
    pub fn update(&mut self, strips: &[&[u8]]) {
        assert_eq!(strips.len(), self.count(), "a strip for each message");
        let Some(length) = strips.first().map(|strip| strip.len()) else {
            return;
        };
        assert!(
            strips.iter().all(|strip| strip.len() == length),
            "strips are of one length"
        );
        self.length += length as u64;

        let mut taken = 0;
        if self.tail_bytes > 0 {
            taken = length.min(BLOCK_BYTES - self.tail_bytes);
            self.keep(strips, 0..taken);
            if self.tail_bytes < BLOCK_BYTES {
                return;
            }
            self.compress_tails();
        }
        let whole = (length - taken) / BLOCK_BYTES * BLOCK_BYTES;
        if whole > 0 {
            compress(self.path, &mut self.states, |message| {
                strips[message][taken..taken + whole].as_chunks().0
            });
        }
        self.keep(strips, taken + whole..length);
    }

    /// The hashes, in the order of the messages.
    #[must_use]
    pub fn finish(mut self) -> Vec<Digest> {
        for tail in &mut self.tails {
            tail[self.tail_bytes] = 0x80;
            tail[self.tail_bytes + 1..].fill(0);
        }
        if self.tail_bytes >= LENGTH_AT {
            self.compress_tails();
            self.tails.fill([0; BLOCK_BYTES]);
        }
        // SHA-1 counts bits modulo 2^64.
        let bits = self.length.wrapping_mul(8).to_be_bytes();
        for tail in &mut self.tails {
            tail[LENGTH_AT..].copy_from_slice(&bits);
        }
        self.compress_tails();
        self.states.iter().map(digest).collect()
    }

    /// Appends a range of each strip to its message's tail, which has room for it.
    fn keep(&mut self, strips: &[&[u8]], range: std::ops::Range<usize>) {
        let end = self.tail_bytes + range.len();
        for (tail, strip) in self.tails.iter_mut().zip(strips) {
            tail[self.tail_bytes..end].copy_from_slice(&strip[range.clone()]);
        }
        self.tail_bytes = end;
    }

    /// Takes in the tails, each a whole block.
    fn compress_tails(&mut self) {
        let tails = &self.tails;
        compress(self.path, &mut self.states, |message| {
            std::slice::from_ref(&tails[message])
        });
        self.tail_bytes = 0;
    }
}

/// Advances all states by the strips that `strip` has for them, in batches as `path` wants them.
fn compress<'a>(path: Path, states: &mut [State], strip: impl Fn(usize) -> &'a [Block]) {
    let mut done = 0;
    while done < states.len() {
        let (path, count) = path.next(states.len() - done);
        let mut strips: [&[Block]; LANES_MAX] = [&[]; LANES_MAX];
        for (lane, slot) in strips[..count].iter_mut().enumerate() {
            *slot = strip(done + lane);
        }
        path.compress(&mut states[done..done + count], &strips[..count]);
        done += count;
    }
}

/// The words in big-endian order.
fn digest(state: &State) -> Digest {
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}
