//! One call of SQLite for JavaScript, from its beginning to what came of it.
//!
//! SQLite's code is not the whole answer. It drops failures of statements that it runs by itself (`PRAGMA table_list` goes on when the
//! table of a module cannot be made), and read errors of overflow pages. So whatever calls SQLite begins here and ends here: an exception
//! of JavaScript or a bad page fails the call that met it, whatever SQLite made of it, and never a later one.

use std::ffi::CStr;
use std::ptr;

use libsqlite3_sys as ffi;
use napi::sys;
use nimbus_sqlite::{LibraryError, PageMark};

use super::arguments::Arguments;
use super::state::{Database, has_failed_page};

#[derive(Clone, Copy)]
pub(super) struct Running {
    database: *mut Database,
    mark: PageMark,
}

impl Running {
    /// Refuses a database of which a page failed.
    ///
    /// # Safety
    /// `database` stays open until the call ends, and nothing of it is running.
    #[inline]
    pub(super) unsafe fn begin(database: *mut Database) -> Result<Self, LibraryError> {
        // SAFETY: the caller's contract.
        unsafe {
            if (*database).broken {
                return Err(LibraryError::corrupt());
            }
            Ok(Self::begin_end(database))
        }
    }

    /// For what ends something, which is also done with a database that is of no use any more.
    ///
    /// # Safety
    /// As `begin`.
    #[inline]
    pub(super) unsafe fn begin_end(database: *mut Database) -> Self {
        // SAFETY: the caller's contract. What was thrown by a callback outside every call, as its table was freed, is not of this one.
        unsafe { (*database).threw = false };
        Self {
            database,
            mark: PageMark::now(),
        }
    }

    /// Whether a callback left an exception: SQLite is to be asked for no more.
    ///
    /// # Safety
    /// The call has not ended.
    #[inline]
    pub(super) unsafe fn has_thrown(self) -> bool {
        // SAFETY: `begin`'s contract.
        unsafe { (*self.database).threw }
    }

    /// Whether nothing that was read is to be handed out, whatever SQLite says.
    ///
    /// # Safety
    /// The call has not ended.
    #[inline]
    pub(super) unsafe fn has_failed(self) -> bool {
        // SAFETY: `begin`'s contract.
        unsafe { self.has_thrown() || has_failed_page(self.database, self.mark) }
    }

    /// The same, or SQLite says itself that it failed.
    ///
    /// # Safety
    /// The call has not ended.
    #[inline]
    pub(super) unsafe fn has_failed_with(self, code: i32) -> bool {
        // SAFETY: `begin`'s contract.
        !matches!(code, ffi::SQLITE_OK | ffi::SQLITE_ROW | ffi::SQLITE_DONE) || unsafe { self.has_failed() }
    }

    /// Ends a call whose last code was `code`: null, and an exception is pending if it failed.
    ///
    /// # Safety
    /// What the call began is undone or done, and nothing of the database is running.
    #[inline]
    pub(super) unsafe fn end(self, arguments: &Arguments, code: i32) -> sys::napi_value {
        // SAFETY: the caller's contract.
        if unsafe { self.has_failed_with(code) } {
            // SAFETY: the same.
            unsafe { self.fail(arguments, code) };
        }
        ptr::null_mut()
    }

    #[cold]
    unsafe fn fail(self, arguments: &Arguments, code: i32) {
        // SAFETY: `end`'s contract.
        if let Some(error) = unsafe { self.failure(arguments.env, code) } {
            arguments.state().throw(&error);
        }
    }

    /// What a call that failed is to throw, later perhaps; `None` if an exception of JavaScript is pending.
    ///
    /// # Safety
    /// As `end`.
    #[cold]
    pub(super) unsafe fn failure(self, env: sys::napi_env, code: i32) -> Option<LibraryError> {
        let database = self.database;
        // SAFETY: the caller's contract; the message is copied before SQLite is called again.
        unsafe {
            // First, since it marks the database, which an exception does not excuse.
            let page_failed = has_failed_page(database, self.mark);
            if std::mem::take(&mut (*database).threw) {
                return (!is_exception_pending(env)).then(|| LibraryError {
                    code: ffi::SQLITE_INTERNAL,
                    message: "a callback of this statement failed and left no exception".to_owned(),
                });
            }
            if page_failed {
                return Some(LibraryError::corrupt());
            }
            let extended = ffi::sqlite3_extended_errcode((*database).raw);
            let (code, message) = if extended & 0xff == code & 0xff {
                (extended, ffi::sqlite3_errmsg((*database).raw))
            } else {
                (code, ffi::sqlite3_errstr(code))
            };
            let message = CStr::from_ptr(message).to_string_lossy().into_owned();
            Some(LibraryError { code, message })
        }
    }
}

pub(super) fn is_exception_pending(env: sys::napi_env) -> bool {
    let mut is_pending = false;
    // SAFETY: `env` is current on this thread.
    unsafe { sys::napi_is_exception_pending(env, &raw mut is_pending) };
    is_pending
}

/// Calls JavaScript from inside SQLite; `None` if it threw, and the exception is pending. It may use other databases, and their bad
/// pages are not those of the statement that calls.
///
/// # Safety
/// `env` is current; `function` and `values` are of its current scope.
pub(super) unsafe fn call_out(
    env: sys::napi_env,
    function: sys::napi_value,
    values: &[sys::napi_value],
) -> Option<sys::napi_value> {
    nimbus_sqlite::apart(|| {
        let (mut this, mut value) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the caller's contract.
        unsafe {
            sys::napi_get_undefined(env, &raw mut this);
            let called = sys::napi_call_function(env, this, function, values.len(), values.as_ptr(), &raw mut value);
            (called == sys::Status::napi_ok).then_some(value)
        }
    })
}
