//! The pieces of files on disk, hashed by all cores.
//!
//! Each thread takes the next run of pieces, as many as the processor has lanes, and advances them by a strip each. Memory
//! is bounded by threads × lanes × strip, whatever the piece length.

#![allow(
    clippy::disallowed_types,
    reason = "threads that live no longer than this command collect their hashes under a lock"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use crossbeam_channel as channel;

use crate::aligned::Aligned;
use crate::cli::bars::Bars;
use crate::cli::source::reason;
use crate::cli::{Console, Failure, units};
use crate::codec::geometry::PieceIndex;
use crate::codec::layout::Layout;
use crate::hash::{self, Digest, Group};
use crate::time::{Clock, Duration};

/// Bytes of a piece that are read at once: large enough for a disk that seeks.
const STRIP_BYTES: usize = 256 * 1024;

/// Open files of one thread.
const OPEN_MAX: usize = 16;

/// Lanes that one thread fills at most.
const LANES_MAX: usize = 16;

/// How often the bar is drawn.
const DRAW_PERIOD: Duration = Duration::from_millis(100);

/// What the threads share.
struct Shared<'a> {
    layout: &'a Layout,
    /// The next piece that nobody has taken.
    next: AtomicU32,
    /// Bytes hashed.
    done: AtomicU64,
    /// Set by the first fault.
    stop: AtomicBool,
    result: Mutex<Result<Vec<Digest>, String>>,
}

/// SHA-1 of each piece of `layout`, with a progress bar called `name`.
pub(super) fn hash(
    layout: &Layout,
    name: &str,
    console: &mut Console,
) -> Result<Vec<Digest>, Failure> {
    let count = layout.geometry.piece_count();
    let lanes = hash::lanes().clamp(1, LANES_MAX);
    let shared = Shared {
        layout,
        next: AtomicU32::new(0),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        result: Mutex::new(Ok(vec![[0; 20]; count as usize])),
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min((count as usize).div_ceil(lanes)).max(1);
    let (alive, over) = channel::bounded::<()>(0);
    let started = thread::scope(|scope| {
        for index in 0..threads {
            let (shared, alive) = (&shared, alive.clone());
            thread::Builder::new()
                .name(format!("hash-{index}"))
                .spawn_scoped(scope, move || {
                    let _alive = alive;
                    Hasher::new(shared, lanes).run();
                })?;
        }
        drop(alive);
        show(&shared, name, console, &over);
        Ok(())
    });
    started
        .map_err(|fault: std::io::Error| Failure::failed(format!("threads: {}", reason(&fault))))?;
    let result = shared.result.into_inner();
    (result.unwrap_or_else(std::sync::PoisonError::into_inner)).map_err(Failure::failed)
}

/// Draws the bar until all threads have ended.
fn show(shared: &Shared<'_>, name: &str, console: &Console, over: &channel::Receiver<()>) {
    let clock = Clock::start();
    let total = shared.layout.geometry.total();
    let mut bars = Bars::on(console.bars());
    let bar = bars.add(name);
    while over.recv_timeout(DRAW_PERIOD) == Err(channel::RecvTimeoutError::Timeout) {
        let Some(bar) = &bar else { continue };
        let done = shared.done.load(Ordering::Relaxed);
        let rate = units::per_second(done, clock.now().since(crate::time::Instant::ZERO));
        let eta = (total - done).checked_div(rate);
        let eta = eta.map_or("?".to_owned(), |s| units::time(Duration::from_secs(s)));
        let (done_text, total_text) = (units::size(done), units::size(total));
        let rate = units::rate(rate);
        bar.show(
            done,
            total,
            format!("{done_text} of {total_text}  {rate}  eta {eta}"),
        );
    }
    if let Some(bar) = bar {
        bars.remove(bar);
    }
}

/// One thread's work.
struct Hasher<'a> {
    shared: &'a Shared<'a>,
    lanes: usize,
    /// A strip for each lane.
    buffers: Vec<Aligned>,
    /// The file at place `index % OPEN_MAX`, with its index.
    open: [Option<(usize, File)>; OPEN_MAX],
}

impl<'a> Hasher<'a> {
    fn new(shared: &'a Shared<'a>, lanes: usize) -> Self {
        let longest = shared.layout.geometry.piece_length() as usize;
        let strip = STRIP_BYTES.min(longest);
        Self {
            shared,
            lanes,
            buffers: (0..lanes).map(|_| Aligned::new(strip)).collect(),
            open: [const { None }; OPEN_MAX],
        }
    }

    fn run(&mut self) {
        let geometry = self.shared.layout.geometry;
        let step = u32::try_from(self.lanes).unwrap_or(1);
        while !self.shared.stop.load(Ordering::Relaxed) {
            let first = self.shared.next.fetch_add(step, Ordering::Relaxed);
            let pieces: Vec<_> = (first..first.saturating_add(step))
                .map_while(|index| geometry.piece(index))
                .collect();
            if pieces.is_empty() {
                return;
            }
            // A group is of one length: a shorter last piece is a group of its own.
            for group in pieces.chunk_by(|&a, &b| geometry.piece_size(a) == geometry.piece_size(b))
            {
                let hashed = self.hash(group);
                let mut result =
                    (self.shared.result.lock()).unwrap_or_else(std::sync::PoisonError::into_inner);
                match (hashed, &mut *result) {
                    (Ok(digests), Ok(all)) => {
                        let first = group[0].index();
                        all[first..first + digests.len()].copy_from_slice(&digests);
                    }
                    (Err(fault), Ok(_)) => {
                        *result = Err(fault);
                        self.shared.stop.store(true, Ordering::Relaxed);
                        return;
                    }
                    (_, Err(_)) => return,
                }
            }
        }
    }

    /// Hashes pieces of one length, side by side.
    fn hash(&mut self, pieces: &[PieceIndex]) -> Result<Vec<Digest>, String> {
        let geometry = self.shared.layout.geometry;
        let length = geometry.piece_size(pieces[0]) as usize;
        let mut buffers = std::mem::take(&mut self.buffers);
        let strip = buffers[0].len();
        let mut group = Group::new(pieces.len());
        let mut at = 0;
        let mut fault = None;
        while at < length && fault.is_none() && !self.shared.stop.load(Ordering::Relaxed) {
            let part = strip.min(length - at);
            for (piece, buffer) in pieces.iter().zip(&mut buffers) {
                let offset = geometry.piece_offset(*piece) + at as u64;
                if let Err(text) = self.read(offset, &mut buffer[..part]) {
                    fault = Some(text);
                    break;
                }
            }
            let strips: Vec<&[u8]> = buffers[..pieces.len()].iter().map(|b| &b[..part]).collect();
            group.update(&strips);
            at += part;
            let bytes = (part * pieces.len()) as u64;
            self.shared.done.fetch_add(bytes, Ordering::Relaxed);
        }
        self.buffers = buffers;
        fault.map_or_else(|| Ok(group.finish()), Err)
    }

    /// Fills `buffer` from the torrent's run of bytes.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        let layout = self.shared.layout;
        let mut filled = 0;
        for range in layout.ranges(offset, buffer.len() as u64) {
            let place = &mut self.open[range.file % OPEN_MAX];
            let path = &layout.files[range.file].path;
            let fault = |why: &str| format!("{}: {why}", path.display());
            let file = match place {
                Some((index, file)) if *index == range.file => &*file,
                _ => {
                    let file = File::open(path).map_err(|error| fault(&reason(&error)))?;
                    &place.insert((range.file, file)).1
                }
            };
            let length = usize::try_from(range.length).unwrap_or(usize::MAX);
            let part = &mut buffer[filled..filled + length];
            file.read_exact_at(part, range.offset)
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => fault("changed while it was read"),
                    _ => fault(&reason(&error)),
                })?;
            filled += length;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::create::tree::Tree;
    use crate::codec::geometry::Geometry;
    use crate::rng::Rng;

    #[test]
    fn pieces_across_files_have_the_hash_of_their_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(7);
        let mut all = Vec::new();
        for (index, length) in [1, 0, 40_000, 700_000, 16_384, 3, 600_001]
            .iter()
            .enumerate()
        {
            let bytes: Vec<u8> = (0..*length).map(|_| rng.draw().to_le_bytes()[0]).collect();
            std::fs::write(directory.path().join(format!("{index}")), &bytes).unwrap();
            all.extend_from_slice(&bytes);
        }
        let tree = Tree::read(directory.path(), std::path::Path::new("none")).unwrap();
        for piece_length in [16_384, 32_768, 524_288, 4 << 20] {
            let geometry = Geometry::new(tree.total(), piece_length).unwrap();
            let mut console = Console::to(Box::new(std::io::sink()), Box::new(std::io::sink()));
            let got = hash(&tree.layout(geometry), "x", &mut console).unwrap();
            let want: Vec<_> = all.chunks(piece_length as usize).map(hash::sha1).collect();
            assert_eq!(got, want, "{piece_length}");
        }
        std::fs::write(directory.path().join("3"), "short").unwrap();
        let geometry = Geometry::new(tree.total(), 16_384).unwrap();
        let mut console = Console::to(Box::new(std::io::sink()), Box::new(std::io::sink()));
        let fault = hash(&tree.layout(geometry), "x", &mut console).unwrap_err();
        assert!(
            format!("{fault:?}").contains("3: changed while it was read"),
            "{fault:?}"
        );
    }
}
