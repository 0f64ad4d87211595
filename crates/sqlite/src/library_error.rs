//! What goes wrong in the embedded library, in SQLite's terms.

use std::path::Path;

use libsqlite3_sys as ffi;

use crate::error::StoreError;

/// SQLite's words and extended result code.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct LibraryError {
    /// "Result and Error Codes".
    pub code: i32,
    /// What SQLite says.
    pub message: String,
}

impl LibraryError {
    /// A page did not authenticate.
    #[must_use]
    pub fn corrupt() -> Self {
        Self {
            code: ffi::SQLITE_CORRUPT,
            message: "a page of this file does not authenticate: it was altered or damaged".to_owned(),
        }
    }

    pub(crate) fn not_a_database() -> Self {
        Self {
            code: ffi::SQLITE_NOTADB,
            message: "file is not a database under this key, or it was altered".to_owned(),
        }
    }

    /// A connection of this process has the file open in the other way.
    pub(crate) fn open_here(path: &Path, is_exclusive: bool) -> Self {
        let (there, here) = if is_exclusive {
            ("without", "with")
        } else {
            ("with", "without")
        };
        Self {
            code: ffi::SQLITE_BUSY,
            message: format!(
                "{} is open in this process {there} \"exclusive\", and cannot be opened {here} it as well: close it there first",
                path.display()
            ),
        }
    }

    /// The file is kept by the lock of a writer, and may not be written.
    pub(crate) fn not_exclusive(path: &Path) -> Self {
        Self {
            code: ffi::SQLITE_READONLY,
            message: format!(
                "{} may not be written by this user, and cannot be \"exclusive\": open it without",
                path.display()
            ),
        }
    }

    /// The URI says how the file is to be locked, which is otherwise.
    pub(crate) fn not_kept(path: &Path) -> Self {
        Self {
            code: ffi::SQLITE_MISUSE,
            message: format!(
                "{} names a VFS or asks for no locks, and cannot be \"exclusive\": open it without one of the two",
                path.display()
            ),
        }
    }

    pub(crate) fn from_store(error: &StoreError) -> Self {
        Self {
            code: match error {
                StoreError::Corrupt { .. } | StoreError::Foreign { .. } | StoreError::CopyDiffers { .. } => {
                    ffi::SQLITE_CORRUPT
                }
                StoreError::Missing { .. } | StoreError::Exists { .. } | StoreError::Denied { .. } => {
                    ffi::SQLITE_CANTOPEN
                }
                StoreError::Busy { .. } => ffi::SQLITE_BUSY,
                StoreError::Full { .. } => ffi::SQLITE_FULL,
                StoreError::Io { extended_code, .. } => *extended_code,
                StoreError::Interrupted { .. } => ffi::SQLITE_INTERRUPT,
                StoreError::Constraint { .. }
                | StoreError::ExpectationFailed { .. }
                | StoreError::Sql { .. }
                | StoreError::Closed { .. }
                | StoreError::Panicked { .. } => ffi::SQLITE_ERROR,
            },
            message: error.to_string(),
        }
    }

    pub(crate) fn from_sqlite(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(failure, message) => Self {
                code: failure.extended_code,
                message: message.unwrap_or_else(|| ffi::code_to_str(failure.extended_code).to_owned()),
            },
            other => Self {
                code: ffi::SQLITE_ERROR,
                message: other.to_string(),
            },
        }
    }
}
