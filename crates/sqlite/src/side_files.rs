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
use crate::journal::{self, Emptying};
use crate::raw_file::RawFile;

/// Each needs another transaction of somebody else's that was rolled back just then.
const JOURNAL_ATTEMPTS: u32 = 10;

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
        self.admit_log(pages)
    }

    /// Likewise of a file that has no manifest, and that others may be writing at the moment: a journal is of nobody's
    /// concern while its writer lives, and may be read while it comes and goes.
    pub(crate) fn admit_shared(&self, connection: &rusqlite::Connection, pages: &FilePages) -> Result<(), StoreError> {
        let mut attempts = 0;
        loop {
            let emptying = if length_of(&self.log) == 0 {
                Emptying::IfNew
            } else {
                Emptying::Never
            };
            match self.admit_journal_as(connection, pages, emptying) {
                Err(StoreError::Foreign { .. }) if RawFile::of(connection).is_some_and(|file| file.is_reserved()) => {
                    break;
                }
                Err(StoreError::Foreign { .. }) if attempts < JOURNAL_ATTEMPTS => attempts += 1,
                outcome => break outcome?,
            }
        }
        self.admit_log(pages).map(drop)
    }

    /// Whether there is anything beside the file.
    pub(crate) fn are_there(&self) -> bool {
        length_of(&self.log) > 0 || length_of(&self.journal) > 0
    }

    /// A log is examined safely while it is written: what was read in two halves ends it, by its checksums.
    fn admit_log(&self, pages: &FilePages) -> Result<u32, StoreError> {
        match examine_log(&self.log, Some(pages))? {
            Verdict::Sound { frames } => Ok(frames),
            Verdict::Damaged => Err(StoreError::foreign(&self.log)),
        }
    }

    /// Likewise of the journal alone.
    pub(crate) fn admit_journal(&self, connection: &rusqlite::Connection, pages: &FilePages) -> Result<(), StoreError> {
        self.admit_journal_as(connection, pages, Emptying::Never)
    }

    fn admit_journal_as(
        &self,
        connection: &rusqlite::Connection,
        pages: &FilePages,
        emptying: Emptying,
    ) -> Result<(), StoreError> {
        match journal::is_harmless(&self.journal, pages, emptying, || RawFile::of(connection)?.first_page()) {
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

/// 0 for a file that is not there.
fn length_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
