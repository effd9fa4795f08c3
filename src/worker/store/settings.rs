//! What a daemon remembers beside torrents: the settings that clients have changed, a row each, and the totals of all runs.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use crate::engine::library::{Remembered, SettingRow, Totals};

/// Made when the database is opened, as far as it is not there.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS settings (
        key        TEXT PRIMARY KEY,  -- section.key; off:section.key is what it becomes when it is switched on
        value      TEXT NOT NULL,     -- JSON
        configured TEXT NOT NULL      -- what the configuration said when it was changed
    ) STRICT;
    CREATE TABLE IF NOT EXISTS totals (
        key        TEXT    PRIMARY KEY,
        value      INTEGER NOT NULL
    ) STRICT;
";

/// What the daemon whose state is in `state` remembers; nothing where there is none. Changes nothing, and waits for nobody.
///
/// # Errors
/// What the database says.
pub fn read(state: &Path) -> Result<Remembered, String> {
    let path = state.join("linnet.db");
    if !path.exists() {
        return Ok(Remembered::default());
    }
    let read = || {
        let mut database = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let is_there =
            "SELECT COUNT(*) = 2 FROM sqlite_schema WHERE name IN ('settings', 'totals')";
        if database.query_row(is_there, [], |row| row.get(0))? {
            recall(&mut database)
        } else {
            rusqlite::Result::Ok(Box::default())
        }
    };
    match read() {
        Ok(remembered) => Ok(*remembered),
        Err(fault) => Err(format!("{}: {fault}", path.display())),
    }
}

/// Everything.
pub(super) fn recall(database: &mut Connection) -> rusqlite::Result<Box<Remembered>> {
    let mut remembered = Remembered::default();
    let mut statement =
        database.prepare_cached("SELECT key, value, configured FROM settings ORDER BY key")?;
    let rows = statement.query_map([], |row| {
        Ok(SettingRow {
            key: row.get(0)?,
            value: Some(row.get(1)?),
            configured: row.get(2)?,
        })
    })?;
    remembered.settings = rows.collect::<Result<_, _>>()?;
    let mut statement = database.prepare_cached("SELECT key, value FROM totals")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let value = row.get::<_, i64>(1)?.max(0).cast_unsigned();
        let totals = &mut remembered.totals;
        match row.get_ref(0)?.as_str()? {
            "uploaded" => totals.uploaded = value,
            "downloaded" => totals.downloaded = value,
            "added" => totals.added = value,
            "seconds" => totals.seconds = value,
            "runs" => totals.runs = value,
            _ => {}
        }
    }
    Ok(Box::new(remembered))
}

/// Writes rows, and takes those away that have no value.
pub(super) fn keep(database: &Connection, rows: &[SettingRow]) -> rusqlite::Result<()> {
    for row in rows {
        if let Some(value) = &row.value {
            database
                .prepare_cached(
                    "INSERT OR REPLACE INTO settings (key, value, configured) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![row.key, value, row.configured])?;
        } else {
            database
                .prepare_cached("DELETE FROM settings WHERE key = ?1")?
                .execute(params![row.key])?;
        }
    }
    Ok(())
}

/// Writes the totals.
pub(super) fn keep_totals(database: &Connection, totals: &Totals) -> rusqlite::Result<()> {
    let mut statement =
        database.prepare_cached("INSERT OR REPLACE INTO totals (key, value) VALUES (?1, ?2)")?;
    for (key, value) in [
        ("uploaded", totals.uploaded),
        ("downloaded", totals.downloaded),
        ("added", totals.added),
        ("seconds", totals.seconds),
        ("runs", totals.runs),
    ] {
        statement.execute(params![key, i64::try_from(value).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_totals_are_read_as_they_were_written() {
        let mut database = Connection::open_in_memory().unwrap();
        database.execute_batch(SCHEMA).unwrap();
        assert_eq!(*recall(&mut database).unwrap(), Remembered::default());
        let row = |key: &str, value: Option<&str>| SettingRow {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            configured: "0.0".to_owned(),
        };
        let totals = Totals {
            uploaded: u64::MAX,
            downloaded: 2,
            added: 3,
            seconds: 4,
            runs: 5,
        };
        keep(&database, &[row("b", Some("1")), row("a", Some("\"x\""))]).unwrap();
        keep(&database, &[row("b", None), row("c", Some("2"))]).unwrap();
        keep_totals(&database, &totals).unwrap();
        let read = recall(&mut database).unwrap();
        assert_eq!(
            read.settings,
            [row("a", Some("\"x\"")), row("c", Some("2"))]
        );
        let uploaded = i64::MAX.cast_unsigned();
        assert_eq!(read.totals, Totals { uploaded, ..totals });
    }
}
