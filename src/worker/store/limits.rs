//! Rate limits of torrents and of groups. A torrent whose limits are as they begin has no row.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use crate::engine::limits::{Cap, Group, TorrentLimits, Weight};
use crate::ids::InfoHash;

/// Limits of all torrents that have some, by name.
pub(super) fn all(database: &Connection) -> rusqlite::Result<BTreeMap<InfoHash, TorrentLimits>> {
    let mut statement = database.prepare_cached(
        "SELECT info_hash, download, download_on, upload, upload_on, honour, weight, bandwidth_group
         FROM torrent_limits",
    )?;
    let rows = statement.query_map([], |row| {
        let group: String = row.get(7)?;
        let limits = TorrentLimits {
            download: cap(row, 1)?,
            upload: cap(row, 3)?,
            honour: row.get(5)?,
            weight: Weight::of_number(row.get(6)?).unwrap_or_default(),
            group: group.into(),
        };
        Ok((InfoHash(row.get(0)?), limits))
    })?;
    rows.collect()
}

/// Writes those of one torrent.
pub(super) fn keep(
    database: &Connection,
    info_hash: InfoHash,
    limits: &TorrentLimits,
) -> rusqlite::Result<()> {
    if *limits == TorrentLimits::default() {
        database
            .prepare_cached("DELETE FROM torrent_limits WHERE info_hash = ?1")?
            .execute(params![info_hash.0])?;
        return Ok(());
    }
    database
        .prepare_cached(
            "INSERT OR REPLACE INTO torrent_limits
             (info_hash, download, download_on, upload, upload_on, honour, weight, bandwidth_group)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            info_hash.0,
            integer(limits.download.rate),
            limits.download.on,
            integer(limits.upload.rate),
            limits.upload.on,
            limits.honour,
            limits.weight.number(),
            &*limits.group,
        ])?;
    Ok(())
}

/// All groups.
pub(super) fn groups(database: &Connection) -> rusqlite::Result<Vec<Group>> {
    let mut statement = database.prepare_cached(
        "SELECT name, download, download_on, upload, upload_on, honour
         FROM bandwidth_groups ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        let name: String = row.get(0)?;
        Ok(Group {
            name: Arc::from(name),
            download: cap(row, 1)?,
            upload: cap(row, 3)?,
            honour: row.get(5)?,
        })
    })?;
    rows.collect()
}

/// Writes one group.
pub(super) fn keep_group(database: &Connection, group: &Group) -> rusqlite::Result<()> {
    database
        .prepare_cached(
            "INSERT OR REPLACE INTO bandwidth_groups
             (name, download, download_on, upload, upload_on, honour)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            &*group.name,
            integer(group.download.rate),
            group.download.on,
            integer(group.upload.rate),
            group.upload.on,
            group.honour,
        ])?;
    Ok(())
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A rate, and in the next column whether it holds.
fn cap(row: &Row<'_>, at: usize) -> rusqlite::Result<Cap> {
    let rate: i64 = row.get(at)?;
    Ok(Cap {
        rate: rate.max(0).cast_unsigned(),
        on: row.get(at + 1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_were_written() {
        let database = Connection::open_in_memory().unwrap();
        database
            .execute_batch(super::super::library::SCHEMA)
            .unwrap();
        let limits = TorrentLimits {
            download: Cap {
                rate: 50_000,
                on: false,
            },
            upload: Cap { rate: 0, on: true },
            honour: false,
            weight: Weight::Low,
            group: "größe".into(),
        };
        let (one, two) = (InfoHash([1; 20]), InfoHash([2; 20]));
        keep(&database, one, &limits).unwrap();
        keep(&database, two, &TorrentLimits::default()).unwrap();
        assert_eq!(all(&database).unwrap(), BTreeMap::from([(one, limits)]));
        keep(&database, one, &TorrentLimits::default()).unwrap();
        assert!(all(&database).unwrap().is_empty());
        let mut group = Group::new("slow".into());
        keep_group(&database, &group).unwrap();
        group.upload = Cap::of(1000);
        group.honour = false;
        keep_group(&database, &group).unwrap();
        assert_eq!(groups(&database).unwrap(), [group]);
    }
}
