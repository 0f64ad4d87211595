//! The size of a file that belongs to this process, kept instead of asked for.
//!
//! While a write-ahead log has no commit, SQLite asks the system for the size of the data file at the beginning of every read
//! transaction (`pagerPagecount`): half the time of a point read (measured). With the VFS `unix-excl` nobody outside this
//! process can change it, so what was answered holds until something is written.
//!
//! Other connections of this process, all of `unix-excl` too (see `open_files`), may write the file too, through descriptors of their own. With a log, only a checkpoint
//! does, and then the log has had a commit, whose size is the one that SQLite takes from there on. Without a log, SQLite
//! locks the file anew for each transaction, and a lock ends what is kept here.

#![expect(unsafe_code, reason = "SQLite's files are a C interface")]

use std::ffi::{c_int, c_void};
use std::ptr;

use libsqlite3_sys as ffi;

use crate::raw_file::file_of;

/// In the place of the VFS's own table of methods, which it begins with.
#[repr(C)]
struct OwnSize {
    methods: ffi::sqlite3_io_methods,
    system: *const ffi::sqlite3_io_methods,
    /// Negative while it is not known.
    bytes: i64,
}

const UNKNOWN: i64 = -1;

/// Has the main file of `connection`, which was opened with `unix-excl`, keep its size until the file is closed.
pub(crate) fn keep(connection: &rusqlite::Connection) {
    let Some((file, system)) = file_of(connection) else {
        return;
    };
    if [
        system.xFileSize.is_none(),
        system.xWrite.is_none(),
        system.xTruncate.is_none(),
        system.xLock.is_none(),
        system.xUnlock.is_none(),
        system.xFileControl.is_none(),
        system.xClose.is_none(),
    ]
    .contains(&true)
    {
        return;
    }
    let own = Box::into_raw(Box::new(OwnSize {
        methods: ffi::sqlite3_io_methods {
            xFileSize: Some(file_size),
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xLock: Some(lock),
            xUnlock: Some(unlock),
            xFileControl: Some(control),
            xClose: Some(close),
            ..*system
        },
        system: ptr::from_ref(system),
        bytes: UNKNOWN,
    }));
    // SAFETY: the file is open; SQLite reads its table of methods for each call and expects nothing else to point to it
    // ("sqlite3_file"). The table below outlives ours, which `close` frees before it calls that one's.
    unsafe { (*file).pMethods = own.cast() };
}

/// The table of a file that `keep` was called for.
///
/// # Safety
/// `file` is open, and its methods are ours: only they call this.
unsafe fn own<'a>(file: *mut ffi::sqlite3_file) -> &'a mut OwnSize {
    // SAFETY: the caller's contract; a file is used by one thread at a time (SQLITE_THREADSAFE=2), and the borrow ends with
    // the call that takes it.
    unsafe { &mut *(*file).pMethods.cast_mut().cast::<OwnSize>() }
}

/// Calls a method of the VFS, after which the size is not known.
macro_rules! forgetting {
    ($name:ident, $method:ident, $($argument:ident: $type:ty),*) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($argument: $type),*) -> c_int {
            // SAFETY: SQLite calls this for a file whose methods are ours; the VFS's own is there (`keep`).
            unsafe {
                let own = own(file);
                own.bytes = UNKNOWN;
                match (*own.system).$method {
                    Some(method) => method(file, $($argument),*),
                    None => ffi::SQLITE_IOERR,
                }
            }
        }
    };
}

forgetting!(write, xWrite, bytes: *const c_void, count: c_int, at: i64);
forgetting!(truncate, xTruncate, size: i64);
forgetting!(lock, xLock, level: c_int);
forgetting!(unlock, xUnlock, level: c_int);
forgetting!(control, xFileControl, operation: c_int, argument: *mut c_void);

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: as above; `size` is SQLite's to be written to.
    unsafe {
        let own = own(file);
        if own.bytes < 0 {
            let Some(method) = (*own.system).xFileSize else {
                return ffi::SQLITE_IOERR_FSTAT;
            };
            let code = method(file, size);
            if code == ffi::SQLITE_OK {
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
        let own = Box::from_raw((*file).pMethods.cast_mut().cast::<OwnSize>());
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
        crate::exit::prepare();
        let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), c"unix-excl").expect("open");
        keep(&connection);
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
            let (file, _) = file_of(&connection).expect("file");
            // SAFETY: `keep` was called for it.
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
}
