//! One table of a store, read again and again as of the last commit: what was looked up for one read serves the next.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::super::error::EngineError;
use super::super::snapshot::ReadTable;
use super::super::view::View;
use super::shared::Shared;
use crate::rows::TableRows;

/// Keeps neither the store open nor a state of it: what it remembers it may only use while it is the last commit.
pub struct TableReader {
    rows: TableRows,
    pages: PageReader,
}

/// What reads redb's pages.
struct PageReader {
    store: Weak<Shared>,
    path: PathBuf,
    table: String,
    number: Arc<AtomicU64>,
    known: Option<Known>,
}

/// The table in the last commit that was read. Not owned, since redb does not use the pages of a state again that somebody has.
struct Known {
    number: u64,
    view: Weak<View>,
    table: Weak<ReadTable>,
}

impl TableReader {
    pub(super) fn new(store: &Arc<Shared>, table: &str) -> Self {
        Self {
            rows: store.rows.of_table(table),
            pages: PageReader {
                store: Arc::downgrade(store),
                path: store.path.clone(),
                table: table.to_owned(),
                number: store.views.number(),
                known: None,
            },
        }
    }

    /// Calls `look` with the value of a key, maybe under a lock that a commit takes: it must not wait for one.
    ///
    /// # Errors
    /// [`EngineError::Closed`], [`EngineError::Engaged`] during a check or a compaction, [`EngineError::NeedsReopen`], those of a
    /// read, [`EngineError::Table`] for a table without a name.
    pub fn get_with<R>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, EngineError> {
        let Self { rows, pages } = self;
        // Before the pages are asked which commit is the last.
        let place = rows.place(key);
        match rows.find(place, key, look) {
            Ok(found) => Ok(Some(found)),
            Err(look) => pages.read(None, |table| {
                table.get_with(key, |value| {
                    let looked = look(value);
                    rows.keep(place, key, value);
                    looked
                })
            }),
        }
    }
}

impl PageReader {
    fn read<T>(&mut self, none: T, read: impl FnOnce(&ReadTable) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let number = self.number.load(Ordering::Acquire);
        if let Some(known) = self.known.as_ref().filter(|known| known.number == number)
            && let (Some(view), Some(table)) = (known.view.upgrade(), known.table.upgrade())
        {
            return view.with(|_open| read(&table));
        }
        let store = self.store.upgrade().ok_or_else(|| EngineError::Closed {
            path: self.path.clone(),
        })?;
        let (number, view) = store.view()?;
        let Some(table) = view.table(&self.table)? else {
            return Ok(none);
        };
        self.known = Some(Known {
            number,
            view: Arc::downgrade(&view),
            table: Arc::downgrade(&table),
        });
        view.with(|_open| read(&table))
    }
}
