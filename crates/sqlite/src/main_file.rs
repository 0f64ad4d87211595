//! What a connection knows of its data file while it is open: stands before the file's methods.
//!
//! **Its size**, if the file belongs to this process. While a write-ahead log has no commit, SQLite asks the system for the size of the
//! data file at the beginning of every read transaction (`pagerPagecount`): half the time of a point read (measured). With the
//! VFS `unix-excl` nobody outside this process can change it, so what was answered holds until something is written.
//!
//! Other connections of this process, all of `unix-excl` too (see `open_files`), may write the file too, through descriptors of
//! their own. With a log, only a checkpoint does, and then the log has had a commit, whose size is the one that SQLite takes from
//! there on. Without a log, SQLite locks the file anew for each transaction, and a lock ends what is kept here.
//!
//! **The pages that come next**, if the file is encrypted ([`crate::read_ahead`]): until the connection takes or gives back a
//! lock, on the file or in the index of the log, or writes the file. What lies between two of these is a part of one
//! transaction, and while a transaction reads pages from the data file nobody changes those: without a log because it holds a lock
//! against all writers ("File Locking And Concurrency", section 3); with one because a checkpoint writes no page that a
//! reader takes from the file, only such as are in the log up to the reader's own mark, which the reader takes from the log
//! (`sqlite3WalFindFrame`, `walCheckpoint`), or waits for readers that use no log at all (`WAL_READ_LOCK(0)`).

#![expect(unsafe_code, reason = "SQLite's files are a C interface")]

use std::ffi::{CStr, c_int, c_void};
use std::{ptr, slice};

use libsqlite3_sys as ffi;

use crate::raw_file::file_of;
use crate::read_ahead::ReadAhead;

/// In the place of the VFS's own table of methods, which it begins with.
#[repr(C)]
struct MainFile {
    methods: ffi::sqlite3_io_methods,
    system: *const ffi::sqlite3_io_methods,
    keeps_size: bool,
    /// Negative while it is not known.
    bytes: i64,
    ahead: Option<Box<ReadAhead>>,
}

const UNKNOWN: i64 = -1;

/// What is to be known of a file.
#[derive(Clone, Copy)]
pub(crate) struct Knowing {
    /// It was opened with `unix-excl`.
    pub(crate) size: bool,
    /// It is encrypted, with pages of 4,096 bytes.
    pub(crate) pages_ahead: bool,
}

/// Has the file of the database `schema` known as is said, until it is closed. Called once for a file.
pub(crate) fn know(connection: &rusqlite::Connection, schema: &CStr, knowing: Knowing) {
    let Some((file, system)) = file_of(connection, schema) else {
        return;
    };
    if [
        system.xRead.is_none(),
        system.xFileSize.is_none(),
        system.xWrite.is_none(),
        system.xTruncate.is_none(),
        system.xLock.is_none(),
        system.xUnlock.is_none(),
        system.xShmLock.is_none(),
        system.xFileControl.is_none(),
        system.xClose.is_none(),
    ]
    .contains(&true)
    {
        return;
    }
    let own = Box::into_raw(Box::new(MainFile {
        methods: ffi::sqlite3_io_methods {
            xRead: Some(read),
            xFileSize: Some(file_size),
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xLock: Some(lock),
            xUnlock: Some(unlock),
            xShmLock: Some(shm_lock),
            xFileControl: Some(control),
            xClose: Some(close),
            ..*system
        },
        system: ptr::from_ref(system),
        keeps_size: knowing.size,
        bytes: UNKNOWN,
        ahead: knowing.pages_ahead.then(Box::default),
    }));
    // SAFETY: the file is open; SQLite reads its table of methods for each call and expects nothing else to point to it
    // ("sqlite3_file"). The table below outlives ours, which `close` frees before it calls that one's.
    unsafe { (*file).pMethods = own.cast() };
}

impl MainFile {
    fn forget(&mut self) {
        self.bytes = UNKNOWN;
        self.forget_pages();
    }

    fn forget_pages(&mut self) {
        if let Some(ahead) = &mut self.ahead {
            ahead.forget();
        }
    }
}

/// The table of a file that `know` was called for.
///
/// # Safety
/// `file` is open, and its methods are ours: only they call this.
unsafe fn own<'a>(file: *mut ffi::sqlite3_file) -> &'a mut MainFile {
    // SAFETY: the caller's contract; a file is used by one thread at a time (SQLITE_THREADSAFE=2), and the borrow ends with
    // the call that takes it.
    unsafe { &mut *(*file).pMethods.cast_mut().cast::<MainFile>() }
}

/// Calls a method of the VFS, before and after which nothing is known.
macro_rules! forgetting {
    ($name:ident, $method:ident, $forget:ident, $($argument:ident: $type:ty),*) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($argument: $type),*) -> c_int {
            // SAFETY: SQLite calls this for a file whose methods are ours; the VFS's own is there (`know`).
            unsafe {
                let own = own(file);
                own.$forget();
                match (*own.system).$method {
                    Some(method) => method(file, $($argument),*),
                    None => ffi::SQLITE_IOERR,
                }
            }
        }
    };
}

forgetting!(write, xWrite, forget, bytes: *const c_void, count: c_int, at: i64);
forgetting!(truncate, xTruncate, forget, size: i64);
forgetting!(lock, xLock, forget, level: c_int);
forgetting!(unlock, xUnlock, forget, level: c_int);
forgetting!(shm_lock, xShmLock, forget_pages, offset: c_int, count: c_int, flags: c_int);
forgetting!(control, xFileControl, forget, operation: c_int, argument: *mut c_void);

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: as above; `out` is SQLite's, `count` bytes that are to be written to.
    unsafe {
        let own = own(file);
        let Some(method) = (*own.system).xRead else {
            return ffi::SQLITE_IOERR_READ;
        };
        if let (Some(ahead), Ok(length), Ok(offset)) = (&mut own.ahead, usize::try_from(count), u64::try_from(at)) {
            let size = || {
                let mut size = 0;
                let method = (*own.system).xFileSize?;
                (method(file, &raw mut size) == ffi::SQLITE_OK).then(|| u64::try_from(size).ok())?
            };
            let read_into = |offset: u64, bytes: &mut [u8]| {
                let (Ok(count), Ok(at)) = (c_int::try_from(bytes.len()), i64::try_from(offset)) else {
                    return false;
                };
                method(file, bytes.as_mut_ptr().cast(), count, at) == ffi::SQLITE_OK
            };
            if let Some(page) = ahead.page(offset, length, size, read_into) {
                slice::from_raw_parts_mut(out.cast::<u8>(), length).copy_from_slice(page);
                return ffi::SQLITE_OK;
            }
        }
        method(file, out, count, at)
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: as above; `size` is SQLite's to be written to.
    unsafe {
        let own = own(file);
        if own.bytes < 0 {
            let Some(method) = (*own.system).xFileSize else {
                return ffi::SQLITE_IOERR_FSTAT;
            };
            let code = method(file, size);
            if code == ffi::SQLITE_OK && own.keeps_size {
                own.bytes = *size;
            }
            return code;
        }
        *size = own.bytes;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above; SQLite uses the file no more after this, nor its table.
    unsafe {
        let own = Box::from_raw((*file).pMethods.cast_mut().cast::<MainFile>());
        (*file).pMethods = own.system;
        match (*own.system).xClose {
            Some(method) => method(file),
            None => ffi::SQLITE_IOERR_CLOSE,
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    fn open(path: &std::path::Path) -> Connection {
        open_with(path, c"unix-excl", true)
    }

    fn open_with(path: &std::path::Path, vfs: &CStr, size: bool) -> Connection {
        crate::exit::prepare();
        let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs).expect("open");
        let knowing = Knowing {
            size,
            pages_ahead: true,
        };
        know(&connection, c"main", knowing);
        connection
    }

    fn count(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .expect("count")
    }

    /// Two connections of one process, by turns, so that each sees a file that the other has made longer or shorter.
    #[test]
    fn what_another_connection_of_the_process_writes_is_seen_in_every_journal_mode() {
        for mode in ["DELETE", "TRUNCATE", "PERSIST", "WAL"] {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("a.sqlite3");
            let first = open(&path);
            first
                .execute_batch(&format!(
                    "PRAGMA journal_mode = {mode}; CREATE TABLE t (x); INSERT INTO t VALUES (0)"
                ))
                .expect("make");
            drop(first);
            let connections = [open(&path), open(&path)];
            let mut rows = 1;
            for turn in 0..12 {
                for connection in &connections {
                    assert_eq!(count(connection), rows, "{mode}, turn {turn}");
                }
                let writer = &connections[turn % 2];
                if turn % 4 == 3 {
                    writer
                        .execute_batch("DELETE FROM t WHERE typeof(x) = 'blob'; VACUUM")
                        .expect("shrink");
                    rows = 1;
                } else {
                    writer
                        .execute_batch("INSERT INTO t VALUES (zeroblob(300000)), (zeroblob(300000))")
                        .expect("grow");
                    rows += 2;
                }
                if turn % 3 == 2 && mode == "WAL" {
                    writer
                        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                        .expect("fold");
                }
            }
            for connection in &connections {
                assert_eq!(count(connection), rows);
                let sound: String = connection
                    .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                    .expect("check");
                assert_eq!(sound, "ok");
            }
        }
    }

    #[test]
    fn the_size_is_asked_for_again_after_a_write_and_not_before() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a.sqlite3");
        let connection = open(&path);
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
            .expect("make");
        drop(connection);
        let connection = open(&path);
        let kept = || {
            let (file, _) = file_of(&connection, c"main").expect("file");
            // SAFETY: `know` was called for it.
            unsafe { own(file).bytes }
        };
        assert_eq!(count(&connection), 0);
        assert_eq!(u64::try_from(kept()).ok(), path.metadata().ok().map(|file| file.len()));
        connection
            .execute_batch("INSERT INTO t VALUES (zeroblob(100000)); PRAGMA wal_checkpoint(TRUNCATE)")
            .expect("grow");
        assert_eq!(kept(), UNKNOWN);
        assert_eq!(count(&connection), 1);
    }

    const ROWS: i64 = 24;
    const WAYS: [(&CStr, bool); 2] = [(c"unix-excl", true), (c"unix", false)];
    const MODES: [&str; 4] = ["DELETE", "TRUNCATE", "PERSIST", "WAL"];

    /// Two connections to a file whose rows have a dozen pages of the digit 0 each; nothing stays in the cache of the second.
    fn writer_and_reader(path: &std::path::Path, (vfs, size): (&CStr, bool), mode: &str) -> [Connection; 2] {
        let [writer, reader] = [(); 2].map(|()| open_with(path, vfs, size));
        writer
            .execute_batch(&format!(
                "PRAGMA journal_mode = {mode}; CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
                 INSERT INTO t SELECT i, CAST(printf('%.*c', 50000, '0') AS BLOB) FROM n"
            ))
            .expect("make");
        reader.execute_batch("PRAGMA cache_size = 5").expect("small cache");
        [writer, reader]
    }

    /// Rewrites every page, and folds what it can of a log.
    fn write(writer: &Connection, digit: char) {
        let sql = "UPDATE t SET x = CAST(printf('%.*c', 50000, ?1) AS BLOB)";
        writer.execute(sql, [digit.to_string()]).expect("update");
        let fold = writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        fold.expect("fold");
    }

    fn rows_of(reader: &Connection, digit: char, ids: std::ops::RangeInclusive<i64>) -> i64 {
        let sql = "SELECT count(*) FROM t WHERE id BETWEEN ?1 AND ?2 AND x = CAST(printf('%.*c', 50000, ?3) AS BLOB)";
        let ids = (ids.start(), ids.end(), digit.to_string());
        reader.query_row(sql, ids, |row| row.get(0)).expect("scan")
    }

    /// Each row lies where the pages of the row before it were read ahead to.
    #[test]
    fn what_was_read_ahead_before_another_connection_wrote_is_not_taken_for_what_it_wrote() {
        for way in WAYS {
            for mode in MODES {
                let directory = tempfile::tempdir().expect("temporary directory");
                let [writer, reader] = writer_and_reader(&directory.path().join("a.sqlite3"), way, mode);
                let mut digits = "0123456789".chars().cycle();
                for id in 1..=ROWS {
                    let digit = digits.next().expect("it goes round");
                    if id > 1 {
                        write(&writer, digit);
                    }
                    assert_eq!(rows_of(&reader, digit, id..=id), 1, "{mode}, row {id}");
                }
            }
        }
    }

    #[test]
    fn a_reader_sees_the_pages_of_its_own_transaction_while_another_connection_writes_and_folds_the_log() {
        for way in WAYS {
            let directory = tempfile::tempdir().expect("temporary directory");
            let [writer, reader] = writer_and_reader(&directory.path().join("a.sqlite3"), way, "WAL");
            for digits in ["01", "12", "23", "34", "45"] {
                let (before, after) = (digits.chars().next().expect("two"), digits.chars().last().expect("two"));
                reader.execute_batch("BEGIN").expect("begin");
                assert_eq!(rows_of(&reader, before, 1..=ROWS / 2), ROWS / 2);
                write(&writer, after);
                assert_eq!(rows_of(&reader, before, 1..=ROWS), ROWS);
                reader.execute_batch("COMMIT").expect("commit");
                assert_eq!(rows_of(&reader, after, 1..=ROWS), ROWS);
            }
        }
    }
}
