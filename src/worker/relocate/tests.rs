#![allow(clippy::disallowed_methods, reason = "tests with files")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::engine::message::{FileStamp, Job, Outcome, Work};
use crate::ids::JobId;
use crate::worker::fixture::{Fixture, PLAIN, SESSION};
use crate::worker::{DiskFiles, Scratch};

/// A torrent on disk, and where it goes.
struct Bench {
    _directories: [tempfile::TempDir; 2],
    old: Fixture,
    new: Arc<Storage>,
    files: DiskFiles,
}

/// One directory beside the other, or on another file system where the machine has one.
const PLACES: [Option<&str>; 2] = [None, Some("/dev/shm")];

impl Bench {
    fn new(place: Option<&str>) -> Self {
        let first = tempfile::tempdir().unwrap();
        let second = match place {
            Some(place) if Path::new(place).is_dir() => tempfile::tempdir_in(place).unwrap(),
            _ => tempfile::tempdir().unwrap(),
        };
        let pad = FileKind::Pad;
        let files = [
            ("t/a", 70_000, PLAIN),
            ("t/pad", 1000, pad),
            ("t/d/b", 5, PLAIN),
            ("t/d/empty", 0, PLAIN),
            ("t/never", 100, PLAIN),
            ("t/d/e/c", 33 << 20, PLAIN),
        ];
        let old = Fixture::new(&first.path().join("old"), 1 << 20, &files);
        for (file, entry) in old.layout().files.iter().enumerate() {
            let path = old.layout().path(file);
            if *entry.path != *"t/never" && entry.kind != FileKind::Pad {
                let (from, length) = (entry.offset, entry.length);
                let range = usize::try_from(from).unwrap()..usize::try_from(from + length).unwrap();
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, &old.content[range]).unwrap();
            }
        }
        let layout = old.layout().at(&second.path().join("deep/new"));
        let new = Storage {
            info_hash: old.storage.info_hash,
            piece_hashes: Arc::clone(&old.storage.piece_hashes),
            layout,
        };
        Self {
            _directories: [first, second],
            old,
            new: Arc::new(new),
            files: DiskFiles::new(),
        }
    }

    fn begin(&self, resumed: bool, stamps: Vec<Option<FileStamp>>) -> Box<Relocation> {
        Box::new(Relocation {
            to: Arc::clone(&self.new),
            stamps: stamps.into(),
            task: RelocateTask::Look,
            resumed,
            next: 0,
            copied: 0,
            bytes: 0,
            carried: Vec::new(),
        })
    }

    /// One job.
    fn step(&mut self, relocation: Box<Relocation>) -> (Box<Relocation>, Result<bool, Fault>) {
        let work = Work {
            id: JobId(1),
            session: SESSION,
            storage: Arc::clone(&self.old.storage),
            job: Job::Relocate(relocation),
        };
        self.files.begin(false);
        let done = crate::worker::disk::run(&mut self.files, &mut Scratch::default(), work);
        match done.outcome {
            Outcome::Relocated(relocation, result) => (relocation, result),
            other => panic!("{other:?}"),
        }
    }

    /// All jobs of a task.
    fn finish(&mut self, mut relocation: Box<Relocation>) -> (Box<Relocation>, Result<(), Fault>) {
        loop {
            let (next, result) = self.step(relocation);
            match result {
                Ok(false) => relocation = next,
                Ok(true) => return (next, Ok(())),
                Err(fault) => return (next, Err(fault)),
            }
        }
    }

    fn stamps(&mut self) -> Vec<Option<FileStamp>> {
        let session = SESSION;
        let layout = self.old.layout().clone();
        (0..layout.files.len())
            .map(|file| {
                let place = Place {
                    session,
                    layout: &layout,
                    file,
                };
                self.files.stat(place).ok()
            })
            .collect()
    }

    /// Each file is whole in exactly one place: where, in a letter each.
    fn where_they_are(&self) -> String {
        let mut text = String::new();
        for (file, entry) in self.old.layout().files.iter().enumerate() {
            if entry.kind == FileKind::Pad || *entry.path == *"t/never" {
                continue;
            }
            let (from, length) = (entry.offset, entry.length);
            let range = usize::try_from(from).unwrap()..usize::try_from(from + length).unwrap();
            let want = &self.old.content[range];
            let holds = |layout: &Layout| fs::read(layout.path(file)).is_ok_and(|got| got == want);
            text.push(match (holds(self.old.layout()), holds(&self.new.layout)) {
                (true, false) => 'o',
                (false, true) => 'n',
                (true, true) => '2',
                (false, false) => '0',
            });
        }
        text
    }
}

/// What lies below a directory, directories too.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![path.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

#[test]
fn files_go_and_keep_their_time_and_leave_no_directory() {
    for place in PLACES {
        let mut bench = Bench::new(place);
        let stamps = bench.stamps();
        let stranger = bench.old.layout().root.join("t/d/theirs");
        fs::write(&stranger, b"x").unwrap();
        let (mut relocation, looked) = bench.finish(bench.begin(false, stamps.clone()));
        looked.unwrap();
        assert_eq!(bench.where_they_are(), "oooo");
        relocation.task = RelocateTask::Carry;
        let (relocation, carried) = bench.finish(relocation);
        carried.unwrap();
        assert_eq!(bench.where_they_are(), "nnnn", "{place:?}");
        assert_eq!(relocation.carried, [0, 2, 3, 5]);
        let new = Arc::clone(&bench.new);
        for (file, stamp) in stamps.iter().enumerate() {
            let layout = &new.layout;
            let session = SESSION;
            let there = bench.files.stat(Place {
                session,
                layout,
                file,
            });
            assert_eq!(there.ok(), *stamp, "{place:?} {file}");
        }
        let mut left = tree(&bench.old.layout().root);
        left.sort();
        let root = &bench.old.layout().root;
        assert_eq!(left, [root.join("t"), root.join("t/d"), stranger]);
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_has_moved_then() {
    for place in PLACES {
        let mut bench = Bench::new(place);
        let theirs = bench.new.layout.path(2);
        fs::create_dir_all(theirs.parent().unwrap()).unwrap();
        fs::write(&theirs, b"theirs").unwrap();
        let (mut relocation, looked) = bench.finish(bench.begin(false, Vec::new()));
        assert_eq!(looked.unwrap_err().kind, FaultKind::InTheWay);
        // It has come between the look and the move: those that went come back.
        relocation.task = RelocateTask::Carry;
        let (mut relocation, carried) = bench.finish(relocation);
        assert_eq!(carried.unwrap_err().kind, FaultKind::InTheWay);
        assert_eq!(relocation.carried, [0]);
        relocation.task = RelocateTask::Back;
        let (relocation, back) = bench.finish(relocation);
        back.unwrap();
        assert!(relocation.carried.is_empty());
        assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
        assert_eq!(bench.where_they_are(), "oooo", "{place:?}");
    }
}

#[test]
fn a_move_that_was_cut_off_anywhere_is_found_and_finished() {
    for place in PLACES {
        for cut in 0..4 {
            let mut bench = Bench::new(place);
            let stamps = bench.stamps();
            let (mut relocation, looked) = bench.finish(bench.begin(false, stamps.clone()));
            looked.unwrap();
            relocation.task = RelocateTask::Carry;
            for _ in 0..cut {
                let (next, result) = bench.step(relocation);
                relocation = next;
                if result.unwrap() {
                    break;
                }
            }
            if cut == 3 {
                // As if the copy had its name and the original had not gone.
                let (old, new) = (bench.old.layout().path(2), bench.new.layout.path(2));
                fs::create_dir_all(old.parent().unwrap()).unwrap();
                fs::copy(&new, &old).unwrap();
                let time = fs::metadata(&new).unwrap().modified().unwrap();
                fs::File::open(&old).unwrap().set_modified(time).unwrap();
            }
            // The next run knows nothing of it but the intent.
            let (mut relocation, looked) = bench.finish(bench.begin(true, stamps));
            looked.unwrap();
            relocation.task = RelocateTask::Carry;
            let (mut relocation, carried) = bench.finish(relocation);
            carried.unwrap();
            assert_eq!(bench.where_they_are(), "nnnn", "{place:?} cut {cut}");
            let parts = tree(&bench.new.layout.root);
            let is_part = |path: &PathBuf| path.extension().is_some_and(|end| end == "part");
            assert!(!parts.iter().any(is_part), "{parts:?}");
            // And back again, those of the first run too.
            relocation.task = RelocateTask::Back;
            bench.finish(relocation).1.unwrap();
            assert_eq!(bench.where_they_are(), "oooo", "{place:?} cut {cut}");
        }
    }
}

#[test]
fn links_lead_nowhere_else() {
    for place in PLACES {
        let mut bench = Bench::new(place);
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(&bench.new.layout.root).unwrap();
        std::os::unix::fs::symlink(outside.path(), bench.new.layout.root.join("t")).unwrap();
        let (mut relocation, looked) = bench.finish(bench.begin(false, Vec::new()));
        assert_eq!(looked.unwrap_err().kind, FaultKind::InTheWay);
        relocation.task = RelocateTask::Carry;
        let (_, carried) = bench.finish(relocation);
        assert_eq!(carried.unwrap_err().kind, FaultKind::InTheWay);
        assert_eq!(tree(outside.path()), Vec::<PathBuf>::new());
        assert_eq!(bench.where_they_are(), "oooo");
    }
}
