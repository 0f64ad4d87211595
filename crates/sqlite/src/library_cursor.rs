//! A statement of the library that native code steps by itself, and what it returned.

#![expect(
    unsafe_code,
    reason = "a statement that outlives the call that prepared it needs the raw handle"
)]

use std::ffi::{CStr, c_int};
use std::{ptr, slice};

use libsqlite3_sys as ffi;

use crate::error::StoreError;
use crate::library::{LibraryConnection, PageMark};
use crate::library_error::LibraryError;

/// `SQLITE_UTF8`, as `sqlite3_bind_text64` takes it.
const UTF8: u8 = 1;

/// A value on its way in or out.
#[derive(Debug, Clone, PartialEq)]
pub enum LibraryValue {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT: UTF-8, which a file need not hold to.
    Text(Vec<u8>),
    /// BLOB.
    Blob(Vec<u8>),
}

impl LibraryValue {
    fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Integer(_) | Self::Real(_) => 8,
            Self::Text(bytes) | Self::Blob(bytes) => bytes.len(),
        }
    }
}

/// Some rows of a statement, and what it changed.
#[derive(Debug, Default)]
pub struct LibraryRows {
    /// Their names.
    pub columns: Vec<String>,
    /// One row after the other.
    pub values: Vec<LibraryValue>,
    /// Whether there are no more.
    pub is_done: bool,
    /// Rows inserted, updated or deleted.
    pub changes: i64,
    /// Of the last insert on the connection.
    pub last_insert_rowid: i64,
}

/// How many rows are read before they are handed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl Most {
    pub(crate) const ALL: Self = Self {
        rows: usize::MAX,
        bytes: usize::MAX,
    };
}

/// A prepared statement. Dropped before its connection: see [`Cursor`].
struct Statement(*mut ffi::sqlite3_stmt);

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: prepared by us, finalized once; its connection is still open.
        unsafe { ffi::sqlite3_finalize(self.0) };
    }
}

/// A connection with a statement of its own that is being read. Fields are dropped in this order.
pub(crate) struct Cursor {
    statement: Statement,
    connection: LibraryConnection,
}

// SAFETY: SQLite is compiled with SQLITE_THREADSAFE=2: a connection and its statements may move between threads as long as one
// at a time uses them, and whoever has the cursor has both.
unsafe impl Send for Cursor {}

impl Cursor {
    /// Compiles one statement and binds its parameters. The connection comes back with a failure.
    #[expect(clippy::result_large_err, reason = "moved once for each statement")]
    pub(crate) fn prepare(
        connection: LibraryConnection,
        sql: &str,
        values: &[LibraryValue],
    ) -> Result<Self, (LibraryConnection, LibraryError)> {
        let mark = PageMark::now();
        let mut raw = ptr::null_mut();
        let Ok(length) = c_int::try_from(sql.len()) else {
            return Err((connection, LibraryError::of_code(ffi::SQLITE_TOOBIG)));
        };
        // SAFETY: the connection is open and this thread's; the text has that length.
        let code = unsafe {
            ffi::sqlite3_prepare_v2(
                connection.handle(),
                sql.as_ptr().cast(),
                length,
                &raw mut raw,
                ptr::null_mut(),
            )
        };
        let statement = Statement(raw);
        if code != ffi::SQLITE_OK || mark.page_failed() {
            let error = failure(&connection, code, mark);
            drop(statement);
            return Err((connection, error));
        }
        for (value, place) in values.iter().zip(1..) {
            // SAFETY: the statement is prepared; SQLite copies what is passed.
            let code = unsafe { bind(raw, place, value) };
            if code != ffi::SQLITE_OK {
                let error = failure(&connection, code, mark);
                drop(statement);
                return Err((connection, error));
            }
        }
        Ok(Self { statement, connection })
    }

    /// The next rows: no more than `most`, and at least one if there is one.
    pub(crate) fn read(&mut self, most: Most) -> Result<LibraryRows, LibraryError> {
        let mark = PageMark::now();
        let (statement, connection) = (self.statement.0, self.connection.handle());
        // SAFETY: both are open, and this thread's while it has the cursor.
        unsafe {
            let total = ffi::sqlite3_total_changes64(connection);
            let count = ffi::sqlite3_column_count(statement);
            let mut rows = LibraryRows::default();
            let (mut taken, mut bytes) = (0, 0);
            while taken < most.rows && bytes < most.bytes {
                let code = ffi::sqlite3_step(statement);
                if code == ffi::SQLITE_ROW {
                    for column in 0..count {
                        let value = column_value(statement, column);
                        bytes += value.bytes();
                        rows.values.push(value);
                    }
                    taken += 1;
                    if !mark.page_failed() {
                        continue;
                    }
                }
                if code != ffi::SQLITE_DONE || mark.page_failed() {
                    return Err(failure(&self.connection, code, mark));
                }
                rows.is_done = true;
                break;
            }
            // After the first step: the statement may have been compiled anew for a schema that has changed.
            rows.columns = (0..ffi::sqlite3_column_count(statement))
                .map(|column| column_name(statement, column))
                .collect();
            if ffi::sqlite3_total_changes64(connection) != total {
                rows.changes = ffi::sqlite3_changes64(connection);
            }
            rows.last_insert_rowid = ffi::sqlite3_last_insert_rowid(connection);
            Ok(rows)
        }
    }

    /// Ends the statement.
    pub(crate) fn into_connection(self) -> LibraryConnection {
        let Self { statement, connection } = self;
        drop(statement);
        connection
    }
}

/// What the call that has just failed with `code` is called.
fn failure(connection: &LibraryConnection, code: c_int, mark: PageMark) -> LibraryError {
    if mark.page_failed() && connection.is_encrypted() {
        connection.leave_log_on_close();
        return LibraryError::corrupt();
    }
    // SAFETY: the connection is open and this thread's; the message is copied before it is used again.
    unsafe {
        let extended = ffi::sqlite3_extended_errcode(connection.handle());
        if extended & 0xff != code & 0xff {
            return LibraryError::of_code(code);
        }
        let message = CStr::from_ptr(ffi::sqlite3_errmsg(connection.handle()));
        LibraryError {
            code: extended,
            message: message.to_string_lossy().into_owned(),
        }
    }
}

impl LibraryError {
    /// In SQLite's general words.
    pub(crate) fn of_code(code: c_int) -> Self {
        Self {
            code,
            message: ffi::code_to_str(code).to_owned(),
        }
    }

    /// The statement was stopped, or never begun.
    pub(crate) fn interrupted() -> Self {
        Self {
            code: ffi::SQLITE_INTERRUPT,
            message: "interrupted".to_owned(),
        }
    }

    /// Whether it may come of waiting for a lock, or of a statement that was stopped.
    pub(crate) const fn is_of_waiting(&self) -> bool {
        matches!(self.code & 0xff, ffi::SQLITE_BUSY | ffi::SQLITE_INTERRUPT)
    }

    /// Whether the connection that says so is still of use: not after damage, nor after a failure of the disk.
    pub(crate) const fn leaves_connection(&self) -> bool {
        !matches!(
            self.code & 0xff,
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN | ffi::SQLITE_NOMEM
        )
    }

    pub(crate) fn panicked(path: &std::path::Path) -> Self {
        Self::from_store(&StoreError::Panicked { path: path.to_owned() })
    }
}

unsafe fn bind(statement: *mut ffi::sqlite3_stmt, place: c_int, value: &LibraryValue) -> c_int {
    // SAFETY: the caller says that the statement is prepared; lengths are those of the slices, which SQLite copies. An empty
    // slice has an address.
    unsafe {
        match value {
            LibraryValue::Null => ffi::sqlite3_bind_null(statement, place),
            LibraryValue::Integer(integer) => ffi::sqlite3_bind_int64(statement, place, *integer),
            LibraryValue::Real(real) => ffi::sqlite3_bind_double(statement, place, *real),
            LibraryValue::Text(bytes) => ffi::sqlite3_bind_text64(
                statement,
                place,
                bytes.as_ptr().cast(),
                bytes.len() as u64,
                ffi::SQLITE_TRANSIENT(),
                UTF8,
            ),
            LibraryValue::Blob(bytes) => ffi::sqlite3_bind_blob64(
                statement,
                place,
                bytes.as_ptr().cast(),
                bytes.len() as u64,
                ffi::SQLITE_TRANSIENT(),
            ),
        }
    }
}

unsafe fn column_value(statement: *mut ffi::sqlite3_stmt, column: c_int) -> LibraryValue {
    // SAFETY: the caller says that the statement is on a row which has that column; text and blob are copied at once.
    unsafe {
        match ffi::sqlite3_column_type(statement, column) {
            ffi::SQLITE_INTEGER => LibraryValue::Integer(ffi::sqlite3_column_int64(statement, column)),
            ffi::SQLITE_FLOAT => LibraryValue::Real(ffi::sqlite3_column_double(statement, column)),
            ffi::SQLITE_TEXT => {
                let data = ffi::sqlite3_column_text(statement, column);
                LibraryValue::Text(copied(data, ffi::sqlite3_column_bytes(statement, column)))
            }
            ffi::SQLITE_BLOB => {
                let data = ffi::sqlite3_column_blob(statement, column);
                LibraryValue::Blob(copied(data.cast(), ffi::sqlite3_column_bytes(statement, column)))
            }
            _ => LibraryValue::Null,
        }
    }
}

unsafe fn copied(data: *const u8, length: c_int) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller says that so many bytes are there.
    unsafe { slice::from_raw_parts(data, usize::try_from(length).unwrap_or(0)) }.to_vec()
}

unsafe fn column_name(statement: *mut ffi::sqlite3_stmt, column: c_int) -> String {
    // SAFETY: the caller says that the statement has that column; the name is copied at once.
    unsafe {
        let name = ffi::sqlite3_column_name(statement, column);
        if name.is_null() {
            return String::new();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}
