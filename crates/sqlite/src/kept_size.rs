//! The size of a database file, kept instead of asked for.
//!
//! While a write-ahead log has had no commit, SQLite asks the system for the size of the data file at the beginning of every read
//! transaction (`pagerPagecount`): a third of the system calls of a point read, half of them where the file belongs to this
//! process. It is kept for as long as the header of the wal-index is what it was, and names no frame and no size.
//!
//! Why that is right ("WAL-mode File Format", section 2; names are of `wal.c`):
//!
//! - With a log, the data file is written by a checkpoint alone, and that only copies frames that the header has
//!   (`nBackfill < mxFrame`): with `mxFrame` 0 nobody changes the file, whatever process, and whatever mode of checkpoint. It is
//!   also shortened by a checkpoint alone. A commit makes the header another before its frames may be copied.
//! - The header becomes one without frames and size again only by recovery from a log that holds no commit (`walIndexRecover`), which
//!   excludes checkpoints. Were it then, byte for byte, what it was before commits that are in the file now, SQLite's own cache
//!   would be wrong already: an equal header is what it keeps its pages for, the first one with the size of the database
//!   among them (`walIndexTryHdr`, `pagerBeginReadTransaction`). The size is part of what the header stands for.
//! - The header is in two copies, written in one order and read in the other; here it is taken only if both are equal. It is read
//!   before the system is asked and again afterwards, and the size is kept only if nothing happened in between. SQLite asks while it
//!   holds a read lock, and until it gives that back, a header that changes lets nobody copy frames over what it reads.
//! - To leave the log, or to remove it and its index, takes the exclusive lock of the data file, and a connection that has a log open
//!   holds the shared one all the while. A lock, an unlock or the end of the mapping through this connection ends what is kept, and
//!   so does its own writing. Without a log there is no mapping, and nothing is kept.
//!
//! With `unix-excl` the wal-index lies in memory of the process, and all of this holds for the connections of the process.

#![expect(unsafe_code, reason = "SQLite's files are a C interface")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use libsqlite3_sys as ffi;

use crate::raw_file::file_of;

/// 32-bit words of one copy of the wal-index's header, which begins with two ("WAL-mode File Format", section 2.1).
const HEADER_WORDS: usize = 12;
/// Frames of the log, and pages of the database as of the last of them.
const FRAMES: usize = 4;
const PAGES: usize = 5;

type LogHeader = [u32; HEADER_WORDS];

/// In the place of the VFS's own table of methods, which it begins with.
#[repr(C)]
struct KeptSize {
    methods: ffi::sqlite3_io_methods,
    system: *const ffi::sqlite3_io_methods,
    /// Where the wal-index is mapped; null while it is not.
    log_index: *const AtomicU32,
    kept: Option<(LogHeader, i64)>,
}

impl KeptSize {
    /// What the wal-index says, if it says that the log has nothing; `None` too while it is being written.
    fn header_of_empty_log(&self) -> Option<LogHeader> {
        if self.log_index.is_null() {
            return None;
        }
        let copy = |number: usize| -> LogHeader {
            std::array::from_fn(|word| {
                // SAFETY: the first region of the wal-index is mapped until `unmap_index`, and is longer than two headers; other
                // processes write it, words at a time.
                unsafe { (*self.log_index.add(number * HEADER_WORDS + word)).load(Ordering::Relaxed) }
            })
        };
        let first = copy(0);
        fence(Ordering::SeqCst);
        (first == copy(1) && first[FRAMES] == 0 && first[PAGES] == 0).then_some(first)
    }
}

/// Has the main file of `connection` keep its size where it may, until the file is closed.
pub(crate) fn keep(connection: &rusqlite::Connection) {
    let Some((file, system)) = file_of(connection) else {
        return;
    };
    // The first version has no wal-index, and its table ends before the methods for one.
    if system.iVersion < 2
        || [
            system.xFileSize.is_none(),
            system.xWrite.is_none(),
            system.xTruncate.is_none(),
            system.xLock.is_none(),
            system.xUnlock.is_none(),
            system.xFileControl.is_none(),
            system.xClose.is_none(),
            system.xShmMap.is_none(),
            system.xShmUnmap.is_none(),
        ]
        .contains(&true)
    {
        return;
    }
    let own = Box::into_raw(Box::new(KeptSize {
        methods: ffi::sqlite3_io_methods {
            xFileSize: Some(file_size),
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xLock: Some(lock),
            xUnlock: Some(unlock),
            xFileControl: Some(control),
            xShmMap: Some(map_index),
            xShmUnmap: Some(unmap_index),
            xClose: Some(close),
            ..*system
        },
        system: ptr::from_ref(system),
        log_index: ptr::null(),
        kept: None,
    }));
    // SAFETY: the file is open; SQLite reads its table of methods for each call and expects nothing else to point to it
    // ("sqlite3_file"). The table below outlives ours, which `close` frees before it calls that one's.
    unsafe { (*file).pMethods = own.cast() };
}

/// The table of a file that `keep` was called for.
///
/// # Safety
/// `file` is open, and its methods are ours: only they call this.
unsafe fn own<'a>(file: *mut ffi::sqlite3_file) -> &'a mut KeptSize {
    // SAFETY: the caller's contract; a file is used by one thread at a time (SQLITE_THREADSAFE=2), and the borrow ends with
    // the call that takes it.
    unsafe { &mut *(*file).pMethods.cast_mut().cast::<KeptSize>() }
}

/// Calls a method of the VFS, after which the size is not known.
macro_rules! forgetting {
    ($name:ident, $method:ident, $($argument:ident: $type:ty),*) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($argument: $type),*) -> c_int {
            // SAFETY: SQLite calls this for a file whose methods are ours; the VFS's own is there (`keep`).
            unsafe {
                let own = own(file);
                own.kept = None;
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
        let header = own.header_of_empty_log();
        if let (Some(header), Some((kept_header, bytes))) = (header, own.kept)
            && header == kept_header
        {
            *size = bytes;
            return ffi::SQLITE_OK;
        }
        own.kept = None;
        let Some(method) = (*own.system).xFileSize else {
            return ffi::SQLITE_IOERR_FSTAT;
        };
        let code = method(file, size);
        if code == ffi::SQLITE_OK && own.header_of_empty_log() == header {
            own.kept = header.map(|header| (header, *size));
        }
        code
    }
}

unsafe extern "C" fn map_index(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    mapped: *mut *mut c_void,
) -> c_int {
    // SAFETY: as above; `mapped` is SQLite's, and has the region's address if that could be mapped.
    unsafe {
        let own = own(file);
        let code = match (*own.system).xShmMap {
            Some(method) => method(file, region, bytes, extend, mapped),
            None => ffi::SQLITE_IOERR_SHMMAP,
        };
        if region == 0 {
            own.kept = None;
            // Not what is mapped to be read alone: SQLite then goes on with a copy of its own (`walBeginShmUnreliable`).
            own.log_index = if code == ffi::SQLITE_OK {
                (*mapped).cast_const().cast()
            } else {
                ptr::null()
            };
        }
        code
    }
}

unsafe extern "C" fn unmap_index(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let own = own(file);
        own.kept = None;
        own.log_index = ptr::null();
        match (*own.system).xShmUnmap {
            Some(method) => method(file, delete),
            None => ffi::SQLITE_IOERR,
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above; SQLite uses the file no more after this, nor its table.
    unsafe {
        let own = Box::from_raw((*file).pMethods.cast_mut().cast::<KeptSize>());
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

    const LOCKING: [&std::ffi::CStr; 2] = [c"unix", c"unix-excl"];

    fn open(path: &std::path::Path, vfs: &std::ffi::CStr) -> Connection {
        crate::exit::prepare();
        let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs).expect("open");
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
        for (vfs, mode) in LOCKING
            .into_iter()
            .flat_map(|vfs| ["DELETE", "TRUNCATE", "PERSIST", "WAL"].map(|mode| (vfs, mode)))
        {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("a.sqlite3");
            let first = open(&path, vfs);
            first
                .execute_batch(&format!(
                    "PRAGMA journal_mode = {mode}; CREATE TABLE t (x); INSERT INTO t VALUES (0)"
                ))
                .expect("make");
            drop(first);
            let connections = [open(&path, vfs), open(&path, vfs)];
            let mut rows = 1;
            for turn in 0..12 {
                for connection in &connections {
                    assert_eq!(count(connection), rows, "{vfs:?}, {mode}, turn {turn}");
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

    fn kept(connection: &Connection) -> Option<i64> {
        let (file, _) = file_of(connection).expect("file");
        // SAFETY: `keep` was called for it.
        unsafe { own(file).kept.map(|(_, bytes)| bytes) }
    }

    fn length(path: &std::path::Path) -> Option<i64> {
        path.metadata().ok().and_then(|file| i64::try_from(file.len()).ok())
    }

    #[test]
    fn the_size_is_kept_between_reads_and_not_over_a_commit() {
        for vfs in LOCKING {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("a.sqlite3");
            let first = open(&path, vfs);
            first
                .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
                .expect("make");
            drop(first);
            let [connection, other] = [open(&path, vfs), open(&path, vfs)];
            assert_eq!(count(&connection), 0);
            assert_eq!(kept(&connection), length(&path));
            assert_eq!(count(&connection), 0);
            other
                .execute_batch("INSERT INTO t VALUES (zeroblob(100000)); PRAGMA wal_checkpoint(TRUNCATE)")
                .expect("grow");
            assert_eq!(count(&connection), 1);
            // Of a log that had a commit, the wal-index has the size.
            connection.cache_flush().expect("flush");
            let (file, methods) = file_of(&connection).expect("file");
            let mut size = 0;
            let ask = methods.xFileSize.expect("method");
            // SAFETY: the method is that of this open file.
            assert_eq!(unsafe { ask(file, &raw mut size) }, ffi::SQLITE_OK);
            assert_eq!((Some(size), kept(&connection)), (length(&path), None));
        }
    }

    #[test]
    fn nothing_is_kept_without_a_log() {
        for vfs in LOCKING {
            let directory = tempfile::tempdir().expect("temporary directory");
            let connection = open(&directory.path().join("a.sqlite3"), vfs);
            connection.execute_batch("CREATE TABLE t (x)").expect("make");
            assert_eq!((count(&connection), kept(&connection)), (0, None));
            connection
                .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
                .expect("log");
            assert_eq!(count(&connection), 0);
            assert!(kept(&connection).is_some());
            connection
                .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
                .expect("no log");
            assert_eq!((count(&connection), kept(&connection)), (0, None));
        }
    }
}
