//! What is remembered of the DHT: a row for each address family, with our name and the nodes that answered, in the compact form
//! of BEP 5. Written rarely, and at a clean end; what is lost is found again.

use rusqlite::{Connection, TransactionBehavior, params};

use crate::codec::krpc::NodeId;
use crate::codec::krpc::compact;
use crate::engine::dht::{REMEMBERED_MAX, Remembered};
use crate::engine::message::Nodes;

/// Made when the database is opened, as far as it is not there.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS dht (
        family INTEGER PRIMARY KEY,  -- 4 or 6
        id     BLOB    NOT NULL,     -- our name, 20 bytes
        nodes  BLOB    NOT NULL      -- 26 or 38 bytes each
    ) STRICT;
";

/// Makes the table where it is not there.
pub(super) fn prepare(database: &mut Connection) -> rusqlite::Result<()> {
    let is_there = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'dht'";
    if database.query_row(is_there, [], |row| row.get::<_, i64>(0))? == 0 {
        // Immediate: another process may be about to do the same, and is waited for.
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Everything; rows that make no sense are as good as none.
pub(super) fn recall(database: &Connection) -> rusqlite::Result<Vec<Nodes>> {
    let mut statement = database.prepare_cached("SELECT family, id, nodes FROM dht")?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let v6 = row.get::<_, i64>(0)? == 6;
        let Ok(id) = row.get_ref(1)?.as_blob()?.try_into() else {
            continue;
        };
        let bytes = row.get_ref(2)?.as_blob()?;
        let nodes = if v6 {
            compact::nodes6(bytes).take(REMEMBERED_MAX).collect()
        } else {
            compact::nodes(bytes).take(REMEMBERED_MAX).collect()
        };
        let id = NodeId(id);
        all.push(Nodes {
            v6,
            remembered: Remembered { id, nodes },
        });
    }
    Ok(all)
}

/// Writes these families; others stay as they are.
pub(super) fn keep(database: &Connection, families: &[Nodes]) -> rusqlite::Result<()> {
    for family in families {
        let remembered = &family.remembered;
        database
            .prepare_cached("INSERT OR REPLACE INTO dht (family, id, nodes) VALUES (?1, ?2, ?3)")?
            .execute(params![
                if family.v6 { 6 } else { 4 },
                remembered.id.0,
                compact::encode_nodes(&remembered.nodes),
            ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::krpc::compact::Node;

    #[test]
    fn nodes_are_read_as_they_were_written() {
        let mut database = Connection::open_in_memory().unwrap();
        prepare(&mut database).unwrap();
        prepare(&mut database).unwrap();
        assert_eq!(recall(&database).unwrap(), []);
        let family = |v6, addresses: &[&str]| Nodes {
            v6,
            remembered: Remembered {
                id: NodeId([7; 20]),
                nodes: (addresses.iter())
                    .map(|address| Node {
                        id: NodeId([9; 20]),
                        address: address.parse().unwrap(),
                    })
                    .collect(),
            },
        };
        let before = [
            family(false, &["1.2.3.4:5"]),
            family(true, &["[2001:470::1]:5"]),
        ];
        keep(&database, &before).unwrap();
        assert_eq!(recall(&database).unwrap(), before);
        let after = family(false, &["8.8.8.8:1", "9.9.9.9:2"]);
        keep(&database, std::slice::from_ref(&after)).unwrap();
        assert_eq!(recall(&database).unwrap(), [after, before[1].clone()]);
        database.execute("UPDATE dht SET id = x'00'", []).unwrap();
        assert_eq!(recall(&database).unwrap(), []);
    }
}
