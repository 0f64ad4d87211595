//! What a database holds, to compare it with its copy: every table by itself, so that a difference has a name.
//!
//! A table is hashed row by row in the order of its b-tree, each value with its storage class and length, each row with its
//! rowid. Shadow tables of virtual tables are tables like others. Indexes hold nothing of their own; whether they agree
//! with their tables is what `PRAGMA integrity_check` finds out.

use nimbus_crypto::ContentHash;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement};

/// Values are gathered up to this many bytes before they are hashed: most are small.
const GATHERED_BYTES: usize = 32 * 1024;
/// The names under which SQLite knows the rowid of a table that has no column of that name.
const ROWID_NAMES: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// The digest of a database.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// What the header says: `user_version`, `application_id`, text encoding.
    header: [i64; 2],
    encoding: String,
    /// The schema as it is stored, root pages aside.
    schema: [u8; 32],
    /// By name.
    tables: Vec<(String, [u8; 32])>,
}

impl Contents {
    /// Reads all of `schema`, a database that is attached to `connection` under this name.
    pub(crate) fn read(connection: &Connection, schema: &str) -> rusqlite::Result<Self> {
        let pragma = |name| connection.pragma_query_value(Some(schema), name, |row| row.get(0));
        let header = [pragma("user_version")?, pragma("application_id")?];
        let encoding = connection.pragma_query_value(Some(schema), "encoding", |row| row.get(0))?;
        let columns = "rowid, type, name, tbl_name, sql";
        let sql = format!("SELECT {columns} FROM {}.sqlite_schema ORDER BY rowid", quoted(schema));
        let stored = hash_rows(&mut connection.prepare(&sql)?)?;
        let names = format!(
            "SELECT name FROM {}.sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name",
            quoted(schema)
        );
        let names: Vec<String> = connection
            .prepare(&names)?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let tables = names
            .into_iter()
            .map(|name| {
                let hash = hash_table(connection, schema, &name)?;
                Ok((name, hash))
            })
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self {
            header,
            encoding,
            schema: stored,
            tables,
        })
    }

    /// What of `copy` differs from this; `None` if nothing does.
    pub(crate) fn difference(&self, copy: &Self) -> Option<String> {
        if self.header != copy.header || self.encoding != copy.encoding {
            return Some("the numbers in its header".to_owned());
        }
        if self.schema != copy.schema {
            return Some("its schema".to_owned());
        }
        let differs =
            |(ours, theirs): (&(String, _), &(String, _))| (ours != theirs).then(|| format!("table {}", ours.0));
        let named = self.tables.iter().zip(&copy.tables).find_map(differs);
        named.or_else(|| (self.tables.len() != copy.tables.len()).then(|| "its tables".to_owned()))
    }
}

fn hash_table(connection: &Connection, schema: &str, table: &str) -> rusqlite::Result<[u8; 32]> {
    // 2 is a generated column that is not stored; what it would be computed from is hashed.
    let columns: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_xinfo(?1, ?2) WHERE hidden <> 2")?
        .query_map([table, schema], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let without_rowid: bool = connection.query_row(
        "SELECT wr FROM pragma_table_list WHERE schema = ?1 AND name = ?2",
        [schema, table],
        |row| row.get(0),
    )?;
    let all: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_xinfo(?1, ?2)")?
        .query_map([table, schema], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let is_free = |name: &&str| !all.iter().any(|column| column.eq_ignore_ascii_case(name));
    let rowid = if without_rowid {
        None
    } else {
        ROWID_NAMES.into_iter().find(is_free)
    };
    let selected: Vec<String> = rowid
        .map(str::to_owned)
        .into_iter()
        .chain(columns.iter().map(|column| quoted(column)))
        .collect();
    let order = rowid.map(|name| format!("ORDER BY {name}")).unwrap_or_default();
    // NOT INDEXED: an index that holds all columns would be read in its place, in its order.
    let sql = format!(
        "SELECT {} FROM {}.{} NOT INDEXED {order}",
        selected.join(", "),
        quoted(schema),
        quoted(table)
    );
    hash_rows(&mut connection.prepare(&sql)?)
}

fn hash_rows(statement: &mut Statement<'_>) -> rusqlite::Result<[u8; 32]> {
    let columns = statement.column_count();
    let mut hash = ContentHash::default();
    let mut gathered = Vec::with_capacity(GATHERED_BYTES);
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            gather(&mut gathered, &mut hash, row, column)?;
        }
    }
    hash.update(&gathered);
    Ok(hash.finish())
}

fn gather(gathered: &mut Vec<u8>, hash: &mut ContentHash, row: &Row<'_>, column: usize) -> rusqlite::Result<()> {
    let (class, bytes): (u8, &[u8]) = match row.get_ref(column)? {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(integer) => (1, &integer.to_le_bytes()),
        ValueRef::Real(real) => (2, &real.to_bits().to_le_bytes()),
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(blob) => (4, blob),
    };
    gathered.push(class);
    gathered.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    if gathered.len() + bytes.len() > GATHERED_BYTES {
        hash.update(gathered);
        gathered.clear();
        hash.update(bytes);
    } else {
        gathered.extend_from_slice(bytes);
    }
    Ok(())
}

/// An identifier ("SQLite Keywords": double quotes, doubled inside).
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
