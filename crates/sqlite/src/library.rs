//! A connection for the embedded library: opened and keyed here, then used through its raw handle by the addon's fast paths.
//!
//! Whoever steps a statement takes a [`PageMark`] before and asks it before a row leaves: SQLite can return a row whose
//! overflow page failed its MAC as good data (see `tamper`). Once a page failed, the connection says nothing more.

#![expect(unsafe_code, reason = "what is prepared and stepped elsewhere needs the raw handle")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libsqlite3_sys as ffi;
use nimbus_crypto::{FileId, LockedBytes, SqlcipherKey};
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::hooks::AuthContext;

use crate::error::StoreError;
use crate::keying::{apply_key, apply_raw_key};
use crate::library_authorizer::authorize;
use crate::library_error::LibraryError;
use crate::library_rekey::{first_page_lost, rewrite};
use crate::main_file;
use crate::open_files::{LATE_LOG, keeps_file};
use crate::opening::{CREATE_SETTINGS, prepare_file};
use crate::options::{Encryption, Mode, Profile};
use crate::raw_file::RawFile;
use crate::side_files::SideFiles;
use crate::tamper::{self, Mark};

/// In KiB ("PRAGMA `cache_size`"): what better-sqlite3 has by default.
const CACHE_KIBIBYTES: u32 = 16_000;
/// Of an encrypted file that belongs to this process: to open a page again costs as much as to read hundreds of rows.
const OWN_CACHE_KIBIBYTES: u32 = 64 * 1024;

/// The key of a file.
#[derive(Clone)]
pub enum LibraryKey {
    /// 32 raw bytes of the caller's, which are SQLCipher's raw key; the salt is the file's own first 16 bytes.
    Raw(Arc<LockedBytes<32>>, Profile),
    /// The key of a file with a manifest: with its salt, which the manifest knows.
    Bound(Arc<Encryption>),
}

impl LibraryKey {
    /// Of a file that begins with `salt`.
    fn with_salt(&self, salt: FileId) -> Arc<Encryption> {
        match self {
            Self::Raw(raw, profile) => Arc::new(Encryption {
                key: SqlcipherKey::given(raw, salt),
                profile: *profile,
            }),
            Self::Bound(encryption) => Arc::clone(encryption),
        }
    }
}

/// What may be done with a file, and whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibraryAccess {
    /// It is there, and every write is refused.
    ReadOnly,
    /// It is there.
    Existing,
    /// It may be there.
    OpenOrCreate,
    /// It is not there: it is made, durably, in WAL mode and with its first page in it.
    New,
}

/// How a file is opened.
pub struct LibraryOptions<'a> {
    /// A path, or `:memory:`, or empty for a temporary database.
    pub path: &'a Path,
    /// What may be done with it, and whether it is there.
    pub access: LibraryAccess,
    /// Keep the file for this process alone.
    pub exclusive: bool,
    /// How long to wait for other connections.
    pub timeout: Duration,
    /// Absent for a plain file.
    pub key: Option<LibraryKey>,
}

/// A position in the count of pages that failed on this thread.
#[derive(Clone, Copy)]
pub struct PageMark(Mark);

impl PageMark {
    /// Where the count stands now.
    #[must_use]
    #[inline]
    pub fn now() -> Self {
        Self(tamper::mark())
    }

    /// Whether nothing read since may be handed out.
    #[must_use]
    #[inline]
    pub fn page_failed(self) -> bool {
        self.0.page_failed_since()
    }
}

/// An open database. It belongs to the thread that opened it.
pub struct LibraryConnection {
    pub(crate) inner: rusqlite::Connection,
    pub(crate) key: Option<LibraryKey>,
    pub(crate) opened: Opened,
}

/// How a connection was opened, for others beside it.
#[derive(Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) readonly: bool,
    pub(crate) exclusive: bool,
    pub(crate) timeout: Duration,
    /// Another connection of this process has the file open: the log is the one that this process knows.
    is_beside: bool,
}

impl LibraryConnection {
    /// Opens and keys a database; a wrong key, and a log or journal that is not the file's, are found here.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open(options: &LibraryOptions<'_>) -> Result<Self, LibraryError> {
        Self::open_as(options, false)
    }

    /// Opens a database that another connection of this process has open.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn open_beside(options: &LibraryOptions<'_>) -> Result<Self, LibraryError> {
        Self::open_as(options, true)
    }

    fn open_as(options: &LibraryOptions<'_>, is_beside: bool) -> Result<Self, LibraryError> {
        crate::exit::prepare();
        crate::provider::keep_linked();
        if let Some(LibraryKey::Bound(_)) = options.key {
            // An empty file would be an empty database, whatever its manifest says.
            let mode = match options.access {
                LibraryAccess::New => Mode::Create,
                _ => Mode::Open,
            };
            prepare_file(options.path, mode).map_err(|error| LibraryError::from_store(&error))?;
        }
        let access = match options.access {
            LibraryAccess::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
            LibraryAccess::Existing => OpenFlags::SQLITE_OPEN_READ_WRITE,
            LibraryAccess::OpenOrCreate | LibraryAccess::New => {
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
            }
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let inner = if options.exclusive {
            rusqlite::Connection::open_with_flags_and_vfs(options.path, flags, LATE_LOG)
        } else {
            rusqlite::Connection::open_with_flags(options.path, flags)
        }
        .map_err(|error| unless_open_here(options, LibraryError::from_sqlite(error)))?;
        if options.exclusive {
            // SQLite opens what may not be written read-only, and then locks it as any other connection.
            if inner.is_readonly("main").map_err(LibraryError::from_sqlite)? {
                return Err(LibraryError::not_exclusive(options.path));
            }
            if !keeps_file(&inner) {
                return Err(LibraryError::not_kept(options.path));
            }
        }
        main_file::know(&inner, c"main", options.key.is_some());
        let mut connection = Self {
            inner,
            key: options.key.clone(),
            opened: Opened {
                readonly: options.access == LibraryAccess::ReadOnly,
                exclusive: options.exclusive,
                timeout: options.timeout,
                is_beside,
            },
        };
        connection.prepare(options)?;
        Ok(connection)
    }

    /// A connection to another file under the key of this one, for a backup. Where that key is in a manifest, the file is new.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open_target(&self, path: &Path) -> Result<Self, LibraryError> {
        Self::open(&LibraryOptions {
            path,
            access: match self.key {
                Some(LibraryKey::Bound(_)) => LibraryAccess::New,
                _ => LibraryAccess::OpenOrCreate,
            },
            exclusive: false,
            timeout: Duration::ZERO,
            key: self.key.clone(),
        })
    }

    /// The raw handle, valid while this lives.
    #[must_use]
    pub fn handle(&self) -> *mut ffi::sqlite3 {
        // SAFETY: the handle is used on the owner's thread only, and not closed by whoever gets it (the contract of
        // the type).
        unsafe { self.inner.handle() }
    }

    /// Whether pages are encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.key.is_some()
    }

    /// A page failed: closing leaves the log as it is, since the page may lie in it.
    pub fn leave_log_on_close(&self) {
        let _ = self
            .inner
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Closes the database and writes every page anew under another raw key, with its log folded and nobody else in the file. The
    /// file has no log afterwards.
    ///
    /// SQLCipher's own word is not taken: every page of the file is authenticated under the new key before this returns.
    ///
    /// # Errors
    /// What went wrong, and under which key the file is: the one that it had, unless the error says otherwise.
    pub fn rekey(self, new_key: &LockedBytes<32>) -> Result<(), LibraryError> {
        let (Some(LibraryKey::Raw(_, profile)), Some(path)) = (&self.key, self.path()) else {
            return Err(LibraryError {
                code: ffi::SQLITE_MISUSE,
                message: "only a file that was opened with a raw key can be given another".to_owned(),
            });
        };
        let Some(salt) = self.salt() else {
            let is_new = RawFile::of(&self.inner).is_some_and(|file| file.bytes() == Ok(0));
            return if is_new { Ok(()) } else { Err(first_page_lost()) };
        };
        let profile = *profile;
        let current = self.key.as_ref().map(|key| key.with_salt(salt));
        drop(self.inner);
        let Some(current) = current else { return Ok(()) };
        let next = Encryption {
            key: SqlcipherKey::given(new_key, salt),
            profile,
        };
        rewrite(&path, &current, &next)
    }

    /// The file, if there is one that lasts.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.inner.path().filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// What the file begins with; nothing before its first page was written.
    fn salt(&self) -> Option<FileId> {
        salt_of(&RawFile::of(&self.inner)?.first_page()?)
    }

    /// Authenticates what lies beside the file, since SQLite will write it into the file as it is. Nothing was read yet.
    fn admit_side_files(&self, key: &LibraryKey, is_shared: bool) -> Result<(), LibraryError> {
        if self.path().is_none() {
            return Ok(());
        }
        let side_files = SideFiles::of(&self.inner);
        if !side_files.are_there() {
            return Ok(());
        }
        let first_page = RawFile::of(&self.inner).and_then(|file| file.first_page());
        let salt = first_page
            .as_deref()
            .and_then(salt_of)
            .unwrap_or(FileId([0; FileId::BYTES]));
        let pages = key.with_salt(salt).file_pages();
        let admitted = match key {
            LibraryKey::Bound(_) if !is_shared => side_files.admit(&self.inner, &pages).map(drop),
            _ => side_files.admit_shared(&self.inner, &pages),
        };
        match admitted {
            // Under another key everything is foreign, and the key is what is to be named.
            Err(StoreError::Foreign { .. }) if first_page.is_some_and(|page| !pages.is_authentic(1, &page)) => {
                Err(LibraryError::not_a_database())
            }
            outcome => outcome.map_err(|error| LibraryError::from_store(&error)),
        }
    }

    fn prepare(&mut self, options: &LibraryOptions<'_>) -> Result<(), LibraryError> {
        let mark = tamper::mark();
        let prepared = self.prepare_keyed(options);
        if mark.page_failed_since() && self.is_encrypted() {
            self.leave_log_on_close();
            // A wrong key and an altered first page look alike, and SQLCipher's name for both is this one.
            return Err(LibraryError::not_a_database());
        }
        prepared
    }

    fn prepare_keyed(&mut self, options: &LibraryOptions<'_>) -> Result<(), LibraryError> {
        let is_encrypted = self.is_encrypted();
        let failed = LibraryError::from_sqlite;
        // Opening does not wait: what needs the file's lock is left out while another connection has it.
        self.inner.busy_timeout(Duration::ZERO).map_err(failed)?;
        if let Some(key) = &self.key {
            match key {
                LibraryKey::Raw(raw, profile) => apply_raw_key(&self.inner, raw, *profile),
                LibraryKey::Bound(encryption) => apply_key(&self.inner, encryption),
            }
            .map_err(failed)?;
            if !self.opened.is_beside {
                self.admit_side_files(key, !options.exclusive)?;
            }
        }
        let connection = &mut self.inner;
        if options.access == LibraryAccess::New {
            connection
                .execute_batch(&format!("{CREATE_SETTINGS} PRAGMA journal_mode = WAL;"))
                .map_err(failed)?;
        }
        for (setting, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        ] {
            connection.set_db_config(setting, on).map_err(failed)?;
        }
        let cache_kibibytes = if is_encrypted && options.exclusive {
            OWN_CACHE_KIBIBYTES
        } else {
            CACHE_KIBIBYTES
        };
        let sized = connection.execute_batch(&format!("PRAGMA cache_size = -{cache_kibibytes}"));
        if is_encrypted {
            // A wrong key is found here, since the pragma reads the schema; if not even that may be read now, by the first
            // statement.
            unless_busy(sized)?;
            let bound = matches!(self.key, Some(LibraryKey::Bound(_)));
            connection
                .authorizer(Some(move |context: AuthContext<'_>| authorize(&context, bound)))
                .map_err(failed)?;
        }
        connection.busy_timeout(options.timeout).map_err(failed)
    }
}

fn salt_of(first_page: &[u8]) -> Option<FileId> {
    first_page.first_chunk().copied().map(FileId)
}

/// To open a file takes no lock: only this process itself is in the way then (see `open_files`).
fn unless_open_here(options: &LibraryOptions<'_>, error: LibraryError) -> LibraryError {
    if error.code == ffi::SQLITE_BUSY {
        LibraryError::open_here(options.path, options.exclusive)
    } else {
        error
    }
}

fn unless_busy(outcome: rusqlite::Result<()>) -> Result<(), LibraryError> {
    match outcome.map_err(LibraryError::from_sqlite) {
        Err(error) if error.code & 0xff == ffi::SQLITE_BUSY => Ok(()),
        other => other,
    }
}
