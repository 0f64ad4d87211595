//! Copying a database page by page while it is in use. The copy is under the key of its source.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use libsqlite3_sys as ffi;
use napi::sys;
use nimbus_sqlite::{LibraryConnection, LibraryError, PageMark};

use super::arguments::call;
use super::state::{Database, has_failed_page};
use super::value;

pub(super) struct Backup {
    pub(super) source: *mut Database,
    raw: *mut ffi::sqlite3_backup,
    target: LibraryConnection,
    path: PathBuf,
    /// Whether what is at `path` is removed unless it becomes whole.
    remove: bool,
}

impl Drop for Backup {
    fn drop(&mut self) {
        // SAFETY: begun by us, finished once, before its target is closed.
        unsafe { ffi::sqlite3_backup_finish(self.raw) };
        if self.remove {
            // What is left of a copy that failed is of no use; if it cannot be removed, its owner sees it.
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = &self.target;
    }
}

/// `(database, schema, path, isNewFile)`: a handle.
pub(super) unsafe extern "C" fn open(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; both databases are open while the backup lives, since closing the source
    // ends it.
    unsafe {
        call(env, info, |arguments| {
            let (Some(source), Some(schema), Some(path)) = (
                arguments.state().database(arguments.integer(0)),
                arguments.c_string(1),
                arguments.c_string(2),
            ) else {
                return arguments.state().misuse();
            };
            let path = Path::new(OsStr::from_bytes(path.as_bytes()));
            let target = match (*source).connection.open_target(path) {
                Ok(target) => target,
                Err(error) => return arguments.state().throw(&error),
            };
            let raw = ffi::sqlite3_backup_init(target.handle(), c"main".as_ptr(), (*source).raw, schema.as_ptr());
            if raw.is_null() {
                let code = ffi::sqlite3_extended_errcode(target.handle());
                let message = std::ffi::CStr::from_ptr(ffi::sqlite3_errmsg(target.handle()))
                    .to_bytes()
                    .to_vec();
                return arguments.state().throw_with(code, &message);
            }
            let backup = Box::new(Backup {
                source,
                raw,
                target,
                path: path.to_owned(),
                remove: arguments.boolean(3),
            });
            let handle = arguments.state().backups.insert(backup).unwrap_or(-1);
            value::integer(env, i64::from(handle), false)
        })
    }
}

/// `(backup, pages)`: SQLite's code, which is OK, DONE, BUSY or LOCKED; the counters say how many pages there are and how many are left.
pub(super) unsafe extern "C" fn step(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found backup has both databases open.
    unsafe {
        call(env, info, |arguments| {
            let state = arguments.state();
            let Some(backup) = state.backups.get(arguments.integer(0)) else {
                return state.misuse();
            };
            let backup = &mut *backup;
            let mark = PageMark::now();
            let code = ffi::sqlite3_backup_step(backup.raw, arguments.integer(1)) & 0xff;
            if has_failed_page(backup.source, mark) {
                return state.throw(&LibraryError::corrupt());
            }
            match code {
                ffi::SQLITE_OK | ffi::SQLITE_DONE | ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
                    if !state.slab.is_null() {
                        (*state.slab).changes = f64::from(ffi::sqlite3_backup_pagecount(backup.raw));
                        (*state.slab).row_id = f64::from(ffi::sqlite3_backup_remaining(backup.raw));
                    }
                    backup.remove &= code != ffi::SQLITE_DONE;
                    value::integer(env, i64::from(code), false)
                }
                code => {
                    let words = std::ffi::CStr::from_ptr(ffi::sqlite3_errstr(code)).to_bytes();
                    state.throw_with(code, words)
                }
            }
        })
    }
}

/// `(backup)`
pub(super) unsafe extern "C" fn close(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments.
    unsafe {
        call(env, info, |arguments| {
            drop(arguments.state().backups.remove(arguments.integer(0)));
            ptr::null_mut()
        })
    }
}
