//! One connection to one file: opened, keyed, and checked after every step.

use std::ops::{ControlFlow, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libsqlite3_sys as ffi;
use rusqlite::config::DbConfig;

use crate::authorizer::Authorizer;
use crate::cache::{self, Role};
use crate::condition::Condition;
use crate::error::StoreError;
use crate::log::{Fold, Log};
use crate::main_file;
use crate::opening::{Opening, open_handle, prepare, prepare_file};
use crate::options::OpenOptions;
use crate::raw_file::RawFile;
use crate::side_files::SideFiles;
use crate::statement::{self, Access};
use crate::tamper::{self, Mark};
use crate::value::{Row, Value};

/// Our own connections hold a file's locks for microseconds; waiting longer, on the caller's thread, would only hide
/// another process.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// A connection. Whatever it returns was read from pages that authenticated.
pub struct Connection {
    inner: rusqlite::Connection,
    path: PathBuf,
    role: Role,
    authorizer: Authorizer,
    log: Log,
    condition: Arc<Condition>,
    cache_kibibytes: u64,
    broken: bool,
}

impl Connection {
    /// Opens a file in WAL mode with `synchronous=FULL`, and reads its schema: a wrong key or a damaged first page is
    /// found here.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Exists`], [`StoreError::Corrupt`], [`StoreError::Foreign`],
    /// [`StoreError::Busy`], or what the system refused. A file that is refused is not written to, nor is its log.
    pub fn open(options: &OpenOptions) -> Result<Self, StoreError> {
        let connection = Self::open_as(options, Role::Point, Opening::First, &Arc::default())?;
        connection.fold_log_on_close(true);
        Ok(connection)
    }

    /// One of a store's connections: closing it leaves the log as it is.
    pub(crate) fn open_as(
        options: &OpenOptions,
        role: Role,
        opening: Opening,
        condition: &Arc<Condition>,
    ) -> Result<Self, StoreError> {
        let path = options.path.as_path();
        crate::exit::prepare();
        crate::provider::keep_linked();
        prepare_file(path, options.mode)?;
        let mark = tamper::mark();
        let authorizer = Authorizer::default();
        let mut inner = open_handle(options).map_err(|error| StoreError::from_sqlite(error, 0, path))?;
        main_file::know(&inner, c"main", options.encryption.is_some());
        if let (Some(encryption), Opening::First) = (&options.encryption, opening) {
            let frames = SideFiles::of(&inner).admit(&inner, &encryption.file_pages())?;
            condition.log_frames().store(frames, Ordering::Relaxed);
        }
        let prepared =
            prepare(&mut inner, options, &authorizer).map_err(|error| StoreError::from_sqlite(error, 0, path));
        let prepared = if mark.page_failed_since() {
            Err(StoreError::corrupt(path))
        } else {
            prepared
        };
        if matches!(prepared, Err(StoreError::Corrupt { .. })) {
            condition.record_failure();
        }
        prepared?;
        let mut connection = Self {
            inner,
            path: path.to_owned(),
            role,
            authorizer,
            log: Log::default(),
            condition: Arc::clone(condition),
            cache_kibibytes: 0,
            broken: false,
        };
        if role == Role::Writer {
            connection
                .log
                .follow(&mut connection.inner, condition.log_frames())
                .map_err(|error| StoreError::from_sqlite(error, 0, path))?;
        }
        connection.follow_cache_budget()?;
        Ok(connection)
    }

    /// Runs one statement and hands each row to `on_row`, until that has enough. Returns the rows changed (0 for a
    /// statement that only reads).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] as soon as a page fails, before any row read with it is handed out; `step` is what errors
    /// of the statement itself carry.
    pub fn run(
        &mut self,
        step: usize,
        sql: &str,
        parameters: &[Value],
        on_row: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<u64, StoreError> {
        self.checked(step, |connection, mark| {
            statement::run(connection, mark, Access::Write, sql, parameters, on_row)
        })
    }

    /// Runs one statement that must not be able to change the file.
    ///
    /// # Errors
    /// As [`Self::run`]; [`StoreError::Sql`] for a statement that could write.
    pub fn read(
        &mut self,
        sql: &str,
        parameters: &[Value],
        on_row: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.checked(0, |connection, mark| {
            statement::run(connection, mark, Access::Read, sql, parameters, on_row)
        })
        .map(drop)
    }

    /// The rows of a statement that reads. They end before the one with which their payload would exceed `most_bytes`, the
    /// first being there whatever its size; true if there are more.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_up_to(
        &mut self,
        most_bytes: Option<usize>,
        sql: &str,
        parameters: &[Value],
    ) -> Result<(Vec<Row>, bool), StoreError> {
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0_usize;
        let mut cut = false;
        self.read(sql, parameters, |row| {
            bytes += row.iter().map(Value::payload_bytes).sum::<usize>();
            cut = most_bytes.is_some_and(|most| bytes > most) && !rows.is_empty();
            if cut {
                return ControlFlow::Break(());
            }
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok((rows, cut))
    }

    /// Runs `work` and turns whatever it says into [`StoreError::Corrupt`] if a page failed meanwhile.
    fn checked<T>(
        &mut self,
        step: usize,
        work: impl FnOnce(&rusqlite::Connection, Mark) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mark = tamper::mark();
        let outcome = work(&self.inner, mark);
        let outcome = if mark.page_failed_since() {
            Err(StoreError::corrupt(&self.path))
        } else {
            outcome.map_err(|error| StoreError::from_sqlite(error, step, &self.path))
        };
        if let Err(error) = &outcome {
            self.broken |= error.breaks_connection();
            if matches!(error, StoreError::Corrupt { .. }) {
                self.condition.record_failure();
                // The page may lie in the log: the file keeps its own.
                self.fold_log_on_close(false);
            }
        }
        outcome
    }

    /// Runs a statement that only nimbus may: one that begins or ends a transaction, or changes a setting.
    pub(crate) fn control(&mut self, sql: &str) -> Result<(), StoreError> {
        let authorizer = self.authorizer.clone();
        self.checked(0, |connection, _| {
            authorizer.for_ourselves(|| connection.execute_batch(sql))
        })
    }

    /// Whether statements run inside a transaction; SQLite ends it by itself after some errors.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.inner.is_autocommit()
    }

    /// Rows changed since the connection was opened, by triggers and foreign keys too.
    pub(crate) fn total_changes(&self) -> u64 {
        self.inner.total_changes()
    }

    /// Whether an error was seen after which nothing this connection says can be trusted.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether closing this connection, if it is the last, folds the log into the data file and removes it.
    pub(crate) fn fold_log_on_close(&self, fold: bool) {
        let _ = self
            .inner
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !fold);
    }

    /// Where SQLite keeps the log.
    pub(crate) fn log_path(&self) -> PathBuf {
        SideFiles::of(&self.inner).log
    }

    /// The data file as it lies on the disk.
    pub(crate) fn raw_file(&self) -> Result<RawFile<'_>, StoreError> {
        RawFile::of(&self.inner).ok_or_else(|| StoreError::from_code(ffi::SQLITE_CANTOPEN, &self.path))
    }

    /// Pages that the database has as of its last commit.
    pub(crate) fn database_pages(&mut self) -> Result<u32, StoreError> {
        let [pages] = self.numbers("PRAGMA page_count", [0])?;
        Ok(pages)
    }

    /// The frames of the log from which SQLite takes pages: those behind the last one that is in the data file already.
    pub(crate) fn frames_taken(&mut self) -> Result<RangeInclusive<u32>, StoreError> {
        let [last, folded] = self.numbers("PRAGMA wal_checkpoint(NOOP)", [1, 2])?;
        Ok(folded + 1..=last)
    }

    fn numbers<const N: usize>(&mut self, sql: &str, columns: [usize; N]) -> Result<[u32; N], StoreError> {
        let mut numbers = [0; N];
        self.run(0, sql, &[], |row| {
            numbers = columns.map(|column| match row.get(column) {
                Some(&Value::Integer(number)) => u32::try_from(number).unwrap_or(0),
                _ => 0,
            });
            ControlFlow::Continue(())
        })?;
        Ok(numbers)
    }

    /// How the log should be folded now, if at all; said once.
    pub(crate) fn next_fold(&mut self) -> Option<Fold> {
        self.log.next_fold()
    }

    /// Copies the log into the data file and empties it; false if readers were in the way.
    pub(crate) fn fold_log_whole(&mut self) -> Result<bool, StoreError> {
        let mut whole = true;
        self.run(0, "PRAGMA wal_checkpoint(TRUNCATE)", &[], |row| {
            whole &= row.first() == Some(&Value::Integer(0));
            ControlFlow::Continue(())
        })?;
        Ok(whole)
    }

    /// Folds the write-ahead log into the data file. Its failure is no write's failure: what is in the log is durable.
    pub(crate) fn fold_log(&mut self, fold: Fold) {
        match fold {
            Fold::Passive => {
                let _ = self.control("PRAGMA wal_checkpoint(PASSIVE)");
            }
            Fold::Restart(patience) => {
                if self.inner.busy_timeout(patience).is_ok() {
                    let _ = self.control("PRAGMA wal_checkpoint(RESTART)");
                }
                let _ = self.inner.busy_timeout(BUSY_TIMEOUT);
            }
        }
    }

    /// Takes up the share of the page-cache budget that this connection has now.
    pub(crate) fn follow_cache_budget(&mut self) -> Result<(), StoreError> {
        let kibibytes = cache::kibibytes_for(self.role);
        if kibibytes == self.cache_kibibytes {
            return Ok(());
        }
        self.cache_kibibytes = kibibytes;
        // A negative cache_size is in KiB ("PRAGMA cache_size").
        self.control(&format!("PRAGMA cache_size = -{kibibytes}"))
    }
}
