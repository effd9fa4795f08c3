//! The torrents that a daemon remembers: a row each, and beside it the torrent file, which is written once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::limits;
use crate::codec::metainfo::Metainfo;
use crate::engine::library::brief::{Brief, Standing, Tiers};
use crate::engine::library::entry::{Kept, tidy_labels};
use crate::engine::library::{Goals, Mode};
use crate::engine::message::{Known, StoreFault, Times};
use crate::ids::InfoHash;

mod marks;
mod places;

/// Made when the database is opened, as far as it is not there.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS sessions (
        info_hash   BLOB    PRIMARY KEY,  -- 20 bytes
        number      INTEGER NOT NULL,     -- for people
        position    INTEGER NOT NULL,     -- in the queue, from 0
        root        BLOB    NOT NULL,     -- a path
        paused      INTEGER NOT NULL,     -- 0 no, 1 by a person, 2 otherwise
        labels      TEXT    NOT NULL,     -- with commas between them
        wanted      BLOB    NOT NULL,     -- a byte a file: 1 when it is wanted, more for a priority (marks.rs)
        added       INTEGER NOT NULL,     -- seconds since 1970
        done        INTEGER NOT NULL,     -- the same, or 0
        downloading INTEGER NOT NULL,     -- seconds
        seeding     INTEGER NOT NULL,     -- seconds
        ratio_mode  INTEGER NOT NULL,     -- 0 global, 1 own, 2 none
        ratio       INTEGER NOT NULL,     -- thousandths
        idle_mode   INTEGER NOT NULL,     -- as ratio_mode
        idle        INTEGER NOT NULL,     -- minutes
        finished    INTEGER NOT NULL,     -- 0 or 1
        name        TEXT    NOT NULL,     -- what a list shows, from here on
        size        INTEGER NOT NULL,     -- bytes of its real files
        bytes       INTEGER NOT NULL,     -- of all pieces
        piece       INTEGER NOT NULL,     -- bytes
        pieces      INTEGER NOT NULL,
        files       INTEGER NOT NULL,     -- real ones
        private     INTEGER NOT NULL,     -- 0 or 1
        trackers    TEXT    NOT NULL,     -- a line each, an empty one between tiers
        have_wanted INTEGER NOT NULL,     -- bytes that are wanted
        have_bytes  INTEGER NOT NULL,     -- of those, there
        have_all    INTEGER NOT NULL,     -- bytes there, wanted or not
        have_pieces INTEGER NOT NULL,
        whole       INTEGER NOT NULL,     -- 0 or 1: all that is wanted is there and recorded
        uploaded    INTEGER NOT NULL,     -- bytes
        downloaded  INTEGER NOT NULL,     -- bytes
        magnet      TEXT    NOT NULL,     -- the link, until the metadata is known; empty then
        peer_limit  INTEGER NOT NULL      -- streams; 0 for as many as any
    ) STRICT;
    CREATE TABLE IF NOT EXISTS whereabouts (  -- of torrents that were moved or renamed, or are to be
        info_hash   BLOB    PRIMARY KEY,
        renames     BLOB    NOT NULL,     -- path and name by turns, a NUL behind each
        moving      BLOB    NOT NULL,     -- the directory its files are going to; empty when they are not
        carry       INTEGER NOT NULL,     -- whether they are taken there: 0 or 1
        new_renames BLOB    NOT NULL,     -- as renames, from then on
        then_to     BLOB    NOT NULL      -- the directory they go to when all is there, or empty
    ) STRICT;
    CREATE TABLE IF NOT EXISTS trackers (     -- of torrents whose trackers a person has changed
        info_hash   BLOB    PRIMARY KEY,
        list        TEXT    NOT NULL      -- number, tier and URL a line
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

/// Every torrent, in the order of the queue. No torrent file is read.
pub(super) fn list(database: &mut Connection) -> rusqlite::Result<Vec<Kept>> {
    let mut limits = limits::all(database)?;
    let mut statement = database.prepare_cached(
        "SELECT info_hash, number, position, root, paused, labels, wanted, added, done, downloading, seeding,
                ratio_mode, ratio, idle_mode, idle, finished,
                name, size, bytes, piece, pieces, files, private, sessions.trackers,
                have_wanted, have_bytes, have_all, have_pieces, whole, uploaded, downloaded, magnet, peer_limit,
                renames, moving, carry, new_renames, then_to, list
         FROM sessions LEFT JOIN whereabouts USING (info_hash)
         LEFT JOIN trackers USING (info_hash) ORDER BY position, number",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    // Most torrents have the trackers, the labels and the marks of many others.
    let mut known_tiers: BTreeMap<String, Tiers> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let number = |at: usize| {
            row.get::<_, i64>(at)
                .map(|value| value.max(0).cast_unsigned())
        };
        let text = row.get_ref(23)?.as_str()?;
        let tiers = match known_tiers.get(text) {
            Some(tiers) => Arc::clone(tiers),
            None => {
                let tiers = tiers_of(text);
                known_tiers.insert(text.to_owned(), Arc::clone(&tiers));
                tiers
            }
        };
        let brief = Brief {
            info_hash: InfoHash(row.get(0)?),
            name: row.get_ref(16)?.as_str()?.into(),
            root: PathBuf::from(OsStr::from_bytes(row.get_ref(3)?.as_blob()?)),
            total_size: number(17)?,
            bytes: number(18)?,
            piece_length: row.get(19)?,
            piece_count: row.get(20)?,
            file_count: row.get(21)?,
            private: row.get(22)?,
            trackers: tiers,
            magnet: Some(row.get_ref(31)?.as_str()?)
                .filter(|link| !link.is_empty())
                .map(Into::into),
        };
        let standing = Standing {
            bytes_wanted: number(24)?,
            bytes_have: number(25)?,
            bytes_verified: number(26)?,
            pieces_have: row.get(27)?,
            whole: row.get(28)?,
            uploaded: number(29)?,
            downloaded: number(30)?,
        };
        let limits = limits.remove(&brief.info_hash).unwrap_or_default();
        let (wanted, priorities) = marks::read(row.get_ref(6)?.as_blob()?);
        found.push(Kept {
            brief: Arc::new(brief),
            standing,
            number: row.get(1)?,
            position: row.get(2)?,
            paused: row.get::<_, u8>(4)? != 0,
            stopped: row.get::<_, u8>(4)? == 1,
            labels: tidy_labels(row.get_ref(5)?.as_str()?.split(',')),
            wanted,
            priorities,
            added: number(7)?,
            done: number(8)?,
            downloading: number(9)?,
            seeding: number(10)?,
            goals: Goals {
                ratio_mode: Mode::of_number(row.get(11)?).unwrap_or_default(),
                ratio_mille: row.get(12)?,
                idle_mode: Mode::of_number(row.get(13)?).unwrap_or_default(),
                idle_minutes: row.get(14)?,
            },
            limits,
            finished: row.get(15)?,
            peer_limit: row.get(32)?,
            whereabouts: places::whereabouts_of(row, 33)?,
            trackers: places::trackers_of(row, 38)?,
            bytes: None,
        });
    }
    Ok(found)
}

/// A line for each URL, an empty one between tiers.
fn text_of(tiers: &[Vec<String>]) -> String {
    let tiers: Vec<String> = tiers.iter().map(|urls| urls.join("\n")).collect();
    tiers.join("\n\n")
}

/// The inverse.
fn tiers_of(text: &str) -> Tiers {
    let tiers = text.split("\n\n").filter(|tier| !tier.is_empty());
    tiers
        .map(|tier| tier.split('\n').map(str::to_owned).collect())
        .collect()
}

/// The torrent files of `torrents` and the pieces that were recorded of each, in their order.
pub(super) fn read(
    database: &mut Connection,
    torrents: &[InfoHash],
) -> rusqlite::Result<Vec<Result<Known, StoreFault>>> {
    let mut statement = database.prepare_cached(
        "SELECT metainfo.bytes, progress.have
         FROM metainfo JOIN sessions USING (info_hash)
         LEFT JOIN progress ON progress.info_hash = sessions.info_hash AND progress.root = sessions.root
         WHERE sessions.info_hash = ?1",
    )?;
    let mut one = |info_hash: InfoHash| -> rusqlite::Result<Result<Known, StoreFault>> {
        let failed = |why: &dyn std::fmt::Display| {
            let text =
                format!("the torrent file of {info_hash} in the store cannot be used: {why}");
            Ok(Err(StoreFault::Failed(text)))
        };
        let mut rows = statement.query(params![info_hash.0])?;
        let Some(row) = rows.next()? else {
            return failed(&"it is not there");
        };
        match Metainfo::decode(row.get_ref(0)?.as_blob()?) {
            Ok(metainfo) if metainfo.info_hash == info_hash => Ok(Ok(Known {
                metainfo: Arc::new(metainfo),
                have: row.get::<_, Option<Vec<u8>>>(1)?.unwrap_or_default(),
            })),
            Ok(_) => failed(&"it is another torrent's"),
            Err(fault) => failed(&fault),
        }
    };
    torrents.iter().map(|info_hash| one(*info_hash)).collect()
}

/// Writes a row, and the torrent file where it comes with it.
pub(super) fn keep(database: &Connection, row: &Kept) -> rusqlite::Result<()> {
    let integer = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    places::keep(database, row)?;
    let (brief, standing) = (&*row.brief, &row.standing);
    database
        .prepare_cached(
            "INSERT OR REPLACE INTO sessions
             (info_hash, number, position, root, paused, labels, wanted, added, done, downloading, seeding,
              ratio_mode, ratio, idle_mode, idle, finished,
              name, size, bytes, piece, pieces, files, private, trackers,
              have_wanted, have_bytes, have_all, have_pieces, whole, uploaded, downloaded, magnet, peer_limit)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                     ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)",
        )?
        .execute(params![
            brief.info_hash.0,
            row.number,
            row.position,
            brief.root.as_os_str().as_bytes(),
            match (row.paused, row.stopped) {
                (false, _) => 0_u8,
                (true, true) => 1,
                (true, false) => 2,
            },
            row.labels.join(","),
            marks::written(&row.wanted, &row.priorities),
            integer(row.added),
            integer(row.done),
            integer(row.downloading),
            integer(row.seeding),
            row.goals.ratio_mode.number(),
            row.goals.ratio_mille,
            row.goals.idle_mode.number(),
            row.goals.idle_minutes,
            row.finished,
            &*brief.name,
            integer(brief.total_size),
            integer(brief.bytes),
            brief.piece_length,
            brief.piece_count,
            brief.file_count,
            brief.private,
            text_of(&brief.trackers),
            integer(standing.bytes_wanted),
            integer(standing.bytes_have),
            integer(standing.bytes_verified),
            standing.pieces_have,
            standing.whole,
            integer(standing.uploaded),
            integer(standing.downloaded),
            brief.magnet.as_deref().unwrap_or_default(),
            row.peer_limit,
        ])?;
    limits::keep(database, row.brief.info_hash, &row.limits)?;
    if let Some(bytes) = &row.bytes {
        database
            .prepare_cached("INSERT OR REPLACE INTO metainfo (info_hash, bytes) VALUES (?1, ?2)")?
            .execute(params![brief.info_hash.0, &**bytes])?;
    }
    Ok(())
}

/// Notes how long torrents have been at it.
pub(super) fn note_times(database: &Connection, times: &[Times]) -> rusqlite::Result<()> {
    let integer = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut statement = database.prepare_cached(
        "UPDATE sessions SET downloading = ?2, seeding = ?3 WHERE info_hash = ?1",
    )?;
    for one in times {
        let (downloading, seeding) = (integer(one.downloading), integer(one.seeding));
        statement.execute(params![one.info_hash.0, downloading, seeding])?;
    }
    Ok(())
}

/// Takes away all that is known of a torrent, its progress too.
pub(super) fn forget(database: &Connection, info_hash: InfoHash) -> rusqlite::Result<()> {
    for table in [
        "sessions",
        "metainfo",
        "progress",
        "whereabouts",
        "trackers",
        "torrent_limits",
    ] {
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
    use crate::engine::session::picker::Priority;

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
            brief: Arc::new(Brief::of(&metainfo, "/d\u{e4}ta".as_ref())),
            standing: Standing {
                bytes_wanted: 5,
                bytes_have: 5,
                bytes_verified: 5,
                pieces_have: 1,
                uploaded: 10,
                downloaded: 5,
                whole: true,
            },
            number,
            position,
            paused: number == 2,
            stopped: number == 2,
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
            peer_limit: 7,
            labels: tidy_labels(["a", "b c"]),
            wanted: [true, false].into(),
            priorities: [Priority::High, Priority::Low].into(),
            whereabouts: None,
            trackers: None,
            added: 1_700_000_000,
            done: 0,
            downloading: 5,
            seeding: u64::MAX,
            bytes: Some(bytes.into()),
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written_in_the_order_of_the_queue() {
        let mut database = Connection::open_in_memory().unwrap();
        database.execute_batch(SCHEMA).unwrap();
        database
            .execute_batch(
                "CREATE TABLE progress (info_hash BLOB, root BLOB, have BLOB, PRIMARY KEY (info_hash, root))",
            )
            .unwrap();
        let (one, mut two) = (row("one", 1, 1), row("two", 2, 0));
        (two.whereabouts, two.trackers) = places::tests::some();
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
        database
            .execute(
                "INSERT INTO progress (info_hash, root) VALUES (?1, ?2)",
                params![two.brief.info_hash.0, two.brief.root.as_os_str().as_bytes()],
            )
            .unwrap();
        let moved = Kept {
            position: 9,
            bytes: None,
            brief: Arc::new(Brief {
                root: PathBuf::from("/elsewhere"),
                ..Brief::clone(&two.brief)
            }),
            whereabouts: None,
            trackers: None,
            ..two.clone()
        };
        keep(&database, &moved).unwrap();
        assert_eq!(list(&mut database).unwrap(), [read(&one), read(&moved)]);
        let root: Vec<u8> = database
            .query_row("SELECT root FROM progress", [], |row| row.get(0))
            .unwrap();
        assert_eq!(root, b"/elsewhere", "progress moves with its torrent");
        forget(&database, one.brief.info_hash).unwrap();
        assert_eq!(list(&mut database).unwrap(), [read(&moved)]);
    }

    #[test]
    fn a_torrent_file_that_is_none_hides_nothing_but_itself() {
        let mut database = Connection::open_in_memory().unwrap();
        database.execute_batch(SCHEMA).unwrap();
        database
            .execute_batch("CREATE TABLE progress (info_hash BLOB, root BLOB, have BLOB)")
            .unwrap();
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
        let rows = list(&mut database).unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.brief.info_hash).collect();
        let read = read(&mut database, &names).unwrap();
        let told = |at: usize| match &read[at] {
            Ok(known) => known.metainfo.name.clone(),
            Err(StoreFault::Failed(text)) => text.clone(),
            Err(fault) => panic!("{fault:?}"),
        };
        assert!(told(0).contains("cannot be used"), "{}", told(0));
        assert!(told(1).contains("another torrent's"), "{}", told(1));
        assert_eq!(told(2), "three");
    }

    #[test]
    fn trackers_are_written_by_tier() {
        let tiers: Tiers = [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]].into();
        for tiers in [tiers, Tiers::default()] {
            assert_eq!(tiers_of(&text_of(&tiers)), tiers);
        }
    }
}
