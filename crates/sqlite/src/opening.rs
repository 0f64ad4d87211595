//! From a path to a handle that may be used: the file as it must be, and the settings of a store's connections.

use std::fs::OpenOptions as FileOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::hooks::AuthContext;

use crate::authorizer::Authorizer;
use crate::connection::BUSY_TIMEOUT;
use crate::error::StoreError;
use crate::keying::apply_key;
use crate::options::{Mode, OpenOptions};

const STATEMENTS_KEPT: usize = 64;
/// Smaller than this, a file cannot hold the first page of a database.
const SMALLEST_PAGE_BYTES: u64 = 512;

/// Whether the file is open already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// SQLite will take what lies beside the file: it is authenticated before.
    First,
    /// The log is the one that this store wrote, and has in its index.
    Another,
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

pub(crate) fn prepare(
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
