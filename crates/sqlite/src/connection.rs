//! One connection to one file: opened, keyed, and checked after every step.

use std::fs::OpenOptions as FileOptions;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libsqlite3_sys as ffi;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::hooks::AuthContext;

use crate::authorizer::Authorizer;
use crate::cache::{self, Role};
use crate::condition::Condition;
use crate::defaults;
use crate::error::StoreError;
use crate::log::{Fold, Log};
use crate::main_file::{self, Knowing};
use crate::options::{Encryption, Mode, OpenOptions};
use crate::raw_file::RawFile;
use crate::side_files::SideFiles;
use crate::statement::{self, Access};
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
    condition: Arc<Condition>,
    cache_kibibytes: u64,
    broken: bool,
}

/// Whether the file is open already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// SQLite will take what lies beside the file: it is authenticated before.
    First,
    /// The log is the one that this store wrote, and has in its index.
    Another,
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
        let knowing = Knowing {
            size: false,
            pages_ahead: options.encryption.is_some(),
        };
        main_file::know(&inner, c"main", knowing);
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

pub(crate) fn prepare_file(path: &Path, mode: Mode) -> Result<(), StoreError> {
    match mode {
        Mode::Open => match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() && metadata.len() >= SMALLEST_PAGE_BYTES => Ok(()),
            Ok(_) => Err(StoreError::corrupt(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing { path: path.to_owned() }),
            Err(error) => Err(StoreError::from_system(&error, path)),
        },
        Mode::Create => {
            refuse_side_files(path)?;
            create_file(path)
        }
    }
}

/// SQLite would remove a log or journal that lies beside an empty file: it may be all that is left of another.
fn refuse_side_files(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-journal"] {
        let mut side_file = path.as_os_str().to_owned();
        side_file.push(suffix);
        let path = PathBuf::from(side_file);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) => return Err(StoreError::Exists { path }),
            Err(error) => return Err(StoreError::from_system(&error, &path)),
        }
    }
    Ok(())
}

/// SQLite would create it readable by others; it gives -wal and -shm the mode of the data file.
fn create_file(path: &Path) -> Result<(), StoreError> {
    match FileOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => nimbus_disk::sync_directory_of(path).map_err(|error| StoreError::from_disk(&error, path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::Exists { path: path.to_owned() }),
        Err(error) => Err(StoreError::from_system(&error, path)),
    }
}

/// A handle through which nothing has been read yet.
pub(crate) fn open_handle(options: &OpenOptions) -> rusqlite::Result<rusqlite::Connection> {
    // NO_MUTEX: each connection sits behind a mutex of ours. No URI: a path is a path, whatever characters it has.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if options.exclusive {
        rusqlite::Connection::open_with_flags_and_vfs(&options.path, flags, c"unix-excl")
    } else {
        rusqlite::Connection::open_with_flags(&options.path, flags)
    }
}

fn prepare(
    connection: &mut rusqlite::Connection,
    options: &OpenOptions,
    authorizer: &Authorizer,
) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    if let Some(encryption) = &options.encryption {
        apply_key(connection, encryption)?;
    }
    if options.mode == Mode::Create {
        connection.execute_batch(CREATE_SETTINGS)?;
    }
    // Closing the last connection copies the log into the file: not a log that made the file unreadable.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // The first statement that reads the file: nothing has been written yet if it fails.
    let read_schema = || connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    read_schema()?;
    connection.execute_batch(SETTINGS)?;
    // If the journal mode was another, this opens the log, and only who has it open removes it at the end.
    read_schema()?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    let authorizer = authorizer.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| authorizer.authorize(context)))
}

pub(crate) const CREATE_SETTINGS: &str =
    "PRAGMA page_size = 4096; PRAGMA auto_vacuum = NONE; PRAGMA encoding = 'UTF-8';";

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
