//! Write transactions: one at a time, seen by nobody until they are committed, and then whole.

use std::ops::Bound;
use std::path::PathBuf;

use redb::{ReadableTable, Table, TableHandle, WriteTransaction};

use super::database::guarded;
use super::error::EngineError;
use super::range::{self, Batch, Direction, Limit};
use super::snapshot::definition;

/// A transaction; dropping it undoes it.
pub struct Transaction {
    transaction: WriteTransaction,
    path: PathBuf,
}

impl Transaction {
    pub(super) const fn new(transaction: WriteTransaction, path: PathBuf) -> Self {
        Self { transaction, path }
    }

    /// A table, made if need be. Drop it before it is opened again and before the commit.
    pub fn table(&self, name: &str) -> Result<WriteTable<'_>, EngineError> {
        let definition = definition(name, &self.path)?;
        guarded(&self.path, || {
            Ok(WriteTable {
                table: self.transaction.open_table(definition)?,
                path: self.path.clone(),
            })
        })
    }

    /// Removes a table and everything in it; `false` if there was none.
    pub fn delete_table(&self, name: &str) -> Result<bool, EngineError> {
        let definition = definition(name, &self.path)?;
        guarded(&self.path, || Ok(self.transaction.delete_table(definition)?))
    }

    /// The names of all tables.
    pub fn tables(&self) -> Result<Vec<String>, EngineError> {
        guarded(&self.path, || {
            let tables = self.transaction.list_tables()?;
            Ok(tables.map(|table| table.name().to_owned()).collect())
        })
    }

    /// Keeps the state before this transaction, which must not have changed anything yet, under a number, until it is
    /// deleted: across restarts. What is freed meanwhile is not given back.
    pub fn create_savepoint(&self) -> Result<u64, EngineError> {
        guarded(&self.path, || Ok(self.transaction.persistent_savepoint()?))
    }

    /// The numbers of all savepoints.
    pub fn savepoints(&self) -> Result<Vec<u64>, EngineError> {
        guarded(&self.path, || {
            Ok(self.transaction.list_persistent_savepoints()?.collect())
        })
    }

    /// Makes everything what it was at the savepoint. Savepoints made after it are gone.
    pub fn restore_savepoint(&mut self, savepoint: u64) -> Result<(), EngineError> {
        let Self { transaction, path } = self;
        guarded(path, || {
            let savepoint = transaction.get_persistent_savepoint(savepoint)?;
            Ok(transaction.restore_savepoint(&savepoint)?)
        })
    }

    /// Forgets a savepoint; `false` if there is none.
    pub fn delete_savepoint(&self, savepoint: u64) -> Result<bool, EngineError> {
        guarded(&self.path, || {
            Ok(self.transaction.delete_persistent_savepoint(savepoint)?)
        })
    }

    /// Makes everything in the transaction happen.
    pub fn commit(self) -> Result<(), EngineError> {
        let Self { transaction, path } = self;
        guarded(&path, || Ok(transaction.commit()?))
    }

    /// Undoes everything in the transaction.
    pub fn abort(self) -> Result<(), EngineError> {
        let Self { transaction, path } = self;
        guarded(&path, || Ok(transaction.abort()?))
    }
}

/// A table in a transaction.
pub struct WriteTable<'t> {
    table: Table<'t, &'static [u8], &'static [u8]>,
    path: PathBuf,
}

impl WriteTable<'_> {
    /// The value of a key, as this transaction sees it.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        guarded(&self.path, || {
            Ok(self.table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        let Self { table, path } = self;
        guarded(path, || Ok(table.insert(key, value).map(|_before| ())?))
    }

    /// Removes a key; `false` if it was not there.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        let Self { table, path } = self;
        guarded(path, || Ok(table.remove(key)?.is_some()))
    }

    /// The next pairs between two bounds, as this transaction sees them.
    pub fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        limit: Limit,
    ) -> Result<Batch, EngineError> {
        guarded(&self.path, || range::read(&self.table, bounds, direction, limit))
    }
}
