//! `linnet verify`: whether what is on disk is what a torrent says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use crossbeam_channel as channel;
use serde::Serialize;

use crate::codec::geometry::PieceIndex;
use crate::codec::layout::{FileEntry, Layout};
use crate::codec::metainfo::Metainfo;
use crate::engine::message::{Job, Outcome, Storage, Verdict, Work};
use crate::ids::{JobId, SessionId};
use crate::time::{Clock, Duration, Instant};
use crate::worker::Pool;

use super::bars::Bars;
use super::console::printable;
use super::{Console, Context, EXIT_FAILED, Failure, source, units};

/// Most pieces of one job: what the vector lanes take at once.
const RUN_PIECES_MAX: usize = 16;

/// Bytes a job should have at least, so that small pieces do not drown in jobs.
const RUN_BYTES: u64 = 4 * 1024 * 1024;

/// Jobs that are out for each worker, so that none waits for the next.
const JOBS_PER_WORKER: usize = 3;

/// How often the bar is drawn.
const DRAW_PERIOD: Duration = Duration::from_millis(100);

/// Ranges of damaged pieces that are listed for one file; the others are counted.
const RANGES_SHOWN_MAX: usize = 16;

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The torrent file
    #[arg(value_name = "TORRENT")]
    torrent: PathBuf,
    /// Directory that holds the data
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let loaded = context.load_config()?;
        let torrent = source::read(&self.torrent)?;
        let shown = self.directory.display();
        let failed = |why: &str| Failure::failed(format!("{shown}: {why}"));
        let root = self.directory.canonicalize().map_err(|fault| {
            failed(match fault.kind() {
                io::ErrorKind::NotFound => "no such directory",
                _ => "cannot be opened",
            })
        })?;
        if !root.is_dir() {
            return Err(failed("not a directory: name the one that holds the data"));
        }
        let threads = loaded.config.workers.threads;
        let budget = Duration::from_millis(loaded.config.shutdown.budget_ms);
        let damage = check(&torrent, root, threads, budget, context.console)?;
        let report = Report::of(&torrent, &damage);
        let out = context.console.out();
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            print(&torrent, &damage, out)?;
        }
        if damage.is_none() {
            Ok(())
        } else {
            Err(Failure::Silent(EXIT_FAILED))
        }
    }
}

/// What is wrong.
#[derive(Default)]
struct Damage {
    /// Ascending.
    pieces: Vec<PieceIndex>,
    /// Places in the torrent's list, with those of their pieces that are wrong.
    files: BTreeMap<usize, Vec<PieceIndex>>,
    /// Of those, the ones that are not there at all.
    missing: BTreeSet<usize>,
}

impl Damage {
    fn is_none(&self) -> bool {
        self.pieces.is_empty() && self.files.is_empty()
    }
}

/// The JSON.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    info_hash: String,
    piece_count: u32,
    damaged_pieces: Vec<u32>,
    damaged_files: Vec<String>,
}

impl<'a> Report<'a> {
    fn of(torrent: &'a Metainfo, damage: &Damage) -> Self {
        let files = damage.files.keys();
        Self {
            name: &torrent.name,
            info_hash: torrent.info_hash.to_string(),
            piece_count: torrent.geometry.piece_count(),
            damaged_pieces: damage.pieces.iter().map(|piece| piece.get()).collect(),
            damaged_files: files.map(|&file| path_of(&torrent.files[file])).collect(),
        }
    }
}

fn path_of(file: &FileEntry) -> String {
    file.path.to_string_lossy().into_owned()
}

/// Hashes everything.
fn check(
    torrent: &Metainfo,
    root: PathBuf,
    threads: u32,
    budget: Duration,
    console: &mut Console,
) -> Result<Damage, Failure> {
    let storage = Arc::new(Storage {
        info_hash: torrent.info_hash,
        layout: Layout {
            root,
            files: torrent.files.clone(),
            geometry: torrent.geometry,
        },
        piece_hashes: Arc::clone(&torrent.piece_hashes),
    });
    let (wake, wakes) = channel::bounded(1);
    // Full: a wake is on its way already.
    let waker = move || wake.try_send(()).unwrap_or_default();
    let mut pool = Pool::start(threads, waker)
        .map_err(|fault| Failure::failed(format!("threads: {}", source::reason(&fault))))?;
    let mut pieces = Vec::new();
    let mut faults = BTreeSet::new();
    follow(
        &mut pool,
        &wakes,
        &storage,
        &torrent.name,
        console,
        |piece, verdict| {
            if verdict != Verdict::Good {
                pieces.push(piece);
            }
            if let Verdict::Failed(fault) = verdict {
                faults.insert(fault.message);
            }
        },
    );
    // Nothing is under way any more; a worker that hangs all the same ends with the process.
    let _ = pool.stop(budget);
    for fault in faults {
        console.note(&fault);
    }
    pieces.sort_unstable();
    Ok(attribute(&storage.layout, pieces))
}

/// Gives all pieces to the pool, a bounded number at once, and takes what it finds.
fn follow(
    pool: &mut Pool,
    wakes: &channel::Receiver<()>,
    storage: &Arc<Storage>,
    name: &str,
    console: &Console,
    mut found: impl FnMut(PieceIndex, Verdict),
) {
    let geometry = storage.layout.geometry;
    let all: Vec<PieceIndex> = geometry.pieces().collect();
    let mut runs = all.chunks(run_length(storage, pool.threads()));
    let session = SessionId::new(0, 0);
    let (mut ids, mut out) = (0, 0);
    let (mut done, total) = (0, geometry.total());
    let clock = Clock::start();
    let mut drawn = Instant::ZERO;
    let mut bars = Bars::on(console.bars());
    let bar = bars.add(name);
    loop {
        while out < pool.threads() * JOBS_PER_WORKER {
            let Some(run) = runs.next() else { break };
            let work = Work {
                id: JobId(ids),
                session,
                storage: Arc::clone(storage),
                job: Job::Check {
                    pieces: run.to_vec(),
                    digests: false,
                },
            };
            pool.submit(work)
                .expect("fewer are out than the pool takes");
            ids += 1;
            out += 1;
        }
        if out == 0 {
            break;
        }
        while let Some(completion) = pool.finished() {
            out -= 1;
            let Outcome::Checked(checked) = completion.done.outcome else {
                unreachable!("a check is answered by what it found")
            };
            for one in checked {
                done += u64::from(geometry.piece_size(one.piece));
                found(one.piece, one.verdict);
            }
        }
        let now = clock.now();
        if let Some(bar) = &bar
            && now.since(drawn) >= DRAW_PERIOD
        {
            drawn = now;
            let rate = units::per_second(done, now.since(Instant::ZERO));
            let eta = (total - done).checked_div(rate);
            let eta = eta.map_or("?".to_owned(), |s| units::time(Duration::from_secs(s)));
            let (have, all) = (units::size(done), units::size(total));
            bar.show(
                done,
                total,
                format!("{have} of {all}  {}  eta {eta}", units::rate(rate)),
            );
        }
        // The next turn looks again, woken or not.
        let _ = wakes.recv_timeout(DRAW_PERIOD);
    }
    if let Some(bar) = bar {
        bars.remove(bar);
    }
}

/// Pieces of one job: the lanes full where there are enough pieces for all workers, and small pieces together.
fn run_length(storage: &Storage, threads: usize) -> usize {
    let geometry = storage.layout.geometry;
    let count = geometry.piece_count() as usize;
    let small = RUN_BYTES / u64::from(geometry.piece_length());
    let most = usize::try_from(small).unwrap_or(1).max(RUN_PIECES_MAX);
    (count / threads.max(1)).clamp(1, most)
}

/// The files that damaged pieces lie in, and the files that no piece tells of: those without bytes.
fn attribute(layout: &Layout, pieces: Vec<PieceIndex>) -> Damage {
    let mut damage = Damage::default();
    for &piece in &pieces {
        let offset = layout.geometry.piece_offset(piece);
        let size = u64::from(layout.geometry.piece_size(piece));
        for range in layout.ranges(offset, size) {
            if layout.files[range.file].is_regular() {
                damage.files.entry(range.file).or_default().push(piece);
            }
        }
    }
    for (index, file) in layout.files.iter().enumerate() {
        let is_there = || layout.path(index).symlink_metadata().is_ok();
        let tells = file.is_regular() && (file.length == 0 || damage.files.contains_key(&index));
        if tells && !is_there() {
            damage.files.entry(index).or_default();
            damage.missing.insert(index);
        }
    }
    damage.pieces = pieces;
    damage
}

fn print(torrent: &Metainfo, damage: &Damage, out: &mut dyn Write) -> io::Result<()> {
    let name = printable(&torrent.name);
    let all = units::counted(u64::from(torrent.geometry.piece_count()), "piece");
    if damage.is_none() {
        let size = units::size(torrent.total_size());
        return writeln!(out, "{name}: whole, {all}, {size}");
    }
    for (&index, pieces) in &damage.files {
        let path = printable(&path_of(&torrent.files[index]));
        if damage.missing.contains(&index) {
            writeln!(out, "missing  {path}")?;
        } else {
            let count = units::counted(pieces.len() as u64, "piece");
            writeln!(out, "damaged  {path}: {count}: {}", ranges(pieces))?;
        }
    }
    let (pieces, files) = (damage.pieces.len(), damage.files.len() as u64);
    let files = units::counted(files, "file");
    writeln!(
        out,
        "{name}: {pieces} of {all} damaged or missing, in {files}"
    )
}

/// `[1, 2, 3, 7]` as "1-3, 7".
fn ranges(pieces: &[PieceIndex]) -> String {
    let runs: Vec<_> = pieces
        .chunk_by(|a, b| a.get() + 1 == b.get())
        .map(|run| match run {
            [one] => one.get().to_string(),
            _ => format!("{}-{}", run[0].get(), run[run.len() - 1].get()),
        })
        .collect();
    let shown = &runs[..runs.len().min(RANGES_SHOWN_MAX)];
    let more = if shown.len() < runs.len() {
        ", …"
    } else {
        ""
    };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::geometry::Geometry;

    #[test]
    fn runs_of_pieces_are_short() {
        let geometry = Geometry::new(100 * 16_384, 16_384).unwrap();
        let pieces = |list: &[u32]| -> Vec<_> {
            list.iter()
                .map(|&index| geometry.piece(index).unwrap())
                .collect()
        };
        assert_eq!(ranges(&pieces(&[7])), "7");
        assert_eq!(ranges(&pieces(&[1, 2, 3, 7, 9, 10])), "1-3, 7, 9-10");
        let odd: Vec<u32> = (0..50).map(|n| n * 2).collect();
        assert!(ranges(&pieces(&odd)).ends_with("30, …"));
    }
}
