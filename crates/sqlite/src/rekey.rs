//! Changing the key of a SQLCipher file in place, and telling which key a file is under.
//!
//! `sqlite3_rekey_v2` writes every page in one transaction: images of the old pages, under the old key, go to the rollback
//! journal, and SQLite's commit (the journal's unlink) is the one moment at which the file passes from one key to the other.
//! Rolling back needs no key, since the journal's images are ciphertext; so after a crash the file is under exactly one of
//! the two keys as soon as anybody has opened it. The salt stays: SQLCipher gives page 1 of the journal the salt of the new
//! key, so a file that was rolled back would begin with the wrong one.
//!
//! What `sqlite3_rekey_v2` answers is not believed: it says success when its COMMIT failed, and the connection then writes
//! pages that no key opens (measured). The connection is closed whatever it says, and [`key_opens`] tells what happened.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use libsqlite3_sys as ffi;
use nimbus_threads::Watch;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use crate::cache::Role;
use crate::connection::Connection;
use crate::copy::with_suffix;
use crate::error::StoreError;
use crate::keying::apply_key;
use crate::meter;
use crate::opening::{Opening, prepare_file};
use crate::options::{Encryption, Mode, OpenOptions};
use crate::side_files::SideFiles;
use crate::tamper;
use crate::value::Value;
use crate::write_out::WriteOut;

const PAGE_BYTES: u64 = 4096;
/// Each page is read, journaled and written: three MACs.
const MACS_OF_REKEYED_PAGE: u64 = 3;
/// A few milliseconds apart.
const REPORT_EVERY_MACS: u64 = 1024;

/// Folds the write-ahead log into the file and leaves the file without one, durably: what is copied or rekeyed afterwards is
/// the whole database.
///
/// # Errors
/// Those of [`Connection::open`]; [`StoreError::Busy`] if somebody else has the file open.
pub fn fold_log(options: &OpenOptions) -> Result<(), StoreError> {
    let path = options.path.as_path();
    let mut connection = Connection::open_as(options, Role::Writer, Opening::First, &Arc::default())?;
    connection.control("PRAGMA synchronous = EXTRA; PRAGMA journal_mode = DELETE")?;
    let mut mode = None;
    connection.run(0, "PRAGMA journal_mode", &[], |row| {
        mode = row.into_iter().next();
        ControlFlow::Break(())
    })?;
    drop(connection);
    if mode != Some(Value::Text("delete".to_owned())) {
        return Err(StoreError::Busy { path: path.to_owned() });
    }
    // A log that came back after a power cut would be replayed into a file under another key.
    nimbus_disk::sync_directory_of(path).map_err(|error| StoreError::from_disk(&error, path))
}

/// Writes every page anew under the key of `next`, which has the profile and the salt of `current`. The file has no
/// write-ahead log ([`fold_log`]).
///
/// # Errors
/// What went wrong, as far as SQLite said. Neither `Ok` nor an error tells which key the file is under: ask [`key_opens`].
pub fn rekey(path: &Path, current: &Encryption, next: &Encryption, watch: &Arc<Watch>) -> Result<(), StoreError> {
    // SQLite syncs the journal whenever its cache is full, and waits for it.
    let mut written = WriteOut::of(vec![path.to_owned(), with_suffix(path, "-journal")]);
    let begin_writing = move || written.begin();
    measured(path, "rekeying", MACS_OF_REKEYED_PAGE, watch, begin_writing, || {
        let connection = open(path, current, current)?;
        read_page_one(&connection, path)?;
        connection
            .execute_batch(REKEY_SETTINGS)
            .and_then(|()| next.key.expose_hex_with_salt(|text| rekey_on(&connection, text)))
            .map_err(|error| StoreError::from_sqlite(error, 0, path))
        // Closed here, whatever it says.
    })
}

/// Whether the file is under this key; with `every_page` also that each page authenticates. Rolls back what a crash left, whose
/// pages are under the key of `journaled`: the one that the file had before.
///
/// # Errors
/// [`StoreError::Foreign`] for a journal that was not written for this file; [`StoreError::Corrupt`] if the first page
/// authenticates and another does not; an error of the system is never taken for
/// a wrong key.
pub fn key_opens(
    path: &Path,
    encryption: &Encryption,
    journaled: &Encryption,
    every_page: bool,
    watch: &Arc<Watch>,
) -> Result<bool, StoreError> {
    measured(
        path,
        "checking",
        1,
        watch,
        || (),
        || {
            let connection = open(path, encryption, journaled)?;
            let mark = tamper::mark();
            match read_page_one(&connection, path) {
                Ok(()) => {}
                Err(StoreError::Corrupt { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
            let sound = read_schema(&connection).and_then(|()| {
                if every_page {
                    no_rows(&connection, "PRAGMA cipher_integrity_check")
                } else {
                    Ok(true)
                }
            });
            if mark.page_failed_since() {
                return Err(StoreError::corrupt(path));
            }
            if sound.map_err(|error| StoreError::from_sqlite(error, 0, path))? {
                Ok(true)
            } else {
                Err(StoreError::corrupt(path))
            }
        },
    )
}

/// Deletes the journal last and syncs its directory: the commit is durable when the call returns. Spills dirty pages beyond
/// 16 MiB, so that memory does not grow with the file.
const REKEY_SETTINGS: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = DELETE;
    PRAGMA synchronous = EXTRA;
    PRAGMA cache_size = -16384;
";

/// SQLite would play any journal back before it looks at a page; nothing has been read through the connection yet.
fn open(path: &Path, encryption: &Encryption, journaled: &Encryption) -> Result<rusqlite::Connection, StoreError> {
    crate::exit::prepare();
    crate::provider::keep_linked();
    prepare_file(path, Mode::Open)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = rusqlite::Connection::open_with_flags_and_vfs(path, flags, c"unix-excl").and_then(|connection| {
        apply_key(&connection, encryption)?;
        // A log beside the file is none of ours ([`fold_log`]), and stays where it is.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch("PRAGMA mmap_size = 0")?;
        Ok(connection)
    });
    let connection = opened.map_err(|error| StoreError::from_sqlite(error, 0, path))?;
    SideFiles::of(&connection).admit_journal(&connection, &journaled.file_pages())?;
    Ok(connection)
}

/// Reads the first page and no other; SQLite rolls a journal back before.
fn read_page_one(connection: &rusqlite::Connection, path: &Path) -> Result<(), StoreError> {
    let mark = tamper::mark();
    let read = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    match read {
        _ if mark.page_failed_since() => Err(StoreError::corrupt(path)),
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::from_sqlite(error, 0, path)),
    }
}

fn read_schema(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(())
}

fn no_rows(connection: &rusqlite::Connection, sql: &str) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.raw_query();
    Ok(rows.next()?.is_none())
}

/// Runs `work`, which computes `macs` MACs a page, and reports how many it has computed, with a call of `on_report`; stops it
/// when it is told to. `on_report` is dropped after `work` is done.
fn measured<T>(
    path: &Path,
    phase: &'static str,
    macs: u64,
    watch: &Arc<Watch>,
    mut on_report: impl FnMut() + 'static,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let total_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let stopped = Rc::new(Cell::new(false));
    let mut pages = 0_u64;
    let on_page = {
        let (stopped, watch) = (Rc::clone(&stopped), Arc::clone(watch));
        move || {
            pages += 1;
            if pages.is_multiple_of(REPORT_EVERY_MACS) {
                watch.report(phase, pages * PAGE_BYTES / macs, total_bytes);
                on_report();
            }
            stopped.set(stopped.get() || watch.is_cancelled());
            if stopped.get() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    };
    let outcome = meter::measured(on_page, work);
    if stopped.get() {
        return Err(StoreError::Interrupted { path: path.to_owned() });
    }
    outcome
}

#[expect(
    unsafe_code,
    reason = "the pragma would have the new key stand in SQL text, which SQLite keeps and logs"
)]
fn rekey_on(connection: &rusqlite::Connection, text: &[u8]) -> rusqlite::Result<()> {
    let length = i32::try_from(text.len()).map_err(|_| rusqlite::Error::InvalidQuery)?;
    // SAFETY: the handle is open for as long as `connection` is borrowed, and no statement runs on it; sqlite3_rekey_v2
    // copies `length` bytes and keeps no pointer ("SQLCipher API", sqlite3_rekey_v2).
    let code = unsafe { ffi::sqlite3_rekey_v2(connection.handle(), c"main".as_ptr(), text.as_ptr().cast(), length) };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }
}
