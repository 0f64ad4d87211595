//! One state of a store, shared by everybody who reads it: tables are opened once, and the store can take it back.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::error::EngineError;
use super::packed::Packed;
use super::range::{Direction, Limit};
use super::snapshot::{ReadTable, Snapshot};

/// The pairs of a table between two bounds, from the end that `direction` names.
#[derive(Debug, Clone)]
pub struct Range {
    /// The lower bound, by bytes.
    pub from: Bound<Vec<u8>>,
    /// The upper bound, by bytes.
    pub to: Bound<Vec<u8>>,
    /// Which end comes first.
    pub direction: Direction,
    /// Where the answer ends.
    pub limit: Limit,
}

/// A state of a store. A table that was never made is an empty one.
pub struct View {
    path: PathBuf,
    /// `None` once the store is closed: a view keeps no file and no key longer than that.
    open: RwLock<Option<Open>>,
    /// Declared last: it is given back when what is open is closed.
    _ticket: Arc<()>,
}

pub(super) struct Open {
    snapshot: Snapshot,
    tables: Mutex<HashMap<String, Arc<ReadTable>>>,
}

impl View {
    /// `ticket` is shared for as long as redb has the state in use.
    pub(super) fn new(snapshot: Snapshot, path: PathBuf, ticket: Arc<()>) -> Self {
        let open = Open {
            snapshot,
            tables: Mutex::default(),
        };
        Self {
            path,
            open: RwLock::new(Some(open)),
            _ticket: ticket,
        }
    }

    /// Calls `look` with the value of a key.
    pub fn get_with<R>(
        &self,
        table: &str,
        key: &[u8],
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, EngineError> {
        self.read(table, None, |table| table.get_with(key, look))
    }

    /// The value of each key, or its absence.
    pub fn get_many<'k>(&self, table: &str, keys: impl Iterator<Item = &'k [u8]>) -> Result<Packed, EngineError> {
        let mut packed = Packed::default();
        self.with(|open| {
            let table = open.table(table)?;
            for key in keys {
                let found = match &table {
                    Some(table) => table.get_with(key, |value| packed.push(value))?,
                    None => None,
                };
                if found.is_none() {
                    packed.push_absent();
                }
            }
            Ok(packed)
        })
    }

    /// The pairs of a range.
    pub fn range(&self, table: &str, range: &Range) -> Result<Packed, EngineError> {
        let bounds = (as_slice(&range.from), as_slice(&range.to));
        self.read(table, Packed::default(), |table| {
            let mut packed = Packed::default();
            packed.has_more = table.for_each(bounds, range.direction, range.limit, |key, value| {
                packed.push(key);
                packed.push(value);
            })?;
            Ok(packed)
        })
    }

    /// The names of all tables.
    pub fn tables(&self) -> Result<Vec<String>, EngineError> {
        self.with(|open| open.snapshot.tables())
    }

    /// A table, if it exists.
    pub(super) fn table(&self, name: &str) -> Result<Option<Arc<ReadTable>>, EngineError> {
        self.with(|open| open.table(name))
    }

    /// Lets go of the file. Waits for reads that have begun; every later one is [`EngineError::Closed`].
    pub(super) fn close(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn read<T>(
        &self,
        table: &str,
        none: T,
        read: impl FnOnce(&ReadTable) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.with(|open| match open.table(table)? {
            Some(table) => read(&table),
            None => Ok(none),
        })
    }

    /// Reads while the view is open, and keeps it open for as long.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Open) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(|| EngineError::Closed {
            path: self.path.clone(),
        })?;
        read(open)
    }
}

impl Open {
    fn table(&self, name: &str) -> Result<Option<Arc<ReadTable>>, EngineError> {
        let known = self.tables().get(name).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let opened = self.snapshot.table(name)?.map(Arc::new);
        if let Some(table) = &opened {
            self.tables().insert(name.to_owned(), Arc::clone(table));
        }
        Ok(opened)
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<String, Arc<ReadTable>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}
