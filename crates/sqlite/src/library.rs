//! A connection for the embedded library: opened and keyed here, then used through its raw handle by the addon's fast paths.
//!
//! Whoever steps a statement takes a [`PageMark`] before and asks it before a row leaves: SQLite can return a row whose
//! overflow page failed its MAC as good data (see `tamper`). Once a page failed, the connection says nothing more.

#![expect(unsafe_code, reason = "what is prepared and stepped elsewhere needs the raw handle")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libsqlite3_sys as ffi;
use nimbus_crypto::LockedBytes;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::connection::{apply_key, key};
use crate::defaults;
use crate::options::{Encryption, Profile};
use crate::side_files::SideFiles;
use crate::tamper::{self, Mark};

/// Bytes of a key as SQLCipher takes it in text: `x'<64 hex digits>'`.
const RAW_TEXT_BYTES: usize = 67;
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

/// How a file is opened.
pub struct LibraryOptions<'a> {
    /// A path, or `:memory:`, or empty for a temporary database.
    pub path: &'a Path,
    /// Refuse every write.
    pub read_only: bool,
    /// Fail if there is no file.
    pub must_exist: bool,
    /// Keep the file for this process alone.
    pub exclusive: bool,
    /// How long to wait for other connections.
    pub timeout: Duration,
    /// Absent for a plain file.
    pub key: Option<LibraryKey>,
}

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

    fn from_sqlite(error: rusqlite::Error) -> Self {
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

/// A position in the count of pages that failed on this thread.
#[derive(Clone, Copy)]
pub struct PageMark(Mark);

impl PageMark {
    /// Where the count stands now.
    #[must_use]
    pub fn now() -> Self {
        Self(tamper::mark())
    }

    /// Whether nothing read since may be handed out.
    #[must_use]
    pub fn page_failed(self) -> bool {
        self.0.page_failed_since()
    }
}

/// An open database. It belongs to the thread that opened it.
pub struct LibraryConnection {
    inner: rusqlite::Connection,
    key: Option<LibraryKey>,
}

impl LibraryConnection {
    /// Opens and keys a database; a wrong key, and a log or journal that is not the file's, are found here.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open(options: &LibraryOptions<'_>) -> Result<Self, LibraryError> {
        crate::exit::prepare();
        crate::provider::keep_linked();
        let access = match (options.read_only, options.must_exist) {
            (true, _) => OpenFlags::SQLITE_OPEN_READ_ONLY,
            (false, true) => OpenFlags::SQLITE_OPEN_READ_WRITE,
            (false, false) => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let inner = if options.exclusive {
            rusqlite::Connection::open_with_flags_and_vfs(options.path, flags, c"unix-excl")
        } else {
            rusqlite::Connection::open_with_flags(options.path, flags)
        }
        .map_err(LibraryError::from_sqlite)?;
        let mut connection = Self {
            inner,
            key: options.key.clone(),
        };
        connection.prepare(options)?;
        Ok(connection)
    }

    /// A connection to another file under the key of this one, for a backup.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open_target(&self, path: &Path) -> Result<Self, LibraryError> {
        Self::open(&LibraryOptions {
            path,
            read_only: false,
            must_exist: false,
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

    /// Writes every page anew under another raw key.
    ///
    /// # Errors
    /// What SQLite says. Whatever this returns, the connection must be closed and the file opened again: SQLCipher says
    /// that all went well when the COMMIT failed.
    pub fn rekey(&mut self, new_key: Arc<LockedBytes<32>>) -> Result<(), LibraryError> {
        let Some(LibraryKey::Raw(_, profile)) = self.key else {
            return Err(LibraryError {
                code: ffi::SQLITE_MISUSE,
                message: "only a database opened with a raw key can be given another".to_owned(),
            });
        };
        let mark = tamper::mark();
        let code = raw_text(&new_key, |text| {
            let length = i32::try_from(text.len()).unwrap_or(0);
            // SAFETY: the handle is open, no statement runs on it, and the key's bytes are copied ("SQLCipher API").
            unsafe { ffi::sqlite3_rekey_v2(self.handle(), c"main".as_ptr(), text.as_ptr().cast(), length) }
        });
        if mark.page_failed_since() {
            return Err(LibraryError::corrupt());
        }
        self.key = Some(LibraryKey::Raw(new_key, profile));
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(LibraryError {
                code,
                message: ffi::code_to_str(code).to_owned(),
            })
        }
    }

    fn prepare(&mut self, options: &LibraryOptions<'_>) -> Result<(), LibraryError> {
        let mark = tamper::mark();
        let prepared = self.prepare_keyed(options);
        if mark.page_failed_since() && self.is_encrypted() {
            self.leave_log_on_close();
            // A wrong key and an altered first page look alike, and SQLCipher's name for both is this one.
            return Err(LibraryError {
                code: ffi::SQLITE_NOTADB,
                message: "file is not a database under this key, or it was altered".to_owned(),
            });
        }
        prepared
    }

    fn prepare_keyed(&mut self, options: &LibraryOptions<'_>) -> Result<(), LibraryError> {
        let is_encrypted = self.is_encrypted();
        let connection = &mut self.inner;
        let failed = LibraryError::from_sqlite;
        // Opening does not wait: what needs the file's lock is left out while another connection has it.
        connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        match &self.key {
            None => {}
            Some(LibraryKey::Raw(raw, profile)) => apply_raw_key(connection, raw, *profile).map_err(failed)?,
            Some(LibraryKey::Bound(encryption)) => {
                apply_key(connection, encryption).map_err(failed)?;
                if options.exclusive && !options.read_only {
                    SideFiles::of(connection)
                        .admit(connection, &encryption.file_pages())
                        .map_err(|error| LibraryError {
                            code: ffi::SQLITE_CORRUPT,
                            message: error.to_string(),
                        })?;
                }
            }
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
            unless_busy(sized)?;
            // A wrong key is found here; if not even this may be read now, by the first statement.
            unless_busy(connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))?;
            let bound = matches!(self.key, Some(LibraryKey::Bound(_)));
            connection
                .authorizer(Some(move |context: AuthContext<'_>| authorize(&context, bound)))
                .map_err(failed)?;
        }
        connection.busy_timeout(options.timeout).map_err(failed)
    }
}

fn unless_busy(outcome: rusqlite::Result<()>) -> Result<(), LibraryError> {
    match outcome.map_err(LibraryError::from_sqlite) {
        Err(error) if error.code & 0xff == ffi::SQLITE_BUSY => Ok(()),
        other => other,
    }
}

fn apply_raw_key(connection: &rusqlite::Connection, raw: &LockedBytes<32>, profile: Profile) -> rusqlite::Result<()> {
    let _settled = defaults::settled();
    // With the text kept, files that are attached get the key without this file's salt, and so their own.
    raw_text(raw, |text| key(connection, text))?;
    connection.execute_batch(&format!(
        "PRAGMA cipher_store_pass = ON;
         PRAGMA cipher_compatibility = 4;
         PRAGMA cipher_page_size = 4096;
         PRAGMA cipher_use_hmac = ON;
         PRAGMA cipher_plaintext_header_size = 0;
         PRAGMA cipher_kdf_algorithm = PBKDF2_HMAC_SHA512;
         PRAGMA cipher_hmac_algorithm = {};",
        profile.hmac_algorithm(),
    ))
}

fn raw_text<R>(raw: &LockedBytes<32>, use_text: impl FnOnce(&[u8]) -> R) -> R {
    let mut text = LockedBytes::<RAW_TEXT_BYTES>::zeroed();
    let [x, open, digits @ .., close] = text.expose_secret_mut();
    (*x, *open, *close) = (b'x', b'\'', b'\'');
    for (pair, byte) in digits.chunks_exact_mut(2).zip(raw.expose_secret()) {
        pair.copy_from_slice(&[
            nimbus_crypto::hex_digit(byte >> 4),
            nimbus_crypto::hex_digit(byte & 0xf),
        ]);
    }
    use_text(text.expose_secret())
}

/// What SQL may not do to an encrypted file: change its key or format, spill what it holds, or, where a manifest holds the
/// key, write it into files that have none. Asked while a statement is compiled, before SQLCipher's pragmas act.
fn authorize(context: &AuthContext<'_>, has_manifest: bool) -> Authorization {
    let allowed = match context.action {
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            let name = pragma_name.to_ascii_lowercase();
            let is_format = [
                "page_size",
                "auto_vacuum",
                "secure_delete",
                "temp_store",
                "temp_store_directory",
            ]
            .contains(&name.as_str());
            let is_of_cipher = name.starts_with("cipher") || name.ends_with("key") || name.starts_with("sqlcipher");
            !(is_of_cipher || is_format && pragma_value.is_some())
        }
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("sqlcipher_export"),
        // VACUUM attaches a temporary file without a name.
        AuthAction::Attach { filename } => !has_manifest || filename.is_empty() || filename == ":memory:",
        // A file name that is an expression.
        AuthAction::Unknown { code, .. } if code == ffi::SQLITE_ATTACH => !has_manifest,
        _ => true,
    };
    if allowed {
        Authorization::Allow
    } else {
        Authorization::Deny
    }
}
