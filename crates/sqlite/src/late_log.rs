//! A write-ahead log that is made when it is first written, not when it is first looked for.
//!
//! SQLite makes the log's file as soon as a database is read, and removes it when the last connection is closed: a third of the time of
//! opening a file for one read (measured). Where the file belongs to this process (`unix-excl`), nobody else looks for its log, and
//! one that was not written holds nothing: it is taken as empty until the first write, which makes it as SQLite would have.
//!
//! Another connection of the process may have written it meanwhile: whatever is asked of the log first looks whether it is there.
//! A log that is there when it is opened is opened at once; it was authenticated before (see `side_files`).
//!
//! SQLite goes on with the descriptor of a log whose name somebody gave to another file; here the name is looked up late, and may be
//! that of another database's log by then. So a log is not opened once the data file has been moved, and one that others of the process
//! have written is not begun anew if it is gone.

#![expect(unsafe_code, reason = "SQLite's files are a C interface")]

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::{io, ptr};

use libsqlite3_sys as ffi;

/// In the room that SQLite gives for the VFS's own open file, which takes its place.
#[repr(C)]
struct LateLog {
    methods: *const ffi::sqlite3_io_methods,
    system: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    flags: c_int,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(level_ignored),
    xUnlock: Some(level_ignored),
    xCheckReservedLock: Some(not_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_bytes),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// "`sqlite3_io_methods`": what SQLite takes where a file does not say.
const SECTOR_BYTES: c_int = 4096;

/// Opens a log that is not there, without making it. False if a VFS gives less room than it takes.
///
/// # Safety
/// As `xOpen` of `system` with these arguments ("`sqlite3_vfs`"): `name` lives until the file is closed, and `file` has room for an open file
/// of `system`.
pub(crate) unsafe fn open(
    system: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
) -> bool {
    // SAFETY: the caller's contract.
    unsafe {
        if usize::try_from((*system).szOsFile).is_ok_and(|room| room < size_of::<LateLog>()) {
            return false;
        }
        file.cast::<LateLog>().write(LateLog {
            methods: &raw const METHODS,
            system,
            name,
            flags,
        });
    }
    true
}

/// Opens the log for good, and makes it if it is not there. The VFS's own open file overwrites ours in its place; that is put back if
/// it cannot be opened, so that the next call tries again.
///
/// # Safety
/// `open` made the file, and nothing has taken its place.
unsafe fn become_real(file: *mut ffi::sqlite3_file) -> Result<&'static ffi::sqlite3_io_methods, c_int> {
    // SAFETY: the caller's contract; the VFS's table of methods is there once it opened the file, and static.
    unsafe {
        let late = file.cast::<LateLog>().read();
        if has_moved(late.name) {
            return Err(ffi::SQLITE_READONLY_DBMOVED);
        }
        let open = (*late.system).xOpen.ok_or(ffi::SQLITE_CANTOPEN)?;
        let code = open(late.system, late.name, file, late.flags, ptr::null_mut());
        if code == ffi::SQLITE_OK {
            return (*file).pMethods.as_ref().ok_or(ffi::SQLITE_CANTOPEN);
        }
        file.cast::<LateLog>().write(late);
        Err(code)
    }
}

/// Whether the data file of this log has another name by now, or none. No if that cannot be told, as SQLite takes it.
///
/// # Safety
/// `log` is what SQLite gave `xOpen` as the name of a log, and its database is open.
unsafe fn has_moved(log: ffi::sqlite3_filename) -> bool {
    let mut has_moved: c_int = 0;
    // SAFETY: the caller's contract ("sqlite3_database_file_object"); the operation writes one integer of ours.
    unsafe {
        let data = ffi::sqlite3_database_file_object(log);
        let control = data.as_ref().and_then(|data| data.pMethods.as_ref()?.xFileControl);
        if let Some(control) = control {
            control(data, ffi::SQLITE_FCNTL_HAS_MOVED, (&raw mut has_moved).cast());
        }
    }
    has_moved != 0
}

/// # Safety
/// As of `become_real`.
unsafe fn is_there(file: *mut ffi::sqlite3_file) -> bool {
    // SAFETY: the caller's contract.
    unsafe { !is_absent((*file.cast::<LateLog>()).name) }
}

/// Whether there is nothing of this name. What cannot be told is left to SQLite.
///
/// # Safety
/// `name` ends with a NUL.
pub(crate) unsafe fn is_absent(name: ffi::sqlite3_filename) -> bool {
    // SAFETY: the caller's contract.
    let name = unsafe { CStr::from_ptr(name) };
    std::fs::symlink_metadata(OsStr::from_bytes(name.to_bytes()))
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// A method that is the VFS's own once the log is there, and until then does `otherwise`.
macro_rules! once_there {
    ($name:ident, $method:ident, ($($argument:ident: $type:ty),*), $otherwise:expr) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($argument: $type),*) -> c_int {
            // SAFETY: SQLite calls this for a file that `open` made, with what the method is to be given ("sqlite3_io_methods").
            unsafe {
                if !is_there(file) {
                    return $otherwise;
                }
                match become_real(file) {
                    Ok(methods) => methods.$method.map_or(ffi::SQLITE_IOERR, |method| method(file, $($argument),*)),
                    Err(code) => code,
                }
            }
        }
    };
}

once_there!(read, xRead, (out: *mut c_void, count: c_int, at: i64), {
    // What a file does not have is read as zeros ("SQLITE_IOERR_SHORT_READ").
    ptr::write_bytes(out.cast::<u8>(), 0, usize::try_from(count).unwrap_or(0));
    ffi::SQLITE_IOERR_SHORT_READ
});
once_there!(truncate, xTruncate, (size: i64), ffi::SQLITE_OK);
once_there!(sync, xSync, (flags: c_int), ffi::SQLITE_OK);
once_there!(file_size, xFileSize, (size: *mut i64), {
    *size = 0;
    ffi::SQLITE_OK
});

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: as above.
    unsafe {
        // A log begins with its header. What follows frames that are not there would be taken for a whole log by a checkpoint.
        if at > 0 && !is_there(file) {
            return ffi::SQLITE_IOERR_WRITE;
        }
        match become_real(file) {
            Ok(methods) => methods
                .xWrite
                .map_or(ffi::SQLITE_IOERR_WRITE, |method| method(file, bytes, count, at)),
            Err(code) => code,
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: a file that `open` made; SQLite uses it no more.
    unsafe { (*file).pMethods = ptr::null() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn level_ignored(_file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn not_reserved(_file: *mut ffi::sqlite3_file, is_reserved: *mut c_int) -> c_int {
    // SAFETY: SQLite's, to be written to.
    unsafe { *is_reserved = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(_file: *mut ffi::sqlite3_file, _operation: c_int, _argument: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_bytes(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    0
}
