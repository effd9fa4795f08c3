//! SHA-1 throughput of every path that this CPU has, on one core.
//!
//! Workloads, from a fixed seed: 16 messages of 1 MiB side by side (pieces), messages of 16 KiB by count (how much a
//! path loses with empty lanes), a commit's pieces in 16 KiB parts, one message. A hash of all results is printed first:
//! the same on every machine.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use linnet::hash::{Digest, Group, Path, sha1, sha1_many};
use linnet::rng::Rng;

const BLOCK_BYTES: usize = 16 * 1024;
const PIECE_BYTES: usize = 1024 * 1024;
const PIECES: usize = 16;

/// The data of all workloads, 16 MiB.
fn pieces() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(20);
    (0..PIECES)
        .map(|_| {
            let mut piece = vec![0; PIECE_BYTES];
            rng.fill(&mut piece);
            piece
        })
        .collect()
}

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

/// Hashes the messages side by side, in steps as a recheck makes them.
fn together(path: Path, messages: &[&[u8]]) -> Vec<Digest> {
    let mut group = Group::on(path, messages.len());
    let mut strips = Vec::with_capacity(messages.len());
    let length = messages.first().map_or(0, |message| message.len());
    for at in (0..length).step_by(BLOCK_BYTES) {
        strips.clear();
        strips.extend(
            messages
                .iter()
                .map(|message| &message[at..length.min(at + BLOCK_BYTES)]),
        );
        group.update(&strips);
    }
    group.finish()
}

fn hash(criterion: &mut Criterion) {
    let pieces = pieces();
    let whole: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let blocks: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..BLOCK_BYTES]).collect();
    let parts: Vec<Vec<&[u8]>> = pieces
        .iter()
        .map(|piece| piece.chunks(BLOCK_BYTES).collect())
        .collect();
    let parts: Vec<&[&[u8]]> = parts.iter().map(Vec::as_slice).collect();

    let want: Vec<Digest> = whole.iter().map(|piece| sha1(piece)).collect();
    for path in paths() {
        assert_eq!(together(path, &whole), want, "{path:?}");
    }
    let result: String = sha1(&want.concat())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    eprintln!(
        "result {result}; best path {:?}; paths {:?}",
        Path::best(),
        paths().collect::<Vec<_>>()
    );

    let mut group = criterion.benchmark_group("16 x 1 MiB");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes((PIECES * PIECE_BYTES) as u64));
    for path in paths() {
        group.bench_function(
            BenchmarkId::from_parameter(format!("{path:?}")),
            |bencher| {
                bencher.iter(|| together(path, black_box(&whole)));
            },
        );
    }
    group.bench_function("commit", |bencher| {
        bencher.iter(|| sha1_many(black_box(&parts)))
    });
    group.finish();

    let mut group = criterion.benchmark_group("16 KiB messages");
    group.sample_size(10);
    for count in [1, 2, 3, 4, 5, 8, 9, 16] {
        group.throughput(Throughput::Bytes((count * BLOCK_BYTES) as u64));
        for path in paths() {
            group.bench_function(BenchmarkId::new(format!("{path:?}"), count), |bencher| {
                bencher.iter(|| together(path, black_box(&blocks[..count])));
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("one message");
    group.sample_size(10);
    for length in [64, BLOCK_BYTES, PIECE_BYTES] {
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| sha1(black_box(&whole[0][..length])));
        });
    }
    group.finish();
}

criterion_group!(benches, hash);
criterion_main!(benches);
