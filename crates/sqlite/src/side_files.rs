//! The files beside an encrypted one that SQLite would write into it: looked at before SQLite does.
//!
//! Both are read through descriptors of our own, which are closed again: SQLite's locks lie on the data file and on `-shm`,
//! and POSIX drops a process's locks on a file as soon as it closes any descriptor of that file, so neither of these two is
//! ever opened here. The data file's first page comes through SQLite's own descriptor.

#![expect(unsafe_code, reason = "rusqlite does not show the names of the side files")]

use std::ffi::{CStr, OsStr, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libsqlite3_sys as ffi;
use nimbus_crypto::sqlcipher::FilePages;

use crate::error::StoreError;
use crate::frames::{self, Verdict};
use crate::journal;
use crate::raw_file::RawFile;

/// The names that SQLite itself made, which follow symbolic links of the data file.
pub(crate) struct SideFiles {
    pub(crate) log: PathBuf,
    journal: PathBuf,
}

impl SideFiles {
    pub(crate) fn of(connection: &rusqlite::Connection) -> Self {
        // SAFETY: the handle is open while `connection` is borrowed, "main" always exists, and the name that
        // sqlite3_db_filename returns is what the other two functions ask for; the strings live as long as the connection
        // and are copied here ("sqlite3_db_filename", "sqlite3_filename_database").
        unsafe {
            let file = ffi::sqlite3_db_filename(connection.handle(), c"main".as_ptr());
            Self {
                log: path_of(ffi::sqlite3_filename_wal(file)),
                journal: path_of(ffi::sqlite3_filename_journal(file)),
            }
        }
    }

    /// Fails if SQLite would take anything from log or journal that was not written for this file. Nothing has been read
    /// through `connection` yet, or it would be too late. Returns the frames that the log holds.
    pub(crate) fn admit(&self, connection: &rusqlite::Connection, pages: &FilePages) -> Result<u32, StoreError> {
        self.admit_journal(connection, pages)?;
        match examine_log(&self.log, Some(pages))? {
            Verdict::Sound { frames } => Ok(frames),
            Verdict::Damaged => Err(StoreError::foreign(&self.log)),
        }
    }

    /// Likewise of the journal alone.
    pub(crate) fn admit_journal(&self, connection: &rusqlite::Connection, pages: &FilePages) -> Result<(), StoreError> {
        match journal::is_harmless(&self.journal, pages, || RawFile::of(connection)?.first_page()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::foreign(&self.journal)),
            Err(error) => Err(StoreError::from_reading(&error, &self.journal)),
        }
    }
}

pub(crate) fn examine_log(log: &Path, pages: Option<&FilePages>) -> Result<Verdict, StoreError> {
    frames::examine(log, pages).map_err(|error: io::Error| StoreError::from_reading(&error, log))
}

/// # Safety
/// `name` points to a string that ends with a NUL and outlives the call.
unsafe fn path_of(name: *const c_char) -> PathBuf {
    // SAFETY: the caller's contract.
    let name = unsafe { CStr::from_ptr(name) };
    PathBuf::from(OsStr::from_bytes(name.to_bytes()))
}
