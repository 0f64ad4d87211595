//! Which database files SQLite has open in this process, and that none is open exclusively and otherwise at once.
//!
//! With the VFS `unix-excl` a process locks a file once and then counts on it. POSIX gives a lock to the process, not to a
//! descriptor: a connection through `unix` that ends its own transaction, or closes a descriptor that takes no locks, gives the
//! lock back, and nobody takes it again. Two processes would then write the file at once. So the second of the two kinds is
//! refused (`SQLITE_BUSY`) before the file is opened, whoever asks: an opening, ATTACH, VACUUM INTO, the target of a
//! backup.
//!
//! SQLite opens every file through a VFS, and these stand before the system's, under their names: a connection, and whatever
//! it attaches, finds no other way, not even by the URI parameter `vfs`.

#![expect(unsafe_code, reason = "a VFS is a C interface")]

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, c_int};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::ptr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use libsqlite3_sys as ffi;

use crate::late_log;

/// How a connection locks a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locking {
    /// Once for the process.
    Exclusive,
    /// For each transaction, or not at all.
    Shared,
}

/// A file, whatever its names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// By its name: to open and close it would drop the locks that this is about.
    fn at(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            number: metadata.ino(),
        })
    }
}

struct Open {
    locking: Locking,
    connections: usize,
}

/// Held while a file is opened or closed, so that nobody sees it between the two.
static OPEN: LazyLock<Mutex<HashMap<Inode, Open>>> = LazyLock::new(Mutex::default);

fn open_files() -> MutexGuard<'static, HashMap<Inode, Open>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn may_open(files: &HashMap<Inode, Open>, inode: Inode, locking: Locking) -> bool {
    files.get(&inode).is_none_or(|open| open.locking == locking)
}

/// Stands before a VFS of the system, whose methods it has but for the one that opens.
#[repr(C)]
struct Guard {
    vfs: ffi::sqlite3_vfs,
    system: *mut ffi::sqlite3_vfs,
    is_exclusive: bool,
    makes_log_late: bool,
}

/// In the place of the VFS's own table of methods, which it begins with.
#[repr(C)]
struct OpenFile {
    methods: ffi::sqlite3_io_methods,
    system: *const ffi::sqlite3_io_methods,
    inode: Inode,
}

/// The VFS that is `unix-excl`, but for its logs (see `late_log`).
pub(crate) const LATE_LOG: &CStr = c"nimbus-excl";

/// Puts the guards before the system's VFSes. Called once, before this process opens a database.
pub(crate) fn guard() {
    // The default comes last, since registering it puts it first.
    for (name, own_name, is_exclusive) in [
        (c"unix-none", None, false),
        (c"unix-dotfile", None, false),
        (c"unix-excl", Some(LATE_LOG), true),
        (c"unix-excl", None, true),
        (c"unix", None, false),
    ] {
        // SAFETY: SQLite is initialised, and its VFSes live as long as the process, as do the guards. Of two with one name only
        // one may be registered ("sqlite3_vfs_register"), so the system's goes first; it is still used, through the pointer.
        unsafe {
            let system = ffi::sqlite3_vfs_find(name.as_ptr());
            if system.is_null() {
                continue;
            }
            if own_name.is_none() {
                ffi::sqlite3_vfs_unregister(system);
            }
            let guard = Box::leak(Box::new(Guard {
                vfs: ffi::sqlite3_vfs {
                    pNext: ptr::null_mut(),
                    zName: own_name.unwrap_or(name).as_ptr(),
                    xOpen: Some(open),
                    ..*system
                },
                system,
                is_exclusive,
                makes_log_late: own_name.is_some(),
            }));
            ffi::sqlite3_vfs_register(ptr::from_mut(guard).cast(), c_int::from(name == c"unix"));
        }
    }
}

/// Whether a connection that was to be opened through [`LATE_LOG`] keeps its file: its path can be a URI that names another VFS, or
/// asks for no locks.
pub(crate) fn keeps_file(connection: &rusqlite::Connection) -> bool {
    let mut vfs: *mut ffi::sqlite3_vfs = ptr::null_mut();
    // SAFETY: the handle is open while `connection` is borrowed, "main" always exists; the operation writes one pointer of ours, to
    // a VFS that lives as long as the process, and the name is SQLite's own ("sqlite3_db_filename", "sqlite3_uri_parameter").
    unsafe {
        let handle = connection.handle();
        let (schema, found) = (c"main".as_ptr(), (&raw mut vfs).cast());
        ffi::sqlite3_file_control(handle, schema, ffi::SQLITE_FCNTL_VFS_POINTER, found);
        let is_ours = vfs.as_ref().is_some_and(|vfs| CStr::from_ptr(vfs.zName) == LATE_LOG);
        let path = ffi::sqlite3_db_filename(handle, schema);
        is_ours && (path.is_null() || ffi::sqlite3_uri_boolean(path, c"nolock".as_ptr(), 0) == 0)
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this with a VFS that `guard` registered, a name that is absent or ends in NUL, room for an open file
    // and, or nothing, for flags ("sqlite3_vfs"). A file that is not opened has no methods then, and is not closed.
    unsafe {
        (*file).pMethods = ptr::null();
        let guard = &*vfs.cast::<Guard>();
        let Some(open) = (*guard.system).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 || name.is_null() {
            if guard.makes_log_late
                && flags & ffi::SQLITE_OPEN_WAL != 0
                && late_log::is_absent(name)
                && late_log::open(guard.system, name, file, flags)
            {
                if !flags_out.is_null() {
                    *flags_out = flags;
                }
                return ffi::SQLITE_OK;
            }
            return open(guard.system, name, file, flags, flags_out);
        }
        let path = Path::new(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
        // A file that is not written to is locked for each transaction, with `unix-excl` too (`unixFileLock`).
        let locking = |flags: c_int| {
            if guard.is_exclusive && flags & ffi::SQLITE_OPEN_READONLY == 0 {
                Locking::Exclusive
            } else {
                Locking::Shared
            }
        };
        let mut files = open_files();
        if Inode::at(path).is_some_and(|inode| !may_open(&files, inode, locking(flags))) {
            return ffi::SQLITE_BUSY;
        }
        let mut opened_flags = flags;
        let code = open(guard.system, name, file, flags, &raw mut opened_flags);
        if code != ffi::SQLITE_OK {
            return code;
        }
        if !flags_out.is_null() {
            *flags_out = opened_flags;
        }
        let code = admit(&mut files, path, file, locking(opened_flags));
        if code != ffi::SQLITE_OK {
            if let Some(close) = (*file).pMethods.as_ref().and_then(|methods| methods.xClose) {
                close(file);
            }
            (*file).pMethods = ptr::null();
        }
        code
    }
}

/// Counts an opened file. It may be another than was looked at before, or not have been there.
///
/// # Safety
/// `file` is open, and nobody else uses it.
unsafe fn admit(
    files: &mut HashMap<Inode, Open>,
    path: &Path,
    file: *mut ffi::sqlite3_file,
    locking: Locking,
) -> c_int {
    // SAFETY: the caller's contract; the table of an open file is there, and static.
    unsafe {
        let system = (*file).pMethods;
        let (Some(inode), Some(control)) = (Inode::at(path), (*system).xFileControl) else {
            return ffi::SQLITE_CANTOPEN;
        };
        let mut has_moved: c_int = 0;
        control(file, ffi::SQLITE_FCNTL_HAS_MOVED, (&raw mut has_moved).cast());
        if has_moved != 0 {
            return ffi::SQLITE_CANTOPEN;
        }
        if !may_open(files, inode, locking) {
            return ffi::SQLITE_BUSY;
        }
        let open = files.entry(inode).or_insert(Open {
            locking,
            connections: 0,
        });
        open.connections += 1;
        let own = Box::new(OpenFile {
            methods: ffi::sqlite3_io_methods {
                xClose: Some(close),
                ..*system
            },
            system,
            inode,
        });
        (*file).pMethods = Box::into_raw(own).cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite calls this for a file whose methods `admit` made, and uses neither afterwards.
    unsafe {
        let own = Box::from_raw((*file).pMethods.cast_mut().cast::<OpenFile>());
        (*file).pMethods = own.system;
        let mut files = open_files();
        let code = (*own.system)
            .xClose
            .map_or(ffi::SQLITE_IOERR_CLOSE, |close| close(file));
        if let Some(open) = files.get_mut(&own.inode) {
            open.connections -= 1;
            if open.connections == 0 {
                files.remove(&own.inode);
            }
        }
        code
    }
}
