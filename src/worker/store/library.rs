//! The torrents that a daemon remembers: a row each, and beside it the torrent file, which is written once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::limits;
use crate::codec::metainfo::Metainfo;
use crate::engine::library::entry::{Kept, tidy_labels};
use crate::engine::library::{Goals, Mode};
use crate::ids::InfoHash;

/// Made when the database is opened, as far as it is not there.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS sessions (
        info_hash   BLOB    PRIMARY KEY,  -- 20 bytes
        number      INTEGER NOT NULL,     -- for people
        position    INTEGER NOT NULL,     -- in the queue, from 0
        root        BLOB    NOT NULL,     -- a path
        paused      INTEGER NOT NULL,     -- 0 or 1
        labels      TEXT    NOT NULL,     -- with commas between them
        wanted      BLOB    NOT NULL,     -- a byte a file, 0 or 1; empty for all
        added       INTEGER NOT NULL,     -- seconds since 1970
        done        INTEGER NOT NULL,     -- the same, or 0
        downloading INTEGER NOT NULL,     -- seconds
        seeding     INTEGER NOT NULL,     -- seconds
        ratio_mode  INTEGER NOT NULL,     -- 0 global, 1 own, 2 none
        ratio       INTEGER NOT NULL,     -- thousandths
        idle_mode   INTEGER NOT NULL,     -- as ratio_mode
        idle        INTEGER NOT NULL,     -- minutes
        finished    INTEGER NOT NULL      -- 0 or 1
    ) STRICT;
    CREATE TABLE IF NOT EXISTS metainfo (
        info_hash   BLOB    PRIMARY KEY,
        bytes       BLOB    NOT NULL      -- the torrent file
    ) STRICT;
    CREATE TABLE IF NOT EXISTS torrent_limits (
        info_hash   BLOB    PRIMARY KEY,
        download    INTEGER NOT NULL,     -- bytes a second
        download_on INTEGER NOT NULL,     -- 0 or 1
        upload      INTEGER NOT NULL,
        upload_on   INTEGER NOT NULL,
        honour      INTEGER NOT NULL,     -- 0 or 1: whether the limits of all are for it
        weight      INTEGER NOT NULL,     -- -1, 0 or 1
        bandwidth_group TEXT NOT NULL     -- empty: none
    ) STRICT;
    CREATE TABLE IF NOT EXISTS bandwidth_groups (
        name        TEXT    PRIMARY KEY,
        download    INTEGER NOT NULL,     -- as in torrent_limits
        download_on INTEGER NOT NULL,
        upload      INTEGER NOT NULL,
        upload_on   INTEGER NOT NULL,
        honour      INTEGER NOT NULL
    ) STRICT;
";

/// Every torrent, in the order of the queue. One whose file does not read as what it should be is passed over, and stays.
pub(super) fn list(database: &mut Connection) -> rusqlite::Result<Vec<Kept>> {
    let mut limits = limits::all(database)?;
    let mut statement = database.prepare_cached(
        "SELECT sessions.info_hash, number, position, root, paused, labels, wanted, added, done, downloading, seeding, bytes,
                ratio_mode, ratio, idle_mode, idle, finished
         FROM sessions JOIN metainfo USING (info_hash) ORDER BY position, number",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let info_hash = InfoHash(row.get(0)?);
        let metainfo = match Metainfo::decode(row.get_ref(11)?.as_blob()?) {
            Ok(metainfo) if metainfo.info_hash == info_hash => metainfo,
            Ok(_) => {
                log::error!("torrent {info_hash}: another torrent is stored under its name");
                continue;
            }
            Err(fault) => {
                log::error!("torrent {info_hash}: cannot be read from the store: {fault}");
                continue;
            }
        };
        let seconds = |at: usize| {
            row.get::<_, i64>(at)
                .map(|value| value.max(0).cast_unsigned())
        };
        found.push(Kept {
            info_hash,
            number: row.get(1)?,
            position: row.get(2)?,
            root: PathBuf::from(OsStr::from_bytes(row.get_ref(3)?.as_blob()?)),
            paused: row.get(4)?,
            labels: tidy_labels(row.get_ref(5)?.as_str()?.split(',')),
            wanted: (row.get_ref(6)?.as_blob()?.iter())
                .map(|mark| *mark != 0)
                .collect(),
            added: seconds(7)?,
            done: seconds(8)?,
            downloading: seconds(9)?,
            seeding: seconds(10)?,
            goals: Goals {
                ratio_mode: Mode::of_number(row.get(12)?).unwrap_or_default(),
                ratio_mille: row.get(13)?,
                idle_mode: Mode::of_number(row.get(14)?).unwrap_or_default(),
                idle_minutes: row.get(15)?,
            },
            limits: limits.remove(&info_hash).unwrap_or_default(),
            finished: row.get(16)?,
            bytes: None,
            metainfo: Some(Arc::new(metainfo)),
        });
    }
    Ok(found)
}

/// Writes a row, and the torrent file where it comes with it.
pub(super) fn keep(database: &Connection, row: &Kept) -> rusqlite::Result<()> {
    let integer = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let wanted: Vec<u8> = row.wanted.iter().map(|mark| u8::from(*mark)).collect();
    database
        .prepare_cached(
            "INSERT OR REPLACE INTO sessions
             (info_hash, number, position, root, paused, labels, wanted, added, done, downloading, seeding,
              ratio_mode, ratio, idle_mode, idle, finished)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            row.info_hash.0,
            row.number,
            row.position,
            row.root.as_os_str().as_bytes(),
            row.paused,
            row.labels.join(","),
            wanted,
            integer(row.added),
            integer(row.done),
            integer(row.downloading),
            integer(row.seeding),
            row.goals.ratio_mode.number(),
            row.goals.ratio_mille,
            row.goals.idle_mode.number(),
            row.goals.idle_minutes,
            row.finished,
        ])?;
    limits::keep(database, row.info_hash, &row.limits)?;
    if let Some(bytes) = &row.bytes {
        database
            .prepare_cached("INSERT OR REPLACE INTO metainfo (info_hash, bytes) VALUES (?1, ?2)")?
            .execute(params![row.info_hash.0, &**bytes])?;
    }
    Ok(())
}

/// Takes away all that is known of a torrent, its progress too.
pub(super) fn forget(database: &Connection, info_hash: InfoHash) -> rusqlite::Result<()> {
    for table in ["sessions", "metainfo", "progress", "torrent_limits"] {
        let statement = format!("DELETE FROM {table} WHERE info_hash = ?1");
        database
            .prepare_cached(&statement)?
            .execute(params![info_hash.0])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::limits::{TorrentLimits, Weight};

    fn torrent(name: &str) -> Vec<u8> {
        let info = format!(
            "d6:lengthi5e4:name{}:{name}12:piece lengthi16384e6:pieces20:",
            name.len()
        );
        [b"d4:info", info.as_bytes(), &[7; 20], b"ee"].concat()
    }

    fn row(name: &str, number: u32, position: u32) -> Kept {
        let bytes = torrent(name);
        let metainfo = Metainfo::decode(&bytes).unwrap();
        Kept {
            info_hash: metainfo.info_hash,
            root: PathBuf::from("/d\u{e4}ta"),
            number,
            position,
            paused: number == 2,
            goals: Goals {
                ratio_mode: Mode::Own,
                ratio_mille: 1500,
                idle_mode: Mode::Unlimited,
                idle_minutes: 30,
            },
            limits: TorrentLimits {
                weight: Weight::High,
                ..TorrentLimits::default()
            },
            finished: number == 1,
            labels: tidy_labels(["a", "b c"]),
            wanted: [true, false].into(),
            added: 1_700_000_000,
            done: 0,
            downloading: 5,
            seeding: u64::MAX,
            bytes: Some(bytes.into()),
            metainfo: Some(Arc::new(metainfo)),
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written_in_the_order_of_the_queue() {
        let mut database = Connection::open_in_memory().unwrap();
        database.execute_batch(SCHEMA).unwrap();
        database
            .execute_batch("CREATE TABLE progress (info_hash BLOB PRIMARY KEY)")
            .unwrap();
        let (one, two) = (row("one", 1, 1), row("two", 2, 0));
        for row in [&one, &two] {
            keep(&database, row).unwrap();
        }
        let read = |row: &Kept| Kept {
            bytes: None,
            seeding: u64::try_from(i64::MAX).unwrap(),
            ..row.clone()
        };
        assert_eq!(list(&mut database).unwrap(), [read(&two), read(&one)]);
        // A change keeps the torrent file that is there.
        let moved = Kept {
            position: 9,
            bytes: None,
            ..two.clone()
        };
        keep(&database, &moved).unwrap();
        assert_eq!(list(&mut database).unwrap(), [read(&one), read(&moved)]);
        forget(&database, one.info_hash).unwrap();
        assert_eq!(list(&mut database).unwrap(), [read(&moved)]);
    }

    #[test]
    fn a_torrent_file_that_is_none_hides_nothing_but_itself() {
        let mut database = Connection::open_in_memory().unwrap();
        database.execute_batch(SCHEMA).unwrap();
        let broken = Kept {
            bytes: Some(b"nonsense".as_slice().into()),
            ..row("one", 1, 0)
        };
        let strange = Kept {
            bytes: Some(torrent("another").into()),
            ..row("two", 2, 1)
        };
        for row in [broken, strange, row("three", 3, 2)] {
            keep(&database, &row).unwrap();
        }
        let numbers: Vec<u32> = list(&mut database)
            .unwrap()
            .iter()
            .map(|row| row.number)
            .collect();
        assert_eq!(numbers, [3]);
    }
}
