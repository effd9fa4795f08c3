#![allow(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "tests with files"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::buffer::BLOCK_BYTES;
use crate::codec::geometry::{BlockRef, PieceIndex};
use crate::engine::message::{CommitPiece, Verdict};
use crate::hash::{self, Digest};
use crate::rng::Rng;
use crate::time::Instant;
use crate::worker::fixture::{Fixture, PLAIN, block, bytes_of};
use crate::worker::{DiskFiles, MemoryFiles, Now, read_now};

fn check<F: Files>(fixture: &Fixture, files: &mut F, pieces: Vec<PieceIndex>) -> Vec<Verdict> {
    let digests = false;
    let done = fixture.do_job(files, Job::Check { pieces, digests });
    let Outcome::Checked(checked) = done.outcome else {
        panic!("{done:?}");
    };
    checked.into_iter().map(|checked| checked.verdict).collect()
}

fn commit<F: Files>(
    fixture: &Fixture,
    files: &mut F,
    pieces: Vec<CommitPiece>,
) -> Vec<(u32, Verdict, Vec<Digest>)> {
    let blocks: Vec<usize> = pieces.iter().map(|piece| piece.blocks.len()).collect();
    let done = fixture.do_job(files, Job::Commit { pieces });
    let Outcome::Committed(committed) = done.outcome else {
        panic!("{done:?}");
    };
    let back: Vec<usize> = committed.iter().map(|piece| piece.blocks.len()).collect();
    assert_eq!(back, blocks, "every block comes back");
    committed
        .into_iter()
        .map(|piece| (piece.piece.get(), piece.verdict, piece.digests))
        .collect()
}

fn commit_all<F: Files>(fixture: &Fixture, files: &mut F) {
    let pieces = fixture.geometry().pieces();
    let pieces = pieces.map(|piece| fixture.commit(piece)).collect();
    for (piece, verdict, _) in commit(fixture, files, pieces) {
        assert_eq!(verdict, Verdict::Good, "piece {piece}");
    }
}

fn read<F: Files>(
    fixture: &Fixture,
    files: &mut F,
    offset: u64,
    length: u64,
    part: u32,
) -> Result<Vec<u8>, Fault> {
    let run = fixture.run(offset, length, part);
    let done = fixture.do_job(files, Job::Read(run));
    let Outcome::Read(run, result) = done.outcome else {
        panic!("{done:?}");
    };
    result.map(|()| bytes_of(&run))
}

fn prepare(
    fixture: &Fixture,
    files: &mut DiskFiles,
    create: bool,
) -> Result<Vec<Option<FileStamp>>, Fault> {
    let done = fixture.do_job(
        files,
        Job::Prepare {
            create,
            wanted: std::sync::Arc::default(),
        },
    );
    let Outcome::Prepared(result) = done.outcome else {
        panic!("{done:?}");
    };
    result.map(|prepared| prepared.stamps)
}

/// Commits in random batches, some pieces spoilt at first; everything is then on disk as it should be, and nothing else.
fn commits_checks_and_reads<F: Files>(fixture: &Fixture, files: &mut F, rng: &mut Rng) {
    let geometry = fixture.geometry();
    let mut order = fixture.pieces();
    rng.shuffle(&mut order);
    let mut there = vec![false; order.len()];
    while !order.is_empty() {
        let count = (1 + rng.index(40)).min(order.len());
        let mut batch: Vec<CommitPiece> = order
            .split_off(order.len() - count)
            .into_iter()
            .map(|piece| fixture.commit(piece))
            .collect();
        let mut spoilt = Vec::new();
        for piece in &mut batch {
            piece.digests = rng.chance(1, 8);
            if rng.chance(1, 8) {
                let at = rng.index(geometry.piece_size(piece.piece) as usize);
                piece.blocks[at / BLOCK_BYTES][at % BLOCK_BYTES] ^= 1;
                spoilt.push((piece.piece.get(), at / BLOCK_BYTES));
                order.insert(0, piece.piece);
            }
        }
        let wanted: Vec<bool> = batch.iter().map(|piece| piece.digests).collect();
        for ((piece, verdict, digests), wanted) in
            commit(fixture, files, batch).into_iter().zip(wanted)
        {
            let bytes = fixture.bytes(fixture.piece(piece));
            let right: Vec<Digest> = bytes.chunks(BLOCK_BYTES).map(hash::sha1).collect();
            match spoilt.iter().find(|(index, _)| *index == piece) {
                None => {
                    assert_eq!(verdict, Verdict::Good);
                    assert_eq!(digests, if wanted { right } else { vec![] });
                    there[piece as usize] = true;
                }
                Some(&(_, block)) => {
                    assert_eq!(verdict, Verdict::Bad);
                    let wrong = digests.iter().zip(&right).positions_where_different();
                    assert_eq!((digests.len(), wrong), (right.len(), vec![block]));
                }
            }
        }
        // In a small piece length there may be thousands of checks; now and then is enough.
        if rng.chance(1, 4) || order.is_empty() {
            let verdicts = check(fixture, files, fixture.pieces());
            for (index, verdict) in verdicts.into_iter().enumerate() {
                let zeros = fixture
                    .bytes(fixture.piece(index as u32))
                    .iter()
                    .all(|&b| b == 0);
                if there[index] {
                    assert_eq!(verdict, Verdict::Good, "piece {index}");
                } else if !zeros {
                    let not_there = matches!(verdict, Verdict::Missing | Verdict::Bad);
                    assert!(not_there, "piece {index}: {verdict:?}");
                }
            }
        }
    }
    for _ in 0..10 {
        let offset = rng.below(geometry.total());
        let length = 1 + rng.below((geometry.total() - offset).min(70_000));
        let part = 1 + u32::try_from(rng.below(BLOCK_BYTES as u64)).unwrap();
        let part = part.max(u32::try_from(length / 500).unwrap());
        let want = &fixture.content[offset as usize..][..length as usize];
        assert_eq!(read(fixture, files, offset, length, part).unwrap(), want);
    }
}

trait PositionsWhereDifferent {
    fn positions_where_different(self) -> Vec<usize>;
}

impl<'a, I: Iterator<Item = (&'a Digest, &'a Digest)>> PositionsWhereDifferent for I {
    fn positions_where_different(self) -> Vec<usize> {
        self.enumerate()
            .filter(|(_, (a, b))| a != b)
            .map(|(at, _)| at)
            .collect()
    }
}

#[test]
fn random_torrents_are_written_checked_and_read_on_a_disk_in_memory() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let fixture = Fixture::random(Path::new("/root"), &mut rng);
        let mut files = MemoryFiles {
            step: [usize::MAX, 100_000, 4096, 1777][rng.index(4)],
            ..MemoryFiles::default()
        };
        if fixture.geometry().total() == 0 {
            continue;
        }
        commits_checks_and_reads(&fixture, &mut files, &mut rng);
        for (file, entry) in fixture.layout().files.iter().enumerate() {
            let found = files.files.get(&fixture.layout().path(file));
            let on_disk = entry.is_regular() && entry.length > 0;
            assert_eq!(found.is_some(), on_disk, "{:?}", entry.path);
            if let Some(found) = found {
                assert!(found.bytes == fixture.file(file), "{:?}", entry.path);
            }
        }
    }
}

#[test]
fn random_torrents_are_written_checked_and_read_on_a_real_disk() {
    for seed in 100..116 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::random(&directory.path().join("root"), &mut rng);
        // So small a cache turns over all the time.
        let mut files = DiskFiles::with_capacity(1 + rng.index(8));
        if fixture.geometry().total() == 0 {
            continue;
        }
        assert_eq!(
            prepare(&fixture, &mut files, false).unwrap(),
            vec![None; fixture.layout().files.len()]
        );
        prepare(&fixture, &mut files, true).unwrap();
        commits_checks_and_reads(&fixture, &mut files, &mut rng);
        let stamps = prepare(&fixture, &mut files, false).unwrap();
        for (file, entry) in fixture.layout().files.iter().enumerate() {
            let path = fixture.layout().path(file);
            assert_eq!(stamps[file].is_some(), entry.is_regular(), "{path:?}");
            assert_eq!(path.exists(), entry.is_regular(), "{path:?}");
            if !entry.is_regular() {
                continue;
            }
            assert!(fs::read(&path).unwrap() == fixture.file(file), "{path:?}");
            let x = fs::metadata(&path).unwrap().permissions().mode() & 0o100 != 0;
            assert_eq!(x, entry.kind == FileKind::Regular { executable: true });
        }
    }
}

/// Every way in which files can differ from what was written, against a piece by piece model.
#[test]
fn checks_tell_missing_from_bad() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let fixture = Fixture::random(Path::new("/root"), &mut rng);
        let mut files = MemoryFiles::default();
        commit_all(&fixture, &mut files);
        let paths: Vec<PathBuf> = files.files.keys().cloned().collect();
        for path in &paths {
            let file = files.files.get_mut(path).unwrap();
            match rng.below(5) {
                0 => drop(files.files.remove(path)),
                1 => file.bytes.truncate(rng.index(file.bytes.len())),
                2 => {
                    let at = rng.index(file.bytes.len());
                    file.bytes[at] ^= 0x40;
                }
                3 => file.bytes.extend([1, 2, 3]),
                _ => {}
            }
        }
        let verdicts = check(&fixture, &mut files, fixture.pieces());
        for (piece, verdict) in fixture.pieces().into_iter().zip(verdicts) {
            let (layout, geometry) = (fixture.layout(), fixture.geometry());
            let size = u64::from(geometry.piece_size(piece));
            let mut bytes = Some(Vec::new());
            for range in layout.ranges(geometry.piece_offset(piece), size) {
                let padding = vec![0; range.length as usize];
                let found = if layout.files[range.file].kind == FileKind::Pad {
                    Some(padding)
                } else {
                    let file = files.files.get(&layout.path(range.file));
                    let part = range.offset as usize..(range.offset + range.length) as usize;
                    file.and_then(|file| file.bytes.get(part))
                        .map(<[u8]>::to_vec)
                };
                bytes = bytes.zip(found).map(|(a, b)| [a, b].concat());
            }
            let want = match bytes {
                None => Verdict::Missing,
                Some(bytes) if bytes == fixture.bytes(piece) => Verdict::Good,
                Some(_) => Verdict::Bad,
            };
            assert_eq!(verdict, want, "piece {}", piece.get());
        }
    }
}

fn two_files(root: &Path) -> Fixture {
    Fixture::new(
        root,
        32_768,
        &[("n/a", 100_000, PLAIN), ("n/b", 62_000, PLAIN)],
    )
}

#[test]
fn a_full_disk_fails_what_does_not_fit_and_keeps_the_rest() {
    let fixture = two_files(Path::new("/root"));
    let mut files = MemoryFiles {
        capacity: 3 * 32_768 + 100,
        ..MemoryFiles::default()
    };
    let pieces = fixture.geometry().pieces();
    let pieces = pieces.map(|piece| fixture.commit(piece)).collect();
    let verdicts = commit(&fixture, &mut files, pieces);
    for (piece, verdict, _) in verdicts {
        match verdict {
            Verdict::Good => assert!(piece < 3),
            Verdict::Failed(fault) => {
                assert!(piece >= 3);
                assert_eq!(fault.kind, FaultKind::Full);
                assert!(
                    fault.message.contains("cannot write /root/n/"),
                    "{}",
                    fault.message
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        check(&fixture, &mut files, fixture.pieces())[..3],
        [Verdict::Good, Verdict::Good, Verdict::Good]
    );
}

#[test]
fn one_broken_file_fails_its_own_pieces_alone() {
    let fixture = two_files(Path::new("/root"));
    let mut files = MemoryFiles::default();
    files.broken.insert(PathBuf::from("/root/n/a"));
    let pieces = fixture.geometry().pieces();
    let pieces = pieces.map(|piece| fixture.commit(piece)).collect();
    let failed = |verdict: &Verdict| matches!(verdict, Verdict::Failed(fault) if fault.kind == FaultKind::Failed && fault.path == Path::new("/root/n/a"));
    for (piece, verdict, _) in commit(&fixture, &mut files, pieces) {
        assert_eq!(failed(&verdict), piece <= 3, "piece {piece}");
    }
    files.broken.clear();
    commit_all(&fixture, &mut files);
    files.broken.insert(PathBuf::from("/root/n/a"));
    for (piece, verdict) in check(&fixture, &mut files, fixture.pieces())
        .iter()
        .enumerate()
    {
        assert_eq!(failed(verdict), piece <= 3, "piece {piece}");
    }
    assert_eq!(
        read(&fixture, &mut files, 99_000, 2000, 2000)
            .unwrap_err()
            .kind,
        FaultKind::Failed
    );
    let done = fixture.do_job(&mut files, Job::Sync { files: vec![0, 1] });
    assert!(has_fault(&done.outcome));
}

#[test]
fn many_files_are_flushed_by_their_device() {
    let names: Vec<String> = (0..=SYNC_EACH_MAX).map(|i| format!("d/{i}")).collect();
    let list: Vec<_> = names.iter().map(|name| (name.as_str(), 3, PLAIN)).collect();
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(directory.path(), 16_384, &list);
    let mut files = DiskFiles::new();
    commit_all(&fixture, &mut files);
    let all: Vec<_> = (0..list.len()).collect();
    let done = fixture.do_job(&mut files, Job::Sync { files: all.clone() });
    let Outcome::Synced(Ok(synced)) = done.outcome else {
        panic!("{done:?}");
    };
    assert_eq!(synced.iter().map(|one| one.0).collect::<Vec<_>>(), all);

    let mut devices = Vec::new();
    for file in all {
        let place = Place {
            session: SessionId::new(0, 0),
            layout: fixture.layout(),
            file,
        };
        let handle = files.open(place, Access::Read).unwrap();
        files.sync_device(&handle, &mut devices).unwrap();
    }
    assert_eq!(devices.len(), 1, "each device once");
}

#[test]
fn joined_pieces_are_one_write() {
    let fixture = Fixture::new(Path::new("/root"), 65_536, &[("a", 10 * 65_536, PLAIN)]);
    let mut files = MemoryFiles::default();
    commit_all(&fixture, &mut files);
    assert_eq!(files.writes, 1);
    // More than one call takes, and joined over a gap in the job's order.
    let fixture = Fixture::new(Path::new("/root"), 16_384, &[("b", 1500 * 16_384, PLAIN)]);
    files.writes = 0;
    let mut pieces: Vec<_> = fixture
        .pieces()
        .into_iter()
        .map(|piece| fixture.commit(piece))
        .collect();
    pieces.reverse();
    commit(&fixture, &mut files, pieces);
    assert_eq!(files.writes, 2);
    assert!(files.files[Path::new("/root/b")].bytes == fixture.content);
}

#[test]
fn blocks_are_written_in_place_and_come_back() {
    let fixture = two_files(Path::new("/root"));
    let mut files = MemoryFiles::default();
    let refs: Vec<BlockRef> = fixture
        .pieces()
        .into_iter()
        .flat_map(|piece| fixture.geometry().blocks(piece))
        .collect();
    let mut order = refs.clone();
    Rng::new(1).shuffle(&mut order);
    let blocks = order
        .iter()
        .map(|&of| {
            let offset = fixture.geometry().block_offset(of) as usize;
            let bytes = &fixture.content[offset..][..fixture.geometry().block_size(of) as usize];
            (of, block(bytes))
        })
        .collect();
    let done = fixture.do_job(&mut files, Job::Write { blocks });
    let Outcome::Written {
        blocks,
        refs,
        result,
    } = done.outcome
    else {
        panic!("{done:?}");
    };
    assert_eq!((blocks.len(), refs, result), (order.len(), order, Ok(())));
    assert_eq!(files.writes, 2, "one for each file");
    assert!(
        check(&fixture, &mut files, fixture.pieces())
            .iter()
            .all(|verdict| *verdict == Verdict::Good)
    );

    files.capacity = 0;
    files.files.clear();
    let blocks = vec![(
        BlockRef {
            piece: fixture.piece(0),
            block: 0,
        },
        block(&[1]),
    )];
    let done = fixture.do_job(&mut files, Job::Write { blocks });
    match done.outcome {
        Outcome::Written {
            blocks,
            refs,
            result: Err(fault),
        } => {
            assert_eq!(
                (blocks.len(), refs.len(), fault.kind),
                (1, 1, FaultKind::Full)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_too_short_or_gone_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = two_files(directory.path());
    let mut files = DiskFiles::new();
    let gone = |files: &mut DiskFiles| read(&fixture, files, 90_000, 20_000, 16_384).unwrap_err();
    assert_eq!(gone(&mut files).kind, FaultKind::Gone);
    commit_all(&fixture, &mut files);
    assert!(read(&fixture, &mut files, 90_000, 20_000, 16_384).is_ok());
    fs::File::options()
        .write(true)
        .open(directory.path().join("n/a"))
        .unwrap()
        .set_len(95_000)
        .unwrap();
    let fault = gone(&mut files);
    assert_eq!(
        (fault.kind, fault.path),
        (FaultKind::Gone, directory.path().join("n/a"))
    );
    let beyond = read(&fixture, &mut files, 161_999, 2, 2).unwrap_err();
    assert_eq!(beyond.kind, FaultKind::Gone);
}

#[test]
fn holes_are_missing_unless_zeros_are_right() {
    let directory = tempfile::tempdir().unwrap();
    let layout = [
        ("zeros", 1_000_000, PLAIN),
        ("bytes", 1_000_000, PLAIN),
        ("pad", 48_576, FileKind::Pad),
    ];
    let mut content = vec![0; 1_000_000];
    content.resize(2_048_576, 7);
    let fixture = Fixture::of(directory.path(), 131_072, &layout, content);
    for name in ["zeros", "bytes"] {
        fs::File::create(directory.path().join(name))
            .unwrap()
            .set_len(1_000_000)
            .unwrap();
    }
    let mut files = DiskFiles::new();
    let verdicts = check(&fixture, &mut files, fixture.pieces());
    // Piece 7 lies in both files.
    for (piece, verdict) in verdicts.iter().enumerate() {
        let want = if piece < 7 {
            Verdict::Good
        } else {
            Verdict::Missing
        };
        assert_eq!(*verdict, want, "piece {piece}");
    }
    commit(&fixture, &mut files, vec![fixture.commit(fixture.piece(9))]);
    let verdicts = check(&fixture, &mut files, fixture.pieces());
    assert_eq!(
        (&verdicts[8], &verdicts[9], &verdicts[10]),
        (&Verdict::Missing, &Verdict::Good, &Verdict::Missing)
    );
    let done = fixture.do_job(
        &mut files,
        Job::Check {
            pieces: vec![fixture.piece(8), fixture.piece(15)],
            digests: true,
        },
    );
    let Outcome::Checked(checked) = done.outcome else {
        panic!("{done:?}");
    };
    for checked in checked {
        assert_eq!(
            checked.verdict,
            Verdict::Bad,
            "who asks for digests gets them, not a guess"
        );
        let zeros = vec![0; fixture.geometry().piece_size(checked.piece) as usize];
        let digests: Vec<Digest> = zeros.chunks(BLOCK_BYTES).map(hash::sha1).collect();
        assert_eq!(checked.digests, digests);
    }
}

#[test]
fn preparing_makes_what_has_no_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/b");
    let link = |target: &str| FileKind::Symlink {
        target: PathBuf::from(target),
    };
    let fixture = Fixture::new(
        &root,
        16_384,
        &[
            ("n/empty", 0, PLAIN),
            ("n/run", 0, FileKind::Regular { executable: true }),
            ("n/d/e/bytes", 100, PLAIN),
            ("n/d/link", 0, link("n/d/e/bytes")),
            ("n/x/y/link", 0, link("n/empty")),
            ("n/.pad/5", 5, FileKind::Pad),
            ("n/d/here", 0, link("n/d")),
            ("n/d/up", 0, link("n")),
        ],
    );
    let mut files = DiskFiles::new();
    assert_eq!(prepare(&fixture, &mut files, false).unwrap(), vec![None; 8]);
    assert!(
        !directory.path().join("a").exists(),
        "looking makes nothing"
    );
    for _ in 0..2 {
        let stamps = prepare(&fixture, &mut files, true).unwrap();
        let there: Vec<bool> = stamps.iter().map(Option::is_some).collect();
        assert_eq!(there, [&[true, true][..], &[false; 6]].concat());
    }
    assert!(root.join("n/d/e").is_dir() && !root.join("n/.pad").exists());
    assert_eq!(
        fs::read_link(root.join("n/d/link")).unwrap(),
        Path::new("e/bytes")
    );
    assert_eq!(
        fs::read_link(root.join("n/x/y/link")).unwrap(),
        Path::new("../../empty")
    );
    assert!(root.join("n/x/y/link").is_file());
    for (link, text) in [("n/d/here", "."), ("n/d/up", "..")] {
        assert_eq!(fs::read_link(root.join(link)).unwrap(), Path::new(text));
    }
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o111;
    assert_eq!(mode("n/empty"), 0);
    assert_ne!(mode("n/run"), 0);

    commit_all(&fixture, &mut files);
    let stamps = prepare(&fixture, &mut files, true).unwrap();
    let stamp = stamps[2].unwrap();
    assert_eq!(stamp.length, 100);
    let done = fixture.do_job(
        &mut files,
        Job::Sync {
            files: vec![0, 2, 5],
        },
    );
    let Outcome::Synced(Ok(synced)) = done.outcome else {
        panic!("{done:?}");
    };
    assert_eq!(synced, [(0, stamps[0].unwrap()), (2, stamp)]);
    fs::remove_file(root.join("n/d/e/bytes")).unwrap();
    let done = fixture.do_job(&mut files, Job::Sync { files: vec![2] });
    match done.outcome {
        Outcome::Synced(Err(fault)) => {
            assert_eq!(fault.kind, FaultKind::Gone, "open, but not there any more")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_x_bit_is_set_on_a_file_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(
        directory.path(),
        16_384,
        &[("run", 10, FileKind::Regular { executable: true })],
    );
    let path = directory.path().join("run");
    fs::write(&path, [0; 10]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    prepare(&fixture, &mut DiskFiles::new(), true).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o750
    );
}

#[test]
fn what_is_in_the_way_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    type Spoil = fn(&Path);
    #[rustfmt::skip]
    let table: &[(&str, Spoil)] = &[
        ("a directory",                |root| fs::create_dir_all(root.join("n/a")).unwrap()),
        ("a file for a directory",     |root| fs::write(root.join("n"), "").unwrap()),
        ("a link to a file outside",   |root| { fs::create_dir(root.join("n")).unwrap(); symlink("../../outside/a", root.join("n/a")).unwrap() }),
        ("a link to a directory outside", |root| symlink("../outside", root.join("n")).unwrap()),
        ("an absolute link",           |root| symlink(root.parent().unwrap().join("outside"), root.join("n")).unwrap()),
        ("a link to itself",           |root| symlink("n", root.join("n")).unwrap()),
        ("a pipe",                     |root| { fs::create_dir(root.join("n")).unwrap(); rustix::fs::mknodat(rustix::fs::CWD, root.join("n/a"), rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap() }),
    ];
    for (name, spoil) in table {
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(outside.join("a"), "precious").unwrap();
        spoil(&root);
        let fixture = two_files(&root);
        let mut files = DiskFiles::new();
        let kinds = |verdict: &Verdict| match verdict {
            Verdict::Failed(fault) => fault.kind,
            other => panic!("{name}: {other:?}"),
        };
        for create in [false, true] {
            let fault = prepare(&fixture, &mut files, create).expect_err(name);
            assert_eq!(
                (fault.kind, fault.path),
                (FaultKind::InTheWay, root.join("n/a")),
                "{name}"
            );
        }
        let verdict = &check(&fixture, &mut files, vec![fixture.piece(0)])[0];
        assert_eq!(kinds(verdict), FaultKind::InTheWay, "{name}");
        let (_, verdict, _) =
            &commit(&fixture, &mut files, vec![fixture.commit(fixture.piece(0))])[0];
        assert_eq!(kinds(verdict), FaultKind::InTheWay, "{name}");
        assert_eq!(fs::read(outside.join("a")).unwrap(), b"precious", "{name}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{name}");
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn bytes_at_hand_are_read_at_once() {
    for on in [None, Some("/dev/shm")] {
        let Ok(directory) = on.map_or_else(tempfile::tempdir, tempfile::tempdir_in) else {
            continue;
        };
        let layout = [
            ("a", 100_000, PLAIN),
            ("pad", 31_072, FileKind::Pad),
            ("empty", 0, PLAIN),
            ("b", 150_000, PLAIN),
        ];
        let fixture = Fixture::new(directory.path(), 131_072, &layout);
        let mut files = DiskFiles::new();
        files.begin(true);
        commit_all(&fixture, &mut files);
        let offered = files.take_offered();
        let names: Vec<usize> = offered.iter().map(|((_, file), _)| *file).collect();
        assert_eq!(names, [0, 3]);
        let handle = |file: usize| {
            offered
                .iter()
                .find(|((_, of), _)| *of == file)
                .map(|(_, handle)| handle.clone())
        };
        // Just written, so in the page cache.
        for (offset, length, part) in [
            (0, 100, 100),
            (99_990, 40_000, 16_384),
            (120_000, 161_072, 1000),
            (99_999, 2, 1),
        ] {
            let mut run = fixture.run(offset, length, part);
            assert_eq!(
                read_now(fixture.layout(), handle, &mut run, Instant::ZERO),
                Now::Done,
                "{offset}"
            );
            assert!(bytes_of(&run) == fixture.content[offset as usize..][..length as usize]);
        }
        let mut run = fixture.run(99_990, 40_000, 16_384);
        assert_eq!(
            read_now(fixture.layout(), |_| None, &mut run, Instant::ZERO),
            Now::Miss,
            "not open"
        );
        let mut run = fixture.run(281_000, 1000, 1000);
        assert_eq!(
            read_now(fixture.layout(), handle, &mut run, Instant::ZERO),
            Now::Miss,
            "beyond the end"
        );
        handle(3).unwrap().set_len(100_000).unwrap();
        let mut run = fixture.run(281_000, 72, 72);
        assert_eq!(
            read_now(fixture.layout(), handle, &mut run, Instant::ZERO),
            Now::Miss,
            "too short"
        );
    }
}

/// A torrent may have hundreds of thousands of files, and a piece thousands of blocks: neither is looked at to the end when
/// nobody wants to know any more.
#[test]
fn a_job_that_is_told_to_stop_breaks_off_at_the_next_file_or_strip() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (&**name, 10, PLAIN)).collect();
    let many = Fixture::new(Path::new("/root"), 16_384, &many);
    let large = Fixture::new(Path::new("/root"), 4 << 20, &[("a", 8 << 20, PLAIN)]);
    let cases = [
        (
            &many,
            Job::Prepare {
                create: true,
                wanted: Arc::default(),
            },
        ),
        (
            &large,
            Job::Check {
                pieces: large.pieces(),
                digests: true,
            },
        ),
    ];
    for (fixture, job) in cases {
        let kind = job.kind();
        let mut files = MemoryFiles::default();
        commit_all(fixture, &mut files);
        let stop = Arc::new(AtomicBool::new(false));
        files.looks = 0;
        files.stop = Some((7, Arc::clone(&stop)));
        let mut scratch = Scratch::with(stop);
        let done = run(&mut files, &mut scratch, fixture.work(job));
        let same = |job: &Job| job.kind() == kind;
        assert!(
            matches!(&done.outcome, Outcome::Cancelled(job) if same(job)),
            "{kind}: {:?}",
            done.outcome
        );
        // A round of strips is begun together.
        assert!(files.looks <= 8, "{kind}: {} looks", files.looks);
    }
}

#[test]
fn room_is_reckoned_of_what_no_file_has_taken() {
    let directory = tempfile::tempdir().unwrap();
    let files = [("a", 200_000, PLAIN), (".pad/1", 62_144, FileKind::Pad)];
    let fixture = Fixture::new(directory.path(), 65_536, &files);
    let mut files = DiskFiles::new();
    let mut space = || {
        let done = fixture.do_job(
            &mut files,
            Job::Prepare {
                create: true,
                wanted: std::sync::Arc::default(),
            },
        );
        let Outcome::Prepared(Ok(prepared)) = done.outcome else {
            panic!("{done:?}");
        };
        prepared.space.expect("every real file system says")
    };
    let before = space();
    assert!(before.free > 0 && before.unallocated == 200_000);
    let path = fixture.layout().path(0);
    let sparse = fs::File::create(&path).unwrap();
    sparse.set_len(200_000).unwrap();
    assert!(space().unallocated > 100_000, "a hole has taken nothing");
    fs::write(&path, fixture.file(0)).unwrap();
    fs::File::open(&path).unwrap().sync_all().unwrap();
    let after = space();
    assert_eq!((after.device, after.unallocated), (before.device, 0));
}
