//! SHA-1 of many messages at once (RFC 3174; the piece hashes of BEP 3).
//!
//! Pieces are many and equally long, so they are hashed side by side: sixteen in the lanes of AVX-512 registers, four
//! interleaved through the SHA extensions, or eight in AVX2 lanes, as `path.rs` chooses by what the CPU has. One message
//! alone, and what does not fill enough lanes, goes to the sha1 crate, against which every path is tested.
//!
//! Here alone is `unsafe` allowed: for vector intrinsics, and for reading blocks whose lengths were checked before.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod group;
mod path;
#[cfg(target_arch = "x86_64")]
mod rounds;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod transpose;

pub use group::Group;
pub use path::Path;

use sha1::Digest as _;

/// A SHA-1 hash.
pub type Digest = [u8; 20];

/// The unit SHA-1 works in, in bytes.
const BLOCK_BYTES: usize = 64;

/// What one step of the compression function takes in.
type Block = [u8; BLOCK_BYTES];

/// The chaining value of one message: the words A to E.
type State = [u32; 5];

/// The hash of one message.
#[must_use]
pub fn sha1(bytes: &[u8]) -> Digest {
    sha1::Sha1::digest(bytes).into()
}

/// The hash of one message that lies in parts.
#[must_use]
pub fn sha1_parts(parts: &[&[u8]]) -> Digest {
    let mut hasher = sha1::Sha1::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// How many messages at once are worth waiting for on this CPU: 16, 8, 4 or 1.
#[must_use]
pub fn lanes() -> usize {
    Path::best().lanes()
}

/// The hashes of many messages, each a list of parts (a piece is a list of 16 KiB blocks), in their order.
///
/// Messages of one total length are hashed side by side, the others alone. Any lengths, any division into parts and any
/// order are right. Fastest is what a commit has: the same division in all, by multiples of 64 bytes.
#[must_use]
pub fn sha1_many(messages: &[&[&[u8]]]) -> Vec<Digest> {
    sha1_many_on(Path::best(), messages)
}

fn sha1_many_on(path: Path, messages: &[&[&[u8]]]) -> Vec<Digest> {
    let length = |message: usize| {
        messages[message]
            .iter()
            .map(|part| part.len())
            .sum::<usize>()
    };
    let mut order: Vec<(usize, usize)> = (0..messages.len())
        .map(|message| (length(message), message))
        .collect();
    order.sort_unstable();
    let mut digests = vec![[0; 20]; messages.len()];
    for alike in order.chunk_by(|a, b| a.0 == b.0) {
        if let [(_, message)] = *alike {
            digests[message] = sha1_parts(messages[message]);
            continue;
        }
        let mut group = Group::on(path, alike.len());
        let mut rests: Vec<Rest<'_>> = alike
            .iter()
            .map(|&(_, message)| Rest::of(messages[message]))
            .collect();
        let mut strips = Vec::with_capacity(rests.len());
        // Being of one length they end together, wherever their parts do.
        while let Some(step) = rests
            .iter_mut()
            .map(Rest::contiguous)
            .min()
            .filter(|&step| step > 0)
        {
            strips.clear();
            strips.extend(rests.iter_mut().map(|rest| rest.take(step)));
            group.update(&strips);
        }
        for (digest, &(_, message)) in group.finish().into_iter().zip(alike) {
            digests[message] = digest;
        }
    }
    digests
}

/// What is left of a message in parts.
struct Rest<'a> {
    head: &'a [u8],
    parts: std::slice::Iter<'a, &'a [u8]>,
}

impl<'a> Rest<'a> {
    fn of(parts: &'a [&'a [u8]]) -> Self {
        Self {
            head: &[],
            parts: parts.iter(),
        }
    }

    /// How many bytes the next part still has; 0 only at the end of the message.
    fn contiguous(&mut self) -> usize {
        while self.head.is_empty() {
            match self.parts.next() {
                Some(part) => self.head = part,
                None => return 0,
            }
        }
        self.head.len()
    }

    /// The next `length` bytes, at most as many as are contiguous.
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, head) = self.head.split_at(length);
        self.head = head;
        taken
    }
}
