use std::fs;

use super::*;
use crate::worker::fixture::{Fixture, PLAIN, SESSION};

fn many(root: &Path) -> Fixture {
    let names: Vec<String> = (0..10).map(|n| format!("f{n}")).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 10, PLAIN))
        .collect();
    Fixture::new(root, 16_384, &files)
}

fn keys(files: &DiskFiles) -> Vec<FileIndex> {
    files.table().entries.keys().map(|key| key.1).collect()
}

#[test]
fn the_least_recently_used_handle_goes() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = many(directory.path());
    let mut files = DiskFiles::with_capacity(3);
    let open = |file: FileIndex, session: SessionId| {
        let place = Place {
            session,
            layout: fixture.layout(),
            file,
        };
        let handle = files.clone().open(place, Access::Write).unwrap();
        (handle, keys(&files))
    };
    assert_eq!(open(0, SESSION).1, [0]);
    assert_eq!(open(1, SESSION).1, [0, 1]);
    assert_eq!(open(2, SESSION).1, [0, 1, 2]);
    let (first, _) = open(0, SESSION);
    assert_eq!(
        open(3, SESSION).1,
        [0, 2, 3],
        "1 was not used for the longest"
    );
    let (again, _) = open(0, SESSION);
    assert!(Arc::ptr_eq(&first, &again));
    let other = SessionId::new(9, 9);
    let (elsewhere, _) = open(0, other);
    assert!(
        !Arc::ptr_eq(&first, &elsewhere),
        "a handle is its session's own"
    );
    files.close(SESSION);
    assert_eq!(keys(&files), [0]);
    files.close(other);
    assert_eq!(keys(&files), [0; 0]);
}

#[test]
fn a_handle_for_reading_is_opened_anew_for_writing() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = many(directory.path());
    let place = Place {
        session: SESSION,
        layout: fixture.layout(),
        file: 0,
    };
    fs::write(directory.path().join("f0"), "abc").unwrap();
    let mut files = DiskFiles::new();
    let reading = files.open(place, Access::Read).unwrap();
    assert!(files.write_at(&reading, &[IoSlice::new(b"x")], 0).is_err());
    let writing = files.open(place, Access::Write).unwrap();
    files.write_at(&writing, &[IoSlice::new(b"x")], 0).unwrap();
    let both = files.open(place, Access::Read).unwrap();
    assert!(Arc::ptr_eq(&writing, &both));
    assert_eq!(files.stamp(&both).unwrap(), files.stat(place).unwrap());
}

#[test]
fn a_file_that_is_missing_is_made_for_writing_alone() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = many(&directory.path().join("root"));
    let place = Place {
        session: SESSION,
        layout: fixture.layout(),
        file: 0,
    };
    let mut files = DiskFiles::new();
    let error = files.open(place, Access::Read).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(!directory.path().join("root").exists());
    files.open(place, Access::Write).unwrap();
    assert!(directory.path().join("root/f0").is_file());
}

#[test]
fn offers_are_bounded_and_each_once() {
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..OFFERED_MAX + 10).map(|n| format!("f{n}")).collect();
    let list: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 10, PLAIN))
        .collect();
    let fixture = Fixture::new(directory.path(), 16_384, &list);
    let mut files = DiskFiles::new();
    files.begin(true);
    for _ in 0..2 {
        for file in 0..list.len() {
            let place = Place {
                session: SESSION,
                layout: fixture.layout(),
                file,
            };
            files.open(place, Access::Write).unwrap();
        }
    }
    assert_eq!(files.take_offered().len(), OFFERED_MAX);
    assert!(files.take_offered().is_empty());
}

/// What was read from a file that another program writes to is never handed on, by whichever way it was read.
#[test]
fn a_read_of_a_changed_file_fails() {
    use crate::engine::message::{Expected, FaultKind, Job, Outcome, ReadRun};
    use crate::worker::{Now, read_now};
    use std::os::unix::fs::FileExt;

    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(
        directory.path(),
        16_384,
        &[("a", 100, PLAIN), ("b", 100, PLAIN)],
    );
    for file in 0..2 {
        fs::write(fixture.layout().path(file), fixture.file(file)).unwrap();
    }
    let mut files = DiskFiles::new();
    let place = |file| Place {
        session: SESSION,
        layout: fixture.layout(),
        file,
    };
    let handles = [0, 1].map(|file| files.open(place(file), Access::Read).unwrap());
    let stamps = handles.each_ref().map(|handle| stamp_of(handle).unwrap());
    let run = || {
        let expected = stamps.iter().enumerate();
        let expected = expected.map(|(file, &stamp)| Expected {
            file,
            stamp,
            found: None,
        });
        ReadRun {
            expected: expected.collect(),
            ..fixture.run(50, 100, 100)
        }
    };
    // What is found when that is not what it should be, and whether a read on the spot says the same.
    let mut time = Instant::ZERO;
    let mut read = || -> Result<(), (FaultKind, Vec<bool>)> {
        time += LOOK_LIFE;
        let now = read_now(
            fixture.layout(),
            |file| Some(Arc::clone(&handles[file])),
            &mut run(),
            time,
        );
        let done = fixture.do_job(&mut files, Job::Read(run()));
        let Outcome::Read(run, result) = done.outcome else {
            panic!("{done:?}");
        };
        assert_eq!(now == Now::Done, result.is_ok());
        let found = run.expected.iter().map(|expected| expected.found.is_some());
        result.map_err(|fault| (fault.kind, found.collect()))
    };
    assert_eq!(read(), Ok(()));
    let path = fixture.layout().path(1);
    let other = fs::OpenOptions::new().write(true).open(&path).unwrap();
    other.write_all_at(b"x", 99).unwrap();
    let changed = Err((FaultKind::Changed, vec![false, true]));
    assert_eq!(read(), changed, "in place, even where nothing was read");
    fs::write(&path, fixture.file(1)).unwrap();
    assert_eq!(read(), changed, "put back by hand: its time is another");
    other
        .set_modified(
            std::time::UNIX_EPOCH
                + Duration::from_nanos(stamps[1].modified_nanos.try_into().unwrap()),
        )
        .unwrap();
    assert_eq!(read(), Ok(()), "with its time, as a backup does it");
    // A new file of that name is not what we have open, and that is as it was.
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"something else").unwrap();
    assert_eq!(read(), Ok(()));
}

/// Streams that ask for a block each share one look.
#[test]
fn a_look_at_a_file_is_good_for_a_millisecond() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    fs::write(&path, b"right").unwrap();
    let file = OpenFile::new(File::open(&path).unwrap());
    let stamp = stamp_of(&file).unwrap();
    let at = |micros: u64| Instant::from_micros(5_000_000 + micros);
    assert!(file.is_as(stamp, at(0)));
    fs::write(&path, b"wrong!").unwrap();
    assert!(file.is_as(stamp, at(999)));
    assert!(!file.is_as(stamp, at(1000)));
    assert!(
        !file.is_as(stamp, at(1001)),
        "what is wrong is looked at each time"
    );
    assert!(file.is_as(stamp_of(&file).unwrap(), at(1002)));
}
