//! What can go wrong with a file or a request, by what its owner can do about it.

use std::io;
use std::path::{Path, PathBuf};

use libsqlite3_sys as ffi;
use rusqlite::ErrorCode;

/// A failure of a connection or a request. `Clone`, because one failed commit is the answer to many requests.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A page did not authenticate, or the file is not a database under this key.
    #[error("{path} is damaged: a page does not authenticate or is not well formed")]
    Corrupt {
        /// The data file.
        path: PathBuf,
    },
    /// A log or journal beside the data file holds a page that was not written for it. It was not used, and nothing was
    /// written; what was acknowledged may be in it.
    #[error(
        "{path} was altered or is not of its database; nothing of it was used: put back the one that belongs there, or \
         restore data file, manifest and log together"
    )]
    Foreign {
        /// The log or the journal.
        path: PathBuf,
    },
    /// The file does not exist.
    #[error("{path} does not exist")]
    Missing {
        /// The data file.
        path: PathBuf,
    },
    /// A file is there that should have been created.
    #[error("{path} exists already")]
    Exists {
        /// The data file.
        path: PathBuf,
    },
    /// Another process or connection holds the file.
    #[error("{path} is in use by another connection")]
    Busy {
        /// The data file.
        path: PathBuf,
    },
    /// The device or the quota is full; nothing of the request was kept.
    #[error("no space left to write {path}")]
    Full {
        /// The data file.
        path: PathBuf,
    },
    /// The process may not read or write the file.
    #[error("not permitted to open or write {path}")]
    Denied {
        /// The data file.
        path: PathBuf,
    },
    /// The system failed to read, write or sync. The request may or may not be on the disk.
    #[error("could not read or write {path} (SQLite error {extended_code})")]
    Io {
        /// The data file.
        path: PathBuf,
        /// SQLite's extended result code ("Result and Error Codes").
        extended_code: i32,
    },
    /// A constraint refused a step; the whole request was undone.
    #[error("step {step}: {message}")]
    Constraint {
        /// Which step, from 0.
        step: usize,
        /// Whether it was a unique index or a primary key.
        unique: bool,
        /// SQLite's words: they name the index or the column, never a value.
        message: String,
    },
    /// A step affected fewer rows than it had to; the whole request was undone.
    #[error("step {step} affected {affected} rows, at least {at_least} were required")]
    ExpectationFailed {
        /// Which step, from 0.
        step: usize,
        /// Rows returned or changed.
        affected: u64,
        /// What the request demanded.
        at_least: u64,
    },
    /// The statement is wrong, or not allowed here.
    #[error("step {step}: {message}")]
    Sql {
        /// Which step, from 0.
        step: usize,
        /// SQLite's words.
        message: String,
    },
    /// A copy does not hold what its source holds.
    #[error("the copy {path} is not what it was made from: {what}")]
    CopyDiffers {
        /// The copy.
        path: PathBuf,
        /// What differs: a table, the schema, a number in the header.
        what: String,
    },
    /// Long work was told to stop, and did.
    #[error("the work on {path} was interrupted")]
    Interrupted {
        /// The data file.
        path: PathBuf,
    },
    /// The store was closed.
    #[error("{path} is closed")]
    Closed {
        /// The data file.
        path: PathBuf,
    },
    /// A defect of nimbus: the code panicked. The connection was thrown away.
    #[error("the request on {path} failed inside nimbus")]
    Panicked {
        /// The data file.
        path: PathBuf,
    },
}

impl StoreError {
    pub(crate) fn corrupt(path: &Path) -> Self {
        Self::Corrupt { path: path.to_owned() }
    }

    pub(crate) fn foreign(side_file: &Path) -> Self {
        Self::Foreign {
            path: side_file.to_owned(),
        }
    }

    /// Whether the connection that reported it must not be used again: SQLCipher's codec keeps an error for good, and
    /// after an I/O error the pager's memory may be ahead of the disk.
    #[must_use]
    pub const fn breaks_connection(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Io { .. } | Self::Panicked { .. })
    }

    /// Whether only the request failed, and the transaction around it goes on.
    #[must_use]
    pub const fn is_of_request(&self) -> bool {
        matches!(
            self,
            Self::Constraint { .. } | Self::ExpectationFailed { .. } | Self::Sql { .. }
        )
    }

    pub(crate) fn from_sqlite(error: rusqlite::Error, step: usize, path: &Path) -> Self {
        let path = path.to_owned();
        let (failure, message) = match error {
            rusqlite::Error::SqliteFailure(failure, message) => (failure, message),
            rusqlite::Error::SqlInputError { error, msg, .. } => (error, Some(msg)),
            other => {
                return Self::Sql {
                    step,
                    message: other.to_string(),
                };
            }
        };
        let message = message.unwrap_or_else(|| ffi::code_to_str(failure.extended_code).to_owned());
        match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt { path },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy { path },
            ErrorCode::DiskFull => Self::Full { path },
            ErrorCode::OperationInterrupted => Self::Interrupted { path },
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => Self::Denied { path },
            ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory => Self::Io {
                path,
                extended_code: failure.extended_code,
            },
            ErrorCode::ConstraintViolation => {
                let unique = matches!(
                    failure.extended_code,
                    ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID
                );
                Self::Constraint { step, unique, message }
            }
            _ => Self::Sql { step, message },
        }
    }

    /// What a function of SQLite's own interface to files returned.
    pub(crate) fn from_code(extended_code: i32, path: &Path) -> Self {
        Self::from_sqlite(
            rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None),
            0,
            path,
        )
    }

    /// What the system said when the data file was looked at or created.
    pub(crate) fn from_system(error: &io::Error, path: &Path) -> Self {
        let path = path.to_owned();
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full { path },
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Self::Denied { path },
            _ => Self::Io {
                path,
                extended_code: ffi::SQLITE_CANTOPEN,
            },
        }
    }

    /// What the system said when a file beside the data file was read.
    pub(crate) fn from_reading(error: &io::Error, path: &Path) -> Self {
        match Self::from_system(error, path) {
            Self::Io { path, .. } => Self::Io {
                path,
                extended_code: ffi::SQLITE_IOERR_READ,
            },
            other => other,
        }
    }

    pub(crate) fn from_disk(error: &nimbus_disk::DiskError, path: &Path) -> Self {
        let path = path.to_owned();
        match error {
            nimbus_disk::DiskError::Full { .. } => Self::Full { path },
            nimbus_disk::DiskError::Denied { .. } => Self::Denied { path },
            nimbus_disk::DiskError::Busy { .. } => Self::Busy { path },
            nimbus_disk::DiskError::Io { .. } => Self::Io {
                path,
                extended_code: ffi::SQLITE_IOERR,
            },
        }
    }
}
