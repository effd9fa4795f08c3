//! What a person has changed of where a torrent's files are and of its trackers: rows of their own, that few torrents have.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::engine::library::trackers::TrackerUrl;
use crate::engine::library::{Destination, Kept, Rename, Whereabouts};

/// Writes both. The progress of a torrent that is in another directory now goes along.
pub(super) fn keep(database: &Connection, row: &Kept) -> rusqlite::Result<()> {
    let (hash, root) = (row.brief.info_hash.0, row.brief.root.as_os_str().as_bytes());
    let before: Option<Vec<u8>> = database
        .prepare_cached("SELECT root FROM sessions WHERE info_hash = ?1")?
        .query_row(params![hash], |row| row.get(0))
        .optional()?;
    if let Some(before) = before.filter(|before| before != root) {
        database
            .prepare_cached(
                "UPDATE OR REPLACE progress SET root = ?3 WHERE info_hash = ?1 AND root = ?2",
            )?
            .execute(params![hash, before, root])?;
    }
    match &row.whereabouts {
        None => drop_from(database, "whereabouts", &hash)?,
        Some(whereabouts) => {
            let path = |path: Option<&PathBuf>| {
                path.map_or_else(Vec::new, |path| path.as_os_str().as_bytes().to_vec())
            };
            let moving = whereabouts.moving.as_ref();
            database
                .prepare_cached(
                    "INSERT OR REPLACE INTO whereabouts VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    hash,
                    encode(&whereabouts.renames),
                    path(moving.map(|moving| &moving.root)),
                    moving.is_some_and(|moving| moving.carry),
                    moving.map_or_else(Vec::new, |moving| encode(&moving.renames)),
                    path(whereabouts.then.as_ref()),
                ])?;
        }
    }
    match &row.trackers {
        None => drop_from(database, "trackers", &hash)?,
        Some(list) => {
            let line = |one: &TrackerUrl| format!("{} {} {}\n", one.id, one.tier, one.url);
            let text: String = list.iter().map(line).collect();
            database
                .prepare_cached("INSERT OR REPLACE INTO trackers VALUES (?1, ?2)")?
                .execute(params![hash, text])?;
        }
    }
    Ok(())
}

fn drop_from(database: &Connection, table: &str, hash: &[u8]) -> rusqlite::Result<()> {
    let statement = format!("DELETE FROM {table} WHERE info_hash = ?1");
    database
        .prepare_cached(&statement)?
        .execute(params![hash])?;
    Ok(())
}

/// Columns from `at` on: renames, moving, carry, new_renames, then_to.
pub(super) fn whereabouts_of(
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<Option<Arc<Whereabouts>>> {
    let Some(renames) = row.get_ref(at)?.as_blob_or_null()? else {
        return Ok(None);
    };
    let path = |at: usize| -> rusqlite::Result<Option<PathBuf>> {
        let bytes = row.get_ref(at)?.as_blob()?;
        let path = || PathBuf::from(OsStr::from_bytes(bytes));
        Ok((!bytes.is_empty()).then(path))
    };
    let new_renames = decode(row.get_ref(at + 3)?.as_blob()?);
    let carry = row.get(at + 2)?;
    Ok(Some(Arc::new(Whereabouts {
        renames: decode(renames),
        moving: path(at + 1)?.map(|root| Destination {
            root,
            renames: new_renames,
            carry,
        }),
        then: path(at + 4)?,
    })))
}

/// The column `at`: a tracker a line. A line that is none is passed over.
pub(super) fn trackers_of(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Arc<[TrackerUrl]>>> {
    let Some(text) = row.get_ref(at)?.as_str_or_null()? else {
        return Ok(None);
    };
    let one = |line: &str| {
        let mut words = line.splitn(3, ' ');
        Some(TrackerUrl {
            id: words.next()?.parse().ok()?,
            tier: words.next()?.parse().ok()?,
            url: words.next()?.to_owned(),
        })
    };
    Ok(Some(text.lines().filter_map(one).collect()))
}

fn encode(renames: &[Rename]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for rename in renames {
        bytes.extend(rename.path.as_os_str().as_bytes());
        bytes.push(0);
        bytes.extend(rename.name.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Vec<Rename> {
    let mut words = bytes.split(|byte| *byte == 0);
    let mut renames = Vec::new();
    while let (Some(path), Some(name)) = (words.next(), words.next()) {
        renames.push(Rename {
            path: PathBuf::from(OsStr::from_bytes(path)),
            name: String::from_utf8_lossy(name).into_owned(),
        });
    }
    renames
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Of each something.
    pub(in super::super) fn some() -> (Option<Arc<Whereabouts>>, Option<Arc<[TrackerUrl]>>) {
        let rename = |path: &str, name: &str| Rename {
            path: PathBuf::from(path),
            name: name.to_owned(),
        };
        let whereabouts = Whereabouts {
            renames: vec![rename("a/b", "c d"), rename("a", "\u{e4}")],
            moving: Some(Destination {
                root: PathBuf::from("/new"),
                renames: vec![rename("x", "y")],
                carry: true,
            }),
            then: Some(PathBuf::from("/then")),
        };
        let tracker = TrackerUrl {
            id: 7,
            tier: 0,
            url: "http://t.example/a".to_owned(),
        };
        (Some(Arc::new(whereabouts)), Some([tracker].into()))
    }
}
