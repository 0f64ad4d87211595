//! Snapshots: the database as it was when they were taken, whatever is written meanwhile.

use std::ops::Bound;
use std::path::PathBuf;

use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, TableError, TableHandle};

use super::database::guarded;
use super::error::EngineError;
use super::range::{self, Batch, Direction, Limit};

/// A consistent view of all tables.
pub struct Snapshot {
    transaction: ReadTransaction,
    path: PathBuf,
}

impl Snapshot {
    pub(super) const fn new(transaction: ReadTransaction, path: PathBuf) -> Self {
        Self { transaction, path }
    }

    /// A table, if it exists.
    pub fn table(&self, name: &str) -> Result<Option<ReadTable>, EngineError> {
        let definition = definition(name, &self.path)?;
        guarded(&self.path, || match self.transaction.open_table(definition) {
            Ok(table) => Ok(Some(ReadTable {
                table,
                path: self.path.clone(),
            })),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// The names of all tables.
    pub fn tables(&self) -> Result<Vec<String>, EngineError> {
        guarded(&self.path, || {
            let tables = self.transaction.list_tables()?;
            Ok(tables.map(|table| table.name().to_owned()).collect())
        })
    }
}

/// A table of a snapshot; it outlives the snapshot.
pub struct ReadTable {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    path: PathBuf,
}

impl ReadTable {
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        guarded(&self.path, || {
            Ok(self.table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    /// Calls `look` with the value of a key, without a copy.
    pub fn get_with<R>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, EngineError> {
        guarded(&self.path, || Ok(self.table.get(key)?.map(|value| look(value.value()))))
    }

    /// Calls `each` with the next pairs between two bounds, without a copy; whether there are more.
    pub fn for_each(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        limit: Limit,
        each: impl FnMut(&[u8], &[u8]),
    ) -> Result<bool, EngineError> {
        guarded(&self.path, || {
            range::for_each(&self.table, bounds, direction, limit, each)
        })
    }

    /// The next pairs between two bounds.
    pub fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        limit: Limit,
    ) -> Result<Batch, EngineError> {
        guarded(&self.path, || range::read(&self.table, bounds, direction, limit))
    }
}

/// The definition of a table of bytes.
pub(super) fn definition<'a>(
    name: &'a str,
    path: &std::path::Path,
) -> Result<TableDefinition<'a, &'static [u8], &'static [u8]>, EngineError> {
    if name.is_empty() {
        return Err(EngineError::Table {
            path: path.to_owned(),
            table: String::new(),
        });
    }
    Ok(TableDefinition::new(name))
}
