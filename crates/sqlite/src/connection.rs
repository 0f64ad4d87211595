//! One connection to one file: opened, keyed, and checked after every step.

use std::ffi::CString;
use std::fs::OpenOptions as FileOptions;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libsqlite3_sys as ffi;
use rusqlite::config::DbConfig;
use rusqlite::hooks::AuthContext;
use rusqlite::{OpenFlags, Statement};

use crate::authorizer::Authorizer;
use crate::cache::{self, Role};
use crate::defaults;
use crate::error::StoreError;
use crate::log::{Fold, Log};
use crate::options::{Encryption, Mode, OpenOptions};
use crate::tamper::{self, Mark};
use crate::value::{Row, Value};

const STATEMENTS_KEPT: usize = 64;
/// Our own connections hold a file's locks for microseconds; waiting longer, on the caller's thread, would only hide
/// another process.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// Smaller than this, a file cannot hold the first page of a database.
const SMALLEST_PAGE_BYTES: u64 = 512;

/// A connection. Whatever it returns was read from pages that authenticated.
pub struct Connection {
    inner: rusqlite::Connection,
    path: PathBuf,
    role: Role,
    authorizer: Authorizer,
    log: Log,
    cache_kibibytes: u64,
    broken: bool,
}

impl Connection {
    /// Opens a file in WAL mode with `synchronous=FULL`, and reads its schema: a wrong key or a damaged first page is
    /// found here.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Exists`], [`StoreError::Corrupt`], [`StoreError::Busy`], or what the system
    /// refused. A file that is refused is not written to.
    pub fn open(options: &OpenOptions) -> Result<Self, StoreError> {
        Self::open_as(options, Role::Point)
    }

    pub(crate) fn open_as(options: &OpenOptions, role: Role) -> Result<Self, StoreError> {
        let path = options.path.as_path();
        crate::exit::prepare();
        crate::provider::keep_linked();
        prepare_file(path, options.mode)?;
        let mark = tamper::mark();
        let authorizer = Authorizer::default();
        let opened = open_inner(options, &authorizer).map_err(|error| StoreError::from_sqlite(error, 0, path));
        if mark.page_failed_since() {
            return Err(StoreError::corrupt(path));
        }
        let mut connection = Self {
            inner: opened?,
            path: path.to_owned(),
            role,
            authorizer,
            log: Log::default(),
            cache_kibibytes: 0,
            broken: false,
        };
        if role == Role::Writer {
            connection
                .log
                .follow(&mut connection.inner)
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
            run_unchecked(connection, mark, Access::Write, sql, parameters, on_row)
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
            run_unchecked(connection, mark, Access::Read, sql, parameters, on_row)
        })
        .map(drop)
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
                // The page may lie in the log: the file keeps its own. Without this setting, closing copies it over.
                let _ = self
                    .inner
                    .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
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

    /// Folds the write-ahead log into the data file if it has grown. Its failure is no write's failure: what is in the log
    /// is durable.
    pub(crate) fn fold_log(&mut self) {
        match self.log.next_fold() {
            None => {}
            Some(Fold::Passive) => {
                let _ = self.control("PRAGMA wal_checkpoint(PASSIVE)");
            }
            Some(Fold::Restart(patience)) => {
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn run_unchecked(
    connection: &rusqlite::Connection,
    mark: Mark,
    access: Access,
    sql: &str,
    parameters: &[Value],
    mut on_row: impl FnMut(Row) -> ControlFlow<()>,
) -> rusqlite::Result<u64> {
    if sql.contains('\0') {
        // SQLite reads up to a NUL and would drop the rest in silence.
        CString::new(sql)?;
    }
    let mut statement = connection.prepare_cached(sql)?;
    if access == Access::Read && !statement.readonly() {
        return Err(rusqlite::Error::InvalidQuery);
    }
    bind(&mut statement, parameters)?;
    let columns = statement.column_count();
    let changes_before = connection.total_changes();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let values = (0..columns)
            .map(|column| row.get_ref(column).map(Value::from))
            .collect::<Result<Row, _>>()?;
        // After the columns: reading one may load its overflow pages.
        if mark.page_failed_since() || on_row(values).is_break() {
            break;
        }
    }
    drop(rows);
    // CREATE and its like leave the count of the statement before them ("sqlite3_changes").
    let changed = connection.total_changes() != changes_before;
    Ok(if changed { connection.changes() } else { 0 })
}

fn bind(statement: &mut Statement<'_>, parameters: &[Value]) -> rusqlite::Result<()> {
    if statement.parameter_count() != parameters.len() {
        return Err(rusqlite::Error::InvalidParameterCount(
            parameters.len(),
            statement.parameter_count(),
        ));
    }
    parameters
        .iter()
        .zip(1..)
        .try_for_each(|(value, index)| statement.raw_bind_parameter(index, value))
}

pub(crate) fn prepare_file(path: &Path, mode: Mode) -> Result<(), StoreError> {
    match mode {
        Mode::Open => match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() && metadata.len() >= SMALLEST_PAGE_BYTES => Ok(()),
            Ok(_) => Err(StoreError::corrupt(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing { path: path.to_owned() }),
            Err(error) => Err(StoreError::from_system(&error, path)),
        },
        // SQLite would create it readable by others; it gives -wal and -shm the mode of the data file.
        Mode::Create => match FileOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => nimbus_disk::sync_directory_of(path).map_err(|error| StoreError::from_disk(&error, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::Exists { path: path.to_owned() })
            }
            Err(error) => Err(StoreError::from_system(&error, path)),
        },
    }
}

fn open_inner(options: &OpenOptions, authorizer: &Authorizer) -> rusqlite::Result<rusqlite::Connection> {
    // NO_MUTEX: each connection sits behind a mutex of ours. No URI: a path is a path, whatever characters it has.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = if options.exclusive {
        rusqlite::Connection::open_with_flags_and_vfs(&options.path, flags, c"unix-excl")?
    } else {
        rusqlite::Connection::open_with_flags(&options.path, flags)?
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    if let Some(encryption) = &options.encryption {
        apply_key(&connection, encryption)?;
    }
    connection.execute_batch(if options.mode == Mode::Create {
        CREATE_SETTINGS
    } else {
        ""
    })?;
    // Closing the last connection copies the log into the file: not a log that made the file unreadable.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // The first statement that reads the file: nothing has been written yet if it fails.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    connection.execute_batch(SETTINGS)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    let authorizer = authorizer.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| authorizer.authorize(context)))?;
    Ok(connection)
}

const CREATE_SETTINGS: &str = "PRAGMA page_size = 4096; PRAGMA auto_vacuum = NONE; PRAGMA encoding = 'UTF-8';";

const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
    PRAGMA mmap_size = 0;
    PRAGMA journal_size_limit = 67108864;
";

/// Keys the connection: 64 hex digits of key and 32 of salt, so that key and file belong together and a file whose
/// first bytes were wiped still opens. Every parameter is set, so that no process-wide default of SQLCipher matters.
pub(crate) fn apply_key(connection: &rusqlite::Connection, encryption: &Encryption) -> rusqlite::Result<()> {
    let _settled = defaults::settled();
    encryption.key.expose_hex_with_salt(|text| key(connection, text))?;
    connection.execute_batch(&format!(
        "PRAGMA cipher_compatibility = 4;
         PRAGMA cipher_page_size = 4096;
         PRAGMA cipher_use_hmac = ON;
         PRAGMA cipher_plaintext_header_size = 0;
         PRAGMA cipher_kdf_algorithm = PBKDF2_HMAC_SHA512;
         PRAGMA cipher_hmac_algorithm = {};",
        encryption.profile.hmac_algorithm(),
    ))
}

#[expect(
    unsafe_code,
    reason = "rusqlite keys only through SQL text, where a key must never stand"
)]
pub(crate) fn key(connection: &rusqlite::Connection, text: &[u8]) -> rusqlite::Result<()> {
    let length = i32::try_from(text.len()).map_err(|_| rusqlite::Error::InvalidQuery)?;
    // SAFETY: the handle is open for as long as `connection` is borrowed, and no statement runs on it; sqlite3_key_v2
    // copies `length` bytes and keeps no pointer ("SQLCipher API", sqlite3_key_v2).
    let code = unsafe { ffi::sqlite3_key_v2(connection.handle(), c"main".as_ptr(), text.as_ptr().cast(), length) };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }
}
