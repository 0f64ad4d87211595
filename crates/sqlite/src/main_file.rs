//! What a connection knows of its data file while it is open: stands before the file's methods.
//!
//! **Its size.** While a write-ahead log has had no commit, SQLite asks the system for the size of the data file at the beginning of every
//! read transaction (`pagerPagecount`): a third of the system calls of a point read, half of them where the file belongs to this
//! process. It is kept for as long as the header of the wal-index is what it was, and names no frame and no size.
//!
//! Why that is right ("WAL-mode File Format", section 2; names are of `wal.c`):
//!
//! - With a log, the data file is written by a checkpoint alone, and that only copies frames that the header has
//!   (`nBackfill < mxFrame`): with `mxFrame` 0 nobody changes the file, whatever process, and whatever mode of checkpoint. It is
//!   also shortened by a checkpoint alone. A commit makes the header another before its frames may be copied.
//! - The header becomes one without frames and size again only by recovery from a log that holds no commit (`walIndexRecover`), which
//!   excludes checkpoints. It can be, byte for byte, what it was before commits that are in the file now. Whoever recovers knows that
//!   something has changed (`walIndexReadHdr`), and has taken an exclusive lock of the index, which ends what is kept. For the others
//!   SQLite's own cache would be wrong already: an equal header is what it keeps its pages for, the first one with the size of the
//!   database among them (`walIndexTryHdr`, `pagerBeginReadTransaction`). The size is part of what the header stands for.
//! - The header is in two copies, written in one order and read in the other; here it is taken only if both are equal. It is read
//!   before the system is asked and again afterwards, and the size is kept only if nothing happened in between. SQLite asks while it
//!   holds a read lock, and until it gives that back, a header that changes lets nobody copy frames over what it reads.
//! - To leave the log, or to remove it and its index, takes the exclusive lock of the data file, and a connection that has a log open
//!   holds the shared one all the while. A lock, an unlock or the end of the mapping through this connection ends what is kept, and
//!   so does its own writing. Without a log there is no mapping, and nothing is kept.
//!
//! With `unix-excl` the wal-index lies in memory of the process, and all of this holds for the connections of the process.
//!
//! **The pages that come next**, if the file is encrypted ([`crate::read_ahead`]): until the connection takes or gives back a
//! lock, on the file or in the index of the log, writes the file, or reads its first page. What lies between two of these is a part of one
//! transaction, and while a transaction reads pages from the data file nobody changes those: without a log because it holds a lock
//! against all writers ("File Locking And Concurrency", section 3); with one because a checkpoint writes no page that a
//! reader takes from the file, only such as are in the log up to the reader's own mark, which the reader takes from the log
//! (`sqlite3WalFindFrame`, `walCheckpoint`), or waits for readers that use no log at all (`WAL_READ_LOCK(0)`).

#![expect(unsafe_code, reason = "SQLite's files are a C interface")]

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::{ptr, slice};

use libsqlite3_sys as ffi;

use crate::raw_file::file_of;
use crate::read_ahead::ReadAhead;

/// 32-bit words of one copy of the wal-index's header, which begins with two ("WAL-mode File Format", section 2.1).
const HEADER_WORDS: usize = 12;
/// Frames of the log, and pages of the database as of the last of them.
const FRAMES: usize = 4;
const PAGES: usize = 5;
/// The first of the locks of the wal-index that readers take; those before it are of who writes, folds and recovers (section 2.2).
const READ_LOCKS: c_int = 3;

type LogHeader = [u32; HEADER_WORDS];

/// In the place of the VFS's own table of methods, which it begins with.
#[repr(C)]
struct MainFile {
    methods: ffi::sqlite3_io_methods,
    system: *const ffi::sqlite3_io_methods,
    /// Where the wal-index is mapped; null while it is not.
    log_index: *const AtomicU32,
    size: Option<(LogHeader, i64)>,
    ahead: Option<Box<ReadAhead>>,
}

impl MainFile {
    fn forget(&mut self) {
        self.size = None;
        self.forget_pages();
    }

    fn forget_pages(&mut self) {
        if let Some(ahead) = &mut self.ahead {
            ahead.forget();
        }
    }

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

/// Has the file of the database `schema` known until it is closed; with `pages_ahead` also the pages that come next, of a file that is
/// encrypted in pages of 4,096 bytes. Called once for a file.
pub(crate) fn know(connection: &rusqlite::Connection, schema: &CStr, pages_ahead: bool) {
    let Some((file, system)) = file_of(connection, schema) else {
        return;
    };
    // The first version has no wal-index, and its table ends before the methods for one.
    if system.iVersion < 2
        || [
            system.xRead.is_none(),
            system.xFileSize.is_none(),
            system.xWrite.is_none(),
            system.xTruncate.is_none(),
            system.xLock.is_none(),
            system.xUnlock.is_none(),
            system.xFileControl.is_none(),
            system.xClose.is_none(),
            system.xShmMap.is_none(),
            system.xShmLock.is_none(),
            system.xShmUnmap.is_none(),
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
            xFileControl: Some(control),
            xShmMap: Some(map_index),
            xShmLock: Some(shm_lock),
            xShmUnmap: Some(unmap_index),
            xClose: Some(close),
            ..*system
        },
        system: ptr::from_ref(system),
        log_index: ptr::null(),
        size: None,
        ahead: pages_ahead.then(Box::default),
    }));
    // SAFETY: the file is open; SQLite reads its table of methods for each call and expects nothing else to point to it
    // ("sqlite3_file"). The table below outlives ours, which `close` frees before it calls that one's.
    unsafe { (*file).pMethods = own.cast() };
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
forgetting!(control, xFileControl, forget, operation: c_int, argument: *mut c_void);

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let own = own(file);
        own.forget_pages();
        if offset < READ_LOCKS && flags & ffi::SQLITE_SHM_EXCLUSIVE != 0 {
            own.size = None;
        }
        match (*own.system).xShmLock {
            Some(method) => method(file, offset, count, flags),
            None => ffi::SQLITE_IOERR,
        }
    }
}

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
        let header = own.header_of_empty_log();
        if let (Some(header), Some((known_header, bytes))) = (header, own.size)
            && header == known_header
        {
            *size = bytes;
            return ffi::SQLITE_OK;
        }
        own.size = None;
        let Some(method) = (*own.system).xFileSize else {
            return ffi::SQLITE_IOERR_FSTAT;
        };
        let code = method(file, size);
        if code == ffi::SQLITE_OK && own.header_of_empty_log() == header {
            own.size = header.map(|header| (header, *size));
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
            own.forget();
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
        own.forget();
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
        let own = Box::from_raw((*file).pMethods.cast_mut().cast::<MainFile>());
        (*file).pMethods = own.system;
        match (*own.system).xClose {
            Some(method) => method(file),
            None => ffi::SQLITE_IOERR_CLOSE,
        }
    }
}

#[cfg(test)]
mod tests;
